/* SPDX-License-Identifier: Apache-2.0
 * body_split.c - walks a body once, counting brackets and skipping strings.
 *
 * Thread: any; no state but the caller's. Memory: none. No recursion: depth is a number. */
#include "serve/body_split.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_blanks(struct qn_split *s)
{
    while (s->at < s->end && is_blank(*s->at))
        s->at++;
}

static bool fail(struct qn_split *s, const char *why)
{
    s->error = why;
    s->error_at = (size_t)(s->at - s->start);
    s->is_over = true;
    return false;
}

void qn_split_open(struct qn_split *s, enum qn_split_form form, struct qn_str body)
{
    const char *p = body.p != NULL ? body.p : "";

    *s = (struct qn_split){.start = p, .at = p, .end = p + body.len, .form = form};
    if (body.len >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0)
        s->at += 3;
    if (form == QN_SPLIT_LINES)
        return;
    skip_blanks(s);
    if (s->at < s->end && *s->at == '[') {
        s->is_array = true;
        s->at++;
        skip_blanks(s);
    }
}

/* Behind the string that begins at p, or NULL where it has no end. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '"')
            return p + 1;
        if (*p == '\\' && p + 1 < end)
            p++;
    }
    return NULL;
}

/* Behind the value that begins at p; NULL where the body ends inside it. Values that are no JSON
 * end somewhere too: at what can only follow a value. */
static const char *skip_value(const char *p, const char *end)
{
    size_t depth = 0;

    do {
        if (p == end)
            return NULL;
        switch (*p) {
        case '"':
            p = skip_string(p, end);
            if (p == NULL)
                return NULL;
            break;
        case '{':
        case '[':
            depth++;
            p++;
            break;
        case '}':
        case ']':
            if (depth == 0)
                return p;
            depth--;
            p++;
            break;
        default:
            if (depth > 0) {
                p++;
                break;
            }
            while (p < end && !is_blank(*p) && strchr(",]}[{\"", *p) == NULL)
                p++;
            return p;
        }
    } while (depth > 0);
    return p;
}

static bool next_element(struct qn_split *s, struct qn_str *piece)
{
    const char *from = s->at, *behind;

    if (from < s->end && *from == ']') { /* right behind the '[': see the comma below */
        s->at++;
        s->is_over = true;
        skip_blanks(s);
        return s->at < s->end ? fail(s, "there is something behind the array") : false;
    }
    behind = skip_value(from, s->end);
    if (behind == NULL)
        return fail(s, "the array is not closed");
    if (behind == from)
        return fail(s, "an element of the array is missing");
    *piece = (struct qn_str){from, (uint32_t)(behind - from)};
    s->at = behind;
    skip_blanks(s);
    if (s->at == s->end)
        return fail(s, "the array is not closed");
    if (*s->at == ',') {
        s->at++;
        skip_blanks(s);
        if (s->at < s->end && *s->at == ']')
            return fail(s, "the array has a comma too many");
        return true;
    }
    if (*s->at != ']')
        return fail(s, "between elements of the array there must be a comma");
    s->at++;
    s->is_over = true;
    skip_blanks(s);
    return s->at < s->end ? fail(s, "there is something behind the array") : true;
}

static bool next_line(struct qn_split *s, struct qn_str *piece)
{
    while (s->at < s->end) {
        const char *from = s->at, *end = memchr(from, '\n', (size_t)(s->end - from));

        s->at = end != NULL ? end + 1 : s->end;
        end = end != NULL ? end : s->end;
        while (from < end && is_blank(*from))
            from++;
        while (end > from && is_blank(end[-1]))
            end--;
        if (from < end) {
            *piece = (struct qn_str){from, (uint32_t)(end - from)};
            return true;
        }
    }
    s->is_over = true;
    return false;
}

bool qn_split_next(struct qn_split *s, struct qn_str *piece)
{
    const char *end = s->end;

    if (s->is_over)
        return false;
    if (s->form == QN_SPLIT_LINES)
        return next_line(s, piece);
    if (s->is_array)
        return next_element(s, piece);
    while (end > s->at && is_blank(end[-1]))
        end--;
    *piece = (struct qn_str){s->at, (uint32_t)(end - s->at)};
    s->is_over = true;
    return piece->len > 0;
}
