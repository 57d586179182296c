/* SPDX-License-Identifier: Apache-2.0
 * test_shard_mark.c - the text beside a committed position: there and back, and what is none. */
#include "engine/shard_mark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_there_and_back(void **state)
{
    const struct qn_shard_mark m = {
        .first = 17, .since = INT64_MAX, .maker = 0x0123456789abcdef, .hash = 0xfedcba9876543210};
    struct qn_shard_mark named = m;
    struct qn_shard_mark got;
    char text[QN_SHARD_MARK_BYTES];

    (void)state;
    qn_shard_mark_print(&m, text);
    assert_string_equal(text, "1 first=17 since=9223372036854775807 maker=0123456789abcdef "
                              "hash=fedcba9876543210");
    assert_true(qn_shard_mark_read(qn_str_of(text), &got));
    assert_memory_equal(&got, &m, sizeof m);
    named.writer = 0xabc;
    qn_shard_mark_print(&named, text);
    assert_string_equal(strstr(text, " writer="), " writer=0000000000000abc");
    assert_true(qn_shard_mark_read(qn_str_of(text), &got));
    assert_memory_equal(&got, &named, sizeof named);
}

static void test_unknown(void **state)
{
    struct qn_shard_mark m = {.first = 1, .since = INT64_MAX, .unknown = {{7, 0}}}, got;
    char text[QN_SHARD_MARK_BYTES];

    (void)state;
    m.unknown_count = 1;
    qn_shard_mark_print(&m, text);
    assert_string_equal(strstr(text, " unknown="), " unknown=7@0");
    for (uint32_t i = 0; i < QN_SHARD_MARK_UNKNOWN; i++) {
        m.unknown[i].id = UINT32_MAX - i;
        m.unknown[i].last = INT64_MAX - i;
    }
    m.unknown_count = QN_SHARD_MARK_UNKNOWN;
    qn_shard_mark_print(&m, text);
    assert_true(qn_shard_mark_read(qn_str_of(text), &got));
    assert_memory_equal(&got, &m, sizeof m);
    assert_true(strlen(text) + 6 < sizeof text);
    memcpy(text + strlen(text), ",1@1", 5);
    assert_false(qn_shard_mark_read(qn_str_of(text), &got)); /* one too many */
}

static void test_streams(void **state)
{
    struct qn_shard_mark m = {
        .first = 30, .since = 30, .streams = 2, .topics = 0xaa, .journal = 7, .from = {10, 20}};
    struct qn_shard_mark got;
    char text[QN_SHARD_MARK_BYTES];

    (void)state;
    qn_shard_mark_print(&m, text);
    assert_string_equal(strstr(text, " topics="), " topics=00000000000000aa journal=7 from=10,20");
    assert_true(qn_shard_mark_read(qn_str_of(text), &got));
    assert_memory_equal(&got, &m, sizeof m);
    m.writer = UINT64_MAX;
    m.unknown_count = QN_SHARD_MARK_UNKNOWN; /* the longest there may be */
    for (uint32_t i = 0; i < QN_SHARD_MARK_UNKNOWN; i++)
        m.unknown[i] = (struct qn_shard_unknown){UINT32_MAX, INT64_MAX};
    m.streams = QN_STREAMS_MAX;
    m.journal = INT64_MAX;
    for (uint32_t i = 0; i < QN_STREAMS_MAX; i++)
        m.from[i] = INT64_MAX;
    qn_shard_mark_print(&m, text);
    assert_true(qn_shard_mark_read(qn_str_of(text), &got));
    assert_memory_equal(&got, &m, sizeof m);
    assert_true(strlen(text) + 3 < sizeof text);
    memcpy(text + strlen(text), ",1", 3);
    assert_false(qn_shard_mark_read(qn_str_of(text), &got)); /* one too many */
}

static void test_what_is_none(void **state)
{
    static const char *const texts[] = {
        "",
        "1",
        "quern",
        "2 first=0 since=0 maker=0123456789abcdef hash=0123456789abcdef",
        "1 first=0 since=0 maker=0123456789abcdef",
        "1 first=0 since=0 maker=0123456789abcdef hash=0123456789abcde",
        "1 first=0 since=0 maker=0123456789abcdef hash=0123456789abcdeF",
        "1 first=0 since=0 maker=0123456789abcdef hash=0123456789abcdef ",
        "1 first=0 since=0 maker=0123456789abcdef hash=0123456789abcdef more=1",
        "1 first=-1 since=0 maker=0123456789abcdef hash=0123456789abcdef",
        "1 first=5 since=4 maker=0123456789abcdef hash=0123456789abcdef",
        "1 first=9223372036854775808 since=0 maker=0123456789abcdef hash=0123456789abcdef",
        "1 since=0 first=0 maker=0123456789abcdef hash=0123456789abcdef",
#define TOPICS " topics=00000000000000aa"
#define MARK   "1 first=0 since=0 maker=0123456789abcdef hash=0123456789abcdef"
        MARK " unknown=",
        MARK " unknown=1",
        MARK " unknown=1@",
        MARK " unknown=1@2,",
        MARK " unknown=1@-2",
        MARK " unknown=-1@2",
        MARK " unknown=4294967296@2",
        MARK " unknown=1@2 unknown=1@2",
        MARK " writer=0000000000000000",
        MARK " writer=1",
        MARK " journal=1 from=1",
        MARK TOPICS,
        MARK TOPICS " journal=1",
        MARK TOPICS " journal=1 from=",
        MARK TOPICS " journal=1 from=1,",
        MARK TOPICS " journal=-1 from=1",
        MARK TOPICS " journal=1 from=-1",
        MARK " from=1",
        MARK TOPICS " journal=1 from=1 unknown=1@2",
    };
    struct qn_shard_mark m;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(qn_shard_mark_read(qn_str_of(texts[i]), &m));
    assert_false(qn_shard_mark_read((struct qn_str){NULL, 0}, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
