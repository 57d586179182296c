/* SPDX-License-Identifier: Apache-2.0
 * aws_sign.h - signatures of requests as AWS and everything that speaks S3 check them: Signature
 * Version 4 (docs.aws.amazon.com/IAM, "Create a signed AWS API request").
 *
 * Pure: the same request at the same time has the same signature. Hashes and HMAC are libcrypto's.
 * Secrets are read, never kept and never quoted. Thread: any. */
#ifndef QN_BASE_AWS_SIGN_H
#define QN_BASE_AWS_SIGN_H

#include "base/buffer.h"
#include "base/status.h"
#include "base/text.h"

/* Who asks. NUL-terminated; token NULL = a key that does not expire. */
struct qn_aws_keys {
    const char *id, *secret, *token;
};

/* One signed header: its name in small letters, its value without blanks around it. */
struct qn_aws_header {
    const char *name, *value;
};

enum { QN_AWS_HEADERS_MAX = 8, QN_AWS_DATE = 17, QN_AWS_HASH = 65 };

struct qn_aws_request {
    const char *method;
    struct qn_str path;                  /* as it is sent: encoded, begins with '/'            */
    struct qn_str query;                 /* as it is sent: encoded, "a=1&b=", sorted by name   */
    const struct qn_aws_header *headers; /* sorted by name; host and x-amz-date among them */
    uint32_t header_count;
    const char *body_hash; /* of the body: qn_aws_hash                            */
    const char *region, *service;
    const char *date; /* qn_aws_date, as in x-amz-date                       */
};

/* Appends the value of the header Authorization. QN_NOMEM; QN_UNSUPPORTED: a libcrypto without
 * SHA-256. */
qn_status qn_aws_sign(const struct qn_aws_request *r, const struct qn_aws_keys *keys,
                      struct qn_buf *out, struct qn_err *err);
/* SHA-256 as 64 hex digits and a NUL. */
qn_status qn_aws_hash(const void *p, size_t bytes, char out[QN_AWS_HASH], struct qn_err *err);
/* "20130524T000000Z" and a NUL. */
void qn_aws_date(int64_t wall_us, char out[QN_AWS_DATE]);
/* Appends text as it stands in a path (keeps_slash) or in a query: everything but letters, digits
 * and "-._~" as %XX. */
void qn_aws_encode(struct qn_buf *out, struct qn_str text, bool keeps_slash);

#endif
