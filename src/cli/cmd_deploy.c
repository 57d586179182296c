/* SPDX-License-Identifier: Apache-2.0
 * cmd_deploy.c - `quern deploy SPEC`: Kubernetes manifests, with KEDA's where Kafka is the log.
 *
 * The spec is loaded without the variables of this machine: what comes from outside is named in the
 * manifests and stays outside, in a Secret. A text stands in for it meanwhile; where planning needs
 * the value itself, --set gives it. Thread: main. */
#include "cli/commands.h"
#include "cli/deploy.h"

#include <errno.h>
#include <stdio.h>

#define STAND_IN "https://stand-in.invalid/0123456789"

static const struct qn_option options[] = {
    {.name = "output",
     .type = QN_OPT_TEXT,
     .short_name = 'o',
     .value = "FOLDER",
     .fallback = "-",
     .since = "0.2",
     .help = "write a file per object and a kustomization.yaml there ('-' is standard output)",
     .offset = offsetof(struct qn_deploy_options, output)},
    {.name = "image",
     .type = QN_OPT_TEXT,
     .value = "IMAGE",
     .since = "0.2",
     .help = "the image that has the program (default: quern and this version)",
     .offset = offsetof(struct qn_deploy_options, image)},
    {.name = "namespace",
     .type = QN_OPT_TEXT,
     .short_name = 'n',
     .value = "NAMESPACE",
     .since = "0.2",
     .help = "the namespace of the objects (default: none, that of kubectl)",
     .offset = offsetof(struct qn_deploy_options, ns)},
    {.name = "name",
     .type = QN_OPT_TEXT,
     .value = "NAME",
     .since = "0.2",
     .help = "what the objects are called (default: the pipeline's name)",
     .offset = offsetof(struct qn_deploy_options, name)},
    {.name = "secret",
     .type = QN_OPT_TEXT,
     .value = "NAME",
     .since = "0.2",
     .help = "the Secret that holds variables and files of the spec (default: NAME-secrets)",
     .offset = offsetof(struct qn_deploy_options, secret)},
    {.name = "set",
     .type = QN_OPT_LIST,
     .value = "NAME=VALUE",
     .since = "0.2",
     .help = "the value of a ${NAME} that is no secret; may be repeated",
     .offset = offsetof(struct qn_deploy_options, set)},
    {.name = "storage-class",
     .type = QN_OPT_TEXT,
     .value = "NAME",
     .since = "0.2",
     .help = "of the volume (default: the cluster's)",
     .offset = offsetof(struct qn_deploy_options, storage_class)},
    {.name = "snapshots",
     .type = QN_OPT_ENUM,
     .value = "WHERE",
     .choices = "shared|pod",
     .fallback = "shared",
     .since = "0.2",
     .help =
         "with log: kafka, where snapshots lie: on a volume that all pods reach (ReadWriteMany), "
         "or in each pod, gone with it",
     .offset = offsetof(struct qn_deploy_options, snapshots)},
    {.name = "stages",
     .type = QN_OPT_ENUM,
     .value = "HOW",
     .choices = "apart|together",
     .fallback = "apart",
     .since = "0.2",
     .help = "with features by several keys: pods of its own for each stage, scaled by its lag, or "
             "pods that run them all",
     .offset = offsetof(struct qn_deploy_options, stages)},
    {.name = "keys",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "100000",
     .min = 0,
     .max = INT64_C(1000000000000),
     .since = "0.2",
     .help = "how many different keys each 'by' will meet: sizes the memory",
     .offset = offsetof(struct qn_deploy_options, keys)},
    {.name = "load",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "100",
     .unit = "events/s",
     .min = 0,
     .max = INT64_C(1000000000),
     .since = "0.2",
     .help = "how many events come on average: sizes memory and volume",
     .offset = offsetof(struct qn_deploy_options, load)},
    {.name = "rate",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "10000",
     .unit = "events/s",
     .min = 1,
     .max = INT64_C(1000000000),
     .since = "0.2",
     .help = "how many events one pod takes when it has to catch up: measure it",
     .offset = offsetof(struct qn_deploy_options, rate)},
    {.name = "freshness",
     .type = QN_OPT_DURATION,
     .value = "TIME",
     .fallback = "5s",
     .min = 100000,
     .max = INT64_C(86400000000),
     .since = "0.2",
     .help = "how old an answer may be: a pod for each rate x freshness of lag",
     .offset = offsetof(struct qn_deploy_options, freshness_us)},
    {.name = "partitions",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "0",
     .min = 0,
     .max = 65535,
     .since = "0.2",
     .help = "of the input topic, 0 = not known: most pods",
     .offset = offsetof(struct qn_deploy_options, partitions)},
    {.name = "min-pods",
     .type = QN_OPT_INT,
     .value = "N",
     .fallback = "0",
     .min = 0,
     .max = 65535,
     .since = "0.2",
     .help = "fewest pods with log: kafka; 0 = none while nothing comes",
     .offset = offsetof(struct qn_deploy_options, min_pods)},
    QN_THREADS_ROW(struct qn_deploy_options, threads, "0.2"),
    {.name = "drain",
     .type = QN_OPT_DURATION,
     .value = "TIME",
     .fallback = "25s",
     .max = INT64_C(86400000000),
     .since = "0.2",
     .help = "as of 'quern run'",
     .offset = offsetof(struct qn_deploy_options, drain_us)},
    {.name = "drain-delay",
     .type = QN_OPT_DURATION,
     .value = "TIME",
     .fallback = "5s",
     .max = INT64_C(3600000000),
     .since = "0.2",
     .help = "as of 'quern run'",
     .offset = offsetof(struct qn_deploy_options, delay_us)},
    {.name = "force",
     .type = QN_OPT_FLAG,
     .since = "0.2",
     .help = "replace files that are there already",
     .offset = offsetof(struct qn_deploy_options, force)},
    {.name = NULL},
};

const struct qn_command_usage qn_usage_deploy = {
    .name = "deploy",
    .summary = "Kubernetes manifests; with log: kafka, KEDA's for scaling by lag",
    .positional = "SPEC",
    .options = options,
    .examples = {"quern deploy card-fraud.yaml --image registry.example/quern:0.2 > fraud-k8s.yaml",
                 "quern deploy kafka.yaml --partitions 12 --rate 40000 --freshness 2s --output k8s",
                 "kubectl apply --server-side -k k8s"},
};

/* ---- loading ---------------------------------------------------------------------------------*/

/* What stands for the pod's environment: --set, and the pod's name. */
static const char *const *pod_environment(struct qn_cli *c, const struct qn_deploy_options *o,
                                          struct qn_err *err)
{
    const char **env = QN_NEW_N(&c->arena, const char *, o->set.count + 4);
    uint32_t n = 0;

    if (env == NULL) {
        qn_err_set(err, QN_NOMEM, "out of memory for the variables");
        return NULL;
    }
    for (uint32_t i = 0; i < o->set.count; i++) {
        if (strchr(o->set.items[i], '=') == NULL || o->set.items[i][0] == '=') {
            qn_err_set(err, QN_INVALID, "--set takes NAME=VALUE, found '%.60s'", o->set.items[i]);
            return NULL;
        }
        env[n++] = o->set.items[i];
    }
    env[n++] = "HOSTNAME=pod-0";
    env[n++] = "POD_NAME=pod-0";
    env[n++] = "INSTANCE=pod-0";
    env[n] = NULL;
    return env;
}

/* Its folder begins no other path: an absolute path of the spec is told from one beside it. NULL
 * when out of memory. */
static const char *own_path(struct qn_cli *c, const char *path)
{
    const char *slash = strrchr(path, '/');
    struct qn_buf b = {0};
    const char *own;

    if (slash == NULL || path[0] != '/')
        return path;
    qn_buf_add(&b, path, (size_t)(slash - path));
    qn_buf_printf(&b, "/./%s", slash + 1);
    own = b.failed ? NULL : qn_arena_strdup(&c->arena, b.data, b.len);
    qn_buf_fini(&b);
    return own;
}

static void say_stand_ins(struct qn_cli *c, const struct qn_variable_list *l)
{
    struct qn_buf b = {0};
    bool is_any = false;

    for (uint32_t i = 0; i < l->count; i++)
        if (l->items[i].is_stand_in && !l->items[i].is_file) {
            qn_buf_printf(&b, "%s%.*s", is_any ? ", " : "", QN_STR_ARG(l->items[i].name));
            is_any = true;
        }
    if (is_any && !b.failed)
        qn_cli_say(c,
                   "quern deploy: values of variables are not known here (%.*s); where one is "
                   "needed, give it with --set NAME=VALUE",
                   (int)b.len, b.data);
    qn_buf_fini(&b);
}

static struct qn_plan *load(struct qn_cli *c, const char *path, const struct qn_deploy_options *o,
                            struct qn_variable_list *variables, int *code)
{
    struct qn_plan_options opt = {.files = c->files, .stand_in = STAND_IN, .variables = variables};
    struct qn_diags diags = {.arena = &c->arena};
    struct qn_plan *plan = NULL;
    struct qn_err err = {0};
    struct qn_buf b = {0};
    qn_status rc;

    *code = QN_EXIT_USAGE;
    opt.environment = pod_environment(c, o, &err);
    if (opt.environment == NULL) {
        *code = qn_cli_fail(c, &err);
        return NULL;
    }
    path = own_path(c, path);
    if (path == NULL) {
        *code = QN_EXIT_FAILED;
        return NULL;
    }
    rc = qn_plan_load(path, &opt, &c->arena, &diags, &plan, &err);
    if (rc != QN_OK && diags.errors == 0) {
        *code = qn_cli_fail(c, &err);
        return NULL;
    }
    qn_diag_print(&diags, true, &b);
    if (b.len > 0 && !b.failed)
        qn_cli_say(c, "%.*s", (int)b.len - 1, b.data);
    qn_buf_fini(&b);
    if (rc != QN_OK)
        say_stand_ins(c, variables);
    return plan;
}

/* ---- writing ---------------------------------------------------------------------------------*/

static qn_status write_file(struct qn_cli *c, const char *folder, const char *name,
                            const struct qn_buf *text, struct qn_err *err)
{
    char path[4200];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return qn_cli_write_file(c, path, text->data, text->len, err);
}

/* A file for each, and what lists them for `kubectl apply -k`. */
static qn_status write_folder(struct qn_deploy *d, const struct qn_deploy_objects *o,
                              struct qn_err *err)
{
    const char *folder = d->opt->output;
    struct qn_buf list = {0};
    char path[4200];
    int rc = d->cli->files->make_folder(d->cli->files->st, folder);
    qn_status status = QN_OK;

    if (rc < 0 && rc != -EEXIST)
        return qn_err_sys(err, -rc, "cannot make the folder '%s'", folder);
    for (uint32_t i = 0; i < o->count && !d->opt->force; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, o->list[i].file);
        if (qn_cli_exists(d->cli, path))
            return qn_err_set(err, QN_IO, "'%s' is there already; --force replaces it", path);
    }
    qn_buf_text(&list, "# kubectl apply --server-side -k .\napiVersion: "
                       "kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n");
    for (uint32_t i = 0; i < o->count && status == QN_OK; i++) {
        qn_buf_printf(&list, "  - %s\n", o->list[i].file);
        status = write_file(d->cli, folder, o->list[i].file, &o->list[i].text, err);
    }
    if (status == QN_OK)
        status = write_file(d->cli, folder, "kustomization.yaml", &list, err);
    qn_buf_fini(&list);
    return status;
}

static bool write_stream(struct qn_deploy *d, const struct qn_deploy_objects *o)
{
    bool is_good = true;

    for (uint32_t i = 0; i < o->count && is_good; i++)
        is_good = qn_cli_write(d->cli, "---\n", 4) &&
                  qn_cli_write(d->cli, o->list[i].text.data, o->list[i].text.len);
    return is_good;
}

/* What the Secret must hold. */
static void say_secrets(const struct qn_deploy *d)
{
    const struct qn_plan_bucket *s3 = &d->plan->storage.bucket;
    struct qn_buf b = {0};
    struct qn_str value;

    for (uint32_t i = 0; i < d->variables->count; i++)
        if (qn_deploy_variable(d, &d->variables->items[i], &value) == QN_DEPLOY_SECRET)
            qn_buf_printf(&b, " %.*s%s", QN_STR_ARG(d->variables->items[i].name),
                          d->variables->items[i].has_default ? " (may be left out)" : "");
    for (uint32_t i = 0; i < d->secret_count; i++)
        qn_buf_printf(&b, " %s (for %s)", d->secrets[i].key, d->secrets[i].path);
    if (s3->name != NULL && (s3->key_id == NULL || s3->secret == NULL))
        qn_buf_text(&b, " AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY");
    if (b.len > 0 && !b.failed)
        qn_cli_say(d->cli, "quern deploy: the Secret %s is yours to make, with the keys:%.*s",
                   d->secret, (int)b.len, b.data);
    qn_buf_fini(&b);
}

int qn_cmd_deploy(struct qn_cli *c, int argc, char **argv)
{
    struct qn_deploy_options opt = {0};
    struct qn_variable_list variables = {0};
    struct qn_deploy d = {.cli = c, .opt = &opt, .variables = &variables};
    struct qn_deploy_objects objects = {0};
    struct qn_option_list rest;
    struct qn_plan *plan;
    struct qn_err err = {0};
    const char *slash;
    qn_status rc;
    int code;

    if (!qn_cli_options(c, &qn_usage_deploy, argc, argv, &opt, &rest, &code))
        return code;
    plan = load(c, rest.items[0], &opt, &variables, &code);
    if (plan == NULL)
        return code;
    d.plan = plan;
    slash = strrchr(plan->file, '/');
    d.folder = (struct qn_str){plan->file, slash != NULL ? (uint32_t)(slash - plan->file + 1) : 0};
    code = QN_EXIT_OK;
    rc = qn_deploy_plan(&d, &err);
    if (rc == QN_OK)
        rc = qn_deploy_write(&d, &objects, &err);
    if (rc == QN_OK && strcmp(opt.output, "-") != 0)
        rc = write_folder(&d, &objects, &err);
    else if (rc == QN_OK && !write_stream(&d, &objects))
        code = QN_EXIT_FAILED;
    if (rc != QN_OK)
        code = qn_cli_fail(c, &err);
    else if (code == QN_EXIT_OK)
        say_secrets(&d);
    qn_deploy_objects_fini(&objects);
    qn_deploy_fini(&d);
    qn_plan_free(plan);
    return code;
}
