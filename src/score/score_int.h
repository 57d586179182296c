/* SPDX-License-Identifier: Apache-2.0
 * score_int.h - what the files of the room share: columns of any type as a model's doubles.
 *
 * Thread: any. Memory: the caller's. */
#ifndef QN_SCORE_SCORE_INT_H
#define QN_SCORE_SCORE_INT_H

#include "event/batch.h"
#include "model/model.h"

/* Input `input` of the given rows of a column, dense, as the model's doubles; null is NaN. */
void qn_score_pack(const struct qn_model *m, uint32_t input, const struct qn_col *c,
                   const uint32_t *rows, uint32_t n, double *to);

#endif
