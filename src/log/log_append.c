/* SPDX-License-Identifier: Apache-2.0
 * log_append.c - what one appender has to say: sections encoded as they will lie on disk.
 *
 * Encoding happens here, on the appender's thread; the log thread only fills in first offsets. A
 * section stays open while records of the same topic and kind are added; its header is written when
 * another begins. Thread: the appender, until it is submitted; then the log thread until it is
 * done. Memory: one buffer, kept. */
#include "log/log_int.h"

qn_status qn_log_append_new(struct qn_log *lg, struct qn_log_append **out, struct qn_err *err)
{
    struct qn_log_append *a = qn_mem_zalloc(1, sizeof *a);

    *out = a;
    if (a == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for an append");
    a->log = lg;
    return QN_OK;
}

void qn_log_append_free(struct qn_log_append *a)
{
    if (a == NULL)
        return;
    QN_ASSERT(a->phase != QN_LOG_QUEUED);
    qn_buf_fini(&a->body);
    qn_mem_free(a);
}

void qn_log_append_reset(struct qn_log_append *a)
{
    QN_ASSERT(a->phase != QN_LOG_QUEUED);
    qn_buf_clear(&a->body);
    a->open.kind = 0;
    a->sections = a->records = 0;
    a->phase = QN_LOG_OPEN;
}

void qn_log_append_reserved(struct qn_log_append *a, bool is_reserved)
{
    QN_ASSERT(a->phase != QN_LOG_QUEUED);
    a->is_reserved = is_reserved;
}

uint32_t qn_log_append_records(const struct qn_log_append *a)
{
    return a->records;
}

size_t qn_log_append_bytes(const struct qn_log_append *a)
{
    return a->body.len;
}

/* A frame and the largest dictionary it may meet must fit into a segment. */
size_t qn_log_append_limit(struct qn_log *lg)
{
    uint64_t part = lg->opt.segment_bytes / 4;

    return part < QN_LOG_APPEND_BYTES_MAX ? (size_t)part : QN_LOG_APPEND_BYTES_MAX;
}

void qn_log_append_close(struct qn_log_append *a)
{
    if (a->open.kind == 0)
        return;
    a->open.bytes = (uint32_t)(a->body.len - a->section_at - QN_LOG_SECTION_HEADER);
    qn_log_section_write(&a->open, a->body.data + a->section_at);
    a->open.kind = 0;
}

/* Room for bytes more, and a section header where one begins. */
static qn_status make_room(struct qn_log_append *a, uint64_t bytes, bool begins, struct qn_err *err)
{
    size_t limit = qn_log_append_limit(a->log);
    uint64_t more = bytes + (begins ? QN_LOG_SECTION_HEADER : 0);

    if (a->body.len + more > limit || (begins && a->sections >= QN_LOG_SECTIONS_MAX - 2048))
        return qn_err_set(err, QN_LIMIT,
                          "an append of %zu bytes cannot take %llu more: the limit is %zu bytes",
                          a->body.len, (unsigned long long)more, limit);
    if (qn_buf_room(&a->body, more) == NULL) {
        a->body.failed = false;
        return qn_err_set(err, QN_NOMEM, "out of memory for an append");
    }
    return QN_OK;
}

/* The room is there. */
static void begin_section(struct qn_log_append *a, uint32_t topic, enum qn_log_kind kind)
{
    qn_log_append_close(a);
    a->section_at = a->body.len;
    a->body.len += QN_LOG_SECTION_HEADER;
    a->open = (struct qn_log_section){.topic = topic,
                                      .kind = (uint16_t)kind,
                                      .min_event = QN_LOG_NO_TIME,
                                      .max_event = QN_LOG_NO_TIME};
    a->time_us = 0;
    a->sections++;
}

qn_status qn_log_append_record(struct qn_log_append *a, uint32_t topic, enum qn_log_kind kind,
                               const struct qn_log_record *r, struct qn_err *err)
{
    bool begins = a->open.kind != kind || a->open.topic != topic;
    struct qn_log_section *s = &a->open;

    QN_ASSERT(a->phase == QN_LOG_OPEN);
    QN_ASSERT(kind == QN_LOG_RECORDS || kind == QN_LOG_CONTROL);
    QN_TRY(make_room(a,
                     (uint64_t)r->key.len + r->value.len + r->headers.len + QN_LOG_RECORD_OVERHEAD,
                     begins, err));
    if (begins)
        begin_section(a, topic, kind);
    a->body.len =
        (size_t)(qn_log_record_write(a->body.data + a->body.len, a->time_us, r) - a->body.data);
    a->time_us = r->time_us;
    a->records++;
    s->count++;
    if (r->time_us != QN_LOG_NO_TIME) {
        if (s->min_event == QN_LOG_NO_TIME || r->time_us < s->min_event)
            s->min_event = r->time_us;
        if (r->time_us > s->max_event)
            s->max_event = r->time_us;
    }
    return QN_OK;
}

qn_status qn_log_append_cursor(struct qn_log_append *a, struct qn_str name, uint32_t topic,
                               uint64_t offset, struct qn_err *err)
{
    char *p;

    QN_ASSERT(a->phase == QN_LOG_OPEN);
    if (name.len == 0 || name.len > QN_LOG_NAME_MAX)
        return qn_err_set(err, QN_INVALID, "a cursor's name has %u bytes; 1 to %d are allowed",
                          name.len, QN_LOG_NAME_MAX);
    QN_TRY(make_room(a, (uint64_t)name.len + 10, true, err));
    begin_section(a, topic, QN_LOG_CURSOR);
    a->open.count = 1;
    p = qn_varint_put(a->body.data + a->body.len, offset);
    memcpy(p, name.p, name.len);
    a->body.len = (size_t)(p - a->body.data) + name.len;
    qn_log_append_close(a);
    return QN_OK;
}

qn_status qn_log_append_commit(struct qn_log_append *a, uint32_t stage, uint64_t position,
                               struct qn_str payload, struct qn_err *err)
{
    QN_ASSERT(a->phase == QN_LOG_OPEN);
    if (payload.len > QN_LOG_COMMIT_BYTES_MAX)
        return qn_err_set(err, QN_LIMIT, "a commit of %u bytes: the limit is %d", payload.len,
                          QN_LOG_COMMIT_BYTES_MAX);
    QN_TRY(make_room(a, payload.len, true, err));
    begin_section(a, stage, QN_LOG_COMMIT);
    a->open.count = 1;
    a->open.first = position;
    qn_buf_add(&a->body, payload.p, payload.len);
    qn_log_append_close(a);
    return QN_OK;
}

bool qn_log_append_assign(struct qn_log_append *a, struct qn_log_state *st)
{
    const char *p = a->body.data, *end = p + a->body.len;
    struct qn_log_section s;
    bool bad = false, has_commit = false;

    while (qn_log_section_next(&p, end, &s, &bad)) {
        char *header = a->body.data + (s.body - a->body.data) - QN_LOG_SECTION_HEADER;

        has_commit |= s.kind == QN_LOG_COMMIT;
        if (s.kind != QN_LOG_RECORDS && s.kind != QN_LOG_CONTROL)
            continue;
        QN_ASSERT(s.topic < st->topic_count);
        qn_little_put64(header + 16, st->topics[s.topic]->assigned);
        st->topics[s.topic]->assigned += s.count;
    }
    QN_ASSERT(!bad);
    return has_commit;
}

uint64_t qn_log_append_first(const struct qn_log_append *a, uint32_t topic)
{
    const char *p = a->body.data, *end = p + a->body.len;
    struct qn_log_section s;
    bool bad = false;

    QN_ASSERT(a->phase != QN_LOG_OPEN);
    while (a->rc == QN_OK && a->body.len > 0 && qn_log_section_next(&p, end, &s, &bad))
        if (s.topic == topic && (s.kind == QN_LOG_RECORDS || s.kind == QN_LOG_CONTROL))
            return s.first;
    return QN_LOG_NO_OFFSET;
}
