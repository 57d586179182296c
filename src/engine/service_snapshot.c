/* SPDX-License-Identifier: Apache-2.0
 * service_snapshot.c - when the state is saved, and which snapshot a start believes.
 *
 * A snapshot is of the state behind a batch; it is published once that batch's commit is durable,
 * so what is saved never runs ahead of the log. Its payload is where each input goes on, in the
 * format of a commit, and the hash of the commit it is of: a snapshot of another history, as of a
 * copy of the log that went on by itself, is told by it. The log is held from the oldest snapshot
 * that stays. The engine's thread asks the store while it restores only; later the snapshots' own
 * thread does. Thread: the engine's. */
#include "base/check.h"
#include "base/memory.h"
#include "engine/engine_state.h"
#include "engine/service_int.h"
#include "engine/snapshot_bucket.h"
#include "monitor/report.h"

#include <stdio.h>

enum {
    WORK_BYTES = 1 << 20,
    RETRY_MS = 5000, /* after one that failed; doubled each time, up to: */
    RETRY_MAX_MS = 60000
};

struct qn_service_snapshots {
    struct qn_snapshot_store store;
    struct qn_snapshots *sn;
    struct qn_section *sections;
    struct qn_series *age, *ratio, *bytes, *pause, *failed;
    uint64_t *saved_next; /* [streams] of the last one begun */
    uint64_t behind;      /* commits handed over when it began */
    int64_t next_ns;      /* when the next one is due          */
    int64_t begun_ns;
    uint32_t failures; /* since the last that was published */
};

static int64_t mono_ns(const struct qn_service *sv)
{
    return sv->opt.clock->mono_ns(sv->opt.clock->st);
}

static qn_status open_folder(struct qn_service *sv, struct qn_snapshot_store *out,
                             struct qn_err *err)
{
    struct qn_buf path = {0};
    qn_status rc;

    qn_buf_printf(&path, "%s/snap", sv->plan->storage.dir);
    qn_buf_byte(&path, '\0');
    rc = path.failed ? qn_err_set(err, QN_NOMEM, "out of memory for snapshots")
                     : qn_snapshot_folder_new(sv->opt.files, path.data, out, err);
    qn_buf_fini(&path);
    return rc;
}

qn_status qn_service_check(const struct qn_plan *plan, const struct qn_clock *clock,
                           const struct qn_random *random, struct qn_err *err)
{
    return qn_snapshot_bucket_check(plan, clock, random, err);
}

/* Objects lie below the identity of the log, so that none of another log can be taken for ours. */
static qn_status open_bucket(struct qn_service *sv, struct qn_snapshot_store *out,
                             struct qn_err *err)
{
    char below[QN_LOG_ID_TEXT + 1];
    char id[QN_LOG_ID_TEXT];

    qn_log_identity(sv->log, id);
    snprintf(below, sizeof below, "%s/", id);
    return qn_snapshot_bucket_open(sv->plan, sv->opt.clock, sv->opt.random, below, out, err);
}

qn_status qn_service_snapshots_init(struct qn_service *sv, struct qn_err *err)
{
    struct qn_service_snapshots *x = QN_NEW(&sv->arena, struct qn_service_snapshots);
    const uint32_t n = qn_engine_section_count(sv->en);
    struct qn_snapshots_options opt = {.section_count = n, .workers = sv->opt.threads};

    if (x == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    sv->snapshots = x;
    x->sections = QN_NEW_N(&sv->arena, struct qn_section, n);
    x->saved_next = QN_NEW_N(&sv->arena, uint64_t, sv->plan->schema_count);
    if (!x->sections || !x->saved_next)
        return qn_err_set(err, QN_NOMEM, "out of memory for snapshots");
    if (sv->plan->storage.bucket.name != NULL)
        QN_TRY(open_bucket(sv, &x->store, err));
    else
        QN_TRY(open_folder(sv, &x->store, err));
    QN_TRY(qn_engine_sections(sv->en, x->sections, err));
    opt.store = &x->store;
    opt.sections = x->sections;
    QN_TRY(qn_snapshots_new(&opt, &x->sn, err));
    x->age = qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_AGE, NULL);
    x->ratio = qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_AGE_RATIO, NULL);
    x->bytes = qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_BYTES, NULL);
    x->pause = qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_PAUSE, NULL);
    x->failed = qn_metrics_series(sv->opt.metrics, QN_METRIC_SNAPSHOT_FAILED, NULL);
    return QN_OK;
}

void qn_service_snapshots_fini(struct qn_service *sv)
{
    if (sv->snapshots == NULL)
        return;
    qn_snapshots_free(sv->snapshots->sn);
    qn_snapshot_store_free(&sv->snapshots->store);
}

void qn_service_cancel_snapshots(struct qn_service *sv)
{
    if (sv->snapshots != NULL)
        qn_snapshot_store_cancel(&sv->snapshots->store);
}

/* ---- restoring -------------------------------------------------------------------------------*/

struct choice {
    struct qn_service *sv;
    const uint64_t *last; /* [streams] committed */
    uint64_t *next;       /* [streams] of the snapshot looked at */
};

/* The commit it is of must be the one that the log has there. A hash of 0: it names none. */
static qn_status check_history(const struct choice *c, uint64_t position, uint64_t hash,
                               struct qn_err *err)
{
    const struct qn_service *sv = c->sv;
    uint64_t found = 0;

    if (hash == 0)
        return QN_OK;
    QN_TRY(qn_commits_hash_at(sv->log, sv->control_topic, sv->stream_topics, sv->plan->schema_count,
                              position, c->next, &found, err));
    if (found != hash)
        return qn_err_set(err, QN_INVALID,
                          "it is of another history of this log, as of a copy that went on by "
                          "itself");
    return QN_OK;
}

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
    return check_history(c, info->position, m.maker, err);
}

static void passed_over(void *arg, uint64_t number, const struct qn_err *why)
{
    struct choice *c = arg;

    qn_report_say(c->sv->opt.report, QN_LEVEL_WARN, "snapshot", "%llu is passed over: %s%s%s",
                  (unsigned long long)number, why->file, why->file[0] != '\0' ? ": " : "",
                  why->text);
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
    (void)qn_log_hold(sv->log, qn_str_of("snapshot"), got.position, NULL);
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

static qn_status begin(struct qn_service *sv, struct qn_err *err)
{
    struct qn_service_snapshots *x = sv->snapshots;
    const uint32_t streams = sv->plan->schema_count;
    const uint64_t *next = qn_input_log_next(sv->in);
    struct qn_commit_input inputs[QN_STREAMS_MAX];
    struct qn_commit m = {
        .maker = qn_commits_hash(sv->commits), .inputs = inputs, .input_count = streams};
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

/* The older ones stay, and the pipeline goes on. Said once, until one is published again. */
static void failed(struct qn_service *sv, const struct qn_err *err)
{
    struct qn_service_snapshots *x = sv->snapshots;
    int64_t wait_ms = (int64_t)RETRY_MS << (x->failures < 8 ? x->failures : 8);

    if (x->failures++ == 0)
        qn_report_err(sv->opt.report, QN_LEVEL_WARN, "snapshot", err);
    qn_series_add(x->failed, 1);
    wait_ms = wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS;
    x->next_ns = mono_ns(sv) + wait_ms * 1000000;
    memset(x->saved_next, 0, sv->plan->schema_count * sizeof *x->saved_next);
    pthread_mutex_lock(&sv->wait_lock);
    sv->snapshot_failed++;
    pthread_mutex_unlock(&sv->wait_lock);
}

static void ended(struct qn_service *sv)
{
    struct qn_service_snapshots *x = sv->snapshots;
    struct qn_snapshot_info info;
    struct qn_err err = {0};

    if (qn_snapshots_result(x->sn, &info, &err) != QN_OK) {
        failed(sv, &err);
        return;
    }
    if (x->failures > 0)
        qn_report_say(sv->opt.report, QN_LEVEL_INFO, "snapshot",
                      "published again, after %u that were given up", x->failures);
    x->failures = 0;
    pthread_mutex_lock(&sv->wait_lock);
    sv->snapshot_taken_us = info.taken_us;
    sv->snapshot_bytes = info.all_bytes;
    sv->snapshot_ns = mono_ns(sv) - x->begun_ns;
    sv->snapshot_count++;
    pthread_mutex_unlock(&sv->wait_lock);
    qn_series_set(x->bytes, (double)info.all_bytes);
    if (info.kept_position > 0)
        (void)qn_log_hold(sv->log, qn_str_of("snapshot"), info.kept_position, NULL);
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
