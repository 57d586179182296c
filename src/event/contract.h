/* SPDX-License-Identifier: Apache-2.0
 * contract.h - the checked promise: limits of values, and lateness against the watermark. Verdicts,
 * never failures.
 *
 * Limits are per row and may run on any slice; the watermark runs row by row in log order over the
 * whole batch, because it moves with every row (docs/architecture.md). Rows already dead are left
 * alone and move nothing. Thread: any worker for limits, on its own rows; the stepping thread
 * for the rest. */
#ifndef QN_EVENT_CONTRACT_H
#define QN_EVENT_CONTRACT_H

#include "event/batch.h"

/* Boot, called by qn_batch_init: hashes long lists of allowed values (schema->limits). Without it
 * they are searched one by one, with the same answers. */
qn_status qn_contract_prepare(struct qn_schema *s, struct qn_arena *boot, struct qn_err *err);

/* Ranges, sets, lengths of rows [first, end) of that stream; also copies the time field to time_us.
 */
void qn_contract_check(struct qn_batch *b, const struct qn_schema *s, uint32_t stream_index,
                       uint32_t first, uint32_t end);

/* Newest event time seen; one per shard, shared by all its streams. {.seen = false} at start. */
struct qn_watermark {
    bool seen;
    int64_t newest_us;
};

/* Verdict counters of one stream; read = scored + late + dead + shed, always. */
struct qn_counts {
    uint64_t read, verdict[QN_VERDICTS];
    uint64_t late_scored; /* scored although behind the watermark */
    uint64_t reason[QN_REASON_COUNT];
};

/* How far an event's time may be ahead of its arrival: one clock that is wrong must not make all
 * others late. */
#define QN_FUTURE_US INT64_C(60000000)

/* All rows in order: what claims to come from the future is dead future_time and moves nothing;
 * else moves the watermark, sets is_late and the verdict by the stream's late policy
 * (`score` keeps QN_SCORED up to within_us behind the watermark; `fold`, `drop` and `dead-letter`
 * make it QN_LATE; older than within is dead too_late under score and fold). A row that died of
 * state_full before (batch.h) moves the watermark, and dies again. */
void qn_contract_lateness(struct qn_batch *b, const struct qn_schema *schemas,
                          uint32_t schema_count, struct qn_watermark *w);

/* True if the event is set aside as a dead letter. */
static inline bool qn_contract_sets_aside(const struct qn_batch *b, uint32_t row,
                                          const struct qn_schema *schemas)
{
    if (b->verdict[row] == QN_DEAD)
        return !qn_reason_is_quiet((enum qn_reason)b->reason[row]);
    return b->verdict[row] == QN_LATE && schemas[b->stream[row]].late == QN_LATE_DEAD_LETTER;
}

/* True if the row moved the watermark, where it is newer: it is alive, or was when that was done.
 */
static inline bool qn_contract_moves(const struct qn_batch *b, uint32_t row)
{
    return b->verdict[row] != QN_DEAD || b->reason[row] == QN_REASON_STATE_FULL;
}

/* Adds the batch's verdicts to counts[stream]. */
void qn_contract_count(const struct qn_batch *b, struct qn_counts *counts);

#endif
