/* SPDX-License-Identifier: Apache-2.0
 * test_embedded.c - the carried files read as files do, are those of examples/, and cannot be
 * written. */
#include "cli/embedded.h"

#include "base/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void equal_to_the_examples(void **state)
{
    struct qn_embedded_door door = {0};
    struct qn_files files = qn_embedded_open(&door);
    const char *root = getenv("QUERN_ROOT");
    unsigned count = 0;

    (void)state;
    if (root == NULL) {
        print_message("skipped: QUERN_ROOT is not set\n");
        skip();
    }
    for (const struct qn_embedded_file *f = qn_embedded_files; f->path != NULL; f++, count++) {
        struct qn_buf mine = {0}, theirs = {0};
        struct qn_err err = {0};
        char path[4096];

        snprintf(path, sizeof(path), "%s/examples/%s", root, f->path);
        assert_int_equal(qn_file_read_all(&files, f->path, 1 << 30, &mine, &err), QN_OK);
        assert_int_equal(qn_file_read_all(&qn_files_system, path, 1 << 30, &theirs, &err), QN_OK);
        assert_int_equal(mine.len, f->bytes);
        assert_int_equal(mine.len, theirs.len);
        assert_memory_equal(mine.data, theirs.data, mine.len);
        qn_buf_fini(&mine);
        qn_buf_fini(&theirs);
    }
    assert_int_equal(count, 2);
}

static void reads_in_pieces(void **state)
{
    struct qn_embedded_door door = {0};
    struct qn_files files = qn_embedded_open(&door);
    const struct qn_embedded_file *f = &qn_embedded_files[0];
    int fd = files.open(files.st, f->path, QN_OPEN_READ);
    char piece[7];
    size_t at = 0;
    int64_t n;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(files.size(files.st, fd), f->bytes);
    while ((n = files.read(files.st, fd, piece, sizeof(piece))) > 0) {
        assert_memory_equal(piece, f->data + at, n);
        at += (size_t)n;
    }
    assert_int_equal(n, 0);
    assert_int_equal(at, f->bytes);
    assert_int_equal(files.close(files.st, fd), 0);
    assert_int_equal(files.close(files.st, fd), -EBADF);
    assert_int_equal(files.read(files.st, fd, piece, 1), -EBADF);
    assert_int_equal(files.size(files.st, -1), -EBADF);
}

static void refuses(void **state)
{
    struct qn_embedded_door door = {0};
    struct qn_files files = qn_embedded_open(&door);
    const char *path = qn_embedded_files[0].path;

    (void)state;
    assert_int_equal(files.open(files.st, "nothing", QN_OPEN_READ), -ENOENT);
    assert_int_equal(files.open(files.st, path, QN_OPEN_REPLACE), -EROFS);
    assert_int_equal(files.rename(files.st, path, "x"), -EROFS);
    assert_int_equal(files.remove(files.st, path), -EROFS);
    for (int i = 0; i < QN_EMBEDDED_OPEN_MAX; i++)
        assert_int_equal(files.open(files.st, path, QN_OPEN_READ), i);
    assert_int_equal(files.open(files.st, path, QN_OPEN_READ), -EMFILE);
    assert_int_equal(files.write(files.st, 0, "x", 1), -EROFS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_to_the_examples),
        cmocka_unit_test(reads_in_pieces),
        cmocka_unit_test(refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
