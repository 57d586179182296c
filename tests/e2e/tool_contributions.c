/* SPDX-License-Identifier: Apache-2.0
 * tool_contributions.c - contributions on the command line, for test_contributions.py.
 *
 *   tool_contributions [-b batch] [-c cpu] [-m missing] [-n repeats] [-t 0|1] MODEL IN OUT
 *
 * IN: float64, little-endian, row-major, info.inputs per row. OUT: for each row info.outputs
 * margins, then info.outputs times (info.inputs + 1) contributions, the bias last, float64. -t 0:
 * without tables made before. -c: as QUERN_CPU. With -n it does the work so often and prints
 * nanoseconds per row of scoring and explaining. Exit code 1:
 * the model cannot be loaded; 4: it cannot be explained; the reason goes to stderr. Every batch has
 * memory of its own, so that AddressSanitizer sees a step too far. */
#include "base/check.h"
#include "base/clock.h"
#include "base/number.h"
#include "model/treeshap.h"

#include <stdio.h>

struct job {
    struct qn_model *model;
    const struct qn_explain_tables *tables;
    const double *matrix;
    size_t rows;
    uint32_t batch;
    double *out;
    int64_t score_ns, explain_ns;
};

static int64_t now(void)
{
    return qn_clock_system.mono_ns(qn_clock_system.st);
}

static void run_batch(struct job *j, size_t first, uint32_t rows)
{
    const struct qn_model_info *info = qn_model_info(j->model);
    const size_t parts = (size_t)info->outputs * (info->inputs + 1), width = info->outputs + parts;
    const double **columns = qn_mem_zalloc(info->inputs + 1, sizeof(*columns));
    double *values = qn_mem_zalloc((size_t)info->inputs * rows + 1, sizeof(double));
    double *margin = qn_mem_zalloc((size_t)info->outputs * rows, sizeof(double));
    double *contributions = qn_mem_zalloc(parts * rows, sizeof(double));
    void *scratch = qn_mem_aligned(64, (qn_model_scratch_bytes(j->model, rows) + 63) / 64 * 64);
    void *work = qn_mem_aligned(64, (qn_model_explain_scratch_bytes(j->model) + 63) / 64 * 64);
    int64_t start;

    QN_ASSERT(columns && values && margin && contributions && scratch && work);
    for (uint32_t i = 0; i < info->inputs; i++) {
        for (uint32_t r = 0; r < rows; r++)
            values[(size_t)i * rows + r] = j->matrix[(first + r) * info->inputs + i];
        columns[i] = values + (size_t)i * rows;
    }
    start = now();
    qn_model_score(j->model, columns, rows, scratch, margin, NULL, rows);
    j->score_ns += now() - start;
    start = now();
    qn_model_explain(j->model, j->tables, columns, rows, work, contributions, rows);
    j->explain_ns += now() - start;
    for (uint32_t r = 0; r < rows; r++) {
        double *to = j->out + (first + r) * width;

        for (uint32_t k = 0; k < info->outputs; k++)
            to[k] = margin[(size_t)k * rows + r];
        for (size_t i = 0; i < parts; i++)
            to[info->outputs + i] = contributions[i * rows + r];
    }
    qn_mem_free(columns);
    qn_mem_free(values);
    qn_mem_free(margin);
    qn_mem_free(contributions);
    qn_mem_free(scratch);
    qn_mem_free(work);
}

static int run(struct job *j, const char *in_path, const char *out_path, int64_t repeats)
{
    const struct qn_model_info *info = qn_model_info(j->model);
    const size_t width = (size_t)info->outputs * (info->inputs + 2);
    struct qn_buf in = {0};
    struct qn_err err = {0};
    int fd;

    if (qn_file_read_all(&qn_files_system, in_path, (size_t)1 << 32, &in, &err) != QN_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    j->matrix = (const double *)(void *)in.data;
    j->rows = in.len / (info->inputs * sizeof(double));
    j->out = qn_mem_zalloc(j->rows * width + 1, sizeof(double));
    QN_ASSERT(j->out != NULL);
    for (int64_t n = 0; n < repeats; n++)
        for (size_t first = 0; first < j->rows; first += j->batch)
            run_batch(j, first,
                      j->rows - first < j->batch ? (uint32_t)(j->rows - first) : j->batch);
    if (repeats > 1)
        printf("score %.1f ns/row, explain %.1f ns/row\n",
               (double)j->score_ns / (double)repeats / (double)j->rows,
               (double)j->explain_ns / (double)repeats / (double)j->rows);
    fd = qn_files_system.open(qn_files_system.st, out_path, QN_OPEN_REPLACE);
    if (fd < 0 || qn_file_write_all(&qn_files_system, fd, out_path, j->out,
                                    j->rows * width * sizeof(double), &err) != QN_OK) {
        fprintf(stderr, "cannot write %s\n", out_path);
        return 1;
    }
    qn_files_system.close(qn_files_system.st, fd);
    qn_mem_free(j->out);
    qn_buf_fini(&in);
    return 0;
}

int main(int argc, char **argv)
{
    struct job j = {.batch = 64};
    struct qn_model_options opt = {0};
    struct qn_arena boot = {0};
    struct qn_err err = {0};
    bool has_tables = true;
    int64_t n, repeats = 1;
    int i = 1, rc = 4;

    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        struct qn_str value = qn_str_of(argv[i + 1]);

        if (argv[i][1] == 'b' && qn_text_int64(value, &n) && n > 0)
            j.batch = (uint32_t)n;
        else if (argv[i][1] == 'n' && qn_text_int64(value, &n) && n > 0)
            repeats = n;
        else if (argv[i][1] == 't' && qn_text_int64(value, &n))
            has_tables = n != 0;
        else if (argv[i][1] == 'c' && qn_model_cap(argv[i + 1]))
            continue;
        else if (argv[i][1] == 'm' && qn_text_double(value, &opt.missing))
            opt.has_missing = true;
        else
            return 2;
    }
    if (argc - i != 3)
        return 2;
    if (qn_model_load(&qn_files_system, argv[i], &opt, &j.model, &err) != QN_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (qn_model_explain_obstacle(j.model) == NULL && has_tables)
        QN_ASSERT(qn_model_explain_tables(j.model, &boot, &j.tables, &err) == QN_OK);
    if (qn_model_explain_obstacle(j.model) == NULL)
        rc = run(&j, argv[i + 1], argv[i + 2], repeats);
    else
        fprintf(stderr, "%s\n", qn_model_explain_obstacle(j.model));
    qn_arena_fini(&boot);
    qn_model_free(j.model);
    return rc;
}
