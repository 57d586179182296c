/* SPDX-License-Identifier: Apache-2.0
 * webhook_int.h - the parts of the webhook sink: what is sent, how it is signed, what an answer
 * means. None of them does anything with a network.
 *
 * Thread: any; no state but the caller's. */
#ifndef QN_SINK_WEBHOOK_INT_H
#define QN_SINK_WEBHOOK_INT_H

#include "sink/record_members.h"
#include "sink/sink.h"

#include <sys/socket.h>

enum qn_webhook_format {
    QN_WEBHOOK_CLOUDEVENTS,
    QN_WEBHOOK_RAW,
    QN_WEBHOOK_SLACK,
    QN_WEBHOOK_PAGERDUTY
};

/* Filled by the option table in sink_webhook.c. */
struct qn_webhook_options {
    const char *url;
    int format;       /* enum qn_webhook_format                                  */
    const char *text; /* template of slack's text and pagerduty's summary        */
    const char *secret;
    const char *routing_key;
    int severity;
    struct qn_option_list headers; /* "Name: value"                                           */
    int64_t batch;                 /* most records of one request; 1: no list around it        */
    int64_t timeout_us;
    bool allow_private;
    const char *ca_file;
};

/* ---- bodies (webhook_body.c) ---- */

struct qn_webhook_body {
    const struct qn_webhook_options *opt;
    const struct qn_sink_boot *boot;
    struct qn_template *text; /* slack and pagerduty */
};

/* Appends what is sent for one record and its id ("fraud:transactions:0:17"), which for a record
 * without one is made of output and offset. False: the record can never be sent, *error says why.
 * The arena may be reset afterwards. */
bool qn_webhook_body(const struct qn_webhook_body *w, const struct qn_log_record *r,
                     struct qn_arena *arena, struct qn_buf *body, struct qn_buf *id,
                     const char **error);
/* As the Content-Type header says it; is_list: several records in [...]. */
const char *qn_webhook_content_type(enum qn_webhook_format format, bool is_list);

/* ---- signatures (webhook_sign.c) ---- */

enum { QN_WEBHOOK_KEYS_MAX = 4, QN_WEBHOOK_KEY_BYTES_MAX = 128 };

/* Keys of Standard Webhooks; several while one is being replaced. */
struct qn_webhook_keys {
    unsigned char bytes[QN_WEBHOOK_KEYS_MAX][QN_WEBHOOK_KEY_BYTES_MAX];
    uint32_t lengths[QN_WEBHOOK_KEYS_MAX];
    uint32_t count;
};
/* Reads "whsec_<base64>", several with blanks between. QN_INVALID, quoting nothing of it. */
qn_status qn_webhook_keys(const char *text, struct qn_webhook_keys *out, struct qn_err *err);
/* Appends the value of webhook-signature: "v1,<base64> v1,<base64>": HMAC-SHA256 of id.time.body
 * (https://www.standardwebhooks.com, spec 1.0). */
qn_status qn_webhook_sign(const struct qn_webhook_keys *keys, struct qn_str id, int64_t time_s,
                          struct qn_str body, struct qn_buf *out, struct qn_err *err);

/* ---- answers (webhook_answer.c) ---- */

enum qn_webhook_meaning {
    QN_WEBHOOK_TAKEN,   /* 2xx                                                             */
    QN_WEBHOOK_DOWN,    /* the target does not do its work now, whatever the record         */
    QN_WEBHOOK_FAILED,  /* this request failed and may work later                           */
    QN_WEBHOOK_REFUSED, /* this record will never be taken                                  */
    QN_WEBHOOK_GONE     /* nothing will be taken any more: stop                             */
};
enum qn_webhook_meaning qn_webhook_meaning(long status, enum qn_webhook_format format);

/* What is kept of an answer while it comes in, from an outside nobody vouches for. */
enum { QN_WEBHOOK_EXCERPT = 80, QN_WEBHOOK_ANSWER_MAX = 65536 };
struct qn_webhook_answer {
    int64_t retry_after_us;               /* 0 = none                                   */
    size_t bytes;                         /* of headers and body so far                 */
    char excerpt[QN_WEBHOOK_EXCERPT + 1]; /* first printable bytes of the body, NUL-terminated  */
    uint32_t excerpt_len;
};
/* Takes one header line, its line end included or not. False: more than an answer may have. */
bool qn_webhook_answer_header(struct qn_webhook_answer *a, struct qn_str line, int64_t now_us);
/* Takes a piece of the body. False: enough, the rest is not wanted. */
bool qn_webhook_answer_body(struct qn_webhook_answer *a, struct qn_str piece);
/* "answered 500 Internal Server Error: out of order" */
void qn_webhook_answer_print(const struct qn_webhook_answer *a, long status, char *out,
                             size_t bytes);

/* ---- addresses (webhook_answer.c) ---- */

/* True for an address that is not one of the public internet: loopback, private, link-local,
 * shared, documentation, multicast and reserved ones (IANA special-purpose registries), also where
 * an IPv6 address carries such an IPv4 one. Families other than IP count as private. */
bool qn_webhook_is_private(const struct sockaddr *address);

#endif
