/* SPDX-License-Identifier: Apache-2.0
 * log_file.h - the `file` log: an NDJSON or CSV file, or a pipe, read where it lies, record by
 * record.
 *
 * Plain, gzip (also several members) or zstd, recognised by content. Records are lines for NDJSON
 * (LF or CR LF; blank lines are skipped and not counted) and RFC 4180 records for CSV (quoted line
 * ends belong to the record; the first record is the header). Offset = number of the record, from
 * 0. A damaged compressed stream or a read error stops the reader with byte position; a last line
 * without line end is a record. A record larger than QN_EVENT_BYTES_MAX is handed out cut to that
 * size and marked too_large, and reading goes on behind it. Thread: one owner. Memory: one buffer
 * (grows to the largest record), reused; the raw bytes handed out live until qn_log_file_release.
 */
#ifndef QN_LOG_LOG_FILE_H
#define QN_LOG_LOG_FILE_H

#include "base/file.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

enum qn_format { QN_FORMAT_AUTO, QN_FORMAT_NDJSON, QN_FORMAT_CSV };
enum qn_flow { QN_MORE, QN_IDLE, QN_END };

struct qn_log_file; /* private */

/* path "-" is standard input. AUTO: by the name's ending (.csv, .csv.gz, .csv.zst -> CSV), else
 * NDJSON. */
qn_status qn_log_file_open(const struct qn_files *files, const char *path, enum qn_format format,
                           struct qn_log_file **out, struct qn_err *err);
void qn_log_file_close(struct qn_log_file *f); /* NULL is fine */
enum qn_format qn_log_file_format(const struct qn_log_file *f);
/* CSV: the header record (read on first use); valid until close. QN_INVALID when the file is empty.
 */
qn_status qn_log_file_header(struct qn_log_file *f, struct qn_str *header, struct qn_err *err);

struct qn_record {
    struct qn_str raw; /* readable QN_DECODE_PAD (64) bytes beyond its end        */
    int64_t offset;    /* number of the record in this input                     */
    bool is_too_large;
};

/* Hands out up to `max` records that are there. Blocks only while it has none at all and may_block;
 * otherwise returns what has arrived. *flow: MORE = records were given; IDLE = none now, more may
 * come; END = none and no more. Earlier records stay valid until qn_log_file_release (several calls
 * may add up to one batch). */
qn_status qn_log_file_read(struct qn_log_file *f, struct qn_record *out, uint32_t max,
                           bool may_block, uint32_t *count, enum qn_flow *flow, struct qn_err *err);
/* True when a read would not wait: a file, the end of a pipe, or one with bytes in it (which may
 * still be less than a record). */
bool qn_log_file_is_ready(const struct qn_log_file *f);
/* The batch is done: all records handed out so far may be overwritten. */
void qn_log_file_release(struct qn_log_file *f);

/* For progress: bytes of the file consumed (compressed) and its size, 0 where it has none. */
void qn_log_file_progress(const struct qn_log_file *f, uint64_t *done_bytes, uint64_t *size_bytes);

#endif
