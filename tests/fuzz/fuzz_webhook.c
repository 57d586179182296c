/* SPDX-License-Identifier: Apache-2.0
 * fuzz_webhook.c - what comes back from a webhook, and what is made of a record for it.
 *
 * Up to the first NUL byte the input is an answer: header lines, an empty line, a body in pieces;
 * then, up to the next, a template; the rest is a record. Holds: an answer's wait is never
 * negative, its excerpt is printable and short; of a record comes one body for each format or none
 * for all, a body is JSON, the same again, and CSV has one line more than line ends inside
 * quotes. */
#include "base/check.h"
#include "sink/file_int.h"
#include "sink/webhook_int.h"

/* Room for everything of one input. */
static struct qn_arena arena;

static struct qn_str take_part(struct qn_str *rest)
{
    const char *end = rest->len > 0 ? memchr(rest->p, '\0', rest->len) : NULL;
    struct qn_str part = *rest;

    if (end == NULL) {
        rest->len = 0;
        return part;
    }
    part.len = (uint32_t)(end - rest->p);
    rest->p += part.len + 1;
    rest->len -= part.len + 1;
    return part;
}

static void read_answer(struct qn_str text)
{
    struct qn_webhook_answer a = {0};
    char out[256];
    bool is_body = false, goes_on = true;

    while (text.len > 0 && goes_on) {
        const char *end = memchr(text.p, '\n', text.len);
        uint32_t n = end != NULL ? (uint32_t)(end - text.p) + 1 : text.len;

        if (is_body)
            goes_on = qn_webhook_answer_body(&a, (struct qn_str){text.p, n});
        else
            goes_on = qn_webhook_answer_header(&a, (struct qn_str){text.p, n}, 1795680000000000);
        is_body |= text.p[0] == '\n' || text.p[0] == '\r';
        text.p += n;
        text.len -= n;
    }
    QN_ASSERT(a.retry_after_us >= 0);
    QN_ASSERT(a.excerpt_len <= QN_WEBHOOK_EXCERPT && a.excerpt[a.excerpt_len] == '\0');
    for (uint32_t i = 0; i < a.excerpt_len; i++)
        QN_ASSERT(a.excerpt[i] >= 0x20 && a.excerpt[i] < 0x7f);
    for (long status = 0; status < 700; status += 7) {
        QN_ASSERT(qn_webhook_meaning(status, QN_WEBHOOK_RAW) <= QN_WEBHOOK_GONE);
        qn_webhook_answer_print(&a, status, out, sizeof out);
    }
}

static bool is_json(const struct qn_buf *b)
{
    struct qn_json_reader r;
    enum qn_json_kind kind;

    qn_json_open(&r, (struct qn_str){b->data, (uint32_t)b->len}, &arena);
    do
        kind = qn_json_next(&r);
    while (kind != QN_JSON_END && kind != QN_JSON_ERROR);
    /* A record as deep as the reader goes is one level too deep inside another object. */
    return kind == QN_JSON_END || strcmp(r.error, "more than 256 levels of nesting") == 0;
}

static void make_bodies(struct qn_str text, struct qn_str record)
{
    struct qn_webhook_options opt = {.routing_key = "k", .text = ""};
    struct qn_sink_boot boot = {.pipeline = qn_str_of("p"), .output = qn_str_of("o")};
    struct qn_log_record r = {.key = text, .value = record, .time_us = QN_LOG_NO_TIME};
    struct qn_webhook_body w = {.opt = &opt, .boot = &boot};
    struct qn_buf body[2] = {{0}}, id = {0};
    const char *error;
    int good = 0;

    if (qn_template_read(text, &arena, &w.text, NULL) != QN_OK)
        QN_ASSERT(qn_template_read(qn_str_of("{score}"), &arena, &w.text, NULL) == QN_OK);
    for (opt.format = QN_WEBHOOK_CLOUDEVENTS; opt.format <= QN_WEBHOOK_PAGERDUTY; opt.format++) {
        for (int again = 0; again < 2; again++) {
            qn_buf_clear(&body[again]);
            qn_buf_clear(&id);
            if (qn_webhook_body(&w, &r, &arena, &body[again], &id, &error)) {
                good++;
                QN_ASSERT(id.len > 0 && is_json(&body[again]));
            } else {
                QN_ASSERT(error != NULL);
            }
        }
        QN_ASSERT(body[0].len == body[1].len);
        QN_ASSERT(body[0].len == 0 || memcmp(body[0].data, body[1].data, body[0].len) == 0);
    }
    QN_ASSERT(good == 0 || good == 8);
    qn_buf_fini(&body[0]);
    qn_buf_fini(&body[1]);
    qn_buf_fini(&id);
}

static void make_line(struct qn_str record)
{
    static const char *const columns[] = {"id", "a.b", "a"};
    struct qn_file_options opt = {.path = "x.csv", .columns = {(const char **)columns, 3}};
    struct qn_buf line = {0};
    const char *error = NULL;
    uint32_t ends = 0, cells = 1;
    bool is_quoted = false;

    if (qn_file_line(&opt, record, &arena, &line, &error)) {
        for (size_t i = 0; i < line.len; i++) {
            is_quoted ^= line.data[i] == '"';
            ends += line.data[i] == '\n' && !is_quoted;
            cells += line.data[i] == ',' && !is_quoted;
        }
        QN_ASSERT(ends == 1 && cells == 3 && !is_quoted && line.data[line.len - 1] == '\n');
    } else {
        QN_ASSERT(error != NULL && line.len == 0);
    }
    qn_buf_fini(&line);
}

static void read_position(struct qn_str text)
{
    struct qn_file_position p;
    struct qn_str log, sink;

    if (qn_file_position_parse(text, &arena, &p, &log, &sink))
        QN_ASSERT(p.begun_us >= 0 && strlen(p.finished) < QN_SINK_NAME_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_str rest = {(const char *)data, (uint32_t)size}, answer, text;

    answer = take_part(&rest);
    text = take_part(&rest);
    read_answer(answer);
    make_bodies(text, rest);
    make_line(rest);
    read_position(rest);
    qn_arena_reset(&arena);
    return 0;
}
