/* SPDX-License-Identifier: MIT */
/*
 * cpu: which CPUs the process may use, what they share, and which of them a thread gets.
 *
 * Which those are, and how much of their time, is read at each creation: the affinity of the main
 * thread and the quota of the process's cgroup. Not the creator's own affinity: a pool's worker is
 * pinned by the pool, and what it creates in turn is not to crowd onto its CPU. A main thread that
 * is pinned to one CPU has pinned itself, say to have its loop there, if the process began with
 * more: those count then.
 *
 * What CPUs share is read from the kernel's sysfs, and again when others may be used. What cannot
 * be read only makes the choice a worse one: each CPU is taken for a core of its own then, all for
 * equally fast and near each other, and the quota for none.
 */
#ifndef STRAIT_CPU_H
#define STRAIT_CPU_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "strait/placement.h"

#include "../channel/private.h"

#define STRAIT_P_QUOTA_NONE UINT32_MAX

/* What the options of a worker or of a pool say of where its threads run. */
struct strait_p_placement {
    enum strait_pin pin;
    const int *cpus; /* STRAIT_PIN_CPU: thread n runs on the n-th in turn; STRAIT_PIN_SET: on any */
    size_t cpu_count;
    int home;         /* the creator's CPU */
    unsigned threads; /* of a pool, at most; 0: a worker */
    bool elastic;     /* not all of them are always there */
    unsigned number;  /* which thread of the pool's it is */
};

/* Where one thread runs. */
struct strait_p_cpu_set {
    cpu_set_t *bits; /* `bytes` of them, allocated */
    size_t bytes;
    int claimed; /* the one CPU that it has, to be given back; -1: it has several */
};

/* What the process's cgroup allows of their time now, to all threads together, in thousandths of a
 * CPU, or STRAIT_P_QUOTA_NONE. */
STRAIT_PRIVATE uint32_t strait_p_cpu_quota(void);

/* Where the thread runs. 0; -ENOMEM; -EINVAL: a CPU that the process may not use, none where some
 * must be named, or no such pin.
 *
 * Where it is free to choose, each thread of a pool that always has as many as there are CPUs gets
 * one, in their order. The threads of any other pool all get the same set: a CPU for each, the
 * first in the order, and all that share a cache with one of those. A worker, and a thread of a
 * pool that is to have one CPU whichever it is, gets the first in the order of those that the
 * fewest have. */
STRAIT_PRIVATE int strait_p_cpu_place(const struct strait_p_placement *placement,
                                      struct strait_p_cpu_set *set);

/* Frees the set, and gives back the CPU that it claimed, once its thread is gone. */
STRAIT_PRIVATE void strait_p_cpu_release(struct strait_p_cpu_set *set);

#endif /* STRAIT_CPU_H */
