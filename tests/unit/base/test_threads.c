/* SPDX-License-Identifier: Apache-2.0
 * test_threads.c - the team of workers. Run under ThreadSanitizer too: it sees what a plain run
 * does not. */
#include "base/memory.h"
#include "base/threads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct counts {
    unsigned calls[QN_TEAM_MAX * 16]; /* a cache line apart; plain, so that a race would be seen */
    unsigned workers;
    unsigned round; /* written by the caller, read by the workers */
};

static void count(void *arg, unsigned worker, unsigned workers)
{
    struct counts *c = arg;

    assert_int_equal(workers, c->workers);
    assert_true(worker < workers);
    assert_int_equal(c->calls[worker * 16], c->round);
    c->calls[worker * 16]++;
}

static void test_runs(void **state)
{
    static const unsigned sizes[] = {1, 2, 3, 7, 16};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct counts c = {.workers = sizes[i]};
        struct qn_team *t;

        assert_int_equal(qn_team_new(sizes[i], &t, NULL), QN_OK);
        assert_int_equal(qn_team_workers(t), sizes[i]);
        for (c.round = 0; c.round < 400; c.round++) {
            qn_team_run(t, count, &c);
            for (unsigned w = 0; w < sizes[i]; w++)
                assert_int_equal(c.calls[w * 16], c.round + 1);
            /* Long enough that the workers stop spinning and sleep. */
            if (c.round % 100 == 50)
                usleep(2000);
        }
        qn_team_free(t);
    }
    qn_team_free(NULL);
}

static void slow(void *arg, unsigned worker, unsigned workers)
{
    if (worker == *(unsigned *)arg)
        usleep(3000);
}

/* The caller waits asleep for a slow worker, workers asleep for a slow caller. */
static void test_sleeping(void **state)
{
    struct qn_team *t;

    assert_int_equal(qn_team_new(3, &t, NULL), QN_OK);
    for (unsigned who = 0; who < 3; who++)
        for (int i = 0; i < 5; i++)
            qn_team_run(t, slow, &who);
    qn_team_free(t);
    assert_int_equal(qn_team_new(4, &t, NULL), QN_OK);
    usleep(2000);
    qn_team_free(t);
}

/* What the first worker writes before it opens the gate, the others see behind it. */
struct gated {
    struct qn_team *team;
    unsigned round, slow_us;
    unsigned seen[QN_TEAM_MAX * 16];
    unsigned value; /* plain, so that a race would be seen */
};

static void pass_gate(void *arg, unsigned worker, unsigned workers)
{
    struct gated *g = arg;

    if (worker == 0) {
        if (g->slow_us > 0)
            usleep(g->slow_us);
        g->value = g->round;
        qn_team_open(g->team);
    }
    qn_team_wait(g->team);
    g->seen[worker * 16] = g->value;
}

static void test_gate(void **state)
{
    static const unsigned sizes[] = {1, 2, 5};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct gated g = {0};

        assert_int_equal(qn_team_new(sizes[i], &g.team, NULL), QN_OK);
        for (g.round = 1; g.round < 300; g.round++) {
            g.slow_us = g.round % 50 == 7 ? 3000 : 0;
            qn_team_run(g.team, pass_gate, &g);
            for (unsigned w = 0; w < sizes[i]; w++)
                assert_int_equal(g.seen[w * 16], g.round);
        }
        qn_team_free(g.team);
    }
}

static void test_refusals(void **state)
{
    struct qn_team *t = (struct qn_team *)state;
    struct qn_err err;

    assert_int_equal(qn_team_new(0, &t, &err), QN_INVALID);
    assert_null(t);
    assert_string_equal(err.text, "0 threads asked for, 1 to 64 are possible");
    assert_int_equal(qn_team_new(65, &t, &err), QN_INVALID);
    qn_mem_fail_at(1, true);
    assert_int_equal(qn_team_new(2, &t, &err), QN_NOMEM);
    qn_mem_fail_at(0, false);
    assert_null(t);
}

static void test_slices(void **state)
{
    static const uint32_t rows[] = {0, 1, 63, 64, 65, 100, 1000, 4096, 4097, UINT32_MAX};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (unsigned workers = 1; workers <= QN_TEAM_MAX; workers++) {
            uint32_t at = 0, first, end;

            for (unsigned w = 0; w < workers; w++) {
                qn_team_slice(rows[i], w, workers, &first, &end);
                assert_true(first == at);
                assert_true(end >= first);
                assert_true(end == rows[i] || end % 64 == 0);
                assert_true(end - first <= ((uint64_t)rows[i] / 64 + 1 + workers) / workers * 64);
                at = end;
            }
            assert_true(at == rows[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_runs), cmocka_unit_test(test_sleeping),
                                       cmocka_unit_test(test_gate), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_slices)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
