/* SPDX-License-Identifier: Apache-2.0
 * test_intake.c - a source and a real log: every event once and in order, over restarts, failures,
 * a full disk, a slow engine, and SIGKILL at any moment. Run under ThreadSanitizer too. */
#include "base/check.h"
#include "source/intake.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/wait.h>

#include <cmocka.h>

enum { SEGMENT = 2 << 20, PATIENCE_MS = 20000 };

static char folder[64], log_folder[96];

static void empty(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    char name[512];

    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        unlink(name);
    }
    if (d != NULL)
        closedir(d);
}

static int set_up(void **state)
{
    snprintf(folder, sizeof folder, "qn_test_intake_XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(log_folder, sizeof log_folder, "%s/log", folder);
    return 0;
}

static int tear_down(void **state)
{
    empty(log_folder);
    rmdir(log_folder);
    empty(folder);
    return rmdir(folder);
}

/* ---- a log and what lies in it ---------------------------------------------------------------*/

static struct qn_log *open_log(const struct qn_files *files)
{
    struct qn_log_options opt = {.segment_bytes = SEGMENT, .may_be_volatile = true, .files = files};
    struct qn_err err = {0};
    struct qn_log *lg;

    if (qn_log_open(log_folder, &opt, &lg, NULL, &err) != QN_OK) {
        fprintf(stderr, "%s\n", err.text);
        abort(); /* also in a child, where no test can fail */
    }
    return lg;
}

static uint32_t topic_of(struct qn_log *lg, const char *name)
{
    uint32_t topic;

    assert_int_equal(qn_log_topic(lg, qn_str_of(name), true, &topic, NULL), QN_OK);
    return topic;
}

static uint64_t records_of(struct qn_log *lg, const char *name)
{
    struct qn_log_topic_info info;

    qn_log_topic_info(lg, topic_of(lg, name), &info);
    return info.next;
}

/* Calls each with every record of a topic. Returns how many. */
static uint64_t read_topic(struct qn_log *lg, const char *name,
                           void (*each)(void *arg, uint64_t number, struct qn_str value), void *arg)
{
    uint32_t topic = topic_of(lg, name), count = 1;
    struct qn_log_record records[64];
    struct qn_log_reader *r;
    uint64_t number = 0;

    assert_int_equal(qn_log_reader_new(lg, &(struct qn_log_selection){&topic, 1, false}, &r, NULL),
                     QN_OK);
    while (count > 0) {
        enum qn_flow flow;

        assert_int_equal(qn_log_reader_next(r, records, 64, &count, &flow, NULL), QN_OK);
        for (uint32_t i = 0; i < count; i++)
            each(arg, number++, records[i].value);
        qn_log_reader_release(r);
    }
    qn_log_reader_free(r);
    return number;
}

/* Event n of a test is the text "n". */
static void is_numbered(void *arg, uint64_t number, struct qn_str value)
{
    char want[32];

    snprintf(want, sizeof want, "%llu", (unsigned long long)number);
    if (!qn_str_is(value, want))
        fail_msg("event %s is '%.*s'", want, QN_STR_ARG(value));
}

/* ---- a source that does what a script says ---------------------------------------------------*/

struct script {
    uint64_t events;  /* then it is done                                */
    uint64_t batch;   /* events a read                                  */
    uint64_t fail_at; /* one read fails when that many were given; 0 = none */
    bool is_fatal;    /* that one is for ever                           */
    _Atomic int opens, fails, durables;
    _Atomic uint64_t given; /* by read; all instances                         */
};

struct scripted {
    struct script *s;
    uint64_t next;
    char texts[64][24];
};

static qn_status scripted_open(void *st, const struct qn_source_boot *boot, const void *options,
                               struct qn_str position, struct qn_err *err)
{
    struct scripted *me = st;
    char text[32];

    me->s = *(struct script *const *)options;
    me->s->opens++;
    snprintf(text, sizeof text, "%.*s", QN_STR_ARG(position));
    me->next = position.len > 0 ? strtoull(text, NULL, 10) : 0;
    return QN_OK;
}

static qn_status scripted_read(void *st, struct qn_source_batch *b, enum qn_flow *flow,
                               struct qn_err *err)
{
    struct scripted *me = st;

    if (me->s->fail_at > 0 && me->next >= me->s->fail_at &&
        (me->s->fails == 0 || me->s->is_fatal)) {
        me->s->fails++;
        qn_err_set(err, QN_IO, "the outside is down");
        err->fatal = me->s->is_fatal;
        return QN_IO;
    }
    *flow = QN_END;
    while (b->count < me->s->batch && b->count < 64 && me->next < me->s->events) {
        char *text = me->texts[b->count];
        int n = snprintf(text, 24, "%llu", (unsigned long long)me->next++);

        b->events[b->count++] = (struct qn_str){text, (uint32_t)n};
        *flow = QN_MORE;
    }
    me->s->given += b->count;
    if (b->count > 0)
        qn_buf_printf(b->position, "%llu", (unsigned long long)me->next);
    return QN_OK;
}

static qn_status scripted_durable(void *st, struct qn_err *err)
{
    ((struct scripted *)st)->s->durables++;
    return QN_OK;
}

static void scripted_close(void *st)
{
}

static const struct qn_source_ops scripted_ops = {
    .name = "scripted",
    .state_bytes = sizeof(struct scripted),
    .check = qn_source_none_check,
    .open = scripted_open,
    .read = scripted_read,
    .durable = scripted_durable,
    .close = scripted_close,
};

static struct script *script;
static const struct qn_source scripted = {
    .ops = &scripted_ops, .name = {"tx.scripted", 11}, .options = &script};

static struct qn_intake *start(struct qn_log *lg, const struct qn_source *source,
                               uint64_t (*lag)(void *arg))
{
    struct qn_intake_options opt = {
        .log = lg, .topic = topic_of(lg, "tx"), .source = source, .lag = lag, .lag_max = 100};
    struct qn_err err = {0};
    struct qn_intake *in;

    if (qn_intake_start(&opt, &in, &err) != QN_OK)
        fail_msg("%s", err.text);
    return in;
}

static struct qn_intake_stats wait_for(struct qn_intake *in, enum qn_intake_state state)
{
    struct qn_intake_stats stats;

    for (int ms = 0; ms < PATIENCE_MS; ms++) {
        qn_intake_stats(in, &stats);
        if (stats.state == state)
            return stats;
        usleep(1000);
    }
    fail_msg("the intake is %s (%s), not %s", qn_intake_state_name(stats.state), stats.last_error,
             qn_intake_state_name(state));
    return stats;
}

/* ---- tests -----------------------------------------------------------------------------------*/

static void test_all(void **state)
{
    struct script s = {.events = 1000, .batch = 7};
    struct qn_log *lg = open_log(NULL);
    struct qn_intake_stats stats;
    struct qn_intake *in;

    script = &s;
    in = start(lg, &scripted, NULL);
    stats = wait_for(in, QN_INTAKE_DONE);
    assert_int_equal(stats.events, 1000);
    assert_int_equal(stats.bytes, 10 + 90 * 2 + 900 * 3);
    assert_int_equal(stats.failed, 0);
    assert_true(stats.last_event_us > 0);
    assert_true(qn_intake_stop(in, 1000));
    assert_true(s.durables >= 1000 / 7);
    assert_int_equal(read_topic(lg, "tx", is_numbered, NULL), 1000);
    qn_log_close(lg, NULL);
    lg = open_log(NULL);
    in = start(lg, &scripted, NULL);
    wait_for(in, QN_INTAKE_DONE);
    assert_true(qn_intake_stop(in, 1000));
    assert_int_equal(records_of(lg, "tx"), 1000);
    assert_true(qn_intake_stop(NULL, 0));
    qn_log_close(lg, NULL);
}

/* Stopped again and again after a little. */
static void test_restarts(void **state)
{
    struct script s = {.events = 20000, .batch = 5};
    struct qn_log *lg = open_log(NULL);
    struct qn_intake_stats stats = {.state = QN_INTAKE_RUNNING};

    script = &s;
    for (int round = 0; stats.state != QN_INTAKE_DONE; round++) {
        struct qn_intake *in = start(lg, &scripted, NULL);

        usleep(3000 + 1000 * (round % 5));
        qn_intake_stats(in, &stats);
        qn_intake_stop(in, 0);
        assert_true(round < 10000);
    }
    assert_int_equal(read_topic(lg, "tx", is_numbered, NULL), 20000);
    qn_log_close(lg, NULL);
}

struct told {
    int problems, notes;
    char last[256];
};

static void tell(void *arg, bool is_problem, const char *source, const char *text)
{
    struct told *t = arg;

    assert_string_equal(source, "source.tx.scripted");
    *(is_problem ? &t->problems : &t->notes) += 1;
    snprintf(t->last, sizeof t->last, "%s", text);
}

static void test_failing(void **state)
{
    struct script s = {.events = 500, .batch = 10, .fail_at = 250};
    struct qn_log *lg = open_log(NULL);
    struct told told = {0};
    struct qn_intake_options opt = {.log = lg,
                                    .topic = topic_of(lg, "tx"),
                                    .source = &scripted,
                                    .tell = tell,
                                    .tell_arg = &told};
    struct qn_intake_stats stats;
    struct qn_intake *in;

    script = &s;
    assert_int_equal(qn_intake_start(&opt, &in, NULL), QN_OK);
    stats = wait_for(in, QN_INTAKE_DONE);
    assert_int_equal(stats.failed, 1);
    assert_string_equal(stats.last_error, "the outside is down");
    assert_true(stats.last_error_us > 0);
    qn_intake_stop(in, 1000);
    assert_int_equal(s.opens, 2);
    assert_int_equal(told.problems, 1);
    assert_int_equal(told.notes, 2); /* goes on; has no more */
    assert_int_equal(read_topic(lg, "tx", is_numbered, NULL), 500);
    s = (struct script){.events = 900, .batch = 10, .fail_at = 700, .is_fatal = true};
    in = start(lg, &scripted, NULL);
    wait_for(in, QN_INTAKE_STOPPED);
    qn_intake_stop(in, 1000);
    assert_int_equal(s.fails, 1);
    assert_int_equal(read_topic(lg, "tx", is_numbered, NULL), 700);
    qn_log_close(lg, NULL);
}

static _Atomic uint64_t lag_now;

static uint64_t lag(void *arg)
{
    return lag_now;
}

static void test_slow_engine(void **state)
{
    struct script s = {.events = 100000, .batch = 64};
    struct qn_log *lg = open_log(NULL);
    struct qn_intake *in;
    uint64_t given;

    script = &s;
    lag_now = 101;
    in = start(lg, &scripted, lag);
    wait_for(in, QN_INTAKE_PAUSED);
    assert_int_equal(s.given, 0);
    lag_now = 51; /* not yet half */
    usleep(100000);
    assert_int_equal(s.given, 0);
    lag_now = 50;
    wait_for(in, QN_INTAKE_RUNNING);
    while (s.given == 0)
        usleep(1000);
    lag_now = 1000;
    wait_for(in, QN_INTAKE_PAUSED);
    given = s.given;
    usleep(50000);
    assert_int_equal(s.given, given);
    lag_now = 0;
    wait_for(in, QN_INTAKE_DONE);
    qn_intake_stop(in, 1000);
    assert_int_equal(read_topic(lg, "tx", is_numbered, NULL), 100000);
    qn_log_close(lg, NULL);
}

static _Atomic bool no_space;

static int allocate_or_not(void *st, int fd, uint64_t bytes)
{
    return no_space ? -ENOSPC : qn_files_system.allocate(st, fd, bytes);
}

static void test_full_disk(void **state)
{
    struct script s = {.events = 120000, .batch = 64}; /* several segments */
    struct qn_files files = qn_files_system;
    struct qn_intake *in;
    struct qn_log *lg;
    uint64_t written;

    files.allocate = allocate_or_not;
    lg = open_log(&files);
    no_space = true;
    script = &s;
    in = start(lg, &scripted, NULL);
    wait_for(in, QN_INTAKE_FULL);
    written = records_of(lg, "tx");
    usleep(50000);
    assert_int_equal(records_of(lg, "tx"), written);
    assert_true(qn_intake_stop(in, 1000)); /* also while the disk is full */
    in = start(lg, &scripted, NULL);
    wait_for(in, QN_INTAKE_FULL);
    no_space = false;
    wait_for(in, QN_INTAKE_DONE);
    qn_intake_stop(in, 1000);
    assert_int_equal(read_topic(lg, "tx", is_numbered, NULL), 120000);
    qn_log_close(lg, NULL);
}

/* An idle source does not keep the log from retention: its position moves along. */
static void test_renewed(void **state)
{
    static char block[64 * 1024];
    struct script s = {.events = 3, .batch = 3};
    struct qn_log *lg = open_log(NULL);
    struct qn_log_ends ends;
    struct qn_log_append *a;
    struct qn_intake *in;
    uint32_t other = topic_of(lg, "other"), removed = 0, all = 0;

    script = &s;
    in = start(lg, &scripted, NULL);
    wait_for(in, QN_INTAKE_DONE);
    qn_log_retain(lg, other, 1, 0);
    qn_log_retain(lg, topic_of(lg, "tx"), 1, 0);
    assert_int_equal(records_of(lg, "source.tx.scripted"), 1);
    assert_int_equal(qn_log_append_new(lg, &a, NULL), QN_OK);
    for (int i = 0; i < 2 * QN_INTAKE_RENEW_BYTES / (int)sizeof block; i++) {
        struct qn_log_record r = {.value = {block, sizeof block}, .time_us = QN_LOG_NO_TIME};

        qn_log_append_reset(a);
        assert_int_equal(qn_log_append_record(a, other, QN_LOG_RECORDS, &r, NULL), QN_OK);
        assert_int_equal(qn_log_commit(lg, a, NULL, NULL), QN_OK);
    }
    qn_log_append_free(a);
    for (int ms = 0; records_of(lg, "source.tx.scripted") < 2; ms++) {
        assert_true(ms < PATIENCE_MS);
        usleep(1000);
    }
    do {
        assert_int_equal(qn_log_trim(lg, &removed, NULL), QN_OK);
        all += removed;
        usleep(1000);
        qn_log_ends(lg, &ends);
    } while (removed > 0 || ends.segments > 12);
    qn_intake_stop(in, 1000);
    qn_log_close(lg, NULL);
    lg = open_log(NULL);
    in = start(lg, &scripted, NULL); /* the renewed position is a good one */
    wait_for(in, QN_INTAKE_DONE);
    qn_intake_stop(in, 1000);
    assert_int_equal(records_of(lg, "tx"), 3);
    qn_log_close(lg, NULL);
}

/* ---- SIGKILL ---------------------------------------------------------------------------------*/

enum { ROUNDS = 30, ROUNDS_LONG = 400 };

static struct qn_source file_source(struct qn_arena *arena, const char *path)
{
    const struct qn_source_ops *ops = qn_sources[0];
    char *options = qn_arena_zalloc(arena, 1, ops->options_bytes);

    QN_ASSERT(strcmp(ops->name, "file") == 0);
    QN_ASSERT(qn_options_defaults(ops->options, options, arena, NULL) == QN_OK);
    for (const struct qn_option *o = ops->options; o->name != NULL; o++) {
        if (strcmp(o->name, "path") == 0)
            *(const char **)(void *)(options + o->offset) = path;
        if (strcmp(o->name, "follow") == 0)
            *(bool *)(options + o->offset) = true;
        if (strcmp(o->name, "poll") == 0)
            *(int64_t *)(void *)(options + o->offset) = 1000;
    }
    return (struct qn_source){.ops = ops, .name = {"tx.file", 7}, .options = options};
}

/* Follows until it is killed. */
static pid_t follow_in_child(const char *path)
{
    pid_t child = fork();

    if (child == 0) {
        struct qn_log *lg = open_log(NULL);
        struct qn_arena arena = {0};
        struct qn_source source = file_source(&arena, path);
        struct qn_intake_options opt = {.log = lg, .source = &source};
        struct qn_intake *in;

        QN_ASSERT(qn_log_topic(lg, qn_str_of("tx"), true, &opt.topic, NULL) == QN_OK);
        QN_ASSERT(qn_intake_start(&opt, &in, NULL) == QN_OK);
        for (;;)
            pause();
    }
    return child;
}

/* Events that a look beside the follower finds in the log. */
static uint64_t look(void)
{
    struct qn_log_options opt = {.is_read_only = true, .may_be_volatile = true};
    struct qn_log_topic_info info = {.next = 0};
    struct qn_log *lg;
    uint32_t topic;

    if (qn_log_open(log_folder, &opt, &lg, NULL, NULL) != QN_OK)
        return 0; /* not made yet */
    if (qn_log_topic(lg, qn_str_of("tx"), false, &topic, NULL) == QN_OK)
        qn_log_topic_info(lg, topic, &info);
    qn_log_close(lg, NULL);
    return info.next;
}

/* Lines in pieces that end anywhere. */
static uint64_t write_lines(const char *path, uint64_t next, struct qn_rng *rng)
{
    FILE *f = fopen(path, "a");

    assert_non_null(f);
    setvbuf(f, NULL, _IOFBF, 1 + qn_rng_below(rng, 200));
    for (uint32_t n = qn_rng_below(rng, 3000); n > 0; n--) {
        fprintf(f, "%llu\n", (unsigned long long)next++);
        if (qn_rng_below(rng, 500) == 0)
            usleep(qn_rng_below(rng, 2000));
    }
    fclose(f);
    return next;
}

/* While the follower lives: more lines, and now and then another name for the file. A file that
 * got another name before it was ever seen would be lost to anyone who follows one name, so the
 * follower is given the time to see it. */
static uint64_t keep_writing(const char *path, uint64_t next, struct qn_rng *rng)
{
    static int rotated;
    char other[128];

    if (qn_rng_below(rng, 4) == 0) {
        for (int ms = 0; look() < next; ms++) {
            assert_true(ms < PATIENCE_MS);
            usleep(1000);
        }
        next = write_lines(path, next, rng);
        snprintf(other, sizeof other, "%s.%d", path, ++rotated);
        assert_int_equal(rename(path, other), 0);
    }
    return write_lines(path, next, rng);
}

static void test_killed(void **state)
{
    int rounds = getenv("QUERN_LONG") != NULL ? ROUNDS_LONG : ROUNDS;
    struct qn_arena arena = {0};
    struct qn_source source;
    struct qn_intake *in;
    struct qn_log *lg;
    struct qn_rng rng;
    uint64_t seed, written;
    char path[128];

    qn_random_system.fill(NULL, &seed, sizeof seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    qn_rng_seed(&rng, seed);
    snprintf(path, sizeof path, "%s/tx.ndjson", folder);
    written = write_lines(path, 0, &rng);
    for (int round = 0; round < rounds; round++) {
        pid_t child = follow_in_child(path);
        int status;

        assert_true(child > 0);
        usleep(qn_rng_below(&rng, 20000));
        written = keep_writing(path, written, &rng);
        usleep(qn_rng_below(&rng, 20000));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* it did not leave by itself */
        assert_int_equal(WTERMSIG(status), SIGKILL);
    }
    lg = open_log(NULL);
    source = file_source(&arena, path);
    in = start(lg, &source, NULL);
    for (int ms = 0; records_of(lg, "tx") < written; ms++) {
        assert_true(ms < PATIENCE_MS);
        usleep(1000);
    }
    usleep(10000); /* nothing more must come */
    qn_intake_stop(in, 1000);
    assert_int_equal(read_topic(lg, "tx", is_numbered, NULL), written);
    qn_log_close(lg, NULL);
    qn_arena_fini(&arena);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(test_all),       CASE(test_restarts), CASE(test_failing), CASE(test_slow_engine),
        CASE(test_full_disk), CASE(test_renewed),  CASE(test_killed),
    };
#undef CASE

    return cmocka_run_group_tests(tests, NULL, NULL);
}
