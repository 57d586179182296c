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
 * of the depth per leaf.
 *
 * Depth-first with an explicit stack of levels; rows are the inner loop. Every row is computed by
 * itself in a fixed order, so batch and block size never show. Thread: any. Memory: scratch only;
 * points and biases in the model's arena. */
#include "model/treeshap.h"

#include "base/check.h"
#include "model/model_int.h"

#include <math.h>

enum {
    LEVELS_MAX = 4096,     /* deeper trees are not explained                     */
    POINTS_MAX = 256,      /* of a rule: 512 different inputs on a path          */
    SCRATCH_AIM = 1 << 18, /* bytes; blocks get fewer rows where they need more  */
    SCRATCH_MAX = 64 << 20 /* bytes                                              */
};

/* ---- made at load ---- */

/* cos for a first guess; the same bits everywhere, which libm does not promise. */
static double cosine(double x)
{
    const double s = x * x;

    return 1 - s / 2 * (1 - s / 12 * (1 - s / 30 * (1 - s / 56 * (1 - s / 90 * (1 - s / 132)))));
}

/* The Gauss-Legendre rule with n points on [0, 1]: rule[2i] = point, rule[2i + 1] = weight. Newton
 * on the Legendre polynomial from the usual guess (Press and others, Numerical Recipes, 4.6). */
static void gauss_legendre(unsigned n, double *rule)
{
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
        rule[2 * i] = (1 - x) / 2;
        rule[2 * (n - 1 - i)] = (1 + x) / 2;
        rule[2 * i + 1] = rule[2 * (n - 1 - i) + 1] = 1 / ((1 - x * x) * slope * slope);
    }
}

/* Points that are exact for a tree: its paths have at most this many different inputs. */
static uint32_t points_of(const struct qn_model *m, const struct qn_tree *t)
{
    const uint32_t inputs = t->depth < m->info.inputs ? t->depth : m->info.inputs;

    return (inputs + 1) / 2;
}

/* Doubles per row and level: the way taken at the node, the edge's o, product and sum per point. */
static size_t level_doubles(uint32_t points)
{
    return 2 + 2 * (size_t)points;
}

static const char *find_obstacle(const struct qn_model *m)
{
    const struct qn_forest *f = &m->forest;
    uint32_t points = 0;

    if (m->ort != NULL)
        return "it runs in ONNX Runtime, which does not show how an answer comes about";
    if (f->linear_count > 0)
        return "its leaves are linear functions, for which no contributions are defined";
    if (f->lacks_covers)
        return "the file holds no covers (XGBoost: sum_hessian, LightGBM: internal_count and "
               "leaf_count); save the model again with the library that trained it";
    for (size_t t = 0; t < f->tree_count; t++) {
        const uint32_t n = points_of(m, &f->trees[t]);

        points = n > points ? n : points;
    }
    if (f->depth_max > LEVELS_MAX || points > POINTS_MAX ||
        (f->depth_max + 1) * level_doubles(points) * sizeof(double) > SCRATCH_MAX)
        return "its trees are too deep to be explained";
    return NULL;
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

/* The rules that the trees use, and the size of a block. */
static qn_status add_rules(struct qn_model *m, struct qn_err *err)
{
    struct qn_model_explain *e = &m->explain;
    const struct qn_forest *f = &m->forest;
    size_t bytes_per_row;

    for (size_t t = 0; t < f->tree_count; t++) {
        const uint32_t n = points_of(m, &f->trees[t]);

        e->quadrature_max = n > e->quadrature_max ? n : e->quadrature_max;
    }
    e->points = QN_NEW_N(&m->arena, const double *, e->quadrature_max + 1);
    if (e->points == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    for (size_t t = 0; t < f->tree_count; t++) {
        const uint32_t n = points_of(m, &f->trees[t]);
        double *rule;

        if (n == 0 || e->points[n] != NULL)
            continue;
        if ((rule = QN_NEW_N(&m->arena, double, 2 * (size_t)n)) == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory");
        gauss_legendre(n, rule);
        e->points[n] = rule;
    }
    bytes_per_row = (f->depth_max + 1) * level_doubles(e->quadrature_max) * sizeof(double);
    e->rows = QN_MODEL_BLOCK;
    while (e->rows > 1 && e->rows * bytes_per_row > SCRATCH_AIM)
        e->rows /= 2;
    return QN_OK;
}

qn_status qn_model_explain_init(struct qn_model *m, struct qn_err *err)
{
    struct qn_model_explain *e = &m->explain;
    uint32_t nodes_max = 0;
    double *weights;

    e->rows = QN_MODEL_BLOCK;
    if (m->linear.is_used)
        return QN_OK;
    e->obstacle = find_obstacle(m);
    if (e->obstacle != NULL)
        return QN_OK;
    for (size_t t = 0; t < m->forest.tree_count; t++) {
        if (m->forest.trees[t].nodes > nodes_max)
            nodes_max = m->forest.trees[t].nodes;
    }
    QN_TRY(add_rules(m, err));
    e->bias = QN_NEW_N(&m->arena, double, m->info.outputs);
    weights = qn_mem_alloc(((size_t)nodes_max + 1) * sizeof(*weights));
    if (e->bias != NULL && weights != NULL)
        add_means(m, weights);
    qn_mem_free(weights);
    return e->bias != NULL && weights != NULL ? QN_OK : qn_err_set(err, QN_NOMEM, "out of memory");
}

const char *qn_model_explain_obstacle(const struct qn_model *m)
{
    return m->explain.obstacle;
}

/* ---- trees ---- */

/* One level of the stack: a node on the way down and the edge that led to it. */
struct level {
    const struct qn_node *node; /* inner                                             */
    double z;                   /* shares of the edge's input up to here, multiplied */
    uint32_t side;              /* children that are done                            */
    uint32_t before;            /* level of the last edge above of the same input; 0 = none */
};

/* What a block of rows works on. `rows` is the block's stride. */
struct block {
    const struct qn_model *m;
    const double *const *columns;
    uint32_t first, rows, stride;
    const double *rule;
    uint32_t points;
    struct level *levels;
    double *memory; /* [level][level_doubles][rows] */
    double *out;    /* contributions of the tree's output, at the block's first row */
};

static double *level_rows(const struct block *b, uint32_t level, uint32_t which)
{
    return b->memory + (level * level_doubles(b->points) + which) * b->rows;
}

static double *right_of(const struct block *b, uint32_t level)
{
    return level_rows(b, level, 0);
}
static double *on_of(const struct block *b, uint32_t level)
{
    return level_rows(b, level, 1);
}
static double *product_of(const struct block *b, uint32_t level, uint32_t q)
{
    return level_rows(b, level, 2 + q);
}
static double *sum_of(const struct block *b, uint32_t level, uint32_t q)
{
    return level_rows(b, level, 2 + b->points + q);
}

/* The same decision as kernel `walk`. */
static bool goes_right(const struct qn_model *m, const struct qn_node *n, double x)
{
    x = qn_model_convert(m, x);
    if (isnan(x) || ((n->flags & QN_NODE_ZERO_MISSING) && fabs(x) <= QN_MODEL_ZERO))
        return (n->flags & QN_NODE_MISSING_RIGHT) != 0;
    if (n->flags & QN_NODE_CATEGORY)
        return qn_model_set_has(&m->forest, n->set, x) == ((n->flags & QN_NODE_MEMBER_RIGHT) != 0);
    return x >= n->value;
}

/* Plain comparisons are most of them: this loop is simple enough for the compiler's vectors. */
static void decide(const struct block *b, const struct qn_node *n, double *restrict right)
{
    const double *x = b->columns[n->column] + b->first;
    const double missing = (n->flags & QN_NODE_MISSING_RIGHT) ? 1 : 0;

    if (!b->m->info.is_float || b->m->has_missing || b->m->forest.snaps_zero ||
        (n->flags & (QN_NODE_CATEGORY | QN_NODE_ZERO_MISSING))) {
        for (uint32_t r = 0; r < b->rows; r++)
            right[r] = goes_right(b->m, n, x[r]) ? 1 : 0;
        return;
    }
    for (uint32_t r = 0; r < b->rows; r++) {
        const double v = (double)(float)x[r];

        right[r] = v >= n->value ? 1 : v != v ? missing : 0;
    }
}

/* What an edge does at one point. A factor is o t + z (1 - t); a gain (o - z) / factor. Where the
 * input was met before, its old factor is divided out and its old gain taken back. With o = 0
 * before only the share comes in, and the gain stays. */
struct edge {
    double off, on_off, on_on; /* factor where the old o is 0; 1 and the new 0; 1 and the new 1 */
    double gain_off, gain_on;  /* weight * gain, where the old o is 1 and the new one 0 or 1      */
};

static struct edge edge_at(double t, double weight, double z_old, double share)
{
    const double z = z_old * share, rest = 1 - t;
    const double factor_old = t + z_old * rest, gain_old = (1 - z_old) / factor_old;
    const double factor = t + z * rest;

    return (struct edge){.off = share,
                         .on_off = z * rest / factor_old,
                         .on_on = factor / factor_old,
                         .gain_off = weight * (-1 / rest - gain_old),
                         .gain_on = weight * ((1 - z) / factor - gain_old)};
}

/* The rows' o of the edge to a child: the old one, and the row goes there. */
static void set_on(const struct block *b, uint32_t level, uint32_t before, bool is_right,
                   double *restrict on)
{
    const double *right = right_of(b, level), *old = on_of(b, before);

    for (uint32_t r = 0; r < b->rows; r++)
        on[r] = old[r] * (is_right ? right[r] : 1 - right[r]);
}

/* to = from * factor */
static void go_down(uint32_t rows, const struct edge *e, const double *restrict old,
                    const double *restrict on, const double *restrict from, double *restrict to)
{
    const double a = e->off, d = e->on_off - e->off, g = e->on_on - e->on_off;

    for (uint32_t r = 0; r < rows; r++)
        to[r] = from[r] * (a + old[r] * d + on[r] * g);
}

/* Adds an edge's part to its input, and the sum below it to the sum of its parent. */
static void go_up(uint32_t rows, const struct edge *e, const double *restrict old,
                  const double *restrict on, const double *restrict sum, double *restrict parent,
                  double *restrict out)
{
    const double a = e->gain_off, d = e->gain_on - e->gain_off;

    for (uint32_t r = 0; r < rows; r++) {
        parent[r] += sum[r];
        out[r] += sum[r] * (old[r] * a + on[r] * d);
    }
}

/* Both at once for a leaf, whose sum is value * product. */
static void take_leaf(uint32_t rows, const struct edge *e, double value, const double *restrict old,
                      const double *restrict on, const double *restrict from,
                      double *restrict parent, double *restrict out)
{
    const double a = e->off, d = e->on_off - e->off, g = e->on_on - e->on_off;
    const double a2 = e->gain_off, d2 = e->gain_on - e->gain_off;

    for (uint32_t r = 0; r < rows; r++) {
        const double sum = value * (from[r] * (a + old[r] * d + on[r] * g));

        parent[r] += sum;
        out[r] += sum * (old[r] * a2 + on[r] * d2);
    }
}

static double *out_of(const struct block *b, uint32_t column)
{
    return b->out + (size_t)column * b->stride;
}

/* Level of the last edge above `level` (itself included) that tests the column; 0 = none. The edge
 * of level k leaves the node of level k - 1. */
static uint32_t last_edge(const struct block *b, uint32_t level, uint32_t column)
{
    while (level > 0 && b->levels[level - 1].node->column != column)
        level--;
    return level;
}

/* Starts a node: sums are 0, every row's way is decided. */
static void enter(const struct block *b, uint32_t level, const struct qn_node *n)
{
    b->levels[level].node = n;
    b->levels[level].side = 0;
    decide(b, n, right_of(b, level));
    for (uint32_t q = 0; q < b->points; q++)
        memset(sum_of(b, level, q), 0, b->rows * sizeof(double));
}

/* Goes along the edge to the next child of the node on `level`; true if that is an inner node,
 * which now stands on the next level. */
static bool follow(const struct block *b, uint32_t level)
{
    const struct qn_forest *f = &b->m->forest;
    struct level *at = &b->levels[level], *next = &b->levels[level + 1];
    const uint32_t child = at->node->left + at->side;
    const uint32_t before = last_edge(b, level, at->node->column);
    const double z_old = b->levels[before].z, share = f->shares[child];
    const struct qn_node *n = &f->nodes[child];
    const double *old = on_of(b, before);
    double *on = on_of(b, level + 1);

    set_on(b, level, before, at->side == 1, on);
    for (uint32_t q = 0; q < b->points; q++) {
        const struct edge e = edge_at(b->rule[2 * q], b->rule[2 * q + 1], z_old, share);

        if (n->flags & QN_NODE_LEAF)
            take_leaf(b->rows, &e, n->value, old, on, product_of(b, level, q), sum_of(b, level, q),
                      out_of(b, at->node->column));
        else
            go_down(b->rows, &e, old, on, product_of(b, level, q), product_of(b, level + 1, q));
    }
    at->side++;
    if (n->flags & QN_NODE_LEAF)
        return false;
    next->z = z_old * share;
    next->before = before;
    enter(b, level + 1, n);
    return true;
}

/* The node on `level` is done: its sums go along its edge to the parent. */
static void leave(const struct block *b, uint32_t level)
{
    const struct level *at = &b->levels[level], *parent = at - 1;
    const double z_old = b->levels[at->before].z;
    const double share = b->m->forest.shares[parent->node->left + parent->side - 1];

    for (uint32_t q = 0; q < b->points; q++) {
        const struct edge e = edge_at(b->rule[2 * q], b->rule[2 * q + 1], z_old, share);

        go_up(b->rows, &e, on_of(b, at->before), on_of(b, level), sum_of(b, level, q),
              sum_of(b, level - 1, q), out_of(b, parent->node->column));
    }
}

static void explain_tree(const struct block *b, const struct qn_node *root)
{
    uint32_t level = 0;

    if (root->flags & QN_NODE_LEAF)
        return;
    b->levels[0].z = 1; /* an input not met before: all rows go its way, nothing is known of it */
    for (uint32_t r = 0; r < b->rows; r++)
        on_of(b, 0)[r] = 1;
    for (uint32_t q = 0; q < b->points; q++)
        for (uint32_t r = 0; r < b->rows; r++)
            product_of(b, 0, q)[r] = 1;
    enter(b, 0, root);
    for (;;) {
        if (b->levels[level].side < 2) {
            level += follow(b, level);
            QN_DCHECK(level <= b->m->forest.depth_max);
        } else if (level > 0) {
            leave(b, level--);
        } else {
            break;
        }
    }
}

static void explain_forest(struct block *b, double *contributions)
{
    const struct qn_model *m = b->m;

    for (size_t t = 0; t < m->forest.tree_count; t++) {
        const struct qn_tree *tree = &m->forest.trees[t];

        b->points = points_of(m, tree);
        b->rule = m->explain.points[b->points];
        b->out = contributions + (size_t)tree->output * (m->info.inputs + 1) * b->stride + b->first;
        explain_tree(b, &m->forest.nodes[tree->root]);
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

static void explain_linear(const struct block *b, double *contributions)
{
    const struct qn_model *m = b->m;
    const uint32_t inputs = m->info.inputs;

    for (uint32_t k = 0; k < m->info.outputs; k++) {
        for (uint32_t i = 0; i < inputs; i++) {
            const size_t at = (size_t)k * (inputs + 1) + i;
            const double c = m->linear.coefficients[(size_t)k * inputs + i];
            double *out = contributions + at * b->stride + b->first;

            for (uint32_t r = 0; r < b->rows; r++)
                out[r] = c * linear_value(m, i, b->columns[i][b->first + r]) + 0.0; /* no -0 */
        }
    }
}

/* ---- the face ---- */

static size_t levels_bytes(const struct qn_model *m)
{
    return ((m->forest.depth_max + 2) * sizeof(struct level) + 63) / 64 * 64;
}

size_t qn_model_explain_scratch_bytes(const struct qn_model *m)
{
    const struct qn_model_explain *e = &m->explain;

    if (m->linear.is_used || e->obstacle != NULL)
        return 64;
    return levels_bytes(m) +
           (m->forest.depth_max + 2) * level_doubles(e->quadrature_max) * e->rows * sizeof(double);
}

/* All 0 but the bias. */
static void start_contributions(const struct block *b, double *contributions)
{
    const struct qn_model *m = b->m;
    const double *bias = m->linear.is_used ? m->start : m->explain.bias;

    for (uint32_t k = 0; k < m->info.outputs; k++) {
        for (uint32_t i = 0; i <= m->info.inputs; i++) {
            double *out =
                contributions + ((size_t)k * (m->info.inputs + 1) + i) * b->stride + b->first;

            for (uint32_t r = 0; r < b->rows; r++)
                out[r] = i == m->info.inputs ? bias[k] : 0;
        }
    }
}

void qn_model_explain(const struct qn_model *m, const double *const *columns, uint32_t rows,
                      void *scratch, double *contributions, uint32_t stride)
{
    struct block b = {.m = m,
                      .columns = columns,
                      .stride = stride,
                      .levels = scratch,
                      .memory = (double *)(void *)((char *)scratch + levels_bytes(m))};

    QN_ASSERT((uintptr_t)scratch % 64 == 0);
    QN_ASSERT(stride >= rows);
    QN_ASSERT(m->explain.obstacle == NULL);
    for (; b.first < rows; b.first += b.rows) {
        b.rows = rows - b.first < m->explain.rows ? rows - b.first : m->explain.rows;
        start_contributions(&b, contributions);
        if (m->linear.is_used)
            explain_linear(&b, contributions);
        else
            explain_forest(&b, contributions);
    }
}
