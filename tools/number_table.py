#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes src/base/number_table.c: the powers of ten that reading and printing numbers share.

Usage: tools/number_table.py > src/base/number_table.c

Row q holds the 128 leading bits of 10^q (the same as those of 5^q), cut, not rounded. The table is data computed here
from exact integers; both algorithms that use it describe one table: Lemire, "Number Parsing at a Gigabyte per Second"
(2021), and Giulietti, "The Schubfach way to render doubles" (2022).
"""
import sys

FIRST, LAST = -342, 324


def leading_bits(q):
    """floor(10^q * 2^s) with s such that the result has exactly 128 bits; and whether nothing was cut."""
    if q >= 0:
        power = 5 ** q
        shift = power.bit_length() - 128
        if shift <= 0:
            return power << -shift, True
        return power >> shift, False
    power = 5 ** -q
    shift = power.bit_length() + 127
    value = (1 << shift) // power
    if value.bit_length() > 128:
        value >>= 1
    return value, False


def main():
    out = sys.stdout.write
    out("/* SPDX-License-Identifier: Apache-2.0\n"
        " * number_table.c - 128 leading bits of the powers of ten, 10^%d to 10^%d. Written by\n"
        " * tools/number_table.py.\n"
        " *\n"
        " * Data, not code: see number_table.h for what a row means. Thread: any. */\n" % (FIRST, LAST))
    out('#include "base/number_table.h"\n\n/* clang-format off */\n')
    out("const struct qn_power10 qn_power10_table[QN_POWER10_LAST - QN_POWER10_FIRST + 1] = {\n")
    for q in range(FIRST, LAST + 1):
        value, exact = leading_bits(q)
        assert value.bit_length() == 128
        # Users add one to the low half where the row is not exact: it must not overflow.
        assert exact == (0 <= q <= 55)
        assert exact or value & (2 ** 64 - 1) != 2 ** 64 - 1
        out("    {0x%016XU, 0x%016XU}, /* 10^%d */\n" % (value >> 64, value & (2 ** 64 - 1), q))
    out("};\n/* clang-format on */\n")


if __name__ == "__main__":
    main()
