/* SPDX-License-Identifier: Apache-2.0
 * window_save.c - the keys of a group as entries of a snapshot. See state/snapshot.h, window_int.h.
 *
 * A key is saved by what it means: its bytes, T, running sums, leasts that no event holds any more,
 * and its events; never a pointer. Cursors, the leasts of chunks and of bounded windows follow from
 * the events and are made again. Little-endian:
 *
 *   KEY                                    RUN, one per chunk, oldest first
 *   off size                               off size
 *     0  1  1                                0  1  2
 *     1  1  1: wide sums follow              1  3  zero
 *     2  1  1: counted no longer             4  4  number of events
 *     3  1  zero
 *     4  4  length of the key                8  8  base time, us
 *     8  4  number of events in the runs    16  ..  events as in the ring: words, the first with
 *    12  4  zero                                    the time less the base (window_int.h)
 *    16  8  T, us
 *    24  .. key; sums, boundary by boundary, the nearest first: counts (8), integers (16), doubles
 *           (32 and 8 of zero); with wide sums: 296 per double sum; per min or max over all: least
 *           and rest (8 + 8)
 *
 * A key that is freed because nobody on time can see it leaves no trace in a snapshot, not even in
 * the one that is being taken: since the cut no row has named it, or it would have been saved, and
 * the next that does is behind all its events. An older snapshot of the chain may bring it back,
 * and its events are out of every window again. Thread: touch, the lane's worker; all else, the
 * engine's, between batches. */
#include "feature/window_int.h"

#include "base/check.h"
#include "base/hash.h"

#include <string.h>

enum {
    ENTRY_KEY = 1,
    ENTRY_RUN = 2,
    KEY_FIXED = 24,
    RUN_FIXED = 16,
    LASTING_BYTES = 16,
    LOOK_WORK = 64 /* what it costs to pass a key, in bytes copied */
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they lie");

/* What an entry begins with. */
struct key_head {
    uint8_t kind, has_wides, is_passed, zero;
    uint32_t key_len, events, zero2;
    int64_t newest_us;
};
struct run_head {
    uint8_t kind, zero[3];
    uint32_t count;
    int64_t base_us;
};
_Static_assert(sizeof(struct key_head) == KEY_FIXED, "the format");
_Static_assert(sizeof(struct run_head) == RUN_FIXED, "the format");

static bool span_lasts(const struct qn_span *s)
{
    return s->old < 0;
}

static uint32_t lasting_count(const struct qn_group *g)
{
    uint32_t n = 0;

    for (uint32_t k = 0; k < g->span_count; k++)
        n += span_lasts(&g->spans[k]);
    return n;
}

/* Bytes of a KEY entry. */
static size_t key_entry_bytes(const struct qn_group *g, uint32_t key_len, bool has_wides)
{
    return KEY_FIXED + (size_t)key_len + (g->leasts_at - g->sums_at) +
           (has_wides ? g->double_count * sizeof(struct qn_exact_wide) : 0) +
           (size_t)lasting_count(g) * LASTING_BYTES;
}

static struct qn_double_sum *double_sum(const struct qn_boundary *b, uint32_t k, void *rec)
{
    return (struct qn_double_sum *)((char *)rec + b->doubles[k].at);
}

/* All double sums of a key have a wide one, or none has. */
static bool key_has_wides(const struct qn_group *g, struct qn_key *key)
{
    for (uint32_t i = 0; i < g->boundary_count; i++)
        if (g->boundaries[i].double_ops > 0)
            return double_sum(&g->boundaries[i], 0, key)->wide != NULL;
    return false;
}

/* ---- saving ---- */

static char *put(char *to, const void *p, size_t bytes)
{
    memcpy(to, p, bytes);
    return to + bytes;
}

/* The sums as they lie, but for the pointers among them. */
static char *put_sums(const struct qn_group *g, char *rec, bool has_wides, char *to)
{
    char *sums = to;

    to = put(to, rec + g->sums_at, g->leasts_at - g->sums_at);
    if (g->double_count == 0)
        return to;
    for (uint32_t i = 0; i < g->boundary_count; i++) {
        const struct qn_boundary *b = &g->boundaries[i];

        for (uint32_t k = 0; k < b->double_ops; k++) {
            memset(sums + (b->doubles[k].at - g->sums_at) + offsetof(struct qn_double_sum, wide), 0,
                   sizeof(void *));
            if (has_wides)
                to = put(to, double_sum(b, k, rec)->wide, sizeof(struct qn_exact_wide));
        }
    }
    return to;
}

static bool save_head(struct qn_group *g, struct qn_key *key, uint32_t worker)
{
    struct qn_str bytes = qn_table_key(key);
    struct key_head head = {.kind = ENTRY_KEY,
                            .has_wides = key_has_wides(g, key),
                            .is_passed = qn_key_held_us(g, key) != key->newest_us,
                            .key_len = bytes.len,
                            .events = key->events,
                            .newest_us = key->newest_us};
    size_t size = key_entry_bytes(g, bytes.len, head.has_wides);
    char *to = qn_saver_entry(g->save.saver, worker, (uint32_t)size);

    if (to == NULL)
        return false;
    to = put(to, &head, sizeof head);
    if (bytes.len > 0)
        to = put(to, bytes.p, bytes.len);
    to = put_sums(g, (char *)key, head.has_wides, to);
    for (uint32_t k = 0; k < g->span_count; k++) {
        const struct qn_least *l = (const struct qn_least *)((char *)key + g->spans[k].at);

        if (!span_lasts(&g->spans[k]))
            continue;
        to = put(to, &l->least, sizeof l->least);
        to = put(to, &l->rest, sizeof l->rest);
    }
    return true;
}

/* Saves a key as it is. Returns the bytes it took, for the sweep. */
static size_t key_save(struct qn_group *g, struct qn_key *key, uint32_t worker)
{
    size_t event_bytes = (size_t)g->event_words * 8;

    if (!save_head(g, key, worker))
        return 0;
    for (const struct qn_chunk *c = key->head; c != NULL; c = c->next) {
        struct run_head head = {.kind = ENTRY_RUN, .count = c->count, .base_us = c->base_us};
        char *to;

        if (c->count == 0)
            continue;
        to =
            qn_saver_entry(g->save.saver, worker, (uint32_t)(sizeof head + c->count * event_bytes));
        if (to == NULL)
            return 0;
        to = put(to, &head, sizeof head);
        put(to, qn_chunk_event(g, c, 0), c->count * event_bytes);
    }
    qn_saver_unit(g->save.saver, worker);
    return KEY_FIXED + (g->leasts_at - g->sums_at) + key->events * event_bytes;
}

void qn_group_touch(struct qn_group *g, struct qn_key *key, uint32_t worker)
{
    if (key->has_begun && qn_cut_wants(&g->save.cut, key->mark))
        key_save(g, key, worker);
    key->mark = g->save.cut.now;
}

/* Every mark, where their numbers begin anew. */
static void marks_restart(struct qn_group *g)
{
    for (unsigned l = 0; l < QN_LANES; l++) {
        uint32_t place = 0;
        struct qn_key *key;

        while ((key = qn_table_walk(g->lanes[l].table, &place, NULL)) != NULL)
            key->mark &= 1;
    }
}

static void group_begin(void *st, struct qn_saver *sv, bool is_full)
{
    struct qn_group *g = st;

    if (qn_cut_begin(&g->save.cut, is_full))
        marks_restart(g);
    g->save.saver = sv;
    g->save.lane = g->save.place = 0;
}

static bool group_sweep(void *st, size_t *work)
{
    struct qn_group *g = st;
    struct qn_group_save *s = &g->save;

    while (*work > 0 && s->lane < QN_LANES) {
        struct qn_key *key = qn_table_walk(g->lanes[s->lane].table, &s->place, NULL);
        size_t cost = LOOK_WORK;

        if (key == NULL) {
            s->lane++;
            s->place = 0;
            continue;
        }
        if (qn_cut_unseen(&s->cut, key->mark)) {
            if (key->has_begun && qn_cut_wants(&s->cut, key->mark))
                cost += key_save(g, key, 0);
            key->mark = qn_cut_swept(&s->cut);
        }
        *work -= cost < *work ? cost : *work;
    }
    return s->lane == QN_LANES;
}

static void group_end(void *st, bool is_swept)
{
    struct qn_group *g = st;

    qn_cut_end(&g->save.cut, is_swept);
    g->save.saver = NULL;
}

/* ---- loading ---- */

static qn_status corrupt(struct qn_err *err, const char *what)
{
    return qn_err_set(err, QN_CORRUPT, "an entry of windows %s", what);
}

/* Sums and leasts of a new key. After an error it can be freed like any other. */
static qn_status load_record(struct qn_group *g, struct qn_lane *ln, struct qn_key *key,
                             const char *from, bool has_wides, struct qn_err *err)
{
    char *rec = (char *)key;

    memcpy(rec + g->sums_at, from, g->leasts_at - g->sums_at);
    from += g->leasts_at - g->sums_at;
    for (uint32_t i = 0; i < g->boundary_count; i++) {
        const struct qn_boundary *b = &g->boundaries[i];

        if (b->cursor_at != 0)
            qn_key_cursor(rec, b)->next_us = INT64_MAX;
        for (uint32_t k = 0; k < b->double_ops; k++)
            double_sum(b, k, rec)->wide = NULL;
    }
    for (uint32_t i = 0; i < g->boundary_count && has_wides; i++) {
        const struct qn_boundary *b = &g->boundaries[i];

        for (uint32_t k = 0; k < b->double_ops; k++) {
            struct qn_double_sum *s = double_sum(b, k, rec);

            s->wide = qn_slab_alloc(&ln->slab, sizeof *s->wide);
            if (s->wide == NULL)
                return qn_err_set(err, QN_NOMEM, "no memory for one more key");
            memcpy(s->wide, from, sizeof *s->wide);
            from += sizeof *s->wide;
        }
    }
    for (uint32_t k = 0; k < g->span_count; k++) {
        struct qn_least *l = (struct qn_least *)(rec + g->spans[k].at);

        *l = (struct qn_least){INT64_MAX, INT64_MAX, NULL, 1}; /* to be found when it is read */
        if (!span_lasts(&g->spans[k]))
            continue;
        memcpy(&l->least, from, sizeof l->least);
        memcpy(&l->rest, from + sizeof l->least, sizeof l->rest);
        l->is_stale = 0;
        from += LASTING_BYTES;
    }
    return QN_OK;
}

static qn_status load_key(struct qn_group *g, const char *entry, uint32_t bytes, struct qn_err *err)
{
    struct qn_group_save *s = &g->save;
    struct key_head head;
    struct qn_str text;
    void *rec;

    if (bytes < sizeof head)
        return corrupt(err, "is cut short");
    memcpy(&head, entry, sizeof head);
    text = (struct qn_str){entry + sizeof head, head.key_len};
    if (s->events_left > 0)
        return corrupt(err, "comes where events of the key before it are missing");
    if (head.has_wides > (g->double_count > 0) ||
        bytes != key_entry_bytes(g, head.key_len, head.has_wides))
        return corrupt(err, "has not the size of a key");
    if (head.events > 0 && !g->has_ring)
        return corrupt(err, "has events where none are kept");
    uint64_t hash = qn_hash(text.p, text.len, 0);
    struct qn_lane *ln = &g->lanes[qn_lane_of(hash)];

    QN_TRY(qn_table_get(ln->table, &text, &hash, 1, &rec, err));
    struct qn_key *key = rec;

    s->events_left = head.events;
    s->key = NULL;
    if (key->has_begun) /* a newer snapshot of the chain had it */
        return QN_OK;
    key->newest_us = head.newest_us;
    key->has_begun = true;
    key->mark = qn_cut_swept(&s->cut);
    if (g->counted_at != 0 && !head.is_passed)
        *qn_key_counted(g, key) = qn_counted_stamp(head.newest_us);
    s->key = key;
    s->key_lane = ln;
    s->boundaries_left = g->boundary_count;
    return load_record(g, ln, key, text.p + text.len, head.has_wides, err);
}

/* The event at the end of the ring is the first that the boundaries from the furthest on have not
 * passed. */
static void cursors_meet(struct qn_group *g, int64_t t)
{
    struct qn_group_save *s = &g->save;
    struct qn_key *key = s->key;

    for (; s->boundaries_left > 0; s->boundaries_left--) {
        const struct qn_boundary *b = &g->boundaries[s->boundaries_left - 1];

        if (t <= qn_window_back(key->newest_us, b->back_us))
            return;
        *qn_key_cursor(key, b) =
            (struct qn_cursor){.chunk = key->tail, .next_us = t, .index = key->tail->count - 1u};
    }
}

static qn_status load_run(struct qn_group *g, const char *entry, uint32_t bytes, struct qn_err *err)
{
    struct qn_group_save *s = &g->save;
    struct qn_key *key = s->key;
    struct run_head head;

    if (bytes < sizeof head)
        return corrupt(err, "is cut short");
    memcpy(&head, entry, sizeof head);
    if (head.count == 0 || head.count > s->events_left)
        return corrupt(err, "has more events than its key");
    if (bytes != sizeof head + (size_t)head.count * g->event_words * 8)
        return corrupt(err, "has not the size of its events");
    s->events_left -= head.count;
    entry += sizeof head;
    for (uint32_t i = 0; key != NULL && i < head.count; i++, entry += (size_t)g->event_words * 8) {
        uint64_t event[QN_EVENT_WORDS_MAX];
        int64_t t;

        memcpy(event, entry, (size_t)g->event_words * 8);
        if (__builtin_add_overflow(head.base_us, (int64_t)event[0] >> QN_INLINE_FLAGS, &t) ||
            t > key->newest_us ||
            (key->tail != NULL && t < qn_chunk_time(g, key->tail, key->tail->count - 1u)))
            return corrupt(err, "has events out of order");
        event[0] &= ((uint64_t)1 << QN_INLINE_FLAGS) - 1;
        if (qn_ring_append(g, s->key_lane, key, t, event) != QN_OK)
            return qn_err_set(err, QN_NOMEM, "no memory for one more event of a key");
        cursors_meet(g, t);
    }
    return QN_OK;
}

static qn_status group_load(void *st, const char *entry, uint32_t bytes, struct qn_err *err)
{
    if (bytes > 0 && entry[0] == ENTRY_KEY)
        return load_key(st, entry, bytes, err);
    if (bytes > 0 && entry[0] == ENTRY_RUN)
        return load_run(st, entry, bytes, err);
    return corrupt(err, "is of an unknown kind");
}

static qn_status group_loaded(void *st, struct qn_err *err)
{
    const struct qn_group *g = st;

    return g->save.events_left > 0 ? corrupt(err, "lacks events") : QN_OK;
}

static qn_status group_clear(void *st, struct qn_err *err)
{
    struct qn_group *g = st;

    for (unsigned l = 0; l < QN_LANES; l++) {
        struct qn_lane *ln = &g->lanes[l];

        qn_group_lane_free(g, ln);
        QN_TRY(qn_table_new(g->record_bytes, g->seed, &ln->table, err));
    }
    g->save = (struct qn_group_save){.cut = g->save.cut};
    g->expire_lane = 0;
    g->expire_keys = UINT64_MAX; /* what is restored is not new */
    return QN_OK;
}

struct qn_section qn_group_section(struct qn_group *g)
{
    static const struct qn_section_ops ops = {.begin = group_begin,
                                              .sweep = group_sweep,
                                              .end = group_end,
                                              .load = group_load,
                                              .loaded = group_loaded,
                                              .clear = group_clear};

    return (struct qn_section){.ops = &ops, .st = g};
}
