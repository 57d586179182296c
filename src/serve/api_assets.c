/* SPDX-License-Identifier: Apache-2.0
 * api_assets.c - the dashboard's page and files, as they lie in the binary.
 *
 * Nothing is loaded from elsewhere and nothing is allowed to: see the content security policy.
 * Thread: the exchange's. Memory: constants of the binary. */
#include "serve/asset.h"
#include "serve/serve_int.h"

static const char policy[] =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'";

/* True where the client named "gzip" without forbidding it. */
static bool takes_gzip(struct qn_exchange *x)
{
    struct qn_str header = qn_exchange_header(x, "accept-encoding");
    const char *at = header.p != NULL ? strstr(header.p, "gzip") : NULL;

    return at != NULL && strncmp(at + 4, ";q=0", 4) != 0;
}

static const struct qn_asset *find(struct qn_str name)
{
    for (const struct qn_asset *a = qn_assets; a->name != NULL; a++)
        if (qn_str_is(name, a->name))
            return a;
    return NULL;
}

void qn_api_asset(struct qn_exchange *x)
{
    bool is_page = x->args[0].p == NULL;
    const struct qn_asset *a = find(is_page ? qn_str_of("index.html") : x->args[0]);
    struct qn_str seen = qn_exchange_header(x, "if-none-match");

    if (a == NULL) {
        qn_exchange_nowhere(x);
        return;
    }
    qn_exchange_add(x, "etag", a->etag);
    qn_exchange_add(x, "cache-control", "no-cache");
    qn_exchange_add(x, "vary", "accept-encoding");
    if (seen.p != NULL && strstr(seen.p, a->etag) != NULL) {
        qn_exchange_answer(x, 304, NULL);
        return;
    }
    qn_exchange_add(x, "content-security-policy", policy);
    qn_exchange_add(x, "referrer-policy", "no-referrer");
    if (a->gzip != NULL && takes_gzip(x)) {
        qn_exchange_add(x, "content-encoding", "gzip");
        x->fixed = a->gzip;
        x->fixed_len = a->gzip_bytes;
    } else {
        x->fixed = a->data;
        x->fixed_len = a->bytes;
    }
    qn_exchange_answer(x, 200, a->type);
}
