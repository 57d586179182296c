/* SPDX-License-Identifier: Apache-2.0
 * service_sources.c - the intakes of a running pipeline: one for each source that the spec names.
 *
 * They stand in front of the log alone: what they bring is durable before the engine sees it, and
 * they pause while the engine is behind. They end before the engine, so that what they brought last
 * is still scored. Thread: start and stop the owner's, looking the engine's. */
#include "engine/service_int.h"
#include "monitor/report.h"
#include "source/intake.h"

#include <inttypes.h>
#include <stdio.h>

/* Of the cursors of intakes (intake.h). */
#define PREFIX "source."
enum { PREFIX_BYTES = sizeof PREFIX - 1 };

struct qn_service_source {
    const struct qn_source *source;
    struct qn_intake *intake;
};

static void tell(void *arg, bool is_problem, const char *source, const char *text)
{
    struct qn_service *sv = arg;

    qn_report_say(sv->opt.report, is_problem ? QN_LEVEL_WARN : QN_LEVEL_INFO, "source", "%s: %s",
                  source, text);
}

/* Records in the log that are in no batch yet; as too many where the oldest has waited for half of
 * what an event may: the other half is for those that come over HTTP. */
static uint64_t lag(void *arg)
{
    struct qn_service *sv = arg;
    const int64_t wait_us = sv->plan->limits.wait_us;
    uint64_t n = 0;

    for (uint32_t s = 0; s < sv->plan->schema_count; s++) {
        struct qn_log_topic_info info;
        uint64_t processed = atomic_load(&sv->processed[s]);

        qn_log_topic_info(sv->log, sv->stream_topics[s], &info);
        n += info.next > processed ? info.next - processed : 0;
    }
    if (wait_us > 0 && n > 0 && n <= QN_BACKLOG_RECORDS && qn_service_waited_us(sv) > wait_us / 2)
        return QN_BACKLOG_RECORDS + 1;
    return n;
}

static void set_group_lag(void *arg, const char *group, const char *topic, uint32_t partition,
                          int64_t records)
{
    struct qn_service *sv = arg;
    char number[12];
    const struct qn_str labels[3] = {
        qn_str_of(group),
        qn_str_of(topic),
        {number, (uint32_t)snprintf(number, sizeof number, "%u", partition)}};

    qn_series_set(qn_metrics_series(sv->opt.metrics, QN_METRIC_GROUP_LAG, labels), (double)records);
}

/* "source.NAME" of a source that the spec has not. */
static bool is_gone(const struct qn_plan *p, struct qn_str cursor)
{
    struct qn_str name;

    if (cursor.len <= PREFIX_BYTES || memcmp(cursor.p, PREFIX, PREFIX_BYTES) != 0)
        return false;
    name = (struct qn_str){cursor.p + PREFIX_BYTES, cursor.len - PREFIX_BYTES};
    for (uint32_t i = 0; i < p->source_count; i++)
        if (qn_str_eq(p->sources[i].name, name))
            return false;
    return true;
}

static void say_gone(struct qn_service *sv, struct qn_str name, uint64_t behind)
{
    (void)behind; /* of its positions: nothing is lost with them */
    qn_report_say(sv->opt.report, QN_LEVEL_WARN, "source",
                  "%.*s is no longer in the spec: should it come back, it begins anew",
                  QN_STR_ARG(name));
}

qn_status qn_service_sources_start(struct qn_service *sv, struct qn_err *err)
{
    const struct qn_plan *p = sv->plan;

    sv->sources = QN_NEW_N(&sv->arena, struct qn_service_source, p->source_count + 1);
    if (sv->sources == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the sources");
    QN_TRY(qn_service_forget_cursors(sv, is_gone, say_gone, err));
    for (uint32_t i = 0; i < p->source_count; i++) {
        const struct qn_source *source = &p->sources[i];
        const struct qn_intake_options opt = {.log = sv->log,
                                              .topic = sv->stream_topics[source->stream],
                                              .source = source,
                                              .wire = &p->wire[source->stream],
                                              .files = sv->opt.files,
                                              .clock = sv->opt.clock,
                                              .lag = lag,
                                              .lag_arg = sv,
                                              .group_lag = set_group_lag,
                                              .group_lag_arg = sv,
                                              .lag_max = QN_BACKLOG_RECORDS,
                                              .tell = tell,
                                              .tell_arg = sv};

        sv->sources[i].source = source;
        QN_TRY(qn_intake_start(&opt, &sv->sources[i].intake, err));
        sv->source_count++;
    }
    return QN_OK;
}

void qn_service_sources_stop(struct qn_service *sv, int64_t limit_ms)
{
    const uint32_t count = sv->source_count;

    pthread_mutex_lock(&sv->wait_lock); /* whoever asks for the status finds none from now on */
    sv->source_count = 0;
    pthread_mutex_unlock(&sv->wait_lock);
    for (uint32_t i = 0; i < count; i++)
        (void)qn_intake_stop(sv->sources[i].intake, limit_ms);
}

void qn_service_sources_status(const struct qn_service *sv, struct qn_buf *b)
{
    qn_buf_text(b, ",\"sources\":[");
    for (uint32_t i = 0; i < sv->source_count; i++) {
        const struct qn_service_source *x = &sv->sources[i];
        struct qn_intake_stats s;

        qn_intake_stats(x->intake, &s);
        qn_buf_text(b, i > 0 ? ",{\"name\":" : "{\"name\":");
        qn_json_string(b, x->source->name);
        qn_buf_printf(b,
                      ",\"kind\":\"%s\",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
                      ",\"failed\":%" PRIu64 ",\"state\":\"%s\",\"detail\":",
                      x->source->ops->name, s.events, s.bytes, s.failed,
                      qn_intake_state_name(s.state));
        qn_json_string(b, qn_str_of(s.state == QN_INTAKE_RUNNING ? "" : s.last_error));
        qn_buf_byte(b, '}');
    }
    qn_buf_byte(b, ']');
}
