/* SPDX-License-Identifier: Apache-2.0
 * test_demo_view.c - the demo's screen: nothing wraps or overflows on any size of terminal, no
 * escape without color, numbers shown as they are. */
#include "cli/demo_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* A run with alerts: the newest is number 8 (customer 100 + 8). */
static struct qn_demo_state state_of_run(void)
{
    struct qn_demo_state s = {
        .name = "card-fraud", .customers = 5000, .terminals = 10000, .features = 14, .trees = 100};

    s.threads = 1;
    s.events = 1234567;
    s.events_end = 2000000;
    s.counts.verdict[QN_SCORED] = 1234567;
    s.first_us = INT64_C(1522540831000000);
    s.time_us = s.first_us + INT64_C(100) * 86400 * 1000000;
    s.elapsed_ns = INT64_C(10000000000);
    s.busy_ns = INT64_C(2000000000);
    s.rate = 150000;
    s.bytes = 20000000;
    s.bin[0] = 1230000;
    s.bin[9] = 4567;
    s.bin_fraud[9] = 4500;
    s.frauds = 9000;
    s.alerts = 9;
    s.alerts_fraud = 6;
    for (unsigned i = 1; i < 9; i++) {
        struct qn_demo_alert *al = &s.last[i % QN_DEMO_ALERTS];

        al->time_us = s.first_us;
        snprintf(al->customer, sizeof(al->customer), "%u", 100 + i);
        snprintf(al->terminal, sizeof(al->terminal), "7");
        snprintf(al->amount, sizeof(al->amount), "57.16");
        al->score = 0.75;
        al->is_fraud = i % 2 == 0;
    }
    return s;
}

/* Columns of one line: code points, escape sequences not counted. */
static unsigned columns_of(const char *p, const char *end)
{
    unsigned n = 0;

    while (p < end) {
        if (*p == '\033') {
            while (p < end && !((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')))
                p++;
            p++;
            continue;
        }
        n += ((unsigned char)*p & 0xC0) != 0x80;
        p++;
    }
    return n;
}

static void fits_every_screen(void **state)
{
    struct qn_demo_state s = state_of_run();
    struct qn_buf b = {0};

    (void)state;
    for (unsigned columns = 1; columns < 140; columns++)
        for (unsigned rows = 1; rows < 60; rows++) {
            struct qn_screen screen = {columns, rows, (rows & 1) != 0, (rows & 2) != 0};
            unsigned lines, seen = 0;
            const char *p, *end;

            qn_buf_clear(&b);
            lines = qn_demo_view_draw(&s, &screen, &b);
            assert_false(b.failed);
            assert_true(qn_utf8_valid(b.data, b.len));
            for (p = b.data; p < b.data + b.len; p = end + 1) {
                end = memchr(p, '\n', (size_t)(b.data + b.len - p));
                assert_non_null(end);
                assert_true(columns_of(p, end) <= columns);
                seen++;
            }
            assert_int_equal(seen, lines);
            if (rows >= 24)
                assert_true(lines < rows);
        }
    qn_buf_fini(&b);
}

static bool shows(const struct qn_buf *b, const char *text)
{
    return memmem(b->data, b->len, text, strlen(text)) != NULL;
}

static void shows_the_state(void **state)
{
    struct qn_screen plain = {100, 40, false, false};
    struct qn_demo_state s = state_of_run();
    struct qn_buf b = {0};

    (void)state;
    qn_demo_view_draw(&s, &plain, &b);
    assert_true(shows(&b, "1,234,567"));
    assert_true(shows(&b, " 62 %"));
    assert_true(shows(&b, "150,000/s"));
    assert_true(shows(&b, "617,283 events/s when not waiting"));
    assert_true(shows(&b, "precision 66.7 %"));
    assert_true(shows(&b, "98.5 %"));
    assert_true(shows(&b, "2018-07-10 00:00"));
    for (unsigned i = 1; i < 9; i++) {
        char customer[16];

        snprintf(customer, sizeof(customer), "  %u  ", 100 + i);
        assert_true(shows(&b, customer));
    }
    assert_true(memmem(b.data, b.len, "   108  ", 8) <
                memmem(b.data, b.len, "   107  ", 8)); /* the newest on top */
    assert_false(shows(&b, "\033[1m"));
    assert_false(shows(&b, "\033[0m"));
    for (size_t i = 0; i < b.len; i++)
        assert_true((unsigned char)b.data[i] < 128);
    qn_buf_fini(&b);
}

static void a_service_shows_where_and_how_fresh(void **state)
{
    struct qn_screen plain = {100, 40, false, false};
    struct qn_demo_state s = state_of_run();
    struct qn_buf b = {0};

    (void)state;
    s.is_service = true;
    s.url = "http://127.0.0.1:8090";
    s.age_p50_ms = 1.5;
    s.age_p99_ms = __builtin_nan("");
    s.log_bytes = 67108864;
    qn_demo_view_draw(&s, &plain, &b);
    assert_true(shows(&b, "\ndashboard  http://127.0.0.1:8090\n"));
    assert_true(shows(&b, "event age     1.50 ms at p50   - at p99   67.1 MB of log\n"));
    assert_true(shows(&b, "the last minute"));
    assert_false(shows(&b, "when not waiting"));
    assert_false(shows(&b, "of these fraud"));
    assert_true(shows(&b, "precision 66.7 %"));
    qn_buf_fini(&b);
}

static void an_empty_state_is_fine(void **state)
{
    struct qn_screen plain = {80, 24, true, true};
    struct qn_demo_state s = {.name = "card-fraud"};
    struct qn_buf b = {0};

    (void)state;
    qn_demo_view_draw(&s, &plain, &b);
    qn_demo_view_line(&s, &b);
    qn_demo_view_summary(&s, &plain, "quern", &b);
    assert_true(shows(&b, "precision -"));
    assert_false(shows(&b, "nan"));
    assert_false(shows(&b, "inf"));
    qn_buf_fini(&b);
}

static void line_and_summary(void **state)
{
    struct qn_screen plain = {80, 24, false, false};
    struct qn_demo_state s = state_of_run();
    struct qn_buf b = {0};

    (void)state;
    qn_demo_view_line(&s, &b);
    qn_buf_byte(&b, '\0');
    assert_string_equal(b.data, " 1,234,567 events  2018-07-10 00:00    150,000/s  1,234,567 "
                                "scored  0 late  0 dead  9 alerts  "
                                "precision 66.7 %\n");
    qn_buf_clear(&b);
    qn_demo_view_summary(&s, &plain, "build/quern", &b);
    assert_true(shows(&b, "1,234,567 card transactions of 101 days in 10.0 s:\n  1,234,567 scored, "
                          "0 late, 0 dead, 0 shed\n"));
    assert_true(
        shows(&b, "66.7 % of them were fraud (precision), 0.1 % of all fraud was found (recall)"));
    assert_true(shows(&b, "  build/quern check card-fraud.yaml "));
    qn_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits_every_screen),
        cmocka_unit_test(shows_the_state),
        cmocka_unit_test(a_service_shows_where_and_how_fresh),
        cmocka_unit_test(an_empty_state_is_fine),
        cmocka_unit_test(line_and_summary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
