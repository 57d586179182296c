/* SPDX-License-Identifier: Apache-2.0
 * test_window_save.c - groups of windows that die and come back from snapshots, against the naive
 * twin of window_world.h.
 *
 * Every round is one random log. While it runs, snapshots are taken at random commits, swept in
 * steps of random size while rows go on, published late, given up; now and then the group is thrown
 * away, restored from the newest snapshot and the rows behind that are run again. Answers must
 * equal the twin's bit for bit, and what is run again must answer as it did. QUERN_SEED chooses
 * another log, QUERN_ROUNDS how many. */
#include "../state/memory_store.h"
#include "window_world.h"

enum { WORKERS_MAX = 3 };

/* One group and what it needs to live on. */
struct life {
    struct world *w;
    struct qn_rng r;
    struct memory_store *store;
    struct qn_group *g;
    struct qn_snapshots *sn;
    struct feed feed;
    uint64_t answers[ROWS]; /* hash of a row's answers, where it has run */
    int64_t newest_us[ROWS + 1];
    uint32_t known; /* rows that have run */
    bool expires;
};

/* What happened in all rounds. */
static struct {
    unsigned published, full, restored, given_up, keys;
} seen;

static qn_status not_ahead(void *arg, const struct qn_snapshot_info *info, struct qn_err *err)
{
    const struct life *l = arg;

    return info->position <= l->known ? QN_OK : qn_err_set(err, QN_INVALID, "ahead of the log");
}

static void no_reason(void *arg, uint64_t number, const struct qn_err *why)
{
    print_message("snapshot %llu: %s\n", (unsigned long long)number, why->text);
    assert_true(false);
}

static void life_end(struct life *l)
{
    qn_snapshots_free(l->sn);
    qn_group_free(l->g);
    l->sn = NULL;
    l->g = NULL;
}

/* Begins (again): the row to go on from. */
static uint32_t life_begin(struct life *l)
{
    struct qn_section section;
    struct qn_snapshots_options opt = {.store = &l->store->table,
                                       .sections = &section,
                                       .section_count = 1,
                                       .workers = WORKERS_MAX,
                                       .pack_bytes = 1 + qn_rng_below(&l->r, 5000)};
    struct qn_snapshot_choice how = {not_ahead, no_reason, l};
    struct qn_snapshot_info got;

    assert_int_equal(qn_group_new(&l->w->spec, qn_rng_next(&l->r), &l->g, NULL), QN_OK);
    section = qn_group_section(l->g);
    snprintf(section.name, sizeof section.name, "windows");
    assert_int_equal(qn_snapshots_new(&opt, &l->sn, NULL), QN_OK);
    assert_int_equal(qn_snapshots_restore(l->sn, &how, &got, NULL), QN_OK);
    seen.restored += got.number > 0;
    seen.keys += (unsigned)qn_group_keys(l->g);
    return (uint32_t)got.position;
}

static uint64_t answers_hash(const struct life *l, uint32_t i)
{
    uint64_t h = 0;

    for (uint32_t k = 0; k < l->w->spec.window_count; k++) {
        const struct qn_col *c = l->feed.out[k];
        int64_t words[2] = {c->valid[i], c->valid[i] == 1 ? c->i64[i] : 0};

        h = qn_hash(words, sizeof words, h);
    }
    return h;
}

static void life_batch(struct life *l, uint32_t first, uint32_t n)
{
    unsigned workers = 1 + qn_rng_below(&l->r, WORKERS_MAX);
    bool again = first < l->known;

    qn_arena_reset(&l->feed.arena);
    feed_fill(&l->feed, l->w, first, n);
    for (unsigned k = 0; k < workers; k++)
        assert_int_equal(
            qn_group_run(l->g, &l->feed.wave, (k + first) % workers, workers, &l->feed.arena, NULL),
            QN_OK);
    for (uint32_t i = 0; i < n && again; i++)
        assert_true(answers_hash(l, i) == l->answers[first + i]);
    if (again)
        return;
    feed_compare(&l->feed, l->w, first, n);
    for (uint32_t i = 0; i < n; i++)
        l->answers[first + i] = answers_hash(l, i);
    l->known = first + n;
}

/* One turn of the snapshot behind the rows before `next`. */
static void life_snapshot(struct life *l, uint32_t next)
{
    struct qn_snapshot_info info = {.position = next};
    enum qn_snapshot_phase phase = qn_snapshots_phase(l->sn);

    if (phase == QN_SNAPSHOT_NONE) {
        if (qn_rng_below(&l->r, 4) == 0)
            assert_int_equal(qn_snapshots_begin(l->sn, &info, NULL), QN_OK);
    } else if (phase == QN_SNAPSHOT_SWEPT && qn_rng_below(&l->r, 2)) {
        qn_snapshots_finish(l->sn);
    } else if (phase == QN_SNAPSHOT_ENDED) {
        qn_status rc = qn_snapshots_result(l->sn, &info, NULL);

        assert_true(rc == QN_OK || rc == QN_INTERRUPTED);
        seen.published += rc == QN_OK;
        seen.full += rc == QN_OK && info.is_full;
        seen.given_up += rc != QN_OK;
    } else if (phase == QN_SNAPSHOT_WRITING) {
        if (qn_rng_below(&l->r, 2))
            qn_snapshots_wait(l->sn);
    } else if (qn_rng_below(&l->r, 40) == 0) {
        qn_snapshots_give_up(l->sn);
    } else {
        qn_snapshots_step(l->sn, qn_rng_below(&l->r, 3) == 0 ? 100000 : qn_rng_below(&l->r, 400));
    }
}

static void life_run(struct life *l)
{
    struct world *w = l->w;
    uint32_t batch_max = 1u << qn_rng_below(&l->r, 6);
    uint32_t first = life_begin(l), n;

    for (; first < w->row_count; first += n) {
        uint32_t end = first < l->known ? l->known : w->row_count;

        n = 1 + qn_rng_below(&l->r, batch_max);
        n = n < end - first ? n : end - first;
        life_batch(l, first, n);
        if (l->expires)
            qn_group_expire(l->g, l->newest_us[first + n] - w->spec.slack_us, 64 * 8 + n * 8);
        life_snapshot(l, first + n);
        if (qn_rng_below(&l->r, 40) == 0) {
            life_end(l);
            first = life_begin(l);
            n = 0;
        }
    }
    life_end(l);
}

static struct life *life_new(uint64_t seed)
{
    struct life *l = calloc(1, sizeof *l);

    assert_non_null(l);
    l->w = world_new(seed);
    return l;
}

static void life_free(struct life *l)
{
    qn_arena_fini(&l->feed.arena);
    free(l->w);
    free(l);
}

static void draw_life(struct life *l, int round, uint64_t seed)
{
    struct world *w = l->w;

    qn_rng_seed(&w->r, seed * 1000003 + (uint64_t)round);
    qn_rng_seed(&l->r, seed + (uint64_t)round * 7919);
    draw_group(w, round);
    draw_log(w, round % 3, round % 2 == 0);
    memset(w->event_count, 0, sizeof w->event_count);
    l->known = 0;
    l->expires = round % 2 == 0;
    l->newest_us[0] = INT64_MIN;
    for (uint32_t i = 0; i < w->row_count; i++)
        l->newest_us[i + 1] =
            w->rows[i].time_us > l->newest_us[i] ? w->rows[i].time_us : l->newest_us[i];
}

static void equals_twin(void **state)
{
    uint64_t seed = test_seed(7);
    struct life *l = life_new(seed);
    const char *rounds = getenv("QUERN_ROUNDS");
    int count = rounds != NULL ? (int)strtol(rounds, NULL, 10) : 48;

    (void)state;
    memset(&seen, 0, sizeof seen);
    for (int round = 0; round < count; round++) {
        l->store = memory_store_new();
        draw_life(l, round, seed);
        life_run(l);
        memory_store_free(l->store);
    }
    print_message("%u published, %u of them full, %u given up, %u restored, %u keys\n",
                  seen.published, seen.full, seen.given_up, seen.restored, seen.keys);
    if (count >= 48) {
        assert_true(seen.published > seen.full + 20);
        assert_true(seen.full > 20 && seen.given_up > 5 && seen.restored > 50 && seen.keys > 100);
    }
    life_free(l);
}

/* Thousands of snapshots that came to nothing, until the numbers of marks begin anew: one of them
 * has given a key the very mark that the last one, which is published, gives. */
static void marks_begin_anew(void **state)
{
    enum { LAST = 32767, GIVEN_UP = 33000, SAME = GIVEN_UP - LAST };
    struct life *l = life_new(1);
    struct qn_snapshot_info info = {0};

    (void)state;
    l->store = memory_store_new();
    draw_life(l, 9, 1);
    life_begin(l);
    life_batch(l, 0, 200);
    info.position = 200;
    for (int i = 0; i < GIVEN_UP; i++) { /* its number is i + 2 */
        assert_int_equal(qn_snapshots_begin(l->sn, &info, NULL), QN_OK);
        if (i == SAME) /* a key is swept */
            qn_snapshots_step(l->sn, 1);
        qn_snapshots_give_up(l->sn);
        qn_snapshots_wait(l->sn);
        assert_int_equal(qn_snapshots_result(l->sn, NULL, NULL), QN_INTERRUPTED);
    }
    assert_int_equal(qn_snapshots_begin(l->sn, &info, NULL), QN_OK);
    while (qn_snapshots_step(l->sn, 1000) == QN_SNAPSHOT_SWEEPING)
        ;
    qn_snapshots_finish(l->sn);
    qn_snapshots_wait(l->sn);
    assert_int_equal(qn_snapshots_result(l->sn, &info, NULL), QN_OK);
    assert_true(info.is_full);
    life_end(l);
    assert_int_equal(life_begin(l), 200);
    life_batch(l, 200, l->w->row_count - 200);
    life_end(l);
    memory_store_free(l->store);
    life_free(l);
}

/* Saving and loading where memory ends: a snapshot fails, an engine goes on; a restore says so. */
static void every_allocation_may_fail(void **state)
{
    struct life *l = life_new(2);
    bool failed = true;

    (void)state;
    draw_life(l, 3, 5);
    for (uint64_t nth = 1; failed; nth += 1 + nth / 16) {
        struct qn_snapshot_info info = {.position = 300};
        qn_status rc;

        l->store = memory_store_new();
        l->known = 0;
        memset(l->w->event_count, 0, sizeof l->w->event_count);
        life_begin(l);
        life_batch(l, 0, 300);
        qn_mem_fail_at(nth, nth % 2 == 0);
        rc = qn_snapshots_begin(l->sn, &info, NULL);
        if (rc == QN_OK) {
            while (qn_snapshots_step(l->sn, 500) == QN_SNAPSHOT_SWEEPING)
                ;
            if (qn_snapshots_phase(l->sn) == QN_SNAPSHOT_SWEPT)
                qn_snapshots_finish(l->sn);
            qn_snapshots_wait(l->sn);
            rc = qn_snapshots_result(l->sn, NULL, NULL);
        }
        qn_mem_fail_at(0, false);
        failed = rc != QN_OK;
        assert_int_equal(rc, failed ? QN_NOMEM : QN_OK);
        life_batch(l, 300, 1);
        life_end(l);
        memory_store_free(l->store);
    }
    life_free(l);
}

static void every_allocation_of_a_restore_may_fail(void **state)
{
    struct life *l = life_new(2);
    struct qn_snapshot_info info = {.position = 300};
    qn_status rc = QN_NOMEM;

    (void)state;
    draw_life(l, 3, 5);
    l->store = memory_store_new();
    life_begin(l);
    life_batch(l, 0, 300);
    assert_int_equal(qn_snapshots_begin(l->sn, &info, NULL), QN_OK);
    assert_int_equal(qn_snapshots_step(l->sn, 1 << 30), QN_SNAPSHOT_SWEPT);
    qn_snapshots_finish(l->sn);
    qn_snapshots_wait(l->sn);
    assert_int_equal(qn_snapshots_result(l->sn, &info, NULL), QN_OK);
    life_end(l);
    for (uint64_t nth = 1; rc != QN_OK; nth += 1 + nth / 16) {
        struct qn_section section;
        struct qn_snapshots_options opt = {.store = &l->store->table,
                                           .sections = &section,
                                           .section_count = 1,
                                           .workers = WORKERS_MAX};
        struct qn_snapshot_choice how = {0};

        assert_int_equal(qn_group_new(&l->w->spec, 1, &l->g, NULL), QN_OK);
        section = qn_group_section(l->g);
        snprintf(section.name, sizeof section.name, "windows");
        qn_mem_fail_at(nth, nth % 2 == 0);
        rc = qn_snapshots_new(&opt, &l->sn, NULL);
        if (rc == QN_OK)
            rc = qn_snapshots_restore(l->sn, &how, &info, NULL);
        qn_mem_fail_at(0, false);
        assert_true(rc == QN_OK || rc == QN_NOMEM);
        if (rc == QN_OK) {
            assert_int_equal(info.position, 300);
            life_batch(l, 300, l->w->row_count - 300);
        }
        life_end(l);
    }
    memory_store_free(l->store);
    life_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_twin),
        cmocka_unit_test(marks_begin_anew),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(every_allocation_of_a_restore_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
