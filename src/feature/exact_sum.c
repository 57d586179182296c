/* SPDX-License-Identifier: Apache-2.0
 * exact_sum.c - fixed-point sums of doubles and their single rounding. See exact_sum.h.
 *
 * A finite double is m * 2^e with an integer m below 2^53; its place in a sum is bit e - unit.
 * Adding touches two limbs and ripples the carry. Reading takes the highest 128 bits of the
 * magnitude and one sticky bit for all below, divides that by n (the quotient keeps at least 64
 * bits, remainder and sticky join), and rounds once at the 53rd bit or at 2^-1074, whichever is
 * higher. Called by the ring (window_int.h) and the read-out of windows. Thread: any; a sum
 * belongs to one. */
#include "feature/exact_sum.h"

#include "base/check.h"

#include <math.h>
#include <string.h>

enum { MANTISSA_BITS = 53, EXPONENT_BIAS = 1075 /* of an integer mantissa */ };

/* v = (negative ? -1 : 1) * mantissa * 2^exponent; finite only. */
struct parts {
    uint64_t mantissa;
    int exponent;
    bool negative;
};

static struct parts parts_of(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    unsigned biased = (unsigned)(bits >> 52) & 0x7FF;
    uint64_t fraction = bits & (((uint64_t)1 << 52) - 1);
    struct parts p = {fraction, 1 - EXPONENT_BIAS, bits >> 63 != 0};

    if (biased != 0) {
        p.mantissa |= (uint64_t)1 << 52;
        p.exponent = (int)biased - EXPONENT_BIAS;
    }
    return p;
}

bool qn_exact_fits(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    unsigned biased = (unsigned)(bits >> 52) & 0x7FF;

    if (biased > 1023 + 63)
        return false;
    if (biased >= EXPONENT_BIAS + QN_EXACT_UNIT)
        return true;
    if (bits << 1 == 0)
        return true;
    struct parts p = parts_of(v);

    return p.exponent + __builtin_ctzll(p.mantissa) >= QN_EXACT_UNIT;
}

/* limb[at..] += x << (64 * at). */
static inline void limbs_add(uint64_t *limb, unsigned count, unsigned at, uint64_t lo, uint64_t hi)
{
    unsigned long long sum;
    bool carry = __builtin_add_overflow((unsigned long long)limb[at], lo, &sum);

    limb[at] = sum;
    if (at + 1 >= count)
        return;
    unsigned __int128 high = (unsigned __int128)limb[at + 1] + hi + carry;

    limb[at + 1] = (uint64_t)high;
    carry = (high >> 64) != 0;
    for (unsigned i = at + 2; carry && i < count; i++)
        carry = ++limb[i] == 0;
}

static inline void limbs_sub(uint64_t *limb, unsigned count, unsigned at, uint64_t lo, uint64_t hi)
{
    unsigned long long difference;
    bool borrow = __builtin_sub_overflow((unsigned long long)limb[at], lo, &difference);

    limb[at] = difference;
    if (at + 1 >= count)
        return;
    unsigned __int128 high = (unsigned __int128)limb[at + 1] - hi - borrow;

    limb[at + 1] = (uint64_t)high;
    borrow = (high >> 64) != 0;
    for (unsigned i = at + 2; borrow && i < count; i++)
        borrow = limb[i]-- == 0;
}

static inline void limbs_put(uint64_t *limb, unsigned count, int unit, double v, bool subtract)
{
    struct parts p = parts_of(v);

    if (p.mantissa == 0)
        return;
    int place = p.exponent - unit;

    if (place < 0) {
        p.mantissa >>= -place;
        place = 0;
    }
    unsigned __int128 x = (unsigned __int128)p.mantissa << (place & 63);
    unsigned at = (unsigned)place >> 6;

    if (p.negative != subtract)
        limbs_sub(limb, count, at, (uint64_t)x, (uint64_t)(x >> 64));
    else
        limbs_add(limb, count, at, (uint64_t)x, (uint64_t)(x >> 64));
}

void qn_exact_add(struct qn_exact_sum *s, double v)
{
    QN_DCHECK(qn_exact_fits(v));
    limbs_put(s->limb, QN_EXACT_LIMBS, QN_EXACT_UNIT, v, false);
}

void qn_exact_sub(struct qn_exact_sum *s, double v)
{
    QN_DCHECK(qn_exact_fits(v));
    limbs_put(s->limb, QN_EXACT_LIMBS, QN_EXACT_UNIT, v, true);
}

static void limbs_minus(uint64_t *out, const uint64_t *a, const uint64_t *b, unsigned count)
{
    unsigned __int128 borrow = 0;

    for (unsigned i = 0; i < count; i++) {
        unsigned __int128 d = (unsigned __int128)a[i] - b[i] - borrow;

        out[i] = (uint64_t)d;
        borrow = (d >> 64) != 0;
    }
}

void qn_exact_minus(struct qn_exact_sum *out, const struct qn_exact_sum *a,
                    const struct qn_exact_sum *b)
{
    limbs_minus(out->limb, a->limb, b->limb, QN_EXACT_LIMBS);
}

static void wide_put(struct qn_exact_wide *w, double v, bool subtract)
{
    uint64_t one = subtract ? UINT64_MAX : 1;

    if (isnan(v))
        w->nan += one;
    else if (isinf(v))
        *(v > 0 ? &w->plus_inf : &w->minus_inf) += one;
    else
        limbs_put(w->limb, QN_EXACT_WIDE_LIMBS, QN_EXACT_WIDE_UNIT, v, subtract);
}

void qn_exact_wide_add(struct qn_exact_wide *w, double v)
{
    wide_put(w, v, false);
}

void qn_exact_wide_sub(struct qn_exact_wide *w, double v)
{
    wide_put(w, v, true);
}

void qn_exact_wide_minus(struct qn_exact_wide *out, const struct qn_exact_wide *a,
                         const struct qn_exact_wide *b)
{
    limbs_minus(out->limb, a->limb, b->limb, QN_EXACT_WIDE_LIMBS);
    out->nan = a->nan - b->nan;
    out->plus_inf = a->plus_inf - b->plus_inf;
    out->minus_inf = a->minus_inf - b->minus_inf;
}

/* q * 2^exponent, q != 0, plus something below 2^exponent if sticky, as the nearest double. */
static double round_once(unsigned __int128 q, int exponent, bool sticky, bool negative)
{
    uint64_t high = (uint64_t)(q >> 64);
    int bits = high != 0 ? 128 - __builtin_clzll(high) : 64 - __builtin_clzll((uint64_t)q);
    int drop = bits - MANTISSA_BITS;

    if (exponent + drop < QN_EXACT_WIDE_UNIT)
        drop = QN_EXACT_WIDE_UNIT - exponent;
    uint64_t m;

    if (drop <= 0) {
        QN_DCHECK(!sticky);
        m = (uint64_t)q;
        drop = 0;
    } else if (drop > 128) {
        m = 0;
    } else {
        unsigned __int128 half = (unsigned __int128)1 << (drop - 1);
        unsigned __int128 rest = drop == 128 ? q : q & ((half << 1) - 1);

        m = drop == 128 ? 0 : (uint64_t)(q >> drop);
        if (rest > half || (rest == half && (sticky || (m & 1) != 0)))
            m++;
    }
    double v = ldexp((double)m, exponent + drop); /* exact, or beyond the range: infinite */

    return negative ? -v : v;
}

/* limb / n with the lowest bit 2^unit. Clobbers limb. */
static double limbs_read(uint64_t *limb, unsigned count, int unit, uint64_t n)
{
    bool negative = limb[count - 1] >> 63 != 0;

    if (negative) {
        bool carry = true;

        for (unsigned i = 0; i < count; i++) {
            limb[i] = ~limb[i] + carry;
            carry = carry && limb[i] == 0;
        }
    }
    unsigned top = count;

    while (top > 0 && limb[top - 1] == 0)
        top--;
    if (top == 0)
        return 0.0;
    /* the highest 128 bits, shifted up so that bit 127 is set */
    unsigned shift = (unsigned)__builtin_clzll(limb[top - 1]);
    uint64_t second = top > 1 ? limb[top - 2] : 0;
    uint64_t third = top > 2 ? limb[top - 3] : 0;
    unsigned __int128 h = (unsigned __int128)limb[top - 1] << 64 | second;
    bool sticky = false;

    if (shift > 0) {
        h = h << shift | third >> (64 - shift);
        third <<= shift;
    }
    sticky = third != 0;
    for (unsigned i = 0; !sticky && i + 3 < top; i++)
        sticky = limb[i] != 0;
    int exponent = unit + 64 * ((int)top - 2) - (int)shift;

    if (n > 1) {
        unsigned __int128 q = h / n;

        sticky = sticky || q * n != h;
        h = q;
    }
    return round_once(h, exponent, sticky, negative);
}

double qn_exact_read(const struct qn_exact_sum *s, const struct qn_exact_wide *w, uint64_t n)
{
    QN_ASSERT(n > 0);
    if (w == NULL) {
        uint64_t limb[QN_EXACT_LIMBS];

        memcpy(limb, s->limb, sizeof limb);
        return limbs_read(limb, QN_EXACT_LIMBS, QN_EXACT_UNIT, n);
    }
    if (w->nan != 0 || (w->plus_inf != 0 && w->minus_inf != 0))
        return (double)NAN;
    if (w->plus_inf != 0)
        return (double)INFINITY;
    if (w->minus_inf != 0)
        return -(double)INFINITY;

    enum { UP = QN_EXACT_UNIT - QN_EXACT_WIDE_UNIT }; /* bits between the units */
    uint64_t limb[QN_EXACT_WIDE_LIMBS];
    uint64_t fill = s->limb[QN_EXACT_LIMBS - 1] >> 63 != 0 ? UINT64_MAX : 0;
    uint64_t below = 0;
    bool carry = false;

    memcpy(limb, w->limb, sizeof limb);
    for (unsigned i = UP / 64; i < QN_EXACT_WIDE_LIMBS; i++) {
        unsigned k = i - UP / 64;
        uint64_t part = k < QN_EXACT_LIMBS ? s->limb[k] : fill;
        uint64_t moved = part << (UP % 64) | below >> (64 - UP % 64);
        unsigned __int128 sum = (unsigned __int128)limb[i] + moved + carry;

        limb[i] = (uint64_t)sum;
        carry = (sum >> 64) != 0;
        below = part;
    }
    return limbs_read(limb, QN_EXACT_WIDE_LIMBS, QN_EXACT_WIDE_UNIT, n);
}
