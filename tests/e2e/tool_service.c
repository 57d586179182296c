/* SPDX-License-Identifier: Apache-2.0
 * tool_service.c - a pipeline fed from standard input, for test_sinks.py: the service without a
 * door to the network.
 *
 *   tool_service SPEC   lines of the main stream in; "ok N" when so many are scored and durable
 *
 * The line "status" prints the status document, "stop MS" ends with that limit and prints "stopped
 * RC"; the end of the input is stop 10000. Prints "running" first. */
#include "base/number.h"
#include "engine/service.h"
#include "monitor/report.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern char **environ;

static sem_t answered;

static void done(void *arg, struct qn_ingest *in)
{
    sem_post(&answered);
}

static int fail(const char *what, const struct qn_err *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    return 1;
}

static void wait_ms(long ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static int take(struct qn_service *sv, const char *line, size_t len, unsigned long *count)
{
    struct qn_err err = {0};
    struct qn_ingest *in;
    qn_status rc;

    if (qn_ingest_new(sv, qn_service_plan(sv)->main_stream, &in, &err) != QN_OK ||
        qn_ingest_add(in, (struct qn_str){line, (uint32_t)len}, (struct qn_str){NULL, 0}, &err) !=
            QN_OK)
        return fail("event", &err);
    while ((rc = qn_ingest_submit(in, QN_INGEST_SCORED, done, NULL, &err)) == QN_FULL)
        wait_ms(1);
    if (rc != QN_OK)
        return fail("submit", &err);
    sem_wait(&answered);
    if (qn_ingest_status(in, &err) != QN_OK)
        return fail("status", &err);
    qn_ingest_free(in);
    printf("ok %lu\n", ++*count);
    return 0;
}

int main(int argc, char **argv)
{
    struct qn_arena arena = {0};
    struct qn_plan_options plan_options = {.files = &qn_files_system,
                                           .environment = (const char *const *)environ};
    struct qn_service_options opt = {.files = &qn_files_system,
                                     .clock = &qn_clock_system,
                                     .random = &qn_random_system,
                                     .threads = 1};
    struct qn_diags diags = {.arena = &arena};
    struct qn_service *sv;
    struct qn_plan *plan;
    struct qn_buf text = {0};
    struct qn_err err = {0};
    int64_t limit_ms = 10000;
    unsigned long count = 0;
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    int code = 0;

    if (argc != 2)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    sem_init(&answered, 0, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (qn_plan_load(argv[1], &plan_options, &arena, &diags, &plan, &err) != QN_OK)
        return fail(diags.count > 0 ? diags.list[0].text : "spec", &err);
    if (qn_report_new(2, QN_REPORT_TEXT, QN_LEVEL_INFO, &qn_clock_system, &opt.report, &err) !=
            QN_OK ||
        qn_metrics_new(&opt.metrics, &err) != QN_OK ||
        qn_service_new(plan, &opt, &sv, &err) != QN_OK || qn_service_start(sv, &err) != QN_OK)
        return fail("start", &err);
    while (qn_service_phase(sv) == QN_PHASE_STARTING)
        wait_ms(1);
    puts("running");
    while (code == 0 && (len = getline(&line, &room, stdin)) > 0) {
        if (strncmp(line, "stop ", 5) == 0) {
            line[strcspn(line, "\n")] = '\0';
            if (!qn_text_int64(qn_str_of(line + 5), &limit_ms))
                return 2;
            break;
        }
        if (strcmp(line, "status\n") == 0) {
            qn_buf_clear(&text);
            qn_service_status(sv, &text);
            printf("%.*s\n", (int)text.len, text.data);
            continue;
        }
        code = take(sv, line, (size_t)len - 1, &count);
    }
    printf("stopped %d\n", (int)qn_service_stop(sv, limit_ms, &err));
    qn_service_free(sv);
    qn_metrics_free(opt.metrics);
    qn_report_free(opt.report);
    qn_plan_free(plan);
    qn_arena_fini(&arena);
    qn_buf_fini(&text);
    free(line);
    return code;
}
