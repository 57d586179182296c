/* SPDX-License-Identifier: Apache-2.0
 * rekey_record.h - what one stage of a pipeline on Kafka tells the next one: an event on its way
 * with what its windows have said so far, or how far a shard's time has come.
 *
 * Where it comes from is twofold: the event's own position in the stream's topic, which its answer
 * is called by, and where it stood in the topic that the sender reads, by which whoever reads knows
 * repeats. A window is known by a number of what it computes (qn_features_window_ids), so that
 * records of another version of the spec can be read: what is not in them is null. The bytes are
 * from outside: anybody may write into the topic. Format: at the top of rekey_record.c. Thread:
 * any; no state. */
#ifndef QN_ENGINE_REKEY_RECORD_H
#define QN_ENGINE_REKEY_RECORD_H

#include "base/buffer.h"
#include "base/little.h"
#include "base/status.h"
#include "base/text.h"

enum qn_rekey_kind { QN_REKEY_EVENT = 1, QN_REKEY_WATERMARK = 2 };

/* Largest event that is sent on: with what stands beside it, it must be a record that brokers take
 * (1 MB unless they are told otherwise). */
enum { QN_REKEY_EVENT_MAX = 900000, QN_REKEY_WINDOWS_MAX = 4096 };

struct qn_rekey {
    enum qn_rekey_kind kind;
    /* the sender: which topic and group (a hash), its shard, the offset of the event in its topic
     * (a watermark: behind the last), and the newest event time there up to the event */
    uint64_t source;
    uint32_t sender;
    int64_t sender_offset;
    bool has_newest;
    int64_t newest_us;
    /* a watermark: shards of the sender's stage, and whether nothing has come for a while */
    uint32_t senders;
    bool is_idle;
    /* an event: where it lies in the stream's topic, and what was judged of it */
    uint32_t partition;
    int64_t offset, arrival_us;
    uint8_t verdict; /* enum qn_verdict: scored, or late where it counts */
    bool is_late;
    uint32_t window_count;
    struct qn_str ids, valid, values; /* 4 bytes a window; a bit; 8 bytes */
    struct qn_str key;                /* of the original record; p NULL = none */
    struct qn_str event;
};

/* Appends the record. Windows are added between, count of them in all, in this order: begin, ids,
 * values, end. */
void qn_rekey_begin(struct qn_buf *out, const struct qn_rekey *r, const uint32_t *ids);
void qn_rekey_value(struct qn_buf *out, const struct qn_rekey *r, uint32_t window, bool is_valid,
                    int64_t value);
void qn_rekey_end(struct qn_buf *out, const struct qn_rekey *r);

/* Borrows from the bytes. QN_CORRUPT: none of ours, damaged, or of another version. */
qn_status qn_rekey_read(struct qn_str bytes, struct qn_rekey *r, struct qn_err *err);
/* Of a window of a record that was read. */
static inline uint32_t qn_rekey_id(const struct qn_rekey *r, uint32_t window)
{
    return qn_little_get32(r->ids.p + (size_t)window * 4);
}
static inline bool qn_rekey_get(const struct qn_rekey *r, uint32_t window, int64_t *value)
{
    *value = (int64_t)qn_little_get64(r->values.p + (size_t)window * 8);
    return ((uint8_t)r->valid.p[window / 8] >> (window % 8) & 1) != 0;
}

#endif
