/* SPDX-License-Identifier: Apache-2.0
 * records.h - the rows of a finished batch as records: predictions, table rows, dead letters; where
 * they go is somebody else's business.
 *
 * An encoder knows how records look; a struct qn_records holds those of one batch: per output and
 * worker a slice of bytes, and where each record of it ends and which row it tells of, so that an
 * output may write a slice as a whole or cut it into records without looking at a byte. Whoever
 * hands records on owns one set, or several where one is handed on while the next is filled.
 *
 *   output 0     | worker 0: rec rec rec | worker 1: rec rec | ...    in the order of the workers
 *   output 1     | worker 0: rec         | worker 1:         | ...    = in the order of the rows
 *   dead letters | worker 0:             | worker 1: rec     | ...
 *
 * Thread: encode on workers, each its own rows and slices; the rest on the owner's thread. Memory:
 * slices keep their capacity, so that nothing is allocated in steady state. */
#ifndef QN_ENGINE_RECORDS_H
#define QN_ENGINE_RECORDS_H

#include "base/buffer.h"
#include "engine/engine.h"

enum qn_records_kind {
    QN_RECORDS_PREDICTIONS, /* per output of the plan: an NDJSON prediction (docs/formats.md) */
    QN_RECORDS_CSV,    /* one output: scored events of the main stream, fields and features   */
    QN_RECORDS_NDJSON, /* the same, as NDJSON                                                 */
};

struct qn_record_options {
    enum qn_records_kind kind;
    const bool *is_wanted;        /* [outputs] false = its records are only counted; NULL = all   */
    bool wants_dead;              /* false = dead letters are only counted                        */
    const struct qn_str *columns; /* tables: names to write; NULL = all fields, then all features */
    uint32_t column_count;
    uint32_t workers;
};

struct qn_record_encoder; /* private */

/* The plan must outlive the encoder; the options need not. QN_INVALID: an unknown column, or one
 * named twice. */
qn_status qn_record_encoder_new(const struct qn_plan *plan, const struct qn_record_options *opt,
                                struct qn_record_encoder **out, struct qn_err *err);
void qn_record_encoder_free(struct qn_record_encoder *e); /* NULL is fine */
/* Of the plan for predictions, 1 for a table; dead letters not counted. */
uint32_t qn_record_outputs(const struct qn_record_encoder *e);
/* CSV: the header line. Nothing for the others. */
void qn_record_header(const struct qn_record_encoder *e, struct qn_buf *out);

/* Where a record ends in the bytes of its slice, its line end ('\n') included; it begins where the
 * one before it ends. */
struct qn_record_mark {
    size_t end;
    uint32_t row; /* of the batch; rows ascend */
};

/* What one worker made of a batch for one output. Cache lines of its own: workers write here with
 * every byte. */
struct qn_record_slice {
    struct qn_buf bytes;          /* failed: out of memory, the slice is incomplete             */
    struct qn_record_mark *marks; /* [count]; nothing in it where records are only counted */
    uint32_t count, marks_max;
} __attribute__((aligned(128)));

/* The records of one batch, in the owner's memory. */
struct qn_records {
    struct qn_record_slice *slices; /* [workers][outputs + 1] */
    uint32_t outputs;               /* index of the dead letters, too */
    uint32_t workers;
};

qn_status qn_records_init(struct qn_records *rs, const struct qn_record_encoder *e,
                          struct qn_err *err);
void qn_records_fini(struct qn_records *rs); /* {0} is fine */
void qn_records_clear(struct qn_records *rs);
/* output: rs->outputs is the dead letters. */
static inline struct qn_record_slice *qn_records_slice(const struct qn_records *rs, uint32_t output,
                                                       uint32_t worker)
{
    return &rs->slices[(size_t)worker * (rs->outputs + 1) + output];
}
/* QN_NOMEM where a worker ran out of memory: nothing of the set may be handed on. */
qn_status qn_records_check(const struct qn_records *rs, struct qn_err *err);

/* Appends the records of the rows [first, end) to the worker's slices. Thread: that worker; called
 * from qn_output.encode, whose arguments it takes. */
void qn_records_encode(struct qn_records *rs, struct qn_record_encoder *e,
                       const struct qn_engine *en, const struct qn_step_result *r, uint32_t first,
                       uint32_t end, uint32_t worker);

#endif
