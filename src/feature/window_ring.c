/* SPDX-License-Identifier: Apache-2.0
 * window_ring.c - the ring of one key: time moves on, events come in, old chunks go. See
 * window_int.h.
 *
 * Invariants between calls: events in the ring are sorted by (time, log position); no chunk is
 * empty unless it is the only one; a cursor points to the first event its boundary has not passed,
 * or says that there is none; the sums of a boundary hold exactly the events with time <= T - back
 * since the key began. A chunk is freed when its last event is at or before T - keep (or the floor
 * less keep, where that is older): no cursor can be in it then. Memory: the lane's slab; one
 * allocation per chunk, none per event. Thread: the lane's worker. */
#include "feature/window_int.h"

#include "base/check.h"

#include <string.h>

enum { OFFSET_BITS = 48, CHUNK_EVENTS_MAX = 4096 };

static bool offset_fits(const struct qn_chunk *c, int64_t t)
{
    int64_t offset;

    return !__builtin_sub_overflow(t, c->base_us, &offset) &&
           offset >= -((int64_t)1 << (OFFSET_BITS - 1)) && offset < (int64_t)1 << (OFFSET_BITS - 1);
}

static struct qn_chunk *chunk_new(const struct qn_group *g, struct qn_lane *ln, uint32_t bytes,
                                  int64_t base_us)
{
    struct qn_chunk *c = qn_slab_alloc(&ln->slab, bytes);
    uint32_t cap = (bytes - g->chunk_head_bytes) / (g->event_words * 8);

    if (c == NULL)
        return NULL;
    QN_ASSERT(cap >= 2);
    *c = (struct qn_chunk){.base_us = base_us,
                           .cap = (uint16_t)(cap < CHUNK_EVENTS_MAX ? cap : CHUNK_EVENTS_MAX),
                           .bytes = bytes};
    for (uint32_t k = 0; k < g->extreme_count; k++)
        qn_chunk_extremes(c)[k] = INT64_MAX;
    return c;
}

/* Bytes of a new chunk of a ring that holds `events`. */
static uint32_t chunk_bytes_for(const struct qn_group *g, uint32_t events)
{
    uint32_t level = 0;

    while (events > g->chunk_upto[level])
        level++;
    return g->chunk_bytes[level];
}

static void link_behind(struct qn_key *key, struct qn_chunk *where, struct qn_chunk *c)
{
    c->prev = where;
    c->next = where == NULL ? key->head : where->next;
    if (c->prev == NULL)
        key->head = c;
    else
        c->prev->next = c;
    if (c->next == NULL)
        key->tail = c;
    else
        c->next->prev = c;
}

static void cursor_set(const struct qn_group *g, const struct qn_boundary *b, struct qn_key *key,
                       struct qn_chunk *c, uint32_t index)
{
    struct qn_cursor *cu = qn_key_cursor(key, b);

    if (b->leave_count > 0 && (cu->chunk != c || cu->next_us == INT64_MAX))
        qn_extreme_forget(g, b, key, NULL);
    cu->chunk = c;
    cu->index = index;
    cu->next_us = qn_chunk_time(g, c, index);
}

/* Frees chunks nobody can see into any more; the last one is emptied and kept. */
static void ring_trim(struct qn_group *g, struct qn_lane *ln, struct qn_key *key)
{
    const bool is_behind = g->has_floor && ln->floor_us < key->newest_us;
    int64_t dead_us = qn_window_back(is_behind ? ln->floor_us : key->newest_us, g->keep_us);

    while (key->head != NULL && key->head->count > 0) {
        struct qn_chunk *c = key->head;

        if (qn_chunk_time(g, c, c->count - 1u) > dead_us)
            return;
        if (g->extreme_count > 0)
            qn_extreme_chunk_gone(g, key, c);
        key->events -= c->count;
        if (c->next == NULL) {
            c->count = 0;
            for (uint32_t k = 0; k < g->extreme_count; k++)
                qn_chunk_extremes(c)[k] = INT64_MAX;
            return;
        }
        key->head = c->next;
        key->head->prev = NULL;
        qn_slab_free(&ln->slab, c, c->bytes);
    }
}

/* A boundary passes one event, which must be due, and its cursor goes on. True if it left a chunk.
 */
static inline bool boundary_pass(const struct qn_group *g, const struct qn_boundary *b,
                                 struct qn_key *key, struct qn_cursor *cu)
{
    struct qn_chunk *c = cu->chunk;
    const uint64_t *e = qn_chunk_event(g, c, cu->index);
    struct qn_flags lacks = qn_event_lacks(g, e);

    qn_boundary_add(b, key, e, lacks, false);
    if (b->enter_count + b->leave_count > 0)
        qn_extreme_pass(g, b, key, c, e, lacks);
    if (++cu->index < c->count) {
        cu->next_us = c->base_us + ((int64_t)e[g->event_words] >> 16);
        return false;
    }
    cu->chunk = c->next;
    cu->index = 0;
    cu->next_us = c->next == NULL ? INT64_MAX : qn_chunk_time(g, c->next, 0);
    if (b->leave_count > 0)
        qn_extreme_forget(g, b, key, NULL);
    return true;
}

void qn_ring_advance(struct qn_group *g, struct qn_ahead *rows, uint32_t n)
{
    struct due {
        struct qn_key *key;
        struct qn_cursor *cursor;
        int64_t limit_us;
        uint32_t boundary, row;
    } list[QN_ROWS_AHEAD * QN_DUE_STEP];
    uint32_t last = g->boundary_count - 1;
    uint64_t moved = 0; /* rows whose furthest boundary left a chunk */

    for (uint32_t first = 0; first < g->boundary_count; first += QN_DUE_STEP) {
        uint32_t end = first + QN_DUE_STEP < last + 1 ? first + QN_DUE_STEP : last + 1;
        uint32_t count = 0;

        for (uint32_t r = 0; r < n; r++) {
            for (uint32_t k = first; k < end && rows[r].moves; k++) {
                struct qn_cursor *cu = qn_key_cursor(rows[r].key, &g->boundaries[k]);
                int64_t limit_us = qn_window_back(rows[r].time_us, g->boundaries[k].back_us);

                list[count] = (struct due){rows[r].key, cu, limit_us, k, r};
                count += g->boundaries[k].cursor_at != 0 && cu->next_us <= limit_us;
            }
        }
        while (count > 0) {
            uint32_t left = 0;

            for (uint32_t i = 0; i < count; i++) {
                struct due d = list[i];

                if (boundary_pass(g, &g->boundaries[d.boundary], d.key, d.cursor))
                    moved |= (uint64_t)(d.boundary == last) << d.row;
                list[left] = d;
                left += d.cursor->next_us <= d.limit_us;
            }
            count = left;
        }
    }
    for (uint32_t r = 0; r < n; r++) {
        if (rows[r].moves)
            rows[r].key->newest_us = rows[r].time_us;
    }
    for (; moved != 0; moved &= moved - 1) {
        const struct qn_ahead *row = &rows[__builtin_ctzll(moved)];

        ring_trim(g, row->lane, row->key);
    }
}

/* Gives every boundary that must have it the memory for values of unusual size, before anything is
 * changed. */
static qn_status make_wides(struct qn_group *g, struct qn_lane *ln, struct qn_key *key,
                            const uint64_t *event)
{
    bool fits = true;

    for (uint32_t k = 0; k < g->double_arg_count; k++) {
        double v;

        memcpy(&v, &event[g->arg_word[g->double_args[k]]], sizeof v);
        fits = fits && qn_exact_fits(v);
    }
    if (fits)
        return QN_OK;
    for (uint32_t i = 0; i < g->boundary_count; i++) {
        const struct qn_boundary *b = &g->boundaries[i];

        for (uint32_t k = 0; k < b->double_ops; k++) {
            struct qn_double_sum *s = (struct qn_double_sum *)((char *)key + b->doubles[k].at);

            if (s->wide != NULL)
                continue;
            s->wide = qn_slab_alloc(&ln->slab, sizeof *s->wide);
            if (s->wide == NULL)
                return QN_NOMEM;
            memset(s->wide, 0, sizeof *s->wide);
        }
    }
    return QN_OK;
}

/* Where an event of time t belongs: behind all of its time or older. NULL: the ring is empty. */
static struct qn_chunk *place_find(const struct qn_group *g, const struct qn_key *key, int64_t t,
                                   uint32_t *index)
{
    struct qn_chunk *c = key->tail;

    if (c == NULL)
        return NULL;
    while (c->prev != NULL && qn_chunk_time(g, c, 0) > t)
        c = c->prev;
    uint32_t i = c->count;

    while (i > 0 && qn_chunk_time(g, c, i - 1) > t)
        i--;
    *index = i;
    return c;
}

/* Cursors that pointed behind the cut of chunk c now point into `cut`. */
static void cursors_follow(const struct qn_group *g, struct qn_key *key, const struct qn_chunk *c,
                           uint32_t from, struct qn_chunk *cut)
{
    for (uint32_t k = 0; k < g->boundary_count; k++) {
        const struct qn_boundary *b = &g->boundaries[k];

        if (b->cursor_at == 0)
            continue;
        struct qn_cursor *cu = qn_key_cursor(key, b);

        if (cu->next_us == INT64_MAX || cu->chunk != c || cu->index < from)
            continue;
        if (cut == NULL) {
            cu->index++;
        } else {
            cu->chunk = cut;
            cu->index -= from;
        }
    }
    if (cut != NULL && g->span_count > 0)
        qn_extreme_forget(g, NULL, key, c);
}

/* Moves the events [from, count) of c to the new chunk `cut` right behind it. */
static void chunk_cut(const struct qn_group *g, struct qn_key *key, struct qn_chunk *c,
                      uint32_t from, struct qn_chunk *cut)
{
    uint32_t moved = c->count - from;

    QN_ASSERT(moved <= cut->cap);
    memcpy(qn_chunk_event(g, cut, 0), qn_chunk_event(g, c, from),
           (size_t)moved * g->event_words * 8);
    cut->count = (uint16_t)moved;
    c->count = (uint16_t)from;
    link_behind(key, c, cut);
    cursors_follow(g, key, c, from, cut);
    if (g->extreme_count > 0) {
        qn_extreme_chunk_rebuild(g, c);
        qn_extreme_chunk_rebuild(g, cut);
    }
}

/* Makes room for one event of time t at (*chunk, *index). QN_NOMEM: nothing has changed. */
static qn_status place_open(struct qn_group *g, struct qn_lane *ln, struct qn_key *key, int64_t t,
                            struct qn_chunk **chunk, uint32_t *index)
{
    struct qn_chunk *c = *chunk;
    uint32_t i = *index;
    bool fits = c != NULL && (c->count == 0 || offset_fits(c, t));
    struct qn_chunk *cut = NULL, *fresh = NULL;

    if (fits && c->count == 0)
        c->base_us = t;
    if (fits && c->count < c->cap) {
        if (i < c->count) {
            memmove(qn_chunk_event(g, c, i + 1), qn_chunk_event(g, c, i),
                    (size_t)(c->count - i) * g->event_words * 8);
            cursors_follow(g, key, c, i, NULL);
        }
        return QN_OK;
    }
    if (c != NULL && i > 0 && i < c->count) {
        cut = chunk_new(g, ln, c->bytes, c->base_us);
        if (cut == NULL)
            return QN_NOMEM;
    }
    if (cut == NULL || !fits) {
        fresh = chunk_new(g, ln, chunk_bytes_for(g, key->events), t);
        if (fresh == NULL) {
            if (cut != NULL)
                qn_slab_free(&ln->slab, cut, cut->bytes);
            return QN_NOMEM;
        }
    }
    if (cut != NULL)
        chunk_cut(g, key, c, i, cut);
    if (fresh != NULL) {
        link_behind(key, i == 0 && c != NULL ? c->prev : c, fresh);
        *chunk = fresh;
        *index = 0;
    }
    return QN_OK;
}

/* The sums and cursors learn of an event of time t that now stands at (c, index). */
static void settle(struct qn_group *g, struct qn_key *key, int64_t t, struct qn_chunk *c,
                   uint32_t index, const uint64_t *event)
{
    struct qn_flags lacks = qn_event_lacks(g, event);

    for (uint32_t k = 0; k < g->boundary_count; k++) {
        const struct qn_boundary *b = &g->boundaries[k];

        if (t <= qn_window_back(key->newest_us, b->back_us))
            qn_boundary_add(b, key, event, lacks, false);
        else if (qn_key_cursor(key, b)->next_us == INT64_MAX || t < qn_key_cursor(key, b)->next_us)
            cursor_set(g, b, key, c, index);
    }
    for (uint32_t s = 0; s < g->span_count; s++) {
        const struct qn_span *sp = &g->spans[s];

        if (t > qn_window_back(key->newest_us, g->boundaries[sp->young].back_us))
            continue;
        if (sp->old < 0 || t > qn_window_back(key->newest_us, g->boundaries[sp->old].back_us))
            qn_extreme_join(g, sp, key, c, event, lacks);
    }
}

/* Writes an event of time t at an opened place. */
static void place_fill(struct qn_group *g, struct qn_key *key, int64_t t, struct qn_chunk *c,
                       uint32_t index, uint64_t *event)
{
    event[0] |= (uint64_t)(t - c->base_us) << QN_INLINE_FLAGS;
    uint64_t *to = qn_chunk_event(g, c, index);

    for (uint32_t k = 0; k < g->event_words; k++)
        to[k] = event[k];
    c->count++;
    key->events++;
    if (g->extreme_count > 0)
        qn_extreme_chunk_add(g, c, event, qn_event_lacks(g, event));
}

qn_status qn_ring_append(struct qn_group *g, struct qn_lane *ln, struct qn_key *key, int64_t t,
                         uint64_t *event)
{
    struct qn_chunk *c = key->tail;
    uint32_t index = c == NULL ? 0 : c->count;

    QN_TRY(place_open(g, ln, key, t, &c, &index));
    place_fill(g, key, t, c, index, event);
    return QN_OK;
}

qn_status qn_ring_insert(struct qn_group *g, struct qn_lane *ln, struct qn_key *key, int64_t t,
                         uint64_t *event)
{
    struct qn_chunk *c = NULL;
    uint32_t index = 0;

    if (g->double_arg_count > 0)
        QN_TRY(make_wides(g, ln, key, event));
    if (g->has_ring) {
        if (key->tail != NULL && key->tail->count == key->tail->cap)
            ring_trim(g, ln, key);
        if (t >= key->newest_us &&
            key->tail != NULL) { /* in order: no need to look at the events */
            c = key->tail;
            index = c->count;
        } else {
            c = place_find(g, key, t, &index);
        }
        QN_TRY(place_open(g, ln, key, t, &c, &index));
        place_fill(g, key, t, c, index, event);
    }
    settle(g, key, t, c, index, event);
    return QN_OK;
}

void qn_ring_free(struct qn_group *g, struct qn_lane *ln, struct qn_key *key)
{
    while (key->head != NULL) {
        struct qn_chunk *c = key->head;

        key->head = c->next;
        qn_slab_free(&ln->slab, c, c->bytes);
    }
    key->tail = NULL;
    for (uint32_t i = 0; i < g->boundary_count; i++) {
        const struct qn_boundary *b = &g->boundaries[i];

        for (uint32_t k = 0; k < b->double_ops; k++) {
            struct qn_double_sum *s = (struct qn_double_sum *)((char *)key + b->doubles[k].at);

            qn_slab_free(&ln->slab, s->wide, sizeof *s->wide);
            s->wide = NULL;
        }
    }
}
