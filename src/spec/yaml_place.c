/* SPDX-License-Identifier: Apache-2.0
 * yaml_place.c - from a byte of a scalar's value back to the byte of the file that it came from.
 *
 * Sentences (features, `when`) are compiled as texts of their own; their mistakes must be shown
 * where the user wrote them. The scalar is walked again as YAML 1.2 reads it: quotes, escapes,
 * folded lines, block indentation, after the filled-in parts were undone. Only runs when there is a
 * mistake to show, so it is plain, not fast. Thread: any. */
#include "spec/yaml_node.h"

struct walk {
    const char *s;
    uint32_t i, end; /* in the source */
    uint32_t v;      /* in the value  */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* At white space: if it reaches a line end, goes behind the fold and counts what the value holds
 * for it. */
static bool walk_fold(struct walk *w)
{
    uint32_t j = w->i, breaks = 0;

    while (j < w->end && (is_blank(w->s[j]) || w->s[j] == '\n')) {
        breaks += w->s[j] == '\n';
        j++;
    }
    if (breaks == 0)
        return false;
    w->i = j;
    w->v += breaks == 1 ? 1 : breaks - 1;
    return true;
}

static uint32_t utf8_bytes(uint32_t code_point)
{
    return code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
}

static void walk_escape(struct walk *w)
{
    char c = w->i + 1 < w->end ? w->s[w->i + 1] : 0;
    uint32_t hex = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0, code_point = 0;

    if (c == '\n' || c == '\r') { /* the line goes on */
        w->i++;
        while (w->i < w->end && (is_blank(w->s[w->i]) || w->s[w->i] == '\n'))
            w->i++;
        return;
    }
    w->i += 2;
    if (hex == 0) {
        w->v += c == 'N' || c == '_' ? 2 : c == 'L' || c == 'P' ? 3 : 1;
        return;
    }
    for (uint32_t k = 0; k < hex && w->i < w->end; k++, w->i++) {
        char d = w->s[w->i];

        code_point = code_point * 16 + (uint32_t)(d <= '9' ? d - '0' : (d | 32) - 'a' + 10);
    }
    w->v += utf8_bytes(code_point);
}

static uint32_t walk_flow(struct walk *w, enum qn_yaml_style style, uint32_t offset)
{
    uint32_t last = w->i;

    if (style != QN_YAML_PLAIN) {
        w->i++;
        w->end--;
    }
    while (w->i < w->end) {
        char c = w->s[w->i];

        last = w->i;
        if (style == QN_YAML_DOUBLE && c == '\\' && w->i + 1 < w->end &&
            (w->s[w->i + 1] == '\n' || w->s[w->i + 1] == '\r')) {
            walk_escape(w); /* stands for nothing */
            continue;
        }
        if (w->v == offset)
            return w->i;
        if ((is_blank(c) || c == '\n') && walk_fold(w)) {
            /* done */
        } else if (style == QN_YAML_DOUBLE && c == '\\') {
            walk_escape(w);
        } else {
            w->i += style == QN_YAML_SINGLE && c == '\'' ? 2 : 1;
            w->v++;
        }
        if (w->v > offset)
            return last;
    }
    return w->v == offset ? w->i : last;
}

/* Exact for literal texts; in folded ones a line that is indented further than the others may be
 * off by its breaks. */
static uint32_t walk_block(struct walk *w, enum qn_yaml_style style, uint32_t offset)
{
    uint32_t indent = UINT32_MAX, at = 0;

    while (w->i < w->end && w->s[w->i] != '\n')
        w->i++;
    w->i++;
    for (uint32_t j = w->i; j < w->end; j++) { /* what all lines have in common */
        if (w->s[j] == '\n') {
            at = 0;
        } else if (at != UINT32_MAX && w->s[j] == ' ') {
            at++;
        } else if (at != UINT32_MAX) {
            indent = at < indent ? at : indent;
            at = UINT32_MAX;
        }
    }
    while (w->i < w->end) {
        uint32_t skipped = 0;

        while (skipped < indent && w->i < w->end && w->s[w->i] == ' ') {
            w->i++;
            skipped++;
        }
        while (w->i < w->end && w->s[w->i] != '\n') {
            if (w->v == offset)
                return w->i;
            w->i++;
            w->v++;
        }
        if (w->v == offset)
            return w->i;
        if (style == QN_YAML_LITERAL || !walk_fold(w)) {
            w->i++;
            w->v++;
        } else {
            while (w->i > 0 && w->s[w->i - 1] != '\n')
                w->i--; /* back to the line's start: its indentation is skipped above */
        }
    }
    return w->end;
}

static uint32_t source_of(const struct qn_yaml_node *n, struct qn_str source, uint32_t offset)
{
    struct walk w = {
        .s = source.p, .i = n->begin, .end = n->end < source.len ? n->end : source.len};

    if (n->style == QN_YAML_LITERAL || n->style == QN_YAML_FOLDED)
        return walk_block(&w, n->style, offset);
    return walk_flow(&w, n->style, offset);
}

/* Offset in `written` of a byte of `text`; inside a filled-in part, the start or the end of its
 * ${...}. */
static uint32_t written_of(const struct qn_yaml_node *n, uint32_t offset, bool is_end)
{
    uint32_t shift_text = 0, shift_written = 0;

    for (uint32_t i = 0; i < n->part_count; i++) {
        const struct qn_yaml_part *p = &n->parts[i];

        if (is_end ? offset <= p->at : offset < p->at)
            break;
        if (is_end ? offset <= p->at + p->len : offset < p->at + p->len)
            return is_end ? p->written_at + p->written_len : p->written_at;
        shift_text = p->at + p->len;
        shift_written = p->written_at + p->written_len;
    }
    return offset - shift_text + shift_written;
}

struct qn_pos qn_yaml_place(const struct qn_yaml_node *n, struct qn_str source, uint32_t offset,
                            uint32_t len)
{
    uint32_t begin = written_of(n, offset, false), end;

    if (len == 0)
        len = 1;
    end = written_of(n, offset + len, true);
    begin = source_of(n, source, begin);
    end = source_of(n, source, end > 0 ? end - 1 : 0) + 1;
    return qn_yaml_pos(source, begin, end > begin ? end : begin + 1);
}
