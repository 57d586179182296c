/* SPDX-License-Identifier: Apache-2.0
 * test_dead_letters.c - dead letters sent again: which ones, with which bytes, and each once, also
 * when the sending is broken off in between. The twin is an array of what each letter is. */
#include "engine/dead_letters.h"

#include "log/dead_letter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { LETTERS = 3000, EVENT_BYTES = 300, KINDS = 4 };

static const char SPEC[] = "quern: 1\nname: test\nstreams:\n"
                           "  pay:\n    time: at\n    fields: {at: {type: timestamp, unit: s}}\n"
                           "  back:\n    time: at\n    fields: {at: {type: timestamp, unit: s}}\n";
static const char *const no_environment[] = {NULL};

struct world {
    char dir[64];
    struct qn_arena arena;
    struct qn_plan *plan;
    struct qn_log *lg;
};

static void world_open(struct world *w)
{
    const struct qn_log_options opt = {.segment_bytes = 1 << 20, .may_be_volatile = true};
    struct qn_err err = {0};

    if (qn_log_open(w->dir, &opt, &w->lg, NULL, &err) != QN_OK)
        fail_msg("%s", err.text);
}

static void world_new(struct world *w)
{
    struct qn_plan_options opt = {.files = &qn_files_system, .environment = no_environment};
    struct qn_diags diags;
    struct qn_err err = {0};

    *w = (struct world){.dir = "/tmp/quern-dead-XXXXXX"};
    assert_non_null(mkdtemp(w->dir));
    diags = (struct qn_diags){.arena = &w->arena};
    if (qn_plan_load_text(qn_str_of(SPEC), "spec.yaml", &opt, &w->arena, &diags, &w->plan, &err) !=
        QN_OK)
        fail_msg("spec: %s", diags.count > 0 ? diags.list[0].text : err.text);
    world_open(w);
}

static void remove_one(void *arg, const char *name)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
    unlink(path);
}

static void world_free(struct world *w)
{
    assert_int_equal(qn_log_close(w->lg, NULL), QN_OK);
    qn_plan_free(w->plan);
    qn_arena_fini(&w->arena);
    qn_files_system.list_folder(NULL, w->dir, remove_one, w->dir);
    rmdir(w->dir);
}

/* What letter i is: of pay, of back, refused by a sink, of a stream that is gone. */
static uint32_t kind_of(uint32_t i)
{
    return i % 7 == 3 ? 2 : i % 11 == 5 ? 3 : i % 2;
}

static struct qn_str event_of(uint32_t i, char out[EVENT_BYTES + 1])
{
    int n = snprintf(out, EVENT_BYTES, "{\"n\":%u,\"x\":\"", i);

    memset(out + n, (int)('a' + i % 26), (size_t)(EVENT_BYTES - n));
    out[i % 10] = (char)(i % 3 == 0 ? 0xFF : out[i % 10]); /* some are not UTF-8 */
    return (struct qn_str){out, EVENT_BYTES};
}

static void fill(struct world *w, uint32_t first, uint32_t end)
{
    static const char *const topics[KINDS] = {"pay", "back", "alerts", "gone"};
    static const char *const reasons[KINDS] = {"bad_json", "out_of_range", "sink_failed",
                                               "bad_json"};
    struct qn_buf headers = {0}, original = {0};
    struct qn_log_append *a;
    struct qn_err err = {0};
    uint32_t dead;

    assert_int_equal(qn_log_topic(w->lg, qn_str_of("dead"), true, &dead, &err), QN_OK);
    assert_int_equal(qn_log_append_new(w->lg, &a, &err), QN_OK);
    for (uint32_t i = first; i < end; i++) {
        char event[EVENT_BYTES + 1];
        uint32_t k = kind_of(i);
        struct qn_dead_letter d = {.topic = qn_str_of(topics[k]),
                                   .offset = 10 * i,
                                   .stage = qn_str_of(k == 2 ? "TASK_PUT" : "TRANSFORMATION"),
                                   .reason = qn_str_of(reasons[k])};
        struct qn_log_record rec = {.time_us = QN_LOG_NO_TIME, .key = qn_str_of("key")};

        qn_buf_clear(&headers);
        qn_buf_clear(&original);
        qn_log_header_add(&original, qn_str_of("trace"), qn_str_of("t-1"));
        qn_dead_letter_headers(&d, (struct qn_str){original.data, (uint32_t)original.len},
                               &headers);
        rec.headers = (struct qn_str){headers.data, (uint32_t)headers.len};
        rec.value = event_of(i, event);
        qn_log_append_reset(a);
        assert_int_equal(qn_log_append_record(a, dead, QN_LOG_RECORDS, &rec, &err), QN_OK);
        assert_int_equal(qn_log_commit(w->lg, a, NULL, &err), QN_OK);
    }
    qn_log_append_free(a);
    qn_buf_fini(&headers);
    qn_buf_fini(&original);
}

static struct qn_dead_replay send(struct world *w, const struct qn_dead_selection *sel, bool trial)
{
    struct qn_dead_replay r;
    struct qn_err err = {0};

    if (qn_dead_letters_replay(w->lg, w->plan, sel, trial, &r, &err) != QN_OK)
        fail_msg("%s", err.text);
    assert_int_equal(r.selected, r.sent + r.again + r.of_sinks + r.of_others);
    return r;
}

static uint64_t records_of(struct world *w, const char *name)
{
    struct qn_log_topic_info info;
    uint32_t topic;

    if (qn_log_topic(w->lg, qn_str_of(name), false, &topic, NULL) != QN_OK)
        return 0;
    qn_log_topic_info(w->lg, topic, &info);
    return info.next - info.first;
}

/* The topic of stream `kind` holds the letters of that kind, in order, as they once came. */
static void check_stream(struct world *w, const char *name, uint32_t kind, uint32_t first,
                         uint32_t end)
{
    struct qn_log_reader *r;
    struct qn_log_record rec;
    struct qn_err err = {0};
    enum qn_flow flow;
    uint32_t topic, n;

    assert_int_equal(qn_log_topic(w->lg, qn_str_of(name), false, &topic, &err), QN_OK);
    assert_int_equal(
        qn_log_reader_new(w->lg, &(struct qn_log_selection){&topic, 1, false}, &r, &err), QN_OK);
    for (uint32_t i = first; i < end; i++) {
        char event[EVENT_BYTES + 1], from[32];
        struct qn_log_header h;

        if (kind_of(i) != kind)
            continue;
        assert_int_equal(qn_log_reader_next(r, &rec, 1, &n, &flow, &err), QN_OK);
        assert_int_equal(n, 1);
        assert_true(qn_str_eq(rec.value, event_of(i, event)));
        assert_true(qn_str_is(rec.key, "key"));
        assert_true(qn_log_header_next(&rec.headers, &h) && qn_str_is(h.name, "trace"));
        snprintf(from, sizeof from, "dead:0:%u", i);
        assert_true(qn_log_header_next(&rec.headers, &h));
        assert_true(qn_str_is(h.name, "quern.dead_letter") && qn_str_is(h.value, from));
        assert_false(qn_log_header_next(&rec.headers, &h));
        qn_log_reader_release(r);
    }
    assert_int_equal(qn_log_reader_next(r, &rec, 1, &n, &flow, &err), QN_OK);
    assert_int_equal(n, 0);
    qn_log_reader_free(r);
}

static uint64_t count(uint32_t kind, uint32_t first, uint32_t end)
{
    uint64_t n = 0;

    for (uint32_t i = first; i < end; i++)
        n += kind_of(i) == kind;
    return n;
}

static void test_each_once(void **state)
{
    struct qn_dead_selection sel = QN_DEAD_ALL;
    struct qn_dead_replay r;
    struct world w;

    world_new(&w);
    r = send(&w, &sel, false); /* no letters, no topic */
    assert_int_equal(r.selected, 0);
    fill(&w, 0, LETTERS);

    r = send(&w, &sel, true);
    assert_int_equal(r.sent, count(0, 0, LETTERS) + count(1, 0, LETTERS));
    assert_int_equal(records_of(&w, "pay") + records_of(&w, "control"), 0);

    sel = (struct qn_dead_selection){.reason = qn_str_of("out_of_range"), .from = 100, .end = 900};
    r = send(&w, &sel, false);
    assert_int_equal(r.sent, count(1, 100, 900));
    assert_int_equal(r.selected, r.sent);
    check_stream(&w, "back", 1, 100, 900);

    assert_int_equal(qn_log_close(w.lg, NULL), QN_OK); /* what was sent is known after a start */
    world_open(&w);
    sel = QN_DEAD_ALL;
    sel.stream = qn_str_of("pay");
    r = send(&w, &sel, false);
    assert_int_equal(r.sent, count(0, 0, LETTERS));
    check_stream(&w, "pay", 0, 0, LETTERS);

    sel = QN_DEAD_ALL;
    r = send(&w, &sel, false);
    assert_int_equal(r.selected, LETTERS);
    assert_int_equal(r.sent, count(1, 0, 100) + count(1, 900, LETTERS));
    assert_int_equal(r.again, count(0, 0, LETTERS) + count(1, 100, 900));
    assert_int_equal(r.of_sinks, count(2, 0, LETTERS));
    assert_int_equal(r.of_others, count(3, 0, LETTERS));
    r = send(&w, &sel, false);
    assert_int_equal(r.sent, 0);
    assert_int_equal(records_of(&w, "control"), count(0, 0, LETTERS) + count(1, 0, LETTERS));

    fill(&w, LETTERS, LETTERS + 10); /* what dies later is sent later */
    r = send(&w, &sel, false);
    assert_int_equal(r.sent, count(0, LETTERS, LETTERS + 10) + count(1, LETTERS, LETTERS + 10));
    world_free(&w);
}

/* Other control records, also such as look like ours, mark nothing. */
static void test_other_control_records(void **state)
{
    static const char *const texts[] = {"",
                                        "null",
                                        "{",
                                        "{\"promoted\":{\"offset\":1}}",
                                        "{\"dlq_replayed\":1}",
                                        "{\"dlq_replayed\":{}}",
                                        "{\"dlq_replayed\":{\"offset\":-1}}",
                                        "{\"dlq_replayed\":{\"offset\":1.5}}",
                                        "{\"dlq_replayed\":{\"offset\":\"1\"}}",
                                        "{\"dlq_replayed\":{\"offset\":9223372036854775807}}",
                                        "{\"dlq_replayed\":{\"x\":{\"offset\":1},\"offset\":0}}"};
    struct qn_dead_selection sel = QN_DEAD_ALL;
    struct qn_log_append *a;
    struct qn_dead_sent sent;
    struct qn_err err = {0};
    uint32_t control;
    struct world w;

    world_new(&w);
    fill(&w, 0, 2);
    assert_int_equal(qn_log_topic(w.lg, qn_str_of("control"), true, &control, &err), QN_OK);
    assert_int_equal(qn_log_append_new(w.lg, &a, &err), QN_OK);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct qn_log_record rec = {.time_us = QN_LOG_NO_TIME, .value = qn_str_of(texts[i])};

        assert_int_equal(qn_log_append_record(a, control, QN_LOG_CONTROL, &rec, &err), QN_OK);
    }
    assert_int_equal(qn_log_commit(w.lg, a, NULL, &err), QN_OK);
    qn_log_append_free(a);
    assert_int_equal(qn_dead_sent_read(w.lg, &sent, &err), QN_OK);
    assert_true(qn_dead_was_sent(&sent, 0)); /* by the last of them */
    assert_false(qn_dead_was_sent(&sent, 1));
    qn_dead_sent_fini(&sent);
    assert_int_equal(send(&w, &sel, false).sent, 1);
    world_free(&w);
}

/* Events stay dead that died of another contract, or too late; not what a sink refused, what was
 * late, what lies before the start, or what dies again by itself. */
static void test_past(void **state)
{
    static const struct {
        const char *topic, *reason, *stage;
        uint64_t offset;
        bool is_now, stays; /* is_now: the contract is the plan's */
    } cases[] = {{"pay", "bad_json", "TRANSFORMATION", 3, false, false},
                 {"pay", "bad_json", "TRANSFORMATION", 5, false, true},
                 {"back", "out_of_range", "TRANSFORMATION", 6, false, true},
                 {"pay", "bad_json", "TRANSFORMATION", 7, true, false},
                 {"pay", "too_late", "TRANSFORMATION", 8, true, true},
                 {"pay", "late_event", "TRANSFORMATION", 9, false, false},
                 {"pay", "of_tomorrow", "TRANSFORMATION", 10, false, false},
                 {"pay", "bad_json", "TASK_PUT", 11, false, false},
                 {"gone", "bad_json", "TRANSFORMATION", 12, false, false},
                 {"pay", "wrong_type", "TRANSFORMATION", 1000, false, true}};
    const uint64_t next[2] = {4, 4};
    struct qn_buf headers = {0};
    struct qn_dead_past past;
    struct qn_log_append *a;
    struct qn_err err = {0};
    uint32_t dead;
    struct world w;

    world_new(&w);
    assert_int_equal(qn_dead_past_read(w.lg, w.plan, next, &past, &err), QN_OK);
    assert_false(past.has_any);
    assert_int_equal(qn_log_topic(w.lg, qn_str_of("dead"), true, &dead, &err), QN_OK);
    assert_int_equal(qn_log_append_new(w.lg, &a, &err), QN_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char version[24];
        struct qn_dead_letter d = {.topic = qn_str_of(cases[i].topic),
                                   .offset = cases[i].offset,
                                   .stage = qn_str_of(cases[i].stage),
                                   .reason = qn_str_of(cases[i].reason),
                                   .contract = qn_str_of("0123456789abcdef")};
        struct qn_log_record rec = {.time_us = QN_LOG_NO_TIME, .value = qn_str_of("x")};

        snprintf(version, sizeof version, "%016llx",
                 (unsigned long long)w.plan->schemas[0].version);
        if (cases[i].is_now)
            d.contract = qn_str_of(version);
        qn_buf_clear(&headers);
        qn_dead_letter_headers(&d, (struct qn_str){0}, &headers);
        rec.headers = (struct qn_str){headers.data, (uint32_t)headers.len};
        assert_int_equal(qn_log_append_record(a, dead, QN_LOG_RECORDS, &rec, &err), QN_OK);
    }
    assert_int_equal(qn_log_commit(w.lg, a, NULL, &err), QN_OK);
    qn_log_append_free(a);
    qn_buf_fini(&headers);
    assert_int_equal(qn_dead_past_read(w.lg, w.plan, next, &past, &err), QN_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const bool is_pay = cases[i].topic[0] == 'p';
        enum qn_reason r = qn_dead_past_reason(&past, !is_pay, cases[i].offset);

        assert_int_equal(r != QN_REASON_NONE, cases[i].stays);
        if (cases[i].stays)
            assert_string_equal(qn_reason_name(r), cases[i].reason);
        assert_int_equal(qn_dead_past_reason(&past, is_pay, cases[i].offset), QN_REASON_NONE);
    }
    qn_dead_past_fini(&past);
    world_free(&w);
}

static void test_words(void **state)
{
    struct qn_dead_replay r = {.selected = 7, .sent = 1, .again = 2, .of_sinks = 3, .of_others = 1};
    struct qn_buf b = {0};

    qn_dead_replay_words(&r, false, &b);
    assert_true(qn_str_is((struct qn_str){b.data, (uint32_t)b.len},
                          "1 dead letter sent again; 2 skipped: sent again before; 3 skipped: "
                          "refused by a sink's target: not an event of a stream; 1 skipped: "
                          "of a stream that the spec has not"));
    qn_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_once),
        cmocka_unit_test(test_other_control_records),
        cmocka_unit_test(test_past),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
