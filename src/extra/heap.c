/* SPDX-License-Identifier: MIT */
/* See heap.h. */
#include "heap.h"

#include "memory.h"
#include "strait/sync.h"

#define ALIGNMENT 16
#define REGION_SIZE ((size_t)64 * 1024)
#define SMALL_MAX ((size_t)8192)

#define LARGE STRAIT_P_HEAP_CLASSES

/* In front of each block. */
struct header {
    size_t size;  /* of the block, header included */
    size_t class; /* LARGE: none */
} __attribute__((aligned(ALIGNMENT)));

/* A block on its class's free list; overlays the header. */
struct free_block {
    struct free_block *next;
};

/* In front of a region's blocks. */
struct region {
    struct region *next;
} __attribute__((aligned(ALIGNMENT)));

/* In front of a large block's header. */
struct large {
    struct large *next;
    struct large *previous;
} __attribute__((aligned(ALIGNMENT)));

/* Classes: every 16 bytes up to 128, then four to each doubling. Rounds `size` up to its class. */
static unsigned size_class(size_t *size)
{
    if (*size <= 128) {
        *size = strait_round_up(*size, ALIGNMENT);
        return (unsigned)(*size / ALIGNMENT);
    }
    unsigned log2 = 63u - (unsigned)__builtin_clzll(*size - 1);
    size_t step = (size_t)1 << (log2 - 2);
    *size = strait_round_up(*size, step);
    return 9 + 4 * (log2 - 7) + (unsigned)((*size - 1) / step) - 4;
}

static void strait_p_heap_init(struct strait_p_heap *heap, size_t limit)
{
    memset(heap, 0, sizeof(*heap));
    heap->limit = limit ? limit : SIZE_MAX;
}

static void heap_set_used(struct strait_p_heap *heap, size_t used)
{
    strait_word_store_relaxed(&heap->used, used);
    if (STRAIT_UNLIKELY(used > heap->highest)) {
        strait_word_store_relaxed(&heap->highest, used);
    }
}

/* ---- blocks ---- */

static void strait_p_heap_release(struct strait_p_heap *heap)
{
    while (heap->regions) {
        struct region *next = heap->regions->next;
        free(heap->regions);
        heap->regions = next;
    }
    while (heap->larges) {
        struct large *next = heap->larges->next;
        free(heap->larges);
        heap->larges = next;
    }
    memset(heap->free, 0, sizeof(heap->free));
    heap->bump = NULL;
    heap->bump_end = NULL;
    strait_word_store_relaxed(&heap->used, 0);
}

/* What is left of the old region is given up: less than one small block. */
static bool new_region(struct strait_p_heap *heap)
{
    struct region *region = strait_p_extra_alloc(ALIGNMENT, REGION_SIZE);
    if (!region) {
        return false;
    }
    region->next = heap->regions;
    heap->regions = region;
    heap->bump = (char *)(region + 1);
    heap->bump_end = (char *)region + REGION_SIZE;
    return true;
}

static struct header *take_small(struct strait_p_heap *heap, size_t size, unsigned class)
{
    struct free_block *block = heap->free[class];
    if (STRAIT_LIKELY(block != NULL)) {
        heap->free[class] = block->next;
        return (struct header *)(void *)block;
    }
    if ((size_t)(heap->bump_end - heap->bump) < size && !new_region(heap)) {
        return NULL;
    }
    char *fresh = heap->bump;
    heap->bump += size;
    return (struct header *)(void *)fresh;
}

static struct header *take_large(struct strait_p_heap *heap, size_t size)
{
    struct large *large = strait_p_extra_alloc(ALIGNMENT, sizeof(*large) + size);
    if (!large) {
        return NULL;
    }
    large->previous = NULL;
    large->next = heap->larges;
    if (large->next) {
        large->next->previous = large;
    }
    heap->larges = large;
    return (struct header *)(void *)(large + 1);
}

static void give_large(struct strait_p_heap *heap, struct header *header)
{
    struct large *large = (struct large *)(void *)header - 1;
    if (large->previous) {
        large->previous->next = large->next;
    } else {
        heap->larges = large->next;
    }
    if (large->next) {
        large->next->previous = large->previous;
    }
    free(large);
}

static void *strait_p_heap_take(struct strait_p_heap *heap, size_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX / 2) { /* so that sums do not overflow */
        heap->limit_hit = heap->limit_hit || bytes > heap->limit;
        return NULL;
    }
    size_t size = bytes + sizeof(struct header);
    bool is_large = size > SMALL_MAX;
    unsigned class = is_large ? LARGE : size_class(&size);
    if (STRAIT_UNLIKELY(size > heap->limit - heap->used)) {
        heap->limit_hit = true;
        return NULL;
    }
    struct header *header = is_large ? take_large(heap, size) : take_small(heap, size, class);
    if (!header) {
        return NULL;
    }
    header->size = size;
    header->class = class;
    heap_set_used(heap, heap->used + size);
    return header + 1;
}

static void strait_p_heap_give(struct strait_p_heap *heap, void *memory)
{
    if (!memory) {
        return;
    }
    struct header *header = (struct header *)memory - 1;
    size_t class = header->class;
    heap_set_used(heap, heap->used - header->size);
    if (STRAIT_UNLIKELY(class == LARGE)) {
        give_large(heap, header);
        return;
    }
    struct free_block *block = (struct free_block *)(void *)header;
    block->next = heap->free[class];
    heap->free[class] = block;
}

static void *strait_p_heap_change(struct strait_p_heap *heap, void *memory, size_t bytes)
{
    if (!memory) {
        return strait_p_heap_take(heap, bytes);
    }
    if (bytes == 0) {
        strait_p_heap_give(heap, memory);
        return NULL;
    }
    size_t room = ((struct header *)memory - 1)->size - sizeof(struct header);
    if (bytes <= room && bytes >= room / 2) {
        return memory;
    }
    bool limit_hit = heap->limit_hit;
    void *moved = strait_p_heap_take(heap, bytes);
    if (moved) {
        memcpy(moved, memory, strait_min(bytes, room));
        strait_p_heap_give(heap, memory);
        return moved;
    }
    if (bytes > room) {
        return NULL;
    }
    heap->limit_hit = limit_hit; /* no room for a smaller one beside it: the old one does */
    return memory;
}
