/* SPDX-License-Identifier: Apache-2.0
 * test_body_split.c - bodies into events: every form, every way to break the outermost level. */
#include "serve/body_split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The pieces joined by '|', or "!BYTE:ERROR" behind those before it. The body is copied to memory
 * of its own size, so that a sanitizer sees a byte read beyond it. */
static void check(enum qn_split_form form, const char *body, const char *expected)
{
    size_t len = strlen(body);
    char *copy = malloc(len + (len == 0));
    struct qn_buf out = {0};
    struct qn_split s;
    struct qn_str piece;

    memcpy(copy, body, len);
    qn_split_open(&s, form, (struct qn_str){copy, (uint32_t)len});
    while (qn_split_next(&s, &piece)) {
        qn_buf_add(&out, piece.p, piece.len);
        qn_buf_byte(&out, '|');
    }
    if (s.error != NULL)
        qn_buf_printf(&out, "!%zu:%s", s.error_at, s.error);
    qn_buf_byte(&out, '\0');
    assert_string_equal(out.data, expected);
    assert_false(qn_split_next(&s, &piece));
    qn_buf_fini(&out);
    free(copy);
}

static void test_single(void **state)
{
    (void)state;
    check(QN_SPLIT_JSON, "{\"a\":1}", "{\"a\":1}|");
    check(QN_SPLIT_JSON, " \r\n{\"a\":[1,2]}\t ", "{\"a\":[1,2]}|");
    check(QN_SPLIT_JSON, "\xEF\xBB\xBF{}", "{}|");
    check(QN_SPLIT_JSON, "", "");
    check(QN_SPLIT_JSON, " \n ", "");
    check(QN_SPLIT_JSON, "{broken", "{broken|"); /* for the decoder to judge */
}

static void test_array(void **state)
{
    (void)state;
    check(QN_SPLIT_JSON, "[]", "");
    check(QN_SPLIT_JSON, " [ ] ", "");
    check(QN_SPLIT_JSON, "[{},{\"a\":[1,{\"b\":\"],}\"}]} , 5,null,\"x,y\"]",
          "{}|{\"a\":[1,{\"b\":\"],}\"}]}|5|null|\"x,y\"|");
    check(QN_SPLIT_JSON, "[\"\\\"]\",\"\\\\\"]", "\"\\\"]\"|\"\\\\\"|");
    check(QN_SPLIT_JSON, "[[1,2],[]]", "[1,2]|[]|");
    check(QN_SPLIT_JSON, "[tru,{\"a\":1]]", "tru|{\"a\":1]|"); /* pieces that are no JSON */
}

static void test_array_broken(void **state)
{
    (void)state;
    check(QN_SPLIT_JSON, "[", "!1:the array is not closed");
    check(QN_SPLIT_JSON, "[1", "!2:the array is not closed");
    check(QN_SPLIT_JSON, "[1,", "1|!3:the array is not closed");
    check(QN_SPLIT_JSON, "[{\"a\":\"]", "!1:the array is not closed");
    check(QN_SPLIT_JSON, "[\"\\", "!1:the array is not closed");
    check(QN_SPLIT_JSON, "[1,]", "!3:the array has a comma too many");
    check(QN_SPLIT_JSON, "[,1]", "!1:an element of the array is missing");
    check(QN_SPLIT_JSON, "[1,,2]", "1|!3:an element of the array is missing");
    check(QN_SPLIT_JSON, "[1 2]", "!3:between elements of the array there must be a comma");
    check(QN_SPLIT_JSON, "[{}}]", "!3:between elements of the array there must be a comma");
    check(QN_SPLIT_JSON, "[}]", "!1:an element of the array is missing");
    check(QN_SPLIT_JSON, "[1] [2]", "!4:there is something behind the array");
    check(QN_SPLIT_JSON, "[]x", "!2:there is something behind the array");
}

static void test_lines(void **state)
{
    (void)state;
    check(QN_SPLIT_LINES, "{\"a\":1}\n{\"b\":2}\r\n\n \n{\"c\":3}",
          "{\"a\":1}|{\"b\":2}|{\"c\":3}|");
    check(QN_SPLIT_LINES, "\n\n", "");
    check(QN_SPLIT_LINES, "", "");
    check(QN_SPLIT_LINES, "[1,2]\nnot json\n", "[1,2]|not json|");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single),
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_array_broken),
        cmocka_unit_test(test_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
