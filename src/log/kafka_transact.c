/* SPDX-License-Identifier: Apache-2.0
 * kafka_transact.c - Kafka transactions with two producers, and the guard against late commits. See
 * kafka_transact.h.
 *
 * Invariant: a producer about which there is a doubt writes nothing; it is replaced first. An error
 * before commit was asked for means that nothing was committed; any error of the commit itself is a
 * doubt. Thread: one. Memory: librdkafka's; records are not copied by us. */
#include "log/kafka_transact.h"

#ifdef QN_WITH_KAFKA

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

#include <stdio.h>
#include <time.h>

enum {
    PRODUCERS = 2,
    SOCKET_MS = 3000,
    INIT_MS = 1000, /* one try; then the caller is asked whether to go on */
    INIT_TRIES = 30,
    WARM_MS = 1000,
    QUEUE_MS = 10,
    AGAIN_MS = 5,
    ASK_TRIES = 20,
    ANSWER_MS = 100,
    ID_BYTES = 320,
    RECORD_HEAD = 20
};
#define OLD_NS INT64_C(2000000000) /* the brokers end none that is younger */

struct producer {
    struct qn_kafka_client client;
    rd_kafka_topic_t **topics;  /* [topic_count] */
    bool is_doubtful;           /* to be replaced before it writes again */
    uint64_t under_way;         /* records without an answer */
    rd_kafka_resp_err_t failed; /* plain: of one of them */
    char words[256];            /* of the last call that failed */
};

struct qn_kafka_transact {
    struct qn_kafka_transact_options opt;
    struct producer producers[PRODUCERS];
    char ids[PRODUCERS][ID_BYTES];
    uint32_t turn;
    struct qn_kafka_fences fenced;
    struct qn_kafka_transact_stats stats;
};

static int64_t now_ns(void)
{
    return qn_clock_system.mono_ns(qn_clock_system.st);
}

/* ---- producers -------------------------------------------------------------------------------*/

static void producer_end(struct qn_kafka_transact *t, struct producer *p)
{
    for (uint32_t i = 0; i < t->opt.topic_count; i++) {
        if (p->topics[i] != NULL)
            rd_kafka_topic_destroy(p->topics[i]);
        p->topics[i] = NULL;
    }
    qn_kafka_close(&p->client);
}

static bool is_fenced(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__FENCED || code == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH ||
           code == RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
}

/* Takes over the error object. */
static rd_kafka_resp_err_t code_of(rd_kafka_error_t *e)
{
    rd_kafka_resp_err_t code = e == NULL ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_error_code(e);

    if (e != NULL)
        rd_kafka_error_destroy(e);
    return code;
}

/* The same, and keeps librdkafka's words. */
static rd_kafka_resp_err_t noted(struct producer *p, rd_kafka_error_t *e)
{
    if (e != NULL)
        snprintf(p->words, sizeof(p->words), "%s", rd_kafka_error_string(e));
    return code_of(e);
}

static bool is_denied(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
}

/* Known to the coordinator, what was open under this id is ended. Repeated while nobody answers. */
static qn_status introduce(struct qn_kafka_transact *t, struct producer *p, bool is_patient,
                           struct qn_err *err)
{
    for (int i = 0;; i++) {
        rd_kafka_error_t *e = rd_kafka_init_transactions(p->client.rk, INIT_MS);
        bool is_retriable = e != NULL && rd_kafka_error_is_retriable(e);
        rd_kafka_resp_err_t code = code_of(e);

        (void)rd_kafka_poll(p->client.rk, 0);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            return QN_OK;
        if (t->opt.must_stop != NULL && t->opt.must_stop(t->opt.arg))
            return qn_err_set(err, QN_INTERRUPTED, "told to stop");
        if (code == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
            return qn_err_set(err, QN_DENIED,
                              "this user may not write transactions called '%s.*': it needs the "
                              "rights Write and Describe on that transactional id",
                              t->opt.id);
        if (!is_retriable || (!is_patient && i + 1 >= INIT_TRIES))
            return qn_kafka_failed(err, &p->client, code, "transactions cannot be begun");
    }
}

/* The first record for a topic that nobody has asked about waits a second. */
static qn_status warm(struct qn_kafka_transact *t, struct producer *p, struct qn_err *err)
{
    for (uint32_t i = 0; i < t->opt.topic_count; i++) {
        const struct rd_kafka_metadata *found = NULL;

        p->topics[i] = rd_kafka_topic_new(p->client.rk, t->opt.topics[i], NULL);
        if (p->topics[i] == NULL)
            return qn_err_set(err, QN_INVALID, "'%s' cannot be the name of a topic",
                              t->opt.topics[i]);
        if (rd_kafka_metadata(p->client.rk, 0, p->topics[i], &found, WARM_MS) ==
            RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_metadata_destroy(found);
    }
    return QN_OK;
}

/* One record less on its way. A commit waits for the last one: reports wake it, without them it
 * would look every ten milliseconds. */
static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *client)
{
    struct producer *p = ((struct qn_kafka_client *)client)->arg;

    struct qn_kafka_part *part = m->_private; /* of a record of the journal */

    (void)rk;
    p->under_way--;
    if (part != NULL && m->err == RD_KAFKA_RESP_ERR_NO_ERROR && m->offset >= 0)
        part->journal_next = m->offset + 1;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        p->failed = m->err;
}

/* is_patient: a broker is waited for until the caller wants to stop. */
static qn_status producer_begin(struct qn_kafka_transact *t, uint32_t index, bool is_patient,
                                struct qn_err *err)
{
    struct producer *p = &t->producers[index];
    const char *const own[] = {"enable.idempotence",
                               "true",
                               "socket.timeout.ms",
                               "3000",
                               "partitioner",
                               "murmur2_random",
                               t->opt.is_plain ? NULL : "transactional.id",
                               t->ids[index],
                               NULL};
    /* in a transaction a record waits as long as that does */
    const char *const defaults[] = {t->opt.is_plain ? "message.timeout.ms"
                                                    : "transaction.timeout.ms",
                                    "15000",
                                    "linger.ms",
                                    "0",
                                    "compression.codec",
                                    "lz4",
                                    "retry.backoff.ms",
                                    "5",
                                    "queue.buffering.max.messages",
                                    "1000000",
                                    "queue.buffering.max.kbytes",
                                    "1048576",
                                    NULL};
    const struct qn_kafka_client_options client = {.target = t->opt.target,
                                                   .type = RD_KAFKA_PRODUCER,
                                                   .defaults = defaults,
                                                   .own = own,
                                                   .delivered = delivered};

    _Static_assert(SOCKET_MS == 3000, "as it stands above");
    p->client.arg = p;
    p->under_way = 0;
    QN_TRY(qn_kafka_open(&p->client, &client, err));
    if (!t->opt.is_plain)
        QN_TRY(introduce(t, p, is_patient, err));
    QN_TRY(warm(t, p, err));
    p->is_doubtful = false;
    return QN_OK;
}

/* Under the same id: its epoch rises, and nothing of the one before can still happen. */
static qn_status renew(struct qn_kafka_transact *t, uint32_t index, struct qn_err *err)
{
    t->stats.renewals++;
    producer_end(t, &t->producers[index]);
    return producer_begin(t, index, true, err);
}

qn_status qn_kafka_transact_new(const struct qn_kafka_transact_options *opt,
                                struct qn_kafka_transact **out, struct qn_err *err)
{
    struct qn_kafka_transact *t = qn_mem_zalloc(1, sizeof(*t));
    qn_status rc = QN_OK;

    *out = NULL;
    if (t == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for Kafka's transactions");
    t->opt = *opt;
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        snprintf(t->ids[i], sizeof(t->ids[i]), "%s.%u", opt->id, i);
        t->producers[i].topics = qn_mem_zalloc(opt->topic_count, sizeof(rd_kafka_topic_t *));
        if (t->producers[i].topics == NULL)
            rc = qn_err_set(err, QN_NOMEM, "out of memory for Kafka's transactions");
    }
    for (uint32_t i = 0; rc == QN_OK && i < (opt->is_plain ? 1 : PRODUCERS); i++)
        rc = producer_begin(t, i, false, err);
    if (rc != QN_OK) {
        qn_kafka_transact_free(t);
        return rc;
    }
    *out = t;
    return QN_OK;
}

void qn_kafka_transact_free(struct qn_kafka_transact *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        if (t->producers[i].topics != NULL)
            producer_end(t, &t->producers[i]);
        qn_mem_free(t->producers[i].topics);
    }
    qn_mem_free(t);
}

void qn_kafka_transact_stats(const struct qn_kafka_transact *t, struct qn_kafka_transact_stats *out)
{
    *out = t->stats;
}

void qn_kafka_transaction_id(const char *group, uint64_t any, char *id, size_t size)
{
    snprintf(id, size, "%s.%016llx", group, (unsigned long long)any);
}

qn_status qn_kafka_end_transactions(const struct qn_kafka_target *target, const char *id,
                                    struct qn_err *err)
{
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        char full[ID_BYTES];
        const char *const own[] = {"transactional.id", full, "socket.timeout.ms", "3000", NULL};
        const struct qn_kafka_client_options opt = {
            .target = target, .type = RD_KAFKA_PRODUCER, .own = own};
        struct qn_kafka_client client = {0};
        rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;

        snprintf(full, sizeof full, "%s.%u", id, i);
        QN_TRY(qn_kafka_open(&client, &opt, err));
        code = code_of(rd_kafka_init_transactions(client.rk, SOCKET_MS));
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            (void)qn_kafka_failed(err, &client, code, id);
        qn_kafka_close(&client);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return QN_IO;
    }
    return QN_OK;
}

/* ---- records ---------------------------------------------------------------------------------*/

/* Topic, home, then lengths of key (UINT32_MAX: none), headers and value, then their bytes. */
void qn_kafka_record_add(struct qn_buf *records, uint32_t topic, uint32_t home, struct qn_str key,
                         struct qn_str headers, struct qn_str value)
{
    const uint32_t head[5] = {topic, home, key.p != NULL ? key.len : UINT32_MAX, headers.len,
                              value.len};

    qn_buf_add(records, head, sizeof(head));
    qn_buf_add(records, key.p, key.p != NULL ? key.len : 0);
    qn_buf_add(records, headers.p, headers.len);
    qn_buf_add(records, value.p, value.len);
}

_Static_assert(RECORD_HEAD == 5 * sizeof(uint32_t), "the head of a record");

struct record {
    uint32_t topic, home;
    struct qn_str key, headers, value;
};

static void take_record(const char **at, struct record *r)
{
    uint32_t head[5];

    memcpy(head, *at, sizeof(head));
    *at += sizeof(head);
    r->topic = head[0];
    r->home = head[1];
    r->key =
        (struct qn_str){head[2] == UINT32_MAX ? NULL : *at, head[2] == UINT32_MAX ? 0 : head[2]};
    *at += r->key.len;
    r->headers = (struct qn_str){*at, head[3]};
    *at += head[3];
    r->value = (struct qn_str){*at, head[4]};
    *at += head[4];
}

/* A topic with as many partitions as the input keeps the shard's order; else the key decides. */
static int32_t partition_of(const struct qn_kafka_transact *t, const struct record *r)
{
    const uint32_t count = t->opt.partitions[r->topic];

    if (count == t->opt.shards && r->topic >= t->opt.keyed_topics)
        return (int32_t)r->home;
    return r->key.p != NULL ? RD_KAFKA_PARTITION_UA : (int32_t)(r->home % count);
}

static rd_kafka_resp_err_t produce_once(struct producer *p, const struct record *r,
                                        int32_t partition, rd_kafka_headers_t *headers, void *part)
{
    rd_kafka_topic_t *topic = p->topics[r->topic];
    void *value = (void *)(uintptr_t)r->value.p;

    if (headers == NULL) /* takes no list of arguments apart */
        return rd_kafka_produce(topic, partition, 0, value, r->value.len, r->key.p, r->key.len,
                                part) == 0
                   ? RD_KAFKA_RESP_ERR_NO_ERROR
                   : rd_kafka_last_error();
    return rd_kafka_producev(p->client.rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition),
                             RD_KAFKA_V_MSGFLAGS(0), RD_KAFKA_V_VALUE(value, r->value.len),
                             RD_KAFKA_V_KEY((const void *)r->key.p, r->key.len),
                             RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
}

static rd_kafka_resp_err_t produce(struct producer *p, const struct record *r, int32_t partition,
                                   void *part)
{
    rd_kafka_headers_t *headers = r->headers.len > 0 ? qn_kafka_headers_make(r->headers) : NULL;
    rd_kafka_resp_err_t code;

    while ((code = produce_once(p, r, partition, headers, part)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        (void)rd_kafka_poll(p->client.rk, QUEUE_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && headers != NULL)
        rd_kafka_headers_destroy(headers);
    return code;
}

/* part: of the journal, whose offsets are wanted; else NULL. */
static rd_kafka_resp_err_t produce_all(struct qn_kafka_transact *t, struct producer *p,
                                       const struct qn_buf *records, struct qn_kafka_part *part,
                                       struct qn_err *err)
{
    const char *at = records->data, *end = at + records->len;

    while (records->len > 0 && at < end) {
        rd_kafka_resp_err_t code;
        struct record r;

        take_record(&at, &r);
        code = produce(p, &r, partition_of(t, &r), part);
        p->under_way += code == RD_KAFKA_RESP_ERR_NO_ERROR;
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            (void)qn_kafka_failed(err, &p->client, code, t->opt.topics[r.topic]);
            return code;
        }
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* ---- one transaction -------------------------------------------------------------------------*/

/* The generation of the member that consumed; negative: of none, and the coordinator would take
 * positions from anybody. librdkafka 2.0.2 has no getter: it stands at the head of what it writes
 * of it. */
static int32_t generation_of(const rd_kafka_consumer_group_metadata_t *m)
{
    static const char head[] = "CGMDv2:";
    int32_t generation = -1;
    void *bytes = NULL;
    size_t size = 0;

    if (code_of(rd_kafka_consumer_group_metadata_write(m, &bytes, &size)) ==
            RD_KAFKA_RESP_ERR_NO_ERROR &&
        size >= sizeof(head) - 1 + sizeof(generation) && memcmp(bytes, head, sizeof(head) - 1) == 0)
        memcpy(&generation, (const char *)bytes + sizeof(head) - 1, sizeof(generation));
    if (bytes != NULL)
        rd_kafka_mem_free(NULL, bytes);
    return generation;
}

int32_t qn_kafka_generation(rd_kafka_t *consumer)
{
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(consumer);
    const int32_t generation = group != NULL ? generation_of(group) : -1;

    if (group != NULL)
        rd_kafka_consumer_group_metadata_destroy(group);
    return generation;
}

static bool has_journal(const struct qn_kafka_part *part)
{
    return part->journal != NULL && part->journal->len > 0;
}

static rd_kafka_topic_partition_list_t *
positions_of(struct producer *p, const struct qn_kafka_part *parts, uint32_t count)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new((int)count);

    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < parts[i].input_count; j++) {
            rd_kafka_topic_partition_t *one = rd_kafka_topic_partition_list_add(
                l, parts[i].topics[j], (int32_t)parts[i].partition);

            one->offset = parts[i].next[j];
            one->metadata = rd_kafka_mem_malloc(p->client.rk, strlen(parts[i].mark) + 1);
            one->metadata_size = strlen(parts[i].mark);
            memcpy(one->metadata, parts[i].mark, one->metadata_size + 1);
        }
    return l;
}

/* NULL and *err where the consumer is in no generation of its group. */
static rd_kafka_consumer_group_metadata_t *membership(rd_kafka_t *consumer, struct qn_err *err)
{
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(consumer);

    if (group != NULL && generation_of(group) >= 0)
        return group;
    if (group != NULL)
        rd_kafka_consumer_group_metadata_destroy(group);
    qn_err_set(err, QN_IO, "this process is no member of its group now");
    return NULL;
}

/* Some errors come back at once, as while a coordinator moves. False: there is no time for that. */
static bool may_send_again(struct qn_kafka_transact *t, int tries)
{
    const struct timespec pause = {0, AGAIN_MS * 1000000};

    if (tries % ASK_TRIES == 0 && t->opt.must_stop != NULL && t->opt.must_stop(t->opt.arg))
        return false;
    nanosleep(&pause, NULL);
    return true;
}

static rd_kafka_resp_err_t send_offsets(struct qn_kafka_transact *t, struct producer *p,
                                        const struct qn_kafka_part *parts, uint32_t count,
                                        rd_kafka_t *consumer, struct qn_err *err)
{
    rd_kafka_consumer_group_metadata_t *group = membership(consumer, err);
    rd_kafka_topic_partition_list_t *l;
    rd_kafka_resp_err_t code;
    bool is_retriable;
    int tries = 0;

    if (group == NULL)
        return RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    l = positions_of(p, parts, count);
    do {
        rd_kafka_error_t *e = rd_kafka_send_offsets_to_transaction(p->client.rk, l, group, -1);

        is_retriable = e != NULL && rd_kafka_error_is_retriable(e) &&
                       !rd_kafka_error_txn_requires_abort(e) && !rd_kafka_error_is_fatal(e);
        code = noted(p, e);
    } while (is_retriable && may_send_again(t, ++tries));
    rd_kafka_topic_partition_list_destroy(l);
    rd_kafka_consumer_group_metadata_destroy(group);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)qn_kafka_failed(err, &p->client, code, "the positions are not taken");
    return code;
}

/* Everything up to the commit. Other than NO_ERROR: *err says what, and nothing is committed. */
static rd_kafka_resp_err_t fill(struct qn_kafka_transact *t, struct producer *p,
                                struct qn_kafka_part *parts, uint32_t count, rd_kafka_t *consumer,
                                struct qn_err *err)
{
    rd_kafka_resp_err_t code = noted(p, rd_kafka_begin_transaction(p->client.rk));

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        (void)qn_kafka_failed(err, &p->client, code, "a transaction cannot be begun");
        return code;
    }
    for (uint32_t i = 0; i < count && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        if (has_journal(&parts[i]))
            code = produce_all(t, p, parts[i].journal, &parts[i], err);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
            code = produce_all(t, p, parts[i].records, NULL, err);
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = send_offsets(t, p, parts, count, consumer, err);
    return code;
}

/* Another process that has our id fences us again and again, whatever we have just begun; a
 * transaction that took too long looks the same, but was old. */
static qn_status count_fenced(struct qn_kafka_transact *t, int64_t age_ns, struct qn_err *err)
{
    if (t->opt.is_unique || age_ns >= OLD_NS || !qn_kafka_fenced_again(&t->fenced, now_ns()))
        return QN_OK;
    qn_err_set(err, QN_DENIED,
               "another process writes transactions called '%s.*': give each process an 'instance' "
               "of its own",
               t->opt.id);
    if (err != NULL)
        err->fatal = true;
    return QN_DENIED;
}

static qn_status denied(const struct qn_kafka_transact *t, const struct producer *p,
                        struct qn_err *err)
{
    struct qn_buf topics = {0};

    for (uint32_t i = 0; i < t->opt.topic_count; i++)
        qn_buf_printf(&topics, "%s%s", i > 0 ? ", " : "", t->opt.topics[i]);
    qn_err_set(err, QN_DENIED,
               "this user may not write the answers: it needs the right Write on %.*s, and Read on "
               "the group (%s)",
               (int)topics.len, topics.data, p->words);
    qn_buf_fini(&topics);
    return QN_DENIED;
}

/* ---- without transactions --------------------------------------------------------------------*/

/* Until all records are answered: they borrow the caller's bytes. */
static void await_answers(struct qn_kafka_transact *t, struct producer *p)
{
    while (p->under_way > 0) {
        (void)rd_kafka_poll(p->client.rk, ANSWER_MS);
        if (t->opt.must_stop != NULL && t->opt.must_stop(t->opt.arg))
            (void)rd_kafka_purge(p->client.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    }
}

/* The positions, once their answers are there. */
static rd_kafka_resp_err_t commit_plain(struct producer *p, const struct qn_kafka_part *parts,
                                        uint32_t count, rd_kafka_t *consumer, struct qn_err *err)
{
    rd_kafka_consumer_group_metadata_t *group = membership(consumer, err);
    rd_kafka_topic_partition_list_t *l;
    rd_kafka_resp_err_t code;

    if (group == NULL)
        return RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    rd_kafka_consumer_group_metadata_destroy(group);
    l = positions_of(p, parts, count);
    code = rd_kafka_commit(consumer, l, 0);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < l->cnt; i++)
        code = l->elems[i].err;
    rd_kafka_topic_partition_list_destroy(l);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)qn_kafka_failed(err, &p->client, code, "the positions are not taken");
    return code;
}

/* Before anything else; false: it is not known to be where it must be, or not there. */
static bool write_journals(struct qn_kafka_transact *t, struct producer *p,
                           struct qn_kafka_part *parts, uint32_t count, struct qn_err *err)
{
    bool is_any = false, is_good = true;

    for (uint32_t i = 0; i < count; i++)
        if (has_journal(&parts[i])) {
            is_any = true;
            is_good &=
                produce_all(t, p, parts[i].journal, &parts[i], err) == RD_KAFKA_RESP_ERR_NO_ERROR;
        }
    if (is_any)
        await_answers(t, p);
    for (uint32_t i = 0; i < count; i++)
        if (has_journal(&parts[i]))
            is_good &= parts[i].journal_next ==
                       parts[i].journal_expected + (int64_t)parts[i].journal_count;
    if (is_any && p->failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)qn_kafka_failed(err, &p->client, p->failed, "the journal is not taken");
    return is_good && (!is_any || p->failed == RD_KAFKA_RESP_ERR_NO_ERROR);
}

static qn_status write_plain(struct qn_kafka_transact *t, struct qn_kafka_part *parts,
                             uint32_t count, rd_kafka_t *consumer, enum qn_kafka_outcome *outcome,
                             struct qn_err *err)
{
    struct producer *p = &t->producers[0];
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    struct qn_err why = {0};

    if (rd_kafka_fatal_error(p->client.rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR)
        QN_TRY(renew(t, 0, err));
    p->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!write_journals(t, p, parts, count, &why)) {
        *outcome = QN_KAFKA_OVERTAKEN;
        if (is_denied(p->failed)) {
            snprintf(p->words, sizeof(p->words), "%s", why.text);
            return denied(t, p, err);
        }
        if (why.text[0] == '\0')
            qn_err_set(&why, QN_IO, "another process has written the journal meanwhile");
        if (err != NULL)
            *err = why;
        return QN_OK;
    }
    for (uint32_t i = 0; i < count && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        code = produce_all(t, p, parts[i].records, NULL, &why);
    await_answers(t, p);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && (code = p->failed) != RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)qn_kafka_failed(&why, &p->client, code, "answers are not taken");
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && consumer != NULL) {
        code = commit_plain(p, parts, count, consumer, &why);
        t->stats.commits += code == RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        *outcome = QN_KAFKA_COMMITTED;
    if (err != NULL)
        *err = why;
    snprintf(p->words, sizeof(p->words), "%s", why.text);
    return is_denied(code) ? denied(t, p, err) : QN_OK;
}

/* ---- the whole -------------------------------------------------------------------------------*/

qn_status qn_kafka_transact(struct qn_kafka_transact *t, struct qn_kafka_part *parts,
                            uint32_t count, rd_kafka_t *consumer, enum qn_kafka_outcome *outcome,
                            struct qn_err *err)
{
    struct producer *p = &t->producers[t->turn];
    const uint32_t index = t->turn;
    rd_kafka_resp_err_t code, end;
    struct qn_err why = {0};
    uint64_t troubles;
    int64_t started, begun, ended;

    QN_ASSERT(count > 0);
    QN_ASSERT(consumer != NULL || t->opt.is_plain);
    *outcome = QN_KAFKA_NOT_COMMITTED;
    for (uint32_t i = 0; i < count; i++)
        parts[i].journal_next = -1;
    if (t->opt.is_plain)
        return write_plain(t, parts, count, consumer, outcome, err);
    if (p->is_doubtful)
        QN_TRY(renew(t, index, err));
    t->turn = (t->turn + 1) % PRODUCERS;
    (void)rd_kafka_poll(p->client.rk, 0);
    troubles = p->client.troubles;
    started = now_ns();
    code = fill(t, p, parts, count, consumer, &why);
    begun = now_ns();
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        end = noted(p, rd_kafka_commit_transaction(p->client.rk, -1));
        if (end != RD_KAFKA_RESP_ERR_NO_ERROR)
            (void)qn_kafka_failed(&why, &p->client, end, "the commit is not answered");
    } else {
        end = code_of(rd_kafka_abort_transaction(p->client.rk, -1));
        t->stats.aborts++;
    }
    (void)rd_kafka_poll(p->client.rk, 0); /* errors are reported here */
    ended = now_ns();
    p->is_doubtful = end != RD_KAFKA_RESP_ERR_NO_ERROR || p->client.troubles != troubles ||
                     ended - begun >= (int64_t)SOCKET_MS * 1000000;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        *outcome = p->is_doubtful ? QN_KAFKA_DOUBTFUL : QN_KAFKA_COMMITTED;
        t->stats.commits++;
    }
    if (p->is_doubtful && why.text[0] == '\0')
        qn_err_set(&why, QN_IO, "the answer to the commit came late, or by another way (%s)",
                   p->client.trouble);
    if (err != NULL)
        *err = why;
    if (is_denied(code) || (is_denied(end) && code == RD_KAFKA_RESP_ERR_NO_ERROR))
        return denied(t, p, err);
    if (is_fenced(code) || is_fenced(end)) {
        if (t->opt.is_replaced(t->opt.arg, err))
            return QN_DENIED;
        QN_TRY(count_fenced(t, ended - started, err));
    }
    /* Before anybody looks at positions: what is late must have happened or be refused. */
    return p->is_doubtful ? renew(t, index, err) : QN_OK;
}

#endif
