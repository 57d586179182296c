/* SPDX-License-Identifier: Apache-2.0
 * feature_int.h - the compiled set of features, shared by feature.c (compiling) and feature_run.c
 * (running) only.
 *
 * Columns that expressions read are numbered per stream: its fields in order, and for the main
 * stream the features behind them. Lifetime: boot; the states of groups are on the heap and freed
 * by qn_features_free. Thread: one while compiling; workers while running. */
#ifndef QN_FEATURE_FEATURE_INT_H
#define QN_FEATURE_FEATURE_INT_H

#include "feature/expression_int.h"
#include "feature/feature.h"
#include "feature/sentence.h"
#include "feature/window.h"

struct feature {
    struct qn_feature_info info;
    const struct qn_feature_text *text;
    struct qn_sentence sentence;
    uint32_t *needs; /* features it reads                                        */
    uint32_t need_count;
    uint8_t mark;             /* of the ordering: 0 new, 1 on the path, 2 done            */
    bool is_bad;              /* has a mistake: whoever reads it stays silent             */
    bool needs_window;        /* is a window or reads one, directly or not                */
    struct qn_expr *expr;     /* expressions                                              */
    uint32_t group, window;   /* windows                                                  */
    struct qn_value fallback; /* windows with a default; expressions have it built in     */
    struct qn_col own;        /* its column, unless it shows its window's                 */
    const struct qn_col *shown;
};

/* All windows over one stream by one key. */
struct group {
    uint32_t source; /* stream                                                   */
    uint32_t key_count;
    uint32_t main_key[QN_KEYS_MAX], source_key[QN_KEYS_MAX]; /* fields                       */
    struct qn_kind key_kind[QN_KEYS_MAX];
    const char *source_text, *key_text;
    struct qn_expr *args[QN_GROUP_ARGS_MAX];
    struct qn_kind arg_kinds[QN_GROUP_ARGS_MAX];
    struct qn_expr *wheres[QN_GROUP_WHERES_MAX];
    struct qn_window windows[QN_GROUP_WINDOWS_MAX];
    uint32_t shown_by[QN_GROUP_WINDOWS_MAX]; /* features that have this window               */
    uint32_t arg_count, where_count, window_count;
    int64_t slack_us;
    bool is_counted, has_floor;
    enum qn_group_place place;

    /* from qn_features_start on */
    struct qn_group *state;
    uint8_t roles[QN_STREAMS_MAX][QN_VERDICTS]; /* what a row of that stream and verdict is  */
    uint8_t *role; /* [rows_max], and so below                                 */
    struct qn_str *key;
    uint64_t *hash;
    void **recs; /* of the keys, where state is counted; else NULL                            */
    struct qn_col *arg_own; /* of arguments that are computed                           */
    const struct qn_col **arg;
    uint8_t **where;
    struct qn_col *out_own;
    struct qn_col **out;
};

struct qn_features {
    struct feature *list;
    uint32_t *order; /* who is read stands before who reads                      */
    uint32_t count;
    struct group **groups;
    uint32_t group_count;
    const struct qn_schema *schemas;
    uint32_t schema_count, main;
    const struct qn_col ***cols; /* [stream][column]                                         */
    const struct qn_col *bound;  /* the batch columns they point into                        */
    uint8_t *complete;
    uint32_t rows_max;
    struct qn_budget *budget;  /* NULL = state is not counted                              */
    uint32_t first_account;    /* of the first group                                       */
    bool has_refused;          /* rows of the batch in hand were not taken                 */
    uint32_t *scratch;         /* [rows_max], where state is counted                       */
    struct qn_batch *batch;    /* of the run in progress                                   */
    struct qn_err *worker_err; /* [QN_TEAM_MAX]                                            */
    qn_status *worker_rc;
};

/* The spec of a group as window.h wants it; valid while the group is. */
struct qn_group_spec qn_feature_group_spec(const struct group *g);

#endif
