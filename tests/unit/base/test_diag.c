/* SPDX-License-Identifier: Apache-2.0
 * test_diag.c - wording, places, carets and JSON of mistakes in a spec. */
#include "base/diag.h"
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char source[] = "quern: 1\n"
                             "streams:\n"
                             "  a: [x,\ty\x1b]\n"
                             "  risk: mean(fraud) of chargeback by id\r\n"
                             "  name: gr\xC3\xBC\xC3\x9F"
                             "e und mehr\n"
                             "last";

static void begin(struct qn_diags *d, struct qn_arena *a)
{
    memset(d, 0, sizeof *d);
    *a = (struct qn_arena){0};
    d->arena = a;
    d->file = "fraud.yaml";
    d->source = qn_str_of(source);
}

static void check_print(const struct qn_diags *d, bool with_carets, const char *expected)
{
    struct qn_buf b = {0};

    qn_diag_print(d, with_carets, &b);
    qn_buf_byte(&b, '\0');
    assert_string_equal(b.data, expected);
    qn_buf_fini(&b);
}

static void test_unknown(void **state)
{
    struct qn_str known[] = {qn_str_of("transactions"), qn_str_of("chargebacks")};
    struct qn_diags d;
    struct qn_arena a;

    begin(&d, &a);
    qn_diag_unknown(&d, (struct qn_pos){4, 24, 10}, "stream", qn_str_of("chargeback"), known, 2);
    check_print(
        &d, true,
        "fraud.yaml:4:24: unknown stream 'chargeback' (did you mean 'chargebacks'?)\n"
        "  4 |   risk: mean(fraud) of chargeback by id\n"
        "    |                        ^~~~~~~~~~          known: transactions, chargebacks\n");
    check_print(&d, false,
                "fraud.yaml:4:24: unknown stream 'chargeback' (did you mean 'chargebacks'?)\n");
    assert_int_equal(d.list[0].code, QN_DIAG_UNKNOWN_NAME);
    qn_diag_unknown(&d, (struct qn_pos){2, 1, 0}, "key", qn_str_of("zzz"), known, 2);
    assert_int_equal(d.list[1].code, QN_DIAG_UNKNOWN_KEY);
    assert_string_equal(d.list[1].text, "unknown key 'zzz'");
    qn_diag_unknown(&d, (struct qn_pos){2, 2, 0}, "field", qn_str_of("zzz"), known, 0);
    assert_null(d.list[2].hint);
    qn_arena_fini(&a);
}

static void test_known_is_cut(void **state)
{
    struct qn_str known[30], word;
    char names[30][16], longer[300];
    struct qn_diags d;
    struct qn_arena a;

    begin(&d, &a);
    for (int i = 0; i < 30; i++) {
        snprintf(names[i], sizeof names[i], "name%02d", i);
        known[i] = qn_str_of(names[i]);
    }
    qn_diag_unknown(&d, (struct qn_pos){1, 1, 0}, "field", qn_str_of("zzzzzz"), known, 30);
    assert_string_equal(d.list[0].hint,
                        "known: name00, name01, name02, name03, name04, name05, ...");
    memset(longer, 'q', sizeof longer);
    word = (struct qn_str){longer, sizeof longer};
    known[0] = word;
    qn_diag_unknown(&d, (struct qn_pos){2, 1, 0}, "field", qn_str_of("x"), known, 30);
    assert_true(strlen(d.list[1].hint) < 110);
    word.len = 200;
    qn_diag_unknown(&d, (struct qn_pos){3, 1, 0}, "field", word, known + 1, 3);
    assert_int_equal(strlen(d.list[2].text), strlen("unknown field '...'") + 80);
    qn_arena_fini(&a);
}

static void test_places(void **state)
{
    struct qn_diags d;
    struct qn_arena a;

    begin(&d, &a);
    qn_diag_error(&d, QN_DIAG_SYNTAX, (struct qn_pos){6, 4, 9}, NULL, "at the %s", "end");
    qn_diag_warn(&d, QN_DIAG_VERSION, (struct qn_pos){0, 0, 0}, NULL, "whole\nfile \x1b[1m");
    qn_diag_error(&d, QN_DIAG_TYPE, (struct qn_pos){5, 13, 3}, "hint", "behind wide letters");
    qn_diag_error(&d, QN_DIAG_TYPE, (struct qn_pos){5, 13, 3}, "hint", "the same again");
    qn_diag_error(&d, QN_DIAG_RANGE, (struct qn_pos){5, 13, 3}, NULL, "another there");
    qn_diag_error(&d, QN_DIAG_TYPE, (struct qn_pos){3, 10, 2}, NULL, "control bytes");
    qn_diag_error(&d, QN_DIAG_TYPE, (struct qn_pos){77, 1, 2}, NULL, "no such line");
    assert_int_equal(d.errors, 5);
    assert_int_equal(d.warnings, 1);
    check_print(&d, true,
                "fraud.yaml: warning: whole?file ?[1m\n"
                "fraud.yaml:3:10: control bytes\n"
                "  3 |   a: [x, y?]\n"
                "    |          ^~\n"
                "fraud.yaml:5:13: behind wide letters\n"
                "  5 |   name: gr\xC3\xBC\xC3\x9F"
                "e und mehr\n"
                "    |            ^~          hint\n"
                "fraud.yaml:5:13: another there\n"
                "  5 |   name: gr\xC3\xBC\xC3\x9F"
                "e und mehr\n"
                "    |            ^~\n"
                "fraud.yaml:6:4: at the end\n"
                "  6 | last\n"
                "    |    ^\n"
                "fraud.yaml:77:1: no such line\n");
    qn_arena_fini(&a);
}

static void test_long_line(void **state)
{
    struct qn_diags d;
    struct qn_arena a;
    struct qn_buf b = {0};
    char line[3001];

    begin(&d, &a);
    for (int i = 0; i < 3000; i++)
        line[i] = (char)('a' + i % 26);
    line[3000] = '\0';
    d.source = qn_str_of(line);
    qn_diag_error(&d, QN_DIAG_TYPE, (struct qn_pos){1, 1, 1}, NULL, "a");
    qn_diag_error(&d, QN_DIAG_TYPE, (struct qn_pos){1, 1501, 5}, NULL, "b");
    qn_diag_error(&d, QN_DIAG_TYPE, (struct qn_pos){1, 3000, 500}, NULL, "c");
    qn_diag_error(&d, QN_DIAG_TYPE, (struct qn_pos){1, 9000, 500}, NULL, "d");
    qn_diag_print(&d, true, &b);
    qn_buf_byte(&b, '\0');
    /* The caret stands below the byte it means. */
    for (char *at = b.data; (at = strstr(at, "  1 | ")) != NULL; at++) {
        char *nl = strchr(at, '\n'), *caret = strchr(nl, '^');

        assert_true(nl - at < 140);
        assert_true(caret - nl - 1 <= nl - at);
        if (strncmp(nl - 3, "...", 3) == 0 && at[6] == '.')
            assert_int_equal(at[caret - nl - 1], 'a' + 1500 % 26);
    }
    qn_buf_fini(&b);
    qn_arena_fini(&a);
}

static void test_limit_and_json(void **state)
{
    struct qn_json_reader r;
    struct qn_diags d;
    struct qn_arena a;
    struct qn_buf b = {0};
    unsigned objects = 0;

    begin(&d, &a);
    qn_diag_json(&d, &b);
    assert_int_equal(b.len, 2);
    assert_memory_equal(b.data, "[]", 2);
    for (unsigned i = 0; i < 30; i++)
        qn_diag_error(&d, QN_DIAG_MODEL, (struct qn_pos){30 - i, 1, 1}, i == 0 ? "\"h\"" : NULL,
                      "number %u \"quoted\"", i);
    assert_int_equal(d.count, QN_DIAG_MAX);
    assert_int_equal(d.errors, 30);
    qn_buf_clear(&b);
    qn_diag_print(&d, false, &b);
    qn_buf_byte(&b, '\0');
    assert_non_null(strstr(b.data, "fraud.yaml: 10 more not shown\n"));
    qn_buf_clear(&b);
    qn_diag_json(&d, &b);
    qn_json_open(&r, (struct qn_str){b.data, (uint32_t)b.len}, &a);
    for (;;) {
        enum qn_json_kind kind = qn_json_next(&r);

        if (kind == QN_JSON_OBJECT)
            objects++;
        assert_int_not_equal(kind, QN_JSON_ERROR);
        if (kind == QN_JSON_END)
            break;
    }
    assert_int_equal(objects, QN_DIAG_MAX);
    qn_buf_byte(&b, '\0');
    assert_non_null(strstr(b.data,
                           "{\"code\":\"QN012\",\"severity\":\"error\",\"line\":30,\"column\":1,"
                           "\"text\":\"number 0 \\\"quoted\\\"\",\"hint\":\"\\\"h\\\"\"}"));
    qn_buf_fini(&b);
    qn_arena_fini(&a);
}

static void test_out_of_memory(void **state)
{
    struct qn_diags d;
    struct qn_arena a;

    begin(&d, &a);
    qn_mem_fail_at(1, true);
    qn_diag_error(&d, QN_DIAG_TYPE, (struct qn_pos){1, 1, 1}, "hint", "text");
    qn_mem_fail_at(0, false);
    assert_int_equal(d.errors, 1);
    assert_int_equal(d.count, 1);
    assert_non_null(d.list[0].text);
    qn_arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown),        cmocka_unit_test(test_known_is_cut),
        cmocka_unit_test(test_places),         cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_limit_and_json), cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
