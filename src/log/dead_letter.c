/* SPDX-License-Identifier: Apache-2.0
 * dead_letter.c - the headers of a dead letter, and what they say as JSON. See dead_letter.h.
 *
 * Thread: any; no state. Memory: the caller's buffers. */
#include "log/dead_letter.h"

#include "base/number.h"
#include "base/timestamp.h"

#include <inttypes.h>

/* Ours, by where the text lies. Numbers and the position have code of their own. */
static const struct {
    const char *name;
    size_t at;
} texts[] = {
    {"__connect.errors.topic", offsetof(struct qn_dead_letter, topic)},
    {"__connect.errors.connector.name", offsetof(struct qn_dead_letter, pipeline)},
    {"__connect.errors.stage", offsetof(struct qn_dead_letter, stage)},
    {"__connect.errors.class.name", offsetof(struct qn_dead_letter, module)},
    {"__connect.errors.exception.class.name", offsetof(struct qn_dead_letter, reason)},
    {"__connect.errors.exception.message", offsetof(struct qn_dead_letter, text)},
    {"quern.reason", offsetof(struct qn_dead_letter, reason)},
    {"quern.field", offsetof(struct qn_dead_letter, field)},
    {"quern.expected", offsetof(struct qn_dead_letter, expected)},
    {"quern.contract", offsetof(struct qn_dead_letter, contract)},
    {"quern.schema_id", offsetof(struct qn_dead_letter, schema_id)},
    {"quern.detail", offsetof(struct qn_dead_letter, detail)},
};
enum { TEXTS = sizeof texts / sizeof texts[0] };

static bool begins(struct qn_str s, const char *with)
{
    size_t n = strlen(with);

    return s.len >= n && memcmp(s.p, with, n) == 0;
}

static bool is_ours(struct qn_str name)
{
    return begins(name, "__connect.errors.") || begins(name, "quern.");
}

static bool has(struct qn_str headers, const char *name)
{
    struct qn_log_header h;

    while (qn_log_header_next(&headers, &h))
        if (qn_str_is(h.name, name))
            return true;
    return false;
}

static void add(struct qn_buf *out, struct qn_str original, const char *name, struct qn_str value)
{
    if (value.p != NULL && !has(original, name))
        qn_log_header_add(out, qn_str_of(name), value);
}

static struct qn_str number(uint64_t v, char out[24])
{
    return (struct qn_str){out, qn_print_uint64(out, v)};
}

void qn_dead_letter_headers(const struct qn_dead_letter *d, struct qn_str original,
                            struct qn_buf *out)
{
    struct qn_buf position = {0};
    char text[QN_NUMBER_MAX];

    qn_buf_add(out, original.p, original.len);
    for (int i = 0; i < TEXTS; i++)
        add(out, original, texts[i].name, *(const struct qn_str *)((const char *)d + texts[i].at));
    add(out, original, "__connect.errors.partition", number(d->partition, text));
    add(out, original, "__connect.errors.task.id", qn_str_of("0"));
    add(out, original, "__connect.errors.offset", number(d->offset, text));
    qn_buf_printf(&position, "%.*s:%u:%" PRIu64, QN_STR_ARG(d->topic), d->partition, d->offset);
    out->failed |= position.failed;
    add(out, original, "quern.position", (struct qn_str){position.data, (uint32_t)position.len});
    if (d->attempts > 0)
        add(out, original, "quern.attempts", number(d->attempts, text));
    qn_buf_fini(&position);
}

static uint64_t read_number(struct qn_str s)
{
    uint64_t v = 0;

    for (uint32_t i = 0; i < s.len && s.p[i] >= '0' && s.p[i] <= '9'; i++)
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    return v;
}

void qn_dead_letter_read(struct qn_str headers, struct qn_dead_letter *out)
{
    struct qn_log_header h;

    *out = (struct qn_dead_letter){0};
    while (qn_log_header_next(&headers, &h)) {
        for (int i = 0; i < TEXTS; i++)
            if (qn_str_is(h.name, texts[i].name))
                *(struct qn_str *)((char *)out + texts[i].at) = h.value;
        if (qn_str_is(h.name, "__connect.errors.partition"))
            out->partition = (uint32_t)read_number(h.value);
        if (qn_str_is(h.name, "__connect.errors.offset"))
            out->offset = read_number(h.value);
        if (qn_str_is(h.name, "quern.attempts"))
            out->attempts = (uint32_t)read_number(h.value);
    }
}

void qn_dead_letter_strip(struct qn_str headers, struct qn_buf *out)
{
    struct qn_log_header h;

    while (qn_log_header_next(&headers, &h))
        if (!is_ours(h.name))
            qn_log_header_add(out, h.name, h.value);
}

static void member(struct qn_buf *out, const char *name, struct qn_str value)
{
    if (value.p == NULL)
        return;
    qn_buf_printf(out, ",\"%s\":", name);
    qn_json_string(out, value);
}

static void put_original(struct qn_buf *out, struct qn_str headers)
{
    struct qn_log_header h;
    bool is_first = true;

    while (qn_log_header_next(&headers, &h)) {
        if (is_ours(h.name))
            continue;
        qn_buf_text(out, is_first ? ",\"headers\":{" : ",");
        is_first = false;
        qn_json_string(out, h.name);
        qn_buf_byte(out, ':');
        qn_json_string(out, h.value);
    }
    if (!is_first)
        qn_buf_byte(out, '}');
}

void qn_dead_letter_json(const struct qn_log_record *r, struct qn_buf *out)
{
    char time[QN_TIMESTAMP_LEN];
    struct qn_dead_letter d;

    qn_dead_letter_read(r->headers, &d);
    qn_buf_printf(out, "{\"offset\":%" PRIu64 ",\"dead_at\":\"", r->offset);
    qn_buf_add(out, time, qn_timestamp_print(time, r->append_us));
    qn_buf_byte(out, '"');
    member(out, "reason", d.reason);
    member(out, "text", d.text);
    member(out, "stage", d.stage);
    member(out, "field", d.field);
    member(out, "expected", d.expected);
    member(out, "schema_id", d.schema_id);
    member(out, "detail", d.detail);
    member(out, "stream", d.topic);
    qn_buf_printf(out, ",\"position\":\"%.*s:%u:%" PRIu64 "\"", QN_STR_ARG(d.topic), d.partition,
                  d.offset);
    member(out, "pipeline", d.pipeline);
    member(out, "contract", d.contract);
    if (d.attempts > 0)
        qn_buf_printf(out, ",\"attempts\":%u", d.attempts);
    put_original(out, r->headers);
    if (r->value.p == NULL) {
        qn_buf_text(out, ",\"event\":null}");
    } else if (qn_utf8_valid(r->value.p, r->value.len)) {
        member(out, "event", r->value);
        qn_buf_byte(out, '}');
    } else {
        qn_buf_text(out, ",\"event_base64\":\"");
        qn_base64(out, r->value);
        qn_buf_text(out, "\"}");
    }
}
