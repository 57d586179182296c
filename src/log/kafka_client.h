/* SPDX-License-Identifier: Apache-2.0
 * kafka_client.h - what everything that speaks Kafka shares: a client of librdkafka with checked
 * settings, topics, headers, and words for what goes wrong.
 *
 * Empty where the program is built without librdkafka. Its log is not printed; what it reports as
 * an error is kept as the client's trouble, for whoever has to say why nothing comes. Thread: a
 * client belongs to the thread that polls it. Memory: librdkafka's own heap. */
#ifndef QN_LOG_KAFKA_CLIENT_H
#define QN_LOG_KAFKA_CLIENT_H

#include "base/buffer.h"
#include "base/text.h"
#include "log/kafka_target.h"

#ifdef QN_WITH_KAFKA

#include <librdkafka/rdkafka.h>

/* A client, in the owner's memory; it must not move while it is open. */
struct qn_kafka_client {
    rd_kafka_t *rk;    /* NULL = closed                                                    */
    void *arg;         /* the owner's, for its callbacks, whose opaque is the client       */
    bool is_consuming; /* the owner has called rd_kafka_poll_set_consumer: only it polls   */
    bool is_hasty;     /* the owner believes at once that a topic is not there             */
    bool is_hopeless;  /* all brokers were down at once, or one did not let us in          */
    uint64_t troubles; /* errors reported since it was opened: brokers lost, refused, slow */
    char trouble[256]; /* the last one, in librdkafka's words                              */
};

struct qn_kafka_client_options {
    const struct qn_kafka_target *target;
    rd_kafka_type_t type;
    /* name, value, name, value, NULL: what the user's settings may change, and what not */
    const char *const *defaults, *const *own;
    void (*delivered)(rd_kafka_t *rk, const rd_kafka_message_t *m, void *client); /* may be NULL */
    void (*rebalanced)(rd_kafka_t *rk, rd_kafka_resp_err_t why, rd_kafka_topic_partition_list_t *l,
                       void *client); /* may be NULL */
};

/* Of `own`, for whoever reads a topic and keeps its positions itself: what is committed, up to
 * where it ends now; a record that is gone is an error, never a jump. */
#define QN_KAFKA_READER                                                                            \
    "enable.auto.commit", "false", "enable.auto.offset.store", "false", "isolation.level",         \
        "read_committed", "auto.offset.reset", "error", "enable.partition.eof", "true",            \
        "check.crcs", "true"

/* Puts the settings of a target into conf; kafka_target.c. */
qn_status qn_kafka_set(rd_kafka_conf_t *conf, const struct qn_kafka_target *t, struct qn_err *err);

/* Makes a client; connecting goes on behind it. */
qn_status qn_kafka_open(struct qn_kafka_client *c, const struct qn_kafka_client_options *opt,
                        struct qn_err *err);
/* Does not wait: what a producer has not sent is dropped, a consumer leaves no group. {0} is fine.
 */
void qn_kafka_close(struct qn_kafka_client *c);

/* Asks the brokers for a topic. *partitions: at least 1. QN_NOT_FOUND, after two seconds, names the
 * nearest topic; QN_IO: nobody answered within 10 s (3 s where none of them can be reached), with
 * the last trouble; QN_DENIED; QN_INTERRUPTED as soon as must_stop says so (asked every second; may
 * be NULL). */
qn_status qn_kafka_topic(struct qn_kafka_client *c, const char *topic, uint32_t *partitions,
                         bool (*must_stop)(void *arg), void *arg, struct qn_err *err);

/* Makes a topic, replicated as the brokers do by default. QN_OK also where somebody else has just
 * made it; QN_DENIED; QN_IO. Not while the owner consumes. */
qn_status qn_kafka_topic_make(struct qn_kafka_client *c, const char *topic, uint32_t partitions,
                              struct qn_err *err);

/* Reads those partitions, each from its offset; NULL: none. Back when librdkafka's threads have
 * taken it in: up to 2.0 it forgets to fetch, or aborts, where another assignment, a pause or a
 * resume overtakes the end of the one before (its issue 2190). */
rd_kafka_resp_err_t qn_kafka_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *l);

/* How often somebody has put us out of what is ours alone, and when first of them; {0}. */
struct qn_kafka_fences {
    uint32_t count;
    int64_t first_ns;
};
/* Once more. True: for the third time within a minute, which no lost answer and no transaction that
 * ran out explains any more: another process has our name. */
bool qn_kafka_fenced_again(struct qn_kafka_fences *f, int64_t now_ns);

/* "what: librdkafka's words (the last trouble)", with the code that fits. */
qn_status qn_kafka_failed(struct qn_err *err, const struct qn_kafka_client *c,
                          rd_kafka_resp_err_t code, const char *what);

/* A message's headers as the log keeps them; appended to out. */
void qn_kafka_headers_read(const rd_kafka_message_t *m, struct qn_buf *out);
/* The reverse: NULL where there are none. Given to a produce that succeeds, else destroyed. */
rd_kafka_headers_t *qn_kafka_headers_make(struct qn_str headers);

#endif
#endif
