/* SPDX-License-Identifier: Apache-2.0
 * half_space.h - half-space trees: trees drawn without any data, and how a mass profile of events
 * is read with them.
 *
 * After Tan, Ting and Liu, "Fast Anomaly Detection for Streaming Data" (IJCAI 2011); what is drawn
 * in which order, and what is computed, to the bit: docs/models.md. The trees are immutable and
 * shared by all threads. What the stream teaches lies with whoever learns (score/learner.h): it
 * needs of an event nothing but its leaf in each tree, since the mass of every node is a count of
 * leaves.
 *
 *     inputs ─ place ─► 0 to 1 of their ranges ─ leaves ─► a leaf per tree ─ mass ─► score
 *
 * A leaf is a number of `depth` bits, the way from the root: the highest bit is the first turn, 1
 * is right. Memory: the model's, and the caller's. Errors: memory only. */
#ifndef QN_MODEL_HALF_SPACE_H
#define QN_MODEL_HALF_SPACE_H

#include "model/model.h"

enum {
    QN_HALF_SPACE_TREES_MAX = 256,
    QN_HALF_SPACE_DEPTH_MAX = 16, /* a leaf fits 16 bits */
    QN_HALF_SPACE_WINDOW_MIN = 10,
    QN_HALF_SPACE_WINDOW_MAX = 65536,
    /* What the paper used throughout. */
    QN_HALF_SPACE_TREES = 25,
    QN_HALF_SPACE_DEPTH = 15,
    QN_HALF_SPACE_WINDOW = 250
};

struct qn_half_space_options {
    uint32_t inputs;
    const struct qn_str *names; /* [inputs]                                                  */
    const double *low, *high;   /* [inputs] declared ranges, low < high; NaN = to be learnt  */
    uint32_t trees, depth, window;
    uint64_t seed;
    uint64_t meaning; /* hash of what the inputs are, for info.hash */
};

struct qn_half_space; /* private */

/* A model without a file: info.hash is of all the options. qn_model_score is not for it; see
 * score/learner.h. */
qn_status qn_model_half_space_new(const struct qn_half_space_options *opt, struct qn_model **out,
                                  struct qn_err *err);
/* NULL where the model is another one. Lives as long as the model. */
const struct qn_half_space *qn_model_half_space(const struct qn_model *m);

/* The options, as long as the model lives. */
const struct qn_half_space_options *qn_half_space_options(const struct qn_half_space *h);
/* True where some input has no declared range. */
bool qn_half_space_learns_ranges(const struct qn_half_space *h);

/* ---- where an event lies ---- */

/* Column `input` of rows into z[row * inputs + input], (x - low) / width; NaN stays. */
void qn_half_space_place(const struct qn_half_space *h, uint32_t input, double low, double width,
                         const double *x, uint32_t rows, double *z);
/* leaves[tree * stride + to[row]] of rows of z, as above; NaN goes left. cells: scratch, rows *
 * inputs. */
void qn_half_space_leaves(const struct qn_half_space *h, const double *z, uint32_t rows,
                          const uint32_t *to, uint32_t *cells, uint16_t *leaves, uint32_t stride);

/* ---- what is known of such places ---- */

/* A node that scores look at: one with a tenth of the window or more, or a child of one. */
struct qn_half_space_cell {
    uint64_t value; /* mass * 2^depth, where ways end                                     */
    uint32_t next;  /* the left child, the right one beside it; where ways end: itself    */
    uint16_t turn;  /* 1, or where ways end 0: nobody goes on                             */
    uint16_t level; /* of the root: of the deepest cell                                   */
};
/* Cells of a tree, at most; a profile has so many of each tree, root first. */
uint32_t qn_half_space_cells(const struct qn_half_space *h);
/* The profile of a whole window: leaves[tree * window + i]. scratch: 2 * window. */
void qn_half_space_profile(const struct qn_half_space *h, const uint16_t *leaves, uint16_t *scratch,
                           struct qn_half_space_cell *profile);
/* mass[row] = sum over the trees of mass * 2^depth at the node where the row's way ends, for rows
 * [first, end) of leaves[tree * stride + row]. An exact whole number. */
void qn_half_space_mass(const struct qn_half_space *h, const struct qn_half_space_cell *profile,
                        const uint16_t *leaves, uint32_t stride, uint32_t first, uint32_t end,
                        uint64_t *mass);
/* 1 - L(1 + density) / L(1 + 2^depth), density = mass / (trees * window), L the binary logarithm,
 * straight between powers of two. 1 = nothing like it, 1 - 1/depth = as dense as if events were
 * spread evenly, towards 0 = among many. */
double qn_half_space_score(const struct qn_half_space *h, uint64_t mass);

#endif
