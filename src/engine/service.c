/* SPDX-License-Identifier: Apache-2.0
 * service.c - a pipeline that runs: opens the log, restores, replays, steps, stops. See service.h.
 *
 * The engine's thread is the story: engine_main. It replays what was committed once (commit.c holds
 * the records against the log), then steps over what arrives, until it is told to stop or
 * something fails. Invariant: nothing is acknowledged that is not in the log, and nothing of the
 * engine's memory is needed to go on after a crash. Thread: see service_int.h. */
#include "engine/service.h"

#include "base/check.h"
#include "base/memory.h"
#include "engine/service_int.h"
#include "monitor/report.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

enum {
    IDLE_MS = 100,      /* longest sleep of an idle engine                  */
    FULL_WAIT_MS = 100, /* between two tries of a commit on a full disk     */
    QUEUE_WAIT_MS = 1,
    SAVING_MS = 1, /* between two parts of a snapshot while idle       */
    ROWS_PER_THREAD = 2048,
    RECORD_BYTES = 768, /* of a record, and per feature on board: estimates */
    FEATURE_BYTES = 48,
    COMMIT_BYTES = 6 << 20, /* aimed at for the records of one batch          */
    EVENT_OUTPUTS_MAX = 5   /* outputs with the event on board                */
};

static const char *const phase_names[] = {
    [QN_PHASE_STARTING] = "starting", [QN_PHASE_RUNNING] = "running", [QN_PHASE_FULL] = "full",
    [QN_PHASE_DRAINING] = "draining", [QN_PHASE_STOPPED] = "stopped", [QN_PHASE_FAILED] = "failed",
};

const char *qn_phase_name(enum qn_phase p)
{
    return phase_names[p];
}

enum qn_phase qn_service_phase(struct qn_service *sv)
{
    return (enum qn_phase)atomic_load(&sv->phase);
}

uint64_t qn_service_beats(struct qn_service *sv)
{
    return sv->kafka != NULL ? qn_service_kafka_beats(sv) : atomic_load(&sv->beats);
}

bool qn_service_move(struct qn_service *sv, enum qn_phase from, enum qn_phase to)
{
    int was = (int)from;

    return atomic_compare_exchange_strong(&sv->phase, &was, (int)to);
}

void qn_service_fail(struct qn_service *sv, const struct qn_err *err)
{
    bool is_first;

    pthread_mutex_lock(&sv->wait_lock);
    is_first = atomic_exchange(&sv->phase, QN_PHASE_FAILED) != QN_PHASE_FAILED;
    if (is_first)
        sv->failure = *err;
    pthread_mutex_unlock(&sv->wait_lock);
    if (is_first)
        qn_report_err(sv->opt.report, QN_LEVEL_ERROR, "engine", err);
    qn_ingest_abandon(sv, err);
}

bool qn_service_failure(struct qn_service *sv, struct qn_err *err)
{
    bool is_failed = qn_service_phase(sv) == QN_PHASE_FAILED;

    pthread_mutex_lock(&sv->wait_lock);
    if (is_failed && err != NULL)
        *err = sv->failure;
    pthread_mutex_unlock(&sv->wait_lock);
    return is_failed;
}

/* ---- opening ---------------------------------------------------------------------------------*/

/* A segment goes when every topic in it agrees. By age they all do, also those of streams and
 * outputs that the spec once had. Bytes are counted of the main stream alone, or a few dead letters
 * would keep what they lie among. Control records are few and small and never keep anything: what
 * one is about lies before it, so that is gone by then or goes along. */
static void retain_topics(struct qn_service *sv)
{
    const struct qn_plan_storage *st = &sv->plan->storage;
    const uint32_t main_topic = sv->stream_topics[sv->plan->main_stream];

    for (uint32_t t = 0; t < qn_log_topic_count(sv->log); t++)
        qn_log_retain(sv->log, t, st->keep_bytes > 0 ? 1 : st->keep_us, 0);
    qn_log_retain(sv->log, main_topic, st->keep_us, st->keep_bytes);
    qn_log_retain(sv->log, sv->control_topic, 1, 0);
}

/* Streams, outputs, `dead` and `control` share the names of topics. */
static qn_status check_names(const struct qn_plan *p, struct qn_err *err)
{
    uint32_t with_event = 0;

    for (uint32_t o = 0; o < p->output_count; o++) {
        struct qn_str name = p->outputs[o].name;

        with_event += (p->outputs[o].include & QN_INCLUDE_EVENT) != 0;
        if (qn_str_is(name, QN_TOPIC_DEAD) || qn_str_is(name, QN_TOPIC_CONTROL))
            return qn_err_set(err, QN_INVALID,
                              "an output cannot be called '%.*s': the log has a topic of that name",
                              QN_STR_ARG(name));
        for (uint32_t s = 0; s < p->schema_count; s++)
            if (qn_str_eq(name, p->schemas[s].name))
                return qn_err_set(err, QN_INVALID,
                                  "the output '%.*s' has the name of a stream: both are topics of "
                                  "the log",
                                  QN_STR_ARG(name));
    }
    for (uint32_t s = 0; s < p->schema_count; s++)
        if (qn_str_is(p->schemas[s].name, QN_TOPIC_DEAD) ||
            qn_str_is(p->schemas[s].name, QN_TOPIC_CONTROL))
            return qn_err_set(err, QN_INVALID,
                              "a stream cannot be called '%.*s': the log has a topic of that name",
                              QN_STR_ARG(p->schemas[s].name));
    if (with_event > EVENT_OUTPUTS_MAX)
        return qn_err_set(err, QN_INVALID,
                          "%u outputs include the event; at most %d fit into one commit",
                          with_event, EVENT_OUTPUTS_MAX);
    return QN_OK;
}

static qn_status open_topics(struct qn_service *sv, struct qn_err *err)
{
    const struct qn_plan *p = sv->plan;

    sv->stream_topics = QN_NEW_N(&sv->arena, uint32_t, p->schema_count);
    sv->output_topics = QN_NEW_N(&sv->arena, uint32_t, p->output_count);
    if (!sv->stream_topics || !sv->output_topics)
        return qn_err_set(err, QN_NOMEM, "out of memory for the topics");
    QN_TRY(check_names(p, err));
    for (uint32_t s = 0; s < p->schema_count; s++)
        QN_TRY(qn_log_topic(sv->log, p->schemas[s].name, true, &sv->stream_topics[s], err));
    for (uint32_t o = 0; o < p->output_count; o++)
        QN_TRY(qn_log_topic(sv->log, p->outputs[o].name, true, &sv->output_topics[o], err));
    QN_TRY(qn_log_topic(sv->log, qn_str_of(QN_TOPIC_DEAD), true, &sv->dead_topic, err));
    QN_TRY(qn_log_topic(sv->log, qn_str_of(QN_TOPIC_CONTROL), true, &sv->control_topic, err));
    retain_topics(sv);
    return QN_OK;
}

static qn_status open_log(struct qn_service *sv, struct qn_err *err)
{
    const struct qn_plan_storage *st = &sv->plan->storage;
    const struct qn_log_options opt = {.files = sv->opt.files,
                                       .clock = sv->opt.clock,
                                       .random = sv->opt.random,
                                       .segment_bytes = st->segment_bytes,
                                       .codec = (enum qn_log_codec)st->codec,
                                       .may_be_volatile = st->is_volatile};

    if (st->dir == NULL)
        return qn_err_set(err, QN_INVALID,
                          "the spec does not say where to keep the log: add 'log: local:./data'");
    return qn_log_open(st->dir, &opt, &sv->log, &sv->recovery, err);
}

/* As many rows as fit into one append, whatever they are. */
static uint32_t rows_of_batch(const struct qn_service *sv)
{
    uint64_t bytes = 64, rows;

    for (uint32_t o = 0; o < sv->plan->output_count; o++)
        bytes += RECORD_BYTES + FEATURE_BYTES * (uint64_t)sv->plan->feature_count;
    rows = COMMIT_BYTES / bytes;
    if (rows > (uint64_t)ROWS_PER_THREAD * sv->opt.threads)
        rows = (uint64_t)ROWS_PER_THREAD * sv->opt.threads;
    return rows > QN_BATCH_ROWS_MAX ? QN_BATCH_ROWS_MAX : rows < 16 ? 16 : (uint32_t)rows;
}

static void *committing(void *arg, const struct qn_step_result *r)
{
    struct qn_service *sv = arg;

    qn_service_note_batch(sv, r);
    atomic_fetch_add(&sv->handed, 1);
    return qn_ingest_answer(sv, r);
}

static void committed(void *arg, const struct qn_commit_done *d, qn_status rc,
                      const struct qn_err *err)
{
    struct qn_service *sv = arg;

    if (rc == QN_OK) {
        qn_service_note_durable(sv, d);
        atomic_fetch_add(&sv->durable, 1);
    }
    qn_ingest_tell(d->told, rc, err);
    if (rc != QN_OK && rc != QN_FULL)
        qn_service_fail(sv, err);
}

static void sleep_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

bool qn_service_look_space(struct qn_service *sv)
{
    const bool is_full = qn_log_is_full(sv->log);

    if (is_full && qn_service_move(sv, QN_PHASE_RUNNING, QN_PHASE_FULL))
        qn_report_say(sv->opt.report, QN_LEVEL_WARN, "log",
                      "no space is left: nothing is accepted until there is");
    if (!is_full && qn_service_move(sv, QN_PHASE_FULL, QN_PHASE_RUNNING))
        qn_report_say(sv->opt.report, QN_LEVEL_INFO, "log",
                      "there is space again: events are accepted");
    return is_full;
}

static bool may_wait(void *arg, bool is_disk_full)
{
    struct qn_service *sv = arg;

    if (is_disk_full)
        (void)qn_service_look_space(sv);
    atomic_fetch_add(&sv->beats, 1);
    sleep_ms(is_disk_full ? FULL_WAIT_MS : QUEUE_WAIT_MS);
    return !atomic_load(&sv->give_up);
}

static qn_status open_engine(struct qn_service *sv, struct qn_err *err)
{
    struct qn_commits_options commits = {.log = sv->log,
                                         .stream_topics = sv->stream_topics,
                                         .output_topics = sv->output_topics,
                                         .dead_topic = sv->dead_topic,
                                         .control_topic = sv->control_topic,
                                         .workers = sv->opt.threads,
                                         .committing = committing,
                                         .done = committed,
                                         .may_wait = may_wait,
                                         .arg = sv};
    struct qn_engine_options engine = {.threads = sv->opt.threads};
    struct qn_input in;
    struct qn_output out;

    sv->rows_max = rows_of_batch(sv);
    engine.rows_max = commits.rows_max = sv->rows_max;
    sv->opt.random->fill(sv->opt.random->st, &engine.seed, sizeof engine.seed);
    QN_TRY(qn_input_log_new(sv->log, sv->plan, sv->stream_topics, &sv->in, err));
    commits.in = sv->in;
    QN_TRY(qn_commits_new(sv->plan, &commits, &sv->commits, err));
    in = qn_input_log_input(sv->in);
    out = qn_commits_output(sv->commits);
    QN_TRY(qn_engine_new(sv->plan, &engine, &in, &out, &sv->en, err));
    qn_engine_time(sv->en, sv->opt.clock);
    return QN_OK;
}

static qn_status service_init(struct qn_service *sv, struct qn_err *err)
{
    const uint32_t streams = sv->plan->schema_count;

    sv->processed = QN_NEW_N(&sv->arena, _Atomic uint64_t, streams);
    sv->appended = QN_NEW_N(&sv->arena, _Atomic uint64_t, streams);
    sv->waiting = QN_NEW_N(&sv->arena, struct qn_waiting, streams);
    if (!sv->processed || !sv->appended || !sv->waiting)
        return qn_err_set(err, QN_NOMEM, "out of memory for the service");
    for (uint32_t s = 0; s < streams; s++)
        sv->waiting[s].last = &sv->waiting[s].first;
    if (sv->plan->kafka.target.brokers != NULL) {
        QN_TRY(qn_service_series_init(sv, err));
        return qn_service_kafka_new(sv, err);
    }
    QN_TRY(open_log(sv, err));
    QN_TRY(open_topics(sv, err));
    QN_TRY(open_engine(sv, err));
    QN_TRY(qn_service_snapshots_init(sv, err));
    QN_TRY(qn_ingest_checkers_init(sv, err));
    return qn_service_series_init(sv, err);
}

qn_status qn_service_new(struct qn_plan *plan, const struct qn_service_options *opt,
                         struct qn_service **out, struct qn_err *err)
{
    struct qn_service *sv = qn_mem_zalloc(1, sizeof *sv);
    qn_status rc;

    *out = NULL;
    if (sv == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the service");
    qn_arena_init(&sv->arena, 0);
    pthread_mutex_init(&sv->turn, NULL);
    pthread_cond_init(&sv->turned, NULL);
    pthread_mutex_init(&sv->wait_lock, NULL);
    pthread_mutex_init(&sv->dead_lock, NULL);
    pthread_mutex_init(&sv->check_lock, NULL);
    pthread_cond_init(&sv->checked, NULL);
    sv->plan = plan;
    sv->opt = *opt;
    sv->started_us = qn_service_now_us(sv);
    rc = service_init(sv, err);
    if (rc != QN_OK) {
        qn_service_free(sv);
        return rc;
    }
    *out = sv;
    return QN_OK;
}

void qn_service_free(struct qn_service *sv)
{
    if (sv == NULL)
        return;
    QN_ASSERT(!sv->has_thread);
    QN_ASSERT(sv->sink_count == 0 && sv->source_count == 0);
    qn_service_kafka_free(sv);
    qn_service_snapshots_fini(sv);
    qn_commits_free(sv->commits);
    qn_input_log_free(sv->in);
    qn_dead_past_fini(&sv->past);
    qn_engine_free(sv->en);
    (void)qn_log_close(sv->log, NULL);
    qn_ingest_checkers_fini(sv);
    qn_service_series_fini(sv);
    pthread_cond_destroy(&sv->checked);
    pthread_mutex_destroy(&sv->check_lock);
    pthread_mutex_destroy(&sv->dead_lock);
    pthread_mutex_destroy(&sv->wait_lock);
    pthread_cond_destroy(&sv->turned);
    pthread_mutex_destroy(&sv->turn);
    qn_arena_fini(&sv->arena);
    qn_mem_free(sv);
}

/* ---- whose turn the engine is ----------------------------------------------------------------*/

static void turn_begin(struct qn_service *sv)
{
    pthread_mutex_lock(&sv->turn);
    while (sv->asking > 0)
        pthread_cond_wait(&sv->turned, &sv->turn);
    sv->is_stepping = true;
    pthread_mutex_unlock(&sv->turn);
}

static void turn_end(struct qn_service *sv)
{
    pthread_mutex_lock(&sv->turn);
    sv->is_stepping = false;
    pthread_cond_broadcast(&sv->turned);
    pthread_mutex_unlock(&sv->turn);
}

/* One step of the engine, and what follows from where it stands then. */
static qn_status step(struct qn_service *sv, enum qn_flow *flow, struct qn_err *err)
{
    const bool is_calm = atomic_load(&sv->queued) == 0;
    const int64_t begun_us = qn_service_now_us(sv);
    const struct qn_input_age *ages;
    const uint64_t *next;
    uint32_t age_count;
    qn_status rc;

    atomic_fetch_add(&sv->beats, 1);
    turn_begin(sv);
    *flow = QN_IDLE;
    rc = qn_step(sv->en, flow, err);
    next = qn_input_log_next(sv->in);
    ages = qn_input_log_ages(sv->in, &age_count);
    if (age_count > 0 || is_calm)
        atomic_store(&sv->taken_us, age_count > 0 ? ages[age_count - 1].append_us : begun_us);
    for (uint32_t s = 0; s < sv->plan->schema_count; s++)
        atomic_store(&sv->processed[s], next[s]);
    qn_service_look(sv);
    turn_end(sv);
    return rc;
}

/* ---- recovery --------------------------------------------------------------------------------*/

static void see_appended(struct qn_service *sv)
{
    for (uint32_t s = 0; s < sv->plan->schema_count; s++) {
        struct qn_log_topic_info info;

        qn_log_topic_info(sv->log, sv->stream_topics[s], &info);
        atomic_store(&sv->appended[s], info.next);
    }
}

/* Where the log's records begin. */
static void oldest(struct qn_service *sv, uint64_t *next)
{
    for (uint32_t s = 0; s < sv->plan->schema_count; s++) {
        struct qn_log_topic_info info;

        qn_log_topic_info(sv->log, sv->stream_topics[s], &info);
        next[s] = info.first;
    }
}

/* Without a snapshot the answers are those of before only if nothing is missing at the front. */
static qn_status check_gap(struct qn_service *sv, const uint64_t *next, struct qn_err *err)
{
    for (uint32_t s = 0; s < sv->plan->schema_count; s++)
        if (next[s] > 0)
            return qn_err_set(
                err, QN_NOT_FOUND,
                "there is no snapshot, and the log of '%.*s' begins at record %llu: its windows "
                "cannot be rebuilt (older records were removed by storage: keep)",
                QN_STR_ARG(sv->plan->schemas[s].name), (unsigned long long)next[s]);
    return QN_OK;
}

static qn_status replay(struct qn_service *sv, struct qn_err *err)
{
    uint64_t next[QN_STREAMS_MAX], last[QN_STREAMS_MAX];
    const uint32_t streams = sv->plan->schema_count;
    enum qn_flow flow = QN_MORE;
    uint64_t total = 0, left;
    bool found, is_restored;

    see_appended(sv);
    QN_TRY(qn_commits_last(sv->log, sv->stream_topics, streams, last, &found, err));
    QN_TRY(qn_service_restore(sv, last, next, &is_restored, err));
    if (!is_restored) {
        oldest(sv, next);
        QN_TRY(check_gap(sv, next, err));
    }
    QN_TRY(qn_input_log_seek(sv->in, next, err));
    for (uint32_t s = 0; s < streams; s++)
        total += last[s] > next[s] ? last[s] - next[s] : 0;
    atomic_store(&sv->replay_total, total);
    if (!found || total == 0)
        return QN_OK;
    qn_report_say(sv->opt.report, QN_LEVEL_INFO, "engine", "replaying %llu events",
                  (unsigned long long)total);
    QN_TRY(qn_commits_replay(sv->commits, next, last, err));
    QN_TRY(qn_dead_past_read(sv->log, sv->plan, next, &sv->past, err));
    qn_input_log_past(sv->in, &sv->past);
    qn_input_log_end_at(sv->in, last);
    while (flow == QN_MORE && !atomic_load(&sv->stop)) {
        QN_TRY(step(sv, &flow, err));
        left = 0;
        for (uint32_t s = 0; s < streams; s++)
            left += last[s] - (qn_input_log_next(sv->in)[s] < last[s] ? qn_input_log_next(sv->in)[s]
                                                                      : last[s]);
        atomic_store(&sv->replay_done, total - left);
    }
    qn_input_log_end_at(sv->in, NULL);
    qn_input_log_past(sv->in, NULL);
    qn_dead_past_fini(&sv->past);
    if (atomic_load(&sv->stop))
        return qn_err_set(err, QN_INTERRUPTED, "stopped while replaying the log");
    QN_TRY(qn_commits_live(sv->commits, &sv->replayed, err));
    qn_report_say(sv->opt.report, QN_LEVEL_INFO, "engine",
                  "replayed %llu events: %llu commits gave the same answers again, %llu were made "
                  "by another spec or version",
                  (unsigned long long)total, (unsigned long long)sv->replayed.commits,
                  (unsigned long long)sv->replayed.skipped);
    return QN_OK;
}

/* ---- the engine's thread ---------------------------------------------------------------------*/

static bool take_snapshot(struct qn_service *sv)
{
    bool is_busy;

    turn_begin(sv);
    is_busy = qn_service_snapshot(sv, false);
    turn_end(sv);
    return is_busy;
}

/* Until it is told to stop and nothing is left, or told to give up. */
static qn_status serve(struct qn_service *sv, struct qn_err *err)
{
    enum qn_flow flow;
    bool is_saving;

    for (;;) {
        QN_TRY(step(sv, &flow, err));
        if (atomic_load(&sv->give_up))
            return QN_OK;
        (void)qn_service_look_space(sv);
        is_saving = take_snapshot(sv);
        if (flow == QN_MORE)
            continue;
        if (is_saving) { /* more at once, unless its writer is behind */
            qn_input_log_wait(sv->in, SAVING_MS);
            continue;
        }
        if (atomic_load(&sv->stop) && atomic_load(&sv->queued) == 0)
            return QN_OK;
        qn_input_log_wait(sv->in, IDLE_MS);
    }
}

static void *engine_main(void *arg)
{
    struct qn_service *sv = arg;
    struct qn_err err = {0};
    qn_status rc = replay(sv, &err);

    if (rc == QN_OK && qn_service_move(sv, QN_PHASE_STARTING, QN_PHASE_RUNNING))
        qn_report_say(sv->opt.report, QN_LEVEL_INFO, "engine", "running");
    if (rc == QN_OK)
        rc = serve(sv, &err);
    qn_commits_settle(sv->commits);
    if (rc == QN_OK && !atomic_load(&sv->give_up) && qn_service_phase(sv) == QN_PHASE_DRAINING)
        qn_service_last_snapshot(sv);
    if (rc != QN_OK && rc != QN_INTERRUPTED)
        qn_service_fail(sv, &err);
    return NULL;
}

/* ---- starting and stopping -------------------------------------------------------------------*/

qn_status qn_service_start(struct qn_service *sv, struct qn_err *err)
{
    sigset_t all, old;
    qn_status rc;
    int failed = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = qn_service_sinks_start(sv, err);
    if (rc == QN_OK && sv->kafka == NULL)
        rc = qn_service_sources_start(sv, err);
    if (rc == QN_OK)
        failed = pthread_create(&sv->thread, NULL,
                                sv->kafka != NULL ? qn_service_kafka_main : engine_main, sv);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    sv->has_thread = rc == QN_OK && failed == 0;
    if (rc == QN_OK && failed != 0)
        rc = qn_err_sys(err, failed, "cannot start the engine's thread");
    if (rc != QN_OK) {
        qn_service_sources_stop(sv, 0);
        (void)qn_service_sinks_stop(sv, 0);
    }
    return rc;
}

static bool join_until(struct qn_service *sv, int64_t limit_ms)
{
    const int64_t end_us = qn_service_now_us(sv) + limit_ms * 1000;
    const struct timespec end = {.tv_sec = end_us / 1000000, .tv_nsec = end_us % 1000000 * 1000};

    return pthread_timedjoin_np(sv->thread, NULL, &end) == 0;
}

qn_status qn_service_stop(struct qn_service *sv, int64_t limit_ms, struct qn_err *err)
{
    const int64_t end_us = qn_service_now_us(sv) + limit_ms * 1000;
    struct qn_err why = {0};
    bool is_drained = true;
    int64_t left_ms;

    if (!sv->has_thread)
        return QN_OK;
    if (!qn_service_move(sv, QN_PHASE_RUNNING, QN_PHASE_DRAINING))
        qn_service_move(sv, QN_PHASE_FULL, QN_PHASE_DRAINING);
    qn_service_sources_stop(sv, limit_ms);
    atomic_store(&sv->stop, true);
    if (!join_until(sv, limit_ms)) {
        is_drained = false;
        atomic_store(&sv->give_up, true);
        qn_service_cancel_snapshots(sv);
        pthread_join(sv->thread, NULL);
    }
    sv->has_thread = false;
    left_ms = (end_us - qn_service_now_us(sv)) / 1000;
    (void)qn_service_sinks_stop(sv, left_ms > 0 ? left_ms : 0);
    if (qn_service_failure(sv, err))
        return sv->failure.code;
    qn_err_set(&why, QN_INTERRUPTED, "stopped before the events were scored; they are in the log");
    atomic_store(&sv->phase, QN_PHASE_STOPPED); /* first: what comes in between tells itself */
    qn_ingest_abandon(sv, &why);
    if (!is_drained && err != NULL)
        *err = why;
    return is_drained ? QN_OK : QN_INTERRUPTED;
}

/* ---- dead letters ----------------------------------------------------------------------------*/

qn_status qn_service_replay_dead(struct qn_service *sv, const struct qn_dead_selection *sel,
                                 bool is_trial, struct qn_dead_replay *out, struct qn_err *err)
{
    enum qn_phase phase = qn_service_phase(sv);
    qn_status rc;

    *out = (struct qn_dead_replay){0};
    if (!is_trial && phase == QN_PHASE_FULL)
        return qn_err_set(err, QN_FULL, "no space is left: nothing is accepted until there is");
    if (!is_trial && phase != QN_PHASE_RUNNING)
        return qn_err_set(err, QN_CLOSED, "the pipeline is %s: it takes no events now",
                          qn_phase_name(phase));
    pthread_mutex_lock(&sv->dead_lock);
    rc = qn_dead_letters_replay(sv->log, sv->plan, sel, is_trial, out, err);
    pthread_mutex_unlock(&sv->dead_lock);
    return rc;
}

/* ---- looking in ------------------------------------------------------------------------------*/

const struct qn_plan *qn_service_plan(struct qn_service *sv)
{
    return sv->plan;
}

struct qn_log *qn_service_log(struct qn_service *sv)
{
    return sv->log;
}

uint32_t qn_service_stream_topic(struct qn_service *sv, uint32_t stream)
{
    QN_ASSERT(stream < sv->plan->schema_count);
    return sv->stream_topics[stream];
}

uint32_t qn_service_output_topic(struct qn_service *sv, uint32_t output)
{
    QN_ASSERT(output < sv->plan->output_count);
    return sv->output_topics[output];
}

uint32_t qn_service_dead_topic(struct qn_service *sv)
{
    return sv->dead_topic;
}
