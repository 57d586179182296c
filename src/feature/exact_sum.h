/* SPDX-License-Identifier: Apache-2.0
 * exact_sum.h - sums of doubles without any rounding, and their correctly rounded read-out.
 *
 * A sum is a fixed-point number in two's complement, so adding, subtracting and the order of both
 * never lose a bit:
 *
 *     kind                 bytes  unit      holds values                       headroom
 *     struct qn_exact_sum     32  2^-126    |v| < 2^64, no bit below 2^-126    2^65 values
 *     struct qn_exact_wide   296  2^-1074   every finite double                2^77 values
 *
 * What does not fit the first goes to the second, which lies beside it and is made only for a sum
 * that met such a value; NaN and infinities are counted there. The read-out rounds once, to
 * nearest, ties to even: equal to Python's math.fsum, and for a mean to the exact sum divided by n.
 * An exact zero reads as +0. Method after Kulisch's long accumulator. Thread: any; no state;
 * nothing is allocated. */
#ifndef QN_FEATURE_EXACT_SUM_H
#define QN_FEATURE_EXACT_SUM_H

#include <stdbool.h>
#include <stdint.h>

enum {
    QN_EXACT_LIMBS = 4,
    QN_EXACT_UNIT = -126, /* exponent of the lowest bit */
    QN_EXACT_WIDE_LIMBS = 34,
    QN_EXACT_WIDE_UNIT = -1074
};

/* All zero bytes is the empty sum, for both. */
struct qn_exact_sum {
    uint64_t limb[QN_EXACT_LIMBS]; /* lowest first */
};
struct qn_exact_wide {
    uint64_t limb[QN_EXACT_WIDE_LIMBS];
    uint64_t nan, plus_inf, minus_inf; /* how many of each */
};

/* True if v can be added to a qn_exact_sum; the same for -v. */
bool qn_exact_fits(double v);
/* s += v or s -= v. v must fit. */
void qn_exact_add(struct qn_exact_sum *s, double v);
void qn_exact_sub(struct qn_exact_sum *s, double v);
/* *out = a - b; out may be a or b. */
void qn_exact_minus(struct qn_exact_sum *out, const struct qn_exact_sum *a,
                    const struct qn_exact_sum *b);

/* The same for any double. */
void qn_exact_wide_add(struct qn_exact_wide *w, double v);
void qn_exact_wide_sub(struct qn_exact_wide *w, double v);
void qn_exact_wide_minus(struct qn_exact_wide *out, const struct qn_exact_wide *a,
                         const struct qn_exact_wide *b);

/* (s + w) / n as the nearest double; w NULL = 0; n >= 1, 1 for the sum itself. Any NaN, or
 * infinities of both signs: NaN; infinities of one sign: that infinity; beyond the range of double:
 * an infinity. */
double qn_exact_read(const struct qn_exact_sum *s, const struct qn_exact_wide *w, uint64_t n);

#endif
