/* SPDX-License-Identifier: Apache-2.0
 * webhook_body.c - what a webhook sends for a record: a CloudEvent, the record itself, or what
 * Slack and PagerDuty read.
 *
 * The shapes stand in docs/formats.md, "Webhook". The record goes out byte for byte; it is checked
 * to be one JSON object first, so that whatever is built around it is JSON. Bodies are a function
 * of record, options and names: the same again after a crash. Thread: the delivery's. */
#include "sink/webhook_int.h"

#include "base/hash.h"
#include "base/timestamp.h"

enum { KEY_BYTES_MAX = 255, SUMMARY_CHARACTERS_MAX = 1024 }; /* limits of PagerDuty */

static const char *const severities[] = {"critical", "error", "warning", "info"};

static void put(struct qn_buf *out, struct qn_str s)
{
    qn_buf_add(out, s.p, s.len);
}

/* A member "name": and a JSON string. */
static void put_text(struct qn_buf *out, const char *name, struct qn_str value)
{
    qn_buf_printf(out, ",\"%s\":", name);
    qn_json_string(out, value);
}

/* What all bodies need from a record. */
struct facts {
    struct qn_str id, time; /* time: RFC 3339, empty = none */
    char own_time[QN_TIMESTAMP_LEN];
};

/* False where the record is no JSON object. */
static bool read_facts(const struct qn_webhook_body *w, const struct qn_log_record *r,
                       struct qn_arena *arena, struct qn_buf *id, struct facts *f,
                       const char **error)
{
    static const struct qn_str names[] = {{"id", 2}, {"event_time", 10}};
    struct qn_member found[2];
    size_t at = id->len;

    if (!qn_record_members(r->value, names, 2, arena, found, error))
        return false;
    if (found[0].kind == QN_JSON_STRING || found[0].kind == QN_JSON_NUMBER)
        put(id, found[0].text);
    if (id->len == at)
        qn_buf_printf(id, "%.*s:%.*s:%u:%llu", QN_STR_ARG(w->boot->pipeline),
                      QN_STR_ARG(w->boot->output), r->partition, (unsigned long long)r->offset);
    f->id = (struct qn_str){id->data != NULL ? id->data + at : "", (uint32_t)(id->len - at)};
    f->time = (struct qn_str){NULL, 0};
    if (found[1].kind == QN_JSON_STRING) {
        f->time = found[1].text;
    } else if (r->time_us != QN_LOG_NO_TIME) {
        f->time = (struct qn_str){f->own_time, qn_timestamp_print(f->own_time, r->time_us)};
    }
    return true;
}

static void put_source(struct qn_buf *out, const struct qn_webhook_body *w)
{
    qn_buf_printf(out, "\"/quern/%.*s\"", QN_STR_ARG(w->boot->pipeline));
}

/* CloudEvents 1.0.2, structured mode, JSON format. */
static void put_cloudevent(struct qn_buf *out, const struct qn_webhook_body *w,
                           const struct qn_log_record *r, const struct facts *f)
{
    qn_buf_text(out, "{\"specversion\":\"1.0\"");
    put_text(out, "id", f->id);
    qn_buf_text(out, ",\"source\":");
    put_source(out, w);
    qn_buf_printf(out, ",\"type\":\"quern.%s\"", w->boot->holds);
    if (r->key.len > 0)
        put_text(out, "subject", r->key);
    if (f->time.len > 0)
        put_text(out, "time", f->time);
    qn_buf_text(out, ",\"datacontenttype\":\"application/json\",\"data\":");
    put(out, r->value);
    qn_buf_byte(out, '}');
}

static void plain(struct qn_buf *out, struct qn_str value)
{
    put(out, value);
}

/* Slack's control characters (docs: "Formatting text for app surfaces", escaping). */
static void escape_slack(struct qn_buf *out, struct qn_str value)
{
    for (uint32_t i = 0; i < value.len; i++) {
        if (value.p[i] == '&')
            qn_buf_text(out, "&amp;");
        else if (value.p[i] == '<')
            qn_buf_text(out, "&lt;");
        else if (value.p[i] == '>')
            qn_buf_text(out, "&gt;");
        else
            qn_buf_byte(out, value.p[i]);
    }
}

static void put_slack(struct qn_buf *out, const struct qn_webhook_body *w,
                      const struct qn_log_record *r, struct qn_arena *arena, const char **error)
{
    struct qn_buf text = {0};

    qn_buf_text(out, "{\"text\":");
    (void)qn_template_fill(w->text, r->value, arena, escape_slack, &text, error);
    qn_json_string(out, (struct qn_str){text.data != NULL ? text.data : "", (uint32_t)text.len});
    out->failed |= text.failed;
    qn_buf_byte(out, '}');
    qn_buf_fini(&text);
}

/* pipeline/output/key, so that a later event of the same key finds the open incident; a key that is
 * too long for that is cut, and its hash keeps it apart. */
static void put_dedup_key(struct qn_buf *out, const struct qn_webhook_body *w, struct qn_str key)
{
    struct qn_buf text = {0};
    struct qn_str s;

    qn_buf_printf(&text, "%.*s/%.*s/", QN_STR_ARG(w->boot->pipeline), QN_STR_ARG(w->boot->output));
    put(&text, key);
    s = (struct qn_str){text.data, (uint32_t)text.len};
    if (!text.failed && s.len > KEY_BYTES_MAX) {
        uint64_t hash = qn_hash(key.p, key.len, 0);

        s = qn_utf8_cut(s, KEY_BYTES_MAX - 17);
        text.len = s.len;
        qn_buf_printf(&text, "-%016llx", (unsigned long long)hash);
        s = (struct qn_str){text.data, (uint32_t)text.len};
    }
    if (!text.failed)
        put_text(out, "dedup_key", s);
    out->failed |= text.failed;
    qn_buf_fini(&text);
}

/* The first characters of a text. */
static struct qn_str cut_characters(struct qn_str s, uint32_t most)
{
    uint32_t n = 0, i = 0;

    for (; i < s.len; i++) {
        if (((unsigned char)s.p[i] & 0xc0) == 0x80)
            continue; /* inside a character */
        if (n++ == most)
            break;
    }
    s.len = i;
    return s;
}

/* PagerDuty Events API v2, "Send an alert event". */
static void put_pagerduty(struct qn_buf *out, const struct qn_webhook_body *w,
                          const struct qn_log_record *r, const struct facts *f,
                          struct qn_arena *arena, const char **error)
{
    struct qn_buf summary = {0};

    (void)qn_template_fill(w->text, r->value, arena, plain, &summary, error);
    qn_buf_text(out, "{\"routing_key\":");
    qn_json_string(out, qn_str_of(w->opt->routing_key));
    qn_buf_text(out, ",\"event_action\":\"trigger\"");
    put_dedup_key(out, w, r->key.len > 0 ? r->key : f->id);
    qn_buf_text(out, ",\"client\":\"quern\",\"payload\":{\"summary\":");
    qn_json_string(out, cut_characters((struct qn_str){summary.data != NULL ? summary.data : "",
                                                       (uint32_t)summary.len},
                                       SUMMARY_CHARACTERS_MAX));
    qn_buf_text(out, ",\"source\":");
    put_source(out, w);
    put_text(out, "severity", qn_str_of(severities[w->opt->severity]));
    if (f->time.len > 0)
        put_text(out, "timestamp", f->time);
    qn_buf_text(out, ",\"custom_details\":");
    put(out, r->value);
    qn_buf_text(out, "}}");
    out->failed |= summary.failed;
    qn_buf_fini(&summary);
}

bool qn_webhook_body(const struct qn_webhook_body *w, const struct qn_log_record *r,
                     struct qn_arena *arena, struct qn_buf *body, struct qn_buf *id,
                     const char **error)
{
    struct facts f;

    if (!read_facts(w, r, arena, id, &f, error))
        return false;
    switch ((enum qn_webhook_format)w->opt->format) {
    case QN_WEBHOOK_CLOUDEVENTS:
        put_cloudevent(body, w, r, &f);
        break;
    case QN_WEBHOOK_RAW:
        put(body, r->value);
        break;
    case QN_WEBHOOK_SLACK:
        put_slack(body, w, r, arena, error);
        break;
    case QN_WEBHOOK_PAGERDUTY:
        put_pagerduty(body, w, r, &f, arena, error);
        break;
    }
    return true;
}

const char *qn_webhook_content_type(enum qn_webhook_format format, bool is_list)
{
    if (format != QN_WEBHOOK_CLOUDEVENTS)
        return "application/json";
    return is_list ? "application/cloudevents-batch+json" : "application/cloudevents+json";
}
