/* SPDX-License-Identifier: Apache-2.0
 * test_api.c - the public C API: same records however the bytes are cut, mistakes that teach,
 * limits that hold. */
#include "base/buffer.h"
#include "base/memory.h"
#include "event/schema.h"
#include "quern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char SPEC[] = "quern: 1\n"
                           "name: api\n"
                           "streams:\n"
                           "  pay:\n"
                           "    id: id\n"
                           "    time: at\n"
                           "    fields: {id: string, at: timestamp, amount: decimal(2)}\n"
                           "  other:\n"
                           "    time: at\n"
                           "    fields: {at: timestamp, id: string, seen: bool}\n"
                           "features:\n"
                           "  n: count() by id over 1h\n"
                           "  s: count() where seen of other by id over 1h\n"
                           "outputs:\n"
                           "  predictions: {include: [features]}\n";

struct got {
    struct qn_buf text;
    unsigned records;
};

static void take(void *user, const char *record, size_t bytes)
{
    struct got *g = user;

    assert_true(bytes > 2 && record[0] == '{' && record[bytes - 1] == '}');
    qn_buf_add(&g->text, record, bytes);
    qn_buf_byte(&g->text, '\n');
    g->records++;
}

static struct qn_pipeline *open_pipeline(struct got *g, uint32_t threads)
{
    struct qn_pipeline_options opt = {
        .prediction = take, .dead = take, .user = g, .threads = threads};
    struct qn_pipeline *p;
    char message[500];

    if (qn_pipeline_open_text(SPEC, sizeof SPEC - 1, "api.yaml", &opt, &p, message,
                              sizeof message) != QN_RESULT_OK)
        fail_msg("%s", message);
    return p;
}

static void feed(struct qn_pipeline *p, const char *stream, struct qn_buf *text, size_t cut)
{
    for (size_t at = 0; at < text->len; at += cut)
        assert_int_equal(qn_pipeline_feed(p, stream, text->data + at,
                                          text->len - at < cut ? text->len - at : cut),
                         QN_RESULT_OK);
}

static void test_any_cut_gives_the_same(void **state)
{
    static const size_t cuts[] = {1, 7, 64, 100000};
    struct qn_buf events = {0}, marks = {0}, want = {0};

    for (unsigned i = 0; i < 3000; i++)
        qn_buf_printf(&events,
                      "{\"id\":\"c%u\",\"at\":\"2026-01-01T00:%02u:%02uZ\",\"amount\":%u.5}%s",
                      i % 7, i / 60 % 60, i % 60, i, i % 3 ? "\n" : "\r\n\n");
    qn_buf_text(&marks, "{\"at\":\"2026-01-01T00:00:00Z\",\"id\":\"c1\",\"seen\":true}\n{broken}");
    for (unsigned i = 0; i < 4; i++) {
        struct got g = {0};
        struct qn_pipeline *p = open_pipeline(&g, 1 + i % 2);
        struct qn_pipeline_counts c;

        feed(p, "other", &marks, cuts[i]);
        assert_int_equal(qn_pipeline_flush(p), QN_RESULT_OK);
        feed(p, NULL, &events, cuts[i]);
        assert_int_equal(qn_pipeline_flush(p), QN_RESULT_OK);
        qn_pipeline_count(p, &c);
        assert_int_equal(c.read, 3002);
        assert_int_equal(c.dead, 1);
        assert_int_equal(c.scored + c.late + c.dead + c.shed, c.read);
        assert_int_equal(g.records, 3001);
        if (i == 0)
            qn_buf_add(&want, g.text.data, g.text.len);
        assert_int_equal(g.text.len, want.len);
        assert_memory_equal(g.text.data, want.data, want.len);
        qn_pipeline_close(p);
        qn_buf_fini(&g.text);
    }
    assert_non_null(strstr(want.data, "\"reason\":\"bad_json\""));
    qn_buf_fini(&want);
    qn_buf_fini(&events);
    qn_buf_fini(&marks);
}

static void test_mistakes(void **state)
{
    static const char bad[] =
        "quern: 1\nname: x\nstreams:\n  s:\n    time: t\n    fields: {t: timestap}\n";
    struct qn_pipeline *p = NULL;
    struct got g = {0};
    char message[400];

    assert_int_equal(
        qn_pipeline_open_text(bad, sizeof bad - 1, "x.yaml", NULL, &p, message, sizeof message),
        QN_RESULT_SPEC);
    assert_null(p);
    assert_non_null(strstr(message, "x.yaml:6:"));
    assert_non_null(strstr(message, "timestamp"));
    assert_int_equal(qn_pipeline_open("no-such.yaml", NULL, &p, message, sizeof message),
                     QN_RESULT_WORLD);
    assert_non_null(strstr(message, "no-such.yaml"));
    p = open_pipeline(&g, 1);
    assert_int_equal(qn_pipeline_feed(p, "pray", "{}\n", 3), QN_RESULT_USAGE);
    assert_non_null(strstr(qn_pipeline_error(p), "pray"));
    qn_pipeline_close(p);
    qn_pipeline_close(NULL);
    assert_true(strlen(qn_version()) > 2);
}

static void test_an_event_too_large(void **state)
{
    size_t n = QN_EVENT_BYTES_MAX + 10;
    struct qn_buf events = {0};

    qn_buf_text(&events, "{\"id\":\"");
    for (size_t i = 0; i < n; i++)
        qn_buf_byte(&events, 'x');
    qn_buf_text(&events, "\"}\n{\"id\":\"a\",\"at\":\"2026-01-01T00:00:00Z\",\"amount\":1}\n");
    for (size_t cut = 4096; cut < 3 * n; cut *= 700) {
        struct got g = {0};
        struct qn_pipeline *p = open_pipeline(&g, 1);
        struct qn_pipeline_counts c;

        feed(p, "pay", &events, cut);
        assert_int_equal(qn_pipeline_flush(p), QN_RESULT_OK);
        qn_pipeline_count(p, &c);
        assert_int_equal(c.dead, 1);
        assert_int_equal(c.scored, 1);
        assert_non_null(strstr(g.text.data, "too_large"));
        qn_pipeline_close(p);
        qn_buf_fini(&g.text);
    }
    qn_buf_fini(&events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut_gives_the_same),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_an_event_too_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
