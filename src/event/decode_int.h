/* SPDX-License-Identifier: Apache-2.0
 * decode_int.h - the room's inside: what decode_json.c and decode_csv.c share.
 *
 * A decoder writes values of one row straight into columns and keeps three sets of fields: seen
 * (has a value), faulted (had one that cannot be) and must (required, or filled by a default).
 * qn_decode_settle turns them into the row's fate: the first fault in the order of the schema
 * decides. Fast paths for short numbers and common times live here as inline functions; they agree
 * with base/number.h and base/timestamp.h on all they accept and leave the rest to them. Thread:
 * one worker. Memory: the caller's stack, strings and lists in the worker's arena. */
#ifndef QN_EVENT_DECODE_INT_H
#define QN_EVENT_DECODE_INT_H

#include "base/digits.h"
#include "base/number.h"
#include "event/decode.h"

#define QN_LIKELY(x)   __builtin_expect(!!(x), 1)
#define QN_UNLIKELY(x) __builtin_expect(!!(x), 0)

enum { QN_FIELD_WORDS = QN_FIELDS_MAX / 64 };

struct qn_decode_row {
    const struct qn_field *fields;
    struct qn_col *cols;         /* the stream's own, one per field                       */
    struct qn_arena *arena;      /* the worker's                                          */
    uint32_t field_count, words; /* words: of the three sets below                        */
    uint32_t row;
    bool has_fault;    /* faulted is not empty                                  */
    bool no_memory;    /* the arena gave nothing; the row is undecided          */
    uint64_t day_text; /* bytes 0 to 7 of the last date read, see time_fast     */
    int64_t day_us;    /* its midnight                                          */
    uint16_t day_tail; /* bytes 8 and 9                                         */
    bool has_day;
    uint64_t must[QN_FIELD_WORDS];
    uint64_t seen[QN_FIELD_WORDS];
    uint64_t faulted[QN_FIELD_WORDS];
    uint8_t fault[QN_FIELDS_MAX]; /* enum qn_reason, where faulted                         */
};

/* Sets *d up for rows [first, end) and makes the stream's columns null there. */
void qn_decode_begin(struct qn_decode_row *d, struct qn_batch *b, const struct qn_schema *s,
                     uint32_t first, uint32_t end, uint32_t worker);
/* The row's fate after all its values: nothing, defaults filled in, or dead. */
void qn_decode_settle(struct qn_decode_row *d, struct qn_batch *b);
/* The row is dead whatever its values: nulls them and forgets the sets. field: or QN_NO_FIELD. */
void qn_decode_kill(struct qn_decode_row *d, struct qn_batch *b, enum qn_reason reason,
                    uint32_t field);

static inline void qn_decode_row_start(struct qn_decode_row *d, uint32_t row)
{
    d->row = row;
    for (uint32_t i = 0; i < d->words; i++)
        d->seen[i] = 0;
}

static inline void qn_decode_mark(struct qn_decode_row *d, struct qn_col *c, uint32_t field,
                                  uint32_t row)
{
    uint64_t bit = UINT64_C(1) << (field & 63);

    c->valid[row] = 1;
    d->seen[field >> 6] |= bit;
    if (QN_UNLIKELY(d->has_fault))
        d->faulted[field >> 6] &= ~bit;
}

/* The field is null again. */
static inline void qn_decode_clear(struct qn_decode_row *d, uint32_t field)
{
    uint64_t bit = UINT64_C(1) << (field & 63);

    d->cols[field].valid[d->row] = 0;
    d->seen[field >> 6] &= ~bit;
    d->faulted[field >> 6] &= ~bit;
}

static inline void qn_decode_fault(struct qn_decode_row *d, uint32_t field, enum qn_reason reason)
{
    qn_decode_clear(d, field);
    d->faulted[field >> 6] |= UINT64_C(1) << (field & 63);
    d->fault[field] = (uint8_t)reason;
    d->has_fault = true;
}

/* Stores a number as the field's type and marks it, or faults the field. */
void qn_decode_number(struct qn_decode_row *d, uint32_t field, const struct qn_decimal_text *n);
/* The same for a time as text. */
void qn_decode_time_text(struct qn_decode_row *d, uint32_t field, struct qn_str text);
/* An epoch number of any form in that unit; false where it is not a time of the years 0 to 9999. */
bool qn_decode_epoch(const struct qn_decimal_text *n, enum qn_time_unit unit, int64_t *us);
bool qn_decode_epoch_range(int64_t us);
/* JSON array of numbers at p ('['), readable for QN_DECODE_PAD bytes beyond end. Returns the place
 * behind ']', or NULL when it is anything else (nothing is said about why). *fits is false when a
 * number overflows; values are then undefined. */
const char *qn_decode_list(struct qn_decode_row *d, const char *p, const char *end,
                           struct qn_list *out, bool *fits);

/* --- fast paths; little-endian only, others always take the general road --- */

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
enum { QN_DECODE_FAST = 1 };
#else
enum { QN_DECODE_FAST = 0 };
#endif

/* y: eight bytes xor '0'. The high bit of the lowest byte that is no digit is exact; above it bits
 * may be wrong. */
static inline uint64_t qn_no_digits(uint64_t y)
{
    return ((y + QN_BYTES(0x76)) | y) & QN_BYTES(0x80);
}

/* A short number: (negative ? -1 : 1) * digits / 10^decimals, at most 18 digits. */
struct qn_number_fast {
    uint64_t digits;
    uint32_t decimals;
    bool negative;
};

/* Reads a number without exponent; returns the place behind it, or NULL where the general scanner
 * must look. May look at 32 bytes from p on whatever they are, so the caller checks the returned
 * place against its end. */
static inline const char *qn_number_fast(const char *p, struct qn_number_fast *n)
{
    uint64_t y, m, v;
    uint32_t len, total;

    if (!QN_DECODE_FAST)
        return NULL;
    n->negative = *p == '-';
    p += n->negative;
    y = qn_load64(p) ^ QN_BYTES(0x30);
    m = qn_no_digits(y);
    if (QN_LIKELY(m != 0)) {
        len = (uint32_t)__builtin_ctzll(m) >> 3;
        if (len == 0 || (len > 1 && *p == '0'))
            return NULL;
        v = qn_eight_digits(y << (64 - 8 * len));
        total = len;
    } else {
        if (*p == '0')
            return NULL;
        v = qn_eight_digits(y);
        p += 8;
        y = qn_load64(p) ^ QN_BYTES(0x30);
        m = qn_no_digits(y);
        if (m == 0)
            return NULL;
        len = (uint32_t)__builtin_ctzll(m) >> 3;
        if (len > 0)
            v = v * qn_pow10[len] + qn_eight_digits(y << (64 - 8 * len));
        total = 8 + len;
    }
    p += len;
    n->decimals = 0;
    if (*p == '.') {
        p++;
        y = qn_load64(p) ^ QN_BYTES(0x30);
        m = qn_no_digits(y);
        if (m == 0)
            return NULL;
        len = (uint32_t)__builtin_ctzll(m) >> 3;
        if (len == 0 || total + len > 18)
            return NULL;
        v = v * qn_pow10[len] + qn_eight_digits(y << (64 - 8 * len));
        p += len;
        n->decimals = len;
    }
    if ((*p | 0x20) == 'e')
        return NULL;
    n->digits = v;
    return p;
}

/* Stores it where that is exact or a single rounding; false = general road. */
static inline bool qn_fast_double(const struct qn_number_fast *n, double *out)
{
    static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8};
    double v;

    if (n->digits > UINT64_C(1) << 53)
        return false;
    v = (double)n->digits / powers[n->decimals]; /* at most 7 decimals come here */
    *out = n->negative ? -v : v;
    return true;
}

static inline bool qn_fast_scaled(const struct qn_number_fast *n, uint32_t scale, int64_t *out)
{
    int64_t v;

    if (n->decimals > scale ||
        __builtin_mul_overflow((int64_t)n->digits, (int64_t)qn_pow10[scale - n->decimals], &v))
        return false;
    *out = n->negative ? -v : v;
    return true;
}

/* Remembers the date at p (ten bytes, YYYY-MM-DD); false where it is not one. */
bool qn_decode_new_day(struct qn_decode_row *d, const char *p);

/* YYYY-MM-DDThh:mm:ss[.fraction]Z at p, the date usually that of the last call; returns the place
 * behind Z, or NULL where qn_timestamp_parse must look. May look at 32 bytes from p on. */
static inline const char *qn_decode_time_fast(struct qn_decode_row *d, const char *p, int64_t *us)
{
    uint64_t y, m;
    uint16_t tail;
    uint32_t h, min, s, s_low, len, fraction;

    if (!QN_DECODE_FAST)
        return NULL;
    memcpy(&tail, p + 8, sizeof tail);
    if (QN_UNLIKELY(qn_load64(p) != d->day_text || tail != d->day_tail || !d->has_day))
        if (!qn_decode_new_day(d, p))
            return NULL;
    /* "T00:00:0" xor the text: zero where punctuation stands, a digit elsewhere. */
    y = qn_load64(p + 10) ^ UINT64_C(0x303A30303A303054);
    s_low = (uint32_t)(unsigned char)p[18] - '0';
    if (QN_UNLIKELY((((y + UINT64_C(0x767F76767F76767F)) | y) & QN_BYTES(0x80)) != 0 || s_low > 9))
        return NULL;
    h = (uint32_t)(y >> 8 & 0xF) * 10 + (uint32_t)(y >> 16 & 0xF);
    min = (uint32_t)(y >> 32 & 0xF) * 10 + (uint32_t)(y >> 40 & 0xF);
    s = (uint32_t)(y >> 56) * 10 + s_low;
    if (h > 23 || min > 59 || s > 59)
        return NULL;
    *us = d->day_us + (int64_t)(h * 3600 + min * 60 + s) * 1000000;
    if (QN_LIKELY(p[19] == 'Z'))
        return p + 20;
    if (p[19] != '.')
        return NULL;
    y = qn_load64(p + 20) ^ QN_BYTES(0x30);
    m = qn_no_digits(y);
    if (m == 0)
        return NULL;
    len = (uint32_t)__builtin_ctzll(m) >> 3;
    if (len == 0 || p[20 + len] != 'Z')
        return NULL;
    fraction = (uint32_t)qn_eight_digits(y << (64 - 8 * len));
    *us += len == 7 ? fraction / 10 : fraction * (uint32_t)qn_pow10[6 - len];
    return p + 21 + len;
}

#endif
