/* SPDX-License-Identifier: Apache-2.0
 * cmd_pipe.c - `quern pipe SPEC`: events in, predictions on standard output, no log at all.
 *
 * Thread: main. */
#include "cli/commands.h"
#include "cli/run_files.h"

struct pipe_options {
    struct qn_run_inputs inputs;
    struct qn_run_options run;
    struct qn_option_list outputs; /* "NAME=FILE" */
};

static const struct qn_option options[] = {
    QN_RUN_INPUT_ROWS(struct pipe_options, inputs),
    {.name = "output",
     .type = QN_OPT_LIST,
     .short_name = 'o',
     .value = "NAME=FILE",
     .since = "0.1",
     .help = "write an output of the spec to a file ('-' is standard output); may be repeated "
             "(default: "
             "predictions=-, other outputs are only counted)",
     .offset = offsetof(struct pipe_options, outputs)},
    QN_RUN_ROWS(struct pipe_options, run),
    {.name = NULL},
};

const struct qn_command_usage qn_usage_pipe = {
    .name = "pipe",
    .summary = "events on standard input, predictions on standard output",
    .positional = "SPEC",
    .options = options,
    .examples =
        {"quern pipe card-fraud.yaml < transactions.ndjson > predictions.ndjson",
         "tail -f app.log | quern pipe spec.yaml --dead dead.ndjson",
         "quern pipe spec.yaml --input transactions=tx.csv.gz --input chargebacks=cb.ndjson"},
};

int qn_cmd_pipe(struct qn_cli *c, int argc, char **argv)
{
    struct pipe_options opt = {0};
    struct qn_outputs_options out = {.kind = QN_RECORDS_PREDICTIONS};
    struct qn_output_target *targets;
    struct qn_option_list rest;
    struct qn_err err = {0};
    struct qn_plan *plan;
    qn_status rc;
    int code;

    if (!qn_cli_options(c, &qn_usage_pipe, argc, argv, &opt, &rest, &code))
        return code;
    plan = qn_cli_plan(c, rest.items[0], &code);
    if (plan == NULL)
        return code;
    targets = QN_NEW_N(&c->arena, struct qn_output_target, plan->output_count);
    rc = targets != NULL ? qn_run_targets(c, plan, rest.items[0], &opt.inputs, opt.run.dead,
                                          &opt.outputs, targets, &err)
                         : qn_err_set(&err, QN_NOMEM, "out of memory for the outputs");
    out.targets = targets;
    code = rc == QN_OK ? qn_run_files(c, plan, &opt.inputs, &opt.run, &out) : qn_cli_fail(c, &err);
    for (uint32_t i = 0; targets != NULL && i < plan->output_count; i++)
        qn_run_close(c, &targets[i], &err, &rc);
    if (code == QN_EXIT_OK && rc != QN_OK)
        code = qn_cli_fail(c, &err);
    qn_plan_free(plan);
    return code;
}
