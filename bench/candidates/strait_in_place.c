/* SPDX-License-Identifier: MIT */
/* strait's spsc ring by name, in place. */
#include <stdlib.h>

#include "candidates/in_place.h"
#include "strait.h"

static void *create(const struct bench_ring *self, size_t bytes, size_t capacity, uint32_t senders)
{
    struct strait_shape shape = {capacity, bytes, senders};
    void *ring = NULL;
    (void)self;
    if (posix_memalign(&ring, STRAIT_LINE, strait_spsc_size(&shape)) != 0) {
        return NULL;
    }
    memset(ring, 0, strait_spsc_size(&shape));
    strait_spsc_init(ring, &shape);
    return ring;
}

static void destroy(const struct bench_ring *self, void *ring)
{
    (void)self;
    free(ring);
}

BENCH_INLINE size_t reserve(void *end, size_t n, struct strait_span *span)
{
    return strait_spsc_reserve(end, n, span);
}

BENCH_INLINE void commit(void *end, const struct strait_span *span)
{
    strait_spsc_commit(end, span);
}

BENCH_INLINE size_t peek(void *end, size_t n, struct strait_span *span)
{
    return strait_spsc_peek(end, n, span);
}

BENCH_INLINE void release(void *end, const struct strait_span *span)
{
    strait_spsc_release(end, span);
}

#define SIZED(BYTES, NAME)                                                                         \
    BENCH_LOOPS_IN_PLACE(NAME##_##BYTES, reserve, commit, peek, release, (BYTES) / 8)
BENCH_EACH_SIZE(SIZED, loops)

const struct bench_ring bench_strait_in_place = {"strait.spsc.in_place",
                                                 "nothing is copied",
                                                 BENCH_ONE_SENDER,
                                                 NULL,
                                                 create,
                                                 destroy,
                                                 NULL,
                                                 NULL,
                                                 BENCH_ALL_LOOPS(loops),
                                                 NULL};
