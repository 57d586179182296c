/* SPDX-License-Identifier: Apache-2.0
 * feature.h - the face of the feature room: one sentence per feature in, feature columns out.
 *
 * A feature is an expression over fields and other features, or a window sentence:
 *
 *     AGG(expr) [where COND] [of STREAM] by KEY[, KEY...]
 *         over W [delayed D] [excluding current] [or DEFAULT]
 *
 * with the clauses after `by` in any order. AGG: count() sum mean min max. COND and
 * expr see the source stream's fields and stateless features of the main stream that need only its
 * fields (own stream only). An expression may end in `or LITERAL`: the default for null. Features
 * belong to the main stream: every event of it gets all of them. Windows with the same source and
 * key share one group (window.h). Features are run in an order that respects who needs whom; a
 * cycle is a diagnostic. Thread and memory: compiled form boot and read-only; state per
 * qn_feature_run. */
#ifndef QN_FEATURE_FEATURE_H
#define QN_FEATURE_FEATURE_H

#include "base/diag.h"
#include "base/threads.h"
#include "event/batch.h"
#include "feature/expression.h"
#include "state/budget.h"
#include "state/snapshot.h"

struct qn_features; /* private: the compiled set and its state */

/* One feature as the spec has it. */
struct qn_feature_text {
    struct qn_str name;
    struct qn_pos name_at;
    struct qn_str text;
    struct qn_pos text_at;
};

/* What is known of a compiled feature. */
struct qn_feature_info {
    struct qn_str name;
    struct qn_kind kind;
    bool is_window;
    bool has_default;
    int32_t group; /* index of its group, -1 where it has none */
};
/* What is known of a group, for `quern check`. */
struct qn_group_info {
    const char *source; /* stream name */
    const char *key;    /* "customer_id" or "a, b" */
    uint32_t windows;
    int64_t keeps_us;   /* QN_OVER_ALL where unbounded */
    size_t key_bytes;   /* fixed bytes per key (12 key bytes assumed) */
    double event_bytes; /* bytes per event held                       */
    uint64_t keys;      /* now */
    size_t bytes;       /* now */
};

/* Compiles `count` features of stream `main_stream`. All mistakes go to diags; *out is NULL if
 * there were errors (the status is QN_OK then: it speaks of memory only). The texts are copied.
 * Arena: boot lifetime; schemas are kept. Sets nothing in the schemas. */
qn_status qn_features_new(const struct qn_feature_text *texts, uint32_t count,
                          const struct qn_schema *schemas, uint32_t schema_count,
                          uint32_t main_stream, struct qn_arena *boot, struct qn_diags *diags,
                          struct qn_features **out, struct qn_err *err);
void qn_features_free(struct qn_features *f);

uint32_t qn_features_count(const struct qn_features *f);
const struct qn_feature_info *qn_features_info(const struct qn_features *f, uint32_t i);
uint32_t qn_features_group_count(const struct qn_features *f);
struct qn_group_info qn_features_group(const struct qn_features *f, uint32_t i);

/* Makes the feature columns (rows_max as the batch) and the state. Once, before the first run. */
qn_status qn_features_start(struct qn_features *f, const struct qn_batch *b, uint64_t seed,
                            struct qn_arena *boot, struct qn_err *err);

/* Runs all features over the batch: rows that are QN_SCORED, and late ones the stream's policy
 * folds, update state; rows of the main stream that are QN_SCORED get values. Uses all workers of
 * the team, with barriers between waves. */
qn_status qn_features_run(struct qn_features *f, struct qn_batch *b, struct qn_team *team,
                          struct qn_err *err);

/* qn_features_run in two parts: what depends on rows alone; the windows and what reads them.
 * Between the two, with a budget, rows may still be refused. */
qn_status qn_features_prepare(struct qn_features *f, struct qn_batch *b, struct qn_team *team,
                              struct qn_err *err);
qn_status qn_features_finish(struct qn_features *f, struct qn_team *team, struct qn_err *err);

/* ---- counted state (state/budget.h): `limits: memory` ---- */

/* Keys take what counting them takes, also in qn_features_group. Before qn_features_start. */
void qn_features_counted(struct qn_features *f);
/* Where they are counted: the accounts from `first` on, one a group. Before the first run. */
void qn_features_budget(struct qn_features *f, struct qn_budget *budget, uint32_t first);
/* Between prepare and finish, row by row in log order, each row either taken or refused; newest_us:
 * the newest event time up to that row. Thread: the engine's. */
/* Bytes that the row would add; *has_new_key is set where one of its keys is not held. */
uint64_t qn_features_cost(const struct qn_features *f, uint32_t row, int64_t newest_us,
                          bool *has_new_key);
void qn_features_take(struct qn_features *f, uint32_t row, int64_t newest_us);
/* No window sees the row. */
void qn_features_refuse(struct qn_features *f, uint32_t row);
/* Counts what is there, when a snapshot did not say. */
void qn_features_recount(struct qn_features *f, int64_t newest_us);

/* ---- a pipeline in stages, each with its own keys (spec/plan.h) ---- */

/* Where the windows of a group are computed: here; before this run, whose batch brings their
 * values; or behind it, and they are null here. */
enum qn_group_place { QN_GROUP_HERE, QN_GROUP_GIVEN, QN_GROUP_BEHIND };
/* Of a group, before qn_features_start; here where it is not said. has_floor: the batches say a
 * floor (batch.h). */
void qn_features_place(struct qn_features *f, uint32_t group, enum qn_group_place place,
                       bool has_floor);
/* Fields of the main stream that a group is keyed by, [qn_features_key_parts]. */
const uint32_t *qn_features_key_fields(const struct qn_features *f, uint32_t group);
uint32_t qn_features_window_count(const struct qn_features *f, uint32_t group);
/* For each window of each group, one after another, a number by which another plan knows it: equal
 * where both compute the same. ids: room for all windows. */
qn_status qn_features_window_ids(const struct qn_features *f, uint32_t *ids, struct qn_err *err);
/* The values of a window, a default filled in where only one feature shows it. Those of a group
 * that is given are for the input to write, each row's, before the run. After qn_features_start.
 * Eight bytes a value, whatever the type. */
struct qn_col *qn_features_window_col(const struct qn_features *f, uint32_t group, uint32_t window);

/* Column of feature i after a run; valid until the next. complete[row] = 1 where no feature of the
 * row is null. */
const struct qn_col *qn_features_col(const struct qn_features *f, uint32_t i);
const uint8_t *qn_features_complete(const struct qn_features *f);

/* The state of every group as a section of a snapshot: fills out[qn_features_group_count]. After
 * qn_features_start; valid until qn_features_free. */
qn_status qn_features_sections(struct qn_features *f, struct qn_section *out, struct qn_err *err);

/* What the windows of one key say, as of its newest event. */
struct qn_look {
    int64_t newest_us;
    uint32_t count;
    uint32_t *features;  /* [count] windows of the group, by number of the feature */
    struct qn_col *cols; /* [count] of one row                                      */
};
/* Looks a key up; parts: one text per field of the group's key. Changes nothing that an answer
 * depends on. QN_NOT_FOUND: no event of that key is held; QN_INVALID: a text is not of its field's
 * type. Thread: the engine's, between batches. out borrows from the arena. */
qn_status qn_features_look(struct qn_features *f, uint32_t group, const struct qn_str *parts,
                           struct qn_arena *arena, struct qn_look *out, struct qn_err *err);
uint32_t qn_features_key_parts(const struct qn_features *f, uint32_t group);

/* Lets go of keys nobody on time can see (window.h). Between batches. */
void qn_features_expire(struct qn_features *f, int64_t watermark_us, uint32_t rows);

#endif
