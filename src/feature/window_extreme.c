/* SPDX-License-Identifier: Apache-2.0
 * window_extreme.c - minima and maxima of windows, which cannot be subtracted. See window_int.h.
 *
 * A maximum is the least complement, so only leasts are kept. Every chunk knows the least of its
 * events per column; a span keeps its running least. An event that enters lowers it; one that
 * leaves with a value above it changes nothing; one that leaves with the least value makes it
 * stale, and the next read finds it again from the ragged chunk at the old end (at most 64 events)
 * and `rest`, the least of all newer chunks. `rest` is made again, from the chunks' leasts, only
 * when the old end reaches another chunk. Doubles are compared as integers in the order -inf ...
 * -0, +0 ... inf; a NaN is below everything, so that any NaN makes the answer NaN. Thread: the
 * lane's worker. */
#include "feature/window_int.h"

#include <math.h>
#include <string.h>

static struct qn_least *least_at(void *rec, const struct qn_span *s)
{
    return (struct qn_least *)((char *)rec + s->at);
}

/* Order of doubles as int64, and back: the same for both directions. */
static int64_t double_order(int64_t bits)
{
    return bits ^ (bits >> 63 & INT64_MAX);
}

/* The event's key in an extreme column; INT64_MAX where it does not count. */
static int64_t extreme_key(const struct qn_extreme *x, struct qn_flags lacks, const uint64_t *e)
{
    if (!qn_flags_meet(lacks, x->need))
        return INT64_MAX;
    if (x->is_bool)
        return (int64_t)qn_flags_meet(lacks, x->truth) ^ x->flip;
    int64_t raw = (int64_t)e[x->word];

    if (x->is_double) {
        double v;

        memcpy(&v, &raw, sizeof v);
        if (isnan(v))
            return INT64_MIN;
        raw = double_order(raw);
    }
    return raw ^ x->flip;
}

int64_t qn_extreme_value(const struct qn_extreme *x, int64_t key)
{
    if (!x->is_double)
        return key ^ x->flip;
    if (key == INT64_MIN) {
        double v = (double)NAN;
        int64_t bits;

        memcpy(&bits, &v, sizeof bits);
        return bits;
    }
    return double_order(key ^ x->flip);
}

static void least_lower(struct qn_least *l, const struct qn_span *s, const struct qn_chunk *c,
                        int64_t key)
{
    if (key < l->least)
        l->least = key;
    if (s->old >= 0 && c != l->chunk && key < l->rest)
        l->rest = key;
}

void qn_extreme_pass(const struct qn_group *g, const struct qn_boundary *b, void *rec,
                     const struct qn_chunk *c, const uint64_t *e, struct qn_flags lacks)
{
    for (uint32_t k = 0; k < b->enter_count; k++) {
        const struct qn_span *s = &g->spans[b->enters[k]];

        least_lower(least_at(rec, s), s, c, extreme_key(&g->extremes[s->extreme], lacks, e));
    }
    for (uint32_t k = 0; k < b->leave_count; k++) {
        const struct qn_span *s = &g->spans[b->leaves[k]];
        struct qn_least *l = least_at(rec, s);
        int64_t key = extreme_key(&g->extremes[s->extreme], lacks, e);

        if (key <= l->least && qn_flags_meet(lacks, g->extremes[s->extreme].need))
            l->is_stale = 1;
    }
}

void qn_extreme_join(const struct qn_group *g, const struct qn_span *s, void *rec,
                     const struct qn_chunk *c, const uint64_t *e, struct qn_flags lacks)
{
    least_lower(least_at(rec, s), s, c, extreme_key(&g->extremes[s->extreme], lacks, e));
}

void qn_extreme_forget(const struct qn_group *g, const struct qn_boundary *b, void *rec,
                       const struct qn_chunk *c)
{
    if (b != NULL) {
        for (uint32_t k = 0; k < b->leave_count; k++)
            least_at(rec, &g->spans[b->leaves[k]])->chunk = NULL;
        return;
    }
    for (uint32_t k = 0; k < g->span_count; k++) {
        struct qn_least *l = least_at(rec, &g->spans[k]);

        if (l->chunk == c)
            l->chunk = NULL;
    }
}

void qn_extreme_chunk_add(const struct qn_group *g, struct qn_chunk *c, const uint64_t *e,
                          struct qn_flags lacks)
{
    int64_t *leasts = qn_chunk_extremes(c);

    for (uint32_t k = 0; k < g->extreme_count; k++) {
        int64_t key = extreme_key(&g->extremes[k], lacks, e);

        leasts[k] = key < leasts[k] ? key : leasts[k];
    }
}

void qn_extreme_chunk_rebuild(const struct qn_group *g, struct qn_chunk *c)
{
    for (uint32_t k = 0; k < g->extreme_count; k++)
        qn_chunk_extremes(c)[k] = INT64_MAX;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint64_t *e = qn_chunk_event(g, c, i);

        qn_extreme_chunk_add(g, c, e, qn_event_lacks(g, e));
    }
}

void qn_extreme_chunk_gone(const struct qn_group *g, void *rec, struct qn_chunk *c)
{
    for (uint32_t k = 0; k < g->span_count; k++) {
        const struct qn_span *s = &g->spans[k];
        struct qn_least *l = least_at(rec, s);
        int64_t key = qn_chunk_extremes(c)[s->extreme];

        if (s->old < 0)
            l->rest = key < l->rest ? key : l->rest;
        else if (l->chunk == c)
            l->chunk = NULL;
    }
}

int64_t qn_extreme_scan(const struct qn_group *g, uint32_t extreme, struct qn_chunk *a, uint32_t i,
                        const struct qn_chunk *z, uint32_t j)
{
    const struct qn_extreme *x = &g->extremes[extreme];
    int64_t least = INT64_MAX;

    for (struct qn_chunk *c = a; c != NULL; c = c->next, i = 0) {
        uint32_t end = c == z ? j : c->count;

        if (i == 0 && end == c->count) {
            int64_t key = qn_chunk_extremes(c)[extreme];

            least = key < least ? key : least;
        } else {
            for (; i < end; i++) {
                const uint64_t *e = qn_chunk_event(g, c, i);
                int64_t key = extreme_key(x, qn_event_lacks(g, e), e);

                least = key < least ? key : least;
            }
        }
        if (c == z)
            break;
    }
    return least;
}

int64_t qn_extreme_current(const struct qn_group *g, const struct qn_span *s, void *rec)
{
    struct qn_least *l = least_at(rec, s);

    if (!l->is_stale)
        return l->least;
    const struct qn_cursor *old = qn_key_cursor(rec, &g->boundaries[s->old]);
    struct qn_chunk *z = NULL;
    uint32_t j = 0;

    if (g->boundaries[s->young].cursor_at != 0) {
        const struct qn_cursor *young = qn_key_cursor(rec, &g->boundaries[s->young]);

        if (young->next_us != INT64_MAX) {
            z = young->chunk;
            j = young->index;
        }
    }
    l->is_stale = 0;
    if (old->next_us == INT64_MAX) {
        l->least = l->rest = INT64_MAX;
        l->chunk = NULL;
        return l->least;
    }
    struct qn_chunk *c = old->chunk;

    if (l->chunk != c) {
        l->rest = c == z ? INT64_MAX : qn_extreme_scan(g, s->extreme, c->next, 0, z, j);
        l->chunk = c;
    }
    l->least = qn_extreme_scan(g, s->extreme, c, old->index, c, c == z ? j : c->count);
    if (l->rest < l->least)
        l->least = l->rest;
    return l->least;
}
