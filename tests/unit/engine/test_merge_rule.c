/* SPDX-License-Identifier: Apache-2.0
 * test_merge_rule.c - which stream of a shard gives the next record, and who is waited for. */
#include "engine/merge_rule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { STREAMS = 3 };

/* All have a record; times 5, 3, 3. */
static void all_here(struct qn_merge_lane l[STREAMS])
{
    static const int64_t times[STREAMS] = {5, 3, 3};

    for (int i = 0; i < STREAMS; i++)
        l[i] =
            (struct qn_merge_lane){.has_head = true, .head_us = times[i], .pushed = 10, .end = 10};
}

static void test_the_smallest_time(void **state)
{
    struct qn_merge_lane l[STREAMS];
    int64_t since = 0;

    (void)state;
    all_here(l);
    assert_int_equal(qn_merge_choose(l, STREAMS, 1, &since), 1); /* of equals the first */
    l[1].head_us = 4;
    assert_int_equal(qn_merge_choose(l, STREAMS, 1, &since), 2);
    l[0].head_us = INT64_MIN; /* never had a time */
    assert_int_equal(qn_merge_choose(l, STREAMS, 1, &since), 0);
    assert_int_equal(since, 0);
}

static void test_nothing(void **state)
{
    struct qn_merge_lane l[STREAMS] = {{.end = -1}, {.end = -1}, {.end = -1}};
    int64_t since = 0;

    (void)state;
    assert_int_equal(qn_merge_choose(l, STREAMS, 1, &since), QN_MERGE_NOTHING);
    assert_int_equal(since, 0);
}

/* Stream 0 is empty, at that distance from its end: for how long it is waited for. */
static int64_t waited_for(int64_t end)
{
    struct qn_merge_lane l[STREAMS];
    int64_t since = 0, now = 1000;

    all_here(l);
    l[0].has_head = false;
    l[0].end = end;
    while (qn_merge_choose(l, STREAMS, now, &since) == QN_MERGE_WAITS) {
        assert_true(since == 1000);
        now += 500000;
    }
    assert_int_equal(qn_merge_choose(l, STREAMS, now, &since), 1);
    assert_int_equal(since, 0);
    return now - 1000;
}

static void test_waiting(void **state)
{
    (void)state;
    assert_int_equal(waited_for(10), 0); /* it is at its end */
    assert_int_equal(waited_for(9), 0);
    assert_int_equal(waited_for(11), QN_MERGE_WAIT_NS);
    assert_int_equal(waited_for(10 + QN_MERGE_FAR), QN_MERGE_WAIT_NS);
    assert_int_equal(waited_for(11 + QN_MERGE_FAR), QN_MERGE_FAR_NS);
    assert_int_equal(waited_for(-1), QN_MERGE_FIRST_NS);
}

static void test_passed(void **state)
{
    struct qn_merge_lane l[STREAMS];
    int64_t since = 0;

    (void)state;
    all_here(l);
    l[2].has_head = false;
    l[2].end = 12;
    assert_int_equal(qn_merge_choose(l, STREAMS, 1, &since), QN_MERGE_WAITS);
    assert_int_equal(qn_merge_choose(l, STREAMS, 1 + QN_MERGE_WAIT_NS, &since), 1);
    assert_true(l[2].is_passed);
    assert_int_equal(qn_merge_choose(l, STREAMS, 2 + QN_MERGE_WAIT_NS, &since), 1); /* still */
    l[2].is_passed = false; /* something of it came, and was taken */
    assert_int_equal(qn_merge_choose(l, STREAMS, 3 + QN_MERGE_WAIT_NS, &since), QN_MERGE_WAITS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_smallest_time),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_passed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
