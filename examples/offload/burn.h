/* SPDX-License-Identifier: MIT */
/* burn: what a heavy request costs: so many milliseconds of CPU, spent on counting primes. */
#ifndef OFFLOAD_BURN_H
#define OFFLOAD_BURN_H

#include <stdbool.h>
#include <stdint.h>

struct strait_task;

/* Small enough to travel in a task. */
struct burn {
    uint32_t ms;
    uint32_t largest; /* prime found */
    uint64_t primes;
};

/* 0; -ECANCELED as soon as `cancelled`, which may be NULL, says so of the task. */
int burn_run(struct burn *burn, bool (*cancelled)(const struct strait_task *task),
             const struct strait_task *task);

#endif
