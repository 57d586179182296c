/* SPDX-License-Identifier: Apache-2.0
 * group.c - bundles models that read the same columns, and scores them.
 *
 * Creation: what each member needs coded (needs_of); into which bundle it fits, the first one that
 * it does not make slower (fits); each bundle's forest, compiled like a loaded one (merge). Scoring
 * runs a bundle's kernel over all blocks before the next bundle's, so that tables are fetched once
 * a batch. Invariant: the bits of qn_model_score of each member. Thread: group.h. Memory: planning
 * lies in an arena of its own, freed at the end. */
#include "model/group.h"

#include "base/check.h"
#include "model/lanes.h"
#include "model/model_int.h"
#include "model/squares.h"

#include <math.h>
#include <stdlib.h>

enum {
    KINDS = 3,             /* of a column: numbers, numbers where zero is missing, categories */
    CUTS_MAX = 254,        /* of a column that has one byte                                */
    NODE_BYTES = 8,        /* of a kernel's tables, about                              */
    BUNDLE_BYTES = 1 << 19 /* of tables: half of a second cache and less            */
};

struct bundle {
    struct qn_model *merged;
    const uint32_t *members;
    uint32_t count;
};

struct qn_model_group {
    struct qn_model_group_info info;
    struct qn_arena arena;
    struct qn_model_group_member *members;
    struct bundle *bundles;
    uint32_t *alone; /* members that are in no bundle */
    uint32_t columns, alone_count;
};

/* ---- what a member needs ---- */

/* One of its coded columns. */
struct need {
    uint32_t at; /* column of the group * KINDS + kind */
    uint32_t set_codes;
    const double *cuts; /* ascending */
    uint32_t cut_count;
    uint8_t rules; /* bit 0: missing goes left somewhere, bit 1: right */
};

struct needs {
    struct need *columns;
    uint32_t count;
};

static int compare_double(const void *pa, const void *pb)
{
    const double a = *(const double *)pa, b = *(const double *)pb;

    return (a > b) - (a < b);
}

static bool need_of(const struct qn_plan *p, const struct qn_plan_column *pc, uint32_t column,
                    struct qn_arena *temp, struct need *out)
{
    const size_t pivots = pc->is_category ? 1 : (size_t)1 << pc->levels;
    double *cuts = qn_arena_alloc(temp, pivots * sizeof(double));

    if (cuts == NULL)
        return false;
    *out = (struct need){.at = column * KINDS + (pc->is_category ? 2 : pc->zero_missing),
                         .set_codes = pc->is_category ? pc->code_count : 0,
                         .cuts = cuts};
    for (size_t i = 1; i < pivots; i++) {
        if (!isnan(pc->pivots[i]))
            cuts[out->cut_count++] = pc->pivots[i];
    }
    if (out->cut_count > 1)
        qsort(cuts, out->cut_count, sizeof(double), compare_double);
    for (uint32_t c = pc->first_code; !pc->is_category && c < pc->first_code + pc->code_count; c++)
        out->rules |= p->codes[c].missing != 0 ? 2 : 1;
    return true;
}

static bool needs_of(const struct qn_model_group_member *b, struct qn_arena *temp,
                     struct needs *out)
{
    const struct qn_plan *p = &b->model->plan;

    out->columns = QN_NEW_N(temp, struct need, p->column_count + 1);
    out->count = p->column_count;
    for (uint32_t k = 0; k < p->column_count && out->columns != NULL; k++) {
        const uint32_t input = p->columns[k].column;

        if (!need_of(p, &p->columns[k], b->columns != NULL ? b->columns[input] : input, temp,
                     &out->columns[k]))
            return false;
    }
    return out->columns != NULL;
}

/* ---- bundles in the making ---- */

/* A coded column of a bundle. */
struct shared {
    double *cuts; /* CUTS_MAX of them; NULL = none */
    uint32_t cut_count, set_codes;
    uint8_t rules;
    bool is_used;
};

struct open_bundle {
    struct open_bundle *next;
    const struct qn_model *first;
    struct shared *columns; /* [columns of the group * KINDS] */
    uint32_t *members;      /* room for all */
    uint32_t count;
    uint32_t codes, slots, outputs;
    size_t bytes;
};

struct planning {
    struct qn_model_group *g;
    struct qn_arena temp;
    struct open_bundle *bundles, **end;
    uint32_t *alone;
    uint32_t alone_count;
};

/* The kernel's look-ups take one register for 64 bytes, two for 128, four for 256. */
static uint32_t codes_limit(uint32_t codes)
{
    return codes <= 64 ? 64 : codes <= 128 ? 128 : codes <= 256 ? 256 : UINT32_MAX;
}

/* What `avx512x8` and the one-row search of `avx2` hold: a byte per number, a code per set. */
static uint32_t slots_of(const struct qn_plan *p)
{
    uint32_t slots = 0;

    for (uint32_t k = 0; k < p->column_count; k++)
        slots += p->columns[k].is_category ? p->columns[k].code_count : 1;
    return slots;
}

/* It would run on the forest for want of trees, which others bring. */
static bool lacks_trees(const struct qn_model *m)
{
    const uint32_t steps = m->plan.lanes != NULL ? QN_CODING_VECTOR : QN_CODING_PLAIN;
    const char *reason;

    return m->kernel == &qn_model_kernel_walk && m->plan.is_used &&
           !qn_model_codes_pay(m, steps, &reason);
}

/* Whether its inputs can be coded for others too: a byte per column. */
static bool can_share(const struct qn_model_group_member *b, const struct needs *needs)
{
    const struct qn_model *m = b->model;

    if (!m->plan.is_used || (m->kernel == &qn_model_kernel_walk && !lacks_trees(m)))
        return false;
    for (uint32_t k = 0; k < needs->count; k++) {
        if (needs->columns[k].cut_count > CUTS_MAX)
            return false;
        for (uint32_t j = 0; j < k; j++) { /* two inputs from one column: who would do that */
            if (needs->columns[j].at == needs->columns[k].at)
                return false;
        }
    }
    return true;
}

static bool is_like_by_row(const struct qn_lanes *a, const struct qn_lanes *b)
{
    return a->is_float == b->is_float && a->is_plain == b->is_plain &&
           (a->row.blocks != NULL) == (b->row.blocks != NULL) &&
           a->row.has_tests == b->row.has_tests && a->row.is_quick == b->row.is_quick &&
           (a->symmetric.tests != NULL) == (b->symmetric.tests != NULL) &&
           a->symmetric.is_deep == b->symmetric.is_deep;
}

/* Whether inputs mean the same to both, and the same code would run for both. Where two kernels
 * suit, a measurement chose, and not for each the same: then the first one's will do. */
static bool is_like(const struct qn_model *a, const struct qn_model *b)
{
    const struct qn_plan *p = &a->plan, *q = &b->plan;
    const bool is_same_kernel = a->kernel == b->kernel;
    const bool is_either =
        (a->kernel == &qn_model_kernel_avx512x8 || a->kernel == &qn_model_kernel_avx512) &&
        (b->kernel == &qn_model_kernel_avx512x8 || b->kernel == &qn_model_kernel_avx512) &&
        p->squares != NULL && q->squares != NULL;

    return (is_same_kernel || is_either) && a->info.is_float == b->info.is_float &&
           a->has_missing == b->has_missing && (!a->has_missing || a->missing == b->missing) &&
           a->forest.snaps_zero == b->forest.snaps_zero &&
           a->forest.truncates_negative == b->forest.truncates_negative &&
           (a->walk_rows > 0) == (b->walk_rows > 0) &&
           codes_limit(p->code_count) == codes_limit(q->code_count) &&
           (slots_of(p) <= QN_SQUARES_SLOTS) == (slots_of(q) <= QN_SQUARES_SLOTS) &&
           (p->perfect_count == a->forest.tree_count) ==
               (q->perfect_count == b->forest.tree_count) &&
           (p->lanes != NULL) == (q->lanes != NULL) &&
           (p->lanes == NULL || is_like_by_row(p->lanes, q->lanes)) &&
           (p->squares != NULL) == (q->squares != NULL);
}

/* How many different numbers are in two ascending lists; they go to `out` where it is given. */
static uint32_t unite(const double *a, uint32_t a_count, const double *b, uint32_t b_count,
                      double *out)
{
    uint32_t i = 0, j = 0, count = 0;

    while (i < a_count || j < b_count) {
        const bool from_a = j == b_count || (i < a_count && a[i] <= b[j]);
        const double v = from_a ? a[i] : b[j];

        while (i < a_count && a[i] == v)
            i++;
        while (j < b_count && b[j] == v)
            j++;
        if (out != NULL)
            out[count] = v;
        count++;
    }
    return count;
}

static uint32_t codes_by(uint8_t rules)
{
    return (rules & 1u) + (rules >> 1);
}

static size_t table_bytes(const struct qn_model *m)
{
    return m->forest.node_count * NODE_BYTES;
}

/* Whether the model can join without a byte too many in any place. */
static bool fits(const struct open_bundle *o, const struct qn_model *m, const struct needs *needs)
{
    const uint32_t slots_most =
        slots_of(&o->first->plan) <= QN_SQUARES_SLOTS ? QN_SQUARES_SLOTS : UINT32_MAX;
    uint32_t codes = o->codes, slots = o->slots;

    if (!is_like(o->first, m) || o->bytes + table_bytes(m) > BUNDLE_BYTES ||
        o->outputs + m->info.outputs > QN_MODEL_OUTPUTS_MAX)
        return false;
    for (uint32_t k = 0; k < needs->count; k++) {
        const struct need *n = &needs->columns[k];
        const struct shared *s = &o->columns[n->at];

        codes += n->set_codes + codes_by(n->rules & ~s->rules);
        slots += n->set_codes + (!s->is_used && n->rules != 0);
    }
    if (codes > codes_limit(o->first->plan.code_count) || slots > slots_most)
        return false;
    for (uint32_t k = 0; k < needs->count; k++) {
        const struct need *n = &needs->columns[k];
        const struct shared *s = &o->columns[n->at];

        if (unite(s->cuts, s->cut_count, n->cuts, n->cut_count, NULL) > CUTS_MAX)
            return false;
    }
    return true;
}

static bool join(struct open_bundle *o, uint32_t member, const struct qn_model *m,
                 const struct needs *needs, struct qn_arena *temp)
{
    for (uint32_t k = 0; k < needs->count; k++) {
        const struct need *n = &needs->columns[k];
        struct shared *s = &o->columns[n->at];
        double all[CUTS_MAX];
        const uint32_t count = unite(s->cuts, s->cut_count, n->cuts, n->cut_count, all);

        o->codes += n->set_codes + codes_by(n->rules & ~s->rules);
        o->slots += n->set_codes + (!s->is_used && n->rules != 0);
        if (s->cuts == NULL)
            s->cuts = qn_arena_alloc(temp, sizeof(all));
        if (s->cuts == NULL)
            return false;
        memcpy(s->cuts, all, count * sizeof(double));
        s->cut_count = count;
        s->rules |= n->rules;
        s->is_used = true;
    }
    o->members[o->count++] = member;
    o->bytes += table_bytes(m);
    o->outputs += m->info.outputs;
    return true;
}

static struct open_bundle *open_one(struct planning *p, const struct qn_model *first)
{
    struct open_bundle *o = QN_NEW(&p->temp, struct open_bundle);

    if (o == NULL)
        return NULL;
    o->first = first;
    o->columns = QN_NEW_N(&p->temp, struct shared, (size_t)p->g->columns * KINDS + 1);
    o->members = QN_NEW_N(&p->temp, uint32_t, p->g->info.members);
    if (o->columns == NULL || o->members == NULL)
        return NULL;
    *p->end = o;
    p->end = &o->next;
    return o;
}

/* Finds the bundle of each member, in order. False when out of memory. */
static bool place(struct planning *p)
{
    for (uint32_t i = 0; i < p->g->info.members; i++) {
        const struct qn_model_group_member *b = &p->g->members[i];
        struct open_bundle *o = p->bundles;
        struct needs needs;

        if (!needs_of(b, &p->temp, &needs))
            return false;
        if (!can_share(b, &needs)) {
            p->alone[p->alone_count++] = i;
            continue;
        }
        while (o != NULL && !fits(o, b->model, &needs))
            o = o->next;
        if (o == NULL)
            o = open_one(p, b->model);
        if (o == NULL || !join(o, i, b->model, &needs, &p->temp))
            return false;
    }
    return true;
}

/* ---- a bundle's forest ---- */

/* Makes room for the trees of all members. */
static bool forest_init(struct qn_forest *f, const struct qn_model_group_member *members,
                        const struct open_bundle *o)
{
    size_t nodes = 0, trees = 0, sets = 0, categories = 0;

    for (uint32_t i = 0; i < o->count; i++) {
        const struct qn_forest *from = &members[o->members[i]].model->forest;

        nodes += from->node_count;
        trees += from->tree_count;
        sets += from->set_count;
        categories += from->member_count;
    }
    return nodes <= QN_MODEL_NODES_MAX &&
           qn_model_grow(&f->nodes, &f->node_cap, nodes + 1, sizeof(*f->nodes)) &&
           qn_model_grow(&f->trees, &f->tree_cap, trees + 1, sizeof(*f->trees)) &&
           qn_model_grow(&f->sets, &f->set_cap, sets + 1, sizeof(*f->sets)) &&
           qn_model_grow(&f->members, &f->member_cap, categories + 1, sizeof(*f->members));
}

/* The trees of one member behind those that are there; its first output is `output` now. */
static void forest_add(struct qn_forest *f, const struct qn_model_group_member *b, uint32_t output)
{
    const struct qn_forest *from = &b->model->forest;

    for (size_t i = 0; i < from->node_count; i++) {
        struct qn_node n = from->nodes[i];

        n.left += (uint32_t)f->node_count;
        if (b->columns != NULL && !(n.flags & QN_NODE_LEAF))
            n.column = b->columns[n.column];
        if (n.flags & QN_NODE_CATEGORY)
            n.set += (uint32_t)f->set_count;
        f->nodes[f->node_count + i] = n;
    }
    for (size_t t = 0; t < from->tree_count; t++) {
        struct qn_tree tree = from->trees[t];

        tree.root += (uint32_t)f->node_count;
        tree.output += output;
        f->trees[f->tree_count + t] = tree;
    }
    for (size_t i = 0; i < from->set_count; i++) {
        f->sets[f->set_count + i] = from->sets[i];
        f->sets[f->set_count + i].first += (uint32_t)f->member_count;
    }
    if (from->member_count > 0)
        memcpy(f->members + f->member_count, from->members,
               from->member_count * sizeof(*f->members));
    f->node_count += from->node_count;
    f->tree_count += from->tree_count;
    f->set_count += from->set_count;
    f->member_count += from->member_count;
    f->leaf_count += from->leaf_count;
    if (from->depth_max > f->depth_max)
        f->depth_max = from->depth_max;
}

/* What is scored through codes alone needs no nodes with cuts any more. */
static void forget_nodes(struct qn_model *m)
{
    struct qn_forest *f = &m->forest;

    qn_mem_free(f->nodes);
    qn_mem_free(f->sets);
    qn_mem_free(f->members);
    f->nodes = NULL;
    f->sets = NULL;
    f->members = NULL;
    f->node_cap = f->set_cap = f->member_cap = 0;
}

/* *out stays NULL where the members are no bundle after all. */
static qn_status merge(const struct qn_model_group *g, const struct open_bundle *o,
                       struct qn_model **out, struct qn_err *err)
{
    const struct qn_model *first = o->first;
    struct qn_model *m = qn_mem_zalloc(1, sizeof(*m));
    uint32_t outputs = 0;
    bool is_bundle;
    qn_status rc;

    *out = NULL;
    if (m == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    qn_arena_init(&m->arena, 0);
    m->info.format = m->info.objective = m->info.version = "";
    m->info.inputs = g->columns;
    m->info.is_float = first->info.is_float;
    m->has_missing = first->has_missing;
    m->missing = first->missing;
    m->forest.snaps_zero = first->forest.snaps_zero;
    m->forest.truncates_negative = first->forest.truncates_negative;
    if (!forest_init(&m->forest, g->members, o)) {
        qn_model_free(m);
        return qn_err_set(err, QN_NOMEM, "out of memory");
    }
    for (uint32_t i = 0; i < o->count; i++) {
        const struct qn_model_group_member *b = &g->members[o->members[i]];

        forest_add(&m->forest, b, outputs);
        outputs += b->model->info.outputs;
    }
    m->info.outputs = m->info.predictions = outputs;
    rc = qn_model_compile(m, err);
    is_bundle = rc == QN_OK && m->kernel != &qn_model_kernel_walk &&
                (lacks_trees(first) || qn_model_force_kernel(m, first->info.kernel));
    if (is_bundle)
        rc = qn_model_probe(m, err);
    if (rc != QN_OK || !is_bundle) {
        qn_model_free(m);
        return rc;
    }
    if (first->walk_rows > 0 || lacks_trees(first))
        qn_model_walk_few(m);
    if (m->walk_rows == 0)
        forget_nodes(m);
    *out = m;
    return QN_OK;
}

/* ---- the group ---- */

/* Makes the bundles; members of those that are none are alone. */
static qn_status close_bundles(struct planning *p, struct qn_err *err)
{
    struct qn_model_group *g = p->g;
    uint32_t most = 0;

    for (const struct open_bundle *o = p->bundles; o != NULL; o = o->next)
        most++;
    g->bundles = QN_NEW_N(&g->arena, struct bundle, most + 1);
    if (g->bundles == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    for (const struct open_bundle *o = p->bundles; o != NULL; o = o->next) {
        struct bundle *b = &g->bundles[g->info.bundles];
        uint32_t *members;

        if (o->count > 1)
            QN_TRY(merge(g, o, &b->merged, err));
        if (b->merged == NULL) {
            memcpy(p->alone + p->alone_count, o->members, o->count * sizeof(uint32_t));
            p->alone_count += o->count;
            continue;
        }
        g->info.bundles++;
        members = QN_NEW_N(&g->arena, uint32_t, o->count);
        if (members == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory");
        memcpy(members, o->members, o->count * sizeof(uint32_t));
        b->members = members;
        b->count = o->count;
        g->info.shared += o->count;
    }
    g->alone = QN_NEW_N(&g->arena, uint32_t, p->alone_count + 1);
    if (g->alone == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    memcpy(g->alone, p->alone, p->alone_count * sizeof(uint32_t));
    g->alone_count = p->alone_count;
    return QN_OK;
}

static uint32_t coded_columns(const struct qn_model *m)
{
    return m->kernel == &qn_model_kernel_walk ? 0 : m->plan.column_count;
}

static void count(struct qn_model_group *g)
{
    struct qn_model_group_info *info = &g->info;

    info->bytes = sizeof(*g) + g->arena.total_bytes;
    for (uint32_t i = 0; i < info->members; i++)
        info->coded_if_alone += coded_columns(g->members[i].model);
    for (uint32_t i = 0; i < g->alone_count; i++)
        info->coded_columns += coded_columns(g->members[g->alone[i]].model);
    for (uint32_t i = 0; i < info->bundles; i++) {
        const struct qn_model *m = g->bundles[i].merged;

        info->coded_columns += coded_columns(m);
        info->bytes +=
            sizeof(*m) + m->arena.total_bytes + m->forest.tree_cap * sizeof(*m->forest.trees);
    }
}

static qn_status copy_members(struct qn_model_group *g, const struct qn_model_group_member *members,
                              struct qn_err *err)
{
    g->members = QN_NEW_N(&g->arena, struct qn_model_group_member, g->info.members + 1);
    if (g->members == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    for (uint32_t i = 0; i < g->info.members; i++) {
        const uint32_t inputs = members[i].model->info.inputs;
        uint32_t *columns = NULL;

        if (members[i].columns == NULL && inputs > g->columns)
            return qn_err_set(err, QN_INVALID,
                              "member %u of the group has %u inputs, the group has %u columns", i,
                              inputs, g->columns);
        if (members[i].columns != NULL) {
            columns = QN_NEW_N(&g->arena, uint32_t, inputs + 1);
            if (columns == NULL)
                return qn_err_set(err, QN_NOMEM, "out of memory");
        }
        for (uint32_t k = 0; k < inputs && columns != NULL; k++) {
            columns[k] = members[i].columns[k];
            if (columns[k] >= g->columns)
                return qn_err_set(err, QN_INVALID,
                                  "input %u of member %u is column %u, the group has %u", k, i,
                                  columns[k], g->columns);
        }
        g->members[i] = (struct qn_model_group_member){members[i].model, columns};
    }
    return QN_OK;
}

qn_status qn_model_group_new(const struct qn_model_group_member *members, uint32_t count_of,
                             uint32_t columns, struct qn_model_group **out, struct qn_err *err)
{
    struct qn_model_group *g = qn_mem_zalloc(1, sizeof(*g));
    struct planning p = {.g = g};
    qn_status rc;

    *out = NULL;
    if (g == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    qn_arena_init(&g->arena, 0);
    qn_arena_init(&p.temp, 0);
    g->info.members = count_of;
    g->columns = columns;
    p.end = &p.bundles;
    rc = copy_members(g, members, err);
    if (rc == QN_OK) {
        p.alone = QN_NEW_N(&p.temp, uint32_t, count_of + 1);
        if (p.alone == NULL || !place(&p))
            rc = qn_err_set(err, QN_NOMEM, "out of memory");
    }
    if (rc == QN_OK)
        rc = close_bundles(&p, err);
    qn_arena_fini(&p.temp);
    if (rc != QN_OK) {
        qn_model_group_free(g);
        return rc;
    }
    count(g);
    *out = g;
    return QN_OK;
}

void qn_model_group_free(struct qn_model_group *g)
{
    if (g == NULL)
        return;
    for (uint32_t i = 0; i < g->info.bundles; i++)
        qn_model_free(g->bundles[i].merged);
    qn_arena_fini(&g->arena);
    qn_mem_free(g);
}

const struct qn_model_group_info *qn_model_group_info(const struct qn_model_group *g)
{
    return &g->info;
}

/* ---- score ---- */

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t pointers_bytes(const struct qn_model_group *g)
{
    uint32_t most = 0;

    for (uint32_t i = 0; i < g->alone_count; i++) {
        const struct qn_model *m = g->members[g->alone[i]].model;

        most = m->info.inputs > most ? m->info.inputs : most;
    }
    return round_up(most * sizeof(const double *));
}

size_t qn_model_group_scratch_bytes(const struct qn_model_group *g)
{
    const size_t pointers = pointers_bytes(g);
    size_t most = 0;

    for (uint32_t i = 0; i < g->info.bundles; i++) {
        const size_t bytes = qn_model_scratch_bytes(g->bundles[i].merged, QN_MODEL_BLOCK);

        most = bytes > most ? bytes : most;
    }
    for (uint32_t i = 0; i < g->alone_count; i++) {
        const struct qn_model *m = g->members[g->alone[i]].model;
        const size_t bytes = pointers + qn_model_scratch_bytes(m, QN_MODEL_BLOCK);

        most = bytes > most ? bytes : most;
    }
    return round_up(most);
}

static void score_alone(const struct qn_model_group *g, uint32_t member,
                        const double *const *columns, uint32_t rows, char *scratch, double *margin,
                        double *prediction, uint32_t stride)
{
    const struct qn_model_group_member *b = &g->members[member];
    const double **own = (const double **)(void *)scratch;

    if (b->columns == NULL) {
        qn_model_score(b->model, columns, rows, scratch, margin, prediction, stride);
        return;
    }
    for (uint32_t i = 0; i < b->model->info.inputs; i++)
        own[i] = columns[b->columns[i]];
    qn_model_score(b->model, own, rows, scratch + round_up(b->model->info.inputs * sizeof(*own)),
                   margin, prediction, stride);
}

/* Inputs of the block after this one, as qn_model_score does. */
static void fetch_next(const struct qn_plan *p, const double *const *columns, uint32_t first,
                       uint32_t rows)
{
    const size_t end = rows - first < QN_MODEL_BLOCK ? rows : first + QN_MODEL_BLOCK;

    for (uint32_t k = 0; k < p->column_count; k++) {
        for (size_t r = first; r < end; r += 8)
            __builtin_prefetch(columns[p->columns[k].column] + r);
    }
}

static void score_block(const struct qn_model_group *g, const struct bundle *b,
                        const double *const *columns, uint32_t first, uint32_t rows, char *scratch,
                        double *const *margins, double *const *predictions, uint32_t stride)
{
    const size_t width = b->merged->info.is_float ? sizeof(float) : sizeof(double);
    char *sums = scratch;

    for (uint32_t i = 0; i < b->count; i++) {
        const struct qn_model *m = g->members[b->members[i]].model;

        qn_model_start_sums(m, rows, sums);
        sums += m->info.outputs * QN_MODEL_BLOCK * width;
    }
    qn_model_kernel_for(b->merged, rows)
        ->score(b->merged, columns, first, rows, scratch + qn_model_sums_bytes(b->merged), scratch);
    sums = scratch;
    for (uint32_t i = 0; i < b->count; i++) {
        const uint32_t member = b->members[i];
        const struct qn_model *m = g->members[member].model;

        if (margins != NULL && margins[member] != NULL)
            qn_model_put_margins(m, rows, sums, margins[member] + first, stride);
        if (predictions != NULL && predictions[member] != NULL)
            qn_model_transform(m, sums, rows, predictions[member] + first, stride);
        sums += m->info.outputs * QN_MODEL_BLOCK * width;
    }
}

void qn_model_group_score(const struct qn_model_group *g, const double *const *columns,
                          uint32_t rows, void *scratch, double *const *margins,
                          double *const *predictions, uint32_t stride)
{
    QN_ASSERT((uintptr_t)scratch % 64 == 0);
    QN_ASSERT(stride >= rows);
    for (uint32_t i = 0; i < g->info.bundles; i++) {
        const struct bundle *b = &g->bundles[i];

        for (uint32_t first = 0; first < rows; first += QN_MODEL_BLOCK) {
            const uint32_t n = rows - first < QN_MODEL_BLOCK ? rows - first : QN_MODEL_BLOCK;

            if (rows - first > QN_MODEL_BLOCK)
                fetch_next(&b->merged->plan, columns, first + QN_MODEL_BLOCK, rows);
            score_block(g, b, columns, first, n, scratch, margins, predictions, stride);
        }
    }
    for (uint32_t i = 0; i < g->alone_count; i++) {
        const uint32_t member = g->alone[i];

        score_alone(g, member, columns, rows, scratch, margins != NULL ? margins[member] : NULL,
                    predictions != NULL ? predictions[member] : NULL, stride);
    }
}
