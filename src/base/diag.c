/* SPDX-License-Identifier: Apache-2.0
 * diag.c - collecting and printing mistakes found in a text that a person wrote.
 *
 * A parser adds as it goes; the command that read the file prints at the end. Invariant:
 * list[0..count) in the order they were found, no two with the same place and code. Running out of
 * memory never loses a mistake, only its words. Thread: one owner. Memory: the list's arena. */
#include "base/diag.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    TEXT_MAX = 1000,  /* bytes of one sentence                               */
    KNOWN_MAX = 60,   /* bytes of the names listed in a hint                 */
    WORD_MAX = 80,    /* bytes of a word quoted from the file                */
    SHOWN_MAX = 120,  /* bytes of a source line that are shown               */
    SHOWN_BEFORE = 70 /* of these, before the mark, where the line is longer */
};

/* What a file says may hold anything; what a terminal shows may not. */
static void clean(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F)
            *text = '?';
}

static bool is_known(const struct qn_diags *d, enum qn_diag_code code, struct qn_pos at)
{
    for (unsigned i = 0; i < d->count; i++) {
        const struct qn_diag *g = &d->list[i];

        if (g->code == code && g->at.line == at.line && g->at.col == at.col)
            return at.line != 0;
    }
    return false;
}

static void add(struct qn_diags *d, bool is_warning, enum qn_diag_code code, struct qn_pos at,
                const char *hint, const char *text)
{
    struct qn_diag *g;
    char *kept;

    if (is_known(d, code, at))
        return;
    if (is_warning)
        d->warnings++;
    else
        d->errors++;
    if (d->count == QN_DIAG_MAX)
        return;
    QN_ASSERT(d->arena != NULL);
    g = &d->list[d->count++];
    *g = (struct qn_diag){.code = code, .is_warning = is_warning, .at = at};
    kept = qn_arena_strdup(d->arena, text, strlen(text));
    if (kept != NULL)
        clean(kept);
    g->text = kept != NULL ? kept : "a mistake (out of memory for its description)";
    if (hint != NULL && (kept = qn_arena_strdup(d->arena, hint, strlen(hint))) != NULL) {
        clean(kept);
        g->hint = kept;
    }
}

void qn_diag_error(struct qn_diags *d, enum qn_diag_code code, struct qn_pos at, const char *hint,
                   const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    add(d, false, code, at, hint, text);
}

void qn_diag_warn(struct qn_diags *d, enum qn_diag_code code, struct qn_pos at, const char *hint,
                  const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    add(d, true, code, at, hint, text);
}

/* "known: a, b, c", or "known: a, b, ..." where they do not fit. */
static void list_known(char *out, size_t room, const struct qn_str *known, size_t count)
{
    size_t n = (size_t)snprintf(out, room, "known: ");

    for (size_t i = 0; i < count; i++) {
        struct qn_str name = qn_utf8_cut(known[i], WORD_MAX);
        bool is_last = i + 1 == count;
        size_t more = name.len + (i > 0 ? 2 : 0);

        if (i > 0 && n + more + (is_last ? 0 : 5) > KNOWN_MAX) {
            snprintf(out + n, room - n, ", ...");
            return;
        }
        n += (size_t)snprintf(out + n, room - n, "%s%.*s", i > 0 ? ", " : "", QN_STR_ARG(name));
    }
}

void qn_diag_unknown(struct qn_diags *d, struct qn_pos at, const char *what, struct qn_str word,
                     const struct qn_str *known, size_t count)
{
    int nearest = qn_nearest(word, known, count);
    bool is_key = strstr(what, "key") != NULL || strstr(what, "option") != NULL;
    enum qn_diag_code code = is_key ? QN_DIAG_UNKNOWN_KEY : QN_DIAG_UNKNOWN_NAME;
    struct qn_str shown = qn_utf8_cut(word, WORD_MAX);
    const char *dots = shown.len < word.len ? "..." : "";
    char hint[256];

    list_known(hint, sizeof hint, known, count);
    if (nearest >= 0)
        qn_diag_error(d, code, at, count > 0 ? hint : NULL,
                      "unknown %s '%.*s%s' (did you mean '%.*s'?)", what, QN_STR_ARG(shown), dots,
                      QN_STR_ARG(known[nearest]));
    else
        qn_diag_error(d, code, at, count > 0 ? hint : NULL, "unknown %s '%.*s%s'", what,
                      QN_STR_ARG(shown), dots);
}

/* Indices of the list by place; places first found stay first among equals. */
static void sort_by_place(const struct qn_diags *d, unsigned order[QN_DIAG_MAX])
{
    for (unsigned i = 0; i < d->count; i++) {
        const struct qn_pos *at = &d->list[i].at;
        unsigned j = i;

        for (; j > 0; j--) {
            const struct qn_pos *other = &d->list[order[j - 1]].at;

            if (other->line < at->line || (other->line == at->line && other->col <= at->col))
                break;
            order[j] = order[j - 1];
        }
        order[j] = i;
    }
}

/* The line of the source, without its end; false where there is none. */
static bool find_line(struct qn_str source, uint32_t line, struct qn_str *out)
{
    const char *p = source.p, *end = source.p + source.len;
    const char *nl;

    if (source.p == NULL || line == 0)
        return false;
    for (uint32_t i = 1; i < line; i++) {
        nl = memchr(p, '\n', (size_t)(end - p));
        if (nl == NULL)
            return false;
        p = nl + 1;
    }
    if (p == end)
        return false;
    nl = memchr(p, '\n', (size_t)(end - p));
    if (nl == NULL)
        nl = end;
    if (nl > p && nl[-1] == '\r')
        nl--;
    *out = (struct qn_str){p, (uint32_t)(nl - p)};
    return true;
}

static bool is_inside_sequence(struct qn_str s, uint32_t i)
{
    return i < s.len && ((unsigned char)s.p[i] & 0xC0) == 0x80;
}

/* The bytes [*from, *to) of a long line that are shown around the mark. */
static void choose_part(struct qn_str line, uint32_t mark, uint32_t *from, uint32_t *to)
{
    *from = 0;
    *to = line.len;
    if (line.len <= SHOWN_MAX)
        return;
    if (mark > SHOWN_BEFORE)
        *from = mark - SHOWN_BEFORE;
    if (*from > line.len - SHOWN_MAX)
        *from = line.len - SHOWN_MAX;
    *to = *from + SHOWN_MAX;
    while (is_inside_sequence(line, *from))
        ++*from;
    while (is_inside_sequence(line, *to))
        --*to;
}

static void put_source(struct qn_str part, struct qn_buf *out)
{
    bool is_utf8 = qn_utf8_valid(part.p, part.len);

    for (uint32_t i = 0; i < part.len; i++) {
        unsigned char c = (unsigned char)part.p[i];

        if (c == '\t')
            c = ' ';
        else if (c < 0x20 || c == 0x7F || (c >= 0x80 && !is_utf8))
            c = '?';
        qn_buf_byte(out, (char)c);
    }
}

static void put_times(struct qn_buf *out, char c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        qn_buf_byte(out, c);
}

/* Columns that bytes [from, to) of the line take on a terminal, one per code point. */
static size_t width_of(struct qn_str line, uint32_t from, uint32_t to)
{
    if (!qn_utf8_valid(line.p + from, to - from))
        return to - from;
    return qn_utf8_count(line.p + from, to - from);
}

static void put_caret(const struct qn_diags *d, const struct qn_diag *g, struct qn_buf *out)
{
    uint32_t mark, marked, from, to;
    struct qn_str line;
    char number[16];
    int width;

    if (!find_line(d->source, g->at.line, &line))
        return;
    mark = g->at.col > 0 ? g->at.col - 1 : 0;
    if (mark > line.len)
        mark = line.len;
    choose_part(line, mark, &from, &to);
    width = snprintf(number, sizeof number, "%u", g->at.line);
    qn_buf_printf(out, "  %s | %s", number, from > 0 ? "..." : "");
    put_source((struct qn_str){line.p + from, to - from}, out);
    qn_buf_text(out, to < line.len ? "...\n" : "\n");
    put_times(out, ' ', (size_t)width + 2);
    qn_buf_text(out, " | ");
    put_times(out, ' ', (from > 0 ? 3 : 0) + width_of(line, from, mark));
    marked = g->at.len > 0 ? g->at.len : 1;
    if (marked > to - mark)
        marked = to - mark;
    qn_buf_byte(out, '^');
    if (marked > 1)
        put_times(out, '~', width_of(line, mark, mark + marked) - 1);
    if (g->hint != NULL)
        qn_buf_printf(out, "          %s", g->hint);
    qn_buf_byte(out, '\n');
}

void qn_diag_print(const struct qn_diags *d, bool with_carets, struct qn_buf *out)
{
    unsigned order[QN_DIAG_MAX];

    sort_by_place(d, order);
    for (unsigned i = 0; i < d->count; i++) {
        const struct qn_diag *g = &d->list[order[i]];

        if (d->file != NULL)
            qn_buf_printf(out, "%s:", d->file);
        if (g->at.line > 0)
            qn_buf_printf(out, "%u:", g->at.line);
        if (g->at.line > 0 && g->at.col > 0)
            qn_buf_printf(out, "%u:", g->at.col);
        if (d->file != NULL || g->at.line > 0)
            qn_buf_byte(out, ' ');
        qn_buf_printf(out, "%s%s\n", g->is_warning ? "warning: " : "", g->text);
        if (with_carets)
            put_caret(d, g, out);
    }
    if (d->errors + d->warnings > d->count)
        qn_buf_printf(out, "%s%s%u more not shown\n", d->file != NULL ? d->file : "",
                      d->file != NULL ? ": " : "", d->errors + d->warnings - d->count);
}

void qn_diag_json(const struct qn_diags *d, struct qn_buf *out)
{
    unsigned order[QN_DIAG_MAX];

    sort_by_place(d, order);
    qn_buf_byte(out, '[');
    for (unsigned i = 0; i < d->count; i++) {
        const struct qn_diag *g = &d->list[order[i]];

        qn_buf_printf(out, "%s{\"code\":\"QN%03d\",\"severity\":\"%s\",\"line\":%u,\"column\":%u,",
                      i > 0 ? "," : "", (int)g->code, g->is_warning ? "warning" : "error",
                      g->at.line, g->at.col);
        qn_buf_text(out, "\"text\":");
        qn_json_string(out, qn_str_of(g->text));
        qn_buf_text(out, ",\"hint\":");
        if (g->hint != NULL)
            qn_json_string(out, qn_str_of(g->hint));
        else
            qn_buf_text(out, "null");
        qn_buf_byte(out, '}');
    }
    qn_buf_byte(out, ']');
}
