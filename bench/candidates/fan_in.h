/* SPDX-License-Identifier: MIT */
/* fan_in: the loops of several senders and their receiver on few CPUs; C11 and C++17. */
#ifndef BENCH_FAN_IN_H
#define BENCH_FAN_IN_H

#include <sched.h>

#include "candidates/operations.h"
#include "candidates/ring.h"
#include "harness/clock.h"

/* Messages between two looks at the clock, on either side. */
#define BENCH_FAN_IN_LOOK 64

BENCH_INLINE void bench_fan_in_send(void *end, bench_try_send_fn *try_send,
                                    struct bench_fan_in *fan_in, uint32_t sender, uint64_t *message)
{
    message[0] = (uint64_t)sender << BENCH_SENDER_SHIFT;
    while (bench_ticks() < fan_in->until) {
        for (uint32_t i = 0; i < BENCH_FAN_IN_LOOK; i++) {
            if (!try_send(end, message, 1)) {
                sched_yield();
                break;
            }
            message[0]++;
        }
    }
    fan_in->sent[sender] = message[0] & (((uint64_t)1 << BENCH_SENDER_SHIFT) - 1);
    /* fan_in.stop: pairs with fan_in.done, fan_in.stop; `sent` */
    strait_word_add_acq_rel(&fan_in->running, (uintptr_t)-1);
}

BENCH_INLINE void bench_fan_in_check(struct bench_fan_in *fan_in, uint64_t message)
{
    uint64_t *next = &fan_in->next[message >> BENCH_SENDER_SHIFT & (BENCH_SENDERS_MAX - 1)];
    uint64_t number = message & (((uint64_t)1 << BENCH_SENDER_SHIFT) - 1);
    fan_in->disorder += number < *next;
    *next = number < *next ? *next : number + 1;
    fan_in->sum += message;
}

/* Messages came: the time since the last ones is a gap. */
BENCH_INLINE void bench_fan_in_mark(struct bench_fan_in *fan_in)
{
    uint64_t now = bench_ticks();
    uint64_t gap = now - fan_in->last;
    fan_in->longest_gap = gap > fan_in->longest_gap ? gap : fan_in->longest_gap;
    fan_in->last = now;
}

/* All received, or no hope left? */
BENCH_INLINE bool bench_fan_in_done(const struct bench_fan_in *fan_in, uint64_t give_up)
{
    /* fan_in.done: pairs with fan_in.stop; `sent` */
    if (strait_word_load_acquire(&fan_in->running) > 0) {
        return false; /* senders have a time limit of their own */
    }
    uint64_t sent = 0;
    for (size_t i = 0; i < BENCH_SENDERS_MAX; i++) {
        sent += fan_in->sent[i];
    }
    return fan_in->received >= sent || bench_ticks() > give_up;
}

/* The clock is read after an idle look and now and then: a receiver that was kept from running
 * finds its gap at the next look. */
BENCH_INLINE void bench_fan_in_receive(void *end, bench_try_receive_fn *try_receive,
                                       struct bench_fan_in *fan_in, uint64_t *messages,
                                       size_t words, size_t batch)
{
    uint64_t give_up = fan_in->until + fan_in->patience;
    for (size_t unmarked = BENCH_FAN_IN_LOOK;;) {
        size_t n = try_receive(end, messages, batch);
        if (n == 0) {
            if (bench_fan_in_done(fan_in, give_up)) {
                return;
            }
            unmarked = BENCH_FAN_IN_LOOK;
            sched_yield();
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            bench_fan_in_check(fan_in, messages[i * words]);
        }
        fan_in->received += n;
        unmarked += n;
        if (unmarked >= BENCH_FAN_IN_LOOK) {
            bench_fan_in_mark(fan_in);
            unmarked = 0;
        }
    }
}

#endif /* BENCH_FAN_IN_H */
