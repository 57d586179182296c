/* SPDX-License-Identifier: Apache-2.0
 * test_report.c - the program's own log on a clock of its own: both forms, fields, what is held
 * back and when it is told, lines of several threads whole. */
#include "base/json.h"
#include "base/memory.h"
#include "monitor/report.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t now_ns;

static int64_t fake_wall(void *st)
{
    return INT64_C(1777629600123456) + now_ns / 1000; /* 2026-05-01T10:00:00.123456Z */
}

static int64_t fake_mono(void *st)
{
    return now_ns;
}

static const struct qn_clock fake = {fake_wall, fake_mono, NULL};

/* A report that writes into a file without a name, and what was written since the last look. */
struct sink {
    FILE *file;
    struct qn_report *r;
    off_t seen;
    char text[65536];
};

static void sink_open(struct sink *k, enum qn_report_form form, enum qn_level least)
{
    memset(k, 0, sizeof(*k));
    now_ns = 0;
    k->file = tmpfile();
    assert_non_null(k->file);
    assert_int_equal(qn_report_new(fileno(k->file), form, least, &fake, &k->r, NULL), QN_OK);
}

static const char *sink_text(struct sink *k)
{
    ssize_t n = pread(fileno(k->file), k->text, sizeof k->text - 1, k->seen);

    assert_true(n >= 0);
    k->seen += n;
    k->text[n] = '\0';
    return k->text;
}

static void sink_close(struct sink *k)
{
    qn_report_free(k->r);
    assert_string_equal(sink_text(k), "");
    fclose(k->file);
}

static void test_text(void **state)
{
    struct qn_err err = {0};
    struct sink k;

    sink_open(&k, QN_REPORT_TEXT, QN_LEVEL_INFO);
    qn_report_say(k.r, QN_LEVEL_INFO, "log", "recovered torn=%d bytes=%d", 0, 1024);
    qn_report_say(k.r, QN_LEVEL_DEBUG, "log", "not this one");
    now_ns += 1000000;
    qn_report_say(k.r, QN_LEVEL_ERROR, "http", "a line\nof %s \x1b[1m", "two");
    qn_err_set(&err, QN_CORRUPT, "frame is damaged");
    qn_err_at(&err, "data/0000.qlog", 0, 0);
    err.has_offset = true;
    err.offset = 4096;
    qn_report_err(k.r, QN_LEVEL_WARN, "log", &err);
    qn_err_set(&err, QN_INVALID, "unknown key 'x'");
    qn_err_at(&err, "a.yaml", 3, 7);
    qn_report_err(k.r, QN_LEVEL_WARN, "spec", &err);
    assert_string_equal(sink_text(&k),
                        "2026-05-01T10:00:00.123Z info  log: recovered torn=0 bytes=1024\n"
                        "2026-05-01T10:00:00.124Z error http: a line?of two ?[1m\n"
                        "2026-05-01T10:00:00.124Z warn  log: data/0000.qlog: frame is damaged "
                        "(byte 4096)\n"
                        "2026-05-01T10:00:00.124Z warn  spec: a.yaml:3:7: unknown key 'x'\n");
    sink_close(&k);
    qn_report_say(NULL, QN_LEVEL_ERROR, "log", "nobody");
    qn_report_err(NULL, QN_LEVEL_ERROR, "log", &err);
    qn_report_free(NULL);
}

static void test_json(void **state)
{
    struct qn_err err = {0};
    struct sink k;

    sink_open(&k, QN_REPORT_JSON, QN_LEVEL_DEBUG);
    qn_report_say(k.r, QN_LEVEL_INFO, "log", "recovered torn=%d bytes=%d", 0, 1024);
    qn_report_say(k.r, QN_LEVEL_DEBUG, "sink",
                  "x=1 is not a field, \"this\" is: why=\"a b\" to=%s n=1e", "http://h/?a=b");
    qn_report_say(k.r, QN_LEVEL_INFO, "sink", "twice a=1 a=2");
    qn_report_say(k.r, QN_LEVEL_INFO, "sink", "ours level=9 v=0x1 w=-1.5");
    qn_err_set(&err, QN_INVALID, "no field here a=1");
    qn_err_at(&err, "a.yaml", 3, 7);
    qn_report_err(k.r, QN_LEVEL_WARN, "spec", &err);
    assert_string_equal(
        sink_text(&k),
        "{\"time\":\"2026-05-01T10:00:00.123Z\",\"level\":\"info\",\"room\":\"log\","
        "\"text\":\"recovered\",\"torn\":0,\"bytes\":1024}\n"
        "{\"time\":\"2026-05-01T10:00:00.123Z\",\"level\":\"debug\",\"room\":\"sink\","
        "\"text\":\"x=1 is not a field, \\\"this\\\" is: why=\\\"a b\\\" to=http://h/?a=b\","
        "\"n\":\"1e\"}\n"
        "{\"time\":\"2026-05-01T10:00:00.123Z\",\"level\":\"info\",\"room\":\"sink\","
        "\"text\":\"twice a=1\",\"a\":2}\n"
        "{\"time\":\"2026-05-01T10:00:00.123Z\",\"level\":\"info\",\"room\":\"sink\","
        "\"text\":\"ours level=9\",\"v\":\"0x1\",\"w\":-1.5}\n"
        "{\"time\":\"2026-05-01T10:00:00.123Z\",\"level\":\"warn\",\"room\":\"spec\","
        "\"text\":\"no field here a=1\",\"code\":\"invalid\",\"file\":\"a.yaml\",\"line\":3,"
        "\"column\":7}\n");
    sink_close(&k);
}

/* 5 lines of a kind in 10 s; what was held back is told by whichever line comes after them. */
static void test_limit(void **state)
{
    struct sink k;

    sink_open(&k, QN_REPORT_TEXT, QN_LEVEL_INFO);
    for (int i = 0; i < 42; i++)
        qn_report_say(k.r, QN_LEVEL_WARN, "sink", "refused n=%d", i);
    qn_report_say(k.r, QN_LEVEL_WARN, "http", "refused n=%d", 42); /* another room */
    assert_string_equal(sink_text(&k), "2026-05-01T10:00:00.123Z warn  sink: refused n=0\n"
                                       "2026-05-01T10:00:00.123Z warn  sink: refused n=1\n"
                                       "2026-05-01T10:00:00.123Z warn  sink: refused n=2\n"
                                       "2026-05-01T10:00:00.123Z warn  sink: refused n=3\n"
                                       "2026-05-01T10:00:00.123Z warn  sink: refused n=4\n"
                                       "2026-05-01T10:00:00.123Z warn  http: refused n=42\n");
    now_ns += INT64_C(9999999999);
    qn_report_say(k.r, QN_LEVEL_INFO, "http", "not yet");
    assert_null(strstr(sink_text(&k), "more like this"));
    now_ns += 1;
    qn_report_say(k.r, QN_LEVEL_INFO, "http", "now");
    assert_string_equal(sink_text(&k),
                        "2026-05-01T10:00:10.123Z warn  sink: refused n=41 (37 more like this)\n"
                        "2026-05-01T10:00:10.123Z info  http: now\n");
    qn_report_say(k.r, QN_LEVEL_WARN, "sink", "refused n=%d", 43);
    assert_string_equal(sink_text(&k), "2026-05-01T10:00:10.123Z warn  sink: refused n=43\n");
    sink_close(&k);
}

/* Somebody asked: what was held back goes out first, then every line of the answer is written. */
static void test_anew(void **state)
{
    struct sink k;

    sink_open(&k, QN_REPORT_TEXT, QN_LEVEL_INFO);
    for (int i = 0; i < 6; i++)
        qn_report_say(k.r, QN_LEVEL_INFO, "run", "answer n=%d", i);
    assert_null(strstr(sink_text(&k), "n=5"));
    qn_report_anew(k.r);
    qn_report_say(k.r, QN_LEVEL_INFO, "run", "answer n=%d", 6);
    assert_string_equal(sink_text(&k),
                        "2026-05-01T10:00:00.123Z info  run: answer n=5 (1 more like this)\n"
                        "2026-05-01T10:00:00.123Z info  run: answer n=6\n");
    qn_report_anew(NULL);
    sink_close(&k);
}

static void test_limit_at_the_end(void **state)
{
    struct qn_err err = {0};
    struct sink k;

    sink_open(&k, QN_REPORT_JSON, QN_LEVEL_INFO);
    for (int i = 0; i < 7; i++) {
        qn_err_set(&err, QN_IO, "cannot read, try %d", i); /* one code, one kind */
        qn_report_err(k.r, QN_LEVEL_ERROR, "log", &err);
    }
    assert_null(strstr(sink_text(&k), "more"));
    qn_report_free(k.r);
    k.r = NULL;
    assert_string_equal(
        sink_text(&k),
        "{\"time\":\"2026-05-01T10:00:00.123Z\",\"level\":\"error\",\"room\":\"log\","
        "\"text\":\"cannot read, try 6\",\"more\":2}\n");
    sink_close(&k);
}

/* More kinds than there is room for: the oldest gives way and loses nothing. */
static void test_many_kinds(void **state)
{
    static const char *const rooms[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"};
    static const char *const formats[] = {"0 %d", "1 %d", "2 %d", "3 %d", "4 %d",
                                          "5 %d", "6 %d", "7 %d", "8 %d", "9 %d"};
    unsigned lines = 0, more = 0;
    struct sink k;

    sink_open(&k, QN_REPORT_TEXT, QN_LEVEL_INFO);
    for (size_t room = 0; room < 12; room++)
        for (size_t f = 0; f < 10; f++)
            for (int i = 0; i < 8; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                qn_report_say(k.r, QN_LEVEL_INFO, rooms[room], formats[f], i);
#pragma GCC diagnostic pop
            }
    qn_report_free(k.r);
    k.r = NULL;
    for (const char *p = sink_text(&k); *p != '\0'; p = strchr(p, '\n') + 1) {
        const char *held = strstr(p, "(3 more like this)");

        if (held != NULL && held < strchr(p, '\n'))
            more++;
        else
            lines++;
    }
    assert_int_equal(lines, 12 * 10 * 5);
    assert_int_equal(more, 12 * 10);
    sink_close(&k);
}

/* The one line that was written is JSON; the length of its text. */
static uint32_t text_bytes(struct sink *k)
{
    struct qn_arena arena = {0};
    struct qn_json_reader reader;
    enum qn_json_kind kind;
    uint32_t bytes = 0;

    qn_json_open(&reader, qn_str_of(sink_text(k)), &arena);
    while ((kind = qn_json_next(&reader)) != QN_JSON_END) {
        assert_int_not_equal(kind, QN_JSON_ERROR);
        if (kind == QN_JSON_STRING && qn_str_is(reader.key, "text"))
            bytes = reader.text.len;
    }
    qn_arena_fini(&arena);
    return bytes;
}

static void test_long_lines(void **state)
{
    static char wide[4096], hard[4096];
    struct sink k;

    for (size_t i = 0; i + 2 < sizeof wide; i += 2)
        memcpy(wide + i, "\xc3\xa9", 2);
    memset(hard, 1, sizeof hard - 1);         /* six bytes each in JSON */
    for (int shift = 0; shift < 2; shift++) { /* the cut falls before and inside of a character */
        sink_open(&k, QN_REPORT_JSON, QN_LEVEL_INFO);
        qn_report_say(k.r, QN_LEVEL_INFO, "log", "%s%s", shift > 0 ? "x" : "", wide);
        assert_in_range(text_bytes(&k), 2044, 2048);
        assert_null(strstr(k.text, "\xef\xbf\xbd")); /* no half character */
        qn_report_say(k.r, QN_LEVEL_INFO, "log", "x%s", hard);
        assert_in_range(text_bytes(&k), 2044, 2048);
        sink_close(&k);
    }
}

static void test_no_allocation(void **state)
{
    struct qn_report *r;
    uint64_t before;
    struct sink k;

    for (uint64_t n = 1; n <= 2; n++) {
        qn_mem_fail_at(n, false);
        assert_int_equal(qn_report_new(2, QN_REPORT_TEXT, QN_LEVEL_INFO, &fake, &r, NULL),
                         QN_NOMEM);
    }
    qn_mem_fail_at(0, false);
    sink_open(&k, QN_REPORT_JSON, QN_LEVEL_INFO);
    before = qn_mem_count();
    for (int i = 0; i < 20; i++)
        qn_report_say(k.r, QN_LEVEL_INFO, "log", "%d\x01%c", i, '"');
    assert_int_equal(qn_mem_count(), before);
    now_ns += INT64_C(20) * 1000000000;
    qn_report_say(k.r, QN_LEVEL_INFO, "log", "end");
    sink_text(&k);
    sink_close(&k);
}

enum { THREADS = 4, LINES = 5 };

struct sayer {
    struct qn_report *r;
    char room[2];
};

static void *say_main(void *arg)
{
    const struct sayer *me = arg;

    for (int i = 0; i < LINES; i++)
        qn_report_say(me->r, QN_LEVEL_INFO, me->room, "line %d of thread=%s", i, me->room);
    return NULL;
}

static void test_threads(void **state)
{
    struct sayer sayers[THREADS];
    pthread_t ids[THREADS];
    unsigned lines = 0;
    struct sink k;

    sink_open(&k, QN_REPORT_TEXT, QN_LEVEL_INFO);
    for (int i = 0; i < THREADS; i++) {
        sayers[i] = (struct sayer){k.r, {(char)('a' + i), '\0'}};
        assert_int_equal(pthread_create(&ids[i], NULL, say_main, &sayers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    for (const char *p = sink_text(&k); *p != '\0'; p = strchr(p, '\n') + 1, lines++) {
        char room, twin;
        int line, used = 0;

        sscanf(p, "%*s info %c: line %d of thread=%c%n", &room, &line, &twin, &used);
        assert_true(used > 0 && p[used] == '\n');
        assert_int_equal(room, twin);
    }
    assert_int_equal(lines, THREADS * LINES);
    sink_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),       cmocka_unit_test(test_json),
        cmocka_unit_test(test_limit),      cmocka_unit_test(test_limit_at_the_end),
        cmocka_unit_test(test_anew),       cmocka_unit_test(test_many_kinds),
        cmocka_unit_test(test_long_lines), cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
