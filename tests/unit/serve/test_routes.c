/* SPDX-License-Identifier: Apache-2.0
 * test_routes.c - the table of routes: every row can be found, what is wrong is told, the documents
 * made from it are well-formed. */
#include "base/json.h"
#include "serve/serve_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct qn_arena arena;

static const struct qn_route *find(const char *method, const char *path, char allow[64])
{
    struct qn_str args[QN_PATH_ARGS_MAX];

    return qn_route_find(qn_str_of(method), qn_str_of(path), &arena, args, allow);
}

static void test_every_row(void **state)
{
    char allow[64];

    (void)state;
    for (uint32_t i = 0; i < qn_route_count; i++) {
        const struct qn_route *r = &qn_routes[i];

        assert_ptr_equal(find(r->method, r->path, allow), r);
        assert_non_null(r->handle);
        assert_true(r->id[0] != '\0' && r->summary[0] != '\0');
        assert_true(r->answers[0].status != 0 && r->problems[0] != 0);
        assert_null(find("BREW", r->path, allow));
        assert_non_null(strstr(allow, r->method));
        if (strcmp(r->method, "GET") == 0)
            assert_ptr_equal(find("HEAD", r->path, allow), r);
        for (uint32_t k = 0; k < i; k++)
            assert_string_not_equal(r->id, qn_routes[k].id);
        for (int k = 0; k < QN_PROBLEMS_MAX && r->problems[k] != 0; k++)
            assert_string_not_equal(qn_http_title(r->problems[k]), "OK");
    }
}

static void test_parameters_of_the_path(void **state)
{
    struct qn_str args[QN_PATH_ARGS_MAX];
    char allow[64];

    (void)state;
    assert_non_null(qn_route_find(qn_str_of("POST"), qn_str_of("/v1/streams/a%2Fb%20c/events"),
                                  &arena, args, allow));
    assert_true(qn_str_is(args[0], "a/b c"));
    assert_null(find("POST", "/v1/streams/%00/events", allow));
    assert_null(find("POST", "/v1/streams//events", allow));
    assert_null(find("POST", "/v1/streams/x/events/", allow));
    assert_null(find("GET", "", allow));
    assert_null(find("GET", "*", allow));
    assert_string_equal(allow, "");
    assert_null(find("POST", "/livez", allow));
    assert_string_equal(allow, "GET, HEAD");
}

static void test_nearest(void **state)
{
    (void)state;
    assert_string_equal(qn_route_nearest(qn_str_of("/v1/stream/x/event")),
                        "/v1/streams/{stream}/events");
    assert_string_equal(qn_route_nearest(qn_str_of("/metric")), "/metrics");
    assert_string_equal(qn_route_nearest(qn_str_of("/v1/dql")), "/v1/dlq");
    assert_null(qn_route_nearest(qn_str_of("/v2/something/else")));
}

static void test_documents(void **state)
{
    struct qn_json_reader r;
    struct qn_buf out = {0};

    (void)state;
    qn_serve_openapi(NULL, &out);
    qn_json_open(&r, (struct qn_str){out.data, (uint32_t)out.len}, &arena);
    assert_true(qn_json_skip(&r, qn_json_next(&r)));
    assert_int_equal(qn_json_next(&r), QN_JSON_END);
    qn_buf_clear(&out);
    qn_serve_reference(&out);
    qn_buf_byte(&out, '\0');
    for (uint32_t i = 0; i < qn_route_count; i++)
        assert_non_null(strstr(out.data, qn_routes[i].path));
    qn_buf_fini(&out);
}

static int done(void **state)
{
    (void)state;
    qn_arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row),
        cmocka_unit_test(test_parameters_of_the_path),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_documents),
    };

    return cmocka_run_group_tests(tests, NULL, done);
}
