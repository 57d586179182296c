/* SPDX-License-Identifier: Apache-2.0
 * service_sinks.c - the deliveries of a running pipeline: one for each sink that the spec names.
 *
 * They stand on the log alone: the engine never waits for them, and they end after it, so that what
 * it made last still goes out. Thread: start and stop the owner's, looking the engine's. */
#include "engine/service_int.h"
#include "monitor/report.h"
#include "sink/delivery.h"

#include <inttypes.h>

struct qn_service_sink {
    const struct qn_sink *sink;
    struct qn_delivery *delivery;
    struct qn_series *lag, *delivered, *failed, *dead, *breaker;
};

/* ---- starting --------------------------------------------------------------------------------*/

static void tell(void *arg, bool is_problem, const char *sink, const char *text)
{
    struct qn_service *sv = arg;

    qn_report_say(sv->opt.report, is_problem ? QN_LEVEL_WARN : QN_LEVEL_INFO, "sink", "%s: %s",
                  sink, text);
}

static bool is_gone(const struct qn_plan *p, struct qn_str name)
{
    if (!qn_delivery_is_cursor(name))
        return false;
    for (uint32_t o = 0; o < p->output_count; o++)
        for (uint32_t i = 0; i < p->outputs[o].sink_count; i++)
            if (qn_str_eq(p->outputs[o].sinks[i].name, name))
                return false;
    return true;
}

static void say_gone(struct qn_service *sv, struct qn_str name, uint64_t behind)
{
    qn_report_say(sv->opt.report, QN_LEVEL_WARN, "sink",
                  "%.*s is no longer in the spec: %" PRIu64 " records are not delivered",
                  QN_STR_ARG(name), behind);
}

static const char *holds(const struct qn_plan *p, const struct qn_plan_output *o)
{
    if (o->from != UINT64_C(1) << p->main_stream)
        return "event";
    return o->when != NULL ? "alert" : "prediction";
}

/* One more of sv->sinks, unless its records are made elsewhere. */
static qn_status start_sink(struct qn_service *sv, uint32_t output, const struct qn_sink *sink,
                            struct qn_err *err)
{
    const struct qn_plan_output *o = &sv->plan->outputs[output];
    struct qn_service_sink *x = &sv->sinks[sv->sink_count];
    struct qn_metrics *m = sv->opt.metrics;
    struct qn_feed_kafka_options feed;
    struct qn_delivery_options opt = {.sink = sink,
                                      .pipeline = sv->plan->name,
                                      .output = o->name,
                                      .holds = holds(sv->plan, o),
                                      .files = sv->opt.files,
                                      .clock = sv->opt.clock,
                                      .random = sv->opt.random,
                                      .tell = tell,
                                      .tell_arg = sv};
    bool is_here = true;

    if (sv->kafka != NULL) {
        QN_TRY(qn_service_kafka_feed(sv, output, sink->name, &feed, &is_here, err));
        opt.kafka = &feed;
    } else {
        opt.log = sv->log;
        opt.topic = sv->output_topics[output];
        opt.dead_topic = sv->dead_topic;
    }
    if (!is_here)
        return QN_OK;
    x->sink = sink;
    x->lag = qn_metrics_series(m, QN_METRIC_SINK_LAG, &sink->name);
    x->delivered = qn_metrics_series(m, QN_METRIC_SINK_DELIVERED, &sink->name);
    x->failed = qn_metrics_series(m, QN_METRIC_SINK_FAILED, &sink->name);
    x->dead = qn_metrics_series(m, QN_METRIC_SINK_DEAD, &sink->name);
    x->breaker = qn_metrics_series(m, QN_METRIC_BREAKER, &sink->name);
    QN_TRY(qn_delivery_start(&opt, &x->delivery, err));
    sv->sink_count++;
    return QN_OK;
}

qn_status qn_service_sinks_start(struct qn_service *sv, struct qn_err *err)
{
    const struct qn_plan *p = sv->plan;
    uint32_t count = 0;

    for (uint32_t o = 0; o < p->output_count; o++)
        count += p->outputs[o].sink_count;
    sv->sinks = QN_NEW_N(&sv->arena, struct qn_service_sink, count + 1);
    if (sv->sinks == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the sinks");
    if (sv->kafka == NULL) /* positions of groups hold nothing: the brokers forget them */
        QN_TRY(qn_service_forget_cursors(sv, is_gone, say_gone, err));
    for (uint32_t o = 0; o < p->output_count; o++)
        for (uint32_t i = 0; i < p->outputs[o].sink_count; i++)
            QN_TRY(start_sink(sv, o, &p->outputs[o].sinks[i], err));
    return QN_OK;
}

bool qn_service_sinks_stop(struct qn_service *sv, int64_t limit_ms)
{
    const int64_t end_us = qn_service_now_us(sv) + limit_ms * 1000;
    const uint32_t count = sv->sink_count;
    bool is_drained = true;

    pthread_mutex_lock(&sv->wait_lock); /* whoever asks for the status finds none from now on */
    sv->sink_count = 0;
    pthread_mutex_unlock(&sv->wait_lock);
    for (uint32_t i = 0; i < count; i++) { /* all go on while one is waited for */
        int64_t left_ms = (end_us - qn_service_now_us(sv)) / 1000;

        is_drained &= qn_delivery_stop(sv->sinks[i].delivery, left_ms > 0 ? left_ms : 0);
    }
    return is_drained;
}

/* ---- looking in ------------------------------------------------------------------------------*/

void qn_service_sinks_look(struct qn_service *sv)
{
    for (uint32_t i = 0; i < sv->sink_count; i++) {
        const struct qn_service_sink *x = &sv->sinks[i];
        struct qn_delivery_stats s;

        qn_delivery_stats(x->delivery, &s);
        qn_series_set(x->lag, (double)s.lag);
        qn_series_set(x->delivered, (double)s.delivered);
        qn_series_set(x->failed, (double)s.failed);
        qn_series_set(x->dead, (double)s.dead);
        qn_series_set(x->breaker, s.breaker);
    }
}

void qn_service_sinks_status(const struct qn_service *sv, struct qn_buf *b)
{
    qn_buf_text(b, ",\"sinks\":[");
    for (uint32_t i = 0; i < sv->sink_count; i++) {
        const struct qn_service_sink *x = &sv->sinks[i];
        struct qn_delivery_stats s;

        qn_delivery_stats(x->delivery, &s);
        qn_buf_text(b, i > 0 ? ",{\"name\":" : "{\"name\":");
        qn_json_string(b, x->sink->name);
        qn_buf_printf(b,
                      ",\"kind\":\"%s\",\"lag\":%" PRIu64 ",\"delivered\":%" PRIu64
                      ",\"failed\":%" PRIu64 ",\"dead\":%" PRIu64 ",\"state\":\"%s\",\"detail\":",
                      x->sink->ops->name, s.lag, s.delivered, s.failed, s.dead,
                      s.state == QN_DELIVERY_STOPPED ? qn_delivery_state_name(s.state)
                                                     : qn_breaker_name(s.breaker));
        qn_json_string(b, qn_str_of(s.state == QN_DELIVERY_RUNNING ? "" : s.last_error));
        qn_buf_byte(b, '}');
    }
    qn_buf_byte(b, ']');
}
