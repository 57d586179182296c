/* SPDX-License-Identifier: Apache-2.0
 * avro_schema.c - the JSON of an Avro schema into types that can be walked. See avro.h.
 *
 * The text becomes a small tree first, because members come in any order and names depend on the
 * namespace around them. A name stands for the type of that full name, which may be the one that is
 * being defined. Thread: one. Memory: the arena. */
#include "event/avro_int.h"

#include "base/json.h"

#include <stdio.h>

enum { NAME_BYTES = 512, SCHEMA_DEPTH_MAX = 64, SCALE_MAX = 400, SHOWN = 80 };

/* One value of the schema's text. */
struct node {
    enum qn_json_kind kind;
    struct qn_str key, text;
    int64_t number; /* -1 where it is no whole number from 0 on */
    struct node *first, *last, *next;
    uint32_t count;
};

struct named {
    struct qn_str name; /* full */
    struct qn_avro_type *type;
    struct named *next;
};

struct building {
    struct qn_arena *arena;
    struct named *names;
    uint32_t types;
    struct qn_err *err;
};

static qn_status no_memory(struct building *b)
{
    return qn_err_set(b->err, QN_NOMEM, "out of memory for an Avro schema");
}

/* ---- the tree --------------------------------------------------------------------------------*/

static qn_status bad_text(struct building *b, const struct qn_json_reader *r)
{
    return qn_err_set(b->err, QN_INVALID, "the Avro schema is no JSON: byte %zu: %s",
                      qn_json_offset(r), r->error != NULL ? r->error : "something behind it");
}

static struct node *add_node(struct building *b, struct node *parent, enum qn_json_kind kind,
                             const struct qn_json_reader *r)
{
    struct node *n = QN_NEW(b->arena, struct node);

    if (n == NULL)
        return NULL;
    n->kind = kind;
    n->key = r->has_key ? r->key : (struct qn_str){NULL, 0};
    if (kind == QN_JSON_STRING)
        n->text = r->text;
    n->number = -1;
    if (kind == QN_JSON_NUMBER && (!qn_number_scaled(&r->number, 0, &n->number) || n->number < 0))
        n->number = -1;
    if (parent != NULL) {
        *(parent->last != NULL ? &parent->last->next : &parent->first) = n;
        parent->last = n;
        parent->count++;
    }
    return n;
}

static qn_status read_tree(struct building *b, struct qn_str text, struct node **root)
{
    struct node *path[QN_JSON_DEPTH_MAX + 1];
    struct qn_json_reader r;
    uint32_t depth = 0;

    *root = NULL;
    qn_json_open(&r, text, b->arena);
    do {
        enum qn_json_kind kind = qn_json_next(&r);
        struct node *n;

        if (kind == QN_JSON_ERROR || kind == QN_JSON_END)
            return bad_text(b, &r);
        if (kind == QN_JSON_CLOSE) {
            depth--;
            continue;
        }
        n = add_node(b, depth > 0 ? path[depth - 1] : NULL, kind, &r);
        if (n == NULL)
            return no_memory(b);
        if (*root == NULL)
            *root = n;
        if (kind == QN_JSON_OBJECT || kind == QN_JSON_ARRAY)
            path[depth++] = n;
    } while (depth > 0);
    return qn_json_next(&r) == QN_JSON_END ? QN_OK : bad_text(b, &r);
}

/* The member of that name, of a member that comes twice the last; NULL where there is none. */
static const struct node *member(const struct node *n, const char *name)
{
    const struct node *found = NULL;

    for (const struct node *m = n->first; m != NULL; m = m->next)
        if (m->key.p != NULL && qn_str_is(m->key, name))
            found = m;
    return found;
}

static struct qn_str text_of(const struct node *n, const char *name)
{
    const struct node *m = member(n, name);

    return m != NULL && m->kind == QN_JSON_STRING ? m->text : (struct qn_str){NULL, 0};
}

/* ---- names -----------------------------------------------------------------------------------*/

/* NAMESPACE.NAME, or the name alone where it has dots or there is no namespace. */
static qn_status full_name(struct building *b, struct qn_str name, struct qn_str space,
                           struct qn_str *out)
{
    char full[NAME_BYTES];
    const char *copy;
    int n;

    if (name.len + space.len + 2 > NAME_BYTES)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema has a name of %u bytes", name.len);
    if (space.len == 0 || memchr(name.p, '.', name.len) != NULL)
        n = snprintf(full, sizeof full, "%.*s", QN_STR_ARG(name));
    else
        n = snprintf(full, sizeof full, "%.*s.%.*s", QN_STR_ARG(space), QN_STR_ARG(name));
    copy = qn_arena_strdup(b->arena, full, (size_t)n);
    *out = (struct qn_str){copy, (uint32_t)n};
    return copy != NULL ? QN_OK : no_memory(b);
}

static const struct named *find_name(const struct building *b, struct qn_str name)
{
    for (const struct named *n = b->names; n != NULL; n = n->next)
        if (qn_str_eq(n->name, name))
            return n;
    return NULL;
}

/* Declares a record, enum or fixed. *space: the namespace of what is inside. */
static qn_status declare(struct building *b, const struct node *n, struct qn_avro_type *t,
                         struct qn_str *space)
{
    struct qn_str name = text_of(n, "name"), own = text_of(n, "namespace");
    struct named *entry = QN_NEW(b->arena, struct named);
    const char *dot;

    if (entry == NULL)
        return no_memory(b);
    if (name.len == 0)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema has a named type without a name");
    if (own.p != NULL)
        *space = own;
    QN_TRY(full_name(b, name, *space, &entry->name));
    dot = memrchr(entry->name.p, '.', entry->name.len);
    *space = (struct qn_str){entry->name.p, dot != NULL ? (uint32_t)(dot - entry->name.p) : 0};
    if (find_name(b, entry->name) != NULL)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema defines '%.*s' twice",
                          QN_STR_ARG(qn_utf8_cut(entry->name, SHOWN)));
    entry->type = t;
    entry->next = b->names;
    b->names = entry;
    return QN_OK;
}

/* ---- types -----------------------------------------------------------------------------------*/

static const char *const plain_names[] = {"null",  "boolean", "int",   "long",
                                          "float", "double",  "bytes", "string"};
enum { PLAIN = sizeof plain_names / sizeof plain_names[0] };

static qn_status build(struct building *b, const struct node *n, struct qn_str space,
                       uint32_t depth, const struct qn_avro_type **out);

static qn_status new_type(struct building *b, enum qn_avro_kind kind, struct qn_avro_type **out)
{
    if (++b->types > QN_AVRO_TYPES_MAX)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema has more than %d types",
                          QN_AVRO_TYPES_MAX);
    *out = QN_NEW(b->arena, struct qn_avro_type);
    if (*out == NULL)
        return no_memory(b);
    (*out)->kind = kind;
    return QN_OK;
}

static qn_status by_name(struct building *b, struct qn_str name, struct qn_str space,
                         const struct qn_avro_type **out)
{
    const struct named *found;
    struct qn_avro_type *t;
    struct qn_str full;

    for (int i = 0; i < PLAIN; i++)
        if (qn_str_is(name, plain_names[i])) {
            QN_TRY(new_type(b, (enum qn_avro_kind)i, &t));
            *out = t;
            return QN_OK;
        }
    QN_TRY(full_name(b, name, space, &full));
    found = find_name(b, full);
    if (found == NULL)
        found = find_name(b, name);
    if (found == NULL)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema knows no type '%.*s'",
                          QN_STR_ARG(qn_utf8_cut(full, SHOWN)));
    *out = found->type;
    return QN_OK;
}

static qn_status quoted(struct building *b, struct qn_str name, const char *behind,
                        struct qn_str *out)
{
    struct qn_buf text = {0};

    qn_json_string(&text, name);
    qn_buf_text(&text, behind);
    out->p = text.failed ? NULL : qn_arena_strdup(b->arena, text.data, text.len);
    out->len = (uint32_t)text.len;
    qn_buf_fini(&text);
    return out->p != NULL ? QN_OK : no_memory(b);
}

static qn_status build_fields(struct building *b, const struct node *n, struct qn_str space,
                              uint32_t depth, struct qn_avro_type *t)
{
    const struct node *fields = member(n, "fields");
    struct qn_avro_field *parts;
    uint32_t i = 0;

    if (fields == NULL || fields->kind != QN_JSON_ARRAY)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema has a record without 'fields'");
    t->parts = parts = QN_NEW_N(b->arena, struct qn_avro_field, fields->count + 1);
    if (parts == NULL)
        return no_memory(b);
    t->count = fields->count;
    for (const struct node *f = fields->first; f != NULL; f = f->next, i++) {
        const struct node *type = f->kind == QN_JSON_OBJECT ? member(f, "type") : NULL;
        struct qn_str name =
            f->kind == QN_JSON_OBJECT ? text_of(f, "name") : (struct qn_str){NULL, 0};

        if (type == NULL || name.len == 0)
            return qn_err_set(b->err, QN_INVALID,
                              "the Avro schema has a field without 'name' or 'type'");
        for (const struct node *other = fields->first; other != f; other = other->next)
            if (qn_str_eq(text_of(other, "name"), name))
                return qn_err_set(b->err, QN_INVALID,
                                  "the Avro schema has a record with two fields '%.*s'",
                                  QN_STR_ARG(qn_utf8_cut(name, SHOWN)));
        QN_TRY(quoted(b, name, ":", &parts[i].member));
        QN_TRY(build(b, type, space, depth, &parts[i].type));
    }
    return QN_OK;
}

static qn_status build_symbols(struct building *b, const struct node *n, struct qn_avro_type *t)
{
    const struct node *symbols = member(n, "symbols");
    struct qn_str *list;
    uint32_t i = 0;

    if (symbols == NULL || symbols->kind != QN_JSON_ARRAY)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema has an enum without 'symbols'");
    t->symbols = list = QN_NEW_N(b->arena, struct qn_str, symbols->count + 1);
    if (list == NULL)
        return no_memory(b);
    t->count = symbols->count;
    for (const struct node *s = symbols->first; s != NULL; s = s->next, i++) {
        if (s->kind != QN_JSON_STRING)
            return qn_err_set(b->err, QN_INVALID,
                              "the Avro schema has an enum with a symbol that is no text");
        QN_TRY(quoted(b, s->text, "", &list[i]));
    }
    return QN_OK;
}

static qn_status build_fixed(struct building *b, const struct node *n, struct qn_avro_type *t)
{
    const struct node *size = member(n, "size");

    if (size == NULL || size->kind != QN_JSON_NUMBER || size->number < 0 ||
        size->number > QN_EVENT_BYTES_MAX)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema has a fixed without a 'size'");
    t->size = (uint32_t)size->number;
    return QN_OK;
}

/* An array's items or a map's values. */
static qn_status build_inner(struct building *b, const struct node *n, const char *name,
                             struct qn_str space, uint32_t depth, struct qn_avro_type *t)
{
    struct qn_avro_field *part = QN_NEW(b->arena, struct qn_avro_field);
    const struct node *inner = member(n, name);

    if (part == NULL)
        return no_memory(b);
    if (inner == NULL)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema has an array or map without '%s'",
                          name);
    t->parts = part;
    t->count = 1;
    return build(b, inner, space, depth, &part->type);
}

static qn_status build_union(struct building *b, const struct node *n, struct qn_str space,
                             uint32_t depth, const struct qn_avro_type **out)
{
    struct qn_avro_field *parts = QN_NEW_N(b->arena, struct qn_avro_field, n->count + 1);
    struct qn_avro_type *t;
    uint32_t i = 0;

    QN_TRY(new_type(b, QN_AVRO_UNION, &t));
    if (parts == NULL)
        return no_memory(b);
    t->parts = parts;
    t->count = n->count;
    *out = t;
    for (const struct node *branch = n->first; branch != NULL; branch = branch->next, i++)
        QN_TRY(build(b, branch, space, depth, &parts[i].type));
    return QN_OK;
}

/* What stands beside a type and can be; everything else leaves it plain. */
static void read_logical(const struct node *n, struct qn_avro_type *t)
{
    static const struct {
        const char *name;
        enum qn_avro_kind kind;
        enum qn_avro_logical logical;
    } known[] = {
        {"date", QN_AVRO_INT, QN_AVRO_DATE},
        {"timestamp-millis", QN_AVRO_LONG, QN_AVRO_MILLIS},
        {"timestamp-micros", QN_AVRO_LONG, QN_AVRO_MICROS},
        {"timestamp-nanos", QN_AVRO_LONG, QN_AVRO_NANOS},
        {"local-timestamp-millis", QN_AVRO_LONG, QN_AVRO_MILLIS},
        {"local-timestamp-micros", QN_AVRO_LONG, QN_AVRO_MICROS},
        {"local-timestamp-nanos", QN_AVRO_LONG, QN_AVRO_NANOS},
        {"uuid", QN_AVRO_FIXED, QN_AVRO_UUID},
        {"decimal", QN_AVRO_BYTES, QN_AVRO_DECIMAL},
        {"decimal", QN_AVRO_FIXED, QN_AVRO_DECIMAL},
    };
    const struct qn_str name = text_of(n, "logicalType");
    const struct node *precision = member(n, "precision"), *scale = member(n, "scale");
    const int64_t scaled = scale != NULL ? scale->number : 0;

    for (size_t i = 0; name.p != NULL && i < sizeof known / sizeof known[0]; i++) {
        if (!qn_str_is(name, known[i].name) || t->kind != known[i].kind)
            continue;
        if (known[i].logical == QN_AVRO_UUID && t->size != 16)
            continue;
        if (known[i].logical == QN_AVRO_DECIMAL) {
            if (precision == NULL || precision->number < 1 || scaled < 0 ||
                scaled > precision->number || scaled > SCALE_MAX)
                continue;
            t->scale = (uint32_t)scaled;
        }
        t->logical = known[i].logical;
    }
}

/* {"type": "record", ...} */
static qn_status build_complex(struct building *b, const struct node *n, struct qn_str kind,
                               struct qn_str space, uint32_t depth, const struct qn_avro_type **out)
{
    static const struct {
        const char *name;
        enum qn_avro_kind kind;
        bool is_named;
    } complex[] = {{"record", QN_AVRO_RECORD, true}, {"error", QN_AVRO_RECORD, true},
                   {"enum", QN_AVRO_ENUM, true},     {"fixed", QN_AVRO_FIXED, true},
                   {"array", QN_AVRO_ARRAY, false},  {"map", QN_AVRO_MAP, false}};
    struct qn_avro_type *t = NULL;
    const struct qn_avro_type *plain;

    for (size_t i = 0; i < sizeof complex / sizeof complex[0] && t == NULL; i++)
        if (qn_str_is(kind, complex[i].name)) {
            QN_TRY(new_type(b, complex[i].kind, &t));
            if (complex[i].is_named)
                QN_TRY(declare(b, n, t, &space));
        }
    if (t == NULL) {
        QN_TRY(by_name(b, kind, space, &plain));
        *out = plain;
        if (plain->kind >= QN_AVRO_RECORD)
            return QN_OK; /* a name: what it means stands where it is defined */
        QN_TRY(new_type(b, plain->kind, &t));
    }
    *out = t;
    switch (t->kind) {
    case QN_AVRO_RECORD:
        return build_fields(b, n, space, depth, t);
    case QN_AVRO_ENUM:
        return build_symbols(b, n, t);
    case QN_AVRO_ARRAY:
        return build_inner(b, n, "items", space, depth, t);
    case QN_AVRO_MAP:
        return build_inner(b, n, "values", space, depth, t);
    case QN_AVRO_FIXED:
        QN_TRY(build_fixed(b, n, t));
        break;
    default:
        break;
    }
    read_logical(n, t);
    return QN_OK;
}

static qn_status build(struct building *b, const struct node *n, struct qn_str space,
                       uint32_t depth, const struct qn_avro_type **out)
{
    const struct node *type;

    if (depth++ > SCHEMA_DEPTH_MAX)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema is nested too deeply");
    if (n->kind == QN_JSON_STRING)
        return by_name(b, n->text, space, out);
    if (n->kind == QN_JSON_ARRAY)
        return build_union(b, n, space, depth, out);
    type = n->kind == QN_JSON_OBJECT ? member(n, "type") : NULL;
    if (type == NULL)
        return qn_err_set(b->err, QN_INVALID, "the Avro schema has a type without 'type'");
    if (type->kind == QN_JSON_STRING)
        return build_complex(b, n, type->text, space, depth, out);
    return build(b, type, space, depth, out);
}

/* A record that holds itself, with nothing between that could end it, has no value at all: it is
 * found by the depth of what is decoded. */
qn_status qn_avro_read(const struct qn_str *texts, uint32_t count, struct qn_arena *arena,
                       const struct qn_avro **out, struct qn_err *err)
{
    struct building b = {.arena = arena, .err = err};
    struct qn_avro *schema = QN_NEW(arena, struct qn_avro);

    *out = NULL;
    if (schema == NULL)
        return no_memory(&b);
    for (uint32_t i = 0; i < count; i++) {
        struct node *root;

        QN_TRY(read_tree(&b, texts[i], &root));
        QN_TRY(build(&b, root, (struct qn_str){"", 0}, 0, &schema->root));
    }
    if (schema->root == NULL)
        return qn_err_set(err, QN_INVALID, "the Avro schema is empty");
    *out = schema;
    return QN_OK;
}
