/* SPDX-License-Identifier: Apache-2.0
 * s3_answer.h - what a bucket answers, taken apart: lists of keys and errors, both XML from
 * outside.
 *
 * Formats: docs.aws.amazon.com/AmazonS3, "ListObjectsV2" and "Error responses". Thread: any. */
#ifndef QN_BASE_S3_ANSWER_H
#define QN_BASE_S3_ANSWER_H

#include "base/buffer.h"
#include "base/status.h"
#include "base/text.h"

/* One page of a list: calls each with every key (decoded, NUL-ended, without zero bytes) that
 * begins with prefix, without the prefix. *next (cleared first): the token of the page that
 * follows, empty behind the last. QN_INVALID: no such document, or a page that names no next one
 * although there is. After an error some keys may have been told. */
qn_status qn_s3_list_read(struct qn_str xml, struct qn_str prefix,
                          void (*each)(void *arg, const char *name), void *arg, struct qn_buf *next,
                          struct qn_err *err);

/* <Error><Code>..., printable ASCII and cut to fit; empty where the answer has none. */
struct qn_s3_problem {
    char code[64], message[160];
};
void qn_s3_problem_read(struct qn_str xml, struct qn_s3_problem *out);

/* What an answer that is no 2xx means. is_write: it was asked to put something. Sets err with
 * status, code and message, and what to do. */
qn_status qn_s3_status(long status, const struct qn_s3_problem *p, struct qn_err *err);
/* True where the same request may have another answer later. */
bool qn_s3_is_passing(long status, const struct qn_s3_problem *p);

#endif
