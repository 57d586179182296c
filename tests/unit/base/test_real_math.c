/* SPDX-License-Identifier: Apache-2.0
 * test_real_math.c - exp, log and friends: edges, and closeness to long double; units in the last
 * place are measured in tests/e2e/test_numbers.py. */
#include "base/clock.h"
#include "base/real_math.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double worst;

/* Distance in units in the last place of the double nearest to the long double. */
static void compare(double got, long double exact, double limit)
{
    double nearest = (double)exact, unit = nextafter(fabs(nearest), HUGE_VAL) - fabs(nearest), off;

    off = (double)(fabsl((long double)got - exact) / unit);
    if (off > worst)
        worst = off;
    assert_true(off < limit);
}

static void test_accuracy(void **state)
{
    struct qn_rng rng;
    uint64_t seed = (uint64_t)qn_clock_system.mono_ns(NULL);

    printf("seed %llu\n", (unsigned long long)seed);
    qn_rng_seed(&rng, seed);
    for (int i = 0; i < 100000; i++) {
        double u = qn_rng_unit(&rng), x = u * 1400 - 700, small = u - 0.5;

        compare(qn_exp(x), expl(x), 0.6);
        compare(qn_exp(small), expl(small), 0.6);
        compare(qn_pow2(x), exp2l(x), 0.6);
        compare(qn_log1p(small), log1pl(small), 0.6);
        compare(qn_log1p(u * 1e6), log1pl(u * 1e6), 0.6);
        if (u > 0) {
            compare(qn_log(u), logl(u), 0.6);
            compare(qn_log(0.5 + u), logl(0.5 + u), 0.6);
            compare(qn_log(u * 1e300), logl(u * 1e300), 0.6);
        }
    }
    printf("worst: %.4f units in the last place\n", worst);
}

static void test_edges(void **state)
{
    assert_true(qn_exp(0) == 1 && qn_exp(-0.0) == 1);
    assert_true(qn_exp(1) == M_E);
    assert_true(qn_exp(709.782712893384) < HUGE_VAL);
    assert_true(qn_exp(709.782712893385) == HUGE_VAL);
    assert_true(qn_exp(HUGE_VAL) == HUGE_VAL && qn_exp(-HUGE_VAL) == 0);
    assert_true(qn_exp(-745.13) == 0x1p-1074 && qn_exp(-746) == 0 && qn_exp(-DBL_MAX) == 0);
    assert_true(isnan(qn_exp((double)NAN)) && isnan(qn_log((double)NAN)));
    assert_true(isnan(qn_log1p((double)NAN)) && isnan(qn_pow2((double)NAN)));
    assert_true(qn_log(1) == 0 && qn_log(0) == -HUGE_VAL && qn_log(-0.0) == -HUGE_VAL);
    assert_true(isnan(qn_log(-1)) && isnan(qn_log(-HUGE_VAL)) && qn_log(HUGE_VAL) == HUGE_VAL);
    assert_true(fabs(qn_log(0x1p-1074) + 744.4400719213812) < 1e-12);
    assert_true(qn_log1p(-1) == -HUGE_VAL && isnan(qn_log1p(-2)) && qn_log1p(HUGE_VAL) == HUGE_VAL);
    assert_true(qn_log1p(1e-300) == 1e-300 && qn_log1p(0x1p-1074) == 0x1p-1074);
    for (int k = -1074; k < 1024; k++)
        assert_true(qn_pow2(k) == ldexp(1, k));
    assert_true(qn_pow2(1024) == HUGE_VAL && qn_pow2(-1075.5) == 0);
    assert_true(qn_expf(1.0F) == (float)M_E && qn_expf(200.0F) == HUGE_VALF &&
                qn_expf(-200.0F) == 0);
    assert_true(qn_logf(0x1p-149F) == (float)-103.27892990343184);
}

/* These bits are promised for every CPU. */
static void test_fixed_bits(void **state)
{
    static const struct {
        double x, exp, log;
    } rows[] = {
        {0x1.f3d46a706ab1fp+6, 0x1.35dc4a5923c9cp+180, 0x1.34fd8335ebbd9p+2},
        {0x1.1d2d3d4b64704p+1, 0x1.28fbf5bcae868p+3, 0x1.9a26ff86118d3p-1},
        {0x1.3e7cae981987fp+7, 0x1.ab84329c858abp+229, 0x1.4482001fecee7p+2},
        {0x1.69f97d97234c6p+1, 0x1.0e90d3d07fd90p+4, 0x1.0a1f894389f78p+0},
        {0x1.287ac93630469p+7, 0x1.d236bc8d529d8p+213, 0x1.3fecda4c62676p+2},
        {0x1.6245b0636fe63p+1, 0x1.fd8789b4212acp+3, 0x1.049df6de87e6dp+0},
        {0x1.b1691c41d58d8p+2, 0x1.b48bb8310a66dp+9, 0x1.e9ad6b9a926f2p+0},
        {0x1.66f7592eb9456p+0, 0x1.041b81ee02c18p+2, 0x1.5a29fd49df475p-2},
        {0x1.7974baaba3ef4p+7, 0x1.362c5a29b15e6p+272, 0x1.4f612f94e0360p+2},
        {0x1.f34fa3111f0ecp+0, 0x1.c207ff2fecdc5p+2, 0x1.560ae4f81f047p-1},
        {0x1.688ef3058da89p+7, 0x1.101554b72414ap+260, 0x1.4c72cc6ecc56fp+2},
        {0x1.64d97875f9062p-2, 0x1.6abb4ccc88701p+0, -0x1.0ddd476250b1ap+0},
        {0x1.796103a7e90afp+6, 0x1.146a19e30e680p+136, 0x1.230151bfe70fdp+2},
        {0x1.7e97ea3dfb598p-1, 0x1.0e3b8b087ac8cp+1, -0x1.2a581e694fad3p-2},
        {0x1.b4d569b0a57dfp+6, 0x1.77f5996843f07p+157, 0x1.2c5e5727a9f85p+2},
        {0x1.b9e0a6a693725p+0, 0x1.67974ada19649p+2, 0x1.177a5a1ec0585p-1},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(qn_exp(rows[i].x) == rows[i].exp);
        assert_true(qn_log(rows[i].x) == rows[i].log);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy),
                                       cmocka_unit_test(test_edges),
                                       cmocka_unit_test(test_fixed_bits)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
