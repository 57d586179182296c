/* SPDX-License-Identifier: Apache-2.0
 * plan.h - the face of the spec room: a YAML file in, a resolved plan out, or every mistake in it
 * with its place.
 *
 * Reading: YAML (libyaml, events with positions) -> nodes (yaml_node.h) -> ${...} filled in ->
 * bound by key tables (bind_*.c) -> compiled: schemas, features, models, outputs. What the design
 * has and this version has not is refused by name, never ignored. The plan is read-only after load
 * but for the state inside `features`; it owns all it points to. Thread: loading, one; reading,
 * any. */
#ifndef QN_SPEC_PLAN_H
#define QN_SPEC_PLAN_H

#include "base/diag.h"
#include "base/file.h"
#include "event/schema.h"
#include "feature/feature.h"
#include "log/kafka_target.h"
#include "log/transcode.h"
#include "model/model.h"
#include "sink/sink.h"
#include "source/source.h"

struct qn_variable_list; /* variables.h */

/* Where one input of a model comes from. */
struct qn_model_input {
    struct qn_str name;  /* as in the model, or the column's name where the model has none */
    uint32_t column;     /* see qn_plan: fields, then features                             */
    struct qn_kind kind; /* bool, int64, double, decimal: the model's double; null is NaN */
};

struct qn_plan_model {
    struct qn_str name;
    struct qn_str file; /* as written; a path that holds a secret: with its ${...}; "" = none */
    const char *path;   /* relative to the spec's folder, ready to open; NULL = none */
    struct qn_model *model;
    const struct qn_model_input *inputs;
    uint32_t input_count;
};

/* margin: the raw score before the objective's transform. contributions: what each input of the
 * model added to it. */
enum qn_include {
    QN_INCLUDE_FEATURES = 1,
    QN_INCLUDE_EVENT = 2,
    QN_INCLUDE_MARGIN = 4,
    QN_INCLUDE_CONTRIBUTIONS = 8
};

struct qn_plan_output {
    struct qn_str name;         /* "predictions" is the one that pipe writes to stdout */
    uint64_t from;              /* bit per stream: whose good events it takes          */
    const struct qn_expr *when; /* NULL = all of them; else `from` is the main stream alone */
    struct qn_str when_text;    /* as it may be shown: secrets not filled in; "" without `when` */
    uint32_t include;           /* enum qn_include bits */
    bool is_predictions;
    struct qn_sink *sinks; /* where records are delivered to, besides staying in the topic */
    uint32_t sink_count;
};

/* Where and how `quern run` keeps the log; codec as enum qn_log_codec. */
/* A bucket for snapshots, as base/s3.h wants it. */
struct qn_plan_bucket {
    const char *name;   /* NULL = snapshots lie in a folder of the log                      */
    const char *prefix; /* of its keys: "" or ends with '/'                                 */
    const char *endpoint, *region;
    const char *key_id, *secret, *token; /* secrets, but the first; NULL = not known        */
    const char *ca_file;
    bool is_path_style;
    int64_t timeout_us;
};

struct qn_plan_storage {
    const char *dir; /* NULL = the spec names no log; else ready to open */
    uint64_t segment_bytes;
    uint8_t codec;
    bool is_volatile;    /* no syncs                                 */
    int64_t keep_us;     /* 0 = for ever                             */
    uint64_t keep_bytes; /* of each topic; 0 = without limit         */
    int64_t snapshot_every_us;
    struct qn_plan_bucket bucket;
};

/* A part of a pipeline on Kafka: the windows that its topic is partitioned for. The first one reads
 * the stream's topic, each other one what the one before it has put there; the last one answers. */
struct qn_plan_stage {
    const char *name; /* the fields of its key: "terminal_id", "a-b"; "" where there is one stage */
    const char *group;   /* consumer group */
    const char *topic;   /* that it reads */
    const uint32_t *key; /* [key_count] fields of the main stream; none where there is one stage */
    uint32_t key_count;
};
#define QN_NO_STAGE UINT32_MAX

/* Where `quern run` finds the log when it lies in Kafka (log: kafka:BROKERS). */
struct qn_plan_kafka {
    struct qn_kafka_target target; /* brokers NULL = it does not */
    const char *group;             /* consumer group: those of one group share the partitions */
    const char *instance;          /* of this process, stable over restarts; NULL = none */
    const char **stream_topics;    /* [schema_count] */
    const char **output_topics;    /* [output_count] */
    const char *dead_topic;
    const char *journal_topic; /* in which order several streams were read; NULL = there is one */
    int64_t commit_us;         /* between two transactions */
    bool is_at_least_once;     /* no transactions */
    bool may_create;           /* output topics that are not there */
    uint32_t standby;          /* warm copies of a partition: 0 or 1 */
    const char *snapshots;     /* folder, ready to open; of a bucket its name, for people */
    struct qn_plan_stage *stages; /* [stage_count], at least one (bind_stage.c) */
    uint32_t stage_count;
    uint32_t *group_stages; /* [groups of the features] which one has it */
    /* As the spec writes them, ${...} not filled in; "" = left out. settings: as the target's. */
    struct qn_str brokers_written, group_written, input_written, instance_written;
    const struct qn_str *settings_written;
};

/* How `quern run` is asked over HTTP (serve/serve.h). */
enum qn_serve_tokens { QN_SERVE_READ, QN_SERVE_WRITE, QN_SERVE_ADMIN, QN_SERVE_ROLES };
struct qn_plan_serve {
    const char *http; /* addresses joined by commas; NULL = none             */
    const struct qn_str *tokens[QN_SERVE_ROLES]; /* secrets: never shown     */
    uint32_t token_count[QN_SERVE_ROLES];
    const char *cert, *key; /* paths, ready to open; both or none            */
    bool is_insecure;       /* may listen beyond this machine as it is       */
    uint32_t threads, connections;
    uint64_t body_bytes; /* of a request, as sent and unpacked               */
    int64_t timeout_us;  /* of a request, from its first byte to its last    */
};

/* What state and backlog may grow to. */
struct qn_plan_limits {
    uint64_t memory_bytes; /* of state, counted (state/budget.h); 0 = without limit */
    uint64_t held_bytes;   /* of it from the start: what the model that scores learns in         */
    int64_t wait_us;       /* of an accepted event, for the engine; 0 = without limit            */
};

/* What the engine keeps of an id beside its bytes, for `dedup`; quern check sizes it. */
enum { QN_DEDUP_BYTES = 8 };

struct qn_plan {
    struct qn_str name;        /* of the pipeline */
    const char *file;          /* the spec, as the user named it */
    uint64_t version;          /* hash of the resolved spec: what predictions call "spec" */
    struct qn_schema *schemas; /* in the order of the spec */
    uint32_t schema_count;
    struct qn_transcode_options *wire; /* [schema_count] how its records come from Kafka */
    uint32_t main_stream;              /* index: the stream that gets features and scores */
    struct qn_features *features;      /* never NULL; may have none */
    struct qn_plan_model *models;
    uint32_t model_count;
    int32_t score_model;            /* index, -1 = nothing is scored */
    struct qn_plan_output *outputs; /* "predictions" always exists and stands first */
    uint32_t output_count;
    /* Columns as `inputs` and `when` number them: fields of the main stream in schema order at [0,
     * field_count), features at [field_count, field_count + features), then "score" (a double, null
     * where there is none). */
    uint32_t field_count, feature_count;
    uint32_t score_column;
    struct qn_plan_storage storage;
    struct qn_plan_kafka kafka;
    struct qn_source *sources; /* at most one of each stream, in the order of the streams */
    uint32_t source_count;
    struct qn_plan_serve serve;
    struct qn_plan_limits limits;
    /* [feature_count] sentences as they may be shown: secrets not filled in */
    const struct qn_str *feature_texts;
    /* [schema_count][field_count] default and limits hold a secret: not shown */
    const bool *const *field_hidden;
    struct qn_arena *boot;
};

struct qn_plan_options {
    const struct qn_files *files;
    const char *const *environment; /* "NAME=value", NULL-ended; for ${NAME} */
    /* For those who look at a spec that will run elsewhere; both as in variables.h, NULL = not. */
    const char *stand_in;
    struct qn_variable_list *variables;
};

/* Loads a spec. QN_INVALID when diags has errors (then *out is NULL); other codes when the file
 * cannot be read. */
qn_status qn_plan_load(const char *path, const struct qn_plan_options *opt, struct qn_arena *boot,
                       struct qn_diags *diags, struct qn_plan **out, struct qn_err *err);
/* The same from text; `path` names it and its folder. */
qn_status qn_plan_load_text(struct qn_str text, const char *path, const struct qn_plan_options *opt,
                            struct qn_arena *boot, struct qn_diags *diags, struct qn_plan **out,
                            struct qn_err *err);
/* Frees models and feature state; the rest lies in boot. NULL is fine. */
void qn_plan_free(struct qn_plan *p);

/* Index of the stream of that name; NULL is the main stream. QN_INVALID, with the nearest name,
 * where there is none. */
qn_status qn_plan_find_stream(const struct qn_plan *p, const char *name, uint32_t *stream,
                              struct qn_err *err);

/* What `quern check` shows: streams, features with types, groups with memory per key, models with
 * inputs. */
void qn_plan_print(const struct qn_plan *p, struct qn_buf *out);
void qn_plan_json(const struct qn_plan *p, struct qn_buf *out);
/* docs/spec.md and the JSON schema of the spec, from the key tables. */
void qn_plan_reference(struct qn_buf *out);
void qn_plan_json_schema(struct qn_buf *out);

#endif
