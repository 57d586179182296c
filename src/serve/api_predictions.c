/* SPDX-License-Identifier: Apache-2.0
 * api_predictions.c - records out: outputs and dead letters, page by page or as a stream.
 *
 * A cursor is the offset in the topic of the next record. Every page opens a reader of its own, so
 * that a slow client never holds back what retention may remove. Thread: the exchange's. Memory:
 * request; an answer ends at about 1 MiB. */
#include "base/check.h"
#include "base/number.h"
#include "log/dead_letter.h"
#include "serve/serve_int.h"

#include <stdio.h>

enum { RECORDS = 64, PAGE_BYTES = 1 << 20, LIMIT_MAX = 1000, STREAM_LIMIT = 100 };
#define HEARTBEAT_NS INT64_C(15000000000)

/* How one record is written. */
typedef void put_record(struct qn_buf *out, const struct qn_log_record *r, bool is_first);

/* Writes up to limit records from *cursor on and moves it. False: answered with a problem. */
static bool read_page(struct qn_exchange *x, uint32_t topic, uint64_t *cursor, uint64_t limit,
                      put_record *put)
{
    struct qn_log *lg = qn_service_log(x->sv->opt.service);
    struct qn_log_selection what = {.topics = &topic, .topic_count = 1};
    struct qn_log_record r[RECORDS];
    struct qn_log_reader *reader;
    struct qn_log_topic_info info;
    struct qn_err err = {0};
    enum qn_flow flow = QN_MORE;
    bool is_first = true;
    qn_status rc;

    qn_log_topic_info(lg, topic, &info);
    if (*cursor >= info.next)
        return true;
    rc = qn_log_reader_new(lg, &what, &reader, &err);
    if (rc == QN_OK)
        rc = qn_log_reader_seek(reader, topic, *cursor, &err);
    while (rc == QN_OK && flow == QN_MORE && limit > 0 && x->out.len < PAGE_BYTES) {
        uint32_t count;

        rc = qn_log_reader_next(reader, r, limit < RECORDS ? (uint32_t)limit : RECORDS, &count,
                                &flow, &err);
        for (uint32_t i = 0; rc == QN_OK && flow == QN_MORE && i < count; i++) {
            put(&x->out, &r[i], is_first);
            is_first = false;
            *cursor = r[i].offset + 1;
            limit--;
        }
        qn_log_reader_release(reader);
    }
    if (rc != QN_OK && reader != NULL && err.code == QN_NOT_FOUND)
        qn_exchange_problem(x, 410, "cursor_gone",
                            "the records at this cursor were removed; the oldest has %llu",
                            (unsigned long long)info.first);
    else if (rc != QN_OK)
        qn_exchange_failed(x, &err);
    qn_log_reader_free(reader);
    return rc == QN_OK;
}

static void put_member(struct qn_buf *out, const struct qn_log_record *r, bool is_first)
{
    if (!is_first)
        qn_buf_byte(out, ',');
    qn_buf_add(out, r->value.p, r->value.len);
}

static void put_dead(struct qn_buf *out, const struct qn_log_record *r, bool is_first)
{
    if (!is_first)
        qn_buf_byte(out, ',');
    qn_dead_letter_json(r, out);
}

static void put_line(struct qn_buf *out, const struct qn_log_record *r, bool is_first)
{
    qn_buf_add(out, r->value.p, r->value.len);
    qn_buf_byte(out, '\n');
}

static void put_message(struct qn_buf *out, const struct qn_log_record *r, bool is_first)
{
    qn_buf_printf(out, "id: %llu\ndata: ", (unsigned long long)r->offset + 1);
    qn_buf_add(out, r->value.p, r->value.len);
    qn_buf_text(out, "\n\n");
}

/* Where a client that was cut off goes on: Last-Event-ID, which browsers send by themselves. False:
 * answered. */
static bool read_event_id(struct qn_exchange *x, uint64_t *cursor)
{
    struct qn_str id = qn_exchange_header(x, "last-event-id");
    int64_t v;

    if (id.p == NULL)
        return true;
    if (qn_text_int64(id, &v) && v >= 0) {
        *cursor = (uint64_t)v;
        return true;
    }
    qn_exchange_problem(x, 400, "bad_parameter", "'Last-Event-ID' is a cursor, not '%.*s'",
                        QN_STR_ARG(qn_utf8_cut(id, 40)));
    return false;
}

/* Where to begin: Last-Event-ID, else `after`, else `last` records before the end, else the end or
 * the oldest. False: answered. */
static bool read_cursor(struct qn_exchange *x, uint32_t topic, bool from_end, uint64_t *cursor)
{
    struct qn_log_topic_info info;
    uint64_t last;

    qn_log_topic_info(qn_service_log(x->sv->opt.service), topic, &info);
    if (!qn_exchange_number(x, "last", 0, LIMIT_MAX, UINT64_MAX, &last))
        return false;
    if (last != UINT64_MAX)
        last = info.next - info.first < last ? info.first : info.next - last;
    else
        last = from_end ? info.next : info.first;
    if (!qn_exchange_number(x, "after", 0, INT64_MAX, last, cursor) || !read_event_id(x, cursor))
        return false;
    if (*cursor <= info.next)
        return true;
    qn_exchange_problem(x, 404, "unknown_cursor", "there is no cursor %llu yet: the end is %llu",
                        (unsigned long long)*cursor, (unsigned long long)info.next);
    return false;
}

/* {"NAME":[...],"next":N} */
static void answer_page(struct qn_exchange *x, const char *name, uint32_t topic, uint64_t cursor,
                        put_record *put)
{
    uint64_t limit;

    if (!qn_exchange_number(x, "limit", 1, LIMIT_MAX, 100, &limit))
        return;
    qn_buf_printf(&x->out, "{\"%s\":[", name);
    if (!read_page(x, topic, &cursor, limit, put))
        return;
    qn_buf_printf(&x->out, "],\"next\":\"%llu\"}", (unsigned long long)cursor);
    qn_exchange_answer(x, 200, "application/json");
}

static void answer_lines(struct qn_exchange *x, uint32_t topic, uint64_t cursor)
{
    uint64_t limit;
    char *next = qn_arena_alloc(&x->arena, 24);

    if (!qn_exchange_number(x, "limit", 1, LIMIT_MAX, 100, &limit) ||
        !read_page(x, topic, &cursor, limit, put_line))
        return;
    if (next == NULL) {
        x->out.failed = true;
    } else {
        snprintf(next, 24, "%llu", (unsigned long long)cursor);
        qn_exchange_add(x, "quern-next", next);
    }
    qn_exchange_answer(x, 200, "application/x-ndjson");
}

/* The next records as messages; now and then a comment, so that both sides notice a lost line. */
static bool produce_messages(struct qn_exchange *x)
{
    int64_t now = x->sv->opt.clock->mono_ns(x->sv->opt.clock->st);

    if (!read_page(x, x->cursor_topic, &x->cursor, STREAM_LIMIT, put_message)) {
        qn_buf_clear(&x->out); /* too late for a problem: the client asks again and gets it */
        return false;
    }
    if (x->out.len == 0 && now >= x->wake_ns && x->wake_ns != 0)
        qn_buf_text(&x->out, ": still here\n\n");
    x->wake_topic = x->cursor_topic;
    x->wake_offset = x->cursor;
    x->wake_ns = now + HEARTBEAT_NS;
    return true;
}

static void answer_stream(struct qn_exchange *x, uint32_t topic, uint64_t cursor)
{
    x->cursor_topic = topic;
    x->cursor = cursor;
    qn_buf_text(&x->out, "retry: 1000\n\n");
    qn_exchange_stream(x, "text/event-stream", produce_messages);
}

static bool find_output(struct qn_exchange *x, uint32_t *output)
{
    const struct qn_plan *plan = x->sv->plan;
    struct qn_str names[64], name;
    uint32_t n = plan->output_count < 64 ? plan->output_count : 64;

    *output = 0;
    if (!qn_exchange_query(x, "output", 0, &name))
        return false;
    if (name.p == NULL)
        return true;
    for (uint32_t i = 0; i < plan->output_count; i++) {
        if (qn_str_eq(name, plan->outputs[i].name)) {
            *output = i;
            return true;
        }
        if (i < n)
            names[i] = plan->outputs[i].name;
    }
    qn_exchange_unknown(x, 404, "output", name, names, n);
    return false;
}

void qn_api_predictions(struct qn_exchange *x)
{
    static const char *const offers[] = {"application/json", "application/x-ndjson",
                                         "text/event-stream"};
    uint32_t form = qn_exchange_accepts(x, offers, 3), output, topic;
    uint64_t cursor;

    if (!find_output(x, &output))
        return;
    topic = qn_service_output_topic(x->sv->opt.service, output);
    if (!read_cursor(x, topic, form == 2, &cursor))
        return;
    if (form == 0)
        answer_page(x, "predictions", topic, cursor, put_member);
    else if (form == 1)
        answer_lines(x, topic, cursor);
    else
        answer_stream(x, topic, cursor);
}

void qn_api_dead(struct qn_exchange *x)
{
    uint32_t topic = qn_service_dead_topic(x->sv->opt.service);
    uint64_t cursor;

    if (read_cursor(x, topic, false, &cursor))
        answer_page(x, "dead_letters", topic, cursor, put_dead);
}
