/* SPDX-License-Identifier: Apache-2.0
 * real_math_table.h - tables of real_math.c; private to base/.
 *
 * Exp row j: 2^(j/128) = hi + lo, hi the nearest double. Log row j - QN_LOG_FIRST: inverse = 128/j
 * rounded, and log(j/128) = hi + lo, hi a multiple of 2^-40. Written by tools/real_math_table.py.
 * Thread: any; constant. */
#ifndef QN_BASE_REAL_MATH_TABLE_H
#define QN_BASE_REAL_MATH_TABLE_H

enum { QN_EXP_ROWS = 128, QN_LOG_FIRST = 90, QN_LOG_LAST = 182 };

struct qn_exp_row {
    double hi, lo;
};
extern const struct qn_exp_row qn_exp_table[QN_EXP_ROWS];

struct qn_log_row {
    double inverse, hi, lo;
};
extern const struct qn_log_row qn_log_table[QN_LOG_LAST - QN_LOG_FIRST + 1];

#endif
