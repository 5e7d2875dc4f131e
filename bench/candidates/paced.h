/* SPDX-License-Identifier: MIT */
/* paced: the loops of a sender that keeps to a schedule, and of its receiver; C11 and C++17. */
#ifndef BENCH_PACED_H
#define BENCH_PACED_H

#include "candidates/operations.h"
#include "candidates/ring.h"

/* No pause: that would round the time up by tens of nanoseconds. */
BENCH_INLINE void bench_wait_until(uint64_t ticks)
{
    while (bench_ticks() < ticks) {
        if (bench_one_cpu) {
            sched_yield();
        }
    }
}

BENCH_INLINE void bench_paced_send(void *end, bench_try_send_fn *try_send, struct bench_pace *pace)
{
    uint64_t message[BENCH_WORDS_MAX] = {0};
    uint64_t sum = 0;
    uint64_t i = 0;
    for (; i < pace->count; i++) {
        message[0] = pace->start + (i * pace->period >> 16);
        bench_wait_until(message[0]);
        if (!bench_send_all(end, try_send, message, 1, BENCH_WORDS_MAX, pace->patience)) {
            break;
        }
        sum += message[0];
    }
    pace->sent = i;
    pace->sum_sent = sum;
}

BENCH_INLINE void bench_paced_receive(void *end, bench_try_receive_fn *try_receive,
                                      struct bench_pace *pace)
{
    uint64_t message[BENCH_WORDS_MAX] = {0};
    uint64_t before = 0;
    uint64_t i = 0;
    for (; i < pace->count && bench_await(end, try_receive, message, pace->patience); i++) {
        uint64_t now = bench_ticks_of_arrival();
        uint64_t due = message[0];
        pace->ticks[i] = now > due ? bench_saturate(now - due) : 0;
        pace->early += now < due;
        pace->disorder += due <= before;
        pace->sum += due;
        before = due;
    }
    pace->received = i;
}

#endif /* BENCH_PACED_H */
