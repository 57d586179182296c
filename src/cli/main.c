/* SPDX-License-Identifier: Apache-2.0
 * main.c - finds the command and runs it with the real world: files, clock, descriptors, signals.
 *
 * The only file outside the libraries. SIGINT and SIGTERM set a flag; a second one ends the program
 * at once. SIGPIPE is an error of the write that met it. Thread: main. */
#include "cli/cli.h"
#include "event/decode.h"
#include "model/model.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

extern char **environ;

static volatile sig_atomic_t stop_requested, reload_requested;
static int stop_pipe[2] = {-1, -1};

static void on_stop(int sig)
{
    int saved = errno;

    if (stop_requested)
        _exit(QN_EXIT_INTERRUPTED);
    stop_requested = 1;
    if (write(stop_pipe[1], "", 1) < 0)
        _exit(QN_EXIT_INTERRUPTED);
    errno = saved;
}

static void on_hangup(int sig)
{
    reload_requested = 1;
}

static bool catch_hangup(void)
{
    struct sigaction reload = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};

    return sigaction(SIGHUP, &reload, NULL) == 0;
}

static bool catch_signals(void)
{
    struct sigaction stop = {.sa_handler = on_stop}, ignore = {.sa_handler = SIG_IGN};

    return pipe(stop_pipe) == 0 && sigaction(SIGINT, &stop, NULL) == 0 &&
           sigaction(SIGTERM, &stop, NULL) == 0 && sigaction(SIGPIPE, &ignore, NULL) == 0;
}

/* As the system's read, but a signal to stop ends the waiting: the command sees -ECANCELED and its
 * stop flag. */
static int64_t read_until_stop(void *st, int fd, void *p, size_t bytes)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = stop_pipe[0], .events = POLLIN}};

    while (!stop_requested && poll(fds, 2, -1) < 0 && errno == EINTR)
        ;
    if (stop_requested || (fds[1].revents & POLLIN))
        return -ECANCELED;
    return qn_files_system.read(qn_files_system.st, fd, p, bytes);
}

static bool has_colors(const struct qn_cli *c)
{
    const char *term = getenv("TERM");

    return c->err_is_terminal && getenv("NO_COLOR") == NULL &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

/* QUERN_CPU limits the instruction sets in use, to compare paths and to rule one out. The answers
 * are the same with each. */
static bool cap_cpu(struct qn_cli *c)
{
    const char *name = getenv("QUERN_CPU");

    if (name == NULL || name[0] == 0)
        return true;
    if (!qn_model_cap(name)) {
        qn_cli_say(c, "quern: QUERN_CPU is '%s'; it can be portable, neon, avx2 or avx512", name);
        return false;
    }
    /* a CPU that has less than the cap uses the best it has */
    if (!qn_decode_force(name))
        qn_decode_force(NULL);
    return true;
}

/* QUERN_ONNXRUNTIME names the library that runs the ONNX models our kernels cannot. */
static void name_onnxruntime(void)
{
    const char *path = getenv("QUERN_ONNXRUNTIME");

    if (path != NULL && path[0] != 0)
        qn_model_onnxruntime(path);
}

int main(int argc, char **argv)
{
    struct qn_files files = qn_files_system;
    struct qn_cli c = {
        .files = &files,
        .clock = &qn_clock_system,
        .environment = (const char *const *)environ,
        .in = STDIN_FILENO,
        .out = STDOUT_FILENO,
        .err = STDERR_FILENO,
        .stop = &stop_requested,
        .catch_hangup = catch_hangup,
        .reload = &reload_requested,
    };
    int code;

    files.read = read_until_stop;
    c.err_is_terminal = qn_file_is_terminal(c.err);
    c.color = has_colors(&c);
    if (!catch_signals()) {
        qn_cli_say(&c, "quern: cannot set up signals");
        return QN_EXIT_FAILED;
    }
    name_onnxruntime();
    if (!cap_cpu(&c))
        return QN_EXIT_USAGE;
    code = qn_cli_main(&c, argc, argv);
    qn_arena_fini(&c.arena);
    return code;
}
