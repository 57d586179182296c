/* SPDX-License-Identifier: Apache-2.0
 * kernel_avx512.c - kernel `avx512`: 64 rows at a time, or one row, on the tables of lanes.h.
 *
 * Needs AVX-512 F, BW, DQ, VL and VBMI; functions carry the target themselves, so that the file is
 * compiled like any other and the rest of the program runs anywhere. Four parts:
 *
 *   quantise  16 floats or 8 doubles search their column's cuts in step, pivots by register permute
 *   perfect   64 rows through a perfect tree: the columns of a level's nodes are reduced to one by
 *             the decisions so far, the oldest first, so that the newest, still in flight, is
 *             needed last; limits by byte permute; one compare gives 64 decisions
 *   shape     any tree of up to 64 leaves: a mask of the rows that reach a node, divided by its
 *             test among the children
 *   row       one row: a permute and a compare answer all 63 nodes of a tree; up to a third of a
 * block, four rows in step
 *
 * Sums are kept in the order in which the planes of leaf bytes come apart, and put right once per
 * block. Trees that fit neither form go through kernel_columns.c. Invariant: the same turns as the
 * plan, leaves added in file order. Thread: any. Memory: scratch only. */
#include "base/check.h"
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
    UNCHECKED __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2,popcnt")))
#define INLINED static inline __attribute__((always_inline)) TARGET

/* Up to here rows go one by one; the columns of a block cost the same for 1 row as for 64. */
enum {
    ROWS_SINGLE_MAX = 24,
    ROWS_WALKED_MAX = 6, /* the same where the trees of one row are walked by kernel_columns.c */
    ROWS_CODED_MIN = 6,  /* from here on coding columns of 16 rows and turning them is quicker */
    ROWS_TURNED = 16,
    ROWS_AT_ONCE = 4,
    CODE_MAX = 254
};

/* ---- quantise ---- */

/* Rank of 16 floats: index in the search tree, one level a step. The pivots of a level lie in one
 * register, or in several chosen by the first decisions; deeper levels are gathered. */
INLINED __m512i search_float(const float *pivots, const unsigned levels, __m512 x)
{
    const __m512i one = _mm512_set1_epi32(1);
    __m512i index = one;
    __mmask16 first = 0, second = 0, right;

    for (unsigned level = 0; level < levels; level++) {
        const float *p = pivots + ((size_t)1 << level);
        __m512 pivot;

        if (level < 4)
            pivot = _mm512_permutexvar_ps(index, _mm512_load_ps(pivots));
        else if (level == 4)
            pivot = _mm512_permutexvar_ps(index, _mm512_load_ps(p));
        else if (level == 5)
            pivot = _mm512_permutex2var_ps(_mm512_load_ps(p), index, _mm512_load_ps(p + 16));
        else if (level == 6)
            pivot = _mm512_mask_blend_ps(
                first, _mm512_permutex2var_ps(_mm512_load_ps(p), index, _mm512_load_ps(p + 16)),
                _mm512_permutex2var_ps(_mm512_load_ps(p + 32), index, _mm512_load_ps(p + 48)));
        else if (level == 7)
            pivot = _mm512_mask_blend_ps(
                first,
                _mm512_mask_blend_ps(
                    second,
                    _mm512_permutex2var_ps(_mm512_load_ps(p), index, _mm512_load_ps(p + 16)),
                    _mm512_permutex2var_ps(_mm512_load_ps(p + 32), index, _mm512_load_ps(p + 48))),
                _mm512_mask_blend_ps(
                    second,
                    _mm512_permutex2var_ps(_mm512_load_ps(p + 64), index, _mm512_load_ps(p + 80)),
                    _mm512_permutex2var_ps(_mm512_load_ps(p + 96), index,
                                           _mm512_load_ps(p + 112))));
        else
            pivot = _mm512_i32gather_ps(index, pivots, 4);
        right = _mm512_cmp_ps_mask(x, pivot, _CMP_GE_OQ);
        index = _mm512_add_epi32(index, index);
        index = _mm512_mask_add_epi32(index, right, index, one);
        if (level == 0)
            first = right;
        else if (level == 1)
            second = right;
    }
    return _mm512_sub_epi32(index, _mm512_set1_epi32((int)(1u << levels)));
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

/* Eight inputs as the library sees them, as qn_model_convert; rows behind the last are 0. In
 * `zero_missing` a zero is missing. */
INLINED __m512d convert(const struct qn_model *m, __mmask8 zero_missing, const double *in,
                        __mmask8 rows)
{
    const __m512d nan = _mm512_set1_pd(NAN), zero = _mm512_set1_pd(QN_MODEL_ZERO);
    __m512d x = _mm512_maskz_loadu_pd(rows, in);

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

/* Sixteen inputs of a float model. */
INLINED __m512 convert_float(const struct qn_model *m, bool zero_missing, const double *in,
                             uint32_t rows)
{
    const __m512 nan = _mm512_set1_ps(NAN), zero = _mm512_set1_ps((float)QN_MODEL_ZERO);
    const __m256 low = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)rows, in));
    const __m256 high = _mm512_cvtpd_ps(_mm512_maskz_loadu_pd((__mmask8)(rows >> 8), in + 8));
    __m512 x = _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);

    /* a missing value that is no float equals none */
    if (m->has_missing && (double)(float)m->missing == m->missing)
        x = _mm512_mask_mov_ps(
            x, _mm512_cmp_ps_mask(x, _mm512_set1_ps((float)m->missing), _CMP_EQ_OQ), nan);
    if (m->forest.snaps_zero)
        x = _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(_mm512_abs_ps(x), zero, _CMP_LE_OQ),
                               _mm512_setzero_ps());
    if (zero_missing)
        x = _mm512_mask_mov_ps(x, _mm512_cmp_ps_mask(_mm512_abs_ps(x), zero, _CMP_LE_OQ), nan);
    return x;
}

/* `is_plain`: no rank is above CODE_MAX, so that nothing must be held between the limits. */
INLINED void put_codes(const struct qn_plan *p, const struct qn_plan_column *pc, __m512i rank,
                       __mmask16 missing, bool is_plain, int8_t *codes)
{
    for (uint32_t k = pc->first_code; k < pc->first_code + pc->code_count; k++) {
        const struct qn_plan_code *code = &p->codes[k];
        __m512i v = rank;

        if (!is_plain) {
            v = _mm512_sub_epi32(rank, _mm512_set1_epi32((int)code->base));
            v = _mm512_max_epi32(v, _mm512_setzero_si512());
            v = _mm512_min_epi32(v, _mm512_set1_epi32(CODE_MAX));
        }
        v = _mm512_mask_mov_epi32(v, missing, _mm512_set1_epi32(code->missing));
        v = _mm512_sub_epi32(v, _mm512_set1_epi32(128));
        _mm_store_si128((__m128i *)(void *)(codes + (size_t)k * QN_MODEL_BLOCK),
                        _mm512_cvtepi32_epi8(v));
    }
}

/* Sixteen rows at a time of one column; `levels` is a constant for the usual numbers of cuts. */
INLINED void column(const struct qn_model *m, uint32_t number, const unsigned levels,
                    const double *in, uint32_t rows, int8_t *codes)
{
    const struct qn_plan_column *pc = &m->plan.columns[number];
    const void *pivots = m->plan.lanes->columns[number].pivots;

    for (uint32_t r = 0; r < rows; r += 16) {
        const uint32_t mask = rows - r >= 16 ? 0xffff : (1u << (rows - r)) - 1;
        __mmask16 missing;
        __m512i rank;

        if (m->info.is_float) {
            const __m512 x = convert_float(m, pc->zero_missing, in + r, mask);

            missing = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
            rank = search_float(pivots, levels, x);
        } else {
            const __mmask8 zero_missing = pc->zero_missing ? 0xff : 0;
            const __m512d low = convert(m, zero_missing, in + r, (__mmask8)mask);
            const __m512d high = convert(m, zero_missing, in + r + 8, (__mmask8)(mask >> 8));

            missing = (__mmask16)(_mm512_cmp_pd_mask(low, low, _CMP_UNORD_Q) |
                                  (unsigned)_mm512_cmp_pd_mask(high, high, _CMP_UNORD_Q) << 8);
            rank = _mm512_inserti32x8(_mm512_castsi256_si512(search_double(pivots, levels, low)),
                                      search_double(pivots, levels, high), 1);
        }
        /* eight levels can give 255 */
        put_codes(&m->plan, pc, rank, missing, levels < 8, codes + r);
    }
}

TARGET static void quantise(const struct qn_model *m, const double *const *columns, uint32_t first,
                            uint32_t rows, int8_t *codes)
{
    const struct qn_plan *p = &m->plan;

    if (p->code_count == 0)
        memset(codes, 0, QN_MODEL_BLOCK);
    for (uint32_t k = 0; k < p->column_count; k++) {
        const double *in = columns[p->columns[k].column] + first;

        if (p->columns[k].is_category) {
            qn_model_quantise_column(m, &p->columns[k], columns, first, rows, QN_MODEL_BLOCK,
                                     codes);
            continue;
        }
        switch (p->columns[k].levels) {
        case 4:
            column(m, k, 4, in, rows, codes);
            break;
        case 5:
            column(m, k, 5, in, rows, codes);
            break;
        case 6:
            column(m, k, 6, in, rows, codes);
            break;
        case 7:
            column(m, k, 7, in, rows, codes);
            break;
        case 8:
            column(m, k, 8, in, rows, codes);
            break;
        default:
            column(m, k, p->columns[k].levels, in, rows, codes);
            break;
        }
    }
}

/* ---- leaves of 64 rows ---- */

/* A byte per row from a table by the row's decisions; those after the sixth choose among tables. */
INLINED __m512i look_up(const uint8_t *table, __m512i index, const __mmask64 *d,
                        const unsigned depth)
{
    const __m512i a = _mm512_permutexvar_epi8(index, _mm512_load_si512(table));

    if (depth <= 6)
        return a;
    if (depth == 7)
        return _mm512_mask_permutexvar_epi8(a, d[6], index, _mm512_load_si512(table + 64));
    return _mm512_mask_blend_epi8(
        d[7], _mm512_mask_permutexvar_epi8(a, d[6], index, _mm512_load_si512(table + 64)),
        _mm512_mask_permutexvar_epi8(_mm512_permutexvar_epi8(index, _mm512_load_si512(table + 128)),
                                     d[6], index, _mm512_load_si512(table + 192)));
}

/* Planes of bytes to numbers: sums[16 j + 4 l + e] belongs to row 16 l + 4 j + e. */
INLINED void add_float(const uint8_t *planes, __m512i index, const __mmask64 *d,
                       const unsigned depth, float *sums)
{
    const size_t plane = qn_lanes_plane_bytes(depth);
    const __m512i b0 = look_up(planes, index, d, depth);
    const __m512i b1 = look_up(planes + plane, index, d, depth);
    const __m512i b2 = look_up(planes + 2 * plane, index, d, depth);
    const __m512i b3 = look_up(planes + 3 * plane, index, d, depth);
    const __m512i low01 = _mm512_unpacklo_epi8(b0, b1), high01 = _mm512_unpackhi_epi8(b0, b1);
    const __m512i low23 = _mm512_unpacklo_epi8(b2, b3), high23 = _mm512_unpackhi_epi8(b2, b3);
    const __m512i value[4] = {
        _mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
        _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)};

#pragma GCC unroll 4
    for (unsigned j = 0; j < 4; j++)
        _mm512_store_ps(sums + 16 * j, _mm512_add_ps(_mm512_load_ps(sums + 16 * j),
                                                     _mm512_castsi512_ps(value[j])));
}

/* Four planes to four vectors of 32-bit halves, in the order of add_float. */
INLINED void halves(const uint8_t *planes, size_t plane, __m512i index, const __mmask64 *d,
                    const unsigned depth, __m512i *out)
{
    const __m512i b0 = look_up(planes, index, d, depth);
    const __m512i b1 = look_up(planes + plane, index, d, depth);
    const __m512i b2 = look_up(planes + 2 * plane, index, d, depth);
    const __m512i b3 = look_up(planes + 3 * plane, index, d, depth);
    const __m512i low01 = _mm512_unpacklo_epi8(b0, b1), high01 = _mm512_unpackhi_epi8(b0, b1);
    const __m512i low23 = _mm512_unpacklo_epi8(b2, b3), high23 = _mm512_unpackhi_epi8(b2, b3);

    out[0] = _mm512_unpacklo_epi16(low01, low23);
    out[1] = _mm512_unpackhi_epi16(low01, low23);
    out[2] = _mm512_unpacklo_epi16(high01, high23);
    out[3] = _mm512_unpackhi_epi16(high01, high23);
}

/* sums[8 j + 2 l + e] belongs to row 16 l + 2 j + e. */
INLINED void add_double(const uint8_t *planes, __m512i index, const __mmask64 *d,
                        const unsigned depth, double *sums)
{
    const size_t plane = qn_lanes_plane_bytes(depth);
    __m512i low[4], high[4];

    halves(planes, plane, index, d, depth, low);
    halves(planes + 4 * plane, plane, index, d, depth, high);
#pragma GCC unroll 4
    for (unsigned j = 0; j < 4; j++) {
        const __m512d a = _mm512_castsi512_pd(_mm512_unpacklo_epi32(low[j], high[j]));
        const __m512d b = _mm512_castsi512_pd(_mm512_unpackhi_epi32(low[j], high[j]));
        double *at = sums + 16 * j;

        _mm512_store_pd(at, _mm512_add_pd(_mm512_load_pd(at), a));
        _mm512_store_pd(at + 8, _mm512_add_pd(_mm512_load_pd(at + 8), b));
    }
}

/* Sums between the order of rows and the order above. `unit`: numbers that stay together. */
static void reorder(char *sums, size_t width, bool to_rows)
{
    const size_t chunk = 16, chunks = QN_MODEL_BLOCK * width / chunk, lanes = 4;
    const size_t per_lane = chunks / lanes;
    char copy[QN_MODEL_BLOCK * sizeof(double)];

    memcpy(copy, sums, chunks * chunk);
    for (size_t lane = 0; lane < lanes; lane++) {
        for (size_t j = 0; j < per_lane; j++) {
            const size_t in_rows = (lane * per_lane + j) * chunk;
            const size_t in_sums = (j * lanes + lane) * chunk;

            if (to_rows)
                memcpy(sums + in_rows, copy + in_sums, chunk);
            else
                memcpy(sums + in_sums, copy + in_rows, chunk);
        }
    }
}

/* ---- perfect: 64 rows of one perfect tree ---- */

/* FOLD_n(i, h): column of the nodes i, i + s, i + 2s, ... (2^n of them) of one level, folded by the
 * n oldest decisions; h is half the level. */
#define COLUMN(i)    (const void *)(codes + offsets[(i)])
#define FOLD_0(i)    _mm512_load_si512(COLUMN(i))
#define FOLD_1(i, h) _mm512_mask_loadu_epi8(FOLD_0(i), d[0], COLUMN((i) + (h)))
#define FOLD_2(i, h) _mm512_mask_blend_epi8(d[1], FOLD_1(i, h), FOLD_1((i) + (h) / 2, h))
#define FOLD_3(i, h) _mm512_mask_blend_epi8(d[2], FOLD_2(i, h), FOLD_2((i) + (h) / 4, h))
#define FOLD_4(i, h) _mm512_mask_blend_epi8(d[3], FOLD_3(i, h), FOLD_3((i) + (h) / 8, h))
#define FOLD_5(i, h) _mm512_mask_blend_epi8(d[4], FOLD_4(i, h), FOLD_4((i) + (h) / 16, h))
#define FOLD_6(i, h) _mm512_mask_blend_epi8(d[5], FOLD_5(i, h), FOLD_5((i) + (h) / 32, h))
#define FOLD_7(i, h) _mm512_mask_blend_epi8(d[6], FOLD_6(i, h), FOLD_6((i) + (h) / 64, h))

/* One level: its limits, its decisions, and their bit in the index. */
#define DECIDE(level, column)                                                                      \
    do {                                                                                           \
        const __m512i limit = (level) == 0                                                         \
                                  ? _mm512_load_si512(limits)                                      \
                                  : look_up(limits + 64 * (level), index, d, (level) < 7 ? 6 : 7); \
        d[level] = _mm512_cmpgt_epi8_mask((column), limit);                                        \
        index =                                                                                    \
            _mm512_mask_add_epi8(index, d[level], index, _mm512_set1_epi8((char)(1u << (level)))); \
    } while (0)

INLINED __m512i follow(const uint8_t *block, const int8_t *codes, const unsigned depth,
                       __mmask64 *d)
{
    const uint32_t *offsets = (const uint32_t *)(const void *)block;
    const uint8_t *limits = block + qn_lanes_limits_at(depth);
    __m512i index = _mm512_setzero_si512();

    DECIDE(0, FOLD_0(1));
    if (depth > 1)
        DECIDE(1, FOLD_1(2, 1));
    if (depth > 2)
        DECIDE(2, FOLD_2(4, 2));
    if (depth > 3)
        DECIDE(3, FOLD_3(8, 4));
    if (depth > 4)
        DECIDE(4, FOLD_4(16, 8));
    if (depth > 5)
        DECIDE(5, FOLD_5(32, 16));
    if (depth > 6)
        DECIDE(6, FOLD_6(64, 32));
    if (depth > 7)
        DECIDE(7, FOLD_7(128, 64));
    return index;
}

INLINED void perfect(const struct qn_lanes_tree *tree, const int8_t *codes, const unsigned depth,
                     bool is_float, void *sums)
{
    const uint8_t *planes = tree->block + qn_lanes_planes_at(depth);
    __mmask64 d[QN_LANES_DEPTH] = {0};
    __m512i index = follow(tree->block, codes, depth, d);

    if (is_float)
        add_float(planes, index, d, depth, sums);
    else
        add_double(planes, index, d, depth, sums);
}

/* ---- shape: 64 rows of any tree of up to 64 leaves ---- */

INLINED void shape(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float, void *sums)
{
    uint64_t reach[2 * QN_LANES_LEAVES];
    const __m512i one = _mm512_set1_epi8(1);
    __m512i index = _mm512_setzero_si512(), number = one;

    reach[0] = ~(uint64_t)0;
    for (unsigned i = 0; i < tree->test_count; i++) {
        const struct qn_lanes_test t = tree->tests[i];
        const uint64_t right = _cvtmask64_u64(_mm512_cmpgt_epi8_mask(
            _mm512_load_si512((const void *)(codes + t.offset)), _mm512_set1_epi8(t.limit)));

        reach[t.left] = reach[t.at] & ~right;
        reach[t.left + 1] = reach[t.at] & right;
    }
    for (unsigned i = 1; i < tree->leaf_count; i++) {
        index = _mm512_mask_mov_epi8(index, _cvtu64_mask64(reach[tree->leaf_nodes[i]]), number);
        number = _mm512_add_epi8(number, one);
    }
    if (is_float)
        add_float(tree->block, index, NULL, 6, sums);
    else
        add_double(tree->block, index, NULL, 6, sums);
}

/* ---- a block of rows ---- */

INLINED void tree_by_depth(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float,
                           void *sums)
{
    switch (tree->depth) {
    case 1:
        perfect(tree, codes, 1, is_float, sums);
        break;
    case 2:
        perfect(tree, codes, 2, is_float, sums);
        break;
    case 3:
        perfect(tree, codes, 3, is_float, sums);
        break;
    case 4:
        perfect(tree, codes, 4, is_float, sums);
        break;
    case 5:
        perfect(tree, codes, 5, is_float, sums);
        break;
    case 6:
        perfect(tree, codes, 6, is_float, sums);
        break;
    case 7:
        perfect(tree, codes, 7, is_float, sums);
        break;
    default:
        perfect(tree, codes, 8, is_float, sums);
        break;
    }
}

INLINED void block(const struct qn_model *m, const int8_t *codes, uint32_t rows, bool is_float,
                   void *sums)
{
    const size_t width = is_float ? sizeof(float) : sizeof(double);

    for (size_t k = 0; k < m->info.outputs; k++)
        reorder((char *)sums + k * QN_MODEL_BLOCK * width, width, false);
    for (size_t t = 0; t < m->forest.tree_count; t++) {
        const struct qn_lanes_tree *tree = &m->plan.lanes->trees[t];
        char *at = (char *)sums + (size_t)m->forest.trees[t].output * QN_MODEL_BLOCK * width;

        if (tree->form == QN_LANES_PERFECT) {
            tree_by_depth(tree, codes, is_float, at);
        } else if (tree->form == QN_LANES_SHAPE) {
            shape(tree, codes, is_float, at);
        } else {
            reorder(at, width, true);
            qn_model_node_tree(m, &m->forest.trees[t], codes, rows, at);
            reorder(at, width, false);
        }
    }
    for (size_t k = 0; k < m->info.outputs; k++)
        reorder((char *)sums + k * QN_MODEL_BLOCK * width, width, true);
}

TARGET static void block_float(const struct qn_model *m, const int8_t *codes, uint32_t rows,
                               void *sums)
{
    block(m, codes, rows, true, sums);
}

TARGET static void block_double(const struct qn_model *m, const int8_t *codes, uint32_t rows,
                                void *sums)
{
    block(m, codes, rows, false, sums);
}

/* ---- row ---- */

/* Cuts that are <= x: of 16 pivots, then of the 16 cuts behind the last of them. */
INLINED uint32_t rank_float(const struct qn_lanes_column *c, const double *value)
{
    const __m512 x = _mm512_set1_ps((float)*value);
    const float *cuts = c->sorted;
    const uint32_t blocks =
        (uint32_t)_mm_popcnt_u32(_mm512_cmp_ps_mask(x, _mm512_load_ps(c->coarse), _CMP_GE_OQ));

    return 16 * blocks + (uint32_t)_mm_popcnt_u32(_mm512_cmp_ps_mask(
                             x, _mm512_load_ps(cuts + (size_t)16 * blocks), _CMP_GE_OQ));
}

INLINED uint32_t count_double(const double *cuts, __m512d x)
{
    return (uint32_t)_mm_popcnt_u32(
        _mm512_cmp_pd_mask(x, _mm512_load_pd(cuts), _CMP_GE_OQ) |
        (unsigned)_mm512_cmp_pd_mask(x, _mm512_load_pd(cuts + 8), _CMP_GE_OQ) << 8);
}

INLINED uint32_t rank_double(const struct qn_lanes_column *c, const double *value)
{
    const __m512d x = _mm512_set1_pd(*value);
    const uint32_t blocks = count_double(c->coarse, x);

    return 16 * blocks + count_double((const double *)c->sorted + (size_t)16 * blocks, x);
}

INLINED void quantise_row(const struct qn_model *m, const double *const *columns, uint32_t row,
                          bool is_float, int8_t *codes)
{
    const struct qn_plan *p = &m->plan;

    for (uint32_t k = 0; k < p->column_count; k++) {
        const struct qn_plan_column *pc = &p->columns[k];
        const struct qn_lanes_column *c = &p->lanes->columns[k];
        double x;
        int32_t rank;

        if (c->coarse == NULL) { /* categories, or very many cuts */
            qn_model_quantise_column(m, pc, columns, row, 1, 1, codes);
            continue;
        }
        x = qn_model_convert(m, columns[pc->column][row]);
        if (pc->zero_missing && fabs(x) <= QN_MODEL_ZERO)
            x = NAN;
        rank = (int32_t)(is_float ? rank_float(c, &x) : rank_double(c, &x));
        for (uint32_t i = pc->first_code; i < pc->first_code + pc->code_count; i++) {
            int32_t v = rank - (int32_t)p->codes[i].base;

            v = v < 0 ? 0 : v;
            v = v > CODE_MAX ? CODE_MAX : v;
            v = x != x ? p->codes[i].missing : v;
            codes[i] = (int8_t)(v - 128);
        }
    }
}

/* The same where the ranks of all columns fit one register. A missing input is rank 255. */
INLINED void quantise_quick(const struct qn_model *m, const double *const *columns, uint32_t row,
                            bool is_float, int8_t *codes)
{
    const struct qn_plan *p = &m->plan;
    const struct qn_lanes_row *lanes = &p->lanes->row;
    const uint32_t count = p->column_count;
    _Alignas(64) double x[QN_MODEL_BLOCK];
    _Alignas(64) uint8_t ranks[QN_MODEL_BLOCK];
    const __m512i top = _mm512_set1_epi8((char)255);
    uint64_t missing = 0;
    __m512i rank;

    for (uint32_t k = 0; k < count; k++)
        x[k] = columns[p->columns[k].column][row];
    for (uint32_t k = 0; k < count; k += 8) {
        const __mmask8 used = count - k >= 8 ? 0xff : (__mmask8)((1u << (count - k)) - 1);
        const __m512d v = convert(m, (__mmask8)(lanes->zero_missing >> k), x + k, used);

        missing |= (uint64_t)_mm512_cmp_pd_mask(v, v, _CMP_UNORD_Q) << k;
        _mm512_store_pd(x + k, v);
    }
    for (uint32_t k = 0; k < count; k++) {
        const struct qn_lanes_column *c = &p->lanes->columns[k];

        ranks[k] = (uint8_t)(is_float ? rank_float(c, &x[k]) : rank_double(c, &x[k]));
    }
    rank = _mm512_mask_mov_epi8(_mm512_load_si512(ranks), _cvtu64_mask64(missing), top);
    for (uint32_t c = 0; c < p->code_count; c += 64) {
        __m512i code = _mm512_permutexvar_epi8(_mm512_load_si512(lanes->column_of + c), rank);

        code = _mm512_mask_mov_epi8(code, _mm512_cmpeq_epi8_mask(code, top),
                                    _mm512_load_si512(lanes->missing + c));
        _mm512_store_si512((void *)(codes + c), _mm512_sub_epi8(code, _mm512_set1_epi8((char)128)));
    }
}

INLINED void code_row(const struct qn_model *m, const double *const *columns, uint32_t row,
                      bool is_float, int8_t *codes)
{
    if (m->plan.lanes->row.is_quick)
        quantise_quick(m, columns, row, is_float, codes);
    else
        quantise_row(m, columns, row, is_float, codes);
}

/* The codes of 16 rows, columns of a block, become rows: four rounds that interleave the first half
 * with the second transpose a square of 16 bytes. */
INLINED void turn_codes(const int8_t *block, uint32_t code_count, int8_t *rows)
{
    for (uint32_t c = 0; c < code_count; c += 16) {
        __m128i a[16], b[16];

        for (uint32_t i = 0; i < 16; i++)
            a[i] = c + i < code_count
                       ? _mm_load_si128((const void *)(block + (size_t)(c + i) * QN_MODEL_BLOCK))
                       : _mm_setzero_si128();
        for (unsigned round = 0; round < 4; round++) {
#pragma GCC unroll 8
            for (unsigned i = 0; i < 8; i++) {
                b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
                b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
            }
            memcpy(a, b, sizeof(a));
        }
        for (uint32_t i = 0; i < 16; i++)
            _mm_store_si128((void *)(rows + (size_t)i * QN_LANES_ROW_CODES + c), a[i]);
    }
}

/* Codes of `rows` rows, at most ROWS_TURNED, one row after the other. `block` is room for a block.
 */
TARGET static void code_rows(const struct qn_model *m, const double *const *columns, uint32_t first,
                             uint32_t rows, int8_t *block, int8_t *codes)
{
    quantise(m, columns, first, rows, block);
    turn_codes(block, m->plan.code_count, codes);
}

/* Answers of all nodes of a tree; the row's codes are in `a`, those above 64 in `b`. */
INLINED uint64_t answers(const uint8_t *tree, __m512i a, __m512i b, bool is_wide)
{
    const __m512i nodes = _mm512_load_si512(tree);
    const __m512i v =
        is_wide ? _mm512_permutex2var_epi8(a, nodes, b) : _mm512_permutexvar_epi8(nodes, a);

    return _cvtmask64_u64(_mm512_cmpgt_epi8_mask(v, _mm512_load_si512(tree + 64)));
}

INLINED unsigned exit_leaf(const struct qn_lanes_row *row, uint64_t bits)
{
    const unsigned top = row->top[bits >> 56];

    /* a shift looks at six bits of its count only, in C as on the CPU: the rest is 8 * subtree */
    return (top >> 8) + row->sub[bits >> (top & 63) & 127];
}

/* `rows` rows, one or four, through all trees; it and the switches are constants. One chain of
 * additions would wait for itself, four fill the time. With one output the sums stay in registers.
 */
#define ROWS_TREES(name, type)                                                                     \
    INLINED void name(const struct qn_model *m, const int8_t *codes, uint32_t row,                 \
                      const unsigned rows, const bool is_wide, const bool is_single, type *sums)   \
    {                                                                                              \
        const struct qn_lanes_row *const lanes = &m->plan.lanes->row;                              \
        const size_t count = m->forest.tree_count, bytes = 128 + 64 * sizeof(type);                \
        const uint8_t *tree = lanes->trees;                                                        \
        __m512i a[ROWS_AT_ONCE], b[ROWS_AT_ONCE];                                                  \
        type sum[ROWS_AT_ONCE];                                                                    \
                                                                                                   \
        for (unsigned i = 0; i < rows; i++) {                                                      \
            a[i] = _mm512_load_si512((const void *)(codes + i * QN_LANES_ROW_CODES));              \
            b[i] = _mm512_load_si512((const void *)(codes + i * QN_LANES_ROW_CODES + 64));         \
            sum[i] = sums[row + i];                                                                \
        }                                                                                          \
        for (size_t t = 0; t < count; t++, tree += bytes) {                                        \
            const type *leaves = (const type *)(const void *)(tree + 128);                         \
            type *to = sums + (size_t)m->forest.trees[t].output * QN_MODEL_BLOCK + row;            \
                                                                                                   \
            _Pragma("GCC unroll 4") for (unsigned i = 0; i < rows; i++)                            \
            {                                                                                      \
                const type leaf = leaves[exit_leaf(lanes, answers(tree, a[i], b[i], is_wide))];    \
                                                                                                   \
                if (is_single)                                                                     \
                    sum[i] += leaf;                                                                \
                else                                                                               \
                    to[i] += leaf;                                                                 \
            }                                                                                      \
        }                                                                                          \
        for (unsigned i = 0; i < rows && is_single; i++)                                           \
            sums[row + i] = sum[i];                                                                \
    }

ROWS_TREES(rows_trees_float, float)
ROWS_TREES(rows_trees_double, double)

/* The same with the switches of the model. */
#define ROWS_BY(name, type, rows_trees)                                                            \
    INLINED void name(const struct qn_model *m, const int8_t *codes, uint32_t row,                 \
                      const unsigned rows, type *sums)                                             \
    {                                                                                              \
        const bool is_wide = m->plan.code_count > 64;                                              \
                                                                                                   \
        if (m->info.outputs == 1 && !is_wide)                                                      \
            rows_trees(m, codes, row, rows, false, true, sums);                                    \
        else if (m->info.outputs == 1)                                                             \
            rows_trees(m, codes, row, rows, true, true, sums);                                     \
        else                                                                                       \
            rows_trees(m, codes, row, rows, true, false, sums);                                    \
    }

ROWS_BY(rows_by_float, float, rows_trees_float)
ROWS_BY(rows_by_double, double, rows_trees_double)

/* Rows that are too few for a block, whose trees fit the one-row form: coded 16 at a time, or alone
 * where they are few. */
#define ROWS_SCORE(name, type, rows_by, is_float)                                                  \
    TARGET static void name(const struct qn_model *m, const double *const *columns,                \
                            uint32_t first, uint32_t rows, int8_t *scratch, type *sums)            \
    {                                                                                              \
        int8_t *codes = scratch, *block = scratch + ROWS_TURNED * QN_LANES_ROW_CODES;              \
                                                                                                   \
        for (uint32_t r = 0; r < rows;) {                                                          \
            const uint32_t at = r % ROWS_TURNED;                                                   \
            const uint32_t rest = rows - r < ROWS_TURNED ? rows - r : ROWS_TURNED;                 \
            const unsigned n = rows - r >= ROWS_AT_ONCE ? ROWS_AT_ONCE : 1;                        \
                                                                                                   \
            if (rows < ROWS_CODED_MIN) {                                                           \
                for (unsigned i = 0; i < n; i++)                                                   \
                    code_row(m, columns, first + r + i, is_float,                                  \
                             codes + (at + i) * QN_LANES_ROW_CODES);                               \
            } else if (at == 0) {                                                                  \
                code_rows(m, columns, first + r, rest, block, codes);                              \
            }                                                                                      \
            if (n == 1)                                                                            \
                rows_by(m, codes + at * QN_LANES_ROW_CODES, r, 1, sums);                           \
            else                                                                                   \
                rows_by(m, codes + at * QN_LANES_ROW_CODES, r, ROWS_AT_ONCE, sums);                \
            r += n;                                                                                \
        }                                                                                          \
    }

ROWS_SCORE(rows_float, float, rows_by_float, true)
ROWS_SCORE(rows_double, double, rows_by_double, false)

/* The same where some tree is too deep for that form. */
TARGET static void rows_walked(const struct qn_model *m, const double *const *columns,
                               uint32_t first, uint32_t rows, int8_t *codes, void *sums)
{
    for (uint32_t r = 0; r < rows; r++) {
        if (m->info.is_float)
            code_row(m, columns, first + r, true, codes);
        else
            code_row(m, columns, first + r, false, codes);
        qn_model_score_row(m, codes, r, sums);
    }
}

/* ---- the kernel ---- */

static void avx512_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                         uint32_t rows, void *scratch, void *sums)
{
    const uint32_t single = m->plan.lanes->row.trees != NULL ? ROWS_SINGLE_MAX : ROWS_WALKED_MAX;
    int8_t *codes = scratch;

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    if (rows <= single) {
        if (m->plan.code_count == 0)
            memset(codes, 0, ROWS_TURNED * QN_LANES_ROW_CODES);
        if (m->plan.lanes->row.trees == NULL)
            rows_walked(m, columns, first, rows, codes, sums);
        else if (m->info.is_float)
            rows_float(m, columns, first, rows, codes, sums);
        else
            rows_double(m, columns, first, rows, codes, sums);
        return;
    }
    quantise(m, columns, first, rows, codes);
    if (m->info.is_float)
        block_float(m, codes, rows, sums);
    else
        block_double(m, codes, rows, sums);
}

static bool avx512_is_suitable(const struct qn_model *m, const char **reason)
{
    if (m->plan.lanes == NULL || m->plan.lanes->tree_count == 0 ||
        !qn_model_cpu_has(QN_CPU_AVX512) || !qn_model_codes_pay(m, reason))
        return false;
    *reason = m->plan.lanes->tree_count == m->forest.tree_count
                  ? "this CPU has AVX-512 and all trees fit"
                  : "this CPU has AVX-512; the larger trees are walked 8 rows at a time";
    return true;
}
#else
static void avx512_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                         uint32_t rows, void *scratch, void *sums)
{
    QN_ASSERT(false);
}

static bool avx512_is_suitable(const struct qn_model *m, const char **reason)
{
    return false;
}
#endif

static size_t avx512_scratch_bytes(const struct qn_model *m)
{
    /* codes of a block, or of a few rows and the block that they are turned from */
    return (size_t)(m->plan.code_count + 8) * QN_MODEL_BLOCK +
           (size_t)ROWS_TURNED * QN_LANES_ROW_CODES;
}

const struct qn_model_kernel qn_model_kernel_avx512 = {.name = "avx512",
                                                       .is_suitable = avx512_is_suitable,
                                                       .scratch_bytes = avx512_scratch_bytes,
                                                       .score = avx512_score};
