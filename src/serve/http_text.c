/* SPDX-License-Identifier: Apache-2.0
 * http_text.c - readers for the small languages of HTTP, each in one pass.
 *
 * Thread: any; no state. Memory: see the header. */
#include "serve/http_text.h"

#include <strings.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct qn_str trim(struct qn_str s)
{
    while (s.len > 0 && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}

/* What stands before the separator goes to *part and off the front of *rest, the separator too.
 * False, and an empty part, when nothing is left. */
static bool next_part(struct qn_str *rest, char separator, struct qn_str *part)
{
    const char *at;

    *part = (struct qn_str){"", 0};
    if (rest->p == NULL || rest->len == 0)
        return false;
    at = memchr(rest->p, separator, rest->len);
    part->p = rest->p;
    part->len = at != NULL ? (uint32_t)(at - rest->p) : rest->len;
    rest->p += part->len + (at != NULL);
    rest->len -= part->len + (at != NULL);
    return true;
}

bool qn_percent_decode(struct qn_str text, bool plus_is_blank, struct qn_arena *a,
                       struct qn_str *out)
{
    char *to = qn_arena_alloc(a, text.len + 1);
    uint32_t n = 0;

    *out = (struct qn_str){"", 0};
    if (to == NULL)
        return false;
    for (uint32_t i = 0; i < text.len; i++) {
        char c = text.p[i];

        if (c == '%') {
            int high = i + 1 < text.len ? hex(text.p[i + 1]) : -1;
            int low = i + 2 < text.len ? hex(text.p[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        }
        if (c == '\0')
            return false;
        to[n++] = c;
    }
    to[n] = '\0';
    if (!qn_utf8_valid(to, n))
        return false;
    *out = (struct qn_str){to, n};
    return true;
}

bool qn_query_next(struct qn_str *query, struct qn_str *name, struct qn_str *value)
{
    struct qn_str part;

    do {
        if (!next_part(query, '&', &part))
            return false;
    } while (part.len == 0);
    *value = part;
    next_part(value, '=', name);
    if (part.p[0] == '=')
        name->len = 0;
    return true;
}

bool qn_path_next(struct qn_str *path, struct qn_str *segment)
{
    struct qn_str rest = *path;

    if (rest.len == 0 || rest.p[0] != '/')
        return false;
    rest.p++;
    rest.len--;
    *segment = (struct qn_str){rest.p, 0};
    while (segment->len < rest.len && rest.p[segment->len] != '/')
        segment->len++;
    path->p = rest.p + segment->len;
    path->len = rest.len - segment->len;
    return true;
}

struct qn_str qn_media_type(struct qn_str header)
{
    struct qn_str type;

    next_part(&header, ';', &type);
    return trim(type);
}

bool qn_str_is_nocase(struct qn_str a, const char *nul_terminated)
{
    return strlen(nul_terminated) == a.len &&
           (a.len == 0 || strncasecmp(a.p, nul_terminated, a.len) == 0);
}

/* The weight of the parameters behind a media range in thousandths; 1000 without "q=". */
static int read_weight(struct qn_str parameters)
{
    struct qn_str part;

    while (next_part(&parameters, ';', &part)) {
        int weight = 0, digit = 100;

        part = trim(part);
        if (part.len < 3 || (part.p[0] | 32) != 'q' || part.p[1] != '=')
            continue;
        if (part.p[2] == '1')
            return 1000;
        for (uint32_t i = 4; i < part.len && part.p[i] >= '0' && part.p[i] <= '9'; i++) {
            weight += (part.p[i] - '0') * digit;
            digit /= 10;
        }
        return weight;
    }
    return 1000;
}

/* How closely a media range fits a type: 3 it, 2 its class ("text"), 1 anything, 0 not. */
static int closeness(struct qn_str range, const char *type)
{
    const char *slash = strchr(type, '/');

    if (qn_str_is_nocase(range, type))
        return 3;
    if (range.len == (uint32_t)(slash - type) + 2 && range.p[range.len - 1] == '*' &&
        strncasecmp(range.p, type, (size_t)(slash - type) + 1) == 0)
        return 2;
    return qn_str_is(range, "*/*") ? 1 : 0;
}

uint32_t qn_accept_best(struct qn_str header, const char *const *offers, uint32_t count)
{
    int best_weight = 0;
    uint32_t best = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct qn_str rest = header, part;
        int weight = 0, close = 0;

        while (next_part(&rest, ',', &part)) {
            struct qn_str type, parameters = part;
            int fits;

            next_part(&parameters, ';', &type);
            fits = closeness(trim(type), offers[i]);
            if (fits > close) {
                close = fits;
                weight = read_weight(parameters);
            }
        }
        if (weight > best_weight) {
            best_weight = weight;
            best = i;
        }
    }
    return best;
}

struct qn_str qn_bearer(struct qn_str header)
{
    struct qn_str none = {NULL, 0};

    if (header.len < 8 || strncasecmp(header.p, "Bearer ", 7) != 0)
        return none;
    return trim((struct qn_str){header.p + 7, header.len - 7});
}

/* `digits` small hex digits at p, not all of them zero where some must be set. */
static bool is_hex_run(const char *p, uint32_t digits, bool must_be_set)
{
    bool is_set = false;

    for (uint32_t i = 0; i < digits; i++) {
        if (hex(p[i]) < 0 || (p[i] >= 'A' && p[i] <= 'F'))
            return false;
        is_set |= p[i] != '0';
    }
    return is_set || !must_be_set;
}

bool qn_traceparent_valid(struct qn_str t)
{
    enum { VERSION_00 = 55 }; /* 2 + 32 + 16 + 2 digits and three '-' */

    if (t.len < VERSION_00 || t.p[2] != '-' || t.p[35] != '-' || t.p[52] != '-')
        return false;
    if (!is_hex_run(t.p, 2, false) || !is_hex_run(t.p + 3, 32, true) ||
        !is_hex_run(t.p + 36, 16, true) || !is_hex_run(t.p + 53, 2, false))
        return false;
    if (memcmp(t.p, "ff", 2) == 0)
        return false;
    return memcmp(t.p, "00", 2) == 0 ? t.len == VERSION_00
                                     : t.len == VERSION_00 || t.p[VERSION_00] == '-';
}
