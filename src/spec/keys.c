/* SPDX-License-Identifier: Apache-2.0
 * keys.c - every key of the spec, one table per mapping: the only place that knows their names.
 *
 * Reading, checking, docs/spec.md, the JSON schema and the words of other tools come from here. The
 * order of the rows is the order of the enums in spec_int.h. A row with `not_yet` is part of the
 * design that this version refuses by name. Thread: const. */
#include "model/half_space.h"
#include "spec/spec_int.h"

#define DAY_US   INT64_C(86400000000)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- fields ---- */

static const struct qn_key field_keys[] = {
    [FIELD_TYPE] = {.name = "type",
                    .type = QN_KEY_TEXT,
                    .is_required = true,
                    .value = "a type",
                    .since = "0.1",
                    .help = "bool, int64, double, decimal(n), string, timestamp or list(double)"},
    [FIELD_FROM] = {.name = "from",
                    .type = QN_KEY_TEXT,
                    .value = "a path",
                    .fallback = "the field's name",
                    .since = "0.1",
                    .help =
                        "where the value stands in the event: members of objects, joined by dots"},
    [FIELD_OPTIONAL] = {.name = "optional",
                        .type = QN_KEY_BOOL,
                        .fallback = "false",
                        .since = "0.1",
                        .help =
                            "the value may be absent or null; without it such an event is dead"},
    [FIELD_DEFAULT] = {.name = "default",
                       .type = QN_KEY_VALUE,
                       .since = "0.1",
                       .help = "the value of events that have none; not together with optional"},
    [FIELD_MIN] = {.name = "min",
                   .type = QN_KEY_VALUE,
                   .since = "0.1",
                   .help =
                       "smallest value allowed; numbers and timestamps, and each number of a list"},
    [FIELD_MAX] = {.name = "max",
                   .type = QN_KEY_VALUE,
                   .since = "0.1",
                   .help =
                       "largest value allowed; numbers and timestamps, and each number of a list"},
    [FIELD_IN] = {.name = "in",
                  .type = QN_KEY_VALUES,
                  .since = "0.1",
                  .help = "the values allowed; string, int64 and decimal"},
    [FIELD_MAX_LENGTH] = {.name = "max_length",
                          .type = QN_KEY_INT,
                          .min = 1,
                          .max = QN_EVENT_BYTES_MAX,
                          .since = "0.1",
                          .help = "most characters of a string, most numbers of a list"},
    [FIELD_LENGTH] = {.name = "length",
                      .type = QN_KEY_INT,
                      .min = 1,
                      .max = QN_EVENT_BYTES_MAX / 2,
                      .since = "0.1",
                      .help = "how many numbers a list has, exactly"},
    [FIELD_UNIT] = {.name = "unit",
                    .type = QN_KEY_CHOICE,
                    .choices = "s|ms|us|ns",
                    .fallback = "RFC 3339 text",
                    .since = "0.1",
                    .help = "a timestamp is a number since 1970 in this unit, not text"},
};

static const struct qn_key_synonym field_synonyms[] = {
    {"path", "from"},
    {"source", "from"},
    {"jsonpath", "from"},
    {"column", "from"},
    {"datatype", "type"},
    {"dtype", "type"},
    {"data_type", "type"},
    {"kind", "type"},
    {"nullable", "optional"},
    {"null", "optional"},
    {"required", "a field is required unless it says optional: true"},
    {"fallback", "default"},
    {"minimum", "min"},
    {"maximum", "max"},
    {"ge", "min"},
    {"le", "max"},
    {"gt", "write min: (inclusive)"},
    {"lt", "write max: (inclusive)"},
    {"enum", "in"},
    {"values", "in"},
    {"allowed", "in"},
    {"choices", "in"},
    {"maxLength", "max_length"},
    {"size", "length"},
    {"dimension", "length"},
    {"dim", "length"},
    {"items", "write type: list(double)"},
    {"scale", "write type: decimal(2)"},
    {"precision", "write type: decimal(2)"},
    {"format", "texts are RFC 3339; for epoch numbers there is unit"},
    {"timezone", "leave it out: times are UTC or say their offset"},
    {"name", "the name is the key: NAME: {type: ...}"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_field = {
    .id = "field",
    .path = "streams: NAME: fields: NAME:",
    .what = "a field",
    .keys = field_keys,
    .count = COUNT(field_keys),
    .synonyms = field_synonyms,
    .help = "What one value of an event is and what is promised about it. `amount: double` is "
            "short for "
            "`amount: {type: double}`. An event that breaks a promise is dead, with the reason, "
            "and never scored."};

/* ---- streams ---- */

static const struct qn_key stream_keys[] = {
    [STREAM_ID] = {.name = "id",
                   .type = QN_KEY_TEXT,
                   .value = "a field",
                   .since = "0.1",
                   .help = "the field that names the event; string or int64"},
    [STREAM_TIME] = {.name = "time",
                     .type = QN_KEY_TEXT,
                     .is_required = true,
                     .value = "a field",
                     .since = "0.1",
                     .help =
                         "the field that says when the event happened; a timestamp, not optional"},
    [STREAM_KEY] = {.name = "key",
                    .type = QN_KEY_TEXT,
                    .value = "a field",
                    .since = "0.1",
                    .help = "the field whose events belong together (a customer, a machine)"},
    [STREAM_LATENESS] = {.name = "lateness",
                         .type = QN_KEY_DURATION,
                         .fallback = "10s",
                         .max = 30 * DAY_US,
                         .since = "0.1",
                         .help =
                             "how far an event may lie behind the newest one before it is late"},
    [STREAM_LATE] = {.name = "late",
                     .type = QN_KEY_TEXT,
                     .value = "a policy",
                     .fallback = "score",
                     .since = "0.1",
                     .help = "what becomes of late events: score, fold, drop or dead-letter; score "
                             "and fold may add how far "
                             "they reach: score within 1h"},
    [STREAM_DEDUP] = {.name = "dedup",
                      .type = QN_KEY_DURATION,
                      .min = 1,
                      .max = 366 * DAY_US,
                      .since = "0.2",
                      .help =
                          "how long an id is remembered, by event time: an event with the id of "
                          "one that came within it is counted as duplicate and dropped"},
    [STREAM_FIELDS] = {.name = "fields",
                       .type = QN_KEY_MAP,
                       .is_required = true,
                       .has_short = true,
                       .sub = &qn_keys_field,
                       .since = "0.1",
                       .help = "what an event holds; members that are not named here are ignored"},
    [STREAM_SOURCE] = {.name = "source",
                       .type = QN_KEY_SOURCE,
                       .since = "0.2",
                       .help = "what brings its events into the log of `quern run`; without it "
                               "they come over HTTP, or by --input to the other commands"},
    [STREAM_FORMAT] = {.name = "format",
                       .type = QN_KEY_CHOICE,
                       .choices = "json|avro|protobuf|json-schema",
                       .fallback = "json",
                       .since = "0.2",
                       .help = "how its records in Kafka are written; all but json with the id of "
                               "a schema in front, which `schema_registry` has"},
    [STREAM_ENVELOPE] = {.name = "envelope",
                         .type = QN_KEY_CHOICE,
                         .choices = "cloudevents|debezium",
                         .fallback = "none",
                         .since = "0.2",
                         .help = "what is around the event in its records: a CloudEvent, whose "
                                 "attributes are `from: ce.NAME`, or a change of a table as "
                                 "Debezium writes it, whose columns are fields"},
    [STREAM_DELETES] = {.name = "deletes",
                        .type = QN_KEY_CHOICE,
                        .choices = "drop|event",
                        .fallback = "drop",
                        .since = "0.2",
                        .help = "with `envelope: debezium`, what becomes of rows that were "
                                "deleted: counted and dropped, or an event with the row as it was "
                                "before"},
    {.name = "idle",
     .type = QN_KEY_DURATION,
     .not_yet = "nothing waits for the watermark yet: leave it out",
     .help = "after how much silence time goes on by itself"},
};

static const struct qn_key_synonym stream_synonyms[] = {
    {"schema", "fields"},
    {"columns", "fields"},
    {"properties", "fields"},
    {"primary_key", "id"},
    {"event_id", "id"},
    {"id_field", "id"},
    {"timestamp", "time"},
    {"event_time", "time"},
    {"timestamp_field", "time"},
    {"timestamp_column", "time"},
    {"event_timestamp", "time"},
    {"time_field", "time"},
    {"event_timestamp_column", "time"},
    {"ts", "time"},
    {"datetime", "time"},
    {"entity", "key"},
    {"entities", "key"},
    {"partition_by", "key"},
    {"partition_key", "key"},
    {"group_by", "key"},
    {"by", "key"},
    {"join_keys", "key"},
    {"watermark", "lateness"},
    {"allowed_lateness", "lateness"},
    {"max_delay", "lateness"},
    {"grace", "lateness"},
    {"grace_period", "lateness"},
    {"watermark_delay", "lateness"},
    {"within", "write late: score within 1h"},
    {"late_data", "late"},
    {"late_policy", "late"},
    {"deduplicate", "dedup"},
    {"deduplication", "dedup"},
    {"dedup_window", "dedup"},
    {"deduplication_window", "dedup"},
    {"drop_duplicates", "dedup"},
    {"topic", "leave it out: the stream's name says it"},
    {"name", "the name is the key: NAME: {...}"},
    {"path", "write source: {file: PATH}, or name it on the command line: --input NAME=FILE"},
    {"file", "write source: {file: PATH}, or name it on the command line: --input NAME=FILE"},
    {"input", "source"},
    {"sources", "source"},
    {"connector", "source"},
    {"value_format", "format"},
    {"serialization", "format"},
    {"deserializer", "format"},
    {"wrapper", "envelope"},
    {"unwrap", "write envelope: debezium"},
    {"cdc", "write envelope: debezium"},
    {"cloudevents", "write envelope: cloudevents"},
    {"debezium", "write envelope: debezium"},
    {"on_delete", "deletes"},
    {"delete_handling_mode", "deletes"},
    {"delete.handling.mode", "deletes"},
    {"delete.tombstone.handling.mode", "deletes"},
    {"schema_registry", "it stands at the top of the spec: schema_registry: {url: ...}"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_stream = {
    .id = "stream",
    .path = "streams: NAME:",
    .what = "a stream",
    .keys = stream_keys,
    .count = COUNT(stream_keys),
    .synonyms = stream_synonyms,
    .help = "Where events come from and what each of them holds. The stream's name is the name "
            "that `of` uses in features "
            "and `--input NAME=FILE` on the command line."};

/* ---- models, score, outputs ---- */

static const struct qn_key model_keys[] = {
    [MODEL_FILE] = {.name = "file",
                    .type = QN_KEY_TEXT,
                    .value = "a path",
                    .fallback = "**required**, or `half_space_trees`",
                    .since = "0.1",
                    .help = "the model's file, relative to the spec; recognised by content: "
                            "XGBoost JSON, UBJ and the old "
                            "binary, LightGBM text, CatBoost JSON, ONNX, forest and linear JSON"},
    [MODEL_INPUTS] = {.name = "inputs",
                      .type = QN_KEY_NAMES,
                      .value = "fields and features",
                      .fallback = "the names in the model's file",
                      .since = "0.1",
                      .help = "the fields and features that go in; matched with the model's own "
                              "names where it has them, "
                              "else in the order of the model's columns"},
    [MODEL_TREES] =
        {.name = "trees",
         .type = QN_KEY_CHOICE,
         .choices = "all|best",
         .fallback = "all",
         .since = "0.1",
         .help = "which trees run: all, or those up to the best iteration of early stopping"},
    [MODEL_MISSING] = {.name = "missing",
                       .type = QN_KEY_NUMBER,
                       .fallback = "null only",
                       .since = "0.1",
                       .help = "a number that means \"no value\" to this model, besides null"},
    [MODEL_OUTPUT] = {.name = "output",
                      .type = QN_KEY_TEXT,
                      .value = "a name",
                      .fallback = "the first output of fractions",
                      .since = "0.2",
                      .help = "the output that is the answer, of ONNX models with several"},
    [MODEL_COLUMN] = {.name = "column",
                      .type = QN_KEY_INT,
                      .min = 0,
                      .max = 4095,
                      .fallback = "all; of two, the second",
                      .since = "0.2",
                      .help = "the one column of that output that is the score, from 0"},
    [MODEL_PROVIDER] = {.name = "provider",
                        .type = QN_KEY_CHOICE,
                        .choices = "cpu|auto|cuda",
                        .fallback = "cpu",
                        .since = "0.2",
                        .help = "where ONNX Runtime computes: cuda needs a device, auto takes one "
                                "where it is there; its answers differ from the CPU's"},
    [MODEL_DEVICE] = {.name = "device",
                      .type = QN_KEY_INT,
                      .min = 0,
                      .max = 63,
                      .fallback = "0",
                      .since = "0.2",
                      .help = "which CUDA device"},
    [MODEL_HALF_SPACE] = {.name = "half_space_trees",
                          .type = QN_KEY_TABLE,
                          .sub = &qn_keys_half_space,
                          .since = "0.2",
                          .help = "instead of a file: a model that learns from the stream itself "
                                  "what is unusual in it; {} will do"},
};

static const struct qn_key_synonym model_synonyms[] = {
    {"path", "file"},
    {"uri", "file"},
    {"url", "file"},
    {"model", "file"},
    {"filename", "file"},
    {"location", "file"},
    {"features", "inputs"},
    {"columns", "inputs"},
    {"input", "inputs"},
    {"feature_names", "inputs"},
    {"feature_refs", "inputs"},
    {"fields", "inputs"},
    {"type", "leave it out: the format is recognised by the file's content"},
    {"format", "leave it out: the format is recognised by the file's content"},
    {"framework", "leave it out: the format is recognised by the file's content"},
    {"nan", "missing"},
    {"missing_value", "missing"},
    {"ntree_limit", "trees"},
    {"best_iteration", "write trees: best"},
    {"execution_provider", "provider"},
    {"cuda", "write provider: cuda"},
    {"gpu", "write provider: cuda"},
    {"gpu_id", "device"},
    {"device_id", "device"},
    {"threshold", "thresholds stand in outputs: when: score > 0.5"},
    {"anomaly", "half_space_trees"},
    {"anomaly_detection", "half_space_trees"},
    {"hst", "half_space_trees"},
    {"hs_trees", "half_space_trees"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_model = {
    .id = "model",
    .path = "models: NAME:",
    .what = "a model",
    .keys = model_keys,
    .count = COUNT(model_keys),
    .synonyms = model_synonyms,
    .help = "A model file and what goes into it. Fields and features of type bool, int64, double "
            "and decimal can be inputs; "
            "null goes in as missing."};

static const struct qn_key half_space_keys[] = {
    [HALF_SPACE_TREES] = {.name = "trees",
                          .type = QN_KEY_INT,
                          .min = 1,
                          .max = QN_HALF_SPACE_TREES_MAX,
                          .fallback = "25",
                          .since = "0.2",
                          .help = "how many trees are drawn"},
    [HALF_SPACE_DEPTH] = {.name = "depth",
                          .type = QN_KEY_INT,
                          .min = 1,
                          .max = QN_HALF_SPACE_DEPTH_MAX,
                          .fallback = "15",
                          .since = "0.2",
                          .help = "levels of a tree below its root"},
    [HALF_SPACE_WINDOW] = {.name = "window",
                           .type = QN_KEY_INT,
                           .min = QN_HALF_SPACE_WINDOW_MIN,
                           .max = QN_HALF_SPACE_WINDOW_MAX,
                           .fallback = "250",
                           .since = "0.2",
                           .help = "events that are learnt before they are what others are held "
                                   "against; more forget more slowly"},
    [HALF_SPACE_RANGES] = {.name = "ranges",
                           .type = QN_KEY_RANGES,
                           .fallback = "learnt from a first window",
                           .since = "0.2",
                           .help = "of inputs, the least and the greatest usual value; what lies "
                                   "outside is taken too"},
    [HALF_SPACE_SEED] = {.name = "seed",
                         .type = QN_KEY_INT,
                         .min = 0,
                         .max = INT64_MAX,
                         .fallback = "1",
                         .since = "0.2",
                         .help = "of the drawing: the same seed, the same trees"},
};

static const struct qn_key_synonym half_space_synonyms[] = {
    {"n_trees", "trees"},
    {"num_trees", "trees"},
    {"n_estimators", "trees"},
    {"height", "depth"},
    {"max_depth", "depth"},
    {"window_size", "window"},
    {"limits", "ranges"},
    {"range", "ranges"},
    {"random_state", "seed"},
    {"inputs", "inputs stand beside half_space_trees, not in it"},
    {"features", "inputs stand beside half_space_trees, not in it"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_half_space = {
    .id = "half_space_trees",
    .path = "models: NAME: half_space_trees:",
    .what = "half_space_trees",
    .keys = half_space_keys,
    .count = COUNT(half_space_keys),
    .synonyms = half_space_synonyms,
    .help = "A score of how unusual an event is, from 0 to 1, that needs no model file and no "
            "training: `inputs` are compared with those of the last whole window of events "
            "([models](models.md#half-space-trees))."};

static const struct qn_key score_keys[] = {
    [SCORE_MODEL] = {.name = "model",
                     .type = QN_KEY_TEXT,
                     .is_required = true,
                     .value = "a model",
                     .since = "0.1",
                     .help = "the model that scores every event of the main stream"},
    {.name = "deadline",
     .type = QN_KEY_DURATION,
     .not_yet = "models run in the process and do not wait: leave it out",
     .help = "how long an answer may take"},
    {.name = "fallback",
     .type = QN_KEY_NAMES,
     .not_yet = "models run in the process and do not fail: leave it out",
     .help = "what answers when the model does not"},
    {.name = "each",
     .type = QN_KEY_TEXT,
     .not_yet = "send one event per candidate",
     .help = "many rows for one event"},
    {.name = "top",
     .type = QN_KEY_INT,
     .not_yet = "send one event per candidate",
     .help = "how many of the rows are kept"},
    {.name = "canary",
     .type = QN_KEY_TEXT,
     .not_yet = "compare two models with two specs",
     .help = "a share of the keys for another model"},
};

static const struct qn_key_synonym score_synonyms[] = {
    {"models", "model"},
    {"use", "model"},
    {"name", "model"},
    {"with", "model"},
    {"timeout", "deadline"},
    {"default", "fallback"},
    {"threshold", "thresholds stand in outputs: when: score > 0.5"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_score = {
    .id = "score",
    .path = "score:",
    .what = "score",
    .keys = score_keys,
    .count = COUNT(score_keys),
    .synonyms = score_synonyms,
    .help = "Which model answers. Its answer is `score` in `when`, and in the predictions."};

static const struct qn_key output_keys[] = {
    [OUTPUT_WHEN] = {.name = "when",
                     .type = QN_KEY_TEXT,
                     .value = "a condition",
                     .fallback = "every event",
                     .since = "0.1",
                     .help = "only predictions for which this is true: fields, features and score, "
                             "as in score > 0.9"},
    [OUTPUT_INCLUDE] =
        {.name = "include",
         .type = QN_KEY_CHOICES,
         .choices = "features|event|margin|contributions",
         .since = "0.1",
         .help = "what each record holds besides the answer: the features, the original event, the "
                 "score before its transform, what each input added to that"},
    [OUTPUT_TO] =
        {.name = "to",
         .type = QN_KEY_SINKS,
         .fallback = "topic",
         .since = "0.1",
         .choices = "lake|redis|postgres|clickhouse|s3|http|mqtt",
         .choice_advice = "known: topic, file, webhook, kafka",
         .help = "where `quern run` delivers records, besides keeping them in the log; `quern "
                 "pipe` writes them to its outputs"},
    [OUTPUT_FROM] = {.name = "from",
                     .type = QN_KEY_NAMES,
                     .value = "streams",
                     .fallback = "the main stream",
                     .since = "0.2",
                     .help = "the streams whose good events it takes: those of the main one as "
                             "predictions, those of others as they came, with include: event"},
};

static const struct qn_key_synonym output_synonyms[] = {
    {"if", "when"},
    {"where", "when"},
    {"filter", "when"},
    {"condition", "when"},
    {"threshold", "write when: score > 0.5"},
    {"with", "include"},
    {"fields", "include"},
    {"add", "include"},
    {"sink", "to"},
    {"topic", "write to: topic"},
    {"type", "to"},
    {"target", "to"},
    {"webhook", "write to: {webhook: URL}"},
    {"file", "write to: {file: PATH}"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_output = {
    .id = "output",
    .path = "outputs: NAME:",
    .what = "an output",
    .keys = output_keys,
    .count = COUNT(output_keys),
    .synonyms = output_synonyms,
    .help = "What leaves the pipeline. `predictions` always exists and takes every scored event; "
            "others take the part that "
            "`when` describes, or the events of other streams: `archive: {from: [orders, returns], "
            "include: event}`."};

/* ---- what `quern run` keeps ---- */

#define MIB INT64_C(1048576)
#define GIB (MIB * 1024)

static const struct qn_key storage_keys[] = {
    [STORAGE_SEGMENT] = {.name = "segment",
                         .type = QN_KEY_BYTES,
                         .min = 32 * MIB,
                         .max = 4 * GIB,
                         .fallback = "256MiB",
                         .since = "0.2",
                         .help = "size of one file of the log; it is removed as a whole"},
    [STORAGE_COMPRESSION] = {.name = "compression",
                             .type = QN_KEY_CHOICE,
                             .choices = "none|lz4|zstd",
                             .fallback = "none",
                             .since = "0.2",
                             .help = "of what is written from now on"},
    [STORAGE_KEEP] = {.name = "keep",
                      .type = QN_KEY_DURATION,
                      .min = 1000000,
                      .max = 3650 * DAY_US,
                      .fallback = "for ever",
                      .since = "0.2",
                      .help = "how long records stay, by the time they were written; what a "
                              "snapshot, a sink or a reader needs stays longer"},
    [STORAGE_KEEP_BYTES] =
        {.name = "keep_bytes",
         .type = QN_KEY_BYTES,
         .min = MIB,
         .max = INT64_MAX,
         .fallback = "no limit",
         .since = "0.2",
         .help = "how many bytes of the main stream stay; what lies among them goes along"},
    [STORAGE_DURABILITY] = {.name = "durability",
                            .type = QN_KEY_CHOICE,
                            .choices = "full|none",
                            .fallback = "full",
                            .since = "0.2",
                            .help = "full: acknowledged means on the disk; none: no syncs, a "
                                    "power failure loses the last seconds"},
};

static const struct qn_key_synonym storage_synonyms[] = {
    {"retention", "keep"},
    {"retain", "keep"},
    {"ttl", "keep"},
    {"retention_bytes", "keep_bytes"},
    {"max_bytes", "keep_bytes"},
    {"segment_bytes", "segment"},
    {"codec", "compression"},
    {"fsync", "durability"},
    {"sync", "durability"},
    {"dir", "the folder stands in log: local:DIR"},
    {"path", "the folder stands in log: local:DIR"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_storage = {
    .id = "storage",
    .path = "storage:",
    .what = "storage",
    .keys = storage_keys,
    .count = COUNT(storage_keys),
    .synonyms = storage_synonyms,
    .help = "How the log of `quern run` is kept. Sizes have a unit: `64KiB`, `256MiB`, `1GB`."};

static const struct qn_key snapshots_keys[] = {
    [SNAPSHOTS_EVERY] = {.name = "every",
                         .type = QN_KEY_DURATION,
                         .min = 100000,
                         .max = DAY_US,
                         .fallback = "30s",
                         .since = "0.2",
                         .help = "how often; a start replays what came after the newest one"},
    [SNAPSHOTS_FOLDER] = {.name = "folder",
                          .type = QN_KEY_TEXT,
                          .value = "a folder",
                          .fallback = "snapshots",
                          .since = "0.2",
                          .help = "with `log: kafka:`: where they lie, relative to the spec's "
                                  "folder, unless `to` names a bucket; those of a local log lie "
                                  "beside it"},
    [SNAPSHOTS_TO] = {.name = "to",
                      .type = QN_KEY_TEXT,
                      .value = "`s3://BUCKET/PREFIX`",
                      .fallback = "a folder of the log",
                      .since = "0.2",
                      .help = "a bucket to keep them in, of AWS S3 or anything that speaks its "
                              "protocol"},
    [SNAPSHOTS_ENDPOINT] = {.name = "endpoint",
                            .type = QN_KEY_TEXT,
                            .value = "a URL",
                            .fallback = "`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, or AWS itself",
                            .since = "0.2",
                            .help = "scheme, host and port of the server: "
                                    "`https://minio.example:9000`"},
    [SNAPSHOTS_REGION] = {.name = "region",
                          .type = QN_KEY_TEXT,
                          .value = "a region",
                          .fallback = "`AWS_REGION`, `AWS_DEFAULT_REGION`, or us-east-1",
                          .since = "0.2",
                          .help = "where the bucket lies"},
    [SNAPSHOTS_PATH_STYLE] = {.name = "path_style",
                              .type = QN_KEY_BOOL,
                              .fallback = "true with an endpoint",
                              .since = "0.2",
                              .help = "true: the bucket stands in the path; false: in front of the "
                                      "host"},
    [SNAPSHOTS_ACCESS_KEY] = {.name = "access_key",
                              .type = QN_KEY_TEXT,
                              .value = "a key",
                              .fallback = "`AWS_ACCESS_KEY_ID`",
                              .since = "0.2",
                              .help = "the id of the key that may read and write below the prefix"},
    [SNAPSHOTS_SECRET_KEY] = {.name = "secret_key",
                              .type = QN_KEY_TEXT,
                              .value = "a secret",
                              .fallback = "`AWS_SECRET_ACCESS_KEY`",
                              .since = "0.2",
                              .help = "its secret, from outside the spec: `\"${file:s3.secret}\"`"},
    [SNAPSHOTS_SESSION_TOKEN] = {.name = "session_token",
                                 .type = QN_KEY_TEXT,
                                 .value = "a token",
                                 .fallback = "`AWS_SESSION_TOKEN`",
                                 .since = "0.2",
                                 .help = "of a key that expires; SIGHUP reads a new one"},
    [SNAPSHOTS_CA_FILE] = {.name = "ca_file",
                           .type = QN_KEY_TEXT,
                           .value = "a path",
                           .fallback = "`AWS_CA_BUNDLE`, or the system's",
                           .since = "0.2",
                           .help = "certificates (PEM) to trust instead of the system's"},
    [SNAPSHOTS_TIMEOUT] = {.name = "timeout",
                           .type = QN_KEY_DURATION,
                           .min = 1000000,
                           .max = 600000000,
                           .fallback = "15s",
                           .since = "0.2",
                           .help = "how long a request may stand still; five are tried"},
};

static const struct qn_key_synonym snapshots_synonyms[] = {
    {"interval", "every"},
    {"period", "every"},
    {"bucket", "write to: s3://BUCKET/PREFIX"},
    {"s3", "write to: s3://BUCKET/PREFIX"},
    {"url", "to"},
    {"path", "folder"},
    {"dir", "folder"},
    {"directory", "folder"},
    {"endpoint_url", "endpoint"},
    {"force_path_style", "path_style"},
    {"use_path_style", "path_style"},
    {"access_key_id", "access_key"},
    {"key_id", "access_key"},
    {"secret", "secret_key"},
    {"secret_access_key", "secret_key"},
    {"token", "session_token"},
    {"ca_bundle", "ca_file"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_snapshots = {
    .id = "snapshots",
    .path = "snapshots:",
    .what = "snapshots",
    .keys = snapshots_keys,
    .count = COUNT(snapshots_keys),
    .synonyms = snapshots_synonyms,
    .help =
        "Saved state, in the folder `snap` of the log or in a bucket; the newest two stay. Losing "
        "all of them costs time, never an answer, as long as the log reaches back far enough. In "
        "a bucket they lie below the prefix and the identity of the log, with `log: kafka:` the "
        "group, the identity of cluster and topic and the partition, so that logs may share a "
        "place; nothing is ever overwritten. Key and secret come from outside the spec."};

/* ---- how `quern run` is asked ---- */

static const struct qn_key tokens_keys[] = {
    [TOKENS_READ] = {.name = "read",
                     .type = QN_KEY_NAMES,
                     .since = "0.2",
                     .help = "may look: predictions, dead letters, features, status, metrics"},
    [TOKENS_WRITE] = {.name = "write",
                      .type = QN_KEY_NAMES,
                      .since = "0.2",
                      .help = "may send events as well"},
    [TOKENS_ADMIN] = {.name = "admin",
                      .type = QN_KEY_NAMES,
                      .since = "0.2",
                      .help = "may do everything"},
};

static const struct qn_key_synonym tokens_synonyms[] = {
    {"reader", "read"},
    {"writer", "write"},
    {"root", "admin"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_tokens = {
    .id = "tokens",
    .path = "serve: tokens:",
    .what = "tokens",
    .keys = tokens_keys,
    .count = COUNT(tokens_keys),
    .synonyms = tokens_synonyms,
    .help = "Who may ask: `Authorization: Bearer TOKEN`. A token has 16 to 256 visible ASCII "
            "letters and comes from outside the spec: `read: [\"${READ_TOKEN}\"]`, "
            "`write: [\"${file:write.token}\"]`. Without any token everybody who reaches the "
            "address may do everything."};

static const struct qn_key tls_keys[] = {
    [TLS_CERT] = {.name = "cert",
                  .type = QN_KEY_TEXT,
                  .is_required = true,
                  .value = "a path",
                  .since = "0.2",
                  .help = "file of the certificate and those that sign it, in PEM"},
    [TLS_KEY] = {.name = "key",
                 .type = QN_KEY_TEXT,
                 .is_required = true,
                 .value = "a path",
                 .since = "0.2",
                 .help = "file of its private key, in PEM"},
};

static const struct qn_key_synonym tls_synonyms[] = {
    {"certificate", "cert"}, {"cert_file", "cert"},  {"crt", "cert"},
    {"key_file", "key"},     {"private_key", "key"}, {NULL, NULL},
};

const struct qn_key_table qn_keys_tls = {
    .id = "tls",
    .path = "serve: tls:",
    .what = "tls",
    .keys = tls_keys,
    .count = COUNT(tls_keys),
    .synonyms = tls_synonyms,
    .help = "HTTPS, TLS 1.2 and 1.3. Paths are relative to the spec; a new certificate is read at "
            "a start and on SIGHUP."};

static const struct qn_key serve_keys[] = {
    [SERVE_HTTP] = {.name = "http",
                    .type = QN_KEY_TEXT,
                    .value = "HOST:PORT",
                    .since = "0.2",
                    .help = "where to listen, up to four joined by commas; port 0 takes a free "
                            "one; beyond this machine it takes tokens and tls"},
    [SERVE_TOKENS] = {.name = "tokens",
                      .type = QN_KEY_TABLE,
                      .sub = &qn_keys_tokens,
                      .since = "0.2",
                      .help = "who may ask"},
    [SERVE_TLS] = {.name = "tls",
                   .type = QN_KEY_TABLE,
                   .sub = &qn_keys_tls,
                   .since = "0.2",
                   .help = "certificate and key for HTTPS"},
    [SERVE_INSECURE] = {.name = "insecure",
                        .type = QN_KEY_BOOL,
                        .fallback = "false",
                        .since = "0.2",
                        .help = "listen beyond this machine without tokens or tls: where something "
                                "in front does both"},
    [SERVE_MAX_BODY] = {.name = "max_body",
                        .type = QN_KEY_BYTES,
                        .min = 1024,
                        .max = 7 * MIB,
                        .fallback = "4MiB",
                        .since = "0.2",
                        .help = "largest body of a request, as sent and unpacked"},
    [SERVE_TIMEOUT] = {.name = "timeout",
                       .type = QN_KEY_DURATION,
                       .min = 1000000,
                       .max = 600000000,
                       .fallback = "30s",
                       .since = "0.2",
                       .help = "how long a request may take to arrive; slower clients are cut off"},
    [SERVE_CONNECTIONS] = {.name = "connections",
                           .type = QN_KEY_INT,
                           .min = 1,
                           .max = 20000,
                           .fallback = "1000",
                           .since = "0.2",
                           .help = "most connections at a time; more wait to be accepted"},
    [SERVE_THREADS] = {.name = "threads",
                       .type = QN_KEY_INT,
                       .min = 1,
                       .max = 64,
                       .fallback = "2",
                       .since = "0.2",
                       .help = "threads that read and write; waiting for the log takes none"},
};

static const struct qn_key_synonym serve_synonyms[] = {
    {"address", "http"},
    {"listen", "http"},
    {"bind", "http"},
    {"port", "write http: 127.0.0.1:8090"},
    {"host", "write http: 127.0.0.1:8090"},
    {"https", "write http: 0.0.0.0:8443 with tls: {cert: FILE, key: FILE}"},
    {"auth", "tokens"},
    {"token", "tokens"},
    {"bearer", "tokens"},
    {"ssl", "tls"},
    {"body_limit", "max_body"},
    {"max_body_size", "max_body"},
    {"workers", "threads"},
    {"max_connections", "connections"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_serve = {
    .id = "serve",
    .path = "serve:",
    .what = "serve",
    .keys = serve_keys,
    .count = COUNT(serve_keys),
    .synonyms = serve_synonyms,
    .help = "How `quern run` is asked over HTTP. What it answers is in [http.md](http.md)."};

/* ---- what may grow how far ---- */

static const struct qn_key limits_keys[] = {
    [LIMITS_MEMORY] = {.name = "memory",
                       .type = QN_KEY_BYTES,
                       .min = 1024,
                       .max = INT64_MAX,
                       .fallback = "no limit",
                       .since = "0.2",
                       .help = "what windows and the ids of `dedup` may hold, counted as `quern "
                               "check` prints it; with `log: kafka:` of each partition"},
    [LIMITS_WAIT] = {.name = "wait",
                     .type = QN_KEY_DURATION,
                     .min = 200000,
                     .max = DAY_US,
                     .fallback = "no limit",
                     .since = "0.2",
                     .help = "how long an accepted event may wait for the engine: while one has "
                             "waited longer, `quern run` refuses more with 429"},
    {.name = "batch",
     .type = QN_KEY_INT,
     .not_yet = "leave it out: a batch is what has arrived",
     .help = "most events in a batch"},
    {.name = "shed",
     .type = QN_KEY_TEXT,
     .not_yet = "leave it out: events beyond what can be scored are refused with 429",
     .help = "which events go without a score when there are too many"},
};

static const struct qn_key_synonym limits_synonyms[] = {
    {"state", "memory"},  {"ram", "memory"},       {"max_memory", "memory"}, {"bytes", "memory"},
    {"shedding", "shed"}, {"batch_size", "batch"}, {"keys", "memory"},       {"max_keys", "memory"},
    {"latency", "wait"},  {"max_wait", "wait"},    {"freshness", "wait"},    {NULL, NULL},
};

const struct qn_key_table qn_keys_limits = {
    .id = "limits",
    .path = "limits:",
    .what = "limits",
    .keys = limits_keys,
    .count = COUNT(limits_keys),
    .synonyms = limits_synonyms,
    .help =
        "What may grow how far. Where seven eighths of `memory` are counted, an event with a key "
        "or an id that is not there becomes a dead letter, `state_full`; where all of it is, "
        "every event that would add to the state does. Which ones follows from the log alone. "
        "The process takes more than its state: see [limits.md](limits.md)."};

/* ---- the whole spec ---- */

/* ---- kafka ---- */

static const struct qn_key kafka_keys[] = {
    [KAFKA_GROUP] = {.name = "group",
                     .type = QN_KEY_TEXT,
                     .value = "a group",
                     .fallback = "the pipeline's name",
                     .since = "0.2",
                     .help = "the consumer group: processes of one group share the partitions"},
    [KAFKA_INSTANCE] = {.name = "instance",
                        .type = QN_KEY_TEXT,
                        .value = "a name, such as `${HOSTNAME}`",
                        .since = "0.2",
                        .help = "of this process, the same after a restart and no other's: it then "
                                "takes up its partitions at once"},
    [KAFKA_TOPICS] =
        {.name = "topics",
         .type = QN_KEY_TEXTS,
         .value = "a topic",
         .since = "0.2",
         .help = "topics of streams, outputs, `dead` and `journal` that are called otherwise "
                 "than STREAM, PIPELINE.OUTPUT, PIPELINE.dead and PIPELINE.journal"},
    [KAFKA_CREATE] = {.name = "create",
                      .type = QN_KEY_BOOL,
                      .fallback = "false",
                      .since = "0.2",
                      .help =
                          "make the topics of outputs and `dead` where they are not there, with "
                          "as many partitions as the input"},
    [KAFKA_COMMIT] = {.name = "commit",
                      .type = QN_KEY_DURATION,
                      .min = 1000,
                      .max = 10000000,
                      .fallback = "10ms; at-least-once: 100ms",
                      .since = "0.2",
                      .help = "how often answers are committed together; with at-least-once they "
                              "do not wait, and only positions are committed"},
    [KAFKA_SETTINGS] = {.name = "settings",
                        .type = QN_KEY_NAMES,
                        .value = "settings",
                        .since = "0.2",
                        .help = "librdkafka's own, as name=value: security.protocol=SASL_SSL, "
                                "sasl.password=${PASSWORD}"},
    [KAFKA_REKEY] = {.name = "rekey",
                     .type = QN_KEY_BOOL,
                     .fallback = "true",
                     .since = "0.3",
                     .help = "compute features by another key than the stream's `key` in stages of "
                             "their own, joined by topics; false: each partition for itself"},
    [KAFKA_STANDBY] = {.name = "standby",
                       .type = QN_KEY_INT,
                       .min = 0,
                       .max = 1,
                       .fallback = "0",
                       .since = "0.2",
                       .help = "1: keep warm copies of the partitions that would come to this "
                               "process if another one failed; takes about twice the memory"},
};

static const struct qn_key_synonym kafka_synonyms[] = {
    {"num.standby.replicas", "standby"},
    {"replicas", "standby"},
    {"group_id", "group"},
    {"group.id", "group"},
    {"consumer_group", "group"},
    {"group_instance_id", "instance"},
    {"slot", "instance"},
    {"topic", "topics"},
    {"commit_interval", "commit"},
    {"config", "settings"},
    {"properties", "settings"},
    {"options", "settings"},
    {"brokers", "they stand in log: kafka:HOST:PORT,HOST:PORT"},
    {"bootstrap_servers", "they stand in log: kafka:HOST:PORT,HOST:PORT"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_kafka = {
    .id = "kafka",
    .path = "kafka:",
    .what = "kafka",
    .keys = kafka_keys,
    .count = COUNT(kafka_keys),
    .synonyms = kafka_synonyms,
    .help = "With `log: kafka:` events are read from topics and answers written to topics, in "
            "transactions: each event counts once, whatever process or broker fails."};

static const struct qn_key registry_keys[] = {
    [REGISTRY_URL] = {.name = "url",
                      .type = QN_KEY_TEXT,
                      .is_required = true,
                      .value = "a URL",
                      .since = "0.2",
                      .help = "where it answers, `http://registry:8081`; several with commas are "
                              "asked in turn"},
    [REGISTRY_BASIC_AUTH] = {.name = "basic_auth",
                             .type = QN_KEY_TEXT,
                             .value = "USER:PASSWORD",
                             .since = "0.2",
                             .help = "who asks, from outside the spec: "
                                     "`\"${REGISTRY_USER}:${REGISTRY_PASSWORD}\"`"},
    [REGISTRY_TOKEN] = {.name = "token",
                        .type = QN_KEY_TEXT,
                        .value = "a token",
                        .since = "0.2",
                        .help = "a bearer token instead, from outside the spec: "
                                "`\"${file:registry.token}\"`"},
    [REGISTRY_CA_FILE] = {.name = "ca_file",
                          .type = QN_KEY_TEXT,
                          .value = "a path",
                          .fallback = "the system's",
                          .since = "0.2",
                          .help = "certificates (PEM) that are trusted"},
    [REGISTRY_TIMEOUT] = {.name = "timeout",
                          .type = QN_KEY_DURATION,
                          .min = 100000,
                          .max = 60000000,
                          .fallback = "5s",
                          .since = "0.2",
                          .help = "how long one request may take"},
};

static const struct qn_key_synonym registry_synonyms[] = {
    {"urls", "url"},
    {"address", "url"},
    {"schema.registry.url", "url"},
    {"basic.auth.user.info", "basic_auth"},
    {"user_info", "basic_auth"},
    {"username", "write basic_auth: \"${REGISTRY_USER}:${REGISTRY_PASSWORD}\""},
    {"password", "write basic_auth: \"${REGISTRY_USER}:${REGISTRY_PASSWORD}\""},
    {"bearer_token", "token"},
    {"ssl.ca.location", "ca_file"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_registry = {
    .id = "schema_registry",
    .path = "schema_registry:",
    .what = "schema_registry",
    .keys = registry_keys,
    .count = COUNT(registry_keys),
    .synonyms = registry_synonyms,
    .help = "Where the schemas are of streams whose `format` is not json: anything that speaks the "
            "REST API of Confluent's Schema Registry. A schema is asked for once; while no "
            "registry answers, events wait."};

static const struct qn_key top_keys[] = {
    [KEY_QUERN] = {.name = "quern",
                   .type = QN_KEY_TEXT,
                   .is_required = true,
                   .value = "1",
                   .since = "0.1",
                   .help = "the version of this format: 1"},
    [KEY_NAME] = {.name = "name",
                  .type = QN_KEY_TEXT,
                  .is_required = true,
                  .value = "a name",
                  .since = "0.1",
                  .help = "the pipeline's name: small letters, digits and '-'"},
    [KEY_STREAMS] = {.name = "streams",
                     .type = QN_KEY_MAP,
                     .is_required = true,
                     .sub = &qn_keys_stream,
                     .since = "0.1",
                     .help = "where events come from and what they hold"},
    [KEY_MAIN] = {.name = "main",
                  .type = QN_KEY_TEXT,
                  .value = "a stream",
                  .fallback = "the first stream",
                  .since = "0.1",
                  .help = "the stream whose events get features and scores"},
    [KEY_FEATURES] = {.name = "features",
                      .type = QN_KEY_TEXTS,
                      .value = "a sentence",
                      .since = "0.1",
                      .help =
                          "what is computed for every event of the main stream, one sentence each"},
    [KEY_MODELS] = {.name = "models",
                    .type = QN_KEY_MAP,
                    .sub = &qn_keys_model,
                    .since = "0.1",
                    .help = "model files and their inputs"},
    [KEY_SCORE] =
        {.name = "score",
         .type = QN_KEY_TABLE,
         .sub = &qn_keys_score,
         .since = "0.1",
         .help = "which model answers; without it features are computed and nothing is scored"},
    [KEY_OUTPUTS] = {.name = "outputs",
                     .type = QN_KEY_MAP,
                     .sub = &qn_keys_output,
                     .fallback = "predictions",
                     .since = "0.1",
                     .help = "what leaves the pipeline"},
    [KEY_LOG] = {.name = "log",
                 .type = QN_KEY_TEXT,
                 .value = "`local:DIR` or `kafka:HOST:PORT`",
                 .since = "0.2",
                 .help = "where `quern run` keeps events and answers: `local:` and a folder, "
                         "relative to the spec's; `kafka:` and the brokers of a cluster"},
    [KEY_STORAGE] = {.name = "storage",
                     .type = QN_KEY_TABLE,
                     .sub = &qn_keys_storage,
                     .since = "0.2",
                     .help = "how the log is kept on disk, and for how long"},
    [KEY_SNAPSHOTS] = {.name = "snapshots",
                       .type = QN_KEY_TABLE,
                       .sub = &qn_keys_snapshots,
                       .since = "0.2",
                       .help = "how often the engine's state is saved, so that a start is quick"},
    [KEY_SERVE] = {.name = "serve",
                   .type = QN_KEY_TABLE,
                   .sub = &qn_keys_serve,
                   .since = "0.2",
                   .help = "HTTP: events in, answers, metrics and the dashboard out"},
    [KEY_LIMITS] = {.name = "limits",
                    .type = QN_KEY_TABLE,
                    .sub = &qn_keys_limits,
                    .since = "0.2",
                    .help = "what may grow how far"},
    [KEY_KAFKA] = {.name = "kafka",
                   .type = QN_KEY_TABLE,
                   .sub = &qn_keys_kafka,
                   .since = "0.2",
                   .help = "how `log: kafka:` reads and writes"},
    [KEY_DELIVERY] = {.name = "delivery",
                      .type = QN_KEY_CHOICE,
                      .choices = "exactly-once|at-least-once",
                      .fallback = "exactly-once",
                      .since = "0.2",
                      .help =
                          "with `log: kafka:`: transactions, or less delay and, after a failure, "
                          "some answers again with the same id"},
    [KEY_REGISTRY] = {.name = "schema_registry",
                      .type = QN_KEY_TABLE,
                      .sub = &qn_keys_registry,
                      .since = "0.2",
                      .help = "where schemas of Avro, Protobuf and JSON Schema are"},
    {.name = "tables",
     .type = QN_KEY_MAP,
     .not_yet = "join the table before, and send its columns as fields of the event",
     .help = "facts to look up by key"},
    {.name = "derive",
     .type = QN_KEY_MAP,
     .not_yet = "use features with `over` windows",
     .help = "streams made of closing windows"},
    {.name = "monitor",
     .type = QN_KEY_TABLE,
     .not_yet = "leave it out",
     .help = "drift and outcomes"},
    {.name = "tests",
     .type = QN_KEY_MAP,
     .not_yet = "run 'quern pipe' over sample events and compare",
     .help = "events in, expectations out"},
};

static const struct qn_key_synonym top_synonyms[] = {
    {"version", "quern"},
    {"apiVersion", "quern"},
    {"pipeline", "name"},
    {"project", "name"},
    {"source", "streams"},
    {"sources", "streams"},
    {"stream", "streams"},
    {"input", "streams"},
    {"inputs", "streams"},
    {"topics", "streams"},
    {"topic", "streams"},
    {"tables_in", "streams"},
    {"schema", "fields stand in a stream: streams: NAME: fields:"},
    {"entities", "keys stand in a stream: streams: NAME: key:"},
    {"feature", "features"},
    {"feature_views", "features"},
    {"aggregations", "features"},
    {"aggregates", "features"},
    {"transforms", "features"},
    {"windows", "features"},
    {"model", "models"},
    {"scoring", "score"},
    {"predict", "score"},
    {"predictions", "outputs"},
    {"output", "outputs"},
    {"sink", "outputs"},
    {"sinks", "outputs"},
    {"alerts", "outputs"},
    {"default_stream", "main"},
    {"checkpoint", "snapshots"},
    {"checkpoints", "snapshots"},
    {"snapshot", "snapshots"},
    {"broker", "log"},
    {"registry", "schema_registry"},
    {"schema_registry_url", "schema_registry"},
    {"retention", "write storage: {keep: 7d}"},
    {"metrics", "monitor"},
    {"http", "serve"},
    {"api", "serve"},
    {"test", "tests"},
    {"joins", "tables"},
    {"lookup", "tables"},
    {"window_size", "windows stand in features: count() by customer_id over 1h"},
    {"window", "windows stand in features: count() by customer_id over 1h"},
    {"group_by", "groups stand in features: count() by customer_id over 1h"},
    {NULL, NULL},
};

const struct qn_key_table qn_keys_top = {.id = "spec",
                                         .path = "",
                                         .what = "a spec",
                                         .keys = top_keys,
                                         .count = COUNT(top_keys),
                                         .synonyms = top_synonyms,
                                         .help = "One YAML file describes one pipeline."};

const struct qn_key_table *const qn_key_tables[] = {
    &qn_keys_top,        &qn_keys_stream, &qn_keys_field,    &qn_keys_model,
    &qn_keys_half_space, &qn_keys_score,  &qn_keys_output,   &qn_keys_storage,
    &qn_keys_snapshots,  &qn_keys_serve,  &qn_keys_tokens,   &qn_keys_tls,
    &qn_keys_limits,     &qn_keys_kafka,  &qn_keys_registry, NULL};

_Static_assert(COUNT(top_keys) == KEY_TOP_LAST + 1 && COUNT(top_keys) <= KEYS_MAX, "rows and enum");
_Static_assert(COUNT(stream_keys) == STREAM_LAST + 1, "rows and enum");
_Static_assert(COUNT(field_keys) == FIELD_LAST + 1, "rows and enum");
_Static_assert(COUNT(model_keys) == MODEL_LAST + 1, "rows and enum");
_Static_assert(COUNT(half_space_keys) == HALF_SPACE_LAST + 1, "rows and enum");
_Static_assert(COUNT(score_keys) == SCORE_LAST + 1, "rows and enum");
_Static_assert(COUNT(output_keys) == OUTPUT_LAST + 1, "rows and enum");
_Static_assert(COUNT(storage_keys) == STORAGE_LAST + 1, "rows and enum");
_Static_assert(COUNT(snapshots_keys) == SNAPSHOTS_LAST + 1, "rows and enum");
_Static_assert(COUNT(serve_keys) == SERVE_LAST + 1, "rows and enum");
_Static_assert(COUNT(tokens_keys) == TOKENS_LAST + 1, "rows and enum");
_Static_assert(COUNT(kafka_keys) == KAFKA_LAST + 1, "rows and enum");
_Static_assert(COUNT(registry_keys) == REGISTRY_LAST + 1, "rows and enum");
_Static_assert(COUNT(tls_keys) == TLS_LAST + 1, "rows and enum");
_Static_assert(COUNT(limits_keys) == LIMITS_LAST + 1, "rows and enum");
