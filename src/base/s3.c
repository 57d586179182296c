/* SPDX-License-Identifier: Apache-2.0
 * s3.c - requests to a bucket, by libcurl. See s3.h.
 *
 * A request is made anew for every try, because its signature holds the time. Connections stay open
 * between requests. Redirects and the environment's proxies are not followed: where requests go is
 * what the options say. Thread: one at a time; cancelled is the only field others write. */
#include "base/s3.h"

#include "base/aws_sign.h"
#include "base/check.h"
#include "base/curl.h"
#include "base/memory.h"
#include "base/s3_answer.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

enum {
    ANSWER_MAX = 4 << 20, /* of a list or an error: 1,000 keys of a KiB, escaped  */
    PAGES_MAX = 10000,
    PAUSE_MAX_US = 10000000,
    CANCEL_LOOK_MS = 20
};

struct qn_s3 {
    struct qn_s3_options opt; /* texts lie in the arena */
    struct qn_arena arena;
    CURL *curl;
    char *scheme, *host; /* host: as in the header Host, with the bucket where it belongs there */
    struct qn_buf path;  /* of the request: encoded */
    struct qn_buf url, line, answer, authorization;
    struct curl_slist *headers;
    char why[CURL_ERROR_SIZE];
    _Atomic bool is_cancelled;
};

/* One request. */
struct ask {
    const char *method, *key; /* key NULL = of the bucket itself */
    struct qn_str query;      /* encoded, sorted                 */
    const void *body;
    size_t bytes;
    bool is_new;        /* the object must not be there yet            */
    struct qn_buf *out; /* what a 2xx holds; NULL = nothing is wanted  */
    size_t limit_bytes; /* of out                                      */
    /* the answer: */
    struct qn_s3 *s;
    long status;
    bool is_large, no_memory;
};

/* ---- options ---------------------------------------------------------------------------------*/

const char *qn_s3_bucket_check(struct qn_str bucket)
{
    if (bucket.len < 3 || bucket.len > 63)
        return "is no name of a bucket: it has 3 to 63 letters";
    for (uint32_t i = 0; i < bucket.len; i++) {
        const char c = bucket.p[i];
        const bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

        if (!is_plain && (i == 0 || i == bucket.len - 1 || (c != '-' && c != '.' && c != '_')))
            return "is no name of a bucket: it has small letters, digits, '-' and '.', and begins "
                   "and ends with a letter or digit";
    }
    return NULL;
}

/* The parts of an endpoint; NULL: what is wrong. *host is curl's, with the port unless it is the
 * scheme's own. */
static const char *endpoint_parts(const char *endpoint, char **scheme, char **host)
{
    CURLU *url = curl_url();
    char *name = NULL, *port = NULL, *path = NULL, *query = NULL, *user = NULL;
    const char *wrong = NULL;

    *scheme = *host = NULL;
    if (url == NULL)
        return "cannot be read: out of memory";
    if (curl_url_set(url, CURLUPART_URL, endpoint, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &name, 0) != CURLUE_OK ||
        (strcasecmp(*scheme, "http") != 0 && strcasecmp(*scheme, "https") != 0))
        wrong = "is no endpoint: such as https://minio.example:9000 is expected";
    (void)curl_url_get(url, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT);
    (void)curl_url_get(url, CURLUPART_PATH, &path, 0);
    (void)curl_url_get(url, CURLUPART_QUERY, &query, 0);
    (void)curl_url_get(url, CURLUPART_USER, &user, 0);
    if (wrong == NULL &&
        (user != NULL || query != NULL || (path != NULL && strcmp(path, "/") != 0)))
        wrong = "is no endpoint: scheme, host and port alone are expected, and no more";
    if (wrong == NULL) {
        struct qn_buf b = {0};

        qn_buf_printf(&b, "%s%s%s", name, port != NULL ? ":" : "", port != NULL ? port : "");
        *host = b.failed ? NULL : qn_mem_strdup(b.data, b.len);
        qn_buf_fini(&b);
        if (*host == NULL)
            wrong = "cannot be read: out of memory";
    }
    curl_free(name);
    curl_free(port);
    curl_free(path);
    curl_free(query);
    curl_free(user);
    curl_url_cleanup(url);
    return wrong;
}

const char *qn_s3_endpoint_check(const char *endpoint)
{
    char *scheme, *host;
    const char *wrong = endpoint_parts(endpoint, &scheme, &host);

    curl_free(scheme);
    qn_mem_free(host);
    return wrong;
}

static bool copy(struct qn_s3 *s, const char **text)
{
    if (*text != NULL)
        *text = qn_arena_strdup(&s->arena, *text, strlen(*text));
    return *text != NULL;
}

static bool copy_options(struct qn_s3 *s)
{
    struct qn_s3_options *o = &s->opt;

    return copy(s, &o->bucket) && copy(s, &o->region) && copy(s, &o->key_id) &&
           copy(s, &o->secret) && (o->endpoint == NULL || copy(s, &o->endpoint)) &&
           (o->token == NULL || copy(s, &o->token)) && (o->ca_file == NULL || copy(s, &o->ca_file));
}

/* s->scheme and s->host. */
static qn_status find_host(struct qn_s3 *s, struct qn_err *err)
{
    const struct qn_s3_options *o = &s->opt;
    struct qn_buf aws = {0}, full = {0};
    char *scheme = NULL, *host = NULL;
    const char *wrong;

    qn_buf_printf(&aws, "https://s3.%s.amazonaws.com%s", o->region,
                  strncmp(o->region, "cn-", 3) == 0 ? ".cn" : "");
    qn_buf_byte(&aws, '\0');
    wrong = aws.failed
                ? "cannot be read: out of memory"
                : endpoint_parts(o->endpoint != NULL ? o->endpoint : aws.data, &scheme, &host);
    if (wrong == NULL) {
        if (!o->is_path_style)
            qn_buf_printf(&full, "%s.", o->bucket);
        qn_buf_text(&full, host);
        s->scheme = qn_arena_strdup(&s->arena, scheme, strlen(scheme));
        s->host = full.failed ? NULL : qn_arena_strdup(&s->arena, full.data, full.len);
        if (s->scheme == NULL || s->host == NULL)
            wrong = "cannot be read: out of memory";
    }
    qn_buf_fini(&aws);
    qn_buf_fini(&full);
    curl_free(scheme);
    qn_mem_free(host);
    return wrong == NULL ? QN_OK
                         : qn_err_set(err, QN_INVALID, "'%s' %s",
                                      o->endpoint != NULL ? o->endpoint : o->region, wrong);
}

qn_status qn_s3_new(const struct qn_s3_options *opt, struct qn_s3 **out, struct qn_err *err)
{
    struct qn_s3 *s = qn_mem_zalloc(1, sizeof *s);
    qn_status rc;

    *out = NULL;
    QN_ASSERT(opt->tries > 0);
    QN_ASSERT(opt->timeout_us > 0);
    qn_curl_init();
    if (s == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a bucket");
    s->opt = *opt;
    s->curl = copy_options(s) ? curl_easy_init() : NULL;
    rc = s->curl == NULL ? qn_err_set(err, QN_NOMEM, "out of memory for a bucket")
                         : find_host(s, err);
    if (rc != QN_OK) {
        qn_s3_free(s);
        return rc;
    }
    *out = s;
    return QN_OK;
}

void qn_s3_free(struct qn_s3 *s)
{
    if (s == NULL)
        return;
    if (s->curl != NULL)
        curl_easy_cleanup(s->curl);
    curl_slist_free_all(s->headers);
    qn_buf_fini(&s->path);
    qn_buf_fini(&s->url);
    qn_buf_fini(&s->line);
    qn_buf_fini(&s->answer);
    qn_buf_fini(&s->authorization);
    qn_arena_fini(&s->arena);
    qn_mem_free(s);
}

void qn_s3_cancel(struct qn_s3 *s)
{
    atomic_store(&s->is_cancelled, true);
}

/* ---- one try ---------------------------------------------------------------------------------*/

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
    struct ask *a = arg;
    const size_t bytes = size * count;
    struct qn_buf *into = &a->s->answer;
    size_t limit = ANSWER_MAX;

    if (a->status == 0)
        (void)curl_easy_getinfo(a->s->curl, CURLINFO_RESPONSE_CODE, &a->status);
    if (a->out != NULL && a->status >= 200 && a->status <= 299) {
        into = a->out;
        limit = a->limit_bytes;
    }
    a->is_large = bytes > limit - into->len;
    if (a->is_large)
        return 0;
    qn_buf_add(into, p, bytes);
    a->no_memory = into->failed;
    return into->failed ? 0 : bytes;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct qn_s3 *s = arg;

    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(&s->is_cancelled);
}

static bool add_header(struct qn_s3 *s, const char *name, const char *value)
{
    struct curl_slist *longer;

    qn_buf_clear(&s->line);
    qn_buf_printf(&s->line, value[0] != '\0' ? "%s: %s" : "%s:", name, value);
    qn_buf_byte(&s->line, '\0');
    longer = s->line.failed ? NULL : curl_slist_append(s->headers, s->line.data);
    if (longer != NULL)
        s->headers = longer;
    return longer != NULL;
}

static qn_status no_memory(struct qn_err *err)
{
    return qn_err_set(err, QN_NOMEM, "out of memory for a request to a bucket");
}

/* s->headers, signed. */
static qn_status make_headers(struct qn_s3 *s, const struct ask *a, struct qn_err *err)
{
    const struct qn_s3_options *o = &s->opt;
    const struct qn_aws_keys keys = {o->key_id, o->secret, o->token};
    struct qn_aws_header headers[QN_AWS_HEADERS_MAX];
    char date[QN_AWS_DATE], hash[QN_AWS_HASH];
    struct qn_aws_request r = {.method = a->method,
                               .path = {s->path.data, (uint32_t)s->path.len},
                               .query = a->query,
                               .headers = headers,
                               .body_hash = hash,
                               .region = o->region,
                               .service = "s3",
                               .date = date};
    uint32_t n = 0;
    bool good = true;

    qn_aws_date(o->clock->wall_us(o->clock->st), date);
    QN_TRY(qn_aws_hash(a->body, a->bytes, hash, err));
    headers[n++] = (struct qn_aws_header){"host", s->host};
    if (a->is_new)
        headers[n++] = (struct qn_aws_header){"if-none-match", "*"};
    headers[n++] = (struct qn_aws_header){"x-amz-content-sha256", hash};
    headers[n++] = (struct qn_aws_header){"x-amz-date", date};
    if (o->token != NULL)
        headers[n++] = (struct qn_aws_header){"x-amz-security-token", o->token};
    r.header_count = n;
    qn_buf_clear(&s->authorization);
    QN_TRY(qn_aws_sign(&r, &keys, &s->authorization, err));
    qn_buf_byte(&s->authorization, '\0');
    curl_slist_free_all(s->headers);
    s->headers = NULL;
    for (uint32_t i = 0; i < n && good; i++)
        good = add_header(s, headers[i].name, headers[i].value);
    good = good && !s->authorization.failed &&
           add_header(s, "authorization", s->authorization.data) && add_header(s, "expect", "") &&
           (a->body == NULL || add_header(s, "content-type", "application/octet-stream"));
    return good ? QN_OK : no_memory(err);
}

/* s->path and s->url. */
static qn_status make_url(struct qn_s3 *s, const struct ask *a, struct qn_err *err)
{
    qn_buf_clear(&s->path);
    qn_buf_byte(&s->path, '/');
    if (s->opt.is_path_style)
        qn_buf_text(&s->path, s->opt.bucket);
    if (s->opt.is_path_style && a->key != NULL)
        qn_buf_byte(&s->path, '/');
    if (a->key != NULL)
        qn_aws_encode(&s->path, qn_str_of(a->key), true);
    qn_buf_clear(&s->url);
    if (!s->path.failed)
        qn_buf_printf(&s->url, "%s://%s%.*s%s%.*s", s->scheme, s->host, (int)s->path.len,
                      s->path.data, a->query.len > 0 ? "?" : "", QN_STR_ARG(a->query));
    qn_buf_byte(&s->url, '\0');
    return s->path.failed || s->url.failed ? no_memory(err) : QN_OK;
}

static bool set_options(struct qn_s3 *s, struct ask *a)
{
    const long timeout_s = (long)((s->opt.timeout_us + 999999) / 1000000);
    CURLcode bad = CURLE_OK;

    curl_easy_reset(s->curl); /* its connections stay */
#define SET(option, value) bad = bad != CURLE_OK ? bad : curl_easy_setopt(s->curl, option, value)
    SET(CURLOPT_URL, s->url.data);
    SET(CURLOPT_PATH_AS_IS, 1L); /* it is signed as it is */
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_USERAGENT, "quern/" QN_VERSION);
    SET(CURLOPT_HTTPHEADER, s->headers);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(s->opt.timeout_us / 1000));
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, timeout_s);
    SET(CURLOPT_TIMEOUT_MS, (long)(s->opt.timeout_us / 100));
    SET(CURLOPT_CUSTOMREQUEST, a->method);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, a);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, s);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_ERRORBUFFER, s->why);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    if (s->opt.ca_file != NULL)
        SET(CURLOPT_CAINFO, s->opt.ca_file);
    if (a->body != NULL) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)a->bytes);
        SET(CURLOPT_POSTFIELDS, a->body);
    }
#undef SET
    return bad == CURLE_OK;
}

/* What libcurl could not do. *is_passing: it may later. */
static qn_status no_answer(const struct qn_s3 *s, const struct ask *a, CURLcode code,
                           bool *is_passing, struct qn_err *err)
{
    const char *why = s->why[0] != '\0' ? s->why : curl_easy_strerror(code);

    *is_passing = false;
    if (a->no_memory || code == CURLE_OUT_OF_MEMORY)
        return no_memory(err);
    if (a->is_large)
        return qn_err_set(err, a->out != NULL ? QN_LIMIT : QN_INVALID,
                          "the answer is larger than %zu bytes",
                          a->out != NULL ? a->limit_bytes : (size_t)ANSWER_MAX);
    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
        return qn_err_set(err, QN_INTERRUPTED, "the request was broken off to stop");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return qn_err_set(err, QN_DENIED,
                          "the server's certificate is not trusted: %s; 'ca_file' names those that "
                          "are",
                          why);
    default:
        *is_passing = true;
        return qn_err_set(err, QN_IO, "no answer: %s", why);
    }
}

static qn_status try_once(struct qn_s3 *s, struct ask *a, bool *is_passing, struct qn_err *err)
{
    struct qn_s3_problem problem;
    CURLcode code;

    *is_passing = false;
    a->s = s;
    a->status = 0;
    a->is_large = a->no_memory = false;
    qn_buf_clear(&s->answer);
    if (a->out != NULL)
        qn_buf_clear(a->out);
    s->why[0] = '\0';
    QN_TRY(make_url(s, a, err));
    QN_TRY(make_headers(s, a, err));
    if (!set_options(s, a))
        return no_memory(err);
    code = curl_easy_perform(s->curl);
    if (code != CURLE_OK)
        return no_answer(s, a, code, is_passing, err);
    (void)curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &a->status);
    if (a->status >= 200 && a->status <= 299)
        return QN_OK;
    qn_s3_problem_read((struct qn_str){s->answer.data, (uint32_t)s->answer.len}, &problem);
    *is_passing = qn_s3_is_passing(a->status, &problem);
    return qn_s3_status(a->status, &problem, err);
}

/* ---- until it is done ------------------------------------------------------------------------*/

/* Between half of the time and all of it, so that many who were refused do not come back together.
 */
static bool pause_before(const struct qn_s3 *s, uint32_t failures)
{
    const int shift = failures < 10 ? (int)failures - 1 : 9;
    int64_t left_ms = s->opt.pause_us << shift;
    uint16_t part;

    left_ms = (left_ms < PAUSE_MAX_US ? left_ms : PAUSE_MAX_US) / 1000;
    s->opt.random->fill(s->opt.random->st, &part, sizeof part);
    left_ms = left_ms / 2 + left_ms / 2 * part / UINT16_MAX;
    for (; left_ms > 0 && !atomic_load(&s->is_cancelled); left_ms -= CANCEL_LOOK_MS) {
        const struct timespec t = {.tv_nsec = CANCEL_LOOK_MS * 1000000};

        nanosleep(&t, NULL);
    }
    return !atomic_load(&s->is_cancelled);
}

/* Adds to an error what it was about. */
static qn_status about(const struct qn_s3 *s, const struct ask *a, struct qn_err *err, qn_status rc)
{
    char place[sizeof err->file];

    if (rc == QN_OK || err == NULL)
        return rc;
    snprintf(place, sizeof place, "%s %s://%s%.*s", a->method, s->scheme, s->host, (int)s->path.len,
             s->path.data);
    return qn_err_at(err, place, 0, 0);
}

static qn_status ask(struct qn_s3 *s, struct ask *a, struct qn_err *err)
{
    bool is_passing;
    qn_status rc;

    for (uint32_t failures = 0;;) {
        rc = try_once(s, a, &is_passing, err);
        if (rc == QN_OK || !is_passing || ++failures >= s->opt.tries)
            return about(s, a, err, rc);
        if (!pause_before(s, failures))
            return qn_err_set(err, QN_INTERRUPTED, "the request was broken off to stop");
    }
}

/* An object is there already: a try before this one may have put it, and its answer was lost. */
static bool is_ours(struct qn_s3 *s, const char *key, const void *p, size_t bytes)
{
    struct qn_buf there = {0};
    bool same = qn_s3_get(s, key, bytes, &there, NULL) == QN_OK && there.len == bytes &&
                (bytes == 0 || memcmp(there.data, p, bytes) == 0);

    qn_buf_fini(&there);
    return same;
}

qn_status qn_s3_put(struct qn_s3 *s, const char *key, const void *p, size_t bytes,
                    struct qn_err *err)
{
    struct ask a = {.method = "PUT", .key = key, .body = p, .bytes = bytes, .is_new = true};
    struct qn_err why = {0};
    qn_status rc = ask(s, &a, &why);

    QN_ASSERT(p != NULL);
    if (rc != QN_OK && a.status == 412 && is_ours(s, key, p, bytes))
        return QN_OK;
    if (rc != QN_OK && err != NULL)
        *err = why;
    return rc;
}

qn_status qn_s3_get(struct qn_s3 *s, const char *key, size_t limit_bytes, struct qn_buf *out,
                    struct qn_err *err)
{
    struct ask a = {.method = "GET", .key = key, .out = out, .limit_bytes = limit_bytes};

    return ask(s, &a, err);
}

qn_status qn_s3_remove(struct qn_s3 *s, const char *key, struct qn_err *err)
{
    struct ask a = {.method = "DELETE", .key = key};
    struct qn_err why = {0};
    qn_status rc = ask(s, &a, &why);

    if (rc == QN_NOT_FOUND)
        return QN_OK;
    if (rc != QN_OK && err != NULL)
        *err = why;
    return rc;
}

/* ---- lists -----------------------------------------------------------------------------------*/

/* Those that lie deeper are not asked for; what comes all the same is left out. */
struct names {
    void (*each)(void *arg, const char *name);
    void *arg;
};

static void tell(void *arg, const char *name)
{
    const struct names *n = arg;

    if (name[0] != '\0' && strchr(name, '/') == NULL)
        n->each(n->arg, name);
}

static void list_query(const char *prefix, const struct qn_buf *token, struct qn_buf *query)
{
    qn_buf_clear(query);
    if (token->len > 0) {
        qn_buf_text(query, "continuation-token=");
        qn_aws_encode(query, (struct qn_str){token->data, (uint32_t)token->len}, false);
        qn_buf_byte(query, '&');
    }
    qn_buf_text(query, "delimiter=%2F&list-type=2&max-keys=1000&prefix=");
    qn_aws_encode(query, qn_str_of(prefix), false);
}

qn_status qn_s3_list(struct qn_s3 *s, const char *prefix, void (*each)(void *arg, const char *name),
                     void *arg, struct qn_err *err)
{
    struct names names = {each, arg};
    struct qn_buf query = {0}, token = {0}, page = {0};
    struct ask a = {.method = "GET", .out = &page, .limit_bytes = ANSWER_MAX};
    uint32_t pages = 0;
    qn_status rc;

    do {
        list_query(prefix, &token, &query);
        a.query = (struct qn_str){query.data, (uint32_t)query.len};
        rc = query.failed ? no_memory(err) : ask(s, &a, err);
        if (rc == QN_OK)
            rc = about(s, &a, err,
                       qn_s3_list_read((struct qn_str){page.data, (uint32_t)page.len},
                                       qn_str_of(prefix), tell, &names, &token, err));
        if (rc == QN_OK && token.len > 0 && ++pages >= PAGES_MAX)
            rc = qn_err_set(err, QN_LIMIT, "a list of objects does not end");
    } while (rc == QN_OK && token.len > 0);
    qn_buf_fini(&query);
    qn_buf_fini(&token);
    qn_buf_fini(&page);
    return rc;
}
