/* SPDX-License-Identifier: Apache-2.0
 * test_webhook_body.c - what is posted for a record, members and templates, and signatures against
 * the vector that Standard Webhooks publishes. */
#include "sink/webhook_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const char record[] = "{\"id\":\"shop:orders:0:7\",\"event_id\":\"O<7>&\",\"event_time\":"
                             "\"2026-05-01T10:00:00.000000Z\","
                             "\"score\":0.93,\"ok\":true,\"none\":null,\"features\":{\"amount\":12."
                             "50,\"deep\":{\"x\":[1,{\"a\":2}]}}}";

static struct qn_arena arena;

static int tear_down(void **state)
{
    qn_arena_fini(&arena);
    return 0;
}

/* The body for a record; "" and *error where there can be none. */
static char *body_of(int format, const char *text, struct qn_log_record r, const char **error)
{
    static char out[8192];
    struct qn_webhook_options opt = {
        .format = format, .text = text, .routing_key = "KEY\"1", .severity = 1};
    struct qn_sink_boot boot = {
        .pipeline = qn_str_of("shop"), .output = qn_str_of("alerts"), .holds = "alert"};
    struct qn_webhook_body w = {.opt = &opt, .boot = &boot};
    struct qn_buf body = {0}, id = {0};
    struct qn_err err = {0};
    const char *why = NULL;

    if (qn_template_read(qn_str_of(text), &arena, &w.text, &err) != QN_OK)
        fail_msg("%s", err.text);
    out[0] = '\0';
    if (qn_webhook_body(&w, &r, &arena, &body, &id, &why))
        snprintf(out, sizeof out, "%.*s id=%.*s", (int)body.len, body.data, (int)id.len, id.data);
    if (error != NULL)
        *error = why;
    qn_buf_fini(&body);
    qn_buf_fini(&id);
    return out;
}

static struct qn_log_record record_of(const char *value)
{
    return (struct qn_log_record){
        .key = {"C1", 2}, .value = qn_str_of(value), .time_us = QN_LOG_NO_TIME, .offset = 5};
}

static void test_bodies(void **state)
{
    struct qn_log_record r = record_of(record);
    char want[2048];

    assert_string_equal(
        body_of(QN_WEBHOOK_CLOUDEVENTS, "", record_of("{\"id\":\"a:b:0:7\",\"n\":1}"), NULL),
        "{\"specversion\":\"1.0\",\"id\":\"a:b:0:7\",\"source\":\"/quern/shop\",\"type\":\"quern."
        "alert\",\"subject\":\"C1\",\"datacontenttype\":\"application/"
        "json\",\"data\":{\"id\":\"a:b:"
        "0:7\",\"n\":1}} id=a:b:0:7");
    snprintf(want, sizeof want, "%s id=shop:orders:0:7", record);
    assert_string_equal(body_of(QN_WEBHOOK_RAW, "", r, NULL), want);
    assert_string_equal(body_of(QN_WEBHOOK_SLACK,
                                "<!here> {event_id} {{{score}}} {none}{absent}{features.amount} "
                                "{features.deep.x} {ok}",
                                r, NULL),
                        "{\"text\":\"<!here> O&lt;7&gt;&amp; {0.93} 12.50 [1,{\\\"a\\\":2}] true\"}"
                        " id=shop:orders:0:7");
    snprintf(
        want, sizeof want,
        "{\"routing_key\":\"KEY\\\"1\",\"event_action\":\"trigger\",\"dedup_key\":\"shop/alerts/"
        "C1\",\"client\":\"quern\",\"payload\":{\"summary\":\"s 0.93\",\"source\":\"/quern/shop\","
        "\"severity\":\"error\",\"timestamp\":\"2026-05-01T10:00:00.000000Z\","
        "\"custom_details\":%s}} id=shop:orders:0:7",
        record);
    assert_string_equal(body_of(QN_WEBHOOK_PAGERDUTY, "s {score}", r, NULL), want);
}

static void test_without_an_id(void **state)
{
    struct qn_log_record r = record_of("{\"n\":1}");

    assert_string_equal(body_of(QN_WEBHOOK_RAW, "", r, NULL), "{\"n\":1} id=shop:alerts:0:5");
    r.value = qn_str_of("{\"id\":12}");
    assert_string_equal(body_of(QN_WEBHOOK_RAW, "", r, NULL), "{\"id\":12} id=12");
    r.value = qn_str_of("{\"id\":\"\"}");
    assert_string_equal(body_of(QN_WEBHOOK_RAW, "", r, NULL), "{\"id\":\"\"} id=shop:alerts:0:5");
    r.time_us = 0;
    assert_non_null(strstr(body_of(QN_WEBHOOK_CLOUDEVENTS, "", r, NULL),
                           "\"time\":\"1970-01-01T00:00:00.000000Z\""));
}

static void test_no_json(void **state)
{
    static const char *const bad[] = {"",
                                      "[1]",
                                      "7",
                                      "{\"a\":1",
                                      "{\"a\":1} x",
                                      "{\"a\":\"\xff\"}",
                                      "{\"f\":{\"a\":}}",
                                      "\xEF\xBB\xBF{}"};
    const char *error;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (int format = QN_WEBHOOK_CLOUDEVENTS; format <= QN_WEBHOOK_PAGERDUTY; format++) {
            error = NULL;
            assert_string_equal(body_of(format, "{f.a}", record_of(bad[i]), &error), "");
            assert_non_null(error);
        }
}

static void test_limits_of_pagerduty(void **state)
{
    char key[400], text[1200];
    struct qn_log_record r = record_of("{}");
    char *body, *at;

    memset(key, 'k', sizeof key);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    r.key = (struct qn_str){key, sizeof key};
    body = body_of(QN_WEBHOOK_PAGERDUTY, text, r, NULL);
    at = strstr(body, "\"dedup_key\":\"");
    assert_non_null(at);
    assert_int_equal(strcspn(at + 13, "\""), 255);
    at = strstr(body, "\"summary\":\"");
    assert_int_equal(strcspn(at + 11, "\""), 1024);
}

static void test_members(void **state)
{
    static const struct qn_str names[] = {{"features.deep.x", 15},
                                          {"features.amount", 15},
                                          {"features", 8},
                                          {"features.no", 11},
                                          {"score.x", 7},
                                          {"a", 1},
                                          {"a.b", 3}};
    struct qn_member m[7];
    const char *error;

    assert_true(qn_record_members(qn_str_of(record), names, 7, &arena, m, &error));
    assert_true(qn_str_is(m[0].text, "[1,{\"a\":2}]"));
    assert_true(qn_str_is(m[1].text, "12.50"));
    assert_true(qn_str_is(m[2].text, "{\"amount\":12.50,\"deep\":{\"x\":[1,{\"a\":2}]}}"));
    assert_int_equal(m[3].kind, QN_JSON_END);
    assert_int_equal(m[4].kind, QN_JSON_END);
    assert_true(
        qn_record_members(qn_str_of("{\"a\":{\"b\":1},\"b\":2,\"x\":[{\"a\":9}],\"a.b\":3}"),
                          names + 6, 1, &arena, m, &error));
    assert_true(qn_str_is(m[0].text, "1"));
    assert_true(qn_record_members(qn_str_of("{\"a\":{\"b\":1}, \"a\" : { \"c\" : 1 } }"), names + 5,
                                  1, &arena, m, &error));
    assert_true(qn_str_is(m[0].text, "{ \"c\" : 1 }"));
}

static void test_templates(void **state)
{
    static const char *const bad[] = {"a {b", "}", "{}", "x } y", "{{ {"};
    struct qn_template *t;
    struct qn_err err;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(qn_template_read(qn_str_of(bad[i]), &arena, &t, &err), QN_INVALID);
    assert_int_equal(qn_template_read(qn_str_of("}} {{ {a}"), &arena, &t, &err), QN_OK);
}

/* The example of the specification and of its libraries. */
static void test_signature(void **state)
{
    struct qn_webhook_keys keys;
    struct qn_buf out = {0};
    struct qn_err err = {0};

    assert_int_equal(qn_webhook_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &keys, &err), QN_OK);
    assert_int_equal(qn_webhook_sign(&keys, qn_str_of("msg_p5jXN8AQM9LWM0D4loKWxJek"), 1614265330,
                                     qn_str_of("{\"test\": 2432232314}"), &out, &err),
                     QN_OK);
    assert_true(qn_str_is((struct qn_str){out.data, (uint32_t)out.len},
                          "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    qn_buf_clear(&out);
    assert_int_equal(qn_webhook_keys(" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw  "
                                     "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                                     &keys, &err),
                     QN_OK);
    assert_int_equal(qn_webhook_sign(&keys, qn_str_of("i"), 1, qn_str_of(""), &out, &err), QN_OK);
    assert_int_equal(out.len, 2 * 47 + 1);
    qn_buf_fini(&out);
}

static void test_keys(void **state)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "abc",
                                      "whsec_",
                                      "whsec_abc",
                                      "whsec_!!!!",
                                      "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                                      "whsec_AAAA",
                                      "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw x"};
    struct qn_webhook_keys keys;
    char many[400];
    struct qn_err err;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(qn_webhook_keys(bad[i], &keys, &err), QN_INVALID);
    snprintf(many, sizeof many, "whsec_%0256d", 0);
    assert_int_equal(qn_webhook_keys(many, &keys, &err), QN_INVALID);
    assert_null(strstr(err.text, "0000"));
    snprintf(many, sizeof many, "%s", "");
    for (int i = 0; i < 5; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "%s ",
                 "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    assert_int_equal(qn_webhook_keys(many, &keys, &err), QN_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),    cmocka_unit_test(test_without_an_id),
        cmocka_unit_test(test_no_json),   cmocka_unit_test(test_limits_of_pagerduty),
        cmocka_unit_test(test_members),   cmocka_unit_test(test_templates),
        cmocka_unit_test(test_signature), cmocka_unit_test(test_keys),
    };

    return cmocka_run_group_tests(tests, NULL, tear_down);
}
