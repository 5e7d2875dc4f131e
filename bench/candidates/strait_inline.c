/* SPDX-License-Identifier: MIT */
/* strait's rings by name, inlined into the caller: each of strait's own table. */
#include <stdlib.h>

#include "candidates/loops.h"
#include "strait.h"

static void *create(const struct bench_ring *self, size_t bytes, size_t capacity, uint32_t senders)
{
    const struct strait_variant *variant = self->context;
    struct strait_shape shape = {capacity, bytes, senders};
    void *ring = NULL;
    if (posix_memalign(&ring, STRAIT_LINE, variant->size(&shape)) != 0) {
        return NULL;
    }
    memset(ring, 0, variant->size(&shape));
    variant->init(ring, &shape);
    return ring;
}

static void destroy(const struct bench_ring *self, void *ring)
{
    (void)self;
    free(ring);
}

static void *sender(const struct bench_ring *self, void *ring)
{
    const struct strait_variant *variant = self->context;
    return variant->attach(ring);
}

/* Messages of so many words. */
struct words_1 {
    uint64_t words[1];
};
struct words_8 {
    uint64_t words[8];
};
struct words_32 {
    uint64_t words[32];
};

#define SIZED(VARIANT, NAME, WORDS)                                                                \
    STRAIT_RING_TYPED(NAME, strait_##VARIANT, struct words_##WORDS);                               \
    BENCH_INLINE size_t NAME##_send(void *end, const void *messages, size_t n)                     \
    {                                                                                              \
        return NAME##_try_send(end, messages, n);                                                  \
    }                                                                                              \
    BENCH_INLINE size_t NAME##_receive(void *ring, void *messages, size_t n)                       \
    {                                                                                              \
        return NAME##_try_receive(ring, messages, n);                                              \
    }                                                                                              \
    BENCH_LOOPS(NAME, NAME##_send, NAME##_receive, WORDS)

#define LOOPS(VARIANT)                                                                             \
    SIZED(VARIANT, VARIANT##_8, 1)                                                                 \
    SIZED(VARIANT, VARIANT##_64, 8)                                                                \
    SIZED(VARIANT, VARIANT##_256, 32)

#define CANDIDATE(VARIANT)                                                                         \
    {"strait." #VARIANT ".inline",                                                                 \
     NULL,                                                                                         \
     BENCH_ONE_SENDER,                                                                             \
     &strait_##VARIANT##_variant,                                                                  \
     create,                                                                                       \
     destroy,                                                                                      \
     sender,                                                                                       \
     NULL,                                                                                         \
     &VARIANT##_8,                                                                                 \
     &VARIANT##_64,                                                                                \
     &VARIANT##_256,                                                                               \
     NULL},

STRAIT_VARIANTS(LOOPS)

const struct bench_ring *bench_strait_inline_at(size_t i)
{
    static struct bench_ring rings[] = {STRAIT_VARIANTS(CANDIDATE)};
    if (i >= sizeof(rings) / sizeof(rings[0])) {
        return NULL;
    }
    const struct strait_variant *variant = rings[i].context;
    if (variant->senders != STRAIT_SENDERS_ONE) { /* no constant, as far as C is concerned */
        rings[i].senders = BENCH_ANY_SENDERS;
    }
    return &rings[i];
}
