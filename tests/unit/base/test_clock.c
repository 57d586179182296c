/* SPDX-License-Identifier: Apache-2.0
 * test_clock.c - clocks go on, randomness differs, the reproducible generator reproduces. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_system(void **state)
{
    int64_t a = qn_clock_system.mono_ns(NULL), b = qn_clock_system.mono_ns(NULL);
    unsigned char x[300], y[300];

    assert_true(b >= a);
    assert_true(qn_clock_system.wall_us(NULL) > INT64_C(1600000000000000));
    qn_random_system.fill(NULL, x, sizeof x);
    qn_random_system.fill(NULL, y, sizeof y);
    assert_memory_not_equal(x, y, sizeof x);
}

/* First outputs of xoshiro256** from a known state, by the authors' reference code. */
static void test_generator(void **state)
{
    struct qn_rng r = {{1, 2, 3, 4}}, again;
    unsigned counts[7] = {0};
    double sum = 0;

    assert_true(qn_rng_next(&r) == 11520);
    assert_true(qn_rng_next(&r) == 0);
    assert_true(qn_rng_next(&r) == 1509978240);
    assert_true(qn_rng_next(&r) == UINT64_C(1215971899390074240));
    qn_rng_seed(&r, 0);
    assert_true(r.s[0] == UINT64_C(0xE220A8397B1DCDAF)); /* splitmix64 of 0 */
    qn_rng_seed(&again, 0);
    for (int i = 0; i < 100; i++)
        assert_true(qn_rng_next(&r) == qn_rng_next(&again));
    for (int i = 0; i < 70000; i++)
        counts[qn_rng_below(&r, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 9500, 10500);
    for (int i = 0; i < 10000; i++) {
        double u = qn_rng_unit(&r);

        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(sum > 4800 && sum < 5200);
    assert_int_equal(qn_rng_below(&r, 1), 0);
    for (int i = 0; i < 100; i++)
        assert_true(qn_rng_below(&r, UINT32_MAX) < UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_system),
                                       cmocka_unit_test(test_generator)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
