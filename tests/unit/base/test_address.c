/* SPDX-License-Identifier: Apache-2.0
 * test_address.c - addresses to listen on: which are read, which are refused, who reaches them. */
#include "base/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_good(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
        bool is_loopback;
    } cases[] = {
        {"127.0.0.1:8090", "127.0.0.1", 8090, true}, {"127.9.9.9:0", "127.9.9.9", 0, true},
        {"localhost:1", "localhost", 1, true},       {"[::1]:65535", "[::1]", 65535, true},
        {"0.0.0.0:80", "0.0.0.0", 80, false},        {"[::]:80", "[::]", 80, false},
        {"10.1.2.3:80", "10.1.2.3", 80, false},      {"[fe80::1]:80", "[fe80::1]", 80, false},
        {"128.0.0.1:80", "128.0.0.1", 80, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_address a;

        assert_null(qn_address_parse(qn_str_of(cases[i].text), &a));
        assert_string_equal(a.host, cases[i].host);
        assert_int_equal(qn_address_port(&a), cases[i].port);
        assert_int_equal(qn_address_is_loopback(&a), cases[i].is_loopback);
        assert_true(a.len > 0);
    }
}

static void test_bad(void **state)
{
    static const char *const cases[] = {
        "",
        ":",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "[::1]",
        "::1:80",
        "1.2.3:80",
        "256.0.0.1:80",
        "127.0.0.1:65536",
        "[:::]:80",
        "[1.2.3]:1",
        "host:80",
        "127.0.0.1:-1",
        "127.0.0.1:8x",
        "[]:80",
        "[:80",
        "]:80",
        "127.0.0.1 :80",
        "0123456789012345678901234567890123456789012345678:80",
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_address a;

        assert_non_null(qn_address_parse(qn_str_of(cases[i]), &a));
    }
}

static void test_list(void **state)
{
    struct qn_str list = qn_str_of(" a:1 ,b:2,,"), one;
    static const char *const expected[] = {"a:1", "b:2", "", ""};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_true(qn_address_next(&list, &one));
        assert_true(qn_str_is(one, expected[i]));
    }
    assert_false(qn_address_next(&list, &one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
