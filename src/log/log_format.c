/* SPDX-License-Identifier: Apache-2.0
 * log_format.c - headers, records and codecs of the local log; the tables stand in log_format.h.
 *
 * Readers trust nothing: every length is compared with what is there before it is used, because a
 * checksum protects against accidents only. Thread: any; no state. Memory: the caller's. */
#include "log/log_format.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "event/record_headers.h"

#include <lz4.h>
#include <zstd.h>

enum { ZSTD_LEVEL = 1 };

void qn_log_segment_header_write(const struct qn_log_segment_header *h, char *out)
{
    memset(out, 0, QN_LOG_SECTOR);
    qn_little_put32(out, QN_LOG_MAGIC_SEGMENT);
    qn_little_put16(out + 8, QN_LOG_FORMAT_VERSION);
    qn_little_put64(out + 16, h->id.half[0]);
    qn_little_put64(out + 24, h->id.half[1]);
    qn_little_put64(out + 32, h->first_lsn);
    qn_little_put64(out + 40, h->size);
    qn_little_put64(out + 48, (uint64_t)h->made_us);
    qn_little_put32(out + 4, qn_crc32c(0, out + 8, QN_LOG_SMALL_HEADER - 8));
}

const char *qn_log_segment_header_read(const char *p, struct qn_log_segment_header *h)
{
    if (qn_little_get32(p) != QN_LOG_MAGIC_SEGMENT)
        return "it does not begin with QNS1";
    if (qn_little_get32(p + 4) != qn_crc32c(0, p + 8, QN_LOG_SMALL_HEADER - 8))
        return "the checksum of its header is wrong";
    if (qn_little_get16(p + 8) != QN_LOG_FORMAT_VERSION)
        return "its format version is not known to this version of quern";
    h->id.half[0] = qn_little_get64(p + 16);
    h->id.half[1] = qn_little_get64(p + 24);
    h->first_lsn = qn_little_get64(p + 32);
    h->size = qn_little_get64(p + 40);
    h->made_us = (int64_t)qn_little_get64(p + 48);
    if (h->size < 2 * QN_LOG_SECTOR || h->size % QN_LOG_SECTOR != 0 ||
        h->first_lsn % QN_LOG_SECTOR != 0 || h->first_lsn > INT64_MAX || h->size > INT64_MAX / 2)
        return "its size or first LSN cannot be";
    return NULL;
}

void qn_log_frame_write(const struct qn_log_frame *f, uint64_t id, char *out)
{
    QN_ASSERT(f->sections <= QN_LOG_SECTIONS_MAX);
    memset(out, 0, QN_LOG_FRAME_HEADER);
    qn_little_put32(out, QN_LOG_MAGIC_FRAME);
    qn_little_put32(out + 8, f->length);
    qn_little_put16(out + 12, QN_LOG_FORMAT_VERSION);
    qn_little_put16(out + 14, (uint16_t)f->sections);
    qn_little_put64(out + 16, f->lsn);
    qn_little_put64(out + 24, id);
    qn_little_put32(out + 32, f->prev_crc);
    qn_little_put32(out + 36, f->flags);
    qn_little_put64(out + 40, (uint64_t)f->append_us);
    qn_little_put64(out + 48, f->raw_length);
}

const char *qn_log_frame_read(const char *p, uint64_t id, uint64_t lsn, struct qn_log_frame *f)
{
    uint64_t raw = qn_little_get64(p + 48);

    if (qn_little_get32(p) != QN_LOG_MAGIC_FRAME)
        return "no frame begins here";
    if (qn_little_get64(p + 16) != lsn)
        return "the frame belongs to another LSN";
    if (qn_little_get64(p + 24) != id)
        return "the frame belongs to another log";
    f->crc = qn_little_get32(p + 4);
    f->length = qn_little_get32(p + 8);
    f->sections = qn_little_get16(p + 14);
    f->lsn = lsn;
    f->prev_crc = qn_little_get32(p + 32);
    f->flags = qn_little_get32(p + 36);
    f->append_us = (int64_t)qn_little_get64(p + 40);
    if (qn_little_get16(p + 12) != QN_LOG_FORMAT_VERSION || f->flags > 15 ||
        (f->flags & QN_LOG_FLAG_CODEC) > QN_LOG_ZSTD || qn_little_get64(p + 56) != 0)
        return "the frame's header makes no sense";
    if (f->length < QN_LOG_FRAME_HEADER || f->length > QN_LOG_FRAME_BYTES_MAX ||
        raw > QN_LOG_FRAME_BYTES_MAX)
        return "the frame's length cannot be";
    f->raw_length = (uint32_t)raw;
    if ((f->flags & QN_LOG_FLAG_CODEC) == QN_LOG_PLAIN &&
        f->raw_length != f->length - QN_LOG_FRAME_HEADER)
        return "the frame's two lengths disagree";
    return NULL;
}

uint32_t qn_log_frame_seal(char *p, uint32_t length)
{
    uint32_t crc = qn_crc32c(0, p + 8, length - 8);

    qn_little_put32(p + 4, crc);
    return crc;
}

uint32_t qn_log_end_crc(const char *p)
{
    return qn_crc32c(0, p + 8, QN_LOG_SMALL_HEADER - 8);
}

const char *qn_log_frame_check(const char *p, const struct qn_log_frame *f)
{
    return qn_crc32c(0, p + 8, f->length - 8) == f->crc ? NULL : "the frame's checksum is wrong";
}

void qn_log_section_write(const struct qn_log_section *s, char *out)
{
    qn_little_put32(out, s->topic);
    qn_little_put16(out + 4, s->kind);
    qn_little_put16(out + 6, 0);
    qn_little_put32(out + 8, s->count);
    qn_little_put32(out + 12, s->bytes);
    qn_little_put64(out + 16, s->first);
    qn_little_put64(out + 24, (uint64_t)s->min_event);
    qn_little_put64(out + 32, (uint64_t)s->max_event);
}

bool qn_log_section_next(const char **p, const char *end, struct qn_log_section *s, bool *bad)
{
    const char *at = *p;

    if (at == end)
        return false;
    *bad = true;
    if (end - at < QN_LOG_SECTION_HEADER)
        return false;
    s->topic = qn_little_get32(at);
    s->kind = qn_little_get16(at + 4);
    s->count = qn_little_get32(at + 8);
    s->bytes = qn_little_get32(at + 12);
    s->first = qn_little_get64(at + 16);
    s->min_event = (int64_t)qn_little_get64(at + 24);
    s->max_event = (int64_t)qn_little_get64(at + 32);
    s->body = at + QN_LOG_SECTION_HEADER;
    if (s->kind < QN_LOG_RECORDS || s->kind > QN_LOG_DICTIONARY ||
        s->bytes > (uint64_t)(end - s->body) || qn_little_get16(at + 6) != 0)
        return false;
    if ((s->kind == QN_LOG_RECORDS || s->kind == QN_LOG_CONTROL) &&
        (s->count > s->bytes / 4 || s->count == 0 || s->first > INT64_MAX ||
         s->topic >= QN_LOG_TOPICS_MAX))
        return false;
    *bad = false;
    *p = s->body + s->bytes;
    return true;
}

static uint64_t zigzag(uint64_t v)
{
    return v << 1 ^ (v >> 63 ? UINT64_MAX : 0);
}

static uint64_t unzigzag(uint64_t v)
{
    return v >> 1 ^ (v & 1 ? UINT64_MAX : 0);
}

static char *put_bytes(char *p, struct qn_str s)
{
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    return p + s.len;
}

char *qn_log_record_write(char *p, int64_t time_before_us, const struct qn_log_record *r)
{
    p = qn_varint_put(p, zigzag((uint64_t)r->time_us - (uint64_t)time_before_us));
    p = qn_varint_put(p, r->key.p == NULL ? 0 : (uint64_t)r->key.len + 1);
    p = qn_varint_put(p, r->value.p == NULL ? 0 : (uint64_t)r->value.len + 1);
    p = qn_varint_put(p, r->headers.len);
    p = put_bytes(p, r->key);
    p = put_bytes(p, r->value);
    return put_bytes(p, r->headers);
}

/* A text of coded length (0 = null) at *p. */
static bool take_text(const char **p, const char *end, uint64_t coded, struct qn_str *out)
{
    uint64_t n = coded == 0 ? 0 : coded - 1;

    if (n > (uint64_t)(end - *p))
        return false;
    *out = (struct qn_str){coded == 0 ? NULL : *p, (uint32_t)n};
    *p += n;
    return true;
}

const char *qn_log_record_read(const char *p, const char *end, int64_t time_before_us,
                               struct qn_log_record *r)
{
    uint64_t v[4];

    for (int i = 0; i < 4; i++) {
        p = qn_varint_get(p, end, &v[i]);
        if (p == NULL)
            return NULL;
    }
    r->time_us = (int64_t)((uint64_t)time_before_us + unzigzag(v[0]));
    if (v[3] == UINT64_MAX || !take_text(&p, end, v[1], &r->key) ||
        !take_text(&p, end, v[2], &r->value) || !take_text(&p, end, v[3] + 1, &r->headers))
        return NULL;
    return p;
}

void qn_log_header_add(struct qn_buf *headers, struct qn_str name, struct qn_str value)
{
    char *at = qn_buf_room(headers, (size_t)name.len + value.len + 20), *p = at;

    if (at == NULL)
        return;
    p = put_bytes(qn_varint_put(p, name.len), name);
    p = put_bytes(qn_varint_put(p, value.len), value);
    headers->len += (size_t)(p - at);
}

bool qn_log_header_next(struct qn_str *headers, struct qn_log_header *out)
{
    return qn_record_header_next(headers, &out->name, &out->value);
}

size_t qn_log_pack_bound(enum qn_log_codec codec, size_t n)
{
    if (codec == QN_LOG_PLAIN)
        return n;
    return codec == QN_LOG_LZ4 ? (size_t)LZ4_compressBound((int)n) : ZSTD_compressBound(n);
}

size_t qn_log_pack(enum qn_log_codec codec, const char *from, size_t n, char *to, size_t room)
{
    size_t done;

    QN_ASSERT(codec != QN_LOG_PLAIN);
    QN_ASSERT(n <= QN_LOG_FRAME_BYTES_MAX);
    if (codec == QN_LOG_LZ4) {
        int got = LZ4_compress_default(from, to, (int)n, (int)room);

        return got <= 0 ? 0 : (size_t)got;
    }
    done = ZSTD_compress(to, room, from, n, ZSTD_LEVEL);
    return ZSTD_isError(done) ? 0 : done;
}

bool qn_log_unpack(enum qn_log_codec codec, const char *from, size_t n, char *to, size_t raw)
{
    QN_ASSERT(codec != QN_LOG_PLAIN);
    QN_ASSERT(raw <= QN_LOG_FRAME_BYTES_MAX);
    if (codec == QN_LOG_LZ4)
        return LZ4_decompress_safe(from, to, (int)n, (int)raw) == (int)raw;
    return ZSTD_decompress(to, raw, from, n) == raw;
}
