/* SPDX-License-Identifier: Apache-2.0
 * test_json.c - the pull reader: what it accepts, what it says, and every allocation failing in
 * turn. */
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The events of a document as one line: { k= [ "text" 12 t f n ] } over, or !offset:error. */
static void trace(const char *text, size_t len, struct qn_arena *a, struct qn_buf *out)
{
    char *copy = malloc(len + (len == 0));
    struct qn_json_reader r;
    enum qn_json_kind kind;

    memcpy(copy, text, len);
    qn_buf_clear(out);
    qn_json_open(&r, (struct qn_str){copy, (uint32_t)len}, a);
    do {
        kind = qn_json_next(&r);
        if (r.has_key)
            qn_buf_printf(out, "%.*s=", QN_STR_ARG(r.key));
        switch (kind) {
        case QN_JSON_OBJECT:
            qn_buf_text(out, "{ ");
            break;
        case QN_JSON_ARRAY:
            qn_buf_text(out, "[ ");
            break;
        case QN_JSON_CLOSE:
            qn_buf_text(out, "] ");
            break;
        case QN_JSON_STRING:
            qn_json_string(out, r.text);
            qn_buf_byte(out, ' ');
            break;
        case QN_JSON_NUMBER:
            qn_buf_printf(out, "%.*s ", QN_STR_ARG(r.number.text));
            break;
        case QN_JSON_TRUE:
            qn_buf_text(out, "t ");
            break;
        case QN_JSON_FALSE:
            qn_buf_text(out, "f ");
            break;
        case QN_JSON_NULL:
            qn_buf_text(out, "n ");
            break;
        case QN_JSON_END:
            qn_buf_text(out, "over");
            assert_int_equal(qn_json_next(&r), QN_JSON_END);
            break;
        case QN_JSON_ERROR:
            qn_buf_printf(out, "!%zu:%s", qn_json_offset(&r), r.error);
            assert_int_equal(qn_json_next(&r), QN_JSON_ERROR);
            break;
        }
    } while (kind != QN_JSON_END && kind != QN_JSON_ERROR);
    qn_buf_byte(out, '\0');
    free(copy);
}

static void check(const char *text, const char *expected)
{
    struct qn_arena a = {0};
    struct qn_buf b = {0};

    trace(text, strlen(text), &a, &b);
    assert_string_equal(b.data, expected);
    qn_buf_fini(&b);
    qn_arena_fini(&a);
}

static void test_good(void **state)
{
    check("1", "1 over");
    check(" \t\r\n\"a\" ", "\"a\" over");
    check("\xEF\xBB\xBFnull", "n over");
    check("[]", "[ ] over");
    check("{}", "{ ] over");
    check("{\"a\":1,\"b\" : [true,false , null,-1.5e3,{}],\"\":{\"c\":\"d\"}}",
          "{ a=1 b=[ t f n -1.5e3 { ] ] ={ c=\"d\" ] ] over");
    check("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\uD83D\\uDE00\"",
          "\"\\\"\\\\/\\b\\f\\n\\r\\tA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\" over");
    check("\"\\u0000x\"", "\"\\u0000x\" over");
    check("{\"k\\u0065y\":0}", "{ key=0 ] over");
    check("[1,[2,[3]],4]", "[ 1 [ 2 [ 3 ] ] 4 ] over");
}

static void test_bad(void **state)
{
    check("", "!0:the document ends where a value was expected");
    check("  ", "!2:the document ends where a value was expected");
    check("[1,]", "[ 1 !3:a value was expected");
    check("[1 2]", "[ 1 !3:a ',' or ']' was expected");
    check("[1", "[ 1 !2:the document ends inside an array");
    check("{\"a\":1", "{ a=1 !6:the document ends inside an object");
    check("{\"a\":1,}", "{ a=1 !7:the name of a member, in quotes, was expected");
    check("{\"a\" 1}", "{ !5:a ':' was expected behind the name of a member");
    check("{a:1}", "{ !1:the name of a member, in quotes, was expected");
    check("{\"a\":}", "{ !5:a value was expected");
    check("{\"a\":1]", "{ a=1 !6:a ',' or '}' was expected");
    check("1 1", "1 !2:something stands behind the document");
    check("01", "!0:a number that JSON does not have");
    check("[1.]", "[ !1:a number that JSON does not have");
    check("-", "!0:a number that JSON does not have");
    check("[1e5.5]", "[ !1:a number that JSON does not have");
    check("+1", "!0:a value was expected");
    check("nul", "!0:a value was expected");
    check("True", "!0:a value was expected");
    check("\"abc", "!0:a string without an end");
    check("\"abc\\\"", "!0:a string without an end");
    check("\"abc\\", "!0:a string without an end");
    check("\"a\nb\"", "!2:a control character inside a string");
    check("\"\xC3\"", "!0:a string that is not UTF-8");
    check("\"\\x\"", "!2:an escape that JSON does not have");
    check("\"\\u12\"", "!2:an escape that JSON does not have");
    check("\"\\uD83D\"", "!2:an escape that JSON does not have");
    check("\"\\uD83D\\u0041\"", "!2:an escape that JSON does not have");
    check("\"\\uDE00\"", "!2:an escape that JSON does not have");
    check("[,1]", "[ !1:a value was expected");
    check("]", "!0:a value was expected");
}

static void test_depth(void **state)
{
    struct qn_arena a = {0};
    struct qn_buf b = {0};
    char text[600];

    memset(text, '[', QN_JSON_DEPTH_MAX);
    memset(text + QN_JSON_DEPTH_MAX, ']', QN_JSON_DEPTH_MAX);
    trace(text, 2 * QN_JSON_DEPTH_MAX, &a, &b);
    assert_non_null(strstr(b.data, "over"));
    memset(text, '[', sizeof text);
    trace(text, sizeof text, &a, &b);
    assert_non_null(strstr(b.data, "!256:more than 256 levels of nesting"));
    qn_buf_fini(&b);
    qn_arena_fini(&a);
}

static void test_skip(void **state)
{
    static const char text[] = "{\"a\":{\"x\":[1,{\"y\":2}]},\"b\":[],\"c\":3,\"d\":[[}";
    struct qn_arena a = {0};
    struct qn_json_reader r;
    enum qn_json_kind kind;

    qn_json_open(&r, qn_str_of(text), &a);
    assert_int_equal(qn_json_next(&r), QN_JSON_OBJECT);
    for (const char *name = "abc"; *name != '\0'; name++) {
        kind = qn_json_next(&r);
        assert_true(r.has_key && r.key.len == 1 && r.key.p[0] == *name);
        assert_true(qn_json_skip(&r, kind));
        assert_int_equal(r.depth, 1);
    }
    kind = qn_json_next(&r);
    assert_false(qn_json_skip(&r, kind));
    assert_int_equal(qn_json_next(&r), QN_JSON_ERROR);
    assert_false(qn_json_skip(&r, QN_JSON_ERROR));
    qn_arena_fini(&a);
}

static void test_number(void **state)
{
    struct qn_arena a = {0};
    struct qn_json_reader r;

    qn_json_open(&r, qn_str_of("[0.1]"), &a);
    qn_json_next(&r);
    assert_int_equal(qn_json_next(&r), QN_JSON_NUMBER);
    assert_true(qn_number_float(&r.number) == 0.1F);
    assert_true(qn_number_double(&r.number) == 0.1);
    qn_arena_fini(&a);
}

static void test_out_of_memory(void **state)
{
    static const char text[] = "{\"a\\n\":\"b\\n\",\"c\\n\":[\"d\\n\",\"e\\n\"]}";
    struct qn_buf b = {0};

    qn_buf_room(&b, 1000);
    for (uint64_t nth = 1; nth < 8; nth++) {
        struct qn_arena a;

        /* One block per string, so that each of them can fail. */
        qn_arena_init(&a, 16);
        qn_mem_fail_at(nth, false);
        trace(text, sizeof text - 1, &a, &b);
        qn_mem_fail_at(0, false);
        assert_string_equal(strstr(b.data, nth <= 5 ? "out of memory" : "over"),
                            nth <= 5 ? "out of memory" : "over");
        qn_arena_fini(&a);
    }
    qn_buf_fini(&b);
}

/* Cutting a document anywhere is an error, never a crash, never a complete document. */
static void test_every_prefix(void **state)
{
    static const char text[] = "{\"a\":[1.5e3,true,{\"b\\u00e9\":\"\xE2\x82\xAC\"}],\"c\":null}";
    struct qn_arena a = {0};
    struct qn_buf b = {0};

    for (size_t n = 0; n < sizeof text - 1; n++) {
        trace(text, n, &a, &b);
        assert_null(strstr(b.data, "over"));
    }
    trace(text, sizeof text - 1, &a, &b);
    assert_non_null(strstr(b.data, "over"));
    qn_buf_fini(&b);
    qn_arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),         cmocka_unit_test(test_bad),
        cmocka_unit_test(test_depth),        cmocka_unit_test(test_skip),
        cmocka_unit_test(test_number),       cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_every_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
