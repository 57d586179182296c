/* SPDX-License-Identifier: Apache-2.0
 * body_unpack.h - compressed request bodies: gzip and zstd, never larger than the limit.
 *
 * Thread: any; a buffer has one owner. Memory: the caller's buffer and, during a call, what zlib
 * and zstd need: a zstd window is at most 8 MiB. */
#ifndef QN_SERVE_BODY_UNPACK_H
#define QN_SERVE_BODY_UNPACK_H

#include "base/buffer.h"
#include "base/status.h"
#include "base/text.h"

enum qn_packing { QN_PACKING_NONE, QN_PACKING_GZIP, QN_PACKING_ZSTD, QN_PACKING_UNKNOWN };

/* What a Content-Encoding says; p NULL = none. A list of several is unknown. */
enum qn_packing qn_packing_of(struct qn_str header);

/* Unpacks the whole body (members or frames after each other are one body) into out, cleared
 * first. QN_INVALID: it is no such thing, or ends early; QN_LIMIT: unpacked, it is larger than
 * limit_bytes. */
qn_status qn_unpack(enum qn_packing packing, struct qn_str body, size_t limit_bytes,
                    struct qn_buf *out, struct qn_err *err);

#endif
