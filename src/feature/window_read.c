/* SPDX-License-Identifier: Apache-2.0
 * window_read.c - the answers of windows, at a key's newest time and behind it. See window_int.h.
 *
 * At T a window is the difference of the running sums at its two boundaries. A row behind T must
 * not see newer events and must not disturb the running state: it works on a copy of the record, in
 * which every boundary has been moved back to the row's time by taking back the events between;
 * leasts are then found by scanning. A window that reaches further back than the ring keeps is
 * null, which only rows behind the slack can meet. Sums and means are rounded here, once.
 * Thread: the lane's worker. */
#include "feature/window_int.h"

#include "base/check.h"
#include "base/number.h"

#include <float.h>
#include <string.h>

enum { EXACT_BITS = 53 };

static void put_null(struct qn_col *out, uint32_t row)
{
    out->valid[row] = 0;
}

static void put_int(struct qn_col *out, uint32_t row, int64_t v)
{
    out->valid[row] = 1;
    out->i64[row] = v;
}

/* A sum that does not fit its type is null. */
static void put_sum(struct qn_col *out, uint32_t row, __int128 v)
{
    if (v == (int64_t)v)
        put_int(out, row, (int64_t)v);
    else
        put_null(out, row);
}

/* So is one beyond the range of double: no feature is infinite. */
static void put_double(struct qn_col *out, uint32_t row, double v)
{
    out->valid[row] = (uint8_t)(__builtin_fabs(v) <= DBL_MAX);
    out->f64[row] = v;
}

static uint64_t count_between(const char *rec, uint32_t young, uint32_t old)
{
    uint64_t n = *(const uint64_t *)(rec + young);

    return old == 0 ? n : n - *(const uint64_t *)(rec + old);
}

/* Modulo 2^128, in which running sums are kept: a snapshot may hold any. */
static __int128 int_between(const char *rec, uint32_t young, uint32_t old)
{
    const __int128 s = *(const qn_i128 *)(rec + young);

    return old == 0 ? s
                    : (__int128)((unsigned __int128)s -
                                 (unsigned __int128)*(const qn_i128 *)(rec + old));
}

/* num / (n * scale), rounded once. */
static double ratio(__int128 num, uint64_t n, uint64_t scale)
{
    const int64_t exact = (int64_t)1 << EXACT_BITS;
    unsigned __int128 den = (unsigned __int128)n * scale;

    if (num <= exact && num >= -exact && den <= (unsigned __int128)exact)
        return (double)(int64_t)num / (double)(int64_t)den; /* both exact: one rounding */
    return qn_ratio_double(num, den);
}

/* The exact sum of doubles between two boundaries, divided by n. */
static double double_between(const char *rec, uint32_t young, uint32_t old, uint64_t n)
{
    const struct qn_double_sum *a = (const struct qn_double_sum *)(rec + young);
    struct qn_exact_sum sum = a->sum;
    struct qn_exact_wide wide;

    if (old == 0)
        return qn_exact_read(&sum, a->wide, n);
    const struct qn_double_sum *b = (const struct qn_double_sum *)(rec + old);

    qn_exact_minus(&sum, &a->sum, &b->sum);
    if (a->wide == NULL)
        return qn_exact_read(&sum, NULL, n);
    QN_ASSERT(b->wide != NULL); /* made for all boundaries at once */
    qn_exact_wide_minus(&wide, a->wide, b->wide);
    return qn_exact_read(&sum, &wide, n);
}

/* Least of a span as of a late row, from the ring (and, over all, from what was freed). */
static int64_t least_late(const struct qn_group *g, const struct qn_span *s,
                          const struct qn_late_view *v, const struct qn_key *key)
{
    struct qn_chunk *z = v->chunk[s->young];
    uint32_t j = v->index[s->young];

    if (s->old >= 0)
        return qn_extreme_scan(g, s->extreme, v->chunk[s->old], v->index[s->old], z, j);
    const struct qn_least *l = (const struct qn_least *)((const char *)key + s->at);
    int64_t least = qn_extreme_scan(g, s->extreme, key->head, 0, z, j);

    return l->rest < least ? l->rest : least;
}

static inline void read_window(struct qn_group *g, uint32_t i, char *rec,
                               const struct qn_late_view *late, struct qn_key *key,
                               struct qn_col *out, uint32_t row)
{
    const struct qn_reading *r = &g->readings[i];
    uint64_t n = count_between(rec, r->count_young, r->count_old);

    if (r->op == QN_READ_COUNT) {
        put_int(out, row, (int64_t)n);
        return;
    }
    /* an empty window is computed like any other and then marked null: a processor cannot guess
     * which are empty */
    uint64_t d = n + (n == 0);
    const struct qn_span *s;
    int64_t least;

    switch (r->op) {
    case QN_READ_SUM_BOOL:
        put_int(out, row, (int64_t)count_between(rec, r->sum_young, r->sum_old));
        break;
    case QN_READ_SUM_INT:
        put_sum(out, row, int_between(rec, r->sum_young, r->sum_old));
        break;
    case QN_READ_SUM_DOUBLE:
        put_double(out, row, double_between(rec, r->sum_young, r->sum_old, 1));
        break;
    case QN_READ_MEAN_BOOL:
        put_double(out, row, ratio((__int128)count_between(rec, r->sum_young, r->sum_old), d, 1));
        break;
    case QN_READ_MEAN_INT:
        put_double(out, row, ratio(int_between(rec, r->sum_young, r->sum_old), d, r->scale));
        break;
    case QN_READ_MEAN_DOUBLE:
        put_double(out, row, double_between(rec, r->sum_young, r->sum_old, d));
        break;
    default:
        s = &g->spans[r->span];
        least = late != NULL ? least_late(g, s, late, key) : qn_extreme_current(g, s, key);
        put_int(out, row, qn_extreme_value(&g->extremes[s->extreme], least));
    }
    out->valid[row] &= n != 0;
}

/* Copies the sums of the key and gives the copy own numbers where the record only refers to them.
 */
static qn_status view_copy(const struct qn_group *g, const struct qn_key *key,
                           struct qn_late_view *v, struct qn_err *err)
{
    uint32_t used = 0;

    memcpy(v->rec, key, g->record_bytes);
    for (uint32_t i = 0; i < g->boundary_count; i++) {
        const struct qn_boundary *b = &g->boundaries[i];

        for (uint32_t k = 0; k < b->double_ops; k++) {
            struct qn_double_sum *s = (struct qn_double_sum *)(v->rec + b->doubles[k].at);

            if (s->wide == NULL)
                continue;
            if (v->wides == NULL)
                v->wides = qn_arena_alloc(v->arena, g->double_count * sizeof *v->wides);
            if (v->wides == NULL)
                return qn_err_set(err, QN_NOMEM, "no memory for a late read");
            v->wides[used] = *s->wide;
            s->wide = &v->wides[used++];
        }
    }
    return QN_OK;
}

/* Moves every boundary of the copy back from T to t. */
static void view_back(struct qn_group *g, struct qn_key *key, int64_t t, struct qn_late_view *v)
{
    for (uint32_t k = 0; k < g->boundary_count; k++) {
        const struct qn_boundary *b = &g->boundaries[k];
        int64_t limit_us = qn_window_back(t, b->back_us);
        struct qn_chunk *c = key->tail;
        uint32_t i = c == NULL ? 0 : c->count;
        bool is_end = true;

        if (b->cursor_at != 0 && qn_key_cursor(key, b)->next_us != INT64_MAX) {
            c = qn_key_cursor(key, b)->chunk;
            i = qn_key_cursor(key, b)->index;
            is_end = false;
        }
        for (;;) {
            struct qn_chunk *from = i > 0 ? c : c == NULL ? NULL : c->prev;

            if (from == NULL)
                break;
            uint32_t at = i > 0 ? i - 1 : from->count - 1u;

            if (from->count == 0 || qn_chunk_time(g, from, at) <= limit_us)
                break;
            const uint64_t *e = qn_chunk_event(g, from, at);

            qn_boundary_add(b, v->rec, e, qn_event_lacks(g, e), true);
            c = from;
            i = at;
            is_end = false;
        }
        v->chunk[k] = is_end ? NULL : c;
        v->index[k] = is_end ? 0 : i;
    }
}

qn_status qn_read_windows(struct qn_group *g, struct qn_key *key, int64_t t, const uint32_t *which,
                          uint32_t count, struct qn_late_view *late, const struct qn_wave *w,
                          uint32_t row, struct qn_err *err)
{
    if (count == 0)
        return QN_OK;
    if (key == NULL || !key->has_begun) {
        for (uint32_t k = 0; k < count; k++) {
            struct qn_col *out = w->out[which[k]];

            if (g->readings[which[k]].op == QN_READ_COUNT)
                put_int(out, row, 0);
            else
                put_null(out, row);
        }
        return QN_OK;
    }
    if (t >= key->newest_us) {
        for (uint32_t k = 0; k < count; k++)
            read_window(g, which[k], (char *)key, NULL, key, w->out[which[k]], row);
        return QN_OK;
    }
    const bool is_held = w->floor_us != NULL; /* whatever it asks for */
    uint64_t behind_us = (uint64_t)key->newest_us - (uint64_t)t;

    if (is_held || behind_us <= (uint64_t)g->keep_us) {
        QN_TRY(view_copy(g, key, late, err));
        view_back(g, key, t, late);
    }
    for (uint32_t k = 0; k < count; k++) {
        int64_t need_us = g->readings[which[k]].need_us;

        if (is_held ||
            (behind_us <= (uint64_t)g->keep_us && behind_us <= (uint64_t)(g->keep_us - need_us)))
            read_window(g, which[k], late->rec, late, key, w->out[which[k]], row);
        else
            put_null(w->out[which[k]], row);
    }
    return QN_OK;
}
