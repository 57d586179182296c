/* SPDX-License-Identifier: Apache-2.0
 * bench_explain.c - nanoseconds per row of contributions and of scores, and their ratio.
 *
 *   bench_explain MODEL [passes [cpu]]
 *
 * For what each kind of CPU may use (QUERN_CPU) that this one has, at batch 1 to 1,024, with tables
 * made before and, the last columns, without; all passes interleaved, CPU time, median of the passes (default 5;
 * each has a second of work). Rows rotate as in bench_model; columns are in cache. Before numbers are printed the bits are compared:
 * all CPUs, all batches, with and without tables. Exit code 3: they differ. */
#include "base/check.h"
#include "base/number.h"
#include "model/treeshap.h"

#include "model/model_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PASSES_MAX = 99, ROWS = 2048, CPUS = 4, WORKS = 3 };
static const uint32_t BATCHES[] = {1, 16, 64, 1024};
enum { BATCH_COUNT = sizeof(BATCHES) / sizeof(BATCHES[0]), BATCH_MAX = 1024 };
static const char *const CPU_NAMES[CPUS] = {"portable", "neon", "avx2", "avx512"};

enum work { SCORE, EXPLAIN, WITHOUT }; /* WITHOUT tables */

struct model {
    struct qn_model *m;
    struct qn_arena boot;
    const struct qn_explain_tables *tables;
    void *scratch, *work;
    double times[WORKS][BATCH_COUNT][PASSES_MAX];
};

struct rows {
    const double **columns;
    uint32_t count, inputs;
    double *out; /* [inputs + 1][BATCH_MAX] of one output */
    uint64_t hash;
};

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

/* The cuts of one column, as often as nodes use them, and the numbers before them; 3 % missing. */
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

static void call(struct model *m, struct rows *rows, enum work work, uint32_t batch,
                 const double *const *at)
{
    if (work == SCORE)
        qn_model_score(m->m, at, batch, m->scratch, rows->out, NULL, BATCH_MAX);
    else
        qn_model_explain(m->m, work == EXPLAIN ? m->tables : NULL, at, batch, m->work, rows->out,
                         BATCH_MAX);
}

/* hash: of the contributions, or NULL. */
static double pass(struct model *m, struct rows *rows, enum work work, uint32_t batch,
                   uint64_t *hash)
{
    const uint32_t limit = batch < 16 ? rows->count / 32 : rows->count;
    const double **at = qn_mem_zalloc(rows->inputs + 1u, sizeof(*at));
    const size_t parts = (size_t)qn_model_info(m->m)->outputs * (rows->inputs + 1);
    double start;

    QN_ASSERT(at != NULL);
    start = now_ns();
    for (uint32_t first = 0; first + batch <= limit; first += batch) {
        for (uint32_t i = 0; i < rows->inputs; i++)
            at[i] = rows->columns[i] + first;
        call(m, rows, work, batch, at);
        for (size_t i = 0; hash != NULL && i < batch * parts; i++) {
            uint64_t bits;

            memcpy(&bits, &rows->out[i % parts * BATCH_MAX + i / parts], sizeof(bits));
            *hash = (*hash ^ bits) * 0x9e3779b97f4a7c15u;
        }
    }
    start = (now_ns() - start) / (limit / batch * batch);
    qn_mem_free(at);
    return start;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *t, unsigned passes)
{
    qsort(t, passes, sizeof(*t), by_value);
    return t[passes / 2];
}

/* Whether all ways give the same bits. */
static bool agree(struct model *models, struct rows *rows)
{
    uint64_t want[2] = {0, 0}; /* of a few of the rows, of all */

    for (unsigned c = 0; c < CPUS; c++) {
        for (unsigned b = 0; models[c].m != NULL && b < BATCH_COUNT; b++) {
            for (enum work w = EXPLAIN; w <= WITHOUT; w++) {
                uint64_t hash = 0, *wanted = &want[BATCHES[b] >= 16];

                (void)pass(&models[c], rows, w, BATCHES[b], &hash);
                if (*wanted == 0)
                    *wanted = hash;
                if (hash != *wanted) {
                    fprintf(stderr, "%s, batch %u: other bits\n", CPU_NAMES[c], BATCHES[b]);
                    return false;
                }
            }
        }
    }
    return true;
}

static void run(struct model *models, struct rows *rows, unsigned passes)
{
    for (unsigned p = 0; p < passes; p++) {
        for (unsigned c = 0; c < CPUS; c++) {
            for (unsigned b = 0; models[c].m != NULL && b < BATCH_COUNT; b++) {
                for (enum work w = SCORE; w <= WITHOUT; w++) {
                    if (w == WITHOUT && BATCHES[b] == 16)
                        continue; /* takes long */
                    if (w == SCORE) /* the caches are another's */
                        (void)pass(&models[c], rows, w, BATCHES[b], NULL);
                    models[c].times[w][b][p] = pass(&models[c], rows, w, BATCHES[b], NULL);
                }
            }
        }
    }
    for (unsigned c = 0; c < CPUS; c++) {
        for (unsigned b = 0; models[c].m != NULL && b < BATCH_COUNT; b++) {
            const double score = median(models[c].times[SCORE][b], passes);
            const double explain = median(models[c].times[EXPLAIN][b], passes);
            const double without = median(models[c].times[WITHOUT][b], passes);

            printf("%-8s batch %4u  score %8.1f  explain %9.1f  ratio %6.1f", CPU_NAMES[c],
                   BATCHES[b], score, explain, explain / score);
            if (BATCHES[b] != 16)
                printf("  without tables %9.1f", without);
            printf("\n");
        }
    }
}

static bool prepare(struct model *to, const char *path, const char *cpu, struct qn_err *err)
{
    double start;

    if (!qn_model_cap(cpu) || qn_model_load(&qn_files_system, path, NULL, &to->m, err) != QN_OK)
        return false;
    if (qn_model_explain_obstacle(to->m) != NULL) {
        qn_err_set(err, QN_UNSUPPORTED, "%s", qn_model_explain_obstacle(to->m));
        return false;
    }
    start = now_ns();
    if (qn_model_explain_tables(to->m, &to->boot, &to->tables, err) != QN_OK)
        return false;
    printf("%-8s kernel %s, tables of %zu KB made in %.1f ms\n", cpu, qn_model_info(to->m)->kernel,
           to->boot.total_bytes / 1024, (now_ns() - start) / 1e6);
    to->scratch = qn_mem_aligned(64, (qn_model_scratch_bytes(to->m, BATCH_MAX) + 63) / 64 * 64);
    to->work = qn_mem_aligned(64, (qn_model_explain_scratch_bytes(to->m) + 63) / 64 * 64);
    QN_ASSERT(to->scratch != NULL && to->work != NULL);
    return true;
}

int main(int argc, char **argv)
{
    static struct model models[CPUS];
    struct rows rows = {.count = ROWS};
    struct qn_err err = {0};
    int64_t passes = 5;
    const struct qn_model *m = NULL;
    int rc = 0;

    if (argc < 2 || (argc > 2 && !qn_text_int64(qn_str_of(argv[2]), &passes)) || passes < 1 ||
        passes > PASSES_MAX) {
        fprintf(stderr, "bench_explain MODEL [passes [cpu]]\n");
        return 2;
    }
    for (unsigned c = 0; c < CPUS; c++) {
        qn_model_cap(NULL);
        if (c > 0 && !qn_model_cpu_has((enum qn_model_cpu)c))
            continue;
        if (argc > 3 && strcmp(argv[3], CPU_NAMES[c]) != 0)
            continue;
        if (!prepare(&models[c], argv[1], CPU_NAMES[c], &err)) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        m = models[c].m;
    }
    QN_ASSERT(m != NULL);
    rows.inputs = m->info.inputs;
    rows.columns = qn_mem_zalloc(rows.inputs + 1u, sizeof(*rows.columns));
    rows.out = qn_mem_zalloc((size_t)m->info.outputs * (rows.inputs + 1) * BATCH_MAX, 8);
    QN_ASSERT(rows.columns != NULL && rows.out != NULL);
    for (uint32_t i = 0; i < rows.inputs; i++) {
        /* not a power of two apart, or all columns compete for the same lines of the cache */
        double *column = qn_mem_aligned(64, ((size_t)rows.count + 8) * sizeof(double));

        QN_ASSERT(column != NULL);
        fill_column(m, i, rows.count, column);
        rows.columns[i] = column;
    }
    if (agree(models, &rows))
        run(models, &rows, (unsigned)passes);
    else
        rc = 3;
    for (uint32_t i = 0; i < rows.inputs; i++)
        qn_mem_free((void *)(uintptr_t)rows.columns[i]);
    qn_mem_free(rows.columns);
    qn_mem_free(rows.out);
    for (unsigned c = 0; c < CPUS; c++) {
        qn_mem_free(models[c].scratch);
        qn_mem_free(models[c].work);
        qn_arena_fini(&models[c].boot);
        qn_model_free(models[c].m);
    }
    return rc;
}
