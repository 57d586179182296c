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

enum qn_open {
    QN_OPEN_READ,
    QN_OPEN_REPLACE,     /* create or truncate, mode 0644                                        */
    QN_OPEN_UPDATE,      /* read and write what is there                                         */
    QN_OPEN_CREATE,      /* read and write; created empty where it is not there                  */
    QN_OPEN_READ_DIRECT, /* past the page cache: memory, offset and count in multiples of 4 KiB;
                            -EINVAL where the file system has no such thing                      */
};

/* What a file is, whatever its name: two names with the same identity are one file. An inode is
 * used again when its file is gone. */
struct qn_file_identity {
    uint64_t device, inode;
};

/* One piece of a gathered write. */
struct qn_piece {
    const void *p;
    size_t bytes;
};
enum { QN_PIECES_MAX = 1024 };

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
    int (*remove_folder)(void *st, const char *path); /* an empty one */
    int64_t (*size)(void *st, int fd);                /* -EINVAL where it has none (a pipe) */

    /* What the durable log needs beyond that; a table for readers of whole files leaves it out. */
    int64_t (*pread)(void *st, int fd, void *p, size_t bytes, uint64_t offset);
    int64_t (*pwritev)(void *st, int fd, const struct qn_piece *v, unsigned count, uint64_t offset);
    int (*allocate)(void *st, int fd, uint64_t bytes); /* blocks for [0, bytes), zero; -ENOSPC */
    int (*truncate)(void *st, int fd, uint64_t bytes);
    int (*sync_folder)(void *st, const char *path); /* names created, renamed, removed in it */
    int (*make_folder)(void *st, const char *path); /* -EEXIST where there is one */
    int (*list_folder)(void *st, const char *path, void (*each)(void *arg, const char *name),
                       void *arg);
    int (*lock)(void *st, int fd); /* until close; -EWOULDBLOCK while another open file has it */
    /* 1 where a sync reaches a disk of this machine; else 0 and the kind ("tmpfs", "nfs", ...). */
    int (*is_durable)(void *st, const char *path, const char **kind);
    int (*identify)(void *st, int fd, struct qn_file_identity *out);
    void *st;
};
extern const struct qn_files qn_files_system;

/* Writes all of p. QN_CLOSED for EPIPE, QN_FULL for ENOSPC, QN_IO otherwise. `name` is for the
 * message. */
qn_status qn_file_write_all(const struct qn_files *f, int fd, const char *name, const void *p,
                            size_t bytes, struct qn_err *err);

/* Writes all of p at offset; status as above. */
qn_status qn_file_write_at(const struct qn_files *f, int fd, const char *name, const void *p,
                           size_t bytes, uint64_t offset, struct qn_err *err);

/* Reads bytes at offset; *got < bytes only at the end of the file. */
qn_status qn_file_read_at(const struct qn_files *f, int fd, const char *name, void *p, size_t bytes,
                          uint64_t offset, size_t *got, struct qn_err *err);

/* Reads a whole file of at most limit_bytes into out (cleared first). QN_LIMIT when it is larger.
 */
qn_status qn_file_read_all(const struct qn_files *f, const char *path, size_t limit_bytes,
                           struct qn_buf *out, struct qn_err *err);

/* True if more can be read from fd without waiting, or it is at its end (poll, 0 ms). */
bool qn_file_ready(int fd);
bool qn_file_is_terminal(int fd);

#endif
