/* SPDX-License-Identifier: Apache-2.0
 * source_kafka.c - the source `kafka`: events of a topic, all of its partitions, into the local
 * log, each once.
 *
 * Where it stands, one offset per partition, is the position that the intake keeps in the same
 * append as the events; Kafka is asked for what follows and never told where we are, unless `group`
 * names a group that is told for the sake of those who watch its lag. Only committed transactions
 * are read. What a record is made of is the transcoder's business; while it cannot tell, nothing
 * behind it is read. Invariant: a record below the next offset of its partition is dropped,
 * whatever librdkafka does on its way back from an error. Partitions are merged as they come: the
 * local log then holds that order for ever. Position: "1 CLUSTER TOPIC\n", then "PARTITION NEXT\n"
 * for each. Thread: the intake's. Memory: librdkafka's, bounded by its settings; one array of
 * messages. */
#include "source/source_int.h"

#include "base/check.h"
#include "base/memory.h"
#include "base/number.h"
#include "event/schema.h"
#include "log/kafka_client.h"

#include <stdio.h>

struct kafka_options {
    const char *brokers;
    const char *topic; /* NULL = the stream's name */
    int start;         /* 0 = oldest, 1 = newest */
    int gap;           /* 0 = stop, 1 = skip */
    const char *group; /* NULL = none is told */
    struct qn_option_list settings;
};

static const struct qn_option kafka_options[] = {
    {.name = "brokers",
     .type = QN_OPT_TEXT,
     .value = "HOST:PORT",
     .since = "0.2",
     .help = "where the cluster answers: HOST:PORT, several with commas",
     .is_required = true,
     .offset = offsetof(struct kafka_options, brokers)},
    {.name = "topic",
     .type = QN_OPT_TEXT,
     .value = "a topic",
     .since = "0.2",
     .help = "what is read, all its partitions; without it the topic has the stream's name",
     .offset = offsetof(struct kafka_options, topic)},
    {.name = "start",
     .type = QN_OPT_ENUM,
     .choices = "oldest|newest",
     .fallback = "oldest",
     .since = "0.2",
     .help = "where the first start begins; later ones go on where the log ends",
     .offset = offsetof(struct kafka_options, start)},
    {.name = "gap",
     .type = QN_OPT_ENUM,
     .choices = "stop|skip",
     .fallback = "stop",
     .since = "0.2",
     .help = "what to do where records were removed before they were read",
     .offset = offsetof(struct kafka_options, gap)},
    {.name = "group",
     .type = QN_OPT_TEXT,
     .value = "a group",
     .since = "0.2",
     .help = "a consumer group that is told how far the log has come, for those who watch lag",
     .offset = offsetof(struct kafka_options, group)},
    {.name = "settings",
     .type = QN_OPT_LIST,
     .value = "settings",
     .is_secret = true,
     .since = "0.2",
     .help = "librdkafka's own, as name=value: security.protocol=SASL_SSL, "
             "sasl.password=${PASSWORD}",
     .offset = offsetof(struct kafka_options, settings)},
    {.name = NULL},
};

static struct qn_kafka_target target_of(const struct kafka_options *o)
{
    return (struct qn_kafka_target){.brokers = o->brokers, .settings = o->settings};
}

static qn_status kafka_check(const void *options, struct qn_err *err)
{
    const struct kafka_options *o = options;
    const struct qn_kafka_target target = target_of(o);

    if (o->topic != NULL && (o->topic[0] == '\0' || o->topic[0] == '^'))
        return qn_err_set(err, QN_INVALID, "a kafka source reads one topic, by its name");
    return qn_kafka_check(&target, err);
}

#ifndef QN_WITH_KAFKA

struct kafka {
    char unused;
};

static qn_status kafka_open(void *st, const struct qn_source_boot *boot, const void *options,
                            struct qn_str position, struct qn_err *err)
{
    err->fatal = true;
    return qn_kafka_available(err);
}

static qn_status kafka_read(void *st, struct qn_source_batch *batch, enum qn_flow *flow,
                            struct qn_err *err)
{
    return qn_kafka_available(err);
}

static qn_status kafka_durable(void *st, struct qn_err *err)
{
    return QN_OK;
}

static void kafka_close(void *st)
{
}

#else

enum {
    MESSAGES_MAX = 4096,
    PARTITIONS_MAX = 100000,
    POLL_MS = 100,
    LOOK_MS = 30000, /* for partitions that are new */
    LAG_MS = 1000,   /* between two looks at the lag */
    ASK_MS = 10000,
    CLUSTER_BYTES = 64,
    TOPIC_BYTES = 256
};

/* Where an event and its headers lie: buffers that grow move. */
struct place {
    struct qn_str event; /* p NULL: in `events`, from `begin` on */
    size_t begin, headers_begin, headers_end;
};

struct kafka {
    const struct kafka_options *opt;
    const struct qn_source_boot *boot;
    struct qn_kafka_client client;
    char topic[TOPIC_BYTES], cluster[CLUSTER_BYTES];
    int64_t *next; /* [partitions] first offset wanted; negative: librdkafka's oldest or newest */
    int64_t
        *told; /* [partitions] as it was before the last read: durable when `durable` is called */
    uint32_t partitions;
    rd_kafka_message_t **messages; /* [MESSAGES_MAX] that events borrow from */
    struct place *places;          /* [MESSAGES_MAX] */
    uint32_t count;
    rd_kafka_message_t *held;             /* taken, and not decided yet */
    struct qn_buf events, headers, given; /* of the batch; given: of one record */
    uint64_t troubles;                    /* of the client, when last looked at */
    int64_t looked_ns, lag_ns;
    char note[160];
};

/* ---- the position ----------------------------------------------------------------------------*/

static void write_position(const struct kafka *k, struct qn_buf *out)
{
    qn_buf_printf(out, "1 %s %s\n", k->cluster, k->topic);
    for (uint32_t p = 0; p < k->partitions; p++)
        if (k->next[p] >= 0)
            qn_buf_printf(out, "%u %lld\n", p, (long long)k->next[p]);
}

/* Takes the text up to the next `end` off the front. */
static struct qn_str take(struct qn_str *s, char end)
{
    const char *p = s->len > 0 ? memchr(s->p, end, s->len) : NULL;
    struct qn_str word = {s->p, p != NULL ? (uint32_t)(p - s->p) : s->len};
    uint32_t used = word.len + (p != NULL);

    s->p += used;
    s->len -= used;
    return word;
}

/* Lines of partitions; those that the topic no longer has are passed over. */
static qn_status read_lines(struct kafka *k, struct qn_str text, struct qn_err *err)
{
    while (text.len > 0) {
        int64_t partition, offset;

        if (!qn_text_int64(take(&text, ' '), &partition) ||
            !qn_text_int64(take(&text, '\n'), &offset) || partition < 0 || offset < 0)
            return qn_err_set(err, QN_CORRUPT, "the position of the kafka source cannot be read");
        if ((uint64_t)partition < k->partitions)
            k->next[partition] = offset;
    }
    return QN_OK;
}

static qn_status read_position(struct kafka *k, struct qn_str text, struct qn_err *err)
{
    struct qn_str version = take(&text, ' '), cluster = take(&text, ' '), topic = take(&text, '\n');

    if (!qn_str_is(version, "1"))
        return qn_err_set(err, QN_CORRUPT, "the position of the kafka source cannot be read");
    if (!qn_str_is(cluster, k->cluster) || !qn_str_is(topic, k->topic)) {
        snprintf(k->note, sizeof(k->note), "begins anew: it stood in topic '%.*s' of cluster %.*s",
                 QN_STR_ARG(topic), QN_STR_ARG(cluster));
        return QN_OK;
    }
    /* Partitions that came since were not seen: all of their records are new. */
    for (uint32_t p = 0; p < k->partitions; p++)
        k->next[p] = RD_KAFKA_OFFSET_BEGINNING;
    return read_lines(k, text, err);
}

/* ---- opening ---------------------------------------------------------------------------------*/

static qn_status find_cluster(struct kafka *k, struct qn_err *err)
{
    char *id = rd_kafka_clusterid(k->client.rk, ASK_MS);

    if (id == NULL)
        return qn_err_set(err, QN_IO, "the cluster does not say its id");
    snprintf(k->cluster, sizeof(k->cluster), "%s", id);
    rd_kafka_mem_free(k->client.rk, id);
    return QN_OK;
}

static qn_status assign(struct kafka *k, struct qn_err *err)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new((int)k->partitions);
    rd_kafka_resp_err_t code;

    for (uint32_t p = 0; p < k->partitions; p++)
        rd_kafka_topic_partition_list_add(l, k->topic, (int32_t)p)->offset = k->next[p];
    code = qn_kafka_assign(k->client.rk, l);
    rd_kafka_topic_partition_list_destroy(l);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return qn_kafka_failed(err, &k->client, code, "cannot read the topic");
    return QN_OK;
}

/* Newest is a place that moves: the offsets are asked for now and kept. */
static qn_status find_start(struct kafka *k, struct qn_err *err)
{
    for (uint32_t p = 0; p < k->partitions; p++) {
        int64_t oldest = 0, newest = 0;
        rd_kafka_resp_err_t code;

        if (k->next[p] >= 0)
            continue;
        code = rd_kafka_query_watermark_offsets(k->client.rk, k->topic, (int32_t)p, &oldest,
                                                &newest, ASK_MS);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return qn_kafka_failed(err, &k->client, code, "cannot see where the topic begins");
        k->next[p] = k->next[p] == RD_KAFKA_OFFSET_END ? newest : oldest;
    }
    return QN_OK;
}

static qn_status kafka_open(void *st, const struct qn_source_boot *boot, const void *options,
                            struct qn_str position, struct qn_err *err)
{
    struct kafka *k = st;
    const struct kafka_options *o = options;
    const struct qn_kafka_target target = target_of(o);
    char group[TOPIC_BYTES + 8];
    const char *const own[] = {"group.id",
                               group,
                               "enable.auto.commit",
                               "false",
                               "isolation.level",
                               "read_committed",
                               "check.crcs",
                               "true",
                               "auto.offset.reset",
                               o->gap == 1 ? "earliest" : "error",
                               NULL};
    const char *const defaults[] = {"fetch.wait.max.ms", "20", "queued.max.messages.kbytes",
                                    "16384", NULL};
    const struct qn_kafka_client_options client = {
        .target = &target, .type = RD_KAFKA_CONSUMER, .defaults = defaults, .own = own};

    k->opt = o;
    k->boot = boot;
    if (o->topic != NULL)
        snprintf(k->topic, sizeof(k->topic), "%s", o->topic);
    else
        snprintf(k->topic, sizeof(k->topic), "%.*s", QN_STR_ARG(boot->stream));
    if (o->group != NULL)
        snprintf(group, sizeof(group), "%s", o->group);
    else
        snprintf(group, sizeof(group), "quern.%s", k->topic);
    QN_TRY(qn_kafka_open(&k->client, &client, err));
    QN_TRY(qn_kafka_topic(&k->client, k->topic, &k->partitions, boot->must_stop,
                          boot->must_stop_arg, err));
    (void)rd_kafka_poll_set_consumer(k->client.rk);
    k->client.is_consuming = true;
    QN_TRY(find_cluster(k, err));
    k->next = qn_mem_zalloc(k->partitions, sizeof(*k->next));
    k->told = qn_mem_zalloc(k->partitions, sizeof(*k->told));
    k->messages = qn_mem_zalloc(MESSAGES_MAX, sizeof(rd_kafka_message_t *));
    k->places = qn_mem_zalloc(MESSAGES_MAX, sizeof(*k->places));
    if (k->next == NULL || k->told == NULL || k->messages == NULL || k->places == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a kafka source");
    for (uint32_t p = 0; p < k->partitions; p++)
        k->next[p] = o->start == 1 ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING;
    if (position.len > 0)
        QN_TRY(read_position(k, position, err));
    QN_TRY(find_start(k, err));
    k->troubles = k->client.troubles;
    k->looked_ns = boot->clock->mono_ns(boot->clock->st);
    memcpy(k->told, k->next, k->partitions * sizeof(*k->told));
    return assign(k, err);
}

static void release(struct kafka *k)
{
    for (uint32_t i = 0; i < k->count; i++)
        rd_kafka_message_destroy(k->messages[i]);
    k->count = 0;
    qn_buf_clear(&k->events);
    qn_buf_clear(&k->headers);
}

static void kafka_close(void *st)
{
    struct kafka *k = st;

    release(k);
    if (k->held != NULL)
        rd_kafka_message_destroy(k->held);
    qn_kafka_close(&k->client);
    qn_buf_fini(&k->events);
    qn_buf_fini(&k->headers);
    qn_buf_fini(&k->given);
    qn_mem_free(k->places);
    qn_mem_free(k->messages);
    qn_mem_free(k->told);
    qn_mem_free(k->next);
}

/* ---- reading ---------------------------------------------------------------------------------*/

/* The error instead of a message. */
static qn_status failed_message(struct kafka *k, const rd_kafka_message_t *m, struct qn_err *err)
{
    if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
        qn_err_set(err, QN_NOT_FOUND,
                   "partition %d of '%s' no longer has the record that is next, %lld: it was "
                   "removed before it was read; to go on without what is gone: gap: skip",
                   (int)m->partition, k->topic, (long long)k->next[m->partition]);
        err->fatal = true;
        return QN_NOT_FOUND;
    }
    return qn_kafka_failed(err, &k->client, m->err, "cannot read the topic");
}

/* A record without a value is the JSON null: set aside by the contract, and seen. */
static struct qn_str value_of(const rd_kafka_message_t *m)
{
    return (struct qn_str){m->payload,
                           m->len > QN_EVENT_BYTES_MAX ? QN_EVENT_BYTES_MAX + 1 : (uint32_t)m->len};
}

static void place_plain(struct kafka *k, struct qn_str value, struct place *at)
{
    at->event = value.len > 0 ? value : qn_str_of("null");
    qn_buf_add(&k->headers, k->given.data, k->given.len);
}

/* The event of a message, and its headers; headers that are too large for the log stay behind.
 * *is_skipped: there is none. */
static qn_status make_event(struct kafka *k, const rd_kafka_message_t *m, uint32_t headers_max,
                            struct place *at, bool *is_skipped, struct qn_err *err)
{
    const struct qn_str value = value_of(m);

    *is_skipped = false;
    *at = (struct place){.headers_begin = k->headers.len};
    qn_buf_clear(&k->given);
    qn_kafka_headers_read(m, &k->given);
    if (k->given.len > headers_max / 2) /* ours come to them */
        qn_buf_clear(&k->given);
    if (k->boot->transcoder == NULL || value.len > QN_EVENT_BYTES_MAX) {
        place_plain(k, value, at);
    } else {
        struct qn_transcoded r;

        QN_TRY(qn_transcode(k->boot->transcoder, value,
                            (struct qn_str){k->given.data, (uint32_t)k->given.len}, &k->events,
                            &k->headers, &r, err));
        *is_skipped = r.is_skipped;
        at->begin = r.begin;
        at->event = (struct qn_str){r.event.p, r.len};
        if (r.len == 0 && r.event.p != NULL)
            at->event = qn_str_of("null");
    }
    at->headers_end = k->headers.len;
    if (k->given.failed || k->headers.failed)
        return qn_err_set(err, QN_NOMEM, "out of memory for the headers of a record");
    return QN_OK;
}

/* The buffers stay where they are now. */
static void hand_over(struct kafka *k, struct qn_source_batch *batch)
{
    batch->has_headers = true;
    for (uint32_t i = 0; i < batch->count; i++) {
        const struct place *at = &k->places[i];
        const rd_kafka_message_t *m = k->messages[i];
        const bool has_key = m->key != NULL && m->key_len <= batch->headers_max;

        batch->events[i] = at->event;
        if (at->event.p == NULL)
            batch->events[i].p = k->events.data + at->begin;
        batch->headers[i] = (struct qn_str){NULL, 0};
        if (at->headers_end > at->headers_begin)
            batch->headers[i] = (struct qn_str){k->headers.data + at->headers_begin,
                                                (uint32_t)(at->headers_end - at->headers_begin)};
        batch->keys[i] =
            (struct qn_str){has_key ? m->key : NULL, has_key ? (uint32_t)m->key_len : 0};
    }
}

/* More partitions than when it was opened: an error, behind which they are read too. */
static qn_status look_for_partitions(struct kafka *k, struct qn_err *err)
{
    const int64_t now = k->boot->clock->mono_ns(k->boot->clock->st);
    uint32_t partitions;

    if (now - k->looked_ns < (int64_t)LOOK_MS * 1000000)
        return QN_OK;
    k->looked_ns = now;
    QN_TRY(qn_kafka_topic(&k->client, k->topic, &partitions, k->boot->must_stop,
                          k->boot->must_stop_arg, err));
    if (partitions != k->partitions)
        return qn_err_set(err, QN_IO, "'%s' has %u partitions now and had %u: opening it again",
                          k->topic, partitions, k->partitions);
    return QN_OK;
}

/* The next message, or one that was held; NULL where there is none now. */
static qn_status next_message(struct kafka *k, int wait_ms, rd_kafka_message_t **out,
                              struct qn_err *err)
{
    rd_kafka_message_t *m = k->held;

    k->held = NULL;
    *out = NULL;
    if (m == NULL)
        m = rd_kafka_consumer_poll(k->client.rk, wait_ms);
    if (m != NULL && m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        qn_status rc = failed_message(k, m, err);

        rd_kafka_message_destroy(m);
        return rc;
    }
    *out = m;
    return QN_OK;
}

/* *has_moved: past a record, whether it was an event or not. */
static qn_status fill(struct kafka *k, struct qn_source_batch *batch, bool *has_moved,
                      struct qn_err *err)
{
    size_t given = 0;
    int wait_ms = POLL_MS;

    while (batch->count < batch->max && batch->count < MESSAGES_MAX && given < batch->bytes_max) {
        struct place *at = &k->places[batch->count];
        rd_kafka_message_t *m;
        bool is_skipped;
        qn_status rc;

        QN_TRY(next_message(k, wait_ms, &m, err));
        if (m == NULL)
            break;
        if ((uint32_t)m->partition >= k->partitions || m->offset < k->next[m->partition]) {
            rd_kafka_message_destroy(m);
            continue;
        }
        wait_ms = 0;
        rc = make_event(k, m, batch->headers_max, at, &is_skipped, err);
        if (rc != QN_OK) { /* what came before goes on its way first */
            k->held = m;
            return rc != QN_NOMEM && *has_moved ? QN_OK : rc;
        }
        k->next[m->partition] = m->offset + 1;
        *has_moved = true;
        if (is_skipped) {
            rd_kafka_message_destroy(m);
            continue;
        }
        given += (at->event.p != NULL ? at->event.len : k->events.len - at->begin) +
                 (at->headers_end - at->headers_begin) + m->key_len;
        k->messages[k->count++] = m;
        batch->count++;
    }
    return QN_OK;
}

/* What lies behind the positions that the group was told; ends as the last fetch saw them. */
static void tell_lag(struct kafka *k)
{
    const int64_t now = k->boot->clock->mono_ns(k->boot->clock->st);

    if (k->boot->lag == NULL || k->opt->group == NULL ||
        now - k->lag_ns < (int64_t)LAG_MS * 1000000)
        return;
    k->lag_ns = now;
    for (uint32_t p = 0; p < k->partitions; p++) {
        int64_t oldest = 0, end = 0;

        if (rd_kafka_get_watermark_offsets(k->client.rk, k->topic, (int32_t)p, &oldest, &end) ==
                RD_KAFKA_RESP_ERR_NO_ERROR &&
            end >= 0 && k->told[p] >= 0)
            k->boot->lag(k->boot->lag_arg, k->opt->group, k->topic, p,
                         end > k->told[p] ? end - k->told[p] : 0);
    }
}

static qn_status kafka_read(void *st, struct qn_source_batch *batch, enum qn_flow *flow,
                            struct qn_err *err)
{
    struct kafka *k = st;
    bool has_moved = false;

    release(k);
    tell_lag(k); /* of what is durable: told is one read behind */
    memcpy(k->told, k->next, k->partitions * sizeof(*k->told));
    QN_TRY(fill(k, batch, &has_moved, err));
    if (k->note[0] != '\0')
        snprintf(batch->note, sizeof(batch->note), "%s", k->note);
    k->note[0] = '\0';
    if (has_moved) {
        k->troubles = k->client.troubles;
        hand_over(k, batch);
        write_position(k, batch->position);
        *flow = QN_MORE;
        return QN_OK;
    }
    *flow = QN_IDLE;
    batch->wait_us = 1;
    if (k->client.troubles > k->troubles && k->client.trouble[0] != '\0') {
        k->troubles = k->client.troubles;
        return qn_err_set(err, QN_IO, "nothing comes from '%s': %s", k->topic, k->client.trouble);
    }
    return look_for_partitions(k, err);
}

/* Told for watchers only: where to go on is in the log. It is called when the next events have been
 * handed over already, so what is told is where the read before the last one ended. */
static qn_status kafka_durable(void *st, struct qn_err *err)
{
    struct kafka *k = st;
    rd_kafka_topic_partition_list_t *l;

    if (k->opt->group == NULL)
        return QN_OK;
    l = rd_kafka_topic_partition_list_new((int)k->partitions);
    for (uint32_t p = 0; p < k->partitions; p++)
        rd_kafka_topic_partition_list_add(l, k->topic, (int32_t)p)->offset = k->told[p];
    (void)rd_kafka_commit(k->client.rk, l, 1);
    rd_kafka_topic_partition_list_destroy(l);
    return QN_OK;
}

#endif

const struct qn_source_ops qn_source_kafka = {
    .name = "kafka",
    .summary = "events of a Kafka topic, each once",
    .options = kafka_options,
    .options_bytes = sizeof(struct kafka_options),
    .state_bytes = sizeof(struct kafka),
    .check = kafka_check,
    .open = kafka_open,
    .read = kafka_read,
    .durable = kafka_durable,
    .close = kafka_close,
};
