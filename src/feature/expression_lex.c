/* SPDX-License-Identifier: Apache-2.0
 * expression_lex.c - the text of an expression into tokens, and the words of the language.
 *
 * Used by the expression parser and by the parser of window sentences (sentence.c), so that both
 * read numbers, texts and signs alike. A sign of another language is reported once and then read as
 * ours; what is no token at all is QN_TOKEN_BAD, after which nothing more is read. Thread: one.
 * Memory: none; tokens are places in the text. */
#include "feature/expression_int.h"
#include "feature/window.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct qn_pos qn_expr_pos(struct qn_pos at, uint32_t offset, uint32_t len)
{
    if (at.line == 0)
        return at;
    return (struct qn_pos){.line = at.line, .col = at.col + offset, .len = len};
}

static const struct {
    const char *word;
    enum qn_token_kind kind;
} keywords[] = {{"and", QN_TOKEN_AND},     {"or", QN_TOKEN_OR},    {"not", QN_TOKEN_NOT},
                {"in", QN_TOKEN_IN},       {"is", QN_TOKEN_IS},    {"true", QN_TOKEN_TRUE},
                {"false", QN_TOKEN_FALSE}, {"null", QN_TOKEN_NULL}};

bool qn_expr_is_keyword(struct qn_str word)
{
    static const char *const others[] = {"if",      "where",     "of",    "by", "over",
                                         "delayed", "excluding", "every", "all"};

    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (qn_str_is(word, keywords[i].word))
            return true;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (qn_str_is(word, others[i]))
            return true;
    return false;
}

const char *qn_expr_keyword_like(struct qn_str word)
{
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (qn_edit_distance(word, qn_str_of(keywords[i].word), 0) == 0)
            return keywords[i].word;
    return NULL;
}

bool qn_aggregate_is_planned(struct qn_str word)
{
    static const char *const planned[] = {"variance", "stddev",   "first",  "last",
                                          "distinct", "quantile", "top",    "ewma",
                                          "rate",     "lag",      "median", "percentile"};

    for (size_t i = 0; i < sizeof planned / sizeof planned[0]; i++)
        if (qn_str_is(word, planned[i]))
            return true;
    return false;
}

int qn_aggregate_find(struct qn_str word)
{
#define QN_AGGREGATE_WORD(name, text, arg)                                                         \
    if (qn_str_is(word, text))                                                                     \
        return QN_AGGREGATE_##name;
    QN_AGGREGATE_LIST(QN_AGGREGATE_WORD)
#undef QN_AGGREGATE_WORD
    return -1;
}

static void lex_error(struct qn_lexer *lx, uint32_t at, uint32_t len, enum qn_diag_code code,
                      const char *hint, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

static void lex_error(struct qn_lexer *lx, uint32_t at, uint32_t len, enum qn_diag_code code,
                      const char *hint, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    lx->mistaken = true;
    if (lx->diags == NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    qn_diag_error(lx->diags, code, qn_expr_pos(lx->at, at, len), hint, "%s", text);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

void qn_lexer_open(struct qn_lexer *lx, struct qn_str text, struct qn_pos at,
                   struct qn_diags *diags)
{
    *lx = (struct qn_lexer){.text = text, .at = at, .diags = diags};
    if (text.len > QN_EXPR_TEXT_MAX) {
        lex_error(lx, 0, 1, QN_DIAG_RANGE, NULL, "an expression has at most %d bytes, found %u",
                  (int)QN_EXPR_TEXT_MAX, (unsigned)text.len);
        lx->text.len = 0;
        lx->token.kind = QN_TOKEN_BAD;
        return;
    }
    qn_lexer_next(lx);
}

struct qn_str qn_lexer_text(const struct qn_lexer *lx)
{
    return (struct qn_str){lx->text.p + lx->token.at, lx->token.len};
}

bool qn_lexer_is(const struct qn_lexer *lx, const char *word)
{
    return lx->token.kind == QN_TOKEN_NAME && qn_str_is(qn_lexer_text(lx), word);
}

bool qn_lexer_sees_call(const struct qn_lexer *lx)
{
    uint32_t i = lx->pos;

    while (i < lx->text.len && is_space(lx->text.p[i]))
        i++;
    return i < lx->text.len && lx->text.p[i] == '(';
}

/* A number or a duration: digits, letters, dots, and a sign right behind an exponent's e. */
static void lex_number(struct qn_lexer *lx)
{
    const char *p = lx->text.p;
    const uint32_t start = lx->pos, end = lx->text.len;
    uint32_t i = start;
    struct qn_token *t = &lx->token;

    while (i < end && (is_digit(p[i]) || is_letter(p[i]) || p[i] == '.'))
        i++;
    const uint32_t scanned = qn_number_scan(p + start, p + end, &t->number);

    lx->pos = start + scanned > i ? start + scanned : i;
    t->len = lx->pos - start;
    if (scanned == t->len && scanned > 0) {
        t->kind = QN_TOKEN_NUMBER;
        return;
    }
    if (qn_duration_parse((struct qn_str){p + start, t->len}, &t->us)) {
        t->kind = QN_TOKEN_DURATION;
        return;
    }
    const char *hint = "durations are written 500us 50ms 10s 5m 1h30m 7d 2w, at most 10,000 days";

    if (p[start] == '0' && start + 1 < end && is_digit(p[start + 1]))
        hint = "a number has no leading zeros";
    else if (p[lx->pos - 1] == '.')
        hint = "a digit stands behind the point: 1.0";
    t->kind = QN_TOKEN_BAD;
    lex_error(lx, start, t->len, QN_DIAG_SYNTAX, hint, "'%.*s' is neither a number nor a duration",
              (int)(t->len > 40 ? 40 : t->len), p + start);
}

static void lex_text(struct qn_lexer *lx)
{
    const char *p = lx->text.p;
    const uint32_t start = lx->pos, end = lx->text.len;
    const char quote = p[start];
    uint32_t i = start + 1;

    /* A quote inside is written twice. */
    while (i < end && (p[i] != quote || (i + 1 < end && p[i + 1] == quote)))
        i += p[i] == quote ? 2 : 1;
    lx->token.kind = QN_TOKEN_TEXT;
    lx->token.len = (i < end ? i + 1 : end) - start;
    lx->pos = start + lx->token.len;
    if (i >= end) {
        lx->token.kind = QN_TOKEN_BAD;
        lex_error(lx, start, 1, QN_DIAG_SYNTAX,
                  quote == '"' ? "close it with \"" : "close it with '",
                  "a text that does not end");
    }
}

/* One row per sign; longer ones first. Where `use` is set, it is another language's sign: said
 * once, then read as ours. */
static const struct {
    const char *sign;
    enum qn_token_kind kind;
    const char *use;
} signs[] = {{"===", QN_TOKEN_EQ, "=="},
             {"!==", QN_TOKEN_NE, "!="},
             {"==", QN_TOKEN_EQ, NULL},
             {"!=", QN_TOKEN_NE, NULL},
             {"<=", QN_TOKEN_LE, NULL},
             {">=", QN_TOKEN_GE, NULL},
             {"=>", QN_TOKEN_GE, ">="},
             {"=<", QN_TOKEN_LE, "<="},
             {"<>", QN_TOKEN_NE, "!="},
             {"&&", QN_TOKEN_AND, "and"},
             {"||", QN_TOKEN_OR, "or"},
             {"**", QN_TOKEN_STAR, "x * x"},
             {"//", QN_TOKEN_SLASH, "floor(a / b)"},
             {"=", QN_TOKEN_EQ, NULL},
             {"<", QN_TOKEN_LT, NULL},
             {">", QN_TOKEN_GT, NULL},
             {"!", QN_TOKEN_NOT, "not"},
             {"&", QN_TOKEN_AND, "and"},
             {"|", QN_TOKEN_OR, "or"},
             {"+", QN_TOKEN_PLUS, NULL},
             {"-", QN_TOKEN_MINUS, NULL},
             {"*", QN_TOKEN_STAR, NULL},
             {"/", QN_TOKEN_SLASH, NULL},
             {"%", QN_TOKEN_PERCENT, NULL},
             {"(", QN_TOKEN_OPEN, NULL},
             {")", QN_TOKEN_CLOSE, NULL},
             {",", QN_TOKEN_COMMA, NULL},
             {".", QN_TOKEN_DOT, NULL}};

static void lex_sign(struct qn_lexer *lx)
{
    const char *p = lx->text.p + lx->pos;
    const uint32_t left = lx->text.len - lx->pos;

    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        const uint32_t n = (uint32_t)strlen(signs[i].sign);

        if (n > left || memcmp(p, signs[i].sign, n) != 0)
            continue;
        lx->token.kind = signs[i].kind;
        lx->token.len = n;
        if (signs[i].use != NULL)
            lex_error(lx, lx->pos, n, QN_DIAG_SYNTAX, NULL,
                      "'%s' is not an operator here: use '%s'", signs[i].sign, signs[i].use);
        lx->pos += n;
        return;
    }
    const char *hint = NULL;

    if (*p == '?' || *p == ':')
        hint = "a choice is written if(condition, a, b)";
    else if (*p == '[' || *p == '{')
        hint = "a set is written x in (a, b)";
    else if (*p == '`' || (unsigned char)*p >= 0x80)
        hint = "a text stands in '...' or \"...\"";
    lx->token.kind = QN_TOKEN_BAD;
    lx->token.len = 1;
    if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
        lex_error(lx, lx->pos, 1, QN_DIAG_SYNTAX, hint, "a byte that no expression has (0x%02x)",
                  (unsigned char)*p);
    else
        lex_error(lx, lx->pos, 1, QN_DIAG_SYNTAX, hint, "unexpected '%c'", *p);
    lx->pos++;
}

void qn_lexer_next(struct qn_lexer *lx)
{
    const char *p = lx->text.p;

    if (lx->token.kind == QN_TOKEN_BAD)
        return;
    while (lx->pos < lx->text.len && is_space(p[lx->pos]))
        lx->pos++;
    lx->token = (struct qn_token){.kind = QN_TOKEN_END, .at = lx->pos};
    if (lx->pos == lx->text.len)
        return;
    if (is_letter(p[lx->pos])) {
        while (lx->pos < lx->text.len && (is_letter(p[lx->pos]) || is_digit(p[lx->pos])))
            lx->pos++;
        lx->token.kind = QN_TOKEN_NAME;
        lx->token.len = lx->pos - lx->token.at;
        for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
            if (qn_str_is(qn_lexer_text(lx), keywords[i].word))
                lx->token.kind = keywords[i].kind;
    } else if (is_digit(p[lx->pos])) {
        lex_number(lx);
    } else if (p[lx->pos] == '.' && lx->pos + 1 < lx->text.len && is_digit(p[lx->pos + 1])) {
        lx->token.kind = QN_TOKEN_BAD;
        lex_error(lx, lx->pos, 1, QN_DIAG_SYNTAX, "a digit stands before the point: 0.5",
                  "unexpected '.'");
    } else if (p[lx->pos] == '\'' || p[lx->pos] == '"') {
        lex_text(lx);
    } else {
        lex_sign(lx);
    }
}
