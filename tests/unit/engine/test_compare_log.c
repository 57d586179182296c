/* SPDX-License-Identifier: Apache-2.0
 * test_compare_log.c - predictions against a log that was written by hand: equal, another byte, one
 * missing, one too many, made by another spec; with 1 and 2 threads and batches that cut across the
 * commits. */
#include "engine/compare_log.h"

#include "engine/commit.h"
#include "engine/input_log.h"
#include "engine/output_files.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { EVENTS = 500, BATCH = 64 };

static const char SPEC[] =
    "quern: 1\nname: test\nstreams:\n  pay:\n    time: at\n    lateness: 1h\n"
    "    fields: {at: {type: timestamp, unit: s}, card: string, amount: {type: int64, min: 0}}\n"
    "features:\n  n: count() by card over 1h\n  total: sum(amount) by card over 1h\n"
    "outputs:\n  predictions: {include: [features]}\n";
static const char *const no_environment[] = {NULL};

/* What is wrong with the log, at event FAULT. */
enum fault { NONE, OTHER_BYTE, MISSING, ONE_MORE, OTHER_MAKER };
enum { FAULT = 123 };

struct world {
    char dir[64];
    struct qn_arena arena;
    struct qn_plan *plan;
    struct qn_log *lg;
    uint32_t pay, predictions;
};

static struct qn_plan *load(struct qn_arena *arena)
{
    struct qn_plan_options opt = {.files = &qn_files_system, .environment = no_environment};
    struct qn_diags diags = {.arena = arena};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};

    if (qn_plan_load_text(qn_str_of(SPEC), "spec.yaml", &opt, arena, &diags, &plan, &err) != QN_OK)
        fail_msg("spec: %s", diags.count > 0 ? diags.list[0].text : err.text);
    return plan;
}

static void add(struct world *w, struct qn_log_append *a, uint32_t topic, struct qn_str value)
{
    struct qn_log_record rec = {.time_us = QN_LOG_NO_TIME, .value = value};

    assert_int_equal(qn_log_append_record(a, topic, QN_LOG_RECORDS, &rec, NULL), QN_OK);
}

/* A run of the engine over the topic, up to its end or a difference. */
static void run(struct world *w, uint32_t threads, uint32_t rows, const struct qn_output *to,
                const struct qn_compare *c)
{
    struct qn_engine_options opt = {.threads = threads, .rows_max = rows};
    struct qn_compare_result now = {0};
    struct qn_arena arena = {0};
    struct qn_plan *plan = load(&arena);
    struct qn_input_log *log;
    struct qn_engine *en;
    struct qn_input in;
    struct qn_err err = {0};
    enum qn_flow flow = QN_MORE;

    assert_int_equal(qn_input_log_new(w->lg, plan, &w->pay, &log, &err), QN_OK);
    in = qn_input_log_input(log);
    assert_int_equal(qn_engine_new(plan, &opt, &in, to, &en, &err), QN_OK);
    while (flow == QN_MORE && !now.is_different) {
        if (qn_step(en, &flow, &err) != QN_OK)
            fail_msg("%s", err.text);
        if (c != NULL)
            qn_compare_look(c, &now);
    }
    assert_int_equal(qn_engine_finish(en, &err), QN_OK);
    qn_engine_free(en);
    qn_input_log_free(log);
    qn_plan_free(plan);
    qn_arena_fini(&arena);
}

static void append_events(struct world *w)
{
    struct qn_log_append *a;

    assert_int_equal(qn_log_append_new(w->lg, &a, NULL), QN_OK);
    for (uint32_t i = 0; i < EVENTS; i++) {
        char text[96];

        snprintf(text, sizeof text, "{\"at\":%u,\"card\":\"c%u\",\"amount\":%s%u}", 1500000000 + i,
                 i * 7 % 5, i % 10 == 9 ? "-" : "", i + 1);
        add(w, a, w->pay, qn_str_of(text));
    }
    assert_int_equal(qn_log_commit(w->lg, a, NULL, NULL), QN_OK);
    qn_log_append_free(a);
}

/* What the engine says about them, a line each. */
static void predict(struct world *w, struct qn_buf *lines)
{
    char path[128];
    struct qn_output_target to = {.name = "records"};
    struct qn_outputs_options opt = {.kind = QN_RECORDS_PREDICTIONS,
                                     .files = &qn_files_system,
                                     .targets = &to,
                                     .dead = {.fd = -1},
                                     .workers = 1};
    struct qn_outputs *outputs;
    struct qn_output out;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%s/records", w->dir);
    fd = open(path, O_CREAT | O_RDWR, 0600);
    to.fd = fd;
    assert_int_equal(qn_outputs_new(w->plan, &opt, &outputs, NULL), QN_OK);
    out = qn_outputs_output(outputs);
    run(w, 1, 0, &out, NULL);
    qn_outputs_free(outputs);
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, qn_buf_room(lines, 65536), 65536)) > 0)
        lines->len += (size_t)n;
    close(fd);
}

static void commit(struct world *w, struct qn_log_append *a, uint64_t next, enum fault fault)
{
    struct qn_commit_input input = {w->pay, next};
    struct qn_commit m = {.maker = qn_commits_maker(w->plan) + (fault == OTHER_MAKER),
                          .inputs = &input,
                          .input_count = 1};
    struct qn_buf payload = {0};

    qn_commit_write(&m, &payload);
    assert_int_equal(qn_log_append_commit(a, QN_COMMIT_STAGE, 0,
                                          (struct qn_str){payload.data, (uint32_t)payload.len},
                                          NULL),
                     QN_OK);
    assert_int_equal(qn_log_commit(w->lg, a, NULL, NULL), QN_OK);
    qn_log_append_reset(a);
    qn_buf_fini(&payload);
}

/* The lines as commits of BATCH events, with a fault. */
static uint32_t append_predictions(struct world *w, const struct qn_buf *lines, enum fault fault)
{
    const char *p = lines->data;
    struct qn_log_append *a;
    uint32_t count = 0;

    assert_int_equal(qn_log_append_new(w->lg, &a, NULL), QN_OK);
    for (uint32_t i = 0; i < EVENTS; i++) {
        char text[1024];

        if (i % 10 != 9) {
            const char *end = memchr(p, '\n', (size_t)(lines->data + lines->len - p));
            struct qn_str line = {text, (uint32_t)(end - p)};

            memcpy(text, p, line.len);
            text[line.len - 3] = (char)(text[line.len - 3] ^ (i == FAULT && fault == OTHER_BYTE));
            p = end + 1;
            count++;
            if (i != FAULT || fault != MISSING)
                add(w, a, w->predictions, line);
            if (i == FAULT && fault == ONE_MORE)
                add(w, a, w->predictions, line);
        }
        if (i % BATCH == BATCH - 1 || i + 1 == EVENTS)
            commit(w, a, i + 1, fault);
    }
    qn_log_append_free(a);
    return count;
}

static void remove_one(void *arg, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
    unlink(path);
}

static void check(struct world *w, enum fault fault, uint32_t count, uint32_t threads,
                  uint32_t rows)
{
    struct qn_compare_options opt = {
        .log = w->lg, .stream_topic = w->pay, .topic = w->predictions, .workers = threads};
    struct qn_compare_result r;
    struct qn_compare *c;
    struct qn_output out;
    struct qn_err err = {0};

    assert_int_equal(qn_compare_new(w->plan, &opt, &c, &err), QN_OK);
    out = qn_compare_output(c);
    run(w, threads, rows, &out, c);
    assert_int_equal(qn_compare_finish(c, &err), QN_OK);
    qn_compare_look(c, &r);
    assert_int_equal(r.is_different, fault == OTHER_BYTE || fault == MISSING || fault == ONE_MORE);
    assert_int_equal(r.passed_over, fault == OTHER_MAKER ? count : 0);
    if (!r.is_different)
        assert_int_equal(r.equal, fault == OTHER_MAKER ? 0 : count);
    else if (fault == ONE_MORE) /* the next prediction meets it */
        assert_int_equal(r.offset, FAULT + 1);
    else
        assert_int_equal(r.offset, FAULT);
    if (r.is_different) {
        assert_true(r.then.p != NULL && r.now.p != NULL);
        assert_false(qn_str_eq(r.then, r.now));
    }
    qn_compare_free(c);
}

static void compare(enum fault fault)
{
    const struct qn_log_options opt = {.segment_bytes = 1 << 20, .may_be_volatile = true};
    struct world w = {.dir = "/tmp/quern-compare-XXXXXX"};
    struct qn_buf lines = {0};
    struct qn_err err = {0};
    uint32_t count;

    assert_non_null(mkdtemp(w.dir));
    w.plan = load(&w.arena);
    if (qn_log_open(w.dir, &opt, &w.lg, NULL, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(qn_log_topic(w.lg, qn_str_of("pay"), true, &w.pay, &err), QN_OK);
    assert_int_equal(qn_log_topic(w.lg, qn_str_of("predictions"), true, &w.predictions, &err),
                     QN_OK);
    append_events(&w);
    predict(&w, &lines);
    count = append_predictions(&w, &lines, fault);
    for (uint32_t threads = 1; threads <= 2; threads++) {
        check(&w, fault, count, threads, 0);
        check(&w, fault, count, threads, 17);
    }
    assert_int_equal(qn_log_close(w.lg, NULL), QN_OK);
    qn_plan_free(w.plan);
    qn_arena_fini(&w.arena);
    qn_buf_fini(&lines);
    qn_files_system.list_folder(NULL, w.dir, remove_one, w.dir);
    rmdir(w.dir);
}

static void test_equal(void **state)
{
    compare(NONE);
}

static void test_other_byte(void **state)
{
    compare(OTHER_BYTE);
}

static void test_missing(void **state)
{
    compare(MISSING);
}

static void test_one_more(void **state)
{
    compare(ONE_MORE);
}

static void test_other_maker(void **state)
{
    compare(OTHER_MAKER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal),       cmocka_unit_test(test_other_byte),
        cmocka_unit_test(test_missing),     cmocka_unit_test(test_one_more),
        cmocka_unit_test(test_other_maker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
