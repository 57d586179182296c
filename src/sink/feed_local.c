/* SPDX-License-Identifier: Apache-2.0
 * feed_local.c - a topic of the local log as the feed of a delivery: a reader, and a cursor in the
 * log.
 *
 * Dead letters and the cursor behind them are one append, so no crash parts them. Invariant: an
 * append that holds its cursor (is_stuck) goes first, as it is. Thread: the delivery's. Memory: one
 * batch of the reader, one append. */
#include "sink/feed.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>

enum { APPEND_SPARE_BYTES = 1024 /* for a cursor and the frame of a record */ };
#define SERVE_NS INT64_C(3600000000000)

struct local {
    struct qn_feed feed;
    struct qn_feed_local_options opt;
    char log_id[QN_LOG_ID_TEXT];
    struct qn_log_reader *reader;
    struct qn_log_append *append; /* dead letters so far, then the cursor */
    struct qn_buf headers;        /* of one dead letter                   */
    uint64_t sealed;              /* the cursor of an append that is stuck */
    uint64_t moved;               /* the durable cursor                    */
};

/* ---- reading ---------------------------------------------------------------------------------*/

static qn_status local_read(struct qn_feed *f, struct qn_log_record *records, uint32_t max,
                            uint32_t *count, struct qn_err *err)
{
    struct local *l = (struct local *)f;
    enum qn_flow flow = QN_IDLE;
    qn_status rc;

    *count = 0;
    qn_log_reader_release(l->reader);
    rc = qn_log_reader_next(l->reader, records, max, count, &flow, err);
    if (rc != QN_OK)
        *count = 0;
    return rc;
}

static void settle_up_to(struct local *l, uint64_t next)
{
    l->feed.next = next;
    l->feed.has_news = next != l->moved;
}

static void local_settle(struct qn_feed *f, const struct qn_log_record *r)
{
    settle_up_to((struct local *)f, r->offset + 1);
}

static qn_status local_rewind(struct qn_feed *f, struct qn_err *err)
{
    struct local *l = (struct local *)f;

    QN_ASSERT(!f->is_stuck);
    qn_log_reader_release(l->reader);
    qn_log_append_reset(l->append);
    f->dead = 0;
    settle_up_to(l, l->moved);
    return qn_log_reader_seek(l->reader, l->opt.topic, l->moved, err);
}

static qn_status local_serve(struct qn_feed *f, bool *must_let_go, struct qn_err *err)
{
    *must_let_go = false;
    return QN_OK;
}

static void local_wait(struct qn_feed *f, int64_t ms)
{
    (void)qn_log_reader_wait(((struct local *)f)->reader, ms);
}

static uint64_t end_of(const struct local *l)
{
    struct qn_log_topic_info topic;

    qn_log_topic_info(l->opt.log, l->opt.topic, &topic);
    return topic.next;
}

/* ---- the cursor and dead letters -------------------------------------------------------------*/

static qn_status local_commit(struct qn_feed *f, struct qn_err *err)
{
    struct local *l = (struct local *)f;

    if (!f->is_stuck) {
        QN_TRY(qn_log_append_cursor(l->append, l->opt.cursor, l->opt.topic, f->next, err));
        f->is_stuck = true;
        l->sealed = f->next;
    }
    qn_log_append_reserved(l->append, true);
    QN_TRY(qn_log_commit(l->opt.log, l->append, NULL, err));
    f->is_stuck = false;
    f->dead = 0;
    l->moved = l->sealed;
    settle_up_to(l, f->next);
    qn_log_append_reset(l->append);
    return QN_OK;
}

/* True if the append takes so many bytes more and its cursor. */
static bool has_room(const struct local *l, size_t bytes)
{
    return qn_log_append_bytes(l->append) + bytes + APPEND_SPARE_BYTES <=
           qn_log_append_limit(l->opt.log);
}

static qn_status local_dead(struct qn_feed *f, const struct qn_log_record *r,
                            struct qn_dead_letter *letter, struct qn_err *err)
{
    struct local *l = (struct local *)f;
    struct qn_log_record record = *r;
    struct qn_log_topic_info topic;
    size_t bytes;

    qn_log_topic_info(l->opt.log, l->opt.topic, &topic);
    letter->topic = topic.name;
    letter->offset = r->offset;
    qn_buf_clear(&l->headers);
    qn_dead_letter_headers(letter, r->headers, &l->headers);
    if (l->headers.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for a dead letter");
    record.headers = (struct qn_str){l->headers.data, (uint32_t)l->headers.len};
    bytes = (size_t)record.key.len + record.value.len + record.headers.len;
    if (!has_room(l, bytes) && f->dead > 0)
        return qn_err_set(err, QN_FULL, "the append is full");
    if (!has_room(l, bytes)) /* fits into no append with its headers: they must do */
        record.value = (struct qn_str){NULL, 0};
    QN_TRY(qn_log_append_record(l->append, l->opt.dead_topic, QN_LOG_RECORDS, &record, err));
    f->dead++;
    local_settle(f, r);
    return QN_OK;
}

/* ---- life ------------------------------------------------------------------------------------*/

static uint64_t local_lag(struct qn_feed *f, uint64_t next)
{
    const uint64_t end = end_of((struct local *)f);

    return end > next ? end - next : 0;
}

static bool local_is_drained(struct qn_feed *f)
{
    return f->next >= end_of((struct local *)f);
}

static void local_free(struct qn_feed *f)
{
    struct local *l = (struct local *)f;

    qn_log_reader_free(l->reader);
    qn_log_append_free(l->append);
    qn_buf_fini(&l->headers);
    qn_mem_free(l);
}

static const struct qn_feed_ops local_ops = {.read = local_read,
                                             .settle = local_settle,
                                             .dead = local_dead,
                                             .commit = local_commit,
                                             .rewind = local_rewind,
                                             .serve = local_serve,
                                             .wait = local_wait,
                                             .lag = local_lag,
                                             .is_drained = local_is_drained,
                                             .free = local_free};

/* Where the reader has to begin: the cursor, moved where the log no longer reaches back so far. */
static qn_status find_place(struct local *l, struct qn_err *err)
{
    struct qn_log_topic_info info;
    struct qn_err missing = {0};
    uint64_t offset = 0;
    uint32_t topic = 0;
    char text[640];
    qn_status rc = qn_log_cursor(l->opt.log, l->opt.cursor, &topic, &offset, &missing);

    qn_log_topic_info(l->opt.log, l->opt.topic, &info);
    if (rc == QN_NOT_FOUND || (rc == QN_OK && topic != l->opt.topic)) {
        offset = l->opt.begins_newest ? info.next : info.first;
        rc = QN_OK;
    }
    if (rc == QN_OK)
        rc = qn_log_reader_seek(l->reader, l->opt.topic, offset, &missing);
    if (rc == QN_NOT_FOUND && missing.has_offset) {
        snprintf(text, sizeof(text), "%s; going on at %llu", missing.text,
                 (unsigned long long)missing.offset);
        l->opt.tell(l->opt.arg, true, text);
        offset = missing.offset;
        rc = qn_log_reader_seek(l->reader, l->opt.topic, offset, &missing);
    }
    if (rc != QN_OK && err != NULL)
        *err = missing;
    l->feed.next = l->moved = offset;
    return rc;
}

/* The reader behind the cursor, which is made durable where it is new. */
static qn_status place(struct local *l, struct qn_err *err)
{
    struct qn_log_selection what = {.topics = &l->opt.topic, .topic_count = 1};
    qn_status rc;

    QN_TRY(qn_log_append_new(l->opt.log, &l->append, err));
    QN_TRY(qn_log_reader_new(l->opt.log, &what, &l->reader, err));
    QN_TRY(find_place(l, err));
    QN_TRY(qn_log_append_cursor(l->append, l->opt.cursor, l->opt.topic, l->moved, err));
    qn_log_append_reserved(l->append, true);
    rc = qn_log_commit(l->opt.log, l->append, NULL, err);
    qn_log_append_reset(l->append);
    return rc;
}

qn_status qn_feed_local_new(const struct qn_feed_local_options *opt, struct qn_feed **out,
                            struct qn_err *err)
{
    struct local *l = qn_mem_zalloc(1, sizeof(*l));
    qn_status rc;

    *out = NULL;
    if (l == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the delivery '%.*s'",
                          QN_STR_ARG(opt->cursor));
    l->opt = *opt;
    qn_log_identity(opt->log, l->log_id);
    l->feed = (struct qn_feed){.ops = &local_ops, .log_id = l->log_id, .serve_ns = SERVE_NS};
    rc = place(l, err);
    if (rc != QN_OK) {
        local_free(&l->feed);
        return rc;
    }
    *out = &l->feed;
    return QN_OK;
}
