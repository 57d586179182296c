/* SPDX-License-Identifier: Apache-2.0
 * score.c - packs the wanted rows into dense double columns, calls the model, spreads the answers.
 *
 * Stop "score" on the path of an event (docs/architecture.md). Thread: a worker per scratch.
 * Memory: boot arena. */
#include "score/score.h"

#include "base/check.h"
#include "base/number.h"
#include "model/treeshap.h"
#include "score/score_int.h"

#include <math.h>

struct scratch {
    double **inputs; /* [inputs][rows_max]  */
    double *margins; /* [outputs][rows_max] */
    double *scores;  /* [predictions][rows_max] */
    uint32_t *rows;  /* [rows_max] which rows of the batch were packed */
    void *model;     /* the model's own scratch */
    void *explain;   /* of qn_model_explain; NULL = not asked for */
};

struct qn_scorer {
    const struct qn_model *model;
    const struct qn_explain_tables *explain_tables; /* NULL = not asked for */
    const uint32_t *columns;
    uint32_t inputs, outputs, predictions, rows_max;
    struct scratch *scratch; /* [workers] */
};

static bool scratch_init(struct scratch *t, const struct qn_scorer *s, struct qn_arena *boot)
{
    size_t model_bytes = qn_model_scratch_bytes(s->model, s->rows_max);

    t->inputs = QN_NEW_N(boot, double *, s->inputs);
    t->margins = qn_arena_aligned(boot, 64, (size_t)s->outputs * s->rows_max * sizeof(double));
    t->scores = qn_arena_aligned(boot, 64, (size_t)s->predictions * s->rows_max * sizeof(double));
    t->rows = QN_NEW_N(boot, uint32_t, s->rows_max);
    t->model = qn_arena_aligned(boot, 64, model_bytes > 0 ? model_bytes : 64);
    if (!t->inputs || !t->margins || !t->scores || !t->rows || !t->model)
        return false;
    for (uint32_t i = 0; i < s->inputs; i++) {
        /* a cache line more: columns a power of two apart would compete for the same few lines */
        t->inputs[i] = qn_arena_aligned(boot, 64, (size_t)s->rows_max * sizeof(double) + 64);
        if (!t->inputs[i])
            return false;
    }
    return true;
}

qn_status qn_scorer_new(const struct qn_model *m, const uint32_t *columns, uint32_t workers,
                        uint32_t rows_max, struct qn_arena *boot, struct qn_scorer **out,
                        struct qn_err *err)
{
    const struct qn_model_info *info = qn_model_info(m);
    struct qn_scorer *s = QN_NEW(boot, struct qn_scorer);
    uint32_t *copy = QN_NEW_N(boot, uint32_t, info->inputs + 1);

    *out = NULL;
    if (!s || !copy)
        return qn_err_set(err, QN_NOMEM, "out of memory for the scratch of a model");
    memcpy(copy, columns, info->inputs * sizeof *copy);
    s->model = m;
    s->columns = copy;
    s->inputs = info->inputs;
    s->outputs = info->outputs;
    s->predictions = info->predictions;
    s->rows_max = rows_max;
    s->scratch = QN_NEW_N(boot, struct scratch, workers);
    if (!s->scratch)
        return qn_err_set(err, QN_NOMEM, "out of memory for the scratch of a model");
    for (uint32_t w = 0; w < workers; w++)
        if (!scratch_init(&s->scratch[w], s, boot))
            return qn_err_set(err, QN_NOMEM, "out of memory for the scratch of a model");
    *out = s;
    return QN_OK;
}

static void pack_integer(double *to, const struct qn_col *c, const uint32_t *rows, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] = c->valid[rows[i]] ? (double)c->i64[rows[i]] : (double)NAN;
}

static void pack_decimal(double *to, const struct qn_col *c, const uint32_t *rows, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] = c->valid[rows[i]] ? qn_scaled_double(c->i64[rows[i]], c->kind.scale) : (double)NAN;
}

static void pack_double(double *to, const struct qn_col *c, const uint32_t *rows, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] = c->valid[rows[i]] ? c->f64[rows[i]] : (double)NAN;
}

/* Categories as text become their codes; a text that the model reads itself stays where it is. */
static void pack_text(double *to, const struct qn_model *m, uint32_t input, const struct qn_col *c,
                      const uint32_t *rows, uint32_t n)
{
    if (qn_model_reads_text(m, input)) {
        for (uint32_t i = 0; i < n; i++)
            to[i] = c->valid[rows[i]] ? qn_model_text_place(&c->str[rows[i]]) : (double)NAN;
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        to[i] = c->valid[rows[i]] ? qn_model_code(m, input, c->str[rows[i]]) : (double)NAN;
}

void qn_score_pack(const struct qn_model *m, uint32_t input, const struct qn_col *c,
                   const uint32_t *rows, uint32_t n, double *to)
{
    switch (c->kind.type) {
    case QN_BOOL:
    case QN_INT64:
        pack_integer(to, c, rows, n);
        break;
    case QN_DECIMAL:
        pack_decimal(to, c, rows, n);
        break;
    case QN_DOUBLE:
        pack_double(to, c, rows, n);
        break;
    case QN_STRING:
        QN_ASSERT(qn_model_words(m, input, NULL) > 0 || qn_model_reads_text(m, input));
        pack_text(to, m, input, c, rows, n);
        break;
    default:
        QN_ASSERT(!"the plan lets only numbers and known words into a model");
    }
}

/* to[o][rows[i]] = from[o][i] */
static void spread(double *const *to, const double *from, uint32_t outputs, const uint32_t *rows,
                   uint32_t n, uint32_t stride)
{
    for (uint32_t o = 0; o < outputs; o++)
        for (uint32_t i = 0; i < n; i++)
            to[o][rows[i]] = from[(size_t)o * stride + i];
}

void qn_scorer_run(struct qn_scorer *s, const struct qn_col *const *cols, const uint8_t *want,
                   uint32_t first, uint32_t end, uint32_t worker, double *const *margins,
                   double *const *scores)
{
    struct scratch *t = &s->scratch[worker];
    uint32_t n = 0;

    QN_ASSERT(end - first <= s->rows_max);
    for (uint32_t r = first; r < end; r++) {
        t->rows[n] = r;
        n += want[r];
    }
    if (n == 0)
        return;
    for (uint32_t i = 0; i < s->inputs; i++)
        qn_score_pack(s->model, i, cols[s->columns[i]], t->rows, n, t->inputs[i]);
    qn_model_score(s->model, (const double *const *)t->inputs, n, t->model, t->margins, t->scores,
                   s->rows_max);
    spread(margins, t->margins, s->outputs, t->rows, n, s->rows_max);
    spread(scores, t->scores, s->predictions, t->rows, n, s->rows_max);
}

const char *qn_scorer_explain_obstacle(const struct qn_scorer *s)
{
    return qn_model_explain_obstacle(s->model);
}

qn_status qn_scorer_explain_init(struct qn_scorer *s, uint32_t workers, struct qn_arena *boot,
                                 struct qn_err *err)
{
    const size_t bytes = qn_model_explain_scratch_bytes(s->model);

    QN_TRY(qn_model_explain_tables(s->model, boot, &s->explain_tables, err));
    for (uint32_t w = 0; w < workers; w++) {
        s->scratch[w].explain = qn_arena_aligned(boot, 64, bytes);
        if (!s->scratch[w].explain)
            return qn_err_set(err, QN_NOMEM, "out of memory for contributions");
    }
    return QN_OK;
}

void qn_scorer_explain(struct qn_scorer *s, const struct qn_col *const *cols, const uint32_t *rows,
                       uint32_t count, uint32_t worker, double *contributions, uint32_t stride)
{
    struct scratch *t = &s->scratch[worker];

    QN_ASSERT(t->explain != NULL);
    QN_ASSERT(count <= s->rows_max);
    for (uint32_t i = 0; i < s->inputs; i++)
        qn_score_pack(s->model, i, cols[s->columns[i]], rows, count, t->inputs[i]);
    qn_model_explain(s->model, s->explain_tables, (const double *const *)t->inputs, count,
                     t->explain, contributions, stride);
}
