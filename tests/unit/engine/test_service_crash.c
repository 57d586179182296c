/* SPDX-License-Identifier: Apache-2.0
 * test_service_crash.c - a running pipeline loses power at random operations of its disk, during
 * commits, snapshots, rolls of segments and recovery, or has one write or sync fail.
 *
 * Holds always: what was acknowledged is in the log where it was said to be; predictions are, byte
 * for byte and once each, what an engine without a log makes of those events; a failed write or
 * sync stops the pipeline before it acknowledges anything more. QUERN_SEED chooses the seed. */
#include "../log/log_disk.h"
#include "../seed.h"
#include "engine/service.h"
#include "plain_engine.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROUNDS = 24, LIVES = 4, EVENTS_MAX = 4000, SEGMENT = 128 * 1024, SNAP_FD = 1000 };

static const char SPEC[] = "quern: 1\n"
                           "name: test\n"
                           "log: local:log\n"
                           "snapshots: {every: 100ms}\n"
                           "streams:\n"
                           "  pay:\n"
                           "    id: id\n"
                           "    time: at\n"
                           "    fields: {id: int64, at: {type: timestamp, unit: s}, card: string}\n"
                           "features:\n"
                           "  n: count() by card over 1h\n"
                           "outputs:\n"
                           "  predictions: {include: [features]}\n";

/* ---- two disks behind one lock: the log's, and that of the snapshots
 * ---------------------------*/

static struct {
    pthread_mutex_t lock;
    struct disk *log, *snap;
} machine = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct disk *disk_of_path(const char *path)
{
    return strstr(path, "/snap") != NULL ? machine.snap : machine.log;
}

static struct disk *disk_of(int *fd)
{
    bool is_snap = *fd >= SNAP_FD;

    *fd -= is_snap ? SNAP_FD : 0;
    return is_snap ? machine.snap : machine.log;
}

/* d: the disk that the path or the descriptor belongs to. */
#define LOCKED(type, which, call)                                                                  \
    do {                                                                                           \
        struct disk *d = which;                                                                    \
        type rc_;                                                                                  \
        pthread_mutex_lock(&machine.lock);                                                         \
        rc_ = call;                                                                                \
        pthread_mutex_unlock(&machine.lock);                                                       \
        return rc_;                                                                                \
    } while (0)

static int open_at(struct disk *d, const char *path, enum qn_open how)
{
    int fd = disk_open(d, path, how);

    return fd >= 0 && d == machine.snap ? fd + SNAP_FD : fd;
}

static int m_open(void *st, const char *path, enum qn_open how)
{
    LOCKED(int, disk_of_path(path), open_at(d, path, how));
}
static int64_t m_read(void *st, int fd, void *p, size_t n)
{
    LOCKED(int64_t, disk_of(&fd), disk_read(d, fd, p, n));
}
static int64_t m_write(void *st, int fd, const void *p, size_t n)
{
    LOCKED(int64_t, disk_of(&fd), disk_write(d, fd, p, n));
}
static int m_sync(void *st, int fd)
{
    LOCKED(int, disk_of(&fd), disk_sync(d, fd));
}
static int m_close(void *st, int fd)
{
    LOCKED(int, disk_of(&fd), disk_close(d, fd));
}
static int m_rename(void *st, const char *from, const char *to)
{
    LOCKED(int, disk_of_path(from), disk_rename(d, from, to));
}
static int m_remove(void *st, const char *path)
{
    LOCKED(int, disk_of_path(path), disk_remove(d, path));
}
static int64_t m_size(void *st, int fd)
{
    LOCKED(int64_t, disk_of(&fd), disk_size(d, fd));
}
static int64_t m_pread(void *st, int fd, void *p, size_t n, uint64_t at)
{
    LOCKED(int64_t, disk_of(&fd), disk_pread(d, fd, p, n, at));
}
static int64_t m_pwritev(void *st, int fd, const struct qn_piece *v, unsigned n, uint64_t at)
{
    LOCKED(int64_t, disk_of(&fd), disk_pwritev(d, fd, v, n, at));
}
static int m_allocate(void *st, int fd, uint64_t n)
{
    LOCKED(int, disk_of(&fd), disk_allocate(d, fd, n));
}
static int m_truncate(void *st, int fd, uint64_t n)
{
    LOCKED(int, disk_of(&fd), disk_truncate(d, fd, n));
}
static int m_sync_folder(void *st, const char *path)
{
    LOCKED(int, disk_of_path(path), disk_sync_folder(d, path));
}
static int m_make_folder(void *st, const char *path)
{
    LOCKED(int, disk_of_path(path), disk_make_folder(d, path));
}
static int m_list(void *st, const char *path, void (*each)(void *arg, const char *name), void *arg)
{
    LOCKED(int, disk_of_path(path), disk_list(d, path, each, arg));
}
static int m_lock(void *st, int fd)
{
    LOCKED(int, disk_of(&fd), disk_lock(d, fd));
}
static int m_is_durable(void *st, const char *path, const char **kind)
{
    LOCKED(int, disk_of_path(path), disk_is_durable(d, path, kind));
}

static const struct qn_files machine_files = {.open = m_open,
                                              .read = m_read,
                                              .write = m_write,
                                              .sync = m_sync,
                                              .close = m_close,
                                              .rename = m_rename,
                                              .remove = m_remove,
                                              .size = m_size,
                                              .pread = m_pread,
                                              .pwritev = m_pwritev,
                                              .allocate = m_allocate,
                                              .truncate = m_truncate,
                                              .sync_folder = m_sync_folder,
                                              .make_folder = m_make_folder,
                                              .list_folder = m_list,
                                              .lock = m_lock,
                                              .is_durable = m_is_durable};

/* ---- the pipeline ----------------------------------------------------------------------------*/

struct life {
    struct qn_arena arena;
    struct qn_plan *plan;
    struct qn_metrics *metrics;
    struct qn_service *sv;
};

static const char *const no_environment[] = {NULL};

static struct qn_plan *load(struct qn_arena *arena)
{
    struct qn_plan_options opt = {.files = &qn_files_system, .environment = no_environment};
    struct qn_diags diags = {.arena = arena};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};

    if (qn_plan_load_text(qn_str_of(SPEC), "spec.yaml", &opt, arena, &diags, &plan, &err) != QN_OK)
        fail_msg("spec: %s", diags.count > 0 ? diags.list[0].text : err.text);
    plan->storage.segment_bytes = SEGMENT; /* less than a spec may say, so that segments roll */
    return plan;
}

/* False where the disk failed while it started. */
static bool life_begin(struct life *l, uint32_t threads)
{
    struct qn_service_options opt = {.files = &machine_files,
                                     .clock = &qn_clock_system,
                                     .random = &qn_random_system,
                                     .threads = threads};
    struct qn_err err = {0};

    *l = (struct life){0};
    l->plan = load(&l->arena);
    assert_int_equal(qn_metrics_new(&l->metrics, &err), QN_OK);
    opt.metrics = l->metrics;
    if (qn_service_new(l->plan, &opt, &l->sv, &err) != QN_OK)
        return false;
    if (qn_service_start(l->sv, &err) != QN_OK)
        return false;
    while (qn_service_phase(l->sv) == QN_PHASE_STARTING)
        usleep(100);
    return qn_service_phase(l->sv) == QN_PHASE_RUNNING;
}

static void life_end(struct life *l)
{
    struct qn_err err = {0};

    if (l->sv != NULL)
        (void)qn_service_stop(l->sv, 5000, &err);
    qn_service_free(l->sv);
    qn_metrics_free(l->metrics);
    qn_plan_free(l->plan);
    qn_arena_fini(&l->arena);
}

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

/* What was acknowledged: offset -> number of the event; -1 = not acknowledged there. */
static int64_t acked[EVENTS_MAX];
static uint32_t acked_end;

static void event(uint32_t i, char *out, size_t room)
{
    snprintf(out, room, "{\"id\":%u,\"at\":%u,\"card\":\"c%u\"}", i, 1500000000 + i * 9,
             i * 2654435761u % 7);
}

/* Sends a few events together; false where they were not acknowledged. */
static bool send(struct life *l, uint32_t first, uint32_t n, bool wants_scores)
{
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    struct qn_err err = {0};
    struct qn_ingest *in;
    bool is_good;

    assert_int_equal(qn_ingest_new(l->sv, 0, &in, &err), QN_OK);
    for (uint32_t i = 0; i < n; i++) {
        char text[128];

        event(first + i, text, sizeof text);
        assert_int_equal(qn_ingest_add(in, qn_str_of(text), (struct qn_str){0}, &err), QN_OK);
    }
    is_good = qn_ingest_submit(in, wants_scores ? QN_INGEST_SCORED : QN_INGEST_DURABLE, told, &w,
                               &err) == QN_OK;
    if (is_good) {
        pthread_mutex_lock(&w.lock);
        while (!w.is_done)
            pthread_cond_wait(&w.cond, &w.lock);
        pthread_mutex_unlock(&w.lock);
        is_good = qn_ingest_status(in, &err) == QN_OK;
    }
    for (uint32_t i = 0; is_good && i < n; i++) {
        struct qn_ingest_row row;

        qn_ingest_row(in, i, &row);
        assert_true(row.offset < EVENTS_MAX);
        assert_int_equal(acked[row.offset], -1);
        acked[row.offset] = first + i;
        acked_end = row.offset + 1 > acked_end ? (uint32_t)row.offset + 1 : acked_end;
    }
    qn_ingest_free(in);
    return is_good;
}

/* ---- afterwards ------------------------------------------------------------------------------*/

/* Calls each for every record of a topic, in order; returns how many. */
static uint64_t each_record(struct life *l, uint32_t topic,
                            void (*each)(void *arg, const struct qn_log_record *r), void *arg)
{
    struct qn_log_reader *r;
    struct qn_log_record rec[32];
    enum qn_flow flow = QN_MORE;
    struct qn_err err = {0};
    uint64_t count = 0;
    uint32_t n;

    assert_int_equal(qn_log_reader_new(qn_service_log(l->sv),
                                       &(struct qn_log_selection){&topic, 1, false}, &r, &err),
                     QN_OK);
    while (flow == QN_MORE) {
        assert_int_equal(qn_log_reader_next(r, rec, 32, &n, &flow, &err), QN_OK);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(rec[i].offset, count++);
            each(arg, &rec[i]);
        }
        qn_log_reader_release(r);
    }
    qn_log_reader_free(r);
    return count;
}

static void take_event(void *arg, const struct qn_log_record *r)
{
    struct plain *p = arg;
    char text[128];

    assert_true(r->offset < EVENTS_MAX);
    if (acked[r->offset] >= 0) {
        event((uint32_t)acked[r->offset], text, sizeof text);
        assert_true(qn_str_is(r->value, text));
    }
    plain_add(p, 0, r->value);
}

static void take_prediction(void *arg, const struct qn_log_record *r)
{
    qn_buf_add(arg, r->value.p, r->value.len);
    qn_buf_byte(arg, '\n');
}

/* Everything acknowledged is there; the predictions are those of an engine without a log. */
static void check(struct life *l, uint64_t seed)
{
    struct qn_arena arena = {0};
    struct qn_plan *plan = load(&arena);
    struct plain p = {0};
    struct qn_buf predictions = {0};
    uint64_t events, tries = 0;

    events = each_record(l, qn_service_stream_topic(l->sv, 0), take_event, &p);
    assert_true(events >= acked_end);
    for (;;) {
        qn_buf_clear(&predictions);
        if (each_record(l, qn_service_output_topic(l->sv, 0), take_prediction, &predictions) >=
                events ||
            tries++ > 5000)
            break;
        usleep(1000);
    }
    plain_run(&p, plan, 1, 0);
    if (predictions.len != p.out[0].len ||
        (predictions.len > 0 && memcmp(predictions.data, p.out[0].data, predictions.len) != 0))
        fail_msg("seed %llu: predictions differ: %zu and %zu bytes", (unsigned long long)seed,
                 predictions.len, p.out[0].len);
    plain_fini(&p);
    qn_plan_free(plan);
    qn_arena_fini(&arena);
    qn_buf_fini(&predictions);
}

/* ---- tests -----------------------------------------------------------------------------------*/

static void power_at(uint64_t calls)
{
    pthread_mutex_lock(&machine.lock);
    machine.log->power_at = machine.log->calls + calls;
    pthread_mutex_unlock(&machine.lock);
}

/* When one of the disks has lost power the other has, too. */
static void power_returns(void)
{
    disk_power_loss(machine.log);
    disk_power_loss(machine.snap);
}

static void forget(void)
{
    for (uint32_t i = 0; i < EVENTS_MAX; i++)
        acked[i] = -1;
    acked_end = 0;
}

static void round_of_lives(uint64_t seed)
{
    struct qn_rng rng;
    struct life l;
    uint32_t next = 0;

    qn_rng_seed(&rng, seed);
    machine.log = disk_new(seed);
    machine.snap = disk_new(seed + 1);
    forget();
    for (uint32_t i = 0; i < LIVES; i++) {
        uint32_t threads = 1 + qn_rng_below(&rng, 2);
        bool is_good;

        power_at(qn_rng_below(&rng, 4) == 0 ? 1 + qn_rng_below(&rng, 40)
                                            : 20 + qn_rng_below(&rng, 500));
        is_good = life_begin(&l, threads);
        while (is_good && next < EVENTS_MAX - 1000) {
            uint32_t n = 1 + qn_rng_below(&rng, 9);

            is_good = send(&l, next, n, qn_rng_below(&rng, 3) == 0);
            next += n; /* in doubt: may be in the log, without having been acknowledged */
        }
        life_end(&l);
        power_returns();
    }
    assert_true(life_begin(&l, 1));
    check(&l, seed);
    assert_true(send(&l, next, 5, true));
    life_end(&l);
    disk_free(machine.log);
    disk_free(machine.snap);
}

static void test_power_loss(void **state)
{
    uint64_t seed = test_seed(20180407);
    uint32_t rounds = getenv("QUERN_LONG") != NULL ? 100 * ROUNDS : ROUNDS;

    (void)state;
    for (uint32_t i = 0; i < rounds; i++)
        round_of_lives(seed + i);
}

/* One operation fails: a write or a sync ends it all, the rest is lived with. Nothing is lost. */
static void test_one_failure(void **state)
{
    uint64_t seed = test_seed(20180407);
    struct life l;

    (void)state;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct qn_rng rng;
        uint32_t next = 0;
        bool is_good;

        qn_rng_seed(&rng, seed + i);
        machine.log = disk_new(seed + i);
        machine.snap = disk_new(seed + i + 1);
        forget();
        pthread_mutex_lock(&machine.lock);
        (i % 4 == 3 ? machine.snap : machine.log)->fail_at = 5 + qn_rng_below(&rng, 150);
        pthread_mutex_unlock(&machine.lock);
        is_good = life_begin(&l, 1);
        while (is_good && next < 500) {
            is_good = send(&l, next, 3, qn_rng_below(&rng, 3) == 0);
            next += 3;
        }
        life_end(&l);
        power_returns();
        assert_true(life_begin(&l, 1));
        check(&l, seed + i);
        life_end(&l);
        disk_free(machine.log);
        disk_free(machine.snap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_loss),
        cmocka_unit_test(test_one_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
