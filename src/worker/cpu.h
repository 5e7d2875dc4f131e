/* SPDX-License-Identifier: MIT */
/*
 * cpu: which CPUs the process may use, what they share, and which of them a thread gets.
 *
 * Which CPUs share a core, a cache or a package is read from the kernel's sysfs, once. What cannot
 * be read only makes the choice a worse one: each CPU is taken for a core of its own then, and all
 * for near each other.
 */
#ifndef STRAIT_CPU_H
#define STRAIT_CPU_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#include "strait/placement.h"

#include "../channel/private.h"

/* What the options of a worker or of a pool say of where its threads run. */
struct strait_p_placement {
    enum strait_pin pin;
    const int *cpus; /* STRAIT_PIN_CPU: thread n runs on the n-th in turn; STRAIT_PIN_SET: on any */
    size_t cpu_count;
    int home;         /* STRAIT_PIN_CHOOSE: the parent's CPU */
    unsigned threads; /* of a pool, at most; 0: a worker, and any number beside it */
    unsigned number;  /* which thread of the pool's it is */
};

/* How many CPUs the process could use when it started, at least 1. */
STRAIT_PRIVATE unsigned strait_p_cpu_count(void);

/* Where the thread runs, into `set`. False: a CPU that the process may not use, none where some
 * must be named, or no such pin. Where it is free to choose, a pool with fewer threads than there
 * are CPUs gets all CPUs that share home's last cache. Else each thread gets one CPU, and the order
 * is: one thread of each other core before the second ones, those before the other threads of
 * home's own core, and home itself last; among them CPUs that share home's cache before others of
 * its package, and those before the rest; and then the numbers that follow home's. Workers of one
 * process take their turns in it, and leave home out if there is another CPU. */
STRAIT_PRIVATE bool strait_p_cpu_place(const struct strait_p_placement *placement, cpu_set_t *set);

#endif /* STRAIT_CPU_H */
