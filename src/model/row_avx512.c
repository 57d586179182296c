/* SPDX-License-Identifier: Apache-2.0
 * row_avx512.c - single rows through all trees, for the AVX-512 kernels: what a block costs does
 * not depend on its rows, so few rows go this way.
 *
 *   quantise  a row's columns search together, or 16 rows of a column, turned afterwards
 *   trees     depth <= 8: a lane of a register belongs to a tree, which chooses the splits on its
 * own path and picks their codes from the row by permute: 64 trees at a time symmetric a permute
 * and a compare answer all tests of 8 trees, and the answers are the leaves
 *
 * Four rows in step where there are as many, since one chain of additions would wait for itself.
 * Invariant: the same turns as the plan, leaves added in file order. Thread: any. Memory: scratch
 * only. */
#include "model/row_avx512.h"
#include "base/check.h"
#include "model/avx512.h"

#if defined(__x86_64__)

enum {
    ROWS_WALKED_MAX = 6, /* rows of trees that kernel_columns.c walks                      */
    ROWS_CODED_MIN = 6,  /* from here on coding columns of 16 rows and turning them is quicker */
    ROWS_TURNED = 16,
    ROWS_AT_ONCE = 4,
    CODE_MAX = 254
};

/* ---- picking bytes of a row ---- */

/* How many registers hold that many bytes: 1, 2 or 4. */
static unsigned registers_for(uint32_t bytes)
{
    return bytes <= 64 ? 1 : bytes <= 128 ? 2 : 4;
}

/* Bytes `which` of a row; `registers` is a constant. */
INLINED __m512i pick(const void *row, __m512i which, const unsigned registers)
{
    const uint8_t *p = row;
    const __m512i a = _mm512_load_si512(p);

    if (registers == 1)
        return _mm512_permutexvar_epi8(which, a);
    if (registers == 2)
        return _mm512_permutex2var_epi8(a, which, _mm512_load_si512(p + 64));
    return _mm512_mask_blend_epi8(
        _mm512_movepi8_mask(which), _mm512_permutex2var_epi8(a, which, _mm512_load_si512(p + 64)),
        _mm512_permutex2var_epi8(_mm512_load_si512(p + 128), which, _mm512_load_si512(p + 192)));
}

/* ---- quantise ---- */

/* Cuts that are <= x: of 16 pivots, then of the 16 cuts behind the last of them. */
INLINED uint32_t rank_float(const struct qn_lanes_column *c, float value)
{
    const __m512 x = _mm512_set1_ps(value);
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

INLINED uint32_t rank_double(const struct qn_lanes_column *c, double value)
{
    const __m512d x = _mm512_set1_pd(value);
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
        rank = (int32_t)(is_float ? rank_float(c, (float)x) : rank_double(c, x));
        for (uint32_t i = pc->first_code; i < pc->first_code + pc->code_count; i++) {
            int32_t v = rank - (int32_t)p->codes[i].base;

            v = v < 0 ? 0 : v;
            v = v > CODE_MAX ? CODE_MAX : v;
            v = x != x ? p->codes[i].missing : v;
            codes[i] = (int8_t)(v - 128);
        }
    }
}

/* Codes from the ranks of all columns; rank 255 is missing. */
INLINED void codes_by(const struct qn_plan *p, const void *ranks, const unsigned registers,
                      int8_t *codes)
{
    const struct qn_lanes_row *lanes = &p->lanes->row;
    const __m512i top = _mm512_set1_epi8((char)255);

    for (uint32_t c = 0; c < p->code_count; c += 64) {
        __m512i code = pick(ranks, _mm512_load_si512(lanes->column_of + c), registers);

        code = _mm512_mask_mov_epi8(code, _mm512_cmpeq_epi8_mask(code, top),
                                    _mm512_load_si512(lanes->missing + c));
        _mm512_store_si512((void *)(codes + c), _mm512_sub_epi8(code, _mm512_set1_epi8((char)128)));
    }
}

INLINED void codes_of_ranks(const struct qn_plan *p, const void *ranks, int8_t *codes)
{
    if (p->column_count <= 64)
        codes_by(p, ranks, 1, codes);
    else
        codes_by(p, ranks, 4, codes);
}

/* The same for columns of numbers. A missing input is rank 255. */
INLINED void quantise_doubles(const struct qn_model *m, const double *const *columns, uint32_t row,
                              int8_t *codes)
{
    const struct qn_plan *p = &m->plan;
    const struct qn_lanes_row *lanes = &p->lanes->row;
    const uint32_t count = p->column_count;
    _Alignas(64) double x[QN_LANES_ROW_CODES];
    _Alignas(64) uint8_t ranks[QN_LANES_ROW_CODES];
    uint8_t missing[QN_LANES_ROW_CODES / 8];

    for (uint32_t k = 0; k < count; k++)
        x[k] = columns[p->columns[k].column][row];
    for (uint32_t k = 0; k < count; k += 8) {
        const __mmask8 used = count - k >= 8 ? 0xff : (__mmask8)((1u << (count - k)) - 1);
        const __m512d v =
            convert(m, lanes->zero_missing[k / 8], _mm512_maskz_loadu_pd(used, x + k));

        missing[k / 8] = _mm512_cmp_pd_mask(v, v, _CMP_UNORD_Q);
        _mm512_store_pd(x + k, v);
    }
    for (uint32_t k = 0; k < count; k++)
        ranks[k] = (uint8_t)(rank_double(&p->lanes->columns[k], x[k]) |
                             -(uint32_t)(missing[k / 8] >> k % 8 & 1));
    codes_of_ranks(p, ranks, codes);
}

INLINED __m128d two_inputs(const double *const *columns, const uint32_t *inputs, uint32_t row)
{
    return _mm_loadh_pd(_mm_load_sd(columns[inputs[0]] + row), columns[inputs[1]] + row);
}

/* Eight columns of one row, without a way through memory, on which the load would wait. */
INLINED __m512d eight_inputs(const double *const *columns, const uint32_t *inputs, uint32_t row)
{
    const __m256d low =
        _mm256_set_m128d(two_inputs(columns, inputs + 2, row), two_inputs(columns, inputs, row));
    const __m256d high = _mm256_set_m128d(two_inputs(columns, inputs + 6, row),
                                          two_inputs(columns, inputs + 4, row));

    return _mm512_insertf64x4(_mm512_castpd256_pd512(low), high, 1);
}

/* Which of 16 cuts an input is not below, of four columns. */
INLINED long long four_masks(const struct qn_lanes_row *lanes, const float *x, const uint32_t *at)
{
    __mmask32 m[4];

#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; i++)
        m[i] = _mm512_cmp_ps_mask(_mm512_set1_ps(x[i]),
                                  _mm512_load_ps((const void *)((const char *)lanes->fine + at[i])),
                                  _CMP_GE_OQ);
    return (long long)_cvtmask64_u64(
        _mm512_kunpackd(_mm512_kunpackw(m[3], m[2]), _mm512_kunpackw(m[1], m[0])));
}

/* The same among floats: 16 columns search together among every 16th cut; which of the 16 cuts
 * behind that are not above the input is a mask of low bits, so its length is their number. */
INLINED void quantise_floats(const struct qn_model *m, const double *const *columns, uint32_t row,
                             int8_t *codes)
{
    const struct qn_plan *p = &m->plan;
    const struct qn_lanes_row *lanes = &p->lanes->row;
    const uint32_t groups = (p->column_count + 15) / 16;
    const __m512i one = _mm512_set1_epi32(1);
    const bool is_plain = p->lanes->is_plain;
    _Alignas(64) float x[QN_LANES_ROW_CODES];
    _Alignas(64) uint32_t at[QN_LANES_ROW_CODES];
    __mmask16 missing[QN_LANES_ROW_CODES / 16];
    __m512i blocks[QN_LANES_ROW_CODES / 16], ranks[QN_LANES_ROW_CODES / 64];
    __m512i rank = _mm512_setzero_si512();

    for (uint32_t g = 0; g < groups; g++) {
        const float *cut = lanes->coarse + (size_t)256 * g;
        const uint32_t *inputs = lanes->inputs + (size_t)16 * g;
        __m512d low = eight_inputs(columns, inputs, row);
        __m512d high = eight_inputs(columns, inputs + 8, row);
        __m512i count = _mm512_setzero_si512(), more = count;
        __m512 v;

        if (!is_plain) {
            low = convert(m, lanes->zero_missing[(size_t)2 * g], low);
            high = convert(m, lanes->zero_missing[(size_t)2 * g + 1], high);
        }
        v = _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high),
                               1);
        for (unsigned j = 0; j < lanes->coarse_count[g]; j += 2, cut += 32) {
            count = _mm512_mask_add_epi32(
                count, _mm512_cmp_ps_mask(v, _mm512_load_ps(cut), _CMP_GE_OQ), count, one);
            more = _mm512_mask_add_epi32(
                more, _mm512_cmp_ps_mask(v, _mm512_load_ps(cut + 16), _CMP_GE_OQ), more, one);
        }
        count = _mm512_add_epi32(count, more);
        missing[g] = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        blocks[g] = _mm512_slli_epi32(count, 4);
        _mm512_store_ps(x + (size_t)16 * g, v);
        _mm512_store_si512((void *)(at + (size_t)16 * g),
                           _mm512_add_epi32(_mm512_slli_epi32(count, 6),
                                            _mm512_loadu_si512(lanes->fine_at + (size_t)16 * g)));
    }
    for (uint32_t g = 0; g < groups; g++) {
        const uint32_t first = 16 * g;
        const __m512i mask = _mm512_cvtepu16_epi32(
            _mm256_set_epi64x(four_masks(lanes, x + first + 12, at + first + 12),
                              four_masks(lanes, x + first + 8, at + first + 8),
                              four_masks(lanes, x + first + 4, at + first + 4),
                              four_masks(lanes, x + first, at + first)));
        __m512i r = _mm512_sub_epi32(_mm512_set1_epi32(32), _mm512_lzcnt_epi32(mask));

        r = _mm512_mask_mov_epi32(_mm512_add_epi32(r, blocks[g]), missing[g],
                                  _mm512_set1_epi32(255));
        rank = _mm512_mask_broadcast_i32x4(rank, (__mmask16)(15u << (g % 4 * 4)),
                                           _mm512_cvtepi32_epi8(r));
        _mm512_store_si512(&ranks[g / 4], rank);
    }
    codes_of_ranks(p, ranks, codes);
}

/* codes: room for QN_LANES_ROW_CODES, or more where there are more. */
TARGET static void code_row(const struct qn_model *m, const double *const *columns, uint32_t row,
                            int8_t *codes)
{
    if (!m->plan.lanes->row.is_quick)
        quantise_row(m, columns, row, m->plan.lanes->is_float, codes);
    else if (m->plan.lanes->row.fine != NULL)
        quantise_floats(m, columns, row, codes);
    else
        quantise_doubles(m, columns, row, codes);
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
    qn_model_avx512_quantise(m, columns, first, rows, block);
    turn_codes(block, m->plan.code_count, codes);
}

/* Answers to 64 tests, `registers` is a constant. */
INLINED uint64_t answers(const uint8_t *tests, const int8_t *codes, const unsigned registers)
{
    return _cvtmask64_u64(_mm512_cmpgt_epi8_mask(pick(codes, _mm512_load_si512(tests), registers),
                                                 _mm512_load_si512(tests + 64)));
}

/* OWN_n(i, h): the split of the nodes i, i + s, i + 2s, ... (2^n of them) of one level that is on a
 * lane's path, by the n oldest decisions; h is half the level. */
#define SPLIT(i)    (splits + (size_t)64 * (i))
#define OWN_0(i)    _mm512_load_si512(SPLIT(i))
#define OWN_1(i, h) _mm512_mask_loadu_epi8(OWN_0(i), d[0], SPLIT((i) + (h)))
#define OWN_2(i, h) _mm512_mask_blend_epi8(d[1], OWN_1(i, h), OWN_1((i) + (h) / 2, h))
#define OWN_3(i, h) _mm512_mask_blend_epi8(d[2], OWN_2(i, h), OWN_2((i) + (h) / 4, h))
#define OWN_4(i, h) _mm512_mask_blend_epi8(d[3], OWN_3(i, h), OWN_3((i) + (h) / 8, h))
#define OWN_5(i, h) _mm512_mask_blend_epi8(d[4], OWN_4(i, h), OWN_4((i) + (h) / 16, h))
#define OWN_6(i, h) _mm512_mask_blend_epi8(d[5], OWN_5(i, h), OWN_5((i) + (h) / 32, h))
#define OWN_7(i, h) _mm512_mask_blend_epi8(d[6], OWN_6(i, h), OWN_6((i) + (h) / 64, h))

INLINED __m512i own_split(const uint8_t *splits, const unsigned level, const __mmask64 *d)
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

/* Which leaf of each of 64 trees the row reaches: a lane to a tree. */
INLINED void reach(const uint8_t *splits, const int8_t *codes, const unsigned depth,
                   const unsigned registers, uint8_t *leaf)
{
    __m512i index = _mm512_setzero_si512();
    __mmask64 d[QN_LANES_DEPTH] = {0};

#pragma GCC unroll 8
    for (unsigned level = 0; level < depth; level++) {
        const size_t bytes = (size_t)64 << level;
        const __m512i code = own_split(splits, level, d);
        const __m512i limit = own_split(splits + bytes, level, d);

        d[level] = _mm512_cmpgt_epi8_mask(pick(codes, code, registers), limit);
        index = _mm512_mask_add_epi8(index, d[level], index,
                                     _mm512_set1_epi8((char)(1u << (depth - 1 - level))));
        splits += 2 * bytes;
    }
    _mm512_store_si512((void *)leaf, index);
}

#define REACH(name, depth, registers)                                                              \
    TARGET static void name(const uint8_t *splits, const int8_t *codes, uint8_t *leaf)             \
    {                                                                                              \
        reach(splits, codes, depth, registers, leaf);                                              \
    }

REACH(reach_6_1, 6, 1)
REACH(reach_6_2, 6, 2)
REACH(reach_6_4, 6, 4)
REACH(reach_7_1, 7, 1)
REACH(reach_7_4, 7, 4)
REACH(reach_8_1, 8, 1)
REACH(reach_8_4, 8, 4)

/* Tree by tree: each test that is passed to the right leaves fewer leaves, and the leftmost that
 * all leave is reached (QuickScorer; Lucchese et al., SIGIR 2015). */
INLINED unsigned leftmost(const uint8_t *masks, uint64_t right, const unsigned leaf_bits)
{
    __m512i a = _mm512_set1_epi64(-1), b = a;
    __m256i half;
    __m128i quarter;

    if (leaf_bits == 32) {
        a = _mm512_mask_mov_epi32(a, (__mmask16)right, _mm512_load_si512(masks));
        b = _mm512_mask_mov_epi32(b, (__mmask16)(right >> 16), _mm512_load_si512(masks + 64));
    } else {
#pragma GCC unroll 4
        for (unsigned i = 0; i < 8; i += 2) {
            const uint8_t *at = masks + (size_t)64 * i;

            a = _mm512_mask_and_epi64(a, (__mmask8)(right >> (8 * i)), a, _mm512_load_si512(at));
            b = _mm512_mask_and_epi64(b, (__mmask8)(right >> (8 * i + 8)), b,
                                      _mm512_load_si512(at + 64));
        }
    }
    a = _mm512_and_si512(a, b);
    half = _mm256_and_si256(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
    quarter = _mm_and_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    quarter = _mm_and_si128(quarter, _mm_unpackhi_epi64(quarter, quarter));
    if (leaf_bits == 32)
        quarter = _mm_and_si128(quarter, _mm_srli_epi64(quarter, 32));
    return (unsigned)__builtin_ctzll((uint64_t)_mm_cvtsi128_si64(quarter));
}

INLINED void reach_by_tests(const struct qn_lanes_row_block *block, const int8_t *codes,
                            const unsigned registers, const unsigned leaf_bits, uint8_t *leaf)
{
    const uint8_t *tests = block->tests;

    for (unsigned t = 0; t < block->count; t++, tests += qn_lanes_tests_bytes(leaf_bits))
        leaf[t] = (uint8_t)leftmost(tests + 128, answers(tests, codes, registers), leaf_bits);
}

TARGET static void reach_tests(const struct qn_lanes_row_block *block, const int8_t *codes,
                               unsigned registers, uint8_t *leaf)
{
    if (block->leaf_bits == 32 && registers == 1)
        reach_by_tests(block, codes, 1, 32, leaf);
    else if (block->leaf_bits == 32)
        reach_by_tests(block, codes, 4, 32, leaf);
    else if (registers == 1)
        reach_by_tests(block, codes, 1, 64, leaf);
    else
        reach_by_tests(block, codes, 4, 64, leaf);
}

INLINED void reach_block(const struct qn_lanes_row_block *block, const int8_t *codes,
                         unsigned registers, uint8_t *leaf)
{
    if (block->depth == 6 && registers == 1)
        reach_6_1(block->splits, codes, leaf);
    else if (block->depth == 6 && registers == 2)
        reach_6_2(block->splits, codes, leaf);
    else if (block->depth == 6)
        reach_6_4(block->splits, codes, leaf);
    else if (block->depth == 7 && registers == 1)
        reach_7_1(block->splits, codes, leaf);
    else if (block->depth == 7)
        reach_7_4(block->splits, codes, leaf);
    else if (block->depth == 8 && registers == 1)
        reach_8_1(block->splits, codes, leaf);
    else if (block->depth == 8)
        reach_8_4(block->splits, codes, leaf);
    else
        reach_tests(block, codes, registers, leaf);
}

/* `rows` rows, one or four, through all trees; it, is_single and has_runs are constants. The leaves
 * of the next 64 trees are found before those of the last are added, one after the other. */
#define ROWS_TREES(name, type)                                                                     \
    INLINED void name(const struct qn_model *m, const int8_t *codes, uint32_t row,                 \
                      const unsigned rows, const bool is_single, const bool has_runs, type *sums)  \
    {                                                                                              \
        const struct qn_lanes_row_block *block = m->plan.lanes->row.blocks;                        \
        const unsigned registers = registers_for(m->plan.code_count);                              \
        const size_t count = m->forest.tree_count;                                                 \
        _Alignas(64) uint8_t leaf[2][ROWS_AT_ONCE][64];                                            \
        type sum[ROWS_AT_ONCE];                                                                    \
                                                                                                   \
        for (unsigned i = 0; i < rows; i++) {                                                      \
            sum[i] = sums[row + i];                                                                \
            if (count > 0)                                                                         \
                reach_block(block, codes + i * QN_LANES_ROW_CODES, registers, leaf[0][i]);         \
        }                                                                                          \
        for (size_t t = 0; t < count; t += 64, block++) {                                          \
            const size_t n = count - t < 64 ? count - t : 64;                                      \
            const size_t leaf_count =                                                              \
                block->depth > 0 ? (size_t)1 << block->depth : block->leaf_bits;                   \
            const unsigned now = t / 64 % 2;                                                       \
            const type *leaves = block->leaves;                                                    \
                                                                                                   \
            for (unsigned i = 0; i < rows && t + 64 < count; i++)                                  \
                reach_block(block + 1, codes + i * QN_LANES_ROW_CODES, registers, leaf[!now][i]);  \
            for (size_t k = 0; k < n;) {                                                           \
                const uint32_t output = m->forest.trees[t + k].output;                             \
                const size_t end = is_single  ? n                                                  \
                                   : has_runs ? qn_model_same_output(m, t + k, t + n) - t          \
                                              : k + 1;                                             \
                type *to = sums + (size_t)output * QN_MODEL_BLOCK + row;                           \
                                                                                                   \
                for (unsigned i = 0; i < rows && has_runs; i++)                                    \
                    sum[i] = to[i];                                                                \
                _Pragma("GCC unroll 4") for (; k < end; k++, leaves += leaf_count)                 \
                {                                                                                  \
                    _Pragma("GCC unroll 4") for (unsigned i = 0; i < rows; i++)                    \
                    {                                                                              \
                        if (is_single || has_runs)                                                 \
                            sum[i] += leaves[leaf[now][i][k]];                                     \
                        else                                                                       \
                            to[i] += leaves[leaf[now][i][k]];                                      \
                    }                                                                              \
                }                                                                                  \
                for (unsigned i = 0; i < rows && has_runs; i++)                                    \
                    to[i] = sum[i];                                                                \
            }                                                                                      \
        }                                                                                          \
        for (unsigned i = 0; i < rows && is_single; i++)                                           \
            sums[row + i] = sum[i];                                                                \
    }

ROWS_TREES(rows_trees_float, float)
ROWS_TREES(rows_trees_double, double)

/* The same where all trees are symmetric: a permute and a compare are the leaves of eight trees. */
#define ROWS_SYMMETRIC(name, type)                                                                 \
    INLINED void name(const struct qn_model *m, const int8_t *codes, uint32_t row,                 \
                      const unsigned rows, const unsigned registers, type *sums)                   \
    {                                                                                              \
        const struct qn_lanes_symmetric *const lanes = &m->plan.lanes->symmetric;                  \
        const size_t count = m->forest.tree_count, per_register = lanes->is_deep ? 4 : 8;          \
        const bool is_single = m->info.outputs == 1;                                               \
        const uint8_t *tests = lanes->tests;                                                       \
        type sum[ROWS_AT_ONCE];                                                                    \
                                                                                                   \
        for (unsigned i = 0; i < rows; i++)                                                        \
            sum[i] = sums[row + i];                                                                \
        for (size_t t = 0; t < count; t += per_register, tests += 128) {                           \
            const size_t end = count - t < per_register ? count : t + per_register;                \
            uint64_t leaf[ROWS_AT_ONCE];                                                           \
                                                                                                   \
            for (unsigned i = 0; i < rows; i++)                                                    \
                leaf[i] = answers(tests, codes + i * QN_LANES_ROW_CODES, registers);               \
            for (size_t k = t; k < end; k++) {                                                     \
                const type *leaves = (const type *)lanes->leaves + lanes->first[k];                \
                type *to = sums + (size_t)m->forest.trees[k].output * QN_MODEL_BLOCK + row;        \
                                                                                                   \
                _Pragma("GCC unroll 4") for (unsigned i = 0; i < rows; i++)                        \
                {                                                                                  \
                    const type value = leaves[lanes->is_deep ? leaf[i] & 0xffff : leaf[i] & 255];  \
                                                                                                   \
                    leaf[i] >>= lanes->is_deep ? 16 : 8;                                           \
                    if (is_single)                                                                 \
                        sum[i] += value;                                                           \
                    else                                                                           \
                        to[i] += value;                                                            \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
        for (unsigned i = 0; i < rows && is_single; i++)                                           \
            sums[row + i] = sum[i];                                                                \
    }

ROWS_SYMMETRIC(rows_symmetric_float, float)
ROWS_SYMMETRIC(rows_symmetric_double, double)

/* The same with the switches of the model. */
#define ROWS_BY(name, type, rows_trees, rows_symmetric)                                            \
    INLINED void name(const struct qn_model *m, const int8_t *codes, uint32_t row,                 \
                      const unsigned rows, type *sums)                                             \
    {                                                                                              \
        if (m->plan.lanes->symmetric.tests != NULL && m->plan.code_count <= 64)                    \
            rows_symmetric(m, codes, row, rows, 1, sums);                                          \
        else if (m->plan.lanes->symmetric.tests != NULL)                                           \
            rows_symmetric(m, codes, row, rows, 4, sums);                                          \
        else if (m->info.outputs == 1)                                                             \
            rows_trees(m, codes, row, rows, true, false, sums);                                    \
        else if (m->plan.has_runs)                                                                 \
            rows_trees(m, codes, row, rows, false, true, sums);                                    \
        else                                                                                       \
            rows_trees(m, codes, row, rows, false, false, sums);                                   \
    }

ROWS_BY(rows_by_float, float, rows_trees_float, rows_symmetric_float)
ROWS_BY(rows_by_double, double, rows_trees_double, rows_symmetric_double)

/* Rows that are too few for a block, whose trees fit the one-row form: coded 16 at a time, or alone
 * where they are few. */
#define ROWS_SCORE(name, type, rows_by)                                                            \
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
                    code_row(m, columns, first + r + i, codes + (at + i) * QN_LANES_ROW_CODES);    \
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

ROWS_SCORE(rows_float, float, rows_by_float)
ROWS_SCORE(rows_double, double, rows_by_double)

/* The same where some tree is too deep for that form. */
TARGET static void rows_walked(const struct qn_model *m, const double *const *columns,
                               uint32_t first, uint32_t rows, int8_t *codes, void *sums)
{
    for (uint32_t r = 0; r < rows; r++) {
        code_row(m, columns, first + r, codes);
        qn_model_score_row(m, codes, r, sums);
    }
}

uint32_t qn_model_row_avx512_max(const struct qn_model *m)
{
    const struct qn_lanes *lanes = m->plan.lanes;

    return lanes->row.blocks != NULL || lanes->symmetric.tests != NULL ? UINT32_MAX
                                                                       : ROWS_WALKED_MAX;
}

size_t qn_model_row_avx512_scratch(const struct qn_model *m)
{
    /* codes of some rows, and the block that they are turned from */
    return (size_t)(m->plan.code_count + 8) * QN_MODEL_BLOCK +
           (size_t)ROWS_TURNED * QN_LANES_ROW_CODES;
}

void qn_model_row_avx512(const struct qn_model *m, const double *const *columns, uint32_t first,
                         uint32_t rows, void *scratch, void *sums)
{
    if (m->plan.code_count == 0)
        memset(scratch, 0, ROWS_TURNED * QN_LANES_ROW_CODES);
    if (m->plan.lanes->row.blocks == NULL && m->plan.lanes->symmetric.tests == NULL)
        rows_walked(m, columns, first, rows, scratch, sums);
    else if (m->info.is_float)
        rows_float(m, columns, first, rows, scratch, sums);
    else
        rows_double(m, columns, first, rows, scratch, sums);
}

#endif
