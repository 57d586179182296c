/* SPDX-License-Identifier: Apache-2.0
 * test_standby_rule.c - which copies a process keeps: whoever fails or leaves, everything
 * that comes to another one is there already. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/standby_rule.h"

#include <string.h>

enum { MOST = 24 };

/* Kafka's RangeAssignor, from its documentation: in order of members, each so many, the first ones
 * one more. */
static void range(uint32_t partitions, uint32_t members, uint32_t owner[MOST])
{
    uint32_t p = 0;

    for (uint32_t m = 0; m < members; m++)
        for (uint32_t n = partitions / members + (m < partitions % members); n > 0; n--)
            owner[p++] = m;
    assert_int_equal(p, partitions);
}

static void choose_for(uint32_t partitions, uint32_t members, uint32_t member, bool own[MOST],
                       bool copies[MOST])
{
    uint32_t owner[MOST];

    range(partitions, members, owner);
    for (uint32_t p = 0; p < partitions; p++)
        own[p] = owner[p] == member;
    assert_true(qn_standby_choose(own, partitions, members, copies));
}

/* The member `gone` goes: what comes to `member` is its own or a copy. */
static void check_gone(uint32_t partitions, uint32_t members, uint32_t member, uint32_t gone)
{
    bool own[MOST], copies[MOST];
    uint32_t owner[MOST];

    choose_for(partitions, members, member, own, copies);
    range(partitions, members - 1, owner);
    for (uint32_t p = 0; p < partitions; p++)
        if (owner[p] == (member > gone ? member - 1 : member))
            assert_true(own[p] || copies[p]);
}

static void whoever_goes(void **state)
{
    (void)state;
    for (uint32_t partitions = 1; partitions <= MOST; partitions++)
        for (uint32_t members = 2; members <= partitions; members++)
            for (uint32_t member = 0; member < members; member++)
                for (uint32_t gone = 0; gone < members; gone++)
                    if (gone != member)
                        check_gone(partitions, members, member, gone);
}

/* All copies together: no more than twice the partitions, once where there are two processes. */
static void not_too_many(void **state)
{
    (void)state;
    for (uint32_t partitions = 1; partitions <= MOST; partitions++)
        for (uint32_t members = 2; members <= partitions; members++) {
            uint32_t count = 0;

            for (uint32_t member = 0; member < members; member++) {
                bool own[MOST], copies[MOST];

                choose_for(partitions, members, member, own, copies);
                for (uint32_t p = 0; p < partitions; p++) {
                    assert_false(own[p] && copies[p]);
                    count += copies[p];
                }
            }
            assert_true(count <= (members == 2 ? partitions : 2 * partitions));
        }
}

static void odd_ones(void **state)
{
    bool own[MOST] = {0}, copies[MOST];

    (void)state;
    assert_true(qn_standby_choose(own, 4, 5, copies)); /* nothing is left for us */
    assert_true(copies[3] && !copies[2]);
    memset(own, true, sizeof own);
    assert_true(qn_standby_choose(own, 4, 1, copies)); /* alone */
    assert_false(copies[0] || copies[1] || copies[2] || copies[3]);
    own[1] = false; /* 0, 2, 3: no such rule */
    assert_false(qn_standby_choose(own, 4, 2, copies));
    assert_false(copies[1]);
    memset(own, false, sizeof own);
    assert_false(qn_standby_choose(own, 4, 3, copies)); /* somebody else has our part */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_goes),
        cmocka_unit_test(not_too_many),
        cmocka_unit_test(odd_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
