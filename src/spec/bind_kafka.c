/* SPDX-License-Identifier: Apache-2.0
 * bind_kafka.c - `log: kafka:` and `kafka:`: where the log lies in a cluster, and which topics it
 * is.
 *
 * Part of binding (bind.c), after streams and outputs, whose topics are named here. Nothing of it
 * changes an answer, so none of it is part of the spec's version. What a log in Kafka does not do
 * yet is refused here by name. Thread: one. Memory: boot arena. */
#include "spec/spec_int.h"

#include <stdio.h>

enum { PREFIX_BYTES = 6, TOPIC_MAX = 249, NAMES_MAX = 96 };
#define COMMIT_DEFAULT_US INT64_C(10000)
#define PLAIN_DEFAULT_US  INT64_C(100000)

static bool is_kafka(const struct qn_slot *log)
{
    return log->is_set && log->value->text.len > PREFIX_BYTES &&
           memcmp(log->value->text.p, "kafka:", PREFIX_BYTES) == 0;
}

static const char *copy(struct qn_builder *b, const char *p, size_t bytes)
{
    const char *text = qn_arena_strdup(b->bind.arena, p, bytes);

    b->bind.no_memory |= text == NULL;
    return text != NULL ? text : "";
}

/* A text that C may have. */
static const char *text_of(struct qn_builder *b, const struct qn_yaml_node *n, const char *what)
{
    if (n->text.len == 0 || memchr(n->text.p, '\0', n->text.len) != NULL) {
        QN_REPORT(&b->bind, TYPE, n, NULL, "%s cannot be empty or hold a zero byte", what);
        return "";
    }
    return copy(b, n->text.p, n->text.len);
}

/* ---- topics ----------------------------------------------------------------------------------*/

/* Kafka's rule: letters, digits, '.', '_' and '-', at most 249 of them. */
static bool is_topic(struct qn_str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        if (s.p[i] == '\0' ||
            strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", s.p[i]) ==
                NULL)
            return false;
    return s.len > 0 && s.len <= TOPIC_MAX && !qn_str_is(s, ".") && !qn_str_is(s, "..");
}

/* PIPELINE.NAME */
static const char *default_topic(struct qn_builder *b, struct qn_str name)
{
    char text[2 * TOPIC_MAX];

    snprintf(text, sizeof(text), "%.*s.%.*s", QN_STR_ARG(b->plan->name), QN_STR_ARG(name));
    return copy(b, text, strlen(text));
}

static qn_status name_topics(struct qn_builder *b)
{
    struct qn_plan *p = b->plan;

    p->kafka.stream_topics = QN_NEW_N(b->bind.arena, const char *, p->schema_count + 1);
    p->kafka.output_topics = QN_NEW_N(b->bind.arena, const char *, p->output_count + 1);
    if (p->kafka.stream_topics == NULL || p->kafka.output_topics == NULL)
        return qn_no_memory(b->err);
    for (uint32_t s = 0; s < p->schema_count; s++)
        p->kafka.stream_topics[s] = copy(b, p->schemas[s].name.p, p->schemas[s].name.len);
    for (uint32_t o = 0; o < p->output_count; o++)
        p->kafka.output_topics[o] = default_topic(b, p->outputs[o].name);
    p->kafka.dead_topic = default_topic(b, qn_str_of("dead"));
    if (p->schema_count > 1)
        p->kafka.journal_topic = default_topic(b, qn_str_of("journal"));
    return QN_OK;
}

/* Where the topic of that name is kept; NULL and a report where there is none. */
static const char **find_topic(struct qn_builder *b, const struct qn_yaml_node *name)
{
    struct qn_plan *p = b->plan;
    struct qn_str names[NAMES_MAX];
    uint32_t count = 0;

    for (uint32_t s = 0; s < p->schema_count; s++) {
        if (qn_str_eq(name->text, p->schemas[s].name))
            return &p->kafka.stream_topics[s];
        if (count < NAMES_MAX)
            names[count++] = p->schemas[s].name;
    }
    for (uint32_t o = 0; o < p->output_count; o++) {
        if (qn_str_eq(name->text, p->outputs[o].name))
            return &p->kafka.output_topics[o];
        if (count < NAMES_MAX)
            names[count++] = p->outputs[o].name;
    }
    if (qn_str_is(name->text, "dead"))
        return &p->kafka.dead_topic;
    if (qn_str_is(name->text, "journal") && p->kafka.journal_topic != NULL)
        return &p->kafka.journal_topic;
    qn_diag_unknown(b->bind.diags, name->at, "stream or output", qn_shown(name), names, count);
    return NULL;
}

static void rename_topics(struct qn_builder *b, const struct qn_yaml_node *map)
{
    char found[QN_SHOW_BYTES];

    for (uint32_t i = 0; map->kind == QN_YAML_MAP && i < map->count; i++) {
        const struct qn_yaml_node *n = map->items[i].value;
        const char **topic = find_topic(b, map->items[i].key);

        if (topic == NULL || n->is_broken)
            continue;
        if (!qn_yaml_is_scalar(n) || n->kind == QN_YAML_NULL || !is_topic(n->text))
            QN_REPORT(&b->bind, TYPE, n, "such as: payments.v1",
                      "a topic has up to %d letters, digits, '.', '_' and '-', found %s", TOPIC_MAX,
                      qn_describe(n, found));
        else
            *topic = copy(b, n->text.p, n->text.len);
        if (topic == &b->plan->kafka.stream_topics[b->plan->main_stream])
            b->plan->kafka.input_written = n->written;
    }
}

/* Two of them in one topic would read each other's records. */
static void check_topics(struct qn_builder *b, const struct qn_yaml_node *at)
{
    const struct qn_plan *p = b->plan;
    const char *all[NAMES_MAX + 3];
    uint32_t count = 0;

    for (uint32_t s = 0; s < p->schema_count && count < NAMES_MAX; s++)
        all[count++] = p->kafka.stream_topics[s];
    for (uint32_t o = 0; o < p->output_count && count < NAMES_MAX; o++)
        all[count++] = p->kafka.output_topics[o];
    all[count++] = p->kafka.dead_topic;
    if (p->kafka.journal_topic != NULL)
        all[count++] = p->kafka.journal_topic;
    for (uint32_t i = 1; i < p->kafka.stage_count && count < NAMES_MAX + 3; i++)
        all[count++] = p->kafka.stages[i].topic;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(all[i], all[j]) == 0)
                QN_REPORT(&b->bind, TYPE, at, "each needs one of its own: kafka: {topics: ...}",
                          "two streams, outputs or stages have the topic '%s'", all[i]);
}

/* ---- what is not there yet -------------------------------------------------------------------*/

/* A sink whose promise is about one file of one machine, while partitions move. */
static void refuse_sinks(struct qn_builder *b, const struct qn_yaml_node *at,
                         const struct qn_plan_output *o)
{
    for (uint32_t i = 0; i < o->sink_count; i++)
        if (o->sinks[i].ops->flags & QN_SINK_LOCAL)
            QN_REPORT(&b->bind, TYPE, at,
                      "read the topic with what writes files, such as Connect, or 'log: local:'",
                      "'to: %s' of output '%.*s' is for a local log: in Kafka partitions move from "
                      "one process to another, and its exactly-once cannot follow them",
                      o->sinks[i].ops->name, QN_STR_ARG(o->name));
}

/* With several streams. */
static void refuse_streams(struct qn_builder *b, const struct qn_yaml_node *at)
{
    const struct qn_plan *p = b->plan;
    const char *registry = NULL;

    if (p->kafka.stage_count > 1)
        QN_REPORT(&b->bind, NOT_YET, at,
                  "kafka: {rekey: false}: each partition for itself, as all topics are partitioned "
                  "by the same key; or use 'log: local:' with 'source: kafka'",
                  "several streams are not available yet where features are by several keys with "
                  "'log: kafka:'");
    if (p->kafka.standby > 0)
        QN_REPORT(&b->bind, NOT_YET, at, "leave it out",
                  "'kafka: {standby: 1}' is not available yet for several streams");
    for (uint32_t s = 0; s < p->schema_count; s++) {
        const char *url = p->wire[s].registry.url;

        if (url != NULL && registry != NULL && strcmp(url, registry) != 0)
            QN_REPORT(&b->bind, NOT_YET, at, "one registry for all streams",
                      "streams with schemas from several registries are not available yet with "
                      "'log: kafka:'");
        registry = url != NULL ? url : registry;
    }
}

static void refuse(struct qn_builder *b, const struct qn_yaml_node *at)
{
    const struct qn_plan *p = b->plan;

    if (p->schema_count > 1)
        refuse_streams(b, at);
    if (p->source_count > 0)
        QN_REPORT(&b->bind, TYPE, at, "leave 'source' out, or write 'log: local:./data'",
                  "with 'log: kafka:' the events of '%.*s' are those of its topic",
                  QN_STR_ARG(p->schemas[p->sources[0].stream].name));
    for (uint32_t o = 0; o < p->output_count; o++)
        refuse_sinks(b, at, &p->outputs[o]);
    if (b->top[KEY_STORAGE].is_set)
        QN_REPORT(&b->bind, TYPE, b->top[KEY_STORAGE].key, "leave it out",
                  "'storage' is about a local log: how long topics are kept is said in Kafka");
}

/* ---- the whole -------------------------------------------------------------------------------*/

/* As the spec would write it. */
static qn_status name_bucket(struct qn_builder *b)
{
    const struct qn_plan_bucket *k = &b->plan->storage.bucket;
    struct qn_buf place = {0};

    qn_buf_printf(&place, "s3://%s/%s", k->name, k->prefix);
    b->plan->kafka.snapshots = place.failed ? NULL : copy(b, place.data, place.len);
    qn_buf_fini(&place);
    return b->plan->kafka.snapshots != NULL ? QN_OK : qn_no_memory(b->err);
}

static qn_status read_snapshots(struct qn_builder *b, bool is_wanted)
{
    const struct qn_slot *snapshots = &b->top[KEY_SNAPSHOTS];
    struct qn_slot s[SNAPSHOTS_LAST + 1] = {0};
    struct qn_diags silent = {.arena = b->bind.arena};
    struct qn_binder again = b->bind;
    struct qn_str folder = qn_str_of("snapshots");
    struct qn_buf path = {0};

    again.diags = &silent; /* bind_log.c has said what is wrong with it */
    if (snapshots->is_set && snapshots->value->kind == QN_YAML_MAP)
        (void)qn_bind(&again, snapshots->key, snapshots->value, &qn_keys_snapshots, s);
    if (is_wanted && s[SNAPSHOTS_TO].key != NULL && s[SNAPSHOTS_FOLDER].key != NULL)
        QN_REPORT(&b->bind, TYPE, s[SNAPSHOTS_FOLDER].key, "write one of them",
                  "snapshots lie in a folder, or go 'to' a bucket");
    if (s[SNAPSHOTS_FOLDER].is_set && !is_wanted)
        QN_REPORT(&b->bind, TYPE, s[SNAPSHOTS_FOLDER].key, "leave it out",
                  "the snapshots of a local log lie beside it");
    if (!is_wanted)
        return QN_OK;
    if (b->plan->storage.bucket.name != NULL)
        return name_bucket(b);
    if (s[SNAPSHOTS_FOLDER].is_set)
        folder = qn_str_of(text_of(b, s[SNAPSHOTS_FOLDER].value, "a folder"));
    if (folder.len > 0 && folder.p[0] != '/')
        qn_buf_add(&path, b->folder.p, b->folder.len);
    qn_buf_add(&path, folder.p, folder.len);
    b->plan->kafka.snapshots = path.failed ? NULL : copy(b, path.data, path.len);
    qn_buf_fini(&path);
    return b->plan->kafka.snapshots != NULL ? QN_OK : qn_no_memory(b->err);
}

static qn_status read_settings(struct qn_builder *b, const struct qn_slot *slot)
{
    struct qn_option_list *l = &b->plan->kafka.target.settings;
    struct qn_str *written = QN_NEW_N(b->bind.arena, struct qn_str, slot->value->count + 1);

    l->items = QN_NEW_N(b->bind.arena, const char *, slot->value->count + 1);
    if (l->items == NULL || written == NULL)
        return qn_no_memory(b->err);
    for (uint32_t i = 0; i < slot->value->count; i++) {
        written[l->count] = slot->value->items[i].value->written;
        l->items[l->count++] = text_of(b, slot->value->items[i].value, "a setting");
    }
    b->plan->kafka.settings_written = written;
    return QN_OK;
}

/* What nobody knows here cannot be looked at. */
static bool is_stood_in(const struct qn_builder *b, const char *text)
{
    return b->opt->stand_in != NULL && strstr(text, b->opt->stand_in) != NULL;
}

qn_status qn_build_kafka(struct qn_builder *b)
{
    struct qn_plan_kafka *k = &b->plan->kafka;
    const struct qn_slot *log = &b->top[KEY_LOG], *own = &b->top[KEY_KAFKA];
    const unsigned before = b->bind.diags->errors;
    struct qn_slot s[KAFKA_LAST + 1] = {0};
    struct qn_err why = {0};

    if (own->is_set && own->value->kind == QN_YAML_MAP)
        (void)qn_bind(&b->bind, own->key, own->value, &qn_keys_kafka, s);
    QN_TRY(read_snapshots(b, is_kafka(log)));
    if (!is_kafka(log)) {
        if (b->top[KEY_DELIVERY].is_set && b->top[KEY_DELIVERY].i64 == 1 && !log->is_broken)
            QN_REPORT(&b->bind, TYPE, b->top[KEY_DELIVERY].value, "leave it out",
                      "at-least-once is for 'log: kafka:': anything else answers each event once");
        if (own->is_set && !log->is_broken)
            QN_REPORT(&b->bind, TYPE, own->key, "write 'log: kafka:HOST:9092', or leave it out",
                      "'kafka' says how a log in Kafka is read and written, and 'log' names none");
        return QN_OK;
    }
    k->target.brokers =
        copy(b, log->value->text.p + PREFIX_BYTES, log->value->text.len - PREFIX_BYTES);
    k->group = s[KAFKA_GROUP].is_set ? text_of(b, s[KAFKA_GROUP].value, "a group")
                                     : copy(b, b->plan->name.p, b->plan->name.len);
    k->brokers_written = log->value->written;
    if (s[KAFKA_GROUP].is_set)
        k->group_written = s[KAFKA_GROUP].value->written;
    if (s[KAFKA_INSTANCE].is_set) {
        k->instance = text_of(b, s[KAFKA_INSTANCE].value, "an instance");
        k->instance_written = s[KAFKA_INSTANCE].value->written;
    }
    k->is_at_least_once = b->top[KEY_DELIVERY].is_set && b->top[KEY_DELIVERY].i64 == 1;
    k->commit_us = s[KAFKA_COMMIT].is_set ? s[KAFKA_COMMIT].i64
                   : k->is_at_least_once  ? PLAIN_DEFAULT_US
                                          : COMMIT_DEFAULT_US;
    k->may_create = s[KAFKA_CREATE].is_set && s[KAFKA_CREATE].i64 != 0;
    k->standby = s[KAFKA_STANDBY].is_set ? (uint32_t)s[KAFKA_STANDBY].i64 : 0;
    if (s[KAFKA_SETTINGS].is_set)
        QN_TRY(read_settings(b, &s[KAFKA_SETTINGS]));
    QN_TRY(name_topics(b));
    if (s[KAFKA_TOPICS].is_set)
        rename_topics(b, s[KAFKA_TOPICS].value);
    QN_TRY(qn_build_stages(b, log->value, !s[KAFKA_REKEY].is_set || s[KAFKA_REKEY].i64 != 0));
    check_topics(b, log->value);
    refuse(b, log->value);
    if (b->bind.diags->errors == before && !is_stood_in(b, k->target.brokers) &&
        qn_kafka_check(&k->target, &why) != QN_OK)
        QN_REPORT(&b->bind, TYPE,
                  why.code == QN_INVALID && s[KAFKA_SETTINGS].is_set ? s[KAFKA_SETTINGS].key
                                                                     : log->value,
                  NULL, "%s", why.text);
    return QN_OK;
}
