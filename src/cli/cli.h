/* SPDX-License-Identifier: Apache-2.0
 * cli.h - what all commands share: their table, option reading, errors on stderr, the progress bar.
 *
 * A command is one file cmd_<verb>.c with a qn_command_usage (options.h) and a function; commands.c
 * lists them. Data goes to stdout, words to stderr. Exit codes: 0 done, 1 failed, 2 usage or spec
 * error, 3 a check found a difference, 130 interrupted, 143 told to stop and not done in time.
 * Thread: main. */
#ifndef QN_CLI_CLI_H
#define QN_CLI_CLI_H

#include "base/clock.h"
#include "base/file.h"
#include "base/options.h"
#include "base/threads.h"
#include "spec/plan.h"

#include <signal.h>

enum {
    QN_EXIT_OK = 0,
    QN_EXIT_FAILED = 1,
    QN_EXIT_USAGE = 2,
    QN_EXIT_DIFFERENT = 3,
    QN_EXIT_INTERRUPTED = 130,
    QN_EXIT_TERMINATED = 143 /* told to stop, and it took too long */
};

/* The world as a command sees it; tests hand in another one. */
struct qn_cli {
    const struct qn_files *files;
    const struct qn_clock *clock;
    const char *const *environment;
    int in, out, err;            /* descriptors                                     */
    bool err_is_terminal;        /* progress bars and carets                        */
    bool color;                  /* err is a terminal, NO_COLOR unset, not dumb     */
    struct qn_arena arena;       /* boot lifetime of this run                       */
    volatile sig_atomic_t *stop; /* set by SIGINT and SIGTERM: finish and leave     */
    /* From now on SIGHUP sets *reload instead of ending the program. */
    bool (*catch_hangup)(void);
    volatile sig_atomic_t *reload;
};

typedef int qn_command_fn(struct qn_cli *c, int argc, char **argv);
struct qn_command {
    const struct qn_command_usage *usage;
    qn_command_fn *run;
};
extern const struct qn_command qn_commands[]; /* ended by usage = NULL */

/* Finds the command argv[1] and runs it; returns the exit code. */
int qn_cli_main(struct qn_cli *c, int argc, char **argv);

/* Option row --threads of a command: `member` of its options struct `owner` is an int64_t. */
#define QN_THREADS_ROW(owner, member, version)                                                     \
    {                                                                                              \
        .name = "threads", .type = QN_OPT_INT, .short_name = 't', .value = "N", .fallback = "1",   \
        .min = 1, .max = QN_TEAM_MAX, .since = version,                                            \
        .help = "threads that share the work; the answers do not depend on it",                    \
        .offset = offsetof(owner, member)                                                          \
    }

/* Reads options; prints help or the usage error. False when the command is over: then *exit_code
 * says how. */
bool qn_cli_options(struct qn_cli *c, const struct qn_command_usage *u, int argc, char **argv,
                    void *into, struct qn_option_list *rest, int *exit_code);

/* "quern: text" or "file:line:col: text" on stderr. Returns QN_EXIT_FAILED, or
 * QN_EXIT_USAGE for what is not valid and stands in no file, QN_EXIT_OK when our reader has left.
 */
int qn_cli_fail(struct qn_cli *c, const struct qn_err *err);
/* One line on stderr, printf-like; adds the line end. */
void qn_cli_say(struct qn_cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Whether there is a file to read at that path. */
bool qn_cli_exists(struct qn_cli *c, const char *path);
/* Makes the file anew, or in the place of one. */
qn_status qn_cli_write_file(struct qn_cli *c, const char *path, const void *p, size_t bytes,
                            struct qn_err *err);
/* Writes all bytes to stdout. False when the reader is gone or the disk is full (said on stderr,
 * but for EPIPE). */
bool qn_cli_write(struct qn_cli *c, const void *p, size_t bytes);

/* A variable of the environment; NULL where it is not set. */
const char *qn_cli_variable(const struct qn_cli *c, const char *name);

/* Loads a spec and prints its diagnostics. NULL when it has errors: *exit_code says how. */
struct qn_plan *qn_cli_plan(struct qn_cli *c, const char *path, int *exit_code);
/* The same with a boot lifetime of its own. */
struct qn_plan *qn_cli_plan_in(struct qn_cli *c, const char *path, struct qn_arena *boot,
                               int *exit_code);

/* Progress of long work, at most ten times a second on a terminal, every 10 s as a line elsewhere.
 */
struct qn_progress {
    struct qn_cli *cli;
    const char *what; /* "events"          */
    int64_t start_ns, shown_ns;
    bool is_shown;
};
void qn_progress_start(struct qn_progress *p, struct qn_cli *c, const char *what);
/* done of total (total 0 = unknown) in bytes, and how many events so far. Cheap when called often.
 */
void qn_progress_update(struct qn_progress *p, uint64_t events, uint64_t done_bytes,
                        uint64_t total_bytes);
void qn_progress_end(struct qn_progress *p); /* erases the bar */

#endif
