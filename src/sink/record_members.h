/* SPDX-License-Identifier: Apache-2.0
 * record_members.h - picks members out of a record of an output, one JSON object: the id of a
 * prediction, the columns of a CSV file, what stands in the text of an alert.
 *
 * A member is named as docs/formats.md names it, inside objects with dots: features.amount. Names
 * with dots in them cannot be reached. Thread: any; no state. Memory: the caller's arena. */
#ifndef QN_SINK_RECORD_MEMBERS_H
#define QN_SINK_RECORD_MEMBERS_H

#include "base/json.h"

enum { QN_MEMBERS_MAX = 256 };

/* What was found for one name. */
struct qn_member {
    enum qn_json_kind kind; /* QN_JSON_END: not there                                  */
    struct qn_str text;     /* a string: decoded; anything else: as it stands in the record */
};

/* Fills out[0..count) from the record. False where the record is no JSON object: *error says why.
 * Of a member that comes twice the last counts. Borrowed from the record and the arena. */
bool qn_record_members(struct qn_str record, const struct qn_str *names, uint32_t count,
                       struct qn_arena *arena, struct qn_member *out, const char **error);

/* The text of a template with {member} filled in; {{ and }} stand for single braces, what is not
 * there for nothing. escape is called for each value. */
typedef void qn_template_escape(struct qn_buf *out, struct qn_str value);

struct qn_template; /* private */
/* Reads a template. QN_INVALID with the place in the text. Lives in the arena, as does the text. */
qn_status qn_template_read(struct qn_str text, struct qn_arena *arena, struct qn_template **out,
                           struct qn_err *err);
/* Appends the text for one record; false and *error where it is no JSON object. */
bool qn_template_fill(const struct qn_template *t, struct qn_str record, struct qn_arena *arena,
                      qn_template_escape *escape, struct qn_buf *out, const char **error);

#endif
