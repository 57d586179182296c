/* SPDX-License-Identifier: Apache-2.0
 * test_avro.c - schemas that can be and cannot, values at their edges, records that lie. What the
 * official client writes is held against in tests/e2e/test_kafka_formats.py. */
#include "event_fixture.h"

#include "event/avro.h"

#define BYTES(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static void check(const char *schema, struct qn_str record, const char *expected)
{
    struct qn_str text = qn_str_of(schema);
    struct qn_wire_fault fault = {0};
    const struct qn_avro *avro;
    struct qn_buf out = {0};
    struct qn_err err = {0};
    struct qn_arena a;

    qn_arena_init(&a, 0);
    if (qn_avro_read(&text, 1, &a, &avro, &err) != QN_OK)
        qn_buf_printf(&out, "no schema: %s", err.text);
    else if (!qn_avro_json(avro, record, &out, &fault)) {
        qn_buf_clear(&out);
        qn_buf_printf(&out, "%s: %s", qn_reason_name(fault.reason), fault.why);
    }
    qn_buf_byte(&out, '\0');
    assert_string_equal(out.data, expected);
    qn_buf_fini(&out);
    qn_arena_fini(&a);
}

static void test_values(void **state)
{
    static const struct {
        const char *schema;
        struct qn_str record;
        const char *expected;
    } cases[] = {
        {"\"null\"", BYTES(""), "null"},
        {"\"boolean\"", BYTES("\1"), "true"},
        {"\"boolean\"", BYTES("\2"), "bad_record: byte 0: a boolean that is neither 0 nor 1"},
        {"\"int\"", BYTES("\xff\xff\xff\xff\x0f"), "-2147483648"},
        {"\"int\"", BYTES("\x80\x80\x80\x80\x10"),
         "bad_record: byte 5: an int of more than 32 bits"},
        {"\"long\"", BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "-9223372036854775808"},
        {"\"long\"", BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
         "bad_record: byte 10: a number of more than 64 bits"},
        {"\"long\"", BYTES("\x80"), "bad_record: byte 1: a number that is cut off"},
        {"\"long\"", BYTES("\x02\x00"), "bad_record: byte 1: there is something behind the record"},
        {"\"float\"", BYTES("\xcd\xcc\xcc\x3d"), "0.10000000149011612"},
        {"\"double\"", BYTES("\0\0\0\0\0\0\xf8\x7f"), "\"NaN\""},
        {"\"double\"", BYTES("\0\0\0\0\0\0\xf0\xff"), "\"-Infinity\""},
        {"\"string\"", BYTES("\x04\xc3\xa9"), "\"\xc3\xa9\""},
        {"\"string\"", BYTES("\x02\xff"), "bad_utf8: byte 2: a text that is not UTF-8"},
        {"\"string\"", BYTES("\x01"), "bad_record: byte 1: a length below zero"},
        {"\"bytes\"", BYTES("\x04\xff\xfe"), "\"//4=\""},
        {"{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}", BYTES("ab"), "\"YWI=\""},
        {"{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", BYTES("\2"), "\"B\""},
        {"{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", BYTES("\4"),
         "bad_record: byte 1: a symbol that the enum has not"},
        {"[\"null\",\"long\"]", BYTES("\2\4"), "2"},
        {"[\"null\",\"long\"]", BYTES("\4"), "bad_record: byte 1: a branch that the union has not"},
        {"{\"type\":\"array\",\"items\":\"int\"}", BYTES("\2\2\3\4\4\6\0"), "[1,2,3]"},
        {"{\"type\":\"map\",\"values\":\"null\"}", BYTES("\2\2k\0"), "{\"k\":null}"},
        {"{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}", BYTES("\1"),
         "\"1969-12-31T23:59:59.999000Z\""},
        {"{\"type\":\"long\",\"logicalType\":\"timestamp-nanos\"}", BYTES("\1"),
         "\"1969-12-31T23:59:59.999999Z\""},
        {"{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"}",
         BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "\"9223372036854775807\""},
        {"{\"type\":\"string\",\"logicalType\":\"timestamp-micros\"}", BYTES("\2a"), "\"a\""},
        {"{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4,\"scale\":2}",
         BYTES("\2\x05"), "0.05"},
        {"{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4,\"scale\":2}",
         BYTES("\4\xff\x85"), "-1.23"},
        {"{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4}", BYTES("\0"), "0"},
        {"{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4,\"scale\":5}",
         BYTES("\2\x05"), "\"BQ==\""},
        {"{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":40,\"scale\":0}",
         BYTES("\x22\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
         "-43556142965880123323311949751266331066368"},
        {"{\"fields\":[{\"type\":\"R\",\"name\":\"r\"}],\"name\":\"R\",\"type\":\"record\"}",
         BYTES(""), "too_deep: byte 0: nested too deeply"},
        {"{\"type\":\"array\",\"items\":\"null\"}", BYTES("\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"),
         "too_large: byte 9: too large as JSON"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(cases[i].schema, cases[i].record, cases[i].expected);
}

static void test_schemas(void **state)
{
    static const struct {
        const char *schema, *expected;
    } cases[] = {
        {"", "no schema: the Avro schema is no JSON: byte 0: the document "
             "ends where a value was expected"},
        {"\"x.Y\"", "no schema: the Avro schema knows no type 'x.Y'"},
        {"5", "no schema: the Avro schema has a type without 'type'"},
        {"{\"type\":\"record\",\"name\":\"R\"}",
         "no schema: the Avro schema has a record without 'fields'"},
        {"{\"type\":\"enum\",\"name\":\"E\"}",
         "no schema: the Avro schema has an enum without 'symbols'"},
        {"{\"type\":\"fixed\",\"name\":\"E\",\"size\":-1}",
         "no schema: the Avro schema has a fixed without a 'size'"},
        {"{\"type\":\"record\",\"fields\":[]}",
         "no schema: the Avro schema has a named type without a name"},
        {"[{\"type\":\"record\",\"name\":\"R\",\"fields\":[]},{\"type\":\"record\",\"name\":\"R\","
         "\"fields\":[]}]",
         "no schema: the Avro schema defines 'R' twice"},
        {"{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{"
         "\"name\":\"a\",\"type\":\"int\"}]}",
         "no schema: the Avro schema has a record with two fields 'a'"},
        /* names: of the namespace around, of another, of none */
        {"{\"type\":\"record\",\"name\":\"a.R\",\"fields\":[{\"name\":\"x\",\"type\":{\"type\":"
         "\"fixed\",\"name\":\"F\",\"size\":1}},{\"name\":\"y\",\"type\":\"a.F\"},{\"name\":\"z\","
         "\"type\":\"F\"}]}",
         "bad_record: byte 0: a text or bytes that are cut off"},
        {"{\"type\":{\"type\":\"null\"}}", "null"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check(cases[i].schema, (struct qn_str){"", 0}, cases[i].expected);
}

static void test_references(void **state)
{
    const struct qn_str texts[] = {
        qn_str_of("{\"type\":\"record\",\"name\":\"a.B\",\"fields\":[{\"name\":\"x\",\"type\":"
                  "\"int\"}]}"),
        qn_str_of("{\"type\":\"record\",\"name\":\"a.C\",\"fields\":[{\"name\":\"b\",\"type\":"
                  "\"B\"}]}")};
    struct qn_wire_fault fault;
    const struct qn_avro *avro;
    struct qn_buf out = {0};
    struct qn_arena a;

    (void)state;
    qn_arena_init(&a, 0);
    assert_int_equal(qn_avro_read(texts, 2, &a, &avro, NULL), QN_OK);
    assert_true(qn_avro_json(avro, (struct qn_str){"\2", 1}, &out, &fault));
    assert_memory_equal(out.data, "{\"b\":{\"x\":1}}", out.len);
    qn_buf_fini(&out);
    qn_arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_schemas),
        cmocka_unit_test(test_references),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
