/* SPDX-License-Identifier: Apache-2.0
 * test_idempotency.c - keys of requests: claimed once, kept, given back, forgotten when old. */
#include "base/memory.h"
#include "serve/idempotency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct table {
    struct qn_idempotency *m;
    struct qn_buf header;
    uint64_t claim, first;
    uint32_t count;
};

static int open_table(void **state)
{
    static struct table t;

    t = (struct table){0};
    *state = &t;
    return qn_idempotency_new(&t.m, NULL) == QN_OK ? 0 : -1;
}

static int close_table(void **state)
{
    struct table *t = *state;

    qn_idempotency_free(t->m);
    qn_buf_fini(&t->header);
    return 0;
}

static enum qn_claim claim(struct table *t, uint32_t stream, const char *key, const char *body)
{
    return qn_idempotency_claim(t->m, stream, qn_str_of(key), qn_str_of(body), &t->header,
                                &t->claim, &t->first, &t->count);
}

static void test_life_of_a_key(void **state)
{
    struct table *t = *state;
    uint64_t mine;

    assert_int_equal(claim(t, 0, "k", "body"), QN_CLAIM_NEW);
    mine = t->claim;
    assert_int_equal(t->header.len, 2 + 32);
    assert_memory_equal(t->header.data, "k ", 2);
    assert_int_equal(claim(t, 0, "k", "body"), QN_CLAIM_BUSY);
    assert_int_equal(claim(t, 0, "k", "other"), QN_CLAIM_OTHER);
    assert_int_equal(claim(t, 1, "k", "other"), QN_CLAIM_NEW); /* of another stream */
    qn_idempotency_release(t->m, mine);
    assert_int_equal(claim(t, 0, "k", "other"), QN_CLAIM_NEW); /* free again */
    qn_idempotency_keep(t->m, t->claim, 77, 3);
    assert_int_equal(claim(t, 0, "k", "other"), QN_CLAIM_DONE);
    assert_int_equal(t->first, 77);
    assert_int_equal(t->count, 3);
    assert_int_equal(claim(t, 0, "k", "body"), QN_CLAIM_OTHER);
}

static void test_old_ones_are_forgotten(void **state)
{
    struct table *t = *state;
    uint64_t busy;
    char key[16];

    assert_int_equal(claim(t, 0, "busy", ""), QN_CLAIM_NEW);
    busy = t->claim;
    for (uint32_t i = 0; i < 65536; i++) {
        snprintf(key, sizeof key, "%u", i);
        assert_int_equal(claim(t, 0, key, ""), QN_CLAIM_NEW);
        qn_idempotency_keep(t->m, t->claim, i, 1);
    }
    assert_int_equal(claim(t, 0, "busy", ""), QN_CLAIM_BUSY); /* one under way never is */
    assert_int_equal(claim(t, 0, "1", ""), QN_CLAIM_DONE);
    assert_int_equal(t->first, 1);
    assert_int_equal(claim(t, 0, "65535", ""), QN_CLAIM_DONE);
    assert_int_equal(claim(t, 0, "0", ""), QN_CLAIM_NEW);
    qn_idempotency_keep(t->m, busy, 1, 1);
    assert_int_equal(claim(t, 0, "busy", ""), QN_CLAIM_DONE);
}

static void test_names(void **state)
{
    char longest[256];

    (void)state;
    memset(longest, 'x', sizeof longest);
    assert_true(qn_idempotency_key_valid((struct qn_str){longest, 255}));
    assert_false(qn_idempotency_key_valid((struct qn_str){longest, 256}));
    assert_false(qn_idempotency_key_valid(qn_str_of("")));
    assert_false(qn_idempotency_key_valid(qn_str_of("a b")));
    assert_false(qn_idempotency_key_valid(qn_str_of("\xC3\xA9")));
    assert_true(qn_idempotency_key_valid(qn_str_of("!~")));
}

static void test_no_memory(void **state)
{
    struct qn_idempotency *m;
    struct qn_err err = {0};

    (void)state;
    for (uint64_t n = 1; n <= 3; n++) {
        qn_mem_fail_at(n, false);
        assert_int_equal(qn_idempotency_new(&m, &err), QN_NOMEM);
        assert_null(m);
    }
    qn_mem_fail_at(0, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life_of_a_key, open_table, close_table),
        cmocka_unit_test_setup_teardown(test_old_ones_are_forgotten, open_table, close_table),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
