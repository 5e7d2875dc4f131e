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

#define MESSAGE(BYTES, NAME)                                                                       \
    struct NAME##_##BYTES {                                                                        \
        uint64_t words[(BYTES) / 8];                                                               \
    };

BENCH_EACH_SIZE(MESSAGE, message)

#define SIZED(BYTES, VARIANT, LOOPS) TYPED(VARIANT, VARIANT##_##BYTES, BYTES, LOOPS)
#define TYPED(VARIANT, NAME, BYTES, LOOPS)                                                         \
    STRAIT_RING_TYPED(NAME, strait_##VARIANT, struct message_##BYTES);                             \
    BENCH_INLINE size_t NAME##_send(void *end, const void *messages, size_t n)                     \
    {                                                                                              \
        return NAME##_try_send(end, messages, n);                                                  \
    }                                                                                              \
    BENCH_INLINE size_t NAME##_receive(void *ring, void *messages, size_t n)                       \
    {                                                                                              \
        return NAME##_try_receive(ring, messages, n);                                              \
    }                                                                                              \
    LOOPS(NAME, NAME##_send, NAME##_receive, (BYTES) / 8)

#define LOOPS(VARIANT)                                                                             \
    BENCH_MAIN_SIZES(SIZED, VARIANT, BENCH_LOOPS)                                                  \
    BENCH_PAYLOAD_SIZES(SIZED, VARIANT, BENCH_PAYLOAD_LOOPS)

#define CANDIDATE(VARIANT)                                                                         \
    {"strait." #VARIANT ".inline",                                                                 \
     NULL,                                                                                         \
     BENCH_ONE_SENDER,                                                                             \
     &strait_##VARIANT##_variant,                                                                  \
     create,                                                                                       \
     destroy,                                                                                      \
     sender,                                                                                       \
     NULL,                                                                                         \
     BENCH_ALL_LOOPS(VARIANT),                                                                     \
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
