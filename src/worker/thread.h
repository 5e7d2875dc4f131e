/* SPDX-License-Identifier: MIT */
/*
 * thread: a named, pinned, scheduled pthread that tells how far it has come.
 *
 * A worker and a pool's worker are both one of these. Its starter gets an answer once the thread
 * has set itself up, and whatever way the thread ends (return, pthread_exit, cancellation), `ended`
 * is called on it and whoever joins it is told.
 */
#ifndef STRAIT_THREAD_H
#define STRAIT_THREAD_H

#include <pthread.h>

#include "strait/worker.h"

#define STRAIT_P_NAME_BYTES 16 /* the final zero included */

/* How far a thread has come: a futex word. */
enum strait_p_life {
    STRAIT_P_STARTING,
    STRAIT_P_ONLINE,
    STRAIT_P_ENDED,   /* `ended` has returned: nothing of the library runs on it any more */
    STRAIT_P_REFUSED, /* it could not set itself up; `error` says why */
};

struct strait_p_thread_options {
    const char *name; /* up to 15 bytes */
    const int *cpus;  /* where it may run; NULL: wherever the process may */
    size_t cpu_count;
    enum strait_schedule schedule;
    int nice; /* added to the starter's */
    size_t stack_size;
    int (*set_up)(void *argument); /* on the thread, named, pinned and scheduled: 0, or -errno and
                                      neither `run` nor `ended` follows; may be NULL */
    void (*run)(void *argument);
    void (*ended)(void *argument); /* on the thread, however `run` ended; may be NULL */
    void *argument;
};

struct strait_p_thread {
    /* set by start */
    struct strait_p_thread_options options;
    char name[STRAIT_P_NAME_BYTES];
    int cpu; /* the one it is pinned to, or -1 */
    pthread_t handle;
    bool joined; /* whoever joins it writes */
    /* the thread writes; others read them once it is online */
    int32_t number; /* the kernel's */
    int error;
    uint32_t life; /* enum strait_p_life; the thread writes, starter and joiner sleep on it */
};

/* Starts a thread and returns when it is online. 0, or -errno and there is none: -EAGAIN, -ENOMEM,
 * -EINVAL (a stack that is too small), -EPERM, or what set_up returned. Asynchronous signals are
 * blocked in it. Any thread; blocks for the start and set_up. */
int strait_p_thread_start(struct strait_p_thread *thread,
                          const struct strait_p_thread_options *options);

/* Waits until the thread is gone, its thread-exit destructors included. 0 or -ETIMEDOUT, and then
 * it can be joined again. One thread at a time; blocks until the deadline at most. */
int strait_p_thread_join(struct strait_p_thread *thread, int64_t deadline);

/* How far it has come. Any thread. */
enum strait_p_life strait_p_thread_life(const struct strait_p_thread *thread);

#endif /* STRAIT_THREAD_H */
