/* SPDX-License-Identifier: Apache-2.0
 * kafka_target.c - checks the settings of a Kafka cluster, with librdkafka's own tables. See
 * kafka_target.h.
 *
 * Thread: any; no state. */
#include "log/kafka_target.h"

#include "log/kafka_client.h"

#ifndef QN_WITH_KAFKA

qn_status qn_kafka_available(struct qn_err *err)
{
    return qn_err_set(
        err, QN_UNSUPPORTED,
        "this program was built without Kafka: install librdkafka 2.0.2 or newer with "
        "its headers (Debian: librdkafka-dev) and build again");
}

const char *qn_kafka_version(void)
{
    return NULL;
}

qn_status qn_kafka_check(const struct qn_kafka_target *t, struct qn_err *err)
{
    (void)t;
    return qn_kafka_available(err);
}

#else

#include <stdio.h>

enum { NAME_BYTES = 100, NAMES_MAX = 512 };

qn_status qn_kafka_available(struct qn_err *err)
{
    (void)err;
    return QN_OK;
}

const char *qn_kafka_version(void)
{
    return rd_kafka_version_str();
}

/* ---- settings --------------------------------------------------------------------------------*/

/* What decides how often something is read or written, and what would load foreign code. */
static bool is_ours(const char *name)
{
    static const char *const ours[] = {"bootstrap.servers",
                                       "metadata.broker.list",
                                       "group.id",
                                       "group.instance.id",
                                       "enable.auto.commit",
                                       "auto.commit.enable",
                                       "enable.idempotence",
                                       "enable.auto.offset.store",
                                       "isolation.level",
                                       "auto.offset.reset",
                                       "transactional.id",
                                       "partition.assignment.strategy",
                                       "acks",
                                       "request.required.acks",
                                       "partitioner",
                                       "enable.partition.eof",
                                       "plugin.library.paths",
                                       "log_level",
                                       "debug"};

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strcmp(ours[i], name) == 0)
            return true;
    return false;
}

static qn_status unknown_name(const char *name, rd_kafka_conf_t *conf, struct qn_err *err)
{
    struct qn_str names[NAMES_MAX];
    uint32_t count = 0;
    size_t pairs = 0;
    const char **all = rd_kafka_conf_dump(conf, &pairs);
    int near;

    for (size_t i = 0; i + 1 < pairs && count < NAMES_MAX; i += 2)
        names[count++] = qn_str_of(all[i]);
    near = qn_nearest(qn_str_of(name), names, count);
    if (near >= 0)
        qn_err_set(err, QN_INVALID, "librdkafka has no setting '%s' (did you mean '%.*s'?)", name,
                   QN_STR_ARG(names[near]));
    else
        qn_err_set(err, QN_INVALID,
                   "librdkafka %s has no setting '%s': its CONFIGURATION.md lists them",
                   rd_kafka_version_str(), name);
    rd_kafka_conf_dump_free(all, pairs);
    return QN_INVALID;
}

/* One "name=value" into conf. A value may be a secret: it is never quoted. */
static qn_status set_text(rd_kafka_conf_t *conf, const char *text, struct qn_err *err)
{
    const char *equals = strchr(text, '=');
    char name[NAME_BYTES], why[16];

    if (equals == NULL || equals == text || (size_t)(equals - text) >= sizeof(name))
        return qn_err_set(err, QN_INVALID,
                          "'settings' holds a text that is no setting: write name=value, such as "
                          "security.protocol=SASL_SSL");
    snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
    if (is_ours(name))
        return qn_err_set(err, QN_INVALID, "the setting '%s' is made by Quern itself: leave it out",
                          name);
    switch (rd_kafka_conf_set(conf, name, equals + 1, why, sizeof(why))) {
    case RD_KAFKA_CONF_UNKNOWN:
        return unknown_name(name, conf, err);
    case RD_KAFKA_CONF_INVALID:
        return qn_err_set(err, QN_INVALID,
                          "the setting '%s' does not take that value in librdkafka %s", name,
                          rd_kafka_version_str());
    case RD_KAFKA_CONF_OK:
        break;
    }
    return QN_OK;
}

qn_status qn_kafka_set(rd_kafka_conf_t *conf, const struct qn_kafka_target *t, struct qn_err *err)
{
    for (uint32_t i = 0; i < t->settings.count; i++)
        QN_TRY(set_text(conf, t->settings.items[i], err));
    return QN_OK;
}

qn_status qn_kafka_check(const struct qn_kafka_target *t, struct qn_err *err)
{
    rd_kafka_conf_t *conf;
    qn_status rc;

    if (t->brokers[0] == '\0' || strpbrk(t->brokers, " \t/") != NULL)
        return qn_err_set(err, QN_INVALID,
                          "brokers are written HOST:PORT, several with commas: b1:9092,b2:9092");
    conf = rd_kafka_conf_new();
    rc = qn_kafka_set(conf, t, err);
    rd_kafka_conf_destroy(conf);
    return rc;
}

#endif
