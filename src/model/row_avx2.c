/* SPDX-License-Identifier: Apache-2.0
 * row_avx2.c - single rows through all trees, for kernel `avx2`: what a block costs does not depend
 * on its rows, so few rows go this way.
 *
 *   quantise  a row's columns search together: eight among every 16th of their cuts, then each
 * among the 16 behind trees     depth <= 6: a lane of a register belongs to a tree, which chooses
 * the splits on its own path and picks their codes from the row by shuffles: 32 trees at a time
 *   symmetric the answers to all tests of 4 trees are the bits of a word, and their leaves
 *
 * Tables: lanes.h. Invariant: the same turns as the plan, leaves added in file order. Thread: any.
 * Memory: scratch only. */
#include "model/row_avx2.h"
#include "model/lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { LANES = 32 };

/* ---- picking bytes of a row ---- */

INLINED __m256i table_at(const void *bytes, unsigned number)
{
    const __m128i *at = bytes;

    return _mm256_broadcastsi128_si256(_mm_load_si128(at + number));
}

/* PICK_n(i): of 16 n bytes from table i on, by the low bits of `which`; each further bit chooses
 * between halves. */
#define PICK_1(i)  _mm256_shuffle_epi8(table_at(row, (i)), low)
#define PICK_2(i)  _mm256_blendv_epi8(PICK_1(i), PICK_1((i) + 1), _mm256_slli_epi16(which, 3))
#define PICK_4(i)  _mm256_blendv_epi8(PICK_2(i), PICK_2((i) + 2), _mm256_slli_epi16(which, 2))
#define PICK_8(i)  _mm256_blendv_epi8(PICK_4(i), PICK_4((i) + 4), _mm256_slli_epi16(which, 1))
#define PICK_16(i) _mm256_blendv_epi8(PICK_8(i), PICK_8((i) + 8), which)

/* Bytes `which` of a row of up to 32, 64 or 256; `tables` is a constant. */
INLINED __m256i pick(const void *row, __m256i which, const unsigned tables)
{
    const __m256i low = _mm256_and_si256(which, _mm256_set1_epi8(15));

    if (tables <= 2)
        return PICK_2(0);
    if (tables <= 4)
        return PICK_4(0);
    return PICK_16(0);
}

/* ---- quantise ---- */

INLINED __m128 four_inputs(const double *const *columns, const uint32_t *inputs, uint32_t row)
{
    const __m128d low =
        _mm_loadh_pd(_mm_load_sd(columns[inputs[0]] + row), columns[inputs[1]] + row);
    const __m128d high =
        _mm_loadh_pd(_mm_load_sd(columns[inputs[2]] + row), columns[inputs[3]] + row);

    return _mm256_cvtpd_ps(_mm256_set_m128d(high, low));
}

/* How many of a column's 16 cuts are not above an input. */
INLINED uint64_t fine_rank(const struct qn_lanes_row *lanes, float x, uint32_t at)
{
    const float *cuts = (const float *)(const void *)((const char *)lanes->fine + at);
    const __m256 v = _mm256_set1_ps(x);
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_load_ps(cuts), _CMP_GE_OQ));
    const int high = _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_load_ps(cuts + 8), _CMP_GE_OQ));

    return (uint64_t)_mm_popcnt_u32((uint32_t)low | (uint32_t)high << 8);
}

/* Ranks of eight columns from `first` on, a byte each, 255 = missing. */
INLINED uint64_t eight_ranks(const struct qn_lanes_row *lanes, const double *const *columns,
                             uint32_t row, uint32_t first)
{
    const float *cut = lanes->coarse + (size_t)first / 16 * 256 + first % 16;
    const __m256 x = _mm256_set_m128(four_inputs(columns, lanes->inputs + first + 4, row),
                                     four_inputs(columns, lanes->inputs + first, row));
    const __m256i missing = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    __m256i count = _mm256_setzero_si256(), blocks;
    _Alignas(32) float value[8];
    _Alignas(32) uint32_t at[8];
    uint64_t fine = 0;
    __m128i half;

    for (unsigned j = 0; j < lanes->coarse_count[first / 16]; j++, cut += 16)
        count = _mm256_sub_epi32(
            count, _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_load_ps(cut), _CMP_GE_OQ)));
    _mm256_store_ps(value, x);
    _mm256_store_si256(
        (__m256i *)(void *)at,
        _mm256_add_epi32(
            _mm256_slli_epi32(count, 6),
            _mm256_loadu_si256((const __m256i *)(const void *)(lanes->fine_at + first))));
#pragma GCC unroll 8
    for (unsigned i = 0; i < 8; i++)
        fine |= fine_rank(lanes, value[i], at[i]) << (8 * i);
    blocks = _mm256_or_si256(_mm256_slli_epi32(count, 4), _mm256_srli_epi32(missing, 24));
    half = _mm_packs_epi32(_mm256_castsi256_si128(blocks), _mm256_extracti128_si256(blocks, 1));
    /* a missing input is above no cut */
    return (uint64_t)_mm_cvtsi128_si64(_mm_packus_epi16(half, half)) + fine;
}

INLINED void quantise_floats(const struct qn_model *m, const double *const *columns, uint32_t row,
                             int8_t *codes)
{
    const struct qn_plan *p = &m->plan;
    const struct qn_lanes_row *lanes = &p->lanes->row;
    const __m256i top = _mm256_set1_epi8((char)255), middle = _mm256_set1_epi8((char)128);
    _Alignas(64) uint64_t ranks[QN_LANES_ROW_CODES / 8];

    for (uint32_t k = 0; k < p->column_count; k += 8)
        ranks[k / 8] = eight_ranks(lanes, columns, row, k);
    for (uint32_t c = 0; c < p->code_count; c += LANES) {
        const __m256i which =
            _mm256_load_si256((const __m256i *)(const void *)(lanes->column_of + c));
        __m256i code = p->column_count <= 32 ? pick(ranks, which, 2) : pick(ranks, which, 16);

        code = _mm256_blendv_epi8(
            code, _mm256_load_si256((const __m256i *)(const void *)(lanes->missing + c)),
            _mm256_cmpeq_epi8(code, top));
        _mm256_store_si256((__m256i *)(void *)(codes + c), _mm256_xor_si256(code, middle));
    }
}

/* ---- trees ---- */

/* OWN_n(i, h): the split of the nodes i, i + s, i + 2s, ... (2^n of them) of one level that is on a
 * lane's path, by the n oldest decisions; h is half the level. */
#define OWN_0(i)    _mm256_load_si256((const __m256i *)(const void *)(splits + (size_t)64 * (i)))
#define OWN_1(i, h) _mm256_blendv_epi8(OWN_0(i), OWN_0((i) + (h)), d[0])
#define OWN_2(i, h) _mm256_blendv_epi8(OWN_1(i, h), OWN_1((i) + (h) / 2, h), d[1])
#define OWN_3(i, h) _mm256_blendv_epi8(OWN_2(i, h), OWN_2((i) + (h) / 4, h), d[2])
#define OWN_4(i, h) _mm256_blendv_epi8(OWN_3(i, h), OWN_3((i) + (h) / 8, h), d[3])
#define OWN_5(i, h) _mm256_blendv_epi8(OWN_4(i, h), OWN_4((i) + (h) / 16, h), d[4])
#define OWN_6(i, h) _mm256_blendv_epi8(OWN_5(i, h), OWN_5((i) + (h) / 32, h), d[5])
#define OWN_7(i, h) _mm256_blendv_epi8(OWN_6(i, h), OWN_6((i) + (h) / 64, h), d[6])

INLINED __m256i own_split(const uint8_t *splits, const unsigned level, const __m256i *d)
{
    switch (level) {
    case 0:
        return OWN_0(0);
    case 1:
        return OWN_1(0, 1);
    case 2:
        return OWN_2(0, 2);
    case 3:
        return OWN_3(0, 4);
    case 4:
        return OWN_4(0, 8);
    case 5:
        return OWN_5(0, 16);
    case 6:
        return OWN_6(0, 32);
    default:
        return OWN_7(0, 64);
    }
}

/* Which leaf of each of 32 trees the row reaches: a lane to a tree. */
INLINED void reach(const uint8_t *splits, const int8_t *codes, const unsigned depth,
                   const unsigned tables, uint8_t *leaf)
{
    __m256i index = _mm256_setzero_si256();
    __m256i d[QN_LANES_DEPTH] = {0};

#pragma GCC unroll 8
    for (unsigned level = 0; level < depth; level++) {
        const size_t bytes = (size_t)64 << level;
        const __m256i code = own_split(splits, level, d);
        const __m256i limit = own_split(splits + bytes, level, d);

        d[level] = _mm256_cmpgt_epi8(pick(codes, code, tables), limit);
        index = _mm256_or_si256(
            index, _mm256_and_si256(d[level], _mm256_set1_epi8((char)(1u << (depth - 1 - level)))));
        splits += 2 * bytes;
    }
    _mm256_store_si256((__m256i *)(void *)leaf, index);
}

#define REACH(name, depth, tables)                                                                 \
    TARGET static void name(const uint8_t *splits, const int8_t *codes, uint8_t *leaf)             \
    {                                                                                              \
        reach(splits, codes, depth, tables, leaf);                                                 \
    }

REACH(reach_6_few, 6, 4)
REACH(reach_6_many, 6, 16)
REACH(reach_7_few, 7, 4)
REACH(reach_7_many, 7, 16)
REACH(reach_8_few, 8, 4)
REACH(reach_8_many, 8, 16)

/* The leaves of the trees from t on that are reached together; how many. */
static size_t reach_next(const struct qn_model *m, const int8_t *codes, size_t t, uint8_t *leaf)
{
    const struct qn_lanes_row_block *block = &m->plan.lanes->row.blocks[t / QN_LANES_ROW_TREES];
    const uint8_t *splits = block->splits + t % QN_LANES_ROW_TREES;
    const bool is_few = m->plan.code_count <= 64;
    const size_t left = m->forest.tree_count - t;

    if (block->depth == 6)
        (is_few ? reach_6_few : reach_6_many)(splits, codes, leaf);
    else if (block->depth == 7)
        (is_few ? reach_7_few : reach_7_many)(splits, codes, leaf);
    else
        (is_few ? reach_8_few : reach_8_many)(splits, codes, leaf);
    return left < LANES ? left : LANES;
}

/* The leaves of the next trees are found before those of the last are added, one after the other.
 */
#define ROW_TREES(name, type)                                                                      \
    static void name(const struct qn_model *m, const int8_t *codes, uint32_t row, type *sums)      \
    {                                                                                              \
        const size_t count = m->forest.tree_count;                                                 \
        const bool is_single = m->info.outputs == 1;                                               \
        _Alignas(32) uint8_t leaf[2][LANES];                                                       \
        size_t n = count > 0 ? reach_next(m, codes, 0, leaf[0]) : 0, next = 0;                     \
        type sum = sums[row];                                                                      \
                                                                                                   \
        for (size_t t = 0; t < count; t += LANES, n = next) {                                      \
            const struct qn_lanes_row_block *block =                                               \
                &m->plan.lanes->row.blocks[t / QN_LANES_ROW_TREES];                                \
            const size_t leaf_count = (size_t)1 << block->depth;                                   \
            const type *leaves =                                                                   \
                (const type *)block->leaves + t % QN_LANES_ROW_TREES * leaf_count;                 \
            const uint8_t *at = leaf[t / LANES % 2];                                               \
                                                                                                   \
            if (t + LANES < count)                                                                 \
                next = reach_next(m, codes, t + LANES, leaf[(t / LANES + 1) % 2]);                 \
            if (is_single) {                                                                       \
                _Pragma("GCC unroll 4") for (size_t k = 0; k < n; k++, leaves += leaf_count)       \
                    sum += leaves[at[k]];                                                          \
                continue;                                                                          \
            }                                                                                      \
            for (size_t k = 0; k < n; k++, leaves += leaf_count)                                   \
                sums[(size_t)m->forest.trees[t + k].output * QN_MODEL_BLOCK + row] +=              \
                    leaves[at[k]];                                                                 \
        }                                                                                          \
        if (is_single)                                                                             \
            sums[row] = sum;                                                                       \
    }

ROW_TREES(row_trees_float, float)
ROW_TREES(row_trees_double, double)

/* ---- symmetric ---- */

/* The answers to 64 tests. */
INLINED uint64_t answers_by(const uint8_t *tests, const int8_t *codes, const unsigned tables)
{
    uint64_t bits = 0;

#pragma GCC unroll 2
    for (unsigned half = 0; half < 2; half++) {
        const __m256i *at = (const __m256i *)(const void *)(tests + 32 * half);
        const __m256i v = pick(codes, _mm256_load_si256(at), tables);

        bits |= (uint64_t)(uint32_t)_mm256_movemask_epi8(
                    _mm256_cmpgt_epi8(v, _mm256_load_si256(at + 2)))
                << (32 * half);
    }
    return bits;
}

TARGET static uint64_t answers(const uint8_t *tests, const int8_t *codes, bool is_few)
{
    return is_few ? answers_by(tests, codes, 4) : answers_by(tests, codes, 16);
}

#define ROW_SYMMETRIC(name, type)                                                                  \
    static void name(const struct qn_model *m, const int8_t *codes, uint32_t row, type *sums)      \
    {                                                                                              \
        const struct qn_lanes_symmetric *lanes = &m->plan.lanes->symmetric;                        \
        const unsigned bits = lanes->is_deep ? 16 : 8;                                             \
        const uint64_t mask = ((uint64_t)1 << bits) - 1;                                           \
        const bool is_single = m->info.outputs == 1;                                               \
        const type *leaves = lanes->leaves;                                                        \
        type sum = sums[row];                                                                      \
        uint64_t leaf = 0;                                                                         \
                                                                                                   \
        for (size_t t = 0; t < m->forest.tree_count; t++, leaf >>= bits) {                         \
            if (t % (64 / bits) == 0)                                                              \
                leaf = answers(lanes->tests + t / (64 / bits) * 128, codes,                        \
                               m->plan.code_count <= 64);                                          \
            if (is_single)                                                                         \
                sum += leaves[lanes->first[t] + (leaf & mask)];                                    \
            else                                                                                   \
                sums[(size_t)m->forest.trees[t].output * QN_MODEL_BLOCK + row] +=                  \
                    leaves[lanes->first[t] + (leaf & mask)];                                       \
        }                                                                                          \
        if (is_single)                                                                             \
            sums[row] = sum;                                                                       \
    }

ROW_SYMMETRIC(row_symmetric_float, float)
ROW_SYMMETRIC(row_symmetric_double, double)

/* ---- rows ---- */

TARGET static void code_row(const struct qn_model *m, const double *const *columns, uint32_t row,
                            int8_t *codes)
{
    const struct qn_lanes *lanes = m->plan.lanes;

    if (lanes->row.fine != NULL && lanes->is_plain)
        quantise_floats(m, columns, row, codes);
    else
        qn_model_quantise(m, columns, row, 1, 1, codes);
}

bool qn_model_row_avx2_can(const struct qn_model *m)
{
    const struct qn_lanes *lanes = m->plan.lanes;

    return (lanes->row.blocks != NULL && !lanes->row.has_tests) || lanes->symmetric.tests != NULL;
}

void qn_model_row_avx2(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, void *scratch, void *sums)
{
    int8_t *codes = scratch;

    for (uint32_t r = 0; r < rows; r++) {
        code_row(m, columns, first + r, codes);
        if (m->plan.lanes->symmetric.tests != NULL && m->info.is_float)
            row_symmetric_float(m, codes, r, sums);
        else if (m->plan.lanes->symmetric.tests != NULL)
            row_symmetric_double(m, codes, r, sums);
        else if (m->info.is_float)
            row_trees_float(m, codes, r, sums);
        else
            row_trees_double(m, codes, r, sums);
    }
}
#endif
