/* SPDX-License-Identifier: Apache-2.0
 * test_envelope.c - what is opened of CloudEvents and of Debezium's changes, and what is set aside
 * with which words. */
#include "event_fixture.h"

#include "event/envelope.h"
#include "event/record_headers.h"

#define CE        "\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/s\",\"type\":\"t\""
#define CE_FIELDS "ce.id:string, n:int64?"

/* A fixture whose schema has an envelope. */
static void open_fixture(struct fixture *x, enum qn_envelope envelope, const char *fields)
{
    fixture_fields(x, fields);
    x->schema.envelope = envelope;
    fixture_ready(x);
}

/* "name=value name=value" as headers of a record; a '~' in a value is a blank. */
static struct qn_str headers_of(const char *text)
{
    static char bytes[1024];
    char *p = bytes;

    while (*text != '\0') {
        const size_t name = strcspn(text, "="), value = strcspn(text + name + 1, " ");

        p = qn_varint_put(p, name);
        memcpy(p, text, name);
        p = qn_varint_put(p + name, value);
        for (size_t i = 0; i < value; i++)
            *p++ = text[name + 1 + i] == '~' ? ' ' : text[name + 1 + i];
        text += name + 1 + value;
        text += *text == ' ';
    }
    return (struct qn_str){bytes, (uint32_t)(p - bytes)};
}

/* Connect's schema of two rows with a column of each type that is converted. */
static const char columns[] =
    "{\"type\":\"bytes\",\"name\":\"org.apache.kafka.connect.data.Decimal\",\"parameters\":"
    "{\"scale\":\"2\"},\"field\":\"a\"},"
    "{\"field\":\"b\",\"name\":\"org.apache.kafka.connect.data.Decimal\",\"parameters\":"
    "{\"connect.decimal.precision\":\"9\",\"scale\":\"0\"}},"
    "{\"field\":\"z\",\"name\":\"org.apache.kafka.connect.data.Decimal\",\"parameters\":"
    "{\"scale\":\"-2\"}},"
    "{\"field\":\"d\",\"name\":\"io.debezium.time.Date\"},"
    "{\"field\":\"m\",\"name\":\"io.debezium.time.Timestamp\"},"
    "{\"field\":\"u\",\"name\":\"io.debezium.time.MicroTimestamp\"},"
    "{\"field\":\"n\",\"name\":\"io.debezium.time.NanoTimestamp\"},"
    "{\"field\":\"c\",\"name\":\"org.apache.kafka.connect.data.Timestamp\"},"
    "{\"field\":\"v\",\"name\":\"io.debezium.data.VariableScaleDecimal\"},"
    "{\"field\":\"k\",\"type\":\"int64\"}";

/* A record: the text as it is, or behind an '@' the payload that the schema above is around. */
static const char *record_of(const char *text)
{
    static char record[4096];

    if (*text != '@')
        return text;
    snprintf(record, sizeof record,
             "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"fields\":[%s],\"field\":\"before\"},"
             "{\"fields\":[%s],\"field\":\"after\"}]},\"payload\":%s}",
             columns, columns, text + 1);
    return record;
}

/* What a record has become, with the words of a broken envelope behind it. */
static const char *open_one(struct fixture *x, const char *headers, const char *value)
{
    static char shown[1024];
    struct qn_buf why = {0};

    fixture_empty(x);
    fixture_add(x, record_of(value));
    x->b.headers[0] = headers_of(headers);
    fixture_json(x);
    if (x->b.reason[0] == QN_REASON_BAD_ENVELOPE)
        qn_envelope_explain(&x->b, 0, &x->schema, &why);
    snprintf(shown, sizeof shown, "%s%s%.*s", fixture_show(x, 0), why.len > 0 ? ": " : "",
             (int)why.len, why.len > 0 ? why.data : "");
    qn_buf_fini(&why);
    return shown;
}

struct row {
    const char *headers, *value, *becomes;
};

static void check_rows(enum qn_envelope envelope, enum qn_deletes deletes, const char *fields,
                       const struct row *rows, size_t count)
{
    for (size_t f = 0; f < FIXTURE_FORMS; f++) {
        struct fixture x;

        if (!qn_decode_force(fixture_forms[f]))
            continue;
        open_fixture(&x, envelope, fields);
        x.schema.deletes = deletes;
        for (size_t i = 0; i < count; i++)
            assert_string_equal(open_one(&x, rows[i].headers, rows[i].value), rows[i].becomes);
        fixture_fini(&x);
    }
    qn_decode_force(NULL);
}

#define CHECK(envelope, deletes, fields, rows)                                                     \
    check_rows(envelope, deletes, fields, rows, sizeof(rows) / sizeof((rows)[0]))

static void test_structured(void **state)
{
    static const struct row rows[] = {
        {"", "{" CE ",\"data\":{\"n\":5}}", "[\"7\",5]"},
        {"", " { \"data\" : { \"n\" : 5 } , " CE " } ", "[\"7\",5]"},
        {"content-type=application/cloudevents+json;~charset=UTF-8", "{" CE "}", "[\"7\",null]"},
        {"content-type=Application/CloudEvents+JSON", "{" CE ",\"data\":null}", "[\"7\",null]"},
        {"", "{" CE ",\"data_base64\":\"eyJuIjo2fQ==\"}", "[\"7\",6]"},
        {"", "{" CE ",\"data_base64\":\"e\\u0079JuIjo2fQ==\"}", "[\"7\",6]"},
        {"", "{" CE ",\"data_base64\":null}", "[\"7\",null]"},
        {"", "{" CE ",\"d\\u0061ta\":{\"\\u006e\":5}}", "[\"7\",5]"},
        {"", "{" CE ",\"id\":\"a\\\"b\"}", "[\"a\\\"b\",null]"},
        {"", "{" CE ",\"subject\":null,\"x1\":true,\"data\":{}}", "[\"7\",null]"},
        {"", "{" CE ",\"data\":{\"ce\":1,\"n\":2}}", "[\"7\",2]"},
        {"", "{" CE ",\"data\":[1]}", "dead not_an_object"},
        {"", "{" CE ",\"data_base64\":\"eyJuIjo2\"}", "dead bad_json"},
        {"", "{" CE ",\"data_base64\":\"/w==\"}", "dead bad_json"},
        {"", "null", "dead tombstone"},
        {"", "", "dead tombstone"},
        {"", "{", "dead bad_json"},
        {"", "{" CE "} x", "dead bad_json"},
        {"", "{" CE ",\"data\":{\"n\":}}", "dead bad_json"},
        {"", "{\"id\":{},\"data\":{\"n\":}}", "dead bad_json"},
        {"", "{" CE ",\"x\":\"\xff\"}", "dead bad_utf8"},
        {"", "{" CE ",\"x\":\"\\ud800\"}", "dead bad_utf8"},
        {"", "[1]", "dead bad_envelope: a CloudEvent is a JSON object"},
        {"", "{\"n\":5}",
         "dead bad_envelope: neither a header 'ce_specversion' (binary mode) nor a member "
         "'specversion' (structured mode)"},
        {"content-type=application/cloudevents+json", "{\"n\":5}",
         "dead bad_envelope: the CloudEvent has no 'id'"},
        {"", "{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/s\"}",
         "dead bad_envelope: the CloudEvent has no 'type'"},
        {"", "{" CE ",\"id\":\"\"}", "dead bad_envelope: the CloudEvent's 'id' is empty"},
        {"", "{" CE ",\"specversion\":\"0.3\"}",
         "dead bad_envelope: the CloudEvent has specversion '0.3'; 1.0 is read"},
        {"", "{" CE ",\"traceParent\":\"x\"}",
         "dead bad_envelope: the CloudEvent has an attribute 'traceParent': names are small "
         "letters and digits, at most 64"},
        {"", "{" CE ",\"x\":{}}",
         "dead bad_envelope: the CloudEvent's attribute 'x' is no text, number or truth value"},
        {"", "{" CE ",\"data\":1,\"data_base64\":\"\"}",
         "dead bad_envelope: the CloudEvent has its data twice"},
        {"", "{" CE ",\"data_base64\":5}",
         "dead bad_envelope: the CloudEvent's data_base64 is not a text"},
        {"", "{" CE ",\"data_base64\":\"eyJ\"}",
         "dead bad_envelope: the CloudEvent's data_base64 is not base64"},
        {"content-type=application/cloudevents+avro", "{" CE "}",
         "dead bad_envelope: it is application/cloudevents+avro, and application/cloudevents+json "
         "is read"},
        {"content-type=application/cloudevents-batch+json", "[]",
         "dead bad_envelope: it is application/cloudevents-batch+json, and "
         "application/cloudevents+json is read"},
    };

    CHECK(QN_ENVELOPE_CLOUDEVENTS, QN_DELETES_DROP, CE_FIELDS, rows);
}

#define BINARY "ce_specversion=1.0 ce_id=7 ce_source=/s ce_type=t"

static void test_binary(void **state)
{
    static const struct row rows[] = {
        {BINARY, "{\"n\":5}", "[\"7\",5]"},
        {BINARY " content-type=application/json traceparent=00-x", "{\"n\":5}", "[\"7\",5]"},
        {BINARY, "{\"n\":5,\"ce\":{\"id\":\"no\"}}", "[\"7\",5]"},
        {BINARY, "", "[\"7\",null]"},
        {BINARY, "null", "[\"7\",null]"},
        {BINARY, "[]", "dead not_an_object"},
        {BINARY, "{\"n\":5", "dead bad_json"},
        {BINARY " ce_subject=\xff", "{}", "dead bad_utf8"},
        {BINARY " other=\xff", "{}", "[\"7\",null]"},
        {"ce_specversion=1.0 ce_id=7 ce_type=t", "{}",
         "dead bad_envelope: the CloudEvent has no 'source'"},
        {BINARY " ce_Id=8", "{}",
         "dead bad_envelope: the CloudEvent has an attribute 'Id': names are small letters and "
         "digits, at most 64"},
        {"ce_specversion=1.1", "{}",
         "dead bad_envelope: the CloudEvent has specversion '1.1'; 1.0 is read"},
        {"ce_id=7", "{\"n\":5}",
         "dead bad_envelope: neither a header 'ce_specversion' (binary mode) nor a member "
         "'specversion' (structured mode)"},
    };

    CHECK(QN_ENVELOPE_CLOUDEVENTS, QN_DELETES_DROP, CE_FIELDS, rows);
}

/* An attribute is the same text in both modes, and a number where a field wants one. */
static void test_attributes(void **state)
{
    static const struct row rows[] = {
        {"", "{" CE ",\"time\":\"2026-05-01T10:00:00Z\",\"rate\":3,\"on\":true,\"ms\":1500}",
         "[\"7\",\"2026-05-01T10:00:00.000000Z\",3,true,\"1970-01-01T00:00:01.500000Z\",null,"
         "null]"},
        {"", "{" CE ",\"rate\":\"3\",\"on\":\"true\",\"subject\":5,\"datacontenttype\":\"a/b\"}",
         "[\"7\",null,3,true,null,\"5\",\"a/b\"]"},
        {BINARY " ce_rate=3 ce_on=false ce_subject=true content-type=a/b", "{}",
         "[\"7\",null,3,false,null,\"true\",\"a/b\"]"},
        {BINARY " ce_rate=x", "{}", "dead wrong_type ce.rate"},
        {BINARY " ce_rate=3x", "{}", "dead wrong_type ce.rate"},
    };

    CHECK(QN_ENVELOPE_CLOUDEVENTS, QN_DELETES_DROP,
          "ce.id:string, ce.time:timestamp?, ce.rate:int64?, ce.on:bool?, ce.ms:epoch_ms?, "
          "ce.subject:string?, ce.datacontenttype:string?",
          rows);
}

/* `data` is the data as a whole, whatever it holds. */
static void test_data(void **state)
{
    static const struct row rows[] = {
        {"", "{" CE ",\"data\":\"hello\"}", "[\"hello\",null]"},
        {"", "{" CE ",\"data\":{\"n\":1}}", "dead wrong_type data"},
        {BINARY, "\"hello\"", "[\"hello\",null]"},
    };
    static const struct row inside[] = {
        {"", "{" CE ",\"data\":{\"n\":1,\"ce\":2,\"data\":{\"n\":3}}}", "[1,2,3,1]"},
    };

    CHECK(QN_ENVELOPE_CLOUDEVENTS, QN_DELETES_DROP, "data:string, n:int64?", rows);
    CHECK(QN_ENVELOPE_CLOUDEVENTS, QN_DELETES_DROP,
          "data.n:int64, data.ce:int64, data.data.n:int64, n:int64", inside);
}

#define ROW1 "{\"id\":1,\"op\":\"own\"}"
#define ROW2 "{\"id\":2,\"op\":\"own\"}"

static const struct row others[] = {
    {"", "null", "dead tombstone"},
    {"", "", "dead tombstone"},
    {"", "{\"schema\":null,\"payload\":null}", "dead tombstone"},
    {"", "{\"op\":\"t\",\"before\":null,\"after\":null,\"source\":{}}", "dead no_row"},
    {"", "{\"op\":\"m\",\"source\":{},\"message\":{\"prefix\":\"p\"}}", "dead no_row"},
    {"", "{\"ts_ms\":5}", "dead no_row"},
    {"", "{\"schema\":{},\"payload\":{\"ts_ms\":5}}", "dead no_row"},
    {"", "{\"status\":\"BEGIN\",\"id\":\"571\",\"ts_ms\":5}", "dead no_row"},
    {"", "{\"source\":{},\"databaseName\":\"d\",\"ddl\":\"drop\",\"tableChanges\":[]}",
     "dead no_row"},
    {"", "[]", "dead not_an_object"},
    {"", "5", "dead not_an_object"},
    {"", "{\"op\":\"c\",\"after\":{\"id\":1}", "dead bad_json"},
    {"", "{\"op\":\"t\"} {}", "dead bad_json"},
    {"", "{\"op\":\"c\",\"after\":\"{}\"}",
     "dead bad_envelope: op \"c\", and 'after' is no object"},
    {"", "{\"op\":\"u\"}", "dead bad_envelope: op \"u\", and 'after' is not there"},
    {"", "{\"op\":\"x\"}", "dead bad_envelope: op \"x\" is not known: c, u, d, r, t and m are"},
    {"", "{\"op\":5}", "dead bad_envelope: op 5 is not known: c, u, d, r, t and m are"},
    {"", "{\"schema\":{},\"payload\":5}", "dead bad_envelope: 'payload' is no object"},
    {"", "{\"id\":1}", "dead bad_envelope: no 'op', which says what was done to the row"},
    {"", "{\"after\":{\"id\":1},\"status\":\"x\"}",
     "dead bad_envelope: no 'op', which says what was done to the row"},
    {"", "{\"id\":1,\"__op\":\"c\"}",
     "dead bad_envelope: it was flattened (ExtractNewRecordState): leave 'envelope' out"},
};

static void test_changes(void **state)
{
    static const struct row rows[] = {
        {"", "{\"before\":null,\"after\":" ROW1 ",\"op\":\"c\"}", "[1]"},
        {"", "{\"before\":" ROW1 ",\"after\":" ROW2 ",\"op\":\"u\"}", "[2]"},
        {"", "{\"before\":null,\"after\":" ROW1 ",\"op\":\"r\"}", "[1]"},
        {"", "{\"schema\":{},\"payload\":{\"after\":" ROW1 ",\"op\":\"c\"}}", "[1]"},
        {"", "{\"payload\":{\"after\":" ROW1 ",\"op\":\"c\"},\"schema\":null}", "[1]"},
        {"", "{\"\\u006fp\":\"c\",\"aft\\u0065r\":{\"i\\u0064\":3}}", "[3]"},
        {"", "{\"op\":\"c\",\"after\":{\"id\":1,\"id\":2},\"after\":{\"id\":3}}", "[3]"},
    };
    static const struct row drop[] = {
        {"", "{\"before\":" ROW1 ",\"after\":null,\"op\":\"d\"}", "dead deleted"}};
    static const struct row event[] = {
        {"", "{\"before\":" ROW1 ",\"after\":null,\"op\":\"d\"}", "[1]"},
        {"", "{\"before\":null,\"after\":null,\"op\":\"d\"}",
         "dead bad_envelope: op \"d\", and 'before' is not there"}};

    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_DROP, "id:int64", rows);
    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_EVENT, "id:int64", rows);
    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_DROP, "id:int64", others);
    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_EVENT, "id:int64", others);
    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_DROP, "id:int64", drop);
    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_EVENT, "id:int64", event);
}

/* The envelope's own names win, and `row` leads to a column that is called like one of them. */
static void test_names(void **state)
{
    static const struct row rows[] = {
        {"",
         "{\"before\":" ROW1 ",\"after\":" ROW2
         ",\"op\":\"u\",\"source\":{\"lsn\":9},\"ts_ms\":4,\"transaction\":{\"id\":\"x\"}}",
         "[2,\"u\",9,\"1970-01-01T00:00:00.004000Z\",\"x\",1,2,\"own\"]"},
        {"", "{\"before\":null,\"after\":{\"id\":3,\"source\":{\"lsn\":1}},\"op\":\"c\"}",
         "[3,\"c\",null,null,null,null,3,null]"},
        {"", "{\"before\":" ROW1 ",\"op\":\"d\"}", "[1,\"d\",null,null,null,1,null,\"own\"]"},
    };

    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_EVENT,
          "id:int64, op:string, source.lsn:int64?, ts_ms:epoch_ms?, transaction.id:string?, "
          "before.id:int64?, after.id:int64?, row.op:string?",
          rows);
}

static void test_decimals(void **state)
{
    static const struct row rows[] = {
        {"", "@{\"op\":\"c\",\"after\":{\"a\":\"BNI=\",\"b\":\"gA==\",\"z\":\"Bw==\"}}",
         "[12.34,-128.00,700.00,null,null]"},
        {"", "@{\"op\":\"c\",\"after\":{\"a\":\"AA==\",\"b\":\"/w==\",\"z\":\"AA==\"}}",
         "[0.00,-1.00,0.00,null,null]"},
        {"",
         "@{\"op\":\"u\",\"before\":{\"a\":\"AQ==\"},\"after\":{\"a\":\"Ag==\",\"v\":"
         "{\"scale\":3,\"value\":\"BNI=\"}}}",
         "[0.02,null,null,1.234,0.01]"},
        {"", "{\"op\":\"c\",\"after\":{\"v\":{\"scale\":3,\"value\":\"BNI=\"}}}",
         "[null,null,null,1.234,null]"}, /* its scale is in it */
        {"", "{\"op\":\"c\",\"after\":{\"a\":\"12.34\",\"b\":5}}", "[12.34,5.00,null,null,null]"},
        {"", "{\"op\":\"c\",\"after\":{\"a\":\"BNI=\"}}",
         "dead wrong_type a"}, /* of which scale? */
        {"", "@{\"op\":\"c\",\"after\":{\"a\":12.34}}", "[12.34,null,null,null,null]"},
        {"", "@{\"op\":\"c\",\"after\":{\"a\":\"?\"}}", "dead wrong_type a"},
        {"", "@{\"op\":\"c\",\"after\":{\"a\":null}}", "[null,null,null,null,null]"},
        {"", "@{\"op\":\"c\",\"after\":{\"a\":\"ASNFZ4mrze8BI0VniavN7w==\"}}", "dead not_exact a"},
        {"", "{\"op\":\"c\",\"after\":{\"v\":{\"scale\":3,\"value\":\"BNI=\",\"x\":1}}}",
         "dead wrong_type v"},
        {"", "{\"op\":\"c\",\"after\":{\"v\":{\"scale\":401,\"value\":\"BNI=\"}}}",
         "dead wrong_type v"},
    };

    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_DROP,
          "a:decimal2?, b:decimal2?, z:decimal2?, v:double?, before.a:decimal2?", rows);
}

static void test_times(void **state)
{
    static const struct row rows[] = {
        {"",
         "@{\"op\":\"c\",\"after\":{\"d\":1,\"m\":1500,\"u\":-1,\"n\":-1,\"c\":1500,"
         "\"k\":1500}}",
         "[\"1970-01-02T00:00:00.000000Z\",\"1970-01-01T00:00:01.500000Z\","
         "\"1969-12-31T23:59:59.999999Z\",\"1969-12-31T23:59:59.999999Z\","
         "\"1970-01-01T00:00:01.500000Z\",\"1970-01-01T00:00:01.500000Z\"]"},
        {"", "@{\"op\":\"c\",\"after\":{\"u\":9223372036854775807}}", "dead bad_time u"},
        {"", "@{\"op\":\"c\",\"after\":{\"m\":9223372036854775807}}", "dead wrong_type m"},
        {"", "@{\"op\":\"c\",\"after\":{\"m\":\"2026-05-01T10:00:00Z\"}}",
         "[null,\"2026-05-01T10:00:00.000000Z\",null,null,null,null]"},
        {"", "{\"op\":\"c\",\"after\":{\"m\":1500}}", "dead wrong_type m"}, /* of which unit? */
    };
    static const struct row units[] = {
        {"", "@{\"op\":\"c\",\"after\":{\"d\":1,\"m\":1500,\"u\":1500001,\"n\":1500}}",
         "[\"1970-01-02T00:00:00.000000Z\",\"1970-01-01T00:00:01.500000Z\","
         "\"1970-01-01T00:00:01.500001Z\",\"1970-01-01T00:00:00.000001Z\",null]"},
        {"", "@{\"op\":\"c\",\"after\":{\"c\":1500}}", "[null,null,null,null,1500]"},
        {"", "{\"op\":\"c\",\"after\":{\"m\":1500,\"u\":1500}}",
         "[null,\"1970-01-01T00:00:00.001500Z\",\"1970-01-01T00:00:01.500000Z\",null,null]"},
    };

    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_DROP,
          "d:timestamp?, m:timestamp?, u:timestamp?, n:timestamp?, c:timestamp?, k:epoch_ms?",
          rows);
    /* where the schema stands, it knows better than the field */
    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_DROP,
          "d:epoch_s?, m:epoch_us?, u:epoch_ms?, n:epoch_ns?, c:int64?", units);
}

static void test_unavailable(void **state)
{
    static const struct row rows[] = {
        {"", "{\"op\":\"u\",\"after\":{\"a\":\"__debezium_unavailable_value\",\"b\":\"x\"}}",
         "[null,\"x\"]"},
        {"", "{\"op\":\"u\",\"after\":{\"b\":\"__debezium_unavailable_value\"}}",
         "dead missing_field b"},
        {"",
         "{\"op\":\"u\",\"after\":{\"a\":\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\",\"b\":\"\"}}",
         "[null,\"\"]"},
    };

    CHECK(QN_ENVELOPE_DEBEZIUM, QN_DELETES_DROP, "a:string?, b:string", rows);
}

/* Another schema after one that was met, and the same again: each record goes by its own. */
static void test_schemas_change(void **state)
{
    static const char *const scales[] = {"1", "2", "2", "1", "x", "2"};
    static const char *const want[] = {"[0.50]", "[0.05]", "[0.05]", "[0.50]", "dead wrong_type a",
                                       "[0.05]"};
    struct fixture x;

    open_fixture(&x, QN_ENVELOPE_DEBEZIUM, "a:decimal2");
    for (int i = 0; i < 6; i++) {
        char text[512];

        snprintf(text, sizeof text,
                 "{\"schema\":{\"fields\":[{\"fields\":[{\"name\":\"org.apache.kafka.connect.data."
                 "Decimal\",\"parameters\":{\"scale\":\"%s\"},\"field\":\"a\"}],\"field\":"
                 "\"after\"}]},\"payload\":{\"op\":\"c\",\"after\":{\"a\":\"BQ==\"}}}",
                 scales[i]);
        assert_string_equal(open_one(&x, "", text), want[i]);
    }
    fixture_fini(&x);
}

/* Every allocation that opening makes may fail, and a row then is undecided, never wrong. */
static void test_no_memory(void **state)
{
    static const char *const texts[] = {
        "{" CE ",\"data_base64\":\"e\\u0079JuIjo2fQ==\"}",
        "@{\"op\":\"c\",\"after\":{\"ce\":{\"id\":\"7\"},\"n\":6}}"};

    for (int k = 0; k < 2; k++) {
        uint64_t failing = 1;

        for (;; failing++) {
            struct fixture x;
            bool is_undecided;

            open_fixture(&x, k == 0 ? QN_ENVELOPE_CLOUDEVENTS : QN_ENVELOPE_DEBEZIUM, CE_FIELDS);
            fixture_add(&x, record_of(texts[k]));
            qn_mem_fail_at(failing, false);
            fixture_json(&x);
            qn_mem_fail_at(0, false);
            is_undecided = qn_batch_no_memory(&x.b);
            if (!is_undecided)
                assert_string_equal(fixture_show(&x, 0), "[\"7\",6]");
            fixture_fini(&x);
            if (!is_undecided)
                break;
        }
        assert_true(failing > 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structured),  cmocka_unit_test(test_binary),
        cmocka_unit_test(test_attributes),  cmocka_unit_test(test_data),
        cmocka_unit_test(test_changes),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_decimals),    cmocka_unit_test(test_times),
        cmocka_unit_test(test_unavailable), cmocka_unit_test(test_schemas_change),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
