/* SPDX-License-Identifier: Apache-2.0
 * delivery.h - brings the records of one output topic to one sink, in order, however long that
 * takes.
 *
 *   read topic ──► sink delivers ──► cursor moves (at most once a second, dead letters at once)
 *        ▲              │ target down: wait (exponential, full jitter), breaker
 *        └──────────────┘ record refused, or `attempts` used up: dead letter, go on behind it
 *
 * At least once: after a crash what was delivered since the cursor last moved comes again, with the
 * same ids and in the same order. In a local log the cursor holds the log, so nothing is lost
 * however long a target is down; a dead letter and the cursor behind it are one append. Where the
 * log lies in Kafka (feed_kafka.c) the cursor is the position of a group, whose members share the
 * partitions out. Scoring is never asked to wait. Thread: one of its own; the functions below from
 * any. Memory: bounded, about 1 MiB, and what librdkafka fetches ahead. */
#ifndef QN_SINK_DELIVERY_H
#define QN_SINK_DELIVERY_H

#include "sink/feed.h"
#include "sink/sink.h"

struct qn_delivery; /* private */

enum qn_breaker { QN_BREAKER_CLOSED, QN_BREAKER_HALF_OPEN, QN_BREAKER_OPEN };

enum qn_delivery_state {
    QN_DELIVERY_RUNNING, /* delivering, or waiting for records                                   */
    QN_DELIVERY_WAITING, /* for the target: the last try failed                                  */
    QN_DELIVERY_STOPPED, /* until the next start: the target said never again, or the log failed */
};
const char *qn_delivery_state_name(enum qn_delivery_state s); /* "running" */
const char *qn_breaker_name(enum qn_breaker b);               /* "half-open" */

/* What an observer may want to say aloud: changes of state, never one per record. text holds no
 * secrets. Called on the delivery's thread; must not block for long. */
typedef void qn_delivery_tell(void *arg, bool is_problem, const char *sink, const char *text);

struct qn_delivery_options {
    struct qn_log *log;  /* the cursor has the sink's name                           */
    uint32_t topic;      /* of the output                                            */
    uint32_t dead_topic; /* where records go that nobody will take                   */
    /* Instead of these three, where the log lies in Kafka: what is about its topics; the rest is
     * set by the delivery. Read by qn_delivery_start only. */
    const struct qn_feed_kafka_options *kafka;
    const struct qn_sink *sink;     /* outlives the delivery                                    */
    struct qn_str pipeline, output; /* outlive the delivery; "alerts"                           */
    const char *holds; /* what its records are: alert (it has a `when`), prediction or event */
    const struct qn_files *files;   /* NULL = qn_files_system                                   */
    const struct qn_clock *clock;   /* NULL = qn_clock_system                                   */
    const struct qn_random *random; /* NULL = qn_random_system                                  */
    qn_delivery_tell *tell;         /* NULL = silent                                            */
    void *tell_arg;
    bool is_threadless; /* qn_delivery_step is called by the owner: tests with a clock of their own
                         */
};

/* Finds or makes the cursor and starts the thread. The target is not asked yet: what it says shows
 * in the stats. Not for sinks with QN_SINK_IN_LOG. */
qn_status qn_delivery_start(const struct qn_delivery_options *opt, struct qn_delivery **out,
                            struct qn_err *err);
/* Delivers what the topic holds, as long as the target takes it and at most limit_ms; then breaks
 * off what is under way, moves the cursor, joins and frees. True when nothing was left. NULL is
 * fine. Call before the log is closed. */
bool qn_delivery_stop(struct qn_delivery *d, int64_t limit_ms);

struct qn_delivery_stats {
    enum qn_delivery_state state;
    enum qn_breaker breaker;
    uint64_t next;         /* offset of the first record that is not settled                      */
    uint64_t lag;          /* records not settled yet                                             */
    uint64_t delivered;    /* records, since start; like all that follow                          */
    uint64_t failed;       /* tries that failed                                                   */
    uint64_t dead;         /* records that became dead letters                                    */
    double last_seconds;   /* of the last try that was answered                               */
    double total_seconds;  /* of all tries                                                    */
    int64_t last_error_us; /* wall clock; 0 = none yet                                        */
    char last_error[256];  /* "" = none yet                                                   */
};
void qn_delivery_stats(struct qn_delivery *d, struct qn_delivery_stats *out);

/* True for a name that a cursor of a sink may have: NAME.KIND or NAME.KIND-2. What no sink of the
 * spec is called any more should be removed at a start, or it holds the log for ever. */
bool qn_delivery_is_cursor(struct qn_str name);

/* Threadless: does what can be done now. *wait_ns: when to come again at the latest, 0 = at once.
 */
void qn_delivery_step(struct qn_delivery *d, int64_t *wait_ns);

#endif
