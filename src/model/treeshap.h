/* SPDX-License-Identifier: Apache-2.0
 * treeshap.h - what each input contributed to a margin: exact Shapley values, path-dependent.
 *
 * The contributions of a row and the bias add up to its margin. The bias is what the model says of
 * an event of which nothing is known: the mean over the training set, as the nodes' covers tell it
 * (XGBoost's sum_hessian, LightGBM's counts). The same numbers as XGBoost's pred_contribs and
 * LightGBM's pred_contrib; of a linear model coefficient * (x - mean) / scale. What is computed:
 * docs/models.md; how: treeshap.c. Thread: as scoring. Memory: the caller's. */
#ifndef QN_MODEL_TREESHAP_H
#define QN_MODEL_TREESHAP_H

#include "base/buffer.h"
#include "model/model.h"

/* Why this model's margins cannot be explained, one phrase ("the file holds no covers ..."); NULL =
 * they can. Lives as long as the model. */
const char *qn_model_explain_obstacle(const struct qn_model *m);

/* How contributions come about: which form the model's trees take (treeshap.c), as words: "in
 * parts", "level by level", "in parts, 3 of 100 trees level by level", "by coefficients". The model
 * must have no obstacle. */
enum { QN_EXPLAIN_FORM = 64 };
void qn_model_explain_form(const struct qn_model *m, char text[QN_EXPLAIN_FORM]);

/* What a row of contributions costs on this CPU with tables, in nanoseconds, to two digits: alone,
 * and in a batch of 64. Made and measured by this call, up to 64 MiB and some 20 ms for 500 trees.
 * False without memory or where there is an obstacle. Thread: any. */
bool qn_model_explain_cost(const struct qn_model *m, uint64_t *alone_ns, uint64_t *batched_ns);

/* Appends both for people: the form and, behind `between`, "a row about N ns alone, M ns in batches
 * of 64"; without the latter and false where nothing could be measured. Thread: any. */
bool qn_model_explain_print(const struct qn_model *m, const char *between, struct qn_buf *out);

/* Scratch that one call of qn_model_explain needs, whatever the number of rows; align to 64. At
 * most some MiB. */
size_t qn_model_explain_scratch_bytes(const struct qn_model *m);

/* What of the work for a model is the same for every row; the numbers are the same without. */
struct qn_explain_tables;

/* Makes them, for any number of threads and as long as `boot`: some 40 KB for a tree of depth 6, at
 * most 64 MiB; what has no room is made for every block of rows anew. Takes some 20 us a tree. The
 * model must have no obstacle. QN_NOMEM, with *out NULL, or QN_OK. Thread: any. */
qn_status qn_model_explain_tables(const struct qn_model *m, struct qn_arena *boot,
                                  const struct qn_explain_tables **out, struct qn_err *err);

/* Explains rows [0, rows) of columns as in qn_model_score. With n inputs,
 * contributions[(output * (n + 1) + input) * stride + row] gets what that input added to that
 * output's margin; "input" n is the bias. All in double, also for float models, whose margins are
 * float sums: there the total agrees to float precision. The model must have no obstacle. `tables`
 * may be NULL: right for a row or two. */
void qn_model_explain(const struct qn_model *m, const struct qn_explain_tables *tables,
                      const double *const *columns, uint32_t rows, void *scratch,
                      double *contributions, uint32_t stride);

#endif
