/* SPDX-License-Identifier: Apache-2.0
 * test_crc32c.c - the checksum against RFC 3720, against a bitwise twin, and every form against
 * the others. */
#include "base/clock.h"
#include "base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_published(void **state)
{
    unsigned char b[48];

    assert_int_equal(qn_crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(qn_crc32c(0, "", 0), 0);
    memset(b, 0, sizeof b);
    assert_int_equal(qn_crc32c(0, b, 32), 0x8A9136AA);
    memset(b, 0xFF, sizeof b);
    assert_int_equal(qn_crc32c(0, b, 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++)
        b[i] = (unsigned char)i;
    assert_int_equal(qn_crc32c(0, b, 32), 0x46DD794E);
    for (int i = 0; i < 32; i++)
        b[i] = (unsigned char)(31 - i);
    assert_int_equal(qn_crc32c(0, b, 32), 0x113FDB5C);
}

static uint32_t bit_by_bit(const unsigned char *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFF;

    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
    }
    return ~crc;
}

static void test_forms(void **state)
{
    static const char *const forms[] = {"table", "sse4.2", "armv8"};
    static unsigned char b[20000];
    struct qn_rng r;
    uint32_t out;

    print_message("seed 41\n");
    qn_rng_seed(&r, 41);
    for (size_t i = 0; i < sizeof b; i++)
        b[i] = (unsigned char)qn_rng_next(&r);
    for (int round = 0; round < 400; round++) {
        size_t from = qn_rng_below(&r, 64), n = qn_rng_below(&r, round % 4 ? 300 : 19000);
        size_t cut = n == 0 ? 0 : qn_rng_below(&r, (uint32_t)n + 1);
        uint32_t want = bit_by_bit(b + from, n);

        assert_int_equal(qn_crc32c(0, b + from, n), want);
        assert_int_equal(qn_crc32c(qn_crc32c(0, b + from, cut), b + from + cut, n - cut), want);
        for (size_t k = 0; k < sizeof forms / sizeof forms[0]; k++)
            if (qn_crc32c_by(forms[k], 0, b + from, n, &out))
                assert_int_equal(out, want);
    }
    assert_true(qn_crc32c_by("table", 0, b, 9, &out));
    assert_false(qn_crc32c_by("abacus", 0, b, 9, &out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_published),
                                       cmocka_unit_test(test_forms)};

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
