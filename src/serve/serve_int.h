/* SPDX-License-Identifier: Apache-2.0
 * serve_int.h - the inside of the serve room: routes, and the exchange (one request and its answer)
 * that handlers work on.
 *
 *   first line ─► route, role ─► headers, body ─► handle(x) ─► answer
 *                                                    │ waits: qn_exchange_wait, submit
 *                                                    └──────► finish(x), after it was woken
 *
 * libmicrohttpd is spoken to in serve.c and exchange.c only; handlers (api_*.c) see an exchange.
 * Thread: an exchange belongs to one thread of the server; qn_exchange_wake alone may be called
 * from any. Memory: request lifetime; the connection keeps the buffers for its next request. */
#ifndef QN_SERVE_SERVE_INT_H
#define QN_SERVE_SERVE_INT_H

#include "serve/http_text.h"
#include "serve/serve.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

struct qn_exchange;
struct qn_idempotency; /* idempotency.h */

/* ---- routes (routes.c) -----------------------------------------------------------------------*/

/* Who may ask; each may do what those before it may. OPEN needs no token. */
enum qn_role { QN_ROLE_OPEN, QN_ROLE_READ, QN_ROLE_WRITE, QN_ROLE_ADMIN };
const char *qn_role_name(enum qn_role r); /* "read" */

const char *qn_http_title(int status); /* "Not Found" */

struct qn_route_parameter {
    const char *name;
    const char *in; /* "query", "header" or "path" */
    bool is_required, is_list;
    const char *schema;  /* JSON schema as text */
    const char *example; /* NULL = none */
    const char *help;    /* one sentence */
};

/* An answer that a route gives besides the problems. */
struct qn_route_answer {
    int status;
    const char *type;   /* media type  */
    const char *schema; /* name in components/schemas, or NULL = text */
    const char *help;
};

enum { QN_ANSWERS_MAX = 4, QN_PROBLEMS_MAX = 13, QN_PARAMETERS_MAX = 6, QN_PATH_ARGS_MAX = 2 };

struct qn_route {
    const char *method, *path; /* "/v1/streams/{stream}/events"; "/{file}" as the last one */
    const char *id;            /* operationId, and the label `route` of metrics */
    enum qn_role role;
    bool has_body;  /* takes events */
    bool needs_log; /* a local one: 404 `log_in_kafka` where the pipeline's lies in Kafka */
    const char *summary, *help;
    struct qn_route_parameter parameters[QN_PARAMETERS_MAX]; /* ended by name NULL where fewer */
    struct qn_route_answer answers[QN_ANSWERS_MAX];          /* ended by status 0 where fewer  */
    int problems[QN_PROBLEMS_MAX]; /* statuses of application/problem+json */
    void (*handle)(struct qn_exchange *x);
};
extern const struct qn_route qn_routes[]; /* ended by method NULL */
extern const uint32_t qn_route_count;

/* The route of a request; HEAD is GET. NULL where there is none: *allow then lists the methods of
 * this path ("GET, HEAD"), or is "" where nothing has the path. args: the decoded path parameters,
 * in the arena. */
const struct qn_route *qn_route_find(struct qn_str method, struct qn_str path, struct qn_arena *a,
                                     struct qn_str args[QN_PATH_ARGS_MAX], char allow[64]);
/* The path that is nearest to a wrong one, or NULL. */
const char *qn_route_nearest(struct qn_str path);

/* ---- the exchange (exchange.c) ---------------------------------------------------------------*/

enum { QN_EXCHANGE_HEADERS_MAX = 8 };

/* Produces the next piece of a stream into x->out. Nothing appended: sleep until
 * x->wake_offset of x->wake_topic is there, or x->wake_ns. False: the stream is over. */
typedef bool qn_exchange_produce(struct qn_exchange *x);

struct qn_exchange {
    struct qn_serve *sv;
    struct MHD_Connection *mhd;
    const struct qn_route *route; /* NULL = refused before one was found */
    struct qn_arena arena;        /* of this request */
    struct qn_str path, query;    /* encoded, in the arena */
    struct qn_str args[QN_PATH_ARGS_MAX];
    struct qn_buf body;     /* as it came                          */
    struct qn_buf unpacked; /* see qn_exchange_body                */
    bool is_refused;        /* an answer is there before the body is */
    bool is_head;
    bool is_running;    /* counted in sv->running              */
    uint64_t swallowed; /* bytes of a body that nobody wants   */
    int64_t arrived_ns; /* when the request was whole; 0 = not yet */

    /* the answer */
    int status; /* 0 = none yet */
    const char *type;
    struct qn_buf out;
    struct qn_exchange_header {
        const char *name, *value; /* static, or in the arena */
    } headers[QN_EXCHANGE_HEADERS_MAX];
    uint32_t header_count;
    const void *fixed; /* answer these bytes instead of out: static memory */
    size_t fixed_len;

    /* waiting and streaming */
    void (*finish)(struct qn_exchange *x); /* not NULL: waits, or was woken */
    qn_exchange_produce *produce;
    size_t sent; /* bytes of out that the client has */
    int64_t wake_ns;
    uint64_t wake_offset;
    uint32_t wake_topic; /* UINT32_MAX = only the time counts */
    struct qn_exchange *next_asleep;

    /* of the handlers of events (api_events.c) and streams (api_predictions.c) */
    struct qn_ingest *ingest;
    struct qn_buf event_headers;
    qn_status submitted;
    struct qn_err err;
    uint64_t cursor; /* of the next record of cursor_topic */
    uint32_t cursor_topic;
    uint64_t claim; /* idempotency.h; 0 = none */
    bool wants_scores;
};

/* A header of the request; p NULL where it is not there. Borrowed until the answer. */
struct qn_str qn_exchange_header(struct qn_exchange *x, const char *name);
/* Calls each for every header whose name begins with prefix (any case), with the name behind the
 * prefix; false from it stops. */
void qn_exchange_headers(struct qn_exchange *x, const char *prefix,
                         bool (*each)(void *arg, struct qn_str name, struct qn_str value),
                         void *arg);
/* A query parameter, decoded; p NULL where it is not there. False (and a problem is the answer)
 * where it cannot be decoded. index: 0 = the first of that name. */
bool qn_exchange_query(struct qn_exchange *x, const char *name, uint32_t index, struct qn_str *out);
/* A whole number from min to max, or fallback where the query has none. False: answered. */
bool qn_exchange_number(struct qn_exchange *x, const char *name, uint64_t min, uint64_t max,
                        uint64_t fallback, uint64_t *out);
/* The index of the media type that the client likes best. */
uint32_t qn_exchange_accepts(struct qn_exchange *x, const char *const *offers, uint32_t count);

/* Answers with x->out. type: static. */
void qn_exchange_answer(struct qn_exchange *x, int status, const char *type);
/* Adds a header to the answer. The texts are static or lie in the arena. */
void qn_exchange_add(struct qn_exchange *x, const char *name, const char *value);
/* Answers with a problem (RFC 9457): code is ours and stable ("unknown_stream"), detail one
 * sentence. x->out then holds one object, and nothing else. */
void qn_exchange_problem(struct qn_exchange *x, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same about a name that is not known: "unknown WHAT 'NAME' (did you mean ...?)". */
void qn_exchange_unknown(struct qn_exchange *x, int status, const char *what, struct qn_str name,
                         const struct qn_str *known, uint32_t count);
/* 404: nothing at this path, with the nearest one. */
void qn_exchange_nowhere(struct qn_exchange *x);
/* The same, as a failure of the world says it. */
void qn_exchange_failed(struct qn_exchange *x, const struct qn_err *err);
/* Not now: 503 by the phase of the service, 507 when the disk is full, 429 else. */
void qn_exchange_busy(struct qn_exchange *x);

/* Gives the thread back until qn_exchange_wake; then finish answers. Call it last but for what
 * leads to the wake. */
void qn_exchange_wait(struct qn_exchange *x, void (*finish)(struct qn_exchange *x));
void qn_exchange_wake(struct qn_exchange *x);
/* Answers with an endless text of this type, piece by piece. */
void qn_exchange_stream(struct qn_exchange *x, const char *type, qn_exchange_produce *produce);

/* ---- certificate and key (tls_files.c)
 * ---------------------------------------------------------*/

/* Both files as text ended by a zero byte, checked to belong together; empty where the spec has
 * none. The caller frees with qn_tls_forget, also after a failure. */
qn_status qn_tls_read(const struct qn_plan_serve *spec, const struct qn_files *files,
                      struct qn_buf *cert, struct qn_buf *key, struct qn_err *err);
void qn_tls_forget(struct qn_buf *cert, struct qn_buf *key);

/* ---- the server (serve.c) --------------------------------------------------------------------*/

enum { QN_TOKEN_DIGEST = 32 };

struct qn_token {
    unsigned char digest[QN_TOKEN_DIGEST]; /* SHA-256 */
    enum qn_role role;
};

/* A connection: its deadline, and the exchange that its requests use one after the other. */
struct qn_connection {
    struct qn_serve *sv;
    struct qn_connection *prev, *next;
    int fd;
    _Atomic int64_t deadline_ns; /* cut off when it passes; 0 = none               */
    _Atomic bool is_receiving;   /* a request arrives, or nothing is under way     */
    bool was_left;               /* the client had closed it at the sweep before   */
    struct qn_exchange x;
};

struct qn_serve {
    struct qn_serve_options opt;
    const struct qn_plan *plan;
    struct MHD_Daemon *daemons[QN_SERVE_ADDRESSES_MAX];
    char urls[QN_SERVE_ADDRESSES_MAX][80];
    uint32_t daemon_count;
    struct qn_buf cert, key;
    struct qn_token *tokens;
    uint32_t token_count;
    bool is_loopback; /* all addresses are */
    struct qn_idempotency *idempotency;
    struct qn_series **requests; /* [routes + 1][statuses]: made at start */
    struct qn_series **seconds;  /* [routes + 1] */

    pthread_mutex_t lock; /* over what follows, up to the empty line */
    pthread_cond_t changed;
    struct qn_connection *connections;
    struct qn_exchange *asleep; /* streams that wait for records or time */
    bool is_over;               /* the watcher may end */

    pthread_t watcher;
    bool has_watcher;
    atomic_bool is_leaving; /* not ready any more, and answering */
    atomic_bool is_stopping;
    atomic_uint running; /* requests between first line and last byte */
};

/* True if a request with this Authorization header may do what asks for the role; *status is 401 or
 * 403 else. */
bool qn_auth_allows(const struct qn_serve *sv, struct qn_str header, enum qn_role role,
                    int *status);
/* Makes sv->tokens. */
qn_status qn_auth_open(struct qn_serve *sv, struct qn_err *err);

/* Callbacks of libmicrohttpd's (exchange.c). */
void *qn_exchange_begin(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result qn_exchange_step(void *cls, struct MHD_Connection *mhd, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *data_len, void **state);
void qn_exchange_end(void *cls, struct MHD_Connection *mhd, void **state,
                     enum MHD_RequestTerminationCode how);

/* Counts an answer. */
void qn_serve_count(struct qn_serve *sv, const struct qn_route *route, int status, double seconds);

/* ---- handlers --------------------------------------------------------------------------------*/

/* The rows of x->ingest, in the arena; NULL = out of memory. */
struct qn_ingest_row *qn_events_rows(struct qn_exchange *x);
/* Answers about events that the log has. */
void qn_events_answer(struct qn_exchange *x, const struct qn_ingest_row *rows, uint32_t count);
/* Answers about events that were taken before: count events at first of the stream's topic, the
 * same that x->ingest holds (and does not submit). events_again.c. */
void qn_events_again(struct qn_exchange *x, uint32_t stream, uint64_t first, uint32_t count);

void qn_api_events(struct qn_exchange *x);      /* api_events.c      */
void qn_api_score(struct qn_exchange *x);       /* api_events.c      */
void qn_api_predictions(struct qn_exchange *x); /* api_predictions.c */
void qn_api_dead(struct qn_exchange *x);        /* api_predictions.c */
void qn_api_dead_replay(struct qn_exchange *x); /* api_dead.c        */
void qn_api_features(struct qn_exchange *x);    /* api_status.c      */
void qn_api_status(struct qn_exchange *x);      /* api_status.c      */
void qn_api_live(struct qn_exchange *x);        /* api_status.c      */
void qn_api_metrics(struct qn_exchange *x);     /* api_status.c      */
void qn_api_alive(struct qn_exchange *x);       /* api_status.c      */
void qn_api_ready(struct qn_exchange *x);       /* api_status.c      */
void qn_api_started(struct qn_exchange *x);     /* api_status.c      */
void qn_api_openapi(struct qn_exchange *x);     /* openapi.c         */
void qn_api_asset(struct qn_exchange *x);       /* api_assets.c      */

#endif
