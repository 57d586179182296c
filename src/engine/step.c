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

#include <stdatomic.h>

enum { ROWS_TAKEN = 128 }; /* at a time; whole cache lines of the columns of bytes */

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

/* Adds the time since the last stage to this one; nothing where timing is off, or on a worker that
 * does not step. */
static void stage_time(struct qn_engine *en, enum qn_stage s, uint32_t worker)
{
    if (en->clock != NULL && worker == 0) {
        int64_t now = en->clock->mono_ns(en->clock->st);

        en->stage_ns[s] += now - en->since_ns;
        en->since_ns = now;
    }
}

/* ---- rows arrive ---- */

static qn_status read_batch(struct qn_engine *en, enum qn_flow *flow, struct qn_err *err)
{
    struct qn_batch *b = &en->batch;

    QN_TRY(en->in.read(en->in.st, b, flow, err));
    QN_ASSERT(b->rows <= b->rows_max);
    QN_ASSERT((*flow == QN_MORE) == (b->rows > 0));
    return QN_OK;
}

/* Bytes to columns: what is broken becomes dead, with its reason. */
static void decode_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker)
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
}

/* Limits of values. */
static void contract_rows(struct qn_engine *en, uint32_t first, uint32_t end)
{
    for (uint32_t s = 0; s < en->plan->schema_count; s++)
        qn_contract_check(&en->batch, &en->plan->schemas[s], s, first, end);
}

static qn_status commit_now(struct qn_engine *en, const struct qn_step_result *r,
                            struct qn_err *err)
{
    en->is_owed = false;
    return en->out.commit(en->out.st, en, r, err);
}

/* One arrival: the first worker reads, the last one commits the batch before, and who is free
 * decodes what was read, a few rows at a time. */
struct arrival {
    struct qn_engine *en;
    enum qn_flow *flow;
    qn_status read_rc, commit_rc;
    struct qn_err read_err, commit_err;
    _Atomic uint32_t next; /* the first row that nobody has taken */
};

static void arrive_worker(void *arg, unsigned worker, unsigned workers)
{
    struct arrival *a = arg;
    struct qn_engine *en = a->en;
    uint32_t first;

    if (worker == 0) {
        a->read_rc = read_batch(en, a->flow, &a->read_err);
        qn_team_open(en->team);
        stage_time(en, QN_STAGE_READ, worker);
    }
    if (worker == workers - 1 && en->is_owed)
        a->commit_rc = commit_now(en, NULL, &a->commit_err);
    qn_team_wait(en->team);
    while ((first = atomic_fetch_add(&a->next, ROWS_TAKEN)) < en->batch.rows) {
        const uint32_t left = en->batch.rows - first;
        const uint32_t end = first + (left < ROWS_TAKEN ? left : ROWS_TAKEN);

        decode_rows(en, first, end, worker);
        contract_rows(en, first, end);
    }
}

/* Rows that a worker's arena had no room for are undecided: the whole batch stops. */
static qn_status step_arrive(struct qn_engine *en, enum qn_flow *flow, struct qn_err *err)
{
    struct arrival a = {.en = en, .flow = flow};

    qn_batch_reset(&en->batch);
    qn_team_run(en->team, arrive_worker, &a);
    if (a.commit_rc != QN_OK || a.read_rc != QN_OK) {
        if (err != NULL)
            *err = a.commit_rc != QN_OK ? a.commit_err : a.read_err;
        return a.commit_rc != QN_OK ? a.commit_rc : a.read_rc;
    }
    if (qn_batch_no_memory(&en->batch))
        return qn_err_set(err, QN_NOMEM, "out of memory for the texts of a batch");
    stage_time(en, QN_STAGE_DECODE, 0);
    return QN_OK;
}

/* ---- their verdicts and features ---- */

/* Of a batch that was judged by a stage before. */
static void take_floor(const struct qn_batch *b, struct qn_watermark *w)
{
    const int64_t floor_us = b->floor_us[b->rows - 1];

    if (floor_us != INT64_MIN)
        *w = (struct qn_watermark){true, floor_us};
}

/* Lateness and repeats in log order, because the watermark moves with every row; where the state
 * has a limit, what fits in it, too, which needs the keys first. */
static qn_status step_contract(struct qn_engine *en, struct qn_err *err)
{
    const struct qn_watermark before = en->watermark;
    struct qn_batch *b = &en->batch;

    if (b->is_judged)
        take_floor(b, &en->watermark);
    else
        qn_contract_lateness(b, en->plan->schemas, en->plan->schema_count, &en->watermark);
    if (en->budget == NULL && en->dedup != NULL)
        QN_TRY(qn_dedup_run(en->dedup, b, before, err));
    QN_TRY(qn_features_prepare(en->plan->features, b, en->team, err));
    if (en->budget != NULL)
        QN_TRY(qn_admit(en, before, err));
    qn_contract_count(b, en->counts);
    for (uint32_t r = 0; r < b->rows; r++)
        en->answers.is_scored[r] =
            b->verdict[r] == QN_SCORED && b->stream[r] == en->plan->main_stream;
    stage_time(en, QN_STAGE_CONTRACT, 0);
    return QN_OK;
}

static qn_status step_features(struct qn_engine *en, struct qn_err *err)
{
    QN_TRY(qn_features_finish(en->plan->features, en->team, err));
    if (en->watermark.seen)
        qn_features_expire(en->plan->features, en->watermark.newest_us, en->batch.rows);
    stage_time(en, QN_STAGE_FEATURES, 0);
    return QN_OK;
}

/* ---- their answers ---- */

static qn_status look_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker,
                           struct qn_err *err)
{
    qn_learner_look(en->learner, en->columns, en->answers.is_scored, first, end, worker);
    return QN_OK;
}

/* A model that learns from the stream answers in log order; before the others, who only read. */
static qn_status step_learn(struct qn_engine *en, struct qn_err *err)
{
    const struct engine_answers *a = &en->answers;

    if (en->learner == NULL)
        return QN_OK;
    QN_TRY(by_row(en, look_rows, err));
    qn_learner_run(en->learner, en->columns, a->is_scored, en->batch.rows, a->margins[0],
                   a->scores[0]);
    stage_time(en, QN_STAGE_SCORE, 0);
    return QN_OK;
}

static void score_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker)
{
    struct engine_answers *a = &en->answers;

    if (a->scores == NULL)
        return;
    if (en->scorer != NULL)
        qn_scorer_run(en->scorer, en->columns, a->is_scored, first, end, worker, a->margins,
                      a->scores);
    for (uint32_t r = first; r < end; r++) {
        double v = a->scores[0][r];

        a->score.f64[r] = v;
        a->score.valid[r] = a->is_scored[r] && v == v;
    }
}

/* Which outputs take a row: those of its stream where `when` is absent or true. */
static qn_status route_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker,
                            struct qn_err *err)
{
    struct engine_answers *a = &en->answers;

    for (uint32_t o = 0; o < en->plan->output_count; o++) {
        const struct qn_expr *when = en->plan->outputs[o].when;
        struct qn_col *c = &a->when[o];

        if (when == NULL) {
            const uint64_t from = en->plan->outputs[o].from;

            for (uint32_t r = first; r < end; r++)
                a->output_on[o][r] =
                    en->batch.verdict[r] == QN_SCORED && ((from >> en->batch.stream[r]) & 1) != 0;
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
        .score = a->scores != NULL ? a->scores[0] : NULL,
        .scores = (const double *const *)a->scores,
        .margins = (const double *const *)a->margins,
        .output_on = (const uint8_t *const *)a->output_on,
        .complete = qn_features_complete(en->plan->features),
    };
}

/* The model, which outputs take a row, and the bytes they take: each worker its rows from score to
 * record, since nothing in between looks at another row. */
static qn_status answer_rows(struct qn_engine *en, uint32_t first, uint32_t end, uint32_t worker,
                             struct qn_err *err)
{
    const struct qn_step_result r = result_of(en);

    score_rows(en, first, end, worker);
    stage_time(en, QN_STAGE_SCORE, worker);
    QN_TRY(route_rows(en, first, end, worker, err));
    stage_time(en, QN_STAGE_ROUTE, worker);
    en->out.encode(en->out.st, en, &r, first, end, worker);
    return QN_OK;
}

/* Everything of the batch leaves at once, or nothing does; now, unless the next batch is here
 * already and somebody can write while another reads it. */
static qn_status step_commit(struct qn_engine *en, struct qn_err *err)
{
    const struct qn_step_result r = result_of(en);
    const bool can_wait = en->out.commits_beside && en->threads > 1 && en->in.is_ready != NULL;
    qn_status rc = QN_OK;

    en->is_owed = can_wait && en->in.is_ready(en->in.st);
    if (!en->is_owed)
        rc = commit_now(en, en->out.commits_beside ? NULL : &r, err);
    if (rc == QN_OK)
        en->in.release(en->in.st);
    stage_time(en, QN_STAGE_COMMIT, 0);
    return rc;
}

static qn_status step_batch(struct qn_engine *en, enum qn_flow *flow, struct qn_err *err)
{
    QN_TRY(step_arrive(en, flow, err)); /* bytes to columns, limits; what is broken becomes dead */
    if (*flow != QN_MORE)
        return QN_OK;
    QN_TRY(step_contract(en, err)); /* lateness, repeats, room: verdicts, keys             */
    QN_TRY(step_features(en, err)); /* updates and reads keyed state, by key in log order    */
    QN_TRY(step_learn(en, err));    /* a model that learns: score, then learn, row by row      */
    QN_TRY(by_row(en, answer_rows, err)); /* score, outputs, records                              */
    return step_commit(en, err); /* bytes out, input released                             */
}

qn_status qn_step(struct qn_engine *en, enum qn_flow *flow, struct qn_err *err)
{
    qn_status rc;

    QN_ASSERT(!en->is_failed);
    *flow = QN_IDLE;
    if (en->clock != NULL)
        en->since_ns = en->clock->mono_ns(en->clock->st);
    rc = step_batch(en, flow, err);
    en->is_failed = rc != QN_OK;
    return rc;
}

qn_status qn_engine_finish(struct qn_engine *en, struct qn_err *err)
{
    qn_status rc;

    QN_ASSERT(!en->is_failed);
    rc = en->is_owed ? commit_now(en, NULL, err) : QN_OK;
    en->is_failed = rc != QN_OK;
    return rc;
}
