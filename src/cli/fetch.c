/* SPDX-License-Identifier: Apache-2.0
 * fetch.c - asks one address for a document, by libcurl.
 *
 * Thread: one owner. Memory: the heap, and the caller's buffer for the answer. */
#include "cli/fetch.h"

#include "base/memory.h"

#include <curl/curl.h>

enum { ANSWER_MAX = 4 << 20, CONNECT_MS = 3000, ANSWER_MS = 5000 };

struct qn_fetch {
    CURL *curl;
    struct curl_slist *headers;
    struct qn_buf url; /* NUL-terminated                       */
    struct qn_buf *answer;
    const volatile sig_atomic_t *stop;
    bool is_large; /* the answer was cut off at ANSWER_MAX */
    char why[CURL_ERROR_SIZE];
};

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
    struct qn_fetch *f = arg;
    size_t bytes = size * count;

    f->is_large = f->answer->len + bytes > ANSWER_MAX;
    if (f->is_large)
        return 0;
    qn_buf_add(f->answer, p, bytes);
    return f->answer->failed ? 0 : bytes;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct qn_fetch *f = arg;

    (void)a, (void)b, (void)c, (void)d;
    return *f->stop != 0;
}

static bool add_header(struct qn_fetch *f, const char *name, const char *value)
{
    struct curl_slist *longer = NULL;
    struct qn_buf line = {0};

    qn_buf_printf(&line, "%s%s", name, value);
    qn_buf_byte(&line, '\0');
    if (!line.failed)
        longer = curl_slist_append(f->headers, line.data);
    qn_buf_fini(&line);
    if (longer != NULL)
        f->headers = longer;
    return longer != NULL;
}

static bool set_up(struct qn_fetch *f)
{
    CURLcode bad = CURLE_OK;

#define SET(option, value) bad = bad != CURLE_OK ? bad : curl_easy_setopt(f->curl, option, value)
    SET(CURLOPT_URL, f->url.data);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, ""); /* none, whatever the environment says */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "quern/" QN_VERSION);
    SET(CURLOPT_HTTPHEADER, f->headers);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    SET(CURLOPT_TIMEOUT_MS, (long)ANSWER_MS);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, f);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, f);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_ERRORBUFFER, f->why);
#undef SET
    return bad == CURLE_OK;
}

qn_status qn_fetch_new(const char *address, const char *path, const char *token,
                       const volatile sig_atomic_t *stop, struct qn_fetch **out, struct qn_err *err)
{
    struct qn_fetch *f = qn_mem_zalloc(1, sizeof(*f));
    size_t n = strlen(address);
    bool good = f != NULL;

    *out = NULL;
    while (n > 0 && address[n - 1] == '/')
        n--;
    if (good) {
        f->stop = stop;
        qn_buf_printf(&f->url, "%s%.*s%s", strstr(address, "://") == NULL ? "http://" : "", (int)n,
                      address, path);
        qn_buf_byte(&f->url, '\0');
        f->curl = f->url.failed ? NULL : curl_easy_init();
        good = f->curl != NULL && add_header(f, "Accept: ", "application/json") &&
               (token == NULL || add_header(f, "Authorization: Bearer ", token)) && set_up(f);
    }
    if (good) {
        *out = f;
        return QN_OK;
    }
    qn_fetch_free(f);
    return qn_err_set(err, QN_NOMEM, "out of memory for the connection");
}

void qn_fetch_free(struct qn_fetch *f)
{
    if (f == NULL)
        return;
    curl_easy_cleanup(f->curl);
    curl_slist_free_all(f->headers);
    qn_buf_fini(&f->url);
    qn_mem_free(f);
}

/* No answer came. */
static qn_status no_answer(const struct qn_fetch *f, CURLcode code, struct qn_err *err)
{
    const char *why = f->why[0] != '\0' ? f->why : curl_easy_strerror(code);

    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
        return qn_err_set(err, QN_INTERRUPTED, "interrupted");
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return qn_err_set(err, QN_INVALID,
                          "'%s' is no address: %s; such as http://127.0.0.1:8080 is expected",
                          f->url.data, why);
    case CURLE_OUT_OF_MEMORY:
        return qn_err_set(err, QN_NOMEM, "out of memory for an answer");
    default:
        return qn_err_set(err, QN_IO, "%s does not answer: %s", f->url.data, why);
    }
}

qn_status qn_fetch(struct qn_fetch *f, struct qn_buf *answer, struct qn_err *err)
{
    CURLcode code;
    long status = 0;

    qn_buf_clear(answer);
    f->answer = answer;
    f->is_large = false;
    f->why[0] = '\0';
    code = curl_easy_perform(f->curl);
    if (f->is_large)
        return qn_err_set(err, QN_LIMIT, "%s: the answer is larger than %d bytes", f->url.data,
                          ANSWER_MAX);
    if (code != CURLE_OK)
        return answer->failed ? no_answer(f, CURLE_OUT_OF_MEMORY, err) : no_answer(f, code, err);
    (void)curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200)
        return QN_OK;
    if (status == 401 || status == 403)
        return qn_err_set(err, QN_DENIED,
                          "%s answers %ld: it asks for a token with the role read, or for another "
                          "one; --token-file FILE or the variable QUERN_TOKEN",
                          f->url.data, status);
    if (status >= 500)
        return qn_err_set(err, QN_IO, "%s answers %ld", f->url.data, status);
    return qn_err_set(err, QN_NOT_FOUND, "%s answers %ld: that is no pipeline of quern run",
                      f->url.data, status);
}
