/* SPDX-License-Identifier: Apache-2.0
 * test_cloudevents.c - CloudEvents: what becomes of attributes and data, and what is refused. */
#include "log/log_local.h"
#include "serve/cloudevents.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REQUIRED "\"id\":\"1\",\"source\":\"/s\",\"specversion\":\"1.0\",\"type\":\"t\""

/* "EVENT name=value ..." of a CloudEvent, or the error. */
static void check(const char *json, const char *expected)
{
    size_t len = strlen(json);
    char *copy = malloc(len);
    struct qn_arena a = {0};
    struct qn_buf headers = {0}, out = {0};
    struct qn_str event, rest;
    struct qn_log_header h;
    struct qn_err err = {0};

    memcpy(copy, json, len);
    if (qn_cloudevent_read((struct qn_str){copy, (uint32_t)len}, &a, &event, &headers, &err) !=
        QN_OK) {
        assert_int_equal(err.code, QN_INVALID);
        qn_buf_text(&out, err.text);
    } else {
        qn_buf_add(&out, event.p, event.len);
        rest = (struct qn_str){headers.data, (uint32_t)headers.len};
        while (qn_log_header_next(&rest, &h))
            qn_buf_printf(&out, " %.*s=%.*s", QN_STR_ARG(h.name), QN_STR_ARG(h.value));
    }
    qn_buf_byte(&out, '\0');
    assert_string_equal(out.data, expected);
    qn_buf_fini(&out);
    qn_buf_fini(&headers);
    qn_arena_fini(&a);
    free(copy);
}

static void test_data(void **state)
{
    (void)state;
    check("{" REQUIRED ",\"data\":{\"a\" : 1}}",
          "{\"a\" : 1} ce_id=1 ce_source=/s ce_specversion=1.0 ce_type=t");
    check("{\"data\" : [1, 2] ," REQUIRED "}",
          "[1, 2] ce_id=1 ce_source=/s ce_specversion=1.0 ce_type=t");
    check("{\"d\\u0061ta\": \"x\"," REQUIRED "}",
          "\"x\" ce_id=1 ce_source=/s ce_specversion=1.0 ce_type=t");
    check("{" REQUIRED "}", "null ce_id=1 ce_source=/s ce_specversion=1.0 ce_type=t");
    check("{" REQUIRED ",\"data_base64\":\"eyJhIjoxfQ==\"}",
          "{\"a\":1} ce_id=1 ce_source=/s ce_specversion=1.0 ce_type=t");
    check("{" REQUIRED ",\"data\":1,\"data_base64\":\"\"}", "the CloudEvent has its data twice");
    check("{" REQUIRED ",\"data_base64\":5}", "the CloudEvent's data_base64 is not a text");
    check("{" REQUIRED ",\"data_base64\":\"eyJ\"}", "the CloudEvent's data_base64 is not base64");
    check("{" REQUIRED ",\"data_base64\":\"e=J=\"}", "the CloudEvent's data_base64 is not base64");
    check("{" REQUIRED ",\"data_base64\":\"eyJhIjoxfR==\"}",
          "the CloudEvent's data_base64 is not base64");
}

static void test_attributes(void **state)
{
    (void)state;
    check("{" REQUIRED ",\"subject\":\"caf\xC3\xA9\",\"datacontenttype\":\"application/json\","
          "\"partitionkey\":\"k\",\"n\":7,\"b\":true,\"none\":null,\"data\":{}}",
          "{} ce_id=1 ce_source=/s ce_specversion=1.0 ce_type=t ce_subject=caf\xC3\xA9 "
          "content-type=application/json ce_partitionkey=k ce_n=7 ce_b=true");
    check("{\"id\":\"1\"}", "the CloudEvent has no 'source'");
    check("{\"id\":\"\"}", "the CloudEvent's 'id' is empty");
    check("{\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"specversion\":\"0.3\"}",
          "the CloudEvent has specversion '0.3'; 1.0 is read");
    check("{" REQUIRED ",\"Bad\":\"x\"}",
          "the CloudEvent has an attribute 'Bad': names are small letters and digits, at most 64");
    check("{" REQUIRED ",\"x\":{}}",
          "the CloudEvent's attribute 'x' is no text, number or truth value");
}

static void test_no_json(void **state)
{
    (void)state;
    check("[]", "a CloudEvent is a JSON object");
    check("{" REQUIRED, "byte 54 of the CloudEvent: the document ends inside an object");
    check("{" REQUIRED "}x", "byte 55 of the CloudEvent: something stands behind the document");
    check("{" REQUIRED ",\"data\":{\"a\":}}", "byte 67 of the CloudEvent: a value was expected");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_no_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
