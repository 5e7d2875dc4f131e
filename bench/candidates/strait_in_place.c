/* SPDX-License-Identifier: MIT */
/* strait's spsc ring by name, in place: messages are made where they lie in the ring, and read
 * there, so that nothing is copied. A stream only: what is saved is the copies. */
#include <stdlib.h>

#include "candidates/loops.h"
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

/* One batch, as many messages at a time as there is room for. */
BENCH_INLINE bool send_run(struct strait_spsc *ring, uint64_t first, size_t words, size_t batch,
                           uint64_t patience)
{
    uint64_t give_up = 0;
    for (size_t sent = 0, idle = 0; sent < batch; idle++) {
        struct strait_span span;
        size_t n = strait_spsc_reserve(ring, batch - sent, &span);
        if (STRAIT_LIKELY(n > 0)) {
            bench_fill(span.messages, first + sent, n, words);
            strait_spsc_commit(ring, &span);
            sent += n;
            continue;
        }
        bench_relax();
        if (idle % BENCH_IDLE == 0) {
            uint64_t now = bench_ticks();
            give_up = give_up ? give_up : now + patience;
            if (now > give_up) {
                return false;
            }
        }
    }
    return true;
}

BENCH_INLINE bool send_chunk(struct strait_spsc *ring, uint64_t first, size_t words, size_t batch,
                             uint64_t patience)
{
    for (uint64_t i = 0; i < BENCH_CHUNK; i += batch) {
        if (!send_run(ring, first + i, words, batch, patience)) {
            return false;
        }
    }
    return true;
}

BENCH_INLINE void send_in_place(struct strait_spsc *ring, struct bench_stream *stream, size_t words,
                                size_t batch)
{
    uint64_t sent = 0;
    uint64_t now = bench_ticks();
    do {
        uint64_t before = now;
        if (!send_chunk(ring, sent, words, batch, stream->patience)) {
            break; /* shows up as messages too many, as in bench_send */
        }
        sent += BENCH_CHUNK;
        now = bench_ticks();
        bench_record(stream, now - before);
    } while (now < stream->until);
    /* stream.end: pairs with stream.done; nothing but the count */
    strait_word_store_release(&stream->total, (uintptr_t)sent);
}

BENCH_INLINE void receive_in_place(struct strait_spsc *ring, struct bench_stream *stream,
                                   size_t words, size_t batch)
{
    struct bench_tally tally = {0, 0, 0};
    for (uint32_t idle = 0;;) {
        struct strait_span span;
        size_t n = strait_spsc_peek(ring, batch, &span);
        if (n == 0) {
            if (bench_stream_done(stream, tally.received, idle++)) {
                break;
            }
            bench_relax();
            continue;
        }
        bench_count(&tally, span.messages, n, words);
        strait_spsc_release(ring, &span);
        idle = 0;
    }
    bench_tell(stream, &tally);
}

#define STREAM(WORDS, KIND, BATCH)                                                                 \
    static void send_##WORDS##_##KIND(void *end, struct bench_stream *stream)                      \
    {                                                                                              \
        send_in_place(end, stream, WORDS, BATCH);                                                  \
    }                                                                                              \
    static void receive_##WORDS##_##KIND(void *ring, struct bench_stream *stream)                  \
    {                                                                                              \
        receive_in_place(ring, stream, WORDS, BATCH);                                              \
    }

#define LOOPS(WORDS)                                                                               \
    STREAM(WORDS, single, 1)                                                                       \
    STREAM(WORDS, batch, BENCH_BATCH)                                                              \
    static const struct bench_loops loops_##WORDS = {.send_single = send_##WORDS##_single,         \
                                                     .receive_single = receive_##WORDS##_single,   \
                                                     .send_batch = send_##WORDS##_batch,           \
                                                     .receive_batch = receive_##WORDS##_batch};

LOOPS(1)
LOOPS(8)
LOOPS(32)

const struct bench_ring bench_strait_in_place = {"strait.spsc.in_place",
                                                 "nothing is copied",
                                                 BENCH_ONE_SENDER,
                                                 NULL,
                                                 create,
                                                 destroy,
                                                 NULL,
                                                 NULL,
                                                 &loops_1,
                                                 &loops_8,
                                                 &loops_32,
                                                 NULL};
