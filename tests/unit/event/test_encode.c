/* SPDX-License-Identifier: Apache-2.0
 * test_encode.c - values as JSON and CSV, dead letters, and that what is written reads back. */
#include "event_fixture.h"

#include "base/json.h"

#include <math.h>

static const char *text_of(struct qn_buf *out)
{
    qn_buf_byte(out, '\0');
    return out->data;
}

static void test_json_values(void **state)
{
    struct fixture x;

    (void)state;
    fixture_init(&x, "b:bool?, i:int64?, d:double?, m:decimal2?, s:string?, t:timestamp?, l:list?");
    assert_string_equal(fixture_one(&x, "{\"b\":true,\"i\":-9007199254740992,\"d\":1e22,\"m\":-0."
                                        "05,\"s\":\"a\\\"\\u0000\\u007f\","
                                        "\"t\":\"2018-04-01T00:00:31Z\",\"l\":[1,0.1]}"),
                        "[true,-9007199254740992,1e+22,-0.05,\"a\\\"\\u0000\x7f\",\"2018-04-01T00:"
                        "00:31.000000Z\",[1,0.1]]");
    assert_string_equal(fixture_one(&x, "{\"i\":-9007199254740993}"),
                        "[null,\"-9007199254740993\",null,null,null,null,null]");
    x.b.cols[2].valid[0] = 1;
    x.b.cols[2].f64[0] = NAN;
    assert_string_equal(fixture_show(&x, 0),
                        "[null,\"-9007199254740993\",null,null,null,null,null]");
    x.b.cols[2].f64[0] = -INFINITY;
    assert_string_equal(fixture_show(&x, 0),
                        "[null,\"-9007199254740993\",null,null,null,null,null]");
    fixture_fini(&x);
}

static const char *csv_row(struct fixture *x, struct qn_buf *out)
{
    qn_buf_clear(out);
    for (uint32_t c = 0; c < x->b.col_count; c++) {
        if (c > 0)
            qn_buf_byte(out, ';');
        qn_encode_csv_cell(out, &x->b.cols[c], 0);
    }
    return text_of(out);
}

static void test_csv_cells(void **state)
{
    struct qn_buf out = {0};
    struct fixture x;

    (void)state;
    fixture_init(&x, "b:bool?, i:int64?, d:double?, m:decimal2?, s:string?, t:timestamp?, l:list?");
    fixture_one(&x, "{\"b\":false,\"i\":-9007199254740993,\"d\":0.1,\"m\":5,\"s\":\"a,b\",\"t\":"
                    "\"2018-04-01T00:00:31Z\",\"l\":[1,2]}");
    assert_string_equal(
        csv_row(&x, &out),
        "false;-9007199254740993;0.1;5.00;\"a,b\";2018-04-01T00:00:31.000000Z;\"[1,2]\"");
    fixture_one(&x, "{\"s\":\"\",\"l\":[1]}");
    assert_string_equal(csv_row(&x, &out), ";;;;\"\";;[1]");
    fixture_one(&x, "{\"s\":\"a\\\"\\n\"}");
    assert_string_equal(csv_row(&x, &out), ";;;;\"a\"\"\n\";;");
    x.b.cols[2].valid[0] = 1;
    x.b.cols[2].f64[0] = INFINITY;
    x.b.cols[4].str[0] = qn_str_of("plain");
    assert_string_equal(csv_row(&x, &out), ";;inf;;plain;;");
    x.b.cols[2].f64[0] = NAN;
    assert_string_equal(csv_row(&x, &out), ";;;;plain;;");
    qn_buf_fini(&out);
    fixture_fini(&x);
}

static void test_dead_letters(void **state)
{
    struct qn_buf out = {0};
    struct fixture x;

    (void)state;
    fixture_init(&x, "payload.card.id:string, n:int64?");
    fixture_one(&x, "{\"payload\":{}, \"n\":\"\xc3\xa9\"}");
    x.b.partition[0] = 3;
    x.b.offset[0] = 17;
    qn_encode_dead_letter(&out, &x.b, 0, &x.schema, qn_str_of("card-fraud"));
    assert_string_equal(
        text_of(&out),
        "{\"reason\":\"missing_field\",\"text\":\"a required field is absent or null\",\"stage\":"
        "\"TRANSFORMATION\",\"field\":\"payload.card.id\",\"expected\":\"string\",\"stream\":\"s\","
        "\"position\":\"s:3:17\","
        "\"pipeline\":"
        "\"card-fraud\",\"contract\":\"0000000000000abc\",\"event\":\"{\\\"payload\\\":{}, "
        "\\\"n\\\":\\\"\xc3\xa9\\\"}\"}\n");
    qn_buf_clear(&out);
    fixture_one(&x, "\xff{");
    qn_encode_dead_letter(&out, &x.b, 0, &x.schema, qn_str_of("p\"q"));
    assert_string_equal(text_of(&out),
                        "{\"reason\":\"bad_json\",\"text\":\"not well-formed "
                        "JSON\",\"stage\":\"VALUE_CONVERTER\",\"stream\":\"s\","
                        "\"position\":\"s:3:17\",\"pipeline\":\"p\\\"q\",\"contract\":"
                        "\"0000000000000abc\",\"event_base64\":\"/3s=\"}\n");
    qn_buf_fini(&out);
    fixture_fini(&x);
}

/* Every text of every length comes back through JSON: the fast copy and the careful one agree. */
static void test_json_text_round_trip(void **state)
{
    static const char *const bits[] = {"a",  "b",    "c",    "d",        "e",
                                       "f",  "g",    "h",    "\"",       "\\",
                                       "\n", "\x1f", "\x7f", "\xc3\xa9", "\xf0\x9f\x98\x80"};
    struct qn_buf out = {0}, text = {0};
    struct fixture x;
    struct qn_rng r;

    (void)state;
    qn_rng_seed(&r, test_seed(20180408));
    fixture_init(&x, "s:string");
    for (int i = 0; i < 20000; i++) {
        uint32_t n = qn_rng_below(&r, 40), plain = qn_rng_below(&r, 3);
        struct qn_json_reader reader;
        struct qn_arena a = {0};
        char *exact;

        qn_buf_clear(&text);
        while (n-- > 0)
            qn_buf_text(&text, bits[qn_rng_below(&r, plain > 0 ? 8 : 15)]);
        exact = malloc(text.len > 0 ? text.len : 1);
        if (text.len > 0)
            memcpy(exact, text.data, text.len);
        x.b.cols[0].valid[0] = 1;
        x.b.cols[0].str[0] = (struct qn_str){exact, (uint32_t)text.len};
        qn_buf_fini(&out);
        qn_encode_json_value(&out, &x.b.cols[0], 0);
        qn_json_open(&reader, (struct qn_str){out.data, (uint32_t)out.len}, &a);
        assert_int_equal(qn_json_next(&reader), QN_JSON_STRING);
        assert_true(qn_str_eq(reader.text, x.b.cols[0].str[0]));
        assert_int_equal(qn_json_next(&reader), QN_JSON_END);
        qn_arena_fini(&a);
        free(exact);
    }
    qn_buf_fini(&out);
    qn_buf_fini(&text);
    fixture_fini(&x);
}

static void test_no_memory(void **state)
{
    struct fixture x;

    (void)state;
    fixture_init(&x, "s:string?, i:int64?, d:double?, m:decimal2?, t:timestamp?, l:list?, b:bool?");
    fixture_one(&x, "{\"s\":\"x\",\"i\":99999999999999999,\"d\":1,\"m\":1,\"t\":\"2018-04-01T00:00:"
                    "31Z\",\"l\":[1],\"b\":true}");
    for (uint32_t c = 0; c < x.b.col_count; c++) {
        struct qn_buf out = {0};

        qn_mem_fail_at(1, true);
        qn_encode_json_value(&out, &x.b.cols[c], 0);
        assert_true(out.failed);
        qn_encode_csv_cell(&out, &x.b.cols[c], 0);
        qn_encode_dead_letter(&out, &x.b, 0, &x.schema, qn_str_of("p"));
        qn_mem_fail_at(0, false);
        assert_true(out.failed);
        qn_buf_fini(&out);
    }
    fixture_fini(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_values),  cmocka_unit_test(test_csv_cells),
        cmocka_unit_test(test_dead_letters), cmocka_unit_test(test_json_text_round_trip),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
