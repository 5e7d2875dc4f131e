/* SPDX-License-Identifier: MIT */
/* operations: what the loops take as arguments, and how they wait with them; C11 and C++17. */
#ifndef BENCH_OPERATIONS_H
#define BENCH_OPERATIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "harness/clock.h"
#include "harness/relax.h"
#include "strait/base.h"

#define BENCH_INLINE static inline __attribute__((always_inline, unused))

/* How many of n messages were sent or received: 0 if the queue is full or empty. */
typedef size_t bench_try_send_fn(void *end, const void *messages, size_t n);
typedef size_t bench_try_receive_fn(void *end, void *messages, size_t n);

/* Idle looks between two looks at the clock. */
#define BENCH_IDLE 256

/* The time, and not a guess: a processor that expects a message would read its clock before the
 * message is there. */
BENCH_INLINE uint64_t bench_ticks_of_arrival(void)
{
#if defined(__x86_64__)
    __builtin_ia32_lfence();
#endif
    return bench_ticks();
}

BENCH_INLINE uint32_t bench_saturate(uint64_t ticks)
{
    return ticks < UINT32_MAX ? (uint32_t)ticks : UINT32_MAX;
}

/* Has it been too long? From the first time on that it is asked; *give_up is 0 before. */
BENCH_INLINE bool bench_out_of_patience(uint64_t *give_up, uint64_t patience)
{
    uint64_t now = bench_ticks();
    *give_up = *give_up ? *give_up : now + patience;
    return now > *give_up;
}

/* False: the receiver seems to have stopped. */
BENCH_INLINE bool bench_send_all(void *end, bench_try_send_fn *try_send, const uint64_t *messages,
                                 size_t n, size_t words, uint64_t patience)
{
    size_t sent = try_send(end, messages, n);
    uint64_t give_up = 0;
    for (uint32_t idle = 0; STRAIT_UNLIKELY(sent < n); idle++) {
        bench_relax();
        sent += try_send(end, messages + sent * words, n - sent);
        if (idle % BENCH_IDLE == 0 && bench_out_of_patience(&give_up, patience)) {
            return false;
        }
    }
    return true;
}

/* False: the sender seems to have stopped. */
BENCH_INLINE bool bench_await(void *end, bench_try_receive_fn *try_receive, uint64_t *message,
                              uint64_t patience)
{
    uint64_t give_up = 0;
    for (uint32_t idle = 1; !try_receive(end, message, 1); idle++) {
        bench_relax();
        if (idle % (16 * BENCH_IDLE) == 0 && bench_out_of_patience(&give_up, patience)) {
            return false;
        }
    }
    return true;
}

#endif /* BENCH_OPERATIONS_H */
