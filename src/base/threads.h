/* SPDX-License-Identifier: Apache-2.0
 * threads.h - a team of workers that runs one function at a time and meets at a barrier.
 *
 * The engine's only parallelism: qn_team_run starts the function on every worker (the caller is
 * worker 0) and returns when all are done, so nothing is in flight between stages and an answer
 * cannot depend on timing. Waiting spins for less than a millisecond, then sleeps. Thread: a team
 * is used by the thread that made it. */
#ifndef QN_BASE_THREADS_H
#define QN_BASE_THREADS_H

#include "base/status.h"

struct qn_team; /* private */

enum { QN_TEAM_MAX = 64 };

/* workers: 1 to QN_TEAM_MAX, the caller included; 1 makes no thread at all. */
qn_status qn_team_new(unsigned workers, struct qn_team **out, struct qn_err *err);
void qn_team_free(struct qn_team *t); /* NULL is fine; joins the threads */
unsigned qn_team_workers(const struct qn_team *t);

/* Calls fn(arg, worker, workers) once per worker, at the same time; returns when all have returned.
 * What they wrote is visible to the caller, and what the caller wrote before is visible to them. */
typedef void qn_team_fn(void *arg, unsigned worker, unsigned workers);
void qn_team_run(struct qn_team *t, qn_team_fn *fn, void *arg);

/* Inside a run: a gate that one worker opens, once, when what it did first is ready, and that
 * others wait for. It is shut again at the next run. */
void qn_team_open(struct qn_team *t);
void qn_team_wait(struct qn_team *t);

/* The rows [*first, *end) of `rows` that a worker takes: contiguous slices, multiples of 64 but the
 * last. */
void qn_team_slice(uint32_t rows, unsigned worker, unsigned workers, uint32_t *first,
                   uint32_t *end);

#endif
