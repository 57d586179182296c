/* SPDX-License-Identifier: Apache-2.0
 * wire_json.c - values as JSON text. See wire_json.h.
 *
 * Thread: any; no state. Memory: the caller's buffers. */
#include "event/wire_json.h"

#include "base/check.h"
#include "base/number.h"
#include "base/timestamp.h"

#include <math.h>

#define YEAR_0_US    (INT64_C(-62167219200) * 1000000)
#define YEAR_9999_US (INT64_C(253402300800) * 1000000 - 1)

void qn_wire_int(struct qn_buf *out, int64_t v)
{
    char *at = qn_buf_room(out, QN_NUMBER_MAX);

    if (at != NULL)
        out->len += qn_print_int64(at, v);
}

void qn_wire_uint(struct qn_buf *out, uint64_t v)
{
    char *at = qn_buf_room(out, QN_NUMBER_MAX);

    if (at != NULL)
        out->len += qn_print_uint64(at, v);
}

void qn_wire_double(struct qn_buf *out, double v)
{
    char *at;

    if (isnan(v)) {
        qn_buf_text(out, "\"NaN\"");
    } else if (isinf(v)) {
        qn_buf_text(out, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    } else {
        at = qn_buf_room(out, QN_NUMBER_MAX);
        if (at != NULL)
            out->len += qn_print_double(at, v);
    }
}

bool qn_wire_text(struct qn_buf *out, struct qn_str s)
{
    if (s.len > 0 && !qn_utf8_valid(s.p, s.len))
        return false;
    qn_json_string(out, s);
    return true;
}

void qn_wire_bytes(struct qn_buf *out, struct qn_str s)
{
    qn_buf_byte(out, '"');
    qn_base64(out, s);
    qn_buf_byte(out, '"');
}

void qn_wire_time(struct qn_buf *out, int64_t us)
{
    char text[QN_TIMESTAMP_LEN];

    qn_buf_byte(out, '"');
    if (us < YEAR_0_US || us > YEAR_9999_US)
        qn_wire_int(out, us);
    else
        qn_buf_add(out, text, qn_timestamp_print(text, us));
    qn_buf_byte(out, '"');
}

/* Divides n big-endian bytes by 10^9; the rest. *from: the first that is not zero. */
static uint32_t divide(unsigned char *p, uint32_t *from, uint32_t n)
{
    uint64_t rest = 0;

    for (uint32_t i = *from; i < n; i++) {
        const uint64_t v = rest << 8 | p[i];

        p[i] = (unsigned char)(v / 1000000000);
        rest = v % 1000000000;
    }
    while (*from < n && p[*from] == 0)
        (*from)++;
    return (uint32_t)rest;
}

void qn_wire_decimal(struct qn_buf *out, struct qn_str s, uint32_t scale)
{
    unsigned char p[QN_WIRE_DECIMAL_BYTES];
    char digits[QN_WIRE_DECIMAL_BYTES * 3 + 16]; /* the lowest first; a byte is 2.41 digits */
    const bool is_negative = s.len > 0 && (s.p[0] & 0x80) != 0;
    uint32_t from = 0, count = 0, carry = 1;

    QN_ASSERT(s.len <= QN_WIRE_DECIMAL_BYTES);
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    for (uint32_t i = s.len; is_negative && i-- > 0;) {
        const uint32_t v = (p[i] ^ 0xFFU) + carry;

        p[i] = (unsigned char)v;
        carry = v >> 8;
    }
    while (from < s.len) {
        uint32_t nine = divide(p, &from, s.len);

        for (int i = 0; i < 9; i++, nine /= 10)
            digits[count++] = (char)('0' + nine % 10);
    }
    while (count > 0 && digits[count - 1] == '0')
        count--;
    if (is_negative)
        qn_buf_byte(out, '-');
    if (count <= scale)
        qn_buf_byte(out, '0');
    for (uint32_t i = count; i > scale; i--)
        qn_buf_byte(out, digits[i - 1]);
    for (uint32_t i = scale; i > 0; i--) {
        if (i == scale)
            qn_buf_byte(out, '.');
        qn_buf_byte(out, i <= count ? digits[i - 1] : '0');
    }
}

void qn_wire_uuid(struct qn_buf *out, const char *p)
{
    static const char hex[] = "0123456789abcdef";

    qn_buf_byte(out, '"');
    for (int i = 0; i < 16; i++) {
        const unsigned char c = (unsigned char)p[i];

        if (i == 4 || i == 6 || i == 8 || i == 10)
            qn_buf_byte(out, '-');
        qn_buf_byte(out, hex[c >> 4]);
        qn_buf_byte(out, hex[c & 15]);
    }
    qn_buf_byte(out, '"');
}
