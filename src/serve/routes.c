/* SPDX-License-Identifier: Apache-2.0
 * routes.c - everything that can be asked over HTTP, one row each; nothing else knows a path.
 *
 * From the rows come: routing, roles, 404 with the nearest path, 405 with Allow, unknown query
 * parameters, /openapi.json, docs/http.md and the labels of the metrics. Rows are searched in
 * order: `/{file}` is last. Thread: any; const. */
#include "serve/serve_int.h"

#include <stdio.h>

#define STREAM_PARAMETER                                                                           \
    {                                                                                              \
        .name = "stream", .in = "path", .is_required = true, .schema = "{\"type\":\"string\"}",    \
        .help = "a stream of the spec"                                                             \
    }
#define KEY_PARAMETER                                                                              \
    {                                                                                              \
        .name = "Idempotency-Key", .in = "header",                                                 \
        .schema = "{\"type\":\"string\",\"minLength\":1,\"maxLength\":255,\"pattern\":"            \
                  "\"^[!-~]+$\"}",                                                                 \
        .help = "a name of this request: sent again with the same body, it is answered again and " \
                "taken once"                                                                       \
    }
#define LIMIT_PARAMETER                                                                            \
    {                                                                                              \
        .name = "limit", .in = "query",                                                            \
        .schema = "{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000,\"default\":100}",         \
        .help = "most records of the answer; it also ends at 1 MiB"                                \
    }
#define AFTER_PARAMETER                                                                            \
    {                                                                                              \
        .name = "after", .in = "query",                                                            \
        .schema = "{\"type\":\"string\",\"pattern\":\"^[0-9]{1,18}$\"}",                           \
        .help = "a cursor: `next` of the answer before; without it from the oldest record on"      \
    }
#define LAST_PARAMETER                                                                             \
    {                                                                                              \
        .name = "last", .in = "query",                                                             \
        .schema = "{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000}",                         \
        .help = "instead of `after`: begin so many records before the end"                         \
    }

#define OFFSET_PARAMETER(called, means)                                                            \
    {                                                                                              \
        .name = called, .in = "query",                                                             \
        .schema = "{\"type\":\"integer\",\"minimum\":0,\"maximum\":999999999999999999}",           \
        .help = means ": its `offset`"                                                             \
    }

/* What every route with events may answer besides. */
#define EVENT_PROBLEMS                                                                             \
    {                                                                                              \
        400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 500, 503, 507                            \
    }
#define READ_PROBLEMS 400, 401, 403, 500, 503

static const char json[] = "application/json";

const struct qn_route qn_routes[] = {
    {.method = "POST",
     .path = "/v1/streams/{stream}/events",
     .id = "events",
     .needs_log = true,
     .role = QN_ROLE_WRITE,
     .has_body = true,
     .summary = "take events; answers when they are on the disk",
     .help = "One JSON object, an array of them, NDJSON, or CloudEvents (structured, batch, "
             "binary), plain, gzip or zstd. An event that breaks the contract is rejected with its "
             "reason and kept as a dead letter; the others are taken.",
     .parameters = {STREAM_PARAMETER, KEY_PARAMETER},
     .answers = {{200, json, "Accepted", "at least one event was accepted"}},
     .problems = EVENT_PROBLEMS,
     .handle = qn_api_events},
    {.method = "POST",
     .path = "/v1/streams/{stream}/score",
     .id = "score",
     .needs_log = true,
     .role = QN_ROLE_WRITE,
     .has_body = true,
     .summary = "take events; answers with their predictions, which are on the disk then",
     .help = "As above, for the main stream of the spec. `predictions` has one entry per event, "
             "null where there is none; `rejected` says why.",
     .parameters = {STREAM_PARAMETER, KEY_PARAMETER},
     .answers = {{200, json, "Scored", "at least one event was scored"}},
     .problems = EVENT_PROBLEMS,
     .handle = qn_api_score},
    {.method = "GET",
     .path = "/v1/predictions",
     .id = "predictions",
     .needs_log = true,
     .role = QN_ROLE_READ,
     .summary = "records of an output, a page or a stream",
     .help = "`Accept: application/x-ndjson` gives one record a line and the next cursor in the "
             "header `quern-next`; `Accept: text/event-stream` never ends: each message has its "
             "cursor as `id`, and a client that comes back with `Last-Event-ID` goes on there. "
             "Without a cursor a stream begins with the next record.",
     .parameters = {{.name = "output",
                     .in = "query",
                     .schema = "{\"type\":\"string\",\"default\":\"predictions\"}",
                     .help = "an output of the spec"},
                    AFTER_PARAMETER,
                    LAST_PARAMETER,
                    LIMIT_PARAMETER,
                    {.name = "Last-Event-ID",
                     .in = "header",
                     .schema = "{\"type\":\"string\",\"pattern\":\"^[0-9]{1,18}$\"}",
                     .help = "as `after`: where a stream was cut off"}},
     .answers = {{200, json, "Predictions", "in the order of the log"},
                 {200, "application/x-ndjson", NULL, "the same records, one a line"},
                 {200, "text/event-stream", NULL, "the same records as they come"}},
     .problems = {READ_PROBLEMS, 404, 410},
     .handle = qn_api_predictions},
    {.method = "GET",
     .path = "/v1/dlq",
     .id = "dlq",
     .needs_log = true,
     .role = QN_ROLE_READ,
     .summary = "dead letters: events that were set aside, each with its reason",
     .help = "The original bytes are `event`, or `event_base64` where they are not UTF-8.",
     .parameters = {AFTER_PARAMETER, LAST_PARAMETER, LIMIT_PARAMETER},
     .answers = {{200, json, "DeadLetters", "in the order of the log"}},
     .problems = {READ_PROBLEMS, 404, 410},
     .handle = qn_api_dead},
    {.method = "POST",
     .path = "/v1/dlq/replay",
     .id = "dlq_replay",
     .needs_log = true,
     .role = QN_ROLE_ADMIN,
     .summary = "send dead letters through again after a fix, each once",
     .help = "All that fit the parameters, with their original bytes and headers; what was sent "
             "before is skipped, so asking again is harmless. Without parameters: all.",
     .parameters = {{.name = "reason",
                     .in = "query",
                     .schema = "{\"type\":\"string\"}",
                     .example = "out_of_range",
                     .help = "only letters with this reason"},
                    {.name = "stream",
                     .in = "query",
                     .schema = "{\"type\":\"string\"}",
                     .help = "only letters from this stream"},
                    OFFSET_PARAMETER("from", "first letter"),
                    OFFSET_PARAMETER("to", "first letter behind the range"),
                    {.name = "dry_run",
                     .in = "query",
                     .schema = "{\"type\":\"string\",\"enum\":[\"true\",\"false\"],"
                               "\"default\":\"false\"}",
                     .help = "`true`: only count"}},
     .answers = {{200, json, "DeadReplay", "what was sent is on the disk"}},
     .problems = {READ_PROBLEMS, 404, 507},
     .handle = qn_api_dead_replay},
    {.method = "GET",
     .path = "/v1/features/{by}",
     .id = "features",
     .needs_log = true,
     .role = QN_ROLE_READ,
     .summary = "the newest window features of a key",
     .help = "As of the newest event of that key; the engine is asked between two batches.",
     .parameters = {{.name = "by",
                     .in = "path",
                     .is_required = true,
                     .schema = "{\"type\":\"string\"}",
                     .help = "the fields of a group as the spec has them, joined by commas"},
                    {.name = "key",
                     .in = "query",
                     .is_required = true,
                     .is_list = true,
                     .schema = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":8,\"items\":"
                               "{\"type\":\"string\"}}",
                     .help = "the value of each field, as text; once per field"}},
     .answers = {{200, json, "Features", "the key, its time and its features"}},
     .problems = {READ_PROBLEMS, 404},
     .handle = qn_api_features},
    {.method = "GET",
     .path = "/v1/status",
     .id = "status",
     .role = QN_ROLE_READ,
     .summary = "what the pipeline is doing",
     .answers = {{200, json, "Status", "docs/formats.md says what it holds"}},
     .problems = {READ_PROBLEMS},
     .handle = qn_api_status},
    {.method = "GET",
     .path = "/v1/live",
     .id = "live",
     .role = QN_ROLE_READ,
     .summary = "the status once a second, as a stream that never ends",
     .answers = {{200, "text/event-stream", NULL, "each message is the answer of /v1/status"}},
     .problems = {READ_PROBLEMS},
     .handle = qn_api_live},
    {.method = "GET",
     .path = "/metrics",
     .id = "metrics",
     .role = QN_ROLE_READ,
     .summary = "metrics for Prometheus",
     .help = "`Accept: application/openmetrics-text` gives that format.",
     .answers = {{200, "text/plain", NULL, "version 0.0.4 of the text format"},
                 {200, "application/openmetrics-text", NULL, "version 1.0.0"}},
     .problems = {READ_PROBLEMS},
     .handle = qn_api_metrics},
    {.method = "GET",
     .path = "/livez",
     .id = "livez",
     .summary = "is the process worth keeping?",
     .answers = {{200, json, "Phase", "yes"}},
     .problems = {400, 500, 503},
     .handle = qn_api_alive},
    {.method = "GET",
     .path = "/readyz",
     .id = "readyz",
     .summary = "does it take events now?",
     .answers = {{200, json, "Phase", "yes"}},
     .problems = {400, 500, 503},
     .handle = qn_api_ready},
    {.method = "GET",
     .path = "/startupz",
     .id = "startupz",
     .summary = "is the start over: snapshot restored, log replayed?",
     .answers = {{200, json, "Phase", "yes"}},
     .problems = {400, 500, 503},
     .handle = qn_api_started},
    {.method = "GET",
     .path = "/openapi.json",
     .id = "openapi",
     .summary = "this description, OpenAPI 3.0.3",
     .answers = {{200, json, "Any", "the document"}},
     .problems = {400, 500, 503},
     .handle = qn_api_openapi},
    {.method = "GET",
     .path = "/",
     .id = "dashboard",
     .summary = "the dashboard",
     .answers = {{200, "text/html", NULL, "the page"}},
     .problems = {400, 500, 503},
     .handle = qn_api_asset},
    {.method = "GET",
     .path = "/{file}",
     .id = "file",
     .summary = "the files of the dashboard",
     .help = "Compressed where the client takes gzip; an `If-None-Match` with the file's ETag is "
             "answered with 304.",
     .parameters = {{.name = "file",
                     .in = "path",
                     .is_required = true,
                     .schema = "{\"type\":\"string\"}",
                     .help = "its name"}},
     .answers = {{200, "text/javascript", NULL, "the file, with its own media type"},
                 {200, "text/css", NULL, "a style sheet"},
                 {200, "image/svg+xml", NULL, "a picture"}},
     .problems = {400, 404, 500, 503},
     .handle = qn_api_asset},
    {.method = NULL},
};
const uint32_t qn_route_count = sizeof qn_routes / sizeof qn_routes[0] - 1;

const char *qn_http_title(int status)
{
    static const struct {
        int status;
        const char *title;
    } titles[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {410, "Gone"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {507, "Insufficient Storage"},
    };

    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        if (titles[i].status == status)
            return titles[i].title;
    return "OK";
}

static bool is_hole(struct qn_str segment)
{
    return segment.len > 0 && segment.p[0] == '{';
}

/* True where the path has this shape; its parameters are decoded into args. */
static bool fits(const char *pattern, struct qn_str path, struct qn_arena *a,
                 struct qn_str args[QN_PATH_ARGS_MAX])
{
    struct qn_str want = qn_str_of(pattern), have = path, w, h;
    uint32_t count = 0;

    for (;;) {
        bool more_wanted = qn_path_next(&want, &w), more_there = qn_path_next(&have, &h);

        if (!more_wanted || !more_there)
            return more_wanted == more_there && have.len == 0;
        if (!is_hole(w)) {
            if (!qn_str_eq(w, h))
                return false;
        } else if (h.len == 0 || !qn_percent_decode(h, false, a, &args[count++])) {
            return false;
        }
    }
}

const struct qn_route *qn_route_find(struct qn_str method, struct qn_str path, struct qn_arena *a,
                                     struct qn_str args[QN_PATH_ARGS_MAX], char allow[64])
{
    struct qn_str wanted = qn_str_is(method, "HEAD") ? qn_str_of("GET") : method;

    allow[0] = '\0';
    for (const struct qn_route *r = qn_routes; r->method != NULL; r++) {
        size_t n = strlen(allow);

        if (!fits(r->path, path, a, args))
            continue;
        if (qn_str_is(wanted, r->method))
            return r;
        if (strcmp(r->path, "/{file}") != 0 || n == 0)
            snprintf(allow + n, 64 - n, "%s%s", n > 0 ? ", " : "",
                     strcmp(r->method, "GET") == 0 ? "GET, HEAD" : r->method);
    }
    return NULL;
}

/* Edits between a path and a pattern, segment by segment; a hole takes anything. */
static unsigned distance(const char *pattern, struct qn_str path)
{
    enum { FAR = 100, EACH_MAX = 2 };
    struct qn_str want = qn_str_of(pattern), w, h;
    unsigned sum = 0;

    for (;;) {
        bool more_wanted = qn_path_next(&want, &w), more_there = qn_path_next(&path, &h);

        if (more_wanted != more_there)
            return FAR;
        if (!more_wanted)
            return sum;
        if (is_hole(w))
            continue;
        sum += qn_edit_distance(w, h, EACH_MAX);
    }
}

const char *qn_route_nearest(struct qn_str path)
{
    unsigned least = 3;
    const char *best = NULL;

    for (const struct qn_route *r = qn_routes; r->method != NULL; r++) {
        unsigned d = distance(r->path, path);

        if (d < least && strcmp(r->path, "/{file}") != 0) {
            least = d;
            best = r->path;
        }
    }
    return best;
}
