/* SPDX-License-Identifier: Apache-2.0
 * test_expression.c - the expression language: values and messages as tables, truth tables, and a
 * naive twin.
 *
 * The twin is a tree of its own that evaluates row by row with other means (128-bit integers, long
 * double, strtod); random trees are printed as text, parsed, run over columns with nulls and
 * extreme values, and must agree everywhere. */
#include "../seed.h"
#include "base/clock.h"
#include "base/number.h"
#include "base/real_math.h"
#include "base/timestamp.h"
#include "feature/expression.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- one row of known values ---- */

enum { FIELDS = 17 };
static const struct {
    const char *name;
    enum qn_type type;
    uint8_t scale;
    int64_t i64;
    double f64;
    const char *str; /* NULL and the name ends in _null: null */
} fields[FIELDS] = {
    {"i", QN_INT64, 0, 7, 0, NULL},
    {"j", QN_INT64, 0, -3, 0, NULL},
    {"big", QN_INT64, 0, INT64_MAX, 0, NULL},
    {"least", QN_INT64, 0, INT64_MIN, 0, NULL},
    {"i_null", QN_INT64, 0, 99, 0, NULL},
    {"d", QN_DOUBLE, 0, 0, 2.5, NULL},
    {"zero", QN_DOUBLE, 0, 0, 0, NULL},
    {"huge", QN_DOUBLE, 0, 0, 1e308, NULL},
    {"d_null", QN_DOUBLE, 0, 0, 99, NULL},
    {"m", QN_DECIMAL, 2, 1050, 0, NULL},
    {"fine", QN_DECIMAL, 4, 105001, 0, NULL},
    {"s", QN_STRING, 0, 0, 0, "H\xc3\xa9llo"},
    {"s_null", QN_STRING, 0, 0, 0, NULL},
    {"yes", QN_BOOL, 0, 1, 0, NULL},
    {"no", QN_BOOL, 0, 0, 0, NULL},
    {"b_null", QN_BOOL, 0, 1, 0, NULL},
    {"t", QN_TIMESTAMP, 0, 1522540831000001, 0, NULL}, /* 2018-04-01T00:00:31.000001Z, a Sunday */
};

struct fixture {
    struct qn_arena arena;
    struct qn_diags diags;
    struct qn_name names[FIELDS + 2];
    struct qn_scope scope;
    struct qn_col cols[FIELDS + 2];
    const struct qn_col *shown[FIELDS + 2];
};

static void fixture_init(struct fixture *fx)
{
    memset(fx, 0, sizeof *fx);
    fx->diags = (struct qn_diags){.arena = &fx->arena, .file = "t.yaml"};
    for (int i = 0; i < FIELDS; i++) {
        const char *name = fields[i].name;
        struct qn_col *c = &fx->cols[i];

        fx->names[i] =
            (struct qn_name){qn_str_of(name), {fields[i].type, fields[i].scale}, (uint32_t)i};
        assert_int_equal(qn_col_init(c, fx->names[i].kind, 1, &fx->arena, NULL), QN_OK);
        c->valid[0] = strstr(name, "_null") == NULL;
        if (fields[i].type == QN_STRING)
            c->str[0] =
                c->valid[0] ? qn_str_of(fields[i].str) : (struct qn_str){(const char *)1, 1000};
        else if (fields[i].type == QN_DOUBLE)
            c->f64[0] = fields[i].f64;
        else
            c->i64[0] = fields[i].i64;
        fx->shown[i] = c;
    }
    static const double values[3] = {1, 2, 3};

    fx->names[FIELDS] = (struct qn_name){qn_str_of("list"), {QN_LIST, 0}, FIELDS};
    assert_int_equal(qn_col_init(&fx->cols[FIELDS], fx->names[FIELDS].kind, 1, &fx->arena, NULL),
                     QN_OK);
    fx->cols[FIELDS].valid[0] = 1;
    fx->cols[FIELDS].list[0] = (struct qn_list){values, 3};
    fx->shown[FIELDS] = &fx->cols[FIELDS];
    fx->names[FIELDS + 1] = (struct qn_name){qn_str_of("broken"), {QN_TYPE_COUNT, 0}, FIELDS + 1};
    fx->scope = (struct qn_scope){fx->names, FIELDS + 2, "field"};
}

static void print_value(struct qn_buf *b, const struct qn_col *c, uint32_t row)
{
    char text[64];
    char kind[24];

    qn_buf_printf(b, "%s ", qn_kind_print(c->kind, kind));
    if (!c->valid[row])
        qn_buf_text(b, "null");
    else if (c->kind.type == QN_DOUBLE)
        qn_buf_add(b, text, qn_print_double(text, c->f64[row]));
    else if (c->kind.type == QN_DECIMAL)
        qn_buf_add(b, text, qn_print_scaled(text, c->i64[row], c->kind.scale));
    else if (c->kind.type == QN_STRING)
        qn_buf_add(b, c->str[row].p, c->str[row].len);
    else if (c->kind.type == QN_BOOL)
        qn_buf_text(b, c->i64[row] == 1 ? "true" : c->i64[row] == 0 ? "false" : "neither");
    else if (c->kind.type == QN_TIMESTAMP)
        qn_buf_add(b, text, qn_timestamp_print(text, c->i64[row]));
    else
        qn_buf_printf(b, "%lld", (long long)c->i64[row]);
}

/* The value of an expression as "int64 5", or its diagnostics. */
static void evaluate(struct fixture *fx, const char *text, struct qn_buf *out)
{
    struct qn_expr *e;
    struct qn_col result;

    qn_buf_clear(out);
    fx->diags.count = fx->diags.errors = 0;
    e = qn_expr_parse(qn_str_of(text), (struct qn_pos){1, 1, 0}, &fx->scope, &fx->arena,
                      &fx->diags);
    if (e == NULL) {
        for (unsigned i = 0; i < fx->diags.count; i++) {
            const struct qn_diag *d = &fx->diags.list[i];

            qn_buf_printf(out, "%s%u+%u: %s%s%s%s", i > 0 ? "; " : "", d->at.col, d->at.len,
                          d->text, d->hint ? " [" : "", d->hint ? d->hint : "", d->hint ? "]" : "");
        }
    } else {
        assert_int_equal(fx->diags.errors, 0);
        assert_int_equal(qn_col_init(&result, qn_expr_kind(e), 1, &fx->arena, NULL), QN_OK);
        assert_int_equal(qn_expr_run(e, fx->shown, 0, 1, &result, &fx->arena, NULL), QN_OK);
        print_value(out, &result, 0);
    }
    qn_buf_byte(out, 0);
}

struct line {
    const char *text, *expected;
};

static void check_lines(const struct line *lines, size_t count)
{
    struct fixture fx;
    struct qn_buf out = {0};
    int wrong = 0;

    fixture_init(&fx);
    for (size_t i = 0; i < count; i++) {
        evaluate(&fx, lines[i].text, &out);
        if (strcmp(out.data, lines[i].expected) != 0) {
            print_error("%s\n  gives    %s\n  expected %s\n", lines[i].text, out.data,
                        lines[i].expected);
            wrong++;
        }
    }
    qn_buf_fini(&out);
    qn_arena_fini(&fx.arena);
    assert_int_equal(wrong, 0);
}
#define CHECK_LINES(lines) check_lines(lines, sizeof lines / sizeof lines[0])

static void test_literals(void **state)
{
    static const struct line lines[] = {
        {"1", "int64 1"},
        {"1e3", "double 1000"},
        {"0.5", "double 0.5"},
        {"-9223372036854775808", "int64 -9223372036854775808"},
        {"9223372036854775808", "double 9223372036854776000"},
        {"'it''s'", "string it's"},
        {"\"a \"\"b\"\"\"", "string a \"b\""},
        {"'\"'", "string \""},
        {"''", "string "},
        {"true", "bool true"},
        {"10m", "int64 600"},
        {"1h30m", "int64 5400"},
        {"1500ms", "double 1.5"},
        {"-10s", "int64 -10"},
        {"s", "string H\xc3\xa9llo"},
        {"s_null", "string null"},
        {"  i\n ", "int64 7"},
    };
    (void)state;
    CHECK_LINES(lines);
}

static void test_precedence(void **state)
{
    static const struct line lines[] = {
        {"2 + 3 * 4", "int64 14"},
        {"(2 + 3) * 4", "int64 20"},
        {"10 - 3 - 4", "int64 3"},
        {"100 / 10 / 5", "double 2"},
        {"7 % 4 * 2", "int64 6"},
        {"-2 * -3", "int64 6"},
        {"- - 2", "int64 2"},
        {"-i + 1", "int64 -6"},
        {"1 + 2 == 3", "bool true"},
        {"not 1 == 2", "bool true"},
        {"not yes or yes", "bool true"},
        {"not (yes or yes)", "bool false"},
        {"no and no or yes", "bool true"},
        {"no and (no or yes)", "bool false"},
        {"yes or no and no", "bool true"},
        {"not no and no", "bool false"},
        {"yes == not no", "bool true"},
        {"not i in (1, 2)", "bool true"},
        {"i not in (1, 7)", "bool false"},
        {"i_null is null and yes", "bool true"},
        {"i + i_null is null", "bool true"},
        {"i = 7", "bool true"},
        {"1 < 2 and 2 < 3", "bool true"},
    };
    (void)state;
    CHECK_LINES(lines);
}

static void test_numbers(void **state)
{
    static const struct line lines[] = {
        {"i + j", "int64 4"},
        {"i / 2", "double 3.5"},
        {"i / 0", "double null"},
        {"zero / zero", "double null"},
        {"d / zero", "double null"},
        {"i % 4", "int64 3"},
        {"-i % 4", "int64 -3"},
        {"i % -4", "int64 3"},
        {"i % 0", "int64 null"},
        {"least % -1", "int64 0"},
        {"big + 1", "int64 null"},
        {"least - 1", "int64 null"},
        {"-least", "int64 null"},
        {"abs(least)", "int64 null"},
        {"abs(j)", "int64 3"},
        {"abs(-2.5)", "double 2.5"},
        {"abs(-m)", "decimal(2) 10.50"},
        {"big * 2", "int64 null"},
        {"big * 2.0", "double 18446744073709552000"},
        {"huge * 10", "double null"},
        {"huge + huge", "double null"},
        {"huge * 10 - huge * 10", "double null"},
        {"i + d", "double 9.5"},
        {"i + m", "decimal(2) 17.50"},
        {"m + fine", "decimal(4) 21.0001"},
        {"m * fine", "decimal(6) 110.251050"},
        {"m * 2", "decimal(2) 21.00"},
        {"m * 0.5", "decimal(3) 5.250"},
        {"m + 0.005", "decimal(3) 10.505"},
        {"m - 1", "decimal(2) 9.50"},
        {"m / 4", "double 2.625"},
        {"m + d", "double 13"},
        {"i * 0.5", "double 3.5"},
        {"i + 5.0", "int64 12"},
        {"i + 0.5", "double 7.5"},
        {"big + m", "decimal(2) null"},
        {"fine * fine * fine * fine", "decimal(16) null"},
        {"(fine - 10) * (fine - 10) * (fine - 10) * (fine - 10) * (fine - 10)",
         "double 0.03128126250250025"},
        {"sqrt(16)", "double 4"},
        {"sqrt(-1)", "double null"},
        {"sqrt(m - 1.5)", "double 3"},
        {"exp(0)", "double 1"},
        {"exp(1000)", "double null"},
        {"log(1)", "double 0"},
        {"log(0)", "double null"},
        {"log(-1)", "double null"},
        {"floor(2.7)", "double 2"},
        {"floor(-2.5)", "double -3"},
        {"ceil(2.1)", "double 3"},
        {"round(2.5)", "double 3"},
        {"round(-2.5)", "double -3"},
        {"round(0.49999999999999994)", "double 0"},
        {"floor(i)", "int64 7"},
        {"floor(m)", "int64 10"},
        {"floor(-m)", "int64 -11"},
        {"ceil(m)", "int64 11"},
        {"ceil(-m)", "int64 -10"},
        {"round(m)", "int64 11"},
        {"round(-m)", "int64 -11"},
        {"round(fine)", "int64 11"},
        {"round(m - 0.01)", "int64 10"},
        {"min(3, 1, 2)", "int64 1"},
        {"max(i, d)", "double 7"},
        {"max(i, m)", "decimal(2) 10.50"},
        {"min(m, 0.005)", "decimal(3) 0.005"},
        {"min('b', 'a')", "string a"},
        {"max(i, i_null)", "int64 null"},
        {"coalesce(i_null, 5)", "int64 5"},
        {"coalesce(i_null, j, i)", "int64 -3"},
        {"coalesce(d_null, 0)", "double 0"},
        {"coalesce(i_null, m)", "decimal(2) 10.50"},
        {"coalesce(null, i)", "int64 7"},
        {"coalesce(s_null, 'x')", "string x"},
        {"if(yes, 1, 2)", "int64 1"},
        {"if(no, 1, 2.5)", "double 2.5"},
        {"if(b_null, 1, 2)", "int64 null"},
        {"if(yes, i_null, 2)", "int64 null"},
        {"if(yes, i, null)", "int64 7"},
        {"if(no, 'a', s)", "string H\xc3\xa9llo"},
        {"i_null + 1", "int64 null"},
        {"i_null * 0", "int64 null"},
    };
    (void)state;
    CHECK_LINES(lines);
}

static void test_comparisons(void **state)
{
    static const struct line lines[] = {
        {"m > 10", "bool true"},
        {"m == 10.5", "bool true"},
        {"m > 10.495", "bool true"},
        {"m < 10.505", "bool true"},
        {"m == 10.505", "bool false"},
        {"m > 1e300", "bool false"},
        {"m < 10000000000000000000000", "bool true"},
        {"m >= 9000000000000000000", "bool false"},
        {"m < fine", "bool true"},
        {"fine > m", "bool true"},
        {"m == d", "bool false"},
        {"i > m", "bool false"},
        {"big == 9223372036854775807", "bool true"},
        {"big == 9223372036854775808.0", "bool false"},
        {"big < 9223372036854775808.0", "bool true"},
        {"huge > big", "bool true"},
        {"big > huge", "bool false"},
        {"i > 6.5", "bool true"},
        {"i < 7.5", "bool true"},
        {"i == 7.0", "bool true"},
        {"d >= 2.5", "bool true"},
        {"d > 2", "bool true"},
        {"9007199254740993 > d", "bool true"},
        {"s > 'H'", "bool true"},
        {"s == 'H\xc3\xa9llo'", "bool true"},
        {"s != s", "bool false"},
        {"'a' < 'b'", "bool true"},
        {"'a' < ''", "bool false"},
        {"yes == true", "bool true"},
        {"yes != no", "bool true"},
        {"t > '2018-04-01T00:00:31Z'", "bool true"},
        {"t == '2018-04-01T00:00:31.000001Z'", "bool true"},
        {"t + 1h > t", "bool true"},
        {"t - 1d", "timestamp 2018-03-31T00:00:31.000001Z"},
        {"1m + t", "timestamp 2018-04-01T00:01:31.000001Z"},
        {"i_null > 1", "bool null"},
        {"i_null == i_null", "bool null"},
        {"s_null == 'x'", "bool null"},
        {"i in (1, 7, 9)", "bool true"},
        {"i in (1, 7.5)", "bool false"},
        {"i in (6.5, i)", "bool true"},
        {"m in (10.5, 2)", "bool true"},
        {"m in (10.505)", "bool false"},
        {"d in (2, 2.5)", "bool true"},
        {"s in ('x', 'H\xc3\xa9llo')", "bool true"},
        {"s in ('x', s_null)", "bool null"},
        {"s_null in ('x')", "bool null"},
        {"i in (7, i_null)", "bool true"},
        {"t in ('2018-04-01T00:00:31.000001Z')", "bool true"},
        {"i_null is null", "bool true"},
        {"i is null", "bool false"},
        {"i is not null", "bool true"},
        {"list is not null", "bool true"},
    };
    (void)state;
    CHECK_LINES(lines);
}

static void test_texts_and_times(void **state)
{
    static const struct line lines[] = {
        {"length(s)", "int64 5"},
        {"length('')", "int64 0"},
        {"length(s_null)", "int64 null"},
        {"length(list)", "int64 3"},
        {"lower(s)", "string h\xc3\xa9llo"},
        {"upper(s)", "string H\xc3\xa9LLO"},
        {"lower('ABC@[`{')", "string abc@[`{"},
        {"lower(s_null)", "string null"},
        {"starts_with(s, 'H')", "bool true"},
        {"starts_with(s, '')", "bool true"},
        {"starts_with('a', 'ab')", "bool false"},
        {"ends_with(s, 'llo')", "bool true"},
        {"ends_with(s, 'x')", "bool false"},
        {"contains(s, 'll')", "bool true"},
        {"contains(s, 'lll')", "bool false"},
        {"contains(s, s_null)", "bool null"},
        {"hour(t)", "int64 0"},
        {"weekday(t)", "int64 6"},
        {"weekday(t) >= 5", "bool true"},
        {"day(t)", "int64 1"},
        {"month(t)", "int64 4"},
        {"year(t)", "int64 2018"},
        {"hour(t - 1h)", "int64 23"},
        {"hour('1969-12-31T23:59:59Z')", "int64 23"},
        {"weekday('1969-12-31T23:59:59Z')", "int64 2"},
        {"weekday('1970-01-05T00:00:00Z')", "int64 0"},
        {"seconds_between(t, t + 90s)", "double 90"},
        {"seconds_between(t, '2018-04-01T00:00:30Z')", "double -1.000001"},
        {"seconds_between(t, t + 1h) > 10m", "bool true"},
    };
    (void)state;
    CHECK_LINES(lines);
}

/* Kleene's tables, written out. */
static void test_truth(void **state)
{
    static const char *const side[3] = {"yes", "no", "b_null"};
    static const char *const and_table[3][3] = {{"bool true", "bool false", "bool null"},
                                                {"bool false", "bool false", "bool false"},
                                                {"bool null", "bool false", "bool null"}};
    static const char *const or_table[3][3] = {{"bool true", "bool true", "bool true"},
                                               {"bool true", "bool false", "bool null"},
                                               {"bool true", "bool null", "bool null"}};
    static const char *const not_table[3] = {"bool false", "bool true", "bool null"};
    struct fixture fx;
    struct qn_buf out = {0};
    char text[64];

    (void)state;
    fixture_init(&fx);
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "not %s", side[i]);
        evaluate(&fx, text, &out);
        assert_string_equal(out.data, not_table[i]);
        for (int j = 0; j < 3; j++) {
            snprintf(text, sizeof text, "%s and %s", side[i], side[j]);
            evaluate(&fx, text, &out);
            assert_string_equal(out.data, and_table[i][j]);
            snprintf(text, sizeof text, "%s or %s", side[i], side[j]);
            evaluate(&fx, text, &out);
            assert_string_equal(out.data, or_table[i][j]);
        }
    }
    qn_buf_fini(&out);
    qn_arena_fini(&fx.arena);
}

static void test_messages(void **state)
{
    static const struct line lines[] = {
        {"", "1+1: an expression was expected, found nothing"},
        {"xyz + 1",
         "1+3: unknown field 'xyz' [known: i, j, big, least, i_null, d, zero, huge, d_null, ...]"},
        {"lest + 1", "1+4: unknown field 'lest' (did you mean 'least'?) [known: i, j, big, least, "
                     "i_null, d, zero, "
                     "huge, d_null, ...]"},
        {"lenght(s)", "1+6: unknown function 'lenght' (did you mean 'length'?) [known: if, abs, "
                      "sqrt, exp, log, floor, "
                      "ceil, round, min, ...]"},
        {"ifnull(i, 0)", "1+6: unknown function 'ifnull' (use 'coalesce')"},
        {"i => 3", "3+2: '=>' is not an operator here: use '>='"},
        {"yes && no || yes", "5+2: '&&' is not an operator here: use 'and'; 11+2: '||' is not an "
                             "operator here: use 'or'"},
        {"!yes", "1+1: '!' is not an operator here: use 'not'"},
        {"i <> 3", "3+2: '<>' is not an operator here: use '!='"},
        {"yes AND no", "5+3: unexpected 'AND': an operator or the end was expected [and, or, not, "
                       "in, is are written in "
                       "lower case]"},
        {"NOT yes", "1+3: 'NOT' is written 'not'"},
        {"i > 'x'", "3+1: cannot compare int64 with string [a number is written without quotes]"},
        {"s == i",
         "3+2: cannot compare string with int64 [a text in the spec needs quotes: 'text']"},
        {"yes == 1", "5+2: cannot compare bool with int64 [true and false are not numbers: write "
                     "x, not x, or if(x, 1, 0)]"},
        {"yes < no", "5+1: bool has no order [true and false compare with == and !=]"},
        {"t > 5",
         "3+1: cannot compare timestamp with int64 [hour(t), seconds_between(a, b) give numbers]"},
        {"t > 'yesterday'",
         "5+11: 'yesterday' is not a timestamp [written like '2018-04-01T00:00:31Z']"},
        {"t - t", "3+1: '-' needs numbers, found timestamp [write seconds_between(from, to)]"},
        {"t + 5",
         "3+1: '+' needs numbers, found timestamp [a time moves by a duration: t + 10m, t - 1h]"},
        {"s + 'x'", "3+1: '+' needs numbers, found string"},
        {"yes + 1", "5+1: '+' needs numbers, found bool [write if(x, 1, 0)]"},
        {"d % 2", "3+1: '%' needs int64 on both sides, found double [floor(x) gives whole numbers "
                  "of a decimal]"},
        {"i and yes", "1+1: 'and' needs true or false on both sides, found int64 [compare it, for "
                      "example x > 0]"},
        {"i or 0", "1+1: 'or' needs true or false on both sides, found int64 [a default for null "
                   "is written coalesce(x, 0)]"
                   "; 6+1: 'or' needs true or false on both sides, found int64 [a default for null "
                   "is written "
                   "coalesce(x, 0)]"},
        {"not i", "5+1: 'not' needs true or false, found int64 [compare it, for example x == 0, or "
                  "x is null]"},
        {"-s", "1+2: '-' needs a number, found string"},
        {"i == null",
         "3+2: nothing compares with null: the answer would always be null [write: x is null]"},
        {"i != null",
         "3+2: nothing compares with null: the answer would always be null [write: x is not null]"},
        {"i is 3",
         "6+1: unexpected '3': 'null' or 'not null' was expected [compare values with ==]"},
        {"null", "1+4: null alone has no type"},
        {"1 < i < 3", "7+1: comparisons do not chain [write a < b and b < c]"},
        {"(i", "3+1: the expression ends where ')' was expected"},
        {"i)", "2+1: unexpected ')': an operator or the end was expected"},
        {"i +", "4+1: the expression ends where a value was expected"},
        {"i i", "3+1: unexpected 'i': an operator or the end was expected"},
        {"i ? 1 : 2", "3+1: unexpected '?' [a choice is written if(condition, a, b)]"},
        {"i in [1]", "6+1: unexpected '[' [a set is written x in (a, b)]"},
        {"i in ()",
         "7+1: unexpected ')': a value was expected [for example country in ('US', 'CA')]"},
        {"i in 5", "6+1: unexpected '5': '(' was expected [for example country in ('US', 'CA')]"},
        {"i in (1, 'x')",
         "10+3: cannot compare int64 with string [a number is written without quotes]"},
        {"'abc", "1+1: a text that does not end [close it with ']"},
        {"007", "1+3: '007' is neither a number nor a duration [a number has no leading zeros]"},
        {".5", "1+1: unexpected '.' [a digit stands before the point: 0.5]"},
        {"5.",
         "1+2: '5.' is neither a number nor a duration [a digit stands behind the point: 1.0]"},
        {"5 days", "3+4: unexpected 'days': an operator or the end was expected"},
        {"5days", "1+5: '5days' is neither a number nor a duration [durations are written 500us "
                  "50ms 10s 5m 1h30m 7d 2w, "
                  "at most 10,000 days]"},
        {"1e999", "1+5: this number is larger than any double (about 1.8e308)"},
        {"terminals.risk + 1", "1+14: 'terminals.risk': columns of tables are not available yet"},
        {"i / mean(d)", "5+4: 'mean' is an aggregate: it stands at the start of a feature, with "
                        "'by' and 'over' [give the "
                        "window a feature of its own and use that name here]"},
        {"stddev(d)", "1+6: 'stddev' is not available yet"},
        {"sqrt()", "1+6: sqrt takes 1 argument, found 0 [sqrt(number)]"},
        {"if(yes, 1)", "1+10: if takes 3 arguments, found 2 [if(condition, a, b)]"},
        {"min(i)", "1+6: min takes at least 2 arguments, found 1 [min(a, b, ...)]"},
        {"hour(i)", "6+1: hour needs a timestamp, found int64 [hour(timestamp)]"},
        {"length(i)", "8+1: length needs a string or list, found int64 [length(text)]"},
        {"if(i, 1, 2)", "4+1: if needs true or false, found int64 [if(condition, a, b)]"},
        {"min(i, 'x')",
         "8+3: min has arguments of different types: int64 and string [all must have one type]"},
        {"min(yes, no)", "5+3: min needs a value with an order, found bool [min(a, b, ...)]; 10+2: "
                         "min needs a value with "
                         "an order, found bool [min(a, b, ...)]"},
        {"coalesce(null, null)", "10+4: coalesce of nothing but null has no type"},
        {"min(i,)", "7+1: unexpected ')': a value was expected"},
        {"list == list", "6+2: cannot compare list(double) with list(double)"},
        {"nope + nada",
         "1+4: unknown field 'nope' [known: i, j, big, least, i_null, d, zero, huge, d_null, ...]; "
         "8+4: "
         "unknown field 'nada' [known: i, j, big, least, i_null, d, zero, huge, d_null, ...]"},
        {"broken + 1", ""},
        {"sum(i) by s over 7d",
         "1+3: 'sum' is an aggregate: it stands at the start of a feature, with 'by' and 'over' "
         "[give the window a feature of its own and use that name here]; 8+2: unexpected 'by': an "
         "operator or the end was expected [a window is a feature of its own: sum(x) by key over "
         "7d]"},
        {"\xc3\xa9",
         "1+1: a byte that no expression has (0xc3) [a text stands in '...' or \"...\"]"},
    };
    (void)state;
    CHECK_LINES(lines);
}

static void test_depth(void **state)
{
    struct fixture fx;
    struct qn_buf text = {0}, out = {0};

    (void)state;
    fixture_init(&fx);
    for (int depth = 64; depth <= 65; depth++) {
        qn_buf_clear(&text);
        for (int i = 0; i < depth; i++)
            qn_buf_byte(&text, '(');
        qn_buf_byte(&text, 'i');
        for (int i = 0; i < depth; i++)
            qn_buf_byte(&text, ')');
        qn_buf_byte(&text, 0);
        evaluate(&fx, text.data, &out);
        assert_string_equal(out.data,
                            depth == 64
                                ? "int64 7"
                                : "65+1: nested deeper than 64 [give a part a feature of its own]");
    }
    /* Long is not deep: no stack is used for it. */
    qn_buf_clear(&text);
    qn_buf_text(&text, "i");
    for (int i = 0; i < 3000; i++)
        qn_buf_text(&text, " + 1");
    qn_buf_byte(&text, 0);
    evaluate(&fx, text.data, &out);
    assert_string_equal(out.data, "int64 3007");
    qn_buf_clear(&text);
    for (int i = 0; i < 5000; i++)
        qn_buf_text(&text, "i + ");
    qn_buf_text(&text, "i");
    qn_buf_byte(&text, 0);
    evaluate(&fx, text.data, &out);
    assert_non_null(strstr(out.data, "at most 8192 operations"));
    qn_buf_clear(&text);
    for (int i = 0; i < 5000; i++)
        qn_buf_text(&text, "not ");
    qn_buf_text(&text, "yes");
    qn_buf_byte(&text, 0);
    evaluate(&fx, text.data, &out);
    assert_non_null(strstr(out.data, "nested deeper than 64"));
    qn_buf_fini(&text);
    qn_buf_fini(&out);
    qn_arena_fini(&fx.arena);
}

static void test_columns(void **state)
{
    struct fixture fx;
    uint32_t out[4], column = 77;
    struct qn_expr *e;

    (void)state;
    fixture_init(&fx);
    e = qn_expr_parse(qn_str_of("i + j * i > d"), (struct qn_pos){0}, &fx.scope, &fx.arena,
                      &fx.diags);
    assert_int_equal(qn_expr_columns(e, out, 4), 3);
    assert_int_equal(out[0] + out[1] + out[2], 0 + 1 + 5);
    assert_int_equal(qn_expr_columns(e, out, 1), 3);
    assert_false(qn_expr_is_name(e, &column));
    e = qn_expr_parse(qn_str_of(" (d) "), (struct qn_pos){0}, &fx.scope, &fx.arena, &fx.diags);
    assert_true(qn_expr_is_name(e, &column));
    assert_int_equal(column, 5);
    e = qn_expr_parse(qn_str_of("floor(i)"), (struct qn_pos){0}, &fx.scope, &fx.arena, &fx.diags);
    assert_non_null(e);
    e = qn_expr_parse(qn_str_of("5"), (struct qn_pos){0}, &fx.scope, &fx.arena, &fx.diags);
    assert_false(qn_expr_is_name(e, &column));
    assert_int_equal(qn_expr_columns(e, out, 4), 0);
    qn_arena_fini(&fx.arena);
}

/* The page in docs holds what the table says. */
static void test_reference(void **state)
{
    const char *root = getenv("QUERN_ROOT");
    struct qn_buf want = {0}, page = {0};
    char path[4096];
    FILE *f;
    int c;

    (void)state;
    qn_expr_reference(&want);
    qn_buf_byte(&want, 0);
    assert_non_null(strstr(want.data, "| `hour(timestamp)` | int64 | 0 to 23, UTC |"));
    if (root == NULL) {
        qn_buf_fini(&want);
        print_message("QUERN_ROOT is not set\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/docs/expressions.md", root);
    f = fopen(path, "rb");
    assert_non_null(f);
    while ((c = fgetc(f)) != EOF)
        qn_buf_byte(&page, (char)c);
    fclose(f);
    qn_buf_byte(&page, 0);
    assert_non_null(strstr(page.data, want.data));
    qn_buf_fini(&want);
    qn_buf_fini(&page);
}

static void test_out_of_memory(void **state)
{
    static const char *const text =
        "if(contains(lower(s), 'he') or i in (1, j, 7), m * 2 + 0.005, coalesce(d, 1) / i) > "
        "length('abc') and nope is null";
    uint64_t n = 0;
    bool done = false;

    (void)state;
    for (n = 1; !done; n++) {
        struct fixture fx;
        struct qn_buf out = {0};

        fixture_init(&fx);
        qn_arena_fini(&fx.arena); /* what follows allocates anew */
        for (int with_mistake = 0; with_mistake < 2; with_mistake++) {
            struct qn_arena arena = {.block_bytes = 64};
            struct qn_str s = qn_str_of(text);
            struct qn_diags diags = {.arena = &arena};

            s.len -= with_mistake ? 0 : (uint32_t)strlen(" and nope is null");
            qn_mem_fail_at(n, true);
            struct qn_expr *e =
                qn_expr_parse(s, (struct qn_pos){1, 1, 0}, &fx.scope, &arena, &diags);

            qn_mem_fail_at(0, false);
            if (with_mistake)
                assert_null(e);
            else if (e == NULL)
                assert_int_equal(diags.errors, 0);
            else
                done = true;
            if (diags.errors > 0)
                assert_true(with_mistake);
            qn_arena_fini(&arena);
        }
        qn_buf_fini(&out);
    }
    assert_true(n > 5);
}

static void test_run_out_of_memory(void **state)
{
    struct fixture fx;
    struct qn_expr *e;
    struct qn_col result;
    bool done = false;

    (void)state;
    fixture_init(&fx);
    e = qn_expr_parse(qn_str_of("lower(s) == 'h\xc3\xa9llo' and i + 1 > j"),
                      (struct qn_pos){1, 1, 0}, &fx.scope, &fx.arena, &fx.diags);
    assert_non_null(e);
    assert_int_equal(qn_col_init(&result, qn_expr_kind(e), 1, &fx.arena, NULL), QN_OK);
    for (uint64_t n = 1; !done; n++) {
        struct qn_arena arena = {.block_bytes = 64};
        struct qn_err err = {0};
        qn_status rc;

        qn_mem_fail_at(n, true);
        rc = qn_expr_run(e, fx.shown, 0, 1, &result, &arena, &err);
        qn_mem_fail_at(0, false);
        assert_true(rc == QN_OK || (rc == QN_NOMEM && err.code == QN_NOMEM));
        done = rc == QN_OK;
        qn_arena_fini(&arena);
    }
    assert_int_equal(result.i64[0], 1);
    qn_arena_fini(&fx.arena);
}

/* ---- the twin ---- */

enum twin_op {
    TW_COL,
    TW_NUM,
    TW_ADD,
    TW_SUB,
    TW_MUL,
    TW_DIV,
    TW_MOD,
    TW_NEG,
    TW_ABS,
    TW_FLOOR,
    TW_ROUND,
    TW_SQRT,
    TW_MIN,
    TW_MAX,
    TW_COALESCE,
    TW_IF,
    TW_LENGTH,
    TW_HOUR,
    TW_WEEKDAY,
    TW_EQ,
    TW_NE,
    TW_LT,
    TW_LE,
    TW_GT,
    TW_GE,
    TW_AND,
    TW_OR,
    TW_NOT,
    TW_IS_NULL,
    TW_IN,
    TW_UPPER
};

struct twin {
    enum twin_op op;
    struct qn_kind kind;
    int col;
    int64_t number;
    struct twin *in[3];
    int ins;
};

struct twin_value {
    bool null;
    int64_t i64;
    double f64;
    char str[40];
};

enum { TWIN_COLS = 12, TWIN_ROWS = 2500 };
static const struct qn_kind twin_kinds[TWIN_COLS] = {
    {QN_INT64, 0},   {QN_INT64, 0},   {QN_DOUBLE, 0},    {QN_DOUBLE, 0},
    {QN_DECIMAL, 2}, {QN_DECIMAL, 4}, {QN_BOOL, 0},      {QN_BOOL, 0},
    {QN_STRING, 0},  {QN_STRING, 0},  {QN_TIMESTAMP, 0}, {QN_TIMESTAMP, 0}};
static const char *const twin_names[TWIN_COLS] = {"i", "j", "d", "e", "m", "n",
                                                  "a", "b", "s", "u", "t", "w"};

struct twin_world {
    struct qn_rng rng;
    struct qn_arena arena;
    struct qn_col cols[TWIN_COLS];
    const struct qn_col *shown[TWIN_COLS];
};

static bool is_number(struct qn_kind k)
{
    return k.type == QN_INT64 || k.type == QN_DOUBLE || k.type == QN_DECIMAL;
}

static struct qn_kind twin_common(struct qn_kind a, struct qn_kind b)
{
    if (a.type == QN_DOUBLE || b.type == QN_DOUBLE)
        return (struct qn_kind){QN_DOUBLE, 0};
    if (a.type == QN_DECIMAL || b.type == QN_DECIMAL)
        return (struct qn_kind){QN_DECIMAL, a.scale > b.scale ? a.scale : b.scale};
    return a;
}

static double twin_double(const struct twin_value *v, struct qn_kind k)
{
    char text[64];

    if (k.type == QN_DOUBLE)
        return v->f64;
    snprintf(text, sizeof text, "%llde-%d", (long long)v->i64, k.scale);
    return strtod(text, NULL);
}

static struct twin_value twin_convert(struct twin_value v, struct qn_kind from, struct qn_kind to)
{
    if (v.null || (from.type == to.type && from.scale == to.scale) || !is_number(to))
        return v;
    if (to.type == QN_DOUBLE) {
        v.f64 = twin_double(&v, from);
        return v;
    }
    __int128 x = v.i64;

    for (int i = from.scale; i < to.scale; i++)
        x *= 10;
    v.null = x > INT64_MAX || x < INT64_MIN;
    v.i64 = (int64_t)x;
    return v;
}

static int twin_order(const struct twin_value *a, struct qn_kind ka, const struct twin_value *b,
                      struct qn_kind kb)
{
    if (ka.type == QN_STRING) {
        const int c = strcmp(a->str, b->str);

        return (c > 0) - (c < 0);
    }
    if (is_number(ka) && (ka.type == QN_DOUBLE || kb.type == QN_DOUBLE)) {
        /* 64 bits of mantissa: integers are exact */
        const long double x =
            ka.type == QN_INT64 ? (long double)a->i64 : (long double)twin_double(a, ka);
        const long double y =
            kb.type == QN_INT64 ? (long double)b->i64 : (long double)twin_double(b, kb);

        return (x > y) - (x < y);
    }
    __int128 x = a->i64, y = b->i64;

    for (int i = ka.scale; is_number(ka) && i < kb.scale; i++)
        x *= 10;
    for (int i = kb.scale; is_number(ka) && i < ka.scale; i++)
        y *= 10;
    return (x > y) - (x < y);
}

static struct twin_value twin_number(struct twin_value r, __int128 x)
{
    r.null = r.null || x > INT64_MAX || x < INT64_MIN;
    r.i64 = (int64_t)x;
    return r;
}

static struct twin_value twin_real(struct twin_value r, double x)
{
    r.null = r.null || !(fabs(x) <= DBL_MAX);
    r.f64 = x;
    return r;
}

static __int128 ten_to(int n)
{
    __int128 p = 1;

    while (n-- > 0)
        p *= 10;
    return p;
}

static struct twin_value twin_eval(const struct twin *t, const struct twin_world *w, uint32_t row);

static struct twin_value twin_arithmetic(const struct twin *t, struct twin_value a,
                                         struct twin_value b)
{
    const struct qn_kind ka = t->in[0]->kind, kb = t->in[1]->kind;
    struct twin_value r = {.null = a.null || b.null};

    if (r.null)
        return r;
    if (t->op == TW_DIV) {
        const double x = twin_double(&a, ka), y = twin_double(&b, kb);

        if (y == 0) {
            r.null = true;
            return r;
        }
        return twin_real(r, x / y);
    }
    if (t->op == TW_MOD) {
        if (b.i64 == 0)
            r.null = true;
        return r.null ? r : twin_number(r, (__int128)a.i64 % b.i64);
    }
    if (t->kind.type == QN_DOUBLE) {
        const double x = twin_double(&a, ka), y = twin_double(&b, kb);

        return twin_real(r, t->op == TW_ADD ? x + y : t->op == TW_SUB ? x - y : x * y);
    }
    if (t->op == TW_MUL)
        return twin_number(r, (__int128)a.i64 * b.i64);
    a = twin_convert(a, ka, t->kind);
    b = twin_convert(b, kb, t->kind);
    r.null = a.null || b.null;
    return twin_number(r, t->op == TW_ADD ? (__int128)a.i64 + b.i64 : (__int128)a.i64 - b.i64);
}

static struct twin_value twin_unary(const struct twin *t, struct twin_value a)
{
    const struct qn_kind k = t->in[0]->kind;
    struct twin_value r = {.null = a.null};
    const int64_t hours = 3600ll * 1000000;

    if (t->op == TW_IS_NULL)
        return (struct twin_value){.i64 = a.null};
    if (r.null)
        return r;
    switch (t->op) {
    case TW_NEG:
        return k.type == QN_DOUBLE ? twin_real(r, -a.f64) : twin_number(r, -(__int128)a.i64);
    case TW_ABS:
        return k.type == QN_DOUBLE ? twin_real(r, fabs(a.f64))
                                   : twin_number(r, a.i64 < 0 ? -(__int128)a.i64 : a.i64);
    case TW_SQRT:
        return twin_real(r, sqrt(twin_double(&a, k)));
    case TW_FLOOR:
    case TW_ROUND: {
        if (k.type == QN_DOUBLE)
            return twin_real(r, t->op == TW_FLOOR ? floor(a.f64) : round(a.f64));
        const __int128 p = ten_to(k.scale), x = a.i64;
        __int128 q = x / p;

        if (t->op == TW_FLOOR && q * p > x)
            q--;
        if (t->op == TW_ROUND)
            q = x >= 0 ? (2 * x + p) / (2 * p) : -((-2 * x + p) / (2 * p));
        return twin_number(r, q);
    }
    case TW_LENGTH:
        for (const char *p = a.str; *p; p++)
            r.i64 += ((unsigned char)*p & 0xC0) != 0x80;
        return r;
    case TW_UPPER:
        for (int i = 0; a.str[i] != 0; i++)
            r.str[i] = a.str[i] >= 'a' && a.str[i] <= 'z' ? (char)(a.str[i] - 32) : a.str[i];
        return r;
    case TW_HOUR:
        r.i64 = qn_timestamp_civil(a.i64).hour;
        (void)hours;
        return r;
    case TW_WEEKDAY:
        r.i64 = qn_timestamp_civil(a.i64).weekday;
        return r;
    case TW_NOT:
        r.i64 = !a.i64;
        return r;
    default:
        abort();
    }
}

static struct twin_value twin_in(const struct twin *t, const struct twin_world *w, uint32_t row)
{
    const struct twin_value x = twin_eval(t->in[0], w, row);
    struct twin_value r = {0};

    r.null = x.null;
    for (int i = 1; i < t->ins; i++) {
        const struct twin_value y = twin_eval(t->in[i], w, row);

        if (!x.null && !y.null && twin_order(&x, t->in[0]->kind, &y, t->in[i]->kind) == 0)
            return (struct twin_value){.i64 = 1};
        r.null = r.null || y.null;
    }
    return r;
}

static struct twin_value twin_eval(const struct twin *t, const struct twin_world *w, uint32_t row)
{
    struct twin_value a, b, r = {0};

    if (t->op == TW_COL) {
        const struct qn_col *c = &w->cols[t->col];

        r.null = !c->valid[row];
        if (!r.null && t->kind.type == QN_STRING)
            memcpy(r.str, c->str[row].p, c->str[row].len);
        else if (!r.null && t->kind.type == QN_DOUBLE)
            r.f64 = c->f64[row];
        else if (!r.null)
            r.i64 = c->i64[row];
        return r;
    }
    if (t->op == TW_NUM) {
        r.i64 = t->number;
        r.f64 = twin_double(
            &r, (struct qn_kind){QN_DECIMAL, t->kind.type == QN_DECIMAL ? t->kind.scale : 0});
        return r;
    }
    if (t->op == TW_IN)
        return twin_in(t, w, row);
    a = twin_eval(t->in[0], w, row);
    if (t->ins == 1)
        return twin_unary(t, a);
    b = twin_eval(t->in[1], w, row);
    if (t->op == TW_IF) {
        const struct twin *side = a.i64 ? t->in[1] : t->in[2];

        if (a.null)
            return a;
        return twin_convert(a.i64 ? b : twin_eval(t->in[2], w, row), side->kind, t->kind);
    }
    if (t->op == TW_AND || t->op == TW_OR) {
        const int64_t absorbs = t->op == TW_OR;

        if ((!a.null && a.i64 == absorbs) || (!b.null && b.i64 == absorbs))
            r.i64 = absorbs;
        else if (a.null || b.null)
            r.null = true;
        else
            r.i64 = !absorbs;
        return r;
    }
    if (t->op >= TW_EQ && t->op <= TW_GE) {
        r.null = a.null || b.null;
        if (r.null)
            return r;
        const int o = twin_order(&a, t->in[0]->kind, &b, t->in[1]->kind);

        r.i64 = t->op == TW_EQ   ? o == 0
                : t->op == TW_NE ? o != 0
                : t->op == TW_LT ? o < 0
                : t->op == TW_LE ? o <= 0
                : t->op == TW_GT ? o > 0
                                 : o >= 0;
        return r;
    }
    if (t->op == TW_MIN || t->op == TW_MAX || t->op == TW_COALESCE) {
        a = twin_convert(a, t->in[0]->kind, t->kind);
        b = twin_convert(b, t->in[1]->kind, t->kind);
        if (t->op == TW_COALESCE)
            return a.null ? b : a;
        if (a.null || b.null)
            return (struct twin_value){.null = true};
        const int o = twin_order(&a, t->kind, &b, t->kind);

        return t->op == TW_MIN ? (o <= 0 ? a : b) : (o >= 0 ? a : b);
    }
    return twin_arithmetic(t, a, b);
}

static struct twin *twin_new(struct twin_world *w, enum twin_op op, struct qn_kind kind, int ins)
{
    struct twin *t = QN_NEW(&w->arena, struct twin);

    assert_non_null(t);
    t->op = op;
    t->kind = kind;
    t->ins = ins;
    return t;
}

static struct twin *twin_make(struct twin_world *w, enum qn_type type, int depth);

static struct twin *twin_column(struct twin_world *w, enum qn_type type)
{
    int col;

    do
        col = (int)qn_rng_below(&w->rng, TWIN_COLS);
    while (twin_kinds[col].type != type);
    struct twin *t = twin_new(w, TW_COL, twin_kinds[col], 0);

    t->col = col;
    return t;
}

/* Any number; type QN_DECIMAL asks for any of them here. */
static struct twin *twin_make_number(struct twin_world *w, int depth)
{
    static const enum qn_type types[3] = {QN_INT64, QN_DOUBLE, QN_DECIMAL};
    struct twin *t;
    const uint32_t pick = depth == 0 ? 0 : qn_rng_below(&w->rng, 14);
    struct qn_kind i64 = {QN_INT64, 0};

    if (pick < 3)
        return twin_column(w, types[qn_rng_below(&w->rng, 3)]);
    if (pick < 7) {
        static const enum twin_op ops[] = {TW_ADD, TW_SUB, TW_MUL, TW_DIV};
        const enum twin_op op = ops[qn_rng_below(&w->rng, 4)];

        t = twin_new(w, op, i64, 2);
        t->in[0] = twin_make_number(w, depth - 1);
        t->in[1] = twin_make_number(w, depth - 1);
        /* a literal beside a column of a type that takes it as it is */
        if (qn_rng_below(&w->rng, 3) == 0 && t->in[0]->op == TW_COL) {
            t->in[1] = twin_new(w, TW_NUM, t->in[0]->kind, 0);
            t->in[1]->number = qn_rng_below(&w->rng, 3000) - 1000;
            if (op == TW_MUL &&
                t->in[0]->kind.type == QN_DECIMAL) { /* keeps its own decimals: give it none */
                t->in[1]->kind = i64;
            }
        }
        const struct qn_kind a = t->in[0]->kind, b = t->in[1]->kind;

        t->kind = op == TW_DIV ? (struct qn_kind){QN_DOUBLE, 0} : twin_common(a, b);
        if (op == TW_MUL && t->kind.type == QN_DECIMAL) {
            t->kind.scale = (uint8_t)(a.scale + b.scale);
            if (a.scale + b.scale > 18)
                t->kind = (struct qn_kind){QN_DOUBLE, 0};
        }
        return t;
    }
    if (pick == 7) {
        t = twin_new(w, TW_MOD, i64, 2);
        t->in[0] = twin_column(w, QN_INT64);
        t->in[1] = twin_column(w, QN_INT64);
        return t;
    }
    if (pick < 10) {
        static const enum twin_op ops[] = {TW_NEG, TW_ABS, TW_FLOOR, TW_ROUND, TW_SQRT};

        t = twin_new(w, ops[qn_rng_below(&w->rng, 5)], i64, 1);
        t->in[0] = twin_make_number(w, depth - 1);
        if (t->op == TW_SQRT)
            t->kind = (struct qn_kind){QN_DOUBLE, 0};
        else if (t->op == TW_NEG || t->op == TW_ABS || t->in[0]->kind.type == QN_DOUBLE)
            t->kind = t->in[0]->kind;
        return t;
    }
    if (pick == 10) {
        t = twin_new(w, TW_LENGTH, i64, 1);
        t->in[0] = twin_make(w, QN_STRING, depth - 1);
        return t;
    }
    if (pick == 11) {
        t = twin_new(w, qn_rng_below(&w->rng, 2) ? TW_HOUR : TW_WEEKDAY, i64, 1);
        t->in[0] = twin_column(w, QN_TIMESTAMP);
        return t;
    }
    if (pick == 12) {
        static const enum twin_op ops[] = {TW_MIN, TW_MAX, TW_COALESCE};

        t = twin_new(w, ops[qn_rng_below(&w->rng, 3)], i64, 2);
        t->in[0] = twin_make_number(w, depth - 1);
        t->in[1] = twin_make_number(w, depth - 1);
        t->kind = twin_common(t->in[0]->kind, t->in[1]->kind);
        return t;
    }
    t = twin_new(w, TW_IF, i64, 3);
    t->in[0] = twin_make(w, QN_BOOL, depth - 1);
    t->in[1] = twin_make_number(w, depth - 1);
    t->in[2] = twin_make_number(w, depth - 1);
    t->kind = twin_common(t->in[1]->kind, t->in[2]->kind);
    return t;
}

static struct twin *twin_make(struct twin_world *w, enum qn_type type, int depth)
{
    const uint32_t pick = depth == 0 ? 0 : qn_rng_below(&w->rng, 8);
    const struct qn_kind kind = {type, 0};
    struct twin *t;

    if (type == QN_DECIMAL)
        return twin_make_number(w, depth);
    if (type == QN_TIMESTAMP || pick == 0)
        return twin_column(w, type);
    if (type == QN_STRING) {
        if (pick < 4)
            return twin_column(w, type);
        t = twin_new(w, pick < 6 ? TW_UPPER : TW_COALESCE, kind, pick < 6 ? 1 : 2);
        for (int i = 0; i < t->ins; i++)
            t->in[i] = twin_make(w, type, depth - 1);
        return t;
    }
    if (pick < 4) {
        static const enum qn_type types[3] = {QN_DECIMAL, QN_STRING, QN_TIMESTAMP};
        const enum qn_type of = types[qn_rng_below(&w->rng, 3)];

        t = twin_new(w, (enum twin_op)(TW_EQ + qn_rng_below(&w->rng, 6)), kind, 2);
        t->in[0] = twin_make(w, of, depth - 1);
        t->in[1] = twin_make(w, of, depth - 1);
        return t;
    }
    if (pick < 6) {
        t = twin_new(w, pick == 4 ? TW_AND : TW_OR, kind, 2);
        t->in[0] = twin_make(w, type, depth - 1);
        t->in[1] = twin_make(w, type, depth - 1);
        return t;
    }
    if (pick == 6) {
        t = twin_new(w, qn_rng_below(&w->rng, 2) ? TW_NOT : TW_IS_NULL, kind, 1);
        t->in[0] = twin_make(w, type, depth - 1);
        return t;
    }
    t = twin_new(w, TW_IN, kind, 3);
    t->in[0] = twin_column(w, QN_INT64);
    t->in[1] = twin_new(w, TW_NUM, (struct qn_kind){QN_INT64, 0}, 0);
    t->in[1]->number = qn_rng_below(&w->rng, 5);
    t->in[2] = twin_make_number(w, depth - 1);
    return t;
}

static void twin_print(const struct twin *t, struct qn_buf *out)
{
    static const char *const infix[] = {
        [TW_ADD] = "+", [TW_SUB] = "-",   [TW_MUL] = "*", [TW_DIV] = "/",   [TW_MOD] = "%",
        [TW_EQ] = "==", [TW_NE] = "!=",   [TW_LT] = "<",  [TW_LE] = "<=",   [TW_GT] = ">",
        [TW_GE] = ">=", [TW_AND] = "and", [TW_OR] = "or", [TW_UPPER] = NULL};
    static const char *const call[] = {
        [TW_ABS] = "abs",           [TW_FLOOR] = "floor",     [TW_ROUND] = "round",
        [TW_SQRT] = "sqrt",         [TW_MIN] = "min",         [TW_MAX] = "max",
        [TW_COALESCE] = "coalesce", [TW_IF] = "if",           [TW_LENGTH] = "length",
        [TW_HOUR] = "hour",         [TW_WEEKDAY] = "weekday", [TW_NEG] = "-",
        [TW_NOT] = "not ",          [TW_UPPER] = "upper"};
    char text[32];

    if (t->op == TW_COL) {
        qn_buf_text(out, twin_names[t->col]);
    } else if (t->op == TW_NUM) {
        if (t->number < 0 && t->kind.type == QN_DECIMAL)
            qn_buf_add(out, text, qn_print_scaled(text, t->number, t->kind.scale));
        else if (t->kind.type == QN_DECIMAL)
            qn_buf_add(out, text, qn_print_scaled(text, t->number, t->kind.scale));
        else
            qn_buf_printf(out, "%lld", (long long)t->number);
    } else if (t->op == TW_IS_NULL || t->op == TW_IN) {
        qn_buf_text(out, "(");
        twin_print(t->in[0], out);
        qn_buf_text(out, t->op == TW_IN ? " in (" : " is null");
        for (int i = 1; i < t->ins; i++) {
            qn_buf_text(out, i > 1 ? ", " : "");
            twin_print(t->in[i], out);
        }
        qn_buf_text(out, t->op == TW_IN ? "))" : ")");
    } else if (infix[t->op] != NULL) {
        qn_buf_text(out, "(");
        twin_print(t->in[0], out);
        qn_buf_printf(out, " %s ", infix[t->op]);
        twin_print(t->in[1], out);
        qn_buf_text(out, ")");
    } else {
        const bool outside = t->op == TW_NEG || t->op == TW_NOT;

        qn_buf_printf(out, outside ? "(%s" : "%s(", call[t->op]);
        for (int i = 0; i < t->ins; i++) {
            qn_buf_text(out, i > 0 ? ", " : "");
            twin_print(t->in[i], out);
        }
        qn_buf_text(out, ")");
    }
}

static void twin_fill(struct twin_world *w)
{
    static const int64_t ints[] = {
        0, 1, -1, 2, 3, -7, 100, INT64_MAX, INT64_MIN, INT64_MAX - 1, 1ll << 53, (1ll << 53) + 1};
    static const double reals[] = {
        0, 1, -1, 0.5, 2.5, -2.5, 1e308, -1e308, 1e-300, 9223372036854775808.0, 9007199254740992.0};
    static const char *const texts[] = {
        "", "a", "B", "abc", "\xc3\xa9t\xc3\xa9", "Zz", "longer text here"};

    for (int k = 0; k < TWIN_COLS; k++) {
        struct qn_col *c = &w->cols[k];

        assert_int_equal(qn_col_init(c, twin_kinds[k], TWIN_ROWS, &w->arena, NULL), QN_OK);
        w->shown[k] = c;
        for (uint32_t r = 0; r < TWIN_ROWS; r++) {
            c->valid[r] = qn_rng_below(&w->rng, 6) != 0;
            const bool edge = qn_rng_below(&w->rng, 2) == 0;

            switch (twin_kinds[k].type) {
            case QN_STRING: /* a null text points nowhere */
                c->str[r] = c->valid[r] ? qn_str_of(texts[qn_rng_below(&w->rng, 7)])
                                        : (struct qn_str){(const char *)8, 9999};
                break;
            case QN_DOUBLE:
                c->f64[r] =
                    edge ? reals[qn_rng_below(&w->rng, 11)] : (qn_rng_unit(&w->rng) - 0.5) * 2000;
                break;
            case QN_BOOL:
                c->i64[r] = c->valid[r] ? qn_rng_below(&w->rng, 2) : (int64_t)qn_rng_next(&w->rng);
                break;
            case QN_TIMESTAMP:
                c->i64[r] =
                    (int64_t)(qn_rng_next(&w->rng) % 4000000000000000ull) - 2000000000000000ll;
                break;
            default:
                c->i64[r] = edge ? ints[qn_rng_below(&w->rng, 12)]
                                 : (int64_t)qn_rng_below(&w->rng, 200000) - 100000;
            }
        }
    }
}

static bool twin_agrees(const struct twin_value *want, const struct qn_col *got, uint32_t row)
{
    if (want->null || !got->valid[row])
        return want->null && !got->valid[row];
    if (got->kind.type == QN_DOUBLE)
        return want->f64 == got->f64[row];
    if (got->kind.type == QN_STRING)
        return qn_str_is(got->str[row], want->str);
    return want->i64 == got->i64[row];
}

static void test_twin(void **state)
{
    static const enum qn_type types[] = {QN_DECIMAL, QN_DECIMAL, QN_BOOL, QN_BOOL, QN_STRING};
    struct twin_world w = {0};
    struct qn_scope scope = {.what = "field", .count = TWIN_COLS};
    struct qn_name names[TWIN_COLS];
    struct qn_arena boot = {0}, batch = {0};
    struct qn_diags diags = {.arena = &boot};
    struct qn_buf text = {0};
    const uint64_t seed = test_seed(20180401);

    (void)state;
    qn_rng_seed(&w.rng, seed);
    twin_fill(&w);
    for (uint32_t i = 0; i < TWIN_COLS; i++)
        names[i] = (struct qn_name){qn_str_of(twin_names[i]), twin_kinds[i], i};
    scope.names = names;
    for (int round = 0; round < 400; round++) {
        struct twin *t =
            twin_make(&w, types[qn_rng_below(&w.rng, 5)], 1 + (int)qn_rng_below(&w.rng, 4));
        struct qn_col got;
        char a[24], b[24];

        qn_buf_clear(&text);
        twin_print(t, &text);
        struct qn_expr *e = qn_expr_parse((struct qn_str){text.data, (uint32_t)text.len},
                                          (struct qn_pos){1, 1, 0}, &scope, &boot, &diags);

        if (e == NULL)
            fail_msg("%.*s: %s", (int)text.len, text.data,
                     diags.count > 0 ? diags.list[0].text : "no reason");
        if (qn_expr_kind(e).type != t->kind.type || qn_expr_kind(e).scale != t->kind.scale)
            fail_msg("%.*s: is %s, expected %s", (int)text.len, text.data,
                     qn_kind_print(qn_expr_kind(e), a), qn_kind_print(t->kind, b));
        assert_int_equal(qn_col_init(&got, t->kind, TWIN_ROWS, &batch, NULL), QN_OK);
        memset(got.valid, 7, TWIN_ROWS);
        const uint32_t middle = qn_rng_below(&w.rng, TWIN_ROWS);

        assert_int_equal(qn_expr_run(e, w.shown, 0, middle, &got, &batch, NULL), QN_OK);
        assert_int_equal(qn_expr_run(e, w.shown, middle, TWIN_ROWS, &got, &batch, NULL), QN_OK);
        for (uint32_t r = 0; r < TWIN_ROWS; r++) {
            const struct twin_value want = twin_eval(t, &w, r);

            assert_true(got.valid[r] <= 1);
            if (!twin_agrees(&want, &got, r)) {
                struct qn_buf shown = {0};

                print_value(&shown, &got, r);
                fail_msg("%.*s: row %u gives %.*s, expected %s %lld %.17g %s", (int)text.len,
                         text.data, r, (int)shown.len, shown.data, want.null ? "null" : "",
                         (long long)want.i64, want.f64, want.str);
            }
        }
        qn_arena_reset(&batch);
    }
    qn_buf_fini(&text);
    qn_arena_fini(&boot);
    qn_arena_fini(&batch);
    qn_arena_fini(&w.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_comparisons),
        cmocka_unit_test(test_texts_and_times),
        cmocka_unit_test(test_truth),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_run_out_of_memory),
        cmocka_unit_test(test_twin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
