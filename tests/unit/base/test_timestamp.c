/* SPDX-License-Identifier: Apache-2.0
 * test_timestamp.c - times and durations as text; random cases against Python are in
 * tests/e2e/test_numbers.py. */
#include "base/timestamp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool parse(const char *text, int64_t *us)
{
    size_t n = strlen(text);
    char *copy = malloc(n + (n == 0));
    bool ok;

    memcpy(copy, text, n);
    ok = qn_timestamp_parse((struct qn_str){copy, (uint32_t)n}, us);
    free(copy);
    return ok;
}

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2018-04-01T00:00:31Z", INT64_C(1522540831000000)},
        {"2018-04-01 00:00:31", INT64_C(1522540831000000)},
        {"2018-04-01t00:00:31z", INT64_C(1522540831000000)},
        {"2018-04-01T02:00:31+02:00", INT64_C(1522540831000000)},
        {"2018-03-31T23:30:31-00:30", INT64_C(1522540831000000)},
        {"2018-04-01T00:00:31.5Z", INT64_C(1522540831500000)},
        {"2018-04-01T00:00:31.123456Z", INT64_C(1522540831123456)},
        {"2018-04-01T00:00:31.123456789Z", INT64_C(1522540831123456)},
        {"2018-04-01 00:00:31.000001", INT64_C(1522540831000001)},
        {"1969-12-31T23:59:59.999999Z", -1},
        {"2016-12-31T23:59:60Z", INT64_C(1483228800000000)},
        {"2016-12-31T23:59:60.75Z", INT64_C(1483228800000000)},
        {"2000-02-29T00:00:00Z", INT64_C(951782400000000)},
        {"0000-01-01T00:00:00Z", INT64_C(-62167219200000000)},
        {"9999-12-31T23:59:59.999999Z", INT64_C(253402300799999999)},
    };
    static const char *const bad[] = {
        "",
        "2018-04-01",
        "2018-04-01T00:00:31",
        "2018-04-01T00:00:31.Z",
        "2018-04-01T00:00:31Z ",
        "2018-04-01T00:00Z",
        "2018-13-01T00:00:00Z",
        "2018-00-01T00:00:00Z",
        "2018-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2018-04-31T00:00:00Z",
        "2018-04-00T00:00:00Z",
        "2018-04-01T24:00:00Z",
        "2018-04-01T00:60:00Z",
        "2018-04-01T00:00:61Z",
        "2018/04/01T00:00:00Z",
        "2018-04-01T00-00-00Z",
        "2018-04-01_00:00:00Z",
        "2018-04-01T00:00:00+24:00",
        "2018-04-01T00:00:00+00:60",
        "2018-04-01T00:00:00+0000",
        "2018-04-01T00:00:00+00",
        "2018-04-01T00:00:00+00:0a",
        "18-04-01T00:00:00Z",
        "2018-4-1T00:00:00Z",
        "2o18-04-01T00:00:00Z",
        "2018-04-01T00:00:0:Z",
        "2018-04-01 00:00:00.",
        "2018-04-01T00:00:00.12a456Z",
        "\xB2\xB0\xB1\xB8-04-01T00:00:00Z",
        "2018-04-:1T00:00:00Z",
        "2018-04-99T00:00:00Z",
        "2018-99-01T00:00:00Z",
        "2018-04-01T00:00:00ZZ",
    };
    int64_t us;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        us = 12345;
        if (!parse(rows[i].text, &us) || us != rows[i].us)
            fail_msg("%s: %lld", rows[i].text, (long long)us);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (parse(bad[i], &us))
            fail_msg("%s was taken for a time", bad[i]);
}

/* Every day from year 0 to 9999: a naive calendar that counts days must agree in both directions.
 */
static void test_every_day(void **state)
{
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t day = -719528, us;
    char text[QN_TIMESTAMP_LEN + 1];

    for (int y = 0; y < 10000; y++) {
        bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

        for (int m = 1; m <= 12; m++) {
            int days = month_days[m - 1] + (m == 2 && leap);

            for (int d = 1; d <= days; d++, day++) {
                struct qn_civil c = qn_timestamp_civil(day * INT64_C(86400000000) + 3723000004);

                assert_true(c.year == y && c.month == m && c.day == d && c.hour == 1 &&
                            c.minute == 2 && c.second == 3 && c.us == 4 &&
                            c.weekday == ((day + 3) % 7 + 7) % 7);
                if (d < 28 && d > 2)
                    continue;
                assert_int_equal(qn_timestamp_print(text, day * INT64_C(86400000000)), 27);
                assert_true(qn_timestamp_parse((struct qn_str){text, 27}, &us));
                assert_true(us == day * INT64_C(86400000000));
            }
            text[8] = (char)('0' + (days + 1) / 10);
            text[9] = (char)('0' + (days + 1) % 10);
            assert_false(qn_timestamp_parse((struct qn_str){text, 27}, &us));
        }
    }
}

static void test_print(void **state)
{
    char text[QN_TIMESTAMP_LEN + 1] = {0};

    qn_timestamp_print(text, INT64_C(1522540831000007));
    assert_string_equal(text, "2018-04-01T00:00:31.000007Z");
    qn_timestamp_print(text, -1);
    assert_string_equal(text, "1969-12-31T23:59:59.999999Z");
    qn_timestamp_print(text, INT64_MIN);
    assert_string_equal(text, "0000-01-01T00:00:00.000000Z");
    qn_timestamp_print(text, INT64_MAX);
    assert_string_equal(text, "9999-12-31T23:59:59.999999Z");
}

static void test_hour_weekday(void **state)
{
    static const int64_t edges[] = {
        INT64_MIN,   INT64_MIN + 1, -1,         0,          1,           INT64_MAX - 1, INT64_MAX,
        86400000000, -86400000000,  3599999999, 3600000000, -3600000000, -3600000001};

    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        struct qn_civil c = qn_timestamp_civil(edges[i]);

        assert_int_equal(qn_timestamp_hour(edges[i]), c.hour);
        assert_int_equal(qn_timestamp_weekday(edges[i]), c.weekday);
    }
    for (int64_t h = -200000; h < 200000; h++) {
        for (int64_t d = -1; d <= 0; d++) {
            int64_t hours = d < 0 ? h - 1 : h;

            assert_int_equal(qn_timestamp_hour(h * 3600000000 + d), (hours % 24 + 24) % 24);
            assert_int_equal(qn_timestamp_weekday(h * 3600000000 + d),
                             (((hours - ((hours % 24 + 24) % 24)) / 24 + 3) % 7 + 7) % 7);
        }
    }
}

static void test_epoch(void **state)
{
    int64_t us;

    assert_true(qn_timestamp_epoch(5, QN_TIME_S, &us) && us == 5000000);
    assert_true(qn_timestamp_epoch(-5, QN_TIME_MS, &us) && us == -5000);
    assert_true(qn_timestamp_epoch(INT64_MIN, QN_TIME_US, &us) && us == INT64_MIN);
    assert_true(qn_timestamp_epoch(1999, QN_TIME_NS, &us) && us == 1);
    assert_true(qn_timestamp_epoch(-1, QN_TIME_NS, &us) && us == -1);
    assert_true(qn_timestamp_epoch(-1000, QN_TIME_NS, &us) && us == -1);
    assert_true(qn_timestamp_epoch(-1001, QN_TIME_NS, &us) && us == -2);
    assert_false(qn_timestamp_epoch(INT64_MAX / 1000000 + 1, QN_TIME_S, &us));
    assert_false(qn_timestamp_epoch(INT64_MIN / 1000 - 1, QN_TIME_MS, &us));
}

static void test_duration(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
        const char *printed;
    } rows[] = {{"50ms", 50000, "50ms"},
                {"10s", 10000000, "10s"},
                {"5m", 300000000, "5m"},
                {"1h", 3600000000, "1h"},
                {"7d", 604800000000, "7d"},
                {"2w", 1209600000000, "14d"},
                {"1h30m", 5400000000, "1h30m"},
                {"90m", 5400000000, "1h30m"},
                {"500us", 500, "500us"},
                {"0s", 0, "0s"},
                {"0d", 0, "0s"},
                {"10000d", 864000000000000, "10000d"},
                {"1w1d1h1m1s1ms1us", 694861001001, "8d1h1m1s1ms1us"}};
    static const char *const bad[] = {"",
                                      "5",
                                      "s",
                                      "-5s",
                                      "+5s",
                                      "5 s",
                                      "1.5h",
                                      "10001d",
                                      "5x",
                                      "5S",
                                      "1m1h",
                                      "1s1s",
                                      "99999999999999999999d",
                                      "1429w",
                                      "10000d1us",
                                      "5mss",
                                      "5s "};
    char out[40];
    int64_t us;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(qn_duration_parse(qn_str_of(rows[i].text), &us));
        assert_true(us == rows[i].us);
        assert_int_equal(qn_duration_print(out, us), strlen(rows[i].printed));
        assert_memory_equal(out, rows[i].printed, strlen(rows[i].printed));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (qn_duration_parse(qn_str_of(bad[i]), &us))
            fail_msg("%s was taken for a duration", bad[i]);
    assert_true(qn_duration_print(out, INT64_MIN) <= 40);
    assert_true(qn_duration_print(out, INT64_MAX) <= 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse), cmocka_unit_test(test_every_day),
        cmocka_unit_test(test_print), cmocka_unit_test(test_hour_weekday),
        cmocka_unit_test(test_epoch), cmocka_unit_test(test_duration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
