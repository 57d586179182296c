/* SPDX-License-Identifier: Apache-2.0
 * service_snapshot.c - when the state is saved, and which snapshot a start believes.
 *
 * A snapshot is of the state behind a batch; it is published once that batch's commit is durable,
 * so what is saved never runs ahead of the log. Its payload is where each input goes on, in the
 * format of a commit. The log is held from the oldest snapshot in the folder on. Thread: the
 * engine's. */
#include "base/check.h"
#include "base/memory.h"
#include "engine/engine_state.h"
#include "engine/service_int.h"
#include "monitor/report.h"

enum { WORK_BYTES = 1 << 20, RETRY_MS = 5000 };

struct qn_service_snapshots {
    struct qn_snapshot_store store;
    struct qn_snapshots *sn;
    struct qn_section *sections;
    struct qn_series *age, *ratio, *bytes, *pause;
    uint64_t *saved_next; /* [streams] of the last one begun */
    uint64_t behind;      /* commits handed over when it began */
    int64_t next_ns;      /* when the next one is due          */
    int64_t begun_ns;
    bool is_reported; /* the failure of the last one was said */
};

static int64_t mono_ns(const struct qn_service *sv)
{
    return sv->opt.clock->mono_ns(sv->opt.clock->st);
}

qn_status qn_service_snapshots_init(struct qn_service *sv, struct qn_err *err)
{
    struct qn_service_snapshots *x = QN_NEW(&sv->arena, struct qn_service_snapshots);
    const uint32_t n = qn_engine_section_count(sv->en);
    struct qn_snapshots_options opt = {.section_count = n, .workers = sv->opt.threads};
    struct qn_buf path = {0};
    qn_status rc;

    if (x == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    sv->snapshots = x;
    x->sections = QN_NEW_N(&sv->arena, struct qn_section, n);
    x->saved_next = QN_NEW_N(&sv->arena, uint64_t, sv->plan->schema_count);
    if (!x->sections || !x->saved_next)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    qn_buf_printf(&path, "%s/snap", sv->plan->storage.dir);
    qn_buf_byte(&path, '\0');
    rc = path.failed ? qn_err_set(err, QN_NOMEM, "out of memory for snapshots")
                     : qn_snapshot_folder_new(sv->opt.files, path.data, &x->store, err);
    qn_buf_fini(&path);
    QN_TRY(rc);
    QN_TRY(qn_engine_sections(sv->en, x->sections, err));
    opt.store = &x->store;
    opt.sections = x->sections;
    QN_TRY(qn_snapshots_new(&opt, &x->sn, err));
    x->age = qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_AGE, NULL);
    x->ratio = qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_AGE_RATIO, NULL);
    x->bytes = qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_BYTES, NULL);
    x->pause = qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_PAUSE, NULL);
    return QN_OK;
}

void qn_service_snapshots_fini(struct qn_service *sv)
{
    if (sv->snapshots == NULL)
        return;
    qn_snapshots_free(sv->snapshots->sn);
    qn_snapshot_folder_free(&sv->snapshots->store);
}

/* ---- restoring -------------------------------------------------------------------------------*/

struct choice {
    struct qn_service *sv;
    const uint64_t *last; /* [streams] committed */
    uint64_t *next;       /* [streams] of the snapshot looked at */
};

/* Its position must be committed, and the log must reach back to it. */
static qn_status accept(void *arg, const struct qn_snapshot_info *info, struct qn_err *err)
{
    struct choice *c = arg;
    const struct qn_plan *p = c->sv->plan;
    struct qn_commit_input inputs[QN_STREAMS_MAX];
    struct qn_commit m = {.inputs = inputs};

    QN_TRY(qn_commit_read(info->payload, QN_STREAMS_MAX, 0, &m, err));
    for (uint32_t s = 0; s < p->schema_count; s++) {
        struct qn_log_topic_info topic;

        c->next[s] = 0;
        for (uint32_t i = 0; i < m.input_count; i++)
            if (inputs[i].topic == c->sv->stream_topics[s])
                c->next[s] = inputs[i].next;
        qn_log_topic_info(c->sv->log, c->sv->stream_topics[s], &topic);
        if (c->next[s] > c->last[s])
            return qn_err_set(err, QN_INVALID, "it is ahead of the log, which is another one");
        if (c->next[s] < topic.first)
            return qn_err_set(err, QN_NOT_FOUND, "the log of '%.*s' no longer reaches back to it",
                              QN_STR_ARG(p->schemas[s].name));
    }
    return QN_OK;
}

static void passed_over(void *arg, uint64_t number, const struct qn_err *why)
{
    struct choice *c = arg;

    qn_report_say(c->sv->opt.report, QN_LEVEL_WARN, "snapshot", "%llu is passed over: %s",
                  (unsigned long long)number, why->text);
}

qn_status qn_service_restore(struct qn_service *sv, const uint64_t *last, uint64_t *next,
                             bool *found, struct qn_err *err)
{
    struct choice c = {sv, last, next};
    const struct qn_snapshot_choice how = {accept, passed_over, &c};
    struct qn_snapshot_info got = {0};

    QN_TRY(qn_snapshots_restore(sv->snapshots->sn, &how, &got, err));
    *found = got.number > 0;
    if (!*found)
        return QN_OK;
    memcpy(sv->snapshots->saved_next, next, sv->plan->schema_count * sizeof *next);
    pthread_mutex_lock(&sv->wait_lock);
    sv->snapshot_taken_us = got.taken_us;
    pthread_mutex_unlock(&sv->wait_lock);
    qn_report_say(sv->opt.report, QN_LEVEL_INFO, "snapshot",
                  "%llu restored: %llu bytes, %.1f s old", (unsigned long long)got.number,
                  (unsigned long long)got.all_bytes,
                  (double)(qn_service_now_us(sv) - got.taken_us) / 1e6);
    return QN_OK;
}

/* ---- taking ----------------------------------------------------------------------------------*/

struct oldest {
    uint64_t position;
};

static void find_oldest(void *arg, const struct qn_snapshot_info *info)
{
    struct oldest *o = arg;

    o->position = info->position < o->position ? info->position : o->position;
}

static void hold_log(struct qn_service *sv)
{
    struct oldest o = {UINT64_MAX};

    if (qn_snapshots_list(&sv->snapshots->store, find_oldest, &o, NULL) == QN_OK &&
        o.position != UINT64_MAX)
        (void)qn_log_hold(sv->log, qn_str_of("snapshot"), o.position, NULL);
}

static qn_status begin(struct qn_service *sv, struct qn_err *err)
{
    struct qn_service_snapshots *x = sv->snapshots;
    const uint32_t streams = sv->plan->schema_count;
    const uint64_t *next = qn_input_log_next(sv->in);
    struct qn_commit_input inputs[QN_STREAMS_MAX];
    struct qn_commit m = {.inputs = inputs, .input_count = streams};
    struct qn_snapshot_info info = {.position = qn_input_log_lsn(sv->in),
                                    .taken_us = qn_service_now_us(sv)};
    struct qn_buf payload = {0};
    qn_status rc;

    for (uint32_t s = 0; s < streams; s++)
        inputs[s] = (struct qn_commit_input){sv->stream_topics[s], next[s]};
    qn_commit_write(&m, &payload);
    info.payload = (struct qn_str){payload.data, (uint32_t)payload.len};
    rc = payload.failed ? qn_err_set(err, QN_NOMEM, "out of memory for a snapshot")
                        : qn_snapshots_begin(x->sn, &info, err);
    qn_buf_fini(&payload);
    if (rc != QN_OK)
        return rc;
    memcpy(x->saved_next, next, streams * sizeof *next);
    x->behind = atomic_load(&sv->handed);
    x->begun_ns = mono_ns(sv);
    return QN_OK;
}

static void ended(struct qn_service *sv)
{
    struct qn_service_snapshots *x = sv->snapshots;
    struct qn_snapshot_info info;
    struct qn_err err = {0};

    if (qn_snapshots_result(x->sn, &info, &err) != QN_OK) {
        if (!x->is_reported)
            qn_report_err(sv->opt.report, QN_LEVEL_WARN, "snapshot", &err);
        x->is_reported = true;
        x->next_ns = mono_ns(sv) + (int64_t)RETRY_MS * 1000000;
        memset(x->saved_next, 0, sv->plan->schema_count * sizeof *x->saved_next);
        return;
    }
    x->is_reported = false;
    pthread_mutex_lock(&sv->wait_lock);
    sv->snapshot_taken_us = info.taken_us;
    sv->snapshot_bytes = info.all_bytes;
    sv->snapshot_ns = mono_ns(sv) - x->begun_ns;
    sv->snapshot_count++;
    pthread_mutex_unlock(&sv->wait_lock);
    qn_series_set(x->bytes, (double)info.all_bytes);
    hold_log(sv);
}

/* True where events came since the last one. */
static bool has_news(const struct qn_service *sv)
{
    return memcmp(sv->snapshots->saved_next, qn_input_log_next(sv->in),
                  sv->plan->schema_count * sizeof(uint64_t)) != 0;
}

bool qn_service_snapshot(struct qn_service *sv, bool is_now)
{
    struct qn_service_snapshots *x = sv->snapshots;
    enum qn_snapshot_phase phase = qn_snapshots_phase(x->sn);
    const int64_t since_ns = mono_ns(sv);
    struct qn_err err = {0};

    if (phase == QN_SNAPSHOT_NONE) {
        if ((!is_now && since_ns < x->next_ns) || !has_news(sv))
            return false;
        x->next_ns = since_ns + sv->plan->storage.snapshot_every_us * 1000;
        if (begin(sv, &err) != QN_OK) {
            qn_report_err(sv->opt.report, QN_LEVEL_WARN, "snapshot", &err);
            return false;
        }
        phase = QN_SNAPSHOT_SWEEPING;
    }
    if (phase == QN_SNAPSHOT_SWEEPING) {
        int64_t pause_ns;

        phase = qn_snapshots_step(x->sn, WORK_BYTES);
        pause_ns = mono_ns(sv) - since_ns;
        qn_series_observe(x->pause, (double)pause_ns / 1e9, 1);
        pthread_mutex_lock(&sv->wait_lock);
        if (pause_ns > sv->snapshot_pause_ns)
            sv->snapshot_pause_ns = pause_ns;
        pthread_mutex_unlock(&sv->wait_lock);
    }
    if (phase == QN_SNAPSHOT_SWEPT && atomic_load(&sv->durable) >= x->behind)
        qn_snapshots_finish(x->sn);
    if (phase == QN_SNAPSHOT_ENDED)
        ended(sv);
    return phase == QN_SNAPSHOT_SWEEPING;
}

/* Goes on with the one that is under way, waiting where there is something to wait for. */
static void go_on(struct qn_service *sv)
{
    struct qn_service_snapshots *x = sv->snapshots;
    enum qn_snapshot_phase phase = qn_snapshots_phase(x->sn);

    if (phase == QN_SNAPSHOT_SWEEPING)
        (void)qn_snapshots_step(x->sn, WORK_BYTES);
    else if (phase == QN_SNAPSHOT_SWEPT)
        qn_snapshots_finish(x->sn);
    else if (phase == QN_SNAPSHOT_WRITING)
        qn_snapshots_wait(x->sn);
    else if (phase == QN_SNAPSHOT_ENDED)
        ended(sv);
}

void qn_service_last_snapshot(struct qn_service *sv)
{
    struct qn_service_snapshots *x = sv->snapshots;

    while (qn_snapshots_phase(x->sn) != QN_SNAPSHOT_NONE) /* one that is under way */
        go_on(sv);
    if (!has_news(sv))
        return;
    (void)qn_service_snapshot(sv, true);
    while (qn_snapshots_phase(x->sn) != QN_SNAPSHOT_NONE)
        go_on(sv);
}

void qn_service_look_snapshot(struct qn_service *sv)
{
    struct qn_service_snapshots *x = sv->snapshots;
    const double age = sv->snapshot_taken_us > 0
                           ? (double)(qn_service_now_us(sv) - sv->snapshot_taken_us) / 1e6
                           : (double)(qn_service_now_us(sv) - sv->started_us) / 1e6;

    qn_series_set(x->age, age);
    if (sv->plan->storage.keep_us > 0)
        qn_series_set(x->ratio, age / ((double)sv->plan->storage.keep_us / 1e6));
}
