/* SPDX-License-Identifier: Apache-2.0
 * test_notify.c - messages as a service manager receives them: by a path, by an abstract name, and
 * by nobody. */
#include "base/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

static char folder[] = "/tmp/qn_test_notify_XXXXXX";
static char got[512];

/* A datagram socket that is bound to name ('@' stands for the zero byte). */
static int listen_at(const char *name)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t n = strlen(name);

    assert_true(fd >= 0);
    memcpy(at.sun_path, name, n);
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    assert_int_equal(
        bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)),
        0);
    return fd;
}

/* The next message, "" where there is none. */
static const char *next(int fd)
{
    ssize_t n = recv(fd, got, sizeof got - 1, 0);

    got[n > 0 ? n : 0] = '\0';
    return got;
}

static int64_t fake_mono(void *st)
{
    return INT64_C(1234567890);
}

static void check_all(const char *name)
{
    const struct qn_clock clock = {NULL, fake_mono, NULL};
    int fd = listen_at(name);
    struct qn_notify *n;
    char want[256] = "STATUS=";

    assert_int_equal(qn_notify_open(name, &n, NULL), QN_OK);
    assert_non_null(n);
    qn_notify_ready(n);
    assert_string_equal(next(fd), "READY=1");
    qn_notify_status(n, "%d events,\n%s", 7, "no lag");
    assert_string_equal(next(fd), "STATUS=7 events, no lag");
    qn_notify_status(n, "%0300d", 0);
    memset(want + 7, '0', 200);
    assert_string_equal(next(fd), want);
    qn_notify_reloading(n, &clock);
    assert_string_equal(next(fd), "RELOADING=1\nMONOTONIC_USEC=1234567");
    qn_notify_watchdog(n);
    assert_string_equal(next(fd), "WATCHDOG=1");
    qn_notify_stopping(n);
    assert_string_equal(next(fd), "STOPPING=1");
    assert_string_equal(next(fd), "");
    close(fd);
    qn_notify_ready(n); /* nobody there any more: lost, and no signal */
    qn_notify_close(n);
}

static void test_path(void **state)
{
    char name[64];

    assert_non_null(mkdtemp(folder));
    snprintf(name, sizeof name, "%s/notify", folder);
    check_all(name);
    unlink(name);
    rmdir(folder);
}

static void test_abstract(void **state)
{
    char name[64];

    snprintf(name, sizeof name, "@qn_test_notify_%d", (int)getpid());
    check_all(name);
}

static void test_nobody(void **state)
{
    struct qn_notify *n = (struct qn_notify *)(uintptr_t)1;
    struct qn_err err = {0};
    char name[200];

    assert_int_equal(qn_notify_open(NULL, &n, NULL), QN_OK);
    assert_null(n);
    assert_int_equal(qn_notify_open("", &n, NULL), QN_OK);
    assert_null(n);
    qn_notify_ready(n);
    qn_notify_status(n, "x");
    qn_notify_reloading(n, &qn_clock_system);
    qn_notify_watchdog(n);
    qn_notify_stopping(n);
    qn_notify_close(n);
    assert_int_equal(qn_notify_open("vsock:2:1234", &n, &err), QN_UNSUPPORTED);
    memset(name, 'x', sizeof name - 1);
    name[0] = '/';
    name[sizeof name - 1] = '\0';
    assert_int_equal(qn_notify_open(name, &n, &err), QN_UNSUPPORTED);
    assert_null(n);
}

static void test_watchdog_interval(void **state)
{
    assert_int_equal(qn_notify_watchdog_us(NULL, NULL, 7), 0);
    assert_int_equal(qn_notify_watchdog_us("30000000", NULL, 7), 30000000);
    assert_int_equal(qn_notify_watchdog_us("30000000", "7", 7), 30000000);
    assert_int_equal(qn_notify_watchdog_us("30000000", "8", 7), 0); /* meant for another */
    assert_int_equal(qn_notify_watchdog_us("30000000", "x", 7), 0);
    assert_int_equal(qn_notify_watchdog_us("x", NULL, 7), 0);
    assert_int_equal(qn_notify_watchdog_us("-5", NULL, 7), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_abstract),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_watchdog_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
