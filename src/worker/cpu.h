/* SPDX-License-Identifier: MIT */
/*
 * cpu: which CPUs the process may use, and the order in which workers take them.
 *
 * Which CPUs share a core, a cache or a package is read from the kernel's sysfs, once. What cannot
 * be read only makes the order a worse one: each CPU is taken for a core of its own then, and all
 * for near each other.
 */
#ifndef STRAIT_CPU_H
#define STRAIT_CPU_H

#include <stdbool.h>
#include <stddef.h>

#include "../channel/private.h"

/* How many CPUs the process could use when it started, at least 1. */
STRAIT_PRIVATE unsigned strait_cpu_count(void);

/* Their numbers, ascending. */
STRAIT_PRIVATE const int *strait_p_cpu_numbers(void);

/* How many workers a pool has unless told otherwise. */
STRAIT_PRIVATE unsigned strait_cpu_default_workers(void);

/* May the process use this CPU? */
STRAIT_PRIVATE bool strait_cpu_allowed(int cpu);

/* Into `cpus`, which has room for strait_cpu_count of them: those that share the last cache with
 * `home`; all of the process's if it is not one of them. How many. */
STRAIT_PRIVATE size_t strait_cpu_near(int home, int *cpus);

/* The i-th choice for a worker whose parent runs on `home`: the process's CPUs in the order of
 * strait_p_cpu_at, in turn; without home, which is the last of each round, if there is another. */
STRAIT_PRIVATE int strait_cpu_choose(int home, unsigned i, bool with_home);

/* A CPU. What two of them share has the same number in both; -1: unknown. */
struct strait_p_cpu {
    int number;
    int core;
    int cache; /* the last level */
    int package;
    int thread; /* how many before it share its core */
};

/* Reads about `count` CPUs, whose numbers are set, ascending, from the folder `root`. */
STRAIT_PRIVATE void strait_p_cpus_read(const char *root, struct strait_p_cpu *cpus, size_t count);

/* The CPU in one of `count` places, from 0: of the order in which workers of a parent on `home`
 * take them. One thread of each other core comes before the second ones, those before the other
 * threads of home's own core, and home itself is last; among them CPUs that share home's cache come
 * before others of its package, and those before the rest; and then the numbers that follow home's.
 */
STRAIT_PRIVATE int strait_p_cpu_at(const struct strait_p_cpu *cpus, size_t count, int home,
                                   size_t place);

#endif /* STRAIT_CPU_H */
