/* SPDX-License-Identifier: Apache-2.0
 * shard_event.c - records with schemas into events, in front of a shard. See shard_event.h.
 *
 * Thread: the shard's. Memory: see shard_event.h. */
#include "engine/shard_event.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "base/memory.h"
#include "event/decode.h"
#include "log/transcode.h"

struct qn_shard_events {
    struct qn_buf event, given; /* of the message in hand */
    struct qn_buf headers;      /* of all rows            */
    size_t *ends;               /* [ends_cap] of each row */
    uint32_t ends_cap;
};

qn_status qn_shard_events_new(struct qn_shard *s, struct qn_err *err)
{
    if (s->opt.transcoders == NULL)
        return QN_OK;
    s->events = QN_NEW(&s->arena, struct qn_shard_events);
    return s->events != NULL ? QN_OK : qn_err_set(err, QN_NOMEM, "out of memory for a shard");
}

void qn_shard_events_free(struct qn_shard *s)
{
    if (s->events == NULL)
        return;
    qn_buf_fini(&s->events->event);
    qn_buf_fini(&s->events->given);
    qn_buf_fini(&s->events->headers);
    qn_mem_free(s->events->ends);
}

/* ---- schemas that nobody had -----------------------------------------------------------------*/

/* True where the record was set aside before because there was no such schema then. */
static bool was_unknown(const struct qn_shard *s, int64_t seq, uint32_t id)
{
    for (uint32_t i = 0; i < s->mark.unknown_count && seq < s->live_from; i++)
        if (s->mark.unknown[i].id == id)
            return seq <= s->mark.unknown[i].last;
    return false;
}

/* Into the id's own place, or a new one, or that of the one that was met longest ago. */
void qn_shard_event_unknown(struct qn_shard *s, uint32_t pending)
{
    const rd_kafka_message_t *m = s->pending[pending];
    const int64_t seq = qn_shard_seq(s, pending);
    struct qn_shard_mark *k = &s->mark;
    uint32_t at = 0, id;

    if (seq < s->live_from || !qn_transcode_id((struct qn_str){m->payload, (uint32_t)m->len}, &id))
        return;
    for (uint32_t i = 1; i < k->unknown_count; i++)
        if (k->unknown[i].last < k->unknown[at].last)
            at = i;
    if (k->unknown_count < QN_SHARD_MARK_UNKNOWN)
        at = k->unknown_count;
    for (uint32_t i = 0; i < k->unknown_count; i++)
        if (k->unknown[i].id == id)
            at = i;
    k->unknown_count += at == k->unknown_count;
    k->unknown[at] = (struct qn_shard_unknown){id, seq};
}

/* ---- events ----------------------------------------------------------------------------------*/

static qn_status make_room(struct qn_shard_events *e, uint32_t row, struct qn_err *err)
{
    const uint32_t cap = e->ends_cap > 0 ? 2 * e->ends_cap : 256;
    size_t *more;

    if (row < e->ends_cap)
        return QN_OK;
    more = qn_mem_realloc(e->ends, cap * sizeof *more);
    if (more == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the headers of a batch");
    e->ends = more;
    e->ends_cap = cap;
    return QN_OK;
}

/* Says once why it waits. */
static void wait_for(struct qn_shard *s, const struct qn_err *why)
{
    if (!s->was_waiting && why->code != QN_INTERRUPTED)
        qn_report_say(s->opt.report, QN_LEVEL_WARN, "kafka",
                      "partition %u waits at record %lld: %s", s->partition, (long long)s->next,
                      why->text);
    s->was_waiting |= why->code != QN_INTERRUPTED;
    s->is_waiting = true;
}

static qn_status transcode(struct qn_shard *s, const rd_kafka_message_t *m, uint32_t stream,
                           struct qn_buf *out, struct qn_buf *headers, struct qn_transcoded *r,
                           struct qn_err *err)
{
    struct qn_shard_events *e = s->events;
    const struct qn_str value = {m->payload, (uint32_t)m->len};
    struct qn_err why = {0};
    qn_status rc;

    qn_buf_clear(&e->given);
    qn_kafka_headers_read(m, &e->given);
    if (e->given.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the headers of a record");
    rc =
        qn_transcode(s->opt.transcoders[stream], value,
                     (struct qn_str){e->given.data, (uint32_t)e->given.len}, out, headers, r, &why);
    if (rc == QN_NOMEM && err != NULL)
        *err = why;
    if (rc == QN_NOMEM)
        return rc;
    if (rc != QN_OK) {
        wait_for(s, &why);
        return QN_OK;
    }
    if (s->was_waiting)
        qn_report_say(s->opt.report, QN_LEVEL_INFO, "kafka", "partition %u goes on", s->partition);
    s->was_waiting = false;
    return QN_OK;
}

/* One whose schema was unknown then, whatever is known now. False: it was not. */
static bool stay_unknown(struct qn_shard *s, uint32_t pending, struct qn_transcoded *r)
{
    const rd_kafka_message_t *m = s->pending[pending];
    const struct qn_str value = {m->payload, (uint32_t)m->len};
    struct qn_shard_events *e = s->events;
    uint32_t id;

    if (!qn_transcode_id(value, &id) || !was_unknown(s, qn_shard_seq(s, pending), id))
        return false;
    qn_buf_clear(&e->given);
    qn_kafka_headers_read(m, &e->given);
    qn_transcode_unknown(value, id, (struct qn_str){e->given.data, (uint32_t)e->given.len},
                         &e->headers, r);
    e->headers.failed |= e->given.failed;
    return true;
}

qn_status qn_shard_event(struct qn_shard *s, uint32_t pending, uint32_t row, struct qn_str *event,
                         enum qn_reason *reason, struct qn_err *err)
{
    const rd_kafka_message_t *m = s->pending[pending];
    const uint32_t stream = qn_shard_stream(s, pending);
    struct qn_shard_events *e = s->events;
    struct qn_transcoded r = {0};

    QN_TRY(make_room(e, row, err));
    e->headers.len = row > 0 ? e->ends[row - 1] : 0;
    qn_buf_clear(&e->event);
    if (s->opt.transcoders[stream] == NULL) { /* beside one that has schemas */
        qn_kafka_headers_read(m, &e->headers);
        e->ends[row] = e->headers.len;
        *event = (struct qn_str){m->payload, m->len > QN_EVENT_BYTES_MAX ? QN_EVENT_BYTES_MAX + 1
                                                                         : (uint32_t)m->len};
        return e->headers.failed
                   ? qn_err_set(err, QN_NOMEM, "out of memory for the headers of a record")
                   : QN_OK;
    }
    if (m->len > QN_EVENT_BYTES_MAX) {
        qn_kafka_headers_read(m, &e->headers);
        r = (struct qn_transcoded){.event = {m->payload, QN_EVENT_BYTES_MAX + 1},
                                   .len = QN_EVENT_BYTES_MAX + 1,
                                   .reason = QN_REASON_TOO_LARGE};
    } else if (!stay_unknown(s, pending, &r)) {
        QN_TRY(transcode(s, m, stream, &e->event, &e->headers, &r, err));
    }
    e->ends[row] = e->headers.len;
    if (e->headers.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the headers of a record");
    *reason = r.reason;
    *event = r.event.p != NULL ? (struct qn_str){r.event.p, r.len}
                               : (struct qn_str){e->event.data + r.begin, r.len};
    if (r.len == 0 && !s->is_waiting) /* as the log of a source has it */
        *event = qn_str_of("null");
    return QN_OK;
}

qn_status qn_shard_event_peek(struct qn_shard *s, const rd_kafka_message_t *m, uint32_t stream,
                              struct qn_buf *out, struct qn_buf *headers, struct qn_str *event,
                              struct qn_err *err)
{
    static const char room[QN_DECODE_PAD] = {0};
    struct qn_transcoded r = {.event = {m->payload, (uint32_t)m->len}};
    size_t begin = out->len;

    *event = (struct qn_str){NULL, 0};
    if (s->events != NULL && s->opt.transcoders[stream] != NULL) {
        r.event.p = NULL;
        QN_TRY(transcode(s, m, stream, out, headers, &r, err));
        if (s->is_waiting || r.reason != QN_REASON_NONE)
            return QN_OK;
        begin += r.event.p == NULL ? r.begin : 0;
    } else {
        qn_kafka_headers_read(m, headers);
        r.len = r.event.len;
    }
    if (r.event.p != NULL)
        qn_buf_add(out, r.event.p, r.len);
    qn_buf_add(out, room, sizeof room);
    if (out->failed || headers->failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for an event");
    *event = (struct qn_str){out->data + begin, r.len};
    return QN_OK;
}

struct qn_str qn_shard_event_headers(const struct qn_shard *s, uint32_t row)
{
    const struct qn_shard_events *e = s->events;
    const size_t begin = row > 0 ? e->ends[row - 1] : 0;

    if (e->ends[row] == begin)
        return (struct qn_str){NULL, 0};
    return (struct qn_str){e->headers.data + begin, (uint32_t)(e->ends[row] - begin)};
}

#endif
