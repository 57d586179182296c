/* SPDX-License-Identifier: Apache-2.0
 * row_avx2.h - few rows on the tables of lanes.h (row_avx2.c), for kernel `avx2`.
 *
 * Thread: any, each with its own scratch. Memory: scratch, aligned to 64, QN_LANES_ROW_CODES bytes.
 */
#ifndef QN_MODEL_ROW_AVX2_H
#define QN_MODEL_ROW_AVX2_H

#include "model/model_int.h"

/* clang takes minutes to instrument the unrolled trees; gcc's sanitizers do check them. */
#ifdef __clang__
#define UNCHECKED __attribute__((no_sanitize("address", "undefined", "coverage")))
#else
#define UNCHECKED
#endif
#define TARGET  UNCHECKED __attribute__((target("avx2,bmi2,popcnt")))
#define INLINED QN_COPIED TARGET

/* False where the trees have no form for single rows. */
bool qn_model_row_avx2_can(const struct qn_model *m);
/* As qn_model_kernel.score. */
void qn_model_row_avx2(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, void *scratch, void *sums);

#endif
