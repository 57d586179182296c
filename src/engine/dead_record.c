/* SPDX-License-Identifier: Apache-2.0
 * dead_record.c - what a dead letter says of its row. See dead_record.h.
 *
 * Thread: any; no state. */
#include "engine/dead_record.h"

#include "engine/commit_record.h"
#include "event/encode.h"
#include "event/envelope.h"
#include "log/dead_letter.h"

#include <stdio.h>

uint64_t qn_dead_hash(const struct qn_batch *b, uint32_t row, uint64_t hash)
{
    const uint64_t why[2] = {b->reason[row], (uint64_t)b->offset[row]};

    return qn_commit_hash(qn_commit_hash(hash, why, sizeof why), b->raw[row].p, b->raw[row].len);
}

qn_status qn_dead_headers(const struct qn_plan *plan, const struct qn_batch *b, uint32_t row,
                          struct qn_str original, struct qn_buf *scratch, struct qn_buf *out,
                          struct qn_err *err)
{
    const struct qn_schema *s = &plan->schemas[b->stream[row]];
    enum qn_reason reason = (enum qn_reason)b->reason[row];
    struct qn_buf why = {0};
    char contract[20];
    const char *const *topics = plan->kafka.stream_topics; /* NULL: those of a local log */
    struct qn_dead_letter d = {.topic =
                                   topics != NULL ? qn_str_of(topics[b->stream[row]]) : s->name,
                               .partition = b->partition[row],
                               .offset = (uint64_t)b->offset[row],
                               .pipeline = plan->name,
                               .stage = qn_str_of(qn_reason_stage(reason)),
                               .module = qn_str_of("contract"),
                               .reason = qn_str_of(qn_reason_name(reason)),
                               .text = qn_str_of(qn_reason_text(reason))};

    qn_buf_clear(scratch);
    qn_buf_clear(out);
    snprintf(contract, sizeof contract, "%016llx", (unsigned long long)s->version);
    d.contract = (struct qn_str){contract, 16};
    if (b->reason_field[row] != QN_NO_FIELD) {
        d.field = s->fields[b->reason_field[row]].from;
        qn_encode_expected(scratch, reason, &s->fields[b->reason_field[row]]);
        if (scratch->len > 0)
            d.expected = (struct qn_str){scratch->data, (uint32_t)scratch->len};
    }
    if (reason == QN_REASON_BAD_ENVELOPE && s->envelope != QN_ENVELOPE_NONE) {
        qn_envelope_explain(b, row, s, &why);
        d.detail = (struct qn_str){why.data, (uint32_t)why.len};
    }
    qn_dead_letter_headers(&d, original, out);
    out->failed |= why.failed;
    qn_buf_fini(&why);
    if (out->failed || scratch->failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for a dead letter");
    return QN_OK;
}
