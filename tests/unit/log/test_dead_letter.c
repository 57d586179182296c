/* SPDX-License-Identifier: Apache-2.0
 * test_dead_letter.c - a dead letter says in its headers what it was told, takes nothing from the
 * original, and gives the original back. */
#include "log/dead_letter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct qn_str str_of(const struct qn_buf *b)
{
    return (struct qn_str){b->data, (uint32_t)b->len};
}

static const struct qn_dead_letter letter = {.topic = {"pay", 3},
                                             .partition = 7,
                                             .offset = 12345678901,
                                             .pipeline = {"shop", 4},
                                             .stage = {"TRANSFORMATION", 14},
                                             .module = {"contract", 8},
                                             .reason = {"out_of_range", 12},
                                             .text = {"a value below min or above max", 30},
                                             .field = {"card.amount", 11},
                                             .expected = {"0 or more", 9},
                                             .contract = {"00112233aabbccdd", 16},
                                             .attempts = 3};

static void test_there_and_back(void **state)
{
    struct qn_buf original = {0}, headers = {0}, stripped = {0};
    struct qn_dead_letter got;

    (void)state;
    qn_log_header_add(&original, qn_str_of("traceparent"), qn_str_of("00-1-2-01"));
    qn_dead_letter_headers(&letter, str_of(&original), &headers);
    qn_dead_letter_read(str_of(&headers), &got);
    assert_true(qn_str_eq(got.topic, letter.topic) && got.offset == letter.offset);
    assert_true(qn_str_eq(got.pipeline, letter.pipeline) && qn_str_eq(got.stage, letter.stage));
    assert_true(qn_str_eq(got.module, letter.module) && qn_str_eq(got.reason, letter.reason));
    assert_true(qn_str_eq(got.text, letter.text) && qn_str_eq(got.field, letter.field));
    assert_true(qn_str_eq(got.expected, letter.expected));
    assert_true(qn_str_eq(got.contract, letter.contract));
    assert_int_equal(got.partition, 7);
    assert_int_equal(got.attempts, 3);
    qn_dead_letter_strip(str_of(&headers), &stripped);
    assert_true(qn_str_eq(str_of(&stripped), str_of(&original)));
    qn_buf_fini(&original);
    qn_buf_fini(&headers);
    qn_buf_fini(&stripped);
}

/* A dead letter that dies again keeps what was said first. */
static void test_never_overwritten(void **state)
{
    struct qn_dead_letter second = letter, got;
    struct qn_buf first = {0}, headers = {0};
    struct qn_log_header h;
    struct qn_str rest;
    uint32_t topics = 0;

    (void)state;
    second.topic = qn_str_of("other");
    second.reason = qn_str_of("sink_failed");
    qn_dead_letter_headers(&letter, (struct qn_str){0}, &first);
    qn_dead_letter_headers(&second, str_of(&first), &headers);
    qn_dead_letter_read(str_of(&headers), &got);
    assert_true(qn_str_is(got.topic, "pay"));
    for (rest = str_of(&headers); qn_log_header_next(&rest, &h);)
        topics += qn_str_is(h.name, "__connect.errors.topic");
    assert_int_equal(topics, 1);
    qn_buf_fini(&first);
    qn_buf_fini(&headers);
}

static void test_json(void **state)
{
    struct qn_log_record r = {.offset = 7, .append_us = 0, .value = {"{\"a\":1}", 7}};
    struct qn_buf original = {0}, headers = {0}, json = {0};

    (void)state;
    qn_log_header_add(&original, qn_str_of("ce_id"), qn_str_of("x\"y"));
    qn_dead_letter_headers(&letter, str_of(&original), &headers);
    r.headers = str_of(&headers);
    qn_dead_letter_json(&r, &json);
    qn_buf_byte(&json, '\0');
    assert_string_equal(
        json.data,
        "{\"offset\":7,\"dead_at\":\"1970-01-01T00:00:00.000000Z\",\"reason\":\"out_of_range\","
        "\"text\":\"a value below min or above max\",\"stage\":\"TRANSFORMATION\","
        "\"field\":\"card.amount\",\"expected\":\"0 or more\",\"stream\":\"pay\","
        "\"position\":\"pay:7:12345678901\",\"pipeline\":\"shop\","
        "\"contract\":\"00112233aabbccdd\",\"attempts\":3,\"headers\":{\"ce_id\":\"x\\\"y\"},"
        "\"event\":\"{\\\"a\\\":1}\"}");
    qn_buf_clear(&json);
    r.value = (struct qn_str){"\xFF", 1};
    qn_dead_letter_json(&r, &json);
    qn_buf_byte(&json, '\0');
    assert_non_null(strstr(json.data, "\"event_base64\":\"/w==\"}"));
    qn_buf_fini(&original);
    qn_buf_fini(&headers);
    qn_buf_fini(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_never_overwritten),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
