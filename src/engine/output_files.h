/* SPDX-License-Identifier: Apache-2.0
 * output_files.h - where finished batches go when there is no log: predictions, table rows and dead
 * letters (records.h) to files.
 *
 * The commit writes each output's records in row order, dead letters first; a short write or an
 * error ends the run. Thread: encode on workers, the rest on the stepping thread. Memory: boot;
 * records keep their capacity. */
#ifndef QN_ENGINE_OUTPUT_FILES_H
#define QN_ENGINE_OUTPUT_FILES_H

#include "engine/engine.h"
#include "engine/records.h"

struct qn_outputs; /* private */

/* Where bytes go. fd -1 = nowhere (rows are still counted). */
struct qn_output_target {
    int fd;
    const char *name; /* for messages */
};

struct qn_outputs_options {
    enum qn_records_kind kind;
    const struct qn_files *files;
    const struct qn_output_target *targets; /* PREDICTIONS: [plan->output_count]; tables: one */
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
