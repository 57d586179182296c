/* SPDX-License-Identifier: Apache-2.0
 * test_exact_sum.c - sums of doubles against a naive twin: wild exponents, cancellation, evictions,
 * means. */
#include "../seed.h"
#include "base/clock.h"
#include "exact_twin.h"
#include "feature/exact_sum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static double from_bits(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

struct both {
    struct qn_exact_sum s;
    struct qn_exact_wide w;
    bool is_wide;
    struct twin_sum twin;
};

static void put(struct both *b, double v, int sign)
{
    twin_add(&b->twin, v, sign);
    if (qn_exact_fits(v)) {
        (sign > 0 ? qn_exact_add : qn_exact_sub)(&b->s, v);
    } else {
        b->is_wide = true;
        (sign > 0 ? qn_exact_wide_add : qn_exact_wide_sub)(&b->w, v);
    }
}

static void agree(const struct both *b, uint64_t n)
{
    double got = qn_exact_read(&b->s, b->is_wide ? &b->w : NULL, n);
    double want = twin_read(&b->twin, n);

    if (!twin_same(got, want))
        print_message("n %llu: got %a, want %a\n", (unsigned long long)n, got, want);
    assert_true(twin_same(got, want));
}

/* kind 0: any finite bits; 1: near 1; 2: denormals; 3: huge; 4: few bits far apart; 5: with NaN and
 * infinities */
static double draw(struct qn_rng *r, int kind)
{
    uint64_t bits = qn_rng_next(r);
    double v;

    switch (kind) {
    case 1:
        return (qn_rng_unit(r) - 0.5) * 1000;
    case 2:
        return from_bits((bits & ((uint64_t)1 << 63)) | (bits >> 12));
    case 3:
        return from_bits((bits & ~((uint64_t)0x7FF << 52)) | (uint64_t)(0x7FE - qn_rng_below(r, 4))
                                                                 << 52);
    case 4:
        return ldexp(bits & 1 ? 1 : -1, (int)qn_rng_below(r, 2098) - 1074);
    case 5:
        if (qn_rng_below(r, 8) == 0) {
            static const double odd[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, 0.0,
                                         -0.0};

            return odd[qn_rng_below(r, 5)];
        }
        return qn_rng_unit(r);
    default:
        v = from_bits(bits);
        return isfinite(v) ? v : 0.5;
    }
}

static void random_windows(void **state)
{
    struct qn_rng r;
    static struct both b;
    static double values[64];

    (void)state;
    qn_rng_seed(&r, test_seed(20180405));
    for (int round = 0; round < 600; round++) {
        int kind = round % 6;
        unsigned n = 1 + qn_rng_below(&r, 64);

        memset(&b, 0, sizeof b);
        for (unsigned i = 0; i < n; i++) {
            values[i] = draw(&r, qn_rng_below(&r, 4) == 0 ? (int)qn_rng_below(&r, 5) : kind);
            if (i > 0 && qn_rng_below(&r, 3) == 0)
                values[i] = -values[i - 1];
            put(&b, values[i], 1);
        }
        agree(&b, 1);
        agree(&b, n);
        agree(&b, 1 + qn_rng_next(&r) / 3);
        for (unsigned i = 0; i + 1 < n; i++) {
            put(&b, values[i], -1);
            if (i % 8 == 0)
                agree(&b, n - i - 1);
        }
        agree(&b, 1);
        put(&b, values[n - 1], -1);
        agree(&b, 1); /* everything has left: exactly nothing */
        assert_true(qn_exact_read(&b.s, b.is_wide ? &b.w : NULL, 1) == 0);
    }
}

static void known_answers(void **state)
{
    struct both b;

    (void)state;
    memset(&b, 0, sizeof b);
    for (int i = 0; i < 10; i++)
        put(&b, 0.1, 1);
    assert_true(qn_exact_read(&b.s, NULL, 1) == 1.0); /* math.fsum([.1] * 10) */
    assert_true(qn_exact_read(&b.s, NULL, 10) == 0.1);
    memset(&b, 0, sizeof b);
    put(&b, 1e100, 1);
    put(&b, 1.0, 1);
    put(&b, -1e100, 1);
    put(&b, 1e-100, 1);
    put(&b, 1e50, 1);
    put(&b, -1.0, 1);
    put(&b, -1e50, 1);
    assert_true(b.is_wide);
    assert_true(qn_exact_read(&b.s, &b.w, 1) == 1e-100);
    /* halfway cases: ties go to even, a crumb below decides */
    memset(&b, 0, sizeof b);
    put(&b, 9007199254740992.0, 1);
    put(&b, 1.0, 1);
    assert_true(qn_exact_read(&b.s, NULL, 1) == 9007199254740992.0);
    put(&b, 0x1p-100, 1);
    assert_true(qn_exact_read(&b.s, NULL, 1) == 9007199254740994.0);
    put(&b, 0x1p-1074, 1);
    put(&b, 0x1p-100, -1);
    assert_true(b.is_wide && qn_exact_read(&b.s, &b.w, 1) == 9007199254740994.0);
    /* a mean halfway but for the remainder of the division */
    memset(&b, 0, sizeof b);
    for (int i = 0; i < 3; i++)
        put(&b, 9007199254740992.0, 1);
    put(&b, 3.0, 1);
    assert_true(qn_exact_read(&b.s, NULL, 3) == 9007199254740992.0);
    put(&b, 0x1p-73, 1);
    assert_true(qn_exact_read(&b.s, NULL, 3) == 9007199254740994.0);
    agree(&b, 3);
    /* beyond the range */
    memset(&b, 0, sizeof b);
    put(&b, 0x1.fffffffffffffp1023, 1);
    put(&b, 0x1.fffffffffffffp1023, 1);
    assert_true(qn_exact_read(&b.s, &b.w, 1) == (double)INFINITY);
    assert_true(qn_exact_read(&b.s, &b.w, 2) == 0x1.fffffffffffffp1023);
    /* below the smallest: half of it goes to even, which is zero */
    memset(&b, 0, sizeof b);
    put(&b, 0x1p-1074, 1);
    assert_true(qn_exact_read(&b.s, &b.w, 2) == 0.0);
    put(&b, 0x1p-1073, 1);
    assert_true(qn_exact_read(&b.s, &b.w, 2) == 0x1p-1073);
}

static void what_fits(void **state)
{
    (void)state;
    assert_true(qn_exact_fits(0.0) && qn_exact_fits(-0.0) && qn_exact_fits(0.1));
    assert_true(qn_exact_fits(0x1p-126) && !qn_exact_fits(0x1p-127) && !qn_exact_fits(0x1.8p-126));
    assert_true(qn_exact_fits(0x1.fffffffffffffp63) && !qn_exact_fits(0x1p64));
    assert_false(qn_exact_fits((double)NAN) || qn_exact_fits(-(double)INFINITY) ||
                 qn_exact_fits(0x1p-1074));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits),
        cmocka_unit_test(known_answers),
        cmocka_unit_test(random_windows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
