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

/* Where events come from; option rows: QN_RUN_INPUT_ROWS. */
struct qn_run_inputs {
    struct qn_option_list list; /* "STREAM=FILE" or "FILE"; none = standard input, main stream */
    int format;                 /* enum qn_format */
};

/* How a run goes; option rows: QN_RUN_ROWS. */
struct qn_run_options {
    int64_t threads, rows;
    const char *dead; /* NULL = only counted */
    bool timing, quiet;
};

/* Option rows, to be put into a command's table: `owner` is the command's options struct, `member`
 * its struct qn_run_inputs. */
#define QN_RUN_INPUT_ROWS(owner, member)                                                           \
    {.name = "input",                                                                              \
     .type = QN_OPT_LIST,                                                                          \
     .short_name = 'i',                                                                            \
     .value = "STREAM=FILE",                                                                       \
     .since = "0.1",                                                                               \
     .help = "events of a stream, NDJSON or CSV, plain, gzip or zstd; '-' is standard input; may " \
             "be repeated, then merged by time (default: standard input, main stream)",            \
     .offset = offsetof(owner, member) + offsetof(struct qn_run_inputs, list)},                    \
    {                                                                                              \
        .name = "format", .type = QN_OPT_ENUM, .value = "FORMAT", .fallback = "auto",              \
        .choices = "auto|ndjson|csv", .since = "0.1",                                              \
        .help = "how the inputs are written (auto: by their names' endings, else NDJSON)",         \
        .offset = offsetof(owner, member) + offsetof(struct qn_run_inputs, format)                 \
    }

/* The same; `member` is the command's struct qn_run_options. */
#define QN_RUN_ROWS(owner, member)                                                                 \
    {.name = "dead",                                                                               \
     .type = QN_OPT_TEXT,                                                                          \
     .short_name = 'd',                                                                            \
     .value = "FILE",                                                                              \
     .since = "0.1",                                                                               \
     .help = "write dead letters there as NDJSON, with reason and original bytes",                 \
     .offset = offsetof(owner, member) + offsetof(struct qn_run_options, dead)},                   \
        QN_THREADS_ROW(owner, member.threads, "0.1"),                                              \
        {.name = "batch",                                                                          \
         .type = QN_OPT_INT,                                                                       \
         .value = "N",                                                                             \
         .fallback = "0",                                                                          \
         .max = QN_BATCH_ROWS_MAX,                                                                 \
         .unit = "rows",                                                                           \
         .since = "0.1",                                                                           \
         .help = "most events in a batch, 0 = 2048 per thread; the answers do not depend on it",   \
         .offset = offsetof(owner, member) + offsetof(struct qn_run_options, rows)},               \
        {.name = "timing",                                                                         \
         .type = QN_OPT_FLAG,                                                                      \
         .since = "0.1",                                                                           \
         .help = "print nanoseconds per stage as one JSON line on stderr",                         \
         .offset = offsetof(owner, member) + offsetof(struct qn_run_options, timing)},             \
    {                                                                                              \
        .name = "quiet", .type = QN_OPT_FLAG, .short_name = 'q', .since = "0.1",                   \
        .help = "no progress and no closing counts",                                               \
        .offset = offsetof(owner, member) + offsetof(struct qn_run_options, quiet)                 \
    }

/* Before anything is created: QN_INVALID where an output would overwrite the spec, an input or
 * another output, or standard input is read twice; an input that is not there is said here, too.
 * inputs NULL: the run reads no files. */
qn_status qn_run_guard(struct qn_cli *c, const char *spec, const struct qn_run_inputs *inputs,
                       const char *dead, const struct qn_option_list *outputs, struct qn_err *err);

/* Opens them. */
qn_status qn_run_open(struct qn_cli *c, const struct qn_run_inputs *inputs,
                      const struct qn_plan *plan, struct qn_input_files **files,
                      struct qn_err *err);

/* Creates the file, or gives stdout for "-". */
qn_status qn_run_create(struct qn_cli *c, const char *path, struct qn_output_target *out,
                        struct qn_err *err);
/* Guards and creates a target per output of the plan, from "NAME=FILE": predictions go to stdout
 * and the others nowhere unless the list says so. On an error too, each target is to be closed. */
qn_status qn_run_targets(struct qn_cli *c, const struct qn_plan *plan, const char *spec,
                         const struct qn_run_inputs *inputs, const char *dead,
                         const struct qn_option_list *list, struct qn_output_target *targets,
                         struct qn_err *err);
void qn_run_close(struct qn_cli *c, struct qn_output_target *t, struct qn_err *err, qn_status *rc);

/* Opens the inputs, steps until their end, and says on stderr what became of the events. out_opt is
 * filled but for files, dead and workers; a table's run asks no model. Returns the exit code. */
int qn_run_files(struct qn_cli *c, struct qn_plan *plan, const struct qn_run_inputs *inputs,
                 const struct qn_run_options *opt, struct qn_outputs_options *out_opt);

#endif
