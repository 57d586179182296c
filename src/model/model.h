/* SPDX-License-Identifier: Apache-2.0
 * model.h - the face of the model room: load a model file once, score batches of columns with it.
 *
 * A prediction is a pure function of model file and inputs: batch size, position in the batch,
 * thread and kernel never show in it. A loaded model is immutable and shared by all threads; what a
 * call needs to write lies in the caller's scratch. What each format means, to the bit:
 * docs/models.md. Memory: the model owns everything it holds, nothing of the file's bytes is kept.
 * Errors: a model that cannot be represented exactly is refused at load, with the reason and the
 * way out; scoring cannot fail (a row that ONNX Runtime refuses has the score NaN). */
#ifndef QN_MODEL_MODEL_H
#define QN_MODEL_MODEL_H

#include "base/file.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct qn_model; /* private: model_int.h */

enum qn_trees {
    QN_TREES_ALL,
    QN_TREES_BEST
}; /* BEST: up to attributes.best_iteration, as XGBoost's wrappers do */

/* Where ONNX Runtime computes. AUTO: on the CUDA device where there is one, else on the CPU. */
enum qn_provider { QN_PROVIDER_CPU, QN_PROVIDER_AUTO, QN_PROVIDER_CUDA };

struct qn_model_options {
    enum qn_trees trees;
    bool has_missing; /* `missing` is a value that means "missing" besides null and NaN */
    double missing;
    /* ONNX models that ONNX Runtime runs; the others have one output. */
    const char *output; /* the tensor that is the answer; NULL = chosen (docs/models.md) */
    uint32_t column;    /* has_column: which column of it alone, from 0                  */
    bool has_column;
    enum qn_provider provider;
    uint32_t device; /* which CUDA device, from 0 */
};

/* Facts of a loaded model. All pointers live as long as the model. */
struct qn_model_info {
    const char *format;    /* "xgboost-json", "xgboost-ubj", "xgboost-binary", "lightgbm-text",
                              "catboost-json", "onnx", "forest-json", "linear-json"; of a
                              model without a file "half-space-trees" (half_space.h) */
    const char *objective; /* as the file says: "binary:logistic" */
    const char *version;   /* of the library that wrote it, "3.2.0", or "" */
    uint32_t inputs;       /* columns that score() expects */
    const struct qn_str *input_names; /* `inputs` of them, or NULL where the file has none */
    uint32_t outputs;                 /* margins per row: 1, or the number of classes */
    uint32_t predictions; /* predictions per row: outputs, but 1 for multi:softmax, which names a
                             class */
    bool is_float;        /* margins and predictions are float32 values (XGBoost), else double */
    uint32_t trees, trees_in_file; /* trees that run; 0 for linear models */
    uint32_t depth_max, nodes, leaves;
    const char *kernel; /* which kernel runs: "avx512x8", "avx512", "avx2", "neon", "columns16",
                           "walk8", "walk", "linear", "onnxruntime", "half-space" */
    const char *kernel_reason; /* why, one phrase */
    size_t bytes;              /* memory the model takes */
    uint64_t hash; /* qn_hash of the file's bytes, seed 0: the model's version in predictions */
};

enum { QN_MODEL_FILE_MAX = 1 << 30 }; /* bytes */

/* What models loaded from now on may use of the CPU, ascending; a CPU has NEON or the others.
 * Scores are the same with each. */
enum qn_model_cpu { QN_CPU_PORTABLE, QN_CPU_NEON, QN_CPU_AVX2, QN_CPU_AVX512 };

/* "portable", "neon", "avx2" or "avx512"; NULL takes the limit away. False where the name is
 * unknown. Call before the first load, while there is one thread. */
bool qn_model_cap(const char *name);

/* The file of ONNX Runtime's library, for ONNX models that our kernels cannot run; the text must
 * outlive all loads. NULL: libonnxruntime.so.1, then libonnxruntime.so, where the system looks for
 * libraries; "": none. Call before the first load, while there is one thread. */
void qn_model_onnxruntime(const char *path);

/* Recognises the format by content, never by name, loads, verifies and warms up. Errors carry byte
 * offset or line. */
qn_status qn_model_load(const struct qn_files *files, const char *path,
                        const struct qn_model_options *opt, struct qn_model **out,
                        struct qn_err *err);
/* The same from bytes; `name` is for messages. The bytes are not kept. */
qn_status qn_model_load_bytes(struct qn_str bytes, const char *name,
                              const struct qn_model_options *opt, struct qn_model **out,
                              struct qn_err *err);
void qn_model_free(struct qn_model *m); /* NULL is fine */
const struct qn_model_info *qn_model_info(const struct qn_model *m);

/* What a row costs on this CPU, in nanoseconds, to two digits: alone, and in a batch of 64.
 * Measured for a few milliseconds on rows at and beside the model's cuts, in cache; the least of
 * some rounds. For people, never for a decision. False when out of memory. */
bool qn_model_cost(const struct qn_model *m, uint64_t *alone_ns, uint64_t *batched_ns);

/* The words of an input that is a category as text, in the order of their codes; 0 where the input
 * is a number. `words` may be NULL. They live as long as the model. */
uint32_t qn_model_words(const struct qn_model *m, uint32_t input, const struct qn_str **words);
/* What stands for a text of such an input in qn_model_score: its code, or what the library makes of
 * a text that was not there in training (LightGBM: NaN, missing; XGBoost: -1, in no set). */
double qn_model_code(const struct qn_model *m, uint32_t input, struct qn_str text);

/* Whether an input of a model that ONNX Runtime runs is a text. */
bool qn_model_reads_text(const struct qn_model *m, uint32_t input);
/* What stands for a text of such an input in qn_model_score: where it lies. The text must stay
 * there until the score is made; NaN (missing) is the empty text. */
static inline double qn_model_text_place(const struct qn_str *text)
{
    const uint64_t bits = (uint64_t)(uintptr_t)text;
    double place;

    memcpy(&place, &bits, sizeof(place));
    return place;
}

/* Scratch that one call of qn_model_score needs, for up to `rows` rows; align to 64. */
size_t qn_model_scratch_bytes(const struct qn_model *m, uint32_t rows);

/* Scores rows [0, rows). columns[i] holds input i of every row as double, NaN = missing; values are
 * rounded to float where the library does so. margin[output * stride + row] gets the raw score,
 * prediction[...] the transformed one (info.outputs and info.predictions of them); either may be
 * NULL. Float models store exact float32 values in the doubles. rows: any, 1 is fine. Thread: any
 * number at once, each with its own scratch and its own rows. */
void qn_model_score(const struct qn_model *m, const double *const *columns, uint32_t rows,
                    void *scratch, double *margin, double *prediction, uint32_t stride);

#endif
