/* SPDX-License-Identifier: Apache-2.0
 * test_engine_state.c - whole engines that die and go on from snapshots: the same bytes and counts
 * as one that never stopped, on other threads and batches each time; and which changes of a spec a
 * snapshot outlives. */
#include "../seed.h"
#include "../state/memory_store.h"
#include "base/clock.h"
#include "engine/engine_state.h"
#include "engine/output_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { EVENTS = 4000, KEYS = 30, TARGETS = 3, SECTIONS_MAX = 16 };

#define STREAMS                                                                                    \
    "quern: 1\n"                                                                                   \
    "name: test\n"                                                                                 \
    "streams:\n"                                                                                   \
    "  pay:\n"                                                                                     \
    "    id: id\n"                                                                                 \
    "    time: at\n"                                                                               \
    "    late: fold\n"                                                                             \
    "    dedup: 2h\n"                                                                              \
    "    fields: {id: int64, at: {type: timestamp, unit: s}, card: string, shop: string, amount: " \
    "{type: decimal(2), min: 0}, speed: double}\n"                                                 \
    "  back:\n"                                                                                    \
    "    id: ref\n"                                                                                \
    "    time: at\n"                                                                               \
    "    dedup: 1h\n"                                                                              \
    "    fields: {ref: {type: string, optional: true}, at: {type: timestamp, unit: s}, shop: "     \
    "string, fraud: bool}\n"
#define FEATURES                                                                                   \
    "features:\n"                                                                                  \
    "  big: amount > 20\n"                                                                         \
    "  n: count() by card over 1h\n"                                                               \
    "  bigs: count() where big by card over 3h or 0\n"                                             \
    "  total: sum(amount) by card over 2h\n"                                                       \
    "  top: max(amount) where amount > 5 by card over 30m\n"                                       \
    "  least: min(speed) by card over 20m delayed 5m\n"                                            \
    "  drift: mean(speed) by card over 2h excluding current\n"                                     \
    "  ever: sum(speed) by shop, card over all\n"                                                  \
    "  peak: max(amount) by shop over all\n"                                                       \
    "  risk: mean(fraud) of back by shop over 5h delayed 1h or 0\n"                                \
    "  share: amount / total\n"
#define PASSING                                                                                    \
    "features:\n"                                                                                  \
    "  n: count() by card over 1h\n"                                                               \
    "  drift: mean(speed) by card over 2h excluding current\n"                                     \
    "  both: sum(speed) by shop, card over 90m\n"                                                  \
    "  peak: max(amount) by shop over 3h delayed 10m\n"                                            \
    "  risk: mean(fraud) of back by shop over 5h delayed 1h or 0\n"                                \
    "  share: amount / peak\n"
#define OUTPUTS                                                                                    \
    "outputs:\n"                                                                                   \
    "  predictions: {include: [features]}\n"                                                       \
    "  big_ones: {when: share > 0.5}\n"

static const char SPEC[] = STREAMS FEATURES OUTPUTS;

/* The log, and what was written behind it. */
struct world {
    struct qn_rng r;
    struct qn_buf text;
    struct qn_str lines[EVENTS];
    uint8_t stream[EVENTS];
    int64_t offset[EVENTS]; /* in its stream */
    uint32_t next;          /* to be read    */
    struct memory_store *store;
    size_t lengths[EVENTS + 1][TARGETS]; /* of what was written when so many were committed */
};

static struct qn_buf written[TARGETS];

static int64_t capture(void *st, int fd, const void *p, size_t bytes)
{
    (void)st;
    qn_buf_add(&written[fd - 1], p, bytes);
    return (int64_t)bytes;
}

static qn_status world_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct world *w = st;
    uint32_t some = 1 + qn_rng_below(&w->r, b->rows_max);

    (void)err;
    while (b->rows < some && w->next < EVENTS) {
        uint32_t row = b->rows++;

        b->raw[row] = w->lines[w->next];
        b->stream[row] = w->stream[w->next];
        b->partition[row] = 0;
        b->offset[row] = w->offset[w->next++];
    }
    *flow = b->rows > 0 ? QN_MORE : QN_END;
    return QN_OK;
}

static void world_release(void *st)
{
    (void)st;
}

static const struct qn_csv_header *const *world_csv(void *st, uint32_t stream)
{
    (void)st;
    (void)stream;
    return NULL;
}

static void add_event(struct world *w, uint32_t i, int64_t at)
{
    struct qn_rng *r = &w->r;
    uint32_t dice = qn_rng_below(r, 100);
    uint32_t id = dice % 7 == 0 ? i - qn_rng_below(r, i < 300 ? i + 1 : 300) : i;

    w->stream[i] = dice % 4 == 0;
    if (dice < 10)
        at -= (int64_t)qn_rng_below(r, 60);
    if (w->stream[i])
        qn_buf_printf(&w->text, "{\"shop\":\"s%u\",\"fraud\":%s,\"at\":%lld,\"%s\":\"r%u\"}",
                      qn_rng_below(r, KEYS), dice % 3 ? "false" : "true", (long long)at,
                      dice == 12 ? "none" : "ref", id / 3);
    else if (dice == 53)
        qn_buf_printf(&w->text, "{\"id\":%u,", id);
    else
        qn_buf_printf(&w->text,
                      "{\"id\":%u,\"at\":%lld,\"card\":\"c%u\",\"shop\":\"s%u\",\"amount\":%u.%02u,"
                      "\"speed\":%s%u.%ue%d}",
                      id, (long long)at, qn_rng_below(r, KEYS), qn_rng_below(r, KEYS),
                      qn_rng_below(r, 50), qn_rng_below(r, 100), dice % 3 ? "" : "-",
                      qn_rng_below(r, 1000), qn_rng_below(r, 1000),
                      dice == 77 ? -290 : (int)qn_rng_below(r, 20) - 10);
}

static struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    int64_t at = 1500000000, offsets[2] = {0, 0};
    size_t starts[EVENTS];

    assert_non_null(w);
    qn_rng_seed(&w->r, seed);
    for (uint32_t i = 0; i < EVENTS; i++) {
        at += qn_rng_below(&w->r, 4) * qn_rng_below(&w->r, 20);
        if (qn_rng_below(&w->r, 500) == 0)
            at += 4 * 3600; /* keys die */
        starts[i] = w->text.len;
        add_event(w, i, at);
        w->lines[i].len = (uint32_t)(w->text.len - starts[i]);
        w->offset[i] = offsets[w->stream[i]]++;
    }
    for (uint32_t i = 0; i < QN_DECODE_PAD; i++)
        qn_buf_byte(&w->text, ' ');
    for (uint32_t i = 0; i < EVENTS; i++)
        w->lines[i].p = w->text.data + starts[i];
    w->store = memory_store_new();
    return w;
}

static void world_free(struct world *w)
{
    qn_buf_fini(&w->text);
    memory_store_free(w->store);
    free(w);
    for (int t = 0; t < TARGETS; t++)
        qn_buf_fini(&written[t]);
}

/* ---- one engine ---- */

struct life {
    struct qn_files files;
    struct qn_arena boot;
    struct qn_plan *plan;
    struct qn_outputs *outputs;
    struct qn_engine *en;
    struct qn_snapshots *sn;
    uint64_t restored; /* number of the snapshot */
    char why[512];     /* the last one was passed over */
};

static void keep_reason(void *arg, uint64_t number, const struct qn_err *why)
{
    struct life *l = arg;

    (void)number;
    snprintf(l->why, sizeof l->why, "%s", why->text);
}

static void life_engine(struct life *l, struct world *w, const char *spec, uint32_t threads,
                        uint32_t rows)
{
    struct qn_plan_options plan_opt = {.files = &l->files,
                                       .environment = (const char *const[]){NULL}};
    struct qn_engine_options opt = {
        .threads = threads, .rows_max = rows, .seed = qn_rng_next(&w->r)};
    struct qn_output_target targets[2] = {{1, "predictions"}, {2, "big_ones"}};
    struct qn_outputs_options out_opt = {.kind = QN_RECORDS_PREDICTIONS,
                                         .files = &l->files,
                                         .targets = targets,
                                         .dead = {3, "dead"},
                                         .workers = threads};
    struct qn_input in = {world_read, world_release, world_csv, w};
    struct qn_diags diags = {.arena = &l->boot};
    struct qn_output out;

    l->files = qn_files_system;
    l->files.write = capture;
    assert_int_equal(qn_plan_load_text(qn_str_of(spec), "test.yaml", &plan_opt, &l->boot, &diags,
                                       &l->plan, NULL),
                     QN_OK);
    assert_int_equal(qn_outputs_new(l->plan, &out_opt, &l->outputs, NULL), QN_OK);
    out = qn_outputs_output(l->outputs);
    assert_int_equal(qn_engine_new(l->plan, &opt, &in, &out, &l->en, NULL), QN_OK);
}

/* An engine of that spec, restored; w->next is where it goes on. */
static void life_begin(struct life *l, struct world *w, const char *spec, uint32_t threads,
                       uint32_t rows)
{
    struct qn_section sections[SECTIONS_MAX];
    struct qn_snapshots_options opt = {
        .store = &w->store->table, .sections = sections, .workers = threads, .pack_bytes = 20000};
    struct qn_snapshot_choice how = {.report = keep_reason, .arg = l};
    struct qn_snapshot_info got;

    *l = (struct life){0};
    life_engine(l, w, spec, threads, rows);
    opt.section_count = qn_engine_section_count(l->en);
    assert_true(opt.section_count <= SECTIONS_MAX);
    assert_int_equal(qn_engine_sections(l->en, sections, NULL), QN_OK);
    assert_int_equal(qn_snapshots_new(&opt, &l->sn, NULL), QN_OK);
    assert_int_equal(qn_snapshots_restore(l->sn, &how, &got, NULL), QN_OK);
    l->restored = got.number;
    w->next = (uint32_t)got.position;
    if (got.number > 0) {
        assert_int_equal(got.payload.len, sizeof w->lengths[0]);
        assert_memory_equal(got.payload.p, w->lengths[w->next], sizeof w->lengths[0]);
    }
    for (int t = 0; t < TARGETS; t++)
        written[t].len = w->lengths[w->next][t];
}

static void life_end(struct life *l)
{
    qn_snapshots_free(l->sn);
    qn_engine_free(l->en);
    qn_outputs_free(l->outputs);
    qn_plan_free(l->plan);
    qn_arena_fini(&l->boot);
}

/* Steps and takes snapshots until the end, or until chance ends it. False: the log is at its end.
 */
static bool life_run(struct life *l, struct world *w, uint32_t mortality)
{
    enum qn_flow flow = QN_MORE;

    for (;;) {
        assert_int_equal(qn_step(l->en, &flow, NULL), QN_OK);
        if (flow == QN_END)
            return false;
        for (int t = 0; t < TARGETS; t++)
            w->lengths[w->next][t] = written[t].len;
        switch (qn_snapshots_step(l->sn, qn_rng_below(&w->r, 20000))) {
        case QN_SNAPSHOT_NONE: {
            struct qn_snapshot_info info = {
                .position = w->next,
                .payload = {(const char *)w->lengths[w->next], sizeof w->lengths[0]}};

            assert_int_equal(qn_snapshots_begin(l->sn, &info, NULL), QN_OK);
            break;
        }
        case QN_SNAPSHOT_SWEPT:
            qn_snapshots_finish(l->sn);
            if (qn_rng_below(&w->r, 2))
                qn_snapshots_wait(l->sn);
            break;
        case QN_SNAPSHOT_ENDED:
            assert_int_equal(qn_snapshots_result(l->sn, NULL, NULL), QN_OK);
            break;
        default:
            break;
        }
        if (mortality > 0 && qn_rng_below(&w->r, mortality) == 0)
            return true;
    }
}

static void goes_on_with(const char *spec)
{
    uint64_t seed = test_seed(20180410);
    struct qn_buf want[TARGETS] = {{0}};
    struct qn_counts counts[2];
    struct world *w;
    struct life l;
    unsigned restored = 0;

    w = world_new(seed);
    life_begin(&l, w, spec, 1, 700);
    assert_false(life_run(&l, w, 0));
    memcpy(counts, qn_engine_counts(l.en), sizeof counts);
    life_end(&l);
    for (int s = 0; s < 2; s++)
        assert_true(counts[s].reason[QN_REASON_DUPLICATE] > 20 || strstr(spec, "memory:") != NULL);
    print_message("%llu of %llu found no room\n",
                  (unsigned long long)counts[0].reason[QN_REASON_STATE_FULL],
                  (unsigned long long)counts[0].read);
    assert_int_equal(counts[0].reason[QN_REASON_STATE_FULL] > 100, strstr(spec, "memory:") != NULL);
    for (int t = 0; t < TARGETS; t++) {
        assert_true(written[t].len > 1000);
        qn_buf_add(&want[t], written[t].data, written[t].len);
    }
    for (int round = 0; round < 6; round++) {
        bool dies = true;

        memory_store_free(w->store);
        w->store = memory_store_new();
        while (dies) {
            life_begin(&l, w, spec, 1 + qn_rng_below(&w->r, 3), 1 + qn_rng_below(&w->r, 200));
            restored += l.restored > 0;
            dies = life_run(&l, w, 12);
            if (!dies)
                assert_memory_equal(counts, qn_engine_counts(l.en), sizeof counts);
            life_end(&l);
        }
        for (int t = 0; t < TARGETS; t++) {
            assert_int_equal(written[t].len, want[t].len);
            assert_memory_equal(written[t].data, want[t].data, want[t].len);
        }
    }
    print_message("%u restored\n", restored);
    assert_true(restored > 20);
    for (int t = 0; t < TARGETS; t++)
        qn_buf_fini(&want[t]);
    world_free(w);
}

static void goes_on_with_the_same_bytes(void **state)
{
    (void)state;
    goes_on_with(SPEC);
}

/* The same events find no room: keys come and go, or stay for ever. */
static void goes_on_with_limits(void **state)
{
    (void)state;
    goes_on_with(STREAMS PASSING OUTPUTS "limits: {memory: 150KB}\n");
    goes_on_with(STREAMS FEATURES OUTPUTS "limits: {memory: 400KB}\n");
}

/* ---- what a snapshot outlives ---- */

static void other_specs(void **state)
{
    static const struct {
        const char *what, *spec, *why; /* why: part of the reason; NULL: it is restored */
    } cases[] = {
        {"the same", STREAMS FEATURES OUTPUTS, NULL},
        {"another output, another name", STREAMS FEATURES "outputs: {big_ones: {when: n > 3}}\n",
         NULL},
        {"names, defaults, blanks, a new expression",
         STREAMS "features:\n"
                 "  is_big: amount>20\n"
                 "  count_of: count() by card over 1h or 7\n"
                 "  bigs: count() where is_big by card over 3h\n"
                 "  total: sum( amount ) by card over 2h\n"
                 "  top: max(amount) where amount > 5 by card over 30m\n"
                 "  least: min(speed) by card over 20m delayed 5m\n"
                 "  drift: mean(speed) by card over 2h excluding current\n"
                 "  ever: sum(speed) by shop, card over all\n"
                 "  peak: max(amount) by shop over all\n"
                 "  risk: mean(fraud) of back by shop over 5h delayed 1h\n"
                 "  hour_of: hour(at)\n"
                 "outputs: {big_ones: {}}\n",
         NULL},
        {"a limit", STREAMS FEATURES OUTPUTS "limits: {memory: 1MB}\n", NULL},
        {"fewer groups",
         STREAMS "features:\n"
                 "  peak: max(amount) by shop over all\n"
                 "outputs: {big_ones: {}}\n",
         NULL},
        {"a longer window",
         STREAMS "features:\n"
                 "  peak: max(amount) by shop over 9h\n"
                 "outputs: {big_ones: {}}\n",
         "another windows/pay/shop"},
        {"a new group",
         STREAMS "features:\n"
                 "  peak: max(amount) by id over all\n"
                 "outputs: {big_ones: {}}\n",
         "without windows/pay/id"},
        {"an argument behind a name",
         STREAMS "features:\n"
                 "  big: amount > 21\n"
                 "  n: count() by card over 1h\n"
                 "  bigs: count() where big by card over 3h or 0\n"
                 "  total: sum(amount) by card over 2h\n"
                 "  top: max(amount) where amount > 5 by card over 30m\n"
                 "  least: min(speed) by card over 20m delayed 5m\n"
                 "  drift: mean(speed) by card over 2h excluding current\n"
                 "outputs: {big_ones: {}}\n",
         "another windows/pay/card"},
        {"ids remembered longer",
         "quern: 1\n"
         "name: test\n"
         "streams:\n"
         "  pay:\n"
         "    id: id\n"
         "    time: at\n"
         "    late: fold\n"
         "    dedup: 3h\n"
         "    fields: {id: int64, at: {type: timestamp, unit: s}, card: string, shop: string, "
         "amount: {type: decimal(2), min: 0}, speed: double}\n"
         "  back:\n"
         "    id: ref\n"
         "    time: at\n"
         "    dedup: 1h\n"
         "    fields: {ref: {type: string, optional: true}, at: {type: timestamp, unit: s}, shop: "
         "string, fraud: bool}\n" FEATURES OUTPUTS,
         "another engine"},
        {"a contract",
         "quern: 1\n"
         "name: test\n"
         "streams:\n"
         "  pay:\n"
         "    id: id\n"
         "    time: at\n"
         "    late: fold\n"
         "    dedup: 2h\n"
         "    fields: {id: int64, at: {type: timestamp, unit: s}, card: string, shop: string, "
         "amount: {type: decimal(2), min: 1}, speed: double}\n"
         "  back:\n"
         "    id: ref\n"
         "    time: at\n"
         "    dedup: 1h\n"
         "    fields: {ref: {type: string, optional: true}, at: {type: timestamp, unit: s}, shop: "
         "string, fraud: bool}\n" FEATURES OUTPUTS,
         "another engine"},
    };
    struct world *w = world_new(5);
    struct life l;

    (void)state;
    life_begin(&l, w, SPEC, 2, 100);
    assert_false(life_run(&l, w, 0));
    life_end(&l);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("%s\n", cases[i].what);
        life_begin(&l, w, cases[i].spec, 2, 100);
        assert_int_equal(l.restored > 0, cases[i].why == NULL);
        if (cases[i].why != NULL && strstr(l.why, cases[i].why) == NULL) {
            print_message("%s\n", l.why);
            assert_true(false);
        }
        if (l.restored == 0) {
            for (uint32_t s = 0; s < 2; s++)
                assert_int_equal(qn_engine_counts(l.en)[s].read, 0);
        }
        life_end(&l);
    }
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_with_the_same_bytes),
        cmocka_unit_test(goes_on_with_limits),
        cmocka_unit_test(other_specs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
