/* SPDX-License-Identifier: Apache-2.0
 * test_status.c - errors: numbers, names, texts and the filling of qn_err. */
#include "base/status.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_names(void **state)
{
    assert_int_equal(QN_OK, 0);
    assert_int_equal(QN_INTERRUPTED, 11);
    assert_string_equal(qn_status_name(QN_NOT_FOUND), "not_found");
    assert_string_equal(qn_status_name(QN_NOMEM), "nomem");
    assert_string_equal(qn_status_text(QN_FULL), "no space left");
    assert_string_equal(qn_status_name((qn_status)999), "unknown");
    assert_non_null(qn_status_text((qn_status)999));
    /* Every name is the enum's in lower case. */
#define NAME(upper, again, text)                                                                   \
    {                                                                                              \
        const char *a = #upper, *b = qn_status_name(QN_##upper);                                   \
        assert_int_equal(strlen(a), strlen(b));                                                    \
        for (size_t i = 0; a[i] != '\0'; i++)                                                      \
            assert_int_equal(a[i] == '_' ? '_' : a[i] | 0x20, b[i]);                               \
        assert_string_equal(qn_status_text(QN_##upper), text);                                     \
    }
    QN_STATUS_LIST(NAME)
#undef NAME
}

static void test_set(void **state)
{
    struct qn_err err;

    memset(&err, 0x5A, sizeof err);
    assert_int_equal(qn_err_set(&err, QN_IO, "cannot %s %d", "read", 7), QN_IO);
    assert_int_equal(err.code, QN_IO);
    assert_true(err.retriable);
    assert_false(err.fatal);
    assert_false(err.has_offset);
    assert_int_equal(err.line, 0);
    assert_string_equal(err.file, "");
    assert_string_equal(err.text, "cannot read 7");
    assert_int_equal(qn_err_set(NULL, QN_LIMIT, "x"), QN_LIMIT);
    qn_err_set(&err, QN_INVALID, "outer: %s", err.text);
    assert_string_equal(err.text, "outer: cannot read 7");
    assert_false(err.retriable);
}

static void test_cut(void **state)
{
    struct qn_err err;
    char text[2000];

    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = i % 2 == 0 ? '\xC3' : '\xA4';
    text[sizeof text - 1] = '\0';
    for (int shift = 0; shift < 2; shift++) {
        size_t n;

        qn_err_set(&err, QN_INVALID, "%s%s", shift ? "x" : "", text);
        n = strlen(err.text);
        assert_in_range(n, sizeof err.text - 3, sizeof err.text - 1);
        assert_int_equal((unsigned char)err.text[n - 1], 0xA4);
        qn_err_at(&err, text + shift * 2, 3, 4);
        assert_in_range(strlen(err.file), sizeof err.file - 3, sizeof err.file - 1);
    }
}

static void test_sys(void **state)
{
    static const struct {
        int e;
        qn_status code;
    } rows[] = {{ENOENT, QN_NOT_FOUND}, {EACCES, QN_DENIED}, {ENOSPC, QN_FULL},
                {ENOMEM, QN_NOMEM},     {EPIPE, QN_CLOSED},  {EINTR, QN_INTERRUPTED},
                {EIO, QN_IO},           {EMFILE, QN_LIMIT},  {12345, QN_IO}};
    struct qn_err err;
    char text[2000];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(qn_err_sys(&err, rows[i].e, "cannot open '%s'", "a"), rows[i].code);
        assert_memory_equal(err.text, "cannot open 'a': ", 17);
        assert_int_equal(qn_err_sys(NULL, rows[i].e, "x"), rows[i].code);
    }
    qn_err_sys(&err, ENOENT, "x");
    assert_string_equal(err.text, "x: No such file or directory");
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    qn_err_sys(&err, ENOENT, "%s", text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void test_at(void **state)
{
    struct qn_err err;

    qn_err_set(&err, QN_INVALID, "bad");
    assert_int_equal(qn_err_at(&err, "fraud.yaml", 31, 28), QN_INVALID);
    assert_string_equal(err.file, "fraud.yaml");
    assert_int_equal(err.line, 31);
    assert_int_equal(err.col, 28);
    assert_string_equal(err.text, "bad");
    qn_err_at(&err, err.file, 1, 0);
    assert_string_equal(err.file, "fraud.yaml");
}

static qn_status tries(qn_status rc, int *went_on)
{
    QN_TRY(rc);
    *went_on = 1;
    return QN_OK;
}

static void test_try(void **state)
{
    int went_on = 0;

    assert_int_equal(tries(QN_FULL, &went_on), QN_FULL);
    assert_int_equal(went_on, 0);
    assert_int_equal(tries(QN_OK, &went_on), QN_OK);
    assert_int_equal(went_on, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_set), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_sys),   cmocka_unit_test(test_at),  cmocka_unit_test(test_try),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
