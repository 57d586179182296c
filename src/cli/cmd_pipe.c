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

static qn_status find_output(const struct qn_plan *p, const char *name, uint32_t *index,
                             struct qn_err *err)
{
    struct qn_str names[256];
    uint32_t n = 0;
    int near;

    for (uint32_t i = 0; i < p->output_count && n < 256; i++) {
        names[n++] = p->outputs[i].name;
        if (name != NULL && qn_str_is(p->outputs[i].name, name)) {
            *index = i;
            return QN_OK;
        }
    }
    if (name == NULL)
        return qn_err_set(err, QN_INVALID,
                          "--output wants NAME=FILE, for example --output predictions=out.ndjson");
    near = qn_nearest(qn_str_of(name), names, n);
    if (near < 0)
        return qn_err_set(err, QN_INVALID, "the spec has no output '%s'", name);
    return qn_err_set(err, QN_INVALID, "the spec has no output '%s' (did you mean '%.*s'?)", name,
                      QN_STR_ARG(names[near]));
}

/* No output may overwrite what the run reads, or another output. */
static qn_status guard_targets(struct qn_cli *c, const char *spec, const struct pipe_options *opt,
                               struct qn_err *err)
{
    const struct qn_option_list paths = {QN_NEW_N(&c->arena, const char *, opt->outputs.count + 1),
                                         opt->outputs.count};
    const char *name;

    if (paths.items == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the outputs");
    for (uint32_t i = 0; i < opt->outputs.count; i++)
        qn_run_split(c, opt->outputs.items[i], &name, &paths.items[i]);
    return qn_run_guard(c, spec, &opt->inputs, opt->run.dead, &paths, err);
}

/* One target per output of the plan: predictions to stdout unless said otherwise. */
static qn_status open_targets(struct qn_cli *c, const struct qn_plan *plan,
                              const struct qn_option_list *list, struct qn_output_target *targets,
                              struct qn_err *err)
{
    for (uint32_t i = 0; i < plan->output_count; i++)
        targets[i] = plan->outputs[i].is_predictions
                         ? (struct qn_output_target){c->out, "standard output"}
                         : (struct qn_output_target){-1, ""};
    for (uint32_t i = 0; i < list->count; i++) {
        const char *name, *file;
        uint32_t index = 0;

        qn_run_split(c, list->items[i], &name, &file);
        QN_TRY(find_output(plan, name, &index, err));
        QN_TRY(qn_run_create(c, file, &targets[index], err));
    }
    return QN_OK;
}

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
    rc = targets != NULL ? guard_targets(c, rest.items[0], &opt, &err)
                         : qn_err_set(&err, QN_NOMEM, "out of memory for the outputs");
    if (rc == QN_OK)
        rc = open_targets(c, plan, &opt.outputs, targets, &err);
    out.targets = targets;
    code = rc == QN_OK ? qn_run_files(c, plan, &opt.inputs, &opt.run, &out) : qn_cli_fail(c, &err);
    for (uint32_t i = 0; targets != NULL && i < plan->output_count; i++)
        qn_run_close(c, &targets[i], &err, &rc);
    if (code == QN_EXIT_OK && rc != QN_OK)
        code = qn_cli_fail(c, &err);
    qn_plan_free(plan);
    return code;
}
