/* SPDX-License-Identifier: Apache-2.0
 * commit_record.c - writes and reads what a commit says. The format stands in commit_record.h.
 *
 * Thread: any; no state. */
#include "engine/commit_record.h"

#include "base/hash.h"
#include "base/little.h"

enum { VERSION = 1, HEAD_BYTES = 24, ROW_BYTES = 16 };

uint64_t qn_commit_hash(uint64_t hash, const void *record, size_t bytes)
{
    return qn_hash(record, bytes, hash);
}

void qn_commit_write(const struct qn_commit *c, struct qn_buf *out)
{
    qn_little_add32(out, VERSION);
    qn_little_add32(out, c->input_count);
    qn_little_add32(out, c->output_count);
    qn_little_add32(out, 0);
    qn_little_add64(out, c->maker);
    for (uint32_t i = 0; i < c->input_count; i++) {
        qn_little_add32(out, c->inputs[i].topic);
        qn_little_add32(out, 0);
        qn_little_add64(out, c->inputs[i].next);
    }
    for (uint32_t i = 0; i < c->output_count; i++) {
        qn_little_add32(out, c->outputs[i].topic);
        qn_little_add32(out, c->outputs[i].records);
        qn_little_add64(out, c->outputs[i].hash);
    }
}

qn_status qn_commit_read(struct qn_str bytes, uint32_t inputs_max, uint32_t outputs_max,
                         struct qn_commit *c, struct qn_err *err)
{
    const char *p = bytes.p;
    uint32_t inputs, outputs;

    if (bytes.len < HEAD_BYTES)
        return qn_err_set(err, QN_CORRUPT, "a commit of %u bytes", bytes.len);
    if (qn_little_get32(p) != VERSION)
        return qn_err_set(err, QN_UNSUPPORTED,
                          "a commit of format %u: the log was written by a newer version",
                          qn_little_get32(p));
    inputs = qn_little_get32(p + 4);
    outputs = qn_little_get32(p + 8);
    if (inputs > inputs_max || outputs > outputs_max ||
        bytes.len != HEAD_BYTES + (inputs + outputs) * ROW_BYTES)
        return qn_err_set(err, QN_CORRUPT, "a commit of %u inputs and %u outputs in %u bytes",
                          inputs, outputs, bytes.len);
    c->maker = qn_little_get64(p + 16);
    c->input_count = inputs;
    c->output_count = outputs;
    p += HEAD_BYTES;
    for (uint32_t i = 0; i < inputs; i++, p += ROW_BYTES)
        c->inputs[i] = (struct qn_commit_input){qn_little_get32(p), qn_little_get64(p + 8)};
    for (uint32_t i = 0; i < outputs; i++, p += ROW_BYTES)
        c->outputs[i] = (struct qn_commit_output){qn_little_get32(p), qn_little_get32(p + 4),
                                                  qn_little_get64(p + 8)};
    return QN_OK;
}
