/* SPDX-License-Identifier: Apache-2.0
 * cloudevents.c - attributes to headers, data to event bytes; what is neither JSON nor a CloudEvent
 * is refused by name.
 *
 * Thread: any. Memory: the given arena; `data` borrows from the body. */
#include "serve/cloudevents.h"

#include "base/json.h"
#include "log/log_local.h"

static const char *const required[] = {"id", "source", "specversion", "type"};
enum { REQUIRED = 4, NAME_MAX_BYTES = 64 };

static bool is_attribute_name(struct qn_str name)
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

qn_status qn_cloudevent_attribute(struct qn_cloudevent *ce, struct qn_str name, struct qn_str value,
                                  struct qn_buf *headers, struct qn_err *err)
{
    char full[NAME_MAX_BYTES + 4] = "ce_";
    struct qn_str shown = qn_utf8_cut(name, 40);

    if (!is_attribute_name(name))
        return qn_err_set(err, QN_INVALID,
                          "the CloudEvent has an attribute '%.*s': names are small letters and "
                          "digits, at most %d",
                          QN_STR_ARG(shown), NAME_MAX_BYTES);
    for (unsigned i = 0; i < REQUIRED; i++) {
        if (!qn_str_is(name, required[i]))
            continue;
        if (value.len == 0)
            return qn_err_set(err, QN_INVALID, "the CloudEvent's '%s' is empty", required[i]);
        ce->seen |= 1U << i;
    }
    if (qn_str_is(name, "specversion") && !qn_str_is(value, "1.0"))
        return qn_err_set(err, QN_INVALID, "the CloudEvent has specversion '%.*s'; 1.0 is read",
                          QN_STR_ARG(qn_utf8_cut(value, 20)));
    if (qn_str_is(name, "datacontenttype")) {
        qn_log_header_add(headers, qn_str_of("content-type"), value);
        return QN_OK;
    }
    memcpy(full + 3, name.p, name.len);
    qn_log_header_add(headers, (struct qn_str){full, name.len + 3}, value);
    return QN_OK;
}

qn_status qn_cloudevent_check(const struct qn_cloudevent *ce, struct qn_err *err)
{
    for (unsigned i = 0; i < REQUIRED; i++)
        if (!(ce->seen & 1U << i))
            return qn_err_set(err, QN_INVALID, "the CloudEvent has no '%s'", required[i]);
    return QN_OK;
}

/* ---- base64 ---- */

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* RFC 4648 with padding; false where it is something else. */
static bool base64_decode(struct qn_str text, char *out, uint32_t *len)
{
    uint32_t n = 0, bits = 0, held = 0;

    if (text.len % 4 != 0)
        return false;
    for (uint32_t i = 0; i < text.len; i++) {
        int digit = base64_digit(text.p[i]);

        if (digit < 0) { /* only "=" or "==" at the end */
            bool is_padding = text.p[i] == '=' && i + 2 >= text.len &&
                              (i + 1 == text.len || text.p[i + 1] == '=');
            if (!is_padding || (held & ((1U << bits) - 1)) != 0)
                return false;
            break;
        }
        held = held << 6 | (uint32_t)digit;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (char)(held >> bits & 0xFF);
        }
    }
    *len = n;
    return true;
}

/* ---- structured mode ---- */

/* Where the value of the member that the reader stands on begins. */
static const char *value_start(const struct qn_json_reader *r)
{
    const char *p = r->start + qn_json_offset(r) + 1; /* behind the quote of its name */

    while (*p != '"')
        p += *p == '\\' ? 2 : 1;
    for (p++; *p != ':'; p++) {
    }
    for (p++; *p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'; p++) {
    }
    return p;
}

struct reading {
    struct qn_json_reader r;
    struct qn_cloudevent ce;
    struct qn_arena *arena;
    struct qn_str *event;
    struct qn_buf *headers;
    struct qn_err *err;
    bool has_data;
};

static qn_status read_data(struct reading *rd, enum qn_json_kind kind)
{
    const char *from = value_start(&rd->r);

    if (!qn_json_skip(&rd->r, kind))
        return QN_OK; /* the reader stands on an error: said by the caller */
    rd->has_data = true;
    *rd->event = (struct qn_str){from, (uint32_t)(rd->r.at - from)};
    return QN_OK;
}

static qn_status read_base64(struct reading *rd, enum qn_json_kind kind)
{
    char *to;
    uint32_t n;

    if (kind != QN_JSON_STRING)
        return qn_err_set(rd->err, QN_INVALID, "the CloudEvent's data_base64 is not a text");
    to = qn_arena_alloc(rd->arena, rd->r.text.len + 1);
    if (to == NULL)
        return qn_err_set(rd->err, QN_NOMEM, "out of memory while reading a CloudEvent");
    if (!base64_decode(rd->r.text, to, &n))
        return qn_err_set(rd->err, QN_INVALID, "the CloudEvent's data_base64 is not base64");
    rd->has_data = true;
    *rd->event = (struct qn_str){to, n};
    return QN_OK;
}

static qn_status read_member(struct reading *rd, enum qn_json_kind kind)
{
    struct qn_str value;

    if (qn_str_is(rd->r.key, "data") || qn_str_is(rd->r.key, "data_base64")) {
        if (rd->has_data)
            return qn_err_set(rd->err, QN_INVALID, "the CloudEvent has its data twice");
        return rd->r.key.len == 4 ? read_data(rd, kind) : read_base64(rd, kind);
    }
    switch (kind) {
    case QN_JSON_STRING:
        value = rd->r.text;
        break;
    case QN_JSON_NUMBER:
        value = rd->r.number.text;
        break;
    case QN_JSON_TRUE:
    case QN_JSON_FALSE:
        value = qn_str_of(kind == QN_JSON_TRUE ? "true" : "false");
        break;
    case QN_JSON_NULL: /* the same as absent */
        return QN_OK;
    default:
        return qn_err_set(rd->err, QN_INVALID,
                          "the CloudEvent's attribute '%.*s' is no text, number or truth value",
                          QN_STR_ARG(qn_utf8_cut(rd->r.key, 40)));
    }
    return qn_cloudevent_attribute(&rd->ce, rd->r.key, value, rd->headers, rd->err);
}

qn_status qn_cloudevent_read(struct qn_str json, struct qn_arena *a, struct qn_str *event,
                             struct qn_buf *headers, struct qn_err *err)
{
    struct reading rd = {.arena = a, .event = event, .headers = headers, .err = err};
    enum qn_json_kind kind;

    *event = qn_str_of("null");
    qn_json_open(&rd.r, json, a);
    kind = qn_json_next(&rd.r);
    if (kind != QN_JSON_OBJECT && kind != QN_JSON_ERROR)
        return qn_err_set(err, QN_INVALID, "a CloudEvent is a JSON object");
    while (kind != QN_JSON_ERROR && (kind = qn_json_next(&rd.r)) != QN_JSON_CLOSE &&
           kind != QN_JSON_ERROR) {
        QN_TRY(read_member(&rd, kind));
    }
    if (kind == QN_JSON_ERROR || qn_json_next(&rd.r) != QN_JSON_END)
        return qn_err_set(err, QN_INVALID, "byte %zu of the CloudEvent: %s", qn_json_offset(&rd.r),
                          rd.r.error != NULL ? rd.r.error : "there is something behind it");
    return qn_cloudevent_check(&rd.ce, err);
}
