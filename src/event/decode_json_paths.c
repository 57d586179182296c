/* SPDX-License-Identifier: Apache-2.0
 * decode_json_paths.c - the paths of a schema's fields, compiled once into a tree of member names.
 *
 * A path such as payload.card.id is a walk down that tree; fields with the same path share a node.
 * The hot loop (decode_json_scan.inc) keeps one guess per node, the member that followed it the
 * last time; the first guesses are the order of the schema. Where a guess is wrong, the name is
 * looked up by hash (json_child). Invariant: children come after their parent; node 0 is the event
 * itself. Thread: any, while the schema is being made. Memory: boot; nothing is given back on
 * failure. */
#include "base/check.h"
#include "event/decode_json_int.h"

#include <string.h>

/* The tree while it grows. */
struct building {
    struct json_node *nodes;
    uint32_t count, words;
    struct qn_arena *boot;
};

/* The bytes of "name" as an event would usually write them, for one comparison. */
static void set_key(struct json_node *n)
{
    char text[JSON_KEY_WORDS * 8] = {0}, mask[JSON_KEY_WORDS * 8] = {0};

    n->key_len = 0;
    if (n->name.len + 2 > sizeof text)
        return;
    for (uint32_t i = 0; i < n->name.len; i++)
        if (n->name.p[i] == '"' || n->name.p[i] == '\\' || (unsigned char)n->name.p[i] < 0x20)
            return;
    n->key_len = n->name.len + 2;
    text[0] = '"';
    if (n->name.len > 0)
        memcpy(text + 1, n->name.p, n->name.len);
    text[n->name.len + 1] = '"';
    memset(mask, 0xFF, n->key_len);
    memcpy(n->key, text, sizeof text);
    memcpy(n->key_mask, mask, sizeof mask);
}

/* The child of that name, made where there is none; JSON_NO_NODE when out of memory. */
static uint32_t grow(struct building *t, uint32_t parent, struct qn_str name)
{
    struct json_node *p = &t->nodes[parent], *n;
    uint32_t at = p->first_child;
    char *copy;

    for (; at != JSON_NO_NODE; at = t->nodes[at].next_sibling)
        if (qn_str_eq(t->nodes[at].name, name))
            return at;
    copy = qn_arena_zalloc(t->boot, name.len + 16, 1);
    if (copy == NULL)
        return JSON_NO_NODE;
    if (name.len > 0)
        memcpy(copy, name.p, name.len);
    at = t->count++;
    n = &t->nodes[at];
    n->name = (struct qn_str){copy, name.len};
    n->field = QN_NO_FIELD;
    n->parent = (uint16_t)parent;
    set_key(n);
    if (p->first_child == JSON_NO_NODE) {
        p->first_child = p->first_child_hint = (uint16_t)at;
    } else {
        t->nodes[p->last_child].next_sibling = (uint16_t)at;
        t->nodes[p->last_child].next_field_hint = (uint16_t)at;
    }
    p->last_child = (uint16_t)at;
    p->has_children = true;
    return at;
}

static enum json_op op_of(const struct qn_field *f)
{
    switch (f->kind.type) {
    case QN_STRING:
        return JSON_OP_STRING;
    case QN_TIMESTAMP:
        return f->unit == QN_TIME_TEXT ? JSON_OP_TIME : JSON_OP_EPOCH;
    case QN_DECIMAL:
    case QN_INT64:
        return JSON_OP_DECIMAL;
    case QN_DOUBLE:
        return JSON_OP_DOUBLE;
    case QN_BOOL:
        return JSON_OP_BOOL;
    default:
        return JSON_OP_GENERAL;
    }
}

/* Tables of children by hash, at most half full. */
static qn_status make_slots(struct building *t, struct json_paths *paths, struct qn_err *err)
{
    uint32_t total = 0;
    uint16_t *slots;

    for (uint32_t i = 0; i < t->count; i++) {
        struct json_node *n = &t->nodes[i];
        uint32_t children = 0, size = 4;

        if (!n->has_children)
            continue;
        for (uint32_t c = n->first_child; c != JSON_NO_NODE; c = t->nodes[c].next_sibling)
            children++;
        while (size < 2 * children)
            size *= 2;
        n->slots = total;
        n->slots_mask = size - 1;
        total += size;
    }
    slots = QN_NEW_N(t->boot, uint16_t, total > 0 ? total : 1);
    if (slots == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for the paths of an event");
    for (uint32_t i = 1; i < t->count; i++) {
        const struct json_node *p = &t->nodes[t->nodes[i].parent];
        uint32_t at = json_name_hash(t->nodes[i].name.p, t->nodes[i].name.len) & p->slots_mask;

        while (slots[p->slots + at] != JSON_NO_NODE)
            at = (at + 1) & p->slots_mask;
        slots[p->slots + at] = (uint16_t)i;
    }
    paths->slots = slots;
    return QN_OK;
}

/* Which fields lie at and below a node, for nodes that have children. Children come after their
 * parent. */
static qn_status make_under(struct building *t, const uint16_t *same_path, struct qn_err *err)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->nodes[i].has_children &&
            (t->nodes[i].under = QN_NEW_N(t->boot, uint64_t, t->words)) == NULL)
            return qn_err_set(err, QN_NOMEM, "no memory for the paths of an event");
    for (uint32_t i = t->count; i-- > 0;) {
        struct json_node *n = &t->nodes[i];

        for (uint32_t f = n->field; f != QN_NO_FIELD; f = same_path[f]) {
            uint32_t at = i;

            for (;;) {
                if (t->nodes[at].under != NULL)
                    t->nodes[at].under[f >> 6] |= UINT64_C(1) << (f & 63);
                if (at == 0)
                    break;
                at = t->nodes[at].parent;
            }
        }
    }
    return QN_OK;
}

static qn_status make_nodes(struct building *t, const struct qn_schema *s, uint16_t *same_path,
                            struct qn_err *err)
{
    for (uint32_t i = 0; i < s->field_count; i++) {
        const struct qn_field *f = &s->fields[i];
        struct json_node *n;
        uint32_t at = 0;

        QN_ASSERT(f->path_count > 0);
        for (uint32_t k = 0; k < f->path_count; k++)
            if ((at = grow(t, at, f->path[k])) == JSON_NO_NODE)
                return qn_err_set(err, QN_NOMEM, "no memory for the paths of an event");
        n = &t->nodes[at];
        same_path[i] = n->field; /* the later field first: the order among equals plays no role */
        n->op = n->field == QN_NO_FIELD ? op_of(f) : JSON_OP_GENERAL;
        n->field = (uint16_t)i;
        n->scale = f->kind.type == QN_DECIMAL ? f->kind.scale : 0;
    }
    for (uint32_t i = 0; i < t->count; i++)
        if (t->nodes[i].has_children)
            t->nodes[i].op = JSON_OP_GENERAL;
    return QN_OK;
}

qn_status qn_decode_json_prepare(struct qn_schema *s, struct qn_arena *boot, struct qn_err *err)
{
    struct building t = {.count = 1, .boot = boot, .words = (s->field_count + 63) / 64};
    struct json_paths *paths;
    uint16_t *same_path;
    uint64_t nodes_max = 1;

    QN_ASSERT(s->field_count <= QN_FIELDS_MAX);
    s->decoder = NULL;
    for (uint32_t i = 0; i < s->field_count; i++) {
        const struct qn_field *f = &s->fields[i];

        nodes_max += f->path_count;
        for (uint32_t k = 0; k < f->path_count; k++)
            if (f->path[k].len > JSON_NAME_MAX || f->path_count > QN_JSON_EVENT_DEPTH_MAX)
                return qn_err_set(
                    err, QN_LIMIT,
                    "the path of field '%.*s' is too long: at most %d parts of %d bytes",
                    QN_STR_ARG(f->name), QN_JSON_EVENT_DEPTH_MAX, JSON_NAME_MAX);
    }
    if (nodes_max > JSON_NODES_MAX)
        return qn_err_set(err, QN_LIMIT,
                          "the paths of stream '%.*s' have too many parts: at most %d",
                          QN_STR_ARG(s->name), JSON_NODES_MAX);
    t.nodes = QN_NEW_N(boot, struct json_node, nodes_max);
    paths = QN_NEW(boot, struct json_paths);
    same_path = QN_NEW_N(boot, uint16_t, s->field_count + 1);
    if (t.nodes == NULL || paths == NULL || same_path == NULL)
        return qn_err_set(err, QN_NOMEM, "no memory for the paths of stream '%.*s'",
                          QN_STR_ARG(s->name));
    t.nodes[0].field = QN_NO_FIELD;
    QN_TRY(make_nodes(&t, s, same_path, err));
    QN_TRY(make_slots(&t, paths, err));
    QN_TRY(make_under(&t, same_path, err));
    paths->nodes = t.nodes;
    paths->node_count = t.count;
    paths->words = t.words;
    paths->same_path = same_path;
    s->decoder = paths;
    return QN_OK;
}
