/* SPDX-License-Identifier: Apache-2.0
 * embedded.c - the carried files behind a qn_files: descriptors are indices into the door.
 *
 * Thread: one owner. Memory: the caller's door; the bytes are constants of the binary. */
#include "cli/embedded.h"

#include <errno.h>
#include <string.h>

static int embedded_open(void *st, const char *path, enum qn_open how)
{
    const struct qn_embedded_file *f = qn_embedded_files;
    struct qn_embedded_door *door = st;

    if (how != QN_OPEN_READ)
        return -EROFS;
    while (f->path != NULL && strcmp(f->path, path) != 0)
        f++;
    if (f->path == NULL)
        return -ENOENT;
    for (int fd = 0; fd < QN_EMBEDDED_OPEN_MAX; fd++)
        if (door->open[fd].file == NULL) {
            door->open[fd].file = f;
            door->open[fd].at = 0;
            return fd;
        }
    return -EMFILE;
}

static bool is_open(const struct qn_embedded_door *door, int fd)
{
    return fd >= 0 && fd < QN_EMBEDDED_OPEN_MAX && door->open[fd].file != NULL;
}

static int64_t embedded_read(void *st, int fd, void *p, size_t bytes)
{
    struct qn_embedded_door *door = st;
    const struct qn_embedded_file *f;
    size_t left;

    if (!is_open(door, fd))
        return -EBADF;
    f = door->open[fd].file;
    left = f->bytes - door->open[fd].at;
    bytes = bytes < left ? bytes : left;
    memcpy(p, f->data + door->open[fd].at, bytes);
    door->open[fd].at += bytes;
    return (int64_t)bytes;
}

static int64_t embedded_write(void *st, int fd, const void *p, size_t bytes)
{
    (void)st, (void)fd, (void)p, (void)bytes;
    return -EROFS;
}

static int embedded_sync(void *st, int fd)
{
    return is_open(st, fd) ? 0 : -EBADF;
}

static int embedded_close(void *st, int fd)
{
    struct qn_embedded_door *door = st;

    if (!is_open(door, fd))
        return -EBADF;
    door->open[fd].file = NULL;
    return 0;
}

static int embedded_rename(void *st, const char *from, const char *to)
{
    (void)st, (void)from, (void)to;
    return -EROFS;
}

static int embedded_remove(void *st, const char *path)
{
    (void)st, (void)path;
    return -EROFS;
}

static int64_t embedded_size(void *st, int fd)
{
    const struct qn_embedded_door *door = st;

    return is_open(door, fd) ? (int64_t)door->open[fd].file->bytes : -EBADF;
}

struct qn_files qn_embedded_open(struct qn_embedded_door *door)
{
    return (struct qn_files){
        .open = embedded_open,
        .read = embedded_read,
        .write = embedded_write,
        .sync = embedded_sync,
        .close = embedded_close,
        .rename = embedded_rename,
        .remove = embedded_remove,
        .size = embedded_size,
        .st = door,
    };
}
