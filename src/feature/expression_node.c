/* SPDX-License-Identifier: Apache-2.0
 * expression_node.c - the nodes of an expression: added in order of evaluation, literals and names
 * first.
 *
 * Whatever the parser reads becomes a node the moment it is read. An operation whose operands are
 * all constants is run once, here, by the same loops that run over columns, and becomes a constant
 * itself. A mistake gives a diagnostic at the bytes concerned and QN_NODE_BAD, which silences what
 * follows from it. Invariant: a node's operands stand before it. Thread: one. Memory: the arena of
 * the builder; pointers to nodes hold until the next node is added. */
#include "feature/expression_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* ---- adding nodes ---- */

uint32_t qn_node_add(struct qn_builder *bd, const struct qn_expr_node *x)
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
        const struct qn_expr_node *from = qn_node_at(bd, x->in[k]);

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
    return qn_node_add(bd, &made);
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
        const struct qn_expr_node *from = qn_node_at(bd, in[k]);

        x.in[k] = in[k];
        constant = constant && from->what == QN_NODE_CONSTANT;
        x.at = from->at < x.at ? from->at : x.at;
        end = from->at + from->len > end ? from->at + from->len : end;
    }
    x.len = end - x.at;
    if (param != NULL)
        memcpy(x.param, param, sizeof x.param);
    return constant ? fold(bd, &x) : qn_node_add(bd, &x);
}

/* ---- literals and names ---- */

uint32_t qn_make_number(struct qn_builder *bd, const struct qn_decimal_text *d, uint32_t at,
                        uint32_t len)
{
    struct qn_expr_node x = {
        .what = QN_NODE_CONSTANT, .literal = QN_LITERAL_NUMBER, .number = *d, .at = at, .len = len};

    x.number.text = (struct qn_str){0}; /* borrowed from a text that may go */
    if (d->is_integer && qn_number_scaled(d, 0, &x.value.i64)) {
        x.kind = QN_KIND(QN_INT64);
    } else {
        x.kind = QN_KIND(QN_DOUBLE);
        x.value.f64 = qn_number_double(d);
        if (__builtin_isinf(x.value.f64)) {
            qn_expr_report(bd, QN_DIAG_RANGE, at, len, NULL,
                           "this number is larger than any double (about 1.8e308)");
            return QN_NODE_BAD;
        }
    }
    return qn_node_add(bd, &x);
}

uint32_t qn_make_duration(struct qn_builder *bd, int64_t us, uint32_t at, uint32_t len)
{
    struct qn_expr_node x = {
        .what = QN_NODE_CONSTANT, .literal = QN_LITERAL_DURATION, .us = us, .at = at, .len = len};

    if (us % 1000000 == 0) {
        x.kind = QN_KIND(QN_INT64);
        x.value.i64 = us / 1000000;
    } else {
        x.kind = QN_KIND(QN_DOUBLE);
        x.value.f64 = qn_scaled_double(us, 6);
    }
    return qn_node_add(bd, &x);
}

uint32_t qn_make_text(struct qn_builder *bd, struct qn_str text, uint32_t at, uint32_t len)
{
    struct qn_expr_node x = {.what = QN_NODE_CONSTANT,
                             .literal = QN_LITERAL_TEXT,
                             .kind = QN_KIND(QN_STRING),
                             .at = at,
                             .len = len};

    x.value.str = text;
    return qn_node_add(bd, &x);
}

uint32_t qn_make_bool(struct qn_builder *bd, bool value, uint32_t at, uint32_t len)
{
    struct qn_expr_node x = {
        .what = QN_NODE_CONSTANT, .kind = QN_KIND(QN_BOOL), .at = at, .len = len};

    x.value.i64 = value;
    return qn_node_add(bd, &x);
}

uint32_t qn_make_null(struct qn_builder *bd, uint32_t at, uint32_t len)
{
    struct qn_expr_node x = {.what = QN_NODE_CONSTANT,
                             .literal = QN_LITERAL_NULL,
                             .kind = QN_KIND(QN_BOOL),
                             .at = at,
                             .len = len,
                             .is_null = true};

    return qn_node_add(bd, &x);
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
        return known->kind.type == QN_TYPE_COUNT ? QN_NODE_BAD : qn_node_add(bd, &x);
    }
    unknown_name(bd, name, at, len);
    return QN_NODE_BAD;
}
