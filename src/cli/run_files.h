/* SPDX-License-Identifier: Apache-2.0
 * run_files.h - what `pipe` and `features` share: inputs named on the command line, the loop of
 * steps, the closing words.
 *
 * Thread: main. */
#ifndef QN_CLI_RUN_FILES_H
#define QN_CLI_RUN_FILES_H

#include "cli/cli.h"
#include "engine/engine.h"
#include "engine/input_files.h"
#include "engine/output_files.h"

struct qn_run_options {
    struct qn_option_list inputs; /* "STREAM=FILE" or "FILE" */
    int64_t threads, rows;
    int format;       /* enum qn_format */
    const char *dead; /* NULL = only counted */
    bool timing, quiet;
};

/* Splits "NAME=FILE" in place of the arena's copy; name is NULL where there is no '=' or it follows
 * a '/'. */
void qn_run_split(struct qn_cli *c, const char *text, const char **name, const char **file);

/* Before anything is created: QN_INVALID where an output would overwrite the spec, an input or
 * another output, or standard input is read twice; an input that is not there is said here, too. */
qn_status qn_run_guard(struct qn_cli *c, const char *spec, const struct qn_run_options *opt,
                       const char *const *outputs, uint32_t count, struct qn_err *err);

/* Creates the file, or gives stdout for "-". */
qn_status qn_run_create(struct qn_cli *c, const char *path, struct qn_output_target *out,
                        struct qn_err *err);
void qn_run_close(struct qn_cli *c, struct qn_output_target *t, struct qn_err *err, qn_status *rc);

/* Opens the inputs (standard input as the main stream where none is named), steps until their end,
 * and says on stderr what became of the events. `outputs` is used with `out_opt` filled but for
 * dead and workers. Returns the exit code. */
int qn_run_files(struct qn_cli *c, struct qn_plan *plan, const struct qn_run_options *opt,
                 bool without_models, struct qn_outputs_options *out_opt);

#endif
