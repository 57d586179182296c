/* SPDX-License-Identifier: Apache-2.0
 * envelope_int.h - the inside of opening: a walk over JSON text that is checked as it goes, and
 * what openers of both kinds share.
 *
 * The walk steps over the members of one object or the items of one array; values are skipped, and
 * so validated, as the decoder of events does it. Names are compared as text, escapes undone.
 * Thread: one owner. Memory: the walk borrows; see envelope.h. */
#ifndef QN_EVENT_ENVELOPE_INT_H
#define QN_EVENT_ENVELOPE_INT_H

#include "event/decode_json_int.h"
#include "event/envelope.h"

/* ---- the walk ---- */

struct qn_walk {
    const char *p, *end;
    struct qn_str known; /* a value met before: where the text goes on with it, it is not looked at
                            again; len 0 = none */
    uint32_t depth;      /* containers around what is read next          */
    enum qn_reason reason; /* NONE while all is well                       */
    char close;            /* of the container walked                      */
    bool is_begun;
};

/* One member of an object, or item of an array (name.p NULL). */
struct qn_piece {
    struct qn_str name; /* between its quotes, as written */
    bool has_escape;
    struct qn_str value; /* as written */
};

/* Begins with the container at the front of text, which must begin with '{' or '['. depth: how
 * many are around it. */
void qn_walk_open(struct qn_walk *w, struct qn_str text, uint32_t depth);
/* The next piece; false at the end, where w->p stands behind the container, or where w->reason is
 * set. */
bool qn_walk_next(struct qn_walk *w, struct qn_piece *piece);
bool qn_piece_is(const struct qn_piece *piece, const char *name);
static inline bool qn_is_object(struct qn_str value)
{
    return value.len > 0 && value.p[0] == '{';
}
static inline bool qn_is_text(struct qn_str value)
{
    return value.len > 0 && value.p[0] == '"';
}
/* A whole record: its one value without blanks around it, checked to be JSON unless it is an
 * object, which the walk checks. NONE, or what is wrong with it. */
enum qn_reason qn_record_trim(struct qn_str *raw);

/* ---- Connect's schema around a record (connect_types.c) ---- */

enum qn_connect_type {
    QN_CONNECT_PLAIN,
    QN_CONNECT_DECIMAL,          /* base64 of the unscaled number */
    QN_CONNECT_VARIABLE_DECIMAL, /* {"scale":..,"value":base64}   */
    QN_CONNECT_DAYS,
    QN_CONNECT_MILLIS,
    QN_CONNECT_MICROS,
    QN_CONNECT_NANOS
};

struct qn_connect_column {
    struct qn_str name; /* as written between its quotes */
    enum qn_connect_type type;
    int32_t scale; /* DECIMAL */
};

/* Columns of before [0] and after [1] that are not plain, and the schema they stand in. */
struct qn_connect {
    struct qn_arena arena;
    struct qn_buf text;
    struct qn_connect_column *columns[2];
    uint32_t count[2];
};

/* Reads the schema of an envelope; nothing is done where it is the one read last. False: out of
 * memory. What cannot be read as a schema has no columns. */
bool qn_connect_read(struct qn_connect *c, struct qn_str schema);
void qn_connect_forget(struct qn_connect *c);
const struct qn_connect_column *qn_connect_find(const struct qn_connect *c, int side,
                                                struct qn_str name);
/* A value of that type as a field of that kind wants it, appended; false: it is to be kept as it
 * stands. */
bool qn_connect_put(struct qn_buf *out, const struct qn_connect_column *column,
                    const struct qn_field *f, struct qn_str value);
/* {"scale":..,"value":..} for a field that is a number: the same. */
bool qn_connect_put_variable(struct qn_buf *out, const struct qn_field *f, struct qn_str value);

/* ---- openers ---- */

enum { QN_ENVELOPE_NAMES = 9 };

struct qn_opener {
    struct qn_arena scratch; /* of one record */
    struct qn_buf out;       /* the event     */
    bool is_first;           /* no member was written yet where we are */
    const struct qn_schema *schema;
    const struct json_paths *paths;    /* of that schema */
    uint32_t nodes[QN_ENVELOPE_NAMES]; /* of the names that win, JSON_NO_NODE: nobody asks */
    struct qn_connect connect;
    char why[QN_ENVELOPE_WHY_BYTES];
};

/* Sets why, returns bad_envelope. */
enum qn_reason qn_opener_bad(struct qn_opener *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The node of a member below `node`, or JSON_NO_NODE. */
uint32_t qn_opener_child(const struct qn_opener *o, uint32_t node, const struct qn_piece *piece);
/* The field that ends there, or NULL. */
const struct qn_field *qn_opener_field(const struct qn_opener *o, uint32_t node);

/* Writing the event: a member's name as it stands between quotes, then its value. */
void qn_opener_name(struct qn_opener *o, struct qn_str name);
void qn_opener_member(struct qn_opener *o, struct qn_str name, struct qn_str value);
/* Braces of an object inside. */
void qn_opener_begin(struct qn_opener *o);
void qn_opener_end(struct qn_opener *o);

enum qn_reason qn_open_cloudevent(struct qn_opener *o, struct qn_str raw, struct qn_str headers);
enum qn_reason qn_open_debezium(struct qn_opener *o, struct qn_str raw);
extern const char *const qn_cloudevent_names[];
extern const char *const qn_debezium_names[];

#endif
