/* SPDX-License-Identifier: Apache-2.0
 * openapi.c - the table of routes as an OpenAPI document and as docs/http.md.
 *
 * Schemas of answers stand here as JSON; everything else is a row of routes.c. Thread: any. Memory:
 * the caller's buffer. */
#include "serve/serve_int.h"

static const struct {
    const char *name, *schema;
} schemas[] = {
    {"Any", "{\"type\":\"object\"}"},
    {"Problem",
     "{\"type\":\"object\",\"required\":[\"type\",\"title\",\"status\",\"detail\",\"code\"],"
     "\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":\"string\"},\"status\":"
     "{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},\"instance\":{\"type\":\"string\"},"
     "\"code\":{\"type\":\"string\",\"description\":\"stable; for programs\"}}}"},
    {"CloudEvent",
     "{\"type\":\"object\",\"required\":[\"id\",\"source\",\"specversion\",\"type\"],"
     "\"properties\":"
     "{\"id\":{\"type\":\"string\",\"minLength\":1},\"source\":{\"type\":\"string\",\"minLength\":"
     "1},"
     "\"specversion\":{\"type\":\"string\",\"enum\":[\"1.0\"]},\"type\":{\"type\":\"string\","
     "\"minLength\":1},\"data\":{\"type\":\"object\"}}}"},
    {"Position",
     "{\"type\":\"object\",\"required\":[\"topic\",\"first\",\"next\"],\"properties\":{\"topic\":"
     "{\"type\":\"string\"},\"first\":{\"type\":\"integer\"},\"next\":{\"type\":\"integer\"}},"
     "\"description\":\"where the events lie in the log: offsets first to next - 1\"}"},
    {"Rejected",
     "{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"index\",\"reason\","
     "\"text\"],\"properties\":{\"index\":{\"type\":\"integer\",\"description\":\"of the event in "
     "the request, from 0\"},\"reason\":{\"type\":\"string\"},\"field\":{\"type\":\"string\"},"
     "\"text\":{\"type\":\"string\"}}}}"},
    {"Accepted",
     "{\"type\":\"object\",\"required\":[\"accepted\",\"rejected\",\"position\"],\"properties\":"
     "{\"accepted\":{\"type\":\"integer\"},\"rejected\":{\"$ref\":\"#/components/schemas/"
     "Rejected\"}"
     ",\"position\":{\"$ref\":\"#/components/schemas/Position\"}}}"},
    {"Scored",
     "{\"type\":\"object\",\"required\":[\"predictions\",\"rejected\",\"position\"],\"properties\":"
     "{\"predictions\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"nullable\":true}},"
     "\"rejected\":{\"$ref\":\"#/components/schemas/Rejected\"},\"position\":{\"$ref\":"
     "\"#/components/schemas/Position\"}}}"},
    {"Predictions",
     "{\"type\":\"object\",\"required\":[\"predictions\",\"next\"],\"properties\":{\"predictions\":"
     "{\"type\":\"array\",\"items\":{\"type\":\"object\"}},\"next\":{\"type\":\"string\","
     "\"description\":\"cursor of the next page\"}}}"},
    {"DeadLetters",
     "{\"type\":\"object\",\"required\":[\"dead_letters\",\"next\"],\"properties\":{\"dead_"
     "letters\":"
     "{\"type\":\"array\",\"items\":{\"type\":\"object\"}},\"next\":{\"type\":\"string\"}}}"},
    {"DeadReplay",
     "{\"type\":\"object\",\"required\":[\"selected\",\"sent\",\"sent_before\",\"of_sinks\","
     "\"other_streams\"],\"properties\":{\"selected\":{\"type\":\"integer\",\"description\":\"the "
     "sum of the others\"},\"sent\":{\"type\":\"integer\"},\"sent_before\":{\"type\":\"integer\","
     "\"description\":\"skipped\"},\"of_sinks\":{\"type\":\"integer\",\"description\":\"refused by "
     "a target, no events: skipped\"},\"other_streams\":{\"type\":\"integer\",\"description\":\"of "
     "streams that the spec has not: skipped\"}}}"},
    {"Features",
     "{\"type\":\"object\",\"required\":[\"key\",\"features\"],\"properties\":{\"key\":{\"type\":"
     "\"object\"},\"as_of\":{\"type\":\"string\"},\"features\":{\"type\":\"object\"}}}"},
    {"Status", "{\"type\":\"object\"}"},
    {"Phase", "{\"type\":\"object\",\"required\":[\"phase\"],\"properties\":{\"phase\":{\"type\":"
              "\"string\"}}}"},
};

/* ---- OpenAPI ---- */

static void put_text(struct qn_buf *out, const char *name, const char *text)
{
    qn_buf_printf(out, "\"%s\":", name);
    qn_json_string(out, qn_str_of(text));
}

/* The streams that the path may name. */
static void put_streams(struct qn_buf *out, const struct qn_plan *plan, const struct qn_route *r)
{
    bool is_first = true;

    qn_buf_text(out, "{\"type\":\"string\",\"enum\":[");
    for (uint32_t i = 0; i < plan->schema_count; i++) {
        if (r->handle == qn_api_score && i != plan->main_stream)
            continue;
        qn_buf_text(out, is_first ? "" : ",");
        qn_json_string(out, plan->schemas[i].name);
        is_first = false;
    }
    qn_buf_text(out, "]}");
}

/* The outputs that there are. */
static void put_outputs(struct qn_buf *out, const struct qn_plan *plan)
{
    qn_buf_text(out, "{\"type\":\"string\",\"default\":\"predictions\",\"enum\":[");
    for (uint32_t i = 0; i < plan->output_count; i++) {
        qn_buf_text(out, i > 0 ? "," : "");
        qn_json_string(out, plan->outputs[i].name);
    }
    qn_buf_text(out, "]}");
}

static void put_parameter(struct qn_buf *out, const struct qn_plan *plan, const struct qn_route *r,
                          const struct qn_route_parameter *p)
{
    qn_buf_printf(out, "{\"name\":\"%s\",\"in\":\"%s\",\"required\":%s,", p->name, p->in,
                  p->is_required ? "true" : "false");
    if (p->is_list)
        qn_buf_text(out, "\"style\":\"form\",\"explode\":true,");
    put_text(out, "description", p->help);
    qn_buf_text(out, ",\"schema\":");
    if (plan != NULL && strcmp(p->name, "stream") == 0)
        put_streams(out, plan, r);
    else if (plan != NULL && strcmp(p->name, "output") == 0)
        put_outputs(out, plan);
    else
        qn_buf_text(out, p->schema);
    qn_buf_byte(out, '}');
}

static void put_body(struct qn_buf *out)
{
    static const char event[] = "{\"type\":\"object\"}";
    static const char cloudevent[] = "{\"$ref\":\"#/components/schemas/CloudEvent\"}";

    qn_buf_printf(
        out,
        ",\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":"
        "{\"oneOf\":[%s,{\"type\":\"array\",\"minItems\":1,\"items\":%s}]}},"
        "\"application/x-ndjson\":{\"schema\":{\"type\":\"string\"}},"
        "\"application/cloudevents+json\":{\"schema\":%s},"
        "\"application/cloudevents-batch+json\":{\"schema\":{\"type\":\"array\",\"minItems\":1,"
        "\"items\":%s}}}}",
        event, event, cloudevent, cloudevent);
}

/* Answers of one status, however many media types it has. */
static void put_answers(struct qn_buf *out, const struct qn_route *r)
{
    for (int i = 0; i < QN_ANSWERS_MAX && r->answers[i].status != 0; i++) {
        const struct qn_route_answer *a = &r->answers[i];
        bool is_same = i > 0 && r->answers[i - 1].status == a->status;

        if (!is_same) {
            qn_buf_printf(out, "%s\"%d\":{", i > 0 ? "}}," : "", a->status);
            put_text(out, "description", a->help);
            qn_buf_text(out, ",\"content\":{");
        }
        qn_buf_printf(out, "%s\"%s\":{\"schema\":", is_same ? "," : "", a->type);
        if (a->schema != NULL)
            qn_buf_printf(out, "{\"$ref\":\"#/components/schemas/%s\"}}", a->schema);
        else
            qn_buf_text(out, "{\"type\":\"string\"}}");
    }
    qn_buf_text(out, "}}");
    for (int i = 0; i < QN_PROBLEMS_MAX && r->problems[i] != 0; i++)
        qn_buf_printf(out, ",\"%d\":{\"$ref\":\"#/components/responses/Problem\"}", r->problems[i]);
}

static void put_operation(struct qn_buf *out, const struct qn_plan *plan, const struct qn_route *r)
{
    qn_buf_printf(out, "\"%s\":{\"operationId\":\"%s\",",
                  strcmp(r->method, "GET") == 0 ? "get" : "post", r->id);
    put_text(out, "summary", r->summary);
    if (r->help != NULL) {
        qn_buf_byte(out, ',');
        put_text(out, "description", r->help);
    }
    qn_buf_printf(out, ",\"security\":%s,\"parameters\":[",
                  r->role == QN_ROLE_OPEN ? "[]" : "[{},{\"bearer\":[]}]");
    for (int i = 0; i < QN_PARAMETERS_MAX && r->parameters[i].name != NULL; i++) {
        qn_buf_text(out, i > 0 ? "," : "");
        put_parameter(out, plan, r, &r->parameters[i]);
    }
    qn_buf_byte(out, ']');
    if (r->has_body)
        put_body(out);
    qn_buf_text(out, ",\"responses\":{");
    put_answers(out, r);
    qn_buf_text(out, "}}");
}

void qn_serve_openapi(const struct qn_plan *plan, struct qn_buf *out)
{
    qn_buf_text(out, "{\"openapi\":\"3.0.3\",\"info\":{\"title\":\"Quern");
    if (plan != NULL)
        qn_buf_printf(out, ": %.*s", QN_STR_ARG(plan->name));
    qn_buf_text(out, "\",\"version\":\"" QN_VERSION "\",\"license\":{\"name\":\"Apache-2.0\"}},"
                     "\"paths\":{");
    for (uint32_t i = 0; i < qn_route_count; i++) {
        qn_buf_printf(out, "%s\"%s\":{", i > 0 ? "," : "", qn_routes[i].path);
        put_operation(out, plan, &qn_routes[i]);
        qn_buf_byte(out, '}');
    }
    qn_buf_text(out, "},\"components\":{\"securitySchemes\":{\"bearer\":{\"type\":\"http\","
                     "\"scheme\":\"bearer\"}},\"responses\":{\"Problem\":{\"description\":\"what "
                     "is wrong, and what to do\",\"content\":{\"application/problem+json\":{"
                     "\"schema\":{\"$ref\":\"#/components/schemas/Problem\"}}}}},\"schemas\":{");
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++)
        qn_buf_printf(out, "%s\"%s\":%s", i > 0 ? "," : "", schemas[i].name, schemas[i].schema);
    qn_buf_text(out, "}}}\n");
}

void qn_api_openapi(struct qn_exchange *x)
{
    qn_serve_openapi(x->sv->plan, &x->out);
    qn_exchange_answer(x, 200, "application/json");
}

/* ---- docs/http.md ---- */

static const char intro[] =
    "# HTTP\n"
    "\n"
    "Generated from the table of routes by `quern reference http`. A running pipeline describes "
    "itself the same way at\n"
    "`/openapi.json`.\n"
    "\n"
    "```text\n"
    "curl -d '{\"transaction_id\": \"t1\", ...}' -H 'content-type: application/json' "
    "localhost:8090/v1/streams/transactions/score\n"
    "curl 'localhost:8090/v1/predictions?output=alerts&last=10'\n"
    "curl -N -H 'accept: text/event-stream' localhost:8090/v1/predictions\n"
    "```\n"
    "\n"
    "- **Who may ask**: `Authorization: Bearer TOKEN`, with the tokens of `serve:` "
    "([spec.md](spec.md)); read < write < admin,\n"
    "  each may do what those before it may. Without tokens, whoever reaches the address. Pages of "
    "other sites cannot: there\n"
    "  are no CORS headers, and an `Origin` that is not the server's may not send events.\n"
    "- **Durable**: an answer to sent events means that they are on the disk, all of them, or "
    "none.\n"
    "- **Again**: after a lost answer send the same request with the same `Idempotency-Key`; it is "
    "taken once and answered\n"
    "  again, also after a restart, for the newest 65,536 keys and 100,000 events of a stream.\n"
    "- **CloudEvents**: `data` is the event; the attributes travel as headers of its record "
    "(`ce_id`, "
    "`ce_source`, ...).\n"
    "  `traceparent` and `tracestate` of the request do so too.\n"
    "- **Too busy**: 429, 503 and 507 have a `Retry-After`; nothing of such a request was taken.\n"
    "- **Limits**: `serve:` sets body, time and connections; a request's line and headers have "
    "room "
    "in 32 KiB. A client that\n"
    "  is silent for 65 s or needs longer than `timeout` for a request is cut off.\n"
    "- Every answer to GET also comes to HEAD, without its body.\n"
    "\n"
    "## Problems\n"
    "\n"
    "What went wrong is `application/problem+json` (RFC 9457): `title`, `status`, `detail` for "
    "people, `code` for programs,\n"
    "`instance`. What is not HTTP at all is answered by the library below, with a plain page.\n"
    "\n"
    "| status | means |\n"
    "|---|---|\n"
    "| 400 | the request cannot be read: a parameter, the JSON, a CloudEvent |\n"
    "| 401, 403 | no token, or one that may not |\n"
    "| 404 | no such path, stream, output, group or key; the nearest name is said |\n"
    "| 405 | no such method at this path; `Allow` lists them |\n"
    "| 409 | an `Idempotency-Key` that is under way, or came with another body |\n"
    "| 410 | a cursor whose records were removed |\n"
    "| 413 | a body that is too large, or unpacks to too much |\n"
    "| 415 | a Content-Type or Content-Encoding that is not known |\n"
    "| 421 | a server without tokens was asked for by a name that is not this machine's |\n"
    "| 422 | no event of the request can be used; `rejected` says why |\n"
    "| 429 | more waits than is done |\n"
    "| 503 | starting, draining or out of memory |\n"
    "| 507 | the disk is full |\n"
    "\n"
    "## Routes\n"
    "\n"
    "| route | token | answers |\n"
    "|---|---|---|\n";

static void put_route(struct qn_buf *out, const struct qn_route *r)
{
    qn_buf_printf(out, "## `%s %s`\n\n%c%s.%s%s\n\n", r->method, r->path, r->summary[0] & ~32,
                  r->summary + 1, r->help != NULL ? " " : "", r->help != NULL ? r->help : "");
    if (r->parameters[0].name != NULL)
        qn_buf_text(out, "| parameter | in | means |\n|---|---|---|\n");
    for (int i = 0; i < QN_PARAMETERS_MAX && r->parameters[i].name != NULL; i++)
        qn_buf_printf(out, "| `%s` | %s%s | %s |\n", r->parameters[i].name, r->parameters[i].in,
                      r->parameters[i].is_required ? ", required" : "", r->parameters[i].help);
    if (r->parameters[0].name != NULL)
        qn_buf_byte(out, '\n');
    qn_buf_text(out, "| answer | type | holds |\n|---|---|---|\n");
    for (int i = 0; i < QN_ANSWERS_MAX && r->answers[i].status != 0; i++)
        qn_buf_printf(out, "| %d | `%s` | %s |\n", r->answers[i].status, r->answers[i].type,
                      r->answers[i].help);
    qn_buf_text(out, "\nProblems: ");
    for (int i = 0; i < QN_PROBLEMS_MAX && r->problems[i] != 0; i++)
        qn_buf_printf(out, "%s%d", i > 0 ? ", " : "", r->problems[i]);
    qn_buf_text(out, ".\n\n");
}

void qn_serve_reference(struct qn_buf *out)
{
    qn_buf_text(out, intro);
    for (uint32_t i = 0; i < qn_route_count; i++)
        qn_buf_printf(out, "| `%s %s` | %s | %s |\n", qn_routes[i].method, qn_routes[i].path,
                      qn_routes[i].role == QN_ROLE_OPEN ? "none" : qn_role_name(qn_routes[i].role),
                      qn_routes[i].summary);
    qn_buf_byte(out, '\n');
    for (uint32_t i = 0; i < qn_route_count; i++)
        put_route(out, &qn_routes[i]);
    out->len -= out->len > 0; /* the page ends with one line end */
}
