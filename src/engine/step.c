/* SPDX-License-Identifier: Apache-2.0
 * step.c - the path of one batch through the engine. Read this file first.
 *
 * Every decision about an event's fate is taken in qn_step(); what it calls works on the whole
 * batch. Invariant: outputs leave together in step_commit() and nowhere else; state runs ahead in
 * memory only, so after a crash the log is read again and gives the same answers. Where rows are
 * worked on in parallel, each worker writes its own rows and a barrier ends the stage, so the
 * answer does not depend on the number of threads. Thread: engine. Memory: batch arena. See
 * docs/architecture.md for the walk of one event. */
#include "base/check.h"
#include "base/clock.h"
#include "engine/engine_int.h"

/* One worker's share of a stage. */
typedef qn_status stage_fn(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker,
                           struct qn_err *err);

struct stage_run {
    struct qn_engine *en;
    stage_fn *fn;
};

static void stage_worker(void *arg, unsigned worker, unsigned workers)
{
    struct stage_run *run = arg;
    struct qn_engine *en = run->en;
    uint32_t first, end;

    qn_team_slice(en->batch.rows, worker, workers, &first, &end);
    en->worker_rc[worker] =
        first < end ? run->fn(en, first, end, worker, &en->worker_err[worker]) : QN_OK;
}

/* Runs fn over slices of the batch; the first failing worker's error is the stage's. */
static qn_status by_row(struct qn_engine *en, stage_fn *fn, struct qn_err *err)
{
    struct stage_run run = {en, fn};

    qn_team_run(en->team, stage_worker, &run);
    for (uint32_t w = 0; w < en->threads; w++)
        if (en->worker_rc[w] != QN_OK) {
            if (err != NULL)
                *err = en->worker_err[w];
            return en->worker_rc[w];
        }
    return QN_OK;
}

static qn_status step_read(struct qn_engine *en, enum qn_flow *flow, struct qn_err *err)
{
    struct qn_batch *b = &en->batch;

    QN_TRY(en->in.read(en->in.st, b, flow, err));
    QN_ASSERT(b->rows <= b->rows_max);
    QN_ASSERT((*flow == QN_MORE) == (b->rows > 0));
    return QN_OK;
}

/* Bytes to columns, then types and limits: what is broken becomes dead, with its reason. */
static qn_status decode_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker,
                             struct qn_err *err)
{
    struct qn_batch *b = &en->batch;

    for (uint32_t s = 0; s < en->plan->schema_count; s++) {
        const struct qn_schema *schema = &en->plan->schemas[s];
        const struct qn_csv_header *const *headers = en->in.csv(en->in.st, s);

        if (headers != NULL)
            qn_decode_csv(b, schema, headers, s, first, end, worker);
        else
            qn_decode_json(b, schema, s, first, end, worker);
    }
    return QN_OK;
}

/* Rows that a worker's arena had no room for are undecided: the whole batch stops. */
static qn_status step_decode(struct qn_engine *en, struct qn_err *err)
{
    QN_TRY(by_row(en, decode_rows, err));
    if (qn_batch_no_memory(&en->batch))
        return qn_err_set(err, QN_NOMEM, "out of memory for the texts of a batch");
    return QN_OK;
}

static qn_status contract_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker,
                               struct qn_err *err)
{
    for (uint32_t s = 0; s < en->plan->schema_count; s++)
        qn_contract_check(&en->batch, &en->plan->schemas[s], s, first, end);
    return QN_OK;
}

/* Values first, by row; then lateness in log order, because the watermark moves with every row. */
static qn_status step_contract(struct qn_engine *en, struct qn_err *err)
{
    struct qn_batch *b = &en->batch;

    QN_TRY(by_row(en, contract_rows, err));
    qn_contract_lateness(b, en->plan->schemas, en->plan->schema_count, &en->watermark);
    qn_contract_count(b, en->counts);
    for (uint32_t r = 0; r < b->rows; r++)
        en->answers.is_scored[r] =
            b->verdict[r] == QN_SCORED && b->stream[r] == en->plan->main_stream;
    return QN_OK;
}

static qn_status step_features(struct qn_engine *en, struct qn_err *err)
{
    QN_TRY(qn_features_run(en->plan->features, &en->batch, en->team, err));
    if (en->watermark.seen)
        qn_features_expire(en->plan->features, en->watermark.newest_us, en->batch.rows);
    return QN_OK;
}

static qn_status score_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker,
                            struct qn_err *err)
{
    struct engine_answers *a = &en->answers;

    qn_scorer_run(en->scorer, en->columns, a->is_scored, first, end, worker, a->margins, a->scores);
    for (uint32_t r = first; r < end; r++) {
        double v = a->scores[0][r];

        a->score.f64[r] = v;
        a->score.valid[r] = a->is_scored[r] && v == v;
    }
    return QN_OK;
}

static qn_status step_score(struct qn_engine *en, struct qn_err *err)
{
    return en->scorer != NULL ? by_row(en, score_rows, err) : QN_OK;
}

/* Which outputs take a row: all of them where `when` is absent or true. */
static qn_status route_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker,
                            struct qn_err *err)
{
    struct engine_answers *a = &en->answers;

    for (uint32_t o = 0; o < en->plan->output_count; o++) {
        const struct qn_expr *when = en->plan->outputs[o].when;
        struct qn_col *c = &a->when[o];

        if (when == NULL) {
            memcpy(a->output_on[o] + first, a->is_scored + first, end - first);
            continue;
        }
        QN_TRY(qn_expr_run(when, en->columns, first, end, c, &en->batch.arenas[worker], err));
        for (uint32_t r = first; r < end; r++)
            a->output_on[o][r] = a->is_scored[r] && c->valid[r] && c->i64[r] != 0;
    }
    return QN_OK;
}

static struct qn_step_result result_of(const struct qn_engine *en)
{
    const struct engine_answers *a = &en->answers;

    return (struct qn_step_result){
        .batch = &en->batch,
        .is_scored = a->is_scored,
        .score = en->scorer != NULL ? a->scores[0] : NULL,
        .scores = (const double *const *)a->scores,
        .margins = (const double *const *)a->margins,
        .output_on = (const uint8_t *const *)a->output_on,
        .complete = qn_features_complete(en->plan->features),
    };
}

static qn_status encode_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker,
                             struct qn_err *err)
{
    struct qn_step_result r = result_of(en);

    en->out.encode(en->out.st, en, &r, first, end, worker);
    return QN_OK;
}

/* Everything of the batch leaves at once, or nothing does. */
static qn_status step_commit(struct qn_engine *en, struct qn_err *err)
{
    struct qn_step_result r = result_of(en);

    QN_TRY(by_row(en, encode_rows, err));
    QN_TRY(en->out.commit(en->out.st, en, &r, err));
    en->in.release(en->in.st);
    return QN_OK;
}

/* Adds the time since *since to a stage; nothing where timing is off. */
static void stage_time(struct qn_engine *en, enum qn_stage s, int64_t *since)
{
    if (en->clock != NULL) {
        int64_t now = en->clock->mono_ns(en->clock->st);

        en->stage_ns[s] += now - *since;
        *since = now;
    }
}

static qn_status step_batch(struct qn_engine *en, enum qn_flow *flow, struct qn_err *err)
{
    int64_t since = en->clock != NULL ? en->clock->mono_ns(en->clock->st) : 0;

    qn_batch_reset(&en->batch);
    QN_TRY(step_read(en, flow, err));
    if (*flow != QN_MORE)
        return QN_OK;
    stage_time(en, QN_STAGE_READ, &since);
    QN_TRY(step_decode(en, err)); /* bytes to columns; what is broken becomes dead     */
    stage_time(en, QN_STAGE_DECODE, &since);
    QN_TRY(step_contract(en, err)); /* limits, lateness: verdicts, never failures        */
    stage_time(en, QN_STAGE_CONTRACT, &since);
    QN_TRY(step_features(en, err)); /* updates and reads keyed state, by key in log order */
    stage_time(en, QN_STAGE_FEATURES, &since);
    QN_TRY(step_score(en, err)); /* the model, row by row                             */
    stage_time(en, QN_STAGE_SCORE, &since);
    QN_TRY(by_row(en, route_rows, err)); /* rows to outputs                                   */
    stage_time(en, QN_STAGE_ROUTE, &since);
    QN_TRY(step_commit(en, err)); /* bytes out, input released                         */
    stage_time(en, QN_STAGE_COMMIT, &since);
    return QN_OK;
}

qn_status qn_step(struct qn_engine *en, enum qn_flow *flow, struct qn_err *err)
{
    qn_status rc;

    QN_ASSERT(!en->is_failed);
    *flow = QN_IDLE;
    rc = step_batch(en, flow, err);
    en->is_failed = rc != QN_OK;
    return rc;
}
