/* SPDX-License-Identifier: Apache-2.0
 * squares.h - tables of the plan for kernel `avx512x8`: eight trees in a register.
 *
 * That kernel holds 8 trees x 8 rows in one register, a byte each. The splits of eight trees, a
 * set, lie in 18 registers, from which byte permutes fetch each row's own; so do the data of a row:
 * the rank of each column, or a code of the plan where the rank alone does not tell, is a slot.
 * Made once at load by squares.c from the verified plan. Invariant: the same turns and leaves as
 * the plan. Thread: immutable. Memory: the model's arena. */
#ifndef QN_MODEL_SQUARES_H
#define QN_MODEL_SQUARES_H

#include "model/lanes.h"

enum {
    QN_SQUARES_SLOTS = 32,      /* of four rows fit a table of two registers      */
    QN_SQUARES_SLOTS_WIDE = 64, /* where it has four                              */
    QN_SQUARES_TREES = 8,       /* of a set                                       */
    QN_SQUARES_SETS = 8,        /* that walk together, at most; sets are padded to it */
    QN_SQUARES_TABLE = 18 * 64  /* bytes of a set                                 */
};

/* A byte per row. */
struct qn_squares_slot {
    int32_t code; /* of the plan; -1: the rank of the column, 255 = missing */
};

/* Slots of one column of the plan. */
struct qn_squares_column {
    uint8_t first, count;
};

/* The table of a set, registers in this order; `split` is where a node's value stands among the
 * data (4 * slot; the top bit: missing goes left, or, where wide, the slot is of the second half),
 * `limit` the smallest value that goes right. A level's nodes stand from the right to the left: 0,
 * 1     split (with the number of the row, 0..3, added) and limit of the roots, a byte per row 2, 3
 * split and limit of the third level, from byte 32 on of the second 4, 5     of the fourth 6 .. 9
 * two registers each of the fifth 10 .. 17 four registers each of the sixth */
struct qn_squares {
    const uint8_t *tables; /* NULL: some tree is too deep, or the slots are too many */
    const uint8_t
        *leaves;        /* per tree: planes of 64 uint16, the low one first, from right to left */
    size_t leaf_bytes;  /* of a tree                                             */
    uint32_t set_count; /* padded to a multiple of QN_SQUARES_SETS               */
    uint32_t slot_count;
    bool is_wide;
    const struct qn_squares_column *columns; /* parallel to qn_plan.columns */
    struct qn_squares_slot slots[QN_SQUARES_SLOTS_WIDE];
};

/* Makes m->plan.squares. QN_NOMEM or QN_OK. */
qn_status qn_model_squares(struct qn_model *m, struct qn_err *err);

#endif
