/* SPDX-License-Identifier: Apache-2.0
 * test_options.c - command lines by table: values, mistakes and their wording, help. */
#include "base/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct opts {
    bool quiet, carets;
    int64_t threads, cache, lateness;
    const char *out;
    int color;
    struct qn_option_list set, tags;
};

static const struct qn_option options[] = {
    {.name = "threads",
     .type = QN_OPT_INT,
     .short_name = 't',
     .value = "N",
     .fallback = "1",
     .min = 1,
     .max = 64,
     .help = "worker threads",
     .offset = offsetof(struct opts, threads),
     .since = "0.1"},
    {.name = "cache",
     .type = QN_OPT_INT,
     .value = "SIZE",
     .fallback = "64KiB",
     .unit = "bytes",
     .help = "memory for the cache",
     .offset = offsetof(struct opts, cache)},
    {.name = "out",
     .type = QN_OPT_TEXT,
     .short_name = 'o',
     .value = "FILE",
     .help =
         "where the predictions go instead of standard output, which is where they go otherwise",
     .offset = offsetof(struct opts, out)},
    {.name = "color",
     .type = QN_OPT_ENUM,
     .choices = "auto|always|never",
     .fallback = "auto",
     .help = "color of messages",
     .offset = offsetof(struct opts, color)},
    {.name = "lateness",
     .type = QN_OPT_DURATION,
     .value = "TIME",
     .fallback = "10s",
     .min = 0,
     .max = 3600000000,
     .help = "how late an event may be",
     .offset = offsetof(struct opts, lateness)},
    {.name = "set",
     .type = QN_OPT_LIST,
     .short_name = 's',
     .value = "NAME=VALUE",
     .help = "a variable of the spec",
     .offset = offsetof(struct opts, set)},
    {.name = "tag",
     .type = QN_OPT_LIST,
     .fallback = "none",
     .help = "a tag",
     .offset = offsetof(struct opts, tags)},
    {.name = "quiet",
     .type = QN_OPT_FLAG,
     .short_name = 'q',
     .help = "no progress",
     .offset = offsetof(struct opts, quiet)},
    {.name = "carets",
     .type = QN_OPT_FLAG,
     .short_name = 'c',
     .fallback = "true",
     .help = "show the source line",
     .offset = offsetof(struct opts, carets)},
    {.name = NULL},
};

static const struct qn_command_usage usage = {
    .name = "pipe",
    .summary = "turns events into predictions",
    .positional = "SPEC [NAME]",
    .options = options,
    .examples = {"quern pipe fraud.yaml < events.ndjson", NULL},
};

static struct qn_err err;

enum { ARGS_MAX = 40 };

/* Splits a line at spaces and reads it. */
static qn_status read_line(const struct qn_command_usage *u, const char *line, struct opts *o,
                           struct qn_option_list *rest, bool *help, struct qn_arena *a)
{
    static char copy[300];
    char *argv[ARGS_MAX], *save = NULL;
    int argc = 0;

    snprintf(copy, sizeof copy, "%s", line);
    for (char *p = strtok_r(copy, " ", &save); p != NULL; p = strtok_r(NULL, " ", &save))
        argv[argc++] = p;
    memset(o, 0x5A, sizeof *o);
    return qn_options_parse(u, argc, argv, o, a, rest, help, &err);
}

static void test_defaults(void **state)
{
    struct qn_option_list rest;
    struct qn_arena a = {0};
    struct opts o;
    bool help;

    assert_int_equal(read_line(&usage, "spec.yaml", &o, &rest, &help, &a), QN_OK);
    assert_false(help);
    assert_true(!o.quiet && o.carets && o.threads == 1 && o.cache == 65536 &&
                o.lateness == 10000000);
    assert_true(o.out == NULL && o.color == 0 && o.set.count == 0);
    assert_int_equal(o.tags.count, 1);
    assert_string_equal(o.tags.items[0], "none");
    assert_int_equal(rest.count, 1);
    assert_string_equal(rest.items[0], "spec.yaml");
    qn_arena_fini(&a);
}

static void test_forms(void **state)
{
    struct qn_option_list rest;
    struct qn_arena a = {0};
    struct opts o;
    bool help;

    assert_int_equal(
        read_line(
            &usage,
            "--threads 3 --threads=8 a.yaml -qo out.txt --color never --cache=2MiB --lateness 1h "
            "--set a=1 -sb=2 -s c=3 --tag x --no-carets -- --name",
            &o, &rest, &help, &a),
        QN_OK);
    assert_true(o.quiet && !o.carets && o.threads == 8 && o.cache == 2 << 20 &&
                o.lateness == 3600000000);
    assert_string_equal(o.out, "out.txt");
    assert_int_equal(o.color, 2);
    assert_int_equal(o.set.count, 3);
    assert_string_equal(o.set.items[0], "a=1");
    assert_string_equal(o.set.items[1], "b=2");
    assert_string_equal(o.set.items[2], "c=3");
    assert_int_equal(o.tags.count, 1);
    assert_string_equal(o.tags.items[0], "x");
    assert_int_equal(rest.count, 2);
    assert_string_equal(rest.items[1], "--name");
    assert_int_equal(read_line(&usage, "-t4 -", &o, &rest, &help, &a), QN_OK);
    assert_int_equal(o.threads, 4);
    assert_string_equal(rest.items[0], "-");
    assert_int_equal(read_line(&usage, "--cache 1e6 --quiet=false -- x", &o, &rest, &help, &a),
                     QN_OK);
    assert_int_equal(o.cache, 1000000);
    assert_false(o.quiet);
    assert_int_equal(read_line(&usage, "--bad-later -h", &o, &rest, &help, &a), QN_INVALID);
    assert_int_equal(read_line(&usage, "-qh --bad", &o, &rest, &help, &a), QN_OK);
    assert_true(help);
    assert_int_equal(read_line(&usage, "--help", &o, &rest, &help, &a), QN_OK);
    assert_true(help);
    qn_arena_fini(&a);
}

static void test_mistakes(void **state)
{
    static const char *const rows[][2] = {
        {"x --tread 3", "unknown option '--tread' (did you mean '--threads'?)"},
        {"x --thread=3", "unknown option '--thread' (did you mean '--threads'?)"},
        {"x --hepl", "unknown option '--hepl' (did you mean '--help'?)"},
        {"x --fantasy", "unknown option '--fantasy' (see 'quern pipe --help')"},
        {"x --no-threads", "unknown option '--no-threads' (see 'quern pipe --help')"},
        {"x -z", "unknown option '-z' (see 'quern pipe --help')"},
        {"x --threads", "option '--threads' needs a value: --threads N"},
        {"x --color", "option '--color' needs a value: --color auto|always|never"},
        {"x -t", "option '--threads' needs a value: --threads N"},
        {"x --threads many", "option '--threads': 'many' is not a whole number"},
        {"x --threads 1.5", "option '--threads': '1.5' is not a whole number"},
        {"x --threads 99", "option '--threads': 99 is above the largest value, 64"},
        {"x -t0", "option '--threads': 0 is below the smallest value, 1"},
        {"x --cache 5XB",
         "option '--cache': '5XB' is not a number of bytes, such as 4096 or 64KiB"},
        {"x --cache 99999999999999GiB",
         "option '--cache': '99999999999999GiB' is not a number of bytes, such as 4096 or 64KiB"},
        {"x --lateness 5",
         "option '--lateness': '5' is not a duration, such as 50ms, 10s, 5m, 1h or 7d"},
        {"x --lateness 2h", "option '--lateness': 2h is above the largest value, 1h"},
        {"x --color nevr",
         "option '--color': 'nevr' is not one of auto|always|never (did you mean 'never'?)"},
        {"x --color blue", "option '--color': 'blue' is not one of auto|always|never"},
        {"x --quiet=maybe", "option '--quiet': 'maybe' is not true or false"},
        {"", "SPEC is missing (usage: quern pipe SPEC [NAME])"},
        {"a b c", "unexpected argument 'c' (usage: quern pipe SPEC [NAME])"},
    };
    struct qn_option_list rest;
    struct qn_arena a = {0};
    struct opts o;
    bool help;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(read_line(&usage, rows[i][0], &o, &rest, &help, &a), QN_INVALID);
        assert_string_equal(err.text, rows[i][1]);
    }
    qn_arena_fini(&a);
}

static void test_positional(void **state)
{
    struct qn_command_usage u = {
        .name = "", .summary = "s", .positional = "FILE...", .options = options};
    struct qn_option_list rest;
    struct qn_arena a = {0};
    struct opts o;
    bool help;

    assert_int_equal(read_line(&u, "a b c d", &o, &rest, &help, &a), QN_OK);
    assert_int_equal(rest.count, 4);
    assert_int_equal(read_line(&u, "", &o, &rest, &help, &a), QN_INVALID);
    u.positional = "[FILE...]";
    assert_int_equal(read_line(&u, "", &o, &rest, &help, &a), QN_OK);
    u.positional = "";
    assert_int_equal(read_line(&u, "", &o, &rest, &help, &a), QN_OK);
    assert_int_equal(read_line(&u, "a", &o, &rest, &help, &a), QN_INVALID);
    assert_string_equal(err.text, "unexpected argument 'a' (usage: quern)");
    qn_arena_fini(&a);
}

static void test_help(void **state)
{
    struct qn_buf b = {0};

    qn_options_help(&usage, &b);
    qn_buf_byte(&b, '\0');
    assert_string_equal(
        b.data, "quern pipe - turns events into predictions\n"
                "\n"
                "usage: quern pipe [OPTIONS] SPEC [NAME]\n"
                "\n"
                "options:\n"
                "  -t, --threads N       worker threads (default 1, 1 to 64)\n"
                "      --cache SIZE      memory for the cache (in bytes, default 64KiB)\n"
                "  -o, --out FILE        where the predictions go instead of standard output,\n"
                "                        which is where they go otherwise\n"
                "      --color auto|always|never\n"
                "                        color of messages (default auto)\n"
                "      --lateness TIME   how late an event may be (default 10s, 0s to 1h)\n"
                "  -s, --set NAME=VALUE  a variable of the spec (may be repeated)\n"
                "      --tag TEXT        a tag (default none, may be repeated)\n"
                "  -q, --quiet           no progress\n"
                "  -c, --carets          show the source line (default true)\n"
                "  -h, --help            show this text\n"
                "\n"
                "examples:\n"
                "  quern pipe fraud.yaml < events.ndjson\n"
                "\n"
                "exit codes:\n"
                "  0    done\n"
                "  1    failed\n"
                "  2    wrong usage, or an error in the spec\n"
                "  3    a check found a difference\n"
                "  130  interrupted\n");
    qn_buf_clear(&b);
    qn_options_reference(&usage, &b);
    qn_buf_byte(&b, '\0');
    assert_non_null(strstr(b.data, "## quern pipe\n"));
    assert_non_null(
        strstr(b.data, "| `-t`, `--threads N` | worker threads (default 1, 1 to 64) | 0.1 |\n"));
    assert_non_null(strstr(
        b.data, "| `--color auto\\|always\\|never` | color of messages (default auto) |  |\n"));
    qn_buf_fini(&b);
}

static void test_out_of_memory(void **state)
{
    uint64_t nth = 1;
    qn_status rc;

    do {
        struct qn_option_list rest;
        struct qn_arena a;
        struct opts o;
        bool help;

        qn_arena_init(&a, 16);
        qn_mem_fail_at(nth++, false);
        rc = read_line(&usage, "a.yaml --out x --set a=1 --tag y", &o, &rest, &help, &a);
        qn_mem_fail_at(0, false);
        assert_true(rc == QN_OK || rc == QN_NOMEM);
        qn_arena_fini(&a);
    } while (rc == QN_NOMEM);
    assert_int_equal(nth - 1, 5); /* four allocations failed in turn, then none was left to fail */
    for (nth = 1; nth < 12; nth++) {
        struct qn_buf b = {0};

        qn_mem_fail_at(nth, true);
        qn_options_help(&usage, &b);
        qn_options_reference(&usage, &b);
        qn_mem_fail_at(0, false);
        assert_true(b.failed);
        qn_buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_forms),
        cmocka_unit_test(test_mistakes), cmocka_unit_test(test_positional),
        cmocka_unit_test(test_help),     cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
