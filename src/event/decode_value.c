/* SPDX-License-Identifier: Apache-2.0
 * decode_value.c - one value into its column, whatever format it came in, and the fate of a row
 * after its last value.
 *
 * Called by decode_json.c and decode_csv.c. Invariant: a row that leaves here dead has no value in
 * any column of its stream; a row that leaves here alive has every required field. Thread: one
 * worker. Memory: lists in the worker's arena. */
#include "event/decode_int.h"

#include "base/check.h"

#include <math.h>

void qn_decode_begin(struct qn_decode_row *d, struct qn_batch *b, const struct qn_schema *s,
                     uint32_t first, uint32_t end, uint32_t worker)
{
    QN_ASSERT(first <= end && end <= b->rows_max);
    QN_ASSERT(worker < b->arena_count);
    QN_ASSERT(s->first_column + s->field_count <= b->col_count);
    d->fields = s->fields;
    d->cols = b->cols + s->first_column;
    d->arena = &b->arenas[worker];
    d->field_count = s->field_count;
    d->words = (s->field_count + 63) / 64;
    d->row = first;
    d->has_fault = false;
    d->no_memory = false;
    d->has_day = false;
    d->day_text = 0;
    d->day_tail = 0;
    d->day_us = 0;
    for (uint32_t i = 0; i < d->words; i++)
        d->must[i] = d->seen[i] = d->faulted[i] = 0;
    for (uint32_t f = 0; f < s->field_count; f++) {
        if (!s->fields[f].is_optional || s->fields[f].has_default)
            d->must[f >> 6] |= UINT64_C(1) << (f & 63);
        if (end > first)
            memset(d->cols[f].valid + first, 0, end - first);
    }
}

void qn_decode_kill(struct qn_decode_row *d, struct qn_batch *b, enum qn_reason reason,
                    uint32_t field)
{
    uint32_t row = d->row;

    QN_ASSERT(reason != QN_REASON_NONE);
    b->verdict[row] = QN_DEAD;
    b->reason[row] = (uint8_t)reason;
    b->reason_field[row] = (uint16_t)field;
    for (uint32_t f = 0; f < d->field_count; f++)
        d->cols[f].valid[row] = 0;
    for (uint32_t i = 0; i < d->words; i++)
        d->faulted[i] = 0;
    d->has_fault = false;
}

static void fill_default(struct qn_decode_row *d, uint32_t field)
{
    struct qn_col *c = &d->cols[field];
    const struct qn_value *v = &d->fields[field].fallback;

    c->valid[d->row] = 1;
    switch (c->kind.type) {
    case QN_DOUBLE:
        c->f64[d->row] = v->f64;
        break;
    case QN_STRING:
        c->str[d->row] = v->str;
        break;
    case QN_LIST:
        c->list[d->row] = (struct qn_list){v->list.v, v->list.n};
        break;
    default:
        c->i64[d->row] = v->i64;
        break;
    }
}

/* Some field is faulted, or one that must have a value has none. */
static void settle_slow(struct qn_decode_row *d, struct qn_batch *b)
{
    for (uint32_t w = 0; w < d->words; w++) {
        uint64_t open = (d->must[w] & ~d->seen[w]) | d->faulted[w];

        for (; open != 0; open &= open - 1) {
            uint32_t f = w * 64 + (uint32_t)__builtin_ctzll(open);

            if (d->faulted[w] >> (f & 63) & 1) {
                qn_decode_kill(d, b, d->fault[f], f);
                return;
            }
            if (!d->fields[f].has_default) {
                qn_decode_kill(d, b, QN_REASON_MISSING_FIELD, f);
                return;
            }
            fill_default(d, f);
        }
    }
}

void qn_decode_settle(struct qn_decode_row *d, struct qn_batch *b)
{
    uint64_t open = 0;

    for (uint32_t w = 0; w < d->words; w++)
        open |= (d->must[w] & ~d->seen[w]) | d->faulted[w];
    if (QN_UNLIKELY(open != 0))
        settle_slow(d, b);
    d->has_fault = false;
}

/* The years 0000 to 9999, what a time can be as text: a count in the wrong unit must not become a
 * watermark. */
bool qn_decode_epoch_range(int64_t us)
{
    return us >= INT64_C(-62167219200000000) && us <= INT64_C(253402300799999999);
}

/* Microseconds of digits * 10^exponent units, cut towards the past; unit_exponent: of the unit
 * against microseconds. */
static bool epoch_floor(const struct qn_decimal_text *n, int unit_exponent, int64_t *us)
{
    int64_t exponent = (int64_t)n->exponent + unit_exponent;
    uint64_t q = n->digits;
    bool has_rest = n->is_cut;
    int64_t v;

    for (; exponent > 0 && q != 0; exponent--)
        if (__builtin_mul_overflow(q, UINT64_C(10), &q))
            return false;
    for (; exponent < 0 && q != 0; exponent++) {
        has_rest |= q % 10 != 0;
        q /= 10;
    }
    if (q > INT64_MAX / 2)
        return false;
    v = (int64_t)q;
    *us = n->negative ? -v - has_rest : v;
    return true;
}

bool qn_decode_epoch(const struct qn_decimal_text *n, enum qn_time_unit unit, int64_t *us)
{
    static const int exponents[] = {
        [QN_TIME_S] = 6, [QN_TIME_MS] = 3, [QN_TIME_US] = 0, [QN_TIME_NS] = -3};

    QN_ASSERT(unit != QN_TIME_TEXT);
    return epoch_floor(n, exponents[unit], us) && qn_decode_epoch_range(*us);
}

void qn_decode_number(struct qn_decode_row *d, uint32_t field, const struct qn_decimal_text *n)
{
    const struct qn_field *f = &d->fields[field];
    struct qn_col *c = &d->cols[field];
    enum qn_reason reason = QN_REASON_NONE;

    switch (f->kind.type) {
    case QN_DOUBLE:
        c->f64[d->row] = qn_number_double(n);
        if (isinf(c->f64[d->row]))
            reason = QN_REASON_NOT_EXACT;
        break;
    case QN_INT64:
    case QN_DECIMAL:
        if (!qn_number_scaled(n, f->kind.type == QN_DECIMAL ? f->kind.scale : 0, &c->i64[d->row]))
            reason = QN_REASON_NOT_EXACT;
        break;
    case QN_TIMESTAMP:
        if (f->unit == QN_TIME_TEXT)
            reason = QN_REASON_WRONG_TYPE;
        else if (!qn_decode_epoch(n, f->unit, &c->i64[d->row]))
            reason = QN_REASON_BAD_TIME;
        break;
    default:
        reason = QN_REASON_WRONG_TYPE;
        break;
    }
    if (reason == QN_REASON_NONE)
        qn_decode_mark(d, c, field, d->row);
    else
        qn_decode_fault(d, field, reason);
}

void qn_decode_time_text(struct qn_decode_row *d, uint32_t field, struct qn_str text)
{
    struct qn_col *c = &d->cols[field];

    if (qn_timestamp_parse(text, &c->i64[d->row]))
        qn_decode_mark(d, c, field, d->row);
    else
        qn_decode_fault(d, field, QN_REASON_BAD_TIME);
}

bool qn_decode_new_day(struct qn_decode_row *d, const char *p)
{
    char midnight[20];
    int64_t us;

    memcpy(midnight, p, 10);
    memcpy(midnight + 10, "T00:00:00Z", 10);
    if (!qn_timestamp_parse((struct qn_str){midnight, sizeof midnight}, &us))
        return false;
    d->day_text = qn_load64(p);
    memcpy(&d->day_tail, p + 8, sizeof d->day_tail);
    d->day_us = us;
    d->has_day = true;
    return true;
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* One number of a list; NULL when there is none. */
static const char *list_number(const char *p, const char *end, double *v, bool *fits)
{
    struct qn_number_fast fast;
    struct qn_decimal_text n;
    const char *q = qn_number_fast(p, &fast);
    uint32_t len;

    if (q != NULL && q <= end && qn_fast_double(&fast, v))
        return q;
    len = qn_number_scan(p, end, &n);
    if (len == 0)
        return NULL;
    *v = qn_number_double(&n);
    *fits &= !isinf(*v);
    return p + len;
}

/* Values gathered before their count is known: on the stack first, then doubled in the arena. */
struct gather {
    double *v;
    uint32_t n, cap;
    double first[128];
};

static bool gather_more(struct gather *g, struct qn_arena *a)
{
    double *v = qn_arena_alloc(a, 2 * sizeof(double) * g->cap);

    if (v == NULL)
        return false;
    memcpy(v, g->v, sizeof(double) * g->n);
    g->v = v;
    g->cap *= 2;
    return true;
}

const char *qn_decode_list(struct qn_decode_row *d, const char *p, const char *end,
                           struct qn_list *out, bool *fits)
{
    struct gather g;
    double *v;

    g.v = g.first;
    g.n = 0;
    g.cap = sizeof g.first / sizeof g.first[0];
    *fits = true;
    if (p >= end || *p != '[')
        return NULL;
    p = skip_space(p + 1, end);
    if (p < end && *p == ']') {
        *out = (struct qn_list){NULL, 0};
        return p + 1;
    }
    for (;;) {
        if (p >= end)
            return NULL;
        if (g.n == g.cap && !gather_more(&g, d->arena))
            goto no_memory;
        p = list_number(p, end, &g.v[g.n++], fits);
        if (p == NULL)
            return NULL;
        p = skip_space(p, end);
        if (p >= end || (*p != ',' && *p != ']'))
            return NULL;
        if (*p == ']')
            break;
        p = skip_space(p + 1, end);
    }
    v = g.v;
    if (v == g.first) {
        v = qn_arena_alloc(d->arena, sizeof(double) * g.n);
        if (v == NULL)
            goto no_memory;
        memcpy(v, g.first, sizeof(double) * g.n);
    }
    *out = (struct qn_list){v, g.n};
    return p + 1;
no_memory:
    d->no_memory = true;
    return NULL;
}
