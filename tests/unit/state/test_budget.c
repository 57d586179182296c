/* SPDX-License-Identifier: Apache-2.0
 * test_budget.c - counted bytes against a list of them: what has been added, moved and saved leaves
 * when its slot is passed, and not before; room for keys that are there is kept. */
#include "../seed.h"
#include "state/budget.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ACCOUNTS = 3, ITEMS = 3000, STEPS = 6000 };

/* The naive twin: every piece of bytes with its time. */
struct item {
    int64_t at_us;
    uint64_t bytes;
    uint32_t account;
};

static const int64_t keeps_us[ACCOUNTS] = {1000000, 77, QN_BUDGET_FOREVER};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* By the definition: a slot is as wide as 1/128 of the time, and leaves as a whole. */
static bool counts(const struct item *x, int64_t newest_us)
{
    const int64_t keep = keeps_us[x->account], width = keep / 128 + 1;

    return keep == QN_BUDGET_FOREVER ||
           floor_div(x->at_us, width) >= floor_div(newest_us - keep, width);
}

static uint64_t sum(const struct item *list, uint32_t n, int64_t newest_us)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < n; i++)
        total += counts(&list[i], newest_us) ? list[i].bytes : 0;
    return total;
}

static struct qn_budget *make(void)
{
    struct qn_budget *b;

    assert_int_equal(qn_budget_new(1000, ACCOUNTS, &b, NULL), QN_OK);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        qn_budget_keep(b, i, keeps_us[i]);
    return b;
}

static void same_as_a_list(void **state)
{
    struct item *list = calloc(ITEMS, sizeof *list);
    struct qn_budget *b = make();
    struct qn_rng r;
    int64_t newest = -3000000; /* before 1970 */
    uint32_t n = 0;

    (void)state;
    assert_non_null(list);
    qn_rng_seed(&r, test_seed(20180409));
    for (int step = 0; step < STEPS; step++) {
        const uint32_t account = qn_rng_below(&r, ACCOUNTS), dice = qn_rng_below(&r, 100);
        const int64_t keep = account == 1 ? 77 : 1000000;
        struct item *x;

        newest += qn_rng_below(&r, dice == 0 ? 5000000 : dice < 50 ? 20 : 3000);
        qn_budget_move_on(b, newest);
        assert_int_equal(qn_budget_counted(b), sum(list, n, newest));
        x = &list[n > 0 ? qn_rng_below(&r, n) : 0];
        if (dice < 40 && n > 0 && newest - x->at_us < keep && keeps_us[x->account] == keep) {
            qn_budget_move(b, x->account, x->at_us, newest, x->bytes);
            x->at_us = newest;
        } else if (n < ITEMS) {
            const int64_t ahead = dice < 60 ? qn_rng_below(&r, (uint32_t)(keep * 7 / 8)) : 0;

            list[n] = (struct item){newest + ahead - (int64_t)qn_rng_below(&r, (uint32_t)keep),
                                    qn_rng_below(&r, 1000), account};
            qn_budget_add(b, account, list[n].at_us, list[n].bytes);
            n++;
        }
        if (dice == 99) { /* dies, and is restored */
            char saved[ACCOUNTS][QN_BUDGET_SAVED];

            for (uint32_t i = 0; i < ACCOUNTS; i++)
                qn_budget_save(b, i, saved[i]);
            qn_budget_free(b);
            b = make();
            for (uint32_t i = 0; i < ACCOUNTS; i++)
                assert_int_equal(qn_budget_load(b, i, saved[i], NULL), QN_OK);
            qn_budget_move_on(b, newest);
        }
        assert_int_equal(qn_budget_counted(b), sum(list, n, newest));
    }
    qn_budget_clear(b);
    assert_int_equal(qn_budget_counted(b), 0);
    qn_budget_free(b);
    free(list);
}

static void keeps_room_for_what_is_there(void **state)
{
    struct qn_budget *b = make();

    (void)state;
    qn_budget_move_on(b, 0);
    assert_int_equal(qn_budget_limit(b), 1000);
    assert_int_equal(qn_budget_new_keys_limit(1000), 875);
    assert_true(qn_budget_has_room(b, 875, true));
    assert_false(qn_budget_has_room(b, 876, true));
    assert_true(qn_budget_has_room(b, 1000, false));
    assert_false(qn_budget_has_room(b, 1001, false));
    assert_false(qn_budget_has_room(b, UINT64_MAX, false));
    qn_budget_add(b, 0, 0, 900);
    assert_false(qn_budget_has_room(b, 1, true));
    assert_true(qn_budget_has_room(b, 100, false));
    assert_false(qn_budget_has_room(b, 101, false));
    qn_budget_add(b, 0, 0, 200); /* what was taken before a limit was lowered */
    assert_false(qn_budget_has_room(b, 1, false));
    assert_true(qn_budget_has_room(b, 0, true));
    qn_budget_move_on(b, 1010000); /* the slot is 7813 wide */
    assert_true(qn_budget_has_room(b, 875, true));
    qn_budget_add(b, 0, INT64_MAX / 2, 50); /* further ahead than is told apart */
    qn_budget_move_on(b, 2900000);
    assert_int_equal(qn_budget_counted(b), 50);
    qn_budget_move_on(b, 5000000);
    assert_int_equal(qn_budget_counted(b), 0);
    qn_budget_free(b);
}

static void holds_what_is_of_fixed_size(void **state)
{
    char saved[QN_BUDGET_SAVED];
    struct qn_budget *b = make();

    (void)state;
    qn_budget_hold(b, 200);
    qn_budget_move_on(b, 0);
    assert_int_equal(qn_budget_counted(b), 200);
    assert_true(qn_budget_has_room(b, 675, true));
    assert_false(qn_budget_has_room(b, 676, true));
    assert_false(qn_budget_has_room(b, 801, false));
    qn_budget_add(b, 0, 0, 70);
    qn_budget_save(b, 0, saved);
    qn_budget_clear(b);
    assert_int_equal(qn_budget_counted(b), 200);
    assert_int_equal(qn_budget_load(b, 0, saved, NULL), QN_OK);
    assert_int_equal(qn_budget_counted(b), 270);
    qn_budget_free(b);
}

static void damaged(void **state)
{
    char saved[QN_BUDGET_SAVED];
    struct qn_budget *b = make();

    (void)state;
    memset(saved, 0xFF, sizeof saved);
    assert_int_equal(qn_budget_load(b, 0, saved, NULL), QN_CORRUPT);
    qn_budget_clear(b);
    memset(saved, 0, sizeof saved);
    saved[9] = 1; /* 256 bytes somewhere */
    assert_int_equal(qn_budget_load(b, 0, saved, NULL), QN_OK);
    qn_budget_move_on(b, 5000);
    assert_int_equal(qn_budget_counted(b), 256);
    qn_budget_add(b, 0, 5000, 10);
    qn_budget_move(b, 0, 5000, 5000 - 900000, 300); /* more than is there */
    assert_int_equal(qn_budget_counted(b), 266);
    qn_budget_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_a_list),
        cmocka_unit_test(keeps_room_for_what_is_there),
        cmocka_unit_test(holds_what_is_of_fixed_size),
        cmocka_unit_test(damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
