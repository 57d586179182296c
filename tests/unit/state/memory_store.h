/* SPDX-License-Identifier: Apache-2.0
 * memory_store.h - a store of snapshots in memory, whose n-th operation can fail.
 *
 * For tests only. Objects are whole or not there, as the face of stores promises. Thread: any; one
 * lock. */
#ifndef QN_TESTS_MEMORY_STORE_H
#define QN_TESTS_MEMORY_STORE_H

#include "state/snapshot.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { STORE_OBJECTS = 4096 };

struct memory_object {
    char name[64];
    char *bytes;
    size_t len;
};

struct memory_store {
    struct memory_object objects[STORE_OBJECTS];
    uint64_t calls, fail_at; /* of put, get and list; 0 = never */
    struct qn_snapshot_store table;
    pthread_mutex_t lock;
};

static inline bool memory_fails(struct memory_store *m)
{
    return ++m->calls == m->fail_at;
}

static inline struct memory_object *memory_find(struct memory_store *m, const char *name)
{
    for (int i = 0; i < STORE_OBJECTS; i++)
        if (strcmp(m->objects[i].name, name) == 0)
            return &m->objects[i];
    return NULL;
}

static qn_status put_now(struct memory_store *m, const char *name, const void *p, size_t bytes,
                         struct qn_err *err)
{
    struct memory_object *o = memory_find(m, name);

    if (memory_fails(m))
        return qn_err_set(err, QN_IO, "the store has failed");
    if (o == NULL)
        o = memory_find(m, "");
    if (o == NULL || strlen(name) >= sizeof o->name)
        abort();
    free(o->bytes);
    strncpy(o->name, name, sizeof o->name - 1);
    o->bytes = malloc(bytes + 1);
    memcpy(o->bytes, p, bytes);
    o->len = bytes;
    return QN_OK;
}

static qn_status get_now(struct memory_store *m, const char *name, size_t limit_bytes,
                         struct qn_buf *out, struct qn_err *err)
{
    const struct memory_object *o = memory_find(m, name);

    qn_buf_clear(out);
    if (memory_fails(m))
        return qn_err_set(err, QN_IO, "the store has failed");
    if (o == NULL)
        return qn_err_set(err, QN_NOT_FOUND, "no %s", name);
    if (o->len > limit_bytes)
        return qn_err_set(err, QN_LIMIT, "%s is too large", name);
    qn_buf_add(out, o->bytes, o->len);
    return out->failed ? qn_err_set(err, QN_NOMEM, "out of memory") : QN_OK;
}

static qn_status list_now(struct memory_store *m, void (*each)(void *arg, const char *name),
                          void *arg, struct qn_err *err)
{
    if (memory_fails(m))
        return qn_err_set(err, QN_IO, "the store has failed");
    for (int i = 0; i < STORE_OBJECTS; i++)
        if (m->objects[i].name[0] != '\0')
            each(arg, m->objects[i].name);
    return QN_OK;
}

static qn_status memory_put(void *st, const char *name, const void *p, size_t bytes,
                            struct qn_err *err)
{
    struct memory_store *m = st;
    qn_status rc;

    pthread_mutex_lock(&m->lock);
    rc = put_now(m, name, p, bytes, err);
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static qn_status memory_get(void *st, const char *name, size_t limit_bytes, struct qn_buf *out,
                            struct qn_err *err)
{
    struct memory_store *m = st;
    qn_status rc;

    pthread_mutex_lock(&m->lock);
    rc = get_now(m, name, limit_bytes, out, err);
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static qn_status memory_list(void *st, void (*each)(void *arg, const char *name), void *arg,
                             struct qn_err *err)
{
    struct memory_store *m = st;
    qn_status rc;

    pthread_mutex_lock(&m->lock);
    rc = list_now(m, each, arg, err);
    pthread_mutex_unlock(&m->lock);
    return rc;
}

static qn_status memory_remove(void *st, const char *name, struct qn_err *err)
{
    struct memory_store *m = st;
    struct memory_object *o;

    (void)err;
    pthread_mutex_lock(&m->lock);
    o = memory_find(m, name);
    if (o != NULL) {
        free(o->bytes);
        *o = (struct memory_object){0};
    }
    pthread_mutex_unlock(&m->lock);
    return QN_OK;
}

static inline struct memory_store *memory_store_new(void)
{
    struct memory_store *m = calloc(1, sizeof *m);

    pthread_mutex_init(&m->lock, NULL);
    m->table = (struct qn_snapshot_store){memory_put, memory_get, memory_list, memory_remove, m};
    return m;
}

static inline void memory_store_free(struct memory_store *m)
{
    for (int i = 0; i < STORE_OBJECTS; i++)
        free(m->objects[i].bytes);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

#endif
