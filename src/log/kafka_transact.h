/* SPDX-License-Identifier: Apache-2.0
 * kafka_transact.h - writes records and input positions in one Kafka transaction, and knows
 * afterwards whether it happened.
 *
 *   records of some shards ─► begin, produce, send offsets, commit ─► COMMITTED
 *                                                       │ refused ──► NOT_COMMITTED: once more
 *                                                       └ doubtful ─► DOUBTFUL: read positions back
 *
 * Two producers take turns, since the one that has just committed is still being finished by the
 * broker. Brokers and librdkafka up to now may let a commit that is late hit the *next* transaction
 * (KIP-890): whenever an error was reported, or a call took as long as a socket waits, between
 * begin and the end of commit or abort, the producer is made anew under the same id before anything
 * else is written: that raises its epoch, and what is late is refused. What is written borrows the
 * caller's bytes until the call is over. A plain one (is_plain) does the same without transactions:
 * records, then positions; what is not committed comes again, and readers see it twice. Empty
 * without librdkafka. Thread: one, that of the consumer. Memory: librdkafka's. */
#ifndef QN_LOG_KAFKA_TRANSACT_H
#define QN_LOG_KAFKA_TRANSACT_H

#include "log/kafka_client.h"

#ifdef QN_WITH_KAFKA

struct qn_kafka_transact; /* private */

struct qn_kafka_transact_options {
    const struct qn_kafka_target *target;
    const char *id;             /* of the transactions: ID.0 and ID.1; no other process's   */
    const char *const *topics;  /* where records go; they are there                         */
    const uint32_t *partitions; /* [topic_count] how many each has                          */
    uint32_t topic_count;
    uint32_t keyed_topics; /* the first ones, whose records go by their key (qn_kafka_record_add) */
    bool is_plain;         /* at least once: no transactions, one producer                    */
    bool is_unique;        /* no other process can have come to this id: fenced, it goes on   */
    uint32_t shards;       /* partitions of the topic that `home` speaks of                       */
    bool (*must_stop)(void *arg); /* asked about once a second while a broker is waited for   */
    /* Asked before a producer that was fenced is made anew, which would fence whoever did that:
     * whether another process has come in our place, in words, and has to have it. */
    bool (*is_replaced)(void *arg, struct qn_err *err);
    void *arg; /* of both */
};

/* Makes both producers known to the cluster; ends what earlier ones of this id left open. To be
 * called before anything is consumed. QN_INTERRUPTED; QN_DENIED; QN_IO after 30 s. */
qn_status qn_kafka_transact_new(const struct qn_kafka_transact_options *opt,
                                struct qn_kafka_transact **out, struct qn_err *err);
void qn_kafka_transact_free(struct qn_kafka_transact *t); /* NULL is fine */

/* The id of a process that has no name: whatever no other has. */
void qn_kafka_transaction_id(const char *group, uint64_t any, char *id, size_t size);
/* Ends what a process that is gone has left open under its id, as its own restart would. One that
 * is not gone loses the transaction it is in, and goes on with a new one. QN_IO: nobody answers. */
qn_status qn_kafka_end_transactions(const struct qn_kafka_target *target, const char *id,
                                    struct qn_err *err);

/* Appends one record to the records of a shard. key p NULL = none; headers as the log has them.
 * home: the partition of the event that it is about. It goes into the one of the same number where
 * the topic has as many; else, and in a topic that is keyed, where its key says, as the Java client
 * would choose; without a key to home modulo their count. */
void qn_kafka_record_add(struct qn_buf *records, uint32_t topic, uint32_t home, struct qn_str key,
                         struct qn_str headers, struct qn_str value);

/* What one shard has to write. Where its order is not that of one topic, the journal goes first:
 * without transactions it is there before any record leaves, and nobody else may have written there
 * meanwhile, which the offsets tell. */
struct qn_kafka_part {
    const struct qn_buf *records; /* qn_kafka_record_add; may be empty                           */
    uint32_t partition;           /* of the shard                                                */
    const char *const *topics;    /* [input_count] of the inputs                                 */
    const int64_t *next;          /* of each: the first offset that was not consumed             */
    uint32_t input_count;
    const char *mark;             /* kept with those offsets, a short text                       */
    const struct qn_buf *journal; /* records of the journal's topic; NULL or empty = none        */
    uint32_t journal_count;       /* how many                                                    */
    int64_t journal_expected;     /* plain: offset that the first one must get                   */
    int64_t journal_next;         /* out: behind the last one; negative = not written, or unknown */
};

enum qn_kafka_outcome {
    QN_KAFKA_COMMITTED,
    QN_KAFKA_NOT_COMMITTED, /* nothing of it will ever be seen: it may be written again          */
    QN_KAFKA_DOUBTFUL,      /* ask the cluster for the positions: all of it happened, or nothing */
    QN_KAFKA_OVERTAKEN /* plain: the journal was not written, or not where it was expected to be:
                          another process is at work, or a broker did not answer in time        */
};

/* Writes all parts at once, and sets their journal_next. consumer: of the group that consumed them;
 * a plain one may be given NULL, and leaves their positions for later. Other than QN_OK: no more
 * transactions can be had (told to stop; another process has this id; no right). With QN_OK and
 * another outcome than COMMITTED *err says why. */
qn_status qn_kafka_transact(struct qn_kafka_transact *t, struct qn_kafka_part *parts,
                            uint32_t count, rd_kafka_t *consumer, enum qn_kafka_outcome *outcome,
                            struct qn_err *err);

/* The generation of the group in which the consumer is a member now; negative: in none. */
int32_t qn_kafka_generation(rd_kafka_t *consumer);

struct qn_kafka_transact_stats {
    uint64_t commits, aborts, renewals; /* renewals: producers made anew after a doubt */
};
void qn_kafka_transact_stats(const struct qn_kafka_transact *t,
                             struct qn_kafka_transact_stats *out);

#endif
#endif
