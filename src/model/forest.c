/* SPDX-License-Identifier: Apache-2.0
 * forest.c - the intermediate form of all tree models: verification of each tree, sets of
 * categories, shape of a model.
 *
 * Loaders hand over trees as the file tells them; what stands in qn_forest afterwards is a tree:
 * every child exists, no node is reached twice, so walks end and need no checks. Nodes that the
 * root does not reach (pruned ones) are dropped; the rest lies in breadth-first order with brothers
 * side by side. No recursion: a queue in the forest's own memory. Thread: the loader's. Memory:
 * growing arrays, freed by qn_model_forest_fini. */
#include "base/check.h"
#include "model/model_int.h"

#include <math.h>
#include <stdlib.h>

bool qn_model_grow(void *array_pointer, size_t *cap, size_t need, size_t bytes)
{
    void *old, *grown;
    size_t want;

    if (need <= *cap)
        return true;
    want = *cap + *cap / 2 + 16;
    if (want < need)
        want = need;
    if (want > SIZE_MAX / 2 / bytes)
        return false;
    memcpy(&old, array_pointer, sizeof(old));
    grown = qn_mem_realloc(old, want * bytes);
    if (grown == NULL)
        return false;
    memcpy(array_pointer, &grown, sizeof(grown));
    *cap = want;
    return true;
}

const char *qn_model_text(struct qn_model *m, struct qn_str text)
{
    return qn_arena_strdup(&m->arena, text.len > 0 ? text.p : "", text.len);
}

qn_status qn_model_json_status(const char *reader_error)
{
    return reader_error != NULL && strcmp(reader_error, "out of memory") == 0 ? QN_NOMEM
                                                                              : QN_CORRUPT;
}

qn_status qn_model_shape(struct qn_model *m, uint64_t inputs, uint64_t outputs, struct qn_err *err)
{
    if (inputs > QN_MODEL_INPUTS_MAX)
        return qn_err_set(err, QN_LIMIT, "the model has %llu inputs, at most %d are possible",
                          (unsigned long long)inputs, QN_MODEL_INPUTS_MAX);
    if (outputs == 0 || outputs > QN_MODEL_OUTPUTS_MAX)
        return qn_err_set(err, QN_LIMIT, "the model has %llu outputs, 1 to %d are possible",
                          (unsigned long long)outputs, QN_MODEL_OUTPUTS_MAX);
    m->info.inputs = (uint32_t)inputs;
    m->info.outputs = (uint32_t)outputs;
    m->info.predictions = (uint32_t)outputs;
    m->start = QN_NEW_N(&m->arena, double, outputs);
    if (m->start == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    return QN_OK;
}

qn_status qn_model_names(struct qn_model *m, const struct qn_str *names, struct qn_err *err)
{
    struct qn_str *copy = QN_NEW_N(&m->arena, struct qn_str, m->info.inputs);

    if (copy == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory");
    for (uint32_t i = 0; i < m->info.inputs; i++) {
        copy[i].p = qn_model_text(m, names[i]);
        copy[i].len = names[i].len;
        if (copy[i].p == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory");
    }
    m->info.input_names = copy;
    return QN_OK;
}

/* What is wrong with one node by itself, or NULL. */
static const char *node_fault(const struct qn_model *m, const struct qn_raw_node *n, size_t count)
{
    if (n->flags & QN_NODE_LEAF)
        return isnan(n->value) ? "has a leaf value that is not a number" : NULL;
    if (n->left < 0 || n->right < 0 || (uint64_t)n->left >= count || (uint64_t)n->right >= count)
        return "has a child outside the tree";
    if (n->left == n->right)
        return "has twice the same child";
    if (n->column >= m->info.inputs)
        return "tests an input that the model does not have";
    if ((n->flags & QN_NODE_CATEGORY) && n->set >= m->forest.set_count)
        return "tests a set of categories that does not exist";
    return NULL;
}

/* Which part of the parent's cover went to each child, the left one at f->shares[at]. Below a node
 * that nothing reached both halves are alike. */
static void set_shares(struct qn_forest *f, const struct qn_raw_node *raw,
                       const struct qn_raw_node *parent, size_t at)
{
    const int64_t children[2] = {parent->left, parent->right};

    for (unsigned i = 0; i < 2; i++) {
        const double share = parent->cover == 0 ? 0.5 : raw[children[i]].cover / parent->cover;

        /* sums of floats: a child may have a little more than its parent */
        if (!(share >= 0 && share <= 2))
            f->lacks_covers = true;
        f->shares[at + i] = share;
    }
}

/* Queues a child for its place in the new order. False when it was reached before. */
static bool queue_child(struct qn_forest *f, int64_t raw_index, size_t *tail)
{
    if (f->seen[raw_index])
        return false;
    f->seen[raw_index] = 1;
    f->queue[(*tail)++] = (uint64_t)raw_index;
    return true;
}

/* Copies raw nodes in breadth-first order behind f->nodes. `depth` becomes the number of levels
 * below the root. */
static const char *add_in_order(struct qn_model *m, const struct qn_raw_node *raw, size_t count,
                                uint32_t *depth, size_t *fault_at)
{
    struct qn_forest *f = &m->forest;
    size_t head = 0, tail = 0, level_end = 1;
    const size_t base = f->node_count;

    *depth = 0;
    queue_child(f, 0, &tail);
    while (head < tail) {
        size_t at = (size_t)f->queue[head];
        const struct qn_raw_node *n = &raw[at];
        struct qn_node *out = &f->nodes[base + head];
        const char *fault = node_fault(m, n, count);

        *fault_at = at;
        if (fault != NULL)
            return fault;
        if (head == level_end) {
            *depth += 1;
            level_end = tail;
        }
        *out = (struct qn_node){.value = n->value, .set = n->set, .flags = n->flags};
        if (n->flags & QN_NODE_LEAF) {
            out->left = (uint32_t)(base + head);
            f->leaf_count++;
        } else {
            out->column = (uint32_t)n->column;
            out->left = (uint32_t)(base + tail);
            if (!queue_child(f, n->left, &tail) || !queue_child(f, n->right, &tail))
                return "has a child that is reached twice";
            set_shares(f, raw, n, base + tail - 2);
        }
        head++;
    }
    f->node_count = base + tail;
    return NULL;
}

qn_status qn_model_forest_add(struct qn_model *m, const struct qn_raw_node *raw, size_t count,
                              uint64_t output, struct qn_err *err)
{
    struct qn_forest *f = &m->forest;
    struct qn_tree *t;
    const size_t base = f->node_count;
    const char *fault;
    size_t fault_at = 0;
    uint32_t depth;

    if (count == 0)
        return qn_err_set(err, QN_CORRUPT, "tree %zu has no nodes", f->tree_count);
    if (output >= m->info.outputs)
        return qn_err_set(err, QN_CORRUPT, "tree %zu adds to output %llu of %u", f->tree_count,
                          (unsigned long long)output, m->info.outputs);
    if (count > QN_MODEL_NODES_MAX || base + count > QN_MODEL_NODES_MAX)
        return qn_err_set(err, QN_LIMIT, "the model has more than %d nodes", QN_MODEL_NODES_MAX);
    if (!qn_model_grow(&f->nodes, &f->node_cap, base + count, sizeof(*f->nodes)) ||
        !qn_model_grow(&f->shares, &f->share_cap, base + count, sizeof(*f->shares)) ||
        !qn_model_grow(&f->trees, &f->tree_cap, f->tree_count + 1, sizeof(*f->trees)) ||
        !qn_model_grow(&f->queue, &f->queue_cap, count, sizeof(*f->queue)) ||
        !qn_model_grow(&f->seen, &f->seen_cap, count, 1))
        return qn_err_set(err, QN_NOMEM, "out of memory");
    memset(f->seen, 0, count);
    f->shares[base] = 1;
    if (!(raw[0].flags & QN_NODE_LEAF) && !(raw[0].cover > 0))
        f->lacks_covers = true;
    fault = add_in_order(m, raw, count, &depth, &fault_at);
    if (fault != NULL)
        return qn_err_set(err, QN_CORRUPT, "node %zu of tree %zu %s", fault_at, f->tree_count,
                          fault);
    t = &f->trees[f->tree_count++];
    *t = (struct qn_tree){.root = (uint32_t)base,
                          .nodes = (uint32_t)(f->node_count - base),
                          .output = (uint32_t)output,
                          .depth = depth};
    if (depth > f->depth_max)
        f->depth_max = depth;
    QN_ASSERT(f->node_count <= base + count);
    return QN_OK;
}

static int compare_member(const void *a, const void *b)
{
    uint32_t x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

qn_status qn_model_forest_set(struct qn_forest *f, uint32_t *members, size_t count, uint32_t *out,
                              struct qn_err *err)
{
    struct qn_category_set *s;
    bool is_sorted = true;

    if (f->member_count + count > UINT32_MAX || f->set_count + 1 > UINT32_MAX)
        return qn_err_set(err, QN_LIMIT, "the model has too many categories");
    if (!qn_model_grow(&f->sets, &f->set_cap, f->set_count + 1, sizeof(*f->sets)) ||
        !qn_model_grow(&f->members, &f->member_cap, f->member_count + count, sizeof(*f->members)))
        return qn_err_set(err, QN_NOMEM, "out of memory");
    for (size_t i = 1; i < count; i++)
        is_sorted = is_sorted && members[i - 1] < members[i];
    if (!is_sorted)
        qsort(members, count, sizeof(*members), compare_member);
    *out = (uint32_t)f->set_count;
    s = &f->sets[f->set_count++];
    s->first = (uint32_t)f->member_count;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || members[i] != members[i - 1])
            f->members[f->member_count++] = members[i];
    }
    s->count = (uint32_t)(f->member_count - s->first);
    return QN_OK;
}

bool qn_model_set_has(const struct qn_forest *f, uint32_t set, double x)
{
    const struct qn_category_set *s = &f->sets[set];
    uint32_t low = 0, high = s->count, category;

    /* The bounds keep the conversion defined: outside of them the libraries find no member either.
     */
    if (!(x > -1.0) || !(x < 4294967296.0) || (x < 0 && !f->truncates_negative) ||
        (f->is_whole_only && x != trunc(x)))
        return false;
    category = (uint32_t)x;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (f->members[s->first + mid] < category)
            low = mid + 1;
        else
            high = mid;
    }
    return low < s->count && f->members[s->first + low] == category;
}

void qn_model_forest_fini(struct qn_forest *f)
{
    qn_mem_free(f->nodes);
    qn_mem_free(f->shares);
    qn_mem_free(f->trees);
    qn_mem_free(f->sets);
    qn_mem_free(f->members);
    qn_mem_free(f->linear_leaves);
    qn_mem_free(f->terms);
    qn_mem_free(f->queue);
    qn_mem_free(f->seen);
    *f = (struct qn_forest){0};
}
