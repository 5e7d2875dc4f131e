/* SPDX-License-Identifier: MIT */
/*
 * compute: who computes what heavy requests ask for, when the loop does not: a file and a row of
 * functions each. All calls belong to the loop's thread.
 *
 *   in_pool.c       a pool of strait's
 *   in_processes.c  a pool of processes: one may crash or hang
 *   in_machines.c   pools on other machines, behind a job server
 *   in_threads.c    plain threads, as one writes them by hand: to compare with
 */
#ifndef OFFLOAD_COMPUTE_H
#define OFFLOAD_COMPUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "burn.h"
#include "settings.h"
#include "strait.h"
#include "strait/extra/process.h"

struct computer; /* whoever computes, by a name of its own in each file */

/* What travels to it, small enough for a task's `data`. */
struct order {
    struct burn burn;
    enum harm { HARM_NONE, HARM_CRASH, HARM_HANG } harm; /* what a process does instead */
};

/* The caller's memory, from a submit that says 0 until `done`, which is called on the loop. */
struct job {
    struct order order; /* with the result, in `done` */
    uint32_t within;    /* ms to its end; 0: any time will do */
    void (*done)(struct job *job, enum strait_task_status status);
    struct computer *computer; /* the computer's own, and so are these: */
    strait_task_id task;
    struct job *next;
    bool ran;
};

/* What /stats shows of it. */
struct computer_stats {
    uint64_t queued;
    uint64_t running;
    uint64_t workers;
    uint64_t queue_limit;
    char more[128]; /* members of JSON, each behind a comma */
};

struct compute {
    bool bears_harm; /* it outlives an order that does harm */
    bool expires;    /* completes a job that is late by itself, at the very time */
    /* These three return 0 or -errno. */
    int (*create)(struct computer **computer, const struct settings *settings);
    int (*submit)(struct computer *computer, struct job *job); /* -EAGAIN: no room */
    int (*fd)(struct computer *computer);                      /* readable: dispatch */
    void (*dispatch)(struct computer *computer);
    void (*cancel)(struct computer *computer, struct job *job); /* NULL: it cannot */
    void (*stats)(struct computer *computer, struct computer_stats *stats);
    /* The two are NULL where there is nothing of the kind: all that it has to show, as JSON from
     * malloc; and when a place in the queue may be free, in seconds. */
    char *(*json)(struct computer *computer);
    uint64_t (*retry_after)(struct computer *computer);
    void (*stop)(struct computer *computer); /* refuses what waits, finishes what runs; or NULL */
    void (*destroy)(struct computer *computer); /* all jobs are done, or never will be */
};

extern const struct compute compute_in_pool;
extern const struct compute compute_in_processes;
extern const struct compute compute_in_machines;
extern const struct compute compute_in_threads;

/* For main to hand to strait_process_main. */
extern const struct strait_process_function process_functions[];

#endif
