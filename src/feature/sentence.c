/* SPDX-License-Identifier: Apache-2.0
 * sentence.c - cuts a feature sentence at its clause words and reads everything but the expressions
 * in it.
 *
 * A text is a window where it begins with AGG(...) followed by a clause; min and max of several
 * values are functions. Outside parentheses the clause words are reserved. Every mistake people
 * bring along from other tools has its own answer. Thread: one. Nothing is allocated. */
#include "feature/sentence.h"

#include "base/timestamp.h"
#include "feature/expression_int.h"

#include <stdio.h>
#include <string.h>

struct reader {
    struct qn_lexer
        lx; /* silent: expressions are read, and complained about, by their own parser */
    struct qn_pos at;
    struct qn_diags *diags;
    struct qn_sentence *out;
    bool has_where, has_of, has_by, has_over, has_delayed, has_excluding, bad;
};

static const char *const clause_words[] = {"where", "of", "by", "over", "delayed", "excluding"};
enum { CLAUSE_WORDS = sizeof clause_words / sizeof clause_words[0] };

static struct qn_pos here(const struct reader *rd)
{
    const struct qn_token *t = &rd->lx.token;

    return qn_expr_pos(rd->at, t->at, t->kind == QN_TOKEN_END ? 1 : t->len);
}

/* "'x'" or "the end" for messages. */
static const char *found(const struct reader *rd, char out[48])
{
    const struct qn_token *t = &rd->lx.token;

    if (t->kind == QN_TOKEN_END)
        return "the end";
    snprintf(out, 48, "'%.*s'", (int)(t->len > 40 ? 40 : t->len), rd->lx.text.p + t->at);
    return out;
}

static bool is_clause_word(const struct reader *rd)
{
    for (int i = 0; i < CLAUSE_WORDS; i++)
        if (qn_lexer_is(&rd->lx, clause_words[i]))
            return true;
    return false;
}

static struct qn_sentence_part piece(const struct reader *rd, uint32_t from, uint32_t to)
{
    while (to > from && (rd->lx.text.p[to - 1] == ' ' || rd->lx.text.p[to - 1] == '\n' ||
                         rd->lx.text.p[to - 1] == '\t' || rd->lx.text.p[to - 1] == '\r'))
        to--;
    return (struct qn_sentence_part){{rd->lx.text.p + from, to - from},
                                     qn_expr_pos(rd->at, from, to - from)};
}

static struct qn_sentence_part token_piece(const struct reader *rd)
{
    return piece(rd, rd->lx.token.at, rd->lx.token.at + rd->lx.token.len);
}

/* Finds `or LITERAL` at the very end, outside parentheses. *cut is where the `or` begins. */
static bool find_fallback(struct qn_str text, struct qn_pos at, uint32_t *cut,
                          struct qn_sentence_part *out)
{
    struct qn_lexer lx;
    int depth = 0;
    uint32_t or_at = 0, from = 0, to = 0, behind = 0;
    bool is_literal = false, any = false;

    for (qn_lexer_open(&lx, text, at, NULL); lx.token.kind != QN_TOKEN_END; qn_lexer_next(&lx)) {
        const enum qn_token_kind kind = lx.token.kind;

        if (kind == QN_TOKEN_BAD)
            return false;
        depth += kind == QN_TOKEN_OPEN ? 1 : kind == QN_TOKEN_CLOSE ? -1 : 0;
        if (kind == QN_TOKEN_OR && depth == 0 && lx.token.len == 2 && text.p[lx.token.at] == 'o') {
            or_at = lx.token.at;
            any = true;
            is_literal = false;
            behind = 0;
            continue;
        }
        const bool sign = kind == QN_TOKEN_MINUS && behind == 0;
        const bool value = kind == QN_TOKEN_NUMBER || kind == QN_TOKEN_DURATION ||
                           kind == QN_TOKEN_TEXT || kind == QN_TOKEN_TRUE ||
                           kind == QN_TOKEN_FALSE || kind == QN_TOKEN_NULL;

        if (behind == 0)
            from = lx.token.at;
        is_literal = value && (behind == 0 ||
                               (behind == 1 && text.p[from] == '-' && kind == QN_TOKEN_NUMBER));
        to = lx.token.at + lx.token.len;
        behind += 1 + (sign || value ? 0 : 1);
    }
    if (!any || !is_literal || or_at == 0)
        return false;
    *cut = or_at;
    *out = (struct qn_sentence_part){{text.p + from, to - from}, qn_expr_pos(at, from, to - from)};
    return true;
}

/* ---- the clauses ----
 * Each is called with the word behind the clause word as the current token. */

static bool complain_twice(struct reader *rd, bool *has, const char *word, struct qn_pos at)
{
    if (*has) {
        qn_diag_error(rd->diags, QN_DIAG_DUPLICATE, at, NULL, "a second '%s': a window has one",
                      word);
        rd->bad = true;
    }
    *has = true;
    return rd->bad;
}

/* A duration, or the reason why there is none. */
static bool read_duration(struct reader *rd, const char *word, int64_t *us)
{
    char text[48];

    if (rd->lx.token.kind == QN_TOKEN_DURATION) {
        *us = rd->lx.token.us;
        qn_lexer_next(&rd->lx);
        return true;
    }
    rd->bad = true;
    if (rd->lx.token.kind == QN_TOKEN_NUMBER) {
        qn_diag_error(rd->diags, QN_DIAG_WINDOW, here(rd),
                      "units are us ms s m h d w, without a space: 7d",
                      "%s %.*s: a duration needs a unit", word, QN_STR_ARG(qn_lexer_text(&rd->lx)));
    } else if (rd->lx.token.kind == QN_TOKEN_MINUS) {
        qn_diag_error(rd->diags, QN_DIAG_WINDOW, here(rd), NULL,
                      "'%s' needs a duration, found a negative one", word);
    } else if (rd->lx.token.kind == QN_TOKEN_BAD) {
        qn_diag_error(rd->diags, QN_DIAG_WINDOW, here(rd),
                      "durations are written 500us 50ms 10s 5m 1h30m 7d 2w, at most 10,000 days",
                      "'%s' needs a duration, found %s", word, found(rd, text));
    } else {
        qn_diag_error(rd->diags, QN_DIAG_WINDOW, here(rd), "for example 7d",
                      "'%s' needs a duration%s, found %s", word, word[0] == 'o' ? " or 'all'" : "",
                      found(rd, text));
    }
    return false;
}

static void not_yet(struct reader *rd, struct qn_pos at, struct qn_str what, const char *hint)
{
    qn_diag_error(rd->diags, QN_DIAG_NOT_YET, at, hint, "'%.*s' is not available yet",
                  QN_STR_ARG(what));
    rd->bad = true;
}

static void read_over(struct reader *rd, struct qn_pos at)
{
    static const char *const closing[] = {"tumbling", "hopping", "session"};
    const struct qn_pos value_at = here(rd);

    if (complain_twice(rd, &rd->has_over, "over", at))
        return;
    if (qn_lexer_is(&rd->lx, "all")) {
        rd->out->over_us = QN_OVER_ALL;
        qn_lexer_next(&rd->lx);
        return;
    }
    if (qn_lexer_is(&rd->lx, "last")) {
        not_yet(rd, value_at, qn_str_of("over last"), "windows by time are: over 7d");
        return;
    }
    for (int i = 0; i < 3; i++)
        if (qn_lexer_is(&rd->lx, closing[i])) {
            not_yet(rd, value_at, qn_str_of(closing[i]), "sliding windows are: over 7d");
            return;
        }
    if (read_duration(rd, "over", &rd->out->over_us) && rd->out->over_us == 0) {
        qn_diag_error(rd->diags, QN_DIAG_WINDOW, value_at, "for example 7d",
                      "over 0s: a window is longer than nothing");
        rd->bad = true;
    }
}

static void read_by(struct reader *rd, struct qn_pos at)
{
    char text[48];

    if (complain_twice(rd, &rd->has_by, "by", at))
        return;
    for (;;) {
        if (rd->lx.token.kind != QN_TOKEN_NAME || is_clause_word(rd)) {
            qn_diag_error(rd->diags, QN_DIAG_SYNTAX, here(rd), "for example by customer_id",
                          "'by' needs the name of a field, found %s", found(rd, text));
            rd->bad = true;
            return;
        }
        if (rd->out->key_count == QN_KEYS_MAX) {
            qn_diag_error(rd->diags, QN_DIAG_RANGE, here(rd), NULL, "a key has at most %d fields",
                          (int)QN_KEYS_MAX);
            rd->bad = true;
            return;
        }
        const struct qn_sentence_part key = token_piece(rd);

        for (uint32_t i = 0; i < rd->out->key_count; i++)
            if (qn_str_eq(key.text, rd->out->keys[i].text)) {
                qn_diag_error(rd->diags, QN_DIAG_DUPLICATE, key.at, NULL,
                              "'%.*s' is in this key twice", QN_STR_ARG(key.text));
                rd->bad = true;
            }
        rd->out->keys[rd->out->key_count++] = key;
        qn_lexer_next(&rd->lx);
        if (rd->lx.token.kind != QN_TOKEN_COMMA)
            return;
        qn_lexer_next(&rd->lx);
    }
}

static void read_of(struct reader *rd, struct qn_pos at)
{
    char text[48];

    if (complain_twice(rd, &rd->has_of, "of", at))
        return;
    if (rd->lx.token.kind != QN_TOKEN_NAME || is_clause_word(rd)) {
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, here(rd), NULL,
                      "'of' needs the name of a stream, found %s", found(rd, text));
        rd->bad = true;
        return;
    }
    rd->out->of = token_piece(rd);
    qn_lexer_next(&rd->lx);
}

static void read_where(struct reader *rd, struct qn_pos at)
{
    const uint32_t from = rd->lx.token.at;
    uint32_t to = from;
    int depth = 0;
    char text[48];

    if (complain_twice(rd, &rd->has_where, "where", at))
        return;
    while (rd->lx.token.kind != QN_TOKEN_END && rd->lx.token.kind != QN_TOKEN_BAD &&
           (depth > 0 || !is_clause_word(rd))) {
        depth += rd->lx.token.kind == QN_TOKEN_OPEN    ? 1
                 : rd->lx.token.kind == QN_TOKEN_CLOSE ? -1
                                                       : 0;
        to = rd->lx.token.at + rd->lx.token.len;
        qn_lexer_next(&rd->lx);
    }
    if (to == from) {
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, here(rd), "for example where amount > 200",
                      "'where' needs a condition, found %s", found(rd, text));
        rd->bad = true;
        return;
    }
    rd->out->where = piece(rd, from, to);
}

static void read_excluding(struct reader *rd, struct qn_pos at)
{
    char text[48];

    if (complain_twice(rd, &rd->has_excluding, "excluding", at))
        return;
    if (!qn_lexer_is(&rd->lx, "current")) {
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, here(rd), "excluding current",
                      "'excluding' is followed by 'current', found %s", found(rd, text));
        rd->bad = true;
        return;
    }
    rd->out->excludes_current = true;
    qn_lexer_next(&rd->lx);
}

/* A word that begins no clause: what it should have been. */
static void strange_word(struct reader *rd)
{
    static const char *const others[][2] = {{"group", "by"},
                                            {"partition", "by"},
                                            {"groupby", "by"},
                                            {"per", "by"},
                                            {"key", "by"},
                                            {"on", "by"},
                                            {"window", "over"},
                                            {"window_size", "over"},
                                            {"range", "over"},
                                            {"within", "over"},
                                            {"during", "over"},
                                            {"for", "over"},
                                            {"lag", "delayed"},
                                            {"delay", "delayed"},
                                            {"shift", "delayed"},
                                            {"offset", "delayed"},
                                            {"after", "delayed"},
                                            {"from", "of"},
                                            {"stream", "of"},
                                            {"filter", "where"},
                                            {"having", "where"},
                                            {"when", "where"},
                                            {"if", "where"},
                                            {"without", "excluding current"},
                                            {"exclude", "excluding current"},
                                            {"default", "or"},
                                            {"else", "or"}};
    static const char *const planned[] = {"every", "tumbling", "hopping", "session", "last"};
    const struct qn_str word = qn_lexer_text(&rd->lx);
    struct qn_str known[CLAUSE_WORDS];
    char text[48];

    rd->bad = true;
    for (size_t i = 0; rd->lx.token.kind == QN_TOKEN_NAME && i < sizeof planned / sizeof planned[0];
         i++)
        if (qn_str_is(word, planned[i])) {
            not_yet(rd, here(rd), qn_str_of(planned[i]), "an exact sliding window is: over 7d");
            return;
        }
    for (size_t i = 0; rd->lx.token.kind == QN_TOKEN_NAME && i < sizeof others / sizeof others[0];
         i++)
        if (qn_edit_distance(word, qn_str_of(others[i][0]), 0) == 0) {
            qn_diag_error(rd->diags, QN_DIAG_SYNTAX, here(rd),
                          "sum(x) where c by key over 7d delayed 1d or 0",
                          "unexpected %s (use '%s')", found(rd, text), others[i][1]);
            return;
        }
    for (int i = 0; i < CLAUSE_WORDS; i++)
        known[i] = qn_str_of(clause_words[i]);
    const int nearest =
        rd->lx.token.kind == QN_TOKEN_NAME ? qn_nearest(word, known, CLAUSE_WORDS) : -1;

    if (nearest >= 0)
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, here(rd),
                      "clauses: where of by over delayed excluding or",
                      "unexpected %s (did you mean '%s'?)", found(rd, text), clause_words[nearest]);
    else if (rd->lx.token.kind == QN_TOKEN_OR)
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, here(rd), "for example or 0",
                      "'or' at the end of a window is followed by one literal, the default");
    else if (rd->lx.token.kind != QN_TOKEN_NAME && rd->lx.token.kind != QN_TOKEN_BAD)
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, here(rd),
                      "to compute with a window, give it a feature of its own and use its name",
                      "unexpected %s: a window stands alone in its feature", found(rd, text));
    else
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, here(rd),
                      "clauses: where of by over delayed excluding or", "unexpected %s in a window",
                      found(rd, text));
}

static void read_clause(struct reader *rd)
{
    const struct qn_pos at = here(rd);

    if (qn_lexer_is(&rd->lx, "where")) {
        qn_lexer_next(&rd->lx);
        read_where(rd, at);
    } else if (qn_lexer_is(&rd->lx, "of")) {
        qn_lexer_next(&rd->lx);
        read_of(rd, at);
    } else if (qn_lexer_is(&rd->lx, "by")) {
        qn_lexer_next(&rd->lx);
        read_by(rd, at);
    } else if (qn_lexer_is(&rd->lx, "over")) {
        qn_lexer_next(&rd->lx);
        read_over(rd, at);
    } else if (qn_lexer_is(&rd->lx, "delayed")) {
        qn_lexer_next(&rd->lx);
        if (!complain_twice(rd, &rd->has_delayed, "delayed", at))
            read_duration(rd, "delayed", &rd->out->delayed_us);
    } else if (qn_lexer_is(&rd->lx, "excluding")) {
        qn_lexer_next(&rd->lx);
        read_excluding(rd, at);
    } else {
        strange_word(rd);
    }
}

/* ---- the head: AGG(...) ---- */

/* From behind the name at the opening parenthesis to the matching close. False: none. *commas
 * counts those inside. */
static bool skip_call(struct qn_lexer *lx, uint32_t *open_at, uint32_t *close_at, uint32_t *commas)
{
    int depth = 0;

    *open_at = lx->token.at;
    *commas = 0;
    for (; lx->token.kind != QN_TOKEN_END && lx->token.kind != QN_TOKEN_BAD; qn_lexer_next(lx)) {
        depth += lx->token.kind == QN_TOKEN_OPEN ? 1 : lx->token.kind == QN_TOKEN_CLOSE ? -1 : 0;
        *commas += depth == 1 && lx->token.kind == QN_TOKEN_COMMA;
        if (depth == 0) {
            *close_at = lx->token.at;
            qn_lexer_next(lx);
            return true;
        }
    }
    return false;
}

/* The word in front of the parenthesis is no aggregate, yet clauses follow. */
static void not_an_aggregate(struct reader *rd, struct qn_str word, struct qn_pos at)
{
    static const char *const others[][2] = {
        {"avg", "mean"},    {"average", "mean"}, {"minimum", "min"},
        {"maximum", "max"}, {"total", "sum"},    {"len", "count"},
        {"size", "count"},  {"counts", "count"}, {"nunique", "distinct"}};
    struct qn_str known[QN_AGGREGATE_COUNT_OF];
    uint32_t n = 0;

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (qn_edit_distance(word, qn_str_of(others[i][0]), 0) == 0) {
            qn_diag_error(rd->diags, QN_DIAG_UNKNOWN_NAME, at, "aggregates: count sum mean min max",
                          "unknown aggregate '%.*s' (use '%s')", QN_STR_ARG(word), others[i][1]);
            return;
        }
    if (qn_function_find(word) != NULL) {
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, at, "aggregates: count sum mean min max",
                      "'%.*s' is a function of one event, not an aggregate over a window",
                      QN_STR_ARG(word));
        return;
    }
#define QN_AGGREGATE_KNOWN(name, text, arg) known[n++] = qn_str_of(text);
    QN_AGGREGATE_LIST(QN_AGGREGATE_KNOWN)
#undef QN_AGGREGATE_KNOWN
    qn_diag_unknown(rd->diags, at, "aggregate", word, known, n);
}

/* True if a token can only follow a window's head. */
static bool begins_clause(const struct reader *rd)
{
    return rd->lx.token.kind == QN_TOKEN_NAME;
}

static void check_argument(struct reader *rd, struct qn_str word, uint32_t commas)
{
    static const bool takes[] = {
#define QN_AGGREGATE_TAKES(name, text, arg) arg,
        QN_AGGREGATE_LIST(QN_AGGREGATE_TAKES)
#undef QN_AGGREGATE_TAKES
    };
    const struct qn_sentence *out = rd->out;

    if (!takes[out->aggregate] && out->expr.text.len > 0) {
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, out->expr.at, "count() where x is not null",
                      "count() takes no argument; use 'where x is not null'");
        rd->bad = true;
    } else if (takes[out->aggregate] && out->expr.text.len == 0) {
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, out->aggregate_at, NULL,
                      "%.*s needs an argument, for example %.*s(amount)", QN_STR_ARG(word),
                      QN_STR_ARG(word));
        rd->bad = true;
    } else if (commas > 0) {
        qn_diag_error(rd->diags, QN_DIAG_SYNTAX, out->expr.at, NULL,
                      "%.*s over a window takes one argument, found %u", QN_STR_ARG(word),
                      (unsigned)commas + 1);
        rd->bad = true;
    }
}

static void check_complete(struct reader *rd)
{
    if (!rd->has_by)
        qn_diag_error(rd->diags, QN_DIAG_MISSING, rd->out->aggregate_at, NULL,
                      "a window needs 'by', for example by customer_id");
    if (!rd->has_over)
        qn_diag_error(rd->diags, QN_DIAG_MISSING, here(rd), NULL,
                      rd->has_delayed
                          ? "'delayed' shifts a window: it needs 'over', for example over 7d"
                          : "a window needs 'over', for example over 7d, or 'over all'");
    rd->bad = rd->bad || !rd->has_by || !rd->has_over;
}

/* Decides what the text is; true if it is a window whose clauses begin at the current token. */
static bool read_head(struct reader *rd)
{
    const struct qn_str word = qn_lexer_text(&rd->lx);
    const struct qn_pos at = here(rd);
    const int aggregate = qn_aggregate_find(word);
    uint32_t open_at, close_at, commas;

    if (qn_lexer_is(&rd->lx, "time") && !qn_lexer_sees_call(&rd->lx)) {
        qn_lexer_next(&rd->lx);
        if (qn_lexer_is(&rd->lx, "since"))
            not_yet(rd, at, qn_str_of("time since last"), NULL);
        return false;
    }
    if (rd->lx.token.kind != QN_TOKEN_NAME)
        return false;
    if (!qn_lexer_sees_call(&rd->lx)) {
        qn_lexer_next(&rd->lx);
        if ((aggregate >= 0 || qn_aggregate_is_planned(word)) && is_clause_word(rd)) {
            qn_diag_error(rd->diags, QN_DIAG_SYNTAX, at, NULL, "an aggregate is written %.*s(%s)",
                          QN_STR_ARG(word), aggregate == QN_AGGREGATE_COUNT ? "" : "x");
            rd->bad = true;
        }
        return false;
    }
    if (qn_aggregate_is_planned(word)) {
        not_yet(rd, at, word, "aggregates: count sum mean min max");
        return false;
    }
    qn_lexer_next(&rd->lx);
    if (!skip_call(&rd->lx, &open_at, &close_at, &commas))
        return false;
    const bool clause = begins_clause(rd), scalar = qn_function_find(word) != NULL;

    if (aggregate < 0) {
        bool known = false;

        for (int i = 0; i < CLAUSE_WORDS; i++)
            known = known || qn_lexer_is(&rd->lx, clause_words[i]);
        if (known) {
            not_an_aggregate(rd, word, at);
            rd->bad = true;
        }
        return false;
    }
    if (!clause && scalar && (commas > 0 || rd->lx.token.kind != QN_TOKEN_END))
        return false;
    rd->out->is_window = true;
    rd->out->aggregate = (enum qn_aggregate)aggregate;
    rd->out->aggregate_at = at;
    uint32_t from = open_at + 1;

    while (from < close_at && (rd->lx.text.p[from] == ' ' || rd->lx.text.p[from] == '\t' ||
                               rd->lx.text.p[from] == '\n' || rd->lx.text.p[from] == '\r'))
        from++;
    rd->out->expr = piece(rd, from, close_at);
    check_argument(rd, word, commas);
    return true;
}

bool qn_sentence_parse(struct qn_str text, struct qn_pos at, struct qn_diags *diags,
                       struct qn_sentence *out)
{
    struct reader rd = {.at = at, .diags = diags, .out = out};
    uint32_t cut = text.len;

    *out = (struct qn_sentence){0};
    if (find_fallback(text, at, &cut, &out->fallback))
        text.len = cut;
    qn_lexer_open(&rd.lx, text, at, NULL);
    out->expr = piece(&rd, 0, text.len);
    if (!read_head(&rd))
        return !rd.bad;
    while (!rd.bad && rd.lx.token.kind != QN_TOKEN_END && rd.lx.token.kind != QN_TOKEN_BAD)
        read_clause(&rd);
    if (!rd.bad && rd.lx.token.kind == QN_TOKEN_BAD) { /* read again, aloud */
        struct qn_lexer loud;

        for (qn_lexer_open(&loud, text, at, diags); loud.token.kind != QN_TOKEN_BAD;)
            qn_lexer_next(&loud);
        rd.bad = true;
    }
    if (!rd.bad)
        check_complete(&rd);
    return !rd.bad;
}
