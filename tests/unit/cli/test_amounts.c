/* SPDX-License-Identifier: Apache-2.0
 * test_amounts.c - numbers for people: the cases of the dashboard's format.js, so that both say the
 * same. */
#include "cli/amounts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NONE __builtin_nan("")

static void amounts_are_short(void **state)
{
    char out[QN_AMOUNT_MAX];

    (void)state;
    assert_string_equal(qn_amount_count(out, 999999), "999,999");
    assert_string_equal(qn_amount_count(out, 1234567), "1.23 M");
    assert_string_equal(qn_amount_count(out, 0), "0");
    assert_string_equal(qn_amount_count(out, NONE), "-");
    assert_string_equal(qn_amount_rate(out, 0.04), "0.040/s");
    assert_string_equal(qn_amount_rate(out, 12.34), "12.3/s");
    assert_string_equal(qn_amount_rate(out, 1234.4), "1,234/s");
    assert_string_equal(qn_amount_rate(out, 2345678), "2.35 M/s");
    assert_string_equal(qn_amount_rate(out, 0), "0/s");
    assert_string_equal(qn_amount_bytes(out, 512), "512 B");
    assert_string_equal(qn_amount_bytes(out, 184e6), "184 MB");
    assert_string_equal(qn_amount_ms(out, 0.00004), "0.04 us");
    assert_string_equal(qn_amount_ms(out, 0.31), "0.31 ms");
    assert_string_equal(qn_amount_ms(out, 41.27), "41.3 ms");
    assert_string_equal(qn_amount_ms(out, 1500), "1.5 s");
    assert_string_equal(qn_amount_duration(out, 59.9), "59 s");
    assert_string_equal(qn_amount_duration(out, 3725), "1 h 2 min");
    assert_string_equal(qn_amount_duration(out, 200000), "2 d 7 h");
    assert_string_equal(qn_amount_share(out, 1, 1e6), "< 0.01 %");
    assert_string_equal(qn_amount_share(out, 1, 8), "12.5 %");
    assert_string_equal(qn_amount_share(out, 0, 0), "-");
}

static void any_number_fits(void **state)
{
    static const double hard[] = {
        NONE, __builtin_inf(), -__builtin_inf(), -1,        -1234567, 1e17,     -1e17,
        1e18, 1e300,           -1e300,           999999.99, 1e-300,   9.9999e17};
    const char *(*const kinds[])(char *, double) = {
        qn_amount_count, qn_amount_rate, qn_amount_bytes, qn_amount_ms, qn_amount_duration};
    char out[QN_AMOUNT_MAX];

    (void)state;
    for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        for (unsigned i = 0; i < sizeof(hard) / sizeof(hard[0]); i++) {
            size_t n = strlen(kinds[k](out, hard[i]));

            assert_in_range(n, 1, QN_AMOUNT_MAX - 1);
            assert_null(strstr(out, "nan"));
            assert_null(strstr(out, "inf"));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts_are_short),
        cmocka_unit_test(any_number_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
