/* SPDX-License-Identifier: Apache-2.0
 * squares.c - makes the tables of kernel `avx512x8` from a plan.
 *
 * Runs once per model, after lanes.c, on CPUs that have the kernel. What the tables are: squares.h.
 * Invariant: nothing is decided here, only laid out. Thread: the loader's. Memory: the model's
 * arena. */
#include "model/squares.h"

#include <math.h>

enum { LEVELS = QN_MODEL_PERFECT_DEPTH, LEAVES = 1 << LEVELS, UPPER = 128 };

/* A node as the kernel tests it. */
struct split {
    uint8_t at, limit;
};

/* Whether ranks of the column fit a byte that has 255 for missing. */
static bool is_ranked(const struct qn_plan *p, const struct qn_plan_column *pc)
{
    uint32_t last = 0;

    if (pc->is_category || pc->levels > 8)
        return false;
    for (uint32_t c = pc->first_code; c < pc->first_code + pc->code_count; c++)
        last |= p->codes[c].base;
    /* in level order the last pivot of eight full levels is the 255th cut */
    return last == 0 && (pc->levels < 8 || isnan(pc->pivots[255]));
}

/* One slot for a ranked column, else one per code; wide tables have no room to say that missing
 * goes left, so that each code is a slot there. False where they are too many. */
static bool make_slots(struct qn_model *m, struct qn_squares *q, struct qn_squares_column *columns,
                       uint8_t *slot_of)
{
    const struct qn_plan *p = &m->plan;
    const uint32_t most = q->is_wide ? QN_SQUARES_SLOTS_WIDE : QN_SQUARES_SLOTS;

    q->slot_count = 0;
    for (uint32_t k = 0; k < p->column_count; k++) {
        const struct qn_plan_column *pc = &p->columns[k];
        const bool as_rank = !q->is_wide && is_ranked(p, pc);

        columns[k].first = (uint8_t)q->slot_count;
        for (uint32_t c = 0; c < pc->code_count; c++) {
            if (!as_rank || c == 0) {
                if (q->slot_count == most)
                    return false;
                q->slots[q->slot_count++].code = as_rank ? -1 : (int32_t)(pc->first_code + c);
            }
            slot_of[pc->first_code + c] = (uint8_t)(q->slot_count - 1);
        }
        columns[k].count = (uint8_t)(q->slot_count - columns[k].first);
    }
    return true;
}

/* A code is the signed number of the plan; unsigned it is 128 more, and `code > limit` is
 * `code >= limit + 1`. The rank is the code itself where missing goes right (255); where it goes
 * left the kernel adds one, so that missing becomes 0. */
static struct split split_of(const struct qn_model *m, const struct qn_squares *q,
                             const uint8_t *slot_of, uint32_t node)
{
    const struct qn_plan_node *n = &m->plan.nodes[node];
    const uint8_t slot = slot_of[n->code];
    const bool adds = q->slots[slot].code < 0 && m->plan.codes[n->code].missing == 0;
    struct split s = {(uint8_t)(slot % QN_SQUARES_SLOTS * 4), (uint8_t)(n->limit + 129 + adds)};

    if (adds || slot >= QN_SQUARES_SLOTS)
        s.at |= UPPER;
    return s;
}

static bool has_test(const struct qn_model *m, uint32_t node)
{
    return !(m->forest.nodes[node].flags & QN_NODE_LEAF) &&
           m->plan.nodes[node].limit != QN_LANES_NEVER;
}

static void put_tree(const struct qn_model *m, const struct qn_squares *q, const uint8_t *slot_of,
                     const struct qn_tree *tree, uint8_t *table, unsigned place, uint8_t *leaves)
{
    /* where the registers of a level begin, and what a tree has before its nodes there */
    static const struct {
        uint16_t split, limit, before;
    } at[LEVELS] = {{0, 64, 0},    {128, 192, 32}, {128, 192, 0},
                    {256, 320, 0}, {384, 512, 0},  {640, 896, 0}};
    const size_t width = m->info.is_float ? sizeof(float) : sizeof(double);
    uint32_t node_at[2 * LEAVES];

    qn_lanes_pad_tree(m, tree, LEVELS, node_at);
    for (unsigned level = 0; level < LEVELS; level++) {
        const unsigned count = 1u << level;

        for (unsigned i = 0; i < count; i++) {
            const uint32_t node = node_at[count + i];
            const size_t byte = at[level].before + place * count + (count - 1 - i);
            struct split s;

            if (!has_test(m, node))
                continue; /* both ways lead to the same leaves */
            s = split_of(m, q, slot_of, node);
            if (level == 0) {
                for (unsigned row = 0; row < 8; row++) {
                    table[8 * place + row] = (uint8_t)(s.at | (row & 3));
                    table[64 + 8 * place + row] = s.limit;
                }
            } else {
                table[at[level].split + byte] = s.at;
                table[at[level].limit + byte] = s.limit;
            }
        }
    }
    for (unsigned i = 0; i < LEAVES; i++) {
        const uint8_t *value = (const uint8_t *)m->plan.leaf_values + node_at[LEAVES + i] * width;

        for (size_t b = 0; b < width; b += 2)
            memcpy(leaves + b * LEAVES + 2 * (size_t)(LEAVES - 1 - i), value + b, 2);
    }
}

qn_status qn_model_squares(struct qn_model *m, struct qn_err *err)
{
    const struct qn_plan *p = &m->plan;
    const size_t trees = m->forest.tree_count, sets = (trees + 63) / 64 * QN_SQUARES_SETS;
    const size_t leaf_bytes = LEAVES * (m->info.is_float ? sizeof(float) : sizeof(double));
    struct qn_squares_column *columns;
    struct qn_squares *q;
    uint8_t slot_of[QN_LANES_ROW_CODES];
    uint8_t *tables, *leaves;

    if (m->forest.depth_max > LEVELS || p->code_count > sizeof(slot_of) || trees == 0)
        return QN_OK;
    q = qn_arena_aligned(&m->arena, 64, sizeof(*q));
    columns = QN_NEW_N(&m->arena, struct qn_squares_column, p->column_count + 1);
    if (q == NULL || columns == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    memset(q, 0, sizeof(*q));
    memset(slot_of, 0, sizeof(slot_of));
    if (!make_slots(m, q, columns, slot_of)) {
        q->is_wide = true;
        if (!make_slots(m, q, columns, slot_of))
            return QN_OK;
    }
    tables = qn_arena_aligned(&m->arena, 64, sets * QN_SQUARES_TABLE);
    leaves = qn_arena_aligned(&m->arena, 64, trees * leaf_bytes);
    if (tables == NULL || leaves == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    memset(tables, 0, sets * QN_SQUARES_TABLE);
    for (size_t t = 0; t < trees; t++)
        put_tree(m, q, slot_of, &m->forest.trees[t],
                 tables + t / QN_SQUARES_TREES * QN_SQUARES_TABLE, t % QN_SQUARES_TREES,
                 leaves + t * leaf_bytes);
    q->columns = columns;
    q->set_count = (uint32_t)sets;
    q->leaf_bytes = leaf_bytes;
    q->leaves = leaves;
    q->tables = tables;
    m->plan.squares = q;
    return QN_OK;
}
