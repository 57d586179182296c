/* SPDX-License-Identifier: Apache-2.0
 * kafka_client.c - clients of librdkafka: settings, topics, headers, errors. See kafka_client.h.
 *
 * Thread: the client's owner; librdkafka's own threads call nothing of ours. Memory: librdkafka's.
 */
#include "log/kafka_client.h"

#include "log/log_local.h"

#ifdef QN_WITH_KAFKA

#include <stdio.h>
#include <time.h>

enum {
    NAMES_MAX = 512,
    ASK_MS = 1000,
    ASK_TIMES = 10,
    TROUBLED_TIMES = 3,
    PAUSE_MS = 200,
    FENCED_MAX = 3
};
#define FENCED_NS INT64_C(60000000000)

/* ---- clients ---------------------------------------------------------------------------------*/

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *arg)
{
    struct qn_kafka_client *c = arg;

    (void)rk;
    c->troubles++;
    c->is_hopeless |= code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
                      code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL ||
                      code == RD_KAFKA_RESP_ERR__RESOLVE;
    /* That all brokers are down says less than what was said before about one of them. */
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || c->trouble[0] == '\0')
        snprintf(c->trouble, sizeof(c->trouble), "%s", reason);
}

/* What every client has: quick to come back, no waiting for full segments. */
static const char *const shared[] = {
    "socket.nagle.disable", "true", "reconnect.backoff.max.ms", "300", "client.id", "quern", NULL};

static qn_status set_own(rd_kafka_conf_t *conf, const char *const *own, struct qn_err *err)
{
    char why[256];

    for (; own != NULL && own[0] != NULL; own += 2)
        if (rd_kafka_conf_set(conf, own[0], own[1], why, sizeof(why)) != RD_KAFKA_CONF_OK)
            return qn_err_set(err, QN_UNSUPPORTED, "librdkafka %s: %s", rd_kafka_version_str(),
                              why);
    return QN_OK;
}

qn_status qn_kafka_open(struct qn_kafka_client *c, const struct qn_kafka_client_options *opt,
                        struct qn_err *err)
{
    const char *const brokers[] = {"bootstrap.servers", opt->target->brokers, NULL};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char why[512];
    qn_status rc;

    c->troubles = 0;
    c->trouble[0] = '\0';
    c->is_consuming = c->is_hasty = false;
    rc = set_own(conf, shared, err);
    if (rc == QN_OK)
        rc = set_own(conf, opt->defaults, err);
    if (rc == QN_OK)
        rc = qn_kafka_set(conf, opt->target, err);
    if (rc == QN_OK)
        rc = set_own(conf, brokers, err);
    if (rc == QN_OK)
        rc = set_own(conf, opt->own, err);
    if (rc != QN_OK) {
        rd_kafka_conf_destroy(conf);
        return rc;
    }
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, NULL);
    if (opt->delivered != NULL)
        rd_kafka_conf_set_dr_msg_cb(conf, opt->delivered);
    if (opt->rebalanced != NULL)
        rd_kafka_conf_set_rebalance_cb(conf, opt->rebalanced);
    c->rk = rd_kafka_new(opt->type, conf, why, sizeof(why));
    if (c->rk != NULL)
        return QN_OK;
    rd_kafka_conf_destroy(conf);
    return qn_err_set(err, QN_INVALID, "librdkafka %s takes these settings not: %s",
                      rd_kafka_version_str(), why);
}

void qn_kafka_close(struct qn_kafka_client *c)
{
    if (c->rk == NULL)
        return;
    if (rd_kafka_type(c->rk) == RD_KAFKA_PRODUCER)
        (void)rd_kafka_purge(c->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_destroy_flags(c->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    c->rk = NULL;
}

rd_kafka_resp_err_t qn_kafka_assign(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *l)
{
    const rd_kafka_resp_err_t code = rd_kafka_assign(rk, l);

    /* Questions wait in the same queue as what is to be done: behind the first answer all that was
     * read before has stopped, behind the second what is read now was told to start. Where nothing
     * is read, the group waits for that itself; one that is being left might never answer. */
    for (int i = 0; l != NULL && i < 2; i++) {
        rd_kafka_topic_partition_list_t *now = NULL;

        if (rd_kafka_assignment(rk, &now) == RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_topic_partition_list_destroy(now);
    }
    return code;
}

bool qn_kafka_fenced_again(struct qn_kafka_fences *f, int64_t now_ns)
{
    if (f->count == 0 || now_ns - f->first_ns > FENCED_NS)
        *f = (struct qn_kafka_fences){.first_ns = now_ns};
    return ++f->count >= FENCED_MAX;
}

qn_status qn_kafka_failed(struct qn_err *err, const struct qn_kafka_client *c,
                          rd_kafka_resp_err_t code, const char *what)
{
    qn_status rc = QN_IO;

    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
        code == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        rc = QN_DENIED;
    if (c != NULL && c->trouble[0] != '\0')
        return qn_err_set(err, rc, "%s: %s (%s)", what, rd_kafka_err2str(code), c->trouble);
    return qn_err_set(err, rc, "%s: %s", what, rd_kafka_err2str(code));
}

/* ---- topics ----------------------------------------------------------------------------------*/

static qn_status unknown_topic(struct qn_kafka_client *c, const char *topic, struct qn_err *err)
{
    const struct rd_kafka_metadata *all = NULL;
    struct qn_str names[NAMES_MAX];
    uint32_t count = 0;
    int near = -1;

    if (rd_kafka_metadata(c->rk, 1, NULL, &all, ASK_MS) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        for (int i = 0; i < all->topic_cnt && count < NAMES_MAX; i++)
            names[count++] = qn_str_of(all->topics[i].topic);
        near = qn_nearest(qn_str_of(topic), names, count);
    }
    if (near >= 0)
        qn_err_set(err, QN_NOT_FOUND, "there is no topic '%s' (did you mean '%.*s'?)", topic,
                   QN_STR_ARG(names[near]));
    else
        qn_err_set(err, QN_NOT_FOUND,
                   "there is no topic '%s': create it (kafka-topics.sh --create --topic %s "
                   "--partitions N)",
                   topic, topic);
    if (all != NULL)
        rd_kafka_metadata_destroy(all);
    return QN_NOT_FOUND;
}

/* One answer about a topic: its partitions, or why there are none. */
static rd_kafka_resp_err_t ask(struct qn_kafka_client *c, rd_kafka_topic_t *handle,
                               uint32_t *partitions, bool *is_answered)
{
    const struct rd_kafka_metadata *found = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(c->rk, 0, handle, &found, ASK_MS);

    if (!c->is_consuming)
        (void)rd_kafka_poll(c->rk, 0); /* errors become trouble */
    *is_answered = code == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!*is_answered)
        return code;
    code = found->topic_cnt == 1 ? found->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && found->topics[0].partition_cnt > 0)
        *partitions = (uint32_t)found->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(found);
    return code;
}

static qn_status no_topic(struct qn_kafka_client *c, const char *topic, rd_kafka_resp_err_t code,
                          struct qn_err *err)
{
    if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        return qn_err_set(err, QN_DENIED,
                          "the topic '%s' may not be seen by this user: it needs the right to "
                          "describe it, and to read or write it",
                          topic);
    if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
        code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return unknown_topic(c, topic, err);
    return qn_kafka_failed(err, c, code, topic);
}

/* A topic that was made a moment ago is not known to every broker yet: it is asked for some times.
 */
qn_status qn_kafka_topic(struct qn_kafka_client *c, const char *topic, uint32_t *partitions,
                         bool (*must_stop)(void *arg), void *arg, struct qn_err *err)
{
    static const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
    rd_kafka_topic_t *handle = rd_kafka_topic_new(c->rk, topic, NULL);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    bool is_answered = false, is_stopped = false;

    *partitions = 0;
    if (handle == NULL)
        return qn_err_set(err, QN_INVALID, "'%s' cannot be the name of a topic", topic);
    for (int i = 0;
         *partitions == 0 && !is_stopped && code != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
         i++) {
        if (i >= (is_answered || !c->is_hopeless ? ASK_TIMES : TROUBLED_TIMES))
            break;
        if (i > 0 && is_answered)
            nanosleep(&pause, NULL);
        code = ask(c, handle, partitions, &is_answered);
        is_stopped = must_stop != NULL && must_stop(arg);
        if (is_answered && c->is_hasty)
            break;
    }
    rd_kafka_topic_destroy(handle);
    if (*partitions > 0)
        return QN_OK;
    if (is_stopped)
        return qn_err_set(err, QN_INTERRUPTED, "told to stop");
    if (!is_answered)
        return qn_kafka_failed(err, c, code, "no broker can be asked");
    return no_topic(c, topic, code, err);
}

/* What became of the one topic that was asked for. */
static rd_kafka_resp_err_t made(const rd_kafka_event_t *answer)
{
    const rd_kafka_CreateTopics_result_t *r;
    const rd_kafka_topic_result_t **topics;
    rd_kafka_resp_err_t code;
    size_t count = 0;

    if (answer == NULL)
        return RD_KAFKA_RESP_ERR__TIMED_OUT;
    code = rd_kafka_event_error((rd_kafka_event_t *)(uintptr_t)answer);
    r = rd_kafka_event_CreateTopics_result((rd_kafka_event_t *)(uintptr_t)answer);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR || r == NULL)
        return code != RD_KAFKA_RESP_ERR_NO_ERROR ? code : RD_KAFKA_RESP_ERR__FAIL;
    topics = rd_kafka_CreateTopics_result_topics(r, &count);
    return count == 1 ? rd_kafka_topic_result_error(topics[0]) : RD_KAFKA_RESP_ERR__FAIL;
}

qn_status qn_kafka_topic_make(struct qn_kafka_client *c, const char *topic, uint32_t partitions,
                              struct qn_err *err)
{
    char why[256];
    rd_kafka_NewTopic_t *wish = rd_kafka_NewTopic_new(topic, (int)partitions, -1, why, sizeof(why));
    rd_kafka_queue_t *answers = rd_kafka_queue_new(c->rk);
    rd_kafka_event_t *answer;
    rd_kafka_resp_err_t code;

    if (wish == NULL) {
        rd_kafka_queue_destroy(answers);
        return qn_err_set(err, QN_INVALID, "the topic '%s' cannot be made: %s", topic, why);
    }
    rd_kafka_CreateTopics(c->rk, &wish, 1, NULL, answers);
    answer = rd_kafka_queue_poll(answers, ASK_MS * ASK_TIMES);
    code = made(answer);
    if (answer != NULL)
        rd_kafka_event_destroy(answer);
    rd_kafka_NewTopic_destroy(wish);
    rd_kafka_queue_destroy(answers);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR || code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
        return QN_OK;
    snprintf(why, sizeof(why), "the topic '%s' cannot be made", topic);
    return qn_kafka_failed(err, c, code, why);
}

/* ---- headers ---------------------------------------------------------------------------------*/

void qn_kafka_headers_read(const rd_kafka_message_t *m, struct qn_buf *out)
{
    rd_kafka_headers_t *all;
    const char *name;
    const void *value;
    size_t bytes;

    if (rd_kafka_message_headers(m, &all) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    for (size_t i = 0;
         rd_kafka_header_get_all(all, i, &name, &value, &bytes) == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        qn_log_header_add(out, qn_str_of(name),
                          (struct qn_str){value != NULL ? value : "", (uint32_t)bytes});
}

rd_kafka_headers_t *qn_kafka_headers_make(struct qn_str headers)
{
    rd_kafka_headers_t *all = NULL;
    struct qn_log_header h;

    while (qn_log_header_next(&headers, &h)) {
        if (all == NULL)
            all = rd_kafka_headers_new(8);
        (void)rd_kafka_header_add(all, h.name.p, (ssize_t)h.name.len, h.value.p,
                                  (ssize_t)h.value.len);
    }
    return all;
}

#endif
