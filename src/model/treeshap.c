/* SPDX-License-Identifier: Apache-2.0
 * treeshap.c - Shapley values of a forest, by quadrature over each tree, a block of rows at a time.
 *
 * For one row and one leaf of value v let each input j on the leaf's path have z_j, the product of
 * its nodes' shares of the cover, and o_j, 1 if the row goes the path's way at all of them, else 0.
 * The leaf's part of input i's Shapley value (Lundberg, Erion, Lee 2018, "Consistent Individualized
 * Feature Attribution for Tree Ensembles") is
 *
 *   v (o_i - z_i) INTEGRAL over t in [0, 1] of PRODUCT over j != i of (o_j t + z_j (1 - t))
 *
 * because the Shapley weight of a coalition is a beta integral. The integrand is a polynomial of a
 * degree below the number of inputs on the path, so Gauss-Legendre with half as many points is
 * exact. All terms are positive: nothing cancels, unlike in the extend and unwind of the paper. Of
 * this only the o's depend on the row, and they are bits; so everything is looked up by bits that
 * say how a row goes, in tables that are made once per tree (treeshap_int.h). Two forms, by the
 * tree alone:
 *
 * In parts, with at most eight different inputs on a path: four leaves at a time, with the whole
 * path above them (treeshap_parts.c). Level by level, all others: at each point the product goes
 * down the tree (a factor per edge, the old one divided out where the input was met before) and the
 * leaves' sums come up; an edge then gives its input (o - z) / (o t + z (1 - t)) times the sum
 * below it (treeshap_steps.c). The second does less where paths are long.
 *
 * Rows are the inner loop (treeshap_tree.inc, once per vector width). Every row is computed by
 * itself in a fixed order, so batch, block, width and where the tables come from never show.
 * Thread: any. Memory: scratch only; points, order of trees and biases in the model's arena. */
#include "model/treeshap.h"

#include "base/check.h"
#include "model/row_avx512.h"
#include "model/treeshap_int.h"

#include <math.h>
#include <stdio.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum {
    LEVELS_MAX = 4096,      /* deeper trees are not explained                                   */
    POINTS_MAX = 256,       /* of a rule: 512 different inputs on a path                        */
    LANES_MAX = 8,          /* rows of a block are a multiple of the widest vector's            */
    LEVELS_AIM = 1 << 17,   /* bytes of all levels; blocks get fewer rows where they need more  */
    COLUMNS_AIM = 1 << 19,  /* bytes of inputs and contributions, the same                      */
    BLOCKS_MAX = 16,        /* that share what they read of a tree                              */
    ALONE_MAX = 2,          /* up to so many rows of a block each goes alone, where it can      */
    BLOCK_TREES = 8,        /* trees for a block before the next block's turn: their tables and
                               the blocks' contributions fit the second cache                 */
    SCRATCH_MAX = 256 << 20 /* bytes                                                            */
};

/* ---- what a block of rows works on ---- */

/* Rows are padded to whole vectors: `wide` of them. A byte per row: QN_MODEL_BLOCK apart. */
struct block {
    const struct qn_model *m;
    const struct qn_explain_tables *tables; /* NULL = all steps are made here */
    uint32_t first, rows, wide;
    uint32_t points; /* of the tree */
    struct qn_shap_walk *walk;
    double *made;      /* tables of a step that is made here                         */
    int8_t *codes;     /* [code], of a model with a plan; [code * BLOCK] but for one row */
    double *inputs;    /* [slot][wide] as the library sees them, of one without      */
    int8_t *turns;     /* -1: the row goes right at the node that is looked at      */
    uint8_t *states;   /* [level] of the level's node: qn_shap_states               */
    uint8_t *patterns; /* of the group or part under way                            */
    uint8_t *masks;    /* of the part under way, before it of the last one          */
    double *products;  /* [level][points][wide]                                     */
    double *sums;      /* [level][points][wide]                                     */
    double *left;      /* [level][wide / lanes][points][lanes] sums that parts leave */
    double *parts;     /* [slot][wide] contributions to the output under way        */
};

/* Where they lie in the scratch; bytes. */
struct layout {
    size_t walk, made, codes, inputs, turns, states, patterns, masks, products, sums, left, parts,
        end;
};

static size_t place(struct layout *l, size_t count, size_t bytes)
{
    const size_t at = l->end;

    l->end = (at + count * bytes + 63) / 64 * 64;
    return at;
}

/* Of one block. */
static size_t codes_bytes(const struct qn_model *m)
{
    return m->plan.is_used ? ((size_t)m->plan.code_count + 1) * QN_MODEL_BLOCK : 0;
}

static size_t inputs_count(const struct qn_model *m)
{
    return m->plan.is_used ? 0 : (size_t)m->explain.slots * m->explain.rows;
}

static size_t parts_count(const struct qn_model *m)
{
    return (size_t)m->explain.slots * m->explain.rows;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static size_t left_count(const struct qn_model *m)
{
    const struct qn_model_explain *e = &m->explain;

    if (!m->plan.is_used)
        return 0;
    return (size_t)least(m->forest.depth_max, QN_SHAP_PATH) *
           least(e->points_max, QN_SHAP_PART_POINTS) * e->rows;
}

static struct layout layout_of(const struct qn_model *m)
{
    const struct qn_model_explain *e = &m->explain;
    const size_t blocks = e->blocks;
    const size_t levels = (size_t)m->forest.depth_max + 1;
    struct layout l = {0};

    l.walk = place(&l, 1, qn_shap_walk_bytes(m));
    l.made = place(&l, qn_shap_table_max(e->points_max), sizeof(double));
    l.turns = place(&l, 1, QN_MODEL_BLOCK);
    l.patterns = place(&l, 1, QN_MODEL_BLOCK);
    l.masks = place(&l, blocks, QN_MODEL_BLOCK);
    l.states = place(&l, levels, QN_MODEL_BLOCK);
    l.products = place(&l, levels * e->points_max * e->rows, sizeof(double));
    l.sums = place(&l, levels * e->points_max * e->rows, sizeof(double));
    l.left = place(&l, blocks * left_count(m), sizeof(double));
    l.codes = place(&l, blocks * codes_bytes(m), 1);
    l.inputs = place(&l, blocks * inputs_count(m), sizeof(double));
    l.parts = place(&l, blocks * parts_count(m), sizeof(double));
    return l;
}

/* ---- made at load ---- */

/* cos for a first guess; the same bits everywhere, which libm does not promise. */
static double cosine(double x)
{
    const double s = x * x;

    return 1 - s / 2 * (1 - s / 12 * (1 - s / 30 * (1 - s / 56 * (1 - s / 90 * (1 - s / 132)))));
}

/* The Gauss-Legendre rule with n points on [0, 1], laid out as qn_shap_rule. Newton on the Legendre
 * polynomial from the usual guess (Press and others, Numerical Recipes, 4.6). */
static void gauss_legendre(unsigned n, double *rule)
{
    const uint32_t wide = qn_shap_padded(n);

    for (uint32_t i = 0; i < wide; i++) {
        rule[QN_SHAP_POINT * wide + i] = 0.5;
        rule[QN_SHAP_WEIGHT * wide + i] = 0;
    }
    for (unsigned i = 0; i < (n + 1) / 2; i++) {
        double x = n % 2 == 1 && i == n / 2 ? 0 : cosine(M_PI * (i + 0.75) / (n + 0.5));
        double slope = 1;

        for (unsigned step = 0; step < 8; step++) {
            double p = 1, before = 0;

            for (unsigned k = 0; k < n; k++) {
                const double next = ((2.0 * k + 1) * x * p - k * before) / (k + 1);

                before = p;
                p = next;
            }
            slope = n * (x * p - before) / (x * x - 1);
            x -= p / slope;
        }
        rule[QN_SHAP_POINT * wide + i] = (1 - x) / 2;
        rule[QN_SHAP_POINT * wide + n - 1 - i] = (1 + x) / 2;
        rule[QN_SHAP_WEIGHT * wide + i] = 1 / ((1 - x * x) * slope * slope);
        rule[QN_SHAP_WEIGHT * wide + n - 1 - i] = rule[QN_SHAP_WEIGHT * wide + i];
    }
    for (uint32_t i = 0; i < wide; i++) {
        rule[QN_SHAP_REST * wide + i] = 1 - rule[QN_SHAP_POINT * wide + i];
        rule[QN_SHAP_GAIN_LEFT * wide + i] = -1 / rule[QN_SHAP_REST * wide + i];
    }
}

/* How many different inputs the tree's longest such path tests. `met`: a zero per input, and zero
 * again afterwards; `path`: room for the tree's depth. */
static uint32_t distinct_inputs(const struct qn_forest *f, const struct qn_tree *t, uint32_t *met,
                                uint64_t *path)
{
    uint32_t level = 0, distinct = 0, most = 0;
    uint64_t at = t->root; /* node * 2 + children that are done, on the stack */

    for (;;) {
        const struct qn_node *n = &f->nodes[at];

        if (!(n->flags & QN_NODE_LEAF)) {
            distinct += met[n->column]++ == 0;
            most = distinct > most ? distinct : most;
            path[level++] = at * 2;
            at = n->left;
            continue;
        }
        while (level > 0 && path[level - 1] % 2 == 1) {
            n = &f->nodes[path[--level] / 2];
            distinct -= --met[n->column] == 0;
        }
        if (level == 0)
            return most;
        at = f->nodes[path[level - 1]++ / 2].left + 1;
    }
}

/* The points that are exact for each tree, and which inputs the forest tests. */
static qn_status measure_trees(struct qn_model *m, struct qn_err *err)
{
    struct qn_model_explain *e = &m->explain;
    const struct qn_forest *f = &m->forest;
    uint32_t *met = qn_mem_zalloc((size_t)m->info.inputs + 1, sizeof(*met));
    uint64_t *path = qn_mem_zalloc((size_t)f->depth_max + 1, sizeof(*path));

    e->tree_points = QN_NEW_N(&m->arena, uint16_t, f->tree_count + 1);
    e->slot_of = QN_NEW_N(&m->arena, uint32_t, (size_t)m->info.inputs + 1);
    if (met != NULL && path != NULL && e->tree_points != NULL && e->slot_of != NULL) {
        for (size_t t = 0; t < f->tree_count; t++) {
            const uint32_t inputs = distinct_inputs(f, &f->trees[t], met, path);

            e->tree_points[t] = (uint16_t)((inputs + 1) / 2);
            if (e->tree_points[t] > e->points_max)
                e->points_max = e->tree_points[t];
        }
        for (size_t i = 0; i < f->node_count; i++) {
            if (!(f->nodes[i].flags & QN_NODE_LEAF))
                met[f->nodes[i].column] = 1;
        }
        for (uint32_t i = 0; i < m->info.inputs; i++) {
            e->slot_of[i] = e->slots;
            e->slots += met[i];
        }
        e->slot_of[m->info.inputs] = e->slots;
    } else {
        qn_err_set(err, QN_NOMEM, "out of memory");
    }
    qn_mem_free(path);
    qn_mem_free(met);
    return path != NULL && met != NULL && e->tree_points != NULL && e->slot_of != NULL ? QN_OK
                                                                                       : QN_NOMEM;
}

/* start and, for each tree, the mean of its leaves by cover. */
static void add_means(struct qn_model *m, double *weights)
{
    const struct qn_forest *f = &m->forest;

    for (uint32_t k = 0; k < m->info.outputs; k++)
        m->explain.bias[k] = m->start[k];
    for (size_t t = 0; t < f->tree_count; t++) {
        const struct qn_tree *tree = &f->trees[t];
        double mean = 0;

        weights[0] = 1;
        for (uint32_t i = 0; i < tree->nodes; i++) { /* parents stand before their children */
            const struct qn_node *n = &f->nodes[tree->root + i];

            if (n->flags & QN_NODE_LEAF) {
                mean += weights[i] * n->value;
            } else {
                weights[n->left - tree->root] = weights[i] * f->shares[n->left];
                weights[n->left - tree->root + 1] = weights[i] * f->shares[n->left + 1];
            }
        }
        m->explain.bias[tree->output] += mean;
    }
}

/* The rules that the trees use. */
static qn_status add_rules(struct qn_model *m, struct qn_err *err)
{
    struct qn_model_explain *e = &m->explain;

    e->rules = QN_NEW_N(&m->arena, const double *, (size_t)e->points_max + 1);
    if (e->rules == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    for (size_t t = 0; t < m->forest.tree_count; t++) {
        const uint32_t n = e->tree_points[t];
        double *rule;

        if (n == 0 || e->rules[n] != NULL)
            continue;
        rule = qn_arena_aligned(&m->arena, 64, QN_SHAP_RULE * qn_shap_padded(n) * sizeof(*rule));
        if (rule == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory");
        gauss_legendre(n, rule);
        e->rules[n] = rule;
    }
    return QN_OK;
}

/* Trees by output, those of one output in the order of the file. */
static qn_status order_trees(struct qn_model *m, struct qn_err *err)
{
    const struct qn_forest *f = &m->forest;
    const uint32_t outputs = m->info.outputs;
    uint32_t *first = QN_NEW_N(&m->arena, uint32_t, (size_t)outputs + 1);
    uint32_t *order = QN_NEW_N(&m->arena, uint32_t, f->tree_count + 1);

    if (first == NULL || order == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    for (size_t t = 0; t < f->tree_count; t++)
        first[f->trees[t].output]++;
    for (uint32_t k = 0, sum = 0; k <= outputs; k++) {
        const uint32_t count = first[k];

        first[k] = sum; /* for the loop below, which moves it to the end of the output's trees */
        sum += count;
    }
    for (size_t t = 0; t < f->tree_count; t++)
        order[first[f->trees[t].output]++] = (uint32_t)t;
    m->explain.order = order;
    m->explain.order_end = first;
    return QN_OK;
}

static qn_status add_biases(struct qn_model *m, struct qn_err *err)
{
    uint32_t nodes_max = 0;
    double *weights;

    for (size_t t = 0; t < m->forest.tree_count; t++) {
        if (m->forest.trees[t].nodes > nodes_max)
            nodes_max = m->forest.trees[t].nodes;
    }
    m->explain.bias = QN_NEW_N(&m->arena, double, m->info.outputs);
    weights = qn_mem_alloc(((size_t)nodes_max + 1) * sizeof(*weights));
    if (m->explain.bias != NULL && weights != NULL)
        add_means(m, weights);
    qn_mem_free(weights);
    return m->explain.bias != NULL && weights != NULL ? QN_OK
                                                      : qn_err_set(err, QN_NOMEM, "out of memory");
}

static const char TOO_DEEP[] = "its trees are too deep to be explained";

static const char *find_obstacle(const struct qn_model *m)
{
    const struct qn_forest *f = &m->forest;

    if (m->ort != NULL)
        return "it runs in ONNX Runtime, which does not show how an answer comes about";
    if (f->linear_count > 0)
        return "its leaves are linear functions, for which no contributions are defined";
    if (f->lacks_covers)
        return "the file holds no covers (XGBoost: sum_hessian, LightGBM: internal_count and "
               "leaf_count); save the model again with the library that trained it";
    return f->depth_max > LEVELS_MAX ? TOO_DEEP : NULL;
}

qn_status qn_model_explain_init(struct qn_model *m, struct qn_err *err)
{
    struct qn_model_explain *e = &m->explain;
    struct layout l;

    e->rows = QN_MODEL_BLOCK;
    e->blocks = BLOCKS_MAX;
    if (m->linear.is_used)
        return QN_OK;
    e->obstacle = find_obstacle(m);
    if (e->obstacle != NULL)
        return QN_OK;
    QN_TRY(measure_trees(m, err));
    l = layout_of(m);
    while (e->blocks > 1 && l.end - l.codes > COLUMNS_AIM) {
        e->blocks /= 2;
        l = layout_of(m);
    }
    while (e->rows > LANES_MAX &&
           (l.left - l.products > LEVELS_AIM || l.end - l.codes > COLUMNS_AIM)) {
        e->rows /= 2;
        l = layout_of(m);
    }
    if (e->points_max > POINTS_MAX || l.end > SCRATCH_MAX) {
        e->obstacle = TOO_DEEP;
        return QN_OK;
    }
    QN_TRY(add_rules(m, err));
    QN_TRY(order_trees(m, err));
    QN_TRY(add_biases(m, err));
    e->cpu = QN_CPU_PORTABLE;
    for (enum qn_model_cpu cpu = QN_CPU_AVX2; cpu <= QN_CPU_AVX512; cpu++)
        e->cpu = qn_model_cpu_has(cpu) ? cpu : e->cpu;
    return QN_OK;
}

const char *qn_model_explain_obstacle(const struct qn_model *m)
{
    return m->explain.obstacle;
}

void qn_model_explain_form(const struct qn_model *m, char text[QN_EXPLAIN_FORM])
{
    size_t trees = 0, by_levels = 0;

    for (size_t t = 0; t < m->forest.tree_count; t++) {
        trees += m->explain.tree_points[t] > 0; /* a tree of one leaf has no inputs */
        by_levels += m->explain.tree_points[t] > 0 && !qn_shap_in_parts(m, t);
    }
    if (m->linear.is_used)
        snprintf(text, QN_EXPLAIN_FORM, "by coefficients");
    else if (by_levels == 0)
        snprintf(text, QN_EXPLAIN_FORM, "in parts");
    else if (by_levels == trees)
        snprintf(text, QN_EXPLAIN_FORM, "level by level");
    else
        snprintf(text, QN_EXPLAIN_FORM, "in parts, %zu of %zu trees level by level", by_levels,
                 trees);
}

bool qn_model_explain_print(const struct qn_model *m, const char *between, struct qn_buf *out)
{
    uint64_t alone_ns, batched_ns;
    char form[QN_EXPLAIN_FORM];

    qn_model_explain_form(m, form);
    qn_buf_text(out, form);
    if (!qn_model_explain_cost(m, &alone_ns, &batched_ns))
        return false;
    qn_buf_printf(out, "%sa row about %llu ns alone, %llu ns in batches of 64", between,
                  (unsigned long long)alone_ns, (unsigned long long)batched_ns);
    return true;
}

/* ---- trees ---- */

/* Where there is no plan: the node itself decides. */
static void decide_raw(const struct block *b, const struct qn_node *n, const double *x,
                       int8_t *turns)
{
    const bool member = (n->flags & QN_NODE_MEMBER_RIGHT) != 0;

    for (uint32_t r = 0; r < b->rows; r++) {
        const bool is_missing =
            isnan(x[r]) || ((n->flags & QN_NODE_ZERO_MISSING) && fabs(x[r]) <= QN_MODEL_ZERO);
        bool goes_right = x[r] >= n->value;

        if (is_missing)
            goes_right = (n->flags & QN_NODE_MISSING_RIGHT) != 0;
        else if (n->flags & QN_NODE_CATEGORY)
            goes_right = qn_model_set_has(&b->m->forest, n->set, x[r]) == member;
        turns[r] = -(int8_t)goes_right;
    }
    for (uint32_t r = b->rows; r < b->wide; r++)
        turns[r] = 0;
}

/* Mask and pattern of a single row. */
static void turns_of_one(const struct block *b, const struct qn_shap_step *s)
{
    const int8_t *codes = b->codes;
    int32_t mask = b->masks[0] & s->part.keep, pattern = 0, on = -1;

    for (uint32_t k = 0; k < s->part.turns; k++) {
        const struct qn_shap_turn *t = &s->turn[k];
        const int32_t r = -(int32_t)(codes[t->code] > t->limit);

        pattern += (on & r & t->pattern_value) + (~on & 2 * t->pattern_value);
        on &= r ^ t->left;
        mask |= on & t->mask_value;
        on |= t->last;
    }
    b->masks[0] = (uint8_t)mask;
    b->patterns[0] = (uint8_t)pattern;
}

static double *products_of(const struct block *b, uint32_t level)
{
    return b->products + (size_t)level * b->points * b->wide;
}

static double *sums_of(const struct block *b, uint32_t level)
{
    return b->sums + (size_t)level * b->points * b->wide;
}

static double *parts_of(const struct block *b, uint32_t slot)
{
    return b->parts + (size_t)slot * b->wide;
}

static double *left_of(const struct block *b, uint32_t level)
{
    return b->left + (size_t)level * b->points * b->wide;
}

static uint8_t *states_of(const struct block *b, uint32_t level)
{
    return b->states + (size_t)level * QN_MODEL_BLOCK;
}

#define FORM(name) single_##name
#define TARGET
#define LANES   1
#define LOOK_UP 0
#include "model/treeshap_tree.inc"
#undef FORM
#undef TARGET
#undef LANES
#undef LOOK_UP

#define FORM(name) portable_##name
#define TARGET
#define LANES   2
#define LOOK_UP 0
#include "model/treeshap_tree.inc"
#undef FORM
#undef TARGET
#undef LANES
#undef LOOK_UP

#if defined(__x86_64__)
/* Of a row's mask. */
static const int64_t BITS[QN_SHAP_OUTER] = {1, 2, 4, 8, 16, 32, 64, 128};

#define FORM(name) avx2_##name
#define TARGET     __attribute__((target("avx2")))
#define LANES      4
#define LOOK_UP    256
#include "model/treeshap_tree.inc"
#undef FORM
#undef TARGET
#undef LANES
#undef LOOK_UP

#define FORM(name) avx512_##name
#define TARGET     __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl")))
#define LANES      8
#define LOOK_UP    512
#include "model/treeshap_tree.inc"
#undef FORM
#undef TARGET
#undef LANES
#undef LOOK_UP
#endif

typedef void step_function(const struct block *b, const struct qn_shap_step *s,
                           const double *table);

/* All forms do the same operations on a row. */
static step_function *step_of(const struct block *b)
{
    if (b->rows == 1)
        return single_step;
#if defined(__x86_64__)
    if (b->m->explain.cpu == QN_CPU_AVX512)
        return avx512_step;
    if (b->m->explain.cpu == QN_CPU_AVX2)
        return avx2_step;
#endif
    return portable_step;
}

static const struct qn_shap_tree *kept_tree(const struct block *b, size_t tree)
{
    const struct qn_shap_tree *kept = b->tables != NULL ? &b->tables->trees[tree] : NULL;

    return kept != NULL && kept->steps != NULL ? kept : NULL;
}

/* Makes the tree's steps; a part, which leaves nothing behind but what is the block's own, is run
 * for all blocks at once. */
static void run_made(struct block *blocks, uint32_t count, size_t tree)
{
    struct qn_shap_walk *walk = blocks->walk;
    const uint32_t at_once = qn_shap_in_parts(blocks->m, tree) ? count : 1;

    for (uint32_t first = 0; first < count; first += at_once) {
        struct qn_shap_step s;

        qn_shap_begin(walk, tree);
        while (qn_shap_next(walk, &s, blocks->made)) {
            for (uint32_t n = first; n < first + at_once; n++)
                step_of (&blocks[n])(&blocks[n], &s, blocks->made);
        }
    }
}

static void run_alone(const struct block *b, const struct qn_shap_tree *kept)
{
    const double *rule = b->m->explain.rules[b->points];
    const struct qn_shap_row row = {.codes = b->codes,
                                    .off = rule +
                                           (size_t)QN_SHAP_GAIN_LEFT * qn_shap_padded(b->points),
                                    .left = b->left,
                                    .parts = b->parts};

    qn_shap_run_row(kept, &row, b->points);
}

static void explain_tree(struct block *blocks, uint32_t count, size_t tree)
{
    const struct qn_shap_tree *kept = kept_tree(blocks, tree);

    if (blocks->m->explain.tree_points[tree] == 0)
        return;
    for (uint32_t n = 0; n < count; n++)
        blocks[n].points = blocks->m->explain.tree_points[tree];
    if (kept == NULL) {
        run_made(blocks, count, tree);
        return;
    }
    for (uint32_t n = 0; n < count; n++) {
        step_function *step = step_of(&blocks[n]);

        if (blocks[n].rows == 1 && kept->row != NULL) {
            run_alone(&blocks[n], kept);
            continue;
        }
        for (uint32_t i = 0; i < kept->count; i++)
            step(&blocks[n], &kept->steps[i], kept->table + kept->steps[i].table);
    }
}

/* Kept trees: all for one block, then for the next, so that its contributions stay in the first
 * cache; others: tree by tree. */
static void explain_trees(struct block *blocks, uint32_t count, const uint32_t *trees,
                          uint32_t tree_count)
{
    bool all_kept = true;

    for (uint32_t t = 0; t < tree_count; t++)
        all_kept = all_kept && kept_tree(blocks, trees[t]) != NULL;
    for (uint32_t n = 0; n < (all_kept ? count : 1); n++) {
        for (uint32_t t = 0; t < tree_count; t++)
            explain_tree(&blocks[n], all_kept ? 1 : count, trees[t]);
    }
}

/* The block's inputs, coded or converted once; what fills up is 0. */
static void take_inputs(const struct block *b, const double *const *columns, uint32_t first)
{
    const uint32_t *slot_of = b->m->explain.slot_of;

#if defined(__x86_64__)
    if (b->m->plan.is_used && b->m->plan.lanes != NULL && b->rows > 1 &&
        b->m->explain.cpu == QN_CPU_AVX512) {
        qn_model_avx512_quantise(b->m, columns, first, b->rows, b->codes);
        return;
    }
#endif
    if (b->m->plan.is_used) {
        qn_model_quantise(b->m, columns, first, b->rows, b->rows == 1 ? 1 : QN_MODEL_BLOCK,
                          b->codes);
        return;
    }
    for (uint32_t i = 0; i < b->m->info.inputs; i++) {
        double *to = b->inputs + (size_t)slot_of[i] * b->wide;

        if (slot_of[i + 1] == slot_of[i])
            continue;
        for (uint32_t r = 0; r < b->wide; r++)
            to[r] = r < b->rows ? qn_model_convert(b->m, columns[i][first + r]) : 0;
    }
}

static void put_parts(const struct block *b, double *out, uint32_t stride)
{
    const uint32_t *slot_of = b->m->explain.slot_of;

    for (uint32_t i = 0; i < b->m->info.inputs; i++) {
        if (slot_of[i + 1] != slot_of[i])
            memcpy(out + (size_t)i * stride, b->parts + (size_t)slot_of[i] * b->wide,
                   b->rows * sizeof(double));
    }
}

/* out: contributions to output 0, at row 0. */
static void explain_forest(struct block *blocks, uint32_t count, double *out, uint32_t stride)
{
    const struct qn_model *m = blocks->m;
    const struct qn_model_explain *e = &m->explain;

    for (uint32_t k = 0, i = 0; k < m->info.outputs; k++) {
        for (uint32_t n = 0; n < count; n++)
            memset(blocks[n].parts, 0, (size_t)e->slots * blocks[n].wide * sizeof(double));
        while (i < e->order_end[k]) {
            const uint32_t first = i;

            i = e->order_end[k] - first < BLOCK_TREES ? e->order_end[k] : first + BLOCK_TREES;
            explain_trees(blocks, count, e->order + first, i - first);
        }
        for (uint32_t n = 0; n < count; n++)
            put_parts(&blocks[n], out + (size_t)k * (m->info.inputs + 1) * stride + blocks[n].first,
                      stride);
    }
}

/* ---- linear models ---- */

static double linear_value(const struct qn_model *m, uint32_t input, double x)
{
    const struct qn_linear *l = &m->linear;

    x = qn_model_convert(m, x);
    if (isnan(x) && l->fill != NULL)
        x = l->fill[input];
    if (isnan(x) && l->skips_missing)
        return 0;
    if (l->mean != NULL)
        x -= l->mean[input];
    return l->scale != NULL ? x / l->scale[input] : x;
}

static void explain_linear(const struct qn_model *m, const double *const *columns, uint32_t rows,
                           double *contributions, uint32_t stride)
{
    const uint32_t inputs = m->info.inputs;

    for (uint32_t k = 0; k < m->info.outputs; k++) {
        for (uint32_t i = 0; i < inputs; i++) {
            const double c = m->linear.coefficients[(size_t)k * inputs + i];
            double *out = contributions + ((size_t)k * (inputs + 1) + i) * stride;

            for (uint32_t r = 0; r < rows; r++)
                out[r] = c * linear_value(m, i, columns[i][r]) + 0.0; /* no -0 */
        }
    }
}

/* ---- the face ---- */

size_t qn_model_explain_scratch_bytes(const struct qn_model *m)
{
    if (m->linear.is_used || m->explain.obstacle != NULL)
        return 64;
    return layout_of(m).end;
}

/* All 0 but the bias. */
static void start_contributions(const struct qn_model *m, uint32_t rows, double *contributions,
                                uint32_t stride)
{
    const double *bias = m->linear.is_used ? m->start : m->explain.bias;

    for (uint32_t k = 0; k < m->info.outputs; k++) {
        for (uint32_t i = 0; i <= m->info.inputs; i++) {
            double *out = contributions + ((size_t)k * (m->info.inputs + 1) + i) * stride;

            for (uint32_t r = 0; r < rows; r++)
                out[r] = i == m->info.inputs ? bias[k] : 0;
        }
    }
}

/* Cuts the scratch up for the n-th block; struct layout says where. */
static void lay_out(struct block *b, uint32_t n, char *scratch)
{
    const struct qn_model *m = b->m;
    const struct layout l = layout_of(m);

    b->made = (double *)(void *)(scratch + l.made);
    b->turns = (int8_t *)(scratch + l.turns);
    b->states = (uint8_t *)(scratch + l.states);
    b->patterns = (uint8_t *)(scratch + l.patterns);
    b->masks = (uint8_t *)(scratch + l.masks) + (size_t)n * QN_MODEL_BLOCK;
    b->products = (double *)(void *)(scratch + l.products);
    b->sums = (double *)(void *)(scratch + l.sums);
    b->left = (double *)(void *)(scratch + l.left) + n * left_count(m);
    b->codes = (int8_t *)(scratch + l.codes) + n * codes_bytes(m);
    b->inputs = (double *)(void *)(scratch + l.inputs) + n * inputs_count(m);
    b->parts = (double *)(void *)(scratch + l.parts) + n * parts_count(m);
}

void qn_model_explain(const struct qn_model *m, const struct qn_explain_tables *tables,
                      const double *const *columns, uint32_t rows, void *scratch,
                      double *contributions, uint32_t stride)
{
    struct block blocks[BLOCKS_MAX];
    struct qn_shap_walk walk;

    QN_ASSERT((uintptr_t)scratch % 64 == 0);
    QN_ASSERT(stride >= rows);
    QN_ASSERT(m->explain.obstacle == NULL);
    start_contributions(m, rows, contributions, stride);
    if (m->linear.is_used) {
        explain_linear(m, columns, rows, contributions, stride);
        return;
    }
    qn_shap_walk_init(&walk, m, (char *)scratch + layout_of(m).walk);
    for (uint32_t next = 0; next < rows;) {
        uint32_t count = 0;

        for (; count < m->explain.blocks && next < rows; count++) {
            struct block *b = &blocks[count];

            *b = (struct block){.m = m, .tables = tables, .walk = &walk, .first = next};
            b->rows = least(rows - next, m->explain.rows);
            if (tables != NULL && tables->has_rows && b->rows <= ALONE_MAX)
                b->rows = 1;
            b->wide = b->rows == 1 ? 1 : (b->rows + LANES_MAX - 1) / LANES_MAX * LANES_MAX;
            lay_out(b, count, scratch);
            take_inputs(b, columns, next);
            next += b->rows;
        }
        explain_forest(blocks, count, contributions, stride);
    }
}
