/* SPDX-License-Identifier: Apache-2.0
 * proto_text.c - the text of a .proto file, syntax proto2 or proto3, into messages, enums and
 * imports. See proto_int.h.
 *
 * What decides how bytes are read is taken; options (but map_entry), reserved names, extensions and
 * services are passed over, since a record says nothing of them. Names stay as written until all
 * files are there: proto_link.c. Tokens are looked at one ahead. Recursion: a message in a message,
 * at most QN_PROTO_NESTING_MAX. Source: the language specifications of proto2 and proto3. Thread:
 * one. Memory: the arena. */
#include "event/proto_int.h"

#include <stdio.h>

enum token_kind { END, NAME, WHOLE, REAL, TEXT, SYMBOL };

struct token {
    enum token_kind kind;
    struct qn_str text; /* TEXT: without its quotes, escapes as written */
    uint32_t line, col;
};

struct parser {
    struct qn_proto_building *b;
    const char *p, *end, *line_start;
    uint32_t line;
    struct token t; /* the one in hand */
};

#define WRONG(ps, ...)                                                                             \
    qn_proto_wrong((ps)->b, (ps)->b->file, (ps)->t.line, (ps)->t.col, __VA_ARGS__)

/* ---- tokens ----------------------------------------------------------------------------------*/

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void new_line(struct parser *ps)
{
    ps->line++;
    ps->line_start = ps->p + 1;
}

/* Blanks and comments. */
static qn_status pass_blank(struct parser *ps)
{
    for (; ps->p < ps->end; ps->p++) {
        const char c = *ps->p, next = ps->p + 1 < ps->end ? ps->p[1] : '\0';

        if (c == '\n') {
            new_line(ps);
        } else if (c == '/' && next == '/') {
            const char *line_end = memchr(ps->p, '\n', (size_t)(ps->end - ps->p));

            ps->p = (line_end != NULL ? line_end : ps->end) - 1;
        } else if (c == '/' && next == '*') {
            ps->t = (struct token){
                SYMBOL, {ps->p, 2}, ps->line, (uint32_t)(ps->p - ps->line_start) + 1};
            for (ps->p += 2; ps->end - ps->p >= 2 && (ps->p[0] != '*' || ps->p[1] != '/'); ps->p++)
                if (*ps->p == '\n')
                    new_line(ps);
            if (ps->end - ps->p < 2)
                return WRONG(ps, "a comment that does not end");
            ps->p++;
        } else if (c != ' ' && c != '\t' && c != '\r' && c != '\f' && c != '\v') {
            break;
        }
    }
    return QN_OK;
}

static void take_number(struct parser *ps)
{
    const char *from = ps->p;
    bool is_hex = ps->end - ps->p > 1 && ps->p[0] == '0' && (ps->p[1] | 0x20) == 'x';

    ps->t.kind = WHOLE;
    while (ps->p < ps->end) {
        const char c = *ps->p;
        const bool is_sign = !is_hex && (c == '+' || c == '-') && (ps->p[-1] | 0x20) == 'e';

        if (!is_letter(c) && !is_digit(c) && c != '.' && !(is_sign && ps->p > from))
            break;
        if (!is_hex && (c == '.' || (c | 0x20) == 'e'))
            ps->t.kind = REAL;
        ps->p++;
    }
    ps->t.text = (struct qn_str){from, (uint32_t)(ps->p - from)};
}

static qn_status take_text(struct parser *ps)
{
    const char quote = *ps->p++;

    ps->t.kind = TEXT;
    ps->t.text.p = ps->p;
    while (ps->p < ps->end && *ps->p != quote && *ps->p != '\n')
        ps->p += *ps->p == '\\' && ps->end - ps->p > 1 ? 2 : 1;
    if (ps->p >= ps->end || *ps->p != quote)
        return WRONG(ps, "a text that does not end");
    ps->t.text.len = (uint32_t)(ps->p - ps->t.text.p);
    ps->p++;
    return QN_OK;
}

static qn_status next(struct parser *ps)
{
    QN_TRY(pass_blank(ps));
    ps->t = (struct token){END, {ps->p, 0}, ps->line, (uint32_t)(ps->p - ps->line_start) + 1};
    if (ps->p == ps->end)
        return QN_OK;
    if (is_letter(*ps->p)) {
        ps->t.kind = NAME;
        while (ps->p < ps->end && (is_letter(*ps->p) || is_digit(*ps->p)))
            ps->p++;
        ps->t.text.len = (uint32_t)(ps->p - ps->t.text.p);
        return QN_OK;
    }
    if (is_digit(*ps->p) || (*ps->p == '.' && ps->end - ps->p > 1 && is_digit(ps->p[1]))) {
        take_number(ps);
        return QN_OK;
    }
    if (*ps->p == '"' || *ps->p == '\'')
        return take_text(ps);
    if ((unsigned char)*ps->p < ' ' || (unsigned char)*ps->p > '~')
        return WRONG(ps, "a byte that no .proto has (0x%02x)", (unsigned char)*ps->p);
    ps->t.kind = SYMBOL;
    ps->t.text.len = 1;
    ps->p++;
    return QN_OK;
}

static bool is_symbol(const struct parser *ps, char c)
{
    return ps->t.kind == SYMBOL && ps->t.text.len == 1 && ps->t.text.p[0] == c;
}

static bool is_word(const struct parser *ps, const char *word)
{
    return ps->t.kind == NAME && qn_str_is(ps->t.text, word);
}

static qn_status expected(struct parser *ps, const char *what)
{
    if (ps->t.kind == END)
        return WRONG(ps, "the text ends where %s was expected", what);
    return WRONG(ps, "found '%.*s' where %s was expected",
                 QN_STR_ARG(qn_utf8_cut(ps->t.text, QN_PROTO_SHOWN)), what);
}

static qn_status symbol(struct parser *ps, char c)
{
    const char what[] = {'\'', c, '\'', '\0'};

    if (!is_symbol(ps, c))
        return expected(ps, what);
    return next(ps);
}

static qn_status take_name(struct parser *ps, const char *what, struct qn_str *out)
{
    if (ps->t.kind != NAME)
        return expected(ps, what);
    *out = ps->t.text;
    return next(ps);
}

/* a.b.c, with a dot in front where may_lead. */
static qn_status take_path(struct parser *ps, bool may_lead, const char *what, struct qn_str *out)
{
    char text[QN_PROTO_NAME_MAX + 1];
    uint32_t n = 0;
    bool is_more;

    if (may_lead && is_symbol(ps, '.')) {
        text[n++] = '.';
        QN_TRY(next(ps));
    }
    do {
        if (ps->t.kind != NAME)
            return expected(ps, what);
        if (n + ps->t.text.len + 1 > sizeof text)
            return WRONG(ps, "a name of more than %d bytes", QN_PROTO_NAME_MAX);
        memcpy(text + n, ps->t.text.p, ps->t.text.len);
        n += ps->t.text.len;
        QN_TRY(next(ps));
        is_more = is_symbol(ps, '.');
        if (is_more) {
            if (n + 1 > sizeof text)
                return WRONG(ps, "a name of more than %d bytes", QN_PROTO_NAME_MAX);
            text[n++] = '.';
            QN_TRY(next(ps));
        }
    } while (is_more);
    *out = (struct qn_str){qn_arena_strdup(ps->b->arena, text, n), n};
    return out->p != NULL ? QN_OK : qn_proto_no_memory(ps->b);
}

/* Digits of C: decimal, 0 octal, 0x. */
static bool whole_of(struct qn_str s, uint64_t *out)
{
    uint32_t base = 10, i = 0;

    if (s.len > 2 && s.p[0] == '0' && (s.p[1] | 0x20) == 'x') {
        base = 16;
        i = 2;
    } else if (s.len > 1 && s.p[0] == '0') {
        base = 8;
        i = 1;
    }
    for (*out = 0; i < s.len; i++) {
        const char c = s.p[i];
        const uint32_t digit = is_digit(c) ? (uint32_t)(c - '0')
                               : (c | 0x20) >= 'a' && (c | 0x20) <= 'f'
                                   ? (uint32_t)(c | 0x20) - 'a' + 10
                                   : 16;

        if (digit >= base || __builtin_mul_overflow(*out, (uint64_t)base, out) ||
            __builtin_add_overflow(*out, (uint64_t)digit, out))
            return false;
    }
    return true;
}

static qn_status take_whole(struct parser *ps, uint64_t max, const char *what, uint64_t *out)
{
    if (ps->t.kind != WHOLE || !whole_of(ps->t.text, out) || *out > max)
        return expected(ps, what);
    return next(ps);
}

/* ---- what is passed over ---------------------------------------------------------------------*/

/* Up to and with `close`, over what is in brackets between; the token in hand is behind what opens.
 */
static qn_status pass_to(struct parser *ps, char close)
{
    uint32_t depth = 0;

    while (depth > 0 || !is_symbol(ps, close)) {
        if (ps->t.kind == END)
            return expected(ps, close == ';' ? "';'" : close == ']' ? "']'" : "'}'");
        if (is_symbol(ps, '{') || is_symbol(ps, '['))
            depth++;
        else if (is_symbol(ps, '}') || is_symbol(ps, ']')) {
            if (depth == 0)
                return expected(ps, close == ';' ? "';'" : close == ']' ? "']'" : "'}'");
            depth--;
        }
        QN_TRY(next(ps));
    }
    return next(ps);
}

/* NAME { ... } */
static qn_status pass_block(struct parser *ps)
{
    struct qn_str name;

    QN_TRY(take_path(ps, true, "a name", &name));
    QN_TRY(symbol(ps, '{'));
    return pass_to(ps, '}');
}

/* Behind a field or a value. */
static qn_status pass_options(struct parser *ps)
{
    if (is_symbol(ps, '[')) {
        QN_TRY(next(ps));
        QN_TRY(pass_to(ps, ']'));
    }
    return symbol(ps, ';');
}

/* ---- enums -----------------------------------------------------------------------------------*/

static qn_status read_value(struct parser *ps, struct qn_proto_enum *e)
{
    bool is_negative;
    struct qn_str name;
    uint64_t number;

    QN_TRY(take_name(ps, "the name of a value", &name));
    QN_TRY(symbol(ps, '='));
    is_negative = is_symbol(ps, '-');
    if (is_negative)
        QN_TRY(next(ps));
    QN_TRY(take_whole(ps, (uint64_t)INT32_MAX + is_negative, "a whole number of 32 bits", &number));
    QN_TRY(qn_proto_add_value(ps->b, e, name,
                              (int32_t)(is_negative ? -(int64_t)number : (int64_t)number)));
    return pass_options(ps);
}

static qn_status read_enum(struct parser *ps, const struct qn_proto_message *parent)
{
    const struct token at = ps->t;
    struct qn_proto_enum *e;
    struct qn_str name;

    QN_TRY(take_name(ps, "the name of an enum", &name));
    QN_TRY(qn_proto_add_enum(ps->b, parent, name, at.line, at.col, &e));
    QN_TRY(symbol(ps, '{'));
    while (!is_symbol(ps, '}')) {
        if (is_symbol(ps, ';'))
            QN_TRY(next(ps));
        else if (is_word(ps, "option") || is_word(ps, "reserved"))
            QN_TRY(pass_to(ps, ';'));
        else
            QN_TRY(read_value(ps, e));
    }
    QN_TRY(next(ps));
    return qn_proto_end_enum(ps->b, e, at.line, at.col);
}

/* ---- fields ----------------------------------------------------------------------------------*/

static qn_status read_type(struct parser *ps, struct qn_proto_field *f)
{
    const struct token at = ps->t;

    QN_TRY(take_path(ps, true, "a type", &f->type));
    f->kind = qn_proto_kind_of(f->type);
    if (!qn_str_is(f->type, "group"))
        return QN_OK;
    ps->t = at;
    return WRONG(ps, "groups are not read: a message of its own is");
}

/* NAME = NUMBER [...]; */
static qn_status end_field(struct parser *ps, struct qn_proto_message *m, struct qn_proto_field *f)
{
    uint64_t number;

    f->line = ps->t.line;
    f->col = ps->t.col;
    f->file = ps->b->file;
    QN_TRY(take_name(ps, "the name of a field", &f->name));
    QN_TRY(symbol(ps, '='));
    QN_TRY(take_whole(ps, QN_PROTO_NUMBER_MAX, "a field's number", &number));
    f->number = (uint32_t)number;
    QN_TRY(pass_options(ps));
    return qn_proto_add_field(ps->b, m, f);
}

/* map < KEY , VALUE > NAME = NUMBER; the token in hand is '<'. */
static qn_status read_map(struct parser *ps, struct qn_proto_message *m)
{
    struct qn_proto_field key = {.name = {"key", 3}, .number = 1}, value = {.number = 2}, f = {0};
    struct qn_proto_message *entry;
    const struct token at = ps->t;

    QN_TRY(next(ps));
    key.line = value.line = ps->t.line;
    key.col = value.col = ps->t.col;
    key.file = value.file = ps->b->file;
    value.name = (struct qn_str){"value", 5};
    QN_TRY(read_type(ps, &key));
    QN_TRY(symbol(ps, ','));
    QN_TRY(read_type(ps, &value));
    QN_TRY(symbol(ps, '>'));
    QN_TRY(qn_proto_add_message(ps->b, m, (struct qn_str){NULL, 0}, at.line, at.col, &entry));
    entry->is_entry = true;
    QN_TRY(qn_proto_add_field(ps->b, entry, &key));
    QN_TRY(qn_proto_add_field(ps->b, entry, &value));
    f.is_repeated = true;
    f.kind = QN_PROTO_MESSAGE;
    f.message = entry;
    return end_field(ps, m, &f);
}

/* A field, of that oneof or of none. */
static qn_status read_field(struct parser *ps, struct qn_proto_message *m, uint32_t oneof)
{
    struct qn_proto_field f = {.oneof = oneof, .has_presence = oneof > 0 || !ps->b->is_proto3};
    const struct parser before = *ps;
    bool has_label = false;

    if (oneof == 0 && (is_word(ps, "optional") || is_word(ps, "required"))) {
        f.has_presence = has_label = true;
        QN_TRY(next(ps));
    } else if (oneof == 0 && is_word(ps, "repeated")) {
        f.is_repeated = has_label = true;
        f.has_presence = false;
        QN_TRY(next(ps));
    } else if (oneof == 0 && is_word(ps, "map")) {
        QN_TRY(next(ps));
        if (is_symbol(ps, '<'))
            return read_map(ps, m);
        *ps = before; /* a type of that name */
    }
    QN_TRY(read_type(ps, &f));
    if (!ps->b->is_proto3 && oneof == 0 && !has_label) {
        *ps = before;
        return expected(ps, "required, optional or repeated (of syntax proto2)");
    }
    return end_field(ps, m, &f);
}

static qn_status read_oneof(struct parser *ps, struct qn_proto_message *m)
{
    struct qn_str name;

    m->oneofs++;
    QN_TRY(take_name(ps, "the name of a oneof", &name));
    QN_TRY(symbol(ps, '{'));
    while (!is_symbol(ps, '}')) {
        if (is_symbol(ps, ';'))
            QN_TRY(next(ps));
        else if (is_word(ps, "option"))
            QN_TRY(pass_to(ps, ';'));
        else
            QN_TRY(read_field(ps, m, m->oneofs));
    }
    return next(ps);
}

/* ---- messages --------------------------------------------------------------------------------*/

static qn_status read_message(struct parser *ps, struct qn_proto_message *parent, uint32_t depth);

/* The one option that says what bytes mean: what a map is where its entries are written out. */
static qn_status read_option(struct parser *ps, struct qn_proto_message *m)
{
    bool is_entry;

    QN_TRY(next(ps));
    is_entry = is_word(ps, "map_entry");
    if (is_entry) {
        QN_TRY(next(ps));
        QN_TRY(symbol(ps, '='));
        m->is_entry = is_word(ps, "true");
    }
    return pass_to(ps, ';');
}

static qn_status read_part(struct parser *ps, struct qn_proto_message *m, uint32_t depth)
{
    if (is_symbol(ps, ';'))
        return next(ps);
    if (is_word(ps, "message")) {
        QN_TRY(next(ps));
        return read_message(ps, m, depth + 1);
    }
    if (is_word(ps, "enum")) {
        QN_TRY(next(ps));
        return read_enum(ps, m);
    }
    if (is_word(ps, "oneof")) {
        QN_TRY(next(ps));
        return read_oneof(ps, m);
    }
    if (is_word(ps, "extend")) {
        QN_TRY(next(ps));
        return pass_block(ps);
    }
    if (is_word(ps, "option"))
        return read_option(ps, m);
    if (is_word(ps, "reserved") || is_word(ps, "extensions"))
        return pass_to(ps, ';');
    return read_field(ps, m, 0);
}

static qn_status read_message(struct parser *ps, struct qn_proto_message *parent, uint32_t depth)
{
    const struct token at = ps->t;
    struct qn_proto_message *m;
    struct qn_str name;

    if (depth > QN_PROTO_NESTING_MAX)
        return WRONG(ps, "messages are nested more than %d deep", QN_PROTO_NESTING_MAX);
    QN_TRY(take_name(ps, "the name of a message", &name));
    QN_TRY(qn_proto_add_message(ps->b, parent, name, at.line, at.col, &m));
    QN_TRY(symbol(ps, '{'));
    while (!is_symbol(ps, '}'))
        QN_TRY(read_part(ps, m, depth));
    return next(ps);
}

/* ---- the file --------------------------------------------------------------------------------*/

/* syntax = "proto3"; */
static qn_status read_syntax(struct parser *ps)
{
    QN_TRY(next(ps));
    QN_TRY(symbol(ps, '='));
    if (ps->t.kind != TEXT ||
        (!qn_str_is(ps->t.text, "proto2") && !qn_str_is(ps->t.text, "proto3")))
        return expected(ps, "\"proto2\" or \"proto3\"");
    ps->b->is_proto3 = qn_str_is(ps->t.text, "proto3");
    QN_TRY(next(ps));
    return symbol(ps, ';');
}

static qn_status read_import(struct parser *ps)
{
    QN_TRY(next(ps));
    if (is_word(ps, "public") || is_word(ps, "weak"))
        QN_TRY(next(ps));
    if (ps->t.kind != TEXT)
        return expected(ps, "the name of a file");
    QN_TRY(qn_proto_add_import(ps->b, ps->t.text));
    QN_TRY(next(ps));
    return symbol(ps, ';');
}

static qn_status read_package(struct parser *ps)
{
    const struct token at = ps->t;
    struct qn_str name;

    QN_TRY(next(ps));
    QN_TRY(take_path(ps, false, "the name of a package", &name));
    QN_TRY(qn_proto_set_package(ps->b, name, at.line, at.col));
    return symbol(ps, ';');
}

static qn_status read_statement(struct parser *ps)
{
    if (is_symbol(ps, ';'))
        return next(ps);
    if (is_word(ps, "message")) {
        QN_TRY(next(ps));
        return read_message(ps, NULL, 1);
    }
    if (is_word(ps, "enum")) {
        QN_TRY(next(ps));
        return read_enum(ps, NULL);
    }
    if (is_word(ps, "syntax"))
        return read_syntax(ps);
    if (is_word(ps, "import"))
        return read_import(ps);
    if (is_word(ps, "package"))
        return read_package(ps);
    if (is_word(ps, "option"))
        return pass_to(ps, ';');
    if (is_word(ps, "extend") || is_word(ps, "service")) {
        QN_TRY(next(ps));
        return pass_block(ps);
    }
    if (is_word(ps, "edition"))
        return WRONG(ps, "editions are not read: syntax proto2 and proto3 are");
    return expected(ps, "a message, an enum or another statement");
}

qn_status qn_proto_read_text(struct qn_proto_building *b, struct qn_str text)
{
    struct parser ps = {.b = b, .p = text.p, .end = text.p + text.len, .line = 1};

    if (text.len >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
        ps.p += 3;
    ps.line_start = ps.p;
    QN_TRY(next(&ps));
    while (ps.t.kind != END)
        QN_TRY(read_statement(&ps));
    return QN_OK;
}
