/* SPDX-License-Identifier: Apache-2.0
 * feature_run.c - the features of one batch: by row slices, then by lanes, then by row slices
 * again.
 *
 *   before   each worker its rows: features without windows, arguments and conditions of windows,
 *            roles, keys, hashes
 *   find     each worker its lanes: the keys' records, where state is counted; then the engine
 *            says which rows are taken
 *   windows  each worker its lanes: qn_group_run of every group, in log order
 *   after    each worker its rows: defaults of windows, features that read windows, completeness
 * A barrier stands between them. Key bytes, on which the lane of a key depends: one string as
 * it is; one other value as 8 bytes, little-endian; several values one after another, each behind
 * its length as 4 bytes, little-endian. Memory: columns boot; temporaries in the worker's batch
 * arena; nothing from the heap. */
#include "base/check.h"
#include "base/hash.h"
#include "feature/feature_int.h"

#include <endian.h>
#include <string.h>

/* ---- start ---- */

static bool start_group(struct group *g, uint32_t main, const struct qn_features *f,
                        uint32_t rows_max, struct qn_arena *boot, struct qn_err *err)
{
    const enum qn_late late = f->schemas[g->source].late;

    memset(g->roles, 0, sizeof g->roles);
    if (g->place == QN_GROUP_HERE) {
        g->roles[main][QN_SCORED] = QN_ROLE_READ;
        g->roles[g->source][QN_SCORED] |= QN_ROLE_UPDATE;
        if (late == QN_LATE_FOLD)
            g->roles[g->source][QN_LATE] = QN_ROLE_UPDATE;
    }
    g->role = QN_NEW_N(boot, uint8_t, rows_max);
    g->key = QN_NEW_N(boot, struct qn_str, rows_max);
    g->hash = QN_NEW_N(boot, uint64_t, rows_max);
    g->recs = g->is_counted ? QN_NEW_N(boot, void *, rows_max) : NULL;
    g->arg_own = QN_NEW_N(boot, struct qn_col, g->arg_count + 1);
    g->arg = QN_NEW_N(boot, const struct qn_col *, g->arg_count + 1);
    g->where = QN_NEW_N(boot, uint8_t *, g->where_count + 1);
    g->out_own = QN_NEW_N(boot, struct qn_col, g->window_count);
    g->out = QN_NEW_N(boot, struct qn_col *, g->window_count);
    if (!g->role || !g->key || !g->hash || (g->is_counted && !g->recs) || !g->arg_own || !g->arg ||
        !g->where || !g->out_own || !g->out)
        return false;
    for (uint32_t i = 0; i < g->arg_count; i++) {
        uint32_t column;

        if (!qn_expr_is_name(g->args[i], &column) &&
            qn_col_init(&g->arg_own[i], g->arg_kinds[i], rows_max, boot, err) != QN_OK)
            return false;
    }
    for (uint32_t i = 0; i < g->where_count; i++) {
        g->where[i] = QN_NEW_N(boot, uint8_t, rows_max);
        if (g->where[i] == NULL)
            return false;
    }
    for (uint32_t i = 0; i < g->window_count; i++) {
        g->out[i] = &g->out_own[i];
        if (qn_col_init(&g->out_own[i], g->windows[i].out, rows_max, boot, err) != QN_OK)
            return false;
    }
    return true;
}

static bool start_columns(struct qn_features *f, struct qn_arena *boot, struct qn_err *err)
{
    f->complete = QN_NEW_N(boot, uint8_t, f->rows_max);
    f->worker_err = QN_NEW_N(boot, struct qn_err, QN_TEAM_MAX);
    f->worker_rc = QN_NEW_N(boot, qn_status, QN_TEAM_MAX);
    f->cols = QN_NEW_N(boot, const struct qn_col **, f->schema_count);
    f->scratch = QN_NEW_N(boot, uint32_t, f->rows_max);
    if (!f->complete || !f->worker_err || !f->worker_rc || !f->cols || !f->scratch)
        return false;
    for (uint32_t i = 0; i < f->count; i++) {
        struct feature *ft = &f->list[i];
        const struct group *g = ft->info.is_window ? f->groups[ft->group] : NULL;

        /* A default goes straight into the window's column unless another feature shows that one,
         * too. */
        if (g != NULL && (g->shown_by[ft->window] == 1 || !ft->info.has_default)) {
            ft->shown = g->out[ft->window];
            continue;
        }
        ft->shown = &ft->own;
        if (qn_col_init(&ft->own, ft->info.kind, f->rows_max, boot, err) != QN_OK)
            return false;
    }
    for (uint32_t s = 0; s < f->schema_count; s++) {
        const uint32_t fields = f->schemas[s].field_count, more = s == f->main ? f->count : 0;

        f->cols[s] = QN_NEW_N(boot, const struct qn_col *, fields + more + 1);
        if (f->cols[s] == NULL)
            return false;
        for (uint32_t i = 0; i < more; i++)
            f->cols[s][fields + i] = f->list[i].shown;
    }
    return true;
}

/* Columns of the batch's fields, and of arguments that are plain names. */
static void bind(struct qn_features *f, const struct qn_batch *b)
{
    f->bound = b->cols;
    for (uint32_t s = 0; s < f->schema_count; s++)
        for (uint32_t i = 0; i < f->schemas[s].field_count; i++)
            f->cols[s][i] = &b->cols[f->schemas[s].first_column + i];
    for (uint32_t i = 0; i < f->group_count; i++) {
        struct group *g = f->groups[i];
        uint32_t column;

        for (uint32_t k = 0; k < g->arg_count; k++)
            g->arg[k] =
                qn_expr_is_name(g->args[k], &column) ? f->cols[g->source][column] : &g->arg_own[k];
    }
}

qn_status qn_features_start(struct qn_features *f, const struct qn_batch *b, uint64_t seed,
                            struct qn_arena *boot, struct qn_err *err)
{
    f->rows_max = b->rows_max;
    for (uint32_t i = 0; i < f->group_count; i++) {
        struct group *g = f->groups[i];
        const struct qn_group_spec spec = qn_feature_group_spec(g);

        qn_group_free(g->state);
        g->state = NULL;
        QN_TRY(qn_group_new(&spec, seed, &g->state, err));
        if (!start_group(g, f->main, f, b->rows_max, boot, err))
            return qn_err_set(err, QN_NOMEM, "out of memory for the columns of windows");
    }
    if (!start_columns(f, boot, err))
        return qn_err_set(err, QN_NOMEM, "out of memory for the columns of features");
    bind(f, b);
    return QN_OK;
}

void qn_features_free(struct qn_features *f)
{
    for (uint32_t i = 0; f != NULL && i < f->group_count; i++) {
        qn_group_free(f->groups[i]->state);
        f->groups[i]->state = NULL;
    }
}

/* ---- before: roles and keys ---- */

/* What the rows are to this group; a null key is nothing to it. */
static void find_roles(const struct qn_features *f, struct group *g, uint32_t first, uint32_t end)
{
    const struct qn_batch *b = f->batch;
    const uint8_t *restrict stream = b->stream, *restrict verdict = b->verdict;
    uint8_t *restrict role = g->role;

    for (uint32_t r = first; r < end; r++)
        role[r] = g->roles[stream[r]][verdict[r]];
    for (uint32_t k = 0; k < g->key_count; k++) {
        const uint8_t *restrict a = f->cols[f->main][g->main_key[k]]->valid;
        const uint8_t *restrict c = f->cols[g->source][g->source_key[k]]->valid;

        /* A column is null in rows of other streams, so one of the two speaks for the row. */
        for (uint32_t r = first; r < end; r++)
            role[r] = (a[r] | c[r]) ? role[r] : 0;
    }
}

static int64_t time_back(int64_t t, int64_t by_us)
{
    int64_t r;

    return __builtin_sub_overflow(t, by_us, &r) ? INT64_MIN : r; /* by_us >= 0 */
}

/* Rows that are older than the floor lets rows be: what they may ask for is not kept. */
static void drop_below(const struct qn_batch *b, struct group *g, uint32_t first, uint32_t end)
{
    for (uint32_t r = first; r < end; r++)
        if (b->time_us[r] < time_back(b->floor_us[r], g->slack_us))
            g->role[r] = 0;
}

/* The column that holds part k of the key of a row. */
static inline const struct qn_col *key_column(const struct qn_features *f, const struct group *g,
                                              uint32_t k, uint32_t row)
{
    return f->batch->stream[row] == f->main ? f->cols[f->main][g->main_key[k]]
                                            : f->cols[g->source][g->source_key[k]];
}

static void keys_of_text(const struct qn_features *f, struct group *g, uint32_t first, uint32_t end)
{
    const struct qn_str *restrict a = f->cols[f->main][g->main_key[0]]->str;
    const struct qn_str *restrict c = f->cols[g->source][g->source_key[0]]->str;
    const uint8_t *restrict stream = f->batch->stream, *restrict role = g->role;
    struct qn_str *restrict key = g->key;
    const struct qn_str none = {NULL, 0};

    if (a == c) {
        for (uint32_t r = first; r < end; r++)
            key[r] = role[r] ? a[r] : none;
        return;
    }
    for (uint32_t r = first; r < end; r++)
        key[r] = role[r] == 0 ? none : stream[r] == f->main ? a[r] : c[r];
}

static bool keys_of_number(const struct qn_features *f, struct group *g, uint32_t first,
                           uint32_t end, struct qn_arena *arena)
{
    uint64_t *bytes = qn_arena_alloc(arena, (size_t)(end - first) * 8);

    if (bytes == NULL)
        return false;
    for (uint32_t r = first; r < end; r++) {
        if (g->role[r] == 0) {
            g->key[r] = (struct qn_str){NULL, 0};
            continue;
        }
        bytes[r - first] = htole64((uint64_t)key_column(f, g, 0, r)->i64[r]);
        g->key[r] = (struct qn_str){(const char *)&bytes[r - first], 8};
    }
    return true;
}

static uint32_t part_len(const struct group *g, uint32_t k, const struct qn_col *c, uint32_t row)
{
    return g->key_kind[k].type == QN_STRING ? c->str[row].len : 8;
}

static bool keys_of_parts(const struct qn_features *f, struct group *g, uint32_t first,
                          uint32_t end, struct qn_arena *arena)
{
    size_t bytes = 0;
    char *to;

    for (uint32_t r = first; r < end; r++)
        for (uint32_t k = 0; g->role[r] != 0 && k < g->key_count; k++)
            bytes += 4 + part_len(g, k, key_column(f, g, k, r), r);
    to = qn_arena_alloc(arena, bytes + 1);
    if (to == NULL)
        return false;
    for (uint32_t r = first; r < end; r++) {
        char *from = to;

        for (uint32_t k = 0; g->role[r] != 0 && k < g->key_count; k++) {
            const struct qn_col *c = key_column(f, g, k, r);
            const uint32_t len = part_len(g, k, c, r), len_le = htole32(len);
            const bool text = g->key_kind[k].type == QN_STRING;
            const uint64_t number = text ? 0 : htole64((uint64_t)c->i64[r]);

            memcpy(to, &len_le, 4);
            if (len > 0)
                memcpy(to + 4, text ? c->str[r].p : (const char *)&number, len);
            to += 4 + len;
        }
        g->key[r] = (struct qn_str){from, (uint32_t)(to - from)};
    }
    return true;
}

static qn_status prepare_group(const struct qn_features *f, struct group *g, uint32_t first,
                               uint32_t end, struct qn_arena *arena, struct qn_err *err)
{
    bool good = true;
    uint32_t column;

    if (g->place != QN_GROUP_HERE)
        return QN_OK;
    find_roles(f, g, first, end);
    if (f->batch->is_judged)
        drop_below(f->batch, g, first, end);
    if (g->key_count > 1)
        good = keys_of_parts(f, g, first, end, arena);
    else if (g->key_kind[0].type == QN_STRING)
        keys_of_text(f, g, first, end);
    else
        good = keys_of_number(f, g, first, end, arena);
    if (!good)
        return qn_err_set(err, QN_NOMEM, "out of memory for keys");
    qn_hash_column(g->key + first, end - first, 0, g->hash + first);
    for (uint32_t i = 0; i < g->arg_count; i++)
        if (!qn_expr_is_name(g->args[i], &column))
            QN_TRY(qn_expr_run(g->args[i], f->cols[g->source], first, end, &g->arg_own[i], arena,
                               err));
    for (uint32_t i = 0; i < g->where_count; i++)
        QN_TRY(qn_expr_run_true(g->wheres[i], f->cols[g->source], first, end, g->where[i], arena,
                                err));
    /* Windows write the rows that read them; all others are null. */
    for (uint32_t i = 0; i < g->window_count; i++)
        memset(g->out_own[i].valid + first, 0, end - first);
    return QN_OK;
}

/* ---- the three steps ---- */

static qn_status run_expressions(const struct qn_features *f, bool with_windows, uint32_t first,
                                 uint32_t end, struct qn_arena *arena, struct qn_err *err)
{
    for (uint32_t i = 0; i < f->count; i++) {
        struct feature *ft = &f->list[f->order[i]];

        if (ft->expr != NULL && ft->needs_window == with_windows)
            QN_TRY(qn_expr_run(ft->expr, f->cols[f->main], first, end, &ft->own, arena, err));
    }
    return QN_OK;
}

static qn_status before(const struct qn_features *f, uint32_t first, uint32_t end,
                        struct qn_arena *arena, struct qn_err *err)
{
    QN_TRY(run_expressions(f, false, first, end, arena, err));
    for (uint32_t i = 0; i < f->group_count; i++)
        QN_TRY(prepare_group(f, f->groups[i], first, end, arena, err));
    return QN_OK;
}

static void add_default(const struct qn_features *f, struct feature *ft, uint32_t first,
                        uint32_t end)
{
    struct qn_col *from = f->groups[ft->group]->out[ft->window];
    struct qn_col *to = ft->shown == from ? from : &ft->own;
    const int64_t fallback = ft->fallback.i64; /* a double goes by its bits */

    for (uint32_t r = first; r < end; r++)
        to->i64[r] = from->valid[r] ? from->i64[r] : fallback;
    memset(to->valid + first, 1, end - first);
}

static qn_status after(const struct qn_features *f, uint32_t first, uint32_t end,
                       struct qn_arena *arena, struct qn_err *err)
{
    for (uint32_t i = 0; i < f->count; i++)
        if (f->list[i].info.is_window && f->list[i].info.has_default)
            add_default(f, &f->list[i], first, end);
    QN_TRY(run_expressions(f, true, first, end, arena, err));
    memset(f->complete + first, 1, end - first);
    for (uint32_t i = 0; i < f->count; i++) {
        const uint8_t *restrict valid = f->list[i].shown->valid;
        uint8_t *restrict complete = f->complete;

        for (uint32_t r = first; r < end; r++)
            complete[r] &= valid[r];
    }
    return QN_OK;
}

static void work_before(void *arg, unsigned worker, unsigned workers)
{
    struct qn_features *f = arg;
    struct qn_arena *arena = &f->batch->arenas[worker];
    uint32_t first, end;

    qn_team_slice(f->batch->rows, worker, workers, &first, &end);
    f->worker_rc[worker] = before(f, first, end, arena, &f->worker_err[worker]);
    if (f->group_count == 0 && f->worker_rc[worker] == QN_OK) /* nothing to wait for */
        f->worker_rc[worker] = after(f, first, end, arena, &f->worker_err[worker]);
}

static struct qn_wave wave_of(const struct qn_features *f, const struct group *g)
{
    return (struct qn_wave){.rows = f->batch->rows,
                            .role = g->role,
                            .time_us = f->batch->time_us,
                            .key = g->key,
                            .hash = g->hash,
                            .args = g->arg,
                            .wheres = (const uint8_t *const *)g->where,
                            .out = g->out,
                            .floor_us = g->has_floor ? f->batch->floor_us : NULL,
                            .recs = f->budget != NULL ? g->recs : NULL};
}

static void work_find(void *arg, unsigned worker, unsigned workers)
{
    struct qn_features *f = arg;

    f->worker_rc[worker] = QN_OK;
    for (uint32_t i = 0; i < f->group_count && f->worker_rc[worker] == QN_OK; i++) {
        const struct group *g = f->groups[(i + worker) % f->group_count];
        const struct qn_wave wave = wave_of(f, g);

        f->worker_rc[worker] =
            qn_group_find(g->state, &wave, worker, workers, &f->worker_err[worker]);
    }
}

static void work_windows(void *arg, unsigned worker, unsigned workers)
{
    struct qn_features *f = arg;
    struct qn_batch *b = f->batch;

    f->worker_rc[worker] = QN_OK;
    /* Each worker begins with another group: two that wrote their own rows of one column at the
     * same time would fight for its cache lines. */
    for (uint32_t i = 0; i < f->group_count && f->worker_rc[worker] == QN_OK; i++) {
        const struct group *g = f->groups[(i + worker) % f->group_count];
        const struct qn_wave wave = wave_of(f, g);

        if (g->place != QN_GROUP_HERE)
            continue;
        f->worker_rc[worker] = qn_group_run(g->state, &wave, worker, workers, &b->arenas[worker],
                                            &f->worker_err[worker]);
    }
}

static void work_after(void *arg, unsigned worker, unsigned workers)
{
    struct qn_features *f = arg;
    uint32_t first, end;

    qn_team_slice(f->batch->rows, worker, workers, &first, &end);
    f->worker_rc[worker] = after(f, first, end, &f->batch->arenas[worker], &f->worker_err[worker]);
}

/* One stage on all workers; the error of the first worker that failed. */
static qn_status run_stage(struct qn_features *f, struct qn_team *team, qn_team_fn *stage,
                           struct qn_err *err)
{
    const unsigned workers = qn_team_workers(team);

    qn_team_run(team, stage, f);
    for (unsigned i = 0; i < workers; i++) {
        if (f->worker_rc[i] == QN_OK)
            continue;
        if (err != NULL)
            *err = f->worker_err[i];
        return f->worker_rc[i];
    }
    return QN_OK;
}

qn_status qn_features_prepare(struct qn_features *f, struct qn_batch *b, struct qn_team *team,
                              struct qn_err *err)
{
    QN_ASSERT(b->rows <= f->rows_max);
    QN_ASSERT(qn_team_workers(team) <= b->arena_count);
    f->batch = b;
    if (f->bound != b->cols)
        bind(f, b);
    if (b->rows == 0)
        return QN_OK;
    QN_TRY(run_stage(f, team, work_before, err));
    return f->budget != NULL && f->group_count > 0 ? run_stage(f, team, work_find, err) : QN_OK;
}

qn_status qn_features_finish(struct qn_features *f, struct qn_team *team, struct qn_err *err)
{
    if (f->batch->rows == 0 || f->group_count == 0)
        return QN_OK;
    for (uint32_t i = 0; f->has_refused && i < f->group_count; i++) {
        const struct qn_wave wave = wave_of(f, f->groups[i]);

        qn_group_let_go(f->groups[i]->state, &wave, f->scratch);
    }
    f->has_refused = false;
    QN_TRY(run_stage(f, team, work_windows, err));
    return run_stage(f, team, work_after, err);
}

qn_status qn_features_run(struct qn_features *f, struct qn_batch *b, struct qn_team *team,
                          struct qn_err *err)
{
    QN_TRY(qn_features_prepare(f, b, team, err));
    return qn_features_finish(f, team, err);
}

/* ---- counted state ---- */

void qn_features_counted(struct qn_features *f)
{
    for (uint32_t i = 0; i < f->group_count; i++)
        f->groups[i]->is_counted = true;
}

void qn_features_budget(struct qn_features *f, struct qn_budget *budget, uint32_t first)
{
    f->budget = budget;
    f->first_account = first;
    for (uint32_t i = 0; i < f->group_count; i++)
        qn_budget_keep(budget, first + i, qn_group_counted_us(f->groups[i]->state));
}

uint64_t qn_features_cost(const struct qn_features *f, uint32_t row, int64_t newest_us,
                          bool *has_new_key)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < f->group_count; i++) {
        const struct qn_wave wave = wave_of(f, f->groups[i]);

        bytes += qn_group_cost(f->groups[i]->state, &wave, row, newest_us, has_new_key);
    }
    return bytes;
}

void qn_features_take(struct qn_features *f, uint32_t row, int64_t newest_us)
{
    for (uint32_t i = 0; i < f->group_count; i++) {
        const struct qn_wave wave = wave_of(f, f->groups[i]);

        qn_group_take(f->groups[i]->state, &wave, row, newest_us, f->budget, f->first_account + i);
    }
}

void qn_features_refuse(struct qn_features *f, uint32_t row)
{
    for (uint32_t i = 0; i < f->group_count; i++)
        f->groups[i]->role[row] = 0;
    f->has_refused = true;
}

void qn_features_recount(struct qn_features *f, int64_t newest_us)
{
    for (uint32_t i = 0; i < f->group_count; i++)
        qn_group_recount(f->groups[i]->state, newest_us, f->budget, f->first_account + i);
}

/* ---- a pipeline in stages ---- */

void qn_features_place(struct qn_features *f, uint32_t group, enum qn_group_place place,
                       bool has_floor)
{
    QN_ASSERT(group < f->group_count);
    f->groups[group]->place = place;
    f->groups[group]->has_floor = has_floor;
}

const uint32_t *qn_features_key_fields(const struct qn_features *f, uint32_t group)
{
    QN_ASSERT(group < f->group_count);
    return f->groups[group]->main_key;
}

uint32_t qn_features_window_count(const struct qn_features *f, uint32_t group)
{
    QN_ASSERT(group < f->group_count);
    return f->groups[group]->window_count;
}

struct qn_col *qn_features_window_col(const struct qn_features *f, uint32_t group, uint32_t window)
{
    QN_ASSERT(window < f->groups[group]->window_count);
    return f->groups[group]->out[window];
}

const struct qn_col *qn_features_col(const struct qn_features *f, uint32_t i)
{
    QN_ASSERT(i < f->count);
    return f->list[i].shown;
}

const uint8_t *qn_features_complete(const struct qn_features *f)
{
    return f->complete;
}

void qn_features_expire(struct qn_features *f, int64_t watermark_us, uint32_t rows)
{
    for (uint32_t i = 0; i < f->group_count; i++)
        qn_group_expire(f->groups[i]->state, watermark_us, rows);
}
