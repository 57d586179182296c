/* SPDX-License-Identifier: Apache-2.0
 * webhook_sign.c - signatures of Standard Webhooks, so that a receiver knows who sent a request and
 * that nobody changed it.
 *
 * webhook-signature: v1,BASE64 of HMAC-SHA256(key, id "." seconds "." body); several, separated by
 * blanks, while a key is being replaced. The key is what stands behind whsec_ in base64. HMAC is
 * libcrypto's. Thread: any. */
#include "sink/webhook_int.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { KEY_BYTES_MIN = 24 }; /* what the standard asks for */

/* The bytes of one base64 text; 0 where it is none, or not as long as a key. */
static uint32_t decode_key(struct qn_str text, unsigned char *out)
{
    unsigned char bytes[QN_WEBHOOK_KEY_BYTES_MAX + 3];
    uint32_t padding = 0;
    int n;

    if (text.len == 0 || text.len % 4 != 0 || text.len / 4 * 3 > QN_WEBHOOK_KEY_BYTES_MAX)
        return 0;
    while (padding < 2 && text.p[text.len - 1 - padding] == '=')
        padding++;
    n = EVP_DecodeBlock(bytes, (const unsigned char *)text.p, (int)text.len);
    if (n < 0 || (uint32_t)n - padding < KEY_BYTES_MIN)
        return 0;
    memcpy(out, bytes, (uint32_t)n - padding);
    return (uint32_t)n - padding;
}

qn_status qn_webhook_keys(const char *text, struct qn_webhook_keys *out, struct qn_err *err)
{
    static const char prefix[] = "whsec_";
    const size_t skip = sizeof(prefix) - 1;

    out->count = 0;
    while (*text != '\0') {
        size_t n = strcspn(text, " ");

        if (n > 0) {
            uint32_t length = 0;

            if (out->count == QN_WEBHOOK_KEYS_MAX)
                return qn_err_set(err, QN_INVALID, "'secret' holds at most %d keys",
                                  QN_WEBHOOK_KEYS_MAX);
            if (n > skip && memcmp(text, prefix, skip) == 0)
                length = decode_key((struct qn_str){text + skip, (uint32_t)(n - skip)},
                                    out->bytes[out->count]);
            if (length == 0)
                return qn_err_set(err, QN_INVALID,
                                  "'secret' must be whsec_ and the base64 of 24 to %d random "
                                  "bytes: echo whsec_$(openssl rand -base64 32)",
                                  QN_WEBHOOK_KEY_BYTES_MAX - 2);
            out->lengths[out->count++] = length;
        }
        text += n + (text[n] == ' ');
    }
    if (out->count == 0)
        return qn_err_set(err, QN_INVALID, "'secret' is empty");
    return QN_OK;
}

qn_status qn_webhook_sign(const struct qn_webhook_keys *keys, struct qn_str id, int64_t time_s,
                          struct qn_str body, struct qn_buf *out, struct qn_err *err)
{
    struct qn_buf text = {0};
    qn_status rc = QN_OK;

    qn_buf_printf(&text, "%.*s.%lld.", QN_STR_ARG(id), (long long)time_s);
    qn_buf_add(&text, body.p, body.len);
    if (text.failed)
        rc = qn_err_set(err, QN_NOMEM, "out of memory to sign a request");
    for (uint32_t i = 0; i < keys->count && rc == QN_OK; i++) {
        unsigned char mac[EVP_MAX_MD_SIZE];
        unsigned n = 0;

        if (HMAC(EVP_sha256(), keys->bytes[i], (int)keys->lengths[i],
                 (const unsigned char *)text.data, text.len, mac, &n) == NULL) {
            rc = qn_err_set(err, QN_UNSUPPORTED, "libcrypto has no HMAC-SHA256");
            break;
        }
        qn_buf_text(out, i == 0 ? "v1," : " v1,");
        qn_base64(out, (struct qn_str){(const char *)mac, n});
    }
    qn_buf_fini(&text);
    return rc;
}
