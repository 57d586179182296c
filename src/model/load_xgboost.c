/* SPDX-License-Identifier: Apache-2.0
 * load_xgboost.c - builds a model from an XGBoost document (JSON or UBJ), or from the facts of an
 * old binary file.
 *
 * The writer sorts members by name, so parameters come after the trees that need them: everything
 * is collected first, then checked and built. What each member means: docs/models.md; its source is
 * XGBoost's model schema (doc/model.schema, src/learner.cc, src/tree/tree_model.cc, src/gbm).
 * Unknown members are skipped. No recursion: the document's levels are functions. Thread: the
 * loader's. Memory: struct qn_xgboost, freed at the end; every array is bounded by the bytes of the
 * file. */
#include "model/load_xgboost.h"
#include "model/words.h"

#include <math.h>

bool qn_model_push_float(struct qn_floats *a, float v)
{
    if (!qn_model_grow(&a->v, &a->cap, a->count + 1, sizeof(*a->v)))
        return false;
    a->v[a->count++] = v;
    return true;
}

bool qn_model_push_int(struct qn_ints *a, int64_t v)
{
    if (!qn_model_grow(&a->v, &a->cap, a->count + 1, sizeof(*a->v)))
        return false;
    a->v[a->count++] = v;
    return true;
}

void qn_model_xgboost_fini(struct qn_xgboost *x)
{
    qn_mem_free(x->base_scores.v);
    qn_mem_free(x->feature_names.v);
    qn_mem_free(x->tree_outputs.v);
    qn_mem_free(x->iteration_ends.v);
    qn_mem_free(x->drop_weights.v);
    qn_mem_free(x->linear_weights.v);
    qn_mem_free(x->nodes);
    qn_mem_free(x->tree_starts.v);
    qn_mem_free(x->left.v);
    qn_mem_free(x->right.v);
    qn_mem_free(x->columns.v);
    qn_mem_free(x->default_left.v);
    qn_mem_free(x->split_types.v);
    qn_mem_free(x->word_bytes.v);
    qn_mem_free(x->word_ends.v);
    qn_mem_free(x->word_counts.v);
    qn_mem_free(x->categories.v);
    qn_mem_free(x->category_nodes.v);
    qn_mem_free(x->category_segments.v);
    qn_mem_free(x->category_sizes.v);
    qn_mem_free(x->values.v);
    qn_mem_free(x->covers.v);
    qn_mem_free(x->members);
}

/* ---- reading the document ---- */

static qn_status no_memory(const struct qn_xgboost *x)
{
    return qn_err_set(x->err, QN_NOMEM, "out of memory");
}

/* A fault of the document, with the place. */
static qn_status fault(const struct qn_xgboost *x, const struct qn_doc *d, const char *text)
{
    qn_status rc = qn_err_set(x->err, qn_model_json_status(d->error), "%s",
                              d->error != NULL ? d->error : text);

    x->err->has_offset = true;
    x->err->offset = d->offset(d);
    return rc;
}

/* Goes behind a value whose first event was `kind`. */
static qn_status skip(const struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    uint32_t open = 0;

    for (;; kind = d->next(d)) {
        if (kind == QN_JSON_ERROR || kind == QN_JSON_END)
            return fault(x, d, "the document ends within a value");
        if (kind == QN_JSON_OBJECT || kind == QN_JSON_ARRAY)
            open++;
        else if (kind == QN_JSON_CLOSE)
            open--;
        if (open == 0)
            return QN_OK;
    }
}

/* Steps to the next member of an object: *kind is its first event, CLOSE at the end. */
static qn_status next_member(const struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind *kind)
{
    *kind = d->next(d);
    if (*kind == QN_JSON_ERROR || *kind == QN_JSON_END)
        return fault(x, d, "the document ends within an object");
    return QN_OK;
}

/* A whole number, as text ("3") or as number. */
static qn_status read_int(const struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind,
                          int64_t *out)
{
    if (kind == QN_JSON_STRING && qn_text_int64(d->text, out))
        return QN_OK;
    if (kind == QN_JSON_NUMBER && d->number_int(d, out))
        return QN_OK;
    return fault(x, d, "a whole number is expected here");
}

static qn_status read_ints(const struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind,
                           struct qn_ints *out)
{
    int64_t v;

    if (kind != QN_JSON_ARRAY)
        return fault(x, d, "an array of whole numbers is expected here");
    for (kind = d->next(d); kind != QN_JSON_CLOSE; kind = d->next(d)) {
        if (kind == QN_JSON_TRUE || kind == QN_JSON_FALSE)
            v = kind == QN_JSON_TRUE;
        else if (kind != QN_JSON_NUMBER || !d->number_int(d, &v))
            return fault(x, d, "a whole number is expected here");
        if (!qn_model_push_int(out, v))
            return no_memory(x);
    }
    return QN_OK;
}

static qn_status read_floats(const struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind,
                             struct qn_floats *out)
{
    if (kind != QN_JSON_ARRAY)
        return fault(x, d, "an array of numbers is expected here");
    for (kind = d->next(d); kind != QN_JSON_CLOSE; kind = d->next(d)) {
        /* "" stands for NaN in the JSON reader, see load_xgboost_json.c */
        if (kind != QN_JSON_NUMBER && !(kind == QN_JSON_STRING && d->text.len == 0))
            return fault(x, d, "a number is expected here");
        if (!qn_model_push_float(out, kind == QN_JSON_NUMBER ? d->number_float(d) : NAN))
            return no_memory(x);
    }
    return QN_OK;
}

static qn_status read_names(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    struct qn_names *a = &x->feature_names;

    if (kind != QN_JSON_ARRAY)
        return fault(x, d, "an array of names is expected here");
    for (kind = d->next(d); kind != QN_JSON_CLOSE; kind = d->next(d)) {
        if (kind != QN_JSON_STRING)
            return fault(x, d, "a name is expected here");
        if (!qn_model_grow(&a->v, &a->cap, a->count + 1, sizeof(*a->v)))
            return no_memory(x);
        a->v[a->count++] = d->text;
    }
    return QN_OK;
}

/* ---- trees ---- */

static void clear_tree(struct qn_xgboost *x)
{
    x->left.count = x->right.count = x->columns.count = 0;
    x->default_left.count = x->split_types.count = x->values.count = 0;
    x->covers.count = 0;
    x->categories.count = x->category_nodes.count = 0;
    x->category_segments.count = x->category_sizes.count = 0;
}

static qn_status read_tree_param(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    int64_t v;

    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "'tree_param' is not an object");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (qn_str_is(d->key, "size_leaf_vector")) {
            QN_TRY(read_int(x, d, kind, &v));
            if (v > x->leaf_vector)
                x->leaf_vector = v;
        } else {
            QN_TRY(skip(x, d, kind));
        }
    }
}

/* Sets of the tree that was read last: set_of[node] of its categorical nodes goes to x->nodes[first
 * + node].set. */
static qn_status add_sets(struct qn_xgboost *x, size_t first, size_t count)
{
    const size_t n = x->category_nodes.count;
    size_t total = 0;

    if (x->category_segments.count != n || x->category_sizes.count != n)
        return qn_err_set(x->err, QN_CORRUPT, "tree %zu: arrays of categories differ in length",
                          x->tree_starts.count - 1);
    for (size_t i = 0; i < n; i++) {
        const int64_t node = x->category_nodes.v[i], at = x->category_segments.v[i];
        const int64_t size = x->category_sizes.v[i];

        if (node < 0 || (size_t)node >= count || at < 0 || size < 0 ||
            (size_t)at > x->categories.count || (size_t)size > x->categories.count - (size_t)at)
            return qn_err_set(x->err, QN_CORRUPT, "tree %zu: a set of categories is out of range",
                              x->tree_starts.count - 1);
        total += (size_t)size; /* each category belongs to one set, which bounds the memory */
        if (total > x->categories.count)
            return qn_err_set(x->err, QN_CORRUPT, "tree %zu: sets of categories overlap",
                              x->tree_starts.count - 1);
        if (!qn_model_grow(&x->members, &x->member_cap, (size_t)size + 1, sizeof(*x->members)))
            return no_memory(x);
        for (int64_t j = 0; j < size; j++) {
            int64_t category = x->categories.v[at + j];

            if (category < 0 || category >= 1 << 24)
                return qn_err_set(x->err, QN_CORRUPT, "tree %zu: category %lld is out of range",
                                  x->tree_starts.count - 1, (long long)category);
            x->members[j] = (uint32_t)category;
        }
        QN_TRY(qn_model_forest_set(&x->m->forest, x->members, (size_t)size,
                                   &x->nodes[first + (size_t)node].set, x->err));
    }
    return QN_OK;
}

/* Turns the arrays of one tree into raw nodes. */
static qn_status add_tree(struct qn_xgboost *x)
{
    const size_t n = x->left.count, first = x->node_count, tree = x->tree_starts.count;

    if (n == 0 || x->right.count != n || x->columns.count != n || x->default_left.count != n ||
        x->values.count != n || (x->split_types.count != n && x->split_types.count != 0) ||
        (x->covers.count != n && x->covers.count != 0))
        return qn_err_set(x->err, QN_CORRUPT, "tree %zu: its arrays are empty or differ in length",
                          tree);
    if (!qn_model_grow(&x->nodes, &x->node_cap, first + n, sizeof(*x->nodes)) ||
        !qn_model_push_int(&x->tree_starts, (int64_t)first))
        return no_memory(x);
    for (size_t i = 0; i < n; i++) {
        const int64_t type = x->split_types.count > 0 ? x->split_types.v[i] : 0;
        struct qn_raw_node *node = &x->nodes[first + i];

        *node = (struct qn_raw_node){.value = x->values.v[i],
                                     .left = x->left.v[i],
                                     .right = x->right.v[i],
                                     .column = (uint64_t)x->columns.v[i],
                                     .cover = x->covers.count > 0 ? x->covers.v[i] : 0,
                                     .set = UINT32_MAX};
        if (x->left.v[i] == -1) {
            node->flags = QN_NODE_LEAF;
            continue;
        }
        if (x->right.v[i] - 1 != x->left.v[i])
            return qn_err_set(x->err, QN_UNSUPPORTED,
                              "tree %zu: the children of node %zu do not stand side by side, which "
                              "XGBoost itself reads wrongly; load and save it with a newer XGBoost",
                              tree, i);
        if (type != 0 && type != 1)
            return qn_err_set(x->err, QN_UNSUPPORTED, "tree %zu: split type %lld is not known",
                              tree, (long long)type);
        if (type == 0 && isnan(node->value))
            return qn_err_set(x->err, QN_CORRUPT, "tree %zu: node %zu compares with NaN", tree, i);
        if (x->default_left.v[i] == 0)
            node->flags |= QN_NODE_MISSING_RIGHT;
        if (type == 1) {
            node->flags |= QN_NODE_CATEGORY | QN_NODE_MEMBER_RIGHT;
            node->value = 0;
        }
    }
    x->node_count += n;
    return add_sets(x, first, n);
}

static qn_status read_tree(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    const struct {
        const char *name;
        struct qn_ints *to;
    } arrays[] = {{"left_children", &x->left},
                  {"right_children", &x->right},
                  {"split_indices", &x->columns},
                  {"default_left", &x->default_left},
                  {"split_type", &x->split_types},
                  {"categories", &x->categories},
                  {"categories_nodes", &x->category_nodes},
                  {"categories_segments", &x->category_segments},
                  {"categories_sizes", &x->category_sizes}};

    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "a tree is not an object");
    clear_tree(x);
    for (;;) {
        struct qn_ints *to = NULL;

        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return add_tree(x);
        for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
            if (qn_str_is(d->key, arrays[i].name))
                to = arrays[i].to;
        }
        if (to != NULL)
            QN_TRY(read_ints(x, d, kind, to));
        else if (qn_str_is(d->key, "split_conditions"))
            QN_TRY(read_floats(x, d, kind, &x->values));
        else if (qn_str_is(d->key, "sum_hessian"))
            QN_TRY(read_floats(x, d, kind, &x->covers));
        else if (qn_str_is(d->key, "tree_param"))
            QN_TRY(read_tree_param(x, d, kind));
        else
            QN_TRY(skip(x, d, kind));
    }
}

static qn_status read_trees(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    if (kind != QN_JSON_ARRAY)
        return fault(x, d, "'trees' is not an array");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        QN_TRY(read_tree(x, d, kind));
    }
}

/* ---- the booster ---- */

static qn_status read_trees_param(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    int64_t v;

    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "'gbtree_model_param' is not an object");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (qn_str_is(d->key, "num_parallel_tree")) {
            QN_TRY(read_int(x, d, kind, &x->parallel_trees));
        } else if (qn_str_is(d->key, "size_leaf_vector")) {
            QN_TRY(read_int(x, d, kind, &v));
            if (v > x->leaf_vector)
                x->leaf_vector = v;
        } else {
            QN_TRY(skip(x, d, kind));
        }
    }
}

/* One feature of 'enc': its words as offsets into bytes; features that are no text have none. Nor
 * do those with letters beyond ASCII: XGBoost 3.2 counts characters in the offsets and writes
 * bytes, so that its words are cut elsewhere, and the last one short. */
static qn_status read_feature_words(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    const size_t first = x->word_ends.count, base = x->word_bytes.count;
    struct qn_ints offsets = {0};
    bool is_text = true;
    qn_status rc = QN_OK;

    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "'enc' is not a list of objects");
    for (;;) {
        rc = next_member(x, d, &kind);
        if (rc != QN_OK || kind == QN_JSON_CLOSE)
            break;
        if (qn_str_is(d->key, "offsets")) {
            rc = read_ints(x, d, kind, &offsets);
        } else if (qn_str_is(d->key, "values") && is_text) {
            rc = read_ints(x, d, kind, &x->word_bytes);
        } else {
            is_text = is_text && !qn_str_is(d->key, "type"); /* numbers of that type */
            rc = skip(x, d, kind);
        }
        if (rc != QN_OK)
            break;
    }
    for (size_t i = base; i < x->word_bytes.count; i++)
        is_text = is_text && x->word_bytes.v[i] > 0 && x->word_bytes.v[i] < 128;
    if (!is_text)
        x->word_bytes.count = base;
    for (size_t i = 1; i < offsets.count && rc == QN_OK && is_text; i++) {
        if (offsets.v[0] != 0 || offsets.v[i] < offsets.v[i - 1] ||
            offsets.v[i] > (int64_t)(x->word_bytes.count - base))
            rc = fault(x, d, "the offsets of 'enc' are out of range");
        else if (!qn_model_push_int(&x->word_ends, (int64_t)base + offsets.v[i]))
            rc = no_memory(x);
    }
    qn_mem_free(offsets.v);
    if (rc == QN_OK && !qn_model_push_int(&x->word_counts, (int64_t)(x->word_ends.count - first)))
        rc = no_memory(x);
    return rc;
}

/* 'cats', since 3.1: the categories of a data frame, feature by feature. */
static qn_status read_words(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    if (kind != QN_JSON_OBJECT)
        return skip(x, d, kind);
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (!qn_str_is(d->key, "enc") || kind != QN_JSON_ARRAY) {
            QN_TRY(skip(x, d, kind));
            continue;
        }
        for (;;) {
            QN_TRY(next_member(x, d, &kind));
            if (kind == QN_JSON_CLOSE)
                break;
            QN_TRY(read_feature_words(x, d, kind));
        }
    }
}

/* 'model' of a booster: trees, or the weights of a linear one. */
static qn_status read_booster_model(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "the booster's 'model' is not an object");
    x->has_model = true;
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (qn_str_is(d->key, "gbtree_model_param"))
            QN_TRY(read_trees_param(x, d, kind));
        else if (qn_str_is(d->key, "tree_info"))
            QN_TRY(read_ints(x, d, kind, &x->tree_outputs));
        else if (qn_str_is(d->key, "iteration_indptr"))
            QN_TRY(read_ints(x, d, kind, &x->iteration_ends));
        else if (qn_str_is(d->key, "weight_drop"))
            QN_TRY(read_floats(x, d, kind, &x->drop_weights));
        else if (qn_str_is(d->key, "weights"))
            QN_TRY(read_floats(x, d, kind, &x->linear_weights));
        else if (qn_str_is(d->key, "trees"))
            QN_TRY(read_trees(x, d, kind));
        else if (qn_str_is(d->key, "cats"))
            QN_TRY(read_words(x, d, kind));
        else
            QN_TRY(skip(x, d, kind));
    }
}

/* DART keeps its trees in a booster within the booster. */
static qn_status read_inner_booster(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "'gbtree' is not an object");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (qn_str_is(d->key, "model"))
            QN_TRY(read_booster_model(x, d, kind));
        else
            QN_TRY(skip(x, d, kind));
    }
}

static qn_status read_booster(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "'gradient_booster' is not an object");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (qn_str_is(d->key, "name")) {
            if (kind != QN_JSON_STRING)
                return fault(x, d, "the booster's name is not text");
            x->booster = qn_str_is(d->text, "gbtree")     ? QN_BOOSTER_TREES
                         : qn_str_is(d->text, "dart")     ? QN_BOOSTER_DART
                         : qn_str_is(d->text, "gblinear") ? QN_BOOSTER_LINEAR
                                                          : QN_BOOSTER_NONE;
            if (x->booster == QN_BOOSTER_NONE)
                return qn_err_set(x->err, QN_UNSUPPORTED, "XGBoost booster '%.*s' is not known",
                                  (int)(d->text.len > 60 ? 60 : d->text.len), d->text.p);
        } else if (qn_str_is(d->key, "model")) {
            QN_TRY(read_booster_model(x, d, kind));
        } else if (qn_str_is(d->key, "gbtree")) {
            QN_TRY(read_inner_booster(x, d, kind));
        } else if (qn_str_is(d->key, "weight_drop")) {
            QN_TRY(read_floats(x, d, kind, &x->drop_weights));
        } else {
            QN_TRY(skip(x, d, kind));
        }
    }
}

/* ---- the learner ---- */

/* "5E-1", "[5E-1]", "(1, 2)": the numbers, into base_scores, which has room for all that a model
 * can have. False when it is no such text. */
static bool read_base_scores(struct qn_xgboost *x, struct qn_str text)
{
    const char *at = text.p, *end = text.p + text.len;

    while (at < end && (*at == ' ' || *at == '[' || *at == '('))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == ']' || end[-1] == ')'))
        end--;
    while (at < end) {
        const char *stop = memchr(at, ',', (size_t)(end - at));
        struct qn_str one;
        float v;

        if (stop == NULL)
            stop = end;
        while (at < stop && *at == ' ')
            at++;
        one = (struct qn_str){at, (uint32_t)(stop - at)};
        while (one.len > 0 && one.p[one.len - 1] == ' ')
            one.len--;
        if (!qn_text_float(one, &v) || isnan(v) || x->base_scores.count == QN_MODEL_OUTPUTS_MAX)
            return false;
        x->base_scores.v[x->base_scores.count++] = v;
        at = stop == end ? end : stop + 1;
    }
    return x->base_scores.count > 0;
}

static qn_status read_learner_param(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "'learner_model_param' is not an object");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (qn_str_is(d->key, "num_feature")) {
            QN_TRY(read_int(x, d, kind, &x->feature_count));
        } else if (qn_str_is(d->key, "num_class")) {
            QN_TRY(read_int(x, d, kind, &x->class_count));
        } else if (qn_str_is(d->key, "num_target")) {
            QN_TRY(read_int(x, d, kind, &x->target_count));
        } else if (qn_str_is(d->key, "base_score")) {
            x->base_scores.count = 0;
            if (!qn_model_grow(&x->base_scores.v, &x->base_scores.cap, QN_MODEL_OUTPUTS_MAX,
                               sizeof(float)))
                return no_memory(x);
            if (kind == QN_JSON_NUMBER) {
                x->base_scores.v[x->base_scores.count++] = d->number_float(d);
            } else if (kind != QN_JSON_STRING || !read_base_scores(x, d->text)) {
                return fault(x, d, "'base_score' is not a number or a list of numbers");
            }
        } else {
            QN_TRY(skip(x, d, kind));
        }
    }
}

static qn_status read_objective(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "'objective' is not an object");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (qn_str_is(d->key, "name") && kind == QN_JSON_STRING)
            x->objective = d->text;
        else
            QN_TRY(skip(x, d, kind));
    }
}

static qn_status read_attributes(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "'attributes' is not an object");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (qn_str_is(d->key, "best_iteration")) {
            QN_TRY(read_int(x, d, kind, &x->best_iteration));
            x->has_best_iteration = true;
        } else {
            QN_TRY(skip(x, d, kind));
        }
    }
}

static qn_status read_learner(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "'learner' is not an object");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            return QN_OK;
        if (qn_str_is(d->key, "learner_model_param"))
            QN_TRY(read_learner_param(x, d, kind));
        else if (qn_str_is(d->key, "objective"))
            QN_TRY(read_objective(x, d, kind));
        else if (qn_str_is(d->key, "attributes"))
            QN_TRY(read_attributes(x, d, kind));
        else if (qn_str_is(d->key, "feature_names"))
            QN_TRY(read_names(x, d, kind));
        else if (qn_str_is(d->key, "gradient_booster"))
            QN_TRY(read_booster(x, d, kind));
        else
            QN_TRY(skip(x, d, kind));
    }
}

static qn_status read_version(struct qn_xgboost *x, struct qn_doc *d, enum qn_json_kind kind)
{
    struct qn_ints v = {0};
    qn_status rc = read_ints(x, d, kind, &v);

    for (size_t i = 0; i < v.count && i < 3 && rc == QN_OK; i++) {
        if (v.v[i] < 0 || v.v[i] > 100000)
            rc = fault(x, d, "'version' is out of range");
        else
            x->version[i] = (uint32_t)v.v[i];
    }
    qn_mem_free(v.v);
    return rc;
}

static qn_status read_document(struct qn_xgboost *x, struct qn_doc *d)
{
    enum qn_json_kind kind = d->next(d);

    if (kind != QN_JSON_OBJECT)
        return fault(x, d, "the document is not an object");
    for (;;) {
        QN_TRY(next_member(x, d, &kind));
        if (kind == QN_JSON_CLOSE)
            break;
        if (qn_str_is(d->key, "learner"))
            QN_TRY(read_learner(x, d, kind));
        else if (qn_str_is(d->key, "version"))
            QN_TRY(read_version(x, d, kind));
        else
            QN_TRY(skip(x, d, kind));
    }
    if (d->next(d) != QN_JSON_END)
        return fault(x, d, "something stands behind the document");
    return QN_OK;
}

qn_status qn_model_xgboost_document(struct qn_model *m, struct qn_doc *d,
                                    const struct qn_model_options *opt, struct qn_err *err)
{
    struct qn_xgboost x = {.m = m, .err = err, .feature_count = -1, .parallel_trees = 1};
    qn_status rc = read_document(&x, d);

    if (rc == QN_OK)
        rc = qn_model_xgboost_build(&x, opt);
    qn_model_xgboost_fini(&x);
    return rc;
}

/* ---- building ---- */

/* The words of the features that are categories as text. */
static qn_status build_words(struct qn_xgboost *x)
{
    const size_t bytes = x->word_bytes.count, count = x->word_ends.count;
    char *text = qn_mem_alloc(bytes + 1);
    struct qn_str *words = qn_mem_zalloc(count + 1, sizeof(*words));
    size_t start = 0, first = 0;
    qn_status rc = text != NULL && words != NULL ? QN_OK : no_memory(x);

    x->m->unknown_word = -1;
    for (size_t i = 0; i < bytes && rc == QN_OK; i++)
        text[i] = (char)(uint8_t)x->word_bytes.v[i];
    for (size_t i = 0; i < count && rc == QN_OK; i++) {
        words[i] = (struct qn_str){text + start, (uint32_t)((size_t)x->word_ends.v[i] - start)};
        start = (size_t)x->word_ends.v[i];
    }
    for (size_t f = 0; f < x->word_counts.count && f < x->m->info.inputs && rc == QN_OK; f++) {
        rc = qn_model_words_add(x->m, (uint32_t)f, words + first, (size_t)x->word_counts.v[f],
                                x->err);
        first += (size_t)x->word_counts.v[f];
    }
    qn_mem_free(text);
    qn_mem_free(words);
    return rc;
}

static qn_status build_shape(struct qn_xgboost *x)
{
    struct qn_model *m = x->m;
    const int64_t outputs = x->class_count > 1    ? x->class_count
                            : x->target_count > 1 ? x->target_count
                                                  : 1;
    char version[40];
    unsigned n = 0;

    if (x->feature_count < 0)
        return qn_err_set(x->err, QN_CORRUPT, "the file has no 'learner_model_param'");
    QN_TRY(qn_model_shape(m, (uint64_t)x->feature_count, (uint64_t)outputs, x->err));
    if (!qn_model_xgboost_objective(m, x->objective, x->err))
        return x->err->code;
    if (m->transform.link == QN_LINK_FLOAT_ARGMAX)
        m->info.predictions = 1;
    m->info.is_float = true;
    m->missing = (double)(float)m->missing;
    for (unsigned i = 0; i < 3; i++) {
        n += qn_print_uint64(version + n, x->version[i]);
        version[n++] = '.';
    }
    m->info.version = qn_model_text(m, (struct qn_str){version, n - 1});
    if (m->info.version == NULL)
        return no_memory(x);
    if (x->word_counts.count > 0)
        QN_TRY(build_words(x));
    if (x->feature_names.count == 0)
        return QN_OK;
    if (x->feature_names.count != m->info.inputs)
        return qn_err_set(x->err, QN_CORRUPT, "the file names %zu features but has %u",
                          x->feature_names.count, m->info.inputs);
    return qn_model_names(m, x->feature_names.v, x->err);
}

/* Files before 1.0 hold the margin. XGBoost 1.0 to 3.0 turned it into a prediction and back, in
 * float32. */
static float margin_before_1_0(const struct qn_xgboost *x, float margin)
{
    const struct qn_model *m = x->m;

    if (m->transform.link != QN_LINK_FLOAT_LOGISTIC && m->transform.link != QN_LINK_FLOAT_EXP)
        return margin;
    return qn_model_xgboost_margin(m, (float)qn_model_predict(&m->transform, margin), 1, 0);
}

static qn_status build_start(struct qn_xgboost *x)
{
    struct qn_model *m = x->m;
    const size_t n = x->base_scores.count;

    if (n == 0)
        return qn_err_set(x->err, QN_CORRUPT, "the file has no base_score");
    if (n != 1 && n != m->info.outputs)
        return qn_err_set(x->err, QN_CORRUPT, "the file has %zu base scores for %u outputs", n,
                          m->info.outputs);
    for (uint32_t k = 0; k < m->info.outputs; k++) {
        const float b = x->base_scores.v[n == 1 ? 0 : k];
        const float start = x->base_is_margin
                                ? margin_before_1_0(x, b)
                                : qn_model_xgboost_margin(m, b, x->version[0], x->version[1]);

        if (isnan(start))
            return qn_err_set(x->err, QN_CORRUPT, "base score %g is impossible for objective '%s'",
                              (double)b, m->info.objective);
        m->start[k] = start;
    }
    return QN_OK;
}

/* How many trees run. */
static qn_status tree_limit(struct qn_xgboost *x, const struct qn_model_options *opt, size_t *out)
{
    const size_t all = x->tree_starts.count;
    const size_t round = (size_t)x->parallel_trees * x->m->info.outputs;
    const size_t rounds = (size_t)x->best_iteration + 1;

    *out = all;
    if (opt->trees != QN_TREES_BEST || !x->has_best_iteration)
        return QN_OK;
    if (x->best_iteration < 0 || x->best_iteration > INT32_MAX)
        return qn_err_set(x->err, QN_CORRUPT, "best_iteration is out of range");
    if (x->iteration_ends.count > rounds) {
        const int64_t end = x->iteration_ends.v[rounds];

        if (end < 0 || (size_t)end > all)
            return qn_err_set(x->err, QN_CORRUPT, "'iteration_indptr' is out of range");
        *out = (size_t)end;
    } else if (rounds < all / round) {
        *out = rounds * round;
    }
    return QN_OK;
}

static qn_status build_trees(struct qn_xgboost *x, const struct qn_model_options *opt)
{
    const size_t all = x->tree_starts.count;
    size_t limit;

    if (x->tree_outputs.count != all)
        return qn_err_set(x->err, QN_CORRUPT, "'tree_info' has %zu entries for %zu trees",
                          x->tree_outputs.count, all);
    if (x->leaf_vector > 1)
        return qn_err_set(x->err, QN_UNSUPPORTED,
                          "its trees have vector leaves, which cannot be loaded; train with "
                          "multi_strategy=one_output_per_tree");
    if (x->parallel_trees < 1 || x->parallel_trees > INT32_MAX)
        return qn_err_set(x->err, QN_CORRUPT, "num_parallel_tree is out of range");
    if (x->booster == QN_BOOSTER_DART && x->drop_weights.count != all)
        return qn_err_set(x->err, QN_CORRUPT, "'weight_drop' has %zu entries for %zu trees",
                          x->drop_weights.count, all);
    QN_TRY(tree_limit(x, opt, &limit));
    x->m->info.trees_in_file = (uint32_t)all;
    for (size_t t = 0; t < limit; t++) {
        const size_t first = (size_t)x->tree_starts.v[t];
        const size_t end = t + 1 < all ? (size_t)x->tree_starts.v[t + 1] : x->node_count;

        for (size_t i = first; i < end && x->booster == QN_BOOSTER_DART; i++) {
            if (x->nodes[i].flags & QN_NODE_LEAF)
                x->nodes[i].value = (float)x->nodes[i].value * x->drop_weights.v[t];
        }
        QN_TRY(qn_model_forest_add(x->m, x->nodes + first, end - first,
                                   (uint64_t)x->tree_outputs.v[t], x->err));
    }
    return QN_OK;
}

/* gblinear: weights[input * outputs + output], the biases last. */
static qn_status build_linear(struct qn_xgboost *x)
{
    struct qn_model *m = x->m;
    const size_t inputs = m->info.inputs, outputs = m->info.outputs;
    const float *w = x->linear_weights.v;

    if (x->linear_weights.count != (inputs + 1) * outputs)
        return qn_err_set(x->err, QN_CORRUPT, "the linear booster has %zu weights, expected %zu",
                          x->linear_weights.count, (inputs + 1) * outputs);
    m->linear.is_used = true;
    m->linear.skips_missing = true;
    m->linear.coefficients = QN_NEW_N(&m->arena, double, inputs *outputs);
    if (m->linear.coefficients == NULL)
        return no_memory(x);
    for (size_t k = 0; k < outputs; k++) {
        for (size_t i = 0; i < inputs; i++)
            m->linear.coefficients[k * inputs + i] = w[i * outputs + k];
    }
    for (size_t k = outputs; k-- > 0;)
        m->start[k] = w[inputs * outputs + k] + (float)m->start[0];
    return QN_OK;
}

qn_status qn_model_xgboost_build(struct qn_xgboost *x, const struct qn_model_options *opt)
{
    if (x->booster == QN_BOOSTER_NONE || !x->has_model)
        return qn_err_set(
            x->err, QN_CORRUPT,
            "the file holds settings but no model; save it with booster.save_model, not "
            "save_config");
    QN_TRY(build_shape(x));
    QN_TRY(build_start(x));
    return x->booster == QN_BOOSTER_LINEAR ? build_linear(x) : build_trees(x, opt);
}
