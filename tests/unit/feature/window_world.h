/* SPDX-License-Identifier: Apache-2.0
 * window_world.h - random groups of windows, random logs for them, and the naive twin that their
 * answers must equal bit for bit.
 *
 * For tests only. The twin recomputes every window from a list of all events, row by row. Random
 * logs: ties, disorder up to the slack and beyond, several keys, all aggregates, wheres, nulls,
 * every argument type, delays, windows without the current event, over all, rows that only read. */
#ifndef QN_TESTS_WINDOW_WORLD_H
#define QN_TESTS_WINDOW_WORLD_H

#include "../seed.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/number.h"
#include "exact_twin.h"
#include "feature/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS = 1200, ARGS_MAX = 12, WHERES_MAX = 56, WINDOWS_MAX = 24, KEYS = 6 };
#define SECOND ((int64_t)1000000)

struct cell {
    bool valid;
    int64_t i64;
    double f64;
};

/* One row of the log. */
struct row {
    uint8_t role;
    int64_t time_us;
    int key;
    struct cell args[ARGS_MAX];
    uint8_t wheres[WHERES_MAX];
};

/* A group, its log and the twin's memory. */
struct world {
    struct qn_rng r;
    struct qn_kind args[ARGS_MAX];
    struct qn_window windows[WINDOWS_MAX];
    struct qn_group_spec spec;
    struct row rows[ROWS];
    uint32_t row_count;
    int events[KEYS][ROWS]; /* rows that joined each key's list */
    uint32_t event_count[KEYS];
    int64_t newest_us[KEYS];
    int64_t keep_us;
    struct cell want[WINDOWS_MAX], got[WINDOWS_MAX];
};

static char key_text[KEYS][40];

static inline struct qn_str key_of(int k)
{
    return qn_str_of(key_text[k]);
}

/* ---- the twin ---- */

static inline bool in_window(const struct world *w, const struct qn_window *win,
                             const struct row *ev, const struct row *at)
{
    int64_t end_us = at->time_us - win->delayed_us;

    if (ev->time_us > end_us)
        return false;
    if (win->over_us != QN_OVER_ALL && ev->time_us <= end_us - win->over_us)
        return false;
    if (win->excludes_current && ev == at)
        return false;
    if (win->where >= 0 && !ev->wheres[win->where])
        return false;
    (void)w;
    return win->arg < 0 || ev->args[win->arg].valid;
}

static inline bool is_less(const struct qn_kind kind, const struct cell *a, const struct cell *b)
{
    if (kind.type != QN_DOUBLE)
        return a->i64 < b->i64;
    if (a->f64 == 0 && b->f64 == 0)
        return signbit(a->f64) && !signbit(b->f64);
    return a->f64 < b->f64;
}

static inline struct cell twin_window(const struct world *w, const struct qn_window *win,
                                      const struct row *at, int64_t newest_us)
{
    static struct twin_sum doubles;
    struct qn_kind kind = win->arg >= 0 ? w->args[win->arg] : (struct qn_kind){QN_INT64, 0};
    int64_t need_us = win->delayed_us + (win->over_us == QN_OVER_ALL ? 0 : win->over_us);
    struct cell out = {false, 0, 0}, least = {false, 0, 0};
    __int128 sum = 0;
    uint64_t n = 0;
    bool has_nan = false;

    if (w->event_count[at->key] > 0 && at->time_us - need_us < newest_us - w->keep_us)
        return out; /* further back than is kept */
    memset(&doubles, 0, sizeof doubles);
    for (uint32_t i = 0; i < w->event_count[at->key]; i++) {
        const struct row *ev = &w->rows[w->events[at->key][i]];

        if (!in_window(w, win, ev, at))
            continue;
        n++;
        if (win->arg < 0)
            continue;
        const struct cell *v = &ev->args[win->arg];

        if (kind.type == QN_DOUBLE)
            twin_add(&doubles, v->f64, 1);
        else
            sum += v->i64;
        has_nan = has_nan || (kind.type == QN_DOUBLE && isnan(v->f64));
        if (n == 1 || (win->aggregate == QN_AGGREGATE_MIN && is_less(kind, v, &least)) ||
            (win->aggregate == QN_AGGREGATE_MAX && is_less(kind, &least, v)))
            least = *v;
    }
    if (win->aggregate == QN_AGGREGATE_COUNT)
        return (struct cell){true, (int64_t)n, 0};
    if (n == 0)
        return out;
    out.valid = true;
    if (win->aggregate == QN_AGGREGATE_MIN || win->aggregate == QN_AGGREGATE_MAX) {
        if (has_nan)
            least.f64 = (double)NAN;
        return least;
    }
    if (win->aggregate == QN_AGGREGATE_MEAN && kind.type != QN_DOUBLE) {
        uint64_t scale = 1;

        for (int k = 0; k < kind.scale; k++)
            scale *= 10;
        out.f64 = qn_ratio_double(sum, (unsigned __int128)n * scale);
    } else if (kind.type == QN_DOUBLE) {
        out.f64 = twin_read(&doubles, win->aggregate == QN_AGGREGATE_MEAN ? n : 1);
        out.valid = isfinite(out.f64);
    } else {
        out.valid = sum == (int64_t)sum;
        out.i64 = (int64_t)sum;
    }
    return out;
}

/* Takes row i into the lists and computes w->want. */
static inline void twin_row(struct world *w, uint32_t i)
{
    const struct row *at = &w->rows[i];
    int k = at->key;

    if (w->event_count[k] > 0 && at->role != 0 && at->time_us > w->newest_us[k])
        w->newest_us[k] = at->time_us;
    if ((at->role & QN_ROLE_UPDATE) != 0) {
        if (w->event_count[k] == 0)
            w->newest_us[k] = at->time_us;
        if (at->time_us >= w->newest_us[k] - w->keep_us)
            w->events[k][w->event_count[k]++] = (int)i;
    }
    if ((at->role & QN_ROLE_READ) == 0)
        return;
    for (uint32_t j = 0; j < w->spec.window_count; j++)
        w->want[j] = twin_window(w, &w->windows[j], at, w->newest_us[k]);
}

/* ---- random groups and logs ---- */

static inline int64_t draw_span(struct qn_rng *r)
{
    static const int64_t spans[] = {1, 2, 7, 10, 60, 61, 300};

    return spans[qn_rng_below(r, 7)] * SECOND;
}

static inline struct qn_kind draw_kind(struct qn_rng *r)
{
    static const struct qn_kind kinds[] = {{QN_BOOL, 0},    {QN_INT64, 0},     {QN_DOUBLE, 0},
                                           {QN_DECIMAL, 2}, {QN_TIMESTAMP, 0}, {QN_DECIMAL, 18}};

    return kinds[qn_rng_below(r, 6)];
}

static inline struct qn_window draw_window(struct world *w)
{
    struct qn_rng *r = &w->r;
    struct qn_window win = {.aggregate = (enum qn_aggregate)qn_rng_below(r, QN_AGGREGATE_COUNT_OF),
                            .arg = -1,
                            .where = -1,
                            .over_us = draw_span(r),
                            .excludes_current = qn_rng_below(r, 4) == 0};

    if (w->spec.arg_count == 0)
        win.aggregate = QN_AGGREGATE_COUNT;
    if (win.aggregate != QN_AGGREGATE_COUNT) {
        win.arg = (int32_t)qn_rng_below(r, w->spec.arg_count);
        if (w->args[win.arg].type == QN_TIMESTAMP)
            win.aggregate = qn_rng_below(r, 2) ? QN_AGGREGATE_MIN : QN_AGGREGATE_MAX;
    }
    if (w->spec.where_count > 0 && qn_rng_below(r, 2))
        win.where = (int32_t)qn_rng_below(r, w->spec.where_count);
    if (qn_rng_below(r, 3) == 0)
        win.delayed_us = draw_span(r);
    if (qn_rng_below(r, 8) == 0)
        win.over_us = QN_OVER_ALL;
    win.out.type = win.aggregate == QN_AGGREGATE_COUNT  ? QN_INT64
                   : win.aggregate == QN_AGGREGATE_MEAN ? QN_DOUBLE
                                                        : w->args[win.arg].type;
    if (win.aggregate == QN_AGGREGATE_SUM && win.out.type == QN_BOOL)
        win.out.type = QN_INT64;
    return win;
}

static inline void draw_group(struct world *w, int shape)
{
    struct qn_rng *r = &w->r;

    memset(&w->spec, 0, sizeof w->spec);
    w->spec.args = w->args;
    w->spec.windows = w->windows;
    w->spec.arg_count = shape % 4 == 3 ? ARGS_MAX : qn_rng_below(r, 5);
    w->spec.where_count = shape % 8 == 3 ? WHERES_MAX : shape % 8 == 7 ? 20 : qn_rng_below(r, 4);
    w->spec.window_count = shape == 0 ? 0 : 1 + qn_rng_below(r, WINDOWS_MAX);
    w->spec.slack_us = qn_rng_below(r, 4) == 0 ? 0 : qn_rng_below(r, 40) * SECOND;
    for (uint32_t i = 0; i < w->spec.arg_count; i++)
        w->args[i] = draw_kind(r);
    w->keep_us = 0;
    for (uint32_t i = 0; i < w->spec.window_count; i++) {
        const struct qn_window *win = &w->windows[i];

        w->windows[i] = draw_window(w);
        if (shape % 16 == 5) { /* only sums for ever */
            w->windows[i].over_us = QN_OVER_ALL;
            w->windows[i].delayed_us = 0;
        }
        int64_t need_us = win->delayed_us + (win->over_us == QN_OVER_ALL ? 0 : win->over_us);

        w->keep_us = need_us > w->keep_us ? need_us : w->keep_us;
    }
    w->keep_us += w->spec.slack_us;
}

static inline double draw_double(struct qn_rng *r, bool is_wild)
{
    static const double odd[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, 0.0,    -0.0,
                                 1e300,       -1e300,           0x1p-1074,         1e-200, 0x1p64};

    if (is_wild && qn_rng_below(r, 16) == 0)
        return odd[qn_rng_below(r, 10)];
    return (double)((int64_t)qn_rng_below(r, 20001) - 10000) / 100;
}

static inline struct cell draw_cell(struct qn_rng *r, struct qn_kind kind, bool is_wild)
{
    struct cell c = {qn_rng_below(r, 8) != 0, 0, 0};

    if (kind.type == QN_BOOL)
        c.i64 = qn_rng_below(r, 2);
    else if (kind.type == QN_DOUBLE)
        c.f64 = draw_double(r, is_wild);
    else if (is_wild && qn_rng_below(r, 8) == 0)
        c.i64 =
            qn_rng_below(r, 2) ? INT64_MAX - qn_rng_below(r, 2) : INT64_MIN + qn_rng_below(r, 2);
    else
        c.i64 = (int64_t)qn_rng_below(r, 1001) - 500;
    return c;
}

/* order: 0 mixed, 1 rising values (the least is always the oldest), 2 nearly sorted times with many
 * ties */
static inline void draw_log(struct world *w, int order, bool is_legal)
{
    struct qn_rng *r = &w->r;
    int64_t now_us = order == 1 ? -200 * SECOND : (int64_t)qn_rng_below(r, 1000) * SECOND;
    bool is_wild = qn_rng_below(r, 2) == 0;
    uint32_t keys = 1 + qn_rng_below(r, KEYS);
    uint32_t pace = 1 + qn_rng_below(r, 3000000);

    w->row_count = ROWS / 2 + qn_rng_below(r, ROWS / 2);
    for (uint32_t i = 0; i < w->row_count; i++) {
        struct row *row = &w->rows[i];

        row->key = (int)qn_rng_below(r, keys);
        row->role = (uint8_t)(qn_rng_below(r, 16) == 0 ? 0 : 1 + qn_rng_below(r, 3));
        if (qn_rng_below(r, 2))
            row->role |= QN_ROLE_UPDATE | QN_ROLE_READ;
        if (qn_rng_below(r, order == 2 ? 4 : 2))
            now_us += qn_rng_below(r, 3) == 0 ? SECOND : qn_rng_below(r, pace);
        if (qn_rng_below(r, 300) == 0)
            now_us += draw_span(r) * 3;
        row->time_us = now_us;
        if (qn_rng_below(r, 4) == 0 && w->spec.slack_us > 0)
            row->time_us -= qn_rng_below(r, (uint32_t)(w->spec.slack_us / SECOND)) * SECOND;
        if (!is_legal && qn_rng_below(r, 20) == 0)
            row->time_us -= (int64_t)qn_rng_below(r, 700) * SECOND;
        for (uint32_t a = 0; a < w->spec.arg_count; a++) {
            row->args[a] = draw_cell(r, w->args[a], is_wild);
            if (order == 1 && !is_wild) {
                row->args[a].i64 = w->args[a].type == QN_BOOL ? i & 1 : (int64_t)i;
                row->args[a].f64 = (double)i;
            }
        }
        for (uint32_t k = 0; k < w->spec.where_count; k++)
            row->wheres[k] = (uint8_t)qn_rng_below(r, 2);
    }
}

/* ---- running the real thing ---- */

/* Columns of one batch over rows [first, first + n). */
struct feed {
    struct qn_arena arena;
    struct qn_wave wave;
    struct qn_col *out[WINDOWS_MAX];
};

static inline struct qn_col *col_new(struct qn_arena *a, struct qn_kind kind, uint32_t n)
{
    struct qn_col *c = QN_NEW(a, struct qn_col);

    c->kind = kind;
    c->valid = QN_NEW_N(a, uint8_t, n);
    c->i64 = QN_NEW_N(a, int64_t, n);
    return c;
}

static inline void feed_fill(struct feed *f, const struct world *w, uint32_t first, uint32_t n)
{
    struct qn_arena *a = &f->arena;
    uint8_t *role = QN_NEW_N(a, uint8_t, n);
    int64_t *time_us = QN_NEW_N(a, int64_t, n);
    struct qn_str *key = QN_NEW_N(a, struct qn_str, n);
    uint64_t *hash = QN_NEW_N(a, uint64_t, n);
    const struct qn_col **args = QN_NEW_N(a, const struct qn_col *, ARGS_MAX);
    const uint8_t **wheres = QN_NEW_N(a, const uint8_t *, WHERES_MAX);

    for (uint32_t i = 0; i < n; i++) {
        const struct row *row = &w->rows[first + i];

        role[i] = row->role;
        time_us[i] = row->time_us;
        key[i] = key_of(row->key);
        hash[i] = qn_hash(key[i].p, key[i].len, 0);
    }
    for (uint32_t k = 0; k < w->spec.arg_count; k++) {
        struct qn_col *c = col_new(a, w->args[k], n);

        for (uint32_t i = 0; i < n; i++) {
            const struct cell *v = &w->rows[first + i].args[k];

            c->valid[i] = v->valid;
            if (w->args[k].type == QN_DOUBLE)
                c->f64[i] = v->valid ? v->f64 : 1e308; /* a null's value must not matter */
            else
                c->i64[i] = v->valid ? v->i64 : w->args[k].type == QN_BOOL;
        }
        args[k] = c;
    }
    for (uint32_t k = 0; k < w->spec.where_count; k++) {
        uint8_t *c = QN_NEW_N(a, uint8_t, n);

        for (uint32_t i = 0; i < n; i++)
            c[i] = w->rows[first + i].wheres[k];
        wheres[k] = c;
    }
    for (uint32_t k = 0; k < w->spec.window_count; k++) {
        f->out[k] = col_new(a, w->windows[k].out, n);
        memset(f->out[k]->valid, 9, n);
    }
    f->wave = (struct qn_wave){n, role, time_us, key, hash, args, wheres, f->out};
}

static inline bool cell_same(const struct qn_col *c, uint32_t i, const struct cell *want)
{
    if (c->valid[i] != want->valid || !want->valid)
        return c->valid[i] == want->valid;
    return c->kind.type == QN_DOUBLE ? twin_same(c->f64[i], want->f64) : c->i64[i] == want->i64;
}

static inline void feed_compare(struct feed *f, struct world *w, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        twin_row(w, first + i);
        for (uint32_t k = 0; k < w->spec.window_count; k++) {
            const struct qn_window *win = &w->windows[k];

            if ((w->rows[first + i].role & QN_ROLE_READ) == 0) {
                assert_int_equal(f->out[k]->valid[i], 9);
                continue;
            }
            if (cell_same(f->out[k], i, &w->want[k]))
                continue;
            print_message(
                "row %u key %d time %lld role %d window %u: aggregate %d arg %d where %d over "
                "%lld delayed %lld excl %d: valid %d %d value %lld %lld / %.17g %.17g\n",
                first + i, w->rows[first + i].key, (long long)w->rows[first + i].time_us,
                w->rows[first + i].role, k, win->aggregate, win->arg, win->where,
                (long long)win->over_us, (long long)win->delayed_us, win->excludes_current,
                f->out[k]->valid[i], w->want[k].valid, (long long)f->out[k]->i64[i],
                (long long)w->want[k].i64, f->out[k]->f64[i], w->want[k].f64);
            assert_true(false);
        }
    }
}

static inline struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    qn_rng_seed(&w->r, seed);
    for (int k = 0; k < KEYS; k++)
        snprintf(key_text[k], sizeof key_text[k],
                 k % 2 ? "customer-with-a-rather-long-key-%d" : "c%d", k);
    return w;
}

#endif
