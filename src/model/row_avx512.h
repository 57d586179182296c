/* SPDX-License-Identifier: Apache-2.0
 * row_avx512.h - few rows on the tables of lanes.h (row_avx512.c), for the AVX-512 kernels.
 *
 * Thread: any, each with its own scratch. Memory: scratch, aligned to 64. */
#ifndef QN_MODEL_ROW_AVX512_H
#define QN_MODEL_ROW_AVX512_H

#include "model/model_int.h"

/* Up to how many rows it may be asked for; beyond, trees that have no form here are slow. */
uint32_t qn_model_row_avx512_max(const struct qn_model *m);
size_t qn_model_row_avx512_scratch(const struct qn_model *m);
/* As qn_model_kernel.score. */
void qn_model_row_avx512(const struct qn_model *m, const double *const *columns, uint32_t first,
                         uint32_t rows, void *scratch, void *sums);
/* Codes of a block, as qn_model_quantise with stride QN_MODEL_BLOCK (kernel_avx512.c). */
void qn_model_avx512_quantise(const struct qn_model *m, const double *const *columns,
                              uint32_t first, uint32_t rows, int8_t *codes);

#endif
