/* SPDX-License-Identifier: Apache-2.0
 * shard.h - one partition of a log in Kafka: its own plan, its own engine, its own state and order.
 *
 *   messages ─► qn_shard_push ─► pending ─► qn_shard_step ─► records, position ─► transaction
 *                                   │                          (the caller's)
 *                                   └ below live_from: replayed, records only hashed
 *
 * A shard is a pure function of its partition; of several streams' partitions and the order in
 * which they were merged, which shard_merge.h keeps. What it has made since the last commit lies in
 * `records` until the caller says that it was committed, so a transaction that failed is written
 * again as it was: nothing is stepped twice. Its state may run ahead of what is committed; a shard
 * whose commit is lost is thrown away and restored. Empty without librdkafka. Thread: the
 * engine's. Memory: an arena and an engine per shard; messages until they are stepped. */
#ifndef QN_ENGINE_SHARD_H
#define QN_ENGINE_SHARD_H

#include "log/kafka_client.h"

#ifdef QN_WITH_KAFKA

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/records.h"
#include "engine/shard_mark.h"
#include "monitor/report.h"

struct qn_shard_snapshots; /* private: shard_snapshot.c */
struct qn_shard_stage;     /* private: shard_stage.c */
struct qn_shard_events;    /* private: shard_event.c */
struct qn_shard_merge;     /* shard_merge.h */
struct qn_transcoder;

struct qn_shard_options {
    const struct qn_plan *plan; /* of the service: the shard loads the same once more */
    const struct qn_plan_options *load;
    const struct qn_files *files;
    const struct qn_clock *clock;
    const struct qn_random *random;
    struct qn_report *report;
    uint32_t threads;
    uint64_t log_id;          /* of cluster and topic: snapshots of others are not believed */
    uint64_t writer;          /* of the marks: shard_mark.h */
    uint32_t stage;           /* of the plan */
    uint32_t shards;          /* of this stage */
    uint32_t next_partitions; /* of the topic that the next stage reads; 0: the last stage */
    /* [streams] of records that have schemas; NULL, all or one = they are events */
    struct qn_transcoder *const *transcoders;
};

/* What was saved of a shard here. */
struct qn_shard_saved {
    int64_t since_us; /* wall clock: when it came                                          */
    int64_t taken_us; /* wall clock: of the newest, be it restored; 0 = none               */
    int64_t took_ns;  /* of the newest taken here                                          */
    uint64_t bytes;   /* likewise                                                          */
    uint64_t count, failed;
};

struct qn_shard {
    uint32_t partition;
    struct qn_shard_options opt;
    struct qn_arena arena;
    struct qn_plan *plan;
    const struct qn_plan_stage *def; /* of its stage */
    struct qn_shard_stage *stage;    /* NULL: the plan has one stage */
    bool reads_stage, sends;         /* from the stage before; to the one behind */
    bool reads_headers;              /* an envelope may say something in them */
    struct qn_watermark before;      /* of the step in hand */
    uint32_t output_count;           /* topics it writes, but for dead letters */
    struct qn_engine *en;
    struct qn_record_encoder *encoder;
    struct qn_records batch; /* of the step in hand */

    rd_kafka_message_t **pending; /* [cap]: [done, taken) are the rows of the step, [taken, count)
                                     wait                                                         */
    uint32_t count, taken, done, cap;
    char *raw;      /* the bytes of the rows of the step */
    int64_t pushed; /* behind the last message taken in */

    int64_t next;          /* first offset that was not stepped                          */
    int64_t committed;     /* first offset that is not committed                         */
    int64_t live_from;     /* what lies below was answered before                        */
    bool is_replaying;     /* next < live_from                                           */
    bool is_new;           /* the group has no position yet, and the topic has a past    */
    struct qn_buf records; /* qn_kafka_record_add, since the last commit                 */
    uint64_t *made;        /* [output_count + 1] of those records, by output; then dead letters */
    uint64_t *chains;      /* [output_count + 1] hash of all records since mark.since         */
    struct qn_shard_mark mark;     /* first, since, maker: as they will be committed; no hash */
    struct qn_shard_mark expected; /* what was committed at live_from; maker 0 = unknown  */
    bool has_chain;                /* chains began at mark.since                         */
    struct qn_buf headers, dead, scratch; /* of one record */
    struct qn_buf given;                  /* headers of the batch's messages */
    struct qn_shard_snapshots *snapshots;
    struct qn_shard_events *events; /* NULL: without a transcoder                         */
    struct qn_shard_merge *merge;   /* NULL: one stream, whose offsets are all those here */
    bool is_waiting, was_waiting;   /* for a schema, since no registry answers; was: told */
    int64_t end;        /* of the partition, to be reached behind what waits              */
    int32_t generation; /* of the group, when the partition came here */
    bool is_copy;       /* of a partition that another process has: nothing is written */
    struct qn_shard_saved saved;
};

/* A shard that knows nothing, of a partition that came with this generation of the group; connects
 * to nothing. QN_INVALID: the spec or a model is no longer what the service has. */
qn_status qn_shard_new(const struct qn_shard_options *opt, uint32_t partition, int32_t generation,
                       struct qn_shard **out, struct qn_err *err);
/* The same for a copy, which is parked once it is restored. */
qn_status qn_shard_new_copy(const struct qn_shard_options *opt, uint32_t partition,
                            struct qn_shard **out, struct qn_err *err);
void qn_shard_free(struct qn_shard *s); /* NULL is fine */

/* Where it begins. committed: the group's position, negative where it has none; mark: the text kept
 * with it; oldest: the first offset that the topic still has. Loads the newest snapshot that fits;
 * afterwards messages from s->next on are wanted. QN_NOT_FOUND: the topic no longer reaches back
 * far enough for an exact state, or a group without positions has snapshots, so that it had some.
 * Retriable: the bucket does not answer, and the same call may be made again. */
qn_status qn_shard_restore(struct qn_shard *s, int64_t committed, struct qn_str mark,
                           int64_t oldest, struct qn_err *err);

/* Takes a message of the one stream over; one that was seen is destroyed. */
qn_status qn_shard_push(struct qn_shard *s, rd_kafka_message_t *m, struct qn_err *err);
/* One whose place in the order is known goes to the pending ones, in any case over. */
qn_status qn_shard_put(struct qn_shard *s, rd_kafka_message_t *m, struct qn_err *err);
/* Stream and place in the shard's order of a pending message, which is its offset where there is
 * one stream. */
uint32_t qn_shard_stream(const struct qn_shard *s, uint32_t pending);
int64_t qn_shard_seq(const struct qn_shard *s, uint32_t pending);
/* Steps once over what is pending. QN_CORRUPT: a replay came to other answers. */
qn_status qn_shard_step(struct qn_shard *s, struct qn_err *err);
static inline bool qn_shard_is_busy(const struct qn_shard *s)
{
    return s->taken < s->count && !s->is_waiting;
}
/* A step came to a record whose schema no registry told; to be stepped again after a while. */
static inline bool qn_shard_is_waiting(const struct qn_shard *s)
{
    return s->is_waiting;
}
static inline void qn_shard_try_again(struct qn_shard *s)
{
    s->is_waiting = false;
}
/* True where there is something to commit. */
static inline bool qn_shard_has_news(const struct qn_shard *s)
{
    return !s->is_replaying && (s->next > s->committed || s->is_new || s->records.len > 0);
}
/* Of a row of the batch in hand: the key and the headers that its record came with. */
struct qn_str qn_shard_key(const struct qn_shard *s, uint32_t row);
struct qn_str qn_shard_headers(struct qn_shard *s, uint32_t row);
/* The mark that belongs to s->next. */
void qn_shard_mark_now(const struct qn_shard *s, char out[QN_SHARD_MARK_BYTES]);
/* All records up to s->next are with the brokers; and its position is committed, too. */
void qn_shard_written(struct qn_shard *s);
void qn_shard_committed(struct qn_shard *s);
/* Nothing but markers lies between next and that offset, behind what is pending. */
qn_status qn_shard_reach(struct qn_shard *s, int64_t offset, struct qn_err *err);
/* Keeps the state while the partition is somebody else's, and lets go of its folder; and the
 * reverse, when it came again with that generation of the group. */
void qn_shard_park(struct qn_shard *s);
qn_status qn_shard_unpark(struct qn_shard *s, int32_t generation, struct qn_err *err);
/* A state that stands at or behind a position of its group: what lies between was answered before,
 * and is to be replayed. *fits false: it is not of that history, and is of no use. QN_CORRUPT: it
 * stands there and has other answers than were committed. */
qn_status qn_shard_follow(struct qn_shard *s, int64_t committed, struct qn_str mark, bool *fits,
                          struct qn_err *err);
/* Steps a copy once, never beyond that position; *is_stepped false: nothing came of it now.
 * QN_CORRUPT as before. */
qn_status qn_shard_follow_step(struct qn_shard *s, bool *is_stepped, struct qn_err *err);
/* Forgets what was not stepped: it will come again. */
void qn_shard_drop_pending(struct qn_shard *s);

/* ---- snapshots (shard_snapshot.c) ------------------------------------------------------------*/

/* Opens the shard's folder for restoring and, where no other process has it, for saving; or the
 * bucket. Then looks what lies there; once more where it did not answer. */
qn_status qn_shard_snapshots_open(struct qn_shard *s, struct qn_err *err);
qn_status qn_shard_snapshots_begin(struct qn_shard *s, struct qn_err *err);
void qn_shard_snapshots_free(struct qn_shard *s);
void qn_shard_snapshots_park(struct qn_shard *s);
qn_status qn_shard_snapshots_unpark(struct qn_shard *s, struct qn_err *err);
/* What waits for a bucket gives up, for ever. Thread: any, while the shard is there. */
void qn_shard_snapshots_cancel(struct qn_shard *s);
/* The farthest position of all that lie there, of this log; negative: there is none. */
qn_status qn_shard_snapshots_past(struct qn_shard *s, int64_t *next, struct qn_err *err);
/* The newest that fits what is committed: sets next, chains and mark. */
qn_status qn_shard_snapshots_restore(struct qn_shard *s, int64_t oldest, bool *found,
                                     struct qn_err *err);
/* Between two bursts: begins one when it is due (is_now: at once), saves a part of it, publishes it
 * when its position is committed. True: call again soon. */
bool qn_shard_snapshot(struct qn_shard *s, bool is_now);
/* One is being taken. */
bool qn_shard_is_saving(struct qn_shard *s);
/* Records were stepped since the last one. */
bool qn_shard_has_unsaved(const struct qn_shard *s);

#endif
#endif
