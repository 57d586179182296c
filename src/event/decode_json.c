/* SPDX-License-Identifier: Apache-2.0
 * decode_json.c - JSON events into columns: the uncommon cases, and the choice of a vector form.
 *
 * The hot loop is decode_json_scan.inc, compiled below once per vector form; read it first. It
 * walks the paths that decode_json_paths.c compiled. The last of equal members decides entirely:
 * when the parent of fields comes again, what the first one held is forgotten. What the text itself
 * does wrong (not JSON, not UTF-8, too deep) decides over what fields do wrong; among these the
 * first in the text counts. Thread: one worker per call; the choice of the form is made at first
 * use and is the same for all. Memory: worker's arena for unescaped strings and the guesses of one
 * call. */
#include "event/decode_json_int.h"

#include "base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* --- what the loop does not do --- */

static const char *json_bad(struct json_state *d, enum qn_reason reason)
{
    d->reason = reason;
    return NULL;
}

static int hex4(const char *p)
{
    int v = 0;

    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i], low = c | 0x20;

        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v * 16 + (low - 'a' + 10);
        else
            return -1;
    }
    return v;
}

static const char *json_string_rest(struct json_state *d, const char *start, const char *at,
                                    const char *end, struct json_text *out)
{
    bool is_checked = true; /* nothing but ASCII so far, as far as seen */

    out->has_escape = false;
    for (;;) {
        if (at >= end)
            return json_bad(d, QN_REASON_BAD_JSON);
        if (*at == '"')
            break;
        if (*at == '\\') {
            out->has_escape = true;
            if (end - at >= 2 && at[1] != '\0' && strchr("\"\\/bfnrt", at[1]) != NULL)
                at += 2;
            else if (end - at >= 6 && at[1] == 'u' && hex4(at + 2) >= 0)
                at += 6;
            else
                return json_bad(d, QN_REASON_BAD_JSON);
        } else if ((unsigned char)*at < 0x20) {
            return json_bad(d, QN_REASON_BAD_JSON);
        } else {
            is_checked = false;
            at = d->form->quote(at + 1, end);
        }
    }
    out->raw = (struct qn_str){start, (uint32_t)(at - start)};
    if (!is_checked && !qn_utf8_valid(start, out->raw.len))
        return json_bad(d, QN_REASON_BAD_UTF8);
    return at + 1;
}

/* Writes the string that the validated text between two quotes means; it is never longer. Returns
 * its length, or -1 when half of a surrogate pair stands alone: such a text cannot be written in
 * UTF-8. */
static int64_t unescape(char *out, struct qn_str raw)
{
    const char *p = raw.p, *end = raw.p + raw.len;
    char *o = out;

    while (p < end) {
        const char *bs = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((bs != NULL ? bs : end) - p);
        uint32_t code;

        memcpy(o, p, plain);
        o += plain;
        if (bs == NULL)
            break;
        p = bs + 2;
        switch (bs[1]) {
        case 'b':
            *o++ = '\b';
            continue;
        case 'f':
            *o++ = '\f';
            continue;
        case 'n':
            *o++ = '\n';
            continue;
        case 'r':
            *o++ = '\r';
            continue;
        case 't':
            *o++ = '\t';
            continue;
        case 'u':
            break;
        default:
            *o++ = bs[1];
            continue;
        }
        code = (uint32_t)hex4(p);
        p += 4;
        if (code >= 0xD800 && code < 0xDC00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
            uint32_t low = (uint32_t)hex4(p + 2);

            if (low >= 0xDC00 && low < 0xE000) {
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                p += 6;
            }
        }
        if (code >= 0xD800 && code < 0xE000)
            return -1;
        o += qn_utf8_put(o, code);
    }
    return o - out;
}

static uint32_t json_child_escaped(const struct json_paths *paths, const struct json_node *n,
                                   struct qn_str raw)
{
    char name[6 * JSON_NAME_MAX + 16] = {0};
    int64_t len;

    /* A name we know has at most JSON_NAME_MAX bytes, each written with at most six. */
    if (raw.len > 6 * JSON_NAME_MAX)
        return JSON_NO_NODE;
    len = unescape(name, raw);
    return len >= 0 ? json_child(paths, n, name, (uint32_t)len) : JSON_NO_NODE;
}

static void json_forget(struct json_state *d, uint32_t node)
{
    const uint64_t *under = d->paths->nodes[node].under;

    for (uint32_t w = 0; w < d->row.words; w++) {
        uint64_t there = under[w] & (d->row.seen[w] | d->row.faulted[w]);

        for (; there != 0; there &= there - 1)
            qn_decode_clear(&d->row, w * 64 + (uint32_t)__builtin_ctzll(there));
    }
}

/* The text of a string, unescaped where need be; false (and the field is faulted) when there is
 * none. */
static bool text_of(struct json_state *d, uint32_t field, const struct json_text *text,
                    struct qn_str *out)
{
    char *room;
    int64_t len;

    *out = text->raw;
    if (!text->has_escape)
        return true;
    room = qn_arena_aligned(d->row.arena, 1, text->raw.len + (size_t)QN_DECODE_PAD);
    if (room == NULL) {
        d->row.no_memory = true;
        return false;
    }
    len = unescape(room, text->raw);
    if (len < 0) {
        qn_decode_fault(&d->row, field, QN_REASON_BAD_UTF8);
        return false;
    }
    *out = (struct qn_str){room, (uint32_t)len};
    return true;
}

/* A decimal may come as text, as money often does: a JSON number in quotes. */
static void decimal_text(struct json_state *d, uint32_t field, struct qn_str text)
{
    struct qn_decimal_text n;

    if (text.len == 0 || qn_number_scan(text.p, text.p + text.len, &n) != text.len)
        qn_decode_fault(&d->row, field, QN_REASON_WRONG_TYPE);
    else
        qn_decode_number(&d->row, field, &n);
}

static void string_value(struct json_state *d, uint32_t field, const struct json_text *text)
{
    const struct qn_field *f = &d->row.fields[field];
    struct qn_col *c = &d->row.cols[field];
    struct qn_str s;

    if (f->kind.type != QN_STRING && f->kind.type != QN_DECIMAL &&
        !(f->kind.type == QN_TIMESTAMP && f->unit == QN_TIME_TEXT)) {
        qn_decode_fault(&d->row, field, QN_REASON_WRONG_TYPE);
        return;
    }
    if (!text_of(d, field, text, &s))
        return;
    if (f->kind.type == QN_STRING) {
        c->str[d->row.row] = s;
        qn_decode_mark(&d->row, c, field, d->row.row);
    } else if (f->kind.type == QN_TIMESTAMP) {
        qn_decode_time_text(&d->row, field, s);
    } else {
        decimal_text(d, field, s);
    }
}

/* Any value for one field. */
static const char *field_value(struct json_state *d, uint32_t field, const char *p, const char *end,
                               uint32_t depth)
{
    enum qn_type type = d->row.fields[field].kind.type;
    struct qn_decimal_text n;
    struct json_text text;
    struct qn_list list;
    const char *q;
    uint32_t len;
    bool fits;

    switch (*p) {
    case '"':
        q = json_string_rest(d, p + 1, p + 1, end, &text);
        if (q != NULL)
            string_value(d, field, &text);
        else if (d->reason == QN_REASON_BAD_UTF8)
            d->reason_field = (uint16_t)field;
        return q;
    case '[':
        if (type == QN_LIST && depth < QN_JSON_EVENT_DEPTH_MAX &&
            (q = qn_decode_list(&d->row, p, end, &list, &fits)) != NULL) {
            if (!fits) {
                qn_decode_fault(&d->row, field, QN_REASON_NOT_EXACT);
            } else {
                d->row.cols[field].list[d->row.row] = list;
                qn_decode_mark(&d->row, &d->row.cols[field], field, d->row.row);
            }
            return q;
        }
        break;
    case 'n':
        if ((q = d->form->skip(d, p, end, depth)) != NULL)
            qn_decode_clear(&d->row, field);
        return q;
    case 't':
    case 'f':
        if ((q = d->form->skip(d, p, end, depth)) != NULL && type == QN_BOOL) {
            d->row.cols[field].i64[d->row.row] = *p == 't';
            qn_decode_mark(&d->row, &d->row.cols[field], field, d->row.row);
            return q;
        }
        if (q != NULL)
            qn_decode_fault(&d->row, field, QN_REASON_WRONG_TYPE);
        return q;
    case '{':
        break;
    default:
        if ((len = qn_number_scan(p, end, &n)) == 0)
            return json_bad(d, QN_REASON_BAD_JSON);
        qn_decode_number(&d->row, field, &n);
        return p + len;
    }
    if ((q = d->form->skip(d, p, end, depth)) != NULL)
        qn_decode_fault(&d->row, field, QN_REASON_WRONG_TYPE);
    return q;
}

static const char *json_value(struct json_state *d, uint32_t node, const char *p, const char *end,
                              uint32_t depth)
{
    uint32_t f = d->paths->nodes[node].field;
    const char *q = NULL;

    if (f == QN_NO_FIELD)
        return d->form->skip(d, p, end, depth);
    for (; f != QN_NO_FIELD; f = d->paths->same_path[f]) {
        q = field_value(d, f, p, end, depth);
        if (q == NULL)
            return NULL;
    }
    return q;
}

/* --- vector forms --- */

#define FORM_PASTE(a, b) a##_##b
#define FORM_NAME(a, b)  FORM_PASTE(a, b)

static bool always(void)
{
    return true;
}

/* Eight bytes at a time; never looks at or beyond end, so that any text may be given. */
static inline uint64_t bytes_below(uint64_t x, uint64_t n)
{
    return (x - QN_BYTES(1) * n) & ~x & QN_BYTES(0x80);
}

static inline uint64_t bytes_equal(uint64_t x, uint64_t n)
{
    x ^= QN_BYTES(1) * n;
    return (x - QN_BYTES(1)) & ~x & QN_BYTES(0x80);
}

static const char *portable_find(const char *p, const char *end, uint64_t high)
{
    for (; QN_DECODE_FAST && end - p >= 8; p += 8) {
        uint64_t x = qn_load64(p);
        uint64_t m = bytes_equal(x, '"') | bytes_equal(x, '\\') | bytes_below(x, 0x20) | (x & high);

        if (m != 0)
            return p + (__builtin_ctzll(m) >> 3);
    }
    for (; p < end; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\' || c < 0x20 || (c & high & 0xFF) != 0)
            return p;
    }
    return end;
}

static inline const char *plain_portable(const char *p, const char *end)
{
    return portable_find(p, end, QN_BYTES(0x80));
}

static const char *quote_portable(const char *p, const char *end)
{
    return portable_find(p, end, 0);
}

#define FORM(name) FORM_NAME(name, portable)
#include "event/decode_json_scan.inc"
#undef FORM

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt"))),                \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,lzcnt,popcnt")
#endif

static inline const char *plain_avx2(const char *p, const char *end)
{
    const __m256i quote = _mm256_set1_epi8('"'), bs = _mm256_set1_epi8('\\'),
                  blank = _mm256_set1_epi8(0x20);

    for (;;) {
        __m256i v = _mm256_loadu_si256((const __m256i *)p);
        /* Compared as signed bytes, what is below 0x20 or above 0x7F is below 0x20. */
        __m256i m =
            _mm256_or_si256(_mm256_or_si256(_mm256_cmpeq_epi8(v, quote), _mm256_cmpeq_epi8(v, bs)),
                            _mm256_cmpgt_epi8(blank, v));
        uint32_t bits = (uint32_t)_mm256_movemask_epi8(m);

        if (QN_LIKELY(bits != 0))
            return p + __builtin_ctz(bits);
        p += 32;
        if (p >= end)
            return end;
    }
}

static const char *quote_avx2(const char *p, const char *end)
{
    const __m256i quote = _mm256_set1_epi8('"'), bs = _mm256_set1_epi8('\\'),
                  last = _mm256_set1_epi8(0x1F);

    for (; p < end; p += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)p);
        __m256i m =
            _mm256_or_si256(_mm256_or_si256(_mm256_cmpeq_epi8(v, quote), _mm256_cmpeq_epi8(v, bs)),
                            _mm256_cmpeq_epi8(_mm256_min_epu8(v, last), v));
        uint32_t bits = (uint32_t)_mm256_movemask_epi8(m);

        if (bits != 0)
            return p + __builtin_ctz(bits);
    }
    return end;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
}

#define FORM(name) FORM_NAME(name, avx2)
#include "event/decode_json_scan.inc"
#undef FORM

#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx2,bmi,bmi2,lzcnt,popcnt"))),               \
    apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx2,bmi,bmi2,lzcnt,popcnt")
#endif

static inline const char *plain_avx512(const char *p, const char *end)
{
    for (;;) {
        __m512i v = _mm512_loadu_si512(p);
        uint64_t bits = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('"')) |
                        _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('\\')) |
                        _mm512_cmplt_epi8_mask(v, _mm512_set1_epi8(0x20));

        if (QN_LIKELY(bits != 0))
            return p + __builtin_ctzll(bits);
        p += 64;
        if (p >= end)
            return end;
    }
}

static const char *quote_avx512(const char *p, const char *end)
{
    for (; p < end; p += 64) {
        __m512i v = _mm512_loadu_si512(p);
        uint64_t bits = _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('"')) |
                        _mm512_cmpeq_epi8_mask(v, _mm512_set1_epi8('\\')) |
                        _mm512_cmplt_epu8_mask(v, _mm512_set1_epi8(0x20));

        if (bits != 0)
            return p + __builtin_ctzll(bits);
    }
    return end;
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

#define FORM(name) FORM_NAME(name, avx512)
#include "event/decode_json_scan.inc"
#undef FORM

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#elif defined(__aarch64__)

/* Four bits per byte of a comparison, so that counting zeros finds the byte. */
static inline uint64_t neon_bits(uint8x16_t m)
{
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(m), 4)), 0);
}

static inline const char *plain_neon(const char *p, const char *end)
{
    for (;;) {
        uint8x16_t v = vld1q_u8((const uint8_t *)p);
        uint8x16_t m =
            vorrq_u8(vorrq_u8(vceqq_u8(v, vdupq_n_u8('"')), vceqq_u8(v, vdupq_n_u8('\\'))),
                     vcltq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(0x20)));
        uint64_t bits = neon_bits(m);

        if (QN_LIKELY(bits != 0))
            return p + (__builtin_ctzll(bits) >> 2);
        p += 16;
        if (p >= end)
            return end;
    }
}

static const char *quote_neon(const char *p, const char *end)
{
    for (; p < end; p += 16) {
        uint8x16_t v = vld1q_u8((const uint8_t *)p);
        uint8x16_t m =
            vorrq_u8(vorrq_u8(vceqq_u8(v, vdupq_n_u8('"')), vceqq_u8(v, vdupq_n_u8('\\'))),
                     vcltq_u8(v, vdupq_n_u8(0x20)));
        uint64_t bits = neon_bits(m);

        if (bits != 0)
            return p + (__builtin_ctzll(bits) >> 2);
    }
    return end;
}

#define FORM(name) FORM_NAME(name, neon)
#include "event/decode_json_scan.inc"
#undef FORM

#endif

/* Best first. */
static const struct json_form forms[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, rows_avx512, skip_avx512, quote_avx512},
    {"avx2", has_avx2, rows_avx2, skip_avx2, quote_avx2},
#elif defined(__aarch64__)
    {"neon", always, rows_neon, skip_neon, quote_neon},
#endif
    {"portable", always, rows_portable, skip_portable, quote_portable},
};

enum { FORMS = sizeof forms / sizeof forms[0] };

/* Chosen at first use or by qn_decode_force; the same for all threads, since all see the same CPU.
 */
static const struct json_form *chosen;

static const struct json_form *form_now(void)
{
    const struct json_form *f = __atomic_load_n(&chosen, __ATOMIC_RELAXED);

    if (QN_LIKELY(f != NULL))
        return f;
    for (f = forms; !f->is_usable(); f++)
        ;
    __atomic_store_n(&chosen, f, __ATOMIC_RELAXED);
    return f;
}

bool qn_decode_force(const char *name)
{
    const struct json_form *found = NULL;

    for (size_t i = 0; name != NULL && i < FORMS; i++)
        if (strcmp(forms[i].name, name) == 0 && forms[i].is_usable())
            found = &forms[i];
    if (name != NULL && found == NULL)
        return false;
    __atomic_store_n(&chosen, found, __ATOMIC_RELAXED);
    return true;
}

const char *qn_decode_name(void)
{
    return form_now()->name;
}

/* --- the calls --- */

/* Guesses start in the order of the schema. False when out of memory. */
static bool guesses(struct json_state *d)
{
    uint32_t n = d->paths->node_count;

    d->first = qn_arena_alloc(d->row.arena, sizeof *d->first * n);
    d->next = qn_arena_alloc(d->row.arena, sizeof *d->next * n);
    d->met = qn_arena_zalloc(d->row.arena, n, sizeof *d->met);
    if (d->first == NULL || d->next == NULL || d->met == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        d->first[i] = d->paths->nodes[i].first_child_hint;
        d->next[i] = d->paths->nodes[i].next_field_hint;
    }
    return true;
}

void qn_decode_json(struct qn_batch *b, const struct qn_schema *s, uint32_t stream_index,
                    uint32_t first, uint32_t end, uint32_t worker)
{
    const struct qn_row_span span = {stream_index, first, end, worker};
    struct json_state d;

    QN_ASSERT(s->decoder != NULL && first <= end);
    d.paths = s->decoder;
    d.form = form_now();
    d.reason = QN_REASON_NONE;
    d.reason_field = QN_NO_FIELD;
    qn_decode_begin(&d.row, b, s, first, end, worker);
    d.texts =
        s->envelope == QN_ENVELOPE_NONE ? b->raw + first : qn_envelope_rows(&d.row, b, s, &span);
    if (d.texts != NULL && guesses(&d))
        d.form->rows(&d, b, stream_index, first, end);
    else
        d.row.no_memory = true;
    if (d.row.no_memory)
        b->no_memory[worker] = 1;
}

const char *qn_json_skip_value(const char *p, const char *end, uint32_t depth,
                               enum qn_reason *reason)
{
    struct json_state d;
    const char *q;

    d.form = form_now();
    d.reason = QN_REASON_BAD_JSON;
    q = d.form->skip(&d, p, end, depth);
    *reason = d.reason;
    return q;
}

int64_t qn_json_unescape(char *out, struct qn_str raw)
{
    return unescape(out, raw);
}

uint32_t qn_json_find_child(const struct json_paths *paths, uint32_t node, struct qn_str raw)
{
    char name[JSON_NAME_MAX + 8] = {0}; /* the hash looks at eight bytes */

    if (raw.len > 0 && memchr(raw.p, '\\', raw.len) != NULL)
        return json_child_escaped(paths, &paths->nodes[node], raw);
    if (raw.len > JSON_NAME_MAX)
        return JSON_NO_NODE;
    if (raw.len > 0)
        memcpy(name, raw.p, raw.len);
    return json_child(paths, &paths->nodes[node], name, raw.len);
}

static const struct json_form *bounded_form(void)
{
    return &forms[FORMS - 1];
}

bool qn_json_valid(struct qn_str text)
{
    struct json_state d;
    const char *p = text.p, *end = text.p + text.len;

    if (text.len == 0)
        return false;
    d.form = bounded_form();
    p = d.form->skip(&d, p, end, 0);
    return p != NULL && space_portable(p, end) == end;
}

/* The value of the last member of that name in the object at p, or NULL; *after is behind the
 * object, NULL if it is bad. */
static const char *find_member(struct json_state *d, struct qn_str name, const char *p,
                               const char *end, uint32_t depth, const char **after)
{
    const char *found = NULL;
    struct json_text key;

    *after = NULL;
    p = space_portable(p + 1, end);
    if (p < end && *p == '}') {
        *after = p + 1;
        return NULL;
    }
    for (;;) {
        bool is_ours;

        if (p >= end || *p != '"' || (p = string_portable(d, p, end, &key)) == NULL)
            return NULL;
        is_ours = qn_str_eq(key.raw, name);
        if (key.has_escape) {
            char text[6 * JSON_NAME_MAX + 16];

            is_ours = key.raw.len <= 6 * JSON_NAME_MAX &&
                      unescape(text, key.raw) == (int64_t)name.len &&
                      memcmp(text, name.p, name.len) == 0;
        }
        p = space_portable(p, end);
        if (p >= end || *p != ':')
            return NULL;
        p = space_portable(p + 1, end);
        if (is_ours)
            found = p;
        if ((p = d->form->skip(d, p, end, depth)) == NULL)
            return NULL;
        p = space_portable(p, end);
        if (p >= end || (*p != ',' && *p != '}'))
            return NULL;
        p++;
        if (p[-1] == '}')
            break;
        p = space_portable(p, end);
    }
    *after = p;
    return found;
}

/* The time at p in the form that the field asks for. */
static bool time_value(const struct qn_field *f, const char *p, const char *end, int64_t *us)
{
    struct json_state d = {.form = bounded_form()};
    struct qn_decimal_text n;
    struct json_text text;
    char room[256];
    int64_t len;

    if (f->unit != QN_TIME_TEXT)
        return qn_number_scan(p, end, &n) != 0 && qn_decode_epoch(&n, f->unit, us);
    if (*p != '"' || string_portable(&d, p, end, &text) == NULL)
        return false;
    if (!text.has_escape)
        return qn_timestamp_parse(text.raw, us);
    if (text.raw.len > sizeof room || (len = unescape(room, text.raw)) < 0)
        return false;
    return qn_timestamp_parse((struct qn_str){room, (uint32_t)len}, us);
}

bool qn_decode_json_time(const struct qn_schema *s, struct qn_str raw, int64_t *us)
{
    struct json_state d = {.form = bounded_form()};
    const char *p, *end = raw.p + raw.len, *after;
    const struct qn_field *f;

    QN_ASSERT(s->time >= 0 && (uint32_t)s->time < s->field_count);
    f = &s->fields[s->time];
    p = raw.len > 0 ? space_portable(raw.p, end) : end;
    for (uint32_t k = 0; k < f->path_count; k++) {
        if (p >= end || *p != '{')
            return false;
        p = find_member(&d, f->path[k], p, end, k + 1, &after);
        if (after == NULL || (k == 0 && space_portable(after, end) < end) || p == NULL)
            return false;
    }
    return time_value(f, p, end, us);
}
