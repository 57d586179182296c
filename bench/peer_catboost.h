/* SPDX-License-Identifier: Apache-2.0
 * peer_catboost.h - CatBoost's prediction library from C, for bench_peers.c.
 *
 * The Python package has no C interface, and a call of it costs a thousand times what the trees do.
 * The Java package carries the library itself behind Java's native interface (JNI): functions that
 * are handed a table of functions of the virtual machine. This is such a table without a machine:
 * an array is a length and a pointer, and what the library does not use stops the program. So a
 * call costs what the library does, and no more. Places in the table are those of the JNI
 * specification, chapter 4. Thread: one. Memory: kept. */
#ifndef QN_BENCH_PEER_CATBOOST_H
#define QN_BENCH_PEER_CATBOOST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JNI_SLOTS = 235, CATBOOST_ROWS_MAX = 1024 };

/* Any Java array or string. */
struct jni_array {
    int32_t length;
    void *data; /* of arrays: structs jni_array */
};

/* The library sees a pointer to a pointer to the table. */
struct catboost {
    void (**env)(void);
    void (*table[JNI_SLOTS])(void);
    void (*predict)(void);
    int64_t handle;
    struct jni_array rows[CATBOOST_ROWS_MAX], matrix, answers;
};

static void jni_unused(void)
{
    fprintf(stderr, "peer_catboost: the library asks for something that is not there\n");
    exit(1);
}

/* The library makes a text of what went wrong, and of nothing else. */
static void *jni_new_text(void *env, const char *words)
{
    (void)env;
    fprintf(stderr, "peer_catboost: %s\n", words);
    exit(1);
}

static void jni_nothing(void *env, void *object)
{
    (void)env;
    (void)object;
}

static uint8_t jni_is_same(void *env, const void *a, const void *b)
{
    (void)env;
    return a == b;
}

static int32_t jni_length(void *env, const struct jni_array *a)
{
    (void)env;
    return a->length;
}

static void *jni_object_at(void *env, const struct jni_array *a, int32_t i)
{
    (void)env;
    return (struct jni_array *)a->data + i;
}

static void *jni_elements(void *env, const struct jni_array *a, uint8_t *is_copy)
{
    (void)env;
    if (is_copy != NULL)
        *is_copy = 0;
    return a->data;
}

static void jni_release(void *env, const struct jni_array *a, void *elements, int32_t mode)
{
    (void)env;
    (void)a;
    (void)elements;
    (void)mode;
}

static void jni_release_text(void *env, const struct jni_array *a, const char *text)
{
    (void)env;
    (void)a;
    (void)text;
}

static void jni_get_floats(void *env, const struct jni_array *a, int32_t at, int32_t n, float *out)
{
    (void)env;
    memcpy(out, (const float *)a->data + at, (size_t)n * sizeof(*out));
}

static void jni_set_longs(void *env, struct jni_array *a, int32_t at, int32_t n, const int64_t *in)
{
    (void)env;
    memcpy((int64_t *)a->data + at, in, (size_t)n * sizeof(*in));
}

static void jni_set_doubles(void *env, struct jni_array *a, int32_t at, int32_t n, const double *in)
{
    (void)env;
    memcpy((double *)a->data + at, in, (size_t)n * sizeof(*in));
}

#define JNI_PUT(c, slot, function) ((c)->table[slot] = (void (*)(void))(function))

static void jni_fill(struct catboost *c)
{
    for (unsigned i = 0; i < JNI_SLOTS; i++)
        c->table[i] = jni_unused;
    JNI_PUT(c, 23, jni_nothing); /* DeleteLocalRef */
    JNI_PUT(c, 24, jni_is_same);
    JNI_PUT(c, 167, jni_new_text);
    JNI_PUT(c, 168, jni_length);   /* GetStringUTFLength */
    JNI_PUT(c, 169, jni_elements); /* GetStringUTFChars  */
    JNI_PUT(c, 170, jni_release_text);
    JNI_PUT(c, 171, jni_length);
    JNI_PUT(c, 173, jni_object_at);
    JNI_PUT(c, 189, jni_elements); /* of floats  */
    JNI_PUT(c, 190, jni_elements); /* of doubles */
    JNI_PUT(c, 197, jni_release);
    JNI_PUT(c, 198, jni_release);
    JNI_PUT(c, 205, jni_get_floats);
    JNI_PUT(c, 212, jni_set_longs);
    JNI_PUT(c, 214, jni_set_doubles);
    JNI_PUT(c, 222, jni_elements); /* GetPrimitiveArrayCritical */
    JNI_PUT(c, 223, jni_release);
    c->env = c->table;
}

/* Loads a .cbm; false with what the library says. A function of it returns a text of what went
 * wrong, or NULL. */
static bool catboost_load(struct catboost *c, void *load, void *predict, const char *file)
{
    void *(*load_file)(void *, void *, struct jni_array *, struct jni_array *, struct jni_array *);
    char *name = strdup(file), format[] = "bin";
    struct jni_array text = {(int32_t)strlen(file), name}, handle = {1, &c->handle},
                     kind = {sizeof(format) - 1, format};

    memcpy(&load_file, &load, sizeof(load));
    memcpy(&c->predict, &predict, sizeof(predict));
    jni_fill(c);
    return load_file(&c->env, NULL, &text, &handle, &kind) == NULL;
}

/* Rows of `inputs` floats, row-major; raw values to out. */
static bool catboost_predict(struct catboost *c, const float *rows, uint32_t count, uint32_t inputs,
                             double *out)
{
    void *(*predict)(void *, void *, int64_t, struct jni_array *, void *, void *, void *,
                     struct jni_array *);

    memcpy(&predict, &c->predict, sizeof(predict));
    for (uint32_t r = 0; r < count; r++)
        c->rows[r] = (struct jni_array){(int32_t)inputs, (float *)(uintptr_t)rows + r * inputs};
    c->matrix = (struct jni_array){(int32_t)count, c->rows};
    c->answers = (struct jni_array){(int32_t)count, out};
    return predict(&c->env, NULL, c->handle, &c->matrix, NULL, NULL, NULL, &c->answers) == NULL;
}

#endif
