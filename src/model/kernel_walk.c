/* SPDX-License-Identifier: Apache-2.0
 * kernel_walk.c - kernel `walk`: one row and one tree at a time, on the forest itself and the raw inputs.
 *
 * It runs whatever the intermediate form can say and is slow. Two uses: models that no faster kernel can do, and the
 * oracle that the others are probed against at load and in tests. Order of addition: trees in file order, one sum per
 * row and output, in the type of the library. Thread: any. Memory: scratch only. */
#include "base/check.h"
#include "model/model_int.h"

#include <math.h>

static bool walk_is_suitable(const struct qn_model *m, const char **reason)
{
    *reason = "it runs every forest";
    return !m->linear.is_used;
}

static size_t walk_scratch_bytes(const struct qn_model *m)
{
    return (size_t)m->info.inputs * QN_MODEL_BLOCK * sizeof(double);
}

static bool goes_right(const struct qn_forest *f, const struct qn_node *n, double x)
{
    static const double zero_limit = 1e-35f;

    if (isnan(x) || ((n->flags & QN_NODE_ZERO_MISSING) && fabs(x) <= zero_limit))
        return (n->flags & QN_NODE_MISSING_RIGHT) != 0;
    if (n->flags & QN_NODE_CATEGORY)
        return qn_model_set_has(f, n->set, x) == ((n->flags & QN_NODE_MEMBER_RIGHT) != 0);
    return x >= n->value;
}

static double linear_leaf(const struct qn_forest *f, const struct qn_node *n, const double *x)
{
    const struct qn_linear_leaf *leaf = &f->linear_leaves[n->set];
    double sum = leaf->constant;

    for (uint32_t i = 0; i < leaf->count; i++) {
        const struct qn_linear_term *term = &f->terms[leaf->first + i];
        double v = x[(size_t)term->column * QN_MODEL_BLOCK];

        if (isnan(v))
            return n->value;
        sum += term->coefficient * v;
    }
    return sum;
}

static void walk_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows, void *scratch, void *sums)
{
    const struct qn_forest *f = &m->forest;
    double *x = scratch;

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    for (uint32_t i = 0; i < m->info.inputs; i++)
        qn_model_convert(m, columns[i] + first, rows, x + (size_t)i * QN_MODEL_BLOCK);
    for (size_t t = 0; t < f->tree_count; t++) {
        const struct qn_tree *tree = &f->trees[t];
        const size_t at = (size_t)tree->output * QN_MODEL_BLOCK;

        for (uint32_t r = 0; r < rows; r++) {
            const struct qn_node *n = &f->nodes[tree->root];
            double v;

            while (!(n->flags & QN_NODE_LEAF)) {
                bool right = goes_right(f, n, x[(size_t)n->column * QN_MODEL_BLOCK + r]);

                n = &f->nodes[n->left + right];
            }
            v = (n->flags & QN_NODE_LINEAR) ? linear_leaf(f, n, x + r) : n->value;
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
