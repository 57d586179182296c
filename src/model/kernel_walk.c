/* SPDX-License-Identifier: Apache-2.0
 * kernel_walk.c - kernel `walk`: one row and one tree at a time, on the forest itself and the raw
 * inputs.
 *
 * It runs whatever the intermediate form can say and is slow. Two uses: models that no faster
 * kernel can do, and the oracle that the others are probed against at load and in tests. Order of
 * addition: trees in file order, one sum per row and output, in the type of the library. Thread:
 * any. Memory: scratch only. */
#include "base/check.h"
#include "model/model_int.h"

#include <math.h>

static bool walk_is_suitable(const struct qn_model *m, const char **reason)
{
    *reason = "it runs every forest";
    return !m->linear.is_used && m->ort == NULL;
}

static size_t walk_scratch_bytes(const struct qn_model *m)
{
    (void)m;
    return 0;
}

static bool goes_right(const struct qn_forest *f, const struct qn_node *n, double x)
{
    if (isnan(x) || ((n->flags & QN_NODE_ZERO_MISSING) && fabs(x) <= QN_MODEL_ZERO))
        return (n->flags & QN_NODE_MISSING_RIGHT) != 0;
    if (n->flags & QN_NODE_CATEGORY)
        return qn_model_set_has(f, n->set, x) == ((n->flags & QN_NODE_MEMBER_RIGHT) != 0);
    return x >= n->value;
}

static double linear_leaf(const struct qn_model *m, const struct qn_node *n,
                          const double *const *columns, uint32_t row)
{
    const struct qn_linear_leaf *leaf = &m->forest.linear_leaves[n->set];
    double sum = leaf->constant;

    for (uint32_t i = 0; i < leaf->count; i++) {
        const struct qn_linear_term *term = &m->forest.terms[leaf->first + i];
        double v = qn_model_convert(m, columns[term->column][row]);

        if (isnan(v))
            return n->value;
        sum += term->coefficient * v;
    }
    return sum;
}

static double walk_tree(const struct qn_model *m, uint32_t root, const double *const *columns,
                        uint32_t row)
{
    const struct qn_forest *f = &m->forest;
    const struct qn_node *n = &f->nodes[root];

    while (!(n->flags & QN_NODE_LEAF))
        n = &f->nodes[n->left + goes_right(f, n, qn_model_convert(m, columns[n->column][row]))];
    return (n->flags & QN_NODE_LINEAR) ? linear_leaf(m, n, columns, row) : n->value;
}

static void walk_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, void *scratch, void *sums)
{
    (void)scratch;
    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    for (size_t t = 0; t < m->forest.tree_count; t++) {
        const struct qn_tree *tree = &m->forest.trees[t];
        const size_t at = (size_t)tree->output * QN_MODEL_BLOCK;

        for (uint32_t r = 0; r < rows; r++) {
            double v = walk_tree(m, tree->root, columns, first + r);

            if (m->info.is_float)
                ((float *)sums)[at + r] += (float)v;
            else
                ((double *)sums)[at + r] += v;
        }
    }
}

const struct qn_model_kernel qn_model_kernel_walk = {.name = "walk",
                                                     .is_suitable = walk_is_suitable,
                                                     .scratch_bytes = walk_scratch_bytes,
                                                     .score = walk_score};
