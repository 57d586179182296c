/* SPDX-License-Identifier: Apache-2.0
 * contract.c - limits of values column by column, then lateness row by row.
 *
 * After decode, before features. Fields are checked in the order of the schema and a row keeps its
 * first fault, so the reason of a dead letter does not depend on how rows were sliced. The
 * watermark is a running maximum over rows that are alive; only the limits may run in parallel.
 * Thread: limits any slice, the rest engine. Memory: boot for the sets. */
#include "event/contract.h"

#include "base/check.h"
#include "base/hash.h"

enum { SET_LINEAR_MAX = 8 };

/* Open addressing; slot = index + 1 into field.in, 0 = empty. One per field that has a long list,
 * else slots is NULL. */
struct set {
    uint32_t mask;
    const uint32_t *slots;
};

static uint64_t value_hash(enum qn_type type, const struct qn_value *v)
{
    if (type == QN_STRING)
        return qn_hash(v->str.p, v->str.len, 0);
    return (uint64_t)v->i64 * UINT64_C(0x9E3779B97F4A7C15);
}

static bool value_eq(enum qn_type type, const struct qn_value *a, const struct qn_value *b)
{
    return type == QN_STRING ? qn_str_eq(a->str, b->str) : a->i64 == b->i64;
}

static qn_status set_prepare(struct set *set, const struct qn_field *f, struct qn_arena *boot,
                             struct qn_err *err)
{
    uint32_t size = 16;
    uint32_t *slots;

    while (size < 2 * f->in_count)
        size *= 2;
    slots = QN_NEW_N(boot, uint32_t, size);
    if (slots == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for the allowed values of '%.*s'",
                          QN_STR_ARG(f->name));
    for (uint32_t i = 0; i < f->in_count; i++) {
        uint32_t at = (uint32_t)(value_hash(f->kind.type, &f->in[i]) >> 32) & (size - 1);

        while (slots[at] != 0)
            at = (at + 1) & (size - 1);
        slots[at] = i + 1;
    }
    *set = (struct set){size - 1, slots};
    return QN_OK;
}

qn_status qn_contract_prepare(struct qn_schema *s, struct qn_arena *boot, struct qn_err *err)
{
    struct set *sets = NULL;

    s->limits = NULL;
    for (uint32_t i = 0; i < s->field_count; i++) {
        const struct qn_field *f = &s->fields[i];

        if (f->in_count <= SET_LINEAR_MAX || f->kind.type == QN_DOUBLE || f->kind.type == QN_LIST)
            continue;
        if (sets == NULL && (sets = QN_NEW_N(boot, struct set, s->field_count)) == NULL)
            return qn_err_set(err, QN_NOMEM, "no memory for the limits of '%.*s'",
                              QN_STR_ARG(s->name));
        QN_TRY(set_prepare(&sets[i], f, boot, err));
    }
    s->limits = sets;
    return QN_OK;
}

static void dead(struct qn_batch *b, uint32_t row, enum qn_reason reason, uint32_t field)
{
    b->verdict[row] = QN_DEAD;
    b->reason[row] = (uint8_t)reason;
    b->reason_field[row] = (uint16_t)field;
}

/* One rule on one field: the rows of its stream that are alive and have a value. */
struct rule {
    struct qn_batch *b;
    const struct qn_field *f;
    const struct qn_col *c;
    const struct set *set; /* NULL = search one by one */
    uint32_t stream, field, first, end;
};

static inline bool applies(const struct rule *r, uint32_t row)
{
    return r->c->valid[row] && r->b->verdict[row] != QN_DEAD && r->b->stream[row] == r->stream;
}

static void check_i64(const struct rule *r)
{
    int64_t min = r->f->has_min ? r->f->min.i64 : INT64_MIN;
    int64_t max = r->f->has_max ? r->f->max.i64 : INT64_MAX;

    for (uint32_t row = r->first; row < r->end; row++)
        if (applies(r, row) && (r->c->i64[row] < min || r->c->i64[row] > max))
            dead(r->b, row, QN_REASON_OUT_OF_RANGE, r->field);
}

static inline bool outside(const struct qn_field *f, double v)
{
    return (f->has_min && !(v >= f->min.f64)) || (f->has_max && !(v <= f->max.f64));
}

static void check_f64(const struct rule *r)
{
    for (uint32_t row = r->first; row < r->end; row++)
        if (applies(r, row) && outside(r->f, r->c->f64[row]))
            dead(r->b, row, QN_REASON_OUT_OF_RANGE, r->field);
}

static void check_list(const struct rule *r)
{
    for (uint32_t row = r->first; row < r->end; row++) {
        const struct qn_list *l = &r->c->list[row];
        uint32_t i = 0;

        if (!applies(r, row))
            continue;
        if (r->f->length_exact != 0 && l->n != r->f->length_exact) {
            dead(r->b, row, QN_REASON_WRONG_LENGTH, r->field);
        } else if (r->f->length_max != 0 && l->n > r->f->length_max) {
            dead(r->b, row, QN_REASON_TOO_LONG, r->field);
        } else if (r->f->has_min || r->f->has_max) {
            while (i < l->n && !outside(r->f, l->v[i]))
                i++;
            if (i < l->n)
                dead(r->b, row, QN_REASON_OUT_OF_RANGE, r->field);
        }
    }
}

static void check_length(const struct rule *r)
{
    uint32_t max = r->f->length_max;

    for (uint32_t row = r->first; row < r->end; row++) {
        struct qn_str s;

        if (!applies(r, row))
            continue;
        s = r->c->str[row];
        if (s.len > max && qn_utf8_count(s.p, s.len) > max)
            dead(r->b, row, QN_REASON_TOO_LONG, r->field);
    }
}

static bool is_allowed(const struct rule *r, const struct qn_value *v)
{
    const struct qn_field *f = r->f;

    if (r->set != NULL && r->set->slots != NULL) {
        uint32_t at = (uint32_t)(value_hash(f->kind.type, v) >> 32) & r->set->mask;

        for (; r->set->slots[at] != 0; at = (at + 1) & r->set->mask)
            if (value_eq(f->kind.type, v, &f->in[r->set->slots[at] - 1]))
                return true;
        return false;
    }
    for (uint32_t i = 0; i < f->in_count; i++)
        if (value_eq(f->kind.type, v, &f->in[i]))
            return true;
    return false;
}

static void check_in(const struct rule *r)
{
    for (uint32_t row = r->first; row < r->end; row++) {
        struct qn_value v = {0};

        if (!applies(r, row))
            continue;
        if (r->f->kind.type == QN_STRING)
            v.str = r->c->str[row];
        else
            v.i64 = r->c->i64[row];
        if (!is_allowed(r, &v))
            dead(r->b, row, QN_REASON_NOT_ALLOWED, r->field);
    }
}

static void check_field(const struct rule *r)
{
    const struct qn_field *f = r->f;
    bool has_range = f->has_min || f->has_max;

    switch (f->kind.type) {
    case QN_LIST:
        if (has_range || f->length_max != 0 || f->length_exact != 0)
            check_list(r);
        break;
    case QN_DOUBLE:
        if (has_range)
            check_f64(r);
        break;
    case QN_STRING:
        if (f->length_max != 0)
            check_length(r);
        if (f->in_count != 0)
            check_in(r);
        break;
    default:
        if (has_range)
            check_i64(r);
        if (f->in_count != 0)
            check_in(r);
        break;
    }
}

void qn_contract_check(struct qn_batch *b, const struct qn_schema *s, uint32_t stream_index,
                       uint32_t first, uint32_t end)
{
    const struct qn_col *cols = b->cols + s->first_column;
    const struct set *sets = s->limits;

    QN_ASSERT(first <= end && end <= b->rows_max);
    QN_ASSERT(s->time >= 0 && (uint32_t)s->time < s->field_count);
    for (uint32_t i = 0; i < s->field_count; i++)
        check_field(&(struct rule){b, &s->fields[i], &cols[i], sets != NULL ? &sets[i] : NULL,
                                   stream_index, i, first, end});
    for (uint32_t row = first; row < end; row++) {
        if (b->stream[row] != stream_index || b->verdict[row] == QN_DEAD)
            continue;
        if (cols[s->time].valid[row])
            b->time_us[row] = cols[s->time].i64[row];
        else
            dead(b, row, QN_REASON_MISSING_FIELD, (uint32_t)s->time);
    }
}

/* The row is `behind_us` behind its watermark: what becomes of it is the stream's choice. */
static void late_row(struct qn_batch *b, uint32_t row, const struct qn_schema *s,
                     uint64_t behind_us)
{
    bool is_within = behind_us <= (uint64_t)s->within_us;

    b->is_late[row] = 1;
    if (s->late == QN_LATE_SCORE && is_within)
        return;
    b->reason_field[row] = (uint16_t)s->time;
    if (!is_within && (s->late == QN_LATE_SCORE || s->late == QN_LATE_FOLD)) {
        b->verdict[row] = QN_DEAD;
        b->reason[row] = QN_REASON_TOO_LATE;
    } else {
        b->verdict[row] = QN_LATE;
        b->reason[row] = QN_REASON_LATE_EVENT;
    }
}

/* Moves the watermark, or is late. */
static void row_lateness(struct qn_batch *b, uint32_t row, const struct qn_schema *s,
                         struct qn_watermark *w)
{
    const int64_t t = b->time_us[row];
    int64_t mark;

    if (!w->seen || t >= w->newest_us) {
        *w = (struct qn_watermark){true, t};
        return;
    }
    QN_ASSERT(s->lateness_us >= 0 && s->within_us >= 0);
    if (__builtin_sub_overflow(w->newest_us, s->lateness_us, &mark))
        mark = INT64_MIN;
    if (t < mark)
        late_row(b, row, s, (uint64_t)mark - (uint64_t)t);
}

void qn_contract_lateness(struct qn_batch *b, const struct qn_schema *schemas,
                          uint32_t schema_count, struct qn_watermark *w)
{
    struct qn_watermark mark = *w;

    for (uint32_t row = 0; row < b->rows; row++) {
        const bool was_refused = b->reason[row] == QN_REASON_STATE_FULL;

        if (b->verdict[row] == QN_DEAD)
            continue;
        QN_ASSERT(b->stream[row] < schema_count);
        if (b->arrival_us[row] < INT64_MAX - QN_FUTURE_US &&
            b->time_us[row] > b->arrival_us[row] + QN_FUTURE_US) {
            b->verdict[row] = QN_DEAD;
            b->reason[row] = QN_REASON_FUTURE_TIME;
            b->reason_field[row] = (uint16_t)schemas[b->stream[row]].time;
            continue;
        }
        row_lateness(b, row, &schemas[b->stream[row]], &mark);
        if (was_refused)
            dead(b, row, QN_REASON_STATE_FULL, QN_NO_FIELD);
    }
    *w = mark;
}

void qn_contract_count(const struct qn_batch *b, struct qn_counts *counts)
{
    for (uint32_t row = 0; row < b->rows; row++) {
        struct qn_counts *c = &counts[b->stream[row]];

        c->read++;
        c->verdict[b->verdict[row]]++;
        c->late_scored += b->verdict[row] == QN_SCORED && b->is_late[row];
        c->reason[b->reason[row]] += b->reason[row] != QN_REASON_NONE;
    }
}
