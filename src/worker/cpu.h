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
STRAIT_PRIVATE unsigned strait_p_cpu_count(void);

/* Their numbers, ascending. */
STRAIT_PRIVATE const int *strait_p_cpu_numbers(void);

/* May the process use this CPU? */
STRAIT_PRIVATE bool strait_p_cpu_allowed(int cpu);

/* How many workers a pool has unless told otherwise. */
STRAIT_PRIVATE unsigned strait_p_cpu_default_workers(void);

/* All of them into `order`, as workers of a parent on `home` take them. One thread of each other
 * core comes before the second ones, those before the other threads of home's own core, and home
 * itself is last; among them CPUs that share home's cache come before others of its package, and
 * those before the rest; and then the numbers that follow home's. */
STRAIT_PRIVATE void strait_p_cpu_order(int home, int *order);

/* The CPU for the worker whose turn it is: of that order, round and round, without home if there is
 * another. */
STRAIT_PRIVATE int strait_p_cpu_choose(int home, unsigned turn);

/* Into `cpus`, which has room for strait_p_cpu_count of them: those that share the last cache with
 * `home`; all of the process's if it is not one of them. How many. */
STRAIT_PRIVATE size_t strait_p_cpu_near(int home, int *cpus);

#endif /* STRAIT_CPU_H */
