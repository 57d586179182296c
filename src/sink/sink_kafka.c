/* SPDX-License-Identifier: Apache-2.0
 * sink_kafka.c - the sink `kafka`: records into a Kafka topic, in the order of the log.
 *
 * An idempotent producer that waits for all replicas: a batch is sent, and the answer of each
 * record is waited for. What was answered is delivered; a process that dies before its cursor moved
 * sends those records again, with the same id in the header `quern-id`, so that whoever cares can
 * leave repeats out. Headers of the record go along; its time is the time it is sent, since Kafka
 * keeps records by that. Partitions are chosen as the Java client does (murmur2 of the key).
 * Thread: the delivery's; librdkafka's own send. Memory: librdkafka's, of one batch. */
#include "sink/sink_int.h"

#include "base/check.h"
#include "base/memory.h"
#include "log/kafka_client.h"
#include "sink/record_members.h"

#include <stdio.h>

struct kafka_options {
    const char *brokers;
    const char *topic; /* NULL = PIPELINE.OUTPUT */
    const char *key;   /* a member; NULL = the key of the event */
    int64_t timeout_us;
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
     .help = "where records go; without it PIPELINE.OUTPUT, such as fraud.predictions",
     .offset = offsetof(struct kafka_options, topic)},
    {.name = "key",
     .type = QN_OPT_TEXT,
     .value = "a member",
     .since = "0.2",
     .help = "the member of the record that is its key, such as event_id; without it the key that "
             "the event came with",
     .offset = offsetof(struct kafka_options, key)},
    {.name = "timeout",
     .type = QN_OPT_DURATION,
     .min = 1000000,
     .max = INT64_C(600000000),
     .fallback = "10s",
     .since = "0.2",
     .help = "how long the answer for a record is waited for before it is sent again",
     .offset = offsetof(struct kafka_options, timeout_us)},
    {.name = "settings",
     .type = QN_OPT_LIST,
     .value = "settings",
     .is_secret = true,
     .since = "0.2",
     .help = "librdkafka's own, as name=value: compression.codec=zstd, "
             "security.protocol=SASL_SSL",
     .offset = offsetof(struct kafka_options, settings)},
    {0}};

static struct qn_kafka_target target_of(const struct kafka_options *o)
{
    return (struct qn_kafka_target){.brokers = o->brokers, .settings = o->settings};
}

static qn_status kafka_check(const void *options, struct qn_err *err)
{
    const struct kafka_options *o = options;
    const struct qn_kafka_target target = target_of(o);

    if (o->topic != NULL && o->topic[0] == '\0')
        return qn_err_set(err, QN_INVALID, "the name of a topic cannot be empty");
    return qn_kafka_check(&target, err);
}

#ifndef QN_WITH_KAFKA

struct kafka {
    char unused;
};

static qn_status kafka_open(void *st, const struct qn_sink_boot *boot, const void *options,
                            struct qn_err *err)
{
    err->fatal = true;
    return qn_kafka_available(err);
}

static qn_status kafka_deliver(void *st, const struct qn_sink_batch *b,
                               struct qn_sink_result *result, struct qn_err *err)
{
    return qn_kafka_available(err);
}

static void kafka_close(void *st)
{
}

#else

enum { NAME_BYTES = 512, POLL_MS = 100, CLUSTER_MS = 3000 };

/* What became of the records of a batch; filled by the callback. */
struct answers {
    rd_kafka_resp_err_t *codes; /* [max] */
    bool *is_known;             /* [max] */
    uint32_t max, known;
};

struct kafka {
    const struct kafka_options *opt;
    const struct qn_sink_boot *boot;
    struct qn_kafka_client client;
    rd_kafka_topic_t *topic;
    char name[NAME_BYTES];
    struct answers answers;
    struct qn_arena arena; /* members of one record */
    bool is_broken;        /* the producer will never send again: another one is needed */
};

/* ---- opening ---------------------------------------------------------------------------------*/

static void on_delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *arg)
{
    struct qn_kafka_client *c = arg;
    struct kafka *k = c->arg;
    uintptr_t i = (uintptr_t)m->_private;

    /* Those of a batch that was given up come too, from a purge. */
    if (i >= k->answers.max || k->answers.is_known[i])
        return;
    k->answers.is_known[i] = true;
    k->answers.codes[i] = m->err;
    k->answers.known++;
}

static void end_producer(struct kafka *k)
{
    if (k->topic != NULL)
        rd_kafka_topic_destroy(k->topic);
    k->topic = NULL;
    qn_kafka_close(&k->client);
}

static qn_status begin_producer(struct kafka *k, struct qn_err *err)
{
    const struct qn_kafka_target target = target_of(k->opt);
    char timeout[24];
    const char *const own[] = {"enable.idempotence", "true",  "partitioner", "murmur2_random",
                               "message.timeout.ms", timeout, NULL};
    const char *const defaults[] = {"linger.ms", "1", "compression.codec", "lz4", NULL};
    const struct qn_kafka_client_options client = {.target = &target,
                                                   .type = RD_KAFKA_PRODUCER,
                                                   .defaults = defaults,
                                                   .own = own,
                                                   .delivered = on_delivered};
    uint32_t partitions;

    snprintf(timeout, sizeof(timeout), "%lld", (long long)(k->opt->timeout_us / 1000));
    k->client.arg = k;
    QN_TRY(qn_kafka_open(&k->client, &client, err));
    QN_TRY(qn_kafka_topic(&k->client, k->name, &partitions, k->boot->must_stop,
                          k->boot->must_stop_arg, err));
    k->topic = rd_kafka_topic_new(k->client.rk, k->name, NULL);
    if (k->topic == NULL)
        return qn_err_set(err, QN_INVALID, "'%s' cannot be the name of a topic", k->name);
    k->is_broken = false;
    return QN_OK;
}

/* A sink that wrote into the topic that it reads would go on for ever. */
static qn_status check_loop(struct kafka *k, struct qn_err *err)
{
    char *cluster;
    bool is_loop;

    if (k->boot->kafka_topic == NULL || strcmp(k->boot->kafka_topic, k->name) != 0)
        return QN_OK;
    cluster = rd_kafka_clusterid(k->client.rk, CLUSTER_MS);
    if (cluster == NULL)
        return qn_err_set(err, QN_IO, "the cluster does not say its id");
    is_loop = strcmp(cluster, k->boot->kafka_cluster) == 0;
    rd_kafka_mem_free(k->client.rk, cluster);
    if (!is_loop)
        return QN_OK;
    qn_err_set(err, QN_INVALID,
               "its records lie in the topic '%s' of this cluster already: leave the sink out, or "
               "name another 'topic'",
               k->name);
    err->fatal = true;
    return QN_INVALID;
}

static qn_status kafka_open(void *st, const struct qn_sink_boot *boot, const void *options,
                            struct qn_err *err)
{
    struct kafka *k = st;

    k->opt = options;
    k->boot = boot;
    if (k->opt->topic != NULL)
        snprintf(k->name, sizeof(k->name), "%s", k->opt->topic);
    else
        snprintf(k->name, sizeof(k->name), "%.*s.%.*s", QN_STR_ARG(boot->pipeline),
                 QN_STR_ARG(boot->output));
    QN_TRY(begin_producer(k, err));
    return check_loop(k, err);
}

static void kafka_close(void *st)
{
    struct kafka *k = st;

    k->answers.max = 0;
    end_producer(k);
    qn_mem_free(k->answers.codes);
    qn_mem_free(k->answers.is_known);
    qn_arena_fini(&k->arena);
}

/* ---- delivering ------------------------------------------------------------------------------*/

static qn_status answers_reset(struct answers *a, uint32_t count, struct qn_err *err)
{
    if (a->max < count) {
        rd_kafka_resp_err_t *codes = qn_mem_realloc(a->codes, count * sizeof(*codes));
        bool *is_known;

        if (codes != NULL)
            a->codes = codes;
        is_known = codes == NULL ? NULL : qn_mem_realloc(a->is_known, count * sizeof(*is_known));
        if (is_known == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for the answers of Kafka");
        a->is_known = is_known;
        a->max = count;
    }
    memset(a->is_known, 0, a->max * sizeof(*a->is_known));
    a->known = 0;
    return QN_OK;
}

/* Key and id of a record: members of it. A record that is no JSON object has neither. */
static struct qn_str members_of(struct kafka *k, const struct qn_log_record *r, struct qn_str *key)
{
    struct qn_str names[2] = {{"id", 2}, {NULL, 0}};
    const uint32_t count = k->opt->key != NULL ? 2 : 1;
    struct qn_member found[2] = {{.kind = QN_JSON_END}, {.kind = QN_JSON_END}};
    const char *why;

    *key = r->key;
    if (count == 2)
        names[1] = qn_str_of(k->opt->key);
    qn_arena_reset(&k->arena);
    if (!qn_record_members(r->value, names, count, &k->arena, found, &why))
        return (struct qn_str){NULL, 0};
    if (count == 2)
        *key = found[1].kind == QN_JSON_END || found[1].kind == QN_JSON_NULL
                   ? (struct qn_str){NULL, 0}
                   : found[1].text;
    return found[0].kind == QN_JSON_STRING ? found[0].text : (struct qn_str){NULL, 0};
}

/* Of a pipeline in Kafka that writes at least once, records have it. */
static bool has_id(struct qn_str headers)
{
    struct qn_log_header h;

    while (qn_log_header_next(&headers, &h))
        if (qn_str_is(h.name, "quern-id"))
            return true;
    return false;
}

static rd_kafka_resp_err_t send_record(struct kafka *k, const struct qn_log_record *r,
                                       uint32_t index)
{
    struct qn_str key, id = members_of(k, r, &key);
    rd_kafka_headers_t *headers = qn_kafka_headers_make(r->headers);
    rd_kafka_resp_err_t code;

    if (id.p != NULL && !has_id(r->headers)) {
        if (headers == NULL)
            headers = rd_kafka_headers_new(1);
        (void)rd_kafka_header_add(headers, "quern-id", -1, id.p, (ssize_t)id.len);
    }
    if (headers == NULL)
        headers = rd_kafka_headers_new(0);
    code = rd_kafka_producev(
        k->client.rk, RD_KAFKA_V_RKT(k->topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)r->value.p, r->value.len),
        RD_KAFKA_V_KEY((const void *)key.p, key.len), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE((void *)(uintptr_t)index), RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers);
    return code;
}

/* Sends up to all records. *stop: why it ended before the last of `sent`. */
static uint32_t send_batch(struct kafka *k, const struct qn_sink_batch *b,
                           rd_kafka_resp_err_t *stop)
{
    uint32_t sent = 0;

    *stop = RD_KAFKA_RESP_ERR_NO_ERROR;
    while (sent < b->count) {
        *stop = send_record(k, &b->records[sent], sent);
        if (*stop == RD_KAFKA_RESP_ERR__QUEUE_FULL && k->answers.known < sent) {
            (void)rd_kafka_poll(k->client.rk, POLL_MS);
            continue;
        }
        if (*stop != RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        sent++;
    }
    return sent;
}

/* A record that no later try would bring there. */
static bool is_refused(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ||
           code == RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE || code == RD_KAFKA_RESP_ERR_INVALID_RECORD ||
           code == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP ||
           code == RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
}

/* What the first record that was not taken means. */
static qn_status judge(struct kafka *k, rd_kafka_resp_err_t code, struct qn_sink_result *result,
                       struct qn_err *err)
{
    if (is_refused(code)) {
        result->answer = QN_REFUSED;
        snprintf(result->text, sizeof(result->text), "Kafka does not take it: %s",
                 rd_kafka_err2str(code));
        return QN_OK;
    }
    result->answer = QN_UNTRIED;
    return qn_kafka_failed(err, &k->client, code, "cannot write to Kafka");
}

static qn_status kafka_deliver(void *st, const struct qn_sink_batch *b,
                               struct qn_sink_result *result, struct qn_err *err)
{
    struct kafka *k = st;
    rd_kafka_resp_err_t stop;
    uint32_t sent, good = 0;

    QN_ASSERT(b->count > 0);
    if (k->is_broken) {
        end_producer(k);
        QN_TRY(begin_producer(k, err));
    }
    result->answer = QN_UNTRIED;
    QN_TRY(answers_reset(&k->answers, b->count, err));
    sent = send_batch(k, b, &stop);
    while (k->answers.known < sent && !k->boot->must_stop(k->boot->must_stop_arg))
        (void)rd_kafka_poll(k->client.rk, POLL_MS);
    while (good < sent && k->answers.is_known[good] &&
           k->answers.codes[good] == RD_KAFKA_RESP_ERR_NO_ERROR)
        good++;
    result->delivered = good;
    if (k->answers.known < sent) { /* their answers must not be taken for those of others */
        k->is_broken = true;
        return qn_err_set(err, QN_INTERRUPTED, "broken off to stop");
    }
    k->is_broken = rd_kafka_fatal_error(k->client.rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR;
    if (good < sent)
        return judge(k, k->answers.codes[good], result, err);
    if (stop != RD_KAFKA_RESP_ERR_NO_ERROR)
        return judge(k, stop, result, err);
    result->answer = QN_DELIVERED;
    return QN_OK;
}

#endif

const struct qn_sink_ops qn_sink_kafka = {
    .name = "kafka",
    .summary = "Writes records to a Kafka topic: idempotent, in order, each with its id.",
    .options = kafka_options,
    .options_bytes = sizeof(struct kafka_options),
    .state_bytes = sizeof(struct kafka),
    .check = kafka_check,
    .open = kafka_open,
    .deliver = kafka_deliver,
    .flush = qn_sink_none_flush,
    .close = kafka_close,
};
