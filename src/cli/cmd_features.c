/* SPDX-License-Identifier: Apache-2.0
 * cmd_features.c - `quern features SPEC`: the training set, one row per event, from the engine that
 * serves.
 *
 * What this writes at a position is what `pipe` gives a model at that position, bit for bit: it is
 * the same step. Thread: main. */
#include "cli/commands.h"
#include "cli/run_files.h"

struct features_options {
    struct qn_run_inputs inputs;
    struct qn_run_options run;
    const char *output;
    const char *columns;
};

static const struct qn_option options[] = {
    QN_RUN_INPUT_ROWS(struct features_options, inputs),
    {.name = "output",
     .type = QN_OPT_TEXT,
     .short_name = 'o',
     .value = "FILE",
     .fallback = "-",
     .since = "0.1",
     .help =
         "where the rows go: .csv is CSV, anything else NDJSON ('-' is standard output, as CSV)",
     .offset = offsetof(struct features_options, output)},
    {.name = "columns",
     .type = QN_OPT_TEXT,
     .short_name = 'c',
     .value = "A,B,...",
     .since = "0.1",
     .help =
         "only these fields and features, in this order (default: all fields, then all features)",
     .offset = offsetof(struct features_options, columns)},
    QN_RUN_ROWS(struct features_options, run),
    {.name = NULL},
};

const struct qn_command_usage qn_usage_features = {
    .name = "features",
    .summary = "the training set: one row per event, as it would have been served",
    .positional = "SPEC",
    .options = options,
    .examples =
        {"quern features card-fraud.yaml --input transactions=tx.ndjson.gz --output train.csv",
         "quern features spec.yaml --input tx.csv --output train.ndjson --columns "
         "amount,customer_mean_30d,label"},
};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* "a,b,c" to names; the default is all columns. */
static qn_status split_columns(struct qn_cli *c, const char *text, struct qn_outputs_options *out,
                               struct qn_err *err)
{
    struct qn_str *list;
    uint32_t n = 1;

    if (text == NULL)
        return QN_OK;
    for (const char *p = text; *p != '\0'; p++)
        n += *p == ',';
    list = QN_NEW_N(&c->arena, struct qn_str, n);
    if (list == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the columns");
    for (uint32_t i = 0; i < n; i++) {
        size_t len = strcspn(text, ",");

        list[i] = (struct qn_str){text, (uint32_t)len};
        text += len + (text[len] == ',');
    }
    out->columns = list;
    out->column_count = n;
    return QN_OK;
}

int qn_cmd_features(struct qn_cli *c, int argc, char **argv)
{
    struct features_options opt = {0};
    struct qn_outputs_options out = {0};
    struct qn_output_target target = {-1, ""};
    struct qn_option_list rest;
    struct qn_err err = {0};
    struct qn_plan *plan;
    qn_status rc;
    int code;

    if (!qn_cli_options(c, &qn_usage_features, argc, argv, &opt, &rest, &code))
        return code;
    plan = qn_cli_plan(c, rest.items[0], &code);
    if (plan == NULL)
        return code;
    out.kind = strcmp(opt.output, "-") == 0 || ends_with(opt.output, ".csv") ? QN_RECORDS_CSV
                                                                             : QN_RECORDS_NDJSON;
    if (ends_with(opt.output, ".parquet"))
        rc =
            qn_err_set(&err, QN_UNSUPPORTED, "Parquet is not available yet; write .csv or .ndjson");
    else
        rc = split_columns(c, opt.columns, &out, &err);
    if (rc == QN_OK)
        rc = qn_run_guard(c, rest.items[0], &opt.inputs, opt.run.dead,
                          &(struct qn_option_list){&opt.output, 1}, &err);
    if (rc == QN_OK)
        rc = qn_run_create(c, opt.output, &target, &err);
    out.targets = &target;
    code = rc == QN_OK ? qn_run_files(c, plan, &opt.inputs, &opt.run, &out) : qn_cli_fail(c, &err);
    qn_run_close(c, &target, &err, &rc);
    if (code == QN_EXIT_OK && rc != QN_OK)
        code = qn_cli_fail(c, &err);
    qn_plan_free(plan);
    return code;
}
