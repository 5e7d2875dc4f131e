/* SPDX-License-Identifier: MIT */
/*
 * topology: which CPUs share a core, a cache or a package, as the kernel's sysfs tells; and the
 * order in which workers take them.
 *
 * What cannot be read only makes the order a worse one: each CPU is taken for a core of its own
 * then, and all for near each other.
 */
#ifndef STRAIT_TOPOLOGY_H
#define STRAIT_TOPOLOGY_H

#include <stddef.h>
#include <stdint.h>

#define STRAIT_TOPOLOGY_ROOT "/sys/devices/system/cpu"
#define STRAIT_CPUS_MOST 1024 /* CPU_SETSIZE */

/* A CPU. What two of them share has the same number in both; -1: unknown. */
struct strait_cpu {
    int number;
    int core;
    int cache; /* the last level */
    int package;
    int thread; /* how many before it share its core */
};

/* Reads about `count` CPUs, at most STRAIT_CPUS_MOST, whose numbers are set, ascending, from the
 * folder `root`. Touches no errno. */
void strait_topology_read(const char *root, struct strait_cpu *cpus, size_t count);

/* The CPU in one of `count` places, from 0: of the order in which workers of a parent on `home`
 * take them. One thread of each other core comes before the second ones, those before the other
 * threads of home's own core, and home itself is last; among them CPUs that share home's cache come
 * before others of its package, and those before the rest; and then the numbers that follow home's.
 */
int strait_topology_choose(const struct strait_cpu *cpus, size_t count, int home, size_t place);

#endif /* STRAIT_TOPOLOGY_H */
