/* SPDX-License-Identifier: Apache-2.0
 * kernel_linear.c - kernel `linear`: linear and logistic models, and XGBoost's gblinear.
 *
 * Order of addition: the start value, then coefficient * x in input order, in double, or in float32
 * for gblinear, which skips missing inputs. Thread: any. Memory: scratch only. */
#include "base/check.h"
#include "model/model_int.h"

#include <math.h>

static bool linear_is_suitable(const struct qn_model *m, const char **reason)
{
    *reason = "it is a linear model";
    return m->linear.is_used;
}

static size_t linear_scratch_bytes(const struct qn_model *m)
{
    (void)m;
    return (size_t)QN_MODEL_BLOCK * sizeof(double);
}

/* Standardises and fills one input of a block. */
static void prepare(const struct qn_linear *l, uint32_t input, uint32_t rows, double *x)
{
    if (l->fill != NULL) {
        for (uint32_t r = 0; r < rows; r++)
            x[r] = isnan(x[r]) ? l->fill[input] : x[r];
    }
    if (l->mean != NULL) {
        for (uint32_t r = 0; r < rows; r++)
            x[r] = x[r] - l->mean[input];
    }
    if (l->scale != NULL) {
        for (uint32_t r = 0; r < rows; r++)
            x[r] = x[r] / l->scale[input];
    }
}

static void add_float(float *sum, float c, const double *x, uint32_t rows)
{
    for (uint32_t r = 0; r < rows; r++) {
        if (!isnan(x[r]))
            sum[r] += (float)x[r] * c;
    }
}

static void add_double(double *sum, double c, const double *x, uint32_t rows)
{
    for (uint32_t r = 0; r < rows; r++)
        sum[r] += c * x[r];
}

static void linear_score(const struct qn_model *m, const double *const *columns, uint32_t first,
                         uint32_t rows, void *scratch, void *sums)
{
    const struct qn_linear *l = &m->linear;
    const uint32_t inputs = m->info.inputs;
    double *x = scratch;

    QN_ASSERT(rows <= QN_MODEL_BLOCK);
    for (uint32_t i = 0; i < inputs; i++) {
        for (uint32_t r = 0; r < rows; r++)
            x[r] = qn_model_convert(m, columns[i][first + r]);
        prepare(l, i, rows, x);
        for (uint32_t k = 0; k < m->info.outputs; k++) {
            double c = l->coefficients[(size_t)k * inputs + i];

            if (m->info.is_float)
                add_float((float *)sums + (size_t)k * QN_MODEL_BLOCK, (float)c, x, rows);
            else
                add_double((double *)sums + (size_t)k * QN_MODEL_BLOCK, c, x, rows);
        }
    }
}

const struct qn_model_kernel qn_model_kernel_linear = {.name = "linear",
                                                       .is_suitable = linear_is_suitable,
                                                       .scratch_bytes = linear_scratch_bytes,
                                                       .score = linear_score};
