/* SPDX-License-Identifier: Apache-2.0
 * dead_letters.h - dead letters after a fix: which of them are sent again, and that each is sent
 * once.
 *
 *   topic dead ──► selection ──► one append: the original bytes, key and headers to their stream's
 *                                topic, and one record per letter to the topic `control`
 *
 * What was sent again is an event like any other, at today's place in the log: the header
 * `quern.dead_letter` (dead:0:OFFSET) names the letter it came from, and goes on to its prediction.
 * Event and control record become durable together, so a letter counts as sent exactly when its
 * event is there. Thread: one at a time per log; see qn_service_replay_dead. Memory: one bit per
 * letter, one append. */
#ifndef QN_ENGINE_DEAD_LETTERS_H
#define QN_ENGINE_DEAD_LETTERS_H

#include "log/log_local.h"
#include "spec/plan.h"

/* Topics that every pipeline's log has, beside streams and outputs. */
#define QN_TOPIC_DEAD    "dead"
#define QN_TOPIC_CONTROL "control"

/* Which letters: all that fit. */
struct qn_dead_selection {
    struct qn_str reason; /* p NULL = any                                    */
    struct qn_str stream; /* where the original lies; p NULL = any           */
    uint64_t from, end;   /* offsets in the topic `dead`: [from, end)        */
};
#define QN_DEAD_ALL ((struct qn_dead_selection){.end = UINT64_MAX})

/* headers: of the letter. */
bool qn_dead_selected(const struct qn_dead_selection *sel, uint64_t offset, struct qn_str headers);

/* The letters of a log that were sent again. {0} is empty. */
struct qn_dead_sent {
    uint64_t first, end; /* offsets of the letters that are there */
    uint8_t *bits;       /* [(end - first + 7) / 8]               */
};
/* Reads the topic `control` up to its end. sent is empty where the log has no dead letters. */
qn_status qn_dead_sent_read(struct qn_log *lg, struct qn_dead_sent *sent, struct qn_err *err);
void qn_dead_sent_fini(struct qn_dead_sent *sent);
bool qn_dead_was_sent(const struct qn_dead_sent *sent, uint64_t offset);

/* What became of the letters that were selected. */
struct qn_dead_replay {
    uint64_t selected;  /* the sum of what follows                                             */
    uint64_t sent;      /* durable; with is_trial: would be sent                               */
    uint64_t again;     /* sent before: skipped                                                */
    uint64_t of_sinks;  /* records that a target refused: no events, their sink has them       */
    uint64_t of_others; /* of a stream that the plan has not                                   */
};

/* Sends the selected letters again, oldest first; with is_trial only counts. The log must be open
 * for writing unless is_trial. On an error out says what was sent before it: going on is calling
 * again. */
qn_status qn_dead_letters_replay(struct qn_log *lg, const struct qn_plan *plan,
                                 const struct qn_dead_selection *sel, bool is_trial,
                                 struct qn_dead_replay *out, struct qn_err *err);

/* ---- what was dead stays dead where it lies --------------------------------------------------*/

/* Events that died of another contract than the plan's, too late for the windows of then, or for
 * want of room in the state of then; late
 * ones that were set aside by `late: dead-letter` are none of them. When the state is rebuilt under
 * a corrected spec, they must stay dead at their old place: their answer comes with the letter that
 * is sent again, and they count in the windows there and once. {0} is empty. */
struct qn_dead_past {
    struct qn_buf streams[QN_STREAMS_MAX]; /* struct qn_dead_event, ascending */
    bool has_any;
};
struct qn_dead_event {
    uint64_t offset, reason; /* in the stream's topic; enum qn_reason */
};
/* Reads the topic `dead` for the events from next[stream of the plan] on. */
qn_status qn_dead_past_read(struct qn_log *lg, const struct qn_plan *plan, const uint64_t *next,
                            struct qn_dead_past *past, struct qn_err *err);
void qn_dead_past_fini(struct qn_dead_past *past);
/* Why the event died; QN_REASON_NONE: it did not. */
enum qn_reason qn_dead_past_reason(const struct qn_dead_past *past, uint32_t stream,
                                   uint64_t offset);

/* ---- told ------------------------------------------------------------------------------------*/

/* "12 sent again, 3 skipped: sent before": in words, without a line end. */
void qn_dead_replay_words(const struct qn_dead_replay *r, bool is_trial, struct qn_buf *out);
/* {"selected":15,"sent":12,...}, without a line end. */
void qn_dead_replay_json(const struct qn_dead_replay *r, struct qn_buf *out);

#endif
