/* SPDX-License-Identifier: Apache-2.0
 * test_webhook_answer.c - what answers mean, what is kept of them, and which addresses are
 * private. */
#include "sink/webhook_int.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* 2026-11-26T08:00:00Z */
#define NOW_US INT64_C(1795680000000000)

static void test_meanings(void **state)
{
    static const struct {
        long status;
        enum qn_webhook_meaning generic, slack;
    } all[] = {
        {200, QN_WEBHOOK_TAKEN, QN_WEBHOOK_TAKEN},
        {202, QN_WEBHOOK_TAKEN, QN_WEBHOOK_TAKEN},
        {204, QN_WEBHOOK_TAKEN, QN_WEBHOOK_TAKEN},
        {299, QN_WEBHOOK_TAKEN, QN_WEBHOOK_TAKEN},
        {301, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {308, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {400, QN_WEBHOOK_REFUSED, QN_WEBHOOK_REFUSED},
        {401, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {403, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {404, QN_WEBHOOK_DOWN, QN_WEBHOOK_GONE},
        {408, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {409, QN_WEBHOOK_FAILED, QN_WEBHOOK_FAILED},
        {410, QN_WEBHOOK_GONE, QN_WEBHOOK_GONE},
        {413, QN_WEBHOOK_REFUSED, QN_WEBHOOK_REFUSED},
        {422, QN_WEBHOOK_REFUSED, QN_WEBHOOK_REFUSED},
        {429, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {500, QN_WEBHOOK_FAILED, QN_WEBHOOK_FAILED},
        {502, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {503, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {599, QN_WEBHOOK_FAILED, QN_WEBHOOK_FAILED},
        {100, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {0, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
        {999, QN_WEBHOOK_DOWN, QN_WEBHOOK_DOWN},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        assert_int_equal(qn_webhook_meaning(all[i].status, QN_WEBHOOK_RAW), all[i].generic);
        assert_int_equal(qn_webhook_meaning(all[i].status, QN_WEBHOOK_SLACK), all[i].slack);
    }
}

static int64_t after(const char *line)
{
    struct qn_webhook_answer a = {0};

    assert_true(qn_webhook_answer_header(&a, qn_str_of("HTTP/1.1 429 Slow down\r\n"), NOW_US));
    assert_true(qn_webhook_answer_header(&a, qn_str_of(line), NOW_US));
    return a.retry_after_us;
}

static void test_retry_after(void **state)
{
    assert_int_equal(after("Retry-After: 7\r\n"), 7000000);
    assert_int_equal(after("retry-AFTER:7"), 7000000);
    assert_int_equal(after("Retry-After: 0\r\n"), 0);
    assert_int_equal(after("Retry-After: 99999999999999\r\n"), INT64_C(1000000000000000));
    assert_int_equal(after("Retry-After: Thu, 26 Nov 2026 08:01:30 GMT\r\n"), 90000000);
    assert_int_equal(after("Retry-After: Thu, 26 Nov 2026 07:00:00 GMT\r\n"), 0);
    assert_int_equal(after("Retry-After: Thu, 31 Feb 2026 07:00:00 GMT\r\n"), 0);
    assert_int_equal(after("Retry-After: Thu, 26 Xyz 2026 08:01:30 GMT\r\n"), 0);
    assert_int_equal(after("Retry-After: soon\r\n"), 0);
    assert_int_equal(after("Retry-After: -5\r\n"), 0);
    assert_int_equal(after("Retry-After: 5 minutes\r\n"), 0);
    assert_int_equal(after("Retry-After:\r\n"), 0);
    assert_int_equal(after("Retry-Afterwards: 7\r\n"), 0);
    assert_int_equal(after("X-Retry-After: 7\r\n"), 0);
}

/* What a provisional answer said does not count. */
static void test_last_answer_counts(void **state)
{
    struct qn_webhook_answer a = {0};

    qn_webhook_answer_header(&a, qn_str_of("HTTP/1.1 103 Early Hints\r\n"), NOW_US);
    qn_webhook_answer_header(&a, qn_str_of("Retry-After: 9\r\n"), NOW_US);
    qn_webhook_answer_header(&a, qn_str_of("HTTP/1.1 200 OK\r\n"), NOW_US);
    assert_int_equal(a.retry_after_us, 0);
}

static void test_excerpt(void **state)
{
    struct qn_webhook_answer a = {0};
    char out[256], much[1000];

    assert_true(qn_webhook_answer_body(&a, qn_str_of("  out\r\n of ")));
    assert_true(qn_webhook_answer_body(&a, qn_str_of("\x1b[31morder\xff")));
    qn_webhook_answer_print(&a, 500, out, sizeof out);
    assert_string_equal(out, "the target answered 500 Internal Server Error: out of ?[31morder?");
    memset(much, 'x', sizeof much);
    assert_true(qn_webhook_answer_body(&a, (struct qn_str){much, sizeof much}));
    assert_int_equal(a.excerpt_len, QN_WEBHOOK_EXCERPT);
    for (int i = 0; i < 64; i++)
        (void)qn_webhook_answer_body(&a, (struct qn_str){much, sizeof much});
    assert_true(a.bytes < QN_WEBHOOK_ANSWER_MAX);
    assert_false(qn_webhook_answer_body(&a, (struct qn_str){much, sizeof much}));
    a = (struct qn_webhook_answer){0};
    qn_webhook_answer_print(&a, 418, out, sizeof out);
    assert_string_equal(out, "the target answered 418");
}

static bool is_private(const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return qn_webhook_is_private((const struct sockaddr *)&in);
    assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
    return qn_webhook_is_private((const struct sockaddr *)&in6);
}

static void test_addresses(void **state)
{
    static const char *const no[] = {"0.0.0.0",
                                     "10.0.0.1",
                                     "100.64.0.1",
                                     "100.127.255.255",
                                     "127.0.0.1",
                                     "127.255.255.254",
                                     "169.254.169.254",
                                     "172.16.0.1",
                                     "172.31.255.255",
                                     "192.0.0.1",
                                     "192.0.2.1",
                                     "192.168.1.1",
                                     "198.18.0.1",
                                     "198.19.255.255",
                                     "198.51.100.7",
                                     "203.0.113.9",
                                     "224.0.0.1",
                                     "239.1.1.1",
                                     "240.0.0.1",
                                     "255.255.255.255",
                                     "::",
                                     "::1",
                                     "::127.0.0.1",
                                     "::ffff:127.0.0.1",
                                     "::ffff:10.1.2.3",
                                     "64:ff9b::10.1.2.3",
                                     "64:ff9b:1::1",
                                     "100::1",
                                     "2001::1",
                                     "2001:db8::1",
                                     "2002:0a00:0001::1",
                                     "2002:7f00:0001::",
                                     "3fff::1",
                                     "fc00::1",
                                     "fd12:3456::1",
                                     "fe80::1",
                                     "fec0::1",
                                     "ff02::1"};
    static const char *const yes[] = {
        "1.1.1.1",      "8.8.8.8",         "11.0.0.1",         "100.63.255.255",
        "100.128.0.1",  "126.255.255.255", "128.0.0.1",        "172.15.255.255",
        "172.32.0.1",   "192.0.1.1",       "192.167.0.1",      "198.17.255.255",
        "198.20.0.1",   "223.255.255.255", "2606:4700::1111",  "2001:4860::8888",
        "2a00:1450::1", "::ffff:8.8.8.8",  "64:ff9b::8.8.8.8", "2002:0808:0808::1"};
    struct sockaddr local = {.sa_family = AF_UNIX};

    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (!is_private(no[i]))
            fail_msg("%s counts as public", no[i]);
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        if (is_private(yes[i]))
            fail_msg("%s counts as private", yes[i]);
    assert_true(qn_webhook_is_private(&local));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meanings),           cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_last_answer_counts), cmocka_unit_test(test_excerpt),
        cmocka_unit_test(test_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
