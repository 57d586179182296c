/* SPDX-License-Identifier: Apache-2.0
 * little.h - whole numbers as they lie in files and records: the lowest byte first, on any address.
 *
 * Thread: any; no state. */
#ifndef QN_BASE_LITTLE_H
#define QN_BASE_LITTLE_H

#include "base/buffer.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline void qn_little_put16(char *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof v);
}

static inline void qn_little_put32(char *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static inline void qn_little_put64(char *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static inline uint16_t qn_little_get16(const char *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

static inline uint32_t qn_little_get32(const char *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static inline uint64_t qn_little_get64(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

/* Appends; without memory the buffer says so, as ever. */
static inline void qn_little_add32(struct qn_buf *b, uint32_t v)
{
    v = htole32(v);
    qn_buf_add(b, &v, sizeof v);
}

static inline void qn_little_add64(struct qn_buf *b, uint64_t v)
{
    v = htole64(v);
    qn_buf_add(b, &v, sizeof v);
}

#endif
