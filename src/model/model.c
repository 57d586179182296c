/* SPDX-License-Identifier: Apache-2.0
 * model.c - loads a model: recognises the format by content, calls its loader, chooses a kernel;
 * scores.
 *
 * Order of a load: loader (file to intermediate form, all refusals), plan (integer codes), kernel,
 * probe rows (probe.c). Thread: load anywhere; score from any number of threads. Memory: model.h.
 */
#include "model/model.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/json.h"
#include "model/lanes.h"
#include "model/model_int.h"
#include "model/onnxruntime.h"
#include "model/squares.h"

#include <math.h>
#include <sys/auxv.h>

typedef qn_status (*loader)(struct qn_model *m, struct qn_str bytes,
                            const struct qn_model_options *opt, struct qn_err *err);

/* In order of preference. */
static const struct qn_model_kernel *const KERNELS[] = {
    &qn_model_kernel_onnxruntime, &qn_model_kernel_linear, &qn_model_kernel_avx512x8,
    &qn_model_kernel_avx512,      &qn_model_kernel_avx2,   &qn_model_kernel_neon,
    &qn_model_kernel_columns16,   &qn_model_kernel_walk8,  &qn_model_kernel_walk,
};

enum { KERNEL_COUNT = sizeof(KERNELS) / sizeof(KERNELS[0]) };

/* ---- CPU ---- */

static enum qn_model_cpu cpu_cap = QN_CPU_AVX512;

bool qn_model_cap(const char *name)
{
    static const char *const names[] = {"portable", "neon", "avx2", "avx512"};

    for (unsigned i = 0; name != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            cpu_cap = (enum qn_model_cpu)i;
            return true;
        }
    }
    if (name == NULL)
        cpu_cap = QN_CPU_AVX512;
    return name == NULL;
}

bool qn_model_cpu_has(enum qn_model_cpu cpu)
{
    if (cpu > cpu_cap)
        return false;
#if defined(__x86_64__)
    if (cpu == QN_CPU_AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
               __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi2");
    if (cpu == QN_CPU_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
#elif defined(__aarch64__)
    if (cpu == QN_CPU_NEON)
        return (getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0;
#endif
    return cpu == QN_CPU_PORTABLE;
}

/* ---- recognise ---- */

static bool begins(struct qn_str bytes, const void *with, uint32_t len)
{
    return bytes.len >= len && memcmp(bytes.p, with, len) == 0;
}

static uint32_t little32(const char *p)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < 4; i++)
        v |= (uint32_t)(uint8_t)p[i] << (8 * i);
    return v;
}

/* What people save by mistake, and the call that saves what can be loaded. */
static const struct wrong_file {
    const char *head;
    uint32_t len;
    const char *advice;
} WRONG_FILES[] = {
    {"bs64", 4,
     "this is an XGBoost model in its base64 text form; load it in Python with xgboost.Booster and "
     "call save_model(\"model.ubj\")"},
    {"CONFIG-offset:", 14,
     "this is XGBoost's in-memory snapshot (from pickle or serialize); call "
     "booster.save_model(\"model.ubj\") instead"},
    {"booster[", 8,
     "this is a text dump of XGBoost, which lacks the objective; call "
     "booster.save_model(\"model.ubj\") instead of dump_model"},
    {"\x1f\x8b", 2, "this file is compressed with gzip; unpack it first"},
    {"\x28\xb5\x2f\xfd", 4, "this file is compressed with zstd; unpack it first"},
    {"PK\x03\x04", 4, "this is a zip archive; unpack it and give the model file inside"},
    {"CBM1", 4,
     "this is a CatBoost model in its own binary form; save it as JSON: "
     "model.save_model(\"model.json\", format=\"json\", pool=pool)"},
    {"<?xml", 5,
     "PMML and other XML models cannot be loaded; save the model in its library's format"},
    {"\x89HDF", 4, "HDF5 (Keras) models cannot be loaded; export the model as ONNX"},
};

static const char *wrong_file_advice(struct qn_str bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p;

    for (size_t i = 0; i < sizeof(WRONG_FILES) / sizeof(WRONG_FILES[0]); i++) {
        if (begins(bytes, WRONG_FILES[i].head, WRONG_FILES[i].len))
            return WRONG_FILES[i].advice;
    }
    if (bytes.len >= 2 && p[0] == 0x80 && p[1] >= 2 && p[1] <= 5)
        return "this is a Python pickle, which is a program and not a model; save with "
               "booster.save_model(\"model.ubj\") (XGBoost), booster_.save_model(\"model.txt\") "
               "(LightGBM), or write it with python/quern_export.py (trees of scikit-learn) or as "
               "the "
               "linear JSON of docs/models.md";
    if (bytes.len >= 2 && p[0] == '[' && memchr(p, '{', bytes.len < 16 ? bytes.len : 16) != NULL)
        return "this looks like a JSON dump of XGBoost's trees, which lacks the objective; call "
               "booster.save_model(\"model.json\") instead of dump_model";
    return NULL;
}

/* Which JSON it is, by the first telling member of the outer object. */
static loader recognise_json(struct qn_str bytes, const char **format, struct qn_err *err)
{
    struct qn_arena arena = {0};
    struct qn_json_reader r;
    enum qn_json_kind kind;
    loader found = NULL;
    const char *advice = "this JSON is no model that is known here: neither XGBoost's (member "
                         "'learner') nor CatBoost's ('features_info') nor one of ours (\"format\": "
                         "\"quern-linear\" or \"quern-forest\")";

    qn_json_open(&r, bytes, &arena);
    kind = qn_json_next(&r);
    while (kind != QN_JSON_ERROR && found == NULL) {
        kind = qn_json_next(&r);
        if (kind == QN_JSON_CLOSE || kind == QN_JSON_END || kind == QN_JSON_ERROR)
            break;
        if (qn_str_is(r.key, "learner")) {
            found = qn_model_load_xgboost_json;
            *format = "xgboost-json";
        } else if (qn_str_is(r.key, "format") && kind == QN_JSON_STRING &&
                   qn_str_is(r.text, "quern-forest")) {
            found = qn_model_load_sklearn;
            *format = "forest-json";
        } else if (qn_str_is(r.key, "format")) {
            found = qn_model_load_linear;
            *format = "linear-json";
        } else if (qn_str_is(r.key, "oblivious_trees") || qn_str_is(r.key, "features_info")) {
            found = qn_model_load_catboost;
            *format = "catboost-json";
        } else if (qn_str_is(r.key, "tree_info")) {
            advice =
                "this is LightGBM's dump_model; call booster.save_model(\"model.txt\") instead";
            break;
        } else if (!qn_json_skip(&r, kind)) {
            kind = QN_JSON_ERROR;
        }
    }
    if (found == NULL) {
        if (kind == QN_JSON_ERROR)
            qn_err_set(err, qn_model_json_status(r.error), "not valid JSON: %s",
                       r.error != NULL ? r.error : "?");
        else
            qn_err_set(err, QN_UNSUPPORTED, "%s", advice);
        if (err != NULL) {
            err->has_offset = true;
            err->offset = qn_json_offset(&r);
        }
    }
    qn_arena_fini(&arena);
    return found;
}

/* XGBoost's old binary format has no magic in its later form: its first 136 bytes must make sense.
 */
static bool is_xgboost_binary(struct qn_str bytes)
{
    const char *p = bytes.p;
    uint64_t name_len;

    if (begins(bytes, "binf", 4))
        return true;
    if (bytes.len < 136 + 16)
        return false;
    name_len = little32(p + 136) | (uint64_t)little32(p + 140) << 32;
    return little32(p + 12) <= 1 && little32(p + 16) <= 1 && little32(p + 20) <= 3 &&
           name_len >= 4 && name_len <= 64 && bytes.len >= 144 + name_len &&
           memchr(p + 144, ':', name_len) != NULL;
}

/* Field 1, the version of the format, then producer, graph, or the operator set. */
static bool is_onnx(struct qn_str bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p;

    return bytes.len >= 4 && p[0] == 0x08 && p[1] >= 1 && p[1] <= 20 &&
           (p[2] == 0x12 || p[2] == 0x3a || p[2] == 0x42);
}

static loader recognise(struct qn_str bytes, const char **format, struct qn_err *err)
{
    const char *advice = wrong_file_advice(bytes);
    const char second = bytes.len > 1 ? bytes.p[1] : 0;

    if (bytes.len == 0) {
        qn_err_set(err, QN_CORRUPT, "the file is empty");
        return NULL;
    }
    if (advice != NULL) {
        qn_err_set(err, QN_UNSUPPORTED, "%s", advice);
        return NULL;
    }
    if (bytes.p[0] == '{' && (second == 'L' || second == 'i' || second == 'U' || second == 'I' ||
                              second == 'l' || second == '$' || second == '#')) {
        *format = "xgboost-ubj";
        return qn_model_load_xgboost_ubj;
    }
    if (bytes.p[0] == '{' || begins(bytes, "\xef\xbb\xbf{", 4) ||
        (memchr(" \t\r\n", bytes.p[0], 4) != NULL && memchr(bytes.p, '{', bytes.len) != NULL))
        return recognise_json(bytes, format, err);
    if (begins(bytes, "tree\n", 5) || begins(bytes, "tree\r\n", 6)) {
        *format = "lightgbm-text";
        return qn_model_load_lightgbm;
    }
    if (is_onnx(bytes)) {
        *format = "onnx";
        return qn_model_load_onnx;
    }
    if (is_xgboost_binary(bytes)) {
        *format = "xgboost-binary";
        return qn_model_load_xgboost_binary;
    }
    qn_err_set(
        err, QN_UNSUPPORTED,
        "this is no model file that is known here; XGBoost (JSON, UBJ, old binary), LightGBM "
        "text, CatBoost JSON, ONNX, forest and linear JSON can be loaded "
        "(docs/models.md)");
    return NULL;
}

/* ---- load ---- */

static void choose_kernel(struct qn_model *m, const char *no_plan)
{
    for (unsigned i = 0; i < KERNEL_COUNT && m->kernel == NULL; i++) {
        const char *reason = no_plan;

        if (KERNELS[i]->is_suitable(m, &reason)) {
            m->kernel = KERNELS[i];
            m->info.kernel_reason =
                KERNELS[i] == &qn_model_kernel_walk && no_plan != NULL ? no_plan : reason;
        } else if (reason != NULL && KERNELS[i] != &qn_model_kernel_linear &&
                   KERNELS[i] != &qn_model_kernel_onnxruntime) {
            no_plan = reason;
        }
    }
    QN_ASSERT(m->kernel != NULL);
    m->info.kernel = m->kernel->name;
}

/* Where two kernels for AVX-512 fit, the CPU decides which is quicker. */
static qn_status choose_by_time(struct qn_model *m, struct qn_err *err)
{
    const struct qn_model_kernel *const other = &qn_model_kernel_avx512;
    const char *reason;
    bool is_quicker;

    if (m->kernel != &qn_model_kernel_avx512x8 || !other->is_suitable(m, &reason))
        return QN_OK;
    QN_TRY(qn_model_race(m, m->kernel, other, &is_quicker, err));
    if (is_quicker) {
        m->kernel = other;
        m->info.kernel = other->name;
        m->info.kernel_reason = "this CPU has AVX-512, and avx512x8 was slower when measured";
    }
    return QN_OK;
}

enum { WALK_ROWS = 6 };

qn_status qn_model_compile(struct qn_model *m, struct qn_err *err)
{
    const struct qn_forest *f = &m->forest;
    const char *no_plan = NULL;

    m->info.trees = (uint32_t)f->tree_count;
    m->info.depth_max = f->depth_max;
    m->info.nodes = (uint32_t)f->node_count;
    m->info.leaves = f->leaf_count;
    if (!m->linear.is_used && m->ort == NULL)
        QN_TRY(qn_model_plan(m, &no_plan, err));
    if (m->plan.is_used && (qn_model_cpu_has(QN_CPU_AVX2) || qn_model_cpu_has(QN_CPU_NEON)))
        QN_TRY(qn_model_lanes(m, err));
    if (m->plan.lanes != NULL && qn_model_cpu_has(QN_CPU_AVX512))
        QN_TRY(qn_model_squares(m, err));
    choose_kernel(m, no_plan);
    return QN_OK;
}

void qn_model_walk_few(struct qn_model *m)
{
    if (m->plan.is_used && !qn_model_codes_pay(m, QN_CODING_ALONE, &(const char *){NULL}))
        m->walk_rows = WALK_ROWS;
}

/* Everything after the loader: plan, kernel, facts, probe. */
static qn_status finish(struct qn_model *m, struct qn_err *err)
{
    struct qn_forest *f = &m->forest;

    qn_mem_free(f->queue);
    qn_mem_free(f->seen);
    f->queue = NULL;
    f->seen = NULL;
    QN_TRY(qn_model_compile(m, err));
    QN_TRY(qn_model_explain_init(m, err));
    QN_TRY(choose_by_time(m, err));
    qn_model_walk_few(m);
    m->info.bytes = sizeof(*m) + m->arena.total_bytes + f->node_cap * sizeof(*f->nodes) +
                    f->share_cap * sizeof(*f->shares) + f->tree_cap * sizeof(*f->trees) +
                    f->set_cap * sizeof(*f->sets) + f->member_cap * sizeof(*f->members) +
                    f->linear_cap * sizeof(*f->linear_leaves) + f->term_cap * sizeof(*f->terms);
    if (m->linear.is_used || m->ort != NULL || f->tree_count == 0)
        return QN_OK;
    return qn_model_probe(m, err);
}

qn_status qn_model_load_bytes(struct qn_str bytes, const char *name,
                              const struct qn_model_options *opt, struct qn_model **out,
                              struct qn_err *err)
{
    static const struct qn_model_options none = {0};
    struct qn_model *m = NULL;
    const char *format = NULL;
    loader load;
    qn_status rc;
    struct qn_err ignored;

    *out = NULL;
    if (err == NULL)
        err = &ignored;
    *err = (struct qn_err){0};
    load = recognise(bytes, &format, err);
    if (load == NULL) {
        rc = err->code;
        goto out;
    }
    m = qn_mem_zalloc(1, sizeof(*m));
    if (m == NULL) {
        rc = qn_err_set(err, QN_NOMEM, "out of memory");
        goto out;
    }
    qn_arena_init(&m->arena, 0);
    opt = opt != NULL ? opt : &none;
    m->has_missing = opt->has_missing && !isnan(opt->missing);
    m->missing = opt->missing;
    m->info.format = format;
    m->info.objective = "";
    m->info.version = "";
    m->info.hash = qn_hash(bytes.p, bytes.len, 0);
    m->transform = (struct qn_transform){.slope = 1, .divide = 1};
    rc = load(m, bytes, opt, err);
    if (rc == QN_OK && opt->provider == QN_PROVIDER_CUDA && m->ort == NULL)
        rc = qn_err_set(err, QN_UNSUPPORTED,
                        "'provider: cuda' is for ONNX models that ONNX Runtime runs; this one runs "
                        "on kernels of our own, on the CPU: leave 'provider' out");
    if (rc == QN_OK)
        rc = finish(m, err);
out:
    if (rc != QN_OK) {
        qn_model_free(m);
        qn_err_at(err, name, 0, 0);
        return rc;
    }
    *out = m;
    return QN_OK;
}

qn_status qn_model_load(const struct qn_files *files, const char *path,
                        const struct qn_model_options *opt, struct qn_model **out,
                        struct qn_err *err)
{
    struct qn_buf bytes = {0};
    qn_status rc = qn_file_read_all(files, path, QN_MODEL_FILE_MAX, &bytes, err);

    *out = NULL;
    if (rc == QN_OK)
        rc = qn_model_load_bytes((struct qn_str){bytes.data, (uint32_t)bytes.len}, path, opt, out,
                                 err);
    qn_buf_fini(&bytes);
    return rc;
}

void qn_model_free(struct qn_model *m)
{
    if (m == NULL)
        return;
    qn_model_forest_fini(&m->forest);
    qn_model_ort_fini(m->ort);
    qn_arena_fini(&m->arena);
    qn_mem_free(m);
}

const struct qn_model_info *qn_model_info(const struct qn_model *m)
{
    return &m->info;
}

bool qn_model_force_kernel(struct qn_model *m, const char *name)
{
    for (unsigned i = 0; i < KERNEL_COUNT; i++) {
        const char *reason = NULL;

        if (strcmp(KERNELS[i]->name, name) == 0 && KERNELS[i]->is_suitable(m, &reason)) {
            m->kernel = KERNELS[i];
            m->info.kernel = m->kernel->name;
            m->walk_rows = 0;
            return true;
        }
    }
    return false;
}

const char *qn_model_kernel_name(unsigned i)
{
    return i < KERNEL_COUNT ? KERNELS[i]->name : NULL;
}

/* ---- score ---- */

size_t qn_model_sums_bytes(const struct qn_model *m)
{
    return (size_t)m->info.outputs * QN_MODEL_BLOCK * sizeof(double);
}

size_t qn_model_scratch_bytes(const struct qn_model *m, uint32_t rows)
{
    size_t most = 0;

    (void)rows; /* one block at a time, whatever the number of rows */
    /* any kernel's, so that forcing one later needs no new scratch */
    for (unsigned i = 0; i < KERNEL_COUNT; i++) {
        const char *reason;

        if (KERNELS[i]->is_suitable(m, &reason) && KERNELS[i]->scratch_bytes(m) > most)
            most = KERNELS[i]->scratch_bytes(m);
    }
    return qn_model_sums_bytes(m) + (most + 63) / 64 * 64;
}

void qn_model_start_sums(const struct qn_model *m, uint32_t rows, void *sums)
{
    for (uint32_t k = 0; k < m->info.outputs; k++) {
        size_t at = (size_t)k * QN_MODEL_BLOCK;

        if (m->info.is_float) {
            for (uint32_t r = 0; r < rows; r++)
                ((float *)sums)[at + r] = (float)m->start[k];
        } else {
            for (uint32_t r = 0; r < rows; r++)
                ((double *)sums)[at + r] = m->start[k];
        }
    }
}

void qn_model_put_margins(const struct qn_model *m, uint32_t rows, const void *sums, double *margin,
                          uint32_t stride)
{
    for (uint32_t k = 0; k < m->info.outputs; k++) {
        size_t at = (size_t)k * QN_MODEL_BLOCK, to = (size_t)k * stride;

        for (uint32_t r = 0; r < rows; r++)
            margin[to + r] = m->info.is_float ? (double)((const float *)sums)[at + r]
                                              : ((const double *)sums)[at + r];
    }
}

/* Inputs of the block after this one: they lie in as many places as there are columns, more than a
 * CPU foresees by itself. */
static void fetch_next(const struct qn_model *m, const double *const *columns, uint32_t first,
                       uint32_t rows)
{
    const size_t end = rows - first < QN_MODEL_BLOCK ? rows : first + QN_MODEL_BLOCK;

    for (uint32_t i = 0; i < m->info.inputs; i++) {
        for (size_t r = first; r < end; r += 8)
            __builtin_prefetch(columns[i] + r);
    }
}

void qn_model_score(const struct qn_model *m, const double *const *columns, uint32_t rows,
                    void *scratch, double *margin, double *prediction, uint32_t stride)
{
    void *sums = scratch;
    char *rest = (char *)scratch + qn_model_sums_bytes(m);

    QN_ASSERT((uintptr_t)scratch % 64 == 0);
    QN_ASSERT(stride >= rows);
    for (uint32_t first = 0; first < rows; first += QN_MODEL_BLOCK) {
        const uint32_t n = rows - first < QN_MODEL_BLOCK ? rows - first : QN_MODEL_BLOCK;

        qn_model_start_sums(m, n, sums);
        if (rows - first > QN_MODEL_BLOCK)
            fetch_next(m, columns, first + QN_MODEL_BLOCK, rows);
        qn_model_kernel_for(m, n)->score(m, columns, first, n, rest, sums);
        if (margin != NULL)
            qn_model_put_margins(m, n, sums, margin + first, stride);
        if (prediction != NULL)
            qn_model_transform(m, sums, n, prediction + first, stride);
    }
}
