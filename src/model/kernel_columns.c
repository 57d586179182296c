/* SPDX-License-Identifier: Apache-2.0
 * kernel_columns.c - kernels `columns16` and `walk8`, on the integer codes of the plan, in plain C.
 *
 * A block of rows is quantised once (codes.c), then scored tree by tree in file order, so that sums
 * come out as in the library. Three ways through a tree, all taking the same turns:
 *
 *   columns  16 rows at a time, depth <= 6: every node of the perfect tree is compared with its
 *            whole column at once; the answers of a level are folded to one bit per row by the
 *            decisions above, the oldest first, so that the newest, still in flight, is needed
 *            last. No branch, no gather.
 *   split    one row, all trees of depth <= 6: index arithmetic down the perfect tree, four trees
 *            in step.
 *   node     any depth: explicit children, 8 rows or, with one row, 8 trees in step.
 *
 * Thread: any. Memory: scratch only. */
#include "base/check.h"
#include "model/model_int.h"

enum {
    LANES = 16,
    ROWS_SPLIT_MAX = 6 /* up to here one row at a time is faster than a block of 16 */
};

typedef int8_t lanes __attribute__((vector_size(LANES)));

/* ---- columns: 16 rows of one perfect tree ---- */

static inline __attribute__((always_inline)) lanes pick(lanes decision, lanes left, lanes right)
{
    return left ^ ((left ^ right) & decision);
}

static inline __attribute__((always_inline)) lanes test_node(const struct qn_plan_perfect *t,
                                                             const int8_t *codes, unsigned i)
{
    const lanes *column = (const lanes *)(const void *)(codes + t->offsets[i]);
    const lanes *limit = (const lanes *)(const void *)(t->limits + i * LANES);

    return *column > *limit;
}

/* FOLD_n(i, s): answer of the nodes i, i + s, i + 2s, ... (2^n of them) of one level, folded by the
 * n oldest decisions d0 .. d(n-1); the oldest divides the level in halves. */
#define FOLD_0(i)    test_node(t, codes, (i))
#define FOLD_1(i, h) pick(d0, FOLD_0(i), FOLD_0((i) + (h)))
#define FOLD_2(i, h) pick(d1, FOLD_1(i, h), FOLD_1((i) + (h) / 2, h))
#define FOLD_3(i, h) pick(d2, FOLD_2(i, h), FOLD_2((i) + (h) / 4, h))
#define FOLD_4(i, h) pick(d3, FOLD_3(i, h), FOLD_3((i) + (h) / 8, h))
#define FOLD_5(i, h) pick(d4, FOLD_4(i, h), FOLD_4((i) + (h) / 16, h))

/* Number of the leaf that each of 16 rows reaches. A decision is 0 or -1, so index - decision
 * counts it. */
static inline __attribute__((always_inline)) lanes leaf_of(const struct qn_plan_perfect *t,
                                                           const int8_t *codes, unsigned depth)
{
    lanes index = {0};
    lanes d0, d1, d2, d3, d4;

    if (depth == 0)
        return index;
    d0 = FOLD_0(1);
    index -= d0;
    if (depth == 1)
        return index;
    d1 = FOLD_1(2, 1);
    index = index + index - d1;
    if (depth == 2)
        return index;
    d2 = FOLD_2(4, 2);
    index = index + index - d2;
    if (depth == 3)
        return index;
    d3 = FOLD_3(8, 4);
    index = index + index - d3;
    if (depth == 4)
        return index;
    d4 = FOLD_4(16, 8);
    index = index + index - d4;
    if (depth == 5)
        return index;
    return index + index - FOLD_5(32, 16);
}

#define SUM_BLOCK(name, type)                                                                      \
    static inline __attribute__((always_inline)) void name(const struct qn_plan_perfect *t,        \
                                                           const int8_t *codes, uint32_t rows,     \
                                                           unsigned depth, type *sum)              \
    {                                                                                              \
        const type *leaves = t->leaves;                                                            \
                                                                                                   \
        for (uint32_t r = 0; r < rows; r += LANES) {                                               \
            union {                                                                                \
                lanes all;                                                                         \
                uint8_t one[LANES];                                                                \
            } index = {.all = leaf_of(t, codes + r, depth)};                                       \
                                                                                                   \
            for (unsigned i = 0; i < LANES; i++)                                                   \
                sum[r + i] += leaves[index.one[i]];                                                \
        }                                                                                          \
    }

SUM_BLOCK(sum_block_float, float)
SUM_BLOCK(sum_block_double, double)

/* One tree for a block; the depth is a constant in each case, so each is straight code. */
#define SUM_BY_DEPTH(sum_block, depth)                                                             \
    switch (depth) {                                                                               \
    case 0:                                                                                        \
        sum_block(perfect, codes, rows, 0, sum);                                                   \
        break;                                                                                     \
    case 1:                                                                                        \
        sum_block(perfect, codes, rows, 1, sum);                                                   \
        break;                                                                                     \
    case 2:                                                                                        \
        sum_block(perfect, codes, rows, 2, sum);                                                   \
        break;                                                                                     \
    case 3:                                                                                        \
        sum_block(perfect, codes, rows, 3, sum);                                                   \
        break;                                                                                     \
    case 4:                                                                                        \
        sum_block(perfect, codes, rows, 4, sum);                                                   \
        break;                                                                                     \
    case 5:                                                                                        \
        sum_block(perfect, codes, rows, 5, sum);                                                   \
        break;                                                                                     \
    default:                                                                                       \
        sum_block(perfect, codes, rows, 6, sum);                                                   \
        break;                                                                                     \
    }

static void columns_tree_float(const struct qn_plan_perfect *perfect, const int8_t *codes,
                               uint32_t rows, unsigned depth, float *sum)
{
    SUM_BY_DEPTH(sum_block_float, depth)
}

static void columns_tree_double(const struct qn_plan_perfect *perfect, const int8_t *codes,
                                uint32_t rows, unsigned depth, double *sum)
{
    SUM_BY_DEPTH(sum_block_double, depth)
}

/* ---- split: one row of one perfect tree ---- */

static inline __attribute__((always_inline)) uint32_t
split_leaf(const struct qn_plan_split *s, const int8_t *codes, unsigned depth)
{
    uint32_t k = 1;

    for (unsigned level = 0; level < depth; level++)
        k = 2 * k + (codes[s[k].code] > s[k].limit);
    return k - (1u << depth);
}

/* Number of the leaf; the depth 6 of most boosted trees is unrolled. */
static inline uint32_t split_tree(const struct qn_plan_split *s, const int8_t *codes,
                                  unsigned depth)
{
    if (depth == QN_MODEL_PERFECT_DEPTH)
        return split_leaf(s, codes, QN_MODEL_PERFECT_DEPTH);
    return split_leaf(s, codes, depth);
}

/* Four neighbouring trees of the full depth in step: four chains of loads instead of one. */
static inline void split_four(const struct qn_plan_perfect *t, const int8_t *codes, uint32_t *leaf)
{
    const struct qn_plan_split *a = t[0].splits, *b = t[1].splits, *c = t[2].splits,
                               *d = t[3].splits;
    uint32_t i = 1, j = 1, k = 1, l = 1;

    for (unsigned level = 0; level < QN_MODEL_PERFECT_DEPTH; level++) {
        i = 2 * i + (codes[a[i].code] > a[i].limit);
        j = 2 * j + (codes[b[j].code] > b[j].limit);
        k = 2 * k + (codes[c[k].code] > c[k].limit);
        l = 2 * l + (codes[d[l].code] > d[l].limit);
    }
    leaf[0] = i - (1u << QN_MODEL_PERFECT_DEPTH);
    leaf[1] = j - (1u << QN_MODEL_PERFECT_DEPTH);
    leaf[2] = k - (1u << QN_MODEL_PERFECT_DEPTH);
    leaf[3] = l - (1u << QN_MODEL_PERFECT_DEPTH);
}

/* ---- node: any tree, explicit children ---- */

static uint32_t node_leaf(const struct qn_plan_node *nodes, uint32_t root, const int8_t *codes,
                          uint32_t stride)
{
    uint32_t k = root;

    for (;;) {
        const struct qn_plan_node *n = &nodes[k];
        uint32_t next = n->left + (codes[(size_t)n->code * stride] > n->limit);

        if (next == k)
            return k;
        k = next;
    }
}

/* One row of eight neighbouring trees in step. The end of a walk is a branch that no CPU foresees:
 * one for eight trees instead of one for each. */
static void node_eight(const struct qn_plan_node *nodes, const struct qn_tree *trees,
                       const int8_t *codes, uint32_t *leaf)
{
    uint32_t k[8], moved;

    for (unsigned i = 0; i < 8; i++)
        k[i] = trees[i].root;
    do {
        moved = 0;
#pragma GCC unroll 8
        for (unsigned i = 0; i < 8; i++) {
            const struct qn_plan_node n = nodes[k[i]];
            uint32_t next = n.left + (codes[n.code] > n.limit);

            moved |= next ^ k[i];
            k[i] = next;
        }
    } while (moved != 0);
    memcpy(leaf, k, sizeof(k));
}

/* Eight rows in step: a row that has reached its leaf stays there. `leaf` gets eight node numbers.
 */
static void node_leaf8(const struct qn_plan_node *nodes, uint32_t root, const int8_t *codes,
                       uint32_t depth, uint32_t *leaf)
{
    uint32_t k[8];

    for (unsigned i = 0; i < 8; i++)
        k[i] = root;
    while (depth > 0) {
        const unsigned steps = depth < 4 ? depth : 4;
        uint32_t moved = 0;

        for (unsigned step = 0; step < steps; step++) {
            moved = 0;
#pragma GCC unroll 8
            for (unsigned i = 0; i < 8; i++) {
                const struct qn_plan_node n = nodes[k[i]];
                uint32_t next = n.left + (codes[(size_t)n.code * QN_MODEL_BLOCK + i] > n.limit);

                moved |= next ^ k[i];
                k[i] = next;
            }
        }
        if (moved == 0)
            break;
        depth -= steps;
    }
    memcpy(leaf, k, sizeof(k));
}

void qn_model_node_tree(const struct qn_model *m, const struct qn_tree *tree, const int8_t *codes,
                        uint32_t rows, void *sum)
{
    const struct qn_plan *p = &m->plan;
    uint32_t leaf[8];

    for (uint32_t r = 0; r < rows; r += 8) {
        node_leaf8(p->nodes, tree->root, codes + r, tree->depth, leaf);
        for (unsigned i = 0; i < 8; i++) {
            if (m->info.is_float)
                ((float *)sum)[r + i] += ((const float *)p->leaf_values)[leaf[i]];
            else
                ((double *)sum)[r + i] += ((const double *)p->leaf_values)[leaf[i]];
        }
    }
}

/* ---- the two kernels ---- */

static void columns_block(const struct qn_model *m, const int8_t *codes, uint32_t rows, void *sums,
                          bool with_columns)
{
    for (size_t t = 0; t < m->forest.tree_count; t++) {
        const struct qn_tree *tree = &m->forest.trees[t];
        const struct qn_plan_perfect *perfect = &m->plan.perfect[t];
        const size_t at = (size_t)tree->output * QN_MODEL_BLOCK;

        if (!with_columns || perfect->splits == NULL)
            qn_model_node_tree(m, tree, codes, rows,
                               m->info.is_float ? (void *)((float *)sums + at)
                                                : (void *)((double *)sums + at));
        else if (m->info.is_float)
            columns_tree_float(perfect, codes, rows, tree->depth, (float *)sums + at);
        else
            columns_tree_double(perfect, codes, rows, tree->depth, (double *)sums + at);
    }
}

/* One row, `codes` without gaps. With one output the sum stays in a register: through memory each
 * addition would wait for the store of the one before. */
#define SCORE_ROW(name, type)                                                                      \
    static void name(const struct qn_model *m, const int8_t *codes, uint32_t row, type *sums,      \
                     bool with_columns)                                                            \
    {                                                                                              \
        const struct qn_plan *p = &m->plan;                                                        \
        const bool is_single = m->info.outputs == 1;                                               \
        const size_t count = m->forest.tree_count;                                                 \
        const bool by_node = !with_columns || p->perfect_count < count;                            \
        type sum = sums[row];                                                                      \
                                                                                                   \
        for (size_t t = 0; t < count; t++) {                                                       \
            const struct qn_tree *tree = &m->forest.trees[t];                                      \
            const struct qn_plan_perfect *perfect = &p->perfect[t];                                \
            type value;                                                                            \
                                                                                                   \
            if (is_single && !by_node && p->full_run[t] >= 4) {                                    \
                uint32_t leaf[4];                                                                  \
                                                                                                   \
                split_four(perfect, codes, leaf);                                                  \
                for (unsigned i = 0; i < 4; i++)                                                   \
                    sum += ((const type *)perfect[i].leaves)[leaf[i]];                             \
                t += 3;                                                                            \
                continue;                                                                          \
            }                                                                                      \
            if (is_single && by_node && t + 8 <= count) {                                          \
                uint32_t leaf[8];                                                                  \
                                                                                                   \
                node_eight(p->nodes, tree, codes, leaf);                                           \
                for (unsigned i = 0; i < 8; i++)                                                   \
                    sum += ((const type *)p->leaf_values)[leaf[i]];                                \
                t += 7;                                                                            \
                continue;                                                                          \
            }                                                                                      \
            if (with_columns && perfect->splits != NULL)                                           \
                value = ((const type *)                                                            \
                             perfect->leaves)[split_tree(perfect->splits, codes, tree->depth)];    \
            else                                                                                   \
                value = ((const type *)p->leaf_values)[node_leaf(p->nodes, tree->root, codes, 1)]; \
            if (is_single)                                                                         \
                sum += value;                                                                      \
            else                                                                                   \
                sums[(size_t)tree->output * QN_MODEL_BLOCK + row] += value;                        \
        }                                                                                          \
        if (is_single)                                                                             \
            sums[row] = sum;                                                                       \
    }

SCORE_ROW(score_row_float, float)
SCORE_ROW(score_row_double, double)

void qn_model_score_row(const struct qn_model *m, const int8_t *codes, uint32_t row, void *sums)
{
    if (m->info.is_float)
        score_row_float(m, codes, row, sums, true);
    else
        score_row_double(m, codes, row, sums, true);
}

static void codes_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                        uint32_t rows, int8_t *codes, void *sums, bool with_columns)
{
    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    if (rows <= ROWS_SPLIT_MAX) {
        for (uint32_t r = 0; r < rows; r++) {
            qn_model_quantise(m, columns, first + r, 1, 1, codes);
            if (m->info.is_float)
                score_row_float(m, codes, r, sums, with_columns);
            else
                score_row_double(m, codes, r, sums, with_columns);
        }
        return;
    }
    qn_model_quantise(m, columns, first, rows, QN_MODEL_BLOCK, codes);
    columns_block(m, codes, rows, sums, with_columns);
}

static size_t codes_scratch_bytes(const struct qn_model *m)
{
    return (size_t)(m->plan.code_count + 1) * QN_MODEL_BLOCK;
}

bool qn_model_codes_pay(const struct qn_model *m, uint32_t steps, const char **reason)
{
    const struct qn_plan *p = &m->plan;

    if (m->linear.is_used || !p->is_used)
        return false;
    if (p->quantise_steps > steps * p->walk_steps + 64) {
        *reason = "it has many inputs and few trees: coding the inputs would take longer";
        return false;
    }
    return true;
}

static bool walk8_is_suitable(const struct qn_model *m, const char **reason)
{
    if (!qn_model_codes_pay(m, QN_CODING_PLAIN, reason))
        return false;
    *reason = "its trees are deep";
    return true;
}

static bool columns16_is_suitable(const struct qn_model *m, const char **reason)
{
    if (!walk8_is_suitable(m, reason) || m->plan.perfect_count == 0)
        return false;
    *reason = m->plan.perfect_count == m->forest.tree_count
                  ? "all trees have depth 6 or less"
                  : "some trees have depth 6 or less, the others are walked 8 rows at a time";
    return true;
}

static void walk8_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                        uint32_t rows, void *scratch, void *sums)
{
    codes_score(m, columns, first, rows, scratch, sums, false);
}

static void columns16_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                            uint32_t rows, void *scratch, void *sums)
{
    codes_score(m, columns, first, rows, scratch, sums, true);
}

const struct qn_model_kernel qn_model_kernel_walk8 = {.name = "walk8",
                                                      .is_suitable = walk8_is_suitable,
                                                      .scratch_bytes = codes_scratch_bytes,
                                                      .score = walk8_score};

const struct qn_model_kernel qn_model_kernel_columns16 = {.name = "columns16",
                                                          .is_suitable = columns16_is_suitable,
                                                          .scratch_bytes = codes_scratch_bytes,
                                                          .score = columns16_score};
