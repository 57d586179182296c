/* SPDX-License-Identifier: Apache-2.0
 * bench_onnx.c - what a call of ours adds to a call of ONNX Runtime.
 *
 *   bench_onnx LIBRARY MODEL PASSES
 *
 * The same session and the same tensors, in turn: its Run alone, and qn_model_score, which fills
 * the input from columns, runs, and takes the answer out. One thread, CPU time, rows rotate.
 * Printed: ns per call, and the difference of the medians. See bench/models.py. */
#include "base/check.h"
#include "base/number.h"
#include "model/model_int.h"
#include "model/onnxruntime.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PASSES_MAX = 99, ROWS = 1024, CALLS = 400, COLUMN_PAD = 8, STRIDE = ROWS + COLUMN_PAD };

struct bench {
    const struct qn_model *model;
    struct qn_ort_class *class; /* the tensors of one batch */
    const double **columns;
    double *values; /* [inputs][STRIDE] */
    void *scratch;
    double margin[QN_MODEL_BLOCK];
};

static void stop(const char *why)
{
    fprintf(stderr, "bench_onnx: %s\n", why);
    exit(1);
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double run_bare(const struct bench *b)
{
    const struct qn_ort *ort = b->model->ort;
    const double begun = now_ns();

    for (unsigned i = 0; i < CALLS; i++)
        if (ort->api.run(ort->session, NULL, ort->input_names,
                         (const struct qn_ort_object *const *)b->class->values, ort->input_count,
                         &ort->output_name, 1, &b->class->out_value) != NULL)
            stop("Run failed");
    return (now_ns() - begun) / CALLS;
}

static double run_ours(struct bench *b, uint32_t rows, unsigned pass)
{
    const uint32_t inputs = qn_model_info(b->model)->inputs;
    const double begun = now_ns();

    for (unsigned i = 0; i < CALLS; i++) {
        /* where blocks of the engine begin: at a cache line */
        const uint32_t first = (pass * 9973 + i * rows) % (ROWS - rows + 1) / 8 * 8;

        for (uint32_t k = 0; k < inputs; k++)
            b->columns[k] = b->values + (size_t)k * STRIDE + first;
        qn_model_score(b->model, b->columns, rows, b->scratch, b->margin, NULL, rows);
    }
    return (now_ns() - begun) / CALLS;
}

static int by_value(const void *a, const void *b)
{
    double x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

static void open_model(struct bench *b, const char *library, const char *file)
{
    struct qn_model *m = NULL;
    struct qn_err err = {0};
    uint64_t step = 1;
    uint32_t inputs;

    qn_model_onnxruntime(library);
    if (qn_model_load(&qn_files_system, file, NULL, &m, &err) != QN_OK)
        stop(err.text);
    if (m->ort == NULL || m->ort->is_one_by_one || m->info.outputs != 1)
        stop("a model with one output that ONNX Runtime runs in batches is needed");
    inputs = m->info.inputs;
    b->model = m;
    b->columns = qn_mem_zalloc(inputs, sizeof(*b->columns));
    b->values = qn_mem_aligned(64, (size_t)inputs * STRIDE * sizeof(double));
    b->scratch = qn_mem_aligned(64, (qn_model_scratch_bytes(m, QN_MODEL_BLOCK) + 63) / 64 * 64);
    QN_ASSERT(b->columns != NULL && b->values != NULL && b->scratch != NULL);
    for (size_t i = 0; i < (size_t)inputs * STRIDE; i++) {
        step = step * 6364136223846793005u + 1442695040888963407u;
        b->values[i] = (double)(step >> 40) * 0x1p-23 - 1;
    }
}

int main(int argc, char **argv)
{
    static struct bench b;
    static double bare[PASSES_MAX], ours[PASSES_MAX];
    int64_t passes;

    if (argc != 4 || !qn_text_int64(qn_str_of(argv[3]), &passes) || passes < 1 ||
        passes > PASSES_MAX)
        stop("bench_onnx LIBRARY MODEL PASSES");
    open_model(&b, argv[1], argv[2]);
    printf("| rows in a call | Run alone | through Quern | added, ns |\n|---:|---:|---:|---:|\n");
    for (uint32_t i = 0; i < b.model->ort->class_count; i++) {
        const uint32_t rows = b.model->ort->class_rows[i];

        b.class = &b.model->ort->runs[0].classes[i];
        for (unsigned p = 0; p < (unsigned)passes; p++) {
            bare[p] = run_bare(&b);
            ours[p] = run_ours(&b, rows, p);
        }
        qsort(bare, (size_t)passes, sizeof(bare[0]), by_value);
        qsort(ours, (size_t)passes, sizeof(ours[0]), by_value);
        printf("| %u | %.0f (%.0f) | %.0f (%.0f) | %.0f (%.0f) |\n", rows, bare[passes / 2],
               bare[0], ours[passes / 2], ours[0], ours[passes / 2] - bare[passes / 2],
               ours[0] - bare[0]);
    }
    return 0;
}
