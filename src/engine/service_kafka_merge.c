/* SPDX-License-Identifier: Apache-2.0
 * service_kafka_merge.c - several streams that are one shard: their topics and the journal, what is
 * fetched of each, and how far the shard goes on with it.
 *
 *   topic of stream 0 ─┐ take: by topic                       step: pull what has an order, step it
 *   topic of stream 1 ─┼───────────────► lanes of the shard ─────────────────► qn_shard_step
 *   journal ───────────┘                 (shard_merge.h)
 *
 * The loop is the one of service_kafka.c, for one stream and for several. Invariant: a lane is
 * paused while it holds too much, never while the others wait for it. Thread: the engine's. Memory:
 * a lane holds LANE_ROWS and LANE_BYTES, and what was fetched before it was paused. */
#include "engine/service_kafka_int.h"

#ifdef QN_WITH_KAFKA

enum { LANE_ROWS = 32768 }; /* of a stream that waits for another one */
#define LANE_BYTES ((size_t)32 << 20)

/* ---- opening ---------------------------------------------------------------------------------*/

static qn_status check_partitions(const struct qn_service_kafka *k, const char *topic,
                                  uint32_t partitions, struct qn_err *err)
{
    if (partitions == k->homes)
        return QN_OK;
    return qn_err_set(err, QN_INVALID,
                      "'%s' has %u partitions, and '%s' has %u: the streams of a pipeline and its "
                      "journal need as many each, since partition 3 of all of them is one shard. "
                      "Make a topic with as many, and copy the records of one into it by their key",
                      topic, partitions, k->input, k->homes);
}

qn_status qn_kafka_merge_find(struct qn_service_kafka *k, struct qn_err *err)
{
    const struct qn_plan *p = k->sv->plan;
    uint32_t partitions;

    k->inputs = p->kafka.stream_topics;
    k->input_count = p->schema_count;
    for (uint32_t i = 0; i < p->schema_count; i++) {
        QN_TRY(
            qn_kafka_find_topic(k, k->inputs[i], "stream", p->schemas[i].name, &partitions, err));
        QN_TRY(check_partitions(k, k->inputs[i], partitions, err));
    }
    k->journal = p->kafka.journal_topic;
    QN_TRY(qn_kafka_find_made(k, k->journal, "journal", qn_str_of("journal"), &partitions, err));
    return check_partitions(k, k->journal, partitions, err);
}

/* ---- a burst ---------------------------------------------------------------------------------*/

/* Where partitions of its streams end, as the brokers have said with what was fetched last. */
static void look_at_ends(struct qn_service_kafka *k, struct qn_shard *s)
{
    const struct qn_shard_merge *m = s->merge;

    for (uint32_t n = 0; n < m->count && !m->is_following; n++) {
        const struct qn_shard_lane *l = &m->lanes[n];
        int64_t oldest = 0, end = -1;

        if (l->head < l->count || m->heads[n].end == l->pushed)
            continue;
        (void)rd_kafka_get_watermark_offsets(k->consumer.rk, k->inputs[n], (int32_t)s->partition,
                                             &oldest, &end);
        qn_shard_merge_seen(s, n, end);
    }
}

/* A stream that is far ahead of the others is not fetched further; the journal only while it is
 * followed. */
static void hold_lanes(struct qn_service_kafka *k, struct qn_shard *s)
{
    struct qn_shard_merge *m = s->merge;

    for (uint32_t n = 0; n <= m->count; n++) {
        struct qn_shard_lane *l = &m->lanes[n];
        const uint32_t share = l->is_paused ? 2 : 1;
        const bool is_full = l->count - l->head > LANE_ROWS / share ||
                             l->held_bytes > LANE_BYTES / share ||
                             (n == m->count && !m->is_following);

        if (is_full != l->is_paused)
            qn_kafka_hold(k, n < m->count ? k->inputs[n] : k->journal, s->partition, is_full);
        l->is_paused = is_full;
    }
}

qn_status qn_kafka_merge_step(struct qn_service_kafka *k, struct qn_shard *s, struct qn_err *err)
{
    bool was_following;
    int64_t before;

    qn_shard_try_again(s);
    do {
        before = s->next;
        was_following = s->merge->is_following;
        look_at_ends(k, s);
        QN_TRY(qn_shard_merge_pull(s, err));
        while (qn_shard_is_busy(s))
            QN_TRY(qn_shard_step(s, err));
    } while ((s->next > before && s->records.len < QN_KAFKA_BURST_BYTES) ||
             was_following != s->merge->is_following);
    hold_lanes(k, s);
    k->held += qn_shard_is_waiting(s);
    /* of a full burst more may be here */
    k->is_stalled |= s->merge->is_stalled || s->records.len >= QN_KAFKA_BURST_BYTES;
    return QN_OK;
}

/* The lane of a message: a stream, or behind them the journal. They mostly come in runs. */
static uint32_t lane_of(struct qn_service_kafka *k, const rd_kafka_message_t *m)
{
    const char *topic;

    if (m->rkt == k->lane_topic)
        return k->lane;
    topic = rd_kafka_topic_name(m->rkt);
    k->lane_topic = m->rkt;
    for (k->lane = 0; k->lane < k->input_count; k->lane++)
        if (strcmp(topic, k->inputs[k->lane]) == 0)
            break;
    return k->lane;
}

qn_status qn_kafka_merge_take(struct qn_service_kafka *k, struct qn_shard *s, rd_kafka_message_t *m,
                              struct qn_err *err)
{
    const uint32_t lane = lane_of(k, m);

    k->waiting++;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return qn_shard_merge_push(s, lane, m, err);
    qn_shard_merge_reach(s, lane, m->offset);
    rd_kafka_message_destroy(m);
    return QN_OK;
}

#endif
