/* SPDX-License-Identifier: Apache-2.0
 * cmd_init.c - `quern init FILE`: a first spec from a sample of events.
 *
 * What the fields are is guessed in infer_schema.c, the text is made in infer_write.c. Before the
 * spec is handed out it goes through the same loader as `quern check` uses; one that would not pass
 * is a bug and is not written. Thread: main. */
#include "cli/commands.h"
#include "cli/infer_schema.h"

struct init_options {
    const char *name, *stream, *output;
    int64_t sample;
    int format;
    bool force;
};

static const struct qn_option options[] = {
    {.name = "output",
     .type = QN_OPT_TEXT,
     .short_name = 'o',
     .value = "SPEC",
     .fallback = "-",
     .since = "0.1",
     .help = "write the spec there ('-' is standard output)",
     .offset = offsetof(struct init_options, output)},
    {.name = "name",
     .type = QN_OPT_TEXT,
     .value = "NAME",
     .since = "0.1",
     .help = "name of the pipeline (default: the file's name)",
     .offset = offsetof(struct init_options, name)},
    {.name = "stream",
     .type = QN_OPT_TEXT,
     .value = "NAME",
     .since = "0.1",
     .help = "name of the stream (default: the file's name)",
     .offset = offsetof(struct init_options, stream)},
    {.name = "sample",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "10000",
     .max = INT64_MAX,
     .unit = "events",
     .since = "0.1",
     .help = "look at the first N events, 0 = at all",
     .offset = offsetof(struct init_options, sample)},
    {.name = "format",
     .type = QN_OPT_ENUM,
     .value = "FORMAT",
     .fallback = "auto",
     .choices = "auto|ndjson|csv",
     .since = "0.1",
     .help = "how the file is written (auto: by its name's ending, else NDJSON)",
     .offset = offsetof(struct init_options, format)},
    {.name = "force",
     .type = QN_OPT_FLAG,
     .since = "0.1",
     .help = "replace the spec if it is there already",
     .offset = offsetof(struct init_options, force)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_init = {
    .name = "init",
    .summary = "a first spec from a sample of events",
    .positional = "FILE",
    .options = options,
    .examples = {"quern init transactions.ndjson",
                 "quern init readings.csv.gz --output readings.yaml",
                 "tail -n 5000 app.log | quern init - --name app > app.yaml"},
};

/* The file's name without folders and endings. */
static struct qn_str base_name(const char *path)
{
    static const char *const endings[] = {".gz",   ".zst", ".ndjson", ".jsonl",
                                          ".json", ".csv", ".txt",    ".log"};
    const char *slash = strrchr(path, '/');
    struct qn_str s = qn_str_of(slash != NULL ? slash + 1 : path);

    if (strcmp(path, "-") == 0)
        return qn_str_of("events");
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        size_t n = strlen(endings[i]);

        if (s.len > n && memcmp(s.p + s.len - n, endings[i], n) == 0)
            s.len -= (uint32_t)n;
    }
    return s;
}

/* Loads the text as `check` would; says what is wrong with it. */
static bool passes_check(struct qn_cli *c, const struct qn_buf *text, const char *path)
{
    struct qn_plan_options opt = {.files = c->files, .environment = c->environment};
    struct qn_diags diags = {.arena = &c->arena};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};
    struct qn_buf b = {0};
    struct qn_str s = {text->data, (uint32_t)text->len};
    qn_status rc = qn_plan_load_text(s, path, &opt, &c->arena, &diags, &plan, &err);

    qn_plan_free(plan);
    if (rc == QN_OK)
        return true;
    qn_diag_print(&diags, true, &b);
    if (diags.errors > 0 && !b.failed)
        qn_cli_say(c, "quern init: a bug: the guessed spec does not pass its check:\n%.*s",
                   (int)b.len, b.data);
    else
        (void)qn_cli_fail(c, &err);
    qn_buf_fini(&b);
    return false;
}

static int write_spec(struct qn_cli *c, const char *path, const struct qn_buf *text)
{
    struct qn_err err = {0};

    if (strcmp(path, "-") == 0)
        return qn_cli_write(c, text->data, text->len) ? QN_EXIT_OK : QN_EXIT_FAILED;
    if (qn_cli_write_file(c, path, text->data, text->len, &err) != QN_OK)
        return qn_cli_fail(c, &err);
    return QN_EXIT_OK;
}

/* What was found, in one line, and the next step. */
static void say_result(struct qn_cli *c, const struct qn_inferred *in, const char *file,
                       const char *spec)
{
    struct qn_buf b = {0};
    uint32_t fields = 0;

    for (uint32_t i = 0; i < in->field_count; i++)
        fields += in->fields[i].skipped == NULL;
    qn_buf_printf(&b, "%s: %llu event%s looked at, %u field%s, time %.*s", file,
                  (unsigned long long)in->events, in->events == 1 ? "" : "s", fields,
                  fields == 1 ? "" : "s", QN_STR_ARG(in->fields[in->time].name));
    if (in->id >= 0)
        qn_buf_printf(&b, ", id %.*s", QN_STR_ARG(in->fields[in->id].name));
    if (in->key >= 0)
        qn_buf_printf(&b, ", key %.*s", QN_STR_ARG(in->fields[in->key].name));
    if (in->broken > 0)
        qn_buf_printf(&b, "; %llu could not be read", (unsigned long long)in->broken);
    if (strcmp(spec, "-") != 0)
        qn_buf_printf(&b, "\nwrote %s; next: quern check %s", spec, spec);
    if (!b.failed)
        qn_cli_say(c, "%.*s", (int)b.len, b.data);
    qn_buf_fini(&b);
}

static int init_run(struct qn_cli *c, const struct init_options *opt, const char *file,
                    struct qn_buf *text)
{
    struct qn_infer_source src = {
        .files = c->files, .path = file, .format = (enum qn_format)opt->format, .stop = c->stop};
    struct qn_infer_names names = {.file = strcmp(file, "-") == 0 ? "events.ndjson" : file,
                                   .spec =
                                       strcmp(opt->output, "-") == 0 ? "spec.yaml" : opt->output};
    struct qn_inferred found;
    struct qn_err err = {0};
    int code;

    names.pipeline = qn_infer_pipeline_name(&c->arena, opt->name != NULL ? qn_str_of(opt->name)
                                                                         : base_name(file));
    names.stream =
        qn_infer_name(&c->arena, opt->stream != NULL ? qn_str_of(opt->stream) : base_name(file));
    src.events_max = (uint64_t)opt->sample;
    if (names.pipeline == NULL || names.stream == NULL) {
        qn_err_set(&err, QN_NOMEM, "out of memory for a name");
        return qn_cli_fail(c, &err);
    }
    if (qn_infer_file(&src, &c->arena, &found, &err) != QN_OK)
        return qn_cli_fail(c, &err);
    qn_infer_write_spec(&found, &names, text);
    if (text->failed) {
        qn_err_set(&err, QN_NOMEM, "out of memory for the spec");
        return qn_cli_fail(c, &err);
    }
    if (!passes_check(c, text, names.spec))
        return QN_EXIT_FAILED;
    code = write_spec(c, opt->output, text);
    if (code == QN_EXIT_OK)
        say_result(c, &found, file, opt->output);
    return code;
}

int qn_cmd_init(struct qn_cli *c, int argc, char **argv)
{
    struct init_options opt = {0};
    struct qn_option_list rest;
    struct qn_buf text = {0};
    int code;

    if (!qn_cli_options(c, &qn_usage_init, argc, argv, &opt, &rest, &code))
        return code;
    if (!opt.force && strcmp(opt.output, "-") != 0 && qn_cli_exists(c, opt.output)) {
        qn_cli_say(c,
                   "quern init: %s is there already; --force replaces it, --output writes another",
                   opt.output);
        return QN_EXIT_FAILED;
    }
    code = init_run(c, &opt, rest.items[0], &text);
    qn_buf_fini(&text);
    return code;
}
