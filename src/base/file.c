/* SPDX-License-Identifier: Apache-2.0
 * file.c - the real files, and reading and writing whole ones through any table.
 *
 * EINTR is retried here and a non-blocking descriptor is waited for, so that callers see bytes or a
 * failure. A pipe or terminal cannot be synced: that counts as done. Thread: any; a descriptor has
 * one owner. */
#include "base/file.h"

#include "base/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Largest single read or write: Linux moves at most about 2 GiB a call. */
enum { IO_MAX = 1 << 30, READ_STEP = 64 * 1024 };

static int system_open(void *st, const char *path, enum qn_open how)
{
    static const int flags_of[] = {
        [QN_OPEN_READ] = O_RDONLY,
        [QN_OPEN_REPLACE] = O_WRONLY | O_CREAT | O_TRUNC,
        [QN_OPEN_UPDATE] = O_RDWR,
        [QN_OPEN_CREATE] = O_RDWR | O_CREAT,
        [QN_OPEN_READ_DIRECT] = O_RDONLY | O_DIRECT,
    };
    int flags = flags_of[how];
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

static int system_remove_folder(void *st, const char *path)
{
    return rmdir(path) < 0 ? -errno : 0;
}

static int64_t system_size(void *st, int fd)
{
    struct stat info;

    if (fstat(fd, &info) < 0)
        return -errno;
    return S_ISREG(info.st_mode) ? (int64_t)info.st_size : -EINVAL;
}

static int64_t system_pread(void *st, int fd, void *p, size_t bytes, uint64_t offset)
{
    ssize_t n;

    if (bytes > IO_MAX)
        bytes = IO_MAX;
    do
        n = pread(fd, p, bytes, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

_Static_assert(QN_PIECES_MAX <= IOV_MAX, "one call takes all pieces");

static int64_t system_pwritev(void *st, int fd, const struct qn_piece *v, unsigned count,
                              uint64_t offset)
{
    struct iovec io[QN_PIECES_MAX];
    ssize_t n;

    QN_ASSERT(count <= QN_PIECES_MAX);
    for (unsigned i = 0; i < count; i++)
        io[i] = (struct iovec){.iov_base = (void *)(uintptr_t)v[i].p, .iov_len = v[i].bytes};
    do
        n = pwritev(fd, io, (int)count, (off_t)offset);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* posix_fallocate reports by value. Where the file system cannot reserve blocks, glibc writes one
 * byte a block: slower, the same. */
static int system_allocate(void *st, int fd, uint64_t bytes)
{
    int rc;

    do
        rc = posix_fallocate(fd, 0, (off_t)bytes);
    while (rc == EINTR);
    return -rc;
}

static int system_truncate(void *st, int fd, uint64_t bytes)
{
    int rc;

    do
        rc = ftruncate(fd, (off_t)bytes);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

static int system_sync_folder(void *st, const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return -errno;
    do
        rc = fsync(fd);
    while (rc < 0 && errno == EINTR);
    rc = rc < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static int system_make_folder(void *st, const char *path)
{
    return mkdir(path, 0755) < 0 ? -errno : 0;
}

static int system_list_folder(void *st, const char *path, void (*each)(void *arg, const char *name),
                              void *arg)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    int rc;

    if (d == NULL)
        return -errno;
    for (errno = 0; (e = readdir(d)) != NULL; errno = 0)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            each(arg, e->d_name);
    rc = -errno;
    closedir(d);
    return rc;
}

/* flock belongs to the open file, so that two logs of one process refuse each other as well. */
static int system_lock(void *st, int fd)
{
    int rc;

    do
        rc = flock(fd, LOCK_EX | LOCK_NB);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

/* Magic numbers of statfs(2) whose sync ends in memory or on another machine. */
static int system_is_durable(void *st, const char *path, const char **kind)
{
    static const struct {
        uint32_t magic;
        const char *kind;
    } rows[] = {
        {0x01021994, "tmpfs"}, {0x858458F6, "ramfs"}, {0x794C7630, "overlay"},
        {0x6969, "nfs"},       {0xFF534D42, "cifs"},  {0xFE534D42, "smb2"},
        {0x517B, "smb"},       {0x01021997, "9p"},    {0x65735546, "fuse"},
        {0x00C36400, "ceph"},  {0x47504653, "gpfs"},  {0x0BD00BD0, "lustre"},
        {0x5346414F, "afs"},   {0x73757245, "coda"},
    };
    struct statfs info;

    *kind = "disk";
    if (statfs(path, &info) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((uint32_t)info.f_type == rows[i].magic) {
            *kind = rows[i].kind;
            return 0;
        }
    return 1;
}

static int system_identify(void *st, int fd, struct qn_file_identity *out)
{
    struct stat info;

    if (fstat(fd, &info) < 0)
        return -errno;
    *out = (struct qn_file_identity){(uint64_t)info.st_dev, (uint64_t)info.st_ino};
    return 0;
}

const struct qn_files qn_files_system = {
    .open = system_open,
    .read = system_read,
    .write = system_write,
    .sync = system_sync,
    .close = system_close,
    .rename = system_rename,
    .remove = system_remove,
    .remove_folder = system_remove_folder,
    .size = system_size,
    .pread = system_pread,
    .pwritev = system_pwritev,
    .allocate = system_allocate,
    .truncate = system_truncate,
    .sync_folder = system_sync_folder,
    .make_folder = system_make_folder,
    .list_folder = system_list_folder,
    .lock = system_lock,
    .is_durable = system_is_durable,
    .identify = system_identify,
    .st = NULL,
};

qn_status qn_file_write_at(const struct qn_files *f, int fd, const char *name, const void *p,
                           size_t bytes, uint64_t offset, struct qn_err *err)
{
    const char *at = p;

    while (bytes > 0) {
        struct qn_piece piece = {at, bytes};
        int64_t n = f->pwritev(f->st, fd, &piece, 1, offset);

        if (n < 0)
            return qn_err_sys(err, (int)-n, "cannot write '%s'", name);
        if (n == 0)
            return qn_err_set(err, QN_IO, "cannot write '%s': nothing was taken", name);
        QN_ASSERT((uint64_t)n <= bytes);
        at += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return QN_OK;
}

qn_status qn_file_read_at(const struct qn_files *f, int fd, const char *name, void *p, size_t bytes,
                          uint64_t offset, size_t *got, struct qn_err *err)
{
    char *to = p;

    for (*got = 0; *got < bytes;) {
        int64_t n = f->pread(f->st, fd, to + *got, bytes - *got, offset + *got);

        if (n < 0)
            return qn_err_sys(err, (int)-n, "cannot read '%s'", name);
        QN_ASSERT((uint64_t)n <= bytes - *got);
        if (n == 0)
            break;
        *got += (size_t)n;
        if (n % 4096 != 0 && *got < bytes) /* the end of the file; a direct read must not go on */
            break;
    }
    return QN_OK;
}

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
