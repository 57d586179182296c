/* SPDX-License-Identifier: Apache-2.0
 * test_file.c - the real table on a scratch folder, and whole files through tables that fail. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "qn_test_file_XXXXXX", path[64], other[64];

static int set_up(void **state)
{
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/a", folder);
    snprintf(other, sizeof other, "%s/b", folder);
    return 0;
}

static int tear_down(void **state)
{
    unlink(path);
    unlink(other);
    return rmdir(folder);
}

static void write_file(const char *text, size_t n)
{
    const struct qn_files *f = &qn_files_system;
    int fd = f->open(f->st, path, QN_OPEN_REPLACE);

    assert_true(fd >= 0);
    assert_int_equal(qn_file_write_all(f, fd, path, text, n, NULL), QN_OK);
    assert_int_equal(f->sync(f->st, fd), 0);
    assert_int_equal(f->size(f->st, fd), n);
    assert_int_equal(f->close(f->st, fd), 0);
}

static void test_system(void **state)
{
    const struct qn_files *f = &qn_files_system;
    struct qn_buf b = {0};
    struct qn_err err;
    struct stat info;
    char *big = calloc(1, 300000);
    int fd;

    write_file("hello", 5);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777 & ~0644, 0);
    assert_int_equal(qn_file_read_all(f, path, 5, &b, &err), QN_OK);
    assert_int_equal(b.len, 5);
    assert_memory_equal(b.data, "hello", 5);
    assert_int_equal(qn_file_read_all(f, path, 4, &b, &err), QN_LIMIT);
    memset(big, 'x', 300000);
    write_file(big, 300000);
    assert_int_equal(qn_file_read_all(f, path, SIZE_MAX, &b, &err), QN_OK);
    assert_int_equal(b.len, 300000);
    assert_memory_equal(b.data, big, 300000);
    assert_int_equal(qn_file_read_all(f, path, 299999, &b, &err), QN_LIMIT);
    write_file("", 0);
    assert_int_equal(qn_file_read_all(f, path, 0, &b, &err), QN_OK);
    assert_int_equal(b.len, 0);
    assert_int_equal(f->rename(f->st, path, other), 0);
    assert_int_equal(qn_file_read_all(f, path, 100, &b, &err), QN_NOT_FOUND);
    assert_non_null(strstr(err.text, "No such file or directory"));
    assert_int_equal(f->rename(f->st, path, other), -ENOENT);
    assert_int_equal(f->remove(f->st, other), 0);
    assert_int_equal(f->remove(f->st, other), -ENOENT);
    assert_int_equal(qn_file_read_all(f, folder, 100, &b, &err), QN_INVALID);
    fd = f->open(f->st, folder, QN_OPEN_READ);
    assert_true(fd >= 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    f->close(f->st, fd);
    assert_int_equal(f->close(f->st, -1), -EBADF);
    free(big);
    qn_buf_fini(&b);
}

static void note_name(void *arg, const char *name)
{
    unsigned *seen = arg;

    *seen |= strcmp(name, "a") == 0 ? 1 : strcmp(name, "b") == 0 ? 2 : 4;
}

/* Reading and writing at places, and what the log asks of a folder. */
static void test_places(void **state)
{
    const struct qn_files *f = &qn_files_system;
    struct qn_piece v[3] = {{"ab", 2}, {"", 0}, {"cdef", 4}};
    unsigned seen = 0;
    const char *kind = NULL;
    char out[16];
    size_t got;
    int fd, second;

    assert_int_equal(f->open(f->st, path, QN_OPEN_UPDATE), -ENOENT);
    fd = f->open(f->st, path, QN_OPEN_CREATE);
    assert_true(fd >= 0);
    assert_int_equal(f->allocate(f->st, fd, 8192), 0);
    assert_int_equal(f->size(f->st, fd), 8192);
    assert_int_equal(f->pwritev(f->st, fd, v, 3, 4094), 6);
    assert_int_equal(qn_file_write_at(f, fd, path, "XY", 2, 4095, NULL), QN_OK);
    assert_int_equal(f->pread(f->st, fd, out, 8, 4093), 8);
    assert_memory_equal(out, "\0aXYdef", 8);
    assert_int_equal(qn_file_read_at(f, fd, path, out, 16, 8188, &got, NULL), QN_OK);
    assert_int_equal(got, 4);
    assert_int_equal(f->truncate(f->st, fd, 3), 0);
    assert_int_equal(f->size(f->st, fd), 3);
    assert_int_equal(f->lock(f->st, fd), 0);
    second = f->open(f->st, path, QN_OPEN_UPDATE);
    assert_true(second >= 0);
    assert_int_equal(f->lock(f->st, second), -EWOULDBLOCK);
    assert_int_equal(f->close(f->st, fd), 0);
    assert_int_equal(f->lock(f->st, second), 0);
    assert_int_equal(f->close(f->st, second), 0);
    assert_int_equal(f->list_folder(f->st, folder, note_name, &seen), 0);
    assert_int_equal(seen, 1);
    assert_int_equal(f->list_folder(f->st, other, note_name, &seen), -ENOENT);
    assert_int_equal(f->sync_folder(f->st, folder), 0);
    assert_int_equal(f->make_folder(f->st, folder), -EEXIST);
    assert_int_equal(f->make_folder(f->st, other), 0);
    assert_int_equal(rmdir(other), 0);
    assert_true(f->is_durable(f->st, folder, &kind) >= 0);
    assert_non_null(kind);
    assert_int_equal(f->is_durable(f->st, other, &kind), -ENOENT);
    assert_int_equal(f->remove(f->st, path), 0);
}

static void test_pipe(void **state)
{
    const struct qn_files *f = &qn_files_system;
    struct qn_err err;
    char c;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_false(qn_file_ready(fds[0]));
    assert_false(qn_file_is_terminal(fds[0]));
    assert_int_equal(f->size(f->st, fds[0]), -EINVAL);
    assert_int_equal(f->sync(f->st, fds[1]), 0);
    assert_int_equal(qn_file_write_all(f, fds[1], "pipe", "x", 1, &err), QN_OK);
    assert_true(qn_file_ready(fds[0]));
    assert_int_equal(f->read(f->st, fds[0], &c, 1), 1);
    assert_false(qn_file_ready(fds[0]));
    close(fds[1]);
    assert_true(qn_file_ready(fds[0]));
    assert_int_equal(f->read(f->st, fds[0], &c, 1), 0);
    close(fds[0]);
}

/* A table whose writes are short and whose n-th call fails. */
struct faulty {
    int calls, fail_at, error;
    char data[64];
    size_t len, at;
};

static int64_t faulty_write(void *st, int fd, const void *p, size_t bytes)
{
    struct faulty *t = st;

    if (++t->calls == t->fail_at)
        return t->error;
    bytes = bytes > 3 ? 3 : bytes;
    memcpy(t->data + t->len, p, bytes);
    t->len += bytes;
    return (int64_t)bytes;
}

static int64_t faulty_read(void *st, int fd, void *p, size_t bytes)
{
    struct faulty *t = st;
    size_t n = t->len - t->at < 3 ? t->len - t->at : 3;

    if (++t->calls == t->fail_at)
        return t->error;
    n = n < bytes ? n : bytes;
    memcpy(p, t->data + t->at, n);
    t->at += n;
    return (int64_t)n;
}

static int faulty_open(void *st, const char *name, enum qn_open how)
{
    return strcmp(name, "none") == 0 ? -ENOENT : 7;
}

static int faulty_close(void *st, int fd)
{
    return 0;
}

static int64_t faulty_size(void *st, int fd)
{
    return -EINVAL;
}

static void test_faults(void **state)
{
    static const struct {
        int error;
        qn_status code;
    } rows[] = {{-EPIPE, QN_CLOSED}, {-ENOSPC, QN_FULL}, {-EIO, QN_IO}};
    struct faulty t = {0};
    struct qn_files f = {.open = faulty_open,
                         .read = faulty_read,
                         .write = faulty_write,
                         .close = faulty_close,
                         .size = faulty_size,
                         .st = &t};
    struct qn_buf b = {0};
    struct qn_err err;

    assert_int_equal(qn_file_write_all(&f, 1, "out", "0123456789", 10, &err), QN_OK);
    assert_int_equal(t.len, 10);
    assert_memory_equal(t.data, "0123456789", 10);
    for (size_t i = 0; i < 3; i++) {
        for (int nth = 1; nth <= 4; nth++) {
            t = (struct faulty){.fail_at = nth, .error = rows[i].error};
            assert_int_equal(qn_file_write_all(&f, 1, "out", "0123456789", 10, &err), rows[i].code);
            assert_int_equal(t.len, (nth - 1) * 3);
            assert_memory_equal(err.text, "cannot write 'out': ", 20);
        }
    }
    t = (struct faulty){.fail_at = 1, .error = 0};
    assert_int_equal(qn_file_write_all(&f, 1, "out", "0123456789", 10, &err), QN_IO);
    for (int nth = 1; nth <= 5; nth++) {
        t = (struct faulty){.fail_at = nth, .error = -EIO, .len = 10, .data = "0123456789"};
        assert_int_equal(qn_file_read_all(&f, "in", 100, &b, &err), QN_IO);
    }
    t = (struct faulty){.len = 10, .data = "0123456789"};
    assert_int_equal(qn_file_read_all(&f, "in", 10, &b, &err), QN_OK);
    assert_int_equal(b.len, 10);
    assert_memory_equal(b.data, "0123456789", 10);
    t = (struct faulty){.len = 10, .data = "0123456789"};
    assert_int_equal(qn_file_read_all(&f, "in", 9, &b, &err), QN_LIMIT);
    assert_int_equal(qn_file_read_all(&f, "none", 9, &b, &err), QN_NOT_FOUND);
    qn_buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_system), cmocka_unit_test(test_places),
                                       cmocka_unit_test(test_pipe), cmocka_unit_test(test_faults)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
