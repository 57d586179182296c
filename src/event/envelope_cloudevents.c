/* SPDX-License-Identifier: Apache-2.0
 * envelope_cloudevents.c - CloudEvents as records of a topic: in structured mode one JSON object,
 * in binary mode the data as the value and the attributes in headers.
 *
 *   content-type: application/cloudevents+json   structured
 *   header ce_specversion                        binary; content-type is datacontenttype
 *   neither                                      structured, as in a file
 *
 * An attribute is text, whatever mode it came in, and a number or a truth value where a field is
 * declared so. What HTTP takes apart at the door (serve/cloudevents.c) lies in the log in binary
 * mode. Thread, memory: see envelope.h. */
#include "base/check.h"
#include "event/envelope_int.h"
#include "event/record_headers.h"

#include <stdio.h>
#include <strings.h>

enum { NAME_CE, NAME_DATA };
const char *const qn_cloudevent_names[] = {"ce", "data"};

static const char *const required[] = {"id", "source", "specversion", "type"};
enum { REQUIRED = 4, NAME_MAX_BYTES = 64 };

/* ---- the rules -------------------------------------------------------------------------------*/

bool qn_cloudevent_is_name(struct qn_str name)
{
    if (name.len == 0 || name.len > NAME_MAX_BYTES)
        return false;
    for (uint32_t i = 0; i < name.len; i++) {
        char c = name.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9'))
            return false;
    }
    return true;
}

static bool broken(char *why, const char *fmt, struct qn_str shown)
{
    snprintf(why, QN_ENVELOPE_WHY_BYTES, fmt, QN_STR_ARG(shown));
    return false;
}

bool qn_cloudevent_holds(unsigned *seen, struct qn_str name, struct qn_str value,
                         char why[QN_ENVELOPE_WHY_BYTES])
{
    if (!qn_cloudevent_is_name(name))
        return broken(why,
                      "the CloudEvent has an attribute '%.*s': names are small letters and "
                      "digits, at most 64",
                      qn_utf8_cut(name, 40));
    for (unsigned i = 0; i < REQUIRED; i++) {
        if (!qn_str_is(name, required[i]))
            continue;
        if (value.len == 0)
            return broken(why, "the CloudEvent's '%.*s' is empty", name);
        *seen |= 1U << i;
    }
    if (qn_str_is(name, "specversion") && !qn_str_is(value, "1.0"))
        return broken(why, "the CloudEvent has specversion '%.*s'; 1.0 is read",
                      qn_utf8_cut(value, 20));
    return true;
}

bool qn_cloudevent_complete(unsigned seen, char why[QN_ENVELOPE_WHY_BYTES])
{
    for (unsigned i = 0; i < REQUIRED; i++)
        if (!(seen & 1U << i))
            return broken(why, "the CloudEvent has no '%.*s'", qn_str_of(required[i]));
    return true;
}

/* ---- attributes ------------------------------------------------------------------------------*/

struct reading {
    struct qn_opener *o;
    unsigned seen;
    struct qn_str data, data_base64; /* p NULL: not there */
    enum qn_reason reason;
};

static bool is_number_field(const struct qn_field *f)
{
    return f->kind.type == QN_INT64 || f->kind.type == QN_DOUBLE || f->kind.type == QN_DECIMAL ||
           (f->kind.type == QN_TIMESTAMP && f->unit != QN_TIME_TEXT);
}

static void put_attribute(struct qn_opener *o, struct qn_str name, struct qn_str value)
{
    const uint32_t ce = o->nodes[NAME_CE];
    const uint32_t node = ce != JSON_NO_NODE ? qn_json_find_child(o->paths, ce, name) : ce;
    const struct qn_field *f = node != JSON_NO_NODE ? qn_opener_field(o, node) : NULL;
    struct qn_decimal_text n;

    if (f == NULL)
        return;
    qn_opener_name(o, name);
    if ((is_number_field(f) && value.len > 0 &&
         qn_number_scan(value.p, value.p + value.len, &n) == value.len) ||
        (f->kind.type == QN_BOOL && (qn_str_is(value, "true") || qn_str_is(value, "false"))))
        qn_buf_add(&o->out, value.p, value.len);
    else
        qn_json_string(&o->out, value);
}

static bool add(struct reading *r, struct qn_str name, struct qn_str value)
{
    if (!qn_cloudevent_holds(&r->seen, name, value, r->o->why)) {
        r->reason = QN_REASON_BAD_ENVELOPE;
        return false;
    }
    put_attribute(r->o, name, value);
    return true;
}

/* ---- the data --------------------------------------------------------------------------------*/

/* Members that fields ask for, but for those whose names are ours. */
static enum qn_reason put_members(struct qn_opener *o, struct qn_str data, uint32_t depth)
{
    struct qn_piece piece;
    struct qn_walk w;

    qn_walk_open(&w, data, depth);
    while (qn_walk_next(&w, &piece)) {
        const uint32_t node = qn_opener_child(o, 0, &piece);

        if (node != JSON_NO_NODE && node != o->nodes[NAME_CE] && node != o->nodes[NAME_DATA])
            qn_opener_member(o, piece.name, piece.value);
    }
    if (w.reason != QN_REASON_NONE)
        return w.reason;
    return w.p == w.end ? QN_REASON_NONE : QN_REASON_BAD_JSON;
}

/* data: one JSON value, checked unless it is an object; or nothing. */
static enum qn_reason put_data(struct qn_opener *o, struct qn_str data, uint32_t depth)
{
    if (data.len == 0 || qn_str_is(data, "null"))
        return QN_REASON_NONE;
    if (qn_is_object(data)) {
        const enum qn_reason reason = put_members(o, data, depth);

        if (reason != QN_REASON_NONE)
            return reason;
    } else if (o->nodes[NAME_DATA] == JSON_NO_NODE) {
        return QN_REASON_NOT_AN_OBJECT;
    }
    if (o->nodes[NAME_DATA] != JSON_NO_NODE)
        qn_opener_member(o, qn_str_of(qn_cloudevent_names[NAME_DATA]), data);
    return QN_REASON_NONE;
}

/* ---- binary mode -----------------------------------------------------------------------------*/

static enum qn_reason open_binary(struct qn_opener *o, struct qn_str data, struct qn_str headers)
{
    struct reading r = {.o = o};
    struct qn_str name, value;

    while (qn_record_header_next(&headers, &name, &value)) {
        const bool is_type = qn_str_is(name, "content-type");

        if (!is_type && !(name.len >= 3 && memcmp(name.p, "ce_", 3) == 0))
            continue;
        if (!qn_utf8_valid(name.p, name.len) ||
            (value.len > 0 && !qn_utf8_valid(value.p, value.len)))
            return QN_REASON_BAD_UTF8;
        name = is_type ? qn_str_of("datacontenttype") : (struct qn_str){name.p + 3, name.len - 3};
        if (!add(&r, name, value))
            return r.reason;
    }
    if (!qn_cloudevent_complete(r.seen, o->why))
        return QN_REASON_BAD_ENVELOPE;
    if (o->nodes[NAME_CE] != JSON_NO_NODE)
        qn_opener_end(o);
    return put_data(o, data, 0);
}

/* ---- structured mode -------------------------------------------------------------------------*/

/* The text of a JSON string; false where half of a surrogate pair stands alone, or (and then out
 * has failed) there is no memory. */
static bool text_of(struct qn_opener *o, struct qn_str value, struct qn_str *text)
{
    char *room;
    int64_t len;

    *text = (struct qn_str){value.p + 1, value.len - 2};
    if (text->len == 0 || memchr(text->p, '\\', text->len) == NULL)
        return true;
    room = qn_arena_alloc(&o->scratch, text->len);
    if (room == NULL) {
        o->out.failed = true;
        return false;
    }
    len = qn_json_unescape(room, *text);
    *text = (struct qn_str){room, len < 0 ? 0 : (uint32_t)len};
    return len >= 0;
}

static bool add_member(struct reading *r, const struct qn_piece *piece)
{
    struct qn_str name = piece->name, value = piece->value;

    if (piece->has_escape && !text_of(r->o, (struct qn_str){name.p - 1, name.len + 2}, &name)) {
        r->reason = QN_REASON_BAD_UTF8;
        return false;
    }
    switch (value.p[0]) {
    case '"':
        if (text_of(r->o, value, &value))
            return add(r, name, value);
        r->reason = QN_REASON_BAD_UTF8;
        return false;
    case '{':
    case '[':
        r->reason = qn_opener_bad(
            r->o, "the CloudEvent's attribute '%.*s' is no text, number or truth value",
            QN_STR_ARG(qn_utf8_cut(name, 40)));
        return false;
    case 'n': /* the same as absent */
        return true;
    default:
        return add(r, name, value);
    }
}

static bool take_member(struct reading *r, const struct qn_piece *piece)
{
    const bool is_data = qn_piece_is(piece, "data");

    if (!is_data && !qn_piece_is(piece, "data_base64"))
        return add_member(r, piece);
    if (r->data.p != NULL || r->data_base64.p != NULL) {
        r->reason = qn_opener_bad(r->o, "the CloudEvent has its data twice");
        return false;
    }
    *(is_data ? &r->data : &r->data_base64) = piece->value;
    return true;
}

/* The bytes behind data_base64, as if they were the value of a record in binary mode. */
static enum qn_reason unpack(struct qn_opener *o, struct qn_str base64, struct qn_str *data)
{
    struct qn_str text;
    uint32_t len;
    char *room;

    if (!qn_is_text(base64))
        return qn_opener_bad(o, "the CloudEvent's data_base64 is not a text");
    if (!text_of(o, base64, &text))
        return QN_REASON_BAD_UTF8;
    room = qn_arena_alloc(&o->scratch, (size_t)text.len + QN_DECODE_PAD);
    if (room == NULL) {
        o->out.failed = true;
        return QN_REASON_NONE;
    }
    if (!qn_base64_decode(text, room, &len))
        return qn_opener_bad(o, "the CloudEvent's data_base64 is not base64");
    memset(room + len, 0, QN_DECODE_PAD);
    *data = (struct qn_str){room, len};
    return qn_record_trim(data);
}

static enum qn_reason open_structured(struct qn_opener *o, struct qn_str raw, bool is_said)
{
    struct reading r = {.o = o};
    struct qn_piece piece;
    enum qn_reason reason;
    struct qn_walk w;

    if (!qn_is_object(raw))
        return qn_opener_bad(o, "a CloudEvent is a JSON object");
    qn_walk_open(&w, raw, 0);
    while (qn_walk_next(&w, &piece)) /* to its end: what is no JSON at all decides */
        if (r.reason == QN_REASON_NONE)
            (void)take_member(&r, &piece);
    if (w.reason != QN_REASON_NONE)
        return w.reason;
    if (w.p != w.end)
        return QN_REASON_BAD_JSON;
    if (r.reason != QN_REASON_NONE)
        return r.reason;
    if (r.seen == 0 && !is_said)
        return qn_opener_bad(o, "neither a header 'ce_specversion' (binary mode) nor a member "
                                "'specversion' (structured mode)");
    if (!qn_cloudevent_complete(r.seen, o->why))
        return QN_REASON_BAD_ENVELOPE;
    if (o->nodes[NAME_CE] != JSON_NO_NODE)
        qn_opener_end(o);
    if (r.data_base64.p == NULL || qn_str_is(r.data_base64, "null"))
        return put_data(o, r.data, 1);
    reason = unpack(o, r.data_base64, &r.data);
    return reason != QN_REASON_NONE ? reason : put_data(o, r.data, 0);
}

/* ---- which of them ---------------------------------------------------------------------------*/

static bool begins(struct qn_str s, const char *with)
{
    const size_t n = strlen(with);

    return s.len >= n && strncasecmp(s.p, with, n) == 0;
}

/* Without its parameters. */
static struct qn_str media_type(struct qn_str s)
{
    uint32_t n = 0;

    while (n < s.len && s.p[n] != ';' && s.p[n] != ' ')
        n++;
    return (struct qn_str){s.p, n};
}

enum qn_reason qn_open_cloudevent(struct qn_opener *o, struct qn_str raw, struct qn_str headers)
{
    static const char structured[] = "application/cloudevents+json";
    struct qn_str rest = headers, name, value, type = {NULL, 0};
    bool is_binary = false, is_structured;
    enum qn_reason reason;

    while (qn_record_header_next(&rest, &name, &value)) {
        is_binary |= qn_str_is(name, "ce_specversion");
        if (qn_str_is(name, "content-type"))
            type = media_type(value);
    }
    is_structured = begins(type, "application/cloudevents");
    if (is_structured && !(type.len == strlen(structured) && begins(type, structured)))
        return qn_opener_bad(o, "it is %.*s, and %s is read",
                             QN_STR_ARG(qn_utf8_valid(type.p, type.len)
                                            ? qn_utf8_cut(type, 60)
                                            : qn_str_of("of another format")),
                             structured);
    reason = qn_record_trim(&raw);
    if (reason != QN_REASON_NONE)
        return reason;
    if (!is_binary && (raw.len == 0 || qn_str_is(raw, "null")))
        return QN_REASON_TOMBSTONE;
    qn_opener_begin(o);
    if (o->nodes[NAME_CE] != JSON_NO_NODE) {
        qn_opener_name(o, qn_str_of(qn_cloudevent_names[NAME_CE]));
        qn_opener_begin(o);
    }
    reason = is_binary && !is_structured ? open_binary(o, raw, headers)
                                         : open_structured(o, raw, is_structured);
    qn_opener_end(o);
    return reason;
}
