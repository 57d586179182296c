#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes src/base/real_math_table.c: 2^(j/128) and the logarithms of j/128, each as a sum of two doubles.

Usage: tools/real_math_table.py > src/base/real_math_table.c

Computed with Python's decimal at 60 digits; what a row means is in real_math_table.h.
"""
import sys
from decimal import Decimal, getcontext

getcontext().prec = 60
LN2 = Decimal(2).ln()
LOG_FIRST, LOG_LAST, EXP_ROWS = 90, 182, 128


def split(value):
    hi = float(value)
    return hi, float(value - Decimal(hi))


def split_short(value):
    """hi is a multiple of 2^-40, so that sums of such numbers are exact."""
    hi = Decimal(round(value * 2 ** 40)) / 2 ** 40
    assert Decimal(float(hi)) == hi
    return float(hi), float(value - hi)


def main():
    out = sys.stdout.write
    out("/* SPDX-License-Identifier: Apache-2.0\n"
        " * real_math_table.c - tables of real_math.c. Written by tools/real_math_table.py.\n"
        " *\n"
        " * Data, not code: see real_math_table.h for what a row means. Thread: any. */\n"
        '#include "base/real_math_table.h"\n\n/* clang-format off */\n')
    out("const struct qn_exp_row qn_exp_table[QN_EXP_ROWS] = {\n")
    for j in range(EXP_ROWS):
        hi, lo = split((LN2 * j / EXP_ROWS).exp())
        out("    {%s, %s}, /* 2^(%d/128) */\n" % (hi.hex(), lo.hex(), j))
    out("};\n\nconst struct qn_log_row qn_log_table[QN_LOG_LAST - QN_LOG_FIRST + 1] = {\n")
    for j in range(LOG_FIRST, LOG_LAST + 1):
        hi, lo = split_short((Decimal(j) / 128).ln())
        out("    {%s, %s, %s}, /* %d/128 */\n" % (float(Decimal(128) / j).hex(), hi.hex(), lo.hex(), j))
    out("};\n/* clang-format on */\n")


if __name__ == "__main__":
    main()
