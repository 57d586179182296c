/* SPDX-License-Identifier: Apache-2.0
 * deploy_plan.c - what a plan takes in a cluster: files, folders, variables, disk.
 *
 * Paths of the plan become those of the pod. The size of the volume is an estimate that the
 * manifest tells in its comments: --load is an option; memory is deploy_part.c's. Thread: main.
 * Memory: the command's arena. */
#include "cli/deploy.h"

#include "base/address.h"
#include "base/hash.h"

#include <stdio.h>

#define GIB        ((uint64_t)1 << 30)
#define DAY_S      86400.0
#define KEEP_S     (30 * DAY_S) /* of a log that keeps everything: what the disk is sized for */
#define PATH_BYTES 4096

enum {
    PORT_DEFAULT = 8090,
    EVENT_BYTES = 300, /* of an event, and once more of its answer */
    FEATURE_BYTES = 24
};

/* ---- names and paths -------------------------------------------------------------------------*/

bool qn_deploy_is_label(const char *s, size_t max)
{
    const size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= 'a' && s[i] <= 'z') || (i > 0 && s[i] >= '0' && s[i] <= '9') ||
              (i > 0 && i + 1 < n && s[i] == '-')))
            return false;
    return n > 0 && n <= max;
}

/* Where a path of the plan is in the pod: absolute, without "." and "..". */
static const char *pod_path(struct qn_deploy *d, const char *path)
{
    char whole[PATH_BYTES], out[PATH_BYTES + 1];
    size_t n = 0;

    if (strncmp(path, d->folder.p, d->folder.len) == 0 && (d->folder.len > 0 || path[0] != '/'))
        snprintf(whole, sizeof whole, "%s/%s", QN_DEPLOY_FOLDER, path + d->folder.len);
    else
        snprintf(whole, sizeof whole, "%s", path);
    for (const char *p = whole; *p != '\0';) {
        const size_t part = strcspn(p, "/");

        if (part == 2 && p[0] == '.' && p[1] == '.') {
            while (n > 0 && out[--n] != '/')
                ;
        } else if (part > 0 && !(part == 1 && p[0] == '.')) {
            out[n++] = '/';
            memcpy(out + n, p, part);
            n += part;
        }
        p += part + (p[part] == '/');
    }
    return qn_arena_strdup(&d->cli->arena, out, n);
}

/* The key of a file in a ConfigMap or Secret: its path with what keys may hold. */
static const char *key_of(struct qn_deploy *d, const char *path)
{
    static const char folder[] = QN_DEPLOY_FOLDER "/";
    const char *from =
        strncmp(path, folder, sizeof folder - 1) == 0 ? path + sizeof folder - 1 : path + 1;
    char *key = qn_arena_strdup(&d->cli->arena, from, strlen(from));

    for (char *p = key; p != NULL && *p != '\0'; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
              *p == '.' || *p == '_' || *p == '-'))
            *p = '.';
    return key;
}

static qn_status no_memory(struct qn_err *err)
{
    return qn_err_set(err, QN_NOMEM, "out of memory for the manifests");
}

/* ---- files -----------------------------------------------------------------------------------*/

/* A file of the plan into the ConfigMap; *bytes grows by its size. Left out where it is larger than
 * the room there is. */
static qn_status add_config(struct qn_deploy *d, const char *path, uint64_t room, uint64_t *bytes,
                            struct qn_err *err)
{
    struct qn_deploy_file *f = &d->config[d->config_count];
    const char *there = pod_path(d, path);

    if (there == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < d->config_count; i++)
        if (strcmp(d->config[i].path, there) == 0)
            return QN_OK;
    QN_TRY(qn_file_read_all(d->cli->files, path, (size_t)GIB, &f->bytes, err));
    *bytes += f->bytes.len;
    if (f->bytes.len > room) {
        qn_buf_fini(&f->bytes);
        *f = (struct qn_deploy_file){0};
        return QN_OK;
    }
    f->path = there;
    f->key = key_of(d, there);
    d->config_count++;
    return f->key != NULL ? QN_OK : no_memory(err);
}

static qn_status add_secret(struct qn_deploy *d, const char *path, struct qn_err *err)
{
    struct qn_deploy_file *f = &d->secrets[d->secret_count];

    f->path = pod_path(d, path);
    f->key = f->path != NULL ? key_of(d, f->path) : NULL;
    if (f->key == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < d->secret_count; i++)
        if (strcmp(d->secrets[i].path, f->path) == 0)
            return QN_OK;
    d->secret_count++;
    return QN_OK;
}

/* A path as the spec writes it, as the plan would have it. */
static const char *plan_path(struct qn_deploy *d, struct qn_str path)
{
    char text[PATH_BYTES];

    snprintf(text, sizeof text, "%.*s%.*s",
             path.len > 0 && path.p[0] == '/' ? 0 : (int)d->folder.len, d->folder.p,
             QN_STR_ARG(path));
    return qn_arena_strdup(&d->cli->arena, text, strlen(text));
}

/* A setting whose value is a path. */
static bool is_path_setting(struct qn_str written, struct qn_str *path, bool *is_secret)
{
    static const char *const names[] = {"ssl.ca.location=", "ssl.certificate.location=",
                                        "ssl.key.location=", "ssl.keystore.location="};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const uint32_t n = (uint32_t)strlen(names[i]);

        if (written.len <= n || memcmp(written.p, names[i], n) != 0)
            continue;
        *path = (struct qn_str){written.p + n, written.len - n};
        *is_secret = i > 0;
        return true;
    }
    return false;
}

/* Certificates that settings of librdkafka name; it takes paths relative to the working folder,
 * which is the spec's in the pod. */
static qn_status add_settings(struct qn_deploy *d, uint64_t *bytes, struct qn_err *err)
{
    const struct qn_plan_kafka *k = &d->plan->kafka;

    for (uint32_t i = 0; i < k->target.settings.count; i++) {
        struct qn_str path;
        bool is_secret;
        const char *file;

        if (!is_path_setting(k->settings_written[i], &path, &is_secret) ||
            memchr(path.p, '$', path.len) != NULL || qn_str_is(path, "probe"))
            continue;
        file = plan_path(d, path);
        if (file == NULL)
            return no_memory(err);
        if (is_secret)
            QN_TRY(add_secret(d, file, err));
        else
            QN_TRY(add_config(d, file, QN_DEPLOY_CONFIG_BYTES, bytes, err));
    }
    return QN_OK;
}

/* What is written into the spec would stand in the ConfigMap. */
static qn_status check_secrets(const struct qn_plan *p, struct qn_err *err)
{
    static const char *const names[] = {"sasl.password", "ssl.key.password",
                                        "ssl.keystore.password", "ssl.key.pem",
                                        "sasl.oauthbearer.client.secret"};
    struct qn_str s;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (qn_deploy_setting(p, names[i], &s) && memchr(s.p, '$', s.len) == NULL)
            return qn_err_set(err, QN_INVALID,
                              "'%s' stands in the spec, which goes into a ConfigMap: let it come "
                              "from outside, as ${NAME}",
                              names[i]);
    return QN_OK;
}

static qn_status find_files(struct qn_deploy *d, struct qn_err *err)
{
    const struct qn_plan *p = d->plan;
    const uint32_t room = p->model_count + p->kafka.target.settings.count + d->variables->count + 4;
    uint64_t bytes = 0;

    d->config = QN_NEW_N(&d->cli->arena, struct qn_deploy_file, room);
    d->secrets = QN_NEW_N(&d->cli->arena, struct qn_deploy_file, room);
    if (d->config == NULL || d->secrets == NULL)
        return no_memory(err);
    QN_TRY(add_config(d, p->file, QN_DEPLOY_CONFIG_BYTES, &bytes, err));
    if (d->config_count == 0)
        return qn_err_set(err, QN_INVALID, "'%s' is larger than a ConfigMap may be", p->file);
    d->config[0].path = QN_DEPLOY_FOLDER "/spec.yaml";
    d->config[0].key = "spec.yaml";
    QN_TRY(add_settings(d, &bytes, err));
    for (uint32_t i = 0; i < p->model_count; i++) {
        const uint64_t before = bytes;
        const uint32_t count = d->config_count;
        const uint64_t left = bytes < QN_DEPLOY_CONFIG_BYTES ? QN_DEPLOY_CONFIG_BYTES - bytes : 0;

        QN_TRY(add_config(d, p->models[i].path, left, &bytes, err));
        d->model_bytes += bytes - before;
        if (d->config_count == count && bytes > before) {
            d->left_out_bytes += bytes - before;
            bytes = before;
            qn_cli_say(
                d->cli,
                "quern deploy: the model '%.*s' is too large for a ConfigMap: the image must "
                "hold it as %s",
                QN_STR_ARG(p->models[i].name), pod_path(d, p->models[i].path));
        }
    }
    if (p->serve.cert != NULL)
        QN_TRY(add_secret(d, p->serve.cert, err));
    if (p->serve.key != NULL)
        QN_TRY(add_secret(d, p->serve.key, err));
    for (uint32_t i = 0; i < d->variables->count; i++)
        if (d->variables->items[i].is_file) {
            const char *file = plan_path(d, d->variables->items[i].name);

            if (file == NULL)
                return no_memory(err);
            QN_TRY(add_secret(d, file, err));
        }
    for (uint32_t i = 0; i < d->config_count; i++) {
        d->version = qn_hash(d->config[i].key, strlen(d->config[i].key), d->version);
        d->version = qn_hash(d->config[i].bytes.data, d->config[i].bytes.len, d->version);
    }
    return QN_OK;
}

/* ---- folders ---------------------------------------------------------------------------------*/

static qn_status add_folder(struct qn_deploy *d, const char *path, const char *what,
                            struct qn_err *err)
{
    struct qn_deploy_folder *f = &d->folders[d->folder_count];

    f->path = pod_path(d, path);
    if (f->path == NULL)
        return no_memory(err);
    if (strcmp(f->path, QN_DEPLOY_FOLDER) == 0 || f->path[0] == '\0')
        return qn_err_set(err, QN_INVALID,
                          "%s is written beside the spec, which is read-only in a pod: give it a "
                          "folder of its own",
                          what);
    for (uint32_t i = 0; i < d->folder_count; i++)
        if (strcmp(d->folders[i].path, f->path) == 0)
            return QN_OK;
    f->sub_path = key_of(d, f->path);
    d->folder_count++;
    return f->sub_path != NULL ? QN_OK : no_memory(err);
}

/* The value of an option that is a path; NULL where a kind has none. */
static const char *path_option(const struct qn_option *table, const void *options)
{
    for (const struct qn_option *o = table; o->name != NULL; o++)
        if (o->is_path && o->type == QN_OPT_TEXT)
            return *(const char *const *)((const char *)options + o->offset);
    return NULL;
}

static qn_status find_folders(struct qn_deploy *d, struct qn_err *err)
{
    const struct qn_plan *p = d->plan;
    uint32_t room = 2;

    for (uint32_t o = 0; o < p->output_count; o++)
        room += p->outputs[o].sink_count;
    d->folders = QN_NEW_N(&d->cli->arena, struct qn_deploy_folder, room);
    if (d->folders == NULL)
        return no_memory(err);
    if (d->is_kafka)
        return p->storage.bucket.name != NULL
                   ? QN_OK
                   : add_folder(d, p->kafka.snapshots, "a snapshot", err);
    QN_TRY(add_folder(d, p->storage.dir, "the log", err));
    for (uint32_t o = 0; o < p->output_count; o++)
        for (uint32_t s = 0; s < p->outputs[o].sink_count; s++) {
            const struct qn_sink *sink = &p->outputs[o].sinks[s];
            const char *file = path_option(sink->ops->options, sink->options);
            const char *slash = file != NULL ? strrchr(file, '/') : NULL;
            char folder[PATH_BYTES], what[128];

            if (file == NULL)
                continue;
            snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(slash - file + 1) : 0,
                     file);
            snprintf(what, sizeof what, "the file of '%.*s'", QN_STR_ARG(sink->name));
            QN_TRY(add_folder(d,
                              folder[0] != '\0'   ? folder
                              : d->folder.len > 0 ? d->folder.p
                                                  : ".",
                              what, err));
        }
    for (uint32_t i = 0; i < p->source_count; i++) {
        const char *file = path_option(p->sources[i].ops->options, p->sources[i].options);

        if (file != NULL)
            qn_cli_say(d->cli,
                       "quern deploy: the source '%.*s' follows a file: mount what writes %s",
                       QN_STR_ARG(p->sources[i].name), pod_path(d, file));
    }
    return QN_OK;
}

/* ---- variables -------------------------------------------------------------------------------*/

enum qn_deploy_variable qn_deploy_variable(const struct qn_deploy *d, const struct qn_variable *v,
                                           struct qn_str *value)
{
    static const char *const names[] = {"HOSTNAME", "POD_NAME", "INSTANCE"};

    if (v->is_file)
        return QN_DEPLOY_NONE;
    for (uint32_t i = 0; i < d->opt->set.count; i++) {
        const char *text = d->opt->set.items[i];

        if (strncmp(text, v->name.p, v->name.len) == 0 && text[v->name.len] == '=') {
            *value = qn_str_of(text + v->name.len + 1);
            return QN_DEPLOY_SET;
        }
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (qn_str_is(v->name, names[i]))
            return QN_DEPLOY_POD_NAME;
    return !v->has_default || qn_variable_is_secret(v->name) ? QN_DEPLOY_SECRET : QN_DEPLOY_NONE;
}

bool qn_deploy_is_variable(struct qn_str written, struct qn_str *name)
{
    if (written.len < 4 || memcmp(written.p, "${", 2) != 0 || written.p[written.len - 1] != '}')
        return false;
    *name = (struct qn_str){written.p + 2, written.len - 3};
    return memchr(name->p, ':', name->len) == NULL && memchr(name->p, '{', name->len) == NULL &&
           memchr(name->p, '}', name->len) == NULL;
}

bool qn_deploy_setting(const struct qn_plan *p, const char *name, struct qn_str *written)
{
    const uint32_t n = (uint32_t)strlen(name);

    for (uint32_t i = 0; i < p->kafka.target.settings.count; i++) {
        const struct qn_str s = p->kafka.settings_written[i];

        if (s.len > n && memcmp(s.p, name, n) == 0 && s.p[n] == '=') {
            *written = (struct qn_str){s.p + n + 1, s.len - n - 1};
            return true;
        }
    }
    return false;
}

/* ---- sizes -----------------------------------------------------------------------------------*/

static void size_disk(struct qn_deploy *d)
{
    const struct qn_plan_storage *st = &d->plan->storage;
    const double state = (double)qn_deploy_state_bytes(d);
    const double answer = EVENT_BYTES + FEATURE_BYTES * (double)d->plan->feature_count;
    double log;

    if (d->is_kafka) { /* two snapshots, and the one being written */
        d->disk_bytes = qn_deploy_round_up(3 * state, GIB);
        return;
    }
    log = (double)d->opt->load * (EVENT_BYTES + answer) *
          (st->keep_us > 0 ? (double)st->keep_us / 1e6 : KEEP_S);
    if (st->keep_bytes > 0 && (st->keep_us == 0 || log > 3 * (double)st->keep_bytes))
        log = 3 * (double)st->keep_bytes; /* it counts the main stream alone */
    d->disk_bytes = qn_deploy_round_up(
        1.2 * log + 4 * (double)st->segment_bytes + (st->bucket.name == NULL ? 3 * state : 0), GIB);
    if (st->keep_us == 0 && st->keep_bytes == 0)
        qn_cli_say(d->cli,
                   "quern deploy: the log keeps everything for ever ('storage: {keep: 30d}' "
                   "would not): the volume is sized for 30 days");
}

/* ---- HTTP ------------------------------------------------------------------------------------*/

static qn_status find_port(struct qn_deploy *d, struct qn_err *err)
{
    const struct qn_plan_serve *s = &d->plan->serve;
    struct qn_str list = qn_str_of(s->http != NULL ? s->http : ""), one;
    bool has_tokens = false;
    struct qn_address a;

    for (int role = 0; role < QN_SERVE_ROLES; role++)
        has_tokens |= s->token_count[role] > 0;
    if (!s->is_insecure && (!has_tokens || s->cert == NULL))
        return qn_err_set(
            err, QN_INVALID,
            "in a cluster, probes and metrics are asked for from other machines: that "
            "takes 'tokens' and 'tls' under 'serve', or 'serve: {insecure: true}' "
            "where a network policy or a mesh guards it");
    d->is_local_http = true;
    d->port = PORT_DEFAULT;
    if (qn_address_next(&list, &one) && qn_address_parse(one, &a) == NULL) {
        d->is_local_http = qn_address_is_loopback(&a);
        if (qn_address_port(&a) != 0)
            d->port = qn_address_port(&a);
        else
            d->is_local_http = true;
    }
    return QN_OK;
}

/* ---- the whole -------------------------------------------------------------------------------*/

static qn_status check_names(struct qn_deploy *d, struct qn_err *err)
{
    char *name;

    d->name = d->opt->name;
    if (d->name == NULL) {
        name = qn_arena_strdup(&d->cli->arena, d->plan->name.p, d->plan->name.len);
        if (name == NULL)
            return no_memory(err);
        d->name = name;
    }
    if (!qn_deploy_is_label(d->name, QN_DEPLOY_NAME_BYTES))
        return qn_err_set(err, QN_INVALID,
                          "'%s' cannot be a name in Kubernetes (small letters, digits and '-', a "
                          "letter first, at most %d): give one with --name",
                          d->name, QN_DEPLOY_NAME_BYTES);
    if (d->opt->ns != NULL && !qn_deploy_is_label(d->opt->ns, 63))
        return qn_err_set(err, QN_INVALID, "'%s' cannot be a namespace", d->opt->ns);
    if (d->opt->secret != NULL && !qn_deploy_is_label(d->opt->secret, 63))
        return qn_err_set(err, QN_INVALID, "'%s' cannot be the name of a Secret", d->opt->secret);
    d->secret = d->opt->secret;
    if (d->secret == NULL) {
        char text[80];

        snprintf(text, sizeof text, "%s-secrets", d->name);
        d->secret = qn_arena_strdup(&d->cli->arena, text, strlen(text));
    }
    d->image = d->opt->image != NULL ? d->opt->image : "quern:" QN_VERSION;
    return d->secret != NULL ? QN_OK : no_memory(err);
}

/* Pods of one instance would end each other. */
static qn_status check_instance(const struct qn_deploy *d, struct qn_err *err)
{
    const struct qn_str s = d->plan->kafka.instance_written;
    static const char *const names[] = {"${HOSTNAME", "${POD_NAME", "${INSTANCE"};

    if (!d->is_stateful || !d->is_kafka)
        return QN_OK;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const size_t n = strlen(names[i]);

        for (size_t at = 0; at + n < s.len; at++)
            if (memcmp(s.p + at, names[i], n) == 0 && (s.p[at + n] == '}' || s.p[at + n] == ':'))
                return QN_OK;
    }
    return qn_err_set(err, QN_INVALID,
                      "all pods would be the instance '%.*s': write 'instance: \"${HOSTNAME}\"', "
                      "which is the pod's name, or leave it out",
                      QN_STR_ARG(s));
}

qn_status qn_deploy_plan(struct qn_deploy *d, struct qn_err *err)
{
    const struct qn_plan *p = d->plan;

    d->is_kafka = p->kafka.target.brokers != NULL;
    d->is_stateful = !d->is_kafka || p->kafka.instance != NULL;
    if (!d->is_kafka && p->storage.dir == NULL)
        return qn_err_set(err, QN_INVALID,
                          "the spec names no log to run on: write 'log: local:./data' or 'log: "
                          "kafka:HOST:9092'");
    QN_TRY(check_names(d, err));
    QN_TRY(find_port(d, err));
    QN_TRY(check_instance(d, err));
    QN_TRY(check_secrets(p, err));
    QN_TRY(find_files(d, err));
    QN_TRY(find_folders(d, err));
    QN_TRY(qn_deploy_parts(d, err));
    size_disk(d);
    return QN_OK;
}

void qn_deploy_fini(struct qn_deploy *d)
{
    for (uint32_t i = 0; i < d->config_count; i++)
        qn_buf_fini(&d->config[i].bytes);
    d->config_count = 0;
}
