/* SPDX-License-Identifier: MIT */
/* heap: an isolate's memory and its limit. */
#include "extra/fixture.h"

#define LIMIT ((size_t)65536)

ISOLATE_TEST(odd_sizes_are_refused, .heap_limit = LIMIT)
{
    static const size_t sizes[] = {0, SIZE_MAX, SIZE_MAX - 15, SIZE_MAX / 2 + 1, SIZE_MAX / 2};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        EXPECT(strait_heap_alloc(isolate, sizes[i]) == NULL);
        EXPECT(strait_heap_resize(isolate, NULL, sizes[i]) == NULL);
    }
    strait_heap_free(isolate, NULL);
    EXPECT(strait_heap_used(isolate) == 0);
    void *memory = strait_heap_resize(isolate, strait_heap_resize(isolate, NULL, 20000), 10);
    EXPECT(strait_heap_used(isolate) < 1000);
    EXPECT(strait_heap_resize(isolate, memory, 0) == NULL);
    EXPECT(strait_heap_used(isolate) == 0);
    return 0;
}

static bool all_are(const unsigned char *memory, unsigned char value, size_t bytes)
{
    size_t i = 0;
    while (i < bytes && memory[i] == value) {
        i++;
    }
    return i == bytes;
}

/* Fills the heap with blocks of one size: how many fit must follow from what one of them costs. */
static void fill(struct strait_isolate *isolate, size_t bytes)
{
    static void *blocks[LIMIT];
    size_t count = 0;
    size_t cost = 0;
    while ((blocks[count] = strait_heap_alloc(isolate, bytes))) {
        memset(blocks[count], (int)count, bytes);
        count++;
        cost = cost ? cost : strait_heap_used(isolate);
        EXPECT(strait_heap_used(isolate) == count * cost);
    }
    EXPECT(cost ? cost >= bytes && count == LIMIT / cost : bytes > LIMIT - 32);
    EXPECT(cost <= (bytes <= 8000 ? bytes + bytes / 4 : bytes) + 32);
    if (cost) { /* what is given back can be had again */
        strait_heap_free(isolate, blocks[0]);
        blocks[0] = strait_heap_alloc(isolate, bytes);
        EXPECT(blocks[0] && !strait_heap_alloc(isolate, bytes));
    }
    while (count > 0) {
        strait_heap_free(isolate, blocks[--count]);
    }
    EXPECT(strait_heap_used(isolate) == 0);
}

ISOLATE_TEST(the_heap_limit_is_exact, .heap_limit = LIMIT)
{
    for (size_t bytes = 1; bytes <= LIMIT; bytes = bytes * 5 / 4 + 1) {
        fill(isolate, bytes);
    }
    for (size_t bytes = LIMIT - 32; bytes <= LIMIT; bytes++) { /* a large block is not rounded */
        fill(isolate, bytes);
    }
    return 0;
}

/* ---- what the parent is told ---- */

ENTRY(shrinks)
{
    unsigned char *memory = strait_heap_alloc(isolate, LIMIT - 100);
    memset(memory, 0x5a, LIMIT - 100);
    memory = strait_heap_resize(isolate, memory, LIMIT / 4); /* no room for both of them */
    EXPECT(memory && all_are(memory, 0x5a, LIMIT / 4));
    EXPECT(strait_heap_resize(isolate, memory, 0) == NULL); /* nor is this a refusal */
    return 0;
}

ENTRY(wants_twice_the_limit)
{
    EXPECT(strait_heap_alloc(isolate, 2 * LIMIT) == NULL);
    EXPECT(strait_heap_alloc(isolate, 2 * LIMIT) == NULL);
    post(strait_isolate_port(isolate), 0); /* it goes on */
    return 0;
}

/* A negative size, say. */
ENTRY(wants_too_much)
{
    EXPECT(strait_heap_alloc(isolate, SIZE_MAX) == NULL);
    return 0;
}

TEST(the_parent_is_warned_of_the_limit_once)
{
    static const struct {
        strait_isolate_fn *entry;
        size_t limit;
        const char *events;
    } cases[] = {
        {shrinks, LIMIT, "ox"},
        {wants_twice_the_limit, LIMIT, "owmx"},
        {wants_too_much, LIMIT, "owx"},
        {wants_too_much, 0, "ox"}, /* no limit has refused it */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tenant tenant = {.inner = {.entry = cases[i].entry, .heap_limit = cases[i].limit}};
        int code = strchr(cases[i].events, 'w') ? -ENOMEM : 0;
        tenant_spawn(&tenant);
        tenant_end(&tenant);
        assert_string_equal(tenant.log.events, cases[i].events);
        assert_int_equal(tenant.log.warning.code, code);
        assert_int_equal(tenant.log.exit.warning, code);
    }
}

/* ---- a random life, against a plain list of what should be there ---- */

#define BLOCKS 256

static unsigned refusals;

struct block {
    unsigned char *memory;
    size_t bytes;
    unsigned char pattern;
};

static void block_fill(struct block *block, void *memory, size_t bytes, uint64_t *seed)
{
    block->memory = memory;
    block->bytes = bytes;
    block->pattern = (unsigned char)draw(seed);
    EXPECT((uintptr_t)memory % 16 == 0);
    memset(memory, block->pattern, bytes);
}

static void live(struct strait_isolate *isolate, struct block *block, uint64_t *seed)
{
    size_t bytes = 1 + draw_below(seed, (size_t)1 << draw_below(seed, 16)); /* often small */
    size_t used = strait_heap_used(isolate);
    bool resized = draw_below(seed, 3) == 0;
    EXPECT(!block->memory || all_are(block->memory, block->pattern, block->bytes));
    if (block->memory && !resized) {
        strait_heap_free(isolate, block->memory);
        EXPECT(strait_heap_used(isolate) < used);
        block->memory = NULL;
        return;
    }
    size_t kept = strait_min(bytes, block->memory ? block->bytes : 0);
    unsigned char *memory = strait_heap_resize(isolate, block->memory, bytes);
    EXPECT(memory || used + 2 * bytes + 64 > 4 * LIMIT);
    if (memory) {
        EXPECT(all_are(memory, block->pattern, kept));
        block_fill(block, memory, bytes, seed);
    } else {
        refusals++;
        EXPECT(strait_heap_used(isolate) == used);
    }
}

ISOLATE_TEST(a_random_life_leaves_an_empty_heap, .heap_limit = 4 * LIMIT)
{
    static struct block blocks[BLOCKS];
    uint64_t seed = first_seed(7);
    for (size_t i = scaled(60000); i > 0; i--) {
        live(isolate, &blocks[draw_below(&seed, BLOCKS)], &seed);
        EXPECT(strait_heap_used(isolate) <= 4 * LIMIT);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        strait_heap_free(isolate, blocks[i].memory);
    }
    EXPECT(strait_heap_used(isolate) == 0);
    EXPECT(refusals > 10);
    return 0;
}
