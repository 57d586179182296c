/* SPDX-License-Identifier: Apache-2.0
 * log_format.h - the bytes of the local log, and how they are read and written. Inside of the room.
 *
 * Everything is little-endian. Every CRC is CRC32C (crc32c.h). A varint is LEB128: seven bits a
 * byte, lowest first, at most ten bytes.
 *
 * SEGMENT FILE  %020llu.seg, named by its first LSN: 4 KiB header, then frames, each beginning at a
 * multiple of 4 KiB, then zeros or what an earlier use of the file left. The LSN of a byte is the
 * segment's first LSN + its place in the file; the next segment begins at first LSN + size.
 *
 *   SEGMENT HEADER                       FRAME HEADER
 *   off size                             off size
 *     0  4  magic "QNS1"                   0  4  magic "QNF1"
 *     4  4  CRC of bytes 8..64             4  4  CRC of bytes 8..length
 *     8  2  format version, 1              8  4  length: header and body, without padding
 *    10  6  zero                          12  2  format version, 1
 *    16 16  log id, random                14  2  number of sections
 *    32  8  first LSN                     16  8  LSN: must be the place it is read from
 *    40  8  size of the file              24  8  first half of the log id
 *    48  8  time it was made, us          32  4  CRC of the previous frame, 0 in the very first
 *    56  8  zero                          36  4  flags: bits 0-1 codec (0 none, 1 lz4, 2 zstd),
 *    64  .. zero to 4096                          bit 2 has a commit, bit 3 dictionary
 *                                         40  8  append time, us since 1970
 *                                         48  8  length of the sections before compression
 *                                         56  8  zero
 *                                         64  .. sections, as a whole compressed by the codec
 *
 *   SECTION HEADER                       SECTION BODY, by kind
 *     0  4  topic (commit: stage)        1 records, 3 control: `count` records:
 *     4  2  kind                              varint  event time - that of the record before,
 * zigzag 6  2  zero                                      (modulo 2^64; the first: - 0) 8  4  number
 * of records                 varint  0 = null key, else its length + 1 12  4  bytes of the body
 * varint  0 = null value, else its length + 1 16  8  first offset                      varint
 * length of the headers (commit: position consumed)       key, value, headers (each: varint length,
 * name, 24  8  least event time                          varint length, value) 32  8  greatest
 * event time          2 commit: the stage's own bytes 4 cursor: varint offset, name     (one per
 * section) 5 topic: name                     (topic = its number) 6 dictionary, below
 *
 * A record without event time has -2^63, which least and greatest leave out; they are both -2^63
 * where no record has one.
 *
 * DICTIONARY  The first frame of each segment has one section of kind 6: the state at that LSN.
 *     0  4  topics   4  4  cursors   8  4  stages   12  4  zero, then in this order
 *     topic:  8 next offset, 4 length of the name, name          (numbered from 0)
 *     cursor: 8 offset, 4 topic, 4 length of the name, name
 *     stage:  8 position, 8 LSN of the commit, 4 stage, 4 length of the payload, payload
 *
 * INDEX FILE  %020llu.idx beside a segment that is complete; made anew where missing or bad.
 *     0  4  magic "QNI1"           40  4  CRC of the last frame
 *     4  4  CRC of bytes 8..end    44  4  number of entries
 *     8  2  format version, 1      48  8  least append time
 *    10  2  zero                   56  8  greatest append time
 *    12  4  number of spans        64 ..  spans, 64 bytes each, then entries, 56 bytes each
 *    16  8  first half of log id
 *    24  8  first LSN
 *    32  8  LSN behind the last frame
 *     span:  4 topic, 4 zero, 8 first offset, 8 next offset, 8 bytes, 8+8 event times, 8+8 append
 *     entry: 8 LSN of the frame, 8 first offset, 8+8 event times, 8 append time, 4 topic,
 *            4 records, 4 length of the frame, 2 kind, 2 zero      (per section of kind 1, 2, 3)
 *
 * END FILE  `end`, 64 bytes, written when the log is closed: at least this much was durable.
 *     0  4  magic "QNE1"   4  4  CRC of bytes 8..64   8  16 log id   24  8 end LSN
 *    32  4  CRC of the last frame   36  28 zero
 *
 * Other names: %020llu.next (the segment being prepared), *.spare (a removed segment to be used
 * again), *.tmp, `lock` (held by the writer; its process number as text).
 *
 * Thread: any; no state. */
#ifndef QN_LOG_LOG_FORMAT_H
#define QN_LOG_LOG_FORMAT_H

#include "base/little.h"
#include "base/varint.h"
#include "log/log_local.h"

#include <endian.h>

enum {
    QN_LOG_SECTOR = 4096, /* unit of frames and of the segment header */
    QN_LOG_FRAME_HEADER = 64,
    QN_LOG_SECTION_HEADER = 40,
    QN_LOG_FRAME_BYTES_MAX = 8 * 1024 * 1024,
    QN_LOG_SPAN_BYTES = 64,
    QN_LOG_ENTRY_BYTES = 56,
    QN_LOG_SMALL_HEADER = 64, /* of segment, index and end file, as checksummed */
    QN_LOG_FORMAT_VERSION = 1,
    QN_LOG_RECORD_OVERHEAD = 40, /* most bytes a record takes beside its own */
    QN_LOG_SECTIONS_MAX = 65535,
};

#define QN_LOG_MAGIC_SEGMENT 0x31534E51U
#define QN_LOG_MAGIC_FRAME   0x31464E51U
#define QN_LOG_MAGIC_INDEX   0x31494E51U
#define QN_LOG_MAGIC_END     0x31454E51U

enum { QN_LOG_FLAG_CODEC = 3, QN_LOG_FLAG_COMMIT = 4, QN_LOG_FLAG_DICTIONARY = 8 };

static inline uint64_t qn_log_padded(uint64_t bytes)
{
    return (bytes + QN_LOG_SECTOR - 1) & ~(uint64_t)(QN_LOG_SECTOR - 1);
}

struct qn_log_id {
    uint64_t half[2];
};

struct qn_log_segment_header {
    struct qn_log_id id;
    uint64_t first_lsn, size;
    int64_t made_us;
};
/* out: QN_LOG_SECTOR bytes */
void qn_log_segment_header_write(const struct qn_log_segment_header *h, char *out);
/* NULL, or why not: what was found. */
const char *qn_log_segment_header_read(const char *p, struct qn_log_segment_header *h);

struct qn_log_frame {
    uint64_t lsn;
    int64_t append_us;
    uint32_t crc, prev_crc, length, flags;
    uint32_t raw_length; /* of the sections */
    uint32_t sections;
};
/* All but the CRC, QN_LOG_FRAME_HEADER bytes. */
void qn_log_frame_write(const struct qn_log_frame *f, uint64_t id, char *out);
/* Computes the CRC of a frame of that length, header written, and puts it into the header. */
uint32_t qn_log_frame_seal(char *p, uint32_t length);
/* The CRC an end file must have. */
uint32_t qn_log_end_crc(const char *p);
/* The header alone: NULL, or why it is none. Lengths are within limits afterwards. */
const char *qn_log_frame_read(const char *p, uint64_t id, uint64_t lsn, struct qn_log_frame *f);
/* The whole frame, f->length bytes at p, after qn_log_frame_read: NULL or why not. */
const char *qn_log_frame_check(const char *p, const struct qn_log_frame *f);

struct qn_log_section {
    uint32_t topic, count, bytes;
    uint16_t kind;
    uint64_t first; /* offset; of a commit the position */
    int64_t min_event, max_event;
    const char *body; /* borrowed */
};
void qn_log_section_write(const struct qn_log_section *s, char *out);
/* Takes the next section off [*p, end). False at the end and where the bytes make no sense: then
 * *bad is set. */
bool qn_log_section_next(const char **p, const char *end, struct qn_log_section *s, bool *bad);

/* Most QN_LOG_RECORD_OVERHEAD bytes plus key, value and headers at p; returns behind. time_us: of
 * the record before. */
char *qn_log_record_write(char *p, int64_t time_before_us, const struct qn_log_record *r);
/* NULL where the bytes make no sense. Sets key, value, headers and time_us. */
const char *qn_log_record_read(const char *p, const char *end, int64_t time_before_us,
                               struct qn_log_record *r);

/* Upper bound of what n bytes become. */
size_t qn_log_pack_bound(enum qn_log_codec codec, size_t n);
/* Bytes written to `to` (room as bounded), or 0 when the codec failed. */
size_t qn_log_pack(enum qn_log_codec codec, const char *from, size_t n, char *to, size_t room);
/* True if exactly raw bytes came out. */
bool qn_log_unpack(enum qn_log_codec codec, const char *from, size_t n, char *to, size_t raw);

#endif
