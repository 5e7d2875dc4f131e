/* SPDX-License-Identifier: MIT */
/* cpu: which CPUs the process may use, and which of them a worker should have. */
#ifndef STRAIT_CPU_H
#define STRAIT_CPU_H

#include <stdbool.h>
#include <stddef.h>

/* How many CPUs the process could use when it started, at least 1. */
unsigned strait_cpu_count(void);

/* May the process use this CPU? */
bool strait_cpu_allowed(int cpu);

/* The i-th choice for a worker of the calling thread: the process's CPUs in turn, beginning behind
 * the one the caller runs on, which is the last of each round. */
int strait_cpu_choose(unsigned i);

#endif /* STRAIT_CPU_H */
