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
 * exact. All terms are positive: nothing cancels, unlike in the extend and unwind of the paper. At
 * each point the product goes down the tree (a factor per edge, the old one divided out where the
 * input was met before) and the leaves' sums come up; an edge then gives its input (o - z) / (o t +
 * z (1 - t)) times the sum below it. That is one pass over the nodes per point instead of a square
 * of the depth per leaf. What an edge does depends on the row by its decisions only, so it is a
 * choice among two or three numbers that are worked out once per block of rows.
 *
 * Depth-first with an explicit stack of levels; rows are the inner loop (treeshap_tree.inc, once
 * per vector width). Every row is computed by itself in a fixed order, so batch, block and width
 * never show. Thread: any. Memory: scratch only; points, order of trees and biases in the model's
 * arena. */
#include "model/treeshap.h"

#include "base/check.h"
#include "model/model_int.h"

#include <math.h>

enum {
    LEVELS_MAX = 4096,      /* deeper trees are not explained                                   */
    POINTS_MAX = 256,       /* of a rule: 512 different inputs on a path                        */
    LANES_MAX = 8,          /* rows of a block are a multiple of the widest vector's            */
    LEVELS_AIM = 1 << 17,   /* bytes of all levels; blocks get fewer rows where they need more  */
    COLUMNS_AIM = 1 << 20,  /* bytes of inputs and contributions, the same                      */
    SCRATCH_MAX = 256 << 20 /* bytes                                                            */
};

/* ---- what a block of rows works on ---- */

/* A number per point for every way the decisions can fall: `base` where the row left the way to the
 * node's input before, else `base ^ left`, and where it goes right here `base ^ left ^ right`, as
 * bits of doubles. Where the input was not met before, `left` alone is the number of going left. */
struct choice {
    int64_t base, left, right;
};

enum choice_kind {
    LEAF_SUM,  /* sum of the node's leaves: value * factor                                     */
    LEAF_PART, /* their part of its input                                                      */
    FACTOR,    /* + side: what the product below an edge is multiplied with                    */
    GAIN = 4,  /* + side: weight * (new gain - old gain), which the sum below is multiplied with */
    CHOICE_KINDS = 6
};

/* What an edge does at each point, where the row's old o is 1 and the new one 1 (on) or 0 (off). A
 * factor is o t + z (1 - t); a gain (o - z) / factor. Where the input was met before, its old
 * factor is divided out and its old gain taken back. With o = 0 before only the share comes in, and
 * the gain stays. */
enum edge_part { EDGE_ON, EDGE_OFF, EDGE_GAIN_ON, EDGE_GAIN_OFF, EDGE_OVER, EDGE_GAIN, EDGE_PARTS };

/* One level of the stack: an inner node on the way down. */
struct level {
    const struct qn_node *node;
    double z;        /* shares of the input of the edge into this level, multiplied up to here */
    uint32_t slot;   /* of the input it tests                                                  */
    uint32_t before; /* level that the last edge above of the same input leads to; 0 = none    */
    uint32_t side;   /* the child that is looked at now                                        */
    bool has_sum;    /* something was put into the level's sums                                */
};

/* What a block of rows works on. Rows are padded to whole vectors: `wide` of them. The arrays of
 * masks hold -1 or 0 per row. */
struct block {
    const struct qn_model *m;
    uint32_t rows, wide;
    const double *rule;
    uint32_t points, padded; /* of the tree's rule */
    struct level *levels;
    uint32_t *last;         /* [slot] level that the last edge of that input leads to; 0 = none   */
    double *none;           /* [EDGE_PARTS][padded]: the edge before the first one of an input    */
    double *edges;          /* [level][side][EDGE_PARTS][padded]                                  */
    struct choice *choices; /* [level][CHOICE_KINDS][padded]                                      */
    int64_t *right;         /* [level][wide] the row goes right at the node                       */
    int64_t *on;            /* [level][wide] it went the node's way at its input so far           */
    double *products;       /* [level][points][wide]                                              */
    double *sums;           /* [level][points][wide]                                              */
    double *inputs;         /* [slot][wide] as the library sees them                              */
    double *parts;          /* [slot][wide] contributions to the output under way                 */
};

/* Points are worked on in fours; what fills up counts nothing. */
static uint32_t padded(uint32_t points)
{
    return (points + 3) / 4 * 4;
}

/* Where the arrays of struct block lie in the scratch; bytes. */
struct layout {
    size_t levels, last, none, edges, choices, right, on, products, sums, inputs, parts, end;
};

static size_t place(struct layout *l, size_t count, size_t bytes)
{
    const size_t at = l->end;

    l->end = (at + count * bytes + 63) / 64 * 64;
    return at;
}

static struct layout layout_of(const struct qn_model *m)
{
    const struct qn_model_explain *e = &m->explain;
    const size_t levels = (size_t)m->forest.depth_max + 1, points = padded(e->points_max);
    struct layout l = {0};

    l.levels = place(&l, levels, sizeof(struct level));
    l.last = place(&l, e->slots, sizeof(uint32_t));
    l.none = place(&l, EDGE_PARTS * points, sizeof(double));
    l.edges = place(&l, levels * 2 * EDGE_PARTS * points, sizeof(double));
    l.choices = place(&l, levels * CHOICE_KINDS * points, sizeof(struct choice));
    l.right = place(&l, levels * e->rows, sizeof(int64_t));
    l.on = place(&l, levels * e->rows, sizeof(int64_t));
    l.products = place(&l, levels * e->points_max * e->rows, sizeof(double));
    l.sums = place(&l, levels * e->points_max * e->rows, sizeof(double));
    l.inputs = place(&l, (size_t)e->slots * e->rows, sizeof(double));
    l.parts = place(&l, (size_t)e->slots * e->rows, sizeof(double));
    return l;
}

/* ---- made at load ---- */

/* cos for a first guess; the same bits everywhere, which libm does not promise. */
static double cosine(double x)
{
    const double s = x * x;

    return 1 - s / 2 * (1 - s / 12 * (1 - s / 30 * (1 - s / 56 * (1 - s / 90 * (1 - s / 132)))));
}

enum rule_part { POINT, REST, WEIGHT, OVER_REST, RULE_PARTS }; /* t, 1 - t, weight, 1 / (1 - t) */

/* The Gauss-Legendre rule with n points on [0, 1]: rule[part * padded(n) + i]. Newton on the
 * Legendre polynomial from the usual guess (Press and others, Numerical Recipes, 4.6). */
static void gauss_legendre(unsigned n, double *rule)
{
    const uint32_t wide = padded(n);

    for (uint32_t i = 0; i < wide; i++) {
        rule[POINT * wide + i] = 0.5;
        rule[WEIGHT * wide + i] = 0;
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
        rule[POINT * wide + i] = (1 - x) / 2;
        rule[POINT * wide + n - 1 - i] = (1 + x) / 2;
        rule[WEIGHT * wide + i] = 1 / ((1 - x * x) * slope * slope);
        rule[WEIGHT * wide + n - 1 - i] = rule[WEIGHT * wide + i];
    }
    for (uint32_t i = 0; i < wide; i++) {
        rule[REST * wide + i] = 1 - rule[POINT * wide + i];
        rule[OVER_REST * wide + i] = 1 / rule[REST * wide + i];
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
        rule = qn_arena_aligned(&m->arena, 64, RULE_PARTS * padded(n) * sizeof(*rule));
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
    if (m->linear.is_used)
        return QN_OK;
    e->obstacle = find_obstacle(m);
    if (e->obstacle != NULL)
        return QN_OK;
    QN_TRY(measure_trees(m, err));
    l = layout_of(m);
    while (e->rows > LANES_MAX &&
           (l.inputs - l.right > LEVELS_AIM || l.end - l.inputs > COLUMNS_AIM)) {
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

/* ---- trees ---- */

static double *edge_of(const struct block *b, uint32_t level, uint32_t side)
{
    return b->edges + ((size_t)level * 2 + side) * EDGE_PARTS * b->padded;
}

static struct choice *choice_of(const struct block *b, uint32_t level, uint32_t kind)
{
    return b->choices + ((size_t)level * CHOICE_KINDS + kind) * b->padded;
}

static int64_t bits_of(double x)
{
    int64_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static void set_choice(struct choice *c, bool is_again, double base, double left, double right)
{
    c->base = bits_of(base);
    c->left = bits_of(left) ^ (is_again ? c->base : 0);
    c->right = bits_of(left) ^ bits_of(right);
}

/* Membership in a set is looked up row by row. */
static void decide_category(const struct block *b, const struct qn_node *n, const double *x,
                            int64_t *right)
{
    const bool member = (n->flags & QN_NODE_MEMBER_RIGHT) != 0;

    for (uint32_t r = 0; r < b->rows; r++) {
        const bool is_missing =
            isnan(x[r]) || ((n->flags & QN_NODE_ZERO_MISSING) && fabs(x[r]) <= QN_MODEL_ZERO);
        const bool goes_right = is_missing
                                    ? (n->flags & QN_NODE_MISSING_RIGHT) != 0
                                    : qn_model_set_has(&b->m->forest, n->set, x[r]) == member;

        right[r] = -(int64_t)goes_right;
    }
    for (uint32_t r = b->rows; r < b->wide; r++)
        right[r] = 0;
}

/* What the two edges below the node on `level` do, as choices; leaves' values are worked in. */
static void prepare_choices(const struct block *b, uint32_t level, const double *shares)
{
    const struct qn_forest *f = &b->m->forest;
    const struct level *at = &b->levels[level];
    const bool again = at->before != 0;
    const uint32_t n = b->padded;

    for (uint32_t q = 0; q < b->points; q++) {
        double sum[3] = {0}, part[3] = {0}; /* base, left, right */

        for (uint32_t side = 0; side < 2; side++) {
            const struct qn_node *child = &f->nodes[at->node->left + side];
            const double *e = edge_of(b, level, side) + q;
            const double to_left = e[(side == 0 ? EDGE_ON : EDGE_OFF) * n];
            const double to_right = e[(side == 1 ? EDGE_ON : EDGE_OFF) * n];
            const double gain_left = e[(side == 0 ? EDGE_GAIN_ON : EDGE_GAIN_OFF) * n];
            const double gain_right = e[(side == 1 ? EDGE_GAIN_ON : EDGE_GAIN_OFF) * n];

            if (child->flags & QN_NODE_LEAF) {
                sum[0] += child->value * shares[side];
                sum[1] += child->value * to_left;
                sum[2] += child->value * to_right;
                part[1] += child->value * to_left * gain_left;
                part[2] += child->value * to_right * gain_right;
            } else {
                set_choice(&choice_of(b, level, FACTOR + side)[q], again, shares[side], to_left,
                           to_right);
                set_choice(&choice_of(b, level, GAIN + side)[q], again, 0, gain_left, gain_right);
            }
        }
        set_choice(&choice_of(b, level, LEAF_SUM)[q], again, sum[0], sum[1], sum[2]);
        set_choice(&choice_of(b, level, LEAF_PART)[q], again, part[0], part[1], part[2]);
    }
}

static bool is_leaf(const struct block *b, const struct level *at, uint32_t side)
{
    return (b->m->forest.nodes[at->node->left + side].flags & QN_NODE_LEAF) != 0;
}

#define FORM(name) portable_##name
#define TARGET
#define LANES 2
#include "model/treeshap_tree.inc"
#undef FORM
#undef TARGET
#undef LANES

#if defined(__x86_64__)
#define FORM(name) avx2_##name
#define TARGET     __attribute__((target("avx2")))
#define LANES      4
#include "model/treeshap_tree.inc"
#undef FORM
#undef TARGET
#undef LANES

#define FORM(name) avx512_##name
#define TARGET     __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl")))
#define LANES      8
#include "model/treeshap_tree.inc"
#undef FORM
#undef TARGET
#undef LANES
#endif

static void explain_tree(const struct block *b, const struct qn_node *root)
{
#if defined(__x86_64__)
    if (b->m->explain.cpu == QN_CPU_AVX512) {
        avx512_tree(b, root);
        return;
    }
    if (b->m->explain.cpu == QN_CPU_AVX2) {
        avx2_tree(b, root);
        return;
    }
#endif
    portable_tree(b, root);
}

/* The block's inputs, converted once; what fills up is 0. */
static void take_inputs(const struct block *b, const double *const *columns, uint32_t first)
{
    const uint32_t *slot_of = b->m->explain.slot_of;

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

/* out: contributions to output 0, at the block's first row. */
static void explain_forest(struct block *b, double *out, uint32_t stride)
{
    const struct qn_model *m = b->m;
    const struct qn_model_explain *e = &m->explain;

    for (uint32_t k = 0, i = 0; k < m->info.outputs; k++) {
        memset(b->parts, 0, (size_t)e->slots * b->wide * sizeof(double));
        for (; i < e->order_end[k]; i++) {
            const struct qn_tree *tree = &m->forest.trees[e->order[i]];

            b->points = e->tree_points[e->order[i]];
            b->padded = padded(b->points);
            b->rule = e->rules[b->points];
            if (b->points > 0)
                explain_tree(b, &m->forest.nodes[tree->root]);
        }
        put_parts(b, out + (size_t)k * (m->info.inputs + 1) * stride, stride);
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

/* Cuts the scratch up; struct layout says where. */
static void lay_out(struct block *b, char *scratch)
{
    const struct qn_model_explain *e = &b->m->explain;
    const struct layout l = layout_of(b->m);

    b->levels = (struct level *)(void *)(scratch + l.levels);
    b->last = (uint32_t *)(void *)(scratch + l.last);
    b->none = (double *)(void *)(scratch + l.none);
    b->edges = (double *)(void *)(scratch + l.edges);
    b->choices = (struct choice *)(void *)(scratch + l.choices);
    b->right = (int64_t *)(void *)(scratch + l.right);
    b->on = (int64_t *)(void *)(scratch + l.on);
    b->products = (double *)(void *)(scratch + l.products);
    b->sums = (double *)(void *)(scratch + l.sums);
    b->inputs = (double *)(void *)(scratch + l.inputs);
    b->parts = (double *)(void *)(scratch + l.parts);
    memset(b->last, 0, e->slots * sizeof(*b->last));
}

void qn_model_explain(const struct qn_model *m, const double *const *columns, uint32_t rows,
                      void *scratch, double *contributions, uint32_t stride)
{
    struct block b = {.m = m};

    QN_ASSERT((uintptr_t)scratch % 64 == 0);
    QN_ASSERT(stride >= rows);
    QN_ASSERT(m->explain.obstacle == NULL);
    start_contributions(m, rows, contributions, stride);
    if (m->linear.is_used) {
        explain_linear(m, columns, rows, contributions, stride);
        return;
    }
    lay_out(&b, scratch);
    for (uint32_t first = 0; first < rows; first += b.rows) {
        b.rows = rows - first < m->explain.rows ? rows - first : m->explain.rows;
        b.wide = (b.rows + LANES_MAX - 1) / LANES_MAX * LANES_MAX;
        take_inputs(&b, columns, first);
        explain_forest(&b, contributions + first, stride);
    }
}
