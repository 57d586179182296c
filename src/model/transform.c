/* SPDX-License-Identifier: Apache-2.0
 * transform.c - objectives: base score to margin, margin to prediction, as XGBoost and LightGBM do
 * it.
 *
 * Margins equal the libraries bit for bit; predictions are computed with base/real_math.h, the same
 * on every CPU, and so may differ from a library's, whose libm depends on the CPU, in the last
 * bits. Formulas: XGBoost src/objective and src/common/math.h; LightGBM src/objective. Thread: any;
 * no state. */
#include "base/number.h"
#include "base/real_math.h"
#include "model/model_int.h"

#include <math.h>

/* ---- XGBoost ---- */

enum base_kind { BASE_IDENTITY, BASE_LOGIT, BASE_LOGIT_TO_1_3, BASE_LOG };

static const struct xgboost_objective {
    const char *name;
    enum qn_link link;
    enum base_kind base;
} XGBOOST_OBJECTIVES[] = {
    {"binary:logistic", QN_LINK_FLOAT_LOGISTIC, BASE_LOGIT},
    {"reg:logistic", QN_LINK_FLOAT_LOGISTIC, BASE_LOGIT},
    {"binary:logitraw", QN_LINK_IDENTITY, BASE_LOGIT_TO_1_3},
    {"binary:hinge", QN_LINK_FLOAT_HINGE, BASE_IDENTITY},
    {"count:poisson", QN_LINK_FLOAT_EXP, BASE_LOG},
    {"reg:gamma", QN_LINK_FLOAT_EXP, BASE_LOG},
    {"reg:tweedie", QN_LINK_FLOAT_EXP, BASE_LOG},
    {"survival:cox", QN_LINK_FLOAT_EXP, BASE_LOG},
    {"survival:aft", QN_LINK_FLOAT_EXP, BASE_LOG},
    {"multi:softprob", QN_LINK_FLOAT_SOFTMAX, BASE_IDENTITY},
    {"multi:softmax", QN_LINK_FLOAT_ARGMAX, BASE_IDENTITY},
    {"reg:squarederror", QN_LINK_IDENTITY, BASE_IDENTITY},
    {"reg:linear", QN_LINK_IDENTITY, BASE_IDENTITY},
    {"reg:squaredlogerror", QN_LINK_IDENTITY, BASE_IDENTITY},
    {"reg:absoluteerror", QN_LINK_IDENTITY, BASE_IDENTITY},
    {"reg:quantileerror", QN_LINK_IDENTITY, BASE_IDENTITY},
    {"reg:pseudohubererror", QN_LINK_IDENTITY, BASE_IDENTITY},
    {"rank:pairwise", QN_LINK_IDENTITY, BASE_IDENTITY},
    {"rank:ndcg", QN_LINK_IDENTITY, BASE_IDENTITY},
    {"rank:map", QN_LINK_IDENTITY, BASE_IDENTITY},
};

enum { XGBOOST_OBJECTIVE_COUNT = sizeof(XGBOOST_OBJECTIVES) / sizeof(XGBOOST_OBJECTIVES[0]) };

static const struct xgboost_objective *find_xgboost(struct qn_str name)
{
    for (unsigned i = 0; i < XGBOOST_OBJECTIVE_COUNT; i++) {
        if (qn_str_is(name, XGBOOST_OBJECTIVES[i].name))
            return &XGBOOST_OBJECTIVES[i];
    }
    return NULL;
}

bool qn_model_xgboost_objective(struct qn_model *m, struct qn_str objective, struct qn_err *err)
{
    const struct xgboost_objective *o = find_xgboost(objective);
    struct qn_str names[XGBOOST_OBJECTIVE_COUNT];
    int nearest;

    for (unsigned i = 0; i < XGBOOST_OBJECTIVE_COUNT; i++)
        names[i] = qn_str_of(XGBOOST_OBJECTIVES[i].name);
    if (o != NULL) {
        m->info.objective = o->name;
        m->transform = (struct qn_transform){.link = o->link, .slope = 1, .divide = 1};
        return true;
    }
    nearest = qn_nearest(objective, names, XGBOOST_OBJECTIVE_COUNT);
    qn_err_set(err, QN_UNSUPPORTED,
               "XGBoost objective '%.*s' is not known here%s%s%s, so its prediction cannot be "
               "reproduced; train with one of those in docs/models.md",
               (int)(objective.len > 60 ? 60 : objective.len), objective.p,
               nearest >= 0 ? " (did you mean '" : "", nearest >= 0 ? names[nearest].p : "",
               nearest >= 0 ? "'?)" : "");
    return false;
}

float qn_model_xgboost_margin(const struct qn_model *m, float base_score, uint32_t major,
                              uint32_t minor)
{
    const struct xgboost_objective *o = find_xgboost(qn_str_of(m->info.objective));
    enum base_kind kind = o == NULL ? BASE_IDENTITY : o->base;
    float b = base_score;

    if (kind == BASE_LOGIT_TO_1_3)
        kind = major < 1 || (major == 1 && minor <= 3) ? BASE_LOGIT : BASE_IDENTITY;
    if (kind == BASE_IDENTITY)
        return b;
    if (kind == BASE_LOG)
        return qn_logf(b);
    if (major > 3 || (major == 3 && minor >= 2)) {
        const float low = 1e-6f, high = 1.0f - 1e-6f;

        b = b < low ? low : b > high ? high : b;
    }
    return -qn_logf(1.0f / b - 1.0f);
}

/* ---- LightGBM ---- */

static const struct lightgbm_objective {
    const char *name;
    enum qn_link link;
    bool takes_sigmoid;
} LIGHTGBM_OBJECTIVES[] = {
    {"regression", QN_LINK_IDENTITY, false},
    {"regression_l1", QN_LINK_IDENTITY, false},
    {"huber", QN_LINK_IDENTITY, false},
    {"fair", QN_LINK_IDENTITY, false},
    {"quantile", QN_LINK_IDENTITY, false},
    {"mape", QN_LINK_IDENTITY, false},
    {"poisson", QN_LINK_EXP, false},
    {"gamma", QN_LINK_EXP, false},
    {"tweedie", QN_LINK_EXP, false},
    {"binary", QN_LINK_LOGISTIC, true},
    {"multiclass", QN_LINK_SOFTMAX, false},
    {"multiclassova", QN_LINK_LOGISTIC, true},
    {"cross_entropy", QN_LINK_LOGISTIC, false},
    {"xentropy", QN_LINK_LOGISTIC, false},
    {"cross_entropy_lambda", QN_LINK_LOG1P_EXP, false},
    {"xentlambda", QN_LINK_LOG1P_EXP, false},
    {"lambdarank", QN_LINK_IDENTITY, false},
    {"rank_xendcg", QN_LINK_IDENTITY, false},
    {"custom", QN_LINK_IDENTITY, false},
    {"none", QN_LINK_IDENTITY, false},
};

enum { LIGHTGBM_OBJECTIVE_COUNT = sizeof(LIGHTGBM_OBJECTIVES) / sizeof(LIGHTGBM_OBJECTIVES[0]) };

/* The next word of a line, divided by blanks. Length 0 at the end. */
static struct qn_str next_word(struct qn_str *line)
{
    struct qn_str word = {line->p, 0};

    while (line->len > 0 && *line->p == ' ') {
        line->p++;
        line->len--;
    }
    word.p = line->p;
    while (line->len > 0 && *line->p != ' ') {
        line->p++;
        line->len--;
        word.len++;
    }
    return word;
}

bool qn_model_lightgbm_objective(struct qn_model *m, struct qn_str line, struct qn_err *err)
{
    const struct lightgbm_objective *o = NULL;
    struct qn_str rest = line, word = next_word(&rest);

    m->transform.link = QN_LINK_IDENTITY;
    m->transform.slope = 1;
    for (unsigned i = 0; i < LIGHTGBM_OBJECTIVE_COUNT && word.len > 0; i++) {
        if (qn_str_is(word, LIGHTGBM_OBJECTIVES[i].name))
            o = &LIGHTGBM_OBJECTIVES[i];
    }
    if (word.len > 0 && o == NULL) {
        qn_err_set(err, QN_UNSUPPORTED,
                   "LightGBM objective '%.*s' is not known here, so its prediction cannot be "
                   "reproduced; train with one of those in docs/models.md",
                   (int)(word.len > 60 ? 60 : word.len), word.p);
        return false;
    }
    if (o != NULL)
        m->transform.link = o->link;
    for (word = next_word(&rest); word.len > 0; word = next_word(&rest)) {
        struct qn_str value = {word.p + 8, word.len > 8 ? word.len - 8 : 0};

        if (qn_str_is(word, "sqrt"))
            m->transform.link = QN_LINK_SIGNED_SQUARE;
        if (word.len > 8 && memcmp(word.p, "sigmoid:", 8) == 0 && o->takes_sigmoid &&
            (!qn_text_double(value, &m->transform.slope) || !isfinite(m->transform.slope))) {
            qn_err_set(err, QN_CORRUPT, "'%.*s' in the objective line is not a number",
                       (int)(word.len > 60 ? 60 : word.len), word.p);
            return false;
        }
    }
    return true;
}

/* ---- margin to prediction ---- */

/* In float32 as XGBoost: the 1e-16 vanishes, the limit keeps expf from overflowing. */
static float float_logistic(float margin)
{
    float x = -margin < 88.7f ? -margin : 88.7f;
    float denominator = qn_expf(x) + 1.0f + 1e-16f;

    return 1.0f / denominator;
}

static float flipped_logistic(float margin)
{
    float p = 1.0f / (1.0f + qn_expf(-fabsf(margin)));

    return margin < 0 ? 1.0f - p : p;
}

double qn_model_predict(const struct qn_transform *tr, double margin)
{
    switch (tr->link) {
    case QN_LINK_FLOAT_LOGISTIC:
        return float_logistic((float)margin);
    case QN_LINK_FLOAT_EXP:
        return qn_expf((float)margin);
    case QN_LINK_FLOAT_HINGE:
        return margin > 0 ? 1 : 0;
    case QN_LINK_LOGISTIC:
        return 1.0 / (1.0 + qn_exp(-tr->slope * margin));
    case QN_LINK_EXP:
        return qn_exp(margin);
    case QN_LINK_LOG1P_EXP:
        return qn_log1p(qn_exp(margin));
    case QN_LINK_SIGNED_SQUARE:
        return margin < 0 ? -(margin * margin) : margin * margin;
    case QN_LINK_FLOAT_LOGISTIC_FLIPPED:
        return flipped_logistic((float)margin);
    case QN_LINK_ROUND_FLOAT:
        return (double)(float)margin;
    case QN_LINK_ISOLATION:
        return tr->slope * qn_pow2(-margin) - tr->offset;
    default:
        return margin;
    }
}

/* Probabilities of one row, in the order of operations of the library. */
static void softmax_float(const float *sum, uint32_t outputs, uint32_t row, double *prediction,
                          uint32_t stride)
{
    float highest = sum[row];
    double total = 0;

    for (uint32_t k = 1; k < outputs; k++) {
        float v = sum[(size_t)k * QN_MODEL_BLOCK + row];

        highest = v > highest ? v : highest;
    }
    for (uint32_t k = 0; k < outputs; k++) {
        float e = qn_expf(sum[(size_t)k * QN_MODEL_BLOCK + row] - highest);

        total += e;
        prediction[(size_t)k * stride + row] = e;
    }
    for (uint32_t k = 0; k < outputs; k++) {
        double *p = &prediction[(size_t)k * stride + row];

        *p = (float)*p / (float)total;
    }
}

static void softmax_double(const double *sum, double divide, uint32_t outputs, uint32_t row,
                           double *prediction, uint32_t stride)
{
    double highest = sum[row] / divide, total = 0;

    for (uint32_t k = 1; k < outputs; k++) {
        double v = sum[(size_t)k * QN_MODEL_BLOCK + row] / divide;

        highest = v > highest ? v : highest;
    }
    for (uint32_t k = 0; k < outputs; k++) {
        double e = qn_exp(sum[(size_t)k * QN_MODEL_BLOCK + row] / divide - highest);

        total += e;
        prediction[(size_t)k * stride + row] = e;
    }
    for (uint32_t k = 0; k < outputs; k++)
        prediction[(size_t)k * stride + row] /= total;
}

/* Number of the first of the highest margins. */
static double argmax_float(const float *sum, uint32_t outputs, uint32_t row)
{
    uint32_t best = 0;

    for (uint32_t k = 1; k < outputs; k++) {
        if (sum[(size_t)k * QN_MODEL_BLOCK + row] > sum[(size_t)best * QN_MODEL_BLOCK + row])
            best = k;
    }
    return best;
}

void qn_model_transform(const struct qn_model *m, const void *sums, uint32_t rows,
                        double *prediction, uint32_t stride)
{
    const struct qn_transform *tr = &m->transform;
    const uint32_t outputs = m->info.outputs;
    const float *f = sums;
    const double *d = sums;

    for (uint32_t r = 0; r < rows; r++) {
        if (tr->link == QN_LINK_FLOAT_SOFTMAX)
            softmax_float(f, outputs, r, prediction, stride);
        else if (tr->link == QN_LINK_SOFTMAX)
            softmax_double(d, tr->divide, outputs, r, prediction, stride);
        else if (tr->link == QN_LINK_FLOAT_ARGMAX)
            prediction[r] = argmax_float(f, outputs, r);
        else
            for (uint32_t k = 0; k < outputs; k++) {
                size_t at = (size_t)k * QN_MODEL_BLOCK + r;
                double margin = m->info.is_float ? (double)f[at] : d[at];

                if (tr->divide != 1)
                    margin /= tr->divide;
                if (m->info.is_float && tr->divide != 1)
                    margin = (double)(float)margin; /* the quotient of two floats, rounded once */
                prediction[(size_t)k * stride + r] = qn_model_predict(tr, margin);
            }
    }
}
