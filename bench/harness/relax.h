/* SPDX-License-Identifier: MIT */
/* relax: what every polling loop of the benchmark does between two looks; C11 and C++17. */
#ifndef BENCH_RELAX_H
#define BENCH_RELAX_H

#include <sched.h>
#include <stdbool.h>

#include "strait/sync.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Both threads share one CPU: whoever polls there must let the other run. Set once, at the start.
 */
extern bool bench_one_cpu;

#ifdef __cplusplus
}
#endif

static inline void bench_relax(void)
{
    if (__builtin_expect(bench_one_cpu, 0)) {
        sched_yield();
    } else {
        strait_pause();
    }
}

#endif /* BENCH_RELAX_H */
