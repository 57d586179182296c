/* SPDX-License-Identifier: Apache-2.0
 * expression_operators.c - operators: the operation that fits the types of the operands.
 *
 * + - * / %, comparisons, and, or, not, is null, in. Called by the parser as soon as the operands
 * are read. Comparisons of numbers are exact wherever the pair of types allows it, so no operand is
 * rounded before it is compared unless a decimal meets a double. Invariant: every pair of types
 * either has its operation or a message with the remedy. Thread: one. Memory: the arena of the
 * builder. */
#include "feature/expression_int.h"

#include <string.h>

uint32_t qn_make_negative(struct qn_builder *bd, uint32_t x, uint32_t at)
{
    char k[24];

    if (x == QN_NODE_BAD)
        return x;
    const struct qn_expr_node from = *qn_node_at(bd, x);
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
                       "'-' needs a number, found %s", qn_node_kind_text(&from, k));
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
    const struct qn_expr_node *from = qn_node_at(bd, x);

    if (!is_condition(from)) {
        qn_expr_report(bd, QN_DIAG_TYPE, from->at, from->len,
                       "compare it, for example x == 0, or x is null",
                       "'not' needs true or false, found %s", qn_node_kind_text(from, k));
        return QN_NODE_BAD;
    }
    const uint32_t made = qn_make_op(bd, qn_op_not, QN_KIND(QN_BOOL), &x, 1, NULL);

    if (made != QN_NODE_BAD) {
        qn_node_at(bd, made)->len += qn_node_at(bd, made)->at - at;
        qn_node_at(bd, made)->at = at;
    }
    return made;
}

uint32_t qn_make_is_null(struct qn_builder *bd, uint32_t x, bool wanted, uint32_t at, uint32_t len)
{
    const uint32_t made =
        qn_make_op(bd, wanted ? qn_op_is_null : qn_op_is_not_null, QN_KIND(QN_BOOL), &x, 1, NULL);

    if (made != QN_NODE_BAD)
        qn_node_at(bd, made)->len = at + len - qn_node_at(bd, made)->at;
    return made;
}

static uint32_t make_truth(struct qn_builder *bd, enum qn_token_kind op, uint32_t a, uint32_t b)
{
    const uint32_t in[2] = {a, b};
    const char *word = op == QN_TOKEN_AND ? "and" : "or";
    bool fits = true;
    char k[24];

    for (int i = 0; i < 2; i++) {
        const struct qn_expr_node *x = qn_node_at(bd, in[i]);

        if (is_condition(x))
            continue;
        fits = false;
        qn_expr_report(bd, QN_DIAG_TYPE, x->at, x->len,
                       op == QN_TOKEN_OR ? "a default for null is written coalesce(x, 0)"
                                         : "compare it, for example x > 0",
                       "'%s' needs true or false on both sides, found %s", word,
                       qn_node_kind_text(x, k));
    }
    return fits ? qn_make_op(bd, op == QN_TOKEN_AND ? qn_op_and : qn_op_or, QN_KIND(QN_BOOL), in, 2,
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
        const struct qn_expr_node *x = qn_node_at(bd, in[i]);

        if (x->literal != QN_LITERAL_NONE &&
            (common.type != QN_DOUBLE || (x->kind.type == QN_INT64 && is_small_constant(x) &&
                                          qn_node_at(bd, in[1 - i])->kind.type == QN_DOUBLE)))
            in[i] = qn_make_convert(bd, in[i], common);
        if (in[i] == QN_NODE_BAD)
            return QN_NODE_BAD;
    }
    const struct qn_kind ka = qn_node_at(bd, in[0])->kind, kb = qn_node_at(bd, in[1])->kind;

    if (ka.type != QN_DOUBLE && kb.type != QN_DOUBLE) {
        const unsigned sa = ka.scale, sb = kb.scale;
        const int64_t param[2] = {qn_power_of_ten(sb > sa ? sb - sa : 0),
                                  qn_power_of_ten(sa > sb ? sa - sb : 0)};

        return qn_make_op(bd, sa == sb ? qn_op_compare_i64[op] : qn_op_compare_scaled[op],
                          QN_KIND(QN_BOOL), in, 2, param);
    }
    if (ka.type == QN_INT64)
        return qn_make_op(bd, qn_op_compare_int_double[op], QN_KIND(QN_BOOL), in, 2, NULL);
    if (kb.type == QN_INT64)
        return qn_make_op(bd, qn_op_compare_int_double[mirrored[op]], QN_KIND(QN_BOOL),
                          (uint32_t[2]){in[1], in[0]}, 2, NULL);
    for (int i = 0; i < 2; i++)
        in[i] = qn_make_convert(bd, in[i], QN_KIND(QN_DOUBLE));
    return qn_make_op(bd, qn_op_compare_f64[op], QN_KIND(QN_BOOL), in, 2, NULL);
}

/* Why two types do not meet, with the remedy for the usual cases. */
static void report_clash(struct qn_builder *bd, const struct qn_expr_node *a,
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
    qn_expr_report(bd, QN_DIAG_TYPE, at, len, hint, "cannot compare %s with %s",
                   qn_node_kind_text(a, ka), qn_node_kind_text(b, kb));
}

static uint32_t make_compare(struct qn_builder *bd, enum qn_token_kind token, uint32_t a,
                             uint32_t b, uint32_t at, uint32_t len)
{
    const unsigned op = (unsigned)(token - QN_TOKEN_EQ);
    const struct qn_expr_node *xa = qn_node_at(bd, a), *xb = qn_node_at(bd, b);
    struct qn_kind common;

    if (xa->literal == QN_LITERAL_NULL || xb->literal == QN_LITERAL_NULL) {
        qn_expr_report(bd, QN_DIAG_TYPE, at, len,
                       token == QN_TOKEN_NE ? "write: x is not null" : "write: x is null",
                       "nothing compares with null: the answer would always be null");
        return QN_NODE_BAD;
    }
    if (!qn_common_kind(xa, xb, &common)) {
        report_clash(bd, xa, xb, at, len);
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
                      QN_KIND(QN_BOOL), in, 2, NULL);
}

/* timestamp + 10m, timestamp - 10m. */
static uint32_t make_shifted(struct qn_builder *bd, enum qn_token_kind op, uint32_t time,
                             uint32_t by)
{
    struct qn_expr_node us = *qn_node_at(bd, by);

    us.literal = QN_LITERAL_NONE;
    us.kind = QN_KIND(QN_INT64);
    us.value.i64 = us.us;
    const uint32_t in[2] = {time, qn_node_add(bd, &us)};

    return qn_make_op(bd, op == QN_TOKEN_PLUS ? qn_op_add_i64 : qn_op_sub_i64,
                      QN_KIND(QN_TIMESTAMP), in, 2, NULL);
}

static uint32_t arithmetic_clash(struct qn_builder *bd, const char *sign, uint32_t a, uint32_t b,
                                 uint32_t at, uint32_t len)
{
    const struct qn_expr_node *xa = qn_node_at(bd, a), *xb = qn_node_at(bd, b);
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
                   qn_node_kind_text(x, k));
    return QN_NODE_BAD;
}

/* The product keeps all decimals: scales add; beyond 18 the product is a double. */
static uint32_t make_product(struct qn_builder *bd, uint32_t a, uint32_t b)
{
    uint32_t in[2] = {a, b};
    unsigned scale = 0;
    bool decimal = false, real = false;

    for (int i = 0; i < 2; i++) {
        const struct qn_expr_node *x = qn_node_at(bd, in[i]), *other = qn_node_at(bd, in[1 - i]);
        unsigned own = x->kind.scale;

        if (x->literal == QN_LITERAL_NUMBER && x->kind.type == QN_DOUBLE &&
            other->kind.type == QN_DECIMAL && qn_literal_scale(x) <= QN_SCALE_MAX) {
            own = qn_literal_scale(x);
            in[i] = qn_make_convert(bd, in[i], (struct qn_kind){QN_DECIMAL, (uint8_t)own});
        } else {
            real = real || x->kind.type == QN_DOUBLE;
        }
        if (in[i] == QN_NODE_BAD)
            return QN_NODE_BAD;
        decimal = decimal || qn_node_at(bd, in[i])->kind.type == QN_DECIMAL;
        scale += own;
    }
    if (real || scale > QN_SCALE_MAX) {
        for (int i = 0; i < 2; i++)
            in[i] = qn_make_convert(bd, in[i], QN_KIND(QN_DOUBLE));
        return qn_make_op(bd, qn_op_mul_f64, QN_KIND(QN_DOUBLE), in, 2, NULL);
    }
    return qn_make_op(bd, qn_op_mul_i64,
                      decimal ? (struct qn_kind){QN_DECIMAL, (uint8_t)scale} : QN_KIND(QN_INT64),
                      in, 2, NULL);
}

static uint32_t make_remainder(struct qn_builder *bd, uint32_t a, uint32_t b, uint32_t at,
                               uint32_t len)
{
    const uint32_t in[2] = {qn_make_convert(bd, a, QN_KIND(QN_INT64)),
                            qn_make_convert(bd, b, QN_KIND(QN_INT64))};
    char k[24];

    for (int i = 0; i < 2; i++) {
        if (in[i] != QN_NODE_BAD)
            continue;
        if (!bd->failed)
            qn_expr_report(bd, QN_DIAG_TYPE, at, len, "floor(x) gives whole numbers of a decimal",
                           "'%%' needs int64 on both sides, found %s",
                           qn_node_kind_text(qn_node_at(bd, i == 0 ? a : b), k));
        return QN_NODE_BAD;
    }
    return qn_make_op(bd, qn_op_mod_i64, QN_KIND(QN_INT64), in, 2, NULL);
}

static uint32_t make_arithmetic(struct qn_builder *bd, enum qn_token_kind op, uint32_t a,
                                uint32_t b, uint32_t at, uint32_t len)
{
    static const char *const sign[] = {"+", "-", "*", "/", "%"};
    const struct qn_expr_node *xa = qn_node_at(bd, a), *xb = qn_node_at(bd, b);
    struct qn_kind kind = QN_KIND(QN_DOUBLE);

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
    if (op != QN_TOKEN_SLASH && !qn_common_kind(xa, xb, &kind))
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
    const struct qn_kind kind = qn_node_at(bd, x)->kind;
    uint32_t in_set = 0, result = QN_NODE_BAD;
    bool bad = false, started = false;

    if (set == NULL) {
        bd->failed = true;
        return QN_NODE_BAD;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct qn_expr_node *item = items[i] == QN_NODE_BAD ? NULL : qn_node_at(bd, items[i]);
        const bool literal = item != NULL && item->what == QN_NODE_CONSTANT && !item->is_null;

        const bool exact = literal && (kind.type != QN_DOUBLE || item->kind.type == QN_DOUBLE ||
                                       is_small_constant(item));

        if (exact && qn_node_at(bd, x)->what != QN_NODE_CONSTANT &&
            (qn_kind_eq(item->kind, kind) || qn_literal_as(item, kind, &set[in_set]))) {
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
        const uint32_t made = qn_make_op(bd, op, QN_KIND(QN_BOOL), &x, 1, (int64_t[2]){in_set, 0});

        if (made != QN_NODE_BAD)
            qn_node_at(bd, made)->set = set;
        result = !started ? made : qn_make_binary(bd, QN_TOKEN_OR, made, result, at, len);
    }
    return result;
}
