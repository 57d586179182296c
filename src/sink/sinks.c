/* SPDX-License-Identifier: Apache-2.0
 * sinks.c - the one table of sinks, what all of them share, and the sink that needs no delivery.
 *
 * A new kind is a file sink_<kind>.c and a row here: the spec, `quern check`, docs/sinks.md and the
 * service take it from the table. Thread: const. */
#include "sink/sink_int.h"

qn_status qn_sink_none_check(const void *options, struct qn_err *err)
{
    return QN_OK;
}

qn_status qn_sink_none_flush(void *st, struct qn_err *err)
{
    return QN_OK;
}

/* ---- topic -----------------------------------------------------------------------------------*/

static qn_status topic_open(void *st, const struct qn_sink_boot *boot, const void *options,
                            struct qn_err *err)
{
    return QN_OK;
}

static qn_status topic_deliver(void *st, const struct qn_sink_batch *b,
                               struct qn_sink_result *result, struct qn_err *err)
{
    result->delivered = b->count;
    return QN_OK;
}

static void topic_close(void *st)
{
}

static const struct qn_option no_options[] = {{0}};

static const struct qn_sink_ops qn_sink_topic = {
    .name = "topic",
    .summary = "records stay in the log, in the topic of the output: `quern log --print`, "
               "`GET /v1/predictions`",
    .options = no_options,
    .options_bytes = 1,
    .state_bytes = 1,
    .flags = QN_SINK_IN_LOG,
    .check = qn_sink_none_check,
    .open = topic_open,
    .deliver = topic_deliver,
    .flush = qn_sink_none_flush,
    .close = topic_close,
};

/* ---- the table -------------------------------------------------------------------------------*/

const struct qn_sink_ops *const qn_sinks[] = {&qn_sink_topic, &qn_sink_file, &qn_sink_webhook,
                                              &qn_sink_kafka, NULL};

const struct qn_option qn_delivery_policy_options[] = {
    {.name = "attempts",
     .type = QN_OPT_INT,
     .fallback = "20",
     .min = 0,
     .max = 1000000,
     .since = "0.2",
     .help = "answers that do not take a record before it becomes a dead letter; 0 = never; a "
             "target that is down does not count",
     .offset = offsetof(struct qn_delivery_policy, attempts)},
    {.name = "retry_from",
     .type = QN_OPT_DURATION,
     .fallback = "200ms",
     .min = 1000,
     .max = 3600000000,
     .since = "0.2",
     .help = "longest wait after the first failure; it doubles with each one, and the wait is "
             "drawn evenly below it",
     .offset = offsetof(struct qn_delivery_policy, retry_from_us)},
    {.name = "retry_to",
     .type = QN_OPT_DURATION,
     .fallback = "30s",
     .min = 1000,
     .max = 3600000000,
     .since = "0.2",
     .help = "what that wait grows to",
     .offset = offsetof(struct qn_delivery_policy, retry_to_us)},
    {.name = "breaker_after",
     .type = QN_OPT_INT,
     .fallback = "5",
     .min = 0,
     .max = 1000000,
     .since = "0.2",
     .help = "failures in a row that open the breaker; 0 = it stays closed",
     .offset = offsetof(struct qn_delivery_policy, breaker_after)},
    {.name = "breaker_wait",
     .type = QN_OPT_DURATION,
     .fallback = "10s",
     .min = 1000,
     .max = 3600000000,
     .since = "0.2",
     .help = "how long the open breaker waits before one record tries again",
     .offset = offsetof(struct qn_delivery_policy, breaker_wait_us)},
    {.name = "start",
     .type = QN_OPT_ENUM,
     .choices = "oldest|newest",
     .fallback = "oldest",
     .since = "0.2",
     .help = "where a sink that is new begins in its topic",
     .offset = offsetof(struct qn_delivery_policy, start)},
    {0}};
