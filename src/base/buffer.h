/* SPDX-License-Identifier: Apache-2.0
 * buffer.h - a growing byte buffer, used to build output lines and messages.
 *
 * Capacity is kept across qn_buf_clear, so a buffer that is reused per batch stops allocating. Out
 * of memory is remembered in `failed` instead of returned by every call: check it once, at the end.
 * Thread: one owner. */
#ifndef QN_BASE_BUFFER_H
#define QN_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* In the caller's memory; {0} is a valid empty buffer. */
struct qn_buf {
    char *data;  /* not NUL-terminated; valid until the next call that grows */
    size_t len;  /* bytes used                                               */
    size_t cap;  /* bytes available                                          */
    bool failed; /* an allocation failed; the content is incomplete          */
};

void qn_buf_fini(struct qn_buf *b);
static inline void qn_buf_clear(struct qn_buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Makes room for `more` bytes and returns where to write them, or NULL (and failed) when out of
 * memory. Add what was written to b->len. */
char *qn_buf_room_slow(struct qn_buf *b, size_t more);
static inline char *qn_buf_room(struct qn_buf *b, size_t more)
{
    if (__builtin_expect(b->cap - b->len >= more, 1) && b->data != NULL)
        return b->data + b->len;
    return qn_buf_room_slow(b, more);
}

static inline void qn_buf_add(struct qn_buf *b, const void *p, size_t n)
{
    char *at = qn_buf_room(b, n);

    if (at != NULL && n > 0) {
        memcpy(at, p, n);
        b->len += n;
    }
}

static inline void qn_buf_byte(struct qn_buf *b, char c)
{
    qn_buf_add(b, &c, 1);
}

void qn_buf_text(struct qn_buf *b, const char *nul_terminated);
void qn_buf_printf(struct qn_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
