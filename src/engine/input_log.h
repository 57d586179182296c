/* SPDX-License-Identifier: Apache-2.0
 * input_log.h - events of the streams' topics as an input of the engine, in the order of the log.
 *
 * A batch is what has arrived: up to the engine's rows and QN_INPUT_LOG_BYTES of events, at least
 * one. Rows borrow the reader's memory until the batch is committed. Where it stands is one offset
 * per stream, which is what a commit of the engine holds; a start goes on from there, whatever lay
 * around those records in the log. Thread: the engine's. */
#ifndef QN_ENGINE_INPUT_LOG_H
#define QN_ENGINE_INPUT_LOG_H

#include "engine/dead_letters.h"
#include "engine/engine.h"
#include "log/log_local.h"

struct qn_input_log; /* private */

enum { QN_INPUT_LOG_BYTES = 1 << 20 };

/* topics[stream of the plan]. */
qn_status qn_input_log_new(struct qn_log *lg, const struct qn_plan *plan, const uint32_t *topics,
                           struct qn_input_log **out, struct qn_err *err);
void qn_input_log_free(struct qn_input_log *in); /* NULL is fine */
struct qn_input qn_input_log_input(struct qn_input_log *in);

/* Goes to next[stream], the first record of each that is wanted. Between batches. QN_NOT_FOUND:
 * retention has removed one of them (the error says which). */
qn_status qn_input_log_seek(struct qn_input_log *in, const uint64_t *next, struct qn_err *err);
/* The batch ends before these offsets, where a commit ended once; QN_IDLE when it stands at them.
 * NULL: no end. Borrowed until changed. */
void qn_input_log_end_at(struct qn_input_log *in, const uint64_t *end);

/* Events that are dead, whatever the contract says now: while what was committed is read again.
 * NULL: none. Borrowed until changed. */
void qn_input_log_past(struct qn_input_log *in, const struct qn_dead_past *past);

/* [streams] first record of each stream that is not in a batch yet. Until the next batch. */
const uint64_t *qn_input_log_next(const struct qn_input_log *in);
/* LSN of the frame that the last record handed out lies in: what lies before is not needed again.
 */
uint64_t qn_input_log_lsn(const struct qn_input_log *in);

/* Records of the batch in hand by the time they were appended, runs of equal ones: for ages. */
struct qn_input_age {
    int64_t append_us;
    uint32_t rows;
};
const struct qn_input_age *qn_input_log_ages(const struct qn_input_log *in, uint32_t *count);
/* Headers of a row of the batch in hand, as in the log. */
struct qn_str qn_input_log_headers(const struct qn_input_log *in, uint32_t row);
/* Key likewise; p NULL where it has none. */
struct qn_str qn_input_log_key(const struct qn_input_log *in, uint32_t row);

/* Waits until there may be more, at most timeout_ms. Nothing may be in hand. */
bool qn_input_log_wait(struct qn_input_log *in, int64_t timeout_ms);

#endif
