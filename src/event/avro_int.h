/* SPDX-License-Identifier: Apache-2.0
 * avro_int.h - a schema as avro_schema.c builds it and avro_json.c walks it.
 *
 * Thread: read-only. Memory: the arena of its maker. */
#ifndef QN_EVENT_AVRO_INT_H
#define QN_EVENT_AVRO_INT_H

#include "event/avro.h"

enum qn_avro_kind {
    QN_AVRO_NULL,
    QN_AVRO_BOOLEAN,
    QN_AVRO_INT,
    QN_AVRO_LONG,
    QN_AVRO_FLOAT,
    QN_AVRO_DOUBLE,
    QN_AVRO_BYTES,
    QN_AVRO_STRING, /* up to here by name alone */
    QN_AVRO_RECORD,
    QN_AVRO_ENUM,
    QN_AVRO_ARRAY,
    QN_AVRO_MAP,
    QN_AVRO_FIXED,
    QN_AVRO_UNION
};

enum qn_avro_logical {
    QN_AVRO_PLAIN,
    QN_AVRO_DECIMAL,
    QN_AVRO_DATE,
    QN_AVRO_MILLIS,
    QN_AVRO_MICROS,
    QN_AVRO_NANOS,
    QN_AVRO_UUID
};

struct qn_avro_type;
struct qn_avro_field {
    struct qn_str member; /* "\"name\":" */
    const struct qn_avro_type *type;
};
struct qn_avro_type {
    enum qn_avro_kind kind;
    enum qn_avro_logical logical;
    uint32_t scale;                    /* DECIMAL */
    uint32_t size;                     /* FIXED: bytes */
    uint32_t count;                    /* of what follows */
    const struct qn_avro_field *parts; /* RECORD: fields; UNION: branches; ARRAY, MAP: one */
    const struct qn_str *symbols;      /* ENUM: with their quotes */
};
struct qn_avro {
    const struct qn_avro_type *root;
};

#endif
