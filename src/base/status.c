/* SPDX-License-Identifier: Apache-2.0
 * status.c - names of failures, and the one place where an error is filled in.
 *
 * Set a breakpoint on qn_err_set or qn_err_sys to see every failure of the world at its origin.
 * Thread: any; no state. Memory: the caller's qn_err. */
#include "base/status.h"

#include "base/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct status_row {
    const char *upper, *text;
    bool retriable;
};

static const struct status_row rows[QN_STATUS_COUNT] = {
#define STATUS_ROW(name, again, words) {#name, words, again},
    QN_STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

static const char *const names[QN_STATUS_COUNT] = {
    "ok",      "nomem",       "io",      "not_found", "denied", "full",
    "corrupt", "unsupported", "invalid", "limit",     "closed", "interrupted",
};

const char *qn_status_name(qn_status rc)
{
    return (unsigned)rc < QN_STATUS_COUNT ? names[rc] : "unknown";
}

const char *qn_status_text(qn_status rc)
{
    return (unsigned)rc < QN_STATUS_COUNT ? rows[rc].text : "unknown failure";
}

/* Copies at most room - 1 bytes and ends them; a UTF-8 sequence is never cut in two. */
static void copy_cut(char *to, size_t room, const char *from)
{
    size_t n = strlen(from);

    if (n >= room) {
        n = room - 1;
        while (n > 0 && ((unsigned char)from[n] & 0xC0) == 0x80)
            n--;
    }
    memcpy(to, from, n);
    to[n] = '\0';
}

static void fill(struct qn_err *err, qn_status code, const char *text)
{
    memset(err, 0, offsetof(struct qn_err, file));
    err->file[0] = '\0';
    err->code = code;
    err->retriable = rows[code].retriable;
    copy_cut(err->text, sizeof err->text, text);
}

/* The text is made in a scratch buffer first, because callers wrap an error in itself: "%s",
 * err->text. */
qn_status qn_err_set(struct qn_err *err, qn_status code, const char *fmt, ...)
{
    char scratch[sizeof err->text + 4];
    va_list args;

    QN_ASSERT(code != QN_OK);
    QN_ASSERT((unsigned)code < QN_STATUS_COUNT);
    if (err == NULL)
        return code;
    va_start(args, fmt);
    vsnprintf(scratch, sizeof scratch, fmt, args);
    va_end(args);
    fill(err, code, scratch);
    return code;
}

static qn_status code_of_errno(int e)
{
    switch (e) {
    case ENOENT:
    case ENOTDIR:
    case ENXIO:
    case ENODEV:
        return QN_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return QN_DENIED;
    case ENOSPC:
    case EDQUOT:
        return QN_FULL;
    case ENOMEM:
        return QN_NOMEM;
    case EPIPE:
    case ECONNRESET:
        return QN_CLOSED;
    case EINTR:
        return QN_INTERRUPTED;
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case EOVERFLOW:
        return QN_LIMIT;
    case ENOSYS:
    case EOPNOTSUPP:
        return QN_UNSUPPORTED;
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
        return QN_INVALID;
    default:
        return QN_IO;
    }
}

qn_status qn_err_sys(struct qn_err *err, int errno_value, const char *fmt, ...)
{
    qn_status code = code_of_errno(errno_value);
    char scratch[sizeof err->text + 128], words[128];
    va_list args;
    int n;

    if (err == NULL)
        return code;
    va_start(args, fmt);
    n = vsnprintf(scratch, sizeof err->text, fmt, args);
    va_end(args);
    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof err->text)
        n = (int)sizeof err->text - 1;
    snprintf(scratch + n, sizeof scratch - (size_t)n, ": %s",
             strerror_r(errno_value, words, sizeof words));
    fill(err, code, scratch);
    return code;
}

qn_status qn_err_at(struct qn_err *err, const char *file, uint32_t line, uint32_t col)
{
    QN_ASSERT(err != NULL);
    if (file != NULL && file != err->file)
        copy_cut(err->file, sizeof err->file, file);
    err->line = line;
    err->col = col;
    return err->code;
}
