/* SPDX-License-Identifier: Apache-2.0
 * cli.c - what all commands share: finding them, reading options, words on stderr, loading a spec.
 *
 * Thread: main. Memory: the command's arena. */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static void write_fd(struct qn_cli *c, int fd, const struct qn_buf *b)
{
    if (b->data != NULL)
        (void)qn_file_write_all(c->files, fd, "output", b->data, b->len, NULL);
}

void qn_cli_say(struct qn_cli *c, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text - 1, fmt, ap);
    va_end(ap);
    n = n < 0 ? 0 : n > (int)sizeof text - 2 ? (int)sizeof text - 2 : n;
    text[n] = '\n';
    (void)qn_file_write_all(c->files, c->err, "stderr", text, (size_t)n + 1, NULL);
}

int qn_cli_fail(struct qn_cli *c, const struct qn_err *err)
{
    if (c->stop != NULL && *c->stop)
        return QN_EXIT_INTERRUPTED;
    if (err->code == QN_CLOSED) /* the reader of our output has left: nothing to say to anyone */
        return QN_EXIT_OK;
    if (err->file[0] == '\0')
        qn_cli_say(c, "quern: %s", err->text);
    else if (err->line == 0)
        qn_cli_say(c, "%s: %s", err->file, err->text);
    else if (err->col == 0)
        qn_cli_say(c, "%s:%u: %s", err->file, err->line, err->text);
    else
        qn_cli_say(c, "%s:%u:%u: %s", err->file, err->line, err->col, err->text);
    /* what has no file and is not valid was said on the command line */
    return err->code == QN_INVALID && err->file[0] == '\0' ? QN_EXIT_USAGE : QN_EXIT_FAILED;
}

bool qn_cli_exists(struct qn_cli *c, const char *path)
{
    int fd = c->files->open(c->files->st, path, QN_OPEN_READ);

    if (fd >= 0)
        c->files->close(c->files->st, fd);
    return fd >= 0;
}

qn_status qn_cli_write_file(struct qn_cli *c, const char *path, const void *p, size_t bytes,
                            struct qn_err *err)
{
    int fd = c->files->open(c->files->st, path, QN_OPEN_REPLACE), closed;
    qn_status rc;

    if (fd < 0)
        return qn_err_sys(err, -fd, "cannot write '%s'", path);
    rc = qn_file_write_all(c->files, fd, path, p, bytes, err);
    closed = c->files->close(c->files->st, fd);
    if (rc == QN_OK && closed < 0)
        rc = qn_err_sys(err, -closed, "cannot write '%s'", path);
    return rc;
}

bool qn_cli_write(struct qn_cli *c, const void *p, size_t bytes)
{
    struct qn_err err = {0};

    if (qn_file_write_all(c->files, c->out, "standard output", p, bytes, &err) == QN_OK)
        return true;
    (void)qn_cli_fail(c, &err);
    return false;
}

const char *qn_cli_variable(const struct qn_cli *c, const char *name)
{
    size_t n = strlen(name);

    for (const char *const *e = c->environment; e != NULL && *e != NULL; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}

bool qn_cli_options(struct qn_cli *c, const struct qn_command_usage *u, int argc, char **argv,
                    void *into, struct qn_option_list *rest, int *exit_code)
{
    struct qn_err err = {0};
    bool wants_help = false;

    if (qn_options_parse(u, argc, argv, into, &c->arena, rest, &wants_help, &err) != QN_OK) {
        qn_cli_say(c, "quern %s: %s; try 'quern %s --help'", u->name, err.text, u->name);
        *exit_code = QN_EXIT_USAGE;
        return false;
    }
    if (wants_help) {
        struct qn_buf b = {0};

        qn_options_help(u, &b);
        *exit_code = qn_cli_write(c, b.data, b.len) ? QN_EXIT_OK : QN_EXIT_FAILED;
        qn_buf_fini(&b);
        return false;
    }
    return true;
}

struct qn_plan *qn_cli_plan(struct qn_cli *c, const char *path, int *exit_code)
{
    return qn_cli_plan_in(c, path, &c->arena, exit_code);
}

struct qn_plan *qn_cli_plan_in(struct qn_cli *c, const char *path, struct qn_arena *boot,
                               int *exit_code)
{
    struct qn_plan_options opt = {.files = c->files, .environment = c->environment};
    struct qn_diags diags = {.arena = boot};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};
    struct qn_buf b = {0};
    qn_status rc;

    if (strcmp(path, "-") == 0) {
        qn_cli_say(c, "quern: a spec is a file, not '-': standard input is for events");
        *exit_code = QN_EXIT_USAGE;
        return NULL;
    }
    rc = qn_plan_load(path, &opt, boot, &diags, &plan, &err);

    if (diags.count > 0) {
        qn_diag_print(&diags, true, &b);
        write_fd(c, c->err, &b);
        qn_buf_fini(&b);
    }
    *exit_code = QN_EXIT_OK;
    if (rc == QN_OK)
        return plan;
    *exit_code = QN_EXIT_USAGE;
    if (diags.errors == 0)
        (void)qn_cli_fail(c, &err);
    else
        qn_cli_say(c, "%s: %u error%s", path, diags.errors, diags.errors == 1 ? "" : "s");
    return NULL;
}

static void print_commands(struct qn_cli *c, int fd)
{
    struct qn_buf b = {0};

    qn_buf_text(&b, "quern - events become predictions, exactly\n\nusage: quern COMMAND [SPEC] "
                    "[--options]\n\n");
    for (const struct qn_command *k = qn_commands; k->usage != NULL; k++)
        if (k->usage->summary != NULL)
            qn_buf_printf(&b, "  %-10s %s\n", k->usage->name, k->usage->summary);
    qn_buf_text(&b, "\nquern COMMAND --help tells about one of them; a first look: quern demo\n");
    write_fd(c, fd, &b);
    qn_buf_fini(&b);
}

static int unknown_command(struct qn_cli *c, const char *name)
{
    static const char *const planned[][2] = {{"test", "quern pipe over sample events, and compare"},
                                             {"diff", "quern pipe with both specs, and compare"},
                                             {"serve", "quern pipe"},
                                             {"bench", "./dev bench"}};
    struct qn_str names[64];
    unsigned n = 0;
    int near;

    for (size_t i = 0; i < sizeof planned / sizeof planned[0]; i++) {
        if (strcmp(name, planned[i][0]) != 0)
            continue;
        qn_cli_say(c,
                   "quern: '%s' is not available in this version; until then: %s; try 'quern "
                   "--help'",
                   name, planned[i][1]);
        return QN_EXIT_USAGE;
    }

    for (const struct qn_command *k = qn_commands; k->usage != NULL && n < 64; k++)
        names[n++] = qn_str_of(k->usage->name);
    near = qn_nearest(qn_str_of(name), names, n);
    if (near >= 0)
        qn_cli_say(c, "quern: unknown command '%.40s' (did you mean '%.*s'?); try 'quern --help'",
                   name, QN_STR_ARG(names[near]));
    else
        qn_cli_say(c, "quern: unknown command '%.40s'; try 'quern --help'", name);
    return QN_EXIT_USAGE;
}

int qn_cli_main(struct qn_cli *c, int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;

    if (name == NULL) {
        print_commands(c, c->err);
        return QN_EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
        (strcmp(name, "help") == 0 && argc == 2)) {
        print_commands(c, c->out);
        return QN_EXIT_OK;
    }
    if (strcmp(name, "help") == 0) {
        static char help[] = "--help";
        char *help_argv[] = {argv[0], argv[2], help, NULL};

        return qn_cli_main(c, 3, help_argv);
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (const struct qn_command *k = qn_commands; k->usage != NULL; k++)
        if (strcmp(k->usage->name, name) == 0)
            return k->run(c, argc - 2, argv + 2);
    return unknown_command(c, name);
}
