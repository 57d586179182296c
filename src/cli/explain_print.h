/* SPDX-License-Identifier: Apache-2.0
 * explain_print.h - one event and its answer, laid out for people or as JSON: what `quern explain`
 * shows.
 *
 * Thread: the one that encodes the batch. Memory: the caller's buffer. */
#ifndef QN_CLI_EXPLAIN_PRINT_H
#define QN_CLI_EXPLAIN_PRINT_H

#include "engine/engine.h"

/* A row of the main stream while its batch is being encoded; all borrowed. */
struct qn_explained {
    const struct qn_engine *engine;
    const struct qn_step_result *result;
    uint32_t row;
    /* [outputs * (inputs + 1)] as qn_engine_explain gives them with stride 1; NULL = there are
     * none */
    const double *contributions;
};

/* A table of at most 100 columns: position, verdict, score, contributions by size with the sentence
 * of each feature, the other features, the fields. Of several outputs the highest is explained. */
void qn_explain_print(const struct qn_explained *x, struct qn_buf *out);
/* One JSON document with all outputs (docs/formats.md). */
void qn_explain_json(const struct qn_explained *x, struct qn_buf *out);

#endif
