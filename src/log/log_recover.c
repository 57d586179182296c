/* SPDX-License-Identifier: Apache-2.0
 * log_recover.c - opening the log after whatever happened, and closing it.
 *
 *   lock -> names and headers of all segments, no gap -> indices of the complete ones ->
 *   last segment: make it durable, read it past the page cache, frame by frame -> the first place
 *   without a good frame: if a good one lies behind it, durable data is damaged: stop; else it is
 *   the one frame that was in flight: cut it.
 *
 * With one frame in flight nothing that was acknowledged can be in a torn tail. What looks like one
 * and is not (the last frame rotted after a clean end) is found by the file `end`. Read-only
 * opening changes nothing and may run beside a writer; then what it sees may move under it, so
 * damage is looked at again before it is believed. Thread: the opener. Memory: one window, given
 * back. */
#include "log/log_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SEGMENT_BYTES_DEFAULT (UINT64_C(256) << 20)
#define SEGMENT_BYTES_LEAST   (UINT64_C(64) << 10)
#define SEGMENT_BYTES_MOST    (UINT64_C(4) << 30)
#define QUEUE_BYTES_DEFAULT   (UINT64_C(64) << 20)

enum { READ_ONLY_TRIES = 4, LOCK_TRIES = 40, LOCK_PAUSE_MS = 50 };

/* Damage with its place. */
static qn_status damaged(const char *path, uint64_t first_lsn, uint64_t lsn, const char *what,
                         const char *advice, struct qn_err *err)
{
    qn_err_set(err, QN_CORRUPT, "damaged at byte %llu (LSN %llu): %s; %s",
               (unsigned long long)(lsn - first_lsn), (unsigned long long)lsn, what, advice);
    if (err != NULL) {
        err->offset = lsn - first_lsn;
        err->has_offset = true;
        qn_err_at(err, path, 0, 0);
    }
    return QN_CORRUPT;
}

/* ---- the folder ------------------------------------------------------------------------------*/

struct names {
    uint64_t *segments;
    uint32_t count, cap;
    uint32_t others, spares;
    bool failed;
    struct qn_buf leftovers; /* names, each with its NUL, of what a crash left behind */
    struct qn_buf indices;   /* LSNs of .idx files, 8 bytes each                       */
};

static void add_segment_name(struct names *n, uint64_t lsn)
{
    if (n->count == n->cap) {
        uint32_t cap = n->cap == 0 ? 64 : n->cap * 2;
        uint64_t *more = qn_mem_realloc(n->segments, cap * sizeof *more);

        if (more == NULL) {
            n->failed = true;
            return;
        }
        n->segments = more;
        n->cap = cap;
    }
    n->segments[n->count++] = lsn;
}

static void look_at_name(void *arg, const char *name)
{
    struct names *n = arg;
    uint64_t lsn = 0;
    int digits = 0;

    while (name[digits] >= '0' && name[digits] <= '9' && digits < 20)
        lsn = lsn * 10 + (uint64_t)(name[digits++] - '0');
    if (digits < 20)
        return;
    if (strcmp(name + 20, ".seg") == 0)
        add_segment_name(n, lsn);
    else if (strcmp(name + 20, ".spare") == 0)
        n->spares++;
    else if (strcmp(name + 20, ".idx") == 0)
        qn_buf_add(&n->indices, &lsn, sizeof lsn);
    else if (strcmp(name + 20, ".next") == 0 || strcmp(name + 20, ".idx.tmp") == 0)
        qn_buf_add(&n->leftovers, name, strlen(name) + 1);
}

static void names_fini(struct names *n)
{
    qn_mem_free(n->segments);
    qn_buf_fini(&n->leftovers);
    qn_buf_fini(&n->indices);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static qn_status list_names(struct qn_log *lg, struct names *n, struct qn_err *err)
{
    int rc = lg->opt.files->list_folder(lg->opt.files->st, lg->dir, look_at_name, n);

    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot list '%s'", lg->dir);
    if (n->failed || n->leftovers.failed || n->indices.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory while listing '%s'", lg->dir);
    if (n->count > 1)
        qsort(n->segments, n->count, sizeof *n->segments, by_number);
    return QN_OK;
}

/* Files that belong to nothing: half-prepared segments, indices of removed ones. */
static void remove_leftovers(struct qn_log *lg, struct names *n)
{
    const struct qn_files *fs = lg->opt.files;
    char path[QN_LOG_PATH_MAX];

    for (size_t i = 0; i < n->leftovers.len; i += strlen(n->leftovers.data + i) + 1) {
        qn_log_name_path(lg, n->leftovers.data + i, path);
        fs->remove(fs->st, path);
    }
    for (size_t i = 0; i < n->indices.len; i += sizeof(uint64_t)) {
        uint64_t lsn;

        memcpy(&lsn, n->indices.data + i, sizeof lsn);
        if (n->count > 0 && lsn >= n->segments[0] && lsn < n->segments[n->count - 1])
            continue;
        qn_log_path(lg, lsn, "idx", path);
        fs->remove(fs->st, path);
    }
}

/* ---- the lock --------------------------------------------------------------------------------*/

/* A process that was killed a moment ago holds its lock until the kernel has taken it apart. */
static int lock_soon(const struct qn_log *lg)
{
    const struct qn_files *fs = lg->opt.files;
    const struct timespec pause = {0, LOCK_PAUSE_MS * 1000000};
    int rc = fs->lock(fs->st, lg->lock_fd);

    for (int i = 0; i < LOCK_TRIES && rc == -EWOULDBLOCK; i++) {
        nanosleep(&pause, NULL);
        rc = fs->lock(fs->st, lg->lock_fd);
    }
    return rc;
}

static qn_status take_lock(struct qn_log *lg, struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    char path[QN_LOG_PATH_MAX], text[32] = "";
    size_t got = 0;
    int rc, n;

    qn_log_name_path(lg, "lock", path);
    lg->lock_fd = fs->open(fs->st, path, QN_OPEN_CREATE);
    if (lg->lock_fd < 0)
        return qn_err_sys(err, -lg->lock_fd, "cannot open '%s'", path);
    rc = lock_soon(lg);
    if (rc == -EWOULDBLOCK) {
        (void)qn_file_read_at(fs, lg->lock_fd, path, text, sizeof text - 1, 0, &got, NULL);
        text[got] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return qn_err_set(err, QN_DENIED,
                          "the log '%s' is open in process %s: a log has one writer; stop that "
                          "process, or name another folder",
                          lg->dir, text[0] != '\0' ? text : "?");
    }
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot lock '%s'", path);
    n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    rc = fs->truncate(fs->st, lg->lock_fd, 0);
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot write '%s'", path);
    return qn_file_write_at(fs, lg->lock_fd, path, text, (size_t)n, 0, err);
}

/* ---- headers ---------------------------------------------------------------------------------*/

/* Header and first frame header of a segment. */
struct head {
    struct qn_log_segment_header header;
    uint32_t prev_crc; /* of its dictionary */
};

static qn_status read_head(struct qn_log *lg, uint64_t lsn, struct head *h, struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    char path[QN_LOG_PATH_MAX], b[QN_LOG_SECTOR + QN_LOG_FRAME_HEADER] = {0};
    struct qn_log_frame f;
    const char *why;
    qn_status rc;
    size_t got;
    int fd;

    qn_log_path(lg, lsn, "seg", path);
    fd = fs->open(fs->st, path, QN_OPEN_READ);
    if (fd < 0)
        return qn_err_sys(err, -fd, "cannot open '%s'", path);
    rc = qn_file_read_at(fs, fd, path, b, sizeof b, 0, &got, err);
    fs->close(fs->st, fd);
    QN_TRY(rc);
    why = qn_log_segment_header_read(b, &h->header);
    if (why == NULL && h->header.first_lsn != lsn)
        why = "its header belongs to another place of the log";
    if (why != NULL)
        return damaged(path, lsn, lsn, why, "restore the file from a backup", err);
    why = qn_log_frame_read(b + QN_LOG_SECTOR, h->header.id.half[0], lsn + QN_LOG_SECTOR, &f);
    if (why == NULL && (f.flags & QN_LOG_FLAG_DICTIONARY) == 0)
        why = "the segment does not begin with its dictionary";
    if (why != NULL)
        return damaged(path, lsn, lsn + QN_LOG_SECTOR, why, "restore the file from a backup", err);
    h->prev_crc = f.prev_crc;
    return QN_OK;
}

/* Adds a segment to the list; it must begin where the one before ends. */
static qn_status add_head(struct qn_log *lg, const struct head *h, struct qn_err *err)
{
    struct qn_log_segment *s;

    if (lg->segment_count == 0) {
        lg->id = h->header.id;
    } else {
        const struct qn_log_segment *before = lg->segments[lg->segment_count - 1];
        char path[QN_LOG_PATH_MAX];

        qn_log_path(lg, h->header.first_lsn, "seg", path);
        if (lg->id.half[0] != h->header.id.half[0] || lg->id.half[1] != h->header.id.half[1])
            return damaged(path, h->header.first_lsn, h->header.first_lsn,
                           "it is a segment of another log", "move it out of this folder", err);
        if (before->first_lsn + before->size != h->header.first_lsn) {
            qn_err_set(
                err, QN_CORRUPT,
                "segments are missing: %020llu.seg ends at LSN %llu and the next one in '%s' "
                "is %020llu.seg; restore those between from a backup",
                (unsigned long long)before->first_lsn,
                (unsigned long long)(before->first_lsn + before->size), lg->dir,
                (unsigned long long)h->header.first_lsn);
            return QN_CORRUPT;
        }
    }
    return qn_log_segment_add(lg, h->header.first_lsn, h->header.size, &s, err);
}

/* All segments; the complete ones get their index. */
static qn_status read_heads(struct qn_log *lg, const struct names *n, struct qn_log_recovery *rec,
                            struct qn_err *err)
{
    for (uint32_t i = 0; i < n->count; i++) {
        struct qn_log_segment *before = i > 0 ? lg->segments[i - 1] : NULL;
        struct head h;

        QN_TRY(read_head(lg, n->segments[i], &h, err));
        QN_TRY(add_head(lg, &h, err));
        if (before == NULL)
            continue;
        if (qn_log_index_load(lg, before, NULL) != QN_OK || before->crc != h.prev_crc) {
            QN_TRY(qn_log_index_rebuild(lg, before, h.prev_crc, err));
            rec->rebuilt++;
            if (!lg->opt.is_read_only)
                (void)qn_log_index_save(lg, before, &lg->seal, NULL);
        }
        lg->sealed = i;
        qn_log_index_unload(lg);
    }
    return QN_OK;
}

/* ---- the last segment ------------------------------------------------------------------------*/

static qn_status note_frame(struct qn_log *lg, struct qn_log_segment *s,
                            const struct qn_log_frame *f, struct qn_str sections, const char **why,
                            struct qn_err *err)
{
    const char *p = sections.p, *end = p + sections.len;
    struct qn_log_section sec;
    bool bad = false;

    QN_TRY(qn_log_index_reserve(s, f->sections, err));
    while (qn_log_section_next(&p, end, &sec, &bad)) {
        if (sec.kind == QN_LOG_DICTIONARY)
            return qn_log_state_read(&lg->state, (struct qn_str){sec.body, sec.bytes}, err);
        if (!qn_log_state_note(&lg->state, f, &sec, why))
            return QN_OK;
        qn_log_index_note(s, f, &sec);
    }
    return QN_OK;
}

/* Walks the last segment to the first place without a good frame. */
static qn_status walk_last(struct qn_log *lg, struct qn_log_segment *s, struct qn_log_walk *w,
                           struct qn_log_recovery *rec, struct qn_err *err)
{
    for (;;) {
        struct qn_log_frame f;
        struct qn_str sections;
        const char *why = NULL;
        uint64_t lsn = w->lsn;
        bool found;

        QN_TRY(qn_log_walk_next(w, &found, &f, &sections, err));
        if (!found)
            return QN_OK;
        if (note_frame(lg, s, &f, sections, &why, err) != QN_OK) {
            if (err != NULL && err->code == QN_CORRUPT)
                return damaged(w->window.name, s->first_lsn, lsn, "its dictionary makes no sense",
                               "restore the file from a backup", err);
            return err != NULL ? err->code : QN_NOMEM;
        }
        if (why != NULL)
            return damaged(w->window.name, s->first_lsn, lsn, why,
                           "the checksum is right, so this is a mistake in quern: please report it",
                           err);
        if (s->min_append == QN_LOG_NO_TIME || f.append_us < s->min_append)
            s->min_append = f.append_us;
        if (f.append_us > s->max_append)
            s->max_append = f.append_us;
        s->end_lsn = w->lsn;
        s->crc = f.crc;
        rec->frames++;
        rec->bytes += f.length;
    }
}

/* Bytes up to the end of the largest frame that may have been in flight. */
static uint64_t tail_bytes(const struct qn_log_segment *s)
{
    uint64_t left = s->first_lsn + s->size - s->end_lsn;

    return left < QN_LOG_FRAME_BYTES_MAX ? left : QN_LOG_FRAME_BYTES_MAX;
}

/* How much of the tail is not zero. Old frames of a file used again do not count. */
static qn_status measure_tail(struct qn_log *lg, const struct qn_log_segment *s,
                              struct qn_log_walk *w, struct qn_log_recovery *rec,
                              struct qn_err *err)
{
    uint64_t bytes = tail_bytes(s), last = 0;

    for (uint64_t at = 0; at < bytes; at += QN_LOG_SECTOR) {
        struct qn_log_frame f;
        const char *p;

        QN_TRY(
            qn_log_window_get(&w->window, s->end_lsn - s->first_lsn + at, QN_LOG_SECTOR, &p, err));
        if (at == 0 && qn_little_get64(p + 16) < s->first_lsn &&
            qn_log_frame_read(p, w->id, qn_little_get64(p + 16), &f) == NULL)
            return QN_OK; /* an earlier use of the file */
        for (int i = 0; i < QN_LOG_SECTOR; i++)
            if (p[i] != 0)
                last = at + (uint64_t)i + 1;
    }
    rec->torn_bytes = last;
    rec->torn_lsn = last > 0 ? s->end_lsn : 0;
    if (last > 0)
        snprintf(rec->torn_why, sizeof rec->torn_why, "%s", w->why);
    return QN_OK;
}

/* The log goes on behind its last good frame: the file has its full size and what a torn frame left
 * is gone, durably. */
static qn_status cut_tail(struct qn_log *lg, const struct qn_log_segment *s, const char *path,
                          const struct qn_log_recovery *rec, struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    uint64_t bytes = tail_bytes(s), from = s->end_lsn - s->first_lsn;
    int64_t size = fs->size(fs->st, lg->w.fd);
    char *zeros;
    qn_status rc = QN_OK;
    int sys;

    if (size < 0)
        return qn_err_sys(err, (int)-size, "cannot look at '%s'", path);
    if ((uint64_t)size >= s->size && rec->torn_bytes == 0)
        return QN_OK;
    if ((uint64_t)size < s->size) {
        sys = fs->allocate(fs->st, lg->w.fd, s->size);
        if (sys < 0)
            return qn_err_sys(err, -sys, "cannot allocate '%s'", path);
        bytes = s->size - from;
    }
    zeros = qn_mem_zalloc(1, 1 << 20);
    if (zeros == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory while opening '%s'", path);
    for (uint64_t at = 0; at < bytes && rc == QN_OK; at += 1 << 20)
        rc = qn_file_write_at(fs, lg->w.fd, path, zeros,
                              bytes - at < 1 << 20 ? bytes - at : 1 << 20, from + at, err);
    qn_mem_free(zeros);
    return rc == QN_OK ? qn_log_sync(lg, lg->w.fd, path, err) : rc;
}

/* Opens the last segment for reading: past the page cache where that can be, because after an I/O
 * error the cache may show what the disk never got. */
static int open_direct(struct qn_log *lg, const char *path, struct qn_log_recovery *rec)
{
    const struct qn_files *fs = lg->opt.files;
    int fd = lg->opt.is_read_only ? -EINVAL : fs->open(fs->st, path, QN_OPEN_READ_DIRECT);

    if (fd == -EINVAL || fd == -EOPNOTSUPP) {
        rec->was_buffered = !lg->opt.is_read_only;
        fd = fs->open(fs->st, path, QN_OPEN_READ);
    }
    return fd;
}

/* After a clean end this much was durable: what is missing now was lost later. */
static qn_status compare_end(struct qn_log *lg, const struct qn_log_segment *s, struct qn_err *err)
{
    char path[QN_LOG_PATH_MAX], segment[QN_LOG_PATH_MAX];
    struct qn_buf b = {0};
    uint64_t end = 0;

    qn_log_name_path(lg, "end", path);
    if (qn_file_read_all(lg->opt.files, path, QN_LOG_SMALL_HEADER, &b, NULL) == QN_OK &&
        b.len == QN_LOG_SMALL_HEADER && qn_little_get32(b.data) == QN_LOG_MAGIC_END &&
        qn_little_get32(b.data + 4) == qn_log_end_crc(b.data) &&
        qn_little_get64(b.data + 8) == lg->id.half[0])
        end = qn_little_get64(b.data + 24);
    qn_buf_fini(&b);
    if (end <= s->end_lsn)
        return QN_OK;
    qn_log_path(lg, s->first_lsn, "seg", segment);
    return damaged(segment, s->first_lsn, s->end_lsn,
                   "the log ends here, but it was closed with more in it",
                   "restore the file from a backup, or remove the file 'end' to go on without "
                   "the rest",
                   err);
}

static qn_status recover_last(struct qn_log *lg, struct qn_log_recovery *rec, struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    struct qn_log_segment *s = lg->segments[lg->segment_count - 1];
    struct qn_log_walk w = {.window = {.files = fs},
                            .id = lg->id.half[0],
                            .first_lsn = s->first_lsn,
                            .size = s->size,
                            .lsn = s->first_lsn + QN_LOG_SECTOR};
    char path[QN_LOG_PATH_MAX];
    uint64_t good = 0;
    qn_status rc;
    bool found;

    qn_log_path(lg, s->first_lsn, "seg", path);
    w.window.name = path;
    if (!lg->opt.is_read_only) {
        lg->w.fd = fs->open(fs->st, path, QN_OPEN_UPDATE);
        if (lg->w.fd < 0)
            return qn_err_sys(err, -lg->w.fd, "cannot open '%s'", path);
        /* What a killed process wrote must be durable before it is believed. */
        QN_TRY(qn_log_sync(lg, lg->w.fd, path, err));
    }
    w.window.fd = open_direct(lg, path, rec);
    if (w.window.fd < 0)
        return qn_err_sys(err, -w.window.fd, "cannot open '%s'", path);
    rc = walk_last(lg, s, &w, rec, err);
    if (rc == QN_OK && !w.has_prev)
        rc = damaged(path, s->first_lsn, w.lsn, w.why, "restore the file from a backup", err);
    if (rc == QN_OK)
        rc = qn_log_walk_scan_on(&w, &found, &good, err);
    if (rc == QN_OK && found) {
        char what[160];

        snprintf(what, sizeof what, "%s, and a good frame lies behind it at byte %llu", w.why,
                 (unsigned long long)(good - s->first_lsn));
        rc = damaged(path, s->first_lsn, w.lsn, what,
                     "this is no torn tail; restore the file from a backup", err);
    }
    if (rc == QN_OK)
        rc = measure_tail(lg, s, &w, rec, err);
    fs->close(fs->st, w.window.fd);
    if (rc == QN_OK)
        rc = compare_end(lg, s, err);
    if (rc == QN_OK && !lg->opt.is_read_only)
        rc = cut_tail(lg, s, path, rec, err);
    lg->end_lsn = s->end_lsn;
    lg->w.crc = s->crc;
    qn_log_walk_fini(&w);
    return rc;
}

/* ---- the first offsets -----------------------------------------------------------------------*/

/* What the oldest segment's dictionary calls next is the first that is kept. */
static qn_status read_first_offsets(struct qn_log *lg, struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    const struct qn_log_segment *s = lg->segments[0];
    struct qn_log_walk w = {.window = {.files = fs},
                            .id = lg->id.half[0],
                            .first_lsn = s->first_lsn,
                            .size = s->size,
                            .lsn = s->first_lsn + QN_LOG_SECTOR};
    struct qn_log_state *old = qn_mem_zalloc(1, sizeof *old);
    char path[QN_LOG_PATH_MAX];
    struct qn_log_frame f;
    struct qn_str sections;
    bool found = false;
    qn_status rc = QN_OK;

    if (old == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory while opening the log");
    qn_log_path(lg, s->first_lsn, "seg", path);
    w.window.name = path;
    w.window.fd = fs->open(fs->st, path, QN_OPEN_READ);
    if (w.window.fd < 0)
        rc = qn_err_sys(err, -w.window.fd, "cannot open '%s'", path);
    if (rc == QN_OK)
        rc = qn_log_walk_next(&w, &found, &f, &sections, err);
    if (rc == QN_OK && !found)
        rc = damaged(path, s->first_lsn, w.lsn, w.why, "restore the file from a backup", err);
    if (rc == QN_OK)
        rc = qn_log_state_read(old,
                               (struct qn_str){sections.p + QN_LOG_SECTION_HEADER,
                                               sections.len - QN_LOG_SECTION_HEADER},
                               err);
    for (uint32_t i = 0; rc == QN_OK && i < old->topic_count && i < lg->state.topic_count; i++)
        lg->state.topics[i]->first = old->topics[i]->next;
    if (w.window.fd >= 0)
        fs->close(fs->st, w.window.fd);
    qn_log_walk_fini(&w);
    qn_log_state_fini(old);
    qn_mem_free(old);
    return rc;
}

/* ---- open and close --------------------------------------------------------------------------*/

static qn_status make_new(struct qn_log *lg, const struct names *n, struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    char path[QN_LOG_PATH_MAX];
    int fd;

    qn_log_name_path(lg, "end", path);
    fd = fs->open(fs->st, path, QN_OPEN_READ);
    if (fd >= 0)
        fs->close(fs->st, fd);
    if (n->indices.len > 0 || fd >= 0)
        return qn_err_set(err, QN_CORRUPT,
                          "'%s' was a log but holds no segment: the segments were removed; restore "
                          "them from a backup, or empty the folder",
                          lg->dir);
    lg->opt.random->fill(lg->opt.random->st, &lg->id, sizeof lg->id);
    QN_TRY(qn_log_prepare(lg, 0, lg->opt.segment_bytes, &fd, err));
    if (qn_log_begin_segment(lg, fd, 0, lg->opt.segment_bytes, err) != QN_OK) {
        if (lg->w.fd != fd)
            lg->opt.files->close(lg->opt.files->st, fd);
        return err != NULL ? err->code : QN_IO;
    }
    return QN_OK;
}

static void forget(struct qn_log *lg)
{
    for (uint32_t i = 0; i < lg->segment_count; i++)
        qn_log_segment_free(lg->segments[i]);
    lg->segment_count = lg->sealed = 0;
    qn_log_state_fini(&lg->state);
}

static qn_status recover(struct qn_log *lg, struct qn_log_recovery *rec, struct qn_err *err)
{
    struct names n = {0};
    qn_status rc;

    memset(rec, 0, sizeof *rec);
    rc = list_names(lg, &n, err);
    lg->spares = n.spares;
    rec->is_new = n.count == 0;
    if (rc == QN_OK && rec->is_new) {
        rc = lg->opt.is_read_only
                 ? qn_err_set(err, QN_NOT_FOUND, "there is no log in '%s'", lg->dir)
                 : make_new(lg, &n, err);
    } else if (rc == QN_OK) {
        rc = read_heads(lg, &n, rec, err);
        if (rc == QN_OK)
            rc = recover_last(lg, rec, err);
        if (rc == QN_OK)
            rc = read_first_offsets(lg, err);
        if (rc == QN_OK && !lg->opt.is_read_only)
            remove_leftovers(lg, &n);
    }
    for (uint32_t i = 0; i < lg->state.topic_count; i++)
        lg->state.topics[i]->assigned = lg->state.topics[i]->next;
    names_fini(&n);
    return rc;
}

static qn_status check_options(struct qn_log *lg, struct qn_err *err)
{
    struct qn_log_options *o = &lg->opt;

    if (o->files == NULL)
        o->files = &qn_files_system;
    if (o->clock == NULL)
        o->clock = &qn_clock_system;
    if (o->random == NULL)
        o->random = &qn_random_system;
    if (o->segment_bytes == 0)
        o->segment_bytes = SEGMENT_BYTES_DEFAULT;
    if (o->queue_bytes == 0)
        o->queue_bytes = QUEUE_BYTES_DEFAULT;
    if (o->reserve_bytes == 0)
        o->reserve_bytes = o->segment_bytes / 8;
    if (o->segment_bytes < SEGMENT_BYTES_LEAST || o->segment_bytes > SEGMENT_BYTES_MOST ||
        o->segment_bytes % QN_LOG_SECTOR != 0)
        return qn_err_set(err, QN_INVALID,
                          "segments of %llu bytes: multiples of 4 KiB from 64 KiB to 4 GiB are "
                          "allowed",
                          (unsigned long long)o->segment_bytes);
    if (o->reserve_bytes > o->segment_bytes / 4)
        return qn_err_set(err, QN_INVALID,
                          "a reserve of %llu bytes: at most a quarter of a "
                          "segment is allowed",
                          (unsigned long long)o->reserve_bytes);
    return QN_OK;
}

/* The folder is there, on a disk that keeps its word, and ours. */
static qn_status enter(struct qn_log *lg, struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    const char *kind;
    int rc;

    if (lg->opt.is_read_only)
        return QN_OK;
    rc = fs->make_folder(fs->st, lg->dir);
    if (rc < 0 && rc != -EEXIST)
        return qn_err_sys(err, -rc, "cannot make the folder '%s'", lg->dir);
    if (!lg->opt.may_be_volatile) {
        rc = fs->is_durable(fs->st, lg->dir, &kind);
        if (rc < 0)
            return qn_err_sys(err, -rc, "cannot look at '%s'", lg->dir);
        if (rc == 0)
            return qn_err_set(err, QN_UNSUPPORTED,
                              "'%s' is on %s, which cannot promise that synced data stays; name a "
                              "folder on a local disk, or say `durability: none`",
                              lg->dir, kind);
    }
    return take_lock(lg, err);
}

static bool init_locks(struct qn_log *lg)
{
    pthread_cond_t *const conds[] = {&lg->work, &lg->keep, &lg->done, &lg->readable, &lg->prepared};
    pthread_condattr_t attr;
    bool good =
        pthread_mutex_init(&lg->lock, NULL) == 0 && pthread_mutex_init(&lg->keep_lock, NULL) == 0 &&
        pthread_condattr_init(&attr) == 0 && pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0;

    for (size_t i = 0; i < sizeof conds / sizeof conds[0] && good; i++)
        good = pthread_cond_init(conds[i], &attr) == 0;
    return good;
}

static void destroy(struct qn_log *lg)
{
    const struct qn_files *fs = lg->opt.files;

    forget(lg);
    if (lg->w.fd >= 0)
        fs->close(fs->st, lg->w.fd);
    if (lg->next_file >= 0)
        fs->close(fs->st, lg->next_file);
    if (lg->lock_fd >= 0)
        fs->close(fs->st, lg->lock_fd);
    qn_mem_free(lg->segments);
    qn_buf_fini(&lg->w.own);
    qn_buf_fini(&lg->w.raw);
    qn_buf_fini(&lg->w.pack);
    qn_buf_fini(&lg->seal);
    pthread_cond_destroy(&lg->work);
    pthread_cond_destroy(&lg->keep);
    pthread_cond_destroy(&lg->done);
    pthread_cond_destroy(&lg->readable);
    pthread_cond_destroy(&lg->prepared);
    pthread_mutex_destroy(&lg->lock);
    pthread_mutex_destroy(&lg->keep_lock);
    qn_mem_free(lg);
}

qn_status qn_log_open(const char *dir, const struct qn_log_options *opt, struct qn_log **out,
                      struct qn_log_recovery *recovery, struct qn_err *err)
{
    struct qn_log *lg = qn_mem_zalloc(1, sizeof *lg);
    struct qn_log_recovery rec = {0};
    struct qn_err own;
    qn_status rc;

    *out = NULL;
    if (err == NULL)
        err = &own;
    if (lg == NULL || !init_locks(lg)) {
        qn_mem_free(lg);
        return qn_err_set(err, QN_NOMEM, "out of memory for a log");
    }
    lg->opt = *opt;
    lg->last_waiting = &lg->first_waiting;
    lg->lock_fd = lg->w.fd = lg->next_file = -1;
    lg->is_needed = true; /* until the threads run */
    rc = check_options(lg, err);
    if (rc == QN_OK && strlen(dir) >= sizeof lg->dir)
        rc = qn_err_set(err, QN_INVALID, "the folder's name is too long");
    if (rc == QN_OK) {
        snprintf(lg->dir, sizeof lg->dir, "%s", dir);
        rc = enter(lg, err);
    }
    if (rc == QN_OK)
        rc = recover(lg, &rec, err);
    for (int i = 1; i < READ_ONLY_TRIES && lg->opt.is_read_only &&
                    (rc == QN_CORRUPT || (rc == QN_NOT_FOUND && !rec.is_new));
         i++) {
        forget(lg);
        rc = recover(lg, &rec, err);
    }
    if (rc == QN_OK)
        rc = qn_log_threads_start(lg, err);
    if (recovery != NULL)
        *recovery = rec;
    if (rc == QN_OK) {
        *out = lg;
        return QN_OK;
    }
    qn_log_threads_stop(lg);
    destroy(lg);
    return rc;
}

/* The prepared segment is kept for the next time. */
static void keep_prepared(struct qn_log *lg)
{
    const struct qn_log_segment *s = lg->segments[lg->segment_count - 1];
    char path[QN_LOG_PATH_MAX], spare[QN_LOG_PATH_MAX];
    uint64_t lsn = s->first_lsn + s->size;

    if (lg->next_file < 0)
        return;
    qn_log_path(lg, lsn, "next", path);
    qn_log_path(lg, lsn, "spare", spare);
    (void)lg->opt.files->rename(lg->opt.files->st, path, spare);
}

qn_status qn_log_close(struct qn_log *lg, struct qn_err *err)
{
    qn_status rc;

    if (lg == NULL)
        return QN_OK;
    QN_ASSERT(lg->readers == NULL);
    qn_log_threads_stop(lg);
    rc = lg->fatal.code;
    if (rc != QN_OK && err != NULL)
        *err = lg->fatal;
    if (rc == QN_OK && !lg->opt.is_read_only) {
        keep_prepared(lg);
        if (!lg->opt.may_be_volatile)
            qn_log_end_write(lg, lg->end_lsn, lg->w.crc);
    }
    destroy(lg);
    return rc;
}
