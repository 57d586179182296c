/* SPDX-License-Identifier: Apache-2.0
 * commit.h - where finished batches go when there is a log: one append with the records of every
 * output, the dead letters, and how far the inputs were consumed.
 *
 *   step_commit ─► append ─► queue of the log ─► durable ─► waiting ingests are told, ages measured
 *        │          (4 in flight: the engine goes on with the next batch meanwhile)
 *        └ while replaying: nothing is appended; records are held against what was committed once
 *
 * Thread: the engine's, but what runs when an append is durable runs on the log's. Memory: boot;
 * appends keep their capacity. */
#ifndef QN_ENGINE_COMMIT_H
#define QN_ENGINE_COMMIT_H

#include "engine/commit_record.h"
#include "engine/engine.h"
#include "engine/input_log.h"

struct qn_commits; /* private */

enum { QN_COMMIT_STAGE = 0 }; /* of the engine's commits in the log */

/* What makes the records: hash of the resolved spec, the models' files and the program's version.
 * Whoever has the same must come to the same records from the same events. */
uint64_t qn_commits_maker(const struct qn_plan *plan);

/* What one durable commit was, for whoever observes. */
struct qn_commit_done {
    const uint64_t *next; /* [streams] durable: first record not consumed             */
    const struct qn_input_age
        *ages; /* of the rows of the batch, runs by the time of their append */
    uint32_t age_count;
    void *told; /* what `committing` returned for this batch */
};

struct qn_commits_options {
    struct qn_log *log;
    struct qn_input_log *in;
    const uint32_t *stream_topics; /* [streams] */
    const uint32_t *output_topics; /* [outputs] */
    uint32_t dead_topic, control_topic;
    uint32_t workers, rows_max;
    /* Engine's thread, before the batch is handed over; may be NULL. What it returns is given to
     * done. prediction(row) is qn_commits_prediction. */
    void *(*committing)(void *arg, const struct qn_step_result *r);
    /* Log's thread, in the order of the batches; rc: durable, or why not. */
    void (*done)(void *arg, const struct qn_commit_done *d, qn_status rc, const struct qn_err *err);
    /* Engine's thread, while the log takes nothing: false = give up. */
    bool (*may_wait)(void *arg, bool is_disk_full);
    void *arg;
};

qn_status qn_commits_new(const struct qn_plan *plan, const struct qn_commits_options *opt,
                         struct qn_commits **out, struct qn_err *err);
/* Waits until nothing is in flight. NULL is fine. */
void qn_commits_free(struct qn_commits *c);
struct qn_output qn_commits_output(struct qn_commits *c);
/* Waits until all that was handed over is durable or has failed. */
void qn_commits_settle(struct qn_commits *c);

/* The record of output 0 for a row, while `committing` runs; rows ascending between calls. p NULL
 * where there is none. */
struct qn_str qn_commits_prediction(struct qn_commits *c, uint32_t row);

/* The hash of the last commit that was handed over, or come to again in a replay: what stands in
 * the log there; 0 = none yet. */
uint64_t qn_commits_hash(const struct qn_commits *c);
/* The same of the commit that ended at next[streams], looked for in the log from lsn on.
 * QN_NOT_FOUND: none did. */
qn_status qn_commits_hash_at(struct qn_log *lg, uint32_t control_topic,
                             const uint32_t *stream_topics, uint32_t streams, uint64_t lsn,
                             const uint64_t *next, uint64_t *hash, struct qn_err *err);

/* ---- replay ----------------------------------------------------------------------------------*/

struct qn_replay {
    uint64_t from, end; /* LSNs of the first and of the behind last commit to come to again */
    uint64_t commits;   /* compared so far                                           */
    uint64_t skipped;   /* not compared: made by another spec, model or version      */
};

/* From here on batches are replays: the commits of the log from the one behind next[streams] on are
 * what they must come to. last: where the last commit of the log ended, [streams]. */
qn_status qn_commits_replay(struct qn_commits *c, const uint64_t *next, const uint64_t *last,
                            struct qn_err *err);
/* The replay has come to `last`: what follows is appended. QN_CORRUPT: the last commit was not
 * reached as it was. */
qn_status qn_commits_live(struct qn_commits *c, struct qn_replay *out, struct qn_err *err);

/* Reads the log's last commit. *found false: there is none. next[streams]: by topic, 0 for a stream
 * it does not know. */
qn_status qn_commits_last(struct qn_log *lg, const uint32_t *stream_topics, uint32_t streams,
                          uint64_t *next, bool *found, struct qn_err *err);

#endif
