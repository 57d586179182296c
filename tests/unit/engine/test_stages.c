/* SPDX-License-Identifier: Apache-2.0
 * test_stages.c - two engines, each with the windows of one key, say together what one engine with
 * all of them says.
 *
 * The first one judges; what it lets through goes to the second one with its verdicts, its time and
 * the values of its windows, as between stages on Kafka (shard_stage.h), but without Kafka. Events
 * come late, twice, broken, and without a key; late ones only count, or are answered. */
#include "base/clock.h"
#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { EVENTS = 3000, EVENT_BYTES = 160, FEATURES_MAX = 12, WINDOWS_MAX = 12, ROWS = 64 };

static const char spec[] = "quern: 1\n"
                           "name: two\n"
                           "streams:\n"
                           "  pay:\n"
                           "    id: tx\n"
                           "    time: at\n"
                           "    key: customer\n"
                           "    lateness: 10s\n"
                           "    late: %s\n"
                           "    dedup: 1h\n"
                           "    fields:\n"
                           "      tx: int64\n"
                           "      at: {type: timestamp, unit: s}\n"
                           "      customer: string\n"
                           "      terminal: {type: string, optional: true}\n"
                           "      amount: {type: double, min: 0}\n"
                           "features:\n"
                           "  count_1h: count() by customer over 1h\n"
                           "  mean_1h: mean(amount) by customer over 1h or 0.5\n"
                           "  usual: mean(amount) by customer over 1h excluding current\n"
                           "  most_10m: max(amount) by terminal over 10m\n"
                           "  busy_2m: count() where amount > 3 by terminal over 2m or -1\n"
                           "  mine_1h: sum(amount) by customer, terminal over 1h\n"
                           "  ratio: amount / most_10m\n"
                           "  both: mean_1h - busy_2m\n";

struct answer {
    bool is_there;
    uint8_t valid[FEATURES_MAX], complete;
    int64_t value[FEATURES_MAX];
};

/* What goes from the first engine to the second. */
struct hop {
    uint32_t event;
    uint8_t verdict, is_late;
    int64_t newest_us;
    uint8_t valid[WINDOWS_MAX];
    int64_t value[WINDOWS_MAX];
};

struct world {
    char events[EVENTS][EVENT_BYTES];
    uint32_t event_count;
    struct answer all[EVENTS], staged[EVENTS];
    struct hop hops[EVENTS];
    uint32_t hop_count;
    struct qn_rng r;
};

/* One engine at work. */
struct stage {
    struct world *w;
    struct qn_arena arena;
    struct qn_plan *plan;
    struct qn_engine *en;
    struct answer *answers;           /* the whole, and the second one */
    bool sends, receives;             /* the first one; the second one */
    struct qn_watermark newest;       /* before the batch in hand */
    struct qn_col *cols[WINDOWS_MAX]; /* that travel; from the first batch on */
    uint32_t col_count;
    uint32_t next;
};

/* ---- what goes in ---- */

static void find_cols(struct stage *s)
{
    const struct qn_features *f = s->plan->features;

    if (s->col_count > 0)
        return;
    for (uint32_t g = 0; g < qn_features_group_count(f); g++)
        for (uint32_t k = 0; k < qn_features_window_count(f, g); k++)
            if (strcmp(qn_features_group(f, g).key, "terminal") != 0)
                s->cols[s->col_count++] = qn_features_window_col(f, g, k);
    assert_in_range(s->col_count, 1, WINDOWS_MAX);
}

static void give(struct stage *s, struct qn_batch *b)
{
    const uint32_t r = b->rows++, i = s->next++;
    const struct hop *h = &s->w->hops[i];
    const uint32_t event = s->receives ? h->event : i;

    b->raw[r] = qn_str_of(s->w->events[event]);
    b->offset[r] = event;
    if (!s->receives)
        return;
    b->verdict[r] = h->verdict;
    b->is_late[r] = h->is_late;
    b->floor_us[r] = h->newest_us;
    for (uint32_t k = 0; k < s->col_count; k++) {
        s->cols[k]->valid[r] = h->valid[k];
        s->cols[k]->i64[r] = h->value[k];
    }
}

static qn_status stage_read(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err)
{
    struct stage *s = st;
    const uint32_t end = s->receives ? s->w->hop_count : s->w->event_count;
    const uint32_t most = 1 + qn_rng_below(&s->w->r, ROWS);

    (void)err;
    find_cols(s);
    s->newest = qn_engine_watermark(s->en);
    while (s->next < end && b->rows < most)
        give(s, b);
    *flow = b->rows > 0 ? QN_MORE : QN_END;
    return QN_OK;
}

/* ---- what comes out ---- */

static void send(struct stage *s, const struct qn_batch *b, uint32_t row)
{
    struct hop *h = &s->w->hops[s->w->hop_count++];

    *h = (struct hop){(uint32_t)b->offset[row], b->verdict[row], b->is_late[row],
                      s->newest.newest_us};
    for (uint32_t k = 0; k < s->col_count && b->verdict[row] == QN_SCORED; k++) {
        h->valid[k] = s->cols[k]->valid[row];
        h->value[k] = s->cols[k]->i64[row];
    }
}

static void answer(struct stage *s, const struct qn_step_result *r, uint32_t row)
{
    struct answer *a = &s->answers[r->batch->offset[row]];

    assert_false(a->is_there);
    a->is_there = true;
    a->complete = r->complete[row];
    for (uint32_t i = 0; i < s->plan->feature_count; i++) {
        const struct qn_col *c = qn_features_col(s->plan->features, i);

        a->valid[i] = c->valid[row];
        a->value[i] = c->valid[row] ? c->i64[row] : 0;
    }
}

static qn_status stage_commit(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                              struct qn_err *err)
{
    struct stage *s = st;
    const struct qn_batch *b = r->batch;

    (void)en;
    (void)err;
    for (uint32_t row = 0; row < b->rows; row++) {
        if (s->sends && qn_contract_moves(b, row) &&
            (!s->newest.seen || b->time_us[row] > s->newest.newest_us))
            s->newest = (struct qn_watermark){true, b->time_us[row]};
        if (s->answers != NULL && r->is_scored[row])
            answer(s, r, row);
        if (s->sends && (b->verdict[row] == QN_SCORED ||
                         (b->verdict[row] == QN_LATE && s->plan->schemas[0].late == QN_LATE_FOLD)))
            send(s, b, row);
    }
    return QN_OK;
}

static void stage_release(void *st)
{
    (void)st;
}

static const struct qn_csv_header *const *stage_csv(void *st, uint32_t stream)
{
    (void)st;
    (void)stream;
    return NULL;
}

static void stage_encode(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                         uint32_t first, uint32_t end, uint32_t worker)
{
    (void)st;
    (void)en;
    (void)r;
    (void)first;
    (void)end;
    (void)worker;
}

/* ---- running ---- */

static void place_groups(const struct stage *s)
{
    struct qn_features *f = s->plan->features;

    for (uint32_t g = 0; (s->sends || s->receives) && g < qn_features_group_count(f); g++) {
        const bool is_second = strcmp(qn_features_group(f, g).key, "terminal") == 0;

        qn_features_place(f, g,
                          is_second == s->receives ? QN_GROUP_HERE
                          : is_second              ? QN_GROUP_BEHIND
                                                   : QN_GROUP_GIVEN,
                          s->receives);
    }
}

static void run(struct stage *s, const char *text, uint32_t threads)
{
    const struct qn_plan_options load = {.files = &qn_files_system};
    const struct qn_engine_options opt = {
        .threads = threads, .rows_max = ROWS, .is_judged = s->receives, .seed = 3};
    const struct qn_input in = {
        .read = stage_read, .release = stage_release, .csv = stage_csv, .st = s};
    const struct qn_output out = {.encode = stage_encode, .commit = stage_commit, .st = s};
    struct qn_diags diags = {.arena = &s->arena};
    enum qn_flow flow = QN_MORE;

    qn_arena_init(&s->arena, 0);
    assert_int_equal(
        qn_plan_load_text(qn_str_of(text), "spec.yaml", &load, &s->arena, &diags, &s->plan, NULL),
        QN_OK);
    assert_in_range(s->plan->feature_count, 1, FEATURES_MAX);
    place_groups(s);
    assert_int_equal(qn_engine_new(s->plan, &opt, &in, &out, &s->en, NULL), QN_OK);
    while (flow == QN_MORE)
        assert_int_equal(qn_step(s->en, &flow, NULL), QN_OK);
    qn_engine_free(s->en);
    qn_plan_free(s->plan);
    qn_arena_fini(&s->arena);
}

static void draw_events(struct world *w)
{
    struct qn_rng *r = &w->r;

    for (uint32_t i = 0; i < EVENTS; i++) {
        const uint32_t behind = qn_rng_below(r, 10) == 0 ? qn_rng_below(r, 40) : qn_rng_below(r, 3);
        char terminal[16] = "null";

        if (qn_rng_below(r, 30) != 0)
            snprintf(terminal, sizeof terminal, "\"t%u\"", qn_rng_below(r, 9));
        snprintf(w->events[i], EVENT_BYTES,
                 "{\"tx\":%u,\"at\":%u,\"customer\":\"c%u\",\"terminal\":%s,\"amount\":%s%u.%02u%s",
                 qn_rng_below(r, 40) == 0 ? i / 2 : i, 1700000000 + i - behind, qn_rng_below(r, 7),
                 terminal, qn_rng_below(r, 50) == 0 ? "-" : "", qn_rng_below(r, 9),
                 qn_rng_below(r, 100), qn_rng_below(r, 80) == 0 ? "" : "}");
    }
    w->event_count = EVENTS;
}

static void compare(const struct world *w)
{
    uint32_t there = 0;

    for (uint32_t i = 0; i < w->event_count; i++) {
        const struct answer *a = &w->all[i], *b = &w->staged[i];

        assert_int_equal(a->is_there, b->is_there);
        assert_int_equal(a->complete, b->complete);
        assert_memory_equal(a->valid, b->valid, sizeof a->valid);
        assert_memory_equal(a->value, b->value, sizeof a->value);
        there += a->is_there;
    }
    assert_in_range(there, w->event_count / 2, w->event_count - 10);
}

static void two_say_what_one_says(void **state)
{
    static const char *const late[] = {"score", "fold", "drop"};
    struct world *w = calloc(1, sizeof *w);
    char text[sizeof spec + 16];

    (void)state;
    assert_non_null(w);
    for (uint32_t round = 0; round < 6; round++) {
        struct stage all = {.w = w, .answers = w->all}, first = {.w = w, .sends = true},
                     second = {.w = w, .answers = w->staged, .receives = true};

        memset(w, 0, sizeof *w);
        qn_rng_seed(&w->r, 11 + round);
        draw_events(w);
        snprintf(text, sizeof text, spec, late[round % 3]);
        run(&all, text, 1);
        run(&first, text, 1 + round % 2);
        assert_in_range(w->hop_count, EVENTS / 2, EVENTS - 10);
        run(&second, text, 1 + round / 3);
        compare(w);
    }
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_say_what_one_says)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
