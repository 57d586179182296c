/* SPDX-License-Identifier: Apache-2.0
 * window.c - runs waves over the keys of a group, and lets go of keys nobody can see any more. See
 * window.h.
 *
 * Per worker: collect its rows in log order, look up their keys 32 at a time, ask for the memory
 * that the boundaries will touch, then update and read row by row. A row's own event joins between
 * the windows that exclude it and those that hold it. Thread: one worker per lane. Memory: keys and
 * rings in the lane, scratch in the batch arena. */
#include "feature/window_int.h"

#include "base/check.h"

#include <string.h>

enum {
    LINE = 64,
    EXPIRE_ROWS_PER_KEY = 8, /* one key is looked at per so many rows,  */
    EXPIRE_KEYS_PER_NEW = 4  /* and so many for each that is new: else a
                                stream of new keys runs away from it    */
};

void qn_group_lane_free(struct qn_group *g, struct qn_lane *ln)
{
    uint64_t cursor = 0;
    struct qn_key *key;

    while (ln->table != NULL && (key = qn_table_next(ln->table, &cursor, NULL)) != NULL)
        qn_ring_free(g, ln, key);
    qn_table_free(ln->table);
    qn_slab_fini(&ln->slab);
    ln->table = NULL;
    ln->expire_cursor = 0;
}

void qn_group_free(struct qn_group *g)
{
    if (g == NULL)
        return;
    for (unsigned l = 0; l < QN_LANES; l++)
        qn_group_lane_free(g, &g->lanes[l]);
    qn_arena_fini(&g->arena);
    qn_mem_free(g);
}

/* The row's event as the ring keeps it, without the time. */
static void event_build(const struct qn_group *g, const struct qn_wave *w, uint32_t row,
                        uint64_t *e)
{
    uint64_t flags[2] = {0, 0};

    for (uint32_t k = 0; k < g->event_words; k++)
        e[k] = 0;
    for (uint32_t a = 0; a < g->arg_count; a++) {
        const struct qn_col *c = w->args[a];

        if (!c->valid[row])
            continue;
        flags[0] |= (uint64_t)1 << a;
        if (g->arg_word[a] == 0)
            flags[0] |= (uint64_t)(c->i64[row] != 0) << g->truth_bit[a];
        else if (g->args[a].type == QN_DOUBLE)
            memcpy(&e[g->arg_word[a]], &c->f64[row], sizeof *e);
        else
            e[g->arg_word[a]] = (uint64_t)c->i64[row];
    }
    for (uint32_t k = 0; k < g->where_count; k++) {
        uint32_t bit = g->where_bit + k;

        flags[bit / 64] |= (uint64_t)(w->wheres[k][row] != 0) << (bit % 64);
    }
    if (g->ext_words == 0)
        e[0] = flags[0];
    for (uint32_t k = 0; k < g->ext_words; k++)
        e[1 + k] = flags[k];
}

static void key_begin(const struct qn_group *g, struct qn_key *key, int64_t t)
{
    key->newest_us = t;
    key->has_begun = true;
    for (uint32_t k = 0; k < g->boundary_count; k++) {
        if (g->boundaries[k].cursor_at != 0)
            qn_key_cursor(key, &g->boundaries[k])->next_us = INT64_MAX;
    }
    for (uint32_t k = 0; k < g->span_count; k++) {
        struct qn_least *l = (struct qn_least *)((char *)key + g->spans[k].at);

        l->least = l->rest = INT64_MAX;
    }
}

/* One row, T being at least its time: update, then read. */
static qn_status row_run(struct qn_group *g, const struct qn_ahead *a, const struct qn_wave *w,
                         struct qn_late_view *late, struct qn_err *err)
{
    uint64_t event[QN_EVENT_WORDS_MAX];
    struct qn_key *key = a->key;
    uint32_t row = a->row;
    int64_t t = a->time_us;
    bool reads = (w->role[row] & QN_ROLE_READ) != 0;
    bool updates = (w->role[row] & QN_ROLE_UPDATE) != 0;

    if (reads)
        QN_TRY(qn_read_windows(g, key, t, g->before, g->before_count, late, w, row, err));
    if (updates && !key->has_begun)
        key_begin(g, key, t);
    if (updates && (t >= key->newest_us || w->floor_us != NULL ||
                    (uint64_t)key->newest_us - (uint64_t)t <= (uint64_t)g->keep_us)) {
        event_build(g, w, row, event);
        if (qn_ring_insert(g, a->lane, key, t, event) != QN_OK)
            return qn_err_set(err, QN_NOMEM, "no memory for one more event of a key");
    }
    if (reads)
        return qn_read_windows(g, key, t, g->after, g->after_count, late, w, row, err);
    return QN_OK;
}

/* Asks for the lines of a record behind its first. */
static void record_ahead(const struct qn_group *g, const struct qn_key *key)
{
    for (uint32_t at = 0; at < g->record_bytes; at += LINE)
        __builtin_prefetch((const char *)key + at, 1);
}

/* Asks for the ring's lines that a row of time t will touch. Where a boundary has nothing to pass
 * it asks for the record again instead: no branch that a processor would have to guess. */
static void ring_ahead(const struct qn_group *g, const struct qn_key *key, int64_t t)
{
    __builtin_prefetch(key->tail, 1);
    for (uint32_t k = 0; k < g->boundary_count; k++) {
        const struct qn_boundary *b = &g->boundaries[k];
        const struct qn_cursor *cu = (const struct qn_cursor *)((const char *)key + b->cursor_at);
        uintptr_t none = (uintptr_t)key;
        uintptr_t is_due =
            -(uintptr_t)((b->cursor_at != 0) & (cu->next_us <= qn_window_back(t, b->back_us)));
        uintptr_t chunk = (uintptr_t)cu->chunk;
        uintptr_t event = chunk + g->chunk_head_bytes + (uintptr_t)cu->index * g->event_words * 8;

        __builtin_prefetch((const void *)(none ^ ((none ^ chunk) & is_due)));
        __builtin_prefetch((const void *)(none ^ ((none ^ event) & is_due)));
    }
}

/* Rows of different keys: all move on, then each in turn updates and reads. */
static qn_status rows_turn(struct qn_group *g, const struct qn_wave *w, struct qn_ahead *rows,
                           uint32_t n, struct qn_late_view *late, struct qn_err *err)
{
    for (uint32_t k = 0; k < n; k++) {
        struct qn_key *key = rows[k].key;

        rows[k].moves = key != NULL && key->has_begun && rows[k].time_us > key->newest_us;
        if (key != NULL)
            key->is_ahead = false;
        if (w->floor_us != NULL)
            rows[k].lane->floor_us = w->floor_us[rows[0].row]; /* the lowest of them */
    }
    if (g->boundary_count > 0)
        qn_ring_advance(g, rows, n);
    for (uint32_t k = 0; k < n; k++)
        QN_TRY(row_run(g, &rows[k], w, late, err));
    return QN_OK;
}

/* The records of some rows' keys, made where the row is an event of the source. */
static qn_status rows_look(struct qn_group *g, const struct qn_wave *w, const uint32_t *rows,
                           uint32_t n, void **recs, struct qn_err *err)
{
    struct qn_table *tables[QN_ROWS_AHEAD];
    struct qn_str keys[QN_ROWS_AHEAD];
    uint64_t hashes[QN_ROWS_AHEAD];
    uint8_t creates[QN_ROWS_AHEAD];

    QN_ASSERT(n > 0 && n <= QN_ROWS_AHEAD);
    for (uint32_t k = 0; k < n; k++) {
        hashes[k] = w->hash[rows[k]];
        tables[k] = g->lanes[qn_lane_of(hashes[k])].table;
        keys[k] = w->key[rows[k]];
        creates[k] = (w->role[rows[k]] & QN_ROLE_UPDATE) != 0;
    }
    return qn_table_look(tables, keys, hashes, creates, n, recs, err);
}

static qn_status rows_run(struct qn_group *g, const struct qn_wave *w, const uint32_t *rows,
                          uint32_t n, struct qn_late_view *late, uint32_t worker,
                          struct qn_err *err)
{
    void *recs[QN_ROWS_AHEAD];
    struct qn_ahead ahead[QN_ROWS_AHEAD];
    uint32_t first = 0;

    if (w->recs == NULL)
        QN_TRY(rows_look(g, w, rows, n, recs, err));
    for (uint32_t k = 0; w->recs != NULL && k < n; k++)
        recs[k] = w->recs[rows[k]];
    for (uint32_t k = 0; k < n; k++) {
        ahead[k] = (struct qn_ahead){.lane = &g->lanes[qn_lane_of(w->hash[rows[k]])],
                                     .key = recs[k],
                                     .time_us = w->time_us[rows[k]],
                                     .row = rows[k]};
        if (recs[k] != NULL)
            record_ahead(g, recs[k]);
    }
    for (uint32_t k = 0; k < n; k++) {
        if (ahead[k].key != NULL)
            ring_ahead(g, ahead[k].key, ahead[k].time_us);
    }
    /* a key's second row waits until the first has had its turn */
    for (uint32_t k = 0; k < n; k++) {
        struct qn_key *key = ahead[k].key;

        if (key == NULL)
            continue;
        if (__builtin_expect(key->mark != g->save.cut.now, 0))
            qn_group_touch(g, key, worker);
        if (key->is_ahead) {
            QN_TRY(rows_turn(g, w, ahead + first, k - first, late, err));
            first = k;
        }
        key->is_ahead = true;
    }
    return rows_turn(g, w, ahead + first, n - first, late, err);
}

static qn_status late_view_init(const struct qn_group *g, struct qn_late_view *v,
                                struct qn_arena *arena)
{
    *v = (struct qn_late_view){.arena = arena};
    v->rec = qn_arena_alloc(arena, g->record_bytes);
    v->chunk = QN_NEW_N(arena, struct qn_chunk *, g->boundary_count + 1);
    v->index = QN_NEW_N(arena, uint32_t, g->boundary_count + 1);
    return v->rec == NULL || v->chunk == NULL || v->index == NULL ? QN_NOMEM : QN_OK;
}

qn_status qn_group_run(struct qn_group *g, const struct qn_wave *w, uint32_t worker,
                       uint32_t workers, struct qn_arena *arena, struct qn_err *err)
{
    bool is_mine[QN_LANES];
    struct qn_late_view late;
    uint32_t *rows = qn_arena_alloc(arena, ((size_t)w->rows + 1) * sizeof *rows);
    uint32_t n = 0;

    QN_ASSERT(worker < workers);
    if (rows == NULL || late_view_init(g, &late, arena) != QN_OK)
        return qn_err_set(err, QN_NOMEM, "no memory for a wave of %u rows", w->rows);
    for (unsigned l = 0; l < QN_LANES; l++)
        is_mine[l] = l % workers == worker;
    for (uint32_t i = 0; i < w->rows; i++) {
        rows[n] = i;
        n += w->role[i] != 0 && is_mine[qn_lane_of(w->hash[i])];
    }
    for (uint32_t at = 0; at < n; at += QN_ROWS_AHEAD) {
        uint32_t some = n - at < QN_ROWS_AHEAD ? n - at : QN_ROWS_AHEAD;

        QN_TRY(rows_run(g, w, rows + at, some, &late, worker, err));
    }
    return QN_OK;
}

qn_status qn_group_find(struct qn_group *g, const struct qn_wave *w, uint32_t worker,
                        uint32_t workers, struct qn_err *err)
{
    uint32_t rows[QN_ROWS_AHEAD], n = 0;
    void *recs[QN_ROWS_AHEAD];

    QN_ASSERT(worker < workers);
    for (uint32_t i = 0; i < w->rows; i++) {
        if (qn_lane_of(w->hash[i]) % workers != worker)
            continue;
        w->recs[i] = NULL;
        if (w->role[i] == 0)
            continue;
        rows[n++] = i;
        if (n < QN_ROWS_AHEAD)
            continue;
        QN_TRY(rows_look(g, w, rows, n, recs, err));
        while (n > 0) {
            n--;
            w->recs[rows[n]] = recs[n];
        }
    }
    if (n > 0)
        QN_TRY(rows_look(g, w, rows, n, recs, err));
    while (n > 0) {
        n--;
        w->recs[rows[n]] = recs[n];
    }
    return QN_OK;
}

qn_status qn_group_look(struct qn_group *g, struct qn_str key, uint64_t hash,
                        struct qn_col *const *out, int64_t *newest_us, struct qn_err *err)
{
    const struct qn_wave w = {.rows = 1, .out = out};
    struct qn_key *rec;
    void *found;

    qn_table_find(g->lanes[qn_lane_of(hash)].table, &key, &hash, 1, &found);
    rec = found;
    if (rec == NULL || !rec->has_begun)
        return qn_err_set(err, QN_NOT_FOUND, "no event of this key is held");
    *newest_us = rec->newest_us;
    QN_TRY(qn_read_windows(g, rec, rec->newest_us, g->before, g->before_count, NULL, &w, 0, err));
    return qn_read_windows(g, rec, rec->newest_us, g->after, g->after_count, NULL, &w, 0, err);
}

void qn_group_expire(struct qn_group *g, int64_t watermark_us, uint32_t rows)
{
    int64_t dead_us = qn_window_back(watermark_us, g->keep_us);
    uint64_t keys, looks;

    if (g->is_unbounded)
        return;
    keys = qn_group_keys(g);
    looks = rows / EXPIRE_ROWS_PER_KEY + 1;
    if (keys > g->expire_keys)
        looks += EXPIRE_KEYS_PER_NEW * (keys - g->expire_keys);
    for (; looks > 0; looks--) {
        struct qn_lane *ln = &g->lanes[g->expire_lane];
        struct qn_str key_bytes;
        struct qn_key *key = qn_table_next(ln->table, &ln->expire_cursor, &key_bytes);

        if (key == NULL) {
            ln->expire_cursor = 0;
            g->expire_lane = (g->expire_lane + 1) % QN_LANES;
            continue;
        }
        if (!key->has_begun || qn_key_held_us(g, key) < dead_us) {
            qn_ring_free(g, ln, key);
            qn_table_remove(ln->table, key_bytes, qn_table_hash(key));
            keys--;
        }
    }
    g->expire_keys = keys;
}

uint64_t qn_group_keys(const struct qn_group *g)
{
    uint64_t n = 0;

    for (unsigned l = 0; l < QN_LANES; l++)
        n += qn_table_count(g->lanes[l].table);
    return n;
}

size_t qn_group_bytes(const struct qn_group *g)
{
    size_t bytes = sizeof *g + g->arena.total_bytes;

    for (unsigned l = 0; l < QN_LANES; l++)
        bytes += qn_table_bytes(g->lanes[l].table) + g->lanes[l].slab.used_bytes;
    return bytes;
}
