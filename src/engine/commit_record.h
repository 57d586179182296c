/* SPDX-License-Identifier: Apache-2.0
 * commit_record.h - what a commit of the engine says, beside the outputs in the same append: how
 * far the inputs were consumed, and what the outputs were, as counts and hashes.
 *
 * From the last one a start knows where to go on; from all of them behind a snapshot it knows what
 * the replay must come to again. Little-endian:
 *
 *   off size
 *     0  4  version, 1
 *     4  4  number of inputs            (streams)
 *     8  4  number of outputs           (outputs of the plan, then dead letters)
 *    12  4  zero
 *    16  8  what made it: hash of the resolved spec, the model's file and the program's version
 *    24 ..  input:  4 topic, 4 zero, 8 offset of the next record
 *       ..  output: 4 topic, 4 records, 8 hash of the records one after the other
 *
 * Thread: any; no state. */
#ifndef QN_ENGINE_COMMIT_RECORD_H
#define QN_ENGINE_COMMIT_RECORD_H

#include "base/buffer.h"
#include "base/status.h"
#include "base/text.h"

struct qn_commit_input {
    uint32_t topic;
    uint64_t next;
};

struct qn_commit_output {
    uint32_t topic, records;
    uint64_t hash; /* 0 without records */
};

/* Arrays belong to the owner. */
struct qn_commit {
    uint64_t maker;
    struct qn_commit_input *inputs;
    struct qn_commit_output *outputs;
    uint32_t input_count, output_count;
};

/* The hash of one record more. */
uint64_t qn_commit_hash(uint64_t hash, const void *record, size_t bytes);
void qn_commit_write(const struct qn_commit *c, struct qn_buf *out);
/* At most *_max of each are read into c's arrays. QN_UNSUPPORTED: of a newer version; QN_CORRUPT.
 */
qn_status qn_commit_read(struct qn_str bytes, uint32_t inputs_max, uint32_t outputs_max,
                         struct qn_commit *c, struct qn_err *err);

#endif
