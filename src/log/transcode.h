/* SPDX-License-Identifier: Apache-2.0
 * transcode.h - a record of a topic as the JSON event of a stream: out of its framing, its binary
 * format.
 *
 *   value ─► framing (schema id) ─► format by that schema ─► event, headers
 *                    └ schema registry, once per id, then kept for ever
 *
 * A pure function of the record and the schemas that it names, which never change: so an event is
 * the same whenever it is made again. What cannot be made an event is set aside with a reason,
 * never guessed at; what cannot be decided yet, because no registry answers, is an error, and to be
 * asked again. The headers say by which schema it came (quern.schema_id), and of what was set aside
 * why (quern.undecodable: the reason's name, quern.detail). Framing: byte 0, four bytes of id, high
 * first; then, of Protobuf, the path of the message. Source: Confluent's wire format. Thread: any;
 * they wait for each other, for a registry too. Memory: schemas in its own arena, for ever; records
 * in the caller's buffers. */
#ifndef QN_LOG_TRANSCODE_H
#define QN_LOG_TRANSCODE_H

#include "base/clock.h"
#include "event/batch.h"
#include "log/schema_registry.h"

enum qn_wire_format {
    QN_WIRE_JSON, /* the value is the event as it stands */
    QN_WIRE_AVRO,
    QN_WIRE_PROTOBUF,
    QN_WIRE_JSON_SCHEMA
};
const char *qn_wire_format_name(enum qn_wire_format f); /* "json-schema" */

struct qn_transcode_options {
    enum qn_wire_format format;
    struct qn_registry_options registry; /* url NULL: the format needs none */
    const struct qn_clock *clock;
};
static inline bool qn_transcode_is_needed(const struct qn_transcode_options *o)
{
    return o->format != QN_WIRE_JSON;
}

struct qn_transcoder; /* private */

/* Copies the options, borrows their texts; connects to nothing. */
qn_status qn_transcoder_new(const struct qn_transcode_options *opt, struct qn_transcoder **out,
                            struct qn_err *err);
void qn_transcoder_free(struct qn_transcoder *t); /* NULL is fine */

/* What became of one record. */
struct qn_transcoded {
    struct qn_str event; /* p NULL: it was written to `out`, from `begin` on, `len` bytes      */
    size_t begin;
    uint32_t len;
    enum qn_reason reason; /* NONE: an event; else set aside, and `event` is the value           */
    bool is_skipped;       /* nothing at all: the tombstone behind a delete                      */
};

/* value.p NULL: the record has none. given: its headers, as the log keeps them; those it shall have
 * are appended to *headers, events that are not part of the value to *out. An error other than
 * QN_NOMEM: ask again later, nothing was appended; a registry that did not answer is asked once a
 * second or less, and the error is the same in between. */
qn_status qn_transcode(struct qn_transcoder *t, struct qn_str value, struct qn_str given,
                       struct qn_buf *out, struct qn_buf *headers, struct qn_transcoded *r,
                       struct qn_err *err);

/* The id of the schema in front of a value; false where it has none. */
bool qn_transcode_id(struct qn_str value, uint32_t *id);
/* Sets a record with that id aside as schema_unknown, without asking: it was before. */
void qn_transcode_unknown(struct qn_str value, uint32_t id, struct qn_str given,
                          struct qn_buf *headers, struct qn_transcoded *r);

/* Why an event was set aside at the door, by its headers; NONE where it was not. */
enum qn_reason qn_transcode_reason(struct qn_str headers);

#endif
