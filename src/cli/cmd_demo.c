/* SPDX-License-Identifier: Apache-2.0
 * cmd_demo.c - `quern demo`: a worked system in one command. Card transactions are made up
 * (source_generate.h), go through a pipeline with the spec and the model that the binary carries
 * (embedded.h), and a live view shows what comes out, here and in a browser.
 *
 * How it runs is in demo.h. Here are the options, and the two ways to take the demo away. Thread:
 * main. Memory: the command's arena. */
#include "cli/commands.h"
#include "cli/demo.h"
#include "cli/embedded.h"
#include "cli/temp_folder.h"

#define SPEC_PATH "card-fraud/card-fraud.yaml"

enum { WRITE_ROWS = 1024, WRITE_EVENTS = 2000000 };

static const struct qn_option options[] = {
    {.name = "events",
     .type = QN_OPT_INT,
     .short_name = 'n',
     .value = "N",
     .fallback = "-1",
     .min = -1,
     .max = INT64_MAX,
     .since = "0.1",
     .help =
         "end after so many events; 0 = go on until Ctrl-C, -1 = that on a terminal, else 200000",
     .offset = offsetof(struct qn_demo_options, events)},
    {.name = "rate",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "-1",
     .min = -1,
     .max = 1000000000,
     .unit = "events/s",
     .since = "0.1",
     .help = "pace; 0 = as fast as it goes, -1 = 5000 on a terminal, else 0",
     .offset = offsetof(struct qn_demo_options, rate)},
    QN_THREADS_ROW(struct qn_demo_options, threads, "0.1"),
    QN_SOURCE_GENERATE_ROWS(struct qn_demo_options, generate),
    {.name = "http",
     .type = QN_OPT_TEXT,
     .value = "ADDR:PORT",
     .fallback = "127.0.0.1:8090",
     .since = "0.2",
     .help = "where the dashboard is; a free port where this one is taken",
     .offset = offsetof(struct qn_demo_options, http)},
    {.name = "engine-only",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "the engine alone, without log and dashboard: how fast one core goes",
     .offset = offsetof(struct qn_demo_options, engine_only)},
    {.name = "write-events",
     .type = QN_OPT_TEXT,
     .value = "FILE",
     .since = "0.1",
     .help = "score nothing, write the generated events as NDJSON ('-' is standard output)",
     .offset = offsetof(struct qn_demo_options, write_events)},
    {.name = "write-files",
     .type = QN_OPT_TEXT,
     .value = "FOLDER",
     .since = "0.1",
     .help = "run nothing, write the demo's spec and model into a folder",
     .offset = offsetof(struct qn_demo_options, write_files)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_demo = {
    .name = "demo",
    .summary = "a worked system: card transactions made up, scored and shown live",
    .positional = "[NAME]",
    .options = options,
    .examples = {"quern demo", "quern demo card-fraud --events 0 --engine-only",
                 "quern demo --write-events events.ndjson --events 100000"},
};

/* --- the two ways to take the demo away --- */

static qn_status write_events(struct qn_cli *c, const struct qn_demo_options *opt, int fd,
                              struct qn_err *err)
{
    char *text = qn_mem_zalloc(WRITE_ROWS, QN_GENERATE_LINE_MAX);
    struct qn_str *lines = qn_mem_zalloc(WRITE_ROWS, sizeof(*lines));
    uint64_t left = opt->events == 0  ? UINT64_MAX
                    : opt->events < 0 ? WRITE_EVENTS
                                      : (uint64_t)opt->events;
    struct qn_generate *g = NULL;
    qn_status rc = QN_OK;
    uint32_t count = 1;
    size_t bytes;

    if (text == NULL || lines == NULL)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for the events");
    if (rc == QN_OK)
        rc = qn_source_generate_new(&opt->generate, &g, err);
    while (rc == QN_OK && left > 0 && count > 0 && !*c->stop) {
        rc = qn_source_generate_read(
            g, text, lines, left < WRITE_ROWS ? (uint32_t)left : WRITE_ROWS, &count, &bytes, err);
        if (rc == QN_OK)
            rc = qn_file_write_all(c->files, fd, opt->write_events, text, bytes, err);
        left -= count;
    }
    qn_source_generate_free(g);
    qn_mem_free(text);
    qn_mem_free(lines);
    return rc;
}

static int demo_write_events(struct qn_cli *c, const struct qn_demo_options *opt)
{
    bool is_stdout = strcmp(opt->write_events, "-") == 0;
    struct qn_err err = {0};
    qn_status rc;
    int fd = c->out, closed = 0;

    if (!is_stdout) {
        fd = c->files->open(c->files->st, opt->write_events, QN_OPEN_REPLACE);
        if (fd < 0) {
            qn_err_sys(&err, -fd, "cannot write '%s'", opt->write_events);
            return qn_cli_fail(c, &err);
        }
    }
    rc = write_events(c, opt, fd, &err);
    if (!is_stdout)
        closed = c->files->close(c->files->st, fd);
    if (rc == QN_OK && closed < 0)
        rc = qn_err_sys(&err, -closed, "cannot write '%s'", opt->write_events);
    if (*c->stop)
        return QN_EXIT_INTERRUPTED;
    return rc == QN_OK ? QN_EXIT_OK : qn_cli_fail(c, &err);
}

static int demo_write_files(struct qn_cli *c, const char *folder)
{
    struct qn_err err = {0};

    for (const struct qn_embedded_file *f = qn_embedded_files; f->path != NULL; f++) {
        struct qn_buf path = {0};
        qn_status rc;

        qn_buf_printf(&path, "%s/%s", folder, strrchr(f->path, '/') + 1);
        qn_buf_byte(&path, '\0');
        if (path.failed) {
            qn_buf_fini(&path);
            qn_err_set(&err, QN_NOMEM, "out of memory for a file's name");
            return qn_cli_fail(c, &err);
        }
        rc = qn_cli_write_file(c, path.data, f->data, f->bytes, &err);
        if (rc == QN_OK)
            qn_cli_say(c, "wrote %s", path.data);
        qn_buf_fini(&path);
        if (rc != QN_OK)
            return qn_cli_fail(c, &err);
    }
    return QN_EXIT_OK;
}

/* --- running it --- */

/* The plan of the carried spec, whose log lies in `folder`. NULL: *code says how the command ends.
 */
static struct qn_plan *load_plan(struct qn_cli *c, const struct qn_files *embedded,
                                 const char *folder, int *code)
{
    const struct qn_files *outside = c->files;
    const char *const *environment = c->environment;
    const char *here[2] = {NULL, NULL};
    struct qn_buf variable = {0};
    struct qn_plan *plan = NULL;

    qn_buf_printf(&variable, "QUERN_DATA=%s", folder);
    qn_buf_byte(&variable, '\0');
    here[0] = variable.data;
    if (variable.failed) {
        struct qn_err err = {0};

        qn_err_set(&err, QN_NOMEM, "out of memory for the demo");
        *code = qn_cli_fail(c, &err);
    } else {
        c->files = embedded;
        c->environment = here;
        plan = qn_cli_plan(c, SPEC_PATH, code);
        c->files = outside;
        c->environment = environment;
    }
    qn_buf_fini(&variable);
    return plan;
}

static int run_engine(struct qn_cli *c, const struct qn_demo_options *opt,
                      const struct qn_files *embedded)
{
    int code;
    struct qn_plan *plan = load_plan(c, embedded, "data", &code);

    if (plan != NULL)
        code = qn_demo_engine_run(c, opt, plan);
    qn_plan_free(plan);
    return code;
}

/* In a folder of its own, which goes with it. */
static int run_service(struct qn_cli *c, const struct qn_demo_options *opt,
                       const struct qn_files *embedded)
{
    struct qn_buf folder = {0};
    struct qn_plan *plan;
    struct qn_err err = {0};
    int code;

    if (qn_temp_folder_make(c, "quern-demo", &folder, &err) != QN_OK) {
        qn_buf_fini(&folder);
        return qn_cli_fail(c, &err);
    }
    plan = load_plan(c, embedded, folder.data, &code);
    if (plan != NULL)
        code = qn_demo_service_run(c, opt, plan);
    qn_plan_free(plan);
    qn_temp_folder_remove(c, folder.data);
    qn_buf_fini(&folder);
    return code;
}

int qn_cmd_demo(struct qn_cli *c, int argc, char **argv)
{
    struct qn_demo_options opt = {0};
    struct qn_embedded_door door = {0};
    struct qn_files embedded = qn_embedded_open(&door);
    const struct qn_files *outside = c->files;
    struct qn_option_list rest;
    int code;

    if (!qn_cli_options(c, &qn_usage_demo, argc, argv, &opt, &rest, &code))
        return code;
    if (rest.count > 0 && strcmp(rest.items[0], "card-fraud") != 0) {
        qn_cli_say(c, "quern demo: unknown demo '%s'; there is: card-fraud", rest.items[0]);
        return QN_EXIT_USAGE;
    }
    if (opt.write_files != NULL)
        return demo_write_files(c, opt.write_files);
    if (opt.write_events != NULL)
        return demo_write_events(c, &opt);
    embedded.write = outside->write; /* what the loader has to say goes to the real stderr */
    return opt.engine_only ? run_engine(c, &opt, &embedded) : run_service(c, &opt, &embedded);
}
