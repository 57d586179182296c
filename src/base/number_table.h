/* SPDX-License-Identifier: Apache-2.0
 * number_table.h - the powers of ten that numbers are read and printed with; private to base/.
 *
 * Row q holds floor(10^q * 2^s), s such that the value has exactly 128 bits. Rows 0 to 55 are
 * exact, all others lie below the true value by less than one unit; the low half of these is never
 * all ones. Written by tools/number_table.py. Thread: any; constant. */
#ifndef QN_BASE_NUMBER_TABLE_H
#define QN_BASE_NUMBER_TABLE_H

#include <stdint.h>

enum { QN_POWER10_FIRST = -342, QN_POWER10_LAST = 324, QN_POWER10_EXACT_LAST = 55 };

struct qn_power10 {
    uint64_t hi, lo;
};
extern const struct qn_power10 qn_power10_table[QN_POWER10_LAST - QN_POWER10_FIRST + 1];

#endif
