/* SPDX-License-Identifier: Apache-2.0
 * encode.c - values as JSON and CSV, and dead letters.
 *
 * The last step of a row: every prediction line is made of these calls. Room is asked for once per
 * value; digits come from base/number_print.c, so that what is written reads back to the same bits.
 * Thread: any, one buffer each. Memory: the buffer. */
#include "event/encode.h"

#include "base/check.h"
#include "base/number.h"
#include "event/envelope.h"

#include <math.h>

/* Beyond this, readers that hold numbers as doubles would change an integer. */
#define EXACT_MAX (INT64_C(1) << 53)

static void put_double(struct qn_buf *out, double v)
{
    char *at = qn_buf_room(out, QN_NUMBER_MAX);

    if (at != NULL)
        out->len += qn_print_double(at, v);
}

static void put_json_double(struct qn_buf *out, double v)
{
    if (isfinite(v))
        put_double(out, v);
    else
        qn_buf_add(out, "null", 4);
}

static void put_int64(struct qn_buf *out, int64_t v)
{
    char *at = qn_buf_room(out, QN_NUMBER_MAX);

    if (at != NULL)
        out->len += qn_print_int64(at, v);
}

static void put_scaled(struct qn_buf *out, int64_t v, unsigned scale)
{
    char *at = qn_buf_room(out, QN_NUMBER_MAX);

    if (at != NULL)
        out->len += qn_print_scaled(at, v, scale);
}

static void put_bool(struct qn_buf *out, int64_t v)
{
    qn_buf_add(out, v != 0 ? "true" : "false", v != 0 ? 4 : 5);
}

static void put_list(struct qn_buf *out, const struct qn_list *l)
{
    qn_buf_byte(out, '[');
    for (uint32_t i = 0; i < l->n; i++) {
        if (i > 0)
            qn_buf_byte(out, ',');
        put_json_double(out, l->v[i]);
    }
    qn_buf_byte(out, ']');
}

static inline uint64_t bytes8(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* True if a byte of x is a quote, a backslash, below 0x20 or above 0x7E: then the text is not
 * copied as it is. */
static inline bool needs_care(uint64_t x)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones * 0x80;
    uint64_t q = x ^ (ones * '"'), bs = x ^ (ones * '\\');

    return ((((q - ones) & ~q) | ((bs - ones) & ~bs) | (x - ones * 0x20) | (x + ones) | x) &
            high) != 0;
}

/* Most texts are short and plain: they are looked at and copied eight bytes at a time. */
static void put_json_text(struct qn_buf *out, struct qn_str s)
{
    char *at = qn_buf_room(out, (size_t)s.len + 2);
    uint32_t i = 0;

    if (at == NULL)
        return;
    at[0] = '"';
    for (; i + 8 <= s.len; i += 8) {
        uint64_t x = bytes8(s.p + i);

        if (needs_care(x))
            break;
        memcpy(at + 1 + i, &x, sizeof x);
    }
    if (i + 8 > s.len) {
        for (; i < s.len; i++) {
            unsigned char c = (unsigned char)s.p[i];

            if (c < 0x20 || c > 0x7E || c == '"' || c == '\\')
                break;
            at[1 + i] = (char)c;
        }
    }
    if (i < s.len) {
        qn_json_string(out, s);
        return;
    }
    at[1 + i] = '"';
    out->len += (size_t)s.len + 2;
}

void qn_encode_json_value(struct qn_buf *out, const struct qn_col *c, uint32_t row)
{
    int64_t v;
    char *at;

    if (!c->valid[row]) {
        qn_buf_add(out, "null", 4);
        return;
    }
    switch (c->kind.type) {
    case QN_BOOL:
        put_bool(out, c->i64[row]);
        break;
    case QN_INT64:
        v = c->i64[row];
        if (v > EXACT_MAX || v < -EXACT_MAX) {
            qn_buf_byte(out, '"');
            put_int64(out, v);
            qn_buf_byte(out, '"');
        } else {
            put_int64(out, v);
        }
        break;
    case QN_DOUBLE:
        put_json_double(out, c->f64[row]);
        break;
    case QN_DECIMAL:
        put_scaled(out, c->i64[row], c->kind.scale);
        break;
    case QN_STRING:
        put_json_text(out, c->str[row]);
        break;
    case QN_TIMESTAMP:
        if ((at = qn_buf_room(out, QN_TIMESTAMP_LEN + 2)) != NULL) {
            at[0] = '"';
            qn_timestamp_print(at + 1, c->i64[row]);
            at[QN_TIMESTAMP_LEN + 1] = '"';
            out->len += QN_TIMESTAMP_LEN + 2;
        }
        break;
    case QN_LIST:
        put_list(out, &c->list[row]);
        break;
    default:
        QN_ASSERT(!"type of a column");
    }
}

void qn_encode_csv_text(struct qn_buf *out, struct qn_str text)
{
    const char *p = text.p, *end = text.p + text.len, *at = p;

    while (at < end && *at != ',' && *at != '"' && *at != '\n' && *at != '\r')
        at++;
    if (at == end && text.len > 0) {
        qn_buf_add(out, text.p, text.len);
        return;
    }
    qn_buf_byte(out, '"');
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p));

        if (quote == NULL) {
            qn_buf_add(out, p, (size_t)(end - p));
            break;
        }
        qn_buf_add(out, p, (size_t)(quote - p) + 1);
        qn_buf_byte(out, '"');
        p = quote + 1;
    }
    qn_buf_byte(out, '"');
}

/* A list as one cell: its JSON text, quoted as soon as it has a comma (it never has a quote). */
static void put_list_cell(struct qn_buf *out, const struct qn_list *l)
{
    if (l->n > 1)
        qn_buf_byte(out, '"');
    put_list(out, l);
    if (l->n > 1)
        qn_buf_byte(out, '"');
}

void qn_encode_csv_cell(struct qn_buf *out, const struct qn_col *c, uint32_t row)
{
    double v;
    char *at;

    if (!c->valid[row])
        return;
    switch (c->kind.type) {
    case QN_BOOL:
        put_bool(out, c->i64[row]);
        break;
    case QN_INT64:
        put_int64(out, c->i64[row]);
        break;
    case QN_DOUBLE:
        v = c->f64[row];
        if (isfinite(v))
            put_double(out, v);
        else if (isinf(v))
            qn_buf_text(out, v > 0 ? "inf" : "-inf");
        break;
    case QN_DECIMAL:
        put_scaled(out, c->i64[row], c->kind.scale);
        break;
    case QN_STRING:
        qn_encode_csv_text(out, c->str[row]);
        break;
    case QN_TIMESTAMP:
        if ((at = qn_buf_room(out, QN_TIMESTAMP_LEN)) != NULL)
            out->len += qn_timestamp_print(at, c->i64[row]);
        break;
    case QN_LIST:
        put_list_cell(out, &c->list[row]);
        break;
    default:
        QN_ASSERT(!"type of a column");
    }
}

static void put_member(struct qn_buf *out, const char *key, struct qn_str value)
{
    qn_buf_text(out, key);
    put_json_text(out, value);
}

/* stream:partition:offset, as everywhere. */
static void put_position(struct qn_buf *out, const struct qn_batch *b, uint32_t row,
                         struct qn_str stream)
{
    char number[QN_NUMBER_MAX];

    qn_buf_text(out, ",\"position\":");
    put_json_text(out, stream);
    if (out->len > 0)
        out->len--; /* the position goes on inside the quotes */
    qn_buf_byte(out, ':');
    qn_buf_add(out, number, qn_print_uint64(number, b->partition[row]));
    qn_buf_byte(out, ':');
    qn_buf_add(out, number, qn_print_int64(number, b->offset[row]));
    qn_buf_byte(out, '"');
}

static void put_version(struct qn_buf *out, uint64_t version)
{
    char hex[16];

    for (int i = 0; i < 16; i++)
        hex[i] = "0123456789abcdef"[version >> (60 - 4 * i) & 15];
    put_member(out, ",\"contract\":", (struct qn_str){hex, sizeof hex});
}

/* Text within a JSON string that is already open: escaped, without quotes of its own. */
static void put_inside_json(struct qn_buf *out, struct qn_str text)
{
    size_t start = out->len;

    put_json_text(out, text);
    if (out->failed)
        return;
    out->len -= 2;
    memmove(out->data + start, out->data + start + 1, out->len - start);
}

/* A limit of the spec as text for people: 0, 12.50, 2018-04-01T00:00:00.000000Z, "visa". */
static void put_limit(struct qn_buf *out, struct qn_kind kind, const struct qn_value *v)
{
    char *at = qn_buf_room(out, QN_NUMBER_MAX + QN_TIMESTAMP_LEN);

    if (at == NULL)
        return;
    if (kind.type == QN_STRING)
        put_inside_json(out, v->str);
    else if (kind.type == QN_DOUBLE)
        out->len += qn_print_double(at, v->f64);
    else if (kind.type == QN_TIMESTAMP)
        out->len += qn_timestamp_print(at, v->i64);
    else
        out->len += qn_print_scaled(at, v->i64, kind.type == QN_DECIMAL ? kind.scale : 0);
}

static void put_range(struct qn_buf *out, const struct qn_field *f)
{
    if (f->has_min)
        put_limit(out, f->kind, &f->min);
    if (f->has_min && f->has_max)
        qn_buf_text(out, " to ");
    else
        qn_buf_text(out, f->has_min ? " or more" : "at most ");
    if (f->has_max)
        put_limit(out, f->kind, &f->max);
}

static void put_choices(struct qn_buf *out, const struct qn_field *f)
{
    enum { SHOWN = 5 };

    for (uint32_t i = 0; i < f->in_count && i < SHOWN; i++) {
        qn_buf_text(out, i > 0 ? ", " : "one of ");
        put_limit(out, f->kind, &f->in[i]);
    }
    if (f->in_count > SHOWN)
        qn_buf_text(out, ", ...");
}

static void put_type(struct qn_buf *out, const struct qn_field *f)
{
    static const char *const units[] = {"", " in seconds", " in milliseconds", " in microseconds",
                                        " in nanoseconds"};
    char kind[24];

    qn_buf_text(out, qn_kind_print(f->kind, kind));
    if (f->kind.type == QN_TIMESTAMP)
        qn_buf_text(out, units[f->unit]);
}

void qn_encode_expected(struct qn_buf *out, enum qn_reason reason, const struct qn_field *f)
{
    switch (reason) {
    case QN_REASON_MISSING_FIELD:
    case QN_REASON_WRONG_TYPE:
    case QN_REASON_BAD_TIME:
    case QN_REASON_NOT_EXACT:
        put_type(out, f);
        break;
    case QN_REASON_OUT_OF_RANGE:
        put_range(out, f);
        break;
    case QN_REASON_NOT_ALLOWED:
        put_choices(out, f);
        break;
    case QN_REASON_TOO_LONG:
        qn_buf_printf(out, "at most %u %s", f->length_max,
                      f->kind.type == QN_LIST ? "values" : "characters");
        break;
    case QN_REASON_WRONG_LENGTH:
        qn_buf_printf(out, "%u values", f->length_exact);
        break;
    default:
        break;
    }
}

static void put_expected(struct qn_buf *out, enum qn_reason reason, const struct qn_field *f)
{
    static const char member[] = ",\"expected\":\"";
    const size_t before = out->len, begin = before + sizeof(member) - 1;

    qn_buf_add(out, member, sizeof(member) - 1);
    qn_encode_expected(out, reason, f);
    if (out->len == begin)
        out->len = before;
    else
        qn_buf_byte(out, '"');
}

static void put_detail(struct qn_buf *out, const struct qn_batch *b, uint32_t row,
                       const struct qn_schema *s)
{
    struct qn_buf why = {0};

    if (b->reason[row] != QN_REASON_BAD_ENVELOPE || s->envelope == QN_ENVELOPE_NONE)
        return;
    qn_envelope_explain(b, row, s, &why);
    put_member(out, ",\"detail\":", (struct qn_str){why.data, (uint32_t)why.len});
    out->failed |= why.failed;
    qn_buf_fini(&why);
}

void qn_encode_dead_letter(struct qn_buf *out, const struct qn_batch *b, uint32_t row,
                           const struct qn_schema *s, struct qn_str pipeline)
{
    enum qn_reason reason = (enum qn_reason)b->reason[row];
    uint16_t field = b->reason_field[row];
    struct qn_str raw = b->raw[row];

    QN_ASSERT(row < b->rows_max);
    put_member(out, "{\"reason\":", qn_str_of(qn_reason_name(reason)));
    put_member(out, ",\"text\":", qn_str_of(qn_reason_text(reason)));
    put_member(out, ",\"stage\":", qn_str_of(qn_reason_stage(reason)));
    if (field != QN_NO_FIELD) {
        QN_ASSERT(field < s->field_count);
        put_member(out, ",\"field\":", s->fields[field].from);
        put_expected(out, reason, &s->fields[field]);
    }
    put_detail(out, b, row, s);
    put_member(out, ",\"stream\":", s->name);
    put_position(out, b, row, s->name);
    put_member(out, ",\"pipeline\":", pipeline);
    put_version(out, s->version);
    if (qn_utf8_valid(raw.p, raw.len)) {
        put_member(out, ",\"event\":", raw);
    } else {
        qn_buf_text(out, ",\"event_base64\":\"");
        qn_base64(out, raw);
        qn_buf_byte(out, '"');
    }
    qn_buf_text(out, "}\n");
}
