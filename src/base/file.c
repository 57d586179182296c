/* SPDX-License-Identifier: Apache-2.0
 * file.c - the real files, and reading and writing whole ones through any table.
 *
 * EINTR is retried here and a non-blocking descriptor is waited for, so that callers see bytes or a
 * failure. A pipe or terminal cannot be synced: that counts as done. Thread: any; a descriptor has
 * one owner. */
#include "base/file.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Largest single read or write: Linux moves at most about 2 GiB a call. */
enum { IO_MAX = 1 << 30, READ_STEP = 64 * 1024 };

static int system_open(void *st, const char *path, enum qn_open how)
{
    int flags = how == QN_OPEN_READ ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC;
    int fd;

    do
        fd = open(path, flags | O_CLOEXEC, 0644);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

/* After a failed read or write: true if it is worth another try (interrupted, or would block and
 * now does not). */
static bool try_again(int fd, short events)
{
    struct pollfd pfd = {.fd = fd, .events = events};

    if (errno == EINTR)
        return true;
    if (errno != EAGAIN)
        return false;
    return poll(&pfd, 1, -1) >= 0 || errno == EINTR;
}

static int64_t system_read(void *st, int fd, void *p, size_t bytes)
{
    ssize_t n;

    if (bytes > IO_MAX)
        bytes = IO_MAX;
    do
        n = read(fd, p, bytes);
    while (n < 0 && try_again(fd, POLLIN));
    return n < 0 ? -errno : n;
}

static int64_t system_write(void *st, int fd, const void *p, size_t bytes)
{
    ssize_t n;

    if (bytes > IO_MAX)
        bytes = IO_MAX;
    do
        n = write(fd, p, bytes);
    while (n < 0 && try_again(fd, POLLOUT));
    return n < 0 ? -errno : n;
}

static int system_sync(void *st, int fd)
{
    int rc;

    do
        rc = fdatasync(fd);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && (errno == EINVAL || errno == EROFS))
        return 0;
    return rc < 0 ? -errno : 0;
}

/* Linux closes the descriptor even where close is interrupted: a second close could hit another
 * file. */
static int system_close(void *st, int fd)
{
    return close(fd) < 0 && errno != EINTR ? -errno : 0;
}

static int system_rename(void *st, const char *from, const char *to)
{
    return rename(from, to) < 0 ? -errno : 0;
}

static int system_remove(void *st, const char *path)
{
    return unlink(path) < 0 ? -errno : 0;
}

static int64_t system_size(void *st, int fd)
{
    struct stat info;

    if (fstat(fd, &info) < 0)
        return -errno;
    return S_ISREG(info.st_mode) ? (int64_t)info.st_size : -EINVAL;
}

const struct qn_files qn_files_system = {
    .open = system_open,
    .read = system_read,
    .write = system_write,
    .sync = system_sync,
    .close = system_close,
    .rename = system_rename,
    .remove = system_remove,
    .size = system_size,
    .st = NULL,
};

qn_status qn_file_write_all(const struct qn_files *f, int fd, const char *name, const void *p,
                            size_t bytes, struct qn_err *err)
{
    const char *at = p;

    while (bytes > 0) {
        int64_t n = f->write(f->st, fd, at, bytes);

        if (n < 0)
            return qn_err_sys(err, (int)-n, "cannot write '%s'", name);
        if (n == 0)
            return qn_err_set(err, QN_IO, "cannot write '%s': nothing was taken", name);
        QN_ASSERT((uint64_t)n <= bytes);
        at += n;
        bytes -= (size_t)n;
    }
    return QN_OK;
}

/* Reads to the end, one byte beyond the limit at most: that byte tells a file at the limit from a
 * longer one. */
static qn_status read_open_file(const struct qn_files *f, int fd, const char *path,
                                size_t limit_bytes, struct qn_buf *out, struct qn_err *err)
{
    int64_t size = f->size(f->st, fd);
    size_t step = READ_STEP;

    if (size > 0 && (uint64_t)size <= limit_bytes)
        step = (size_t)size + 1;
    for (;;) {
        size_t left = limit_bytes - out->len;
        char *at;
        int64_t n;

        if (step > left)
            step = left < SIZE_MAX ? left + 1 : left;
        at = qn_buf_room(out, step);
        if (at == NULL)
            return qn_err_set(err, QN_NOMEM, "out of memory while reading '%s'", path);
        n = f->read(f->st, fd, at, step);
        if (n < 0)
            return qn_err_sys(err, (int)-n, "cannot read '%s'", path);
        if (n == 0)
            return QN_OK;
        QN_ASSERT((uint64_t)n <= step);
        if ((uint64_t)n > left)
            return qn_err_set(err, QN_LIMIT, "'%s' is larger than the limit of %zu bytes", path,
                              limit_bytes);
        out->len += (size_t)n;
        step = READ_STEP;
    }
}

qn_status qn_file_read_all(const struct qn_files *f, const char *path, size_t limit_bytes,
                           struct qn_buf *out, struct qn_err *err)
{
    qn_status rc;
    int fd;

    qn_buf_clear(out);
    fd = f->open(f->st, path, QN_OPEN_READ);
    if (fd < 0)
        return qn_err_sys(err, -fd, "cannot open '%s'", path);
    rc = read_open_file(f, fd, path, limit_bytes, out, err);
    f->close(f->st, fd);
    return rc;
}

bool qn_file_ready(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    int n;

    do
        n = poll(&pfd, 1, 0);
    while (n < 0 && errno == EINTR);
    return n > 0;
}

bool qn_file_is_terminal(int fd)
{
    return isatty(fd) == 1;
}
