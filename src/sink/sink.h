/* SPDX-License-Identifier: Apache-2.0
 * sink.h - what a sink is: how records of an output reach another system. A new one is one file
 * and one row of qn_sinks.
 *
 *   output topic of the log ──► delivery (delivery.h: cursor, retries, breaker) ──► sink ──► target
 *
 * A sink is a constant type (struct qn_sink_ops) and instances of it (struct qn_sink: the type, a
 * name, options). It is handed records in the order of the log and says how far it got; when to try
 * again, and when a record becomes a dead letter, is decided by its delivery. Options have one
 * table, from which the spec is read and checked and docs/sinks.md is written. Thread: an open
 * instance belongs to its delivery. */
#ifndef QN_SINK_SINK_H
#define QN_SINK_SINK_H

#include "base/clock.h"
#include "base/file.h"
#include "base/options.h"
#include "base/status.h"
#include "log/log_local.h"

/* What became of the record a call to deliver ended at. */
enum qn_answer {
    QN_DELIVERED, /* there was none: all records reached the target                            */
    QN_UNTRIED,   /* not sent: enough for one call, or the target was not reached (the status says
                     why)                                                                       */
    QN_RETRY,     /* the target answered and did not take it; it may later                     */
    QN_REFUSED    /* the target, or the sink itself, will never take this record               */
};

/* Of one call to deliver, {0} before it: the first `delivered` records reached the target; `answer`
 * is of the one behind them; what follows that one was not tried, so the order holds. */
struct qn_sink_result {
    uint32_t delivered;
    enum qn_answer answer;
    int64_t retry_after_us; /* what the target asked for, 0 = nothing            */
    char text[256];         /* RETRY, REFUSED: why, for people; holds no secrets */
};

/* Records of one output, oldest first. */
struct qn_sink_batch {
    const struct qn_log_record *records;
    uint32_t count; /* at least 1 */
};

/* What an instance is told when it is opened; all of it outlives the instance. */
struct qn_sink_boot {
    const struct qn_files *files;
    const struct qn_clock *clock;
    const struct qn_random *random;
    struct qn_str pipeline; /* name of the spec                                              */
    struct qn_str output;   /* "alerts"                                                      */
    struct qn_str sink;     /* name of the instance: "alerts.file"                           */
    const char *log_id;     /* of the log: offsets of another one mean nothing               */
    const char *holds;      /* what its records are: alert (it has a `when`), prediction or event */
    uint64_t offset;        /* of the first record that will be delivered; QN_SINK_LOCAL      */
    /* Where the log lies in Kafka, its cluster's id and the topic that is read; else NULL. */
    const char *kafka_cluster, *kafka_topic;
    bool (*must_stop)(void *arg); /* asked while waiting for a target, at least 5 times a second */
    void *must_stop_arg;
};

enum qn_sink_flag {
    QN_SINK_IN_LOG = 1, /* records stay in the log: there is nothing to deliver                */
    QN_SINK_LOCAL = 2   /* counts on the one order of a local log's topic: refused with others */
};

/* A kind of sink. No function is NULL: qn_sink_none_* do nothing. */
struct qn_sink_ops {
    const char *name, *summary;
    const struct qn_option *options;   /* ended by a row without a name; the first row may stand for
                                          all: {webhook: URL}                                     */
    size_t options_bytes, state_bytes; /* of the options struct; of an instance, zeroed */
    uint32_t flags; /* enum qn_sink_flag                                        */
    /* Looks at the options as a whole when the spec is checked. QN_INVALID with a sentence. */
    qn_status (*check)(const void *options, struct qn_err *err);
    /* An error of open is retried like one of deliver; options outlive the instance. */
    qn_status (*open)(void *st, const struct qn_sink_boot *boot, const void *options,
                      struct qn_err *err);
    /* Delivers in order and stops at the first record that was not taken. QN_OK: the target
     * answered, see *result. Otherwise it could not be asked (result->delivered counts all the
     * same): tried again later, however often that takes; never again when err->fatal. */
    qn_status (*deliver)(void *st, const struct qn_sink_batch *b, struct qn_sink_result *result,
                         struct qn_err *err);
    /* Makes what was delivered durable; called before the cursor moves over it, and about once a
     * second while nothing comes. After an error all records since the last flush come again,
     * after close and open. */
    qn_status (*flush)(void *st, struct qn_err *err);
    void (*close)(void *st); /* also after an open that failed */
};

/* How a delivery tries, waits and gives up: options that every sink has. */
struct qn_delivery_policy {
    int64_t attempts;      /* answers that refuse one record before it is a dead letter; 0 = any  */
    int64_t retry_from_us; /* longest wait after the first failure; doubles up to retry_to_us     */
    int64_t retry_to_us;
    int64_t breaker_after; /* failures in a row that open the breaker                             */
    int64_t breaker_wait_us; /* how long it stays open before one record tries again              */
    int start;               /* 0 = at the oldest record of the topic, 1 = behind the newest      */
};
extern const struct qn_option qn_delivery_policy_options[];

/* An instance as the spec names it. */
struct qn_sink {
    const struct qn_sink_ops *ops;
    struct qn_str name;  /* "alerts.webhook"; a second one of an output: "alerts.webhook-2"       */
    const void *options; /* as ops->options describe                                             */
    struct qn_delivery_policy policy;
    struct qn_str shown; /* its options for people; secrets not filled in                        */
};

/* All kinds, NULL-ended, in the order of the reference page; sinks.c. */
extern const struct qn_sink_ops *const qn_sinks[];

qn_status qn_sink_none_check(const void *options, struct qn_err *err);
qn_status qn_sink_none_flush(void *st, struct qn_err *err);

#endif
