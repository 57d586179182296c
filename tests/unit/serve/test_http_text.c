/* SPDX-License-Identifier: Apache-2.0
 * test_http_text.c - the small languages of a request's line and headers. */
#include "serve/http_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_percent(void **state)
{
    static const struct {
        const char *text, *plain, *query; /* NULL = refused */
    } cases[] = {
        {"", "", ""},           {"a+b", "a+b", "a b"},
        {"%41%7a", "Az", "Az"}, {"%C3%A9", "\xC3\xA9", "\xC3\xA9"},
        {"%", NULL, NULL},      {"%4", NULL, NULL},
        {"%4g", NULL, NULL},    {"%00", NULL, NULL},
        {"%C3", NULL, NULL},    {"%2F..%2f", "/../", "/../"},
    };
    struct qn_arena a = {0};
    struct qn_str out;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(qn_percent_decode(qn_str_of(cases[i].text), false, &a, &out),
                         cases[i].plain != NULL);
        assert_true(qn_str_is(out, cases[i].plain != NULL ? cases[i].plain : ""));
        assert_int_equal(qn_percent_decode(qn_str_of(cases[i].text), true, &a, &out),
                         cases[i].query != NULL);
        assert_true(qn_str_is(out, cases[i].query != NULL ? cases[i].query : ""));
    }
    qn_arena_fini(&a);
}

static void test_query(void **state)
{
    struct qn_str query = qn_str_of("&a=1&&b&c=&=d&e=f=g&"), name, value;
    static const char *const expected[][2] = {
        {"a", "1"}, {"b", ""}, {"c", ""}, {"", "d"}, {"e", "f=g"}};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        assert_true(qn_query_next(&query, &name, &value));
        assert_true(qn_str_is(name, expected[i][0]));
        assert_true(qn_str_is(value, expected[i][1]));
    }
    assert_false(qn_query_next(&query, &name, &value));
    query = (struct qn_str){NULL, 0};
    assert_false(qn_query_next(&query, &name, &value));
}

static void test_path(void **state)
{
    struct qn_str path = qn_str_of("/v1//x/"), segment;
    static const char *const expected[] = {"v1", "", "x", ""};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_true(qn_path_next(&path, &segment));
        assert_true(qn_str_is(segment, expected[i]));
    }
    assert_false(qn_path_next(&path, &segment));
    path = qn_str_of("x");
    assert_false(qn_path_next(&path, &segment));
}

static void test_media_type(void **state)
{
    (void)state;
    assert_true(qn_str_is(qn_media_type(qn_str_of(" text/html ; charset=utf-8")), "text/html"));
    assert_true(qn_str_is(qn_media_type((struct qn_str){NULL, 0}), ""));
    assert_true(qn_str_is_nocase(qn_str_of("Text/HTML"), "text/html"));
    assert_false(qn_str_is_nocase(qn_str_of("text/htm"), "text/html"));
}

static void test_accept(void **state)
{
    static const char *const offers[] = {"application/json", "application/x-ndjson",
                                         "text/event-stream"};
    static const struct {
        const char *header;
        uint32_t best;
    } cases[] = {
        {NULL, 0},
        {"", 0},
        {"*/*", 0},
        {"text/event-stream", 2},
        {"TEXT/*", 2},
        {"application/x-ndjson, application/json", 0}, /* equal: our order */
        {"application/json;q=0.5, application/x-ndjson;q=0.51", 1},
        {"application/json;q=0, */*", 1},
        {"application/*;q=0.2, text/event-stream ; q=0.3", 2},
        {"image/png", 0},
        {"application/json;charset=x;q=0.1, text/event-stream;q=1.0", 2},
        {",;,q=", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct qn_str header = {NULL, 0};

        if (cases[i].header != NULL)
            header = qn_str_of(cases[i].header);
        assert_int_equal(qn_accept_best(header, offers, 3), cases[i].best);
    }
}

static void test_bearer(void **state)
{
    (void)state;
    assert_true(qn_str_is(qn_bearer(qn_str_of("bearer  abc ")), "abc"));
    assert_null(qn_bearer(qn_str_of("Basic abcdefgh")).p);
    assert_null(qn_bearer(qn_str_of("Bearer ")).p);
    assert_null(qn_bearer((struct qn_str){NULL, 0}).p);
}

static void test_traceparent(void **state)
{
    static const char good[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    char text[64];

    (void)state;
    assert_true(qn_traceparent_valid(qn_str_of(good)));
    assert_true(qn_traceparent_valid(
        qn_str_of("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more")));
    assert_false(qn_traceparent_valid(
        qn_str_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more")));
    assert_false(
        qn_traceparent_valid(qn_str_of("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    assert_false(
        qn_traceparent_valid(qn_str_of("00-00000000000000000000000000000000-b7ad6b7169203331-01")));
    assert_false(
        qn_traceparent_valid(qn_str_of("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01")));
    assert_false(qn_traceparent_valid((struct qn_str){NULL, 0}));
    for (size_t i = 0; i < sizeof good - 1; i++) { /* no byte of it may be another */
        memcpy(text, good, sizeof good);
        text[i] = 'G';
        assert_false(qn_traceparent_valid(qn_str_of(text)));
        text[i] = '\0';
        assert_false(qn_traceparent_valid(qn_str_of(text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percent),     cmocka_unit_test(test_query),
        cmocka_unit_test(test_path),        cmocka_unit_test(test_media_type),
        cmocka_unit_test(test_accept),      cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_traceparent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
