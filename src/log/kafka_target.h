/* SPDX-License-Identifier: Apache-2.0
 * kafka_target.h - a Kafka cluster as a spec names it, and whether this program can speak to one.
 *
 * Kafka is there where librdkafka was when the program was built (QN_WITH_KAFKA, meson.build);
 * elsewhere everything here says so. Whatever librdkafka calls a property may be set (TLS, SASL,
 * sizes) but for those that decide what is read twice or lost: they are ours. Thread: any; no
 * state. */
#ifndef QN_LOG_KAFKA_TARGET_H
#define QN_LOG_KAFKA_TARGET_H

#include "base/options.h"
#include "base/status.h"

/* Where and how: texts of the spec. */
struct qn_kafka_target {
    const char *brokers;            /* "a:9092,b:9092": the first that answers names the others */
    struct qn_option_list settings; /* "name=value", librdkafka's names; values may be secrets  */
};

/* QN_UNSUPPORTED where this program was built without librdkafka: says what to do. */
qn_status qn_kafka_available(struct qn_err *err);
/* "2.0.2", of the library that runs; NULL without one. */
const char *qn_kafka_version(void);
/* Looks at the texts without connecting. QN_INVALID with a sentence that quotes no value. */
qn_status qn_kafka_check(const struct qn_kafka_target *t, struct qn_err *err);

#endif
