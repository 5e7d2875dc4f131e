/* SPDX-License-Identifier: MIT */
/*
 * thread: a named, pinned, scheduled pthread that tells its starter whether it is online.
 *
 * A worker and a pool's worker both stand on one of these. Whatever way the thread ends (return,
 * pthread_exit, cancellation), `ended` is called on it and whoever joins it is told.
 */
#ifndef STRAIT_THREAD_H
#define STRAIT_THREAD_H

#include <pthread.h>
#include <sys/types.h>

#include "strait/base.h"

#include "cpu.h"

#define STRAIT_P_NAME_BYTES 16 /* the final zero included */

/* A callback gets `argument`. */
struct strait_p_thread_options {
    const char *name; /* up to 15 bytes; where the kernel refuses it, the thread runs without */
    struct strait_p_placement placement;
    bool pinned;                   /* no such CPUs, no thread; else it runs where it can */
    enum strait_schedule schedule; /* STRAIT_SCHEDULE_DEFAULT: the starter's */
    int nice;                      /* the thread's; its starter's where that is higher */
    bool scheduled;    /* no such class and niceness, no thread; else it runs in the starter's */
    bool yielding;     /* with the shortest time slice that there is, where the kernel has slices */
    size_t stack_size; /* bytes; 0: the system's default */
    int (*set_up)(void *argument); /* on the thread, named, pinned and scheduled: 0, or -errno and
                                      neither `run` nor `ended` follows */
    void (*run)(void *argument);   /* on the thread, once it is online */
    void (*ended)(void *argument); /* on the thread, however `run` ended */
    void *argument;
};

struct strait_p_thread {
    /* launch writes */
    struct strait_p_thread_options options;
    char name[STRAIT_P_NAME_BYTES];
    struct strait_p_cpu_set cpus; /* given back when it is joined */
    pthread_t handle;
    pid_t process; /* whose thread it is: a fork's child has another */
    /* whoever joins it writes */
    bool joined;
    /* the thread writes, before it is online; then anybody may read */
    int32_t number; /* the kernel's */
    int cpu;        /* the only one that it was given, or -1 */
    bool refused;   /* name, CPUs, class or nice, and it runs without */
    int error;      /* 0: it is online; or why it could not set itself up */
    uint32_t told;  /* not 0: all this is written; its starter sleeps on it */
};

/* Starts a thread, and does not wait until it is online. 0, or -errno and there is none: -EAGAIN,
 * -ENOMEM, -EINVAL (name, placement, class; a stack that is too small). All signals but those of
 * its own faults are blocked in it. Any thread; blocks for the creation, some 20 us. */
STRAIT_PRIVATE int strait_p_thread_launch(struct strait_p_thread *thread,
                                          const struct strait_p_thread_options *options);

/* Waits until it is online. 0, or -errno and it is joined: -EPERM and others where CPUs or
 * scheduling were refused, or what set_up returned; -EINTR if that ended the thread. Whoever may
 * join it; blocks for the start and set_up. */
STRAIT_PRIVATE int strait_p_thread_online(struct strait_p_thread *thread);

/* Waits until the thread is gone, its thread-exit destructors included. 0; -ETIMEDOUT, and then it
 * can be joined again; -EDEADLK: the thread itself; -EOWNERDEAD: a fork's child. One thread at a
 * time; blocks until the deadline at most. */
STRAIT_PRIVATE int strait_p_thread_join(struct strait_p_thread *thread, int64_t deadline);

#endif /* STRAIT_THREAD_H */
