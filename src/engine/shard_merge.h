/* SPDX-License-Identifier: Apache-2.0
 * shard_merge.h - several streams in one shard: their messages into one order, and that order into
 * the journal.
 *
 *   topic of stream 0 ─► lane ─┐ live: the rule (merge_rule.h)      ┌► runs ─► journal (with the
 *   topic of stream 1 ─► lane ─┼─► pending ─► qn_shard_step ────────┤          commit)
 *   journal ───────────► lane ─┘ followed: as it was decided once   └► position of every stream
 *
 * The position of such a shard, `next` and what is compared with it, is the sum of the positions of
 * its streams: it grows with each record, and the journal says which sums belong to which positions
 * (qn_shard_seq). A state that is restored follows the journal (journal_record.h) up to what is
 * committed; without transactions up to its end, since records there may have left with answers
 * that were not committed. Whoever writes there without being the next in turn was overtaken.
 * Empty without librdkafka. Thread: the shard's. Memory: messages until they are stepped. */
#ifndef QN_ENGINE_SHARD_MERGE_H
#define QN_ENGINE_SHARD_MERGE_H

#include "engine/shard.h"

#ifdef QN_WITH_KAFKA

#include "engine/journal_record.h"
#include "engine/merge_rule.h"

/* Messages of one topic. Written here only, but for is_paused. */
struct qn_shard_lane {
    rd_kafka_message_t **held; /* [head, count) wait */
    uint32_t head, count, cap;
    size_t held_bytes;
    int64_t pushed;    /* behind the last message taken in                                    */
    int64_t pulled;    /* behind the last one that has its place in the order, or the markers */
    int64_t next;      /* first offset that was not stepped                                   */
    int64_t committed; /* first offset that is not committed                                  */
    int64_t last_us;   /* time of the last one that had any                                   */
    bool is_paused;    /* the service's                                                       */
};

struct qn_shard_merge {
    struct qn_shard_lane *lanes; /* [count] streams of the plan, then the journal */
    uint32_t count;
    struct qn_merge_lane *heads; /* [count] what the rule looks at */
    int64_t waits_since_ns;      /* of the rule */
    bool is_stalled;             /* something is held, and waits for a stream or the journal */
    int64_t *seq;                /* [cap of pending] of each one there */
    uint8_t *stream;             /* likewise */
    uint32_t cap;

    bool is_following;            /* the order is that of the journal */
    int64_t journal_end;          /* of the journal, when it was read to it; -1 = not yet */
    rd_kafka_message_t *record_m; /* of the journal, being followed */
    struct qn_str runs;           /* of it, that are left; the one in hand: */
    struct qn_journal_run run;    /* moved 0: none                          */
    int64_t *from;                /* [count] behind what the journal says  */
    struct qn_journal_run *news;  /* [news_count] of it on, not in the journal yet */
    uint32_t news_count, news_cap;
    struct qn_opener *opener;     /* for times inside envelopes */
    struct qn_buf event, headers; /* of a head */
    int64_t stuck_since_ns;       /* the journal ends before what is committed; 0 = it does not */
    struct qn_shard_place *place; /* where the topics stood when the partition came */
};

/* Where the topics of a shard stand: [streams of the plan]. */
struct qn_shard_place {
    int64_t committed[QN_STREAMS_MAX]; /* negative: the group has no position           */
    int64_t oldest[QN_STREAMS_MAX];    /* the first offset that the topic still has     */
    int64_t journal_oldest, journal_end;
};

/* Where the plan has several streams: s->merge. */
qn_status qn_shard_merge_new(struct qn_shard *s, struct qn_err *err);
void qn_shard_merge_free(struct qn_shard *s);

/* ---- restoring: in this order, around qn_shard_restore ---------------------------------------*/

/* What qn_shard_restore goes by; copied. */
void qn_shard_merge_place(struct qn_shard *s, const struct qn_shard_place *place);
/* Nobody was here: begins where the topics begin. */
void qn_shard_merge_begin(struct qn_shard *s);
/* s->expected was written by a pipeline with these streams. QN_CORRUPT. */
qn_status qn_shard_merge_check(const struct qn_shard *s, struct qn_err *err);
/* Stands at next[stream], and the journal is to be read from there; follows it. QN_NOT_FOUND: a
 * topic, or the journal, no longer reaches back; QN_CORRUPT: the journal is not the one it was,
 * or (retriable) its end was asked for a moment too early. */
qn_status qn_shard_merge_stand(struct qn_shard *s, const int64_t *next, int64_t journal,
                               struct qn_err *err);

/* ---- going on --------------------------------------------------------------------------------*/

/* Takes a message over; lane: a stream, or merge->count for the journal. */
qn_status qn_shard_merge_push(struct qn_shard *s, uint32_t lane, rd_kafka_message_t *m,
                              struct qn_err *err);
/* The partition of that lane ends there, and all of it was handed out; or is known to end there. */
void qn_shard_merge_reach(struct qn_shard *s, uint32_t lane, int64_t offset);
void qn_shard_merge_seen(struct qn_shard *s, uint32_t stream, int64_t end);
/* Puts what has its place into `pending`, where nothing waits there. QN_CORRUPT, QN_NOT_FOUND: the
 * journal does not say how it goes on. */
qn_status qn_shard_merge_pull(struct qn_shard *s, struct qn_err *err);
/* The rows in hand are stepped. */
qn_status qn_shard_merge_stepped(struct qn_shard *s, struct qn_err *err);
/* Forgets what was not stepped: it will come again. */
void qn_shard_merge_drop(struct qn_shard *s);
/* Appends what the journal has to be told, as records of that topic with the group as their key
 * (qn_kafka_record_add); how many they are. */
uint32_t qn_shard_merge_tell(struct qn_shard *s, uint32_t topic, struct qn_buf *out);
/* They are in the journal, and end there; negative: somewhere. */
void qn_shard_merge_told(struct qn_shard *s, int64_t journal_next);
/* All that was stepped is in the journal, and it is no longer followed. */
static inline bool qn_shard_merge_is_told(const struct qn_shard *s)
{
    return !s->merge->is_following && s->merge->news_count == 0;
}
void qn_shard_merge_committed(struct qn_shard *s);

#endif
#endif
