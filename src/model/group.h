/* SPDX-License-Identifier: Apache-2.0
 * group.h - models that score the same rows: what they read is coded once for all of them.
 *
 * A group borrows loaded models and never changes them. Members whose inputs can be coded together
 * become bundles: one forest over the group's columns, each member's trees in their order and with
 * sums of their own, run by the kernel that its members run alone. So a bundle's scores are its
 * members' scores, bit for bit, and at creation it is probed as a model is at load. A bundle is as
 * large as a byte per input (254 cuts), the kernel's tables and the CPU's second cache allow; which
 * members share one depends on their order only. Every other member (linear, ONNX Runtime, very
 * many cuts, nobody like it) is scored as alone. Immutable as a model is: to change a member, make
 * a group and put it in the place of the old one between two batches. Thread: make anywhere, score
 * any number at once, each with its own scratch. Memory: the group owns its tables; the models must
 * outlive it. */
#ifndef QN_MODEL_GROUP_H
#define QN_MODEL_GROUP_H

#include "model/model.h"

struct qn_model_group; /* private */

struct qn_model_group_member {
    const struct qn_model *model;
    /* Which column of the group is input i of the model: info.inputs of them; NULL = column i. An
     * input that is a category as text is coded by the model's own words (qn_model_code): members
     * with other words read another column. */
    const uint32_t *columns;
};

/* How much is shared. A coded column is a column under one rule of what is missing, searched once
 * per row; a model that runs on raw inputs (linear) codes none. */
struct qn_model_group_info {
    uint32_t members, shared; /* shared: that are in a bundle */
    uint32_t bundles;
    uint32_t coded_columns;  /* by the group, of a row */
    uint32_t coded_if_alone; /* by its members one after the other */
    size_t bytes;            /* memory of the group, without the models */
};

/* `columns`: how many the group has. QN_INVALID where a member reads a column beyond them. The
 * arrays are copied. Takes about as long as loading the members did. */
qn_status qn_model_group_new(const struct qn_model_group_member *members, uint32_t count,
                             uint32_t columns, struct qn_model_group **out, struct qn_err *err);
void qn_model_group_free(struct qn_model_group *g); /* NULL is fine */
const struct qn_model_group_info *qn_model_group_info(const struct qn_model_group *g);

/* Scratch that one call of qn_model_group_score needs; align to 64. */
size_t qn_model_group_scratch_bytes(const struct qn_model_group *g);

/* qn_model_score of every member k into margins[k] and predictions[k], as there; either array, or
 * any of its elements, may be NULL. columns[i] is column i of the group. */
void qn_model_group_score(const struct qn_model_group *g, const double *const *columns,
                          uint32_t rows, void *scratch, double *const *margins,
                          double *const *predictions, uint32_t stride);

#endif
