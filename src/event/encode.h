/* SPDX-License-Identifier: Apache-2.0
 * encode.h - columns into bytes: JSON values, CSV cells, dead letters.
 *
 * Doubles are written as the shortest text that reads back to the same bits, decimals with their
 * scale, timestamps as RFC 3339 with six digits in UTC, int64 as a JSON number within +-2^53 and as
 * a string beyond (readers would round it), null as null (JSON) or an empty cell (CSV); NaN and
 * infinities are null in JSON. Thread: any; the buffer is the caller's. */
#ifndef QN_EVENT_ENCODE_H
#define QN_EVENT_ENCODE_H

#include "base/buffer.h"
#include "event/batch.h"

/* Appends the value of that row. */
void qn_encode_json_value(struct qn_buf *out, const struct qn_col *c, uint32_t row);
void qn_encode_csv_cell(struct qn_buf *out, const struct qn_col *c, uint32_t row);
/* Text as a CSV cell: quoted where it holds a comma, a quote, a line end, or is empty. */
void qn_encode_csv_text(struct qn_buf *out, struct qn_str text);

/* What the contract asks of the field that the event broke, for people, as it may stand inside a
 * JSON string; nothing where there is nothing to say. */
void qn_encode_expected(struct qn_buf *out, enum qn_reason reason, const struct qn_field *f);

/* One dead letter as an NDJSON line (docs/formats.md): reason, text, stage, field (path), expected
 * (what the contract asks of it), stream, position, contract and the original bytes: "event" as a
 * JSON string where they are UTF-8, else "event_base64". */
void qn_encode_dead_letter(struct qn_buf *out, const struct qn_batch *b, uint32_t row,
                           const struct qn_schema *s, struct qn_str pipeline);

#endif
