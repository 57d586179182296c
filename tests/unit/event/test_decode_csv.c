/* SPDX-License-Identifier: Apache-2.0
 * test_decode_csv.c - headers, RFC 4180 quoting, every type and reason, against a naive splitter
 * and the JSON decoder. */
#include "event_fixture.h"

struct csv {
    struct fixture x;
    struct qn_csv_header header;
    const struct qn_csv_header *headers[1];
};

static void csv_init(struct csv *c, const char *fields, const char *header)
{
    fixture_init(&c->x, fields);
    assert_int_equal(
        qn_csv_header_read(&c->header, qn_str_of(header), &c->x.schema, &c->x.boot, &c->x.err),
        QN_OK);
    c->headers[0] = &c->header;
}

static const char *one(struct csv *c, const char *text)
{
    fixture_empty(&c->x);
    fixture_add_bytes(&c->x, text, strlen(text), ",\"");
    qn_decode_csv(&c->x.b, &c->x.schema, c->headers, 0, 0, 1, 0);
    return fixture_show(&c->x, 0);
}

static void test_records(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"a,1,0", "[\"a\",1,null]"},
        {"\"a\",\"1\",0", "[\"a\",1,null]"},
        {"\"a,b\",1,0", "[\"a,b\",1,null]"},
        {"\"a\"\"b\",1,0", "[\"a\\\"b\",1,null]"},
        {"\"\"\"\",1,0", "[\"\\\"\",1,null]"},
        {"\"\"\"\"\"\",1,0", "[\"\\\"\\\"\",1,null]"},
        {"\"a\nb\r\nc\",1,0", "[\"a\\nb\\r\\nc\",1,null]"},
        {"\"\",1,0", "[\"\",1,null]"},
        {",1,0", "[null,1,null]"},
        {",,", "[null,null,null]"},
        {" a ,1,0", "[\" a \",1,null]"},
        {"a, 1,0", "dead wrong_type n"},
        {"a,1", "dead bad_csv"},
        {"a,1,0,", "dead bad_csv"},
        {"a", "dead bad_csv"},
        {"", "dead bad_csv"},
        {"a\"b,1,0", "dead bad_csv"},
        {"\"a\"b,1,0", "dead bad_csv"},
        {"\"a,1,0", "dead bad_csv"},
        {"\"a\",\"1,0", "dead bad_csv"},
        {"\"", "dead bad_csv"},
        {"a,1,\"", "dead bad_csv"},
        {"a,1,\"x\"\"", "dead bad_csv"},
        {"a,\"\",0", "dead wrong_type n"},
        {"\xff,1,0", "dead bad_utf8 s"},
        {"a,1,\xff", "[\"a\",1,null]"},
        {"\xc3\xa9,1,0", "[\"\xc3\xa9\",1,null]"},
        {"a long cell with \"quotes, inside\",1,0", "dead bad_csv"},
        {"\"a long cell with a , and \"\"quotes\"\" that is longer\",7,0",
         "[\"a long cell with a , and \\\"quotes\\\" that is longer\",7,null]"},
    };
    struct csv c;

    (void)state;
    csv_init(&c, "s:string?, n:int64?, gone:string?", "s,n,other");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *shown = one(&c, cases[i].text);

        if (strcmp(shown, cases[i].expected) != 0) {
            print_error("%s gives %s, expected %s\n", cases[i].text, shown, cases[i].expected);
            fail();
        }
    }
    fixture_fini(&c.x);
}

static void test_types(void **state)
{
    static const struct {
        int field;
        const char *text, *expected;
    } cases[] = {
        {0, "true", "true"},
        {0, "TRUE", "true"},
        {0, "False", "false"},
        {0, "1", "true"},
        {0, "0", "false"},
        {0, "yes", "wrong_type"},
        {0, "2", "wrong_type"},
        {0, "\"\"", "wrong_type"},
        {1, "5", "5"},
        {1, "5.0", "5"},
        {1, "1e3", "1000"},
        {1, "+5", "5"},
        {1, "-12345678901234567", "\"-12345678901234567\""},
        {1, "9223372036854775807", "\"9223372036854775807\""},
        {1, "9223372036854775808", "not_exact"},
        {1, "5.5", "not_exact"},
        {1, "0x10", "wrong_type"},
        {1, "five", "wrong_type"},
        {1, "5 ", "wrong_type"},
        {2, "0.1", "0.1"},
        {2, ".5", "0.5"},
        {2, "1.", "1"},
        {2, "+1e-3", "0.001"},
        {2, "nan", "wrong_type"},
        {2, "inf", "wrong_type"},
        {2, "-Infinity", "wrong_type"},
        {2, "1e999", "not_exact"},
        {2, "\"1,5\"", "wrong_type"},
        {3, "57.16", "57.16"},
        {3, "57.1", "57.10"},
        {3, "57.161", "not_exact"},
        {3, "abc", "wrong_type"},
        {4, "2018-04-01T00:00:31Z", "\"2018-04-01T00:00:31.000000Z\""},
        {4, "2018-04-01 00:00:31", "\"2018-04-01T00:00:31.000000Z\""},
        {4, "\"2018-04-01T00:00:31.25Z\"", "\"2018-04-01T00:00:31.250000Z\""},
        {4, "2018-04-31T00:00:31Z", "bad_time"},
        {4, "5", "bad_time"},
        {4, "\"\"", "bad_time"},
        {5, "1522540831001", "\"2018-04-01T00:00:31.001000Z\""},
        {5, "2018-04-01T00:00:31Z", "wrong_type"},
        {5, "1e30", "bad_time"},
        {6, "[]", "[]"},
        {6, "\"[1,2.5]\"", "[1,2.5]"},
        {6, "\" [1, 2] \"", "[1,2]"},
        {6, "[1", "wrong_type"},
        {6, "\"[1,\"\"a\"\"]\"", "wrong_type"},
        {6, "[1e999]", "not_exact"},
        {6, "1", "wrong_type"},
    };
    struct csv c;
    char text[200], expected[200];

    (void)state;
    csv_init(&c,
             "f0:bool?, f1:int64?, f2:double?, f3:decimal2?, f4:timestamp?, f5:epoch_ms?, f6:list?",
             "f6,f5,f4,f3,f2,f1,f0");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int n = 0;

        for (int k = 6; k >= 0; k--)
            n += snprintf(text + n, sizeof text - (size_t)n, "%s%s",
                          k == cases[i].field ? cases[i].text : "", k > 0 ? "," : "");
        n = 0;
        if (strchr(cases[i].expected, '_') != NULL) {
            snprintf(expected, sizeof expected, "dead %s f%d", cases[i].expected, cases[i].field);
        } else {
            for (int k = 0; k < 7; k++)
                n += snprintf(expected + n, sizeof expected - (size_t)n, "%s%s", k == 0 ? "[" : ",",
                              k == cases[i].field ? cases[i].expected : "null");
            strcat(expected, "]");
        }
        if (strcmp(one(&c, text), expected) != 0) {
            print_error("%s gives %s, expected %s\n", text, one(&c, text), expected);
            fail();
        }
    }
    fixture_fini(&c.x);
}

static void test_headers(void **state)
{
    struct csv c;
    struct fixture *x = &c.x;

    (void)state;
    csv_init(&c, "payload.id:string, n:int64?", "\xEF\xBB\xBF\"x,\"\"y\",n,payload.id");
    assert_int_equal(c.header.column_count, 3);
    assert_int_equal(c.header.field[2], 0);
    assert_int_equal(c.header.column[1], 1);
    assert_string_equal(one(&c, "z,5,a"), "[\"a\",5]");
    assert_string_equal(one(&c, "z,5,"), "dead missing_field payload.id");
    assert_int_equal(
        qn_csv_header_read(&c.header, qn_str_of("n,paylod.id"), &x->schema, &x->boot, &x->err),
        QN_INVALID);
    assert_non_null(strstr(x->err.text, "did you mean 'paylod.id'?"));
    assert_int_equal(qn_csv_header_read(&c.header, qn_str_of("n"), &x->schema, &x->boot, &x->err),
                     QN_INVALID);
    assert_null(strstr(x->err.text, "did you mean"));
    assert_int_equal(
        qn_csv_header_read(&c.header, qn_str_of("payload.id,n,n"), &x->schema, &x->boot, &x->err),
        QN_INVALID);
    assert_non_null(strstr(x->err.text, "twice"));
    assert_int_equal(
        qn_csv_header_read(&c.header, qn_str_of("payload.id,a\"b"), &x->schema, &x->boot, &x->err),
        QN_INVALID);
    assert_int_equal(
        qn_csv_header_read(&c.header, qn_str_of("payload.id"), &x->schema, &x->boot, &x->err),
        QN_OK);
    assert_int_equal(c.header.column[1], UINT32_MAX);
    assert_string_equal(one(&c, "a"), "[\"a\",null]");
    fixture_fini(x);
    csv_init(&c, "a:string?, a:int64?", "a"); /* two fields of one column */
    assert_string_equal(one(&c, "5"), "[\"5\",5]");
    assert_string_equal(one(&c, "x"), "dead wrong_type a");
    fixture_fini(&c.x);
}

static void test_time_alone(void **state)
{
    static const char *const records[] = {
        "a,2018-04-01T00:00:31Z,x", "a,\"2018-04-01T00:00:31Z\",x", "a,,x", "a,x,x", "a",
        "a,2018-04-01T00:00:31Z",   "a,2018-04-01T00:00:31Z,\"x"};
    struct csv c;
    int64_t us;

    (void)state;
    csv_init(&c, "s:string?, t:timestamp?", "s,t,other");
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        bool is_there;

        one(&c, records[i]);
        is_there = c.x.b.verdict[0] == QN_SCORED && c.x.b.cols[1].valid[0];
        assert_int_equal(qn_decode_csv_time(&c.x.schema, &c.header, c.x.b.raw[0], &us), is_there);
        if (is_there)
            assert_int_equal(us, c.x.b.cols[1].i64[0]);
    }
    fixture_fini(&c.x);
}

/* Random texts written by the encoder come back as they were. */
static void test_round_trip(void **state)
{
    struct csv c;
    struct qn_rng r;
    struct qn_buf line = {0};

    (void)state;
    qn_rng_seed(&r, test_seed(20180408));
    csv_init(&c, "a:string?, b:string?", "a,b");
    for (int i = 0; i < 20000; i++) {
        char text[2][40];
        uint32_t len[2];

        qn_buf_clear(&line);
        for (int k = 0; k < 2; k++) {
            len[k] = qn_rng_below(&r, 40);
            for (uint32_t j = 0; j < len[k]; j++)
                text[k][j] = "abc\",\n\r '"[qn_rng_below(&r, 9)];
            if (k > 0)
                qn_buf_byte(&line, ',');
            qn_encode_csv_text(&line, (struct qn_str){text[k], len[k]});
        }
        fixture_empty(&c.x);
        fixture_add_bytes(&c.x, line.data, line.len, "\"\n");
        qn_decode_csv(&c.x.b, &c.x.schema, c.headers, 0, 0, 1, 0);
        assert_int_equal(c.x.b.verdict[0], QN_SCORED);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(c.x.b.cols[k].str[0].len, len[k]);
            assert_memory_equal(c.x.b.cols[k].str[0].p, text[k], len[k]);
        }
    }
    qn_buf_fini(&line);
    fixture_fini(&c.x);
}

static void test_no_memory(void **state)
{
    struct qn_buf text = {0};
    struct csv c;
    int failed = 0;

    (void)state;
    csv_init(&c, "s:string, n:int64", "s,n");
    for (uint64_t nth = 1;; nth++) {
        struct qn_arena boot = {0};
        qn_status rc;

        qn_arena_init(&boot, 32);
        qn_mem_fail_at(nth, true);
        rc = qn_csv_header_read(&c.header, qn_str_of("\"s\",n,\"a\"\"b\""), &c.x.schema, &boot,
                                &c.x.err);
        qn_mem_fail_at(0, false);
        qn_arena_fini(&boot);
        if (rc == QN_OK)
            break;
        assert_int_equal(rc, QN_NOMEM);
        failed++;
    }
    assert_true(failed > 0);
    fixture_fini(&c.x);
    csv_init(&c, "s:string, n:int64", "s,n");
    qn_buf_byte(&text, '"');
    for (int i = 0; i < 50000; i++)
        qn_buf_text(&text, "\"\"x");
    qn_buf_add(&text, "\",1", 4);
    qn_mem_fail_at(1, true);
    one(&c, text.data);
    qn_mem_fail_at(0, false);
    assert_true(qn_batch_no_memory(&c.x.b));
    one(&c, text.data);
    assert_false(qn_batch_no_memory(&c.x.b));
    assert_int_equal(c.x.b.cols[0].str[0].len, 100000);
    qn_buf_fini(&text);
    fixture_fini(&c.x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),    cmocka_unit_test(test_types),
        cmocka_unit_test(test_headers),    cmocka_unit_test(test_time_alone),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
