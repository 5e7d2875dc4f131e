/* SPDX-License-Identifier: MIT */
/* placement: on which CPUs a thread runs, and in which scheduling class. */
#ifndef STRAIT_PLACEMENT_H
#define STRAIT_PLACEMENT_H

#include "strait/base.h"

STRAIT_C_BEGIN

enum strait_pin {
    STRAIT_PIN_CHOOSE = 0, /* one of the process's CPUs, of those that the fewest threads of strait
                              in it are pinned to: a thread of each core first, fast cores before
                              slow ones, those near the parent, and last the one where the parent
                              runs. Where the kernel refuses, the thread runs unpinned, and its
                              status says so */
    STRAIT_PIN_CPU,        /* the CPU named by `cpu`, or no thread */
    STRAIT_PIN_NONE,       /* any of the process's CPUs, at any time */
    STRAIT_PIN_SET,        /* any of the `cpu_count` CPUs in `cpus`, or no thread */
};

/* The scheduling class. Lowering it needs no privilege. */
enum strait_schedule {
    STRAIT_SCHEDULE_DEFAULT = 0, /* worker: the parent's; pool: see strait_pool_options */
    STRAIT_SCHEDULE_NORMAL,      /* SCHED_OTHER */
    STRAIT_SCHEDULE_BATCH,       /* SCHED_BATCH: full share, but does not preempt when it wakes */
    STRAIT_SCHEDULE_IDLE,        /* SCHED_IDLE: runs in what others leave, yields at once */
};

/* How many CPUs the process may use now: those of its main thread's affinity, at least 1. Any
 * thread; does not block, but allocates. */
STRAIT_API unsigned strait_cpu_count(void);

STRAIT_C_END

#endif /* STRAIT_PLACEMENT_H */
