/* SPDX-License-Identifier: Apache-2.0
 * bench_explain.c - nanoseconds per row of contributions beside the score's, and beside peers.
 *
 *   bench_explain MODEL [PASSES [cpu=NAME] [xgboost=library:file] [lightgbm=library:file]...]
 *
 * One thread, CPU time, passes interleaved, columns in cache; batch 1 to 1,024; rows rotate, drawn
 * from the model's cuts and their neighbours. `cpu`: as QUERN_CPU. Quern's contributions must have
 * the same bits in every batch, with tables and without, and agree with XGBoost's to 1e-4 of the
 * row's size; exit code 3 if not. LightGBM takes the trees as text of bench/models.py, without
 * their covers: the same work, other numbers. Printed: one JSON line per engine and batch, medians
 * and minima; `without` is Quern without tables made before. See bench/models.py. */
#include "base/check.h"
#include "base/number.h"
#include "model/treeshap.h"

#include "model/model_int.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PASSES_MAX = 99, ROWS = 2048, BATCH_MAX = 1024, ENGINES = 5 };
static const uint32_t BATCHES[] = {1, 16, 64, 1024};
enum { BATCH_COUNT = sizeof(BATCHES) / sizeof(BATCHES[0]) };

struct rows {
    const double **columns;
    float *matrix; /* the same, row-major */
    uint32_t inputs;
    size_t parts; /* contributions of a row */
};

/* out[part * BATCH_MAX + row]; peers leave it alone but for the first batch of 64. */
struct engine {
    const char *name;
    void (*explain)(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                    double *out);
    uint32_t rows[BATCH_COUNT]; /* of a pass; slow engines get fewer */
    double ns[BATCH_COUNT][PASSES_MAX];
    const struct qn_model *model;
    const struct qn_explain_tables *tables;
    void *scratch;
    void *library, *handle;
    void (*function)(void);
};

static void stop(const char *engine, const char *why)
{
    fprintf(stderr, "bench_explain: %s: %s\n", engine, why);
    exit(1);
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- rows ---- */

static uint64_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % below);
}

/* The cuts of one column, as often as nodes use them, and the floats before them; 3 % missing. */
static void fill_column(const struct qn_model *m, uint32_t column, double *out)
{
    const struct qn_forest *f = &m->forest;
    float *cuts = qn_mem_zalloc(f->node_count + 1, sizeof(*cuts));
    uint32_t n = 0;

    QN_ASSERT(cuts != NULL);
    for (size_t i = 0; i < f->node_count; i++) {
        const struct qn_node *node = &f->nodes[i];

        if (node->flags & QN_NODE_LEAF || node->column != column)
            continue;
        if (node->flags & QN_NODE_CATEGORY)
            cuts[n++] = (float)draw(100);
        else if (isfinite(node->value))
            cuts[n++] = (float)node->value;
    }
    for (uint32_t r = 0; r < ROWS; r++) {
        const float x = n == 0 ? (float)draw(1000) : cuts[draw(n)];

        out[r] = (double)x;
        if (draw(100) < 3)
            out[r] = (double)NAN;
        else if (draw(2) == 0)
            out[r] = (double)nextafterf(x, -INFINITY);
    }
    qn_mem_free(cuts);
}

static void draw_rows(const struct qn_model *m, struct rows *x)
{
    x->inputs = m->info.inputs;
    x->parts = (size_t)m->info.outputs * (x->inputs + 1);
    x->columns = qn_mem_zalloc(x->inputs + 1u, sizeof(*x->columns));
    x->matrix = qn_mem_zalloc((size_t)x->inputs * ROWS, sizeof(*x->matrix));
    QN_ASSERT(x->columns != NULL && x->matrix != NULL);
    for (uint32_t i = 0; i < x->inputs; i++) {
        /* not a power of two apart, or all columns compete for the same lines of the cache */
        double *column = qn_mem_aligned(64, (ROWS + 8) * sizeof(double));

        QN_ASSERT(column != NULL);
        fill_column(m, i, column);
        x->columns[i] = column;
        for (uint32_t r = 0; r < ROWS; r++)
            x->matrix[(size_t)r * x->inputs + i] = (float)column[r];
    }
}

/* ---- Quern ---- */

static void quern_score(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                        double *out)
{
    const double *columns[QN_MODEL_INPUTS_MAX];

    for (uint32_t i = 0; i < x->inputs; i++)
        columns[i] = x->columns[i] + first;
    qn_model_score(e->model, columns, batch, e->scratch, out, NULL, BATCH_MAX);
}

static void quern_explain(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                          double *out)
{
    const double *columns[QN_MODEL_INPUTS_MAX];

    for (uint32_t i = 0; i < x->inputs; i++)
        columns[i] = x->columns[i] + first;
    qn_model_explain(e->model, e->tables, columns, batch, e->scratch, out, BATCH_MAX);
}

/* ---- peers ---- */

static void find(const struct engine *e, const char *name, void *function)
{
    void *symbol = dlsym(e->library, name);

    if (symbol == NULL)
        stop(e->name, name);
    memcpy(function, &symbol, sizeof(symbol));
}

static void put(const struct rows *x, const float *result, uint32_t batch, double *out)
{
    for (uint32_t r = 0; r < batch; r++) {
        for (size_t p = 0; p < x->parts; p++)
            out[p * BATCH_MAX + r] = (double)result[r * x->parts + p];
    }
}

/* pred_contribs takes a DMatrix only, so its making counts. */
static void xgboost_explain(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                            double *out)
{
    static const char options[] = "{\"type\":2,\"training\":false,\"iteration_begin\":0,"
                                  "\"iteration_end\":0,\"strict_shape\":false}";
    int (*predict)(void *, void *, const char *, const uint64_t **, uint64_t *, const float **);
    int (*create)(const float *, uint64_t, uint64_t, float, void **);
    int (*destroy)(void *);
    const uint64_t *shape;
    uint64_t dims;
    const float *result;
    void *matrix;

    memcpy(&predict, &e->function, sizeof(predict));
    find(e, "XGDMatrixCreateFromMat", &create);
    find(e, "XGDMatrixFree", &destroy);
    if (create(x->matrix + (size_t)first * x->inputs, batch, x->inputs, NAN, &matrix) != 0 ||
        predict(e->handle, matrix, options, &shape, &dims, &result) != 0)
        stop(e->name, "prediction failed");
    put(x, result, batch, out);
    destroy(matrix);
}

static void open_xgboost(struct engine *e, const char *file)
{
    int (*create)(const void *, uint64_t, void **);
    int (*load)(void *, const char *);
    int (*set)(void *, const char *, const char *);

    find(e, "XGBoosterCreate", &create);
    find(e, "XGBoosterLoadModel", &load);
    find(e, "XGBoosterSetParam", &set);
    find(e, "XGBoosterPredictFromDMatrix", &e->function);
    if (create(NULL, 0, &e->handle) != 0 || load(e->handle, file) != 0 ||
        set(e->handle, "nthread", "1") != 0)
        stop(e->name, "the model cannot be loaded");
    e->explain = xgboost_explain;
}

enum { LGB_FLOAT = 0, LGB_CONTRIB = 3 };

static void lightgbm_explain(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                             double *out)
{
    int (*predict)(void *, const void *, int, int32_t, int32_t, int, int, int, int, const char *,
                   int64_t *, double *);
    int64_t count;

    memcpy(&predict, &e->function, sizeof(predict));
    if (predict(e->handle, x->matrix + (size_t)first * x->inputs, LGB_FLOAT, (int32_t)batch,
                (int32_t)x->inputs, 1, LGB_CONTRIB, 0, -1, "num_threads=1", &count, out) != 0)
        stop(e->name, "prediction failed");
}

static void open_lightgbm(struct engine *e, const char *file)
{
    int (*load)(const char *, int *, void **);
    int iterations;

    find(e, "LGBM_BoosterCreateFromModelfile", &load);
    find(e, "LGBM_BoosterPredictForMat", &e->function);
    if (load(file, &iterations, &e->handle) != 0)
        stop(e->name, "the model cannot be loaded");
    e->explain = lightgbm_explain;
}

static void open_peer(struct engine *e, char *word)
{
    static const uint32_t rows[BATCH_COUNT] = {32, 64, 128, 1024};
    char *library = strchr(word, '='), *file = library != NULL ? strchr(library, ':') : NULL;

    if (file == NULL)
        stop(word, "engine=library:file is expected");
    *library++ = *file++ = '\0';
    e->name = word;
    memcpy(e->rows, rows, sizeof(rows));
    e->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (e->library == NULL)
        stop(word, dlerror());
    if (strcmp(word, "xgboost") == 0)
        open_xgboost(e, file);
    else if (strcmp(word, "lightgbm") == 0)
        open_lightgbm(e, file);
    else
        stop(word, "no such engine");
}

/* ---- answers ---- */

static bool same_bits(struct engine *e, const struct rows *x, const double *want, double *out)
{
    for (unsigned b = 0; b < BATCH_COUNT; b++) {
        for (uint32_t first = 0; first + BATCHES[b] <= 64 || (first == 0 && b == BATCH_COUNT - 1);
             first += BATCHES[b]) {
            const uint32_t rows = BATCHES[b] < 64 ? BATCHES[b] : 64;

            e->explain(e, x, first, BATCHES[b], out);
            for (size_t p = 0; p < x->parts; p++) {
                if (memcmp(out + p * BATCH_MAX, want + p * BATCH_MAX + first,
                           rows * sizeof(double)) != 0) {
                    fprintf(stderr, "bench_explain: %s: batch %u shows\n", e->name, BATCHES[b]);
                    return false;
                }
            }
        }
    }
    return true;
}

static bool is_near(const struct engine *e, const struct rows *x, const double *want,
                    const double *out)
{
    for (uint32_t r = 0; r < 64; r++) {
        double size = 1, furthest = 0;

        for (size_t p = 0; p < x->parts; p++) {
            size += fabs(want[p * BATCH_MAX + r]);
            furthest = fmax(furthest, fabs(want[p * BATCH_MAX + r] - out[p * BATCH_MAX + r]));
        }
        if (!(furthest <= 1e-4 * size)) {
            fprintf(stderr, "bench_explain: %s: row %u is %g off\n", e->name, r, furthest);
            return false;
        }
    }
    return true;
}

static bool check(struct engine *engines, unsigned count, const struct rows *x, double *out)
{
    double *want = qn_mem_zalloc(x->parts * BATCH_MAX, sizeof(double));
    bool good = true;

    QN_ASSERT(want != NULL);
    engines[1].explain(&engines[1], x, 0, 64, want);
    good = same_bits(&engines[1], x, want, out) && same_bits(&engines[2], x, want, out);
    for (unsigned i = 3; i < count; i++) {
        engines[i].explain(&engines[i], x, 0, 64, out);
        if (engines[i].explain == xgboost_explain)
            good = is_near(&engines[i], x, want, out) && good;
    }
    qn_mem_free(want);
    return good;
}

/* ---- times ---- */

static double pass(struct engine *e, const struct rows *x, unsigned b, double *out)
{
    const uint32_t batches = e->rows[b] / BATCHES[b];
    double start;

    e->explain(e, x, 0, BATCHES[b], out); /* the caches are another's */
    start = now_ns();
    for (uint32_t i = 0; i < batches; i++)
        e->explain(e, x, i * BATCHES[b], BATCHES[b], out);
    return (now_ns() - start) / (batches * BATCHES[b]);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure(struct engine *engines, unsigned count, const struct rows *x, unsigned passes,
                    double *out)
{
    for (unsigned p = 0; p < passes; p++) {
        for (unsigned i = 0; i < count; i++) {
            for (unsigned b = 0; b < BATCH_COUNT; b++)
                engines[i].ns[b][p] = pass(&engines[i], x, b, out);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        for (unsigned b = 0; b < BATCH_COUNT; b++) {
            double *t = engines[i].ns[b];

            qsort(t, passes, sizeof(*t), by_value);
            printf("{\"engine\":\"%s\",\"batch\":%u,\"ns\":%.1f,\"min\":%.1f}\n", engines[i].name,
                   BATCHES[b], t[passes / 2], t[0]);
        }
    }
}

int main(int argc, char **argv)
{
    static struct engine engines[ENGINES] = {
        {.name = "score", .explain = quern_score, .rows = {ROWS, ROWS, ROWS, ROWS}},
        {.name = "quern", .explain = quern_explain, .rows = {64, 1024, ROWS, ROWS}},
        {.name = "without", .explain = quern_explain, .rows = {8, 128, 512, ROWS}}};
    struct qn_arena boot = {0};
    struct rows x = {0};
    struct qn_err err = {0};
    struct qn_model *m = NULL;
    unsigned count = 3;
    int64_t passes = 5;
    double *out, start;
    bool good;

    if (argc < 2 || (argc > 2 && !qn_text_int64(qn_str_of(argv[2]), &passes)) || passes < 1 ||
        passes > PASSES_MAX) {
        fprintf(stderr, "bench_explain MODEL [PASSES [cpu=NAME] [engine=library:file]...]\n");
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        if (strncmp(argv[i], "cpu=", 4) != 0 && count < ENGINES)
            open_peer(&engines[count++], argv[i]);
        else if (!qn_model_cap(argv[i] + 4))
            stop(argv[i], "unknown");
    }
    if (qn_model_load(&qn_files_system, argv[1], NULL, &m, &err) != QN_OK)
        stop("quern", err.text);
    if (qn_model_explain_obstacle(m) != NULL)
        stop("quern", qn_model_explain_obstacle(m));
    start = now_ns();
    if (qn_model_explain_tables(m, &boot, &engines[1].tables, &err) != QN_OK)
        stop("quern", err.text);
    printf("{\"kernel\":\"%s\",\"table_kb\":%zu,\"table_ms\":%.1f}\n", m->info.kernel,
           boot.total_bytes / 1024, (now_ns() - start) / 1e6);
    draw_rows(m, &x);
    for (unsigned i = 0; i < 3; i++) {
        const size_t bytes =
            i == 0 ? qn_model_scratch_bytes(m, BATCH_MAX) : qn_model_explain_scratch_bytes(m);

        engines[i].model = m;
        engines[i].scratch = qn_mem_aligned(64, (bytes + 63) / 64 * 64);
        QN_ASSERT(engines[i].scratch != NULL);
    }
    out = qn_mem_zalloc(x.parts * BATCH_MAX, sizeof(double));
    QN_ASSERT(out != NULL);
    good = check(engines, count, &x, out);
    if (good)
        measure(engines, count, &x, (unsigned)passes, out);
    for (unsigned i = 0; i < 3; i++)
        qn_mem_free(engines[i].scratch);
    for (uint32_t i = 0; i < x.inputs; i++)
        qn_mem_free((void *)(uintptr_t)x.columns[i]);
    qn_mem_free(x.columns);
    qn_mem_free(x.matrix);
    qn_mem_free(out);
    qn_arena_fini(&boot);
    qn_model_free(m);
    return good ? 0 : 3;
}
