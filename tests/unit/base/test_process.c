/* SPDX-License-Identifier: Apache-2.0
 * test_process.c - this process as /proc tells it, a made-up one, and a machine without /proc. */
#include "base/clock.h"
#include "base/process.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/resource.h>

#include <cmocka.h>

static void test_this_process(void **state)
{
    double now = (double)qn_clock_system.wall_us(NULL) / 1e6;
    struct qn_process a, b;
    struct rlimit limit;
    int fd;

    qn_process_look(&qn_files_system, &a);
    fd = dup(1);
    qn_process_look(&qn_files_system, &b);
    close(fd);
    assert_true(a.cpu_seconds >= 0 && a.cpu_seconds < 120);
    assert_true(a.resident_bytes > 200e3 && a.resident_bytes < 100e9);
    assert_true(a.open_fds >= 3);
    assert_true(b.open_fds == a.open_fds + 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(limit.rlim_cur == RLIM_INFINITY ? isinf(a.max_fds)
                                                : a.max_fds == (double)limit.rlim_cur);
    assert_true(a.start_seconds < now + 2);
    assert_true(a.start_seconds > now - 300);
}

/* A file system of three files, served by the number that open gave. */
static const struct {
    const char *path, *text;
} made_up[] = {
    {"/proc/self/stat", "7 (a) b) S 1 7 7 0 -1 4194560 90 0 0 0 250 50 0 0 20 0 1 0 1000 9 25 0\n"},
    {"/proc/stat", "cpu  1 2 3\nctxt 5\nbtime 1700000000\nprocesses 9\n"},
    {"/proc/self/limits", "Limit  Soft  Hard\nMax open files            unlimited  9 files\n"},
};
static size_t at;

static int made_up_open(void *st, const char *path, enum qn_open how)
{
    at = 0;
    for (int i = 0; i < 3; i++)
        if (strcmp(path, made_up[i].path) == 0)
            return i;
    return -ENOENT;
}

static int64_t made_up_read(void *st, int fd, void *p, size_t bytes)
{
    size_t n = strlen(made_up[fd].text) - at;

    n = n > 10 ? 10 : n; /* in small pieces, as a kernel may */
    memcpy(p, made_up[fd].text + at, n);
    at += n;
    return (int64_t)n;
}

static int64_t made_up_size(void *st, int fd)
{
    return 0;
}

static int made_up_close(void *st, int fd)
{
    return 0;
}

static int made_up_list(void *st, const char *path, void (*each)(void *arg, const char *name),
                        void *arg)
{
    return -EACCES;
}

static void test_made_up(void **state)
{
    const struct qn_files files = {.open = made_up_open,
                                   .read = made_up_read,
                                   .size = made_up_size,
                                   .close = made_up_close,
                                   .list_folder = made_up_list};
    double ticks = (double)sysconf(_SC_CLK_TCK);
    struct qn_process p;

    qn_process_look(&files, &p);
    assert_true(p.cpu_seconds == 300 / ticks);
    assert_true(p.resident_bytes == 25 * (double)sysconf(_SC_PAGESIZE));
    assert_true(p.start_seconds == 1700000000 + 1000 / ticks);
    assert_true(isinf(p.max_fds));
    assert_true(isnan(p.open_fds));
}

static int nothing_opens(void *st, const char *path, enum qn_open how)
{
    return -ENOENT;
}

static void test_no_proc(void **state)
{
    const struct qn_files files = {.open = nothing_opens, .list_folder = made_up_list};
    struct qn_process p;

    qn_process_look(&files, &p);
    assert_true(isnan(p.cpu_seconds) && isnan(p.resident_bytes) && isnan(p.open_fds));
    assert_true(isnan(p.max_fds) && isnan(p.start_seconds));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_this_process),
        cmocka_unit_test(test_made_up),
        cmocka_unit_test(test_no_proc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
