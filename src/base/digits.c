/* SPDX-License-Identifier: Apache-2.0
 * digits.c - the powers of ten that 64 bits hold. See digits.h.
 *
 * Read by the scanner and the printer of numbers and by the decoders, several times per event: one
 * table, so that it stays in the cache. Invariant: row n is 10^n. Thread: any; constant. Memory:
 * none. */
#include "base/digits.h"

const uint64_t qn_pow10[20] = {
    UINT64_C(1),
    UINT64_C(10),
    UINT64_C(100),
    UINT64_C(1000),
    UINT64_C(10000),
    UINT64_C(100000),
    UINT64_C(1000000),
    UINT64_C(10000000),
    UINT64_C(100000000),
    UINT64_C(1000000000),
    UINT64_C(10000000000),
    UINT64_C(100000000000),
    UINT64_C(1000000000000),
    UINT64_C(10000000000000),
    UINT64_C(100000000000000),
    UINT64_C(1000000000000000),
    UINT64_C(10000000000000000),
    UINT64_C(100000000000000000),
    UINT64_C(1000000000000000000),
    UINT64_C(10000000000000000000),
};
