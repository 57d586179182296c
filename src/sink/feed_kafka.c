/* SPDX-License-Identifier: Apache-2.0
 * feed_kafka.c - a topic in Kafka as the feed of a delivery: partitions that a group shares out
 * among processes, and the group's positions as the cursor.
 *
 *   group ──► assigned: positions ─► read each partition from its queue ─► settle ─► commit
 *      └────► revoked: the delivery commits what is settled, the rest is let go
 *
 * What the group says comes by the consumer's own queue, records by a queue of each partition: so
 * the group is heard while nothing is read for hours because a target is down. Callbacks only note
 * what was said; serve() does it. Invariants: a position is committed by the member that was given
 * the partition and by nobody later (the brokers refuse another generation); dead letters are
 * acknowledged before the positions behind them are sent. What is committed was delivered; what was
 * delivered and not committed when a process dies comes again. Thread: the delivery's. Memory: one
 * batch, and what librdkafka fetches ahead: 4 MiB a partition unless the spec says another. */
#include "sink/feed.h"

#ifndef QN_WITH_KAFKA

qn_status qn_feed_kafka_new(const struct qn_feed_kafka_options *opt, struct qn_feed **out,
                            struct qn_err *err)
{
    *out = NULL;
    return qn_kafka_available(err);
}

#else

#include "base/check.h"
#include "base/memory.h"
#include "log/kafka_transact.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    RECORDS_MAX = 256,       /* of one batch                                              */
    DEAD_BYTES_MAX = 900000, /* of a dead letter: brokers take a megabyte                 */
    LETTERS_BYTES_MAX = 4 << 20,
    ASK_MS = 1000,    /* for an answer of the brokers                              */
    COMMIT_MS = 5000, /* likewise, for that to a commit                            */
    POLL_MS = 100,
    LEAVE_MS = 3000
};
#define SERVE_NS INT64_C(100000000)
#define LOOK_NS  INT64_C(500000000)
#define ENDS_NS  INT64_C(5000000000) /* between two questions where topics end              */
#define AGAIN_NS INT64_C(3000000000) /* before a consumer that broke is made anew           */

/* One partition; meaningful while it is ours. */
struct part {
    bool is_ours, is_new; /* new: the group has no position of it yet                    */
    rd_kafka_queue_t *queue;
    int64_t next;    /* first offset that is not settled                           */
    int64_t moved;   /* the group's position                                       */
    int64_t read;    /* first offset that is wanted of librdkafka                  */
    int64_t reached; /* nothing was left to read up to there, markers included     */
    int64_t end;     /* of the partition, as far as is known                       */
    int64_t goal;    /* where it ended when the delivery was told to stop          */
};

struct kafka {
    struct qn_feed feed;
    struct qn_feed_kafka_options opt;
    struct qn_kafka_client consumer; /* closed: it broke, and another one is made        */
    rd_kafka_queue_t *answers;       /* to commits                                       */
    int wake_fd;                     /* readable: a queue may have something             */
    uint64_t wake_one;               /* what librdkafka writes there                     */
    int64_t broke_ns;
    struct part *parts; /* [opt.partitions] */
    uint32_t first;     /* partition that is asked first, so that each has its turn */

    rd_kafka_topic_partition_list_t *given; /* by the group, and not begun yet */
    bool is_leaving, is_lost, is_broken;
    bool must_place; /* a partition no longer has what is next  */
    bool is_closing, is_draining;
    int32_t generation;   /* of the group when it gave us what we have */
    struct qn_err denied; /* of what was heard; text "" = nothing        */
    char told[256];       /* the last trouble                            */

    rd_kafka_message_t *messages[RECORDS_MAX]; /* of the batch */
    uint32_t count;
    struct qn_buf headers; /* of the batch */

    struct qn_kafka_transact *writer; /* of dead letters; NULL = there was none yet */
    struct qn_buf letters, letter;    /* of the next commit; headers of one         */
    uintptr_t commits;                /* sent so far: tells answers apart            */

    int64_t looked_ns, ends_ns;
    atomic_uint_fast64_t lag;
};

static struct kafka *of(struct qn_feed *f)
{
    return (struct kafka *)f;
}

static int64_t now_ns(const struct kafka *k)
{
    return k->opt.clock->mono_ns(k->opt.clock->st);
}

__attribute__((format(printf, 3, 4))) static void tell(struct kafka *k, bool is_problem,
                                                       const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    k->opt.tell(k->opt.arg, is_problem, text);
}

/* The brokers may answer another time. */
static qn_status failed(struct kafka *k, rd_kafka_resp_err_t code, const char *what,
                        struct qn_err *err)
{
    const qn_status rc = qn_kafka_failed(err, &k->consumer, code, what);

    if (rc == QN_DENIED && err != NULL)
        err->fatal = true;
    return rc;
}

static void see_news(struct kafka *k)
{
    k->feed.has_news = false;
    for (uint32_t i = 0; i < k->opt.partitions; i++)
        k->feed.has_news |=
            k->parts[i].is_ours && (k->parts[i].is_new || k->parts[i].next != k->parts[i].moved);
}

/* Adds the partitions that are ours, each at what `at` says. */
static rd_kafka_topic_partition_list_t *list_of(const struct kafka *k,
                                                int64_t (*at)(const struct part *))
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(8);

    for (uint32_t i = 0; i < k->opt.partitions; i++)
        if (k->parts[i].is_ours)
            rd_kafka_topic_partition_list_add(l, k->opt.topic, (int32_t)i)->offset =
                at(&k->parts[i]);
    return l;
}

static int64_t read_of(const struct part *p)
{
    return p->read;
}

static int64_t next_of(const struct part *p)
{
    return p->next;
}

static int64_t end_of(const struct part *p)
{
    return RD_KAFKA_OFFSET_END;
}

/* ---- the group -------------------------------------------------------------------------------*/

static void drop_queue(struct part *p)
{
    if (p->queue == NULL)
        return;
    rd_kafka_queue_io_event_enable(p->queue, -1, NULL, 0);
    rd_kafka_queue_destroy(p->queue);
    p->queue = NULL;
}

static void release(struct kafka *k)
{
    for (uint32_t i = 0; i < k->count; i++)
        rd_kafka_message_destroy(k->messages[i]);
    k->count = 0;
    qn_buf_clear(&k->headers);
}

/* Nothing is ours any more. */
static void forget(struct kafka *k)
{
    release(k);
    for (uint32_t i = 0; i < k->opt.partitions; i++) {
        drop_queue(&k->parts[i]);
        k->parts[i] = (struct part){.is_ours = false};
    }
    if (k->given != NULL)
        rd_kafka_topic_partition_list_destroy(k->given);
    k->given = NULL;
    k->is_leaving = k->is_lost = k->must_place = false;
    atomic_store(&k->lag, 0);
    see_news(k);
}

/* Inside rd_kafka_consumer_poll. */
static void rebalanced(rd_kafka_t *rk, rd_kafka_resp_err_t why, rd_kafka_topic_partition_list_t *l,
                       void *client)
{
    struct kafka *k = ((struct qn_kafka_client *)client)->arg;

    if (k->is_closing) {
        (void)qn_kafka_assign(rk, NULL);
    } else if (why == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        if (k->given != NULL)
            rd_kafka_topic_partition_list_destroy(k->given);
        k->given = rd_kafka_topic_partition_list_copy(l);
    } else {
        k->is_leaving = true;
        k->is_lost = rd_kafka_assignment_lost(rk);
    }
}

static void wake_by(struct kafka *k, rd_kafka_queue_t *queue)
{
    rd_kafka_queue_io_event_enable(queue, k->wake_fd, &k->wake_one, sizeof(k->wake_one));
}

static qn_status subscribe(struct kafka *k, struct qn_err *err)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(1);
    rd_kafka_resp_err_t code;

    rd_kafka_topic_partition_list_add(l, k->opt.topic, RD_KAFKA_PARTITION_UA);
    code = rd_kafka_subscribe(k->consumer.rk, l);
    rd_kafka_topic_partition_list_destroy(l);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? QN_OK
                                              : failed(k, code, "cannot join the group", err);
}

static qn_status join(struct kafka *k, struct qn_err *err)
{
    const char *own[] = {"group.id",      k->opt.group,
                         QN_KAFKA_READER, "partition.assignment.strategy",
                         "range",         k->opt.instance != NULL ? "group.instance.id" : NULL,
                         k->opt.instance, NULL};
    /* A request to a target may take ten minutes; whoever joins waits for it. */
    static const char *const defaults[] = {"session.timeout.ms",
                                           "10000",
                                           "heartbeat.interval.ms",
                                           "2000",
                                           "max.poll.interval.ms",
                                           "900000",
                                           "queued.max.messages.kbytes",
                                           "4096",
                                           NULL};
    const struct qn_kafka_client_options client = {.target = k->opt.target,
                                                   .type = RD_KAFKA_CONSUMER,
                                                   .defaults = defaults,
                                                   .own = own,
                                                   .rebalanced = rebalanced};
    rd_kafka_queue_t *queue;

    k->consumer.arg = k;
    QN_TRY(qn_kafka_open(&k->consumer, &client, err));
    (void)rd_kafka_poll_set_consumer(k->consumer.rk);
    k->consumer.is_consuming = true;
    k->answers = rd_kafka_queue_new(k->consumer.rk);
    queue = rd_kafka_queue_get_consumer(k->consumer.rk);
    wake_by(k, queue);
    rd_kafka_queue_destroy(queue);
    return subscribe(k, err);
}

/* Tells the group, if that can be done soon. */
static void leave(struct kafka *k)
{
    const int64_t end = now_ns(k) + LEAVE_MS * INT64_C(1000000);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(k->consumer.rk, k->answers);

    if (error != NULL) {
        rd_kafka_error_destroy(error);
        return;
    }
    while (!rd_kafka_consumer_closed(k->consumer.rk) && now_ns(k) < end &&
           !k->opt.must_stop(k->opt.arg))
        (void)rd_kafka_queue_poll_callback(k->answers, POLL_MS);
}

static void close_consumer(struct kafka *k, bool is_telling)
{
    if (k->consumer.rk == NULL)
        return;
    k->is_closing = true;
    forget(k);
    if (is_telling)
        leave(k);
    if (k->answers != NULL)
        rd_kafka_queue_destroy(k->answers);
    k->answers = NULL;
    qn_kafka_close(&k->consumer);
    k->is_closing = k->is_broken = false;
}

/* ---- what is ours ----------------------------------------------------------------------------*/

/* Where a partition begins and ends; what was removed before it was delivered is said. */
static qn_status look_at(struct kafka *k, uint32_t i, struct qn_err *err)
{
    struct part *p = &k->parts[i];
    int64_t oldest, end;
    const rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        k->consumer.rk, k->opt.topic, (int32_t)i, &oldest, &end, ASK_MS);

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return failed(k, code, "cannot see where the topic begins", err);
    p->end = end;
    if (p->is_new && p->read < 0)
        p->next = p->moved = p->read = k->opt.begins_newest ? end : oldest;
    if (p->read < oldest) {
        tell(k, true,
             "partition %u of '%s' no longer holds %lld to %lld, which were not delivered; going "
             "on behind them",
             i, k->opt.topic, (long long)p->read, (long long)oldest - 1);
        if (p->next == p->read)
            p->next = oldest;
        p->read = oldest;
    }
    if (p->read <= end)
        return QN_OK;
    qn_err_set(err, QN_CORRUPT,
               "the group '%s' stands at record %lld of partition %u of '%s', which ends at %lld: "
               "the topic is not the one it was; delete the group's positions, or use another "
               "group",
               k->opt.group, (long long)p->read, i, k->opt.topic, (long long)end);
    err->fatal = true;
    return QN_CORRUPT;
}

/* Reads each from where it stands; what was fetched ahead is fetched again. */
static qn_status read_on(struct kafka *k, struct qn_err *err)
{
    rd_kafka_topic_partition_list_t *l = list_of(k, read_of);
    rd_kafka_resp_err_t code;

    for (uint32_t i = 0; i < k->opt.partitions; i++) {
        struct part *p = &k->parts[i];

        p->reached = 0;
        if (!p->is_ours || p->queue != NULL)
            continue;
        p->queue = rd_kafka_queue_get_partition(k->consumer.rk, k->opt.topic, (int32_t)i);
        QN_ASSERT(p->queue != NULL);
        rd_kafka_queue_forward(p->queue, NULL); /* and never to the consumer's, from now on */
        wake_by(k, p->queue);
    }
    code = qn_kafka_assign(k->consumer.rk, l);
    rd_kafka_topic_partition_list_destroy(l);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? QN_OK
                                              : failed(k, code, "cannot read the partitions", err);
}

static qn_status place_all(struct kafka *k, struct qn_err *err)
{
    for (uint32_t i = 0; i < k->opt.partitions; i++)
        if (k->parts[i].is_ours)
            QN_TRY(look_at(k, i, err));
    k->must_place = false;
    return read_on(k, err);
}

/* What the group gave us. */
static qn_status begin(struct kafka *k, struct qn_err *err)
{
    rd_kafka_resp_err_t code = k->given->cnt == 0
                                   ? RD_KAFKA_RESP_ERR_NO_ERROR
                                   : rd_kafka_committed(k->consumer.rk, k->given, ASK_MS);

    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < k->given->cnt; i++)
        code = k->given->elems[i].err;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return failed(k, code, "the positions of the group cannot be read", err);
    for (int i = 0; i < k->given->cnt; i++) {
        const rd_kafka_topic_partition_t *at = &k->given->elems[i];
        struct part *p;

        if ((uint32_t)at->partition >= k->opt.partitions) {
            tell(k, true, "partition %d of %s is new: it is delivered after a start", at->partition,
                 k->opt.topic);
            continue;
        }
        p = &k->parts[at->partition];
        p->is_ours = true;
        p->is_new = at->offset < 0;
        p->next = p->moved = p->read = at->offset;
    }
    QN_TRY(place_all(k, err));
    k->generation = qn_kafka_generation(k->consumer.rk);
    tell(k, false, "%d of %u partitions of %s are ours", k->given->cnt, k->opt.partitions,
         k->opt.topic);
    rd_kafka_topic_partition_list_destroy(k->given);
    k->given = NULL;
    see_news(k);
    return QN_OK;
}

/* ---- what is said ----------------------------------------------------------------------------*/

/* What is no record: of the consumer, or of a partition. */
static void hear(struct kafka *k, const rd_kafka_message_t *m)
{
    const char *words = rd_kafka_message_errstr(m);

    switch (m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if ((uint32_t)m->partition < k->opt.partitions)
            k->parts[m->partition].reached = m->offset;
        return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        k->must_place = true;
        return;
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR__FATAL:
        k->is_leaving = k->is_lost = k->is_broken = true;
        break;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        qn_err_set(&k->denied, QN_DENIED,
                   "this user may not read '%s' as a member of group '%s': it needs Read on both "
                   "(%s)",
                   k->opt.topic, k->opt.group, words);
        k->denied.fatal = true;
        return;
    default:
        break;
    }
    if (strncmp(k->told, words, sizeof(k->told) - 1) == 0)
        return;
    snprintf(k->told, sizeof(k->told), "%s", words);
    tell(k, true, "%s", words);
}

/* Callbacks and errors of the consumer. */
static void hear_group(struct kafka *k)
{
    rd_kafka_message_t *m;

    while (!k->is_leaving && (m = rd_kafka_consumer_poll(k->consumer.rk, 0)) != NULL) {
        if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            hear(k, m);
        else
            k->must_place = true; /* a record on the wrong queue: once more */
        rd_kafka_message_destroy(m);
    }
}

/* Asks the brokers where the topic ends; false where they do not say. */
static bool ask_ends(struct kafka *k)
{
    rd_kafka_topic_partition_list_t *l = list_of(k, end_of);
    bool is_known = l->cnt > 0 && rd_kafka_offsets_for_times(k->consumer.rk, l, ASK_MS) ==
                                      RD_KAFKA_RESP_ERR_NO_ERROR;

    for (int i = 0; is_known && i < l->cnt; i++)
        if (l->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR && l->elems[i].offset >= 0)
            k->parts[l->elems[i].partition].end = l->elems[i].offset;
    rd_kafka_topic_partition_list_destroy(l);
    return is_known;
}

/* How much is left. What was fetched last knows it, unless nothing is fetched. */
static void look(struct kafka *k)
{
    const int64_t now = now_ns(k);
    uint64_t lag = 0;

    if (now - k->looked_ns < LOOK_NS)
        return;
    k->looked_ns = now;
    if (now - k->ends_ns >= ENDS_NS && atomic_load(&k->lag) > 0) {
        k->ends_ns = now;
        (void)ask_ends(k);
    }
    for (uint32_t i = 0; i < k->opt.partitions; i++) {
        struct part *p = &k->parts[i];
        int64_t oldest = 0, end = 0;

        if (!p->is_ours)
            continue;
        (void)rd_kafka_get_watermark_offsets(k->consumer.rk, k->opt.topic, (int32_t)i, &oldest,
                                             &end);
        p->end = end > p->end ? end : p->end;
        p->end = p->next > p->end ? p->next : p->end;
        lag += (uint64_t)(p->end - p->next);
    }
    atomic_store(&k->lag, lag);
}

/* ---- reading ---------------------------------------------------------------------------------*/

/* Behind the last record of a partition may lie markers of transactions: they are passed too, or
 * somebody would see a lag for ever. Everything that was read is settled. */
static void pass_ends(struct kafka *k)
{
    for (uint32_t i = 0; i < k->opt.partitions; i++) {
        struct part *p = &k->parts[i];

        if (!p->is_ours || p->reached <= p->next)
            continue;
        p->next = p->reached;
        p->read = p->reached > p->read ? p->reached : p->read;
        k->feed.has_news = true;
    }
}

static void add_record(struct kafka *k, rd_kafka_message_t *m, struct qn_log_record *r)
{
    const int64_t time_ms = rd_kafka_message_timestamp(m, NULL);
    const size_t begin = k->headers.len;

    qn_kafka_headers_read(m, &k->headers);
    *r = (struct qn_log_record){
        .key = {m->key, (uint32_t)m->key_len},
        .value = {m->payload, (uint32_t)m->len},
        .headers = {NULL, (uint32_t)(k->headers.len - begin)}, /* where, when all are there */
        .time_us = QN_LOG_NO_TIME,
        .offset = (uint64_t)m->offset,
        .append_us = time_ms > 0 ? time_ms * 1000 : 0,
        .partition = (uint32_t)m->partition,
        .kind = QN_LOG_RECORDS};
    k->messages[k->count++] = m;
}

/* One partition's records, while there is room. */
static void read_part(struct kafka *k, struct part *p, struct qn_log_record *records, uint32_t max)
{
    rd_kafka_message_t *m;

    while (k->count < max && (m = rd_kafka_consume_queue(p->queue, 0)) != NULL) {
        const bool is_record = m->err == RD_KAFKA_RESP_ERR_NO_ERROR;

        if (!is_record)
            hear(k, m);
        if (is_record && m->offset >= p->read) {
            p->read = m->offset + 1;
            add_record(k, m, &records[k->count]);
        } else {
            rd_kafka_message_destroy(m);
        }
    }
}

static qn_status kafka_read(struct qn_feed *f, struct qn_log_record *records, uint32_t max,
                            uint32_t *count, struct qn_err *err)
{
    struct kafka *k = of(f);
    const uint32_t parts = k->opt.partitions;
    const char *headers;

    *count = 0;
    release(k);
    pass_ends(k);
    if (max > RECORDS_MAX)
        max = RECORDS_MAX;
    for (uint32_t n = 0; n < parts && k->count < max; n++) {
        struct part *p = &k->parts[(k->first + n) % parts];

        if (p->is_ours && p->queue != NULL)
            read_part(k, p, records, max);
    }
    k->first = (k->first + 1) % parts;
    if (k->headers.failed) {
        for (uint32_t i = 0; i < parts; i++)
            k->parts[i].read = k->parts[i].next;
        k->must_place = true;
        release(k);
        return qn_err_set(err, QN_NOMEM, "out of memory for the headers of records");
    }
    headers = k->headers.data;
    for (uint32_t i = 0; i < k->count; i++) {
        records[i].headers.p = headers;
        headers += records[i].headers.len;
    }
    *count = k->count;
    return QN_OK;
}

static void kafka_settle(struct qn_feed *f, const struct qn_log_record *r)
{
    of(f)->parts[r->partition].next = (int64_t)r->offset + 1;
    f->has_news = true;
}

static qn_status kafka_rewind(struct qn_feed *f, struct qn_err *err)
{
    struct kafka *k = of(f);
    const bool is_leaving = k->is_leaving, is_broken = k->is_broken;

    qn_buf_clear(&k->letters);
    f->dead = 0;
    f->is_stuck = false;
    if (is_leaving) {
        forget(k);
        (void)qn_kafka_assign(k->consumer.rk, NULL);
        if (is_broken) {
            k->broke_ns = now_ns(k);
            close_consumer(k, false);
        }
        return QN_OK;
    }
    release(k);
    for (uint32_t i = 0; i < k->opt.partitions; i++) {
        k->parts[i].next = k->parts[i].read = k->parts[i].moved;
        k->must_place |= k->parts[i].is_ours;
    }
    see_news(k);
    return QN_OK;
}

/* ---- the cursor and dead letters -------------------------------------------------------------*/

static qn_status kafka_dead(struct qn_feed *f, const struct qn_log_record *r,
                            struct qn_dead_letter *letter, struct qn_err *err)
{
    struct kafka *k = of(f);
    struct qn_str value = r->value;
    const size_t before = k->letters.len;

    letter->topic = qn_str_of(k->opt.topic);
    letter->partition = r->partition;
    letter->offset = r->offset;
    qn_buf_clear(&k->letter);
    qn_dead_letter_headers(letter, r->headers, &k->letter);
    if ((size_t)r->key.len + value.len + k->letter.len > DEAD_BYTES_MAX)
        value = (struct qn_str){NULL, 0}; /* no broker takes it with its headers: they must do */
    if (before > 0 && before + r->key.len + value.len + k->letter.len > LETTERS_BYTES_MAX)
        return qn_err_set(err, QN_FULL, "enough letters for one commit");
    qn_kafka_record_add(&k->letters, 0, r->partition, r->key,
                        (struct qn_str){k->letter.data, (uint32_t)k->letter.len}, value);
    if (k->letter.failed || k->letters.failed) {
        k->letters.len = before;
        k->letters.failed = k->letter.failed = false;
        return qn_err_set(err, QN_NOMEM, "out of memory for a dead letter");
    }
    f->dead++;
    kafka_settle(f, r);
    return QN_OK;
}

static qn_status write_letters(struct kafka *k, struct qn_err *err)
{
    const struct qn_kafka_transact_options opt = {.target = k->opt.target,
                                                  .id = k->opt.group,
                                                  .topics = &k->opt.dead_topic,
                                                  .partitions = &k->opt.dead_partitions,
                                                  .topic_count = 1,
                                                  .is_plain = true,
                                                  .shards = k->opt.partitions,
                                                  .must_stop = k->opt.must_stop,
                                                  .arg = k->opt.arg};
    struct qn_kafka_part part = {.records = &k->letters, .mark = ""}; /* no positions */
    enum qn_kafka_outcome outcome;
    struct qn_err why = {0};

    if (k->writer == NULL)
        QN_TRY(qn_kafka_transact_new(&opt, &k->writer, err));
    if (qn_kafka_transact(k->writer, &part, 1, NULL, &outcome, &why) == QN_OK &&
        outcome == QN_KAFKA_COMMITTED) {
        qn_buf_clear(&k->letters);
        return QN_OK;
    }
    return qn_err_set(err, QN_IO, "dead letters are not taken: %s", why.text);
}

static bool is_member(struct kafka *k)
{
    return k->consumer.rk != NULL && !k->is_lost &&
           qn_kafka_generation(k->consumer.rk) == k->generation;
}

/* The brokers' answer to the positions; __TIMED_OUT where none comes. */
static rd_kafka_resp_err_t await_answer(struct kafka *k)
{
    const int64_t end = now_ns(k) + COMMIT_MS * INT64_C(1000000);

    while (now_ns(k) < end) {
        rd_kafka_event_t *answer = rd_kafka_queue_poll(k->answers, POLL_MS);
        const rd_kafka_topic_partition_list_t *l;
        rd_kafka_resp_err_t code;
        bool is_ours;

        if (answer == NULL && k->opt.must_stop(k->opt.arg))
            break;
        if (answer == NULL)
            continue;
        is_ours = rd_kafka_event_type(answer) == RD_KAFKA_EVENT_OFFSET_COMMIT &&
                  (uintptr_t)rd_kafka_event_opaque(answer) == k->commits;
        code = rd_kafka_event_error(answer);
        l = rd_kafka_event_topic_partition_list(answer);
        for (int i = 0; is_ours && l != NULL && code == RD_KAFKA_RESP_ERR_NO_ERROR && i < l->cnt;
             i++)
            code = l->elems[i].err;
        rd_kafka_event_destroy(answer);
        if (is_ours)
            return code;
    }
    return RD_KAFKA_RESP_ERR__TIMED_OUT;
}

/* True for the answers that mean that the partitions are on their way to somebody else: the group
 * will say so. */
static bool is_moving(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
           code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS ||
           code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
}

static qn_status commit_positions(struct kafka *k, struct qn_err *err)
{
    rd_kafka_topic_partition_list_t *l = list_of(k, next_of);
    rd_kafka_resp_err_t code;

    code = rd_kafka_commit_queue(k->consumer.rk, l, k->answers, NULL, (void *)++k->commits);
    rd_kafka_topic_partition_list_destroy(l);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        code = await_answer(k);
    if (is_moving(code))
        return QN_OK;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return failed(k, code, "the positions are not taken", err);
    for (uint32_t i = 0; i < k->opt.partitions; i++) {
        k->parts[i].moved = k->parts[i].next;
        k->parts[i].is_new = false;
    }
    see_news(k);
    return QN_OK;
}

static qn_status kafka_commit(struct qn_feed *f, struct qn_err *err)
{
    struct kafka *k = of(f);
    qn_status rc = QN_OK;

    if (!is_member(k))
        return QN_OK; /* whoever has them now tries these records again */
    f->is_stuck = true;
    if (k->letters.len > 0)
        rc = write_letters(k, err);
    if (rc == QN_OK) {
        f->dead = 0;
        rc = commit_positions(k, err);
    }
    f->is_stuck = rc != QN_OK;
    return rc;
}

/* ---- the feed's own affairs ------------------------------------------------------------------*/

static qn_status kafka_serve(struct qn_feed *f, bool *must_let_go, struct qn_err *err)
{
    struct kafka *k = of(f);
    struct qn_err later = {0};

    *must_let_go = false;
    if (k->consumer.rk == NULL) {
        if (now_ns(k) - k->broke_ns < AGAIN_NS)
            return QN_OK;
        k->broke_ns = now_ns(k);
        QN_TRY(join(k, err));
    }
    hear_group(k);
    if (k->is_leaving) {
        *must_let_go = true;
        return QN_OK;
    }
    if (k->denied.text[0] != '\0') {
        *err = k->denied;
        return err->code;
    }
    if (k->given != NULL) {
        QN_TRY(begin(k, err));
        if (f->has_news) /* where the group begins is known from now on, whoever dies; or later */
            (void)commit_positions(k, &later);
    }
    if (k->must_place)
        QN_TRY(place_all(k, err));
    look(k);
    return QN_OK;
}

static void kafka_wait(struct qn_feed *f, int64_t ms)
{
    struct kafka *k = of(f);
    struct pollfd wake = {.fd = k->wake_fd, .events = POLLIN};
    uint64_t count;

    if (poll(&wake, 1, ms < POLL_MS ? (int)ms : POLL_MS) > 0)
        (void)!read(k->wake_fd, &count, sizeof(count));
}

/* ---- life ------------------------------------------------------------------------------------*/

static uint64_t kafka_lag(struct qn_feed *f, uint64_t next)
{
    return atomic_load(&of(f)->lag);
}

static bool kafka_is_drained(struct qn_feed *f)
{
    struct kafka *k = of(f);

    if (!k->is_draining) { /* others may go on writing to our partitions */
        k->is_draining = true;
        if (k->consumer.rk != NULL && !k->opt.must_stop(k->opt.arg))
            (void)ask_ends(k);
        for (uint32_t i = 0; i < k->opt.partitions; i++)
            k->parts[i].goal = k->parts[i].end;
    }
    for (uint32_t i = 0; i < k->opt.partitions; i++)
        if (k->parts[i].is_ours && k->parts[i].next < k->parts[i].goal)
            return false;
    return true;
}

static void kafka_free(struct qn_feed *f)
{
    struct kafka *k = of(f);

    close_consumer(k, true);
    qn_kafka_transact_free(k->writer);
    if (k->wake_fd >= 0)
        (void)close(k->wake_fd);
    qn_buf_fini(&k->headers);
    qn_buf_fini(&k->letters);
    qn_buf_fini(&k->letter);
    qn_mem_free(k->parts);
    qn_mem_free(k);
}

static const struct qn_feed_ops kafka_ops = {.read = kafka_read,
                                             .settle = kafka_settle,
                                             .dead = kafka_dead,
                                             .commit = kafka_commit,
                                             .rewind = kafka_rewind,
                                             .serve = kafka_serve,
                                             .wait = kafka_wait,
                                             .lag = kafka_lag,
                                             .is_drained = kafka_is_drained,
                                             .free = kafka_free};

qn_status qn_feed_kafka_new(const struct qn_feed_kafka_options *opt, struct qn_feed **out,
                            struct qn_err *err)
{
    struct kafka *k = qn_mem_zalloc(1, sizeof(*k));
    qn_status rc;

    *out = NULL;
    QN_ASSERT(opt->partitions > 0);
    if (k == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a delivery from Kafka");
    k->opt = *opt;
    k->feed = (struct qn_feed){.ops = &kafka_ops, .log_id = opt->cluster, .serve_ns = SERVE_NS};
    k->wake_one = 1;
    k->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    k->parts = qn_mem_zalloc(opt->partitions, sizeof(*k->parts));
    if (k->parts == NULL || k->wake_fd < 0)
        rc = qn_err_set(err, QN_NOMEM, "out of memory for a delivery from Kafka");
    else
        rc = join(k, err);
    if (rc != QN_OK) {
        kafka_free(&k->feed);
        return rc;
    }
    *out = &k->feed;
    return QN_OK;
}

#endif
