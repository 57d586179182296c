/* SPDX-License-Identifier: Apache-2.0
 * events_again.c - the answer to a request that was taken before, made again from the log.
 *
 * What the contract said follows from the events, which are the same. What the engine said stands
 * in the records that were committed behind them: predictions by their id, dead letters by the
 * offset of what they set aside. Thread: the exchange's; reads a bounded part of the log. Memory:
 * request.
 */
#include "base/number.h"
#include "engine/commit_record.h"
#include "log/dead_letter.h"
#include "serve/serve_int.h"

enum { RECORDS = 64, LOOK_MAX = 200000, OUTPUTS_MAX = 256, STAGE = 0 };

struct looking {
    struct qn_exchange *x;
    struct qn_ingest_row *rows;
    uint64_t first, end; /* offsets of the events */
    uint32_t stream, predictions, dead;
    struct qn_str id; /* what the id of a prediction of this stream begins with, in its record */
};

static struct qn_log *log_of(const struct qn_exchange *x)
{
    return qn_service_log(x->sv->opt.service);
}

/* True when the engine's commits have passed the last of the events. */
static bool is_consumed(const struct looking *k)
{
    struct qn_commit_input inputs[QN_STREAMS_MAX];
    struct qn_commit_output outputs[OUTPUTS_MAX];
    struct qn_commit c = {.inputs = inputs, .outputs = outputs};
    uint32_t topic = qn_service_stream_topic(k->x->sv->opt.service, k->stream);
    struct qn_buf payload = {0};
    bool found = false;

    if (qn_log_last_commit(log_of(k->x), STAGE, NULL, NULL, &payload, NULL) == QN_OK &&
        qn_commit_read((struct qn_str){payload.data, (uint32_t)payload.len}, QN_STREAMS_MAX,
                       OUTPUTS_MAX, &c, NULL) == QN_OK)
        for (uint32_t i = 0; i < c.input_count; i++)
            found |= inputs[i].topic == topic && inputs[i].next >= k->end;
    qn_buf_fini(&payload);
    return found;
}

/* Where the append with the events lies. */
static qn_status find_events(const struct looking *k, uint64_t *lsn, struct qn_err *err)
{
    uint32_t topic = qn_service_stream_topic(k->x->sv->opt.service, k->stream), count;
    struct qn_log_selection what = {.topics = &topic, .topic_count = 1};
    struct qn_log_reader *reader;
    struct qn_log_record r;
    enum qn_flow flow;
    qn_status rc;

    QN_TRY(qn_log_reader_new(log_of(k->x), &what, &reader, err));
    rc = qn_log_reader_seek(reader, topic, k->first, err);
    if (rc == QN_OK)
        rc = qn_log_reader_next(reader, &r, 1, &count, &flow, err);
    if (rc == QN_OK && flow != QN_MORE)
        rc = qn_err_set(err, QN_NOT_FOUND, "the events are not in the log");
    if (rc == QN_OK)
        *lsn = r.lsn;
    qn_log_reader_free(reader);
    return rc;
}

static enum qn_reason reason_named(struct qn_str name)
{
    for (int i = 0; i < QN_REASON_COUNT; i++)
        if (qn_str_is(name, qn_reason_name((enum qn_reason)i)))
            return (enum qn_reason)i;
    return QN_REASON_NONE;
}

/* The offset of the event that a record is about; false where it is of another stream. */
static bool offset_of(const struct looking *k, const struct qn_log_record *r, uint64_t *offset)
{
    struct qn_str text = r->value;
    struct qn_dead_letter d;
    int64_t v;

    if (r->topic == k->dead) {
        qn_dead_letter_read(r->headers, &d);
        *offset = d.offset;
        return qn_str_eq(d.topic, k->x->sv->plan->schemas[k->stream].name);
    }
    if (text.len < k->id.len || memcmp(text.p, k->id.p, k->id.len) != 0)
        return false;
    text = (struct qn_str){text.p + k->id.len, 0};
    while (text.p + text.len < r->value.p + r->value.len && text.p[text.len] != '"')
        text.len++;
    if (!qn_text_int64(text, &v))
        return false;
    *offset = (uint64_t)v;
    return true;
}

/* Takes what the record says into its row. True when everything has been seen. */
static bool take_record(struct looking *k, const struct qn_log_record *r)
{
    struct qn_ingest_row *row;
    struct qn_dead_letter d;
    uint64_t offset;
    char *copy;

    if (!offset_of(k, r, &offset) || offset < k->first)
        return false;
    if (offset >= k->end)
        return true;
    row = &k->rows[offset - k->first];
    if (r->topic == k->dead) {
        qn_dead_letter_read(r->headers, &d);
        row->reason = reason_named(d.reason);
        row->verdict = row->reason == QN_REASON_LATE_EVENT ? QN_LATE : QN_DEAD;
        return false;
    }
    copy = qn_arena_strdup(&k->x->arena, r->value.p, r->value.len);
    if (copy == NULL)
        k->x->out.failed = true;
    else
        row->prediction = (struct qn_str){copy, r->value.len};
    return false;
}

static qn_status look(struct looking *k, struct qn_err *err)
{
    uint32_t topics[2] = {k->predictions, k->dead}, seen = 0, count;
    struct qn_log_selection what = {.topics = topics, .topic_count = 2};
    struct qn_log_record r[RECORDS];
    struct qn_log_reader *reader;
    enum qn_flow flow = QN_MORE;
    uint64_t lsn;
    bool is_over = false;
    qn_status rc;

    QN_TRY(find_events(k, &lsn, err));
    QN_TRY(qn_log_reader_new(log_of(k->x), &what, &reader, err));
    rc = qn_log_reader_seek_lsn(reader, lsn, err);
    while (rc == QN_OK && flow == QN_MORE && !is_over && seen < LOOK_MAX) {
        rc = qn_log_reader_next(reader, r, RECORDS, &count, &flow, err);
        for (uint32_t i = 0; rc == QN_OK && flow == QN_MORE && i < count && !is_over; i++)
            is_over = take_record(k, &r[i]);
        seen += rc == QN_OK && flow == QN_MORE ? count : 0;
        qn_log_reader_release(reader);
    }
    qn_log_reader_free(reader);
    return rc;
}

/* What the engine made of the events. False: answered. */
static bool find_answers(struct looking *k)
{
    const struct qn_plan *plan = k->x->sv->plan;
    struct qn_buf id = {0};
    struct qn_err err = {0};
    qn_status rc;

    if (!is_consumed(k)) {
        qn_exchange_add(k->x, "retry-after", "1");
        qn_exchange_problem(k->x, 409, "in_progress",
                            "the events of this Idempotency-Key are not scored yet; ask again");
        return false;
    }
    qn_buf_printf(&id, "{\"id\":\"%.*s:%.*s:0:", QN_STR_ARG(plan->name),
                  QN_STR_ARG(plan->schemas[k->stream].name));
    k->id = (struct qn_str){id.data, (uint32_t)id.len};
    rc = id.failed ? qn_err_set(&err, QN_NOMEM, "out of memory") : look(k, &err);
    qn_buf_fini(&id);
    if (rc == QN_NOT_FOUND)
        qn_exchange_problem(k->x, 410, "answer_gone",
                            "the events of this Idempotency-Key were taken; the log no longer "
                            "holds the answer");
    else if (rc != QN_OK)
        qn_exchange_failed(k->x, &err);
    return rc == QN_OK;
}

void qn_events_again(struct qn_exchange *x, uint32_t stream, uint64_t first, uint32_t count)
{
    struct qn_service *service = x->sv->opt.service;
    struct looking k = {.x = x,
                        .first = first,
                        .end = first + count,
                        .stream = stream,
                        .predictions = qn_service_output_topic(service, 0),
                        .dead = qn_service_dead_topic(service)};
    struct qn_err err = {0};

    if (qn_ingest_count(x->ingest) != count) { /* its first events are out of sight by now */
        qn_exchange_problem(x, 410, "answer_gone",
                            "the events of this Idempotency-Key were taken; their answer is gone");
        return;
    }
    if (qn_ingest_check(x->ingest, &err) != QN_OK) {
        qn_exchange_failed(x, &err);
        return;
    }
    k.rows = qn_events_rows(x);
    if (k.rows == NULL) {
        qn_exchange_problem(x, 503, "nomem", "out of memory");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        k.rows[i].offset = first + i;
        if (x->wants_scores && k.rows[i].verdict == QN_SCORED)
            k.rows[i].verdict = QN_LATE; /* unless there is a record that says otherwise */
    }
    if (!x->wants_scores || find_answers(&k))
        qn_events_answer(x, k.rows, count);
}
