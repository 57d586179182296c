/* SPDX-License-Identifier: Apache-2.0
 * test_source_generate.c - the generator is reproducible, ordered, and follows its recipe: the
 * shares and means that the recipe implies come out, and each kind of fraud shows. */
#include "source/source_generate.h"

#include "base/memory.h"
#include "base/number.h"
#include "base/timestamp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define DAY_US (INT64_C(86400) * 1000000)

struct row {
    uint64_t id;
    int64_t time_us;
    int64_t customer, terminal, cents;
    bool is_fraud;
};

static const struct qn_generate_options usual = {.customers = 500,
                                                 .terminals = 1000,
                                                 .radius = 15,
                                                 .days = 60,
                                                 .seed = 11,
                                                 .start = "2018-04-01"};

/* The text after `"name":`, without quotes, up to the next `,` or `}`. */
static struct qn_str member(struct qn_str line, const char *name)
{
    char pattern[40];
    const char *p;
    uint32_t n = 0;

    snprintf(pattern, sizeof(pattern), "\"%s\":", name);
    p = memmem(line.p, line.len, pattern, strlen(pattern));
    assert_non_null(p);
    p += strlen(pattern);
    if (*p == '"')
        p++;
    while (p[n] != ',' && p[n] != '}' && p[n] != '"')
        n++;
    return (struct qn_str){p, n};
}

static struct row parse(struct qn_str line)
{
    struct row r;
    int64_t id;

    assert_int_equal(line.p[0], '{');
    assert_int_equal(line.p[line.len - 1], '}');
    assert_int_equal(line.p[line.len], '\n');
    assert_true(line.len < QN_GENERATE_LINE_MAX);
    assert_true(qn_text_int64(member(line, "transaction_id"), &id));
    r.id = (uint64_t)id;
    assert_true(qn_timestamp_parse(member(line, "created_at"), &r.time_us));
    assert_true(qn_text_int64(member(line, "customer_id"), &r.customer));
    assert_true(qn_text_int64(member(line, "terminal_id"), &r.terminal));
    assert_true(qn_text_scaled(member(line, "amount"), 2, &r.cents));
    r.is_fraud = qn_str_is(member(line, "tx_fraud"), "true");
    assert_true(r.is_fraud || qn_str_is(member(line, "tx_fraud"), "false"));
    return r;
}

/* All bytes of a stream, read `chunk` events at a time. */
static void read_all(const struct qn_generate_options *opt, uint32_t chunk, struct qn_buf *out)
{
    struct qn_generate *g;
    struct qn_err err = {0};
    char *text = qn_mem_alloc((size_t)chunk * QN_GENERATE_LINE_MAX);
    struct qn_str *lines = qn_mem_zalloc(chunk, sizeof(*lines));
    uint32_t count;
    size_t bytes;

    assert_int_equal(qn_source_generate_new(opt, &g, &err), QN_OK);
    do {
        size_t sum = 0;

        assert_int_equal(qn_source_generate_read(g, text, lines, chunk, &count, &bytes, &err),
                         QN_OK);
        for (uint32_t i = 0; i < count; i++)
            sum += lines[i].len + 1;
        assert_int_equal(sum, bytes);
        qn_buf_add(out, text, bytes);
    } while (count > 0);
    qn_source_generate_free(g);
    qn_mem_free(text);
    qn_mem_free(lines);
}

static struct row *read_rows(const struct qn_generate_options *opt, size_t *count)
{
    struct qn_buf b = {0};
    struct row *rows;
    size_t n = 0;

    read_all(opt, 1000, &b);
    assert_false(b.failed);
    for (size_t i = 0; i < b.len; i++)
        n += b.data[i] == '\n';
    rows = qn_mem_zalloc(n, sizeof(*rows));
    *count = n;
    n = 0;
    for (size_t i = 0, start = 0; i < b.len; i++)
        if (b.data[i] == '\n') {
            rows[n++] = parse((struct qn_str){b.data + start, (uint32_t)(i - start)});
            start = i + 1;
        }
    qn_buf_fini(&b);
    return rows;
}

static void same_seed_same_bytes_whatever_the_chunk(void **state)
{
    struct qn_generate_options opt = usual;
    struct qn_buf a = {0}, b = {0}, c = {0};

    (void)state;
    opt.days = 5;
    read_all(&opt, 1, &a);
    read_all(&opt, 4096, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    opt.seed++;
    read_all(&opt, 4096, &c);
    assert_true(a.len != c.len || memcmp(a.data, c.data, a.len) != 0);
    qn_buf_fini(&a);
    qn_buf_fini(&b);
    qn_buf_fini(&c);
}

static void ordered_and_complete(void **state)
{
    int64_t start_us, last_us = INT64_MIN;
    size_t n;
    struct row *r = read_rows(&usual, &n);
    bool day_seen[60] = {false};

    (void)state;
    assert_true(qn_timestamp_parse(qn_str_of("2018-04-01T00:00:00Z"), &start_us));
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(r[i].id, i);
        assert_true(r[i].time_us >= last_us);
        last_us = r[i].time_us;
        assert_in_range(r[i].customer, 0, usual.customers - 1);
        assert_in_range(r[i].terminal, 0, usual.terminals - 1);
        assert_true(r[i].cents >= 0);
        assert_in_range((r[i].time_us - start_us) / DAY_US, 0, usual.days - 1);
        day_seen[(r[i].time_us - start_us) / DAY_US] = true;
    }
    for (int d = 0; d < usual.days; d++)
        assert_true(day_seen[d]);
    qn_mem_free(r);
}

/* Shares that the recipe implies: 2 payments a day of which 97 % (normal within +-2.16 deviations)
 * fall into the day, half before noon, 31.7 % further than 20,000 s from noon before the cut; the
 * mean amount is about 52.5. */
static void follows_the_recipe(void **state)
{
    struct qn_generate_options opt = usual;
    size_t n, morning = 0, far_from_noon = 0;
    double sum = 0, per_day;
    struct row *r;

    (void)state;
    opt.customers = 2000;
    r = read_rows(&opt, &n);
    for (size_t i = 0; i < n; i++) {
        int64_t second = r[i].time_us / 1000000 % 86400;

        morning += second < 43200;
        far_from_noon += second < 23200 || second >= 63200;
        sum += r[i].is_fraud ? 0 : (double)r[i].cents / 100;
    }
    per_day = (double)n / (double)(opt.customers * opt.days);
    assert_true(per_day > 1.85 && per_day < 2.05);
    assert_true((double)morning / (double)n > 0.49 && (double)morning / (double)n < 0.51);
    assert_true((double)far_from_noon / (double)n > 0.285 &&
                (double)far_from_noon / (double)n < 0.305);
    assert_true(sum / (double)n > 49 && sum / (double)n < 57);
    qn_mem_free(r);
}

/* Every amount above 220 is fraud. Of the frauds below, the terminals' come in runs where all
 * payments of a terminal are fraud, the cards' only now and then. */
static void three_kinds_of_fraud(void **state)
{
    size_t n, big = 0, terminal = 0, other = 0;
    struct row *r = read_rows(&usual, &n);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        bool is_run = true;
        size_t payments = 0;

        if (r[i].cents > 22000) {
            assert_true(r[i].is_fraud);
            big++;
        }
        if (!r[i].is_fraud)
            continue;
        for (size_t k = i; k < n && r[k].time_us < r[i].time_us + 3 * DAY_US; k++)
            if (r[k].terminal == r[i].terminal) {
                is_run = is_run && r[k].is_fraud;
                payments++;
            }
        if (is_run && payments > 1)
            terminal++;
        else
            other++;
    }
    assert_true(big > 50);
    assert_true(terminal > n / 500);
    assert_true(other > n / 500);
    qn_mem_free(r);
}

static void refuses(void **state)
{
    struct qn_generate_options opt = usual;
    struct qn_generate *g;
    struct qn_err err = {0};

    (void)state;
    opt.start = "2018-02-30";
    assert_int_equal(qn_source_generate_new(&opt, &g, &err), QN_INVALID);
    assert_string_equal(err.text, "'2018-02-30' is not a day to start at: write it as 2018-04-01");
    assert_null(g);
    opt = usual;
    opt.customers = 3;
    opt.terminals = 2;
    opt.radius = 1;
    assert_int_equal(qn_source_generate_new(&opt, &g, &err), QN_INVALID);
    assert_non_null(strstr(err.text, "larger radius"));
}

static void ends_with_the_calendar(void **state)
{
    struct qn_generate_options opt = usual;
    struct row *r;
    size_t n;

    (void)state;
    opt.start = "9999-12-30";
    opt.days = 0;
    r = read_rows(&opt, &n);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++)
        assert_true(r[i].time_us >= INT64_C(253402128000000000) &&
                    r[i].time_us < INT64_C(253402300800000000));
    qn_mem_free(r);
}

/* Every allocation fails once: an error comes back and nothing leaks. */
static void out_of_memory(void **state)
{
    struct qn_generate_options opt = usual;
    char text[QN_GENERATE_LINE_MAX];
    struct qn_str line;
    uint32_t count;
    size_t bytes;

    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct qn_generate *g = NULL;
        struct qn_err err = {0};
        qn_status rc;

        qn_mem_fail_at(nth, false);
        rc = qn_source_generate_new(&opt, &g, &err);
        if (rc == QN_OK)
            rc = qn_source_generate_read(g, text, &line, 1, &count, &bytes, &err);
        qn_mem_fail_at(0, false);
        qn_source_generate_free(g);
        if (rc == QN_OK) {
            assert_true(nth > 8);
            break;
        }
        assert_int_equal(rc, QN_NOMEM);
    }
}

/* Memory stays that of one day however long the stream is. */
static void memory_is_bounded(void **state)
{
    struct qn_generate_options opt = usual;
    static char text[4096 * QN_GENERATE_LINE_MAX];
    static struct qn_str lines[4096];
    struct qn_err err = {0};
    struct qn_generate *g;
    uint64_t made = 0, allocations = 0;
    uint32_t count;
    size_t bytes;

    (void)state;
    opt.days = 0;
    assert_int_equal(qn_source_generate_new(&opt, &g, &err), QN_OK);
    while (made < 300000) {
        assert_int_equal(qn_source_generate_read(g, text, lines, 4096, &count, &bytes, &err),
                         QN_OK);
        made += count;
        if (made < 20000)
            allocations = qn_mem_count();
    }
    assert_int_equal(qn_mem_count(), allocations);
    assert_true(qn_source_generate_bytes(g) < 4 << 20);
    qn_source_generate_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_bytes_whatever_the_chunk),
        cmocka_unit_test(ordered_and_complete),
        cmocka_unit_test(follows_the_recipe),
        cmocka_unit_test(three_kinds_of_fraud),
        cmocka_unit_test(refuses),
        cmocka_unit_test(ends_with_the_calendar),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(memory_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
