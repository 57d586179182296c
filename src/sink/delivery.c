/* SPDX-License-Identifier: Apache-2.0
 * delivery.c - the loop that brings records from a topic to a sink: try, wait, give up, move the
 * cursor.
 *
 * Every decision stands in qn_delivery_step(), which never sleeps: the thread below it does, a test
 * with a clock of its own does not. Where records come from and where the cursor is kept is the
 * feed's business (feed.h). Invariants: records leave in the order of the feed; the cursor never
 * stands behind a record that is neither delivered and flushed nor a dead letter; a commit that
 * failed holds everything else up. Thread: its own, but for start, stop and stats. Memory: one
 * batch of the feed, what the feed keeps. */
#include "sink/delivery.h"

#include "base/check.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    RECORDS_MAX = 256,    /* of one batch                                              */
    DEAD_RECORDS_MAX = 64 /* of one commit: then the cursor moves without waiting      */
};
#define MS             INT64_C(1000000)
#define CURSOR_NS      (1000 * MS)         /* between two moves of the cursor                   */
#define IDLE_NS        (200 * MS)          /* the thread looks up from waiting for records       */
#define RETRY_AFTER_US INT64_C(3600000000) /* most that a target may ask for                    */

struct qn_delivery {
    struct qn_delivery_options opt;
    const struct qn_sink *sink;
    struct qn_sink_boot boot;
    struct qn_feed *feed; /* where its records come from, and its cursor */
    void *st;             /* of the sink                                 */
    bool is_open;
    bool is_doubtful; /* the last flush failed: taking records proves nothing */

    struct qn_log_record records[RECORDS_MAX]; /* [at, count) wait for the sink */
    uint32_t at, count;
    int64_t attempts; /* answers about records[at] so far          */
    int64_t moved_ns; /* when the cursor moved, or was looked after */

    uint32_t failures; /* in a row              */
    int64_t until_ns;  /* no try before         */
    enum qn_delivery_state state;
    enum qn_breaker breaker;

    pthread_t thread;
    pthread_mutex_t lock; /* error text, wake */
    pthread_cond_t wake;
    atomic_bool must_end, must_abort;
    atomic_int_fast64_t end_ns; /* of the drain, monotonic */
    bool is_drained;            /* the thread's last word  */

    atomic_int shown_state, shown_breaker;
    atomic_uint_fast64_t shown_next, delivered, failed, dead, last_ns, total_ns;
    int64_t error_us; /* under lock */
    char error[256];
};

const char *qn_delivery_state_name(enum qn_delivery_state s)
{
    static const char *const names[] = {"running", "waiting", "stopped"};

    return names[s];
}

const char *qn_breaker_name(enum qn_breaker b)
{
    static const char *const names[] = {"closed", "half-open", "open"};

    return names[b];
}

bool qn_delivery_is_cursor(struct qn_str name)
{
    const char *dot = name.len > 0 ? memrchr(name.p, '.', name.len) : NULL;
    struct qn_str kind;
    const char *dash;

    if (dot == NULL || memchr(name.p, '.', (size_t)(dot - name.p)) != NULL)
        return false; /* those of sources have two */
    kind = (struct qn_str){dot + 1, (uint32_t)(name.p + name.len - dot) - 1};
    dash = kind.len > 0 ? memchr(kind.p, '-', kind.len) : NULL;
    if (dash != NULL)
        kind.len = (uint32_t)(dash - kind.p);
    for (const struct qn_sink_ops *const *ops = qn_sinks; *ops != NULL; ops++)
        if (qn_str_is(kind, (*ops)->name))
            return true;
    return false;
}

static int64_t now_ns(const struct qn_delivery *d)
{
    return d->opt.clock->mono_ns(d->opt.clock->st);
}

static void show(struct qn_delivery *d)
{
    atomic_store(&d->shown_state, (int)d->state);
    atomic_store(&d->shown_breaker, (int)d->breaker);
    atomic_store(&d->shown_next, d->feed->next);
}

__attribute__((format(printf, 3, 4))) static void tell(struct qn_delivery *d, bool is_problem,
                                                       const char *fmt, ...)
{
    char text[640];
    va_list ap;

    if (d->opt.tell == NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    d->opt.tell(d->opt.tell_arg, is_problem, d->sink->name.p, text);
}

static void note_error(struct qn_delivery *d, const char *text)
{
    pthread_mutex_lock(&d->lock);
    d->error_us = d->opt.clock->wall_us(d->opt.clock->st);
    snprintf(d->error, sizeof(d->error), "%s", text);
    pthread_mutex_unlock(&d->lock);
}

/* ---- failing and recovering ------------------------------------------------------------------*/

/* [0, limit], evenly: full jitter. */
static int64_t jitter(struct qn_delivery *d, int64_t limit)
{
    uint64_t bits;

    d->opt.random->fill(d->opt.random->st, &bits, sizeof(bits));
    return (int64_t)((double)(bits >> 11) * 0x1p-53 * (double)limit);
}

/* The longest wait after so many failures in a row. */
static int64_t backoff_us(const struct qn_delivery_policy *p, uint32_t failures)
{
    int64_t us = p->retry_from_us;

    for (uint32_t i = 1; i < failures && us < p->retry_to_us; i++)
        us *= 2;
    return us < p->retry_to_us ? us : p->retry_to_us;
}

/* Nobody tries again before the next start. */
static void stop_for_good(struct qn_delivery *d, const char *text)
{
    note_error(d, text);
    d->state = QN_DELIVERY_STOPPED;
    tell(d, true, "stopped: %s; what comes stays in the log, and the next start goes on there",
         text);
}

/* A try failed: when the next one may be. */
static void failed(struct qn_delivery *d, const char *text, int64_t retry_after_us)
{
    const struct qn_delivery_policy *p = &d->sink->policy;
    bool was_open = d->breaker == QN_BREAKER_OPEN || d->breaker == QN_BREAKER_HALF_OPEN;
    int64_t wait_us;

    note_error(d, text);
    d->failures++;
    d->state = QN_DELIVERY_WAITING;
    if (was_open || (p->breaker_after > 0 && d->failures >= p->breaker_after)) {
        d->breaker = QN_BREAKER_OPEN;
        wait_us = p->breaker_wait_us / 2 + jitter(d, p->breaker_wait_us / 2);
    } else {
        wait_us = jitter(d, backoff_us(p, d->failures));
    }
    if (retry_after_us > RETRY_AFTER_US)
        retry_after_us = RETRY_AFTER_US;
    if (wait_us < retry_after_us)
        wait_us = retry_after_us;
    d->until_ns = now_ns(d) + wait_us * 1000;
    show(d); /* first: who sees the count sees the state and the text too */
    atomic_fetch_add(&d->failed, 1);
    if (d->failures == 1)
        tell(d, true, "cannot deliver: %s; trying again", text);
    else if (d->breaker == QN_BREAKER_OPEN && !was_open)
        tell(d, true, "breaker open after %u failures: %s; one record tries every %lld s",
             d->failures, text, (long long)(p->breaker_wait_us / 1000000));
}

static void succeeded(struct qn_delivery *d)
{
    if (d->failures > 0)
        tell(d, false, "delivers again after %u failure%s", d->failures,
             d->failures == 1 ? "" : "s");
    d->failures = 0;
    d->until_ns = 0;
    d->breaker = QN_BREAKER_CLOSED;
    d->state = QN_DELIVERY_RUNNING;
}

/* What was read is forgotten, and comes again or goes to somebody else. */
static void rewind_feed(struct qn_delivery *d)
{
    struct qn_err err = {0};

    d->at = d->count = 0;
    d->attempts = 0;
    if (d->feed->ops->rewind(d->feed, &err) != QN_OK)
        stop_for_good(d, err.text); /* the cursor holds it: only a damaged log says so */
}

/* Back to the durable cursor: the sink lost what it had not made durable. */
static void rewind_to_cursor(struct qn_delivery *d)
{
    d->sink->ops->close(d->st);
    memset(d->st, 0, d->sink->ops->state_bytes);
    d->is_open = false;
    rewind_feed(d);
}

/* ---- the cursor and dead letters -------------------------------------------------------------*/

/* Commits dead letters and cursor. False: not now, or never again. */
static bool commit(struct qn_delivery *d)
{
    const uint32_t dead = d->feed->dead;
    struct qn_err err = {0};

    if (d->feed->ops->commit(d->feed, &err) != QN_OK) {
        if (d->feed->is_stuck && (err.fatal || !err.retriable))
            stop_for_good(d, err.text);
        else
            failed(d, err.text, 0);
        return false;
    }
    atomic_fetch_add(&d->dead, dead - d->feed->dead);
    return true;
}

/* Makes the target and then the log certain of everything that is settled. */
static bool move_cursor(struct qn_delivery *d)
{
    struct qn_err err = {0};

    d->moved_ns = now_ns(d);
    if (d->is_open && d->sink->ops->flush(d->st, &err) != QN_OK) {
        d->is_doubtful = true;
        if (err.fatal)
            stop_for_good(d, err.text);
        else
            failed(d, err.text, 0);
        rewind_to_cursor(d);
        return false;
    }
    if (d->is_open && d->is_doubtful) {
        d->is_doubtful = false;
        succeeded(d);
    }
    return !d->feed->has_news || commit(d);
}

/* What is settled is committed, if it can be; the rest of what was read is somebody else's now. */
static void let_go(struct qn_delivery *d)
{
    if (d->state != QN_DELIVERY_STOPPED && !d->feed->is_stuck)
        (void)move_cursor(d);
    rewind_feed(d);
}

/* records[at] is set aside. False: its dead letter could not be noted, it stays where it is. */
static bool give_up(struct qn_delivery *d, const char *why)
{
    const struct qn_log_record *r = &d->records[d->at];
    struct qn_dead_letter letter = {.pipeline = d->opt.pipeline,
                                    .stage = qn_str_of("TASK_PUT"),
                                    .module = d->sink->name,
                                    .reason = qn_str_of("sink_failed"),
                                    .text = qn_str_of(why),
                                    .attempts = (uint32_t)d->attempts};
    struct qn_err err = {0};
    qn_status rc = d->feed->ops->dead(d->feed, r, &letter, &err);

    if (rc == QN_FULL) {
        if (!move_cursor(d))
            return false;
        rc = d->feed->ops->dead(d->feed, r, &letter, &err);
    }
    if (rc != QN_OK) {
        failed(d, err.text, 0);
        return false;
    }
    d->at++;
    d->attempts = 0;
    note_error(d, why);
    return true;
}

/* ---- one step --------------------------------------------------------------------------------*/

static bool must_stop(void *arg)
{
    struct qn_delivery *d = arg;

    return atomic_load(&d->must_abort) ||
           (atomic_load(&d->must_end) && now_ns(d) >= atomic_load(&d->end_ns));
}

static bool open_sink(struct qn_delivery *d)
{
    struct qn_err err = {0};

    if (d->is_open)
        return true;
    d->boot.offset = d->feed->next;
    if (d->sink->ops->open(d->st, &d->boot, d->sink->options, &err) == QN_OK) {
        d->is_open = true;
        return true;
    }
    d->sink->ops->close(d->st);
    memset(d->st, 0, d->sink->ops->state_bytes);
    if (err.fatal)
        stop_for_good(d, err.text);
    else
        failed(d, err.text, 0);
    return false;
}

/* Fills the batch. False when there is nothing, or the log cannot be read. */
static bool read_batch(struct qn_delivery *d)
{
    struct qn_err err = {0};

    d->at = d->count = 0;
    if (d->feed->ops->read(d->feed, d->records, RECORDS_MAX, &d->count, &err) != QN_OK) {
        d->count = 0;
        if (err.code == QN_NOMEM)
            failed(d, err.text, 0);
        else
            stop_for_good(d, err.text);
        return false;
    }
    return d->count > 0;
}

/* The next so many records reached the target. */
static void settle(struct qn_delivery *d, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        d->feed->ops->settle(d->feed, &d->records[d->at++]);
    d->attempts = 0;
    atomic_fetch_add(&d->delivered, count);
}

/* What one call to the sink led to. */
static void judge(struct qn_delivery *d, qn_status rc, const struct qn_sink_result *r,
                  const struct qn_err *err)
{
    char text[320];

    QN_ASSERT(r->delivered <= d->count - d->at);
    if (r->delivered > 0) {
        settle(d, r->delivered);
        if (!d->is_doubtful)
            succeeded(d);
    }
    if (rc == QN_INTERRUPTED)
        return;
    if (rc != QN_OK && err->fatal) {
        if (move_cursor(d)) /* behind what it took until now */
            stop_for_good(d, err->text);
    } else if (rc != QN_OK) {
        failed(d, err->text, r->retry_after_us);
    } else if (r->answer == QN_REFUSED) {
        d->attempts++;
        atomic_fetch_add(&d->failed, 1);
        if (!d->is_doubtful)
            succeeded(d); /* the target is there */
        (void)give_up(d, r->text);
    } else if (r->answer == QN_RETRY) {
        d->attempts++;
        failed(d, r->text, r->retry_after_us);
        if (d->sink->policy.attempts == 0 || d->attempts < d->sink->policy.attempts)
            return;
        snprintf(text, sizeof(text), "%s, %lld times", r->text, (long long)d->attempts);
        (void)give_up(d, text);
    }
}

static void deliver(struct qn_delivery *d)
{
    struct qn_sink_batch b = {.records = d->records + d->at, .count = d->count - d->at};
    struct qn_sink_result result = {0};
    struct qn_err err = {0};
    int64_t begun = now_ns(d), took;
    qn_status rc;

    if (d->breaker == QN_BREAKER_OPEN)
        d->breaker = QN_BREAKER_HALF_OPEN;
    if (d->breaker == QN_BREAKER_HALF_OPEN) {
        b.count = 1;
        show(d);
    }
    rc = d->sink->ops->deliver(d->st, &b, &result, &err);
    took = now_ns(d) - begun;
    atomic_store(&d->last_ns, (uint64_t)took);
    atomic_fetch_add(&d->total_ns, (uint64_t)took);
    judge(d, rc, &result, &err);
}

/* The feed's own affairs, whatever the target does. False: it is not to be read now. */
static bool serve(struct qn_delivery *d, int64_t now)
{
    bool must_let_go = false;
    struct qn_err err = {0};
    qn_status rc = d->feed->ops->serve(d->feed, &must_let_go, &err);

    if (must_let_go)
        let_go(d);
    if (rc == QN_OK || d->state == QN_DELIVERY_STOPPED)
        return rc == QN_OK;
    if (err.fatal)
        stop_for_good(d, err.text);
    else if (now >= d->until_ns)
        failed(d, err.text, 0);
    return false;
}

/* What waits for the target, or waits for nothing but the next look at the cursor. */
static void step_on(struct qn_delivery *d, int64_t now, int64_t *wait_ns)
{
    const bool has_news = d->feed->has_news;
    const bool is_due = now - d->moved_ns >= CURSOR_NS || d->feed->dead >= DEAD_RECORDS_MAX ||
                        (d->is_doubtful && has_news);

    *wait_ns = 0;
    if (d->state == QN_DELIVERY_STOPPED) {
        *wait_ns = INT64_MAX;
    } else if (now < d->until_ns && !(is_due && !d->feed->is_stuck && has_news)) {
        *wait_ns = d->until_ns - now;
        if (!d->feed->is_stuck && has_news && d->moved_ns + CURSOR_NS - now < *wait_ns)
            *wait_ns = d->moved_ns + CURSOR_NS - now;
    } else if (d->feed->is_stuck) {
        if (commit(d))
            succeeded(d);
    } else if (is_due && !move_cursor(d)) {
        /* said why */
    } else if (now >= d->until_ns && open_sink(d)) {
        if (d->at < d->count || read_batch(d))
            deliver(d);
        else if (d->state != QN_DELIVERY_STOPPED)
            *wait_ns = d->moved_ns + CURSOR_NS > now ? d->moved_ns + CURSOR_NS - now : 1;
    }
}

void qn_delivery_step(struct qn_delivery *d, int64_t *wait_ns)
{
    const int64_t now = now_ns(d);

    if (serve(d, now) || d->state == QN_DELIVERY_STOPPED || now < d->until_ns)
        step_on(d, now, wait_ns);
    else
        *wait_ns = d->until_ns > now ? d->until_ns - now : 1;
    show(d);
}

/* ---- the thread ------------------------------------------------------------------------------*/

/* On the system's clock: only threads sleep. */
static void sleep_or_wake(struct qn_delivery *d, int64_t ns)
{
    int64_t end = qn_clock_system.mono_ns(qn_clock_system.st) + ns;
    struct timespec t = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};

    pthread_mutex_lock(&d->lock);
    if (!atomic_load(&d->must_end))
        (void)pthread_cond_clockwait(&d->wake, &d->lock, CLOCK_MONOTONIC, &t);
    pthread_mutex_unlock(&d->lock);
}

/* The last word: what is settled is written down. */
static void finish(struct qn_delivery *d)
{
    bool is_settled = d->state == QN_DELIVERY_STOPPED;

    if (!is_settled)
        is_settled = d->feed->is_stuck ? commit(d) : true;
    if (d->state != QN_DELIVERY_STOPPED && is_settled)
        (void)move_cursor(d);
    d->is_drained = !d->feed->has_news && d->feed->ops->is_drained(d->feed);
    show(d);
}

/* Until there is something to do, but not longer than the feed may go without being served. */
static void rest(struct qn_delivery *d, int64_t wait_ns)
{
    const int64_t most = d->feed->serve_ns;

    if (d->state == QN_DELIVERY_RUNNING)
        d->feed->ops->wait(d->feed, (wait_ns < IDLE_NS ? wait_ns : IDLE_NS) / MS + 1);
    else
        sleep_or_wake(d, wait_ns < most ? wait_ns : most);
}

static void *run(void *arg)
{
    struct qn_delivery *d = arg;
    int64_t wait_ns;

    for (;;) {
        bool is_ending = atomic_load(&d->must_end);

        if (is_ending && (must_stop(d) || d->feed->ops->is_drained(d->feed)))
            break;
        qn_delivery_step(d, &wait_ns);
        if (wait_ns == 0)
            continue;
        if (is_ending && d->state != QN_DELIVERY_RUNNING)
            break; /* the target does not take it now */
        rest(d, wait_ns);
    }
    finish(d);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------*/

static void tell_of_feed(void *arg, bool is_problem, const char *text)
{
    tell(arg, is_problem, "%s", text);
}

static qn_status open_feed(struct qn_delivery *d, struct qn_err *err)
{
    const bool begins_newest = d->sink->policy.start == 1;
    struct qn_feed_kafka_options kafka;
    const struct qn_feed_local_options local = {.log = d->opt.log,
                                                .topic = d->opt.topic,
                                                .dead_topic = d->opt.dead_topic,
                                                .cursor = d->sink->name,
                                                .begins_newest = begins_newest,
                                                .tell = tell_of_feed,
                                                .arg = d};

    if (d->opt.kafka == NULL)
        return qn_feed_local_new(&local, &d->feed, err);
    kafka = *d->opt.kafka;
    kafka.begins_newest = begins_newest;
    kafka.clock = d->opt.clock;
    kafka.must_stop = must_stop;
    kafka.tell = tell_of_feed;
    kafka.arg = d;
    return qn_feed_kafka_new(&kafka, &d->feed, err);
}

static void delivery_free(struct qn_delivery *d)
{
    if (d == NULL)
        return;
    if (d->is_open)
        d->sink->ops->close(d->st);
    if (d->feed != NULL)
        d->feed->ops->free(d->feed);
    qn_mem_free(d->st);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
    qn_mem_free(d);
}

qn_status qn_delivery_start(const struct qn_delivery_options *opt, struct qn_delivery **out,
                            struct qn_err *err)
{
    struct qn_delivery *d = qn_mem_zalloc(1, sizeof(*d));
    qn_status rc;

    *out = NULL;
    QN_ASSERT(!(opt->sink->ops->flags & QN_SINK_IN_LOG));
    if (d == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the delivery '%.*s'",
                          QN_STR_ARG(opt->sink->name));
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->wake, NULL);
    d->opt = *opt;
    d->opt.files = opt->files != NULL ? opt->files : &qn_files_system;
    d->opt.clock = opt->clock != NULL ? opt->clock : &qn_clock_system;
    d->opt.random = opt->random != NULL ? opt->random : &qn_random_system;
    d->sink = opt->sink;
    d->boot = (struct qn_sink_boot){.files = d->opt.files,
                                    .clock = d->opt.clock,
                                    .random = d->opt.random,
                                    .pipeline = opt->pipeline,
                                    .output = opt->output,
                                    .sink = opt->sink->name,
                                    .holds = opt->holds,
                                    .must_stop = must_stop,
                                    .must_stop_arg = d};
    if (opt->kafka != NULL) {
        d->boot.kafka_cluster = opt->kafka->cluster;
        d->boot.kafka_topic = opt->kafka->topic;
    }
    d->moved_ns = now_ns(d);
    d->st = qn_mem_zalloc(1, d->sink->ops->state_bytes);
    rc = d->st != NULL ? open_feed(d, err)
                       : qn_err_set(err, QN_NOMEM, "out of memory for the delivery '%.*s'",
                                    QN_STR_ARG(opt->sink->name));
    if (rc == QN_OK) {
        d->boot.log_id = d->feed->log_id;
        show(d);
    }
    if (rc == QN_OK && !opt->is_threadless && pthread_create(&d->thread, NULL, run, d) != 0)
        rc = qn_err_set(err, QN_LIMIT, "no thread for the delivery '%.*s'",
                        QN_STR_ARG(opt->sink->name));
    if (rc != QN_OK) {
        delivery_free(d);
        return rc;
    }
    *out = d;
    return QN_OK;
}

bool qn_delivery_stop(struct qn_delivery *d, int64_t limit_ms)
{
    bool is_drained;

    if (d == NULL)
        return true;
    atomic_store(&d->end_ns, now_ns(d) + limit_ms * MS);
    pthread_mutex_lock(&d->lock);
    atomic_store(&d->must_end, true);
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    if (d->opt.is_threadless)
        finish(d);
    else
        pthread_join(d->thread, NULL);
    is_drained = d->is_drained;
    delivery_free(d);
    return is_drained;
}

void qn_delivery_stats(struct qn_delivery *d, struct qn_delivery_stats *out)
{
    const uint64_t failures = atomic_load(&d->failed); /* before the state, see failed() */

    *out = (struct qn_delivery_stats){
        .state = (enum qn_delivery_state)atomic_load(&d->shown_state),
        .breaker = (enum qn_breaker)atomic_load(&d->shown_breaker),
        .next = atomic_load(&d->shown_next),
        .delivered = atomic_load(&d->delivered),
        .failed = failures,
        .dead = atomic_load(&d->dead),
        .last_seconds = (double)atomic_load(&d->last_ns) * 1e-9,
        .total_seconds = (double)atomic_load(&d->total_ns) * 1e-9,
    };
    out->lag = d->feed->ops->lag(d->feed, out->next);
    pthread_mutex_lock(&d->lock);
    out->last_error_us = d->error_us;
    memcpy(out->last_error, d->error, sizeof(d->error));
    pthread_mutex_unlock(&d->lock);
}
