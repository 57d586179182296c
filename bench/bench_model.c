/* SPDX-License-Identifier: Apache-2.0
 * bench_model.c - nanoseconds per row of every suitable kernel at batch 1 to 1,024.
 *
 *   bench_model MODEL [rows]
 *
 * Rows rotate through a matrix (default 4,096 rows: larger than what a branch predictor learns,
 * small enough for the second cache); values are drawn from the model's own cuts and their
 * neighbourhood, 3 % missing. Passes of the kernels are interleaved; printed is the median of 25
 * passes with minimum and maximum, in CPU time, so that what else runs disturbs less. Build: cc -O3
 * -Isrc with the model and base libraries. */
#include "base/check.h"
#include "base/number.h"
#include "model/model_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PASSES = 25, KERNELS_MAX = 12 };
static const uint32_t BATCHES[] = {1, 4, 8, 16, 64, 1024};
enum { BATCH_COUNT = sizeof(BATCHES) / sizeof(BATCHES[0]) };

static uint64_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % below);
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The cuts of one column, as often as nodes use them. */
static void fill_column(const struct qn_model *m, uint32_t column, uint32_t rows, double *out)
{
    const struct qn_forest *f = &m->forest;
    double *cuts = qn_mem_zalloc(f->node_count + 1, sizeof(double));
    uint32_t n = 0;

    QN_ASSERT(cuts != NULL);
    for (size_t i = 0; i < f->node_count; i++) {
        const struct qn_node *node = &f->nodes[i];

        if (node->flags & QN_NODE_LEAF || node->column != column)
            continue;
        if (node->flags & QN_NODE_CATEGORY)
            cuts[n++] = draw(100);
        else if (isfinite(node->value))
            cuts[n++] = node->value;
    }
    for (uint32_t r = 0; r < rows; r++) {
        out[r] = n == 0 ? draw(1000) : cuts[draw(n)];
        if (draw(100) < 3)
            out[r] = NAN;
        else if (draw(2) == 0)
            out[r] = nextafter(out[r], -INFINITY);
    }
    qn_mem_free(cuts);
}

static double pass(const struct qn_model *m, const double *const *columns, uint32_t rows,
                   uint32_t batch, void *scratch, double *margin)
{
    const struct qn_model_info *info = qn_model_info(m);
    const double **at = qn_mem_zalloc(info->inputs + 1, sizeof(*at));
    const uint32_t limit = batch < 16 ? rows / 8 : rows;
    double start;

    QN_ASSERT(at != NULL);
    start = now_ns();
    for (uint32_t first = 0; first + batch <= limit; first += batch) {
        for (uint32_t i = 0; i < info->inputs; i++)
            at[i] = columns[i] + first;
        qn_model_score(m, at, batch, scratch, margin, NULL, batch);
    }
    start = (now_ns() - start) / (limit / batch * batch);
    qn_mem_free(at);
    return start;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void run(struct qn_model *m, const double *const *columns, uint32_t rows)
{
    static double times[KERNELS_MAX][BATCH_COUNT][PASSES];
    const struct qn_model_info *info = qn_model_info(m);
    void *scratch = qn_mem_aligned(64, (qn_model_scratch_bytes(m, 1024) + 63) / 64 * 64);
    double *margin = qn_mem_zalloc((size_t)info->outputs * 1024, sizeof(double));

    QN_ASSERT(scratch != NULL && margin != NULL);
    for (unsigned p = 0; p < PASSES; p++) {
        for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
            if (!qn_model_force_kernel(m, qn_model_kernel_name(k)))
                continue;
            for (unsigned b = 0; b < BATCH_COUNT; b++) {
                pass(m, columns, rows, BATCHES[b], scratch, margin); /* the caches are another's */
                times[k][b][p] = pass(m, columns, rows, BATCHES[b], scratch, margin);
            }
        }
    }
    for (unsigned k = 0; qn_model_kernel_name(k) != NULL; k++) {
        if (!qn_model_force_kernel(m, qn_model_kernel_name(k)))
            continue;
        for (unsigned b = 0; b < BATCH_COUNT; b++) {
            double *t = times[k][b];

            qsort(t, PASSES, sizeof(*t), by_value);
            printf("%-10s batch %4u  %8.1f ns/row  (%.1f .. %.1f)\n", qn_model_kernel_name(k),
                   BATCHES[b], t[PASSES / 2], t[0], t[PASSES - 1]);
        }
    }
    qn_mem_free(scratch);
    qn_mem_free(margin);
}

int main(int argc, char **argv)
{
    struct qn_model *m = NULL;
    struct qn_err err = {0};
    const struct qn_model_info *info;
    int64_t rows = 4096;
    const double **columns;
    double start = now_ns();

    if (argc < 2 || (argc > 2 && !qn_text_int64(qn_str_of(argv[2]), &rows))) {
        fprintf(stderr, "bench_model MODEL [rows]\n");
        return 2;
    }
    if (qn_model_load(&qn_files_system, argv[1], NULL, &m, &err) != QN_OK) {
        fprintf(stderr, "%s: %s\n", err.file, err.text);
        return 1;
    }
    info = qn_model_info(m);
    printf("%s, %s: %u trees, depth %u, %u inputs, kernel %s (%s), %zu KB, loaded in %.1f ms\n",
           info->format, info->objective, info->trees, info->depth_max, info->inputs, info->kernel,
           info->kernel_reason, info->bytes / 1024, (now_ns() - start) / 1e6);
    columns = qn_mem_zalloc(info->inputs + 1, sizeof(*columns));
    QN_ASSERT(columns != NULL);
    for (uint32_t i = 0; i < info->inputs; i++) {
        /* not a power of two apart, or all columns compete for the same lines of the cache */
        double *column = qn_mem_aligned(64, ((size_t)rows + 8) * sizeof(double));

        QN_ASSERT(column != NULL);
        fill_column(m, i, (uint32_t)rows, column);
        columns[i] = column;
    }
    run(m, columns, (uint32_t)rows);
    for (uint32_t i = 0; i < info->inputs; i++)
        qn_mem_free((void *)(uintptr_t)columns[i]);
    qn_mem_free(columns);
    qn_model_free(m);
    return 0;
}
