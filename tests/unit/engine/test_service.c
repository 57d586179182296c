/* SPDX-License-Identifier: Apache-2.0
 * test_service.c - a running pipeline on a real log in a folder of its own: what is acknowledged is
 * answered once, in order, with the bytes that the engine gives without a log; starts replay to the
 * same answers; a log that was tampered with is not believed. */
#include "engine/commit_record.h"
#include "engine/service.h"
#include "plain_engine.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { EVENTS = 3000, CHUNK = 37, KEYS = 20 };

static const char SPEC[] =
    "quern: 1\n"
    "name: test\n"
    "log: local:%s\n"
    "storage: {segment: 32MiB, durability: none}\n"
    "snapshots: {every: 100ms}\n"
    "streams:\n"
    "  pay:\n"
    "    id: id\n"
    "    time: at\n"
    "    fields: {id: int64, at: {type: timestamp, unit: s}, card: string, amount: "
    "{type: decimal(2), min: 0}}\n"
    "  back:\n"
    "    time: at\n"
    "    fields: {at: {type: timestamp, unit: s}, card: string, fraud: bool}\n"
    "features:\n"
    "  n: count() by card over 1h\n"
    "  total: sum(amount) by card over 2h\n"
    "  risk: mean(fraud) of back by card over 5h or 0\n"
    "outputs:\n"
    "  predictions: {include: [features]}\n"
    "  all: {from: [pay, back], include: event}\n"
    "  big: {when: amount > 50%s}\n";

struct world {
    char dir[64];
    struct qn_arena arena;
    struct qn_plan *plan;
    struct qn_metrics *metrics;
    struct qn_service *sv;
};

static const char *const no_environment[] = {NULL};

static struct qn_plan *load(struct qn_arena *arena, const char *dir, const char *more)
{
    struct qn_plan_options opt = {.files = &qn_files_system, .environment = no_environment};
    struct qn_diags diags = {.arena = arena};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};
    char text[2048];

    snprintf(text, sizeof text, SPEC, dir, more);
    if (qn_plan_load_text(qn_str_of(text), "spec.yaml", &opt, arena, &diags, &plan, &err) != QN_OK)
        fail_msg("spec: %s", diags.count > 0 ? diags.list[0].text : err.text);
    return plan;
}

/* Files of a disk that can be told to be full: no block more for any file. */
static _Atomic bool disk_is_full;

static int allocate_if_room(void *st, int fd, uint64_t bytes)
{
    return disk_is_full ? -28 : qn_files_system.allocate(NULL, fd, bytes); /* ENOSPC */
}

/* ... and to be slow: writes wait while it is held. */
static pthread_mutex_t disk_is_held = PTHREAD_MUTEX_INITIALIZER;

static int64_t write_in_turn(void *st, int fd, const struct qn_piece *v, unsigned n, uint64_t at)
{
    pthread_mutex_lock(&disk_is_held);
    pthread_mutex_unlock(&disk_is_held);
    return qn_files_system.pwritev(NULL, fd, v, n, at);
}

static _Atomic int64_t clock_ahead_us;

static int64_t wall_ahead(void *st)
{
    return qn_clock_system.wall_us(NULL) + clock_ahead_us;
}

static void world_open(struct world *w, const char *more, uint32_t threads)
{
    static struct qn_files files;
    static struct qn_clock clock;
    struct qn_service_options opt = {
        .files = &files, .clock = &clock, .random = &qn_random_system, .threads = threads};
    struct qn_err err = {0};

    files = qn_files_system;
    files.allocate = allocate_if_room;
    files.pwritev = write_in_turn;
    clock = qn_clock_system;
    clock.wall_us = wall_ahead;
    w->plan = load(&w->arena, w->dir, more);
    assert_int_equal(qn_metrics_new(&w->metrics, &err), QN_OK);
    opt.metrics = w->metrics;
    if (qn_service_new(w->plan, &opt, &w->sv, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(qn_service_start(w->sv, &err), QN_OK);
}

static void world_wait_running(struct world *w)
{
    while (qn_service_phase(w->sv) == QN_PHASE_STARTING)
        usleep(1000);
}

static void world_close(struct world *w)
{
    struct qn_err err = {0};

    if (qn_service_stop(w->sv, 10000, &err) != QN_OK)
        fail_msg("stop: %s", err.text);
    qn_service_free(w->sv);
    qn_metrics_free(w->metrics);
    qn_plan_free(w->plan);
    qn_arena_fini(&w->arena);
}

static void world_new(struct world *w)
{
    *w = (struct world){.dir = "/tmp/quern-service-XXXXXX"};
    assert_non_null(mkdtemp(w->dir));
}

static void remove_one(void *arg, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
    unlink(path);
}

static void remove_snapshots(struct world *w)
{
    char snap[128];

    snprintf(snap, sizeof snap, "%s/snap", w->dir);
    qn_files_system.list_folder(NULL, snap, remove_one, snap);
    rmdir(snap);
}

static void world_remove(struct world *w)
{
    remove_snapshots(w);
    qn_files_system.list_folder(NULL, w->dir, remove_one, w->dir);
    assert_int_equal(rmdir(w->dir), 0);
}

/* ---- events ----------------------------------------------------------------------------------*/

static uint32_t event(uint32_t i, char *out, size_t room)
{
    uint32_t k = i * 2654435761u;

    if (i % 5 == 4) {
        snprintf(out, room, "{\"card\":\"c%u\",\"fraud\":%s,\"at\":%u}", k % KEYS,
                 k % 3 ? "false" : "true", 1500000000 + i * 7);
        return 1;
    }
    if (i % 50 == 17)
        snprintf(out, room, "{\"id\":%u,\"at\":1,", i);
    else
        snprintf(out, room, "{\"id\":%u,\"at\":%u,\"card\":\"c%u\",\"amount\":%u.%02u}", i,
                 1500000000 + i * 7, k % KEYS, k % 100, k % 90 + 10);
    return 0;
}

/* Waits for one ingest. */
struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_done;
};

static void told(void *arg, struct qn_ingest *in)
{
    struct waiter *w = arg;

    pthread_mutex_lock(&w->lock);
    w->is_done = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

static void send(struct qn_service *sv, struct qn_ingest *in, enum qn_ingest_wait wait)
{
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    struct qn_err err = {0};
    qn_status rc;

    while ((rc = qn_ingest_submit(in, wait, told, &w, &err)) == QN_FULL)
        usleep(1000);
    if (rc != QN_OK)
        fail_msg("submit: %s", err.text);
    pthread_mutex_lock(&w.lock);
    while (!w.is_done)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    if (qn_ingest_status(in, &err) != QN_OK)
        fail_msg("ingest: %s", err.text);
}

/* Events [from, to) in chunks of one stream each; every third waits for its answers, which are held
 * against what is read from the log later. */
static void feed(struct world *w, uint32_t from, uint32_t to, struct qn_buf *answers)
{
    struct qn_err err = {0};

    for (uint32_t i = from; i < to;) {
        struct qn_ingest *in;
        uint32_t stream, n = 0;
        char text[256];

        stream = event(i, text, sizeof text);
        assert_int_equal(qn_ingest_new(w->sv, stream, &in, &err), QN_OK);
        while (i < to && n < CHUNK && event(i, text, sizeof text) == stream) {
            assert_int_equal(qn_ingest_add(in, qn_str_of(text), (struct qn_str){0}, &err), QN_OK);
            i++;
            n++;
        }
        send(w->sv, in, i % 3 == 0 ? QN_INGEST_SCORED : QN_INGEST_DURABLE);
        for (uint32_t k = 0; k < n; k++) {
            struct qn_ingest_row row;

            qn_ingest_row(in, k, &row);
            if (row.prediction.p != NULL) {
                qn_buf_add(answers, row.prediction.p, row.prediction.len);
                qn_buf_byte(answers, '\n');
            }
        }
        qn_ingest_free(in);
    }
}

/* All records of a topic, one a line. */
static void read_topic(struct qn_log *lg, const char *name, struct qn_buf *out)
{
    struct qn_err err = {0};
    struct qn_log_reader *r;
    struct qn_log_record rec[64];
    enum qn_flow flow = QN_MORE;
    uint32_t topic, n;

    assert_int_equal(qn_log_topic(lg, qn_str_of(name), false, &topic, &err), QN_OK);
    assert_int_equal(qn_log_reader_new(lg, &(struct qn_log_selection){&topic, 1, false}, &r, &err),
                     QN_OK);
    while (flow == QN_MORE) {
        assert_int_equal(qn_log_reader_next(r, rec, 64, &n, &flow, &err), QN_OK);
        for (uint32_t i = 0; i < n; i++) {
            qn_buf_add(out, rec[i].value.p, rec[i].value.len);
            qn_buf_byte(out, '\n');
        }
        qn_log_reader_release(r);
    }
    qn_log_reader_free(r);
}

/* What the engine says of all events without a log. */
static void run_plain(struct plain *p)
{
    struct qn_arena arena = {0};
    struct qn_plan *plan = load(&arena, "x", "");

    for (uint32_t i = 0; i < EVENTS; i++) {
        char text[256];
        uint32_t stream = event(i, text, sizeof text);

        plain_add(p, stream, qn_str_of(text));
    }
    plain_run(p, plan, 1, 0);
    qn_plan_free(plan);
    qn_arena_fini(&arena);
}

static void assert_same(const char *what, const struct qn_buf *a, const struct qn_buf *b)
{
    if (a->len != b->len || (a->len > 0 && memcmp(a->data, b->data, a->len) != 0))
        fail_msg("%s: %zu bytes and %zu bytes differ", what, a->len, b->len);
}

/* ---- tests -----------------------------------------------------------------------------------*/

static void test_same_as_without_a_log(void **state)
{
    struct plain p = {0};
    struct world w;
    struct qn_buf answers = {0}, status = {0};

    (void)state;
    run_plain(&p);
    world_new(&w);
    /* five lives, on one and two threads; the fourth without the snapshots of those before */
    for (uint32_t i = 0; i < 5; i++) {
        if (i == 3)
            remove_snapshots(&w);
        world_open(&w, "", 1 + i % 2);
        world_wait_running(&w);
        feed(&w, EVENTS / 5 * i, EVENTS / 5 * (i + 1), &answers);
        if (i < 4)
            world_close(&w);
    }
    for (int i = 0; i < 3; i++) {
        const char *const names[] = {"predictions", "all", "big"};
        struct qn_buf records = {0};

        read_topic(qn_service_log(w.sv), names[i], &records);
        assert_same(names[i], &records, &p.out[i]);
        qn_buf_fini(&records);
    }
    qn_service_status(w.sv, &status);
    assert_true(qn_json_valid((struct qn_str){status.data, (uint32_t)status.len}));
    /* every answer was one of the records */
    assert_true(answers.len > 0);
    qn_buf_byte(&p.out[0], '\0');
    for (char *line = answers.data, *stop; line < answers.data + answers.len; line = stop + 1) {
        stop = memchr(line, '\n', (size_t)(answers.data + answers.len - line));
        *stop = '\0';
        assert_non_null(strstr(p.out[0].data, line));
    }
    world_close(&w);
    world_remove(&w);
    plain_fini(&p);
    qn_buf_fini(&answers);
    qn_buf_fini(&status);
}

/* The features of a key are those of its last prediction, but for what has happened since. */
static void test_features_of_a_key(void **state)
{
    static const char *const events[] = {
        "{\"id\":1,\"at\":1500000000,\"card\":\"a\",\"amount\":10.50}",
        "{\"id\":2,\"at\":1500000010,\"card\":\"b\",\"amount\":1.00}",
        "{\"id\":3,\"at\":1500003599,\"card\":\"a\",\"amount\":2.25}"};
    const struct qn_str a = qn_str_of("a"), x = qn_str_of("x"), two[2] = {a, a};
    struct qn_buf json = {0};
    struct qn_ingest *in;
    struct qn_err err = {0};
    struct world w;

    (void)state;
    world_new(&w);
    world_open(&w, "", 1);
    world_wait_running(&w);
    assert_int_equal(qn_ingest_new(w.sv, 0, &in, &err), QN_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(qn_ingest_add(in, qn_str_of(events[i]), (struct qn_str){0}, &err), QN_OK);
    send(w.sv, in, QN_INGEST_SCORED);
    qn_ingest_free(in);
    assert_int_equal(qn_service_features(w.sv, qn_str_of("card"), &a, 1, &json, &err), QN_OK);
    qn_buf_byte(&json, '\0');
    assert_string_equal(json.data, "{\"key\":{\"card\":\"a\"},\"as_of\":"
                                   "\"2017-07-14T03:39:59.000000Z\",\"features\":"
                                   "{\"n\":2,\"total\":12.75}}");
    qn_buf_clear(&json);
    assert_int_equal(qn_service_features(w.sv, qn_str_of("card"), &x, 1, &json, &err),
                     QN_NOT_FOUND);
    assert_int_equal(qn_service_features(w.sv, qn_str_of("cart"), &a, 1, &json, &err),
                     QN_NOT_FOUND);
    assert_non_null(strstr(err.text, "did you mean 'card'"));
    assert_int_equal(qn_service_features(w.sv, qn_str_of("card"), two, 2, &json, &err), QN_INVALID);
    assert_int_equal(json.len, 0);
    qn_buf_fini(&json);
    world_close(&w);
    world_remove(&w);
}

/* ---- a full disk -----------------------------------------------------------------------------*/

/* One event with a long text nobody looks at; QN_OK when it is durable. */
static qn_status send_large(struct world *w, uint32_t i, struct qn_err *err)
{
    struct waiter done = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    struct qn_buf text = {0};
    struct qn_ingest *in;
    qn_status rc;

    qn_buf_printf(&text, "{\"id\":%u,\"at\":%u,\"card\":\"c\",\"amount\":1,\"note\":\"", i,
                  1500000000 + i);
    for (int k = 0; k < 20000; k++)
        qn_buf_text(&text, "0123456789");
    qn_buf_text(&text, "\"}");
    assert_int_equal(qn_ingest_new(w->sv, 0, &in, err), QN_OK);
    assert_int_equal(
        qn_ingest_add(in, (struct qn_str){text.data, (uint32_t)text.len}, (struct qn_str){0}, err),
        QN_OK);
    rc = qn_ingest_submit(in, QN_INGEST_DURABLE, told, &done, err);
    if (rc == QN_OK) {
        pthread_mutex_lock(&done.lock);
        while (!done.is_done)
            pthread_cond_wait(&done.cond, &done.lock);
        pthread_mutex_unlock(&done.lock);
        rc = qn_ingest_status(in, err);
    }
    qn_ingest_free(in);
    qn_buf_fini(&text);
    return rc;
}

static uint64_t records(struct world *w, uint32_t topic)
{
    struct qn_log_topic_info info;

    qn_log_topic_info(qn_service_log(w->sv), topic, &info);
    return info.next;
}

/* Nothing more is accepted, what was is scored; with space it goes on by itself. */
static void test_full_disk(void **state)
{
    struct qn_err err = {0};
    struct world w;
    uint32_t accepted = 0, tries = 0;
    qn_status rc = QN_OK;

    (void)state;
    world_new(&w);
    world_open(&w, "", 1);
    world_wait_running(&w);
    disk_is_full = true; /* noticed when the segment is half full and the next one is wanted */
    for (uint32_t i = 0; i < 1000 && rc == QN_OK; i++) {
        rc = send_large(&w, i, &err);
        accepted += rc == QN_OK;
    }
    assert_int_equal(rc, QN_FULL);
    assert_true(err.retriable);
    assert_true(accepted > 40);
    while (records(&w, qn_service_output_topic(w.sv, 0)) < accepted && tries++ < 5000)
        usleep(1000);
    assert_int_equal(records(&w, qn_service_output_topic(w.sv, 0)), accepted);
    disk_is_full = false;
    for (tries = 0; (rc = send_large(&w, accepted, &err)) == QN_FULL && tries < 500; tries++)
        usleep(10000);
    assert_int_equal(rc, QN_OK);
    assert_int_equal(qn_service_phase(w.sv), QN_PHASE_RUNNING);
    world_close(&w);
    world_remove(&w);
}

/* ---- events that wait ------------------------------------------------------------------------*/

/* Submits one event; told tells `done`. */
static qn_status submit_one(struct world *w, uint32_t i, struct qn_ingest **in, struct waiter *done,
                            struct qn_err *err)
{
    char text[256];

    event(i, text, sizeof text);
    assert_int_equal(qn_ingest_new(w->sv, 0, in, err), QN_OK);
    assert_int_equal(qn_ingest_add(*in, qn_str_of(text), (struct qn_str){0}, err), QN_OK);
    return qn_ingest_submit(*in, QN_INGEST_DURABLE, told, done, err);
}

/* While an event waits for longer than it may, no other is accepted; then they are again. */
static void test_no_longer_wait(void **state)
{
    struct waiter done[2] = {{PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false},
                             {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false}};
    struct qn_ingest *in[3];
    struct qn_err err = {0};
    struct world w;

    (void)state;
    world_new(&w);
    world_open(&w, "}\nlimits: {wait: 20s", 1);
    world_wait_running(&w);
    pthread_mutex_lock(&disk_is_held);
    assert_int_equal(submit_one(&w, 0, &in[0], &done[0], &err), QN_OK);
    clock_ahead_us += 10000000;
    assert_int_equal(submit_one(&w, 1, &in[1], &done[1], &err), QN_OK);
    clock_ahead_us += 11000000;
    assert_int_equal(submit_one(&w, 2, &in[2], &done[0], &err), QN_FULL);
    assert_non_null(strstr(err.text, "limits: wait"));
    qn_ingest_free(in[2]);
    pthread_mutex_unlock(&disk_is_held);
    for (int i = 0; i < 2; i++) {
        pthread_mutex_lock(&done[i].lock);
        while (!done[i].is_done)
            pthread_cond_wait(&done[i].cond, &done[i].lock);
        pthread_mutex_unlock(&done[i].lock);
        qn_ingest_free(in[i]);
    }
    while (records(&w, qn_service_output_topic(w.sv, 0)) < 2)
        usleep(1000);
    assert_int_equal(qn_ingest_new(w.sv, 0, &in[2], &err), QN_OK);
    assert_int_equal(qn_ingest_add(in[2], qn_str_of("{}"), (struct qn_str){0}, &err), QN_OK);
    send(w.sv, in[2], QN_INGEST_SCORED);
    qn_ingest_free(in[2]);
    world_close(&w);
    world_remove(&w);
    clock_ahead_us = 0;
}

/* ---- no memory -------------------------------------------------------------------------------*/

/* Every allocation of the start fails in turn: it says so, and leaves nothing behind. */
static void test_no_memory_at_the_start(void **state)
{
    const uint64_t stride = getenv("QUERN_LONG") != NULL ? 1 : 7;
    struct world w;
    qn_status rc = QN_NOMEM;

    (void)state;
    world_new(&w);
    for (uint64_t n = 1; rc != QN_OK; n += stride) {
        struct qn_service_options opt = {.files = &qn_files_system,
                                         .clock = &qn_clock_system,
                                         .random = &qn_random_system,
                                         .threads = 2};
        struct qn_err err = {0};

        w.plan = load(&w.arena, w.dir, "");
        assert_int_equal(qn_metrics_new(&w.metrics, &err), QN_OK);
        opt.metrics = w.metrics;
        qn_mem_fail_at(n, false);
        rc = qn_service_new(w.plan, &opt, &w.sv, &err);
        qn_mem_fail_at(0, false);
        assert_true(rc == QN_OK || rc == QN_NOMEM);
        assert_true((rc == QN_OK) == (w.sv != NULL));
        qn_service_free(w.sv);
        qn_metrics_free(w.metrics);
        qn_plan_free(w.plan);
        qn_arena_fini(&w.arena);
    }
    world_remove(&w);
}

/* An allocation fails while it runs: one request may be refused, or everything stops; the next
 * start finds all that was acknowledged, scored once. */
static void test_no_memory_while_running(void **state)
{
    struct world w;

    (void)state;
    world_new(&w);
    for (uint64_t n = 1; n < 60; n += 3) {
        struct qn_err err = {0};

        world_open(&w, "", 1);
        world_wait_running(&w);
        qn_mem_fail_at(n, false);
        for (uint32_t i = 0; i < 20; i++) {
            struct waiter done = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
            struct qn_ingest *in;
            char text[256];

            (void)event(i * 5, text, sizeof text);
            if (qn_ingest_new(w.sv, 0, &in, &err) != QN_OK)
                continue;
            if (qn_ingest_add(in, qn_str_of(text), (struct qn_str){0}, &err) == QN_OK &&
                qn_ingest_submit(in, QN_INGEST_SCORED, told, &done, &err) == QN_OK) {
                pthread_mutex_lock(&done.lock);
                while (!done.is_done)
                    pthread_cond_wait(&done.cond, &done.lock);
                pthread_mutex_unlock(&done.lock);
            }
            qn_ingest_free(in);
        }
        qn_mem_fail_at(0, false);
        (void)qn_service_stop(w.sv, 10000, &err);
        qn_service_free(w.sv);
        qn_metrics_free(w.metrics);
        qn_plan_free(w.plan);
        qn_arena_fini(&w.arena);
    }
    world_open(&w, "", 1);
    world_wait_running(&w);
    for (int tries = 0; tries < 2000 && records(&w, qn_service_stream_topic(w.sv, 0)) !=
                                            records(&w, qn_service_output_topic(w.sv, 0)) +
                                                records(&w, qn_service_dead_topic(w.sv));
         tries++)
        usleep(1000);
    assert_int_equal(records(&w, qn_service_stream_topic(w.sv, 0)),
                     records(&w, qn_service_output_topic(w.sv, 0)) +
                         records(&w, qn_service_dead_topic(w.sv)));
    world_close(&w);
    world_remove(&w);
}

/* The last commit claims other records than those that come out. */
static void test_divergence(void **state)
{
    struct qn_buf answers = {0}, payload = {0}, forged = {0};
    struct qn_commit_input inputs[8];
    struct qn_commit_output outputs[8];
    struct qn_commit m = {.inputs = inputs, .outputs = outputs};
    struct qn_log_append *a;
    struct qn_err err = {0};
    struct world w;
    uint64_t position;

    (void)state;
    world_new(&w);
    world_open(&w, "", 1);
    world_wait_running(&w);
    feed(&w, 0, 300, &answers);
    for (uint64_t before = 1, now = 0; before != now; usleep(50000)) {
        before = now;
        qn_log_last_commit(qn_service_log(w.sv), 0, &position, &now, &payload, &err);
    }
    assert_int_equal(
        qn_commit_read((struct qn_str){payload.data, (uint32_t)payload.len}, 8, 8, &m, &err),
        QN_OK);
    inputs[0].next--;
    outputs[0].hash ^= 1;
    qn_commit_write(&m, &forged);
    assert_int_equal(qn_log_append_new(qn_service_log(w.sv), &a, &err), QN_OK);
    assert_int_equal(qn_log_append_commit(a, 0, position,
                                          (struct qn_str){forged.data, (uint32_t)forged.len}, &err),
                     QN_OK);
    assert_int_equal(qn_log_commit(qn_service_log(w.sv), a, NULL, &err), QN_OK);
    qn_log_append_free(a);
    world_close(&w);
    world_open(&w, "", 1);
    world_wait_running(&w);
    assert_true(qn_service_failure(w.sv, &err));
    assert_non_null(strstr(err.text, "replay diverges"));
    assert_int_equal(qn_service_stop(w.sv, 1000, &err), QN_CORRUPT);
    qn_service_free(w.sv);
    qn_metrics_free(w.metrics);
    qn_plan_free(w.plan);
    qn_arena_fini(&w.arena);
    world_remove(&w);
    qn_buf_fini(&answers);
    qn_buf_fini(&payload);
    qn_buf_fini(&forged);
}

/* Two ask at the same time: each letter is sent once, and dies once more. */
struct asker {
    struct qn_service *sv;
    struct qn_dead_selection sel; /* not those that died again meanwhile */
    struct qn_dead_replay sums;
};

static void *ask(void *arg)
{
    struct asker *k = arg;
    struct qn_err err = {0};

    if (qn_service_replay_dead(k->sv, &k->sel, false, &k->sums, &err) != QN_OK)
        fail_msg("%s", err.text);
    return NULL;
}

static void test_dead_letters_again(void **state)
{
    struct qn_buf answers = {0};
    struct qn_log_topic_info info;
    struct asker two[2] = {0};
    pthread_t threads[2];
    struct qn_err err = {0};
    struct world w;
    uint64_t dead;

    world_new(&w);
    world_open(&w, "", 1);
    world_wait_running(&w);
    feed(&w, 0, EVENTS, &answers);
    world_close(&w);
    world_open(&w, "", 1);
    world_wait_running(&w);
    qn_log_topic_info(qn_service_log(w.sv), qn_service_dead_topic(w.sv), &info);
    dead = info.next;
    assert_true(dead > 0);
    for (int i = 0; i < 2; i++) {
        two[i] = (struct asker){.sv = w.sv, .sel = {.end = dead}};
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &two[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(two[0].sums.sent + two[1].sums.sent, dead);
    do {
        usleep(1000);
        qn_log_topic_info(qn_service_log(w.sv), qn_service_dead_topic(w.sv), &info);
    } while (info.next < 2 * dead);
    assert_int_equal(info.next, 2 * dead);
    assert_int_equal(qn_service_stop(w.sv, 10000, &err), QN_OK);
    assert_int_equal(qn_service_replay_dead(w.sv, &two[0].sel, false, &two[0].sums, &err),
                     QN_CLOSED);
    world_close(&w);
    world_remove(&w);
    qn_buf_fini(&answers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_without_a_log),
        cmocka_unit_test(test_features_of_a_key),
        cmocka_unit_test(test_dead_letters_again),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_no_longer_wait),
        cmocka_unit_test(test_no_memory_at_the_start),
        cmocka_unit_test(test_no_memory_while_running),
        cmocka_unit_test(test_divergence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
