/* SPDX-License-Identifier: Apache-2.0
 * shard_stage.h - what a shard does besides when its pipeline is cut into stages by key
 * (spec/plan.h): it reads what the stage before has sent, or sends to the one behind, or both.
 *
 *   stream ─► stage 0: judges, windows by its key ─► record per event ─► topic GROUP.KEY.rekey
 *                                                                            │ by the next key
 *       answers ◄─ last stage: windows by its key, model, outputs ◄──────────┘
 *
 * Lateness and repeats are judged once, by the first stage. Behind it several shards of the stage
 * before are merged into each partition, each at its own pace: the *floor* is the oldest of their
 * newest event times, over those that are not idle, and never falls. It is known once all of them
 * have been heard of. Windows keep what an event as old as the floor may ask for; one that is older
 * still (its shard was idle, and then came with old events) has none. What was sent twice, since a
 * stage that gives no transactions was killed, is passed over: of each sender offsets ascend. All
 * of it is a function of the topic. Empty without librdkafka. Thread: the engine's. Memory: with
 * the shard. */
#ifndef QN_ENGINE_SHARD_STAGE_H
#define QN_ENGINE_SHARD_STAGE_H

#include "engine/shard.h"

#ifdef QN_WITH_KAFKA

#include "state/snapshot.h"

/* Gives the groups of the shard's plan their places; before its engine is made. */
qn_status qn_shard_stage_new(struct qn_shard *s, struct qn_err *err);
void qn_shard_stage_free(struct qn_shard *s);

/* ---- reading what the stage before has sent --------------------------------------------------*/

/* Looks at the next record: *is_row false where it says no more than how far time has come, or was
 * read before. QN_CORRUPT: it is none of ours. */
qn_status qn_shard_stage_look(struct qn_shard *s, const rd_kafka_message_t *m, bool *is_row,
                              struct qn_err *err);
/* Its event, before it is given; borrowed from the message. */
struct qn_str qn_shard_stage_event(const struct qn_shard *s);
/* What was looked at last: passed over; or row r of the batch, all but its bytes. */
void qn_shard_stage_skip(struct qn_shard *s);
qn_status qn_shard_stage_give(struct qn_shard *s, struct qn_batch *b, uint32_t r,
                              struct qn_err *err);
/* The original key of a row of the batch in hand. */
struct qn_str qn_shard_stage_key(const struct qn_shard *s, uint32_t row);
/* Where the senders stand, as part of a snapshot. */
struct qn_section qn_shard_stage_section(struct qn_shard *s);

/* ---- sending to the stage behind -------------------------------------------------------------*/

/* Records of a batch that is done. */
qn_status qn_shard_stage_send(struct qn_shard *s, const struct qn_batch *b, struct qn_err *err);
/* Adds how far time has come, for every partition of the next topic, where they have to know:
 * now_ns is a clock that only goes on; is_idle: nothing has come for a while. */
void qn_shard_stage_tell(struct qn_shard *s, int64_t now_ns, bool is_idle);
/* It may not have arrived: it is to be told again. */
void qn_shard_stage_tell_again(struct qn_shard *s);

#endif
#endif
