/* SPDX-License-Identifier: Apache-2.0
 * expression_calls.c - calls: arguments are checked against the table of functions, then the
 * operation is chosen by their types.
 *
 * The table itself and its operations are in expression_functions.c. Arguments that must agree take
 * the one type that holds them all: typed ones decide, literals join them. Names that other
 * languages use are answered with ours. Invariant: an operation is chosen for every call that
 * passes the checks. Thread: one. Memory: the arena of the builder; scratch on the stack. */
#include "base/check.h"
#include "feature/expression_int.h"

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
               (x->literal == QN_LITERAL_TEXT && qn_literal_as(x, QN_KIND(QN_TIMESTAMP), &ignored));
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
        const struct qn_expr_node *x = args[i] == QN_NODE_BAD ? NULL : qn_node_at(bd, args[i]);

        if (x == NULL) {
            good = false;
        } else if (!arg_fits(arg_of(f, i), x)) {
            good = false;
            qn_expr_report(bd, QN_DIAG_TYPE, x->at, x->len, f->usage, "%s needs %s, found %s",
                           f->name, arg_text(arg_of(f, i)), qn_node_kind_text(x, k));
        }
    }
    return good;
}

/* The widest kind of all args; the first is no null, and a literal only if all are. */
static bool common_of(struct qn_builder *bd, const struct qn_function *f, const uint32_t *args,
                      uint32_t count, struct qn_kind *out)
{
    struct qn_expr_node sum = *qn_node_at(bd, args[0]);

    for (uint32_t i = 1; i < count; i++) {
        const struct qn_expr_node *x = qn_node_at(bd, args[i]);
        struct qn_kind kind;
        char ka[24], kb[24];

        if (!qn_common_kind(&sum, x, &kind)) {
            qn_expr_report(bd, QN_DIAG_TYPE, x->at, x->len, "all must have one type",
                           "%s has arguments of different types: %s and %s", f->name,
                           qn_node_kind_text(&sum, ka), qn_node_kind_text(x, kb));
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
            if ((qn_node_at(bd, args[i])->literal != QN_LITERAL_NONE) == (wants_literal == 1))
                order[n++] = args[i];
    if (qn_node_at(bd, order[0])->literal == QN_LITERAL_NULL) {
        uint32_t i = 1;

        while (i < n && qn_node_at(bd, order[i])->literal == QN_LITERAL_NULL)
            i++;
        if (i == n) {
            qn_expr_report(bd, QN_DIAG_TYPE, qn_node_at(bd, order[0])->at,
                           qn_node_at(bd, order[0])->len, NULL,
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
    const struct qn_kind kind = qn_node_at(bd, in[ins - 1])->kind;
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
        return QN_KIND(QN_BOOL);
    case QN_RESULT_INT64:
        return QN_KIND(QN_INT64);
    case QN_RESULT_DOUBLE:
        return QN_KIND(QN_DOUBLE);
    case QN_RESULT_STRING:
        return QN_KIND(QN_STRING);
    case QN_RESULT_WHOLE:
        return arg.type == QN_DOUBLE ? arg : QN_KIND(QN_INT64);
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
    struct qn_kind same = QN_KIND(QN_BOOL);

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
            in[i] = qn_make_convert(bd, args[i], QN_KIND(QN_DOUBLE));
        else if (want == QN_ARG_TIME)
            in[i] = qn_make_convert(bd, args[i], QN_KIND(QN_TIMESTAMP));
        else if (want == QN_ARG_SAME || want == QN_ARG_SAME_ORDER)
            in[i] = qn_make_convert(bd, args[i], same);
        if (in[i] == QN_NODE_BAD)
            return QN_NODE_BAD;
    }
    const struct qn_kind result = result_kind(f, is_same ? same : qn_node_at(bd, in[0])->kind);
    uint32_t made;

    if (f->args_max == QN_EXPR_ARGS_MAX) { /* a chain: f(f(a, b), c) */
        made = in[0];
        for (uint32_t i = 1; i < count && made != QN_NODE_BAD; i++)
            made = choose_op(bd, f, result, (uint32_t[2]){made, in[i]}, 2);
    } else {
        made = choose_op(bd, f, result, in, count);
    }
    if (made != QN_NODE_BAD) {
        qn_node_at(bd, made)->at = at;
        qn_node_at(bd, made)->len = len;
    }
    return made;
}
