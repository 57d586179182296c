/* SPDX-License-Identifier: Apache-2.0
 * batch.h - up to rows_max events as columns: the only thing that flows.
 *
 * Rows stand in log order; with several streams every row belongs to one of them, and a column that
 * belongs to another stream is null (valid = 0) in that row. Columns are arrays of rows_max values
 * in the batch's arena or boot memory; strings borrow from the raw bytes, or from the batch arena
 * where they had to be unescaped. All of it lives until the next qn_batch_reset. Threads: between
 * barriers, workers write their own rows only; strings that must be decoded go to the worker's own
 * arena. */
#ifndef QN_EVENT_BATCH_H
#define QN_EVENT_BATCH_H

#include "base/memory.h"
#include "base/status.h"
#include "event/schema.h"

/* A value of type LIST; borrows. */
struct qn_list {
    const double *v;
    uint32_t n;
};
/* One column. Which array counts follows from the type: f64 DOUBLE, str STRING, list LIST, else
 * i64. */
struct qn_col {
    struct qn_kind kind;
    uint8_t *valid; /* [rows] 1 = there is a value, 0 = null (then the value is undefined) */
    union {
        int64_t *i64;
        double *f64;
        struct qn_str *str;
        struct qn_list *list;
    };
};

enum qn_verdict { QN_SCORED, QN_LATE, QN_DEAD, QN_SHED, QN_VERDICTS };
const char *qn_verdict_name(enum qn_verdict v);

/* Why an event is dead or late. X(NAME, stage, text): names are stable, new rows go to the end;
 * stage in Kafka Connect's words. The lower-case name is the reason code of the dead letter. */
#define QN_REASON_LIST(X)                                                                          \
    X(NONE, "", "no reason")                                                                       \
    X(BAD_JSON, "VALUE_CONVERTER", "not well-formed JSON")                                         \
    X(BAD_CSV, "VALUE_CONVERTER", "not a well-formed CSV record")                                  \
    X(BAD_UTF8, "VALUE_CONVERTER", "bytes that are not UTF-8")                                     \
    X(NOT_AN_OBJECT, "VALUE_CONVERTER", "JSON, but not an object")                                 \
    X(TOO_DEEP, "VALUE_CONVERTER", "nested too deeply")                                            \
    X(TOO_LARGE, "VALUE_CONVERTER", "larger than an event may be")                                 \
    X(MISSING_FIELD, "TRANSFORMATION", "a required field is absent or null")                       \
    X(WRONG_TYPE, "TRANSFORMATION", "a value of another type")                                     \
    X(BAD_TIME, "TRANSFORMATION", "a timestamp that cannot be read")                               \
    X(NOT_EXACT, "TRANSFORMATION", "a number that does not fit its type exactly")                  \
    X(OUT_OF_RANGE, "TRANSFORMATION", "a value below min or above max")                            \
    X(NOT_ALLOWED, "TRANSFORMATION", "a value that is not in the allowed set")                     \
    X(TOO_LONG, "TRANSFORMATION", "longer than max_length")                                        \
    X(WRONG_LENGTH, "TRANSFORMATION", "a list with another number of values")                      \
    X(LATE_EVENT, "TRANSFORMATION", "behind the watermark")                                        \
    X(TOO_LATE, "TRANSFORMATION", "too far behind the watermark for its windows")                  \
    X(FUTURE_TIME, "TRANSFORMATION", "more than a minute ahead of its arrival")                    \
    X(DUPLICATE, "TRANSFORMATION", "an id that was seen before")                                   \
    X(STATE_FULL, "TRANSFORMATION", "no room in the state: limits: memory")                        \
    X(NOT_FRAMED, "VALUE_CONVERTER", "without the id of a schema in front")                        \
    X(SCHEMA_UNKNOWN, "VALUE_CONVERTER", "a schema that the registry does not have")               \
    X(BAD_SCHEMA, "VALUE_CONVERTER", "a schema that cannot be read")                               \
    X(BAD_RECORD, "VALUE_CONVERTER", "bytes that are not what their schema says")                  \
    X(BAD_ENVELOPE, "VALUE_CONVERTER", "not the envelope that was expected")                       \
    X(TOMBSTONE, "TRANSFORMATION", "the empty record behind a row that was deleted")               \
    X(DELETED, "TRANSFORMATION", "a row that was deleted")                                         \
    X(NO_ROW, "TRANSFORMATION", "a record of Debezium that is about no row")

enum qn_reason {
#define QN_REASON_ENUM(name, stage, text) QN_REASON_##name,
    QN_REASON_LIST(QN_REASON_ENUM)
#undef QN_REASON_ENUM
        QN_REASON_COUNT
};
const char *qn_reason_name(enum qn_reason r); /* "missing_field" */
const char *qn_reason_stage(enum qn_reason r);
const char *qn_reason_text(enum qn_reason r);
/* True where nothing is wrong with the record, and there is nothing to mend: it is counted, and no
 * dead letter. A repeat was answered when it came first; the others are no events. */
static inline bool qn_reason_is_quiet(enum qn_reason r)
{
    return r == QN_REASON_DUPLICATE || r == QN_REASON_TOMBSTONE || r == QN_REASON_DELETED ||
           r == QN_REASON_NO_ROW;
}

enum { QN_NO_FIELD = 0xFFFF, QN_BATCH_ROWS_MAX = 65536 };
#define QN_NO_ARRIVAL INT64_MAX /* files have none: no event is from the future then */

struct qn_batch {
    uint32_t rows, rows_max; /* rows in use, and how many there is room for                 */
    uint32_t col_count;
    struct qn_col *cols; /* all streams' fields, stream after stream                    */
    /* set by step_read */
    struct qn_str *raw;     /* [rows] the event's bytes, without the line end              */
    struct qn_str *headers; /* [rows] of its record (record_headers.h), p NULL: none known; NULL
                               where no schema has an envelope                          */
    uint8_t *stream;        /* [rows] index of the stream                                  */
    uint16_t *partition;    /* [rows]                                                      */
    int64_t *offset;        /* [rows] position in (stream, partition)                      */
    int64_t *arrival_us;    /* [rows] when it was appended to the log; QN_NO_ARRIVAL: not known */
    bool is_past; /* of rows that were committed before: the log knows whether there was room */
    /* Lateness and repeats were judged by a stage before: read sets verdict, is_late and floor_us.
     * Set by the engine, for all batches. */
    bool is_judged;
    int64_t *floor_us; /* [rows] of window.h; INT64_MIN: not known. Only where is_judged          */
    /* set by decode and contract */
    int64_t *time_us;        /* [rows] event time; undefined where dead                     */
    uint8_t *verdict;        /* [rows] enum qn_verdict                                      */
    uint8_t *is_late;        /* [rows] behind the watermark, whatever became of it          */
    uint8_t *reason;         /* [rows] enum qn_reason; STATE_FULL of a row that is alive: it
                                died of that before, and will again                         */
    uint16_t *reason_field;  /* [rows] field index in the stream's schema, or QN_NO_FIELD   */
    struct qn_arena *arenas; /* one per worker, batch lifetime; the engine resets them      */
    uint32_t arena_count;
    struct qn_opener **openers; /* [arena_count], as headers                               */
    uint8_t *no_memory;         /* [arena_count] see qn_batch_no_memory                        */
    uint32_t stream_count;
};

/* Boot memory: everything a batch of rows_max rows of these streams needs, from `boot`. Workers'
 * arenas are made here and freed by qn_batch_fini. Sets first_column and prepares the allowed sets
 * of every schema. All rows are preset: scored, no reason, null in every column; reset presets them
 * again. After an error *b may be given to qn_batch_fini. */
qn_status qn_batch_init(struct qn_batch *b, struct qn_arena *boot, struct qn_schema *schemas,
                        uint32_t schema_count, uint32_t rows_max, uint32_t workers,
                        struct qn_err *err);
void qn_batch_fini(struct qn_batch *b);
/* Empties the batch: rows = 0, arenas reset. What it held is gone (and poisoned). */
void qn_batch_reset(struct qn_batch *b);
/* True when a worker ran out of memory while decoding this batch: rows are undecided then, and the
 * engine must give up the batch with QN_NOMEM. To be asked once, after the decode barrier. */
bool qn_batch_no_memory(const struct qn_batch *b);

/* A column outside the batch's own fields (features, temporaries): arrays for rows_max values from
 * the arena. */
qn_status qn_col_init(struct qn_col *c, struct qn_kind kind, uint32_t rows_max, struct qn_arena *a,
                      struct qn_err *err);

#endif
