/* SPDX-License-Identifier: Apache-2.0
 * log_local.c - what an open log tells about itself: topics, ends, commits, cursors, segments.
 *
 * Thread: any, under the log's lock. Memory: what is lent lives as long as the log, but where the
 * header says otherwise. */
#include "log/log_int.h"

#include <stdio.h>

qn_status qn_log_topic(struct qn_log *lg, struct qn_str name, bool create, uint32_t *topic,
                       struct qn_err *err)
{
    bool is_name = name.len > 0 && name.len <= QN_LOG_NAME_MAX;
    qn_status rc = QN_OK;

    for (uint32_t i = 0; i < name.len && is_name; i++)
        is_name = (unsigned char)name.p[i] >= 0x20 && name.p[i] != 0x7F;
    if (!is_name)
        return qn_err_set(err, QN_INVALID, "a topic's name has 1 to %d bytes, no control bytes",
                          QN_LOG_NAME_MAX);
    pthread_mutex_lock(&lg->lock);
    if (qn_log_state_topic(&lg->state, name, topic) == NULL) {
        size_t bytes = qn_log_state_bytes(&lg->state) + 12 + name.len;

        if (!create)
            rc = qn_err_set(err, QN_NOT_FOUND, "there is no topic '%.*s'", QN_STR_ARG(name));
        else if (lg->opt.is_read_only)
            rc = qn_err_set(err, QN_DENIED, "the log '%s' is open for reading only", lg->dir);
        else if (bytes + QN_LOG_SECTOR * 3 > lg->opt.segment_bytes / 2)
            rc = qn_err_set(err, QN_LIMIT, "too many topics for segments of %llu bytes",
                            (unsigned long long)lg->opt.segment_bytes);
        else
            rc = qn_log_state_add_topic(&lg->state, name, topic, err);
    }
    pthread_mutex_unlock(&lg->lock);
    return rc;
}

uint32_t qn_log_topic_count(struct qn_log *lg)
{
    uint32_t n;

    pthread_mutex_lock(&lg->lock);
    n = lg->state.topic_count;
    pthread_mutex_unlock(&lg->lock);
    return n;
}

/* Least and greatest of what has one. */
static void widen(int64_t *min, int64_t *max, int64_t from, int64_t to)
{
    if (from == QN_LOG_NO_TIME)
        return;
    if (*min == QN_LOG_NO_TIME || from < *min)
        *min = from;
    if (to > *max)
        *max = to;
}

void qn_log_topic_info(struct qn_log *lg, uint32_t topic, struct qn_log_topic_info *info)
{
    const struct qn_log_topic_state *t;

    *info = (struct qn_log_topic_info){.min_event = QN_LOG_NO_TIME,
                                       .max_event = QN_LOG_NO_TIME,
                                       .min_append = QN_LOG_NO_TIME,
                                       .max_append = QN_LOG_NO_TIME};
    pthread_mutex_lock(&lg->lock);
    QN_ASSERT(topic < lg->state.topic_count);
    t = lg->state.topics[topic];
    info->name = (struct qn_str){t->name, t->name_len};
    info->first = t->first;
    info->next = t->next;
    for (uint32_t i = 0; i < lg->segment_count; i++) {
        const struct qn_log_span *span = qn_log_segment_span(lg->segments[i], topic);

        if (span == NULL)
            continue;
        info->bytes += span->bytes;
        widen(&info->min_event, &info->max_event, span->min_event, span->max_event);
        widen(&info->min_append, &info->max_append, span->min_append, span->max_append);
    }
    pthread_mutex_unlock(&lg->lock);
}

void qn_log_ends(struct qn_log *lg, struct qn_log_ends *out)
{
    pthread_mutex_lock(&lg->lock);
    *out = (struct qn_log_ends){.first_lsn = lg->segments[0]->first_lsn,
                                .end_lsn = lg->end_lsn,
                                .segments = lg->segment_count,
                                .frames = lg->frames,
                                .syncs = lg->syncs,
                                .append_count = lg->append_count,
                                .append_bytes = lg->append_bytes,
                                .is_full = lg->is_full,
                                .is_fatal = lg->fatal.code != QN_OK};
    for (uint32_t i = 0; i < lg->segment_count; i++)
        out->bytes += lg->segments[i]->size;
    pthread_mutex_unlock(&lg->lock);
}

void qn_log_identity(const struct qn_log *lg, char out[QN_LOG_ID_TEXT])
{
    snprintf(out, QN_LOG_ID_TEXT, "%016llx%016llx", (unsigned long long)lg->id.half[0],
             (unsigned long long)lg->id.half[1]);
}

qn_status qn_log_last_commit(struct qn_log *lg, uint32_t stage, uint64_t *position, uint64_t *lsn,
                             struct qn_buf *payload, struct qn_err *err)
{
    const struct qn_log_stage_state *found = NULL;

    qn_buf_clear(payload);
    pthread_mutex_lock(&lg->lock);
    for (uint32_t i = 0; i < lg->state.stage_count && found == NULL; i++)
        if (lg->state.stages[i].stage == stage && lg->state.stages[i].lsn != 0)
            found = &lg->state.stages[i];
    if (found != NULL) {
        if (position != NULL)
            *position = found->position;
        if (lsn != NULL)
            *lsn = found->lsn;
        qn_buf_add(payload, found->payload.data, found->payload.len);
    }
    pthread_mutex_unlock(&lg->lock);
    if (found == NULL)
        return qn_err_set(err, QN_NOT_FOUND, "stage %u has no commit", stage);
    return payload->failed ? qn_err_set(err, QN_NOMEM, "out of memory for a commit") : QN_OK;
}

qn_status qn_log_cursor(struct qn_log *lg, struct qn_str name, uint32_t *topic, uint64_t *offset,
                        struct qn_err *err)
{
    struct qn_str at;
    bool found = false;

    for (uint32_t i = 0; !found && qn_log_cursor_at(lg, i, &at, topic, offset); i++)
        found = qn_str_eq(at, name);
    return found ? QN_OK
                 : qn_err_set(err, QN_NOT_FOUND, "there is no cursor '%.*s'", QN_STR_ARG(name));
}

bool qn_log_cursor_at(struct qn_log *lg, uint32_t index, struct qn_str *name, uint32_t *topic,
                      uint64_t *offset)
{
    bool found = false;

    pthread_mutex_lock(&lg->lock);
    for (uint32_t i = 0, n = 0; i < lg->state.cursor_count && !found; i++) {
        const struct qn_log_cursor_state *c = &lg->state.cursors[i];

        found = c->offset != QN_LOG_NO_OFFSET && n++ == index;
        if (found) {
            *name = (struct qn_str){c->name, c->name_len};
            *topic = c->topic;
            *offset = c->offset;
        }
    }
    pthread_mutex_unlock(&lg->lock);
    return found;
}

bool qn_log_stage_at(struct qn_log *lg, uint32_t index, uint32_t *stage, uint64_t *position,
                     uint64_t *lsn)
{
    bool found = false;

    pthread_mutex_lock(&lg->lock);
    for (uint32_t i = 0, n = 0; i < lg->state.stage_count && !found; i++) {
        const struct qn_log_stage_state *g = &lg->state.stages[i];

        found = g->lsn != 0 && n++ == index;
        if (found) {
            *stage = g->stage;
            *position = g->position;
            *lsn = g->lsn;
        }
    }
    pthread_mutex_unlock(&lg->lock);
    return found;
}

bool qn_log_segment_at(struct qn_log *lg, uint32_t index, struct qn_log_segment_info *out)
{
    bool found;

    pthread_mutex_lock(&lg->lock);
    found = index < lg->segment_count;
    if (found) {
        const struct qn_log_segment *s = lg->segments[index];

        *out = (struct qn_log_segment_info){.first_lsn = s->first_lsn,
                                            .end_lsn = s->end_lsn,
                                            .bytes = s->size,
                                            .min_append = s->min_append,
                                            .max_append = s->max_append};
        snprintf(out->file, sizeof out->file, "%020llu.seg", (unsigned long long)s->first_lsn);
    }
    pthread_mutex_unlock(&lg->lock);
    return found;
}
