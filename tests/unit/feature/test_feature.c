/* SPDX-License-Identifier: Apache-2.0
 * test_feature.c - feature sentences: messages as a table, grouping, and whole batches against a
 * naive twin.
 *
 * The twin keeps all events and looks at every one of them for every row. Events come out of order,
 * tie, have null keys, are dead or late; batches are of random sizes and teams of 1 and 3 workers
 * must give the same. */
#include "../seed.h"
#include "base/clock.h"
#include "base/number.h"
#include "feature/feature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)
#define STR(text)                                                                                  \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }

static const struct qn_field main_fields[] = {
    {.name = STR("id"), .kind = {QN_STRING, 0}},
    {.name = STR("t"), .kind = {QN_TIMESTAMP, 0}},
    {.name = STR("customer"), .kind = {QN_STRING, 0}},
    {.name = STR("terminal"), .kind = {QN_INT64, 0}},
    {.name = STR("amount"), .kind = {QN_DECIMAL, 2}},
    {.name = STR("risk"), .kind = {QN_DOUBLE, 0}},
    {.name = STR("flag"), .kind = {QN_BOOL, 0}},
    {.name = STR("country"), .kind = {QN_STRING, 0}, .is_optional = true},
    {.name = STR("tags"), .kind = {QN_LIST, 0}},
    {.name = STR("zip"), .kind = {QN_INT64, 0}},
};
static const struct qn_field other_fields[] = {
    {.name = STR("t"), .kind = {QN_TIMESTAMP, 0}},
    {.name = STR("customer"), .kind = {QN_STRING, 0}},
    {.name = STR("terminal"), .kind = {QN_INT64, 0}},
    {.name = STR("fraud"), .kind = {QN_BOOL, 0}},
    {.name = STR("zip"), .kind = {QN_STRING, 0}},
};
enum {
    M_ID,
    M_T,
    M_CUSTOMER,
    M_TERMINAL,
    M_AMOUNT,
    M_RISK,
    M_FLAG,
    M_COUNTRY,
    M_TAGS,
    M_ZIP,
    M_FIELDS
};
enum { O_T, O_CUSTOMER, O_TERMINAL, O_FRAUD, O_ZIP, O_FIELDS };

static void schemas_init(struct qn_schema out[2])
{
    out[0] = (struct qn_schema){.name = STR("payments"),
                                .fields = main_fields,
                                .field_count = M_FIELDS,
                                .id = 0,
                                .time = 1,
                                .key = 2,
                                .lateness_us = 10 * SECOND,
                                .within_us = 60 * SECOND,
                                .late = QN_LATE_FOLD};
    out[1] = (struct qn_schema){.name = STR("chargebacks"),
                                .fields = other_fields,
                                .field_count = O_FIELDS,
                                .id = -1,
                                .time = 0,
                                .key = 1,
                                .lateness_us = 10 * SECOND,
                                .within_us = 60 * SECOND,
                                .late = QN_LATE_DROP};
}

/* ---- messages ---- */

struct line {
    const char *name, *text, *expected; /* name NULL: goes on with the set of the line before */
};

/* "name: text" lines as one set; what is wrong with it as text, "" if nothing. */
static void compile(const struct line *lines, size_t count, struct qn_buf *out)
{
    struct qn_schema schemas[2];
    struct qn_arena arena = {0};
    struct qn_diags diags = {.arena = &arena};
    struct qn_feature_text texts[16];
    struct qn_features *f;

    schemas_init(schemas);
    for (uint32_t i = 0; i < count; i++)
        texts[i] = (struct qn_feature_text){qn_str_of(lines[i].name),
                                            {i + 1, 1, (uint32_t)strlen(lines[i].name)},
                                            qn_str_of(lines[i].text),
                                            {i + 1, 101, (uint32_t)strlen(lines[i].text)}};
    qn_buf_clear(out);
    assert_int_equal(
        qn_features_new(texts, (uint32_t)count, schemas, 2, 0, &arena, &diags, &f, NULL), QN_OK);
    assert_true((f == NULL) == (diags.errors > 0));
    for (unsigned i = 0; i < diags.count; i++) {
        const struct qn_diag *d = &diags.list[i];
        char place[32] = "";

        if (count > 1)
            snprintf(place, sizeof place, "%u:", d->at.line);
        qn_buf_printf(out, "%s%s%d+%u: %s%s%s%s", i > 0 ? "; " : "", place, (int)d->at.col - 101,
                      d->at.len, d->text, d->hint ? " [" : "", d->hint ? d->hint : "",
                      d->hint ? "]" : "");
    }
    qn_buf_byte(out, 0);
    if (f != NULL)
        for (uint32_t i = 0; i < qn_features_group_count(f); i++)
            assert_true(qn_features_group(f, i).key_bytes > 0);
    qn_features_free(f);
    qn_arena_fini(&arena);
}

static void test_messages(void **state)
{
    static const struct line lines[] = {
        {"x", "count() by customer over 7d", ""},
        {"x", "over_all",
         "0+8: unknown field or feature 'over_all' [known: id, t, customer, terminal, amount, "
         "risk, flag, "
         "...]"},
        {"x", "count() over 7d", "0+5: a window needs 'by', for example by customer_id"},
        {"x", "count() by customer",
         "19+1: a window needs 'over', for example over 7d, or 'over all'"},
        {"x", "count() by customer delayed 7d",
         "30+1: 'delayed' shifts a window: it needs 'over', for example over 7d"},
        {"x", "sum(amount)",
         "0+3: a window needs 'by', for example by customer_id; 11+1: a window needs 'over', for "
         "example over 7d, or 'over all'"},
        {"x", "sum() by customer over 7d", "0+3: sum needs an argument, for example sum(amount)"},
        {"x", "count(amount) by customer over 7d",
         "6+6: count() takes no argument; use 'where x is not null' [count() where x is not null]"},
        {"x", "mean(country) by customer over 7d",
         "5+7: mean needs a number, found string [a number, true or false; to count events: "
         "count() where ...]"},
        {"x", "sum(t) by customer over 7d",
         "4+1: sum needs a number, found timestamp [min and max take timestamps]"},
        {"x", "max(t) by customer over 7d", ""},
        {"x", "sum(amount, risk) by customer over 7d",
         "4+12: sum over a window takes one argument, found 2"},
        {"x", "count() by customer over 7",
         "25+1: over 7: a duration needs a unit [units are us ms s m h d w, without a space: 7d]"},
        {"x", "count() by customer over 7 d",
         "25+1: over 7: a duration needs a unit [units are us ms s m h d w, without a space: 7d]"},
        {"x", "count() by customer over 0s",
         "25+2: over 0s: a window is longer than nothing [for example 7d]"},
        {"x", "count() by customer over -7d",
         "25+1: 'over' needs a duration, found a negative one"},
        {"x", "count() by customer over week",
         "25+4: 'over' needs a duration or 'all', found 'week' [for example 7d]"},
        {"x", "count() by customer over",
         "24+1: 'over' needs a duration or 'all', found the end [for example 7d]"},
        {"x", "count() by customer over 7days",
         "25+5: 'over' needs a duration, found '7days' [durations are written 500us "
         "50ms 10s 5m 1h30m 7d 2w, at most 10,000 days]"},
        {"x", "count() by customer over 7d over 8d", "28+4: a second 'over': a window has one"},
        {"x", "count() by customer over 7d every 1h",
         "28+5: 'every' is not available yet [an exact sliding window is: over 7d]"},
        {"x", "count() by customer over last 10",
         "25+4: 'over last' is not available yet [windows by time are: over 7d]"},
        {"x", "count() by customer over tumbling 5m",
         "25+8: 'tumbling' is not available yet [sliding windows are: over 7d]"},
        {"x", "count() by customer session gap 5m",
         "20+7: 'session' is not available yet [an exact sliding window is: over 7d]"},
        {"x", "stddev(amount) by customer over 7d",
         "0+6: 'stddev' is not available yet [aggregates: count sum mean min max]"},
        {"x", "time since last by customer", "0+4: 'time since last' is not available yet"},
        {"x", "terminals.risk or 0",
         "0+14: 'terminals.risk': columns of tables are not available yet"},
        {"x", "avg(amount) by customer over 7d",
         "0+3: unknown aggregate 'avg' (use 'mean') [aggregates: count sum mean min max]"},
        {"x", "cuont() by customer over 7d",
         "0+5: unknown aggregate 'cuont' (did you mean 'count'?) [known: count, sum, "
         "mean, min, max]"},
        {"x", "abs(amount) by customer over 7d",
         "0+3: 'abs' is a function of one event, not an aggregate over a window "
         "[aggregates: count sum mean min max]"},
        {"x", "count by customer over 7d", "0+5: an aggregate is written count()"},
        {"x", "count() group by customer over 7d",
         "8+5: unexpected 'group' (use 'by') [sum(x) where c by key over 7d delayed 1d or 0]"},
        {"x", "count() PARTITION BY customer over 7d",
         "8+9: unexpected 'PARTITION' (use 'by') [sum(x) where c by key over 7d delayed 1d or 0]"},
        {"x", "count() by customer window_size 7d",
         "20+11: unexpected 'window_size' (use 'over') [sum(x) where c by key over 7d delayed 1d "
         "or 0]"},
        {"x", "count() by customer over 7d lag 1d",
         "28+3: unexpected 'lag' (use 'delayed') [sum(x) where c by key over 7d delayed 1d or 0]"},
        {"x", "count() by customer ovr 7d",
         "20+3: unexpected 'ovr' (did you mean 'over'?) [clauses: where of by over delayed "
         "excluding or]"},
        {"x", "count() by customer over 7d / 2",
         "28+1: unexpected '/': a window stands alone in its feature [to compute "
         "with a window, give it a feature of its own and use its name]"},
        {"x", "amount / mean(amount) by customer over 7d",
         "9+4: 'mean' is an aggregate: it stands at the start of a feature, with 'by' and 'over' "
         "[give the window a feature "
         "of its own and use that name here]; 22+2: unexpected 'by': an operator or the end was "
         "expected [a window is a "
         "feature of its own: sum(x) by key over 7d]"},
        {"x", "count() by customer over 7d excluding now",
         "38+3: 'excluding' is followed by 'current', found 'now' [excluding current]"},
        {"x", "count() by custmer over 7d",
         "11+7: unknown field of payments 'custmer' (did you mean 'customer'?) [known: id, "
         "t, customer, terminal, amount, risk, flag, ...]"},
        {"x", "count() by risk over 7d",
         "11+4: 'risk' is a double, which is no key [keys are string, int64, decimal, bool "
         "or timestamp]"},
        {"x", "count() by tags over 7d",
         "11+4: 'tags' is a list(double), which is no key [keys are string, int64, decimal, bool "
         "or "
         "timestamp]"},
        {"x", "count() by customer, customer over 7d", "21+8: 'customer' is in this key twice"},
        {"x", "count() of chargeback by customer over 7d",
         "11+10: unknown stream 'chargeback' (did you mean 'chargebacks'?) "
         "[known: payments, chargebacks]"},
        {"x", "count() of chargebacks by zip over 7d",
         "26+3: 'zip' is int64 in payments, but string in chargebacks [a key "
         "has one type in both streams]"},
        {"x", "count() of chargebacks by country over 7d",
         "26+7: unknown field of chargebacks 'country' [known: t, customer, terminal, fraud, zip]"},
        {"x", "mean(amount) of chargebacks by customer over 7d",
         "5+6: unknown field of chargebacks 'amount' [known: t, customer, terminal, fraud, zip]"},
        {"x", "mean(fraud) of chargebacks by terminal over 7d delayed 7d or 0", ""},
        {"x", "count() where amount by customer over 7d",
         "14+6: 'where' needs a condition, found decimal(2) [compare it, for example amount > "
         "200]"},
        {"x", "count() where by customer over 7d",
         "14+2: 'where' needs a condition, found 'by' [for example where amount > "
         "200]"},
        {"x", "count() where amount => 5 by customer over 7d",
         "21+2: '=>' is not an operator here: use '>='"},
        {"x", "count() where nada > 5 by nope over 7d",
         "26+4: unknown field of payments 'nope' [known: id, t, customer, terminal, amount, risk, "
         "flag, ...]; 14+4: "
         "unknown field or feature 'nada' [known: id, t, customer, terminal, amount, risk, flag, "
         "...]"},
        {"x", "mean(amount) by customer over 7d or 'x'",
         "36+3: the default 'x' does not fit double [the default has the type of the feature]"},
        {"x", "sum(amount) by customer over 7d or 0.005",
         "35+5: the default 0.005 does not fit decimal(2) [the default has the type of the "
         "feature]"},
        {"x", "sum(amount) by customer over 7d or null", "35+4: 'or null' changes nothing"},
        {"x", "sum(amount) by customer over 7d or amount",
         "32+2: 'or' at the end of a window is followed by one literal, the default [for example "
         "or 0]"},
        {"x", "amount or 'none'",
         "10+6: the default 'none' does not fit decimal(2) [the default has the type of the "
         "feature]"},
        {"x", "amount or 0.5", ""},
        {"x", "amount > 5 or flag", ""},
        {"x", "amount > 0.005 or false", ""},
        {"x", "min(amount, risk)", ""},
        {"x", "min(amount) by customer over 7d", ""},
        {"x", "min(amount)",
         "0+3: a window needs 'by', for example by customer_id; 11+1: a window needs 'over', for "
         "example "
         "over 7d, or 'over all'"},
        {"x", "over 7d by customer where amount > 1",
         "0+4: unknown field or feature 'over' [known: id, t, customer, terminal, amount, risk, "
         "flag, ...]; 5+2: "
         "unexpected '7d': an operator or the end was expected"},
        {"x",
         "count() over 7d excluding current delayed 1d of payments where amount > 1 and flag by "
         "customer or 0",
         ""},
        {"x", "", "0+1: an expression was expected, found nothing"},
        {"Big", "amount",
         "-100+3: 'Big' is no name for a feature: a small letter or _, then letters, digits and _, "
         "at most "
         "64 bytes [for example customer_count_7d]"},
        {"where", "amount", "-100+5: 'where' is a word of the language, no name for a feature"},
        {"amount", "risk",
         "-100+6: 'amount' is a field of payments already [give the feature another name]"},
        {"x", "x + 1", "-100+1: a feature that needs itself: x -> x"},
    };
    struct qn_buf out = {0};
    int wrong = 0;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        compile(&lines[i], 1, &out);
        if (strcmp(out.data, lines[i].expected) != 0) {
            print_error("%s\n  gives    %s\n  expected %s\n", lines[i].text, out.data,
                        lines[i].expected);
            wrong++;
        }
    }
    qn_buf_fini(&out);
    assert_int_equal(wrong, 0);
}

static void test_sets(void **state)
{
    static const struct line cycle[] = {
        {"a", "b + 1", ""}, {"b", "c * 2", ""}, {"c", "a - amount", ""}, {"d", "c + amount", ""}};
    static const struct line twice[] = {{"a", "amount", ""}, {"a", "risk", ""}};
    static const struct line nested[] = {
        {"m", "mean(amount) by customer over 7d", ""},
        {"r", "amount / m", ""},
        {"x", "count() where r > 2 by customer over 7d", ""},
        {"y", "max(m) by customer over 7d", ""},
        {"ok", "sum(z) by customer over 7d", ""},
        {"z", "amount * 2", ""},
        {"k", "count() by z over 1d", ""},
    };
    static const struct line broken[] = {
        {"a", "nope + 1", ""}, {"b", "a + 1", ""}, {"c", "sum(b) by customer over 1d", ""}};
    struct qn_buf out = {0};

    (void)state;
    compile(cycle, 4, &out);
    assert_string_equal(out.data, "1:-100+1: features that need each other: a -> b -> c -> a");
    compile(twice, 2, &out);
    assert_string_equal(out.data, "2:-100+1: a second feature 'a'");
    compile(nested, 7, &out);
    assert_string_equal(out.data, "3:14+1: 'r' needs a window: a window cannot be made of windows "
                                  "[inside an aggregate: fields, and features "
                                  "without windows]; 4:4+1: 'm' is a window: a window cannot be "
                                  "made of windows [inside an aggregate: "
                                  "fields, and features without windows]; 7:11+1: a key is a field "
                                  "of the stream; 'z' is a feature");
    compile(broken, 3, &out); /* one mistake, one message */
    assert_string_equal(
        out.data,
        "1:0+4: unknown field or feature 'nope' [known: id, t, customer, terminal, amount, risk, "
        "flag, ...]");
    qn_buf_fini(&out);
}

/* ---- batches ---- */

static const struct {
    const char *name, *text;
} set[] = {
    {"weekend", "weekday(t) >= 5"},
    {"ratio", "amount / mean_c"},
    {"cents", "amount * 100"},
    {"cnt", "count() by customer over 60s"},
    {"cnt2", "count() over 60s by customer"},
    {"cnt_ex", "count() by customer over 60s excluding current"},
    {"big", "count() where amount > 5.005 by customer over 2m"},
    {"sum1", "sum(amount) by customer over 30s"},
    {"sum_d", "sum(amount) by customer over 30s or -1"},
    {"mean_c", "mean(cents) by customer over 1m delayed 30s or -1"},
    {"mx", "max(risk) by terminal over 45s"},
    {"mn_t", "min(t) by terminal over all"},
    {"pair", "count() by customer, terminal over 90s"},
    {"fraud", "mean(fraud) of chargebacks by terminal over 2m delayed 10s or 0"},
    {"fraud_n", "count() of chargebacks where fraud by terminal over 2m"},
    {"of_flag", "count() where flag or country == 'US' by flag over 1m"},
    {"label", "upper(country) or 'NONE'"},
};
enum { SET = sizeof set / sizeof set[0] };
enum {
    F_WEEKEND,
    F_RATIO,
    F_CENTS,
    F_CNT,
    F_CNT2,
    F_CNT_EX,
    F_BIG,
    F_SUM1,
    F_SUM_D,
    F_MEAN_C,
    F_MX,
    F_MN_T,
    F_PAIR,
    F_FRAUD,
    F_FRAUD_N,
    F_OF_FLAG,
    F_LABEL
};

/* An event as the twin keeps it: fields by name, null where the flag says so. */
struct event {
    uint8_t stream, verdict;
    int64_t time_us;
    bool no_customer, no_terminal, no_amount, no_risk, no_flag, no_country;
    char customer[16], country[4];
    int64_t terminal, amount, flag;
    double risk;
};

struct world {
    struct qn_arena boot;
    struct qn_schema schemas[2];
    struct qn_batch batch;
    struct qn_team *team;
    struct qn_features *f;
};

static qn_status world_init(struct world *w, unsigned workers, uint32_t rows_max)
{
    struct qn_diags diags = {.arena = &w->boot};
    struct qn_feature_text texts[SET];
    struct qn_err err = {0};
    qn_status rc;

    schemas_init(w->schemas);
    for (int i = 0; i < SET; i++)
        texts[i] =
            (struct qn_feature_text){qn_str_of(set[i].name), {0}, qn_str_of(set[i].text), {0}};
    if ((rc = qn_team_new(workers, &w->team, &err)) != QN_OK)
        return rc;
    if ((rc = qn_batch_init(&w->batch, &w->boot, w->schemas, 2, rows_max, workers, &err)) != QN_OK)
        return rc;
    if ((rc = qn_features_new(texts, SET, w->schemas, 2, 0, &w->boot, &diags, &w->f, &err)) !=
        QN_OK)
        return rc;
    if (w->f == NULL)
        fail_msg("%s", diags.count > 0 ? diags.list[0].text : "no reason");
    return qn_features_start(w->f, &w->batch, 12345, &w->boot, &err);
}

static void world_fini(struct world *w)
{
    qn_features_free(w->f);
    qn_batch_fini(&w->batch);
    qn_team_free(w->team);
    qn_arena_fini(&w->boot);
}

static struct qn_col *col(struct qn_batch *b, struct qn_schema *s, int field)
{
    return &b->cols[s->first_column + (uint32_t)field];
}

static void put(struct qn_col *c, uint32_t row, bool null, int64_t i64)
{
    c->valid[row] = !null;
    c->i64[row] = i64;
}

static void put_str(struct qn_col *c, uint32_t row, bool null, const char *text)
{
    c->valid[row] = !null;
    c->str[row] = null ? (struct qn_str){(const char *)8, 12345} : qn_str_of(text);
}

static void fill_row(struct world *w, uint32_t r, const struct event *ev)
{
    struct qn_batch *b = &w->batch;
    struct qn_schema *m = &w->schemas[0], *o = &w->schemas[1];
    const bool in_main = ev->stream == 0;

    for (uint32_t i = 0; i < b->col_count; i++)
        b->cols[i].valid[r] = 0;
    b->stream[r] = ev->stream;
    b->verdict[r] = ev->verdict;
    b->is_late[r] = ev->verdict == QN_LATE;
    b->time_us[r] = ev->time_us;
    if (in_main) {
        put(col(b, m, M_T), r, false, ev->time_us);
        put_str(col(b, m, M_CUSTOMER), r, ev->no_customer, ev->customer);
        put(col(b, m, M_TERMINAL), r, ev->no_terminal, ev->terminal);
        put(col(b, m, M_AMOUNT), r, ev->no_amount, ev->amount);
        put(col(b, m, M_FLAG), r, ev->no_flag, ev->flag);
        put_str(col(b, m, M_COUNTRY), r, ev->no_country, ev->country);
        col(b, m, M_RISK)->valid[r] = !ev->no_risk;
        col(b, m, M_RISK)->f64[r] = ev->risk;
    } else {
        put(col(b, o, O_T), r, false, ev->time_us);
        put_str(col(b, o, O_CUSTOMER), r, ev->no_customer, ev->customer);
        put(col(b, o, O_TERMINAL), r, ev->no_terminal, ev->terminal);
        put(col(b, o, O_FRAUD), r, ev->no_flag, ev->flag);
    }
}

static struct event random_event(struct qn_rng *rng, int64_t now)
{
    struct event ev = {0};
    const uint32_t fate = qn_rng_below(rng, 20);

    ev.stream = qn_rng_below(rng, 4) == 0;
    ev.time_us = now - (qn_rng_below(rng, 3) == 0 ? (int64_t)qn_rng_below(rng, 60) * SECOND : 0);
    ev.verdict = fate == 0 ? QN_DEAD : fate <= 2 ? QN_LATE : QN_SCORED;
    ev.no_customer = qn_rng_below(rng, 12) == 0;
    ev.no_terminal = qn_rng_below(rng, 12) == 0;
    ev.no_amount = qn_rng_below(rng, 8) == 0;
    ev.no_risk = qn_rng_below(rng, 8) == 0;
    ev.no_flag = qn_rng_below(rng, 8) == 0;
    ev.no_country = qn_rng_below(rng, 3) == 0;
    snprintf(ev.customer, sizeof ev.customer, "c%u", qn_rng_below(rng, 6));
    snprintf(ev.country, sizeof ev.country, "%s", qn_rng_below(rng, 2) ? "US" : "de");
    ev.terminal = (int64_t)qn_rng_below(rng, 5) - 2;
    ev.amount = qn_rng_below(rng, 1000);
    ev.flag = qn_rng_below(rng, 2);
    ev.risk = (double)qn_rng_below(rng, 64) / 8;
    return ev;
}

/* ---- the twin of one window ---- */

struct twin_window {
    uint8_t stream;
    bool by_customer, by_terminal, by_flag, excluding;
    int64_t over_us, delayed_us; /* over 0: all */
};
enum { SEES_MAX = 4096 };

/* Positions of the events in the window of row `at`; -1 where a key is null. */
static int sees(const struct event *all, int at, const struct twin_window *w, int *out)
{
    const struct event *me = &all[at];
    const int64_t end = me->time_us - w->delayed_us;
    int n = 0;

    if ((w->by_customer && me->no_customer) || (w->by_terminal && me->no_terminal) ||
        (w->by_flag && me->no_flag))
        return -1;
    for (int i = 0; i <= at; i++) {
        const struct event *ev = &all[i];
        const bool folded = ev->verdict == QN_SCORED || (ev->verdict == QN_LATE && ev->stream == 0);

        if (ev->stream != w->stream || !folded || ev->time_us > end || (w->excluding && i == at))
            continue;
        if (w->over_us > 0 && ev->time_us <= end - w->over_us)
            continue;
        if (w->by_customer && (ev->no_customer || strcmp(ev->customer, me->customer) != 0))
            continue;
        if (w->by_terminal && (ev->no_terminal || ev->terminal != me->terminal))
            continue;
        if (w->by_flag && (ev->no_flag || ev->flag != me->flag))
            continue;
        out[n++] = i;
    }
    return n;
}

struct answer {
    bool null;
    int64_t i64;
    double f64;
};

static struct answer count_of(const struct event *all, int at, struct twin_window w)
{
    int seen[SEES_MAX];
    const int n = sees(all, at, &w, seen);

    return (struct answer){.null = n < 0, .i64 = n};
}

static void twin_row(const struct event *all, int at, struct answer out[SET])
{
    const struct event *me = &all[at];
    int seen[SEES_MAX], n;
    const struct twin_window customer_60 = {.by_customer = true, .over_us = 60 * SECOND};
    struct twin_window w = customer_60;
    const int64_t days = me->time_us / (86400 * SECOND);

    memset(out, 0, SET * sizeof *out);
    out[F_WEEKEND].i64 = (days + 3) % 7 >= 5;
    out[F_CENTS] = (struct answer){.null = me->no_amount, .i64 = me->amount * 100};
    out[F_CNT] = out[F_CNT2] = count_of(all, at, w);
    w.excluding = true;
    out[F_CNT_EX] = count_of(all, at, w);
    w = (struct twin_window){.by_customer = true, .over_us = 120 * SECOND};
    n = sees(all, at, &w, seen);
    out[F_BIG].null = n < 0;
    for (int i = 0; i < n; i++)
        out[F_BIG].i64 += !all[seen[i]].no_amount && all[seen[i]].amount > 500;
    w.over_us = 30 * SECOND;
    n = sees(all, at, &w, seen);
    int some = 0;

    for (int i = 0; i < n; i++) {
        some += !all[seen[i]].no_amount;
        out[F_SUM1].i64 += all[seen[i]].no_amount ? 0 : all[seen[i]].amount;
    }
    out[F_SUM1].null = some == 0;
    out[F_SUM_D].i64 = some == 0 ? -100 : out[F_SUM1].i64;
    w = (struct twin_window){
        .by_customer = true, .over_us = 60 * SECOND, .delayed_us = 30 * SECOND};
    n = sees(all, at, &w, seen);
    some = 0;
    int64_t sum = 0;

    for (int i = 0; i < n; i++) {
        some += !all[seen[i]].no_amount;
        sum += all[seen[i]].no_amount ? 0 : all[seen[i]].amount * 100;
    }
    out[F_MEAN_C].f64 = some == 0 ? -1 : (double)sum / (double)(100 * some);
    out[F_RATIO].null = me->no_amount || out[F_MEAN_C].f64 == 0;
    out[F_RATIO].f64 = ((double)me->amount / 100) / (out[F_RATIO].null ? 1 : out[F_MEAN_C].f64);
    w = (struct twin_window){.by_terminal = true, .over_us = 45 * SECOND};
    n = sees(all, at, &w, seen);
    out[F_MX].null = true;
    for (int i = 0; i < n; i++) {
        if (!all[seen[i]].no_risk && (out[F_MX].null || all[seen[i]].risk > out[F_MX].f64))
            out[F_MX] = (struct answer){.f64 = all[seen[i]].risk};
    }
    w.over_us = 0;
    n = sees(all, at, &w, seen);
    out[F_MN_T].null = true;
    for (int i = 0; i < n; i++)
        if (out[F_MN_T].null || all[seen[i]].time_us < out[F_MN_T].i64)
            out[F_MN_T] = (struct answer){.i64 = all[seen[i]].time_us};
    out[F_PAIR] = count_of(
        all, at,
        (struct twin_window){.by_customer = true, .by_terminal = true, .over_us = 90 * SECOND});
    w = (struct twin_window){
        .stream = 1, .by_terminal = true, .over_us = 120 * SECOND, .delayed_us = 10 * SECOND};
    n = sees(all, at, &w, seen);
    some = 0;
    sum = 0;
    for (int i = 0; i < n; i++) {
        some += !all[seen[i]].no_flag;
        sum += all[seen[i]].no_flag ? 0 : all[seen[i]].flag;
    }
    out[F_FRAUD].f64 = some == 0 ? 0 : (double)sum / some;
    w.delayed_us = 0;
    n = sees(all, at, &w, seen);
    out[F_FRAUD_N].null = n < 0;
    for (int i = 0; i < n; i++)
        out[F_FRAUD_N].i64 += !all[seen[i]].no_flag && all[seen[i]].flag;
    w = (struct twin_window){.by_flag = true, .over_us = 60 * SECOND};
    n = sees(all, at, &w, seen);
    out[F_OF_FLAG].null = n < 0;
    for (int i = 0; i < n; i++)
        out[F_OF_FLAG].i64 += all[seen[i]].flag ||
                              (!all[seen[i]].no_country && strcmp(all[seen[i]].country, "US") == 0);
}

static void check_row(const struct world *w, const struct event *all, int at, uint32_t row)
{
    struct answer want[SET];
    bool complete = true;

    twin_row(all, at, want);
    for (uint32_t i = 0; i < SET; i++) {
        const struct qn_col *c = qn_features_col(w->f, i);

        if (i == F_LABEL) {
            const char *label = all[at].no_country                   ? "NONE"
                                : strcmp(all[at].country, "de") == 0 ? "DE"
                                                                     : "US";

            assert_true(c->valid[row] == 1 && qn_str_is(c->str[row], label));
            continue;
        }
        complete = complete && !want[i].null;
        if (c->valid[row] != !want[i].null ||
            (c->valid[row] &&
             (c->kind.type == QN_DOUBLE ? c->f64[row] != want[i].f64 : c->i64[row] != want[i].i64)))
            fail_msg("event %d, %s: valid %d, %lld, %.17g; expected %d, %lld, %.17g", at,
                     set[i].name, c->valid[row], (long long)c->i64[row], c->f64[row], !want[i].null,
                     (long long)want[i].i64, want[i].f64);
    }
    assert_int_equal(qn_features_complete(w->f)[row], complete);
}

static void run_twin(uint64_t seed, unsigned workers, int total, bool expires)
{
    enum { ROWS_MAX = 300 };
    struct world w = {0};
    struct qn_rng rng;
    struct event *all = calloc((size_t)total, sizeof *all);
    int64_t now = INT64_C(1522540800) * SECOND, newest = now;

    assert_non_null(all);
    qn_rng_seed(&rng, seed);
    assert_int_equal(world_init(&w, workers, ROWS_MAX), QN_OK);
    for (int done = 0; done < total;) {
        uint32_t rows = 1 + qn_rng_below(&rng, qn_rng_below(&rng, 3) == 0 ? 4 : ROWS_MAX);
        struct qn_err err = {0};

        if (rows > (uint32_t)(total - done))
            rows = (uint32_t)(total - done);
        for (uint32_t r = 0; r < rows; r++) {
            now += (int64_t)qn_rng_below(&rng, 4) * SECOND;
            all[done + (int)r] = random_event(&rng, now);
            newest = now;
            fill_row(&w, r, &all[done + (int)r]);
        }
        w.batch.rows = rows;
        assert_int_equal(qn_features_run(w.f, &w.batch, w.team, &err), QN_OK);
        for (uint32_t r = 0; r < rows; r++)
            if (all[done + (int)r].stream == 0 && all[done + (int)r].verdict == QN_SCORED)
                check_row(&w, all, done + (int)r, r);
        if (expires)
            qn_features_expire(w.f, newest, rows);
        done += (int)rows;
        qn_batch_reset(&w.batch);
    }
    world_fini(&w);
    free(all);
}

static void test_twin(void **state)
{
    const uint64_t seed = test_seed(7);

    (void)state;
    run_twin(seed, 1, 1500, false);
    run_twin(seed, 3, 1500, true);
}

static void test_groups(void **state)
{
    struct world w = {0};
    uint64_t before, keys = 0;

    (void)state;
    assert_int_equal(world_init(&w, 1, 64), QN_OK);
    assert_int_equal(qn_features_count(w.f), SET);
    assert_int_equal(qn_features_group_count(w.f), 5);
    assert_int_equal(qn_features_info(w.f, F_CNT)->group, qn_features_info(w.f, F_SUM_D)->group);
    assert_int_equal(qn_features_info(w.f, F_WEEKEND)->group, -1);
    assert_true(qn_features_info(w.f, F_SUM_D)->has_default);
    assert_true(qn_features_info(w.f, F_CNT)->is_window);
    assert_int_equal(qn_features_info(w.f, F_MEAN_C)->kind.type, QN_DOUBLE);
    assert_int_equal(qn_features_info(w.f, F_SUM1)->kind.scale, 2);
    const struct qn_group_info g =
        qn_features_group(w.f, (uint32_t)qn_features_info(w.f, F_CNT)->group);

    assert_string_equal(g.source, "payments");
    assert_string_equal(g.key, "customer");
    assert_int_equal(g.windows, 5); /* cnt = cnt2, sum1 = sum_d */
    assert_string_equal(qn_features_group(w.f, (uint32_t)qn_features_info(w.f, F_PAIR)->group).key,
                        "customer, terminal");
    assert_string_equal(
        qn_features_group(w.f, (uint32_t)qn_features_info(w.f, F_FRAUD)->group).source,
        "chargebacks");

    /* Nothing comes from the heap once the state is there. */
    struct qn_rng rng;
    struct event ev[64];

    qn_rng_seed(&rng, 3);
    for (int i = 0; i < 64; i++) {
        ev[i] = random_event(&rng, INT64_C(1522540800) * SECOND);
        ev[i].stream = 0;
    }
    for (int round = 0; round < 3; round++) {
        before = qn_mem_count();
        for (uint32_t r = 0; r < 64; r++)
            fill_row(&w, r, &ev[r]);
        w.batch.rows = 64;
        for (uint32_t r = 0; round > 0 && r < 64; r++)
            w.batch.verdict[r] = QN_DEAD;
        assert_int_equal(qn_features_run(w.f, &w.batch, w.team, NULL), QN_OK);
        qn_batch_reset(&w.batch);
    }
    assert_int_equal(qn_mem_count(), before);
    for (uint32_t i = 0; i < qn_features_group_count(w.f); i++)
        keys += qn_features_group(w.f, i).keys;
    assert_true(keys > 8);
    world_fini(&w);
}

/* No features at all is a set, too. */
static void test_empty(void **state)
{
    struct qn_arena boot = {0};
    struct qn_diags diags = {.arena = &boot};
    struct qn_schema schemas[2];
    struct qn_batch b;
    struct qn_team *team;
    struct qn_features *f;

    (void)state;
    schemas_init(schemas);
    assert_int_equal(qn_batch_init(&b, &boot, schemas, 2, 8, 1, NULL), QN_OK);
    assert_int_equal(qn_team_new(1, &team, NULL), QN_OK);
    assert_int_equal(qn_features_new(NULL, 0, schemas, 2, 0, &boot, &diags, &f, NULL), QN_OK);
    assert_non_null(f);
    assert_int_equal(qn_features_start(f, &b, 1, &boot, NULL), QN_OK);
    b.rows = 3;
    memset(b.stream, 0, 3);
    memset(b.verdict, 0, 3);
    assert_int_equal(qn_features_run(f, &b, team, NULL), QN_OK);
    assert_int_equal(qn_features_complete(f)[2], 1);
    qn_features_free(f);
    qn_features_free(NULL);
    qn_team_free(team);
    qn_batch_fini(&b);
    qn_arena_fini(&boot);
}

static void test_out_of_memory(void **state)
{
    bool done = false;
    int failures = 0;

    (void)state;
    for (uint64_t n = 1; !done; n += 1 + n / 30) {
        struct world w = {0};
        struct qn_rng rng;
        qn_status rc;

        qn_rng_seed(&rng, 5);
        w.boot.block_bytes = 2048;
        qn_mem_fail_at(n, true);
        rc = world_init(&w, 1, 16);
        if (rc == QN_OK) {
            for (uint32_t r = 0; r < 16; r++) {
                const struct event ev = random_event(&rng, INT64_C(1522540800) * SECOND);
                static struct event kept[16];

                kept[r] = ev;
                fill_row(&w, r, &kept[r]);
            }
            w.batch.rows = 16;
            rc = qn_features_run(w.f, &w.batch, w.team, NULL);
        }
        qn_mem_fail_at(0, false);
        assert_true(rc == QN_OK || rc == QN_NOMEM);
        done = rc == QN_OK;
        failures += !done;
        world_fini(&w);
    }
    assert_true(failures > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages), cmocka_unit_test(test_sets),
        cmocka_unit_test(test_groups),   cmocka_unit_test(test_twin),
        cmocka_unit_test(test_empty),    cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
