/* SPDX-License-Identifier: MIT */
/* Concurrency Kit's ring, one producer and one consumer. It holds one message less than its size,
 * has no batches, and is padded but not aligned: so it gets a block that is. */
#include <ck_ring.h>
#include <stdlib.h>

#include "candidates/loops.h"

#define MESSAGE(BYTES, NAME)                                                                       \
    struct NAME##_##BYTES {                                                                        \
        uint64_t words[(BYTES) / 8];                                                               \
    };                                                                                             \
    CK_RING_PROTOTYPE(of_##BYTES, NAME##_##BYTES)

BENCH_EACH_SIZE(MESSAGE, message)

struct queue {
    STRAIT_LINE_ALIGNED struct ck_ring ring;
    STRAIT_LINE_ALIGNED char slots[];
};

static void *create(const struct bench_ring *self, size_t bytes, size_t capacity, uint32_t senders)
{
    (void)self;
    (void)senders;
    size_t size = sizeof(struct queue) + strait_slots(capacity) * bytes;
    void *memory = NULL;
    if (capacity == 1 || posix_memalign(&memory, STRAIT_LINE, size) != 0) { /* 1: holds none */
        return NULL;
    }
    struct queue *queue = memory;
    memset(queue, 0, size);
    ck_ring_init(&queue->ring, strait_slots(capacity));
    return queue;
}

static void destroy(const struct bench_ring *self, void *queue)
{
    (void)self;
    free(queue);
}

#define TYPED(BYTES, LOOPS)                                                                        \
    BENCH_INLINE size_t try_send_##BYTES(void *end, const void *message, size_t n)                 \
    {                                                                                              \
        struct queue *queue = end;                                                                 \
        void *entry = (void *)(uintptr_t)message; /* it takes no const */                          \
        (void)n;                                                                                   \
        return ck_ring_enqueue_spsc_of_##BYTES(&queue->ring, (void *)queue->slots, entry);         \
    }                                                                                              \
    BENCH_INLINE size_t try_receive_##BYTES(void *end, void *message, size_t n)                    \
    {                                                                                              \
        struct queue *queue = end;                                                                 \
        (void)n;                                                                                   \
        return ck_ring_dequeue_spsc_of_##BYTES(&queue->ring, (void *)queue->slots, message);       \
    }                                                                                              \
    LOOPS(loops_##BYTES, try_send_##BYTES, try_receive_##BYTES, (BYTES) / 8)

BENCH_MAIN_SIZES(TYPED, BENCH_LOOPS_SINGLE)
BENCH_PAYLOAD_SIZES(TYPED, BENCH_PAYLOAD_LOOPS)

const struct bench_ring bench_ck_ring = {"ck_ring",
                                         "holds one message less than its capacity",
                                         BENCH_ONE_SENDER,
                                         NULL,
                                         create,
                                         destroy,
                                         NULL,
                                         NULL,
                                         BENCH_ALL_LOOPS(loops),
                                         NULL};
