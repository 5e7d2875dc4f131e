/* SPDX-License-Identifier: MIT */
/* cpu: which CPUs the process may use, and which of them a worker should have. */
#ifndef STRAIT_CPU_H
#define STRAIT_CPU_H

#include <stdbool.h>
#include <stddef.h>

/* How many CPUs the process could use when it started, at least 1. */
unsigned strait_cpu_count(void);

/* How many workers a pool has unless told otherwise. */
unsigned strait_cpu_default_workers(void);

/* May the process use this CPU? */
bool strait_cpu_allowed(int cpu);

/* Into `cpus`, which has room for strait_cpu_count of them: those that share the last cache with
 * `home`; all of the process's if it is not one of them. How many. */
size_t strait_cpu_near(int home, int *cpus);

/* The i-th choice for a worker whose parent runs on `home`: the process's CPUs in the order of
 * topology.h, in turn; without home, which is the last of each round, if there is another. */
int strait_cpu_choose(int home, unsigned i, bool with_home);

#endif /* STRAIT_CPU_H */
