/* SPDX-License-Identifier: Apache-2.0
 * log_read.c - readers: frames found by the index, read in runs, handed out record by record.
 *
 * The index says which frames hold something of the wanted topics, so that a reader of a rare topic
 * does not read the others. Neighbouring frames are read in one go into a chunk; every frame is
 * checked again before a byte of it is handed out. Chunks live until released; one record costs no
 * allocation. A reader's LSN holds the segments it has still to read. Thread: a reader has one
 * owner; what is shared is looked at under the log's lock, files are read without it. */
#include "log/log_int.h"

#include <stdio.h>
#include <time.h>

enum {
    CHUNK_BYTES = 256 * 1024,
    HELD_BYTES_MAX = 4 << 20, /* a call stops adding chunks there */
    PAD = 64,                 /* readable beyond the last record, for decoders */
};

struct qn_log_chunk {
    struct qn_log_chunk *next;
    size_t cap;
    char data[];
};

/* ---- chunks ----------------------------------------------------------------------------------*/

static struct qn_log_chunk *chunk_get(struct qn_log_reader *r, size_t bytes)
{
    struct qn_log_chunk **at = &r->spare, *c;

    while (*at != NULL && (*at)->cap < bytes)
        at = &(*at)->next;
    c = *at;
    if (c != NULL) {
        *at = c->next;
    } else {
        size_t cap = bytes < CHUNK_BYTES ? CHUNK_BYTES : bytes;

        c = qn_mem_alloc(sizeof *c + cap + PAD);
        if (c == NULL)
            return NULL;
        c->cap = cap;
    }
    c->next = r->chunks;
    r->chunks = c;
    r->held_bytes += c->cap;
    return c;
}

static void free_list(struct qn_log_chunk *c)
{
    while (c != NULL) {
        struct qn_log_chunk *next = c->next;

        qn_mem_free(c);
        c = next;
    }
}

void qn_log_reader_release(struct qn_log_reader *r)
{
    struct qn_log_chunk *kept = NULL, *c = r->chunks;

    r->held_bytes = 0;
    while (c != NULL) {
        struct qn_log_chunk *next = c->next, **to = &r->spare;

        if (c == r->current || c == r->raw) {
            to = &kept;
            r->held_bytes += c->cap;
        }
        c->next = *to;
        *to = c;
        c = next;
    }
    r->chunks = kept;
}

/* ---- opening, closing ------------------------------------------------------------------------*/

qn_status qn_log_reader_new(struct qn_log *lg, const struct qn_log_selection *what,
                            struct qn_log_reader **out, struct qn_err *err)
{
    struct qn_log_reader *r = qn_mem_zalloc(1, sizeof *r);
    uint32_t n = what->topic_count;

    *out = NULL;
    if (r != NULL) {
        r->from = qn_mem_zalloc(QN_LOG_TOPICS_MAX, sizeof *r->from);
        r->selected = n > 0 ? qn_mem_zalloc(QN_LOG_TOPICS_MAX, sizeof *r->selected) : NULL;
    }
    if (r == NULL || r->from == NULL || (n > 0 && r->selected == NULL)) {
        if (r != NULL) {
            qn_mem_free(r->from);
            qn_mem_free(r->selected);
        }
        qn_mem_free(r);
        return qn_err_set(err, QN_NOMEM, "out of memory for a reader of the log");
    }
    for (uint32_t i = 0; i < n; i++) {
        QN_ASSERT(what->topics[i] < QN_LOG_TOPICS_MAX);
        r->selected[what->topics[i]] = true;
    }
    r->log = lg;
    r->commits = what->commits;
    r->fd = -1;
    pthread_mutex_lock(&lg->lock);
    r->lsn = lg->segments[0]->first_lsn;
    r->next = lg->readers;
    if (r->next != NULL)
        r->next->prev = r;
    lg->readers = r;
    pthread_mutex_unlock(&lg->lock);
    *out = r;
    return QN_OK;
}

void qn_log_reader_free(struct qn_log_reader *r)
{
    struct qn_log *lg;

    if (r == NULL)
        return;
    lg = r->log;
    pthread_mutex_lock(&lg->lock);
    if (r->prev != NULL)
        r->prev->next = r->next;
    else
        lg->readers = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
    pthread_mutex_unlock(&lg->lock);
    if (r->fd >= 0)
        lg->opt.files->close(lg->opt.files->st, r->fd);
    free_list(r->chunks);
    free_list(r->spare);
    qn_mem_free(r->from);
    qn_mem_free(r->selected);
    qn_mem_free(r);
}

/* ---- finding ---------------------------------------------------------------------------------*/

static bool wants_topic(const struct qn_log_reader *r, uint32_t topic)
{
    return r->selected == NULL || r->selected[topic];
}

static bool wants(const struct qn_log_reader *r, const struct qn_log_entry *e)
{
    if (e->kind == QN_LOG_COMMIT)
        return r->commits;
    return e->topic < QN_LOG_TOPICS_MAX && wants_topic(r, e->topic) &&
           e->first + e->count > r->from[e->topic];
}

/* By the spans alone. */
static bool may_hold(const struct qn_log_reader *r, const struct qn_log_segment *s)
{
    if (r->commits && s->has_commits)
        return true;
    for (uint32_t i = 0; i < s->span_count; i++)
        if (wants_topic(r, s->spans[i].topic) && s->spans[i].next > r->from[s->spans[i].topic])
            return true;
    return false;
}

/* Under lock, which is given up while the file is read: the segment at index i gets its entries.
 * *again: the list may have moved, look anew. */
static qn_status load_index(struct qn_log *lg, struct qn_log_segment *s, bool *again,
                            struct qn_err *err)
{
    struct qn_log_segment copy = {
        .first_lsn = s->first_lsn, .size = s->size, .end_lsn = s->end_lsn};
    uint32_t crc = s->crc;
    qn_status rc;

    s->used_at = ++lg->use_count;
    *again = !s->is_loaded;
    if (s->is_loaded)
        return QN_OK;
    pthread_mutex_unlock(&lg->lock);
    rc = qn_log_index_load(lg, &copy, NULL);
    if (rc != QN_OK || copy.crc != crc)
        rc = qn_log_index_rebuild(lg, &copy, crc, err);
    pthread_mutex_lock(&lg->lock);
    if (rc == QN_OK && !s->is_loaded) { /* the segment is still there: this reader holds it */
        s->entries = copy.entries;
        s->entry_count = copy.entry_count;
        s->entry_cap = copy.entry_cap;
        s->is_loaded = true;
        copy.entries = NULL;
        qn_log_index_unload(lg);
    }
    qn_mem_free(copy.spans);
    qn_mem_free(copy.entries);
    return rc;
}

/* Under lock: the segment that contains lsn, or NULL behind the last. */
static struct qn_log_segment *segment_with(const struct qn_log *lg, uint64_t lsn)
{
    uint32_t from = 0, to = lg->segment_count;

    while (from < to) {
        uint32_t mid = from + (to - from) / 2;

        if (lg->segments[mid]->first_lsn + lg->segments[mid]->size <= lsn)
            from = mid + 1;
        else
            to = mid;
    }
    return from < lg->segment_count ? lg->segments[from] : NULL;
}

/* Under lock: neighbouring wanted frames from r->lsn on, of one segment, at most a chunk. */
static void collect(struct qn_log_reader *r, const struct qn_log_segment *s)
{
    uint64_t bytes = 0;

    r->want_count = 0;
    for (uint32_t i = qn_log_index_find(s, r->lsn); i < s->entry_count; i++) {
        const struct qn_log_entry *e = &s->entries[i];
        struct qn_log_want *last = r->want_count > 0 ? &r->wants[r->want_count - 1] : NULL;

        if (!wants(r, e) || (last != NULL && last->lsn == e->lsn))
            continue;
        if (last != NULL && (last->lsn + qn_log_padded(last->length) != e->lsn ||
                             bytes + e->length > CHUNK_BYTES || r->want_count == QN_LOG_WANTS_MAX))
            break;
        r->wants[r->want_count++] = (struct qn_log_want){e->lsn, e->length, e->topic, e->kind};
        bytes += qn_log_padded(e->length);
    }
}

/* Finds the next run of frames; want_count 0 = none now. *first_lsn: of their segment. */
static qn_status find_run(struct qn_log_reader *r, uint64_t *first_lsn, struct qn_err *err)
{
    struct qn_log *lg = r->log;
    qn_status rc = QN_OK;

    r->want_count = r->want_at = 0;
    pthread_mutex_lock(&lg->lock);
    for (;;) {
        struct qn_log_segment *s = segment_with(lg, r->lsn);
        bool again;

        if (s == NULL)
            break;
        if (may_hold(r, s)) {
            rc = load_index(lg, s, &again, err);
            if (rc != QN_OK)
                break;
            if (again)
                continue;
            if (r->lsn < s->first_lsn)
                r->lsn = s->first_lsn;
            collect(r, s);
            *first_lsn = s->first_lsn;
            if (r->want_count > 0)
                break;
        }
        if (s == lg->segments[lg->segment_count - 1]) {
            if (r->lsn < lg->end_lsn)
                r->lsn = lg->end_lsn;
            break;
        }
        r->lsn = s->first_lsn + s->size;
    }
    pthread_mutex_unlock(&lg->lock);
    return rc;
}

/* ---- reading ---------------------------------------------------------------------------------*/

static void move_to(struct qn_log_reader *r, uint64_t lsn)
{
    pthread_mutex_lock(&r->log->lock);
    r->lsn = lsn;
    pthread_mutex_unlock(&r->log->lock);
}

static void drop_run(struct qn_log_reader *r)
{
    r->want_count = r->want_at = 0;
    r->at = r->end = NULL;
    r->record_left = 0;
    r->current = r->raw = NULL;
}

static qn_status open_segment(struct qn_log_reader *r, uint64_t first_lsn, const char *path,
                              struct qn_err *err)
{
    const struct qn_files *fs = r->log->opt.files;

    if (r->fd >= 0 && r->fd_lsn == first_lsn)
        return QN_OK;
    if (r->fd >= 0)
        fs->close(fs->st, r->fd);
    r->fd = fs->open(fs->st, path, QN_OPEN_READ);
    r->fd_lsn = first_lsn;
    return r->fd < 0 ? qn_err_sys(err, -r->fd, "cannot open '%s'", path) : QN_OK;
}

/* Reads the run into a new current chunk. */
static qn_status read_run(struct qn_log_reader *r, uint64_t first_lsn, struct qn_err *err)
{
    const struct qn_log_want *last = &r->wants[r->want_count - 1];
    uint64_t lsn = r->wants[0].lsn;
    size_t bytes = (size_t)(last->lsn + last->length - lsn), got;
    char path[QN_LOG_PATH_MAX];

    r->raw = NULL;
    r->current = chunk_get(r, bytes);
    if (r->current == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory to read the log");
    qn_log_path(r->log, first_lsn, "seg", path);
    QN_TRY(open_segment(r, first_lsn, path, err));
    QN_TRY(qn_file_read_at(r->log->opt.files, r->fd, path, r->current->data, bytes, lsn - first_lsn,
                           &got, err));
    memset(r->current->data + got, 0, bytes - got + PAD);
    r->frame_at = r->current->data;
    move_to(r, last->lsn + qn_log_padded(last->length));
    return QN_OK;
}

/* A frame that the index knows is not what it was: names file, byte and topic; the reader stays
 * before it. */
static qn_status damage(struct qn_log_reader *r, const struct qn_log_want *w, const char *why,
                        struct qn_err *err)
{
    struct qn_log *lg = r->log;
    char path[QN_LOG_PATH_MAX], topic[QN_LOG_NAME_MAX + 16] = "commits";
    uint64_t lsn = w->lsn;

    pthread_mutex_lock(&lg->lock);
    if (w->kind != QN_LOG_COMMIT && w->topic < lg->state.topic_count)
        snprintf(topic, sizeof topic, "topic '%s'", lg->state.topics[w->topic]->name);
    pthread_mutex_unlock(&lg->lock);
    qn_log_path(lg, r->fd_lsn, "seg", path);
    qn_err_set(err, QN_CORRUPT,
               "damaged at byte %llu (LSN %llu), %s: %s; `quern log --verify` shows what else is; "
               "restore the file from a backup",
               (unsigned long long)(lsn - r->fd_lsn), (unsigned long long)lsn, topic, why);
    if (err != NULL) {
        err->offset = lsn - r->fd_lsn;
        err->has_offset = true;
        qn_err_at(err, path, 0, 0);
    }
    drop_run(r);
    move_to(r, lsn);
    return QN_CORRUPT;
}

/* Opens the next frame of the current chunk. */
static qn_status open_frame(struct qn_log_reader *r, struct qn_err *err)
{
    const struct qn_log_want *w = &r->wants[r->want_at];
    const char *p = r->frame_at, *why;

    why = qn_log_frame_read(p, r->log->id.half[0], w->lsn, &r->frame);
    if (why == NULL && r->frame.length != w->length)
        why = "the frame's length is not what the index says";
    if (why == NULL)
        why = qn_log_frame_check(p, &r->frame);
    if (why != NULL)
        return damage(r, w, why, err);
    r->at = p + QN_LOG_FRAME_HEADER;
    r->end = p + r->frame.length;
    if ((r->frame.flags & QN_LOG_FLAG_CODEC) != QN_LOG_PLAIN) {
        r->raw = chunk_get(r, r->frame.raw_length);
        if (r->raw == NULL) {
            uint64_t lsn = w->lsn;

            drop_run(r);
            move_to(r, lsn);
            return qn_err_set(err, QN_NOMEM, "out of memory to unpack a frame");
        }
        why = qn_log_frame_unpack(p, &r->frame, r->raw->data);
        if (why != NULL)
            return damage(r, w, why, err);
        memset(r->raw->data + r->frame.raw_length, 0, PAD);
        r->at = r->raw->data;
        r->end = r->at + r->frame.raw_length;
    }
    r->frame_at = p + qn_log_padded(r->frame.length);
    r->want_at++;
    return QN_OK;
}

/* Opens the next wanted section of the frame. False at its end. */
static bool open_section(struct qn_log_reader *r)
{
    struct qn_log_section *s = &r->section;
    bool bad = false;

    while (qn_log_section_next(&r->at, r->end, s, &bad)) {
        bool is_commit = s->kind == QN_LOG_COMMIT;

        if (is_commit ? !r->commits : s->kind > QN_LOG_CONTROL || !wants_topic(r, s->topic))
            continue;
        r->record = s->body;
        r->record_end = s->body + s->bytes;
        r->record_left = is_commit ? 1 : s->count;
        r->offset = s->first;
        r->time_us = 0;
        return true;
    }
    r->at = r->end;
    return false;
}

/* The next record of the section: false when it is left out or makes no sense (*bad). */
static bool take_record(struct qn_log_reader *r, struct qn_log_record *out, bool *bad)
{
    const struct qn_log_section *s = &r->section;

    out->lsn = r->frame.lsn;
    out->append_us = r->frame.append_us;
    out->topic = s->topic;
    out->partition = 0;
    out->kind = (enum qn_log_kind)s->kind;
    out->offset = r->offset;
    r->record_left--;
    if (s->kind == QN_LOG_COMMIT) {
        out->key = out->headers = (struct qn_str){NULL, 0};
        out->value = (struct qn_str){s->body, s->bytes};
        out->time_us = QN_LOG_NO_TIME;
        return true;
    }
    r->record = qn_log_record_read(r->record, r->record_end, r->time_us, out);
    *bad = r->record == NULL;
    if (*bad)
        return false;
    r->time_us = out->time_us;
    r->offset++;
    return out->offset >= r->from[s->topic];
}

qn_status qn_log_reader_next(struct qn_log_reader *r, struct qn_log_record *out, uint32_t max,
                             uint32_t *count, enum qn_flow *flow, struct qn_err *err)
{
    qn_status rc = QN_OK;
    uint32_t n = 0;

    r->is_placing = false;
    while (n < max && rc == QN_OK) {
        uint64_t first_lsn = 0;
        bool bad = false;

        if (r->record_left > 0) {
            n += take_record(r, &out[n], &bad);
            if (bad)
                rc = damage(r, &r->wants[r->want_at - 1], "a record makes no sense", err);
        } else if (r->at != r->end) {
            (void)open_section(r);
        } else if (r->want_at < r->want_count) {
            rc = open_frame(r, err);
        } else {
            if (n > 0 && r->held_bytes >= HELD_BYTES_MAX)
                break;
            r->current = r->raw = NULL;
            rc = find_run(r, &first_lsn, err);
            if (rc == QN_OK && r->want_count == 0)
                break;
            if (rc == QN_OK)
                rc = read_run(r, first_lsn, err);
            if (rc != QN_OK)
                drop_run(r);
        }
    }
    *count = n;
    *flow = n > 0 ? QN_MORE : QN_IDLE;
    return n > 0 ? QN_OK : rc; /* what lies before a damage first; it is met again */
}

bool qn_log_reader_wait(struct qn_log_reader *r, int64_t timeout_ms)
{
    struct qn_log *lg = r->log;
    int64_t end = qn_clock_system.mono_ns(qn_clock_system.st) + timeout_ms * 1000000;
    struct timespec t = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    bool has_more;
    int late = 0;

    if (r->record_left > 0 || r->at != r->end || r->want_at < r->want_count)
        return true;
    pthread_mutex_lock(&lg->lock);
    while (lg->end_lsn <= r->lsn && late == 0 && lg->has_log_thread && lg->fatal.code == QN_OK)
        late = pthread_cond_timedwait(&lg->readable, &lg->lock, &t);
    has_more = lg->end_lsn > r->lsn;
    pthread_mutex_unlock(&lg->lock);
    return has_more;
}

/* ---- seeking ---------------------------------------------------------------------------------*/

/* Under lock: the frame of an offset that is there. The reader must hold the segment. */
static qn_status find_offset(struct qn_log_reader *r, uint32_t topic, uint64_t offset,
                             uint64_t *lsn, struct qn_err *err)
{
    struct qn_log *lg = r->log;

    *lsn = lg->end_lsn;
    for (uint32_t i = 0; i < lg->segment_count; i++) {
        struct qn_log_segment *s = lg->segments[i];
        const struct qn_log_span *span = qn_log_segment_span(s, topic);
        bool again;

        if (span == NULL || offset < span->first || offset >= span->next)
            continue;
        if (r->lsn > s->first_lsn)
            r->lsn = s->first_lsn; /* hold it while its index is read */
        QN_TRY(load_index(lg, s, &again, err));
        for (uint32_t k = 0; k < s->entry_count; k++) {
            const struct qn_log_entry *e = &s->entries[k];

            if (e->topic == topic && e->kind != QN_LOG_COMMIT && offset >= e->first &&
                offset < e->first + e->count) {
                *lsn = e->lsn;
                return QN_OK;
            }
        }
    }
    return QN_OK;
}

qn_status qn_log_reader_seek(struct qn_log_reader *r, uint32_t topic, uint64_t offset,
                             struct qn_err *err)
{
    struct qn_log *lg = r->log;
    uint64_t before, lsn, first, next;
    qn_status rc = QN_OK;

    pthread_mutex_lock(&lg->lock);
    QN_ASSERT(topic < lg->state.topic_count);
    first = lg->state.topics[topic]->first;
    next = lg->state.topics[topic]->next;
    before = r->lsn;
    if (offset >= first && offset <= next) {
        rc = find_offset(r, topic, offset, &lsn, err);
        r->lsn = rc != QN_OK || (r->is_placing && before < lsn) ? before : lsn;
    }
    pthread_mutex_unlock(&lg->lock);
    QN_TRY(rc);
    if (offset < first || offset > next) {
        rc = qn_err_set(err, QN_NOT_FOUND, "offset %llu is not there: the topic has [%llu, %llu)",
                        (unsigned long long)offset, (unsigned long long)first,
                        (unsigned long long)next);
        if (err != NULL) {
            err->offset = offset < first ? first : next;
            err->has_offset = true;
        }
        return rc;
    }
    drop_run(r);
    r->is_placing = true;
    r->from[topic] = offset;
    return QN_OK;
}

qn_status qn_log_reader_seek_lsn(struct qn_log_reader *r, uint64_t lsn, struct qn_err *err)
{
    struct qn_log *lg = r->log;
    uint64_t first, end;

    pthread_mutex_lock(&lg->lock);
    first = lg->segments[0]->first_lsn;
    end = lg->end_lsn;
    if (lsn >= first && lsn <= end)
        r->lsn = qn_log_padded(lsn);
    pthread_mutex_unlock(&lg->lock);
    if (lsn < first || lsn > end)
        return qn_err_set(err, QN_NOT_FOUND, "LSN %llu is not there: the log has [%llu, %llu)",
                          (unsigned long long)lsn, (unsigned long long)first,
                          (unsigned long long)end);
    drop_run(r);
    r->is_placing = false;
    memset(r->from, 0, QN_LOG_TOPICS_MAX * sizeof *r->from);
    return QN_OK;
}

/* The first wanted entry of a segment at or after the time. */
static bool find_time(const struct qn_log_reader *r, const struct qn_log_segment *s, bool by_append,
                      int64_t time_us, uint64_t *lsn)
{
    for (uint32_t i = 0; i < s->entry_count; i++) {
        const struct qn_log_entry *e = &s->entries[i];
        int64_t t = by_append ? e->append_us : e->max_event;

        if (e->kind != QN_LOG_COMMIT && e->topic < QN_LOG_TOPICS_MAX && wants_topic(r, e->topic) &&
            t != QN_LOG_NO_TIME && t >= time_us) {
            *lsn = e->lsn;
            return true;
        }
    }
    return false;
}

/* By the spans alone. */
static bool may_hold_time(const struct qn_log_reader *r, const struct qn_log_segment *s,
                          bool by_append, int64_t time_us)
{
    for (uint32_t i = 0; i < s->span_count; i++) {
        int64_t t = by_append ? s->spans[i].max_append : s->spans[i].max_event;

        if (wants_topic(r, s->spans[i].topic) && t != QN_LOG_NO_TIME && t >= time_us)
            return true;
    }
    return false;
}

qn_status qn_log_reader_seek_time(struct qn_log_reader *r, bool by_append, int64_t time_us,
                                  struct qn_err *err)
{
    struct qn_log *lg = r->log;
    uint64_t before, lsn;
    qn_status rc = QN_OK;
    bool again = false;

    pthread_mutex_lock(&lg->lock);
    before = r->lsn;
    lsn = lg->end_lsn;
    r->lsn = lg->segments[0]->first_lsn; /* hold everything while looking */
    for (uint32_t i = 0; i < lg->segment_count && rc == QN_OK; i += !again) {
        struct qn_log_segment *s = lg->segments[i];

        again = false;
        if (!may_hold_time(r, s, by_append, time_us))
            continue;
        rc = load_index(lg, s, &again, err);
        if (rc == QN_OK && !again && find_time(r, s, by_append, time_us, &lsn))
            break;
    }
    r->lsn = rc == QN_OK ? lsn : before;
    pthread_mutex_unlock(&lg->lock);
    QN_TRY(rc);
    drop_run(r);
    r->is_placing = false;
    memset(r->from, 0, QN_LOG_TOPICS_MAX * sizeof *r->from);
    return QN_OK;
}
