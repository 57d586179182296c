/* SPDX-License-Identifier: Apache-2.0
 * test_commit_record.c - a commit's bytes come back as they were; other bytes are refused. */
#include "engine/commit_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MAX = 4 };

static void fill(struct qn_commit *m, struct qn_commit_input *in, struct qn_commit_output *out)
{
    *m = (struct qn_commit){.maker = 0x1122334455667788,
                            .inputs = in,
                            .outputs = out,
                            .input_count = 2,
                            .output_count = 3};
    for (uint32_t i = 0; i < MAX; i++) {
        in[i] = (struct qn_commit_input){i + 1, UINT64_MAX - i};
        out[i] = (struct qn_commit_output){i + 7, i, qn_commit_hash(i, "record", 6)};
    }
}

static void test_there_and_back(void **state)
{
    struct qn_commit_input in[MAX], got_in[MAX];
    struct qn_commit_output out[MAX], got_out[MAX];
    struct qn_commit m, got = {.inputs = got_in, .outputs = got_out};
    struct qn_err err = {0};
    struct qn_buf b = {0};

    (void)state;
    fill(&m, in, out);
    qn_commit_write(&m, &b);
    assert_int_equal(qn_commit_read((struct qn_str){b.data, (uint32_t)b.len}, MAX, MAX, &got, &err),
                     QN_OK);
    assert_int_equal(got.maker, m.maker);
    assert_int_equal(got.input_count, 2);
    assert_int_equal(got.output_count, 3);
    for (uint32_t i = 0; i < 2; i++)
        assert_true(got_in[i].topic == in[i].topic && got_in[i].next == in[i].next);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(got_out[i].topic == out[i].topic && got_out[i].records == out[i].records &&
                    got_out[i].hash == out[i].hash);
    /* more than there is room for, any other length, another version */
    assert_int_equal(qn_commit_read((struct qn_str){b.data, (uint32_t)b.len}, 1, MAX, &got, &err),
                     QN_CORRUPT);
    for (uint32_t n = 0; n < b.len; n++)
        assert_int_equal(qn_commit_read((struct qn_str){b.data, n}, MAX, MAX, &got, &err),
                         QN_CORRUPT);
    b.data[0] = 2;
    assert_int_equal(qn_commit_read((struct qn_str){b.data, (uint32_t)b.len}, MAX, MAX, &got, &err),
                     QN_UNSUPPORTED);
    qn_buf_fini(&b);
}

/* The hash tells records apart and minds their order. */
static void test_hash(void **state)
{
    uint64_t ab = qn_commit_hash(qn_commit_hash(0, "a", 1), "b", 1);

    (void)state;
    assert_true(ab != qn_commit_hash(qn_commit_hash(0, "b", 1), "a", 1));
    assert_true(ab != qn_commit_hash(0, "ab", 2));
    assert_true(ab == qn_commit_hash(qn_commit_hash(0, "a", 1), "b", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
