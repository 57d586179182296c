/* SPDX-License-Identifier: Apache-2.0
 * tool_log.c - a small program to be killed: appends numbered events to a log from several threads
 * and prints each number when it was acknowledged; or checks what a log holds.
 *
 *   tool_log append DIR THREADS          forever; thread t goes on numbering in "topic t"
 *   tool_log check DIR                   prints "topic NAME COUNT" per topic; 1 when it is damaged
 *
 * Prints "t number" lines, each with one write: a line that arrived was acknowledged before. */
#include "log/log_local.h"

#include "base/check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS_MAX = 8, VALUE_BYTES = 3000 };

static struct qn_log *lg;

struct worker {
    uint32_t topic, index;
    pthread_t thread;
};

static void die(const struct qn_err *err)
{
    fprintf(stderr, "tool_log: %s: %s\n", err->file, err->text);
    _exit(1);
}

/* The value of event number i: a length and bytes that follow from it. */
static uint32_t make_value(uint64_t i, char *out)
{
    uint32_t n = 16 + (uint32_t)(i * 2654435761U % (i % 11 == 0 ? VALUE_BYTES - 16 : 200));

    memset(out, (int)('a' + i % 26), n);
    snprintf(out, 17, "%016llu", (unsigned long long)i);
    out[16] = (char)('a' + i % 26);
    return n;
}

static void *append_main(void *arg)
{
    struct worker *me = arg;
    struct qn_log_append *a;
    struct qn_log_topic_info info;
    struct qn_err err = {0};
    char value[VALUE_BYTES + 32], line[64];
    uint64_t i;

    qn_log_topic_info(lg, me->topic, &info);
    if (qn_log_append_new(lg, &a, &err) != QN_OK)
        die(&err);
    for (i = info.next;;) {
        uint32_t events = 1 + (uint32_t)(i % 5);

        qn_log_append_reset(a);
        for (uint32_t k = 0; k < events; k++) {
            struct qn_log_record r = {.value = {value, make_value(i + k, value)},
                                      .time_us = (int64_t)i};

            if (qn_log_append_record(a, me->topic, QN_LOG_RECORDS, &r, &err) != QN_OK)
                die(&err);
        }
        if (qn_log_append_commit(a, me->index, i + events, (struct qn_str){value, 16}, &err) !=
                QN_OK ||
            qn_log_commit(lg, a, NULL, &err) != QN_OK)
            die(&err);
        i += events;
        if (write(STDOUT_FILENO, line,
                  (size_t)snprintf(line, sizeof line, "%u %llu\n", me->index,
                                   (unsigned long long)i)) < 0)
            _exit(0);
    }
    return NULL;
}

static int append(const char *dir, uint32_t threads)
{
    const struct qn_log_options opt = {.segment_bytes = 512 * 1024, .may_be_volatile = false};
    struct qn_log_options anywhere = opt;
    struct worker list[THREADS_MAX] = {0};
    struct qn_err err = {0};
    qn_status rc = qn_log_open(dir, &opt, &lg, NULL, &err);

    if (rc == QN_UNSUPPORTED) { /* a scratch folder in memory: kill -9 needs no disk */
        anywhere.may_be_volatile = true;
        rc = qn_log_open(dir, &anywhere, &lg, NULL, &err);
    }
    if (rc != QN_OK)
        die(&err);
    for (uint32_t t = 0; t < threads; t++) {
        char name[20];

        snprintf(name, sizeof name, "topic %u", t);
        list[t].index = t;
        if (qn_log_topic(lg, qn_str_of(name), true, &list[t].topic, &err) != QN_OK)
            die(&err);
    }
    for (uint32_t t = 0; t < threads; t++)
        QN_ASSERT(pthread_create(&list[t].thread, NULL, append_main, &list[t]) == 0);
    for (uint32_t t = 0; t < threads; t++)
        pthread_join(list[t].thread, NULL);
    return 0;
}

static void say_finding(void *arg, const struct qn_err *err)
{
    die(err);
}

static int check(const char *dir)
{
    const struct qn_log_options opt = {.is_read_only = true};
    const struct qn_log_selection what = {0};
    static struct qn_log_record out[1000];
    struct qn_log_reader *r;
    struct qn_log_check result;
    struct qn_err err = {0};
    uint64_t next[THREADS_MAX] = {0};
    enum qn_flow flow;
    uint32_t n;

    if (qn_log_open(dir, &opt, &lg, NULL, &err) != QN_OK ||
        qn_log_reader_new(lg, &what, &r, &err) != QN_OK)
        die(&err);
    do {
        if (qn_log_reader_next(r, out, 1000, &n, &flow, &err) != QN_OK)
            die(&err);
        for (uint32_t i = 0; i < n; i++) {
            char value[VALUE_BYTES + 32];
            uint32_t len = make_value(next[out[i].topic], value);

            if (out[i].offset != next[out[i].topic]++ || out[i].value.len != len ||
                memcmp(out[i].value.p, value, len) != 0) {
                fprintf(stderr, "tool_log: topic %u: record %llu is wrong\n", out[i].topic,
                        (unsigned long long)out[i].offset);
                return 1;
            }
        }
        qn_log_reader_release(r);
    } while (flow == QN_MORE);
    qn_log_reader_free(r);
    if (qn_log_verify(lg, say_finding, NULL, &result, &err) != QN_OK)
        die(&err);
    for (uint32_t t = 0; t < qn_log_topic_count(lg); t++) {
        struct qn_log_topic_info info;

        qn_log_topic_info(lg, t, &info);
        printf("%.*s %llu\n", QN_STR_ARG(info.name), (unsigned long long)info.next);
    }
    return qn_log_close(lg, &err) == QN_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "append") == 0 && atoi(argv[3]) >= 1 &&
        atoi(argv[3]) <= THREADS_MAX)
        return append(argv[2], (uint32_t)atoi(argv[3]));
    if (argc == 3 && strcmp(argv[1], "check") == 0)
        return check(argv[2]);
    fprintf(stderr, "usage: tool_log append DIR THREADS | check DIR\n");
    return 2;
}
