/* SPDX-License-Identifier: Apache-2.0
 * json.c - the pull reader for JSON documents.
 *
 * A small state machine over a stack of open levels: `state` says what may come next, the caller
 * pulls one event at a time. Invariant: depth levels of `stack` are open; after an error the reader
 * stays where it is and answers QN_JSON_ERROR for ever. Strings without escapes are borrowed from
 * the document, others decoded into the arena. Thread: one owner. */
#include "base/json.h"

#include "base/check.h"

enum state {
    BEFORE_VALUE,  /* a value must come: at the start, behind ':' or behind ',' in an array */
    FIRST_ELEMENT, /* behind '[': a value or ']'                                            */
    FIRST_MEMBER,  /* behind '{': a name or '}'                                             */
    NEXT_MEMBER,   /* behind ',' in an object: a name                                       */
    AFTER_VALUE,   /* ',' or the end of the level, or of the document                       */
    OVER,
    FAILED
};

void qn_json_open(struct qn_json_reader *r, struct qn_str text, struct qn_arena *arena)
{
    static const char nothing[1];

    *r = (struct qn_json_reader){.arena = arena, .state = BEFORE_VALUE};
    r->start = r->at = text.p != NULL ? text.p : nothing;
    r->end = r->at + text.len;
    r->mark = r->at;
    /* RFC 8259 lets a reader ignore a byte order mark; some editors write one. */
    if (text.len >= 3 && memcmp(r->at, "\xEF\xBB\xBF", 3) == 0)
        r->at += 3;
}

static enum qn_json_kind fail(struct qn_json_reader *r, const char *error)
{
    r->state = FAILED;
    r->error = error;
    r->mark = r->at;
    r->has_key = false;
    return QN_JSON_ERROR;
}

static void skip_space(struct qn_json_reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

static int hex4(const char *p, const char *end)
{
    int v = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];

        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            v = v * 16 + ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* Decodes the escape at r->at, which stands behind its backslash; returns the bytes written, 0 on
 * an error. */
static unsigned take_escape(struct qn_json_reader *r, char out[4])
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;
    int unit, low;

    if (r->at == r->end)
        return 0;
    if (*r->at != 'u') {
        found = *r->at != '\0' ? strchr(from, *r->at) : NULL;
        if (found == NULL)
            return 0;
        r->at++;
        out[0] = to[found - from];
        return 1;
    }
    unit = hex4(r->at + 1, r->end);
    if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
        return 0;
    if (unit < 0xD800 || unit > 0xDBFF) {
        r->at += 5;
        return qn_utf8_put(out, (uint32_t)unit);
    }
    if (r->end - r->at < 11 || r->at[5] != '\\' || r->at[6] != 'u')
        return 0;
    low = hex4(r->at + 7, r->end);
    if (low < 0xDC00 || low > 0xDFFF)
        return 0;
    r->at += 11;
    return qn_utf8_put(out, 0x10000 + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
}

/* Finds the end of the string whose content starts at p, counting escapes; NULL where it has none.
 */
static const char *string_end(const char *p, const char *end, bool *escaped)
{
    *escaped = false;
    for (; p < end && *p != '"'; p++) {
        if (*p == '\\') {
            *escaped = true;
            if (++p == end)
                return NULL;
        }
    }
    return p < end ? p : NULL;
}

/* Reads the string that starts at the quote under r->at. False after fail(). */
static bool take_string(struct qn_json_reader *r, struct qn_str *out)
{
    const char *p = r->at + 1, *end;
    bool escaped;
    char *to, *first;

    end = string_end(p, r->end, &escaped);
    if (end == NULL)
        return fail(r, "a string without an end"), false;
    for (const char *c = p; c < end; c++)
        if ((unsigned char)*c < 0x20)
            return r->at = c, fail(r, "a control character inside a string"), false;
    if (!qn_utf8_valid(p, (size_t)(end - p)))
        return fail(r, "a string that is not UTF-8"), false;
    if (!escaped) {
        *out = (struct qn_str){p, (uint32_t)(end - p)};
        r->at = end + 1;
        return true;
    }
    /* An escape is never shorter than what it stands for; four bytes more because one is written at
     * once. */
    first = to = qn_arena_alloc(r->arena, (size_t)(end - p) + 4);
    if (first == NULL)
        return fail(r, "out of memory"), false;
    r->at = p;
    while (r->at < end) {
        unsigned n;

        if (*r->at != '\\') {
            *to++ = *r->at++;
            continue;
        }
        r->at++;
        n = take_escape(r, to);
        if (n == 0)
            return fail(r, "an escape that JSON does not have"), false;
        to += n;
    }
    *out = (struct qn_str){first, (uint32_t)(to - first)};
    r->at = end + 1;
    return true;
}

static bool take_word(struct qn_json_reader *r, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
        return false;
    r->at += n;
    return true;
}

static enum qn_json_kind open_level(struct qn_json_reader *r, char bracket)
{
    if (r->depth == QN_JSON_DEPTH_MAX)
        return fail(r, "more than 256 levels of nesting");
    r->at++;
    r->stack[r->depth++] = (uint8_t)bracket;
    r->state = bracket == '{' ? FIRST_MEMBER : FIRST_ELEMENT;
    return bracket == '{' ? QN_JSON_OBJECT : QN_JSON_ARRAY;
}

static enum qn_json_kind close_level(struct qn_json_reader *r)
{
    r->at++;
    r->depth--;
    r->state = AFTER_VALUE;
    return QN_JSON_CLOSE;
}

static enum qn_json_kind take_value(struct qn_json_reader *r)
{
    char c;
    uint32_t n;

    if (r->at == r->end)
        return fail(r, "the document ends where a value was expected");
    c = *r->at;
    r->mark = r->at;
    if (c == '{' || c == '[')
        return open_level(r, c);
    r->state = AFTER_VALUE;
    if (c == '"')
        return take_string(r, &r->text) ? QN_JSON_STRING : QN_JSON_ERROR;
    if (c == '-' || (c >= '0' && c <= '9')) {
        n = qn_number_scan(r->at, r->end, &r->number);
        if (n == 0)
            return fail(r, "a number that JSON does not have");
        r->at += n;
        if (r->at < r->end && (*r->at == '.' || (*r->at | 0x20) == 'e' || *r->at == '+' ||
                               (*r->at >= '0' && *r->at <= '9')))
            return r->at = r->mark, fail(r, "a number that JSON does not have");
        return QN_JSON_NUMBER;
    }
    if (take_word(r, "true"))
        return QN_JSON_TRUE;
    if (take_word(r, "false"))
        return QN_JSON_FALSE;
    if (take_word(r, "null"))
        return QN_JSON_NULL;
    return fail(r, "a value was expected");
}

/* Reads "name": and then the value. */
static enum qn_json_kind take_member(struct qn_json_reader *r)
{
    enum qn_json_kind kind;
    const char *name_at = r->at;

    if (r->at == r->end || *r->at != '"')
        return fail(r, "the name of a member, in quotes, was expected");
    if (!take_string(r, &r->key))
        return QN_JSON_ERROR;
    skip_space(r);
    if (r->at == r->end || *r->at != ':')
        return fail(r, "a ':' was expected behind the name of a member");
    r->at++;
    skip_space(r);
    r->has_key = true;
    kind = take_value(r);
    if (kind != QN_JSON_ERROR)
        r->mark = name_at;
    return kind;
}

/* Behind a value: a comma leads on to the next, a bracket closes the level, the end of the text
 * ends the document. */
static enum qn_json_kind after_value(struct qn_json_reader *r)
{
    char open, c;

    if (r->depth == 0) {
        if (r->at < r->end)
            return fail(r, "something stands behind the document");
        r->state = OVER;
        return QN_JSON_END;
    }
    open = (char)r->stack[r->depth - 1];
    if (r->at == r->end)
        return fail(r, open == '{' ? "the document ends inside an object"
                                   : "the document ends inside an array");
    c = *r->at;
    r->mark = r->at;
    if (c == (open == '{' ? '}' : ']'))
        return close_level(r);
    if (c != ',')
        return fail(r, open == '{' ? "a ',' or '}' was expected" : "a ',' or ']' was expected");
    r->at++;
    skip_space(r);
    return open == '{' ? take_member(r) : take_value(r);
}

enum qn_json_kind qn_json_next(struct qn_json_reader *r)
{
    if (r->state == FAILED)
        return QN_JSON_ERROR;
    r->has_key = false;
    skip_space(r);
    r->mark = r->at;
    switch ((enum state)r->state) {
    case BEFORE_VALUE:
        return take_value(r);
    case FIRST_ELEMENT:
        if (r->at < r->end && *r->at == ']')
            return close_level(r);
        return take_value(r);
    case FIRST_MEMBER:
        if (r->at < r->end && *r->at == '}')
            return close_level(r);
        return take_member(r);
    case AFTER_VALUE:
        return after_value(r);
    case OVER:
        return QN_JSON_END;
    default:
        break;
    }
    QN_ASSERT(r->state == FAILED);
    return QN_JSON_ERROR;
}

bool qn_json_skip(struct qn_json_reader *r, enum qn_json_kind kind)
{
    uint32_t level;

    if (kind == QN_JSON_ERROR)
        return false;
    if (kind != QN_JSON_OBJECT && kind != QN_JSON_ARRAY)
        return true;
    QN_ASSERT(r->state == FAILED || r->depth > 0);
    level = r->depth - 1;
    while (r->state != FAILED && r->depth > level)
        qn_json_next(r);
    return r->state != FAILED;
}

size_t qn_json_offset(const struct qn_json_reader *r)
{
    return (size_t)(r->mark - r->start);
}
