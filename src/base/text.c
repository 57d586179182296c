/* SPDX-License-Identifier: Apache-2.0
 * text.c - UTF-8, JSON strings, base64 and nearest names.
 *
 * qn_json_string is on the way of every text that leaves: runs without anything to escape are
 * copied eight bytes at a time. Names are compared only when an error is being written. Thread:
 * any; no state; only buffers grow. */
#include "base/text.h"

#include "base/check.h"

int qn_str_cmp(struct qn_str a, struct qn_str b)
{
    uint32_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.p, b.p, n) : 0;

    if (c != 0)
        return c;
    return (a.len > b.len) - (a.len < b.len);
}

static uint64_t load8(const char *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return v;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Length of the well-formed sequence at p, which starts with a byte >= 0x80; 0 if it is ill-formed,
 * and then *bad is the length of the part that one U+FFFD stands for (Unicode 15, section 3.9,
 * maximal subpart). */
static unsigned sequence_length(const unsigned char *p, size_t len, unsigned *bad)
{
    unsigned char lo = 0x80, hi = 0xBF, c = p[0];
    unsigned need;

    *bad = 1;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    if (c < 0xE0) {
        need = 2;
    } else if (c < 0xF0) {
        need = 3;
        lo = c == 0xE0 ? 0xA0 : 0x80;
        hi = c == 0xED ? 0x9F : 0xBF;
    } else {
        need = 4;
        lo = c == 0xF0 ? 0x90 : 0x80;
        hi = c == 0xF4 ? 0x8F : 0xBF;
    }
    for (unsigned i = 1; i < need; i++) {
        if (i >= len || p[i] < lo || p[i] > hi) {
            *bad = i;
            return 0;
        }
        lo = 0x80;
        hi = 0xBF;
    }
    return need;
}

bool qn_utf8_valid(const char *p, size_t len)
{
    const char *end = p + len;
    unsigned bad;

    while (p < end) {
        if (end - p >= 8 && (load8(p) & EACH(0x80)) == 0) {
            p += 8;
        } else if ((unsigned char)*p < 0x80) {
            p++;
        } else {
            unsigned n = sequence_length((const unsigned char *)p, (size_t)(end - p), &bad);

            if (n == 0)
                return false;
            p += n;
        }
    }
    return true;
}

size_t qn_utf8_count(const char *p, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)p[i] & 0xC0) != 0x80;
    return n;
}

struct qn_str qn_utf8_cut(struct qn_str s, uint32_t max)
{
    if (s.len > max) {
        s.len = max;
        while (s.len > 0 && ((unsigned char)s.p[s.len] & 0xC0) == 0x80)
            s.len--;
    }
    return s;
}

unsigned qn_utf8_put(char out[4], uint32_t code_point)
{
    QN_ASSERT(code_point <= 0x10FFFF);
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xC0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (char)(0xE0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}

/* Non-zero if one of the eight bytes cannot stand in a JSON string as it is: control, quote,
 * backslash, not ASCII. */
static uint64_t needs_care(uint64_t w)
{
    uint64_t quote = w ^ EACH('"'), slash = w ^ EACH('\\');

    return ((w - EACH(0x20)) | w | (quote - EACH(1)) | (slash - EACH(1))) & EACH(0x80);
}

static unsigned escape(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char letter = 0;

    switch (c) {
    case '"':
    case '\\':
        letter = (char)c;
        break;
    case '\b':
        letter = 'b';
        break;
    case '\f':
        letter = 'f';
        break;
    case '\n':
        letter = 'n';
        break;
    case '\r':
        letter = 'r';
        break;
    case '\t':
        letter = 't';
        break;
    default:
        memcpy(out, "\\u00", 4);
        out[4] = hex[c >> 4];
        out[5] = hex[c & 15];
        return 6;
    }
    out[0] = '\\';
    out[1] = letter;
    return 2;
}

void qn_json_string(struct qn_buf *b, struct qn_str text)
{
    const char *p = text.p, *end = text.p + text.len;
    char *out;

    if (qn_buf_room(b, (size_t)text.len + 16) == NULL)
        return;
    qn_buf_byte(b, '"');
    while (p < end) {
        unsigned char c = (unsigned char)*p;
        unsigned n, bad;

        /* Eight bytes is the longest step below. */
        out = qn_buf_room(b, 16);
        if (out == NULL)
            return;
        if (end - p >= 8 && needs_care(load8(p)) == 0) {
            memcpy(out, p, 8);
            b->len += 8;
            p += 8;
        } else if (c < 0x80) {
            if (c >= 0x20 && c != '"' && c != '\\') {
                *out = (char)c;
                b->len++;
            } else {
                b->len += escape(out, c);
            }
            p++;
        } else {
            n = sequence_length((const unsigned char *)p, (size_t)(end - p), &bad);
            if (n > 0)
                memcpy(out, p, n);
            else
                memcpy(out, "\xEF\xBF\xBD", 3);
            b->len += n > 0 ? n : 3;
            p += n > 0 ? n : bad;
        }
    }
    qn_buf_byte(b, '"');
}

void qn_base64(struct qn_buf *b, struct qn_str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)bytes.p;
    size_t n = bytes.len, i = 0;
    char *out = qn_buf_room(b, (n + 2) / 3 * 4);

    if (out == NULL)
        return;
    for (; i + 3 <= n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];

        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = digits[v >> 6 & 63];
        *out++ = digits[v & 63];
    }
    if (i < n) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0);

        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *out++ = '=';
    }
    b->len += (n + 2) / 3 * 4;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool qn_base64_decode(struct qn_str text, char *out, uint32_t *len)
{
    uint32_t n = 0, bits = 0, held = 0;

    if (text.len % 4 != 0)
        return false;
    for (uint32_t i = 0; i < text.len; i++) {
        int digit = base64_digit(text.p[i]);

        if (digit < 0) { /* only "=" or "==" at the end */
            bool is_padding = text.p[i] == '=' && i + 2 >= text.len &&
                              (i + 1 == text.len || text.p[i + 1] == '=');
            if (!is_padding || (held & ((1U << bits) - 1)) != 0)
                return false;
            break;
        }
        held = held << 6 | (uint32_t)digit;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (char)(held >> bits & 0xFF);
        }
    }
    *len = n;
    return true;
}

static unsigned char fold(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

enum { EDIT_MAX = 64 }; /* longer words, after equal ends are cut off, count as unlike */

unsigned qn_edit_distance(struct qn_str a, struct qn_str b, unsigned limit)
{
    unsigned rows[3][EDIT_MAX + 1];
    unsigned *before = rows[0], *last = rows[1], *now = rows[2];

    while (a.len > 0 && b.len > 0 && fold(a.p[0]) == fold(b.p[0]))
        a.p++, a.len--, b.p++, b.len--;
    while (a.len > 0 && b.len > 0 && fold(a.p[a.len - 1]) == fold(b.p[b.len - 1]))
        a.len--, b.len--;
    if ((a.len > b.len ? a.len - b.len : b.len - a.len) > limit)
        return limit + 1;
    if (a.len > EDIT_MAX || b.len > EDIT_MAX)
        return limit + 1;
    for (uint32_t j = 0; j <= b.len; j++)
        last[j] = j;
    for (uint32_t i = 1; i <= a.len; i++) {
        unsigned *swap = before;

        now[0] = i;
        for (uint32_t j = 1; j <= b.len; j++) {
            bool same = fold(a.p[i - 1]) == fold(b.p[j - 1]);
            unsigned best = last[j - 1] + !same;

            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && fold(a.p[i - 1]) == fold(b.p[j - 2]) &&
                fold(a.p[i - 2]) == fold(b.p[j - 1]) && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        before = last;
        last = now;
        now = swap;
    }
    return last[b.len] > limit ? limit + 1 : last[b.len];
}

int qn_nearest(struct qn_str word, const struct qn_str *names, size_t count)
{
    unsigned best = word.len < 5 ? 2 : 3;
    int found = -1;

    for (size_t i = 0; i < count; i++) {
        unsigned d = qn_edit_distance(word, names[i], best - 1);

        if (d < best) {
            best = d;
            found = (int)i;
        }
        if (best == 0)
            break;
    }
    return found;
}
