/* SPDX-License-Identifier: MIT */
/*
 * heap: memory of one thread, with a limit, given back as a whole.
 *
 * Small blocks come from regions, by size class, and go to their class's free list; large ones are
 * the system allocator's, on a list. No block is ever seen by two threads, so nothing is atomic.
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
    size_t used;  /* bytes in live blocks, headers included */
    size_t limit; /* of `used` */
    bool limit_hit;
};

void strait_heap_init(struct strait_heap *heap, size_t limit);
void strait_heap_release(struct strait_heap *heap);
void *strait_heap_take(struct strait_heap *heap, size_t bytes);
void *strait_heap_change(struct strait_heap *heap, void *memory, size_t bytes);
void strait_heap_give(struct strait_heap *heap, void *memory);

#endif /* STRAIT_HEAP_H */
