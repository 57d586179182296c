/* SPDX-License-Identifier: Apache-2.0
 * log_stream.h - the bytes of one input, decompressed: plain, gzip (also several members) or zstd
 * (several frames).
 *
 * The kind is recognised by the first bytes, never by the name. Inside of the room log; log_file.c
 * cuts what comes out into records. Thread: one owner. Memory: one input buffer and the
 * decompressor's own. */
#ifndef QN_LOG_LOG_STREAM_H
#define QN_LOG_LOG_STREAM_H

#include "base/file.h"
#include "base/status.h"

struct qn_log_stream; /* private */

/* fd stays the caller's; name is for messages and must live as long. is_waiting: the descriptor may
 * have to be waited for (a pipe), so that readiness is asked before a read that must not block. */
qn_status qn_log_stream_new(const struct qn_files *files, int fd, const char *name, bool is_waiting,
                            struct qn_log_stream **out, struct qn_err *err);
void qn_log_stream_free(struct qn_log_stream *s); /* NULL is fine */

enum qn_log_got { QN_LOG_BYTES, QN_LOG_NOTHING_YET, QN_LOG_END };

/* Up to cap (> 0) bytes into to. Waits for the first of them only where may_block; a damaged or cut
 * stream is QN_CORRUPT with the byte of the input where that was found, after all bytes before it
 * were given. */
qn_status qn_log_stream_read(struct qn_log_stream *s, char *to, size_t cap, bool may_block,
                             size_t *bytes, enum qn_log_got *got, struct qn_err *err);
/* Bytes taken from the descriptor so far. */
uint64_t qn_log_stream_position(const struct qn_log_stream *s);

#endif
