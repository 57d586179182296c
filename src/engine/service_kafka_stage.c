/* SPDX-License-Identifier: Apache-2.0
 * service_kafka_stage.c - the stages of a pipeline that run in one process, each on a thread of its
 * own.
 *
 *   thread of the service: first stage here ─┐  topics between them; nothing is shared in memory
 *   one more each:         those behind it  ─┴─ but what is told of them (service_kafka_look.c)
 *
 * Each is what a pipeline of one stage is: a consumer in a group, shards, transactions. So it is
 * all the same whether they run here or elsewhere. Thread: as each function says. */
#include "engine/service_kafka_int.h"

#ifdef QN_WITH_KAFKA

#include "engine/shard_stage.h"
#include "monitor/report.h"

#include <errno.h>

/* Nothing to read for so long, and the others need not wait for a shard any more. */
#define IDLE_NS INT64_C(10000000000)

/* ---- life: the service's opener -------------------------------------------------------------*/

static qn_status add_stage(struct qn_service *sv, uint32_t index, struct qn_service_kafka **last,
                           struct qn_err *err)
{
    const struct qn_plan_kafka *p = &sv->plan->kafka;
    struct qn_service_kafka *k = QN_NEW(&sv->arena, struct qn_service_kafka);

    if (k == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a log in Kafka");
    k->sv = sv;
    k->stage_index = index;
    k->stage = &p->stages[index];
    k->is_first = index == 0;
    k->is_last = index + 1 == p->stage_count;
    if (*last == NULL)
        sv->kafka = k;
    else
        (*last)->next = k;
    *last = k;
    return qn_kafka_stage_init(k, err);
}

static qn_status no_stage(const struct qn_service *sv, struct qn_err *err)
{
    const struct qn_plan_kafka *p = &sv->plan->kafka;
    const char *asked = sv->opt.stage;
    struct qn_buf known = {0};

    if (p->stage_count == 1)
        return qn_err_set(err, QN_INVALID,
                          "this pipeline has no stages, as all its features are by one key: leave "
                          "--stage %s out",
                          asked);
    for (uint32_t i = 0; i < p->stage_count; i++)
        qn_buf_printf(&known, "%s%s", i > 0 ? ", " : "", p->stages[i].name);
    qn_err_set(err, QN_INVALID, "there is no stage '%s'; known: %.*s", asked, (int)known.len,
               known.data != NULL ? known.data : "");
    qn_buf_fini(&known);
    return QN_INVALID;
}

qn_status qn_kafka_stages_new(struct qn_service *sv, struct qn_err *err)
{
    const struct qn_plan_kafka *p = &sv->plan->kafka;
    struct qn_service_kafka *last = NULL;

    for (uint32_t i = 0; i < p->stage_count; i++)
        if (sv->opt.stage == NULL ||
            (p->stage_count > 1 && strcmp(p->stages[i].name, sv->opt.stage) == 0))
            QN_TRY(add_stage(sv, i, &last, err));
    return last != NULL ? QN_OK : no_stage(sv, err);
}

/* ---- threads: the first stage's ---------------------------------------------------------------*/

static void *stage_main(void *stage)
{
    qn_kafka_stage_run(stage);
    return NULL;
}

qn_status qn_kafka_stages_start(struct qn_service *sv, struct qn_err *err)
{
    for (struct qn_service_kafka *k = sv->kafka->next; k != NULL; k = k->next) {
        const int failed = pthread_create(&k->thread, NULL, stage_main, k);

        if (failed != 0)
            return qn_err_sys(err, failed, "cannot start the thread of a stage");
        k->has_thread = true;
    }
    return QN_OK;
}

void qn_kafka_stages_join(struct qn_service *sv)
{
    for (struct qn_service_kafka *k = sv->kafka->next; k != NULL; k = k->next) {
        if (k->has_thread)
            pthread_join(k->thread, NULL);
        k->has_thread = false;
    }
}

/* ---- what they tell: each stage's own thread --------------------------------------------------*/

void qn_kafka_stage_started(struct qn_service_kafka *k)
{
    atomic_store(&k->has_started, true);
    for (const struct qn_service_kafka *o = k->sv->kafka; o != NULL; o = o->next)
        if (!atomic_load(&o->has_started))
            return;
    if (qn_service_move(k->sv, QN_PHASE_STARTING, QN_PHASE_RUNNING))
        qn_report_say(k->sv->opt.report, QN_LEVEL_INFO, "engine", "running");
}

uint64_t qn_service_kafka_beats(const struct qn_service *sv)
{
    uint64_t least = UINT64_MAX;

    for (const struct qn_service_kafka *k = sv->kafka; k != NULL; k = k->next)
        if (atomic_load(&k->beats) < least)
            least = atomic_load(&k->beats);
    return least;
}

void qn_kafka_note_end(struct qn_service_kafka *k, uint32_t shard)
{
    if (k->ended_ns[shard] == 0)
        k->ended_ns[shard] = qn_kafka_now_ns(k);
}

void qn_kafka_tell_time(struct qn_service_kafka *k)
{
    const int64_t now = qn_kafka_now_ns(k);

    for (uint32_t i = 0; i < k->shard_count && !k->is_last; i++)
        if (k->shards[i] != NULL && k->is_ours[i])
            qn_shard_stage_tell(k->shards[i], now,
                                k->ended_ns[i] != 0 && now - k->ended_ns[i] >= IDLE_NS);
}

#endif
