/* SPDX-License-Identifier: Apache-2.0
 * serve.c - the server's life: addresses, threads, deadlines, the end.
 *
 * libmicrohttpd runs a pool of threads per address; one thread more, the watcher, wakes streams
 * that have something to say and cuts off connections whose deadline has passed (libmicrohttpd's
 * own time-out starts again with every byte). Invariant: when the daemons are stopped, no exchange
 * is suspended: see qn_serve_stop. Thread: start and stop, one. Lock order: sv->lock before
 * anything of libmicrohttpd's; nothing of it is called under the lock. */
#include "serve/serve.h"

#include "base/address.h"
#include "base/check.h"
#include "serve/idempotency.h"
#include "serve/serve_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HEADER_BYTES = 32 << 10, /* of a request's line and headers; libmicrohttpd answers 431 beyond */
    SILENCE_S = 65,          /* without a byte: closed                                            */
    BACKLOG = 1024,
    STATUSES = 20
};
#define TICK_NS   INT64_C(50000000)   /* how often sleeping streams are looked at */
#define SECOND_NS INT64_C(1000000000) /* how often deadlines are                  */

/* Every status that an answer may have, for the metrics. */
static const int statuses[STATUSES] = {200, 304, 400, 401, 403, 404, 405, 409, 410,
                                       413, 415, 421, 422, 429, 500, 503, 507};

/* ---- addresses ---- */

static const char *addresses_of(const struct qn_plan_serve *spec, const char *http)
{
    return http != NULL ? http : spec->http;
}

static bool has_tokens(const struct qn_plan_serve *spec)
{
    for (int role = 0; role < QN_SERVE_ROLES; role++)
        if (spec->token_count[role] > 0)
            return true;
    return false;
}

/* The addresses of the list, checked: who reaches them, and what that takes. */
static qn_status read_addresses(const struct qn_plan_serve *spec, const char *http,
                                struct qn_address out[QN_SERVE_ADDRESSES_MAX], uint32_t *count,
                                bool *is_loopback, struct qn_err *err)
{
    struct qn_str list = qn_str_of(addresses_of(spec, http)), one;

    *is_loopback = true;
    for (*count = 0; qn_address_next(&list, &one); (*count)++) {
        struct qn_address *a = &out[*count];
        const char *why;

        if (*count == QN_SERVE_ADDRESSES_MAX)
            return qn_err_set(err, QN_INVALID, "more than %d addresses to listen on",
                              QN_SERVE_ADDRESSES_MAX);
        why = qn_address_parse(one, a);
        if (why != NULL)
            return qn_err_set(err, QN_INVALID, "'%.*s' %s", QN_STR_ARG(qn_utf8_cut(one, 80)), why);
        if (qn_address_is_loopback(a))
            continue;
        *is_loopback = false;
        if (!spec->is_insecure && (!has_tokens(spec) || spec->cert == NULL))
            return qn_err_set(err, QN_DENIED,
                              "%s is reached from other machines: that takes 'tokens' and 'tls' "
                              "under 'serve', or 'insecure: true' where something in front does "
                              "both",
                              a->host);
    }
    return QN_OK;
}

/* ---- metrics ---- */

static uint32_t route_index(const struct qn_route *r)
{
    return r != NULL ? (uint32_t)(r - qn_routes) : qn_route_count;
}

static bool may_answer(const struct qn_route *r, int status)
{
    if (status == 405 || status == 421 || status == 304)
        return status == 304 ? r != NULL && r->handle == qn_api_asset : r == NULL;
    if (r == NULL)
        return status == 404 || status == 400;
    for (int i = 0; i < QN_ANSWERS_MAX; i++)
        if (r->answers[i].status == status)
            return true;
    for (int i = 0; i < QN_PROBLEMS_MAX; i++)
        if (r->problems[i] == status)
            return true;
    return false;
}

static qn_status make_series(struct qn_serve *sv, struct qn_err *err)
{
    uint32_t rows = qn_route_count + 1;

    sv->requests = qn_mem_zalloc((size_t)rows * STATUSES, sizeof(*sv->requests));
    sv->seconds = qn_mem_zalloc(rows, sizeof(*sv->seconds));
    if (sv->requests == NULL || sv->seconds == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the metrics of HTTP");
    for (uint32_t i = 0; i < rows; i++) {
        const struct qn_route *r = i < qn_route_count ? &qn_routes[i] : NULL;
        struct qn_str labels[2] = {qn_str_of(r != NULL ? r->id : "none")};
        char code[8];

        sv->seconds[i] = qn_metrics_series(sv->opt.metrics, QN_METRIC_HTTP_SECONDS, labels);
        for (int s = 0; s < STATUSES && statuses[s] != 0; s++) {
            if (!may_answer(r, statuses[s]))
                continue;
            snprintf(code, sizeof(code), "%d", statuses[s]);
            labels[1] = qn_str_of(code);
            sv->requests[i * STATUSES + (uint32_t)s] =
                qn_metrics_series(sv->opt.metrics, QN_METRIC_HTTP_REQUESTS, labels);
        }
    }
    return QN_OK;
}

void qn_serve_count(struct qn_serve *sv, const struct qn_route *route, int status, double seconds)
{
    uint32_t i = route_index(route);

    qn_series_observe(sv->seconds[i], seconds, 1);
    for (int s = 0; s < STATUSES; s++)
        if (statuses[s] == status && sv->requests[i * STATUSES + (uint32_t)s] != NULL)
            qn_series_add(sv->requests[i * STATUSES + (uint32_t)s], 1);
}

/* ---- connections ---- */

static int64_t now_ns(const struct qn_serve *sv)
{
    return sv->opt.clock->mono_ns(sv->opt.clock->st);
}

static void connection_started(struct qn_serve *sv, struct MHD_Connection *mhd, void **context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct qn_connection *c = qn_mem_zalloc(1, sizeof(*c));

    *context = c;
    if (c == NULL || info == NULL)
        return;
    c->sv = sv;
    c->fd = info->connect_fd;
    atomic_store(&c->deadline_ns, now_ns(sv) + sv->opt.spec->timeout_us * 1000 + SECOND_NS);
    atomic_store(&c->is_receiving, true);
    pthread_mutex_lock(&sv->lock);
    c->next = sv->connections;
    if (c->next != NULL)
        c->next->prev = c;
    sv->connections = c;
    pthread_mutex_unlock(&sv->lock);
}

static void connection_closed(struct qn_serve *sv, struct qn_connection *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&sv->lock);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else if (sv->connections == c)
        sv->connections = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    pthread_mutex_unlock(&sv->lock);
    qn_buf_fini(&c->x.body);
    qn_buf_fini(&c->x.unpacked);
    qn_buf_fini(&c->x.out);
    qn_buf_fini(&c->x.event_headers);
    qn_arena_fini(&c->x.arena);
    qn_mem_free(c);
}

static void connection_changed(void *cls, struct MHD_Connection *mhd, void **context,
                               enum MHD_ConnectionNotificationCode how)
{
    if (how == MHD_CONNECTION_NOTIFY_STARTED)
        connection_started(cls, mhd, context);
    else
        connection_closed(cls, *context);
}

/* ---- the watcher ---- */

static bool is_due(struct qn_serve *sv, const struct qn_exchange *x, int64_t now)
{
    struct qn_log_topic_info info;

    if (now >= x->wake_ns || atomic_load(&sv->is_stopping))
        return true;
    if (x->wake_topic == UINT32_MAX)
        return false;
    qn_log_topic_info(qn_service_log(sv->opt.service), x->wake_topic, &info);
    return info.next > x->wake_offset;
}

/* Takes those that are due out of the sleepers. */
static struct qn_exchange *take_due(struct qn_serve *sv, int64_t now)
{
    struct qn_exchange **at = &sv->asleep, *due = NULL;

    while (*at != NULL) {
        struct qn_exchange *x = *at;

        if (is_due(sv, x, now)) {
            *at = x->next_asleep;
            x->next_asleep = due;
            due = x;
        } else {
            at = &x->next_asleep;
        }
    }
    return due;
}

/* True when the client has closed the connection and all it sent was read. libmicrohttpd overlooks
 * that where the end came together with the last bytes (edge-triggered epoll). */
static bool is_left(struct qn_connection *c)
{
    char byte;

    return atomic_load(&c->is_receiving) && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Those that are late, and those whose client was gone at this sweep and the one before: between
 * the two, bytes that were read have become a request. A connection stays in the list until
 * libmicrohttpd says it is closed, so the descriptor is its own. */
static void cut_off(struct qn_serve *sv, int64_t now)
{
    for (struct qn_connection *c = sv->connections; c != NULL; c = c->next) {
        int64_t deadline = atomic_load(&c->deadline_ns);
        bool was_left = c->was_left;

        c->was_left = is_left(c);
        if ((deadline != 0 && now >= deadline) || (was_left && c->was_left))
            shutdown(c->fd, SHUT_RDWR);
    }
}

static void wait_until(struct qn_serve *sv, int64_t ns)
{
    struct timespec t = {.tv_sec = ns / SECOND_NS, .tv_nsec = ns % SECOND_NS};

    pthread_cond_timedwait(&sv->changed, &sv->lock, &t);
}

static void *watch(void *arg)
{
    struct qn_serve *sv = arg;
    int64_t swept = 0;

    pthread_mutex_lock(&sv->lock);
    while (!sv->is_over) {
        int64_t now = now_ns(sv);
        struct qn_exchange *due = take_due(sv, now);

        if (now - swept >= SECOND_NS) {
            cut_off(sv, now);
            swept = now;
        }
        if (due == NULL) {
            wait_until(sv, now + (sv->asleep != NULL ? TICK_NS : SECOND_NS));
            continue;
        }
        pthread_mutex_unlock(&sv->lock);
        while (due != NULL) {
            struct qn_exchange *next = due->next_asleep; /* it may be asleep again right away */

            qn_exchange_wake(due);
            due = next;
        }
        pthread_mutex_lock(&sv->lock);
    }
    pthread_mutex_unlock(&sv->lock);
    return NULL;
}

/* ---- start ---- */

static qn_status listen_on(const struct qn_address *a, int *fd, uint16_t *port, struct qn_err *err)
{
    struct qn_address bound = *a;
    int yes = 1, no = errno;

    *fd = socket(a->at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return qn_err_sys(err, errno, "a socket for %s cannot be had", a->host);
    setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (a->at.any.sa_family == AF_INET6)
        setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes));
    if (bind(*fd, &a->at.any, a->len) != 0 || listen(*fd, BACKLOG) != 0 ||
        getsockname(*fd, &bound.at.any, &bound.len) != 0) {
        no = errno;
        close(*fd);
        *fd = -1;
        return qn_err_sys(err, no, "%s port %u cannot be listened on", a->host, qn_address_port(a));
    }
    *port = qn_address_port(&bound);
    return QN_OK;
}

/* What libmicrohttpd has to say goes to our log, once a line. */
static void say(void *cls, const char *fmt, va_list args)
{
    struct qn_serve *sv = cls;
    char text[256];
    size_t n;

    vsnprintf(text, sizeof(text), fmt, args);
    for (n = strlen(text); n > 0 && (text[n - 1] == '\n' || text[n - 1] == '.'); n--)
        text[n - 1] = '\0';
    qn_report_say(sv->opt.report, QN_LEVEL_DEBUG, "http", "%s", text);
}

/* Paths and queries are decoded by us, where they are needed. */
static size_t leave_encoded(void *cls, struct MHD_Connection *mhd, char *text)
{
    return strlen(text);
}

static qn_status start_daemon(struct qn_serve *sv, int fd, struct qn_err *err)
{
    const struct qn_plan_serve *spec = sv->opt.spec;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                     (sv->cert.len > 0 ? (unsigned)MHD_USE_TLS : 0);
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, sv->cert.data},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, sv->key.data},
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
         (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};

    sv->daemons[sv->daemon_count] = MHD_start_daemon(
        flags, 0, NULL, NULL, qn_exchange_step, sv, MHD_OPTION_EXTERNAL_LOGGER, say, sv,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK, qn_exchange_begin, sv,
        MHD_OPTION_NOTIFY_COMPLETED, qn_exchange_end, sv, MHD_OPTION_NOTIFY_CONNECTION,
        connection_changed, sv, MHD_OPTION_UNESCAPE_CALLBACK, leave_encoded, NULL,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)spec->connections, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_S,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)spec->threads, MHD_OPTION_ARRAY,
        sv->cert.len > 0 ? tls : none, MHD_OPTION_END);
    if (sv->daemons[sv->daemon_count] == NULL) {
        close(fd);
        return qn_err_set(err, QN_IO,
                          sv->cert.len > 0 ? "the HTTPS server cannot start: look at certificate "
                                             "and key, both in PEM"
                                           : "the HTTP server cannot start");
    }
    sv->daemon_count++;
    return QN_OK;
}

static qn_status start_address(struct qn_serve *sv, const struct qn_address *a, struct qn_err *err)
{
    uint16_t port = 0;
    int fd;

    QN_TRY(listen_on(a, &fd, &port, err));
    snprintf(sv->urls[sv->daemon_count], sizeof(sv->urls[0]), "%s://%s:%u",
             sv->cert.len > 0 ? "https" : "http", a->host, port);
    return start_daemon(sv, fd, err);
}

static qn_status start(struct qn_serve *sv, struct qn_err *err)
{
    struct qn_address a[QN_SERVE_ADDRESSES_MAX];
    uint32_t count;

    QN_TRY(qn_auth_open(sv, err));
    QN_TRY(read_addresses(sv->opt.spec, sv->opt.http, a, &count, &sv->is_loopback, err));
    QN_TRY(qn_tls_read(sv->opt.spec, sv->opt.files, &sv->cert, &sv->key, err));
    QN_TRY(make_series(sv, err));
    QN_TRY(qn_idempotency_new(&sv->idempotency, err));
    if (qn_service_log(sv->opt.service) != NULL)
        QN_TRY(qn_idempotency_load(sv->idempotency, sv->opt.service, err));
    if (pthread_create(&sv->watcher, NULL, watch, sv) != 0)
        return qn_err_set(err, QN_NOMEM, "a thread for the HTTP server cannot be had");
    sv->has_watcher = true;
    for (uint32_t i = 0; i < count; i++)
        QN_TRY(start_address(sv, &a[i], err));
    return QN_OK;
}

qn_status qn_serve_check(const struct qn_plan_serve *spec, const char *http,
                         const struct qn_files *files, struct qn_err *err)
{
    struct qn_address a[QN_SERVE_ADDRESSES_MAX];
    struct qn_buf cert = {0}, key = {0};
    uint32_t count;
    bool is_loopback;
    qn_status rc;

    if (addresses_of(spec, http) == NULL)
        return QN_OK;
    QN_TRY(read_addresses(spec, http, a, &count, &is_loopback, err));
    rc = qn_tls_read(spec, files, &cert, &key, err);
    qn_tls_forget(&cert, &key);
    return rc;
}

qn_status qn_serve_start(const struct qn_serve_options *opt, struct qn_serve **out,
                         struct qn_err *err)
{
    struct qn_serve *sv = qn_mem_zalloc(1, sizeof(*sv));
    pthread_condattr_t monotonic;
    qn_status rc;

    *out = NULL;
    if (sv == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the HTTP server");
    sv->opt = *opt;
    QN_ASSERT(addresses_of(opt->spec, opt->http) != NULL);
    sv->plan = qn_service_plan(opt->service);
    pthread_mutex_init(&sv->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&sv->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    rc = start(sv, err);
    if (rc != QN_OK) {
        qn_serve_stop(sv, 0);
        return rc;
    }
    *out = sv;
    return QN_OK;
}

const char *qn_serve_url(const struct qn_serve *sv, uint32_t index)
{
    return index < sv->daemon_count ? sv->urls[index] : NULL;
}

/* ---- stop ---- */

/* Waits until no request is under way, or until the limit; those that wait for the log have no
 * limit: their memory is in the service's hands. */
static void await_requests(struct qn_serve *sv, int64_t limit_ms)
{
    int64_t end = now_ns(sv) + limit_ms * 1000000;
    bool is_cut = false;

    pthread_mutex_lock(&sv->lock);
    while (atomic_load(&sv->running) > 0) {
        int64_t now = now_ns(sv);

        if (now >= end && !is_cut) {
            for (struct qn_connection *c = sv->connections; c != NULL; c = c->next)
                shutdown(c->fd, SHUT_RDWR);
            is_cut = true;
        }
        wait_until(sv, now + TICK_NS);
    }
    pthread_mutex_unlock(&sv->lock);
}

void qn_serve_leave(struct qn_serve *sv)
{
    atomic_store(&sv->is_leaving, true);
}

void qn_serve_stop(struct qn_serve *sv, int64_t limit_ms)
{
    if (sv == NULL)
        return;
    atomic_store(&sv->is_stopping, true);
    for (uint32_t i = 0; i < sv->daemon_count; i++) {
        int fd = MHD_quiesce_daemon(sv->daemons[i]);

        if (fd >= 0)
            close(fd);
    }
    if (sv->has_watcher)
        await_requests(sv, limit_ms);
    for (uint32_t i = 0; i < sv->daemon_count; i++)
        MHD_stop_daemon(sv->daemons[i]);
    if (sv->has_watcher) {
        pthread_mutex_lock(&sv->lock);
        sv->is_over = true;
        pthread_cond_broadcast(&sv->changed);
        pthread_mutex_unlock(&sv->lock);
        pthread_join(sv->watcher, NULL);
    }
    QN_ASSERT(sv->connections == NULL);
    qn_idempotency_free(sv->idempotency);
    qn_tls_forget(&sv->cert, &sv->key);
    qn_mem_free(sv->tokens);
    qn_mem_free(sv->requests);
    qn_mem_free(sv->seconds);
    pthread_cond_destroy(&sv->changed);
    pthread_mutex_destroy(&sv->lock);
    qn_mem_free(sv);
}
