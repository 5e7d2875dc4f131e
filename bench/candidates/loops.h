/* SPDX-License-Identifier: MIT */
/*
 * loops: the hot loops of the ring workloads, once for all candidates; C11 and C++17.
 *
 * They take the candidate's operations as arguments and are always inlined into functions that
 * pass constants: both compilers turn that into direct, inlined calls. A C++ template would do the
 * same, but not every peer's header compiles as C++.
 */
#ifndef BENCH_LOOPS_H
#define BENCH_LOOPS_H

#include <stdbool.h>

#include "candidates/fan_in.h"
#include "candidates/operations.h"
#include "candidates/paced.h"
#include "candidates/ring.h"
#include "harness/clock.h"
#include "harness/relax.h"

/* ---- a stream ---- */

/* Message i is the words i, i + 1, i + 2, ... */
BENCH_INLINE void bench_fill(uint64_t *messages, uint64_t first, size_t n, size_t words)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t w = 0; w < words; w++) {
            messages[i * words + w] = first + i + w;
        }
    }
}

BENCH_INLINE bool bench_send_chunk(void *end, bench_try_send_fn *try_send, uint64_t *messages,
                                   uint64_t first, size_t words, size_t batch, uint64_t patience)
{
    for (uint64_t i = 0; i < bench_chunk(words); i += batch) {
        bench_fill(messages, first + i, batch, words);
        if (!bench_send_all(end, try_send, messages, batch, words, patience)) {
            return false;
        }
    }
    return true;
}

BENCH_INLINE void bench_record(struct bench_stream *stream, uint64_t ticks)
{
    if (stream->chunk_count < stream->chunk_limit) {
        stream->chunks[stream->chunk_count++] = bench_saturate(ticks);
    }
}

/* `messages` has room for one batch, here and below, and no more: so the compiler sees how long a
 * single message is. */
BENCH_INLINE void bench_send(void *end, bench_try_send_fn *try_send, struct bench_stream *stream,
                             uint64_t *messages, size_t words, size_t batch)
{
    uint64_t sent = 0;
    uint64_t now = bench_ticks();
    do {
        uint64_t before = now;
        if (!bench_send_chunk(end, try_send, messages, sent, words, batch, stream->patience)) {
            break; /* what went out of this chunk shows up as messages too many: an error either way
                    */
        }
        sent += bench_chunk(words);
        now = bench_ticks();
        bench_record(stream, now - before);
    } while (now < stream->until);
    /* stream.end: pairs with stream.done; nothing but the count */
    strait_word_store_release(&stream->total, (uintptr_t)sent);
}

/* As bench_send, message by message, with some work before each. */
BENCH_INLINE void bench_send_computing(void *end, bench_try_send_fn *try_send,
                                       struct bench_stream *stream, uint64_t *message, size_t words)
{
    uint64_t sent = 0;
    uint64_t now = bench_ticks();
    bool all = true;
    do {
        uint64_t before = now;
        for (uint32_t i = 0; all && i < bench_chunk(words); i++, sent++) {
            bench_wait_until(bench_ticks() + stream->work);
            bench_fill(message, sent, 1, words);
            all = bench_send_all(end, try_send, message, 1, words, stream->patience);
        }
        now = bench_ticks();
        bench_record(stream, now - before);
    } while (all && now < stream->until);
    /* stream.end: pairs with stream.done; nothing but the count */
    strait_word_store_release(&stream->total, (uintptr_t)sent);
}

/* All received, or no hope left? */
BENCH_INLINE bool bench_stream_done(struct bench_stream *stream, uint64_t received, uint32_t idle)
{
    /* stream.done: pairs with stream.end; nothing but the count */
    if (received >= strait_word_load_acquire(&stream->total)) {
        return true;
    }
    if (idle % BENCH_IDLE != 0) {
        return false;
    }
    if (idle == 0) {
        stream->give_up = bench_ticks() + stream->patience;
    }
    return bench_ticks() > stream->give_up;
}

/* What a receiver has seen. */
struct bench_tally {
    uint64_t received;
    uint64_t sum;
    uint64_t disorder;
};

BENCH_INLINE void bench_count(struct bench_tally *tally, const uint64_t *messages, size_t n,
                              size_t words)
{
    for (size_t i = 0; i < n; i++) {
        tally->disorder += messages[i * words] != tally->received + i;
        for (size_t w = 0; w < words; w++) {
            tally->sum += messages[i * words + w];
        }
    }
    tally->received += n;
}

BENCH_INLINE void bench_tell(struct bench_stream *stream, const struct bench_tally *tally)
{
    stream->received = tally->received;
    stream->sum = tally->sum;
    stream->disorder = tally->disorder;
}

BENCH_INLINE void bench_receive(void *end, bench_try_receive_fn *try_receive,
                                struct bench_stream *stream, uint64_t *messages, size_t words,
                                size_t batch)
{
    struct bench_tally tally = {0, 0, 0};
    for (uint32_t idle = 0;;) {
        size_t n = try_receive(end, messages, batch);
        if (n == 0) {
            if (bench_stream_done(stream, tally.received, idle++)) {
                break;
            }
            bench_relax();
            continue;
        }
        bench_count(&tally, messages, n, words);
        idle = 0;
    }
    bench_tell(stream, &tally);
}

/* ---- a round trip ---- */

BENCH_INLINE bool bench_differ(const uint64_t *message, const uint64_t *answer, size_t words)
{
    uint64_t difference = 0;
    for (size_t w = 0; w < words; w++) {
        difference |= message[w] ^ answer[w];
    }
    return difference != 0;
}

BENCH_INLINE void bench_ping(void *there, void *back, bench_try_send_fn *try_send,
                             bench_try_receive_fn *try_receive, uint64_t *message, uint64_t *answer,
                             size_t words, struct bench_bounce *bounce)
{
    uint64_t now = bench_ticks();
    uint64_t number = now; /* that no earlier run used */
    while (bounce->count < bounce->limit && now < bounce->until) {
        uint64_t before = now;
        bench_fill(message, ++number, 1, words);
        if (!try_send(there, message, 1) ||
            !bench_await(back, try_receive, answer, bounce->patience)) {
            bounce->lost++;
            break;
        }
        now = bench_ticks();
        bounce->ticks[bounce->count++] = bench_saturate(now - before);
        bounce->disorder += bench_differ(message, answer, words);
    }
    message[0] = BENCH_STOP;
    try_send(there, message, 1);
}

BENCH_INLINE void bench_pong(void *there, void *back, bench_try_send_fn *try_send,
                             bench_try_receive_fn *try_receive, uint64_t *message,
                             uint64_t patience)
{
    while (bench_await(there, try_receive, message, patience) && message[0] != BENCH_STOP) {
        try_send(back, message, 1);
    }
}

/* ---- blocking: one message at a time, either side may sleep; the last one is BENCH_STOP ---- */

/* Both return when all n are sent or received, however long it takes. */
typedef void bench_blocking_send_fn(void *end, const void *messages, size_t n);
typedef void bench_blocking_receive_fn(void *end, void *messages, size_t n);

BENCH_INLINE void bench_send_blocking(void *end, bench_blocking_send_fn *send,
                                      struct bench_stream *stream)
{
    uint64_t sent = 0;
    uint64_t stop = BENCH_STOP;
    uint64_t now = bench_ticks();
    do {
        uint64_t before = now;
        for (uint32_t i = 0; i < BENCH_CHUNK; i++, sent++) {
            send(end, &sent, 1);
        }
        now = bench_ticks();
        bench_record(stream, now - before);
    } while (now < stream->until);
    send(end, &stop, 1);
    /* stream.end: pairs with stream.done; nothing but the count */
    strait_word_store_release(&stream->total, (uintptr_t)sent);
}

BENCH_INLINE void bench_receive_blocking(void *end, bench_blocking_receive_fn *receive,
                                         struct bench_stream *stream)
{
    uint64_t message = 0;
    uint64_t received = 0;
    uint64_t sum = 0;
    uint64_t disorder = 0;
    for (receive(end, &message, 1); message != BENCH_STOP; receive(end, &message, 1)) {
        disorder += message != received++;
        sum += message;
    }
    stream->received = received;
    stream->sum = sum;
    stream->disorder = disorder;
}

BENCH_INLINE void bench_ping_blocking(void *there, void *back, bench_blocking_send_fn *send,
                                      bench_blocking_receive_fn *receive,
                                      struct bench_bounce *bounce)
{
    uint64_t answer = 0;
    uint64_t now = bench_ticks();
    uint64_t message = now;
    while (bounce->count < bounce->limit && now < bounce->until) {
        uint64_t before = now;
        message++;
        send(there, &message, 1);
        receive(back, &answer, 1);
        now = bench_ticks();
        bounce->ticks[bounce->count++] = bench_saturate(now - before);
        bounce->disorder += answer != message;
    }
    message = BENCH_STOP;
    send(there, &message, 1);
}

BENCH_INLINE void bench_pong_blocking(void *there, void *back, bench_blocking_send_fn *send,
                                      bench_blocking_receive_fn *receive)
{
    uint64_t message = 0;
    for (receive(there, &message, 1); message != BENCH_STOP; receive(there, &message, 1)) {
        send(back, &message, 1);
    }
}

/* ---- the functions that a candidate's table entry points to ---- */

#define BENCH_STREAM_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS, KIND, BATCH)                        \
    static void NAME##_send_##KIND(void *end, struct bench_stream *stream)                         \
    {                                                                                              \
        uint64_t messages[(WORDS) * (BATCH)];                                                      \
        bench_send(end, TRY_SEND, stream, messages, WORDS, BATCH);                                 \
    }                                                                                              \
    static void NAME##_receive_##KIND(void *end, struct bench_stream *stream)                      \
    {                                                                                              \
        uint64_t messages[(WORDS) * (BATCH)];                                                      \
        bench_receive(end, TRY_RECEIVE, stream, messages, WORDS, BATCH);                           \
    }

#define BENCH_COMPUTING_LOOP(NAME, TRY_SEND, WORDS)                                                \
    static void NAME##_send_computing(void *end, struct bench_stream *stream)                      \
    {                                                                                              \
        uint64_t message[WORDS];                                                                   \
        bench_send_computing(end, TRY_SEND, stream, message, WORDS);                               \
    }

#define BENCH_BOUNCE_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS)                                     \
    static void NAME##_ping(void *there, void *back, struct bench_bounce *bounce)                  \
    {                                                                                              \
        uint64_t message[WORDS] = {0};                                                             \
        uint64_t answer[WORDS] = {0};                                                              \
        bench_ping(there, back, TRY_SEND, TRY_RECEIVE, message, answer, WORDS, bounce);            \
    }                                                                                              \
    static void NAME##_pong(void *there, void *back, uint64_t patience)                            \
    {                                                                                              \
        uint64_t message[WORDS] = {0};                                                             \
        bench_pong(there, back, TRY_SEND, TRY_RECEIVE, message, patience);                         \
    }

#define BENCH_FAN_IN_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS, BATCH)                              \
    static void NAME##_fan_in_send(void *end, struct bench_fan_in *fan_in, uint32_t sender)        \
    {                                                                                              \
        uint64_t message[WORDS] = {0};                                                             \
        bench_fan_in_send(end, TRY_SEND, fan_in, sender, message);                                 \
    }                                                                                              \
    static void NAME##_fan_in_receive(void *end, struct bench_fan_in *fan_in)                      \
    {                                                                                              \
        uint64_t messages[(WORDS) * (BATCH)];                                                      \
        bench_fan_in_receive(end, TRY_RECEIVE, fan_in, messages, WORDS, BATCH);                    \
    }

#define BENCH_PACED_LOOPS(NAME, TRY_SEND, TRY_RECEIVE)                                             \
    static void NAME##_paced_send(void *end, struct bench_pace *pace)                              \
    {                                                                                              \
        bench_paced_send(end, TRY_SEND, pace);                                                     \
    }                                                                                              \
    static void NAME##_paced_receive(void *end, struct bench_pace *pace)                           \
    {                                                                                              \
        bench_paced_receive(end, TRY_RECEIVE, pace);                                               \
    }

/* All loops for messages of WORDS 8-byte words. */
#define BENCH_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS)                                            \
    BENCH_STREAM_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS, single, 1)                              \
    BENCH_STREAM_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS, batch, BENCH_BATCH)                     \
    BENCH_BOUNCE_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS)                                         \
    BENCH_FAN_IN_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS, BENCH_BATCH)                            \
    BENCH_PACED_LOOPS(NAME, TRY_SEND, TRY_RECEIVE)                                                 \
    BENCH_COMPUTING_LOOP(NAME, TRY_SEND, WORDS)                                                    \
    static const struct bench_loops NAME = {                                                       \
        NAME##_send_single, NAME##_receive_single, NAME##_send_batch,    NAME##_receive_batch,     \
        NAME##_ping,        NAME##_pong,           NAME##_fan_in_send,   NAME##_fan_in_receive,    \
        NAME##_paced_send,  NAME##_paced_receive,  NAME##_send_computing};

/* The same for a queue that has no batches. */
#define BENCH_LOOPS_SINGLE(NAME, TRY_SEND, TRY_RECEIVE, WORDS)                                     \
    BENCH_STREAM_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS, single, 1)                              \
    BENCH_BOUNCE_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS)                                         \
    BENCH_FAN_IN_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS, 1)                                      \
    BENCH_PACED_LOOPS(NAME, TRY_SEND, TRY_RECEIVE)                                                 \
    BENCH_COMPUTING_LOOP(NAME, TRY_SEND, WORDS)                                                    \
    static const struct bench_loops NAME = {NAME##_send_single,                                    \
                                            NAME##_receive_single,                                 \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NAME##_ping,                                           \
                                            NAME##_pong,                                           \
                                            NAME##_fan_in_send,                                    \
                                            NAME##_fan_in_receive,                                 \
                                            NAME##_paced_send,                                     \
                                            NAME##_paced_receive,                                  \
                                            NAME##_send_computing};

/* Those of the payload curve: a stream of single messages, and a round trip. */
#define BENCH_PAYLOAD_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS)                                    \
    BENCH_STREAM_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS, single, 1)                              \
    BENCH_BOUNCE_LOOPS(NAME, TRY_SEND, TRY_RECEIVE, WORDS)                                         \
    static const struct bench_loops NAME = {NAME##_send_single,                                    \
                                            NAME##_receive_single,                                 \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NAME##_ping,                                           \
                                            NAME##_pong,                                           \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NULL,                                                  \
                                            NULL};

/* All loops of a queue that blocks, messages of 8 bytes. */
#define BENCH_BLOCKING_LOOPS(NAME, SEND, RECEIVE)                                                  \
    static void NAME##_send(void *end, struct bench_stream *stream)                                \
    {                                                                                              \
        bench_send_blocking(end, SEND, stream);                                                    \
    }                                                                                              \
    static void NAME##_receive(void *end, struct bench_stream *stream)                             \
    {                                                                                              \
        bench_receive_blocking(end, RECEIVE, stream);                                              \
    }                                                                                              \
    static void NAME##_ping(void *there, void *back, struct bench_bounce *bounce)                  \
    {                                                                                              \
        bench_ping_blocking(there, back, SEND, RECEIVE, bounce);                                   \
    }                                                                                              \
    static void NAME##_pong(void *there, void *back, uint64_t patience)                            \
    {                                                                                              \
        (void)patience;                                                                            \
        bench_pong_blocking(there, back, SEND, RECEIVE);                                           \
    }                                                                                              \
    static void NAME##_send_one(void *end, uint64_t message)                                       \
    {                                                                                              \
        SEND(end, &message, 1);                                                                    \
    }                                                                                              \
    static uint64_t NAME##_receive_one(void *end)                                                  \
    {                                                                                              \
        uint64_t message = 0;                                                                      \
        RECEIVE(end, &message, 1);                                                                 \
        return message;                                                                            \
    }                                                                                              \
    static const struct bench_blocking_loops NAME = {NAME##_send,     NAME##_receive,              \
                                                     NAME##_ping,     NAME##_pong,                 \
                                                     NAME##_send_one, NAME##_receive_one};

#endif /* BENCH_LOOPS_H */
