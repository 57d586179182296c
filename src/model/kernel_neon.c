/* SPDX-License-Identifier: Apache-2.0
 * kernel_neon.c - kernel `neon`: 16 rows at a time, or one row, on the tables of lanes.h.
 *
 * For 64-bit ARM. As in kernel_avx2.c the columns of a level's nodes are reduced to one by the
 * decisions so far, the oldest first, and a decision is a byte of all ones or none; but a table of
 * 64 bytes is looked up at once, so no decision chooses among tables up to depth 6. Numbers come
 * apart from planes of bytes in the order of rows. Few rows give a lane to each of 16 trees. Inputs
 * are coded by codes.c; larger trees walk there too. Invariant: the same turns as the plan, leaves
 * added in file order. Thread: any. Memory: scratch only. */
#include "base/check.h"
#include "model/lanes.h"

#if defined(__aarch64__) && defined(__ARM_NEON) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_neon.h>

#define INLINED static inline __attribute__((always_inline))

enum {
    LANES = 16,
    ROWS_SINGLE_MAX = 6,    /* up to here one row at a time is faster            */
    ROWS_SYMMETRIC_MAX = 3, /* the same where a block costs little               */
    TABLE = 64              /* bytes of one look-up                              */
};

/* ---- look-ups ---- */

INLINED uint8x16_t load(const void *p)
{
    return vld1q_u8(p);
}

INLINED uint8x16_t greater(uint8x16_t code, uint8x16_t limit)
{
    return vcgtq_s8(vreinterpretq_s8_u8(code), vreinterpretq_s8_u8(limit));
}

/* A byte per row from a table of 1 << bits, by a number of that many bits. */
INLINED uint8x16_t look_up(const uint8_t *table, uint8x16_t index, const unsigned bits)
{
    uint8x16_t v;

    if (bits <= 4)
        return vqtbl1q_u8(load(table), index);
    if (bits == 5)
        return vqtbl2q_u8(vld1q_u8_x2(table), index);
    v = vqtbl4q_u8(vld1q_u8_x4(table), index);
    for (unsigned i = 1; i < 1u << (bits - 6); i++)
        v = vqtbx4q_u8(v, vld1q_u8_x4(table + (size_t)TABLE * i),
                       vsubq_u8(index, vdupq_n_u8((uint8_t)(TABLE * i))));
    return v;
}

/* ---- leaves of 16 rows ---- */

/* Four planes of bytes to 16 numbers of 32 bits. */
INLINED void words(const uint8_t *planes, size_t plane, uint8x16_t index, const unsigned bits,
                   uint16x8_t *out)
{
    const uint8x16_t b0 = look_up(planes, index, bits);
    const uint8x16_t b1 = look_up(planes + plane, index, bits);
    const uint8x16_t b2 = look_up(planes + 2 * plane, index, bits);
    const uint8x16_t b3 = look_up(planes + 3 * plane, index, bits);
    const uint16x8_t low01 = vreinterpretq_u16_u8(vzip1q_u8(b0, b1));
    const uint16x8_t high01 = vreinterpretq_u16_u8(vzip2q_u8(b0, b1));
    const uint16x8_t low23 = vreinterpretq_u16_u8(vzip1q_u8(b2, b3));
    const uint16x8_t high23 = vreinterpretq_u16_u8(vzip2q_u8(b2, b3));

    out[0] = vzip1q_u16(low01, low23);
    out[1] = vzip2q_u16(low01, low23);
    out[2] = vzip1q_u16(high01, high23);
    out[3] = vzip2q_u16(high01, high23);
}

INLINED void add_float(const uint8_t *planes, size_t plane, uint8x16_t index, const unsigned bits,
                       float *sums)
{
    uint16x8_t value[4];

    words(planes, plane, index, bits, value);
    for (unsigned j = 0; j < 4; j++)
        vst1q_f32(sums + 4 * j,
                  vaddq_f32(vld1q_f32(sums + 4 * j), vreinterpretq_f32_u16(value[j])));
}

INLINED void add_double(const uint8_t *planes, size_t plane, uint8x16_t index, const unsigned bits,
                        double *sums)
{
    uint16x8_t low[4], high[4];

    words(planes, plane, index, bits, low);
    words(planes + 4 * plane, plane, index, bits, high);
    for (unsigned j = 0; j < 4; j++) {
        const uint32x4_t l = vreinterpretq_u32_u16(low[j]), h = vreinterpretq_u32_u16(high[j]);
        double *at = sums + 4 * j;

        vst1q_f64(at, vaddq_f64(vld1q_f64(at), vreinterpretq_f64_u32(vzip1q_u32(l, h))));
        vst1q_f64(at + 2, vaddq_f64(vld1q_f64(at + 2), vreinterpretq_f64_u32(vzip2q_u32(l, h))));
    }
}

INLINED void add_leaves(const uint8_t *planes, uint8x16_t index, const unsigned bits, bool is_float,
                        void *sums)
{
    const size_t plane = qn_lanes_plane_bytes(bits);

    if (is_float)
        add_float(planes, plane, index, bits, sums);
    else
        add_double(planes, plane, index, bits, sums);
}

/* ---- 16 rows of one perfect tree ---- */

/* FOLD_n(i, h): of the nodes i, i + s, i + 2s, ... (2^n of them) of one level what is on a lane's
 * path, by the n oldest decisions; h is half the level. NODE(i) is what a node has. */
#define FOLD_1(i, h) vbslq_u8(d[0], NODE((i) + (h)), NODE(i))
#define FOLD_2(i, h) vbslq_u8(d[1], FOLD_1((i) + (h) / 2, h), FOLD_1(i, h))
#define FOLD_3(i, h) vbslq_u8(d[2], FOLD_2((i) + (h) / 4, h), FOLD_2(i, h))
#define FOLD_4(i, h) vbslq_u8(d[3], FOLD_3((i) + (h) / 8, h), FOLD_3(i, h))
#define FOLD_5(i, h) vbslq_u8(d[4], FOLD_4((i) + (h) / 16, h), FOLD_4(i, h))
#define FOLD_6(i, h) vbslq_u8(d[5], FOLD_5((i) + (h) / 32, h), FOLD_5(i, h))
#define FOLD_7(i, h) vbslq_u8(d[6], FOLD_6((i) + (h) / 64, h), FOLD_6(i, h))

#define NODE(i) load(codes + offsets[(i)])

/* One level: its decisions, and their bit in the index. */
#define DECIDE(level, column)                                                                      \
    do {                                                                                           \
        d[level] = greater((column), look_up(limits + 64 * (level), index, level));                \
        index = vorrq_u8(index, vandq_u8(d[level], vdupq_n_u8((uint8_t)(1u << (level)))));         \
    } while (0)

INLINED void perfect(const struct qn_lanes_tree *tree, const int8_t *codes, const unsigned depth,
                     bool is_float, void *sums)
{
    const uint32_t *offsets = (const uint32_t *)(const void *)tree->block;
    const uint8_t *limits = tree->block + qn_lanes_limits_at(depth);
    uint8x16_t index = vdupq_n_u8(0);
    uint8x16_t d[QN_LANES_DEPTH];

    DECIDE(0, NODE(1));
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
    add_leaves(tree->block + qn_lanes_planes_at(depth), index, depth, is_float, sums);
}
#undef NODE

/* ---- 16 rows of a tree whose levels ask one thing each ---- */

/* The decisions of levels `from` to `to` as bits from 0 on. */
INLINED uint8x16_t ask_levels(const uint8_t *block, const int8_t *codes, const unsigned from,
                              const unsigned to)
{
    const uint32_t *offsets = (const uint32_t *)(const void *)block;
    uint8x16_t index = vdupq_n_u8(0);

    for (unsigned level = from; level < to; level++) {
        const uint8x16_t d = greater(load(codes + offsets[level]), vdupq_n_u8(block[64 + level]));

        index = vorrq_u8(index, vandq_u8(d, vdupq_n_u8((uint8_t)(1u << (level - from)))));
    }
    return index;
}

INLINED void symmetric(const struct qn_lanes_tree *tree, const int8_t *codes, const unsigned depth,
                       bool is_float, void *sums)
{
    add_leaves(tree->block + QN_LANES_SYMMETRIC_PLANES, ask_levels(tree->block, codes, 0, depth),
               depth, is_float, sums);
}

/* Deeper than the planes of leaves: each row fetches its own. */
INLINED void symmetric_deep(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float,
                            void *sums)
{
    const uint8_t *leaves = tree->block + QN_LANES_SYMMETRIC_PLANES;
    uint8_t low[LANES], high[LANES];

    vst1q_u8(low, ask_levels(tree->block, codes, 0, 8));
    vst1q_u8(high, ask_levels(tree->block, codes, 8, tree->depth));
    for (unsigned r = 0; r < LANES; r++) {
        const uint32_t leaf = low[r] | (uint32_t)high[r] << 8;

        if (is_float)
            ((float *)sums)[r] += ((const float *)(const void *)leaves)[leaf];
        else
            ((double *)sums)[r] += ((const double *)(const void *)leaves)[leaf];
    }
}

/* ---- 16 rows of any tree of up to 64 leaves ---- */

/* The rows that reach a node, a byte of all ones each, are divided by its test among the children.
 */
INLINED void shape(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float, void *sums)
{
    uint8x16_t reach[2 * QN_LANES_LEAVES];
    uint8x16_t index = vdupq_n_u8(0);

    reach[0] = vdupq_n_u8(255);
    for (unsigned i = 0; i < tree->test_count; i++) {
        const struct qn_lanes_test t = tree->tests[i];
        const uint8x16_t right = greater(load(codes + t.offset), vdupq_n_u8((uint8_t)t.limit));

        reach[t.left] = vbicq_u8(reach[t.at], right);
        reach[t.left + 1] = vandq_u8(reach[t.at], right);
    }
    for (unsigned i = 1; i < tree->leaf_count; i++)
        index = vorrq_u8(index, vandq_u8(reach[tree->leaf_nodes[i]], vdupq_n_u8((uint8_t)i)));
    add_leaves(tree->block, index, 6, is_float, sums);
}

/* ---- a block of rows ---- */

#define BY_DEPTH(form)                                                                             \
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
    case 8:                                                                                        \
        form(tree, codes, 8, is_float, sums);                                                      \
        break

/* False where the tree has to be walked. */
INLINED bool tree_of_16(const struct qn_lanes_tree *tree, const int8_t *codes, bool is_float,
                        void *sums)
{
    if (tree->form == QN_LANES_SHAPE) {
        shape(tree, codes, is_float, sums);
    } else if (tree->form == QN_LANES_PERFECT) {
        switch (tree->depth) {
            BY_DEPTH(perfect);
        }
    } else if (tree->form == QN_LANES_SYMMETRIC) {
        switch (tree->depth) {
            BY_DEPTH(symmetric);
        default:
            symmetric_deep(tree, codes, is_float, sums);
            break;
        }
    } else {
        return false;
    }
    return true;
}

INLINED void block(const struct qn_model *m, const int8_t *codes, uint32_t rows, bool is_float,
                   char *sums)
{
    const size_t width = is_float ? sizeof(float) : sizeof(double);

    for (size_t t = 0; t < m->forest.tree_count; t++) {
        const struct qn_lanes_tree *tree = &m->plan.lanes->trees[t];
        char *at = sums + (size_t)m->forest.trees[t].output * QN_MODEL_BLOCK * width;

        if (!tree_of_16(tree, codes, is_float, at))
            qn_model_node_tree(m, &m->forest.trees[t], codes, rows, at);
    }
}

static void block_float(const struct qn_model *m, const int8_t *codes, uint32_t rows, char *sums)
{
    block(m, codes, rows, true, sums);
}

static void block_double(const struct qn_model *m, const int8_t *codes, uint32_t rows, char *sums)
{
    block(m, codes, rows, false, sums);
}

/* ---- one row: a lane to a tree ---- */

#define NODE(i) load(splits + (size_t)64 * (i))

INLINED uint8x16_t own_split(const uint8_t *splits, const unsigned level, const uint8x16_t *d)
{
    switch (level) {
    case 0:
        return NODE(0);
    case 1:
        return FOLD_1(0, 1);
    case 2:
        return FOLD_2(0, 2);
    case 3:
        return FOLD_3(0, 4);
    case 4:
        return FOLD_4(0, 8);
    case 5:
        return FOLD_5(0, 16);
    case 6:
        return FOLD_6(0, 32);
    default:
        return FOLD_7(0, 64);
    }
}
#undef NODE

/* Which leaf of each of 16 trees the row reaches; a row has up to 256 codes. */
INLINED void reach(const uint8_t *splits, const int8_t *codes, const unsigned depth, uint8_t *leaf)
{
    uint8x16_t index = vdupq_n_u8(0);
    uint8x16_t d[QN_LANES_DEPTH];

#pragma GCC unroll 8
    for (unsigned level = 0; level < depth; level++) {
        const size_t bytes = (size_t)64 << level;
        const uint8x16_t code = own_split(splits, level, d);
        const uint8x16_t limit = own_split(splits + bytes, level, d);

        d[level] = greater(look_up((const uint8_t *)codes, code, 8), limit);
        index =
            vorrq_u8(index, vandq_u8(d[level], vdupq_n_u8((uint8_t)(1u << (depth - 1 - level)))));
        splits += 2 * bytes;
    }
    vst1q_u8(leaf, index);
}

static void reach_next(const struct qn_lanes_row_block *block, size_t tree, const int8_t *codes,
                       uint8_t *leaf)
{
    const uint8_t *splits = block->splits + tree % QN_LANES_ROW_TREES;

    if (block->depth == 6)
        reach(splits, codes, 6, leaf);
    else if (block->depth == 7)
        reach(splits, codes, 7, leaf);
    else
        reach(splits, codes, 8, leaf);
}

#define ROW_TREES(name, type)                                                                      \
    static void name(const struct qn_model *m, const int8_t *codes, uint32_t row, type *sums)      \
    {                                                                                              \
        const bool is_single = m->info.outputs == 1;                                               \
        uint8_t leaf[LANES];                                                                       \
        type sum = sums[row];                                                                      \
                                                                                                   \
        for (size_t t = 0; t < m->forest.tree_count; t++) {                                        \
            const struct qn_lanes_row_block *block =                                               \
                &m->plan.lanes->row.blocks[t / QN_LANES_ROW_TREES];                                \
            const type *leaves =                                                                   \
                (const type *)block->leaves + (t % QN_LANES_ROW_TREES << block->depth);            \
                                                                                                   \
            if (t % LANES == 0)                                                                    \
                reach_next(block, t, codes, leaf);                                                 \
            if (is_single)                                                                         \
                sum += leaves[leaf[t % LANES]];                                                    \
            else                                                                                   \
                sums[(size_t)m->forest.trees[t].output * QN_MODEL_BLOCK + row] +=                  \
                    leaves[leaf[t % LANES]];                                                       \
        }                                                                                          \
        if (is_single)                                                                             \
            sums[row] = sum;                                                                       \
    }

ROW_TREES(row_trees_float, float)
ROW_TREES(row_trees_double, double)

/* ---- the kernel ---- */

static void neon_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, void *scratch, void *sums)
{
    const struct qn_lanes *lanes = m->plan.lanes;
    const uint32_t most = lanes->symmetric.tests != NULL ? ROWS_SYMMETRIC_MAX : ROWS_SINGLE_MAX;
    int8_t *codes = scratch;

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    if (rows <= most) {
        for (uint32_t r = 0; r < rows; r++) {
            qn_model_quantise(m, columns, first + r, 1, 1, codes);
            if (lanes->row.blocks == NULL || lanes->row.has_tests)
                qn_model_score_row(m, codes, r, sums);
            else if (m->info.is_float)
                row_trees_float(m, codes, r, sums);
            else
                row_trees_double(m, codes, r, sums);
        }
        return;
    }
    qn_model_quantise(m, columns, first, rows, QN_MODEL_BLOCK, codes);
    for (uint32_t r = 0; r < rows; r += LANES) {
        const uint32_t n = rows - r < LANES ? rows - r : LANES;

        if (m->info.is_float)
            block_float(m, codes + r, n, (char *)sums + r * sizeof(float));
        else
            block_double(m, codes + r, n, (char *)sums + r * sizeof(double));
    }
}

static bool neon_is_suitable(const struct qn_model *m, const char **reason)
{
    const struct qn_lanes *lanes = m->plan.lanes;

    if (lanes == NULL || lanes->tree_count == 0 || !qn_model_cpu_has(QN_CPU_NEON) ||
        !qn_model_codes_pay(m, QN_CODING_VECTOR, reason))
        return false;
    *reason = lanes->tree_count == m->forest.tree_count
                  ? "this CPU has NEON and all trees fit"
                  : "this CPU has NEON; the larger trees are walked 8 rows at a time";
    return true;
}
#else
static void neon_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, void *scratch, void *sums)
{
    QN_ASSERT(false);
}

static bool neon_is_suitable(const struct qn_model *m, const char **reason)
{
    return false;
}
#endif

static size_t neon_scratch_bytes(const struct qn_model *m)
{
    return (size_t)(m->plan.code_count + 1) * QN_MODEL_BLOCK + QN_LANES_ROW_CODES;
}

const struct qn_model_kernel qn_model_kernel_neon = {.name = "neon",
                                                     .is_suitable = neon_is_suitable,
                                                     .scratch_bytes = neon_scratch_bytes,
                                                     .score = neon_score};
