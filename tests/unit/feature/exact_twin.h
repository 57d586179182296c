/* SPDX-License-Identifier: Apache-2.0
 * exact_twin.h - the naive sum of doubles that exact_sum.c must agree with: one counter per bit,
 * schoolbook division.
 *
 * For tests only. Slow and obvious on purpose: counters of +1 and -1 per bit position, carried into
 * plain bits once at the end, divided bit by bit, rounded by looking at the bits. */
#ifndef QN_TESTS_EXACT_TWIN_H
#define QN_TESTS_EXACT_TWIN_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { TWIN_LOW = -1074, TWIN_BITS = 2200, TWIN_MORE = 130 };

struct twin_sum {
    int64_t bit[TWIN_BITS]; /* of 2^(i + TWIN_LOW) */
    int64_t nan, plus_inf, minus_inf;
};

static inline void twin_add(struct twin_sum *s, double v, int sign)
{
    int e;

    if (isnan(v)) {
        s->nan += sign;
        return;
    }
    if (isinf(v)) {
        *(v > 0 ? &s->plus_inf : &s->minus_inf) += sign;
        return;
    }
    uint64_t m = (uint64_t)ldexp(fabs(frexp(v, &e)), 53);

    e -= 53;
    if (v < 0)
        sign = -sign;
    for (int i = 0; i < 53; i++) {
        if (m >> i & 1)
            s->bit[e + i - TWIN_LOW] += sign;
    }
}

static inline double twin_read(const struct twin_sum *s, uint64_t n)
{
    static int8_t q[TWIN_MORE + TWIN_BITS];
    int64_t bits[TWIN_BITS], carry = 0;
    bool negative = false;
    unsigned __int128 rem = 0;
    int top = -1;

    if (s->nan != 0 || (s->plus_inf != 0 && s->minus_inf != 0))
        return (double)NAN;
    if (s->plus_inf != 0 || s->minus_inf != 0)
        return s->plus_inf != 0 ? (double)INFINITY : -(double)INFINITY;
    for (int pass = 0; pass < 2; pass++) {
        carry = 0;
        for (int i = 0; i < TWIN_BITS; i++) {
            int64_t x = (negative ? -s->bit[i] : s->bit[i]) + carry;

            bits[i] = x & 1;
            carry = (x - bits[i]) / 2;
        }
        if (carry >= 0)
            break;
        negative = true;
    }
    /* q[i] has the weight 2^(i - TWIN_MORE + TWIN_LOW) */
    for (int i = TWIN_MORE + TWIN_BITS - 1; i >= 0; i--) {
        rem = rem * 2 + (i >= TWIN_MORE ? (uint64_t)bits[i - TWIN_MORE] : 0);
        q[i] = rem >= n;
        if (q[i])
            rem -= n;
        if (q[i] && top < 0)
            top = i;
    }
    if (top < 0)
        return 0.0;
    int last = top - 52 > TWIN_MORE ? top - 52 : TWIN_MORE; /* lowest bit that stays */
    uint64_t m = 0;
    bool more = rem != 0;

    for (int i = top; i >= last; i--)
        m = m * 2 + (uint64_t)q[i];
    for (int i = 0; i < last - 1; i++)
        more = more || q[i];
    if (q[last - 1] && (more || (m & 1)))
        m++;
    double v = ldexp((double)m, last - TWIN_MORE + TWIN_LOW);

    return negative ? -v : v;
}

static inline bool twin_same(double a, double b)
{
    return isnan(a) ? isnan(b) : memcmp(&a, &b, sizeof a) == 0;
}

#endif
