/* SPDX-License-Identifier: Apache-2.0
 * lanes.c - makes the tables of the vector kernels from a plan.
 *
 * Runs once per model, after codes.c, on CPUs that have such a kernel. What the tables are and why:
 * lanes.h. Invariant: nothing is decided here, only laid out. Thread: the loader's. Memory: the
 * model's arena. */
#include "model/lanes.h"

#include <math.h>

enum {
    NEVER = 127,            /* a limit above every code */
    TEST_COST = 5,          /* instructions per test and leaf of a tree of any shape  */
    PERFECT_COST_HALVES = 3 /* half instructions per node of a perfect tree             */
};

static size_t leaf_width(const struct qn_model *m)
{
    return m->info.is_float ? sizeof(float) : sizeof(double);
}

/* ---- columns ---- */

/* Smallest float that is not below a cut: float inputs compare with it as with the cut. */
static float float_cut(double cut)
{
    float f = (float)cut;

    return (double)f < cut ? nextafterf(f, INFINITY) : f;
}

static void put_cut(const struct qn_model *m, void *to, size_t i, double cut)
{
    if (m->info.is_float)
        ((float *)to)[i] = float_cut(cut);
    else
        ((double *)to)[i] = cut;
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

static bool make_column(struct qn_model *m, const struct qn_plan_column *pc,
                        struct qn_lanes_column *out)
{
    const size_t pivots = (size_t)1 << pc->levels, places = pivots - 1;
    const size_t padded = pivots < 16 ? 16 : pivots;
    const size_t width = leaf_width(m);
    void *tree = qn_arena_aligned(&m->arena, 64, padded * width);
    void *sorted, *coarse;

    if (tree == NULL)
        return false;
    for (size_t i = 0; i < padded; i++)
        put_cut(m, tree, i, i < pivots ? pc->pivots[i] : NAN);
    out->pivots = tree;
    if (places > QN_LANES_CUTS)
        return true;
    sorted = qn_arena_aligned(&m->arena, 64, padded * width);
    coarse = qn_arena_aligned(&m->arena, 64, 16 * width);
    if (sorted == NULL || coarse == NULL)
        return false;
    for (size_t i = 0; i < padded; i++)
        put_cut(m, sorted, i, i < places ? cut_at(pc, i) : NAN);
    for (size_t i = 0; i < 16; i++)
        put_cut(m, coarse, i, 16 * i + 15 < places ? cut_at(pc, 16 * i + 15) : NAN);
    out->sorted = sorted;
    out->coarse = coarse;
    return true;
}

/* ---- trees ---- */

/* The node where each path of a tree padded to `depth` ends or passes: heap order from 1. */
static void pad_tree(const struct qn_model *m, const struct qn_tree *t, unsigned depth,
                     uint32_t *node_at)
{
    node_at[1] = t->root;
    for (size_t i = 1; i < (size_t)1 << depth; i++) {
        const struct qn_plan_node *node = &m->plan.nodes[node_at[i]];
        const bool is_leaf = (m->forest.nodes[node_at[i]].flags & QN_NODE_LEAF) != 0;

        node_at[2 * i] = node->left;
        node_at[2 * i + 1] = node->left + (is_leaf ? 0 : 1);
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
    pad_tree(m, t, depth, node_at);
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

    if (t->depth <= QN_LANES_DEPTH) {
        const uint32_t perfect = (PERFECT_COST_HALVES << t->depth) / 2;

        if (!can_shape || perfect <= TEST_COST * leaves)
            return make_perfect(m, t, out);
    }
    return !can_shape || make_shape(m, t, out);
}

/* ---- one row ---- */

static void make_row_tree(const struct qn_model *m, const struct qn_tree *t, uint8_t *out)
{
    const size_t width = leaf_width(m);
    uint32_t node_at[2 << QN_MODEL_PERFECT_DEPTH];

    pad_tree(m, t, QN_MODEL_PERFECT_DEPTH, node_at);
    out[64 + 63] = NEVER;
    for (unsigned i = 1; i < 64; i++) {
        const struct qn_plan_node *node = &m->plan.nodes[node_at[i]];
        unsigned lane = 55 + i;

        if (i >= 8) { /* below the third level: subtree, and heap position in it */
            const unsigned level = 31u - (unsigned)__builtin_clz(i) - 3;
            const unsigned position = (1u << level) + (i & ((1u << level) - 1));

            lane = 7 * ((i >> level) - 8) + position - 1;
        }
        out[lane] = (uint8_t)node->code;
        out[64 + lane] = (uint8_t)node->limit;
    }
    for (unsigned i = 0; i < 64; i++)
        memcpy(out + 128 + i * width,
               (const uint8_t *)m->plan.leaf_values + node_at[64 + i] * width, width);
}

static void make_quick(const struct qn_plan *p, struct qn_lanes_row *row)
{
    row->is_quick = p->column_count <= 64 && p->code_count <= QN_LANES_ROW_CODES;
    for (uint32_t k = 0; k < p->column_count && row->is_quick; k++) {
        const struct qn_plan_column *pc = &p->columns[k];

        /* the last pivot of eight full levels would be the 255th cut */
        if (pc->is_category || pc->levels > 8 || (pc->levels == 8 && !isnan(cut_at(pc, 254)))) {
            row->is_quick = false;
            break;
        }
        row->zero_missing |= (uint64_t)pc->zero_missing << k;
        for (uint32_t c = pc->first_code; c < pc->first_code + pc->code_count; c++) {
            row->column_of[c] = (uint8_t)k;
            row->missing[c] = p->codes[c].missing;
        }
    }
}

static bool make_row(struct qn_model *m, struct qn_lanes_row *row)
{
    const size_t count = m->forest.tree_count;
    uint8_t *trees;

    make_quick(&m->plan, row);
    if (m->forest.depth_max > QN_MODEL_PERFECT_DEPTH || m->plan.code_count > QN_LANES_ROW_CODES)
        return true;
    for (unsigned bits = 0; bits < 128; bits++) {
        unsigned n = 1;

        for (unsigned level = 0; level < 3; level++)
            n = 2 * n + (bits >> (n - 1) & 1);
        row->top[bits] = (uint16_t)((n - 8) * 8 << 8 | (n - 8) * 7);
        row->sub[bits] = (uint8_t)(n - 8);
    }
    row->tree_bytes = 128 + 64 * leaf_width(m);
    trees = qn_arena_aligned(&m->arena, 64, count * row->tree_bytes + 1);
    if (trees == NULL)
        return false;
    memset(trees, 0, count * row->tree_bytes);
    for (size_t t = 0; t < count; t++)
        make_row_tree(m, &m->forest.trees[t], trees + t * row->tree_bytes);
    row->trees = trees;
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
    for (uint32_t k = 0; ok && k < p->column_count; k++) {
        if (!p->columns[k].is_category)
            ok = make_column(m, &p->columns[k], &lanes->columns[k]);
    }
    for (size_t t = 0; ok && t < m->forest.tree_count; t++) {
        ok = make_tree(m, &m->forest.trees[t], &lanes->trees[t]);
        lanes->tree_count += ok && lanes->trees[t].form != QN_LANES_NONE;
    }
    if (!ok || !make_row(m, &lanes->row))
        return qn_err_set(err, QN_NOMEM, "out of memory");
    m->plan.lanes = lanes;
    return QN_OK;
}
