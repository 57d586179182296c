/* SPDX-License-Identifier: Apache-2.0
 * input_log.c - reads the streams' topics for the engine. See input_log.h.
 *
 * One reader selects all input topics, so that their records come in the order of the log, which is
 * the order in which the streams are merged. Invariant: `next` moves with every record handed out
 * and with nothing else. Thread: the engine's. */
#include "engine/input_log.h"

#include "base/check.h"
#include "base/memory.h"
#include "log/transcode.h"

enum { READ_MAX = 256 };

struct qn_input_log {
    struct qn_log *log;
    struct qn_log_reader *reader;
    const struct qn_plan *plan;
    struct qn_arena arena;
    uint32_t streams;
    uint8_t *stream_of;              /* [QN_LOG_TOPICS_MAX] */
    uint32_t *topics;                /* [streams] */
    uint64_t *next;                  /* [streams] */
    const uint64_t *end;             /* [streams]; NULL = no end */
    const struct qn_dead_past *past; /* NULL = none */
    bool is_past;                    /* what is read was committed before */
    uint64_t lsn;
    struct qn_log_record *records; /* [READ_MAX] read, given away up to `taken` */
    uint32_t count, taken;
    struct qn_str *headers, *keys; /* [QN_BATCH_ROWS_MAX] of the batch in hand */
    struct qn_input_age *ages;     /* [QN_BATCH_ROWS_MAX] */
    uint32_t age_count;
};

qn_status qn_input_log_new(struct qn_log *lg, const struct qn_plan *plan, const uint32_t *topics,
                           struct qn_input_log **out, struct qn_err *err)
{
    struct qn_input_log *in = qn_mem_zalloc(1, sizeof *in);
    qn_status rc = QN_OK;

    *out = NULL;
    if (in == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for reading the log");
    qn_arena_init(&in->arena, 0);
    in->log = lg;
    in->plan = plan;
    in->streams = plan->schema_count;
    in->stream_of = QN_NEW_N(&in->arena, uint8_t, QN_LOG_TOPICS_MAX);
    in->topics = QN_NEW_N(&in->arena, uint32_t, in->streams);
    in->next = QN_NEW_N(&in->arena, uint64_t, in->streams);
    in->records = QN_NEW_N(&in->arena, struct qn_log_record, READ_MAX);
    in->headers = QN_NEW_N(&in->arena, struct qn_str, QN_BATCH_ROWS_MAX);
    in->keys = QN_NEW_N(&in->arena, struct qn_str, QN_BATCH_ROWS_MAX);
    in->ages = QN_NEW_N(&in->arena, struct qn_input_age, QN_BATCH_ROWS_MAX);
    if (!in->stream_of || !in->topics || !in->next || !in->records || !in->headers || !in->keys ||
        !in->ages)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for reading the log");
    for (uint32_t s = 0; rc == QN_OK && s < in->streams; s++) {
        in->topics[s] = topics[s];
        in->stream_of[topics[s]] = (uint8_t)s;
    }
    if (rc == QN_OK)
        rc = qn_log_reader_new(lg, &(struct qn_log_selection){topics, in->streams, false},
                               &in->reader, err);
    if (rc != QN_OK) {
        qn_input_log_free(in);
        return rc;
    }
    *out = in;
    return QN_OK;
}

void qn_input_log_free(struct qn_input_log *in)
{
    if (in == NULL)
        return;
    qn_log_reader_free(in->reader);
    qn_arena_fini(&in->arena);
    qn_mem_free(in);
}

qn_status qn_input_log_seek(struct qn_input_log *in, const uint64_t *next, struct qn_err *err)
{
    in->count = in->taken = 0;
    qn_log_reader_release(in->reader);
    for (uint32_t s = 0; s < in->streams; s++) {
        struct qn_err why = {0};
        struct qn_log_topic_info info;

        qn_log_topic_info(in->log, in->topics[s], &info);
        if (next[s] < info.first || next[s] > info.next)
            return qn_err_set(
                err, QN_NOT_FOUND,
                "the log holds the records %llu to %llu of '%.*s', and %llu is needed next",
                (unsigned long long)info.first, (unsigned long long)info.next,
                QN_STR_ARG(in->plan->schemas[s].name), (unsigned long long)next[s]);
        in->next[s] = next[s];
        /* The next one to come is no place yet: the reader meets it when it is there. */
        if (next[s] == info.next)
            continue;
        if (qn_log_reader_seek(in->reader, in->topics[s], next[s], &why) != QN_OK) {
            if (err != NULL)
                *err = why;
            return why.code;
        }
    }
    return QN_OK;
}

void qn_input_log_end_at(struct qn_input_log *in, const uint64_t *end)
{
    in->end = end;
}

void qn_input_log_past(struct qn_input_log *in, const struct qn_dead_past *past)
{
    in->past = past != NULL && past->has_any ? past : NULL;
    in->is_past = past != NULL;
}

const uint64_t *qn_input_log_next(const struct qn_input_log *in)
{
    return in->next;
}

uint64_t qn_input_log_lsn(const struct qn_input_log *in)
{
    return in->lsn;
}

const struct qn_input_age *qn_input_log_ages(const struct qn_input_log *in, uint32_t *count)
{
    *count = in->age_count;
    return in->ages;
}

struct qn_str qn_input_log_headers(const struct qn_input_log *in, uint32_t row)
{
    return in->headers[row];
}

struct qn_str qn_input_log_key(const struct qn_input_log *in, uint32_t row)
{
    return in->keys[row];
}

bool qn_input_log_wait(struct qn_input_log *in, int64_t timeout_ms)
{
    QN_ASSERT(in->taken == in->count);
    return qn_log_reader_wait(in->reader, timeout_ms);
}

static void give(struct qn_input_log *in, struct qn_batch *b, const struct qn_log_record *rec)
{
    uint32_t r = b->rows++, s = in->stream_of[rec->topic];

    b->raw[r] = rec->value.p != NULL ? rec->value : (struct qn_str){"", 0};
    b->stream[r] = (uint8_t)s;
    b->partition[r] = 0;
    b->offset[r] = (int64_t)rec->offset;
    b->arrival_us[r] = rec->append_us;
    if (rec->value.len > QN_EVENT_BYTES_MAX) {
        b->verdict[r] = QN_DEAD;
        b->reason[r] = QN_REASON_TOO_LARGE;
    }
    if (rec->headers.len > 0) { /* what was no event at the door was kept all the same */
        const enum qn_reason reason = qn_transcode_reason(rec->headers);

        if (reason != QN_REASON_NONE) {
            b->verdict[r] = QN_DEAD;
            b->reason[r] = (uint8_t)reason;
        }
    }
    if (in->past != NULL) {
        enum qn_reason reason = qn_dead_past_reason(in->past, s, rec->offset);

        if (reason != QN_REASON_NONE)
            b->reason[r] = (uint8_t)reason;
        if (reason != QN_REASON_NONE && reason != QN_REASON_STATE_FULL)
            b->verdict[r] = QN_DEAD;
    }
    in->headers[r] = rec->headers;
    if (b->headers != NULL)
        b->headers[r] = rec->headers;
    in->keys[r] = rec->key;
    in->next[s] = rec->offset + 1;
    in->lsn = rec->lsn;
    if (in->age_count == 0 || in->ages[in->age_count - 1].append_us != rec->append_us)
        in->ages[in->age_count++] = (struct qn_input_age){rec->append_us, 0};
    in->ages[in->age_count - 1].rows++;
}

/* True where the record belongs to the batch; what was consumed before the seek does not count. */
static bool is_before_end(const struct qn_input_log *in, const struct qn_log_record *rec)
{
    return in->end == NULL || rec->offset < in->end[in->stream_of[rec->topic]];
}

static bool stands_at_end(const struct qn_input_log *in)
{
    for (uint32_t s = 0; in->end != NULL && s < in->streams; s++)
        if (in->next[s] < in->end[s])
            return false;
    return in->end != NULL;
}

static qn_status input_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct qn_input_log *in = st;
    /* What is left of the last batch goes first and alone, so that its memory can be released. */
    const bool has_left = in->taken < in->count;
    uint64_t bytes = 0;
    bool is_full = false;

    in->age_count = 0;
    b->is_past = in->is_past;
    while (!is_full && b->rows < b->rows_max && !stands_at_end(in)) {
        if (in->taken == in->count) {
            enum qn_flow more;

            if (has_left && b->rows > 0)
                break;
            in->taken = in->count = 0;
            QN_TRY(qn_log_reader_next(in->reader, in->records, READ_MAX, &in->count, &more, err));
            if (in->count == 0)
                break;
        }
        while (in->taken < in->count && b->rows < b->rows_max) {
            const struct qn_log_record *rec = &in->records[in->taken];

            is_full = b->rows > 0 && bytes + rec->value.len > QN_INPUT_LOG_BYTES;
            if (is_full || !is_before_end(in, rec))
                break;
            in->taken++;
            if (rec->offset < in->next[in->stream_of[rec->topic]])
                continue;
            bytes += rec->value.len;
            give(in, b, rec);
        }
        if (in->taken < in->count)
            break;
    }
    *flow = b->rows > 0 ? QN_MORE : QN_IDLE;
    return QN_OK;
}

/* Records that were read and not given away borrow the reader's memory: it is released when there
 * are none. */
static void input_release(void *st)
{
    struct qn_input_log *in = st;

    if (in->taken == in->count)
        qn_log_reader_release(in->reader);
}

static const struct qn_csv_header *const *input_csv(void *st, uint32_t stream)
{
    return NULL;
}

struct qn_input qn_input_log_input(struct qn_input_log *in)
{
    return (struct qn_input){
        .read = input_read, .release = input_release, .csv = input_csv, .st = in};
}
