/* SPDX-License-Identifier: Apache-2.0
 * rekey_record.c - events between the stages of a pipeline, as bytes. See rekey_record.h.
 *
 *   offset  bytes  meaning                                            (little-endian)
 *        0      1  version, 1
 *        1      1  kind: 1 event, 2 watermark
 *        2      1  event: verdict, 0 scored, 1 late
 *        3      1  flags: 1 late, 2 has a key, 4 has a newest time, 8 idle
 *        4      4  event: partition of the stream's topic; else shards of its stage
 *        8      8  event: offset there
 *       16      8  event: arrival, us since 1970; INT64_MAX: not known
 *       24      4  shard of the sender
 *       28      4  event: bytes of the original key
 *       32      8  event: its offset in the sender's topic; else behind the last one
 *       40      8  newest event time of the sender up to here, us
 *       48      4  event: windows
 *       52      4  event: bytes of the event
 *       56      8  hash of the sender's cluster, topic and group
 *       64      8  hash of all bytes but these eight (base/hash.h)
 *       72      4  per window: what it computes
 *               1  per eight windows: bits, lowest first: there is a value
 *               8  per window: the value: int64, or the bits of a double
 *                  then the original key, then the event
 *
 * A record of a version that is not known, whose lengths do not add up or whose hash is another is
 * refused as a whole. What one version leaves out is zero. Thread: any; no state. */
#include "engine/rekey_record.h"

#include "base/check.h"
#include "base/hash.h"

enum { VERSION = 1, HEAD = 72, HASH_AT = 64, PARTITIONS_MAX = 65535 };
enum { FLAG_LATE = 1, FLAG_KEY = 2, FLAG_NEWEST = 4, FLAG_IDLE = 8, FLAGS = 15 };

static uint32_t bits_bytes(uint32_t windows)
{
    return (windows + 7) / 8;
}

static size_t record_bytes(const struct qn_rekey *r)
{
    return HEAD + (size_t)r->window_count * 12 + bits_bytes(r->window_count) + r->key.len +
           r->event.len;
}

static uint64_t hash_of(const char *p, size_t bytes)
{
    return qn_hash(p + HEAD, bytes - HEAD, qn_hash(p, HASH_AT, 0));
}

/* ---- writing ---------------------------------------------------------------------------------*/

void qn_rekey_begin(struct qn_buf *out, const struct qn_rekey *r, const uint32_t *ids)
{
    const bool is_event = r->kind == QN_REKEY_EVENT;
    const size_t bytes = record_bytes(r);
    char *p = qn_buf_room(out, bytes);

    QN_ASSERT(r->window_count <= QN_REKEY_WINDOWS_MAX);
    if (p == NULL)
        return;
    memset(p, 0, bytes - r->event.len - r->key.len);
    p[0] = VERSION;
    p[1] = (char)r->kind;
    p[2] = is_event ? (char)r->verdict : 0;
    p[3] = (char)((is_event && r->is_late ? FLAG_LATE : 0) |
                  (is_event && r->key.p != NULL ? FLAG_KEY : 0) |
                  (r->has_newest ? FLAG_NEWEST : 0) | (!is_event && r->is_idle ? FLAG_IDLE : 0));
    qn_little_put32(p + 4, is_event ? r->partition : r->senders);
    qn_little_put64(p + 8, (uint64_t)(is_event ? r->offset : 0));
    qn_little_put64(p + 16, (uint64_t)(is_event ? r->arrival_us : 0));
    qn_little_put32(p + 24, r->sender);
    qn_little_put32(p + 28, r->key.len);
    qn_little_put64(p + 32, (uint64_t)r->sender_offset);
    qn_little_put64(p + 40, (uint64_t)(r->has_newest ? r->newest_us : 0));
    qn_little_put32(p + 48, r->window_count);
    qn_little_put32(p + 52, r->event.len);
    qn_little_put64(p + 56, r->source);
    for (uint32_t i = 0; i < r->window_count; i++)
        qn_little_put32(p + HEAD + (size_t)i * 4, ids[i]);
}

void qn_rekey_value(struct qn_buf *out, const struct qn_rekey *r, uint32_t window, bool is_valid,
                    int64_t value)
{
    char *bits = out->data + out->len + HEAD + (size_t)r->window_count * 4;

    if (out->failed || !is_valid)
        return;
    bits[window / 8] = (char)((uint8_t)bits[window / 8] | 1u << window % 8);
    qn_little_put64(bits + bits_bytes(r->window_count) + (size_t)window * 8, (uint64_t)value);
}

void qn_rekey_end(struct qn_buf *out, const struct qn_rekey *r)
{
    const size_t bytes = record_bytes(r);
    char *p = out->data + out->len;

    if (out->failed)
        return;
    if (r->key.len > 0)
        memcpy(p + bytes - r->event.len - r->key.len, r->key.p, r->key.len);
    if (r->event.len > 0)
        memcpy(p + bytes - r->event.len, r->event.p, r->event.len);
    qn_little_put64(p + HASH_AT, hash_of(p, bytes));
    out->len += bytes;
}

/* ---- reading ---------------------------------------------------------------------------------*/

static qn_status refuse(struct qn_err *err, const char *why)
{
    return qn_err_set(err, QN_CORRUPT, "it is no record that a stage of Quern wrote: %s", why);
}

/* The parts behind the head; false where they are not as long as it says. */
static bool cut(struct qn_str bytes, uint32_t key_len, bool has_key, struct qn_rekey *r)
{
    const char *at = bytes.p + HEAD;

    r->key.len = key_len;
    if (record_bytes(r) != bytes.len)
        return false;
    r->ids = (struct qn_str){at, r->window_count * 4};
    r->valid = (struct qn_str){at + r->ids.len, bits_bytes(r->window_count)};
    r->values = (struct qn_str){r->valid.p + r->valid.len, r->window_count * 8};
    at = r->values.p + r->values.len;
    r->key = (struct qn_str){has_key ? at : NULL, key_len};
    r->event.p = at + key_len;
    return has_key || key_len == 0;
}

static bool is_good_watermark(const struct qn_rekey *r)
{
    return r->window_count == 0 && r->key.p == NULL && r->event.len == 0 && r->verdict == 0 &&
           !r->is_late && r->offset == 0 && r->arrival_us == 0 && r->senders > r->sender &&
           r->senders <= PARTITIONS_MAX;
}

static bool is_good_event(const struct qn_rekey *r)
{
    return r->verdict <= 1 && !r->is_idle && r->partition <= PARTITIONS_MAX && r->offset >= 0 &&
           r->event.len <= QN_REKEY_EVENT_MAX;
}

qn_status qn_rekey_read(struct qn_str bytes, struct qn_rekey *r, struct qn_err *err)
{
    const char *p = bytes.p;
    uint8_t flags;

    *r = (struct qn_rekey){0};
    if (bytes.len < HEAD)
        return refuse(err, "it is too short");
    if (p[0] != VERSION)
        return refuse(err, "its version is not known");
    flags = (uint8_t)p[3];
    if ((p[1] != QN_REKEY_EVENT && p[1] != QN_REKEY_WATERMARK) || (flags & ~FLAGS) != 0)
        return refuse(err, "its kind is not known");
    r->kind = (enum qn_rekey_kind)p[1];
    r->verdict = (uint8_t)p[2];
    r->is_late = (flags & FLAG_LATE) != 0;
    r->has_newest = (flags & FLAG_NEWEST) != 0;
    r->is_idle = (flags & FLAG_IDLE) != 0;
    *(r->kind == QN_REKEY_EVENT ? &r->partition : &r->senders) = qn_little_get32(p + 4);
    r->offset = (int64_t)qn_little_get64(p + 8);
    r->arrival_us = (int64_t)qn_little_get64(p + 16);
    r->sender = qn_little_get32(p + 24);
    r->sender_offset = (int64_t)qn_little_get64(p + 32);
    r->newest_us = (int64_t)qn_little_get64(p + 40);
    r->source = qn_little_get64(p + 56);
    r->window_count = qn_little_get32(p + 48);
    r->event.len = qn_little_get32(p + 52);
    if (r->window_count > QN_REKEY_WINDOWS_MAX ||
        !cut(bytes, qn_little_get32(p + 28), (flags & FLAG_KEY) != 0, r))
        return refuse(err, "its lengths do not add up");
    if (qn_little_get64(p + HASH_AT) != hash_of(p, bytes.len))
        return refuse(err, "its hash is another");
    if (r->sender >= PARTITIONS_MAX || r->sender_offset < 0 ||
        (!r->has_newest && r->newest_us != 0) ||
        !(r->kind == QN_REKEY_EVENT ? is_good_event(r) : is_good_watermark(r)))
        return refuse(err, "what it says cannot be");
    return QN_OK;
}
