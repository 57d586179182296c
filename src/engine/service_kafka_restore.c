/* SPDX-License-Identifier: Apache-2.0
 * service_kafka_restore.c - states that are brought back while the partitions that are there go on.
 *
 *   engine's thread                         thread of this file
 *   assigned: ask(position, mark) ────────► new shard, snapshot ─► ready ─┐
 *   restored: reads on from there ◄───────────────────────────────────────┘
 *
 * A bucket may be slow, and large states take seconds: neither is to stop the others, nor the group
 * from hearing of us. A bucket that does not answer is asked again with growing pauses, for as long
 * as the partition is ours; what waits there is lag, and said. One shard after the other. Threads
 * meet under the lock: a shard belongs to the engine's thread before and behind that. */
#include "engine/service_kafka_int.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "base/memory.h"
#include "monitor/report.h"

#include <string.h>
#include <time.h>

enum {
    MARK_BYTES = 2 * QN_SHARD_MARK_BYTES,
    AGAIN_MS = 1000,
    AGAIN_MAX_MS = 30000,
    WAIT_US = 100000,
    JOURNAL_MS = 1000 /* one question */
};
#define JOURNAL_AGAIN_NS INT64_C(100000000)
#define JOURNAL_NS       INT64_C(60000000000)

enum state { NOTHING, ASKED, WORKING, READY, FAILED };

/* One per partition. Under the lock; committed and oldest are the engine's thread's own. */
struct job {
    enum state state;
    bool is_wanted; /* false while WORKING: what comes out is thrown away */
    int64_t committed, oldest;
    struct qn_shard_place *place; /* of several streams; else NULL */
    char mark[MARK_BYTES];
    uint32_t mark_len;
    int32_t generation;
    struct qn_shard *shard; /* READY; or ASKED, and tried before */
    int64_t due_ns, asked_ns;
    uint32_t tries;
    struct qn_err err;
};

struct qn_kafka_restore {
    struct qn_service_kafka *k;
    struct job *jobs; /* [shard_count] */
    pthread_t thread;
    bool has_thread, stop;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct qn_shard *working; /* its store may be cancelled */
    uint32_t open;            /* jobs that are ASKED or WORKING, and wanted */
    _Atomic uint32_t ended;   /* READY or FAILED, and not taken */
};

struct qn_shard_options qn_kafka_shard_options(const struct qn_service_kafka *k)
{
    const struct qn_service *sv = k->sv;

    return (struct qn_shard_options){.plan = sv->plan,
                                     .load = sv->opt.load,
                                     .files = sv->opt.files,
                                     .clock = sv->opt.clock,
                                     .random = sv->opt.random,
                                     .report = sv->opt.report,
                                     .threads = sv->opt.threads,
                                     .log_id = k->log_id,
                                     .writer = k->writer,
                                     .stage = k->stage_index,
                                     .shards = k->shard_count,
                                     .next_partitions = k->is_last ? 0 : k->partitions[0],
                                     .transcoders = (struct qn_transcoder *const *)k->transcoders};
}

/* ---- the thread ------------------------------------------------------------------------------*/

static qn_status restore(struct qn_kafka_restore *r, uint32_t i, struct qn_shard **shard,
                         struct qn_err *err)
{
    const struct qn_shard_options opt = qn_kafka_shard_options(r->k);
    const struct job *j = &r->jobs[i]; /* as asked: nobody changes it while WORKING */
    bool is_wanted;

    if (*shard == NULL)
        QN_TRY(qn_shard_new(&opt, i, j->generation, shard, err));
    pthread_mutex_lock(&r->lock);
    is_wanted = j->is_wanted;
    r->working = *shard;
    pthread_mutex_unlock(&r->lock);
    if (!is_wanted)
        return qn_err_set(err, QN_INTERRUPTED, "told to stop");
    if (j->place != NULL)
        qn_shard_merge_place(*shard, j->place);
    return qn_shard_restore(*shard, j->committed, (struct qn_str){j->mark, j->mark_len}, j->oldest,
                            err);
}

/* The bucket does not answer: said once a partition. Under the lock. */
static void again(struct qn_kafka_restore *r, uint32_t i, struct qn_shard *shard,
                  const struct qn_err *why)
{
    struct job *j = &r->jobs[i];
    int64_t wait_ms = (int64_t)AGAIN_MS << (j->tries < 5 ? j->tries : 5);

    if (j->tries++ == 0)
        qn_report_say(r->k->sv->opt.report, QN_LEVEL_WARN, "snapshot",
                      "partition %u waits for its snapshot, the others go on: %s", i, why->text);
    wait_ms = wait_ms < AGAIN_MAX_MS ? wait_ms : AGAIN_MAX_MS;
    j->due_ns = qn_kafka_now_ns(r->k) + wait_ms * 1000000;
    j->shard = shard;
    j->state = ASKED;
}

/* Under the lock. */
static void ended(struct qn_kafka_restore *r, uint32_t i, struct qn_shard *shard, qn_status rc,
                  const struct qn_err *err)
{
    struct job *j = &r->jobs[i];

    if (rc != QN_OK && rc != QN_CORRUPT && err->retriable &&
        r->k->sv->plan->storage.bucket.name != NULL) {
        again(r, i, shard, err);
        return;
    }
    if (rc != QN_OK) {
        qn_shard_free(shard);
        shard = NULL;
    }
    j->state = rc == QN_OK ? READY : FAILED;
    j->shard = shard;
    j->err = *err;
    r->open--;
    atomic_fetch_add(&r->ended, 1);
}

/* Under the lock, but while it works. */
static void work(struct qn_kafka_restore *r, uint32_t i)
{
    struct job *j = &r->jobs[i];
    struct qn_shard *shard = j->shard;
    struct qn_err err = {0};
    qn_status rc;

    j->shard = NULL;
    j->state = WORKING;
    pthread_mutex_unlock(&r->lock);
    rc = restore(r, i, &shard, &err);
    pthread_mutex_lock(&r->lock);
    r->working = NULL;
    if (j->is_wanted) {
        ended(r, i, shard, rc, &err);
        return;
    }
    pthread_mutex_unlock(&r->lock);
    qn_shard_free(shard);
    pthread_mutex_lock(&r->lock);
    j->state = NOTHING;
    pthread_cond_broadcast(&r->work);
}

/* The first that is due; shard_count: none. */
static uint32_t find_due(const struct qn_kafka_restore *r)
{
    const int64_t now = qn_kafka_now_ns(r->k);
    uint32_t i;

    for (i = 0; i < r->k->shard_count; i++)
        if (r->jobs[i].state == ASKED && r->jobs[i].due_ns <= now)
            break;
    return i;
}

/* A while, or until something is asked. Under the lock. */
static void wait(struct qn_kafka_restore *r)
{
    const int64_t until_us = qn_service_now_us(r->k->sv) + WAIT_US;
    const struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

    if (r->open > 0)
        (void)pthread_cond_timedwait(&r->work, &r->lock, &until);
    else
        (void)pthread_cond_wait(&r->work, &r->lock);
}

static void *restoring(void *arg)
{
    struct qn_kafka_restore *r = arg;

    pthread_mutex_lock(&r->lock);
    while (!r->stop) {
        const uint32_t i = find_due(r);

        if (i < r->k->shard_count)
            work(r, i);
        else
            wait(r);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------*/

qn_status qn_kafka_restore_start(struct qn_service_kafka *k, struct qn_err *err)
{
    struct qn_kafka_restore *r = qn_mem_zalloc(1, sizeof *r); /* each stage's thread comes here */
    int failed;

    if (r != NULL)
        r->jobs = qn_mem_zalloc(k->shard_count, sizeof *r->jobs);
    if (r == NULL || r->jobs == NULL) {
        qn_mem_free(r);
        return qn_err_set(err, QN_NOMEM, "out of memory for restoring");
    }
    r->k = k;
    for (uint32_t i = 0; i < k->shard_count && k->input_count > 1; i++) {
        r->jobs[i].place = QN_NEW(&k->sv->arena, struct qn_shard_place); /* one stage: one thread */
        if (r->jobs[i].place == NULL) {
            qn_mem_free(r->jobs);
            qn_mem_free(r);
            return qn_err_set(err, QN_NOMEM, "out of memory for restoring");
        }
    }
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    k->restore = r;
    failed = pthread_create(&r->thread, NULL, restoring, r);
    r->has_thread = failed == 0;
    return failed == 0 ? QN_OK
                       : qn_err_sys(err, failed, "cannot start the thread that restores states");
}

void qn_kafka_restore_stop(struct qn_service_kafka *k)
{
    struct qn_kafka_restore *r = k->restore;

    if (r == NULL)
        return;
    qn_kafka_restore_forget(k);
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    if (r->has_thread)
        pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    k->restore = NULL;
    qn_mem_free(r->jobs);
    qn_mem_free(r);
}

/* ---- asking ----------------------------------------------------------------------------------*/

void qn_kafka_restore_ask(struct qn_service_kafka *k, const rd_kafka_topic_partition_t *at,
                          int64_t oldest, const struct qn_shard_place *place)
{
    struct qn_kafka_restore *r = k->restore;
    struct job *j = &r->jobs[at->partition];
    const struct qn_str mark = qn_kafka_mark_of(at);

    pthread_mutex_lock(&r->lock);
    while (j->state == WORKING) /* what was asked for before; it was told to end */
        (void)pthread_cond_wait(&r->work, &r->lock);
    QN_ASSERT(j->state == NOTHING);
    if (place != NULL)
        *j->place = *place;
    *j = (struct job){.state = ASKED,
                      .place = j->place,
                      .is_wanted = true,
                      .committed = at->offset,
                      .oldest = oldest,
                      .asked_ns = qn_kafka_now_ns(k),
                      .generation = k->generation};
    j->mark_len = mark.len < MARK_BYTES ? mark.len : MARK_BYTES;
    if (j->mark_len > 0)
        memcpy(j->mark, mark.p, j->mark_len);
    r->open++;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
}

void qn_kafka_restore_forget(struct qn_service_kafka *k)
{
    struct qn_kafka_restore *r = k->restore;

    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < k->shard_count; i++) {
        struct job *j = &r->jobs[i];

        if (j->state == WORKING) {
            j->is_wanted = false;
            continue;
        }
        qn_shard_free(j->shard);
        *j = (struct job){.place = j->place};
    }
    if (r->working != NULL)
        qn_shard_snapshots_cancel(r->working);
    r->open = 0;
    atomic_store(&r->ended, 0);
    pthread_mutex_unlock(&r->lock);
}

bool qn_kafka_is_restoring(const struct qn_service_kafka *k)
{
    bool is;

    pthread_mutex_lock(&k->restore->lock);
    is = k->restore->open > 0 || atomic_load(&k->restore->ended) > 0;
    pthread_mutex_unlock(&k->restore->lock);
    return is;
}

/* A commit is told to the group and to the journal one after the other: for a moment its end may
 * lie before what the group has. Asks again. Under the lock, but while it asks: nobody else looks
 * at what FAILED. */
static bool awaits_journal(struct qn_service_kafka *k, uint32_t i)
{
    struct job *j = &k->restore->jobs[i];
    const int64_t now = qn_kafka_now_ns(k);
    rd_kafka_resp_err_t code;
    int64_t oldest, end;

    if (j->place == NULL || !j->err.retriable || now - j->asked_ns >= JOURNAL_NS)
        return false;
    pthread_mutex_unlock(&k->restore->lock);
    atomic_fetch_add(&k->beats, 1);
    code = qn_kafka_ends(k->consumer.rk, k->journal, i, JOURNAL_MS, &oldest, &end);
    pthread_mutex_lock(&k->restore->lock);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        j->place->journal_oldest = oldest;
        j->place->journal_end = end;
    }
    j->state = ASKED;
    j->due_ns = now + JOURNAL_AGAIN_NS;
    k->restore->open++;
    pthread_cond_broadcast(&k->restore->work);
    return true;
}

/* Takes what is ready out of its job; a failure in *err. */
static qn_status take_ready(struct qn_service_kafka *k, bool *is_any, struct qn_err *err)
{
    struct qn_kafka_restore *r = k->restore;
    qn_status rc = QN_OK;

    pthread_mutex_lock(&r->lock);
    atomic_store(&r->ended, 0); /* one that ends while a question is asked below counts again */
    for (uint32_t i = 0; i < k->shard_count; i++) {
        struct job *j = &r->jobs[i];

        if (j->state == READY) {
            QN_ASSERT(k->is_ours[i] && k->shards[i] == NULL);
            k->shards[i] = j->shard;
            *is_any = true;
        } else if (j->state == FAILED && awaits_journal(k, i)) {
            continue;
        } else if (j->state == FAILED && rc == QN_OK) {
            *err = j->err;
            rc = j->err.code;
        }
        if (j->state == READY || j->state == FAILED)
            *j = (struct job){.place = j->place, .committed = j->committed, .oldest = j->oldest};
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

qn_status qn_kafka_restored(struct qn_service_kafka *k, struct qn_err *err)
{
    bool is_any = false;

    if (atomic_load(&k->restore->ended) == 0)
        return QN_OK;
    QN_TRY(take_ready(k, &is_any, err));
    return is_any ? qn_kafka_read_on(k, err) : QN_OK;
}

int64_t qn_kafka_restore_position(const struct qn_service_kafka *k, uint32_t partition)
{
    const struct job *j = &k->restore->jobs[partition];

    return j->committed >= 0 ? j->committed : j->oldest;
}

int64_t qn_kafka_restore_input(const struct qn_service_kafka *k, uint32_t partition, uint32_t input)
{
    const struct qn_shard_place *p = k->restore->jobs[partition].place;

    return p->committed[input] >= 0 ? p->committed[input] : p->oldest[input];
}

#endif
