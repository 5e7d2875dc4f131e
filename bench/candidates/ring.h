/* SPDX-License-Identifier: MIT */
/*
 * ring: what a queue has to offer to be a candidate; C11 and C++17.
 *
 * A candidate's file defines how to make a queue and how to try to send and to receive (and, where
 * it can, how to block), lets BENCH_LOOPS and BENCH_BLOCKING_LOOPS (loops.h) compile the workloads'
 * loops around these, so that they inline, and ends with a struct bench_ring. One line in table.cpp
 * makes it run.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <stddef.h>
#include <stdint.h>

#include "strait/rings/variant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of a message: in every workload, and in the payload curve alone. DO(BYTES, more...). */
#define BENCH_MAIN_SIZES(DO, ...) DO(8, __VA_ARGS__) DO(64, __VA_ARGS__) DO(256, __VA_ARGS__)
#define BENCH_PAYLOAD_SIZES(DO, ...)                                                               \
    DO(128, __VA_ARGS__) DO(192, __VA_ARGS__) DO(1024, __VA_ARGS__) DO(4096, __VA_ARGS__)
#define BENCH_EACH_SIZE(DO, ...)                                                                   \
    BENCH_MAIN_SIZES(DO, __VA_ARGS__) BENCH_PAYLOAD_SIZES(DO, __VA_ARGS__)

#define BENCH_ENUMERATOR(BYTES, PREFIX) PREFIX##BYTES,
enum bench_size { BENCH_EACH_SIZE(BENCH_ENUMERATOR, BENCH_) BENCH_SIZES };

#define BENCH_BATCH 32
/* Of the largest message that has loops for every workload. */
#define BENCH_WORDS_MAX 32
/* Messages between two looks at the clock, at most. */
#define BENCH_CHUNK 1024

/* One stream of messages from A to B: numbers from 0 on, in the first word of each message. */
struct bench_stream {
    /* sender's */
    STRAIT_LINE_ALIGNED uint64_t until; /* ticks */
    uint32_t *chunks;                   /* ticks of each block of messages */
    size_t chunk_limit;                 /* how many fit; the rest is not recorded */
    size_t chunk_count;
    uint64_t patience; /* ticks without progress after which a side gives up */
    uint64_t work;     /* ticks that a sender that computes does so before each message */
    /* sender writes, once: how many were sent */
    STRAIT_LINE_ALIGNED uintptr_t total;
    /* receiver's */
    STRAIT_LINE_ALIGNED uint64_t received;
    uint64_t sum;      /* of all words of all messages */
    uint64_t disorder; /* messages that were not the next one */
    uint64_t give_up;  /* ticks: as long as patience */
};
#define BENCH_UNFINISHED UINTPTR_MAX

/* A first word that no message has: the last one of a round trip, or of a blocking stream. */
#define BENCH_STOP UINT64_MAX

/* One message at a time there and back. */
struct bench_bounce {
    uint64_t until;    /* ticks */
    uint64_t patience; /* ticks */
    uint32_t *ticks;   /* of each round trip */
    size_t limit;      /* how many fit */
    size_t count;
    uint64_t disorder;
    uint64_t lost;
};

/* Messages sent at times fixed before. Each is the tick when it was due, so that a sender that
 * falls behind does not hide it: latency counts from there. */
struct bench_pace {
    uint64_t period; /* 1/65536 ticks */
    uint64_t count;  /* of messages */
    uint64_t patience;
    /* sender's */
    STRAIT_LINE_ALIGNED uint64_t start; /* ticks */
    uint64_t sent;
    uint64_t sum_sent; /* of all messages */
    /* receiver's */
    STRAIT_LINE_ALIGNED uint32_t *ticks; /* from due to received, of each message */
    uint64_t received;
    uint64_t sum;
    uint64_t disorder; /* messages that were not due after the one before */
    uint64_t early;    /* received before they were due: the CPUs' clocks disagree */
};

#define BENCH_SENDERS_MAX 16
/* A message of a fan-in: its sender's number above this, its own number below. */
#define BENCH_SENDER_SHIFT 56

/* Several senders, one receiver, more threads than CPUs: whoever is stuck yields. */
struct bench_fan_in {
    uint64_t until;    /* ticks; senders stop */
    uint64_t patience; /* ticks after that until the receiver gives up */
    /* senders write, when they stop */
    STRAIT_LINE_ALIGNED uintptr_t running;
    uint64_t sent[BENCH_SENDERS_MAX];
    /* receiver's */
    STRAIT_LINE_ALIGNED uint64_t received;
    uint64_t sum;                     /* of all messages */
    uint64_t disorder;                /* messages that came after a later one of their sender */
    uint64_t next[BENCH_SENDERS_MAX]; /* past the last one of each sender */
    uint64_t last;                    /* ticks when messages last came; at first, the start */
    uint64_t longest_gap;             /* ticks between two receives */
};

typedef void bench_send_fn(void *end, struct bench_stream *stream);
typedef void bench_receive_fn(void *end, struct bench_stream *stream);
typedef void bench_ping_fn(void *there, void *back, struct bench_bounce *bounce);
typedef void bench_pong_fn(void *there, void *back, uint64_t patience);
typedef void bench_fan_in_send_fn(void *end, struct bench_fan_in *fan_in, uint32_t sender);
typedef void bench_fan_in_receive_fn(void *end, struct bench_fan_in *fan_in);
typedef void bench_paced_send_fn(void *end, struct bench_pace *pace);
typedef void bench_paced_receive_fn(void *end, struct bench_pace *pace);
typedef void bench_send_one_fn(void *end, uint64_t message);
typedef uint64_t bench_receive_one_fn(void *end);

/* The loops at one message size; NULL: the candidate does not do that. */
struct bench_loops {
    bench_send_fn *send_single;
    bench_receive_fn *receive_single;
    bench_send_fn *send_batch;
    bench_receive_fn *receive_batch;
    bench_ping_fn *ping;
    bench_pong_fn *pong;
    bench_fan_in_send_fn *fan_in_send;
    bench_fan_in_receive_fn *fan_in_receive;
    bench_paced_send_fn *paced_send;
    bench_paced_receive_fn *paced_receive;
    bench_send_fn *send_computing;
};

/* The loops of a queue that blocks, messages of 8 bytes. They may sleep. */
struct bench_blocking_loops {
    bench_send_fn *send;
    bench_receive_fn *receive;
    bench_ping_fn *ping;
    bench_pong_fn *pong;
    bench_send_one_fn *send_one; /* the bare operations */
    bench_receive_one_fn *receive_one;
};

#define BENCH_ONE_SENDER 1u
#define BENCH_ANY_SENDERS UINT32_MAX

struct bench_ring {
    const char *name;
    const char *note;    /* where it promises less than a strait channel does; NULL: nowhere */
    uint32_t senders;    /* that it can serve: BENCH_ONE_SENDER or BENCH_ANY_SENDERS */
    const void *context; /* the candidate's own */
    /* `senders` will be made with sender(), at most; it is within what the candidate can serve. */
    void *(*create)(const struct bench_ring *self, size_t bytes, size_t capacity, uint32_t senders);
    void (*destroy)(const struct bench_ring *self, void *queue);
    /* What the loops get, made on the thread that will use it; NULL: the queue itself. */
    void *(*sender)(const struct bench_ring *self, void *queue);
    void *(*receiver)(const struct bench_ring *self, void *queue);
    const struct bench_loops *loops[BENCH_SIZES]; /* NULL: it does not carry such messages */
    const struct bench_blocking_loops *blocking;  /* NULL: it does not block, or not well */
};

/* What `loops` is made of, where there is a NAME_8, a NAME_64 and so on. */
#define BENCH_ENTRY(BYTES, NAME) &NAME##_##BYTES,
#define BENCH_MAIN_LOOPS(NAME)                                                                     \
    {                                                                                              \
        BENCH_MAIN_SIZES(BENCH_ENTRY, NAME)                                                        \
    }
#define BENCH_ALL_LOOPS(NAME)                                                                      \
    {                                                                                              \
        BENCH_EACH_SIZE(BENCH_ENTRY, NAME)                                                         \
    }

/* Messages of so many words between two looks at the clock: a block that takes longer than some
 * 64 KiB do is hardly ever undisturbed. A whole number of batches. */
static inline uint32_t bench_chunk(size_t words)
{
    size_t batches = BENCH_CHUNK * 8 / words / BENCH_BATCH;
    size_t chunk = batches > 0 ? batches * BENCH_BATCH : BENCH_BATCH;
    return (uint32_t)(chunk < BENCH_CHUNK ? chunk : BENCH_CHUNK);
}

/* NULL: the ring does not carry messages of so many bytes. */
static inline const struct bench_loops *bench_loops_of(const struct bench_ring *ring, size_t bytes)
{
#define BENCH_LOOPS_CASE(BYTES, RING)                                                              \
    case BYTES:                                                                                    \
        return (RING)->loops[BENCH_##BYTES];
    switch (bytes) {
        BENCH_EACH_SIZE(BENCH_LOOPS_CASE, ring)
    default:
        return NULL;
    }
}

/* The i-th ring of strait's own table, inlined; NULL past the last. */
const struct bench_ring *bench_strait_inline_at(size_t i);

/* The i-th queue of a paper; NULL past the last. */
const struct bench_ring *bench_reference_at(size_t i);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_RING_H */
