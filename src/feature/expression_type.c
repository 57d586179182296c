/* SPDX-License-Identifier: Apache-2.0
 * expression_type.c - typing: every operation is checked and chosen the moment the parser has read
 * its operands.
 *
 * Rules (expression.h): int64 with decimal gives decimal, anything with double gives double, a
 * literal takes the type of the other side where it fits exactly, nothing else converts. An
 * operation whose operands are all constants is run once, here, by the same loops that run over
 * columns. A mistake gives a diagnostic at the bytes concerned and QN_NODE_BAD, which silences what
 * follows from it. Thread: one. Memory: the arena of the builder. */
#include "base/check.h"
#include "feature/expression_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KIND(t) ((struct qn_kind){.type = (t)})

enum { SCALE_MAX = 18 };

static struct qn_expr_node *node(const struct qn_builder *bd, uint32_t x)
{
    QN_ASSERT(x < bd->count);
    return &bd->nodes[x];
}

void qn_expr_report(struct qn_builder *bd, enum qn_diag_code code, uint32_t at, uint32_t len,
                    const char *hint, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    qn_diag_error(bd->diags, code, qn_expr_pos(bd->at, at, len), hint, "%s", text);
}

/* "int64", "decimal(2)", "null" for messages. */
static const char *kind_text(const struct qn_expr_node *x, char out[24])
{
    if (x->literal == QN_LITERAL_NULL)
        return "null";
    if (x->literal == QN_LITERAL_DURATION)
        return "a duration";
    return qn_kind_print(x->kind, out);
}

/* ---- adding nodes ---- */

static uint32_t add(struct qn_builder *bd, const struct qn_expr_node *x)
{
    if (bd->count == bd->cap) {
        const uint32_t cap = bd->cap == 0 ? 16 : bd->cap * 2;
        struct qn_expr_node *nodes = QN_NEW_N(bd->arena, struct qn_expr_node, cap);

        if (nodes == NULL) {
            bd->failed = true;
            return QN_NODE_BAD;
        }
        if (bd->count > 0)
            memcpy(nodes, bd->nodes, bd->count * sizeof *nodes);
        bd->nodes = nodes;
        bd->cap = cap;
    }
    if (bd->count == QN_EXPR_NODES_MAX) {
        qn_expr_report(bd, QN_DIAG_RANGE, x->at, x->len, NULL,
                       "an expression has at most %d operations", (int)QN_EXPR_NODES_MAX);
        return QN_NODE_BAD;
    }
    bd->nodes[bd->count] = *x;
    return bd->count++;
}

/* Runs an operation on constants: one row. */
static uint32_t fold(struct qn_builder *bd, const struct qn_expr_node *x)
{
    struct qn_expr_node made = {
        .what = QN_NODE_CONSTANT, .kind = x->kind, .at = x->at, .len = x->len};
    struct qn_expr_call c = {.n = 1, .node = x, .arena = bd->arena};
    uint8_t valid = 0, in_valid[3];
    union {
        int64_t i64;
        struct qn_str str;
    } in[3] = {{0}}, out = {0};

    for (uint32_t k = 0; k < x->ins; k++) {
        const struct qn_expr_node *from = node(bd, x->in[k]);

        in_valid[k] = !from->is_null;
        if (from->kind.type == QN_STRING && !from->is_null)
            in[k].str = from->value.str;
        else if (!from->is_null)
            in[k].i64 = from->value.i64;
        c.in[k].valid = &in_valid[k];
        c.in[k].any = &in[k];
    }
    c.valid = &valid;
    c.any = &out;
    x->op(&c);
    if (c.failed) {
        bd->failed = true;
        return QN_NODE_BAD;
    }
    made.is_null = !valid;
    if (valid && x->kind.type == QN_STRING)
        made.value.str = out.str;
    else if (valid)
        made.value.i64 = out.i64;
    return add(bd, &made);
}

uint32_t qn_make_op(struct qn_builder *bd, qn_expr_op *op, struct qn_kind kind, const uint32_t *in,
                    uint32_t ins, const int64_t param[2])
{
    struct qn_expr_node x = {.what = QN_NODE_CALL, .kind = kind, .op = op, .ins = ins};
    uint32_t end = 0;
    bool constant = true;

    x.at = UINT32_MAX;
    for (uint32_t k = 0; k < ins; k++) {
        if (in[k] == QN_NODE_BAD)
            return QN_NODE_BAD;
        const struct qn_expr_node *from = node(bd, in[k]);

        x.in[k] = in[k];
        constant = constant && from->what == QN_NODE_CONSTANT;
        x.at = from->at < x.at ? from->at : x.at;
        end = from->at + from->len > end ? from->at + from->len : end;
    }
    x.len = end - x.at;
    if (param != NULL)
        memcpy(x.param, param, sizeof x.param);
    return constant ? fold(bd, &x) : add(bd, &x);
}

/* ---- literals and names ---- */

uint32_t qn_make_number(struct qn_builder *bd, const struct qn_decimal_text *d, uint32_t at,
                        uint32_t len)
{
    struct qn_expr_node x = {
        .what = QN_NODE_CONSTANT, .literal = QN_LITERAL_NUMBER, .number = *d, .at = at, .len = len};

    x.number.text = (struct qn_str){0}; /* borrowed from a text that may go */
    if (d->is_integer && qn_number_scaled(d, 0, &x.value.i64)) {
        x.kind = KIND(QN_INT64);
    } else {
        x.kind = KIND(QN_DOUBLE);
        x.value.f64 = qn_number_double(d);
        if (__builtin_isinf(x.value.f64)) {
            qn_expr_report(bd, QN_DIAG_RANGE, at, len, NULL,
                           "this number is larger than any double (about 1.8e308)");
            return QN_NODE_BAD;
        }
    }
    return add(bd, &x);
}

uint32_t qn_make_duration(struct qn_builder *bd, int64_t us, uint32_t at, uint32_t len)
{
    struct qn_expr_node x = {
        .what = QN_NODE_CONSTANT, .literal = QN_LITERAL_DURATION, .us = us, .at = at, .len = len};

    if (us % 1000000 == 0) {
        x.kind = KIND(QN_INT64);
        x.value.i64 = us / 1000000;
    } else {
        x.kind = KIND(QN_DOUBLE);
        x.value.f64 = qn_scaled_double(us, 6);
    }
    return add(bd, &x);
}

uint32_t qn_make_text(struct qn_builder *bd, struct qn_str text, uint32_t at, uint32_t len)
{
    struct qn_expr_node x = {.what = QN_NODE_CONSTANT,
                             .literal = QN_LITERAL_TEXT,
                             .kind = KIND(QN_STRING),
                             .at = at,
                             .len = len};

    x.value.str = text;
    return add(bd, &x);
}

uint32_t qn_make_bool(struct qn_builder *bd, bool value, uint32_t at, uint32_t len)
{
    struct qn_expr_node x = {.what = QN_NODE_CONSTANT, .kind = KIND(QN_BOOL), .at = at, .len = len};

    x.value.i64 = value;
    return add(bd, &x);
}

uint32_t qn_make_null(struct qn_builder *bd, uint32_t at, uint32_t len)
{
    struct qn_expr_node x = {.what = QN_NODE_CONSTANT,
                             .literal = QN_LITERAL_NULL,
                             .kind = KIND(QN_BOOL),
                             .at = at,
                             .len = len,
                             .is_null = true};

    return add(bd, &x);
}

static void unknown_name(struct qn_builder *bd, struct qn_str name, uint32_t at, uint32_t len)
{
    const struct qn_scope *sc = bd->scope;
    struct qn_str *known = QN_NEW_N(bd->arena, struct qn_str, sc->count + 1);

    if (known == NULL) {
        bd->failed = true;
        return;
    }
    for (uint32_t i = 0; i < sc->count; i++)
        known[i] = sc->names[i].name;
    qn_diag_unknown(bd->diags, qn_expr_pos(bd->at, at, len), sc->what, name, known, sc->count);
}

uint32_t qn_make_name(struct qn_builder *bd, struct qn_str name, uint32_t at, uint32_t len)
{
    for (uint32_t i = 0; i < bd->scope->count; i++) {
        const struct qn_name *known = &bd->scope->names[i];
        struct qn_expr_node x = {.what = QN_NODE_COLUMN,
                                 .kind = known->kind,
                                 .column = known->column,
                                 .at = at,
                                 .len = len};

        if (!qn_str_eq(name, known->name))
            continue;
        return known->kind.type == QN_TYPE_COUNT ? QN_NODE_BAD : add(bd, &x);
    }
    unknown_name(bd, name, at, len);
    return QN_NODE_BAD;
}

/* ---- conversion ---- */

/* A literal number's own decimals, or more than SCALE_MAX where it is no decimal. */
static unsigned own_scale(const struct qn_expr_node *x)
{
    int64_t ignored;

    if (x->number.is_cut || x->number.exponent < -SCALE_MAX)
        return SCALE_MAX + 1;
    const unsigned scale = x->number.exponent < 0 ? (unsigned)-x->number.exponent : 0;

    return qn_number_scaled(&x->number, scale, &ignored) ? scale : SCALE_MAX + 1;
}

/* The value of a literal as that kind: true if it fits exactly (a double: the nearest). */
static bool literal_as(const struct qn_expr_node *x, struct qn_kind to, struct qn_value *out)
{
    switch (x->literal) {
    case QN_LITERAL_NUMBER:
        if (to.type == QN_DOUBLE) {
            out->f64 = qn_number_double(&x->number);
            return true;
        }
        return (to.type == QN_INT64 || to.type == QN_DECIMAL) &&
               qn_number_scaled(&x->number, to.scale, &out->i64);
    case QN_LITERAL_DURATION: {
        const int64_t unit = 1000000;

        if (to.type == QN_DOUBLE) {
            out->f64 = qn_scaled_double(x->us, 6);
            return true;
        }
        if (to.type == QN_INT64 || (to.type == QN_DECIMAL && to.scale <= 6)) {
            const int64_t step = unit / qn_power_of_ten(to.scale);

            out->i64 = x->us / step;
            return x->us % step == 0;
        }
        return false;
    }
    case QN_LITERAL_TEXT:
        return to.type == QN_TIMESTAMP && qn_timestamp_parse(x->value.str, &out->i64);
    case QN_LITERAL_NULL:
        *out = (struct qn_value){0};
        return true;
    case QN_LITERAL_NONE:
        break;
    }
    return false;
}

uint32_t qn_make_convert(struct qn_builder *bd, uint32_t x, struct qn_kind to)
{
    if (x == QN_NODE_BAD)
        return x;
    struct qn_expr_node from = *node(bd, x);

    if (from.literal != QN_LITERAL_NULL && qn_kind_eq(from.kind, to))
        return x;
    if (from.literal != QN_LITERAL_NONE) {
        if (!literal_as(&from, to, &from.value))
            return QN_NODE_BAD;
        from.kind = to;
        return add(bd, &from);
    }
    if (to.type == QN_DOUBLE && from.kind.type == QN_INT64)
        return qn_make_op(bd, qn_op_int_double, to, &x, 1, NULL);
    if (to.type == QN_DOUBLE && from.kind.type == QN_DECIMAL)
        return qn_make_op(bd, qn_op_dec_double, to, &x, 1, (int64_t[2]){from.kind.scale, 0});
    if (to.type == QN_DECIMAL && (from.kind.type == QN_INT64 || from.kind.type == QN_DECIMAL) &&
        from.kind.scale <= to.scale) {
        if (from.kind.scale == to.scale) { /* int64 as decimal(0): the same values */
            from.kind = to;
            return from.what == QN_NODE_CALL ? qn_make_op(bd, qn_op_copy8, to, &x, 1, NULL)
                                             : add(bd, &from);
        }
        return qn_make_op(bd, qn_op_scale_i64, to, &x, 1,
                          (int64_t[2]){qn_power_of_ten(to.scale - from.kind.scale), 0});
    }
    return QN_NODE_BAD;
}

/* The kind in which a and b can meet. False: there is none. Null alone meets everything. */
static bool common_kind(const struct qn_expr_node *a, const struct qn_expr_node *b,
                        struct qn_kind *out)
{
    struct qn_value ignored;
    const bool a_adapts = a->literal != QN_LITERAL_NONE, b_adapts = b->literal != QN_LITERAL_NONE;

    if (a->literal == QN_LITERAL_NULL || b->literal == QN_LITERAL_NULL) {
        *out = a->literal == QN_LITERAL_NULL ? b->kind : a->kind;
        return true;
    }
    if (qn_kind_is_number(a->kind) && qn_kind_is_number(b->kind)) {
        if (a_adapts != b_adapts) {
            const struct qn_expr_node *lit = a_adapts ? a : b, *other = a_adapts ? b : a;

            if (literal_as(lit, other->kind, &ignored)) {
                *out = other->kind;
                return true;
            }
            if (other->kind.type == QN_DECIMAL && lit->literal == QN_LITERAL_NUMBER &&
                own_scale(lit) <= SCALE_MAX) {
                *out = (struct qn_kind){QN_DECIMAL, (uint8_t)own_scale(lit)};
                if (out->scale < other->kind.scale) /* too large at the other's scale */
                    *out = KIND(QN_DOUBLE);
                return true;
            }
            *out = KIND(QN_DOUBLE);
            return true;
        }
        if (a->kind.type == QN_DOUBLE || b->kind.type == QN_DOUBLE)
            *out = KIND(QN_DOUBLE);
        else if (a->kind.type == QN_DECIMAL || b->kind.type == QN_DECIMAL)
            *out = (struct qn_kind){QN_DECIMAL,
                                    a->kind.scale > b->kind.scale ? a->kind.scale : b->kind.scale};
        else
            *out = KIND(QN_INT64);
        return true;
    }
    if (a->kind.type == b->kind.type) {
        *out = a->kind;
        return a->kind.type != QN_LIST;
    }
    if (a_adapts && literal_as(a, b->kind, &ignored))
        *out = b->kind;
    else if (b_adapts && literal_as(b, a->kind, &ignored))
        *out = a->kind;
    else
        return false;
    return true;
}

/* Why two types do not meet, with the remedy for the usual cases. verb: "compare", "combine". */
static void report_clash(struct qn_builder *bd, const char *verb, const struct qn_expr_node *a,
                         const struct qn_expr_node *b, uint32_t at, uint32_t len)
{
    char ka[24], kb[24];
    const char *hint = NULL;
    const bool a_time = a->kind.type == QN_TIMESTAMP, b_time = b->kind.type == QN_TIMESTAMP;

    if ((a_time && b->literal == QN_LITERAL_TEXT) || (b_time && a->literal == QN_LITERAL_TEXT)) {
        const struct qn_expr_node *text = a_time ? b : a;

        qn_expr_report(bd, QN_DIAG_TYPE, text->at, text->len, "written like '2018-04-01T00:00:31Z'",
                       "'%.*s' is not a timestamp", QN_STR_ARG(text->value.str));
        return;
    }
    if (a->kind.type == QN_STRING || b->kind.type == QN_STRING)
        hint = a->literal == QN_LITERAL_TEXT || b->literal == QN_LITERAL_TEXT
                   ? "a number is written without quotes"
                   : "a text in the spec needs quotes: 'text'";
    else if (a->kind.type == QN_BOOL || b->kind.type == QN_BOOL)
        hint = "true and false are not numbers: write x, not x, or if(x, 1, 0)";
    else if (a_time || b_time)
        hint = "hour(t), seconds_between(a, b) give numbers";
    qn_expr_report(bd, QN_DIAG_TYPE, at, len, hint, "cannot %s %s with %s", verb, kind_text(a, ka),
                   kind_text(b, kb));
}

/* ---- operators ---- */

uint32_t qn_make_negative(struct qn_builder *bd, uint32_t x, uint32_t at)
{
    char k[24];

    if (x == QN_NODE_BAD)
        return x;
    const struct qn_expr_node from = *node(bd, x);
    const uint32_t len = from.at + from.len - at;

    if (from.literal == QN_LITERAL_NUMBER) {
        struct qn_decimal_text d = from.number;

        d.negative = !d.negative;
        return qn_make_number(bd, &d, at, len);
    }
    if (from.literal == QN_LITERAL_DURATION)
        return qn_make_duration(bd, -from.us, at, len);
    if (!qn_kind_is_number(from.kind)) {
        qn_expr_report(bd, QN_DIAG_TYPE, at, len, from.kind.type == QN_BOOL ? "use 'not'" : NULL,
                       "'-' needs a number, found %s", kind_text(&from, k));
        return QN_NODE_BAD;
    }
    return qn_make_op(bd, from.kind.type == QN_DOUBLE ? qn_op_neg_f64 : qn_op_neg_i64, from.kind,
                      &x, 1, NULL);
}

/* True if x is bool, or null which becomes one. */
static bool is_condition(const struct qn_expr_node *x)
{
    return x->kind.type == QN_BOOL;
}

uint32_t qn_make_not(struct qn_builder *bd, uint32_t x, uint32_t at)
{
    char k[24];

    if (x == QN_NODE_BAD)
        return x;
    const struct qn_expr_node *from = node(bd, x);

    if (!is_condition(from)) {
        qn_expr_report(bd, QN_DIAG_TYPE, from->at, from->len,
                       "compare it, for example x == 0, or x is null",
                       "'not' needs true or false, found %s", kind_text(from, k));
        return QN_NODE_BAD;
    }
    const uint32_t made = qn_make_op(bd, qn_op_not, KIND(QN_BOOL), &x, 1, NULL);

    if (made != QN_NODE_BAD) {
        node(bd, made)->len += node(bd, made)->at - at;
        node(bd, made)->at = at;
    }
    return made;
}

uint32_t qn_make_is_null(struct qn_builder *bd, uint32_t x, bool wanted, uint32_t at, uint32_t len)
{
    const uint32_t made =
        qn_make_op(bd, wanted ? qn_op_is_null : qn_op_is_not_null, KIND(QN_BOOL), &x, 1, NULL);

    if (made != QN_NODE_BAD)
        node(bd, made)->len = at + len - node(bd, made)->at;
    return made;
}

static uint32_t make_truth(struct qn_builder *bd, enum qn_token_kind op, uint32_t a, uint32_t b)
{
    const uint32_t in[2] = {a, b};
    const char *word = op == QN_TOKEN_AND ? "and" : "or";
    bool fits = true;
    char k[24];

    for (int i = 0; i < 2; i++) {
        const struct qn_expr_node *x = node(bd, in[i]);

        if (is_condition(x))
            continue;
        fits = false;
        qn_expr_report(bd, QN_DIAG_TYPE, x->at, x->len,
                       op == QN_TOKEN_OR ? "a default for null is written coalesce(x, 0)"
                                         : "compare it, for example x > 0",
                       "'%s' needs true or false on both sides, found %s", word, kind_text(x, k));
    }
    return fits ? qn_make_op(bd, op == QN_TOKEN_AND ? qn_op_and : qn_op_or, KIND(QN_BOOL), in, 2,
                             NULL)
                : QN_NODE_BAD;
}

/* True for an integer constant that is the same as a double. */
static bool is_small_constant(const struct qn_expr_node *x)
{
    const int64_t exact = INT64_C(1) << 53;

    return x->what == QN_NODE_CONSTANT && !x->is_null && x->value.i64 >= -exact &&
           x->value.i64 <= exact;
}

/* Exact wherever a pair of types allows it: integers and decimals in 128 bits, int64 with double by
 * whole part and rest. A decimal meets a double as the double nearest to it. */
static uint32_t compare_numbers(struct qn_builder *bd, unsigned op, uint32_t a, uint32_t b,
                                struct qn_kind common)
{
    static const unsigned mirrored[6] = {0, 1, 4, 5, 2, 3}; /* a < b is b > a */
    uint32_t in[2] = {a, b};

    for (int i = 0; i < 2; i++) {
        const struct qn_expr_node *x = node(bd, in[i]);

        if (x->literal != QN_LITERAL_NONE &&
            (common.type != QN_DOUBLE || (x->kind.type == QN_INT64 && is_small_constant(x) &&
                                          node(bd, in[1 - i])->kind.type == QN_DOUBLE)))
            in[i] = qn_make_convert(bd, in[i], common);
        if (in[i] == QN_NODE_BAD)
            return QN_NODE_BAD;
    }
    const struct qn_kind ka = node(bd, in[0])->kind, kb = node(bd, in[1])->kind;

    if (ka.type != QN_DOUBLE && kb.type != QN_DOUBLE) {
        const unsigned sa = ka.scale, sb = kb.scale;
        const int64_t param[2] = {qn_power_of_ten(sb > sa ? sb - sa : 0),
                                  qn_power_of_ten(sa > sb ? sa - sb : 0)};

        return qn_make_op(bd, sa == sb ? qn_op_compare_i64[op] : qn_op_compare_scaled[op],
                          KIND(QN_BOOL), in, 2, param);
    }
    if (ka.type == QN_INT64)
        return qn_make_op(bd, qn_op_compare_int_double[op], KIND(QN_BOOL), in, 2, NULL);
    if (kb.type == QN_INT64)
        return qn_make_op(bd, qn_op_compare_int_double[mirrored[op]], KIND(QN_BOOL),
                          (uint32_t[2]){in[1], in[0]}, 2, NULL);
    for (int i = 0; i < 2; i++)
        in[i] = qn_make_convert(bd, in[i], KIND(QN_DOUBLE));
    return qn_make_op(bd, qn_op_compare_f64[op], KIND(QN_BOOL), in, 2, NULL);
}

static uint32_t make_compare(struct qn_builder *bd, enum qn_token_kind token, uint32_t a,
                             uint32_t b, uint32_t at, uint32_t len)
{
    const unsigned op = (unsigned)(token - QN_TOKEN_EQ);
    const struct qn_expr_node *xa = node(bd, a), *xb = node(bd, b);
    struct qn_kind common;

    if (xa->literal == QN_LITERAL_NULL || xb->literal == QN_LITERAL_NULL) {
        qn_expr_report(bd, QN_DIAG_TYPE, at, len,
                       token == QN_TOKEN_NE ? "write: x is not null" : "write: x is null",
                       "nothing compares with null: the answer would always be null");
        return QN_NODE_BAD;
    }
    if (!common_kind(xa, xb, &common)) {
        report_clash(bd, "compare", xa, xb, at, len);
        return QN_NODE_BAD;
    }
    if (qn_kind_is_number(common))
        return compare_numbers(bd, op, a, b, common);
    if (common.type == QN_BOOL && token != QN_TOKEN_EQ && token != QN_TOKEN_NE) {
        qn_expr_report(bd, QN_DIAG_TYPE, at, len,
                       "true and false compare with == and !=", "bool has no order");
        return QN_NODE_BAD;
    }
    const uint32_t in[2] = {qn_make_convert(bd, a, common), qn_make_convert(bd, b, common)};

    return qn_make_op(bd, common.type == QN_STRING ? qn_op_compare_str[op] : qn_op_compare_i64[op],
                      KIND(QN_BOOL), in, 2, NULL);
}

/* timestamp + 10m, timestamp - 10m. */
static uint32_t make_shifted(struct qn_builder *bd, enum qn_token_kind op, uint32_t time,
                             uint32_t by)
{
    struct qn_expr_node us = *node(bd, by);

    us.literal = QN_LITERAL_NONE;
    us.kind = KIND(QN_INT64);
    us.value.i64 = us.us;
    const uint32_t in[2] = {time, add(bd, &us)};

    return qn_make_op(bd, op == QN_TOKEN_PLUS ? qn_op_add_i64 : qn_op_sub_i64, KIND(QN_TIMESTAMP),
                      in, 2, NULL);
}

static uint32_t arithmetic_clash(struct qn_builder *bd, const char *sign, uint32_t a, uint32_t b,
                                 uint32_t at, uint32_t len)
{
    const struct qn_expr_node *xa = node(bd, a), *xb = node(bd, b);
    const struct qn_expr_node *x =
        !qn_kind_is_number(xa->kind) || xa->literal == QN_LITERAL_NULL ? xa : xb;
    const char *hint = NULL;
    char k[24];

    if (x->kind.type == QN_TIMESTAMP)
        hint = xa->kind.type == xb->kind.type ? "write seconds_between(from, to)"
                                              : "a time moves by a duration: t + 10m, t - 1h";
    else if (x->literal == QN_LITERAL_NULL)
        hint = "null makes every result null";
    else if (x->kind.type == QN_BOOL)
        hint = "write if(x, 1, 0)";
    else if (x->literal == QN_LITERAL_TEXT)
        hint = "a number is written without quotes";
    qn_expr_report(bd, QN_DIAG_TYPE, at, len, hint, "'%s' needs numbers, found %s", sign,
                   kind_text(x, k));
    return QN_NODE_BAD;
}

/* The product keeps all decimals: scales add; beyond 18 the product is a double. */
static uint32_t make_product(struct qn_builder *bd, uint32_t a, uint32_t b)
{
    uint32_t in[2] = {a, b};
    unsigned scale = 0;
    bool decimal = false, real = false;

    for (int i = 0; i < 2; i++) {
        const struct qn_expr_node *x = node(bd, in[i]), *other = node(bd, in[1 - i]);
        unsigned own = x->kind.scale;

        if (x->literal == QN_LITERAL_NUMBER && x->kind.type == QN_DOUBLE &&
            other->kind.type == QN_DECIMAL && own_scale(x) <= SCALE_MAX) {
            own = own_scale(x);
            in[i] = qn_make_convert(bd, in[i], (struct qn_kind){QN_DECIMAL, (uint8_t)own});
        } else {
            real = real || x->kind.type == QN_DOUBLE;
        }
        if (in[i] == QN_NODE_BAD)
            return QN_NODE_BAD;
        decimal = decimal || node(bd, in[i])->kind.type == QN_DECIMAL;
        scale += own;
    }
    if (real || scale > SCALE_MAX) {
        for (int i = 0; i < 2; i++)
            in[i] = qn_make_convert(bd, in[i], KIND(QN_DOUBLE));
        return qn_make_op(bd, qn_op_mul_f64, KIND(QN_DOUBLE), in, 2, NULL);
    }
    return qn_make_op(bd, qn_op_mul_i64,
                      decimal ? (struct qn_kind){QN_DECIMAL, (uint8_t)scale} : KIND(QN_INT64), in,
                      2, NULL);
}

static uint32_t make_remainder(struct qn_builder *bd, uint32_t a, uint32_t b, uint32_t at,
                               uint32_t len)
{
    const uint32_t in[2] = {qn_make_convert(bd, a, KIND(QN_INT64)),
                            qn_make_convert(bd, b, KIND(QN_INT64))};
    char k[24];

    for (int i = 0; i < 2; i++) {
        if (in[i] != QN_NODE_BAD)
            continue;
        if (!bd->failed)
            qn_expr_report(bd, QN_DIAG_TYPE, at, len, "floor(x) gives whole numbers of a decimal",
                           "'%%' needs int64 on both sides, found %s",
                           kind_text(node(bd, i == 0 ? a : b), k));
        return QN_NODE_BAD;
    }
    return qn_make_op(bd, qn_op_mod_i64, KIND(QN_INT64), in, 2, NULL);
}

static uint32_t make_arithmetic(struct qn_builder *bd, enum qn_token_kind op, uint32_t a,
                                uint32_t b, uint32_t at, uint32_t len)
{
    static const char *const sign[] = {"+", "-", "*", "/", "%"};
    const struct qn_expr_node *xa = node(bd, a), *xb = node(bd, b);
    struct qn_kind kind = KIND(QN_DOUBLE);

    if (xa->kind.type == QN_TIMESTAMP && xb->literal == QN_LITERAL_DURATION && op <= QN_TOKEN_MINUS)
        return make_shifted(bd, op, a, b);
    if (xb->kind.type == QN_TIMESTAMP && xa->literal == QN_LITERAL_DURATION && op == QN_TOKEN_PLUS)
        return make_shifted(bd, op, b, a);
    if (!qn_kind_is_number(xa->kind) || !qn_kind_is_number(xb->kind) ||
        xa->literal == QN_LITERAL_NULL || xb->literal == QN_LITERAL_NULL)
        return arithmetic_clash(bd, sign[op - QN_TOKEN_PLUS], a, b, at, len);
    if (op == QN_TOKEN_STAR)
        return make_product(bd, a, b);
    if (op == QN_TOKEN_PERCENT)
        return make_remainder(bd, a, b, at, len);
    if (op != QN_TOKEN_SLASH && !common_kind(xa, xb, &kind))
        return arithmetic_clash(bd, sign[op - QN_TOKEN_PLUS], a, b, at, len);
    const uint32_t in[2] = {qn_make_convert(bd, a, kind), qn_make_convert(bd, b, kind)};
    const bool real = kind.type == QN_DOUBLE;

    if (op == QN_TOKEN_SLASH)
        return qn_make_op(bd, qn_op_div_f64, kind, in, 2, NULL);
    if (op == QN_TOKEN_PLUS)
        return qn_make_op(bd, real ? qn_op_add_f64 : qn_op_add_i64, kind, in, 2, NULL);
    return qn_make_op(bd, real ? qn_op_sub_f64 : qn_op_sub_i64, kind, in, 2, NULL);
}

uint32_t qn_make_binary(struct qn_builder *bd, enum qn_token_kind op, uint32_t a, uint32_t b,
                        uint32_t at, uint32_t len)
{
    if (a == QN_NODE_BAD || b == QN_NODE_BAD)
        return QN_NODE_BAD;
    if (op == QN_TOKEN_AND || op == QN_TOKEN_OR)
        return make_truth(bd, op, a, b);
    if (op >= QN_TOKEN_EQ && op <= QN_TOKEN_GE)
        return make_compare(bd, op, a, b, at, len);
    return make_arithmetic(bd, op, a, b, at, len);
}

/* ---- x in (...) ---- */

/* Literals whose values are exact in x's own kind go into one set; what is left is compared and
 * joined with `or`. */
uint32_t qn_make_in(struct qn_builder *bd, uint32_t x, const uint32_t *items, uint32_t count,
                    uint32_t at, uint32_t len)
{
    if (x == QN_NODE_BAD)
        return x;
    struct qn_value *set = QN_NEW_N(bd->arena, struct qn_value, count + 1);
    const struct qn_kind kind = node(bd, x)->kind;
    uint32_t in_set = 0, result = QN_NODE_BAD;
    bool bad = false, started = false;

    if (set == NULL) {
        bd->failed = true;
        return QN_NODE_BAD;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct qn_expr_node *item = items[i] == QN_NODE_BAD ? NULL : node(bd, items[i]);
        const bool literal = item != NULL && item->what == QN_NODE_CONSTANT && !item->is_null;

        const bool exact = literal && (kind.type != QN_DOUBLE || item->kind.type == QN_DOUBLE ||
                                       is_small_constant(item));

        if (exact && node(bd, x)->what != QN_NODE_CONSTANT &&
            (qn_kind_eq(item->kind, kind) || literal_as(item, kind, &set[in_set]))) {
            if (qn_kind_eq(item->kind, kind))
                set[in_set] = item->value;
            in_set++;
            continue;
        }
        const uint32_t equal =
            qn_make_binary(bd, QN_TOKEN_EQ, x, items[i], item != NULL ? item->at : at,
                           item != NULL ? item->len : len);

        bad = bad || equal == QN_NODE_BAD;
        result = !started ? equal : qn_make_binary(bd, QN_TOKEN_OR, result, equal, at, len);
        started = true;
    }
    if (bad)
        return QN_NODE_BAD;
    if (in_set > 0) {
        qn_expr_op *op = kind.type == QN_STRING   ? qn_op_in_str
                         : kind.type == QN_DOUBLE ? qn_op_in_f64
                                                  : qn_op_in_i64;
        const uint32_t made = qn_make_op(bd, op, KIND(QN_BOOL), &x, 1, (int64_t[2]){in_set, 0});

        if (made != QN_NODE_BAD)
            node(bd, made)->set = set;
        result = !started ? made : qn_make_binary(bd, QN_TOKEN_OR, made, result, at, len);
    }
    return result;
}

/* ---- calls ---- */

static const char *arg_text(enum qn_arg a)
{
    static const char *const text[] = {
        "nothing",          "true or false", "a number",
        "a number",         "a string",      "a timestamp",
        "a string or list", "a value",       "a value with an order"};

    return text[a];
}

static bool arg_fits(enum qn_arg want, const struct qn_expr_node *x)
{
    if (x->literal == QN_LITERAL_NULL)
        return want == QN_ARG_SAME || want == QN_ARG_BOOL;
    switch (want) {
    case QN_ARG_NONE:
        return false;
    case QN_ARG_BOOL:
        return x->kind.type == QN_BOOL;
    case QN_ARG_NUMBER:
    case QN_ARG_REAL:
        return qn_kind_is_number(x->kind);
    case QN_ARG_STRING:
        return x->kind.type == QN_STRING;
    case QN_ARG_TIME: {
        struct qn_value ignored;

        return x->kind.type == QN_TIMESTAMP ||
               (x->literal == QN_LITERAL_TEXT && literal_as(x, KIND(QN_TIMESTAMP), &ignored));
    }
    case QN_ARG_SIZED:
        return x->kind.type == QN_STRING || x->kind.type == QN_LIST;
    case QN_ARG_SAME:
        return x->kind.type != QN_LIST;
    case QN_ARG_SAME_ORDER:
        return x->kind.type != QN_LIST && x->kind.type != QN_BOOL;
    }
    return false;
}

static enum qn_arg arg_of(const struct qn_function *f, uint32_t i)
{
    return f->args[i < 3 ? i : 2] != QN_ARG_NONE ? f->args[i < 3 ? i : 2] : f->args[1];
}

static bool check_args(struct qn_builder *bd, const struct qn_function *f, const uint32_t *args,
                       uint32_t count, uint32_t at, uint32_t len)
{
    bool good = true;
    char k[24];

    if (count < f->args_min || count > f->args_max) {
        const uint32_t wanted = count < f->args_min ? f->args_min : f->args_max;

        qn_expr_report(bd, QN_DIAG_SYNTAX, at, len, f->usage, "%s takes %s%u argument%s, found %u",
                       f->name,
                       f->args_min == f->args_max ? ""
                       : count < f->args_min      ? "at least "
                                                  : "at most ",
                       (unsigned)wanted, wanted == 1 ? "" : "s", (unsigned)count);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct qn_expr_node *x = args[i] == QN_NODE_BAD ? NULL : node(bd, args[i]);

        if (x == NULL) {
            good = false;
        } else if (!arg_fits(arg_of(f, i), x)) {
            good = false;
            qn_expr_report(bd, QN_DIAG_TYPE, x->at, x->len, f->usage, "%s needs %s, found %s",
                           f->name, arg_text(arg_of(f, i)), kind_text(x, k));
        }
    }
    return good;
}

/* The widest kind of all args; the first is no null, and a literal only if all are. */
static bool common_of(struct qn_builder *bd, const struct qn_function *f, const uint32_t *args,
                      uint32_t count, struct qn_kind *out)
{
    struct qn_expr_node sum = *node(bd, args[0]);

    for (uint32_t i = 1; i < count; i++) {
        const struct qn_expr_node *x = node(bd, args[i]);
        struct qn_kind kind;
        char ka[24], kb[24];

        if (!common_kind(&sum, x, &kind)) {
            qn_expr_report(bd, QN_DIAG_TYPE, x->at, x->len, "all must have one type",
                           "%s has arguments of different types: %s and %s", f->name,
                           kind_text(&sum, ka), kind_text(x, kb));
            return false;
        }
        sum.kind = kind;
    }
    *out = sum.kind;
    return true;
}

/* The kind all SAME arguments take: typed ones decide first, literals join them. */
static bool same_kind(struct qn_builder *bd, const struct qn_function *f, const uint32_t *args,
                      uint32_t first, uint32_t count, struct qn_kind *out)
{
    uint32_t order[QN_EXPR_ARGS_MAX], n = 0;

    for (int wants_literal = 0; wants_literal < 2; wants_literal++)
        for (uint32_t i = first; i < count; i++)
            if ((node(bd, args[i])->literal != QN_LITERAL_NONE) == (wants_literal == 1))
                order[n++] = args[i];
    if (node(bd, order[0])->literal == QN_LITERAL_NULL) {
        uint32_t i = 1;

        while (i < n && node(bd, order[i])->literal == QN_LITERAL_NULL)
            i++;
        if (i == n) {
            qn_expr_report(bd, QN_DIAG_TYPE, node(bd, order[0])->at, node(bd, order[0])->len, NULL,
                           "%s of nothing but null has no type", f->name);
            return false;
        }
        order[0] = order[i];
    }
    return common_of(bd, f, order, n, out);
}

static uint32_t choose_op(struct qn_builder *bd, const struct qn_function *f, struct qn_kind result,
                          const uint32_t *in, uint32_t ins)
{
    const struct qn_kind kind = node(bd, in[ins - 1])->kind;
    int64_t param[2] = {0, 0};
    qn_expr_op *op = f->i64;

    if (kind.type == QN_DOUBLE)
        op = f->f64;
    else if (kind.type == QN_STRING)
        op = f->str;
    else if (kind.type == QN_LIST)
        op = f->list;
    else if (kind.type == QN_DECIMAL && f->decimal != NULL) {
        op = f->decimal;
        param[0] = qn_power_of_ten(kind.scale);
    }
    QN_ASSERT(op != NULL);
    return qn_make_op(bd, op, result, in, ins, param);
}

static struct qn_kind result_kind(const struct qn_function *f, struct qn_kind arg)
{
    switch (f->result) {
    case QN_RESULT_BOOL:
        return KIND(QN_BOOL);
    case QN_RESULT_INT64:
        return KIND(QN_INT64);
    case QN_RESULT_DOUBLE:
        return KIND(QN_DOUBLE);
    case QN_RESULT_STRING:
        return KIND(QN_STRING);
    case QN_RESULT_WHOLE:
        return arg.type == QN_DOUBLE ? arg : KIND(QN_INT64);
    case QN_RESULT_SAME:
        break;
    }
    return arg;
}

static void unknown_function(struct qn_builder *bd, struct qn_str name, uint32_t at, uint32_t len)
{
    static const char *const others[][2] = {{"ifnull", "coalesce"},
                                            {"nvl", "coalesce"},
                                            {"isnull", "x is null"},
                                            {"len", "length"},
                                            {"iif", "if"},
                                            {"case", "if"},
                                            {"when", "if"},
                                            {"where", "if"},
                                            {"ln", "log"},
                                            {"dayofweek", "weekday"},
                                            {"dow", "weekday"},
                                            {"day_of_week", "weekday"},
                                            {"tolower", "lower"},
                                            {"toupper", "upper"},
                                            {"datediff", "seconds_between"},
                                            {"greatest", "max"},
                                            {"least", "min"},
                                            {"ceiling", "ceil"},
                                            {"startswith", "starts_with"},
                                            {"endswith", "ends_with"}};
    struct qn_str known[64];
    uint32_t n = 0;

    if (qn_aggregate_find(name) >= 0) {
        qn_expr_report(
            bd, QN_DIAG_SYNTAX, at, len,
            "give the window a feature of its own and use that name here",
            "'%.*s' is an aggregate: it stands at the start of a feature, with 'by' and 'over'",
            QN_STR_ARG(name));
        return;
    }
    if (qn_aggregate_is_planned(name)) {
        qn_expr_report(bd, QN_DIAG_NOT_YET, at, len, NULL, "'%.*s' is not available yet",
                       QN_STR_ARG(name));
        return;
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (qn_edit_distance(name, qn_str_of(others[i][0]), 0) == 0) {
            qn_expr_report(bd, QN_DIAG_UNKNOWN_NAME, at, len, NULL,
                           "unknown function '%.*s' (use '%s')", QN_STR_ARG(name), others[i][1]);
            return;
        }
    for (; n < qn_function_count && n < 64; n++)
        known[n] = qn_str_of(qn_functions[n].name);
    qn_diag_unknown(bd->diags, qn_expr_pos(bd->at, at, len), "function", name, known, n);
}

uint32_t qn_make_call(struct qn_builder *bd, struct qn_str name, const uint32_t *args,
                      uint32_t count, uint32_t at, uint32_t len)
{
    const struct qn_function *f = qn_function_find(name);
    uint32_t in[QN_EXPR_ARGS_MAX];
    struct qn_kind same = KIND(QN_BOOL);

    if (f == NULL) {
        unknown_function(bd, name, at, name.len);
        return QN_NODE_BAD;
    }
    if (!check_args(bd, f, args, count, at, len))
        return QN_NODE_BAD;
    const uint32_t first_same = f->args[0] == QN_ARG_BOOL ? 1 : 0;
    const bool is_same =
        arg_of(f, count - 1) == QN_ARG_SAME || arg_of(f, count - 1) == QN_ARG_SAME_ORDER;

    if (is_same && !same_kind(bd, f, args, first_same, count, &same))
        return QN_NODE_BAD;
    for (uint32_t i = 0; i < count; i++) {
        const enum qn_arg want = arg_of(f, i);

        in[i] = args[i];
        if (want == QN_ARG_REAL)
            in[i] = qn_make_convert(bd, args[i], KIND(QN_DOUBLE));
        else if (want == QN_ARG_TIME)
            in[i] = qn_make_convert(bd, args[i], KIND(QN_TIMESTAMP));
        else if (want == QN_ARG_SAME || want == QN_ARG_SAME_ORDER)
            in[i] = qn_make_convert(bd, args[i], same);
        if (in[i] == QN_NODE_BAD)
            return QN_NODE_BAD;
    }
    const struct qn_kind result = result_kind(f, is_same ? same : node(bd, in[0])->kind);
    uint32_t made;

    if (f->args_max == QN_EXPR_ARGS_MAX) { /* a chain: f(f(a, b), c) */
        made = in[0];
        for (uint32_t i = 1; i < count && made != QN_NODE_BAD; i++)
            made = choose_op(bd, f, result, (uint32_t[2]){made, in[i]}, 2);
    } else {
        made = choose_op(bd, f, result, in, count);
    }
    if (made != QN_NODE_BAD) {
        node(bd, made)->at = at;
        node(bd, made)->len = len;
    }
    return made;
}

/* ---- the end ---- */

/* Registers by a scan from first to last use: two pools, of 8 and of 16 bytes a row. */
static bool assign_registers(struct qn_expr *e, struct qn_arena *arena)
{
    uint32_t *last = QN_NEW_N(arena, uint32_t, e->count), *spare[2], spares[2] = {0, 0},
             made[2] = {0, 0};

    spare[0] = QN_NEW_N(arena, uint32_t, e->count);
    spare[1] = QN_NEW_N(arena, uint32_t, e->count);
    if (last == NULL || spare[0] == NULL || spare[1] == NULL)
        return false;
    for (uint32_t i = 0; i < e->count; i++)
        for (uint32_t k = 0; k < e->nodes[i].ins; k++)
            last[e->nodes[i].in[k]] = i;
    for (uint32_t i = 0; i < e->count; i++) {
        struct qn_expr_node *x = &e->nodes[i];
        const int pool = qn_kind_is_wide(x->kind);

        if (x->what == QN_NODE_CONSTANT)
            x->slot = e->constants++;
        if (x->what != QN_NODE_CALL)
            continue;
        x->slot = spares[pool] > 0 ? spare[pool][--spares[pool]] : made[pool]++;
        for (uint32_t k = 0; k < x->ins; k++) {
            const struct qn_expr_node *from = &e->nodes[x->in[k]];
            const int of = qn_kind_is_wide(from->kind);
            bool again = false;

            for (uint32_t m = 0; m < k; m++)
                again = again || x->in[m] == x->in[k];
            if (from->what == QN_NODE_CALL && last[x->in[k]] == i && !again)
                spare[of][spares[of]++] = from->slot;
        }
    }
    e->narrow = made[0];
    e->wide = made[1];
    for (uint32_t i = 0; i < e->count; i++)
        if (e->nodes[i].what == QN_NODE_CALL && qn_kind_is_wide(e->nodes[i].kind))
            e->nodes[i].slot += e->narrow;
    return true;
}

struct qn_expr *qn_expr_finish(struct qn_builder *bd, uint32_t root)
{
    struct qn_expr *e = QN_NEW(bd->arena, struct qn_expr);
    uint32_t *place = QN_NEW_N(bd->arena, uint32_t, root + 2), n = 0;

    if (e == NULL || place == NULL)
        return NULL;
    /* Operands stand before their users: one pass backwards marks what is needed. */
    place[root] = 1;
    for (uint32_t i = root + 1; i-- > 0;)
        for (uint32_t k = 0; place[i] != 0 && k < bd->nodes[i].ins; k++)
            place[bd->nodes[i].in[k]] = 1;
    for (uint32_t i = 0; i <= root; i++)
        n += place[i];
    e->nodes = QN_NEW_N(bd->arena, struct qn_expr_node, n + 1);
    if (e->nodes == NULL)
        return NULL;
    for (uint32_t i = 0; i <= root; i++) {
        if (place[i] == 0)
            continue;
        struct qn_expr_node *x = &e->nodes[e->count];

        *x = bd->nodes[i];
        for (uint32_t k = 0; k < x->ins; k++)
            x->in[k] = place[x->in[k]];
        place[i] = e->count++;
    }
    if (e->nodes[e->count - 1].what !=
        QN_NODE_CALL) { /* the result is always written by an operation */
        struct qn_expr_node copy = {
            .what = QN_NODE_CALL, .ins = 1, .kind = e->nodes[e->count - 1].kind};

        copy.op = qn_kind_is_wide(copy.kind) ? qn_op_copy16 : qn_op_copy8;
        copy.in[0] = e->count - 1;
        e->nodes[e->count++] = copy;
    }
    e->at = bd->at;
    return assign_registers(e, bd->arena) ? e : NULL;
}

struct qn_kind qn_expr_kind(const struct qn_expr *e)
{
    return e->nodes[e->count - 1].kind;
}

uint32_t qn_expr_columns(const struct qn_expr *e, uint32_t *out, uint32_t max)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < e->count; i++) {
        bool seen = e->nodes[i].what != QN_NODE_COLUMN;

        for (uint32_t k = 0; k < i && !seen; k++)
            seen = e->nodes[k].what == QN_NODE_COLUMN && e->nodes[k].column == e->nodes[i].column;
        if (seen)
            continue;
        if (n < max)
            out[n] = e->nodes[i].column;
        n++;
    }
    return n;
}

bool qn_expr_is_name(const struct qn_expr *e, uint32_t *column)
{
    if (e->count != 2 || e->nodes[0].what != QN_NODE_COLUMN ||
        (e->nodes[1].op != qn_op_copy8 && e->nodes[1].op != qn_op_copy16) ||
        !qn_kind_eq(e->nodes[0].kind, e->nodes[1].kind))
        return false;
    *column = e->nodes[0].column;
    return true;
}

static bool same_value(const struct qn_value *a, const struct qn_value *b, struct qn_kind kind)
{
    return kind.type == QN_STRING ? qn_str_eq(a->str, b->str) : a->i64 == b->i64;
}

bool qn_expr_same(const struct qn_expr *a, const struct qn_expr *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct qn_expr_node *x = &a->nodes[i], *y = &b->nodes[i];

        if (x->what != y->what || !qn_kind_eq(x->kind, y->kind) || x->op != y->op ||
            x->ins != y->ins || x->column != y->column || x->param[0] != y->param[0] ||
            x->param[1] != y->param[1] || x->is_null != y->is_null)
            return false;
        for (uint32_t k = 0; k < x->ins; k++)
            if (x->in[k] != y->in[k])
                return false;
        if (x->what == QN_NODE_CONSTANT && !x->is_null &&
            !same_value(&x->value, &y->value, x->kind))
            return false;
        for (int64_t k = 0; x->set != NULL && k < x->param[0]; k++)
            if (!same_value(&x->set[k], &y->set[k], a->nodes[x->in[0]].kind))
                return false;
    }
    return true;
}

bool qn_expr_reads(const struct qn_expr *e, uint32_t column)
{
    for (uint32_t i = 0; i < e->count; i++)
        if (e->nodes[i].what == QN_NODE_COLUMN && e->nodes[i].column == column)
            return true;
    return false;
}

struct qn_pos qn_expr_column_pos(const struct qn_expr *e, uint32_t column)
{
    for (uint32_t i = 0; i < e->count; i++)
        if (e->nodes[i].what == QN_NODE_COLUMN && e->nodes[i].column == column)
            return qn_expr_pos(e->at, e->nodes[i].at, e->nodes[i].len);
    return e->at;
}
