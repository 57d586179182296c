/* SPDX-License-Identifier: Apache-2.0
 * service_kafka_group.c - partitions that come and go: what a process does when its group shares
 * them out anew.
 *
 *   revoked: step what waits, commit, park the state   (lost already: throw it away)
 *   assigned: position of the group ─► parked state that stands there ─► read on
 *                                   └► else service_kafka_restore.c   ─► read on when it is there
 *
 * Callbacks run inside rd_kafka_consumer_poll, so on the engine's thread and between two steps;
 * they cannot fail, so a failure is left in k->rc for the loop. Invariant: a shard goes on only
 * from a state that stands exactly at the group's position, or behind it and replaying up to it.
 * Thread: the engine's. */
#include "engine/service_kafka_int.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "monitor/report.h"

#include <string.h>
#include <time.h>

enum { ASK_FIRST_MS = 1000, ASK_MS = 5000, AGAIN_MS = 200, WRITERS_MAX = 16 };
#define ASK_NS ((int64_t)60000000000)

static void failed(struct qn_service_kafka *k, const struct qn_err *err)
{
    if (k->rc != QN_OK)
        return;
    k->rc = err->code;
    k->failure = *err;
}

/* Nobody waits for the answer any more. A commit in doubt is decided while the process ends, too;
 * an assignment is of no use then. */
static bool is_over(const struct qn_service_kafka *k)
{
    return atomic_load(&k->sv->give_up) || (k->is_assigning && atomic_load(&k->sv->stop));
}

/* How long to wait for one answer, of which nothing can be told meanwhile: longer where the brokers
 * are slow. */
static int wait_ms(const struct qn_service_kafka *k, int64_t begun)
{
    const int64_t ms = ASK_FIRST_MS + (qn_kafka_now_ns(k) - begun) / 1000000;

    return ms < ASK_MS ? (int)ms : ASK_MS;
}

/* Leaders and coordinators move: for a minute, all but a lack of rights is asked again. */
static bool may_ask_again(struct qn_service_kafka *k, rd_kafka_resp_err_t code, int64_t begun)
{
    const struct timespec pause = {0, AGAIN_MS * 1000000};

    atomic_fetch_add(&k->beats, 1);
    if (code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || is_over(k) ||
        qn_kafka_now_ns(k) - begun >= ASK_NS)
        return false;
    nanosleep(&pause, NULL);
    return true;
}

/* librdkafka takes from one setting what is read and which positions are told. */
qn_status qn_kafka_open_asker(struct qn_service_kafka *k, struct qn_kafka_client *asker,
                              struct qn_err *err)
{
    const char *own[] = {"group.id", k->stage->group,   "enable.auto.commit",
                         "false",    "isolation.level", "read_uncommitted",
                         NULL};
    const struct qn_kafka_client_options opt = {
        .target = &k->sv->plan->kafka.target, .type = RD_KAFKA_CONSUMER, .own = own};

    return qn_kafka_open(asker, &opt, err);
}

static bool is_among(const uint64_t *all, uint32_t count, uint64_t one)
{
    for (uint32_t i = 0; i < count; i++)
        if (all[i] == one)
            return true;
    return false;
}

/* Who wrote those positions last, as far as they are known: each once. */
static uint32_t find_writers(struct qn_service_kafka *k, const rd_kafka_topic_partition_list_t *l,
                             uint64_t writers[WRITERS_MAX])
{
    struct qn_kafka_client asker = {0};
    struct qn_err err = {0};
    rd_kafka_topic_partition_list_t *now;
    uint32_t count = 0;

    if (qn_kafka_open_asker(k, &asker, &err) != QN_OK)
        return 0;
    now = rd_kafka_topic_partition_list_copy(l);
    if (rd_kafka_committed(asker.rk, now, ASK_FIRST_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
        for (int p = 0; p < now->cnt && count < WRITERS_MAX; p++) {
            struct qn_shard_mark m;

            if (qn_shard_mark_read(qn_kafka_mark_of(&now->elems[p]), &m) && m.writer != 0 &&
                m.writer != k->writer && !is_among(writers, count, m.writer))
                writers[count++] = m.writer;
        }
    rd_kafka_topic_partition_list_destroy(now);
    qn_kafka_close(&asker);
    return count;
}

/* Partitions are ours whose positions a transaction still holds: of a process that was killed, most
 * likely, which nobody would end before the brokers do, some 15 to 25 s later. */
static void end_open_transactions(struct qn_service_kafka *k,
                                  const rd_kafka_topic_partition_list_t *l)
{
    uint64_t writers[WRITERS_MAX];
    const uint32_t count = find_writers(k, l, writers);

    for (uint32_t i = 0; i < count && !is_over(k); i++) {
        struct qn_err why = {0};
        char id[sizeof k->id];

        qn_kafka_transaction_id(k->stage->group, writers[i], id, sizeof id);
        atomic_fetch_add(&k->beats, 1);
        if (qn_kafka_end_transactions(&k->sv->plan->kafka.target, id, &why) == QN_OK)
            qn_report_say(k->sv->opt.report, QN_LEVEL_INFO, "kafka",
                          "ended what a process that is gone had left open (%s)", id);
    }
}

qn_status qn_kafka_positions(struct qn_service_kafka *k, rd_kafka_topic_partition_list_t *l,
                             struct qn_err *err)
{
    const int64_t begun = qn_kafka_now_ns(k);
    bool may_end = k->is_assigning && k->writer != 0;
    rd_kafka_resp_err_t code;

    do {
        code = l->cnt == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR
                           : rd_kafka_committed(k->consumer.rk, l, wait_ms(k, begun));
        for (int p = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && p < l->cnt; p++)
            code = l->elems[p].err;
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return QN_OK;
        if (may_end)
            end_open_transactions(k, l);
        may_end = false;
    } while (may_ask_again(k, code, begun));
    if (is_over(k))
        return qn_err_set(err, QN_INTERRUPTED, "told to stop");
    return qn_kafka_failed(err, &k->consumer, code, "the positions of the group cannot be read");
}

/* ---- assigned --------------------------------------------------------------------------------*/

static rd_kafka_resp_err_t ask_end(rd_kafka_t *rk, const char *topic, uint32_t partition,
                                   int wait_ms, int64_t which, int64_t *offset)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t code;

    rd_kafka_topic_partition_list_add(l, topic, (int32_t)partition)->offset = which;
    code = rd_kafka_offsets_for_times(rk, l, wait_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = l->elems[0].err;
    *offset = l->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(l);
    return code;
}

rd_kafka_resp_err_t qn_kafka_ends(rd_kafka_t *rk, const char *topic, uint32_t partition,
                                  int wait_ms, int64_t *oldest, int64_t *newest)
{
    const rd_kafka_resp_err_t code =
        ask_end(rk, topic, partition, wait_ms, RD_KAFKA_OFFSET_BEGINNING, oldest);

    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? ask_end(rk, topic, partition, wait_ms, RD_KAFKA_OFFSET_END, newest)
               : code;
}

static qn_status find_oldest(struct qn_service_kafka *k, const char *topic, uint32_t i,
                             int64_t *oldest, int64_t *newest, struct qn_err *err)
{
    const int64_t begun = qn_kafka_now_ns(k);
    rd_kafka_resp_err_t code;

    do {
        code = qn_kafka_ends(k->consumer.rk, topic, i, wait_ms(k, begun), oldest, newest);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return QN_OK;
    } while (may_ask_again(k, code, begun));
    if (is_over(k))
        return qn_err_set(err, QN_INTERRUPTED, "told to stop");
    return qn_kafka_failed(err, &k->consumer, code, "cannot see where the topic begins");
}

static qn_status not_the_same(struct qn_service_kafka *k, const char *topic, uint32_t i,
                              int64_t offset, int64_t newest, struct qn_err *err)
{
    return qn_err_set(err, QN_CORRUPT,
                      "the group '%s' stands at record %lld of partition %u of '%s', which ends "
                      "at %lld: the topic is not the one it was; use another group",
                      k->stage->group, (long long)offset, i, topic, (long long)newest);
}

/* Of several streams: their positions were written together, with one text. */
static qn_status ask_for_streams(struct qn_service_kafka *k,
                                 const rd_kafka_topic_partition_list_t *l, uint32_t i,
                                 struct qn_err *err)
{
    struct qn_shard_place place = {0};
    rd_kafka_topic_partition_t at = {.partition = (int32_t)i, .offset = 0};
    struct qn_str mark = {NULL, 0};
    int64_t oldest = 0, newest;
    uint32_t known = 0;

    for (uint32_t s = 0; s < k->input_count; s++) {
        const rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_find(
            (rd_kafka_topic_partition_list_t *)(uintptr_t)l, k->inputs[s], (int32_t)i);

        QN_ASSERT(p != NULL);
        QN_TRY(find_oldest(k, k->inputs[s], i, &place.oldest[s], &newest, err));
        if (p->offset > newest)
            return not_the_same(k, k->inputs[s], i, p->offset, newest, err);
        k->ends[i * k->input_count + s] = newest;
        if (s > 0 && (known > 0) != (p->offset >= 0))
            return qn_err_set(
                err, QN_CORRUPT,
                "the group '%s' has a position in partition %u of '%s' and none in "
                "'%s': the streams are not those it was begun with; use another group",
                k->stage->group, i, k->inputs[p->offset >= 0 ? s : 0],
                k->inputs[p->offset >= 0 ? 0 : s]);
        if (known > 0 && !qn_str_eq(mark, qn_kafka_mark_of(p)))
            return qn_err_set(err, QN_CORRUPT,
                              "the positions of group '%s' in partition %u of '%s' and '%s' were "
                              "not written together: use another group, or delete them",
                              k->stage->group, i, k->inputs[0], k->inputs[s]);
        mark = qn_kafka_mark_of(p);
        known += p->offset >= 0;
        place.committed[s] = p->offset;
        oldest += place.oldest[s];
        at.offset += p->offset;
        at.metadata = p->metadata;
        at.metadata_size = p->metadata_size;
    }
    QN_TRY(find_oldest(k, k->journal, i, &place.journal_oldest, &place.journal_end, err));
    if (known == 0)
        at.offset = RD_KAFKA_OFFSET_INVALID;
    qn_kafka_restore_ask(k, &at, oldest, &place);
    return QN_OK;
}

static qn_status ask_for_state(struct qn_service_kafka *k, const rd_kafka_topic_partition_t *at,
                               struct qn_err *err)
{
    const uint32_t i = (uint32_t)at->partition;
    int64_t oldest = 0, newest = 0;

    QN_TRY(find_oldest(k, k->input, i, &oldest, &newest, err));
    if (at->offset > newest)
        return not_the_same(k, k->input, i, at->offset, newest, err);
    k->ends[i] = newest;
    qn_kafka_restore_ask(k, at, oldest, NULL);
    return QN_OK;
}

/* Some clients keep the NUL of their text, should somebody set positions with one. */
struct qn_str qn_kafka_mark_of(const rd_kafka_topic_partition_t *at)
{
    return (struct qn_str){at->metadata, at->metadata == NULL
                                             ? 0
                                             : (uint32_t)strnlen(at->metadata, at->metadata_size)};
}

/* A copy that was kept here goes on from where it stands, if it follows that position. */
static qn_status take_copy(struct qn_service_kafka *k, const rd_kafka_topic_partition_t *at,
                           struct qn_err *err)
{
    struct qn_shard *s = qn_kafka_standby_take(k, (uint32_t)at->partition);
    bool fits = false;
    qn_status rc;

    if (s == NULL)
        return QN_OK;
    qn_shard_drop_pending(s);
    rc = at->offset >= 0 ? qn_shard_follow(s, at->offset, qn_kafka_mark_of(at), &fits, err) : QN_OK;
    if (rc == QN_OK && fits)
        rc = qn_shard_unpark(s, k->generation, err);
    if (rc == QN_OK && fits) {
        k->shards[at->partition] = s;
        qn_report_say(k->sv->opt.report, QN_LEVEL_INFO, "standby",
                      "partition %d: the copy goes on, %lld records are replayed", at->partition,
                      (long long)(s->live_from - s->next));
        return QN_OK;
    }
    qn_shard_free(s);
    return rc;
}

/* Of several streams: where all of them stand, and the journal where it says more. */
static qn_status stand_there(struct qn_service_kafka *k, rd_kafka_topic_partition_list_t *l,
                             const struct qn_shard *s, bool *goes_on, struct qn_err *err)
{
    const struct qn_shard_merge *m = s->merge;
    int64_t oldest, end;

    *goes_on = !m->is_following && m->news_count == 0;
    for (uint32_t i = 0; i < k->input_count; i++) {
        const rd_kafka_topic_partition_t *p =
            rd_kafka_topic_partition_list_find(l, k->inputs[i], (int32_t)s->partition);

        *goes_on &= p != NULL && p->offset == m->lanes[i].committed;
    }
    if (!*goes_on || !k->sv->plan->kafka.is_at_least_once)
        return QN_OK;
    QN_TRY(find_oldest(k, k->journal, s->partition, &oldest, &end, err));
    *goes_on = end == m->lanes[m->count].next;
    return QN_OK;
}

/* State that was parked goes on where nobody has written since. */
static qn_status may_go_on(struct qn_service_kafka *k, rd_kafka_topic_partition_list_t *l,
                           const rd_kafka_topic_partition_t *at, bool *goes_on, struct qn_err *err)
{
    const struct qn_shard *s = k->shards[at->partition];

    *goes_on = s != NULL && !s->is_replaying && s->next == s->committed;
    if (*goes_on && s->merge != NULL)
        return stand_there(k, l, s, goes_on, err);
    *goes_on = *goes_on &&
               (at->offset == s->committed || (at->offset < 0 && s->committed == s->mark.first));
    return QN_OK;
}

/* Where each partition of a shard is read on; a lane that was held is read again. */
static void add_reads(struct qn_service_kafka *k, uint32_t i, rd_kafka_topic_partition_list_t *l)
{
    struct qn_shard *s = k->shards[i];
    struct qn_shard_merge *m = s->merge;

    if (m == NULL) {
        rd_kafka_topic_partition_list_add(l, k->input, (int32_t)i)->offset = s->pushed;
        return;
    }
    for (uint32_t n = 0; n <= m->count; n++) {
        const char *topic = n < m->count ? k->inputs[n] : k->journal;

        m->lanes[n].is_paused = false;
        if (n < m->count || m->is_following)
            rd_kafka_topic_partition_list_add(l, topic, (int32_t)i)->offset = m->lanes[n].pushed;
    }
}

qn_status qn_kafka_read_on(struct qn_service_kafka *k, struct qn_err *err)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new((int)k->shard_count);
    rd_kafka_resp_err_t code;

    for (uint32_t i = 0; i < k->shard_count; i++)
        if (k->is_ours[i] && k->shards[i] != NULL)
            add_reads(k, i, l);
    k->must_read_on = false;
    code = qn_kafka_assign(k->consumer.rk, l);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && k->journal != NULL)
        (void)rd_kafka_resume_partitions(k->consumer.rk, l);
    rd_kafka_topic_partition_list_destroy(l);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? QN_OK
               : qn_kafka_failed(err, &k->consumer, code, "cannot read the partitions");
}

/* Partition i of every stream is one shard. Others of the group that read other topics, as while
 * two versions of a spec run beside each other, may leave us a part of it. */
static bool has_all(struct qn_service_kafka *k, rd_kafka_topic_partition_list_t *l, int32_t i)
{
    for (uint32_t s = 0; s < k->input_count && k->journal != NULL; s++)
        if (rd_kafka_topic_partition_list_find(l, k->inputs[s], i) == NULL) {
            qn_report_say(k->sv->opt.report, QN_LEVEL_WARN, "kafka",
                          "the group gives us partition %d without that of '%s': it is not read; "
                          "all processes of a group must have the same streams",
                          (int)i, k->inputs[s]);
            return false;
        }
    return true;
}

/* Each shard is met once, though there is a partition of each stream. */
static bool is_first_of(const struct qn_service_kafka *k, const rd_kafka_topic_partition_t *p)
{
    return k->is_ours[p->partition] && strcmp(p->topic, k->inputs[0]) == 0;
}

static qn_status assigned(struct qn_service_kafka *k, rd_kafka_topic_partition_list_t *l,
                          struct qn_err *err)
{
    k->generation = qn_kafka_generation(k->consumer.rk);
    QN_TRY(qn_kafka_positions(k, l, err));
    for (int p = 0; p < l->cnt; p++) {
        k->is_ours[l->elems[p].partition] = has_all(k, l, l->elems[p].partition);
        k->ended_ns[l->elems[p].partition] = 0;
    }
    for (uint32_t i = 0; i < k->shard_count; i++)
        if (!k->is_ours[i]) { /* parked, and somebody else's now */
            qn_kafka_standby_offer(k, k->shards[i]);
            k->shards[i] = NULL;
        }
    qn_kafka_standby_moved(k);
    for (int p = 0; p < l->cnt; p++) {
        const uint32_t i = (uint32_t)l->elems[p].partition;
        bool goes_on;

        if (!is_first_of(k, &l->elems[p]))
            continue;
        atomic_fetch_add(&k->beats, 1);
        QN_TRY(may_go_on(k, l, &l->elems[p], &goes_on, err));
        if (goes_on) {
            QN_TRY(qn_shard_unpark(k->shards[i], k->generation, err));
        } else {
            qn_shard_free(k->shards[i]);
            k->shards[i] = NULL;
            QN_TRY(take_copy(k, &l->elems[p], err));
        }
        if (k->shards[i] == NULL)
            QN_TRY(k->journal != NULL ? ask_for_streams(k, l, i, err)
                                      : ask_for_state(k, &l->elems[p], err));
    }
    return qn_kafka_read_on(k, err);
}

static void on_assigned(struct qn_service_kafka *k, rd_kafka_topic_partition_list_t *l)
{
    struct qn_err err = {0};
    qn_status rc;

    for (int p = 0; p < l->cnt; p++)
        QN_ASSERT((uint32_t)l->elems[p].partition < k->shard_count);
    k->is_assigning = true;
    rc = is_over(k) ? qn_err_set(&err, QN_INTERRUPTED, "told to stop") : assigned(k, l, &err);
    k->is_assigning = false;
    if (rc != QN_OK) {
        failed(k, &err);
        (void)qn_kafka_assign(k->consumer.rk, NULL);
        return;
    }
    if (k->transcoders != NULL) /* what was held when it went away */
        (void)rd_kafka_resume_partitions(k->consumer.rk, l);
    k->is_assigned = true;
    qn_report_say(k->sv->opt.report, QN_LEVEL_INFO, "kafka", "%d of %u partitions of %s are ours",
                  l->cnt / (int)k->input_count, k->shard_count, k->input);
}

/* ---- revoked ---------------------------------------------------------------------------------*/

/* Everything up to here is committed, or thrown away. */
static qn_status revoked(struct qn_service_kafka *k, bool is_lost, struct qn_err *err)
{
    bool is_done = false;

    if (!is_lost && !k->is_committing) {
        QN_TRY(qn_kafka_step_all(k, err));
        k->due_ns = 0; /* positions too */
        QN_TRY(qn_kafka_commit_once(k, &is_done, err));
    }
    qn_kafka_restore_forget(k);
    for (uint32_t i = 0; i < k->shard_count; i++) {
        struct qn_shard *s = k->shards[i];

        k->is_ours[i] = false;
        if (s == NULL)
            continue;
        qn_shard_drop_pending(s);
        if (is_lost || s->is_replaying || s->next != s->committed ||
            (s->merge != NULL && !qn_shard_merge_is_told(s))) {
            qn_shard_free(s);
            k->shards[i] = NULL;
        } else {
            qn_shard_park(s);
        }
    }
    k->waiting = 0;
    return QN_OK;
}

static void on_revoked(struct qn_service_kafka *k)
{
    const bool is_lost = rd_kafka_assignment_lost(k->consumer.rk);
    struct qn_err err = {0};

    if (is_lost)
        qn_report_say(k->sv->opt.report, QN_LEVEL_WARN, "kafka",
                      "the group has given our partitions to others: their state is restored when "
                      "they come back");
    if (revoked(k, is_lost, &err) != QN_OK)
        failed(k, &err);
    (void)qn_kafka_assign(k->consumer.rk, NULL);
}

/* Reads nothing. What was assigned counts as taken once it got a list, be it an empty one: until
 * then librdkafka puts off whatever it is told about subscriptions. */
static void let_go(rd_kafka_t *rk, rd_kafka_resp_err_t why)
{
    rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);

    (void)qn_kafka_assign(rk, why == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? none : NULL);
    rd_kafka_topic_partition_list_destroy(none);
}

void qn_kafka_rebalanced(rd_kafka_t *rk, rd_kafka_resp_err_t why,
                         rd_kafka_topic_partition_list_t *l, void *client)
{
    struct qn_service_kafka *k = ((struct qn_kafka_client *)client)->arg;

    QN_ASSERT(rk == k->consumer.rk);
    if (k->is_writing) {
        k->must_join_anew = true;
        let_go(rk, why);
        return;
    }
    k->is_in_callback = true;
    if (why == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && k->rc == QN_OK && !k->is_leaving)
        on_assigned(k, l);
    else
        on_revoked(k);
    k->is_in_callback = false;
}

/* ---- joining ---------------------------------------------------------------------------------*/

qn_status qn_kafka_subscribe(struct qn_service_kafka *k, struct qn_err *err)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new((int)k->input_count);
    rd_kafka_resp_err_t code;

    for (uint32_t i = 0; i < k->input_count; i++)
        rd_kafka_topic_partition_list_add(l, k->inputs[i], RD_KAFKA_PARTITION_UA);
    code = rd_kafka_subscribe(k->consumer.rk, l);
    rd_kafka_topic_partition_list_destroy(l);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return qn_kafka_failed(err, &k->consumer, code, "cannot join the group");
    return QN_OK;
}

static void forget_shards(struct qn_service_kafka *k)
{
    qn_kafka_restore_forget(k);
    for (uint32_t i = 0; i < k->shard_count; i++) {
        k->is_ours[i] = false;
        qn_shard_free(k->shards[i]);
        k->shards[i] = NULL;
    }
    k->waiting = 0;
    k->part_count = 0;
    k->must_read_on = false;
}

/* The same with another consumer, since this one will never read again. */
static qn_status replace_consumer(struct qn_service_kafka *k, struct qn_err *err)
{
    qn_report_say(k->sv->opt.report, QN_LEVEL_WARN, "kafka",
                  "the group takes another process for the instance '%s': joining anew",
                  k->sv->plan->kafka.instance);
    forget_shards(k); /* their messages are the consumer's */
    k->is_fenced = k->must_join_anew = false;
    qn_kafka_close(&k->consumer);
    QN_TRY(qn_kafka_consume(k, err));
    return qn_kafka_subscribe(k, err);
}

qn_status qn_kafka_join_anew(struct qn_service_kafka *k, struct qn_err *err)
{
    const rd_kafka_resp_err_t code = rd_kafka_fatal_error(k->consumer.rk, NULL, 0);

    if (k->is_in_callback) {
        forget_shards(k);
        k->must_join_anew = true;
        return QN_OK;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && !k->is_fenced)
        QN_TRY(qn_kafka_broken(k, code, err));
    if (k->is_fenced)
        return replace_consumer(k, err);
    k->must_join_anew = false;
    forget_shards(k);
    (void)rd_kafka_unsubscribe(k->consumer.rk);
    return qn_kafka_subscribe(k, err);
}

#endif
