/* SPDX-License-Identifier: MIT */
/* The floor of a round trip: one line each way that is flag and message at once. It holds one
 * message and can't be full as long as each one is answered: no queue, so no stream. */
#include <stdlib.h>

#include "candidates/loops.h"

struct line {
    STRAIT_LINE_ALIGNED uintptr_t word; /* sender writes */
    STRAIT_LINE_ALIGNED uintptr_t seen; /* receiver writes */
};

static void *create(const struct bench_ring *self, size_t bytes, size_t capacity, uint32_t senders)
{
    (void)self;
    (void)senders;
    (void)bytes;
    (void)capacity;
    void *line = NULL;
    if (posix_memalign(&line, STRAIT_LINE, sizeof(struct line)) != 0) {
        return NULL;
    }
    return memset(line, 0, sizeof(struct line));
}

static void destroy(const struct bench_ring *self, void *line)
{
    (void)self;
    free(line);
}

BENCH_INLINE size_t try_send(void *end, const void *message, size_t n)
{
    struct line *line = end;
    uint64_t value;
    memcpy(&value, message, sizeof(value));
    /* line.send: pairs with line.receive; the word is the message */
    strait_word_store_release(&line->word, (uintptr_t)value);
    return n;
}

BENCH_INLINE size_t try_receive(void *end, void *message, size_t n)
{
    struct line *line = end;
    /* line.receive: pairs with line.send; the word is the message */
    uint64_t value = strait_word_load_acquire(&line->word);
    if (value == line->seen) {
        return 0;
    }
    line->seen = (uintptr_t)value;
    memcpy(message, &value, sizeof(value));
    return n;
}

BENCH_BOUNCE_LOOPS(line, try_send, try_receive, 1)

static const struct bench_loops loops = {.ping = line_ping, .pong = line_pong};

const struct bench_ring bench_line = {"floor.line",
                                      "no queue: one message at a time",
                                      BENCH_ONE_SENDER,
                                      NULL,
                                      create,
                                      destroy,
                                      NULL,
                                      NULL,
                                      {&loops},
                                      NULL};
