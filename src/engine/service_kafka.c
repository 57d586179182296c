/* SPDX-License-Identifier: Apache-2.0
 * service_kafka.c - a pipeline whose log lies in Kafka: read a burst, step, commit it in one
 * transaction.
 *
 *   topic of the stream ─► shard of each partition: qn_step ─► topics of outputs, dead letters
 *          ▲                                                       │ one transaction with
 *          └ the group says which partitions are ours              └ the positions behind it
 *
 * The story is serve(). A burst is what comes until a commit is due; each batch of it is stepped
 * when it is there, so computing hides in the waiting. Invariants: positions go into the
 * transaction that holds their answers and nowhere else (without transactions: behind them); a
 * doubt about a commit ends in asking the cluster; state whose fate is not known is thrown away and
 * restored. Thread: the engine's. Memory: see shard.h; a burst ends at QN_KAFKA_BURST_BYTES. */
#include "engine/service_kafka_int.h"
#include "engine/shard_stage.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/memory.h"
#include "log/kafka_target.h"
#include "log/transcode.h"
#include "monitor/report.h"

#ifndef QN_WITH_KAFKA

qn_status qn_service_kafka_new(struct qn_service *sv, struct qn_err *err)
{
    return qn_kafka_available(err);
}

void qn_service_kafka_free(struct qn_service *sv)
{
}

void *qn_service_kafka_main(void *service)
{
    return service;
}

uint64_t qn_service_kafka_beats(const struct qn_service *sv)
{
    return 0;
}

void qn_service_kafka_status(const struct qn_service *sv, struct qn_buf *b)
{
}

#else

#include <stdio.h>
#include <time.h>

enum {
    IDLE_MS = 100,
    SAVING_MS = 1,  /* between two parts of a snapshot while idle                */
    AGAIN_MS = 100, /* before a refused commit is tried again; the group is heard meanwhile */
    STEP_ROWS = 2048,
    FETCHED_BYTES = 1 << 20, /* less lies in no queue that is full */
    MESSAGE_BYTES = 64,      /* beside its value, at least         */
    ASKED_MS = 20,
    KNOWN_TIMES = 10, /* of 2 s each: a topic that was made a moment ago, under load */
    SHARDS_MAX = 65535,
    CLUSTER_MS = 10000
};
#define REPLACED_NS     ((int64_t)3000000000) /* a heartbeat is answered within it */
#define MORE_NS         ((int64_t)30000000)   /* a burst goes on while messages wait, for so long */
#define BACKOFF_VERSION 0x02020000            /* of librdkafka: has fetch.queue.backoff.ms        */

/* ---- opening ---------------------------------------------------------------------------------*/

static qn_status open_consumer(struct qn_service_kafka *k, struct qn_err *err)
{
    const struct qn_plan_kafka *p = &k->sv->plan->kafka;
    const char *own[] = {"group.id",      k->stage->group,
                         QN_KAFKA_READER, "partition.assignment.strategy",
                         "range",         p->instance != NULL ? "group.instance.id" : NULL,
                         p->instance,     NULL};
    const char *const defaults[] = {"session.timeout.ms",
                                    "10000",
                                    "heartbeat.interval.ms",
                                    "2000",
                                    rd_kafka_version() >= BACKOFF_VERSION ? "fetch.queue.backoff.ms"
                                                                          : NULL,
                                    "5",
                                    NULL};
    const struct qn_kafka_client_options opt = {.target = &p->target,
                                                .type = RD_KAFKA_CONSUMER,
                                                .defaults = defaults,
                                                .own = own,
                                                .rebalanced = qn_kafka_rebalanced};

    k->consumer.arg = k;
    return qn_kafka_open(&k->consumer, &opt, err);
}

/* From here on the consumer alone is polled. */
static void consume(struct qn_service_kafka *k)
{
    (void)rd_kafka_poll_set_consumer(k->consumer.rk);
    k->consumer.is_consuming = true;
}

qn_status qn_kafka_consume(struct qn_service_kafka *k, struct qn_err *err)
{
    k->lane_topic = NULL; /* of another one */
    QN_TRY(open_consumer(k, err));
    consume(k);
    return QN_OK;
}

qn_status qn_kafka_find_topic(struct qn_service_kafka *k, const char *topic, const char *what,
                              struct qn_str name, uint32_t *partitions, struct qn_err *err)
{
    struct qn_err why = {0};

    if (qn_kafka_topic(&k->consumer, topic, partitions, NULL, NULL, &why) == QN_OK)
        return QN_OK;
    return qn_err_set(err, why.code, "the topic of %s '%.*s': %s", what, QN_STR_ARG(name),
                      why.text);
}

qn_status qn_kafka_find_made(struct qn_service_kafka *k, const char *topic, const char *what,
                             struct qn_str name, uint32_t *partitions, struct qn_err *err)
{
    struct qn_err why = {0};
    qn_status rc;

    k->consumer.is_hasty = k->sv->plan->kafka.may_create;
    rc = qn_kafka_find_topic(k, topic, what, name, partitions, &why);
    k->consumer.is_hasty = false;
    if (rc == QN_NOT_FOUND && k->sv->plan->kafka.may_create) {
        QN_TRY(qn_kafka_topic_make(&k->consumer, topic, k->homes, err));
        qn_report_say(k->sv->opt.report, QN_LEVEL_INFO, "kafka", "made the topic %s, %u partitions",
                      topic, k->homes);
        for (int i = 0; i < KNOWN_TIMES && rc == QN_NOT_FOUND; i++)
            rc = qn_kafka_find_topic(k, topic, what, name, partitions, err);
        return rc;
    }
    if (rc == QN_NOT_FOUND)
        return qn_err_set(err, rc, "%s; or let Quern make it: kafka: {create: true}", why.text);
    if (rc != QN_OK && err != NULL)
        *err = why;
    return rc;
}

static qn_status find_input(struct qn_service_kafka *k, struct qn_err *err)
{
    const struct qn_plan *p = k->sv->plan;

    QN_TRY(qn_kafka_find_topic(k, p->kafka.stream_topics[p->main_stream], "stream",
                               p->schemas[p->main_stream].name, &k->homes, err));
    k->input = k->stage->topic;
    k->inputs = &k->input;
    k->input_count = 1;
    k->shard_count = k->homes;
    if (p->kafka.journal_topic != NULL)
        QN_TRY(qn_kafka_merge_find(k, err));
    if (!k->is_first)
        QN_TRY(qn_kafka_find_made(k, k->input, "stage", qn_str_of(k->stage->name), &k->shard_count,
                                  err));
    if (k->shard_count > SHARDS_MAX)
        return qn_err_set(err, QN_LIMIT, "'%s' has %u partitions; at most %d can be read", k->input,
                          k->shard_count, SHARDS_MAX);
    return QN_OK;
}

static qn_status find_topics(struct qn_service_kafka *k, struct qn_err *err)
{
    const struct qn_plan *p = k->sv->plan;
    uint32_t o = 0;

    QN_TRY(find_input(k, err));
    for (; k->is_last && o < p->output_count; o++) {
        k->topics[o] = p->kafka.output_topics[o];
        QN_TRY(qn_kafka_find_made(k, k->topics[o], "output", p->outputs[o].name, &k->partitions[o],
                                  err));
    }
    for (; !k->is_last && o < 1; o++) {
        k->topics[o] = k->stage[1].topic;
        QN_TRY(qn_kafka_find_made(k, k->topics[o], "stage", qn_str_of(k->stage[1].name),
                                  &k->partitions[o], err));
    }
    k->topics[o] = p->kafka.dead_topic;
    k->topics[k->topic_count] = k->journal;
    k->partitions[k->topic_count] = k->homes;
    return qn_kafka_find_made(k, k->topics[o], "dead letters", qn_str_of("dead"), &k->partitions[o],
                              err);
}

/* Positions mean something in this topic of this cluster only. */
static qn_status find_cluster(struct qn_service_kafka *k, struct qn_err *err)
{
    char *id = rd_kafka_clusterid(k->consumer.rk, CLUSTER_MS);

    if (id == NULL)
        return qn_err_set(err, QN_IO, "the cluster does not say its id");
    for (uint32_t i = 0; i < k->input_count; i++)
        k->log_id = qn_hash(k->inputs[i], strlen(k->inputs[i]), k->log_id);
    k->log_id = qn_hash(id, strlen(id), k->log_id);
    rd_kafka_mem_free(k->consumer.rk, id);
    return QN_OK;
}

/* Of a process without an instance no other may have the same, so whoever takes its place may end
 * what it has left open. */
static void name_transactions(struct qn_service_kafka *k)
{
    const struct qn_plan_kafka *p = &k->sv->plan->kafka;
    uint64_t any;

    k->sv->opt.random->fill(k->sv->opt.random->st, &any, sizeof any);
    if (p->instance != NULL) {
        snprintf(k->id, sizeof k->id, "%s.%s", k->stage->group, p->instance);
        return;
    }
    k->writer = p->is_at_least_once ? 0 : any;
    qn_kafka_transaction_id(k->stage->group, any, k->id, sizeof k->id);
}

static bool must_not_ask(void *stage)
{
    struct qn_service_kafka *k = stage;

    atomic_fetch_add(&k->beats, 1);
    return atomic_load(&k->sv->stop) || atomic_load(&k->sv->give_up);
}

/* What the first stage sends on is JSON. */
static qn_status make_transcoders(struct qn_service_kafka *k, struct qn_err *err)
{
    const struct qn_plan *p = k->sv->plan;

    for (uint32_t i = 0; k->is_first && i < p->schema_count; i++) {
        struct qn_transcode_options wire = p->wire[i];

        if (!qn_transcode_is_needed(&wire))
            continue;
        if (k->transcoders == NULL)
            k->transcoders = QN_NEW_N(&k->sv->arena, struct qn_transcoder *, p->schema_count);
        if (k->transcoders == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for the formats of streams");
        wire.clock = k->sv->opt.clock;
        wire.registry.must_stop = must_not_ask;
        wire.registry.must_stop_arg = k;
        QN_TRY(qn_transcoder_new(&wire, &k->transcoders[i], err));
    }
    return QN_OK;
}

qn_status qn_kafka_stage_init(struct qn_service_kafka *k, struct qn_err *err)
{
    struct qn_service *sv = k->sv;

    k->topic_count = (k->is_last ? sv->plan->output_count : 1) + 1;
    k->topics = QN_NEW_N(&sv->arena, const char *, k->topic_count + 1);
    k->partitions = QN_NEW_N(&sv->arena, uint32_t, k->topic_count + 1);
    k->written = QN_NEW_N(&sv->arena, uint64_t, k->topic_count);
    if (k->topics == NULL || k->partitions == NULL || k->written == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the topics");
    QN_TRY(open_consumer(k, err));
    QN_TRY(find_topics(k, err));
    QN_TRY(find_cluster(k, err));
    consume(k);
    name_transactions(k);
    k->shards = QN_NEW_N(&sv->arena, struct qn_shard *, k->shard_count);
    k->is_ours = QN_NEW_N(&sv->arena, bool, k->shard_count);
    k->ended_ns = QN_NEW_N(&sv->arena, int64_t, k->shard_count);
    k->parts = QN_NEW_N(&sv->arena, struct qn_kafka_part, k->shard_count);
    k->marks = qn_arena_zalloc(&sv->arena, k->shard_count, sizeof *k->marks);
    k->nexts = QN_NEW_N(&sv->arena, int64_t, k->shard_count * k->input_count);
    k->ends = QN_NEW_N(&sv->arena, int64_t, k->shard_count * k->input_count);
    k->journals = QN_NEW_N(&sv->arena, struct qn_buf, k->shard_count);
    if (!k->shards || !k->is_ours || !k->ended_ns || !k->parts || !k->marks || !k->nexts ||
        !k->ends || !k->journals)
        return qn_err_set(err, QN_NOMEM, "out of memory for the partitions");
    QN_TRY(make_transcoders(k, err));
    return qn_kafka_look_init(k, err);
}

qn_status qn_service_kafka_new(struct qn_service *sv, struct qn_err *err)
{
    QN_ASSERT(sv->opt.load != NULL);
    QN_TRY(qn_kafka_available(err));
    QN_TRY(qn_service_check(sv->plan, sv->opt.clock, sv->opt.random, err));
    return qn_kafka_stages_new(sv, err);
}

void qn_service_kafka_free(struct qn_service *sv)
{
    for (struct qn_service_kafka *k = sv->kafka; k != NULL; k = k->next) {
        qn_kafka_standby_free(k);
        qn_kafka_restore_stop(k);
        for (uint32_t i = 0; k->shards != NULL && i < k->shard_count; i++)
            qn_shard_free(k->shards[i]);
        for (uint32_t i = 0; k->transcoders != NULL && i < sv->plan->schema_count; i++)
            qn_transcoder_free(k->transcoders[i]);
        for (uint32_t i = 0; k->journals != NULL && i < k->shard_count; i++)
            qn_buf_fini(&k->journals[i]);
        qn_kafka_transact_free(k->transact);
        qn_kafka_close(&k->consumer);
    }
}

/* ---- committing ------------------------------------------------------------------------------*/

/* One shard's part of a commit. */
static void add_part(struct qn_service_kafka *k, uint32_t i)
{
    struct qn_shard *s = k->shards[i];
    struct qn_kafka_part *p = &k->parts[k->part_count++];
    int64_t *next = &k->nexts[i * k->input_count];

    qn_shard_mark_now(s, k->marks[i]);
    *p = (struct qn_kafka_part){.records = &s->records,
                                .partition = i,
                                .topics = k->inputs,
                                .next = next,
                                .input_count = k->input_count,
                                .mark = k->marks[i]};
    next[0] = s->next;
    if (s->merge == NULL)
        return;
    for (uint32_t n = 0; n < k->input_count; n++)
        next[n] = s->merge->lanes[n].next;
    qn_buf_clear(&k->journals[i]);
    p->journal = &k->journals[i];
    p->journal_count = qn_shard_merge_tell(s, k->topic_count, &k->journals[i]);
    p->journal_expected = s->merge->lanes[k->input_count].next;
}

static void gather(struct qn_service_kafka *k)
{
    k->part_count = 0;
    qn_kafka_tell_time(k);
    for (uint32_t i = 0; i < k->shard_count; i++) {
        struct qn_shard *s = k->shards[i];

        if (s == NULL || !k->is_ours[i] || !qn_shard_has_news(s))
            continue;
        add_part(k, i);
    }
}

/* Without transactions positions may follow later: records that come twice are told by their ids.
 */
static bool must_commit(struct qn_service_kafka *k)
{
    const int64_t now = qn_kafka_now_ns(k);

    if (k->sv->plan->kafka.is_at_least_once && now < k->due_ns && !atomic_load(&k->sv->stop))
        return false;
    k->due_ns = now + k->sv->plan->kafka.commit_us * 1000;
    return true;
}

static void settle_parts(struct qn_service_kafka *k, bool is_committed)
{
    atomic_fetch_add(&k->sv->handed, 1);
    atomic_fetch_add(&k->sv->durable, 1);
    for (uint32_t i = 0; i < k->part_count; i++) {
        struct qn_shard *s = k->shards[k->parts[i].partition];

        for (uint32_t o = 0; o < k->topic_count; o++)
            k->written[o] += s->made[o];
        qn_shard_written(s);
        if (s->merge != NULL)
            qn_shard_merge_told(s, k->parts[i].journal_next);
        if (is_committed)
            qn_shard_committed(s);
    }
}

static int64_t committed_of(const struct qn_shard *s, uint32_t input)
{
    return s->merge != NULL ? s->merge->lanes[input].committed : s->committed;
}

/* After a doubt: the cluster knows. Nothing that is late can change it any more, since the producer
 * was renewed. */
static qn_status look_back(struct qn_service_kafka *k, bool *is_done, struct qn_err *err)
{
    const uint32_t all = k->part_count * k->input_count;
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new((int)all);
    uint32_t landed = 0, before = 0;
    qn_status rc;

    for (uint32_t i = 0; i < all; i++)
        rd_kafka_topic_partition_list_add(l, k->inputs[i % k->input_count],
                                          (int32_t)k->parts[i / k->input_count].partition);
    rc = qn_kafka_positions(k, l, err);
    for (uint32_t i = 0; rc == QN_OK && i < all; i++) {
        const struct qn_kafka_part *p = &k->parts[i / k->input_count];
        const struct qn_shard *s = k->shards[p->partition];
        const int64_t at = l->elems[i].offset, was = committed_of(s, i % k->input_count);

        landed += at == p->next[i % k->input_count];
        before += at == was || (at < 0 && s->committed == s->mark.first);
    }
    rd_kafka_topic_partition_list_destroy(l);
    QN_TRY(rc);
    *is_done = landed == all;
    if (*is_done || before == all)
        return QN_OK;
    qn_report_say(k->sv->opt.report, QN_LEVEL_WARN, "kafka",
                  "another process has written the positions of our partitions: joining anew");
    return qn_kafka_join_anew(k, err);
}

qn_status qn_kafka_commit_once(struct qn_service_kafka *k, bool *is_done, struct qn_err *err)
{
    enum qn_kafka_outcome outcome;
    struct qn_err why = {0};
    bool is_commit;
    qn_status rc;

    gather(k);
    *is_done = true;
    if (k->part_count == 0)
        return QN_OK;
    is_commit = must_commit(k);
    k->is_writing = true;
    rc = qn_kafka_transact(k->transact, k->parts, k->part_count, is_commit ? k->consumer.rk : NULL,
                           &outcome, &why);
    k->is_writing = false;
    if (rc != QN_OK) {
        if (err != NULL)
            *err = why;
        return rc;
    }
    if (k->must_join_anew || k->is_fenced) /* the positions say what became of it */
        return qn_kafka_join_anew(k, err);
    if (k->must_read_on)
        QN_TRY(qn_kafka_read_on(k, err));
    *is_done = outcome == QN_KAFKA_COMMITTED;
    if (outcome == QN_KAFKA_OVERTAKEN) {
        qn_report_say(k->sv->opt.report, QN_LEVEL_WARN, "kafka", "%s: joining anew", why.text);
        *is_done = true; /* nothing of it is here any more */
        return qn_kafka_join_anew(k, err);
    }
    for (uint32_t i = 0; i < k->part_count && k->sv->plan->kafka.is_at_least_once; i++)
        if (k->parts[i].journal_next >= 0) /* whatever became of the answers */
            qn_shard_merge_told(k->shards[k->parts[i].partition], k->parts[i].journal_next);
    for (uint32_t i = 0; i < k->part_count && outcome == QN_KAFKA_DOUBTFUL; i++)
        qn_shard_stage_tell_again(k->shards[k->parts[i].partition]); /* moves no position */
    if (outcome == QN_KAFKA_DOUBTFUL)
        QN_TRY(look_back(k, is_done, err));
    if (*is_done)
        settle_parts(k, is_commit);
    if (outcome != QN_KAFKA_COMMITTED && strcmp(why.text, k->told.text) != 0) {
        k->told = why;
        qn_report_say(k->sv->opt.report, QN_LEVEL_WARN, "kafka", "%s: %s", why.text,
                      *is_done ? "it was committed all the same" : "written again");
    }
    return QN_OK;
}

static qn_status take(struct qn_service_kafka *k, rd_kafka_message_t *m, struct qn_err *err);

/* Until it is done, or nothing of it is ours any more. */
static qn_status commit(struct qn_service_kafka *k, struct qn_err *err)
{
    bool is_done = false;

    while (!is_done) {
        rd_kafka_message_t *m;

        k->is_committing = true;
        QN_TRY(qn_kafka_commit_once(k, &is_done, err));
        k->is_committing = false;
        if (is_done)
            break;
        atomic_fetch_add(&k->beats, 1);
        if (atomic_load(&k->sv->give_up))
            return qn_err_set(err, QN_INTERRUPTED, "stopped before the answers were committed");
        m = rd_kafka_consumer_poll(k->consumer.rk, AGAIN_MS); /* what became of us in the group */
        if (m != NULL)
            QN_TRY(take(k, m, err));
        if (k->is_fenced || k->must_join_anew)
            return qn_kafka_join_anew(k, err);
        if (k->rc != QN_OK) {
            *err = k->failure;
            return k->rc;
        }
    }
    k->told.text[0] = '\0';
    return QN_OK;
}

/* ---- a burst ---------------------------------------------------------------------------------*/

void qn_kafka_hold(struct qn_service_kafka *k, const char *topic, uint32_t partition, bool is_held)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(1);

    rd_kafka_topic_partition_list_add(l, topic, (int32_t)partition);
    (void)(is_held ? rd_kafka_pause_partitions(k->consumer.rk, l)
                   : rd_kafka_resume_partitions(k->consumer.rk, l));
    rd_kafka_topic_partition_list_destroy(l);
}

static qn_status step_shard(struct qn_service_kafka *k, uint32_t i, struct qn_err *err)
{
    struct qn_shard *s = k->shards[i];
    const bool was_held = qn_shard_is_waiting(s);

    if (s->merge != NULL)
        return qn_kafka_merge_step(k, s, err);
    qn_shard_try_again(s);
    while (qn_shard_is_busy(s))
        QN_TRY(qn_shard_step(s, err));
    if (was_held || qn_shard_is_waiting(s)) /* again, should an assignment have let it go */
        qn_kafka_hold(k, k->input, i, qn_shard_is_waiting(s));
    if (was_held && !qn_shard_is_waiting(s) && s->end > 0 && s->next >= s->end)
        qn_kafka_note_end(k, i);
    k->held += qn_shard_is_waiting(s);
    return QN_OK;
}

qn_status qn_kafka_step_all(struct qn_service_kafka *k, struct qn_err *err)
{
    if (k->waiting == 0 && k->held == 0 && !k->is_stalled)
        return QN_OK;
    k->held = 0;
    k->is_stalled = false;
    for (uint32_t i = 0; i < k->shard_count; i++)
        if (k->shards[i] != NULL)
            QN_TRY(step_shard(k, i, err));
    k->waiting = 0;
    return QN_OK;
}

static qn_status replaced(const struct qn_service_kafka *k, struct qn_err *err)
{
    return qn_err_set(err, QN_DENIED,
                      "another process came with the instance '%s' and has our place now: each "
                      "needs an instance of its own",
                      k->sv->plan->kafka.instance);
}

/* A join whose answer was lost makes the brokers take what comes after it for another process of
 * the same instance, so a few times are forgiven. Where there are two indeed, each puts the other
 * out within seconds, and the older one is the first to have had enough. */
qn_status qn_kafka_broken(struct qn_service_kafka *k, rd_kafka_resp_err_t code, struct qn_err *err)
{
    if (code == RD_KAFKA_RESP_ERR__FATAL)
        code = rd_kafka_fatal_error(k->consumer.rk, NULL, 0);
    if (code != RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID || k->sv->plan->kafka.instance == NULL)
        return qn_err_set(err, QN_IO, "the topic cannot be read any more: %s",
                          rd_kafka_err2str(code));
    if (qn_kafka_fenced_again(&k->fenced, qn_kafka_now_ns(k)))
        return replaced(k, err);
    k->is_fenced = true;
    return QN_OK;
}

static qn_status no_message(struct qn_service_kafka *k, const rd_kafka_message_t *m,
                            struct qn_err *err)
{
    const char *topic = m->rkt != NULL ? rd_kafka_topic_name(m->rkt) : k->input;

    switch (m->err) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        return qn_err_set(err, QN_NOT_FOUND,
                          "partition %d of '%s' no longer has the record that is next: it was "
                          "removed before it was read",
                          (int)m->partition, topic);
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR__FATAL:
        return qn_kafka_broken(k, m->err, err);
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        return qn_err_set(err, QN_DENIED,
                          "this user may not read '%s' as a member of group '%s': it needs Read on "
                          "both (%s)",
                          topic, k->stage->group, rd_kafka_message_errstr(m));
    default:
        qn_report_say(k->sv->opt.report, QN_LEVEL_WARN, "kafka", "%s", rd_kafka_message_errstr(m));
        return QN_OK;
    }
}

/* The end of a partition lies behind markers of transactions, which are no records: they are passed
 * too, or somebody would see a lag of one for ever. */
static qn_status reach_end(struct qn_service_kafka *k, struct qn_shard *s, int64_t offset,
                           struct qn_err *err)
{
    QN_TRY(qn_kafka_step_all(k, err));
    if (!qn_shard_is_waiting(s))
        qn_kafka_note_end(k, s->partition);
    return qn_shard_reach(s, offset, err);
}

/* Takes a message over. */
static qn_status take(struct qn_service_kafka *k, rd_kafka_message_t *m, struct qn_err *err)
{
    const uint32_t i = (uint32_t)m->partition;
    struct qn_shard *s = i < k->shard_count && k->is_ours[i] ? k->shards[i] : NULL;
    qn_status rc = QN_OK;

    if (s != NULL && m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        k->fetched += m->len + MESSAGE_BYTES;
    if (s != NULL && s->merge != NULL &&
        (m->err == RD_KAFKA_RESP_ERR_NO_ERROR || m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF))
        return qn_kafka_merge_take(k, s, m, err);
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR && s != NULL) {
        k->waiting++;
        k->ended_ns[i] = 0;
        return qn_shard_push(s, m, err);
    }
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && s != NULL)
        rc = reach_end(k, s, m->offset, err);
    else if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        rc = no_message(k, m, err);
    rd_kafka_message_destroy(m);
    return rc;
}

static size_t gathered_bytes(const struct qn_service_kafka *k)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < k->shard_count; i++)
        bytes += k->shards[i] != NULL ? k->shards[i]->records.len : 0;
    return bytes;
}

/* librdkafka before 2.2 stops fetching for a second once its queue was full, however quickly that
 * is emptied; whatever its threads are asked for wakes them. */
static void wake_fetching(struct qn_service_kafka *k)
{
    rd_kafka_topic_partition_list_t *l;

    if (k->fetched < FETCHED_BYTES || rd_kafka_version() >= BACKOFF_VERSION)
        return;
    l = rd_kafka_topic_partition_list_new((int)k->shard_count);
    for (uint32_t n = 0; n < k->shard_count * k->input_count; n++) {
        const uint32_t i = n / k->input_count;
        const char *topic = k->inputs[n % k->input_count];
        const struct qn_shard *s = k->is_ours[i] ? k->shards[i] : NULL;
        int64_t oldest = 0, end = 0;

        if (s == NULL)
            continue;
        (void)rd_kafka_get_watermark_offsets(k->consumer.rk, topic, (int32_t)i, &oldest, &end);
        if (end > (s->merge != NULL ? s->merge->lanes[n % k->input_count].pushed : s->pushed))
            rd_kafka_topic_partition_list_add(l, topic, (int32_t)i)->offset = RD_KAFKA_OFFSET_END;
    }
    if (l->cnt > 0) {
        (void)rd_kafka_offsets_for_times(k->consumer.rk, l, ASKED_MS);
        k->fetched = 0;
    }
    rd_kafka_topic_partition_list_destroy(l);
}

/* What has come, stepped as it comes: until nothing waits and a commit is due, which is `commit`
 * after the last one began. Without transactions nothing is held back. */
static qn_status burst(struct qn_service_kafka *k, int wait_ms, struct qn_err *err)
{
    const bool is_held = !k->sv->plan->kafka.is_at_least_once;
    int64_t end = 0, last = 0; /* it may end; it must, whatever waits */

    for (;;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(k->consumer.rk, wait_ms);
        int64_t now;

        if (k->rc != QN_OK) {
            if (m != NULL)
                rd_kafka_message_destroy(m);
            *err = k->failure;
            return k->rc;
        }
        if (k->must_join_anew) {
            if (m != NULL)
                rd_kafka_message_destroy(m);
            return qn_kafka_join_anew(k, err);
        }
        if (m != NULL) {
            if (last == 0) {
                now = qn_kafka_now_ns(k);
                end = is_held && k->due_ns > now ? k->due_ns : now;
                last = end + MORE_NS;
            }
            QN_TRY(take(k, m, err));
            if (k->is_fenced)
                return qn_kafka_join_anew(k, err);
            wait_ms = 0;
            if (k->waiting < STEP_ROWS)
                continue;
        } else {
            wake_fetching(k);
        }
        atomic_fetch_add(&k->beats, 1);
        QN_TRY(qn_kafka_step_all(k, err));
        now = qn_kafka_now_ns(k);
        if (last == 0 || now >= (m != NULL ? last : end) ||
            gathered_bytes(k) >= QN_KAFKA_BURST_BYTES || atomic_load(&k->sv->stop))
            return QN_OK;
        wait_ms = m != NULL ? 0 : (int)((end - now) / 1000000) + 1;
    }
}

/* ---- the thread ------------------------------------------------------------------------------*/

static bool must_stop(void *arg)
{
    struct qn_service_kafka *k = arg;

    atomic_fetch_add(&k->beats, 1);
    return atomic_load(&k->sv->give_up) ||
           (atomic_load(&k->sv->stop) && k->transact == NULL); /* nothing was begun */
}

/* Who comes with our instance fences our producers first and our place in the group then: the next
 * heartbeat tells, and qn_kafka_broken whether it is the end. A transaction that ran out fences the
 * producer alone. Answers are under way from where the shards have them, so nothing may happen to
 * those here: what is fetched is fetched again, and partitions that come or go do so later. */
static bool is_replaced(void *arg, struct qn_err *err)
{
    struct qn_service_kafka *k = arg;
    const int64_t until = qn_kafka_now_ns(k) + REPLACED_NS;
    qn_status rc = QN_OK;

    if (k->sv->plan->kafka.instance == NULL)
        return false;
    while (rc == QN_OK && !k->must_join_anew && !k->is_fenced && qn_kafka_now_ns(k) < until &&
           !atomic_load(&k->sv->give_up)) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(k->consumer.rk, AGAIN_MS);

        atomic_fetch_add(&k->beats, 1);
        if (m == NULL)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR || m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            k->must_read_on = true;
        else
            rc = no_message(k, m, err);
        rd_kafka_message_destroy(m);
    }
    return rc != QN_OK;
}

/* Both producers first: what an earlier process left open is decided before positions are read. */
static qn_status begin(struct qn_service_kafka *k, struct qn_err *err)
{
    const struct qn_kafka_transact_options opt = {.target = &k->sv->plan->kafka.target,
                                                  .id = k->id,
                                                  .topics = k->topics,
                                                  .partitions = k->partitions,
                                                  .topic_count =
                                                      k->topic_count + (k->journal != NULL),
                                                  .keyed_topics = k->is_last ? 0 : 1,
                                                  .is_plain = k->sv->plan->kafka.is_at_least_once,
                                                  .is_unique = k->writer != 0,
                                                  .shards = k->homes,
                                                  .must_stop = must_stop,
                                                  .is_replaced = is_replaced,
                                                  .arg = k};

    QN_TRY(qn_kafka_transact_new(&opt, &k->transact, err));
    QN_TRY(qn_kafka_restore_start(k, err));
    QN_TRY(qn_kafka_standby_start(k, err));
    return qn_kafka_subscribe(k, err);
}

static bool is_live(const struct qn_service_kafka *k)
{
    for (uint32_t i = 0; i < k->shard_count; i++)
        if (k->is_ours[i] && k->shards[i] != NULL &&
            (k->shards[i]->is_replaying ||
             (k->shards[i]->merge != NULL && k->shards[i]->merge->is_following)))
            return false;
    return k->is_assigned && !qn_kafka_is_restoring(k);
}

static bool save(struct qn_service_kafka *k)
{
    bool is_saving = false;

    for (uint32_t i = 0; i < k->shard_count; i++)
        if (k->is_ours[i] && k->shards[i] != NULL)
            is_saving |= qn_shard_snapshot(k->shards[i], false);
    return is_saving;
}

/* Until it is told to stop. */
static qn_status serve(struct qn_service_kafka *k, struct qn_err *err)
{
    bool is_busy = false;

    for (;;) {
        QN_TRY(burst(k, is_busy || k->is_stalled ? SAVING_MS : IDLE_MS, err));
        QN_TRY(commit(k, err));
        QN_TRY(qn_kafka_restored(k, err));
        is_busy = save(k);
        is_busy |= qn_kafka_is_restoring(k);
        if (is_live(k))
            qn_kafka_stage_started(k);
        qn_kafka_look(k);
        if (atomic_load(&k->sv->stop)) {
            k->due_ns = 0; /* the positions of what was written last */
            return commit(k, err);
        }
    }
}

/* Goes on with what is being saved until it is. False: nobody waits for that any more. */
static bool finish_saving(struct qn_service_kafka *k)
{
    const struct timespec pause = {0, SAVING_MS * 1000000};
    bool is_saving = true;

    while (is_saving && !atomic_load(&k->sv->give_up)) {
        is_saving = false;
        for (uint32_t i = 0; i < k->shard_count; i++)
            if (k->is_ours[i] && k->shards[i] != NULL && qn_shard_is_saving(k->shards[i])) {
                (void)qn_shard_snapshot(k->shards[i], false);
                is_saving = true;
            }
        atomic_fetch_add(&k->beats, 1);
        if (is_saving)
            nanosleep(&pause, NULL);
    }
    return !is_saving;
}

/* Everything is committed: the last snapshots, all at once. */
static void save_last(struct qn_service_kafka *k)
{
    if (!finish_saving(k)) /* those under way */
        return;
    for (uint32_t i = 0; i < k->shard_count; i++)
        if (k->is_ours[i] && k->shards[i] != NULL)
            (void)qn_shard_snapshot(k->shards[i], true);
    (void)finish_saving(k);
}

/* Leaves the group, so that others take the partitions up at once. A process with an instance stays
 * a member until its session ends, since it is expected back. What is not committed is not to be.
 */
static void leave(struct qn_service_kafka *k)
{
    k->is_leaving = k->is_committing = true;
    qn_kafka_standby_stop(k);
    qn_kafka_restore_stop(k);
    for (uint32_t i = 0; i < k->shard_count; i++) { /* before others may have them: locks */
        qn_shard_free(k->shards[i]);
        k->shards[i] = NULL;
    }
    if (!atomic_load(&k->sv->give_up))
        (void)rd_kafka_consumer_close(k->consumer.rk);
}

void qn_kafka_stage_run(struct qn_service_kafka *k)
{
    struct qn_err err = {0};
    qn_status rc = begin(k, &err);

    if (rc == QN_OK)
        rc = serve(k, &err);
    if (rc == QN_OK)
        save_last(k);
    leave(k);
    if (rc != QN_OK && rc != QN_INTERRUPTED)
        qn_service_fail(k->sv, &err);
}

void *qn_service_kafka_main(void *service)
{
    struct qn_service *sv = service;
    struct qn_err err = {0};

    if (qn_kafka_stages_start(sv, &err) == QN_OK)
        qn_kafka_stage_run(sv->kafka);
    else
        qn_service_fail(sv, &err);
    qn_kafka_stages_join(sv);
    return NULL;
}

#endif
