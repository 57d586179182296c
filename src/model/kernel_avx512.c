/* SPDX-License-Identifier: Apache-2.0
 * kernel_avx512.c - kernel `avx512`: 64 rows at a time, or one row, on the tables of lanes.h.
 *
 * Needs AVX-512 F, BW, DQ, VL, VBMI and VBMI2; functions carry the target themselves, so that the
 * file is compiled like any other and the rest of the program runs anywhere. Four parts:
 *
 *   quantise  16 floats or 8 doubles search their column's cuts in step, pivots by register permute
 *   perfect   64 rows through a perfect tree: the columns of a level's nodes are reduced to one by
 *             the decisions so far, the oldest first, so that the newest, still in flight, is
 *             needed last; limits by byte permute; one compare gives 64 decisions
 *   symmetric 64 or 16 rows through a tree that asks one thing a level: the answers are the leaf
 *   shape     any tree of up to 64 leaves: a mask of the rows that reach a node, divided by its
 *             test among the children
 *
 * Up to a third of a block goes through row_avx512.c.
 * Sums are kept in the order in which the planes of leaf bytes come apart, and put right once per
 * block. Trees that fit neither form go through kernel_columns.c. Invariant: the same turns as the
 * plan, leaves added in file order. Thread: any. Memory: scratch only. */
#include "base/check.h"
#include "model/avx512.h"
#include "model/row_avx512.h"

#if defined(__x86_64__)

/* Up to here rows go one by one; the columns of a block cost the same for 1 row as for 64. */
enum {
    ROWS_SINGLE_MAX = 24,
    ROWS_SYMMETRIC_MAX = 8, /* where a block costs little                        */
    ROWS_FEW_MAX = 16,      /* and up to here where whole leaves are picked instead */
    CODE_MAX = 254
};

/* ---- quantise ---- */

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
    for (uint32_t r = 0; r < rows; r += 16) {
        __mmask16 missing = 0;
        __m512i rank = _mm512_setzero_si512();

        ranks_of(m, number, levels, 1, in + r, rows - r, &rank, &missing);
        /* eight levels can give 255 */
        put_codes(&m->plan, &m->plan.columns[number], rank, missing, levels < 8, codes + r);
    }
}

TARGET void qn_model_avx512_quantise(const struct qn_model *m, const double *const *columns,
                                     uint32_t first, uint32_t rows, int8_t *codes)
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
#define COLUMN(levels) column(m, k, (levels), in, rows, codes)
        QN_AVX512_BY_LEVELS(p->columns[k].levels, COLUMN)
#undef COLUMN
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

/* ---- symmetric: 64 rows of a tree whose levels ask one thing each ---- */

/* Bits `from` to `to` of the leaf's number, as bits 0 and on. */
INLINED __m512i ask_levels(const uint8_t *block, const int8_t *codes, const unsigned from,
                           const unsigned to, __mmask64 *d)
{
    const uint32_t *offsets = (const uint32_t *)(const void *)block;
    const int8_t *limits = (const int8_t *)block + 64;
    __m512i index = _mm512_setzero_si512();

#pragma GCC unroll 8
    for (unsigned level = from; level < to; level++) {
        d[level] = _mm512_cmpgt_epi8_mask(_mm512_load_si512((const void *)(codes + offsets[level])),
                                          _mm512_set1_epi8(limits[level]));
        index = _mm512_mask_add_epi8(index, d[level], index,
                                     _mm512_set1_epi8((char)(1u << (level - from))));
    }
    return index;
}

INLINED void symmetric(const struct qn_lanes_tree *tree, const int8_t *codes, const unsigned depth,
                       bool is_float, void *sums)
{
    const uint8_t *planes = tree->block + QN_LANES_SYMMETRIC_PLANES;
    __mmask64 d[QN_LANES_DEPTH] = {0};
    const __m512i index = ask_levels(tree->block, codes, 0, depth, d);

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
    __mmask64 d[QN_LANES_SYMMETRIC_DEPTH];
    _Alignas(64) uint8_t low[QN_MODEL_BLOCK], high[QN_MODEL_BLOCK];

    _mm512_store_si512((void *)low, ask_levels(tree->block, codes, 0, 8, d));
    _mm512_store_si512((void *)high, ask_levels(tree->block, codes, 8, tree->depth, d));
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t leaf = low[r] | (uint32_t)high[r] << 8;

        if (is_float)
            ((float *)sums)[r] += ((const float *)(const void *)leaves)[leaf];
        else
            ((double *)sums)[r] += ((const double *)(const void *)leaves)[leaf];
    }
}

/* ---- the same for up to 16 rows: whole leaves are picked, not their bytes ---- */

/* Leaves of 8 rows by index; where they fill more than two registers `d` chooses among pairs. */
INLINED __m512d pick_double(const double *leaves, __m512i index, const __mmask8 *d,
                            const unsigned depth)
{
    const __mmask8 all = depth < 3 ? (__mmask8)((1u << (1u << depth)) - 1) : 0xff;
    __m512d pair[4];

    if (depth <= 3)
        return _mm512_permutexvar_pd(index, _mm512_maskz_loadu_pd(all, leaves));
    for (unsigned i = 0; i < 1u << (depth - 4); i++)
        pair[i] = _mm512_permutex2var_pd(_mm512_loadu_pd(leaves + 16 * i), index,
                                         _mm512_loadu_pd(leaves + 16 * i + 8));
    if (depth == 4)
        return pair[0];
    if (depth == 5)
        return _mm512_mask_blend_pd(d[4], pair[0], pair[1]);
    return _mm512_mask_blend_pd(d[5], _mm512_mask_blend_pd(d[4], pair[0], pair[1]),
                                _mm512_mask_blend_pd(d[4], pair[2], pair[3]));
}

/* The same of 16 rows. */
INLINED __m512 pick_float(const float *leaves, __m512i index, __mmask16 last, const unsigned depth)
{
    const __mmask16 all = depth < 4 ? (__mmask16)((1u << (1u << depth)) - 1) : 0xffff;

    if (depth <= 4)
        return _mm512_permutexvar_ps(index, _mm512_maskz_loadu_ps(all, leaves));
    if (depth == 5)
        return _mm512_permutex2var_ps(_mm512_loadu_ps(leaves), index, _mm512_loadu_ps(leaves + 16));
    return _mm512_mask_blend_ps(
        last, _mm512_permutex2var_ps(_mm512_loadu_ps(leaves), index, _mm512_loadu_ps(leaves + 16)),
        _mm512_permutex2var_ps(_mm512_loadu_ps(leaves + 32), index, _mm512_loadu_ps(leaves + 48)));
}

/* sums: of 16 rows in their order, 8 doubles or 16 floats to a register. */
INLINED void symmetric_few(const struct qn_lanes_tree *tree, const void *leaves,
                           const int8_t *codes, const unsigned depth, bool is_float, __m512i *sums)
{
    const uint32_t *offsets = (const uint32_t *)(const void *)tree->block;
    const int8_t *limits = (const int8_t *)tree->block + 64;
    __m128i index = _mm_setzero_si128();
    __mmask16 d[QN_MODEL_PERFECT_DEPTH] = {0};

#pragma GCC unroll 8
    for (unsigned level = 0; level < depth; level++) {
        d[level] = _mm_cmpgt_epi8_mask(_mm_load_si128((const void *)(codes + offsets[level])),
                                       _mm_set1_epi8(limits[level]));
        index = _mm_mask_add_epi8(index, d[level], index, _mm_set1_epi8((char)(1u << level)));
    }
    if (is_float) {
        const __m512 value = pick_float(leaves, _mm512_cvtepu8_epi32(index), d[5], depth);

        sums[0] = _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(sums[0]), value));
        return;
    }
#pragma GCC unroll 2
    for (unsigned half = 0; half < 2; half++) {
        const __m128i at = half == 0 ? index : _mm_unpackhi_epi64(index, index);
        const __mmask8 of[QN_MODEL_PERFECT_DEPTH] = {
            [4] = (__mmask8)(d[4] >> 8 * half), [5] = (__mmask8)(d[5] >> 8 * half)};
        const __m512d value = pick_double(leaves, _mm512_cvtepu8_epi64(at), of, depth);

        sums[half] = _mm512_castpd_si512(_mm512_add_pd(_mm512_castsi512_pd(sums[half]), value));
    }
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

#define BY_DEPTH(form)                                                                             \
    switch (tree->depth) {                                                                         \
    case 1:                                                                                        \
        form(tree, codes, 1, is_float, sums);                                                      \
        break;                                                                                     \
    case 2:                                                                                        \
        form(tree, codes, 2, is_float, sums);                                                      \
        break;                                                                                     \
    case 3:                                                                                        \
        form(tree, codes, 3, is_float, sums);                                                      \
        break;                                                                                     \
    case 4:                                                                                        \
        form(tree, codes, 4, is_float, sums);                                                      \
        break;                                                                                     \
    case 5:                                                                                        \
        form(tree, codes, 5, is_float, sums);                                                      \
        break;                                                                                     \
    case 6:                                                                                        \
        form(tree, codes, 6, is_float, sums);                                                      \
        break;                                                                                     \
    case 7:                                                                                        \
        form(tree, codes, 7, is_float, sums);                                                      \
        break;                                                                                     \
    default:                                                                                       \
        form(tree, codes, 8, is_float, sums);                                                      \
        break;                                                                                     \
    }

INLINED void perfect_tree(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float,
                          void *sums){BY_DEPTH(perfect)}

INLINED void symmetric_tree(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float,
                            void *sums){BY_DEPTH(symmetric)}

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
            perfect_tree(tree, codes, is_float, at);
        } else if (tree->form == QN_LANES_SHAPE) {
            shape(tree, codes, is_float, at);
        } else if (tree->form == QN_LANES_SYMMETRIC && tree->depth <= QN_LANES_DEPTH) {
            symmetric_tree(tree, codes, is_float, at);
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

/* Sixteen rows through all trees, which are symmetric and no deeper than a perfect one. */
#define FEW(depth)                                                                                 \
    case depth:                                                                                    \
        symmetric_few(&lanes->trees[t], leaves, codes, depth, is_float, sum);                      \
        break;

INLINED void few(const struct qn_model *m, const int8_t *codes, bool is_float, char *sums)
{
    const struct qn_lanes *lanes = m->plan.lanes;
    const size_t width = is_float ? sizeof(float) : sizeof(double), size = is_float ? 1 : 2;
    uint32_t output = m->forest.trees[0].output;
    __m512i *at = (__m512i *)(void *)(sums + output * QN_MODEL_BLOCK * width), sum[2];

    memcpy(sum, at, size * sizeof(*sum));
    for (size_t t = 0; t < m->forest.tree_count; t++) {
        const char *leaves =
            (const char *)lanes->symmetric.leaves + lanes->symmetric.first[t] * width;

        if (m->forest.trees[t].output != output) {
            memcpy(at, sum, size * sizeof(*sum));
            output = m->forest.trees[t].output;
            at = (__m512i *)(void *)(sums + output * QN_MODEL_BLOCK * width);
            memcpy(sum, at, size * sizeof(*sum));
        }
        switch (m->forest.trees[t].depth) {
            FEW(0)
            FEW(1)
            FEW(2)
            FEW(3)
            FEW(4)
            FEW(5)
        default:
            symmetric_few(&lanes->trees[t], leaves, codes, 6, is_float, sum);
        }
    }
    memcpy(at, sum, size * sizeof(*sum));
}

TARGET static void few_float(const struct qn_model *m, const int8_t *codes, void *sums)
{
    few(m, codes, true, sums);
}

TARGET static void few_double(const struct qn_model *m, const int8_t *codes, void *sums)
{
    few(m, codes, false, sums);
}

/* ---- the kernel ---- */

static void avx512_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                         uint32_t rows, void *scratch, void *sums)
{
    const uint32_t can = qn_model_row_avx512_max(m);
    const bool is_symmetric =
        m->plan.lanes->symmetric.tests != NULL && m->info.depth_max <= QN_MODEL_PERFECT_DEPTH;
    const uint32_t most = is_symmetric ? ROWS_SYMMETRIC_MAX : ROWS_SINGLE_MAX;
    int8_t *codes = scratch;

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    if (rows <= can && rows <= most) {
        qn_model_row_avx512(m, columns, first, rows, scratch, sums);
        return;
    }
    qn_model_avx512_quantise(m, columns, first, rows, codes);
    if (is_symmetric && rows <= ROWS_FEW_MAX && m->info.is_float)
        few_float(m, codes, sums);
    else if (is_symmetric && rows <= ROWS_FEW_MAX)
        few_double(m, codes, sums);
    else if (m->info.is_float)
        block_float(m, codes, rows, sums);
    else
        block_double(m, codes, rows, sums);
}

static bool avx512_is_suitable(const struct qn_model *m, const char **reason)
{
    if (m->plan.lanes == NULL || m->plan.lanes->tree_count == 0 ||
        !qn_model_cpu_has(QN_CPU_AVX512) || !qn_model_codes_pay(m, QN_CODING_VECTOR, reason))
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
#if defined(__x86_64__)
    return qn_model_row_avx512_scratch(m);
#else
    return 0;
#endif
}

const struct qn_model_kernel qn_model_kernel_avx512 = {.name = "avx512",
                                                       .is_suitable = avx512_is_suitable,
                                                       .scratch_bytes = avx512_scratch_bytes,
                                                       .score = avx512_score};
