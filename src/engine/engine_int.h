/* SPDX-License-Identifier: Apache-2.0
 * engine_int.h - the inside of the engine room: what step.c works on and engine.c makes and frees.
 *
 * All of it is boot lifetime but the batch's rows. Thread: the stepping thread; workers see it
 * read-only and write their own rows. */
#ifndef QN_ENGINE_ENGINE_INT_H
#define QN_ENGINE_ENGINE_INT_H

#include "base/threads.h"
#include "engine/dedup.h"
#include "engine/engine.h"
#include "score/learner.h"
#include "score/score.h"

struct qn_clock;

/* Answers of one batch: arrays of rows_max. */
struct engine_answers {
    uint8_t *is_scored;
    double **scores, **margins; /* [predictions], [outputs] of the model; NULL without one */
    uint8_t **output_on;        /* [outputs of the plan]                        */
    struct qn_col score;        /* the column "score" that `when` sees          */
    struct qn_col *when;        /* [outputs of the plan] results of `when`      */
};

struct qn_engine {
    struct qn_plan *plan;
    struct qn_input in;
    struct qn_output out;
    struct qn_team *team;
    uint32_t threads;
    bool is_failed; /* a step failed: what follows would not be the log's answer */
    bool is_owed;   /* the last batch is encoded, its commit goes beside the next */

    struct qn_arena boot;
    struct qn_batch batch;
    struct qn_watermark watermark; /* one shard: all streams share it */
    bool is_restored;              /* from a snapshot: older ones say nothing new */
    bool is_older;                 /* what is being loaded is of such a one       */
    struct qn_dedup *dedup;        /* NULL where no stream has `dedup` */
    struct qn_budget *budget;      /* NULL without `limits: memory`    */
    uint32_t account_count;        /* groups of windows, then streams with `dedup` */
    uint32_t accounts_loaded;      /* from a snapshot                              */
    uint64_t account_set;          /* what they are                                */
    bool is_counted;               /* what was restored is counted                 */
    bool is_blind;                 /* is_judged: what was taken is not counted yet */
    struct qn_counts *counts;      /* [streams] */
    const struct qn_col **columns; /* as the plan numbers them */
    struct qn_scorer *scorer;      /* NULL without a model, or where it learns */
    struct qn_learner *learner;    /* NULL where the model does not learn */
    struct engine_answers answers;
    struct qn_err *worker_err; /* [workers] first failure of a stage */
    qn_status *worker_rc;

    const struct qn_clock *clock; /* NULL = no timing */
    int64_t stage_ns[QN_STAGE_COUNT], since_ns;
};

/* admit.c, with `limits: memory` */
/* Makes the budget; once features and ids are there. */
qn_status qn_admit_init(struct qn_engine *en, uint32_t rows_max, struct qn_err *err);
/* Between the two parts of the features' run: repeats, and rows that there is no room for, become
 * dead, in log order. before: the watermark before the batch. */
qn_status qn_admit(struct qn_engine *en, struct qn_watermark before, struct qn_err *err);

#endif
