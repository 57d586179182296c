/* SPDX-License-Identifier: Apache-2.0
 * infer_schema.h - looks at a sample of events and guesses the stream: fields and their types, id,
 * time and key.
 *
 * For `quern init`. A guess is never bolder than the sample: every event that was looked at fits
 * the fields it gives, so a spec made from it has no dead letters on them. What has no type here
 * (lists of texts, values of two kinds) is kept as `skipped` with the reason, to be shown as a
 * comment. Not on the hot path: JSON is read with base/json.h. Thread: main. Memory: names,
 * examples and the result live in the caller's arena; the rest goes with qn_infer_free. */
#ifndef QN_CLI_INFER_SCHEMA_H
#define QN_CLI_INFER_SCHEMA_H

#include "event/schema.h"
#include "log/log_file.h"

#include <signal.h>

enum {
    QN_INFER_FIELDS_MAX = 500,      /* more are counted, not looked at           */
    QN_INFER_EXAMPLES = 5,          /* different values kept as text             */
    QN_INFER_EXAMPLE_BYTES = 40,    /* longer ones are cut                       */
    QN_INFER_DISTINCT_MAX = 100000, /* counting different values stops there     */
};

/* What is known of one field. */
struct qn_infer_field {
    struct qn_str name;  /* ours: letters, digits, _; unique                            */
    struct qn_str from;  /* path in the event, or the CSV column                        */
    const char *skipped; /* why it is not a field; NULL = it is one                     */
    struct qn_kind kind;
    enum qn_time_unit unit; /* TIMESTAMP                                                   */
    bool is_optional;       /* absent or null in some event                                */
    bool is_sorted;         /* TIMESTAMP: never went back                                  */
    int64_t disorder_us;    /* TIMESTAMP: how far the worst event lay behind the newest    */
    bool is_unique;         /* no value came twice                                         */
    bool is_named_id;       /* its name says that it names something: id, user_id, uuid    */
    bool is_named_who;      /* its name says who or what acts: customer, device, card, ... */
    uint64_t distinct;      /* different values, up to QN_INFER_DISTINCT_MAX               */
    uint64_t values;        /* events in which it was there and not null                   */
    struct qn_str example[QN_INFER_EXAMPLES];
    uint32_t example_count;
    double min, max; /* numbers                                                     */
};

struct qn_inferred {
    struct qn_infer_field *fields; /* in the order of their first appearance */
    uint32_t field_count;
    uint32_t fields_ignored; /* beyond QN_INFER_FIELDS_MAX             */
    int32_t id, time, key;   /* index into fields; -1 = none found     */
    uint64_t events;         /* looked at                              */
    uint64_t broken;         /* of these not readable                  */
    bool is_whole;           /* the sample is the whole file           */
    enum qn_format format;
};

struct qn_infer; /* private */

/* Step by step: make, feed events, finish. */
qn_status qn_infer_new(struct qn_arena *arena, struct qn_infer **out, struct qn_err *err);
void qn_infer_free(struct qn_infer *inf); /* NULL is fine */
/* One event as JSON. *why is NULL, or static text of what is wrong with it: it is then counted as
 * broken. */
qn_status qn_infer_json(struct qn_infer *inf, struct qn_str raw, const char **why,
                        struct qn_err *err);
/* CSV: the header first, then records. */
qn_status qn_infer_csv_header(struct qn_infer *inf, struct qn_str raw, struct qn_err *err);
qn_status qn_infer_csv(struct qn_infer *inf, struct qn_str raw, const char **why,
                       struct qn_err *err);
/* Decides. The result lives in the arena. */
qn_status qn_infer_finish(struct qn_infer *inf, struct qn_inferred *out, struct qn_err *err);

/* All of it for a file: at most events_max events (0 = all). QN_INVALID when the file is empty,
 * holds no readable event, or none of its fields is a time; err names file, line and the way out.
 * QN_INTERRUPTED when *stop is set meanwhile. */
struct qn_infer_source {
    const struct qn_files *files;
    const char *path;
    enum qn_format format;
    uint64_t events_max;
    const volatile sig_atomic_t *stop; /* NULL = nobody stops us */
};
qn_status qn_infer_file(const struct qn_infer_source *src, struct qn_arena *arena,
                        struct qn_inferred *out, struct qn_err *err);

/* What is needed beside the guess to write a spec. */
struct qn_infer_names {
    const char *file;     /* the sampled file, for comments         */
    const char *spec;     /* the spec's file, for comments          */
    const char *pipeline; /* `name:`                                */
    const char *stream;
};
/* Appends a commented spec. */
void qn_infer_write_spec(const struct qn_inferred *in, const struct qn_infer_names *names,
                         struct qn_buf *out);

/* Makes a name for a field or a stream of any text: letters, digits and _; in the arena. NULL: out
 * of memory. */
const char *qn_infer_name(struct qn_arena *arena, struct qn_str text);
/* The same for a pipeline: small letters, digits and '-'. */
const char *qn_infer_pipeline_name(struct qn_arena *arena, struct qn_str text);

#endif
