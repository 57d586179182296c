/* SPDX-License-Identifier: Apache-2.0
 * api_events.c - events in: a body is unpacked, split, checked and handed to the log; the answer
 * follows when the log (or the engine) says so.
 *
 *   body ─► unpack ─► split ─► qn_ingest_add ─► submit ─► (thread goes on) ─► finish ─► answer
 *                                      │
 *                                      └─ same Idempotency-Key, same body: answered from the log
 *
 * Invariant: nothing of a request is taken before all of its body was understood. Thread: the
 * exchange's. Memory: request. */
#include "base/check.h"
#include "base/json.h"
#include "event/decode.h"
#include "serve/body_split.h"
#include "serve/body_unpack.h"
#include "serve/cloudevents.h"
#include "serve/idempotency.h"
#include "serve/serve_int.h"

#include <stdio.h>

static const char media_types[] =
    "application/json, application/x-ndjson, application/cloudevents+json or "
    "application/cloudevents-batch+json";

enum form { FORM_JSON, FORM_LINES, FORM_CLOUDEVENT, FORM_CLOUDEVENTS, FORM_BINARY, FORM_OTHER };

/* What is needed while one body becomes an ingest. */
struct taking {
    struct qn_exchange *x;
    uint32_t stream;
    enum form form;
    struct qn_str body;    /* unpacked */
    size_t common_headers; /* bytes of x->event_headers that every event gets */
    struct qn_cloudevent ce;
    struct qn_err err;
    qn_status rc; /* of the walk over headers */
};

/* ---- what the request is ---- */

static bool find_stream(struct qn_exchange *x, uint32_t *stream)
{
    const struct qn_plan *plan = x->sv->plan;
    struct qn_str names[QN_STREAMS_MAX];

    for (*stream = 0; *stream < plan->schema_count; (*stream)++) {
        if (qn_str_eq(plan->schemas[*stream].name, x->args[0]))
            break;
        names[*stream] = plan->schemas[*stream].name;
    }
    if (*stream == plan->schema_count) {
        qn_exchange_unknown(x, 404, "stream", x->args[0], names, plan->schema_count);
        return false;
    }
    if (x->wants_scores && *stream != plan->main_stream) {
        qn_exchange_problem(x, 400, "not_scored",
                            "events of '%.*s' are not scored: send them to /v1/streams/%.*s/events",
                            QN_STR_ARG(x->args[0]), QN_STR_ARG(x->args[0]));
        return false;
    }
    return true;
}

static bool is_json_type(struct qn_str type)
{
    return qn_str_is_nocase(type, "application/json") || qn_str_is_nocase(type, "text/json") ||
           (type.len > 5 && qn_str_is_nocase((struct qn_str){type.p + type.len - 5, 5}, "+json"));
}

static enum form form_of(struct qn_exchange *x)
{
    struct qn_str type = qn_media_type(qn_exchange_header(x, "content-type"));

    if (qn_str_is_nocase(type, "application/cloudevents+json"))
        return FORM_CLOUDEVENT;
    if (qn_str_is_nocase(type, "application/cloudevents-batch+json"))
        return FORM_CLOUDEVENTS;
    if (qn_exchange_header(x, "ce-specversion").p != NULL)
        return type.len == 0 || is_json_type(type) ? FORM_BINARY : FORM_OTHER;
    if (qn_str_is_nocase(type, "application/x-ndjson") ||
        qn_str_is_nocase(type, "application/ndjson") || qn_str_is_nocase(type, "application/jsonl"))
        return FORM_LINES;
    return type.len == 0 || is_json_type(type) ? FORM_JSON : FORM_OTHER;
}

static bool unpack(struct taking *t)
{
    struct qn_exchange *x = t->x;
    enum qn_packing packing = qn_packing_of(qn_exchange_header(x, "content-encoding"));

    t->body = (struct qn_str){x->body.data, (uint32_t)x->body.len};
    if (packing == QN_PACKING_UNKNOWN) {
        qn_exchange_add(x, "accept-encoding", "gzip, zstd");
        qn_exchange_problem(x, 415, "unknown_encoding",
                            "the body's Content-Encoding is not known; gzip and zstd are");
        return false;
    }
    if (packing == QN_PACKING_NONE)
        return true;
    if (qn_unpack(packing, t->body, x->sv->opt.spec->body_bytes, &x->unpacked, &t->err) != QN_OK) {
        qn_exchange_failed(x, &t->err);
        return false;
    }
    t->body = (struct qn_str){x->unpacked.data, (uint32_t)x->unpacked.len};
    return true;
}

/* ---- headers of the records ---- */

static void add_trace(struct taking *t)
{
    struct qn_str parent = qn_exchange_header(t->x, "traceparent");
    struct qn_str state = qn_exchange_header(t->x, "tracestate");

    if (!qn_traceparent_valid(parent))
        return;
    qn_log_header_add(&t->x->event_headers, qn_str_of("traceparent"), parent);
    if (state.len > 0 && state.len <= 512)
        qn_log_header_add(&t->x->event_headers, qn_str_of("tracestate"), state);
}

/* A ce-... header of binary mode. */
static bool add_attribute(void *arg, struct qn_str name, struct qn_str value)
{
    struct taking *t = arg;
    char lower[128];
    struct qn_str text;

    if (name.len > sizeof(lower)) {
        t->rc = qn_err_set(&t->err, QN_INVALID, "the name of a ce- header is too long");
        return false;
    }
    for (uint32_t i = 0; i < name.len; i++)
        lower[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] | 32) : name.p[i];
    if (!qn_percent_decode(value, false, &t->x->arena, &text)) {
        t->rc = qn_err_set(&t->err, QN_INVALID, "the header ce-%.*s is not percent-encoded UTF-8",
                           QN_STR_ARG(qn_utf8_cut(name, 40)));
        return false;
    }
    t->rc = qn_cloudevent_attribute(&t->ce, (struct qn_str){lower, name.len}, text,
                                    &t->x->event_headers, &t->err);
    return t->rc == QN_OK;
}

static bool add_binary(struct taking *t)
{
    struct qn_str type = qn_exchange_header(t->x, "content-type");

    qn_exchange_headers(t->x, "ce-", add_attribute, t);
    if (t->rc == QN_OK)
        t->rc = qn_cloudevent_check(&t->ce, &t->err);
    if (t->rc == QN_OK && type.p != NULL)
        qn_log_header_add(&t->x->event_headers, qn_str_of("content-type"), type);
    if (t->rc != QN_OK)
        qn_exchange_problem(t->x, 400, "bad_cloudevent", "%s", t->err.text);
    return t->rc == QN_OK;
}

/* ---- events ---- */

static bool add_event(struct taking *t, struct qn_str event)
{
    struct qn_exchange *x = t->x;
    struct qn_str headers = {x->event_headers.data, (uint32_t)x->event_headers.len};

    if (x->event_headers.failed)
        qn_err_set(&t->err, QN_NOMEM, "out of memory");
    else if (qn_ingest_add(x->ingest, event, headers, &t->err) == QN_OK)
        return true;
    qn_exchange_failed(x, &t->err);
    return false;
}

static bool add_cloudevent(struct taking *t, struct qn_str text, uint32_t index)
{
    struct qn_str event;
    bool is_good;

    if (qn_cloudevent_read(text, &t->x->arena, &event, &t->x->event_headers, &t->err) != QN_OK) {
        qn_exchange_problem(t->x, 400, "bad_cloudevent", "event %u: %s", index, t->err.text);
        return false;
    }
    is_good = add_event(t, event);
    t->x->event_headers.len = t->common_headers;
    return is_good;
}

/* A body that is no JSON at all: nothing to keep as a dead letter, the client has it. */
static bool check_single(struct taking *t, struct qn_str text)
{
    struct qn_json_reader r;
    enum qn_json_kind kind;

    if (qn_json_valid(text))
        return true;
    qn_json_open(&r, text, &t->x->arena);
    do {
        kind = qn_json_next(&r);
    } while (kind != QN_JSON_ERROR && kind != QN_JSON_END);
    if (kind == QN_JSON_END) /* valid, but nested too deeply: the decoder says so */
        return true;
    qn_exchange_problem(t->x, 400, "bad_json", "the body is not JSON: byte %zu: %s",
                        qn_json_offset(&r), r.error);
    return false;
}

static bool add_events(struct taking *t)
{
    struct qn_split split;
    struct qn_str piece;
    uint32_t index = 0;

    qn_split_open(&split, t->form == FORM_LINES ? QN_SPLIT_LINES : QN_SPLIT_JSON, t->body);
    if (split.is_array && (t->form == FORM_CLOUDEVENT || t->form == FORM_BINARY)) {
        qn_exchange_problem(t->x, 400, "bad_cloudevent",
                            "one CloudEvent holds one event; several are sent as "
                            "application/cloudevents-batch+json");
        return false;
    }
    if (t->form == FORM_CLOUDEVENTS && !split.is_array) {
        qn_exchange_problem(t->x, 400, "bad_cloudevent", "a batch of CloudEvents is an array");
        return false;
    }
    for (; qn_split_next(&split, &piece); index++) {
        bool is_good;

        if (t->form == FORM_CLOUDEVENT || t->form == FORM_CLOUDEVENTS)
            is_good = add_cloudevent(t, piece, index);
        else if (t->form == FORM_LINES || split.is_array)
            is_good = add_event(t, piece);
        else
            is_good = check_single(t, piece) && add_event(t, piece);
        if (!is_good)
            return false;
    }
    if (split.error != NULL) {
        qn_exchange_problem(t->x, 400, "bad_json", "the body is not JSON: byte %zu: %s",
                            split.error_at, split.error);
        return false;
    }
    if (index == 0)
        qn_exchange_problem(t->x, 400, "no_events", "the body holds no event");
    return index > 0;
}

/* ---- the answer ---- */

static void put_rejected(struct qn_buf *out, uint32_t index, const struct qn_ingest_row *row,
                         bool *is_first)
{
    qn_buf_printf(out, "%s{\"index\":%u,\"reason\":\"%s\"", *is_first ? "" : ",", index,
                  row->reason != QN_REASON_NONE ? qn_reason_name(row->reason)
                                                : qn_verdict_name(row->verdict));
    if (row->field.p != NULL) {
        qn_buf_text(out, ",\"field\":");
        qn_json_string(out, row->field);
    }
    qn_buf_printf(out, ",\"text\":\"%s\"}", qn_reason_text(row->reason));
    *is_first = false;
}

/* True where the answer lists the event as rejected. */
static bool is_rejected(const struct qn_exchange *x, const struct qn_ingest_row *row)
{
    return x->wants_scores ? row->prediction.p == NULL
                           : row->verdict == QN_DEAD && !qn_reason_is_quiet(row->reason);
}

/* Members of the answer that follow from the rows, without the brace around them. */
static void put_rows(struct qn_exchange *x, const struct qn_ingest_row *rows, uint32_t count,
                     uint32_t rejected)
{
    bool is_first = true;

    if (x->wants_scores) {
        qn_buf_text(&x->out, "\"predictions\":[");
        for (uint32_t i = 0; i < count; i++) {
            if (i > 0)
                qn_buf_byte(&x->out, ',');
            if (rows[i].prediction.p != NULL)
                qn_buf_add(&x->out, rows[i].prediction.p, rows[i].prediction.len);
            else
                qn_buf_text(&x->out, "null");
        }
        qn_buf_byte(&x->out, ']');
    } else {
        qn_buf_printf(&x->out, "\"accepted\":%u", count - rejected);
    }
    qn_buf_text(&x->out, ",\"rejected\":[");
    for (uint32_t i = 0; i < count && rejected > 0; i++)
        if (is_rejected(x, &rows[i]))
            put_rejected(&x->out, i, &rows[i], &is_first);
    qn_buf_text(&x->out, "],\"position\":{\"topic\":");
    qn_json_string(&x->out, x->args[0]);
    qn_buf_printf(&x->out, ",\"first\":%llu,\"next\":%llu}", (unsigned long long)rows[0].offset,
                  (unsigned long long)(rows[0].offset + count));
}

void qn_events_answer(struct qn_exchange *x, const struct qn_ingest_row *rows, uint32_t count)
{
    uint32_t rejected = 0;

    for (uint32_t i = 0; i < count; i++)
        rejected += is_rejected(x, &rows[i]);
    if (rejected < count) {
        qn_buf_clear(&x->out);
        qn_buf_byte(&x->out, '{');
        qn_exchange_answer(x, 200, "application/json");
    } else {
        qn_exchange_problem(x, 422, "all_rejected",
                            "none of the events can be used; they are kept as dead letters");
        x->out.len -= x->out.len > 0; /* the closing brace: more members follow */
        qn_buf_byte(&x->out, ',');
    }
    put_rows(x, rows, count, rejected);
    qn_buf_byte(&x->out, '}');
}

struct qn_ingest_row *qn_events_rows(struct qn_exchange *x)
{
    uint32_t count = qn_ingest_count(x->ingest);
    struct qn_ingest_row *rows = QN_NEW_N(&x->arena, struct qn_ingest_row, count);

    for (uint32_t i = 0; rows != NULL && i < count; i++)
        qn_ingest_row(x->ingest, i, &rows[i]);
    return rows;
}

/* The log has the events: says so, and remembers the key. */
static void answer(struct qn_exchange *x)
{
    uint32_t count = qn_ingest_count(x->ingest);
    const struct qn_ingest_row *rows = qn_events_rows(x);

    if (rows == NULL) {
        qn_exchange_problem(x, 503, "nomem", "out of memory; the events were taken");
        return;
    }
    if (x->claim != 0) {
        qn_idempotency_keep(x->sv->idempotency, x->claim, rows[0].offset, count);
        x->claim = 0;
    }
    qn_events_answer(x, rows, count);
}

static void finish(struct qn_exchange *x)
{
    struct qn_err err = {0};

    if (x->submitted == QN_FULL || x->submitted == QN_CLOSED)
        qn_exchange_busy(x);
    else if (x->submitted != QN_OK)
        qn_exchange_failed(x, &x->err);
    else if (qn_ingest_status(x->ingest, &err) != QN_OK)
        qn_exchange_failed(x, &err);
    else
        answer(x);
}

static void ingest_done(void *arg, struct qn_ingest *in)
{
    qn_exchange_wake(arg);
}

/* ---- taking ---- */

/* True when the events are to be appended; else answered. */
static bool claim_key(struct taking *t, struct qn_str key)
{
    struct qn_exchange *x = t->x;
    struct qn_buf header = {0};
    uint64_t first;
    uint32_t count;
    enum qn_claim claim;

    if (!qn_idempotency_key_valid(key)) {
        qn_exchange_problem(x, 400, "bad_idempotency_key",
                            "an Idempotency-Key has 1 to %d visible ASCII letters",
                            QN_IDEMPOTENCY_KEY_MAX);
        return false;
    }
    claim = qn_idempotency_claim(x->sv->idempotency, t->stream, key, t->body, &header, &x->claim,
                                 &first, &count);
    if (claim == QN_CLAIM_OTHER) {
        qn_exchange_problem(x, 409, "other_body",
                            "this Idempotency-Key came before with another body");
    } else if (claim == QN_CLAIM_BUSY) {
        qn_exchange_add(x, "retry-after", "1");
        qn_exchange_problem(x, 409, "in_progress",
                            "a request with this Idempotency-Key is under way; ask again");
    }
    qn_log_header_add(&x->event_headers, qn_str_of("idempotency-key"),
                      (struct qn_str){header.data, (uint32_t)header.len});
    if (header.failed)
        x->event_headers.failed = true;
    qn_buf_fini(&header);
    if (claim == QN_CLAIM_DONE && add_events(t))
        qn_events_again(x, t->stream, first, count);
    return claim == QN_CLAIM_NEW;
}

static void take(struct qn_exchange *x)
{
    struct taking t = {.x = x, .form = form_of(x)};
    struct qn_str key = qn_exchange_header(x, "idempotency-key");

    if (atomic_load(&x->sv->is_stopping) ||
        qn_service_phase(x->sv->opt.service) != QN_PHASE_RUNNING) {
        qn_exchange_busy(x);
        return;
    }
    if (!find_stream(x, &t.stream))
        return;
    if (t.form == FORM_OTHER) {
        qn_exchange_add(x, "accept-post", media_types);
        qn_exchange_problem(x, 415, "unknown_type", "the body's Content-Type is not known; send %s",
                            media_types);
        return;
    }
    if (!unpack(&t))
        return;
    add_trace(&t);
    if (t.form == FORM_BINARY && !add_binary(&t))
        return;
    if (qn_ingest_new(x->sv->opt.service, t.stream, &x->ingest, &t.err) != QN_OK) {
        qn_exchange_failed(x, &t.err);
        return;
    }
    t.common_headers = x->event_headers.len;
    if (key.p != NULL && !claim_key(&t, key))
        return;
    t.common_headers = x->event_headers.len;
    if (!add_events(&t))
        return;
    qn_exchange_wait(x, finish);
    x->submitted = qn_ingest_submit(
        x->ingest, x->wants_scores ? QN_INGEST_SCORED : QN_INGEST_DURABLE, ingest_done, x, &x->err);
    if (x->submitted != QN_OK)
        qn_exchange_wake(x);
}

void qn_api_events(struct qn_exchange *x)
{
    take(x);
}

void qn_api_score(struct qn_exchange *x)
{
    x->wants_scores = true;
    take(x);
}
