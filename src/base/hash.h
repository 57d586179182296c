/* SPDX-License-Identifier: Apache-2.0
 * hash.h - the fixed hash of keys: lanes, shards and tables use it, so its value is part of the
 * format.
 *
 * XXH3 64 bit (library xxhash) of the bytes, with a seed. Lanes use seed 0 on every machine for
 * ever; tables may mix in a random seed of their own against hostile keys. Thread: any. */
#ifndef QN_BASE_HASH_H
#define QN_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t qn_hash(const void *p, size_t len, uint64_t seed);
/* Hash of many strings at once: out[i] for i in [0, n). Same values as qn_hash. */
struct qn_str;
void qn_hash_column(const struct qn_str *s, uint32_t n, uint64_t seed, uint64_t *out);

#endif
