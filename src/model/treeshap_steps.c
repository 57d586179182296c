/* SPDX-License-Identifier: Apache-2.0
 * treeshap_steps.c - makes the steps of a tree and their tables, in the order in which rows run.
 *
 * The walk is depth-first with an explicit stack. A subtree of at most three nodes on two levels is
 * one step, a group: the decisions of a row at its nodes are a number, the pattern, and everything
 * the group does at a point is looked up by it. The nodes above are one step each on the way down
 * and one for each inner child on the way up. What is computed, and why: treeshap.c. Thread: any.
 * Memory: the caller's; kept tables in the arena. */
#include "base/check.h"
#include "model/treeshap_int.h"

enum { TABLES_MAX = 64 << 20 }; /* bytes of kept tables; further trees are made while rows run */

/* ---- sizes ---- */

/* Doubles of a step's tables: a multiple of 8. */
static uint32_t table_size(const struct qn_shap_step *s, uint32_t points)
{
    switch (s->kind) {
    case QN_SHAP_LEAF:
        return 2 * QN_SHAP_STATES * points;
    case QN_SHAP_GROUP:
        return (2 * QN_SHAP_STATES + (1u + s->tests) * s->entries) * points;
    case QN_SHAP_PART:
        return qn_shap_part_size(&s->part, points);
    default:
        return (QN_SHAP_STATES * points + 7) / 8 * 8;
    }
}

uint32_t qn_shap_table_max(uint32_t points)
{
    const struct qn_shap_step group = {
        .kind = QN_SHAP_GROUP, .tests = QN_SHAP_NODES, .entries = QN_SHAP_PATTERNS};
    const struct qn_shap_step part = {.kind = QN_SHAP_PART,
                                      .part = {.outer = QN_SHAP_OUTER,
                                               .gains = QN_SHAP_OUTER,
                                               .own = QN_SHAP_NODES,
                                               .low = 16,
                                               .entries = QN_SHAP_PATTERNS}};
    const uint32_t of_group = table_size(&group, points == 0 ? 1 : points);
    const uint32_t of_part = table_size(&part, QN_SHAP_PART_POINTS);

    return of_group > of_part ? of_group : of_part;
}

/* ---- edges ---- */

static double *edge_at(const struct qn_shap_walk *w, double *edges, uint32_t node, uint32_t side)
{
    return edges + ((size_t)node * 2 + side) * QN_SHAP_EDGE * w->padded;
}

/* An edge whose input has the shares z up to it; `old`: the edge of that input above, or NULL. */
static void set_edge(const struct qn_shap_walk *w, double z, const double *old, double *restrict e)
{
    const uint32_t n = w->padded;
    const double *rule = w->rule;

    for (uint32_t q = 0; q < n; q++) {
        const double off = z * rule[QN_SHAP_REST * n + q];
        const double factor = rule[QN_SHAP_POINT * n + q] + off;
        const double over = 1 / factor, gain = (1 - z) * over;
        const double old_over = old != NULL ? old[QN_SHAP_OVER * n + q] : 1;
        const double old_gain = old != NULL ? old[QN_SHAP_GAIN * n + q] : 0;

        e[QN_SHAP_ON * n + q] = factor * old_over;
        e[QN_SHAP_OFF * n + q] = off * old_over;
        e[QN_SHAP_GAIN_ON * n + q] = gain - old_gain;
        e[QN_SHAP_GAIN_OFF * n + q] = rule[QN_SHAP_GAIN_LEFT * n + q] - old_gain;
        e[QN_SHAP_OVER * n + q] = over;
        e[QN_SHAP_GAIN * n + q] = gain;
    }
}

/* An edge at one point, for rows in one state of its node. */
struct way {
    double factor, gain;
};

static struct way way_of(const struct qn_shap_walk *w, const double *e, double share, uint32_t side,
                         uint32_t state, uint32_t q)
{
    const uint32_t n = w->padded;

    if (state == 2)
        return (struct way){share, 0};
    if (state == side)
        return (struct way){e[QN_SHAP_ON * n + q], e[QN_SHAP_GAIN_ON * n + q]};
    return (struct way){e[QN_SHAP_OFF * n + q], e[QN_SHAP_GAIN_OFF * n + q]};
}

/* ---- nodes ---- */

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

static struct qn_shap_test test_of(const struct qn_shap_walk *w, uint32_t node)
{
    const uint32_t slot = slot_of(w, node), before = w->last[slot];

    return (struct qn_shap_test){.node = node,
                                 .slot = slot,
                                 .before = (uint16_t)before,
                                 .side = before != 0 ? w->levels[before - 1].side : 0};
}

/* Both edges below a node; `old` as in set_edge, old_z its shares. */
static void set_edges(const struct qn_shap_walk *w, uint32_t node, double old_z, const double *old,
                      double *edges, double *z)
{
    const double *shares = w->m->forest.shares + node_of(w, node)->left;

    for (uint32_t side = 0; side < 2; side++) {
        const double here = old_z * shares[side];

        if (z != NULL)
            z[side] = here;
        set_edge(w, here, old, edge_at(w, edges, 0, side));
    }
}

/* The same where the input was met before as the test says. */
static void set_edges_after(const struct qn_shap_walk *w, const struct qn_shap_test *t,
                            double *edges, double *z)
{
    const double *old = NULL;
    double old_z = 1;

    if (t->before != 0) {
        old = edge_at(w, w->edges, t->before - 1u, t->side);
        old_z = w->levels[t->before - 1].z[t->side];
    }
    set_edges(w, t->node, old_z, old, edges, z);
}

/* ---- steps of single nodes ---- */

/* [points][STATES] of an edge. */
static void put_edge(const struct qn_shap_walk *w, uint32_t level, uint32_t side, bool is_gain,
                     double *table)
{
    const double *e = edge_at(w, w->edges, level, side);
    const double share = w->m->forest.shares[node_of(w, w->levels[level].node)->left + side];

    for (uint32_t q = 0; q < w->points; q++) {
        for (uint32_t state = 0; state < 3; state++) {
            const struct way way = way_of(w, e, share, side, state, q);

            table[q * QN_SHAP_STATES + state] = is_gain ? way.gain : way.factor;
        }
        table[q * QN_SHAP_STATES + 3] = 0;
    }
}

static void step_enter(struct qn_shap_walk *w, uint32_t level, uint32_t node,
                       struct qn_shap_step *s, double *table)
{
    struct qn_shap_level *at = &w->levels[level];
    const struct qn_shap_test test = test_of(w, node);

    *s = (struct qn_shap_step){.kind = QN_SHAP_ENTER,
                               .tests = 1,
                               .level = (uint16_t)level,
                               .slot = test.slot,
                               .test = {test}};
    if (level > 0)
        put_edge(w, level - 1, w->levels[level - 1].side, false, table);
    *at = (struct qn_shap_level){
        .node = node, .slot = test.slot, .before = test.before, .before_side = test.side};
    set_edges_after(w, &test, edge_at(w, w->edges, level, 0), at->z);
    w->last[test.slot] = level + 1;
    w->level = level;
}

static void step_leaf(const struct qn_shap_walk *w, double value, struct qn_shap_step *s,
                      double *table)
{
    const struct qn_shap_level *at = &w->levels[w->level];
    const double *e = edge_at(w, w->edges, w->level, at->side);
    const double share = w->m->forest.shares[node_of(w, at->node)->left + at->side];
    double *parts = table + (size_t)QN_SHAP_STATES * w->points;

    s->kind = QN_SHAP_LEAF;
    for (uint32_t q = 0; q < w->points; q++) {
        for (uint32_t state = 0; state < QN_SHAP_STATES; state++) {
            const struct way way = way_of(w, e, share, at->side, state < 3 ? state : 2, q);

            table[q * QN_SHAP_STATES + state] = value * way.factor;
            parts[q * QN_SHAP_STATES + state] = value * way.factor * way.gain;
        }
    }
}

/* ---- groups ---- */

/* What is below a node of a group at one point, by its state: the sum of its leaves and the part of
 * its input. */
struct below {
    double sum[3], part[3];
};

static void set_below(const struct qn_shap_walk *w, uint32_t node, const double *edges, uint32_t q,
                      struct below *b)
{
    const uint32_t left = node_of(w, node)->left;

    for (uint32_t state = 0; state < 3; state++) {
        b->sum[state] = b->part[state] = 0;
        for (uint32_t side = 0; side < 2; side++) {
            const double *e = edges + (size_t)side * QN_SHAP_EDGE * w->padded;
            const struct way way = way_of(w, e, w->m->forest.shares[left + side], side, state, q);
            const double sum = node_of(w, left + side)->value * way.factor;

            b->sum[state] += sum;
            b->part[state] += sum * way.gain;
        }
    }
}

/* States of a test in a pattern. One that its group's first node has decided the o of needs no
 * third one. */
static uint32_t states_of(const struct qn_shap_test *t, const struct qn_shap_test *first)
{
    return t->before != 0 && (t == first || t->slot != first->slot) ? 3 : 2;
}

/* Whether a subtree is a group, and its tests: the first node, then its inner children. */
static bool find_group(const struct qn_shap_walk *w, uint32_t node, struct qn_shap_step *s)
{
    const uint32_t left = node_of(w, node)->left;
    uint32_t patterns;

    s->tests = 1;
    s->test[0] = test_of(w, node);
    s->test[0].stride = 1;
    patterns = states_of(&s->test[0], &s->test[0]);
    for (uint32_t child = left; child < left + 2; child++) {
        struct qn_shap_test *t = &s->test[s->tests];

        if (is_leaf(w, child))
            continue;
        if (!is_leaf(w, node_of(w, child)->left) || !is_leaf(w, node_of(w, child)->left + 1))
            return false;
        *t = test_of(w, child);
        t->stride = (uint8_t)patterns;
        patterns *= states_of(t, &s->test[0]);
        if (t->slot == s->test[0].slot)
            t->before = 0;
        s->tests++;
    }
    s->entries = patterns <= 8 ? 8 : QN_SHAP_PATTERNS;
    return patterns <= QN_SHAP_PATTERNS;
}

/* The edges of a group's nodes. */
static void set_group_edges(const struct qn_shap_walk *w, const struct qn_shap_step *s)
{
    const struct qn_shap_test *first = &s->test[0];
    double z[2];

    set_edges_after(w, first, edge_at(w, w->group, 0, 0), z);
    for (uint32_t k = 1; k < s->tests; k++) {
        const struct qn_shap_test *t = &s->test[k];
        const uint32_t side = t->node - node_of(w, first->node)->left;

        if (t->slot == first->slot)
            set_edges(w, t->node, z[side], edge_at(w, w->group, 0, side),
                      edge_at(w, w->group, k, 0), NULL);
        else
            set_edges_after(w, t, edge_at(w, w->group, k, 0), NULL);
    }
}

/* One pattern at one point: values[0] is the sum, values[1 + k] the part of the k-th test. */
static void pattern_values(const struct qn_shap_walk *w, const struct qn_shap_step *s,
                           const struct below *below, const uint32_t *state, uint32_t q,
                           double *values)
{
    const struct qn_shap_test *first = &s->test[0];
    const uint32_t left = node_of(w, first->node)->left;
    uint32_t k = 1;

    values[0] = values[1] = 0;
    for (uint32_t side = 0; side < 2; side++) {
        const struct way way = way_of(w, edge_at(w, w->group, 0, side),
                                      w->m->forest.shares[left + side], side, state[0], q);
        double sum = node_of(w, left + side)->value;

        if (!is_leaf(w, left + side)) {
            const bool is_off = s->test[k].slot == first->slot && state[0] != side;
            const uint32_t of = is_off ? 2 : state[k];

            sum = below[k].sum[of];
            values[1 + k] = way.factor * below[k].part[of];
            k++;
        }
        sum *= way.factor;
        values[0] += sum;
        values[1] += sum * way.gain;
    }
}

static void step_group(const struct qn_shap_walk *w, struct qn_shap_step *s, double *table)
{
    const struct qn_shap_level *at = &w->levels[w->level];
    const uint32_t points = w->points, entries = s->entries;
    double *values = table + (size_t)2 * QN_SHAP_STATES * points;
    uint32_t states[QN_SHAP_NODES] = {1, 1, 1};

    s->kind = QN_SHAP_GROUP;
    put_edge(w, w->level, at->side, false, table);
    put_edge(w, w->level, at->side, true, table + (size_t)QN_SHAP_STATES * points);
    set_group_edges(w, s);
    for (uint32_t k = 0; k < s->tests; k++)
        states[k] = states_of(&s->test[k], &s->test[0]);
    memset(values, 0, (size_t)(1 + s->tests) * points * entries * sizeof(*values));
    for (uint32_t q = 0; q < points; q++) {
        struct below below[QN_SHAP_NODES];

        for (uint32_t k = 1; k < s->tests; k++)
            set_below(w, s->test[k].node, edge_at(w, w->group, k, 0), q, &below[k]);
        for (uint32_t p = 0; p < states[0] * states[1] * states[2]; p++) {
            const uint32_t state[QN_SHAP_NODES] = {p % states[0], p / states[0] % states[1],
                                                   p / states[0] / states[1]};
            double value[1 + QN_SHAP_NODES];

            pattern_values(w, s, below, state, q, value);
            for (uint32_t v = 0; v <= s->tests; v++)
                values[((size_t)v * points + q) * entries + p] = value[v];
        }
    }
}

/* ---- the walk ---- */

/* Where the parts of a walk lie; bytes. */
struct walk_layout {
    size_t levels, last, edges, group, end;
};

static size_t place(struct walk_layout *l, size_t count, size_t bytes)
{
    const size_t at = l->end;

    l->end = (at + count * bytes + 63) / 64 * 64;
    return at;
}

static struct walk_layout layout_of(const struct qn_model *m)
{
    const struct qn_model_explain *e = &m->explain;
    const size_t levels = (size_t)m->forest.depth_max + 1;
    const size_t edges = 2 * (size_t)QN_SHAP_EDGE * qn_shap_padded(e->points_max);
    struct walk_layout l = {0};

    l.levels = place(&l, levels, sizeof(struct qn_shap_level));
    l.last = place(&l, (size_t)e->slots + 1, sizeof(uint32_t));
    l.edges = place(&l, levels * edges, sizeof(double));
    l.group = place(&l, QN_SHAP_NODES * edges, sizeof(double));
    return l;
}

size_t qn_shap_walk_bytes(const struct qn_model *m)
{
    return layout_of(m).end;
}

void qn_shap_walk_init(struct qn_shap_walk *w, const struct qn_model *m, void *memory)
{
    const struct walk_layout l = layout_of(m);
    char *at = memory;

    *w = (struct qn_shap_walk){.m = m,
                               .levels = (struct qn_shap_level *)(void *)(at + l.levels),
                               .last = (uint32_t *)(void *)(at + l.last),
                               .edges = (double *)(void *)(at + l.edges),
                               .group = (double *)(void *)(at + l.group)};
    memset(w->last, 0, ((size_t)m->explain.slots + 1) * sizeof(*w->last));
}

void qn_shap_begin(struct qn_shap_walk *w, size_t tree)
{
    const struct qn_model_explain *e = &w->m->explain;

    w->points = e->tree_points[tree];
    w->padded = qn_shap_padded(w->points);
    w->rule = e->rules[w->points];
    w->levels[0].node = w->m->forest.trees[tree].root;
    w->level = 0;
    w->is_started = false;
    w->is_parts = qn_shap_in_parts(w->m, tree);
    w->common = w->met_count = 0;
}

bool qn_shap_next(struct qn_shap_walk *w, struct qn_shap_step *s, double *table)
{
    struct qn_shap_level *at = &w->levels[w->level];
    uint32_t child;

    if (w->is_parts)
        return qn_shap_next_part(w, s, table);
    if (!w->is_started) {
        w->is_started = true;
        step_enter(w, 0, at->node, s, table);
        return true;
    }
    if (at->side == 2) {
        w->last[at->slot] = at->before;
        if (w->level == 0)
            return false;
        at = &w->levels[--w->level];
        *s = (struct qn_shap_step){
            .kind = QN_SHAP_UP, .side = at->side, .level = (uint16_t)w->level, .slot = at->slot};
        put_edge(w, w->level, at->side++, true, table);
        return true;
    }
    child = node_of(w, at->node)->left + at->side;
    *s = (struct qn_shap_step){.side = at->side, .level = (uint16_t)w->level, .slot = at->slot};
    if (is_leaf(w, child)) {
        step_leaf(w, node_of(w, child)->value, s, table);
    } else if (find_group(w, child, s)) {
        step_group(w, s, table);
    } else {
        step_enter(w, w->level + 1, child, s, table);
        return true;
    }
    at->side++;
    return true;
}

/* ---- kept steps ---- */

/* A tree's steps and tables while their number is not known yet. */
struct draft {
    struct qn_shap_walk walk;
    void *memory; /* of the walk */
    struct qn_shap_step *steps;
    struct qn_shap_turn *turns; /* of the steps' parts, one after the other */
    double *table, *row;
    size_t count, cap, turn_count, turn_cap, size, table_cap, row_size, row_cap;
    bool is_too_large;
};

static size_t draft_bytes(const struct draft *d)
{
    return d->count * sizeof(*d->steps) + d->turn_count * sizeof(*d->turns) +
           (d->size + d->row_size) * sizeof(*d->table);
}

/* What else a part that was just made has: turns, and its tables for a single row. */
static bool draft_part(struct draft *d, uint32_t points)
{
    struct qn_shap_step *s = &d->steps[d->count];
    const uint32_t size = s->kind == QN_SHAP_PART ? qn_shap_row_size(&s->part, points) : 0;

    if (s->kind != QN_SHAP_PART)
        return true;
    if (!qn_model_grow(&d->turns, &d->turn_cap, d->turn_count + s->part.turns, sizeof(*d->turns)) ||
        !qn_model_grow(&d->row, &d->row_cap, d->row_size + size, sizeof(*d->row)))
        return false;
    qn_shap_put_row(&s->part, points, d->table + d->size, d->row + d->row_size);
    s->row = (uint32_t)d->row_size;
    d->row_size += size;
    memcpy(d->turns + d->turn_count, s->turn, s->part.turns * sizeof(*d->turns));
    d->turn_count += s->part.turns;
    return true;
}

/* Stops where more than `limit` bytes would be needed. */
static qn_status draft_tree(struct draft *d, size_t tree, size_t limit, struct qn_err *err)
{
    const uint32_t points = d->walk.m->explain.tree_points[tree], most = qn_shap_table_max(points);

    d->count = d->size = d->turn_count = d->row_size = 0;
    qn_shap_begin(&d->walk, tree);
    while (draft_bytes(d) <= limit) {
        if (!qn_model_grow(&d->steps, &d->cap, d->count + 1, sizeof(*d->steps)) ||
            !qn_model_grow(&d->table, &d->table_cap, d->size + most, sizeof(*d->table)))
            return qn_err_set(err, QN_NOMEM, "out of memory for contributions");
        if (!qn_shap_next(&d->walk, &d->steps[d->count], d->table + d->size))
            return QN_OK;
        if (!draft_part(d, points))
            return qn_err_set(err, QN_NOMEM, "out of memory for contributions");
        d->steps[d->count].table = (uint32_t)d->size;
        d->size += table_size(&d->steps[d->count], points);
        d->count++;
    }
    d->is_too_large = true;
    return QN_OK;
}

/* Copies what was drafted into the arena. */
static qn_status keep_tree(const struct draft *d, struct qn_arena *boot, struct qn_shap_tree *t,
                           struct qn_err *err)
{
    struct qn_shap_step *steps = QN_NEW_N(boot, struct qn_shap_step, d->count);
    struct qn_shap_turn *turns = QN_NEW_N(boot, struct qn_shap_turn, d->turn_count + 1);
    double *table = qn_arena_aligned(boot, 64, d->size * sizeof(*table));
    double *row = d->row_size > 0 ? qn_arena_aligned(boot, 64, d->row_size * sizeof(*row)) : NULL;

    if (steps == NULL || turns == NULL || table == NULL || (row == NULL && d->row_size > 0))
        return qn_err_set(err, QN_NOMEM, "out of memory for contributions");
    memcpy(steps, d->steps, d->count * sizeof(*steps));
    if (d->turn_count > 0)
        memcpy(turns, d->turns, d->turn_count * sizeof(*turns));
    memcpy(table, d->table, d->size * sizeof(*table));
    if (row != NULL)
        memcpy(row, d->row, d->row_size * sizeof(*row));
    for (size_t i = 0, turn = 0; i < d->count; i++) {
        if (steps[i].kind != QN_SHAP_PART)
            continue;
        steps[i].turn = turns + turn;
        turn += steps[i].part.turns;
    }
    *t = (struct qn_shap_tree){
        .steps = steps, .table = table, .row = row, .count = (uint32_t)d->count};
    return QN_OK;
}

static qn_status keep_trees(struct draft *d, struct qn_arena *boot, struct qn_explain_tables *out,
                            struct qn_err *err)
{
    const struct qn_model *m = d->walk.m;
    bool has_rows = true;
    size_t bytes = 0;

    for (size_t t = 0; t < m->forest.tree_count; t++) {
        if (m->explain.tree_points[t] == 0)
            continue;
        QN_TRY(draft_tree(d, t, TABLES_MAX - bytes, err));
        if (d->is_too_large || draft_bytes(d) > TABLES_MAX - bytes)
            return QN_OK;
        bytes += draft_bytes(d);
        QN_TRY(keep_tree(d, boot, &out->trees[t], err));
        has_rows = has_rows && out->trees[t].row != NULL;
    }
    out->has_rows = has_rows;
    return QN_OK;
}

qn_status qn_model_explain_tables(const struct qn_model *m, struct qn_arena *boot,
                                  const struct qn_explain_tables **out, struct qn_err *err)
{
    struct qn_explain_tables *made = QN_NEW(boot, struct qn_explain_tables);
    struct draft d = {0};
    qn_status rc = QN_OK;

    QN_ASSERT(m->explain.obstacle == NULL);
    if (made != NULL)
        made->trees = QN_NEW_N(boot, struct qn_shap_tree, m->forest.tree_count + 1);
    if (made != NULL && !m->linear.is_used)
        d.memory = qn_mem_aligned(64, qn_shap_walk_bytes(m));
    if (made == NULL || made->trees == NULL || (!m->linear.is_used && d.memory == NULL))
        rc = qn_err_set(err, QN_NOMEM, "out of memory for contributions");
    if (rc == QN_OK && !m->linear.is_used) {
        qn_shap_walk_init(&d.walk, m, d.memory);
        rc = keep_trees(&d, boot, made, err);
    }
    qn_mem_free(d.memory);
    qn_mem_free(d.steps);
    qn_mem_free(d.turns);
    qn_mem_free(d.table);
    qn_mem_free(d.row);
    *out = rc == QN_OK ? made : NULL;
    return rc;
}
