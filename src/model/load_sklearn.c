/* SPDX-License-Identifier: Apache-2.0
 * load_sklearn.c - tree models of scikit-learn, from a JSON of our own that python/quern_export.py
 * writes.
 *
 *   {"format": "quern-forest", "version": 1, "inputs": ["a", "b"], "input_type": "float32",
 *    "outputs": 1, "start": [0], "divide": 100, "link": "identity",
 *    "trees": [{"left": [1, -1, -1], "right": [2, -1, -1], "feature": [0, 0, 0],
 *               "threshold": [0.5, 0, 0], "missing_left": [0, 0, 0], "values": [[0, 1, 2]]}]}
 *
 * `x <= threshold` goes left, x first rounded to float32 unless input_type says float64. A leaf has
 * left = -1. List k of `values` is added to output `output + k`, so a tree with a vector per leaf
 * becomes one tree per output. Members, links, arithmetic: docs/models.md. An unknown member is an
 * error. Thread: the loader's. Memory: growing arrays, at most a few times the bytes of the file;
 * decoded names in an arena that lives until the model is built. */
#include "base/json.h"
#include "model/model_int.h"

#include <math.h>

struct doubles {
    double *v;
    size_t count, cap;
};

enum list { LEFT, RIGHT, FEATURE, THRESHOLD, MISSING_LEFT, LIST_COUNT };

static const char *const LISTS[LIST_COUNT] = {"left", "right", "feature", "threshold",
                                              "missing_left"};

enum member {
    FORMAT,
    VERSION,
    INPUTS,
    INPUT_TYPE,
    OUTPUTS,
    START,
    DIVIDE,
    LINK,
    SLOPE,
    OUTPUT,
    OFFSET,
    MODEL,
    LIBRARY,
    CLASSES,
    COMMENT,
    TREES,
    MEMBER_COUNT
};

static const char *const MEMBERS[MEMBER_COUNT] = {
    "format", "version", "inputs", "input_type", "outputs", "start",   "divide",  "link",
    "slope",  "output",  "offset", "model",      "library", "classes", "comment", "trees"};

struct sklearn {
    struct qn_err *err;
    struct qn_model *m;
    struct qn_json_reader reader;
    bool seen[MEMBER_COUNT];
    bool is_double; /* input_type float64 */
    int64_t outputs;
    double divide, slope, offset;
    struct qn_str link, output, library, model;
    struct qn_str *names;
    size_t name_count, name_cap;
    struct doubles start;
    /* the tree being read */
    struct doubles lists[LIST_COUNT];
    struct doubles values; /* all lists of it, one after another */
    size_t value_lists;
    struct qn_raw_node *nodes;
    size_t node_cap;
};

static qn_status fault(struct sklearn *s, const char *text)
{
    const char *why = s->reader.error != NULL ? s->reader.error : text;
    qn_status rc = qn_err_set(s->err, qn_model_json_status(s->reader.error), "%s", why);

    s->err->has_offset = true;
    s->err->offset = qn_json_offset(&s->reader);
    return rc;
}

/* The number, or "inf" and "-inf" as text, that the reader stands on. */
static qn_status take_number(struct sklearn *s, enum qn_json_kind kind, double *out)
{
    *out = 0;
    if (kind == QN_JSON_NUMBER) {
        *out = qn_number_double(&s->reader.number);
        return isfinite(*out) ? QN_OK : fault(s, "a number is too large for a double");
    }
    if (kind == QN_JSON_STRING && qn_str_is(s->reader.text, "inf"))
        *out = INFINITY;
    else if (kind == QN_JSON_STRING && qn_str_is(s->reader.text, "-inf"))
        *out = -INFINITY;
    else
        return fault(s, "a number is expected here");
    return QN_OK;
}

static qn_status read_doubles(struct sklearn *s, enum qn_json_kind kind, struct doubles *out)
{
    if (kind != QN_JSON_ARRAY)
        return fault(s, "a list of numbers is expected here");
    for (kind = qn_json_next(&s->reader); kind != QN_JSON_CLOSE; kind = qn_json_next(&s->reader)) {
        if (!qn_model_grow(&out->v, &out->cap, out->count + 1, sizeof(*out->v)))
            return qn_err_set(s->err, QN_NOMEM, "out of memory");
        QN_TRY(take_number(s, kind, &out->v[out->count]));
        out->count++;
    }
    return QN_OK;
}

static qn_status read_names(struct sklearn *s, enum qn_json_kind kind)
{
    if (kind != QN_JSON_ARRAY)
        return fault(s, "'inputs' is a list of names");
    for (kind = qn_json_next(&s->reader); kind != QN_JSON_CLOSE; kind = qn_json_next(&s->reader)) {
        if (kind != QN_JSON_STRING)
            return fault(s, "'inputs' is a list of names");
        if (!qn_model_grow(&s->names, &s->name_cap, s->name_count + 1, sizeof(*s->names)))
            return qn_err_set(s->err, QN_NOMEM, "out of memory");
        s->names[s->name_count++] = s->reader.text;
    }
    return QN_OK;
}

static qn_status unknown_member(struct sklearn *s, struct qn_str key, const char *const *names,
                                unsigned count, const char *where)
{
    struct qn_str known[MEMBER_COUNT];
    int nearest;
    qn_status rc;

    for (unsigned i = 0; i < count; i++)
        known[i] = qn_str_of(names[i]);
    nearest = qn_nearest(key, known, count);
    rc = qn_err_set(s->err, QN_INVALID, "unknown or repeated member '%.*s' of a %s%s%s%s",
                    (int)(key.len > 60 ? 60 : key.len), key.p, where,
                    nearest >= 0 ? " (did you mean '" : "", nearest >= 0 ? names[nearest] : "",
                    nearest >= 0 ? "'?)" : "");
    s->err->has_offset = true;
    s->err->offset = qn_json_offset(&s->reader);
    return rc;
}

/* ---- trees ---- */

static qn_status read_values(struct sklearn *s, enum qn_json_kind kind)
{
    if (kind != QN_JSON_ARRAY)
        return fault(s, "'values' is a list with one list per output");
    for (kind = qn_json_next(&s->reader); kind != QN_JSON_CLOSE; kind = qn_json_next(&s->reader)) {
        QN_TRY(read_doubles(s, kind, &s->values));
        s->value_lists++;
    }
    return QN_OK;
}

static bool is_whole(double v)
{
    return v >= -1.0 && v <= (double)QN_MODEL_NODES_MAX && v == floor(v);
}

/* Everything but the leaves' values. */
static qn_status build_nodes(struct sklearn *s, size_t count)
{
    const size_t tree = s->m->forest.tree_count;

    if (!qn_model_grow(&s->nodes, &s->node_cap, count, sizeof(*s->nodes)))
        return qn_err_set(s->err, QN_NOMEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const double left = s->lists[LEFT].v[i], right = s->lists[RIGHT].v[i];
        const double feature = s->lists[FEATURE].v[i], threshold = s->lists[THRESHOLD].v[i];
        struct qn_raw_node *n = &s->nodes[i];

        if (!is_whole(left) || !is_whole(right) || !is_whole(feature))
            return qn_err_set(s->err, QN_CORRUPT,
                              "tree %zu: left, right or feature of node %zu is out of range", tree,
                              i);
        *n = (struct qn_raw_node){.set = UINT32_MAX};
        if (left < 0) {
            n->flags = QN_NODE_LEAF;
            continue;
        }
        n->left = (int64_t)left;
        n->right = (int64_t)right;
        n->column = feature < 0 ? UINT64_MAX : (uint64_t)feature;
        n->flags = s->lists[MISSING_LEFT].count > 0 && s->lists[MISSING_LEFT].v[i] != 0
                       ? 0
                       : QN_NODE_MISSING_RIGHT;
        if (!s->is_double)
            n->value = qn_model_float_threshold(threshold);
        else
            n->value = threshold == INFINITY ? (double)NAN : nextafter(threshold, INFINITY);
    }
    return QN_OK;
}

static qn_status build_tree(struct sklearn *s, int64_t output)
{
    const size_t tree = s->m->forest.tree_count, count = s->lists[LEFT].count;

    for (unsigned i = 0; i < LIST_COUNT; i++) {
        if (s->lists[i].count != count && (i != MISSING_LEFT || s->lists[i].count > 0))
            return qn_err_set(s->err, QN_CORRUPT, "tree %zu: '%s' has %zu values, 'left' has %zu",
                              tree, LISTS[i], s->lists[i].count, count);
    }
    if (s->value_lists == 0 || s->values.count != s->value_lists * count)
        return qn_err_set(s->err, QN_CORRUPT, "tree %zu: 'values' must have %zu numbers per list",
                          tree, count);
    if (output < 0 || output + (int64_t)s->value_lists > s->outputs)
        return qn_err_set(s->err, QN_CORRUPT, "tree %zu adds to an output beyond 'outputs'", tree);
    QN_TRY(build_nodes(s, count));
    for (size_t k = 0; k < s->value_lists; k++) {
        for (size_t i = 0; i < count; i++) {
            if (!(s->nodes[i].flags & QN_NODE_LEAF))
                continue;
            s->nodes[i].value = s->values.v[k * count + i];
            if (!isfinite(s->nodes[i].value))
                return qn_err_set(s->err, QN_CORRUPT,
                                  "tree %zu: the value of leaf %zu is not finite", tree, i);
        }
        QN_TRY(qn_model_forest_add(s->m, s->nodes, count, (uint64_t)output + k, s->err));
    }
    s->m->info.trees_in_file++;
    return QN_OK;
}

static qn_status read_tree_member(struct sklearn *s, enum qn_json_kind kind, int64_t *output)
{
    static const char *const names[] = {"left",         "right",  "feature", "threshold",
                                        "missing_left", "values", "output"};
    const struct qn_str key = s->reader.key;

    for (unsigned i = 0; i < LIST_COUNT; i++) {
        if (qn_str_is(key, LISTS[i]) && s->lists[i].count == 0)
            return read_doubles(s, kind, &s->lists[i]);
    }
    if (qn_str_is(key, "values") && s->value_lists == 0)
        return read_values(s, kind);
    if (qn_str_is(key, "output")) {
        if (kind != QN_JSON_NUMBER || !qn_number_scaled(&s->reader.number, 0, output))
            return fault(s, "'output' of a tree is a whole number");
        return QN_OK;
    }
    return unknown_member(s, key, names, 7, "tree");
}

static qn_status read_tree(struct sklearn *s, enum qn_json_kind kind)
{
    int64_t output = 0;

    if (kind != QN_JSON_OBJECT)
        return fault(s, "a tree is a JSON object");
    for (unsigned i = 0; i < LIST_COUNT; i++)
        s->lists[i].count = 0;
    s->values.count = 0;
    s->value_lists = 0;
    for (kind = qn_json_next(&s->reader); kind != QN_JSON_CLOSE; kind = qn_json_next(&s->reader)) {
        if (kind == QN_JSON_ERROR || kind == QN_JSON_END)
            return fault(s, "the document ends within a tree");
        QN_TRY(read_tree_member(s, kind, &output));
    }
    return build_tree(s, output);
}

static qn_status read_trees(struct sklearn *s, enum qn_json_kind kind)
{
    if (!s->seen[INPUTS] || !s->seen[OUTPUTS])
        return fault(s, "'inputs' and 'outputs' must stand before 'trees'");
    if (kind != QN_JSON_ARRAY)
        return fault(s, "'trees' is a list");
    QN_TRY(qn_model_shape(s->m, s->name_count, (uint64_t)s->outputs, s->err));
    QN_TRY(qn_model_names(s->m, s->names, s->err));
    for (kind = qn_json_next(&s->reader); kind != QN_JSON_CLOSE; kind = qn_json_next(&s->reader))
        QN_TRY(read_tree(s, kind));
    return QN_OK;
}

/* ---- the document ---- */

static qn_status take_text(struct sklearn *s, enum qn_json_kind kind, struct qn_str *out)
{
    if (kind != QN_JSON_STRING)
        return fault(s, "a text is expected here");
    *out = s->reader.text;
    return QN_OK;
}

static qn_status take_whole(struct sklearn *s, enum qn_json_kind kind, int64_t *out)
{
    if (kind != QN_JSON_NUMBER || !qn_number_scaled(&s->reader.number, 0, out) || *out < 0)
        return fault(s, "a whole number is expected here");
    return QN_OK;
}

static qn_status take_finite(struct sklearn *s, enum qn_json_kind kind, double *out)
{
    QN_TRY(take_number(s, kind, out));
    return isfinite(*out) ? QN_OK : fault(s, "a finite number is expected here");
}

static qn_status take_input_type(struct sklearn *s, enum qn_json_kind kind)
{
    if (s->seen[TREES])
        return fault(s, "'input_type' must stand before 'trees'");
    if (kind == QN_JSON_STRING && qn_str_is(s->reader.text, "float64"))
        s->is_double = true;
    else if (kind != QN_JSON_STRING || !qn_str_is(s->reader.text, "float32"))
        return fault(s, "'input_type' is float32 or float64");
    return QN_OK;
}

static qn_status read_member(struct sklearn *s, enum member member, enum qn_json_kind kind)
{
    int64_t version;

    switch (member) {
    case FORMAT:
        if (kind != QN_JSON_STRING || !qn_str_is(s->reader.text, "quern-forest"))
            return fault(s, "'format' is not \"quern-forest\", the only one known here");
        return QN_OK;
    case VERSION:
        QN_TRY(take_whole(s, kind, &version));
        return version == 1 ? QN_OK : fault(s, "'version' is not 1, the only one known here");
    case INPUTS:
        return read_names(s, kind);
    case INPUT_TYPE:
        return take_input_type(s, kind);
    case OUTPUTS:
        return take_whole(s, kind, &s->outputs);
    case START:
        return read_doubles(s, kind, &s->start);
    case DIVIDE:
        return take_finite(s, kind, &s->divide);
    case LINK:
        return take_text(s, kind, &s->link);
    case SLOPE:
        return take_finite(s, kind, &s->slope);
    case OUTPUT:
        return take_text(s, kind, &s->output);
    case OFFSET:
        return take_finite(s, kind, &s->offset);
    case MODEL:
        return take_text(s, kind, &s->model);
    case LIBRARY:
        return take_text(s, kind, &s->library);
    case TREES:
        return read_trees(s, kind);
    default: /* classes, comment: for people */
        return qn_json_skip(&s->reader, kind) ? QN_OK : fault(s, "not valid JSON");
    }
}

static qn_status read_document(struct sklearn *s)
{
    enum qn_json_kind kind = qn_json_next(&s->reader);

    if (kind != QN_JSON_OBJECT)
        return fault(s, "a forest is a JSON object");
    for (kind = qn_json_next(&s->reader); kind != QN_JSON_CLOSE; kind = qn_json_next(&s->reader)) {
        unsigned member = 0;

        if (kind == QN_JSON_ERROR || kind == QN_JSON_END)
            return fault(s, "the document ends within an object");
        while (member < MEMBER_COUNT && !qn_str_is(s->reader.key, MEMBERS[member]))
            member++;
        if (member == MEMBER_COUNT || s->seen[member])
            return unknown_member(s, s->reader.key, MEMBERS, MEMBER_COUNT, "forest");
        s->seen[member] = true;
        QN_TRY(read_member(s, (enum member)member, kind));
    }
    if (qn_json_next(&s->reader) != QN_JSON_END)
        return fault(s, "something stands behind the document");
    return QN_OK;
}

/* ---- what becomes of the sums ---- */

static qn_status set_isolation(struct sklearn *s)
{
    struct qn_transform *t = &s->m->transform;
    const bool is_default = !s->seen[OUTPUT];

    t->link = QN_LINK_ISOLATION;
    t->slope = -1;
    t->offset = s->offset;
    if (is_default || qn_str_is(s->output, "score_samples"))
        s->m->info.objective = "isolation score_samples";
    else if (qn_str_is(s->output, "decision_function"))
        s->m->info.objective = "isolation decision_function";
    else if (qn_str_is(s->output, "anomaly")) {
        s->m->info.objective = "isolation anomaly";
        t->slope = 1;
    } else
        return qn_err_set(s->err, QN_INVALID,
                          "output '%.*s' of an isolation forest is not known: score_samples, "
                          "decision_function, anomaly",
                          (int)(s->output.len > 60 ? 60 : s->output.len), s->output.p);
    if (s->seen[OFFSET] != qn_str_is(s->output, "decision_function"))
        return qn_err_set(s->err, QN_INVALID,
                          "'offset' belongs to the output decision_function, and to no other");
    return QN_OK;
}

static qn_status set_link(struct sklearn *s)
{
    static const struct {
        const char *name;
        enum qn_link link;
    } links[] = {{"identity", QN_LINK_IDENTITY},
                 {"logistic", QN_LINK_LOGISTIC},
                 {"softmax", QN_LINK_SOFTMAX},
                 {"exp", QN_LINK_EXP},
                 {"isolation", QN_LINK_ISOLATION}};
    struct qn_model *m = s->m;
    bool is_known = !s->seen[LINK];

    m->info.objective = "identity";
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]) && s->seen[LINK]; i++) {
        if (qn_str_is(s->link, links[i].name)) {
            m->transform.link = links[i].link;
            m->info.objective = links[i].name;
            is_known = true;
        }
    }
    if (!is_known)
        return qn_err_set(s->err, QN_INVALID,
                          "link '%.*s' is not known: identity, logistic, softmax, exp, isolation",
                          (int)(s->link.len > 60 ? 60 : s->link.len), s->link.p);
    m->transform.slope = s->slope;
    m->transform.divide = s->divide;
    if (s->divide == 0)
        return qn_err_set(s->err, QN_INVALID, "'divide' is 0");
    if (m->transform.link == QN_LINK_ISOLATION)
        return set_isolation(s);
    if (s->seen[OUTPUT] || s->seen[OFFSET])
        return qn_err_set(s->err, QN_INVALID, "'output' and 'offset' belong to the link isolation");
    return QN_OK;
}

static qn_status finish(struct sklearn *s)
{
    struct qn_model *m = s->m;

    if (!s->seen[FORMAT] || !s->seen[VERSION] || !s->seen[TREES])
        return qn_err_set(s->err, QN_INVALID,
                          "a forest needs the members format, version, inputs, outputs and trees");
    if (s->seen[START] && s->start.count != m->info.outputs)
        return qn_err_set(s->err, QN_INVALID, "'start' has %zu numbers, expected %u",
                          s->start.count, m->info.outputs);
    for (size_t k = 0; k < s->start.count; k++) {
        if (!isfinite(s->start.v[k]))
            return qn_err_set(s->err, QN_INVALID, "'start' of output %zu is not finite", k);
        m->start[k] = s->start.v[k];
    }
    QN_TRY(set_link(s));
    m->info.version = s->seen[LIBRARY] ? qn_model_text(m, s->library) : "1";
    return m->info.version != NULL ? QN_OK : qn_err_set(s->err, QN_NOMEM, "out of memory");
}

qn_status qn_model_load_sklearn(struct qn_model *m, struct qn_str bytes,
                                const struct qn_model_options *opt, struct qn_err *err)
{
    struct sklearn s = {.err = err, .m = m, .divide = 1, .slope = 1};
    struct qn_arena arena = {0};
    qn_status rc;

    (void)opt;
    qn_json_open(&s.reader, bytes, &arena);
    rc = read_document(&s);
    if (rc == QN_OK)
        rc = finish(&s);
    for (unsigned i = 0; i < LIST_COUNT; i++)
        qn_mem_free(s.lists[i].v);
    qn_mem_free(s.values.v);
    qn_mem_free(s.start.v);
    qn_mem_free(s.names);
    qn_mem_free(s.nodes);
    qn_arena_fini(&arena);
    return rc;
}
