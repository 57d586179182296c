/* SPDX-License-Identifier: Apache-2.0
 * test_records.c - records of a batch: the marks cut the slices into the records, and name the rows
 * they tell of. */
#include "base/clock.h"
#include "engine/engine.h"
#include "engine/records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { EVENTS = 700, ROWS = 300, WORKERS = 3 };

static const char SPEC[] = "quern: 1\n"
                           "name: test\n"
                           "streams:\n"
                           "  pay:\n"
                           "    id: id\n"
                           "    time: at\n"
                           "    fields: {id: int64, at: {type: timestamp, unit: s}}\n"
                           "features:\n"
                           "  odd: id % 2 == 1\n"
                           "outputs:\n"
                           "  predictions: {}\n"
                           "  odd_ones: {when: odd}\n"
                           "  counted: {when: odd}\n";
static const bool wanted[] = {true, true, false};

/* Event i: every seventh is broken. */
struct world {
    char text[EVENTS][64 + QN_DECODE_PAD];
    uint32_t next;
    struct qn_record_encoder *encoder;
    struct qn_records records;
    uint32_t seen[4]; /* records per output, dead letters last */
};

static bool is_broken(int64_t i)
{
    return i % 7 == 3;
}

static qn_status read_events(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct world *w = st;

    for (; b->rows < b->rows_max && w->next < EVENTS; w->next++) {
        uint32_t r = b->rows++;

        b->raw[r] = (struct qn_str){w->text[w->next], (uint32_t)strlen(w->text[w->next])};
        b->stream[r] = 0;
        b->partition[r] = 0;
        b->offset[r] = w->next;
    }
    *flow = b->rows > 0 ? QN_MORE : QN_END;
    return QN_OK;
}

static void release(void *st)
{
}

static const struct qn_csv_header *const *csv(void *st, uint32_t stream)
{
    return NULL;
}

static void encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                   uint32_t first, uint32_t end, uint32_t worker)
{
    struct world *w = st;

    qn_records_encode(&w->records, w->encoder, en, r, first, end, worker);
}

/* What a record of that row must hold. */
static void check_record(const struct qn_step_result *r, bool is_dead, uint32_t output,
                         struct qn_str bytes, uint32_t row)
{
    const int64_t i = r->batch->offset[row];
    char want[64];

    assert_true(bytes.len > 2);
    assert_ptr_equal(memchr(bytes.p, '\n', bytes.len), bytes.p + bytes.len - 1);
    assert_int_equal(is_broken(i), is_dead);
    if (is_dead)
        snprintf(want, sizeof want, "\"position\":\"pay:0:%lld\",", (long long)i);
    else
        snprintf(want, sizeof want, "{\"id\":\"test:pay:0:%lld\",", (long long)i);
    assert_non_null(memmem(bytes.p, bytes.len, want, strlen(want)));
    if (output == 1)
        assert_int_equal(i % 2, 1);
}

static qn_status commit(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                        struct qn_err *err)
{
    struct world *w = st;
    const uint32_t dead = w->records.outputs;

    assert_int_equal(qn_records_check(&w->records, NULL), QN_OK);
    for (uint32_t o = 0; o <= dead; o++) {
        int64_t last = -1;

        for (uint32_t k = 0; k < WORKERS; k++) {
            const struct qn_record_slice *s = qn_records_slice(&w->records, o, k);
            size_t start = 0;

            w->seen[o] += s->count;
            for (uint32_t i = 0; i < s->count && (o == dead || wanted[o]); i++) {
                const struct qn_record_mark *m = &s->marks[i];

                assert_true((int64_t)m->row > last);
                last = m->row;
                check_record(r, o == dead, o,
                             (struct qn_str){s->bytes.data + start, (uint32_t)(m->end - start)},
                             m->row);
                start = m->end;
            }
            assert_int_equal(start, s->bytes.len);
        }
    }
    qn_records_clear(&w->records);
    return QN_OK;
}

static void test_marks(void **state)
{
    struct world *w = qn_mem_zalloc(1, sizeof *w);
    const struct qn_files *files = &qn_files_system;
    struct qn_plan_options plan_opt = {.files = files, .environment = (const char *const[]){NULL}};
    struct qn_engine_options opt = {.threads = WORKERS, .rows_max = ROWS};
    struct qn_record_options record_opt = {.kind = QN_RECORDS_PREDICTIONS,
                                           .is_wanted = wanted,
                                           .wants_dead = true,
                                           .workers = WORKERS};
    struct qn_input in = {read_events, release, csv, w};
    struct qn_output out = {encode, commit, w};
    struct qn_arena boot = {0};
    struct qn_diags diags = {.arena = &boot};
    struct qn_plan *plan = NULL;
    struct qn_engine *en = NULL;
    enum qn_flow flow = QN_MORE;
    uint32_t broken = 0, odd = 0;

    for (int i = 0; i < EVENTS; i++) {
        snprintf(w->text[i], sizeof w->text[i],
                 is_broken(i) ? "{\"id\":%d,\"at\":true}" : "{\"id\":%d,\"at\":1500000000}", i);
        broken += is_broken(i);
        odd += !is_broken(i) && i % 2 == 1;
    }
    assert_int_equal(qn_plan_load_text((struct qn_str){SPEC, sizeof SPEC - 1}, "test.yaml",
                                       &plan_opt, &boot, &diags, &plan, NULL),
                     QN_OK);
    assert_int_equal(qn_record_encoder_new(plan, &record_opt, &w->encoder, NULL), QN_OK);
    assert_int_equal(qn_record_outputs(w->encoder), 3);
    assert_int_equal(qn_records_init(&w->records, w->encoder, NULL), QN_OK);
    assert_int_equal(qn_engine_new(plan, &opt, &in, &out, &en, NULL), QN_OK);
    while (flow != QN_END)
        assert_int_equal(qn_step(en, &flow, NULL), QN_OK);
    assert_int_equal(w->seen[0], EVENTS - broken);
    assert_int_equal(w->seen[1], odd);
    assert_int_equal(w->seen[2], odd);
    assert_int_equal(w->seen[3], broken);

    qn_engine_free(en);
    qn_records_fini(&w->records);
    qn_record_encoder_free(w->encoder);
    qn_plan_free(plan);
    qn_arena_fini(&boot);
    qn_mem_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_marks)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
