/* SPDX-License-Identifier: Apache-2.0
 * number_round.c - decimals and ratios of integers to the nearest double or float.
 *
 * The nearest double comes from one or two 64x64-bit products with a table of powers (Lemire 2021,
 * with Mushtak and Lemire, "Fast Number Parsing Without Fallback", 2023) or, where both are exact
 * doubles, from their quotient (Clinger 1990). Only a text of more than 19 digits can be undecided;
 * it is compared with the midpoint in big integers of fixed size. Invariant: each value is rounded
 * once, by integers or by one division of two exact doubles. Thread: any; no state; nothing is
 * allocated. */
#include "base/check.h"
#include "base/digits.h"
#include "base/number.h"
#include "base/number_table.h"

#include <string.h>

typedef unsigned __int128 u128;

/* What differs between double and float. */
struct real_form {
    int mantissa_bits;        /* stored ones                                              */
    int bias;                 /* minimum exponent: of the smallest normal number, less 1  */
    int exponent_all_ones;    /* infinity                                                 */
    int q_min, q_max;         /* below: 0, above: infinity, for any 64-bit digits         */
    int q_tie_min, q_tie_max; /* powers at which a decimal can lie on a midpoint          */
};
static const struct real_form form_double = {52, -1023, 0x7FF, -342, 308, -4, 23};
static const struct real_form form_float = {23, -127, 0xFF, -65, 38, -17, 10};

/* Bits (without sign) of the number nearest to w * 10^q, ties to even. */
static inline __attribute__((always_inline)) uint64_t nearest_bits(uint64_t w, int q,
                                                                   const struct real_form f)
{
    const struct qn_power10 *row;
    uint64_t hi, lo, mantissa, table_lo;
    int upper, shift, power2, zeros;
    u128 product;

    if (w == 0 || q < f.q_min)
        return 0;
    if (q > f.q_max)
        return (uint64_t)f.exponent_all_ones << f.mantissa_bits;
    zeros = __builtin_clzll(w);
    w <<= zeros;
    row = &qn_power10_table[q - QN_POWER10_FIRST];
    product = (u128)w * row->hi;
    hi = (uint64_t)(product >> 64);
    lo = (uint64_t)product;
    if (__builtin_expect((hi & (UINT64_MAX >> (f.mantissa_bits + 3))) ==
                             UINT64_MAX >> (f.mantissa_bits + 3),
                         0)) {
        /* The proof wants reciprocals of the powers up to 27 rounded up. */
        table_lo = row->lo + (q < 0 && q >= -27);
        product = (u128)w * table_lo;
        lo += (uint64_t)(product >> 64);
        hi += lo < (uint64_t)(product >> 64);
    }
    upper = (int)(hi >> 63);
    shift = upper + 64 - f.mantissa_bits - 3;
    mantissa = hi >> shift;
    power2 = (((152170 + 65536) * q) >> 16) + 63 + upper - zeros - f.bias;
    if (__builtin_expect(power2 <= 0, 0)) {
        if (-power2 + 1 >= 64)
            return 0;
        mantissa >>= -power2 + 1;
        mantissa += mantissa & 1;
        /* A carry into the hidden bit gives the smallest normal number by itself. */
        return mantissa >> 1;
    }
    if (__builtin_expect(lo <= 1, 0) && q >= f.q_tie_min && q <= f.q_tie_max &&
        (mantissa & 3) == 1 && mantissa << shift == hi)
        mantissa &= ~UINT64_C(1);
    mantissa += mantissa & 1;
    mantissa >>= 1;
    if (mantissa >= UINT64_C(2) << f.mantissa_bits) {
        mantissa = UINT64_C(1) << f.mantissa_bits;
        power2++;
    }
    if (power2 >= f.exponent_all_ones)
        return (uint64_t)f.exponent_all_ones << f.mantissa_bits;
    mantissa &= ~(UINT64_C(1) << f.mantissa_bits);
    return (uint64_t)power2 << f.mantissa_bits | mantissa;
}

/* A natural number of fixed capacity: both sides of a comparison below stay under 2^4000. */
enum { BIG_LIMBS = 72, BIG_DIGITS = 800 };
struct big {
    uint64_t limb[BIG_LIMBS]; /* least first */
    unsigned n;
};

static void big_mul_add(struct big *b, uint64_t factor, uint64_t addend)
{
    u128 carry = addend;

    for (unsigned i = 0; i < b->n; i++) {
        carry += (u128)b->limb[i] * factor;
        b->limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    if (carry != 0) {
        QN_ASSERT(b->n < BIG_LIMBS);
        b->limb[b->n++] = (uint64_t)carry;
    }
}

static void big_mul_power5(struct big *b, unsigned n)
{
    for (; n >= 27; n -= 27)
        big_mul_add(b, UINT64_C(7450580596923828125), 0);
    for (; n > 0; n--)
        big_mul_add(b, 5, 0);
}

static void big_shift_left(struct big *b, unsigned bits)
{
    unsigned limbs = bits / 64;

    big_mul_add(b, UINT64_C(1) << (bits % 64), 0);
    if (b->n == 0 || limbs == 0)
        return;
    QN_ASSERT(b->n + limbs <= BIG_LIMBS);
    memmove(b->limb + limbs, b->limb, b->n * sizeof b->limb[0]);
    memset(b->limb, 0, limbs * sizeof b->limb[0]);
    b->n += limbs;
}

static int big_cmp(const struct big *a, const struct big *b)
{
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    for (unsigned i = a->n; i-- > 0;)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

/* Compares the number in the text with m * 2^e2. No midpoint has more than 769 significant digits,
 * so of longer texts the first 800 and whether anything follows decide. */
static __attribute__((noinline)) int compare_text(const struct qn_decimal_text *d, uint64_t m,
                                                  int e2)
{
    struct big left = {.n = 0}, right = {.limb = {m}, .n = 1};
    unsigned kept = 0;
    bool rest = false;
    int exponent;

    for (uint32_t i = 0; i < d->text.len; i++) {
        unsigned digit = qn_digit_of(d->text.p[i]);

        if (d->text.p[i] == 'e' || d->text.p[i] == 'E')
            break;
        if (digit > 9 || (kept == 0 && digit == 0))
            continue;
        if (kept < BIG_DIGITS) {
            big_mul_add(&left, 10, digit);
            kept++;
        } else if (digit != 0) {
            rest = true;
            break;
        }
    }
    exponent = d->exponent - ((int)kept - QN_NUMBER_DIGITS);
    if (rest) {
        big_mul_add(&left, 10, 1);
        exponent--;
    }
    if (exponent >= 0)
        big_mul_power5(&left, (unsigned)exponent);
    else
        big_mul_power5(&right, (unsigned)-exponent);
    e2 -= exponent;
    if (e2 >= 0)
        big_shift_left(&right, (unsigned)e2);
    else
        big_shift_left(&left, (unsigned)-e2);
    return big_cmp(&left, &right);
}

/* The text has digits beyond the first 19: the value lies above digits * 10^exponent and below the
 * next. */
static __attribute__((noinline)) uint64_t nearest_long(const struct qn_decimal_text *d,
                                                       const struct real_form f)
{
    uint64_t lo = nearest_bits(d->digits, d->exponent, f);
    uint64_t hi = nearest_bits(d->digits + 1, d->exponent, f);
    uint64_t m = lo & ((UINT64_C(1) << f.mantissa_bits) - 1);
    int exponent = (int)(lo >> f.mantissa_bits);
    int c;

    if (lo == hi)
        return lo;
    QN_ASSERT(hi == lo + 1);
    if (exponent == 0)
        exponent = 1;
    else
        m |= UINT64_C(1) << f.mantissa_bits;
    c = compare_text(d, 2 * m + 1, exponent + f.bias - f.mantissa_bits - 1);
    if (c == 0)
        return (lo & 1) == 0 ? lo : hi;
    return c < 0 ? lo : hi;
}

static double double_of_bits(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static float float_of_bits(uint32_t bits)
{
    float v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Powers of ten that are doubles. */
static const double exact_power10[23] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                         1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                         1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

double qn_number_double(const struct qn_decimal_text *d)
{
    uint64_t bits;

    if (__builtin_expect(d->is_cut, 0))
        bits = nearest_long(d, form_double);
    else if (d->digits >> 53 == 0 && (unsigned)-d->exponent <= 22)
        return (d->negative ? -(double)(int64_t)d->digits : (double)(int64_t)d->digits) /
               exact_power10[-d->exponent];
    else
        bits = nearest_bits(d->digits, d->exponent, form_double);
    return double_of_bits(bits | (uint64_t)d->negative << 63);
}

float qn_number_float(const struct qn_decimal_text *d)
{
    uint64_t bits;

    if (__builtin_expect(d->is_cut, 0))
        bits = nearest_long(d, form_float);
    else
        bits = nearest_bits(d->digits, d->exponent, form_float);
    return float_of_bits((uint32_t)(bits | (uint64_t)d->negative << 31));
}

bool qn_number_scaled(const struct qn_decimal_text *d, unsigned scale, int64_t *out)
{
    uint64_t v = d->digits;
    int e = d->exponent + (int)scale;

    QN_ASSERT(scale <= QN_SCALE_MAX);
    /* Twenty digits or more: beyond int64, or with more decimals than any scale. */
    if (d->is_cut)
        return false;
    if (e > 0 && v != 0) {
        if (e > 19 || __builtin_mul_overflow(v, qn_pow10[e], &v))
            return false;
    } else if (e < 0 && v != 0) {
        if (e < -19 || v % qn_pow10[-e] != 0)
            return false;
        v /= qn_pow10[-e];
    }
    if (v > (uint64_t)INT64_MAX + d->negative)
        return false;
    *out = (int64_t)(d->negative ? -v : v);
    return true;
}

/* ---- ratios ---- */

static unsigned bits_of(u128 v)
{
    uint64_t hi = (uint64_t)(v >> 64);

    if (hi != 0)
        return 128 - (unsigned)__builtin_clzll(hi);
    return (uint64_t)v == 0 ? 0 : 64 - (unsigned)__builtin_clzll((uint64_t)v);
}

/* The double nearest to (v + something below 1, if sticky) * 2^e2. v >= 2^54; no overflow, no
 * denormals. */
static double round_scaled(u128 v, bool sticky, int e2)
{
    unsigned drop = bits_of(v) - 53;
    uint64_t m = (uint64_t)(v >> drop);
    u128 rest = v & (((u128)1 << drop) - 1), half = (u128)1 << (drop - 1);

    if (rest > half || (rest == half && (sticky || (m & 1) != 0)))
        m++;
    return (double)m * double_of_bits((uint64_t)(e2 + (int)drop + 1023) << 52);
}

static __attribute__((noinline)) double ratio_long(u128 num, u128 den)
{
    int shift = 128 - (int)bits_of(num);
    u128 v = num << shift, q = v / den, rest = v % den;

    /* One bit at a time until there are enough for rounding. */
    while (q >> 54 == 0) {
        bool carry = rest >> 127 != 0;

        rest <<= 1;
        q <<= 1;
        if (carry || rest >= den) {
            rest -= den;
            q |= 1;
        }
        shift++;
    }
    return round_scaled(q, rest != 0, -shift);
}

double qn_ratio_double(__int128 num, unsigned __int128 den)
{
    u128 n = num < 0 ? -(u128)num : (u128)num;
    double v;

    QN_ASSERT(den > 0);
    if (n == 0)
        return 0.0;
    /* Both sides exact: the division rounds once. */
    if ((n | den) >> 53 == 0)
        v = (double)(uint64_t)n / (double)(uint64_t)den;
    else
        v = ratio_long(n, den);
    return num < 0 ? -v : v;
}

double qn_scaled_double(int64_t v, unsigned scale)
{
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;

    QN_ASSERT(scale <= QN_SCALE_MAX);
    return double_of_bits(nearest_bits(u, -(int)scale, form_double) | (uint64_t)(v < 0) << 63);
}
