/* SPDX-License-Identifier: Apache-2.0
 * tail_int.h - the inside of the file source: the files it knows, and how far each was read.
 *
 *   source_file.c    options, and complete files one after the other
 *   tail_follow.c    files that grow: found, rotated, gone
 *   tail_lines.c     the lines of one file from where it was left
 *   tail_position.c  what is known about the files, as a position and back
 *
 * A file is known by its identity and by its head, a hash of its first bytes as far as they were
 * read: a file that was cut and written anew, or that got the inode of another, has another head
 * and is read from its beginning. Thread: the intake's. */
#ifndef QN_SOURCE_TAIL_INT_H
#define QN_SOURCE_TAIL_INT_H

#include "base/memory.h"
#include "source/source.h"

enum {
    QN_TAIL_FILES_MAX = 64,
    QN_TAIL_HEAD_BYTES = 1024,
};

struct qn_tail_options {
    const char *path; /* the last part may have * ? and [ ] */
    bool is_followed;
    int format; /* enum tail_format */
    int64_t poll_us;
};

struct qn_tail_file {
    char *path; /* as last seen */
    struct qn_file_identity id;
    uint64_t offset;     /* of the next byte to read; in a compressed file: the next record */
    uint64_t head;       /* hash of its first head_bytes bytes                              */
    uint32_t head_bytes; /* at most QN_TAIL_HEAD_BYTES; what was read from it               */
    bool is_skipping;    /* inside of a line that was too long                              */
    bool is_compressed;
    /* Not part of the position: */
    bool is_open, is_named; /* fd is valid; found under a name that is asked for */
    bool is_ignored;        /* compressed, where files are followed              */
    int fd;
    uint64_t size;         /* at the last look that found no whole line; 0 = none */
    int64_t idle_since_ns; /* of a file without a name; 0 = not idle              */
};

struct qn_tail {
    const struct qn_source_boot *boot;
    const struct qn_tail_options *opt;
    char *folder;        /* of the path, ends with '/'; "" = current     */
    const char *pattern; /* the last part of the path                    */
    bool has_pattern;    /* it has * ? or [                              */
    char *buf;           /* what was read from a file                    */
    struct qn_tail_file files[QN_TAIL_FILES_MAX];
    uint32_t count;
    /* following */
    uint32_t turn; /* which file is asked first */
    int64_t scan_ns;
    bool is_searched; /* files that lost their name were looked for */
    bool has_told_ignored, has_told_missing;
    /* complete files: files[0] is the one being read */
    char **names; /* [name_count] in order */
    uint32_t name_count, name_at, name_cap;
    struct qn_log_file *whole; /* a compressed file */
};

/* tail_lines.c */

/* Opens a path as a file that is not known yet: identity, compressed or not; f is filled, path
 * copied. QN_INVALID when it is no regular file. */
qn_status qn_tail_open(struct qn_tail *t, const char *path, struct qn_tail_file *f,
                       struct qn_err *err);
void qn_tail_close(struct qn_tail *t, struct qn_tail_file *f); /* fd and path */
/* Whole lines behind f->offset into the batch (is_last: what follows the last line end is a line
 * too), and moves the offset. QN_MORE: something was read, perhaps blank lines; QN_IDLE: not yet a
 * whole line. A file that was cut or replaced is begun anew. */
qn_status qn_tail_lines(struct qn_tail *t, struct qn_tail_file *f, bool is_last,
                        struct qn_source_batch *batch, enum qn_flow *flow, struct qn_err *err);

/* tail_follow.c */

/* One batch of one of the files; looks for new ones where it is time. */
qn_status qn_tail_follow(struct qn_tail *t, struct qn_source_batch *batch, enum qn_flow *flow,
                         struct qn_err *err);
/* Calls each with every path that the options name, in no order; stops where it fails. */
qn_status qn_tail_list(struct qn_tail *t,
                       qn_status (*each)(struct qn_tail *t, const char *path, struct qn_err *err),
                       struct qn_err *err);

/* tail_position.c */
void qn_tail_position(const struct qn_tail *t, struct qn_buf *out);
/* Into t->files, closed. QN_CORRUPT, fatal. */
qn_status qn_tail_restore(struct qn_tail *t, struct qn_str position, struct qn_err *err);

#endif
