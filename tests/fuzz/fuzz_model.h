/* SPDX-License-Identifier: Apache-2.0
 * fuzz_model.h - body of the model room's fuzz targets: load the bytes; what loads must score, the
 * same in a batch as row by row and on every kernel. `is_mine` keeps a target on its own format. */
#ifndef QN_TESTS_FUZZ_MODEL_H
#define QN_TESTS_FUZZ_MODEL_H

#include "base/check.h"
#include "model/model_int.h"

#include <math.h>

enum { FUZZ_ROWS = 19, FUZZ_VALUES_MAX = 1 << 16 };

static inline void fuzz_score(struct qn_model *m)
{
    static const double values[] = {0,     1,    NAN, -1,  INFINITY, -INFINITY,
                                    1e-36, -0.0, 3,   0.5, 1e10,     7};
    const struct qn_model_info *info = qn_model_info(m);
    const size_t outputs = info->outputs, bytes = outputs * FUZZ_ROWS * sizeof(double);
    double *x = qn_mem_alloc(((size_t)info->inputs + 1) * FUZZ_ROWS * sizeof(double));
    const double **columns = qn_mem_alloc(((size_t)info->inputs + 1) * sizeof(*columns));
    double *first = qn_mem_alloc(bytes), *again = qn_mem_alloc(bytes),
           *predicted = qn_mem_alloc(bytes);
    void *scratch = qn_mem_aligned(64, (qn_model_scratch_bytes(m, FUZZ_ROWS) + 63) / 64 * 64);
    bool has_first = false;

    QN_ASSERT(x && columns && first && again && predicted && scratch);
    for (size_t i = 0; i < (size_t)info->inputs * FUZZ_ROWS; i++)
        x[i] = values[(i * 7 + i / FUZZ_ROWS) % 12];
    for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
        if (!qn_model_force_kernel(m, qn_model_kernel_name(k)))
            continue;
        for (uint32_t batch = 1; batch <= FUZZ_ROWS; batch += FUZZ_ROWS - 1) {
            double *out = has_first ? again : first;

            for (uint32_t row = 0; row < FUZZ_ROWS; row += batch) {
                for (uint32_t i = 0; i < info->inputs; i++)
                    columns[i] = x + (size_t)i * FUZZ_ROWS + row;
                qn_model_score(m, columns, batch, scratch, out + row, predicted + row, FUZZ_ROWS);
            }
            for (size_t i = 0; has_first && i < outputs * FUZZ_ROWS; i++)
                QN_ASSERT(first[i] == again[i] || (isnan(first[i]) && isnan(again[i])));
            has_first = true;
        }
    }
    qn_mem_free(x);
    qn_mem_free(columns);
    qn_mem_free(first);
    qn_mem_free(again);
    qn_mem_free(predicted);
    qn_mem_free(scratch);
}

static inline int fuzz_model(const uint8_t *data, size_t size, bool is_mine)
{
    struct qn_model *m = NULL;
    struct qn_err err;
    qn_status rc;

    if (!is_mine || size > 1 << 20)
        return 0;
    rc = qn_model_load_bytes((struct qn_str){(const char *)data, (uint32_t)size}, "f", NULL, &m,
                             &err);
    QN_ASSERT((rc == QN_OK) == (m != NULL));
    QN_ASSERT(rc == QN_OK || err.text[0] != 0);
    /* "does not reproduce" is our own bug, found by the probe */
    QN_ASSERT(rc == QN_OK || strncmp(err.text, "kernel '", 8) != 0);
    if (m != NULL && (size_t)qn_model_info(m)->inputs * FUZZ_ROWS < FUZZ_VALUES_MAX)
        fuzz_score(m);
    qn_model_free(m);
    return 0;
}

#endif
