/* SPDX-License-Identifier: Apache-2.0
 * envelope.h - the event inside a record that others have wrapped: CloudEvents, changes of
 * Debezium.
 *
 *   record, headers ─► opened ─► a JSON object that the stream's fields name paths of ─► columns
 *
 * The log keeps a record as it came, and it is opened whenever it is decoded: a pure function of
 * value, headers and schema, so that files, topics, replays and dead letters see the same. An
 * opened record has only members that some field of the schema leads to.
 *
 *   CloudEvents   the members of `data` (in binary mode: of the value); `ce.NAME`, its attributes;
 *                 `data`, the data as a whole. These two names win over members of the data.
 *   Debezium      the columns of the row: of `after`, in a delete of `before`; `op`, `source`,
 *                 `ts_ms`, `ts_us`, `ts_ns`, `transaction`, `before`, `after` as the envelope has
 *                 them, and `row`, the row as a whole. These names win over columns.
 *
 * Where Connect's schema stands around a change, columns of its types Decimal, Date, Timestamp and
 * of io.debezium.time become numbers with all their digits, and times in the form that the field is
 * declared to have; VariableScaleDecimal is read without it, too. An unchanged value that the
 * database did not tell (__debezium_unavailable_value) is absent. Sources: CloudEvents 1.0.2 with
 * its JSON format and Kafka binding; the documentation of Debezium 3 and of Connect's
 * JsonConverter. Thread: an opener, one owner. Memory: an opener's own, kept from record to record.
 */
#ifndef QN_EVENT_ENVELOPE_H
#define QN_EVENT_ENVELOPE_H

#include "event/batch.h"

const char *qn_envelope_name(enum qn_envelope e); /* "debezium" */

enum { QN_ENVELOPE_WHY_BYTES = 160 };
struct qn_opener; /* private */

qn_status qn_opener_new(struct qn_opener **out, struct qn_err *err);
void qn_opener_free(struct qn_opener *o); /* NULL is fine */

/* Opens one record of a stream with an envelope, whose schema->decoder is there. raw must be
 * readable for QN_DECODE_PAD bytes beyond its end; headers as in record_headers.h, p NULL where
 * there are none. NONE: *event is the JSON of the event, readable as far beyond its end, until the
 * next call. Else why the record is set aside: what the text does wrong (bad_json, bad_utf8,
 * too_deep, not_an_object), bad_envelope, or it is no event of ours (tombstone, deleted, no_row).
 * *no_memory: neither, and the answer means nothing. */
enum qn_reason qn_envelope_open(struct qn_opener *o, const struct qn_schema *s, struct qn_str raw,
                                struct qn_str headers, struct qn_str *event, bool *no_memory);
/* What is wrong with a row that is bad_envelope, in one clause of UTF-8, appended to *out. */
void qn_envelope_explain(const struct qn_batch *b, uint32_t row, const struct qn_schema *s,
                         struct qn_buf *out);

/* Rules for the attributes of a CloudEvent, wherever it comes from. seen: bits of the required
 * ones, 0 at first. False: a name that no attribute may have, a required one that is empty, another
 * specversion. */
bool qn_cloudevent_holds(unsigned *seen, struct qn_str name, struct qn_str value,
                         char why[QN_ENVELOPE_WHY_BYTES]);
bool qn_cloudevent_is_name(struct qn_str name);
/* False: a required one is missing. */
bool qn_cloudevent_complete(unsigned seen, char why[QN_ENVELOPE_WHY_BYTES]);

#endif
