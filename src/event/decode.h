/* SPDX-License-Identifier: Apache-2.0
 * decode.h - event bytes into columns, one pass, no tree; what is broken becomes dead with its
 * reason.
 *
 * JSON (decode_json.c): any key order, nested paths, escapes, duplicate keys (the last wins),
 * unknown members skipped yet validated, UTF-8 checked, depth limited; RFC 8259 to the letter. CSV
 * (decode_csv.c): RFC 4180 with a header; an empty unquoted cell is null. Types as docs/spec.md
 * says: no text is taken for a number, no number for a text; decimals and int64 must fit exactly
 * (5.0 and 1e3 are integers); a decimal may also come as a JSON string that holds a JSON number, as
 * money often does ("57.16"); CSV booleans are true/false in any case, 1 and 0. Epoch times may
 * have a fraction, which is cut to microseconds towards the past; years beyond 0000 to 9999 are
 * bad_time. What the text as a whole does wrong (bad_json, bad_csv, bytes that are not UTF-8,
 * too_deep, not_an_object) decides over what single fields do wrong, and of that the first in the
 * text; among fields the first in the order of the schema. When a member or one of its parents
 * comes twice, the last one alone counts. A path that leads through something that is no object
 * leads nowhere: the field is absent. A lone surrogate (\ud800) is legal JSON but has no UTF-8:
 * bad_utf8 for a string field of ours, no matter elsewhere. A row that dies here has valid = 0 in
 * all its columns. Threads: each worker decodes its own rows with its own scratch. Nothing is
 * allocated per event but unescaped strings and lists, in the worker's arena. */
#ifndef QN_EVENT_DECODE_H
#define QN_EVENT_DECODE_H

#include "event/batch.h"

/* Boot: prepares schema->decoder (path tables) for JSON. The schema must not move afterwards. */
qn_status qn_decode_json_prepare(struct qn_schema *s, struct qn_arena *boot, struct qn_err *err);

/* First makes the stream's columns null in [first, end), rows of other streams included. Out of
 * memory (the arena) stops the call: see qn_batch_no_memory. Decodes rows [first, end) whose
 * stream[row] == stream_index into their columns, sets valid, and verdict, reason, reason_field
 * where broken (verdict is QN_SCORED before). Type errors and missing or null required fields are
 * found here (defaults are filled in); ranges and sets are contract.h's. raw[row].p must be
 * readable for at least QN_DECODE_PAD bytes beyond its end (the reader pads; bytes there are
 * ignored). worker: index of the arena to use. */
enum { QN_DECODE_PAD = 64 };
void qn_decode_json(struct qn_batch *b, const struct qn_schema *s, uint32_t stream_index,
                    uint32_t first, uint32_t end, uint32_t worker);

/* CSV: the header of one input, matched with the schema once. Columns may come in any order;
 * unknown ones are ignored. Column names are matched with field.from (a dot is part of the name).
 */
struct qn_csv_header {
    uint32_t column_count;
    int32_t *field;   /* [column_count] field index or -1 */
    uint32_t *column; /* [field_count] column index, or UINT32_MAX when the file has none */
};
/* QN_INVALID: a required field has no column (names the nearest). */
qn_status qn_csv_header_read(struct qn_csv_header *h, struct qn_str line, const struct qn_schema *s,
                             struct qn_arena *boot, struct qn_err *err);
/* As qn_decode_json. headers[partition] belongs to the row's partition. */
void qn_decode_csv(struct qn_batch *b, const struct qn_schema *s,
                   const struct qn_csv_header *const *headers, uint32_t stream_index,
                   uint32_t first, uint32_t end, uint32_t worker);

/* Reads just the time field of one event, for merging inputs by time. False where it cannot be
 * read. */
bool qn_decode_json_time(const struct qn_schema *s, struct qn_str raw, int64_t *us);
bool qn_decode_csv_time(const struct qn_schema *s, const struct qn_csv_header *h, struct qn_str raw,
                        int64_t *us);

/* True if the text is one JSON value of RFC 8259 and nothing else (used by tests and init).
 * depth_max as for events. */
bool qn_json_valid(struct qn_str text);

/* Forces an implementation of the vector parts: "portable", "avx2", "avx512", "neon", or NULL for
 * the best. False if this CPU has not got it. Start-up and tests only. */
bool qn_decode_force(const char *name);
const char *qn_decode_name(void);

#endif
