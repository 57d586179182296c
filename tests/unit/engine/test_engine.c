/* SPDX-License-Identifier: Apache-2.0
 * test_engine.c - the whole engine on events made here: same bytes on any threads and batches, no
 * allocation per event, every allocation failing in turn, and verdicts that add up. */
#include "base/clock.h"
#include "engine/engine.h"
#include "engine/output_files.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { EVENTS = 6000, KEYS = 40 };

static const char SPEC[] =
    "quern: 1\n"
    "name: test\n"
    "streams:\n"
    "  pay:\n"
    "    id: id\n"
    "    time: at\n"
    "    late: fold\n"
    "    fields: {id: int64, at: {type: timestamp, unit: s}, card: string, shop: string, amount: "
    "{type: decimal(2), min: 0}}\n"
    "  back:\n"
    "    time: at\n"
    "    fields: {at: {type: timestamp, unit: s}, shop: string, fraud: bool}\n"
    "features:\n"
    "  n: count() by card over 1h\n"
    "  total: sum(amount) by card over 2h\n"
    "  top: max(amount) where amount > 5 by card over 30m\n"
    "  risk: mean(fraud) of back by shop over 5h delayed 1h or 0\n"
    "  share: amount / total\n"
    "outputs:\n"
    "  predictions: {include: [features]}\n"
    "  big: {when: share > 0.5}\n";

/* ---- a world in memory: events, and what was written ---- */

struct memory_input {
    struct qn_buf text;
    struct qn_str *lines;
    uint8_t *stream;
    uint32_t count, next;
    uint32_t broken_at; /* reading fails there; 0 = nowhere */
    uint32_t steps_max; /* the run is stopped behind so many; 0 = never */
    int64_t offsets[2];
};

static qn_status memory_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct memory_input *m = st;

    if (m->broken_at > 0 && m->next >= m->broken_at)
        return qn_err_set(err, QN_CORRUPT, "broken");
    while (b->rows < b->rows_max && m->next < m->count) {
        uint32_t r = b->rows++;

        b->raw[r] = m->lines[m->next];
        b->stream[r] = m->stream[m->next];
        b->partition[r] = 0;
        b->offset[r] = m->offsets[m->stream[m->next++]]++;
    }
    *flow = b->rows > 0 ? QN_MORE : QN_END;
    return QN_OK;
}

static void memory_release(void *st)
{
}

static bool memory_is_ready(void *st)
{
    return true;
}

static const struct qn_csv_header *const *memory_csv(void *st, uint32_t stream)
{
    return NULL;
}

/* What was written, per target: predictions, big, dead. */
static struct qn_buf written[3];
static size_t room_bytes; /* of all of them; 0 = no end */

static int64_t capture(void *st, int fd, const void *p, size_t bytes)
{
    if (room_bytes > 0 && written[0].len + written[1].len + written[2].len + bytes > room_bytes)
        return -ENOSPC;
    qn_buf_add(&written[fd - 1], p, bytes);
    return (int64_t)bytes;
}

static void forget_written(void)
{
    for (int i = 0; i < 3; i++)
        qn_buf_fini(&written[i]);
}

static void make_events(struct memory_input *m, uint64_t seed)
{
    size_t *starts = qn_mem_zalloc(EVENTS + 1, sizeof *starts);
    struct qn_rng rng;
    int64_t now = 1500000000;

    *m = (struct memory_input){.count = EVENTS};
    m->stream = qn_mem_zalloc(EVENTS, 1);
    m->lines = qn_mem_zalloc(EVENTS, sizeof *m->lines);
    qn_rng_seed(&rng, seed);
    for (uint32_t i = 0; i < EVENTS; i++) {
        uint32_t dice = qn_rng_below(&rng, 100);
        int64_t at = now - (dice < 10 ? (int64_t)qn_rng_below(&rng, 60) : 0);

        now += qn_rng_below(&rng, 4) * qn_rng_below(&rng, 20);
        starts[i] = m->text.len;
        m->stream[i] = dice % 4 == 0;
        if (m->stream[i])
            qn_buf_printf(&m->text, "{\"shop\":\"s%u\",\"fraud\":%s,\"at\":%lld}",
                          qn_rng_below(&rng, KEYS), dice % 3 ? "false" : "true", (long long)at);
        else if (dice == 51)
            qn_buf_printf(&m->text,
                          "{\"id\":%u,\"at\":%lld,\"amount\":-1,\"card\":\"x\",\"shop\":\"s\"}", i,
                          (long long)at);
        else if (dice == 53)
            qn_buf_printf(&m->text, "{\"id\":%u,", i);
        else
            qn_buf_printf(
                &m->text,
                "{\"id\":%u,\"at\":%lld,\"card\":\"c%u\",\"shop\":\"s%u\",\"amount\":%u.%02u}", i,
                (long long)at, qn_rng_below(&rng, KEYS), qn_rng_below(&rng, KEYS),
                qn_rng_below(&rng, 50), qn_rng_below(&rng, 100));
        m->lines[i].len = (uint32_t)(m->text.len - starts[i]);
    }
    for (uint32_t i = 0; i < QN_DECODE_PAD; i++)
        qn_buf_byte(&m->text, ' ');
    for (uint32_t i = 0; i < EVENTS; i++)
        m->lines[i].p = m->text.data + starts[i];
    qn_mem_free(starts);
}

static void free_events(struct memory_input *m)
{
    qn_buf_fini(&m->text);
    qn_mem_free(m->stream);
    qn_mem_free(m->lines);
}

/* One run from plan to end; allocations of the second half go to *steady. Returns the status of the
 * first failure. */
static qn_status run(struct memory_input *m, uint32_t threads, uint32_t rows,
                     struct qn_counts sum[2], uint64_t *steady)
{
    struct qn_files files = qn_files_system;
    struct qn_plan_options plan_opt = {.files = &files, .environment = (const char *const[]){NULL}};
    struct qn_engine_options opt = {
        .threads = threads, .rows_max = rows, .seed = rows * 977 + threads};
    struct qn_output_target targets[2] = {{1, "predictions"}, {2, "big"}};
    struct qn_outputs_options out_opt = {.kind = QN_RECORDS_PREDICTIONS,
                                         .files = &files,
                                         .targets = targets,
                                         .dead = {3, "dead"},
                                         .workers = threads};
    struct qn_input in = {memory_read, memory_release, memory_csv, m, memory_is_ready};
    struct qn_arena boot = {0};
    struct qn_diags diags = {.arena = &boot};
    struct qn_plan *plan = NULL;
    struct qn_outputs *outputs = NULL;
    struct qn_engine *en = NULL;
    struct qn_output out;
    enum qn_flow flow = QN_MORE;
    uint64_t half = 0;
    uint32_t steps = 0;
    qn_status rc;

    files.write = capture;
    m->next = 0;
    memset(m->offsets, 0, sizeof m->offsets);
    for (int i = 0; i < 3; i++)
        qn_buf_clear(&written[i]);
    rc = qn_plan_load_text((struct qn_str){SPEC, sizeof SPEC - 1}, "test.yaml", &plan_opt, &boot,
                           &diags, &plan, NULL);
    if (rc == QN_OK)
        rc = qn_outputs_new(plan, &out_opt, &outputs, NULL);
    if (rc == QN_OK) {
        out = qn_outputs_output(outputs);
        rc = qn_engine_new(plan, &opt, &in, &out, &en, NULL);
    }
    while (rc == QN_OK && flow != QN_END && (m->steps_max == 0 || steps++ < m->steps_max)) {
        rc = qn_step(en, &flow, NULL);
        if (half == 0 && m->next >= EVENTS / 2)
            half = qn_mem_count();
    }
    if (rc == QN_OK)
        rc = qn_engine_finish(en, NULL);
    if (en != NULL) {
        *steady = qn_mem_count() - half;
        memcpy(sum, qn_engine_counts(en), 2 * sizeof *sum);
    }
    qn_engine_free(en);
    qn_outputs_free(outputs);
    qn_plan_free(plan);
    qn_arena_fini(&boot);
    return rc;
}

static void test_same_bytes(void **state)
{
    static const uint32_t shapes[][2] = {{1, 1}, {1, 64}, {2, 128}, {3, 1000}, {2, 4096}, {4, 7}};
    uint64_t seed, steady;
    struct qn_counts first[2], again[2];
    struct qn_buf want[3] = {{0}};
    struct memory_input m;

    qn_random_system.fill(qn_random_system.st, &seed, sizeof seed);
    print_message("seed %llu\n", (unsigned long long)seed);
    make_events(&m, seed);
    assert_int_equal(run(&m, 1, 512, first, &steady), QN_OK);
    for (int i = 0; i < 3; i++) {
        assert_true(written[i].len > 1000);
        qn_buf_add(&want[i], written[i].data, written[i].len);
    }
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        assert_int_equal(run(&m, shapes[s][0], shapes[s][1], again, &steady), QN_OK);
        assert_memory_equal(first, again, sizeof first);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(written[i].len, want[i].len);
            assert_memory_equal(written[i].data, want[i].data, want[i].len);
        }
    }
    for (int i = 0; i < 3; i++)
        qn_buf_fini(&want[i]);
    forget_written();
    free_events(&m);
}

/* Runs that end early, by a stop, a broken input or a full disk, leave the same bytes and counts
 * whether batches are committed at once (one thread) or beside the next one. */
static void test_ends_early(void **state)
{
    static const struct {
        uint32_t steps_max, broken_at;
        size_t room_bytes;
        qn_status rc;
    } ends[] = {{3, 0, 0, QN_OK},
                {0, 1500, 0, QN_CORRUPT},
                {0, 0, 300000, QN_FULL},
                {0, 0, 1, QN_FULL},
                {0, 1000, 150000, QN_FULL}};
    struct qn_counts first[2], again[2];
    struct memory_input m;
    uint64_t steady;

    make_events(&m, 4);
    for (size_t e = 0; e < sizeof ends / sizeof ends[0]; e++) {
        struct qn_buf want[3] = {{0}};

        m.steps_max = ends[e].steps_max;
        m.broken_at = ends[e].broken_at;
        room_bytes = ends[e].room_bytes;
        assert_int_equal(run(&m, 1, 500, first, &steady), ends[e].rc);
        for (int i = 0; i < 3; i++)
            qn_buf_add(&want[i], written[i].data, written[i].len);
        assert_true(room_bytes == 1 || want[0].len > 1000);
        for (uint32_t threads = 2; threads <= 3; threads++) {
            assert_int_equal(run(&m, threads, 500, again, &steady), ends[e].rc);
            assert_memory_equal(first, again, sizeof first);
            for (int i = 0; i < 3; i++) {
                const size_t len = written[i].len < want[i].len ? written[i].len : want[i].len;

                /* A full disk takes another part of the last batch, worker by worker. */
                assert_true(ends[e].rc == QN_FULL || written[i].len == want[i].len);
                assert_memory_equal(written[i].data, want[i].data, len);
            }
        }
        for (int i = 0; i < 3; i++)
            qn_buf_fini(&want[i]);
    }
    room_bytes = 0;
    forget_written();
    free_events(&m);
}

static void test_counts(void **state)
{
    struct qn_counts c[2];
    struct memory_input m;
    uint64_t steady;

    make_events(&m, 1);
    assert_int_equal(run(&m, 2, 256, c, &steady), QN_OK);
    for (int s = 0; s < 2; s++) {
        uint64_t sum = 0;

        for (int v = 0; v < QN_VERDICTS; v++)
            sum += c[s].verdict[v];
        assert_int_equal(sum, c[s].read);
        assert_true(c[s].verdict[QN_SCORED] > 0);
    }
    assert_int_equal(c[0].read + c[1].read, EVENTS);
    assert_true(c[0].verdict[QN_DEAD] > 0);
    assert_true(c[0].verdict[QN_LATE] > 0);
    forget_written();
    free_events(&m);
}

static void test_nothing_allocated_per_event(void **state)
{
    struct qn_counts c[2];
    struct memory_input m;
    uint64_t steady;

    make_events(&m, 2);
    assert_int_equal(run(&m, 1, 64, c, &steady), QN_OK);
    /* slabs may still grow a little; per event would be thousands */
    print_message("%llu allocations for %d events\n", (unsigned long long)steady, EVENTS / 2);
    assert_true(steady < 16);
    forget_written();
    free_events(&m);
}

static void test_every_allocation_fails(void **state)
{
    struct qn_counts c[2];
    struct memory_input m;
    uint64_t steady, n = 0, before, total;

    make_events(&m, 3);
    before = qn_mem_count();
    assert_int_equal(run(&m, 2, 512, c, &steady), QN_OK);
    total = qn_mem_count() - before;
    forget_written();
    for (n = 1; n <= total; n += 1 + n / 40) {
        qn_mem_fail_at(n, false);
        if (run(&m, 2, 512, c, &steady) != QN_OK)
            assert_true(n <= total);
        qn_mem_fail_at(0, false);
        forget_written();
    }
    free_events(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_ends_early),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_nothing_allocated_per_event),
        cmocka_unit_test(test_every_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
