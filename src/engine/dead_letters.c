/* SPDX-License-Identifier: Apache-2.0
 * dead_letters.c - dead letters sent again, each once. See dead_letters.h.
 *
 * Invariant: an append holds for every event its control record, so that what qn_dead_sent_read
 * finds is what became durable, whatever stopped us in between. Retention takes the oldest first
 * and a control record never lies before its letter, so a letter that is still there has it.
 * Thread: one at a time per log. */
#include "engine/dead_letters.h"

#include "base/check.h"
#include "base/json.h"
#include "log/dead_letter.h"

#include <inttypes.h>
#include <stdio.h>

enum { READ_MAX = 256, SEND_MAX = 1024 };

bool qn_dead_selected(const struct qn_dead_selection *sel, uint64_t offset, struct qn_str headers)
{
    struct qn_dead_letter d;

    if (offset < sel->from || offset >= sel->end)
        return false;
    if (sel->reason.p == NULL && sel->stream.p == NULL)
        return true;
    qn_dead_letter_read(headers, &d);
    return (sel->reason.p == NULL || qn_str_eq(sel->reason, d.reason)) &&
           (sel->stream.p == NULL || qn_str_eq(sel->stream, d.topic));
}

/* ---- what was sent before --------------------------------------------------------------------*/

/* The topic's number; false where the log has none of that name. */
static qn_status find_topic(struct qn_log *lg, const char *name, uint32_t *topic, bool *found,
                            struct qn_err *err)
{
    struct qn_err why = {0};
    qn_status rc = qn_log_topic(lg, qn_str_of(name), false, topic, &why);

    *found = rc == QN_OK;
    if (rc == QN_OK || rc == QN_NOT_FOUND)
        return QN_OK;
    if (err != NULL)
        *err = why;
    return rc;
}

/* {"dlq_replayed":{"offset":17,...}}: the letter's offset. False for other control records. */
static bool read_control(struct qn_str text, struct qn_arena *arena, uint64_t *offset)
{
    struct qn_json_reader r;
    enum qn_json_kind kind;
    int64_t value;

    qn_json_open(&r, text, arena);
    if (qn_json_next(&r) != QN_JSON_OBJECT || qn_json_next(&r) != QN_JSON_OBJECT ||
        !qn_str_is(r.key, "dlq_replayed"))
        return false;
    while ((kind = qn_json_next(&r)) != QN_JSON_CLOSE) {
        if (kind == QN_JSON_NUMBER && qn_str_is(r.key, "offset")) {
            if (!qn_number_scaled(&r.number, 0, &value) || value < 0)
                return false;
            *offset = (uint64_t)value;
            return true;
        }
        if (!qn_json_skip(&r, kind))
            return false;
    }
    return false;
}

static qn_status read_sent(struct qn_log *lg, uint32_t control, struct qn_dead_sent *sent,
                           struct qn_err *err)
{
    struct qn_log_record list[READ_MAX];
    struct qn_log_reader *r = NULL;
    enum qn_flow flow = QN_MORE;
    struct qn_arena arena;
    qn_status rc;

    qn_arena_init(&arena, 0);
    rc = qn_log_reader_new(lg, &(struct qn_log_selection){&control, 1, false}, &r, err);
    while (rc == QN_OK && flow == QN_MORE) {
        uint32_t n = 0;

        rc = qn_log_reader_next(r, list, READ_MAX, &n, &flow, err);
        for (uint32_t i = 0; rc == QN_OK && i < n; i++) {
            uint64_t offset;

            qn_arena_reset(&arena);
            if (list[i].value.p != NULL && read_control(list[i].value, &arena, &offset) &&
                offset >= sent->first && offset < sent->end)
                sent->bits[(offset - sent->first) / 8] |=
                    (uint8_t)(1U << ((offset - sent->first) % 8));
        }
        qn_log_reader_release(r);
    }
    qn_log_reader_free(r);
    qn_arena_fini(&arena);
    return rc;
}

qn_status qn_dead_sent_read(struct qn_log *lg, struct qn_dead_sent *sent, struct qn_err *err)
{
    struct qn_log_topic_info info;
    uint32_t dead, control;
    bool found;

    *sent = (struct qn_dead_sent){0};
    QN_TRY(find_topic(lg, QN_TOPIC_DEAD, &dead, &found, err));
    if (!found)
        return QN_OK;
    qn_log_topic_info(lg, dead, &info);
    if (info.next == info.first)
        return QN_OK;
    sent->first = info.first;
    sent->end = info.next;
    sent->bits = qn_mem_zalloc((info.next - info.first + 7) / 8, 1);
    if (sent->bits == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for %" PRIu64 " dead letters",
                          info.next - info.first);
    QN_TRY(find_topic(lg, QN_TOPIC_CONTROL, &control, &found, err));
    return found ? read_sent(lg, control, sent, err) : QN_OK;
}

void qn_dead_sent_fini(struct qn_dead_sent *sent)
{
    qn_mem_free(sent->bits);
    *sent = (struct qn_dead_sent){0};
}

bool qn_dead_was_sent(const struct qn_dead_sent *sent, uint64_t offset)
{
    if (offset < sent->first || offset >= sent->end)
        return false;
    offset -= sent->first;
    return (sent->bits[offset / 8] >> (offset % 8) & 1) != 0;
}

/* ---- sending ---------------------------------------------------------------------------------*/

struct sender {
    struct qn_log *log;
    const struct qn_plan *plan;
    uint32_t control;
    uint32_t topics[QN_STREAMS_MAX];
    bool is_trial;
    struct qn_log_append *append; /* NULL: is_trial */
    uint32_t letters;             /* in the append  */
    struct qn_buf headers, text;
    struct qn_dead_replay *sums;
};

static qn_status send_append(struct sender *s, struct qn_err *err)
{
    if (s->letters == 0)
        return QN_OK;
    QN_TRY(qn_log_commit(s->log, s->append, NULL, err));
    s->sums->sent += s->letters;
    s->letters = 0;
    qn_log_append_reset(s->append);
    return QN_OK;
}

/* Two records: both fit into the append, or it is sent first. */
static qn_status make_room(struct sender *s, const struct qn_log_record *event, struct qn_err *err)
{
    const size_t sections = 2 * 40, records = 2 * 40;
    const size_t more =
        sections + records + event->value.len + event->key.len + event->headers.len + s->text.len;

    if (s->letters < SEND_MAX &&
        qn_log_append_bytes(s->append) + more <= qn_log_append_limit(s->log))
        return QN_OK;
    return send_append(s, err);
}

static qn_status send_letter(struct sender *s, const struct qn_log_record *letter,
                             const struct qn_dead_letter *d, uint32_t stream, struct qn_err *err)
{
    struct qn_log_record event = {.time_us = QN_LOG_NO_TIME, .value = letter->value};
    struct qn_log_record control = {.time_us = QN_LOG_NO_TIME};
    char name[32];

    qn_buf_clear(&s->headers);
    qn_dead_letter_strip(letter->headers, &s->headers);
    qn_buf_clear(&s->text);
    qn_buf_printf(&s->text, QN_TOPIC_DEAD ":0:%" PRIu64, letter->offset);
    if (s->text.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for a dead letter");
    memcpy(name, s->text.data, s->text.len);
    qn_log_header_add(&s->headers, qn_str_of("quern.dead_letter"),
                      (struct qn_str){name, (uint32_t)s->text.len});
    qn_buf_clear(&s->text);
    qn_buf_printf(&s->text,
                  "{\"dlq_replayed\":{\"offset\":%" PRIu64 ",\"position\":\"%.*s:0:%" PRIu64
                  "\",\"reason\":",
                  letter->offset, QN_STR_ARG(d->topic), d->offset);
    qn_json_string(&s->text, d->reason);
    qn_buf_text(&s->text, "}}");
    if (s->text.failed || s->headers.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for a dead letter");
    event.key = letter->key;
    event.headers = (struct qn_str){s->headers.data, (uint32_t)s->headers.len};
    control.value = (struct qn_str){s->text.data, (uint32_t)s->text.len};
    QN_TRY(make_room(s, &event, err));
    QN_TRY(qn_log_append_record(s->append, s->topics[stream], QN_LOG_RECORDS, &event, err));
    QN_TRY(qn_log_append_record(s->append, s->control, QN_LOG_CONTROL, &control, err));
    s->letters++;
    return QN_OK;
}

static qn_status look_at(struct sender *s, const struct qn_dead_sent *sent,
                         const struct qn_log_record *letter, struct qn_err *err)
{
    struct qn_dead_letter d;
    uint32_t stream = 0;

    qn_dead_letter_read(letter->headers, &d);
    s->sums->selected++;
    while (stream < s->plan->schema_count && !qn_str_eq(s->plan->schemas[stream].name, d.topic))
        stream++;
    if (qn_str_is(d.stage, "TASK_PUT"))
        s->sums->of_sinks++;
    else if (qn_dead_was_sent(sent, letter->offset))
        s->sums->again++;
    else if (stream == s->plan->schema_count)
        s->sums->of_others++;
    else if (s->is_trial)
        s->sums->sent++;
    else
        return send_letter(s, letter, &d, stream, err);
    return QN_OK;
}

static qn_status send_all(struct sender *s, uint32_t dead, const struct qn_dead_selection *sel,
                          const struct qn_dead_sent *sent, struct qn_err *err)
{
    struct qn_log_record list[READ_MAX];
    struct qn_log_reader *r = NULL;
    uint64_t offset = sent->first;
    enum qn_flow flow = QN_MORE;
    qn_status rc = qn_log_reader_new(s->log, &(struct qn_log_selection){&dead, 1, false}, &r, err);

    if (rc == QN_OK && sel->from > sent->first)
        rc = qn_log_reader_seek(r, dead, sel->from, err);
    /* Not beyond what the log held at the start: whoever dies again meanwhile is left alone. */
    while (rc == QN_OK && flow == QN_MORE && offset < sent->end) {
        uint32_t n = 0;

        rc = qn_log_reader_next(r, list, READ_MAX, &n, &flow, err);
        for (uint32_t i = 0; rc == QN_OK && i < n; i++) {
            offset = list[i].offset;
            if (offset < sent->end && qn_dead_selected(sel, offset, list[i].headers))
                rc = look_at(s, sent, &list[i], err);
            offset++;
        }
        qn_log_reader_release(r);
    }
    if (rc == QN_OK)
        rc = send_append(s, err);
    qn_log_reader_free(r);
    return rc;
}

static qn_status sender_init(struct sender *s, struct qn_err *err)
{
    if (s->is_trial)
        return QN_OK;
    QN_TRY(qn_log_topic(s->log, qn_str_of(QN_TOPIC_CONTROL), true, &s->control, err));
    for (uint32_t i = 0; i < s->plan->schema_count; i++)
        QN_TRY(qn_log_topic(s->log, s->plan->schemas[i].name, true, &s->topics[i], err));
    return qn_log_append_new(s->log, &s->append, err);
}

qn_status qn_dead_letters_replay(struct qn_log *lg, const struct qn_plan *plan,
                                 const struct qn_dead_selection *sel, bool is_trial,
                                 struct qn_dead_replay *out, struct qn_err *err)
{
    struct sender s = {.log = lg, .plan = plan, .is_trial = is_trial, .sums = out};
    struct qn_dead_sent sent;
    uint32_t dead = 0;
    bool found;
    qn_status rc;

    *out = (struct qn_dead_replay){0};
    rc = qn_dead_sent_read(lg, &sent, err);
    if (rc == QN_OK && sent.bits != NULL && sel->from < sent.end) {
        rc = find_topic(lg, QN_TOPIC_DEAD, &dead, &found, err);
        if (rc == QN_OK)
            rc = sender_init(&s, err);
        if (rc == QN_OK)
            rc = send_all(&s, dead, sel, &sent, err);
    }
    qn_log_append_free(s.append);
    qn_buf_fini(&s.headers);
    qn_buf_fini(&s.text);
    qn_dead_sent_fini(&sent);
    return rc;
}

/* ---- what was dead stays dead where it lies --------------------------------------------------*/

static enum qn_reason reason_of(struct qn_str name)
{
    for (int i = 1; i < QN_REASON_COUNT; i++)
        if (qn_str_is(name, qn_reason_name((enum qn_reason)i)))
            return (enum qn_reason)i;
    return QN_REASON_NONE;
}

/* Letters lie in the order in which their events were read. */
static void note_past(struct qn_dead_past *past, const struct qn_plan *plan, const uint64_t *next,
                      struct qn_str headers)
{
    struct qn_dead_event e;
    struct qn_dead_letter d;
    char version[24];
    uint32_t s = 0;

    qn_dead_letter_read(headers, &d);
    while (s < plan->schema_count && !qn_str_eq(plan->schemas[s].name, d.topic))
        s++;
    if (s == plan->schema_count || d.offset < next[s] || qn_str_is(d.stage, "TASK_PUT"))
        return;
    snprintf(version, sizeof version, "%016" PRIx64, plan->schemas[s].version);
    e = (struct qn_dead_event){d.offset, reason_of(d.reason)};
    if (e.reason == QN_REASON_NONE || e.reason == QN_REASON_LATE_EVENT)
        return;
    /* Under the same contract it dies again by itself; what windows reach, and what there was room
     * for, is no part of that. */
    if (qn_str_is(d.contract, version) && e.reason != QN_REASON_TOO_LATE &&
        e.reason != QN_REASON_STATE_FULL)
        return;
    qn_buf_add(&past->streams[s], &e, sizeof e);
    past->has_any = true;
}

qn_status qn_dead_past_read(struct qn_log *lg, const struct qn_plan *plan, const uint64_t *next,
                            struct qn_dead_past *past, struct qn_err *err)
{
    struct qn_log_record list[READ_MAX];
    struct qn_log_reader *r = NULL;
    enum qn_flow flow = QN_MORE;
    uint32_t dead = 0;
    bool found;
    qn_status rc;

    *past = (struct qn_dead_past){0};
    QN_TRY(find_topic(lg, QN_TOPIC_DEAD, &dead, &found, err));
    if (!found)
        return QN_OK;
    rc = qn_log_reader_new(lg, &(struct qn_log_selection){&dead, 1, false}, &r, err);
    while (rc == QN_OK && flow == QN_MORE) {
        uint32_t n = 0;

        rc = qn_log_reader_next(r, list, READ_MAX, &n, &flow, err);
        for (uint32_t i = 0; rc == QN_OK && i < n; i++)
            note_past(past, plan, next, list[i].headers);
        qn_log_reader_release(r);
    }
    qn_log_reader_free(r);
    for (uint32_t s = 0; rc == QN_OK && s < plan->schema_count; s++)
        if (past->streams[s].failed)
            rc = qn_err_set(err, QN_NOMEM, "out of memory for the events that were dead");
    return rc;
}

void qn_dead_past_fini(struct qn_dead_past *past)
{
    for (uint32_t s = 0; s < QN_STREAMS_MAX; s++)
        qn_buf_fini(&past->streams[s]);
    *past = (struct qn_dead_past){0};
}

enum qn_reason qn_dead_past_reason(const struct qn_dead_past *past, uint32_t stream,
                                   uint64_t offset)
{
    const struct qn_dead_event *list = (const void *)past->streams[stream].data;
    size_t low = 0, high = past->streams[stream].len / sizeof *list;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (list[middle].offset == offset)
            return (enum qn_reason)list[middle].reason;
        if (list[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return QN_REASON_NONE;
}

/* ---- told ------------------------------------------------------------------------------------*/

void qn_dead_replay_words(const struct qn_dead_replay *r, bool is_trial, struct qn_buf *out)
{
    const struct {
        uint64_t count;
        const char *why;
    } skipped[] = {
        {r->again, "sent again before"},
        {r->of_sinks, "refused by a sink's target: not an event of a stream"},
        {r->of_others, "of a stream that the spec has not"},
    };

    qn_buf_printf(out, "%" PRIu64 " dead letter%s %s", r->sent, r->sent == 1 ? "" : "s",
                  is_trial ? "would be sent again" : "sent again");
    for (size_t i = 0; i < sizeof skipped / sizeof skipped[0]; i++)
        if (skipped[i].count > 0)
            qn_buf_printf(out, "; %" PRIu64 " skipped: %s", skipped[i].count, skipped[i].why);
}

void qn_dead_replay_json(const struct qn_dead_replay *r, struct qn_buf *out)
{
    qn_buf_printf(out,
                  "{\"selected\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"sent_before\":%" PRIu64
                  ",\"of_sinks\":%" PRIu64 ",\"other_streams\":%" PRIu64 "}",
                  r->selected, r->sent, r->again, r->of_sinks, r->of_others);
}
