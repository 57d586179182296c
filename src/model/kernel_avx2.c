/* SPDX-License-Identifier: Apache-2.0
 * kernel_avx2.c - kernel `avx2`: 32 rows at a time on the tables of lanes.h.
 *
 * Needs AVX2; functions carry the target themselves, so that the file is compiled like any other
 * and the rest of the program runs anywhere. As in kernel_avx512.c the columns of a level's nodes
 * are reduced to one by the decisions so far, the oldest first; a decision is a byte of all ones or
 * none. Look-ups are shuffles of 16 bytes: the first four decisions are the index, the later ones
 * choose among tables. Float inputs are coded 8 at a time, few rows go through row_avx2.c; doubles
 * and large trees go through the portable code. Invariant: the same turns as the plan, leaves added
 * in file order. Thread: any. Memory: scratch only. */
#include "base/check.h"
#include "model/lanes.h"
#include "model/row_avx2.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum {
    LANES = 32,
    ROWS_SINGLE_MAX = 12,   /* up to here one row at a time is faster           */
    ROWS_SYMMETRIC_MAX = 6, /* the same where a block costs little */
    ROWS_WALKED_MAX = 7,    /* the same where kernel_columns.c walks them       */
    ANY_LEVELS = 255,       /* of a search whose number of levels is no constant */
    CODE_MAX = 254
};

/* ---- quantise ---- */

/* PIVOT_n(p): of n pivots from p on, 8 to a register, each row's own; the decisions from `a` on
 * choose the register. */
#define PIVOT_8(p)     _mm256_permutevar8x32_ps(_mm256_load_ps(p), index)
#define PIVOT_16(p, a) _mm256_blendv_ps(PIVOT_8(p), PIVOT_8((p) + 8), right[a])
#define PIVOT_32(p, a) _mm256_blendv_ps(PIVOT_16(p, (a) + 1), PIVOT_16((p) + 16, (a) + 1), right[a])
#define PIVOT_64(p, a) _mm256_blendv_ps(PIVOT_32(p, (a) + 1), PIVOT_32((p) + 32, (a) + 1), right[a])
#define PIVOT_128(p, a)                                                                            \
    _mm256_blendv_ps(PIVOT_64(p, (a) + 1), PIVOT_64((p) + 64, (a) + 1), right[a])

INLINED __m256 pivots_at(const float *pivots, const unsigned level, __m256i index,
                         const __m256 *right)
{
    const float *p = pivots + ((size_t)1 << level);

    if (level == 0)
        return _mm256_set1_ps(p[0]);
    if (level < 3)
        return PIVOT_8(pivots);
    if (level == 3)
        return PIVOT_8(p);
    if (level == 4)
        return PIVOT_16(p, 0);
    if (level == 5)
        return PIVOT_32(p, 0);
    if (level == 6)
        return PIVOT_64(p, 0);
    return PIVOT_128(p, 0);
}

/* Ranks of 8 floats each in `parts` registers, in step, for one search would wait for itself. The
 * difference of the number before the cut and the input is negative exactly where the input is at
 * or above the cut: its sign is the decision. */
INLINED void search(const float *before, const unsigned levels, const unsigned parts,
                    const __m256 *x, __m256i *rank)
{
    __m256 right[4][8];

#pragma GCC unroll 4
    for (unsigned v = 0; v < parts; v++)
        rank[v] = _mm256_set1_epi32(1);
#pragma GCC unroll 8
    for (unsigned level = 0; level < levels; level++) {
#pragma GCC unroll 4
        for (unsigned v = 0; v < parts; v++) {
            right[v][level] = _mm256_sub_ps(pivots_at(before, level, rank[v], right[v]), x[v]);
            rank[v] = _mm256_add_epi32(_mm256_add_epi32(rank[v], rank[v]),
                                       _mm256_srli_epi32(_mm256_castps_si256(right[v][level]), 31));
        }
    }
#pragma GCC unroll 4
    for (unsigned v = 0; v < parts; v++)
        rank[v] = _mm256_sub_epi32(rank[v], _mm256_set1_epi32((int)(1u << levels)));
}

/* The same by comparison: any number of levels, any cut. */
INLINED __m256i search_compared(const float *pivots, unsigned levels, __m256 x)
{
    __m256i index = _mm256_set1_epi32(1);

    for (unsigned level = 0; level < levels; level++) {
        const __m256 pivot = _mm256_i32gather_ps(pivots, index, 4);
        const __m256i right = _mm256_castps_si256(_mm256_cmp_ps(x, pivot, _CMP_GE_OQ));

        index = _mm256_sub_epi32(_mm256_add_epi32(index, index), right);
    }
    return _mm256_sub_epi32(index, _mm256_set1_epi32((int)(1u << levels)));
}

/* Eight inputs of a float model as qn_model_convert sees them. */
INLINED __m256 convert(const struct qn_model *m, bool zero_missing, const double *in)
{
    const __m256 zero = _mm256_set1_ps((float)QN_MODEL_ZERO);
    __m256 x = _mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(in + 4)),
                               _mm256_cvtpd_ps(_mm256_loadu_pd(in)));
    __m256 size;

    /* a missing value that is no float equals none */
    if (m->has_missing && (double)(float)m->missing == m->missing)
        x = _mm256_or_ps(x, _mm256_cmp_ps(x, _mm256_set1_ps((float)m->missing), _CMP_EQ_OQ));
    size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    if (m->forest.snaps_zero)
        x = _mm256_andnot_ps(_mm256_cmp_ps(size, zero, _CMP_LE_OQ), x);
    if (zero_missing)
        x = _mm256_or_ps(x, _mm256_cmp_ps(size, zero, _CMP_LE_OQ));
    return x;
}

/* Four times eight numbers to bytes, in order; what is below 0 or above 255 becomes that. */
INLINED __m256i bytes_of(const __m256i *v)
{
    const __m256i bytes =
        _mm256_packus_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));

    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* 32 rows; `levels` is a constant for the usual numbers of cuts, else ANY_LEVELS. */
INLINED void column(const struct qn_model *m, uint32_t number, const unsigned levels,
                    const double *in, uint32_t rows, int8_t *codes)
{
    const struct qn_plan_column *pc = &m->plan.columns[number];
    const struct qn_lanes_column *c = &m->plan.lanes->columns[number];
    const __m256i top = _mm256_set1_epi8((char)CODE_MAX), middle = _mm256_set1_epi8((char)128);
    __m256i rank[4], missing[4], is_missing;
    __m256 x[4];

#pragma GCC unroll 4
    for (uint32_t v = 0; v < 4; v++) {
        double last[8] = {0};
        const double *at = in + (size_t)8 * v;

        x[v] = _mm256_setzero_ps();
        rank[v] = missing[v] = _mm256_setzero_si256();
        if (rows <= 8 * v)
            continue;
        if (rows < 8 * v + 8) {
            memcpy(last, at, (rows - 8 * v) * sizeof(*at));
            at = last;
        }
        x[v] = convert(m, pc->zero_missing, at);
        missing[v] =
            _mm256_srli_epi32(_mm256_castps_si256(_mm256_cmp_ps(x[v], x[v], _CMP_UNORD_Q)), 24);
        if (levels == ANY_LEVELS)
            rank[v] = search_compared(c->pivots, pc->levels, x[v]);
    }
    if (levels != ANY_LEVELS && rows > LANES / 2)
        search(c->before, levels, 4, x, rank);
    else if (levels != ANY_LEVELS)
        search(c->before, levels, 2, x, rank);
    is_missing = bytes_of(missing);
    for (uint32_t k = pc->first_code; k < pc->first_code + pc->code_count; k++) {
        const struct qn_plan_code *code = &m->plan.codes[k];
        const __m256i base = _mm256_set1_epi32((int)code->base);
        __m256i v[4], bytes;

        for (unsigned j = 0; j < 4; j++)
            v[j] = _mm256_sub_epi32(rank[j], base);
        bytes = _mm256_min_epu8(bytes_of(v), top);
        bytes = _mm256_blendv_epi8(bytes, _mm256_set1_epi8((char)code->missing), is_missing);
        _mm256_store_si256((__m256i *)(void *)(codes + (size_t)k * QN_MODEL_BLOCK),
                           _mm256_xor_si256(bytes, middle));
    }
}

INLINED void column_by_levels(const struct qn_model *m, uint32_t number, const double *in,
                              uint32_t rows, int8_t *codes)
{
    const bool is_quick = m->plan.lanes->columns[number].before != NULL;

    switch (is_quick ? m->plan.columns[number].levels : ANY_LEVELS) {
    case 4:
        column(m, number, 4, in, rows, codes);
        break;
    case 5:
        column(m, number, 5, in, rows, codes);
        break;
    case 6:
        column(m, number, 6, in, rows, codes);
        break;
    case 7:
        column(m, number, 7, in, rows, codes);
        break;
    case 8:
        column(m, number, 8, in, rows, codes);
        break;
    default:
        column(m, number, ANY_LEVELS, in, rows, codes);
        break;
    }
}

TARGET static void quantise(const struct qn_model *m, const double *const *columns, uint32_t first,
                            uint32_t rows, int8_t *codes)
{
    const struct qn_plan *p = &m->plan;

    for (uint32_t k = 0; k < p->column_count; k++) {
        if (p->columns[k].is_category)
            qn_model_quantise_column(m, &p->columns[k], columns, first, rows, QN_MODEL_BLOCK,
                                     codes);
        else
            for (uint32_t r = 0; r < rows; r += LANES)
                column_by_levels(m, k, columns[p->columns[k].column] + first + r, rows - r,
                                 codes + r);
    }
}

/* ---- 32 rows of one perfect tree ---- */

/* A byte per row from the first 16 of a table. Bit 7 of an index would give 0, bits 4 to 6 are
 * ignored. */
INLINED __m256i shuffle(const uint8_t *table, __m256i index)
{
    return _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)table)), index);
}

#define LOOK_16(t)  shuffle((t), index)
#define LOOK_32(t)  _mm256_blendv_epi8(LOOK_16(t), LOOK_16((t) + 16), d[4])
#define LOOK_64(t)  _mm256_blendv_epi8(LOOK_32(t), LOOK_32((t) + 32), d[5])
#define LOOK_128(t) _mm256_blendv_epi8(LOOK_64(t), LOOK_64((t) + 64), d[6])

/* A byte per row from a table in the order of the decisions, 1 << level of them taken. */
INLINED __m256i look_up(const uint8_t *table, __m256i index, const __m256i *d, const unsigned level)
{
    if (level <= 4)
        return LOOK_16(table);
    if (level == 5)
        return LOOK_32(table);
    if (level == 6)
        return LOOK_64(table);
    if (level == 7)
        return LOOK_128(table);
    index = _mm256_and_si256(index, _mm256_set1_epi8(127));
    return _mm256_blendv_epi8(LOOK_128(table), LOOK_128(table + 128), d[7]);
}

/* FOLD_n(i, h): column of the nodes i, i + s, i + 2s, ... (2^n of them) of one level, folded by the
 * n oldest decisions; h is half the level. */
#define FOLD_0(i)    _mm256_load_si256((const __m256i *)(const void *)(codes + offsets[(i)]))
#define FOLD_1(i, h) _mm256_blendv_epi8(FOLD_0(i), FOLD_0((i) + (h)), d[0])
#define FOLD_2(i, h) _mm256_blendv_epi8(FOLD_1(i, h), FOLD_1((i) + (h) / 2, h), d[1])
#define FOLD_3(i, h) _mm256_blendv_epi8(FOLD_2(i, h), FOLD_2((i) + (h) / 4, h), d[2])
#define FOLD_4(i, h) _mm256_blendv_epi8(FOLD_3(i, h), FOLD_3((i) + (h) / 8, h), d[3])
#define FOLD_5(i, h) _mm256_blendv_epi8(FOLD_4(i, h), FOLD_4((i) + (h) / 16, h), d[4])
#define FOLD_6(i, h) _mm256_blendv_epi8(FOLD_5(i, h), FOLD_5((i) + (h) / 32, h), d[5])
#define FOLD_7(i, h) _mm256_blendv_epi8(FOLD_6(i, h), FOLD_6((i) + (h) / 64, h), d[6])

/* One level: its decisions, and their bit in the index. The limits of the root are one byte. */
#define DECIDE(level, column)                                                                      \
    do {                                                                                           \
        const uint8_t *limit = limits + 64 * (level);                                              \
        d[level] = _mm256_cmpgt_epi8((column), look_up(limit, index, d, level));                   \
        index = _mm256_or_si256(                                                                   \
            index, _mm256_and_si256(d[level], _mm256_set1_epi8((char)(1u << (level)))));           \
    } while (0)

INLINED __m256i follow(const uint8_t *block, const int8_t *codes, const unsigned depth, __m256i *d)
{
    const uint32_t *offsets = (const uint32_t *)(const void *)block;
    const uint8_t *limits = block + qn_lanes_limits_at(depth);
    __m256i index = _mm256_setzero_si256();

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

/* Four planes to four vectors of 32-bit numbers: element 4 l + e of out[j] is row 16 l + 4 j + e.
 */
INLINED void words(const uint8_t *planes, __m256i index, const __m256i *d, const unsigned depth,
                   __m256i *out)
{
    const size_t plane = qn_lanes_plane_bytes(depth);
    const __m256i b0 = look_up(planes, index, d, depth);
    const __m256i b1 = look_up(planes + plane, index, d, depth);
    const __m256i b2 = look_up(planes + 2 * plane, index, d, depth);
    const __m256i b3 = look_up(planes + 3 * plane, index, d, depth);
    const __m256i low01 = _mm256_unpacklo_epi8(b0, b1), high01 = _mm256_unpackhi_epi8(b0, b1);
    const __m256i low23 = _mm256_unpacklo_epi8(b2, b3), high23 = _mm256_unpackhi_epi8(b2, b3);

    out[0] = _mm256_unpacklo_epi16(low01, low23);
    out[1] = _mm256_unpackhi_epi16(low01, low23);
    out[2] = _mm256_unpacklo_epi16(high01, high23);
    out[3] = _mm256_unpackhi_epi16(high01, high23);
}

INLINED void add_float(const uint8_t *planes, __m256i index, const __m256i *d, const unsigned depth,
                       float *sums)
{
    __m256i value[4];

    words(planes, index, d, depth, value);
#pragma GCC unroll 4
    for (unsigned j = 0; j < 4; j++)
        _mm256_store_ps(sums + 8 * j,
                        _mm256_add_ps(_mm256_load_ps(sums + 8 * j), _mm256_castsi256_ps(value[j])));
}

INLINED void add_double(const uint8_t *planes, __m256i index, const __m256i *d,
                        const unsigned depth, double *sums)
{
    __m256i low[4], high[4];

    words(planes, index, d, depth, low);
    words(planes + 4 * qn_lanes_plane_bytes(depth), index, d, depth, high);
#pragma GCC unroll 4
    for (unsigned j = 0; j < 4; j++) {
        const __m256d a = _mm256_castsi256_pd(_mm256_unpacklo_epi32(low[j], high[j]));
        const __m256d b = _mm256_castsi256_pd(_mm256_unpackhi_epi32(low[j], high[j]));
        double *at = sums + 8 * j;

        _mm256_store_pd(at, _mm256_add_pd(_mm256_load_pd(at), a));
        _mm256_store_pd(at + 4, _mm256_add_pd(_mm256_load_pd(at + 4), b));
    }
}

INLINED void perfect(const struct qn_lanes_tree *tree, const int8_t *codes, const unsigned depth,
                     bool is_float, void *sums)
{
    const uint8_t *planes = tree->block + qn_lanes_planes_at(depth);
    __m256i d[QN_LANES_DEPTH];
    __m256i index = follow(tree->block, codes, depth, d);

    if (is_float)
        add_float(planes, index, d, depth, sums);
    else
        add_double(planes, index, d, depth, sums);
}

/* ---- 32 rows of a tree whose levels ask one thing each ---- */

/* The decisions of levels `from` to `to`, and their bits from 0 on. */
INLINED __m256i ask_levels(const uint8_t *block, const int8_t *codes, const unsigned from,
                           const unsigned to, __m256i *d)
{
    const uint32_t *offsets = (const uint32_t *)(const void *)block;
    const int8_t *limits = (const int8_t *)block + 64;
    __m256i index = _mm256_setzero_si256();

#pragma GCC unroll 8
    for (unsigned level = from; level < to; level++) {
        const __m256i code =
            _mm256_load_si256((const __m256i *)(const void *)(codes + offsets[level]));

        d[level] = _mm256_cmpgt_epi8(code, _mm256_set1_epi8(limits[level]));
        index = _mm256_or_si256(
            index, _mm256_and_si256(d[level], _mm256_set1_epi8((char)(1u << (level - from)))));
    }
    return index;
}

INLINED void symmetric(const struct qn_lanes_tree *tree, const int8_t *codes, const unsigned depth,
                       bool is_float, void *sums)
{
    const uint8_t *planes = tree->block + QN_LANES_SYMMETRIC_PLANES;
    __m256i d[QN_LANES_DEPTH];
    const __m256i index = ask_levels(tree->block, codes, 0, depth, d);

    if (is_float)
        add_float(planes, index, d, depth, sums);
    else
        add_double(planes, index, d, depth, sums);
}

/* Deeper than the planes of leaves: each row fetches its own. The sums are in order of rows. */
INLINED void symmetric_deep(const struct qn_lanes_tree *tree, const int8_t *codes, uint32_t rows,
                            bool is_float, void *sums)
{
    const uint8_t *leaves = tree->block + QN_LANES_SYMMETRIC_PLANES;
    __m256i d[QN_LANES_SYMMETRIC_DEPTH];
    _Alignas(32) uint8_t low[LANES], high[LANES];

    _mm256_store_si256((__m256i *)(void *)low, ask_levels(tree->block, codes, 0, 8, d));
    _mm256_store_si256((__m256i *)(void *)high, ask_levels(tree->block, codes, 8, tree->depth, d));
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t leaf = low[r] | (uint32_t)high[r] << 8;

        if (is_float)
            ((float *)sums)[r] += ((const float *)(const void *)leaves)[leaf];
        else
            ((double *)sums)[r] += ((const double *)(const void *)leaves)[leaf];
    }
}

/* ---- 32 rows of any tree of up to 64 leaves ---- */

/* The rows that reach a node, a byte of all ones each, are divided by its test among the children.
 */
INLINED void shape(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float, void *sums)
{
    __m256i reach[2 * QN_LANES_LEAVES], d[QN_LANES_DEPTH];
    __m256i index = _mm256_setzero_si256();

    reach[0] = _mm256_set1_epi8(-1);
    for (unsigned i = 0; i < tree->test_count; i++) {
        const struct qn_lanes_test t = tree->tests[i];
        const __m256i right =
            _mm256_cmpgt_epi8(_mm256_load_si256((const __m256i *)(const void *)(codes + t.offset)),
                              _mm256_set1_epi8(t.limit));

        reach[t.left] = _mm256_andnot_si256(right, reach[t.at]);
        reach[t.left + 1] = _mm256_and_si256(right, reach[t.at]);
    }
    for (unsigned i = 1; i < tree->leaf_count; i++)
        index = _mm256_or_si256(
            index, _mm256_and_si256(reach[tree->leaf_nodes[i]], _mm256_set1_epi8((char)i)));
    /* bits 4 and 5 choose among tables, as decisions do elsewhere */
    d[4] = _mm256_slli_epi16(index, 3);
    d[5] = _mm256_slli_epi16(index, 2);
    if (is_float)
        add_float(tree->block, index, d, 6, sums);
    else
        add_double(tree->block, index, d, 6, sums);
}

/* ---- a block of rows ---- */

#define BY_DEPTH(form)                                                                             \
    do {                                                                                           \
        switch (tree->depth) {                                                                     \
        case 1:                                                                                    \
            form(tree, codes, 1, is_float, sums);                                                  \
            break;                                                                                 \
        case 2:                                                                                    \
            form(tree, codes, 2, is_float, sums);                                                  \
            break;                                                                                 \
        case 3:                                                                                    \
            form(tree, codes, 3, is_float, sums);                                                  \
            break;                                                                                 \
        case 4:                                                                                    \
            form(tree, codes, 4, is_float, sums);                                                  \
            break;                                                                                 \
        case 5:                                                                                    \
            form(tree, codes, 5, is_float, sums);                                                  \
            break;                                                                                 \
        case 6:                                                                                    \
            form(tree, codes, 6, is_float, sums);                                                  \
            break;                                                                                 \
        case 7:                                                                                    \
            form(tree, codes, 7, is_float, sums);                                                  \
            break;                                                                                 \
        default:                                                                                   \
            form(tree, codes, 8, is_float, sums);                                                  \
            break;                                                                                 \
        }                                                                                          \
    } while (0)

INLINED void perfect_tree(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float,
                          void *sums)
{
    BY_DEPTH(perfect);
}

INLINED void symmetric_tree(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float,
                            void *sums)
{
    BY_DEPTH(symmetric);
}

/* Sums of 32 rows between the order of rows and the order in which the planes come apart. */
static void reorder(char *sums, size_t width, bool to_rows)
{
    const size_t chunk = 16, per_lane = LANES * width / chunk / 2;
    char copy[LANES * sizeof(double)];

    memcpy(copy, sums, LANES * width);
    for (size_t lane = 0; lane < 2; lane++) {
        for (size_t j = 0; j < per_lane; j++) {
            const size_t in_rows = (lane * per_lane + j) * chunk;
            const size_t in_sums = (2 * j + lane) * chunk;

            if (to_rows)
                memcpy(sums + in_rows, copy + in_sums, chunk);
            else
                memcpy(sums + in_sums, copy + in_rows, chunk);
        }
    }
}

INLINED void block(const struct qn_model *m, const int8_t *codes, uint32_t rows, bool is_float,
                   char *sums)
{
    const size_t width = is_float ? sizeof(float) : sizeof(double);
    const size_t output_bytes = QN_MODEL_BLOCK * width;

    for (size_t k = 0; k < m->info.outputs; k++)
        reorder(sums + k * output_bytes, width, false);
    for (size_t t = 0; t < m->forest.tree_count; t++) {
        const struct qn_lanes_tree *tree = &m->plan.lanes->trees[t];
        char *at = sums + m->forest.trees[t].output * output_bytes;

        if (tree->form == QN_LANES_PERFECT) {
            perfect_tree(tree, codes, is_float, at);
        } else if (tree->form == QN_LANES_SYMMETRIC && tree->depth <= QN_LANES_DEPTH) {
            symmetric_tree(tree, codes, is_float, at);
        } else if (tree->form == QN_LANES_SHAPE) {
            shape(tree, codes, is_float, at);
        } else {
            reorder(at, width, true);
            if (tree->form == QN_LANES_SYMMETRIC)
                symmetric_deep(tree, codes, rows, is_float, at);
            else
                qn_model_node_tree(m, &m->forest.trees[t], codes, rows, at);
            reorder(at, width, false);
        }
    }
    for (size_t k = 0; k < m->info.outputs; k++)
        reorder(sums + k * output_bytes, width, true);
}

TARGET static void block_float(const struct qn_model *m, const int8_t *codes, uint32_t rows,
                               char *sums)
{
    block(m, codes, rows, true, sums);
}

TARGET static void block_double(const struct qn_model *m, const int8_t *codes, uint32_t rows,
                                char *sums)
{
    block(m, codes, rows, false, sums);
}

/* ---- the kernel ---- */

/* The vector search knows floats: the model's own, or rounded ones that decide alike and need
 * nothing done before the rounding. */
static bool can_search(const struct qn_model *m)
{
    const struct qn_lanes *lanes = m->plan.lanes;

    return m->plan.code_count > 0 && lanes->is_float && (m->info.is_float || lanes->is_plain);
}

static void avx2_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, void *scratch, void *sums)
{
    const bool is_symmetric =
        m->plan.lanes->symmetric.tests != NULL && m->info.depth_max <= QN_MODEL_PERFECT_DEPTH;
    const uint32_t most = is_symmetric ? ROWS_SYMMETRIC_MAX : ROWS_SINGLE_MAX;
    int8_t *codes = scratch;

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    if (rows <= most && qn_model_row_avx2_can(m)) {
        qn_model_row_avx2(m, columns, first, rows, scratch, sums);
        return;
    }
    if (rows <= ROWS_WALKED_MAX) {
        for (uint32_t r = 0; r < rows; r++) {
            qn_model_quantise(m, columns, first + r, 1, 1, codes);
            qn_model_score_row(m, codes, r, sums);
        }
        return;
    }
    if (!can_search(m))
        qn_model_quantise(m, columns, first, rows, QN_MODEL_BLOCK, codes);
    else
        quantise(m, columns, first, rows, codes);
    for (uint32_t r = 0; r < rows; r += LANES) {
        const uint32_t n = rows - r < LANES ? rows - r : LANES;

        if (m->info.is_float)
            block_float(m, codes + r, n, (char *)sums + r * sizeof(float));
        else
            block_double(m, codes + r, n, (char *)sums + r * sizeof(double));
    }
}

static bool avx2_is_suitable(const struct qn_model *m, const char **reason)
{
    const struct qn_lanes *lanes = m->plan.lanes;

    if (lanes == NULL || lanes->tree_count == 0 || !qn_model_cpu_has(QN_CPU_AVX2) ||
        !qn_model_codes_pay(m, QN_CODING_VECTOR, reason))
        return false;
    *reason = lanes->tree_count == m->forest.tree_count
                  ? "this CPU has AVX2 and all trees fit"
                  : "this CPU has AVX2; the larger trees are walked 8 rows at a time";
    return true;
}
#else
static void avx2_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, void *scratch, void *sums)
{
    QN_ASSERT(false);
}

static bool avx2_is_suitable(const struct qn_model *m, const char **reason)
{
    return false;
}
#endif

static size_t avx2_scratch_bytes(const struct qn_model *m)
{
    return (size_t)(m->plan.code_count + 1) * QN_MODEL_BLOCK + QN_LANES_ROW_CODES;
}

const struct qn_model_kernel qn_model_kernel_avx2 = {.name = "avx2",
                                                     .is_suitable = avx2_is_suitable,
                                                     .scratch_bytes = avx2_scratch_bytes,
                                                     .score = avx2_score};
