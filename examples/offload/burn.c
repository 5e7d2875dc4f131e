/* SPDX-License-Identifier: MIT */
/* burn: counts primes for so many milliseconds of this thread's CPU time, not of the clock's: a
 * worker that yields to the loop still does all of its work. */
#include "burn.h"

#include <errno.h>
#include <time.h>

static bool is_prime(uint32_t n)
{
    for (uint32_t d = 3; d * d <= n; d += 2) {
        if (n % d == 0) {
            return false;
        }
    }
    return n % 2 != 0;
}

static int64_t cpu_time_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int burn_run(struct burn *burn, bool (*cancelled)(const struct strait_task *task),
             const struct strait_task *task)
{
    int64_t end = cpu_time_ns() + (int64_t)burn->ms * 1000000;
    for (uint32_t n = 3; cpu_time_ns() < end; n += 100) {
        if (cancelled && cancelled(task)) {
            return -ECANCELED;
        }
        for (uint32_t candidate = n; candidate < n + 100; candidate++) {
            if (is_prime(candidate)) {
                burn->primes++;
                burn->largest = candidate;
            }
        }
    }
    return 0;
}
