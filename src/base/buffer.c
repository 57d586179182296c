/* SPDX-License-Identifier: Apache-2.0
 * buffer.c - growth of byte buffers; the short forms live in the header.
 *
 * Capacity doubles, so that a line of n bytes costs at most log n allocations once and none when
 * the buffer is used again. Invariant: len <= cap, and data is NULL only where cap is 0. Thread:
 * one owner. Memory: heap. */
#include "base/buffer.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>

enum { BUF_MIN = 256, PRINTF_GUESS = 120 };

void qn_buf_fini(struct qn_buf *b)
{
    qn_mem_free(b->data);
    *b = (struct qn_buf){0};
}

char *qn_buf_room_slow(struct qn_buf *b, size_t more)
{
    size_t need, cap = b->cap;
    char *p;

    if (__builtin_add_overflow(b->len, more, &need) || need > PTRDIFF_MAX / 2) {
        b->failed = true;
        return NULL;
    }
    if (b->data != NULL && need <= cap)
        return b->data + b->len;
    if (cap < BUF_MIN)
        cap = BUF_MIN;
    while (cap < need)
        cap *= 2;
    p = qn_mem_realloc(b->data, cap);
    if (p == NULL) {
        b->failed = true;
        return NULL;
    }
    b->data = p;
    b->cap = cap;
    return p + b->len;
}

void qn_buf_text(struct qn_buf *b, const char *nul_terminated)
{
    qn_buf_add(b, nul_terminated, strlen(nul_terminated));
}

void qn_buf_printf(struct qn_buf *b, const char *fmt, ...)
{
    size_t room = PRINTF_GUESS;
    va_list args;

    for (int attempt = 0; attempt < 2; attempt++) {
        char *at = qn_buf_room(b, room);
        int n;

        if (at == NULL)
            return;
        va_start(args, fmt);
        n = vsnprintf(at, room, fmt, args);
        va_end(args);
        if (n < 0) {
            b->failed = true;
            return;
        }
        if ((size_t)n < room) {
            b->len += (size_t)n;
            return;
        }
        room = (size_t)n + 1;
    }
}
