/* SPDX-License-Identifier: Apache-2.0
 * slab.c - pieces of one lane's state: size classes, free lists, blocks. See slab.h.
 *
 * Classes: 16, 32, ... 128, then 160, 192, 224, 256, 320, ... 16384. A freed piece holds the link
 * to the next one of its class in its first word. Invariant: what lies in a free list is of exactly
 * that class's size. Thread: the lane's worker. */
#include "state/slab.h"

#include "base/check.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_ASAN 1
#endif
#endif
#ifdef SLAB_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { FIRST_BLOCK_BYTES = 4096, BLOCK_BYTES_MAX = 256 * 1024 };

struct qn_slab_block {
    struct qn_slab_block *older;
    size_t bytes; /* behind this header */
};

/* Class of a piece and the class's size. */
static unsigned class_of(size_t bytes, size_t *size)
{
    if (bytes <= 128) {
        unsigned k = bytes == 0 ? 0 : (unsigned)((bytes + 15) / 16) - 1;

        *size = 16 * ((size_t)k + 1);
        return k;
    }
    unsigned top =
        63 - (unsigned)__builtin_clzll((unsigned long long)bytes - 1); /* 2^top < bytes */
    size_t step = (size_t)1 << (top - 2);
    unsigned quarter = (unsigned)((bytes - ((size_t)1 << top) + step - 1) / step); /* 1 to 4 */

    *size = ((size_t)1 << top) + quarter * step;
    return 8 + 4 * (top - 7) + quarter - 1;
}

size_t qn_slab_round(size_t bytes)
{
    size_t size;

    if (bytes > QN_SLAB_PIECE_MAX)
        return bytes;
    class_of(bytes, &size);
    return size;
}

void qn_slab_fini(struct qn_slab *s)
{
    while (s->blocks != NULL) {
        struct qn_slab_block *b = s->blocks;

        s->blocks = b->older;
        UNPOISON(b + 1, b->bytes);
        qn_mem_free(b);
    }
    memset(s, 0, sizeof *s);
}

static bool slab_grow(struct qn_slab *s)
{
    size_t bytes = s->next_block_bytes == 0 ? FIRST_BLOCK_BYTES : s->next_block_bytes;

    struct qn_slab_block *b = qn_mem_aligned(16, sizeof *b + bytes);

    if (b == NULL)
        return false;
    b->older = s->blocks;
    b->bytes = bytes;
    s->blocks = b;
    s->bump = (char *)(b + 1);
    s->left = bytes;
    s->next_block_bytes = bytes < BLOCK_BYTES_MAX ? bytes * 2 : bytes;
    POISON(s->bump, s->left);
    return true;
}

void *qn_slab_alloc(struct qn_slab *s, size_t bytes)
{
    size_t size;

    if (bytes > QN_SLAB_PIECE_MAX) {
        void *p = qn_mem_aligned(16, bytes);

        if (p != NULL)
            s->used_bytes += bytes;
        return p;
    }
    unsigned k = class_of(bytes, &size);

    QN_ASSERT(k < QN_SLAB_CLASSES);
    if (s->free[k] != NULL) {
        void *p = s->free[k];

        UNPOISON(p, size);
        memcpy(&s->free[k], p, sizeof(void *));
        return p;
    }
    while (s->left < size) {
        if (!slab_grow(s))
            return NULL;
    }
    void *p = s->bump;

    UNPOISON(p, size);
    s->bump += size;
    s->left -= size;
    s->used_bytes += size;
    return p;
}

void qn_slab_free(struct qn_slab *s, void *p, size_t bytes)
{
    size_t size;

    if (p == NULL)
        return;
    if (bytes > QN_SLAB_PIECE_MAX) {
        s->used_bytes -= bytes;
        qn_mem_free(p);
        return;
    }
    unsigned k = class_of(bytes, &size);

    memcpy(p, &s->free[k], sizeof(void *));
    s->free[k] = p;
    POISON(p, size);
}
