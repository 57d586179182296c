/* SPDX-License-Identifier: Apache-2.0
 * onnxruntime_open.c - opens ONNX Runtime's library and makes a session of a model, on the CPU or
 * on a CUDA device.
 *
 * The places of functions in the library's table are fixed for good by its promise of compatibility
 * (onnxruntime_c_api.h): functions are only added, behind those that are there. A device is asked
 * for through the functions for CUDA alone, whose options are words, not a struct that changes.
 * What the library says when a device cannot be had goes to the user. Thread: the loader's. Memory:
 * the model's arena; objects of the library until qn_model_ort_fini; the library stays open. */
#include "base/check.h"
#include "base/number.h"
#include "model/onnxruntime.h"

#include <dlfcn.h>
#include <stdio.h>

enum {
    API_VERSION = 16,    /* the interface of 1.16; newer libraries serve it too            */
    API_DETERMINED = 17, /* from here on a session can be told to compute deterministically */
    LOG_FATAL = 4,       /* errors come back as statuses, not on stderr                     */
    ARENA_ALLOCATOR = 1,
    MEMORY_DEFAULT = 0,
    OPTIMISE_SIMPLE = 1,
    OPTIMISE_ALL = 99,
    TEXT_BYTES = 300
};

/* ---- the library ---- */

static const char *library_path; /* NULL: the usual names; "": none at all */

void qn_model_onnxruntime(const char *path)
{
    library_path = path;
}

/* What the library exports. */
struct base {
    const void *(*table)(uint32_t version);
    const char *(*version)(void);
};

static void take(const void *table, void *function, size_t place)
{
    memcpy(function, (const char *)table + place * sizeof(void (*)(void)), sizeof(void (*)(void)));
}

static void take_all(const void *t, struct qn_ort_api *a)
{
    take(t, &a->error_message, 2);
    take(t, &a->create_env, 3);
    take(t, &a->create_session, 8);
    take(t, &a->run, 9);
    take(t, &a->create_options, 10);
    take(t, &a->set_optimisation, 23);
    take(t, &a->set_intra_threads, 24);
    take(t, &a->set_inter_threads, 25);
    take(t, &a->count[0], 30);
    take(t, &a->count[1], 31);
    take(t, &a->type[0], 33);
    take(t, &a->type[1], 34);
    take(t, &a->name[0], 36);
    take(t, &a->name[1], 37);
    take(t, &a->create_owned, 48);
    take(t, &a->create_tensor, 49);
    take(t, &a->tensor_data, 51);
    take(t, &a->fill_texts, 52);
    take(t, &a->tensor_of_type, 55);
    take(t, &a->kind_of_type, 56);
    take(t, &a->element_type, 60);
    take(t, &a->dim_count, 61);
    take(t, &a->dims, 62);
    take(t, &a->tensor_of_value, 65);
    take(t, &a->create_cpu_memory, 69);
    take(t, &a->free_text, 76);
    take(t, &a->allocator, 78);
    take(t, &a->release_env, 92);
    take(t, &a->release_status, 93);
    take(t, &a->release_memory, 94);
    take(t, &a->release_session, 95);
    take(t, &a->release_value, 96);
    take(t, &a->release_type, 98);
    take(t, &a->release_tensor, 99);
    take(t, &a->release_options, 100);
    take(t, &a->providers, 125);
    take(t, &a->release_providers, 126);
    take(t, &a->add_cuda, 204);
    take(t, &a->create_cuda, 205);
    take(t, &a->update_cuda, 206);
    take(t, &a->release_cuda, 208);
}

/* The open library, or NULL with what the last attempt said in `said`. It stays open: it keeps
 * threads and destructors of its own. */
static void *open_library(char *said, size_t bytes)
{
    static const char *const usual[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
    void *library = NULL;

    if (library_path != NULL && library_path[0] != '\0')
        library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
    for (unsigned i = 0; i < 2 && library == NULL && library_path == NULL; i++)
        library = dlopen(usual[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *why = library_path != NULL && library_path[0] == '\0' ? NULL : dlerror();

        snprintf(said, bytes, "%s", why != NULL ? why : "it is switched off");
    }
    return library;
}

/* "1.31.1" is 31; another major version, or what cannot be read, is 0. */
static uint32_t minor_of(const char *version)
{
    const char *dot = strncmp(version, "1.", 2) == 0 ? strchr(version + 2, '.') : NULL;
    int64_t minor = 0;

    if (dot == NULL ||
        !qn_text_int64((struct qn_str){version + 2, (uint32_t)(dot - version - 2)}, &minor) ||
        minor < 0 || minor > 1 << 20)
        return 0;
    return (uint32_t)minor;
}

qn_status qn_model_ort_open(struct qn_model *m, const char *reason, struct qn_err *err)
{
    struct qn_ort *ort = m->ort;
    char said[TEXT_BYTES];
    const struct base *(*get)(void) = NULL;
    const struct base *base;
    const void *table = NULL;
    uint32_t minor;
    void *library = open_library(said, sizeof(said));
    void *symbol = library != NULL ? dlsym(library, "OrtGetApiBase") : NULL;

    if (library == NULL)
        return qn_err_set(err, QN_UNSUPPORTED,
                          "ONNX: %s is nothing our kernels run, and ONNX Runtime, which would, "
                          "cannot be opened: %s; install it (pip install onnxruntime) and set "
                          "QUERN_ONNXRUNTIME to its libonnxruntime.so.1.X.Y",
                          reason, said);
    if (symbol != NULL) {
        memcpy(&get, &symbol, sizeof(get));
        base = get();
        ort->version = qn_model_text(m, qn_str_of(base->version()));
        if (ort->version == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory");
        minor = minor_of(ort->version);
        /* the library writes to stderr when asked for what it does not have */
        if (minor >= API_VERSION)
            table = base->table(minor < API_DETERMINED ? API_VERSION : API_DETERMINED);
        if (table != NULL && minor >= API_DETERMINED)
            take(table, &ort->api.set_determined, 273);
    }
    if (table == NULL)
        return qn_err_set(err, QN_UNSUPPORTED,
                          "ONNX: %s needs ONNX Runtime 1.%d or newer; the library that was found "
                          "is %s%s",
                          reason, API_VERSION, symbol != NULL ? "version " : "none",
                          symbol != NULL ? ort->version : "");
    take_all(table, &ort->api);
    return QN_OK;
}

/* What the library says behind its own place in the source and code, where it names those:
 * "file.cc:1 f() [ONNXRuntimeError] : 1 : FAIL : words". */
static const char *words_of(const char *message)
{
    static const char mark[] = "[ONNXRuntimeError] : ";
    const char *at = strstr(message, mark);

    for (unsigned i = 0; i < 2 && at != NULL; i++) {
        at = strstr(at + (i == 0 ? sizeof(mark) - 1 : 0), " : ");
        at = at != NULL ? at + 3 : NULL;
    }
    return at != NULL ? at : message;
}

/* The library's words on one line; the status is released. */
static void take_words(const struct qn_ort *ort, struct qn_ort_status *status, char *said,
                       size_t bytes)
{
    snprintf(said, bytes, "%s", words_of(ort->api.error_message(status)));
    ort->api.release_status(status);
    for (char *p = said; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ')
            *p = ' ';
    }
}

qn_status qn_model_ort_check(const struct qn_ort *ort, struct qn_ort_status *status,
                             const char *what, struct qn_err *err)
{
    char said[TEXT_BYTES];

    if (status == NULL)
        return QN_OK;
    take_words(ort, status, said, sizeof(said));
    return qn_err_set(err, QN_CORRUPT, "ONNX Runtime %s %s: %s", ort->version, what, said);
}

/* ---- a CUDA device ---- */

/* Whether the library was built with CUDA; that says nothing of a device. */
static bool knows_cuda(const struct qn_ort *ort)
{
    char **names = NULL;
    int count = 0;
    bool found = false;
    struct qn_ort_status *status = ort->api.providers(&names, &count);

    for (int i = 0; status == NULL && i < count; i++)
        found |= strcmp(names[i], "CUDAExecutionProvider") == 0;
    if (status == NULL)
        status = ort->api.release_providers(names, count);
    if (status != NULL)
        ort->api.release_status(status);
    return found;
}

/* The options of the device: how a convolution is computed is not decided by a race, and float32 is
 * float32. A library before 1.18 does not know the last one. NULL or a status. */
static struct qn_ort_status *set_device(const struct qn_ort *ort, struct qn_ort_object *cuda,
                                        uint32_t device)
{
    static const char *const keys[] = {"device_id", "cudnn_conv_algo_search", "use_tf32"};
    char number[12];
    const char *values[] = {number, "DEFAULT", "0"};
    struct qn_ort_status *status;

    snprintf(number, sizeof(number), "%u", device);
    status = ort->api.update_cuda(cuda, keys, values, 3);
    if (status == NULL)
        return NULL;
    ort->api.release_status(status);
    return ort->api.update_cuda(cuda, keys, values, 2);
}

/* Adds the device to the options of a session; false with the library's words in `said`. */
static bool add_device(const struct qn_ort *ort, struct qn_ort_object *options, uint32_t device,
                       char *said, size_t bytes)
{
    struct qn_ort_object *cuda = NULL;
    struct qn_ort_status *status;

    if (!knows_cuda(ort)) {
        snprintf(said, bytes, "this ONNX Runtime, %s, was built without CUDA", ort->version);
        return false;
    }
    status = ort->api.create_cuda(&cuda);
    if (status == NULL)
        status = set_device(ort, cuda, device);
    if (status == NULL)
        status = ort->api.add_cuda(options, cuda);
    if (status == NULL && ort->api.set_determined != NULL)
        status = ort->api.set_determined(options, true);
    if (cuda != NULL)
        ort->api.release_cuda(cuda);
    if (status != NULL)
        take_words(ort, status, said, bytes);
    return status == NULL;
}

/* ---- the session ---- */

struct making {
    struct qn_ort *ort;
    struct qn_str bytes;
    const struct qn_model_options *opt;
    char said[TEXT_BYTES]; /* why there is no device */
};

/* Options of a session, with one thread; to be released also after an error. */
static qn_status make_options(const struct qn_ort *ort, struct qn_ort_object **out,
                              struct qn_err *err)
{
    const struct qn_ort_api *a = &ort->api;

    QN_TRY(qn_model_ort_check(ort, a->create_options(out), "cannot start", err));
    QN_TRY(qn_model_ort_check(ort, a->set_intra_threads(*out, 1), "cannot start", err));
    return qn_model_ort_check(ort, a->set_inter_threads(*out, 1), "cannot start", err);
}

/* A session on the device; ort->session stays NULL, with the reason in mk->said, where there is
 * none. */
static qn_status try_device(struct making *mk, struct qn_err *err)
{
    struct qn_ort *ort = mk->ort;
    struct qn_ort_object *options = NULL;
    struct qn_ort_status *status;
    qn_status rc = make_options(ort, &options, err);

    if (rc == QN_OK && add_device(ort, options, mk->opt->device, mk->said, sizeof(mk->said))) {
        status =
            ort->api.create_session(ort->env, mk->bytes.p, mk->bytes.len, options, &ort->session);
        if (status != NULL) {
            take_words(ort, status, mk->said, sizeof(mk->said));
            ort->session = NULL;
        }
    }
    if (options != NULL)
        ort->api.release_options(options);
    ort->is_on_device = ort->session != NULL;
    return rc;
}

/* A session on the CPU, made as `level` says; a status is the library's refusal. */
static qn_status try_cpu(struct making *mk, int level, struct qn_ort_status **status,
                         struct qn_err *err)
{
    struct qn_ort *ort = mk->ort;
    struct qn_ort_object *options = NULL;
    qn_status rc = make_options(ort, &options, err);

    if (rc == QN_OK)
        rc =
            qn_model_ort_check(ort, ort->api.set_optimisation(options, level), "cannot start", err);
    if (rc == QN_OK)
        *status =
            ort->api.create_session(ort->env, mk->bytes.p, mk->bytes.len, options, &ort->session);
    if (rc == QN_OK && *status != NULL)
        ort->session = NULL;
    if (options != NULL)
        ort->api.release_options(options);
    return rc;
}

/* Releases up to 1.17 fuse operators of doubles into one that they do not have, and then refuse the
 * graph; with simple optimisations they take it. The refusal that counts is the first one. */
static qn_status use_cpu(struct making *mk, struct qn_err *err)
{
    const struct qn_ort *ort = mk->ort;
    struct qn_ort_status *first = NULL, *second = NULL;
    qn_status rc = try_cpu(mk, OPTIMISE_ALL, &first, err);

    if (rc == QN_OK && first != NULL)
        rc = try_cpu(mk, OPTIMISE_SIMPLE, &second, err);
    if (second != NULL)
        ort->api.release_status(second);
    if (first != NULL && ort->session != NULL) {
        ort->api.release_status(first);
        first = NULL;
    }
    if (rc == QN_OK)
        return qn_model_ort_check(ort, first, "refuses the model", err);
    if (first != NULL)
        ort->api.release_status(first);
    return rc;
}

static qn_status refuse_device(const struct making *mk, struct qn_err *err)
{
    return qn_err_set(
        err, QN_UNSUPPORTED,
        "ONNX: CUDA device %u cannot be used: %.260s; install onnxruntime-gpu with the "
        "CUDA and cuDNN it names and a driver, and set QUERN_ONNXRUNTIME to its "
        "libonnxruntime.so, or write 'provider: auto', which takes the CPU then",
        mk->opt->device, mk->said);
}

qn_status qn_model_ort_session(struct qn_model *m, struct qn_str bytes,
                               const struct qn_model_options *opt, struct qn_err *err)
{
    struct making mk = {.ort = m->ort, .bytes = bytes, .opt = opt};
    struct qn_ort *ort = m->ort;

    QN_TRY(qn_model_ort_check(ort, ort->api.create_env(LOG_FATAL, "quern", &ort->env),
                              "cannot start", err));
    if (opt->provider != QN_PROVIDER_CPU) {
        QN_TRY(try_device(&mk, err));
        if (ort->session == NULL && opt->provider == QN_PROVIDER_CUDA)
            return refuse_device(&mk, err);
        ort->no_device = ort->session == NULL ? qn_model_text(m, qn_str_of(mk.said)) : NULL;
    }
    if (ort->session == NULL)
        QN_TRY(use_cpu(&mk, err));
    return qn_model_ort_check(
        ort, ort->api.create_cpu_memory(ARENA_ALLOCATOR, MEMORY_DEFAULT, &ort->memory),
        "cannot start", err);
}
