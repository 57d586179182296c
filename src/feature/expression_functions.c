/* SPDX-License-Identifier: Apache-2.0
 * expression_functions.c - the functions of the expression language: one table, from which typing
 * and docs come.
 *
 * A row says the name, what the arguments may be, the type of the result, one line of help, and the
 * loop for each type. Adding a function is adding a row and its loop. Results that are not finite
 * are null. Texts that must be made (lower, upper) live in the batch arena. Thread: any; no state.
 */
#include "base/real_math.h"
#include "feature/expression_int.h"

#include <float.h>
#include <string.h>

#define DAY_US  INT64_C(86400000000)
#define HOUR_US INT64_C(3600000000)

/* ---- numbers ---- */

static void abs_i64(struct qn_expr_call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const int64_t x = c->in[0].i64[i];

        c->i64[i] = x < 0 ? (int64_t)(0 - (uint64_t)x) : x;
        c->valid[i] = c->in[0].valid[i] & (uint8_t)(x != INT64_MIN);
    }
}

#define REAL_FUNCTION(name, expr)                                                                  \
    static void name(struct qn_expr_call *c)                                                       \
    {                                                                                              \
        const double *restrict a = c->in[0].f64;                                                   \
        const uint8_t *restrict va = c->in[0].valid;                                               \
                                                                                                   \
        for (uint32_t i = 0; i < c->n; i++) {                                                      \
            const double x = va[i] ? a[i] : 1, r = (expr);                                         \
                                                                                                   \
            c->f64[i] = r;                                                                         \
            c->valid[i] = va[i] & (uint8_t)(__builtin_fabs(r) <= DBL_MAX);                         \
        }                                                                                          \
    }
REAL_FUNCTION(abs_f64, __builtin_fabs(x))
REAL_FUNCTION(sqrt_f64, __builtin_sqrt(x))
REAL_FUNCTION(exp_f64, qn_exp(x))
REAL_FUNCTION(log_f64, qn_log(x))
REAL_FUNCTION(floor_f64, __builtin_floor(x))
REAL_FUNCTION(ceil_f64, __builtin_ceil(x))
REAL_FUNCTION(round_f64, __builtin_round(x))

/* Decimals to whole numbers: divided by param[0] = 10^scale, a power of at least 1, so nothing
 * overflows. */
static void floor_dec(struct qn_expr_call *c)
{
    const int64_t p = c->node->param[0];

    for (uint32_t i = 0; i < c->n; i++) {
        const int64_t x = c->in[0].i64[i];

        c->i64[i] = x / p - (x % p < 0);
        c->valid[i] = c->in[0].valid[i];
    }
}

static void ceil_dec(struct qn_expr_call *c)
{
    const int64_t p = c->node->param[0];

    for (uint32_t i = 0; i < c->n; i++) {
        const int64_t x = c->in[0].i64[i];

        c->i64[i] = x / p + (x % p > 0);
        c->valid[i] = c->in[0].valid[i];
    }
}

static void round_dec(struct qn_expr_call *c)
{
    const int64_t p = c->node->param[0], half = p - p / 2;

    for (uint32_t i = 0; i < c->n; i++) {
        const int64_t x = c->in[0].i64[i], rest = x % p;

        c->i64[i] = x / p + (p > 1 && rest >= half) - (p > 1 && rest <= -half);
        c->valid[i] = c->in[0].valid[i];
    }
}

#define CHOICE(name, T, member, result, expr)                                                      \
    static void name(struct qn_expr_call *c)                                                       \
    {                                                                                              \
        const T *restrict a = c->in[0].member, *restrict b = c->in[1].member;                      \
        const uint8_t *restrict va = c->in[0].valid, *restrict vb = c->in[1].valid;                \
                                                                                                   \
        for (uint32_t i = 0; i < c->n; i++) {                                                      \
            const uint8_t v = va[i] & vb[i];                                                       \
                                                                                                   \
            c->valid[i] = v;                                                                       \
            c->result[i] = (expr) ? a[i] : b[i];                                                   \
        }                                                                                          \
    }
CHOICE(min_i64, int64_t, i64, i64, a[i] <= b[i])
CHOICE(max_i64, int64_t, i64, i64, a[i] >= b[i])
CHOICE(min_f64, double, f64, f64, a[i] <= b[i])
CHOICE(max_f64, double, f64, f64, a[i] >= b[i])
CHOICE(min_str, struct qn_str, str, str, v &&qn_str_cmp(a[i], b[i]) <= 0)
CHOICE(max_str, struct qn_str, str, str, v &&qn_str_cmp(a[i], b[i]) >= 0)

/* ---- choices ---- */

#define COALESCE(name, T, member)                                                                  \
    static void name(struct qn_expr_call *c)                                                       \
    {                                                                                              \
        for (uint32_t i = 0; i < c->n; i++) {                                                      \
            c->member[i] = c->in[0].valid[i] ? c->in[0].member[i] : c->in[1].member[i];            \
            c->valid[i] = c->in[0].valid[i] | c->in[1].valid[i];                                   \
        }                                                                                          \
    }
COALESCE(coalesce_8, int64_t, i64)
COALESCE(coalesce_16, struct qn_str, str)

#define IF(name, T, member)                                                                        \
    static void name(struct qn_expr_call *c)                                                       \
    {                                                                                              \
        for (uint32_t i = 0; i < c->n; i++) {                                                      \
            const unsigned side = c->in[0].i64[i] != 0 ? 1 : 2;                                    \
                                                                                                   \
            c->member[i] = side == 1 ? c->in[1].member[i] : c->in[2].member[i];                    \
            c->valid[i] = c->in[0].valid[i] & (side == 1 ? c->in[1].valid[i] : c->in[2].valid[i]); \
        }                                                                                          \
    }
IF(if_8, int64_t, i64)
IF(if_16, struct qn_str, str)

/* ---- texts ---- */

static void length_str(struct qn_expr_call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        c->valid[i] = c->in[0].valid[i];
        c->i64[i] =
            c->valid[i] ? (int64_t)qn_utf8_count(c->in[0].str[i].p, c->in[0].str[i].len) : 0;
    }
}

static void length_list(struct qn_expr_call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        c->valid[i] = c->in[0].valid[i];
        c->i64[i] = c->valid[i] ? c->in[0].list[i].n : 0;
    }
}

/* Swaps the case of letters between low and low + 25 (ASCII); texts that have none are borrowed as
 * they are. */
static void change_case(struct qn_expr_call *c, char low)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct qn_str s = c->in[0].str[i];
        uint32_t hits = 0;

        c->str[i] = s;
        c->valid[i] = c->in[0].valid[i];
        for (uint32_t k = 0; c->valid[i] && k < s.len; k++)
            hits += (unsigned char)(s.p[k] - low) < 26;
        if (hits == 0)
            continue;
        char *made = qn_arena_alloc(c->arena, s.len);

        if (made == NULL) {
            c->failed = true;
            return;
        }
        for (uint32_t k = 0; k < s.len; k++)
            made[k] = (unsigned char)(s.p[k] - low) < 26 ? (char)(s.p[k] ^ 0x20) : s.p[k];
        c->str[i].p = made;
    }
}

static void lower_str(struct qn_expr_call *c)
{
    change_case(c, 'A');
}

static void upper_str(struct qn_expr_call *c)
{
    change_case(c, 'a');
}

static bool starts_with(struct qn_str s, struct qn_str part)
{
    return s.len >= part.len && (part.len == 0 || memcmp(s.p, part.p, part.len) == 0);
}

static bool ends_with(struct qn_str s, struct qn_str part)
{
    return s.len >= part.len &&
           (part.len == 0 || memcmp(s.p + s.len - part.len, part.p, part.len) == 0);
}

static bool contains(struct qn_str s, struct qn_str part)
{
    return part.len == 0 || (s.len >= part.len && memmem(s.p, s.len, part.p, part.len) != NULL);
}

#define TEXT_TEST(name, test)                                                                      \
    static void name(struct qn_expr_call *c)                                                       \
    {                                                                                              \
        for (uint32_t i = 0; i < c->n; i++) {                                                      \
            c->valid[i] = c->in[0].valid[i] & c->in[1].valid[i];                                   \
            c->i64[i] = c->valid[i] && test(c->in[0].str[i], c->in[1].str[i]);                     \
        }                                                                                          \
    }
TEXT_TEST(starts_with_str, starts_with)
TEXT_TEST(ends_with_str, ends_with)
TEXT_TEST(contains_str, contains)

/* ---- times, UTC ---- */

static inline int64_t floor_div(int64_t x, int64_t by)
{
    return x / by - (x % by < 0);
}

static void hour_time(struct qn_expr_call *c)
{
    const int64_t *restrict a = c->in[0].i64;
    int64_t *restrict out = c->i64;

    memcpy(c->valid, c->in[0].valid, c->n);
    for (uint32_t i = 0; i < c->n; i++) {
        const int64_t hours = floor_div(a[i], HOUR_US), h = hours % 24;

        out[i] = h < 0 ? h + 24 : h;
    }
}

static void weekday_time(struct qn_expr_call *c)
{
    const int64_t *restrict a = c->in[0].i64;
    int64_t *restrict out = c->i64;

    memcpy(c->valid, c->in[0].valid, c->n);
    for (uint32_t i = 0; i < c->n; i++) {
        /* 1970-01-01 was a Thursday, 3 with Monday = 0. */
        const int64_t w = (floor_div(a[i], DAY_US) + 3) % 7;

        out[i] = w < 0 ? w + 7 : w;
    }
}

#define CIVIL(name, member)                                                                        \
    static void name(struct qn_expr_call *c)                                                       \
    {                                                                                              \
        for (uint32_t i = 0; i < c->n; i++) {                                                      \
            c->valid[i] = c->in[0].valid[i];                                                       \
            c->i64[i] = c->valid[i] ? qn_timestamp_civil(c->in[0].i64[i]).member : 0;              \
        }                                                                                          \
    }
CIVIL(day_time, day)
CIVIL(month_time, month)
CIVIL(year_time, year)

static void seconds_between_time(struct qn_expr_call *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        int64_t us;
        const bool over = __builtin_sub_overflow(c->in[1].i64[i], c->in[0].i64[i], &us);

        c->valid[i] = c->in[0].valid[i] & c->in[1].valid[i] & (uint8_t)!over;
        c->f64[i] = c->valid[i] ? qn_scaled_double(us, 6) : 0;
    }
}

/* ---- the table ---- */

const struct qn_function qn_functions[] = {
    {.name = "if",
     .usage = "if(condition, a, b)",
     .args = {QN_ARG_BOOL, QN_ARG_SAME, QN_ARG_SAME},
     .args_min = 3,
     .args_max = 3,
     .result = QN_RESULT_SAME,
     .gives = "type of a and b",
     .help = "a where the condition is true, b where it is false, null where it is null",
     .i64 = if_8,
     .f64 = if_8,
     .str = if_16},
    {.name = "abs",
     .usage = "abs(number)",
     .args = {QN_ARG_NUMBER},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_SAME,
     .gives = "type of the number",
     .help = "the number without its sign",
     .i64 = abs_i64,
     .f64 = abs_f64},
    {.name = "sqrt",
     .usage = "sqrt(number)",
     .args = {QN_ARG_REAL},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_DOUBLE,
     .gives = "double",
     .help = "square root; null below 0",
     .f64 = sqrt_f64},
    {.name = "exp",
     .usage = "exp(number)",
     .args = {QN_ARG_REAL},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_DOUBLE,
     .gives = "double",
     .help = "e to that power; null where too large",
     .f64 = exp_f64},
    {.name = "log",
     .usage = "log(number)",
     .args = {QN_ARG_REAL},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_DOUBLE,
     .gives = "double",
     .help = "natural logarithm; null at 0 and below",
     .f64 = log_f64},
    {.name = "floor",
     .usage = "floor(number)",
     .args = {QN_ARG_NUMBER},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_WHOLE,
     .gives = "int64; double for a double",
     .help = "the whole number at or below",
     .i64 = qn_op_copy8,
     .f64 = floor_f64,
     .decimal = floor_dec},
    {.name = "ceil",
     .usage = "ceil(number)",
     .args = {QN_ARG_NUMBER},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_WHOLE,
     .gives = "int64; double for a double",
     .help = "the whole number at or above",
     .i64 = qn_op_copy8,
     .f64 = ceil_f64,
     .decimal = ceil_dec},
    {.name = "round",
     .usage = "round(number)",
     .args = {QN_ARG_NUMBER},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_WHOLE,
     .gives = "int64; double for a double",
     .help = "the nearest whole number, halves away from zero",
     .i64 = qn_op_copy8,
     .f64 = round_f64,
     .decimal = round_dec},
    {.name = "min",
     .usage = "min(a, b, ...)",
     .args = {QN_ARG_SAME_ORDER, QN_ARG_SAME_ORDER},
     .args_min = 2,
     .args_max = QN_EXPR_ARGS_MAX,
     .result = QN_RESULT_SAME,
     .gives = "common type",
     .help = "the smallest; null if any is null",
     .i64 = min_i64,
     .f64 = min_f64,
     .str = min_str},
    {.name = "max",
     .usage = "max(a, b, ...)",
     .args = {QN_ARG_SAME_ORDER, QN_ARG_SAME_ORDER},
     .args_min = 2,
     .args_max = QN_EXPR_ARGS_MAX,
     .result = QN_RESULT_SAME,
     .gives = "common type",
     .help = "the largest; null if any is null",
     .i64 = max_i64,
     .f64 = max_f64,
     .str = max_str},
    {.name = "coalesce",
     .usage = "coalesce(a, b, ...)",
     .args = {QN_ARG_SAME, QN_ARG_SAME},
     .args_min = 2,
     .args_max = QN_EXPR_ARGS_MAX,
     .result = QN_RESULT_SAME,
     .gives = "common type",
     .help = "the first that is not null",
     .i64 = coalesce_8,
     .f64 = coalesce_8,
     .str = coalesce_16},
    {.name = "length",
     .usage = "length(text)",
     .args = {QN_ARG_SIZED},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_INT64,
     .gives = "int64",
     .help = "characters (code points) of a text, values of a list",
     .str = length_str,
     .list = length_list},
    {.name = "lower",
     .usage = "lower(text)",
     .args = {QN_ARG_STRING},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_STRING,
     .gives = "string",
     .help = "A-Z as a-z; other letters stay",
     .str = lower_str},
    {.name = "upper",
     .usage = "upper(text)",
     .args = {QN_ARG_STRING},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_STRING,
     .gives = "string",
     .help = "a-z as A-Z; other letters stay",
     .str = upper_str},
    {.name = "starts_with",
     .usage = "starts_with(text, part)",
     .args = {QN_ARG_STRING, QN_ARG_STRING},
     .args_min = 2,
     .args_max = 2,
     .result = QN_RESULT_BOOL,
     .gives = "bool",
     .help = "true if the text begins with the part",
     .str = starts_with_str},
    {.name = "ends_with",
     .usage = "ends_with(text, part)",
     .args = {QN_ARG_STRING, QN_ARG_STRING},
     .args_min = 2,
     .args_max = 2,
     .result = QN_RESULT_BOOL,
     .gives = "bool",
     .help = "true if the text ends with the part",
     .str = ends_with_str},
    {.name = "contains",
     .usage = "contains(text, part)",
     .args = {QN_ARG_STRING, QN_ARG_STRING},
     .args_min = 2,
     .args_max = 2,
     .result = QN_RESULT_BOOL,
     .gives = "bool",
     .help = "true if the part is somewhere in the text",
     .str = contains_str},
    {.name = "hour",
     .usage = "hour(timestamp)",
     .args = {QN_ARG_TIME},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_INT64,
     .gives = "int64",
     .help = "0 to 23, UTC",
     .i64 = hour_time},
    {.name = "weekday",
     .usage = "weekday(timestamp)",
     .args = {QN_ARG_TIME},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_INT64,
     .gives = "int64",
     .help = "Monday = 0 to Sunday = 6, UTC",
     .i64 = weekday_time},
    {.name = "day",
     .usage = "day(timestamp)",
     .args = {QN_ARG_TIME},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_INT64,
     .gives = "int64",
     .help = "day of the month, 1 to 31, UTC",
     .i64 = day_time},
    {.name = "month",
     .usage = "month(timestamp)",
     .args = {QN_ARG_TIME},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_INT64,
     .gives = "int64",
     .help = "1 to 12, UTC",
     .i64 = month_time},
    {.name = "year",
     .usage = "year(timestamp)",
     .args = {QN_ARG_TIME},
     .args_min = 1,
     .args_max = 1,
     .result = QN_RESULT_INT64,
     .gives = "int64",
     .help = "the year, UTC",
     .i64 = year_time},
    {.name = "seconds_between",
     .usage = "seconds_between(from, to)",
     .args = {QN_ARG_TIME, QN_ARG_TIME},
     .args_min = 2,
     .args_max = 2,
     .result = QN_RESULT_DOUBLE,
     .gives = "double",
     .help = "seconds from the first time to the second, with microseconds",
     .i64 = seconds_between_time},
};
const uint32_t qn_function_count = sizeof qn_functions / sizeof qn_functions[0];

const struct qn_function *qn_function_find(struct qn_str name)
{
    for (uint32_t i = 0; i < qn_function_count; i++)
        if (qn_str_is(name, qn_functions[i].name))
            return &qn_functions[i];
    return NULL;
}

static const char reference_head[] =
    "# Expressions\n"
    "\n"
    "Generated by `quern reference expressions`.\n"
    "\n"
    "One language for features, `where` and `when`. Every expression has a type, found when the "
    "spec is read; a mistake\n"
    "is an error of `quern check`.\n"
    "\n"
    "## Values\n"
    "\n"
    "Numbers `1`, `0.5`, `1e3`; texts `'abc'` or `\"abc\"`, a quote inside written twice; `true`, "
    "`false`, `null`; names of\n"
    "fields and features. A time is compared with another or with a text: `created_at >= "
    "'2024-05-01T00:00:00Z'`. A\n"
    "duration moves a time: `created_at + 10m`; beside numbers it counts as seconds: "
    "`seconds_between(a, b) > 5m`.\n"
    "\n"
    "## Operators\n"
    "\n"
    "Loosest first; those of one line go from left to right, parentheses decide.\n"
    "\n"
    "| operator | takes | gives |\n"
    "|---|---|---|\n"
    "| `a or b` | bool | true where one is true, whatever the other |\n"
    "| `a and b` | bool | false where one is false, whatever the other |\n"
    "| `not a` | bool | bool |\n"
    "| `==` (also `=`) `!=` `<` `<=` `>` `>=` | two numbers, strings or timestamps; bool with `==` "
    "and `!=` | bool |\n"
    "| `x in (a, b)`, `x is null`, `x is not null` | any but lists | bool |\n"
    "| `a + b`, `a - b` | numbers; a timestamp and a duration | the wider type; a timestamp |\n"
    "| `a * b` | numbers | int64; decimals with the digits of both (beyond 18: double); double |\n"
    "| `a / b` | numbers | always double |\n"
    "| `a % b` | int64 | int64, with the sign of a |\n"
    "| `-a` | a number | the same type |\n"
    "\n"
    "## Types meet\n"
    "\n"
    "int64 with decimal is decimal, decimals take the larger number of digits, anything with "
    "double is double; a number\n"
    "written in the expression takes the type of the other side where it fits exactly. Nothing "
    "else converts: a text is\n"
    "no number, a bool is no number (`if(x, 1, 0)`). Comparisons of int64, decimals and doubles "
    "are exact, but a decimal\n"
    "meets a double as the double nearest to it. Texts are compared by their bytes.\n"
    "\n"
    "## Null\n"
    "\n"
    "Null in, null out, but for `and`, `or`, `is null`, `coalesce` and the side that `if` does not "
    "choose. Null is also\n"
    "what has no answer: `x / 0`, `x % 0`, the square root of -1, a result that does not fit "
    "int64, a double beyond\n"
    "1.8e308. A condition that is null counts as false. `expression or DEFAULT` at the end of a "
    "feature takes the\n"
    "place of null.\n"
    "\n"
    "## Functions\n"
    "\n";

void qn_expr_reference(struct qn_buf *out)
{
    qn_buf_text(out, reference_head);
    qn_buf_text(out, "| function | gives | meaning |\n|---|---|---|\n");
    for (uint32_t i = 0; i < qn_function_count; i++) {
        const struct qn_function *f = &qn_functions[i];

        qn_buf_printf(out, "| `%s` | %s | %s |\n", f->usage, f->gives, f->help);
    }
}
