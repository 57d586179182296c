/* SPDX-License-Identifier: Apache-2.0
 * log_segment.c - the files of the log: prepared, begun, walked frame by frame.
 *
 * A segment gets its final name only after its header, its zeros and its dictionary are durable, so
 * a .seg without a good dictionary is damage and never an unlucky moment. Thread: the log thread
 * and the keeper for what they own; a walk belongs to its caller. Memory: one window per walk. */
#include "log/log_int.h"

#include <errno.h>
#include <stdio.h>

enum { ZERO_STEP = 1 << 20, WINDOW_BYTES = 1 << 20 };

void qn_log_path(const struct qn_log *lg, uint64_t lsn, const char *ending, char *out)
{
    snprintf(out, QN_LOG_PATH_MAX, "%s/%020llu.%s", lg->dir, (unsigned long long)lsn, ending);
}

void qn_log_name_path(const struct qn_log *lg, const char *name, char *out)
{
    snprintf(out, QN_LOG_PATH_MAX, "%s/%.50s", lg->dir, name);
}

qn_status qn_log_sync(const struct qn_log *lg, int fd, const char *name, struct qn_err *err)
{
    int rc = lg->opt.may_be_volatile ? 0 : lg->opt.files->sync(lg->opt.files->st, fd);

    return rc < 0 ? qn_err_sys(err, -rc, "cannot sync '%s'", name) : QN_OK;
}

qn_status qn_log_sync_folder(const struct qn_log *lg, struct qn_err *err)
{
    int rc = lg->opt.may_be_volatile ? 0 : lg->opt.files->sync_folder(lg->opt.files->st, lg->dir);

    return rc < 0 ? qn_err_sys(err, -rc, "cannot sync the folder '%s'", lg->dir) : QN_OK;
}

/* ---- preparing -------------------------------------------------------------------------------*/

static bool is_needed(struct qn_log *lg)
{
    bool is;

    pthread_mutex_lock(&lg->lock);
    is = lg->is_needed;
    pthread_mutex_unlock(&lg->lock);
    return is;
}

/* While frames are written beside, durable step by step: whoever syncs one waits for a step on the
 * disk, not for a whole segment. */
static qn_status fill_zeros(struct qn_log *lg, int fd, const char *path, uint64_t size,
                            struct qn_err *err)
{
    char *zeros = qn_mem_zalloc(1, ZERO_STEP);
    qn_status rc = QN_OK;

    if (zeros == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a segment");
    for (uint64_t at = 0; at < size && rc == QN_OK; at += ZERO_STEP) {
        rc = qn_file_write_at(lg->opt.files, fd, path, zeros,
                              size - at < ZERO_STEP ? size - at : ZERO_STEP, at, err);
        if (rc == QN_OK && !is_needed(lg))
            rc = qn_log_sync(lg, fd, path, err);
    }
    qn_mem_free(zeros);
    return rc;
}

struct spare_search {
    uint64_t lsn;
    bool found;
};

static void look_for_spare(void *arg, const char *name)
{
    struct spare_search *s = arg;
    uint64_t lsn = 0;
    int n = 0;

    while (name[n] >= '0' && name[n] <= '9' && n < 20)
        lsn = lsn * 10 + (uint64_t)(name[n++] - '0');
    if (n == 20 && strcmp(name + n, ".spare") == 0) {
        s->lsn = lsn;
        s->found = true;
    }
}

/* A removed segment becomes the next one: its blocks are written already, and its old frames carry
 * other LSNs. *fd -1 when there is none of that size. */
static qn_status take_spare(struct qn_log *lg, const char *path, uint64_t size, int *fd,
                            struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    struct spare_search s = {0};
    char spare[QN_LOG_PATH_MAX];
    int rc;

    *fd = -1;
    if (lg->spares == 0)
        return QN_OK;
    rc = fs->list_folder(fs->st, lg->dir, look_for_spare, &s);
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot list '%s'", lg->dir);
    if (!s.found) {
        lg->spares = 0;
        return QN_OK;
    }
    lg->spares--;
    qn_log_path(lg, s.lsn, "spare", spare);
    rc = fs->rename(fs->st, spare, path);
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot rename '%s'", spare);
    *fd = fs->open(fs->st, path, QN_OPEN_UPDATE);
    if (*fd < 0)
        return qn_err_sys(err, -*fd, "cannot open '%s'", path);
    if (fs->size(fs->st, *fd) != (int64_t)size) {
        fs->close(fs->st, *fd);
        *fd = -1;
        fs->remove(fs->st, path);
    }
    return QN_OK;
}

static qn_status make_file(struct qn_log *lg, const char *path, uint64_t size, int *fd,
                           struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    int rc;

    fs->remove(fs->st, path); /* what a crash left */
    *fd = fs->open(fs->st, path, QN_OPEN_CREATE);
    if (*fd < 0)
        return qn_err_sys(err, -*fd, "cannot create '%s'", path);
    rc = fs->allocate(fs->st, *fd, size);
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot allocate %llu bytes for '%s'", (unsigned long long)size,
                          path);
    return fill_zeros(lg, *fd, path, size, err);
}

qn_status qn_log_prepare(struct qn_log *lg, uint64_t lsn, uint64_t size, int *fd,
                         struct qn_err *err)
{
    const struct qn_log_segment_header h = {.id = lg->id,
                                            .first_lsn = lsn,
                                            .size = size,
                                            .made_us = lg->opt.clock->wall_us(lg->opt.clock->st)};
    const struct qn_files *fs = lg->opt.files;
    char path[QN_LOG_PATH_MAX], header[QN_LOG_SECTOR];
    qn_status rc;

    qn_log_path(lg, lsn, "next", path);
    rc = take_spare(lg, path, size, fd, err);
    if (rc == QN_OK && *fd < 0)
        rc = make_file(lg, path, size, fd, err);
    if (rc == QN_OK) {
        qn_log_segment_header_write(&h, header);
        rc = qn_file_write_at(fs, *fd, path, header, sizeof header, 0, err);
    }
    if (rc == QN_OK)
        rc = qn_log_sync(lg, *fd, path, err);
    if (rc == QN_OK)
        rc = qn_log_sync_folder(lg, err);
    if (rc != QN_OK) {
        if (*fd >= 0)
            fs->close(fs->st, *fd);
        *fd = -1;
        fs->remove(fs->st, path);
    }
    return rc;
}

/* ---- beginning -------------------------------------------------------------------------------*/

/* The dictionary as a frame, padded, in w.own. */
static qn_status build_dictionary(struct qn_log *lg, uint64_t lsn, uint64_t size, uint32_t prev_crc,
                                  struct qn_log_frame *f, struct qn_err *err)
{
    struct qn_buf *b = &lg->w.own;
    struct qn_log_section s = {.kind = QN_LOG_DICTIONARY, .count = 1};
    size_t padded;

    qn_buf_clear(b);
    if (qn_buf_room(b, QN_LOG_FRAME_HEADER + QN_LOG_SECTION_HEADER) == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the dictionary of a segment");
    b->len = QN_LOG_FRAME_HEADER + QN_LOG_SECTION_HEADER;
    pthread_mutex_lock(&lg->lock);
    qn_log_state_write(&lg->state, b);
    pthread_mutex_unlock(&lg->lock);
    padded = (size_t)qn_log_padded(b->len);
    if (qn_buf_room(b, padded - b->len) == NULL || b->failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the dictionary of a segment");
    if (padded + QN_LOG_SECTOR > size / 2 || padded > QN_LOG_FRAME_BYTES_MAX)
        return qn_err_set(err, QN_LIMIT,
                          "topics, cursors and commits take %zu bytes: too many for segments of "
                          "%llu bytes",
                          b->len, (unsigned long long)size);
    s.bytes = (uint32_t)(b->len - QN_LOG_FRAME_HEADER - QN_LOG_SECTION_HEADER);
    qn_log_section_write(&s, b->data + QN_LOG_FRAME_HEADER);
    *f = (struct qn_log_frame){.lsn = lsn,
                               .append_us = lg->opt.clock->wall_us(lg->opt.clock->st),
                               .prev_crc = prev_crc,
                               .length = (uint32_t)b->len,
                               .raw_length = (uint32_t)b->len - QN_LOG_FRAME_HEADER,
                               .flags = QN_LOG_FLAG_DICTIONARY,
                               .sections = 1};
    qn_log_frame_write(f, lg->id.half[0], b->data);
    f->crc = qn_log_frame_seal(b->data, f->length);
    memset(b->data + b->len, 0, padded - b->len);
    b->len = padded;
    return QN_OK;
}

qn_status qn_log_segment_add(struct qn_log *lg, uint64_t lsn, uint64_t size,
                             struct qn_log_segment **out, struct qn_err *err)
{
    struct qn_log_segment *s = qn_mem_zalloc(1, sizeof *s);
    qn_status rc = s == NULL ? QN_NOMEM : QN_OK;

    pthread_mutex_lock(&lg->lock);
    if (rc == QN_OK && lg->segment_count == lg->segment_cap) {
        uint32_t cap = lg->segment_cap == 0 ? 16 : lg->segment_cap * 2;
        struct qn_log_segment **more = qn_mem_realloc(lg->segments, cap * sizeof *more);

        if (more == NULL) {
            rc = QN_NOMEM;
        } else {
            lg->segments = more;
            lg->segment_cap = cap;
        }
    }
    if (rc == QN_OK) {
        s->first_lsn = lsn;
        s->size = size;
        s->end_lsn = lsn + QN_LOG_SECTOR;
        s->min_append = s->max_append = QN_LOG_NO_TIME;
        s->is_loaded = true;
        lg->segments[lg->segment_count++] = s;
    }
    pthread_mutex_unlock(&lg->lock);
    if (rc != QN_OK) {
        qn_mem_free(s);
        return qn_err_set(err, QN_NOMEM, "out of memory for a segment");
    }
    *out = s;
    return QN_OK;
}

/* Order: dictionary durable, then the name, then the name durable. Only then is the segment part of
 * the log. */
qn_status qn_log_begin_segment(struct qn_log *lg, int fd, uint64_t lsn, uint64_t size,
                               struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    char from[QN_LOG_PATH_MAX], to[QN_LOG_PATH_MAX];
    struct qn_log_segment *s;
    struct qn_log_frame f;
    int rc;

    qn_log_path(lg, lsn, "next", from);
    qn_log_path(lg, lsn, "seg", to);
    QN_TRY(build_dictionary(lg, lsn + QN_LOG_SECTOR, size, lg->w.crc, &f, err));
    QN_TRY(qn_file_write_at(fs, fd, from, lg->w.own.data, lg->w.own.len, QN_LOG_SECTOR, err));
    QN_TRY(qn_log_sync(lg, fd, from, err));
    rc = fs->rename(fs->st, from, to);
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot rename '%s'", from);
    QN_TRY(qn_log_sync_folder(lg, err));
    QN_TRY(qn_log_segment_add(lg, lsn, size, &s, err));
    rc = lg->w.fd < 0 ? 0 : fs->close(fs->st, lg->w.fd);
    lg->w.fd = -1;
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot close a segment");
    pthread_mutex_lock(&lg->lock);
    s->end_lsn = lsn + QN_LOG_SECTOR + lg->w.own.len;
    s->crc = f.crc;
    s->min_append = s->max_append = f.append_us;
    lg->end_lsn = s->end_lsn;
    lg->w.fd = fd;
    lg->w.crc = f.crc;
    pthread_mutex_unlock(&lg->lock);
    return QN_OK;
}

void qn_log_end_write(struct qn_log *lg, uint64_t end_lsn, uint32_t crc)
{
    const struct qn_files *fs = lg->opt.files;
    char path[QN_LOG_PATH_MAX], b[QN_LOG_SMALL_HEADER] = {0};
    int fd;

    qn_little_put32(b, QN_LOG_MAGIC_END);
    qn_little_put64(b + 8, lg->id.half[0]);
    qn_little_put64(b + 16, lg->id.half[1]);
    qn_little_put64(b + 24, end_lsn);
    qn_little_put32(b + 32, crc);
    qn_little_put32(b + 4, qn_log_end_crc(b));
    qn_log_name_path(lg, "end", path);
    fd = fs->open(fs->st, path, QN_OPEN_CREATE);
    if (fd < 0)
        return;
    if (qn_file_write_at(fs, fd, path, b, sizeof b, 0, NULL) == QN_OK)
        (void)qn_log_sync(lg, fd, path, NULL);
    fs->close(fs->st, fd);
}

/* ---- walking ---------------------------------------------------------------------------------*/

qn_status qn_log_window_get(struct qn_log_window *w, uint64_t offset, size_t bytes, const char **p,
                            struct qn_err *err)
{
    uint64_t from = offset & ~(uint64_t)(QN_LOG_SECTOR - 1);
    size_t need = (size_t)(qn_log_padded(offset + bytes) - from), got;

    if (w->buf == NULL || from < w->at || offset + bytes > w->at + w->len) {
        if (need < WINDOW_BYTES)
            need = WINDOW_BYTES;
        if (need > w->cap) {
            qn_mem_free(w->buf);
            w->cap = 0;
            w->buf = qn_mem_aligned(QN_LOG_SECTOR, need);
            if (w->buf == NULL)
                return qn_err_set(err, QN_NOMEM, "out of memory while reading '%s'", w->name);
            w->cap = need;
        }
        w->len = 0;
        QN_TRY(qn_file_read_at(w->files, w->fd, w->name, w->buf, need, from, &got, err));
        memset(w->buf + got, 0, need - got);
        w->at = from;
        w->len = need;
    }
    *p = w->buf + (offset - w->at);
    return QN_OK;
}

static void window_fini(struct qn_log_window *w)
{
    qn_mem_free(w->buf);
    w->buf = NULL;
    w->cap = w->len = 0;
}

void qn_log_walk_fini(struct qn_log_walk *w)
{
    window_fini(&w->window);
    qn_buf_fini(&w->raw);
}

/* raw_length bytes at raw. */
const char *qn_log_frame_unpack(const char *frame, const struct qn_log_frame *f, char *raw)
{
    enum qn_log_codec codec = (enum qn_log_codec)(f->flags & QN_LOG_FLAG_CODEC);

    return qn_log_unpack(codec, frame + QN_LOG_FRAME_HEADER, f->length - QN_LOG_FRAME_HEADER, raw,
                         f->raw_length)
               ? NULL
               : "the frame does not unpack to its length";
}

/* The records of a section are as many as it says and end where it ends. */
static bool records_fit(const struct qn_log_section *s)
{
    const char *p = s->body, *end = p + s->bytes;
    struct qn_log_record r = {0};

    for (uint32_t i = 0; i < s->count && p != NULL; i++)
        p = qn_log_record_read(p, end, r.time_us, &r);
    return p == end;
}

static const char *check_sections(const struct qn_log_frame *f, struct qn_str sections)
{
    const char *p = sections.p, *end = p + sections.len;
    bool bad = false, is_dictionary = (f->flags & QN_LOG_FLAG_DICTIONARY) != 0;
    struct qn_log_section s;
    uint32_t n = 0;

    while (qn_log_section_next(&p, end, &s, &bad)) {
        n++;
        bad |= (s.kind == QN_LOG_DICTIONARY) != is_dictionary;
        if (s.kind == QN_LOG_RECORDS || s.kind == QN_LOG_CONTROL)
            bad |= !records_fit(&s);
        if (bad)
            break;
    }
    return bad || n != f->sections ? "the frame's sections make no sense" : NULL;
}

/* The frame at lsn, with its bytes: w->why where it is none. */
static qn_status look(struct qn_log_walk *w, uint64_t lsn, struct qn_log_frame *f, const char **p,
                      struct qn_err *err)
{
    uint64_t left = w->first_lsn + w->size - lsn;

    w->why = NULL;
    if (left < QN_LOG_FRAME_HEADER) {
        w->why = "the segment ends here";
        return QN_OK;
    }
    QN_TRY(qn_log_window_get(&w->window, lsn - w->first_lsn, QN_LOG_FRAME_HEADER, p, err));
    w->why = qn_log_frame_read(*p, w->id, lsn, f);
    if (w->why == NULL && f->length > left)
        w->why = "the frame is longer than its segment";
    if (w->why != NULL)
        return QN_OK;
    QN_TRY(qn_log_window_get(&w->window, lsn - w->first_lsn, f->length, p, err));
    w->why = qn_log_frame_check(*p, f);
    return QN_OK;
}

qn_status qn_log_walk_next(struct qn_log_walk *w, bool *found, struct qn_log_frame *f,
                           struct qn_str *sections, struct qn_err *err)
{
    const char *p;

    *found = false;
    QN_TRY(look(w, w->lsn, f, &p, err));
    if (w->why == NULL && w->has_prev && f->prev_crc != w->prev_crc)
        w->why = "the frame does not follow the one before";
    if (w->why == NULL && !w->has_prev != ((f->flags & QN_LOG_FLAG_DICTIONARY) != 0))
        w->why = "the segment does not begin with its dictionary, or has two";
    if (w->why != NULL)
        return QN_OK;
    *sections = (struct qn_str){p + QN_LOG_FRAME_HEADER, f->length - QN_LOG_FRAME_HEADER};
    if ((f->flags & QN_LOG_FLAG_CODEC) != QN_LOG_PLAIN) {
        qn_buf_clear(&w->raw);
        if (qn_buf_room(&w->raw, (size_t)f->raw_length + 1) == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory to unpack a frame");
        w->why = qn_log_frame_unpack(p, f, w->raw.data);
        *sections = (struct qn_str){w->raw.data, f->raw_length};
    }
    if (w->why == NULL)
        w->why = check_sections(f, *sections);
    if (w->why != NULL)
        return QN_OK;
    *found = true;
    w->prev_crc = f->crc;
    w->has_prev = true;
    w->lsn += qn_log_padded(f->length);
    return QN_OK;
}

qn_status qn_log_walk_scan_on(struct qn_log_walk *w, bool *found, uint64_t *lsn, struct qn_err *err)
{
    const char *why = w->why, *p;
    struct qn_log_frame f;

    *found = false;
    for (uint64_t at = w->lsn + QN_LOG_SECTOR; at < w->first_lsn + w->size && !*found;
         at += QN_LOG_SECTOR) {
        QN_TRY(look(w, at, &f, &p, err));
        *found = w->why == NULL;
        *lsn = at;
    }
    w->why = why;
    return QN_OK;
}

qn_status qn_log_walk_resume(struct qn_log_walk *w, struct qn_err *err)
{
    struct qn_log_frame f;
    const char *p = NULL;

    QN_TRY(look(w, w->lsn, &f, &p, err));
    w->prev_crc = f.prev_crc;
    w->has_prev = (f.flags & QN_LOG_FLAG_DICTIONARY) == 0;
    return QN_OK;
}
