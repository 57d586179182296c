/* SPDX-License-Identifier: Apache-2.0
 * demo_service.c - the demo as a running pipeline: log, engine and outputs as `quern run` has them,
 * and the dashboard in front.
 *
 *   generator ──► ingests, a few on their way ──► log ──► engine ──► log ──► alerts, read back
 *                                                                       └──► HTTP: the dashboard
 *
 * The demo is only another client: it hands events in, asks for the status and reads the output
 * `alerts`, whose records carry the event and with it the label. Thread: main; the service has its
 * own, which set the state of a slot. Memory: the lines of one ingest, and what the view keeps. */
#include "base/check.h"
#include "base/json.h"
#include "base/timestamp.h"
#include "cli/demo.h"
#include "cli/status_read.h"
#include "engine/service.h"
#include "monitor/report.h"
#include "serve/serve.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    SLOTS = 4,      /* ingests on their way                                   */
    ROWS = 1024,    /* events of one                                          */
    RECORDS = 256,  /* alerts read at once                                    */
    TICK_MS = 20,   /* between two looks at what is due                       */
    FRAME_MS = 500, /* the service looks at itself once a second              */
    RATE_ON_TERMINAL = 5000,
    EVENTS_ELSEWHERE = 200000,
    HTTP_STOP_MS = 1000,
    STOP_MS = 30000
};

enum slot_state {
    SLOT_EMPTY,
    SLOT_HELD,   /* filled, and not taken by the service yet */
    SLOT_FLYING, /* taken; done will be called               */
    SLOT_DONE    /* set by a thread of the service           */
};

struct slot {
    struct qn_ingest *ingest;
    _Atomic int state;
};

struct demo {
    struct qn_demo_show show;
    struct qn_report *report;
    struct qn_metrics *metrics;
    struct qn_service *service;
    struct qn_serve *serve;
    uint32_t stream, alerts; /* of the plan */
    /* events */
    struct qn_generate *generate;
    char *text; /* lines of one ingest */
    struct qn_str lines[ROWS];
    uint64_t made;
    int64_t rate; /* events per second, 0 = no pace */
    struct slot slots[SLOTS];
    /* answers */
    struct qn_log_reader *reader;
    struct qn_arena arena;
    struct qn_buf json;
};

/* ---- events in -------------------------------------------------------------------------------*/

static void on_done(void *arg, struct qn_ingest *in)
{
    struct slot *slot = arg;

    (void)in;
    atomic_store(&slot->state, SLOT_DONE);
}

/* Hands it over, now or, where too much is waiting, with the next look. */
static qn_status submit(struct slot *slot, struct qn_err *err)
{
    qn_status rc;

    atomic_store(&slot->state, SLOT_FLYING);
    rc = qn_ingest_submit(slot->ingest, QN_INGEST_DURABLE, on_done, slot, err);
    if (rc == QN_OK)
        return QN_OK;
    atomic_store(&slot->state, SLOT_HELD);
    return rc == QN_FULL || rc == QN_CLOSED ? QN_OK : rc;
}

static qn_status fill(struct demo *d, struct slot *slot, uint64_t due, struct qn_err *err)
{
    struct qn_demo_state *s = &d->show.state;
    uint32_t count, max = due - d->made < ROWS ? (uint32_t)(due - d->made) : ROWS;
    size_t bytes;

    QN_TRY(qn_source_generate_read(d->generate, d->text, d->lines, max, &count, &bytes, err));
    if (count == 0) {
        s->events_end = d->made; /* the days are over */
        return QN_OK;
    }
    QN_TRY(qn_ingest_new(d->service, d->stream, &slot->ingest, err));
    atomic_store(&slot->state, SLOT_HELD);
    for (uint32_t i = 0; i < count; i++) {
        const struct qn_str line = d->lines[i];

        s->frauds += memmem(line.p, line.len, "\"tx_fraud\":true", 15) != NULL;
        QN_TRY(qn_ingest_add(slot->ingest, line, (struct qn_str){NULL, 0}, err));
    }
    d->made += count;
    return submit(slot, err);
}

static qn_status take_back(struct slot *slot, struct qn_err *err)
{
    qn_status rc = qn_ingest_status(slot->ingest, err);

    qn_ingest_free(slot->ingest);
    slot->ingest = NULL;
    atomic_store(&slot->state, SLOT_EMPTY);
    return rc;
}

/* Takes back what is done, and hands over what is due. What was refused goes before what was drawn
 * later, which would make its events late: at most one is held. */
static qn_status feed(struct demo *d, struct qn_err *err)
{
    const uint64_t due = qn_demo_due(&d->show, d->rate);
    bool is_held = false;

    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &d->slots[i];

        if (atomic_load(&slot->state) == SLOT_DONE)
            QN_TRY(take_back(slot, err));
        if (atomic_load(&slot->state) == SLOT_HELD) {
            QN_TRY(submit(slot, err));
            is_held = atomic_load(&slot->state) == SLOT_HELD;
        }
    }
    for (unsigned i = 0; i < SLOTS && !is_held; i++) {
        struct slot *slot = &d->slots[i];

        if (atomic_load(&slot->state) == SLOT_EMPTY && d->made < due &&
            (d->show.state.events_end == 0 || d->made < d->show.state.events_end)) {
            QN_TRY(fill(d, slot, due, err));
            is_held = atomic_load(&slot->state) == SLOT_HELD;
        }
    }
    return QN_OK;
}

static bool is_flying(const struct demo *d)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (atomic_load(&d->slots[i].state) == SLOT_FLYING)
            return true;
    return false;
}

/* ---- answers ---------------------------------------------------------------------------------*/

static void cut(char out[QN_DEMO_TEXT], struct qn_str text)
{
    snprintf(out, QN_DEMO_TEXT, "%.*s", QN_STR_ARG(text));
}

/* The members of an alert, and those of its event, which have other names. */
static bool read_alert(struct qn_json_reader *r, struct qn_demo_alert *al)
{
    enum qn_json_kind kind;

    while ((kind = qn_json_next(r)) != QN_JSON_END) {
        if (kind == QN_JSON_ERROR)
            return false;
        if (kind == QN_JSON_CLOSE || !r->has_key)
            continue; /* in and out of the record and its event */
        if (kind == QN_JSON_STRING && qn_str_is(r->key, "event_time"))
            (void)qn_timestamp_parse(r->text, &al->time_us);
        else if (kind == QN_JSON_NUMBER && qn_str_is(r->key, "score"))
            al->score = qn_number_double(&r->number);
        else if (kind == QN_JSON_STRING && qn_str_is(r->key, "customer_id"))
            cut(al->customer, r->text);
        else if (kind == QN_JSON_STRING && qn_str_is(r->key, "terminal_id"))
            cut(al->terminal, r->text);
        else if (kind == QN_JSON_NUMBER && qn_str_is(r->key, "amount"))
            cut(al->amount, r->number.text);
        else if (kind == QN_JSON_TRUE && qn_str_is(r->key, "tx_fraud"))
            al->is_fraud = true;
    }
    return true;
}

static qn_status read_alerts(struct demo *d, struct qn_err *err)
{
    struct qn_demo_state *s = &d->show.state;
    struct qn_log_record records[RECORDS];
    enum qn_flow flow = QN_MORE;

    while (flow == QN_MORE) {
        uint32_t count;

        QN_TRY(qn_log_reader_next(d->reader, records, RECORDS, &count, &flow, err));
        for (uint32_t i = 0; flow == QN_MORE && i < count; i++) {
            struct qn_demo_alert *al = &s->last[s->alerts % QN_DEMO_ALERTS];
            struct qn_json_reader r;

            *al = (struct qn_demo_alert){.score = 0};
            qn_arena_reset(&d->arena);
            qn_json_open(&r, records[i].value, &d->arena);
            if (!read_alert(&r, al))
                return qn_err_set(err, QN_CORRUPT, "an alert in the log is no JSON");
            s->alerts++;
            s->alerts_fraud += al->is_fraud;
        }
        qn_log_reader_release(d->reader);
    }
    return QN_OK;
}

static uint64_t whole(double v)
{
    return v > 0 ? (uint64_t)v : 0;
}

/* What the service says about itself, as of its last look. */
static qn_status read_status(struct demo *d, struct qn_seen_status *seen, struct qn_err *err)
{
    struct qn_demo_state *s = &d->show.state;
    const struct qn_seen_stream *st = &seen->streams[0];

    qn_buf_clear(&d->json);
    qn_arena_reset(&d->arena);
    qn_service_status(d->service, &d->json);
    if (d->json.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the status");
    QN_TRY(qn_seen_status_read((struct qn_str){d->json.data, (uint32_t)d->json.len}, &d->arena,
                               seen, err));
    QN_ASSERT(seen->stream_count == 1);
    s->events = whole(st->read);
    s->counts.verdict[QN_SCORED] = whole(st->scored);
    s->counts.verdict[QN_LATE] = whole(st->late);
    s->counts.verdict[QN_DEAD] = whole(st->dead);
    s->counts.verdict[QN_SHED] = whole(st->shed);
    s->rate = st->rate;
    s->bytes = whole(seen->key_bytes);
    s->log_bytes = whole(seen->log.bytes);
    s->age_p50_ms = seen->age_p50;
    s->age_p99_ms = seen->age_p99;
    (void)qn_timestamp_parse(seen->newest_event, &s->time_us);
    for (unsigned i = 0; i < QN_DEMO_BINS; i++)
        s->bin[i] = whole(seen->bins[2 * i]) + whole(seen->bins[2 * i + 1]);
    return QN_OK;
}

/* ---- running ---------------------------------------------------------------------------------*/

/* The dashboard's address goes to stderr, where nothing is redrawn; the view has a line for it. */
static qn_status open_http(struct demo *d, const struct qn_demo_options *opt,
                           const struct qn_plan *plan, struct qn_err *err)
{
    struct qn_serve_options http = {.spec = &plan->serve,
                                    .http = opt->http,
                                    .files = &qn_files_system,
                                    .clock = d->show.cli->clock,
                                    .service = d->service,
                                    .metrics = d->metrics,
                                    .report = d->report};
    qn_status rc = qn_serve_start(&http, &d->serve, err);

    if (rc == QN_IO) { /* taken, perhaps by another demo */
        http.http = "127.0.0.1:0";
        rc = qn_serve_start(&http, &d->serve, err);
    }
    if (rc != QN_OK)
        return rc;
    d->show.state.url = qn_serve_url(d->serve, 0);
    if (!d->show.is_live)
        qn_cli_say(d->show.cli, "dashboard: %s", d->show.state.url);
    return QN_OK;
}

static qn_status begin(struct demo *d, const struct qn_demo_options *opt, struct qn_plan *plan,
                       struct qn_err *err)
{
    struct qn_cli *c = d->show.cli;
    struct qn_service_options service = {.files = &qn_files_system,
                                         .clock = c->clock,
                                         .random = &qn_random_system,
                                         .threads = (uint32_t)opt->threads};
    struct qn_log_selection alerts = {.topic_count = 1};
    uint32_t topic;

    d->text = qn_mem_zalloc(ROWS, QN_GENERATE_LINE_MAX);
    if (d->text == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the events");
    QN_TRY(qn_source_generate_new(&opt->generate, &d->generate, err));
    QN_TRY(qn_report_new(c->err, QN_REPORT_TEXT, QN_LEVEL_WARN, c->clock, &d->report, err));
    QN_TRY(qn_metrics_new(&d->metrics, err));
    service.report = d->report;
    service.metrics = d->metrics;
    QN_TRY(qn_service_new(plan, &service, &d->service, err));
    QN_TRY(qn_service_start(d->service, err));
    topic = qn_service_output_topic(d->service, d->alerts);
    alerts.topics = &topic;
    QN_TRY(qn_log_reader_new(qn_service_log(d->service), &alerts, &d->reader, err));
    return open_http(d, opt, plan, err);
}

/* Until the events are scored, the stop flag or a failure. *is_read: somebody reads what we show.
 */
static qn_status loop(struct demo *d, bool *is_read, struct qn_err *err)
{
    struct qn_demo_state *s = &d->show.state;
    struct qn_seen_status seen;

    for (;;) {
        if (*d->show.cli->stop)
            return QN_OK;
        if (qn_service_failure(d->service, err))
            return err->code;
        QN_TRY(feed(d, err));
        if (qn_demo_now(&d->show) - d->show.shown_ns >= FRAME_MS * INT64_C(1000000)) {
            QN_TRY(read_alerts(d, err));
            QN_TRY(read_status(d, &seen, err));
            if (s->events_end > 0 && s->events == s->events_end &&
                (double)s->alerts == seen.outputs[d->alerts].records)
                return QN_OK;
            if (qn_demo_show_is_due(&d->show))
                *is_read = qn_demo_show(&d->show);
            if (!*is_read)
                return QN_OK;
        }
        if (d->rate > 0 || is_flying(d))
            poll(NULL, 0, d->rate > 0 ? TICK_MS : 1); /* a signal ends it early */
    }
}

static void end(struct demo *d)
{
    struct qn_err err = {0};

    qn_log_reader_free(d->reader);
    qn_serve_stop(d->serve, HTTP_STOP_MS);
    if (d->service != NULL)
        (void)qn_service_stop(d->service, STOP_MS, &err);
    for (unsigned i = 0; i < SLOTS; i++) {
        QN_ASSERT(atomic_load(&d->slots[i].state) != SLOT_FLYING); /* the service told them all */
        qn_ingest_free(d->slots[i].ingest);
    }
    qn_service_free(d->service);
    qn_metrics_free(d->metrics);
    qn_report_free(d->report);
    qn_source_generate_free(d->generate);
    qn_mem_free(d->text);
    qn_buf_fini(&d->json);
    qn_arena_fini(&d->arena);
}

/* The stream and the output of the demo's own spec. */
static void find_parts(struct demo *d, const struct qn_plan *p)
{
    d->stream = p->main_stream;
    for (d->alerts = 0; d->alerts < p->output_count; d->alerts++)
        if (qn_str_is(p->outputs[d->alerts].name, "alerts"))
            break;
    QN_ASSERT(d->alerts < p->output_count);
    QN_ASSERT(p->score_model >= 0);
}

int qn_demo_service_run(struct qn_cli *c, const struct qn_demo_options *opt, struct qn_plan *plan)
{
    struct demo d = {.made = 0};
    struct qn_err err = {0};
    bool is_read = true;
    char day[32];
    qn_status rc;
    int code;

    find_parts(&d, plan);
    qn_demo_show_init(&d.show, c, opt, plan);
    d.show.state.is_service = true;
    d.show.state.events_end = opt->events >= 0 ? (uint64_t)opt->events
                              : d.show.is_live ? 0
                                               : EVENTS_ELSEWHERE;
    d.rate = opt->rate >= 0 ? opt->rate : d.show.is_live ? RATE_ON_TERMINAL : 0;
    snprintf(day, sizeof(day), "%.10sT00:00:00Z", opt->generate.start);
    (void)qn_timestamp_parse(qn_str_of(day), &d.show.state.first_us);
    rc = begin(&d, opt, plan, &err);
    if (rc == QN_OK)
        rc = loop(&d, &is_read, &err);
    code = rc == QN_OK ? QN_EXIT_OK : qn_cli_fail(c, &err);
    if (rc == QN_OK && is_read && qn_demo_show(&d.show))
        code = qn_demo_show_summary(&d.show);
    if (*c->stop)
        code = QN_EXIT_INTERRUPTED;
    end(&d);
    qn_demo_show_fini(&d.show);
    return code;
}
