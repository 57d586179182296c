/* SPDX-License-Identifier: Apache-2.0
 * lanes.h - tables of the plan in the shape that vector kernels read: whole registers, no pointers.
 *
 * Made once at load by lanes.c from the verified plan, read by kernel_avx512.c and kernel_avx2.c.
 * A kernel follows 32 or 64 rows through a tree at once and keeps the decisions of a row as the
 * bits of a byte, the first one in bit 0; so the tables of limits and leaves are in the order of
 * those bits, each level on a cache line of its own. Leaf values lie in planes, all first bytes,
 * then all second bytes and so on, since a byte of a table of 64 can be looked up for 64 rows by
 * one instruction. Invariant: the same turns and the same leaf bits as the plan. Thread: immutable.
 * Memory: the model's arena. */
#ifndef QN_MODEL_LANES_H
#define QN_MODEL_LANES_H

#include "model/model_int.h"

enum {
    QN_LANES_DEPTH = 8,            /* deeper trees with many leaves are walked node by node */
    QN_LANES_SYMMETRIC_DEPTH = 16, /* but for symmetric ones                                */
    QN_LANES_LEAVES = 64,          /* of a tree of any shape                                  */
    QN_LANES_ROW_CODES = 256, /* the one-row form holds a row's codes in four registers at most */
    QN_LANES_ROW_TREES = 64,  /* of a block of the one-row form */
    QN_LANES_CUTS = 255,      /* columns with more are searched by the one-row form as ever */
    QN_LANES_NEVER = 127      /* a limit above every code: all rows go left                  */
};

/* A numeric column. Elements are float where qn_lanes.is_float says so, else double. */
struct qn_lanes_column {
    const void *pivots;  /* as qn_plan_column.pivots, at least 16 elements                     */
    const float *before; /* the floats before them; NULL: double, more cuts, or one at -FLT_MAX */
    const void *sorted;  /* the cuts, ascending, padded with NaN to a multiple of 16; up to 255  */
    const void *coarse;  /* sorted[15], sorted[31], ...: 16 elements; NULL with more cuts       */
};

/* A test of a tree of any shape; rows that reach node `at` are divided among left and left + 1. */
struct qn_lanes_test {
    uint32_t offset; /* code * QN_MODEL_BLOCK                       */
    uint8_t at, left;
    int8_t limit;
};

enum qn_lanes_form {
    QN_LANES_NONE,      /* kernel_columns.c walks it                       */
    QN_LANES_PERFECT,   /* padded to a perfect tree                        */
    QN_LANES_SYMMETRIC, /* perfect, and all nodes of a level ask the same  */
    QN_LANES_SHAPE      /* of any shape, <= 64 leaves                       */
};

struct qn_lanes_tree {
    /* PERFECT: offsets, limits, planes; SHAPE: planes, 64 to a plane; SYMMETRIC: offset and limit
     * per level (64 bytes each), then planes, or, where deeper than QN_LANES_DEPTH, the leaves */
    const uint8_t *block;
    const struct qn_lanes_test *tests; /* SHAPE, breadth first                          */
    const uint8_t *leaf_nodes;      /* SHAPE: which node leaf i is                              */
    uint8_t form, depth;            /* PERFECT, SYMMETRIC: depth >= 1                           */
    uint8_t test_count, leaf_count; /* SHAPE                                                   */
};

/* One row: 64 trees together, padded to the deepest of them, a lane to a tree; or, where one is
 * deeper than 8 and all have up to 64 leaves, tree by tree. */
struct qn_lanes_row_block {
    /* per level: the codes of its nodes from left to right, 64 trees each, then their limits */
    const uint8_t *splits;
    /* per tree: codes and limits of 64 tests, then for each the leaves that are left where it is
     * passed to the right: leaf_bits bits, the leftmost leaf in bit 0 */
    const uint8_t *tests;
    const void *leaves; /* [trees][1 << depth, or leaf_bits] float or double, from left to right */
    uint8_t depth;      /* 6, 7 or 8; 0: tree by tree */
    uint8_t leaf_bits;  /* 32 or 64; 0: not so        */
    uint8_t count;      /* trees                      */
};

/* Bytes of a tree in `tests`. */
static inline __attribute__((always_inline)) size_t qn_lanes_tests_bytes(unsigned leaf_bits)
{
    return 128 + (size_t)leaf_bits * leaf_bits / 8;
}

struct qn_lanes_row {
    /* NULL where some tree is too large or the codes are too many */
    const struct qn_lanes_row_block *blocks;
    bool has_tests; /* some block goes tree by tree */
    /* Columns of numbers only, with at most 254 cuts each: the codes are picked from their ranks.
     */
    bool is_quick;
    uint8_t zero_missing[QN_LANES_ROW_CODES / 8]; /* a bit per column: zero is missing there */
    _Alignas(64) uint8_t column_of[QN_LANES_ROW_CODES]; /* per code                      */
    _Alignas(64) uint8_t missing[QN_LANES_ROW_CODES];   /* per code: 0 or 255            */
    /* Where cuts are floats too: 16 columns search together, first among every 16th cut, then each
     * among the 16 cuts before the next of those. Columns are padded with the first to 16. */
    const float *coarse; /* [16 columns][16 cuts][16]: every 16th cut, a row per cut */
    const float *fine;   /* the cuts of all columns                                  */
    uint32_t inputs[QN_LANES_ROW_CODES];  /* per column                                   */
    uint32_t fine_at[QN_LANES_ROW_CODES]; /* per column: its first byte in `fine`         */
    /* per 16 columns: rows of `coarse` that have a cut */
    uint8_t coarse_count[QN_LANES_ROW_CODES / 16];
};

/* One row, all trees symmetric: the answers of a register are the leaves of 8 trees, a byte each,
 * or of 4 with two bytes where some tree is deeper than 8. */
struct qn_lanes_symmetric {
    const uint8_t
        *tests;         /* per register: code and limit of 64 tests; NULL: not so, or many codes */
    const void *leaves; /* float or double, tree by tree, first decision in bit 0                */
    const uint32_t *first; /* per tree: its first leaf */
    bool is_deep;
};

struct qn_lanes {
    struct qn_lanes_column *columns; /* parallel to qn_plan.columns                              */
    struct qn_lanes_tree *trees;     /* parallel to qn_forest.trees                             */
    struct qn_lanes_row row;
    struct qn_lanes_symmetric symmetric;
    uint32_t tree_count; /* that are not NONE */
    bool is_float;       /* inputs rounded to float decide every comparison */
    bool is_plain;       /* nothing but rounding is done to inputs          */
};

/* Layout of a PERFECT block. */
static inline __attribute__((always_inline)) size_t qn_lanes_limits_at(unsigned depth)
{
    return depth < 4 ? 64 : (size_t)4 << depth;
}

/* Limits of a level: 64, or 128 of the eighth. */
static inline __attribute__((always_inline)) size_t qn_lanes_planes_at(unsigned depth)
{
    return qn_lanes_limits_at(depth) + (size_t)64 * depth + (depth == 8 ? 64 : 0);
}

static inline __attribute__((always_inline)) size_t qn_lanes_plane_bytes(unsigned depth)
{
    return depth <= 6 ? 64 : (size_t)1 << depth;
}

enum { QN_LANES_SYMMETRIC_PLANES = 128 }; /* where the planes of a SYMMETRIC block begin */

/* The node where each path of a tree padded to `depth` ends or passes: heap order from 1, 2 <<
 * depth elements. A node that all rows leave to the left has the same child twice. */
void qn_lanes_pad_tree(const struct qn_model *m, const struct qn_tree *t, unsigned depth,
                       uint32_t *node_at);

/* Makes m->plan.lanes. QN_NOMEM or QN_OK. */
qn_status qn_model_lanes(struct qn_model *m, struct qn_err *err);

#endif
