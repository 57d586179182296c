/* SPDX-License-Identifier: Apache-2.0
 * envelope_debezium.c - changes of a table as events: which row is meant, and what is none.
 *
 *   op          is                          becomes
 *   c, u, r     create, update, snapshot    the row in `after`
 *   d           delete                      deleted; with `deletes: event` the row in `before`
 *   t, m        truncate, message           no_row, as heartbeats, transactions and schema changes
 *   (no value)  tombstone behind a delete   tombstone
 *
 *   {"before":..,"after":..,"source":..,"op":..,"ts_ms":..}, perhaps as the payload of
 *   {"schema":..,"payload":..}
 *
 * Source: Debezium 3, "PostgreSQL connector", data change events. Thread, memory: see envelope.h.
 */
#include "base/check.h"
#include "event/envelope_int.h"

/* Members of an envelope, and behind them `row`, which it has not. */
enum { BEFORE, AFTER, SOURCE, OP, TS_MS, TS_US, TS_NS, TRANSACTION, ROW, NAMES };
const char *const qn_debezium_names[] = {"before", "after", "source",      "op", "ts_ms",
                                         "ts_us",  "ts_ns", "transaction", "row"};
_Static_assert((int)NAMES == (int)QN_ENVELOPE_NAMES, "nodes of all names");

/* A record, taken apart. */
struct change {
    struct qn_str members[ROW]; /* p NULL: not there */
    struct qn_str schema, payload;
    bool has_other;   /* members that none of its kinds has                     */
    bool has_status;  /* of a transaction                                       */
    bool has_ddl;     /* of a change of the schema                              */
    bool is_flat;     /* flattened by ExtractNewRecordState                     */
    bool has_connect; /* Connect's schema was read                              */
};

/* ---- taking apart ----------------------------------------------------------------------------*/

static void note_member(struct change *c, const struct qn_piece *piece)
{
    for (int i = 0; i < ROW; i++)
        if (qn_piece_is(piece, qn_debezium_names[i])) {
            c->members[i] = piece->value;
            return;
        }
    if (qn_piece_is(piece, "schema"))
        c->schema = piece->value;
    else if (qn_piece_is(piece, "payload"))
        c->payload = piece->value;
    else
        c->has_other = true;
    c->has_status |= qn_piece_is(piece, "status");
    c->has_ddl |= qn_piece_is(piece, "ddl") || qn_piece_is(piece, "tableChanges");
    c->is_flat |= qn_piece_is(piece, "__op") || qn_piece_is(piece, "__deleted");
}

static enum qn_reason walk(struct change *c, struct qn_str object, struct qn_str known,
                           uint32_t depth)
{
    struct qn_piece piece;
    struct qn_walk w;

    qn_walk_open(&w, object, depth);
    w.known = known;
    while (qn_walk_next(&w, &piece))
        note_member(c, &piece);
    if (w.reason != QN_REASON_NONE)
        return w.reason;
    return w.p == w.end ? QN_REASON_NONE : QN_REASON_BAD_JSON;
}

/* raw: one JSON value, checked unless it is an object. */
static enum qn_reason take_apart(struct qn_opener *o, struct qn_str raw, struct change *c)
{
    const struct qn_str known = {o->connect.text.data, (uint32_t)o->connect.text.len};
    struct qn_str schema;
    enum qn_reason reason;

    if (raw.len == 0 || qn_str_is(raw, "null"))
        return QN_REASON_TOMBSTONE;
    if (!qn_is_object(raw))
        return QN_REASON_NOT_AN_OBJECT;
    reason = walk(c, raw, known, 0);
    if (reason != QN_REASON_NONE || c->payload.p == NULL || c->schema.p == NULL ||
        c->members[OP].p != NULL)
        return reason;
    schema = c->schema;
    raw = c->payload;
    if (qn_str_is(raw, "null"))
        return QN_REASON_TOMBSTONE;
    if (!qn_is_object(raw))
        return qn_opener_bad(o, "'payload' is no object");
    *c = (struct change){.has_connect = qn_is_object(schema)};
    if (c->has_connect && !qn_connect_read(&o->connect, schema))
        return QN_REASON_NONE; /* out of memory: said by the caller */
    return walk(c, raw, (struct qn_str){NULL, 0}, 1);
}

/* ---- the event -------------------------------------------------------------------------------*/

/* An unchanged value that the database did not send, as text or as bytes. */
static bool is_unavailable(struct qn_str value)
{
    return qn_str_is(value, "\"__debezium_unavailable_value\"") ||
           qn_str_is(value, "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"");
}

static bool is_ours(const struct qn_opener *o, uint32_t node)
{
    for (int i = 0; i < NAMES; i++)
        if (node == o->nodes[i])
            return true;
    return false;
}

/* Columns of the row that fields below `node` ask for. side: 0 before, 1 after; -1: no schema. */
static void put_columns(struct qn_opener *o, struct qn_str row, uint32_t node, int side)
{
    struct qn_piece piece;
    struct qn_walk w;

    qn_walk_open(&w, row, 0); /* checked before */
    while (qn_walk_next(&w, &piece)) {
        const uint32_t child = qn_opener_child(o, node, &piece);
        const struct qn_connect_column *column;
        const struct qn_field *f;

        if (child == JSON_NO_NODE || (node == 0 && is_ours(o, child)) ||
            is_unavailable(piece.value))
            continue;
        qn_opener_name(o, piece.name);
        f = qn_opener_field(o, child);
        column = side >= 0 ? qn_connect_find(&o->connect, side, piece.name) : NULL;
        if (f == NULL || !(column != NULL ? qn_connect_put(&o->out, column, f, piece.value)
                                          : qn_connect_put_variable(&o->out, f, piece.value)))
            qn_buf_add(&o->out, piece.value.p, piece.value.len);
    }
}

/* A row under its own name. */
static void put_row(struct qn_opener *o, int name, struct qn_str row, int side)
{
    if (o->nodes[name] == JSON_NO_NODE)
        return;
    qn_opener_name(o, qn_str_of(qn_debezium_names[name]));
    if (!qn_is_object(row)) {
        qn_buf_text(&o->out, "null");
        return;
    }
    qn_opener_begin(o);
    put_columns(o, row, o->nodes[name], side);
    qn_opener_end(o);
}

static void put_event(struct qn_opener *o, const struct change *c, int meant)
{
    const int before = c->has_connect ? 0 : -1, after = c->has_connect ? 1 : -1;
    const struct qn_str row = c->members[meant];
    const int side = meant == AFTER ? after : before;

    qn_opener_begin(o);
    put_columns(o, row, 0, side);
    for (int i = SOURCE; i <= TRANSACTION; i++)
        if (o->nodes[i] != JSON_NO_NODE && c->members[i].p != NULL)
            qn_opener_member(o, qn_str_of(qn_debezium_names[i]), c->members[i]);
    put_row(o, BEFORE, c->members[BEFORE], before);
    put_row(o, AFTER, c->members[AFTER], after);
    put_row(o, ROW, row, side);
    qn_opener_end(o);
}

/* ---- what it is ------------------------------------------------------------------------------*/

/* Without an op: one of the other records that Debezium writes, or nothing of it. */
static enum qn_reason look_at_other(struct qn_opener *o, const struct change *c)
{
    const bool has_change = c->members[BEFORE].p != NULL || c->members[AFTER].p != NULL;

    if (!has_change && (c->has_status || c->has_ddl))
        return QN_REASON_NO_ROW;
    if (!has_change && !c->has_other && c->members[TS_MS].p != NULL &&
        c->members[SOURCE].p == NULL) /* a heartbeat */
        return QN_REASON_NO_ROW;
    if (c->is_flat)
        return qn_opener_bad(o, "it was flattened (ExtractNewRecordState): leave 'envelope' out");
    return qn_opener_bad(o, "no 'op', which says what was done to the row");
}

static enum qn_reason open_row(struct qn_opener *o, const struct change *c, int meant)
{
    if (!qn_is_object(c->members[meant]))
        return qn_opener_bad(
            o, "op %.*s, and '%s' %s", QN_STR_ARG(c->members[OP]), qn_debezium_names[meant],
            c->members[meant].p == NULL || qn_str_is(c->members[meant], "null") ? "is not there"
                                                                                : "is no object");
    put_event(o, c, meant);
    return QN_REASON_NONE;
}

enum qn_reason qn_open_debezium(struct qn_opener *o, struct qn_str raw)
{
    struct change c = {.has_other = false};
    enum qn_reason reason = qn_record_trim(&raw);
    struct qn_str op;

    if (reason == QN_REASON_NONE)
        reason = take_apart(o, raw, &c);
    if (reason != QN_REASON_NONE)
        return reason;
    op = c.members[OP];
    if (op.p == NULL || qn_str_is(op, "null"))
        return look_at_other(o, &c);
    if (qn_str_is(op, "\"c\"") || qn_str_is(op, "\"u\"") || qn_str_is(op, "\"r\""))
        return open_row(o, &c, AFTER);
    if (qn_str_is(op, "\"d\""))
        return o->schema->deletes == QN_DELETES_EVENT ? open_row(o, &c, BEFORE) : QN_REASON_DELETED;
    if (qn_str_is(op, "\"t\"") || qn_str_is(op, "\"m\""))
        return QN_REASON_NO_ROW;
    return qn_opener_bad(o, "op %.*s is not known: c, u, d, r, t and m are",
                         QN_STR_ARG(qn_utf8_cut(op, 40)));
}
