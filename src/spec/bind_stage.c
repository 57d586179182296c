/* SPDX-License-Identifier: Apache-2.0
 * bind_stage.c - a pipeline on Kafka cut into stages by key.
 *
 *   orders (by customer) ─► stage customer ─► shop.terminal.rekey (by terminal) ─► stage terminal
 * ─► windows by customer      the events, and what                answers the windows said
 *
 * A partition is a shard, so windows see all events of their key only where the topic is
 * partitioned by it, or by some of its fields. The first stage reads the stream's topic, which
 * producers partition by the stream's `key`; windows by anything else come in a stage behind it,
 * one for each key that no other one covers. Order of the stages: that of the features in the
 * spec, so that the same spec is always cut in the same way. Part of binding, behind bind_kafka.c.
 * Thread: one. Memory: boot arena. */
#include "spec/spec_int.h"

#include "base/check.h"

#include <stdio.h>

enum { TOPIC_MAX = 249, NAME_MAX_BYTES = 200 };

static bool has_field(const uint32_t *fields, uint32_t count, uint32_t field)
{
    for (uint32_t i = 0; i < count; i++)
        if (fields[i] == field)
            return true;
    return false;
}

/* True if events that agree in `wide` agree in `narrow`, too. */
static bool covers(const uint32_t *narrow, uint32_t narrow_count, const uint32_t *wide,
                   uint32_t wide_count)
{
    for (uint32_t i = 0; i < narrow_count; i++)
        if (!has_field(wide, wide_count, narrow[i]))
            return false;
    return true;
}

static bool stage_covers(const struct qn_plan *p, uint32_t stage, uint32_t group)
{
    const struct qn_plan_stage *s = &p->kafka.stages[stage];

    return s->key_count > 0 &&
           covers(s->key, s->key_count, qn_features_key_fields(p->features, group),
                  qn_features_key_parts(p->features, group));
}

/* Of the groups that have no stage yet, one whose key is part of that group's, and no other's is
 * part of. */
static uint32_t narrowest(const struct qn_plan *p, uint32_t group)
{
    const struct qn_features *f = p->features;
    uint32_t best = group;

    for (uint32_t g = 0; g < qn_features_group_count(f); g++)
        if (p->kafka.group_stages[g] == QN_NO_STAGE &&
            qn_features_key_parts(f, g) < qn_features_key_parts(f, best) &&
            covers(qn_features_key_fields(f, g), qn_features_key_parts(f, g),
                   qn_features_key_fields(f, best), qn_features_key_parts(f, best)))
            best = g;
    return best;
}

/* The fields of the key joined by '-', as a topic's name may have them. */
static const char *stage_name(struct qn_builder *b, const uint32_t *key, uint32_t count)
{
    const struct qn_schema *s = &b->plan->schemas[b->plan->main_stream];
    char text[NAME_MAX_BYTES + 1];
    const char *copy;
    size_t n = 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct qn_str name = s->fields[key[i]].name;

        if (i > 0 && n < NAME_MAX_BYTES)
            text[n++] = '-';
        for (uint32_t k = 0; k < name.len && n < NAME_MAX_BYTES; k++) {
            const char c = name.p[k];
            const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                  (c >= '0' && c <= '9') || c == '_' || c == '.';

            text[n++] = is_plain ? c : '_';
        }
    }
    copy = qn_arena_strdup(b->bind.arena, text, n);
    b->bind.no_memory |= copy == NULL;
    return copy != NULL ? copy : "";
}

static const char *joined(struct qn_builder *b, const char *first, const char *second,
                          const char *third)
{
    struct qn_buf text = {0};
    const char *copy;

    qn_buf_printf(&text, "%s.%s%s", first, second, third);
    copy = text.failed ? NULL : qn_arena_strdup(b->bind.arena, text.data, text.len);
    qn_buf_fini(&text);
    b->bind.no_memory |= copy == NULL;
    return copy != NULL ? copy : "";
}

static void add_stage(struct qn_builder *b, const uint32_t *key, uint32_t key_count)
{
    struct qn_plan *p = b->plan;
    struct qn_plan_stage *s = &p->kafka.stages[p->kafka.stage_count++];

    s->key = key;
    s->key_count = key_count;
    s->name = stage_name(b, key, key_count);
    s->group = joined(b, p->kafka.group, s->name, "");
    s->topic = p->kafka.stream_topics[p->main_stream];
    if (p->kafka.stage_count > 1) /* by the group: another one begins anew, with other topics */
        s->topic = joined(b, p->kafka.group, s->name, ".rekey");
}

/* Everything in one stage, under the group's own name. */
static void one_stage(struct qn_builder *b)
{
    struct qn_plan_kafka *k = &b->plan->kafka;

    k->stage_count = 1;
    k->stages[0] = (struct qn_plan_stage){
        .name = "", .group = k->group, .topic = k->stream_topics[b->plan->main_stream]};
    for (uint32_t g = 0; g < qn_features_group_count(b->plan->features); g++)
        k->group_stages[g] = 0;
}

/* Groups into stages; those of the key first. */
static void cut(struct qn_builder *b, const uint32_t *key)
{
    struct qn_plan *p = b->plan;
    const uint32_t groups = qn_features_group_count(p->features);

    add_stage(b, key, 1);
    for (uint32_t g = 0; g < groups; g++)
        p->kafka.group_stages[g] = stage_covers(p, 0, g) ? 0 : QN_NO_STAGE;
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t n;

        if (p->kafka.group_stages[g] != QN_NO_STAGE)
            continue;
        n = narrowest(p, g);
        add_stage(b, qn_features_key_fields(p->features, n), qn_features_key_parts(p->features, n));
        for (uint32_t k = 0; k < groups; k++)
            if (p->kafka.group_stages[k] == QN_NO_STAGE &&
                stage_covers(p, p->kafka.stage_count - 1, k))
                p->kafka.group_stages[k] = p->kafka.stage_count - 1;
    }
}

/* Without the stream's key nobody knows by what the topic is partitioned: right as it is where one
 * key covers all. */
static void check_keyless(struct qn_builder *b, const struct qn_yaml_node *at)
{
    const struct qn_plan *p = b->plan;
    const struct qn_features *f = p->features;
    const uint32_t groups = qn_features_group_count(f);
    uint32_t g = 0, k = 0;

    for (; g < groups && k < groups; g++)
        for (k = 0; k < groups; k++)
            if (!covers(qn_features_key_fields(f, g), qn_features_key_parts(f, g),
                        qn_features_key_fields(f, k), qn_features_key_parts(f, k)))
                break;
    if (groups > 0 && k < groups)
        QN_REPORT(&b->bind, TYPE, at,
                  "add 'key', the field that producers partition the topic by; or kafka: {rekey: "
                  "false}: each partition for itself",
                  "features of '%.*s' are by several keys, and it does not say which one its topic "
                  "goes by",
                  QN_STR_ARG(p->schemas[p->main_stream].name));
}

/* Names that cannot be. */
static void check_stages(struct qn_builder *b, const struct qn_yaml_node *at)
{
    const struct qn_plan_kafka *k = &b->plan->kafka;

    for (uint32_t i = 0; i < k->stage_count; i++) {
        if (strlen(k->stages[i].topic) > TOPIC_MAX)
            QN_REPORT(&b->bind, TYPE, at, "a shorter name of the group, or kafka: {rekey: false}",
                      "'%s' is too long for the name of a topic", k->stages[i].topic);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(k->stages[i].name, k->stages[j].name) == 0)
                QN_REPORT(&b->bind, TYPE, at, "rename a field: {type: ..., from: ...}",
                          "two stages would be called '%s'", k->stages[i].name);
    }
}

qn_status qn_build_stages(struct qn_builder *b, const struct qn_yaml_node *at, bool may_rekey)
{
    struct qn_plan *p = b->plan;
    const struct qn_schema *main;
    uint32_t groups, *key;

    if (b->features_broken || b->main_broken || p->features == NULL)
        return QN_OK;
    main = &p->schemas[p->main_stream];
    groups = qn_features_group_count(p->features);
    key = QN_NEW_N(b->bind.arena, uint32_t, 1);
    p->kafka.stages = QN_NEW_N(b->bind.arena, struct qn_plan_stage, groups + 1);
    p->kafka.group_stages = QN_NEW_N(b->bind.arena, uint32_t, groups + 1);
    if (key == NULL || p->kafka.stages == NULL || p->kafka.group_stages == NULL)
        return qn_no_memory(b->err);
    if (main->key >= 0 && may_rekey) {
        key[0] = (uint32_t)main->key;
        cut(b, key);
        if (p->kafka.stage_count > 1)
            check_stages(b, at);
    } else if (may_rekey) {
        check_keyless(b, at);
    }
    if (p->kafka.stage_count <= 1)
        one_stage(b);
    return b->bind.no_memory ? qn_no_memory(b->err) : QN_OK;
}
