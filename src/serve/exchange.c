/* SPDX-License-Identifier: Apache-2.0
 * exchange.c - one request and its answer: what libmicrohttpd calls, and what handlers call.
 *
 * Every refusal is decided at the first call, before the body comes; the body is then swallowed up
 * to a bound, so that the client reads its answer instead of a reset connection. Answers are given
 * at the last call only, because libmicrohttpd closes connections that are answered earlier.
 * Invariant: a request that was begun is ended once, by qn_exchange_end; nobody suspends one
 * while the server stops. Thread: the server's, one exchange at a time; qn_exchange_wake any.
 * Memory: request lifetime, in the connection. */
#include "base/check.h"
#include "base/number.h"
#include "serve/idempotency.h"
#include "serve/serve_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

/* A body that nobody wants is read up to so much more than the limit; kept buffers; seconds that a
 * client has for an answer and between two requests. */
enum { SWALLOW_BYTES = 16 << 20, KEEP_BYTES = 64 << 10, ANSWER_S = 300, IDLE_S = 60 };
#define SECOND_NS INT64_C(1000000000)

static int64_t now_ns(const struct qn_serve *sv)
{
    return sv->opt.clock->mono_ns(sv->opt.clock->st);
}

static struct qn_connection *connection_of(struct qn_exchange *x)
{
    return (struct qn_connection *)((char *)x - offsetof(struct qn_connection, x));
}

/* When the client is cut off; 0 = never. */
static void set_deadline(struct qn_exchange *x, bool is_receiving, int64_t seconds)
{
    struct qn_connection *c = connection_of(x);

    atomic_store(&c->is_receiving, is_receiving);
    atomic_store(&c->deadline_ns, seconds == 0 ? 0 : now_ns(x->sv) + seconds * SECOND_NS);
}

/* ---- what the request says ---- */

struct qn_str qn_exchange_header(struct qn_exchange *x, const char *name)
{
    const char *value = MHD_lookup_connection_value(x->mhd, MHD_HEADER_KIND, name);

    return value != NULL ? qn_str_of(value) : (struct qn_str){NULL, 0};
}

struct header_walk {
    const char *prefix;
    bool (*each)(void *arg, struct qn_str name, struct qn_str value);
    void *arg;
};

static enum MHD_Result walk_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    const struct header_walk *w = cls;
    size_t n = strlen(w->prefix);

    if (strncasecmp(name, w->prefix, n) != 0)
        return MHD_YES;
    return w->each(w->arg, qn_str_of(name + n), qn_str_of(value != NULL ? value : "")) ? MHD_YES
                                                                                       : MHD_NO;
}

void qn_exchange_headers(struct qn_exchange *x, const char *prefix,
                         bool (*each)(void *arg, struct qn_str name, struct qn_str value),
                         void *arg)
{
    struct header_walk w = {prefix, each, arg};

    MHD_get_connection_values(x->mhd, MHD_HEADER_KIND, walk_header, &w);
}

uint32_t qn_exchange_accepts(struct qn_exchange *x, const char *const *offers, uint32_t count)
{
    return qn_accept_best(qn_exchange_header(x, "accept"), offers, count);
}

bool qn_exchange_query(struct qn_exchange *x, const char *name, uint32_t index, struct qn_str *out)
{
    struct qn_str query = x->query, key, value;

    *out = (struct qn_str){NULL, 0};
    while (qn_query_next(&query, &key, &value)) {
        if (!qn_str_is(key, name) || index-- > 0)
            continue;
        if (qn_percent_decode(value, true, &x->arena, out))
            return true;
        qn_exchange_problem(x, 400, "bad_parameter",
                            "the value of '%s' cannot be read: escapes are %%XX, text is UTF-8",
                            name);
        return false;
    }
    return true;
}

bool qn_exchange_number(struct qn_exchange *x, const char *name, uint64_t min, uint64_t max,
                        uint64_t fallback, uint64_t *out)
{
    struct qn_str text;
    int64_t v;

    *out = fallback;
    if (!qn_exchange_query(x, name, 0, &text))
        return false;
    if (text.p == NULL)
        return true;
    if (qn_text_int64(text, &v) && v >= 0 && (uint64_t)v >= min && (uint64_t)v <= max) {
        *out = (uint64_t)v;
        return true;
    }
    qn_exchange_problem(
        x, 400, "bad_parameter", "'%s' is a whole number from %llu to %llu, not '%.*s'", name,
        (unsigned long long)min, (unsigned long long)max, QN_STR_ARG(qn_utf8_cut(text, 40)));
    return false;
}

/* ---- what the answer says ---- */

void qn_exchange_answer(struct qn_exchange *x, int status, const char *type)
{
    x->status = status;
    x->type = type;
}

void qn_exchange_add(struct qn_exchange *x, const char *name, const char *value)
{
    QN_ASSERT(x->header_count < QN_EXCHANGE_HEADERS_MAX);
    x->headers[x->header_count++] = (struct qn_exchange_header){name, value};
}

void qn_exchange_problem(struct qn_exchange *x, int status, const char *code, const char *fmt, ...)
{
    char detail[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);
    qn_buf_clear(&x->out);
    x->fixed = NULL;
    qn_buf_printf(&x->out,
                  "{\"type\":\"urn:quern:problem:%s\",\"title\":\"%s\",\"status\":%d,\"code\":\"%"
                  "s\",\"detail\":",
                  code, qn_http_title(status), status, code);
    qn_json_string(&x->out, qn_str_of(detail));
    qn_buf_text(&x->out, ",\"instance\":");
    qn_json_string(&x->out, qn_utf8_cut(x->path, 200));
    qn_buf_byte(&x->out, '}');
    qn_exchange_answer(x, status, "application/problem+json");
}

void qn_exchange_unknown(struct qn_exchange *x, int status, const char *what, struct qn_str name,
                         const struct qn_str *known, uint32_t count)
{
    int near = qn_nearest(name, known, count);
    struct qn_str shown = qn_utf8_cut(name, 80);
    char code[32];

    snprintf(code, sizeof(code), "unknown_%s", what);
    if (near >= 0)
        qn_exchange_problem(x, status, code, "unknown %s '%.*s' (did you mean '%.*s'?)", what,
                            QN_STR_ARG(shown), QN_STR_ARG(known[near]));
    else
        qn_exchange_problem(x, status, code, "unknown %s '%.*s'", what, QN_STR_ARG(shown));
}

void qn_exchange_nowhere(struct qn_exchange *x)
{
    const char *near = qn_route_nearest(x->path);

    if (near != NULL)
        qn_exchange_problem(x, 404, "unknown_path",
                            "there is nothing at this path (did you mean '%s'?)", near);
    else
        qn_exchange_problem(x, 404, "unknown_path",
                            "there is nothing at this path; /openapi.json lists what there is");
}

void qn_exchange_failed(struct qn_exchange *x, const struct qn_err *err)
{
    static const int statuses[QN_STATUS_COUNT] = {
        [QN_NOMEM] = 503, [QN_IO] = 500,      [QN_NOT_FOUND] = 404,   [QN_DENIED] = 500,
        [QN_FULL] = 507,  [QN_CORRUPT] = 500, [QN_UNSUPPORTED] = 500, [QN_INVALID] = 400,
        [QN_LIMIT] = 413, [QN_CLOSED] = 503,  [QN_INTERRUPTED] = 503,
    };
    int status = statuses[err->code] != 0 ? statuses[err->code] : 500;

    if (status == 503 || status == 507)
        qn_exchange_add(x, "retry-after", "5");
    qn_exchange_problem(x, status, qn_status_name(err->code), "%s", err->text);
}

void qn_exchange_busy(struct qn_exchange *x)
{
    bool is_stopping = atomic_load(&x->sv->is_stopping);
    enum qn_phase phase = is_stopping ? QN_PHASE_DRAINING : qn_service_phase(x->sv->opt.service);

    if (phase == QN_PHASE_RUNNING) {
        qn_exchange_add(x, "retry-after", "1");
        qn_exchange_problem(x, 429, "too_busy",
                            "more events wait than are done; nothing of this request was taken");
    } else if (phase == QN_PHASE_FULL) {
        qn_exchange_add(x, "retry-after", "30");
        qn_exchange_problem(x, 507, "disk_full",
                            "the disk of the log is full; nothing of this request was taken");
    } else {
        qn_exchange_add(x, "retry-after", "5");
        qn_exchange_problem(x, 503, "not_ready",
                            "the pipeline is %s and takes no events; nothing of this request was "
                            "taken",
                            qn_phase_name(phase));
    }
}

void qn_exchange_wait(struct qn_exchange *x, void (*finish)(struct qn_exchange *x))
{
    QN_ASSERT(x->finish == NULL);
    x->finish = finish;
    MHD_suspend_connection(x->mhd);
}

void qn_exchange_wake(struct qn_exchange *x)
{
    MHD_resume_connection(x->mhd);
}

void qn_exchange_stream(struct qn_exchange *x, const char *type, qn_exchange_produce *produce)
{
    qn_exchange_answer(x, 200, type);
    x->produce = produce;
    x->sent = 0;
}

/* ---- handing the answer over ---- */

/* Bytes of a stream, as libmicrohttpd asks for them. */
static ssize_t stream_read(void *cls, uint64_t pos, char *to, size_t room)
{
    struct qn_exchange *x = cls;
    struct qn_serve *sv = x->sv;
    size_t n;

    if (x->sent == x->out.len) {
        qn_buf_clear(&x->out);
        x->sent = 0;
        x->wake_topic = UINT32_MAX;
        if (atomic_load(&sv->is_stopping) || !x->produce(x))
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (x->out.failed)
            return MHD_CONTENT_READER_END_WITH_ERROR;
        if (x->out.len == 0) {
            MHD_suspend_connection(x->mhd);
            pthread_mutex_lock(&sv->lock);
            x->next_asleep = sv->asleep;
            sv->asleep = x;
            pthread_cond_broadcast(&sv->changed);
            pthread_mutex_unlock(&sv->lock);
            return 0;
        }
    }
    n = x->out.len - x->sent < room ? x->out.len - x->sent : room;
    memcpy(to, x->out.data + x->sent, n);
    x->sent += n;
    return (ssize_t)n;
}

static struct MHD_Response *make_response(struct qn_exchange *x)
{
    if (x->produce != NULL && !x->is_head)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32 * 1024, stream_read, x, NULL);
    if (x->fixed != NULL)
        return MHD_create_response_from_buffer(x->fixed_len, (void *)(uintptr_t)x->fixed,
                                               MHD_RESPMEM_PERSISTENT);
    return MHD_create_response_from_buffer(x->out.len, x->out.data, MHD_RESPMEM_PERSISTENT);
}

static bool add_headers(struct qn_exchange *x, struct MHD_Response *r)
{
    bool has_cache = false, is_good = true;

    if (x->type != NULL)
        is_good &= MHD_add_response_header(r, "content-type", x->type) == MHD_YES;
    for (uint32_t i = 0; i < x->header_count; i++) {
        is_good &= MHD_add_response_header(r, x->headers[i].name, x->headers[i].value) == MHD_YES;
        has_cache |= strcmp(x->headers[i].name, "cache-control") == 0;
    }
    if (!has_cache)
        is_good &= MHD_add_response_header(r, "cache-control", "no-store") == MHD_YES;
    is_good &= MHD_add_response_header(r, "x-content-type-options", "nosniff") == MHD_YES;
    if (atomic_load(&x->sv->is_stopping))
        is_good &= MHD_add_response_header(r, "connection", "close") == MHD_YES;
    return is_good;
}

static void free_key(struct qn_exchange *x)
{
    if (x->claim != 0)
        qn_idempotency_release(x->sv->idempotency, x->claim);
    x->claim = 0;
}

static enum MHD_Result hand_over(struct qn_exchange *x)
{
    struct MHD_Response *r;
    enum MHD_Result done = MHD_NO;

    QN_ASSERT(x->status != 0);
    free_key(x); /* before the answer: whoever has it may come with the key again */
    if (x->out.failed)
        qn_exchange_problem(x, 503, "nomem", "out of memory");
    r = x->out.failed ? NULL : make_response(x);
    if (r != NULL && add_headers(x, r))
        done = MHD_queue_response(x->mhd, (unsigned)x->status, r);
    if (r != NULL)
        MHD_destroy_response(r);
    qn_serve_count(x->sv, x->route, x->status,
                   x->arrived_ns != 0 ? (double)(now_ns(x->sv) - x->arrived_ns) * 1e-9 : 0.0);
    set_deadline(x, false, x->produce != NULL ? 0 : ANSWER_S);
    return done;
}

/* ---- the first look ---- */

/* A page of another site may make a browser send here; it cannot make it leave out Origin. */
static bool check_origin(struct qn_exchange *x)
{
    struct qn_str origin = qn_exchange_header(x, "origin"), host = qn_exchange_header(x, "host");
    const char *at;

    if (strcmp(x->route->method, "POST") != 0 || origin.p == NULL)
        return true;
    at = strstr(origin.p, "://");
    if (at != NULL && host.p != NULL && strcasecmp(at + 3, host.p) == 0)
        return true;
    qn_exchange_problem(x, 403, "cross_origin", "pages of another site may not send events");
    return false;
}

/* Without tokens, whoever reaches the loopback address may ask. A site could point its own name
 * there (DNS rebinding): then Host has that name. */
static bool check_host(struct qn_exchange *x)
{
    struct qn_str host = qn_exchange_header(x, "host");
    const char *colon;

    if (!x->sv->is_loopback || x->sv->token_count > 0 || host.p == NULL || host.len == 0)
        return true;
    if (host.p[0] == '[' || strspn(host.p, "0123456789.:") == host.len)
        return true;
    colon = memchr(host.p, ':', host.len);
    if (colon != NULL)
        host.len = (uint32_t)(colon - host.p);
    if (qn_str_is_nocase(host, "localhost") ||
        (host.len > 10 && strncasecmp(host.p + host.len - 10, ".localhost", 10) == 0))
        return true;
    qn_exchange_problem(x, 421, "host_not_allowed",
                        "the server listens on this machine only and was asked for as '%.*s'; ask "
                        "for localhost, or set tokens",
                        QN_STR_ARG(qn_utf8_cut(host, 80)));
    return false;
}

/* Events come and answers go by topics where the log lies in Kafka. */
static bool check_log(struct qn_exchange *x)
{
    const struct qn_plan_kafka *k = &x->sv->plan->kafka;

    if (!x->route->needs_log || qn_service_log(x->sv->opt.service) != NULL)
        return true;
    qn_exchange_problem(x, 404, "log_in_kafka",
                        "the log of this pipeline lies in Kafka: events are those of topic '%s', "
                        "predictions are written to '%s', dead letters to '%s'",
                        k->stream_topics[x->sv->plan->main_stream], k->output_topics[0],
                        k->dead_topic);
    return false;
}

static bool check_role(struct qn_exchange *x)
{
    int status;

    if (qn_auth_allows(x->sv, qn_exchange_header(x, "authorization"), x->route->role, &status))
        return true;
    if (status == 401) {
        qn_exchange_add(x, "www-authenticate", "Bearer");
        qn_exchange_problem(x, 401, "no_token",
                            "this needs a token that may %s: send 'Authorization: Bearer TOKEN'",
                            qn_role_name(x->route->role));
    } else {
        qn_exchange_problem(x, 403, "wrong_role", "this needs a token that may %s",
                            qn_role_name(x->route->role));
    }
    return false;
}

/* Names that the route does not know are mistakes, not decoration. */
static bool check_query(struct qn_exchange *x)
{
    struct qn_str query = x->query, name, value, known[QN_PARAMETERS_MAX];
    uint32_t count = 0;

    for (int i = 0; i < QN_PARAMETERS_MAX && x->route->parameters[i].name != NULL; i++)
        if (strcmp(x->route->parameters[i].in, "query") == 0)
            known[count++] = qn_str_of(x->route->parameters[i].name);
    while (qn_query_next(&query, &name, &value)) {
        bool is_known = false;

        for (uint32_t i = 0; i < count; i++)
            is_known |= qn_str_eq(name, known[i]);
        if (is_known)
            continue;
        qn_exchange_unknown(x, 400, "parameter", name, known, count);
        return false;
    }
    return true;
}

static bool find_route(struct qn_exchange *x, const char *method)
{
    char allow[64];

    x->route = qn_route_find(qn_str_of(method), x->path, &x->arena, x->args, allow);
    if (x->route != NULL)
        return true;
    if (allow[0] != '\0') {
        char *copy = qn_arena_strdup(&x->arena, allow, strlen(allow));

        if (copy != NULL)
            qn_exchange_add(x, "allow", copy);
        qn_exchange_problem(x, 405, "method_not_allowed",
                            "%.20s does not fit this path; there is %s", method, allow);
        return false;
    }
    qn_exchange_nowhere(x);
    return false;
}

/* Content-Length, or 0 where the body comes in chunks or not at all. */
static uint64_t declared_length(struct qn_exchange *x)
{
    struct qn_str text = qn_exchange_header(x, "content-length");
    int64_t n;

    return text.p != NULL && qn_text_int64(text, &n) && n > 0 ? (uint64_t)n : 0;
}

static void too_large(struct qn_exchange *x)
{
    qn_exchange_problem(x, 413, "too_large",
                        "the body is larger than %llu bytes; send fewer events at once",
                        (unsigned long long)x->sv->opt.spec->body_bytes);
    x->is_refused = true;
}

static void look(struct qn_exchange *x, const char *method)
{
    x->is_head = strcmp(method, "HEAD") == 0;
    x->is_refused = !find_route(x, method) || !check_host(x) || !check_origin(x) ||
                    !check_role(x) || !check_log(x) || !check_query(x);
    if (!x->is_refused && declared_length(x) > x->sv->opt.spec->body_bytes)
        too_large(x);
}

/* A refusal is better said at once: the client asks before it sends, or sends too much. */
static bool is_waiting_to_send(struct qn_exchange *x)
{
    return qn_exchange_header(x, "expect").p != NULL ||
           declared_length(x) > x->sv->opt.spec->body_bytes + SWALLOW_BYTES;
}

/* ---- what libmicrohttpd calls ---- */

/* The first line of a request has come. */
void *qn_exchange_begin(void *cls, const char *uri, struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct qn_connection *c = info != NULL ? info->socket_context : NULL;
    struct qn_exchange *x;
    const char *question, *host;
    char *copy;

    if (c == NULL)
        return NULL;
    x = &c->x;
    x->sv = c->sv;
    x->mhd = mhd;
    atomic_fetch_add(&x->sv->running, 1);
    x->is_running = true;
    set_deadline(x, true, (x->sv->opt.spec->timeout_us + 999999) / 1000000);
    if (strncmp(uri, "http://", 7) == 0 || strncmp(uri, "https://", 8) == 0) { /* RFC 9112, 3.2.2 */
        host = strstr(uri, "://") + 3;
        uri = host + strcspn(host, "/?");
    }
    copy = qn_arena_strdup(&x->arena, uri, strlen(uri));
    if (copy == NULL)
        return x; /* path stays NULL: refused at the first step */
    question = strchr(copy, '?');
    x->path = (struct qn_str){copy, (uint32_t)(question != NULL ? question - copy : strlen(copy))};
    x->query = qn_str_of(question != NULL ? question + 1 : "");
    return x;
}

static void take_body(struct qn_exchange *x, const char *data, size_t n)
{
    if (!x->is_refused && x->body.len + n > x->sv->opt.spec->body_bytes)
        too_large(x);
    if (x->is_refused)
        x->swallowed += n;
    else if (x->route->has_body)
        qn_buf_add(&x->body, data, n);
    else
        x->swallowed += n;
}

enum MHD_Result qn_exchange_step(void *cls, struct MHD_Connection *mhd, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *data_len, void **state)
{
    struct qn_exchange *x = *state;

    if (x == NULL || x->path.p == NULL)
        return MHD_NO;
    if (x->route == NULL && !x->is_refused) { /* the headers are there, the body is not */
        look(x, method);
        return x->is_refused && is_waiting_to_send(x) ? hand_over(x) : MHD_YES;
    }
    if (*data_len > 0) {
        take_body(x, data, *data_len);
        *data_len = 0;
        return x->swallowed > x->sv->opt.spec->body_bytes + SWALLOW_BYTES ? MHD_NO : MHD_YES;
    }
    if (x->arrived_ns == 0) {
        x->arrived_ns = now_ns(x->sv);
        set_deadline(x, false, 0);
    }
    if (x->finish != NULL) {
        void (*finish)(struct qn_exchange *) = x->finish;

        x->finish = NULL;
        finish(x);
    } else if (!x->is_refused && x->body.failed) {
        qn_exchange_problem(x, 503, "nomem", "out of memory");
    } else if (!x->is_refused) {
        x->route->handle(x);
    }
    return x->finish != NULL ? MHD_YES : hand_over(x);
}

/* Clears a buffer and gives back what is more than a connection should keep. */
static void settle(struct qn_buf *b)
{
    if (b->cap > KEEP_BYTES)
        qn_buf_fini(b);
    else
        qn_buf_clear(b);
}

void qn_exchange_end(void *cls, struct MHD_Connection *mhd, void **state,
                     enum MHD_RequestTerminationCode how)
{
    struct qn_exchange *x = *state;
    struct qn_serve *sv;
    struct qn_exchange kept;

    if (x == NULL)
        return;
    *state = NULL;
    sv = x->sv;
    free_key(x);
    qn_ingest_free(x->ingest);
    settle(&x->body);
    settle(&x->unpacked);
    settle(&x->out);
    settle(&x->event_headers);
    if (x->arena.total_bytes > KEEP_BYTES)
        qn_arena_fini(&x->arena);
    else
        qn_arena_reset(&x->arena);
    kept = *x;
    *x = (struct qn_exchange){.arena = kept.arena,
                              .body = kept.body,
                              .unpacked = kept.unpacked,
                              .out = kept.out,
                              .event_headers = kept.event_headers,
                              .sv = sv};
    set_deadline(x, true, IDLE_S + (sv->opt.spec->timeout_us + 999999) / 1000000);
    if (!kept.is_running)
        return;
    if (atomic_fetch_sub(&sv->running, 1) == 1 && atomic_load(&sv->is_stopping)) {
        pthread_mutex_lock(&sv->lock);
        pthread_cond_broadcast(&sv->changed);
        pthread_mutex_unlock(&sv->lock);
    }
}
