/* SPDX-License-Identifier: Apache-2.0
 * service_kafka_int.h - the inside of a service whose log lies in Kafka: what its loop, its part in
 * the group and its looks share.
 *
 * Files: service_kafka.c life, loop and commit; service_kafka_merge.c several streams of one shard;
 * service_kafka_group.c partitions that come and go; service_kafka_stage.c the stages of one
 * process; service_kafka_restore.c states on their way here; service_kafka_standby.c copies of
 * those of others; service_kafka_sinks.c where deliveries read; service_kafka_look.c metrics and
 * status. Thread: the engine's, but for what says otherwise. Memory: the service's arena. Empty
 * without librdkafka. */
#ifndef QN_ENGINE_SERVICE_KAFKA_INT_H
#define QN_ENGINE_SERVICE_KAFKA_INT_H

#include "engine/service_int.h"
#include "engine/shard.h"
#include "engine/shard_merge.h"
#include "log/kafka_transact.h"

#ifdef QN_WITH_KAFKA

/* What is told of a shard; under wait_lock. */
struct qn_shard_seen {
    bool is_ours, is_restoring, is_replaying, is_waiting;
    int64_t next, committed, end; /* end: of the partition, as far as known; sums of several */
};

/* Of one of several streams of a shard, likewise. */
struct qn_input_seen {
    int64_t next, committed, end;
};

struct qn_kafka_restore; /* private: service_kafka_restore.c */
struct qn_kafka_standby; /* private: service_kafka_standby.c */

/* A burst ends with the batch that brings so much in answers. */
#define QN_KAFKA_BURST_BYTES ((size_t)64 << 20)

/* One stage of the pipeline, which mostly has but one. Each has a thread, a consumer and a group of
 * its own; sv->kafka is the first of them that runs here, and what it says stands for the stream.
 */
struct qn_service_kafka {
    struct qn_service *sv;
    struct qn_service_kafka *next; /* that runs here, too */
    const struct qn_plan_stage *stage;
    uint32_t stage_index;
    bool is_first, is_last; /* of the plan's */
    pthread_t thread;       /* where it is not the first here */
    bool has_thread;
    _Atomic bool has_started;
    _Atomic uint64_t beats;
    struct qn_kafka_client consumer;
    struct qn_kafka_transact *transact; /* NULL until the thread has begun */
    struct qn_transcoder **transcoders; /* [input_count] of all shards; NULL = records are events */
    const char *input;         /* topic that it reads: of the stage, or of the main stream */
    const char *const *inputs; /* [input_count] topics of all streams; &input where one */
    uint32_t input_count;
    const char *journal;                /* topic; NULL where there is one input */
    const rd_kafka_topic_t *lane_topic; /* of the message before; and its lane */
    uint32_t lane;
    const char **topics;  /* [topic_count] of outputs, then of dead letters; journal */
    uint32_t homes;       /* partitions of the stream's topic */
    uint32_t *partitions; /* [topic_count] */
    uint32_t topic_count;
    char id[300];    /* of the transactions */
    uint64_t writer; /* the end of it, where no other process can have it; else 0 */
    uint64_t log_id;

    uint32_t shard_count;        /* partitions of the input */
    int64_t *ended_ns;           /* [shard_count] when nothing was left to read; 0 = there is */
    struct qn_shard **shards;    /* [shard_count] NULL = not here; one that is not ours is parked */
    bool *is_ours;               /* [shard_count] assigned to this process now */
    struct qn_kafka_part *parts; /* [shard_count] of the commit in hand */
    char (*marks)[QN_SHARD_MARK_BYTES]; /* [shard_count] */
    int64_t *nexts;                     /* [shard_count * input_count] */
    int64_t *ends; /* likewise: where they ended when they came; before anything was read */
    struct qn_buf *journals; /* [shard_count] of the commit in hand */
    uint32_t part_count;
    struct qn_kafka_restore *restore; /* NULL until the thread has begun */
    struct qn_kafka_standby *standby; /* NULL without copies             */
    int32_t generation;               /* of the group, when it last gave us partitions */

    bool is_assigned;   /* the group has said at least once what is ours        */
    bool is_assigning;  /* we ask what we must know of the partitions that came */
    bool is_committing; /* callbacks must not commit                            */
    bool is_leaving;
    bool is_writing;     /* what shards have is being written: they must stay as they are */
    bool is_in_callback; /* of the consumer, which must not be closed there               */
    bool must_join_anew; /* partitions came or went meanwhile                             */
    bool must_read_on;   /* records came meanwhile, and were not taken                    */
    bool is_fenced;      /* the consumer is of no use any more: another is the same instance */
    struct qn_kafka_fences fenced; /* how often that happened */
    qn_status rc;                  /* of a callback, for the loop */
    struct qn_err failure;
    uint32_t waiting;   /* messages pushed and not stepped */
    size_t fetched;     /* bytes taken since librdkafka's threads were last asked for something */
    int64_t due_ns;     /* when positions may be committed again */
    uint32_t held;      /* shards that wait for a schema   */
    bool is_stalled;    /* one waits for one of its streams */
    struct qn_err told; /* why a commit was refused, as last reported */

    uint64_t *written;      /* [topic_count] records committed by this process */
    struct qn_series **lag; /* [shard_count * input_count] NULL until ours for the first time */
    struct qn_series **group_lag; /* likewise */
    struct qn_shard_seen *seen;
    struct qn_input_seen *inputs_seen;    /* [shard_count * input_count] where there are several */
    struct qn_group_info *groups;         /* [groups] sums over the shards; under wait_lock */
    struct qn_engine_memory memory;       /* likewise, where it is not the first stage here */
    struct qn_shard_saved saved;          /* sums over the shards, likewise */
    int64_t unsaved_us;                   /* since when something waits to be saved; likewise */
    struct qn_kafka_transact_stats stats; /* under wait_lock */
    int64_t looked_ns;
    uint64_t troubles; /* of the consumer, when last looked at */
    int64_t troubled_ns;
};

static inline int64_t qn_kafka_now_ns(const struct qn_service_kafka *k)
{
    return k->sv->opt.clock->mono_ns(k->sv->opt.clock->st);
}

/* service_kafka.c */
/* Looks at the topics of one stage, and makes what runs on them. */
qn_status qn_kafka_stage_init(struct qn_service_kafka *k, struct qn_err *err);
/* The life of one stage on its thread. */
void qn_kafka_stage_run(struct qn_service_kafka *k);
/* The partitions of a topic; `what` and `name`: whose it is, for the error. */
qn_status qn_kafka_find_topic(struct qn_service_kafka *k, const char *topic, const char *what,
                              struct qn_str name, uint32_t *partitions, struct qn_err *err);
/* Likewise of a topic that is ours; made as wide as the stream's where the spec says so. */
qn_status qn_kafka_find_made(struct qn_service_kafka *k, const char *topic, const char *what,
                             struct qn_str name, uint32_t *partitions, struct qn_err *err);
/* Nothing more is fetched of a partition that must wait, and again when it goes on. What was
 * fetched and not taken comes again. */
void qn_kafka_hold(struct qn_service_kafka *k, const char *topic, uint32_t partition, bool is_held);
/* Steps over all that is pending. */
qn_status qn_kafka_step_all(struct qn_service_kafka *k, struct qn_err *err);
/* One try to commit what the shards that are ours have; parts that were committed are settled.
 * QN_OK with *is_done false: nothing of it is committed, and the reason is in k->told. */
qn_status qn_kafka_commit_once(struct qn_service_kafka *k, bool *is_done, struct qn_err *err);

/* The consumer will never read again, for that reason. QN_OK: with another one it may
 * (k->is_fenced). */
qn_status qn_kafka_broken(struct qn_service_kafka *k, rd_kafka_resp_err_t code, struct qn_err *err);
/* Opens the consumer and lets it be the one that is polled. */
qn_status qn_kafka_consume(struct qn_service_kafka *k, struct qn_err *err);

/* service_kafka_merge.c */
/* Several topics are read, and their order is kept in a journal: as wide as each other, all of
 * them. */
qn_status qn_kafka_merge_find(struct qn_service_kafka *k, struct qn_err *err);
/* Takes over a message of a shard with several streams: a record, or the end of a partition. */
qn_status qn_kafka_merge_take(struct qn_service_kafka *k, struct qn_shard *s, rd_kafka_message_t *m,
                              struct qn_err *err);
/* Steps as far as the order of the streams is known. */
qn_status qn_kafka_merge_step(struct qn_service_kafka *k, struct qn_shard *s, struct qn_err *err);

/* service_kafka_stage.c */
/* Before a commit: adds how far time has come, where the stage behind has to know. */
void qn_kafka_tell_time(struct qn_service_kafka *k);
/* The shard was read to its end. */
void qn_kafka_note_end(struct qn_service_kafka *k, uint32_t shard);
/* Starts the threads of the stages behind the first one here; waits until they have ended. */
qn_status qn_kafka_stages_start(struct qn_service *sv, struct qn_err *err);
void qn_kafka_stages_join(struct qn_service *sv);
/* The stages that run here, as opt.stage says. */
qn_status qn_kafka_stages_new(struct qn_service *sv, struct qn_err *err);
/* All that it has answers what is new: the service runs when all stages here do. */
void qn_kafka_stage_started(struct qn_service_kafka *k);

/* service_kafka_group.c */
void qn_kafka_rebalanced(rd_kafka_t *rk, rd_kafka_resp_err_t why,
                         rd_kafka_topic_partition_list_t *l, void *client);
/* Reads all that is here, each from where it stands; what was fetched ahead is fetched again. */
qn_status qn_kafka_read_on(struct qn_service_kafka *k, struct qn_err *err);
/* A consumer that reads no records, and hears the group's positions as the last transaction that
 * has ended left them: the one that reads what is committed waits for those that are open. */
qn_status qn_kafka_open_asker(struct qn_service_kafka *k, struct qn_kafka_client *asker,
                              struct qn_err *err);
/* Positions of the group for l, each with its text: waits until open transactions are decided;
 * those of processes that are gone are ended, where their marks say whose they were.
 * QN_INTERRUPTED: told to give up, or to stop while partitions are being assigned. */
qn_status qn_kafka_positions(struct qn_service_kafka *k, rd_kafka_topic_partition_list_t *l,
                             struct qn_err *err);
/* Where a partition begins and ends. librdkafka's own way to ask for both waits as long as a socket
 * does (60 s), whatever it is told. */
rd_kafka_resp_err_t qn_kafka_ends(rd_kafka_t *rk, const char *topic, uint32_t partition,
                                  int wait_ms, int64_t *oldest, int64_t *newest);
/* Throws all state away and joins the group anew: somebody else has written our positions. */
qn_status qn_kafka_join_anew(struct qn_service_kafka *k, struct qn_err *err);
/* The text beside a position; borrowed. */
struct qn_str qn_kafka_mark_of(const rd_kafka_topic_partition_t *at);
qn_status qn_kafka_subscribe(struct qn_service_kafka *k, struct qn_err *err);

/* service_kafka_restore.c */
qn_status qn_kafka_restore_start(struct qn_service_kafka *k, struct qn_err *err);
/* Forgets all and ends the thread. */
void qn_kafka_restore_stop(struct qn_service_kafka *k);
/* A state for the group's position and its text, of a partition that begins at `oldest`. place: of
 * several streams, whose sums the others are then; copied. */
void qn_kafka_restore_ask(struct qn_service_kafka *k, const rd_kafka_topic_partition_t *at,
                          int64_t oldest, const struct qn_shard_place *place);
/* Nothing that was asked for is wanted any more. */
void qn_kafka_restore_forget(struct qn_service_kafka *k);
bool qn_kafka_is_restoring(const struct qn_service_kafka *k);
/* Between two bursts: reads on with those that are ready. Not QN_OK: one cannot be. */
qn_status qn_kafka_restored(struct qn_service_kafka *k, struct qn_err *err);
/* The committed position of a partition that is being restored, or where it begins. */
int64_t qn_kafka_restore_position(const struct qn_service_kafka *k, uint32_t partition);
/* The same of one of several inputs. */
int64_t qn_kafka_restore_input(const struct qn_service_kafka *k, uint32_t partition,
                               uint32_t input);

/* Of every shard here. */
struct qn_shard_options qn_kafka_shard_options(const struct qn_service_kafka *k);

/* service_kafka_standby.c; all but the first: nothing without copies */
qn_status qn_kafka_standby_start(struct qn_service_kafka *k, struct qn_err *err);
/* Frees the copies; then all of it, when nobody asks for the status any more. */
void qn_kafka_standby_stop(struct qn_service_kafka *k);
void qn_kafka_standby_free(struct qn_service_kafka *k);
/* The copy of a partition that has come to us; NULL: there is none. */
struct qn_shard *qn_kafka_standby_take(struct qn_service_kafka *k, uint32_t partition);
/* A parked state that is another's now becomes a copy, or is freed. */
void qn_kafka_standby_offer(struct qn_service_kafka *k, struct qn_shard *shard);
/* k->is_ours has changed. */
void qn_kafka_standby_moved(struct qn_service_kafka *k);
void qn_kafka_standby_look(struct qn_service_kafka *k);
/* Appends ,"standby":[...]. */
void qn_kafka_standby_status(const struct qn_service_kafka *k, struct qn_buf *b);

/* service_kafka_look.c */
qn_status qn_kafka_look_init(struct qn_service_kafka *k, struct qn_err *err);
/* About once a second. */
void qn_kafka_look(struct qn_service_kafka *k);

#endif
#endif
