/* SPDX-License-Identifier: Apache-2.0
 * dead_record.h - a row that is set aside as the record of a dead letter, whatever log it goes to.
 *
 * Thread: any; no state. Memory: the caller's buffers. */
#ifndef QN_ENGINE_DEAD_RECORD_H
#define QN_ENGINE_DEAD_RECORD_H

#include "event/batch.h"
#include "spec/plan.h"

/* The headers of the dead letter of a row into out (cleared first): those the event came with, as
 * the log has them, then why it is dead (log/dead_letter.h). scratch: any buffer. */
qn_status qn_dead_headers(const struct qn_plan *plan, const struct qn_batch *b, uint32_t row,
                          struct qn_str original, struct qn_buf *scratch, struct qn_buf *out,
                          struct qn_err *err);
/* The hash of one dead letter more: reason, offset and bytes of the event. */
uint64_t qn_dead_hash(const struct qn_batch *b, uint32_t row, uint64_t hash);

#endif
