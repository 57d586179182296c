/* SPDX-License-Identifier: Apache-2.0
 * test_batch.c - names, types, the preset state of rows, and memory of a batch. */
#include "event_fixture.h"

#include <ctype.h>

static void test_names(void **state)
{
    static const char *const capitals[] = {
#define CAPITALS(name, stage, text) #name,
        QN_REASON_LIST(CAPITALS)
#undef CAPITALS
    };
    char text[24];

    (void)state;
    for (int r = 0; r < QN_REASON_COUNT; r++) {
        const char *name = qn_reason_name((enum qn_reason)r);

        assert_int_equal(strlen(name), strlen(capitals[r]));
        for (size_t i = 0; name[i] != '\0'; i++)
            assert_int_equal(name[i], tolower((unsigned char)capitals[r][i]));
    }
    assert_string_equal(qn_reason_stage(QN_REASON_BAD_JSON), "VALUE_CONVERTER");
    assert_string_equal(qn_reason_text(QN_REASON_TOO_LONG), "longer than max_length");
    assert_string_equal(qn_verdict_name(QN_SHED), "shed");
    assert_string_equal(qn_type_name(QN_TIMESTAMP), "timestamp");
    assert_string_equal(qn_kind_print((struct qn_kind){QN_DECIMAL, 18}, text), "decimal(18)");
    assert_string_equal(qn_kind_print((struct qn_kind){QN_LIST, 0}, text), "list(double)");
}

static void test_find(void **state)
{
    struct fixture x;

    (void)state;
    fixture_init(&x, "a:int64, bc:string");
    assert_int_equal(qn_schema_find(&x.schema, qn_str_of("bc")), 1);
    assert_int_equal(qn_schema_find(&x.schema, qn_str_of("b")), -1);
    fixture_fini(&x);
}

static void expect_preset(const struct qn_batch *b)
{
    for (uint32_t i = 0; i < b->rows_max; i++) {
        assert_int_equal(b->verdict[i], QN_SCORED);
        assert_int_equal(b->reason[i], QN_REASON_NONE);
        assert_int_equal(b->reason_field[i], QN_NO_FIELD);
        assert_int_equal(b->is_late[i], 0);
        for (uint32_t c = 0; c < b->col_count; c++)
            assert_int_equal(b->cols[c].valid[i], 0);
    }
}

/* Two streams: a column of one is null in rows of the other, also after the batch was used the
 * other way round. */
static void test_two_streams(void **state)
{
    struct fixture one, two;
    struct qn_schema schemas[2];
    struct qn_arena boot = {0};
    struct qn_batch b;

    (void)state;
    fixture_fields(&one, "a:int64, t:timestamp?");
    fixture_fields(&two, "x:string, y:double, t:timestamp?");
    schemas[0] = one.schema;
    schemas[1] = two.schema;
    assert_int_equal(qn_batch_init(&b, &boot, schemas, 2, 8, 2, NULL), QN_OK);
    assert_int_equal(b.col_count, 5);
    assert_int_equal(schemas[1].first_column, 2);
    assert_int_equal(b.cols[2].kind.type, QN_STRING);
    expect_preset(&b);
    for (int i = 0; i < 2; i++)
        assert_int_equal(qn_decode_json_prepare(&schemas[i], &boot, NULL), QN_OK);
    for (uint32_t round = 0; round < 3; round++) {
        char text[2][200] = {"{\"a\":1}", "{\"x\":\"v\",\"y\":0.5}"};

        for (uint32_t row = 0; row < 8; row++) {
            b.stream[row] = (uint8_t)((row + round) % 2);
            b.raw[row] = qn_str_of(text[b.stream[row]]);
        }
        b.rows = 8;
        for (uint32_t i = 0; i < 2; i++) {
            qn_decode_json(&b, &schemas[i], i, 0, 4, 0);
            qn_decode_json(&b, &schemas[i], i, 4, 8, 1);
        }
        for (uint32_t row = 0; row < 8; row++) {
            bool first = b.stream[row] == 0;

            assert_int_equal(b.verdict[row], QN_SCORED);
            assert_int_equal(b.cols[0].valid[row], first);
            assert_int_equal(b.cols[2].valid[row], !first);
            assert_int_equal(b.cols[3].valid[row], !first);
        }
        b.verdict[3] = QN_DEAD;
        b.reason[3] = QN_REASON_TOO_LONG;
        b.reason_field[3] = 1;
        b.is_late[3] = 1;
        qn_batch_reset(&b);
        expect_preset(&b);
    }
    qn_batch_fini(&b);
    qn_arena_fini(&boot);
}

static void test_column(void **state)
{
    struct qn_arena a = {0};
    struct qn_col c;

    (void)state;
    assert_int_equal(qn_col_init(&c, (struct qn_kind){QN_LIST, 0}, 100, &a, NULL), QN_OK);
    assert_int_equal((uintptr_t)c.list % 64, 0);
    c.list[99] = (struct qn_list){NULL, 3};
    c.valid[99] = 1;
    qn_mem_fail_at(1, true);
    assert_int_equal(qn_col_init(&c, (struct qn_kind){QN_STRING, 0}, 100000, &a, NULL), QN_NOMEM);
    qn_mem_fail_at(0, false);
    qn_arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_find),
                                       cmocka_unit_test(test_two_streams),
                                       cmocka_unit_test(test_column)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
