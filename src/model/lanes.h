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
    QN_LANES_DEPTH = 8,       /* deeper trees with many leaves are walked node by node */
    QN_LANES_LEAVES = 64,     /* of a tree of any shape                                  */
    QN_LANES_ROW_CODES = 128, /* the one-row form holds a row's codes in two registers   */
    QN_LANES_CUTS = 255       /* columns with more are searched by the one-row form as ever */
};

/* A numeric column. Elements are float where the model is, else double. */
struct qn_lanes_column {
    const void *pivots; /* as qn_plan_column.pivots, at least 16 elements                     */
    const void *sorted; /* the cuts, ascending, padded with NaN to a multiple of 16; up to 255  */
    const void *coarse; /* sorted[15], sorted[31], ...: 16 elements; NULL with more cuts       */
};

/* A test of a tree of any shape; rows that reach node `at` are divided among left and left + 1. */
struct qn_lanes_test {
    uint32_t offset; /* code * QN_MODEL_BLOCK                       */
    uint8_t at, left;
    int8_t limit;
};

enum qn_lanes_form {
    QN_LANES_NONE,    /* kernel_columns.c walks it   */
    QN_LANES_PERFECT, /* padded to a perfect tree    */
    QN_LANES_SHAPE    /* of any shape, <= 64 leaves   */
};

struct qn_lanes_tree {
    const uint8_t *block; /* PERFECT: offsets, limits, planes; SHAPE: planes, 64 to a plane    */
    const struct qn_lanes_test *tests; /* SHAPE, breadth first                          */
    const uint8_t *leaf_nodes;      /* SHAPE: which node leaf i is                              */
    uint8_t form, depth;            /* PERFECT: depth >= 1                                      */
    uint8_t test_count, leaf_count; /* SHAPE                                                   */
};

/* One row, trees of depth <= 6: the codes of 63 nodes, then their limits, then 64 leaves. The seven
 * nodes below subtree s of the third level are lanes 7s .. 7s + 6, the seven on top 56 .. 62, so
 * that the answers of a tree fit one word and two small tables find the leaf. */
struct qn_lanes_row {
    const uint8_t *trees; /* NULL where some tree is too deep or the codes are too many */
    size_t tree_bytes;
    uint16_t top[128]; /* by bits 56 .. 62: 7 * s as a shift, 8 * s above it              */
    uint8_t sub[128];  /* by the seven bits of the subtree: leaf in it                      */
    /* Columns of numbers only, 64 at most with at most 254 cuts each: their ranks fit one register,
     * from which the codes are picked. */
    bool is_quick;
    uint64_t zero_missing;                              /* columns where zero is missing */
    _Alignas(64) uint8_t column_of[QN_LANES_ROW_CODES]; /* per code                      */
    _Alignas(64) uint8_t missing[QN_LANES_ROW_CODES];   /* per code: 0 or 255            */
};

struct qn_lanes {
    struct qn_lanes_column *columns; /* parallel to qn_plan.columns                              */
    struct qn_lanes_tree *trees;     /* parallel to qn_forest.trees                             */
    struct qn_lanes_row row;
    uint32_t tree_count; /* that are not NONE */
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

/* Makes m->plan.lanes. QN_NOMEM or QN_OK. */
qn_status qn_model_lanes(struct qn_model *m, struct qn_err *err);

#endif
