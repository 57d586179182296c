/* SPDX-License-Identifier: Apache-2.0
 * schema.h - what an event of one stream looks like: fields, their types and the contract each must
 * keep.
 *
 * Built once from the spec (spec/bind.c), boot lifetime, then read-only and shared by all threads.
 * A field's values live in the batch column of the same index plus the stream's first column
 * (batch.h). */
#ifndef QN_EVENT_SCHEMA_H
#define QN_EVENT_SCHEMA_H

#include "base/memory.h"
#include "base/text.h"
#include "base/timestamp.h"

#include <stdbool.h>
#include <stdint.h>

/* Types of values everywhere: fields, expressions, features. X(NAME, text) */
#define QN_TYPE_LIST(X)                                                                            \
    X(BOOL, "bool")                                                                                \
    X(INT64, "int64")                                                                              \
    X(DOUBLE, "double")                                                                            \
    X(DECIMAL, "decimal")     /* int64 scaled by 10^scale                                  */      \
    X(STRING, "string")       /* valid UTF-8                                               */      \
    X(TIMESTAMP, "timestamp") /* int64 microseconds since 1970, UTC                        */      \
    X(LIST, "list")           /* of double                                                 */

enum qn_type {
#define QN_TYPE_ENUM(name, text) QN_##name,
    QN_TYPE_LIST(QN_TYPE_ENUM)
#undef QN_TYPE_ENUM
        QN_TYPE_COUNT
};
const char *qn_type_name(enum qn_type t); /* "int64"; static */

/* A type with its parameter. scale: decimals of QN_DECIMAL (0 to 18), else 0. */
struct qn_kind {
    enum qn_type type;
    uint8_t scale;
};
/* Writes "decimal(2)", "string", ...; returns out. */
const char *qn_kind_print(struct qn_kind k, char out[24]);

/* One value outside a column: a default, a limit, a literal. Which member counts follows from the
 * type: f64 for DOUBLE, str for STRING, list for LIST, i64 for the others (bool 0/1, decimal
 * scaled). */
struct qn_value {
    union {
        int64_t i64;
        double f64;
        struct qn_str str;
        struct {
            const double *v;
            uint32_t n;
        } list;
    };
};

struct qn_field {
    struct qn_str name; /* ours                                                              */
    struct qn_str from; /* path in the event as written ("payload.card.id"); = name if unset */
    const struct qn_str *path; /* the path in segments: JSON object members from the root */
    uint32_t path_count; /* 1 or more                                                         */
    struct qn_kind kind;
    enum qn_time_unit unit; /* TIMESTAMP: how it is written                                      */
    bool is_optional;       /* may be absent or null                                             */
    bool has_default, has_min, has_max;
    struct qn_value fallback;  /* the `default`  */
    struct qn_value min, max;  /* inclusive, of the field's type  */
    const struct qn_value *in; /* allowed values; STRING, INT64, DECIMAL */
    uint32_t in_count;     /* 0 = any                                                           */
    uint32_t length_max;   /* STRING: code points; LIST: values; 0 = only the event's own limit */
    uint32_t length_exact; /* LIST: exactly so many values; 0 = any                             */
};

/* What is around an event in its record, and what becomes of rows that were deleted (envelope.h).
 */
enum qn_envelope { QN_ENVELOPE_NONE, QN_ENVELOPE_CLOUDEVENTS, QN_ENVELOPE_DEBEZIUM };
enum qn_deletes { QN_DELETES_DROP, QN_DELETES_EVENT };

enum qn_late { QN_LATE_SCORE, QN_LATE_FOLD, QN_LATE_DROP, QN_LATE_DEAD_LETTER };

enum {
    QN_FIELDS_MAX = 1024,
    QN_STREAMS_MAX = 64,
    QN_EVENT_BYTES_MAX = 1 << 20,
    QN_JSON_EVENT_DEPTH_MAX = 64
};

struct qn_schema {
    struct qn_str name; /* of the stream                                          */
    const struct qn_field *fields;
    uint32_t field_count;
    int32_t id, time, key; /* index of the field, -1 = none (id and key may be none) */
    int64_t lateness_us;
    int64_t within_us; /* how far behind the watermark `score` and `fold` reach  */
    enum qn_late late;
    enum qn_envelope envelope;
    enum qn_deletes deletes;
    int64_t dedup_us;      /* how long an id is remembered, to drop repeats; 0 = not at all   */
    uint32_t first_column; /* batch column of field 0                                */
    uint64_t version;      /* hash of names, types and limits: the contract version  */
    const void *decoder;   /* private to decode_json*: compiled path table, or NULL */
    const void *limits;    /* private to contract.c: hashed allowed sets, or NULL    */
};

/* Index of the field of that name, or -1. */
int qn_schema_find(const struct qn_schema *s, struct qn_str name);

#endif
