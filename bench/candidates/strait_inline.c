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

#define LOOPS(VARIANT)                                                                             \
    BENCH_INLINE size_t VARIANT##_try_send(void *end, const void *messages, size_t n)              \
    {                                                                                              \
        return strait_##VARIANT##_try_send(end, messages, n);                                      \
    }                                                                                              \
    BENCH_INLINE size_t VARIANT##_try_receive(void *ring, void *messages, size_t n)                \
    {                                                                                              \
        return strait_##VARIANT##_try_receive(ring, messages, n);                                  \
    }                                                                                              \
    BENCH_LOOPS(VARIANT##_8, VARIANT##_try_send, VARIANT##_try_receive, 1)                         \
    BENCH_LOOPS(VARIANT##_64, VARIANT##_try_send, VARIANT##_try_receive, 8)                        \
    BENCH_LOOPS(VARIANT##_256, VARIANT##_try_send, VARIANT##_try_receive, 32)

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
