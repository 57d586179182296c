/* SPDX-License-Identifier: Apache-2.0
 * proto_int.h - a Protobuf schema as proto_text.c or proto_descriptor.c begin it, proto_link.c
 * finishes it and proto_json.c walks it; and the wire format that two of them read.
 *
 * Thread: one while it is built, read-only then. Memory: the arena of its maker. */
#ifndef QN_EVENT_PROTO_INT_H
#define QN_EVENT_PROTO_INT_H

#include "event/proto.h"

/* The numbers of FieldDescriptorProto.Type. */
enum qn_proto_kind {
    QN_PROTO_NAMED, /* a message or an enum: the name is not looked up yet */
    QN_PROTO_DOUBLE,
    QN_PROTO_FLOAT,
    QN_PROTO_INT64,
    QN_PROTO_UINT64,
    QN_PROTO_INT32,
    QN_PROTO_FIXED64,
    QN_PROTO_FIXED32,
    QN_PROTO_BOOL,
    QN_PROTO_STRING,
    QN_PROTO_GROUP,
    QN_PROTO_MESSAGE,
    QN_PROTO_BYTES,
    QN_PROTO_UINT32,
    QN_PROTO_ENUM,
    QN_PROTO_SFIXED32,
    QN_PROTO_SFIXED64,
    QN_PROTO_SINT32,
    QN_PROTO_SINT64,
    QN_PROTO_KINDS
};

/* Messages that become something else than an object. */
enum qn_proto_known {
    QN_PROTO_PLAIN,
    QN_PROTO_CONTENT, /* its one field: wrappers, Struct, ListValue */
    QN_PROTO_VALUE,   /* the field that is set, or null             */
    QN_PROTO_TIMESTAMP,
    QN_PROTO_DURATION,
    QN_PROTO_DECIMAL,     /* confluent.type: big-endian bytes, precision, scale */
    QN_PROTO_DECIMAL_TEXT /* google.type: a text                                */
};

struct qn_proto_value {
    int32_t number;
    uint32_t order;              /* of those with the same number the first counts */
    struct qn_str text;          /* with its quotes */
    struct qn_proto_value *next; /* while it is built */
};
struct qn_proto_enum {
    struct qn_str name;                  /* full */
    struct qn_proto_value *first, *last; /* while it is built                  */
    const struct qn_proto_value *values; /* [count] by number, then as written */
    uint32_t count;
    int32_t fallback; /* the number of a field that was not written */
    bool is_null;     /* google.protobuf.NullValue                  */
};

struct qn_proto_message;
struct qn_proto_field {
    struct qn_str name;
    struct qn_str member; /* "\"name\":" */
    struct qn_str type;   /* the name of a NAMED one, as written      */
    struct qn_str file;   /* where it stands, for what is wrong       */
    uint32_t number, line, col;
    enum qn_proto_kind kind;
    bool is_repeated, has_presence;
    uint32_t oneof; /* from 1; 0 = of none */
    const struct qn_proto_message *message;
    const struct qn_proto_enum *values;
    struct qn_proto_field *next; /* while it is built */
};
static inline bool qn_proto_is_map(const struct qn_proto_field *f);

struct qn_proto_slot {
    uint32_t number, index; /* of a field */
};
struct qn_proto_message {
    struct qn_str name; /* full */
    enum qn_proto_known known;
    bool is_entry; /* of a map: a key, a value */
    uint32_t count, oneofs;
    const struct qn_proto_field *fields;    /* [count] as written         */
    const struct qn_proto_slot *by_number;  /* [count] sorted           */
    const struct qn_proto_message **nested; /* [nested_count] as written: what a path counts */
    uint32_t nested_count;
    struct qn_proto_field *first, *last;         /* while it is built: fields ...   */
    struct qn_proto_message *inner, *inner_last; /* ... messages in it ...          */
    struct qn_proto_message *sibling, *next;     /* ... the next beside it, of all  */
};

struct qn_proto {
    const struct qn_proto_message **messages; /* [count] of the file that is read */
    uint32_t count;
};

static inline bool qn_proto_is_map(const struct qn_proto_field *f)
{
    return f->is_repeated && f->kind == QN_PROTO_MESSAGE && f->message->is_entry;
}

/* ---- building (proto_link.c) -----------------------------------------------------------------*/

enum {
    QN_PROTO_NESTING_MAX = 32, /* messages in messages of a schema */
    QN_PROTO_NAME_MAX = 511,   /* bytes of a full name             */
    QN_PROTO_NUMBER_MAX = (1 << 29) - 1,
    QN_PROTO_SHOWN = 80
};

enum qn_proto_symbol_kind { QN_PROTO_IS_PACKAGE, QN_PROTO_IS_MESSAGE, QN_PROTO_IS_ENUM };
struct qn_proto_symbol {
    struct qn_str name; /* p NULL: free */
    enum qn_proto_symbol_kind kind;
    void *type;
};
struct qn_proto_import {
    struct qn_str name;
    struct qn_proto_import *next;
};

struct qn_proto_building {
    struct qn_arena *arena;
    struct qn_proto_symbol *symbols; /* open addressing; a power of two, at most half full */
    uint32_t symbol_cap, symbol_count;
    struct qn_proto_message *messages, *messages_last;
    struct qn_proto_import *imports;
    uint32_t types, parts;
    struct qn_err *err;
    /* of the file that is read now */
    struct qn_str file, package;
    struct qn_proto_message *top, *top_last;
    bool is_proto3;
};

/* "'other.proto', 3:7: ..."; line 0: no place in it. Returns QN_INVALID. */
qn_status qn_proto_wrong(const struct qn_proto_building *b, struct qn_str file, uint32_t line,
                         uint32_t col, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
qn_status qn_proto_no_memory(const struct qn_proto_building *b);
qn_status qn_proto_set_package(struct qn_proto_building *b, struct qn_str name, uint32_t line,
                               uint32_t col);
qn_status qn_proto_add_import(struct qn_proto_building *b, struct qn_str name);
/* parent NULL: of the file. name p NULL: the entry of a map, which nothing can refer to. */
qn_status qn_proto_add_message(struct qn_proto_building *b, struct qn_proto_message *parent,
                               struct qn_str name, uint32_t line, uint32_t col,
                               struct qn_proto_message **out);
qn_status qn_proto_add_enum(struct qn_proto_building *b, const struct qn_proto_message *parent,
                            struct qn_str name, uint32_t line, uint32_t col,
                            struct qn_proto_enum **out);
qn_status qn_proto_add_value(struct qn_proto_building *b, struct qn_proto_enum *e,
                             struct qn_str name, int32_t number);
/* Copies *f. */
qn_status qn_proto_add_field(struct qn_proto_building *b, struct qn_proto_message *m,
                             const struct qn_proto_field *f);
/* Values in their order; an enum is complete. */
qn_status qn_proto_end_enum(struct qn_proto_building *b, struct qn_proto_enum *e, uint32_t line,
                            uint32_t col);

/* The kind of that name ("sint32"), NAMED where it is none. */
enum qn_proto_kind qn_proto_kind_of(struct qn_str name);

/* One file into messages, enums and imports of b: b->file, b->package and b->top are its. */
qn_status qn_proto_read_text(struct qn_proto_building *b, struct qn_str text);
qn_status qn_proto_read_descriptor(struct qn_proto_building *b, struct qn_str bytes);

/* The text of a file that everybody knows by that name, and a name that it defines; NULL where
 * there is none. */
const char *qn_proto_known_text(struct qn_str file, const char **defines);
/* What becomes of a message of that name and form. */
enum qn_proto_known qn_proto_known_of(const struct qn_proto_message *m);

/* ---- wire format (proto_wire.c) --------------------------------------------------------------*/

enum qn_proto_wire {
    QN_PROTO_VARINT,
    QN_PROTO_64,
    QN_PROTO_BYTES_WIRE,
    QN_PROTO_GROUP_WIRE, /* a whole one, passed over */
    QN_PROTO_GROUP_END,
    QN_PROTO_32
};
struct qn_proto_reader {
    const unsigned char *p, *end;
};
struct qn_proto_piece {
    uint32_t number;
    enum qn_proto_wire wire;
    uint64_t value;         /* VARINT, 64, 32  */
    const unsigned char *p; /* BYTES           */
    uint32_t len;
};
/* Both: false and in *why what is wrong; r->p is where. */
bool qn_proto_varint(struct qn_proto_reader *r, uint64_t *out, const char **why);
bool qn_proto_next(struct qn_proto_reader *r, struct qn_proto_piece *out, const char **why);
static inline int64_t qn_proto_zigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

#endif
