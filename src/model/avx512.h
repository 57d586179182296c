/* SPDX-License-Identifier: Apache-2.0
 * avx512.h - what the AVX-512 kernels share: inputs as the library sees them, and their ranks.
 *
 * The rank of an input is the number of its column's cuts that are <= it. The functions carry the
 * instruction set themselves and are inlined into kernels that do so too. Sixteen floats or eight
 * doubles search their column's cuts in step, one level a step. Thread: any. Memory: none. */
#ifndef QN_MODEL_AVX512_H
#define QN_MODEL_AVX512_H

#include "model/lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* clang takes many minutes to instrument the unrolled trees; gcc's sanitizers do check them. */
#ifdef __clang__
#define UNCHECKED __attribute__((no_sanitize("address", "undefined", "coverage")))
#else
#define UNCHECKED
#endif
#define TARGET                                                                                     \
    UNCHECKED __attribute__((                                                                      \
        target("avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi2,popcnt")))
#define INLINED QN_COPIED TARGET

enum { QN_AVX512_PARTS = 4 }; /* times 16 rows that search in step, at most */

/* Pivots of one level for 16 rows: they lie in one register, or in several chosen by the first
 * decisions; deeper levels are gathered. */
INLINED __m512 pivots_at(const float *pivots, const unsigned level, __m512i index, __mmask16 first,
                         __mmask16 second)
{
    const float *p = pivots + ((size_t)1 << level);

    if (level == 0)
        return _mm512_set1_ps(p[0]);
    if (level < 4)
        return _mm512_permutexvar_ps(index, _mm512_load_ps(pivots));
    if (level == 4)
        return _mm512_permutexvar_ps(index, _mm512_load_ps(p));
    if (level == 5)
        return _mm512_permutex2var_ps(_mm512_load_ps(p), index, _mm512_load_ps(p + 16));
    if (level == 6)
        return _mm512_mask_blend_ps(
            first, _mm512_permutex2var_ps(_mm512_load_ps(p), index, _mm512_load_ps(p + 16)),
            _mm512_permutex2var_ps(_mm512_load_ps(p + 32), index, _mm512_load_ps(p + 48)));
    if (level == 7)
        return _mm512_mask_blend_ps(
            first,
            _mm512_mask_blend_ps(
                second, _mm512_permutex2var_ps(_mm512_load_ps(p), index, _mm512_load_ps(p + 16)),
                _mm512_permutex2var_ps(_mm512_load_ps(p + 32), index, _mm512_load_ps(p + 48))),
            _mm512_mask_blend_ps(
                second,
                _mm512_permutex2var_ps(_mm512_load_ps(p + 64), index, _mm512_load_ps(p + 80)),
                _mm512_permutex2var_ps(_mm512_load_ps(p + 96), index, _mm512_load_ps(p + 112))));
    return _mm512_i32gather_ps(index, pivots, 4);
}

/* Ranks of 16 floats by comparison: any number of levels, any cut. */
INLINED __m512i search_compared(const float *pivots, const unsigned levels, __m512 x)
{
    const __m512i one = _mm512_set1_epi32(1);
    __m512i index = one;
    __mmask16 first = 0, second = 0, right;

    for (unsigned level = 0; level < levels; level++) {
        right = _mm512_cmp_ps_mask(x, pivots_at(pivots, level, index, first, second), _CMP_GE_OQ);
        index = _mm512_add_epi32(index, index);
        index = _mm512_mask_add_epi32(index, right, index, one);
        if (level == 0)
            first = right;
        else if (level == 1)
            second = right;
    }
    return _mm512_sub_epi32(index, _mm512_set1_epi32((int)(1u << levels)));
}

/* Ranks of 16 floats each in `parts` registers. The difference of the number before the cut and
 * the input is negative exactly where the input is at or above the cut, and its sign is shifted
 * into the index. */
INLINED void search_floats(const float *before, const unsigned levels, const unsigned parts,
                           const __m512 *x, __m512i *rank)
{
    __mmask16 first[QN_AVX512_PARTS] = {0}, second[QN_AVX512_PARTS] = {0};

#pragma GCC unroll 4
    for (unsigned v = 0; v < parts; v++)
        rank[v] = _mm512_set1_epi32(1);
#pragma GCC unroll 8
    for (unsigned level = 0; level < levels; level++) {
#pragma GCC unroll 4
        for (unsigned v = 0; v < parts; v++) {
            const __m512i sign = _mm512_castps_si512(
                _mm512_sub_ps(pivots_at(before, level, rank[v], first[v], second[v]), x[v]));

            rank[v] = _mm512_shldi_epi32(rank[v], sign, 1);
            if (level == 0 && levels > 6)
                first[v] = _mm512_movepi32_mask(sign);
            if (level == 1 && levels > 7)
                second[v] = _mm512_movepi32_mask(sign);
        }
    }
#pragma GCC unroll 4
    for (unsigned v = 0; v < parts; v++)
        rank[v] = _mm512_sub_epi32(rank[v], _mm512_set1_epi32((int)(1u << levels)));
}

/* Rank of 8 doubles. */
INLINED __m256i search_double(const double *pivots, const unsigned levels, __m512d x)
{
    const __m512i one = _mm512_set1_epi64(1);
    __m512i index = one;
    __mmask8 first = 0, right;

    for (unsigned level = 0; level < levels; level++) {
        const double *p = pivots + ((size_t)1 << level);
        __m512d pivot;

        if (level < 3)
            pivot = _mm512_permutexvar_pd(index, _mm512_load_pd(pivots));
        else if (level == 3)
            pivot = _mm512_permutexvar_pd(index, _mm512_load_pd(p));
        else if (level == 4)
            pivot = _mm512_permutex2var_pd(_mm512_load_pd(p), index, _mm512_load_pd(p + 8));
        else if (level == 5)
            pivot = _mm512_mask_blend_pd(
                first, _mm512_permutex2var_pd(_mm512_load_pd(p), index, _mm512_load_pd(p + 8)),
                _mm512_permutex2var_pd(_mm512_load_pd(p + 16), index, _mm512_load_pd(p + 24)));
        else
            pivot = _mm512_i64gather_pd(index, pivots, 8);
        right = _mm512_cmp_pd_mask(x, pivot, _CMP_GE_OQ);
        index = _mm512_add_epi64(index, index);
        index = _mm512_mask_add_epi64(index, right, index, one);
        if (level == 0)
            first = right;
    }
    index = _mm512_sub_epi64(index, _mm512_set1_epi64((long long)1 << levels));
    return _mm512_cvtepi64_epi32(index);
}

/* Eight inputs as the library sees them, as qn_model_convert; in `zero_missing` a zero is missing.
 */
INLINED __m512d convert(const struct qn_model *m, __mmask8 zero_missing, __m512d x)
{
    const __m512d nan = _mm512_set1_pd(NAN), zero = _mm512_set1_pd(QN_MODEL_ZERO);

    if (m->info.is_float)
        x = _mm512_cvtps_pd(_mm512_cvtpd_ps(x));
    if (m->has_missing)
        x = _mm512_mask_mov_pd(x, _mm512_cmp_pd_mask(x, _mm512_set1_pd(m->missing), _CMP_EQ_OQ),
                               nan);
    if (m->forest.snaps_zero)
        x = _mm512_mask_mov_pd(x, _mm512_cmp_pd_mask(_mm512_abs_pd(x), zero, _CMP_LE_OQ),
                               _mm512_setzero_pd());
    if (zero_missing != 0)
        x = _mm512_mask_mov_pd(
            x, _mm512_mask_cmp_pd_mask(zero_missing, _mm512_abs_pd(x), zero, _CMP_LE_OQ), nan);
    return x;
}

/* Sixteen inputs as floats, where the model's cuts are floats (qn_lanes.is_float). What a double
 * model does to its inputs is done before the rounding. */
INLINED __m512 convert_float(const struct qn_model *m, bool zero_missing, const double *in,
                             uint32_t rows)
{
    __m256 low, high;

    if (m->has_missing || m->forest.snaps_zero || zero_missing) {
        const __mmask8 zero = zero_missing ? 0xff : 0;

        low = _mm512_cvtpd_ps(convert(m, zero, _mm512_maskz_loadu_pd((__mmask8)rows, in)));
        high =
            _mm512_cvtpd_ps(convert(m, zero, _mm512_maskz_loadu_pd((__mmask8)(rows >> 8), in + 8)));
    } else {
        low = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)rows, in));
        high = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)(rows >> 8), in + 8));
    }
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

/* Ranks of `parts` times 16 rows of one numeric column, which rows are missing; `levels` and
 * `parts` are constants. Rows behind the last count as 0. */
INLINED void ranks_of(const struct qn_model *m, uint32_t number, const unsigned levels,
                      const unsigned parts, const double *in, uint32_t rows, __m512i *rank,
                      __mmask16 *missing)
{
    const struct qn_plan_column *pc = &m->plan.columns[number];
    const struct qn_lanes_column *c = &m->plan.lanes->columns[number];
    const __mmask8 zero_missing = pc->zero_missing ? 0xff : 0;
    __m512 x[QN_AVX512_PARTS];

#pragma GCC unroll 4
    for (unsigned v = 0; v < parts; v++) {
        const uint32_t left = rows > 16 * v ? rows - 16 * v : 0;
        const uint32_t mask = left >= 16 ? 0xffff : (1u << left) - 1;

        x[v] = _mm512_setzero_ps();
        rank[v] = _mm512_setzero_si512();
        if (m->plan.lanes->is_float) {
            x[v] = convert_float(m, pc->zero_missing, in + (size_t)16 * v, mask);
            missing[v] = _mm512_cmp_ps_mask(x[v], x[v], _CMP_UNORD_Q);
        } else {
            const double *at = in + (size_t)16 * v;
            const __m512d low = convert(m, zero_missing, _mm512_maskz_loadu_pd((__mmask8)mask, at));
            const __m512d high =
                convert(m, zero_missing, _mm512_maskz_loadu_pd((__mmask8)(mask >> 8), at + 8));

            missing[v] = (__mmask16)(_mm512_cmp_pd_mask(low, low, _CMP_UNORD_Q) |
                                     (unsigned)_mm512_cmp_pd_mask(high, high, _CMP_UNORD_Q) << 8);
            rank[v] =
                _mm512_inserti32x8(_mm512_castsi256_si512(search_double(c->pivots, levels, low)),
                                   search_double(c->pivots, levels, high), 1);
        }
    }
    if (!m->plan.lanes->is_float)
        return;
    if (levels <= 8 && c->before != NULL) {
        search_floats(c->before, levels, parts, x, rank);
        return;
    }
    for (unsigned v = 0; v < parts; v++)
        rank[v] = search_compared(c->pivots, levels, x[v]);
}

/* Chooses the code for the usual numbers of levels at compile time: call(levels) is a statement. */
#define QN_AVX512_BY_LEVELS(levels, call)                                                          \
    switch (levels) {                                                                              \
    case 4:                                                                                        \
        call(4);                                                                                   \
        break;                                                                                     \
    case 5:                                                                                        \
        call(5);                                                                                   \
        break;                                                                                     \
    case 6:                                                                                        \
        call(6);                                                                                   \
        break;                                                                                     \
    case 7:                                                                                        \
        call(7);                                                                                   \
        break;                                                                                     \
    case 8:                                                                                        \
        call(8);                                                                                   \
        break;                                                                                     \
    default:                                                                                       \
        call(levels);                                                                              \
        break;                                                                                     \
    }

#endif
#endif
