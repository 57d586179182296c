/* SPDX-License-Identifier: Apache-2.0
 * aws_sign.c - Signature Version 4, step by step as the standard tells it: canonical request,
 * string to sign, key, signature. See aws_sign.h.
 *
 * libcurl has a signer of its own; up to 7.88 it leaves x-amz-content-sha256 out, which S3 wants,
 * and signs paths with '=' wrong. Thread: any. */
#include "base/aws_sign.h"

#include "base/check.h"
#include "base/timestamp.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

enum { DIGEST = 32, DAY = 8 };

static void hex(const unsigned char digest[DIGEST], char out[QN_AWS_HASH])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < DIGEST; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[2 * DIGEST] = '\0';
}

qn_status qn_aws_hash(const void *p, size_t bytes, char out[QN_AWS_HASH], struct qn_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];

    if (EVP_Digest(bytes > 0 ? p : "", bytes, digest, NULL, EVP_sha256(), NULL) != 1)
        return qn_err_set(err, QN_UNSUPPORTED, "libcrypto has no SHA-256");
    hex(digest, out);
    return QN_OK;
}

void qn_aws_date(int64_t wall_us, char out[QN_AWS_DATE])
{
    struct qn_civil c = qn_timestamp_civil(wall_us);

    snprintf(out, QN_AWS_DATE, "%04d%02d%02dT%02d%02d%02dZ", (int)c.year, c.month, c.day, c.hour,
             c.minute, c.second);
}

void qn_aws_encode(struct qn_buf *out, struct qn_str text, bool keeps_slash)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "-._~";

    for (uint32_t i = 0; i < text.len; i++) {
        if (memchr(plain, text.p[i], sizeof plain - 1) != NULL || (keeps_slash && text.p[i] == '/'))
            qn_buf_byte(out, text.p[i]);
        else
            qn_buf_printf(out, "%%%02X", (unsigned char)text.p[i]);
    }
}

static void signed_names(const struct qn_aws_request *r, struct qn_buf *out)
{
    for (uint32_t i = 0; i < r->header_count; i++)
        qn_buf_printf(out, "%s%s", i > 0 ? ";" : "", r->headers[i].name);
}

static void canonical_request(const struct qn_aws_request *r, struct qn_buf *out)
{
    qn_buf_printf(out, "%s\n%.*s\n%.*s\n", r->method, QN_STR_ARG(r->path), QN_STR_ARG(r->query));
    for (uint32_t i = 0; i < r->header_count; i++) {
        QN_ASSERT(i == 0 || strcmp(r->headers[i - 1].name, r->headers[i].name) < 0);
        qn_buf_printf(out, "%s:%s\n", r->headers[i].name, r->headers[i].value);
    }
    qn_buf_byte(out, '\n');
    signed_names(r, out);
    qn_buf_printf(out, "\n%s", r->body_hash);
}

static bool hmac(const void *key, size_t key_bytes, const void *text, size_t bytes,
                 unsigned char out[DIGEST])
{
    unsigned n = DIGEST;

    return HMAC(EVP_sha256(), key, (int)key_bytes, text, bytes, out, &n) != NULL;
}

/* The secret, folded with day, region and service, so that what signs is good for those alone. */
static bool signing_key(const struct qn_aws_request *r, const char *secret,
                        unsigned char out[DIGEST], bool *no_memory)
{
    struct qn_buf first = {0};
    bool good;

    qn_buf_text(&first, "AWS4");
    qn_buf_text(&first, secret);
    *no_memory = first.failed;
    good = !first.failed && hmac(first.data, first.len, r->date, DAY, out) &&
           hmac(out, DIGEST, r->region, strlen(r->region), out) &&
           hmac(out, DIGEST, r->service, strlen(r->service), out) &&
           hmac(out, DIGEST, "aws4_request", 12, out);
    if (first.data != NULL)
        explicit_bzero(first.data, first.len);
    qn_buf_fini(&first);
    return good;
}

qn_status qn_aws_sign(const struct qn_aws_request *r, const struct qn_aws_keys *keys,
                      struct qn_buf *out, struct qn_err *err)
{
    struct qn_buf text = {0};
    char hash[QN_AWS_HASH], scope[256];
    unsigned char key[DIGEST], mac[DIGEST];
    bool no_memory;
    qn_status rc;

    QN_ASSERT(r->header_count <= QN_AWS_HEADERS_MAX);
    QN_ASSERT(strlen(r->date) == QN_AWS_DATE - 1);
    snprintf(scope, sizeof scope, "%.8s/%s/%s/aws4_request", r->date, r->region, r->service);
    canonical_request(r, &text);
    no_memory = text.failed;
    rc = no_memory ? QN_NOMEM : qn_aws_hash(text.data, text.len, hash, err);
    qn_buf_clear(&text);
    if (rc == QN_OK) {
        qn_buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", r->date, scope, hash);
        no_memory = text.failed;
    }
    if (rc == QN_OK && !no_memory) {
        if (!signing_key(r, keys->secret, key, &no_memory) ||
            !hmac(key, DIGEST, text.data, text.len, mac))
            rc = no_memory ? QN_NOMEM
                           : qn_err_set(err, QN_UNSUPPORTED, "libcrypto has no HMAC-SHA256");
        explicit_bzero(key, sizeof key);
    }
    qn_buf_fini(&text);
    if (rc == QN_OK && !no_memory) {
        hex(mac, hash);
        qn_buf_printf(out, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=", keys->id, scope);
        signed_names(r, out);
        qn_buf_printf(out, ", Signature=%s", hash);
        no_memory = out->failed;
    }
    return no_memory ? qn_err_set(err, QN_NOMEM, "out of memory to sign a request") : rc;
}
