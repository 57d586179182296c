/* SPDX-License-Identifier: Apache-2.0
 * proto_descriptor.c - a FileDescriptorProto, which is a .proto file as a Protobuf message, into
 * messages, enums and imports. See proto_int.h.
 *
 * Clients that have no text register this, in base64. What is taken is what proto_text.c takes.
 * Recursion: a message in a message, at most QN_PROTO_NESTING_MAX. Source: descriptor.proto of
 * Protocol Buffers 3. Thread: one. Memory: the arena. */
#include "event/proto_int.h"

/* Numbers of the fields that count. */
enum { FILE_PACKAGE = 2, FILE_IMPORT = 3, FILE_MESSAGE = 4, FILE_ENUM = 5, FILE_SYNTAX = 12 };
enum { MESSAGE_NAME = 1, MESSAGE_FIELD = 2, MESSAGE_NESTED = 3, MESSAGE_ENUM = 4 };
enum { MESSAGE_OPTIONS = 7, MESSAGE_ONEOF = 8, OPTION_MAP_ENTRY = 7 };
enum { ENUM_NAME = 1, ENUM_VALUE = 2, VALUE_NAME = 1, VALUE_NUMBER = 2 };
enum { FIELD_NAME = 1, FIELD_NUMBER = 3, FIELD_LABEL = 4, FIELD_TYPE = 5, FIELD_TYPE_NAME = 6 };
enum { FIELD_ONEOF = 9, FIELD_OPTIONAL = 17, LABEL_REPEATED = 3 };

static qn_status broken(const struct qn_proto_building *b, const char *why)
{
    return qn_proto_wrong(b, b->file, 0, 0, "the descriptor is broken: %s", why);
}

static struct qn_proto_reader reader_of(struct qn_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;

    return (struct qn_proto_reader){p, p + s.len};
}

/* The next field; *is_end instead of one. */
static qn_status take(const struct qn_proto_building *b, struct qn_proto_reader *r,
                      struct qn_proto_piece *f, bool *is_end)
{
    const char *why = NULL;

    *is_end = r->p == r->end;
    return *is_end || qn_proto_next(r, f, &why) ? QN_OK : broken(b, why);
}

static bool is_bytes(const struct qn_proto_piece *f, uint32_t number)
{
    return f->number == number && f->wire == QN_PROTO_BYTES_WIRE;
}

static bool is_number(const struct qn_proto_piece *f, uint32_t number)
{
    return f->number == number && f->wire == QN_PROTO_VARINT;
}

static struct qn_str bytes_of(const struct qn_proto_piece *f)
{
    return (struct qn_str){(const char *)f->p, f->len};
}

static bool is_name(struct qn_str s, bool may_have_dots)
{
    for (uint32_t i = 0; i < s.len; i++) {
        const char c = s.p[i];
        const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';

        if (!is_letter && !(c >= '0' && c <= '9') && !(may_have_dots && c == '.'))
            return false;
    }
    return s.len > 0 && s.len <= QN_PROTO_NAME_MAX;
}

/* A name lives as long as the schema, which is longer than the descriptor. */
static qn_status take_name(const struct qn_proto_building *b, const struct qn_proto_piece *f,
                           bool may_have_dots, struct qn_str *out)
{
    const struct qn_str name = bytes_of(f);

    if (!is_name(name, may_have_dots))
        return broken(b, "a name that cannot be");
    *out = (struct qn_str){qn_arena_strdup(b->arena, name.p, name.len), name.len};
    return out->p != NULL ? QN_OK : qn_proto_no_memory(b);
}

/* The name among the fields of a message or an enum: p NULL where there is none. */
static qn_status find_name(const struct qn_proto_building *b, struct qn_str bytes, uint32_t number,
                           struct qn_str *out)
{
    struct qn_proto_reader r = reader_of(bytes);
    struct qn_proto_piece f;
    bool is_end;

    *out = (struct qn_str){NULL, 0};
    for (;;) {
        QN_TRY(take(b, &r, &f, &is_end));
        if (is_end)
            break;
        if (is_bytes(&f, number))
            QN_TRY(take_name(b, &f, false, out));
    }
    return out->p != NULL ? QN_OK : broken(b, "a type without a name");
}

/* ---- enums -----------------------------------------------------------------------------------*/

static qn_status read_value(struct qn_proto_building *b, struct qn_proto_enum *e,
                            struct qn_str bytes)
{
    struct qn_proto_reader r = reader_of(bytes);
    struct qn_proto_piece f;
    struct qn_str name;
    int32_t number = 0;
    bool is_end;

    QN_TRY(find_name(b, bytes, VALUE_NAME, &name));
    for (;;) {
        QN_TRY(take(b, &r, &f, &is_end));
        if (is_end)
            return qn_proto_add_value(b, e, name, number);
        if (is_number(&f, VALUE_NUMBER))
            number = (int32_t)(uint32_t)f.value;
    }
}

static qn_status read_enum(struct qn_proto_building *b, const struct qn_proto_message *parent,
                           struct qn_str bytes)
{
    struct qn_proto_reader r = reader_of(bytes);
    struct qn_proto_enum *e;
    struct qn_proto_piece f;
    struct qn_str name;
    bool is_end;

    QN_TRY(find_name(b, bytes, ENUM_NAME, &name));
    QN_TRY(qn_proto_add_enum(b, parent, name, 0, 0, &e));
    for (;;) {
        QN_TRY(take(b, &r, &f, &is_end));
        if (is_end)
            return qn_proto_end_enum(b, e, 0, 0);
        if (is_bytes(&f, ENUM_VALUE))
            QN_TRY(read_value(b, e, bytes_of(&f)));
    }
}

/* ---- messages --------------------------------------------------------------------------------*/

static qn_status read_field(struct qn_proto_building *b, struct qn_proto_message *m,
                            struct qn_str bytes)
{
    struct qn_proto_field field = {.has_presence = !b->is_proto3, .file = b->file};
    struct qn_proto_reader r = reader_of(bytes);
    bool is_end, is_optional = false;
    struct qn_proto_piece f;

    for (;;) {
        QN_TRY(take(b, &r, &f, &is_end));
        if (is_end)
            break;
        if (is_bytes(&f, FIELD_NAME))
            QN_TRY(take_name(b, &f, false, &field.name));
        else if (is_bytes(&f, FIELD_TYPE_NAME))
            QN_TRY(take_name(b, &f, true, &field.type));
        else if (is_number(&f, FIELD_NUMBER))
            field.number = f.value <= QN_PROTO_NUMBER_MAX ? (uint32_t)f.value : 0;
        else if (is_number(&f, FIELD_LABEL))
            field.is_repeated = f.value == LABEL_REPEATED;
        else if (is_number(&f, FIELD_TYPE))
            field.kind = f.value < QN_PROTO_KINDS ? (enum qn_proto_kind)f.value : QN_PROTO_NAMED;
        else if (is_number(&f, FIELD_ONEOF))
            field.oneof = f.value < m->oneofs ? (uint32_t)f.value + 1 : 0;
        else if (is_number(&f, FIELD_OPTIONAL))
            is_optional = f.value != 0;
    }
    if (is_optional) /* the oneof around it is a way to say so */
        field.oneof = 0;
    field.has_presence =
        !field.is_repeated && (field.has_presence || is_optional || field.oneof > 0);
    if (field.name.p == NULL)
        return broken(b, "a field without a name");
    if (field.kind == QN_PROTO_GROUP)
        return qn_proto_wrong(b, b->file, 0, 0,
                              "groups are not read, and '%.*s' is one: a message of its own is",
                              QN_STR_ARG(qn_utf8_cut(field.name, QN_PROTO_SHOWN)));
    if (field.kind == QN_PROTO_MESSAGE || field.kind == QN_PROTO_ENUM)
        field.kind = QN_PROTO_NAMED;
    if (field.kind == QN_PROTO_NAMED && field.type.p == NULL)
        return broken(b, "a field without a type");
    return qn_proto_add_field(b, m, &field);
}

static qn_status read_options(struct qn_proto_building *b, struct qn_proto_message *m,
                              struct qn_str bytes)
{
    struct qn_proto_reader r = reader_of(bytes);
    struct qn_proto_piece f;
    bool is_end;

    for (;;) {
        QN_TRY(take(b, &r, &f, &is_end));
        if (is_end)
            return QN_OK;
        if (is_number(&f, OPTION_MAP_ENTRY))
            m->is_entry = f.value != 0;
    }
}

static qn_status read_message(struct qn_proto_building *b, struct qn_proto_message *parent,
                              struct qn_str bytes, uint32_t depth)
{
    struct qn_proto_reader r = reader_of(bytes);
    struct qn_proto_message *m;
    struct qn_proto_piece f;
    struct qn_str name;
    bool is_end;

    if (depth > QN_PROTO_NESTING_MAX)
        return broken(b, "messages are nested too deeply");
    QN_TRY(find_name(b, bytes, MESSAGE_NAME, &name));
    QN_TRY(qn_proto_add_message(b, parent, name, 0, 0, &m));
    for (;;) { /* fields name oneofs by their index, which stand behind them */
        QN_TRY(take(b, &r, &f, &is_end));
        if (is_end)
            break;
        m->oneofs += is_bytes(&f, MESSAGE_ONEOF);
    }
    r = reader_of(bytes);
    for (;;) {
        QN_TRY(take(b, &r, &f, &is_end));
        if (is_end)
            return QN_OK;
        if (is_bytes(&f, MESSAGE_FIELD))
            QN_TRY(read_field(b, m, bytes_of(&f)));
        else if (is_bytes(&f, MESSAGE_NESTED))
            QN_TRY(read_message(b, m, bytes_of(&f), depth + 1));
        else if (is_bytes(&f, MESSAGE_ENUM))
            QN_TRY(read_enum(b, m, bytes_of(&f)));
        else if (is_bytes(&f, MESSAGE_OPTIONS))
            QN_TRY(read_options(b, m, bytes_of(&f)));
    }
}

/* ---- the file --------------------------------------------------------------------------------*/

/* What the rest depends on comes first, wherever it stands. */
static qn_status read_head(struct qn_proto_building *b, struct qn_str bytes)
{
    struct qn_proto_reader r = reader_of(bytes);
    struct qn_proto_piece f;
    struct qn_str name;
    bool is_end;

    for (;;) {
        QN_TRY(take(b, &r, &f, &is_end));
        if (is_end)
            return QN_OK;
        if (is_bytes(&f, FILE_PACKAGE) && f.len > 0) {
            QN_TRY(take_name(b, &f, true, &name));
            QN_TRY(qn_proto_set_package(b, name, 0, 0));
        } else if (is_bytes(&f, FILE_IMPORT)) {
            QN_TRY(qn_proto_add_import(b, bytes_of(&f)));
        } else if (is_bytes(&f, FILE_SYNTAX)) {
            b->is_proto3 = qn_str_is(bytes_of(&f), "proto3");
            if (!b->is_proto3 && f.len > 0 && !qn_str_is(bytes_of(&f), "proto2"))
                return qn_proto_wrong(b, b->file, 0, 0,
                                      "editions are not read: syntax proto2 and proto3 are");
        }
    }
}

qn_status qn_proto_read_descriptor(struct qn_proto_building *b, struct qn_str bytes)
{
    struct qn_proto_reader r = reader_of(bytes);
    struct qn_proto_piece f;
    bool is_end;

    QN_TRY(read_head(b, bytes));
    for (;;) {
        QN_TRY(take(b, &r, &f, &is_end));
        if (is_end)
            return QN_OK;
        if (is_bytes(&f, FILE_MESSAGE))
            QN_TRY(read_message(b, NULL, bytes_of(&f), 1));
        else if (is_bytes(&f, FILE_ENUM))
            QN_TRY(read_enum(b, NULL, bytes_of(&f)));
    }
}
