/* SPDX-License-Identifier: Apache-2.0
 * expression_parse.c - tokens (expression_lex.c) into typed operations (expression_operators.c,
 * expression_calls.c).
 *
 * Operator precedence, loosest first: or | and | not | comparisons, in, is | + - | * / % | unary
 * minus. Operations are made as soon as their operands are read, so a text as long as allowed needs
 * no more stack than its parentheses are deep, and those are limited (QN_EXPR_DEPTH_MAX). A broken
 * sentence stops the parser; a wrong name or type does not, so that one look shows all of them.
 * Thread: one. Memory: the given arena; the text is not kept. */
#include "base/check.h"
#include "feature/expression_int.h"

#include <string.h>

enum level {
    LEVEL_OR = 1,
    LEVEL_AND,
    LEVEL_NOT,
    LEVEL_COMPARE,
    LEVEL_SUM,
    LEVEL_PRODUCT,
    LEVEL_SIGN
};

struct parser {
    struct qn_lexer lx;
    struct qn_builder bd;
    uint32_t depth;
    bool stop; /* the sentence is broken, or memory is out: give up */
};

static uint32_t parse_level(struct parser *ps, enum level min);

static uint32_t stop(struct parser *ps)
{
    ps->stop = true;
    return QN_NODE_BAD;
}

/* "unexpected 'x': <expected>" at the current token; nothing where the lexer has already spoken. */
static uint32_t unexpected(struct parser *ps, const char *hint, const char *expected)
{
    const struct qn_token *t = &ps->lx.token;

    if (!ps->stop && t->kind == QN_TOKEN_END)
        qn_expr_report(&ps->bd, QN_DIAG_SYNTAX, t->at, 1, hint,
                       "the expression ends where %s was expected", expected);
    else if (!ps->stop && t->kind != QN_TOKEN_BAD)
        qn_expr_report(&ps->bd, QN_DIAG_SYNTAX, t->at, t->len, hint,
                       "unexpected '%.*s': %s was expected", (int)(t->len > 40 ? 40 : t->len),
                       ps->lx.text.p + t->at, expected);
    return stop(ps);
}

static bool enter(struct parser *ps)
{
    if (ps->depth == QN_EXPR_DEPTH_MAX) {
        if (!ps->stop)
            qn_expr_report(&ps->bd, QN_DIAG_RANGE, ps->lx.token.at, ps->lx.token.len,
                           "give a part a feature of its own", "nested deeper than %d",
                           (int)QN_EXPR_DEPTH_MAX);
        ps->stop = true;
        return false;
    }
    ps->depth++;
    return true;
}

static void next(struct parser *ps)
{
    qn_lexer_next(&ps->lx);
    if (ps->lx.token.kind == QN_TOKEN_BAD || ps->bd.failed)
        ps->stop = true;
}

/* Takes the list behind an opening parenthesis that is the current token, up to its end. */
static uint32_t parse_list(struct parser *ps, uint32_t *items, uint32_t max, uint32_t *count)
{
    *count = 0;
    if (!enter(ps))
        return QN_NODE_BAD;
    next(ps);
    while (!ps->stop && ps->lx.token.kind != QN_TOKEN_CLOSE) {
        if (*count == max) {
            qn_expr_report(&ps->bd, QN_DIAG_RANGE, ps->lx.token.at, ps->lx.token.len, NULL,
                           "at most %u values here", (unsigned)max);
            return stop(ps);
        }
        items[(*count)++] = parse_level(ps, LEVEL_OR);
        if (ps->stop)
            return QN_NODE_BAD;
        if (ps->lx.token.kind == QN_TOKEN_COMMA) {
            next(ps);
            if (ps->lx.token.kind == QN_TOKEN_CLOSE)
                return unexpected(ps, NULL, "a value");
        } else if (ps->lx.token.kind != QN_TOKEN_CLOSE) {
            return unexpected(ps, NULL, "',' or ')'");
        }
    }
    if (ps->stop)
        return QN_NODE_BAD;
    ps->depth--;
    return 0;
}

static uint32_t parse_call(struct parser *ps, struct qn_str name, uint32_t at)
{
    uint32_t args[QN_EXPR_ARGS_MAX], count;

    if (parse_list(ps, args, QN_EXPR_ARGS_MAX, &count) == QN_NODE_BAD)
        return QN_NODE_BAD;
    const uint32_t len = ps->lx.token.at + 1 - at;

    next(ps);
    return qn_make_call(&ps->bd, name, args, count, at, len);
}

/* terminals.risk: a column of a table, unless the scope knows the dotted name itself. */
static uint32_t parse_dotted(struct parser *ps, uint32_t at)
{
    uint32_t end = at;

    while (!ps->stop && ps->lx.token.kind == QN_TOKEN_DOT) {
        next(ps);
        if (ps->lx.token.kind != QN_TOKEN_NAME)
            return unexpected(ps, NULL, "a name");
        end = ps->lx.token.at + ps->lx.token.len;
        next(ps);
    }
    const struct qn_str name = {ps->lx.text.p + at, end - at};

    for (uint32_t i = 0; i < ps->bd.scope->count; i++)
        if (qn_str_eq(name, ps->bd.scope->names[i].name))
            return qn_make_name(&ps->bd, name, at, name.len);
    if (!ps->stop)
        qn_expr_report(&ps->bd, QN_DIAG_NOT_YET, at, name.len, NULL,
                       "'%.*s': columns of tables are not available yet",
                       (int)(name.len > 80 ? 80 : name.len), name.p);
    return QN_NODE_BAD;
}

static uint32_t parse_name(struct parser *ps)
{
    const struct qn_str name = qn_lexer_text(&ps->lx);
    const uint32_t at = ps->lx.token.at;
    const bool call = qn_lexer_sees_call(&ps->lx);
    const char *keyword = qn_expr_keyword_like(name);

    if (keyword != NULL) {
        qn_expr_report(&ps->bd, QN_DIAG_SYNTAX, at, name.len, NULL, "'%.*s' is written '%s'",
                       QN_STR_ARG(name), keyword);
        return stop(ps);
    }
    next(ps);
    if (call)
        return parse_call(ps, name, at);
    if (ps->lx.token.kind == QN_TOKEN_DOT)
        return parse_dotted(ps, at);
    return qn_make_name(&ps->bd, name, at, name.len);
}

/* The value of a text token, doubled quotes as one, in the arena. */
static bool text_value(struct qn_arena *arena, struct qn_str token, struct qn_str *out)
{
    const char quote = token.p[0];
    char *made = qn_arena_alloc(arena, token.len);
    uint32_t n = 0;

    if (made == NULL)
        return false;
    for (uint32_t i = 1; i + 1 < token.len; i++) {
        made[n++] = token.p[i];
        if (token.p[i] == quote)
            i++;
    }
    *out = (struct qn_str){made, n};
    return true;
}

static uint32_t parse_value(struct parser *ps)
{
    const struct qn_token t = ps->lx.token;
    struct qn_str text;
    uint32_t made = QN_NODE_BAD;

    switch (t.kind) {
    case QN_TOKEN_NUMBER:
        made = qn_make_number(&ps->bd, &t.number, t.at, t.len);
        break;
    case QN_TOKEN_DURATION:
        made = qn_make_duration(&ps->bd, t.us, t.at, t.len);
        break;
    case QN_TOKEN_TRUE:
    case QN_TOKEN_FALSE:
        made = qn_make_bool(&ps->bd, t.kind == QN_TOKEN_TRUE, t.at, t.len);
        break;
    case QN_TOKEN_NULL:
        made = qn_make_null(&ps->bd, t.at, t.len);
        break;
    case QN_TOKEN_TEXT:
        if (text_value(ps->bd.arena, qn_lexer_text(&ps->lx), &text))
            made = qn_make_text(&ps->bd, text, t.at, t.len);
        else
            ps->bd.failed = true;
        break;
    case QN_TOKEN_NAME:
        return parse_name(ps);
    case QN_TOKEN_OPEN:
        if (!enter(ps))
            return QN_NODE_BAD;
        next(ps);
        made = parse_level(ps, LEVEL_OR);
        if (ps->stop)
            return QN_NODE_BAD;
        if (ps->lx.token.kind != QN_TOKEN_CLOSE)
            return unexpected(ps, NULL, "')'");
        ps->depth--;
        break;
    default:
        return unexpected(ps, NULL, "a value");
    }
    next(ps);
    return made;
}

static uint32_t parse_prefix(struct parser *ps, enum level min)
{
    const struct qn_token t = ps->lx.token;
    uint32_t x;

    if (t.kind != QN_TOKEN_NOT && t.kind != QN_TOKEN_MINUS)
        return parse_value(ps);
    if (!enter(ps))
        return QN_NODE_BAD;
    next(ps);
    if (t.kind == QN_TOKEN_MINUS) {
        x = ps->stop ? QN_NODE_BAD : parse_level(ps, LEVEL_SIGN);
        ps->depth--;
        return qn_make_negative(&ps->bd, x, t.at);
    }
    /* `a == not b` reads as a == (not b) */
    x = ps->stop ? QN_NODE_BAD : parse_level(ps, min > LEVEL_NOT ? min : LEVEL_NOT);
    ps->depth--;
    return qn_make_not(&ps->bd, x, t.at);
}

/* x is [not] null */
static uint32_t parse_is(struct parser *ps, uint32_t x)
{
    bool wanted = true;

    next(ps);
    if (ps->lx.token.kind == QN_TOKEN_NOT) {
        wanted = false;
        next(ps);
    }
    if (ps->lx.token.kind != QN_TOKEN_NULL)
        return unexpected(ps, "compare values with ==", "'null' or 'not null'");
    const struct qn_token t = ps->lx.token;

    next(ps);
    return qn_make_is_null(&ps->bd, x, wanted, t.at, t.len);
}

/* x [not] in (a, b, ...): the current token is `in`. */
static uint32_t parse_in(struct parser *ps, uint32_t x, uint32_t at)
{
    enum { ITEMS_MAX = 256 };
    uint32_t *items = QN_NEW_N(ps->bd.arena, uint32_t, ITEMS_MAX), count;

    if (items == NULL) {
        ps->bd.failed = true;
        return stop(ps);
    }
    next(ps);
    if (ps->lx.token.kind != QN_TOKEN_OPEN)
        return unexpected(ps, "for example country in ('US', 'CA')", "'('");
    if (parse_list(ps, items, ITEMS_MAX, &count) == QN_NODE_BAD)
        return QN_NODE_BAD;
    if (count == 0)
        return unexpected(ps, "for example country in ('US', 'CA')", "a value");
    const uint32_t len = ps->lx.token.at + 1 - at;

    next(ps);
    return qn_make_in(&ps->bd, x, items, count, at, len);
}

static enum level level_of(enum qn_token_kind kind)
{
    switch (kind) {
    case QN_TOKEN_OR:
        return LEVEL_OR;
    case QN_TOKEN_AND:
        return LEVEL_AND;
    case QN_TOKEN_EQ:
    case QN_TOKEN_NE:
    case QN_TOKEN_LT:
    case QN_TOKEN_LE:
    case QN_TOKEN_GT:
    case QN_TOKEN_GE:
    case QN_TOKEN_IN:
    case QN_TOKEN_IS:
    case QN_TOKEN_NOT: /* x not in (...) */
        return LEVEL_COMPARE;
    case QN_TOKEN_PLUS:
    case QN_TOKEN_MINUS:
        return LEVEL_SUM;
    case QN_TOKEN_STAR:
    case QN_TOKEN_SLASH:
    case QN_TOKEN_PERCENT:
        return LEVEL_PRODUCT;
    default:
        return 0;
    }
}

/* One infix operator that is the current token, with what stands right of it. */
static uint32_t parse_infix(struct parser *ps, uint32_t left, enum level level)
{
    const struct qn_token t = ps->lx.token;
    uint32_t right;

    if (t.kind == QN_TOKEN_IS)
        return parse_is(ps, left);
    if (t.kind == QN_TOKEN_IN)
        return parse_in(ps, left, t.at);
    next(ps);
    if (t.kind == QN_TOKEN_NOT) {
        if (ps->lx.token.kind != QN_TOKEN_IN)
            return unexpected(ps, "for example x not in (1, 2)", "'in'");
        right = parse_in(ps, left, t.at);
        return right == QN_NODE_BAD ? right : qn_make_not(&ps->bd, right, t.at);
    }
    if (ps->stop)
        return QN_NODE_BAD;
    right = parse_level(ps, level + 1);
    return qn_make_binary(&ps->bd, t.kind, left, right, t.at, t.len);
}

static uint32_t parse_level(struct parser *ps, enum level min)
{
    uint32_t left = parse_prefix(ps, min);
    bool compared = false;

    for (;;) {
        const enum level level = level_of(ps->lx.token.kind);

        if (ps->stop || level == 0 || level < min)
            return ps->stop ? QN_NODE_BAD : left;
        if (level == LEVEL_COMPARE && compared) {
            qn_expr_report(&ps->bd, QN_DIAG_SYNTAX, ps->lx.token.at, ps->lx.token.len,
                           "write a < b and b < c", "comparisons do not chain");
            return stop(ps);
        }
        compared = level == LEVEL_COMPARE;
        left = parse_infix(ps, left, level);
    }
}

/* What stands behind a complete expression, with the remedy for the usual cases. */
static void trailing(struct parser *ps)
{
    static const char *const clauses[] = {"by",        "over",   "of",     "where", "delayed",
                                          "excluding", "every",  "window", "group", "partition",
                                          "having",    "filter", "lag"};
    const char *hint = NULL;

    if (ps->lx.token.kind == QN_TOKEN_NAME) {
        const struct qn_str word = qn_lexer_text(&ps->lx);

        for (size_t i = 0; i < sizeof clauses / sizeof clauses[0]; i++)
            if (qn_str_is(word, clauses[i]))
                hint = "a window is a feature of its own: sum(x) by key over 7d";
        if (qn_expr_keyword_like(word) != NULL)
            hint = "and, or, not, in, is are written in lower case";
    } else if (ps->lx.token.kind == QN_TOKEN_OPEN) {
        hint = "only functions are called with (...)";
    }
    unexpected(ps, hint, "an operator or the end");
}

static void open_parser(struct parser *ps, struct qn_str text, struct qn_pos at,
                        const struct qn_scope *scope, struct qn_arena *arena,
                        struct qn_diags *diags)
{
    *ps = (struct parser){
        .bd = {.arena = arena, .diags = diags, .scope = scope, .text = text, .at = at},
    };
    qn_lexer_open(&ps->lx, text, at, diags);
    ps->stop = ps->lx.token.kind == QN_TOKEN_BAD;
}

/* The default for null: one literal, which takes the type of the expression. */
static uint32_t add_fallback(struct parser *ps, uint32_t root, struct qn_str text, struct qn_pos at)
{
    const struct qn_kind kind = ps->bd.nodes[root].kind;
    struct qn_value value;
    bool nomem;

    if (!qn_expr_literal(text, at, kind, ps->bd.arena, ps->bd.diags, &value, &nomem)) {
        ps->bd.failed = nomem;
        return QN_NODE_BAD;
    }
    struct qn_expr_node x = {.what = QN_NODE_CONSTANT, .kind = kind, .value = value};
    /* The message is out by now; only memory can fail from here on. */
    const uint32_t base = qn_make_bool(&ps->bd, false, 0, 0);

    if (base == QN_NODE_BAD)
        return QN_NODE_BAD;
    ps->bd.nodes[base] = x;
    const struct qn_function *f = qn_function_find(qn_str_of("coalesce"));

    QN_ASSERT(f != NULL);
    return qn_make_op(&ps->bd, kind.type == QN_STRING ? f->str : f->i64, kind,
                      (uint32_t[2]){root, base}, 2, NULL);
}

struct qn_expr *qn_expr_parse_or(struct qn_str text, struct qn_pos at, struct qn_str fallback,
                                 struct qn_pos fallback_at, const struct qn_scope *scope,
                                 struct qn_arena *arena, struct qn_diags *diags, bool *nomem)
{
    struct parser ps;
    struct qn_expr *made = NULL;
    uint32_t root;

    *nomem = false;
    open_parser(&ps, text, at, scope, arena, diags);
    if (ps.lx.token.kind == QN_TOKEN_END) {
        qn_expr_report(&ps.bd, QN_DIAG_MISSING, 0, 1, NULL,
                       "an expression was expected, found nothing");
        return NULL;
    }
    root = ps.stop ? QN_NODE_BAD : parse_level(&ps, LEVEL_OR);
    if (!ps.stop && ps.lx.token.kind != QN_TOKEN_END)
        trailing(&ps);
    *nomem = ps.bd.failed;
    if (ps.stop || root == QN_NODE_BAD || ps.bd.failed)
        return NULL;
    if (ps.bd.nodes[root].literal == QN_LITERAL_NULL) {
        qn_expr_report(&ps.bd, QN_DIAG_TYPE, ps.bd.nodes[root].at, ps.bd.nodes[root].len, NULL,
                       "null alone has no type");
        return NULL;
    }
    if (fallback.len > 0) {
        if (ps.bd.nodes[root].kind.type == QN_LIST) {
            qn_diag_error(diags, QN_DIAG_TYPE, fallback_at, NULL, "a list has no default");
            return NULL;
        }
        root = add_fallback(&ps, root, fallback, fallback_at);
    }
    if (root != QN_NODE_BAD && !ps.lx.mistaken) {
        made = qn_expr_finish(&ps.bd, root);
        *nomem = made == NULL;
    } else {
        *nomem = ps.bd.failed;
    }
    return made;
}

struct qn_expr *qn_expr_parse(struct qn_str text, struct qn_pos at, const struct qn_scope *scope,
                              struct qn_arena *arena, struct qn_diags *diags)
{
    bool ignored;

    return qn_expr_parse_or(text, at, (struct qn_str){0}, at, scope, arena, diags, &ignored);
}

bool qn_expr_literal(struct qn_str text, struct qn_pos at, struct qn_kind kind,
                     struct qn_arena *arena, struct qn_diags *diags, struct qn_value *out,
                     bool *nomem)
{
    const struct qn_scope none = {.what = "value"};
    struct parser ps;
    char k[24];

    *nomem = false;
    open_parser(&ps, text, at, &none, arena, diags);
    if (ps.stop)
        return false;
    const uint32_t given = parse_prefix(&ps, LEVEL_SIGN);

    *nomem = ps.bd.failed;
    if (given == QN_NODE_BAD)
        return false;
    if (ps.bd.nodes[given].literal == QN_LITERAL_NULL) {
        qn_expr_report(&ps.bd, QN_DIAG_TYPE, 0, text.len, NULL, "'or null' changes nothing");
        return false;
    }
    const uint32_t made = qn_make_convert(&ps.bd, given, kind);

    *nomem = ps.bd.failed;
    if (made == QN_NODE_BAD) {
        if (!ps.bd.failed)
            qn_expr_report(&ps.bd, QN_DIAG_TYPE, 0, text.len,
                           "the default has the type of the feature",
                           "the default %.*s does not fit %s", (int)(text.len > 80 ? 80 : text.len),
                           text.p, qn_kind_print(kind, k));
        return false;
    }
    *out = ps.bd.nodes[made].value;
    return true;
}
