/* SPDX-License-Identifier: Apache-2.0
 * memory.h - the one door to the heap, and the arena that batches and plans live in.
 *
 * Nothing outside base/ calls malloc. The door counts allocations, so that a test can show that
 * none happens per event, and can fail the n-th one, so that every out-of-memory path is walked.
 * Four lifetimes (docs/architecture.md): boot, batch, state, request. An arena hands out memory
 * that is freed as a whole; reset keeps its blocks and, under AddressSanitizer, poisons them, so
 * that a pointer kept past its batch is found. Thread: the door is thread-safe; an arena belongs to
 * one thread at a time. */
#ifndef QN_BASE_MEMORY_H
#define QN_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Like malloc, calloc, realloc, free, aligned_alloc; NULL when out of memory. Sizes are checked for
 * overflow. count or bytes 0 gives a pointer that may be freed but not used. */
void *qn_mem_alloc(size_t bytes);
void *qn_mem_zalloc(size_t count, size_t bytes);
void *qn_mem_realloc(void *p, size_t bytes);
void *qn_mem_aligned(size_t align, size_t bytes); /* align: power of two; free with qn_mem_free */
void qn_mem_free(void *p);
char *qn_mem_strdup(const char *text, size_t len); /* adds the NUL */

/* For tests. Allocations since start; fail the n-th from now (1 = the next; 0 = never), only it or
 * all from then on. */
uint64_t qn_mem_count(void);
void qn_mem_fail_at(uint64_t nth, bool and_later);

struct qn_arena_block; /* private */

/* In the caller's memory; {0} is a valid empty arena. */
struct qn_arena {
    struct qn_arena_block *first, *current;
    size_t used;        /* bytes of current that are handed out          */
    size_t block_bytes; /* size of the next block; 0 = 64 KiB            */
    size_t total_bytes; /* all blocks together, for reports              */
};

void qn_arena_init(struct qn_arena *a, size_t block_bytes);
void qn_arena_fini(struct qn_arena *a);  /* frees everything; a is empty again */
void qn_arena_reset(struct qn_arena *a); /* forgets what was handed out, keeps the blocks */

/* bytes of memory aligned to 16 (or align), not cleared; NULL when out of memory. Lives until reset
 * or fini. */
void *qn_arena_alloc(struct qn_arena *a, size_t bytes);
void *qn_arena_aligned(struct qn_arena *a, size_t align, size_t bytes);
/* Cleared; count * bytes is checked for overflow. */
void *qn_arena_zalloc(struct qn_arena *a, size_t count, size_t bytes);
char *qn_arena_strdup(struct qn_arena *a, const char *text, size_t len); /* adds the NUL */

/* Typed forms: QN_NEW(a, struct x), QN_NEW_N(a, struct x, n): cleared. */
#define QN_NEW(a, type)      ((type *)qn_arena_zalloc((a), 1, sizeof(type)))
#define QN_NEW_N(a, type, n) ((type *)qn_arena_zalloc((a), (n), sizeof(type)))

#endif
