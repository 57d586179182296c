/* SPDX-License-Identifier: Apache-2.0
 * cloudevents.c - attributes to headers, data to event bytes; what is neither JSON nor a CloudEvent
 * is refused by name.
 *
 * Thread: any. Memory: the given arena; `data` borrows from the body. */
#include "serve/cloudevents.h"

#include "base/json.h"
#include "event/envelope.h"
#include "log/log_local.h"

enum { NAME_MAX_BYTES = 64 };

qn_status qn_cloudevent_attribute(struct qn_cloudevent *ce, struct qn_str name, struct qn_str value,
                                  struct qn_buf *headers, struct qn_err *err)
{
    char full[NAME_MAX_BYTES + 4] = "ce_", why[QN_ENVELOPE_WHY_BYTES];

    if (!qn_cloudevent_holds(&ce->seen, name, value, why))
        return qn_err_set(err, QN_INVALID, "%s", why);
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
    char why[QN_ENVELOPE_WHY_BYTES];

    if (!qn_cloudevent_complete(ce->seen, why))
        return qn_err_set(err, QN_INVALID, "%s", why);
    return QN_OK;
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
    if (!qn_base64_decode(rd->r.text, to, &n))
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
