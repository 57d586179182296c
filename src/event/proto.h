/* SPDX-License-Identifier: Apache-2.0
 * proto.h - a Protobuf message as the JSON text of an event, by the schema it was written with.
 *
 *   .proto text      ─► proto_text.c ───────┐
 *   base64 of a file ─► proto_descriptor.c ─┴► proto_link.c ─► messages, fields ─► proto_json.c
 *   descriptor                                                                     bytes ─► JSON
 *
 * A pure function of schema and bytes: what a stream asks for is its contract's business. A message
 * becomes an object with the fields' names as they stand in the schema, in their order. A field
 * without presence (proto3 without `optional`, repeated, map) is always there, one with presence
 * where it was written; a oneof is the field that was. Numbers keep all digits, enums are their
 * names (a number that has none the number), bytes base64. Timestamp is a time as RFC 3339 text,
 * Duration a number of seconds, a wrapper its value, Struct, Value and ListValue what they hold,
 * confluent.type.Decimal and google.type.Decimal a number; other messages, Any too, are objects.
 * Unknown fields are passed over; a known one in a wire type that is not its own is a broken
 * record. Groups and editions are refused. Source: the language and encoding guides of Protocol
 * Buffers, descriptor.proto. Thread: a schema is read-only; decoding has no state. Memory: the
 * schema in the given arena. */
#ifndef QN_EVENT_PROTO_H
#define QN_EVENT_PROTO_H

#include "base/memory.h"
#include "base/status.h"
#include "event/wire_json.h"

struct qn_proto; /* private: proto_int.h */

enum {
    QN_PROTO_TYPES_MAX = 10000, /* messages and enums                        */
    QN_PROTO_PARTS_MAX = 100000 /* fields and values of enums, all together  */
};

/* One file: .proto text, or its FileDescriptorProto in base64, as some clients register it. */
struct qn_proto_text {
    struct qn_str name; /* as imports call it; of the last one empty */
    struct qn_str text;
};

/* Reads a schema. texts: those it imports first, in any order, and it last. What Google and
 * Confluent define (google/protobuf, google/type, confluent/type) is known. QN_INVALID says what is
 * wrong and where; QN_NOMEM. */
qn_status qn_proto_read(const struct qn_proto_text *texts, uint32_t count, struct qn_arena *arena,
                        const struct qn_proto **out, struct qn_err *err);

/* Appends the JSON of one record: the path of its message in the schema, as Confluent's framing has
 * it behind the id, then the message. room: memory for the walk, whose content means nothing
 * afterwards; kept by the caller, so that nothing is allocated per record. False: the bytes are not
 * what the schema says (bad_record), not UTF-8, too deep, or larger as JSON than an event may be;
 * out then holds part of it. */
bool qn_proto_json(const struct qn_proto *schema, struct qn_str bytes, struct qn_buf *room,
                   struct qn_buf *out, struct qn_wire_fault *fault);

#endif
