/* SPDX-License-Identifier: Apache-2.0
 * test_buffer.c - growing buffers, and what happens when they cannot grow. */
#include "base/buffer.h"
#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_append(void **state)
{
    struct qn_buf b = {0};
    size_t cap;

    qn_buf_add(&b, NULL, 0);
    assert_int_equal(b.len, 0);
    assert_false(b.failed);
    for (int i = 0; i < 1000; i++)
        qn_buf_byte(&b, (char)i);
    qn_buf_text(&b, "tail");
    assert_int_equal(b.len, 1004);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(b.data[i], (char)i);
    assert_memory_equal(b.data + 1000, "tail", 4);
    cap = b.cap;
    qn_buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, cap);
    memcpy(qn_buf_room(&b, 3), "abc", 3);
    b.len += 3;
    assert_memory_equal(b.data, "abc", 3);
    qn_buf_fini(&b);
    assert_null(b.data);
    qn_buf_fini(&b);
}

static void test_printf(void **state)
{
    struct qn_buf b = {0};
    char big[5000];

    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    for (size_t n = 100; n < 140; n++) {
        qn_buf_clear(&b);
        qn_buf_printf(&b, "%.*s|%d", (int)n, big, 42);
        assert_int_equal(b.len, n + 3);
        assert_memory_equal(b.data + n, "|42", 3);
    }
    qn_buf_printf(&b, "%s", big);
    assert_int_equal(b.len, 142 + 4999);
    qn_buf_fini(&b);
}

static void test_out_of_memory(void **state)
{
    struct qn_buf b = {0};
    char part[1000] = {0};
    size_t len;

    qn_mem_fail_at(1, true);
    qn_buf_text(&b, "a");
    assert_true(b.failed);
    assert_int_equal(b.len, 0);
    qn_mem_fail_at(0, false);
    qn_buf_clear(&b);
    assert_false(b.failed);
    for (uint64_t nth = 1; nth < 5; nth++) {
        qn_mem_fail_at(nth, false);
        for (int i = 0; i < 20; i++) {
            len = b.len;
            qn_buf_add(&b, part, sizeof part);
            assert_true(b.len == len + sizeof part || (b.len == len && b.failed));
        }
        qn_buf_printf(&b, "%5000d", 1);
        assert_true(b.failed);
        qn_buf_fini(&b);
    }
    qn_mem_fail_at(0, false);
    assert_null(qn_buf_room(&b, SIZE_MAX));
    assert_true(b.failed);
    qn_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_append), cmocka_unit_test(test_printf),
                                       cmocka_unit_test(test_out_of_memory)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
