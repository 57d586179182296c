/* SPDX-License-Identifier: Apache-2.0
 * avro.h - a record in Avro's binary encoding as the JSON text of an event, by the schema it was
 * written with.
 *
 * A pure function of schema and bytes: what a stream asks for is its contract's business. A record
 * becomes an object with its fields in their order, a union the value of its branch, an enum its
 * symbol, bytes and fixed base64. Logical types: decimal a number with all its digits,
 * timestamp-*, local-timestamp-* and date a time as RFC 3339 text (a date its midnight), uuid its
 * text; others, and annotations that cannot be (a scale above the precision), are the plain type,
 * as the specification asks. Aliases and defaults of a schema are for readers, and the reader here
 * is the contract. Source: Apache Avro 1.12 specification. Thread: a schema is read-only; decoding
 * has no state. Memory: the schema in the given arena. */
#ifndef QN_EVENT_AVRO_H
#define QN_EVENT_AVRO_H

#include "base/memory.h"
#include "base/status.h"
#include "event/wire_json.h"

struct qn_avro; /* private: avro_int.h */

enum { QN_AVRO_TYPES_MAX = 10000 };

/* Reads a schema. texts: those it refers to first, each behind what it needs itself, and it last.
 * QN_INVALID says what is wrong; QN_NOMEM. */
qn_status qn_avro_read(const struct qn_str *texts, uint32_t count, struct qn_arena *arena,
                       const struct qn_avro **out, struct qn_err *err);

/* Appends the JSON of one record. False: the bytes are not what the schema says (bad_record), not
 * UTF-8, too deep, or larger as JSON than an event may be; out then holds part of it. */
bool qn_avro_json(const struct qn_avro *schema, struct qn_str bytes, struct qn_buf *out,
                  struct qn_wire_fault *fault);

#endif
