/* SPDX-License-Identifier: Apache-2.0
 * kernel_avx2.c - kernel `avx2`: 32 rows at a time on the tables of lanes.h.
 *
 * Needs AVX2; functions carry the target themselves, so that the file is compiled like any other
 * and the rest of the program runs anywhere. As in kernel_avx512.c the columns of a level's nodes
 * are reduced to one by the decisions so far, the oldest first; a decision is a byte of all ones or
 * none. Look-ups are shuffles of 16 bytes: the first four decisions are the index, the later ones
 * choose among tables. Float inputs are coded 8 at a time; doubles, few rows and large trees go
 * through the portable code. Invariant: the same turns as the plan, leaves added in file order.
 * Thread: any. Memory: scratch only. */
#include "base/check.h"
#include "model/lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET  __attribute__((target("avx2,bmi2,popcnt")))
#define INLINED static inline __attribute__((always_inline)) TARGET

enum {
    LANES = 32,
    DEPTH_MAX = 6,       /* deeper trees are walked: a level doubles the work */
    ROWS_SINGLE_MAX = 4, /* up to here one row at a time is faster            */
    CODE_MAX = 254
};

/* ---- quantise ---- */

/* Rank of 8 floats, one level a step: pivots of the upper levels by register permute, the others
 * gathered. */
INLINED __m256i search(const float *pivots, unsigned levels, __m256 x)
{
    __m256i index = _mm256_set1_epi32(1);

    for (unsigned level = 0; level < levels; level++) {
        __m256 pivot;
        __m256i right;

        if (level < 3)
            pivot = _mm256_permutevar8x32_ps(_mm256_load_ps(pivots), index);
        else if (level == 3)
            pivot = _mm256_permutevar8x32_ps(_mm256_load_ps(pivots + 8), index);
        else if (level == 4)
            pivot = _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_load_ps(pivots + 16), index),
                                     _mm256_permutevar8x32_ps(_mm256_load_ps(pivots + 24), index),
                                     _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
        else
            pivot = _mm256_i32gather_ps(pivots, index, 4);
        right = _mm256_castps_si256(_mm256_cmp_ps(x, pivot, _CMP_GE_OQ));
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

TARGET static void column(const struct qn_model *m, uint32_t number, const double *in,
                          uint32_t rows, int8_t *codes)
{
    const struct qn_plan_column *pc = &m->plan.columns[number];
    const float *pivots = m->plan.lanes->columns[number].pivots;
    const __m256i top = _mm256_set1_epi32(CODE_MAX), middle = _mm256_set1_epi32(128);

    for (uint32_t r = 0; r < rows; r += 8) {
        double last[8] = {0};
        const double *at = in + r;
        __m256 x;
        __m256i rank, missing;

        if (rows - r < 8) {
            memcpy(last, at, (rows - r) * sizeof(*at));
            at = last;
        }
        x = convert(m, pc->zero_missing, at);
        missing = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        rank = search(pivots, pc->levels, x);
        for (uint32_t k = pc->first_code; k < pc->first_code + pc->code_count; k++) {
            const struct qn_plan_code *code = &m->plan.codes[k];
            __m256i v = _mm256_sub_epi32(rank, _mm256_set1_epi32((int)code->base));
            __m128i half;

            v = _mm256_min_epi32(_mm256_max_epi32(v, _mm256_setzero_si256()), top);
            v = _mm256_blendv_epi8(v, _mm256_set1_epi32(code->missing), missing);
            v = _mm256_sub_epi32(v, middle);
            half = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
            _mm_storel_epi64((__m128i *)(void *)(codes + (size_t)k * QN_MODEL_BLOCK + r),
                             _mm_packs_epi16(half, half));
        }
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
            column(m, k, columns[p->columns[k].column] + first, rows, codes);
    }
}

/* ---- 32 rows of one perfect tree ---- */

/* A byte per row from the first 16 of a table. Bit 7 of an index would give 0, bits 4 to 6 are
 * ignored; depth <= 6 sets none above 5. */
INLINED __m256i shuffle(const uint8_t *table, __m256i index)
{
    return _mm256_shuffle_epi8(
        _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)table)), index);
}

/* A byte per row from a table in the order of the decisions, 1 << level of them taken. */
INLINED __m256i look_up(const uint8_t *table, __m256i index, const __m256i *d, const unsigned level)
{
    __m256i low = shuffle(table, index), high;

    if (level <= 4)
        return low;
    low = _mm256_blendv_epi8(low, shuffle(table + 16, index), d[4]);
    if (level == 5)
        return low;
    high = _mm256_blendv_epi8(shuffle(table + 32, index), shuffle(table + 48, index), d[4]);
    return _mm256_blendv_epi8(low, high, d[5]);
}

/* FOLD_n(i, h): column of the nodes i, i + s, i + 2s, ... (2^n of them) of one level, folded by the
 * n oldest decisions; h is half the level. */
#define FOLD_0(i)    _mm256_load_si256((const __m256i *)(const void *)(codes + offsets[(i)]))
#define FOLD_1(i, h) _mm256_blendv_epi8(FOLD_0(i), FOLD_0((i) + (h)), d[0])
#define FOLD_2(i, h) _mm256_blendv_epi8(FOLD_1(i, h), FOLD_1((i) + (h) / 2, h), d[1])
#define FOLD_3(i, h) _mm256_blendv_epi8(FOLD_2(i, h), FOLD_2((i) + (h) / 4, h), d[2])
#define FOLD_4(i, h) _mm256_blendv_epi8(FOLD_3(i, h), FOLD_3((i) + (h) / 8, h), d[3])
#define FOLD_5(i, h) _mm256_blendv_epi8(FOLD_4(i, h), FOLD_4((i) + (h) / 16, h), d[4])

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
    return index;
}

/* Four planes to four vectors of 32-bit numbers: element 4 l + e of out[j] is row 16 l + 4 j + e.
 */
INLINED void words(const uint8_t *planes, __m256i index, const __m256i *d, const unsigned depth,
                   __m256i *out)
{
    const __m256i b0 = look_up(planes, index, d, depth);
    const __m256i b1 = look_up(planes + 64, index, d, depth);
    const __m256i b2 = look_up(planes + 128, index, d, depth);
    const __m256i b3 = look_up(planes + 192, index, d, depth);
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
    words(planes + 256, index, d, depth, high);
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
    __m256i d[DEPTH_MAX];
    __m256i index = follow(tree->block, codes, depth, d);

    if (is_float)
        add_float(planes, index, d, depth, sums);
    else
        add_double(planes, index, d, depth, sums);
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
    default:
        perfect(tree, codes, 6, is_float, sums);
        break;
    }
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

        if (tree->form == QN_LANES_PERFECT && tree->depth <= DEPTH_MAX) {
            tree_by_depth(tree, codes, is_float, at);
        } else {
            reorder(at, width, true);
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

static void avx2_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, void *scratch, void *sums)
{
    int8_t *codes = scratch;

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    if (rows <= ROWS_SINGLE_MAX) {
        for (uint32_t r = 0; r < rows; r++) {
            qn_model_quantise(m, columns, first + r, 1, 1, codes);
            qn_model_score_row(m, codes, r, sums);
        }
        return;
    }
    if (!m->info.is_float || m->plan.code_count == 0)
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
    if (m->plan.lanes == NULL || m->plan.perfect_count == 0 || !qn_model_cpu_has(QN_CPU_AVX2) ||
        !qn_model_codes_pay(m, reason))
        return false;
    *reason = m->plan.perfect_count == m->forest.tree_count
                  ? "this CPU has AVX2 and all trees have depth 6 or less"
                  : "this CPU has AVX2; deeper trees than 6 are walked 8 rows at a time";
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
    return (size_t)(m->plan.code_count + 1) * QN_MODEL_BLOCK;
}

const struct qn_model_kernel qn_model_kernel_avx2 = {.name = "avx2",
                                                     .is_suitable = avx2_is_suitable,
                                                     .scratch_bytes = avx2_scratch_bytes,
                                                     .score = avx2_score};
