/* SPDX-License-Identifier: Apache-2.0
 * cmd_run.c - `quern run SPEC`: a pipeline that runs until it is told to stop.
 *
 * The main thread starts the service and what stands around it, then waits: for a signal to stop,
 * for a failure, for the next watchdog message. SIGINT and SIGTERM stop accepting, finish what was
 * accepted and leave within --drain; a second one leaves at once, and nothing is lost. Thread:
 * main. */
#include "base/notify.h"
#include "cli/commands.h"
#include "engine/service.h"
#include "monitor/report.h"
#include "serve/serve.h"

#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 50 };

struct run_options {
    const char *http;
    int64_t threads, drain_us;
    int log_format, log_level;
};

static const struct qn_option options[] = {
    {.name = "http",
     .type = QN_OPT_TEXT,
     .value = "ADDR:PORT",
     .since = "0.2",
     .help = "where to listen, instead of serve: http; port 0 takes a free one",
     .offset = offsetof(struct run_options, http)},
    {.name = "threads",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "1",
     .min = 1,
     .max = QN_TEAM_MAX,
     .since = "0.2",
     .help = "threads of the engine; the answer does not depend on it",
     .offset = offsetof(struct run_options, threads)},
    {.name = "drain",
     .type = QN_OPT_DURATION,
     .value = "TIME",
     .fallback = "25s",
     .max = INT64_C(86400000000),
     .since = "0.2",
     .help = "how long to finish what was accepted when told to stop",
     .offset = offsetof(struct run_options, drain_us)},
    {.name = "log-format",
     .type = QN_OPT_ENUM,
     .value = "FORM",
     .fallback = "text",
     .choices = "text|json",
     .since = "0.2",
     .help = "how the program's own log is written to standard error",
     .offset = offsetof(struct run_options, log_format)},
    {.name = "log-level",
     .type = QN_OPT_ENUM,
     .value = "LEVEL",
     .fallback = "info",
     .choices = "debug|info|warn|error",
     .since = "0.2",
     .help = "the least that is written there",
     .offset = offsetof(struct run_options, log_level)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_run = {
    .name = "run",
    .summary = "runs the pipeline until it is stopped: log, engine, sinks, HTTP",
    .positional = "SPEC",
    .options = options,
    .examples = {"quern run card-fraud.yaml", "quern run card-fraud.yaml --http 127.0.0.1:8090"},
};

/* What a running pipeline is made of; all may be NULL. */
struct running {
    struct qn_report *report;
    struct qn_metrics *metrics;
    struct qn_plan *plan;
    struct qn_service *service;
    struct qn_notify *notify; /* the service manager that started us     */
    int64_t watchdog_ns;      /* between two signs of life; 0 = none     */
    int64_t alive_ns;         /* the last one                            */
    enum qn_phase phase;      /* as last told                            */
    bool is_ready;            /* told                                    */
    struct qn_serve *serve;
};

static void sleep_ms(int64_t ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static qn_status begin_http(struct qn_cli *c, const struct run_options *opt, struct running *r,
                            struct qn_err *err)
{
    const struct qn_serve_options serve = {.spec = &r->plan->serve,
                                           .http = opt->http,
                                           .files = &qn_files_system,
                                           .clock = c->clock,
                                           .service = r->service,
                                           .metrics = r->metrics,
                                           .report = r->report};

    if (opt->http == NULL && r->plan->serve.http == NULL)
        return QN_OK;
    QN_TRY(qn_serve_start(&serve, &r->serve, err));
    for (uint32_t i = 0; qn_serve_url(r->serve, i) != NULL; i++)
        qn_report_say(r->report, QN_LEVEL_INFO, "http", "listening url=%s",
                      qn_serve_url(r->serve, i));
    return QN_OK;
}

static qn_status begin(struct qn_cli *c, const struct run_options *opt, struct running *r,
                       struct qn_err *err)
{
    struct qn_service_options service = {.files = &qn_files_system,
                                         .clock = c->clock,
                                         .random = &qn_random_system,
                                         .threads = (uint32_t)opt->threads};

    QN_TRY(qn_report_new(c->err, (enum qn_report_form)opt->log_format,
                         (enum qn_level)opt->log_level, c->clock, &r->report, err));
    QN_TRY(qn_notify_open(qn_cli_variable(c, "NOTIFY_SOCKET"), &r->notify, err));
    r->watchdog_ns = 500 * qn_notify_watchdog_us(qn_cli_variable(c, "WATCHDOG_USEC"),
                                                 qn_cli_variable(c, "WATCHDOG_PID"), getpid());
    QN_TRY(qn_metrics_new(&r->metrics, err));
    service.metrics = r->metrics;
    service.report = r->report;
    QN_TRY(qn_service_new(r->plan, &service, &r->service, err));
    QN_TRY(qn_service_start(r->service, err));
    return begin_http(c, opt, r, err);
}

/* What the service manager should know. Restoring may take long: ready is said when it is done. */
static void tell_manager(struct qn_cli *c, struct running *r, enum qn_phase phase)
{
    int64_t now = c->clock->mono_ns(c->clock->st);

    if (r->notify == NULL)
        return;
    if (!r->is_ready && (phase == QN_PHASE_RUNNING || phase == QN_PHASE_FULL)) {
        qn_notify_ready(r->notify);
        r->is_ready = true;
    }
    if (r->alive_ns == 0 || phase != r->phase)
        qn_notify_status(r->notify, "%s", qn_phase_name(phase));
    if (r->alive_ns == 0 || (r->watchdog_ns > 0 && now - r->alive_ns >= r->watchdog_ns)) {
        qn_notify_watchdog(r->notify);
        r->alive_ns = now;
    }
    r->phase = phase;
}

/* Until somebody wants it to end. */
static void wait_for_the_end(struct qn_cli *c, struct running *r)
{
    enum qn_phase phase;

    while (!*c->stop && (phase = qn_service_phase(r->service)) != QN_PHASE_FAILED) {
        tell_manager(c, r, phase);
        sleep_ms(WAIT_MS);
    }
    qn_notify_stopping(r->notify);
}

static int end(struct qn_cli *c, const struct run_options *opt, struct running *r)
{
    struct qn_err err = {0};
    qn_status rc;

    qn_serve_stop(r->serve, opt->drain_us / 1000); /* first: its requests need the service */
    rc = qn_service_stop(r->service, opt->drain_us / 1000, &err);
    if (rc == QN_OK) {
        qn_report_say(r->report, QN_LEVEL_INFO, "run", "stopped");
        return QN_EXIT_OK;
    }
    if (rc == QN_INTERRUPTED) {
        qn_report_err(r->report, QN_LEVEL_WARN, "run", &err);
        return QN_EXIT_TERMINATED;
    }
    return qn_cli_fail(c, &err);
}

int qn_cmd_run(struct qn_cli *c, int argc, char **argv)
{
    struct run_options opt = {0};
    struct running r = {0};
    struct qn_option_list rest;
    struct qn_err err = {0};
    int code;

    if (!qn_cli_options(c, &qn_usage_run, argc, argv, &opt, &rest, &code))
        return code;
    r.plan = qn_cli_plan(c, rest.items[0], &code);
    if (r.plan == NULL)
        return code;
    if (begin(c, &opt, &r, &err) == QN_OK) {
        wait_for_the_end(c, &r);
        code = end(c, &opt, &r);
    } else {
        code = qn_cli_fail(c, &err);
        (void)qn_service_stop(r.service, 0, NULL);
    }
    qn_service_free(r.service);
    qn_metrics_free(r.metrics);
    qn_report_free(r.report);
    qn_notify_close(r.notify);
    qn_plan_free(r.plan);
    return code;
}
