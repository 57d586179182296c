/* SPDX-License-Identifier: Apache-2.0
 * service_kafka_standby.c - warm copies of partitions that others have (`kafka: {standby: 1}`).
 *
 *   group: position, mark ──► follow ─► the topic up to there, answers only hashed ─► compared
 *                                                │
 *   assigned: take ◄──── the copy, some hundred milliseconds behind
 *
 * Whose copies: standby_rule.h, by what the group says of itself. A copy never runs ahead of what
 * its owner has committed: what came behind that has no answer yet. Every position brings the hash
 * of the owner's answers, which the copy's must equal.
 *
 * Threads: one of its own with two consumers that are no members of the group: one reads, the other
 * asks for positions. Copies are under the lock, but for one that is being restored or is in hand:
 * that one is the thread's own, and whoever takes it waits until it was stepped once. */
#include "engine/service_kafka_int.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "base/memory.h"
#include "engine/standby_rule.h"
#include "log/transcode.h"
#include "monitor/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    MARK_BYTES = 2 * QN_SHARD_MARK_BYTES,
    FETCH_ROWS = 512, /* held at most of what the owner has not committed                    */
    STRANGE_TRIES = 120,
    ASK_MS = 5000,
    IDLE_US = 20000
};
#define UNSETTLED_NS ((int64_t)500000000) /* while the group is not settled                */
#define POSITIONS_NS ((int64_t)200000000)
#define AGAIN_NS     ((int64_t)30000000000) /* a copy that could not be                      */

struct copy {
    struct qn_shard *shard;  /* NULL = none yet                                             */
    rd_kafka_queue_t *queue; /* the thread's own; NULL until it is read                     */
    bool is_wanted;
    bool is_read;      /* the queue goes on where the shard ends: not before it was assigned so */
    int64_t next;      /* of the shard, when it was last not in hand */
    int64_t committed; /* as last heard; negative = never */
    int64_t retry_ns;  /* not restored before             */
    char mark[MARK_BYTES];
    uint32_t mark_len;
    struct qn_series *lag; /* NULL until there is a copy */
};

struct qn_kafka_standby {
    struct qn_service_kafka *k;
    struct qn_kafka_client client;    /* the thread's own: reads */
    struct qn_kafka_client asker;     /* likewise                */
    struct qn_transcoder *transcoder; /* of the one stream's copies; NULL = records are events */
    struct copy *copies;              /* [shard_count] */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t woken, let_go;
    bool stop;
    uint32_t in_hand;           /* copy that is being stepped; shard_count = none          */
    _Atomic bool is_awaited;    /* somebody waits for it: a registry is not waited for     */
    bool *is_ours;              /* [shard_count] as the engine's thread last said   */
    uint32_t moves, seen_moves; /* times that it said so, and was heard             */
    bool is_changed;            /* what is read is not what is here                 */
    struct qn_shard *restoring; /* its store may be cancelled                       */
    int64_t members_ns, positions_ns;
    uint32_t tries; /* to find our place in the group, in vain */
};

/* ---- which ones ------------------------------------------------------------------------------*/

/* 0: it is not settled, or nobody answers. */
static uint32_t count_members(struct qn_kafka_standby *s)
{
    const struct rd_kafka_group_list *l = NULL;
    uint32_t count = 0;

    if (rd_kafka_list_groups(s->client.rk, s->k->stage->group, &l, ASK_MS) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    for (int i = 0; i < l->group_cnt; i++)
        if (l->groups[i].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
            strcmp(l->groups[i].state, "Stable") == 0)
            count = (uint32_t)l->groups[i].member_cnt;
    rd_kafka_group_list_destroy(l);
    return count;
}

static void drop(struct qn_kafka_standby *s, uint32_t i)
{
    struct copy *c = &s->copies[i];

    qn_shard_free(c->shard);
    c->shard = NULL;
    c->is_read = false;
    s->is_changed = true;
}

/* False: the number is not of the generation in which our partitions came. What is here stays. */
static bool choose(struct qn_kafka_standby *s, uint32_t members)
{
    struct qn_service_kafka *k = s->k;
    bool *wanted = qn_mem_zalloc(k->shard_count, sizeof *wanted);
    const bool is_known =
        wanted != NULL && qn_standby_choose(s->is_ours, k->shard_count, members, wanted);

    s->tries = is_known ? 0 : s->tries + 1;
    if (s->tries == STRANGE_TRIES)
        qn_report_say(k->sv->opt.report, QN_LEVEL_WARN, "standby",
                      "the group's partitions are not shared out by 'range': no copies are made");
    for (uint32_t i = 0; is_known && i < k->shard_count; i++) {
        s->copies[i].is_wanted = wanted[i];
        if (!wanted[i] && s->copies[i].shard != NULL)
            drop(s, i);
    }
    qn_mem_free(wanted);
    return is_known;
}

/* Counts the members when the partitions were shared out anew, until the group is settled. */
static void look_at_members(struct qn_kafka_standby *s)
{
    const int64_t now = qn_kafka_now_ns(s->k);
    uint32_t moves, members;

    pthread_mutex_lock(&s->lock);
    moves = s->moves;
    pthread_mutex_unlock(&s->lock);
    if (moves == s->seen_moves || now < s->members_ns)
        return;
    s->members_ns = now + UNSETTLED_NS;
    members = count_members(s);
    if (members == 0)
        return;
    pthread_mutex_lock(&s->lock);
    if (moves == s->moves && choose(s, members))
        s->seen_moves = moves;
    pthread_mutex_unlock(&s->lock);
}

/* ---- where the owners stand ------------------------------------------------------------------*/

static struct qn_str mark_of(const struct copy *c)
{
    return (struct qn_str){c->mark, c->mark_len};
}

/* A copy that does not fit, or whose answers are others, is given up. Under the lock. */
static void follow(struct qn_kafka_standby *s, uint32_t i)
{
    struct copy *c = &s->copies[i];
    struct qn_err err = {0};
    bool fits = false;
    qn_status rc = qn_shard_follow(c->shard, c->committed, mark_of(c), &fits, &err);

    if (rc == QN_OK && fits)
        return;
    if (rc != QN_OK) {
        qn_report_err(s->k->sv->opt.report, QN_LEVEL_ERROR, "standby", &err);
        c->retry_ns = qn_kafka_now_ns(s->k) + AGAIN_NS;
    }
    drop(s, i);
}

static void hear(struct qn_kafka_standby *s, const rd_kafka_topic_partition_t *at)
{
    struct copy *c = &s->copies[at->partition];
    const struct qn_str mark = qn_kafka_mark_of(at);

    if (at->offset < 0 || !c->is_wanted || mark.len > MARK_BYTES)
        return;
    c->committed = at->offset;
    c->mark_len = mark.len;
    if (mark.len > 0)
        memcpy(c->mark, mark.p, mark.len);
    if (c->shard != NULL)
        follow(s, (uint32_t)at->partition);
}

static void look_at_positions(struct qn_kafka_standby *s)
{
    const int64_t now = qn_kafka_now_ns(s->k);
    rd_kafka_topic_partition_list_t *l;

    if (now < s->positions_ns)
        return;
    s->positions_ns = now + POSITIONS_NS;
    l = rd_kafka_topic_partition_list_new((int)s->k->shard_count);
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->k->shard_count; i++)
        if (s->copies[i].is_wanted)
            rd_kafka_topic_partition_list_add(l, s->k->input, (int32_t)i);
    pthread_mutex_unlock(&s->lock);
    (void)rd_kafka_poll(s->asker.rk, 0); /* errors: tried again */
    if (l->cnt > 0 && rd_kafka_committed(s->asker.rk, l, ASK_MS) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        pthread_mutex_lock(&s->lock);
        for (int p = 0; p < l->cnt; p++)
            if (l->elems[p].err == RD_KAFKA_RESP_ERR_NO_ERROR)
                hear(s, &l->elems[p]);
        pthread_mutex_unlock(&s->lock);
    }
    rd_kafka_topic_partition_list_destroy(l);
}

/* ---- making one ------------------------------------------------------------------------------*/

/* The first that is wanted, not there, and whose owner has committed; shard_count: none. */
static uint32_t find_missing(struct qn_kafka_standby *s, struct copy *as)
{
    const int64_t now = qn_kafka_now_ns(s->k);
    uint32_t i;

    pthread_mutex_lock(&s->lock);
    for (i = 0; i < s->k->shard_count; i++) {
        const struct copy *c = &s->copies[i];

        if (c->is_wanted && c->shard == NULL && c->committed >= 0 && now >= c->retry_ns)
            break;
    }
    if (i < s->k->shard_count)
        *as = s->copies[i];
    pthread_mutex_unlock(&s->lock);
    return i;
}

static qn_status make(struct qn_kafka_standby *s, uint32_t i, const struct copy *as,
                      struct qn_shard **out, struct qn_err *err)
{
    struct qn_shard_options opt = qn_kafka_shard_options(s->k);
    int64_t oldest, newest;
    bool must_stop;

    opt.transcoders = s->transcoder != NULL ? &s->transcoder : NULL;
    if (qn_kafka_ends(s->client.rk, s->k->input, i, ASK_MS, &oldest, &newest) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return qn_err_set(err, QN_IO, "cannot see where the topic begins");
    QN_TRY(qn_shard_new_copy(&opt, i, out, err));
    pthread_mutex_lock(&s->lock);
    s->restoring = *out;
    must_stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    if (must_stop)
        return qn_err_set(err, QN_INTERRUPTED, "told to stop");
    QN_TRY(qn_shard_restore(*out, as->committed, mark_of(as), oldest, err));
    qn_shard_park(*out);
    return QN_OK;
}

/* Restores one that is missing. True: there was one. */
static bool make_missing(struct qn_kafka_standby *s)
{
    struct qn_shard *shard = NULL;
    struct copy as = {0};
    const uint32_t i = find_missing(s, &as);
    struct qn_err err = {0};
    struct copy *c;
    qn_status rc;

    if (i == s->k->shard_count)
        return false;
    rc = make(s, i, &as, &shard, &err);
    c = &s->copies[i];
    pthread_mutex_lock(&s->lock);
    s->restoring = NULL;
    if (rc == QN_OK && c->is_wanted && !s->is_ours[i] && c->shard == NULL) {
        c->shard = shard;
        c->next = shard->next;
        shard = NULL;
        c->is_read = false;
        s->is_changed = true;
    }
    if (rc != QN_OK)
        c->retry_ns = qn_kafka_now_ns(s->k) + AGAIN_NS;
    pthread_mutex_unlock(&s->lock);
    qn_shard_free(shard);
    if (rc != QN_OK && rc != QN_INTERRUPTED)
        qn_report_say(s->k->sv->opt.report, QN_LEVEL_WARN, "standby",
                      "no copy of partition %u yet: %s", i, err.text);
    return rc == QN_OK;
}

/* ---- reading ---------------------------------------------------------------------------------*/

/* What is here is read, each from where it stands. Queues first: a message that came before would
 * go the consumer's way. */
static void read_on(struct qn_kafka_standby *s)
{
    rd_kafka_topic_partition_list_t *l;

    pthread_mutex_lock(&s->lock);
    if (!s->is_changed) {
        pthread_mutex_unlock(&s->lock);
        return;
    }
    s->is_changed = false;
    l = rd_kafka_topic_partition_list_new((int)s->k->shard_count);
    for (uint32_t i = 0; i < s->k->shard_count; i++) {
        struct copy *c = &s->copies[i];

        if (c->shard == NULL)
            continue;
        if (c->queue == NULL) {
            c->queue = rd_kafka_queue_get_partition(s->client.rk, s->k->input, (int32_t)i);
            if (c->queue != NULL)
                rd_kafka_queue_forward(c->queue, NULL);
        }
        rd_kafka_topic_partition_list_add(l, s->k->input, (int32_t)i)->offset = c->shard->pushed;
        c->is_read = c->queue != NULL;
    }
    pthread_mutex_unlock(&s->lock);
    (void)qn_kafka_assign(s->client.rk, l);
    rd_kafka_topic_partition_list_destroy(l);
}

/* One message into a copy; its end is reached where that is said. */
static qn_status take_in(struct qn_shard *shard, rd_kafka_message_t *m, struct qn_err *err)
{
    qn_status rc = QN_OK;

    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        return qn_shard_push(shard, m, err);
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && !qn_shard_is_busy(shard) &&
        shard->is_replaying)
        rc =
            qn_shard_reach(shard, m->offset < shard->live_from ? m->offset : shard->live_from, err);
    else if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
        rc = qn_err_set(err, QN_NOT_FOUND, "partition %u no longer has the record that is next",
                        shard->partition);
    rd_kafka_message_destroy(m);
    return rc;
}

/* Reads and steps the copy in hand once. *is_busy: more may be there. One that waits for a schema
 * takes in no more. */
static qn_status step(rd_kafka_queue_t *queue, struct qn_shard *shard, bool *is_busy,
                      struct qn_err *err)
{
    rd_kafka_message_t *got[FETCH_ROWS];
    bool is_stepped = false;
    qn_status rc = QN_OK;
    ssize_t count = 0;

    qn_shard_try_again(shard);
    if (!qn_shard_is_busy(shard))
        count = rd_kafka_consume_batch_queue(queue, 0, got, FETCH_ROWS);
    for (ssize_t m = 0; m < count; m++)
        if (rc == QN_OK)
            rc = take_in(shard, got[m], err);
        else
            rd_kafka_message_destroy(got[m]);
    if (rc == QN_OK)
        rc = qn_shard_follow_step(shard, &is_stepped, err);
    *is_busy = count > 0 || is_stepped;
    return rc;
}

/* True: more may be there. */
static bool advance(struct qn_kafka_standby *s, uint32_t i)
{
    struct copy *c = &s->copies[i];
    struct qn_err err = {0};
    struct qn_shard *shard;
    bool is_busy = false;
    qn_status rc;

    pthread_mutex_lock(&s->lock);
    shard = c->is_read && !s->stop ? c->shard : NULL;
    if (shard != NULL)
        s->in_hand = i;
    pthread_mutex_unlock(&s->lock);
    if (shard == NULL)
        return false;
    rc = step(c->queue, shard, &is_busy, &err);
    pthread_mutex_lock(&s->lock);
    s->in_hand = s->k->shard_count;
    c->next = shard->next;
    if (rc != QN_OK) {
        qn_report_say(s->k->sv->opt.report, QN_LEVEL_ERROR, "standby",
                      "the copy of partition %u is given up: %s", i, err.text);
        c->retry_ns = qn_kafka_now_ns(s->k) + AGAIN_NS;
        drop(s, i);
    }
    pthread_cond_broadcast(&s->let_go);
    pthread_mutex_unlock(&s->lock);
    return rc == QN_OK && is_busy;
}

static bool advance_all(struct qn_kafka_standby *s)
{
    rd_kafka_message_t *m = rd_kafka_consumer_poll(s->client.rk, 0); /* errors: tried again */
    bool is_busy = false;

    if (m != NULL)
        rd_kafka_message_destroy(m);
    for (uint32_t i = 0; i < s->k->shard_count; i++)
        is_busy |= advance(s, i);
    return is_busy;
}

/* ---- the thread ------------------------------------------------------------------------------*/

static bool must_stop(struct qn_kafka_standby *s, bool may_wait)
{
    const int64_t until_us = qn_service_now_us(s->k->sv) + IDLE_US;
    const struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
    bool stop;

    pthread_mutex_lock(&s->lock);
    if (may_wait && !s->stop)
        (void)pthread_cond_timedwait(&s->woken, &s->lock, &until);
    stop = s->stop;
    pthread_mutex_unlock(&s->lock);
    return stop;
}

static void *standing_by(void *arg)
{
    struct qn_kafka_standby *s = arg;
    bool is_busy = false;

    while (!must_stop(s, !is_busy)) {
        look_at_members(s);
        look_at_positions(s);
        is_busy = make_missing(s);
        read_on(s);
        is_busy |= advance_all(s);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------*/

static qn_status open_client(struct qn_kafka_standby *s, struct qn_err *err)
{
    const struct qn_plan_kafka *p = &s->k->sv->plan->kafka;
    const char *own[] = {"group.id", s->k->stage->group, QN_KAFKA_READER, NULL};
    const char *const defaults[] = {"queued.max.messages.kbytes", "8192", NULL};
    const struct qn_kafka_client_options opt = {
        .target = &p->target, .type = RD_KAFKA_CONSUMER, .defaults = defaults, .own = own};

    QN_TRY(qn_kafka_open(&s->client, &opt, err));
    (void)rd_kafka_poll_set_consumer(s->client.rk);
    s->client.is_consuming = true;
    return QN_OK;
}

static bool must_let_go(void *standby)
{
    struct qn_kafka_standby *s = standby;

    return atomic_load(&s->is_awaited) || atomic_load(&s->k->sv->stop) ||
           atomic_load(&s->k->sv->give_up);
}

/* One of its own: with the engine's, that thread would wait while a registry is asked for a copy.
 */
static qn_status make_transcoder(struct qn_kafka_standby *s, struct qn_err *err)
{
    const struct qn_plan *p = s->k->sv->plan;
    struct qn_transcode_options wire = p->wire[p->main_stream];

    if (s->k->transcoders == NULL)
        return QN_OK;
    wire.clock = s->k->sv->opt.clock;
    wire.registry.must_stop = must_let_go;
    wire.registry.must_stop_arg = s;
    return qn_transcoder_new(&wire, &s->transcoder, err);
}

static struct qn_kafka_standby *new_standby(struct qn_service_kafka *k)
{
    struct qn_kafka_standby *s = qn_mem_zalloc(1, sizeof *s);

    if (s == NULL)
        return NULL;
    s->k = k;
    s->in_hand = k->shard_count;
    s->copies = qn_mem_zalloc(k->shard_count, sizeof *s->copies);
    s->is_ours = qn_mem_zalloc(k->shard_count, sizeof *s->is_ours);
    if (s->copies == NULL || s->is_ours == NULL) {
        qn_mem_free(s->copies);
        qn_mem_free(s->is_ours);
        qn_mem_free(s);
        return NULL;
    }
    for (uint32_t i = 0; i < k->shard_count; i++)
        s->copies[i].committed = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->woken, NULL);
    pthread_cond_init(&s->let_go, NULL);
    return s;
}

qn_status qn_kafka_standby_start(struct qn_service_kafka *k, struct qn_err *err)
{
    struct qn_kafka_standby *s;
    int failed;

    if (k->sv->plan->kafka.standby == 0)
        return QN_OK;
    QN_ASSERT(k->input_count == 1); /* qn_build_kafka refuses others */
    s = new_standby(k);
    if (s == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for copies");
    pthread_mutex_lock(&k->sv->wait_lock);
    k->standby = s; /* whoever asks for the status sees it from now on */
    pthread_mutex_unlock(&k->sv->wait_lock);
    QN_TRY(make_transcoder(s, err));
    QN_TRY(open_client(s, err));
    QN_TRY(qn_kafka_open_asker(s->k, &s->asker, err));
    failed = pthread_create(&s->thread, NULL, standing_by, s);
    s->has_thread = failed == 0;
    return failed == 0 ? QN_OK : qn_err_sys(err, failed, "cannot start the thread of the copies");
}

void qn_kafka_standby_stop(struct qn_service_kafka *k)
{
    struct qn_kafka_standby *s = k->standby;

    if (s == NULL || !s->has_thread)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    atomic_store(&s->is_awaited, true);
    if (s->restoring != NULL)
        qn_shard_snapshots_cancel(s->restoring);
    pthread_cond_broadcast(&s->woken);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    s->has_thread = false;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < k->shard_count; i++) {
        s->copies[i].is_wanted = false;
        qn_shard_free(s->copies[i].shard);
        s->copies[i].shard = NULL;
    }
    pthread_mutex_unlock(&s->lock);
}

void qn_kafka_standby_free(struct qn_service_kafka *k)
{
    struct qn_kafka_standby *s = k->standby;

    if (s == NULL)
        return;
    qn_kafka_standby_stop(k);
    for (uint32_t i = 0; i < k->shard_count; i++)
        if (s->copies[i].queue != NULL)
            rd_kafka_queue_destroy(s->copies[i].queue);
    qn_kafka_close(&s->client);
    qn_kafka_close(&s->asker);
    qn_transcoder_free(s->transcoder);
    pthread_cond_destroy(&s->let_go);
    pthread_cond_destroy(&s->woken);
    pthread_mutex_destroy(&s->lock);
    qn_mem_free(s->copies);
    qn_mem_free(s->is_ours);
    qn_mem_free(s);
    k->standby = NULL;
}

/* ---- the engine's side -----------------------------------------------------------------------*/

struct qn_shard *qn_kafka_standby_take(struct qn_service_kafka *k, uint32_t partition)
{
    struct qn_kafka_standby *s = k->standby;
    struct qn_shard *shard;

    if (s == NULL)
        return NULL;
    pthread_mutex_lock(&s->lock);
    while (s->in_hand == partition) {
        atomic_store(&s->is_awaited, true);
        (void)pthread_cond_wait(&s->let_go, &s->lock);
    }
    atomic_store(&s->is_awaited, s->stop);
    shard = s->copies[partition].shard;
    s->copies[partition].shard = NULL;
    s->copies[partition].is_read = false;
    s->is_changed |= shard != NULL;
    pthread_mutex_unlock(&s->lock);
    if (shard != NULL)
        shard->opt.transcoders = (struct qn_transcoder *const *)k->transcoders;
    return shard;
}

void qn_kafka_standby_offer(struct qn_service_kafka *k, struct qn_shard *shard)
{
    struct qn_kafka_standby *s = k->standby;

    if (s != NULL && s->has_thread && shard != NULL) {
        struct copy *c = &s->copies[shard->partition];

        pthread_mutex_lock(&s->lock);
        if (c->shard == NULL) {
            shard->is_copy = true;
            shard->opt.transcoders = s->transcoder != NULL ? &s->transcoder : NULL;
            c->shard = shard;
            c->next = shard->next;
            c->is_read = false;
            s->is_changed = true;
            shard = NULL;
        }
        pthread_mutex_unlock(&s->lock);
    }
    qn_shard_free(shard);
}

void qn_kafka_standby_moved(struct qn_service_kafka *k)
{
    struct qn_kafka_standby *s = k->standby;

    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    memcpy(s->is_ours, k->is_ours, k->shard_count * sizeof *s->is_ours);
    s->moves++;
    for (uint32_t i = 0; i < k->shard_count; i++)
        s->copies[i].is_wanted &= !s->is_ours[i];
    pthread_cond_broadcast(&s->woken);
    pthread_mutex_unlock(&s->lock);
}

static int64_t lag_of(const struct copy *c)
{
    return c->shard != NULL && c->committed > c->next ? c->committed - c->next : 0;
}

void qn_kafka_standby_look(struct qn_service_kafka *k)
{
    struct qn_kafka_standby *s = k->standby;

    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < k->shard_count; i++) {
        struct copy *c = &s->copies[i];
        char number[12];
        const struct qn_str place[2] = {
            qn_str_of(k->input), {number, (uint32_t)snprintf(number, sizeof number, "%u", i)}};

        if (c->shard != NULL && c->lag == NULL)
            c->lag = qn_metrics_series(k->sv->opt.metrics, QN_METRIC_STANDBY_LAG, place);
        if (c->lag != NULL)
            qn_series_set(c->lag, (double)lag_of(c));
    }
    pthread_mutex_unlock(&s->lock);
}

void qn_kafka_standby_status(const struct qn_service_kafka *k, struct qn_buf *b)
{
    struct qn_kafka_standby *s = k->standby;
    bool is_first = true;

    if (s == NULL)
        return;
    qn_buf_text(b, ",\"standby\":[");
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < k->shard_count; i++) {
        const struct copy *c = &s->copies[i];

        if (!c->is_wanted)
            continue;
        qn_buf_printf(
            b, "%s{\"partition\":%u,\"state\":\"%s\",\"next\":%" PRId64 ",\"lag\":%" PRId64 "}",
            is_first ? "" : ",", i, c->shard != NULL ? "following" : "restoring",
            c->shard != NULL ? c->next : 0, lag_of(c));
        is_first = false;
    }
    pthread_mutex_unlock(&s->lock);
    qn_buf_byte(b, ']');
}

#endif
