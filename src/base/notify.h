/* SPDX-License-Identifier: Apache-2.0
 * notify.h - tells the service manager how the program is: ready, stopping, alive.
 *
 * The protocol of sd_notify(3): datagrams of NAME=VALUE lines to the socket in $NOTIFY_SOCKET. Its
 * text is handed over, not looked up. What cannot be sent is lost: a manager that has gone away is
 * no reason to stop. Thread: any; a message is one system call. */
#ifndef QN_BASE_NOTIFY_H
#define QN_BASE_NOTIFY_H

#include "base/clock.h"
#include "base/status.h"

struct qn_notify; /* private */

/* socket_name: the value of $NOTIFY_SOCKET, a path or @NAME (an abstract one); NULL or "": nobody
 * listens, *out is NULL and all calls below do nothing. QN_UNSUPPORTED: another kind of address. */
qn_status qn_notify_open(const char *socket_name, struct qn_notify **out, struct qn_err *err);
void qn_notify_close(struct qn_notify *n); /* NULL is fine, here and below */

void qn_notify_ready(struct qn_notify *n);
void qn_notify_stopping(struct qn_notify *n);
/* Before reading the spec again; qn_notify_ready when that is done, whatever came of it. */
void qn_notify_reloading(struct qn_notify *n, const struct qn_clock *clock);
/* One line that `systemctl status` shows, cut at 200 bytes. */
void qn_notify_status(struct qn_notify *n, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A sign of life. */
void qn_notify_watchdog(struct qn_notify *n);

/* How often a sign of life is expected, in microseconds; 0 = never. From $WATCHDOG_USEC and
 * $WATCHDOG_PID (either may be NULL); pid: of this process. Half of it is a good interval. */
int64_t qn_notify_watchdog_us(const char *usec, const char *watchdog_pid, int64_t pid);

#endif
