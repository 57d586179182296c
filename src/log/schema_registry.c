/* SPDX-License-Identifier: Apache-2.0
 * schema_registry.c - two requests by libcurl, and what their answers say. See schema_registry.h.
 *
 * Redirects and the environment's proxies are not followed: where secrets go is what the options
 * say. Thread: one at a time. Memory: a handle and an answer. */
#include "log/schema_registry.h"

#include "base/curl.h"
#include "base/json.h"

#include <curl/curl.h>
#include <stdio.h>
#include <strings.h>

enum { URL_BYTES = 2048 };

struct qn_registry {
    struct qn_registry_options opt;
    CURL *curl;
    struct curl_slist *headers;
    struct qn_buf answer;
    uint32_t first; /* which URL is asked first: the last that answered */
    bool is_stopped;
    char why[CURL_ERROR_SIZE];
};

const char *qn_schema_type_name(enum qn_schema_type t)
{
    static const char *const names[] = {"AVRO", "PROTOBUF", "JSON", "of another type"};

    return names[t];
}

/* ---- answers ---------------------------------------------------------------------------------*/

static qn_status bad_answer(struct qn_err *err)
{
    return qn_err_set(err, QN_INVALID, "the answer is none of a schema registry");
}

static qn_status read_reference(struct qn_json_reader *r, struct qn_schema_reference *ref,
                                struct qn_err *err)
{
    enum qn_json_kind kind;

    *ref = (struct qn_schema_reference){.version = -1};
    while ((kind = qn_json_next(r)) != QN_JSON_CLOSE) {
        if (kind == QN_JSON_ERROR || kind == QN_JSON_END)
            return bad_answer(err);
        if (kind == QN_JSON_STRING && qn_str_is(r->key, "name"))
            ref->name = r->text;
        else if (kind == QN_JSON_STRING && qn_str_is(r->key, "subject"))
            ref->subject = r->text;
        else if (kind == QN_JSON_NUMBER && qn_str_is(r->key, "version"))
            (void)qn_number_scaled(&r->number, 0, &ref->version);
        else if (!qn_json_skip(r, kind))
            return bad_answer(err);
    }
    return ref->subject.p != NULL && ref->version >= 0 ? QN_OK : bad_answer(err);
}

static qn_status read_references(struct qn_json_reader *r, struct qn_schema_text *out,
                                 struct qn_err *err)
{
    struct qn_schema_reference *list =
        QN_NEW_N(r->arena, struct qn_schema_reference, QN_REGISTRY_REFERENCES_MAX);
    enum qn_json_kind kind;

    if (list == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a schema");
    out->references = list;
    out->reference_count = 0;
    while ((kind = qn_json_next(r)) != QN_JSON_CLOSE) {
        if (kind != QN_JSON_OBJECT)
            return bad_answer(err);
        if (out->reference_count == QN_REGISTRY_REFERENCES_MAX)
            return qn_err_set(err, QN_INVALID, "a schema with more than %d references",
                              QN_REGISTRY_REFERENCES_MAX);
        QN_TRY(read_reference(r, &list[out->reference_count++], err));
    }
    return QN_OK;
}

static enum qn_schema_type type_of(struct qn_str name)
{
    for (int t = 0; t < QN_SCHEMA_OTHER; t++)
        if (qn_str_is(name, qn_schema_type_name((enum qn_schema_type)t)))
            return (enum qn_schema_type)t;
    return QN_SCHEMA_OTHER;
}

qn_status qn_registry_answer_read(struct qn_str json, struct qn_arena *arena,
                                  struct qn_schema_text *out, struct qn_err *err)
{
    struct qn_json_reader r;
    enum qn_json_kind kind;

    *out = (struct qn_schema_text){.type = QN_SCHEMA_AVRO};
    qn_json_open(&r, json, arena);
    if (qn_json_next(&r) != QN_JSON_OBJECT)
        return bad_answer(err);
    while ((kind = qn_json_next(&r)) != QN_JSON_CLOSE) {
        if (kind == QN_JSON_ERROR || kind == QN_JSON_END)
            return bad_answer(err);
        if (kind == QN_JSON_STRING && qn_str_is(r.key, "schema"))
            out->schema = r.text;
        else if (kind == QN_JSON_STRING && qn_str_is(r.key, "schemaType"))
            out->type = type_of(r.text);
        else if (kind == QN_JSON_ARRAY && qn_str_is(r.key, "references"))
            QN_TRY(read_references(&r, out, err));
        else if (!qn_json_skip(&r, kind))
            return bad_answer(err);
    }
    return qn_json_next(&r) == QN_JSON_END && out->schema.p != NULL ? QN_OK : bad_answer(err);
}

int64_t qn_registry_error_read(struct qn_str json, struct qn_arena *arena)
{
    struct qn_json_reader r;
    enum qn_json_kind kind;
    int64_t code = 0;

    qn_json_open(&r, json, arena);
    if (qn_json_next(&r) != QN_JSON_OBJECT)
        return 0;
    while ((kind = qn_json_next(&r)) != QN_JSON_CLOSE) {
        if (kind == QN_JSON_ERROR || kind == QN_JSON_END)
            return 0;
        if (kind == QN_JSON_NUMBER && qn_str_is(r.key, "error_code") &&
            !qn_number_scaled(&r.number, 0, &code))
            code = 0;
        if (!qn_json_skip(&r, kind))
            return 0;
    }
    return code;
}

/* ---- URLs ------------------------------------------------------------------------------------*/

/* The n-th of those joined by commas, without a '/' at its end; len 0 = there is none. */
static struct qn_str url_at(const char *list, uint32_t n)
{
    struct qn_str one = {NULL, 0};
    const char *p = list;

    for (uint32_t i = 0; p != NULL; i++) {
        const char *comma = strchr(p, ',');

        one = (struct qn_str){p, (uint32_t)(comma != NULL ? (size_t)(comma - p) : strlen(p))};
        if (i == n)
            break;
        one.len = 0;
        p = comma != NULL ? comma + 1 : NULL;
    }
    while (one.len > 0 && one.p[one.len - 1] == '/')
        one.len--;
    return one;
}

static const char *check_one(struct qn_str one)
{
    char text[URL_BYTES], *scheme = NULL, *user = NULL, *query = NULL;
    const char *wrong = NULL;
    CURLU *url = curl_url();

    snprintf(text, sizeof text, "%.*s", QN_STR_ARG(one));
    if (url == NULL || one.len >= sizeof text - 400 ||
        curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0))
        wrong = "is no URL of a schema registry: such as http://registry.example:8081 is expected";
    if (wrong == NULL) {
        (void)curl_url_get(url, CURLUPART_USER, &user, 0);
        (void)curl_url_get(url, CURLUPART_QUERY, &query, 0);
        if (user != NULL)
            wrong = "holds a user: write basic_auth: \"${REGISTRY_USER}:${REGISTRY_PASSWORD}\"";
        else if (query != NULL)
            wrong = "has a query: scheme, host, port and path alone are expected";
    }
    curl_free(scheme);
    curl_free(user);
    curl_free(query);
    curl_url_cleanup(url);
    return wrong;
}

const char *qn_registry_url_check(const char *url)
{
    const char *wrong = NULL;
    struct qn_str one;
    uint32_t n = 0;

    while (wrong == NULL && (one = url_at(url, n)).len > 0) {
        wrong = check_one(one);
        n++;
    }
    return n == 0 ? "is no URL of a schema registry: such as http://registry.example:8081 is "
                    "expected"
                  : wrong;
}

/* ---- requests --------------------------------------------------------------------------------*/

static bool add_header(struct qn_registry *r, const char *line)
{
    struct curl_slist *longer = curl_slist_append(r->headers, line);

    if (longer != NULL)
        r->headers = longer;
    return longer != NULL;
}

qn_status qn_registry_new(const struct qn_registry_options *opt, struct qn_registry **out,
                          struct qn_err *err)
{
    struct qn_registry *r = qn_mem_zalloc(1, sizeof *r);

    *out = NULL;
    qn_curl_init();
    if (r == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a schema registry");
    r->opt = *opt;
    r->curl = curl_easy_init();
    if (r->curl == NULL ||
        !add_header(r, "Accept: application/vnd.schemaregistry.v1+json, application/json")) {
        qn_registry_free(r);
        return qn_err_set(err, QN_NOMEM, "out of memory for a schema registry");
    }
    *out = r;
    return QN_OK;
}

void qn_registry_free(struct qn_registry *r)
{
    if (r == NULL)
        return;
    if (r->curl != NULL)
        curl_easy_cleanup(r->curl);
    curl_slist_free_all(r->headers);
    qn_buf_fini(&r->answer);
    qn_mem_free(r);
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
    struct qn_registry *r = arg;

    if (size * count > QN_REGISTRY_ANSWER_MAX - r->answer.len)
        return 0;
    qn_buf_add(&r->answer, p, size * count);
    return r->answer.failed ? 0 : size * count;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct qn_registry *r = arg;

    (void)a, (void)b, (void)c, (void)d;
    if (r->opt.must_stop != NULL && r->opt.must_stop(r->opt.must_stop_arg))
        r->is_stopped = true;
    return r->is_stopped;
}

static bool set_options(struct qn_registry *r, const char *url)
{
    const struct qn_registry_options *o = &r->opt;
    CURLcode bad = CURLE_OK;

    curl_easy_reset(r->curl); /* its connections stay */
#define SET(option, value) bad = bad != CURLE_OK ? bad : curl_easy_setopt(r->curl, option, value)
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_USERAGENT, "quern/" QN_VERSION);
    SET(CURLOPT_HTTPHEADER, r->headers);
    SET(CURLOPT_TIMEOUT_MS, (long)(o->timeout_us / 1000));
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, r);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, r);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_ERRORBUFFER, r->why);
    SET(CURLOPT_ACCEPT_ENCODING, "");
    if (o->ca_file != NULL)
        SET(CURLOPT_CAINFO, o->ca_file);
    if (o->basic_auth != NULL) {
        SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        SET(CURLOPT_USERPWD, o->basic_auth);
    } else if (o->token != NULL) {
        SET(CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        SET(CURLOPT_XOAUTH2_BEARER, o->token);
    }
#undef SET
    return bad == CURLE_OK;
}

static qn_status read_status(struct qn_registry *r, long status, struct qn_str base,
                             struct qn_arena *arena, struct qn_schema_text *out, struct qn_err *err)
{
    const char *copy = qn_arena_strdup(arena, r->answer.data, r->answer.len);
    struct qn_str body = {copy, (uint32_t)r->answer.len};
    int64_t code;

    if (copy == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a schema");
    code = status == 200 ? 0 : qn_registry_error_read(body, arena);
    if (status == 200 && qn_registry_answer_read(body, arena, out, err) == QN_OK)
        return QN_OK;
    if (status == 404 && code >= 40400 && code <= 40499)
        return qn_err_set(err, QN_NOT_FOUND, "the schema registry has it not (error %lld)",
                          (long long)code);
    if (status == 401 || status == 403)
        return qn_err_set(err, QN_DENIED,
                          "the schema registry at %.*s refuses us (HTTP %ld): see basic_auth and "
                          "token",
                          QN_STR_ARG(base), status);
    if (status == 200 || status == 404)
        return qn_err_set(err, QN_INVALID,
                          "what answers at %.*s is no schema registry (HTTP %ld): its URL may need "
                          "a path, such as /apis/ccompat/v7",
                          QN_STR_ARG(base), status);
    return qn_err_set(err, QN_IO, "the schema registry at %.*s answers HTTP %ld", QN_STR_ARG(base),
                      status);
}

static qn_status ask_one(struct qn_registry *r, struct qn_str base, const char *path,
                         struct qn_arena *arena, struct qn_schema_text *out, struct qn_err *err)
{
    char url[URL_BYTES];
    long status = 0;
    CURLcode code;

    if (snprintf(url, sizeof url, "%.*s%s", QN_STR_ARG(base), path) >= (int)sizeof url)
        return qn_err_set(err, QN_INVALID, "a reference to a schema with a name that is too long");
    qn_buf_clear(&r->answer);
    r->why[0] = '\0';
    if (!set_options(r, url))
        return qn_err_set(err, QN_NOMEM, "out of memory for a request to the schema registry");
    qn_buf_text(&r->answer, "");
    code = curl_easy_perform(r->curl);
    if (r->is_stopped)
        return qn_err_set(err, QN_INTERRUPTED, "told to stop");
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return qn_err_set(err, QN_DENIED,
                          "the certificate of the schema registry at %.*s is not trusted: %s; "
                          "'ca_file' names those that are",
                          QN_STR_ARG(base), r->why);
    if (code != CURLE_OK)
        return qn_err_set(err, QN_IO, "the schema registry at %.*s does not answer: %s",
                          QN_STR_ARG(base), r->why[0] != '\0' ? r->why : curl_easy_strerror(code));
    (void)curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
    return read_status(r, status, base, arena, out, err);
}

/* The URLs in turn, from the one that answered last. */
static qn_status ask(struct qn_registry *r, const char *path, struct qn_arena *arena,
                     struct qn_schema_text *out, struct qn_err *err)
{
    qn_status rc = QN_INVALID;
    uint32_t count = 0;

    while (url_at(r->opt.url, count).len > 0)
        count++;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t n = (r->first + i) % count;

        rc = ask_one(r, url_at(r->opt.url, n), path, arena, out, err);
        if (rc == QN_OK || rc == QN_NOT_FOUND) {
            r->first = n;
            return rc;
        }
        if (rc == QN_NOMEM || rc == QN_INTERRUPTED)
            return rc;
    }
    return rc;
}

qn_status qn_registry_schema(struct qn_registry *r, uint32_t id, struct qn_arena *arena,
                             struct qn_schema_text *out, struct qn_err *err)
{
    char path[64];

    snprintf(path, sizeof path, "/schemas/ids/%u", id);
    return ask(r, path, arena, out, err);
}

qn_status qn_registry_reference(struct qn_registry *r, const struct qn_schema_reference *ref,
                                struct qn_arena *arena, struct qn_schema_text *out,
                                struct qn_err *err)
{
    char path[URL_BYTES];
    char *subject = ref->subject.len > 0
                        ? curl_easy_escape(r->curl, ref->subject.p, (int)ref->subject.len)
                        : NULL;
    int n;

    if (subject == NULL)
        return qn_err_set(err, QN_INVALID, "a reference to a schema without a subject");
    n = snprintf(path, sizeof path, "/subjects/%s/versions/%lld", subject, (long long)ref->version);
    curl_free(subject);
    if (n >= (int)sizeof path)
        return qn_err_set(err, QN_INVALID, "a reference to a schema with a name that is too long");
    return ask(r, path, arena, out, err);
}
