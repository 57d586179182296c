/* SPDX-License-Identifier: Apache-2.0
 * log_write.c - from the queue of appends to durable frames: one frame in flight.
 *
 *   log thread:  take what has gathered -> give offsets -> one write, one sync -> publish -> tell
 *   keeper:      the next segment from half full on; index files; retention
 *
 * What gathers while a frame is being synced becomes the next frame, so that the load makes the
 * group: one event when it is quiet, megabytes when it is not. Nothing is published or acknowledged
 * before its sync; after a failed write or sync nothing is ever again. In a threadless log the
 * caller walks the same steps. Thread: as above. Memory: queue bounded by the options. */
#include "log/log_int.h"

#include "base/crc32c.h"

#include <signal.h>
#include <time.h>

enum {
    GROUP_MAX = 1000, /* appends in a frame */
    OWN_BYTES_MAX = 32768,
    LINGER_BELOW_BYTES = 1 << 20,
    LINGER_MS = 1,
    LINGER_AFTER = 3, /* takes with a growing backlog */
    KEEPER_MS = 1000,
    FULL_AGAIN_MS = 1000,
};

struct group {
    struct qn_log_append *list[GROUP_MAX];
    uint32_t count, sections;
    uint64_t bytes;
    bool is_reserved;
};

static int64_t mono_ns(void)
{
    return qn_clock_system.mono_ns(qn_clock_system.st);
}

static void wait_ns(pthread_cond_t *c, pthread_mutex_t *m, int64_t ns)
{
    int64_t end = mono_ns() + ns;
    struct timespec t = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};

    pthread_cond_timedwait(c, m, &t);
}

/* Marks the error fatal; the first one stays the log's; wakes everybody. Returns its code. Takes
 * lock. */
static qn_status log_fail(struct qn_log *lg, struct qn_err *err)
{
    qn_status rc;

    err->fatal = true;
    err->retriable = false;
    pthread_mutex_lock(&lg->lock);
    if (lg->fatal.code == QN_OK)
        lg->fatal = *err;
    rc = lg->fatal.code;
    pthread_cond_broadcast(&lg->work);
    pthread_cond_broadcast(&lg->keep);
    pthread_cond_broadcast(&lg->done);
    pthread_cond_broadcast(&lg->readable);
    pthread_cond_broadcast(&lg->prepared);
    pthread_mutex_unlock(&lg->lock);
    return rc;
}

/* ---- the next segment ------------------------------------------------------------------------*/

static struct qn_log_segment *last_segment(const struct qn_log *lg)
{
    return lg->segments[lg->segment_count - 1];
}

/* Keep lock held. One try to have a next segment. */
static void prepare(struct qn_log *lg)
{
    struct qn_err err = {0};
    uint64_t lsn, size = lg->opt.segment_bytes;
    bool is_wanted, is_fatal;
    qn_status rc;
    int fd;

    pthread_mutex_lock(&lg->lock);
    is_wanted = lg->wants_next && lg->next_file < 0 && lg->fatal.code == QN_OK;
    lsn = last_segment(lg)->first_lsn + last_segment(lg)->size;
    lg->is_preparing = is_wanted;
    pthread_mutex_unlock(&lg->lock);
    if (!is_wanted)
        return;
    rc = qn_log_prepare(lg, lsn, size, &fd, &err);
    is_fatal = rc != QN_OK && rc != QN_FULL && rc != QN_LIMIT && rc != QN_NOMEM;
    pthread_mutex_lock(&lg->lock);
    lg->is_preparing = lg->wants_next = false;
    lg->prepare_tries++;
    lg->is_full = rc != QN_OK;
    if (rc == QN_OK) {
        lg->next_file = fd;
        lg->next_size = size;
    } else {
        lg->full = err;
        lg->full_ns = mono_ns();
    }
    pthread_cond_broadcast(&lg->prepared);
    pthread_mutex_unlock(&lg->lock);
    if (is_fatal)
        (void)log_fail(lg, &err);
}

/* Keep lock held. Index files of segments that are complete. A full disk is no reason to stop. */
static void seal(struct qn_log *lg)
{
    for (;;) {
        struct qn_log_segment *s = NULL;

        pthread_mutex_lock(&lg->lock);
        if (lg->sealed + 1 < lg->segment_count && lg->fatal.code == QN_OK)
            s = lg->segments[lg->sealed];
        pthread_mutex_unlock(&lg->lock);
        if (s == NULL)
            return;
        (void)qn_log_index_save(lg, s, &lg->seal, NULL);
        pthread_mutex_lock(&lg->lock);
        lg->sealed++;
        qn_log_index_unload(lg);
        pthread_mutex_unlock(&lg->lock);
    }
}

/* What the keeper does: prepare, seal, trim. Also the steps of a threadless log. */
static void keep(struct qn_log *lg, bool trim)
{
    pthread_mutex_lock(&lg->keep_lock);
    prepare(lg);
    seal(lg);
    pthread_mutex_unlock(&lg->keep_lock);
    if (trim) {
        struct qn_err err = {0};

        if (qn_log_trim(lg, NULL, &err) != QN_OK)
            (void)log_fail(lg, &err);
    }
}

/* Waits for one try to prepare a segment. QN_FULL where there is none afterwards. */
static qn_status need_next(struct qn_log *lg, struct qn_err *err)
{
    qn_status rc = QN_OK;
    uint32_t tries;

    pthread_mutex_lock(&lg->lock);
    tries = lg->prepare_tries;
    lg->wants_next = lg->is_needed = true;
    if (lg->has_keeper) {
        pthread_cond_signal(&lg->keep);
        while (lg->next_file < 0 && lg->prepare_tries == tries && lg->fatal.code == QN_OK)
            pthread_cond_wait(&lg->prepared, &lg->lock);
        pthread_mutex_unlock(&lg->lock);
    } else {
        pthread_mutex_unlock(&lg->lock);
        keep(lg, false);
    }
    pthread_mutex_lock(&lg->lock);
    lg->is_needed = false;
    if (lg->fatal.code != QN_OK) {
        *err = lg->fatal;
        rc = err->code;
    } else if (lg->next_file < 0) {
        rc = qn_err_set(err, QN_FULL, "no space for a further segment: %s", lg->full.text);
    }
    pthread_mutex_unlock(&lg->lock);
    return rc;
}

static qn_status roll(struct qn_log *lg, struct qn_err *err)
{
    uint64_t lsn, size;
    int fd;

    pthread_mutex_lock(&lg->lock);
    fd = lg->next_file;
    size = lg->next_size;
    lsn = last_segment(lg)->first_lsn + last_segment(lg)->size;
    lg->next_file = -1;
    pthread_mutex_unlock(&lg->lock);
    if (qn_log_begin_segment(lg, fd, lsn, size, err) != QN_OK) {
        qn_status rc = log_fail(lg, err);

        if (lg->w.fd != fd)
            lg->opt.files->close(lg->opt.files->st, fd);
        return rc;
    }
    if (lg->has_keeper) {
        pthread_mutex_lock(&lg->lock);
        pthread_cond_signal(&lg->keep);
        pthread_mutex_unlock(&lg->lock);
    } else {
        keep(lg, false);
    }
    return QN_OK;
}

/* Makes sure that a frame of that size fits into the last segment. An ordinary append leaves the
 * reserve alone until there is a next segment. */
static qn_status ensure_room(struct qn_log *lg, uint64_t bytes, bool is_reserved, bool *rolled,
                             struct qn_err *err)
{
    for (*rolled = false;;) {
        const struct qn_log_segment *s;
        uint64_t end, reserve;
        bool has_next;

        pthread_mutex_lock(&lg->lock);
        has_next = lg->next_file >= 0;
        s = last_segment(lg);
        pthread_mutex_unlock(&lg->lock);
        end = s->end_lsn + qn_log_padded(bytes);
        reserve = is_reserved || has_next ? 0 : lg->opt.reserve_bytes;
        if (end + reserve <= s->first_lsn + s->size)
            return QN_OK;
        if (!has_next) {
            QN_TRY(need_next(lg, err));
            continue;
        }
        QN_TRY(roll(lg, err));
        *rolled = true;
    }
}

/* ---- a frame ---------------------------------------------------------------------------------*/

/* The log's own sections: names of topics that have none yet on disk, behind room for the header.
 * Under lock. *left: some did not fit and want a frame of their own. */
static qn_status build_own(struct qn_log *lg, uint32_t *sections, bool *left, struct qn_err *err)
{
    size_t limit = lg->opt.segment_bytes / 8;
    struct qn_buf *b = &lg->w.own;

    if (limit > OWN_BYTES_MAX)
        limit = OWN_BYTES_MAX;
    qn_buf_clear(b);
    *sections = 0;
    *left = false;
    if (qn_buf_room(b, QN_LOG_FRAME_HEADER + limit) == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a frame");
    b->len = QN_LOG_FRAME_HEADER;
    for (uint32_t i = 0; i < lg->state.topic_count && !*left; i++) {
        const struct qn_log_topic_state *t = lg->state.topics[i];
        struct qn_log_section s = {
            .topic = i, .kind = QN_LOG_TOPIC, .count = 1, .bytes = t->name_len};

        if (t->is_declared)
            continue;
        *left = b->len + QN_LOG_SECTION_HEADER + t->name_len > limit;
        if (*left)
            break;
        qn_log_section_write(&s, b->data + b->len);
        b->len += QN_LOG_SECTION_HEADER;
        qn_buf_add(b, t->name, t->name_len);
        ++*sections;
    }
    return QN_OK;
}

/* Pieces of the frame after the header: sections as they lie, or packed. */
static qn_status gather(struct qn_log *lg, const struct group *g, struct qn_log_frame *f,
                        struct qn_piece *v, unsigned *count, struct qn_err *err)
{
    struct qn_log_writer *w = &lg->w;
    size_t raw = w->own.len - QN_LOG_FRAME_HEADER, packed;

    v[0] = (struct qn_piece){w->own.data, w->own.len};
    *count = 1;
    for (uint32_t i = 0; i < g->count; i++) {
        v[(*count)++] = (struct qn_piece){g->list[i]->body.data, g->list[i]->body.len};
        raw += g->list[i]->body.len;
    }
    f->raw_length = (uint32_t)raw;
    f->length = (uint32_t)raw + QN_LOG_FRAME_HEADER;
    if (lg->opt.codec == QN_LOG_PLAIN)
        return QN_OK;
    qn_buf_clear(&w->raw);
    qn_buf_clear(&w->pack);
    for (unsigned i = 0; i < *count; i++)
        qn_buf_add(&w->raw, (const char *)v[i].p + (i == 0 ? QN_LOG_FRAME_HEADER : 0),
                   v[i].bytes - (i == 0 ? QN_LOG_FRAME_HEADER : 0));
    packed = qn_log_pack_bound(lg->opt.codec, raw);
    if (w->raw.failed || qn_buf_room(&w->pack, packed + 1) == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory to compress a frame");
    packed = qn_log_pack(lg->opt.codec, w->raw.data, raw, w->pack.data, packed);
    if (packed == 0 || qn_log_padded(packed + QN_LOG_FRAME_HEADER) >= qn_log_padded(f->length))
        return QN_OK; /* nothing gained: as it is */
    f->flags |= lg->opt.codec;
    f->length = (uint32_t)packed + QN_LOG_FRAME_HEADER;
    v[0] = (struct qn_piece){w->own.data, QN_LOG_FRAME_HEADER};
    v[1] = (struct qn_piece){w->pack.data, packed};
    *count = 2;
    return QN_OK;
}

/* Writes all pieces at offset, however many calls that takes. */
static qn_status write_pieces(struct qn_log *lg, const char *path, struct qn_piece *v,
                              unsigned count, uint64_t offset, struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;

    while (count > 0) {
        int64_t n = fs->pwritev(fs->st, lg->w.fd, v, count, offset);

        if (n <= 0)
            return n < 0 ? qn_err_sys(err, (int)-n, "cannot write '%s'", path)
                         : qn_err_set(err, QN_IO, "cannot write '%s': nothing was taken", path);
        offset += (uint64_t)n;
        for (; count > 0 && (uint64_t)n >= v->bytes; v++, count--)
            n -= (int64_t)v->bytes;
        if (count > 0) {
            v->p = (const char *)v->p + n;
            v->bytes -= (size_t)n;
        }
    }
    return QN_OK;
}

/* Header, checksum, padding, one write, one sync. */
static qn_status put_frame(struct qn_log *lg, const struct qn_log_segment *s,
                           struct qn_log_frame *f, struct qn_piece *v, unsigned count,
                           struct qn_err *err)
{
    static const char zeros[QN_LOG_SECTOR];
    size_t padding = (size_t)(qn_log_padded(f->length) - f->length);
    char path[QN_LOG_PATH_MAX];

    qn_log_frame_write(f, lg->id.half[0], lg->w.own.data);
    f->crc = 0;
    for (unsigned i = 0; i < count; i++)
        f->crc = i == 0 ? qn_crc32c(0, (const char *)v[0].p + 8, v[0].bytes - 8)
                        : qn_crc32c(f->crc, v[i].p, v[i].bytes);
    qn_little_put32(lg->w.own.data + 4, f->crc);
    if (padding > 0)
        v[count++] = (struct qn_piece){zeros, padding};
    qn_log_path(lg, s->first_lsn, "seg", path);
    QN_TRY(write_pieces(lg, path, v, count, f->lsn - s->first_lsn, err));
    return qn_log_sync(lg, lg->w.fd, path, err);
}

/* The frame is durable: what it says becomes visible. Under lock. */
static const char *publish_sections(struct qn_log *lg, const struct qn_log_frame *f, const char *p,
                                    size_t bytes)
{
    struct qn_log_segment *s = last_segment(lg);
    const char *end = p + bytes, *why = NULL;
    struct qn_log_section sec;
    bool bad = false;

    while (qn_log_section_next(&p, end, &sec, &bad)) {
        if (!qn_log_state_note(&lg->state, f, &sec, &why))
            return why;
        qn_log_index_note(s, f, &sec);
    }
    QN_ASSERT(!bad);
    return NULL;
}

static qn_status publish(struct qn_log *lg, const struct group *g, const struct qn_log_frame *f,
                         size_t own_bytes, struct qn_err *err)
{
    struct qn_log_segment *s;
    const char *why;

    pthread_mutex_lock(&lg->lock);
    s = last_segment(lg);
    why = publish_sections(lg, f, lg->w.own.data + QN_LOG_FRAME_HEADER, own_bytes);
    for (uint32_t i = 0; i < g->count && why == NULL; i++)
        why = publish_sections(lg, f, g->list[i]->body.data, g->list[i]->body.len);
    s->end_lsn = f->lsn + qn_log_padded(f->length);
    s->crc = lg->w.crc = f->crc;
    if (f->append_us < s->min_append)
        s->min_append = f->append_us;
    if (f->append_us > s->max_append)
        s->max_append = f->append_us;
    lg->end_lsn = s->end_lsn;
    lg->frames++;
    lg->syncs += !lg->opt.may_be_volatile;
    lg->append_count += g->count;
    lg->append_bytes += g->bytes;
    if (lg->end_lsn - s->first_lsn > s->size / 2 && lg->next_file < 0 && !lg->is_preparing &&
        !lg->is_full) {
        lg->wants_next = true;
        pthread_cond_signal(&lg->keep);
    }
    pthread_cond_broadcast(&lg->readable);
    pthread_mutex_unlock(&lg->lock);
    return why == NULL ? QN_OK : qn_err_set(err, QN_CORRUPT, "a frame was written that %s", why);
}

/* Offsets, commit flag, memory for the index: all that can still fail without harm. Under lock. */
static qn_status number_sections(struct qn_log *lg, const struct group *g, struct qn_log_frame *f,
                                 struct qn_err *err)
{
    QN_TRY(qn_log_index_reserve(last_segment(lg), f->sections, err));
    for (uint32_t i = 0; i < g->count; i++)
        if (qn_log_append_assign(g->list[i], &lg->state))
            f->flags |= QN_LOG_FLAG_COMMIT;
    return QN_OK;
}

/* Writes a group (or none: names of topics only) as one frame. *left: call again, only names went
 * out. QN_FULL, QN_NOMEM, QN_LIMIT: nothing happened. Anything else is final. */
static qn_status write_frame(struct qn_log *lg, const struct group *all, bool *left,
                             struct qn_log_frame *f, struct qn_err *err)
{
    static const struct group none = {.is_reserved = true};
    struct qn_piece v[GROUP_MAX + 2];
    const struct qn_log_segment *s;
    const struct group *g;
    uint32_t own_sections;
    unsigned count;
    bool rolled;
    qn_status rc;
    size_t own;

    do { /* a roll uses the same buffer for its dictionary */
        pthread_mutex_lock(&lg->lock);
        rc = build_own(lg, &own_sections, left, err);
        pthread_mutex_unlock(&lg->lock);
        QN_TRY(rc);
        g = *left ? &none : all;
        QN_TRY(ensure_room(lg, lg->w.own.len + g->bytes, all->is_reserved, &rolled, err));
    } while (rolled);
    own = lg->w.own.len - QN_LOG_FRAME_HEADER;
    pthread_mutex_lock(&lg->lock);
    s = last_segment(lg);
    *f = (struct qn_log_frame){.lsn = s->end_lsn,
                               .append_us = lg->opt.clock->wall_us(lg->opt.clock->st),
                               .prev_crc = lg->w.crc,
                               .sections = own_sections + g->sections};
    rc = number_sections(lg, g, f, err);
    pthread_mutex_unlock(&lg->lock);
    QN_TRY(rc);
    rc = gather(lg, g, f, v, &count, err);
    if (rc != QN_OK) { /* nothing was written: give the offsets back */
        pthread_mutex_lock(&lg->lock);
        for (uint32_t i = 0; i < lg->state.topic_count; i++)
            lg->state.topics[i]->assigned = lg->state.topics[i]->next;
        pthread_mutex_unlock(&lg->lock);
        return rc;
    }
    rc = put_frame(lg, s, f, v, count, err);
    for (uint32_t i = 0; rc == QN_OK && i < g->count; i++)
        if (g->list[i]->on_place != NULL)
            g->list[i]->on_place(g->list[i]->place_arg, g->list[i]);
    if (rc == QN_OK)
        rc = publish(lg, g, f, own, err);
    return rc == QN_OK ? QN_OK : log_fail(lg, err);
}

/* ---- the queue -------------------------------------------------------------------------------*/

/* Under lock. Takes what fits into one frame. While the next segment is missing, ordinary and
 * reserved appends do not share a frame: one may go where the other may not. */
static void take(struct qn_log *lg, struct group *g)
{
    uint64_t limit = qn_log_append_limit(lg);

    g->count = g->sections = 0;
    g->bytes = 0;
    while (lg->first_waiting != NULL && g->count < GROUP_MAX) {
        struct qn_log_append *a = lg->first_waiting;

        if (g->count > 0 && (g->bytes + a->body.len > limit ||
                             g->sections + a->sections > QN_LOG_SECTIONS_MAX - 2048 ||
                             (lg->next_file < 0 && a->is_reserved != g->is_reserved)))
            break;
        if (g->count == 0)
            g->is_reserved = a->is_reserved;
        g->is_reserved &= a->is_reserved;
        g->list[g->count++] = a;
        g->bytes += a->body.len;
        g->sections += a->sections;
        lg->first_waiting = a->next;
        if (a->next == NULL)
            lg->last_waiting = &lg->first_waiting;
        lg->waiting_bytes -= a->body.len;
        lg->waiting_count--;
    }
}

static void finish(struct qn_log *lg, const struct group *g, qn_status rc,
                   const struct qn_log_frame *f, const struct qn_err *err)
{
    bool has_waiter = false;

    for (uint32_t i = 0; i < g->count; i++) {
        struct qn_log_append *a = g->list[i];
        qn_log_done *on_done = a->on_done;

        pthread_mutex_lock(&lg->lock);
        a->rc = rc;
        if (rc != QN_OK)
            a->err = *err;
        else
            a->place =
                (struct qn_log_place){f->lsn, f->lsn + qn_log_padded(f->length), f->append_us};
        a->phase = QN_LOG_DONE;
        pthread_mutex_unlock(&lg->lock);
        if (on_done != NULL)
            on_done(a->arg, a, rc, err);
        has_waiter = true;
    }
    if (has_waiter) {
        pthread_mutex_lock(&lg->lock);
        pthread_cond_broadcast(&lg->done);
        pthread_mutex_unlock(&lg->lock);
    }
}

/* One frame's worth of the queue. */
static void work(struct qn_log *lg, struct group *g)
{
    struct qn_err err = {0};
    struct qn_log_frame f;
    bool left = false;
    qn_status rc;

    pthread_mutex_lock(&lg->lock);
    take(lg, g);
    err = lg->fatal;
    pthread_mutex_unlock(&lg->lock);
    if (g->count == 0)
        return;
    rc = err.code;
    if (rc == QN_OK)
        do
            rc = write_frame(lg, g, &left, &f, &err);
        while (rc == QN_OK && left);
    finish(lg, g, rc, &f, &err);
    if (rc == QN_OK && !lg->has_keeper)
        keep(lg, false);
}

/* Under lock. A backlog that grows while frames stay small: give it a moment to gather. */
static void linger(struct qn_log *lg)
{
    struct qn_log_writer *w = &lg->w;

    w->growing = lg->waiting_count > w->last_backlog && w->last_backlog > 0 ? w->growing + 1 : 0;
    w->last_backlog = lg->waiting_count;
    if (w->growing < LINGER_AFTER || lg->waiting_bytes >= LINGER_BELOW_BYTES || lg->stop)
        return;
    w->growing = 0;
    for (int64_t end = mono_ns() + LINGER_MS * 1000000, now;
         lg->waiting_bytes < LINGER_BELOW_BYTES && !lg->stop && (now = mono_ns()) < end;)
        wait_ns(&lg->work, &lg->lock, end - now);
}

static void *log_main(void *arg)
{
    struct qn_log *lg = arg;
    struct group g;

    pthread_mutex_lock(&lg->lock);
    for (;;) {
        while (lg->first_waiting == NULL && !lg->stop)
            pthread_cond_wait(&lg->work, &lg->lock);
        if (lg->first_waiting == NULL)
            break;
        linger(lg);
        pthread_mutex_unlock(&lg->lock);
        work(lg, &g);
        pthread_mutex_lock(&lg->lock);
    }
    pthread_mutex_unlock(&lg->lock);
    return NULL;
}

static void *keeper_main(void *arg)
{
    struct qn_log *lg = arg;
    int64_t trimmed_ns = mono_ns();

    pthread_mutex_lock(&lg->lock);
    while (!lg->keeper_stop) {
        bool trim;

        if ((!lg->wants_next || lg->next_file >= 0 || lg->fatal.code != QN_OK) &&
            (lg->sealed + 1 >= lg->segment_count || lg->fatal.code != QN_OK))
            wait_ns(&lg->keep, &lg->lock, (int64_t)KEEPER_MS * 1000000);
        if (lg->is_full && mono_ns() - lg->full_ns >= (int64_t)FULL_AGAIN_MS * 1000000)
            lg->wants_next = true;
        trim = mono_ns() - trimmed_ns >= (int64_t)KEEPER_MS * 1000000 && lg->fatal.code == QN_OK;
        if (trim)
            trimmed_ns = mono_ns();
        pthread_mutex_unlock(&lg->lock);
        keep(lg, trim);
        pthread_mutex_lock(&lg->lock);
    }
    pthread_mutex_unlock(&lg->lock);
    return NULL;
}

/* Threads take no signals: those are for the main thread. */
qn_status qn_log_threads_start(struct qn_log *lg, struct qn_err *err)
{
    sigset_t all, old;
    int rc;

    lg->is_needed = false;
    if (lg->opt.is_threadless || lg->opt.is_read_only)
        return QN_OK;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&lg->keeper_thread, NULL, keeper_main, lg);
    lg->has_keeper = rc == 0;
    if (rc == 0) {
        rc = pthread_create(&lg->log_thread, NULL, log_main, lg);
        lg->has_log_thread = rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? QN_OK : qn_err_sys(err, rc, "cannot start the threads of the log");
}

void qn_log_threads_stop(struct qn_log *lg)
{
    pthread_mutex_lock(&lg->lock);
    lg->stop = true;
    pthread_cond_broadcast(&lg->work);
    pthread_mutex_unlock(&lg->lock);
    if (lg->has_log_thread)
        pthread_join(lg->log_thread, NULL);
    pthread_mutex_lock(&lg->lock);
    lg->keeper_stop = true;
    pthread_cond_broadcast(&lg->keep);
    pthread_mutex_unlock(&lg->lock);
    if (lg->has_keeper)
        pthread_join(lg->keeper_thread, NULL);
    lg->has_log_thread = lg->has_keeper = false;
}

/* ---- the face --------------------------------------------------------------------------------*/

/* Under lock. Slots and limits for cursors and commits, so that a durable frame can be noted. */
static qn_status reserve_state(struct qn_log *lg, const struct qn_log_append *a, struct qn_err *err)
{
    const char *p = a->body.data, *end = p + a->body.len;
    size_t bytes = qn_log_state_bytes(&lg->state);
    struct qn_log_section s;
    bool bad = false;

    while (qn_log_section_next(&p, end, &s, &bad)) {
        if (s.kind == QN_LOG_RECORDS || s.kind == QN_LOG_CONTROL) {
            QN_ASSERT(s.topic < lg->state.topic_count);
            continue;
        }
        bytes += s.bytes + 24;
        if (bytes + QN_LOG_SECTOR * 3 > lg->opt.segment_bytes / 2)
            return qn_err_set(err, QN_LIMIT,
                              "topics, cursors and commits take %zu bytes: too many for segments "
                              "of %llu bytes",
                              bytes, (unsigned long long)lg->opt.segment_bytes);
        QN_TRY(qn_log_state_reserve(&lg->state, &s, err));
    }
    QN_ASSERT(!bad);
    return QN_OK;
}

/* Under lock. Why an append is not taken now. */
static qn_status refuse(struct qn_log *lg, const struct qn_log_append *a, bool may_wait,
                        struct qn_err *err)
{
    if (lg->opt.is_read_only)
        return qn_err_set(err, QN_DENIED, "the log '%s' is open for reading only", lg->dir);
    if (a->sections == 0)
        return qn_err_set(err, QN_INVALID, "there is nothing in this append");
    for (;;) {
        if (lg->fatal.code != QN_OK || lg->stop) {
            if (lg->fatal.code == QN_OK)
                return qn_err_set(err, QN_CLOSED, "the log is being closed");
            if (err != NULL)
                *err = lg->fatal;
            return lg->fatal.code;
        }
        if (lg->is_full && !a->is_reserved && lg->has_keeper)
            return qn_err_set(err, QN_FULL, "no space for a further segment: %s", lg->full.text);
        if (lg->waiting_count == 0 || lg->waiting_bytes + a->body.len <= lg->opt.queue_bytes)
            return reserve_state(lg, a, err);
        if (!may_wait)
            return qn_err_set(err, QN_FULL, "the queue of the log is full: %llu bytes wait",
                              (unsigned long long)lg->waiting_bytes);
        pthread_cond_wait(&lg->done, &lg->lock);
    }
}

static qn_status submit(struct qn_log *lg, struct qn_log_append *a, bool may_wait,
                        struct qn_err *err)
{
    struct group g;
    qn_status rc;

    QN_ASSERT(a->phase != QN_LOG_QUEUED);
    QN_ASSERT(a->log == lg);
    qn_log_append_close(a);
    pthread_mutex_lock(&lg->lock);
    rc = refuse(lg, a, may_wait, err);
    if (rc == QN_OK) {
        a->phase = QN_LOG_QUEUED;
        a->rc = QN_OK;
        a->next = NULL;
        *lg->last_waiting = a;
        lg->last_waiting = &a->next;
        lg->waiting_bytes += a->body.len;
        lg->waiting_count++;
        pthread_cond_signal(&lg->work);
    }
    pthread_mutex_unlock(&lg->lock);
    if (rc == QN_OK && !lg->has_log_thread)
        work(lg, &g);
    return rc;
}

qn_status qn_log_submit(struct qn_log *lg, struct qn_log_append *a, qn_log_done *on_done, void *arg,
                        struct qn_err *err)
{
    a->on_done = on_done;
    a->arg = arg;
    return submit(lg, a, false, err);
}

void qn_log_append_watch(struct qn_log_append *a, qn_log_placed *on_place, void *arg)
{
    a->on_place = on_place;
    a->place_arg = arg;
}

qn_status qn_log_wait(struct qn_log *lg, struct qn_log_append *a, struct qn_log_place *place,
                      struct qn_err *err)
{
    qn_status rc;

    pthread_mutex_lock(&lg->lock);
    QN_ASSERT(a->phase != QN_LOG_OPEN);
    while (a->phase != QN_LOG_DONE)
        pthread_cond_wait(&lg->done, &lg->lock);
    rc = a->rc;
    pthread_mutex_unlock(&lg->lock);
    if (rc == QN_OK && place != NULL)
        *place = a->place;
    if (rc != QN_OK && err != NULL)
        *err = a->err;
    return rc;
}

qn_status qn_log_commit(struct qn_log *lg, struct qn_log_append *a, struct qn_log_place *place,
                        struct qn_err *err)
{
    a->on_done = NULL;
    QN_TRY(submit(lg, a, true, err));
    return qn_log_wait(lg, a, place, err);
}

bool qn_log_is_full(struct qn_log *lg)
{
    bool is_full;

    pthread_mutex_lock(&lg->lock);
    is_full = lg->is_full;
    if (is_full &&
        (!lg->has_keeper || mono_ns() - lg->full_ns >= (int64_t)FULL_AGAIN_MS * 1000000)) {
        lg->wants_next = true;
        pthread_cond_signal(&lg->keep);
    }
    pthread_mutex_unlock(&lg->lock);
    if (is_full && !lg->has_keeper && !lg->opt.is_read_only) {
        keep(lg, false);
        pthread_mutex_lock(&lg->lock);
        is_full = lg->is_full;
        pthread_mutex_unlock(&lg->lock);
    }
    return is_full;
}
