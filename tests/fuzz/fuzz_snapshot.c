/* SPDX-License-Identifier: Apache-2.0
 * fuzz_snapshot.c - restores from any bytes: as a manifest, as a pack, as the entries of windows,
 * as an account of counted bytes, as half-space trees.
 *
 * The first byte chooses what the rest is; checksums that would only keep the fuzzer out are made
 * right. The second byte chooses the group of windows, or the trees, that read entries (each: 2
 * length, bytes).
 * Holds: no crash; what loads runs, saves, and comes back with the same answers. */
#include "../unit/state/memory_store.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/hash.h"
#include "feature/window.h"
#include "model/half_space.h"
#include "score/learner.h"
#include "state/snapshot_int.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SHAPES = 4, WINDOWS = 5, ROWS = 6 };
enum { AS_MANIFEST, AS_PACK, AS_ENTRIES, AS_ACCOUNT, AS_TREES, KINDS };

#define SECOND ((int64_t)1000000)

/* ---- groups ---- */

static const struct qn_kind args[2] = {{QN_DECIMAL, 2}, {QN_DOUBLE, 0}};

/* 0: integers and a condition; 1: doubles, delayed, least; 2: only over all; 3: flags in words of
 * their own. SHAPES more: keys are counted. */
static struct qn_group *group_new(unsigned number)
{
    const unsigned shape = number % SHAPES;
    struct qn_window w[WINDOWS] = {
        {QN_AGGREGATE_COUNT, -1, 0, 60 * SECOND, 0, false, {QN_INT64, 0}},
        {QN_AGGREGATE_SUM, 0, -1, 600 * SECOND, 60 * SECOND, false, {QN_DECIMAL, 2}},
        {QN_AGGREGATE_MEAN, 1, -1, 60 * SECOND, 0, true, {QN_DOUBLE, 0}},
        {QN_AGGREGATE_MIN, 1, 0, 600 * SECOND, 0, false, {QN_DOUBLE, 0}},
        {QN_AGGREGATE_MAX, 0, -1, QN_OVER_ALL, 0, false, {QN_DECIMAL, 2}},
    };
    struct qn_group_spec spec = {args,    2,           shape == 3 ? 60 : 2, w,
                                 WINDOWS, 10 * SECOND, number >= SHAPES};
    struct qn_group *g = NULL;

    if (shape == 0)
        w[2] = w[3] = w[0];
    for (int i = 0; i < WINDOWS && shape == 2; i++) {
        w[i].over_us = QN_OVER_ALL;
        w[i].delayed_us = 0;
    }
    if (shape == 2)
        spec.slack_us = 0;
    QN_ASSERT(qn_group_new(&spec, 1, &g, NULL) == QN_OK);
    return g;
}

static struct qn_section section_of(struct qn_group *g)
{
    struct qn_section s = qn_group_section(g);

    memcpy(s.name, "w", 2);
    return s;
}

/* Six rows of three keys, the last two late; the answers' hash. */
static uint64_t group_answers(struct qn_group *g)
{
    static const int64_t seconds[ROWS] = {100, 101, 700, 800, 795, 60};
    static const char *const names[3] = {"a", "b", "a-key-that-is-longer-than-sixteen"};
    uint8_t role[ROWS], valid[ROWS], where[ROWS], out_valid[WINDOWS][ROWS];
    int64_t time_us[ROWS], i64[ROWS], out_i64[WINDOWS][ROWS];
    double f64[ROWS];
    struct qn_str key[ROWS];
    uint64_t hash[ROWS], all = 0;
    struct qn_col arg[2] = {{args[0], valid, {i64}}, {args[1], valid, {.f64 = f64}}};
    const struct qn_col *arg_cols[2] = {&arg[0], &arg[1]};
    const uint8_t *wheres[60];
    struct qn_col cols[WINDOWS], *out[WINDOWS];
    struct qn_wave w = {ROWS, role, time_us, key, hash, arg_cols, wheres, out};
    struct qn_arena arena = {0};

    for (int i = 0; i < ROWS; i++) {
        role[i] = QN_ROLE_READ | (i % 2 ? QN_ROLE_UPDATE : 0);
        valid[i] = where[i] = 1;
        time_us[i] = seconds[i] * SECOND;
        i64[i] = i;
        f64[i] = i / 3.0;
        key[i] = qn_str_of(names[i % 3]);
        hash[i] = qn_hash(key[i].p, key[i].len, 0);
    }
    for (int i = 0; i < 60; i++)
        wheres[i] = where;
    for (int k = 0; k < WINDOWS; k++) {
        memset(out_valid[k], 0, ROWS);
        memset(out_i64[k], 0, sizeof out_i64[k]);
        cols[k] = (struct qn_col){{QN_INT64, 0}, out_valid[k], {out_i64[k]}};
        out[k] = &cols[k];
    }
    QN_ASSERT(qn_group_run(g, &w, 0, 1, &arena, NULL) == QN_OK);
    qn_arena_fini(&arena);
    for (int k = 0; k < WINDOWS; k++)
        for (int i = 0; i < ROWS; i++) {
            int64_t words[2] = {out_valid[k][i], out_valid[k][i] ? out_i64[k][i] : 0};

            all = qn_hash(words, sizeof words, all);
        }
    return all;
}

/* ---- what loads must come back ---- */

static struct qn_budget *budget_new(int64_t keep_us)
{
    struct qn_budget *b;

    QN_ASSERT(qn_budget_new(1 << 20, 1, &b, NULL) == QN_OK);
    qn_budget_keep(b, 0, keep_us);
    return b;
}

/* Whatever the keys say of their times. */
static void count(const struct qn_group *g)
{
    struct qn_budget *b = budget_new(qn_group_counted_us(g));

    qn_budget_move_on(b, 700 * SECOND);
    qn_group_recount(g, 700 * SECOND, b, 0);
    qn_budget_free(b);
}

static struct qn_snapshots *snapshots_of(struct memory_store *m, const struct qn_section *s)
{
    struct qn_snapshots_options opt = {
        .store = &m->table, .sections = s, .section_count = 1, .workers = 1};
    struct qn_snapshots *sn = NULL;

    QN_ASSERT(qn_snapshots_new(&opt, &sn, NULL) == QN_OK);
    return sn;
}

/* What a snapshot would hold of `from` goes into `to`. */
static void carry(const struct qn_section *from, const struct qn_section *to)
{
    struct memory_store *m = memory_store_new();
    struct qn_snapshots *sn = snapshots_of(m, from);
    struct qn_snapshot_info info = {.position = 1};
    struct qn_snapshot_choice how = {0};

    QN_ASSERT(qn_snapshots_begin(sn, &info, NULL) == QN_OK);
    QN_ASSERT(qn_snapshots_step(sn, SIZE_MAX) == QN_SNAPSHOT_SWEPT);
    qn_snapshots_finish(sn);
    qn_snapshots_wait(sn);
    QN_ASSERT(qn_snapshots_result(sn, &info, NULL) == QN_OK);
    qn_snapshots_free(sn);
    sn = snapshots_of(m, to);
    QN_ASSERT(qn_snapshots_restore(sn, &how, &info, NULL) == QN_OK);
    QN_ASSERT(info.position == 1);
    qn_snapshots_free(sn);
    memory_store_free(m);
}

/* Entries of a section from the second byte on, each behind its length in two bytes, and that these
 * are all. */
static qn_status load_entries(const struct qn_section *s, const uint8_t *p, size_t size)
{
    qn_status rc = QN_OK;

    for (size_t at = 1; rc == QN_OK && at + 2 <= size;) {
        size_t bytes = p[at] | (size_t)p[at + 1] << 8;

        at += 2;
        bytes = bytes < size - at ? bytes : size - at;
        char *entry = malloc(bytes + 1); /* of exactly its size */

        memcpy(entry, p + at, bytes);
        rc = s->ops->load(s->st, entry, (uint32_t)bytes, NULL);
        free(entry);
        at += bytes;
    }
    return rc == QN_OK ? s->ops->loaded(s->st, NULL) : rc;
}

static void round_trip(struct qn_group *g, unsigned shape)
{
    struct qn_group *again = group_new(shape);
    const struct qn_section from = section_of(g), to = section_of(again);

    carry(&from, &to);
    QN_ASSERT(qn_group_keys(again) == qn_group_keys(g));
    QN_ASSERT(group_answers(g) == group_answers(again));
    qn_group_free(again);
}

static void as_entries(const uint8_t *p, size_t size)
{
    unsigned shape = size > 0 ? p[0] % (2 * SHAPES) : 0;
    struct qn_group *g = group_new(shape);
    struct qn_section s = section_of(g);
    const qn_status rc = load_entries(&s, p, size);

    if (rc == QN_OK) {
        if (shape >= SHAPES)
            count(g);
        round_trip(g, shape);
    } else {
        QN_ASSERT(s.ops->clear(s.st, NULL) == QN_OK);
        QN_ASSERT(qn_group_keys(g) == 0);
    }
    qn_group_free(g);
}

/* An account says what it said, time goes on, and in the end nothing counts but what lasts. */
static void as_account(const uint8_t *p, size_t size)
{
    struct qn_budget *b = budget_new(600 * SECOND), *again = budget_new(600 * SECOND);
    char *from = calloc(1, QN_BUDGET_SAVED), saved[QN_BUDGET_SAVED];

    memcpy(from, p, size < QN_BUDGET_SAVED ? size : QN_BUDGET_SAVED);
    if (qn_budget_load(b, 0, from, NULL) == QN_OK) {
        qn_budget_move_on(b, 700 * SECOND);
        qn_budget_save(b, 0, saved);
        QN_ASSERT(memcmp(saved, from, sizeof saved) == 0);
        QN_ASSERT(qn_budget_load(again, 0, saved, NULL) == QN_OK);
        qn_budget_move_on(again, 700 * SECOND);
        for (int64_t t = 700; t < 2200; t += 100) {
            qn_budget_move_on(b, t * SECOND);
            qn_budget_move_on(again, t * SECOND);
            QN_ASSERT(qn_budget_counted(b) == qn_budget_counted(again));
        }
        qn_budget_move(b, 0, 2000 * SECOND, 2100 * SECOND, 77);
        QN_ASSERT(qn_budget_counted(b) == qn_budget_counted(again));
        qn_budget_clear(b);
        QN_ASSERT(qn_budget_counted(b) == 0);
    }
    free(from);
    qn_budget_free(b);
    qn_budget_free(again);
}

/* ---- half-space trees ---- */

enum { INPUTS = 2, TREES_WINDOW = 10, TREES_ROWS = 35 };

/* Two trees of depth 3; an odd number: the range of the second input is learnt. */
static struct qn_model *trees_new(unsigned number)
{
    static const struct qn_str names[INPUTS] = {{"a", 1}, {"b", 1}};
    const bool learns = number % 2 != 0;
    const double low[INPUTS] = {0, learns ? (double)NAN : 0},
                 high[INPUTS] = {1, learns ? (double)NAN : 9};
    const struct qn_half_space_options opt = {.inputs = INPUTS,
                                              .names = names,
                                              .low = low,
                                              .high = high,
                                              .trees = 2,
                                              .depth = 3,
                                              .window = TREES_WINDOW,
                                              .seed = 1};
    struct qn_model *m = NULL;

    QN_ASSERT(qn_model_half_space_new(&opt, &m, NULL) == QN_OK);
    return m;
}

static struct qn_learner *learner_new(const struct qn_model *m, struct qn_arena *boot)
{
    static const uint32_t columns[INPUTS] = {0, 1};
    struct qn_learner *l = NULL;

    QN_ASSERT(qn_learner_new(m, columns, 1, TREES_ROWS, boot, &l, NULL) == QN_OK);
    return l;
}

/* Enough rows for all windows to turn; the answers' hash. */
static uint64_t trees_answers(struct qn_learner *l)
{
    double x[INPUTS][TREES_ROWS], margins[TREES_ROWS], scores[TREES_ROWS];
    uint8_t valid[TREES_ROWS], want[TREES_ROWS];
    struct qn_col cols[INPUTS] = {{{QN_DOUBLE, 0}, valid, {.f64 = x[0]}},
                                  {{QN_DOUBLE, 0}, valid, {.f64 = x[1]}}};
    const struct qn_col *pointers[INPUTS] = {&cols[0], &cols[1]};

    for (int r = 0; r < TREES_ROWS; r++) {
        x[0][r] = r % 7 / 7.0;
        x[1][r] = r % 5;
        valid[r] = r % 11 != 0;
        want[r] = 1;
    }
    qn_learner_look(l, pointers, want, 0, TREES_ROWS, 0);
    qn_learner_run(l, pointers, want, TREES_ROWS, margins, scores);
    for (int r = 0; r < TREES_ROWS; r++) {
        QN_ASSERT(isnan(scores[r]) || (scores[r] >= 0 && scores[r] <= 1));
        if (isnan(scores[r]))
            margins[r] = scores[r] = -1;
    }
    return qn_hash(scores, sizeof scores, qn_hash(margins, sizeof margins, 0));
}

static void as_trees(const uint8_t *p, size_t size)
{
    struct qn_arena boot = {0};
    struct qn_model *m = trees_new(size > 0 ? p[0] : 0);
    struct qn_learner *l = learner_new(m, &boot), *again = learner_new(m, &boot);
    const struct qn_section s = qn_learner_section(l), other = qn_learner_section(again);
    const qn_status rc = load_entries(&s, p, size);

    if (rc == QN_OK)
        carry(&s, &other);
    else
        QN_ASSERT(s.ops->clear(s.st, NULL) == QN_OK);
    QN_ASSERT(trees_answers(l) == trees_answers(again));
    qn_arena_fini(&boot);
    qn_model_free(m);
}

/* ---- files ---- */

static void restore_from(struct memory_store *m)
{
    struct qn_group *g = group_new(1);
    const struct qn_section s = section_of(g);
    struct qn_snapshots *sn = snapshots_of(m, &s);
    struct qn_snapshot_choice how = {0};
    struct qn_snapshot_info got;

    QN_ASSERT(qn_snapshots_restore(sn, &how, &got, NULL) == QN_OK);
    QN_ASSERT(got.number > 0 || qn_group_keys(g) == 0);
    group_answers(g);
    qn_snapshots_free(sn);
    qn_group_free(g);
}

static void seal(char *p, size_t bytes)
{
    uint32_t crc;

    if (bytes < 8)
        return;
    crc = qn_crc32c(0, p + 8, bytes - 8);
    memcpy(p + 4, &crc, sizeof crc);
}

static void as_manifest(const uint8_t *p, size_t size)
{
    struct memory_store *m = memory_store_new();
    char *bytes = malloc(size + 1);

    memcpy(bytes, p, size);
    seal(bytes, size);
    memory_put(m, "00000000000000000001.snap", bytes, size, NULL);
    free(bytes);
    restore_from(m);
    memory_store_free(m);
}

/* A pack behind a manifest that names it; checksums of its blocks as far as they can be walked. */
static void as_pack(const uint8_t *p, size_t size)
{
    struct memory_store *m = memory_store_new();
    struct qn_buf pack = {0}, manifest = {0};
    struct qn_section s = {.name = "w"};
    struct qn_snapshot_info info = {.number = 1, .position = 5};
    struct qn_pack_row row = {.number = 1, .snapshot = 1};

    qn_pack_header(&pack, 1, 1);
    qn_buf_add(&pack, p, size);
    for (size_t at = QN_PACK_HEADER; pack.len - at >= QN_BLOCK_HEADER;) {
        uint32_t stored;

        memcpy(&stored, pack.data + at + 8, sizeof stored);
        size_t bytes = QN_BLOCK_HEADER + (size_t)(uint8_t)pack.data[at + 21] + stored;

        if (bytes > pack.len - at)
            break;
        seal(pack.data + at, bytes);
        at += bytes;
    }
    row.bytes = (uint32_t)pack.len;
    row.crc = qn_crc32c(0, pack.data, pack.len);
    qn_manifest_write(&manifest, &info, &s, 1, &row, 1);
    memory_put(m, "00000000000000000001.pack", pack.data, pack.len, NULL);
    memory_put(m, "00000000000000000001.snap", manifest.data, manifest.len, NULL);
    qn_buf_fini(&pack);
    qn_buf_fini(&manifest);
    restore_from(m);
    memory_store_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 1 << 16)
        return 0;
    if (data[0] % KINDS == AS_MANIFEST)
        as_manifest(data + 1, size - 1);
    else if (data[0] % KINDS == AS_PACK)
        as_pack(data + 1, size - 1);
    else if (data[0] % KINDS == AS_ENTRIES)
        as_entries(data + 1, size - 1);
    else if (data[0] % KINDS == AS_ACCOUNT)
        as_account(data + 1, size - 1);
    else
        as_trees(data + 1, size - 1);
    return 0;
}
