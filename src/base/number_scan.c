/* SPDX-License-Identifier: Apache-2.0
 * number_scan.c - the text of a number into digits and a power of ten, exactly.
 *
 * On the hot path several times per event: one walk over the text, eight bytes at a time where they
 * are digits, gives an integer of at most 19 digits and an exponent; number_round.c makes values of
 * them. Longer texts keep their first 19 digits and the mark is_cut; who needs more reads the text
 * again. Also here: whole texts as numbers, for options, CSV and model files. Invariant: nothing is
 * rounded. Thread: any; no state; nothing is allocated. */
#include "base/check.h"
#include "base/digits.h"
#include "base/number.h"

#include <math.h>

enum { EXPONENT_MAX = 100000 };

#define ASCII_ZEROS QN_BYTES('0')

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "eight bytes are read as one number");

static inline bool is_digit(const char *p, const char *end)
{
    return p < end && qn_digit_of(*p) < 10;
}

/* Eight bytes less '0' in; the top bit of each that is not a digit out. */
static inline uint64_t not_digits(uint64_t d)
{
    return (((d & QN_BYTES(0x7F)) + QN_BYTES(0x80 - 10)) | d) & QN_BYTES(0x80);
}

/* Reads digits into *value (which wraps around when there are many); returns the end of them. */
static inline const char *take_digits(const char *p, const char *end, uint64_t *value)
{
    uint64_t v = *value;

    while (p < end) {
        unsigned d = qn_digit_of(*p);

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
        *value = *value * 100000000 + qn_eight_digits(chunk);
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
            v = v * 10 + qn_digit_of(*at);
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
        unsigned d = qn_digit_of(*p);

        if (*p == '.') {
            behind_point = true;
            continue;
        }
        if (d > 9)
            break;
        after_point += behind_point;
        if (kept == 0 && d == 0)
            continue;
        if (kept < QN_NUMBER_DIGITS) {
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
        out->digits = qn_eight_digits(d << (64 - 8 * i));
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
    out->digits = qn_eight_digits(d << (64 - 8 * (j - 1)));
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
            if (digits <= QN_NUMBER_DIGITS)
                exponent += e;
            else
                exponent = e;
            p = behind;
        } else if (digits > QN_NUMBER_DIGITS) {
            exponent = 0;
        }
    } else if (__builtin_expect(digits > QN_NUMBER_DIGITS, 0)) {
        exponent = 0;
    }
    out->is_integer = is_integer;
    out->text = (struct qn_str){start, (uint32_t)(p - start)};
    if (__builtin_expect(digits > QN_NUMBER_DIGITS, 0)) {
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

/* ---- whole texts ---- */

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
