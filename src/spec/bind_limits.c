/* SPDX-License-Identifier: Apache-2.0
 * bind_limits.c - `limits:`: what may grow how far.
 *
 * Part of binding (bind.c), behind features and streams, which say what one key takes, and models,
 * of which one may learn. The memory is part of the spec's version, since it decides which events
 * are taken; the wait is not, since it decides before there is a log. Thread: one. Memory: boot
 * arena. */
#include "model/half_space.h"
#include "score/learner.h"
#include "spec/spec_int.h"
#include "state/budget.h"
#include "state/table.h"

/* Bytes of a key of every group with one event, and of an id of every stream. */
static uint64_t smallest(const struct qn_plan *p)
{
    double bytes = 0;

    for (uint32_t i = 0; i < qn_features_group_count(p->features); i++) {
        const struct qn_group_info g = qn_features_group(p->features, i);

        bytes += (double)g.key_bytes + g.event_bytes;
    }
    for (uint32_t s = 0; s < p->schema_count; s++)
        if (p->schemas[s].dedup_us > 0)
            bytes += (double)qn_table_key_bytes(QN_DEDUP_BYTES, 0);
    return (uint64_t)bytes + 1;
}

/* What the model that scores learns in, all of it at boot. */
static uint64_t held(const struct qn_plan *p)
{
    const struct qn_model *m = p->score_model >= 0 ? p->models[p->score_model].model : NULL;

    return m != NULL && qn_model_half_space(m) != NULL ? qn_learner_state_bytes(m) : 0;
}

static void refuse_memory(struct qn_builder *b, const struct qn_yaml_node *memory, uint64_t least)
{
    const unsigned long long held_bytes = b->plan->limits.held_bytes;
    char found[QN_SHOW_BYTES];

    if (held_bytes == 0)
        QN_REPORT(&b->bind, RANGE, memory, NULL,
                  "%s holds not even one key of each group of windows: that takes %llu bytes, and "
                  "new keys may take seven eighths of 'memory'",
                  qn_show(memory, found), (unsigned long long)least);
    else
        QN_REPORT(
            &b->bind, RANGE, memory, "a smaller 'window' or fewer 'trees' take less",
            "%s holds not even the half-space trees' windows, %llu bytes, and one key of each "
            "group of windows: together %llu bytes, and all that may take seven eighths of "
            "'memory'",
            qn_show(memory, found), held_bytes, (unsigned long long)least);
}

qn_status qn_build_limits(struct qn_builder *b)
{
    const struct qn_slot *limits = &b->top[KEY_LIMITS];
    struct qn_slot s[LIMITS_LAST + 1] = {0};
    struct qn_plan *p = b->plan;
    uint64_t least;

    if (limits->is_set && limits->value->kind == QN_YAML_MAP)
        (void)qn_bind(&b->bind, limits->key, limits->value, &qn_keys_limits, s);
    p->limits.wait_us = s[LIMITS_WAIT].is_set ? s[LIMITS_WAIT].i64 : 0;
    if (!s[LIMITS_MEMORY].is_set || p->features == NULL)
        return QN_OK;
    p->limits.memory_bytes = (uint64_t)s[LIMITS_MEMORY].i64;
    qn_features_counted(p->features);
    p->limits.held_bytes = held(p);
    least = p->limits.held_bytes + smallest(p);
    if (least > qn_budget_new_keys_limit(p->limits.memory_bytes))
        refuse_memory(b, s[LIMITS_MEMORY].value, least);
    return QN_OK;
}
