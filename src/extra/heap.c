/* SPDX-License-Identifier: MIT */
/* See heap.h. */
#include "heap.h"

#include "holdings.h"
#include "../channel/memory.h"
#include "strait/sync.h"

#define ALIGNMENT 16
#define REGION_SIZE ((size_t)64 * 1024)
#define SMALL_MAX ((size_t)8192)

#define LARGE STRAIT_HEAP_CLASSES

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

void strait_heap_init(struct strait_heap *heap, size_t limit)
{
    memset(heap, 0, sizeof(*heap));
    heap->limit = limit ? limit : SIZE_MAX;
    heap->ceiling = heap->limit;
    heap->least_room = heap->limit;
}

/* ---- the limit: differences only, so that what comes round is no matter ---- */

static void heap_collect(struct strait_heap *heap)
{
    heap->ceiling = heap->limit + strait_holdings_returned(heap);
}

/* Out of line: what has come back meanwhile may do. */
static bool heap_room_at_last(struct strait_heap *heap, size_t bytes)
{
    heap_collect(heap);
    heap->limit_hit = heap->limit_hit || bytes > heap->ceiling - heap->used;
    return bytes <= heap->ceiling - heap->used;
}

static inline bool heap_has_room(struct strait_heap *heap, size_t bytes)
{
    return STRAIT_LIKELY(bytes <= heap->ceiling - heap->used) || heap_room_at_last(heap, bytes);
}

static inline void heap_set_used(struct strait_heap *heap, size_t used)
{
    /* the heap's thread writes it */
    strait_word_store_relaxed(&heap->used, used);
}

/* Out of line: never so little, unless something has come back meanwhile. */
static void heap_note_least(struct strait_heap *heap)
{
    heap_collect(heap);
    if (heap->ceiling - heap->used < heap->least_room) {
        /* the heap's thread writes it */
        strait_word_store_relaxed(&heap->least_room, heap->ceiling - heap->used);
    }
}

static inline void heap_charge(struct strait_heap *heap, size_t bytes)
{
    heap_set_used(heap, heap->used + bytes);
    if (STRAIT_UNLIKELY(heap->ceiling - heap->used < heap->least_room)) {
        heap_note_least(heap);
    }
}

bool strait_heap_room(struct strait_heap *heap, size_t bytes)
{
    return heap_has_room(heap, bytes);
}

void strait_heap_charge(struct strait_heap *heap, size_t bytes)
{
    heap_charge(heap, bytes);
}

void strait_heap_credit(struct strait_heap *heap, size_t bytes)
{
    heap_set_used(heap, heap->used - bytes);
}

size_t strait_heap_live(struct strait_heap *heap)
{
    heap_collect(heap);
    return heap->limit - (heap->ceiling - heap->used);
}

/* ---- blocks ---- */

void strait_heap_release(struct strait_heap *heap)
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
    heap_set_used(heap, heap->lent);
}

/* malloc that leaves errno alone. */
static void *system_alloc(size_t bytes)
{
    int saved = errno;
    void *memory = malloc(bytes);
    strait_errno_restore(saved);
    return memory;
}

/* What is left of the old region is given up: less than one small block. */
static bool new_region(struct strait_heap *heap)
{
    struct region *region = system_alloc(REGION_SIZE);
    if (!region) {
        return false;
    }
    region->next = heap->regions;
    heap->regions = region;
    heap->bump = (char *)(region + 1);
    heap->bump_end = (char *)region + REGION_SIZE;
    return true;
}

static struct header *take_small(struct strait_heap *heap, size_t size, unsigned class)
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

static struct header *take_large(struct strait_heap *heap, size_t size)
{
    struct large *large = system_alloc(sizeof(*large) + size);
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

static void give_large(struct strait_heap *heap, struct header *header)
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

void *strait_heap_take(struct strait_heap *heap, size_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX / 2) { /* so that sums do not overflow */
        heap->limit_hit = heap->limit_hit || bytes > heap->limit;
        return NULL;
    }
    size_t size = bytes + sizeof(struct header);
    bool is_large = size > SMALL_MAX;
    unsigned class = is_large ? LARGE : size_class(&size);
    if (!heap_has_room(heap, size)) {
        return NULL;
    }
    struct header *header = is_large ? take_large(heap, size) : take_small(heap, size, class);
    if (!header) {
        return NULL;
    }
    header->size = size;
    header->class = class;
    heap_charge(heap, size);
    return header + 1;
}

void strait_heap_give(struct strait_heap *heap, void *memory)
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

void *strait_heap_change(struct strait_heap *heap, void *memory, size_t bytes)
{
    if (!memory) {
        return strait_heap_take(heap, bytes);
    }
    if (bytes == 0) {
        strait_heap_give(heap, memory);
        return NULL;
    }
    size_t room = ((struct header *)memory - 1)->size - sizeof(struct header);
    if (bytes <= room && bytes >= room / 2) {
        return memory;
    }
    bool limit_hit = heap->limit_hit;
    void *moved = strait_heap_take(heap, bytes);
    if (moved) {
        memcpy(moved, memory, strait_min(bytes, room));
        strait_heap_give(heap, memory);
        return moved;
    }
    if (bytes > room) {
        return NULL;
    }
    heap->limit_hit = limit_hit; /* no room for a smaller one beside it: the old one does */
    return memory;
}
