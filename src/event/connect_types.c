/* SPDX-License-Identifier: Apache-2.0
 * connect_types.c - what the schema around a change says of its columns, and their values as fields
 * want them.
 *
 * Connect's JsonConverter writes {"schema":...,"payload":...}. A schema that we look into:
 *
 *   {"type":"struct","fields":[{"field":"after","type":"struct","fields":[
 *       {"field":"amount","type":"bytes","name":"org.apache.kafka.connect.data.Decimal",
 *        "parameters":{"scale":"2"}},...]},...]}
 *
 * Records of a topic repeat it byte for byte, so the one read last is kept. Invariant: a value is
 * converted only where that loses nothing; else it stays as it stands, and the contract says what
 * is wrong with it. Sources: Kafka Connect's JsonConverter; Debezium, "data type mappings". Thread:
 * one owner. Memory: own arena, of one schema. */
#include "base/check.h"
#include "event/envelope_int.h"
#include "event/wire_json.h"

enum { SCALE_MAX = 400 };

static const struct {
    const char *name;
    enum qn_connect_type type;
} types[] = {
    {"org.apache.kafka.connect.data.Decimal", QN_CONNECT_DECIMAL},
    {"io.debezium.data.VariableScaleDecimal", QN_CONNECT_VARIABLE_DECIMAL},
    {"org.apache.kafka.connect.data.Date", QN_CONNECT_DAYS},
    {"io.debezium.time.Date", QN_CONNECT_DAYS},
    {"org.apache.kafka.connect.data.Timestamp", QN_CONNECT_MILLIS},
    {"io.debezium.time.Timestamp", QN_CONNECT_MILLIS},
    {"io.debezium.time.MicroTimestamp", QN_CONNECT_MICROS},
    {"io.debezium.time.NanoTimestamp", QN_CONNECT_NANOS},
};

/* ---- the schema ------------------------------------------------------------------------------*/

/* A text without escapes; else nothing. */
static struct qn_str plain_text(struct qn_str value)
{
    const struct qn_str none = {NULL, 0};

    if (!qn_is_text(value) || memchr(value.p, '\\', value.len) != NULL)
        return none;
    return (struct qn_str){value.p + 1, value.len - 2};
}

/* The value of a member of an object that was checked; p NULL where there is none. */
static struct qn_str member(struct qn_str object, const char *name)
{
    struct qn_str found = {NULL, 0};
    struct qn_piece piece;
    struct qn_walk w;

    if (!qn_is_object(object))
        return found;
    qn_walk_open(&w, object, 0);
    while (qn_walk_next(&w, &piece))
        if (qn_piece_is(&piece, name))
            found = piece.value;
    return found;
}

static bool integer(struct qn_str text, int64_t *out)
{
    struct qn_decimal_text n;

    return text.len > 0 && qn_number_scan(text.p, text.p + text.len, &n) == text.len &&
           qn_number_scaled(&n, 0, out);
}

/* What one column is; PLAIN where nothing is to be done with it. */
static struct qn_connect_column column_of(struct qn_str schema)
{
    struct qn_connect_column c = {.type = QN_CONNECT_PLAIN};
    const struct qn_str name = plain_text(member(schema, "name"));
    int64_t scale = 0;

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (name.p != NULL && qn_str_is(name, types[i].name))
            c.type = types[i].type;
    c.name = member(schema, "field");
    c.name = qn_is_text(c.name) ? (struct qn_str){c.name.p + 1, c.name.len - 2}
                                : (struct qn_str){NULL, 0};
    if (c.type == QN_CONNECT_DECIMAL &&
        (!integer(plain_text(member(member(schema, "parameters"), "scale")), &scale) ||
         scale < -SCALE_MAX || scale > SCALE_MAX))
        c.type = QN_CONNECT_PLAIN;
    c.scale = (int32_t)scale;
    if (c.name.p == NULL)
        c.type = QN_CONNECT_PLAIN;
    return c;
}

static bool read_columns(struct qn_connect *c, struct qn_str fields, int side)
{
    struct qn_piece piece;
    struct qn_walk w;
    uint32_t count = 0;

    if (fields.len == 0 || fields.p[0] != '[')
        return true;
    qn_walk_open(&w, fields, 0);
    while (qn_walk_next(&w, &piece))
        count++;
    c->columns[side] = QN_NEW_N(&c->arena, struct qn_connect_column, count + 1);
    if (c->columns[side] == NULL)
        return false;
    c->count[side] = 0;
    qn_walk_open(&w, fields, 0);
    while (qn_walk_next(&w, &piece)) {
        const struct qn_connect_column column = column_of(piece.value);

        if (column.type != QN_CONNECT_PLAIN)
            c->columns[side][c->count[side]++] = column;
    }
    return true;
}

bool qn_connect_read(struct qn_connect *c, struct qn_str schema)
{
    struct qn_piece piece;
    struct qn_str fields;
    struct qn_walk w;

    if (schema.len == c->text.len && schema.len > 0 &&
        memcmp(schema.p, c->text.data, schema.len) == 0)
        return true;
    qn_arena_reset(&c->arena);
    qn_buf_clear(&c->text);
    c->count[0] = c->count[1] = 0;
    qn_buf_add(&c->text, schema.p, schema.len);
    /* behind it, for looks beyond the end */
    if (c->text.failed || qn_buf_room(&c->text, QN_DECODE_PAD) == NULL)
        goto no_memory;
    memset(c->text.data + c->text.len, 0, QN_DECODE_PAD);
    schema.p = c->text.data;
    fields = member(schema, "fields");
    if (fields.len == 0 || fields.p[0] != '[')
        return true;
    qn_walk_open(&w, fields, 0);
    while (qn_walk_next(&w, &piece)) {
        const struct qn_str name = plain_text(member(piece.value, "field"));
        const bool is_after = name.p != NULL && qn_str_is(name, "after");

        if ((is_after || (name.p != NULL && qn_str_is(name, "before"))) &&
            !read_columns(c, member(piece.value, "fields"), is_after))
            goto no_memory;
    }
    return true;
no_memory:
    qn_buf_clear(&c->text);
    c->text.failed = true;
    return false;
}

void qn_connect_forget(struct qn_connect *c)
{
    qn_arena_fini(&c->arena);
    qn_buf_fini(&c->text);
    *c = (struct qn_connect){.count = {0}};
}

const struct qn_connect_column *qn_connect_find(const struct qn_connect *c, int side,
                                                struct qn_str name)
{
    for (uint32_t i = 0; i < c->count[side]; i++)
        if (qn_str_eq(c->columns[side][i].name, name))
            return &c->columns[side][i];
    return NULL;
}

/* ---- values ----------------------------------------------------------------------------------*/

static bool put_decimal(struct qn_buf *out, struct qn_str base64, int32_t scale)
{
    const struct qn_str text = plain_text(base64);
    char bytes[QN_WIRE_DECIMAL_BYTES + 3];
    const size_t begin = out->len;
    uint32_t len;

    if (text.p == NULL || text.len == 0 || text.len / 4 * 3 > sizeof bytes ||
        !qn_base64_decode(text, bytes, &len) || len > QN_WIRE_DECIMAL_BYTES)
        return false;
    qn_wire_decimal(out, (struct qn_str){bytes, len}, scale > 0 ? (uint32_t)scale : 0);
    if (out->failed || (out->len == begin + 1 && out->data[begin] == '0'))
        return true;
    for (; scale < 0; scale++)
        qn_buf_byte(out, '0');
    return true;
}

static bool is_number(const struct qn_field *f)
{
    return f->kind.type == QN_DECIMAL || f->kind.type == QN_DOUBLE || f->kind.type == QN_INT64;
}

bool qn_connect_put_variable(struct qn_buf *out, const struct qn_field *f, struct qn_str value)
{
    struct qn_str digits = {NULL, 0}, scale = {NULL, 0};
    struct qn_piece piece;
    uint32_t others = 0;
    struct qn_walk w;
    int64_t n;

    if (!is_number(f) || !qn_is_object(value))
        return false;
    qn_walk_open(&w, value, 0);
    while (qn_walk_next(&w, &piece)) {
        if (qn_piece_is(&piece, "scale"))
            scale = piece.value;
        else if (qn_piece_is(&piece, "value"))
            digits = piece.value;
        else
            others++;
    }
    if (others > 0 || digits.p == NULL || scale.p == NULL || !integer(scale, &n) ||
        n < -SCALE_MAX || n > SCALE_MAX)
        return false;
    return put_decimal(out, digits, (int32_t)n);
}

/* Microseconds since 1970; false where that is no such number, or beyond what is counted so. */
static bool time_of(struct qn_str value, enum qn_connect_type type, int64_t *us)
{
    int64_t v;

    if (!integer(value, &v))
        return false;
    if (type == QN_CONNECT_DAYS)
        return !__builtin_mul_overflow(v, INT64_C(86400000000), us);
    return qn_timestamp_epoch(v,
                              type == QN_CONNECT_MILLIS   ? QN_TIME_MS
                              : type == QN_CONNECT_MICROS ? QN_TIME_US
                                                          : QN_TIME_NS,
                              us);
}

/* Text, or the number of its unit, with what is below as a fraction. */
static void put_time(struct qn_buf *out, int64_t us, enum qn_time_unit unit)
{
    char *at = qn_buf_room(out, QN_NUMBER_MAX);

    if (at == NULL)
        return;
    switch (unit) {
    case QN_TIME_TEXT:
        qn_wire_time(out, us);
        break;
    case QN_TIME_S:
        out->len += qn_print_scaled(at, us, 6);
        break;
    case QN_TIME_MS:
        out->len += qn_print_scaled(at, us, 3);
        break;
    case QN_TIME_US:
        out->len += qn_print_int64(at, us);
        break;
    case QN_TIME_NS:
        qn_wire_int(out, us);
        qn_buf_text(out, us != 0 ? "000" : "");
        break;
    }
}

bool qn_connect_put(struct qn_buf *out, const struct qn_connect_column *column,
                    const struct qn_field *f, struct qn_str value)
{
    int64_t us;

    switch (column->type) {
    case QN_CONNECT_DECIMAL:
        return put_decimal(out, value, column->scale);
    case QN_CONNECT_VARIABLE_DECIMAL:
        return qn_connect_put_variable(out, f, value);
    case QN_CONNECT_DAYS:
    case QN_CONNECT_MILLIS:
    case QN_CONNECT_MICROS:
    case QN_CONNECT_NANOS:
        if (f->kind.type != QN_TIMESTAMP || !time_of(value, column->type, &us))
            return false;
        put_time(out, us, f->unit);
        return true;
    case QN_CONNECT_PLAIN:
        break;
    }
    return false;
}
