/* SPDX-License-Identifier: Apache-2.0
 * test_journal_record.c - records of the journal: there and back, and what is none. */
#include "engine/journal_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct qn_str text_of(const struct qn_buf *b)
{
    return (struct qn_str){b->data, (uint32_t)b->len};
}

static void test_there_and_back(void **state)
{
    const int64_t from[3] = {0, 300, QN_JOURNAL_OFFSET_MAX - 5};
    const struct qn_journal_run runs[] = {{1, 1}, {0, 70000}, {2, 5}, {1, 127}};
    struct qn_journal_record r;
    struct qn_journal_run got;
    struct qn_buf out = {0};

    (void)state;
    qn_journal_begin(&out, from, 3);
    for (size_t i = 0; i < 4; i++)
        qn_journal_add(&out, runs[i]);
    assert_true(qn_journal_read(text_of(&out), &r));
    assert_int_equal(r.streams, 3);
    assert_memory_equal(r.from, from, sizeof from);
    for (size_t i = 0; i < 4; i++) {
        assert_true(qn_journal_next(&r.runs, &got));
        assert_int_equal(got.stream, runs[i].stream);
        assert_int_equal(got.moved, runs[i].moved);
    }
    assert_false(qn_journal_next(&r.runs, &got));
    for (uint32_t n = 0; n < out.len; n++) /* cut anywhere, it is none, or one with fewer runs */
        if (qn_journal_read((struct qn_str){out.data, n}, &r))
            while (r.runs.len > 0)
                assert_true(qn_journal_next(&r.runs, &got));
    qn_buf_fini(&out);
}

static void test_the_bytes(void **state)
{
    static const char bytes[] = "\x01\x02\x05\xac\x02\x01\x03\x00\x01";
    const int64_t from[2] = {5, 300};
    struct qn_buf out = {0};

    (void)state;
    qn_journal_begin(&out, from, 2);
    qn_journal_add(&out, (struct qn_journal_run){1, 3});
    qn_journal_add(&out, (struct qn_journal_run){0, 1});
    assert_int_equal(out.len, sizeof bytes - 1);
    assert_memory_equal(out.data, bytes, out.len);
    qn_buf_fini(&out);
}

static void test_what_is_none(void **state)
{
    static const struct qn_str texts[] = {
        {"", 0},
        {"\x01", 1},
        {"\x02\x02\x00\x00", 4},                              /* another version   */
        {"\x01\x00", 2},                                      /* no stream         */
        {"\x01\x41", 2},                                      /* 65 of them        */
        {"\x01\x02\x00", 3},                                  /* a position less   */
        {"\x01\x02\x00\x00\x02\x01", 6},                      /* a third stream    */
        {"\x01\x02\x00\x00\x01\x00", 6},                      /* a run of nothing  */
        {"\x01\x02\x00\x00\x01", 5},                          /* half a run        */
        {"\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11}, /* beyond all offsets */
        {"\x01\x01\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 13},
    };
    struct qn_journal_record r;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(qn_journal_read(texts[i], &r));
    assert_false(qn_journal_read((struct qn_str){NULL, 0}, &r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_the_bytes),
        cmocka_unit_test(test_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
