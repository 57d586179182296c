/* SPDX-License-Identifier: Apache-2.0
 * onnxruntime.h - inside of the model room: a model that ONNX Runtime runs, and the part of its C
 * interface that is used.
 *
 * The library is opened at run time and never linked: its symbol carries the exact version, and a
 * program linked with one release refuses the next. Its interface is a table of pointers that only
 * grows, so a list of places in it (onnxruntime_open.c) serves every release from 1.16 on. A model
 * has a session, and per caller at once one `run`: tensors over buffers of our own, made at load,
 * one set per batch class, so that a call allocates nothing here. Thread: a run belongs to the call
 * that claimed it; the rest is immutable. Memory: the model's arena; what the library made is
 * released by qn_model_ort_fini. */
#ifndef QN_MODEL_ONNXRUNTIME_H
#define QN_MODEL_ONNXRUNTIME_H

#include "base/buffer.h"
#include "model/model_int.h"

enum {
    QN_ORT_CLASSES = 4,
    QN_ORT_ROWS_MAX = 1024, /* a model with a larger fixed batch is refused */
    QN_ORT_TENSORS_MAX = 4096
};

/* Types of tensors, as ONNX numbers them. */
enum qn_ort_type {
    QN_ORT_FLOAT = 1,
    QN_ORT_INT32 = 6,
    QN_ORT_INT64 = 7,
    QN_ORT_TEXT = 8,
    QN_ORT_BOOL = 9,
    QN_ORT_DOUBLE = 11
};

/* What the library hands out; opaque. A status is NULL when all is well. */
struct qn_ort_status;
struct qn_ort_object;

/* The functions in use, with the library's signatures; pointers to char are UTF-8 with NUL. */
struct qn_ort_api {
    const char *(*error_message)(const struct qn_ort_status *);
    struct qn_ort_status *(*create_env)(int log_level, const char *log_id, struct qn_ort_object **);
    struct qn_ort_status *(*create_session)(const struct qn_ort_object *env, const void *bytes,
                                            size_t len, const struct qn_ort_object *options,
                                            struct qn_ort_object **);
    struct qn_ort_status *(*run)(struct qn_ort_object *session, const struct qn_ort_object *options,
                                 const char *const *input_names,
                                 const struct qn_ort_object *const *inputs, size_t input_count,
                                 const char *const *output_names, size_t output_count,
                                 struct qn_ort_object **outputs);
    struct qn_ort_status *(*create_options)(struct qn_ort_object **);
    struct qn_ort_status *(*set_optimisation)(struct qn_ort_object *options, int level);
    struct qn_ort_status *(*set_intra_threads)(struct qn_ort_object *options, int);
    struct qn_ort_status *(*set_inter_threads)(struct qn_ort_object *options, int);
    struct qn_ort_status *(*count[2])(const struct qn_ort_object *session,
                                      size_t *); /* inputs, outputs */
    struct qn_ort_status *(*type[2])(const struct qn_ort_object *session, size_t,
                                     struct qn_ort_object **);
    struct qn_ort_status *(*name[2])(const struct qn_ort_object *session, size_t,
                                     struct qn_ort_object *allocator, char **);
    struct qn_ort_status *(*create_tensor)(const struct qn_ort_object *memory, void *data,
                                           size_t bytes, const int64_t *dims, size_t dim_count,
                                           int type, struct qn_ort_object **);
    /* Like create_tensor, in memory of the library: for texts. */
    struct qn_ort_status *(*create_owned)(struct qn_ort_object *allocator, const int64_t *dims,
                                          size_t dim_count, int type, struct qn_ort_object **);
    /* Copies `count` texts with NUL, all of the tensor. */
    struct qn_ort_status *(*fill_texts)(struct qn_ort_object *value, const char *const *texts,
                                        size_t count);
    struct qn_ort_status *(*tensor_data)(struct qn_ort_object *value, void **);
    struct qn_ort_status *(*tensor_of_type)(const struct qn_ort_object *type,
                                            const struct qn_ort_object **tensor);
    struct qn_ort_status *(*kind_of_type)(const struct qn_ort_object *type, int *);
    struct qn_ort_status *(*element_type)(const struct qn_ort_object *tensor, int *);
    struct qn_ort_status *(*dim_count)(const struct qn_ort_object *tensor, size_t *);
    struct qn_ort_status *(*dims)(const struct qn_ort_object *tensor, int64_t *, size_t);
    struct qn_ort_status *(*tensor_of_value)(const struct qn_ort_object *value,
                                             struct qn_ort_object **tensor);
    struct qn_ort_status *(*create_cpu_memory)(int allocator, int kind, struct qn_ort_object **);
    struct qn_ort_status *(*free_text)(struct qn_ort_object *allocator, void *);
    struct qn_ort_status *(*allocator)(struct qn_ort_object **);
    /* What the library was built with: "CPUExecutionProvider", ...; to be released together. */
    struct qn_ort_status *(*providers)(char ***names, int *count);
    struct qn_ort_status *(*release_providers)(char **names, int count);
    /* Options of a CUDA device, as words; a copy goes into the session's options. */
    struct qn_ort_status *(*create_cuda)(struct qn_ort_object **cuda);
    struct qn_ort_status *(*update_cuda)(struct qn_ort_object *cuda, const char *const *keys,
                                         const char *const *values, size_t count);
    struct qn_ort_status *(*add_cuda)(struct qn_ort_object *options,
                                      const struct qn_ort_object *cuda);
    void (*release_cuda)(struct qn_ort_object *cuda);
    /* Whether a device computes so that its answers repeat; NULL before 1.17. */
    struct qn_ort_status *(*set_determined)(struct qn_ort_object *options, bool);
    void (*release_env)(struct qn_ort_object *);
    void (*release_status)(struct qn_ort_status *);
    void (*release_memory)(struct qn_ort_object *);
    void (*release_session)(struct qn_ort_object *);
    void (*release_value)(struct qn_ort_object *);
    void (*release_type)(struct qn_ort_object *);
    void (*release_tensor)(struct qn_ort_object *);
    void (*release_options)(struct qn_ort_object *);
};

/* One tensor that goes in: [rows] or [rows, width]; it takes inputs [first, first + width) of the
 * model. */
struct qn_ort_input {
    const char *name;
    enum qn_ort_type type;
    uint32_t rank, first, width;
    uint32_t fixed_rows; /* 0 = any */
};

/* Tensors for one number of rows. */
struct qn_ort_class {
    uint32_t rows;
    void **buffers; /* [inputs] row-major; of texts: pointers into the run's `texts` */
    struct qn_ort_object **values; /* [inputs] over the buffers                  */
    void *out_buffer;
    struct qn_ort_object *out_value;
};

/* What one call at a time uses. */
struct qn_ort_run {
    _Alignas(64) bool is_claimed; /* atomic */
    struct qn_ort_class classes[QN_ORT_CLASSES];
    struct qn_buf texts; /* of the tensor that is being filled, with NUL; grows to the largest */
};

struct qn_ort {
    struct qn_ort_api api;
    const char *version;   /* of the library: "1.31.1" */
    bool is_on_device;     /* the session is on a CUDA device */
    const char *no_device; /* why it is not, where one was asked for; else NULL */
    struct qn_ort_object *env, *session, *memory;
    struct qn_ort_input *inputs;
    const char **input_names; /* parallel to inputs */
    uint32_t input_count;
    const char *output_name;
    enum qn_ort_type output_type;
    uint32_t output_rank, output_width; /* of the tensor, per row */
    uint32_t output_first;              /* the first of info.outputs columns that are taken */
    uint32_t class_count, class_rows[QN_ORT_CLASSES]; /* ascending */
    bool is_one_by_one;                               /* a call per row, at the first place */
    bool has_avx2;                                    /* of the CPU, for tensors of floats   */
    struct qn_ort_run *runs;
    uint32_t run_count;
};

/* Bytes of one element. */
static inline size_t qn_ort_width(enum qn_ort_type type)
{
    return type == QN_ORT_BOOL ? 1 : type == QN_ORT_FLOAT || type == QN_ORT_INT32 ? 4 : 8;
}

/* Opens the library into m->ort, whose session is still to be made; `reason` says in messages what
 * needs it. QN_UNSUPPORTED: there is none, or an old one. */
qn_status qn_model_ort_open(struct qn_model *m, const char *reason, struct qn_err *err);
/* Makes env, session and memory of m->ort, where opt->provider says. QN_UNSUPPORTED: CUDA was asked
 * for and there is none. */
qn_status qn_model_ort_session(struct qn_model *m, struct qn_str bytes,
                               const struct qn_model_options *opt, struct qn_err *err);
/* Turns a status into our error, with the library's words on one line, and releases it. */
qn_status qn_model_ort_check(const struct qn_ort *ort, struct qn_ort_status *status,
                             const char *what, struct qn_err *err);

/* Loads ONNX bytes that our kernels cannot run; `reason` says why. `zipped`: a tensor inside the
 * graph to be taken as an output too, the numbers before ZipMap, under 100 bytes; NULL = none. */
qn_status qn_model_load_onnxruntime(struct qn_model *m, struct qn_str bytes,
                                    const struct qn_model_options *opt, const char *reason,
                                    const char *zipped, struct qn_err *err);
/* Releases what the library made; NULL is fine. */
void qn_model_ort_fini(struct qn_ort *ort);

/* Scores rows [first, first + rows), at most QN_MODEL_BLOCK, with one class only: for the probe. */
void qn_model_ort_class(const struct qn_model *m, const double *const *columns, uint32_t first,
                        uint32_t rows, uint32_t class_at, void *sums);

#endif
