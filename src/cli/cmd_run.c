/* SPDX-License-Identifier: Apache-2.0
 * cmd_run.c - `quern run SPEC`: a pipeline that runs until it is told to stop.
 *
 * The main thread starts the service and what stands around it, then waits: for a signal to stop or
 * to read the spec again, for a failure, for the next watchdog message. SIGINT and SIGTERM say at
 * /readyz that it goes and, --drain-delay later, stop accepting, finish what was accepted and leave
 * within --drain; a second one leaves at once, and nothing is lost. SIGHUP reads the spec again: a
 * good one takes over, from the snapshot or from the log; with any other the old one goes on.
 * Thread: main. */
#include "base/memory.h"
#include "base/notify.h"
#include "cli/commands.h"
#include "engine/service.h"
#include "monitor/report.h"
#include "serve/serve.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 50 };

struct run_options {
    const char *http, *stage;
    int64_t threads, drain_us, delay_us;
    int log_format, log_level;
};

static const struct qn_option options[] = {
    {.name = "http",
     .type = QN_OPT_TEXT,
     .value = "ADDR:PORT",
     .since = "0.2",
     .help = "where to listen, instead of serve: http; port 0 takes a free one",
     .offset = offsetof(struct run_options, http)},
    {.name = "stage",
     .type = QN_OPT_TEXT,
     .value = "NAME",
     .since = "0.3",
     .help = "with log: kafka and features by several keys: run this stage alone, as 'quern check' "
             "calls it; others run elsewhere",
     .offset = offsetof(struct run_options, stage)},
    QN_THREADS_ROW(struct run_options, threads, "0.2"),
    {.name = "drain",
     .type = QN_OPT_DURATION,
     .value = "TIME",
     .fallback = "25s",
     .max = INT64_C(86400000000),
     .since = "0.2",
     .help = "how long to finish what was accepted when told to stop",
     .offset = offsetof(struct run_options, drain_us)},
    {.name = "drain-delay",
     .type = QN_OPT_DURATION,
     .value = "TIME",
     .fallback = "0s",
     .max = INT64_C(3600000000),
     .since = "0.2",
     .help = "how long to go on before that, /readyz saying no: time for a load balancer to turn "
             "away",
     .offset = offsetof(struct run_options, delay_us)},
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

/* A spec as it runs; all may be NULL. SIGHUP makes another one, and there is one at a time. */
struct generation {
    struct qn_arena *arena; /* boot lifetime of the plan, which points to it */
    struct qn_plan *plan;
    struct qn_metrics *metrics;
    struct qn_service *service;
    struct qn_serve *serve;
};

struct running {
    const char *path;            /* of the spec */
    struct qn_plan_options load; /* how it is loaded */
    struct run_options opt;
    struct qn_report *report;
    struct generation now;
    struct qn_notify *notify;    /* the service manager that started us     */
    int64_t watchdog_ns;         /* between two signs of life; 0 = none     */
    int64_t alive_ns;            /* the last one                            */
    uint64_t beats;              /* of the engine, at the last one */
    enum qn_phase phase;         /* as last told                            */
    bool is_ready;               /* told                                    */
    char asked[256], bound[256]; /* addresses: as they were asked for, and with the ports chosen */
};

static void sleep_ms(int64_t ms)
{
    const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

/* ---- one generation --------------------------------------------------------------------------*/

/* The addresses that a free port was chosen for keep it over a reload. */
static void note_addresses(struct running *r, const char *asked)
{
    size_t n = 0;

    snprintf(r->asked, sizeof r->asked, "%s", asked);
    for (uint32_t i = 0; qn_serve_url(r->now.serve, i) != NULL && n < sizeof r->bound; i++) {
        const char *url = qn_serve_url(r->now.serve, i);

        qn_report_say(r->report, QN_LEVEL_INFO, "http", "listening url=%s", url);
        n += (size_t)snprintf(r->bound + n, sizeof r->bound - n, "%s%s", i > 0 ? "," : "",
                              strstr(url, "//") + 2);
    }
}

static qn_status begin_http(struct qn_cli *c, struct running *r, struct qn_err *err)
{
    const struct generation *g = &r->now;
    const char *asked = r->opt.http != NULL ? r->opt.http : g->plan->serve.http;
    const bool is_same = asked != NULL && r->bound[0] != 0 && strcmp(asked, r->asked) == 0;
    const struct qn_serve_options serve = {.spec = &g->plan->serve,
                                           .http = is_same ? r->bound : r->opt.http,
                                           .files = &qn_files_system,
                                           .clock = c->clock,
                                           .service = g->service,
                                           .metrics = g->metrics,
                                           .report = r->report};

    if (asked == NULL)
        return QN_OK;
    QN_TRY(qn_serve_start(&serve, &r->now.serve, err));
    note_addresses(r, asked);
    return QN_OK;
}

static qn_status begin(struct qn_cli *c, struct running *r, struct qn_err *err)
{
    struct generation *g = &r->now;
    struct qn_service_options service = {.files = &qn_files_system,
                                         .clock = c->clock,
                                         .random = &qn_random_system,
                                         .report = r->report,
                                         .threads = (uint32_t)r->opt.threads,
                                         .load = &r->load,
                                         .stage = r->opt.stage};

    QN_TRY(qn_serve_check(&g->plan->serve, r->opt.http, &qn_files_system, err));
    QN_TRY(qn_metrics_new(&g->metrics, err));
    service.metrics = g->metrics;
    QN_TRY(qn_service_new(g->plan, &service, &g->service, err));
    QN_TRY(qn_service_start(g->service, err));
    return begin_http(c, r, err);
}

/* Ends what runs and keeps the plan. */
static qn_status end(struct running *r, struct qn_err *err)
{
    struct generation *g = &r->now;
    qn_status rc = QN_OK;

    qn_serve_stop(g->serve, r->opt.drain_us / 1000); /* first: its requests need the service */
    if (g->service != NULL)
        rc = qn_service_stop(g->service, r->opt.drain_us / 1000, err);
    qn_service_free(g->service);
    qn_metrics_free(g->metrics);
    g->serve = NULL;
    g->service = NULL;
    g->metrics = NULL;
    return rc;
}

/* NULL where the spec has mistakes, which are told: *exit_code says how. */
static struct qn_plan *load_plan(struct qn_cli *c, const char *path, struct generation *g,
                                 int *exit_code)
{
    struct qn_err err = {0};

    g->arena = qn_mem_zalloc(1, sizeof *g->arena);
    if (g->arena == NULL) {
        qn_err_set(&err, QN_NOMEM, "out of memory for the spec");
        *exit_code = qn_cli_fail(c, &err);
        return NULL;
    }
    return g->plan = qn_cli_plan_in(c, path, g->arena, exit_code);
}

static void forget_plan(struct generation *g)
{
    qn_plan_free(g->plan);
    if (g->arena != NULL)
        qn_arena_fini(g->arena);
    qn_mem_free(g->arena);
    *g = (struct generation){0};
}

/* ---- reading the spec again ------------------------------------------------------------------*/

/* Until its state is rebuilt. False where that failed: the log does not reach back, say. */
static bool has_started(struct qn_cli *c, struct running *r, struct qn_err *err)
{
    while (qn_service_phase(r->now.service) == QN_PHASE_STARTING && !*c->stop)
        sleep_ms(WAIT_MS);
    return !qn_service_failure(r->now.service, err);
}

static bool is_other_log(const struct qn_plan *a, const struct qn_plan *b)
{
    if (a->kafka.target.brokers != NULL && b->kafka.target.brokers != NULL)
        return strcmp(a->kafka.target.brokers, b->kafka.target.brokers) != 0 ||
               strcmp(a->kafka.group, b->kafka.group) != 0;
    return a->storage.dir == NULL || b->storage.dir == NULL ||
           strcmp(a->storage.dir, b->storage.dir) != 0;
}

/* The new spec takes over, or the old one goes on. QN_OK: one of them runs. */
static qn_status take_over(struct qn_cli *c, struct running *r, struct generation *next,
                           struct qn_err *err)
{
    struct generation before;
    struct qn_err why = {0};

    (void)end(r, &why);
    before = r->now;
    r->now = *next;
    if (begin(c, r, &why) == QN_OK && has_started(c, r, &why)) {
        forget_plan(&before);
        qn_report_say(r->report, QN_LEVEL_INFO, "run", "the new spec runs spec=%016llx",
                      (unsigned long long)r->now.plan->version);
        return QN_OK;
    }
    qn_report_err(r->report, QN_LEVEL_ERROR, "run", &why);
    qn_report_say(r->report, QN_LEVEL_ERROR, "run", "the new spec cannot run: the old one goes on");
    (void)end(r, &why);
    forget_plan(&r->now);
    r->now = before;
    return begin(c, r, err);
}

static qn_status reload(struct qn_cli *c, struct running *r, struct qn_err *err)
{
    struct generation next = {0};
    struct qn_err why = {0};
    qn_status rc = QN_OK;
    int code;

    *c->reload = 0;
    qn_notify_reloading(r->notify, c->clock);
    qn_report_anew(r->report);
    qn_report_say(r->report, QN_LEVEL_INFO, "run", "reading %s again", r->path);
    if (load_plan(c, r->path, &next, &code) == NULL || is_other_log(next.plan, r->now.plan)) {
        qn_report_say(r->report, QN_LEVEL_ERROR, "run", "%s; the old spec goes on",
                      next.plan == NULL ? "the spec has mistakes"
                                        : "another log needs another process");
        forget_plan(&next);
    } else if (qn_serve_check(&next.plan->serve, r->opt.http, &qn_files_system, &why) != QN_OK ||
               qn_service_check(next.plan, c->clock, &qn_random_system, &why) != QN_OK) {
        qn_report_err(r->report, QN_LEVEL_ERROR, "run", &why);
        qn_report_say(r->report, QN_LEVEL_ERROR, "run", "the old spec goes on");
        forget_plan(&next);
    } else {
        rc = take_over(c, r, &next, err);
    }
    qn_notify_ready(r->notify);
    return rc;
}

/* ---- the whole -------------------------------------------------------------------------------*/

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
        uint64_t beats = qn_service_beats(r->now.service);

        if (beats != r->beats ||
            phase == QN_PHASE_STARTING) /* else the engine hangs: say nothing */
            qn_notify_watchdog(r->notify);
        r->beats = beats;
        r->alive_ns = now;
    }
    r->phase = phase;
}

/* Until somebody wants it to end. */
static qn_status wait_for_the_end(struct qn_cli *c, struct running *r, struct qn_err *err)
{
    enum qn_phase phase;
    qn_status rc = QN_OK;

    while (rc == QN_OK && !*c->stop &&
           (phase = qn_service_phase(r->now.service)) != QN_PHASE_FAILED) {
        tell_manager(c, r, phase);
        if (*c->reload)
            rc = reload(c, r, err);
        else
            sleep_ms(WAIT_MS);
    }
    qn_notify_stopping(r->notify);
    return rc;
}

/* Told to stop, and still at work: requests that are on their way here arrive in time. */
static void linger(struct qn_cli *c, struct running *r)
{
    const int64_t until = c->clock->mono_ns(c->clock->st) + r->opt.delay_us * 1000;

    if (r->now.serve == NULL || r->opt.delay_us == 0)
        return;
    qn_serve_leave(r->now.serve);
    qn_report_say(r->report, QN_LEVEL_INFO, "run", "not ready any more, and stopping in %.3g s",
                  (double)r->opt.delay_us / 1e6);
    while (c->clock->mono_ns(c->clock->st) < until &&
           qn_service_phase(r->now.service) != QN_PHASE_FAILED) {
        tell_manager(c, r, qn_service_phase(r->now.service));
        sleep_ms(WAIT_MS);
    }
}

static int leave(struct qn_cli *c, struct running *r)
{
    struct qn_err err = {0};
    qn_status rc = end(r, &err);

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

static qn_status set_up(struct qn_cli *c, struct running *r, struct qn_err *err)
{
    QN_TRY(qn_report_new(c->err, (enum qn_report_form)r->opt.log_format,
                         (enum qn_level)r->opt.log_level, c->clock, &r->report, err));
    QN_TRY(qn_notify_open(qn_cli_variable(c, "NOTIFY_SOCKET"), &r->notify, err));
    r->watchdog_ns = 500 * qn_notify_watchdog_us(qn_cli_variable(c, "WATCHDOG_USEC"),
                                                 qn_cli_variable(c, "WATCHDOG_PID"), getpid());
    if (!c->catch_hangup())
        return qn_err_set(err, QN_IO, "cannot set up the signal SIGHUP");
    return begin(c, r, err);
}

int qn_cmd_run(struct qn_cli *c, int argc, char **argv)
{
    struct running r = {0};
    struct qn_option_list rest;
    struct qn_err err = {0};
    int code;

    if (!qn_cli_options(c, &qn_usage_run, argc, argv, &r.opt, &rest, &code))
        return code;
    r.path = rest.items[0];
    /* Also while it is told to stop: what is under way is finished. */
    r.load = (struct qn_plan_options){.files = &qn_files_system, .environment = c->environment};
    if (load_plan(c, r.path, &r.now, &code) == NULL) {
        forget_plan(&r.now);
        return code;
    }
    if (set_up(c, &r, &err) == QN_OK && wait_for_the_end(c, &r, &err) == QN_OK) {
        linger(c, &r);
        code = leave(c, &r);
    } else {
        code = qn_cli_fail(c, &err);
        (void)end(&r, NULL);
    }
    forget_plan(&r.now);
    qn_report_free(r.report);
    qn_notify_close(r.notify);
    return code;
}
