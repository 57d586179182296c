/* SPDX-License-Identifier: Apache-2.0
 * log_disk.h - a disk in memory that loses power: what was written and not synced may be there or
 * not, sector by sector; names that were not synced may be there up to some operation.
 *
 * Every operation that changes something is counted and can fail: one of them (fail_at, with
 * fail_errno), or all from one on (power_at). A write during which the power fails is done in part.
 * After disk_power_loss the disk is what a machine finds when it starts again. */
#ifndef QN_TEST_LOG_DISK_H
#define QN_TEST_LOG_DISK_H

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DISK_FILES = 96,
    DISK_FDS = 48,
    DISK_FILE_BYTES = 1 << 18,
    DISK_OPS = 64,
    DISK_SECTOR = 512
};

struct disk_name {
    char name[64];
    int file; /* -1 = free */
};

struct disk_file {
    char *now, *safe;
    unsigned char *dirty; /* per sector */
    size_t now_size, safe_size;
    bool is_used, is_locked;
};

struct disk_op {
    struct disk_name removed, added; /* name "" = none */
};

struct disk {
    struct disk_file files[DISK_FILES];
    struct disk_name now[DISK_FILES], safe[DISK_FILES];
    struct disk_op pending[DISK_OPS];
    unsigned pending_count;
    int fds[DISK_FDS]; /* file + 1, 0 = free */
    bool locker[DISK_FDS];
    struct qn_rng rng;
    uint64_t calls, fail_at, power_at; /* 0 = never */
    int fail_errno;
    bool is_off, no_direct, is_tmpfs;
    uint64_t space; /* bytes that can still be allocated */
    uint64_t syncs;
    struct qn_files table;
};

static inline const char *disk_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

static inline struct disk_name *disk_find(struct disk_name *list, const char *name)
{
    for (int i = 0; i < DISK_FILES; i++)
        if (list[i].file >= 0 && strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

static inline void disk_set(struct disk_name *list, const char *name, int file)
{
    struct disk_name *n = disk_find(list, name);

    for (int i = 0; i < DISK_FILES && n == NULL; i++)
        if (list[i].file < 0)
            n = &list[i];
    if (n == NULL)
        abort();
    snprintf(n->name, sizeof n->name, "%s", name);
    n->file = file;
}

static inline void disk_unset(struct disk_name *list, const char *name)
{
    struct disk_name *n = disk_find(list, name);

    if (n != NULL)
        n->file = -1;
}

static inline void disk_apply(struct disk_name *list, const struct disk_op *op)
{
    if (op->removed.name[0] != '\0')
        disk_unset(list, op->removed.name);
    if (op->added.name[0] != '\0')
        disk_set(list, op->added.name, op->added.file);
}

static inline void disk_do(struct disk *d, const char *removed, const char *added, int file)
{
    struct disk_op op = {.added.file = file};

    snprintf(op.removed.name, sizeof op.removed.name, "%s", removed);
    snprintf(op.added.name, sizeof op.added.name, "%s", added);
    disk_apply(d->now, &op);
    if (d->pending_count == DISK_OPS) { /* the oldest has reached the disk by itself */
        disk_apply(d->safe, &d->pending[0]);
        memmove(d->pending, d->pending + 1, sizeof d->pending[0] * (DISK_OPS - 1));
        d->pending_count--;
    }
    d->pending[d->pending_count++] = op;
}

/* As if the name had never been there. */
static inline void disk_forget(struct disk *d, const char *name)
{
    disk_unset(d->now, name);
    disk_unset(d->safe, name);
    for (unsigned i = 0; i < d->pending_count; i++)
        if (strcmp(d->pending[i].added.name, name) == 0)
            d->pending[i].added.name[0] = '\0';
}

/* 0, or -errno: counts a change. */
static inline int disk_count(struct disk *d)
{
    if (d->is_off)
        return -EIO;
    d->calls++;
    if (d->power_at != 0 && d->calls >= d->power_at) {
        d->is_off = true;
        return -EIO;
    }
    return d->calls == d->fail_at ? -d->fail_errno : 0;
}

static inline int disk_new_file(struct disk *d)
{
    for (int i = 0; i < DISK_FILES; i++) {
        struct disk_file *f = &d->files[i];
        bool named = false;

        for (int k = 0; k < DISK_FILES; k++)
            named |= d->now[k].file == i || d->safe[k].file == i;
        for (unsigned k = 0; k < d->pending_count; k++)
            named |= d->pending[k].added.file == i && d->pending[k].added.name[0] != '\0';
        for (int k = 0; k < DISK_FDS; k++)
            named |= d->fds[k] == i + 1;
        if (f->is_used && named)
            continue;
        if (f->now == NULL) {
            f->now = calloc(1, DISK_FILE_BYTES);
            f->safe = calloc(1, DISK_FILE_BYTES);
            f->dirty = calloc(1, DISK_FILE_BYTES / DISK_SECTOR);
        }
        if (f->is_used) {
            memset(f->now, 0, DISK_FILE_BYTES);
            memset(f->safe, 0, DISK_FILE_BYTES);
            memset(f->dirty, 0, DISK_FILE_BYTES / DISK_SECTOR);
        }
        f->now_size = f->safe_size = 0;
        f->is_used = true;
        f->is_locked = false;
        return i;
    }
    abort();
}

static int disk_open(void *st, const char *path, enum qn_open how)
{
    struct disk *d = st;
    const char *name = disk_base(path);
    struct disk_name *n = disk_find(d->now, name);
    int file;

    if (d->is_off)
        return -EIO;
    if (how == QN_OPEN_READ_DIRECT && d->no_direct)
        return -EINVAL;
    if (n == NULL && how != QN_OPEN_CREATE && how != QN_OPEN_REPLACE)
        return -ENOENT;
    if (n == NULL) {
        int rc = disk_count(d);

        if (rc < 0)
            return rc;
        file = disk_new_file(d);
        disk_do(d, "", name, file);
    } else {
        file = n->file;
        if (how == QN_OPEN_REPLACE)
            d->files[file].now_size = 0;
    }
    for (int i = 0; i < DISK_FDS; i++)
        if (d->fds[i] == 0) {
            d->fds[i] = file + 1;
            d->locker[i] = false;
            return i + 100;
        }
    abort();
}

static inline struct disk_file *disk_file_of(struct disk *d, int fd)
{
    if (fd < 100 || fd >= 100 + DISK_FDS || d->fds[fd - 100] == 0)
        abort();
    return &d->files[d->fds[fd - 100] - 1];
}

static int64_t disk_pread(void *st, int fd, void *p, size_t bytes, uint64_t offset)
{
    struct disk *d = st;
    struct disk_file *f = disk_file_of(d, fd);

    if (d->is_off)
        return -EIO;
    if (offset >= f->now_size)
        return 0;
    if (bytes > f->now_size - offset)
        bytes = f->now_size - offset;
    memcpy(p, f->now + offset, bytes);
    return (int64_t)bytes;
}

static inline void disk_put(struct disk_file *f, const char *p, size_t bytes, uint64_t offset)
{
    if (offset + bytes > DISK_FILE_BYTES)
        abort();
    memcpy(f->now + offset, p, bytes);
    for (size_t s = offset / DISK_SECTOR; bytes > 0 && s <= (offset + bytes - 1) / DISK_SECTOR; s++)
        f->dirty[s] = 1;
    if (offset + bytes > f->now_size)
        f->now_size = offset + bytes;
}

static int64_t disk_pwritev(void *st, int fd, const struct qn_piece *v, unsigned count,
                            uint64_t offset)
{
    struct disk *d = st;
    struct disk_file *f = disk_file_of(d, fd);
    bool was_off = d->is_off;
    int rc = disk_count(d);
    uint64_t total = 0, some, done = 0;

    for (unsigned i = 0; i < count; i++)
        total += v[i].bytes;
    /* A failing write has done something; a good one may be short. */
    some = rc < 0 || qn_rng_below(&d->rng, 16) == 0
               ? total == 0 ? 0 : 1 + qn_rng_below(&d->rng, (uint32_t)total)
               : total;
    if (was_off)
        return -EIO;
    for (unsigned i = 0; i < count && done < some; i++) {
        size_t n = v[i].bytes < some - done ? v[i].bytes : (size_t)(some - done);

        disk_put(f, v[i].p, n, offset + done);
        done += n;
    }
    return rc < 0 ? rc : (int64_t)done;
}

static int64_t disk_read(void *st, int fd, void *p, size_t bytes)
{
    /* Only whole files are read so, in one go: a second call finds the end. */
    struct disk *d = st;
    struct disk_file *f = disk_file_of(d, fd);
    static int last_fd = -1;
    static uint64_t at;
    int64_t n;

    if (last_fd != fd || at > f->now_size)
        at = 0;
    last_fd = fd;
    n = disk_pread(st, fd, p, bytes, at);
    at += n > 0 ? (uint64_t)n : 0;
    if (n == 0)
        last_fd = -1;
    return n;
}

static int64_t disk_write(void *st, int fd, const void *p, size_t bytes)
{
    struct disk *d = st;
    struct qn_piece v = {p, bytes};

    return disk_pwritev(st, fd, &v, 1, disk_file_of(d, fd)->now_size);
}

static int disk_sync(void *st, int fd)
{
    struct disk *d = st;
    struct disk_file *f = disk_file_of(d, fd);
    int rc = disk_count(d);

    if (rc < 0)
        return rc;
    d->syncs++;
    for (size_t s = 0; s < DISK_FILE_BYTES / DISK_SECTOR; s++)
        if (f->dirty[s]) {
            memcpy(f->safe + s * DISK_SECTOR, f->now + s * DISK_SECTOR, DISK_SECTOR);
            f->dirty[s] = 0;
        }
    f->safe_size = f->now_size;
    return 0;
}

static int disk_close(void *st, int fd)
{
    struct disk *d = st;

    disk_file_of(d, fd);
    if (d->locker[fd - 100])
        disk_file_of(d, fd)->is_locked = false;
    d->fds[fd - 100] = 0;
    return 0;
}

static int disk_rename(void *st, const char *from, const char *to)
{
    struct disk *d = st;
    struct disk_name *n = disk_find(d->now, disk_base(from));
    int rc = disk_count(d);

    if (rc < 0)
        return rc;
    if (n == NULL)
        return -ENOENT;
    disk_do(d, disk_base(from), disk_base(to), n->file);
    return 0;
}

static int disk_remove(void *st, const char *path)
{
    struct disk *d = st;
    struct disk_name *n = disk_find(d->now, disk_base(path));
    int rc;

    if (n == NULL)
        return d->is_off ? -EIO : -ENOENT;
    rc = disk_count(d);
    if (rc < 0)
        return rc;
    d->space += d->files[n->file].now_size;
    disk_do(d, disk_base(path), "", -1);
    return 0;
}

static int64_t disk_size(void *st, int fd)
{
    return (int64_t)disk_file_of(st, fd)->now_size;
}

static int disk_allocate(void *st, int fd, uint64_t bytes)
{
    struct disk *d = st;
    struct disk_file *f = disk_file_of(d, fd);
    int rc = disk_count(d);

    if (rc < 0)
        return rc;
    if (bytes > d->space)
        return -ENOSPC;
    d->space -= bytes;
    if (bytes > f->now_size)
        f->now_size = bytes;
    return 0;
}

static int disk_truncate(void *st, int fd, uint64_t bytes)
{
    int rc = disk_count(st);

    if (rc == 0)
        disk_file_of(st, fd)->now_size = bytes;
    return rc;
}

static int disk_sync_folder(void *st, const char *path)
{
    struct disk *d = st;
    int rc = disk_count(d);

    if (rc < 0)
        return rc;
    memcpy(d->safe, d->now, sizeof d->safe);
    d->pending_count = 0;
    return 0;
}

static int disk_make_folder(void *st, const char *path)
{
    return -EEXIST;
}

static int disk_list(void *st, const char *path, void (*each)(void *arg, const char *name),
                     void *arg)
{
    struct disk *d = st;

    if (d->is_off)
        return -EIO;
    for (int i = 0; i < DISK_FILES; i++)
        if (d->now[i].file >= 0)
            each(arg, d->now[i].name);
    return 0;
}

static int disk_lock(void *st, int fd)
{
    struct disk *d = st;
    struct disk_file *f = disk_file_of(d, fd);

    if (f->is_locked)
        return -EWOULDBLOCK;
    f->is_locked = d->locker[fd - 100] = true;
    return 0;
}

static int disk_is_durable(void *st, const char *path, const char **kind)
{
    struct disk *d = st;

    *kind = d->is_tmpfs ? "tmpfs" : "disk";
    return !d->is_tmpfs;
}

static inline struct disk *disk_new(uint64_t seed)
{
    struct disk *d = calloc(1, sizeof *d);

    for (int i = 0; i < DISK_FILES; i++)
        d->now[i].file = d->safe[i].file = -1;
    qn_rng_seed(&d->rng, seed);
    d->space = UINT64_MAX / 2;
    d->fail_errno = EIO;
    d->table = (struct qn_files){.open = disk_open,
                                 .read = disk_read,
                                 .write = disk_write,
                                 .sync = disk_sync,
                                 .close = disk_close,
                                 .rename = disk_rename,
                                 .remove = disk_remove,
                                 .size = disk_size,
                                 .pread = disk_pread,
                                 .pwritev = disk_pwritev,
                                 .allocate = disk_allocate,
                                 .truncate = disk_truncate,
                                 .sync_folder = disk_sync_folder,
                                 .make_folder = disk_make_folder,
                                 .list_folder = disk_list,
                                 .lock = disk_lock,
                                 .is_durable = disk_is_durable,
                                 .st = d};
    return d;
}

static inline void disk_free(struct disk *d)
{
    for (int i = 0; i < DISK_FILES; i++) {
        free(d->files[i].now);
        free(d->files[i].safe);
        free(d->files[i].dirty);
    }
    free(d);
}

/* The power is gone and comes back: every sector not synced is the old one or the new one, names
 * are as after some of the operations not synced. Open descriptors are gone. */
static inline void disk_power_loss(struct disk *d)
{
    unsigned keep = d->pending_count == 0 ? 0 : qn_rng_below(&d->rng, d->pending_count + 1);
    unsigned mode = qn_rng_below(&d->rng, 4); /* 0 nothing, 1 everything, else by chance */

    for (unsigned i = 0; i < keep; i++)
        disk_apply(d->safe, &d->pending[i]);
    d->pending_count = 0;
    memcpy(d->now, d->safe, sizeof d->now);
    for (int i = 0; i < DISK_FILES; i++) {
        struct disk_file *f = &d->files[i];

        if (!f->is_used)
            continue;
        for (size_t s = 0; s < DISK_FILE_BYTES / DISK_SECTOR; s++)
            if (f->dirty[s]) {
                bool is_new = mode == 1 || (mode > 1 && qn_rng_below(&d->rng, 2));

                memcpy((is_new ? f->safe : f->now) + s * DISK_SECTOR,
                       (is_new ? f->now : f->safe) + s * DISK_SECTOR, DISK_SECTOR);
                f->dirty[s] = 0;
            }
        if (mode == 0 || (mode > 1 && qn_rng_below(&d->rng, 2)))
            f->now_size = f->safe_size;
        f->safe_size = f->now_size;
        f->is_locked = false;
    }
    memset(d->fds, 0, sizeof d->fds);
    d->is_off = false;
    d->power_at = d->fail_at = 0;
}

/* The process dies, the machine does not: descriptors and locks are gone, bytes stay. */
static inline void disk_kill(struct disk *d)
{
    for (int i = 0; i < DISK_FILES; i++)
        d->files[i].is_locked = false;
    memset(d->fds, 0, sizeof d->fds);
}

#endif
