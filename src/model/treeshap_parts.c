/* SPDX-License-Identifier: Apache-2.0
 * treeshap_parts.c - makes the parts of a tree with few different inputs on a path.
 *
 * Leaf by leaf the formula of treeshap.c is a product over the path's inputs. Four leaves below one
 * node share most of it: the outer inputs, those above that the group does not test itself, have
 * the same o and z for all of them. What is left, the sum of the group's leaves and the part of
 * each of its own inputs, depends on the row by its pattern at the group's three nodes only. So a
 * part needs two look-ups, mask and pattern; sums go up from part to part, and an outer input gets
 * its part where they are complete. Thread: any. Memory: the walk's. */
#include "base/check.h"
#include "model/treeshap_int.h"

/* An input on the way to a leaf. */
struct on_path {
    uint32_t slot;
    uint32_t level; /* of its last node above the part             */
    double z;       /* shares of its nodes above the part, multiplied */
};

/* What is worked on. */
struct making {
    const struct qn_shap_walk *w;
    uint32_t child; /* where the part begins                                                   */
    uint32_t nodes[QN_SHAP_NODES], node_count, states[QN_SHAP_NODES];
    uint32_t input[QN_SHAP_NODES]; /* of a node: which own input it tests                      */
    struct on_path outer[QN_SHAP_OUTER], own[QN_SHAP_NODES];
    bool own_above[QN_SHAP_NODES]; /* an own input was met above as well */
    struct qn_shap_part *part;
};

static const struct qn_node *node_of(const struct qn_shap_walk *w, uint32_t node)
{
    return &w->m->forest.nodes[node];
}

static bool is_leaf(const struct qn_shap_walk *w, uint32_t node)
{
    return (node_of(w, node)->flags & QN_NODE_LEAF) != 0;
}

static uint32_t slot_of(const struct qn_shap_walk *w, uint32_t node)
{
    return w->m->explain.slot_of[node_of(w, node)->column];
}

static double share_of(const struct qn_shap_walk *w, uint32_t node)
{
    return w->m->forest.shares[node];
}

bool qn_shap_in_parts(const struct qn_model *m, size_t tree)
{
    return m->plan.is_used && m->explain.tree_points[tree] <= QN_SHAP_PART_POINTS &&
           m->forest.trees[tree].depth <= QN_SHAP_PATH;
}

uint32_t qn_shap_part_size(const struct qn_shap_part *p, uint32_t points)
{
    const uint32_t values = qn_shap_part_values(p, points);

    return p->own == 0 ? values : values + (1u + p->own) * points * p->entries;
}

/* ---- which nodes and inputs ---- */

static bool is_above(const struct qn_shap_walk *w, uint32_t slot)
{
    for (uint32_t level = 0; level <= w->level; level++) {
        if (w->levels[level].slot == slot)
            return true;
    }
    return false;
}

static struct on_path *find_input(struct on_path *list, uint32_t count, uint32_t slot)
{
    for (uint32_t i = 0; i < count; i++) {
        if (list[i].slot == slot)
            return &list[i];
    }
    return NULL;
}

/* Takes a node into the group. A state of its own for rows that left the way before is not needed
 * where the first node of the group tells. */
static void add_node(struct making *g, uint32_t node)
{
    const uint32_t slot = slot_of(g->w, node), k = g->node_count++;
    const bool above = is_above(g->w, slot);

    g->nodes[k] = node;
    g->states[k] = above && (k == 0 || slot != slot_of(g->w, g->nodes[0])) ? 3 : 2;
    if (find_input(g->own, g->part->own, slot) == NULL) {
        g->own_above[g->part->own] = above;
        g->own[g->part->own++] = (struct on_path){.slot = slot, .z = 1};
    }
    g->input[k] = (uint32_t)(find_input(g->own, g->part->own, slot) - g->own);
}

/* Whether the subtree is small enough for one part. */
static bool take_group(struct making *g)
{
    const uint32_t left = node_of(g->w, g->child)->left;
    uint32_t patterns;

    if (is_leaf(g->w, g->child))
        return true;
    add_node(g, g->child);
    for (uint32_t child = left; child < left + 2; child++) {
        if (is_leaf(g->w, child))
            continue;
        if (!is_leaf(g->w, node_of(g->w, child)->left) ||
            !is_leaf(g->w, node_of(g->w, child)->left + 1))
            return false;
        add_node(g, child);
    }
    patterns = g->states[0];
    for (uint32_t k = 1; k < g->node_count; k++)
        patterns *= g->states[k];
    g->part->entries = patterns <= 8 ? 8 : QN_SHAP_PATTERNS;
    return patterns <= QN_SHAP_PATTERNS;
}

/* The outer inputs in the order of the path, and the shares of all. */
static void take_path(struct making *g)
{
    const struct qn_shap_walk *w = g->w;
    struct qn_shap_part *p = g->part;

    for (uint32_t level = 0; level <= w->level; level++) {
        const struct qn_shap_level *at = &w->levels[level];
        const double share = share_of(w, node_of(w, at->node)->left + at->side);
        struct on_path *in = find_input(g->own, p->own, at->slot);

        if (in == NULL)
            in = find_input(g->outer, p->outer, at->slot);
        if (in == NULL) {
            QN_ASSERT(p->outer < QN_SHAP_OUTER);
            in = &g->outer[p->outer++];
            *in = (struct on_path){.slot = at->slot, .z = 1};
        }
        in->z *= share;
        in->level = level;
    }
    p->low = p->outer <= 3 ? 8 : 16;
}

/* ---- sums ---- */

/* The highest edge on the path below which all parts have the same gain for the input. */
static uint32_t gain_level(const struct qn_shap_walk *w, const struct on_path *in)
{
    uint32_t level = w->level;

    while (level > in->level && !(w->levels[level - 1].again >> in->level & 1))
        level--;
    return level;
}

/* Which outer inputs get their part here, and what becomes of the sum. */
static void take_gains(struct making *g)
{
    const struct qn_shap_walk *w = g->w;
    struct qn_shap_part *p = g->part;
    uint32_t at[QN_SHAP_OUTER], level = w->level, left = p->outer;

    p->level = (uint8_t)level;
    for (uint32_t j = 0; j < p->outer; j++)
        at[j] = gain_level(w, &g->outer[j]);
    for (;; level--) {
        for (uint32_t j = 0; j < p->outer; j++) {
            if (at[j] != level)
                continue;
            p->bit[p->gains] = (uint8_t)j;
            p->slot[p->gains++] = g->outer[j].slot;
            p->due[p->joins]++;
            left--;
        }
        if (left == 0 || w->levels[level].side == 0)
            break;
        p->joins++;
    }
    p->leaves_sum = left > 0;
    for (uint32_t k = 0; k < p->own; k++)
        p->slot[p->gains + k] = g->own[k].slot;
}

/* ---- turns ---- */

static struct qn_shap_turn turn_at(const struct making *g, uint32_t node)
{
    const struct qn_plan_node *n = &g->w->m->plan.nodes[node];

    return (struct qn_shap_turn){.code = n->code, .limit = (int8_t)n->limit};
}

/* Every turn of the path at the input. */
static void add_turns(const struct making *g, struct qn_shap_turn *turn, uint32_t slot)
{
    for (uint32_t level = 0; level <= g->w->level; level++) {
        const struct qn_shap_level *at = &g->w->levels[level];

        if (at->slot != slot)
            continue;
        turn[g->part->turns] = turn_at(g, at->node);
        turn[g->part->turns++].left = at->side == 0 ? -1 : 0;
    }
}

/* Whether all turns at outer input j are those of the part before, and so its bit. */
static bool is_kept(const struct making *g, uint32_t j)
{
    const struct qn_shap_walk *w = g->w;
    const struct qn_shap_met *before = &w->met[j];

    return j < w->met_count && before->slot == g->outer[j].slot && before->level < w->common &&
           g->outer[j].level < w->common;
}

static void set_turns(const struct making *g, struct qn_shap_turn *turn)
{
    struct qn_shap_part *p = g->part;
    uint32_t stride = 1;

    for (uint32_t j = 0; j < p->outer; j++) {
        if (is_kept(g, j)) {
            p->keep |= (uint8_t)(1u << j);
            continue;
        }
        add_turns(g, turn, g->outer[j].slot);
        turn[p->turns - 1].mask_value = (uint8_t)(1u << j);
        turn[p->turns - 1].last = -1;
    }
    p->outer_turns = p->turns;
    for (uint32_t k = 0; k < g->node_count; k++) {
        if (g->states[k] == 3)
            add_turns(g, turn, g->own[g->input[k]].slot);
        turn[p->turns] = turn_at(g, g->nodes[k]);
        turn[p->turns].pattern_value = (uint8_t)stride;
        turn[p->turns++].last = -1;
        stride *= g->states[k];
    }
}

/* ---- tables ---- */

static double rule_at(const struct qn_shap_walk *w, enum qn_shap_rule part, uint32_t q)
{
    return w->rule[part * w->padded + q];
}

/* o t + z (1 - t) */
static double factor_at(const struct qn_shap_walk *w, bool on, double z, uint32_t q)
{
    const double off = z * rule_at(w, QN_SHAP_REST, q);

    return on ? rule_at(w, QN_SHAP_POINT, q) + off : off;
}

/* (o - z) / (o t + z (1 - t)) */
static double gain_at(const struct qn_shap_walk *w, bool on, double z, uint32_t q)
{
    return on ? (1 - z) / factor_at(w, true, z, q) : rule_at(w, QN_SHAP_GAIN_LEFT, q);
}

/* Weight, value and factors of the outer inputs [first, end), by their bits. */
static void put_products(const struct making *g, double start, uint32_t first, uint32_t end,
                         uint32_t entries, uint32_t q, double *table)
{
    for (uint32_t mask = 0; mask < entries; mask++) {
        double product = start;

        for (uint32_t j = first; j < end; j++)
            product *= factor_at(g->w, mask >> (j - first) & 1, g->outer[j].z, q);
        table[q * entries + mask] = product;
    }
}

static void put_outer(const struct making *g, double *table)
{
    const struct qn_shap_part *p = g->part;
    const uint32_t points = g->w->points;
    const double value = p->own == 0 ? node_of(g->w, g->child)->value : 1;
    double *gains = table + qn_shap_part_gains(p, points);

    memset(gains, 0,
           (qn_shap_part_values(p, points) - qn_shap_part_gains(p, points)) * sizeof(*gains));
    for (uint32_t q = 0; q < points; q++) {
        put_products(g, rule_at(g->w, QN_SHAP_WEIGHT, q) * value, 0, p->outer < 4 ? p->outer : 4,
                     p->low, q, table);
        if (p->outer > 4)
            put_products(g, 1, 4, p->outer, 16, q, table + (size_t)p->low * points);
        for (uint32_t n = 0; n < p->gains; n++)
            gains[n * points + q] = gain_at(g->w, true, g->outer[p->bit[n]].z, q);
    }
}

/* A leaf of a group. */
struct leaf {
    double value;
    int side[QN_SHAP_NODES]; /* of each node, the child on the way to it; -1 = the node is not */
    bool has[QN_SHAP_NODES]; /* the own input is on its path */
    double z[QN_SHAP_NODES];
    double factor[QN_SHAP_NODES][2][QN_SHAP_PART_POINTS]; /* by o */
    double gain[QN_SHAP_NODES][2][QN_SHAP_PART_POINTS];
};

static void set_leaf(const struct making *g, uint32_t node, const int *side, struct leaf *l)
{
    *l = (struct leaf){.value = node_of(g->w, node)->value};
    for (uint32_t f = 0; f < g->part->own; f++) {
        l->has[f] = g->own_above[f];
        l->z[f] = g->own[f].z;
    }
    for (uint32_t k = 0; k < g->node_count; k++) {
        l->side[k] = side[k];
        if (side[k] < 0)
            continue;
        l->has[g->input[k]] = true;
        l->z[g->input[k]] *= share_of(g->w, node_of(g->w, g->nodes[k])->left + (uint32_t)side[k]);
    }
    for (uint32_t f = 0; f < g->part->own; f++) {
        for (uint32_t q = 0; l->has[f] && q < g->w->points; q++) {
            for (unsigned on = 0; on < 2; on++) {
                l->factor[f][on][q] = factor_at(g->w, on, l->z[f], q);
                l->gain[f][on][q] = gain_at(g->w, on, l->z[f], q);
            }
        }
    }
}

/* All leaves, from left to right; their number. */
static uint32_t set_leaves(const struct making *g, struct leaf *leaves)
{
    const uint32_t left = node_of(g->w, g->child)->left;
    uint32_t count = 0;
    int k = 1;

    for (int side = 0; side < 2; side++) {
        const uint32_t child = left + (uint32_t)side;
        int sides[QN_SHAP_NODES] = {side, -1, -1};

        if (is_leaf(g->w, child)) {
            set_leaf(g, child, sides, &leaves[count++]);
            continue;
        }
        for (sides[k] = 0; sides[k] < 2; sides[k]++)
            set_leaf(g, node_of(g->w, child)->left + (uint32_t)sides[k], sides, &leaves[count++]);
        k++;
    }
    return count;
}

/* o of each own input at a leaf, for rows in these states. */
static void set_on(const struct making *g, const struct leaf *l, const uint32_t *state, bool *on)
{
    for (uint32_t f = 0; f < g->part->own; f++)
        on[f] = true;
    for (uint32_t k = 0; k < g->node_count; k++) {
        if (state[k] == 2 || (l->side[k] >= 0 && state[k] != (uint32_t)l->side[k]))
            on[g->input[k]] = false;
    }
}

/* Adds a leaf for one pattern: value[v * points + q]. */
static void add_leaf(const struct making *g, const struct leaf *l, const bool *on, double *value)
{
    const uint32_t points = g->w->points, own = g->part->own;

    for (uint32_t q = 0; q < points; q++) {
        double product = l->value;

        for (uint32_t f = 0; f < own; f++) {
            if (l->has[f])
                product *= l->factor[f][on[f]][q];
        }
        value[q] += product;
        for (uint32_t f = 0; f < own; f++) {
            if (l->has[f])
                value[(1 + f) * points + q] += product * l->gain[f][on[f]][q];
        }
    }
}

static void put_values(const struct making *g, double *values)
{
    const uint32_t entries = g->part->entries, rows = (1u + g->part->own) * g->w->points;
    struct leaf leaves[QN_SHAP_NODES + 1];
    const uint32_t leaf_count = set_leaves(g, leaves);
    uint32_t patterns = 1;

    for (uint32_t k = 0; k < g->node_count; k++)
        patterns *= g->states[k];
    memset(values, 0, (size_t)rows * entries * sizeof(*values));
    for (uint32_t pattern = 0; pattern < patterns; pattern++) {
        double value[(1 + QN_SHAP_NODES) * QN_SHAP_PART_POINTS] = {0};
        uint32_t state[QN_SHAP_NODES] = {0}, rest = pattern;

        for (uint32_t k = 0; k < g->node_count; k++) {
            state[k] = rest % g->states[k];
            rest /= g->states[k];
        }
        for (uint32_t i = 0; i < leaf_count; i++) {
            bool on[QN_SHAP_NODES];

            set_on(g, &leaves[i], state, on);
            add_leaf(g, &leaves[i], on, value);
        }
        for (uint32_t v = 0; v < rows; v++)
            values[(size_t)v * entries + pattern] = value[v];
    }
}

/* ---- the walk ---- */

static void enter(struct qn_shap_walk *w, uint32_t level, uint32_t node)
{
    const uint32_t slot = slot_of(w, node);

    w->levels[level] = (struct qn_shap_level){.node = node, .slot = slot, .before = w->last[slot]};
    w->last[slot] = level + 1;
    w->level = level;
}

/* The child of the deepest level is done. */
static void leave_child(struct qn_shap_walk *w)
{
    w->levels[w->level].side++;
    w->common = w->level;
}

/* Which inputs of the path are tested at or below a node: struct qn_shap_level. */
static uint32_t tested_again(const struct qn_shap_walk *w, uint32_t node)
{
    uint32_t rest[QN_SHAP_PATH + 1], count = 0, again = 0;

    rest[count++] = node;
    while (count > 0) {
        const uint32_t at = rest[--count], left = node_of(w, at)->left;

        if (is_leaf(w, at))
            continue;
        if (w->last[slot_of(w, at)] != 0)
            again |= 1u << (w->last[slot_of(w, at)] - 1);
        rest[count++] = left + 1;
        rest[count++] = left;
    }
    return again;
}

static void make_part(struct making *g, struct qn_shap_walk *w, double *table)
{
    take_path(g);
    take_gains(g);
    set_turns(g, w->turn);
    put_outer(g, table);
    if (g->part->own > 0)
        put_values(g, table + qn_shap_part_values(g->part, w->points));
    w->met_count = g->part->outer;
    for (uint32_t j = 0; j < g->part->outer; j++)
        w->met[j] = (struct qn_shap_met){.slot = g->outer[j].slot, .level = g->outer[j].level};
}

bool qn_shap_next_part(struct qn_shap_walk *w, struct qn_shap_step *s, double *table)
{
    if (!w->is_started) {
        w->is_started = true;
        enter(w, 0, w->levels[0].node);
    }
    for (;;) {
        struct qn_shap_level *at = &w->levels[w->level];
        struct making g = {.w = w, .part = &s->part};

        if (at->side == 2) {
            w->last[at->slot] = at->before;
            if (w->level == 0)
                return false;
            w->level--;
            leave_child(w);
            continue;
        }
        *s = (struct qn_shap_step){.kind = QN_SHAP_PART};
        g.child = node_of(w, at->node)->left + at->side;
        if (!take_group(&g)) {
            at->again = tested_again(w, g.child);
            enter(w, w->level + 1, g.child);
            continue;
        }
        make_part(&g, w, table);
        s->turn = w->turn;
        leave_child(w);
        return true;
    }
}
