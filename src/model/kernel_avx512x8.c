/* SPDX-License-Identifier: Apache-2.0
 * kernel_avx512x8.c - kernel `avx512x8`: 8 trees x 8 rows in a register, on the tables of
 * squares.h.
 *
 * Trees up to depth 6. A level costs two permutes for a node's split, two for its limit and two for
 * the row's value, whatever the number of nodes; kernel_avx512.c, which loads the columns of all
 * nodes of a level, needs half the work where a byte permute of two registers is three operations
 * (Intel), and three times as much where it is one (Zen 4 and later): model.c measures which is
 * quicker. Eight chains in step hide the latency of each: eight groups of 8 rows through one set of
 * trees, or fewer rows through more sets. Few rows go through row_avx512.c.
 *
 *   quantise  64, 32 or 16 rows of a column search in step; four columns' bytes at a time are
 * turned into tables of four rows walk      from the root down; bit 1 of the index means left, so
 * nodes stand from right to left leaves    two or four planes of 16 bits, picked by permute, added
 * tree by tree
 *
 * Invariant: the same turns as the plan, leaves added in file order. Thread: any. Memory: scratch
 * only. */
#include "base/check.h"
#include "model/avx512.h"
#include "model/row_avx512.h"
#include "model/squares.h"

#if defined(__x86_64__)

enum {
    ROWS_FEW = 4,     /* up to here the one-row form is quicker */
    QUADS = 16,       /* groups of four rows                    */
    HALF_BYTES = 128, /* 32 slots of four rows                  */
    CODE_MAX = 254,
    CHAINS = 8
};

/* Scratch. `packed`: per group of 16 rows, per slot, a byte per row; `quads`: tables of four rows;
 * `reached`: which leaf each of 64 rows reaches in eight trees; `codes`: what columns of categories
 * are coded into, as in other kernels. */
struct work {
    _Alignas(64) uint8_t packed[QUADS / 4][QN_SQUARES_SLOTS_WIDE][16];
    _Alignas(64) uint8_t quads[QUADS * 2 * HALF_BYTES];
    _Alignas(64) uint8_t reached[CHAINS][64];
    _Alignas(64) int8_t codes[];
};

/* ---- quantise ---- */

/* Where the 16 bytes of a slot stand so that two rounds of interleaving bring its four rows to
 * number `slot` among sixteen. */
static inline unsigned place_of(unsigned slot)
{
    return (slot & ~15u) + slot % 4 * 4 + slot / 4 % 4;
}

/* Bytes of a slot, 16 rows to a register of 32-bit numbers 0..254 (missing: 255 or above). With
 * four registers row 16 j + 4 l + e comes to group l, byte 4 j + e, since that is how packing
 * leaves them; else to group j, in order. */
INLINED void put_slot(const __m512i *v, const unsigned parts, struct work *w, unsigned slot)
{
    const unsigned place = place_of(slot);

    if (parts == 4) {
        const __m512i bytes =
            _mm512_packus_epi16(_mm512_packus_epi32(v[0], v[1]), _mm512_packus_epi32(v[2], v[3]));

        _mm_store_si128((void *)w->packed[0][place], _mm512_castsi512_si128(bytes));
        _mm_store_si128((void *)w->packed[1][place], _mm512_extracti32x4_epi32(bytes, 1));
        _mm_store_si128((void *)w->packed[2][place], _mm512_extracti32x4_epi32(bytes, 2));
        _mm_store_si128((void *)w->packed[3][place], _mm512_extracti32x4_epi32(bytes, 3));
    } else {
        for (unsigned j = 0; j < parts; j++)
            _mm_store_si128((void *)w->packed[j][place], _mm512_cvtusepi32_epi8(v[j]));
    }
}

/* One numeric column to its slots. */
INLINED void number_column(const struct qn_model *m, uint32_t number, const unsigned levels,
                           const unsigned parts, const double *in, uint32_t rows, struct work *w)
{
    const struct qn_squares *q = m->plan.squares;
    const struct qn_squares_column column = q->columns[number];
    __m512i rank[QN_AVX512_PARTS], v[QN_AVX512_PARTS];
    __mmask16 missing[QN_AVX512_PARTS];

    ranks_of(m, number, levels, parts, in, rows, rank, missing);
    for (unsigned s = column.first; s < (unsigned)column.first + column.count; s++) {
        const struct qn_plan_code *code =
            q->slots[s].code < 0 ? NULL : &m->plan.codes[q->slots[s].code];

#pragma GCC unroll 4
        for (unsigned j = 0; j < parts; j++) {
            v[j] = rank[j];
            if (code != NULL) {
                v[j] = _mm512_sub_epi32(v[j], _mm512_set1_epi32((int)code->base));
                v[j] = _mm512_max_epi32(v[j], _mm512_setzero_si512());
                v[j] = _mm512_min_epi32(v[j], _mm512_set1_epi32(CODE_MAX));
            }
            v[j] = _mm512_mask_mov_epi32(v[j], missing[j],
                                         _mm512_set1_epi32(code != NULL ? code->missing : 255));
        }
        put_slot(v, parts, w, s);
    }
}

/* Columns of categories take the way of all kernels; their codes become unsigned. */
INLINED void category_column(const struct qn_model *m, uint32_t number,
                             const double *const *columns, uint32_t first, uint32_t rows,
                             const unsigned parts, struct work *w)
{
    const struct qn_squares *q = m->plan.squares;
    const struct qn_squares_column column = q->columns[number];
    const __m512i middle = _mm512_set1_epi8((char)128);
    const __m512i turn = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);

    qn_model_quantise_column(m, &m->plan.columns[number], columns, first, rows, QN_MODEL_BLOCK,
                             w->codes);
    for (unsigned s = column.first; s < (unsigned)column.first + column.count; s++) {
        __m512i bytes = _mm512_load_si512(w->codes + (size_t)q->slots[s].code * QN_MODEL_BLOCK);
        const unsigned place = place_of(s);

        bytes = _mm512_xor_si512(bytes, middle);
        if (parts == 4)
            bytes = _mm512_permutexvar_epi32(turn, bytes);
        _mm_store_si128((void *)w->packed[0][place], _mm512_castsi512_si128(bytes));
        _mm_store_si128((void *)w->packed[1][place], _mm512_extracti32x4_epi32(bytes, 1));
        _mm_store_si128((void *)w->packed[2][place], _mm512_extracti32x4_epi32(bytes, 2));
        _mm_store_si128((void *)w->packed[3][place], _mm512_extracti32x4_epi32(bytes, 3));
    }
}

/* A group of 16 rows: from a row of bytes per slot to four tables of four bytes per slot. */
INLINED void turn_group(const struct work *w, unsigned group, const unsigned slots, uint8_t *quads)
{
    const size_t bytes = slots > QN_SQUARES_SLOTS ? 2 * HALF_BYTES : HALF_BYTES;

    for (unsigned s = 0; s < slots; s += 16) {
        const __m512i a = _mm512_load_si512(w->packed[group][s]);
        const __m512i b = _mm512_load_si512(w->packed[group][s + 4]);
        const __m512i c = _mm512_load_si512(w->packed[group][s + 8]);
        const __m512i d = _mm512_load_si512(w->packed[group][s + 12]);
        const __m512i low01 = _mm512_unpacklo_epi32(a, b), high01 = _mm512_unpackhi_epi32(a, b);
        const __m512i low23 = _mm512_unpacklo_epi32(c, d), high23 = _mm512_unpackhi_epi32(c, d);
        uint8_t *to = quads + 4 * group * bytes + 4 * s;

        _mm512_store_si512((void *)to, _mm512_unpacklo_epi64(low01, low23));
        _mm512_store_si512((void *)(to + bytes), _mm512_unpackhi_epi64(low01, low23));
        _mm512_store_si512((void *)(to + 2 * bytes), _mm512_unpacklo_epi64(high01, high23));
        _mm512_store_si512((void *)(to + 3 * bytes), _mm512_unpackhi_epi64(high01, high23));
    }
}

INLINED void quantise(const struct qn_model *m, const double *const *columns, uint32_t first,
                      uint32_t rows, const unsigned parts, struct work *w)
{
    const struct qn_plan *p = &m->plan;

    for (uint32_t k = 0; k < p->column_count; k++) {
        const double *in = columns[p->columns[k].column] + first;

        if (p->columns[k].is_category) {
            category_column(m, k, columns, first, rows, parts, w);
            continue;
        }
#define COLUMN(levels) number_column(m, k, (levels), parts, in, rows, w)
        QN_AVX512_BY_LEVELS(p->columns[k].levels, COLUMN)
#undef COLUMN
    }
    for (unsigned g = 0; g < parts; g++) {
        if (p->squares->is_wide)
            turn_group(w, g, QN_SQUARES_SLOTS_WIDE, w->quads);
        else
            turn_group(w, g, QN_SQUARES_SLOTS, w->quads);
    }
}

TARGET static void quantise1(const struct qn_model *m, const double *const *columns, uint32_t first,
                             uint32_t rows, struct work *w)
{
    quantise(m, columns, first, rows, 1, w);
}

TARGET static void quantise2(const struct qn_model *m, const double *const *columns, uint32_t first,
                             uint32_t rows, struct work *w)
{
    quantise(m, columns, first, rows, 2, w);
}

TARGET static void quantise4(const struct qn_model *m, const double *const *columns, uint32_t first,
                             uint32_t rows, struct work *w)
{
    quantise(m, columns, first, rows, 4, w);
}

/* ---- walk ---- */

/* A byte of each row's table: bytes 0..3 of eight are rows of the first quad, 4..7 of the second.
 * In a wide table the top bit of `split` is the half, else it says that missing goes left. */
INLINED __m512i values(const uint8_t *quads, __m512i split, __m512i at, const bool is_wide)
{
    const __mmask64 second = 0xf0f0f0f0f0f0f0f0;
    const __mmask64 upper = _mm512_movepi8_mask(split);
    const uint8_t *next = quads + (is_wide ? 2 * HALF_BYTES : HALF_BYTES);
    __m512i a =
        _mm512_permutex2var_epi8(_mm512_load_si512(quads), at, _mm512_load_si512(quads + 64));
    __m512i b = _mm512_permutex2var_epi8(_mm512_load_si512(next), at, _mm512_load_si512(next + 64));

    if (!is_wide) {
        a = _mm512_mask_blend_epi8(second, a, b);
        return _mm512_mask_add_epi8(a, upper, a, _mm512_set1_epi8(1));
    }
    a = _mm512_mask_blend_epi8(upper, a,
                               _mm512_permutex2var_epi8(_mm512_load_si512(quads + 128), at,
                                                        _mm512_load_si512(quads + 192)));
    b = _mm512_mask_blend_epi8(
        upper, b,
        _mm512_permutex2var_epi8(_mm512_load_si512(next + 128), at, _mm512_load_si512(next + 192)));
    return _mm512_mask_blend_epi8(second, a, b);
}

/* One level: twice the index, and 1 where the value is below the limit. */
INLINED __m512i step(const uint8_t *quads, __m512i index, __m512i split, __m512i limit,
                     const bool is_wide)
{
    const __m512i row = _mm512_set1_epi32(0x03020100), one = _mm512_set1_epi8(1);
    const __m512i v = values(quads, split, _mm512_or_si512(split, row), is_wide);

    return _mm512_add_epi8(_mm512_add_epi8(index, index),
                           _mm512_min_epu8(_mm512_subs_epu8(limit, v), one));
}

/* gcc would keep the rows' tables in registers from level to level, and spill them. */
#define FORGET(p)  __asm__ volatile("" : "+r"(p))
#define EACH_CHAIN _Pragma("GCC unroll 8") for (unsigned i = 0; i < CHAINS; i++)
#define TABLE(n)   _mm512_load_si512(tables + (size_t)QN_SQUARES_TABLE * (i / groups) + 64 * (n))
#define STEP(split, limit)                                                                         \
    index[i] = step(quads + 2 * quad_bytes * (i % groups), index[i], (split), (limit), is_wide)
/* The entry of one, two or four registers that belongs to a row's node. */
#define PICK1(n) _mm512_permutexvar_epi8(index[i], TABLE(n))
#define PICK2(n) _mm512_permutex2var_epi8(TABLE(n), index[i], TABLE((n) + 1))
#define PICK4(n) _mm512_mask_blend_epi8(later, PICK2(n), PICK2((n) + 2))

/* `groups` of 8 rows through 8 / groups sets of trees; out[t][8 (set * groups + group) + row] is
 * the leaf, from right to left, in tree t of the set (its low six bits). */
INLINED void walk(const uint8_t *tables, const uint8_t *quads, const unsigned groups,
                  const bool is_wide, uint8_t (*out)[64])
{
    const size_t quad_bytes = is_wide ? 2 * HALF_BYTES : HALF_BYTES;
    const __mmask64 later = 0xffffffff00000000; /* trees 4 to 7 of a set */
    /* so that the index of level l, beginning with tree 16 + t, is 16 + t times 2^l */
    const __m512i tree =
        _mm512_add_epi8(_mm512_set_epi64(0x0707070707070707, 0x0606060606060606, 0x0505050505050505,
                                         0x0404040404040404, 0x0303030303030303, 0x0202020202020202,
                                         0x0101010101010101, 0),
                        _mm512_set1_epi8(16));
    __m512i index[CHAINS], pair[CHAINS], low, high;

    EACH_CHAIN
    {
        index[i] = tree;
        STEP(TABLE(0), TABLE(1));
    }
    FORGET(quads);
    EACH_CHAIN
    STEP(PICK1(2), PICK1(3));
    FORGET(quads);
    EACH_CHAIN
    STEP(PICK1(2), PICK1(3));
    FORGET(quads);
    EACH_CHAIN
    STEP(PICK1(4), PICK1(5));
    FORGET(quads);
    EACH_CHAIN
    STEP(PICK2(6), PICK2(8));
    FORGET(quads);
    EACH_CHAIN
    STEP(PICK4(10), PICK4(14));
    /* 8 x 8 words of 64 bits turned: from trees of a chain to chains of a tree */
#pragma GCC unroll 4
    for (unsigned i = 0; i < CHAINS; i += 2) {
        pair[i] = _mm512_unpacklo_epi64(index[i], index[i + 1]);
        pair[i + 1] = _mm512_unpackhi_epi64(index[i], index[i + 1]);
    }
#pragma GCC unroll 2
    for (unsigned i = 0; i < 2; i++) { /* even trees, odd trees */
#pragma GCC unroll 2
        for (unsigned j = 0; j < 2; j++) { /* 128-bit lanes 0 and 2, 1 and 3 */
            low = j == 0 ? _mm512_shuffle_i64x2(pair[i], pair[i + 2], 0x88)
                         : _mm512_shuffle_i64x2(pair[i], pair[i + 2], 0xdd);
            high = j == 0 ? _mm512_shuffle_i64x2(pair[i + 4], pair[i + 6], 0x88)
                          : _mm512_shuffle_i64x2(pair[i + 4], pair[i + 6], 0xdd);
            _mm512_store_si512((void *)out[2 * j + i], _mm512_shuffle_i64x2(low, high, 0x88));
            _mm512_store_si512((void *)out[4 + 2 * j + i], _mm512_shuffle_i64x2(low, high, 0xdd));
        }
    }
}

#define WALK(name, groups, is_wide)                                                                \
    TARGET static void name(const uint8_t *tables, const uint8_t *quads, uint8_t(*out)[64])        \
    {                                                                                              \
        walk(tables, quads, groups, is_wide, out);                                                 \
    }

WALK(walk1, 1, false)
WALK(walk2, 2, false)
WALK(walk4, 4, false)
WALK(walk8, 8, false)
WALK(walk1_wide, 1, true)
WALK(walk2_wide, 2, true)
WALK(walk4_wide, 4, true)
WALK(walk8_wide, 8, true)

/* ---- leaves ---- */

/* Which byte of out[t] (walk) belongs to word w of a register: words come apart into 32-bit numbers
 * by interleaving within 16 bytes, and are put so that sums stand in the order of rows. First of 32
 * rows in order, then both halves of 64 rows that were packed (put_slot). */
#define ROW_OF_FLOAT(w)  ((w) % 8 / 4 * 16 + (w) / 8 * 4 + (w) % 4)
#define ROW_OF_DOUBLE(w) ((w) % 8 / 2 * 8 + (w) / 8 * 2 + (w) % 2)
#define PACKED(row)      ((row) / 4 % 4 * 16 + (row) / 16 * 4 + (row) % 4)
#define FOUR(f, w)       f(w), 0, f((w) + 1), 0, f((w) + 2), 0, f((w) + 3), 0
#define ALL(f)                                                                                     \
    {                                                                                              \
        FOUR(f, 0), FOUR(f, 4), FOUR(f, 8), FOUR(f, 12), FOUR(f, 16), FOUR(f, 20), FOUR(f, 24),    \
            FOUR(f, 28)                                                                            \
    }
#define FLOAT_0(w)  PACKED(ROW_OF_FLOAT(w))
#define FLOAT_1(w)  PACKED(32 + ROW_OF_FLOAT(w))
#define DOUBLE_0(w) PACKED(ROW_OF_DOUBLE(w))
#define DOUBLE_1(w) PACKED(32 + ROW_OF_DOUBLE(w))

_Alignas(64) static const uint8_t FLOAT_WORDS[3][64] = {ALL(ROW_OF_FLOAT), ALL(FLOAT_0),
                                                        ALL(FLOAT_1)};
_Alignas(64) static const uint8_t DOUBLE_WORDS[3][64] = {ALL(ROW_OF_DOUBLE), ALL(DOUBLE_0),
                                                         ALL(DOUBLE_1)};

/* Words of 16 bits from a plane of 64. */
INLINED __m512i plane(const uint8_t *planes, unsigned number, __m512i words)
{
    const uint8_t *p = planes + (size_t)128 * number;

    return _mm512_permutex2var_epi16(_mm512_load_si512(p), words, _mm512_load_si512(p + 64));
}

/* Adds a tree's leaves to 16, or where `both`, 32 sums in order. */
INLINED void add_float(const uint8_t *planes, __m512i words, const bool both, float *sums)
{
    const __m512i low = plane(planes, 0, words), high = plane(planes, 1, words);

    _mm512_store_ps(sums, _mm512_add_ps(_mm512_load_ps(sums),
                                        _mm512_castsi512_ps(_mm512_unpacklo_epi16(low, high))));
    if (both)
        _mm512_store_ps(sums + 16,
                        _mm512_add_ps(_mm512_load_ps(sums + 16),
                                      _mm512_castsi512_ps(_mm512_unpackhi_epi16(low, high))));
}

INLINED void add_eight(double *sums, __m512i value)
{
    _mm512_store_pd(sums, _mm512_add_pd(_mm512_load_pd(sums), _mm512_castsi512_pd(value)));
}

INLINED void add_double(const uint8_t *planes, __m512i words, const bool both, double *sums)
{
    const __m512i a = plane(planes, 0, words), b = plane(planes, 1, words);
    const __m512i c = plane(planes, 2, words), d = plane(planes, 3, words);
    const __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpacklo_epi16(c, d);

    add_eight(sums, _mm512_unpacklo_epi32(low, high));
    add_eight(sums + 8, _mm512_unpackhi_epi32(low, high));
    if (both) {
        const __m512i low2 = _mm512_unpackhi_epi16(a, b), high2 = _mm512_unpackhi_epi16(c, d);

        add_eight(sums + 16, _mm512_unpacklo_epi32(low2, high2));
        add_eight(sums + 24, _mm512_unpackhi_epi32(low2, high2));
    }
}

/* The leaves of `count` trees from `first` on, whose rows `at` tells (walk); with one output the
 * sums are kept at hand. */
#define LEAVES(name, type, add, WORDS)                                                             \
    INLINED void name(const struct qn_model *m, size_t first, size_t count, uint8_t(*at)[64],      \
                      const unsigned groups, const bool is_single, type *sums)                     \
    {                                                                                              \
        const struct qn_squares *q = m->plan.squares;                                              \
        const uint8_t *planes = q->leaves + first * q->leaf_bytes;                                 \
        const unsigned rows = 8 * groups;                                                          \
        _Alignas(64) type kept[QN_MODEL_BLOCK];                                                    \
                                                                                                   \
        if (is_single)                                                                             \
            memcpy(kept, sums, rows * sizeof(type));                                               \
        for (size_t i = 0; i < count; i++, planes += q->leaf_bytes) {                              \
            const __m512i leaf = _mm512_load_si512(at[i % QN_SQUARES_TREES]);                      \
            type *to = is_single                                                                   \
                           ? kept                                                                  \
                           : sums + (size_t)m->forest.trees[first + i].output * QN_MODEL_BLOCK;    \
                                                                                                   \
            if (groups == 8) {                                                                     \
                add(planes, _mm512_permutexvar_epi8(_mm512_load_si512(WORDS[1]), leaf), true, to); \
                add(planes, _mm512_permutexvar_epi8(_mm512_load_si512(WORDS[2]), leaf), true,      \
                    to + 32);                                                                      \
            } else {                                                                               \
                const __m512i from = _mm512_set1_epi8((char)(i / QN_SQUARES_TREES * rows));        \
                                                                                                   \
                add(planes,                                                                        \
                    _mm512_permutexvar_epi8(_mm512_add_epi8(_mm512_load_si512(WORDS[0]), from),    \
                                            leaf),                                                 \
                    groups == 4, to);                                                              \
            }                                                                                      \
        }                                                                                          \
        if (is_single)                                                                             \
            memcpy(sums, kept, rows * sizeof(type));                                               \
    }

LEAVES(leaves_float, float, add_float, FLOAT_WORDS)
LEAVES(leaves_double, double, add_double, DOUBLE_WORDS)

/* ---- a block of rows ---- */

typedef void walk_function(const uint8_t *tables, const uint8_t *quads, uint8_t (*out)[64]);

/* All trees for 8 * groups rows that are quantised. */
#define BLOCK(name, type, leaves, groups)                                                          \
    TARGET static void name(const struct qn_model *m, struct work *w, walk_function *walk_trees,   \
                            type *sums)                                                            \
    {                                                                                              \
        const struct qn_squares *q = m->plan.squares;                                              \
        const size_t trees = m->forest.tree_count, step = CHAINS / (groups)*QN_SQUARES_TREES;      \
                                                                                                   \
        for (size_t t = 0; t < trees; t += step) {                                                 \
            const size_t count = trees - t < step ? trees - t : step;                              \
                                                                                                   \
            walk_trees(q->tables + t / QN_SQUARES_TREES * QN_SQUARES_TABLE, w->quads, w->reached); \
            if (m->info.outputs == 1)                                                              \
                leaves(m, t, count, w->reached, groups, true, sums);                               \
            else                                                                                   \
                leaves(m, t, count, w->reached, groups, false, sums);                              \
        }                                                                                          \
    }

BLOCK(float1, float, leaves_float, 1)
BLOCK(float2, float, leaves_float, 2)
BLOCK(float4, float, leaves_float, 4)
BLOCK(float8, float, leaves_float, 8)
BLOCK(double1, double, leaves_double, 1)
BLOCK(double2, double, leaves_double, 2)
BLOCK(double4, double, leaves_double, 4)
BLOCK(double8, double, leaves_double, 8)

/* ---- the kernel ---- */

static void avx512x8_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                           uint32_t rows, void *scratch, void *sums)
{
    struct work *w = scratch;
    const bool is_wide = m->plan.squares->is_wide;

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    if (rows <= ROWS_FEW) {
        qn_model_row_avx512(m, columns, first, rows, scratch, sums);
        return;
    }
    if (rows > 32) {
        quantise4(m, columns, first, rows, w);
        if (m->info.is_float)
            float8(m, w, is_wide ? walk8_wide : walk8, sums);
        else
            double8(m, w, is_wide ? walk8_wide : walk8, sums);
    } else if (rows > 16) {
        quantise2(m, columns, first, rows, w);
        if (m->info.is_float)
            float4(m, w, is_wide ? walk4_wide : walk4, sums);
        else
            double4(m, w, is_wide ? walk4_wide : walk4, sums);
    } else {
        quantise1(m, columns, first, rows, w);
        if (m->info.is_float && rows > 8)
            float2(m, w, is_wide ? walk2_wide : walk2, sums);
        else if (m->info.is_float)
            float1(m, w, is_wide ? walk1_wide : walk1, sums);
        else if (rows > 8)
            double2(m, w, is_wide ? walk2_wide : walk2, sums);
        else
            double1(m, w, is_wide ? walk1_wide : walk1, sums);
    }
}

static bool avx512x8_is_suitable(const struct qn_model *m, const char **reason)
{
    if (m->plan.squares == NULL || !qn_model_cpu_has(QN_CPU_AVX512) ||
        !qn_model_codes_pay(m, QN_CODING_VECTOR, reason))
        return false;
    *reason = "this CPU has AVX-512 and all trees have depth 6 or less";
    return true;
}
#else
static void avx512x8_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                           uint32_t rows, void *scratch, void *sums)
{
    QN_ASSERT(false);
}

static bool avx512x8_is_suitable(const struct qn_model *m, const char **reason)
{
    return false;
}
#endif

static size_t avx512x8_scratch_bytes(const struct qn_model *m)
{
#if defined(__x86_64__)
    const size_t few = qn_model_row_avx512_scratch(m);
    const size_t own = sizeof(struct work) + (size_t)m->plan.code_count * QN_MODEL_BLOCK;

    return own > few ? own : few;
#else
    return 0;
#endif
}

const struct qn_model_kernel qn_model_kernel_avx512x8 = {.name = "avx512x8",
                                                         .is_suitable = avx512x8_is_suitable,
                                                         .scratch_bytes = avx512x8_scratch_bytes,
                                                         .score = avx512x8_score};
