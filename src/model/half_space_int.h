/* SPDX-License-Identifier: Apache-2.0
 * half_space_int.h - what the model room itself asks of half-space trees. Face: half_space.h.
 *
 * Thread: any. Memory: freed at the end. */
#ifndef QN_MODEL_HALF_SPACE_INT_H
#define QN_MODEL_HALF_SPACE_INT_H

#include "model/half_space.h"

/* What an event costs: its leaves, its mass, its share of a window's end. As qn_model_cost, not yet
 * rounded. */
bool qn_half_space_cost(const struct qn_half_space *h, double *alone_ns, double *batched_ns);

#endif
