/* SPDX-License-Identifier: Apache-2.0
 * shard_merge.c - several streams in one shard. See shard_merge.h.
 *
 * Invariants, of each lane: committed <= next <= pulled <= pushed, and what lies between pulled and
 * pushed is held; s->next is the sum of `next`, and `news` leads from `from` to `next`. Thread: the
 * shard's. Memory: see shard_merge.h. */
#include "engine/shard_merge.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "base/hash.h"
#include "base/memory.h"
#include "engine/shard_event.h"
#include "event/decode.h"
#include "event/envelope.h"
#include "log/kafka_transact.h"

enum {
    PULL_ROWS = 2048,
    PULL_BYTES = 1 << 20,
    HELD_FIRST = 64,
    NEWS_FIRST = 256,
    RECORD_BYTES = 256 << 10 /* of the journal: far below what brokers take */
};
#define STUCK_NS INT64_C(30000000000) /* a transaction of a process that is gone ends before */

/* ---- life ------------------------------------------------------------------------------------*/

qn_status qn_shard_merge_new(struct qn_shard *s, struct qn_err *err)
{
    const uint32_t count = s->plan->schema_count;
    struct qn_shard_merge *m;

    if (count == 1)
        return QN_OK;
    m = QN_NEW(&s->arena, struct qn_shard_merge);
    if (m != NULL) {
        m->count = count;
        m->lanes = QN_NEW_N(&s->arena, struct qn_shard_lane, count + 1);
        m->heads = QN_NEW_N(&s->arena, struct qn_merge_lane, count);
        m->from = QN_NEW_N(&s->arena, int64_t, count);
        m->place = QN_NEW(&s->arena, struct qn_shard_place);
    }
    if (m == NULL || !m->lanes || !m->heads || !m->from || !m->place)
        return qn_err_set(err, QN_NOMEM, "out of memory for the streams of a shard");
    for (uint32_t i = 0; i < count; i++) {
        m->heads[i].end = -1;
        m->lanes[i].last_us = INT64_MIN;
    }
    m->journal_end = -1;
    for (uint32_t i = 0; i < count; i++)
        s->mark.topics = qn_hash(s->plan->kafka.stream_topics[i],
                                 strlen(s->plan->kafka.stream_topics[i]) + 1, s->mark.topics);
    s->merge = m;
    return qn_opener_new(&m->opener, err);
}

static rd_kafka_message_t *take_head(struct qn_shard_lane *l)
{
    rd_kafka_message_t *m = l->held[l->head++];

    l->held_bytes -= m->len;
    if (l->head == l->count)
        l->head = l->count = 0;
    return m;
}

static void drop_held(struct qn_shard_lane *l)
{
    while (l->head < l->count)
        rd_kafka_message_destroy(take_head(l));
}

static void drop_record(struct qn_shard_merge *m)
{
    if (m->record_m != NULL)
        rd_kafka_message_destroy(m->record_m);
    m->record_m = NULL;
    m->runs = (struct qn_str){NULL, 0};
    m->run.moved = 0;
}

void qn_shard_merge_free(struct qn_shard *s)
{
    struct qn_shard_merge *m = s->merge;

    if (m == NULL)
        return;
    drop_record(m);
    for (uint32_t i = 0; i <= m->count; i++) {
        drop_held(&m->lanes[i]);
        qn_mem_free(m->lanes[i].held);
    }
    qn_mem_free(m->seq);
    qn_mem_free(m->stream);
    qn_mem_free(m->news);
    qn_buf_fini(&m->event);
    qn_buf_fini(&m->headers);
    qn_opener_free(m->opener);
    s->merge = NULL;
}

/* ---- restoring -------------------------------------------------------------------------------*/

void qn_shard_merge_place(struct qn_shard *s, const struct qn_shard_place *place)
{
    *s->merge->place = *place;
}

static void stand(struct qn_shard *s, const int64_t *next, int64_t journal)
{
    struct qn_shard_merge *m = s->merge;
    struct qn_shard_lane *j = &m->lanes[m->count];

    for (uint32_t i = 0; i < m->count; i++) {
        struct qn_shard_lane *l = &m->lanes[i];

        m->from[i] = l->pushed = l->pulled = l->next = next[i];
        m->heads[i].pushed = next[i];
    }
    j->pushed = j->pulled = j->next = journal;
}

void qn_shard_merge_begin(struct qn_shard *s)
{
    struct qn_shard_merge *m = s->merge;

    stand(s, m->place->oldest, m->place->journal_end);
    for (uint32_t i = 0; i < m->count; i++)
        m->lanes[i].committed = s->mark.from[i] = m->place->oldest[i];
    s->mark.streams = m->count;
    s->mark.journal = m->place->journal_end;
}

qn_status qn_shard_merge_check(const struct qn_shard *s, struct qn_err *err)
{
    const uint32_t streams = s->merge != NULL ? s->merge->count : 0;

    if (s->expected.streams != streams)
        return qn_err_set(err, QN_CORRUPT,
                          "the positions of group '%s' in partition %u were written by a pipeline "
                          "with %u streams, and this one has %u: use another group",
                          s->def->group, s->partition,
                          s->expected.streams > 0 ? s->expected.streams : 1,
                          streams > 0 ? streams : 1);
    if (s->expected.topics == s->mark.topics)
        return QN_OK;
    return qn_err_set(err, QN_CORRUPT,
                      "the positions of group '%s' in partition %u were written by a pipeline with "
                      "other streams, or the same in another order: the journal knows them by "
                      "their place in the spec; use another group",
                      s->def->group, s->partition);
}

static qn_status check_topics(const struct qn_shard *s, const int64_t *next, struct qn_err *err)
{
    const struct qn_shard_merge *m = s->merge;

    for (uint32_t i = 0; i < m->count; i++)
        if (next[i] < m->place->oldest[i])
            return qn_err_set(
                err, QN_NOT_FOUND,
                "partition %u of '%s' begins at record %lld, and its state needs those from %lld "
                "on: no snapshot in '%s' fits, and the topic no longer holds them (retention must "
                "be longer than a snapshot is old)",
                s->partition, s->plan->kafka.stream_topics[i], (long long)m->place->oldest[i],
                (long long)next[i], s->plan->kafka.snapshots);
    return QN_OK;
}

static qn_status check_journal(const struct qn_shard *s, int64_t journal, struct qn_err *err)
{
    const struct qn_shard_merge *m = s->merge;

    if (journal > m->place->journal_end) {
        qn_err_set(err, QN_CORRUPT,
                   "partition %u of the journal '%s' ends at record %lld, and the state knows it "
                   "up to %lld: the topic is not the one it was; use another group",
                   s->partition, s->plan->kafka.journal_topic, (long long)m->place->journal_end,
                   (long long)journal);
        if (err != NULL)
            err->retriable = true; /* it may be told of a commit a moment later than the group */
        return QN_CORRUPT;
    }
    if (journal < m->place->journal_oldest && s->next < s->live_from)
        return qn_err_set(err, QN_NOT_FOUND,
                          "partition %u of the journal '%s' begins at record %lld, and the state "
                          "needs those from %lld on: no snapshot in '%s' fits (the journal must be "
                          "kept as long as the topics)",
                          s->partition, s->plan->kafka.journal_topic,
                          (long long)m->place->journal_oldest, (long long)journal,
                          s->plan->kafka.snapshots);
    return QN_OK;
}

qn_status qn_shard_merge_stand(struct qn_shard *s, const int64_t *next, int64_t journal,
                               struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;

    QN_TRY(check_topics(s, next, err));
    QN_TRY(check_journal(s, journal, err));
    if (journal < m->place->journal_oldest)
        journal = m->place->journal_oldest;
    stand(s, next, journal);
    for (uint32_t i = 0; i < m->count; i++)
        m->lanes[i].committed = m->place->committed[i];
    m->is_following = s->next < s->live_from || s->plan->kafka.is_at_least_once;
    return QN_OK;
}

/* ---- messages --------------------------------------------------------------------------------*/

static bool make_room(struct qn_shard_lane *l)
{
    const uint32_t cap = l->cap > 0 ? 2 * l->cap : HELD_FIRST;
    rd_kafka_message_t **more;

    if (l->count < l->cap)
        return true;
    if (l->head > l->cap / 2) {
        memmove(l->held, l->held + l->head, (l->count - l->head) * sizeof(*l->held));
        l->count -= l->head;
        l->head = 0;
        return true;
    }
    more = qn_mem_realloc(l->held, cap * sizeof(*more));
    if (more == NULL)
        return false;
    l->held = more;
    l->cap = cap;
    return true;
}

qn_status qn_shard_merge_push(struct qn_shard *s, uint32_t lane, rd_kafka_message_t *m,
                              struct qn_err *err)
{
    struct qn_shard_merge *x = s->merge;
    struct qn_shard_lane *l = &x->lanes[lane];

    if (m->offset < l->pushed || (lane == x->count && !x->is_following)) {
        rd_kafka_message_destroy(m);
        return QN_OK;
    }
    if (!make_room(l)) {
        rd_kafka_message_destroy(m);
        return qn_err_set(err, QN_NOMEM, "out of memory for messages that wait");
    }
    if (lane < x->count)
        x->heads[lane].is_passed = false;
    l->held[l->count++] = m;
    l->held_bytes += m->len;
    l->pushed = m->offset + 1;
    return QN_OK;
}

void qn_shard_merge_seen(struct qn_shard *s, uint32_t stream, int64_t end)
{
    s->merge->heads[stream].end = end;
}

static int64_t sum(const struct qn_shard_merge *m, bool is_stepped)
{
    int64_t all = 0;

    for (uint32_t i = 0; i < m->count; i++)
        all += is_stepped ? m->lanes[i].next : m->lanes[i].pulled;
    return all;
}

/* Into the pending ones, which have their places. */
static qn_status place_head(struct qn_shard *s, uint32_t stream, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    struct qn_shard_lane *l = &m->lanes[stream];
    rd_kafka_message_t *msg = take_head(l);

    l->pulled = msg->offset + 1;
    QN_TRY(qn_shard_put(s, msg, err));
    if (s->cap > m->cap) {
        int64_t *seq = qn_mem_realloc(m->seq, s->cap * sizeof *seq);
        uint8_t *streams = seq != NULL ? qn_mem_realloc(m->stream, s->cap) : NULL;

        m->seq = seq != NULL ? seq : m->seq;
        m->stream = streams != NULL ? streams : m->stream;
        if (seq == NULL || streams == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for messages that wait");
        m->cap = s->cap;
    }
    m->seq[s->count - 1] = sum(m, false) - 1;
    m->stream[s->count - 1] = (uint8_t)stream;
    return QN_OK;
}

/* ---- live: by time ---------------------------------------------------------------------------*/

/* What the log has in that message: its event as JSON, with room behind it. p NULL: it is none. */
static qn_status open_head(struct qn_shard *s, uint32_t stream, const rd_kafka_message_t *msg,
                           struct qn_str *event, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    const struct qn_schema *sc = &s->plan->schemas[stream];
    bool no_memory = false;

    *event = (struct qn_str){NULL, 0};
    if (msg->payload == NULL || msg->len > QN_EVENT_BYTES_MAX)
        return QN_OK;
    qn_buf_clear(&m->event);
    qn_buf_clear(&m->headers);
    QN_TRY(qn_shard_event_peek(s, msg, stream, &m->event, &m->headers, event, err));
    if (event->p == NULL || sc->envelope == QN_ENVELOPE_NONE)
        return QN_OK;
    if (qn_envelope_open(m->opener, sc, *event,
                         (struct qn_str){m->headers.data, (uint32_t)m->headers.len}, event,
                         &no_memory) != QN_REASON_NONE)
        event->p = NULL;
    return no_memory ? qn_err_set(err, QN_NOMEM, "out of memory for an event") : QN_OK;
}

/* Its time, where it has one; else that of the one before it. */
static qn_status look_at_head(struct qn_shard *s, uint32_t stream, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    struct qn_shard_lane *l = &m->lanes[stream];
    struct qn_merge_lane *h = &m->heads[stream];
    struct qn_str event;
    int64_t us;

    h->pushed = l->pushed;
    if (h->has_head || l->head == l->count)
        return QN_OK;
    QN_TRY(open_head(s, stream, l->held[l->head], &event, err));
    if (s->is_waiting)
        return QN_OK;
    if (event.p != NULL && qn_decode_json_time(&s->plan->schemas[stream], event, &us))
        l->last_us = us;
    h->head_us = l->last_us;
    h->has_head = true;
    return QN_OK;
}

/* Markers at the end of a partition are no records, and are passed. */
static void pass_markers(struct qn_shard_merge *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->lanes[i].head == m->lanes[i].count && m->lanes[i].pushed > m->lanes[i].pulled)
            m->lanes[i].pulled = m->lanes[i].pushed;
}

static qn_status pull_live(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    const int64_t now = s->opt.clock->mono_ns(s->opt.clock->st);
    size_t bytes = 0;

    while (s->count < PULL_ROWS && bytes < PULL_BYTES) {
        int32_t next;

        for (uint32_t i = 0; i < m->count && !s->is_waiting; i++)
            QN_TRY(look_at_head(s, i, err));
        if (s->is_waiting)
            break;
        next = qn_merge_choose(m->heads, m->count, now, &m->waits_since_ns);
        m->is_stalled = next == QN_MERGE_WAITS;
        if (next < 0)
            break;
        bytes += m->lanes[next].held[m->lanes[next].head]->len;
        m->heads[next].has_head = false;
        QN_TRY(place_head(s, (uint32_t)next, err));
    }
    pass_markers(m);
    return QN_OK;
}

/* ---- following: as it was --------------------------------------------------------------------*/

/* The next record of the journal that goes on from here; *found false: it is not here yet. */
static qn_status next_record(struct qn_shard *s, bool *found, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    struct qn_shard_lane *j = &m->lanes[m->count];
    const int64_t at = sum(m, false);

    for (*found = false; !*found && j->head < j->count;) {
        rd_kafka_message_t *msg = take_head(j);
        struct qn_journal_record r;
        int64_t from = 0;
        bool is_same = true;

        j->pulled = msg->offset + 1;
        if (msg->key_len != strlen(s->def->group) ||
            memcmp(msg->key, s->def->group, msg->key_len) != 0) { /* of another group */
            rd_kafka_message_destroy(msg);
            continue;
        }
        if (!qn_journal_read((struct qn_str){msg->payload, (uint32_t)msg->len}, &r) ||
            r.streams != m->count) {
            rd_kafka_message_destroy(msg);
            return qn_err_set(err, QN_CORRUPT,
                              "record %lld in partition %u of the journal '%s' is none that Quern "
                              "wrote for these streams",
                              (long long)j->pulled - 1, s->partition, s->plan->kafka.journal_topic);
        }
        for (uint32_t i = 0; i < m->count; i++) {
            from += r.from[i];
            is_same &= r.from[i] == m->lanes[i].pulled;
        }
        if (from > at) {
            rd_kafka_message_destroy(msg);
            return qn_err_set(err, QN_NOT_FOUND,
                              "partition %u of the journal '%s' no longer says in which order the "
                              "streams were read: record %lld goes on at %lld, and %lld is next",
                              s->partition, s->plan->kafka.journal_topic, (long long)j->pulled - 1,
                              (long long)from, (long long)at);
        }
        if (!is_same) { /* from before, or of one that was overtaken */
            rd_kafka_message_destroy(msg);
            continue;
        }
        m->record_m = msg;
        m->runs = r.runs;
        *found = true;
    }
    return QN_OK;
}

/* What the run says, as far as it is here. True: all of it. */
static qn_status follow_run(struct qn_shard *s, bool *is_done, size_t *bytes, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    struct qn_shard_lane *l = &m->lanes[m->run.stream];
    const int64_t from = l->pulled, to = from + m->run.moved;

    while (l->head < l->count && l->held[l->head]->offset < to && s->count < PULL_ROWS &&
           *bytes < PULL_BYTES) {
        *bytes += l->held[l->head]->len;
        QN_TRY(place_head(s, m->run.stream, err));
    }
    *is_done =
        l->pulled == to || (l->head < l->count ? l->held[l->head]->offset >= to : l->pushed >= to);
    if (*is_done)
        l->pulled = to;
    m->run.moved = to - l->pulled;
    return QN_OK;
}

static bool has_followed(const struct qn_shard *s)
{
    const struct qn_shard_merge *m = s->merge;
    const struct qn_shard_lane *j = &m->lanes[m->count];

    if (sum(m, false) < s->live_from)
        return false;
    return !s->plan->kafka.is_at_least_once || (j->head == j->count && m->journal_end >= j->pushed);
}

/* Everything was decided up to here: from now on it is decided anew. */
static void end_following(struct qn_shard *s)
{
    struct qn_shard_merge *m = s->merge;
    struct qn_shard_lane *j = &m->lanes[m->count];

    drop_held(j);
    j->next = j->pulled > m->journal_end ? j->pulled : m->journal_end;
    if (!s->plan->kafka.is_at_least_once) /* that end may be of another's, later */
        j->next = j->pulled;
    m->is_following = m->is_stalled = false;
}

/* An open transaction of somebody who is gone hides what lies behind it, for a while. */
static qn_status check_stuck(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    const struct qn_shard_lane *j = &m->lanes[m->count];
    const int64_t now = s->opt.clock->mono_ns(s->opt.clock->st);

    if (!m->is_following || s->count > 0 || m->record_m != NULL || j->head < j->count ||
        sum(m, false) >= s->live_from || m->journal_end < j->pushed) {
        m->stuck_since_ns = 0;
        return QN_OK;
    }
    if (m->stuck_since_ns == 0)
        m->stuck_since_ns = now;
    if (now - m->stuck_since_ns < STUCK_NS)
        return QN_OK;
    return qn_err_set(err, QN_NOT_FOUND,
                      "partition %u of the journal '%s' ends before what is committed: it does not "
                      "say in which order the streams were read; use another group",
                      s->partition, s->plan->kafka.journal_topic);
}

static qn_status pull_followed(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    size_t bytes = 0;
    bool goes_on = true;

    while (goes_on && s->count < PULL_ROWS && bytes < PULL_BYTES) {
        if (m->run.moved > 0) {
            QN_TRY(follow_run(s, &goes_on, &bytes, err));
        } else if (!qn_journal_next(&m->runs, &m->run)) {
            drop_record(m);
            if (has_followed(s))
                break;
            QN_TRY(next_record(s, &goes_on, err));
        }
    }
    if (s->count == 0 && m->record_m == NULL && has_followed(s)) /* else what is pending first */
        end_following(s);
    m->is_stalled = m->is_following;
    return check_stuck(s, err);
}

/* ---- both ------------------------------------------------------------------------------------*/

static qn_status add_news(struct qn_shard_merge *m, uint32_t stream, int64_t moved,
                          struct qn_err *err)
{
    if (m->news_count > 0 && m->news[m->news_count - 1].stream == stream) {
        m->news[m->news_count - 1].moved += moved;
        return QN_OK;
    }
    if (m->news_count == m->news_cap) {
        const uint32_t cap = m->news_cap > 0 ? 2 * m->news_cap : NEWS_FIRST;
        struct qn_journal_run *more = qn_mem_realloc(m->news, cap * sizeof *more);

        if (more == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for the journal");
        m->news = more;
        m->news_cap = cap;
    }
    m->news[m->news_count++] = (struct qn_journal_run){stream, moved};
    return QN_OK;
}

/* A stream was stepped up to there. */
static qn_status move_on(struct qn_shard *s, uint32_t stream, int64_t next, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    const int64_t moved = next - m->lanes[stream].next;

    m->lanes[stream].next = next;
    if (m->is_following)
        m->from[stream] = next;
    else
        QN_TRY(add_news(m, stream, moved, err));
    return QN_OK;
}

qn_status qn_shard_merge_stepped(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;

    for (uint32_t i = s->done; i < s->taken; i++)
        QN_TRY(move_on(s, m->stream[i], s->pending[i]->offset + 1, err));
    s->next = m->seq[s->taken - 1] + 1;
    return QN_OK;
}

/* Nothing is pending: what was passed without being a record is behind us, too. */
static qn_status settle(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;

    for (uint32_t i = 0; i < m->count; i++)
        if (m->lanes[i].pulled > m->lanes[i].next)
            QN_TRY(move_on(s, i, m->lanes[i].pulled, err));
    return qn_shard_reach(s, sum(m, true), err);
}

qn_status qn_shard_merge_pull(struct qn_shard *s, struct qn_err *err)
{
    struct qn_shard_merge *m = s->merge;
    const bool was_following = m->is_following;

    m->is_stalled = false;
    if (s->count > 0 || s->is_waiting)
        return QN_OK;
    if (s->is_new && s->plan->kafka.is_at_least_once) { /* where it began is said first */
        m->is_stalled = true;
        return QN_OK;
    }
    QN_TRY(was_following ? pull_followed(s, err) : pull_live(s, err));
    if (s->count > 0)
        return QN_OK;
    if (was_following && !m->is_following) /* in the journal already */
        for (uint32_t i = 0; i < m->count; i++)
            m->from[i] = m->lanes[i].next = m->lanes[i].pulled;
    return settle(s, err);
}

void qn_shard_merge_reach(struct qn_shard *s, uint32_t lane, int64_t offset)
{
    struct qn_shard_merge *m = s->merge;
    struct qn_shard_lane *l = &m->lanes[lane];

    if (lane == m->count)
        m->journal_end = offset;
    else
        m->heads[lane].end = offset;
    if (offset > l->pushed)
        l->pushed = offset;
}

void qn_shard_merge_drop(struct qn_shard *s)
{
    struct qn_shard_merge *m = s->merge;

    drop_record(m);
    for (uint32_t i = 0; i <= m->count; i++) {
        struct qn_shard_lane *l = &m->lanes[i];

        drop_held(l);
        l->pushed = l->pulled = l->next;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        m->heads[i].has_head = m->heads[i].is_passed = false;
        m->heads[i].end = -1;
    }
    m->journal_end = -1;
    m->waits_since_ns = 0;
    m->is_stalled = false;
}

/* ---- the journal -----------------------------------------------------------------------------*/

uint32_t qn_shard_merge_tell(struct qn_shard *s, uint32_t topic, struct qn_buf *out)
{
    struct qn_shard_merge *m = s->merge;
    int64_t at[QN_STREAMS_MAX];
    struct qn_buf *record = &m->event;
    uint32_t count = 0;

    memcpy(at, m->from, m->count * sizeof *at);
    for (uint32_t i = 0; i < m->news_count; count++) {
        qn_buf_clear(record);
        qn_journal_begin(record, at, m->count);
        for (; i < m->news_count && record->len < RECORD_BYTES; i++) {
            qn_journal_add(record, m->news[i]);
            at[m->news[i].stream] += m->news[i].moved;
        }
        out->failed |= record->failed;
        qn_kafka_record_add(out, topic, s->partition, qn_str_of(s->def->group),
                            (struct qn_str){NULL, 0},
                            (struct qn_str){record->data, (uint32_t)record->len});
    }
    return count;
}

void qn_shard_merge_told(struct qn_shard *s, int64_t journal_next)
{
    struct qn_shard_merge *m = s->merge;

    for (uint32_t i = 0; i < m->news_count; i++)
        m->from[m->news[i].stream] += m->news[i].moved;
    m->news_count = 0;
    if (journal_next > m->lanes[m->count].next)
        m->lanes[m->count].next = journal_next;
}

void qn_shard_merge_committed(struct qn_shard *s)
{
    for (uint32_t i = 0; i < s->merge->count; i++)
        s->merge->lanes[i].committed = s->merge->lanes[i].next;
}

#endif
