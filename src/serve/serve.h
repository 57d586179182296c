/* SPDX-License-Identifier: Apache-2.0
 * serve.h - HTTP in front of a running pipeline: events in, predictions, state and the dashboard
 * out.
 *
 *   client ──► libmicrohttpd threads ──► route ──► role ──► handler ──► qn_service
 *                       ▲                                      │ waits for the log:
 *                       └──────── resumed by qn_ingest_done ◄──┘ no thread stands still
 *
 * What can be asked is one table (routes.c): docs/http.md, /openapi.json, routing, roles and the
 * labels of the metrics come from it. Limits: connections, bytes of headers and bodies, seconds of
 * a request; whoever is slower is cut off. Loopback by default; to listen elsewhere takes tokens
 * and TLS, or `insecure`. Thread: start and stop, one; the server has its own. Memory: request
 * lifetime, kept by the connection for its next request. */
#ifndef QN_SERVE_SERVE_H
#define QN_SERVE_SERVE_H

#include "base/clock.h"
#include "base/file.h"
#include "engine/service.h"
#include "monitor/metrics.h"
#include "monitor/report.h"
#include "spec/plan.h"

struct qn_serve; /* private */

enum { QN_SERVE_ADDRESSES_MAX = 4 };

struct qn_serve_options {
    const struct qn_plan_serve *spec; /* what the spec says; outlives the server             */
    const char *http; /* addresses instead of the spec's ("127.0.0.1:8090", "[::1]:0"), joined by
                         commas; port 0 = a free one; NULL = the spec's                          */
    const struct qn_files *files; /* certificate and key are read through it                     */
    const struct qn_clock *clock;
    struct qn_service *service;
    struct qn_metrics *metrics;
    struct qn_report *report; /* may be NULL */
};

/* Whether the addresses (as in the options; none is fine) may be listened on, with the certificate
 * and key that are there, before anything is made. QN_INVALID: an address cannot be read, a file is
 * not what it should be; QN_DENIED: not loopback, without tokens and TLS; QN_IO: of a file. */
qn_status qn_serve_check(const struct qn_plan_serve *spec, const char *http,
                         const struct qn_files *files, struct qn_err *err);
/* Opens all addresses and answers from then on. The service must be started (its phase decides what
 * is answered) and must outlive the server. QN_INVALID, QN_DENIED: as above; QN_IO: in use
 * too. */
qn_status qn_serve_start(const struct qn_serve_options *opt, struct qn_serve **out,
                         struct qn_err *err);
/* "http://127.0.0.1:8090", with the port that was chosen; NULL behind the last one. Lives as long
 * as the server. */
const char *qn_serve_url(const struct qn_serve *sv, uint32_t index);
/* From now on /readyz says no while everything is answered as before, so that whoever spreads the
 * load turns elsewhere first. */
void qn_serve_leave(struct qn_serve *sv);
/* Takes no more connections, lets requests end for up to limit_ms, ends streams, then frees the
 * server. What waits for the log is waited for in any case: the service must run, or have been
 * stopped. NULL is fine. */
void qn_serve_stop(struct qn_serve *sv, int64_t limit_ms);

/* docs/http.md */
void qn_serve_reference(struct qn_buf *out);
/* The OpenAPI document; plan NULL = for no pipeline in particular. */
void qn_serve_openapi(const struct qn_plan *plan, struct qn_buf *out);

#endif
