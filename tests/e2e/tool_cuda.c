/* SPDX-License-Identifier: Apache-2.0
 * tool_cuda.c - ONNX Runtime as if it had been built with CUDA, for test_onnxruntime.py on machines
 * without a device.
 *
 * A library that hands out the real one's table ($REAL_ONNXRUNTIME) with the functions for a CUDA
 * device replaced: what they are given goes to the file $CUDA_SEEN, a line per call. $CUDA_FAULT:
 * "device": the library refuses to add it; "session": it refuses the session; "tf32": it does not
 * know that option, as releases before 1.18. Sessions run on the CPU. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS = 0, SESSION = 8, SLOTS = 300 };

struct base {
    const void *(*table)(unsigned);
    const char *(*version)(void);
};

static void *table[SLOTS];
static const struct base *real;
static bool has_device; /* the options that a session is made of next have one */
static struct base stub;

static bool fault(const char *name)
{
    const char *wanted = getenv("CUDA_FAULT");

    return wanted != NULL && strcmp(wanted, name) == 0;
}

static void seen(const char *words, const char *key, const char *value)
{
    FILE *f = fopen(getenv("CUDA_SEEN"), "a");

    fprintf(f, "%s %s=%s\n", words, key, value);
    fclose(f);
}

static void *refuse(const char *why)
{
    void *(*status)(int, const char *);

    memcpy(&status, &table[STATUS], sizeof(status));
    return status(1, why);
}

static void *providers(char ***names, int *count)
{
    static char *both[] = {"CUDAExecutionProvider", "CPUExecutionProvider"};

    *names = both;
    *count = 2;
    return NULL;
}

static void *release_providers(char **names, int count)
{
    (void)names;
    seen("released", "providers", count == 2 ? "2" : "?");
    return NULL;
}

static void *create(void **out)
{
    *out = &has_device;
    return NULL;
}

static void *update(void *cuda, const char *const *keys, const char *const *values, size_t count)
{
    if (cuda != &has_device)
        abort();
    for (size_t i = 0; i < count; i++)
        seen("option", keys[i], values[i]);
    for (size_t i = 0; i < count; i++)
        if (fault("tf32") && strcmp(keys[i], "use_tf32") == 0)
            return refuse("Unknown provider option: \"use_tf32\"");
    return NULL;
}

static void *add(void *options, const void *cuda)
{
    if (options == NULL || cuda != &has_device)
        abort();
    if (fault("device"))
        return refuse("libcublas.so.12: cannot open\nshared object file");
    has_device = true;
    return NULL;
}

static void release(void *cuda)
{
    seen("released", "device", cuda == &has_device ? "1" : "?");
}

static void *session(const void *env, const void *bytes, size_t len, const void *options,
                     void **out)
{
    void *(*create_session)(const void *, const void *, size_t, const void *, void **);
    const bool is_cuda = has_device;

    has_device = false;
    if (is_cuda && fault("session"))
        return refuse("CUDA failure 100: no CUDA-capable device is detected");
    memcpy(&create_session, (const char *)real->table(16) + SESSION * sizeof(void *),
           sizeof(create_session));
    return create_session(env, bytes, len, options, out);
}

static void put(unsigned slot, void *function)
{
    memcpy(&table[slot], function, sizeof(void *));
}

static const void *get_table(unsigned version)
{
    const void *from = real->table(version);

    /* as many functions as the interface of 1.17 has, and a few less */
    memcpy(table, from, 274 * sizeof(void *));
    put(SESSION, &(void *(*)(const void *, const void *, size_t, const void *, void **)){session});
    put(125, &(void *(*)(char ***, int *)){providers});
    put(126, &(void *(*)(char **, int)){release_providers});
    put(204, &(void *(*)(void *, const void *)){add});
    put(205, &(void *(*)(void **)){create});
    put(206, &(void *(*)(void *, const char *const *, const char *const *, size_t)){update});
    put(208, &(void (*)(void *)){release});
    return table;
}

__attribute__((visibility("default"))) const struct base *OrtGetApiBase(void)
{
    void *library = dlopen(getenv("REAL_ONNXRUNTIME"), RTLD_NOW | RTLD_LOCAL);
    const struct base *(*get)(void);
    void *symbol = dlsym(library, "OrtGetApiBase");

    memcpy(&get, &symbol, sizeof(get));
    real = get();
    stub = (struct base){get_table, real->version};
    return &stub;
}
