/* SPDX-License-Identifier: MIT */
/* The floor of a round trip through a ring whose index has a line of its own: an index line and a
 * line of data each way, which both sides ask for together. Like floor.line it is no queue. */
#include <stdlib.h>

#include "candidates/loops.h"

#define LINE_BYTES 64

struct lines {
    STRAIT_LINE_ALIGNED uint32_t index; /* sender writes: messages sent */
    STRAIT_LINE_ALIGNED char data[LINE_BYTES];
    STRAIT_LINE_ALIGNED uint32_t sent; /* sender's own */
    STRAIT_LINE_ALIGNED uint32_t seen; /* receiver's own */
};

static void *create(const struct bench_ring *self, size_t bytes, size_t capacity, uint32_t senders)
{
    (void)self;
    (void)capacity;
    (void)senders;
    void *lines = NULL;
    if (bytes > LINE_BYTES || posix_memalign(&lines, STRAIT_LINE, sizeof(struct lines)) != 0) {
        return NULL;
    }
    return memset(lines, 0, sizeof(struct lines));
}

static void destroy(const struct bench_ring *self, void *lines)
{
    (void)self;
    free(lines);
}

BENCH_INLINE size_t send_bytes(struct lines *lines, const void *message, size_t bytes)
{
    strait_prefetch_write(&lines->index);
    strait_prefetch_write(lines->data);
    strait_p_copy_in(lines->data, message, bytes, bytes);
    /* lines.send: pairs with lines.receive; the data */
    strait_store_release(&lines->index, ++lines->sent);
    return 1;
}

BENCH_INLINE size_t receive_bytes(struct lines *lines, void *message, size_t bytes)
{
    /* lines.receive: pairs with lines.send; the data */
    if (strait_load_acquire(&lines->index) == lines->seen) {
        strait_prefetch_read(lines->data);
        return 0;
    }
    lines->seen++;
    strait_p_copy_out(lines->data, (char *)message, bytes, bytes);
    return 1;
}

#define SIZED(BYTES)                                                                               \
    BENCH_INLINE size_t try_send_##BYTES(void *end, const void *message, size_t n)                 \
    {                                                                                              \
        (void)n;                                                                                   \
        return send_bytes(end, message, BYTES);                                                    \
    }                                                                                              \
    BENCH_INLINE size_t try_receive_##BYTES(void *end, void *message, size_t n)                    \
    {                                                                                              \
        (void)n;                                                                                   \
        return receive_bytes(end, message, BYTES);                                                 \
    }                                                                                              \
    BENCH_BOUNCE_LOOPS(lines_##BYTES, try_send_##BYTES, try_receive_##BYTES, (BYTES) / 8)          \
    static const struct bench_loops loops_##BYTES = {.ping = lines_##BYTES##_ping,                 \
                                                     .pong = lines_##BYTES##_pong};

SIZED(8)
SIZED(64)

const struct bench_ring bench_lines = {"floor.lines",
                                       "no queue: one message at a time",
                                       BENCH_ONE_SENDER,
                                       NULL,
                                       create,
                                       destroy,
                                       NULL,
                                       NULL,
                                       {&loops_8, &loops_64},
                                       NULL};
