/* SPDX-License-Identifier: Apache-2.0
 * deploy_part.c - what has pods of its own: a pipeline, or each stage of one on Kafka; how it is
 * called, and the memory that a pod of it takes.
 *
 * A stage has a group, a lag and a state of its own, so it is scaled and sized by itself, unless
 * --stages=together says otherwise. Sizes are estimates that the manifest tells in its comments:
 * keys and load are options, bytes per key and event are those of `quern check`. Memory counts the
 * state as docs/limits.md says (a quarter for the tables' unused room, up to 256 MiB for a snapshot
 * being written), models once per shard, and what a process has anyway. Thread: main. Memory: the
 * command's arena. */
#include "cli/deploy.h"

#include "feature/window.h"
#include "state/table.h"

#include <stdio.h>

#define MIB ((uint64_t)1 << 20)

enum {
    PARTITIONS_GUESS = 16, /* where nobody says how many there are   */
    MODEL_FACTOR = 4,      /* memory of a model to bytes of its file */
    COMPONENT_BYTES = 40
};

/* ---- names -----------------------------------------------------------------------------------*/

static bool is_taken(const struct qn_deploy *d, const char *component, uint32_t before)
{
    for (uint32_t i = 0; i < before; i++)
        if (strcmp(d->parts[i].component, component) == 0)
            return true;
    return false;
}

/* The name of a stage with what names in Kubernetes may have; its number where that says nothing,
 * or what another one's says. */
static const char *component_of(struct qn_deploy *d, uint32_t stage)
{
    const char *name = d->plan->kafka.stages[stage].name;
    char text[COMPONENT_BYTES + 1];
    size_t n = 0;

    for (; *name != '\0' && n < COMPONENT_BYTES; name++) {
        const char c = *name >= 'A' && *name <= 'Z' ? (char)(*name + 32) : *name;

        text[n++] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
    }
    while (n > 0 && text[n - 1] == '-')
        n--;
    text[n] = '\0';
    if (*name != '\0' || !qn_deploy_is_label(text, COMPONENT_BYTES) || is_taken(d, text, stage))
        n = (size_t)snprintf(text, sizeof text, "stage-%u", stage + 1);
    return qn_arena_strdup(&d->cli->arena, text, n);
}

static qn_status name_part(struct qn_deploy *d, uint32_t stage, struct qn_err *err)
{
    struct qn_deploy_part *part = &d->parts[stage];
    char name[QN_DEPLOY_NAME_BYTES + COMPONENT_BYTES + 2];

    part->component = component_of(d, stage);
    if (part->component == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the manifests");
    snprintf(name, sizeof name, "%s-%s", d->name, part->component);
    if (strlen(name) > QN_DEPLOY_NAME_BYTES || is_taken(d, part->component, stage))
        return qn_err_set(err, QN_INVALID,
                          "'%s' cannot be the name of a stage's objects in Kubernetes (at most %d "
                          "letters, and each its own): a shorter --name, or --stages together",
                          name, QN_DEPLOY_NAME_BYTES);
    part->name = qn_arena_strdup(&d->cli->arena, name, strlen(name));
    return part->name != NULL ? QN_OK
                              : qn_err_set(err, QN_NOMEM, "out of memory for the manifests");
}

/* ---- sizes -----------------------------------------------------------------------------------*/

uint64_t qn_deploy_round_up(double bytes, uint64_t unit)
{
    return ((uint64_t)(bytes / (double)unit) + 1) * unit;
}

static bool has_stage(const struct qn_deploy_part *part, uint32_t stage)
{
    return stage >= part->stage && stage - part->stage < part->stage_count;
}

/* shards: the partitions that a pod may have. */
static double state_bytes(const struct qn_deploy *d, const struct qn_deploy_part *part,
                          double shards)
{
    const double keys = (double)d->opt->keys, load = (double)d->opt->load;
    double bytes = 0;

    if (d->plan->limits.memory_bytes > 0)
        return shards * (double)d->plan->limits.memory_bytes;
    for (uint32_t i = 0; i < qn_features_group_count(d->plan->features); i++) {
        const struct qn_group_info g = qn_features_group(d->plan->features, i);

        if (d->is_kafka && !has_stage(part, d->plan->kafka.group_stages[i]))
            continue;
        bytes += keys * (double)g.key_bytes;
        if (g.keeps_us != QN_OVER_ALL)
            bytes += load * ((double)g.keeps_us / 1e6) * g.event_bytes;
    }
    for (uint32_t i = 0; has_stage(part, 0) && i < d->plan->schema_count; i++)
        bytes += load * ((double)d->plan->schemas[i].dedup_us / 1e6) *
                 (double)qn_table_key_bytes(QN_DEDUP_BYTES, 0);
    return bytes;
}

static void size_part(const struct qn_deploy *d, struct qn_deploy_part *part)
{
    const double shards =
        (double)part->stage_count * (!d->is_kafka             ? 1
                                     : d->opt->partitions > 0 ? (double)d->opt->partitions
                                                              : PARTITIONS_GUESS);
    const double state = state_bytes(d, part, shards);
    const double snapshot = state / 2 < 256.0 * (double)MIB ? state / 2 : 256.0 * (double)MIB;
    const double process = (double)(d->is_kafka ? 256 * MIB : 128 * MIB);
    const double shard = (double)(16 * MIB) * (double)d->opt->threads;

    part->state_bytes = (uint64_t)state;
    part->memory_bytes =
        qn_deploy_round_up(1.25 * (1 + d->plan->kafka.standby) * state + snapshot + process +
                               shards * (shard + MODEL_FACTOR * (double)d->model_bytes),
                           64 * MIB);
}

uint64_t qn_deploy_state_bytes(const struct qn_deploy *d)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < d->part_count; i++)
        bytes += d->parts[i].state_bytes;
    return bytes;
}

/* ---- the whole -------------------------------------------------------------------------------*/

qn_status qn_deploy_parts(struct qn_deploy *d, struct qn_err *err)
{
    const uint32_t stages = d->is_kafka ? d->plan->kafka.stage_count : 1;
    const bool is_apart = stages > 1 && d->opt->stages == QN_DEPLOY_APART;

    d->part_count = is_apart ? stages : 1;
    d->parts = QN_NEW_N(&d->cli->arena, struct qn_deploy_part, d->part_count);
    if (d->parts == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the manifests");
    for (uint32_t i = 0; i < d->part_count; i++) {
        d->parts[i].stage = i;
        d->parts[i].stage_count = is_apart ? 1 : stages;
        if (is_apart)
            QN_TRY(name_part(d, i, err));
        else
            d->parts[i].name = d->name;
        size_part(d, &d->parts[i]);
    }
    return QN_OK;
}
