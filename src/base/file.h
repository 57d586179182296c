/* SPDX-License-Identifier: Apache-2.0
 * file.h - files and descriptors behind one table, so that a test can fail the n-th read, write or
 * sync.
 *
 * Rooms above base/ open, read and write through a qn_files they were handed; qn_files_system is
 * the real one. Thread: the table is const; a descriptor belongs to one thread at a time. */
#ifndef QN_BASE_FILE_H
#define QN_BASE_FILE_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum qn_open { QN_OPEN_READ, QN_OPEN_REPLACE /* create or truncate, mode 0644 */ };

struct qn_files {
    /* All return 0 or a count, or -errno. EINTR is retried inside, short writes are the caller's
     * business. */
    int (*open)(void *st, const char *path, enum qn_open how);
    int64_t (*read)(void *st, int fd, void *p, size_t bytes); /* 0 = end */
    int64_t (*write)(void *st, int fd, const void *p, size_t bytes);
    int (*sync)(void *st, int fd); /* fdatasync; 0 where there is nothing to sync */
    int (*close)(void *st, int fd);
    int (*rename)(void *st, const char *from, const char *to);
    int (*remove)(void *st, const char *path);
    int64_t (*size)(void *st, int fd); /* -EINVAL where it has none (a pipe) */
    void *st;
};
extern const struct qn_files qn_files_system;

/* Writes all of p. QN_CLOSED for EPIPE, QN_FULL for ENOSPC, QN_IO otherwise. `name` is for the
 * message. */
qn_status qn_file_write_all(const struct qn_files *f, int fd, const char *name, const void *p,
                            size_t bytes, struct qn_err *err);

/* Reads a whole file of at most limit_bytes into out (cleared first). QN_LIMIT when it is larger.
 */
qn_status qn_file_read_all(const struct qn_files *f, const char *path, size_t limit_bytes,
                           struct qn_buf *out, struct qn_err *err);

/* True if more can be read from fd without waiting, or it is at its end (poll, 0 ms). */
bool qn_file_ready(int fd);
bool qn_file_is_terminal(int fd);

#endif
