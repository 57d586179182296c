/* SPDX-License-Identifier: Apache-2.0
 * test_window.c - windows against a naive twin that recomputes every window from a list of all
 * events, row by row (window_world.h).
 *
 * Random logs in batches of random size, 1 to 3 workers, expiry. Answers must be equal bit for bit.
 * QUERN_SEED chooses another log. */
#include "window_world.h"

/* floor_us: of each row; NULL = none. */
static void run_log(struct world *w, bool expires, const int64_t *floor_us)
{
    struct qn_group *g = NULL;
    struct feed f = {0};
    int64_t newest_us = INT64_MIN;
    unsigned workers = 1 + qn_rng_below(&w->r, 3);
    uint32_t batch_max = 1u << qn_rng_below(&w->r, 9);
    uint32_t n;

    memset(w->event_count, 0, sizeof w->event_count);
    assert_int_equal(qn_group_new(&w->spec, qn_rng_next(&w->r), &g, NULL), QN_OK);
    for (uint32_t first = 0; first < w->row_count; first += n) {
        n = 1 + qn_rng_below(&w->r, batch_max);
        n = n < w->row_count - first ? n : w->row_count - first;
        qn_arena_reset(&f.arena);
        feed_fill(&f, w, first, n);
        f.wave.floor_us = floor_us != NULL ? floor_us + first : NULL;
        for (unsigned k = 0; k < workers; k++)
            assert_int_equal(
                qn_group_run(g, &f.wave, (k + first) % workers, workers, &f.arena, NULL), QN_OK);
        feed_compare(&f, w, first, n);
        for (uint32_t i = first; i < first + n; i++)
            newest_us = w->rows[i].time_us > newest_us ? w->rows[i].time_us : newest_us;
        if (expires && floor_us != NULL)
            qn_group_expire(g, floor_us[first + n - 1], 64 * 8 + n * 8);
        else if (expires)
            qn_group_expire(g, newest_us - w->spec.slack_us, 64 * 8 + n * 8);
    }
    qn_arena_fini(&f.arena);
    qn_group_free(g);
}

static void equals_twin(void **state)
{
    uint64_t seed = test_seed(7);
    struct world *w = world_new(seed);
    const char *rounds = getenv("QUERN_ROUNDS");
    int count = rounds != NULL ? (int)strtol(rounds, NULL, 10) : 48;

    (void)state;
    for (int round = 0; round < count; round++) {
        qn_rng_seed(&w->r, seed * 1000003 + (uint64_t)round);
        draw_group(w, round);
        draw_log(w, round % 3, round % 2 == 0);
        run_log(w, round % 2 == 0, NULL);
    }
    free(w);
}

/* ---- several logs in one, each at its own pace ---- */

enum { LOGS = 4 };

/* Deals the rows out to some logs and merges these again in bursts, so that one may be far in front
 * of another; floor_us: the oldest of their newest times. */
static void merge_logs(struct world *w, int64_t *floor_us)
{
    struct row *rows = malloc(sizeof w->rows);
    uint32_t owner[ROWS], at[LOGS] = {0}, seen = 0, log = 0;
    int64_t newest_us[LOGS], floor = INT64_MIN;

    assert_non_null(rows);
    memcpy(rows, w->rows, sizeof w->rows);
    for (uint32_t i = 0; i < w->row_count; i++)
        owner[i] = qn_rng_below(&w->r, LOGS);
    for (uint32_t i = 0; i < w->row_count; i++) {
        int64_t oldest_us = INT64_MAX;

        if (qn_rng_below(&w->r, 40) == 0)
            log = qn_rng_below(&w->r, LOGS);
        for (;; log = (log + 1) % LOGS) {
            while (at[log] < w->row_count && owner[at[log]] != log)
                at[log]++;
            if (at[log] < w->row_count)
                break;
        }
        w->rows[i] = rows[at[log]++];
        if ((seen & 1u << log) == 0 || w->rows[i].time_us > newest_us[log])
            newest_us[log] = w->rows[i].time_us;
        seen |= 1u << log;
        for (uint32_t k = 0; k < LOGS; k++)
            if ((seen & 1u << k) != 0 && newest_us[k] < oldest_us)
                oldest_us = newest_us[k];
        if (seen == (1u << LOGS) - 1 && oldest_us > floor)
            floor = oldest_us;
        floor_us[i] = floor;
    }
    free(rows);
}

static void merged_logs_equal_twin(void **state)
{
    uint64_t seed = test_seed(7);
    struct world *w = world_new(seed);
    const char *rounds = getenv("QUERN_ROUNDS");
    int count = rounds != NULL ? (int)strtol(rounds, NULL, 10) : 48;
    static int64_t floor_us[ROWS];

    (void)state;
    for (int round = 0; round < count; round++) {
        qn_rng_seed(&w->r, seed * 1000033 + (uint64_t)round);
        draw_group(w, round);
        draw_log(w, round % 3, true);
        merge_logs(w, floor_us);
        w->spec.has_floor = true;
        w->keep_us = INT64_C(1) << 60; /* a key forgets nothing that may be asked for */
        run_log(w, round % 2 == 0, floor_us);
    }
    free(w);
}

/* ---- the table of meanings: `count() over 5m`, lateness 10 s ---- */

static void table_of_meanings(void **state)
{
    static const struct {
        int64_t hour_us; /* behind 12:00 */
        int64_t over, excluding, delayed;
    } table[] = {
        {0, 1, 0, 0},
        {300 * SECOND - 1, 2, 1, 0},
        {300 * SECOND, 2, 1, 1},
        {300 * SECOND, 3, 2, 1},
        {298 * SECOND, 2, 1, 0},
        {600 * SECOND, 1, 0, 4},
    };
    static const int64_t noons_us[] = {1522929600 * SECOND, 0, -86400 * SECOND * 365,
                                       -300 * SECOND};
    const struct qn_window windows[] = {
        {QN_AGGREGATE_COUNT, -1, -1, 300 * SECOND, 0, false, {QN_INT64, 0}},
        {QN_AGGREGATE_COUNT, -1, -1, 300 * SECOND, 0, true, {QN_INT64, 0}},
        {QN_AGGREGATE_COUNT, -1, -1, 300 * SECOND, 300 * SECOND, false, {QN_INT64, 0}},
        {QN_AGGREGATE_COUNT, -1, -1, 300 * SECOND, 300 * SECOND, true, {QN_INT64, 0}},
    };

    (void)state;
    for (unsigned noon = 0; noon < 4; noon++) {
        for (unsigned batch = 1; batch <= 6; batch++) {
            struct world *w = world_new(1);
            struct qn_group *g = NULL;
            struct feed f = {0};

            w->spec = (struct qn_group_spec){NULL, 0, 0, windows, 4, 20 * SECOND};
            memcpy(w->windows, windows, sizeof windows);
            for (unsigned i = 0; i < 6; i++)
                w->rows[i] = (struct row){.role = QN_ROLE_UPDATE | QN_ROLE_READ,
                                          .time_us = noons_us[noon] + table[i].hour_us};
            assert_int_equal(qn_group_new(&w->spec, 1, &g, NULL), QN_OK);
            for (unsigned i = 0; i < 6; i += batch) {
                unsigned n = batch < 6 - i ? batch : 6 - i;

                feed_fill(&f, w, i, n);
                assert_int_equal(qn_group_run(g, &f.wave, 0, 1, &f.arena, NULL), QN_OK);
                for (unsigned k = 0; k < n; k++) {
                    assert_int_equal(f.out[0]->i64[k], table[i + k].over);
                    assert_int_equal(f.out[1]->i64[k], table[i + k].excluding);
                    assert_int_equal(f.out[2]->i64[k], table[i + k].delayed);
                    assert_int_equal(f.out[3]->i64[k], table[i + k].delayed);
                }
            }
            qn_arena_fini(&f.arena);
            qn_group_free(g);
            free(w);
        }
    }
}

/* ---- a reader by another order, overflow, far times ---- */

static void sums_that_do_not_fit(void **state)
{
    struct world *w = world_new(3);
    struct qn_group *g = NULL;
    struct feed f = {0};

    (void)state;
    w->args[0] = (struct qn_kind){QN_INT64, 0};
    w->windows[0] =
        (struct qn_window){QN_AGGREGATE_SUM, 0, -1, 10 * SECOND, 0, false, {QN_INT64, 0}};
    w->windows[1] =
        (struct qn_window){QN_AGGREGATE_MEAN, 0, -1, QN_OVER_ALL, 0, false, {QN_DOUBLE, 0}};
    w->spec = (struct qn_group_spec){w->args, 1, 0, w->windows, 2, 0};
    for (int i = 0; i < 3; i++)
        w->rows[i] = (struct row){.role = QN_ROLE_UPDATE | QN_ROLE_READ,
                                  .time_us = i == 2 ? 10 * SECOND : i,
                                  .args = {{true, INT64_MAX, 0}}};
    assert_int_equal(qn_group_new(&w->spec, 1, &g, NULL), QN_OK);
    feed_fill(&f, w, 0, 3);
    assert_int_equal(qn_group_run(g, &f.wave, 0, 1, &f.arena, NULL), QN_OK);
    assert_true(f.out[0]->valid[0] && f.out[0]->i64[0] == INT64_MAX);
    assert_false(f.out[0]->valid[1]); /* two of them do not fit */
    assert_false(f.out[0]->valid[2]); /* still two: the first has left */
    assert_true(f.out[1]->f64[2] == 0x1p63);
    qn_arena_fini(&f.arena);
    qn_group_free(g);
    free(w);
}

/* Times a century apart, and at the ends of int64, do not fit one chunk's offsets. */
static void far_times(void **state)
{
    static const int64_t years[] = {-250, -100, -99, 0, 1, 90, 3, -50, -120, 95, 200};
    struct world *w = world_new(4);
    const int64_t year_us = 31556952 * SECOND;

    (void)state;
    w->args[0] = (struct qn_kind){QN_INT64, 0};
    for (int k = 0; k < 4; k++)
        w->windows[k] = (struct qn_window){
            (enum qn_aggregate)(k + 1), 0, -1, 150 * year_us, k * year_us, false, {QN_INT64, 0}};
    w->windows[1].out.type = QN_DOUBLE;
    w->spec = (struct qn_group_spec){w->args, 1, 0, w->windows, 4, 300 * year_us};
    w->keep_us = 453 * year_us;
    w->row_count = 11;
    for (int i = 0; i < 11; i++)
        w->rows[i] = (struct row){.role = QN_ROLE_UPDATE | QN_ROLE_READ,
                                  .time_us = years[i] * year_us,
                                  .args = {{true, i * 7 % 5, 0}}};
    run_log(w, false, NULL);
    free(w);
}

static void ends_of_time(void **state)
{
    static const int64_t times[] = {INT64_MIN + 1, INT64_MIN + 2, 0, INT64_MAX - 1,
                                    INT64_MAX,     INT64_MAX,     5, INT64_MIN};
    struct world *w = world_new(5);
    struct qn_group *g = NULL;
    struct feed f = {0};

    (void)state;
    w->windows[0] = (struct qn_window){QN_AGGREGATE_COUNT, -1, -1, 2, 0, false, {QN_INT64, 0}};
    w->windows[1] =
        (struct qn_window){QN_AGGREGATE_COUNT, -1, -1, INT64_MAX - 1, 5, false, {QN_INT64, 0}};
    w->windows[2] =
        (struct qn_window){QN_AGGREGATE_COUNT, -1, -1, QN_OVER_ALL, 0, false, {QN_INT64, 0}};
    w->spec = (struct qn_group_spec){NULL, 0, 0, w->windows, 3, 10};
    for (int i = 0; i < 8; i++)
        w->rows[i] = (struct row){.role = QN_ROLE_UPDATE | QN_ROLE_READ, .time_us = times[i]};
    assert_int_equal(qn_group_new(&w->spec, 1, &g, NULL), QN_OK);
    feed_fill(&f, w, 0, 8);
    assert_int_equal(qn_group_run(g, &f.wave, 0, 1, &f.arena, NULL), QN_OK);
    assert_int_equal(f.out[0]->i64[1], 2);
    assert_int_equal(f.out[0]->i64[5], 3);
    assert_int_equal(f.out[2]->i64[5], 6);
    qn_arena_fini(&f.arena);
    qn_group_free(g);
    free(w);
}

/* ---- memory ---- */

/* The fraud shape over `keys` keys, `per_key` events each within the window; returns the group. */
static struct qn_group *fill(uint32_t keys, uint32_t per_key, struct qn_arena *a, uint32_t rounds,
                             uint64_t *allocations)
{
    static const struct qn_kind args[] = {{QN_DECIMAL, 2}};
    static struct qn_window windows[6];
    struct qn_group_spec spec = {args, 1, 0, windows, 6, 10 * SECOND};
    struct qn_group *g = NULL;
    struct qn_col *out[6];
    struct qn_col *amount = col_new(a, args[0], keys);
    const struct qn_col *arg_cols[] = {amount};
    uint8_t *role = QN_NEW_N(a, uint8_t, keys);
    int64_t *time_us = QN_NEW_N(a, int64_t, keys);
    struct qn_str *key = QN_NEW_N(a, struct qn_str, keys);
    uint64_t *hash = QN_NEW_N(a, uint64_t, keys);
    struct qn_arena scratch = {0};
    struct qn_wave wave = {keys, role, time_us, key, hash, arg_cols, NULL, out};

    for (int k = 0; k < 6; k++) {
        static const int64_t days[] = {1, 7, 30};

        windows[k] = (struct qn_window){k < 3 ? QN_AGGREGATE_COUNT : QN_AGGREGATE_MEAN,
                                        k < 3 ? -1 : 0,
                                        -1,
                                        days[k % 3] * 86400 * SECOND,
                                        0,
                                        false,
                                        {k < 3 ? QN_INT64 : QN_DOUBLE, 0}};
        out[k] = col_new(a, windows[k].out, keys);
    }
    assert_int_equal(qn_group_new(&spec, 1, &g, NULL), QN_OK);
    for (uint32_t i = 0; i < keys; i++) {
        char *text = qn_arena_alloc(a, 16);

        key[i] = (struct qn_str){text, (uint32_t)snprintf(text, 16, "cust%08u", i)};
        hash[i] = qn_hash(key[i].p, key[i].len, 0);
        role[i] = QN_ROLE_UPDATE | QN_ROLE_READ;
        amount->valid[i] = 1;
        amount->i64[i] = i;
    }
    for (uint32_t round = 0; round < rounds; round++) {
        if (round == rounds / 2)
            *allocations = qn_mem_count();
        for (uint32_t i = 0; i < keys; i++)
            time_us[i] = (int64_t)round * (30 * 86400 * SECOND / per_key) + i;
        qn_arena_reset(&scratch);
        assert_int_equal(qn_group_run(g, &wave, 0, 1, &scratch, NULL), QN_OK);
    }
    *allocations = qn_mem_count() - *allocations;
    qn_arena_fini(&scratch);
    return g;
}

static void bytes_are_true(void **state)
{
    static const uint32_t shapes[][2] = {{1000, 100}, {1000, 30}, {5000, 60}, {300, 1000}};

    (void)state;
    for (unsigned s = 0; s < 4; s++) {
        struct qn_arena a = {0};
        uint64_t unused = 0;
        struct qn_group *g = fill(shapes[s][0], shapes[s][1], &a, shapes[s][1] * 2 + 50, &unused);
        double estimate =
            shapes[s][0] * (qn_group_key_bytes(g, 12) + shapes[s][1] * qn_group_event_bytes(g));
        double truth = (double)qn_group_bytes(g);

        assert_int_equal(qn_group_keys(g), shapes[s][0]);
        print_message("%u keys x %u events: %.0f bytes, estimate %.0f (%.2f)\n", shapes[s][0],
                      shapes[s][1], truth, estimate, estimate / truth);
        assert_true(estimate > 0.8 * truth && estimate < 1.2 * truth);
        qn_group_free(g);
        qn_arena_fini(&a);
    }
}

static void nothing_allocated_in_steady_state(void **state)
{
    struct qn_arena a = {0};
    uint64_t allocations = 0;
    struct qn_group *g = fill(500, 20, &a, 400, &allocations);

    (void)state;
    assert_int_equal(allocations, 0);
    /* time moves on: all keys go, and their memory is used again */
    qn_group_expire(g, 800 * 86400 * SECOND, 100000);
    assert_int_equal(qn_group_keys(g), 0);
    qn_group_free(g);
    qn_arena_fini(&a);
}

/* Each event has a key of its own, a window holds 1000 of them: what is kept does not grow. */
static void keys_that_come_once(void **state)
{
    enum { BATCH = 100, BATCHES = 300 };
    static const struct qn_window count = {QN_AGGREGATE_COUNT, -1, -1, 1000 * SECOND, 0, false,
                                           {QN_INT64, 0}};
    const struct qn_group_spec spec = {NULL, 0, 0, &count, 1, SECOND};
    struct qn_arena a = {0}, scratch = {0};
    struct qn_col *out[] = {col_new(&a, count.out, BATCH)};
    int64_t time_us[BATCH];
    uint8_t role[BATCH];
    struct qn_str key[BATCH];
    uint64_t hash[BATCH], most = 0;
    char text[BATCH][16];
    const struct qn_wave wave = {BATCH, role, time_us, key, hash, NULL, NULL, out};
    struct qn_group *g = NULL;

    (void)state;
    assert_int_equal(qn_group_new(&spec, 1, &g, NULL), QN_OK);
    for (uint32_t n = 0; n < BATCHES; n++) {
        for (uint32_t i = 0; i < BATCH; i++) {
            time_us[i] = (n * BATCH + i) * SECOND;
            key[i] = (struct qn_str){
                text[i], (uint32_t)snprintf(text[i], sizeof text[i], "once%u", n * BATCH + i)};
            hash[i] = qn_hash(key[i].p, key[i].len, 0);
            role[i] = QN_ROLE_UPDATE | QN_ROLE_READ;
        }
        qn_arena_reset(&scratch);
        assert_int_equal(qn_group_run(g, &wave, 0, 1, &scratch, NULL), QN_OK);
        qn_group_expire(g, time_us[BATCH - 1] - SECOND, BATCH);
        most = qn_group_keys(g) > most ? qn_group_keys(g) : most;
    }
    print_message("%llu keys at most\n", (unsigned long long)most);
    assert_true(most >= 1000 && most < 2000);
    qn_group_free(g);
    qn_arena_fini(&scratch);
    qn_arena_fini(&a);
}

static void every_allocation_may_fail(void **state)
{
    struct world *w = world_new(11);

    (void)state;
    for (int round = 1; round < 6; round++) {
        bool failed = true;

        draw_group(w, round);
        draw_log(w, 0, true);
        w->row_count = 400;
        for (uint64_t nth = 1; failed; nth += 1 + nth / 8) {
            struct qn_group *g = NULL;
            struct feed f = {0};
            struct qn_arena arena = {0};
            struct qn_err err = {0};
            qn_status rc;

            feed_fill(&f, w, 0, w->row_count);
            qn_mem_fail_at(nth, nth % 2 == 0);
            rc = qn_group_new(&w->spec, 1, &g, &err);
            if (rc == QN_OK)
                rc = qn_group_run(g, &f.wave, 0, 1, &arena, &err);
            failed = rc != QN_OK;
            qn_mem_fail_at(0, false);
            assert_int_equal(rc, failed ? QN_NOMEM : QN_OK);
            assert_true(err.code == rc);
            qn_group_free(g);
            qn_arena_fini(&f.arena);
            qn_arena_fini(&arena);
        }
    }
    free(w);
}

static void wrong_specs(void **state)
{
    static const struct qn_kind args[] = {{QN_STRING, 0}, {QN_TIMESTAMP, 0}, {QN_INT64, 0}};
    static const struct qn_window bad[] = {
        {QN_AGGREGATE_SUM, 0, -1, 1, 0, false, {QN_INT64, 0}},
        {QN_AGGREGATE_SUM, 1, -1, 1, 0, false, {QN_INT64, 0}},
        {QN_AGGREGATE_SUM, 3, -1, 1, 0, false, {QN_INT64, 0}},
        {QN_AGGREGATE_COUNT, -1, 0, 1, 0, false, {QN_INT64, 0}},
        {QN_AGGREGATE_COUNT, 2, -1, 1, 0, false, {QN_INT64, 0}},
        {QN_AGGREGATE_COUNT, -1, -1, 0, 0, false, {QN_INT64, 0}},
        {QN_AGGREGATE_COUNT, -1, -1, 1, -1, false, {QN_INT64, 0}},
        {QN_AGGREGATE_COUNT_OF, -1, -1, 1, 0, false, {QN_INT64, 0}},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct qn_group_spec spec = {args, 3, 0, &bad[i], 1, 0};
        struct qn_group *g = NULL;
        struct qn_err err = {0};

        assert_int_equal(qn_group_new(&spec, 1, &g, &err), QN_INVALID);
        assert_null(g);
        assert_true(err.text[0] != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_of_meanings),   cmocka_unit_test(sums_that_do_not_fit),
        cmocka_unit_test(far_times),           cmocka_unit_test(ends_of_time),
        cmocka_unit_test(equals_twin),         cmocka_unit_test(merged_logs_equal_twin),
        cmocka_unit_test(bytes_are_true),      cmocka_unit_test(nothing_allocated_in_steady_state),
        cmocka_unit_test(keys_that_come_once), cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(wrong_specs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
