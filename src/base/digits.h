/* SPDX-License-Identifier: Apache-2.0
 * digits.h - decimal digits as machine words: eight bytes at a time, and the powers of ten.
 *
 * What every reader and writer of numbers shares: base/number_*.c and the decoders of events. All
 * of it is for the inside of hot loops, so it is inline and takes no care of ends: each function
 * says what must be readable. Thread: any; constants only. */
#ifndef QN_BASE_DIGITS_H
#define QN_BASE_DIGITS_H

#include <stdint.h>
#include <string.h>

/* 10^0 to 10^19: what 64 bits hold. */
extern const uint64_t qn_pow10[20];

/* Eight times the same byte. */
#define QN_BYTES(x) (UINT64_C(0x0101010101010101) * (x))

/* The eight bytes at p as they lie; all of them must be readable. */
static inline uint64_t qn_load64(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* The value of a digit, or 10 and more where c is none. */
static inline unsigned qn_digit_of(char c)
{
    return (unsigned)(unsigned char)c - '0';
}

/* Eight digit values, the first in the lowest byte, to the number they say. */
static inline uint32_t qn_eight_digits(uint64_t v)
{
    v = v * 10 + (v >> 8);
    v = (((v & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x000F424000000064)) +
         (((v >> 16) & UINT64_C(0x000000FF000000FF)) * UINT64_C(0x0000271000000001))) >>
        32;
    return (uint32_t)v;
}

#endif
