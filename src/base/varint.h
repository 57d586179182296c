/* SPDX-License-Identifier: Apache-2.0
 * varint.h - LEB128: seven bits a byte, the lowest first, the high bit says that more follow.
 *
 * Thread: any; no state. */
#ifndef QN_BASE_VARINT_H
#define QN_BASE_VARINT_H

#include <stddef.h>
#include <stdint.h>

/* Writes at most ten bytes; returns behind them. */
static inline char *qn_varint_put(char *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (char)(v | 0x80);
        v >>= 7;
    }
    *p++ = (char)v;
    return p;
}

/* NULL when the varint does not end before `end` or is longer than 64 bits. */
static inline const char *qn_varint_get(const char *p, const char *end, uint64_t *v)
{
    uint64_t sum = 0;

    for (unsigned shift = 0; p < end && shift < 64; shift += 7) {
        unsigned char c = (unsigned char)*p++;

        if (shift == 63 && c > 1)
            return NULL;
        sum |= (uint64_t)(c & 0x7F) << shift;
        if (c < 0x80) {
            *v = sum;
            return p;
        }
    }
    return NULL;
}

#endif
