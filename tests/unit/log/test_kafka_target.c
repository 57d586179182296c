/* SPDX-License-Identifier: Apache-2.0
 * test_kafka_target.c - settings of a Kafka cluster: what is taken, what is refused and in which
 * words, and that no value of a setting is ever quoted. */
#include "log/kafka_target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static qn_status check(const char *brokers, const char *setting, struct qn_err *err)
{
    const char *items[1] = {setting};
    const struct qn_kafka_target t = {.brokers = brokers,
                                      .settings = {items, setting != NULL ? 1 : 0}};

    *err = (struct qn_err){0};
    return qn_kafka_check(&t, err);
}

static void test_settings(void **state)
{
    static const struct {
        const char *setting;
        qn_status rc;
        const char *words;
    } cases[] = {
        {NULL, QN_OK, ""},
        {"client.id=me", QN_OK, ""},
        {"linger.ms=5", QN_OK, ""},
        {"security.protocol=SASL_SSL", QN_OK, ""},
        {"sasl.password=s3cret", QN_OK, ""},
        {"linger.ms=s3cret", QN_INVALID, "'linger.ms' does not take that value"},
        {"securty.protocol=s3cret", QN_INVALID, "did you mean 'security.protocol'?"},
        {"nothing.like.this=s3cret", QN_INVALID, "has no setting 'nothing.like.this'"},
        {"s3cret", QN_INVALID, "write name=value"},
        {"=s3cret", QN_INVALID, "write name=value"},
        {"enable.idempotence=s3cret", QN_INVALID, "made by Quern itself"},
        {"isolation.level=read_uncommitted", QN_INVALID, "made by Quern itself"},
        {"plugin.library.paths=s3cret", QN_INVALID, "made by Quern itself"},
    };
    struct qn_err err;

    (void)state;
    if (qn_kafka_version() == NULL) {
        assert_int_equal(check("b:9092", NULL, &err), QN_UNSUPPORTED);
        assert_non_null(strstr(err.text, "librdkafka-dev"));
        fprintf(stderr, "skipped: built without librdkafka\n");
        skip();
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(check("b:9092", cases[i].setting, &err), cases[i].rc);
        assert_non_null(strstr(err.text, cases[i].words));
        assert_null(strstr(err.text, "s3cret"));
    }
}

static void test_brokers(void **state)
{
    struct qn_err err;

    (void)state;
    if (qn_kafka_version() == NULL)
        skip();
    assert_int_equal(check("a:9092,b:9093", NULL, &err), QN_OK);
    assert_int_equal(check("[::1]:9092", NULL, &err), QN_OK);
    assert_int_equal(check("", NULL, &err), QN_INVALID);
    assert_int_equal(check("a:9092, b:9092", NULL, &err), QN_INVALID);
    assert_int_equal(check("kafka://a:9092", NULL, &err), QN_INVALID);
    assert_non_null(strstr(err.text, "HOST:PORT"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_brokers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
