/* SPDX-License-Identifier: Apache-2.0
 * log_retain.c - which old segments may go, and how they go.
 *
 * Only the oldest segment can go, and only as a whole: when for every topic in it retention is over
 * and no hold, cursor, or reader needs anything in it. Its name is durably gone before the next one
 * is looked at, so that a crash never leaves a gap. One or two removed files are kept as .spare and
 * become segments again without being zero-filled. Thread: the keeper, or whoever asks. */
#include "log/log_int.h"

enum { SPARES_MAX = 2 };

static bool name_fits(struct qn_str name)
{
    return name.len > 0 && name.len <= QN_LOG_NAME_MAX;
}

/* Under lock. */
static struct qn_log_hold_state *find_hold(struct qn_log *lg, struct qn_str name)
{
    for (int i = 0; i < QN_LOG_HOLDS_MAX; i++)
        if (name_fits(name) &&
            qn_str_eq(name, (struct qn_str){lg->holds[i].name, lg->holds[i].name_len}))
            return &lg->holds[i];
    return NULL;
}

qn_status qn_log_hold(struct qn_log *lg, struct qn_str name, uint64_t lsn, struct qn_err *err)
{
    struct qn_log_hold_state *h;

    if (!name_fits(name))
        return qn_err_set(err, QN_INVALID, "a hold's name has %u bytes; 1 to %d are allowed",
                          name.len, QN_LOG_NAME_MAX);
    pthread_mutex_lock(&lg->lock);
    h = find_hold(lg, name);
    for (int i = 0; i < QN_LOG_HOLDS_MAX && h == NULL; i++)
        if (lg->holds[i].name_len == 0)
            h = &lg->holds[i];
    if (h != NULL) {
        memcpy(h->name, name.p, name.len);
        h->name_len = name.len;
        h->lsn = lsn;
    }
    pthread_mutex_unlock(&lg->lock);
    return h != NULL ? QN_OK
                     : qn_err_set(err, QN_LIMIT, "a log has at most %d holds", QN_LOG_HOLDS_MAX);
}

void qn_log_release_hold(struct qn_log *lg, struct qn_str name)
{
    struct qn_log_hold_state *h;

    pthread_mutex_lock(&lg->lock);
    h = find_hold(lg, name);
    if (h != NULL)
        h->name_len = 0;
    pthread_mutex_unlock(&lg->lock);
}

void qn_log_retain(struct qn_log *lg, uint32_t topic, int64_t age_us, uint64_t bytes)
{
    pthread_mutex_lock(&lg->lock);
    QN_ASSERT(topic < lg->state.topic_count);
    lg->state.topics[topic]->keep_age_us = age_us;
    lg->state.topics[topic]->keep_bytes = bytes;
    pthread_mutex_unlock(&lg->lock);
}

/* Under lock. Bytes of a topic behind the oldest segment. */
static uint64_t bytes_behind(const struct qn_log *lg, uint32_t topic)
{
    uint64_t sum = 0;

    for (uint32_t i = 1; i < lg->segment_count; i++) {
        const struct qn_log_span *span = qn_log_segment_span(lg->segments[i], topic);

        sum += span == NULL ? 0 : span->bytes;
    }
    return sum;
}

/* Under lock. */
static bool is_over(const struct qn_log *lg, const struct qn_log_span *span, int64_t now_us)
{
    const struct qn_log_topic_state *t = lg->state.topics[span->topic];

    if (t->keep_age_us > 0 && now_us - span->max_append > t->keep_age_us)
        return true;
    return t->keep_bytes > 0 && bytes_behind(lg, span->topic) >= t->keep_bytes;
}

/* Under lock. Somebody still needs something in the oldest segment. */
static bool is_held(const struct qn_log *lg, const struct qn_log_segment *s)
{
    uint64_t end = s->first_lsn + s->size;

    for (int i = 0; i < QN_LOG_HOLDS_MAX; i++)
        if (lg->holds[i].name_len > 0 && lg->holds[i].lsn < end)
            return true;
    for (const struct qn_log_reader *r = lg->readers; r != NULL; r = r->next)
        if (r->lsn < end)
            return true;
    for (uint32_t i = 0; i < lg->state.cursor_count; i++) {
        const struct qn_log_cursor_state *c = &lg->state.cursors[i];
        const struct qn_log_span *span = qn_log_segment_span(s, c->topic);

        if (c->name_len > 0 && c->offset != QN_LOG_NO_OFFSET && span != NULL &&
            c->offset < span->next)
            return true;
    }
    return false;
}

/* Under lock. A segment that holds no records of any topic goes with the one behind it. */
static bool may_go(const struct qn_log *lg, int64_t now_us)
{
    const struct qn_log_segment *s = lg->segments[0];

    if (lg->sealed == 0 || lg->segment_count < 2 || is_held(lg, s))
        return false;
    for (uint32_t i = 0; i < s->span_count; i++)
        if (!is_over(lg, &s->spans[i], now_us))
            return false;
    if (s->span_count > 0)
        return true;
    /* Commits alone: what they consumed lies behind, in segments that decide for themselves. */
    for (uint32_t i = 0; i < lg->state.topic_count; i++)
        if (lg->state.topics[i]->keep_age_us > 0 || lg->state.topics[i]->keep_bytes > 0)
            return true;
    return false;
}

/* Under lock: the oldest segment leaves the list before its file does, so that no new reader finds
 * it. */
static struct qn_log_segment *take_oldest(struct qn_log *lg)
{
    struct qn_log_segment *s = lg->segments[0];

    memmove(lg->segments, lg->segments + 1, (lg->segment_count - 1) * sizeof *lg->segments);
    lg->segment_count--;
    lg->sealed--;
    for (uint32_t i = 0; i < s->span_count; i++)
        lg->state.topics[s->spans[i].topic]->first = s->spans[i].next;
    return s;
}

/* Keep lock held. */
static qn_status remove_files(struct qn_log *lg, const struct qn_log_segment *s, struct qn_err *err)
{
    const struct qn_files *fs = lg->opt.files;
    char path[QN_LOG_PATH_MAX], spare[QN_LOG_PATH_MAX];
    int rc;

    qn_log_path(lg, s->first_lsn, "seg", path);
    qn_log_path(lg, s->first_lsn, "spare", spare);
    if (lg->spares < SPARES_MAX && s->size == lg->opt.segment_bytes) {
        rc = fs->rename(fs->st, path, spare);
        lg->spares += rc == 0;
    } else {
        rc = fs->remove(fs->st, path);
    }
    if (rc < 0)
        return qn_err_sys(err, -rc, "cannot remove the old segment '%s'", path);
    qn_log_path(lg, s->first_lsn, "idx", path);
    fs->remove(fs->st, path); /* may be missing */
    return qn_log_sync_folder(lg, err);
}

qn_status qn_log_trim(struct qn_log *lg, uint32_t *removed, struct qn_err *err)
{
    int64_t now_us = lg->opt.clock->wall_us(lg->opt.clock->st);
    qn_status rc = QN_OK;
    uint32_t n = 0;

    if (lg->opt.is_read_only)
        return qn_err_set(err, QN_DENIED, "the log '%s' is open for reading only", lg->dir);
    pthread_mutex_lock(&lg->keep_lock);
    while (rc == QN_OK) {
        struct qn_log_segment *s = NULL;

        pthread_mutex_lock(&lg->lock);
        if (lg->fatal.code == QN_OK && may_go(lg, now_us))
            s = take_oldest(lg);
        pthread_mutex_unlock(&lg->lock);
        if (s == NULL)
            break;
        rc = remove_files(lg, s, err);
        qn_log_segment_free(s);
        n++;
    }
    pthread_mutex_unlock(&lg->keep_lock);
    if (removed != NULL)
        *removed = n;
    return rc;
}
