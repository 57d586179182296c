/* SPDX-License-Identifier: Apache-2.0
 * memory.c - the door to the heap, and arenas.
 *
 * Everything above base/ allocates here, on no hot path: a batch's memory comes out of an arena
 * that keeps its blocks. The counter and the planned failure are the program's only mutable
 * globals; they are atomics, and tests alone plan failures. Arena invariant: `used` bytes of
 * `current` and all blocks before it are handed out; blocks behind it are free. Under
 * AddressSanitizer what is not handed out is poisoned, with a gap behind every piece. Thread: the
 * door any; an arena has one owner. */
#include "base/memory.h"

#include "base/check.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif

#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
enum { ARENA_GAP = 16 };
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
enum { ARENA_GAP = 0 };
#endif

enum { ARENA_ALIGN = 16, ARENA_BLOCK = 64 * 1024 };

struct qn_arena_block {
    struct qn_arena_block *next;
    size_t cap; /* bytes behind this header */
    _Alignas(ARENA_ALIGN) unsigned char bytes[];
};

static _Atomic uint64_t allocations;
static _Atomic uint64_t fail_number; /* the allocation that fails, 0 = none */
static _Atomic bool fail_later;      /* and all behind it                   */

/* Counts one allocation. True if it is to fail: planned by a test, or larger than any object may
 * be. */
static bool refuse(size_t bytes)
{
    uint64_t n = atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed) + 1;
    uint64_t at = atomic_load_explicit(&fail_number, memory_order_relaxed);

    if (__builtin_expect(at != 0, 0))
        if (n == at || (n > at && atomic_load_explicit(&fail_later, memory_order_relaxed)))
            return true;
    return bytes > PTRDIFF_MAX;
}

uint64_t qn_mem_count(void)
{
    return atomic_load_explicit(&allocations, memory_order_relaxed);
}

void qn_mem_fail_at(uint64_t nth, bool and_later)
{
    atomic_store(&fail_later, and_later);
    atomic_store(&fail_number, nth == 0 ? 0 : atomic_load(&allocations) + nth);
}

void *qn_mem_alloc(size_t bytes)
{
    if (refuse(bytes))
        return NULL;
    return malloc(bytes == 0 ? 1 : bytes);
}

void *qn_mem_zalloc(size_t count, size_t bytes)
{
    size_t all;

    if (__builtin_mul_overflow(count, bytes, &all) || refuse(all))
        return NULL;
    return calloc(1, all == 0 ? 1 : all);
}

void *qn_mem_realloc(void *p, size_t bytes)
{
    if (refuse(bytes))
        return NULL;
    return realloc(p, bytes == 0 ? 1 : bytes);
}

void *qn_mem_aligned(size_t align, size_t bytes)
{
    void *p = NULL;

    QN_ASSERT(align != 0 && (align & (align - 1)) == 0);
    if (refuse(bytes))
        return NULL;
    if (align < sizeof(void *))
        align = sizeof(void *);
    return posix_memalign(&p, align, bytes == 0 ? 1 : bytes) == 0 ? p : NULL;
}

void qn_mem_free(void *p)
{
    free(p);
}

char *qn_mem_strdup(const char *text, size_t len)
{
    char *p = len < SIZE_MAX ? qn_mem_alloc(len + 1) : NULL;

    if (p == NULL)
        return NULL;
    if (len > 0)
        memcpy(p, text, len);
    p[len] = '\0';
    return p;
}

void qn_arena_init(struct qn_arena *a, size_t block_bytes)
{
    *a = (struct qn_arena){.block_bytes = block_bytes};
}

void qn_arena_fini(struct qn_arena *a)
{
    struct qn_arena_block *b = a->first;

    while (b != NULL) {
        struct qn_arena_block *next = b->next;

        UNPOISON(b->bytes, b->cap);
        qn_mem_free(b);
        b = next;
    }
    a->first = a->current = NULL;
    a->used = a->total_bytes = 0;
}

void qn_arena_reset(struct qn_arena *a)
{
    for (struct qn_arena_block *b = a->first; b != NULL; b = b->next)
        POISON(b->bytes, b->cap);
    a->current = a->first;
    a->used = 0;
}

/* Makes a block with room for `need` bytes current: the next kept one where it is large enough,
 * else a new one put in between, so that kept blocks are not lost. */
static bool next_block(struct qn_arena *a, size_t need)
{
    struct qn_arena_block *b = a->current != NULL ? a->current->next : a->first;
    size_t cap = a->block_bytes != 0 ? a->block_bytes : ARENA_BLOCK;

    if (b == NULL || b->cap < need) {
        struct qn_arena_block *behind = b;

        if (cap < need)
            cap = need;
        if (cap > PTRDIFF_MAX - sizeof *b - ARENA_ALIGN)
            return false;
        cap = (cap + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
        b = qn_mem_alloc(sizeof *b + cap);
        if (b == NULL)
            return false;
        b->cap = cap;
        b->next = behind;
        POISON(b->bytes, b->cap);
        if (a->current != NULL)
            a->current->next = b;
        else
            a->first = b;
        a->total_bytes += cap;
    }
    a->current = b;
    a->used = 0;
    return true;
}

void *qn_arena_aligned(struct qn_arena *a, size_t align, size_t bytes)
{
    size_t need, start = 0;

    QN_ASSERT(align != 0 && (align & (align - 1)) == 0);
    if (align < ARENA_ALIGN)
        align = ARENA_ALIGN;
    if (bytes > PTRDIFF_MAX - 2 * align)
        return NULL;
    need = (bytes == 0 ? 1 : bytes) + ARENA_GAP;
    need = (need + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (a->current != NULL)
        start = a->used + (-((uintptr_t)a->current->bytes + a->used) & (align - 1));
    if (a->current == NULL || start > a->current->cap || a->current->cap - start < need) {
        if (!next_block(a, need + align - ARENA_ALIGN))
            return NULL;
        start = -(uintptr_t)a->current->bytes & (align - 1);
    }
    a->used = start + need;
    UNPOISON(a->current->bytes + start, bytes);
    return a->current->bytes + start;
}

void *qn_arena_alloc(struct qn_arena *a, size_t bytes)
{
    return qn_arena_aligned(a, ARENA_ALIGN, bytes);
}

void *qn_arena_zalloc(struct qn_arena *a, size_t count, size_t bytes)
{
    size_t all;
    void *p;

    if (__builtin_mul_overflow(count, bytes, &all))
        return NULL;
    p = qn_arena_alloc(a, all);
    if (p != NULL && all > 0)
        memset(p, 0, all);
    return p;
}

char *qn_arena_strdup(struct qn_arena *a, const char *text, size_t len)
{
    char *p = len < PTRDIFF_MAX ? qn_arena_alloc(a, len + 1) : NULL;

    if (p == NULL)
        return NULL;
    if (len > 0)
        memcpy(p, text, len);
    p[len] = '\0';
    return p;
}
