/* SPDX-License-Identifier: Apache-2.0
 * hash.c - XXH3 64 bit, inlined, so that short keys pay no call into the library.
 *
 * The value is part of what is stored (lanes, shards): it must stay XXH3's whatever happens here.
 * Thread: any; no state. */
#include "base/hash.h"

#include "base/text.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t qn_hash(const void *p, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, len, seed);
}

void qn_hash_column(const struct qn_str *s, uint32_t n, uint64_t seed, uint64_t *out)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = XXH3_64bits_withSeed(s[i].p, s[i].len, seed);
}
