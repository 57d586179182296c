/* SPDX-License-Identifier: Apache-2.0
 * text.h - borrowed pieces of text, UTF-8, JSON string escaping, and the nearest name to a misspelt
 * one.
 *
 * A qn_str borrows: it says where bytes lie, never owns them; whoever stores one says how long the
 * bytes live. Thread: any; no state. */
#ifndef QN_BASE_TEXT_H
#define QN_BASE_TEXT_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes, not NUL-terminated, usually UTF-8. p may be NULL where len is 0. */
struct qn_str {
    const char *p;
    uint32_t len; /* bytes */
};

static inline struct qn_str qn_str_of(const char *nul_terminated)
{
    return (struct qn_str){nul_terminated, (uint32_t)strlen(nul_terminated)};
}

static inline bool qn_str_eq(struct qn_str a, struct qn_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool qn_str_is(struct qn_str a, const char *nul_terminated)
{
    size_t n = strlen(nul_terminated);

    return a.len == n && (n == 0 || memcmp(a.p, nul_terminated, n) == 0);
}

/* printf helper: printf("%.*s", QN_STR_ARG(s)) */
#define QN_STR_ARG(s) (int)(s).len, (s).p

/* Bytes order (memcmp, then length): <0, 0, >0. */
int qn_str_cmp(struct qn_str a, struct qn_str b);

/* True if the bytes are well-formed UTF-8 (Unicode 15, table 3-7: no surrogates, no overlong
 * forms). */
bool qn_utf8_valid(const char *p, size_t len);
/* Number of code points of valid UTF-8. */
size_t qn_utf8_count(const char *p, size_t len);
/* The first bytes of s, at most max, cut before a code point and never inside one. */
struct qn_str qn_utf8_cut(struct qn_str s, uint32_t max);
/* Writes one code point (<= 0x10FFFF) as UTF-8 into out[4]; returns 1 to 4. */
unsigned qn_utf8_put(char out[4], uint32_t code_point);

/* Appends text as a JSON string with quotes. Bytes that are not UTF-8 become U+FFFD. */
void qn_json_string(struct qn_buf *b, struct qn_str text);

/* Appends bytes as base64 (RFC 4648, with padding). */
void qn_base64(struct qn_buf *b, struct qn_str bytes);
/* The bytes of such a text into out, which has room for text.len; false where it is something else
 * (other digits, no padding, bits that are left over), and then *len is undefined. */
bool qn_base64_decode(struct qn_str text, char *out, uint32_t *len);

/* Edit distance (insert, delete, replace, swap of neighbours), cut off at limit + 1. Case
 * differences count as nothing. */
unsigned qn_edit_distance(struct qn_str a, struct qn_str b, unsigned limit);
/* Index of the nearest of `count` names to `word`, at most 2 edits away (1 for words under 5
 * bytes), or -1. The first of equally near ones wins. */
int qn_nearest(struct qn_str word, const struct qn_str *names, size_t count);

#endif
