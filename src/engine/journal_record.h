/* SPDX-License-Identifier: Apache-2.0
 * journal_record.h - in which order a shard took the records of its streams: one record of the
 * journal topic, as bytes.
 *
 * The topics hold the events; that they were merged, and how, only the journal knows (streaming
 * order of a shard). Varints are LEB128 (varint.h):
 *
 *   byte    version, 1
 *   varint  number of streams N, in the order of the spec
 *   varint  N times: offset of the stream's topic from which on it was read
 *   then, up to the end, runs in the order in which they were taken:
 *     varint  stream, from 0
 *     varint  by how much its position moved, at least 1: records, and markers between them
 *
 * The record's key is the consumer group. The position behind the last run is where the next record
 * begins; one that begins elsewhere was overtaken by another process and says nothing. Any bytes
 * may come. Thread: any; no state. */
#ifndef QN_ENGINE_JOURNAL_RECORD_H
#define QN_ENGINE_JOURNAL_RECORD_H

#include "base/buffer.h"
#include "base/text.h"
#include "event/schema.h"

/* An offset beyond it is none: the sum over all streams is a number still. */
#define QN_JOURNAL_OFFSET_MAX (INT64_MAX / (2 * QN_STREAMS_MAX))

struct qn_journal_record {
    uint32_t streams;
    int64_t from[QN_STREAMS_MAX]; /* [streams] */
    struct qn_str runs;           /* for qn_journal_next; borrowed from the bytes */
};

struct qn_journal_run {
    uint32_t stream;
    int64_t moved;
};

/* Appends the head of a record, then its runs one by one. */
void qn_journal_begin(struct qn_buf *out, const int64_t *from, uint32_t streams);
void qn_journal_add(struct qn_buf *out, struct qn_journal_run run);

/* False: no record of ours, or of a version that this program does not know. Looks at all of it, so
 * that the runs of one that was read are good. */
bool qn_journal_read(struct qn_str bytes, struct qn_journal_record *out);
/* Takes the first run off; false where there is none left. */
bool qn_journal_next(struct qn_str *runs, struct qn_journal_run *out);

#endif
