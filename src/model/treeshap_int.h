/* SPDX-License-Identifier: Apache-2.0
 * treeshap_int.h - the inside of treeshap.h: a tree as a list of steps, each with its tables.
 *
 * The constants of a tree do not depend on the row, only which of them counts does. So a tree is a
 * list of steps with tables, made by treeshap_steps.c, and a block of rows runs through the list
 * (treeshap.c, treeshap_tree.inc). Steps are made at boot and kept, or made one by one while rows
 * run: the same function, so the same bits. Thread: any. Memory: the caller's. */
#ifndef QN_MODEL_TREESHAP_INT_H
#define QN_MODEL_TREESHAP_INT_H

#include "model/model_int.h"
#include "model/treeshap.h"

enum {
    QN_SHAP_STATES = 4,      /* of a node: 0 left, 1 right, 2 the row left its way before; padded */
    QN_SHAP_PATTERNS = 16,   /* of the nodes of a group, at most                            */
    QN_SHAP_NODES = 3,       /* of a group, at most                                         */
    QN_SHAP_OUTER = 8,       /* other inputs on the way to a part                           */
    QN_SHAP_PART_POINTS = 4, /* of a tree that runs in parts                                */
    QN_SHAP_PATH = 32        /* and its depth                                               */
};

/* Parts of a rule: point t, 1 - t, weight, -1 / (1 - t), the gain where o = 0; rule[part *
 * qn_shap_padded(points) + i]. */
enum qn_shap_rule { QN_SHAP_POINT, QN_SHAP_REST, QN_SHAP_WEIGHT, QN_SHAP_GAIN_LEFT, QN_SHAP_RULE };

/* Points are worked on in fours; what fills up has the weight 0. */
static inline uint32_t qn_shap_padded(uint32_t points)
{
    return (points + 3) / 4 * 4;
}

/* What an edge does at each point, where the row's old o is 1 and the new one 1 (on) or 0 (off). A
 * factor is o t + z (1 - t); a gain (o - z) / factor. Where the input was met before, its old
 * factor is divided out and its old gain taken back. With o = 0 before only the share comes in, and
 * the gain stays. */
enum qn_shap_edge {
    QN_SHAP_ON,
    QN_SHAP_OFF,
    QN_SHAP_GAIN_ON,
    QN_SHAP_GAIN_OFF,
    QN_SHAP_OVER,
    QN_SHAP_GAIN,
    QN_SHAP_EDGE
};

enum qn_shap_kind {
    QN_SHAP_ENTER, /* decides a node; but for the root, its products: [points][STATES] factors of
                      the edge above                                                         */
    QN_SHAP_LEAF,  /* a leaf below the node: [points][STATES] its sum, then its part         */
    QN_SHAP_GROUP, /* a subtree of two levels at most: [points][STATES] factors of the edge above
                      it, then its gains, then [1 + tests][points][entries] the sum of its leaves
                      and the part of each of its nodes                                          */
    QN_SHAP_UP,    /* a child is done: [points][STATES] gains of the edge to it              */
    QN_SHAP_PART   /* a leaf or a group with the whole way to it: struct qn_shap_part         */
};

/* A part of a tree that runs in parts: a leaf, or a group with own inputs. Bit j of a row's mask is
 * the o of the outer input j, which is not one of the group's; a row's pattern is its states at the
 * group's nodes. Tables: [points][low] weight and factors of the outer inputs by the mask, of a
 * leaf its value too; where outer > 4, of the inputs from the fifth on, [points][16] by mask / 16;
 * [gains][points] the gain where the input's o is 1, padded to 8; of a group [1 + own][points]
 * [entries] its sum, then the part of each of its inputs, by the pattern.
 *
 * What an outer input gets is gain * sum at each point, and all parts below an edge have the same
 * gain for it where none of them tests it again. So it gets its own once, from the sum of those
 * parts, when the last of them has run: due[0] inputs from the part's sum, due[1] from that and
 * what the left child at `level` has left there, and so on, a level higher with each join. What
 * then is the sum of a left child is left there for the right one. */
struct qn_shap_part {
    uint8_t outer, own;   /* inputs */
    uint8_t low, entries; /* 8 or 16 */
    uint8_t keep;         /* bits of the mask that are as in the part before */
    uint8_t level;        /* of the node above                               */
    uint8_t joins;
    bool leaves_sum;                              /* at level - joins                           */
    uint16_t outer_turns, turns;                  /* of the other bits; and of the pattern      */
    uint8_t gains;                                /* outer inputs that get their part here      */
    uint8_t bit[QN_SHAP_OUTER];                   /* of those                                   */
    uint8_t due[QN_SHAP_PATH];                    /* how many of them after the n-th join       */
    uint32_t slot[QN_SHAP_OUTER + QN_SHAP_NODES]; /* of those, then own                         */
};

/* How mask and pattern come about, turn by turn; `on` begins with -1, both others with 0. Where the
 * row goes right at the node, r is -1, else 0:
 *
 *   pattern += (on & r & pattern_value) + (~on & 2 * pattern_value)
 *   on &= r ^ left
 *   mask |= on & mask_value
 *   on |= last
 *
 * So the turns at one input are and-ed, and the last of them says what comes of it. */
struct qn_shap_turn {
    uint16_t code; /* of the node, as in qn_plan_node */
    int8_t limit;
    int8_t left; /* -1: the path goes left, else 0 */
    int8_t last; /* -1: the next turn begins anew  */
    uint8_t mask_value, pattern_value;
};

/* How a node is decided. */
struct qn_shap_test {
    uint32_t node;   /* in qn_forest.nodes                                                     */
    uint32_t slot;   /* of its input                                                           */
    uint16_t before; /* level of the last node above of the same input, + 1; 0 = there is none */
    uint8_t side;    /* and its child on this path                                             */
    uint8_t stride;  /* of GROUP: what the pattern grows by from state to state                */
};

struct qn_shap_step {
    uint8_t kind;
    uint8_t side;    /* LEAF, GROUP, UP: of the node on `level`, the child that is looked at */
    uint8_t tests;   /* of GROUP; ENTER: 1                                                   */
    uint8_t entries; /* of GROUP's tables: 8 or 16                                           */
    uint16_t level;  /* of the node that is entered, or whose child is looked at             */
    uint32_t slot;   /* of that node's input                                                 */
    uint32_t table;  /* doubles from the tree's first table; a multiple of 8                 */
    uint32_t row;    /* PART: the same of tables for a single row                            */
    union {
        struct qn_shap_test test[QN_SHAP_NODES];
        struct {
            struct qn_shap_part part;
            const struct qn_shap_turn *turn; /* [part.turns] */
        };
    };
};

/* Turns of a part, at most: each own node may come behind the whole path. */
enum { QN_SHAP_TURNS = (QN_SHAP_PATH + 1) * (QN_SHAP_NODES + 1) };

/* ---- making steps ---- */

struct qn_shap_level {
    uint32_t node, slot;
    uint32_t before; /* as in qn_shap_test                                                  */
    uint8_t before_side;
    uint8_t side;   /* the child whose turn it is; 2 = both are done                     */
    uint32_t again; /* in parts: bit l: a node below that child tests the input of level l, whose
                       last node above it is there                                       */
    double z[2];    /* of an edge: shares of the input, multiplied up to there              */
};

/* An outer input of the part before. */
struct qn_shap_met {
    uint32_t slot, level; /* of its last node */
};

struct qn_shap_walk {
    const struct qn_model *m;
    const double *rule;
    uint32_t points, padded; /* of the tree's rule */
    uint32_t level;
    bool is_started;
    bool is_parts;   /* the tree runs in parts */
    uint32_t common; /* levels on which the path is that of the part before */
    uint32_t met_count;
    struct qn_shap_met met[QN_SHAP_OUTER];
    struct qn_shap_turn turn[QN_SHAP_TURNS]; /* of the last part */
    struct qn_shap_level *levels; /* [depth_max + 1]                                             */
    uint32_t *last;               /* [slots] level of the last node of that input, + 1; 0 = none */
    double *edges;                /* [level][side][QN_SHAP_EDGE][padded]                         */
    double *group;                /* [QN_SHAP_NODES][side][QN_SHAP_EDGE][padded]                 */
};

/* Memory of a walk, a multiple of 64 bytes; takes it into use. */
size_t qn_shap_walk_bytes(const struct qn_model *m);
void qn_shap_walk_init(struct qn_shap_walk *w, const struct qn_model *m, void *memory);
/* Whether a tree runs in parts: few different inputs on a path. Else level by level. */
bool qn_shap_in_parts(const struct qn_model *m, size_t tree);
/* Begins a tree; `last` must be all 0, and is again after the tree's last step. */
void qn_shap_begin(struct qn_shap_walk *w, size_t tree);
/* Parts of a tree that has some, as qn_shap_next (treeshap_parts.c). */
bool qn_shap_next_part(struct qn_shap_walk *w, struct qn_shap_step *s, double *table);
/* Doubles of a part's tables, and where they lie. */
uint32_t qn_shap_part_size(const struct qn_shap_part *p, uint32_t points);

static inline uint32_t qn_shap_part_gains(const struct qn_shap_part *p, uint32_t points)
{
    return (p->low + (p->outer > 4 ? 16u : 0)) * points;
}

static inline uint32_t qn_shap_part_values(const struct qn_shap_part *p, uint32_t points)
{
    return qn_shap_part_gains(p, points) + (p->gains * points + 7) / 8 * 8;
}

/* The next step and its tables; s->table is left alone. False behind the last one. */
bool qn_shap_next(struct qn_shap_walk *w, struct qn_shap_step *s, double *table);
/* Doubles of the tables of the largest step there is, a multiple of 8. */
uint32_t qn_shap_table_max(uint32_t points);

/* Steps of a tree that were kept; steps NULL = made while rows run. */
struct qn_shap_tree {
    const struct qn_shap_step *steps;
    const double *table;
    const double *row; /* tables for a single row; NULL = the tree does not run in parts */
    uint32_t count;
};

struct qn_explain_tables {
    struct qn_shap_tree *trees; /* parallel to qn_forest.trees */
    bool has_rows;              /* all have tables for a single row */
};

/* ---- a single row (treeshap_row.c) ---- */

struct qn_shap_row {
    const int8_t *codes; /* [code]                                 */
    const double *off;   /* QN_SHAP_GAIN_LEFT of the tree's rule   */
    double *left;        /* [level][points] sums that parts leave  */
    double *parts;       /* [slot] contributions                   */
};

/* Doubles of a part's tables for a single row, a multiple of 8; makes them of its tables. */
uint32_t qn_shap_row_size(const struct qn_shap_part *p, uint32_t points);
void qn_shap_put_row(const struct qn_shap_part *p, uint32_t points, const double *table,
                     double *row);
/* Runs a kept tree that has such tables. */
void qn_shap_run_row(const struct qn_shap_tree *t, const struct qn_shap_row *r, uint32_t points);

#endif
