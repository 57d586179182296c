/* SPDX-License-Identifier: Apache-2.0
 * test_decode_json.c - JSON events: legal and illegal texts, every type and reason, duplicates,
 * nesting, ends of buffers, equal answers of all vector forms, agreement with a naive decoder on
 * base/json.h, and running out of memory. */
#include "event_fixture.h"

#include "base/file.h"
#include "base/json.h"

#include <dirent.h>
#include <math.h>

/* --- grammar --- */

static const char *const legal[] = {
    "{}",
    "[]",
    "0",
    "-0",
    "-0.0",
    "1e5",
    "1E+5",
    "1e-5",
    "0.5",
    "123456789012345678901234567890",
    "true",
    "false",
    "null",
    "\"\"",
    "\"a\"",
    " [ ] ",
    "\t{\r\n}\n",
    "[1,2,3]",
    "[[],[[]],{}]",
    "{\"a\":{\"b\":[{}]}}",
    "{\"\":0}",
    "{\"a\":1,\"a\":2}",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0000\"",
    "\"\\uD834\\uDD1E\"",
    "\"\\ud800\"",
    "\"\\udfff\\ud800\"",
    "\"\x7f\"",
    "\"\xc3\xa9\"",
    "\"\xe2\x82\xac\"",
    "\"\xf4\x8f\xbf\xbf\"",
    "[1 , 2 ]",
    "{\"a\" : 1 , \"b\" : [ ] }",
    "\"0123456789012345678901234567890123456789012345678901234567890123456789\"",
};
static const char *const illegal[] = {
    "",
    " ",
    "{",
    "}",
    "[",
    "]",
    "{]",
    "[}",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1,,2]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{\"a\" 1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1}}",
    "{} {}",
    "[] x",
    "01",
    "-",
    "+1",
    ".5",
    "1.",
    "1e",
    "1e+",
    "1.e5",
    "-01",
    "0x1",
    "NaN",
    "Infinity",
    "-Infinity",
    "tru",
    "truE",
    "True",
    "nul",
    "nulll",
    "fals",
    "\"",
    "\"a",
    "\"\\\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\\",
    "\"\\u\"",
    "\"\n\"",
    "\"\t\"",
    "\"\x01\"",
    "'a'",
    "\"\xff\"",
    "\"\xc0\xaf\"",
    "\"\xed\xa0\x80\"",
    "\"\xe2\x82\"",
    "\"\xf5\x80\x80\x80\"",
    "\xef\xbb\xbf{}",
    "\xef\xbb\xbf",
    "[1\x0b]",
    "\xc2\xa0",
    "/* */ 1",
    "[1]//",
    "{\"a\":1,,\"b\":2}",
    "[\"a\" \"b\"]",
    "1 2",
};

static void each_form(void (*test)(struct fixture *x), const char *fields)
{
    struct fixture x;
    unsigned forms = 0;

    for (size_t k = 0; k < FIXTURE_FORMS; k++) {
        if (!qn_decode_force(fixture_forms[k]))
            continue;
        assert_string_equal(qn_decode_name(), fixture_forms[k]);
        forms++;
        fixture_init(&x, fields);
        test(&x);
        fixture_fini(&x);
    }
    qn_decode_force(NULL);
    assert_true(forms >= 1);
}

/* The text as the value of an unknown member, and as the whole event. */
static void expect_validity(struct fixture *x, const char *p, size_t n, bool is_valid)
{
    char *text = malloc(n + 64);
    char *exact = malloc(n > 0 ? n : 1);
    const char *shown;

    if (n > 0)
        memcpy(exact, p, n);
    assert_int_equal(qn_json_valid((struct qn_str){exact, (uint32_t)n}), is_valid);
    free(exact);
    memcpy(text, "{\"x\":", 5);
    if (n > 0)
        memcpy(text + 5, p, n);
    memcpy(text + 5 + n, "}", 1);
    fixture_empty(x);
    fixture_add_bytes(x, text, n + 6, "}");
    fixture_add_bytes(x, p, n, "]}\"");
    fixture_json(x);
    shown = fixture_show(x, 0);
    if ((strcmp(shown, "[null]") == 0) != is_valid) {
        print_error("%s: '%.*s' gives %s\n", qn_decode_name(), (int)n, p, shown);
        fail();
    }
    shown = fixture_show(x, 1);
    if ((strcmp(shown, "[null]") == 0 || strcmp(shown, "dead not_an_object") == 0) != is_valid) {
        print_error("%s: event '%.*s' gives %s\n", qn_decode_name(), (int)n, p, shown);
        fail();
    }
    free(text);
}

static void grammar(struct fixture *x)
{
    for (size_t i = 0; i < sizeof legal / sizeof legal[0]; i++)
        expect_validity(x, legal[i], strlen(legal[i]), true);
    for (size_t i = 0; i < sizeof illegal / sizeof illegal[0]; i++)
        expect_validity(x, illegal[i], strlen(illegal[i]), false);
    expect_validity(x, "\"a\0b\"", 5, false);
    expect_validity(x, "1\0", 2, false);
    expect_validity(x, "\0", 1, false);
}

static void test_grammar(void **state)
{
    (void)state;
    each_form(grammar, "zz:int64?");
}

/* --- the public suite, where the shared data is there --- */

static const char *shared_folder(char *out, size_t size)
{
    const char *shared = getenv("QUERN_SHARED"), *root = getenv("QUERN_ROOT");

    if (shared != NULL)
        snprintf(out, size, "%s/data/json", shared);
    else
        snprintf(out, size, "%s/../shared/data/json", root != NULL ? root : ".");
    return out;
}

static void suite(struct fixture *x)
{
    char folder[4096], path[8192];
    DIR *d = opendir(shared_folder(folder, sizeof folder));
    const struct dirent *e;
    struct qn_buf text = {0};
    unsigned files = 0;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if ((e->d_name[0] != 'y' && e->d_name[0] != 'n') || e->d_name[1] != '_')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        assert_int_equal(qn_file_read_all(&qn_files_system, path, 1 << 20, &text, &x->err), QN_OK);
        qn_buf_room(&text, 1);
        expect_validity(x, text.data, text.len, e->d_name[0] == 'y');
        files++;
    }
    if (d != NULL)
        closedir(d);
    qn_buf_fini(&text);
    printf("%u files\n", files);
    assert_true(files > 100);
}

static void test_suite(void **state)
{
    char folder[4096];
    DIR *d = opendir(shared_folder(folder, sizeof folder));

    (void)state;
    if (d == NULL) {
        printf("SKIPPED: no JSON files in %s (set QUERN_SHARED)\n", folder);
        skip();
    }
    closedir(d);
    each_form(suite, "zz:int64?");
}

/* --- values and reasons --- */

struct value_case {
    const char *text, *expected;
};

static void run_cases(struct fixture *x, const struct value_case *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *shown = fixture_one(x, c[i].text);

        if (strcmp(shown, c[i].expected) != 0) {
            print_error("%s: %s\n  gives    %s\n  expected %s\n", qn_decode_name(), c[i].text,
                        shown, c[i].expected);
            fail();
        }
    }
}

#define CASES(x, list) run_cases((x), (list), sizeof(list) / sizeof((list)[0]))

static void numbers(struct fixture *x)
{
    static const struct value_case cases[] = {
        {"{\"i\":5,\"d\":5,\"m\":5}", "[5,5,5.00]"},
        {"{\"i\":5.0,\"d\":1e3,\"m\":1e3}", "[5,1000,1000.00]"},
        {"{\"i\":1e3}", "[1000,null,null]"},
        {"{\"i\":-0}", "[0,null,null]"},
        {"{\"d\":-0}", "[null,-0,null]"},
        {"{\"d\":-0.0}", "[null,-0,null]"},
        {"{\"d\":0.1}", "[null,0.1,null]"},
        {"{\"d\":57.16,\"m\":57.16}", "[null,57.16,57.16]"},
        {"{\"d\":12345678.1234567}", "[null,12345678.1234567,null]"},
        {"{\"d\":123456789012345.123}", "[null,123456789012345.12,null]"},
        {"{\"d\":184467440737095.51621}",
         "[null,184467440737095.53,null]"}, /* digits beyond 2^64 */
        {"{\"d\":0.30000000000000004}", "[null,0.30000000000000004,null]"},
        {"{\"d\":1.7976931348623157e308}", "[null,1.7976931348623157e+308,null]"},
        {"{\"d\":4.9e-324}", "[null,5e-324,null]"},
        {"{\"d\":1e-999}", "[null,0,null]"},
        {"{\"d\":1e999}", "dead not_exact d"},
        {"{\"d\":-1e999}", "dead not_exact d"},
        {"{\"i\":9223372036854775807}", "[\"9223372036854775807\",null,null]"},
        {"{\"i\":-9223372036854775808}", "[\"-9223372036854775808\",null,null]"},
        {"{\"i\":9223372036854775808}", "dead not_exact i"},
        {"{\"i\":9007199254740992}", "[9007199254740992,null,null]"},
        {"{\"i\":9007199254740993}", "[\"9007199254740993\",null,null]"},
        {"{\"i\":12345678}", "[12345678,null,null]"},
        {"{\"i\":123456789}", "[123456789,null,null]"},
        {"{\"i\":123456789012345}", "[123456789012345,null,null]"},
        {"{\"i\":1234567890123456}", "[1234567890123456,null,null]"},
        {"{\"i\":5.5}", "dead not_exact i"},
        {"{\"i\":1e-1}", "dead not_exact i"},
        {"{\"i\":\"5\"}", "dead wrong_type i"},
        {"{\"i\":true}", "dead wrong_type i"},
        {"{\"i\":[]}", "dead wrong_type i"},
        {"{\"i\":{}}", "dead wrong_type i"},
        {"{\"d\":\"5\"}", "dead wrong_type d"},
        {"{\"m\":57.1}", "[null,null,57.10]"},
        {"{\"m\":57.160}", "[null,null,57.16]"},
        {"{\"m\":-0.05}", "[null,null,-0.05]"},
        {"{\"m\":57.161}", "dead not_exact m"},
        {"{\"m\":\"57.16\"}", "[null,null,57.16]"},
        {"{\"m\":\"-1e2\"}", "[null,null,-100.00]"},
        {"{\"m\":\"57.161\"}", "dead not_exact m"},
        {"{\"m\":\"57,16\"}", "dead wrong_type m"},
        {"{\"m\":\" 57.16\"}", "dead wrong_type m"},
        {"{\"m\":\"57.16 \"}", "dead wrong_type m"},
        {"{\"m\":\"\"}", "dead wrong_type m"},
        {"{\"m\":\"\\u0035\"}", "[null,null,5.00]"},
        {"{\"m\":92233720368547758.07}", "[null,null,92233720368547758.07]"},
        {"{\"m\":92233720368547758.08}", "dead not_exact m"},
        {"{\"m\":999999999999999999}", "dead not_exact m"},
        {"{\"i\":01}", "dead bad_json"},
        {"{\"i\":-}", "dead bad_json"},
        {"{\"i\":1.}", "dead bad_json"},
        {"{\"i\":1.5.5}", "dead bad_json"},
        {"{\"i\":1a}", "dead bad_json"},
        {"{\"d\":00.5}", "dead bad_json"},
        {"{\"d\":1e}", "dead bad_json"},
        {"{\"d\":.5}", "dead bad_json"},
        {"{\"i\":5", "dead bad_json"},
        {"{\"i\": 5 , \"d\" :\t6\n}", "[5,6,null]"},
    };

    CASES(x, cases);
}

static void texts(struct fixture *x)
{
    static const struct value_case cases[] = {
        {"{\"s\":\"a\",\"b\":true}", "[\"a\",true]"},
        {"{\"s\":\"\",\"b\":false}", "[\"\",false]"},
        {"{\"s\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "[\"\\\"\\\\/\\b\\f\\n\\r\\t\",null]"},
        {"{\"s\":\"a\\u00e9\\u20AC\\uD834\\uDD1Eb\"}", "[\"a\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e"
                                                       "b\",null]"},
        {"{\"s\":\"\xc3\xa9 and more text than a vector has bytes, to be sure of it all\"}",
         "[\"\xc3\xa9 and more text than a vector has bytes, to be sure of it all\",null]"},
        {"{\"s\":\"\xc3\xa9\\n\"}", "[\"\xc3\xa9\\n\",null]"},
        {"{\"s\":\"\\n\xc3\xa9\"}", "[\"\\n\xc3\xa9\",null]"},
        {"{\"s\":\"\\na\xc3\"}", "dead bad_utf8 s"},
        {"{\"s\":\"\\na\xff\"}", "dead bad_utf8 s"},
        {"{\"s\":\"\xff\"}", "dead bad_utf8 s"},
        {"{\"s\":\"\\ud800\"}", "dead bad_utf8 s"},
        {"{\"s\":\"\\udc00\\ud800\"}", "dead bad_utf8 s"},
        {"{\"s\":\"\\ud800\\u0041\"}", "dead bad_utf8 s"},
        {"{\"s\":\"\\ud800\\n\"}", "dead bad_utf8 s"},
        {"{\"x\":\"\\ud800\",\"s\":\"a\"}", "[\"a\",null]"},
        {"{\"\\ud800\":1,\"s\":\"a\"}", "[\"a\",null]"},
        {"{\"x\":\"\xff\",\"s\":\"a\"}", "dead bad_utf8"},
        {"{\"\xff\":1,\"s\":\"a\"}", "dead bad_utf8"},
        {"{\"s\":5}", "dead wrong_type s"},
        {"{\"s\":true}", "dead wrong_type s"},
        {"{\"s\":{\"a\":1}}", "dead wrong_type s"},
        {"{\"s\":[1]}", "dead wrong_type s"},
        {"{\"s\":null,\"b\":null}", "[null,null]"},
        {"{\"b\":1}", "dead wrong_type b"},
        {"{\"b\":\"true\"}", "dead wrong_type b"},
        {"{\"b\":truE}", "dead bad_json"},
        {"{\"b\":falsy}", "dead bad_json"},
        {"{\"b\":truefalse}", "dead bad_json"},
        {"{\"s\":\"a\nb\"}", "dead bad_json"},
        {"{\"s\":\"a", "dead bad_json"},
        {"{\"s\":nul}", "dead bad_json"},
        {"{\"\\u0073\":\"a\",\"\\u0062\":true}", "[\"a\",true]"},
        {"{\"s\\u0000\":\"a\"}", "[null,null]"},
        {"", "dead bad_json"},
        {"   ", "dead bad_json"},
        {"[]", "dead not_an_object"},
        {"5", "dead not_an_object"},
        {"\"a\"", "dead not_an_object"},
        {"null", "dead not_an_object"},
        {"[", "dead bad_json"},
        {" { } ", "[null,null]"},
        {"{} x", "dead bad_json"},
        {"{\"s\":1,\"b\":", "dead bad_json"},
        {"{\"s\":\"a\",}", "dead bad_json"},
        {"{\"s\":\"a\"", "dead bad_json"},
        {"{\"s\"", "dead bad_json"},
        {"{\"s", "dead bad_json"},
        {"{,\"s\":\"a\"}", "dead bad_json"},
    };

    CASES(x, cases);
}

static void times(struct fixture *x)
{
    static const struct value_case cases[] = {
        {"{\"t\":\"2018-04-01T00:00:31Z\"}",
         "[\"2018-04-01T00:00:31.000000Z\",null,null,null,null]"},
        {"{\"t\":\"2018-04-01T23:59:59.1Z\"}",
         "[\"2018-04-01T23:59:59.100000Z\",null,null,null,null]"},
        {"{\"t\":\"2018-04-01T23:59:59.123456Z\"}",
         "[\"2018-04-01T23:59:59.123456Z\",null,null,null,null]"},
        {"{\"t\":\"2018-04-01T23:59:59.1234567Z\"}",
         "[\"2018-04-01T23:59:59.123456Z\",null,null,null,null]"},
        {"{\"t\":\"1969-12-31T23:59:59.999999999Z\"}",
         "[\"1969-12-31T23:59:59.999999Z\",null,null,null,null]"},
        {"{\"t\":\"2018-04-01 02:00:31+02:00\"}",
         "[\"2018-04-01T00:00:31.000000Z\",null,null,null,null]"},
        {"{\"t\":\"2018-04-01T00:00:31\\u005A\"}",
         "[\"2018-04-01T00:00:31.000000Z\",null,null,null,null]"},
        {"{\"t\":\"2018-04-01T23:59:60Z\"}",
         "[\"2018-04-02T00:00:00.000000Z\",null,null,null,null]"},
        {"{\"t\":\"2018-02-29T00:00:31Z\"}", "dead bad_time t"},
        {"{\"t\":\"2018-04-01T24:00:00Z\"}", "dead bad_time t"},
        {"{\"t\":\"2018-04-01T00:00:3\"}", "dead bad_time t"},
        {"{\"t\":\"2018-04-01T00:00:31ZZ\"}", "dead bad_time t"},
        {"{\"t\":\"\"}", "dead bad_time t"},
        {"{\"t\":\"yesterday\"}", "dead bad_time t"},
        {"{\"t\":5}", "dead wrong_type t"},
        {"{\"t\":true}", "dead wrong_type t"},
        {"{\"t\":\"2018-04-01T00:00:31Z}", "dead bad_json"},
        {"{\"s\":1522540831}", "[null,\"2018-04-01T00:00:31.000000Z\",null,null,null]"},
        {"{\"s\":1522540831.25}", "[null,\"2018-04-01T00:00:31.250000Z\",null,null,null]"},
        {"{\"s\":1522540831.1234567}", "[null,\"2018-04-01T00:00:31.123456Z\",null,null,null]"},
        {"{\"s\":-0.0000001}", "[null,\"1969-12-31T23:59:59.999999Z\",null,null,null]"},
        {"{\"s\":1.522540831e9}", "[null,\"2018-04-01T00:00:31.000000Z\",null,null,null]"},
        {"{\"s\":\"1522540831\"}", "dead wrong_type s"},
        {"{\"s\":1522540831000}", "dead bad_time s"},
        {"{\"s\":1e300}", "dead bad_time s"},
        {"{\"ms\":1522540831001}", "[null,null,\"2018-04-01T00:00:31.001000Z\",null,null]"},
        {"{\"us\":1522540831000001}", "[null,null,null,\"2018-04-01T00:00:31.000001Z\",null]"},
        {"{\"ns\":1522540831000001999}", "[null,null,null,null,\"2018-04-01T00:00:31.000001Z\"]"},
        {"{\"ns\":-1}", "[null,null,null,null,\"1969-12-31T23:59:59.999999Z\"]"},
    };

    CASES(x, cases);
}

static void lists(struct fixture *x)
{
    static const struct value_case cases[] = {
        {"{\"l\":[]}", "[[]]"},
        {"{\"l\":[1]}", "[[1]]"},
        {"{\"l\":[ 1 , -2.5,3e2 ]}", "[[1,-2.5,300]]"},
        {"{\"l\":[0.1,0.30000000000000004]}", "[[0.1,0.30000000000000004]]"},
        {"{\"l\":[1,null]}", "dead wrong_type l"},
        {"{\"l\":[1,\"a\"]}", "dead wrong_type l"},
        {"{\"l\":[[1]]}", "dead wrong_type l"},
        {"{\"l\":5}", "dead wrong_type l"},
        {"{\"l\":\"[1]\"}", "dead wrong_type l"},
        {"{\"l\":{}}", "dead wrong_type l"},
        {"{\"l\":[1e999]}", "dead not_exact l"},
        {"{\"l\":[1,]}", "dead bad_json"},
        {"{\"l\":[1 2]}", "dead bad_json"},
        {"{\"l\":[01]}", "dead bad_json"},
        {"{\"l\":[1", "dead bad_json"},
        {"{\"l\":[\"a]}", "dead bad_json"},
    };
    struct qn_buf text = {0}, expected = {0};

    CASES(x, cases);
    for (unsigned n = 120; n < 1200;
         n = n * 2 + 1) { /* across the sizes the values are gathered in */
        qn_buf_clear(&text);
        qn_buf_clear(&expected);
        qn_buf_text(&text, "{\"l\":[");
        qn_buf_text(&expected, "[[");
        for (unsigned i = 0; i < n; i++) {
            qn_buf_printf(&text, i == 0 ? "%u" : ", %u", i);
            qn_buf_printf(&expected, i == 0 ? "%u" : ",%u", i);
        }
        qn_buf_add(&text, "]}", 3);
        qn_buf_add(&expected, "]]", 3);
        assert_string_equal(fixture_one(x, text.data), expected.data);
    }
    qn_buf_fini(&text);
    qn_buf_fini(&expected);
}

static void nested(struct fixture *x)
{
    static const struct value_case cases[] = {
        {"{\"p\":{\"c\":{\"id\":\"a\",\"n\":1}},\"top\":2}", "[\"a\",1,2]"},
        {"{\"top\":2,\"p\":{\"x\":[{\"c\":1}],\"c\":{\"n\":1,\"id\":\"a\"}}}", "[\"a\",1,2]"},
        {"{\"p\":{\"c\":{\"id\":\"a\",\"n\":1}},\"top\":2,\"p\":{\"c\":{\"id\":\"b\"}}}",
         "[\"b\",null,2]"},
        {"{\"p\":{\"c\":{\"id\":\"a\"},\"c\":{\"n\":7}},\"top\":2}", "dead missing_field p.c.id"},
        {"{\"p\":{\"c\":{\"id\":\"a\"}},\"p\":null,\"top\":2}", "dead missing_field p.c.id"},
        {"{\"p\":{\"c\":{\"id\":\"a\"}},\"p\":5,\"top\":2}", "dead missing_field p.c.id"},
        {"{\"p\":{\"c\":5},\"p\":{\"c\":{\"id\":\"z\"}},\"top\":2}", "[\"z\",null,2]"},
        {"{\"p\":{\"c\":{\"id\":\"a\",\"id\":\"b\",\"id\":null,\"id\":\"c\"}},\"top\":2}",
         "[\"c\",null,2]"},
        {"{\"p\":{\"c\":{\"id\":\"a\",\"id\":null}},\"top\":2}", "dead missing_field p.c.id"},
        {"{\"p\":{\"c\":{\"id\":7,\"id\":\"a\"}},\"top\":2}", "[\"a\",null,2]"},
        {"{\"p\":{\"c\":{\"id\":\"a\",\"id\":7}},\"top\":2}", "dead wrong_type p.c.id"},
        {"{\"p\":{\"c\":{\"id\":7}},\"p\":{\"c\":{\"id\":\"a\"}},\"top\":2}", "[\"a\",null,2]"},
        {"{\"top\":\"x\",\"p\":{\"c\":{\"id\":7}}}", "dead wrong_type p.c.id"},
        {"{\"top\":\"x\",\"p\":{\"c\":{}}}", "dead missing_field p.c.id"},
        {"{\"top\":\"x\",\"p\":{\"c\":{\"id\":\"a\"}}}", "dead wrong_type top"},
        {"{\"p\":{\"c\":{\"id\":\"a\"}}}", "dead missing_field top"},
        {"{\"c\":{\"id\":\"a\"},\"id\":\"b\",\"p.c.id\":\"c\",\"top\":2}",
         "dead missing_field p.c.id"},
        {"{\"\\u0070\":{\"\\u0063\":{\"i\\u0064\":\"a\"}},\"top\":2}", "[\"a\",null,2]"},
        {"{\"p\":{\"c\":{\"id\":\"a\"},\"top\":2}", "dead bad_json"},
        {"{\"p\":{\"c\":{\"id\":\"a\"}},\"top\":2}}", "dead bad_json"},
        {"{\"p\":{\"c\":[{\"id\":\"a\"}]},\"top\":2}", "dead missing_field p.c.id"},
    };

    CASES(x, cases);
}

static void shared_paths(struct fixture *x)
{
    static const struct value_case cases[] = {
        {"{\"a\":\"2018-04-01T00:00:31Z\"}",
         "[\"2018-04-01T00:00:31Z\",\"2018-04-01T00:00:31.000000Z\",null]"},
        {"{\"a\":{\"b\":1}}", "dead wrong_type a"},
        {"{\"a\":{\"b\":1},\"a\":null}", "[null,null,null]"},
        {"{\"a\":\"x\"}", "dead bad_time a"},
    };

    CASES(x, cases);
}

static void test_values(void **state)
{
    (void)state;
    each_form(numbers, "i:int64?, d:double?, m:decimal2?");
    each_form(texts, "s:string?, b:bool?");
    each_form(times, "t:timestamp?, s:epoch_s?, ms:epoch_ms?, us:epoch_us?, ns:epoch_ns?");
    each_form(lists, "l:list?");
    each_form(nested, "p.c.id:string, p.c.n:int64?, top:int64");
    each_form(shared_paths, "a:string?, a:timestamp?, a.b:int64?");
}

static void deep(struct fixture *x)
{
    char text[400];

    for (int depth = 60; depth < 70; depth++) { /* the event itself is one of them */
        int n = 0;

        n += sprintf(text + n, "{\"x\":");
        memset(text + n, '[', (size_t)depth - 1);
        n += depth - 1;
        memset(text + n, ']', (size_t)depth - 1);
        n += depth - 1;
        strcpy(text + n, "}");
        assert_string_equal(fixture_one(x, text),
                            depth <= QN_JSON_EVENT_DEPTH_MAX ? "[null,null]" : "dead too_deep");
    }
    assert_string_equal(
        fixture_one(x,
                    "{\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
        "dead too_deep");
}

static void test_depth(void **state)
{
    (void)state;
    each_form(deep, "a:int64?, l:list?");
}

static void test_defaults_and_order(void **state)
{
    struct fixture x;
    static const double list[] = {1, 2};

    (void)state;
    fixture_fields(&x, "a:int64, b:string, c:double, l:list, m:decimal2?, q:bool");
    for (int i = 0; i < 4; i++)
        x.fields[i].has_default = true;
    x.fields[0].fallback.i64 = 7;
    x.fields[1].fallback.str = qn_str_of("none");
    x.fields[2].fallback.f64 = 0.5;
    x.fields[3].fallback.list.v = list;
    x.fields[3].fallback.list.n = 2;
    fixture_ready(&x);
    assert_string_equal(fixture_one(&x, "{\"q\":true}"), "[7,\"none\",0.5,[1,2],null,true]");
    assert_string_equal(fixture_one(&x, "{\"q\":true,\"a\":null,\"b\":\"x\"}"),
                        "[7,\"x\",0.5,[1,2],null,true]");
    assert_string_equal(fixture_one(&x, "{\"a\":1}"), "dead missing_field q");
    assert_string_equal(fixture_one(&x, "{\"m\":\"x\"}"), "dead wrong_type m");
    assert_string_equal(fixture_one(&x, "{\"q\":1,\"m\":\"x\",\"b\":2}"), "dead wrong_type b");
    fixture_fini(&x);
}

/* A schema with more fields than one word of the sets has bits; every third is absent. */
static void test_many_fields(void **state)
{
    struct fixture x;
    struct qn_buf fields = {0}, text = {0};

    (void)state;
    for (int i = 0; i < 150; i++)
        qn_buf_printf(&fields, "%sfield_%d:int64%s", i == 0 ? "" : ", ", i, i % 3 == 0 ? "?" : "");
    qn_buf_byte(&fields, '\0');
    fixture_init(&x, fields.data);
    qn_buf_text(&text, "{\"unknown\":[]");
    for (int i = 149; i >= 0; i--)
        if (i % 3 != 0)
            qn_buf_printf(&text, ",\"field_%d\":%d", i, i * i);
    qn_buf_add(&text, "}", 2);
    fixture_one(&x, text.data);
    assert_int_equal(x.b.verdict[0], QN_SCORED);
    for (int i = 0; i < 150; i++) {
        assert_int_equal(x.b.cols[i].valid[0], i % 3 != 0);
        if (i % 3 != 0)
            assert_int_equal(x.b.cols[i].i64[0], i * i);
    }
    assert_string_equal(fixture_one(&x, "{\"field_1\":1}"), "dead missing_field field_2");
    qn_buf_fini(&fields);
    qn_buf_fini(&text);
    fixture_fini(&x);
}

/* Names at and around the length that is compared at once, and names that an event cannot write as
 * they are. */
static void test_names(void **state)
{
    static struct qn_str odd[4];
    struct fixture x;
    char fields[200], text[300], name[64];

    (void)state;
    for (size_t n = 1; n < 50; n++) {
        memset(name, 'n', n);
        name[n] = '\0';
        snprintf(fields, sizeof fields, "%s:int64, a:int64", name);
        fixture_init(&x, fields);
        snprintf(text, sizeof text, "{\"%s\":%zu,\"a\":1}", name, n);
        assert_int_equal(strncmp(fixture_one(&x, text), "[", 1), 0);
        assert_int_equal(x.b.cols[0].i64[0], n);
        snprintf(text, sizeof text, "{\"%sx\":3,\"a\":1}", name);
        assert_int_equal(strncmp(fixture_one(&x, text), "dead missing", 12), 0);
        snprintf(text, sizeof text, "{\"%.*s\":3,\"a\":1}", (int)n - 1, name);
        assert_int_equal(strncmp(fixture_one(&x, text), "dead missing", 12), 0);
        fixture_fini(&x);
    }
    fixture_fields(&x, "a:int64?, b:int64?, c:int64?, d:int64?");
    odd[0] = qn_str_of("q\"q");
    odd[1] = qn_str_of("b\\b");
    odd[2] = qn_str_of("\xc3\xa9");
    odd[3] = qn_str_of("");
    for (int i = 0; i < 4; i++)
        x.fields[i].path = &odd[i];
    fixture_ready(&x);
    assert_string_equal(fixture_one(&x, "{\"q\\\"q\":1,\"b\\\\b\":2,\"\xc3\xa9\":3,\"\":4}"),
                        "[1,2,3,4]");
    assert_string_equal(fixture_one(&x, "{\"\\u00e9\":3}"), "[null,null,3,null]");
    assert_string_equal(fixture_one(&x, "{\"b\\b\":3}"), "[null,null,null,null]");
    assert_string_equal(fixture_one(&x, "{\"q\"q\":1}"), "dead bad_json");
    fixture_fini(&x);
}

static void test_refused_paths(void **state)
{
    struct fixture x;
    char *name = malloc(2000);
    struct qn_str part;

    (void)state;
    memset(name, 'a', 2000);
    fixture_fields(&x, "a:int64");
    part = (struct qn_str){name, 2000};
    x.fields[0].path = &part;
    assert_int_equal(qn_decode_json_prepare(&x.schema, &x.boot, &x.err), QN_LIMIT);
    qn_arena_fini(&x.boot);
    free(name);
}

/* --- ends of buffers --- */

static const char sample[] = "{\"transaction_id\":\"0\",\"created_at\":\"2018-04-01T00:00:31Z\","
                             "\"customer_id\":\"59\\n6\",\"unknown\":[1,{\"a\":"
                             "\"b\"}],\"amount\":57.16,\"payload\":{\"card\":\"\xc3\xa9\",\"list\":"
                             "[1,2]},\"fraud\":false,\"n\":-12e3}";

/* Every proper beginning of an event is bad_json, whatever follows in memory: also when its own
 * rest follows. */
static void ends(struct fixture *x)
{
    size_t n = sizeof sample - 1;
    static const char *const pads[] = {"}", "\"", "0", "\xff", " ", "]", "\\", ","};

    fixture_one(x, sample);
    assert_int_equal(x->b.verdict[0], QN_SCORED);
    for (size_t len = 0; len < n; len++) {
        fixture_empty(x);
        for (size_t k = 0; k < sizeof pads / sizeof pads[0]; k++)
            fixture_add_bytes(x, sample, len, pads[k]);
        fixture_add_bytes(x, sample, len, sample + len);
        fixture_json(x);
        for (uint32_t row = 0; row < x->b.rows; row++)
            assert_string_equal(fixture_show(x, row), "dead bad_json");
    }
}

/* A string of every length up to 150 that ends, or has something to look at, at every place. */
static void lengths(struct fixture *x)
{
    static const char *const inside[] = {"a", "\\n", "\xc3\xa9", "\xff", "\x01"};
    char text[400];

    for (int n = 0; n < 150; n++)
        for (int at = 0; at <= n; at += n < 70 ? 1 : 7)
            for (int k = 0; k < 5; k++) {
                const char *shown;

                fixture_empty(x);
                memset(text, 'x', sizeof text);
                memcpy(text, "{\"customer_id\":\"", 16);
                memcpy(text + 16 + at, inside[k], strlen(inside[k]));
                strcpy(text + 16 + n + strlen(inside[k]), "\"}");
                fixture_add_bytes(x, text, strlen(text), "\"}");
                fixture_json(x);
                shown = fixture_show(x, 0);
                if (k >= 3) {
                    assert_string_equal(shown,
                                        k == 3 ? "dead bad_utf8 customer_id" : "dead bad_json");
                    continue;
                }
                assert_int_equal(x->b.verdict[0], QN_SCORED);
                assert_int_equal(x->b.cols[2].str[0].len, n + (k == 2 ? 2 : 1));
                if (k == 1)
                    assert_int_equal(x->b.cols[2].str[0].p[at], '\n');
            }
}

static const char sample_fields[] =
    "transaction_id:string?, created_at:timestamp?, customer_id:string?, amount:decimal2?, "
    "fraud:bool?, n:double?, payload.card:string?, payload.list:list?";

static void test_ends(void **state)
{
    (void)state;
    each_form(ends, sample_fields);
    each_form(lengths, sample_fields);
}

static void test_rows_left_alone(void **state)
{
    struct fixture x;

    (void)state;
    fixture_init(&x, "a:int64");
    for (int i = 0; i < 4; i++)
        fixture_add(&x, "{\"a\":1}");
    x.b.verdict[1] = QN_DEAD;
    x.b.reason[1] = QN_REASON_TOO_LARGE;
    x.b.stream[2] = 1;
    memset(x.b.cols[0].valid, 1, 4);
    qn_decode_json(&x.b, &x.schema, 0, 0, 3, 0);
    assert_int_equal(x.b.cols[0].valid[0], 1);
    assert_string_equal(fixture_show(&x, 1), "dead too_large");
    assert_int_equal(x.b.cols[0].valid[2], 0); /* another stream's row: null here */
    assert_int_equal(x.b.cols[0].i64[3], 0);   /* outside the range: untouched    */
    fixture_fini(&x);
}

/* --- twin: a naive decoder on the pull reader of base/ --- */

static void random_value(struct qn_rng *r, struct qn_buf *out, int depth);

static void random_space(struct qn_rng *r, struct qn_buf *out)
{
    static const char *const space[] = {"", "", "", "", " ", "\n", " \t\r "};

    qn_buf_text(out, space[qn_rng_below(r, 7)]);
}

static void random_string(struct qn_rng *r, struct qn_buf *out)
{
    static const char *const bits[] = {"a",
                                       "Z",
                                       "7",
                                       "\\n",
                                       "\\u00e9",
                                       "\xc3\xa9",
                                       "\\ud83d\\ude00",
                                       "\\\"",
                                       "longer plain text ",
                                       "-",
                                       "2018-04-01T00:00:31Z",
                                       "\xe2\x82\xac",
                                       "x"};
    uint32_t n = qn_rng_below(r, 6);

    qn_buf_byte(out, '"');
    while (n-- > 0)
        qn_buf_text(out, bits[qn_rng_below(r, 13)]);
    qn_buf_byte(out, '"');
}

static void random_number(struct qn_rng *r, struct qn_buf *out)
{
    if (qn_rng_below(r, 3) == 0)
        qn_buf_byte(out, '-');
    switch (qn_rng_below(r, 5)) {
    case 0:
        qn_buf_printf(out, "%u", qn_rng_below(r, 1000));
        break;
    case 1:
        qn_buf_printf(out, "%u.%02u", qn_rng_below(r, 100000), qn_rng_below(r, 100));
        break;
    case 2:
        qn_buf_printf(out, "%llu", (unsigned long long)qn_rng_next(r));
        break;
    case 3:
        qn_buf_printf(out, "%.17g", qn_rng_unit(r) * 1e9);
        break;
    default:
        qn_buf_printf(out, "%u.%ue%d", qn_rng_below(r, 10), qn_rng_below(r, 1000),
                      (int)qn_rng_below(r, 30) - 15);
    }
}

static const char *const member_names[] = {"transaction_id",
                                           "created_at",
                                           "customer_id",
                                           "amount",
                                           "fraud",
                                           "n",
                                           "payload",
                                           "card",
                                           "list",
                                           "other",
                                           "n\\u0061me",
                                           "payloa\\u0064",
                                           "a name that is longer than the rest"};

static void random_object(struct qn_rng *r, struct qn_buf *out, int depth)
{
    uint32_t n = qn_rng_below(r, 9);

    qn_buf_byte(out, '{');
    random_space(r, out);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) {
            qn_buf_byte(out, ',');
            random_space(r, out);
        }
        qn_buf_printf(out, "\"%s\"", member_names[qn_rng_below(r, 13)]);
        random_space(r, out);
        qn_buf_byte(out, ':');
        random_value(r, out, depth + 1);
    }
    qn_buf_byte(out, '}');
}

static void random_array(struct qn_rng *r, struct qn_buf *out, int depth)
{
    uint32_t n = qn_rng_below(r, 5), numbers_only = qn_rng_below(r, 2);

    qn_buf_byte(out, '[');
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            qn_buf_byte(out, ',');
        if (numbers_only)
            random_number(r, out);
        else
            random_value(r, out, depth + 1);
    }
    qn_buf_byte(out, ']');
}

static void random_value(struct qn_rng *r, struct qn_buf *out, int depth)
{
    random_space(r, out);
    switch (qn_rng_below(r, depth < 5 ? 9 : 6)) {
    case 0:
        qn_buf_text(out, "true");
        break;
    case 1:
        qn_buf_text(out, "false");
        break;
    case 2:
        qn_buf_text(out, "null");
        break;
    case 3:
        random_number(r, out);
        break;
    case 4:
        random_string(r, out);
        break;
    case 5:
        qn_buf_text(out, "\"2018-04-01T00:00:31.5Z\"");
        break;
    case 6:
        random_array(r, out, depth);
        break;
    default:
        random_object(r, out, depth);
        break;
    }
    random_space(r, out);
}

/* The last value at that path, or END: found by walking the whole document once per path. */
static enum qn_json_kind naive_find(const struct qn_field *f, struct qn_json_reader *r)
{
    enum qn_json_kind kind = qn_json_next(r), found = QN_JSON_END;

    for (uint32_t k = 0; k < f->path_count; k++) {
        struct qn_json_reader at = *r;

        if (kind != QN_JSON_OBJECT)
            return QN_JSON_END;
        found = QN_JSON_END;
        while ((kind = qn_json_next(r)) != QN_JSON_CLOSE) {
            if (qn_str_eq(r->key, f->path[k])) {
                at = *r;
                found = kind;
            }
            qn_json_skip(r, kind);
        }
        kind = found;
        *r = at;
    }
    return kind;
}

/* Appends the value or returns the reason. */
static enum qn_reason naive_value(const struct qn_field *f, struct qn_str doc, struct qn_arena *a,
                                  struct qn_buf *out)
{
    struct qn_json_reader r;
    enum qn_json_kind kind;
    int64_t v;
    char number[64];

    qn_json_open(&r, doc, a);
    kind = naive_find(f, &r);
    if (kind == QN_JSON_END || kind == QN_JSON_NULL) {
        qn_buf_text(out, "null");
        return QN_REASON_NONE;
    }
    switch (f->kind.type) {
    case QN_STRING:
        if (kind != QN_JSON_STRING)
            return QN_REASON_WRONG_TYPE;
        qn_json_string(out, r.text);
        return QN_REASON_NONE;
    case QN_BOOL:
        if (kind != QN_JSON_TRUE && kind != QN_JSON_FALSE)
            return QN_REASON_WRONG_TYPE;
        qn_buf_text(out, kind == QN_JSON_TRUE ? "true" : "false");
        return QN_REASON_NONE;
    case QN_TIMESTAMP:
        if (kind != QN_JSON_STRING)
            return QN_REASON_WRONG_TYPE;
        if (!qn_timestamp_parse(r.text, &v))
            return QN_REASON_BAD_TIME;
        qn_timestamp_print(number, v);
        qn_buf_printf(out, "\"%.*s\"", QN_TIMESTAMP_LEN, number);
        return QN_REASON_NONE;
    case QN_DECIMAL:
        if (kind == QN_JSON_STRING &&
            (r.text.len == 0 ||
             qn_number_scan(r.text.p, r.text.p + r.text.len, &r.number) != r.text.len))
            return QN_REASON_WRONG_TYPE;
        if (kind != QN_JSON_NUMBER && kind != QN_JSON_STRING)
            return QN_REASON_WRONG_TYPE;
        if (!qn_number_scaled(&r.number, f->kind.scale, &v))
            return QN_REASON_NOT_EXACT;
        qn_buf_add(out, number, qn_print_scaled(number, v, f->kind.scale));
        return QN_REASON_NONE;
    case QN_DOUBLE:
        if (kind != QN_JSON_NUMBER)
            return QN_REASON_WRONG_TYPE;
        qn_buf_add(out, number, qn_print_double(number, qn_number_double(&r.number)));
        return QN_REASON_NONE;
    default:
        if (kind != QN_JSON_ARRAY)
            return QN_REASON_WRONG_TYPE;
        qn_buf_byte(out, '[');
        for (int i = 0; (kind = qn_json_next(&r)) != QN_JSON_CLOSE; i++) {
            if (kind != QN_JSON_NUMBER)
                return QN_REASON_WRONG_TYPE;
            qn_buf_text(out, i > 0 ? "," : "");
            qn_buf_add(out, number, qn_print_double(number, qn_number_double(&r.number)));
        }
        qn_buf_byte(out, ']');
        return QN_REASON_NONE;
    }
}

static void naive_event(const struct fixture *x, struct qn_str doc, struct qn_buf *out)
{
    struct qn_json_reader r;
    struct qn_arena a = {0};
    enum qn_json_kind kind;

    qn_buf_clear(out);
    qn_json_open(&r, doc, &a);
    while ((kind = qn_json_next(&r)) != QN_JSON_END && kind != QN_JSON_ERROR)
        ;
    if (kind == QN_JSON_ERROR) {
        qn_buf_text(out, strcmp(r.error, "a string that is not UTF-8") == 0 ? "dead bad_utf8"
                                                                            : "dead bad_json");
    } else {
        for (uint32_t i = 0; i < x->schema.field_count; i++) {
            enum qn_reason reason;

            qn_buf_text(out, i == 0 ? "[" : ",");
            reason = naive_value(&x->fields[i], doc, &a, out);
            if (reason != QN_REASON_NONE) {
                qn_buf_clear(out);
                qn_buf_printf(out, "dead %s %.*s", qn_reason_name(reason),
                              QN_STR_ARG(x->fields[i].from));
                break;
            }
        }
        if (out->data[0] == '[')
            qn_buf_byte(out, ']');
    }
    qn_buf_byte(out, '\0');
    qn_arena_fini(&a);
}

/* Random events, half of them with a byte changed: all forms and the naive decoder agree on every
 * value and reason. */
static void test_twin(void **state)
{
    struct fixture x;
    struct qn_rng r;
    struct qn_buf text = {0}, expected = {0};
    unsigned scored = 0;

    (void)state;
    qn_rng_seed(&r, test_seed(20180408));
    fixture_init(&x, sample_fields);
    for (int i = 0; i < 20000; i++) {
        bool is_changed = qn_rng_below(&r, 4) == 0;

        qn_buf_clear(&text);
        random_space(&r, &text);
        random_object(&r, &text, 0);
        random_space(&r, &text);
        if (is_changed)
            text.data[qn_rng_below(&r, (uint32_t)text.len)] = "{}[]\",:0\\ n\xff"
                                                              "a\x1f"[qn_rng_below(&r, 14)];
        naive_event(&x, (struct qn_str){text.data, (uint32_t)text.len}, &expected);
        for (size_t k = 0; k < FIXTURE_FORMS; k++) {
            const char *shown;

            if (!qn_decode_force(fixture_forms[k]))
                continue;
            fixture_empty(&x);
            fixture_add_bytes(&x, text.data, text.len, "\"}],");
            fixture_json(&x);
            shown = fixture_show(&x, 0);
            if (is_changed && strncmp(shown, "dead bad_", 9) == 0) {
                /* which fault of the text comes first is not the naive decoder's business; nor are
                 * lone halves of pairs */
                assert_int_equal(strncmp(expected.data, "dead bad_", 9), 0);
            } else if (strcmp(shown, expected.data) != 0 &&
                       !(is_changed && memmem(text.data, text.len, "\\ud83d", 6) != NULL) &&
                       !(is_changed && memmem(text.data, text.len, "\\ude00", 6) != NULL)) {
                print_error("%s: %.*s\n  gives    %s\n  expected %s\n", qn_decode_name(),
                            (int)text.len, text.data, shown, expected.data);
                fail();
            }
            scored += x.b.verdict[0] == QN_SCORED;
        }
    }
    qn_decode_force(NULL);
    assert_true(scored > 100);
    qn_buf_fini(&text);
    qn_buf_fini(&expected);
    fixture_fini(&x);
}

/* --- the time alone --- */

static void test_time_alone(void **state)
{
    static const char *const events[] = {
        sample,
        "{\"created_at\":\"2018-04-01T00:00:31\\u005a\"}",
        "{\"created_at\":\"2018-04-01T00:00:31Z\",\"created_at\":\"2019-04-01T00:00:31Z\"}",
        "{\"creat\\u0065d_at\":\"2018-04-01T00:00:31Z\"}",
        "{\"created_at\":5}",
        "{\"created_at\":null}",
        "{}",
        "[]",
        "",
        "{\"created_at\":\"2018-04-01T00:00:31Z\"",
        "{\"created_at\":\"2018-04-01T00:00:31Z\"} x",
        "{\"created_at\":\"2018-13-01T00:00:31Z\"}",
    };
    struct fixture x;
    int64_t us;

    (void)state;
    fixture_init(&x, sample_fields);
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        bool is_there;

        fixture_one(&x, events[i]);
        is_there = x.b.verdict[0] == QN_SCORED && x.b.cols[1].valid[0];
        assert_int_equal(qn_decode_json_time(&x.schema, x.b.raw[0], &us), is_there);
        if (is_there)
            assert_int_equal(us, x.b.cols[1].i64[0]);
    }
    fixture_fini(&x);
    fixture_init(&x, "p.q.t:epoch_ms");
    assert_int_equal(
        strncmp(fixture_one(
                    &x, "{\"p\":{\"q\":{\"t\":1}},\"p\":{\"x\":1,\"q\":{\"t\":1522540831001}}}"),
                "[", 1),
        0);
    assert_true(qn_decode_json_time(&x.schema, x.b.raw[0], &us));
    assert_int_equal(us, INT64_C(1522540831001000));
    fixture_one(&x, "{\"p\":{\"q\":{\"t\":1}},\"p\":{\"x\":1}}");
    assert_false(qn_decode_json_time(&x.schema, x.b.raw[0], &us));
    fixture_fini(&x);
}

/* --- memory --- */

static void test_no_memory(void **state)
{
    unsigned failed = 0;

    (void)state;
    for (uint64_t nth = 1; nth < 100; nth++) { /* building */
        struct fixture x;
        qn_status rc;

        fixture_fields(&x, sample_fields);
        qn_mem_fail_at(nth, true);
        rc = qn_batch_init(&x.b, &x.boot, &x.schema, 1, FIXTURE_ROWS, 1, &x.err);
        if (rc == QN_OK)
            rc = qn_decode_json_prepare(&x.schema, &x.boot, &x.err);
        qn_mem_fail_at(0, false);
        assert_true(rc == QN_OK || rc == QN_NOMEM);
        qn_batch_fini(&x.b);
        qn_arena_fini(&x.boot);
        if (rc == QN_OK)
            break;
        failed++;
    }
    assert_true(failed > 0);
    failed = 0;
    for (uint64_t nth = 1; nth < 100;
         nth++) { /* decoding: strings and lists that do not fit the arena's first block */
        struct qn_buf text = {0};
        struct fixture x;
        bool is_failed;

        fixture_init(&x, sample_fields);
        qn_buf_text(&text, "{\"customer_id\":\"\\n");
        for (int i = 0; i < 100000; i++)
            qn_buf_byte(&text, 'x');
        qn_buf_text(&text, "\",\"payload\":{\"list\":[0");
        for (int i = 0; i < 20000; i++)
            qn_buf_text(&text, ",1");
        qn_buf_add(&text, "]}}", 4);
        fixture_add(&x, text.data);
        qn_mem_fail_at(nth, false);
        fixture_json(&x);
        qn_mem_fail_at(0, false);
        is_failed = qn_batch_no_memory(&x.b);
        if (!is_failed) {
            assert_int_equal(x.b.verdict[0], QN_SCORED);
            assert_int_equal(x.b.cols[7].list[0].n, 20001);
        }
        failed += is_failed;
        fixture_empty(&x);
        assert_false(qn_batch_no_memory(&x.b));
        fixture_fini(&x);
        qn_buf_fini(&text);
        if (!is_failed)
            break;
    }
    assert_true(failed > 2);
}

/* Plain events allocate nothing after the first batch. */
static void test_nothing_per_event(void **state)
{
    struct fixture x;
    uint64_t before;

    (void)state;
    fixture_init(&x, sample_fields);
    for (int i = 0; i < FIXTURE_ROWS; i++)
        fixture_add(&x, sample);
    fixture_json(&x);
    qn_arena_reset(&x.b.arenas[0]);
    before = qn_mem_count();
    fixture_json(&x);
    assert_int_equal(qn_mem_count(), before);
    fixture_fini(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_suite),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_defaults_and_order),
        cmocka_unit_test(test_many_fields),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_refused_paths),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_rows_left_alone),
        cmocka_unit_test(test_twin),
        cmocka_unit_test(test_time_alone),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_nothing_per_event),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
