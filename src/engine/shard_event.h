/* SPDX-License-Identifier: Apache-2.0
 * shard_event.h - the event in a record of a shard's topic, where records have schemas
 * (transcode.h).
 *
 *   message ─► qn_shard_event ─► JSON of the event, or why it is none; its headers for answers
 *                   └ no registry answers: the shard waits, and is tried again
 *
 * The topic is the log, so a replay asks for the schemas again. An id never changes its text, so it
 * comes to the same events; that a registry had no schema may change, and so the last offset of
 * each such id is kept with the position (shard_mark.h), and believed up to there. Empty without
 * librdkafka. Thread: the shard's. Memory: two buffers, of the batch in hand. */
#ifndef QN_ENGINE_SHARD_EVENT_H
#define QN_ENGINE_SHARD_EVENT_H

#include "engine/shard.h"

#ifdef QN_WITH_KAFKA

/* Where a stream has a transcoder: s->events. */
qn_status qn_shard_events_new(struct qn_shard *s, struct qn_err *err);
void qn_shard_events_free(struct qn_shard *s);

/* The event of a pending message that is to be that row of the batch in hand: borrowed until the
 * next call. *reason other than NONE: it is none, and is set aside. s->is_waiting: that cannot be
 * told yet. */
qn_status qn_shard_event(struct qn_shard *s, uint32_t pending, uint32_t row, struct qn_str *event,
                         enum qn_reason *reason, struct qn_err *err);
/* A pending record was taken as schema_unknown: remembered with the position. */
void qn_shard_event_unknown(struct qn_shard *s, uint32_t pending);
/* The event of any message, where s->events is or is not, for who has to know its time: in `out`,
 * with room for a decoder behind it, and what headers it came with where an envelope needs them.
 * event->p NULL: it is none, or s->is_waiting. */
qn_status qn_shard_event_peek(struct qn_shard *s, const rd_kafka_message_t *m, uint32_t stream,
                              struct qn_buf *out, struct qn_buf *headers, struct qn_str *event,
                              struct qn_err *err);
/* The headers of a row of the batch in hand, until the next batch. */
struct qn_str qn_shard_event_headers(const struct qn_shard *s, uint32_t row);

#endif
#endif
