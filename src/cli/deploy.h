/* SPDX-License-Identifier: Apache-2.0
 * deploy.h - the inside of `quern deploy`: what a plan takes to run in a Kubernetes cluster, and
 * the objects that say so.
 *
 *   spec ─► plan (cmd_deploy.c) ─► qn_deploy: paths, variables, disk (deploy_plan.c)
 *        ─► parts: what has pods of its own, its name and memory (deploy_part.c)
 *        ─► objects as YAML: what runs (deploy_write.c), what scales it (deploy_scale.c)
 *
 * The objects are a function of the spec, the files it names and the options alone: no variable of
 * the environment is read, so no secret can get into them. Paths are those of the pod, where the
 * spec is QN_DEPLOY_FOLDER/spec.yaml. Thread: main. Memory: the command's arena, but for the texts
 * of objects. */
#ifndef QN_CLI_DEPLOY_H
#define QN_CLI_DEPLOY_H

#include "cli/cli.h"
#include "spec/variables.h"

#define QN_DEPLOY_FOLDER "/etc/quern"

enum {
    QN_DEPLOY_CONFIG_BYTES = 1000000, /* what a ConfigMap may hold, with some room for names   */
    QN_DEPLOY_NAME_BYTES = 52 /* of a name: a StatefulSet's pods add to it, and 63 is the end */
};

enum qn_deploy_snapshots { QN_DEPLOY_SHARED, QN_DEPLOY_POD };
enum qn_deploy_stages { QN_DEPLOY_APART, QN_DEPLOY_TOGETHER };

struct qn_deploy_options {
    const char *output, *image, *name, *ns, *secret, *storage_class;
    int64_t threads, drain_us, delay_us;    /* of quern run                             */
    int64_t keys, load, rate, freshness_us; /* expected; load: events a second, all in all;
                                               rate: those that one pod takes           */
    int64_t partitions, min_pods;
    int snapshots; /* enum qn_deploy_snapshots */
    int stages;    /* enum qn_deploy_stages    */
    bool force;
    struct qn_option_list set; /* NAME=VALUE */
};

/* A file that the pod must have: from the ConfigMap, or from the Secret. */
struct qn_deploy_file {
    const char *path;    /* in the pod */
    const char *key;     /* in the ConfigMap or Secret */
    struct qn_buf bytes; /* of the ConfigMap; empty for the Secret */
};

/* A folder that the pod writes to. */
struct qn_deploy_folder {
    const char *path;     /* in the pod                    */
    const char *sub_path; /* its place in the volume       */
};

/* What has pods of its own: the whole pipeline, or one stage of it. */
struct qn_deploy_part {
    const char *name;      /* of its objects                                              */
    const char *component; /* tells its pods from those of other parts; NULL = there are none */
    uint32_t stage, stage_count; /* of the plan, that a pod runs                                */
    uint64_t state_bytes, memory_bytes; /* of a pod                                             */
};

struct qn_deploy {
    struct qn_cli *cli;
    const struct qn_deploy_options *opt;
    const struct qn_plan *plan;
    const struct qn_variable_list *variables;
    struct qn_str folder; /* of the spec, as its paths begin */
    const char *name, *secret, *image;
    struct qn_deploy_file *config, *secrets;
    uint32_t config_count, secret_count;
    struct qn_deploy_folder *folders;
    uint32_t folder_count;
    uint64_t left_out_bytes; /* of models that do not fit into the ConfigMap: the image has them */
    uint64_t version;        /* hash of all that the ConfigMap holds */
    bool is_kafka, is_stateful, is_local_http;
    uint16_t port;
    uint64_t model_bytes, disk_bytes;
    struct qn_deploy_part *parts;
    uint32_t part_count;
    const struct qn_deploy_part *part; /* that is being written; NULL = what all of them share */
};

struct qn_deploy_object {
    char file[96]; /* "scaledobject.yaml", "scaledobject-terminal.yaml" */
    struct qn_buf text;
};
struct qn_deploy_objects {
    struct qn_deploy_object *list; /* [max]: the command's arena */
    uint32_t count, max;
};

/* Fills d from plan and options; what is worth a word goes to stderr. QN_INVALID: the spec cannot
 * run in a cluster as it is, with what to change. */
qn_status qn_deploy_plan(struct qn_deploy *d, struct qn_err *err);
void qn_deploy_fini(struct qn_deploy *d);
/* The parts of it, their names and memory (deploy_part.c). */
qn_status qn_deploy_parts(struct qn_deploy *d, struct qn_err *err);
/* Their state, all in all. */
uint64_t qn_deploy_state_bytes(const struct qn_deploy *d);
/* A size with some room, in whole units. */
uint64_t qn_deploy_round_up(double bytes, uint64_t unit);
/* True where Kubernetes takes it as a name. */
bool qn_deploy_is_label(const char *s, size_t max);

/* Where ${NAME} gets its value in the pod. */
enum qn_deploy_variable { QN_DEPLOY_SET, QN_DEPLOY_POD_NAME, QN_DEPLOY_SECRET, QN_DEPLOY_NONE };
enum qn_deploy_variable qn_deploy_variable(const struct qn_deploy *d, const struct qn_variable *v,
                                           struct qn_str *value);
/* The name of the variable that `written` is, such as PASSWORD of "${PASSWORD}" without a default;
 * false where it is anything else. */
bool qn_deploy_is_variable(struct qn_str written, struct qn_str *name);
/* True where a setting of librdkafka has that name; what follows the '=', as the spec writes it. */
bool qn_deploy_setting(const struct qn_plan *p, const char *name, struct qn_str *written);

/* All objects, in the order in which they should be applied. */
qn_status qn_deploy_write(struct qn_deploy *d, struct qn_deploy_objects *out, struct qn_err *err);
/* TriggerAuthentication, where the cluster asks who we are, and a ScaledObject for each part
 * (deploy_scale.c). */
qn_status qn_deploy_write_scale(struct qn_deploy *d, struct qn_deploy_objects *out,
                                struct qn_err *err);
/* A new object of d->part with its apiVersion, kind and metadata; suffix: of its name, "" = none.
 */
struct qn_buf *qn_deploy_object(const struct qn_deploy *d, struct qn_deploy_objects *out,
                                const char *api, const char *kind, const char *suffix,
                                const char *about);
void qn_deploy_objects_fini(struct qn_deploy_objects *o);

#endif
