/* SPDX-License-Identifier: Apache-2.0
 * deploy_scale.c - how KEDA scales a pipeline whose log lies in Kafka: by what its consumer group
 * has not committed yet.
 *
 * KEDA adds the lag of all partitions up, and wants a pod for each lagThreshold of it, at most one
 * per partition. A pod takes --rate events a second, so with rate x freshness waiting for each pod
 * the last of them is done when its freshness target ends. Quern commits within `commit`, and
 * passes markers of transactions while nothing comes, so the lag falls to zero and pods may, too.
 * Where features are by several keys, each stage is scaled by the lag of its own group; where a pod
 * runs all stages, the one that has most to do says how many pods there are.
 * Names and values: KEDA's documentation of the kafka trigger. Thread: main. */
#include "cli/deploy.h"

#include <stdio.h>

/* The oldest brokers whose protocol KEDA is to speak; its default, 1.0.0, is one that Kafka 4 has
 * dropped. */
#define KAFKA_VERSION "2.5.0"

enum { COOLDOWN_S = 300, PODS_MAX = 100, POLL_MIN_S = 2, POLL_MAX_S = 30 };

/* ---- who we are ------------------------------------------------------------------------------*/

struct identity {
    const char *sasl; /* KEDA's word; NULL = none */
    bool has_tls;
    struct qn_str username, password; /* variables */
    struct qn_str ca, cert, key;      /* paths, or empty */
};

static bool is_either(struct qn_str s, const char *small, const char *large)
{
    return qn_str_is(s, small) || qn_str_is(s, large);
}

static qn_status read_mechanism(const struct qn_plan *p, struct identity *id, struct qn_err *err)
{
    struct qn_str s;

    if (!qn_deploy_setting(p, "sasl.mechanism", &s) && !qn_deploy_setting(p, "sasl.mechanisms", &s))
        s = qn_str_of("GSSAPI");
    if (qn_str_is(s, "PLAIN"))
        id->sasl = "plaintext";
    else if (qn_str_is(s, "SCRAM-SHA-256"))
        id->sasl = "scram_sha256";
    else if (qn_str_is(s, "SCRAM-SHA-512"))
        id->sasl = "scram_sha512";
    else
        return qn_err_set(err, QN_INVALID,
                          "sasl.mechanism=%.*s is not one that can be handed to KEDA here: PLAIN, "
                          "SCRAM-SHA-256, SCRAM-SHA-512",
                          QN_STR_ARG(s));
    return QN_OK;
}

/* A secret comes as a variable, or it would stand in the ConfigMap. */
static qn_status read_secret(const struct qn_plan *p, const char *name, struct qn_str *out,
                             struct qn_err *err)
{
    struct qn_str s = {"", 0};

    if (qn_deploy_setting(p, name, &s) && qn_deploy_is_variable(s, out))
        return QN_OK;
    return qn_err_set(err, QN_INVALID,
                      "'%s' must come from the Secret: write \"%s=${KAFKA_%s}\" in kafka: settings",
                      name, name, strcmp(name, "sasl.username") == 0 ? "USERNAME" : "PASSWORD");
}

static qn_status find_identity(const struct qn_plan *p, struct identity *id, struct qn_err *err)
{
    struct qn_str s = {"", 0};

    (void)qn_deploy_setting(p, "security.protocol", &s);
    id->has_tls = is_either(s, "ssl", "SSL") || is_either(s, "sasl_ssl", "SASL_SSL");
    if (is_either(s, "sasl_ssl", "SASL_SSL") || is_either(s, "sasl_plaintext", "SASL_PLAINTEXT")) {
        QN_TRY(read_mechanism(p, id, err));
        QN_TRY(read_secret(p, "sasl.username", &id->username, err));
        QN_TRY(read_secret(p, "sasl.password", &id->password, err));
    }
    if (qn_deploy_setting(p, "ssl.ca.location", &s) && !qn_str_is(s, "probe"))
        id->ca = s;
    (void)qn_deploy_setting(p, "ssl.certificate.location", &id->cert);
    (void)qn_deploy_setting(p, "ssl.key.location", &id->key);
    return QN_OK;
}

static void put_parameter(struct qn_buf *b, const char *parameter, const char *name,
                          struct qn_str key)
{
    qn_buf_printf(b, "    - parameter: %s\n      name: %s\n      key: %.*s\n", parameter, name,
                  QN_STR_ARG(key));
}

/* The key of the file whose path ends like that. */
static struct qn_str key_of_file(const struct qn_deploy_file *files, uint32_t count,
                                 struct qn_str path)
{
    while (path.len > 2 && path.p[0] == '.' && path.p[1] == '/') {
        path.p += 2;
        path.len -= 2;
    }
    for (uint32_t i = 0; i < count && path.len > 0; i++) {
        const size_t n = strlen(files[i].path);

        if (n >= path.len && memcmp(files[i].path + n - path.len, path.p, path.len) == 0)
            return qn_str_of(files[i].key);
    }
    return (struct qn_str){"", 0};
}

static void write_authentication(const struct qn_deploy *d, const struct identity *id,
                                 struct qn_deploy_objects *out)
{
    struct qn_buf *b = qn_deploy_object(d, out, "keda.sh/v1alpha1", "TriggerAuthentication", "",
                                        "# Who KEDA is to the cluster: the pipeline's own user.\n");
    const struct qn_str ca = key_of_file(d->config, d->config_count, id->ca);
    const struct qn_str cert = key_of_file(d->secrets, d->secret_count, id->cert);
    const struct qn_str key = key_of_file(d->secrets, d->secret_count, id->key);
    char config[80];

    qn_buf_text(b, "spec:\n");
    if (id->sasl != NULL || cert.len > 0)
        qn_buf_text(b, "  secretTargetRef:\n");
    if (id->sasl != NULL) {
        put_parameter(b, "username", d->secret, id->username);
        put_parameter(b, "password", d->secret, id->password);
    }
    if (cert.len > 0 && key.len > 0) {
        put_parameter(b, "cert", d->secret, cert);
        put_parameter(b, "key", d->secret, key);
    }
    if (ca.len > 0) {
        snprintf(config, sizeof config, "%s-spec", d->name);
        qn_buf_text(b, "  configMapTargetRef:\n");
        put_parameter(b, "ca", config, ca);
    }
}

/* ---- how many --------------------------------------------------------------------------------*/

/* A value, or the variable of the pod that has it. */
static qn_status put_known(struct qn_buf *b, const char *key, const char *value,
                           struct qn_str written, struct qn_err *err)
{
    struct qn_str name;

    if (qn_deploy_is_variable(written, &name)) {
        qn_buf_printf(b, "        %sFromEnv: %.*s\n", key, QN_STR_ARG(name));
        return QN_OK;
    }
    if (written.len > 0 && memchr(written.p, '$', written.len) != NULL &&
        strstr(value, "stand-in.invalid") != NULL)
        return qn_err_set(err, QN_INVALID,
                          "'%.*s' has to be known here: give its variable a value with --set",
                          QN_STR_ARG(written));
    qn_buf_printf(b, "        %s: ", key);
    qn_json_string(b, qn_str_of(value));
    qn_buf_byte(b, '\n');
    return QN_OK;
}

static int64_t threshold(const struct qn_deploy_options *o)
{
    const double events = (double)o->rate * ((double)o->freshness_us / 1e6);

    return events < 1 ? 1 : events > 9e15 ? INT64_C(9000000000000000) : (int64_t)events;
}

static int64_t poll_s(const struct qn_deploy_options *o)
{
    const int64_t s = o->freshness_us / 1000000;

    return s < POLL_MIN_S ? POLL_MIN_S : s > POLL_MAX_S ? POLL_MAX_S : s;
}

/* Group and topic of a stage; where there are several, their names begin with the spec's group. */
static qn_status put_stage(struct qn_buf *b, const struct qn_plan *p, uint32_t stage,
                           struct qn_err *err)
{
    const struct qn_plan_kafka *k = &p->kafka;
    const struct qn_str none = {"", 0};
    struct qn_str name;

    if (k->stage_count == 1) {
        QN_TRY(put_known(b, "consumerGroup", k->group, k->group_written, err));
    } else if (qn_deploy_is_variable(k->group_written, &name)) {
        return qn_err_set(err, QN_INVALID,
                          "features by several keys go in stages, whose groups are called "
                          "GROUP.STAGE: 'group' has to be a text, not '%.*s'",
                          QN_STR_ARG(k->group_written));
    } else {
        QN_TRY(put_known(b, "consumerGroup", k->stages[stage].group, k->group_written, err));
    }
    if (k->journal_topic != NULL) /* without one, KEDA looks at all topics of the group */
        return QN_OK;
    return put_known(b, "topic", k->stages[stage].topic, stage == 0 ? k->input_written : none, err);
}

static qn_status put_trigger(struct qn_buf *b, const struct qn_deploy *d, const struct identity *id,
                             uint32_t stage, struct qn_err *err)
{
    const struct qn_plan *p = d->plan;
    const struct qn_deploy_options *o = d->opt;
    struct qn_str brokers = p->kafka.brokers_written;

    if (brokers.len > 6) { /* behind kafka: */
        brokers.p += 6;
        brokers.len -= 6;
    }
    if (d->part->stage_count > 1)
        qn_buf_printf(b, "    # stage %s\n", p->kafka.stages[stage].name);
    qn_buf_text(b, "    - type: kafka\n      metricType: AverageValue\n      metadata:\n");
    QN_TRY(put_known(b, "bootstrapServers", p->kafka.target.brokers, brokers, err));
    QN_TRY(put_stage(b, p, stage, err));
    qn_buf_printf(
        b,
        "        # %lld events a second that a pod takes (--rate) x %.10g s (--freshness)\n"
        "        lagThreshold: \"%lld\"\n"
        "        activationLagThreshold: \"0\"\n"
        "        # A group without positions begins at the oldest record.\n"
        "        offsetResetPolicy: earliest\n"
        "        # More pods than partitions would have nothing to do.\n"
        "        allowIdleConsumers: \"false\"\n"
        "        limitToPartitionsWithLag: \"false\"\n"
        "        version: " KAFKA_VERSION "\n",
        (long long)o->rate, (double)o->freshness_us / 1e6, (long long)threshold(o));
    if (id->has_tls)
        qn_buf_text(b, "        tls: enable\n");
    if (id->sasl != NULL)
        qn_buf_printf(b, "        sasl: %s\n", id->sasl);
    if (id->sasl != NULL || id->has_tls)
        qn_buf_printf(b, "      authenticationRef:\n        name: %s\n", d->name);
    return QN_OK;
}

static qn_status write_scaled(const struct qn_deploy *d, const struct identity *id,
                              struct qn_deploy_objects *out, struct qn_err *err)
{
    const struct qn_deploy_options *o = d->opt;
    struct qn_buf *b;

    b = qn_deploy_object(d, out, "keda.sh/v1alpha1", "ScaledObject", "",
                         "# Needs KEDA in the cluster. The lag is what the brokers say of the "
                         "consumer group, also while there is\n# no pod. They forget the positions "
                         "of a group without members after offsets.retention.minutes\n# (7 days): "
                         "where nothing may come for longer, --min-pods 1, or it begins anew.\n");
    qn_buf_printf(b,
                  "spec:\n  scaleTargetRef:\n    apiVersion: apps/v1\n    kind: %s\n    name: %s\n"
                  "  pollingInterval: %lld\n  cooldownPeriod: %d\n  minReplicaCount: %lld\n",
                  d->is_stateful ? "StatefulSet" : "Deployment", d->part->name,
                  (long long)poll_s(o), COOLDOWN_S, (long long)o->min_pods);
    if (o->partitions > 0)
        qn_buf_printf(b, "  maxReplicaCount: %lld   # --partitions\n",
                      (long long)(o->partitions > o->min_pods ? o->partitions : o->min_pods));
    else
        qn_buf_printf(b, "  maxReplicaCount: %lld   # KEDA ends at the number of partitions\n",
                      (long long)(o->min_pods > PODS_MAX ? o->min_pods : PODS_MAX));
    qn_buf_printf(b,
                  "  advanced:\n    horizontalPodAutoscalerConfig:\n      behavior:\n"
                  "        scaleDown:   # partitions move with each step: not before it is sure\n"
                  "          stabilizationWindowSeconds: %d\n",
                  COOLDOWN_S);
    qn_buf_text(b, "  triggers:\n");
    for (uint32_t i = 0; i < d->part->stage_count; i++)
        QN_TRY(put_trigger(b, d, id, d->part->stage + i, err));
    return QN_OK;
}

qn_status qn_deploy_write_scale(struct qn_deploy *d, struct qn_deploy_objects *out,
                                struct qn_err *err)
{
    struct identity id = {0};
    qn_status rc = QN_OK;

    QN_TRY(find_identity(d->plan, &id, err));
    if (id.sasl != NULL || id.ca.len > 0 || id.cert.len > 0)
        write_authentication(d, &id, out);
    for (uint32_t i = 0; rc == QN_OK && i < d->part_count; i++) {
        d->part = &d->parts[i];
        rc = write_scaled(d, &id, out, err);
    }
    d->part = NULL;
    return rc;
}
