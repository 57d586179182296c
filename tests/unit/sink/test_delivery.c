/* SPDX-License-Identifier: Apache-2.0
 * test_delivery.c - the loop between a topic and a sink that fails in every way it may: order,
 * waits, breaker, dead letters, cursor, restart; on a clock that the test turns. One test runs the
 * thread. */
#include "sink_rig.h"

#include "base/memory.h"
#include "base/number.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static struct rig rig;

/* ---- a sink that does as it is told ----------------------------------------------------------*/

/* What it does with a record: one letter per call, the last one for ever. t takes what it is given,
 * 1 takes one; d down, r retry, x refuse, f fatal, a asks to be tried 5 s later, i interrupted. */
static struct script {
    const char *letters;
    const char *flushes; /* 'g' good, 'b' bad */
    bool open_fails, is_threaded;
    uint64_t poison; /* this number is refused; UINT64_MAX = none */
    uint64_t taken[4096];
    uint32_t taken_count, calls, flush_count, open_count, close_count, batch_last;
    atomic_int slow_ms;
    atomic_bool was_cut;
    bool (*must_stop)(void *arg);
    void *must_stop_arg;
} script;

static char next_letter(const char **s)
{
    char c = **s;

    if (c != '\0' && (*s)[1] != '\0')
        ++*s;
    return c;
}

static uint64_t number_of(const struct qn_log_record *r)
{
    const char *at = memmem(r->value.p, r->value.len, "\"n\":", 4);
    int64_t n = -1;

    assert_non_null(at);
    assert_true(
        qn_text_int64((struct qn_str){at + 4, (uint32_t)(r->value.p + r->value.len - at) - 5}, &n));
    return (uint64_t)n;
}

static qn_status scripted_open(void *st, const struct qn_sink_boot *boot, const void *options,
                               struct qn_err *err)
{
    assert_int_equal(*(int *)st, 0);
    *(int *)st = 1;
    script.open_count++;
    script.must_stop = boot->must_stop;
    script.must_stop_arg = boot->must_stop_arg;
    return script.open_fails ? qn_err_set(err, QN_IO, "cannot open") : QN_OK;
}

static qn_status scripted_deliver(void *st, const struct qn_sink_batch *b,
                                  struct qn_sink_result *result, struct qn_err *err)
{
    uint32_t take = b->count;

    if (!script.is_threaded) /* never behind what is not settled */
        assert_true(rig_cursor(&rig, "alerts.scripted") <= b->records[0].offset);
    script.calls++;
    script.batch_last = b->count;
    result->answer = QN_UNTRIED;
    for (int ms = 0; ms < atomic_load(&script.slow_ms); ms++) {
        if (script.must_stop(script.must_stop_arg)) {
            atomic_store(&script.was_cut, true);
            return qn_err_set(err, QN_INTERRUPTED, "cut");
        }
        usleep(1000);
    }
    switch (next_letter(&script.letters)) {
    case '1':
        take = 1;
        break;
    case 'd':
        return qn_err_set(err, QN_IO, "the target is down");
    case 'f':
        qn_err_set(err, QN_CLOSED, "the target is gone");
        err->fatal = true;
        return QN_CLOSED;
    case 'i':
        return qn_err_set(err, QN_INTERRUPTED, "cut");
    case 'a':
        result->retry_after_us = 5000000;
        return qn_err_set(err, QN_IO, "too many requests");
    case 'r':
        result->answer = QN_RETRY;
        snprintf(result->text, sizeof result->text, "not today");
        return QN_OK;
    case 'x':
        result->answer = QN_REFUSED;
        snprintf(result->text, sizeof result->text, "never");
        return QN_OK;
    default:
        break;
    }
    for (uint32_t i = 0; i < take; i++) {
        uint64_t n = number_of(&b->records[i]);

        if (n == script.poison) {
            result->answer = QN_REFUSED;
            snprintf(result->text, sizeof result->text, "poison");
            return QN_OK;
        }
        assert_true(script.taken_count < 4096);
        script.taken[script.taken_count++] = n;
        result->delivered++;
    }
    return QN_OK;
}

static qn_status scripted_flush(void *st, struct qn_err *err)
{
    script.flush_count++;
    return next_letter(&script.flushes) == 'b' ? qn_err_set(err, QN_FULL, "the disk is full")
                                               : QN_OK;
}

static void scripted_close(void *st)
{
    script.close_count++;
}

static const struct qn_option no_options[] = {{0}};
static const struct qn_sink_ops scripted = {.name = "scripted",
                                            .summary = "does as it is told",
                                            .options = no_options,
                                            .options_bytes = 1,
                                            .state_bytes = sizeof(int),
                                            .check = qn_sink_none_check,
                                            .open = scripted_open,
                                            .deliver = scripted_deliver,
                                            .flush = scripted_flush,
                                            .close = scripted_close};

static struct qn_sink sink;

static int set_up(void **state)
{
    struct qn_arena arena = {0};

    memset(&script, 0, sizeof script);
    script.letters = "t";
    script.flushes = "g";
    script.poison = UINT64_MAX;
    memset(&sink, 0, sizeof sink);
    sink.ops = &scripted;
    sink.name = qn_str_of("alerts.scripted");
    assert_int_equal(qn_options_defaults(qn_delivery_policy_options, &sink.policy, &arena, NULL),
                     QN_OK);
    qn_arena_fini(&arena);
    rig_new(&rig, 1);
    return 0;
}

static int tear_down(void **state)
{
    rig_free(&rig);
    return 0;
}

static struct qn_delivery_stats stats_of(struct qn_delivery *d)
{
    struct qn_delivery_stats s;

    qn_delivery_stats(d, &s);
    return s;
}

/* The numbers [first, end) came, in order, and nothing else. */
static void assert_taken(uint64_t first, uint64_t end)
{
    assert_int_equal(script.taken_count, end - first);
    for (uint32_t i = 0; i < script.taken_count; i++)
        assert_int_equal(script.taken[i], first + i);
}

/* ---- the good days ---------------------------------------------------------------------------*/

static void test_delivers_in_order(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    struct qn_delivery_stats s;

    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 0); /* there from the start: it holds */
    rig_add(&rig, 700);
    s = stats_of(d);
    assert_int_equal(s.lag, 700);
    assert_true(rig_steps(d) > 0);
    assert_taken(0, 700);
    s = stats_of(d);
    assert_int_equal(s.lag, 0);
    assert_int_equal(s.delivered, 700);
    assert_int_equal(s.next, 700);
    assert_int_equal(s.failed + s.dead, 0);
    assert_int_equal(s.state, QN_DELIVERY_RUNNING);
    assert_string_equal(s.last_error, "");
    assert_true(rig_stop(&rig));
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 700);
    assert_string_equal(rig.told, "");
    assert_int_equal(script.close_count, 1);
}

static void test_cursor_moves_once_a_second(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    struct qn_log_ends before, after;

    rig_pass(&rig, d, 3000);
    qn_log_ends(rig.lg, &before);
    for (int i = 0; i < 100; i++) { /* 10 s */
        rig_add(&rig, 1);
        rig_pass(&rig, d, 100);
    }
    qn_log_ends(rig.lg, &after);
    assert_taken(0, 100);
    assert_in_range(after.append_count - before.append_count - 100, 9, 11);
    qn_log_ends(rig.lg, &before);
    rig_pass(&rig, d, 60000); /* nothing comes */
    qn_log_ends(rig.lg, &after);
    assert_in_range(after.append_count - before.append_count, 0, 1);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 100);
    assert_true(script.flush_count >= 60); /* a file that is old enough is finished */
    rig_stop(&rig);
}

static void test_goes_on_behind_its_cursor(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);

    rig_add(&rig, 10);
    rig_steps(d);
    assert_true(rig_stop(&rig));
    rig_add(&rig, 5);
    script.taken_count = 0;
    d = rig_start(&rig, &sink);
    rig_steps(d);
    assert_taken(10, 15);
    assert_true(rig_stop(&rig));
}

/* What was delivered since the cursor moved comes again, the same, in order. */
static void test_at_least_once_after_a_crash(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    struct qn_err err = {0};

    rig_add(&rig, 10);
    rig_pass(&rig, d, 2000);
    rig_add(&rig, 10);
    rig_steps(d);
    assert_taken(0, 20);
    rig.disk->is_off = true;
    assert_false(rig_stop(&rig));
    (void)qn_log_close(rig.lg, NULL);
    disk_power_loss(rig.disk);
    assert_int_equal(rig_open_log(&rig, &err), QN_OK);
    script.taken_count = 0;
    d = rig_start(&rig, &sink);
    rig_steps(d);
    assert_taken(10, 20);
    rig_stop(&rig);
}

static void test_starts_at_the_newest(void **state)
{
    struct qn_delivery *d;

    rig_add(&rig, 10);
    sink.policy.start = 1;
    d = rig_start(&rig, &sink);
    rig_add(&rig, 3);
    rig_steps(d);
    assert_taken(10, 13);
    rig_stop(&rig);
}

/* ---- a target that is down -------------------------------------------------------------------*/

static void test_down_then_up(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    struct qn_delivery_stats s;

    script.letters = "d";
    rig_add(&rig, 300);
    rig_pass(&rig, d, 120000); /* two minutes */
    s = stats_of(d);
    assert_int_equal(s.state, QN_DELIVERY_WAITING);
    assert_int_equal(s.breaker, QN_BREAKER_OPEN);
    assert_int_equal(s.lag, 300);
    assert_int_equal(s.dead, 0); /* a target that is down refuses no record */
    assert_string_equal(s.last_error, "the target is down");
    assert_in_range(script.calls, 5 + 10, 5 + 28); /* every 5 to 10 s once the breaker is open */
    assert_int_equal(script.calls, s.failed);
    assert_int_equal(script.batch_last, 1);
    script.letters = "t";
    rig_pass(&rig, d, 10000);
    assert_taken(0, 300);
    s = stats_of(d);
    assert_int_equal(s.breaker, QN_BREAKER_CLOSED);
    assert_int_equal(s.state, QN_DELIVERY_RUNNING);
    assert_int_equal(s.lag, 0);
    assert_non_null(strstr(rig.told, "! alerts.scripted: cannot deliver: the target is down"));
    assert_non_null(strstr(rig.told, "! alerts.scripted: breaker open after 5 failures"));
    assert_non_null(strstr(rig.told, ". alerts.scripted: delivers again after "));
    rig_stop(&rig);
}

/* Waits are drawn evenly from [0, limit], and the limit doubles. */
static void test_waits_grow(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    const int64_t limits_ms[] = {200, 400, 800, 1600, 3200, 6400, 10000, 10000};
    double sum = 0;

    sink.policy.breaker_after = 0;
    sink.policy.retry_to_us = 10000000;
    for (int round = 0; round < 40; round++) {
        script.letters = "d";
        rig_add(&rig, 1);
        for (size_t i = 0; i < sizeof limits_ms / sizeof limits_ms[0]; i++) {
            uint32_t calls = script.calls;
            int64_t wait_ms = 0;

            while (script.calls == calls) {
                rig.now_ns += 1000000;
                wait_ms = rig_steps(d) / 1000000;
            }
            assert_in_range(wait_ms, 0, limits_ms[i]);
            sum += (double)wait_ms / (double)limits_ms[i];
        }
        script.letters = "t"; /* a success: the waits begin anew */
        rig_pass(&rig, d, 20000);
        assert_int_equal(stats_of(d).lag, 0);
    }
    assert_true(sum / (40 * 8) > 0.4 && sum / (40 * 8) < 0.6);
    rig_stop(&rig);
}

static void test_asked_to_wait(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);

    script.letters = "at";
    rig_add(&rig, 1);
    rig_pass(&rig, d, 4900);
    assert_int_equal(script.calls, 1);
    rig_pass(&rig, d, 200);
    assert_taken(0, 1);
    rig_stop(&rig);
}

static void test_flapping(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);

    script.letters = "1dr1ddd1dra11drdrdrdr1dddddddd1t";
    rig_add(&rig, 600);
    rig_pass(&rig, d, 600000);
    assert_taken(0, 600);
    assert_int_equal(stats_of(d).dead, 0);
    rig_stop(&rig);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 600);
}

static void test_cannot_open(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);

    script.open_fails = true;
    rig_add(&rig, 2);
    rig_pass(&rig, d, 20000);
    assert_int_equal(script.calls, 0);
    assert_true(script.open_count > 3 && script.open_count == script.close_count);
    script.open_fails = false;
    rig_pass(&rig, d, 20000);
    assert_taken(0, 2);
    rig_stop(&rig);
}

static void test_gone_for_good(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    struct qn_delivery_stats s;

    script.letters = "1f";
    rig_add(&rig, 5);
    rig_pass(&rig, d, 60000);
    assert_int_equal(script.calls, 2);
    s = stats_of(d);
    assert_int_equal(s.state, QN_DELIVERY_STOPPED);
    assert_int_equal(s.lag, 4);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 1); /* what it took is settled */
    assert_non_null(strstr(rig.told, "stopped: the target is gone"));
    assert_false(rig_stop(&rig));
    script.letters = "t"; /* the next start tries again */
    script.taken_count = 0;
    d = rig_start(&rig, &sink);
    rig_steps(d);
    assert_true(script.taken_count >= 4 && script.taken[script.taken_count - 1] == 4);
    rig_stop(&rig);
}

static void test_names_of_cursors(void **state)
{
    static const char *const no[] = {"",        ".", "a.", "file", "a.stdout", "source.a.file",
                                     "a.file.x"};

    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(qn_delivery_is_cursor(qn_str_of(no[i])));
    assert_true(qn_delivery_is_cursor(qn_str_of("alerts.webhook")));
    assert_true(qn_delivery_is_cursor(qn_str_of("a-b.file-12")));
}

/* ---- dead letters ----------------------------------------------------------------------------*/

static struct qn_str header_of(struct qn_str headers, const char *name)
{
    struct qn_log_header h;
    struct qn_str found = {NULL, 0};

    while (qn_log_header_next(&headers, &h))
        if (qn_str_is(h.name, name)) {
            assert_null(found.p); /* once */
            found = h.value;
        }
    return found;
}

static void assert_header(const struct qn_log_record *r, const char *name, const char *value)
{
    struct qn_str found = header_of(r->headers, name);

    if (found.p == NULL || !qn_str_is(found, value))
        fail_msg("%s is '%.*s', not '%s'", name, QN_STR_ARG(found), value);
}

static uint32_t read_dead(struct qn_log_reader **reader, struct qn_log_record *out, uint32_t max)
{
    struct qn_log_selection what = {&rig.dead, 1, false};
    struct qn_err err = {0};
    enum qn_flow flow;
    uint32_t count;

    assert_int_equal(qn_log_reader_new(rig.lg, &what, reader, &err), QN_OK);
    assert_int_equal(qn_log_reader_next(*reader, out, max, &count, &flow, &err), QN_OK);
    return count;
}

static void test_refused(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    struct qn_log_record letters[8];
    struct qn_log_reader *reader;

    script.poison = 3;
    rig_add(&rig, 6);
    rig_pass(&rig, d, 2000);
    assert_int_equal(script.taken_count, 5);
    assert_int_equal(script.taken[2], 2);
    assert_int_equal(script.taken[3], 4);
    assert_int_equal(stats_of(d).dead, 1);
    assert_int_equal(stats_of(d).delivered, 5);
    assert_int_equal(stats_of(d).breaker, QN_BREAKER_CLOSED);
    assert_int_equal(read_dead(&reader, letters, 8), 1);
    assert_true(qn_str_is(letters[0].value, "{\"id\":\"shop:orders:0:3\",\"score\":0.5,\"n\":3}"));
    assert_true(qn_str_is(letters[0].key, "C1"));
    assert_int_equal(letters[0].time_us, INT64_C(1767225600000000));
    assert_header(&letters[0], "traceparent", "00-1");
    assert_header(&letters[0], "__connect.errors.topic", "alerts");
    assert_header(&letters[0], "__connect.errors.partition", "0");
    assert_header(&letters[0], "__connect.errors.offset", "3");
    assert_header(&letters[0], "__connect.errors.connector.name", "shop");
    assert_header(&letters[0], "__connect.errors.stage", "TASK_PUT");
    assert_header(&letters[0], "__connect.errors.class.name", "alerts.scripted");
    assert_header(&letters[0], "__connect.errors.exception.class.name", "sink_failed");
    assert_header(&letters[0], "__connect.errors.exception.message", "poison");
    assert_header(&letters[0], "quern.reason", "sink_failed");
    assert_header(&letters[0], "quern.position", "alerts:0:3");
    assert_header(&letters[0], "quern.attempts", "1");
    qn_log_reader_free(reader);
    rig_stop(&rig);
}

static void test_attempts_used_up(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    struct qn_log_record letters[8];
    struct qn_log_reader *reader;

    sink.policy.attempts = 4;
    script.letters = "rdrdrdddrt"; /* down counts for nothing */
    rig_add(&rig, 3);
    rig_pass(&rig, d, 120000);
    assert_taken(1, 3);
    assert_int_equal(stats_of(d).dead, 1);
    assert_int_equal(read_dead(&reader, letters, 8), 1);
    assert_header(&letters[0], "quern.attempts", "4");
    assert_header(&letters[0], "__connect.errors.exception.message", "not today, 4 times");
    qn_log_reader_free(reader);
    rig_stop(&rig);
}

/* Cursor and dead letter are one append: a crash at any change of the disk loses no record and
 * doubles no dead letter. */
static void test_dead_letters_crash(void **state)
{
    uint64_t calls = 0;

    for (uint64_t n = 0; n <= calls; n++) {
        struct qn_log_record letters[64];
        struct qn_log_reader *reader;
        struct qn_err err = {0};
        struct qn_delivery *d = NULL;
        struct qn_delivery_options opt;

        tear_down(NULL);
        set_up(NULL);
        rig_add(&rig, 30);
        script.letters = "x";
        rig.disk->power_at = n == 0 ? 0 : rig.disk->calls + n;
        calls = n == 0 ? rig.disk->calls : calls;
        opt = rig_options(&rig, &sink);
        if (qn_delivery_start(&opt, &d, &err) == QN_OK)
            rig_pass(&rig, d, 2500);
        calls = n == 0 ? rig.disk->calls - calls : calls;
        qn_delivery_stop(d, 0);
        (void)qn_log_close(rig.lg, NULL);
        disk_power_loss(rig.disk);
        assert_int_equal(rig_open_log(&rig, &err), QN_OK);
        d = rig_start(&rig, &sink);
        rig_pass(&rig, d, 2500);
        assert_int_equal(read_dead(&reader, letters, 64), 30);
        for (uint64_t i = 0; i < 30; i++)
            assert_int_equal(number_of(&letters[i]), i);
        qn_log_reader_free(reader);
        rig_stop(&rig);
    }
    assert_true(calls >= 3);
}

/* ---- a sink that loses what it had taken -----------------------------------------------------*/

static void test_flush_fails(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);

    rig_add(&rig, 5);
    rig_pass(&rig, d, 1500);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 5);
    script.flushes = "bg";
    rig_add(&rig, 5);
    rig_steps(d);
    assert_taken(0, 10);
    script.letters = "d";
    rig_pass(&rig, d, 5000);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 5); /* what was lost is not settled */
    assert_int_equal(stats_of(d).lag, 5);
    script.letters = "t";
    script.taken_count = 0;
    rig_pass(&rig, d, 15000);
    assert_true(script.taken_count >= 5);
    assert_int_equal(script.taken[0], 5); /* again from the cursor on */
    assert_int_equal(script.taken[script.taken_count - 1], 9);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 10);
    assert_true(script.open_count >= 2);
    rig_stop(&rig);
}

/* A sink that takes records and cannot keep them is tried no more often than one that is down. */
static void test_flush_fails_for_long(void **state)
{
    struct qn_delivery *d = rig_start(&rig, &sink);
    struct qn_delivery_stats s;

    script.flushes = "b";
    rig_add(&rig, 5);
    rig_pass(&rig, d, 120000);
    s = stats_of(d);
    assert_int_equal(s.state, QN_DELIVERY_WAITING);
    assert_int_equal(s.breaker, QN_BREAKER_OPEN);
    assert_string_equal(s.last_error, "the disk is full");
    assert_in_range(script.open_count, 15, 33);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 0);
    assert_null(strstr(rig.told, "delivers again"));
    script.flushes = "g";
    script.taken_count = 0;
    rig_pass(&rig, d, 15000);
    assert_taken(0, 5);
    assert_int_equal(rig_cursor(&rig, "alerts.scripted"), 5);
    assert_int_equal(stats_of(d).breaker, QN_BREAKER_CLOSED);
    assert_non_null(strstr(rig.told, "delivers again"));
    rig_stop(&rig);
}

/* ---- the thread ------------------------------------------------------------------------------*/

static struct qn_log *threaded_log(const char *dir, uint32_t *topic, uint32_t *dead)
{
    struct qn_log_options opt = {.segment_bytes = 256 * 1024, .may_be_volatile = true};
    struct qn_log *lg;
    struct qn_err err = {0};

    if (qn_log_open(dir, &opt, &lg, NULL, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(qn_log_topic(lg, qn_str_of("alerts"), true, topic, &err), QN_OK);
    assert_int_equal(qn_log_topic(lg, qn_str_of("dead"), true, dead, &err), QN_OK);
    return lg;
}

static bool wait_for(struct qn_delivery *d, uint64_t delivered)
{
    for (int i = 0; i < 5000 && stats_of(d).delivered < delivered; i++)
        usleep(2000);
    return stats_of(d).delivered >= delivered;
}

static void test_thread(void **state)
{
    char dir[] = "qn_test_delivery_XXXXXX", path[320];
    const struct dirent *e;
    DIR *files;
    struct rig real = {0};
    struct qn_delivery_options opt;
    struct qn_delivery *d;
    struct qn_err err = {0};

    script.is_threaded = true;
    assert_non_null(mkdtemp(dir));
    real.lg = threaded_log(dir, &real.topic, &real.dead);
    opt = (struct qn_delivery_options){.log = real.lg,
                                       .topic = real.topic,
                                       .dead_topic = real.dead,
                                       .sink = &sink,
                                       .pipeline = qn_str_of("shop"),
                                       .output = qn_str_of("alerts")};
    assert_int_equal(qn_delivery_start(&opt, &d, &err), QN_OK);
    for (int i = 0; i < 50; i++)
        rig_add(&real, 3);
    assert_true(wait_for(d, 150));
    rig_add(&real, 20); /* a stop delivers what is there */
    assert_true(qn_delivery_stop(d, 10000));
    assert_taken(0, 170);

    rig_add(&real, 1); /* and breaks off what takes too long */
    atomic_store(&script.slow_ms, 1000000);
    assert_int_equal(qn_delivery_start(&opt, &d, &err), QN_OK);
    while (stats_of(d).lag != 1)
        usleep(1000);
    assert_false(qn_delivery_stop(d, 50));
    assert_taken(0, 170);
    assert_int_equal(qn_log_close(real.lg, &err), QN_OK);
    files = opendir(dir);
    while ((e = readdir(files)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        unlink(path);
    }
    closedir(files);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_delivers_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cursor_moves_once_a_second, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_goes_on_behind_its_cursor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_at_least_once_after_a_crash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_starts_at_the_newest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_down_then_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_waits_grow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_asked_to_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flapping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cannot_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gone_for_good, set_up, tear_down),
        cmocka_unit_test(test_names_of_cursors),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_attempts_used_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dead_letters_crash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flush_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_flush_fails_for_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_thread, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
