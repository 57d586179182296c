/* SPDX-License-Identifier: Apache-2.0
 * crc32c.h - CRC32C (Castagnoli, RFC 3720 appendix B.4): the checksum of everything Quern writes to
 * be read again.
 *
 * SSE4.2 or ARMv8 instructions where the CPU has them, else tables: the same value on every
 * machine, because it is part of the format. crc32c("123456789") = 0xE3069283. Thread: any; no
 * state. */
#ifndef QN_BASE_CRC32C_H
#define QN_BASE_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Continues a checksum: qn_crc32c(qn_crc32c(0, a, n), b, m) is that of a followed by b. Begin with
 * 0. */
uint32_t qn_crc32c(uint32_t crc, const void *p, size_t bytes);

/* For tests: the form with that name ("table", "sse4.2", "armv8"); false when this CPU has not got
 * it. */
bool qn_crc32c_by(const char *form, uint32_t crc, const void *p, size_t bytes, uint32_t *out);

#endif
