/* SPDX-License-Identifier: Apache-2.0
 * learner.h - a score that comes from the stream itself: half-space trees (model/half_space.h) and
 * what they have seen.
 *
 * Every wanted row is scored by the window before, then learnt, one by one in the order of the log,
 * so the answer is a function of the log alone: batches, threads and snapshots never show. What
 * depends on the row only, its leaf in each tree, is worked out by all threads beforehand.
 *
 *     qn_learner_look   every worker, its rows          the leaves
 *     qn_learner_run    one thread, behind a barrier    scores, then learns
 *
 * The first window (of QN_HALF_SPACE_WINDOW_MIN events or more) has no score: NaN. Where ranges of
 * inputs are to be learnt, one window more comes before it, of which nothing else is kept.
 *
 * State: the leaves of two windows, the one that scores and the one that fills, and the ranges: of
 * fixed size, made at boot. It is a section of snapshots, saved whole. Thread: as above. Memory:
 * boot arena. */
#ifndef QN_SCORE_LEARNER_H
#define QN_SCORE_LEARNER_H

#include "event/batch.h"
#include "model/model.h"
#include "state/snapshot.h"

struct qn_learner; /* private */

/* m: one of qn_model_half_space_new. columns[i]: which column of `cols` (below) feeds input i;
 * bool, int64, double or decimal. */
qn_status qn_learner_new(const struct qn_model *m, const uint32_t *columns, uint32_t workers,
                         uint32_t rows_max, struct qn_arena *boot, struct qn_learner **out,
                         struct qn_err *err);

/* Where the rows of [first, end) with want 1 lie. Thread: that worker. */
void qn_learner_look(struct qn_learner *l, const struct qn_col *const *cols, const uint8_t *want,
                     uint32_t first, uint32_t end, uint32_t worker);
/* Rows [0, rows) of the same batch, behind qn_learner_look of all of them: margins[row], the mass,
 * and scores[row], 0 to 1, or NaN, where want is 1. Thread: the one that steps. */
void qn_learner_run(struct qn_learner *l, const struct qn_col *const *cols, const uint8_t *want,
                    uint32_t rows, double *margins, double *scores);

/* Bytes of state that a learner of this model holds, and of a snapshot of it at most. */
size_t qn_learner_state_bytes(const struct qn_model *m);

/* "half-space-trees"; its layout is of the model's options and what the inputs are. */
struct qn_section qn_learner_section(struct qn_learner *l);

#endif
