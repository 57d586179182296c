/* SPDX-License-Identifier: Apache-2.0
 * test_snapshot.c - snapshots of a section that is easy to know by heart: their course, chains,
 * pruning, and every way in which a store can fail, lose power, or give back other bytes.
 *
 * The section is a table of numbers. The twin is a copy of it at every cut: what is restored must
 * be the copy of the position it claims, or nothing at all. QUERN_SEED chooses another course. */
#include "../log/log_disk.h"
#include "../seed.h"
#include "memory_store.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { CELLS = 40, CUTS = 4000, WORKERS = 2 };

/* ---- the section ---- */

struct cell {
    uint64_t value; /* 0: the cell is not there */
    uint16_t mark;
};

struct table {
    struct cell cells[CELLS];
    struct qn_cut cut;
    struct qn_saver *sv;
    uint32_t at, entry_bytes; /* an entry is so long */
    uint64_t saves;
};

struct entry {
    uint32_t index, zero;
    uint64_t value;
};

static void table_save(struct table *t, uint32_t i, unsigned worker)
{
    struct entry e = {i, 0, t->cells[i].value};
    char *to = qn_saver_entry(t->sv, worker, t->entry_bytes);

    t->saves++;
    if (to == NULL)
        return;
    memset(to, (int)i, t->entry_bytes);
    memcpy(to, &e, sizeof e);
    qn_saver_unit(t->sv, worker);
}

static void table_set(struct table *t, uint32_t i, uint64_t value)
{
    struct cell *c = &t->cells[i];

    if (c->mark != t->cut.now) {
        if (c->value != 0 && qn_cut_wants(&t->cut, c->mark))
            table_save(t, i, i % WORKERS);
        c->mark = t->cut.now;
    }
    c->value = value;
}

static void table_begin(void *st, struct qn_saver *sv, bool is_full)
{
    struct table *t = st;

    assert_false(qn_cut_begin(&t->cut, is_full));
    t->sv = sv;
    t->at = 0;
}

static bool table_sweep(void *st, size_t *work)
{
    struct table *t = st;

    for (; *work > 0 && t->at < CELLS; t->at++) {
        struct cell *c = &t->cells[t->at];

        if (qn_cut_unseen(&t->cut, c->mark)) {
            if (c->value != 0 && qn_cut_wants(&t->cut, c->mark))
                table_save(t, t->at, 0);
            c->mark = qn_cut_swept(&t->cut);
        }
        *work -= *work < 64 ? *work : 64;
    }
    return t->at == CELLS;
}

static void table_end(void *st, bool is_swept)
{
    struct table *t = st;

    qn_cut_end(&t->cut, is_swept);
    t->sv = NULL;
}

static qn_status table_load(void *st, const char *p, uint32_t bytes, struct qn_err *err)
{
    struct table *t = st;
    struct entry e;

    if (bytes < sizeof e || bytes != t->entry_bytes)
        return qn_err_set(err, QN_CORRUPT, "an entry of another size");
    memcpy(&e, p, sizeof e);
    if (e.index >= CELLS || e.value == 0)
        return qn_err_set(err, QN_CORRUPT, "an entry that cannot be");
    for (uint32_t i = sizeof e; i < bytes; i++)
        assert_true(p[i] == (char)e.index);
    if (t->cells[e.index].value == 0)
        t->cells[e.index] = (struct cell){e.value, qn_cut_swept(&t->cut)};
    return QN_OK;
}

static qn_status table_loaded(void *st, struct qn_err *err)
{
    (void)st;
    (void)err;
    return QN_OK;
}

static qn_status table_clear(void *st, struct qn_err *err)
{
    struct table *t = st;

    (void)err;
    memset(t->cells, 0, sizeof t->cells);
    return QN_OK;
}

static const struct qn_section_ops table_ops = {.begin = table_begin,
                                                .sweep = table_sweep,
                                                .end = table_end,
                                                .load = table_load,
                                                .loaded = table_loaded,
                                                .clear = table_clear};

/* ---- a life with it ---- */

struct life {
    struct qn_rng r;
    struct qn_snapshot_store store;
    struct table table;
    struct qn_snapshots *sn;
    uint64_t position;            /* cuts so far: the log                                  */
    uint64_t copies[CUTS][CELLS]; /* values at cut i                                       */
    uint64_t durable;             /* greatest position whose snapshot was acknowledged     */
    unsigned reports;
    uint64_t first_number;
    char why[512];
};

static struct life *life_new(uint64_t seed)
{
    struct life *l = calloc(1, sizeof *l);

    assert_non_null(l);
    qn_rng_seed(&l->r, seed);
    return l;
}

static void life_report(void *arg, uint64_t number, const struct qn_err *why)
{
    struct life *l = arg;

    assert_true(number > 0);
    assert_true(why->code != QN_OK);
    assert_true(why->text[0] != '\0');
    l->reports++;
    snprintf(l->why, sizeof l->why, "%s", why->text);
}

static qn_status life_open(struct life *l, struct qn_err *err)
{
    struct qn_section section = {&table_ops, &l->table, "numbers", 17};
    struct qn_snapshots_options opt = {.store = &l->store,
                                       .sections = &section,
                                       .section_count = 1,
                                       .workers = WORKERS,
                                       .pack_bytes = 300,
                                       .first_number = l->first_number};

    memset(&l->table, 0, sizeof l->table);
    l->table.cut = QN_CUT_FIRST;
    l->table.entry_bytes = 24;
    return qn_snapshots_new(&opt, &l->sn, err);
}

/* Restores; what comes back must be a copy. Returns the position. */
static uint64_t life_restore(struct life *l)
{
    struct qn_snapshot_choice how = {.report = life_report, .arg = l};
    struct qn_snapshot_info got;

    l->reports = 0;
    assert_int_equal(qn_snapshots_restore(l->sn, &how, &got, NULL), QN_OK);
    assert_true(got.position <= l->position);
    if (got.number > 0) {
        assert_int_equal(got.payload.len, sizeof got.position);
        assert_memory_equal(got.payload.p, &got.position, sizeof got.position);
    }
    for (uint32_t i = 0; i < CELLS; i++)
        assert_true(l->table.cells[i].value == (got.number > 0 ? l->copies[got.position][i] : 0));
    return got.position;
}

static void life_close(struct life *l)
{
    qn_snapshots_free(l->sn);
    l->sn = NULL;
}

static void life_change(struct life *l, uint32_t most)
{
    for (uint32_t n = qn_rng_below(&l->r, most + 1); n > 0; n--)
        table_set(&l->table, qn_rng_below(&l->r, CELLS), 1 + qn_rng_next(&l->r) % 1000000);
}

static void life_cut(struct life *l)
{
    uint64_t at = ++l->position;
    struct qn_snapshot_info info = {.position = at, .payload = {(const char *)&at, sizeof at}};

    assert_true(at < CUTS);
    for (uint32_t i = 0; i < CELLS; i++)
        l->copies[at][i] = l->table.cells[i].value;
    assert_int_equal(qn_snapshots_begin(l->sn, &info, NULL), QN_OK);
}

/* The rest of a snapshot, in small steps with changes between. */
static qn_status life_finish(struct life *l, struct qn_snapshot_info *info, struct qn_err *err)
{
    qn_status rc;

    while (qn_snapshots_phase(l->sn) == QN_SNAPSHOT_SWEEPING) {
        life_change(l, 3);
        qn_snapshots_step(l->sn, 64 * qn_rng_below(&l->r, 20));
    }
    life_change(l, 3);
    if (qn_snapshots_phase(l->sn) == QN_SNAPSHOT_SWEPT)
        qn_snapshots_finish(l->sn);
    qn_snapshots_wait(l->sn);
    rc = qn_snapshots_result(l->sn, info, err);
    if (rc == QN_OK)
        l->durable = l->position;
    return rc;
}

static unsigned count_names(struct memory_store *m, const char *ending)
{
    unsigned n = 0;

    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < STORE_OBJECTS; i++) {
        size_t len = strlen(m->objects[i].name), end = strlen(ending);

        n += len > end && strcmp(m->objects[i].name + len - end, ending) == 0;
    }
    pthread_mutex_unlock(&m->lock);
    return n;
}

/* ---- the course ---- */

static void course(void **state)
{
    struct memory_store *m = memory_store_new();
    struct life *l = life_new(1);
    struct qn_snapshot_info info = {0};

    (void)state;
    l->store = m->table;
    assert_int_equal(life_open(l, NULL), QN_OK);
    assert_int_equal(life_restore(l), 0);
    assert_int_equal(qn_snapshots_step(l->sn, 100), QN_SNAPSHOT_NONE);
    for (uint32_t i = 0; i < CELLS; i++)
        table_set(&l->table, i, i + 1);
    life_cut(l);
    assert_int_equal(l->table.saves, 0); /* the cut visits nothing */
    table_set(&l->table, 5, 500);
    table_set(&l->table, 5, 501);
    assert_int_equal(l->table.saves, 1); /* once, as it was */
    assert_int_equal(qn_snapshots_step(l->sn, 64 * 10), QN_SNAPSHOT_SWEEPING);
    assert_int_equal(l->table.saves, 10);
    assert_int_equal(qn_snapshots_step(l->sn, 1 << 20), QN_SNAPSHOT_SWEPT);
    assert_int_equal(l->table.saves, CELLS);
    assert_int_equal(count_names(m, ".snap"), 0); /* nothing is there before finish */
    qn_snapshots_finish(l->sn);
    qn_snapshots_wait(l->sn);
    assert_int_equal(qn_snapshots_phase(l->sn), QN_SNAPSHOT_ENDED);
    assert_int_equal(qn_snapshots_result(l->sn, &info, NULL), QN_OK);
    assert_true(info.is_full && info.number == 1 && info.position == 1);
    assert_true(info.bytes > 0 && info.bytes == info.all_bytes);
    assert_int_equal(qn_snapshots_phase(l->sn), QN_SNAPSHOT_NONE);
    /* only what has changed: cell 5, behind the cut, and 7 */
    table_set(&l->table, 7, 700);
    life_cut(l);
    assert_int_equal(qn_snapshots_step(l->sn, 1 << 20), QN_SNAPSHOT_SWEPT);
    assert_int_equal(l->table.saves, CELLS + 2);
    qn_snapshots_finish(l->sn);
    qn_snapshots_wait(l->sn);
    assert_int_equal(qn_snapshots_result(l->sn, &info, NULL), QN_OK);
    assert_true(!info.is_full && info.number == 2 && info.bytes < info.all_bytes / 2);
    life_close(l);
    /* and it goes on behind a restart */
    assert_int_equal(life_open(l, NULL), QN_OK);
    assert_int_equal(life_restore(l), 2);
    assert_int_equal(l->reports, 0);
    table_set(&l->table, 9, 900);
    life_cut(l);
    assert_int_equal(life_finish(l, &info, NULL), QN_OK);
    assert_true(!info.is_full && info.number == 3);
    life_close(l);
    memory_store_free(m);
    free(l);
}

static void given_up(void **state)
{
    struct memory_store *m = memory_store_new();
    struct life *l = life_new(2);
    struct qn_snapshot_info info;
    struct qn_err err;

    (void)state;
    l->store = m->table;
    assert_int_equal(life_open(l, NULL), QN_OK);
    life_change(l, 100);
    life_cut(l);
    assert_int_equal(life_finish(l, &info, NULL), QN_OK);
    life_change(l, 5);
    life_cut(l);
    qn_snapshots_step(l->sn, 64 * 10);
    qn_snapshots_give_up(l->sn);
    assert_int_equal(life_finish(l, &info, &err), QN_INTERRUPTED);
    assert_int_equal(err.code, QN_INTERRUPTED);
    life_cut(l); /* then a full one */
    assert_int_equal(life_finish(l, &info, NULL), QN_OK);
    assert_true(info.is_full);
    life_change(l, 5);
    life_cut(l);
    qn_snapshots_step(l->sn, 64 * 10);
    life_close(l); /* in the middle */
    assert_int_equal(life_open(l, NULL), QN_OK);
    assert_int_equal(life_restore(l), 3);
    life_close(l);
    memory_store_free(m);
    free(l);
}

/* ---- chains ---- */

static void keep_newest(void *arg, const struct qn_snapshot_info *info)
{
    struct qn_snapshot_info *newest = arg;

    if (newest->number == 0)
        *newest = *info;
}

/* The snapshot before the newest is whole, too. */
static void check_older(struct life *l, struct memory_store *m)
{
    struct qn_snapshot_info newest = {0};
    char name[64];
    struct memory_object *o;

    assert_int_equal(qn_snapshots_list(&l->store, keep_newest, &newest, NULL), QN_OK);
    snprintf(name, sizeof name, "%020llu.snap", (unsigned long long)newest.number);
    o = memory_find(m, name);
    assert_non_null(o);
    o->name[0] = 'x';
    life_close(l);
    assert_int_equal(life_open(l, NULL), QN_OK);
    assert_int_equal(life_restore(l), l->position - 1);
    assert_int_equal(l->reports, 0);
    life_close(l);
    o->name[0] = name[0];
    assert_int_equal(life_open(l, NULL), QN_OK);
    assert_int_equal(life_restore(l), l->position);
}

static void chains_and_pruning(void **state)
{
    uint64_t seed = test_seed(11);
    struct memory_store *m = memory_store_new();
    struct life *l = life_new(seed);
    struct qn_snapshot_info info;
    unsigned full = 0, longest = 0, length = 0;

    (void)state;
    l->store = m->table;
    assert_int_equal(life_open(l, NULL), QN_OK);
    for (int i = 0; i < 400; i++) {
        life_change(l, i % 50 == 0 ? 200 : 2);
        life_cut(l);
        assert_int_equal(life_finish(l, &info, NULL), QN_OK);
        full += info.is_full;
        length = info.is_full ? 1 : length + 1;
        longest = length > longest ? length : longest;
        assert_int_equal(count_names(m, ".snap"), i == 0 ? 1 : 2);
        assert_true(count_names(m, ".pack") < 2 * 40);
        if (i % 10 == 9)
            check_older(l, m);
        if (qn_rng_below(&l->r, 8) == 0) {
            life_close(l);
            assert_int_equal(life_open(l, NULL), QN_OK);
            assert_int_equal(life_restore(l), l->position);
            assert_int_equal(l->reports, 0);
        }
    }
    print_message("%u full of 400, the longest chain %u\n", full, longest);
    assert_true(full > 10 && full < 200 && longest > 3);
    life_close(l);
    memory_store_free(m);
    free(l);
}

/* What is left of failures goes; what is not ours stays; a snapshot ahead of us is of a log that
 * was not to be. */
static void prunes_what_nobody_needs(void **state)
{
    struct memory_store *m = memory_store_new();
    struct life *l = life_new(3);

    (void)state;
    l->store = m->table;
    assert_int_equal(life_open(l, NULL), QN_OK);
    life_change(l, 100);
    l->position = 9;
    life_cut(l);
    assert_int_equal(life_finish(l, NULL, NULL), QN_OK);
    life_close(l);
    memory_put(m, "00000000000000000077.pack", "x", 1, NULL);
    memory_put(m, "00000000000000000078.pack.tmp", "x", 1, NULL);
    memory_put(m, "00000000000000000050.snap", "x", 1, NULL);
    memory_put(m, "mine.tmp", "x", 1, NULL);
    memory_put(m, "99999999999999999999.snap", "x", 1, NULL); /* does not fit 64 bits */
    l->position = 4;
    assert_int_equal(life_open(l, NULL), QN_OK);
    life_change(l, 100);
    life_cut(l);
    assert_int_equal(life_finish(l, NULL, NULL), QN_OK);
    assert_null(memory_find(m, "00000000000000000077.pack"));
    assert_null(memory_find(m, "00000000000000000078.pack.tmp"));
    assert_null(memory_find(m, "00000000000000000050.snap"));
    assert_null(memory_find(m, "00000000000000000001.snap"));
    assert_non_null(memory_find(m, "mine.tmp"));
    assert_non_null(memory_find(m, "99999999999999999999.snap"));
    assert_non_null(memory_find(m, "00000000000000000051.snap"));
    life_close(l);
    assert_int_equal(life_open(l, NULL), QN_OK);
    assert_int_equal(life_restore(l), 5);
    life_close(l);
    memory_store_free(m);
    free(l);
}

/* A writer that does not know yet that another one has come in its place spoils nothing of it, and
 * may come back itself. */
static void writers_that_overlap(void **state)
{
    struct memory_store *m = memory_store_new();
    struct life *old = life_new(5), *new = life_new(6);
    struct qn_snapshot_info got;

    (void)state;
    old->store = new->store = m->table;
    old->first_number = UINT64_C(5) << 32;
    new->first_number = UINT64_C(6) << 32;
    assert_int_equal(life_open(old, NULL), QN_OK);
    for (int i = 0; i < 3; i++) {
        life_change(old, 100);
        life_cut(old);
        assert_int_equal(life_finish(old, &got, NULL), QN_OK);
    }
    assert_true(got.number == old->first_number + 2);
    life_change(old, 100);
    life_cut(old); /* under way when the other one comes */
    memcpy(new->copies, old->copies, sizeof new->copies);
    new->position = 3;
    assert_int_equal(life_open(new, NULL), QN_OK);
    assert_int_equal(life_restore(new), 3);
    life_change(new, 20);
    life_cut(new);
    assert_int_equal(life_finish(new, &got, NULL), QN_OK);
    assert_true(got.number == new->first_number);
    life_change(new, 20);
    life_cut(new); /* half of its packs are there when the old one looks around */
    (void)qn_snapshots_step(new->sn, 1 << 20);
    assert_int_equal(life_finish(old, &got, NULL), QN_OK);
    assert_true(got.number == old->first_number + 3);
    assert_int_equal(life_finish(new, NULL, NULL), QN_OK);
    qn_snapshots_renumber(old->sn, UINT64_C(7) << 32);
    life_close(new);
    assert_int_equal(life_open(new, NULL), QN_OK);
    assert_int_equal(life_restore(new), 5);
    assert_int_equal(new->reports, 0);
    life_change(old, 20);
    life_cut(old);
    assert_int_equal(life_finish(old, &got, NULL), QN_OK);
    assert_true(got.number == UINT64_C(7) << 32 && got.is_full);
    life_close(new);
    life_close(old);
    assert_int_equal(life_open(old, NULL), QN_OK);
    assert_int_equal(life_restore(old), 5);
    assert_int_equal(old->reports, 0);
    life_close(old);
    memory_store_free(m);
    free(old);
    free(new);
}

/* ---- large entries, and a store that does not keep up ---- */

static void large_entries(void **state)
{
    struct memory_store *m = memory_store_new();
    struct life *l = life_new(4);
    struct qn_snapshot_choice how = {.report = life_report, .arg = l};
    struct qn_snapshot_info got;

    (void)state;
    l->store = m->table;
    for (uint32_t bytes = 50000; bytes <= QN_SNAPSHOT_ENTRY_MAX; bytes *= 5) {
        l->durable = 0;
        assert_int_equal(life_open(l, NULL), QN_OK);
        l->table.entry_bytes = bytes;
        for (uint32_t i = 0; i < CELLS; i++)
            table_set(&l->table, i, i + 1);
        life_cut(l);
        assert_int_equal(life_finish(l, &got, NULL), QN_OK);
        assert_true(count_names(m, ".pack") > 3);
        life_close(l);
        assert_int_equal(life_open(l, NULL), QN_OK);
        l->table.entry_bytes = bytes;
        assert_int_equal(qn_snapshots_restore(l->sn, &how, &got, NULL), QN_OK);
        assert_int_equal(got.position, l->position);
        for (uint32_t i = 0; i < CELLS; i++)
            assert_true(l->table.cells[i].value == l->copies[got.position][i]);
        life_close(l);
    }
    memory_store_free(m);
    free(l);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static qn_status gated_put(void *st, const char *name, const void *p, size_t bytes,
                           struct qn_err *err)
{
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return memory_put(st, name, p, bytes, err);
}

static void store_that_is_behind(void **state)
{
    struct memory_store *m = memory_store_new();
    struct life *l = life_new(5);
    struct qn_section section = {&table_ops, &l->table, "numbers", 17};
    struct qn_snapshots_options opt = {.store = &l->store,
                                       .sections = &section,
                                       .section_count = 1,
                                       .workers = WORKERS,
                                       .pending_bytes = 1000000,
                                       .pack_bytes = 300};
    struct qn_snapshot_info info;
    struct qn_err err;

    (void)state;
    l->store = m->table;
    l->store.put = gated_put;
    l->table.cut = QN_CUT_FIRST;
    l->table.entry_bytes = 400000;
    assert_int_equal(qn_snapshots_new(&opt, &l->sn, NULL), QN_OK);
    for (uint32_t i = 0; i < CELLS; i++)
        table_set(&l->table, i, i + 1);
    life_cut(l);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < 20; i++) /* the sweep waits for the writer */
        assert_int_equal(qn_snapshots_step(l->sn, 64), QN_SNAPSHOT_SWEEPING);
    assert_int_equal(l->table.saves, 1);
    for (uint32_t i = 0; i < CELLS; i++) /* touches cannot wait */
        table_set(&l->table, i, i + 2);
    assert_int_equal(qn_snapshots_step(l->sn, 64), QN_SNAPSHOT_WRITING);
    pthread_mutex_unlock(&gate);
    qn_snapshots_wait(l->sn);
    assert_int_equal(qn_snapshots_result(l->sn, &info, &err), QN_LIMIT);
    assert_non_null(strstr(err.text, "cannot keep up"));
    l->table.entry_bytes = 24;
    life_cut(l); /* when it is back, all is well */
    assert_int_equal(life_finish(l, &info, NULL), QN_OK);
    assert_true(info.is_full);
    life_close(l);
    memory_store_free(m);
    free(l);
}

/* ---- other sections ---- */

static void sections_must_fit(void **state)
{
    static const struct {
        const char *name;
        uint64_t layout;
        bool fits;
    } cases[] = {{"numbers", 17, true},
                 {"numbers", 18, false},
                 {"number", 17, false},
                 {"numbers2", 17, false},
                 {"letters", 17, true}};
    struct memory_store *m = memory_store_new();
    struct life *l = life_new(6);
    struct table other = {.cut = QN_CUT_FIRST, .entry_bytes = 24};
    struct qn_section two[2] = {{&table_ops, &l->table, "numbers", 17},
                                {&table_ops, &other, "letters", 17}};
    struct qn_snapshots_options opt = {
        .store = &l->store, .sections = two, .section_count = 2, .workers = WORKERS};
    struct qn_snapshot_choice how = {.report = life_report, .arg = l};
    struct qn_snapshot_info got;

    (void)state;
    l->store = m->table;
    l->table = other;
    assert_int_equal(qn_snapshots_new(&opt, &l->sn, NULL), QN_OK);
    table_set(&l->table, 1, 1);
    table_set(&other, 2, 2);
    life_cut(l);
    qn_snapshots_step(l->sn, 1 << 20);
    qn_snapshots_finish(l->sn);
    qn_snapshots_wait(l->sn);
    assert_int_equal(qn_snapshots_result(l->sn, NULL, NULL), QN_OK);
    life_close(l);
    opt.section_count = 1;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct table one = {.cut = QN_CUT_FIRST, .entry_bytes = 24};

        two[0] = (struct qn_section){&table_ops, &one, "", cases[i].layout};
        snprintf(two[0].name, sizeof two[0].name, "%s", cases[i].name);
        l->reports = 0;
        assert_int_equal(qn_snapshots_new(&opt, &l->sn, NULL), QN_OK);
        assert_int_equal(qn_snapshots_restore(l->sn, &how, &got, NULL), QN_OK);
        assert_int_equal(got.number > 0, cases[i].fits);
        assert_int_equal(l->reports, !cases[i].fits);
        assert_int_equal(one.cells[1].value, i == 0);
        assert_int_equal(one.cells[2].value, i == 4 ? 2 : 0);
        life_close(l);
    }
    memory_store_free(m);
    free(l);
}

static qn_status refuse_newest(void *arg, const struct qn_snapshot_info *info, struct qn_err *err)
{
    (void)arg;
    return info->position > 1 ? qn_err_set(err, QN_INVALID, "ahead of the log") : QN_OK;
}

static void count_listed(void *arg, const struct qn_snapshot_info *info)
{
    uint64_t *last = arg;

    assert_true(info->number == *last - 1 || *last == 0);
    *last = info->number;
}

static void accepting_and_listing(void **state)
{
    struct memory_store *m = memory_store_new();
    struct life *l = life_new(7);
    struct qn_snapshot_choice how = {refuse_newest, life_report, l};
    struct qn_snapshot_info got;
    uint64_t last = 0;

    (void)state;
    l->store = m->table;
    assert_int_equal(life_open(l, NULL), QN_OK);
    for (int i = 0; i < 2; i++) {
        life_change(l, 20);
        life_cut(l);
        assert_int_equal(life_finish(l, NULL, NULL), QN_OK);
    }
    life_close(l);
    assert_int_equal(qn_snapshots_list(&l->store, count_listed, &last, NULL), QN_OK);
    assert_int_equal(last, 1);
    assert_int_equal(life_open(l, NULL), QN_OK);
    assert_int_equal(qn_snapshots_restore(l->sn, &how, &got, NULL), QN_OK);
    assert_int_equal(got.position, 1);
    assert_int_equal(l->reports, 1);
    assert_string_equal(l->why, "ahead of the log");
    life_close(l);
    memory_store_free(m);
    free(l);
}

/* ---- failing disks ---- */

/* Snapshots on a disk until one fails, or `cuts` are good. */
static void life_on_disk(struct life *l, struct disk *d, unsigned cuts)
{
    qn_status rc = QN_OK;

    assert_int_equal(qn_snapshot_folder_new(&d->table, "data/snap", &l->store, NULL), QN_OK);
    if (life_open(l, NULL) == QN_OK) {
        for (unsigned i = 0; i < cuts && rc == QN_OK; i++) {
            struct qn_err err = {0};

            life_change(l, i == 0 ? 60 : 4);
            life_cut(l);
            rc = life_finish(l, NULL, &err);
            assert_true(rc == QN_OK || (rc == QN_IO || rc == QN_FULL));
            assert_true(rc == QN_OK || strstr(err.text, "data/snap") != NULL);
        }
    }
    life_close(l);
    qn_snapshot_store_free(&l->store);
}

/* Starts again on what the disk holds now. */
static uint64_t life_again(struct life *l, struct disk *d)
{
    uint64_t got;

    assert_int_equal(qn_snapshot_folder_new(&d->table, "data/snap", &l->store, NULL), QN_OK);
    assert_int_equal(life_open(l, NULL), QN_OK);
    got = life_restore(l);
    life_close(l);
    qn_snapshot_store_free(&l->store);
    return got;
}

static void every_operation_may_fail(void **state)
{
    static const int errors[] = {EIO, ENOSPC};
    bool failed = true;

    (void)state;
    for (uint64_t nth = 1; failed; nth++) {
        struct disk *d = disk_new(nth);
        struct life *l = life_new(nth);

        d->fail_at = nth;
        d->fail_errno = errors[nth % 2];
        life_on_disk(l, d, 4);
        failed = d->calls >= nth;
        d->fail_at = 0;
        assert_true(life_again(l, d) >= l->durable);
        /* the disk is well again: all goes on */
        life_on_disk(l, d, 3);
        assert_int_equal(l->durable, l->position);
        assert_int_equal(life_again(l, d), l->position);
        disk_free(d);
        free(l);
    }
}

static void power_may_fail_anywhere(void **state)
{
    uint64_t seed = test_seed(11);
    bool failed = true;

    (void)state;
    for (uint64_t nth = 1; failed; nth++) {
        for (uint64_t k = 0; k < 6; k++) {
            struct disk *d = disk_new(seed + nth * 100 + k);
            struct life *l = life_new(seed + nth);

            d->power_at = nth;
            life_on_disk(l, d, 5);
            failed = d->is_off;
            disk_power_loss(d);
            assert_true(life_again(l, d) >= l->durable);
            life_on_disk(l, d, 2);
            assert_int_equal(life_again(l, d), l->position);
            disk_free(d);
            free(l);
        }
    }
}

/* ---- other bytes ---- */

/* Every bit of every object turned, every object cut at every length, every one gone: an older
 * snapshot, or none, but never another state. */
static void damaged_objects(void **state)
{
    struct memory_store *m = memory_store_new();
    struct life *l = life_new(8);
    unsigned whole = 0, older = 0, none = 0;

    (void)state;
    l->store = m->table;
    assert_int_equal(life_open(l, NULL), QN_OK);
    life_change(l, 60);
    life_cut(l);
    assert_int_equal(life_finish(l, NULL, NULL), QN_OK);
    life_change(l, 4);
    life_cut(l);
    assert_int_equal(life_finish(l, NULL, NULL), QN_OK);
    life_close(l);
    for (int i = 0; i < STORE_OBJECTS; i++) {
        struct memory_object *o = &m->objects[i], kept = *o;

        for (size_t at = 0; o->name[0] != '\0' && at < kept.len * 2 + 1; at++) {
            char *flipped = at < kept.len ? &o->bytes[at] : NULL;
            uint64_t got;

            if (flipped != NULL)
                *flipped ^= (char)(1 << (at % 8));
            else if (at < kept.len * 2)
                o->len = at - kept.len;
            else
                o->name[0] = 'x';
            assert_int_equal(life_open(l, NULL), QN_OK);
            got = life_restore(l);
            life_close(l);
            whole += got == 2;
            older += got == 1;
            none += got == 0;
            if (flipped != NULL)
                *flipped ^= (char)(1 << (at % 8));
            *o = kept;
        }
    }
    print_message("%u whole, %u older, %u none\n", whole, older, none);
    assert_true(older > 100 && none > 100);
    memory_store_free(m);
    free(l);
}

/* A pack that is whole, of the right number, and of another history. */
static void packs_of_another_history(void **state)
{
    struct memory_store *m[2] = {memory_store_new(), memory_store_new()};
    struct life *l = life_new(9);
    struct memory_object *o[2];

    (void)state;
    for (int k = 0; k < 2; k++) {
        l->store = m[k]->table;
        l->position = 0;
        assert_int_equal(life_open(l, NULL), QN_OK);
        for (uint32_t i = 0; i < CELLS; i++)
            table_set(&l->table, i, 1 + qn_rng_next(&l->r) % 1000000);
        life_cut(l);
        qn_snapshots_step(l->sn, 1 << 20);
        assert_int_equal(life_finish(l, NULL, NULL), QN_OK);
        life_close(l);
        o[k] = memory_find(m[k], "00000000000000000001.pack");
        assert_non_null(o[k]);
    }
    memory_put(m[1], "00000000000000000001.pack", o[0]->bytes, o[0]->len, NULL);
    assert_int_equal(life_open(l, NULL), QN_OK);
    assert_int_equal(life_restore(l), 0);
    assert_int_equal(l->reports, 1);
    life_close(l);
    memory_store_free(m[0]);
    memory_store_free(m[1]);
    free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(course),
        cmocka_unit_test(given_up),
        cmocka_unit_test(chains_and_pruning),
        cmocka_unit_test(prunes_what_nobody_needs),
        cmocka_unit_test(writers_that_overlap),
        cmocka_unit_test(large_entries),
        cmocka_unit_test(store_that_is_behind),
        cmocka_unit_test(sections_must_fit),
        cmocka_unit_test(accepting_and_listing),
        cmocka_unit_test(every_operation_may_fail),
        cmocka_unit_test(power_may_fail_anywhere),
        cmocka_unit_test(damaged_objects),
        cmocka_unit_test(packs_of_another_history),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
