/* SPDX-License-Identifier: Apache-2.0
 * output_records.h - where finished batches go when there is no log: predictions and dead letters
 * to files.
 *
 * Two kinds share it. Records (`quern pipe`): one NDJSON prediction per row and output
 * (docs/formats.md). Table (`quern features`): one row per scored event of the main stream, its
 * fields and its features, as CSV or NDJSON. Both write dead letters as NDJSON. Rows are encoded in
 * parallel into one buffer per worker and written in row order. Thread: encode on workers, commit
 * on the stepping thread. Memory: buffers keep their capacity. */
#ifndef QN_ENGINE_OUTPUT_RECORDS_H
#define QN_ENGINE_OUTPUT_RECORDS_H

#include "engine/engine.h"

struct qn_outputs; /* private */

/* Where bytes go. fd -1 = nowhere (rows are still counted). */
struct qn_output_target {
    int fd;
    const char *name; /* for messages */
};

enum qn_outputs_kind { QN_OUTPUTS_RECORDS, QN_OUTPUTS_CSV, QN_OUTPUTS_NDJSON };

struct qn_outputs_options {
    enum qn_outputs_kind kind;
    const struct qn_files *files;
    const struct qn_output_target *targets; /* RECORDS: [plan->output_count]; tables: one */
    struct qn_output_target dead;
    const struct qn_str *columns; /* tables: names to write; NULL = all fields, then all features */
    uint32_t column_count;
    uint32_t workers;
};

qn_status qn_outputs_new(const struct qn_plan *plan, const struct qn_outputs_options *opt,
                         struct qn_outputs **out, struct qn_err *err);
void qn_outputs_free(struct qn_outputs *o); /* NULL is fine */
struct qn_output qn_outputs_output(struct qn_outputs *o);
/* CSV: writes the header line. Nothing for the others. */
qn_status qn_outputs_begin(struct qn_outputs *o, struct qn_err *err);

uint64_t qn_outputs_written(const struct qn_outputs *o, uint32_t output); /* records */

#endif
