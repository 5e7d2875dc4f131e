/* SPDX-License-Identifier: MIT */
/* strait's rings by name, inlined into the caller. A new variant is one line at the end. */
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

#define INLINED(VARIANT, SENDERS)                                                                  \
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
    BENCH_LOOPS(VARIANT##_256, VARIANT##_try_send, VARIANT##_try_receive, 32)                      \
    const struct bench_ring bench_##VARIANT##_inline = {"strait." #VARIANT ".inline",              \
                                                        NULL,                                      \
                                                        SENDERS,                                   \
                                                        &strait_##VARIANT##_variant,               \
                                                        create,                                    \
                                                        destroy,                                   \
                                                        sender,                                    \
                                                        NULL,                                      \
                                                        &VARIANT##_8,                              \
                                                        &VARIANT##_64,                             \
                                                        &VARIANT##_256,                            \
                                                        NULL}

INLINED(spsc, BENCH_ONE_SENDER);
INLINED(lanes, BENCH_ANY_SENDERS);
INLINED(cells, BENCH_ANY_SENDERS);
