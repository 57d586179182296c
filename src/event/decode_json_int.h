/* SPDX-License-Identifier: Apache-2.0
 * decode_json_int.h - the inside of the JSON decoder: compiled paths, the state of one call, and
 * the table of vector forms.
 *
 * decode_json_paths.c compiles the paths; decode_json.c holds what runs seldom;
 * decode_json_scan.inc holds the hot loop and is compiled once per vector form, each with its own
 * way to look for the end of a string. Thread: the compiled paths are read-only and shared, the
 * state belongs to one call. Memory: boot for the paths; stack and worker's arena for the state. */
#ifndef QN_EVENT_DECODE_JSON_INT_H
#define QN_EVENT_DECODE_JSON_INT_H

#include "event/decode_int.h"

/* What the hot loop does with the value of a member. */
enum json_op {
    JSON_OP_GENERAL, /* children, several fields, or a type without a fast path */
    JSON_OP_STRING,
    JSON_OP_TIME,
    JSON_OP_EPOCH,
    JSON_OP_DECIMAL, /* and int64, with scale 0 */
    JSON_OP_DOUBLE,
    JSON_OP_BOOL
};

enum { JSON_NO_NODE = 0, JSON_KEY_WORDS = 4, JSON_NAME_MAX = 1000, JSON_NODES_MAX = 65535 };

/* One segment of a path; node 0 is the event's object itself. */
struct json_node {
    uint64_t key[JSON_KEY_WORDS]; /* "name" with its quotes, as it usually stands in the text     */
    uint64_t key_mask[JSON_KEY_WORDS]; /* which of these bytes count */
    uint32_t key_len;           /* with quotes; 0 = longer, or never written so: look it up     */
    uint16_t op;                /* enum json_op                                                 */
    uint16_t field;             /* the first field with this path, or QN_NO_FIELD               */
    uint32_t slots, slots_mask; /* children by hash of their name, in json_paths.slots          */
    bool has_children;
    uint8_t scale;
    uint16_t next_field_hint, first_child_hint; /* as the schema has them */
    uint16_t parent, next_sibling, first_child, last_child;
    struct qn_str name; /* readable 8 bytes beyond its end                              */
    uint64_t *under;    /* [words] fields at and below this node; NULL without children */
};

struct json_paths {
    const struct json_node *nodes;
    uint32_t node_count, words;
    const uint16_t *slots;
    const uint16_t *same_path; /* [field_count] the next field with the same path, or QN_NO_FIELD */
};

struct json_state {
    struct qn_decode_row row; /* first, so that hot members are near */
    const struct json_paths *paths;
    const struct json_form *form;
    uint16_t *first; /* [node_count] the member that came first in this node last time    */
    uint16_t *next;  /* [node_count] the member that came next after this node last time  */
    const struct qn_str
        *texts;    /* [first row ...] what is decoded: the raw bytes, or opened events */
    uint32_t *met; /* [node_count] row + 1 where the node had a value in this row already         */
    enum qn_reason reason; /* of the whole event, where the text itself is bad */
    uint16_t reason_field;
};

/* A vector form: same answers, other instructions. */
struct json_form {
    const char *name;
    bool (*is_usable)(void);
    void (*rows)(struct json_state *d, struct qn_batch *b, uint32_t stream, uint32_t first,
                 uint32_t end);
    /* Behind the value at p (validated; depth containers are open around it), or NULL and
     * d->reason. */
    const char *(*skip)(struct json_state *d, const char *p, const char *end, uint32_t depth);
    /* First quote, backslash or control byte at or behind p, or a place at or behind end. */
    const char *(*quote)(const char *p, const char *end);
};

/* For the room's other readers of JSON. Behind the value at p, validated; NULL and the reason where
 * it is none. depth containers are open around it; QN_DECODE_PAD bytes beyond end must be readable.
 */
const char *qn_json_skip_value(const char *p, const char *end, uint32_t depth,
                               enum qn_reason *reason);
/* What the validated text between two quotes means, never longer than it; its length, or -1 where
 * half of a surrogate pair stands alone. */
int64_t qn_json_unescape(char *out, struct qn_str raw);
/* The child of a node by its name as written between quotes, or JSON_NO_NODE. */
uint32_t qn_json_find_child(const struct json_paths *paths, uint32_t node, struct qn_str raw);

/* Rows of one stream that one worker decodes. */
struct qn_row_span {
    uint32_t stream, first, end, worker;
};
/* [end - first] the events of rows whose records have an envelope, in the worker's arena; rows that
 * hold none die here. NULL: out of memory. */
const struct qn_str *qn_envelope_rows(struct qn_decode_row *d, struct qn_batch *b,
                                      const struct qn_schema *s, const struct qn_row_span *span);

/* A string found, its bytes between the quotes. */
struct json_text {
    struct qn_str raw;
    bool has_escape;
};

/* 8 bytes at p must be readable. */
static inline uint32_t json_name_hash(const char *p, uint32_t len)
{
    uint64_t a, b = 0;

    a = qn_load64(p);
    if (len >= 8)
        b = qn_load64(p + len - 8);
    else
        a &= (UINT64_C(1) << (8 * len)) - 1;
    a = (a ^ (b << 31 | b >> 33) ^ len) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(a >> 32);
}

/* The child of that name, or JSON_NO_NODE; as above, 8 bytes at name. */
static inline uint32_t json_child(const struct json_paths *paths, const struct json_node *n,
                                  const char *name, uint32_t len)
{
    uint32_t at;

    if (!n->has_children)
        return JSON_NO_NODE;
    for (at = json_name_hash(name, len) & n->slots_mask;; at = (at + 1) & n->slots_mask) {
        uint32_t child = paths->slots[n->slots + at];
        const struct qn_str *known = &paths->nodes[child].name;

        if (child == JSON_NO_NODE)
            return JSON_NO_NODE;
        if (known->len == len && memcmp(known->p, name, len) == 0)
            return child;
    }
}

#endif
