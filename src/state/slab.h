/* SPDX-License-Identifier: Apache-2.0
 * slab.h - the memory of one lane's state: pieces of many sizes, given back one by one, reused at
 * once.
 *
 * Pieces come from blocks that grow from 4 KiB to 256 KiB and go back to free lists by size class
 * (four classes per doubling), so that a state that has reached its size asks the heap for nothing
 * any more. Pieces over 16 KiB come from the heap directly. Freed pieces are poisoned under
 * AddressSanitizer. Lifetime: state. Thread: one owner at a time. */
#ifndef QN_STATE_SLAB_H
#define QN_STATE_SLAB_H

#include "base/memory.h"

enum { QN_SLAB_CLASSES = 36, QN_SLAB_PIECE_MAX = 16384 };

struct qn_slab_block; /* private */

/* In the caller's memory; {0} is a valid empty slab. */
struct qn_slab {
    void *free[QN_SLAB_CLASSES];  /* freed pieces by class                                    */
    struct qn_slab_block *blocks; /* newest first                                             */
    char *bump;                   /* next piece of the newest block                           */
    size_t left;                  /* bytes behind bump                                        */
    size_t next_block_bytes;      /* 0 = the first                                            */
    size_t used_bytes;            /* bytes ever handed out and not yet back with the heap     */
};

/* Frees all blocks; pieces over 16 KiB must have been freed before. */
void qn_slab_fini(struct qn_slab *s);

/* What a piece of that size really takes; <= 25 % more. bytes > 0. */
size_t qn_slab_round(size_t bytes);
/* bytes of memory aligned to 16, not cleared; NULL when out of memory. */
void *qn_slab_alloc(struct qn_slab *s, size_t bytes);
/* Gives a piece back; bytes as it was asked for. NULL is fine. */
void qn_slab_free(struct qn_slab *s, void *p, size_t bytes);

#endif
