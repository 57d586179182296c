/* SPDX-License-Identifier: Apache-2.0
 * engine.h - the face of the engine: events in, answers out, one batch at a time. step.c is the
 * story; read it first.
 *
 * The engine is a pure function of plan and events: no clock, no thread timing, no order of arrival
 * shows in an answer. It is given an input (where batches come from) and an output (where a
 * finished batch goes) as tables of functions. Thread: one thread steps; inside a step the team
 * works on rows. Memory: everything is made by qn_engine_new; a step allocates nothing in steady
 * state. */
#ifndef QN_ENGINE_ENGINE_H
#define QN_ENGINE_ENGINE_H

#include "event/contract.h"
#include "event/decode.h"
#include "log/log_file.h"
#include "spec/plan.h"

struct qn_engine; /* private: engine_int.h */

/* Where events come from. One const table per kind, an instance in `st`. */
struct qn_input {
    /* Fills b->raw, stream, partition, offset of up to b->rows_max rows and sets b->rows; a row
     * whose record was too large also gets verdict QN_DEAD, reason QN_REASON_TOO_LARGE (the engine
     * clears these arrays before). Blocks only while there is nothing at all. *flow as in
     * log_file.h. */
    qn_status (*read)(void *st, struct qn_batch *b, enum qn_flow *flow, struct qn_err *err);
    /* The batch is committed: its raw bytes may be reused. */
    void (*release)(void *st);
    /* How that stream is written: NULL = JSON, else the CSV headers of its partitions. */
    const struct qn_csv_header *const *(*csv)(void *st, uint32_t stream);
    void *st;
    /* True when the next read would not wait; NULL = not known. Asked when a batch is done. */
    bool (*is_ready)(void *st);
};

/* What one step made. Borrowed from the engine until the next step. */
struct qn_step_result {
    const struct qn_batch *batch;
    const uint8_t *is_scored; /* [rows] 1 = row of the main stream that got an answer           */
    const double *score;      /* [rows] where is_scored and the plan scores; else NULL           */
    const double *const *scores; /* [predictions of the model][rows] */
    const double *const
        *margins; /* [outputs of the model][rows] before the objective's transform    */
    const uint8_t *const *output_on; /* [plan->output_count][rows] 1 = this output takes the row */
    const uint8_t *complete; /* [rows] no feature is null                                       */
};

/* Where a batch goes. Called once per step, after everything is computed: the commit. `slices`
 * encodes in parallel. */
struct qn_output {
    /* Writes the rows [first, end) of the result into the worker's own buffers; any worker, own
     * rows. */
    void (*encode)(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                   uint32_t first, uint32_t end, uint32_t worker);
    /* All slices are encoded: hand them on in the order of the workers (= row order). Everything or
     * an error. */
    qn_status (*commit)(void *st, const struct qn_engine *en, const struct qn_step_result *r,
                        struct qn_err *err);
    void *st;
    /* What `encode` left is all that `commit` needs: r is NULL, and it may run on a worker while
     * the next batch is read and decoded. The engine does so where there are threads for it and the
     * input has that batch already. */
    bool commits_beside;
};

enum { QN_ENGINE_ROWS_PER_THREAD = 2048 };
/* Most rows of a batch where nobody says otherwise. */
static inline uint32_t qn_engine_rows_default(uint32_t threads)
{
    return threads < QN_BATCH_ROWS_MAX / QN_ENGINE_ROWS_PER_THREAD
               ? threads * QN_ENGINE_ROWS_PER_THREAD
               : QN_BATCH_ROWS_MAX;
}

struct qn_engine_options {
    uint32_t threads;    /* 1 to QN_TEAM_MAX                                  */
    uint32_t rows_max;   /* of a batch; 0 = qn_engine_rows_default      */
    bool without_models; /* features only                                     */
    bool explains; /* qn_engine_explain will be called, though no output asks for contributions */
    /* A stage behind another one: what that has judged is not judged again (batch.h), and the
     * watermark is the newest floor. The groups' places are set: qn_features_place. */
    bool is_judged;
    uint64_t seed; /* probe seed of the tables; never shows             */
};

/* The plan must outlive the engine and serve one engine only (it holds the feature state). */
qn_status qn_engine_new(struct qn_plan *plan, const struct qn_engine_options *opt,
                        const struct qn_input *in, const struct qn_output *out,
                        struct qn_engine **en, struct qn_err *err);
void qn_engine_free(struct qn_engine *en); /* NULL is fine */

/* Moves at most one batch from the input to the output. QN_OK also when there was nothing to do:
 * see *flow. After an error nothing of this batch was committed and the engine must not step again:
 * recovery is replay. Where the output commits beside, the error of a commit may come with the next
 * step, as if that one had not begun, or with qn_engine_finish. */
qn_status qn_step(struct qn_engine *en, enum qn_flow *flow, struct qn_err *err);
/* After the last step that went well: commits what that left to be committed beside the next. */
qn_status qn_engine_finish(struct qn_engine *en, struct qn_err *err);

const struct qn_plan *qn_engine_plan(const struct qn_engine *en);
/* Verdicts since the start, per stream of the plan. read = scored + late + dead + shed. */
const struct qn_counts *qn_engine_counts(const struct qn_engine *en);
/* Newest event time so far. */
struct qn_watermark qn_engine_watermark(const struct qn_engine *en);
/* Column as the plan numbers them (fields of the main stream, features, score). */
const struct qn_col *qn_engine_column(const struct qn_engine *en, uint32_t column);
/* What each input of the model added to the margins of scored rows of the batch that is being
 * encoded or committed: contributions[(output * (inputs + 1) + input) * stride + i] for rows[i],
 * the bias behind the inputs. At most QN_ENGINE_EXPLAIN_ROWS rows a call. Only where an output
 * includes contributions or the engine was made with `explains`. Thread: that worker. */
enum { QN_ENGINE_EXPLAIN_ROWS = 512 };
void qn_engine_explain(const struct qn_engine *en, const uint32_t *rows, uint32_t count,
                       uint32_t worker, double *contributions, uint32_t stride);
/* Bytes of memory: batch, features' state, ids, models. */
size_t qn_engine_bytes(const struct qn_engine *en);

/* What of the state is counted, and how much may be (`limits: memory`); 0 and 0 without. */
struct qn_engine_memory {
    uint64_t limit_bytes, counted_bytes;
};
struct qn_engine_memory qn_engine_memory(const struct qn_engine *en);

/* Nanoseconds per stage since the start, when timing was switched on (benchmarks only; `clock` is
 * asked around each stage). They are the stepping thread's: its own share of a stage, and waiting
 * for the others counts for the stage before the barrier; together they are the wall time of the
 * steps. Order of enum qn_stage. */
enum qn_stage {
    QN_STAGE_READ,
    QN_STAGE_DECODE,
    QN_STAGE_CONTRACT,
    QN_STAGE_FEATURES,
    QN_STAGE_SCORE,
    QN_STAGE_ROUTE,
    QN_STAGE_COMMIT,
    QN_STAGE_COUNT
};
struct qn_clock;
void qn_engine_time(struct qn_engine *en, const struct qn_clock *clock);
const int64_t *qn_engine_stage_ns(const struct qn_engine *en);
const char *qn_stage_name(enum qn_stage s);

#endif
