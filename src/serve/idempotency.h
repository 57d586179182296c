/* SPDX-License-Identifier: Apache-2.0
 * idempotency.h - which requests were taken before: the same Idempotency-Key with the same body is
 * answered again and never appended twice.
 *
 * A place in the log is remembered per key (the answer is made again from there), for the newest
 * 65,536 keys. The key and the body's hash travel as the header `idempotency-key` of every record,
 * so a start finds them again in the last records of each stream. Thread: any; a lock inside.
 * Memory: boot, 5 MiB. */
#ifndef QN_SERVE_IDEMPOTENCY_H
#define QN_SERVE_IDEMPOTENCY_H

#include "engine/service.h"

struct qn_idempotency; /* private */

enum { QN_IDEMPOTENCY_KEY_MAX = 255, QN_IDEMPOTENCY_RECORDS = 100000 };

qn_status qn_idempotency_new(struct qn_idempotency **out, struct qn_err *err);
void qn_idempotency_free(struct qn_idempotency *m); /* NULL is fine */
/* Reads the last QN_IDEMPOTENCY_RECORDS records of every stream. */
qn_status qn_idempotency_load(struct qn_idempotency *m, struct qn_service *sv, struct qn_err *err);

/* True for 1 to QN_IDEMPOTENCY_KEY_MAX visible ASCII letters. */
bool qn_idempotency_key_valid(struct qn_str key);

enum qn_claim {
    QN_CLAIM_NEW,   /* nobody had this key: it is the caller's, see *claim */
    QN_CLAIM_BUSY,  /* a request with this key is under way                */
    QN_CLAIM_OTHER, /* the key came with another body                      */
    QN_CLAIM_DONE   /* taken before: see *first and *count                 */
};
/* Asks for a key of a stream. header: cleared, then the value of the record header. */
enum qn_claim qn_idempotency_claim(struct qn_idempotency *m, uint32_t stream, struct qn_str key,
                                   struct qn_str body, struct qn_buf *header, uint64_t *claim,
                                   uint64_t *first, uint32_t *count);
/* The claimed request is durable: its events are [first, first + count) of the stream's topic. */
void qn_idempotency_keep(struct qn_idempotency *m, uint64_t claim, uint64_t first, uint32_t count);
/* The claimed request was not taken: the key is free again. */
void qn_idempotency_release(struct qn_idempotency *m, uint64_t claim);

#endif
