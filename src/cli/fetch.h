/* SPDX-License-Identifier: Apache-2.0
 * fetch.h - asks one address for a document, again and again, over one connection.
 *
 * HTTP and HTTPS by libcurl; no proxy, no redirect, so that a token goes nowhere else. Thread: one
 * owner; qn_fetch blocks, for 5 s at most. */
#ifndef QN_CLI_FETCH_H
#define QN_CLI_FETCH_H

#include "base/buffer.h"
#include "base/status.h"

#include <signal.h>

struct qn_fetch; /* private */

/* address: "host:port" or a URL, without its end; path: "/v1/status". token: NULL = none. *stop set
 * ends the waiting. All texts are copied. */
qn_status qn_fetch_new(const char *address, const char *path, const char *token,
                       const volatile sig_atomic_t *stop, struct qn_fetch **out,
                       struct qn_err *err);
/* Fills answer (cleared first) with the document. QN_DENIED: a token is needed, or another one;
 * QN_NOT_FOUND: no such thing there; QN_IO (retriable): no answer, or 5xx; QN_INVALID: the address
 * makes no sense; QN_LIMIT: larger than 4 MiB; QN_INTERRUPTED: stop. */
qn_status qn_fetch(struct qn_fetch *f, struct qn_buf *answer, struct qn_err *err);
void qn_fetch_free(struct qn_fetch *f); /* NULL is fine */

#endif
