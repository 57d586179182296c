/* SPDX-License-Identifier: Apache-2.0
 * bench_service.c - the engine of a running service from log to log: events a second until the last
 * prediction is durable.
 *
 *   bench_service SPEC EVENTS [THREADS]     EVENTS: NDJSON of the spec's main stream
 *
 * Fills the spec's log (its folder must not be there yet) by appends of APPEND_ROWS events, then
 * starts the service on it and waits for the predictions. The filling is not measured; CPU is that
 * of all threads. A log that has come to its `keep` uses the files of removed segments again, and
 * so does this one: SPARES files wait for it, else writing zeros to new segments would be measured.
 * One JSON object on stdout. Not a test: it only prints. */
#include "engine/service.h"
#include "monitor/report.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { APPEND_ROWS = 1000, FILE_MAX = 1 << 30, POLL_US = 2000, SPARES = 8, BLOCK = 1 << 20 };

struct cost {
    double wall, cpu;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_service: %s\n", what);
    exit(1);
}

static struct cost cost_now(void)
{
    struct timespec t;
    struct rusage u;

    clock_gettime(CLOCK_MONOTONIC, &t);
    getrusage(RUSAGE_SELF, &u);
    return (struct cost){(double)t.tv_sec + (double)t.tv_nsec / 1e9,
                         (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                             (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6};
}

static struct qn_plan *load(const char *path, struct qn_arena *arena)
{
    const struct qn_plan_options opt = {.files = &qn_files_system,
                                        .environment = (const char *const *)environ};
    struct qn_diags diags = {.arena = arena};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};

    if (qn_plan_load(path, &opt, arena, &diags, &plan, &err) != QN_OK)
        die(diags.count > 0 ? diags.list[0].text : err.text);
    return plan;
}

/* What is left of removed segments, as the log would find it. */
static void make_spares(const struct qn_plan *plan)
{
    static char block[BLOCK];
    char path[4096];

    memset(block, 0x5a, sizeof block);
    for (int i = 0; i < SPARES; i++) {
        int fd;

        snprintf(path, sizeof path, "%s/%020d.spare", plan->storage.dir, i);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        for (uint64_t at = 0; fd >= 0 && at < plan->storage.segment_bytes; at += BLOCK)
            if (write(fd, block, BLOCK) != BLOCK)
                die("cannot write a spare segment");
        if (fd < 0 || fsync(fd) != 0 || close(fd) != 0)
            die("cannot make a spare segment");
    }
}

/* One append after the other, each durable. */
static uint64_t fill(struct qn_plan *plan, const char *path)
{
    const struct qn_log_options opt = {.segment_bytes = plan->storage.segment_bytes};
    struct qn_log_recovery found;
    struct qn_log_append *a;
    struct qn_buf b = {0};
    struct qn_err err;
    struct qn_log *lg;
    uint64_t events = 0;
    uint32_t topic;

    if (qn_file_read_all(&qn_files_system, path, FILE_MAX, &b, &err) != QN_OK ||
        qn_log_open(plan->storage.dir, &opt, &lg, &found, &err) != QN_OK ||
        qn_log_topic(lg, plan->schemas[plan->main_stream].name, true, &topic, &err) != QN_OK ||
        qn_log_append_new(lg, &a, &err) != QN_OK)
        die(err.text);
    if (!found.is_new)
        die("the spec's log is there already");
    for (const char *p = b.data, *end = p + b.len; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const char *stop = nl != NULL ? nl : end;
        const struct qn_log_record r = {.value = {p, (uint32_t)(stop - p)},
                                        .time_us = QN_LOG_NO_TIME};

        if (qn_log_append_record(a, topic, QN_LOG_RECORDS, &r, &err) != QN_OK)
            die(err.text);
        p = stop + 1;
        events++;
        if (p < end && qn_log_append_records(a) < APPEND_ROWS)
            continue;
        if (qn_log_commit(lg, a, NULL, &err) != QN_OK)
            die(err.text);
        qn_log_append_reset(a);
    }
    qn_log_append_free(a);
    if (qn_log_close(lg, &err) != QN_OK)
        die(err.text);
    qn_buf_fini(&b);
    return events;
}

/* Durable records of the outputs that take every event: predictions, and dead letters. */
static uint64_t answered(struct qn_service *sv)
{
    struct qn_log_topic_info predictions, dead;

    qn_log_topic_info(qn_service_log(sv), qn_service_output_topic(sv, 0), &predictions);
    qn_log_topic_info(qn_service_log(sv), qn_service_dead_topic(sv), &dead);
    return predictions.next + dead.next;
}

static void measure(struct qn_plan *plan, uint64_t events, uint32_t threads)
{
    struct qn_service_options opt = {.files = &qn_files_system,
                                     .clock = &qn_clock_system,
                                     .random = &qn_random_system,
                                     .threads = threads};
    struct qn_log_ends before, after;
    struct qn_log_topic_info out;
    struct cost start, end;
    struct qn_service *sv;
    struct qn_err err = {0};

    if (qn_metrics_new(&opt.metrics, &err) != QN_OK ||
        qn_report_new(STDERR_FILENO, QN_REPORT_TEXT, QN_LEVEL_WARN, opt.clock, &opt.report, &err) !=
            QN_OK ||
        qn_service_new(plan, &opt, &sv, &err) != QN_OK)
        die(err.text);
    qn_log_ends(qn_service_log(sv), &before);
    start = cost_now();
    if (qn_service_start(sv, &err) != QN_OK)
        die(err.text);
    while (answered(sv) < events && !qn_service_failure(sv, &err))
        usleep(POLL_US);
    end = cost_now();
    if (qn_service_failure(sv, &err))
        die(err.text);
    qn_log_ends(qn_service_log(sv), &after);
    qn_log_topic_info(qn_service_log(sv), qn_service_output_topic(sv, 0), &out);
    printf("{\"threads\":%u,\"events\":%llu,\"predictions\":%llu,\"wall\":%.4f,\"cpu\":%.4f,"
           "\"bytes_out\":%llu,\"syncs\":%llu}\n",
           threads, (unsigned long long)events, (unsigned long long)out.next, end.wall - start.wall,
           end.cpu - start.cpu, (unsigned long long)(after.append_bytes - before.append_bytes),
           (unsigned long long)(after.syncs - before.syncs));
    if (qn_service_stop(sv, 60000, &err) != QN_OK)
        die(err.text);
    qn_service_free(sv);
    qn_report_free(opt.report);
    qn_metrics_free(opt.metrics);
}

int main(int argc, char **argv)
{
    struct qn_arena arena;
    struct qn_plan *plan;
    uint64_t events;

    if (argc < 3)
        die("usage: bench_service SPEC EVENTS [THREADS]");
    qn_arena_init(&arena, 0);
    plan = load(argv[1], &arena);
    if (plan->storage.dir == NULL)
        die("the spec names no log");
    events = fill(plan, argv[2]);
    make_spares(plan);
    measure(plan, events, argc > 3 ? (uint32_t)atoi(argv[3]) : 1);
    qn_plan_free(plan);
    qn_arena_fini(&arena);
    return 0;
}
