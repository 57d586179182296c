/* SPDX-License-Identifier: Apache-2.0
 * test_contract.c - limits at their edges, lateness by every policy against a naive twin, and the
 * sum of the verdicts. */
#include "event_fixture.h"

static const char *checked(struct fixture *x, const char *text)
{
    fixture_one(x, text);
    if (x->b.verdict[0] == QN_SCORED)
        qn_contract_check(&x->b, &x->schema, 0, 0, 1);
    if (x->b.verdict[0] != QN_DEAD)
        return "ok";
    static char out[100];

    snprintf(out, sizeof out, "%s %.*s", qn_reason_name((enum qn_reason)x->b.reason[0]),
             QN_STR_ARG(x->fields[x->b.reason_field[0]].name));
    return out;
}

static void test_limits(void **state)
{
    static const struct qn_value words[] = {{.str = {"ab", 2}}, {.str = {"", 0}}};
    static const struct qn_value amounts[] = {{.i64 = 100}, {.i64 = -250}};
    struct fixture x;

    (void)state;
    fixture_fields(
        &x,
        "t:epoch_s?, i:int64?, d:double?, m:decimal2?, s:string?, l:list?, w:string?, a:decimal2?");
    x.fields[0].has_max = true;
    x.fields[0].max.i64 = 5000000;
    x.fields[1].has_min = x.fields[1].has_max = true;
    x.fields[1].min.i64 = -1;
    x.fields[1].max.i64 = 3;
    x.fields[2].has_min = true;
    x.fields[2].min.f64 = 0.5;
    x.fields[3].has_max = true;
    x.fields[3].max.i64 = 1000;
    x.fields[4].length_max = 3;
    x.fields[5].length_exact = 2;
    x.fields[5].has_min = true;
    x.fields[5].min.f64 = 0;
    x.fields[6].in = words;
    x.fields[6].in_count = 2;
    x.fields[7].in = amounts;
    x.fields[7].in_count = 2;
    fixture_ready(&x);
    assert_string_equal(checked(&x, "{\"t\":5,\"i\":3,\"d\":0.5,\"m\":10,\"s\":\"abc\",\"l\":[0,1],"
                                    "\"w\":\"ab\",\"a\":-2.5}"),
                        "ok");
    assert_int_equal(x.b.time_us[0], 5000000);
    assert_string_equal(checked(&x, "{\"t\":5}"), "ok");
    assert_string_equal(checked(&x, "{\"i\":3}"), "missing_field t");
    assert_string_equal(checked(&x, "{\"t\":5.000001}"), "out_of_range t");
    assert_string_equal(checked(&x, "{\"t\":5,\"i\":4}"), "out_of_range i");
    assert_string_equal(checked(&x, "{\"t\":5,\"i\":-2}"), "out_of_range i");
    assert_string_equal(checked(&x, "{\"t\":5,\"i\":-1,\"d\":0.49999999999999994}"),
                        "out_of_range d");
    assert_string_equal(checked(&x, "{\"t\":5,\"m\":10.01}"), "out_of_range m");
    assert_string_equal(checked(&x, "{\"t\":5,\"s\":\"\xc3\xa9\xc3\xa9\xc3\xa9\"}"), "ok");
    assert_string_equal(checked(&x, "{\"t\":5,\"s\":\"abcd\"}"), "too_long s");
    assert_string_equal(checked(&x, "{\"t\":5,\"l\":[1]}"), "wrong_length l");
    assert_string_equal(checked(&x, "{\"t\":5,\"l\":[1,2,3]}"), "wrong_length l");
    assert_string_equal(checked(&x, "{\"t\":5,\"l\":[1,-0.1]}"), "out_of_range l");
    assert_string_equal(checked(&x, "{\"t\":5,\"w\":\"\"}"), "ok");
    assert_string_equal(checked(&x, "{\"t\":5,\"w\":\"abc\"}"), "not_allowed w");
    assert_string_equal(checked(&x, "{\"t\":5,\"a\":1}"), "ok");
    assert_string_equal(checked(&x, "{\"t\":5,\"a\":1.01}"), "not_allowed a");
    assert_string_equal(checked(&x, "{\"t\":5,\"w\":\"x\",\"i\":9}"), "out_of_range i");
    fixture_fini(&x);
    fixture_fields(&x, "t:epoch_s, l:list");
    x.fields[1].length_max = 2;
    fixture_ready(&x);
    assert_string_equal(checked(&x, "{\"t\":5,\"l\":[1,2]}"), "ok");
    assert_string_equal(checked(&x, "{\"t\":5,\"l\":[1,2,3]}"), "too_long l");
    fixture_fini(&x);
}

/* A long list of allowed values answers the same with its hash table and without. */
static void test_long_sets(void **state)
{
    struct qn_value words[300], numbers[300];
    char text[300][8], event[100];
    struct fixture x;

    (void)state;
    for (int i = 0; i < 300; i++) {
        snprintf(text[i], sizeof text[i], "w%d", i * 3);
        words[i].str = qn_str_of(text[i]);
        numbers[i].i64 = (int64_t)i * 3;
    }
    fixture_fields(&x, "t:epoch_s, w:string, n:int64");
    x.fields[1].in = words;
    x.fields[2].in = numbers;
    x.fields[1].in_count = x.fields[2].in_count = 300;
    fixture_ready(&x);
    assert_non_null(x.schema.limits);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++) {
            const char *expected = i % 3 == 0 && i < 900 ? "ok" : "not_allowed w";

            snprintf(event, sizeof event, "{\"t\":1,\"w\":\"w%d\",\"n\":%d}", i, i);
            assert_string_equal(checked(&x, event), expected);
            snprintf(event, sizeof event, "{\"t\":1,\"w\":\"w0\",\"n\":%d}", i);
            assert_string_equal(checked(&x, event), i % 3 == 0 && i < 900 ? "ok" : "not_allowed n");
        }
        x.schema.limits = NULL;
    }
    fixture_fini(&x);
}

static void put(struct qn_batch *b, uint8_t stream, int64_t time_us)
{
    b->stream[b->rows] = stream;
    b->time_us[b->rows++] = time_us;
}

/* One clock that is wrong must not make all others late. */
static void test_from_the_future(void **state)
{
    struct fixture x;
    struct qn_watermark w = {0};
    const int64_t S = 1000000;

    (void)state;
    fixture_init(&x, "t:epoch_s");
    x.schema.lateness_us = 10 * S;
    for (int r = 0; r < 4; r++)
        x.b.arrival_us[r] = 1000 * S;
    put(&x.b, 0, 1060 * S);     /* as far ahead as is allowed */
    put(&x.b, 0, 1060 * S + 1); /* further: moves nothing     */
    put(&x.b, 0, 1050 * S);
    put(&x.b, 0, 5000 * S);
    put(&x.b, 0, 5000 * S); /* nobody knows when it came */
    qn_contract_lateness(&x.b, &x.schema, 1, &w);
    for (int r = 0; r < 5; r++) {
        bool is_dead = r == 1 || r == 3;

        assert_int_equal(x.b.verdict[r], is_dead ? QN_DEAD : QN_SCORED);
        assert_int_equal(x.b.reason[r], is_dead ? QN_REASON_FUTURE_TIME : QN_REASON_NONE);
        assert_false(x.b.is_late[r]);
    }
    assert_int_equal(x.b.reason_field[1], 0);
    assert_int_equal(w.newest_us, 5000 * S);
    fixture_fini(&x);
}

static void test_lateness_edges(void **state)
{
    struct fixture x;
    struct qn_watermark w = {0};
    struct qn_counts counts[1] = {{0}};
    enum { S = 1000000 };

    (void)state;
    fixture_init(&x, "t:epoch_s");
    x.schema.lateness_us = 10 * S;
    x.schema.within_us = 5 * S;
    x.schema.late = QN_LATE_SCORE;
    put(&x.b, 0, 100 * S);
    put(&x.b, 0, 90 * S);     /* exactly at the watermark: on time  */
    put(&x.b, 0, 90 * S - 1); /* late, scored                       */
    put(&x.b, 0, 85 * S);     /* as far behind as is scored         */
    put(&x.b, 0, 85 * S - 1); /* too late                           */
    put(&x.b, 0, 500 * S);    /* dead: moves nothing                */
    x.b.verdict[5] = QN_DEAD;
    x.b.reason[5] = QN_REASON_BAD_TIME;
    put(&x.b, 0, 95 * S);
    qn_contract_lateness(&x.b, &x.schema, 1, &w);
    qn_contract_count(&x.b, counts);
    assert_int_equal(w.newest_us, 100 * S);
    assert_memory_equal(x.b.is_late, ((uint8_t[]){0, 0, 1, 1, 1, 0, 0}), 7);
    assert_memory_equal(
        x.b.verdict,
        ((uint8_t[]){QN_SCORED, QN_SCORED, QN_SCORED, QN_SCORED, QN_DEAD, QN_DEAD, QN_SCORED}), 7);
    assert_int_equal(x.b.reason[4], QN_REASON_TOO_LATE);
    assert_int_equal(x.b.reason_field[4], 0);
    assert_int_equal(x.b.reason[2], QN_REASON_NONE);
    assert_int_equal(counts[0].read, 7);
    assert_int_equal(counts[0].verdict[QN_SCORED], 5);
    assert_int_equal(counts[0].verdict[QN_DEAD], 2);
    assert_int_equal(counts[0].late_scored, 2);
    assert_int_equal(counts[0].reason[QN_REASON_TOO_LATE], 1);
    assert_int_equal(counts[0].reason[QN_REASON_BAD_TIME], 1);
    qn_batch_reset(&x.b);
    put(&x.b, 0, INT64_MIN); /* the ends of time overflow nothing */
    put(&x.b, 0, INT64_MAX);
    put(&x.b, 0, INT64_MIN);
    w = (struct qn_watermark){0};
    qn_contract_lateness(&x.b, &x.schema, 1, &w);
    assert_memory_equal(x.b.verdict, ((uint8_t[]){QN_SCORED, QN_SCORED, QN_DEAD}), 3);
    fixture_fini(&x);
}

/* Random times in random batches: each row's fate from the definition alone. */
static void test_lateness_twin(void **state)
{
    static const enum qn_late policies[] = {QN_LATE_SCORE, QN_LATE_FOLD, QN_LATE_DROP,
                                            QN_LATE_DEAD_LETTER};
    struct fixture x;
    struct qn_schema schemas[4];
    struct qn_watermark w = {0};
    struct qn_rng r;
    struct qn_counts counts[4] = {{0}};
    int64_t newest = INT64_MIN;
    uint64_t rows = 0, fates[QN_VERDICTS] = {0};

    (void)state;
    qn_rng_seed(&r, test_seed(20180408));
    fixture_init(&x, "t:epoch_s");
    for (int i = 0; i < 4; i++) {
        schemas[i] = x.schema;
        schemas[i].late = policies[i];
        schemas[i].lateness_us = 5 + i;
        schemas[i].within_us = 3 * i;
    }
    for (int batch = 0; batch < 500; batch++) {
        uint32_t n = qn_rng_below(&r, FIXTURE_ROWS + 1);

        qn_batch_reset(&x.b);
        for (uint32_t i = 0; i < n; i++) {
            put(&x.b, (uint8_t)qn_rng_below(&r, 4), batch - 250 + (int64_t)qn_rng_below(&r, 25));
            if (qn_rng_below(&r, 10) == 0)
                x.b.verdict[i] = QN_DEAD;
        }
        rows += n;
        bool dead[FIXTURE_ROWS];

        for (uint32_t i = 0; i < n; i++)
            dead[i] = x.b.verdict[i] == QN_DEAD;
        qn_contract_lateness(&x.b, schemas, 4, &w);
        for (uint32_t i = 0; i < n; i++) {
            const struct qn_schema *s = &schemas[x.b.stream[i]];
            int64_t t = x.b.time_us[i], behind;
            uint8_t verdict = QN_SCORED;

            if (dead[i]) {
                assert_int_equal(x.b.verdict[i], QN_DEAD);
                assert_int_equal(x.b.is_late[i], 0);
                continue;
            }
            newest = t > newest ? t : newest;
            behind = newest - s->lateness_us - t;
            assert_int_equal(x.b.is_late[i], behind > 0);
            if (behind > 0 && (s->late == QN_LATE_DROP || s->late == QN_LATE_DEAD_LETTER))
                verdict = QN_LATE;
            else if (behind > 0 && behind > s->within_us)
                verdict = QN_DEAD;
            else if (behind > 0 && s->late == QN_LATE_FOLD)
                verdict = QN_LATE;
            assert_int_equal(x.b.verdict[i], verdict);
        }
        qn_contract_count(&x.b, counts);
    }
    assert_int_equal(w.newest_us, newest);
    for (int i = 0; i < 4; i++) {
        uint64_t sum = 0;

        for (int v = 0; v < QN_VERDICTS; v++) {
            sum += counts[i].verdict[v];
            fates[v] += counts[i].verdict[v];
        }
        assert_int_equal(sum, counts[i].read);
        rows -= counts[i].read;
    }
    assert_int_equal(rows, 0);
    assert_true(fates[QN_SCORED] > 0 && fates[QN_LATE] > 0 && fates[QN_DEAD] > 0);
    fixture_fini(&x);
}

static void test_no_memory(void **state)
{
    struct qn_value numbers[100] = {{.i64 = 0}};
    struct fixture x;
    int failed = 0;

    (void)state;
    for (uint64_t nth = 1;; nth++) {
        qn_status rc;

        fixture_fields(&x, "t:epoch_s, n:int64");
        x.fields[1].in = numbers;
        x.fields[1].in_count = 100;
        qn_arena_init(&x.boot, 64);
        qn_mem_fail_at(nth, true);
        rc = qn_contract_prepare(&x.schema, &x.boot, &x.err);
        qn_mem_fail_at(0, false);
        qn_arena_fini(&x.boot);
        if (rc == QN_OK)
            break;
        assert_int_equal(rc, QN_NOMEM);
        failed++;
    }
    assert_true(failed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),          cmocka_unit_test(test_long_sets),
        cmocka_unit_test(test_from_the_future), cmocka_unit_test(test_lateness_edges),
        cmocka_unit_test(test_lateness_twin),   cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
