/* SPDX-License-Identifier: Apache-2.0
 * test_dedup.c - which rows repeat an id: at the edge of `dedup`, out of order, within and across
 * batches, per stream; a random log against a naive twin, with restarts from snapshots; memory that
 * stays bounded, and runs out. */
#include "../seed.h"
#include "../state/memory_store.h"
#include "base/clock.h"
#include "engine/dedup.h"
#include "state/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PAY, SHIP, SIDE, STREAMS, ROWS = 700, EVENTS = 6000, SECOND = 1000000 };

/* PAY: texts that may be null, 10 s; SHIP: numbers, 3 s; SIDE: ids, and repeats are events. */
static const char SPEC[] = "quern: 1\n"
                           "name: test\n"
                           "main: pay\n"
                           "streams:\n"
                           "  pay:\n"
                           "    id: id\n"
                           "    time: at\n"
                           "    late: score within 1h\n"
                           "    dedup: 10s\n"
                           "    fields: {id: {type: string, optional: true}, at: timestamp}\n"
                           "  ship:\n"
                           "    id: id\n"
                           "    time: at\n"
                           "    late: drop\n"
                           "    lateness: 2s\n"
                           "    dedup: 3s\n"
                           "    fields: {n: int64, id: int64, at: timestamp}\n"
                           "  side:\n"
                           "    id: id\n"
                           "    time: at\n"
                           "    fields: {id: int64, at: timestamp}\n";

/* One event, and what the twin says of it. */
struct event {
    uint8_t stream;
    bool is_null, is_broken; /* broken: dead before anybody asks */
    int64_t id, time_us;
    char text[40]; /* the id of PAY */
    bool repeats;
    bool has_newest; /* newest event time of the shard behind it */
    int64_t newest_us, seen_us;
};

struct world {
    struct qn_files files;
    struct qn_arena boot;
    struct qn_plan *plan;
    struct qn_batch b;
    struct qn_dedup *d;
};

static void world_init(struct world *w)
{
    struct qn_diags diags = {.arena = &w->boot};
    struct qn_plan_options opt;

    *w = (struct world){.files = qn_files_system};
    opt = (struct qn_plan_options){.files = &w->files, .environment = (const char *const[]){NULL}};
    assert_int_equal(qn_plan_load_text((struct qn_str){SPEC, sizeof SPEC - 1}, "test.yaml", &opt,
                                       &w->boot, &diags, &w->plan, NULL),
                     QN_OK);
    assert_int_equal(
        qn_batch_init(&w->b, &w->boot, w->plan->schemas, w->plan->schema_count, ROWS, 1, NULL),
        QN_OK);
    assert_int_equal(qn_dedup_new(w->plan, 1, &w->d, NULL), QN_OK);
}

static void world_fini(struct world *w)
{
    qn_dedup_free(w->d);
    qn_batch_fini(&w->b);
    qn_plan_free(w->plan);
    qn_arena_fini(&w->boot);
}

static void put_row(struct world *w, uint32_t row, const struct event *e)
{
    const struct qn_schema *s = &w->plan->schemas[e->stream];
    struct qn_col *c = &w->b.cols[s->first_column + (uint32_t)s->id];

    w->b.stream[row] = e->stream;
    w->b.time_us[row] = e->time_us;
    w->b.arrival_us[row] = QN_NO_ARRIVAL;
    w->b.verdict[row] = e->is_broken ? QN_DEAD : QN_SCORED;
    w->b.reason[row] = e->is_broken ? QN_REASON_OUT_OF_RANGE : QN_REASON_NONE;
    c->valid[row] = !e->is_null;
    if (e->stream == PAY)
        c->str[row] = qn_str_of(e->text);
    else
        c->i64[row] = e->id;
}

/* Lateness and repeats of n events in one batch, which must be what the twin says. before: the
 * event in front of them, NULL at the start of the log. */
static qn_status step(struct world *w, const struct event *e, uint32_t n,
                      const struct event *before)
{
    struct qn_watermark mark = {0}, moved;
    qn_status rc;

    if (before != NULL)
        mark = (struct qn_watermark){before->has_newest, before->newest_us};
    moved = mark;
    qn_batch_reset(&w->b);
    w->b.rows = n;
    for (uint32_t i = 0; i < n; i++)
        put_row(w, i, &e[i]);
    qn_contract_lateness(&w->b, w->plan->schemas, w->plan->schema_count, &moved);
    rc = qn_dedup_run(w->d, &w->b, mark, NULL);
    if (rc != QN_OK)
        return rc;
    assert_int_equal(moved.newest_us, e[n - 1].newest_us);
    for (uint32_t i = 0; i < n; i++) {
        const bool repeats = w->b.reason[i] == QN_REASON_DUPLICATE;

        if (repeats != e[i].repeats)
            print_message("row %u: stream %u id %lld '%s' at %lld: %d\n", i, e[i].stream,
                          (long long)e[i].id, e[i].text, (long long)e[i].time_us, repeats);
        assert_int_equal(repeats, e[i].repeats);
        if (repeats) {
            assert_int_equal(w->b.verdict[i], QN_DEAD);
            assert_int_equal(w->b.reason_field[i], w->plan->schemas[e[i].stream].id);
            assert_false(qn_contract_sets_aside(&w->b, i, w->plan->schemas));
        }
        if (e[i].is_broken)
            assert_int_equal(w->b.reason[i], QN_REASON_OUT_OF_RANGE);
    }
    return QN_OK;
}

/* ---- the twin: every event looks at all before it ---- */

static bool is_same(const struct event *a, const struct event *b)
{
    if (a->stream != b->stream || a->is_null || b->is_null)
        return false;
    return a->stream == PAY ? strcmp(a->text, b->text) == 0 : a->id == b->id;
}

/* Dead by lateness: 1 h behind for PAY; SHIP is late, which is not dead; SIDE has no window. */
static bool is_too_late(const struct event *e)
{
    static const int64_t most[] = {3610ll * SECOND, INT64_MAX, 20 * SECOND};

    return e->newest_us - e->time_us > most[e->stream];
}

static void twin(struct event *all, uint32_t n)
{
    static const int64_t keeps[] = {10 * SECOND, 3 * SECOND, -1};

    for (uint32_t i = 0; i < n; i++) {
        struct event *e = &all[i];

        e->has_newest = i > 0 && all[i - 1].has_newest;
        e->newest_us = i > 0 ? all[i - 1].newest_us : 0;
        if (!e->is_broken && (!e->has_newest || e->time_us > e->newest_us))
            e->newest_us = e->time_us;
        e->has_newest |= !e->is_broken;
        e->seen_us = e->newest_us;
        if (e->is_broken || is_too_late(e))
            continue;
        for (uint32_t k = i; k-- > 0;) {
            const struct event *old = &all[k];

            if (!is_same(old, e) || old->repeats || old->is_broken || is_too_late(old))
                continue;
            e->repeats = e->newest_us - old->seen_us <= keeps[e->stream];
            break;
        }
    }
}

/* ---- by hand ---- */

static void edges(void **state)
{
    /* stream, null, broken, id, time; the last member is written by hand */
    struct event log[] = {
        {PAY, false, false, 0, 100 * SECOND, "a", false, true, 100 * SECOND, 0},
        {PAY, false, false, 0, 100 * SECOND, "a", true, true, 100 * SECOND, 0},
        {PAY, false, false, 0, 90 * SECOND, "b", false, true, 100 * SECOND,
         0}, /* behind: as of 100 */
        {PAY, false, false, 0, 109 * SECOND, "c", false, true, 109 * SECOND, 0},
        {PAY, false, false, 0, 91 * SECOND, "a", true, true, 109 * SECOND, 0},
        {PAY, false, false, 0, 110 * SECOND, "a", true, true, 110 * SECOND, 0}, /* exactly 10 s */
        {PAY, false, false, 0, 110 * SECOND, "b", true, true, 110 * SECOND, 0},
        {PAY, false, true, 0, 190 * SECOND, "z", false, true, 110 * SECOND, 0}, /* moves nothing */
        {PAY, false, false, 0, 110 * SECOND + 1, "a", false, true, 110 * SECOND + 1, 0},
        {PAY, false, false, 0, 110 * SECOND, "a", true, true, 110 * SECOND + 1, 0},
        {PAY, false, false, 0, 80 * SECOND, "b", false, true, 110 * SECOND + 1, 0},
        {PAY, true, false, 0, 111 * SECOND, "a", false, true, 111 * SECOND, 0}, /* null, twice */
        {PAY, true, false, 0, 111 * SECOND, "a", false, true, 111 * SECOND, 0},
        {PAY, false, false, 0, 111 * SECOND, "", false, true, 111 * SECOND,
         0}, /* a text like any */
        {PAY, false, false, 0, 111 * SECOND, "", true, true, 111 * SECOND, 0},
        {SHIP, false, false, 7, 111 * SECOND, "", false, true, 111 * SECOND, 0},
        {SIDE, false, false, 7, 111 * SECOND, "", false, true, 111 * SECOND, 0},
        {SIDE, false, false, 7, 111 * SECOND, "", false, true, 111 * SECOND, 0},
        {SHIP, false, false, -7, 111 * SECOND, "", false, true, 111 * SECOND, 0},
        {SIDE, false, false, 8, 114 * SECOND, "", false, true, 114 * SECOND, 0}, /* one shard */
        {SHIP, false, false, 7, 111 * SECOND, "", true, true, 114 * SECOND, 0},  /* late, repeats */
        {SHIP, false, false, 9, 111 * SECOND, "", false, true, 114 * SECOND, 0}, /* late */
        {SIDE, false, false, 8, 114 * SECOND + 1, "", false, true, 114 * SECOND + 1, 0},
        {SHIP, false, false, 7, 111 * SECOND, "", false, true, 114 * SECOND + 1, 0},
        {SHIP, false, false, 9, 111 * SECOND, "", true, true, 114 * SECOND + 1, 0},
    };
    const uint32_t n = sizeof log / sizeof log[0];

    (void)state;
    for (uint32_t size = 1; size <= n; size++) {
        struct world w;

        world_init(&w);
        for (uint32_t at = 0; at < n; at += size)
            assert_int_equal(
                step(&w, log + at, n - at < size ? n - at : size, at > 0 ? &log[at - 1] : NULL),
                QN_OK);
        world_fini(&w);
    }
    for (uint32_t i = 0; i < n; i++) { /* the twin agrees with the hand */
        const struct event hand = log[i];

        log[i].repeats = false;
        twin(log, i + 1);
        assert_int_equal(log[i].repeats, hand.repeats);
        assert_int_equal(log[i].newest_us, hand.newest_us);
    }
}

static void nobody_asks(void **state)
{
    struct world w;
    struct qn_dedup *none;

    (void)state;
    world_init(&w);
    for (uint32_t i = 0; i < STREAMS; i++)
        w.plan->schemas[i].dedup_us = 0;
    assert_int_equal(qn_dedup_new(w.plan, 1, &none, NULL), QN_OK);
    assert_null(none);
    assert_int_equal(qn_dedup_section_count(none), 0);
    assert_int_equal(qn_dedup_bytes(none), 0);
    world_fini(&w);
}

/* ---- a random log ---- */

static struct event *random_log(struct qn_rng *r)
{
    struct event *log = calloc(EVENTS, sizeof *log);
    int64_t now = -50 * SECOND; /* before 1970, and across it */

    assert_non_null(log);
    for (uint32_t i = 0; i < EVENTS; i++) {
        struct event *e = &log[i];
        const uint32_t dice = qn_rng_below(r, 1000);

        now += qn_rng_below(r, 3) * (int64_t)qn_rng_below(r, SECOND / 20);
        if (dice == 0)
            now += 40 * SECOND;
        e->time_us = now / 100000 * 100000 + (dice % 5 == 0);
        if (dice % 7 == 0)
            e->time_us -= (int64_t)qn_rng_below(r, 30) * SECOND / 2;
        e->stream = (uint8_t)qn_rng_below(r, STREAMS);
        e->is_broken = dice % 31 == 0;
        e->is_null = e->stream == PAY && dice % 11 == 0;
        e->id = (int64_t)qn_rng_below(r, 60) - 30;
        if (dice % 3 == 0)
            e->id = i;
        snprintf(e->text, sizeof e->text, dice % 2 ? "%lld" : "an-id-longer-than-inline-%lld",
                 (long long)e->id);
    }
    twin(log, EVENTS);
    return log;
}

static void snapshots_open(struct world *w, struct memory_store *store, struct qn_snapshots **sn)
{
    struct qn_section sections[STREAMS];
    struct qn_snapshots_options opt = {
        .store = &store->table, .sections = sections, .workers = 1, .pack_bytes = 4000};

    opt.section_count = qn_dedup_section_count(w->d);
    assert_int_equal(opt.section_count, 2);
    qn_dedup_sections(w->d, sections);
    assert_string_equal(sections[0].name, "dedup/pay");
    assert_string_equal(sections[1].name, "dedup/ship");
    assert_int_equal(qn_snapshots_new(&opt, sn, NULL), QN_OK);
}

/* A step of what an engine does about snapshots; `at` events are behind it. */
static void snapshots_step(struct qn_snapshots *sn, struct qn_rng *r, uint32_t at)
{
    const struct qn_snapshot_info info = {.position = at};

    switch (qn_snapshots_step(sn, qn_rng_below(r, 8000))) {
    case QN_SNAPSHOT_NONE:
        assert_int_equal(qn_snapshots_begin(sn, &info, NULL), QN_OK);
        break;
    case QN_SNAPSHOT_SWEEPING:
        if (qn_rng_below(r, 40) == 0)
            qn_snapshots_give_up(sn);
        break;
    case QN_SNAPSHOT_SWEPT:
        qn_snapshots_finish(sn);
        if (qn_rng_below(r, 2))
            qn_snapshots_wait(sn);
        break;
    case QN_SNAPSHOT_ENDED:
        qn_snapshots_result(sn, NULL, NULL);
        break;
    default:
        break;
    }
}

/* Runs the log from where the newest snapshot is, until its end or until chance ends it. */
static bool life(const struct event *log, struct memory_store *store, struct qn_rng *r,
                 uint32_t *restored)
{
    struct world w;
    struct qn_snapshots *sn;
    struct qn_snapshot_info got;
    const struct qn_snapshot_choice how = {0};
    uint32_t at;

    world_init(&w);
    qn_dedup_free(w.d);
    assert_int_equal(qn_dedup_new(w.plan, qn_rng_next(r), &w.d, NULL), QN_OK);
    snapshots_open(&w, store, &sn);
    assert_int_equal(qn_snapshots_restore(sn, &how, &got, NULL), QN_OK);
    *restored += got.number > 0;
    at = (uint32_t)got.position;
    while (at < EVENTS) {
        uint32_t n = 1 + qn_rng_below(r, qn_rng_below(r, 8) ? 20 : ROWS);

        n = EVENTS - at < n ? EVENTS - at : n;
        assert_int_equal(step(&w, log + at, n, at > 0 ? &log[at - 1] : NULL), QN_OK);
        at += n;
        snapshots_step(sn, r, at);
        if (qn_rng_below(r, 30) == 0)
            break;
    }
    qn_snapshots_free(sn);
    world_fini(&w);
    return at < EVENTS;
}

static void random_against_twin(void **state)
{
    struct qn_rng r;
    uint32_t restored = 0, repeats = 0, again = 0;

    (void)state;
    qn_rng_seed(&r, test_seed(20180406));
    for (int round = 0; round < 6; round++) {
        struct event *log = random_log(&r);
        struct memory_store *store = memory_store_new();

        for (uint32_t i = 0; i < EVENTS; i++) {
            repeats += log[i].repeats;
            again += !log[i].repeats && !log[i].is_null && log[i].id < 30;
        }
        while (life(log, store, &r, &restored))
            ;
        memory_store_free(store);
        free(log);
    }
    print_message("%u repeats, %u accepted ids that come often, %u restored\n", repeats, again,
                  restored);
    assert_true(repeats > 1000 && again > 1000 && restored > 3);
}

/* ---- memory ---- */

/* New ids for ever: what is held is what `dedup` remembers and little more, from the start and
 * behind a snapshot, whose order of entries is not that of time. */
static void forgets_what_is_too_old(void **state)
{
    enum { RATE = 200, MINUTES = 4 };
    struct event e = {.stream = PAY};
    struct event before = {0};
    struct memory_store *store = memory_store_new();
    struct qn_snapshot_info info = {.position = 1}, got;
    const struct qn_snapshot_choice how = {0};
    struct qn_snapshots *sn;
    struct world w;

    (void)state;
    world_init(&w);
    for (int life = 0; life < 2; life++) {
        uint64_t most = 0;

        for (int i = 0; i < RATE * 60 * MINUTES; i++) {
            snprintf(e.text, sizeof e.text, "some-quite-long-id-%d-%d", life, i);
            e.time_us = before.newest_us + SECOND / RATE;
            e.newest_us = e.time_us;
            assert_int_equal(step(&w, &e, 1, &before), QN_OK);
            before = e;
            before.has_newest = true;
            if (life == 1 || i > RATE * 11)
                most = qn_dedup_ids(w.d) > most ? qn_dedup_ids(w.d) : most;
        }
        print_message("%llu ids, %zu bytes\n", (unsigned long long)most, qn_dedup_bytes(w.d));
        assert_in_range(most, RATE * 10, life == 0 ? RATE * 10 + 3 * QN_LANES : RATE * 16);
        if (life == 1)
            break;
        snapshots_open(&w, store, &sn);
        assert_int_equal(qn_snapshots_begin(sn, &info, NULL), QN_OK);
        while (qn_snapshots_step(sn, 100000) != QN_SNAPSHOT_SWEPT)
            ;
        qn_snapshots_finish(sn);
        qn_snapshots_wait(sn);
        assert_int_equal(qn_snapshots_result(sn, NULL, NULL), QN_OK);
        qn_snapshots_free(sn);
        world_fini(&w);
        world_init(&w);
        snapshots_open(&w, store, &sn);
        assert_int_equal(qn_snapshots_restore(sn, &how, &got, NULL), QN_OK);
        assert_int_equal(got.position, 1);
        assert_in_range(qn_dedup_ids(w.d), RATE * 10, RATE * 10 + 3 * QN_LANES);
        qn_snapshots_free(sn);
    }
    world_fini(&w);
    memory_store_free(store);
}

/* Damaged entries are refused; never believed, never read beyond their end. */
static void loads_what_is_whole(void **state)
{
    static const char entry[20] = "\x01\0\0\0\0\0\0\x80"
                                  "abcdefgh";
    static const char zero[20] = {0};
    struct qn_section s[2];
    struct world w;

    (void)state;
    world_init(&w);
    qn_dedup_sections(w.d, s);
    for (uint32_t n = 0; n < sizeof entry; n++) {
        assert_int_equal(s[0].ops->load(s[0].st, entry, n, NULL), n < 8 ? QN_CORRUPT : QN_OK);
        assert_int_equal(s[1].ops->load(s[1].st, entry, n, NULL), n != 16 ? QN_CORRUPT : QN_OK);
        assert_int_equal(s[0].ops->load(s[0].st, zero, n, NULL), QN_CORRUPT);
    }
    assert_int_equal(qn_dedup_ids(w.d), 13);
    for (int i = 0; i < 2; i++)
        assert_int_equal(s[i].ops->clear(s[i].st, NULL), QN_OK);
    assert_int_equal(qn_dedup_ids(w.d), 0);
    world_fini(&w);
}

/* What the spec says of ids is part of the layout, and nothing else is. */
static void layouts(void **state)
{
    struct qn_section before[2], after[2];
    struct world w;

    (void)state;
    world_init(&w);
    qn_dedup_sections(w.d, before);
    assert_true(before[0].layout != before[1].layout);
    w.plan->schemas[PAY].lateness_us++;
    qn_dedup_sections(w.d, after);
    assert_true(before[0].layout == after[0].layout);
    w.plan->schemas[PAY].dedup_us++;
    w.plan->schemas[SHIP].id = 0;
    qn_dedup_sections(w.d, after);
    assert_true(before[0].layout != after[0].layout);
    assert_true(before[1].layout != after[1].layout);
    world_fini(&w);
}

static void every_allocation_fails(void **state)
{
    struct qn_rng r;
    struct event *log;
    uint64_t nth = 0;
    qn_status rc;

    (void)state;
    qn_rng_seed(&r, 3);
    log = random_log(&r);
    do {
        struct world w;

        world_init(&w);
        qn_dedup_free(w.d);
        qn_mem_fail_at(++nth, false);
        rc = qn_dedup_new(w.plan, 1, &w.d, NULL);
        for (uint32_t at = 0; rc == QN_OK && at + ROWS <= EVENTS; at += ROWS)
            rc = step(&w, log + at, ROWS, at > 0 ? &log[at - 1] : NULL);
        qn_mem_fail_at(0, false);
        assert_true(rc == QN_OK || rc == QN_NOMEM);
        world_fini(&w);
    } while (rc != QN_OK);
    print_message("%llu allocations\n", (unsigned long long)nth);
    assert_true(nth > 2 * QN_LANES);
    free(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edges),
        cmocka_unit_test(nobody_asks),
        cmocka_unit_test(random_against_twin),
        cmocka_unit_test(forgets_what_is_too_old),
        cmocka_unit_test(loads_what_is_whole),
        cmocka_unit_test(layouts),
        cmocka_unit_test(every_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
