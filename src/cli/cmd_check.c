/* SPDX-License-Identifier: Apache-2.0
 * cmd_check.c - `quern check SPEC`: every mistake at once, or the resolved plan.
 *
 * Thread: main. */
#include "cli/commands.h"

struct check_options {
    bool json;
};

static const struct qn_option options[] = {
    {.name = "json",
     .type = QN_OPT_FLAG,
     .since = "0.1",
     .help = "the plan, or the mistakes, as one JSON document on stdout",
     .offset = offsetof(struct check_options, json)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_check = {
    .name = "check",
    .summary =
        "errors of a spec, or its resolved plan: types, windows, memory per key, model inputs",
    .positional = "SPEC",
    .options = options,
    .examples = {"quern check card-fraud.yaml", "quern check card-fraud.yaml --json"},
};

/* {"errors":N,"warnings":N,"diagnostics":[...]} */
static int print_mistakes_json(struct qn_cli *c, const char *path)
{
    struct qn_plan_options opt = {.files = c->files, .environment = c->environment};
    struct qn_diags diags = {.arena = &c->arena};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};
    struct qn_buf b = {0};
    qn_status rc = qn_plan_load(path, &opt, &c->arena, &diags, &plan, &err);
    int code = rc == QN_OK ? QN_EXIT_OK : QN_EXIT_USAGE;

    if (rc != QN_OK && diags.errors == 0) {
        (void)qn_cli_fail(c, &err);
        return code;
    }
    qn_buf_printf(&b, "{\"errors\":%u,\"warnings\":%u,\"diagnostics\":", diags.errors,
                  diags.warnings);
    qn_diag_json(&diags, &b);
    if (plan != NULL) {
        qn_buf_text(&b, ",\"plan\":");
        qn_plan_json(plan, &b);
    }
    qn_buf_text(&b, "}\n");
    if (!qn_cli_write(c, b.data, b.len))
        code = QN_EXIT_FAILED;
    qn_buf_fini(&b);
    qn_plan_free(plan);
    return code;
}

int qn_cmd_check(struct qn_cli *c, int argc, char **argv)
{
    struct check_options opt = {0};
    struct qn_option_list rest;
    struct qn_plan *plan;
    struct qn_buf b = {0};
    int code;

    if (!qn_cli_options(c, &qn_usage_check, argc, argv, &opt, &rest, &code))
        return code;
    if (opt.json)
        return print_mistakes_json(c, rest.items[0]);
    plan = qn_cli_plan(c, rest.items[0], &code);
    if (plan == NULL)
        return code;
    qn_plan_print(plan, &b);
    code = qn_cli_write(c, b.data, b.len) ? QN_EXIT_OK : QN_EXIT_FAILED;
    qn_buf_fini(&b);
    qn_plan_free(plan);
    return code;
}
