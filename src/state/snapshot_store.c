/* SPDX-License-Identifier: Apache-2.0
 * snapshot_store.c - snapshots in a folder or a bucket, and what a store holds. See snapshot.h.
 *
 * In a folder an object is written under its name and ".tmp", synced, renamed, and the folder
 * synced; a bucket takes it as a whole: under its own name it is whole and durable, or not there.
 * Thread: one at a time. */
#include "base/check.h"
#include "base/memory.h"
#include "state/snapshot_int.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define REST ".tmp"

struct folder {
    const struct qn_files *files;
    char path[PATH_MAX - QN_SNAPSHOT_NAME_MAX - sizeof REST];
};

/* ---- a folder ---- */

static void path_of(const struct folder *f, const char *name, const char *ending,
                    char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/%s%s", f->path, name, ending);
}

static qn_status write_rest(const struct folder *f, const char *path, const void *p, size_t bytes,
                            struct qn_err *err)
{
    const struct qn_files *fs = f->files;
    int fd = fs->open(fs->st, path, QN_OPEN_REPLACE);
    qn_status rc;
    int e;

    if (fd < 0)
        return qn_err_sys(err, -fd, "cannot create %s", path);
    rc = qn_file_write_all(fs, fd, path, p, bytes, err);
    if (rc == QN_OK && (e = fs->sync(fs->st, fd)) < 0)
        rc = qn_err_sys(err, -e, "cannot sync %s", path);
    e = fs->close(fs->st, fd);
    if (rc == QN_OK && e < 0)
        rc = qn_err_sys(err, -e, "cannot close %s", path);
    return rc;
}

static qn_status folder_put(void *st, const char *name, const void *p, size_t bytes,
                            struct qn_err *err)
{
    struct folder *f = st;
    const struct qn_files *fs = f->files;
    char rest[PATH_MAX], path[PATH_MAX];
    qn_status rc;
    int e;

    path_of(f, name, REST, rest);
    path_of(f, name, "", path);
    rc = write_rest(f, rest, p, bytes, err);
    if (rc == QN_OK && (e = fs->rename(fs->st, rest, path)) < 0)
        rc = qn_err_sys(err, -e, "cannot rename %s to %s", rest, path);
    if (rc != QN_OK) {
        fs->remove(fs->st, rest); /* what stays is removed with the next snapshot */
        return rc;
    }
    if ((e = fs->sync_folder(fs->st, f->path)) < 0)
        return qn_err_sys(err, -e, "cannot sync the folder %s", f->path);
    return QN_OK;
}

static qn_status folder_get(void *st, const char *name, size_t limit_bytes, struct qn_buf *out,
                            struct qn_err *err)
{
    struct folder *f = st;
    char path[PATH_MAX];

    path_of(f, name, "", path);
    return qn_file_read_all(f->files, path, limit_bytes, out, err);
}

static qn_status folder_list(void *st, void (*each)(void *arg, const char *name), void *arg,
                             struct qn_err *err)
{
    struct folder *f = st;
    int e = f->files->list_folder(f->files->st, f->path, each, arg);

    return e < 0 ? qn_err_sys(err, -e, "cannot list the folder %s", f->path) : QN_OK;
}

static qn_status folder_remove(void *st, const char *name, struct qn_err *err)
{
    struct folder *f = st;
    char path[PATH_MAX];
    int e;

    path_of(f, name, "", path);
    e = f->files->remove(f->files->st, path);
    return e < 0 && e != -ENOENT ? qn_err_sys(err, -e, "cannot remove %s", path) : QN_OK;
}

qn_status qn_snapshot_folder_new(const struct qn_files *files, const char *path,
                                 struct qn_snapshot_store *out, struct qn_err *err)
{
    struct folder *f;
    int e;

    *out = (struct qn_snapshot_store){0};
    if (strlen(path) >= sizeof f->path)
        return qn_err_set(err, QN_LIMIT, "the path of the folder for snapshots is too long: %s",
                          path);
    e = files->make_folder(files->st, path);
    if (e < 0 && e != -EEXIST)
        return qn_err_sys(err, -e, "cannot make the folder %s", path);
    f = qn_mem_zalloc(1, sizeof *f);
    if (f == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a folder of snapshots");
    f->files = files;
    memcpy(f->path, path, strlen(path) + 1);
    *out = (struct qn_snapshot_store){.put = folder_put,
                                      .get = folder_get,
                                      .list = folder_list,
                                      .remove = folder_remove,
                                      .st = f,
                                      .close = qn_mem_free};
    return QN_OK;
}

/* ---- a bucket ---- */

struct bucket {
    struct qn_s3 *s3;
    char *prefix;
    struct qn_buf key; /* of the request */
};

static const char *key_of(struct bucket *b, const char *name, struct qn_err *err)
{
    qn_buf_clear(&b->key);
    qn_buf_text(&b->key, b->prefix);
    qn_buf_text(&b->key, name);
    qn_buf_byte(&b->key, '\0');
    if (b->key.failed)
        qn_err_set(err, QN_NOMEM, "out of memory for a bucket of snapshots");
    return b->key.failed ? NULL : b->key.data;
}

static qn_status bucket_put(void *st, const char *name, const void *p, size_t bytes,
                            struct qn_err *err)
{
    struct bucket *b = st;
    const char *key = key_of(b, name, err);

    return key == NULL ? QN_NOMEM : qn_s3_put(b->s3, key, p, bytes, err);
}

static qn_status bucket_get(void *st, const char *name, size_t limit_bytes, struct qn_buf *out,
                            struct qn_err *err)
{
    struct bucket *b = st;
    const char *key = key_of(b, name, err);

    return key == NULL ? QN_NOMEM : qn_s3_get(b->s3, key, limit_bytes, out, err);
}

static qn_status bucket_list(void *st, void (*each)(void *arg, const char *name), void *arg,
                             struct qn_err *err)
{
    struct bucket *b = st;

    return qn_s3_list(b->s3, b->prefix, each, arg, err);
}

static qn_status bucket_remove(void *st, const char *name, struct qn_err *err)
{
    struct bucket *b = st;
    const char *key = key_of(b, name, err);

    return key == NULL ? QN_NOMEM : qn_s3_remove(b->s3, key, err);
}

static void bucket_cancel(void *st)
{
    struct bucket *b = st;

    qn_s3_cancel(b->s3);
}

static void bucket_close(void *st)
{
    struct bucket *b = st;

    qn_s3_free(b->s3);
    qn_mem_free(b->prefix);
    qn_buf_fini(&b->key);
    qn_mem_free(b);
}

qn_status qn_snapshot_bucket_new(const struct qn_s3_options *opt, const char *prefix,
                                 struct qn_snapshot_store *out, struct qn_err *err)
{
    struct bucket *b = qn_mem_zalloc(1, sizeof *b);
    qn_status rc;

    *out = (struct qn_snapshot_store){0};
    if (b == NULL)
        return qn_err_set(err, QN_NOMEM, "out of memory for a bucket of snapshots");
    b->prefix = qn_mem_strdup(prefix, strlen(prefix));
    rc = b->prefix == NULL ? qn_err_set(err, QN_NOMEM, "out of memory for a bucket of snapshots")
                           : qn_s3_new(opt, &b->s3, err);
    if (rc != QN_OK) {
        bucket_close(b);
        return rc;
    }
    *out = (struct qn_snapshot_store){.put = bucket_put,
                                      .get = bucket_get,
                                      .list = bucket_list,
                                      .remove = bucket_remove,
                                      .st = b,
                                      .cancel = bucket_cancel,
                                      .close = bucket_close};
    return QN_OK;
}

/* ---- any ---- */

void qn_snapshot_store_cancel(const struct qn_snapshot_store *s)
{
    if (s->cancel != NULL)
        s->cancel(s->st);
}

void qn_snapshot_store_free(struct qn_snapshot_store *s)
{
    if (s->close != NULL)
        s->close(s->st);
    *s = (struct qn_snapshot_store){0};
}

/* ---- what a store holds ---- */

static void numbers_add(struct qn_store_list *l, uint64_t **list, uint32_t *count, uint32_t *cap,
                        uint64_t number)
{
    if (*count == *cap) {
        uint32_t more = *cap == 0 ? 64 : *cap * 2;
        uint64_t *grown = qn_mem_realloc(*list, more * sizeof *grown);

        if (grown == NULL) {
            l->failed = true;
            return;
        }
        *list = grown;
        *cap = more;
    }
    (*list)[(*count)++] = number;
}

static void look_at(void *arg, const char *name)
{
    struct qn_store_list *l = arg;
    uint64_t number;

    if (qn_snapshot_name_parse(name, QN_SNAPSHOT_MANIFEST_ENDING, &number))
        numbers_add(l, &l->manifests, &l->manifest_count, &l->manifest_cap, number);
    else if (qn_snapshot_name_parse(name, QN_SNAPSHOT_PACK_ENDING, &number))
        numbers_add(l, &l->packs, &l->pack_count, &l->pack_cap, number);
    else if (qn_snapshot_name_parse(name, QN_SNAPSHOT_MANIFEST_ENDING REST, &number) ||
             qn_snapshot_name_parse(name, QN_SNAPSHOT_PACK_ENDING REST, &number))
        qn_buf_add(&l->rests, name, strlen(name) + 1);
}

static int newer_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? 1 : x > y ? -1 : 0;
}

qn_status qn_store_look(const struct qn_snapshot_store *store, struct qn_store_list *out,
                        struct qn_err *err)
{
    *out = (struct qn_store_list){0};
    qn_status rc = store->list(store->st, look_at, out, err);

    if (rc == QN_OK && (out->failed || out->rests.failed))
        rc = qn_err_set(err, QN_NOMEM, "out of memory for the list of snapshots");
    if (rc != QN_OK)
        qn_store_list_fini(out);
    else if (out->manifest_count > 0)
        qsort(out->manifests, out->manifest_count, sizeof *out->manifests, newer_first);
    return rc;
}

void qn_store_list_fini(struct qn_store_list *l)
{
    qn_mem_free(l->manifests);
    qn_mem_free(l->packs);
    qn_buf_fini(&l->rests);
    *l = (struct qn_store_list){0};
}

qn_status qn_store_manifest(const struct qn_snapshot_store *store, uint64_t number,
                            struct qn_buf *bytes, struct qn_manifest *out, struct qn_err *err)
{
    char name[QN_SNAPSHOT_NAME_MAX];
    qn_status rc;

    *out = (struct qn_manifest){0};
    qn_snapshot_name(name, number, QN_SNAPSHOT_MANIFEST_ENDING);
    QN_TRY(store->get(store->st, name, QN_MANIFEST_BYTES_MAX, bytes, err));
    rc = qn_manifest_parse(bytes->data, bytes->len, out, err);
    if (rc == QN_OK && out->info.number != number) {
        qn_mem_free(out->packs);
        *out = (struct qn_manifest){0};
        rc = qn_err_set(err, QN_CORRUPT, "the manifest is not the one its name says");
    }
    if (rc != QN_OK && err != NULL)
        qn_err_at(err, name, 0, 0);
    return rc;
}

qn_status qn_snapshots_list(const struct qn_snapshot_store *store,
                            void (*each)(void *arg, const struct qn_snapshot_info *info), void *arg,
                            struct qn_err *err)
{
    struct qn_store_list l;
    struct qn_buf bytes = {0};

    QN_TRY(qn_store_look(store, &l, err));
    for (uint32_t i = 0; i < l.manifest_count; i++) {
        struct qn_manifest m;

        if (qn_store_manifest(store, l.manifests[i], &bytes, &m, NULL) == QN_OK)
            each(arg, &m.info);
        qn_mem_free(m.packs);
    }
    qn_buf_fini(&bytes);
    qn_store_list_fini(&l);
    return QN_OK;
}
