/* SPDX-License-Identifier: Apache-2.0
 * test_learner.c - half-space trees that learn: leaves by a walk of their own, masses counted node
 * by node, batches and threads that do not show, snapshots in the middle of everything, hostile
 * bytes, memory that is gone. What is drawn is held against the definition by
 * tests/e2e/test_half_space.py. */
#include "../model/models.h"
#include "../state/memory_store.h"

#include "model/half_space.h"
#include "score/learner.h"

#include <math.h>

enum { INPUTS = 3, ROWS = 700, TREES = 4, DEPTH = 5, WINDOW = 40 };

static const struct qn_str names[INPUTS] = {{"a", 1}, {"b", 1}, {"c", 1}};

/* ranges: how many of the inputs have declared ones. */
static struct qn_model *model_new(unsigned ranges, uint64_t seed)
{
    double low[INPUTS], high[INPUTS];
    struct qn_half_space_options opt = {.inputs = INPUTS,
                                        .names = names,
                                        .low = low,
                                        .high = high,
                                        .trees = TREES,
                                        .depth = DEPTH,
                                        .window = WINDOW,
                                        .seed = seed};
    struct qn_model *m = NULL;

    for (unsigned i = 0; i < INPUTS; i++) {
        low[i] = i < ranges ? 0 : (double)NAN;
        high[i] = i < ranges ? 10 + i : (double)NAN;
    }
    assert_int_equal(qn_model_half_space_new(&opt, &m, NULL), QN_OK);
    return m;
}

struct table {
    double values[INPUTS][ROWS];
    int64_t whole[ROWS];
    uint8_t valid[INPUTS][ROWS], want[ROWS];
    struct qn_col columns[INPUTS];
    const struct qn_col *pointers[INPUTS];
};

/* Numbers, whole numbers and decimals; some nulls, some rows that nobody wants. */
static void fill(struct table *t)
{
    for (uint32_t r = 0; r < ROWS; r++) {
        for (uint32_t i = 0; i < INPUTS; i++) {
            t->values[i][r] = (models_draw(1000) + models_draw(1000)) / 200.0;
            t->valid[i][r] = models_draw(20) != 0;
        }
        t->whole[r] = (int64_t)models_draw(12);
        t->want[r] = models_draw(5) != 0;
    }
    t->columns[0] =
        (struct qn_col){.kind = {QN_DOUBLE, 0}, .valid = t->valid[0], .f64 = t->values[0]};
    t->columns[1] = (struct qn_col){.kind = {QN_INT64, 0}, .valid = t->valid[1], .i64 = t->whole};
    t->columns[2] = (struct qn_col){.kind = {QN_DECIMAL, 1}, .valid = t->valid[2], .i64 = t->whole};
    for (uint32_t i = 0; i < INPUTS; i++)
        t->pointers[i] = &t->columns[i];
}

static struct qn_learner *learner_new(const struct qn_model *m, struct qn_arena *boot,
                                      uint32_t workers)
{
    static const uint32_t columns[INPUTS] = {0, 1, 2};
    struct qn_learner *l = NULL;

    assert_int_equal(qn_learner_new(m, columns, workers, ROWS, boot, &l, NULL), QN_OK);
    return l;
}

/* Rows [first, end) as a batch of their own, by so many workers. */
static void run(struct qn_learner *l, const struct table *t, uint32_t first, uint32_t end,
                uint32_t workers, double *margins, double *scores)
{
    struct qn_col moved[INPUTS];
    const struct qn_col *pointers[INPUTS];
    const uint32_t rows = end - first;

    for (uint32_t i = 0; i < INPUTS; i++) {
        moved[i] = t->columns[i];
        moved[i].valid += first;
        moved[i].i64 += first; /* of a union of pointers to 8 bytes each */
        pointers[i] = &moved[i];
    }
    for (uint32_t w = workers; w-- > 0;)
        qn_learner_look(l, pointers, t->want + first, rows * w / workers, rows * (w + 1) / workers,
                        w);
    qn_learner_run(l, pointers, t->want + first, rows, margins + first, scores + first);
}

struct answers {
    double margins[ROWS], scores[ROWS];
};

static void run_all(struct qn_learner *l, const struct table *t, uint32_t first, uint32_t step,
                    uint32_t workers, struct answers *a)
{
    for (uint32_t at = first; at < ROWS; at += step)
        run(l, t, at, at + step < ROWS ? at + step : ROWS, workers, a->margins, a->scores);
}

static void test_batches_and_workers_do_not_show(void **state)
{
    static const uint32_t steps[] = {1, 7, 64, 65, 211};
    static struct table t;
    static struct answers whole, parts;

    fill(&t);
    for (unsigned ranges = 0; ranges <= INPUTS; ranges++) {
        const uint32_t silent = ranges < INPUTS ? 2 * WINDOW : WINDOW;
        struct qn_model *m = model_new(ranges, 3);
        struct qn_arena boot = {0};
        uint32_t wanted = 0;

        memset(&whole, 0, sizeof whole);
        run_all(learner_new(m, &boot, 1), &t, 0, ROWS, 1, &whole);
        for (uint32_t r = 0; r < ROWS; r++) {
            const double s = whole.scores[r];

            if (!t.want[r]) {
                assert_true(s == 0 && whole.margins[r] == 0); /* untouched */
                continue;
            }
            assert_int_equal(isnan(s) != 0, wanted < silent);
            assert_int_equal(isnan(whole.margins[r]) != 0, wanted < silent);
            assert_true(wanted < silent || (s >= 0 && s <= 1));
            wanted++;
        }
        for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
            memset(&parts, 0, sizeof parts);
            run_all(learner_new(m, &boot, 3), &t, 0, steps[k], 3, &parts);
            assert_memory_equal(&parts, &whole, sizeof whole);
        }
        qn_arena_fini(&boot);
        qn_model_free(m);
    }
}

/* ---- masses by counting ---- */

static void test_masses_are_counts(void **state)
{
    enum { PLACES = 300 };
    struct qn_model *m = model_new(INPUTS, 8);
    const struct qn_half_space *h = qn_model_half_space(m);
    static uint16_t window[TREES * WINDOW], leaves[TREES * PLACES], scratch[2 * WINDOW];
    static struct qn_half_space_cell profile[TREES * (1 + 20 * DEPTH)];
    static double z[PLACES * INPUTS];
    static uint32_t to[PLACES], cells[PLACES * INPUTS];
    static uint64_t mass[PLACES];

    assert_int_equal(qn_half_space_cells(h), 1 + 20 * DEPTH);
    for (uint32_t r = 0; r < PLACES; r++) {
        to[r] = PLACES - 1 - r; /* elsewhere */
        for (uint32_t i = 0; i < INPUTS; i++)
            z[r * INPUTS + i] = models_draw(9) == 0 ? (double)NAN : models_draw(1000) / 999.0;
    }
    qn_half_space_leaves(h, z, PLACES, to, cells, leaves, PLACES);
    for (uint32_t t = 0; t < TREES; t++)
        for (uint32_t i = 0; i < WINDOW; i++) /* few places, so that some are dense */
            window[t * WINDOW + i] = leaves[t * PLACES + models_draw(1 + i)];
    qn_half_space_profile(h, window, scratch, profile);
    qn_half_space_mass(h, profile, leaves, PLACES, 0, PLACES, mass);
    for (uint32_t r = 0; r < PLACES; r++) {
        uint64_t want = 0;

        for (uint32_t t = 0; t < TREES; t++)
            for (uint32_t level = 0;; level++) {
                const uint32_t way = leaves[t * PLACES + r] >> (DEPTH - level);
                uint64_t count = 0;

                for (uint32_t i = 0; i < WINDOW; i++)
                    count += (uint32_t)(window[t * WINDOW + i] >> (DEPTH - level)) == way;
                if (level < DEPTH && count * 10 >= WINDOW)
                    continue;
                want += count << level;
                break;
            }
        assert_int_equal(mass[r], want);
    }
    qn_model_free(m);
}

static void test_scores_fall_with_mass(void **state)
{
    struct qn_model *m = model_new(0, 1);
    const struct qn_half_space *h = qn_model_half_space(m);
    const uint64_t even = TREES * WINDOW;
    double before = 2;

    assert_true(qn_half_space_score(h, 0) == 1);
    assert_true(qn_half_space_score(h, even << DEPTH) == 0);
    for (uint64_t mass = 0; mass <= even << DEPTH; mass += 7) {
        const double s = qn_half_space_score(h, mass);

        assert_true(s < before);
        before = s;
    }
    qn_model_free(m);
}

/* ---- facts ---- */

static void test_the_version_is_of_all_options(void **state)
{
    struct qn_model *a = model_new(0, 1), *b = model_new(0, 2), *c = model_new(1, 1),
                    *again = model_new(0, 1);
    uint64_t alone, batched;

    assert_true(qn_model_info(a)->hash == qn_model_info(again)->hash);
    assert_true(qn_model_info(a)->hash != qn_model_info(b)->hash);
    assert_true(qn_model_info(a)->hash != qn_model_info(c)->hash);
    assert_int_equal(qn_learner_state_bytes(a), 2 * 2 * TREES * WINDOW + 2 * 8 * INPUTS);
    assert_true(qn_model_cost(a, &alone, &batched) && alone > 0 && batched > 0);
    qn_model_free(a);
    qn_model_free(b);
    qn_model_free(c);
    qn_model_free(again);
}

static void test_every_allocation_may_fail(void **state)
{
    double low[INPUTS] = {0}, high[INPUTS] = {1, 1, 1};
    struct qn_half_space_options opt = {.inputs = INPUTS,
                                        .names = names,
                                        .low = low,
                                        .high = high,
                                        .trees = TREES,
                                        .depth = DEPTH,
                                        .window = WINDOW};
    static const uint32_t columns[INPUTS] = {0, 1, 2};
    struct qn_model *m = NULL;
    uint64_t n;

    for (n = 1; m == NULL; n++) {
        struct qn_err err = {0};
        qn_status rc;

        qn_mem_fail_at(n, false);
        rc = qn_model_half_space_new(&opt, &m, &err);
        qn_mem_fail_at(0, false);
        assert_int_equal(rc, m != NULL ? QN_OK : QN_NOMEM);
    }
    assert_true(n > 3);
    for (n = 1;; n++) {
        struct qn_arena boot = {.block_bytes = 64};
        struct qn_learner *l;
        qn_status rc;

        qn_mem_fail_at(n, false);
        rc = qn_learner_new(m, columns, 2, 16, &boot, &l, NULL);
        qn_mem_fail_at(0, false);
        qn_arena_fini(&boot);
        if (rc == QN_OK)
            break;
        assert_int_equal(rc, QN_NOMEM);
    }
    assert_true(n > 3);
    qn_model_free(m);
}

/* ---- snapshots ---- */

static struct qn_snapshots *snapshots_of(struct memory_store *store, const struct qn_section *s)
{
    const struct qn_snapshots_options opt = {
        .store = &store->table, .sections = s, .section_count = 1, .workers = 1};
    struct qn_snapshots *sn = NULL;

    assert_int_equal(qn_snapshots_new(&opt, &sn, NULL), QN_OK);
    return sn;
}

static void save(struct qn_snapshots *sn, uint64_t position)
{
    struct qn_snapshot_info info = {.position = position};

    assert_int_equal(qn_snapshots_begin(sn, &info, NULL), QN_OK);
    assert_int_equal(qn_snapshots_step(sn, SIZE_MAX), QN_SNAPSHOT_SWEPT);
    qn_snapshots_finish(sn);
    qn_snapshots_wait(sn);
    assert_int_equal(qn_snapshots_result(sn, &info, NULL), QN_OK);
}

/* Restores what lies in the store; the position. */
static uint64_t restore(struct memory_store *store, struct qn_learner *l)
{
    const struct qn_section s = qn_learner_section(l);
    struct qn_snapshots *sn = snapshots_of(store, &s);
    const struct qn_snapshot_choice how = {0};
    struct qn_snapshot_info got;

    assert_int_equal(qn_snapshots_restore(sn, &how, &got, NULL), QN_OK);
    qn_snapshots_free(sn);
    return got.position;
}

static void test_a_snapshot_anywhere(void **state)
{
    static const uint32_t cuts[] = {0, 1, 30, 60, 99, 130, 400};
    static struct table t;
    static struct answers whole, rest;

    fill(&t);
    for (unsigned ranges = 0; ranges <= INPUTS; ranges += INPUTS) {
        struct qn_model *m = model_new(ranges, 4);
        struct qn_arena boot = {0};

        run_all(learner_new(m, &boot, 1), &t, 0, 50, 1, &whole);
        for (size_t k = 0; k < sizeof cuts / sizeof cuts[0]; k++) {
            struct memory_store *store = memory_store_new();
            struct qn_learner *l = learner_new(m, &boot, 1), *again = learner_new(m, &boot, 2);
            const struct qn_section s = qn_learner_section(l);
            struct qn_snapshots *sn = snapshots_of(store, &s);

            /* two of them: a full one, and one that builds on it */
            rest = whole;
            run(l, &t, 0, cuts[k] / 2, 1, rest.margins, rest.scores);
            save(sn, 1);
            run(l, &t, cuts[k] / 2, cuts[k], 1, rest.margins, rest.scores);
            save(sn, 2);
            run_all(l, &t, cuts[k], 33, 1, &rest); /* what comes behind is not in it */
            qn_snapshots_free(sn);
            for (uint32_t r = cuts[k]; r < ROWS; r++)
                if (t.want[r])
                    rest.scores[r] = rest.margins[r] = -1;
            assert_int_equal(restore(store, again), 2);
            run_all(again, &t, cuts[k], 17, 2, &rest);
            assert_memory_equal(&rest, &whole, sizeof whole);
            memory_store_free(store);
        }
        qn_arena_fini(&boot);
        qn_model_free(m);
    }
}

static void test_other_trees_are_passed_over(void **state)
{
    struct qn_model *a = model_new(0, 1), *b = model_new(0, 2);
    struct memory_store *store = memory_store_new();
    struct qn_arena boot = {0};
    struct qn_learner *l = learner_new(a, &boot, 1);
    const struct qn_section s = qn_learner_section(l);
    struct qn_snapshots *sn = snapshots_of(store, &s);

    save(sn, 7);
    qn_snapshots_free(sn);
    assert_int_equal(restore(store, learner_new(b, &boot, 1)), 0);
    assert_int_equal(restore(store, learner_new(a, &boot, 1)), 7);
    memory_store_free(store);
    qn_arena_fini(&boot);
    qn_model_free(a);
    qn_model_free(b);
}

/* ---- hostile bytes ---- */

struct entry {
    uint32_t measured, filled, has_reference, zero;
    double ranges[INPUTS][2];
};

static qn_status load(struct qn_learner *l, const void *p, size_t bytes)
{
    const struct qn_section s = qn_learner_section(l);
    char *copy = malloc(bytes + 1); /* of exactly its size */
    qn_status rc;

    memcpy(copy, p, bytes);
    rc = s.ops->load(s.st, copy, (uint32_t)bytes, NULL);
    free(copy);
    return rc;
}

static void refused(struct qn_learner *l, struct entry e)
{
    const struct qn_section s = qn_learner_section(l);

    assert_int_equal(load(l, &e, sizeof e), QN_CORRUPT);
    assert_int_equal(s.ops->clear(s.st, NULL), QN_OK);
}

static void test_what_cannot_be_is_refused(void **state)
{
    struct qn_model *m = model_new(1, 1);
    struct qn_arena boot = {0};
    struct qn_learner *l = learner_new(m, &boot, 1);
    const struct qn_section s = qn_learner_section(l);
    const struct entry good = {WINDOW, 2, 0, 0, {{0, 10}, {-1, 5}, {INFINITY, -INFINITY}}};
    struct entry e;
    const uint16_t leaves[2] = {31, 0}, beyond[2] = {0, 32};

#define REFUSED(change) (e = good, change, refused(l, e))
    REFUSED(e.measured = WINDOW + 1);
    REFUSED(e.measured = 1);
    REFUSED((e.measured = 0, e.filled = 0));
    REFUSED(e.filled = WINDOW);
    REFUSED(e.has_reference = 2);
    REFUSED(e.zero = 1);
    REFUSED(e.ranges[0][1] = 11);
    REFUSED(e.ranges[1][0] = 6);
    REFUSED(e.ranges[1][0] = (double)NAN);
    REFUSED(e.ranges[1][1] = (double)INFINITY);
    assert_int_equal(load(l, &good, sizeof good - 1), QN_CORRUPT);
    /* trees: too many, too few, cut short, with leaves that are none */
    assert_int_equal(load(l, &good, sizeof good), QN_OK);
    assert_int_equal(s.ops->loaded(s.st, NULL), QN_CORRUPT);
    assert_int_equal(load(l, beyond, sizeof beyond), QN_CORRUPT);
    assert_int_equal(load(l, leaves, sizeof leaves - 1), QN_CORRUPT);
    for (int i = 0; i < TREES; i++)
        assert_int_equal(load(l, leaves, sizeof leaves), QN_OK);
    assert_int_equal(load(l, leaves, sizeof leaves), QN_CORRUPT);
    assert_int_equal(s.ops->loaded(s.st, NULL), QN_OK);
    assert_int_equal(load(l, "older", 5), QN_OK); /* says nothing */
    qn_arena_fini(&boot);
    qn_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches_and_workers_do_not_show),
                                       cmocka_unit_test(test_masses_are_counts),
                                       cmocka_unit_test(test_scores_fall_with_mass),
                                       cmocka_unit_test(test_the_version_is_of_all_options),
                                       cmocka_unit_test(test_every_allocation_may_fail),
                                       cmocka_unit_test(test_a_snapshot_anywhere),
                                       cmocka_unit_test(test_other_trees_are_passed_over),
                                       cmocka_unit_test(test_what_cannot_be_is_refused)};

    models_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
