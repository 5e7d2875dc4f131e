/* SPDX-License-Identifier: MIT */
/*
 * heap: memory of one thread, with a limit, given back as a whole.
 *
 * Small blocks come from regions, by size class, and go to their class's free list; large ones are
 * the system allocator's, on a list. No block is ever seen by two threads, so nothing is atomic.
 *
 * Besides, the heap's thread may charge it for memory that comes from elsewhere, and lend such
 * memory to others: see holdings.h. `used` is never lowered for what comes back of that, as that is
 * counted by others, in `returned`; what the limit counts is the difference.
 */
#ifndef STRAIT_HEAP_H
#define STRAIT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STRAIT_HEAP_CLASSES 33

struct strait_heap {
    struct free_block *free[STRAIT_HEAP_CLASSES];
    char *bump; /* the rest of the newest region */
    char *bump_end;
    struct region *regions;
    struct large *larges;
    size_t limit;
    size_t ceiling; /* what `used` may reach: the limit, and what has come back as last seen */
    size_t lent;    /* of `used`: all that was ever lent */
    uintptr_t used; /* bytes in live blocks, headers included, and all other charges */
    uintptr_t least_room; /* the least that was ever left below the ceiling */
    uintptr_t loans;      /* a struct strait_loans *, or 0 */
    bool limit_hit;
};

void strait_heap_init(struct strait_heap *heap, size_t limit);
void strait_heap_release(struct strait_heap *heap);
void *strait_heap_take(struct strait_heap *heap, size_t bytes);
void *strait_heap_change(struct strait_heap *heap, void *memory, size_t bytes);
void strait_heap_give(struct strait_heap *heap, void *memory);

/* Does the limit leave room for so much? Notes that it was hit, if not. */
bool strait_heap_room(struct strait_heap *heap, size_t bytes);
void strait_heap_charge(struct strait_heap *heap, size_t bytes);
void strait_heap_credit(struct strait_heap *heap, size_t bytes);

/* What the limit counts now. */
size_t strait_heap_live(struct strait_heap *heap);

#endif /* STRAIT_HEAP_H */
