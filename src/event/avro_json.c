/* SPDX-License-Identifier: Apache-2.0
 * avro_json.c - walks one record along its schema and writes JSON. See avro.h.
 *
 * Nothing is trusted: lengths are held against what is left, depth and size of the JSON are
 * bounded, so a block that claims 2^60 nulls ends too. Thread: any. Memory: the caller's buffer. */
#include "event/avro_int.h"

#include "base/check.h"

#include <stdio.h>

struct reading {
    const unsigned char *p, *end, *start;
    struct qn_buf *out;
    size_t limit; /* of out->len */
    struct qn_wire_fault *fault;
};

static bool fail(struct reading *r, enum qn_reason reason, const char *why)
{
    r->fault->reason = reason;
    snprintf(r->fault->why, sizeof r->fault->why, "byte %zu: %s", (size_t)(r->p - r->start), why);
    return false;
}

static bool bad(struct reading *r, const char *why)
{
    return fail(r, QN_REASON_BAD_RECORD, why);
}

/* Zig-zag, seven bits a byte, the lowest first. */
static bool read_long(struct reading *r, int64_t *out)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        unsigned char c;

        if (r->p == r->end)
            return bad(r, "a number that is cut off");
        c = *r->p++;
        if (shift == 63 && c > 1)
            return bad(r, "a number of more than 64 bits");
        v |= (uint64_t)(c & 0x7F) << shift;
        if ((c & 0x80) == 0) {
            *out = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
            return true;
        }
    }
    return bad(r, "a number of more than 64 bits");
}

static bool read_piece(struct reading *r, uint64_t len, struct qn_str *out)
{
    if (len > (uint64_t)(r->end - r->p))
        return bad(r, "a text or bytes that are cut off");
    *out = (struct qn_str){(const char *)r->p, (uint32_t)len};
    r->p += len;
    return true;
}

static bool read_text(struct reading *r, struct qn_str *out)
{
    int64_t len;

    if (!read_long(r, &len))
        return false;
    if (len < 0)
        return bad(r, "a length below zero");
    return read_piece(r, (uint64_t)len, out);
}

static bool put_text(struct reading *r)
{
    struct qn_str s;

    if (!read_text(r, &s))
        return false;
    return qn_wire_text(r->out, s) || fail(r, QN_REASON_BAD_UTF8, "a text that is not UTF-8");
}

/* days or a count of a second's parts, as a time. */
static void put_time(struct reading *r, const struct qn_avro_type *t, int64_t v)
{
    int64_t us = v;

    if (t->logical == QN_AVRO_NANOS)
        us = v >= 0 ? v / 1000 : -((-(v + 1)) / 1000) - 1;
    else if (t->logical != QN_AVRO_MICROS &&
             __builtin_mul_overflow(
                 v, t->logical == QN_AVRO_DATE ? INT64_C(86400000000) : INT64_C(1000), &us))
        us = v < 0 ? INT64_MIN : INT64_MAX;
    qn_wire_time(r->out, us);
}

static bool put_number(struct reading *r, const struct qn_avro_type *t)
{
    int64_t v;

    if (!read_long(r, &v))
        return false;
    if (t->kind == QN_AVRO_INT && (v < INT32_MIN || v > INT32_MAX))
        return bad(r, "an int of more than 32 bits");
    if (t->logical == QN_AVRO_PLAIN)
        qn_wire_int(r->out, v);
    else
        put_time(r, t, v);
    return true;
}

static bool put_real(struct reading *r, uint32_t bytes)
{
    uint64_t bits = 0;
    struct qn_str s;
    double v;

    if (!read_piece(r, bytes, &s))
        return bad(r, "a number that is cut off");
    for (uint32_t i = bytes; i-- > 0;)
        bits = bits << 8 | (unsigned char)s.p[i];
    if (bytes == 4) {
        const uint32_t half = (uint32_t)bits;
        float f;

        memcpy(&f, &half, sizeof f);
        v = (double)f;
    } else {
        memcpy(&v, &bits, sizeof v);
    }
    qn_wire_double(r->out, v);
    return true;
}

static bool put_bytes(struct reading *r, const struct qn_avro_type *t)
{
    struct qn_str s;

    if (t->kind == QN_AVRO_FIXED ? !read_piece(r, t->size, &s) : !read_text(r, &s))
        return false;
    if (t->logical == QN_AVRO_UUID) {
        qn_wire_uuid(r->out, s.p);
    } else if (t->logical == QN_AVRO_DECIMAL) {
        if (s.len > QN_WIRE_DECIMAL_BYTES)
            return bad(r, "a decimal of more than 128 bytes");
        qn_wire_decimal(r->out, s, t->scale);
    } else {
        qn_wire_bytes(r->out, s);
    }
    return true;
}

static bool put(struct reading *r, const struct qn_avro_type *t, uint32_t depth);

static bool put_record(struct reading *r, const struct qn_avro_type *t, uint32_t depth)
{
    qn_buf_byte(r->out, '{');
    for (uint32_t i = 0; i < t->count; i++) {
        if (i > 0)
            qn_buf_byte(r->out, ',');
        qn_buf_add(r->out, t->parts[i].member.p, t->parts[i].member.len);
        if (!put(r, t->parts[i].type, depth))
            return false;
    }
    qn_buf_byte(r->out, '}');
    return true;
}

/* Items come in blocks: a count, below zero with the block's bytes behind it; 0 ends. */
static bool put_blocks(struct reading *r, const struct qn_avro_type *t, uint32_t depth)
{
    const bool is_map = t->kind == QN_AVRO_MAP;
    bool is_first = true;
    int64_t count, bytes;

    qn_buf_byte(r->out, is_map ? '{' : '[');
    for (;;) {
        if (!read_long(r, &count))
            return false;
        if (count == 0)
            break;
        if (count == INT64_MIN)
            return bad(r, "a block that cannot be");
        if (count < 0 && !read_long(r, &bytes))
            return false;
        for (uint64_t left = (uint64_t)(count < 0 ? -count : count); left > 0; left--) {
            if (!is_first)
                qn_buf_byte(r->out, ',');
            is_first = false;
            if (is_map) {
                if (!put_text(r))
                    return false;
                qn_buf_byte(r->out, ':');
            }
            if (!put(r, t->parts[0].type, depth))
                return false;
        }
    }
    qn_buf_byte(r->out, is_map ? '}' : ']');
    return true;
}

static bool put_union(struct reading *r, const struct qn_avro_type *t, uint32_t depth)
{
    int64_t branch;

    if (!read_long(r, &branch))
        return false;
    if (branch < 0 || branch >= (int64_t)t->count)
        return bad(r, "a branch that the union has not");
    return put(r, t->parts[branch].type, depth);
}

static bool put_enum(struct reading *r, const struct qn_avro_type *t)
{
    int64_t symbol;

    if (!read_long(r, &symbol))
        return false;
    if (symbol < 0 || symbol >= (int64_t)t->count)
        return bad(r, "a symbol that the enum has not");
    qn_buf_add(r->out, t->symbols[symbol].p, t->symbols[symbol].len);
    return true;
}

static bool put_boolean(struct reading *r)
{
    if (r->p == r->end || *r->p > 1)
        return bad(r, "a boolean that is neither 0 nor 1");
    qn_buf_text(r->out, *r->p++ == 1 ? "true" : "false");
    return true;
}

static bool put_value(struct reading *r, const struct qn_avro_type *t, uint32_t depth)
{
    switch (t->kind) {
    case QN_AVRO_NULL:
        qn_buf_text(r->out, "null");
        return true;
    case QN_AVRO_BOOLEAN:
        return put_boolean(r);
    case QN_AVRO_INT:
    case QN_AVRO_LONG:
        return put_number(r, t);
    case QN_AVRO_FLOAT:
        return put_real(r, 4);
    case QN_AVRO_DOUBLE:
        return put_real(r, 8);
    case QN_AVRO_BYTES:
    case QN_AVRO_FIXED:
        return put_bytes(r, t);
    case QN_AVRO_STRING:
        return put_text(r);
    case QN_AVRO_RECORD:
        return put_record(r, t, depth + 1);
    case QN_AVRO_ENUM:
        return put_enum(r, t);
    case QN_AVRO_ARRAY:
    case QN_AVRO_MAP:
        return put_blocks(r, t, depth + 1);
    case QN_AVRO_UNION:
        return put_union(r, t, depth + 1);
    }
    return bad(r, "a type that is not known");
}

static bool put(struct reading *r, const struct qn_avro_type *t, uint32_t depth)
{
    if (depth > QN_JSON_EVENT_DEPTH_MAX)
        return fail(r, QN_REASON_TOO_DEEP, "nested too deeply");
    if (!put_value(r, t, depth))
        return false;
    return r->out->len <= r->limit || fail(r, QN_REASON_TOO_LARGE, "too large as JSON");
}

bool qn_avro_json(const struct qn_avro *schema, struct qn_str bytes, struct qn_buf *out,
                  struct qn_wire_fault *fault)
{
    struct reading r = {.p = (const unsigned char *)bytes.p,
                        .out = out,
                        .limit = out->len + QN_EVENT_BYTES_MAX,
                        .fault = fault};

    r.start = r.p;
    r.end = r.p + bytes.len;
    if (!put(&r, schema->root, 0))
        return false;
    return r.p == r.end || bad(&r, "there is something behind the record");
}
