/* SPDX-License-Identifier: Apache-2.0
 * lanes.c - makes the tables of the vector kernels from a plan.
 *
 * Runs once per model, after codes.c, on CPUs that have such a kernel. What the tables are and why:
 * lanes.h. Invariant: nothing is decided here, only laid out. Thread: the loader's. Memory: the
 * model's arena. */
#include "model/lanes.h"

#include <float.h>
#include <math.h>

enum {
    TEST_COST = 5,          /* instructions per test and leaf of a tree of any shape  */
    PERFECT_COST_HALVES = 3 /* half instructions per node of a perfect tree             */
};

static size_t leaf_width(const struct qn_model *m)
{
    return m->info.is_float ? sizeof(float) : sizeof(double);
}

/* ---- columns ---- */

/* The float that rounded inputs compare with as the inputs do with the cut: the smallest one that
 * is not below it, which for a cut that rounding was put into (cut.c) is the nearest one. */
static float float_cut(const struct qn_model *m, double cut)
{
    const float f = (float)cut;

    return m->info.is_float && (double)f < cut ? nextafterf(f, INFINITY) : f;
}

static void put_cut(const struct qn_model *m, bool is_float, void *to, size_t i, double cut)
{
    if (is_float)
        ((float *)to)[i] = float_cut(m, cut);
    else
        ((double *)to)[i] = cut;
}

/* Whether inputs rounded to float decide every comparison: of a double model, where the library
 * rounds them. */
static bool compares_floats(const struct qn_model *m)
{
    const struct qn_plan *p = &m->plan;

    for (uint32_t k = 0; k < p->column_count && !m->info.is_float; k++) {
        const struct qn_plan_column *pc = &p->columns[k];

        for (size_t i = 1; !pc->is_category && i < (size_t)1 << pc->levels; i++) {
            if (!qn_model_is_float_cut(pc->pivots[i]))
                return false;
        }
    }
    return true;
}

/* The cuts of the search tree in ascending order: place p (from 0) stands at the end of the path
 * that p + 1 describes. */
static double cut_at(const struct qn_plan_column *pc, size_t place)
{
    size_t p = place + 1;
    unsigned up = (unsigned)__builtin_ctzll(p);
    unsigned level = pc->levels - 1u - up;

    return pc->pivots[((size_t)1 << level) + (p >> (up + 1))];
}

/* The numbers before the pivots, for the search by difference; false where one has none. */
static bool put_before(const struct qn_model *m, const struct qn_plan_column *pc, float *to,
                       size_t count)
{
    const size_t pivots = (size_t)1 << pc->levels;

    for (size_t i = 0; i < count; i++) {
        const float cut = i < pivots ? float_cut(m, pc->pivots[i]) : NAN;

        if (cut <= -FLT_MAX)
            return false;
        to[i] = nextafterf(cut, -INFINITY) + 0.0f; /* not -0: the difference would be one too */
    }
    return true;
}

static bool make_column(struct qn_model *m, const struct qn_plan_column *pc, bool is_float,
                        struct qn_lanes_column *out)
{
    const size_t pivots = (size_t)1 << pc->levels, places = pivots - 1;
    const size_t padded = pivots < 16 ? 16 : pivots;
    const size_t width = is_float ? sizeof(float) : sizeof(double);
    void *tree = qn_arena_aligned(&m->arena, 64, padded * width);
    void *sorted, *coarse;

    if (tree == NULL)
        return false;
    for (size_t i = 0; i < padded; i++)
        put_cut(m, is_float, tree, i, i < pivots ? pc->pivots[i] : NAN);
    out->pivots = tree;
    if (places > QN_LANES_CUTS)
        return true;
    sorted = qn_arena_aligned(&m->arena, 64, padded * width);
    coarse = qn_arena_aligned(&m->arena, 64, 16 * width);
    if (sorted == NULL || coarse == NULL)
        return false;
    for (size_t i = 0; i < padded; i++)
        put_cut(m, is_float, sorted, i, i < places ? cut_at(pc, i) : NAN);
    for (size_t i = 0; i < 16; i++)
        put_cut(m, is_float, coarse, i, 16 * i + 15 < places ? cut_at(pc, 16 * i + 15) : NAN);
    out->sorted = sorted;
    out->coarse = coarse;
    if (is_float) {
        float *before = qn_arena_aligned(&m->arena, 64, padded * sizeof(float));

        if (before == NULL)
            return false;
        out->before = put_before(m, pc, before, padded) ? before : NULL;
    }
    return true;
}

/* ---- trees ---- */

void qn_lanes_pad_tree(const struct qn_model *m, const struct qn_tree *t, unsigned depth,
                       uint32_t *node_at)
{
    node_at[1] = t->root;
    for (size_t i = 1; i < (size_t)1 << depth; i++) {
        const struct qn_plan_node *node = &m->plan.nodes[node_at[i]];

        /* of a leaf this is itself */
        node_at[2 * i] = node->left;
        node_at[2 * i + 1] = node->left + (node->limit == QN_LANES_NEVER ? 0 : 1);
    }
}

/* The decisions of a path, first one in bit 0, as a heap position of that level has them the other
 * way round. */
static unsigned path_bits(unsigned position, unsigned level)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < level; i++)
        bits |= (position >> i & 1) << (level - 1 - i);
    return bits;
}

static void put_planes(const struct qn_model *m, uint8_t *planes, size_t plane_bytes, size_t at,
                       uint32_t node)
{
    const size_t width = leaf_width(m);
    const uint8_t *value = (const uint8_t *)m->plan.leaf_values + node * width;

    for (size_t b = 0; b < width; b++)
        planes[b * plane_bytes + at] = value[b];
}

static bool make_perfect(struct qn_model *m, const struct qn_tree *t, struct qn_lanes_tree *out)
{
    const unsigned depth = t->depth < 1 ? 1 : t->depth;
    const size_t plane_bytes = qn_lanes_plane_bytes(depth);
    const size_t bytes = qn_lanes_planes_at(depth) + leaf_width(m) * plane_bytes;
    uint32_t node_at[2 << QN_LANES_DEPTH];
    uint8_t *block = qn_arena_aligned(&m->arena, 64, bytes);
    uint32_t *offsets = (uint32_t *)(void *)block;

    if (block == NULL)
        return false;
    memset(block, 0, bytes);
    qn_lanes_pad_tree(m, t, depth, node_at);
    for (unsigned level = 0; level < depth; level++) {
        int8_t *limits = (int8_t *)block + qn_lanes_limits_at(depth) + (size_t)64 * level;
        const unsigned count = 1u << level;

        for (unsigned i = 0; i < count; i++) {
            const struct qn_plan_node *node = &m->plan.nodes[node_at[count + i]];

            offsets[count + i] = (uint32_t)node->code * QN_MODEL_BLOCK;
            limits[path_bits(i, level)] = (int8_t)node->limit;
        }
        /* the root is compared without a look-up */
        if (level == 0)
            memset(limits, limits[0], 64);
    }
    for (unsigned i = 0; i < 1u << depth; i++)
        put_planes(m, block + qn_lanes_planes_at(depth), plane_bytes, path_bits(i, depth),
                   node_at[(1u << depth) + i]);
    out->block = block;
    out->depth = (uint8_t)depth;
    out->form = QN_LANES_PERFECT;
    return true;
}

/* In a perfect tree a level's nodes stand together, from left to right. */
static bool is_symmetric(const struct qn_model *m, const struct qn_tree *t)
{
    const struct qn_plan_node *node = &m->plan.nodes[t->root];

    if (t->depth < 1 || t->depth > QN_LANES_SYMMETRIC_DEPTH || t->nodes != (2u << t->depth) - 1)
        return false;
    for (unsigned level = 0; level < t->depth; level++) {
        const unsigned count = 1u << level;

        for (unsigned i = 1; i < count; i++) {
            if (node[i].code != node[0].code || node[i].limit != node[0].limit)
                return false;
        }
        node += count;
    }
    return true;
}

static bool make_symmetric(struct qn_model *m, const struct qn_tree *t, struct qn_lanes_tree *out)
{
    const size_t width = leaf_width(m), leaves = (size_t)1 << t->depth;
    const size_t plane_bytes = t->depth <= QN_LANES_DEPTH ? qn_lanes_plane_bytes(t->depth) : leaves;
    const size_t bytes = QN_LANES_SYMMETRIC_PLANES + width * plane_bytes;
    uint8_t *block = qn_arena_aligned(&m->arena, 64, bytes);
    uint8_t *values = block + QN_LANES_SYMMETRIC_PLANES;
    uint32_t *offsets = (uint32_t *)(void *)block;

    if (block == NULL)
        return false;
    memset(block, 0, bytes);
    for (unsigned level = 0; level < t->depth; level++) {
        const struct qn_plan_node *node = &m->plan.nodes[t->root + (1u << level) - 1];

        offsets[level] = (uint32_t)node->code * QN_MODEL_BLOCK;
        block[64 + level] = (uint8_t)node->limit;
    }
    for (unsigned i = 0; i < leaves; i++) {
        const uint32_t node = t->root + (uint32_t)leaves - 1 + i;
        const unsigned at = path_bits(i, t->depth);

        if (t->depth <= QN_LANES_DEPTH)
            put_planes(m, values, plane_bytes, at, node);
        else
            memcpy(values + at * width, (const uint8_t *)m->plan.leaf_values + node * width, width);
    }
    out->block = block;
    out->depth = (uint8_t)t->depth;
    out->form = QN_LANES_SYMMETRIC;
    return true;
}

static bool make_shape(struct qn_model *m, const struct qn_tree *t, struct qn_lanes_tree *out)
{
    const struct qn_node *nodes = m->forest.nodes + t->root;
    struct qn_lanes_test *tests = QN_NEW_N(&m->arena, struct qn_lanes_test, t->nodes);
    uint8_t *leaf_nodes = QN_NEW_N(&m->arena, uint8_t, t->nodes);
    const size_t bytes = 64 * leaf_width(m);
    uint8_t *block = qn_arena_aligned(&m->arena, 64, bytes);

    if (tests == NULL || leaf_nodes == NULL || block == NULL)
        return false;
    memset(block, 0, bytes);
    for (uint32_t i = 0; i < t->nodes; i++) {
        const struct qn_plan_node *node = &m->plan.nodes[t->root + i];

        if (nodes[i].flags & QN_NODE_LEAF) {
            put_planes(m, block, 64, out->leaf_count, t->root + i);
            leaf_nodes[out->leaf_count++] = (uint8_t)i;
        } else {
            tests[out->test_count++] =
                (struct qn_lanes_test){(uint32_t)node->code * QN_MODEL_BLOCK, (uint8_t)i,
                                       (uint8_t)(node->left - t->root), (int8_t)node->limit};
        }
    }
    out->block = block;
    out->tests = tests;
    out->leaf_nodes = leaf_nodes;
    out->depth = (uint8_t)(t->depth < 255 ? t->depth : 255);
    out->form = QN_LANES_SHAPE;
    return true;
}

static bool make_tree(struct qn_model *m, const struct qn_tree *t, struct qn_lanes_tree *out)
{
    const uint32_t leaves = (t->nodes + 1) / 2;
    const bool can_shape = leaves <= QN_LANES_LEAVES;

    if (is_symmetric(m, t))
        return make_symmetric(m, t, out);
    if (t->depth <= QN_LANES_DEPTH) {
        const uint32_t perfect = (PERFECT_COST_HALVES << t->depth) / 2;

        if (!can_shape || perfect <= TEST_COST * leaves)
            return make_perfect(m, t, out);
    }
    return !can_shape || make_shape(m, t, out);
}

/* ---- one row ---- */

static void make_row_tree(const struct qn_model *m, const struct qn_tree *t, unsigned depth,
                          uint8_t *splits, uint8_t *leaves)
{
    const size_t width = leaf_width(m);
    uint32_t node_at[2 << QN_LANES_DEPTH];

    qn_lanes_pad_tree(m, t, depth, node_at);
    for (unsigned level = 0; level < depth; level++) {
        const unsigned count = 1u << level;

        for (unsigned i = 0; i < count; i++) {
            const struct qn_plan_node *node = &m->plan.nodes[node_at[count + i]];

            splits[(size_t)64 * i] = (uint8_t)node->code;
            splits[(size_t)64 * (count + i)] = (uint8_t)node->limit;
        }
        splits += (size_t)128 * count;
    }
    for (unsigned i = 0; i < 1u << depth; i++)
        memcpy(leaves + i * width,
               (const uint8_t *)m->plan.leaf_values + node_at[(1u << depth) + i] * width, width);
}

/* Which leaves stand below each node: the first, from left to right, and how many. Parents stand
 * before their children. */
static void count_leaves(const struct qn_model *m, const struct qn_tree *t, uint8_t *first,
                         uint8_t *count)
{
    const struct qn_plan_node *nodes = m->plan.nodes + t->root;

    for (uint32_t i = t->nodes; i-- > 0;) {
        const uint32_t left = nodes[i].left - t->root;

        count[i] = left == i ? 1 : (uint8_t)(count[left] + count[left + 1]);
    }
    first[0] = 0;
    for (uint32_t i = 0; i < t->nodes; i++) {
        const uint32_t left = nodes[i].left - t->root;

        if (left == i)
            continue;
        first[left] = first[i];
        first[left + 1] = (uint8_t)(first[i] + count[left]);
    }
}

static void make_tests_tree(const struct qn_model *m, const struct qn_tree *t, unsigned leaf_bits,
                            uint8_t *tests, uint8_t *leaves)
{
    const size_t width = leaf_width(m), mask_bytes = leaf_bits / 8;
    uint8_t first[2 * QN_LANES_LEAVES], count[2 * QN_LANES_LEAVES];
    size_t test = 0;

    count_leaves(m, t, first, count);
    memset(tests, 0, 64);
    memset(tests + 64, QN_LANES_NEVER, 64);
    for (uint32_t i = 0; i < t->nodes; i++) {
        const struct qn_plan_node *node = &m->plan.nodes[t->root + i];
        uint64_t lost;

        if (m->forest.nodes[t->root + i].flags & QN_NODE_LEAF) {
            memcpy(leaves + first[i] * width,
                   (const uint8_t *)m->plan.leaf_values + (t->root + i) * width, width);
            continue;
        }
        lost = (((uint64_t)1 << count[node->left - t->root]) - 1) << first[i];
        lost = ~lost;
        tests[test] = (uint8_t)node->code;
        tests[64 + test] = (uint8_t)node->limit;
        memcpy(tests + 128 + test * mask_bytes, &lost, mask_bytes); /* low bytes first */
        test++;
    }
}

/* Lays out the form of a block that its deepest and its largest tree allow. */
static bool make_row_block(struct qn_model *m, size_t first, struct qn_lanes_row_block *out)
{
    const size_t left = m->forest.tree_count - first;
    const size_t count = left < QN_LANES_ROW_TREES ? left : QN_LANES_ROW_TREES;
    const struct qn_tree *trees = m->forest.trees + first;
    unsigned depth = QN_MODEL_PERFECT_DEPTH, leaf_bits = 0;
    size_t leaf_bytes, bytes;
    uint8_t *splits, *leaves;

    for (size_t t = 0; t < count; t++) {
        depth = trees[t].depth > depth ? trees[t].depth : depth;
        if (leaf_bits == 0 || trees[t].nodes > 2 * 32)
            leaf_bits = trees[t].nodes > 2 * 32 ? 64 : 32;
    }
    depth = depth > QN_LANES_DEPTH ? 0 : depth;
    leaf_bits = depth > 0 ? 0 : leaf_bits;
    leaf_bytes = leaf_width(m) * (depth > 0 ? (size_t)1 << depth : leaf_bits);
    bytes = depth > 0 ? (size_t)128 * ((1u << depth) - 1) : count * qn_lanes_tests_bytes(leaf_bits);
    splits = qn_arena_aligned(&m->arena, 64, bytes);
    leaves = qn_arena_aligned(&m->arena, 64, count * leaf_bytes);
    if (splits == NULL || leaves == NULL)
        return false;
    memset(splits, 0, bytes);
    for (size_t t = 0; t < count && depth > 0; t++)
        make_row_tree(m, &trees[t], depth, splits + t, leaves + t * leaf_bytes);
    for (size_t t = 0; t < count && depth == 0; t++)
        make_tests_tree(m, &trees[t], leaf_bits, splits + t * qn_lanes_tests_bytes(leaf_bits),
                        leaves + t * leaf_bytes);
    *out = (struct qn_lanes_row_block){.splits = depth > 0 ? splits : NULL,
                                       .tests = depth > 0 ? NULL : splits,
                                       .leaves = leaves,
                                       .depth = (uint8_t)depth,
                                       .leaf_bits = (uint8_t)leaf_bits,
                                       .count = (uint8_t)count};
    return true;
}

/* Whether every block has a form: shallow trees, or small ones. */
static bool has_row_form(const struct qn_model *m)
{
    bool is_shallow = true, is_small = true;

    for (size_t t = 0; t < m->forest.tree_count; t++) {
        if (t % QN_LANES_ROW_TREES == 0)
            is_shallow = is_small = true;
        is_shallow = is_shallow && m->forest.trees[t].depth <= QN_LANES_DEPTH;
        is_small = is_small && m->forest.trees[t].nodes < 2 * QN_LANES_LEAVES;
        if (!is_shallow && !is_small)
            return false;
    }
    return m->plan.code_count <= QN_LANES_ROW_CODES;
}

static void make_quick(const struct qn_plan *p, struct qn_lanes_row *row)
{
    row->is_quick = p->code_count <= QN_LANES_ROW_CODES;
    for (uint32_t k = 0; k < p->column_count && row->is_quick; k++) {
        const struct qn_plan_column *pc = &p->columns[k];

        /* the last pivot of eight full levels would be the 255th cut */
        if (pc->is_category || pc->levels > 8 || (pc->levels == 8 && !isnan(cut_at(pc, 254)))) {
            row->is_quick = false;
            break;
        }
        row->zero_missing[k / 8] |= (uint8_t)(pc->zero_missing << k % 8);
        for (uint32_t c = pc->first_code; c < pc->first_code + pc->code_count; c++) {
            row->column_of[c] = (uint8_t)k;
            row->missing[c] = p->codes[c].missing;
        }
    }
}

/* The tables of the search among floats, from those of the columns. */
static bool make_search(struct qn_model *m, const struct qn_lanes *lanes, struct qn_lanes_row *row)
{
    const struct qn_plan *p = &m->plan;
    const uint32_t padded = (p->column_count + 15) / 16 * 16;
    size_t cuts = 0;
    float *coarse, *fine;

    for (uint32_t k = 0; k < p->column_count; k++)
        cuts += p->columns[k].levels < 4 ? 16 : (size_t)1 << p->columns[k].levels;
    coarse = qn_arena_aligned(&m->arena, 64, (size_t)padded * 16 * sizeof(float) + 64);
    fine = qn_arena_aligned(&m->arena, 64, (cuts + 16) * sizeof(float));
    if (coarse == NULL || fine == NULL)
        return false;
    for (size_t i = 0; i < (size_t)padded * 16; i++)
        coarse[i] = NAN;
    cuts = 0;
    for (uint32_t k = 0; k < padded; k++) {
        const struct qn_lanes_column *c = &lanes->columns[k < p->column_count ? k : 0];
        const float *every = c->coarse;

        row->inputs[k] = p->columns[k < p->column_count ? k : 0].column;
        row->fine_at[k] = (uint32_t)(cuts * sizeof(float));
        if (k >= p->column_count) {
            row->fine_at[k] = 0;
            continue;
        }
        for (size_t j = 0; j < 16 && !isnan(every[j]); j++) {
            coarse[((size_t)k / 16 * 16 + j) * 16 + k % 16] = every[j];
            if (row->coarse_count[k / 16] <= j)
                row->coarse_count[k / 16] = (uint8_t)(j + 1);
        }
        for (size_t i = 0; i < 16 || i < (size_t)1 << p->columns[k].levels; i++)
            fine[cuts++] = ((const float *)c->sorted)[i];
    }
    row->coarse = coarse;
    row->fine = fine;
    return true;
}

static bool make_row(struct qn_model *m, const struct qn_lanes *lanes, struct qn_lanes_row *row)
{
    const size_t count = m->forest.tree_count;
    struct qn_lanes_row_block *blocks;

    make_quick(&m->plan, row);
    if (row->is_quick && lanes->is_float && m->plan.column_count > 0 && !make_search(m, lanes, row))
        return false;
    if (!has_row_form(m))
        return true;
    blocks = QN_NEW_N(&m->arena, struct qn_lanes_row_block, count / QN_LANES_ROW_TREES + 1);
    if (blocks == NULL)
        return false;
    for (size_t t = 0; t < count; t += QN_LANES_ROW_TREES) {
        if (!make_row_block(m, t, &blocks[t / QN_LANES_ROW_TREES]))
            return false;
        row->has_tests = row->has_tests || blocks[t / QN_LANES_ROW_TREES].depth == 0;
    }
    row->blocks = blocks;
    return true;
}

/* One tree of the form of one row: its tests, then its leaves. */
static void make_symmetric_tree(const struct qn_model *m, size_t tree, unsigned bits,
                                uint8_t *tests, uint8_t *leaves)
{
    const struct qn_tree *t = &m->forest.trees[tree];
    const size_t width = leaf_width(m), per_register = 64 / bits;
    uint8_t *to = tests + tree / per_register * 128 + tree % per_register * bits;
    uint32_t node = t->root;

    for (unsigned level = 0; level < t->depth; level++) {
        to[level] = (uint8_t)m->plan.nodes[node].code;
        to[64 + level] = (uint8_t)m->plan.nodes[node].limit;
        node = m->plan.nodes[node].left;
    }
    for (unsigned i = 0; i < 1u << t->depth; i++)
        memcpy(leaves + path_bits(i, t->depth) * width,
               (const uint8_t *)m->plan.leaf_values + (node + i) * width, width);
}

static bool make_symmetric_row(struct qn_model *m, struct qn_lanes *lanes)
{
    const size_t count = m->forest.tree_count, width = leaf_width(m);
    size_t registers, leaf_count = 0;
    unsigned bits = 8;
    uint8_t *tests, *leaves;
    uint32_t *first;

    if (count == 0 || m->plan.code_count > QN_LANES_ROW_CODES)
        return true;
    for (size_t t = 0; t < count; t++) {
        const unsigned depth = m->forest.trees[t].depth;

        /* a tree of one leaf asks nothing */
        if (depth > 0 && lanes->trees[t].form != QN_LANES_SYMMETRIC)
            return true;
        bits = depth > 8 ? 16 : bits;
        leaf_count += (size_t)1 << depth;
    }
    registers = (count * bits + 63) / 64;
    tests = qn_arena_aligned(&m->arena, 64, registers * 128);
    leaves = qn_arena_aligned(&m->arena, 64, leaf_count * width);
    first = QN_NEW_N(&m->arena, uint32_t, count);
    if (tests == NULL || leaves == NULL || first == NULL)
        return false;
    for (size_t i = 0; i < registers; i++) {
        memset(tests + i * 128, 0, 64);
        memset(tests + i * 128 + 64, QN_LANES_NEVER, 64);
    }
    leaf_count = 0;
    for (size_t t = 0; t < count; t++) {
        first[t] = (uint32_t)leaf_count;
        make_symmetric_tree(m, t, bits, tests, leaves + leaf_count * width);
        leaf_count += (size_t)1 << m->forest.trees[t].depth;
    }
    lanes->symmetric = (struct qn_lanes_symmetric){tests, leaves, first, bits == 16};
    return true;
}

qn_status qn_model_lanes(struct qn_model *m, struct qn_err *err)
{
    const struct qn_plan *p = &m->plan;
    struct qn_lanes *lanes = qn_arena_aligned(&m->arena, 64, sizeof(*lanes));
    bool ok = lanes != NULL;

    if (ok) {
        memset(lanes, 0, sizeof(*lanes));
        lanes->columns = QN_NEW_N(&m->arena, struct qn_lanes_column, p->column_count + 1);
        lanes->trees = QN_NEW_N(&m->arena, struct qn_lanes_tree, m->forest.tree_count + 1);
        ok = lanes->columns != NULL && lanes->trees != NULL;
    }
    if (ok) {
        lanes->is_float = compares_floats(m);
        lanes->is_plain = !m->has_missing && !m->forest.snaps_zero;
    }
    for (uint32_t k = 0; ok && k < p->column_count; k++) {
        lanes->is_plain = lanes->is_plain && !p->columns[k].zero_missing;
        if (!p->columns[k].is_category)
            ok = make_column(m, &p->columns[k], lanes->is_float, &lanes->columns[k]);
    }
    for (size_t t = 0; ok && t < m->forest.tree_count; t++) {
        ok = make_tree(m, &m->forest.trees[t], &lanes->trees[t]);
        lanes->tree_count += lanes->trees[t].form != QN_LANES_NONE;
    }
    if (!ok || !make_row(m, lanes, &lanes->row) || !make_symmetric_row(m, lanes))
        return qn_err_set(err, QN_NOMEM, "out of memory");
    m->plan.lanes = lanes;
    return QN_OK;
}
