/* SPDX-License-Identifier: Apache-2.0
 * tool_model.c - the model room on the command line, for test_models.py: scores a matrix and prints
 * the model's facts.
 *
 *   tool_model [-k kernel] [-b batch] [-t best] [-m missing] [-o output] [-c column] MODEL [IN OUT]
 *
 * Batch 0: the answers of 1,024 rows at a time are written, after the first 260 rows gave the same
 * bits in batches of every size from 1 to 130, on one thread and on two.
 *
 * IN: float64, little-endian, row-major, info.inputs per row. OUT: for each row info.outputs
 * margins, then info.predictions predictions, float64. Facts go to stdout, one "name value" per
 * line; errors to stderr, exit code 1. Columns end where their memory ends, so that
 * AddressSanitizer sees a read too far. */
#include "base/check.h"
#include "base/number.h"
#include "model/model_int.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct arguments {
    const char *kernel, *path, *in, *out;
    uint32_t batch;
    struct qn_model_options opt;
};

static int usage(void)
{
    fprintf(stderr, "tool_model [-k kernel] [-b batch] [-t best] [-m missing] [-o output] "
                    "[-c column] MODEL [IN OUT]\n");
    return 2;
}

static bool parse(int argc, char **argv, struct arguments *a)
{
    int i = 1;
    int64_t n;

    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        struct qn_str value = qn_str_of(argv[i + 1]);

        if (strcmp(argv[i], "-k") == 0)
            a->kernel = argv[i + 1];
        else if (strcmp(argv[i], "-b") == 0 && qn_text_int64(value, &n) && n >= 0)
            a->batch = (uint32_t)n;
        else if (strcmp(argv[i], "-t") == 0)
            a->opt.trees = strcmp(argv[i + 1], "best") == 0 ? QN_TREES_BEST : QN_TREES_ALL;
        else if (strcmp(argv[i], "-m") == 0 && qn_text_double(value, &a->opt.missing))
            a->opt.has_missing = true;
        else if (strcmp(argv[i], "-o") == 0)
            a->opt.output = argv[i + 1];
        else if (strcmp(argv[i], "-c") == 0 && qn_text_int64(value, &n) && n >= 0)
            a->opt.has_column = true, a->opt.column = (uint32_t)n;
        else
            return false;
    }
    if (argc - i != 1 && argc - i != 3)
        return false;
    a->path = argv[i];
    a->in = argc - i == 3 ? argv[i + 1] : NULL;
    a->out = argc - i == 3 ? argv[i + 2] : NULL;
    return true;
}

static void print_facts(const struct qn_model *m)
{
    const struct qn_model_info *info = qn_model_info(m);

    printf("format %s\nobjective %s\nversion %s\ninputs %u\noutputs %u\npredictions %u\n",
           info->format, info->objective, info->version, info->inputs, info->outputs,
           info->predictions);
    printf("is_float %d\ntrees %u\ntrees_in_file %u\ndepth_max %u\nnodes %u\nleaves %u\n",
           info->is_float, info->trees, info->trees_in_file, info->depth_max, info->nodes,
           info->leaves);
    printf("kernel %s\nkernel_reason %s\nbytes %zu\n", info->kernel, info->kernel_reason,
           info->bytes);
    for (uint32_t i = 0; i < info->inputs && info->input_names != NULL; i++)
        printf("input %.*s\n", QN_STR_ARG(info->input_names[i]));
}

/* One batch: rows [first, first + rows) of the row-major matrix. */
static void score_batch(const struct qn_model *m, const double *matrix, size_t first, uint32_t rows,
                        double *out)
{
    const struct qn_model_info *info = qn_model_info(m);
    const double **columns = qn_mem_zalloc(info->inputs + 1, sizeof(*columns));
    double *margin = qn_mem_zalloc((size_t)info->outputs * rows, sizeof(double));
    double *prediction = qn_mem_zalloc((size_t)info->outputs * rows, sizeof(double));
    void *scratch = qn_mem_aligned(64, (qn_model_scratch_bytes(m, rows) + 63) / 64 * 64);
    const size_t width = info->outputs + info->predictions;

    QN_ASSERT(columns != NULL && margin != NULL && prediction != NULL && scratch != NULL);
    for (uint32_t i = 0; i < info->inputs; i++) {
        double *column = qn_mem_alloc(rows * sizeof(double));

        QN_ASSERT(column != NULL);
        for (uint32_t r = 0; r < rows; r++)
            column[r] = matrix[(first + r) * info->inputs + i];
        columns[i] = column;
    }
    qn_model_score(m, columns, rows, scratch, margin, prediction, rows);
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t k = 0; k < info->outputs; k++)
            out[(first + r) * width + k] = margin[(size_t)k * rows + r];
        for (uint32_t k = 0; k < info->predictions; k++)
            out[(first + r) * width + info->outputs + k] = prediction[(size_t)k * rows + r];
    }
    for (uint32_t i = 0; i < info->inputs; i++)
        qn_mem_free((void *)(uintptr_t)columns[i]);
    qn_mem_free(columns);
    qn_mem_free(margin);
    qn_mem_free(prediction);
    qn_mem_free(scratch);
}

enum { SWEEP_ROWS = 260, SWEEP_BATCH_MAX = 130 };

struct part { /* every second batch, or all of them */
    const struct qn_model *m;
    const double *matrix;
    size_t rows, first, step;
    uint32_t batch;
    double *out;
};

static void *score_part(void *arg)
{
    const struct part *p = arg;

    for (size_t i = p->first; i * p->batch < p->rows; i += p->step) {
        const size_t first = i * p->batch, left = p->rows - first;

        score_batch(p->m, p->matrix, first, left < p->batch ? (uint32_t)left : p->batch, p->out);
    }
    return NULL;
}

/* Whether `rows` rows have the bits of `want` whatever the batch and the threads; says where not.
 */
static bool sweep(const struct qn_model *m, const double *matrix, size_t rows, const double *want)
{
    const struct qn_model_info *info = qn_model_info(m);
    const size_t bytes = rows * (info->outputs + info->predictions) * sizeof(double);
    double *out = qn_mem_zalloc(bytes + 1, 1);
    bool same = true;

    QN_ASSERT(out != NULL);
    for (uint32_t batch = 1; batch <= SWEEP_BATCH_MAX && same; batch++)
        for (size_t threads = 1; threads <= 2 && same; threads++) {
            struct part parts[2];
            pthread_t other;

            for (size_t i = 0; i < threads; i++)
                parts[i] = (struct part){m, matrix, rows, i, threads, batch, out};
            memset(out, 0xee, bytes);
            if (threads == 2)
                QN_ASSERT(pthread_create(&other, NULL, score_part, &parts[1]) == 0);
            score_part(&parts[0]);
            if (threads == 2)
                QN_ASSERT(pthread_join(other, NULL) == 0);
            same = memcmp(out, want, bytes) == 0;
            if (!same)
                fprintf(stderr, "kernel %s: other bits in batches of %u, %zu threads\n",
                        info->kernel, batch, threads);
        }
    qn_mem_free(out);
    return same;
}

static int score_file(const struct qn_model *m, const struct arguments *a)
{
    const struct qn_model_info *info = qn_model_info(m);
    struct qn_buf in = {0};
    struct qn_err err = {0};
    const size_t width = info->outputs + info->predictions;
    const uint32_t batch = a->batch == 0 ? 1024 : a->batch;
    size_t rows;
    double *out;
    int fd;

    if (qn_file_read_all(&qn_files_system, a->in, (size_t)1 << 32, &in, &err) != QN_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    rows = info->inputs > 0 ? in.len / (info->inputs * sizeof(double)) : 0;
    out = qn_mem_zalloc(rows * width + 1, sizeof(double));
    QN_ASSERT(out != NULL);
    score_part(&(struct part){m, (const double *)(void *)in.data, rows, 0, 1, batch, out});
    if (a->batch == 0 &&
        !sweep(m, (const double *)(void *)in.data, rows < SWEEP_ROWS ? rows : SWEEP_ROWS, out))
        return 1;
    fd = qn_files_system.open(qn_files_system.st, a->out, QN_OPEN_REPLACE);
    if (fd < 0 || qn_file_write_all(&qn_files_system, fd, a->out, out,
                                    rows * width * sizeof(double), &err) != QN_OK) {
        fprintf(stderr, "cannot write %s\n", a->out);
        return 1;
    }
    qn_files_system.close(qn_files_system.st, fd);
    qn_mem_free(out);
    qn_buf_fini(&in);
    return 0;
}

int main(int argc, char **argv)
{
    struct arguments a = {.batch = 1024};
    struct qn_model *m = NULL;
    struct qn_err err = {0};
    int rc = 0;

    if (!parse(argc, argv, &a))
        return usage();
    qn_model_onnxruntime(getenv("QUERN_ONNXRUNTIME"));
    if (qn_model_load(&qn_files_system, a.path, &a.opt, &m, &err) != QN_OK) {
        fprintf(stderr, "%s: %s: %s", err.file, qn_status_name(err.code), err.text);
        if (err.line > 0)
            fprintf(stderr, " (line %u)", err.line);
        if (err.has_offset)
            fprintf(stderr, " (byte %llu)", (unsigned long long)err.offset);
        fprintf(stderr, "\n");
        return 1;
    }
    if (a.kernel != NULL && !qn_model_force_kernel(m, a.kernel)) {
        fprintf(stderr, "kernel '%s' is not suitable\n", a.kernel);
        qn_model_free(m);
        return 3;
    }
    print_facts(m);
    if (a.in != NULL)
        rc = score_file(m, &a);
    qn_model_free(m);
    return rc;
}
