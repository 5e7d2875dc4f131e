/* SPDX-License-Identifier: MIT */
/* Concurrency Kit's ring, one producer and one consumer. It holds one message less than its size,
 * has no batches, and is padded but not aligned: so it gets a block that is. */
#include <ck_ring.h>
#include <stdlib.h>

#include "candidates/loops.h"

struct message_8 {
    uint64_t words[1];
};
struct message_64 {
    uint64_t words[8];
};
struct message_256 {
    uint64_t words[32];
};

CK_RING_PROTOTYPE(of_8, message_8)
CK_RING_PROTOTYPE(of_64, message_64)
CK_RING_PROTOTYPE(of_256, message_256)

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
    if (posix_memalign(&memory, STRAIT_LINE, size) != 0) {
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

#define TYPED(BYTES, WORDS)                                                                        \
    BENCH_INLINE size_t try_send_##BYTES(void *end, const void *message, size_t n)                 \
    {                                                                                              \
        struct queue *queue = end;                                                                 \
        struct message_##BYTES copy;                                                               \
        memcpy(&copy, message, sizeof(copy)); /* it takes no const */                              \
        (void)n;                                                                                   \
        return ck_ring_enqueue_spsc_of_##BYTES(&queue->ring, (void *)queue->slots, &copy);         \
    }                                                                                              \
    BENCH_INLINE size_t try_receive_##BYTES(void *end, void *message, size_t n)                    \
    {                                                                                              \
        struct queue *queue = end;                                                                 \
        (void)n;                                                                                   \
        return ck_ring_dequeue_spsc_of_##BYTES(&queue->ring, (void *)queue->slots, message);       \
    }                                                                                              \
    BENCH_LOOPS_SINGLE(loops_##BYTES, try_send_##BYTES, try_receive_##BYTES, WORDS)

TYPED(8, 1)
TYPED(64, 8)
TYPED(256, 32)

const struct bench_ring bench_ck_ring = {"ck_ring",
                                         "holds one message less than its capacity",
                                         BENCH_ONE_SENDER,
                                         NULL,
                                         create,
                                         destroy,
                                         NULL,
                                         NULL,
                                         &loops_8,
                                         &loops_64,
                                         &loops_256,
                                         NULL};
