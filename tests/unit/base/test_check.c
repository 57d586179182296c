/* SPDX-License-Identifier: Apache-2.0
 * test_check.c - a failed assert ends the program with one line that names the place. */
#include "base/check.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_abort(void **state)
{
    char text[512];
    ssize_t n;
    int fds[2], status;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rlimit none = {0, 0};

        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        QN_ASSERT(fds[0] < 0);
        _exit(0);
    }
    close(fds[1]);
    n = read(fds[0], text, sizeof text - 1);
    assert_true(n > 0);
    text[n] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_memory_equal(text, "quern: bug: ", 12);
    assert_non_null(strstr(text, "test_check.c:"));
    assert_non_null(strstr(text, ": fds[0] < 0\n"));
}

static void test_passes(void **state)
{
    int evaluated = 0;

    QN_ASSERT(++evaluated == 1);
    assert_int_equal(evaluated, 1);
    if (evaluated == 2)
        QN_ASSERT(evaluated == 3);
    else
        QN_DCHECK(evaluated == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_abort), cmocka_unit_test(test_passes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
