/* SPDX-License-Identifier: Apache-2.0
 * learner.c - scores rows by the last whole window, and learns them. See learner.h.
 *
 * A batch falls into runs that end where a window does: within a run the profile stands still, so
 * it is scored tree by tree, then its leaves are appended to the window that fills. Invariant: the
 * profile is a function of `reference`, which is why a snapshot holds no profile.
 *
 * Entries of a snapshot, little-endian, the state of the newest one counts:
 *   4 events that ranges were learnt from, 4 events in the window that fills, 4 one if there is a
 *   window that scores, 4 zero; per input 8 lowest, 8 highest value (doubles)
 *   per tree, in order: its leaves, 2 each: of the window that scores, of the one that fills
 *
 * Thread: learner.h. Memory: boot arena. */
#include "score/learner.h"

#include "base/check.h"
#include "base/hash.h"
#include "model/half_space.h"
#include "score/score_int.h"

#include <math.h>

enum { BLOCK = 64, STATE_VERSION = 1 };

/* Of a worker; one more is the stepping thread's. */
struct scratch {
    double *z;            /* [BLOCK][inputs] */
    uint32_t *cells;      /* the same        */
    double packed[BLOCK]; /* an input        */
    uint32_t rows[BLOCK];
};

struct qn_learner {
    const struct qn_model *model;
    const struct qn_half_space *trees;
    struct qn_half_space_options opt;
    const uint32_t *columns;
    uint32_t rows_max, workers;

    /* state */
    uint32_t measured;   /* events that ranges were learnt from: up to a window            */
    uint32_t filled;     /* events in `latest`                                             */
    bool has_reference;  /* there is a whole window                                        */
    double *low, *high;  /* [inputs] of the ranges, or of the values so far; none: inf, -inf */
    uint16_t *reference; /* [trees][window] leaves                                         */
    uint16_t *latest;    /* [trees][window]                                                */

    /* made of it */
    bool has_ranges;
    double *from, *width; /* [inputs] of the ranges */
    struct qn_half_space_cell *profile;

    /* of a batch */
    uint16_t *leaves; /* [trees][rows_max] */
    uint64_t *mass;   /* [rows_max]        */

    struct scratch *scratch; /* [workers + 1] */
    uint16_t *pivot;         /* [2 * window] */

    bool is_loaded, is_older; /* the newest snapshot was read; what comes is of an older one */
    uint32_t trees_loaded;
};

/* ---- making ---- */

size_t qn_learner_state_bytes(const struct qn_model *m)
{
    const struct qn_half_space_options *o = qn_half_space_options(qn_model_half_space(m));

    return 2 * (size_t)o->trees * o->window * sizeof(uint16_t) +
           2 * (size_t)o->inputs * sizeof(double);
}

static void start(struct qn_learner *l)
{
    l->measured = l->filled = 0;
    l->has_reference = false;
    l->has_ranges = !qn_half_space_learns_ranges(l->trees);
    for (uint32_t i = 0; i < l->opt.inputs; i++) {
        const bool is_declared = !isnan(l->opt.low[i]);

        l->low[i] = is_declared ? l->opt.low[i] : (double)INFINITY;
        l->high[i] = is_declared ? l->opt.high[i] : (double)-INFINITY;
    }
}

/* Ranges as they are used: what was never seen is taken for 0, and what has one value only gets a
 * width of 1. */
static void set_ranges(struct qn_learner *l)
{
    for (uint32_t i = 0; i < l->opt.inputs; i++) {
        const bool is_seen = l->low[i] <= l->high[i];

        l->from[i] = is_seen ? l->low[i] : 0;
        l->width[i] = is_seen ? l->high[i] - l->low[i] : 0;
        if (!(l->width[i] > 0))
            l->width[i] = 1;
    }
    l->has_ranges = true;
}

static bool make(struct qn_learner *l, struct qn_arena *boot)
{
    const struct qn_half_space_options *o = &l->opt;
    const size_t window = (size_t)o->trees * o->window;
    bool is_good;

    l->low = QN_NEW_N(boot, double, o->inputs);
    l->high = QN_NEW_N(boot, double, o->inputs);
    l->from = QN_NEW_N(boot, double, o->inputs);
    l->width = QN_NEW_N(boot, double, o->inputs);
    l->reference = QN_NEW_N(boot, uint16_t, window);
    l->latest = QN_NEW_N(boot, uint16_t, window);
    l->profile =
        QN_NEW_N(boot, struct qn_half_space_cell, (size_t)o->trees * qn_half_space_cells(l->trees));
    l->leaves = QN_NEW_N(boot, uint16_t, (size_t)o->trees * l->rows_max);
    l->mass = QN_NEW_N(boot, uint64_t, l->rows_max);
    l->pivot = QN_NEW_N(boot, uint16_t, 2 * (size_t)o->window);
    l->scratch = QN_NEW_N(boot, struct scratch, l->workers + 1);
    is_good = l->low && l->high && l->from && l->width && l->reference && l->latest && l->profile &&
              l->leaves && l->mass && l->pivot && l->scratch;
    for (uint32_t w = 0; is_good && w <= l->workers; w++) {
        l->scratch[w].z = qn_arena_aligned(boot, 64, (size_t)BLOCK * o->inputs * sizeof(double));
        l->scratch[w].cells = QN_NEW_N(boot, uint32_t, (size_t)BLOCK * o->inputs);
        is_good = l->scratch[w].z != NULL && l->scratch[w].cells != NULL;
    }
    return is_good;
}

qn_status qn_learner_new(const struct qn_model *m, const uint32_t *columns, uint32_t workers,
                         uint32_t rows_max, struct qn_arena *boot, struct qn_learner **out,
                         struct qn_err *err)
{
    const struct qn_half_space *trees = qn_model_half_space(m);
    struct qn_learner *l = QN_NEW(boot, struct qn_learner);
    uint32_t *copy;

    *out = NULL;
    QN_ASSERT(trees != NULL);
    copy = QN_NEW_N(boot, uint32_t, qn_half_space_options(trees)->inputs);
    if (l == NULL || copy == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for half-space trees");
    memcpy(copy, columns, qn_half_space_options(trees)->inputs * sizeof *copy);
    l->model = m;
    l->trees = trees;
    l->opt = *qn_half_space_options(trees);
    l->columns = copy;
    l->rows_max = rows_max;
    l->workers = workers;
    if (!make(l, boot))
        return qn_err_set(err, QN_NOMEM, "out of memory for half-space trees");
    start(l);
    if (l->has_ranges)
        set_ranges(l);
    *out = l;
    return QN_OK;
}

/* ---- places ---- */

static void look_block(struct qn_learner *l, const struct qn_col *const *cols, struct scratch *s,
                       uint32_t n)
{
    for (uint32_t i = 0; i < l->opt.inputs; i++) {
        qn_score_pack(l->model, i, cols[l->columns[i]], s->rows, n, s->packed);
        qn_half_space_place(l->trees, i, l->from[i], l->width[i], s->packed, n, s->z);
    }
    qn_half_space_leaves(l->trees, s->z, n, s->rows, s->cells, l->leaves, l->rows_max);
}

static void look(struct qn_learner *l, const struct qn_col *const *cols, const uint8_t *want,
                 uint32_t first, uint32_t end, struct scratch *s)
{
    uint32_t n = 0;

    for (uint32_t r = first; r < end; r++) {
        s->rows[n] = r;
        n += want[r];
        if (n == BLOCK) {
            look_block(l, cols, s, n);
            n = 0;
        }
    }
    if (n > 0)
        look_block(l, cols, s, n);
}

void qn_learner_look(struct qn_learner *l, const struct qn_col *const *cols, const uint8_t *want,
                     uint32_t first, uint32_t end, uint32_t worker)
{
    QN_ASSERT(worker < l->workers && end <= l->rows_max);
    if (l->has_ranges)
        look(l, cols, want, first, end, &l->scratch[worker]);
}

/* ---- in the order of the log ---- */

/* Ranges from one row; true when they are known. */
static bool measure(struct qn_learner *l, const struct qn_col *const *cols, uint32_t row)
{
    for (uint32_t i = 0; i < l->opt.inputs; i++) {
        double x;

        if (!isnan(l->opt.low[i]))
            continue;
        qn_score_pack(l->model, i, cols[l->columns[i]], &row, 1, &x);
        if (!isfinite(x))
            continue;
        l->low[i] = x < l->low[i] ? x : l->low[i];
        l->high[i] = x > l->high[i] ? x : l->high[i];
    }
    l->measured++;
    return l->measured == l->opt.window;
}

/* Rows that only teach ranges; the first row behind them. */
static uint32_t measure_rows(struct qn_learner *l, const struct qn_col *const *cols,
                             const uint8_t *want, uint32_t rows, double *margins, double *scores)
{
    uint32_t r = 0;

    for (bool is_known = false; r < rows && !is_known; r++) {
        if (!want[r])
            continue;
        margins[r] = scores[r] = (double)NAN;
        is_known = measure(l, cols, r);
        if (is_known)
            set_ranges(l);
    }
    return r;
}

/* The end of the rows that the window which fills still takes, from `first` on. */
static uint32_t run_end(const struct qn_learner *l, const uint8_t *want, uint32_t first,
                        uint32_t rows)
{
    uint32_t left = l->opt.window - l->filled, r = first;

    for (; r < rows && left > 0; r++)
        left -= want[r];
    return r;
}

static void score(struct qn_learner *l, const uint8_t *want, uint32_t first, uint32_t end,
                  double *margins, double *scores)
{
    if (l->has_reference)
        qn_half_space_mass(l->trees, l->profile, l->leaves, l->rows_max, first, end, l->mass);
    for (uint32_t r = first; r < end; r++) {
        if (!want[r])
            continue;
        margins[r] = l->has_reference ? (double)l->mass[r] : (double)NAN;
        scores[r] = l->has_reference ? qn_half_space_score(l->trees, l->mass[r]) : (double)NAN;
    }
}

static void swap_windows(struct qn_learner *l)
{
    uint16_t *whole = l->latest;

    l->latest = l->reference;
    l->reference = whole;
    l->has_reference = true;
    l->filled = 0;
    qn_half_space_profile(l->trees, l->reference, l->pivot, l->profile);
}

static void learn(struct qn_learner *l, const uint8_t *want, uint32_t first, uint32_t end)
{
    uint32_t filled = l->filled;

    for (uint32_t t = 0; t < l->opt.trees; t++) {
        const uint16_t *leaf = l->leaves + (size_t)t * l->rows_max;
        uint16_t *to = l->latest + (size_t)t * l->opt.window;

        filled = l->filled;
        for (uint32_t r = first; r < end; r++)
            if (want[r])
                to[filled++] = leaf[r];
    }
    l->filled = filled;
    if (filled == l->opt.window)
        swap_windows(l);
}

void qn_learner_run(struct qn_learner *l, const struct qn_col *const *cols, const uint8_t *want,
                    uint32_t rows, double *margins, double *scores)
{
    uint32_t first = 0;

    QN_ASSERT(rows <= l->rows_max);
    if (!l->has_ranges) {
        first = measure_rows(l, cols, want, rows, margins, scores);
        if (first < rows) /* nobody could look yet */
            look(l, cols, want, first, rows, &l->scratch[l->workers]);
    }
    while (first < rows) {
        const uint32_t end = run_end(l, want, first, rows);

        score(l, want, first, end, margins, scores);
        learn(l, want, first, end);
        first = end;
    }
}

/* ---- snapshots ---- */

struct head {
    uint32_t measured, filled, has_reference, zero;
};
_Static_assert(sizeof(struct head) == 16, "the format");

static uint32_t head_bytes(const struct qn_learner *l)
{
    return (uint32_t)(sizeof(struct head) + 2 * l->opt.inputs * sizeof(double));
}

static uint32_t tree_bytes(const struct qn_learner *l)
{
    return (uint32_t)(((l->has_reference ? l->opt.window : 0) + l->filled) * sizeof(uint16_t));
}

static void own_begin(void *st, struct qn_saver *sv, bool is_full)
{
    const struct qn_learner *l = st;
    const struct head h = {l->measured, l->filled, l->has_reference, 0};
    const uint32_t window = l->has_reference ? l->opt.window : 0;
    char *to = qn_saver_entry(sv, 0, head_bytes(l));

    (void)is_full;
    if (to == NULL)
        return;
    memcpy(to, &h, sizeof h);
    to += sizeof h;
    for (uint32_t i = 0; i < l->opt.inputs; i++, to += 2 * sizeof(double)) {
        memcpy(to, &l->low[i], sizeof(double));
        memcpy(to + sizeof(double), &l->high[i], sizeof(double));
    }
    for (uint32_t t = 0; t < l->opt.trees; t++) {
        const size_t at = (size_t)t * l->opt.window;

        to = qn_saver_entry(sv, 0, tree_bytes(l));
        if (to == NULL)
            return;
        memcpy(to, l->reference + at, window * sizeof(uint16_t));
        memcpy(to + window * sizeof(uint16_t), l->latest + at, l->filled * sizeof(uint16_t));
    }
    qn_saver_unit(sv, 0);
}

/* A range that this learner can have come to. */
static bool is_range(const struct qn_learner *l, uint32_t input, double low, double high)
{
    if (!isnan(l->opt.low[input]))
        return low == l->opt.low[input] && high == l->opt.high[input];
    if (low == (double)INFINITY && high == (double)-INFINITY)
        return true;
    return l->measured > 0 && isfinite(low) && isfinite(high) && low <= high;
}

static qn_status load_head(struct qn_learner *l, const char *entry, struct qn_err *err)
{
    const bool learns = qn_half_space_learns_ranges(l->trees);
    struct head h;

    memcpy(&h, entry, sizeof h);
    entry += sizeof h;
    if (h.measured > (learns ? l->opt.window : 0) || h.filled >= l->opt.window ||
        h.has_reference > 1 || h.zero != 0 ||
        (learns && h.measured < l->opt.window && (h.filled > 0 || h.has_reference != 0)))
        return qn_err_set(err, QN_CORRUPT, "what the half-space trees have seen cannot be");
    l->measured = h.measured;
    l->filled = h.filled;
    l->has_reference = h.has_reference != 0;
    for (uint32_t i = 0; i < l->opt.inputs; i++, entry += 2 * sizeof(double)) {
        memcpy(&l->low[i], entry, sizeof(double));
        memcpy(&l->high[i], entry + sizeof(double), sizeof(double));
        if (!is_range(l, i, l->low[i], l->high[i]))
            return qn_err_set(err, QN_CORRUPT, "a range of the half-space trees cannot be");
    }
    if (!learns || l->measured == l->opt.window)
        set_ranges(l);
    return QN_OK;
}

static qn_status load_tree(struct qn_learner *l, const char *entry, struct qn_err *err)
{
    const size_t at = (size_t)l->trees_loaded * l->opt.window;
    const uint32_t window = l->has_reference ? l->opt.window : 0;
    uint32_t highest = 0;

    memcpy(l->reference + at, entry, window * sizeof(uint16_t));
    memcpy(l->latest + at, entry + window * sizeof(uint16_t), l->filled * sizeof(uint16_t));
    for (uint32_t i = 0; i < window; i++)
        highest |= l->reference[at + i];
    for (uint32_t i = 0; i < l->filled; i++)
        highest |= l->latest[at + i];
    if (highest >> l->opt.depth != 0)
        return qn_err_set(err, QN_CORRUPT, "a half-space tree has no such leaf");
    l->trees_loaded++;
    return QN_OK;
}

/* The head of a snapshot, then its trees; those of older snapshots of the chain say nothing. */
static qn_status own_load(void *st, const char *entry, uint32_t bytes, struct qn_err *err)
{
    struct qn_learner *l = st;

    if (l->is_older)
        return QN_OK;
    if (!l->is_loaded) {
        if (bytes != head_bytes(l))
            return qn_err_set(err, QN_CORRUPT, "half-space trees of another size");
        QN_TRY(load_head(l, entry, err));
        l->is_loaded = true;
        return QN_OK;
    }
    if (l->trees_loaded == l->opt.trees || bytes != tree_bytes(l))
        return qn_err_set(err, QN_CORRUPT, "half-space trees of another size");
    return load_tree(l, entry, err);
}

static qn_status own_loaded(void *st, struct qn_err *err)
{
    struct qn_learner *l = st;

    if (l->is_older)
        return QN_OK;
    if (!l->is_loaded || l->trees_loaded != l->opt.trees)
        return qn_err_set(err, QN_CORRUPT, "some half-space trees are missing");
    if (l->has_reference)
        qn_half_space_profile(l->trees, l->reference, l->pivot, l->profile);
    l->is_older = true;
    return QN_OK;
}

static qn_status own_clear(void *st, struct qn_err *err)
{
    struct qn_learner *l = st;

    (void)err;
    l->is_loaded = l->is_older = false;
    l->trees_loaded = 0;
    start(l);
    return QN_OK;
}

struct qn_section qn_learner_section(struct qn_learner *l)
{
    static const struct qn_section_ops ops = {
        .begin = own_begin, .load = own_load, .loaded = own_loaded, .clear = own_clear};
    const uint64_t hash = qn_model_info(l->model)->hash;

    return (struct qn_section){.ops = &ops,
                               .st = l,
                               .name = "half-space-trees",
                               .layout = qn_hash(&hash, sizeof hash, STATE_VERSION)};
}
