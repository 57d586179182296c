/* SPDX-License-Identifier: Apache-2.0
 * sink_webhook.c - posts records to a URL: one request a call, one call at a time, in the order of
 * the log.
 *
 * A request holds one record, or up to `batch` of them in a list. What is sent, how it is signed
 * and what an answer means stand in webhook_*.c; here are the options and libcurl. Redirects and
 * the environment's proxies are not followed, and no address of a private network is connected to
 * unless the spec allows it: the check is made on the address itself, after the name was looked
 * up, so that a name cannot point elsewhere later. Thread: the delivery's; libcurl's own threads
 * only look up names. Memory: buffers of one request. */
#include "sink/sink_int.h"
#include "sink/webhook_int.h"

#include "base/check.h"
#include "base/curl.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

enum { BODY_BYTES_MAX = 4 << 20, POLL_MS = 100, BATCH_MAX = 1000 };

static const char default_text[] = "{pipeline}: score {score} for {event_id} ({id})";

static const struct qn_option webhook_options[] = {
    {.name = "url",
     .type = QN_OPT_TEXT,
     .value = "URL",
     .is_required = true,
     .is_secret = true,
     .since = "0.2",
     .help = "where records are posted to: http:// or https://",
     .offset = offsetof(struct qn_webhook_options, url)},
    {.name = "format",
     .type = QN_OPT_ENUM,
     .choices = "cloudevents|raw|slack|pagerduty",
     .fallback = "cloudevents",
     .since = "0.2",
     .help = "what is posted: a CloudEvent, the record as it is, or what Slack or PagerDuty read",
     .offset = offsetof(struct qn_webhook_options, format)},
    {.name = "text",
     .type = QN_OPT_TEXT,
     .value = "a text",
     .fallback = default_text,
     .since = "0.2",
     .help =
         "slack, pagerduty: the message; {score} or {features.amount} stands for that member of "
         "the record, {{ for the sign itself",
     .offset = offsetof(struct qn_webhook_options, text)},
    {.name = "secret",
     .type = QN_OPT_TEXT,
     .value = "`whsec_...`",
     .is_secret = true,
     .since = "0.2",
     .help = "signs requests as Standard Webhooks say; two keys with a blank between while one is "
             "replaced",
     .offset = offsetof(struct qn_webhook_options, secret)},
    {.name = "routing_key",
     .type = QN_OPT_TEXT,
     .value = "a key",
     .is_secret = true,
     .since = "0.2",
     .help = "pagerduty: the integration key of the service",
     .offset = offsetof(struct qn_webhook_options, routing_key)},
    {.name = "severity",
     .type = QN_OPT_ENUM,
     .choices = "critical|error|warning|info",
     .fallback = "error",
     .since = "0.2",
     .help = "pagerduty: how bad it is",
     .offset = offsetof(struct qn_webhook_options, severity)},
    {.name = "headers",
     .type = QN_OPT_LIST,
     .value = "headers",
     .is_secret = true,
     .since = "0.2",
     .help = "more headers, such as \"Authorization: Bearer ${TOKEN}\"",
     .offset = offsetof(struct qn_webhook_options, headers)},
    {.name = "batch",
     .type = QN_OPT_INT,
     .min = 1,
     .max = BATCH_MAX,
     .fallback = "1",
     .since = "0.2",
     .help = "most records of one request; with more than 1, each request holds a list",
     .offset = offsetof(struct qn_webhook_options, batch)},
    {.name = "timeout",
     .type = QN_OPT_DURATION,
     .min = 10000,
     .max = INT64_C(600000000),
     .fallback = "10s",
     .since = "0.2",
     .help = "for a whole request, from the look-up of the name to the end of the answer",
     .offset = offsetof(struct qn_webhook_options, timeout_us)},
    {.name = "allow_private",
     .type = QN_OPT_FLAG,
     .fallback = "false",
     .since = "0.2",
     .help = "true lets the URL lead to this machine or a private network",
     .offset = offsetof(struct qn_webhook_options, allow_private)},
    {.name = "ca_file",
     .type = QN_OPT_TEXT,
     .value = "a file",
     .since = "0.2",
     .help = "certificates (PEM) to trust instead of the system's",
     .offset = offsetof(struct qn_webhook_options, ca_file)},
    {0}};

struct webhook {
    const struct qn_webhook_options *opt;
    const struct qn_sink_boot *boot;
    struct qn_webhook_body body_of;
    struct qn_webhook_keys keys;
    struct qn_arena boot_arena, arena; /* the template; members of one record */
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    char why[CURL_ERROR_SIZE];    /* libcurl's words                            */
    char private_address[64];     /* that was not connected to; "" = none       */
    struct qn_buf body, id, line; /* of one request                             */
    uint32_t singles;             /* so many records go alone: a list was refused */
    struct qn_webhook_answer answer;
};

/* ---- checking the options --------------------------------------------------------------------*/

static qn_status check_header(const char *header, struct qn_err *err)
{
    static const char *const ours[] = {
        "content-type",    "content-length", "transfer-encoding", "host",
        "idempotency-key", "webhook-id",     "webhook-timestamp", "webhook-signature"};
    const char *colon = strchr(header, ':');
    size_t n = colon != NULL ? (size_t)(colon - header) : 0;

    if (n == 0 || strspn(header, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != n)
        return qn_err_set(err, QN_INVALID,
                          "'headers' holds a line that is no header: write \"Name: value\"");
    for (const char *p = colon; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 && *p != '\t')
            return qn_err_set(err, QN_INVALID, "the value of header '%.*s' holds a control byte",
                              (int)n, header);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strlen(ours[i]) == n && strncasecmp(ours[i], header, n) == 0)
            return qn_err_set(err, QN_INVALID, "the header '%.*s' is set by the sink itself",
                              (int)n, header);
    return QN_OK;
}

/* Names and numbers that can only mean this machine or a private network. */
static bool is_private_host(const char *host)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    char name[64];
    size_t n = strlen(host);

    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &in.sin_addr) == 1)
        return qn_webhook_is_private((const struct sockaddr *)&in);
    if (n < 3 || n >= sizeof(name) || host[0] != '[')
        return false;
    snprintf(name, sizeof(name), "%.*s", (int)n - 2, host + 1);
    return inet_pton(AF_INET6, name, &in6.sin6_addr) == 1 &&
           qn_webhook_is_private((const struct sockaddr *)&in6);
}

static qn_status check_url(const struct qn_webhook_options *o, struct qn_err *err)
{
    CURLU *url = curl_url();
    char *scheme = NULL, *host = NULL;
    qn_status rc = QN_OK;
    CURLUcode code;

    if (url == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a URL");
    code = curl_url_set(url, CURLUPART_URL, o->url, CURLU_NON_SUPPORT_SCHEME);
    if (code == CURLUE_OK)
        code = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(url, CURLUPART_HOST, &host, 0);
    if (code != CURLUE_OK)
        rc = qn_err_set(err, QN_INVALID, "'url' is no URL: %s; write https://HOST/PATH",
                        curl_url_strerror(code));
    else if (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
        rc = qn_err_set(err, QN_INVALID, "'url' must begin with http:// or https://");
    else if (!o->allow_private && is_private_host(host))
        rc = qn_err_set(err, QN_INVALID,
                        "'url' leads to this machine or a private network; where that is meant, "
                        "add 'allow_private: true'");
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(url);
    return rc;
}

static qn_status webhook_check(const void *options, struct qn_err *err)
{
    const struct qn_webhook_options *o = options;
    bool has_text = o->format == QN_WEBHOOK_SLACK || o->format == QN_WEBHOOK_PAGERDUTY;
    struct qn_arena arena = {0};
    struct qn_webhook_keys keys;
    struct qn_template *text;
    qn_status rc;

    QN_TRY(check_url(o, err));
    if (o->secret != NULL)
        QN_TRY(qn_webhook_keys(o->secret, &keys, err));
    for (uint32_t i = 0; i < o->headers.count; i++)
        QN_TRY(check_header(o->headers.items[i], err));
    if (has_text && o->batch > 1)
        return qn_err_set(err, QN_INVALID,
                          "'batch' is for cloudevents and raw: slack and pagerduty take one at a "
                          "time");
    if ((o->format == QN_WEBHOOK_PAGERDUTY) != (o->routing_key != NULL))
        return qn_err_set(err, QN_INVALID, "'routing_key' and 'format: pagerduty' go together");
    if (!has_text && strcmp(o->text, default_text) != 0)
        return qn_err_set(err, QN_INVALID, "'text' is for 'format: slack' and 'pagerduty'");
    rc = qn_template_read(qn_str_of(o->text), &arena, &text, err);
    qn_arena_fini(&arena);
    return rc;
}

/* ---- libcurl ---------------------------------------------------------------------------------*/

/* Sockets only lead to where the spec allows. */
static curl_socket_t on_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct webhook *w = arg;
    char text[INET6_ADDRSTRLEN] = "?";

    if (!w->opt->allow_private && qn_webhook_is_private(&address->addr)) {
        if (address->family == AF_INET)
            inet_ntop(AF_INET,
                      &((const struct sockaddr_in *)(const void *)&address->addr)->sin_addr, text,
                      sizeof(text));
        else if (address->family == AF_INET6)
            inet_ntop(AF_INET6,
                      &((const struct sockaddr_in6 *)(const void *)&address->addr)->sin6_addr, text,
                      sizeof(text));
        snprintf(w->private_address, sizeof(w->private_address), "%s", text);
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_header(char *p, size_t size, size_t count, void *arg)
{
    struct webhook *w = arg;
    int64_t now_us = w->boot->clock->wall_us(w->boot->clock->st);
    struct qn_str line = {p, (uint32_t)(size * count)};

    return qn_webhook_answer_header(&w->answer, line, now_us) ? size * count : 0;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
    struct webhook *w = arg;

    return qn_webhook_answer_body(&w->answer, (struct qn_str){p, (uint32_t)(size * count)})
               ? size * count
               : 0;
}

static bool set_options(struct webhook *w)
{
    const struct qn_webhook_options *o = w->opt;
    CURL *e = w->easy;
    CURLcode bad = CURLE_OK;

#define SET(option, value) bad = bad != CURLE_OK ? bad : curl_easy_setopt(e, option, value)
    SET(CURLOPT_URL, o->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, ""); /* none, whatever the environment says */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* a stop does not wait for a name server */
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_USERAGENT, "quern/" QN_VERSION);
    SET(CURLOPT_TIMEOUT_MS, (long)(o->timeout_us / 1000));
    SET(CURLOPT_OPENSOCKETFUNCTION, on_socket);
    SET(CURLOPT_OPENSOCKETDATA, w);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, w);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, w);
    SET(CURLOPT_ERRORBUFFER, w->why);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    if (o->ca_file != NULL)
        SET(CURLOPT_CAINFO, o->ca_file);
#undef SET
    return bad == CURLE_OK;
}

static void webhook_close(void *st)
{
    struct webhook *w = st;

    if (w->easy != NULL)
        curl_easy_cleanup(w->easy);
    if (w->multi != NULL)
        curl_multi_cleanup(w->multi);
    curl_slist_free_all(w->headers);
    qn_buf_fini(&w->body);
    qn_buf_fini(&w->id);
    qn_buf_fini(&w->line);
    qn_arena_fini(&w->arena);
    qn_arena_fini(&w->boot_arena);
}

static qn_status webhook_open(void *st, const struct qn_sink_boot *boot, const void *options,
                              struct qn_err *err)
{
    struct webhook *w = st;

    qn_curl_init();
    w->opt = options;
    w->boot = boot;
    w->body_of = (struct qn_webhook_body){.opt = w->opt, .boot = boot};
    if (w->opt->secret != NULL)
        QN_TRY(qn_webhook_keys(w->opt->secret, &w->keys, err));
    QN_TRY(qn_template_read(qn_str_of(w->opt->text), &w->boot_arena, &w->body_of.text, err));
    w->multi = curl_multi_init();
    w->easy = curl_easy_init();
    if (w->multi == NULL || w->easy == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for an HTTP client");
    if (!set_options(w))
        return qn_err_set(err, QN_UNSUPPORTED, "this libcurl cannot post to the 'url'");
    return QN_OK;
}

/* ---- one request -----------------------------------------------------------------------------*/

/* Appends "name: value" to the headers of the request. */
static bool add_header(struct webhook *w, const char *name, struct qn_str value)
{
    struct curl_slist *longer;

    qn_buf_clear(&w->line);
    qn_buf_printf(&w->line, "%s: ", name);
    for (uint32_t i = 0; i < value.len; i++) {
        if (value.p[i] > 0x20 && value.p[i] < 0x7f)
            qn_buf_byte(&w->line, value.p[i]);
        else if (value.p[i] == ' ' && i > 0)
            qn_buf_byte(&w->line, ' ');
        else
            qn_buf_printf(&w->line, "%%%02X", (unsigned char)value.p[i]);
    }
    qn_buf_byte(&w->line, '\0');
    longer = w->line.failed ? NULL : curl_slist_append(w->headers, w->line.data);
    if (longer == NULL)
        return false;
    w->headers = longer;
    return true;
}

/* Headers of the request that w->body and w->id make. */
static qn_status make_headers(struct webhook *w, struct qn_err *err)
{
    bool is_list = w->opt->batch > 1, is_good;
    int64_t now_s = w->boot->clock->wall_us(w->boot->clock->st) / 1000000;
    struct qn_str id = {w->id.data, (uint32_t)w->id.len};
    struct qn_buf signature = {0};
    char number[24];
    qn_status rc = QN_OK;

    curl_slist_free_all(w->headers);
    w->headers = NULL;
    is_good = add_header(w, "Content-Type",
                         qn_str_of(qn_webhook_content_type(w->opt->format, is_list))) &&
              add_header(w, "Idempotency-Key", id) && add_header(w, "Expect", qn_str_of(""));
    for (uint32_t i = 0; i < w->opt->headers.count && is_good; i++) {
        struct curl_slist *longer = curl_slist_append(w->headers, w->opt->headers.items[i]);

        is_good = longer != NULL;
        w->headers = is_good ? longer : w->headers;
    }
    if (w->keys.count > 0 && is_good) {
        struct qn_str body = {w->body.data, (uint32_t)w->body.len};

        snprintf(number, sizeof(number), "%lld", (long long)now_s);
        rc = qn_webhook_sign(&w->keys, id, now_s, body, &signature, err);
        is_good = !signature.failed && add_header(w, "webhook-id", id) &&
                  add_header(w, "webhook-timestamp", qn_str_of(number)) &&
                  add_header(w, "webhook-signature",
                             (struct qn_str){signature.data, (uint32_t)signature.len});
        qn_buf_fini(&signature);
    }
    if (rc == QN_OK && !is_good)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for the headers of a request");
    return rc;
}

/* Puts the first records into w->body, w->id. *count: how many, 0 = the first can never be sent. */
static qn_status make_body(struct webhook *w, const struct qn_sink_batch *b, uint32_t *count,
                           const char **error, struct qn_err *err)
{
    uint32_t most = w->singles > 0 ? 1 : (uint32_t)w->opt->batch;
    struct qn_buf last = {0};

    qn_buf_clear(&w->body);
    qn_buf_clear(&w->id);
    *count = 0;
    if (w->opt->batch > 1)
        qn_buf_byte(&w->body, '[');
    while (*count < b->count && *count < most) {
        size_t before = w->body.len;

        if (*count > 0)
            qn_buf_byte(&w->body, ',');
        qn_buf_clear(&last);
        qn_arena_reset(&w->arena);
        if (!qn_webhook_body(&w->body_of, &b->records[*count], &w->arena, &w->body, &last, error) ||
            (*count > 0 && w->body.len > BODY_BYTES_MAX)) {
            w->body.len = before;
            break;
        }
        if (*count == 0)
            qn_buf_add(&w->id, last.data, last.len);
        ++*count;
    }
    if (w->opt->batch > 1)
        qn_buf_byte(&w->body, ']');
    if (*count > 1)
        qn_buf_printf(&w->id, "+%u", *count - 1); /* a list is known by its first and its length */
    w->body.failed |= last.failed || w->id.failed;
    qn_buf_fini(&last);
    return w->body.failed ? qn_err_set(err, QN_NOMEM, "out of memory for the body of a request")
                          : QN_OK;
}

/* Runs the request to its end. *is_cut: the owner wants to stop. */
static CURLcode transfer(struct webhook *w, bool *is_cut)
{
    CURLcode code = CURLE_OK;
    int running = 0, left;
    CURLMsg *message;

    *is_cut = false;
    if (curl_multi_add_handle(w->multi, w->easy) != CURLM_OK)
        return CURLE_OUT_OF_MEMORY;
    do {
        if (curl_multi_perform(w->multi, &running) != CURLM_OK) {
            code = CURLE_OUT_OF_MEMORY;
            break;
        }
        if (running > 0)
            (void)curl_multi_poll(w->multi, NULL, 0, POLL_MS, NULL);
        *is_cut = w->boot->must_stop(w->boot->must_stop_arg);
    } while (running > 0 && !*is_cut);
    while ((message = curl_multi_info_read(w->multi, &left)) != NULL)
        if (message->msg == CURLMSG_DONE) {
            code = message->data.result;
            *is_cut = false;
        }
    (void)curl_multi_remove_handle(w->multi, w->easy);
    return code;
}

static qn_status send_body(struct webhook *w, long *status, struct qn_err *err)
{
    bool is_cut;
    CURLcode code;

    w->answer = (struct qn_webhook_answer){0};
    w->why[0] = w->private_address[0] = '\0';
    if (curl_easy_setopt(w->easy, CURLOPT_HTTPHEADER, w->headers) != CURLE_OK ||
        curl_easy_setopt(w->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)w->body.len) !=
            CURLE_OK ||
        curl_easy_setopt(w->easy, CURLOPT_POSTFIELDS, w->body.data) != CURLE_OK)
        return qn_err_set(err, QN_NOMEM, "out of memory for a request");
    code = transfer(w, &is_cut);
    *status = 0;
    (void)curl_easy_getinfo(w->easy, CURLINFO_RESPONSE_CODE, status);
    if (is_cut)
        return qn_err_set(err, QN_INTERRUPTED, "the request was broken off to stop");
    if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && *status >= 200))
        return QN_OK; /* of an answer that is too long its status is enough */
    if (w->private_address[0] != '\0')
        return qn_err_set(err, QN_DENIED,
                          "the address %s of the target is private: where that is meant, add "
                          "'allow_private: true'",
                          w->private_address);
    return qn_err_set(err, QN_IO, "no answer of the target: %s",
                      w->why[0] != '\0' ? w->why : curl_easy_strerror(code));
}

/* What the answer to a request of `count` records means for them. */
static qn_status judge(struct webhook *w, long status, uint32_t count,
                       struct qn_sink_result *result, struct qn_err *err)
{
    char text[256];

    qn_webhook_answer_print(&w->answer, status, text, sizeof(text));
    result->retry_after_us = w->answer.retry_after_us;
    result->answer = QN_UNTRIED;
    switch (qn_webhook_meaning(status, w->opt->format)) {
    case QN_WEBHOOK_TAKEN:
        result->delivered = count;
        result->retry_after_us = 0;
        w->singles = w->singles > count ? w->singles - count : 0;
        return QN_OK;
    case QN_WEBHOOK_REFUSED:
        if (count > 1) { /* which of them? one at a time will tell */
            w->singles = count;
            return QN_OK;
        }
        w->singles -= w->singles > 0;
        result->answer = QN_REFUSED;
        break;
    case QN_WEBHOOK_FAILED:
        if (count > 1)
            w->singles = count;
        result->answer = QN_RETRY;
        break;
    case QN_WEBHOOK_GONE:
        (void)qn_err_set(err, QN_CLOSED, "%s: it wants no more", text);
        if (err != NULL)
            err->fatal = true;
        return QN_CLOSED;
    case QN_WEBHOOK_DOWN:
        return qn_err_set(err, QN_IO, "%s", text);
    }
    snprintf(result->text, sizeof(result->text), "%s", text);
    return QN_OK;
}

static qn_status webhook_deliver(void *st, const struct qn_sink_batch *b,
                                 struct qn_sink_result *result, struct qn_err *err)
{
    struct webhook *w = st;
    const char *error = NULL;
    uint32_t count;
    long status;

    QN_ASSERT(b->count > 0);
    result->answer = QN_UNTRIED;
    QN_TRY(make_body(w, b, &count, &error, err));
    if (count == 0) {
        result->answer = QN_REFUSED;
        snprintf(result->text, sizeof(result->text), "the record is no JSON object: %s", error);
        return QN_OK;
    }
    QN_TRY(make_headers(w, err));
    QN_TRY(send_body(w, &status, err));
    return judge(w, status, count, result, err);
}

const struct qn_sink_ops qn_sink_webhook = {
    .name = "webhook",
    .summary = "Posts records over HTTP: CloudEvents, plain JSON, Slack, PagerDuty.",
    .options = webhook_options,
    .options_bytes = sizeof(struct qn_webhook_options),
    .state_bytes = sizeof(struct webhook),
    .check = webhook_check,
    .open = webhook_open,
    .deliver = webhook_deliver,
    .flush = qn_sink_none_flush,
    .close = webhook_close,
};
