/* SPDX-License-Identifier: Apache-2.0
 * status.h - what can go wrong in the world, in one list, and the error a caller gets to see.
 *
 * Three kinds of error, three mechanisms (docs/architecture.md): a bug stops the program (check.h);
 * a failure of the world is a qn_status with its details in struct qn_err (this file); bad data is
 * a verdict in the batch (batch.h). Several mistakes in one spec are diagnostics (diag.h). Thread:
 * any; an err belongs to its caller. */
#ifndef QN_BASE_STATUS_H
#define QN_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(NAME, retriable, text). The order is the number and never changes; new rows go to the end. */
#define QN_STATUS_LIST(X)                                                                          \
    X(OK, 0, "ok")                                                                                 \
    X(NOMEM, 0, "out of memory")                                                                   \
    X(IO, 1, "input or output failed")                                                             \
    X(NOT_FOUND, 0, "not found")                                                                   \
    X(DENIED, 0, "permission denied")                                                              \
    X(FULL, 1, "no space left")                                                                    \
    X(CORRUPT, 0, "damaged or not what it claims to be")                                           \
    X(UNSUPPORTED, 0, "not available")                                                             \
    X(INVALID, 0, "not valid")                                                                     \
    X(LIMIT, 0, "beyond a limit")                                                                  \
    X(CLOSED, 0, "the other side is gone")                                                         \
    X(INTERRUPTED, 0, "interrupted")

typedef enum {
#define QN_STATUS_ENUM(name, retriable, text) QN_##name,
    QN_STATUS_LIST(QN_STATUS_ENUM)
#undef QN_STATUS_ENUM
        QN_STATUS_COUNT
} qn_status;

/* Name in lower case ("not_found") and text for people. Both static, never NULL. */
const char *qn_status_name(qn_status rc);
const char *qn_status_text(qn_status rc);

/* Details of one failure; in the caller's memory, filled by qn_err_set and read once, where it is
 * handled. */
struct qn_err {
    qn_status code;
    bool retriable;  /* the same call may succeed later                                       */
    bool fatal;      /* the object must not be used again                                     */
    uint32_t line;   /* 1-based, 0 = none                                                     */
    uint32_t col;    /* 1-based, in bytes, 0 = none                                           */
    uint64_t offset; /* byte offset in a binary file; meaningful where has_offset             */
    bool has_offset;
    char file[256]; /* "" = none                                                             */
    char text[512]; /* one sentence: what was found, what was expected, what to do           */
};

/* Fills err (NULL is allowed) and returns code, so that failing is one line. The one place for a
 * breakpoint. */
qn_status qn_err_set(struct qn_err *err, qn_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As above with errno's text appended and the code chosen from errno (ENOENT -> QN_NOT_FOUND,
 * ENOSPC -> QN_FULL, ...). */
qn_status qn_err_sys(struct qn_err *err, int errno_value, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds the place to an error already set: file (cut to fit), line and col (0 = none). Returns
 * err->code. */
qn_status qn_err_at(struct qn_err *err, const char *file, uint32_t line, uint32_t col);

/* Returns early with the status of expr. Only in functions that own nothing at that point. */
#define QN_TRY(expr)                                                                               \
    do {                                                                                           \
        qn_status qn_try_rc_ = (expr);                                                             \
        if (qn_try_rc_ != QN_OK)                                                                   \
            return qn_try_rc_;                                                                     \
    } while (0)

#endif
