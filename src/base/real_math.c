/* SPDX-License-Identifier: Apache-2.0
 * real_math.c - exp, log and friends, as fixed sequences of additions and multiplications of
 * doubles.
 *
 * Method: table and short polynomial after P. T. P. Tang, "Table-driven implementation of the
 * exponential function in IEEE floating-point arithmetic" (1989) and "... of the logarithm
 * function" (1990); tables with 128 steps, their values as sums of two doubles, so that the error
 * stays near half a unit in the last place. Nothing here depends on FMA (contraction is off), on
 * libm, or on the CPU; only on rounding to nearest. Thread: any; no state. */
#include "base/real_math.h"

#include "base/real_math_table.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* ln(2)/128 and ln(2) as sums; the first parts have trailing zeros, so that small multiples of them
 * are exact. */
#define LN2_128_HI  0x1.62e42fefc0000p-8
#define LN2_128_LO  -0x1.c610ca86c3899p-44
#define LN2_HI      0x1.62e42fefa4000p-1
#define LN2_LO      -0x1.8432a1b0e2634p-43
#define STEPS_PER_E 0x1.71547652b82fep+7 /* 128/ln(2) */

/* Adding and subtracting this rounds a double below 2^51 to an integer. */
#define ROUNDER 0x1.8p52

static uint64_t bits_of(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

/* 2^k for k of a normal number. */
static double power_of_two(int k)
{
    return double_of((uint64_t)(k + 1023) << 52);
}

/* 2^(n/128) * (1 + p), p small. In the denormal range the sum is rounded where it lies, once. */
static double assemble(int n, double p)
{
    const struct qn_exp_row *row = &qn_exp_table[n & 127];
    int k = n >> 7;
    double rest = row->lo + row->hi * p;
    double v = row->hi + rest, one, low;

    if (k >= -1021 && k <= 1023)
        return v * power_of_two(k);
    if (k > 1023)
        return v * 2.0 * power_of_two(1023);
    low = (row->hi - v + rest) * power_of_two(k + 1022);
    v *= power_of_two(k + 1022);
    if (v < 1.0) {
        /* A sum with 1 has the unit in the last place that denormals have in the scale of the
         * result. */
        one = 1.0 + v;
        low = 1.0 - one + v + low;
        v = (one + low) - 1.0;
    }
    return v * 0x1p-1022;
}

double qn_exp(double x)
{
    double steps, r, r2;
    int n;

    if (!(x < 709.79))
        return x != x ? x : HUGE_VAL;
    if (x < -745.2)
        return 0.0;
    steps = x * STEPS_PER_E + ROUNDER;
    steps -= ROUNDER;
    n = (int)steps;
    r = (x - steps * LN2_128_HI) - steps * LN2_128_LO;
    r2 = r * r;
    return assemble(n, r + (r2 * 0.5 + r2 * r * (1.0 / 6 + r * (1.0 / 24) + r2 * (1.0 / 120))));
}

double qn_pow2(double x)
{
    double steps, r, r2;
    int n;

    if (!(x < 1024.0))
        return x != x ? x : HUGE_VAL;
    if (x < -1076.0)
        return 0.0;
    steps = x * 128.0 + ROUNDER;
    steps -= ROUNDER;
    n = (int)steps;
    r = (x - steps * 0x1p-7) * 0x1.62e42fefa39efp-1; /* ln(2) */
    r2 = r * r;
    return assemble(n, r + (r2 * 0.5 + r2 * r * (1.0 / 6 + r * (1.0 / 24) + r2 * (1.0 / 120))));
}

/* log(2^k * z * (1 + tail)) for z within [sqrt(1/2), sqrt(2)) or so; tail below one unit in the
 * last place. */
static double log_parts(int k, double z, double tail)
{
    double steps = (z * 128.0 + ROUNDER) - ROUNDER;
    const struct qn_log_row *row = &qn_log_table[(int)steps - QN_LOG_FIRST];
    double c = steps * 0x1p-7, f = z - c; /* exact: c has 8 bits and z lies near it */
    double r = f * row->inverse, high, low, rest, r2, base, sum;

    /* rest = (f - r*c)/c: r*c would not be exact, r's halves times c are. */
    high = double_of(bits_of(r) & UINT64_C(0xFFFFFFFFF8000000));
    low = r - high;
    rest = ((f - high * c) - low * c) * row->inverse + tail;
    r2 = r * r;
    low = r2 * r * (1.0 / 3 - r * (1.0 / 4) + r2 * (1.0 / 5 - r * (1.0 / 6) + r2 * (1.0 / 7)));
    low = (low - r2 * 0.5) + rest;
    base = k * LN2_HI + row->hi; /* exact */
    if (base == 0.0)
        return r + (low + (k * LN2_LO + row->lo));
    sum = base + r;
    rest = base - sum + r; /* exact: |base| > |r| */
    return sum + (rest + (low + (k * LN2_LO + row->lo)));
}

/* Splits a positive normal number: 2^k * z, z within [181/256, 181/128). */
static int split(double x, double *z)
{
    uint64_t bits = bits_of(x), top = bits - bits_of(181.0 / 256);
    int k = (int)((int64_t)top >> 52);

    *z = double_of(bits - ((uint64_t)k << 52));
    return k;
}

double qn_log(double x)
{
    double z;
    int k = 0;

    if (!(x > 0.0))
        return x == 0.0 ? -HUGE_VAL : (double)NAN;
    if (x > 0x1.fffffffffffffp+1023)
        return x;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k = -54;
    }
    k += split(x, &z);
    return log_parts(k, z, 0.0);
}

double qn_log1p(double x)
{
    double u, tail, z;
    int k;

    if (!(x > -1.0))
        return x == -1.0 ? -HUGE_VAL : (double)NAN;
    if (x > 0x1.fffffffffffffp+1023 || (x > -0x1p-54 && x < 0x1p-54))
        return x;
    if (x > -0x1p-9 && x < 0x1p-9) {
        /* Near 0, 1 + x would lose what matters; the series of log_parts around 1 does not need it.
         */
        double x2 = x * x;

        return x - (x2 * 0.5 - x2 * x *
                                   (1.0 / 3 - x * (1.0 / 4) +
                                    x2 * (1.0 / 5 - x * (1.0 / 6) + x2 * (1.0 / 7))));
    }
    u = 1.0 + x;
    tail = x < 1.0 ? 1.0 - u + x : x - u + 1.0; /* what the sum lost, exactly */
    k = split(u, &z);
    return log_parts(k, z, tail / u);
}

/* The float functions take the steps of those in today's C libraries (Szabolcs Nagy's method for
 * Arm's optimized routines, 2017, which glibc since 2.27, musl and bionic use; the coefficients are
 * his): the training libraries call them, and a function rounded better would differ from them in
 * the last bit of every ten-thousandth prediction. */
float qn_expf(float x)
{
    double steps, r, r2, y;
    uint64_t n;

    if (!(x <= 0x1.62e42ep6F)) /* log(2^128) */
        return x != x ? x : HUGE_VALF;
    if (x < -0x1.9fe368p6F) /* log(2^-150) */
        return 0.0F;
    r = (double)x * (0x1.71547652b82fep+0 * 32); /* in steps of ln(2)/32 */
    steps = r + ROUNDER;
    n = bits_of(steps);
    r -= steps - ROUNDER;
    r2 = r * r;
    y = (0x1.c6af84b912394p-5 / 32768 * r + 0x1.ebfce50fac4f3p-3 / 1024) * r2 +
        (0x1.62e42ff0c52d6p-1 / 32 * r + 1);
    /* 2^(n/32): the table's value for n mod 32 with n/32 added to its exponent */
    return (float)(y *
                   double_of(bits_of(qn_exp_table[4 * (n & 31)].hi) + ((n & ~UINT64_C(31)) << 47)));
}

/* Row i: 1/c and log(c) for a c near the middle of the i-th sixteenth of [0x1.66p-1, 0x1.66p0). */
static const double logf_rows[16][2] = {
    {0x1.661ec79f8f3bep+0, -0x1.57bf7808caadep-2}, {0x1.571ed4aaf883dp+0, -0x1.2bef0a7c06ddbp-2},
    {0x1.49539f0f010bp+0, -0x1.01eae7f513a67p-2},  {0x1.3c995b0b80385p+0, -0x1.b31d8a68224e9p-3},
    {0x1.30d190c8864a5p+0, -0x1.6574f0ac07758p-3}, {0x1.25e227b0b8eap+0, -0x1.1aa2bc79c81p-3},
    {0x1.1bb4a4a1a343fp+0, -0x1.a4e76ce8c0e5ep-4}, {0x1.12358f08ae5bap+0, -0x1.1973c5a611cccp-4},
    {0x1.0953f419900a7p+0, -0x1.252f438e10c1ep-5}, {0x1p+0, 0x0p+0},
    {0x1.e608cfd9a47acp-1, 0x1.aa5aa5df25984p-5},  {0x1.ca4b31f026aap-1, 0x1.c5e53aa362eb4p-4},
    {0x1.b2036576afce6p-1, 0x1.526e57720db08p-3},  {0x1.9c2d163a1aa2dp-1, 0x1.bc2860d22477p-3},
    {0x1.886e6037841edp-1, 0x1.1058bc8a07ee1p-2},  {0x1.767dcf5534862p-1, 0x1.4043057b6ee09p-2},
};

float qn_logf(float x)
{
    uint32_t bits, top, z_bits;
    const double *row;
    double r, y, r2;
    float z;
    int k;

    if (!(x > 0.0F))
        return x == 0.0F ? -HUGE_VALF : NAN;
    if (x > 0x1.fffffep127F)
        return x;
    memcpy(&bits, &x, sizeof bits);
    if (x < 0x1p-126F) {
        x *= 0x1p23F;
        memcpy(&bits, &x, sizeof bits);
        bits -= 23u << 23;
    }
    top = bits - 0x3f330000u;
    row = logf_rows[top >> 19 & 15];
    k = (int32_t)top >> 23;
    z_bits = bits - (top & 0xff800000u);
    memcpy(&z, &z_bits, sizeof z);
    r = (double)z * row[0] - 1;
    r2 = r * r;
    y = 0x1.5575b0be00b6ap-2 * r + -0x1.ffffef20a4123p-2;
    y = -0x1.00ea348b88334p-2 * r2 + y;
    return (float)(y * r2 + (row[1] + k * 0x1.62e42fefa39efp-1 + r));
}
