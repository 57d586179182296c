/* SPDX-License-Identifier: Apache-2.0
 * notify.c - messages to the service manager as datagrams. See notify.h.
 *
 * Thread: any; nothing changes after open. */
#include "base/notify.h"

#include "base/memory.h"
#include "base/number.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { STATUS_MAX = 200 };

struct qn_notify {
    int fd;
    struct sockaddr_un to;
    socklen_t to_len;
};

qn_status qn_notify_open(const char *socket_name, struct qn_notify **out, struct qn_err *err)
{
    const struct timeval patience = {.tv_sec = 1}; /* a manager that does not read */
    size_t len = socket_name == NULL ? 0 : strlen(socket_name);
    struct qn_notify *n;

    *out = NULL;
    if (len == 0)
        return QN_OK;
    if ((socket_name[0] != '/' && socket_name[0] != '@') || len >= sizeof n->to.sun_path)
        return qn_err_set(err, QN_UNSUPPORTED,
                          "NOTIFY_SOCKET is '%.100s'; a path or @NAME of at most %zu bytes can be "
                          "reached",
                          socket_name, sizeof n->to.sun_path - 1);
    n = qn_mem_zalloc(1, sizeof *n);
    if (n == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for NOTIFY_SOCKET");
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n->fd < 0) {
        qn_mem_free(n);
        return qn_err_sys(err, errno, "cannot make a socket for NOTIFY_SOCKET");
    }
    setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    n->to.sun_family = AF_UNIX;
    memcpy(n->to.sun_path, socket_name, len);
    if (socket_name[0] ==
        '@') /* an abstract name begins with a zero byte and ends with its length */
        n->to.sun_path[0] = '\0';
    n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (socket_name[0] == '/'));
    *out = n;
    return QN_OK;
}

void qn_notify_close(struct qn_notify *n)
{
    if (n == NULL)
        return;
    close(n->fd);
    qn_mem_free(n);
}

static void tell(struct qn_notify *n, const char *text)
{
    if (n != NULL)
        sendto(n->fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&n->to, n->to_len);
}

void qn_notify_ready(struct qn_notify *n)
{
    tell(n, "READY=1");
}

void qn_notify_stopping(struct qn_notify *n)
{
    tell(n, "STOPPING=1");
}

void qn_notify_reloading(struct qn_notify *n, const struct qn_clock *clock)
{
    char text[64];

    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)(clock->mono_ns(clock->st) / 1000));
    tell(n, text);
}

void qn_notify_watchdog(struct qn_notify *n)
{
    tell(n, "WATCHDOG=1");
}

void qn_notify_status(struct qn_notify *n, const char *fmt, ...)
{
    char text[STATUS_MAX + 8] = "STATUS=";
    va_list args;

    if (n == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(text + 7, STATUS_MAX + 1, fmt, args);
    va_end(args);
    for (char *p = text; *p != '\0'; p++)
        if (*p == '\n') /* would begin another message */
            *p = ' ';
    tell(n, text);
}

int64_t qn_notify_watchdog_us(const char *usec, const char *watchdog_pid, int64_t pid)
{
    int64_t us, whom = pid;

    if (usec == NULL || !qn_text_int64(qn_str_of(usec), &us) || us <= 0)
        return 0;
    if (watchdog_pid != NULL && !qn_text_int64(qn_str_of(watchdog_pid), &whom))
        return 0;
    return whom == pid ? us : 0;
}
