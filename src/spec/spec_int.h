/* SPDX-License-Identifier: Apache-2.0
 * spec_int.h - the inside of the spec room: key tables, the binder that they drive, and what is
 * known while a plan grows.
 *
 * A mapping of the spec is described by one const table (keys.c). From the table come: reading and
 * checking (qn_bind), errors about unknown keys with the nearest name or the word of another tool,
 * refusals of what is designed but not there yet, the reference page and the JSON schema. Nothing
 * else knows the names of keys. Rule of silence: whatever is reported once is marked broken, and
 * what depends on it says nothing. Thread: one. Memory: the boot arena. */
#ifndef QN_SPEC_SPEC_INT_H
#define QN_SPEC_SPEC_INT_H

#include "spec/plan.h"
#include "spec/yaml_node.h"

/* ---- key tables (keys.c) ---- */

enum qn_key_type {
    QN_KEY_TEXT,     /* a scalar; what it may say is checked by the reader                       */
    QN_KEY_BOOL,     /* true or false                                                            */
    QN_KEY_INT,      /* a whole number within [min, max]                                         */
    QN_KEY_NUMBER,   /* a number                                                                 */
    QN_KEY_DURATION, /* 10s, 1h30m: microseconds within [min, max]                               */
    QN_KEY_BYTES,    /* 64KiB, 1GB: bytes within [min, max]                                      */
    QN_KEY_CHOICE,   /* one of `choices`                                                         */
    QN_KEY_CHOICES,  /* a list of them, or one alone: a bit set                                  */
    QN_KEY_VALUE,    /* a value of the field's own type                                          */
    QN_KEY_VALUES,   /* a list of such values                                                    */
    QN_KEY_NAMES,    /* a list of names, or of texts                                             */
    QN_KEY_SINKS,    /* one sink or a list of them, read by bind_sink.c; `choices`: not there yet */
    QN_KEY_SOURCE,   /* one source, read by bind_source.c                                        */
    QN_KEY_TABLE,    /* a mapping with the keys of `sub`                                         */
    QN_KEY_MAP,      /* NAME: mapping with the keys of `sub`; where `has_short`, a text will do  */
    QN_KEY_TEXTS,    /* NAME: text                                                               */
    QN_KEY_RANGES    /* NAME: [lowest, highest], read by bind_half_space.c                       */
};

struct qn_key_table;

/* One key of a mapping. */
struct qn_key {
    const char *name;
    enum qn_key_type type;
    bool is_required;
    bool has_short;            /* MAP: the value may be a text (the type of a field)       */
    const char *not_yet;       /* designed, not in this version: what to do instead        */
    const char *fallback;      /* as text, for the reference; NULL = none                  */
    int64_t min, max;          /* INT, DURATION                                            */
    const char *choices;       /* CHOICE, CHOICES: "all|best"; "!x" is designed, not there yet */
    const char *choice_advice; /* what to do instead of a choice that is not there yet     */
    const char *value;         /* what stands there, for messages: "a field"               */
    const struct qn_key_table *sub;
    const char *since; /* version                                                  */
    const char *help;  /* one line, lower case, no full stop                       */
};

/* The word another tool uses, and ours: a key of the same table, or a sentence of advice (it has a
 * space in it). */
struct qn_key_synonym {
    const char *theirs, *ours;
};

struct qn_key_table {
    const char *id;   /* for the JSON schema: "stream"                            */
    const char *path; /* where it stands: "streams: NAME:"                        */
    const char *what; /* for messages: "a stream"                                 */
    const char *help; /* for the reference, whole sentences                       */
    const struct qn_key *keys;
    uint32_t count;
    const struct qn_key_synonym *synonyms; /* ended by theirs = NULL */
};

enum {
    KEY_QUERN,
    KEY_NAME,
    KEY_STREAMS,
    KEY_MAIN,
    KEY_FEATURES,
    KEY_MODELS,
    KEY_SCORE,
    KEY_OUTPUTS,
    KEY_LOG,
    KEY_STORAGE,
    KEY_SNAPSHOTS,
    KEY_SERVE,
    KEY_LIMITS,
    KEY_KAFKA,
    KEY_DELIVERY,
    KEY_REGISTRY,
    KEY_TOP_LAST = KEY_REGISTRY + 4
};
enum {
    STREAM_ID,
    STREAM_TIME,
    STREAM_KEY,
    STREAM_LATENESS,
    STREAM_LATE,
    STREAM_DEDUP,
    STREAM_FIELDS,
    STREAM_SOURCE,
    STREAM_FORMAT,
    STREAM_ENVELOPE,
    STREAM_DELETES,
    STREAM_LAST = STREAM_DELETES + 1
};
enum {
    FIELD_TYPE,
    FIELD_FROM,
    FIELD_OPTIONAL,
    FIELD_DEFAULT,
    FIELD_MIN,
    FIELD_MAX,
    FIELD_IN,
    FIELD_MAX_LENGTH,
    FIELD_LENGTH,
    FIELD_UNIT,
    FIELD_LAST = FIELD_UNIT
};
enum {
    MODEL_FILE,
    MODEL_INPUTS,
    MODEL_TREES,
    MODEL_MISSING,
    MODEL_OUTPUT,
    MODEL_COLUMN,
    MODEL_PROVIDER,
    MODEL_DEVICE,
    MODEL_HALF_SPACE,
    MODEL_LAST = MODEL_HALF_SPACE
};
enum {
    HALF_SPACE_TREES,
    HALF_SPACE_DEPTH,
    HALF_SPACE_WINDOW,
    HALF_SPACE_RANGES,
    HALF_SPACE_SEED,
    HALF_SPACE_LAST = HALF_SPACE_SEED
};
enum { SCORE_MODEL, SCORE_LAST = SCORE_MODEL + 5 };
enum {
    STORAGE_SEGMENT,
    STORAGE_COMPRESSION,
    STORAGE_KEEP,
    STORAGE_KEEP_BYTES,
    STORAGE_DURABILITY,
    STORAGE_LAST = STORAGE_DURABILITY
};
enum {
    SERVE_HTTP,
    SERVE_TOKENS,
    SERVE_TLS,
    SERVE_INSECURE,
    SERVE_MAX_BODY,
    SERVE_TIMEOUT,
    SERVE_CONNECTIONS,
    SERVE_THREADS,
    SERVE_LAST = SERVE_THREADS
};
enum { TOKENS_READ, TOKENS_WRITE, TOKENS_ADMIN, TOKENS_LAST = TOKENS_ADMIN };
enum { TLS_CERT, TLS_KEY, TLS_LAST = TLS_KEY };
enum { LIMITS_MEMORY, LIMITS_WAIT, LIMITS_LAST = LIMITS_WAIT + 2 };
enum {
    SNAPSHOTS_EVERY,
    SNAPSHOTS_FOLDER,
    SNAPSHOTS_TO,
    SNAPSHOTS_ENDPOINT,
    SNAPSHOTS_REGION,
    SNAPSHOTS_PATH_STYLE,
    SNAPSHOTS_ACCESS_KEY,
    SNAPSHOTS_SECRET_KEY,
    SNAPSHOTS_SESSION_TOKEN,
    SNAPSHOTS_CA_FILE,
    SNAPSHOTS_TIMEOUT,
    SNAPSHOTS_LAST = SNAPSHOTS_TIMEOUT
};
enum {
    KAFKA_GROUP,
    KAFKA_INSTANCE,
    KAFKA_TOPICS,
    KAFKA_CREATE,
    KAFKA_COMMIT,
    KAFKA_SETTINGS,
    KAFKA_REKEY,
    KAFKA_STANDBY,
    KAFKA_LAST = KAFKA_STANDBY
};
enum {
    REGISTRY_URL,
    REGISTRY_BASIC_AUTH,
    REGISTRY_TOKEN,
    REGISTRY_CA_FILE,
    REGISTRY_TIMEOUT,
    REGISTRY_LAST = REGISTRY_TIMEOUT
};
enum { OUTPUT_WHEN, OUTPUT_INCLUDE, OUTPUT_TO, OUTPUT_FROM, OUTPUT_LAST = OUTPUT_FROM };
enum { KEYS_MAX = 24 };

extern const struct qn_key_table qn_keys_top, qn_keys_stream, qn_keys_field, qn_keys_model,
    qn_keys_half_space, qn_keys_score, qn_keys_output, qn_keys_storage, qn_keys_snapshots,
    qn_keys_serve, qn_keys_tokens, qn_keys_tls, qn_keys_limits, qn_keys_kafka, qn_keys_registry;
/* All of them in the order of the spec, NULL-ended. */
extern const struct qn_key_table *const qn_key_tables[];

/* ---- binding (bind.c) ---- */

/* What the spec says for one key. */
struct qn_slot {
    const struct qn_yaml_node *key, *value; /* NULL = not there                               */
    bool is_set;    /* there, and of the right kind                                          */
    bool is_broken; /* there and reported                                                    */
    union {
        int64_t
            i64; /* INT, BYTES, DURATION in microseconds, CHOICE index, CHOICES bits, BOOL 0 or 1 */
        double f64; /* NUMBER                                                                */
    };
};

struct qn_binder {
    struct qn_arena *arena;
    struct qn_diags *diags;
    struct qn_str source;
    bool no_memory; /* looked at by qn_plan_load at the end */
};

/* Reads a mapping by its table into slots[table->count]. owner: the key it stands under, for
 * messages; NULL at the top. False when it is no mapping at all (reported). Required keys that are
 * missing are reported at the owner. */
bool qn_bind(struct qn_binder *b, const struct qn_yaml_node *owner, const struct qn_yaml_node *map,
             const struct qn_key_table *table, struct qn_slot *slots);

/* A scalar as messages may show it: 'text', cut at 80 bytes; for secrets, as written in the file.
 * Borrowed from `out`. */
enum { QN_SHOW_BYTES = 128 };
const char *qn_show(const struct qn_yaml_node *n, char out[QN_SHOW_BYTES]);
/* What a node is, in words: "a list", "the number 5", "the text 'x'". */
const char *qn_describe(const struct qn_yaml_node *n, char out[QN_SHOW_BYTES]);
/* Text that other rooms may quote in messages: the value, or for secrets what the file says. */
struct qn_str qn_shown(const struct qn_yaml_node *n);

/* Reports at n, quoting nothing. */
#define QN_REPORT(b, code, n, hint, ...)                                                           \
    qn_diag_error((b)->diags, QN_DIAG_##code, (n)->at, hint, __VA_ARGS__)

/* True if the name has letters, digits and _ only and begins with no digit (`dashes`: '-' too, and
 * digits first); else reported. `advice` becomes the hint: its first %s is a name that would do,
 * its second the one that stands there; NULL = none. Words of the expression language are refused
 * where dashes are. */
bool qn_check_name(struct qn_binder *b, const struct qn_yaml_node *name, const char *what,
                   bool dashes, const char *advice);

/* ---- the growing plan (plan.c) ---- */

/* What the plan does not keep about a stream: places, and what was broken. */
struct qn_stream_notes {
    const struct qn_yaml_node *key; /* its name in the spec                                     */
    const struct qn_yaml_node **field_keys; /* [field_count]                                     */
    bool *field_broken; /* [field_count]: known, but its type is not                */
    bool *field_hidden; /* [field_count]: its limits hold a secret                  */
    const struct qn_yaml_node *format, *envelope; /* NULL = not there                        */
    bool is_broken; /* its fields cannot be relied on at all                    */
};

struct qn_builder {
    struct qn_binder bind;
    const struct qn_plan_options *opt;
    struct qn_str folder; /* of the spec, with '/'; "" = current                      */
    struct qn_plan *plan;
    struct qn_slot top[KEYS_MAX];
    struct qn_stream_notes *streams;
    bool main_broken;     /* which stream is the main one is unknown                  */
    bool features_broken; /* plan->features is not there                              */
    const struct qn_yaml_node **feature_values; /* [feature_count]                                */
    struct qn_name *names; /* fields of the main stream, then features                 */
    bool *names_broken;    /* [name_count] declared, but reported: the kind is a guess  */
    uint32_t name_count;
    uint32_t models_declared; /* good or not                                              */
    bool score_broken;        /* something is to score, but what is wrong                 */
    struct qn_err *err;
};

/* Each reads its part of the spec into the plan. QN_OK also when mistakes were reported; else out
 * of memory. */
qn_status qn_build_streams(struct qn_builder *b);  /* bind_stream.c  */
qn_status qn_build_features(struct qn_builder *b); /* bind_feature.c */
qn_status qn_build_models(struct qn_builder *b);   /* bind_model.c   */
qn_status qn_build_outputs(struct qn_builder *b);  /* bind_output.c  */
qn_status qn_build_log(struct qn_builder *b);      /* bind_log.c     */
qn_status qn_build_serve(struct qn_builder *b);    /* bind_serve.c   */
qn_status qn_build_limits(struct qn_builder *b);   /* bind_limits.c  */
qn_status qn_build_kafka(struct qn_builder *b);    /* bind_kafka.c   */
qn_status qn_build_registry(struct qn_builder *b); /* bind_registry.c */
/* Cuts the pipeline into stages by key, where the log lies in Kafka; bind_stage.c. */
qn_status qn_build_stages(struct qn_builder *b, const struct qn_yaml_node *at, bool may_rekey);
/* Makes the trees of a model with `half_space_trees` and `inputs`; slots[MODEL_LAST + 1];
 * bind_half_space.c. *out NULL: reported. */
qn_status qn_build_half_space(struct qn_builder *b, const struct qn_slot *slots,
                              struct qn_model **out);
/* Reads the bucket of `snapshots:` into the plan; slots[SNAPSHOTS_LAST + 1]; bind_bucket.c. */
qn_status qn_build_bucket(struct qn_builder *b, const struct qn_slot *slots);

/* The path of a file, relative to the spec's folder, ready to open. QN_OK also when reported. */
qn_status qn_read_path(struct qn_builder *b, const struct qn_slot *slot, const char **out);

/* The keys of a kind of module, made from its options and those that all of that sort share;
 * bind_module.c. In the caller's memory, zeroed. */
struct qn_module_keys {
    struct qn_key_table table; /* its texts and keys lie below: not to be copied */
    struct qn_key keys[KEYS_MAX];
    const struct qn_option *options[KEYS_MAX]; /* behind each key                  */
    uint32_t own_count;                        /* keys of the kind; then of all    */
    char id[32], what[40], path[64];
};
/* What all modules of a sort share. */
struct qn_module_sort {
    const char *name;                      /* "sink"                                   */
    const char *stands;                    /* where it stands: "outputs: NAME: to"     */
    const struct qn_option *shared;        /* options that all kinds take; NULL = none */
    const struct qn_key_synonym *synonyms; /* ended by theirs = NULL                   */
};
void qn_module_keys(const struct qn_module_sort *sort, const char *name, const char *summary,
                    const struct qn_option *options, struct qn_module_keys *out);
/* Reads {kind: value} into slots[keys->table.count]; value NULL: the word alone. False: reported.
 */
bool qn_module_bind(struct qn_builder *b, const struct qn_yaml_node *kind,
                    const struct qn_yaml_node *value, const struct qn_module_keys *keys,
                    struct qn_slot *slots);
/* An options struct with its defaults; else b->bind.no_memory is set. */
void *qn_module_options(struct qn_builder *b, const struct qn_option *options, size_t bytes);
/* Slots into the options of the kind and the shared ones, and what people may see of both. False
 * where something was broken. */
bool qn_module_fill(struct qn_builder *b, const struct qn_module_keys *keys,
                    const struct qn_slot *slots, void *own, void *shared, struct qn_str *shown);

/* The keys of a kind of sink, and of source. */
void qn_sink_keys(const struct qn_sink_ops *ops, struct qn_module_keys *out);
void qn_source_keys(const struct qn_source_ops *ops, struct qn_module_keys *out);
/* Reads `source:` of a stream into the plan; bind_source.c. */
void qn_build_source(struct qn_builder *b, const struct qn_slot *slot, uint32_t stream);
/* Reads `to:` into o->sinks. */
qn_status qn_build_sinks(struct qn_builder *b, const struct qn_key *k, const struct qn_slot *slot,
                         struct qn_plan_output *o);

/* Fields of one stream; bind_field.c. */
qn_status qn_build_fields(struct qn_builder *b, const struct qn_yaml_node *owner,
                          const struct qn_yaml_node *map, struct qn_schema *s,
                          struct qn_stream_notes *notes);

/* True if `text` has that name in it as a whole word. */
bool qn_mentions(struct qn_str text, struct qn_str name);

/* A sentence and its name, and whether it may complain. */
struct qn_spec_sentence {
    const struct qn_yaml_node *name, *value;
    bool is_silent; /* it depends on something that was reported */
};
/* Other rooms read sentences as if each stood on a line of its own: sentence i in line 2i+2, its
 * name in line 2i+1, both from column 1. This moves what they found to where the sentences really
 * stand. Silent ones say nothing; of secret ones no words are quoted. */
void qn_move_diags(struct qn_binder *b, const struct qn_diags *from,
                   const struct qn_spec_sentence *sentences, uint32_t count);

qn_status qn_no_memory(struct qn_err *err);

/* Whether some output takes contributions. */
static inline bool qn_plan_explains(const struct qn_plan *p)
{
    bool is_asked = false;

    for (uint32_t o = 0; o < p->output_count; o++)
        is_asked = is_asked || (p->outputs[o].include & QN_INCLUDE_CONTRIBUTIONS) != 0;
    return is_asked;
}

#endif
