/* SPDX-License-Identifier: Apache-2.0
 * wire_json.h - values of binary formats as JSON text, exactly.
 *
 * Numbers keep every digit; a float is the double of the same value; what JSON has no number for is
 * the text "NaN", "Infinity" or "-Infinity"; bytes are base64; times are RFC 3339 in UTC with
 * microseconds, finer ones cut towards the past. Thread: any; no state. Memory: the caller's
 * buffers. */
#ifndef QN_EVENT_WIRE_JSON_H
#define QN_EVENT_WIRE_JSON_H

#include "base/buffer.h"
#include "base/text.h"
#include "event/batch.h"

/* Why a record is not what its schema says. */
struct qn_wire_fault {
    enum qn_reason reason;
    char why[120]; /* one clause: "byte 17: a text that is cut off" */
};

void qn_wire_int(struct qn_buf *out, int64_t v);
void qn_wire_uint(struct qn_buf *out, uint64_t v);
void qn_wire_double(struct qn_buf *out, double v);
/* False where it is not UTF-8: nothing is written. */
bool qn_wire_text(struct qn_buf *out, struct qn_str s);
void qn_wire_bytes(struct qn_buf *out, struct qn_str s);
/* A time; one outside the years 0 to 9999 becomes the text of its count, which is no time. */
void qn_wire_time(struct qn_buf *out, int64_t us);
/* A big-endian two's complement integer of any length / 10^scale, all digits written out. At most
 * QN_WIRE_DECIMAL_BYTES long. */
enum { QN_WIRE_DECIMAL_BYTES = 128 };
void qn_wire_decimal(struct qn_buf *out, struct qn_str s, uint32_t scale);
/* 16 bytes as 8-4-4-4-12 hex digits. */
void qn_wire_uuid(struct qn_buf *out, const char *p);

#endif
