/* SPDX-License-Identifier: Apache-2.0
 * load_linear.c - linear and logistic models from a small JSON of our own.
 *
 *   {"format": "quern-linear", "version": 1, "inputs": ["a", "b"], "coefficients": [[0.5, -2]],
 *    "intercepts": [0.1], "link": "logistic", "mean": [..], "scale": [..], "fill": [0, null]}
 *
 * coefficients: one list per output, or one plain list for one output. link: identity (default),
 * logistic, softmax, exp. mean, scale: per input, x becomes (x - mean) / scale first. fill: per
 * input, what stands for missing, null = nothing: then the prediction is NaN. comment: anything.
 * An unknown member is an error. The arithmetic: docs/models.md.
 * Thread: the loader's. Memory: growing arrays until the model is built, then its arena. */
#include "base/json.h"
#include "model/model_int.h"

#include <math.h>

struct doubles {
    double *v;
    size_t count, cap;
};

struct linear_file {
    struct qn_err *err;
    struct qn_json_reader reader;
    bool has_format, has_inputs, has_coefficients, has_intercepts, has_mean, has_scale, has_fill;
    struct qn_str link;
    struct qn_str *names;
    size_t name_count, name_cap;
    struct doubles coefficients, intercepts, mean, scale, fill;
    size_t outputs; /* lists of coefficients */
};

static const char *const MEMBERS[] = {"format", "version", "inputs", "coefficients", "intercepts",
                                      "link",   "mean",    "scale",  "fill",         "comment"};

static qn_status fault(struct linear_file *l, const char *text)
{
    const char *why = l->reader.error != NULL ? l->reader.error : text;
    qn_status rc = qn_err_set(l->err, qn_model_json_status(l->reader.error), "%s", why);

    l->err->has_offset = true;
    l->err->offset = qn_json_offset(&l->reader);
    return rc;
}

static qn_status push(struct linear_file *l, struct doubles *a, double v)
{
    if (!qn_model_grow(&a->v, &a->cap, a->count + 1, sizeof(*a->v)))
        return qn_err_set(l->err, QN_NOMEM, "out of memory");
    a->v[a->count++] = v;
    return QN_OK;
}

/* Takes the number the reader stands on. */
static qn_status take_number(struct linear_file *l, struct doubles *a)
{
    double v = qn_number_double(&l->reader.number);

    if (!isfinite(v))
        return fault(l, "a number is too large for a double");
    return push(l, a, v);
}

static qn_status read_doubles(struct linear_file *l, enum qn_json_kind kind, bool allows_null,
                              struct doubles *out)
{
    if (kind != QN_JSON_ARRAY)
        return fault(l, "a list of numbers is expected here");
    for (kind = qn_json_next(&l->reader); kind != QN_JSON_CLOSE; kind = qn_json_next(&l->reader)) {
        if (kind == QN_JSON_NULL && allows_null)
            QN_TRY(push(l, out, NAN));
        else if (kind == QN_JSON_NUMBER)
            QN_TRY(take_number(l, out));
        else
            return fault(l, "a number is expected here");
    }
    return QN_OK;
}

/* [[..], [..]] or, for one output, [..]. */
static qn_status read_coefficients(struct linear_file *l, enum qn_json_kind kind)
{
    size_t width = 0;
    bool is_plain = false;

    if (kind != QN_JSON_ARRAY)
        return fault(l, "'coefficients' is a list with one list per output");
    for (kind = qn_json_next(&l->reader); kind != QN_JSON_CLOSE; kind = qn_json_next(&l->reader)) {
        const size_t before = l->coefficients.count;

        if (kind == QN_JSON_NUMBER && (is_plain || l->outputs == 0)) {
            is_plain = true;
            QN_TRY(take_number(l, &l->coefficients));
            continue;
        }
        if (is_plain)
            return fault(l, "'coefficients' mixes numbers and lists");
        QN_TRY(read_doubles(l, kind, false, &l->coefficients));
        if (l->outputs > 0 && l->coefficients.count - before != width)
            return fault(l, "the lists of 'coefficients' differ in length");
        width = l->coefficients.count - before;
        l->outputs++;
    }
    if (is_plain)
        l->outputs = 1;
    return QN_OK;
}

static qn_status read_names(struct linear_file *l, enum qn_json_kind kind)
{
    if (kind != QN_JSON_ARRAY)
        return fault(l, "'inputs' is a list of names");
    for (kind = qn_json_next(&l->reader); kind != QN_JSON_CLOSE; kind = qn_json_next(&l->reader)) {
        if (kind != QN_JSON_STRING)
            return fault(l, "'inputs' is a list of names");
        if (!qn_model_grow(&l->names, &l->name_cap, l->name_count + 1, sizeof(*l->names)))
            return qn_err_set(l->err, QN_NOMEM, "out of memory");
        l->names[l->name_count++] = l->reader.text;
    }
    return QN_OK;
}

static qn_status unknown_member(struct linear_file *l, struct qn_str key)
{
    enum { COUNT = sizeof(MEMBERS) / sizeof(MEMBERS[0]) };
    struct qn_str known[COUNT];
    int nearest;
    qn_status rc;

    for (unsigned i = 0; i < COUNT; i++)
        known[i] = qn_str_of(MEMBERS[i]);
    nearest = qn_nearest(key, known, COUNT);
    rc = qn_err_set(l->err, QN_INVALID, "unknown or repeated member '%.*s' of a linear model%s%s%s",
                    (int)(key.len > 60 ? 60 : key.len), key.p,
                    nearest >= 0 ? " (did you mean '" : "", nearest >= 0 ? MEMBERS[nearest] : "",
                    nearest >= 0 ? "'?)" : "");
    l->err->has_offset = true;
    l->err->offset = qn_json_offset(&l->reader);
    return rc;
}

/* A member may stand once only. */
static bool once(bool *seen)
{
    bool first = !*seen;

    *seen = true;
    return first;
}

static qn_status read_member(struct linear_file *l, enum qn_json_kind kind)
{
    const struct qn_str key = l->reader.key;
    int64_t version;

    if (qn_str_is(key, "format")) {
        l->has_format = kind == QN_JSON_STRING && qn_str_is(l->reader.text, "quern-linear");
        return l->has_format
                   ? QN_OK
                   : fault(l, "'format' is not \"quern-linear\", the only one known here");
    }
    if (qn_str_is(key, "version")) {
        if (kind != QN_JSON_NUMBER || !qn_number_scaled(&l->reader.number, 0, &version) ||
            version != 1)
            return fault(l, "'version' is not 1, the only one known here");
        return QN_OK;
    }
    if (qn_str_is(key, "link")) {
        if (kind != QN_JSON_STRING)
            return fault(l, "'link' is identity, logistic, softmax or exp");
        l->link = l->reader.text;
        return QN_OK;
    }
    if (qn_str_is(key, "inputs") && once(&l->has_inputs))
        return read_names(l, kind);
    if (qn_str_is(key, "coefficients") && once(&l->has_coefficients))
        return read_coefficients(l, kind);
    if (qn_str_is(key, "intercepts") && once(&l->has_intercepts))
        return read_doubles(l, kind, false, &l->intercepts);
    if (qn_str_is(key, "mean") && once(&l->has_mean))
        return read_doubles(l, kind, false, &l->mean);
    if (qn_str_is(key, "scale") && once(&l->has_scale))
        return read_doubles(l, kind, false, &l->scale);
    if (qn_str_is(key, "fill") && once(&l->has_fill))
        return read_doubles(l, kind, true, &l->fill);
    if (qn_str_is(key, "comment"))
        return qn_json_skip(&l->reader, kind) ? QN_OK : fault(l, "not valid JSON");
    return unknown_member(l, key);
}

static qn_status read_document(struct linear_file *l)
{
    enum qn_json_kind kind = qn_json_next(&l->reader);

    if (kind != QN_JSON_OBJECT)
        return fault(l, "a linear model is a JSON object");
    for (;;) {
        kind = qn_json_next(&l->reader);
        if (kind == QN_JSON_CLOSE)
            break;
        if (kind == QN_JSON_ERROR || kind == QN_JSON_END)
            return fault(l, "the document ends within an object");
        QN_TRY(read_member(l, kind));
    }
    if (qn_json_next(&l->reader) != QN_JSON_END)
        return fault(l, "something stands behind the document");
    return QN_OK;
}

static qn_status check(struct linear_file *l)
{
    const size_t n = l->name_count;
    const struct {
        const char *name;
        bool is_there;
        size_t count, wanted;
    } lists[] = {{"coefficients", true, l->coefficients.count, n * l->outputs},
                 {"intercepts", l->has_intercepts, l->intercepts.count, l->outputs},
                 {"mean", l->has_mean, l->mean.count, n},
                 {"scale", l->has_scale, l->scale.count, n},
                 {"fill", l->has_fill, l->fill.count, n}};

    if (!l->has_format || !l->has_inputs || !l->has_coefficients)
        return qn_err_set(l->err, QN_INVALID,
                          "a linear model needs the members format, inputs and coefficients");
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (lists[i].is_there && lists[i].count != lists[i].wanted)
            return qn_err_set(l->err, QN_INVALID, "'%s' has %zu numbers, expected %zu",
                              lists[i].name, lists[i].count, lists[i].wanted);
    }
    for (size_t i = 0; i < l->scale.count; i++) {
        if (l->scale.v[i] == 0)
            return qn_err_set(l->err, QN_INVALID, "'scale' of input %zu is 0", i);
    }
    return QN_OK;
}

/* Copies a list into the model; NULL where the file has none. */
static bool keep(struct qn_model *m, const struct doubles *a, bool is_there, double **out)
{
    *out = NULL;
    if (!is_there)
        return true;
    *out = QN_NEW_N(&m->arena, double, a->count);
    if (*out != NULL && a->count > 0)
        memcpy(*out, a->v, a->count * sizeof(double));
    return *out != NULL;
}

static qn_status build(struct linear_file *l, struct qn_model *m)
{
    static const struct {
        const char *name;
        enum qn_link link;
    } links[] = {{"identity", QN_LINK_IDENTITY},
                 {"logistic", QN_LINK_LOGISTIC},
                 {"softmax", QN_LINK_SOFTMAX},
                 {"exp", QN_LINK_EXP}};
    bool is_known = l->link.p == NULL;

    QN_TRY(qn_model_shape(m, l->name_count, l->outputs, l->err));
    QN_TRY(qn_model_names(m, l->names, l->err));
    m->info.objective = "identity";
    m->info.version = "1";
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]) && !is_known; i++) {
        if (qn_str_is(l->link, links[i].name)) {
            m->transform.link = links[i].link;
            m->info.objective = links[i].name;
            is_known = true;
        }
    }
    if (!is_known)
        return qn_err_set(l->err, QN_INVALID,
                          "link '%.*s' is not known: identity, logistic, softmax, exp",
                          (int)(l->link.len > 60 ? 60 : l->link.len), l->link.p);
    m->linear.is_used = true;
    if (!keep(m, &l->coefficients, true, &m->linear.coefficients) ||
        !keep(m, &l->mean, l->has_mean, &m->linear.mean) ||
        !keep(m, &l->scale, l->has_scale, &m->linear.scale) ||
        !keep(m, &l->fill, l->has_fill, &m->linear.fill))
        return qn_err_set(l->err, QN_NOMEM, "out of memory");
    for (size_t k = 0; k < l->intercepts.count; k++)
        m->start[k] = l->intercepts.v[k];
    return QN_OK;
}

qn_status qn_model_load_linear(struct qn_model *m, struct qn_str bytes,
                               const struct qn_model_options *opt, struct qn_err *err)
{
    struct linear_file l = {.err = err};
    struct qn_arena arena = {0};
    qn_status rc;

    (void)opt;
    qn_json_open(&l.reader, bytes, &arena);
    rc = read_document(&l);
    if (rc == QN_OK)
        rc = check(&l);
    if (rc == QN_OK)
        rc = build(&l, m);
    qn_mem_free(l.names);
    qn_mem_free(l.coefficients.v);
    qn_mem_free(l.intercepts.v);
    qn_mem_free(l.mean.v);
    qn_mem_free(l.scale.v);
    qn_mem_free(l.fill.v);
    qn_arena_fini(&arena);
    return rc;
}
