/* SPDX-License-Identifier: Apache-2.0
 * feed.h - where the records of a delivery come from, and where it is kept how far they got: a
 * topic of the local log, or the partitions of a topic in Kafka that are this process's share.
 *
 *   read ──► the delivery tries ──► settle (delivered) or dead (set aside) ──► commit
 *     ▲                                                                          │
 *     └────────── rewind: what was not committed comes again ◄───────────────────┘
 *
 * Records of one partition come in order and are settled in order. What commit made durable never
 * comes again; a dead letter is durable before the cursor is behind it, whatever fails. A kind is
 * one file: feed_local.c, feed_kafka.c. Thread: the delivery's, but for what says otherwise.
 * Memory: its own. */
#ifndef QN_SINK_FEED_H
#define QN_SINK_FEED_H

#include "base/clock.h"
#include "base/status.h"
#include "log/dead_letter.h"
#include "log/kafka_target.h"
#include "log/log_local.h"

struct qn_feed;

struct qn_feed_ops {
    /* The next records, at most max; those of before are forgotten. *count 0: none is there now. */
    qn_status (*read)(struct qn_feed *f, struct qn_log_record *records, uint32_t max,
                      uint32_t *count, struct qn_err *err);
    /* r, as it was read, reached the target, and all before it of its partition. */
    void (*settle)(struct qn_feed *f, const struct qn_log_record *r);
    /* r is to be a dead letter of the next commit, and is settled by that; what is missing in
     * letter is where it lies. QN_FULL: commit first. */
    qn_status (*dead)(struct qn_feed *f, const struct qn_log_record *r,
                      struct qn_dead_letter *letter, struct qn_err *err);
    /* Dead letters, then the cursor behind what is settled. */
    qn_status (*commit)(struct qn_feed *f, struct qn_err *err);
    /* What is not committed was never settled; or, after must_let_go, was never ours. */
    qn_status (*rewind)(struct qn_feed *f, struct qn_err *err);
    /* Looks after what changes by itself; to be called every serve_ns, does not wait for records.
     * *must_let_go: commit what is settled, then rewind; the rest is somebody else's. */
    qn_status (*serve)(struct qn_feed *f, bool *must_let_go, struct qn_err *err);
    /* Until there may be something to read, at most so long. */
    void (*wait)(struct qn_feed *f, int64_t ms);
    /* Records that are not settled, as far as is known; next: f->next at the last look. Thread:
     * any. */
    uint64_t (*lag)(struct qn_feed *f, uint64_t next);
    /* Whether all is settled that was there when this was asked first. */
    bool (*is_drained)(struct qn_feed *f);
    void (*free)(struct qn_feed *f);
};

/* What all kinds have; the delivery reads it. */
struct qn_feed {
    const struct qn_feed_ops *ops;
    const char *log_id; /* of the log: offsets of another one mean nothing                     */
    uint64_t next;      /* local: offset of the first record that is not settled; else 0       */
    bool has_news;      /* a commit would move the cursor                                      */
    bool is_stuck;      /* a commit failed: the same one comes before anything but serve       */
    uint32_t dead;      /* letters of the next commit                                          */
    int64_t serve_ns;   /* how long it may go without serve                                    */
};

/* Something that people should know. Thread: the delivery's. */
typedef void qn_feed_tell(void *arg, bool is_problem, const char *text);

/* A topic of the local log. The cursor has the sink's name; one that is new is made durable at
 * once, which blocks. */
struct qn_feed_local_options {
    struct qn_log *log;
    uint32_t topic, dead_topic;
    struct qn_str cursor;
    bool begins_newest; /* where the cursor is new: behind the newest record */
    qn_feed_tell *tell;
    void *arg;
};
qn_status qn_feed_local_new(const struct qn_feed_local_options *opt, struct qn_feed **out,
                            struct qn_err *err);

/* A topic in Kafka. Texts outlive the feed. */
struct qn_feed_kafka_options {
    const struct qn_kafka_target *target;
    const char *cluster;      /* its id                                                     */
    const char *group;        /* its positions are the cursor                               */
    const char *instance;     /* of the process in the group; NULL = none                   */
    const char *topic;        /* that is read                                               */
    const char *dead_topic;   /* where dead letters go: into the partition of the same ...  */
    uint32_t partitions;      /* ... number, where this, of `topic`, ...                    */
    uint32_t dead_partitions; /* ... is this                                                */
    bool begins_newest;       /* a partition without a position: behind the newest record   */
    const struct qn_clock *clock;
    bool (*must_stop)(void *arg); /* asked while a broker is waited for                         */
    qn_feed_tell *tell;
    void *arg; /* of both */
};
/* Joins the group; what comes of that shows in serve. QN_UNSUPPORTED without librdkafka. */
qn_status qn_feed_kafka_new(const struct qn_feed_kafka_options *opt, struct qn_feed **out,
                            struct qn_err *err);

#endif
