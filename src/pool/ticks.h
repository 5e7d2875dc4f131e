/* SPDX-License-Identifier: MIT */
/*
 * ticks: a clock for durations that costs less than a system's clock.
 *
 * On x86-64, where the kernel itself trusts the time-stamp counter, it is that counter; elsewhere
 * CLOCK_MONOTONIC in nanoseconds. The counter's rate is measured once, to some 0.02 %.
 */
#ifndef STRAIT_TICKS_H
#define STRAIT_TICKS_H

#include "strait/wait.h"

struct strait_ticks {
    bool counter;
    double ns; /* in a tick */
};

/* Measures, the first time; takes some 0.3 ms. Does not touch errno. */
const struct strait_ticks *strait_ticks_init(void);

/* Now; never 0. */
static inline uint64_t strait_ticks_now(const struct strait_ticks *ticks)
{
#if defined(__x86_64__)
    if (STRAIT_LIKELY(ticks->counter)) {
        return __builtin_ia32_rdtsc() | 1;
    }
#endif
    (void)ticks;
    return (uint64_t)strait_now() | 1;
}

/* From one reading to a later one, in nanoseconds; 0 if it was not later: CPUs differ by a few. */
static inline uint64_t strait_ticks_between(const struct strait_ticks *ticks, uint64_t from,
                                            uint64_t to)
{
    return to > from ? (uint64_t)((double)(to - from) * ticks->ns) : 0;
}

#endif /* STRAIT_TICKS_H */
