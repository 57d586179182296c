/* SPDX-License-Identifier: Apache-2.0
 * dead_letter.h - a dead letter as a record of the log: the original key, value, headers and time,
 * untouched, and why it is here in headers of our own.
 *
 * The names are those of Kafka Connect, so that tools which know them can group and count
 * (__connect.errors.topic, partition, offset, connector.name, task.id, stage, class.name,
 * exception.class.name, exception.message), and ours (quern.reason, field, expected, contract,
 * position, attempts), beside those that reading from a topic leaves (transcode.h: schema_id,
 * detail). A header that the original has already is never overwritten. Thread: any; no
 * state. */
#ifndef QN_LOG_DEAD_LETTER_H
#define QN_LOG_DEAD_LETTER_H

#include "log/log_local.h"

/* Texts are borrowed; p NULL where there is nothing to say. */
struct qn_dead_letter {
    struct qn_str topic;           /* where the original lies ...                          */
    uint32_t partition;            /* ... in which partition, 0 in a local log             */
    uint64_t offset;               /* ... and its offset there                             */
    struct qn_str pipeline, stage; /* stage: VALUE_CONVERTER, TRANSFORMATION or TASK_PUT   */
    struct qn_str module;          /* what set it aside: "contract", "webhook"             */
    struct qn_str reason, text;    /* stable code; words                                   */
    struct qn_str field, expected; /* path in the event; what the contract asks of it      */
    struct qn_str contract;        /* version of the contract it was held against          */
    struct qn_str schema_id;       /* of the schema it was written with, in the registry   */
    struct qn_str detail;          /* what about the bytes was wrong                       */
    uint32_t attempts;             /* times a delivery was tried, 0 = none                 */
};

/* The original's headers, then ours. out is appended to. */
void qn_dead_letter_headers(const struct qn_dead_letter *d, struct qn_str original,
                            struct qn_buf *out);
/* What the headers say; texts borrow from them. */
void qn_dead_letter_read(struct qn_str headers, struct qn_dead_letter *out);
/* The original's headers without ours. out is appended to. */
void qn_dead_letter_strip(struct qn_str headers, struct qn_buf *out);

/* One JSON object (docs/formats.md, "Dead letter"), without a line end. r: as read from the topic
 * of dead letters. */
void qn_dead_letter_json(const struct qn_log_record *r, struct qn_buf *out);

#endif
