/* SPDX-License-Identifier: Apache-2.0
 * yaml_node.h - YAML text as a tree of nodes, each with its place: the first stop of a spec on its
 * way to a plan.
 *
 * libyaml reads the syntax; what a scalar means is decided here, by YAML 1.2 core rules: only true
 * and false, null, ~ and nothing, and numbers are special; `no`, `on`, `012` and `1:30` are text.
 * Refused, with a place: duplicate keys, tabs outside quotes and comments, tags, merge keys,
 * unknown and unused anchors, aliases that unfold beyond the limits, more than one document.
 * Memory: the given arena; texts are copied there. Thread: one. No recursion on input depth. */
#ifndef QN_SPEC_YAML_NODE_H
#define QN_SPEC_YAML_NODE_H

#include "base/diag.h"
#include "base/status.h"

enum {
    QN_YAML_BYTES_MAX = 4 << 20,
    QN_YAML_NODES_MAX = 100000, /* aliases count as what they unfold to */
    QN_YAML_DEPTH_MAX = 64,
    QN_YAML_ANCHORS_MAX = 100
};

enum qn_yaml_kind {
    QN_YAML_NULL,
    QN_YAML_BOOL,   /* true, True, TRUE, false, ...              */
    QN_YAML_NUMBER, /* 12, -1.5e3, 0x1F, 0o17, .inf, .nan         */
    QN_YAML_TEXT,   /* quoted, a block text, or any other scalar  */
    QN_YAML_LIST,
    QN_YAML_MAP
};

enum qn_yaml_style {
    QN_YAML_PLAIN,
    QN_YAML_SINGLE,  /* '...' */
    QN_YAML_DOUBLE,  /* "..." */
    QN_YAML_LITERAL, /* |     */
    QN_YAML_FOLDED   /* >     */
};

struct qn_yaml_node;

/* One entry of a map or a list. */
struct qn_yaml_item {
    struct qn_yaml_node *key; /* always a scalar; NULL in a list */
    struct qn_yaml_node *value;
};

/* A piece of a scalar's text that came from a ${...} (variables.h). */
struct qn_yaml_part {
    uint32_t at, len;                 /* bytes in `text`    */
    uint32_t written_at, written_len; /* bytes in `written` */
};

struct qn_yaml_node {
    enum qn_yaml_kind kind;
    enum qn_yaml_style style; /* scalars                                                     */
    bool is_filled;           /* variables.c has been here (aliases share nodes)             */
    bool is_broken;   /* something about it was reported (a ${...} without a value): stay silent */
    bool is_secret;   /* part of the text must not be shown: print `written` instead */
    struct qn_pos at; /* where the value starts                                      */
    uint32_t begin, end;   /* its bytes in the source, quotes included                    */
    struct qn_str text;    /* scalars: the value, after filling                           */
    struct qn_str written; /* scalars: the value before filling                           */
    const struct qn_yaml_part *parts; /* in order; NULL = nothing was filled in               */
    uint32_t part_count;
    struct qn_yaml_item *items; /* maps and lists, in the order of the text                   */
    uint32_t count;
    uint32_t size;   /* nodes of this tree, aliases unfolded */
    uint32_t height; /* levels below this one                */
};

/* Reads one document. Mistakes go to diags and, where they leave no usable tree, *root is NULL
 * (QN_OK all the same). `source` is what diags->source holds: UTF-8 without a byte order mark.
 * QN_NOMEM otherwise. */
qn_status qn_yaml_parse(struct qn_str source, struct qn_arena *arena, struct qn_diags *diags,
                        struct qn_yaml_node **root, struct qn_err *err);

/* What a plain scalar is. */
enum qn_yaml_kind qn_yaml_resolve(struct qn_str plain);
static inline bool qn_yaml_is_scalar(const struct qn_yaml_node *n)
{
    return n->kind <= QN_YAML_TEXT;
}
/* The value of a QN_YAML_NUMBER; false where it does not fit. double also takes .inf and .nan;
 * scaled is exact. */
bool qn_yaml_double(const struct qn_yaml_node *n, double *out);
bool qn_yaml_scaled(const struct qn_yaml_node *n, unsigned scale, int64_t *out);
/* The entry of that key, or NULL. */
const struct qn_yaml_item *qn_yaml_get(const struct qn_yaml_node *map, const char *key);

/* Where `len` bytes at `offset` of a scalar's text stand in the source: exact through quotes,
 * escapes, folded lines and filled-in values (then the whole ${...}). yaml_place.c. */
struct qn_pos qn_yaml_place(const struct qn_yaml_node *n, struct qn_str source, uint32_t offset,
                            uint32_t len);
/* Line and column of a byte of the source; len bytes to mark, cut at the end of the line. */
struct qn_pos qn_yaml_pos(struct qn_str source, uint32_t begin, uint32_t end);

#endif
