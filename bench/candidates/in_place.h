/* SPDX-License-Identifier: MIT */
/* in_place: the loops of a stream whose messages are made where they lie in the ring, and read
 * there, so that nothing is copied; C11 and C++17. A stream only: what is saved is the copies. */
#ifndef BENCH_IN_PLACE_H
#define BENCH_IN_PLACE_H

#include "candidates/loops.h"

/* Up to n slots, or messages, next to each other: how many; 0: full or empty. Each is followed by
 * `done` with as many. */
typedef size_t bench_find_fn(void *end, size_t n, struct strait_span *span);
typedef void bench_done_fn(void *end, const struct strait_span *span);

/* One batch, as many messages at a time as there is room for. */
BENCH_INLINE bool bench_send_run_in_place(void *end, bench_find_fn *reserve, bench_done_fn *commit,
                                          uint64_t first, size_t words, size_t batch,
                                          uint64_t patience)
{
    uint64_t give_up = 0;
    for (size_t sent = 0, idle = 0; sent < batch; idle++) {
        struct strait_span span;
        size_t n = reserve(end, batch - sent, &span);
        if (STRAIT_LIKELY(n > 0)) {
            bench_fill((uint64_t *)span.messages, first + sent, n, words);
            commit(end, &span);
            sent += n;
            continue;
        }
        bench_relax();
        if (idle % BENCH_IDLE == 0 && bench_out_of_patience(&give_up, patience)) {
            return false;
        }
    }
    return true;
}

BENCH_INLINE bool bench_send_chunk_in_place(void *end, bench_find_fn *reserve,
                                            bench_done_fn *commit, uint64_t first, size_t words,
                                            size_t batch, uint64_t patience)
{
    for (uint64_t i = 0; i < bench_chunk(words); i += batch) {
        if (!bench_send_run_in_place(end, reserve, commit, first + i, words, batch, patience)) {
            return false;
        }
    }
    return true;
}

BENCH_INLINE void bench_send_in_place(void *end, bench_find_fn *reserve, bench_done_fn *commit,
                                      struct bench_stream *stream, size_t words, size_t batch)
{
    uint64_t sent = 0;
    uint64_t now = bench_ticks();
    do {
        uint64_t before = now;
        if (!bench_send_chunk_in_place(end, reserve, commit, sent, words, batch,
                                       stream->patience)) {
            break; /* shows up as messages too many, as in bench_send */
        }
        sent += bench_chunk(words);
        now = bench_ticks();
        bench_record(stream, now - before);
    } while (now < stream->until);
    /* stream.end: pairs with stream.done; nothing but the count */
    strait_word_store_release(&stream->total, (uintptr_t)sent);
}

BENCH_INLINE void bench_receive_in_place(void *end, bench_find_fn *peek, bench_done_fn *release,
                                         struct bench_stream *stream, size_t words, size_t batch)
{
    struct bench_tally tally = {0, 0, 0};
    for (uint32_t idle = 0;;) {
        struct strait_span span;
        size_t n = peek(end, batch, &span);
        if (n == 0) {
            if (bench_stream_done(stream, tally.received, idle++)) {
                break;
            }
            bench_relax();
            continue;
        }
        bench_count(&tally, (const uint64_t *)span.messages, n, words);
        release(end, &span);
        idle = 0;
    }
    bench_tell(stream, &tally);
}

#define BENCH_STREAM_IN_PLACE(NAME, RESERVE, COMMIT, PEEK, RELEASE, WORDS, KIND, BATCH)            \
    static void NAME##_send_##KIND(void *end, struct bench_stream *stream)                         \
    {                                                                                              \
        bench_send_in_place(end, RESERVE, COMMIT, stream, WORDS, BATCH);                           \
    }                                                                                              \
    static void NAME##_receive_##KIND(void *end, struct bench_stream *stream)                      \
    {                                                                                              \
        bench_receive_in_place(end, PEEK, RELEASE, stream, WORDS, BATCH);                          \
    }

/* The loops of a candidate for messages of WORDS 8-byte words. */
#define BENCH_LOOPS_IN_PLACE(NAME, RESERVE, COMMIT, PEEK, RELEASE, WORDS)                          \
    BENCH_STREAM_IN_PLACE(NAME, RESERVE, COMMIT, PEEK, RELEASE, WORDS, single, 1)                  \
    BENCH_STREAM_IN_PLACE(NAME, RESERVE, COMMIT, PEEK, RELEASE, WORDS, batch, BENCH_BATCH)         \
    static const struct bench_loops NAME = {NAME##_send_single,                                    \
                                            NAME##_receive_single,                                 \
                                            NAME##_send_batch,                                     \
                                            NAME##_receive_batch,                                  \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NULL};

#endif /* BENCH_IN_PLACE_H */
