/* SPDX-License-Identifier: Apache-2.0
 * proto_json.c - walks one message along its schema and writes JSON. See proto.h.
 *
 * Fields may come in any order and more than once: of a plain one the last counts, those of a
 * message are one message together, elements of a list may lie apart, a oneof is its last. So a
 * message is scanned first, into a chain of pieces per field, and written then, in the order of the
 * schema. Chains lie in `room` and are let go with their message. Nothing is trusted: lengths are
 * held against what is left, depth and size of the JSON are bounded. Thread: any. Memory: the
 * caller's buffers. */
#include "event/proto_int.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdio.h>

enum {
    NESTING_MAX = 3 * QN_JSON_EVENT_DEPTH_MAX, /* a level of JSON may be a Value in a ListValue */
    SCALE_MAX = 400,
    NOTHING = UINT32_MAX
};

/* What stands in the record for one field, in `room`: offsets of pieces there. */
struct chain {
    uint32_t first, last; /* NOTHING, or where the pieces are */
};
struct piece {
    uint64_t value;   /* varint or fixed; of an entry of a map the hash of its key */
    uint32_t at, len; /* bytes: where in the record */
    uint32_t next;
    uint16_t wire;
    bool is_replaced; /* an entry whose key comes again */
};

struct reading {
    const unsigned char *start;
    struct qn_buf *room, *out;
    size_t limit; /* of out->len */
    uint32_t nesting;
    struct qn_wire_fault *fault;
};

/* A message that was scanned: its chains and what oneofs hold. */
struct scanned {
    const struct qn_proto_message *m;
    size_t base; /* in room */
};

static bool fail(struct reading *r, enum qn_reason reason, const unsigned char *at, const char *why)
{
    r->fault->reason = reason;
    snprintf(r->fault->why, sizeof r->fault->why, "byte %zu: %s", (size_t)(at - r->start), why);
    return false;
}

static bool bad(struct reading *r, uint32_t at, const char *why)
{
    return fail(r, QN_REASON_BAD_RECORD, r->start + at, why);
}

static bool bad_field(struct reading *r, const struct qn_proto_field *f, uint32_t at,
                      const char *why)
{
    char text[100];

    snprintf(text, sizeof text, "'%.*s': %s", QN_STR_ARG(qn_utf8_cut(f->name, 40)), why);
    return bad(r, at, text);
}

/* ---- scanning --------------------------------------------------------------------------------*/

static struct chain *chains(const struct reading *r, const struct scanned *s)
{
    return (struct chain *)(void *)(r->room->data + s->base);
}

/* [oneofs] the field that each of them holds, or NOTHING. */
static uint32_t *held(const struct reading *r, const struct scanned *s)
{
    return (uint32_t *)(void *)(r->room->data + s->base + s->m->count * sizeof(struct chain));
}

static struct piece *piece_at(const struct reading *r, uint32_t at)
{
    return (struct piece *)(void *)(r->room->data + at);
}

/* So many bytes more, aligned; where they begin. Out of memory is noted in room. */
static bool take_room(struct reading *r, size_t bytes, size_t *at)
{
    bytes = (bytes + 7) & ~(size_t)7;
    *at = r->room->len;
    if (*at + bytes > NOTHING)
        return bad(r, 0, "more parts than can be kept");
    if (qn_buf_room(r->room, bytes) == NULL) {
        r->out->failed = true;
        return bad(r, 0, "out of memory");
    }
    r->room->len += bytes;
    return true;
}

static int find_field(const struct qn_proto_message *m, uint32_t number, uint32_t guess)
{
    uint32_t low = 0, high = m->count;

    for (uint32_t i = guess; i < m->count && i < guess + 2; i++) /* mostly in order */
        if (m->by_number[i].number == number)
            return (int)i;
    while (low < high) {
        const uint32_t mid = (low + high) / 2;

        if (m->by_number[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low < m->count && m->by_number[low].number == number ? (int)low : -1;
}

static enum qn_proto_wire wire_of(enum qn_proto_kind k)
{
    switch (k) {
    case QN_PROTO_DOUBLE:
    case QN_PROTO_FIXED64:
    case QN_PROTO_SFIXED64:
        return QN_PROTO_64;
    case QN_PROTO_FLOAT:
    case QN_PROTO_FIXED32:
    case QN_PROTO_SFIXED32:
        return QN_PROTO_32;
    case QN_PROTO_STRING:
    case QN_PROTO_BYTES:
    case QN_PROTO_MESSAGE:
        return QN_PROTO_BYTES_WIRE;
    default:
        return QN_PROTO_VARINT;
    }
}

/* A list of numbers may come in one piece. */
static bool is_packed(const struct qn_proto_field *f, enum qn_proto_wire wire)
{
    return f->is_repeated && wire == QN_PROTO_BYTES_WIRE && wire_of(f->kind) != wire;
}

static bool note(struct reading *r, const struct scanned *s, uint32_t field,
                 const struct qn_proto_piece *p, const unsigned char *begin)
{
    const struct qn_proto_field *f = &s->m->fields[field];
    struct chain *c;
    size_t at;

    if (p->wire != wire_of(f->kind) && !is_packed(f, p->wire))
        return bad_field(r, f, (uint32_t)(begin - r->start), "a wire type that is not its own");
    if (!take_room(r, sizeof(struct piece), &at))
        return false;
    *piece_at(r, (uint32_t)at) =
        (struct piece){.value = p->value,
                       .at = (uint32_t)((p->wire == QN_PROTO_BYTES_WIRE ? p->p : begin) - r->start),
                       .len = p->wire == QN_PROTO_BYTES_WIRE ? p->len : 0,
                       .next = NOTHING,
                       .wire = (uint16_t)p->wire};
    if (f->oneof > 0) {
        uint32_t *holds = &held(r, s)[f->oneof - 1];

        if (*holds != NOTHING && *holds != field)
            chains(r, s)[*holds] = (struct chain){NOTHING, NOTHING};
        *holds = field;
    }
    c = &chains(r, s)[field];
    if (c->first == NOTHING)
        c->first = (uint32_t)at;
    else
        piece_at(r, c->last)->next = (uint32_t)at;
    c->last = (uint32_t)at;
    return true;
}

static bool scan_piece(struct reading *r, const struct scanned *s, uint32_t at, uint32_t len)
{
    struct qn_proto_reader in = {r->start + at, r->start + at + len};
    uint32_t guess = 0;

    while (in.p < in.end) {
        const unsigned char *begin = in.p;
        struct qn_proto_piece p = {0};
        const char *why = NULL;
        int slot;

        if (!qn_proto_next(&in, &p, &why))
            return fail(r, QN_REASON_BAD_RECORD, in.p, why);
        slot = find_field(s->m, p.number, guess);
        if (slot < 0)
            continue;
        guess = (uint32_t)slot;
        if (!note(r, s, s->m->by_number[slot].index, &p, begin))
            return false;
    }
    return true;
}

/* One piece, or with is_all all from it on as one message. To be let go by end_scan. */
static bool scan(struct reading *r, const struct qn_proto_message *m, uint32_t first, bool is_all,
                 struct scanned *s)
{
    s->m = m;
    s->base = r->room->len;
    if (++r->nesting > NESTING_MAX)
        return fail(r, QN_REASON_TOO_DEEP, r->start, "nested too deeply");
    if (!take_room(r, m->count * sizeof(struct chain) + m->oneofs * sizeof(uint32_t), &s->base))
        return false;
    memset(r->room->data + s->base, 0xFF,
           m->count * sizeof(struct chain) + m->oneofs * sizeof(uint32_t));
    for (uint32_t i = first; i != NOTHING; i = is_all ? piece_at(r, i)->next : NOTHING)
        if (!scan_piece(r, s, piece_at(r, i)->at, piece_at(r, i)->len))
            return false;
    return true;
}

static void end_scan(struct reading *r, const struct scanned *s)
{
    r->nesting--;
    r->room->len = s->base;
}

/* ---- scalars ---------------------------------------------------------------------------------*/

/* 32 bits, or a number below zero that was written with 64. */
static bool fits_32(uint64_t v)
{
    return v <= UINT32_MAX || v >= (uint64_t)(int64_t)INT32_MIN;
}

static void put_enum(struct reading *r, const struct qn_proto_enum *e, int32_t number)
{
    uint32_t low = 0, high = e->count;

    while (low < high) {
        const uint32_t mid = (low + high) / 2;

        if (e->values[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == e->count || e->values[low].number != number)
        qn_wire_int(r->out, number);
    else if (e->is_null && number == 0)
        qn_buf_text(r->out, "null");
    else
        qn_buf_add(r->out, e->values[low].text.p, e->values[low].text.len);
}

static double double_of(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

static double float_of(uint64_t bits)
{
    const uint32_t half = (uint32_t)bits;
    float v;

    memcpy(&v, &half, sizeof v);
    return (double)v;
}

static bool put_number(struct reading *r, const struct qn_proto_field *f, uint64_t v, uint32_t at)
{
    switch (f->kind) {
    case QN_PROTO_DOUBLE:
        qn_wire_double(r->out, double_of(v));
        return true;
    case QN_PROTO_FLOAT:
        qn_wire_double(r->out, float_of(v));
        return true;
    case QN_PROTO_INT64:
    case QN_PROTO_SFIXED64:
        qn_wire_int(r->out, (int64_t)v);
        return true;
    case QN_PROTO_UINT64:
    case QN_PROTO_FIXED64:
    case QN_PROTO_FIXED32:
        qn_wire_uint(r->out, v);
        return true;
    case QN_PROTO_SFIXED32:
        qn_wire_int(r->out, (int32_t)(uint32_t)v);
        return true;
    case QN_PROTO_SINT64:
        qn_wire_int(r->out, qn_proto_zigzag(v));
        return true;
    case QN_PROTO_BOOL:
        qn_buf_text(r->out, v != 0 ? "true" : "false");
        return true;
    default:
        break;
    }
    if (f->kind == QN_PROTO_UINT32 || f->kind == QN_PROTO_SINT32 ? v > UINT32_MAX : !fits_32(v))
        return bad_field(r, f, at, "a number of more than 32 bits");
    if (f->kind == QN_PROTO_UINT32)
        qn_wire_uint(r->out, v);
    else if (f->kind == QN_PROTO_SINT32)
        qn_wire_int(r->out, qn_proto_zigzag(v));
    else if (f->kind == QN_PROTO_INT32)
        qn_wire_int(r->out, (int32_t)(uint32_t)v);
    else
        put_enum(r, f->values, (int32_t)(uint32_t)v);
    return true;
}

static bool put_text(struct reading *r, uint32_t at, uint32_t len)
{
    return qn_wire_text(r->out, (struct qn_str){(const char *)r->start + at, len}) ||
           fail(r, QN_REASON_BAD_UTF8, r->start + at, "a text that is not UTF-8");
}

static bool put_scalar(struct reading *r, const struct qn_proto_field *f, const struct piece *p)
{
    if (f->kind == QN_PROTO_STRING)
        return put_text(r, p->at, p->len);
    if (f->kind != QN_PROTO_BYTES)
        return put_number(r, f, p->value, p->at);
    qn_wire_bytes(r->out, (struct qn_str){(const char *)r->start + p->at, p->len});
    return true;
}

/* What a field has that was not written. */
static void put_default(struct reading *r, const struct qn_proto_field *f)
{
    if (f->kind == QN_PROTO_STRING || f->kind == QN_PROTO_BYTES)
        qn_buf_text(r->out, "\"\"");
    else if (f->kind == QN_PROTO_BOOL)
        qn_buf_text(r->out, "false");
    else if (f->kind == QN_PROTO_ENUM)
        put_enum(r, f->values, f->values->fallback);
    else
        qn_buf_byte(r->out, '0');
}

static bool is_within(struct reading *r, uint32_t at)
{
    return r->out->len <= r->limit ||
           fail(r, QN_REASON_TOO_LARGE, r->start + at, "too large as JSON");
}

/* ---- fields ----------------------------------------------------------------------------------*/

static bool put_message(struct reading *r, const struct qn_proto_message *m, uint32_t first,
                        bool is_all, uint32_t depth);

/* The numbers of one packed piece. */
static bool put_packed(struct reading *r, const struct qn_proto_field *f, const struct piece *p,
                       bool *is_first)
{
    const enum qn_proto_wire wire = wire_of(f->kind);
    struct qn_proto_reader in = {r->start + p->at, r->start + p->at + p->len};

    while (in.p < in.end) {
        const unsigned char *begin = in.p;
        const uint32_t bytes = wire == QN_PROTO_64 ? 8 : 4;
        const char *why = "a number that is cut off";
        uint64_t v = 0;

        if (wire == QN_PROTO_VARINT ? !qn_proto_varint(&in, &v, &why) : in.end - in.p < bytes)
            return fail(r, QN_REASON_BAD_RECORD, in.p, why);
        for (uint32_t i = bytes; wire != QN_PROTO_VARINT && i-- > 0;)
            v = v << 8 | in.p[i];
        in.p += wire != QN_PROTO_VARINT ? bytes : 0;
        if (!*is_first)
            qn_buf_byte(r->out, ',');
        *is_first = false;
        if (!put_number(r, f, v, (uint32_t)(begin - r->start)) ||
            !is_within(r, (uint32_t)(begin - r->start)))
            return false;
    }
    return true;
}

static bool put_list(struct reading *r, const struct qn_proto_field *f, uint32_t first,
                     uint32_t depth)
{
    bool is_first = true;

    qn_buf_byte(r->out, '[');
    for (uint32_t i = first; i != NOTHING; i = piece_at(r, i)->next) {
        const struct piece p = *piece_at(r, i);

        if (is_packed(f, (enum qn_proto_wire)p.wire)) {
            if (!put_packed(r, f, &p, &is_first))
                return false;
            continue;
        }
        if (!is_first)
            qn_buf_byte(r->out, ',');
        is_first = false;
        if (f->kind == QN_PROTO_MESSAGE ? !put_message(r, f->message, i, false, depth + 1)
                                        : !put_scalar(r, f, &p))
            return false;
        if (!is_within(r, p.at))
            return false;
    }
    qn_buf_byte(r->out, ']');
    return true;
}

/* The value of a field that is one. */
static bool put_single(struct reading *r, const struct qn_proto_field *f, struct chain c,
                       uint32_t depth)
{
    if (f->kind == QN_PROTO_MESSAGE)
        return put_message(r, f->message, c.first, true, depth);
    if (c.last == NOTHING) {
        put_default(r, f);
        return true;
    }
    return put_scalar(r, f, piece_at(r, c.last));
}

/* ---- maps ------------------------------------------------------------------------------------*/

/* A key, comparable: its bytes, or its bits. */
struct key {
    struct qn_str text;
    uint64_t bits;
};

static struct key key_of(const struct reading *r, const struct scanned *entry)
{
    const struct qn_proto_field *f = &entry->m->fields[0];
    const uint32_t last = chains(r, entry)[0].last;
    struct key k = {{"", 0}, 0};

    if (last == NOTHING)
        return k;
    if (f->kind == QN_PROTO_STRING)
        k.text =
            (struct qn_str){(const char *)r->start + piece_at(r, last)->at, piece_at(r, last)->len};
    else
        k.bits = f->kind == QN_PROTO_BOOL ? piece_at(r, last)->value != 0
                 : wire_of(f->kind) == QN_PROTO_VARINT && fits_32(piece_at(r, last)->value) &&
                         f->kind != QN_PROTO_INT64 && f->kind != QN_PROTO_UINT64 &&
                         f->kind != QN_PROTO_SINT64
                     ? (uint32_t)piece_at(r, last)->value
                     : piece_at(r, last)->value;
    return k;
}

static bool read_key(struct reading *r, const struct qn_proto_message *m, uint32_t piece,
                     struct key *out)
{
    struct scanned entry;

    if (!scan(r, m, piece, false, &entry))
        return false;
    *out = key_of(r, &entry);
    end_scan(r, &entry);
    return true;
}

/* Of entries with the same key the last counts: the others are marked. */
static bool find_replaced(struct reading *r, const struct qn_proto_message *m, uint32_t first)
{
    const size_t before = r->room->len;
    uint32_t count = 0, cap = 4;
    size_t table;

    for (uint32_t i = first; i != NOTHING; i = piece_at(r, i)->next)
        count++;
    if (count < 2)
        return true;
    while (cap < 2 * count)
        cap *= 2;
    if (!take_room(r, cap * sizeof(uint32_t), &table))
        return false;
    memset(r->room->data + table, 0xFF, cap * sizeof(uint32_t));
    for (uint32_t i = first; i != NOTHING; i = piece_at(r, i)->next) {
        struct key key, other;
        uint32_t slot, *at;

        if (!read_key(r, m, i, &key))
            return false;
        piece_at(r, i)->value = qn_hash(key.text.p, key.text.len, key.bits);
        for (slot = (uint32_t)piece_at(r, i)->value & (cap - 1);; slot = (slot + 1) & (cap - 1)) {
            at = (uint32_t *)(void *)(r->room->data + table) + slot;
            if (*at == NOTHING)
                break;
            if (piece_at(r, *at)->value != piece_at(r, i)->value)
                continue;
            if (!read_key(r, m, *at, &other))
                return false;
            at = (uint32_t *)(void *)(r->room->data + table) + slot;
            if (other.bits == key.bits && qn_str_eq(other.text, key.text)) {
                piece_at(r, *at)->is_replaced = true;
                break;
            }
        }
        *at = i;
    }
    r->room->len = before;
    return true;
}

static bool put_entry(struct reading *r, const struct scanned *entry, uint32_t depth)
{
    const struct qn_proto_field *key = &entry->m->fields[0], *value = &entry->m->fields[1];
    const bool is_text = key->kind == QN_PROTO_STRING;

    if (!is_text)
        qn_buf_byte(r->out, '"');
    if (!put_single(r, key, chains(r, entry)[0], depth))
        return false;
    qn_buf_text(r->out, is_text ? ":" : "\":");
    return put_single(r, value, chains(r, entry)[1], depth);
}

static bool put_map(struct reading *r, const struct qn_proto_field *f, uint32_t first,
                    uint32_t depth)
{
    bool is_first = true;

    if (!find_replaced(r, f->message, first))
        return false;
    qn_buf_byte(r->out, '{');
    for (uint32_t i = first; i != NOTHING; i = piece_at(r, i)->next) {
        struct scanned entry;

        if (piece_at(r, i)->is_replaced)
            continue;
        if (!is_first)
            qn_buf_byte(r->out, ',');
        is_first = false;
        if (!scan(r, f->message, i, false, &entry) || !put_entry(r, &entry, depth + 1))
            return false;
        end_scan(r, &entry);
        if (!is_within(r, piece_at(r, i)->at))
            return false;
    }
    qn_buf_byte(r->out, '}');
    return true;
}

/* ---- messages --------------------------------------------------------------------------------*/

static bool put_field(struct reading *r, const struct scanned *s, uint32_t field, uint32_t depth)
{
    const struct qn_proto_field *f = &s->m->fields[field];
    const struct chain c = chains(r, s)[field];

    if (depth > QN_JSON_EVENT_DEPTH_MAX)
        return fail(r, QN_REASON_TOO_DEEP, r->start, "nested too deeply");
    if (qn_proto_is_map(f))
        return put_map(r, f, c.first, depth);
    return f->is_repeated ? put_list(r, f, c.first, depth) : put_single(r, f, c, depth);
}

static bool put_object(struct reading *r, const struct scanned *s, uint32_t depth)
{
    bool is_first = true;

    qn_buf_byte(r->out, '{');
    for (uint32_t i = 0; i < s->m->count; i++) {
        const struct qn_proto_field *f = &s->m->fields[i];

        if (f->has_presence && chains(r, s)[i].first == NOTHING)
            continue;
        if (!is_first)
            qn_buf_byte(r->out, ',');
        is_first = false;
        qn_buf_add(r->out, f->member.p, f->member.len);
        if (!put_field(r, s, i, depth + 1) || !is_within(r, 0))
            return false;
    }
    qn_buf_byte(r->out, '}');
    return true;
}

/* google.protobuf.Value: the field that is set. */
static bool put_value(struct reading *r, const struct scanned *s, uint32_t depth)
{
    for (uint32_t i = 0; i < s->m->count; i++)
        if (chains(r, s)[i].first != NOTHING)
            return put_field(r, s, i, depth);
    qn_buf_text(r->out, "null");
    return true;
}

static uint64_t number_of(const struct reading *r, const struct scanned *s, uint32_t field)
{
    const uint32_t last = chains(r, s)[field].last;

    return last != NOTHING ? piece_at(r, last)->value : 0;
}

static struct qn_str bytes_of(const struct reading *r, const struct scanned *s, uint32_t field)
{
    const uint32_t last = chains(r, s)[field].last;

    if (last == NOTHING)
        return (struct qn_str){"", 0};
    return (struct qn_str){(const char *)r->start + piece_at(r, last)->at, piece_at(r, last)->len};
}

static bool bad_known(struct reading *r, const struct scanned *s, const char *why)
{
    char text[100];

    snprintf(text, sizeof text, "a %.*s %s", QN_STR_ARG(s->m->name), why);
    return bad(r, 0, text);
}

static bool put_timestamp(struct reading *r, const struct scanned *s)
{
    const int64_t seconds = (int64_t)number_of(r, s, 0), nanos = (int64_t)number_of(r, s, 1);
    int64_t us;

    if (nanos < 0 || nanos > 999999999)
        return bad_known(r, s, "whose nanos cannot be");
    if (__builtin_mul_overflow(seconds, INT64_C(1000000), &us) ||
        __builtin_add_overflow(us, nanos / 1000, &us))
        us = seconds < 0 ? INT64_MIN : INT64_MAX;
    qn_wire_time(r->out, us);
    return true;
}

/* Seconds with as many decimals as there are. */
static bool put_duration(struct reading *r, const struct scanned *s)
{
    const int64_t seconds = (int64_t)number_of(r, s, 0), nanos = (int64_t)number_of(r, s, 1);
    char text[48];
    int n;

    if (seconds < -315576000000 || seconds > 315576000000 || nanos < -999999999 ||
        nanos > 999999999 || (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0))
        return bad_known(r, s, "that cannot be");
    n = snprintf(text, sizeof text, "%s%lld.%09lld", seconds < 0 || nanos < 0 ? "-" : "",
                 (long long)(seconds < 0 ? -seconds : seconds),
                 (long long)(nanos < 0 ? -nanos : nanos));
    while (text[n - 1] == '0')
        n--;
    qn_buf_add(r->out, text, (size_t)(text[n - 1] == '.' ? n - 1 : n));
    return true;
}

static bool put_decimal(struct reading *r, const struct scanned *s)
{
    const struct qn_str v = bytes_of(r, s, 0);
    const uint64_t bits = number_of(r, s, 2);
    const int32_t scale = (int32_t)(uint32_t)bits;
    const size_t before = r->out->len;

    if (v.len > QN_WIRE_DECIMAL_BYTES || !fits_32(bits) || scale < -SCALE_MAX || scale > SCALE_MAX)
        return bad_known(r, s, "of more digits than can be read");
    qn_wire_decimal(r->out, v, scale > 0 ? (uint32_t)scale : 0);
    if (r->out->len - before == 1 && r->out->data[before] == '0')
        return true;
    for (int32_t i = scale; i < 0; i++)
        qn_buf_byte(r->out, '0');
    return true;
}

static uint32_t digits_at(struct qn_str s, uint32_t from)
{
    uint32_t n = 0;

    while (from + n < s.len && s.p[from + n] >= '0' && s.p[from + n] <= '9')
        n++;
    return n;
}

/* "+.5e3" as 0.5e3; a text that is no number stays one. */
static bool put_decimal_text(struct reading *r, const struct scanned *s)
{
    const struct qn_str v = bytes_of(r, s, 0);
    const bool is_signed = v.len > 0 && (v.p[0] == '+' || v.p[0] == '-');
    uint32_t at = is_signed, whole = digits_at(v, at), zeros = 0, part = 0, power = 0;

    while (zeros + 1 < whole && v.p[at + zeros] == '0')
        zeros++;
    if (at + whole < v.len && v.p[at + whole] == '.')
        part = 1 + digits_at(v, at + whole + 1);
    if (at + whole + part < v.len && (v.p[at + whole + part] | 0x20) == 'e') {
        power = at + whole + part + 1;
        power += power < v.len && (v.p[power] == '+' || v.p[power] == '-');
        power = digits_at(v, power) > 0 ? power + digits_at(v, power) - at - whole - part : 0;
    }
    if (v.len > 0 && (at + whole + part + power != v.len || (whole == 0 && part < 2)))
        return put_text(r, (uint32_t)((const unsigned char *)v.p - r->start), v.len);
    if (is_signed && v.p[0] == '-')
        qn_buf_byte(r->out, '-');
    if (whole == 0)
        qn_buf_byte(r->out, '0');
    qn_buf_add(r->out, v.p + at + zeros, whole - zeros);
    if (part > 1)
        qn_buf_add(r->out, v.p + at + whole, part);
    qn_buf_add(r->out, v.p + at + whole + part, power);
    return true;
}

static bool put_scanned(struct reading *r, const struct scanned *s, uint32_t depth)
{
    switch (s->m->known) {
    case QN_PROTO_PLAIN:
        return put_object(r, s, depth);
    case QN_PROTO_CONTENT:
        return put_field(r, s, 0, depth);
    case QN_PROTO_VALUE:
        return put_value(r, s, depth);
    case QN_PROTO_TIMESTAMP:
        return put_timestamp(r, s);
    case QN_PROTO_DURATION:
        return put_duration(r, s);
    case QN_PROTO_DECIMAL:
        return put_decimal(r, s);
    case QN_PROTO_DECIMAL_TEXT:
        return put_decimal_text(r, s);
    }
    return bad(r, 0, "a message that is not known");
}

/* first NOTHING: one that was not written, of which nothing is set. */
static bool put_message(struct reading *r, const struct qn_proto_message *m, uint32_t first,
                        bool is_all, uint32_t depth)
{
    struct scanned s;

    if (!scan(r, m, first, is_all, &s) || !put_scanned(r, &s, depth))
        return false;
    end_scan(r, &s);
    return true;
}

/* ---- the record ------------------------------------------------------------------------------*/

/* A count and so many indexes, zig-zag; a count of 0 is the first message. */
static bool find_message(struct reading *r, const struct qn_proto *schema,
                         struct qn_proto_reader *in, const struct qn_proto_message **out)
{
    const struct qn_proto_message *const *list = schema->messages;
    uint32_t list_count = schema->count;
    const char *why = NULL;
    uint64_t raw;
    int64_t count;

    if (!qn_proto_varint(in, &raw, &why))
        return fail(r, QN_REASON_BAD_RECORD, in->p, why);
    count = qn_proto_zigzag(raw);
    if (count < 0 || count > QN_PROTO_NESTING_MAX)
        return fail(r, QN_REASON_BAD_RECORD, in->p, "a path to a message that cannot be");
    *out = list[0];
    for (int64_t i = 0; i < count; i++) {
        if (!qn_proto_varint(in, &raw, &why))
            return fail(r, QN_REASON_BAD_RECORD, in->p, why);
        if (qn_proto_zigzag(raw) < 0 || qn_proto_zigzag(raw) >= list_count)
            return fail(r, QN_REASON_BAD_RECORD, in->p, "a message that the schema has not");
        *out = list[qn_proto_zigzag(raw)];
        list = (*out)->nested;
        list_count = (*out)->nested_count;
    }
    return true;
}

bool qn_proto_json(const struct qn_proto *schema, struct qn_str bytes, struct qn_buf *room,
                   struct qn_buf *out, struct qn_wire_fault *fault)
{
    const unsigned char *start = (const unsigned char *)bytes.p;
    struct qn_proto_reader in = {start, start + bytes.len};
    struct reading r = {.start = start,
                        .room = room,
                        .out = out,
                        .limit = out->len + QN_EVENT_BYTES_MAX,
                        .fault = fault};
    const struct qn_proto_message *m = NULL;
    size_t whole;

    qn_buf_clear(room);
    if (!find_message(&r, schema, &in, &m) || !take_room(&r, sizeof(struct piece), &whole))
        return false;
    *piece_at(&r, (uint32_t)whole) = (struct piece){
        .at = (uint32_t)(in.p - start), .len = (uint32_t)(in.end - in.p), .next = NOTHING};
    return put_message(&r, m, (uint32_t)whole, false, 0) && is_within(&r, 0);
}
