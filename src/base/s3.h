/* SPDX-License-Identifier: Apache-2.0
 * s3.h - objects in a bucket: AWS S3 and whatever speaks its protocol (MinIO, Ceph, s3proxy, ...).
 *
 * Whole objects of bounded size, put once and never overwritten (If-None-Match: *). Requests are
 * signed (aws_sign.h) and sent by libcurl; what the network or the server fails at is tried again
 * with growing pauses. An answer is from outside: its size is bounded and its XML read with care
 * (s3_answer.h). Keys, secrets and tokens are never part of a message. Thread: one at a time, but
 * for qn_s3_cancel. Memory: the heap; of an object, the caller's buffer. */
#ifndef QN_BASE_S3_H
#define QN_BASE_S3_H

#include "base/buffer.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/text.h"

struct qn_s3; /* private */

struct qn_s3_options {
    const struct qn_clock *clock;
    const struct qn_random *random; /* of the pauses                                              */
    const char *bucket;
    const char *endpoint; /* "http://127.0.0.1:9000"; NULL = AWS's of the region                  */
    const char *region;
    bool is_path_style; /* the bucket stands in the path; else before the host                    */
    /* Who asks; token NULL = a key that does not expire. */
    const char *key_id, *secret, *token;
    const char *ca_file; /* certificates (PEM) to trust instead of the system's; NULL = those     */
    int64_t timeout_us;  /* of one try without any progress; a try as a whole has ten times that  */
    uint32_t tries;      /* of one request, at least 1                                            */
    int64_t pause_us;    /* before the second try; doubled before each further one                */
};

/* NULL, or what is wrong with a bucket's name, in words that follow "'...' ". */
const char *qn_s3_bucket_check(struct qn_str bucket);
/* The same of an endpoint. */
const char *qn_s3_endpoint_check(const char *endpoint);

/* Copies the options; connects to nothing. */
qn_status qn_s3_new(const struct qn_s3_options *opt, struct qn_s3 **out, struct qn_err *err);
void qn_s3_free(struct qn_s3 *s); /* NULL is fine */

/* All of these block for as long as their tries take. QN_DENIED: key, secret or rights;
 * QN_NOT_FOUND: no such object or bucket; QN_IO (retriable): no answer, or one that means "later",
 * to the last try; QN_INTERRUPTED: cancelled; QN_INVALID: the answer cannot be what was asked for.
 */

/* Puts an object; QN_INVALID where there is one of that key with other bytes. */
qn_status qn_s3_put(struct qn_s3 *s, const char *key, const void *p, size_t bytes,
                    struct qn_err *err);
/* The object into out (cleared first); QN_LIMIT where it is larger than limit_bytes. */
qn_status qn_s3_get(struct qn_s3 *s, const char *key, size_t limit_bytes, struct qn_buf *out,
                    struct qn_err *err);
/* The keys that begin with prefix and have no '/' behind it, without the prefix, NUL-ended. */
qn_status qn_s3_list(struct qn_s3 *s, const char *prefix, void (*each)(void *arg, const char *name),
                     void *arg, struct qn_err *err);
qn_status qn_s3_remove(struct qn_s3 *s, const char *key, struct qn_err *err);

/* The request under way and all that follow end with QN_INTERRUPTED, within a second or so. Thread:
 * any. */
void qn_s3_cancel(struct qn_s3 *s);

#endif
