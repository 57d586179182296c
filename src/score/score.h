/* SPDX-License-Identifier: Apache-2.0
 * score.h - rows that want a score, through a model: columns of any type become the model's
 * doubles, null becomes NaN.
 *
 * Rows that want none cost nothing: the wanted ones are packed, scored as one dense batch and
 * spread again, which cannot show in an answer (model.h: a prediction depends on its row only).
 * Later the tiers, arms and fallbacks stand here. Threads: each worker scores its own rows with its
 * own scratch. Memory: all made at boot. */
#ifndef QN_SCORE_SCORE_H
#define QN_SCORE_SCORE_H

#include "event/batch.h"
#include "model/model.h"

struct qn_scorer; /* private */

/* columns[i]: which column of `cols` (below) feeds input i of the model; bool, int64, double or
 * decimal, or string where the model knows the input's words. */
qn_status qn_scorer_new(const struct qn_model *m, const uint32_t *columns, uint32_t workers,
                        uint32_t rows_max, struct qn_arena *boot, struct qn_scorer **out,
                        struct qn_err *err);

/* Scores the rows of [first, end) where want is 1 into margins[o][row], o < outputs of the
 * model, and scores[o][row], o < predictions of the model. At most rows_max rows a call. */
void qn_scorer_run(struct qn_scorer *s, const struct qn_col *const *cols, const uint8_t *want,
                   uint32_t first, uint32_t end, uint32_t worker, double *const *margins,
                   double *const *scores);

/* Why the model's margins cannot be explained, NULL = they can (model/treeshap.h). */
const char *qn_scorer_explain_obstacle(const struct qn_scorer *s);
/* Makes what qn_scorer_explain needs. Once, at boot; the model must have no obstacle. */
qn_status qn_scorer_explain_init(struct qn_scorer *s, uint32_t workers, struct qn_arena *boot,
                                 struct qn_err *err);
/* What each input added to the margins of the given rows: contributions[(output * (inputs + 1) +
 * input) * stride + i] for rows[i], the bias behind the inputs; i < count, at most rows_max. */
void qn_scorer_explain(struct qn_scorer *s, const struct qn_col *const *cols, const uint32_t *rows,
                       uint32_t count, uint32_t worker, double *contributions, uint32_t stride);

#endif
