/* SPDX-License-Identifier: Apache-2.0
 * proto_link.c - files of a Protobuf schema into one table of types: names become the types that
 * they mean, lists become arrays. See proto.h.
 *
 * A name is looked for as protoc does: in the message where it stands, then in what is around it,
 * and where its first part is found there the rest has to be, too. An import that is not there
 * matters only where a type is missed. Thread: one. Memory: the arena; texts are borrowed until
 * qn_proto_read returns. */
#include "event/proto_int.h"

#include "base/hash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { SYMBOLS_FIRST = 64, IMPORTS_MAX = 1000 };

/* ---- what is wrong ---------------------------------------------------------------------------*/

qn_status qn_proto_no_memory(const struct qn_proto_building *b)
{
    return qn_err_set(b->err, QN_NOMEM, "out of memory for a Protobuf schema");
}

qn_status qn_proto_wrong(const struct qn_proto_building *b, struct qn_str file, uint32_t line,
                         uint32_t col, const char *fmt, ...)
{
    char place[QN_PROTO_SHOWN + 64] = "", text[384];
    va_list args;
    int n = 0;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (file.len > 0)
        n = snprintf(place, sizeof place, " '%.*s'", QN_STR_ARG(qn_utf8_cut(file, QN_PROTO_SHOWN)));
    if (line > 0)
        snprintf(place + n, sizeof place - (size_t)n, ", %u:%u", line, col);
    return qn_err_set(b->err, QN_INVALID, "the Protobuf schema%s: %s", place, text);
}

/* ---- symbols ---------------------------------------------------------------------------------*/

static struct qn_proto_symbol *slot_of(struct qn_proto_symbol *slots, uint32_t cap,
                                       struct qn_str name)
{
    uint32_t i = (uint32_t)qn_hash(name.p, name.len, 0) & (cap - 1);

    while (slots[i].name.p != NULL && !qn_str_eq(slots[i].name, name))
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

static const struct qn_proto_symbol *find(const struct qn_proto_building *b, struct qn_str name)
{
    const struct qn_proto_symbol *s =
        b->symbol_cap > 0 ? slot_of(b->symbols, b->symbol_cap, name) : NULL;

    return s != NULL && s->name.p != NULL ? s : NULL;
}

static qn_status grow(struct qn_proto_building *b)
{
    const uint32_t cap = b->symbol_cap > 0 ? 2 * b->symbol_cap : SYMBOLS_FIRST;
    struct qn_proto_symbol *slots = QN_NEW_N(b->arena, struct qn_proto_symbol, cap);

    if (slots == NULL)
        return qn_proto_no_memory(b);
    for (uint32_t i = 0; i < b->symbol_cap; i++)
        if (b->symbols[i].name.p != NULL)
            *slot_of(slots, cap, b->symbols[i].name) = b->symbols[i];
    b->symbols = slots;
    b->symbol_cap = cap;
    return QN_OK;
}

static qn_status define(struct qn_proto_building *b, struct qn_str name,
                        enum qn_proto_symbol_kind kind, void *type, uint32_t line, uint32_t col)
{
    struct qn_proto_symbol *s;

    if (2 * (b->symbol_count + 1) > b->symbol_cap)
        QN_TRY(grow(b));
    s = slot_of(b->symbols, b->symbol_cap, name);
    if (s->name.p != NULL) {
        if (kind == QN_PROTO_IS_PACKAGE && s->kind == QN_PROTO_IS_PACKAGE)
            return QN_OK;
        return qn_proto_wrong(b, b->file, line, col, "'%.*s' is defined twice",
                              QN_STR_ARG(qn_utf8_cut(name, QN_PROTO_SHOWN)));
    }
    *s = (struct qn_proto_symbol){name, kind, type};
    b->symbol_count++;
    return QN_OK;
}

/* OUTER.NAME, of its own memory. */
static qn_status full_name(struct qn_proto_building *b, struct qn_str outer, struct qn_str name,
                           uint32_t line, uint32_t col, struct qn_str *out)
{
    const uint32_t dot = outer.len > 0;
    char *text;

    if (outer.len + dot + name.len > QN_PROTO_NAME_MAX)
        return qn_proto_wrong(b, b->file, line, col, "a name of more than %d bytes",
                              QN_PROTO_NAME_MAX);
    text = qn_arena_alloc(b->arena, outer.len + dot + name.len + 1);
    if (text == NULL)
        return qn_proto_no_memory(b);
    if (outer.len > 0)
        memcpy(text, outer.p, outer.len);
    if (dot)
        text[outer.len] = '.';
    memcpy(text + outer.len + dot, name.p, name.len);
    *out = (struct qn_str){text, outer.len + dot + name.len};
    return QN_OK;
}

/* ---- building --------------------------------------------------------------------------------*/

/* The package and those around it. */
qn_status qn_proto_set_package(struct qn_proto_building *b, struct qn_str name, uint32_t line,
                               uint32_t col)
{
    for (uint32_t i = 1; i <= name.len; i++)
        if (i == name.len || name.p[i] == '.')
            QN_TRY(define(b, (struct qn_str){name.p, i}, QN_PROTO_IS_PACKAGE, NULL, line, col));
    b->package = name;
    return QN_OK;
}

qn_status qn_proto_add_import(struct qn_proto_building *b, struct qn_str name)
{
    struct qn_proto_import *i;
    uint32_t count = 0;

    for (i = b->imports; i != NULL; i = i->next, count++)
        if (qn_str_eq(i->name, name))
            return QN_OK;
    if (count == IMPORTS_MAX)
        return qn_proto_wrong(b, b->file, 0, 0, "more than %d imports", IMPORTS_MAX);
    i = QN_NEW(b->arena, struct qn_proto_import);
    if (i == NULL)
        return qn_proto_no_memory(b);
    *i = (struct qn_proto_import){name, b->imports};
    b->imports = i;
    return QN_OK;
}

static qn_status count_type(struct qn_proto_building *b)
{
    if (++b->types > QN_PROTO_TYPES_MAX)
        return qn_proto_wrong(b, b->file, 0, 0, "more than %d messages and enums",
                              QN_PROTO_TYPES_MAX);
    return QN_OK;
}

static qn_status count_part(struct qn_proto_building *b)
{
    if (++b->parts > QN_PROTO_PARTS_MAX)
        return qn_proto_wrong(b, b->file, 0, 0, "more than %d fields and values",
                              QN_PROTO_PARTS_MAX);
    return QN_OK;
}

qn_status qn_proto_add_message(struct qn_proto_building *b, struct qn_proto_message *parent,
                               struct qn_str name, uint32_t line, uint32_t col,
                               struct qn_proto_message **out)
{
    struct qn_proto_message *m = QN_NEW(b->arena, struct qn_proto_message);

    *out = m;
    if (m == NULL)
        return qn_proto_no_memory(b);
    QN_TRY(count_type(b));
    *(b->messages_last != NULL ? &b->messages_last->next : &b->messages) = m;
    b->messages_last = m;
    if (name.p == NULL) { /* what it is made of is looked for where it stands */
        m->name = parent->name;
        return QN_OK;
    }
    QN_TRY(full_name(b, parent != NULL ? parent->name : b->package, name, line, col, &m->name));
    QN_TRY(define(b, m->name, QN_PROTO_IS_MESSAGE, m, line, col));
    if (parent != NULL) {
        *(parent->inner_last != NULL ? &parent->inner_last->sibling : &parent->inner) = m;
        parent->inner_last = m;
        parent->nested_count++;
    } else {
        *(b->top_last != NULL ? &b->top_last->sibling : &b->top) = m;
        b->top_last = m;
    }
    return QN_OK;
}

qn_status qn_proto_add_enum(struct qn_proto_building *b, const struct qn_proto_message *parent,
                            struct qn_str name, uint32_t line, uint32_t col,
                            struct qn_proto_enum **out)
{
    struct qn_proto_enum *e = QN_NEW(b->arena, struct qn_proto_enum);

    *out = e;
    if (e == NULL)
        return qn_proto_no_memory(b);
    QN_TRY(count_type(b));
    QN_TRY(full_name(b, parent != NULL ? parent->name : b->package, name, line, col, &e->name));
    e->is_null = qn_str_is(e->name, "google.protobuf.NullValue");
    return define(b, e->name, QN_PROTO_IS_ENUM, e, line, col);
}

/* "NAME" and what follows; names are letters, digits and '_'. */
static qn_status quoted(struct qn_proto_building *b, struct qn_str name, const char *behind,
                        struct qn_str *out)
{
    const uint32_t more = (uint32_t)strlen(behind);
    char *text = qn_arena_alloc(b->arena, name.len + 2 + more);

    if (text == NULL)
        return qn_proto_no_memory(b);
    text[0] = '"';
    memcpy(text + 1, name.p, name.len);
    text[1 + name.len] = '"';
    memcpy(text + 2 + name.len, behind, more);
    *out = (struct qn_str){text, name.len + 2 + more};
    return QN_OK;
}

qn_status qn_proto_add_value(struct qn_proto_building *b, struct qn_proto_enum *e,
                             struct qn_str name, int32_t number)
{
    struct qn_proto_value *v = QN_NEW(b->arena, struct qn_proto_value);

    if (v == NULL)
        return qn_proto_no_memory(b);
    QN_TRY(count_part(b));
    QN_TRY(quoted(b, name, "", &v->text));
    v->number = number;
    v->order = e->count++;
    *(e->last != NULL ? &e->last->next : &e->first) = v;
    e->last = v;
    return QN_OK;
}

static int by_value(const void *a, const void *b)
{
    const struct qn_proto_value *x = a, *y = b;

    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

qn_status qn_proto_end_enum(struct qn_proto_building *b, struct qn_proto_enum *e, uint32_t line,
                            uint32_t col)
{
    struct qn_proto_value *values = QN_NEW_N(b->arena, struct qn_proto_value, e->count + 1);
    uint32_t i = 0;

    if (e->count == 0)
        return qn_proto_wrong(b, b->file, line, col, "an enum without values");
    if (values == NULL)
        return qn_proto_no_memory(b);
    e->fallback = e->first->number;
    for (const struct qn_proto_value *v = e->first; v != NULL; v = v->next)
        values[i++] = *v;
    qsort(values, e->count, sizeof *values, by_value);
    e->values = values;
    return QN_OK;
}

qn_status qn_proto_add_field(struct qn_proto_building *b, struct qn_proto_message *m,
                             const struct qn_proto_field *f)
{
    struct qn_proto_field *copy = QN_NEW(b->arena, struct qn_proto_field);

    if (copy == NULL)
        return qn_proto_no_memory(b);
    QN_TRY(count_part(b));
    *copy = *f;
    copy->next = NULL;
    QN_TRY(quoted(b, f->name, ":", &copy->member));
    copy->name = (struct qn_str){copy->member.p + 1, f->name.len};
    if (f->number == 0)
        return qn_proto_wrong(b, b->file, f->line, f->col, "the field '%.*s' has no number",
                              QN_STR_ARG(qn_utf8_cut(f->name, QN_PROTO_SHOWN)));
    *(m->last != NULL ? &m->last->next : &m->first) = copy;
    m->last = copy;
    m->count++;
    return QN_OK;
}

enum qn_proto_kind qn_proto_kind_of(struct qn_str name)
{
    static const char *const names[QN_PROTO_KINDS] = {
        [QN_PROTO_DOUBLE] = "double",     [QN_PROTO_FLOAT] = "float",
        [QN_PROTO_INT64] = "int64",       [QN_PROTO_UINT64] = "uint64",
        [QN_PROTO_INT32] = "int32",       [QN_PROTO_FIXED64] = "fixed64",
        [QN_PROTO_FIXED32] = "fixed32",   [QN_PROTO_BOOL] = "bool",
        [QN_PROTO_STRING] = "string",     [QN_PROTO_BYTES] = "bytes",
        [QN_PROTO_UINT32] = "uint32",     [QN_PROTO_SFIXED32] = "sfixed32",
        [QN_PROTO_SFIXED64] = "sfixed64", [QN_PROTO_SINT32] = "sint32",
        [QN_PROTO_SINT64] = "sint64"};

    for (int i = 1; i < QN_PROTO_KINDS; i++)
        if (names[i] != NULL && qn_str_is(name, names[i]))
            return (enum qn_proto_kind)i;
    return QN_PROTO_NAMED;
}

/* ---- names into types ------------------------------------------------------------------------*/

/* Behind SCOPE, or alone where that is empty, the first `len` bytes of the name. */
static const struct qn_proto_symbol *find_in(const struct qn_proto_building *b, struct qn_str scope,
                                             struct qn_str name, uint32_t len)
{
    char text[2 * QN_PROTO_NAME_MAX + 2];
    uint32_t n = scope.len;

    if (scope.len > 0) {
        memcpy(text, scope.p, scope.len);
        text[n++] = '.';
    }
    memcpy(text + n, name.p, len);
    return find(b, (struct qn_str){text, n + len});
}

static const struct qn_proto_symbol *look_up(const struct qn_proto_building *b, struct qn_str scope,
                                             struct qn_str name)
{
    const char *dot;
    uint32_t head;

    if (name.len > 0 && name.p[0] == '.')
        return find(b, (struct qn_str){name.p + 1, name.len - 1});
    dot = name.len > 0 ? memchr(name.p, '.', name.len) : NULL;
    head = dot != NULL ? (uint32_t)(dot - name.p) : name.len;
    for (;;) {
        const struct qn_proto_symbol *s = find_in(b, scope, name, head);
        const char *last;

        if (s != NULL && dot != NULL)
            return find_in(b, scope, name, name.len);
        if (s != NULL && s->kind != QN_PROTO_IS_PACKAGE)
            return s;
        if (scope.len == 0)
            return NULL;
        last = memrchr(scope.p, '.', scope.len);
        scope.len = last != NULL ? (uint32_t)(last - scope.p) : 0;
    }
}

/* An import that nobody gave: the likely reason why a type is missing. */
static struct qn_str missing_import(const struct qn_proto_building *b,
                                    const struct qn_proto_text *texts, uint32_t count)
{
    for (const struct qn_proto_import *i = b->imports; i != NULL; i = i->next) {
        const char *defines;
        bool is_there = qn_proto_known_text(i->name, &defines) != NULL;

        for (uint32_t t = 0; t + 1 < count && !is_there; t++)
            is_there = qn_str_eq(texts[t].name, i->name);
        if (!is_there)
            return i->name;
    }
    return (struct qn_str){NULL, 0};
}

struct linking {
    struct qn_proto_building *b;
    const struct qn_proto_text *texts;
    uint32_t count;
};

static qn_status resolve(const struct linking *l, const struct qn_proto_message *m,
                         struct qn_proto_field *f)
{
    const struct qn_proto_building *b = l->b;
    const struct qn_proto_symbol *s;
    struct qn_str missing;

    if (f->kind == QN_PROTO_NAMED) {
        s = look_up(b, m->name, f->type);
        if (s == NULL || s->kind == QN_PROTO_IS_PACKAGE) {
            missing = missing_import(b, l->texts, l->count);
            if (missing.p == NULL)
                return qn_proto_wrong(b, f->file, f->line, f->col, "no type is called '%.*s'",
                                      QN_STR_ARG(qn_utf8_cut(f->type, QN_PROTO_SHOWN)));
            return qn_proto_wrong(b, f->file, f->line, f->col,
                                  "no type is called '%.*s', and the import '%.*s' is none of its "
                                  "references",
                                  QN_STR_ARG(qn_utf8_cut(f->type, QN_PROTO_SHOWN)),
                                  QN_STR_ARG(qn_utf8_cut(missing, QN_PROTO_SHOWN)));
        }
        f->kind = s->kind == QN_PROTO_IS_ENUM ? QN_PROTO_ENUM : QN_PROTO_MESSAGE;
        if (f->kind == QN_PROTO_ENUM)
            f->values = s->type;
        else
            f->message = s->type;
    }
    if (f->kind == QN_PROTO_MESSAGE && !f->is_repeated)
        f->has_presence = true;
    f->type = f->file = (struct qn_str){NULL, 0}; /* texts go */
    return QN_OK;
}

/* ---- lists into arrays -----------------------------------------------------------------------*/

static int by_number(const void *a, const void *b)
{
    const struct qn_proto_slot *x = a, *y = b;

    return x->number < y->number ? -1 : x->number > y->number;
}

static qn_status list_fields(const struct linking *l, struct qn_proto_message *m)
{
    struct qn_proto_field *fields = QN_NEW_N(l->b->arena, struct qn_proto_field, m->count + 1);
    struct qn_proto_slot *slots = QN_NEW_N(l->b->arena, struct qn_proto_slot, m->count + 1);
    uint32_t i = 0;

    if (fields == NULL || slots == NULL)
        return qn_proto_no_memory(l->b);
    for (struct qn_proto_field *f = m->first; f != NULL; f = f->next, i++) {
        slots[i] = (struct qn_proto_slot){f->number, i};
        fields[i] = *f;
    }
    qsort(slots, m->count, sizeof *slots, by_number);
    for (i = 1; i < m->count; i++)
        if (slots[i].number == slots[i - 1].number) {
            const struct qn_proto_field *f = &fields[slots[i].index];

            return qn_proto_wrong(l->b, f->file, f->line, f->col,
                                  "'%.*s' has two fields with the number %u",
                                  QN_STR_ARG(qn_utf8_cut(m->name, QN_PROTO_SHOWN)), f->number);
        }
    for (i = 0; i < m->count; i++)
        QN_TRY(resolve(l, m, &fields[i]));
    m->fields = fields;
    m->by_number = slots;
    return QN_OK;
}

static qn_status list_nested(const struct qn_proto_building *b, struct qn_proto_message *m)
{
    uint32_t i = 0;

    m->nested = QN_NEW_N(b->arena, const struct qn_proto_message *, m->nested_count + 1);
    if (m->nested == NULL)
        return qn_proto_no_memory(b);
    for (const struct qn_proto_message *in = m->inner; in != NULL; in = in->sibling)
        m->nested[i++] = in;
    return QN_OK;
}

static bool is_key(const struct qn_proto_field *f)
{
    return f->number == 1 && !f->is_repeated && f->kind != QN_PROTO_DOUBLE &&
           f->kind != QN_PROTO_FLOAT && f->kind != QN_PROTO_MESSAGE && f->kind != QN_PROTO_BYTES &&
           f->kind != QN_PROTO_ENUM;
}

static qn_status check_entry(const struct linking *l, const struct qn_proto_message *m)
{
    if (m->count == 2 && is_key(&m->fields[0]) && m->fields[1].number == 2 &&
        !m->fields[1].is_repeated && m->oneofs == 0)
        return QN_OK;
    return qn_proto_wrong(l->b, l->b->file, 0, 0,
                          "a map in '%.*s' whose key is no whole number, text or bool",
                          QN_STR_ARG(qn_utf8_cut(m->name, QN_PROTO_SHOWN)));
}

static qn_status link_all(const struct linking *l)
{
    for (struct qn_proto_message *m = l->b->messages; m != NULL; m = m->next) {
        QN_TRY(list_fields(l, m));
        QN_TRY(list_nested(l->b, m));
        if (m->is_entry)
            QN_TRY(check_entry(l, m));
        m->known = qn_proto_known_of(m);
    }
    return QN_OK;
}

/* ---- the whole -------------------------------------------------------------------------------*/

static void begin_file(struct qn_proto_building *b, struct qn_str name)
{
    b->file = name;
    b->package = (struct qn_str){"", 0};
    b->top = b->top_last = NULL;
    b->is_proto3 = false;
}

/* Text, or base64 of a descriptor: letters and digits alone are no .proto file. */
static qn_status read_file(struct qn_proto_building *b, const struct qn_proto_text *t)
{
    char *bytes = t->text.len > 0 && t->text.len % 4 == 0
                      ? qn_arena_alloc(b->arena, t->text.len / 4 * 3)
                      : NULL;
    uint32_t len;

    begin_file(b, t->name);
    if (bytes == NULL && t->text.len > 0 && t->text.len % 4 == 0)
        return qn_proto_no_memory(b);
    if (bytes != NULL && qn_base64_decode(t->text, bytes, &len))
        return qn_proto_read_descriptor(b, (struct qn_str){bytes, len});
    return qn_proto_read_text(b, t->text);
}

/* Files that everybody knows, and those they import, where nobody gave them. */
static qn_status read_known(struct qn_proto_building *b, const struct qn_proto_text *texts,
                            uint32_t count)
{
    for (const struct qn_proto_import *done = NULL; b->imports != done;) {
        const struct qn_proto_import *newest = b->imports;

        for (const struct qn_proto_import *i = newest; i != done; i = i->next) {
            const char *defines, *text = qn_proto_known_text(i->name, &defines);
            bool is_given = false;

            for (uint32_t t = 0; t + 1 < count; t++)
                is_given |= qn_str_eq(texts[t].name, i->name);
            if (is_given || text == NULL || find(b, qn_str_of(defines)) != NULL)
                continue;
            begin_file(b, i->name);
            QN_TRY(qn_proto_read_text(b, qn_str_of(text)));
        }
        done = newest;
    }
    return QN_OK;
}

qn_status qn_proto_read(const struct qn_proto_text *texts, uint32_t count, struct qn_arena *arena,
                        const struct qn_proto **out, struct qn_err *err)
{
    struct qn_proto_building b = {.arena = arena, .err = err};
    struct qn_proto *schema = QN_NEW(arena, struct qn_proto);
    struct qn_proto_message file = {0};

    *out = NULL;
    if (schema == NULL)
        return qn_proto_no_memory(&b);
    for (uint32_t i = 0; i < count; i++)
        QN_TRY(read_file(&b, &texts[i]));
    for (struct qn_proto_message *m = b.top; m != NULL; m = m->sibling)
        file.nested_count++;
    file.inner = b.top;
    QN_TRY(read_known(&b, texts, count));
    QN_TRY(link_all(&(struct linking){&b, texts, count}));
    QN_TRY(list_nested(&b, &file));
    if (file.nested_count == 0)
        return qn_err_set(err, QN_INVALID, "the Protobuf schema has no message");
    schema->messages = file.nested;
    schema->count = file.nested_count;
    *out = schema;
    return QN_OK;
}
