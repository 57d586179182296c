/* SPDX-License-Identifier: Apache-2.0
 * window_plan.c - compiles the windows of a group into boundaries, running sums and readings. See
 * window_int.h.
 *
 * Windows with equal ends share boundaries, and whatever sums two windows need at one boundary is
 * kept once. The record of a key is laid out here: head, what is counted, cursors, sums
 * boundary by boundary, leasts. Invariant: an offset of 0 means "none", since the head lies there.
 * Lifetime: the plan lives in the group's arena, boot lifetime. Thread: one, at start. */
#include "feature/window_int.h"

#include "base/check.h"

#include <string.h>

enum sum_kind { COUNT_OF, INT_OF, DOUBLE_OF, SUM_KINDS };

/* A running sum while the plan is made. */
struct wish {
    int32_t boundary;
    enum sum_kind kind;
    struct qn_flags need;
    uint32_t word;
    uint32_t at;
};

struct planner {
    struct qn_group *g;
    const struct qn_group_spec *spec;
    struct wish *wishes; /* up to 4 per window */
    uint32_t wish_count;
    struct qn_err *err;
};

static void flag_set(struct qn_flags *f, uint32_t bit)
{
    if (bit < 64)
        f->lo |= (uint64_t)1 << bit;
    else
        f->hi |= (uint64_t)1 << (bit - 64);
}

static int64_t add_capped(int64_t a, int64_t b)
{
    int64_t r;

    return __builtin_add_overflow(a, b, &r) ? INT64_MAX : r;
}

static qn_status check_window(const struct planner *p, const struct qn_window *w)
{
    const struct qn_group_spec *sp = p->spec;
    bool has_arg = w->aggregate != QN_AGGREGATE_COUNT;

    if ((unsigned)w->aggregate >= QN_AGGREGATE_COUNT_OF || w->over_us <= 0 || w->delayed_us < 0)
        return qn_err_set(p->err, QN_INVALID,
                          "a window needs a known aggregate and a positive length");
    if (w->where < -1 || w->where >= (int64_t)sp->where_count)
        return qn_err_set(p->err, QN_INVALID, "a window names a condition that is not there");
    if (has_arg ? w->arg < 0 || w->arg >= (int64_t)sp->arg_count : w->arg != -1)
        return qn_err_set(p->err, QN_INVALID, "a window names an argument that is not there");
    if (!has_arg)
        return QN_OK;
    enum qn_type type = sp->args[w->arg].type;
    bool is_extreme = w->aggregate == QN_AGGREGATE_MIN || w->aggregate == QN_AGGREGATE_MAX;

    if (type == QN_BOOL || type == QN_INT64 || type == QN_DOUBLE || type == QN_DECIMAL ||
        (type == QN_TIMESTAMP && is_extreme))
        return QN_OK;
    return qn_err_set(p->err, QN_INVALID, "an argument of type %s cannot be aggregated so",
                      qn_type_name(type));
}

static qn_status plan_check(const struct planner *p)
{
    const struct qn_group_spec *sp = p->spec;

    if (sp->window_count > QN_GROUP_WINDOWS_MAX || sp->arg_count > QN_GROUP_ARGS_MAX ||
        sp->where_count > QN_GROUP_WHERES_MAX)
        return qn_err_set(
            p->err, QN_LIMIT,
            "%u windows, %u arguments and %u conditions on one key; at most %d, %d and %d",
            sp->window_count, sp->arg_count, sp->where_count, QN_GROUP_WINDOWS_MAX,
            QN_GROUP_ARGS_MAX, QN_GROUP_WHERES_MAX);
    if (sp->slack_us < 0)
        return qn_err_set(p->err, QN_INVALID, "lateness cannot be negative");
    for (uint32_t i = 0; i < sp->window_count; i++)
        QN_TRY(check_window(p, &sp->windows[i]));
    return QN_OK;
}

/* Words and flag bits of an event. */
static void plan_event(struct planner *p)
{
    struct qn_group *g = p->g;
    uint32_t bit = g->arg_count;
    uint32_t word = 1;

    for (uint32_t i = 0; i < g->arg_count; i++) {
        g->args[i] = p->spec->args[i];
        if (g->args[i].type == QN_BOOL)
            g->truth_bit[i] = (uint8_t)bit++;
    }
    g->where_bit = bit;
    bit += g->where_count;
    g->ext_words = bit <= QN_INLINE_FLAGS ? 0 : bit <= 64 ? 1 : 2;
    word += g->ext_words;
    for (uint32_t i = 0; i < g->arg_count; i++) {
        if (g->args[i].type != QN_BOOL)
            g->arg_word[i] = (uint8_t)word++;
    }
    g->event_words = word;
}

static int64_t window_old_us(const struct qn_window *w)
{
    return add_capped(w->delayed_us, w->over_us);
}

static int32_t boundary_find(const struct qn_group *g, int64_t back_us)
{
    for (uint32_t i = 0; i < g->boundary_count; i++) {
        if (g->boundaries[i].back_us == back_us)
            return (int32_t)i;
    }
    return -1;
}

static void boundary_want(struct qn_group *g, int64_t back_us)
{
    if (boundary_find(g, back_us) >= 0)
        return;
    uint32_t i = g->boundary_count++;

    for (; i > 0 && g->boundaries[i - 1].back_us > back_us; i--)
        g->boundaries[i] = g->boundaries[i - 1];
    g->boundaries[i] = (struct qn_boundary){.back_us = back_us};
}

static void plan_boundaries(struct planner *p)
{
    struct qn_group *g = p->g;
    int64_t furthest_us = 0;

    for (uint32_t i = 0; i < g->window_count; i++) {
        const struct qn_window *w = &p->spec->windows[i];

        boundary_want(g, w->delayed_us);
        if (w->over_us == QN_OVER_ALL)
            g->is_unbounded = true;
        else
            boundary_want(g, window_old_us(w));
    }
    if (g->boundary_count > 0)
        furthest_us = g->boundaries[g->boundary_count - 1].back_us;
    g->keep_us = add_capped(furthest_us, p->spec->slack_us);
    g->has_floor = p->spec->has_floor;
    g->has_ring = g->boundary_count > 0 && (g->keep_us > 0 || g->has_floor);
}

static uint32_t wish_index(struct planner *p, int32_t boundary, enum sum_kind kind,
                           struct qn_flags need, uint32_t word)
{
    for (uint32_t i = 0; i < p->wish_count; i++) {
        const struct wish *w = &p->wishes[i];

        if (w->boundary == boundary && w->kind == kind && w->need.lo == need.lo &&
            w->need.hi == need.hi && w->word == word)
            return i;
    }
    p->wishes[p->wish_count] = (struct wish){boundary, kind, need, word, 0};
    return p->wish_count++;
}

static int32_t span_index(struct qn_group *g, const struct qn_window *w, struct qn_flags need,
                          int32_t young, int32_t old)
{
    bool is_bool = g->args[w->arg].type == QN_BOOL;
    struct qn_extreme x = {.need = need,
                           .word = g->arg_word[w->arg],
                           .is_bool = is_bool,
                           .is_double = g->args[w->arg].type == QN_DOUBLE,
                           .flip = w->aggregate == QN_AGGREGATE_MAX ? -1 : 0};
    uint32_t k = 0;

    if (is_bool)
        flag_set(&x.truth, g->truth_bit[w->arg]);
    while (k < g->extreme_count &&
           !(g->extremes[k].need.lo == x.need.lo && g->extremes[k].need.hi == x.need.hi &&
             g->extremes[k].flip == x.flip && g->extremes[k].word == x.word &&
             g->extremes[k].truth.lo == x.truth.lo && g->extremes[k].truth.hi == x.truth.hi))
        k++;
    if (k == g->extreme_count)
        g->extremes[g->extreme_count++] = x;
    for (uint32_t s = 0; s < g->span_count; s++) {
        if (g->spans[s].extreme == k && g->spans[s].young == young && g->spans[s].old == old)
            return (int32_t)s;
    }
    g->spans[g->span_count] = (struct qn_span){k, 0, young, old};
    return (int32_t)g->span_count++;
}

static enum qn_read_op read_op(const struct qn_group *g, const struct qn_window *w)
{
    if (w->aggregate == QN_AGGREGATE_COUNT)
        return QN_READ_COUNT;
    if (w->aggregate == QN_AGGREGATE_MIN || w->aggregate == QN_AGGREGATE_MAX)
        return QN_READ_LEAST;
    bool is_sum = w->aggregate == QN_AGGREGATE_SUM;

    if (g->args[w->arg].type == QN_BOOL)
        return is_sum ? QN_READ_SUM_BOOL : QN_READ_MEAN_BOOL;
    if (g->args[w->arg].type == QN_DOUBLE)
        return is_sum ? QN_READ_SUM_DOUBLE : QN_READ_MEAN_DOUBLE;
    return is_sum ? QN_READ_SUM_INT : QN_READ_MEAN_INT;
}

/* The sums a window is read from. Until plan_layout the reading holds numbers of wishes + 1. */
static void plan_reading(struct planner *p, uint32_t i)
{
    struct qn_group *g = p->g;
    const struct qn_window *w = &p->spec->windows[i];
    struct qn_reading *r = &g->readings[i];
    bool is_all = w->over_us == QN_OVER_ALL;
    int32_t young = boundary_find(g, w->delayed_us);
    int32_t old = is_all ? -1 : boundary_find(g, window_old_us(w));
    struct qn_flags need = {0, 0};
    enum qn_type type = QN_INT64;

    *r = (struct qn_reading){.op = read_op(g, w),
                             .need_us = is_all ? w->delayed_us : window_old_us(w),
                             .scale = 1,
                             .span = -1};
    if (w->where >= 0)
        flag_set(&need, g->where_bit + (uint32_t)w->where);
    if (w->arg >= 0) {
        flag_set(&need, (uint32_t)w->arg);
        type = g->args[w->arg].type;
        for (unsigned k = 0; type == QN_DECIMAL && k < g->args[w->arg].scale; k++)
            r->scale *= 10;
    }
    r->count_young = 1 + wish_index(p, young, COUNT_OF, need, 0);
    r->count_old = is_all ? 0 : 1 + wish_index(p, old, COUNT_OF, need, 0);
    if (w->aggregate == QN_AGGREGATE_MIN || w->aggregate == QN_AGGREGATE_MAX)
        r->span = span_index(g, w, need, young, old);
    if (w->aggregate != QN_AGGREGATE_SUM && w->aggregate != QN_AGGREGATE_MEAN)
        return;
    enum sum_kind kind = type == QN_BOOL ? COUNT_OF : type == QN_DOUBLE ? DOUBLE_OF : INT_OF;

    if (type == QN_BOOL)
        flag_set(&need, g->truth_bit[w->arg]);
    if (type == QN_DOUBLE) {
        uint32_t k = 0;

        while (k < g->double_arg_count && g->double_args[k] != (uint32_t)w->arg)
            k++;
        if (k == g->double_arg_count)
            g->double_args[g->double_arg_count++] = (uint32_t)w->arg;
    }
    r->sum_young = 1 + wish_index(p, young, kind, need, g->arg_word[w->arg]);
    r->sum_old = is_all ? 0 : 1 + wish_index(p, old, kind, need, g->arg_word[w->arg]);
}

/* Offsets of all sums of one boundary, and its lists of operations. */
static bool layout_boundary(struct planner *p, uint32_t boundary, uint32_t *at)
{
    static const uint32_t bytes[SUM_KINDS] = {8, 16, sizeof(struct qn_double_sum)};
    struct qn_group *g = p->g;
    struct qn_boundary *b = &g->boundaries[boundary];

    for (unsigned kind = 0; kind < SUM_KINDS; kind++) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < p->wish_count; i++)
            n += p->wishes[i].boundary == (int32_t)boundary && p->wishes[i].kind == kind;
        struct qn_op *ops = QN_NEW_N(&g->arena, struct qn_op, n + 1);

        if (ops == NULL)
            return false;
        n = 0;
        for (uint32_t i = 0; i < p->wish_count; i++) {
            struct wish *w = &p->wishes[i];

            if (w->boundary != (int32_t)boundary || w->kind != kind)
                continue;
            w->at = *at;
            *at += bytes[kind];
            ops[n++] = (struct qn_op){w->need, w->at, w->word};
        }
        if (kind == COUNT_OF) {
            b->counts = ops;
            b->count_ops = n;
        } else if (kind == INT_OF) {
            b->ints = ops;
            b->int_ops = n;
        } else {
            b->doubles = ops;
            b->double_ops = n;
        }
    }
    g->double_count += b->double_ops;
    return true;
}

static bool layout_spans(struct qn_group *g, uint32_t *at)
{
    for (uint32_t s = 0; s < g->span_count; s++) {
        g->spans[s].at = *at;
        *at += sizeof(struct qn_least);
    }
    for (uint32_t i = 0; i < g->boundary_count; i++) {
        struct qn_boundary *b = &g->boundaries[i];
        uint32_t *enters = QN_NEW_N(&g->arena, uint32_t, g->span_count + 1);
        uint32_t *leaves = QN_NEW_N(&g->arena, uint32_t, g->span_count + 1);

        if (enters == NULL || leaves == NULL)
            return false;
        for (uint32_t s = 0; s < g->span_count; s++) {
            if (g->spans[s].young == (int32_t)i)
                enters[b->enter_count++] = s;
            if (g->spans[s].old == (int32_t)i)
                leaves[b->leave_count++] = s;
        }
        b->enters = enters;
        b->leaves = leaves;
    }
    return true;
}

static bool plan_layout(struct planner *p)
{
    struct qn_group *g = p->g;
    uint32_t at = sizeof(struct qn_key);

    if (p->spec->is_counted) {
        g->counted_at = at;
        at += sizeof(uint64_t);
    }
    for (uint32_t i = 0; i < g->boundary_count; i++) {
        if (g->boundaries[i].back_us == 0)
            continue;
        g->boundaries[i].cursor_at = at;
        at += sizeof(struct qn_cursor);
    }
    g->sums_at = at;
    for (uint32_t i = 0; i < g->boundary_count; i++) {
        if (!layout_boundary(p, i, &at))
            return false;
    }
    g->leasts_at = at;
    if (!layout_spans(g, &at))
        return false;
    g->record_bytes = at;
    for (uint32_t i = 0; i < g->window_count; i++) {
        struct qn_reading *r = &g->readings[i];

        r->count_young = p->wishes[r->count_young - 1].at;
        r->count_old = r->count_old == 0 ? 0 : p->wishes[r->count_old - 1].at;
        r->sum_young = r->sum_young == 0 ? 0 : p->wishes[r->sum_young - 1].at;
        r->sum_old = r->sum_old == 0 ? 0 : p->wishes[r->sum_old - 1].at;
    }
    return true;
}

/* Sizes of chunks: a key's first is small, since most keys of most streams have few events; the
 * others hold 16, where headers (n / 16) and unused room (about one chunk, half of it at each end)
 * cost about the same at the usual tens of events; rings of thousands use 64. Few sizes, so that
 * what one key frees another can use. */
static void plan_chunks(struct qn_group *g)
{
    static const uint32_t caps[QN_CHUNK_LEVELS] = {4, 16, 64};
    static const uint32_t upto[QN_CHUNK_LEVELS] = {0, 4096, UINT32_MAX};

    g->extreme_bytes = g->extreme_count * 8;
    g->chunk_head_bytes = sizeof(struct qn_chunk) + g->extreme_bytes;
    for (uint32_t level = 0; level < QN_CHUNK_LEVELS; level++) {
        g->chunk_bytes[level] =
            (uint32_t)qn_slab_round(g->chunk_head_bytes + caps[level] * g->event_words * 8);
        g->chunk_upto[level] = upto[level];
    }
}

static qn_status plan_windows(struct planner *p)
{
    struct qn_group *g = p->g;
    uint32_t n = g->window_count;

    g->boundaries = QN_NEW_N(&g->arena, struct qn_boundary, 2 * n + 1);
    g->extremes = QN_NEW_N(&g->arena, struct qn_extreme, n + 1);
    g->spans = QN_NEW_N(&g->arena, struct qn_span, n + 1);
    g->readings = QN_NEW_N(&g->arena, struct qn_reading, n + 1);
    g->before = QN_NEW_N(&g->arena, uint32_t, n + 1);
    g->after = QN_NEW_N(&g->arena, uint32_t, n + 1);
    p->wishes = QN_NEW_N(&g->arena, struct wish, 4 * (size_t)n + 1);
    if (g->boundaries == NULL || g->extremes == NULL || g->spans == NULL || g->readings == NULL ||
        g->before == NULL || g->after == NULL || p->wishes == NULL)
        return qn_err_set(p->err, QN_NOMEM, "no memory for the plan of %u windows", n);
    plan_event(p);
    plan_boundaries(p);
    for (uint32_t i = 0; i < n; i++) {
        plan_reading(p, i);
        /* a delayed window does not hold the row's own event anyway */
        if (p->spec->windows[i].excludes_current)
            g->before[g->before_count++] = i;
        else
            g->after[g->after_count++] = i;
    }
    if (!plan_layout(p))
        return qn_err_set(p->err, QN_NOMEM, "no memory for the plan of %u windows", n);
    plan_chunks(g);
    return QN_OK;
}

qn_status qn_group_new(const struct qn_group_spec *spec, uint64_t seed, struct qn_group **out,
                       struct qn_err *err)
{
    struct qn_group *g;
    struct planner p = {.spec = spec, .err = err};
    qn_status rc;

    *out = NULL;
    QN_TRY(plan_check(&p));
    g = qn_mem_aligned(64, (sizeof *g + 63) & ~(size_t)63);
    if (g == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for a group of windows");
    memset(g, 0, sizeof *g);
    qn_arena_init(&g->arena, 0);
    g->seed = seed;
    g->save.cut = QN_CUT_FIRST;
    p.g = g;
    g->arg_count = spec->arg_count;
    g->where_count = spec->where_count;
    g->window_count = spec->window_count;
    rc = plan_windows(&p);
    for (unsigned l = 0; l < QN_LANES && rc == QN_OK; l++)
        rc = qn_table_new(g->record_bytes, seed, &g->lanes[l].table, err);
    if (rc != QN_OK) {
        qn_group_free(g);
        return rc;
    }
    *out = g;
    return QN_OK;
}

size_t qn_group_key_bytes(const struct qn_group *g, uint32_t key_len)
{
    /* the small chunk a key began with (others use it later), and about one chunk's room, half of
     * it at each end */
    return qn_table_key_bytes(g->record_bytes, key_len) +
           (g->has_ring ? g->chunk_bytes[0] + g->chunk_bytes[1] : 0);
}

double qn_group_event_bytes(const struct qn_group *g)
{
    uint32_t event_bytes = g->event_words * 8;
    uint32_t cap = (g->chunk_bytes[1] - g->chunk_head_bytes) / event_bytes;

    return g->has_ring ? (double)g->chunk_bytes[1] / cap : 0;
}

int64_t qn_group_keeps_us(const struct qn_group *g)
{
    return g->is_unbounded ? QN_OVER_ALL : g->keep_us;
}
