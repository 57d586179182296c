/* SPDX-License-Identifier: Apache-2.0
 * number_print.c - numbers as the shortest text that reads back to the same bits.
 *
 * On the hot path once per number written. Doubles and floats by Schubfach (Giulietti 2022), one
 * routine for both; integers two digits at a time. The forms are those of number.h. Invariant: what
 * is written here number_scan.c and number_round.c read back unchanged. Thread: any; no state;
 * nothing is allocated; the caller's buffer holds QN_NUMBER_MAX bytes. */
#include "base/check.h"
#include "base/digits.h"
#include "base/number.h"
#include "base/number_table.h"

#include <string.h>

#define ASCII_ZEROS QN_BYTES('0')

typedef unsigned __int128 u128;

static const char pairs[201] = "0001020304050607080910111213141516171819202122232425262728293031323"
                               "3343536373839404142434445464748"
                               "4950515253545556575859606162636465666768697071727374757677787980818"
                               "2838485868788899091929394959697"
                               "9899";

static inline unsigned count_digits(uint64_t v)
{
    unsigned guess = (unsigned)(64 - __builtin_clzll(v | 1)) * 1233 >> 12;

    return guess + (v >= qn_pow10[guess]) + (v == 0);
}

/* Writes the n digits of v that end at out + n. */
static inline void put_digits(char *out, uint64_t v, unsigned n)
{
    while (n >= 2) {
        n -= 2;
        memcpy(out + n, pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (n > 0)
        out[0] = (char)('0' + v);
}

unsigned qn_print_uint64(char *out, uint64_t v)
{
    unsigned n = count_digits(v);

    put_digits(out, v, n);
    return n;
}

unsigned qn_print_int64(char *out, int64_t v)
{
    bool negative = v < 0;

    *out = '-';
    return negative + qn_print_uint64(out + negative, negative ? -(uint64_t)v : (uint64_t)v);
}

unsigned qn_print_scaled(char *out, int64_t v, unsigned scale)
{
    uint64_t u = v < 0 ? -(uint64_t)v : (uint64_t)v;
    char *at = out;
    unsigned n;

    QN_ASSERT(scale <= QN_SCALE_MAX);
    if (v < 0)
        *at++ = '-';
    n = count_digits(u);
    if (n <= scale)
        n = scale + 1;
    if (scale == 0) {
        put_digits(at, u, n);
        return (unsigned)(at - out) + n;
    }
    put_digits(at + 1, u, n);
    memmove(at, at + 1, n - scale);
    at[n - scale] = '.';
    return (unsigned)(at - out) + n + 1;
}

/* A decimal digits * 10^exponent. */
struct decimal {
    uint64_t digits;
    int exponent;
};

/* floor(g * cp / 2^128) with the lowest bit set where anything was cut. */
static inline uint64_t round_to_odd(uint64_t g_hi, uint64_t g_lo, uint64_t cp)
{
    u128 x = (u128)g_lo * cp;
    u128 y = (u128)g_hi * cp + (uint64_t)(x >> 64);

    return (uint64_t)(y >> 64) | ((uint64_t)y > 1);
}

/* The shortest decimal within the rounding interval of c * 2^q, nearest to it among those. c > 0.
 */
static inline struct decimal shortest(uint64_t c, int q, bool lower_is_closer)
{
    const struct qn_power10 *row;
    uint64_t cbl = 4 * c - 2 + lower_is_closer, cb = 4 * c, cbr = 4 * c + 2;
    uint64_t vbl, vb, vbr, lower, upper, s, g_lo;
    bool odd = (c & 1) != 0, under, over;
    int k, h;

    k = (q * 1262611 - (lower_is_closer ? 524031 : 0)) >> 22;
    h = q + ((-k * 1741647) >> 19) + 1;
    row = &qn_power10_table[-k - QN_POWER10_FIRST];
    g_lo = row->lo + (k > 0 || -k > QN_POWER10_EXACT_LAST);
    vbl = round_to_odd(row->hi, g_lo, cbl << h);
    vb = round_to_odd(row->hi, g_lo, cb << h);
    vbr = round_to_odd(row->hi, g_lo, cbr << h);
    lower = vbl + odd;
    upper = vbr - odd;
    s = vb / 4;
    if (s >= 10) {
        uint64_t sp = s / 10;

        under = lower <= 40 * sp;
        over = 40 * sp + 40 <= upper;
        if (under != over)
            return (struct decimal){sp + over, k + 1};
    }
    under = lower <= 4 * s;
    over = 4 * s + 4 <= upper;
    if (under != over)
        return (struct decimal){s + over, k};
    over = vb > 4 * s + 2 || (vb == 4 * s + 2 && (s & 1) != 0);
    return (struct decimal){s + over, k};
}

/* Eight digits of v < 10^8 as bytes 0 to 9, the first digit in the lowest byte. */
static inline uint64_t eight_bytes(uint32_t v)
{
    uint64_t hi = ((uint64_t)v * 109951163) >> 40; /* v / 10000 */
    uint64_t fours = hi | (v - hi * 10000) << 32;
    uint64_t hundreds = ((fours * 10486) >> 20) & UINT64_C(0x0000007F0000007F);
    uint64_t twos = hundreds | (fours - hundreds * 100) << 16;
    uint64_t tens = ((twos * 103) >> 10) & UINT64_C(0x000F000F000F000F);

    return tens | (twos - tens * 10) << 8;
}

/* Writes digits * 10^exponent (digits < 10^17, not 0) in the form of number.h; returns the length.
 */
static inline unsigned put_decimal(char *out, struct decimal d)
{
    uint64_t low8 = d.digits % 100000000, rest = d.digits / 100000000;
    uint64_t mid = eight_bytes((uint32_t)(rest % 100000000)), low = eight_bytes((uint32_t)low8);
    char text[40];
    unsigned first, count, n, point;
    int e;

    /* text: 17 digits at 0, of which some leading and trailing ones are 0; zeros behind. */
    text[0] = (char)('0' + rest / 100000000);
    mid |= ASCII_ZEROS;
    memcpy(text + 1, &mid, 8);
    mid ^= ASCII_ZEROS;
    low |= ASCII_ZEROS;
    memcpy(text + 9, &low, 8);
    low ^= ASCII_ZEROS;
    memset(text + 17, '0', 23);
    if (text[0] != '0')
        first = 0;
    else if (mid != 0)
        first = 1 + (unsigned)__builtin_ctzll(mid) / 8;
    else
        first = 9 + (unsigned)__builtin_ctzll(low) / 8;
    if (low != 0)
        n = 17 - (unsigned)__builtin_clzll(low) / 8;
    else if (mid != 0)
        n = 9 - (unsigned)__builtin_clzll(mid) / 8;
    else
        n = 1;
    count = n - first;
    e = d.exponent + 16 - (int)first; /* of the first digit */
    if (e >= 0 && e <= 20) {
        point = (unsigned)e + 1;
        memcpy(out, text + first, 21);
        if (count <= point)
            return point;
        out[point] = '.';
        /* At most 17 digits in all; whole words, but never beyond QN_NUMBER_MAX. */
        if (point <= 14)
            memcpy(out + point + 1, text + first + point, 16);
        else
            memcpy(out + point + 1, text + first + point, 2);
        return count + 1;
    }
    if (e < 0 && e >= -6) {
        memcpy(out, "0.000000", 8);
        memcpy(out + 1 - e, text + first, 17);
        return (unsigned)(1 - e) + count;
    }
    out[0] = text[first];
    out[1] = '.';
    memcpy(out + 2, text + first + 1, 16);
    n = count > 1 ? count + 1 : 1;
    out[n++] = 'e';
    out[n++] = e < 0 ? '-' : '+';
    return n + qn_print_uint64(out + n, (uint64_t)(e < 0 ? -e : e));
}

unsigned qn_print_double(char *out, double v)
{
    uint64_t bits, c;
    unsigned sign;
    int e, q;

    memcpy(&bits, &v, sizeof bits);
    sign = (unsigned)(bits >> 63);
    e = (int)(bits >> 52 & 0x7FF);
    c = bits & ((UINT64_C(1) << 52) - 1);
    QN_ASSERT(e != 0x7FF);
    *out = '-';
    if (__builtin_expect((e | c) == 0, 0)) {
        out[sign] = '0';
        return sign + 1;
    }
    if (e == 0)
        return sign + put_decimal(out + sign, shortest(c, -1074, false));
    c |= UINT64_C(1) << 52;
    q = e - 1075;
    if (q <= 0 && q > -53 && (c & ((UINT64_C(1) << -q) - 1)) == 0)
        return sign + qn_print_uint64(out + sign, c >> -q);
    return sign + put_decimal(out + sign, shortest(c, q, c == UINT64_C(1) << 52 && e > 1));
}

unsigned qn_print_float(char *out, float v)
{
    uint32_t bits;
    uint64_t c;
    unsigned sign;
    int e, q;

    memcpy(&bits, &v, sizeof bits);
    sign = bits >> 31;
    e = (int)(bits >> 23 & 0xFF);
    c = bits & ((UINT32_C(1) << 23) - 1);
    QN_ASSERT(e != 0xFF);
    *out = '-';
    if (__builtin_expect((e | c) == 0, 0)) {
        out[sign] = '0';
        return sign + 1;
    }
    if (e == 0)
        return sign + put_decimal(out + sign, shortest(c, -149, false));
    c |= UINT64_C(1) << 23;
    q = e - 150;
    if (q <= 0 && q > -24 && (c & ((UINT64_C(1) << -q) - 1)) == 0)
        return sign + qn_print_uint64(out + sign, c >> -q);
    return sign + put_decimal(out + sign, shortest(c, q, c == UINT64_C(1) << 23 && e > 1));
}
