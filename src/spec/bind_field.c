/* SPDX-License-Identifier: Apache-2.0
 * bind_field.c - the fields of a stream: types, paths, defaults and limits, each of the field's own
 * type.
 *
 * Part of binding (bind.c), called per stream. A field with a mistake stays in the schema, marked
 * broken, so that sentences that use it are not called wrong. Where a field stands in the event
 * must not overlap another field. Thread: one. Memory: boot arena. */
#include "base/number.h"
#include "spec/spec_int.h"

#include <stdio.h>

/* Types as other tools call them. */
static const struct qn_key_synonym foreign_types[] = {
    {"int", "int64"},
    {"integer", "int64"},
    {"long", "int64"},
    {"bigint", "int64"},
    {"int32", "int64"},
    {"int16", "int64"},
    {"int8", "int64"},
    {"uint32", "int64"},
    {"uint64", "int64"},
    {"smallint", "int64"},
    {"short", "int64"},
    {"float", "double"},
    {"float32", "double"},
    {"float64", "double"},
    {"number", "double"},
    {"real", "double"},
    {"text", "string"},
    {"varchar", "string"},
    {"str", "string"},
    {"char", "string"},
    {"uuid", "string"},
    {"category", "string"},
    {"utf8", "string"},
    {"boolean", "bool"},
    {"bit", "bool"},
    {"datetime", "timestamp"},
    {"date", "timestamp"},
    {"time", "timestamp"},
    {"timestamptz", "timestamp"},
    {"instant", "timestamp"},
    {"array", "list(double)"},
    {"vector", "list(double)"},
    {"list", "list(double)"},
    {"embedding", "list(double)"},
    {"numeric", "decimal(2)"},
    {"money", "decimal(2)"},
    {"decimal", "decimal(2)"},
    {NULL, NULL},
};

/* Names shown for unknown types. */
static const char *const type_names[] = {"bool",   "int64",     "double",      "decimal(2)",
                                         "string", "timestamp", "list(double)"};
enum { TYPE_NAMES = sizeof(type_names) / sizeof(type_names[0]) };

struct field {
    struct qn_builder *b;
    const struct qn_yaml_node *key; /* the field's name */
    struct qn_field *f;
    struct qn_slot slots[FIELD_LAST + 1];
    bool is_broken;
};

static struct qn_str trim(struct qn_str s)
{
    while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Splits "decimal(2)" into its word and what the parentheses hold; false where they do not match.
 */
static bool split_type(struct qn_str s, struct qn_str *word, struct qn_str *inside)
{
    const char *open = s.len > 0 ? memchr(s.p, '(', s.len) : NULL;

    s = trim(s);
    *inside = (struct qn_str){NULL, 0};
    *word = s;
    if (open == NULL)
        return true;
    if (s.p[s.len - 1] != ')')
        return false;
    *word = trim((struct qn_str){s.p, (uint32_t)(open - s.p)});
    *inside = trim((struct qn_str){open + 1, (uint32_t)(s.p + s.len - 1 - (open + 1))});
    return true;
}

static void unknown_type(struct field *fd, const struct qn_yaml_node *n, struct qn_str word)
{
    struct qn_binder *b = &fd->b->bind;
    static const char known_hint[] =
        "known: bool, int64, double, decimal(n), string, timestamp, list(double)";
    struct qn_str names[TYPE_NAMES];
    char found[QN_SHOW_BYTES];
    int near;

    for (const struct qn_key_synonym *s = foreign_types; s->theirs != NULL && !n->is_secret; s++) {
        if (qn_edit_distance(word, qn_str_of(s->theirs), 1) == 0) {
            QN_REPORT(b, UNKNOWN_NAME, n, known_hint, "unknown type %s (did you mean '%s'?)",
                      qn_show(n, found), s->ours);
            return;
        }
    }
    for (int i = 0; i < TYPE_NAMES; i++)
        names[i] = (struct qn_str){type_names[i], (uint32_t)strcspn(type_names[i], "(")};
    near = n->is_secret ? -1 : qn_nearest(word, names, TYPE_NAMES);
    if (near >= 0)
        QN_REPORT(b, UNKNOWN_NAME, n, known_hint, "unknown type %s (did you mean '%s'?)",
                  qn_show(n, found), type_names[near]);
    else
        QN_REPORT(b, UNKNOWN_NAME, n, known_hint, "unknown type %s", qn_show(n, found));
}

static bool read_decimal(struct field *fd, const struct qn_yaml_node *n, struct qn_str inside,
                         struct qn_kind *kind)
{
    struct qn_binder *b = &fd->b->bind;
    const char *comma = inside.len > 0 ? memchr(inside.p, ',', inside.len) : NULL;
    char found[QN_SHOW_BYTES];
    int64_t scale;

    if (comma != NULL) {
        struct qn_str last =
            trim((struct qn_str){comma + 1, (uint32_t)(inside.p + inside.len - comma - 1)});

        QN_REPORT(b, TYPE, n, "all decimals hold 18 digits",
                  "decimal takes only the digits behind the point: decimal(%.*s)",
                  (int)(last.len < 3 ? last.len : 2), last.p);
        return false;
    }
    if (inside.p == NULL || !qn_text_int64(inside, &scale) || scale < 0 || scale > 18) {
        QN_REPORT(b, TYPE, n, "decimal(2) holds 12.34",
                  "decimal needs the digits behind the point, 0 to 18, found %s",
                  qn_show(n, found));
        return false;
    }
    *kind = (struct qn_kind){QN_DECIMAL, (uint8_t)scale};
    return true;
}

static bool read_kind(struct field *fd, const struct qn_yaml_node *n, struct qn_kind *kind)
{
    struct qn_binder *b = &fd->b->bind;
    struct qn_str word, inside;
    bool is_closed;

    if (n->kind != QN_YAML_TEXT) {
        char found[QN_SHOW_BYTES];

        QN_REPORT(b, TYPE, n->kind == QN_YAML_NULL ? fd->key : n,
                  "such as: amount: double, or amount: {type: double, min: 0}",
                  "the field '%.*s' needs a type, found %s", QN_STR_ARG(fd->key->text),
                  qn_describe(n, found));
        return false;
    }
    is_closed = split_type(n->text, &word, &inside);
    if (!is_closed ||
        (inside.p != NULL && !qn_str_is(word, "decimal") && !qn_str_is(word, "list"))) {
        unknown_type(fd, n, word);
        return false;
    }
    if (qn_str_is(word, "decimal"))
        return read_decimal(fd, n, inside, kind);
    if (qn_str_is(word, "list") && inside.p != NULL) {
        *kind = (struct qn_kind){QN_LIST, 0};
        if (qn_str_is(inside, "double"))
            return true;
        QN_REPORT(b, TYPE, n, "list(double)", "lists hold doubles");
        return false;
    }
    for (int t = 0; t < QN_LIST; t++) {
        if (qn_str_is(word, qn_type_name((enum qn_type)t))) {
            *kind = (struct qn_kind){(enum qn_type)t, 0};
            return true;
        }
    }
    unknown_type(fd, n, word);
    return false;
}

/* ---- values of the field's type ---- */

static void wrong_value(struct field *fd, const char *key, const struct qn_yaml_node *n,
                        const char *hint)
{
    char found[QN_SHOW_BYTES], kind[24];

    QN_REPORT(&fd->b->bind, TYPE, n, hint,
              "'%s' of '%.*s' must be of the field's type %s, found %s", key,
              QN_STR_ARG(fd->key->text), qn_kind_print(fd->f->kind, kind), qn_describe(n, found));
}

static bool read_list_value(struct field *fd, const char *key, const struct qn_yaml_node *n,
                            struct qn_value *out)
{
    double *v;

    if (n->kind != QN_YAML_LIST) {
        wrong_value(fd, key, n, "such as [0.5, 1, 2]");
        return false;
    }
    v = QN_NEW_N(fd->b->bind.arena, double, n->count);
    fd->b->bind.no_memory |= v == NULL;
    for (uint32_t i = 0; v != NULL && i < n->count; i++) {
        if (!qn_yaml_double(n->items[i].value, &v[i]) || !__builtin_isfinite(v[i])) {
            if (!n->items[i].value->is_broken)
                wrong_value(fd, key, n->items[i].value, "such as [0.5, 1, 2]");
            return false;
        }
    }
    out->list.v = v;
    out->list.n = n->count;
    return v != NULL;
}

static bool read_number_value(struct field *fd, const char *key, const struct qn_yaml_node *n,
                              struct qn_value *out)
{
    const struct qn_field *f = fd->f;
    const char *hint = NULL;

    if (f->kind.type == QN_DOUBLE || f->kind.type == QN_LIST) {
        if (qn_yaml_double(n, &out->f64) && __builtin_isfinite(out->f64))
            return true;
    } else if (qn_yaml_scaled(n, f->kind.scale, &out->i64)) {
        return true;
    }
    if (n->kind == QN_YAML_NUMBER)
        hint =
            f->kind.type == QN_INT64 ? "a whole number of 64 bits" : "too many digits for the type";
    else if (n->kind == QN_YAML_TEXT && n->style != QN_YAML_PLAIN)
        hint = "numbers stand without quotes";
    wrong_value(fd, key, n, hint);
    return false;
}

static bool read_time_value(struct field *fd, const char *key, const struct qn_yaml_node *n,
                            struct qn_value *out)
{
    int64_t count;

    if (n->kind == QN_YAML_TEXT && qn_timestamp_parse(n->text, &out->i64))
        return true;
    if (fd->f->unit != QN_TIME_TEXT && qn_yaml_scaled(n, 0, &count) &&
        qn_timestamp_epoch(count, fd->f->unit, &out->i64))
        return true;
    wrong_value(fd, key, n, "such as 2026-01-31T23:59:59Z");
    return false;
}

static bool read_value(struct field *fd, const char *key, const struct qn_yaml_node *n,
                       struct qn_value *out)
{
    switch (fd->f->kind.type) {
    case QN_BOOL:
        if (n->kind != QN_YAML_BOOL) {
            wrong_value(fd, key, n, "true or false, without quotes");
            return false;
        }
        out->i64 = (n->text.p[0] | 32) == 't';
        return true;
    case QN_INT64:
    case QN_DOUBLE:
    case QN_DECIMAL:
        return read_number_value(fd, key, n, out);
    case QN_STRING:
        if (n->kind != QN_YAML_TEXT) {
            wrong_value(fd, key, n,
                        n->kind == QN_YAML_BOOL || n->kind == QN_YAML_NUMBER
                            ? "put it in quotes to make it a text"
                            : NULL);
            return false;
        }
        out->str = n->text;
        return true;
    case QN_TIMESTAMP:
        return read_time_value(fd, key, n, out);
    case QN_LIST:
        return read_list_value(fd, key, n, out);
    case QN_TYPE_COUNT:
        break;
    }
    return false;
}

/* <0, 0, >0; numbers and timestamps only. */
static int compare(const struct qn_field *f, const struct qn_value *a, const struct qn_value *b)
{
    if (f->kind.type == QN_DOUBLE || f->kind.type == QN_LIST)
        return (a->f64 > b->f64) - (a->f64 < b->f64);
    return (a->i64 > b->i64) - (a->i64 < b->i64);
}

static void misfit(struct field *fd, int slot, const char *key, const char *fits)
{
    char kind[24];

    QN_REPORT(&fd->b->bind, TYPE, fd->slots[slot].key, fits, "'%s' does not go with the type %s",
              key, qn_kind_print(fd->f->kind, kind));
    fd->slots[slot].is_set = false;
}

static void read_limit(struct field *fd, int slot, const char *key, struct qn_value *out, bool *has)
{
    if (!fd->slots[slot].is_set)
        return;
    if (fd->f->kind.type == QN_BOOL || fd->f->kind.type == QN_STRING) {
        misfit(fd, slot, key,
               fd->f->kind.type == QN_STRING ? "for texts: in, max_length"
                                             : "for numbers and timestamps");
        return;
    }
    if (fd->f->kind.type == QN_LIST)
        *has = read_number_value(fd, key, fd->slots[slot].value, out);
    else
        *has = read_value(fd, key, fd->slots[slot].value, out);
}

static void read_allowed(struct field *fd)
{
    const struct qn_yaml_node *n = fd->slots[FIELD_IN].value;
    struct qn_value *values;

    if (!fd->slots[FIELD_IN].is_set)
        return;
    if (fd->f->kind.type != QN_STRING && fd->f->kind.type != QN_INT64 &&
        fd->f->kind.type != QN_DECIMAL) {
        misfit(fd, FIELD_IN, "in", "for string, int64 and decimal");
        return;
    }
    if (n->count == 0) {
        QN_REPORT(&fd->b->bind, RANGE, n, "name the values, or leave 'in' out",
                  "an empty 'in' allows nothing");
        return;
    }
    values = QN_NEW_N(fd->b->bind.arena, struct qn_value, n->count);
    fd->b->bind.no_memory |= values == NULL;
    for (uint32_t i = 0; values != NULL && i < n->count; i++) {
        if (!read_value(fd, "in", n->items[i].value, &values[i]))
            return;
    }
    fd->f->in = values;
    fd->f->in_count = values != NULL ? n->count : 0;
}

static bool is_allowed(const struct qn_field *f, const struct qn_value *v)
{
    for (uint32_t i = 0; i < f->in_count; i++) {
        if (f->kind.type == QN_STRING ? qn_str_eq(f->in[i].str, v->str) : f->in[i].i64 == v->i64)
            return true;
    }
    return f->in_count == 0;
}

static bool is_within(const struct qn_field *f, const struct qn_value *v)
{
    return !(f->has_min && compare(f, v, &f->min) < 0) &&
           !(f->has_max && compare(f, v, &f->max) > 0);
}

/* A default must keep the field's own promises. */
static void check_default(struct field *fd)
{
    const struct qn_field *f = fd->f;
    const struct qn_yaml_node *n = fd->slots[FIELD_DEFAULT].value;
    const char *broken = NULL;

    if (!f->has_default)
        return;
    if (f->kind.type == QN_LIST) {
        for (uint32_t i = 0; i < f->fallback.list.n; i++) {
            struct qn_value v = {.f64 = f->fallback.list.v[i]};

            if (!is_within(f, &v))
                broken = "min and max";
        }
        if ((f->length_max != 0 && f->fallback.list.n > f->length_max) ||
            (f->length_exact != 0 && f->fallback.list.n != f->length_exact))
            broken = f->length_exact != 0 ? "length" : "max_length";
    } else if (f->kind.type == QN_STRING) {
        if (f->length_max != 0 &&
            qn_utf8_count(f->fallback.str.p, f->fallback.str.len) > f->length_max)
            broken = "max_length";
    } else if (f->kind.type != QN_BOOL && !is_within(f, &f->fallback)) {
        broken = f->has_min && compare(f, &f->fallback, &f->min) < 0 ? "min" : "max";
    }
    if (broken == NULL && !is_allowed(f, &f->fallback))
        broken = "in";
    if (broken != NULL)
        QN_REPORT(&fd->b->bind, RANGE, n, NULL, "the default of '%.*s' breaks the field's own '%s'",
                  QN_STR_ARG(fd->key->text), broken);
}

static void read_lengths(struct field *fd)
{
    enum qn_type t = fd->f->kind.type;

    if (fd->slots[FIELD_MAX_LENGTH].is_set && t != QN_STRING && t != QN_LIST)
        misfit(fd, FIELD_MAX_LENGTH, "max_length", "for string and list(double)");
    if (fd->slots[FIELD_LENGTH].is_set && t != QN_LIST)
        misfit(fd, FIELD_LENGTH, "length",
               t == QN_STRING ? "for texts: max_length" : "for list(double)");
    if (fd->slots[FIELD_MAX_LENGTH].is_set)
        fd->f->length_max = (uint32_t)fd->slots[FIELD_MAX_LENGTH].i64;
    if (fd->slots[FIELD_LENGTH].is_set)
        fd->f->length_exact = (uint32_t)fd->slots[FIELD_LENGTH].i64;
    if (fd->f->length_exact != 0 && fd->f->length_max != 0)
        QN_REPORT(&fd->b->bind, RANGE, fd->slots[FIELD_MAX_LENGTH].key, "keep one of them",
                  "'length' and 'max_length' together");
}

static void read_promises(struct field *fd)
{
    static const enum qn_time_unit units[] = {QN_TIME_S, QN_TIME_MS, QN_TIME_US, QN_TIME_NS};
    struct qn_slot *s = fd->slots;
    struct qn_field *f = fd->f;

    if (s[FIELD_UNIT].is_set && f->kind.type != QN_TIMESTAMP)
        misfit(fd, FIELD_UNIT, "unit", "for timestamps");
    if (s[FIELD_UNIT].is_set)
        f->unit = units[s[FIELD_UNIT].i64];
    f->is_optional = s[FIELD_OPTIONAL].is_set && s[FIELD_OPTIONAL].i64;
    read_limit(fd, FIELD_MIN, "min", &f->min, &f->has_min);
    read_limit(fd, FIELD_MAX, "max", &f->max, &f->has_max);
    if (f->has_min && f->has_max && compare(f, &f->min, &f->max) > 0)
        QN_REPORT(&fd->b->bind, RANGE, s[FIELD_MIN].value, "no value can be in between",
                  "'min' of '%.*s' is greater than its 'max'", QN_STR_ARG(fd->key->text));
    read_allowed(fd);
    for (uint32_t i = 0; i < f->in_count && (f->has_min || f->has_max); i++) {
        if (f->kind.type != QN_STRING && !is_within(f, &f->in[i]))
            QN_REPORT(&fd->b->bind, RANGE, s[FIELD_IN].value->items[i].value, NULL,
                      "a value of 'in' that 'min' or 'max' excludes");
    }
    read_lengths(fd);
    if (s[FIELD_DEFAULT].is_set && s[FIELD_DEFAULT].value->kind == QN_YAML_NULL)
        QN_REPORT(&fd->b->bind, TYPE, s[FIELD_DEFAULT].key, "write optional: true",
                  "a default of null is what 'optional' says");
    else if (s[FIELD_DEFAULT].is_set)
        f->has_default = read_value(fd, "default", s[FIELD_DEFAULT].value, &f->fallback);
    if (f->has_default && f->is_optional)
        QN_REPORT(&fd->b->bind, RANGE, s[FIELD_OPTIONAL].key, "keep one of them",
                  "'optional' and 'default' together: with a default the value is never null");
    check_default(fd);
}

static bool holds_secret(const struct qn_slot *slots)
{
    static const int checked[] = {FIELD_DEFAULT, FIELD_MIN, FIELD_MAX, FIELD_IN};
    bool found = false;

    for (size_t i = 0; i < sizeof(checked) / sizeof(checked[0]); i++) {
        const struct qn_yaml_node *n = slots[checked[i]].value;

        found |= n != NULL && n->is_secret;
        for (uint32_t k = 0; n != NULL && k < n->count; k++)
            found |= n->items[k].value->is_secret;
    }
    return found;
}

/* ---- where a field stands in the event ---- */

/* What says the path: `from`, or the name. */
static const struct qn_yaml_node *path_node(const struct field *fd)
{
    return fd->slots[FIELD_FROM].is_set ? fd->slots[FIELD_FROM].value : fd->key;
}

static qn_status split_path(struct field *fd)
{
    struct qn_field *f = fd->f;
    struct qn_str *segments;
    uint32_t count = 1, at = 0, start = 0;

    for (uint32_t i = 0; i < f->from.len; i++)
        count += f->from.p[i] == '.';
    if (count > QN_JSON_EVENT_DEPTH_MAX) {
        QN_REPORT(&fd->b->bind, RANGE, path_node(fd), NULL, "a path of more than %d parts",
                  QN_JSON_EVENT_DEPTH_MAX);
        fd->is_broken = true;
        return QN_OK;
    }
    segments = QN_NEW_N(fd->b->bind.arena, struct qn_str, count);
    if (segments == NULL)
        return qn_no_memory(fd->b->err);
    for (uint32_t i = 0; i <= f->from.len; i++) {
        if (i < f->from.len && f->from.p[i] != '.')
            continue;
        segments[at++] = (struct qn_str){f->from.p + start, i - start};
        start = i + 1;
    }
    f->path = segments;
    f->path_count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (segments[i].len > 0)
            continue;
        QN_REPORT(&fd->b->bind, TYPE, path_node(fd), "such as payload.card.id",
                  "a path with an empty part");
        f->path = NULL;
        fd->is_broken = true;
        return QN_OK;
    }
    return QN_OK;
}

/* 2 = same place, 1 = one lies inside the other, 0 = apart. */
static int overlap(const struct qn_field *a, const struct qn_field *b)
{
    uint32_t n = a->path_count < b->path_count ? a->path_count : b->path_count;

    for (uint32_t i = 0; i < n; i++) {
        if (!qn_str_eq(a->path[i], b->path[i]))
            return 0;
    }
    return a->path_count == b->path_count ? 2 : 1;
}

static void check_overlap(struct field *fd, const struct qn_schema *s, uint32_t index)
{
    const struct qn_yaml_node *at = path_node(fd);

    for (uint32_t i = 0; i < index && fd->f->path != NULL; i++) {
        int how = s->fields[i].path == NULL ? 0 : overlap(fd->f, &s->fields[i]);

        if (how == 0)
            continue;
        if (how == 2)
            QN_REPORT(&fd->b->bind, DUPLICATE, at,
                      "one field per value; a feature can give it a second name",
                      "'%.*s' reads the same value as '%.*s'", QN_STR_ARG(fd->f->name),
                      QN_STR_ARG(s->fields[i].name));
        else
            QN_REPORT(&fd->b->bind, TYPE, at, NULL,
                      "'%.*s' and '%.*s' cannot both be values: one lies inside the other",
                      QN_STR_ARG(fd->f->name), QN_STR_ARG(s->fields[i].name));
        return;
    }
}

static qn_status build_field(struct field *fd, const struct qn_yaml_node *value)
{
    struct qn_binder *b = &fd->b->bind;
    const struct qn_yaml_node *type = value;

    fd->f->name = fd->key->text;
    fd->f->from = fd->key->text;
    if (!qn_check_name(b, fd->key, "a field", false, "such as: %s: {type: ..., from: %s}"))
        fd->is_broken = true;
    if (value->kind == QN_YAML_MAP) {
        if (!qn_bind(b, fd->key, value, &qn_keys_field, fd->slots))
            return QN_OK;
        type = fd->slots[FIELD_TYPE].is_set ? fd->slots[FIELD_TYPE].value : NULL;
        if (fd->slots[FIELD_FROM].is_set)
            fd->f->from = fd->slots[FIELD_FROM].value->text;
    }
    QN_TRY(split_path(fd));
    if (type != NULL && !type->is_broken && read_kind(fd, type, &fd->f->kind))
        read_promises(fd);
    else
        fd->is_broken = true;
    return QN_OK;
}

qn_status qn_build_fields(struct qn_builder *b, const struct qn_yaml_node *owner,
                          const struct qn_yaml_node *map, struct qn_schema *s,
                          struct qn_stream_notes *notes)
{
    uint32_t count = map->count;
    struct qn_field *fields;

    if (count > QN_FIELDS_MAX) {
        QN_REPORT(&b->bind, RANGE, owner, NULL, "a stream has at most %d fields, found %u",
                  QN_FIELDS_MAX, count);
        notes->is_broken = true;
        count = QN_FIELDS_MAX;
    }
    fields = QN_NEW_N(b->bind.arena, struct qn_field, count);
    notes->field_keys = QN_NEW_N(b->bind.arena, const struct qn_yaml_node *, count);
    notes->field_broken = QN_NEW_N(b->bind.arena, bool, count);
    notes->field_hidden = QN_NEW_N(b->bind.arena, bool, count);
    if (fields == NULL || notes->field_keys == NULL || notes->field_broken == NULL ||
        notes->field_hidden == NULL)
        return qn_no_memory(b->err);
    s->fields = fields;
    s->field_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct field fd = {.b = b, .key = map->items[i].key, .f = &fields[i]};

        notes->field_keys[i] = fd.key;
        fields[i].kind = (struct qn_kind){QN_DOUBLE, 0};
        QN_TRY(build_field(&fd, map->items[i].value));
        check_overlap(&fd, s, i);
        notes->field_broken[i] = fd.is_broken;
        notes->field_hidden[i] = holds_secret(fd.slots);
    }
    return QN_OK;
}
