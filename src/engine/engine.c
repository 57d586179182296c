/* SPDX-License-Identifier: Apache-2.0
 * engine.c - makes and frees an engine: everything a step needs, sized once from the plan.
 *
 * The story of a batch is in step.c. Thread: the stepping thread. Memory: one boot arena, freed as
 * a whole. */
#include "engine/engine.h"

#include "base/check.h"
#include "base/clock.h"
#include "engine/engine_int.h"
#include "model/half_space.h"

static const char *const stage_names[QN_STAGE_COUNT] = {
    [QN_STAGE_READ] = "read",         [QN_STAGE_DECODE] = "decode",
    [QN_STAGE_CONTRACT] = "contract", [QN_STAGE_FEATURES] = "features",
    [QN_STAGE_SCORE] = "score",       [QN_STAGE_ROUTE] = "route",
    [QN_STAGE_COMMIT] = "commit",
};

const char *qn_stage_name(enum qn_stage s)
{
    return stage_names[s];
}

/* [count] arrays of rows_max doubles. */
static double **rows_of_doubles(struct qn_arena *boot, uint32_t count, uint32_t rows_max)
{
    double **a = QN_NEW_N(boot, double *, count + 1);

    for (uint32_t i = 0; a != NULL && i < count; i++)
        if ((a[i] = QN_NEW_N(boot, double, rows_max)) == NULL)
            return NULL;
    return a;
}

static qn_status answers_init(struct qn_engine *en, uint32_t rows_max, struct qn_err *err)
{
    struct engine_answers *a = &en->answers;
    struct qn_plan *p = en->plan;

    a->is_scored = QN_NEW_N(&en->boot, uint8_t, rows_max);
    a->output_on = QN_NEW_N(&en->boot, uint8_t *, p->output_count + 1);
    a->when = QN_NEW_N(&en->boot, struct qn_col, p->output_count + 1);
    if (!a->is_scored || !a->output_on || !a->when)
        return qn_err_set(err, QN_NOMEM, "out of memory for a batch of %u rows", rows_max);
    QN_TRY(qn_col_init(&a->score, (struct qn_kind){QN_DOUBLE, 0}, rows_max, &en->boot, err));
    memset(a->score.valid, 0, rows_max);
    for (uint32_t o = 0; o < p->output_count; o++) {
        if ((a->output_on[o] = QN_NEW_N(&en->boot, uint8_t, rows_max)) == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory for a batch of %u rows", rows_max);
        QN_TRY(qn_col_init(&a->when[o], (struct qn_kind){QN_BOOL, 0}, rows_max, &en->boot, err));
    }
    return QN_OK;
}

/* True if somebody will ask for contributions. */
static bool wants_explain(const struct qn_plan *p, const struct qn_engine_options *opt)
{
    bool wants = opt->explains;

    for (uint32_t o = 0; o < p->output_count; o++)
        wants |= (p->outputs[o].include & QN_INCLUDE_CONTRIBUTIONS) != 0;
    return wants;
}

static qn_status scorer_init(struct qn_engine *en, const struct qn_engine_options *opt,
                             uint32_t rows_max, struct qn_err *err)
{
    const struct qn_plan_model *m = &en->plan->models[en->plan->score_model];
    const struct qn_model_info *info = qn_model_info(m->model);
    uint32_t *columns = QN_NEW_N(&en->boot, uint32_t, m->input_count + 1);

    en->answers.scores = rows_of_doubles(&en->boot, info->predictions, rows_max);
    en->answers.margins = rows_of_doubles(&en->boot, info->outputs, rows_max);
    if (!columns || !en->answers.scores || !en->answers.margins)
        return qn_err_set(err, QN_NOMEM, "out of memory for the scores of a batch");
    for (uint32_t i = 0; i < m->input_count; i++)
        columns[i] = m->inputs[i].column;
    if (qn_model_half_space(m->model) != NULL)
        return qn_learner_new(m->model, columns, en->threads, rows_max, &en->boot, &en->learner,
                              err);
    QN_TRY(qn_scorer_new(m->model, columns, en->threads, rows_max, &en->boot, &en->scorer, err));
    if (!wants_explain(en->plan, opt))
        return QN_OK;
    if (qn_scorer_explain_obstacle(en->scorer) != NULL)
        return qn_err_set(err, QN_UNSUPPORTED, "model '%.*s' cannot be explained: %s",
                          QN_STR_ARG(m->name), qn_scorer_explain_obstacle(en->scorer));
    return qn_scorer_explain_init(en->scorer, en->threads, &en->boot, err);
}

/* The plan's numbering of columns, as pointers. */
static qn_status columns_init(struct qn_engine *en, struct qn_err *err)
{
    const struct qn_plan *p = en->plan;
    const struct qn_schema *main_schema = &p->schemas[p->main_stream];

    en->columns = QN_NEW_N(&en->boot, const struct qn_col *, p->field_count + p->feature_count + 1);
    if (en->columns == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the columns of a batch");
    for (uint32_t i = 0; i < p->field_count; i++)
        en->columns[i] = &en->batch.cols[main_schema->first_column + i];
    for (uint32_t i = 0; i < p->feature_count; i++)
        en->columns[p->field_count + i] = qn_features_col(p->features, i);
    en->columns[p->score_column] = &en->answers.score;
    return QN_OK;
}

static qn_status engine_init(struct qn_engine *en, const struct qn_engine_options *opt,
                             struct qn_err *err)
{
    struct qn_plan *p = en->plan;
    uint32_t rows_max = opt->rows_max > 0 ? opt->rows_max : qn_engine_rows_default(en->threads);

    QN_TRY(qn_team_new(en->threads, &en->team, err));
    QN_TRY(qn_batch_init(&en->batch, &en->boot, p->schemas, p->schema_count, rows_max, en->threads,
                         err));
    en->batch.is_judged = opt->is_judged;
    for (uint32_t s = 0; s < p->schema_count; s++)
        QN_TRY(qn_decode_json_prepare(&p->schemas[s], &en->boot, err));
    QN_TRY(qn_features_start(p->features, &en->batch, opt->seed, &en->boot, err));
    if (!opt->is_judged)
        QN_TRY(qn_dedup_new(p, opt->seed, &en->dedup, err));
    QN_TRY(qn_admit_init(en, rows_max, err));
    QN_TRY(answers_init(en, rows_max, err));
    if (!opt->without_models && p->score_model >= 0)
        QN_TRY(scorer_init(en, opt, rows_max, err));
    QN_TRY(columns_init(en, err));
    en->counts = QN_NEW_N(&en->boot, struct qn_counts, p->schema_count);
    en->worker_err = QN_NEW_N(&en->boot, struct qn_err, en->threads);
    en->worker_rc = QN_NEW_N(&en->boot, qn_status, en->threads);
    if (!en->counts || !en->worker_err || !en->worker_rc)
        return qn_err_set(err, QN_NOMEM, "out of memory for the engine");
    return QN_OK;
}

qn_status qn_engine_new(struct qn_plan *plan, const struct qn_engine_options *opt,
                        const struct qn_input *in, const struct qn_output *out,
                        struct qn_engine **result, struct qn_err *err)
{
    struct qn_engine *en = qn_mem_zalloc(1, sizeof *en);
    qn_status rc;

    *result = NULL;
    QN_ASSERT(opt->threads >= 1 && opt->threads <= QN_TEAM_MAX);
    QN_ASSERT(opt->rows_max <= QN_BATCH_ROWS_MAX);
    if (en == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for the engine");
    en->plan = plan;
    en->in = *in;
    en->out = *out;
    en->threads = opt->threads;
    qn_arena_init(&en->boot, 1 << 20);
    rc = engine_init(en, opt, err);
    if (rc != QN_OK) {
        qn_engine_free(en);
        return rc;
    }
    *result = en;
    return QN_OK;
}

void qn_engine_free(struct qn_engine *en)
{
    if (en == NULL)
        return;
    qn_team_free(en->team);
    qn_dedup_free(en->dedup);
    qn_budget_free(en->budget);
    qn_batch_fini(&en->batch);
    qn_arena_fini(&en->boot);
    qn_mem_free(en);
}

const struct qn_plan *qn_engine_plan(const struct qn_engine *en)
{
    return en->plan;
}

const struct qn_counts *qn_engine_counts(const struct qn_engine *en)
{
    return en->counts;
}

struct qn_watermark qn_engine_watermark(const struct qn_engine *en)
{
    return en->watermark;
}

const struct qn_col *qn_engine_column(const struct qn_engine *en, uint32_t column)
{
    QN_ASSERT(column <= en->plan->score_column);
    return en->columns[column];
}

void qn_engine_explain(const struct qn_engine *en, const uint32_t *rows, uint32_t count,
                       uint32_t worker, double *contributions, uint32_t stride)
{
    QN_ASSERT(en->scorer != NULL);
    QN_ASSERT(count <= QN_ENGINE_EXPLAIN_ROWS);
    QN_ASSERT(worker < en->threads);
    qn_scorer_explain(en->scorer, en->columns, rows, count, worker, contributions, stride);
}

size_t qn_engine_bytes(const struct qn_engine *en)
{
    size_t total = en->boot.total_bytes + qn_dedup_bytes(en->dedup);

    for (uint32_t i = 0; i < qn_features_group_count(en->plan->features); i++)
        total += qn_features_group(en->plan->features, i).bytes;
    for (uint32_t i = 0; i < en->plan->model_count; i++)
        total += qn_model_info(en->plan->models[i].model)->bytes;
    return total;
}

struct qn_engine_memory qn_engine_memory(const struct qn_engine *en)
{
    struct qn_engine_memory m = {0};

    if (en->budget != NULL)
        m = (struct qn_engine_memory){qn_budget_limit(en->budget), qn_budget_counted(en->budget)};
    return m;
}

void qn_engine_time(struct qn_engine *en, const struct qn_clock *clock)
{
    en->clock = clock;
}

const int64_t *qn_engine_stage_ns(const struct qn_engine *en)
{
    return en->stage_ns;
}
