/* SPDX-License-Identifier: MIT */
/* burn: what a heavy request costs: so many milliseconds of CPU, spent on counting primes. */
#ifndef OFFLOAD_BURN_H
#define OFFLOAD_BURN_H

#include <stdint.h>

struct strait_task;

/* Small enough to travel in a task. */
struct burn {
    uint32_t ms;
    uint32_t largest; /* prime found */
    uint64_t primes;
};

/* 0; -ECANCELED as soon as the task, which may be NULL, is no longer wanted. */
int burn_run(struct burn *burn, const struct strait_task *task);

#endif
