/* SPDX-License-Identifier: Apache-2.0
 * number.c - decimal text to binary and back, exactly.
 *
 * On the hot path several times per event: scanning walks the text once into an integer and a power
 * of ten; the nearest double comes from one or two 64x64-bit products with a table of powers
 * (Lemire 2021, with Mushtak and Lemire, "Fast Number Parsing Without Fallback", 2023) or, where
 * both are exact doubles, from their quotient (Clinger 1990). Only a text of more than 19 digits
 * can be undecided; it is compared with the midpoint in big integers of fixed size. Printing is
 * Schubfach (Giulietti 2022), one routine for double and float. Invariant: each value is rounded
 * once, by integers or by one division of two exact doubles. Thread: any; no state; nothing is
 * allocated. */
#include "base/number.h"

#include "base/check.h"
#include "base/number_table.h"

#include <math.h>

typedef unsigned __int128 u128;

enum { SCALE_MAX = 18, EXPONENT_MAX = 100000, DIGITS_KEPT = 19 };

static const uint64_t power10[20] = {
    1U,
    10U,
    100U,
    1000U,
    10000U,
    100000U,
    1000000U,
    10000000U,
    100000000U,
    1000000000U,
    10000000000U,
    100000000000U,
    1000000000000U,
    10000000000000U,
    100000000000000U,
    1000000000000000U,
    10000000000000000U,
    100000000000000000U,
    1000000000000000000U,
    10000000000000000000U,
};

static inline unsigned digit_of(char c)
{
    return (unsigned)(unsigned char)c - '0';
}

static inline bool is_digit(const char *p, const char *end)
{
    return p < end && digit_of(*p) < 10;
}

#define EACH(byte)  (UINT64_C(0x0101010101010101) * (byte))
#define ASCII_ZEROS EACH('0')

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "eight bytes are read as one number");

/* Eight bytes less '0' in; the top bit of each that is not a digit out. */
static inline uint64_t not_digits(uint64_t d)
{
    return (((d & EACH(0x7F)) + EACH(0x80 - 10)) | d) & EACH(0x80);
}

/* The number that eight bytes of 0 to 9 say, the first in the lowest byte. */
static inline uint32_t eight_value(uint64_t v)
{
    v = v * 10 + (v >> 8);
    v = (((v & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x000F424000000064)) +
         (((v >> 16) & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x0000271000000001))) >>
        32;
    return (uint32_t)v;
}

/* Reads digits into *value (which wraps around when there are many); returns the end of them. */
static inline const char *take_digits(const char *p, const char *end, uint64_t *value)
{
    uint64_t v = *value;

    while (p < end) {
        unsigned d = digit_of(*p);

        if (d > 9)
            break;
        v = v * 10 + d;
        p++;
    }
    *value = v;
    return p;
}

static inline const char *take_fraction(const char *p, const char *end, uint64_t *value)
{
    uint64_t chunk;

    while (end - p >= 8) {
        memcpy(&chunk, p, 8);
        chunk ^= ASCII_ZEROS;
        if (not_digits(chunk) != 0)
            break;
        *value = *value * 100000000 + eight_value(chunk);
        p += 8;
    }
    return take_digits(p, end, value);
}

/* Reads e, E, sign and digits at p. Returns the end, or p itself where no exponent stands there.
 * The value is clamped far outside of anything a length could make up for. */
static const char *take_exponent(const char *p, const char *end, int64_t *exponent)
{
    const char *at = p + 1;
    bool negative = false;
    int64_t v = 0;

    if (at < end && (*at == '+' || *at == '-'))
        negative = *at++ == '-';
    if (!is_digit(at, end))
        return p;
    for (; is_digit(at, end); at++)
        if (v < INT64_C(1000000000000))
            v = v * 10 + digit_of(*at);
    *exponent = negative ? -v : v;
    return at;
}

/* For texts of more than 19 digits: reads the first 19 significant ones again. `exponent` is that
 * of the e-part. */
static __attribute__((noinline)) void scan_long(const char *first, const char *end,
                                                int64_t exponent, struct qn_decimal_text *out)
{
    uint64_t v = 0;
    unsigned kept = 0;
    int64_t dropped = 0, after_point = 0;
    bool cut = false, behind_point = false;

    for (const char *p = first; p < end; p++) {
        unsigned d = digit_of(*p);

        if (*p == '.') {
            behind_point = true;
            continue;
        }
        if (d > 9)
            break;
        after_point += behind_point;
        if (kept == 0 && d == 0)
            continue;
        if (kept < DIGITS_KEPT) {
            v = v * 10 + d;
            kept++;
        } else {
            dropped++;
            cut |= d != 0;
        }
    }
    exponent += dropped - after_point;
    if (exponent > EXPONENT_MAX)
        exponent = EXPONENT_MAX;
    if (exponent < -EXPONENT_MAX)
        exponent = -EXPONENT_MAX;
    out->digits = v;
    out->exponent = v == 0 ? 0 : (int32_t)exponent;
    out->is_cut = cut;
}

/* The first eight of n bytes, n from 1 to 7, zeros behind, without reading beyond them. */
static inline uint64_t load_few(const char *p, size_t n)
{
    uint32_t lo, hi;

    if (n >= 4) {
        memcpy(&lo, p, 4);
        memcpy(&hi, p + n - 4, 4);
        return lo | (uint64_t)hi << (8 * (n - 4));
    }
    return (uint64_t)(unsigned char)p[0] | (uint64_t)(unsigned char)p[n / 2] << (8 * (n / 2)) |
           (uint64_t)(unsigned char)p[n - 1] << (8 * (n - 1));
}

/* Most numbers of events end within eight bytes: 4562, 57.16. Their digits are found, joined around
 * the point and converted without a branch that depends on how many there are. Returns the length,
 * sign not counted; 0 if the text at p is anything else, which the general way then looks at. */
static inline uint32_t scan_short(const char *p, const char *end, struct qn_decimal_text *out)
{
    size_t have = (size_t)(end - p);
    uint64_t d, stops, mask;
    unsigned i, j;
    char stop;

    if (have >= 8)
        memcpy(&d, p, 8);
    else if (have > 0)
        d = load_few(p, have);
    else
        return 0;
    d ^= ASCII_ZEROS;
    stops = not_digits(d);
    if (stops == 0)
        return 0;
    i = (unsigned)__builtin_ctzll(stops) / 8;
    if (i == 0 || ((d & 0xFF) == 0 && i > 1))
        return 0;
    stop = (char)((d >> (8 * i) & 0xFF) ^ '0');
    if (stop != '.') {
        if ((stop | 0x20) == 'e')
            return 0;
        out->digits = eight_value(d << (64 - 8 * i));
        out->exponent = 0;
        out->is_integer = true;
        return i;
    }
    stops &= stops - 1;
    if (stops == 0)
        return 0;
    j = (unsigned)__builtin_ctzll(stops) / 8;
    stop = (char)((d >> (8 * j) & 0xFF) ^ '0');
    if (j == i + 1 || (stop | 0x20) == 'e')
        return 0;
    mask = (UINT64_C(1) << (8 * i)) - 1;
    d = (d & mask) | (d >> 8 & ~mask);
    out->digits = eight_value(d << (64 - 8 * (j - 1)));
    out->exponent = out->digits == 0 ? 0 : (int32_t)i + 1 - (int32_t)j;
    out->is_integer = false;
    return j;
}

/* The grammar is RFC 8259's; `loose` also takes a plus sign, leading zeros, and a point without
 * digits on one side. */
static inline __attribute__((always_inline)) uint32_t scan(const char *start, const char *end,
                                                           struct qn_decimal_text *out, bool loose)
{
    const char *p = start, *first, *behind;
    int64_t exponent = 0;
    uint64_t v = 0;
    size_t digits;
    bool is_integer = true;

    out->negative = p < end && *p == '-';
    p += out->negative || (loose && p < end && *p == '+');
    first = p;
    digits = scan_short(p, end, out);
    if (__builtin_expect(digits > 0, 1)) {
        out->is_cut = false;
        out->text = (struct qn_str){start, (uint32_t)(p - start + digits)};
        return out->text.len;
    }
    if (!loose && p < end && *p == '0')
        p++;
    else
        p = take_digits(p, end, &v);
    digits = (size_t)(p - first);
    if (digits == 0 && !(loose && p < end && *p == '.'))
        return 0;
    if (p < end && *p == '.') {
        behind = take_fraction(p + 1, end, &v);
        if (behind > p + 1 || (loose && digits > 0)) {
            exponent = -(int64_t)(behind - (p + 1));
            digits += (size_t)(behind - (p + 1));
            is_integer = false;
            p = behind;
        }
        if (digits == 0)
            return 0;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        int64_t e = 0;

        behind = take_exponent(p, end, &e);
        if (behind > p) {
            is_integer = false;
            if (digits <= DIGITS_KEPT)
                exponent += e;
            else
                exponent = e;
            p = behind;
        } else if (digits > DIGITS_KEPT) {
            exponent = 0;
        }
    } else if (__builtin_expect(digits > DIGITS_KEPT, 0)) {
        exponent = 0;
    }
    out->is_integer = is_integer;
    out->text = (struct qn_str){start, (uint32_t)(p - start)};
    if (__builtin_expect(digits > DIGITS_KEPT, 0)) {
        scan_long(first, p, exponent, out);
        return out->text.len;
    }
    if (__builtin_expect(exponent < -EXPONENT_MAX || exponent > EXPONENT_MAX, 0))
        exponent = exponent < 0 ? -EXPONENT_MAX : EXPONENT_MAX;
    out->digits = v;
    out->exponent = v == 0 ? 0 : (int32_t)exponent;
    out->is_cut = false;
    return out->text.len;
}

uint32_t qn_number_scan(const char *p, const char *end, struct qn_decimal_text *out)
{
    return scan(p, end, out, false);
}

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
        unsigned digit = digit_of(d->text.p[i]);

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
    exponent = d->exponent - ((int)kept - DIGITS_KEPT);
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

    QN_ASSERT(scale <= SCALE_MAX);
    /* Twenty digits or more: beyond int64, or with more decimals than any scale. */
    if (d->is_cut)
        return false;
    if (e > 0 && v != 0) {
        if (e > 19 || __builtin_mul_overflow(v, power10[e], &v))
            return false;
    } else if (e < 0 && v != 0) {
        if (e < -19 || v % power10[-e] != 0)
            return false;
        v /= power10[-e];
    }
    if (v > (uint64_t)INT64_MAX + d->negative)
        return false;
    *out = (int64_t)(d->negative ? -v : v);
    return true;
}

static bool is_word(struct qn_str text, const char *word)
{
    size_t n = strlen(word);

    if (text.len != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((text.p[i] | 0x20) != word[i])
            return false;
    return true;
}

/* inf, infinity or nan with an optional sign. */
static bool special_word(struct qn_str text, double *out)
{
    bool negative = text.len > 0 && text.p[0] == '-';

    if (negative || (text.len > 0 && text.p[0] == '+')) {
        text.p++;
        text.len--;
    }
    if (is_word(text, "nan"))
        *out = (double)NAN;
    else if (is_word(text, "inf") || is_word(text, "infinity"))
        *out = negative ? -HUGE_VAL : HUGE_VAL;
    else
        return false;
    return true;
}

bool qn_text_double(struct qn_str text, double *out)
{
    struct qn_decimal_text d;

    if (text.len > 0 && scan(text.p, text.p + text.len, &d, true) == text.len) {
        *out = qn_number_double(&d);
        return true;
    }
    return special_word(text, out);
}

bool qn_text_float(struct qn_str text, float *out)
{
    struct qn_decimal_text d;
    double special;

    if (text.len > 0 && scan(text.p, text.p + text.len, &d, true) == text.len) {
        *out = qn_number_float(&d);
        return true;
    }
    if (!special_word(text, &special))
        return false;
    *out = (float)special;
    return true;
}

bool qn_text_int64(struct qn_str text, int64_t *out)
{
    struct qn_decimal_text d;

    return text.len > 0 && scan(text.p, text.p + text.len, &d, true) == text.len && d.is_integer &&
           qn_number_scaled(&d, 0, out);
}

bool qn_text_scaled(struct qn_str text, unsigned scale, int64_t *out)
{
    struct qn_decimal_text d;

    return text.len > 0 && scan(text.p, text.p + text.len, &d, true) == text.len &&
           qn_number_scaled(&d, scale, out);
}

static const char pairs[201] = "0001020304050607080910111213141516171819202122232425262728293031323"
                               "3343536373839404142434445464748"
                               "4950515253545556575859606162636465666768697071727374757677787980818"
                               "2838485868788899091929394959697"
                               "9899";

static inline unsigned count_digits(uint64_t v)
{
    unsigned guess = (unsigned)(64 - __builtin_clzll(v | 1)) * 1233 >> 12;

    return guess + (v >= power10[guess]) + (v == 0);
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

    QN_ASSERT(scale <= SCALE_MAX);
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

    QN_ASSERT(scale <= SCALE_MAX);
    return double_of_bits(nearest_bits(u, -(int)scale, form_double) | (uint64_t)(v < 0) << 63);
}
