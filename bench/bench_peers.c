/* SPDX-License-Identifier: Apache-2.0
 * bench_peers.c - nanoseconds per row of one forest in every engine that is there, in one process.
 *
 *   bench_peers MODEL ROWS PASSES [engine=library:file]...
 *
 * MODEL: as Quern loads it. ROWS: float32, row-major, one row after the other. An engine is
 * xgboost, lightgbm, onnxruntime or lleaves, with the shared library of it and the same model in
 * its format; of lleaves the library is the compiled model; catboost is the library of its Java
 * package (peer_catboost.h). Or it is catboost-python or ydf: then the program that answers for it
 * (peer_python.py) stands for the library, and times its own calls on this core when it is asked.
 * All engines take the same rows from memory in row-major order, at batch 1, 16, 64 and 1,024, one
 * after the other in every pass, on one thread; rows rotate, so that no branch predictor learns
 * them. Quern is timed with its own columns, and with the turning of rows into columns. Printed:
 * one JSON line per engine and batch with median, minimum and maximum, and how many of its answers
 * have other bits than Quern's, in float32 or, of a model in double, in double. Only wrong bits of
 * an engine that promises them are a failure. Memory: as much as it likes. See bench/models.py. */
#include "base/check.h"
#include "base/number.h"
#include "model/model_int.h"
#include "model/onnxruntime.h"
#include "peer_catboost.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PASSES_MAX = 99, ENGINES_MAX = 8, BATCH_MAX = 1024, PASS_ROWS = 16384, SHORT_ROWS = 2048 };
/* Columns are a cache line more apart than rows ask for, as in the pipeline (score.c): at a power
 * of two all of them would compete for the same few lines of the cache. */
enum { COLUMN_PAD = 8, STRIDE = BATCH_MAX + COLUMN_PAD };
static const uint32_t BATCHES[] = {1, 16, 64, 1024};
enum { BATCH_COUNT = sizeof(BATCHES) / sizeof(BATCHES[0]) };

struct rows {
    const float *v;
    double *turned; /* columns of all rows: [inputs][count + COLUMN_PAD] */
    uint32_t count, inputs;
};

/* One engine: its answer to rows [first, first + batch) goes to out. */
struct engine {
    char name[24];
    void (*score)(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                  double *out);
    bool is_exact; /* promises Quern's bits */
    void *library, *handle;
    void (*function)(void);
    double *answers;
    uint64_t different;
    double ns[BATCH_COUNT][PASSES_MAX];
    void *own;          /* of the engine */
    FILE *ask, *answer; /* of an engine in a process of its own; else NULL */
};

static void stop(const char *engine, const char *why)
{
    fprintf(stderr, "bench_peers: %s: %s\n", engine, why);
    exit(1);
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *symbol(struct engine *e, const char *name)
{
    void *p = dlsym(e->library, name);

    if (p == NULL)
        stop(e->name, dlerror());
    return p;
}

/* Puts the address of a function of the library into the pointer at `to`. */
static void find(struct engine *e, const char *name, void *to)
{
    void *p = symbol(e, name);

    memcpy(to, &p, sizeof(p));
}

/* ---- Quern ---- */

struct quern {
    const struct qn_model *model;
    void *scratch;
    const double **columns;
    double *turned; /* [inputs][STRIDE] */
};

static void quern_columns(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                          double *out)
{
    const struct quern *q = e->own;

    for (uint32_t i = 0; i < x->inputs; i++)
        q->columns[i] = x->turned + (size_t)i * (x->count + COLUMN_PAD) + first;
    qn_model_score(q->model, q->columns, batch, q->scratch, out, NULL, batch);
}

static void quern_rows(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                       double *out)
{
    const struct quern *q = e->own;

    for (uint32_t r = 0; r < batch; r++) {
        const float *v = x->v + (size_t)(first + r) * x->inputs;

        for (uint32_t i = 0; i < x->inputs; i++)
            q->turned[(size_t)i * STRIDE + r] = (double)v[i];
    }
    for (uint32_t i = 0; i < x->inputs; i++)
        q->columns[i] = q->turned + (size_t)i * STRIDE;
    qn_model_score(q->model, q->columns, batch, q->scratch, out, NULL, batch);
}

static struct quern *open_quern(const char *file, uint32_t *inputs)
{
    struct quern *q = qn_mem_zalloc(1, sizeof(*q));
    struct qn_model *m = NULL;
    struct qn_err err = {0};

    QN_ASSERT(q != NULL);
    if (qn_model_load(&qn_files_system, file, NULL, &m, &err) != QN_OK)
        stop("quern", err.text);
    if (qn_model_info(m)->outputs != 1)
        stop("quern", "a model with one output is needed");
    *inputs = qn_model_info(m)->inputs;
    q->model = m;
    q->scratch = qn_mem_aligned(64, (qn_model_scratch_bytes(m, BATCH_MAX) + 63) / 64 * 64);
    q->columns = qn_mem_zalloc(*inputs, sizeof(*q->columns));
    q->turned = qn_mem_zalloc((size_t)*inputs * STRIDE, sizeof(double));
    QN_ASSERT(q->scratch != NULL && q->columns != NULL && q->turned != NULL);
    return q;
}

/* ---- XGBoost: in-place prediction of margins ---- */

static void xgboost_score(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                          double *out)
{
    static const char options[] =
        "{\"type\":1,\"training\":false,\"iteration_begin\":0,\"iteration_end\":0,"
        "\"strict_shape\":false,\"missing\":NaN,\"cache_id\":0}";
    int (*predict)(void *, const char *, const char *, void *, const uint64_t **, uint64_t *,
                   const float **);
    char array[200];
    const uint64_t *shape;
    uint64_t dims;
    const float *result;

    memcpy(&predict, &e->function, sizeof(predict));
    snprintf(array, sizeof(array),
             "{\"data\":[%llu,true],\"shape\":[%u,%u],\"typestr\":\"<f4\",\"version\":3}",
             (unsigned long long)(uintptr_t)(x->v + (size_t)first * x->inputs), batch, x->inputs);
    if (predict(e->handle, array, options, NULL, &shape, &dims, &result) != 0)
        stop(e->name, "prediction failed");
    for (uint32_t r = 0; r < batch; r++)
        out[r] = (double)result[r];
}

static void open_xgboost(struct engine *e, const char *file)
{
    int (*create)(const void *, uint64_t, void **);
    int (*load)(void *, const char *);
    int (*set)(void *, const char *, const char *);

    find(e, "XGBoosterCreate", &create);
    find(e, "XGBoosterLoadModel", &load);
    find(e, "XGBoosterSetParam", &set);
    find(e, "XGBoosterPredictFromDense", &e->function);
    if (create(NULL, 0, &e->handle) != 0 || load(e->handle, file) != 0 ||
        set(e->handle, "nthread", "1") != 0)
        stop(e->name, "the model cannot be loaded");
    e->score = xgboost_score;
    e->is_exact = true;
}

/* ---- LightGBM: raw scores; its quick call for single rows ---- */

struct lightgbm {
    int (*single)(void *, const void *, int64_t *, double *);
    void *config;
};

enum { LGB_FLOAT = 0, LGB_RAW = 1 };

static void lightgbm_score(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                           double *out)
{
    const struct lightgbm *g = e->own;
    const float *v = x->v + (size_t)first * x->inputs;
    int (*predict)(void *, const void *, int, int32_t, int32_t, int, int, int, int, const char *,
                   int64_t *, double *);
    int64_t count;

    memcpy(&predict, &e->function, sizeof(predict));
    if (batch == 1 ? g->single(g->config, v, &count, out) != 0
                   : predict(e->handle, v, LGB_FLOAT, (int32_t)batch, (int32_t)x->inputs, 1,
                             LGB_RAW, 0, -1, "num_threads=1", &count, out) != 0)
        stop(e->name, "prediction failed");
}

static void open_lightgbm(struct engine *e, const char *file, uint32_t inputs)
{
    int (*load)(const char *, int *, void **);
    int (*init)(void *, int, int, int, int, int32_t, const char *, void **);
    struct lightgbm *g = qn_mem_zalloc(1, sizeof(*g));
    int iterations;

    QN_ASSERT(g != NULL);
    find(e, "LGBM_BoosterCreateFromModelfile", &load);
    find(e, "LGBM_BoosterPredictForMatSingleRowFastInit", &init);
    find(e, "LGBM_BoosterPredictForMatSingleRowFast", &g->single);
    find(e, "LGBM_BoosterPredictForMat", &e->function);
    if (load(file, &iterations, &e->handle) != 0 ||
        init(e->handle, LGB_RAW, 0, -1, LGB_FLOAT, (int32_t)inputs, "num_threads=1", &g->config) !=
            0)
        stop(e->name, "the model cannot be loaded");
    e->own = g;
    e->score = lightgbm_score;
}

/* ---- lleaves: the compiled model itself ---- */

static void lleaves_score(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                          double *out)
{
    void (*root)(const float *, float *, int, int);
    float result[BATCH_MAX];

    memcpy(&root, &e->function, sizeof(root));
    root(x->v + (size_t)first * x->inputs, result, 0, (int)batch);
    for (uint32_t r = 0; r < batch; r++)
        out[r] = (double)result[r];
}

/* ---- ONNX Runtime: one session, tensors made once per batch ---- */

struct onnx {
    const struct qn_model *model;
    float *in, *out;
    struct qn_ort_object *values[BATCH_COUNT][2];
};

static void onnx_score(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                       double *out)
{
    const struct onnx *o = e->own;
    const struct qn_ort *ort = o->model->ort;
    unsigned b = 0;
    struct qn_ort_object *result;

    while (BATCHES[b] != batch)
        b++;
    memcpy(o->in, x->v + (size_t)first * x->inputs, (size_t)batch * x->inputs * sizeof(float));
    result = o->values[b][1];
    if (ort->api.run(ort->session, NULL, ort->input_names,
                     (const struct qn_ort_object *const *)&o->values[b][0], 1, &ort->output_name, 1,
                     &result) != NULL)
        stop(e->name, "prediction failed");
    for (uint32_t r = 0; r < batch; r++)
        out[r] = (double)o->out[r];
}

/* Through the reader of the model room, which opens a session for what our kernels do not run: the
 * file has an operator Neg and one back for that. */
static void open_onnx(struct engine *e, const char *library, const char *file, uint32_t inputs)
{
    struct onnx *o = qn_mem_zalloc(1, sizeof(*o));
    struct qn_model *m = NULL;
    struct qn_err err = {0};

    QN_ASSERT(o != NULL);
    qn_model_onnxruntime(library);
    if (qn_model_load(&qn_files_system, file, NULL, &m, &err) != QN_OK || m->ort == NULL)
        stop(e->name, m != NULL ? "our own kernel runs it" : err.text);
    o->model = m;
    o->in = qn_mem_aligned(64, (size_t)BATCH_MAX * inputs * sizeof(float));
    o->out = qn_mem_aligned(64, BATCH_MAX * sizeof(float));
    QN_ASSERT(o->in != NULL && o->out != NULL);
    for (unsigned b = 0; b < BATCH_COUNT; b++) {
        const int64_t in[2] = {BATCHES[b], inputs}, out[2] = {BATCHES[b], 1};
        const struct qn_ort_api *a = &m->ort->api;

        if (a->create_tensor(m->ort->memory, o->in, BATCHES[b] * inputs * sizeof(float), in, 2,
                             QN_ORT_FLOAT, &o->values[b][0]) != NULL ||
            a->create_tensor(m->ort->memory, o->out, BATCHES[b] * sizeof(float), out, 2,
                             QN_ORT_FLOAT, &o->values[b][1]) != NULL)
            stop(e->name, "no tensor");
    }
    e->own = o;
    e->score = onnx_score;
    e->is_exact = true;
}

/* ---- CatBoost: raw values of its own model ---- */

static void catboost_score(struct engine *e, const struct rows *x, uint32_t first, uint32_t batch,
                           double *out)
{
    if (!catboost_predict(e->own, x->v + (size_t)first * x->inputs, batch, x->inputs, out))
        stop(e->name, "prediction failed");
}

static void open_catboost(struct engine *e, const char *file)
{
    static const char predict[] =
        "Java_ai_catboost_CatBoostJNIImpl_catBoostModelPredict__J_3_3F_3_3Ljava_lang_String_2"
        "_3_3Ljava_lang_String_2_3_3_3F_3D";
    struct catboost *c = qn_mem_zalloc(1, sizeof(*c));

    QN_ASSERT(c != NULL);
    if (!catboost_load(c, symbol(e, "Java_ai_catboost_CatBoostJNIImpl_catBoostLoadModelFromFile"),
                       symbol(e, predict), file))
        stop(e->name, "the model cannot be loaded");
    e->own = c;
    e->score = catboost_score;
    e->is_exact = true;
}

/* ---- engines in a process of their own ---- */

/* The program says all its answers first, as doubles; then, to each line "BATCH START", the ns per
 * row of a pass. */
static void open_process(struct engine *e, char *program, char *file, char *rows_file)
{
    char *const words[] = {program, e->name, file, rows_file, NULL};
    int ask[2], answer[2];
    pid_t pid;

    if (pipe2(ask, O_CLOEXEC) != 0 || pipe2(answer, O_CLOEXEC) != 0)
        stop(e->name, "no pipe");
    pid = fork();
    if (pid == 0) {
        dup2(ask[0], STDIN_FILENO);
        dup2(answer[1], STDOUT_FILENO);
        execvp(program, words);
        _exit(127);
    }
    close(ask[0]);
    close(answer[1]);
    e->ask = fdopen(ask[1], "w");
    e->answer = fdopen(answer[0], "r");
    if (pid < 0 || e->ask == NULL || e->answer == NULL)
        stop(e->name, "cannot be started");
}

static void read_answers(struct engine *e, const struct rows *x)
{
    if (fread(e->answers, sizeof(double), x->count, e->answer) != x->count)
        stop(e->name, "its process gave no answers");
}

static double ask_pass(struct engine *e, unsigned b, uint32_t start)
{
    double ns = 0;

    fprintf(e->ask, "%u %u\n", BATCHES[b], start);
    fflush(e->ask);
    if (fscanf(e->answer, "%lf", &ns) != 1)
        stop(e->name, "its process ended");
    return ns;
}

/* ---- all of them ---- */

static void open_engine(struct engine *e, char *word, uint32_t inputs, char *rows_file)
{
    char *library = strchr(word, '='), *file = library != NULL ? strchr(library, ':') : NULL;

    if (file == NULL)
        stop(word, "engine=library:file is expected");
    *library++ = *file++ = '\0';
    snprintf(e->name, sizeof(e->name), "%s", word);
    if (strcmp(word, "catboost-python") == 0 || strcmp(word, "ydf") == 0) {
        e->is_exact = strcmp(word, "catboost-python") == 0;
        open_process(e, library, file, rows_file);
        return;
    }
    e->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (e->library == NULL)
        stop(word, dlerror());
    if (strcmp(word, "xgboost") == 0) {
        open_xgboost(e, file);
    } else if (strcmp(word, "lightgbm") == 0) {
        open_lightgbm(e, file, inputs);
    } else if (strcmp(word, "onnxruntime") == 0) {
        open_onnx(e, library, file, inputs);
    } else if (strcmp(word, "catboost") == 0) {
        open_catboost(e, file);
    } else if (strcmp(word, "lleaves") == 0) {
        find(e, "forest_root", &e->function);
        e->score = lleaves_score;
    } else {
        stop(word, "no such engine");
    }
}

/* One pass at one batch size: ns per row; answers are kept in the first. */
static double pass(struct engine *e, const struct rows *x, uint32_t batch, uint32_t start)
{
    const uint32_t limit = batch == 1 ? SHORT_ROWS : PASS_ROWS;
    const uint32_t rows = x->count < limit ? x->count : limit;
    const uint32_t batches = rows / batch;
    double begun, out[BATCH_MAX];

    begun = now_ns();
    for (uint32_t i = 0; i < batches; i++) {
        const uint32_t first = (start + i * batch) % (x->count - batch + 1);

        e->score(e, x, first, batch, out);
        memcpy(e->answers + first, out, batch * sizeof(double));
    }
    return (now_ns() - begun) / (batches * batch);
}

static int by_value(const void *a, const void *b)
{
    double x, y;

    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

static bool read_rows(const char *file, struct rows *x)
{
    struct qn_buf bytes = {0};
    struct qn_err err = {0};

    if (qn_file_read_all(&qn_files_system, file, (size_t)1 << 32, &bytes, &err) != QN_OK)
        return false;
    x->count = (uint32_t)(bytes.len / sizeof(float) / x->inputs);
    x->v = (const float *)(const void *)bytes.data;
    x->turned = qn_mem_alloc((size_t)(x->count + COLUMN_PAD) * x->inputs * sizeof(*x->turned) + 1);
    QN_ASSERT(x->turned != NULL);
    for (uint32_t i = 0; i < x->inputs; i++) {
        for (uint32_t r = 0; r < x->count; r++)
            x->turned[(size_t)i * (x->count + COLUMN_PAD) + r] =
                (double)x->v[(size_t)r * x->inputs + i];
    }
    return x->count > BATCH_MAX;
}

/* Every engine answers every row; then the numbers with other bits than the first engine's. */
static void compare(struct engine *engines, unsigned count, const struct rows *x, bool is_float)
{
    for (unsigned k = 0; k < count; k++) {
        struct engine *e = &engines[k];

        if (e->answer != NULL)
            read_answers(e, x);
        for (uint32_t first = 0; e->answer == NULL && first + 64 <= x->count; first += 64)
            e->score(e, x, first, 64, e->answers + first);
        for (uint32_t r = 0; r + 64 <= x->count; r++) {
            const double *a = &engines[0].answers[r], *b = &e->answers[r];
            const float a32 = (float)*a, b32 = (float)*b;

            e->different +=
                is_float ? memcmp(&a32, &b32, sizeof(a32)) != 0 : memcmp(a, b, sizeof(*a)) != 0;
        }
    }
}

static void print(struct engine *e, unsigned passes)
{
    for (unsigned b = 0; b < BATCH_COUNT; b++) {
        double *t = e->ns[b];

        qsort(t, passes, sizeof(*t), by_value);
        printf("{\"engine\":\"%s\",\"batch\":%u,\"ns\":%.1f,\"min\":%.1f,\"max\":%.1f,"
               "\"different\":%llu}\n",
               e->name, BATCHES[b], t[passes / 2], t[0], t[passes - 1],
               (unsigned long long)e->different);
    }
}

int main(int argc, char **argv)
{
    static struct engine engines[ENGINES_MAX];
    struct rows x = {0};
    int64_t passes = 0;
    unsigned count = 2;
    struct quern *q;
    int rc = 0;

    if (argc < 4 || !qn_text_int64(qn_str_of(argv[3]), &passes) || passes < 1 ||
        passes > PASSES_MAX || argc - 4 + 2 > ENGINES_MAX)
        stop("usage", "bench_peers MODEL ROWS PASSES [engine=library:file]...");
    q = open_quern(argv[1], &x.inputs);
    if (!read_rows(argv[2], &x))
        stop(argv[2], "too few rows");
    engines[0] =
        (struct engine){.name = "quern", .score = quern_columns, .own = q, .is_exact = true};
    engines[1] =
        (struct engine){.name = "quern-rows", .score = quern_rows, .own = q, .is_exact = true};
    for (int i = 4; i < argc; i++)
        open_engine(&engines[count++], argv[i], x.inputs, argv[2]);
    for (unsigned k = 0; k < count; k++) {
        engines[k].answers = qn_mem_zalloc(x.count + BATCH_MAX, sizeof(double));
        QN_ASSERT(engines[k].answers != NULL);
    }
    compare(engines, count, &x, qn_model_info(q->model)->is_float);
    for (unsigned p = 0; p < (unsigned)passes; p++) {
        for (unsigned b = 0; b < BATCH_COUNT; b++) {
            for (unsigned k = 0; k < count; k++)
                engines[k].ns[b][p] = engines[k].answer != NULL
                                          ? ask_pass(&engines[k], b, p * 9973)
                                          : pass(&engines[k], &x, BATCHES[b], p * 9973);
        }
    }
    printf("{\"kernel\":\"%s\",\"trees\":%u,\"rows\":%u}\n", qn_model_info(q->model)->kernel,
           qn_model_info(q->model)->trees, x.count);
    for (unsigned k = 0; k < count; k++) {
        print(&engines[k], (unsigned)passes);
        if (engines[k].is_exact && engines[k].different > 0)
            rc = 1;
        if (engines[k].ask != NULL)
            fclose(engines[k].ask); /* its process ends */
    }
    return rc;
}
