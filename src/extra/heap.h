/* SPDX-License-Identifier: MIT */
/*
 * heap: memory of one thread, with a limit, given back as a whole.
 *
 * Small blocks come from regions, by size class, and go to their class's free list; large ones are
 * the system allocator's, on a list. No block is ever seen by two threads; `used` and `highest` may
 * be read by any.
 */
#ifndef STRAIT_HEAP_H
#define STRAIT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STRAIT_P_HEAP_CLASSES 33

struct strait_p_heap {
    struct free_block *free[STRAIT_P_HEAP_CLASSES];
    char *bump; /* the rest of the newest region */
    char *bump_end;
    struct region *regions;
    struct large *larges;
    size_t limit;
    uintptr_t used;    /* bytes in live blocks, headers included; the heap's thread writes */
    uintptr_t highest; /* the most that it was; the heap's thread writes */
    bool limit_hit;    /* the limit has refused something */
};

static void strait_p_heap_init(struct strait_p_heap *heap, size_t limit);
static void strait_p_heap_release(struct strait_p_heap *heap);
static void *strait_p_heap_take(struct strait_p_heap *heap, size_t bytes);
static void *strait_p_heap_change(struct strait_p_heap *heap, void *memory, size_t bytes);
static void strait_p_heap_give(struct strait_p_heap *heap, void *memory);

#endif /* STRAIT_HEAP_H */
