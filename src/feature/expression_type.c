/* SPDX-License-Identifier: Apache-2.0
 * expression_type.c - the rules of types: what a literal can be, what converts, where two types
 * meet.
 *
 * Rules (expression.h): int64 with decimal gives decimal, anything with double gives double, a
 * literal takes the type of the other side where it fits exactly, nothing else converts. Operators
 * (expression_operators.c) and calls (expression_calls.c) ask here and report what is refused: only
 * they know what was meant. Invariant: no conversion changes a value, but for the nearest double.
 * Thread: one. Memory: the arena of the builder. */
#include "feature/expression_int.h"

const char *qn_node_kind_text(const struct qn_expr_node *x, char out[24])
{
    if (x->literal == QN_LITERAL_NULL)
        return "null";
    if (x->literal == QN_LITERAL_DURATION)
        return "a duration";
    return qn_kind_print(x->kind, out);
}

unsigned qn_literal_scale(const struct qn_expr_node *x)
{
    int64_t ignored;

    if (x->number.is_cut || x->number.exponent < -QN_SCALE_MAX)
        return QN_SCALE_MAX + 1;
    const unsigned scale = x->number.exponent < 0 ? (unsigned)-x->number.exponent : 0;

    return qn_number_scaled(&x->number, scale, &ignored) ? scale : QN_SCALE_MAX + 1;
}

bool qn_literal_as(const struct qn_expr_node *x, struct qn_kind to, struct qn_value *out)
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
    struct qn_expr_node from = *qn_node_at(bd, x);

    if (from.literal != QN_LITERAL_NULL && qn_kind_eq(from.kind, to))
        return x;
    if (from.literal != QN_LITERAL_NONE) {
        if (!qn_literal_as(&from, to, &from.value))
            return QN_NODE_BAD;
        from.kind = to;
        return qn_node_add(bd, &from);
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
                                             : qn_node_add(bd, &from);
        }
        return qn_make_op(bd, qn_op_scale_i64, to, &x, 1,
                          (int64_t[2]){qn_power_of_ten(to.scale - from.kind.scale), 0});
    }
    return QN_NODE_BAD;
}

bool qn_common_kind(const struct qn_expr_node *a, const struct qn_expr_node *b, struct qn_kind *out)
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

            if (qn_literal_as(lit, other->kind, &ignored)) {
                *out = other->kind;
                return true;
            }
            if (other->kind.type == QN_DECIMAL && lit->literal == QN_LITERAL_NUMBER &&
                qn_literal_scale(lit) <= QN_SCALE_MAX) {
                *out = (struct qn_kind){QN_DECIMAL, (uint8_t)qn_literal_scale(lit)};
                if (out->scale < other->kind.scale) /* too large at the other's scale */
                    *out = QN_KIND(QN_DOUBLE);
                return true;
            }
            *out = QN_KIND(QN_DOUBLE);
            return true;
        }
        if (a->kind.type == QN_DOUBLE || b->kind.type == QN_DOUBLE)
            *out = QN_KIND(QN_DOUBLE);
        else if (a->kind.type == QN_DECIMAL || b->kind.type == QN_DECIMAL)
            *out = (struct qn_kind){QN_DECIMAL,
                                    a->kind.scale > b->kind.scale ? a->kind.scale : b->kind.scale};
        else
            *out = QN_KIND(QN_INT64);
        return true;
    }
    if (a->kind.type == b->kind.type) {
        *out = a->kind;
        return a->kind.type != QN_LIST;
    }
    if (a_adapts && qn_literal_as(a, b->kind, &ignored))
        *out = b->kind;
    else if (b_adapts && qn_literal_as(b, a->kind, &ignored))
        *out = a->kind;
    else
        return false;
    return true;
}
