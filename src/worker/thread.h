/* SPDX-License-Identifier: MIT */
/*
 * thread: a named, pinned, scheduled pthread that tells how far it has come.
 *
 * A worker and a pool's worker both stand on one of these. Its starter gets an answer once the
 * thread has set itself up. Whatever way the thread ends (return, pthread_exit, cancellation),
 * `ended` is called on it and whoever joins it is told.
 */
#ifndef STRAIT_THREAD_H
#define STRAIT_THREAD_H

#include <pthread.h>
#include <sys/types.h>

#include "strait/base.h"
#include "strait/placement.h"

#include "../channel/private.h"

#define STRAIT_P_NAME_BYTES 16 /* the final zero included */

/* How far a thread has come: a futex word. */
enum strait_p_life {
    STRAIT_P_STARTING,
    STRAIT_P_ONLINE,
    STRAIT_P_ENDED,   /* `ended` has returned: nothing of the library runs on it any more */
    STRAIT_P_REFUSED, /* it could not set itself up; `error` says why */
};

struct strait_p_thread_options {
    const char *name; /* up to 15 bytes; where the kernel refuses it, the thread runs without */
    const int *cpus;  /* where it may run, read until it is online; NULL: where its starter may */
    size_t cpu_count;
    bool pinned; /* no such CPUs, no thread; else it runs where it can */
    enum strait_schedule schedule;
    int nice;          /* added to the starter's */
    bool scheduled;    /* no such class and niceness, no thread; else it runs in the starter's */
    size_t stack_size; /* bytes; 0: the system's default */
    int (*set_up)(void *argument); /* on the thread, named, pinned and scheduled: 0, or -errno and
                                      neither `run` nor `ended` follows; may be NULL */
    void (*run)(void *argument);
    void (*ended)(void *argument); /* on the thread, however `run` ended; may be NULL */
    void *argument;
};

struct strait_p_thread {
    /* start writes */
    struct strait_p_thread_options options;
    char name[STRAIT_P_NAME_BYTES];
    pthread_t handle;
    pid_t process; /* whose thread it is */
    /* whoever joins it writes */
    bool joined;
    /* the thread writes, before it is online; then anybody may read */
    int32_t number; /* the kernel's */
    int cpu;        /* the only one that it was given, or -1 */
    int error;      /* STRAIT_P_REFUSED: why */
    /* the thread writes, starter and joiner sleep on it */
    uint32_t life; /* enum strait_p_life */
};

/* Starts a thread and returns when it is online. 0, or -errno and there is none: -EAGAIN, -ENOMEM,
 * -EINVAL (name, class, niceness; a stack that is too small), -EPERM and others where CPUs or
 * scheduling were refused, or what set_up returned; -EINTR if that ended the thread. Asynchronous
 * signals are blocked in it. Any thread; blocks for the start and set_up. */
STRAIT_PRIVATE int strait_p_thread_start(struct strait_p_thread *thread,
                                         const struct strait_p_thread_options *options);

/* The same in two: launch does not wait until the thread is online. 0, or -errno and there is none.
 * Any thread; blocks for the creation, some 20 us. */
STRAIT_PRIVATE int strait_p_thread_launch(struct strait_p_thread *thread,
                                          const struct strait_p_thread_options *options);

/* Waits until it is online. 0, or -errno: it could not set itself up, and is joined. Whoever may
 * join it; blocks for the start and set_up. */
STRAIT_PRIVATE int strait_p_thread_online(struct strait_p_thread *thread);

/* Waits until the thread is gone, its thread-exit destructors included. 0; -ETIMEDOUT, and then it
 * can be joined again; -EDEADLK: the thread itself; -EOWNERDEAD: a fork's child. One thread at a
 * time; blocks until the deadline at most. */
STRAIT_PRIVATE int strait_p_thread_join(struct strait_p_thread *thread, int64_t deadline);

/* Is this a fork's child, which has no such thread? Any thread; costs a system call. */
STRAIT_PRIVATE bool strait_p_thread_inherited(const struct strait_p_thread *thread);

/* How far it has come. Any thread. */
STRAIT_PRIVATE enum strait_p_life strait_p_thread_life(const struct strait_p_thread *thread);

#endif /* STRAIT_THREAD_H */
