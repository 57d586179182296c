/* SPDX-License-Identifier: Apache-2.0
 * service_kafka_sinks.c - where the deliveries of a pipeline whose log lies in Kafka read: the
 * topic of the output, with a group of their own.
 *
 *   last stage ─► topic of the output ─► group GROUP.OUTPUT.KIND ─► delivery in each process that
 *                                                                   runs the last stage
 *
 * Thread: the owner's, while starting. Memory: the service's arena. */
#include "engine/service_kafka_int.h"

#ifndef QN_WITH_KAFKA

qn_status qn_service_kafka_feed(struct qn_service *sv, uint32_t output, struct qn_str cursor,
                                struct qn_feed_kafka_options *out, bool *is_here,
                                struct qn_err *err)
{
    return qn_kafka_available(err);
}

#else

#include <stdio.h>

enum { CLUSTER_MS = 10000 };

static const char *group_of(struct qn_service *sv, struct qn_str cursor)
{
    struct qn_buf name = {0};
    const char *copy = NULL;

    qn_buf_printf(&name, "%s.%.*s", sv->plan->kafka.group, QN_STR_ARG(cursor));
    if (!name.failed)
        copy = qn_arena_strdup(&sv->arena, name.data, name.len);
    qn_buf_fini(&name);
    return copy;
}

/* The consumer knows it since its stage looked for topics. */
static const char *cluster_of(struct qn_service_kafka *k)
{
    char *id = rd_kafka_clusterid(k->consumer.rk, CLUSTER_MS);
    const char *copy = id != NULL ? qn_arena_strdup(&k->sv->arena, id, strlen(id)) : NULL;

    if (id != NULL)
        rd_kafka_mem_free(k->consumer.rk, id);
    return copy;
}

qn_status qn_service_kafka_feed(struct qn_service *sv, uint32_t output, struct qn_str cursor,
                                struct qn_feed_kafka_options *out, bool *is_here,
                                struct qn_err *err)
{
    const struct qn_plan_kafka *p = &sv->plan->kafka;
    struct qn_service_kafka *k = sv->kafka;

    while (k != NULL && !k->is_last)
        k = k->next;
    *is_here = k != NULL;
    if (k == NULL)
        return QN_OK;
    *out = (struct qn_feed_kafka_options){.target = &p->target,
                                          .cluster = cluster_of(k),
                                          .group = group_of(sv, cursor),
                                          .instance = p->instance,
                                          .topic = p->output_topics[output],
                                          .dead_topic = p->dead_topic,
                                          .partitions = k->partitions[output],
                                          .dead_partitions = k->partitions[sv->plan->output_count]};
    return out->cluster != NULL && out->group != NULL
               ? QN_OK
               : qn_err_set(err, QN_NOMEM, "out of memory for a delivery from Kafka");
}

#endif
