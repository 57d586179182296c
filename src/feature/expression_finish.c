/* SPDX-License-Identifier: Apache-2.0
 * expression_finish.c - the compiled expression: nodes that are needed, registers, and what can be
 * asked of it.
 *
 * The last step of compiling. Folding and conversion leave nodes behind that nobody reads; they are
 * dropped, and every operation gets a register that is free again after its last use, so that an
 * expression over a chunk of rows needs few of them. Invariant: the last node is an operation and
 * writes the result. Thread: one while compiling; the questions may be asked from any. Memory: the
 * arena of the builder. */
#include "feature/expression_int.h"

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
