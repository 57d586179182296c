/* SPDX-License-Identifier: Apache-2.0
 * load_catboost.c - CatBoost models in its JSON export: symmetric trees and ordinary ones, numeric
 * splits and one-hot splits of categories that are whole numbers.
 *
 * A symmetric tree is a list of splits; bit d of the leaf's number answers split d. It becomes a
 * perfect tree whose root asks the last split, so that leaves keep their order. `x > border` in
 * float32 goes right, sums are double in tree order, the bias comes last: as a tree of one leaf per
 * output. Splits name features by number, so features_info must stand before the trees, as CatBoost
 * writes it. Members that do not change a prediction are passed over. Thread: the loader's. Memory:
 * growing arrays, at most a few times the bytes of the file; text in an arena that lives until the
 * model is built. */
#include "base/json.h"
#include "model/model_int.h"

#include <math.h>
#include <stdlib.h>

enum { SPLITS_MAX = 20, CATEGORY_END = 1 << 24 };

struct feature {
    int64_t column;
    struct qn_str name;
    bool nan_goes_right;
};

struct features {
    struct feature *v;
    size_t count, cap;
};

/* A category by CatBoost's hash; number < 0: its text is no whole number. */
struct category {
    uint32_t hash;
    int32_t number;
};

struct catboost {
    struct qn_err *err;
    struct qn_model *m;
    struct qn_json_reader reader;
    bool has_features, has_trees, has_scale, has_loss;
    struct features floats, categorical;
    struct category *categories;
    size_t category_count, category_cap;
    struct qn_raw_node *nodes; /* of the tree being read; a leaf's `left`: its first value */
    size_t node_count, node_cap;
    double *values;
    size_t value_count, value_cap;
    double *bias;
    size_t bias_count, bias_cap;
};

static const struct loss {
    const char *name;
    enum qn_link link;
} LOSSES[] = {
    {"Logloss", QN_LINK_LOGISTIC},      {"CrossEntropy", QN_LINK_LOGISTIC},
    {"MultiClass", QN_LINK_SOFTMAX},    {"MultiClassOneVsAll", QN_LINK_LOGISTIC},
    {"MultiLogloss", QN_LINK_LOGISTIC}, {"MultiCrossEntropy", QN_LINK_LOGISTIC},
    {"Poisson", QN_LINK_EXP},           {"Tweedie", QN_LINK_EXP},
    {"RMSE", QN_LINK_IDENTITY},         {"MultiRMSE", QN_LINK_IDENTITY},
    {"MAE", QN_LINK_IDENTITY},          {"MAPE", QN_LINK_IDENTITY},
    {"Quantile", QN_LINK_IDENTITY},     {"Expectile", QN_LINK_IDENTITY},
    {"Huber", QN_LINK_IDENTITY},        {"LogCosh", QN_LINK_IDENTITY},
    {"Lq", QN_LINK_IDENTITY},           {"QueryRMSE", QN_LINK_IDENTITY},
    {"PairLogit", QN_LINK_IDENTITY},    {"YetiRank", QN_LINK_IDENTITY},
};

/* ---- reading ---- */

static qn_status at_offset(struct catboost *c, qn_status rc)
{
    c->err->has_offset = true;
    c->err->offset = qn_json_offset(&c->reader);
    return rc;
}

static qn_status fault(struct catboost *c, const char *text)
{
    const char *why = c->reader.error != NULL ? c->reader.error : text;

    return at_offset(c, qn_err_set(c->err, qn_model_json_status(c->reader.error), "%s", why));
}

static qn_status no_memory(struct catboost *c)
{
    return qn_err_set(c->err, QN_NOMEM, "out of memory");
}

static qn_status skip(struct catboost *c, enum qn_json_kind kind)
{
    return qn_json_skip(&c->reader, kind) ? QN_OK : fault(c, "not valid JSON");
}

/* The next member or element. *more: false at the end of the object or list. */
static qn_status next(struct catboost *c, enum qn_json_kind *kind, bool *more)
{
    *kind = qn_json_next(&c->reader);
    *more = *kind != QN_JSON_CLOSE;
    if (*kind == QN_JSON_ERROR || *kind == QN_JSON_END)
        return fault(c, "the document ends too early");
    return QN_OK;
}

static qn_status take_whole(struct catboost *c, enum qn_json_kind kind, int64_t *out)
{
    if (kind != QN_JSON_NUMBER || !qn_number_scaled(&c->reader.number, 0, out))
        return fault(c, "a whole number is expected here");
    return QN_OK;
}

static qn_status push_number(struct catboost *c, enum qn_json_kind kind, double **v, size_t *count,
                             size_t *cap)
{
    double x;

    if (kind != QN_JSON_NUMBER)
        return fault(c, "a number is expected here");
    x = qn_number_double(&c->reader.number);
    if (!isfinite(x))
        return fault(c, "a number is too large for a double");
    if (!qn_model_grow(v, cap, *count + 1, sizeof(**v)))
        return no_memory(c);
    (*v)[(*count)++] = x;
    return QN_OK;
}

/* A number, or a list of them. */
static qn_status push_numbers(struct catboost *c, enum qn_json_kind kind, double **v, size_t *count,
                              size_t *cap)
{
    bool more;

    if (kind != QN_JSON_ARRAY)
        return push_number(c, kind, v, count, cap);
    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            return QN_OK;
        QN_TRY(push_number(c, kind, v, count, cap));
    }
}

/* ---- features ---- */

static qn_status read_feature(struct catboost *c, struct features *list)
{
    struct feature f = {.column = -1};
    enum qn_json_kind kind;
    int64_t number = -1;
    bool more;

    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            break;
        if (qn_str_is(c->reader.key, "flat_feature_index"))
            QN_TRY(take_whole(c, kind, &f.column));
        else if (qn_str_is(c->reader.key, "feature_index"))
            QN_TRY(take_whole(c, kind, &number));
        else if (kind == QN_JSON_STRING && qn_str_is(c->reader.key, "nan_value_treatment"))
            f.nan_goes_right = qn_str_is(c->reader.text, "AsTrue");
        else if (kind == QN_JSON_STRING && c->reader.text.len > 0 &&
                 (qn_str_is(c->reader.key, "feature_name") ||
                  (f.name.len == 0 && qn_str_is(c->reader.key, "feature_id"))))
            f.name = c->reader.text;
        else
            QN_TRY(skip(c, kind));
    }
    if (number != (int64_t)list->count || f.column < 0 || f.column >= QN_MODEL_INPUTS_MAX)
        return fault(c, "a feature lacks feature_index or flat_feature_index, or they are wrong");
    if (!qn_model_grow(&list->v, &list->cap, list->count + 1, sizeof(*list->v)))
        return no_memory(c);
    list->v[list->count++] = f;
    return QN_OK;
}

/* {"hash": 2856682258, "value": "0"} */
static qn_status read_category(struct catboost *c)
{
    struct category category = {.number = -1};
    enum qn_json_kind kind;
    int64_t hash = -1, number;
    bool more;

    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            break;
        if (qn_str_is(c->reader.key, "hash")) {
            QN_TRY(take_whole(c, kind, &hash));
        } else if (kind == QN_JSON_STRING && qn_str_is(c->reader.key, "value")) {
            const struct qn_str text = c->reader.text;

            /* 07 and +7 are other categories than 7 */
            if (qn_text_int64(text, &number) && number >= 0 && number < CATEGORY_END &&
                text.p[0] != '+' && text.p[0] != '-' && (text.p[0] != '0' || text.len == 1))
                category.number = (int32_t)number;
        } else {
            QN_TRY(skip(c, kind));
        }
    }
    if (hash < 0 || hash > UINT32_MAX)
        return fault(c, "a hash of a category is out of range");
    category.hash = (uint32_t)hash;
    if (!qn_model_grow(&c->categories, &c->category_cap, c->category_count + 1,
                       sizeof(*c->categories)))
        return no_memory(c);
    c->categories[c->category_count++] = category;
    return QN_OK;
}

enum part { PART_FLOATS, PART_CATEGORICAL, PART_HASHES, PART_UNKNOWN_KIND };

static qn_status read_list(struct catboost *c, enum qn_json_kind kind, enum part part)
{
    bool more;

    if (kind != QN_JSON_ARRAY)
        return fault(c, "a list is expected here");
    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            return QN_OK;
        if (part == PART_UNKNOWN_KIND)
            return at_offset(
                c, qn_err_set(c->err, QN_UNSUPPORTED,
                              "this CatBoost model has text or embedding features, which are not "
                              "available; train without them"));
        if (kind != QN_JSON_OBJECT)
            return fault(c, "an object is expected here");
        if (part == PART_HASHES)
            QN_TRY(read_category(c));
        else
            QN_TRY(read_feature(c, part == PART_FLOATS ? &c->floats : &c->categorical));
    }
}

static int compare_category(const void *a, const void *b)
{
    struct category x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x.hash > y.hash) - (x.hash < y.hash);
}

static qn_status read_features(struct catboost *c, enum qn_json_kind kind)
{
    bool more;

    if (kind != QN_JSON_OBJECT || c->has_features)
        return fault(c, "'features_info' is an object and stands once");
    c->has_features = true;
    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            break;
        if (qn_str_is(c->reader.key, "float_features"))
            QN_TRY(read_list(c, kind, PART_FLOATS));
        else if (qn_str_is(c->reader.key, "categorical_features"))
            QN_TRY(read_list(c, kind, PART_CATEGORICAL));
        else if (qn_str_is(c->reader.key, "cat_features_hash"))
            QN_TRY(read_list(c, kind, PART_HASHES));
        else if (qn_str_is(c->reader.key, "text_features") ||
                 qn_str_is(c->reader.key, "embedding_features"))
            QN_TRY(read_list(c, kind, PART_UNKNOWN_KIND));
        else
            QN_TRY(skip(c, kind));
    }
    if (c->category_count > 1)
        qsort(c->categories, c->category_count, sizeof(*c->categories), compare_category);
    return QN_OK;
}

/* ---- splits ---- */

struct split {
    struct qn_str type;
    int64_t float_feature, cat_feature, hash;
    double border;
    bool has_border, has_hash;
};

/* The number of a category by its hash; -1 with *err set where it has none. */
static int32_t category_number(struct catboost *c, int64_t hash)
{
    const uint32_t want = (uint32_t)hash; /* splits write it signed */
    size_t low = 0, high = c->category_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (c->categories[mid].hash < want)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == c->category_count || c->categories[low].hash != want) {
        at_offset(c, qn_err_set(c->err, QN_UNSUPPORTED,
                                "the file does not say which category hash %lld is; save it with "
                                "the training data: model.save_model(\"m.json\", format=\"json\", "
                                "pool=pool)",
                                (long long)hash));
        return -1;
    }
    if (c->categories[low].number < 0)
        at_offset(c, qn_err_set(c->err, QN_UNSUPPORTED,
                                "a split asks for a category that is no whole number from 0 to "
                                "16777215; number the categories before training"));
    return c->categories[low].number;
}

static qn_status one_hot(struct catboost *c, const struct split *s, struct qn_raw_node *n)
{
    uint32_t member;
    int32_t number;

    if (s->cat_feature < 0 || (uint64_t)s->cat_feature >= c->categorical.count || !s->has_hash ||
        s->hash < INT32_MIN || s->hash > UINT32_MAX)
        return fault(c, "a one-hot split names no category");
    number = category_number(c, s->hash);
    if (number < 0)
        return c->err->code;
    member = (uint32_t)number;
    n->column = (uint64_t)c->categorical.v[s->cat_feature].column;
    n->flags = QN_NODE_CATEGORY | QN_NODE_MEMBER_RIGHT;
    return qn_model_forest_set(&c->m->forest, &member, 1, &n->set, c->err);
}

static qn_status build_split(struct catboost *c, const struct split *s, struct qn_raw_node *n)
{
    const struct feature *f;

    *n = (struct qn_raw_node){.left = -1, .right = -1, .set = UINT32_MAX};
    if (qn_str_is(s->type, "OneHotFeature"))
        return one_hot(c, s, n);
    if (!qn_str_is(s->type, "FloatFeature"))
        return at_offset(
            c, qn_err_set(c->err, QN_UNSUPPORTED,
                          "split type '%.*s': statistics of the target per category (CTR) are not "
                          "available; train with one_hot_max_size above the number of categories, "
                          "or encode them as numbers before training",
                          (int)(s->type.len > 40 ? 40 : s->type.len), s->type.p));
    if (s->float_feature < 0 || (uint64_t)s->float_feature >= c->floats.count || !s->has_border)
        return fault(c, "a split names no feature that the model has");
    f = &c->floats.v[s->float_feature];
    n->column = (uint64_t)f->column;
    n->value = qn_model_float_threshold(s->border);
    n->flags = f->nan_goes_right ? QN_NODE_MISSING_RIGHT : 0;
    return QN_OK;
}

/* The reader stands behind the '{' of a split. */
static qn_status read_split(struct catboost *c, enum qn_json_kind kind, struct qn_raw_node *out)
{
    struct split s = {.type = {"", 0}, .float_feature = -1, .cat_feature = -1};
    bool more;

    if (kind != QN_JSON_OBJECT)
        return fault(c, "a split is an object");
    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            return build_split(c, &s, out);
        if (kind == QN_JSON_STRING && qn_str_is(c->reader.key, "split_type")) {
            s.type = c->reader.text;
        } else if (qn_str_is(c->reader.key, "float_feature_index")) {
            QN_TRY(take_whole(c, kind, &s.float_feature));
        } else if (qn_str_is(c->reader.key, "cat_feature_index")) {
            QN_TRY(take_whole(c, kind, &s.cat_feature));
        } else if (qn_str_is(c->reader.key, "value")) {
            QN_TRY(take_whole(c, kind, &s.hash));
            s.has_hash = true;
        } else if (kind == QN_JSON_NUMBER && qn_str_is(c->reader.key, "border")) {
            s.border = (double)qn_number_float(&c->reader.number);
            s.has_border = true;
        } else {
            QN_TRY(skip(c, kind));
        }
    }
}

/* ---- trees ---- */

/* At the first tree, which tells the number of outputs. */
static qn_status shape(struct catboost *c, size_t outputs)
{
    const struct features *lists[] = {&c->floats, &c->categorical};
    struct qn_str *names;
    size_t inputs = 0;
    bool is_named = true;
    qn_status rc;

    if (c->m->info.outputs > 0)
        return outputs == c->m->info.outputs ? QN_OK
                                             : fault(c, "the trees differ in number of outputs");
    for (unsigned k = 0; k < 2; k++) {
        for (size_t i = 0; i < lists[k]->count; i++) {
            if ((size_t)lists[k]->v[i].column >= inputs)
                inputs = (size_t)lists[k]->v[i].column + 1;
        }
    }
    QN_TRY(qn_model_shape(c->m, inputs, outputs, c->err));
    names = qn_mem_zalloc(inputs + 1, sizeof(*names));
    if (names == NULL)
        return no_memory(c);
    for (unsigned k = 0; k < 2; k++) {
        for (size_t i = 0; i < lists[k]->count; i++)
            names[lists[k]->v[i].column] = lists[k]->v[i].name;
    }
    for (size_t i = 0; i < inputs; i++)
        is_named = is_named && names[i].len > 0;
    rc = is_named && inputs > 0 ? qn_model_names(c->m, names, c->err) : QN_OK;
    qn_mem_free(names);
    return rc;
}

/* Adds the tree in c->nodes once per output. */
static qn_status add_tree(struct catboost *c, size_t outputs)
{
    QN_TRY(shape(c, outputs));
    for (size_t k = 0; k < outputs; k++) {
        for (size_t i = 0; i < c->node_count; i++) {
            if (c->nodes[i].flags & QN_NODE_LEAF)
                c->nodes[i].value = c->values[(size_t)c->nodes[i].left + k];
        }
        QN_TRY(qn_model_forest_add(c->m, c->nodes, c->node_count, k, c->err));
    }
    c->m->info.trees_in_file++;
    return QN_OK;
}

static qn_status build_oblivious(struct catboost *c, const struct qn_raw_node *splits, size_t depth)
{
    const size_t leaves = (size_t)1 << depth, outputs = c->value_count / leaves;

    if (c->value_count == 0 || outputs * leaves != c->value_count)
        return fault(c, "a tree has a number of leaf values that does not fit its splits");
    c->node_count = 2 * leaves - 1;
    if (!qn_model_grow(&c->nodes, &c->node_cap, c->node_count, sizeof(*c->nodes)))
        return no_memory(c);
    for (size_t level = 0, i = 0; level < depth; level++) {
        for (; i < ((size_t)2 << level) - 1; i++) {
            c->nodes[i] = splits[depth - 1 - level];
            c->nodes[i].left = (int64_t)(2 * i + 1);
            c->nodes[i].right = (int64_t)(2 * i + 2);
        }
    }
    for (size_t i = 0; i < leaves; i++)
        c->nodes[leaves - 1 + i] = (struct qn_raw_node){
            .left = (int64_t)(i * outputs), .set = UINT32_MAX, .flags = QN_NODE_LEAF};
    return add_tree(c, outputs);
}

static qn_status read_oblivious(struct catboost *c, enum qn_json_kind kind)
{
    struct qn_raw_node splits[SPLITS_MAX];
    size_t depth = 0;
    bool more;

    if (kind != QN_JSON_OBJECT)
        return fault(c, "a tree is an object");
    c->value_count = 0;
    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            return build_oblivious(c, splits, depth);
        if (qn_str_is(c->reader.key, "leaf_values")) {
            QN_TRY(push_numbers(c, kind, &c->values, &c->value_count, &c->value_cap));
        } else if (qn_str_is(c->reader.key, "splits") && kind == QN_JSON_ARRAY) {
            for (;;) {
                QN_TRY(next(c, &kind, &more));
                if (!more)
                    break;
                if (depth == SPLITS_MAX)
                    return fault(c, "a symmetric tree has too many splits");
                QN_TRY(read_split(c, kind, &splits[depth]));
                depth++;
            }
        } else {
            QN_TRY(skip(c, kind));
        }
    }
}

static qn_status add_node(struct catboost *c, size_t *out)
{
    if (!qn_model_grow(&c->nodes, &c->node_cap, c->node_count + 1, sizeof(*c->nodes)))
        return no_memory(c);
    *out = c->node_count++;
    c->nodes[*out] = (struct qn_raw_node){.left = -1, .right = -1, .column = UINT64_MAX};
    return QN_OK;
}

static qn_status close_node(struct catboost *c, size_t at, size_t *outputs)
{
    const struct qn_raw_node *n = &c->nodes[at];
    size_t width;

    if (!(n->flags & QN_NODE_LEAF))
        return n->column != UINT64_MAX && n->left >= 0 && n->right >= 0
                   ? QN_OK
                   : fault(c, "a node has neither a value nor a split with two children");
    width = c->value_count - (size_t)n->left; /* no other leaf was read since it began */
    if (n->right >= 0 || n->column != UINT64_MAX || width == 0 ||
        (*outputs > 0 && *outputs != width))
        return fault(c, "the leaves of a tree differ in number of values");
    *outputs = width;
    return QN_OK;
}

/* One member of node `at`; where it is a child, that one becomes *child. */
static qn_status node_member(struct catboost *c, enum qn_json_kind kind, size_t at, size_t *child)
{
    const bool is_left = qn_str_is(c->reader.key, "left");
    struct qn_raw_node *n = &c->nodes[at], split;

    if (is_left || qn_str_is(c->reader.key, "right")) {
        if (kind != QN_JSON_OBJECT || (n->flags & QN_NODE_LEAF) ||
            (is_left ? n->left : n->right) >= 0)
            return fault(c, "a child of a node is an object and stands once");
        QN_TRY(add_node(c, child));
        *(is_left ? &c->nodes[at].left : &c->nodes[at].right) = (int64_t)*child;
        return QN_OK;
    }
    if (qn_str_is(c->reader.key, "split")) {
        if (n->column != UINT64_MAX || (n->flags & QN_NODE_LEAF))
            return fault(c, "a node has one split");
        QN_TRY(read_split(c, kind, &split));
        split.left = n->left;
        split.right = n->right;
        *n = split;
        return QN_OK;
    }
    if (qn_str_is(c->reader.key, "value")) {
        if (n->left >= 0 || (n->flags & QN_NODE_LEAF))
            return fault(c, "a leaf has one value and no children");
        n->flags = QN_NODE_LEAF;
        n->left = (int64_t)c->value_count;
        return push_numbers(c, kind, &c->values, &c->value_count, &c->value_cap);
    }
    return skip(c, kind);
}

/* Nested nodes, with a stack of the open ones: the reader limits the depth. */
static qn_status read_tree(struct catboost *c, enum qn_json_kind kind)
{
    size_t open[QN_JSON_DEPTH_MAX], depth = 1, outputs = 0, child;
    bool more;

    if (kind != QN_JSON_OBJECT)
        return fault(c, "a tree is an object");
    c->node_count = 0;
    c->value_count = 0;
    QN_TRY(add_node(c, &open[0]));
    while (depth > 0) {
        QN_TRY(next(c, &kind, &more));
        if (!more) {
            QN_TRY(close_node(c, open[--depth], &outputs));
            continue;
        }
        child = SIZE_MAX;
        QN_TRY(node_member(c, kind, open[depth - 1], &child));
        if (child != SIZE_MAX)
            open[depth++] = child;
    }
    return add_tree(c, outputs);
}

static qn_status read_trees(struct catboost *c, enum qn_json_kind kind, bool is_oblivious)
{
    bool more;

    if (!c->has_features || c->has_trees || kind != QN_JSON_ARRAY)
        return fault(c, "the trees of a CatBoost model are one list behind 'features_info'");
    c->has_trees = true;
    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            return QN_OK;
        QN_TRY(is_oblivious ? read_oblivious(c, kind) : read_tree(c, kind));
    }
}

/* ---- the rest of the document ---- */

static qn_status set_loss(struct catboost *c, struct qn_str name)
{
    for (size_t i = 0; i < sizeof(LOSSES) / sizeof(LOSSES[0]); i++) {
        if (qn_str_is(name, LOSSES[i].name)) {
            c->m->info.objective = LOSSES[i].name;
            c->m->transform.link = LOSSES[i].link;
            c->has_loss = true;
            return QN_OK;
        }
    }
    return at_offset(c, qn_err_set(c->err, QN_UNSUPPORTED,
                                   "CatBoost loss function '%.*s' is not known here, so its "
                                   "prediction cannot be reproduced; train with one of those in "
                                   "docs/models.md",
                                   (int)(name.len > 60 ? 60 : name.len), name.p));
}

/* model_info.params.loss_function.type: one level of objects after the other. */
static qn_status read_info(struct catboost *c, enum qn_json_kind kind)
{
    static const char *const path[] = {"params", "loss_function", "type"};
    unsigned level = 0;
    bool more;

    if (kind != QN_JSON_OBJECT)
        return fault(c, "'model_info' is an object");
    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more) {
            if (level == 0)
                return QN_OK;
            level--;
        } else if (!qn_str_is(c->reader.key, path[level])) {
            QN_TRY(skip(c, kind));
        } else if (level < 2 && kind == QN_JSON_OBJECT) {
            level++;
        } else if (level == 2 && kind == QN_JSON_STRING) {
            QN_TRY(set_loss(c, c->reader.text));
        } else {
            return fault(c, "model_info.params.loss_function.type is not as CatBoost writes it");
        }
    }
}

/* [1, [0.5]], or [1, 0.5] of older versions. */
static qn_status read_scale(struct catboost *c, enum qn_json_kind kind)
{
    bool more;

    if (kind != QN_JSON_ARRAY || c->has_scale)
        return fault(c, "'scale_and_bias' is a list and stands once");
    c->has_scale = true;
    QN_TRY(next(c, &kind, &more));
    if (!more || kind != QN_JSON_NUMBER)
        return fault(c, "'scale_and_bias' begins with a number");
    if (qn_number_double(&c->reader.number) != 1.0)
        return at_offset(c, qn_err_set(c->err, QN_UNSUPPORTED,
                                       "a CatBoost model with a scale other than 1 is not "
                                       "available; call model.set_scale_and_bias(1, bias) and "
                                       "scale the prediction afterwards"));
    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            return QN_OK;
        QN_TRY(push_numbers(c, kind, &c->bias, &c->bias_count, &c->bias_cap));
    }
}

static qn_status read_document(struct catboost *c)
{
    enum qn_json_kind kind = qn_json_next(&c->reader);
    bool more;

    if (kind != QN_JSON_OBJECT)
        return fault(c, "a CatBoost model is a JSON object");
    for (;;) {
        QN_TRY(next(c, &kind, &more));
        if (!more)
            break;
        if (qn_str_is(c->reader.key, "features_info"))
            QN_TRY(read_features(c, kind));
        else if (qn_str_is(c->reader.key, "model_info"))
            QN_TRY(read_info(c, kind));
        else if (qn_str_is(c->reader.key, "oblivious_trees"))
            QN_TRY(read_trees(c, kind, true));
        else if (qn_str_is(c->reader.key, "trees"))
            QN_TRY(read_trees(c, kind, false));
        else if (qn_str_is(c->reader.key, "scale_and_bias"))
            QN_TRY(read_scale(c, kind));
        else
            QN_TRY(skip(c, kind));
    }
    return qn_json_next(&c->reader) == QN_JSON_END
               ? QN_OK
               : fault(c, "something stands behind the document");
}

/* The bias, last of all: a leaf added behind the trees. */
static qn_status finish(struct catboost *c)
{
    if (!c->has_trees || !c->has_scale || !c->has_loss || c->m->info.outputs == 0)
        return qn_err_set(
            c->err, QN_CORRUPT,
            "the file lacks trees, scale_and_bias or model_info.params.loss_function; "
            "save it with model.save_model(\"m.json\", format=\"json\")");
    if (c->bias_count != 0 && c->bias_count != c->m->info.outputs)
        return qn_err_set(c->err, QN_CORRUPT, "scale_and_bias has %zu biases, expected %u",
                          c->bias_count, c->m->info.outputs);
    for (size_t k = 0; k < c->bias_count; k++) {
        const struct qn_raw_node leaf = {
            .value = c->bias[k], .set = UINT32_MAX, .flags = QN_NODE_LEAF};

        if (c->bias[k] != 0)
            QN_TRY(qn_model_forest_add(c->m, &leaf, 1, k, c->err));
    }
    return QN_OK;
}

qn_status qn_model_load_catboost(struct qn_model *m, struct qn_str bytes,
                                 const struct qn_model_options *opt, struct qn_err *err)
{
    struct catboost c = {.err = err, .m = m};
    struct qn_arena arena = {0};
    qn_status rc;

    (void)opt;
    qn_json_open(&c.reader, bytes, &arena);
    rc = read_document(&c);
    if (rc == QN_OK)
        rc = finish(&c);
    qn_mem_free(c.floats.v);
    qn_mem_free(c.categorical.v);
    qn_mem_free(c.categories);
    qn_mem_free(c.nodes);
    qn_mem_free(c.values);
    qn_mem_free(c.bias);
    qn_arena_fini(&arena);
    return rc;
}
