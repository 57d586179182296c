/* SPDX-License-Identifier: Apache-2.0
 * test_log_local_threads.c - the log with its threads on a real folder: several appenders in one
 * frame, readers beside them, a bounded queue, a second process's door closed, a clean end. */
#include "log/log_local.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dirent.h>

#include <cmocka.h>

enum { APPENDERS = 4, APPENDS = 150, SEGMENT = 256 * 1024 };

static char folder[] = "qn_test_log_XXXXXX";

static int set_up(void **state)
{
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static void empty_folder(void)
{
    DIR *d = opendir(folder);
    const struct dirent *e;
    char path[512];

    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path);
    }
    if (d != NULL)
        closedir(d);
}

static int tear_down(void **state)
{
    empty_folder();
    return rmdir(folder);
}

/* A folder of a test may lie anywhere: durability is tested with the disk in memory. */
static const struct qn_log_options options = {
    .segment_bytes = SEGMENT, .queue_bytes = 64 * 1024, .may_be_volatile = true};

static struct qn_log *open_log(void)
{
    struct qn_err err = {0};
    struct qn_log *lg;

    if (qn_log_open(folder, &options, &lg, NULL, &err) != QN_OK)
        fail_msg("%s", err.text);
    return lg;
}

struct appender {
    struct qn_log *lg;
    uint32_t topic;
    pthread_t thread;
    char failure[600];
};

/* Each has a topic of its own, so that its records must come back in its order. */
static void *append_main(void *arg)
{
    struct appender *me = arg;
    struct qn_log_append *a;
    struct qn_err err = {0};
    struct qn_log_place place;
    uint64_t next = 0;

    if (qn_log_append_new(me->lg, &a, &err) != QN_OK)
        return NULL;
    for (uint32_t i = 0; i < APPENDS; i++) {
        char value[2000];
        uint32_t records = 1 + i % 7, n = 0;

        qn_log_append_reset(a);
        memset(value, 'v', sizeof value);
        for (uint32_t k = 0; k < records; k++) {
            struct qn_log_record r = {.value = {value, 20 + (i * 131 + k) % 1900}, .time_us = i};

            snprintf(value, 20, "%u:%010llu", me->topic, (unsigned long long)(next + n++));
            if (qn_log_append_record(a, me->topic, QN_LOG_RECORDS, &r, &err) != QN_OK)
                goto out;
        }
        if (qn_log_commit(me->lg, a, &place, &err) != QN_OK)
            goto out;
        if (qn_log_append_first(a, me->topic) != next) {
            qn_err_set(&err, QN_INVALID, "first offset is not the next one");
            goto out;
        }
        next += n;
    }
out:
    snprintf(me->failure, sizeof me->failure, "%s", err.text);
    qn_log_append_free(a);
    return NULL;
}

static void *in_words(const char *text)
{
    return (void *)(uintptr_t)text;
}

/* Reads everything while it is written: every topic in order, nothing twice. */
static void *read_main(void *arg)
{
    struct appender *all = arg;
    const struct qn_log_selection what = {0};
    static struct qn_log_record out[64];
    uint64_t next[APPENDERS] = {0}, total = 0, want = 0;
    struct qn_log_reader *r;
    struct qn_err err = {0};
    int idle = 0;

    for (uint32_t i = 0; i < APPENDS; i++)
        want += (1 + i % 7) * APPENDERS;
    if (qn_log_reader_new(all->lg, &what, &r, &err) != QN_OK)
        return in_words("no reader");
    while (total < want && idle < 200) {
        enum qn_flow flow;
        uint32_t n;

        if (qn_log_reader_next(r, out, 64, &n, &flow, &err) != QN_OK)
            break;
        for (uint32_t i = 0; i < n; i++) {
            char head[32];
            int len = snprintf(head, sizeof head, "%u:%010llu", out[i].topic,
                               (unsigned long long)next[out[i].topic]++);

            if (memcmp(out[i].value.p, head, (size_t)len) != 0)
                return in_words("records out of order");
        }
        total += n;
        qn_log_reader_release(r);
        idle = n > 0 || qn_log_reader_wait(r, 100) ? 0 : idle + 1;
    }
    qn_log_reader_free(r);
    return in_words(total == want ? NULL : "not everything was read");
}

static void test_appenders_and_reader(void **state)
{
    struct qn_log *lg = open_log();
    struct appender list[APPENDERS] = {0};
    struct qn_log_check check;
    struct qn_log_ends ends;
    struct qn_err err = {0};
    pthread_t reader;
    void *wrong;

    for (uint32_t i = 0; i < APPENDERS; i++) {
        char name[20];

        snprintf(name, sizeof name, "topic %u", i);
        list[i].lg = lg;
        assert_int_equal(qn_log_topic(lg, qn_str_of(name), true, &list[i].topic, &err), QN_OK);
    }
    assert_int_equal(pthread_create(&reader, NULL, read_main, list), 0);
    for (int i = 0; i < APPENDERS; i++)
        assert_int_equal(pthread_create(&list[i].thread, NULL, append_main, &list[i]), 0);
    for (int i = 0; i < APPENDERS; i++) {
        pthread_join(list[i].thread, NULL);
        assert_string_equal(list[i].failure, "");
    }
    pthread_join(reader, &wrong);
    if (wrong != NULL)
        fail_msg("%s", (const char *)wrong);
    qn_log_ends(lg, &ends);
    assert_int_equal(ends.append_count, APPENDERS * APPENDS);
    assert_true(ends.frames <= ends.append_count);
    assert_true(ends.segments > 3);
    assert_int_equal(
        qn_log_verify(lg, (void (*)(void *, const struct qn_err *))abort, NULL, &check, &err),
        QN_OK);
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
    lg = open_log();
    wrong = read_main(&(struct appender){.lg = lg});
    if (wrong != NULL)
        fail_msg("%s", (const char *)wrong);
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
    empty_folder();
}

struct flight {
    struct qn_log_append *a;
    _Atomic int done;
    qn_status rc;
};

static void landed(void *arg, struct qn_log_append *a, qn_status rc, const struct qn_err *err)
{
    struct flight *f = arg;

    f->rc = rc;
    f->done = 1;
}

/* Submitting never waits: the queue takes what fits and refuses the rest, and everything taken is
 * told exactly once, at the latest by closing. */
static void test_queue(void **state)
{
    struct qn_log *lg = open_log();
    static struct flight list[400];
    static char value[1500];
    const struct qn_log_record r = {.value = {value, sizeof value}};
    struct qn_err err = {0};
    unsigned taken = 0, refused = 0;
    uint32_t topic;

    assert_int_equal(qn_log_topic(lg, qn_str_of("t"), true, &topic, &err), QN_OK);
    for (unsigned i = 0; i < 400; i++) {
        qn_status rc;

        assert_int_equal(qn_log_append_new(lg, &list[i].a, &err), QN_OK);
        assert_int_equal(qn_log_append_record(list[i].a, topic, QN_LOG_RECORDS, &r, &err), QN_OK);
        rc = qn_log_submit(lg, list[i].a, landed, &list[i], &err);
        if (rc == QN_OK) {
            taken++;
        } else {
            assert_int_equal(rc, QN_FULL);
            assert_true(err.retriable);
            assert_false(qn_log_is_full(lg));
            refused++;
            list[i].done = 2;
        }
    }
    assert_int_equal(taken + refused, 400);
    assert_true(taken > 0);
    /* Close waits for what was taken. */
    for (unsigned i = 0; i < 400; i++)
        while (list[i].done == 0)
            usleep(100);
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
    for (unsigned i = 0; i < 400; i++) {
        assert_true(list[i].done == 2 || list[i].rc == QN_OK);
        qn_log_append_free(list[i].a);
    }
    lg = open_log();
    {
        struct qn_log_topic_info info;

        qn_log_topic_info(lg, 0, &info);
        assert_int_equal(info.next, taken);
    }
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
    empty_folder();
}

/* Retention by the keeper alone, with a reader that keeps up. */
static void test_keeper(void **state)
{
    struct qn_log *lg = open_log();
    static char value[9000];
    const struct qn_log_record r = {.value = {value, sizeof value}};
    struct qn_log_append *a;
    struct qn_log_ends ends;
    struct qn_err err = {0};
    uint32_t topic;

    assert_int_equal(qn_log_topic(lg, qn_str_of("t"), true, &topic, &err), QN_OK);
    qn_log_retain(lg, topic, 0, 100000);
    assert_int_equal(qn_log_append_new(lg, &a, &err), QN_OK);
    for (int i = 0; i < 200; i++) {
        qn_log_append_reset(a);
        assert_int_equal(qn_log_append_record(a, topic, QN_LOG_RECORDS, &r, &err), QN_OK);
        assert_int_equal(qn_log_commit(lg, a, NULL, &err), QN_OK);
    }
    qn_log_append_free(a);
    for (int i = 0; i < 200; i++) {
        qn_log_ends(lg, &ends);
        if (ends.segments <= 2)
            break;
        usleep(50000);
    }
    assert_true(ends.segments <= 2);
    assert_true(ends.first_lsn > 0);
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
    empty_folder();
}

static void test_lock(void **state)
{
    struct qn_log *lg = open_log(), *second;
    struct qn_err err = {0};
    char words[64];

    assert_int_equal(qn_log_open(folder, &options, &second, NULL, &err), QN_DENIED);
    snprintf(words, sizeof words, "is open in process %ld", (long)getpid());
    assert_non_null(strstr(err.text, words));
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
    lg = open_log();
    assert_int_equal(qn_log_close(lg, &err), QN_OK);
    empty_folder();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appenders_and_reader),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_keeper),
        cmocka_unit_test(test_lock),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
