/* SPDX-License-Identifier: Apache-2.0
 * log_index.c - where the sections of a segment lie, in memory and in the .idx file.
 *
 * The last segment's index grows with every frame. Of complete segments only the spans (what they
 * hold of each topic) stay in memory; entries are loaded when a reader comes. An index is derived:
 * missing or bad, it is made anew from the frames, which are checked on the way. Thread: any; the
 * caller holds the log's lock where the segment is published. */
#include "log/log_int.h"

#include "base/crc32c.h"

#include <stdio.h>

/* Larger than any index of a segment of 4 GiB with its smallest frames. */
enum { INDEX_BYTES_MAX = 1 << 30 };

void qn_log_segment_free(struct qn_log_segment *s)
{
    if (s == NULL)
        return;
    qn_mem_free(s->spans);
    qn_mem_free(s->entries);
    qn_mem_free(s);
}

static qn_status grow(void **p, uint32_t *cap, uint32_t need, size_t bytes, struct qn_err *err)
{
    uint32_t want = *cap < 16 ? 16 : *cap;
    void *more;

    if (need <= *cap)
        return QN_OK;
    while (want < need)
        want += want / 2;
    more = qn_mem_realloc(*p, (size_t)want * bytes);
    if (more == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the index of a segment");
    *p = more;
    *cap = want;
    return QN_OK;
}

qn_status qn_log_index_reserve(struct qn_log_segment *s, uint32_t more, struct qn_err *err)
{
    void *spans = s->spans, *entries = s->entries;
    uint32_t span_need = s->span_count + (more < QN_LOG_TOPICS_MAX ? more : QN_LOG_TOPICS_MAX);
    qn_status rc = grow(&spans, &s->span_cap, span_need, sizeof *s->spans, err);

    s->spans = spans;
    if (rc == QN_OK)
        rc = grow(&entries, &s->entry_cap, s->entry_count + more, sizeof *s->entries, err);
    s->entries = entries;
    return rc;
}

/* Least and greatest, where `none` means that there is none. */
static void widen(int64_t *min, int64_t *max, int64_t from, int64_t to)
{
    if (from == QN_LOG_NO_TIME)
        return;
    if (*min == QN_LOG_NO_TIME || from < *min)
        *min = from;
    if (to > *max)
        *max = to;
}

static struct qn_log_span *span_of(struct qn_log_segment *s, uint32_t topic, uint64_t first)
{
    for (uint32_t i = 0; i < s->span_count; i++)
        if (s->spans[i].topic == topic)
            return &s->spans[i];
    QN_ASSERT(s->span_count < s->span_cap);
    s->spans[s->span_count] = (struct qn_log_span){.topic = topic,
                                                   .first = first,
                                                   .next = first,
                                                   .min_event = QN_LOG_NO_TIME,
                                                   .max_event = QN_LOG_NO_TIME,
                                                   .min_append = QN_LOG_NO_TIME,
                                                   .max_append = QN_LOG_NO_TIME};
    return &s->spans[s->span_count++];
}

const struct qn_log_span *qn_log_segment_span(const struct qn_log_segment *s, uint32_t topic)
{
    for (uint32_t i = 0; i < s->span_count; i++)
        if (s->spans[i].topic == topic)
            return &s->spans[i];
    return NULL;
}

void qn_log_index_note(struct qn_log_segment *s, const struct qn_log_frame *f,
                       const struct qn_log_section *sec)
{
    struct qn_log_span *span;

    if (sec->kind > QN_LOG_CONTROL)
        return;
    QN_ASSERT(s->entry_count < s->entry_cap);
    s->entries[s->entry_count++] = (struct qn_log_entry){.lsn = f->lsn,
                                                         .first = sec->first,
                                                         .min_event = sec->min_event,
                                                         .max_event = sec->max_event,
                                                         .append_us = f->append_us,
                                                         .topic = sec->topic,
                                                         .count = sec->count,
                                                         .length = f->length,
                                                         .kind = sec->kind};
    if (sec->kind == QN_LOG_COMMIT) {
        s->has_commits = true;
        return;
    }
    span = span_of(s, sec->topic, sec->first);
    span->next = sec->first + sec->count;
    span->bytes += (uint64_t)QN_LOG_SECTION_HEADER + sec->bytes;
    widen(&span->min_event, &span->max_event, sec->min_event, sec->max_event);
    widen(&span->min_append, &span->max_append, f->append_us, f->append_us);
}

uint32_t qn_log_index_find(const struct qn_log_segment *s, uint64_t lsn)
{
    uint32_t from = 0, to = s->entry_count;

    while (from < to) {
        uint32_t mid = from + (to - from) / 2;

        if (s->entries[mid].lsn < lsn)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* ---- the file --------------------------------------------------------------------------------*/

static void write_span(const struct qn_log_span *s, char *p)
{
    qn_little_put32(p, s->topic);
    qn_little_put32(p + 4, 0);
    qn_little_put64(p + 8, s->first);
    qn_little_put64(p + 16, s->next);
    qn_little_put64(p + 24, s->bytes);
    qn_little_put64(p + 32, (uint64_t)s->min_event);
    qn_little_put64(p + 40, (uint64_t)s->max_event);
    qn_little_put64(p + 48, (uint64_t)s->min_append);
    qn_little_put64(p + 56, (uint64_t)s->max_append);
}

static void read_span(const char *p, struct qn_log_span *s)
{
    s->topic = qn_little_get32(p);
    s->first = qn_little_get64(p + 8);
    s->next = qn_little_get64(p + 16);
    s->bytes = qn_little_get64(p + 24);
    s->min_event = (int64_t)qn_little_get64(p + 32);
    s->max_event = (int64_t)qn_little_get64(p + 40);
    s->min_append = (int64_t)qn_little_get64(p + 48);
    s->max_append = (int64_t)qn_little_get64(p + 56);
}

static void write_entry(const struct qn_log_entry *e, char *p)
{
    qn_little_put64(p, e->lsn);
    qn_little_put64(p + 8, e->first);
    qn_little_put64(p + 16, (uint64_t)e->min_event);
    qn_little_put64(p + 24, (uint64_t)e->max_event);
    qn_little_put64(p + 32, (uint64_t)e->append_us);
    qn_little_put32(p + 40, e->topic);
    qn_little_put32(p + 44, e->count);
    qn_little_put32(p + 48, e->length);
    qn_little_put16(p + 52, e->kind);
    qn_little_put16(p + 54, 0);
}

static void read_entry(const char *p, struct qn_log_entry *e)
{
    e->lsn = qn_little_get64(p);
    e->first = qn_little_get64(p + 8);
    e->min_event = (int64_t)qn_little_get64(p + 16);
    e->max_event = (int64_t)qn_little_get64(p + 24);
    e->append_us = (int64_t)qn_little_get64(p + 32);
    e->topic = qn_little_get32(p + 40);
    e->count = qn_little_get32(p + 44);
    e->length = qn_little_get32(p + 48);
    e->kind = qn_little_get16(p + 52);
}

static void encode(const struct qn_log *lg, const struct qn_log_segment *s, char *p, size_t bytes)
{
    char *at = p + QN_LOG_SMALL_HEADER;

    memset(p, 0, QN_LOG_SMALL_HEADER);
    qn_little_put32(p, QN_LOG_MAGIC_INDEX);
    qn_little_put16(p + 8, QN_LOG_FORMAT_VERSION);
    qn_little_put32(p + 12, s->span_count);
    qn_little_put64(p + 16, lg->id.half[0]);
    qn_little_put64(p + 24, s->first_lsn);
    qn_little_put64(p + 32, s->end_lsn);
    qn_little_put32(p + 40, s->crc);
    qn_little_put32(p + 44, s->entry_count);
    qn_little_put64(p + 48, (uint64_t)s->min_append);
    qn_little_put64(p + 56, (uint64_t)s->max_append);
    for (uint32_t i = 0; i < s->span_count; i++, at += QN_LOG_SPAN_BYTES)
        write_span(&s->spans[i], at);
    for (uint32_t i = 0; i < s->entry_count; i++, at += QN_LOG_ENTRY_BYTES)
        write_entry(&s->entries[i], at);
    QN_ASSERT((size_t)(at - p) == bytes);
    qn_little_put32(p + 4, qn_crc32c(0, p + 8, bytes - 8));
}

/* Written under another name first: a reader beside the writer never sees half an index. */
qn_status qn_log_index_save(struct qn_log *lg, const struct qn_log_segment *s,
                            struct qn_buf *scratch, struct qn_err *err)
{
    size_t bytes = QN_LOG_SMALL_HEADER + (size_t)s->span_count * QN_LOG_SPAN_BYTES +
                   (size_t)s->entry_count * QN_LOG_ENTRY_BYTES;
    const struct qn_files *fs = lg->opt.files;
    char temporary[QN_LOG_PATH_MAX], path[QN_LOG_PATH_MAX];
    qn_status rc;
    int fd, closed;

    QN_ASSERT(s->is_loaded);
    qn_buf_clear(scratch);
    if (qn_buf_room(scratch, bytes) == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the index of a segment");
    encode(lg, s, scratch->data, bytes);
    qn_log_path(lg, s->first_lsn, "idx.tmp", temporary);
    qn_log_path(lg, s->first_lsn, "idx", path);
    fd = fs->open(fs->st, temporary, QN_OPEN_REPLACE);
    if (fd < 0)
        return qn_err_sys(err, -fd, "cannot create '%s'", temporary);
    rc = qn_file_write_all(fs, fd, temporary, scratch->data, bytes, err);
    if (rc == QN_OK)
        rc = qn_log_sync(lg, fd, temporary, err);
    closed = fs->close(fs->st, fd);
    if (rc == QN_OK && closed < 0)
        rc = qn_err_sys(err, -closed, "cannot close '%s'", temporary);
    if (rc == QN_OK && (closed = fs->rename(fs->st, temporary, path)) < 0)
        rc = qn_err_sys(err, -closed, "cannot rename '%s'", temporary);
    if (rc != QN_OK)
        fs->remove(fs->st, temporary);
    return rc;
}

/* The sizes fit and the header is this segment's. */
static bool header_fits(const struct qn_log *lg, const struct qn_log_segment *s, const char *p,
                        size_t bytes)
{
    uint64_t spans, entries, end;

    if (bytes < QN_LOG_SMALL_HEADER || qn_little_get32(p) != QN_LOG_MAGIC_INDEX ||
        qn_little_get32(p + 4) != qn_crc32c(0, p + 8, bytes - 8) ||
        qn_little_get16(p + 8) != QN_LOG_FORMAT_VERSION)
        return false;
    spans = qn_little_get32(p + 12);
    entries = qn_little_get32(p + 44);
    end = qn_little_get64(p + 32);
    return qn_little_get64(p + 16) == lg->id.half[0] && qn_little_get64(p + 24) == s->first_lsn &&
           bytes ==
               QN_LOG_SMALL_HEADER + spans * QN_LOG_SPAN_BYTES + entries * QN_LOG_ENTRY_BYTES &&
           end > s->first_lsn && end - s->first_lsn <= s->size && end % QN_LOG_SECTOR == 0;
}

static bool entry_fits(const struct qn_log_segment *s, const struct qn_log_entry *e, uint64_t end)
{
    return e->lsn >= s->first_lsn && e->lsn < end && e->lsn % QN_LOG_SECTOR == 0 &&
           e->length >= QN_LOG_FRAME_HEADER && e->length <= QN_LOG_FRAME_BYTES_MAX &&
           e->length <= end - e->lsn && e->kind >= QN_LOG_RECORDS && e->kind <= QN_LOG_CONTROL;
}

qn_status qn_log_index_load(const struct qn_log *lg, struct qn_log_segment *s, struct qn_err *err)
{
    char path[QN_LOG_PATH_MAX];
    struct qn_buf b = {0};
    const char *p;
    qn_status rc;

    qn_log_path(lg, s->first_lsn, "idx", path);
    rc = qn_file_read_all(lg->opt.files, path, INDEX_BYTES_MAX, &b, err);
    if (rc == QN_OK && !header_fits(lg, s, b.data, b.len))
        rc = qn_err_set(err, QN_CORRUPT, "the index '%s' is damaged", path);
    if (rc != QN_OK)
        goto out;
    p = b.data;
    s->span_count = s->entry_count = 0;
    rc = qn_log_index_reserve(s, qn_little_get32(p + 12), err);
    if (rc == QN_OK)
        rc = qn_log_index_reserve(s, qn_little_get32(p + 44), err);
    if (rc != QN_OK)
        goto out;
    s->end_lsn = qn_little_get64(p + 32);
    s->crc = qn_little_get32(p + 40);
    s->min_append = (int64_t)qn_little_get64(p + 48);
    s->max_append = (int64_t)qn_little_get64(p + 56);
    s->has_commits = false;
    for (uint32_t n = qn_little_get32(p + 12), i = 0; i < n && i < s->span_cap; i++)
        read_span(p + QN_LOG_SMALL_HEADER + (size_t)i * QN_LOG_SPAN_BYTES,
                  &s->spans[s->span_count++]);
    p += QN_LOG_SMALL_HEADER + (size_t)s->span_count * QN_LOG_SPAN_BYTES;
    for (uint32_t n = qn_little_get32(b.data + 44), i = 0; i < n && rc == QN_OK; i++) {
        struct qn_log_entry *e = &s->entries[s->entry_count++];

        read_entry(p + (size_t)i * QN_LOG_ENTRY_BYTES, e);
        s->has_commits |= e->kind == QN_LOG_COMMIT;
        if (!entry_fits(s, e, s->end_lsn))
            rc = qn_err_set(err, QN_CORRUPT, "the index '%s' makes no sense", path);
    }
    s->is_loaded = rc == QN_OK;
out:
    qn_buf_fini(&b);
    return rc;
}

/* ---- anew from the frames --------------------------------------------------------------------*/

static qn_status note_all(struct qn_log_segment *s, const struct qn_log_frame *f,
                          struct qn_str sections, struct qn_err *err)
{
    const char *p = sections.p, *end = p + sections.len;
    struct qn_log_section sec;
    bool bad = false;

    QN_TRY(qn_log_index_reserve(s, f->sections, err));
    while (qn_log_section_next(&p, end, &sec, &bad))
        qn_log_index_note(s, f, &sec);
    widen(&s->min_append, &s->max_append, f->append_us, f->append_us);
    QN_ASSERT(!bad);
    return QN_OK;
}

qn_status qn_log_index_rebuild(struct qn_log *lg, struct qn_log_segment *s, uint32_t next_prev_crc,
                               struct qn_err *err)
{
    struct qn_log_walk w = {.window = {.files = lg->opt.files},
                            .id = lg->id.half[0],
                            .first_lsn = s->first_lsn,
                            .size = s->size,
                            .lsn = s->first_lsn + QN_LOG_SECTOR};
    char path[QN_LOG_PATH_MAX];
    struct qn_log_frame f;
    struct qn_str sections;
    bool found = true;
    qn_status rc = QN_OK;

    qn_log_path(lg, s->first_lsn, "seg", path);
    w.window.name = path;
    w.window.fd = lg->opt.files->open(lg->opt.files->st, path, QN_OPEN_READ);
    if (w.window.fd < 0)
        return qn_err_sys(err, -w.window.fd, "cannot open '%s'", path);
    s->span_count = s->entry_count = 0;
    s->min_append = s->max_append = QN_LOG_NO_TIME;
    s->has_commits = false;
    for (;;) {
        rc = qn_log_walk_next(&w, &found, &f, &sections, err);
        if (rc != QN_OK || !found)
            break;
        rc = note_all(s, &f, sections, err);
        if (rc != QN_OK)
            break;
    }
    if (rc == QN_OK && (!w.has_prev || w.prev_crc != next_prev_crc)) {
        rc = qn_err_set(err, QN_CORRUPT,
                        "damaged at byte %llu (LSN %llu): %s, and the log goes on in the next "
                        "segment; restore the file from a backup",
                        (unsigned long long)(w.lsn - s->first_lsn), (unsigned long long)w.lsn,
                        w.why);
        if (err != NULL) {
            err->offset = w.lsn - s->first_lsn;
            err->has_offset = true;
            qn_err_at(err, path, 0, 0);
        }
    }
    s->end_lsn = w.lsn;
    s->crc = w.prev_crc;
    s->is_loaded = rc == QN_OK;
    lg->opt.files->close(lg->opt.files->st, w.window.fd);
    qn_log_walk_fini(&w);
    return rc;
}

void qn_log_index_unload(struct qn_log *lg)
{
    for (;;) {
        struct qn_log_segment *oldest = NULL;
        uint32_t loaded = 0;

        /* The last one grows, and those not yet sealed have no file to load from. */
        for (uint32_t i = 0; i < lg->sealed && i + 1 < lg->segment_count; i++) {
            struct qn_log_segment *s = lg->segments[i];

            loaded += s->is_loaded;
            if (s->is_loaded && (oldest == NULL || s->used_at < oldest->used_at))
                oldest = s;
        }
        if (loaded <= QN_LOG_LOADED_MAX)
            return;
        qn_mem_free(oldest->entries);
        oldest->entries = NULL;
        oldest->entry_count = oldest->entry_cap = 0;
        oldest->is_loaded = false;
    }
}
