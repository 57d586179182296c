/* SPDX-License-Identifier: Apache-2.0
 * cmd_reference.c - `quern reference PAGE`: the generated pages of docs/, from the tables they
 * describe.
 *
 * `./dev lint` compares the pages with this output. Thread: main. */
#include "cli/commands.h"
#include "event/batch.h"
#include "monitor/metrics.h"
#include "serve/serve.h"

static const struct qn_option options[] = {{.name = NULL}};

const struct qn_command_usage qn_usage_reference = {
    .name = "reference",
    .summary = "prints a reference page: commands, spec, expressions, errors, metrics, http or "
               "json-schema",
    .positional = "PAGE",
    .options = options,
    .examples = {"quern reference spec > docs/spec.md",
                 "quern reference json-schema > quern.schema.json"},
};

static void page_commands(struct qn_buf *out)
{
    qn_buf_text(
        out, "# Commands\n\nGenerated from the option tables by `quern reference commands`.\n\n");
    for (const struct qn_command *k = qn_commands; k->usage != NULL; k++)
        qn_options_reference(k->usage, out);
}

static void page_errors(struct qn_buf *out)
{
    qn_buf_text(out, "# Errors, verdicts and reasons\n\nGenerated from their tables by `quern "
                     "reference errors`.\n\n"
                     "## Mistakes in a spec\n\n`quern check --json` names them by code.\n\n| code "
                     "| meaning |\n|---|---|\n");
#define ROW(name, number, title) qn_buf_printf(out, "| QN%03d | %s |\n", number, title);
    QN_DIAG_LIST(ROW)
#undef ROW
    qn_buf_text(out, "\n## Verdicts\n\nEvery event ends as one of these, and the four counts add "
                     "up to the events read: ");
    for (int v = 0; v < QN_VERDICTS; v++)
        qn_buf_printf(out, "%s`%s`", v > 0 ? ", " : "", qn_verdict_name((enum qn_verdict)v));
    qn_buf_text(out,
                ".\n\n## Reasons\n\nWhy an event is dead or late; `reason` in its dead letter.\n\n"
                "| reason | stage | meaning |\n|---|---|---|\n");
    for (int i = 1; i < QN_REASON_COUNT; i++)
        qn_buf_printf(out, "| `%s` | %s | %s |\n", qn_reason_name((enum qn_reason)i),
                      qn_reason_stage((enum qn_reason)i), qn_reason_text((enum qn_reason)i));
    qn_buf_text(out,
                "\n## When the world fails\n\n| status | retriable | meaning |\n|---|---|---|\n");
#define ROW(name, retriable, text)                                                                 \
    qn_buf_printf(out, "| `%s` | %s | %s |\n", qn_status_name(QN_##name),                          \
                  (retriable) ? "yes" : "no", text);
    QN_STATUS_LIST(ROW)
#undef ROW
}

static const struct page {
    const char *name;
    void (*write)(struct qn_buf *out);
} pages[] = {
    {"commands", page_commands},          {"spec", qn_plan_reference},
    {"expressions", qn_expr_reference},   {"errors", page_errors},
    {"metrics", qn_metrics_reference},    {"http", qn_serve_reference},
    {"json-schema", qn_plan_json_schema},
};

int qn_cmd_reference(struct qn_cli *c, int argc, char **argv)
{
    struct qn_option_list rest;
    struct qn_buf b = {0};
    char none;
    int code;

    if (!qn_cli_options(c, &qn_usage_reference, argc, argv, &none, &rest, &code))
        return code;
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        if (strcmp(pages[i].name, rest.items[0]) == 0) {
            pages[i].write(&b);
            code = qn_cli_write(c, b.data, b.len) ? QN_EXIT_OK : QN_EXIT_FAILED;
            qn_buf_fini(&b);
            return code;
        }
    qn_cli_say(c,
               "quern reference: unknown page '%.40s'; there are commands, spec, expressions, "
               "errors, metrics, http, json-schema",
               rest.items[0]);
    return QN_EXIT_USAGE;
}
