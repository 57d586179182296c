/* SPDX-License-Identifier: Apache-2.0
 * dedup.c - ids that were accepted, and when; what repeats one is dead. See dedup.h.
 *
 * Rows are looked up some hundred at a time, so that the tables can fetch ahead, and decided one by
 * one in log order; equal ids of one look share a record, so the first decides for the second.
 *
 * Ids leave as they came: `newest` never falls, so the records of a lane, in order of creation, are
 * in order of time too, and the oldest is looked at first. Where an id was accepted again before it
 * left, or was loaded from a snapshot, the order is broken: then the lane is walked to its end,
 * until a whole walk finds it in order again.
 *
 * An entry of a snapshot: 8 bytes `seen` (below), then the id's bytes; numbers are 8 bytes, all
 * little-endian. An id that is gone leaves no trace in a later snapshot: an older one of the chain
 * may bring it back, as old as it was, and it is forgotten again.
 * Thread: the stepping thread, snapshots too. Memory: state. */
#include "engine/dedup.h"

#include "base/check.h"
#include "base/hash.h"
#include "state/table.h"

#include <endian.h>
#include <stdio.h>

enum {
    LOOK_ROWS = 256,    /* ids of one look                                       */
    FORGET_PER_ROW = 2, /* looks for what is too old; more than can come         */
    LOOK_WORK = 64,     /* what it costs a sweep to pass an id, in bytes copied  */
    ENTRY_FIXED = 8,
    LAYOUT_VERSION = 1
};

/* What is kept of an id. */
struct id {
    uint64_t seen; /* newest event time when it was accepted, as `stamp` makes it; 0 = not yet */
};
_Static_assert(sizeof(struct id) == QN_DEDUP_BYTES, "what quern check says");

struct lane {
    struct qn_table *table;
    uint64_t cursor; /* of the walk that forgets              */
    uint64_t last;   /* `seen` of the id the walk met before  */
    bool is_broken;  /* the order of creation is not the order of time        */
    bool was_broken; /* ... and this walk has seen it             */
};

/* The ids of one stream. */
struct ids {
    const struct qn_schema *schema;
    uint64_t keeps_us, seed;
    struct lane lanes[QN_LANES];
    uint32_t forget_lane;
    struct qn_cut cut;
    struct qn_saver *saver; /* while a snapshot is taken */
    uint32_t sweep_lane, sweep_place;
};

/* Rows that wait to be looked up, in log order. */
struct look {
    uint32_t n;
    uint32_t rows[LOOK_ROWS];
    uint64_t now[LOOK_ROWS]; /* stamp of the newest event time at that row */
    uint64_t numbers[LOOK_ROWS];
    struct qn_str keys[LOOK_ROWS];
    uint64_t hashes[LOOK_ROWS];
    struct qn_table *tables[LOOK_ROWS];
    void *found[LOOK_ROWS];
};

struct qn_dedup {
    uint32_t streams;
    struct ids *of[QN_STREAMS_MAX]; /* by stream; NULL: repeats are events like any other */
    struct look look;
    uint8_t create[LOOK_ROWS]; /* all 1 */
    /* where ids are counted: */
    struct qn_budget *budget;
    uint32_t account[QN_STREAMS_MAX]; /* by stream */
    void **found;                     /* [rows_max] the row's id; NULL: it has none */
    uint64_t *hashes;                 /* [rows_max] of those that have one          */
    uint32_t *unclaimed;              /* [rows_max] scratch                         */
};

/* Event times as numbers that order alike and are never 0. */
static uint64_t stamp(int64_t us)
{
    return (uint64_t)us - (uint64_t)INT64_MIN;
}

/* ---- making ---- */

static qn_status ids_new(const struct qn_schema *schema, uint64_t seed, struct ids **out,
                         struct qn_err *err)
{
    struct ids *s = *out = qn_mem_zalloc(1, sizeof *s);

    if (s == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for the ids of a stream");
    QN_ASSERT(schema->id >= 0);
    s->schema = schema;
    s->keeps_us = (uint64_t)schema->dedup_us;
    s->seed = seed;
    s->cut = QN_CUT_FIRST;
    for (unsigned l = 0; l < QN_LANES; l++)
        QN_TRY(qn_table_new(sizeof(struct id), seed, &s->lanes[l].table, err));
    return QN_OK;
}

static void ids_free(struct ids *s)
{
    for (unsigned l = 0; s != NULL && l < QN_LANES; l++)
        qn_table_free(s->lanes[l].table);
    qn_mem_free(s);
}

qn_status qn_dedup_new(const struct qn_plan *plan, uint64_t seed, struct qn_dedup **out,
                       struct qn_err *err)
{
    uint32_t count = 0;
    struct qn_dedup *d;
    qn_status rc = QN_OK;

    *out = NULL;
    for (uint32_t s = 0; s < plan->schema_count; s++)
        count += plan->schemas[s].dedup_us > 0;
    if (count == 0)
        return QN_OK;
    d = qn_mem_zalloc(1, sizeof *d);
    if (d == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for the ids of a stream");
    memset(d->create, 1, sizeof d->create);
    for (; rc == QN_OK && d->streams < plan->schema_count; d->streams++)
        if (plan->schemas[d->streams].dedup_us > 0)
            rc = ids_new(&plan->schemas[d->streams], seed, &d->of[d->streams], err);
    if (rc != QN_OK) {
        qn_dedup_free(d);
        return rc;
    }
    *out = d;
    return QN_OK;
}

void qn_dedup_free(struct qn_dedup *d)
{
    if (d == NULL)
        return;
    for (uint32_t s = 0; s < QN_STREAMS_MAX; s++)
        ids_free(d->of[s]);
    qn_mem_free(d->found);
    qn_mem_free(d->hashes);
    qn_mem_free(d->unclaimed);
    qn_mem_free(d);
}

uint64_t qn_dedup_ids(const struct qn_dedup *d)
{
    uint64_t n = 0;

    for (uint32_t s = 0; s < QN_STREAMS_MAX; s++)
        for (unsigned l = 0; d->of[s] != NULL && l < QN_LANES; l++)
            n += qn_table_count(d->of[s]->lanes[l].table);
    return n;
}

size_t qn_dedup_bytes(const struct qn_dedup *d)
{
    size_t n = d != NULL ? sizeof *d : 0;

    for (uint32_t s = 0; d != NULL && s < QN_STREAMS_MAX; s++) {
        n += d->of[s] != NULL ? sizeof *d->of[s] : 0;
        for (unsigned l = 0; d->of[s] != NULL && l < QN_LANES; l++)
            n += qn_table_bytes(d->of[s]->lanes[l].table);
    }
    return n;
}

/* ---- saving one ---- */

/* Before an id changes or goes: as it was, where a snapshot wants it. */
static void id_save(struct ids *s, struct id *id)
{
    const struct qn_str key = qn_table_key(id);
    const uint64_t seen = htole64(id->seen);
    char *to;

    if (id->seen == 0 || !qn_cut_wants(&s->cut, *qn_table_mark(id)))
        return;
    to = qn_saver_entry(s->saver, 0, ENTRY_FIXED + key.len);
    if (to == NULL)
        return;
    memcpy(to, &seen, sizeof seen);
    if (key.len > 0)
        memcpy(to + sizeof seen, key.p, key.len);
    qn_saver_unit(s->saver, 0);
}

/* ---- rows ---- */

/* Accepted: the id is remembered as of now. */
static void remember(struct ids *s, struct id *id, uint64_t now)
{
    if (id->seen != 0) { /* too old, but still here: its place is no longer that of its time */
        struct lane *ln = &s->lanes[qn_lane_of(qn_table_hash(id))];

        id_save(s, id);
        ln->is_broken = ln->was_broken = true;
    }
    *qn_table_mark(id) = s->cut.now;
    id->seen = now;
}

static bool is_remembered(const struct ids *s, const struct id *id, uint64_t now)
{
    return id->seen != 0 && now - id->seen <= s->keeps_us;
}

void qn_dedup_refuse(const struct qn_dedup *d, struct qn_batch *b, uint32_t row)
{
    b->verdict[row] = QN_DEAD;
    b->reason[row] = QN_REASON_DUPLICATE;
    b->reason_field[row] = (uint16_t)d->of[b->stream[row]]->schema->id;
}

/* Finds the ids of the rows that wait. */
static qn_status look_up(struct qn_dedup *d, const struct qn_batch *b, struct qn_err *err)
{
    struct look *k = &d->look;
    const uint32_t n = k->n;

    qn_hash_column(k->keys, n, 0, k->hashes);
    for (uint32_t i = 0; i < n; i++)
        k->tables[i] = d->of[b->stream[k->rows[i]]]->lanes[qn_lane_of(k->hashes[i])].table;
    return qn_table_look(k->tables, k->keys, k->hashes, d->create, n, k->found, err);
}

/* Decides the rows that wait, and lets go of them. */
static qn_status decide(struct qn_dedup *d, struct qn_batch *b, struct qn_err *err)
{
    struct look *k = &d->look;

    QN_TRY(look_up(d, b, err));
    for (uint32_t i = 0; i < k->n; i++) {
        struct ids *s = d->of[b->stream[k->rows[i]]];

        if (is_remembered(s, k->found[i], k->now[i]))
            qn_dedup_refuse(d, b, k->rows[i]);
        else
            remember(s, k->found[i], k->now[i]);
    }
    k->n = 0;
    return QN_OK;
}

/* Where the row's id stands; NULL: it has none. */
static const struct qn_col *id_column(const struct qn_dedup *d, const struct qn_batch *b,
                                      uint32_t row)
{
    const struct ids *s = d->of[b->stream[row]];
    const struct qn_col *c =
        s != NULL ? &b->cols[s->schema->first_column + (uint32_t)s->schema->id] : NULL;

    return c != NULL && c->valid[row] ? c : NULL;
}

/* Puts a row with an id behind those that wait. */
static void look_add(struct look *k, const struct qn_col *c, uint32_t row, uint64_t now)
{
    const uint32_t i = k->n++;

    k->rows[i] = row;
    k->now[i] = now;
    if (c->kind.type == QN_STRING) {
        k->keys[i] = c->str[row];
        return;
    }
    k->numbers[i] = htole64((uint64_t)c->i64[row]);
    k->keys[i] = (struct qn_str){(const char *)&k->numbers[i], sizeof k->numbers[i]};
}

/* Looks at so many ids, and frees those that are too old. */
static void forget(struct ids *s, uint64_t now, uint32_t looks)
{
    for (; looks > 0; looks--) {
        struct lane *ln = &s->lanes[s->forget_lane];
        struct qn_str key;
        struct id *id = qn_table_next(ln->table, &ln->cursor, &key);

        if (id != NULL && now - id->seen > s->keeps_us) {
            id_save(s, id); /* an older snapshot may still see it */
            qn_table_remove(ln->table, key, qn_table_hash(id));
        } else if (id != NULL && ln->is_broken) {
            ln->was_broken |= id->seen < ln->last;
            ln->last = id->seen;
        } else { /* the walk is at its end, or all that follow are younger */
            ln->is_broken = ln->was_broken;
            ln->was_broken = false;
            ln->cursor = ln->last = 0;
            s->forget_lane = (s->forget_lane + 1) % QN_LANES;
        }
    }
}

qn_status qn_dedup_run(struct qn_dedup *d, struct qn_batch *b, struct qn_watermark before,
                       struct qn_err *err)
{
    struct qn_watermark w = before;

    for (uint32_t row = 0; row < b->rows; row++) {
        const struct qn_col *c;

        if (qn_contract_moves(b, row) && (!w.seen || b->time_us[row] > w.newest_us))
            w = (struct qn_watermark){true, b->time_us[row]};
        if (b->verdict[row] == QN_DEAD)
            continue;
        c = id_column(d, b, row);
        if (c == NULL)
            continue;
        look_add(&d->look, c, row, stamp(w.newest_us));
        if (d->look.n == LOOK_ROWS)
            QN_TRY(decide(d, b, err));
    }
    QN_TRY(decide(d, b, err));
    for (uint32_t i = 0; w.seen && i < d->streams; i++)
        if (d->of[i] != NULL)
            forget(d->of[i], stamp(w.newest_us), FORGET_PER_ROW * b->rows);
    return QN_OK;
}

/* ---- counted ids ---- */

qn_status qn_dedup_budget(struct qn_dedup *d, uint32_t rows_max, struct qn_budget *budget,
                          uint32_t first, struct qn_err *err)
{
    d->budget = budget;
    d->found = qn_mem_zalloc(rows_max, sizeof *d->found);
    d->hashes = qn_mem_zalloc(rows_max, sizeof *d->hashes);
    d->unclaimed = qn_mem_zalloc(rows_max, sizeof *d->unclaimed);
    if (!d->found || !d->hashes || !d->unclaimed)
        return qn_err_set(err, QN_NOMEM, "no memory for the ids of a batch");
    for (uint32_t s = 0; s < d->streams; s++) {
        if (d->of[s] == NULL)
            continue;
        d->account[s] = first++;
        qn_budget_keep(budget, d->account[s], d->of[s]->schema->dedup_us);
    }
    return QN_OK;
}

/* Notes what was found, and lets go of the rows that waited. */
static qn_status note_found(struct qn_dedup *d, const struct qn_batch *b, struct qn_err *err)
{
    struct look *k = &d->look;

    QN_TRY(look_up(d, b, err));
    for (uint32_t i = 0; i < k->n; i++) {
        d->found[k->rows[i]] = k->found[i];
        d->hashes[k->rows[i]] = k->hashes[i];
    }
    k->n = 0;
    return QN_OK;
}

qn_status qn_dedup_look(struct qn_dedup *d, const struct qn_batch *b, struct qn_err *err)
{
    memset(d->found, 0, b->rows * sizeof *d->found);
    for (uint32_t row = 0; row < b->rows; row++) {
        const struct qn_col *c = b->verdict[row] != QN_DEAD ? id_column(d, b, row) : NULL;

        if (c == NULL)
            continue;
        look_add(&d->look, c, row, 0);
        if (d->look.n == LOOK_ROWS)
            QN_TRY(note_found(d, b, err));
    }
    return note_found(d, b, err);
}

bool qn_dedup_repeats(const struct qn_dedup *d, const struct qn_batch *b, uint32_t row,
                      int64_t newest_us)
{
    return d->found[row] != NULL &&
           is_remembered(d->of[b->stream[row]], d->found[row], stamp(newest_us));
}

static uint64_t id_bytes(const void *id)
{
    return qn_table_key_bytes(sizeof(struct id), qn_table_key(id).len);
}

uint64_t qn_dedup_cost(const struct qn_dedup *d, const struct qn_batch *b, uint32_t row)
{
    (void)b;
    return d->found[row] != NULL ? id_bytes(d->found[row]) : 0;
}

void qn_dedup_take(struct qn_dedup *d, const struct qn_batch *b, uint32_t row, int64_t newest_us)
{
    if (d->found[row] == NULL)
        return;
    remember(d->of[b->stream[row]], d->found[row], stamp(newest_us));
    qn_budget_add(d->budget, d->account[b->stream[row]], newest_us, id_bytes(d->found[row]));
}

/* Ids that nobody has remembered, each once. */
static void remove_unclaimed(struct qn_dedup *d, const struct qn_batch *b)
{
    uint32_t n = 0;

    for (uint32_t row = 0; row < b->rows; row++)
        if (d->found[row] != NULL && ((const struct id *)d->found[row])->seen == 0)
            d->unclaimed[n++] = row;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t row = d->unclaimed[i];
        struct qn_table *table = d->of[b->stream[row]]->lanes[qn_lane_of(d->hashes[row])].table;
        const struct qn_col *c = id_column(d, b, row);
        struct qn_str key;
        uint64_t number;
        void *found;

        if (c->kind.type == QN_STRING) {
            key = c->str[row];
        } else {
            number = htole64((uint64_t)c->i64[row]);
            key = (struct qn_str){(const char *)&number, sizeof number};
        }
        qn_table_find(table, &key, &d->hashes[row], 1, &found);
        if (found != NULL)
            qn_table_remove(table, key, d->hashes[row]);
    }
}

void qn_dedup_end(struct qn_dedup *d, const struct qn_batch *b, int64_t newest_us)
{
    remove_unclaimed(d, b);
    for (uint32_t i = 0; i < d->streams; i++)
        if (d->of[i] != NULL)
            forget(d->of[i], stamp(newest_us), FORGET_PER_ROW * b->rows);
}

void qn_dedup_recount(const struct qn_dedup *d, int64_t newest_us)
{
    for (uint32_t s = 0; s < d->streams; s++)
        for (unsigned l = 0; d->of[s] != NULL && l < QN_LANES; l++) {
            uint32_t place = 0;
            struct id *id;

            while ((id = qn_table_walk(d->of[s]->lanes[l].table, &place, NULL)) != NULL)
                if (is_remembered(d->of[s], id, stamp(newest_us)))
                    qn_budget_add(d->budget, d->account[s],
                                  (int64_t)(id->seen + (uint64_t)INT64_MIN), id_bytes(id));
        }
}

/* ---- as sections of a snapshot ---- */

static void ids_begin(void *st, struct qn_saver *sv, bool is_full)
{
    struct ids *s = st;

    if (qn_cut_begin(&s->cut, is_full))
        for (unsigned l = 0; l < QN_LANES; l++) {
            uint32_t place = 0;
            void *id;

            while ((id = qn_table_walk(s->lanes[l].table, &place, NULL)) != NULL)
                *qn_table_mark(id) &= 1;
        }
    s->saver = sv;
    s->sweep_lane = s->sweep_place = 0;
}

static bool ids_sweep(void *st, size_t *work)
{
    struct ids *s = st;

    while (*work > 0 && s->sweep_lane < QN_LANES) {
        struct id *id = qn_table_walk(s->lanes[s->sweep_lane].table, &s->sweep_place, NULL);

        if (id == NULL) {
            s->sweep_lane++;
            s->sweep_place = 0;
            continue;
        }
        if (qn_cut_unseen(&s->cut, *qn_table_mark(id))) {
            id_save(s, id);
            *qn_table_mark(id) = qn_cut_swept(&s->cut);
        }
        *work -= LOOK_WORK < *work ? LOOK_WORK : *work;
    }
    return s->sweep_lane == QN_LANES;
}

static void ids_end(void *st, bool is_swept)
{
    struct ids *s = st;

    qn_cut_end(&s->cut, is_swept);
    s->saver = NULL;
}

static qn_status ids_load(void *st, const char *entry, uint32_t bytes, struct qn_err *err)
{
    struct ids *s = st;
    const bool is_text = s->schema->fields[s->schema->id].kind.type == QN_STRING;
    struct qn_str key;
    uint64_t hash, seen;
    void *found;

    if (bytes < ENTRY_FIXED || (!is_text && bytes != ENTRY_FIXED + sizeof(int64_t)))
        return qn_err_set(err, QN_CORRUPT, "an entry of ids has not the size of an id");
    memcpy(&seen, entry, sizeof seen);
    seen = le64toh(seen);
    if (seen == 0)
        return qn_err_set(err, QN_CORRUPT, "an entry of ids has no time");
    key = (struct qn_str){entry + ENTRY_FIXED, bytes - ENTRY_FIXED};
    hash = qn_hash(key.p, key.len, 0);
    struct lane *ln = &s->lanes[qn_lane_of(hash)];

    QN_TRY(qn_table_get(ln->table, &key, &hash, 1, &found, err));
    struct id *id = found;

    if (id->seen != 0) /* a newer snapshot of the chain had it */
        return QN_OK;
    id->seen = seen;
    *qn_table_mark(id) = qn_cut_swept(&s->cut);
    ln->is_broken = ln->was_broken = true;
    return QN_OK;
}

static qn_status ids_loaded(void *st, struct qn_err *err)
{
    (void)st;
    (void)err;
    return QN_OK;
}

static qn_status ids_clear(void *st, struct qn_err *err)
{
    struct ids *s = st;

    for (unsigned l = 0; l < QN_LANES; l++) {
        struct lane *ln = &s->lanes[l];

        qn_table_free(ln->table);
        *ln = (struct lane){0};
        QN_TRY(qn_table_new(sizeof(struct id), s->seed, &ln->table, err));
    }
    s->forget_lane = 0;
    return QN_OK;
}

uint32_t qn_dedup_section_count(const struct qn_dedup *d)
{
    uint32_t n = 0;

    for (uint32_t i = 0; d != NULL && i < d->streams; i++)
        n += d->of[i] != NULL;
    return n;
}

static void name_section(struct qn_section *out, struct qn_str stream)
{
    enum { SHOWN = 80 };

    if (stream.len <= SHOWN)
        snprintf(out->name, sizeof out->name, "dedup/%.*s", QN_STR_ARG(stream));
    else
        snprintf(out->name, sizeof out->name, "dedup/%.*s/%016llx", (int)SHOWN, stream.p,
                 (unsigned long long)qn_hash(stream.p, stream.len, 0));
}

/* What decides what an id means, and how long. */
static uint64_t layout_of(const struct qn_schema *schema)
{
    const struct qn_field *f = &schema->fields[schema->id];
    const int64_t words[] = {LAYOUT_VERSION, schema->dedup_us, f->kind.type};
    uint64_t h = qn_hash(words, sizeof words, 0);

    h = qn_hash(f->name.p, f->name.len, h);
    return qn_hash(schema->name.p, schema->name.len, h);
}

void qn_dedup_sections(struct qn_dedup *d, struct qn_section *out)
{
    static const struct qn_section_ops ops = {.begin = ids_begin,
                                              .sweep = ids_sweep,
                                              .end = ids_end,
                                              .load = ids_load,
                                              .loaded = ids_loaded,
                                              .clear = ids_clear};

    for (uint32_t i = 0; d != NULL && i < d->streams; i++) {
        struct ids *s = d->of[i];

        if (s == NULL)
            continue;
        *out = (struct qn_section){.ops = &ops, .st = s, .layout = layout_of(s->schema)};
        name_section(out++, s->schema->name);
    }
}
