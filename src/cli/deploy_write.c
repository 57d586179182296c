/* SPDX-License-Identifier: Apache-2.0
 * deploy_write.c - the Kubernetes objects that run a pipeline: ConfigMap, Services, volume claim,
 * StatefulSet or Deployment, PodDisruptionBudget.
 *
 * Texts that come from the user are JSON strings, which are YAML; names were checked to need no
 * quotes. The comments are for who reads the manifest and wonders why. Thread: main. Memory: a
 * buffer per object, freed by qn_deploy_objects_fini. */
#include "cli/deploy.h"

#include "base/check.h"

#include <stdio.h>

enum {
    USER = 65532,
    GRACE_S = 5,
    STARTUP_S = 300,
    STARTUP_EVERY_S = 2,
    SHARED_OBJECTS = 3, /* ConfigMap, volume claim, TriggerAuthentication                    */
    PART_OBJECTS = 5    /* two Services, what runs, PodDisruptionBudget, ScaledObject         */
};

/* ---- pieces ----------------------------------------------------------------------------------*/

static void put_labels(struct qn_buf *b, const struct qn_deploy *d, const char *indent, bool is_all)
{
    qn_buf_printf(b,
                  "%sapp.kubernetes.io/name: quern\n"
                  "%sapp.kubernetes.io/instance: %s\n",
                  indent, indent, d->name);
    if (d->part != NULL && d->part->component != NULL)
        qn_buf_printf(b, "%sapp.kubernetes.io/component: %s\n", indent, d->part->component);
    if (is_all)
        qn_buf_printf(b, "%sapp.kubernetes.io/managed-by: quern-deploy\n", indent);
}

struct qn_buf *qn_deploy_object(const struct qn_deploy *d, struct qn_deploy_objects *out,
                                const char *api, const char *kind, const char *suffix,
                                const char *about)
{
    const char *component = d->part != NULL && d->part->component != NULL ? d->part->component : "";
    struct qn_deploy_object *o = &out->list[out->count++];
    struct qn_buf *b = &o->text;
    size_t n;

    QN_ASSERT(out->count <= out->max);
    n = (size_t)snprintf(o->file, sizeof o->file, "%s%s%s%s%s.yaml", kind,
                         component[0] != '\0' ? "-" : "", component, suffix[0] != '\0' ? "-" : "",
                         suffix);
    for (size_t i = 0; i < n && i < sizeof o->file; i++)
        if (o->file[i] >= 'A' && o->file[i] <= 'Z')
            o->file[i] = (char)(o->file[i] + 32);
    qn_buf_printf(b, "%sapiVersion: %s\nkind: %s\nmetadata:\n  name: %s%s%s\n", about, api, kind,
                  d->part != NULL ? d->part->name : d->name, suffix[0] != '\0' ? "-" : "", suffix);
    if (d->opt->ns != NULL)
        qn_buf_printf(b, "  namespace: %s\n", d->opt->ns);
    qn_buf_text(b, "  labels:\n");
    put_labels(b, d, "    ", true);
    return b;
}

void qn_deploy_objects_fini(struct qn_deploy_objects *o)
{
    for (uint32_t i = 0; i < o->count; i++)
        qn_buf_fini(&o->list[i].text);
    o->count = 0;
}

static void put_selector(struct qn_buf *b, const struct qn_deploy *d)
{
    qn_buf_text(b, "  selector:\n    matchLabels:\n");
    put_labels(b, d, "      ", false);
}

static void put_string(struct qn_buf *b, const char *text)
{
    qn_json_string(b, qn_str_of(text));
}

/* ---- ConfigMap -------------------------------------------------------------------------------*/

/* What a block of YAML can show as it is. */
static bool is_plain_text(const struct qn_buf *t)
{
    for (size_t i = 0; i < t->len; i++) {
        const unsigned char c = (unsigned char)t->data[i];

        if ((c < 0x20 && c != '\n') || c == 0x7f)
            return false;
        if (c == 0xc2 || (c == 0xe2 && i + 1 < t->len && (unsigned char)t->data[i + 1] == 0x80) ||
            c == 0xef) /* line ends and marks of Unicode begin so: rather quoted */
            return false;
    }
    return t->len > 0 && t->data[0] != ' ' && t->data[0] != '\n' && t->data[t->len - 1] == '\n' &&
           (t->len < 2 || t->data[t->len - 2] != '\n') && qn_utf8_valid(t->data, t->len);
}

static void put_block(struct qn_buf *b, const struct qn_buf *t)
{
    size_t at = 0;

    qn_buf_text(b, "|\n");
    while (at < t->len) {
        const char *end = memchr(t->data + at, '\n', t->len - at);
        const size_t n = (size_t)(end - (t->data + at));

        if (n > 0)
            qn_buf_text(b, "    ");
        qn_buf_add(b, t->data + at, n + 1);
        at += n + 1;
    }
}

/* A JSON string in which what YAML takes for a line end, or for nothing at all, is escaped too. */
static void put_quoted(struct qn_buf *b, struct qn_str text)
{
    struct qn_buf json = {0};

    qn_json_string(&json, text);
    for (size_t i = 0; i < json.len; i++) {
        const unsigned char *p = (const unsigned char *)json.data + i;
        const size_t left = json.len - i;

        if (p[0] == 0x7f) {
            qn_buf_text(b, "\\u007f");
        } else if (left > 1 && p[0] == 0xc2 && p[1] < 0xa0) {
            qn_buf_printf(b, "\\u00%02x", p[1]);
            i += 1;
        } else if (left > 2 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) {
            qn_buf_printf(b, "\\u20%02x", p[2] - 0x80);
            i += 2;
        } else if (left > 2 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) {
            qn_buf_text(b, "\\ufeff");
            i += 2;
        } else {
            qn_buf_byte(b, (char)p[0]);
        }
    }
    b->failed |= json.failed;
    qn_buf_fini(&json);
}

static void put_files(struct qn_buf *b, const struct qn_deploy *d, bool is_text)
{
    bool is_first = true;

    for (uint32_t i = 0; i < d->config_count; i++) {
        const struct qn_deploy_file *f = &d->config[i];
        const struct qn_str bytes = {f->bytes.data, (uint32_t)f->bytes.len};
        const bool is_valid = qn_utf8_valid(bytes.p, bytes.len) &&
                              (bytes.len == 0 || memchr(bytes.p, '\0', bytes.len) == NULL);

        if (is_valid != is_text)
            continue;
        if (is_first)
            qn_buf_text(b, is_text ? "data:\n" : "binaryData:\n");
        is_first = false;
        qn_buf_printf(b, "  %s: ", f->key);
        if (!is_text)
            qn_base64(b, bytes);
        else if (is_plain_text(&f->bytes))
            put_block(b, &f->bytes);
        else
            put_quoted(b, bytes);
        if (!is_text || !is_plain_text(&f->bytes))
            qn_buf_byte(b, '\n');
    }
}

static void write_config(const struct qn_deploy *d, struct qn_deploy_objects *out)
{
    struct qn_buf *b = qn_deploy_object(
        d, out, "v1", "ConfigMap", "spec",
        "# The spec and what it names, as they were when this was written. Apply with\n"
        "# `kubectl apply --server-side`: without it kubectl takes no more than 256 KiB.\n");

    put_files(b, d, true);
    put_files(b, d, false);
}

/* ---- Services --------------------------------------------------------------------------------*/

static void put_port(struct qn_buf *b, const struct qn_deploy *d)
{
    qn_buf_printf(b,
                  "  ports:\n    - name: http\n      port: %u\n      targetPort: http\n"
                  "      protocol: TCP\n",
                  d->port);
}

static void write_services(const struct qn_deploy *d, struct qn_deploy_objects *out)
{
    struct qn_buf *b = qn_deploy_object(d, out, "v1", "Service", "",
                                        "# HTTP of a pod that is ready: status, metrics, dashboard"
                                        ", and events where the log is local.\n");

    qn_buf_text(b, "spec:\n  type: ClusterIP\n  selector:\n");
    put_labels(b, d, "    ", false);
    put_port(b, d);
    if (!d->is_stateful)
        return;
    b = qn_deploy_object(d, out, "v1", "Service", "pods",
                         "# A name for each pod, ready or not: NAME-0, NAME-1 and so on.\n");
    qn_buf_text(b, "spec:\n  clusterIP: None\n  publishNotReadyAddresses: true\n  selector:\n");
    put_labels(b, d, "    ", false);
    put_port(b, d);
}

/* ---- volumes ---------------------------------------------------------------------------------*/

static void put_claim(struct qn_buf *b, const struct qn_deploy *d, const char *indent,
                      const char *mode)
{
    qn_buf_printf(b, "%saccessModes: [%s]\n", indent, mode);
    if (d->opt->storage_class != NULL) {
        qn_buf_printf(b, "%sstorageClassName: ", indent);
        put_string(b, d->opt->storage_class);
        qn_buf_byte(b, '\n');
    }
    qn_buf_printf(b, "%sresources:\n%s  requests:\n%s    storage: %lluGi\n", indent, indent, indent,
                  (unsigned long long)(d->disk_bytes >> 30));
}

static bool has_shared_claim(const struct qn_deploy *d)
{
    return d->is_kafka && d->folder_count > 0 && d->opt->snapshots == QN_DEPLOY_SHARED;
}

static void write_claim(const struct qn_deploy *d, struct qn_deploy_objects *out)
{
    struct qn_buf *b;

    if (!has_shared_claim(d))
        return;
    b = qn_deploy_object(d, out, "v1", "PersistentVolumeClaim", "snapshots",
                         "# Snapshots that all pods reach, so that a partition which moves is "
                         "restored and not replayed.\n"
                         "# Losing them costs time, never answers.\n");
    qn_buf_text(b, "spec:\n");
    put_claim(b, d, "  ", "ReadWriteMany");
}

static void put_volumes(struct qn_buf *b, const struct qn_deploy *d)
{
    qn_buf_printf(b,
                  "      volumes:\n        - name: spec\n          configMap:\n"
                  "            name: %s-spec\n",
                  d->name);
    if (d->secret_count > 0)
        qn_buf_printf(b,
                      "        - name: secrets\n          secret:\n            secretName: %s\n"
                      "            defaultMode: 288   # 0440\n",
                      d->secret);
    if (has_shared_claim(d))
        qn_buf_printf(b,
                      "        - name: data\n          persistentVolumeClaim:\n"
                      "            claimName: %s-snapshots\n",
                      d->name);
    else if (d->is_kafka && d->folder_count > 0)
        qn_buf_printf(b,
                      "        - name: data   # gone with the pod: a partition that moves is "
                      "replayed\n          emptyDir:\n            sizeLimit: %lluGi\n",
                      (unsigned long long)(d->disk_bytes >> 30));
}

static void put_mount(struct qn_buf *b, const char *volume, const char *path, const char *sub,
                      bool is_read_only)
{
    qn_buf_printf(b, "            - name: %s\n              mountPath: ", volume);
    put_string(b, path);
    qn_buf_printf(b, "\n              subPath: %s\n", sub);
    if (is_read_only)
        qn_buf_text(b, "              readOnly: true\n");
}

static void put_mounts(struct qn_buf *b, const struct qn_deploy *d)
{
    qn_buf_text(b, "          volumeMounts:\n");
    for (uint32_t i = 0; i < d->config_count; i++)
        put_mount(b, "spec", d->config[i].path, d->config[i].key, true);
    for (uint32_t i = 0; i < d->secret_count; i++)
        put_mount(b, "secrets", d->secrets[i].path, d->secrets[i].key, true);
    for (uint32_t i = 0; i < d->folder_count; i++)
        put_mount(b, "data", d->folders[i].path, d->folders[i].sub_path, false);
}

/* ---- the container ---------------------------------------------------------------------------*/

static void put_secret_key(struct qn_buf *b, const struct qn_deploy *d, struct qn_str name,
                           bool is_optional)
{
    qn_buf_printf(b,
                  "            - name: %.*s\n              valueFrom:\n"
                  "                secretKeyRef:\n                  name: %s\n"
                  "                  key: %.*s\n",
                  QN_STR_ARG(name), d->secret, QN_STR_ARG(name));
    if (is_optional)
        qn_buf_text(b, "                  optional: true\n");
}

static void put_environment(struct qn_buf *b, const struct qn_deploy *d)
{
    const struct qn_plan_bucket *s3 = &d->plan->storage.bucket;
    const bool wants_key = s3->name != NULL && (s3->key_id == NULL || s3->secret == NULL);
    const size_t begin = b->len;
    bool is_any = wants_key;

    qn_buf_text(b, "          env:\n");
    for (uint32_t i = 0; i < d->variables->count; i++) {
        const struct qn_variable *v = &d->variables->items[i];
        struct qn_str value = {"", 0};
        const enum qn_deploy_variable where = qn_deploy_variable(d, v, &value);

        is_any |= where != QN_DEPLOY_NONE;
        if (where == QN_DEPLOY_SECRET) {
            put_secret_key(b, d, v->name, v->has_default);
        } else if (where == QN_DEPLOY_POD_NAME) {
            qn_buf_printf(b,
                          "            - name: %.*s\n              valueFrom:\n"
                          "                fieldRef:\n                  fieldPath: metadata.name\n",
                          QN_STR_ARG(v->name));
        } else if (where == QN_DEPLOY_SET) {
            qn_buf_printf(b,
                          "            - name: %.*s\n              value: ", QN_STR_ARG(v->name));
            qn_json_string(b, value);
            qn_buf_byte(b, '\n');
        }
    }
    if (wants_key) {
        put_secret_key(b, d, qn_str_of("AWS_ACCESS_KEY_ID"), false);
        put_secret_key(b, d, qn_str_of("AWS_SECRET_ACCESS_KEY"), false);
    }
    if (!is_any)
        b->len = begin;
}

static void put_seconds(struct qn_buf *b, int64_t us)
{
    qn_buf_printf(b, "%llds", (long long)((us + 999999) / 1000000));
}

static void put_command(struct qn_buf *b, const struct qn_deploy *d)
{
    qn_buf_text(b, "          image: ");
    put_string(b, d->image);
    qn_buf_printf(b,
                  "\n          imagePullPolicy: IfNotPresent\n          command: [quern]\n"
                  "          args:\n            - run\n            - %s\n",
                  d->config[0].path);
    if (d->is_local_http)
        qn_buf_printf(b, "            - --http=0.0.0.0:%u\n", d->port);
    if (d->part->component != NULL)
        qn_buf_printf(b, "            - --stage=%s\n", d->plan->kafka.stages[d->part->stage].name);
    qn_buf_printf(
        b, "            - --threads=%lld\n            - --drain=", (long long)d->opt->threads);
    put_seconds(b, d->opt->drain_us);
    qn_buf_text(b, "\n            - --drain-delay=");
    put_seconds(b, d->opt->delay_us);
    qn_buf_printf(b,
                  "\n            - --log-format=json\n          workingDir: %s\n"
                  "          ports:\n            - name: http\n              containerPort: %u\n"
                  "              protocol: TCP\n",
                  QN_DEPLOY_FOLDER, d->port);
}

static void put_probe(struct qn_buf *b, const struct qn_deploy *d, const char *what,
                      const char *path, int period_s, int failures)
{
    qn_buf_printf(b,
                  "          %s:\n            httpGet:\n              path: %s\n"
                  "              port: http\n              scheme: %s\n"
                  "            periodSeconds: %d\n            timeoutSeconds: 5\n"
                  "            failureThreshold: %d\n",
                  what, path, d->plan->serve.cert != NULL ? "HTTPS" : "HTTP", period_s, failures);
}

/* A start may replay for hours, and that is no reason to kill it: it only is not ready. So what is
 * waited for at the start is that HTTP answers. */
static void put_probes(struct qn_buf *b, const struct qn_deploy *d)
{
    qn_buf_text(b, "          # A start may replay for long: it is alive, and not ready yet.\n");
    put_probe(b, d, "startupProbe", "/livez", STARTUP_EVERY_S, STARTUP_S / STARTUP_EVERY_S);
    put_probe(b, d, "livenessProbe", "/livez", 10, 6);
    put_probe(b, d, "readinessProbe", "/readyz", 2, 2);
}

static void put_resources(struct qn_buf *b, const struct qn_deploy *d)
{
    const struct qn_deploy_options *o = d->opt;
    const unsigned long long mib = d->part->memory_bytes >> 20;

    if (d->plan->limits.memory_bytes > 0)
        qn_buf_printf(b, "          # State: limits: memory, %llu MiB.",
                      (unsigned long long)(d->part->state_bytes >> 20));
    else
        qn_buf_printf(b,
                      "          # State: %llu MiB, for %lld keys of each `by` and %lld events a "
                      "second (--keys, --load).",
                      (unsigned long long)(d->part->state_bytes >> 20), (long long)o->keys,
                      (long long)o->load);
    qn_buf_printf(
        b,
        "\n          # On top: room in tables, a snapshot being written, models, what a "
        "process has anyway.\n          resources:\n            requests:\n"
        "              cpu: \"%lld\"\n              memory: %lluMi\n"
        "            limits:\n              cpu: \"%lld\"   # --threads, and one for HTTP, "
        "log and network\n              memory: %lluMi\n",
        (long long)o->threads, mib, (long long)o->threads + 1, mib);
}

/* ---- the pod ---------------------------------------------------------------------------------*/

static void put_pod_security(struct qn_buf *b)
{
    qn_buf_printf(b,
                  "      automountServiceAccountToken: false\n      enableServiceLinks: false\n"
                  "      securityContext:\n        runAsNonRoot: true\n        runAsUser: %d\n"
                  "        runAsGroup: %d\n        fsGroup: %d\n"
                  "        fsGroupChangePolicy: OnRootMismatch\n        seccompProfile:\n"
                  "          type: RuntimeDefault\n",
                  USER, USER, USER);
}

static void put_template(struct qn_buf *b, const struct qn_deploy *d)
{
    const bool has_tokens = d->plan->serve.token_count[QN_SERVE_READ] +
                                d->plan->serve.token_count[QN_SERVE_WRITE] +
                                d->plan->serve.token_count[QN_SERVE_ADMIN] >
                            0;

    qn_buf_text(b, "  template:\n    metadata:\n      labels:\n");
    put_labels(b, d, "        ", true);
    qn_buf_printf(b, "      annotations:\n        checksum/config: \"%016llx\"\n",
                  (unsigned long long)d->version);
    if (!has_tokens)
        qn_buf_printf(b,
                      "        prometheus.io/scrape: \"true\"\n"
                      "        prometheus.io/port: \"%u\"\n        prometheus.io/path: /metrics\n"
                      "        prometheus.io/scheme: %s\n",
                      d->port, d->plan->serve.cert != NULL ? "https" : "http");
    qn_buf_printf(b,
                  "    spec:\n      terminationGracePeriodSeconds: %lld   # --drain-delay, "
                  "--drain, and a little\n",
                  (long long)((d->opt->drain_us + d->opt->delay_us + 999999) / 1000000) + GRACE_S);
    put_pod_security(b);
    if (d->is_kafka) {
        qn_buf_text(b, "      topologySpreadConstraints:\n        - maxSkew: 1\n"
                       "          topologyKey: kubernetes.io/hostname\n"
                       "          whenUnsatisfiable: ScheduleAnyway\n          labelSelector:\n"
                       "            matchLabels:\n");
        put_labels(b, d, "              ", false);
    }
    qn_buf_text(b, "      containers:\n        - name: quern\n");
    put_command(b, d);
    put_environment(b, d);
    put_probes(b, d);
    put_resources(b, d);
    qn_buf_text(b, "          securityContext:\n            allowPrivilegeEscalation: false\n"
                   "            readOnlyRootFilesystem: true\n            capabilities:\n"
                   "              drop: [ALL]\n");
    put_mounts(b, d);
    put_volumes(b, d);
}

static void put_claim_templates(struct qn_buf *b, const struct qn_deploy *d)
{
    qn_buf_text(b, "  persistentVolumeClaimRetentionPolicy:\n    whenDeleted: Retain\n"
                   "    whenScaled: Retain\n  volumeClaimTemplates:\n"
                   "    - metadata:\n        name: data\n        labels:\n");
    put_labels(b, d, "          ", false);
    qn_buf_printf(b,
                  "      spec:\n        # For %lld events a second (--load) and what `storage` "
                  "keeps; check it against yours.\n",
                  (long long)d->opt->load);
    put_claim(b, d, "        ", "ReadWriteOnce");
}

static void write_local(const struct qn_deploy *d, struct qn_deploy_objects *out)
{
    struct qn_buf *b =
        qn_deploy_object(d, out, "apps/v1", "StatefulSet", "",
                         "# One pod: a local log has one writer. More of them: log: kafka.\n");

    qn_buf_printf(b, "spec:\n  serviceName: %s-pods\n  replicas: 1\n", d->part->name);
    put_selector(b, d);
    put_template(b, d);
    put_claim_templates(b, d);
}

static void write_many(const struct qn_deploy *d, struct qn_deploy_objects *out)
{
    struct qn_buf *b;

    if (d->is_stateful)
        b = qn_deploy_object(
            d, out, "apps/v1", "StatefulSet", "",
            "# Pods with names that stay, which the spec makes instances of the consumer group: "
            "one "
            "that\n# restarts takes its partitions up at once. One that is scaled away leaves them "
            "until its session\n# ends (10 s): for pods that come and go, leave `instance` out of "
            "the spec.\n");
    else
        b = qn_deploy_object(d, out, "apps/v1", "Deployment", "",
                             "# Pods leave the consumer group as they go, and others take their "
                             "partitions up at once.\n");
    qn_buf_text(b, "spec:\n  # replicas: left out, for it is the autoscaler's.\n");
    if (d->is_stateful)
        qn_buf_printf(b, "  serviceName: %s-pods\n  podManagementPolicy: Parallel\n",
                      d->part->name);
    else
        qn_buf_text(b, "  revisionHistoryLimit: 3\n  strategy:\n    type: RollingUpdate\n"
                       "    rollingUpdate:\n      maxSurge: 1\n      maxUnavailable: 0\n");
    put_selector(b, d);
    put_template(b, d);
}

static void write_budget(const struct qn_deploy *d, struct qn_deploy_objects *out)
{
    struct qn_buf *b = qn_deploy_object(
        d, out, "policy/v1", "PodDisruptionBudget", "",
        "# Nodes are emptied one pod at a time; a pod that is not ready holds nobody up.\n");

    qn_buf_text(b, "spec:\n  maxUnavailable: 1\n  unhealthyPodEvictionPolicy: AlwaysAllow\n");
    put_selector(b, d);
}

/* What each part has of its own. */
static void write_part(const struct qn_deploy *d, struct qn_deploy_objects *out)
{
    write_services(d, out);
    if (d->is_kafka)
        write_many(d, out);
    else
        write_local(d, out);
    write_budget(d, out);
}

qn_status qn_deploy_write(struct qn_deploy *d, struct qn_deploy_objects *out, struct qn_err *err)
{
    bool failed = false;

    out->max = SHARED_OBJECTS + PART_OBJECTS * d->part_count;
    out->list = QN_NEW_N(&d->cli->arena, struct qn_deploy_object, out->max);
    if (out->list == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the manifests");
    write_config(d, out);
    write_claim(d, out);
    for (uint32_t i = 0; i < d->part_count; i++) {
        d->part = &d->parts[i];
        write_part(d, out);
    }
    d->part = NULL;
    if (d->is_kafka)
        QN_TRY(qn_deploy_write_scale(d, out, err));
    for (uint32_t i = 0; i < out->count; i++)
        failed |= out->list[i].text.failed;
    return failed ? qn_err_set(err, QN_NOMEM, "out of memory for the manifests") : QN_OK;
}
