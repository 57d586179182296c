/* SPDX-License-Identifier: Apache-2.0
 * compare_log.h - an output of the engine that writes nothing: predictions made again from the log,
 * held against those that were committed, record by record.
 *
 * A start compares hashes commit by commit (commit.h) and is quick about it; this finds the first
 * record that differs and shows it. Commits of another spec, model or version have other records by
 * right: they are counted and passed over. Thread: encode on workers, the rest on the stepping
 * thread. Memory: the records of one commit, borrowed from the log's reader. */
#ifndef QN_ENGINE_COMPARE_LOG_H
#define QN_ENGINE_COMPARE_LOG_H

#include "engine/engine.h"
#include "log/log_local.h"

struct qn_compare; /* private */

struct qn_compare_options {
    struct qn_log *log;
    uint32_t stream_topic; /* of the plan's main stream                 */
    uint32_t topic;        /* the predictions that were committed       */
    uint32_t workers;      /* threads of the engine                     */
};

/* The engine must begin with the oldest record of a log from which nothing was removed, and end
 * where the last commit did (qn_commits_last). */
qn_status qn_compare_new(const struct qn_plan *plan, const struct qn_compare_options *opt,
                         struct qn_compare **out, struct qn_err *err);
void qn_compare_free(struct qn_compare *c); /* NULL is fine */
struct qn_output qn_compare_output(struct qn_compare *c);
/* After the last step: the log may hold more than came out again. */
qn_status qn_compare_finish(struct qn_compare *c, struct qn_err *err);

struct qn_compare_result {
    uint64_t equal;       /* records                                                       */
    uint64_t passed_over; /* records of commits that another spec, model or version made   */
    bool is_different;    /* what follows is said: of the first difference, the last asked */
    uint64_t offset;      /* of the event in its topic                                     */
    struct qn_str then;   /* what the log holds; p NULL = no record                        */
    struct qn_str now;    /* likewise                                                      */
};
/* Borrowed until c is freed. */
void qn_compare_look(const struct qn_compare *c, struct qn_compare_result *out);

#endif
