/* SPDX-License-Identifier: Apache-2.0
 * intake.c - the thread between one source and the log. See intake.h.
 *
 * One append: while it is on its way to the disk the source is read, then it is waited for and
 * takes what was read. So a full disk, which refuses an append, cannot let the next one pass.
 * Invariant: `position` is that of the append, and all before it is durable; a batch that was read
 * and did not get into an append is read again. What fails in the log is the end until the next
 * start; what fails in the source is tried again. Thread: `intake_main`; what others read lies
 * under `lock`. */
#include "source/intake.h"

#include "base/check.h"
#include "base/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#define MS_NS INT64_C(1000000)

enum {
    RETRY_FROM_MS = 100,
    RETRY_TO_MS = 5000,
    IDLE_MS = 100,
    TICK_MS = 20,    /* how often lag and a full disk are asked again        */
    RESTING_MS = 500 /* a source that is done: how often the log is looked at */
};

struct qn_intake {
    struct qn_intake_options opt;
    struct qn_source_boot boot;
    void *st; /* of the source */
    bool is_open;
    struct qn_buf position, position_next; /* of the append; of the batch being read */
    uint32_t positions_topic;
    uint64_t position_offset; /* of the next position record */
    uint64_t position_lsn;    /* where the newest lies; 0 = unknown */
    char name[QN_LOG_NAME_MAX + 1];
    struct qn_log_append *append;
    bool is_flying;         /* submitted, and not yet known to be durable */
    uint64_t events_flying; /* in the append, and their bytes             */
    uint64_t bytes_flying;
    struct qn_str *events, *headers, *keys; /* [events_max] */
    uint32_t events_max;
    size_t bytes_max, event_max;
    int64_t retry_ms; /* 0 = the last try was good */
    bool is_lagging;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool must_stop;               /* under lock */
    struct qn_intake_stats stats; /* under lock */
};

const char *qn_intake_state_name(enum qn_intake_state s)
{
    static const char *const names[] = {"running", "paused", "full", "waiting", "done", "stopped"};

    return names[s];
}

/* ---- state and waiting -----------------------------------------------------------------------*/

static bool must_stop(void *arg)
{
    struct qn_intake *in = arg;
    bool yes;

    pthread_mutex_lock(&in->lock);
    yes = in->must_stop;
    pthread_mutex_unlock(&in->lock);
    return yes;
}

/* Sleeps; false when the intake is to stop. */
static bool rest(struct qn_intake *in, int64_t ns)
{
    struct timespec until;
    bool go_on;

    ns += qn_clock_system.mono_ns(qn_clock_system.st);
    until = (struct timespec){.tv_sec = (time_t)(ns / (1000 * MS_NS)),
                              .tv_nsec = (long)(ns % (1000 * MS_NS))};
    pthread_mutex_lock(&in->lock);
    while (!in->must_stop && pthread_cond_timedwait(&in->wake, &in->lock, &until) == 0)
        ;
    go_on = !in->must_stop;
    pthread_mutex_unlock(&in->lock);
    return go_on;
}

static void tell(struct qn_intake *in, bool is_problem, const char *text)
{
    if (in->opt.tell != NULL)
        in->opt.tell(in->opt.tell_arg, is_problem, in->name, text);
}

static void set_state(struct qn_intake *in, enum qn_intake_state state)
{
    pthread_mutex_lock(&in->lock);
    in->stats.state = state;
    pthread_mutex_unlock(&in->lock);
}

static void note_error(struct qn_intake *in, enum qn_intake_state state, const struct qn_err *err)
{
    bool is_news;

    pthread_mutex_lock(&in->lock);
    is_news = in->stats.state != state || strncmp(in->stats.last_error, err->text, 255) != 0;
    in->stats.state = state;
    in->stats.failed += state == QN_INTAKE_WAITING;
    in->stats.last_error_us = in->opt.clock->wall_us(in->opt.clock->st);
    snprintf(in->stats.last_error, sizeof in->stats.last_error, "%s", err->text);
    pthread_mutex_unlock(&in->lock);
    if (is_news)
        tell(in, true, err->text);
}

/* What kept the intake from reading is over. */
static void resume(struct qn_intake *in)
{
    set_state(in, QN_INTAKE_RUNNING);
    tell(in, false, "goes on");
}

/* ---- appends ---------------------------------------------------------------------------------*/

/* The log failed for good: what was not durable is read again after the next start. */
static qn_status log_failed(qn_status rc, struct qn_err *err)
{
    err->fatal = rc != QN_INTERRUPTED;
    return rc;
}

/* Puts a position and its cursor behind what the append holds. */
static qn_status add_position(struct qn_intake *in, const struct qn_buf *position,
                              struct qn_err *err)
{
    struct qn_log_record r = {.value = {position->data, (uint32_t)position->len},
                              .time_us = QN_LOG_NO_TIME};

    QN_TRY(qn_log_append_record(in->append, in->positions_topic, QN_LOG_CONTROL, &r, err));
    return qn_log_append_cursor(in->append, qn_str_of(in->name), in->positions_topic,
                                in->position_offset, err);
}

/* Hands the append to the log, as often as it takes; QN_INTERRUPTED when the intake is to stop. */
static qn_status submit(struct qn_intake *in, struct qn_err *err)
{
    bool is_full = false;
    qn_status rc;

    while ((rc = qn_log_submit(in->opt.log, in->append, NULL, NULL, err)) == QN_FULL) {
        if (!is_full && qn_log_is_full(in->opt.log)) {
            note_error(in, QN_INTAKE_FULL, err);
            is_full = true;
        }
        if (!rest(in, TICK_MS * MS_NS)) {
            rc = qn_err_set(err, QN_INTERRUPTED, "told to stop");
            break;
        }
    }
    in->is_flying = rc == QN_OK;
    if (rc == QN_OK && is_full)
        resume(in);
    return rc == QN_OK ? QN_OK : log_failed(rc, err);
}

/* Waits until the append is durable. One that a full disk refused is tried again as it is. */
static qn_status settle(struct qn_intake *in, struct qn_err *err)
{
    struct qn_log_place place;
    qn_status rc;

    if (!in->is_flying)
        return QN_OK;
    while ((rc = qn_log_wait(in->opt.log, in->append, &place, err)) == QN_FULL)
        QN_TRY(submit(in, err));
    in->is_flying = false;
    if (rc != QN_OK)
        return log_failed(rc, err);
    in->position_lsn = place.lsn;
    pthread_mutex_lock(&in->lock);
    in->stats.events += in->events_flying;
    in->stats.bytes += in->bytes_flying;
    if (in->events_flying > 0)
        in->stats.last_event_us = in->opt.clock->wall_us(in->opt.clock->st);
    pthread_mutex_unlock(&in->lock);
    return in->is_open ? in->opt.source->ops->durable(in->st, err) : QN_OK;
}

/* Writes the position again when the old record would keep much of the log from retention. */
static qn_status renew(struct qn_intake *in, struct qn_err *err)
{
    struct qn_log_ends ends;

    QN_TRY(settle(in, err));
    if (in->position.len == 0)
        return QN_OK;
    qn_log_ends(in->opt.log, &ends);
    if (ends.is_full || ends.is_fatal || ends.end_lsn < in->position_lsn + QN_INTAKE_RENEW_BYTES)
        return QN_OK;
    qn_log_append_reset(in->append);
    in->events_flying = in->bytes_flying = 0;
    QN_TRY(add_position(in, &in->position, err));
    QN_TRY(submit(in, err));
    in->position_offset++;
    return settle(in, err);
}

/* Events and position of a batch into the append. */
static qn_status pack(struct qn_intake *in, const struct qn_source_batch *b, struct qn_err *err)
{
    qn_log_append_reset(in->append);
    in->events_flying = in->bytes_flying = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        struct qn_log_record r = {.value = b->events[i], .time_us = QN_LOG_NO_TIME};

        if (r.value.len > in->event_max)
            r.value.len = (uint32_t)in->event_max;
        if (b->has_headers) {
            QN_ASSERT(b->headers[i].len <= b->headers_max && b->keys[i].len <= b->headers_max);
            r.headers = b->headers[i];
            r.key = b->keys[i];
        }
        QN_TRY(qn_log_append_record(in->append, in->opt.topic, QN_LOG_RECORDS, &r, err));
        in->events_flying++;
        in->bytes_flying += r.value.len;
    }
    return add_position(in, b->position, err);
}

/* A batch sets off for the log. */
static qn_status send(struct qn_intake *in, const struct qn_source_batch *b, struct qn_err *err)
{
    struct qn_buf before = in->position;

    QN_TRY(settle(in, err));
    QN_TRY(pack(in, b, err));
    QN_TRY(submit(in, err));
    in->position_offset++;
    in->position = in->position_next;
    in->position_next = before;
    return QN_OK;
}

/* ---- the source ------------------------------------------------------------------------------*/

static void close_source(struct qn_intake *in)
{
    if (in->is_open)
        in->opt.source->ops->close(in->st);
    in->is_open = false;
}

static qn_status open_source(struct qn_intake *in, struct qn_err *err)
{
    qn_status rc;

    memset(in->st, 0, in->opt.source->ops->state_bytes);
    rc = in->opt.source->ops->open(in->st, &in->boot, in->opt.source->options,
                                   (struct qn_str){in->position.data, (uint32_t)in->position.len},
                                   err);
    in->is_open = true;
    if (rc != QN_OK)
        close_source(in);
    return rc;
}

/* One batch from the source on its way to the log. */
static qn_status take(struct qn_intake *in, enum qn_flow *flow, int64_t *wait_us,
                      struct qn_err *err)
{
    struct qn_source_batch b = {.events = in->events,
                                .headers = in->headers,
                                .keys = in->keys,
                                .headers_max = (uint32_t)in->event_max / 2,
                                .max = in->events_max,
                                .bytes_max = in->bytes_max,
                                .position = &in->position_next};

    qn_buf_clear(&in->position_next);
    QN_TRY(in->opt.source->ops->read(in->st, &b, flow, err));
    QN_ASSERT(b.count <= b.max);
    if (b.note[0] != '\0')
        tell(in, false, b.note);
    if (in->position_next.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for a source's position");
    *wait_us = b.wait_us;
    if (in->position_next.len == 0) {
        QN_ASSERT(b.count == 0);
        return QN_OK;
    }
    return send(in, &b, err);
}

/* Reading stops while the engine has more to do than lag_max, and until that is halved. */
static bool lags(struct qn_intake *in)
{
    uint64_t lag;

    if (in->opt.lag == NULL)
        return false;
    lag = in->opt.lag(in->opt.lag_arg);
    if (in->is_lagging ? lag > in->opt.lag_max / 2 : lag > in->opt.lag_max) {
        if (!in->is_lagging)
            set_state(in, QN_INTAKE_PAUSED);
        in->is_lagging = true;
    } else if (in->is_lagging) {
        in->is_lagging = false;
        set_state(in, QN_INTAKE_RUNNING);
    }
    return in->is_lagging;
}

/* ---- the thread ------------------------------------------------------------------------------*/

/* Opens where it is closed, reads a batch. *wait_ns: how long to rest before the next time. */
static qn_status step(struct qn_intake *in, enum qn_flow *flow, int64_t *wait_ns,
                      struct qn_err *err)
{
    int64_t wait_us = 0;

    *flow = QN_IDLE;
    *wait_ns = TICK_MS * MS_NS;
    if (lags(in))
        return renew(in, err);
    if (!in->is_open)
        QN_TRY(open_source(in, err));
    QN_TRY(take(in, flow, &wait_us, err));
    if (in->retry_ms > 0) {
        in->retry_ms = 0;
        resume(in);
    }
    if (*flow == QN_MORE) {
        *wait_ns = 0;
        return QN_OK;
    }
    *wait_ns = wait_us > 0 ? wait_us * 1000 : IDLE_MS * MS_NS;
    return renew(in, err);
}

/* After an error: false when it is the end. */
static bool survive(struct qn_intake *in, const struct qn_err *err, int64_t *wait_ns)
{
    struct qn_err second = {0};

    close_source(in);
    if (err->code == QN_INTERRUPTED)
        return false;
    if (!err->fatal && renew(in, &second) != QN_OK)
        err = &second;
    if (err->fatal) {
        note_error(in, QN_INTAKE_STOPPED, err);
        return false;
    }
    note_error(in, QN_INTAKE_WAITING, err);
    in->retry_ms = in->retry_ms == 0 ? RETRY_FROM_MS : 2 * in->retry_ms;
    if (in->retry_ms > RETRY_TO_MS)
        in->retry_ms = RETRY_TO_MS;
    *wait_ns = in->retry_ms * MS_NS;
    return true;
}

/* Nothing comes any more, but the position must not keep the log. */
static void rest_for_ever(struct qn_intake *in)
{
    struct qn_err err = {0};

    while (rest(in, RESTING_MS * MS_NS) && renew(in, &err) == QN_OK)
        ;
}

static void *intake_main(void *arg)
{
    struct qn_intake *in = arg;
    enum qn_flow flow = QN_MORE;
    int64_t wait_ns = 0;
    struct qn_err last = {0};
    bool goes_on = true;

    while (goes_on && flow != QN_END && !must_stop(in)) {
        struct qn_err err = {0};

        if (step(in, &flow, &wait_ns, &err) != QN_OK) {
            goes_on = survive(in, &err, &wait_ns);
            flow = QN_MORE;
        }
        if (goes_on && wait_ns > 0 && flow != QN_END)
            rest(in, wait_ns);
    }
    if (flow == QN_END) {
        set_state(in, QN_INTAKE_DONE);
        tell(in, false, "has no more events");
    }
    settle(in, &last);
    close_source(in);
    rest_for_ever(in);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------*/

/* The newest position and where it lies. */
static qn_status find_position(struct qn_intake *in, struct qn_err *err)
{
    struct qn_log_reader *r = NULL;
    struct qn_log_topic_info info;
    struct qn_log_record found;
    uint32_t topic, count = 0;
    enum qn_flow flow;
    uint64_t offset;
    qn_status rc;

    QN_TRY(qn_log_topic(in->opt.log, qn_str_of(in->name), true, &in->positions_topic, err));
    qn_log_retain(in->opt.log, in->positions_topic, 1, 0); /* the cursor holds the newest */
    qn_log_topic_info(in->opt.log, in->positions_topic, &info);
    in->position_offset = info.next;
    if (qn_log_cursor(in->opt.log, qn_str_of(in->name), &topic, &offset, NULL) != QN_OK)
        return QN_OK;
    QN_TRY(qn_log_reader_new(
        in->opt.log, &(struct qn_log_selection){.topics = &in->positions_topic, .topic_count = 1},
        &r, err));
    rc = qn_log_reader_seek(r, in->positions_topic, offset, err);
    if (rc == QN_OK)
        rc = qn_log_reader_next(r, &found, 1, &count, &flow, err);
    if (rc == QN_OK && count == 1) {
        qn_buf_add(&in->position, found.value.p, found.value.len);
        in->position_lsn = found.lsn;
        if (in->position.failed)
            rc = qn_err_set(err, QN_NOMEM, "out of memory for a source's position");
    } else if (rc == QN_OK) {
        rc = qn_err_set(err, QN_CORRUPT, "the cursor of '%s' stands on no record", in->name);
    }
    qn_log_reader_free(r);
    return rc;
}

static void intake_free(struct qn_intake *in)
{
    qn_log_append_free(in->append);
    qn_buf_fini(&in->position);
    qn_buf_fini(&in->position_next);
    qn_transcoder_free(in->boot.transcoder);
    qn_mem_free(in->keys);
    qn_mem_free(in->headers);
    qn_mem_free(in->events);
    qn_mem_free(in->st);
    pthread_cond_destroy(&in->wake);
    pthread_mutex_destroy(&in->lock);
    qn_mem_free(in);
}

static struct qn_intake *intake_new(const struct qn_intake_options *opt)
{
    struct qn_intake *in = qn_mem_zalloc(1, sizeof *in);
    size_t limit = qn_log_append_limit(opt->log);
    pthread_condattr_t attr;

    if (in == NULL)
        return NULL;
    in->opt = *opt;
    if (in->opt.files == NULL)
        in->opt.files = &qn_files_system;
    if (in->opt.clock == NULL)
        in->opt.clock = &qn_clock_system;
    in->boot = (struct qn_source_boot){.files = in->opt.files,
                                       .clock = in->opt.clock,
                                       .must_stop = must_stop,
                                       .must_stop_arg = in,
                                       .lag = opt->group_lag,
                                       .lag_arg = opt->group_lag_arg};
    /* Parts of what an append may hold: events, the last one of them with key and headers,
     * overhead, the position. */
    in->bytes_max = limit / 4 < QN_INTAKE_BYTES ? limit / 4 : QN_INTAKE_BYTES;
    in->event_max = limit / 4;
    in->events_max = limit / 256 < QN_INTAKE_EVENTS ? (uint32_t)(limit / 256) : QN_INTAKE_EVENTS;
    pthread_mutex_init(&in->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&in->wake, &attr);
    pthread_condattr_destroy(&attr);
    in->st = qn_mem_zalloc(1, opt->source->ops->state_bytes);
    in->events = qn_mem_zalloc(in->events_max, sizeof(*in->events));
    in->headers = qn_mem_zalloc(in->events_max, sizeof(*in->headers));
    in->keys = qn_mem_zalloc(in->events_max, sizeof(*in->keys));
    if (in->st != NULL && in->events != NULL && in->headers != NULL && in->keys != NULL)
        return in;
    intake_free(in);
    return NULL;
}

/* It stays when the source is closed and opened again, and with it the schemas it knows. */
static qn_status make_transcoder(struct qn_intake *in, struct qn_err *err)
{
    struct qn_transcode_options wire;

    if (in->opt.wire == NULL || !qn_transcode_is_needed(in->opt.wire))
        return QN_OK;
    wire = *in->opt.wire;
    wire.clock = in->opt.clock;
    wire.registry.must_stop = must_stop;
    wire.registry.must_stop_arg = in;
    return qn_transcoder_new(&wire, &in->boot.transcoder, err);
}

/* Signals are for the main thread. */
static qn_status start_thread(struct qn_intake *in, struct qn_err *err)
{
    sigset_t all, old;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    error = pthread_create(&in->thread, NULL, intake_main, in);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error != 0)
        return qn_err_sys(err, error, "cannot start a thread for '%s'", in->name);
    return QN_OK;
}

qn_status qn_intake_start(const struct qn_intake_options *opt, struct qn_intake **out,
                          struct qn_err *err)
{
    struct qn_intake *in = intake_new(opt);
    qn_status rc;

    *out = NULL;
    if (in == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a source");
    snprintf(in->name, sizeof in->name, "source.%.*s", QN_STR_ARG(opt->source->name));
    rc = find_position(in, err);
    if (rc == QN_OK)
        rc = qn_log_append_new(opt->log, &in->append, err);
    if (rc == QN_OK)
        rc = make_transcoder(in, err);
    if (rc == QN_OK)
        rc = start_thread(in, err);
    if (rc != QN_OK) {
        intake_free(in);
        return rc;
    }
    *out = in;
    return QN_OK;
}

bool qn_intake_stop(struct qn_intake *in, int64_t limit_ms)
{
    int64_t begun = qn_clock_system.mono_ns(qn_clock_system.st);

    if (in == NULL)
        return true;
    pthread_mutex_lock(&in->lock);
    in->must_stop = true;
    pthread_cond_signal(&in->wake);
    pthread_mutex_unlock(&in->lock);
    pthread_join(in->thread, NULL);
    intake_free(in);
    return qn_clock_system.mono_ns(qn_clock_system.st) - begun <= limit_ms * MS_NS;
}

void qn_intake_stats(struct qn_intake *in, struct qn_intake_stats *out)
{
    pthread_mutex_lock(&in->lock);
    *out = in->stats;
    pthread_mutex_unlock(&in->lock);
}
