/* SPDX-License-Identifier: Apache-2.0
 * expression_run.c - evaluation of a compiled expression: a chunk of rows at a time, one plain loop
 * per operation.
 *
 * Columns are read where they lie; constants are spread over one chunk once per call; the last
 * operation writes straight into the result. Loops have no branch on null: they compute every row
 * and say in `valid` which of them count, so integers wrap instead of overflowing and nothing is
 * looked at through a pointer of a null row. Thread: any worker on its own rows. Memory:
 * temporaries of one chunk from the batch arena. */
#include "base/check.h"
#include "feature/expression_int.h"

#include <float.h>
#include <string.h>

/* The three row arrays of a loop with two operands. */
#define BINARY_HEAD(T, member, R, result)                                                          \
    const T *restrict a = c->in[0].member, *restrict b = c->in[1].member;                          \
    const uint8_t *restrict va = c->in[0].valid, *restrict vb = c->in[1].valid;                    \
    uint8_t *restrict valid = c->valid;                                                            \
    R *restrict out = c->result;                                                                   \
    const uint32_t n = c->n

#define UNARY_HEAD(T, member, R, result)                                                           \
    const T *restrict a = c->in[0].member;                                                         \
    const uint8_t *restrict va = c->in[0].valid;                                                   \
    uint8_t *restrict valid = c->valid;                                                            \
    R *restrict out = c->result;                                                                   \
    const uint32_t n = c->n

/* ---- copies ---- */

void qn_op_copy8(struct qn_expr_call *c)
{
    memcpy(c->valid, c->in[0].valid, c->n);
    memcpy(c->any, c->in[0].any, (size_t)c->n * 8);
}

void qn_op_copy16(struct qn_expr_call *c)
{
    memcpy(c->valid, c->in[0].valid, c->n);
    memcpy(c->any, c->in[0].any, (size_t)c->n * 16);
}

/* ---- integers and decimals: null where the result does not fit ---- */

void qn_op_add_i64(struct qn_expr_call *c)
{
    BINARY_HEAD(int64_t, i64, int64_t, i64);

    for (uint32_t i = 0; i < n; i++) {
        const uint64_t x = (uint64_t)a[i], y = (uint64_t)b[i], r = x + y;

        out[i] = (int64_t)r;
        valid[i] = va[i] & vb[i] & (uint8_t)(((~(x ^ y) & (x ^ r)) >> 63) ^ 1);
    }
}

void qn_op_sub_i64(struct qn_expr_call *c)
{
    BINARY_HEAD(int64_t, i64, int64_t, i64);

    for (uint32_t i = 0; i < n; i++) {
        const uint64_t x = (uint64_t)a[i], y = (uint64_t)b[i], r = x - y;

        out[i] = (int64_t)r;
        valid[i] = va[i] & vb[i] & (uint8_t)((((x ^ y) & (x ^ r)) >> 63) ^ 1);
    }
}

void qn_op_mul_i64(struct qn_expr_call *c)
{
    BINARY_HEAD(int64_t, i64, int64_t, i64);

    for (uint32_t i = 0; i < n; i++) {
        int64_t r;
        const bool over = __builtin_mul_overflow(a[i], b[i], &r);

        out[i] = r;
        valid[i] = va[i] & vb[i] & (uint8_t)!over;
    }
}

/* The sign of the dividend, as in C and SQL; null for a divisor of 0. */
void qn_op_mod_i64(struct qn_expr_call *c)
{
    BINARY_HEAD(int64_t, i64, int64_t, i64);

    for (uint32_t i = 0; i < n; i++) {
        const int64_t y = b[i];

        /* -1 is apart because INT64_MIN % -1 traps. */
        out[i] = y == 0 || y == -1 ? 0 : a[i] % y;
        valid[i] = va[i] & vb[i] & (uint8_t)(y != 0);
    }
}

void qn_op_neg_i64(struct qn_expr_call *c)
{
    UNARY_HEAD(int64_t, i64, int64_t, i64);

    for (uint32_t i = 0; i < n; i++) {
        out[i] = (int64_t)(0 - (uint64_t)a[i]);
        valid[i] = va[i] & (uint8_t)(a[i] != INT64_MIN);
    }
}

void qn_op_scale_i64(struct qn_expr_call *c)
{
    UNARY_HEAD(int64_t, i64, int64_t, i64);
    const int64_t factor = c->node->param[0];

    for (uint32_t i = 0; i < n; i++) {
        int64_t r;
        const bool over = __builtin_mul_overflow(a[i], factor, &r);

        out[i] = r;
        valid[i] = va[i] & (uint8_t)!over;
    }
}

/* ---- doubles: a result that is not finite is null ---- */

#define DOUBLE_OP(name, expr)                                                                      \
    void name(struct qn_expr_call *c)                                                              \
    {                                                                                              \
        BINARY_HEAD(double, f64, double, f64);                                                     \
                                                                                                   \
        for (uint32_t i = 0; i < n; i++) {                                                         \
            const double r = (expr);                                                               \
                                                                                                   \
            out[i] = r;                                                                            \
            valid[i] = va[i] & vb[i] & (uint8_t)(__builtin_fabs(r) <= DBL_MAX);                    \
        }                                                                                          \
    }

DOUBLE_OP(qn_op_add_f64, a[i] + b[i])
DOUBLE_OP(qn_op_sub_f64, a[i] - b[i])
DOUBLE_OP(qn_op_mul_f64, a[i] * b[i])

void qn_op_div_f64(struct qn_expr_call *c)
{
    BINARY_HEAD(double, f64, double, f64);

    for (uint32_t i = 0; i < n; i++) {
        /* Division by zero is defined in Annex F but trapped by the sanitizer: divide by 1 and say
         * null. */
        const double y = b[i] == 0 ? 1 : b[i], r = a[i] / y;

        out[i] = r;
        valid[i] = va[i] & vb[i] & (uint8_t)(b[i] != 0) & (uint8_t)(__builtin_fabs(r) <= DBL_MAX);
    }
}

void qn_op_neg_f64(struct qn_expr_call *c)
{
    UNARY_HEAD(double, f64, double, f64);

    for (uint32_t i = 0; i < n; i++) {
        out[i] = -a[i];
        valid[i] = va[i];
    }
}

void qn_op_int_double(struct qn_expr_call *c)
{
    UNARY_HEAD(int64_t, i64, double, f64);

    for (uint32_t i = 0; i < n; i++) {
        out[i] = (double)a[i];
        valid[i] = va[i];
    }
}

void qn_op_dec_double(struct qn_expr_call *c)
{
    UNARY_HEAD(int64_t, i64, double, f64);
    const unsigned scale = (unsigned)c->node->param[0];
    const double power = (double)qn_power_of_ten(scale);
    const int64_t exact = INT64_C(1) << 53;

    for (uint32_t i = 0; i < n; i++) {
        /* Both sides exact in a double: one division is the correctly rounded quotient. */
        if (__builtin_expect(a[i] >= -exact && a[i] <= exact, 1))
            out[i] = (double)a[i] / power;
        else
            out[i] = va[i] ? qn_scaled_double(a[i], scale) : 0;
        valid[i] = va[i];
    }
}

/* ---- comparisons ---- */

#define COMPARE(name, T, member, expr)                                                             \
    static void name(struct qn_expr_call *c)                                                       \
    {                                                                                              \
        BINARY_HEAD(T, member, int64_t, i64);                                                      \
                                                                                                   \
        for (uint32_t i = 0; i < n; i++)                                                           \
            valid[i] = va[i] & vb[i];                                                              \
        for (uint32_t i = 0; i < n; i++)                                                           \
            out[i] = (expr);                                                                       \
    }
#define COMPARE_ALL(prefix, T, member, x, y)                                                       \
    COMPARE(prefix##_eq, T, member, x == y)                                                        \
    COMPARE(prefix##_ne, T, member, x != y)                                                        \
    COMPARE(prefix##_lt, T, member, x < y)                                                         \
    COMPARE(prefix##_le, T, member, x <= y)                                                        \
    COMPARE(prefix##_gt, T, member, x > y)                                                         \
    COMPARE(prefix##_ge, T, member, x >= y)
#define COMPARE_TABLE(table, prefix)                                                               \
    qn_expr_op *const table[6] = {prefix##_eq, prefix##_ne, prefix##_lt,                           \
                                  prefix##_le, prefix##_gt, prefix##_ge};

COMPARE_ALL(i64, int64_t, i64, a[i], b[i])
COMPARE_ALL(f64, double, f64, a[i], b[i])
/* 2^63 * 10^18 is below 2^123: the products are exact. */
COMPARE_ALL(scaled, int64_t, i64, (__int128)a[i] * c->node->param[0],
            (__int128)b[i] * c->node->param[1])
COMPARE_TABLE(qn_op_compare_i64, i64)
COMPARE_TABLE(qn_op_compare_f64, f64)
COMPARE_TABLE(qn_op_compare_scaled, scaled)

/* Exact order of an integer and a double: <0, 0, >0; 2 where y is NaN. */
static int order_int_double(int64_t x, double y)
{
    if (y != y)
        return 2;
    if (y >= 9223372036854775808.0)
        return -1;
    if (y < -9223372036854775808.0)
        return 1;
    const int64_t whole = (int64_t)y; /* towards zero; exact */

    if (x != whole)
        return x < whole ? -1 : 1;
    const double rest = y - (double)whole; /* exact: both are doubles of one size or y is whole */

    return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

#define COMPARE_MIXED(name, expr)                                                                  \
    static void name(struct qn_expr_call *c)                                                       \
    {                                                                                              \
        const int64_t *restrict a = c->in[0].i64;                                                  \
        const double *restrict b = c->in[1].f64;                                                   \
        const uint8_t *restrict va = c->in[0].valid, *restrict vb = c->in[1].valid;                \
                                                                                                   \
        for (uint32_t i = 0; i < c->n; i++) {                                                      \
            const int order = order_int_double(a[i], b[i]);                                        \
                                                                                                   \
            c->i64[i] = (expr);                                                                    \
            c->valid[i] = va[i] & vb[i];                                                           \
        }                                                                                          \
    }
COMPARE_MIXED(mixed_eq, order == 0)
COMPARE_MIXED(mixed_ne, order != 0)
COMPARE_MIXED(mixed_lt, order < 0)
COMPARE_MIXED(mixed_le, order <= 0)
COMPARE_MIXED(mixed_gt, order == 1)
COMPARE_MIXED(mixed_ge, order == 0 || order == 1)
COMPARE_TABLE(qn_op_compare_int_double, mixed)

#define COMPARE_STR(name, expr)                                                                    \
    static void name(struct qn_expr_call *c)                                                       \
    {                                                                                              \
        const struct qn_str *restrict a = c->in[0].str, *restrict b = c->in[1].str;                \
        const uint8_t *restrict va = c->in[0].valid, *restrict vb = c->in[1].valid;                \
                                                                                                   \
        for (uint32_t i = 0; i < c->n; i++) {                                                      \
            const uint8_t v = va[i] & vb[i];                                                       \
                                                                                                   \
            c->valid[i] = v;                                                                       \
            c->i64[i] = v && (expr);                                                               \
        }                                                                                          \
    }
COMPARE_STR(str_eq, qn_str_eq(a[i], b[i]))
COMPARE_STR(str_ne, !qn_str_eq(a[i], b[i]))
COMPARE_STR(str_lt, qn_str_cmp(a[i], b[i]) < 0)
COMPARE_STR(str_le, qn_str_cmp(a[i], b[i]) <= 0)
COMPARE_STR(str_gt, qn_str_cmp(a[i], b[i]) > 0)
COMPARE_STR(str_ge, qn_str_cmp(a[i], b[i]) >= 0)
COMPARE_TABLE(qn_op_compare_str, str)

/* ---- sets ---- */

void qn_op_in_i64(struct qn_expr_call *c)
{
    UNARY_HEAD(int64_t, i64, int64_t, i64);
    const uint32_t count = (uint32_t)c->node->param[0];

    memcpy(valid, va, n);
    memset(out, 0, (size_t)n * 8);
    for (uint32_t k = 0; k < count; k++) {
        const int64_t y = c->node->set[k].i64;

        for (uint32_t i = 0; i < n; i++)
            out[i] |= a[i] == y;
    }
}

void qn_op_in_f64(struct qn_expr_call *c)
{
    UNARY_HEAD(double, f64, int64_t, i64);
    const uint32_t count = (uint32_t)c->node->param[0];

    memcpy(valid, va, n);
    memset(out, 0, (size_t)n * 8);
    for (uint32_t k = 0; k < count; k++) {
        const double y = c->node->set[k].f64;

        for (uint32_t i = 0; i < n; i++)
            out[i] |= a[i] == y;
    }
}

void qn_op_in_str(struct qn_expr_call *c)
{
    const uint32_t count = (uint32_t)c->node->param[0];
    const struct qn_value *set = c->node->set;

    for (uint32_t i = 0; i < c->n; i++) {
        bool found = false;

        c->valid[i] = c->in[0].valid[i];
        for (uint32_t k = 0; c->valid[i] && !found && k < count; k++)
            found = qn_str_eq(c->in[0].str[i], set[k].str);
        c->i64[i] = found;
    }
}

/* ---- truth: Kleene's three values ---- */

/* Where one side alone decides it is false, so the product is 0 whatever a null side holds. */
void qn_op_and(struct qn_expr_call *c)
{
    BINARY_HEAD(int64_t, i64, int64_t, i64);

    for (uint32_t i = 0; i < n; i++) {
        const uint8_t x = a[i] != 0, y = b[i] != 0;

        out[i] = x & y;
        valid[i] = (uint8_t)((va[i] & vb[i]) | (va[i] & (x ^ 1)) | (vb[i] & (y ^ 1)));
    }
}

void qn_op_or(struct qn_expr_call *c)
{
    BINARY_HEAD(int64_t, i64, int64_t, i64);

    for (uint32_t i = 0; i < n; i++) {
        const uint8_t x = va[i] & (uint8_t)(a[i] != 0), y = vb[i] & (uint8_t)(b[i] != 0);

        out[i] = x | y;
        valid[i] = (uint8_t)((va[i] & vb[i]) | x | y);
    }
}

void qn_op_not(struct qn_expr_call *c)
{
    UNARY_HEAD(int64_t, i64, int64_t, i64);

    for (uint32_t i = 0; i < n; i++) {
        out[i] = a[i] == 0;
        valid[i] = va[i];
    }
}

void qn_op_is_null(struct qn_expr_call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->i64[i] = c->in[0].valid[i] ^ 1;
    memset(c->valid, 1, c->n);
}

void qn_op_is_not_null(struct qn_expr_call *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        c->i64[i] = c->in[0].valid[i];
    memset(c->valid, 1, c->n);
}

/* ---- the run ---- */

/* Arrays of one evaluation; all in the batch arena, a chunk of rows each. */
struct run {
    uint8_t **valid; /* [registers], then [constants] */
    void **data;
};

static void spread(const struct qn_expr_node *x, uint32_t rows, uint8_t *valid, void *data)
{
    memset(valid, x->is_null ? 0 : 1, rows);
    if (x->kind.type == QN_STRING) {
        const struct qn_str s = x->is_null ? (struct qn_str){0} : x->value.str;

        for (uint32_t i = 0; i < rows; i++)
            ((struct qn_str *)data)[i] = s;
    } else if (x->kind.type == QN_LIST) {
        memset(data, 0, (size_t)rows * sizeof(struct qn_list));
    } else {
        const int64_t v = x->is_null ? 0 : x->value.i64; /* a double goes by its bits */

        for (uint32_t i = 0; i < rows; i++)
            ((int64_t *)data)[i] = v;
    }
}

static bool run_prepare(struct run *r, const struct qn_expr *e, uint32_t rows,
                        struct qn_arena *arena)
{
    const uint32_t registers = e->narrow + e->wide, all = registers + e->constants;

    *r = (struct run){0};
    if (all == 0)
        return true;
    r->valid = QN_NEW_N(arena, uint8_t *, all);
    r->data = QN_NEW_N(arena, void *, all);
    if (r->valid == NULL || r->data == NULL)
        return false;
    for (uint32_t i = 0; i < registers; i++) {
        r->valid[i] = qn_arena_alloc(arena, rows);
        r->data[i] = qn_arena_alloc(arena, (size_t)rows * (i < e->narrow ? 8 : 16));
        if (r->valid[i] == NULL || r->data[i] == NULL)
            return false;
    }
    for (uint32_t i = 0; i < e->count; i++) {
        const struct qn_expr_node *x = &e->nodes[i];
        const uint32_t at = registers + x->slot;

        if (x->what != QN_NODE_CONSTANT)
            continue;
        r->valid[at] = qn_arena_alloc(arena, rows);
        r->data[at] = qn_arena_alloc(arena, (size_t)rows * (qn_kind_is_wide(x->kind) ? 16 : 8));
        if (r->valid[at] == NULL || r->data[at] == NULL)
            return false;
        spread(x, rows, r->valid[at], r->data[at]);
    }
    return true;
}

static struct qn_vec operand(const struct qn_expr *e, const struct run *r, uint32_t index,
                             const struct qn_col *const *cols, uint32_t row)
{
    const struct qn_expr_node *x = &e->nodes[index];
    struct qn_vec v;

    if (x->what == QN_NODE_COLUMN) {
        const struct qn_col *col = cols[x->column];

        v.valid = col->valid + row;
        if (qn_kind_is_wide(x->kind))
            v.str = col->str + row;
        else
            v.i64 = col->i64 + row;
    } else {
        const uint32_t at = x->slot + (x->what == QN_NODE_CONSTANT ? e->narrow + e->wide : 0);

        v.valid = r->valid[at];
        v.any = r->data[at];
    }
    return v;
}

/* Rows [row, row + n) of the whole expression; the last node writes to valid and data. */
static bool run_chunk(const struct qn_expr *e, const struct run *r,
                      const struct qn_col *const *cols, uint32_t row, uint32_t n, uint8_t *valid,
                      void *data, struct qn_arena *arena)
{
    for (uint32_t i = 0; i < e->count; i++) {
        const struct qn_expr_node *x = &e->nodes[i];
        struct qn_expr_call c = {.n = n, .node = x, .arena = arena};

        if (x->what != QN_NODE_CALL)
            continue;
        for (uint32_t k = 0; k < x->ins; k++)
            c.in[k] = operand(e, r, x->in[k], cols, row);
        c.valid = i + 1 == e->count ? valid : r->valid[x->slot];
        c.any = i + 1 == e->count ? data : r->data[x->slot];
        x->op(&c);
        if (c.failed)
            return false;
    }
    return true;
}

qn_status qn_expr_run(const struct qn_expr *e, const struct qn_col *const *cols, uint32_t first,
                      uint32_t end, struct qn_col *out, struct qn_arena *arena, struct qn_err *err)
{
    const size_t width = qn_kind_is_wide(out->kind) ? 16 : 8;
    struct run r;

    QN_ASSERT(first <= end);
    QN_ASSERT(qn_kind_eq(out->kind, qn_expr_kind(e)));
    if (first == end)
        return QN_OK;
    if (!run_prepare(&r, e, end - first < QN_EXPR_CHUNK ? end - first : QN_EXPR_CHUNK, arena))
        return qn_err_set(err, QN_NOMEM, "out of memory in an expression");
    for (uint32_t row = first; row < end;) {
        const uint32_t n = end - row < QN_EXPR_CHUNK ? end - row : QN_EXPR_CHUNK;

        if (!run_chunk(e, &r, cols, row, n, out->valid + row, (char *)out->i64 + row * width,
                       arena))
            return qn_err_set(err, QN_NOMEM, "out of memory in an expression");
        row += n;
    }
    return QN_OK;
}

qn_status qn_expr_run_true(const struct qn_expr *e, const struct qn_col *const *cols,
                           uint32_t first, uint32_t end, uint8_t *out, struct qn_arena *arena,
                           struct qn_err *err)
{
    const uint32_t chunk = end - first < QN_EXPR_CHUNK ? end - first : QN_EXPR_CHUNK;
    struct run r;

    QN_ASSERT(first <= end);
    QN_ASSERT(qn_expr_kind(e).type == QN_BOOL);
    if (first == end)
        return QN_OK;
    uint8_t *valid = qn_arena_alloc(arena, chunk);
    int64_t *value = qn_arena_alloc(arena, (size_t)chunk * 8);

    if (valid == NULL || value == NULL || !run_prepare(&r, e, chunk, arena))
        return qn_err_set(err, QN_NOMEM, "out of memory in an expression");
    for (uint32_t row = first; row < end;) {
        const uint32_t n = end - row < chunk ? end - row : chunk;

        if (!run_chunk(e, &r, cols, row, n, valid, value, arena))
            return qn_err_set(err, QN_NOMEM, "out of memory in an expression");
        for (uint32_t i = 0; i < n; i++)
            out[row + i] = valid[i] & (uint8_t)(value[i] != 0);
        row += n;
    }
    return QN_OK;
}
