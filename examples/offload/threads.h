/* SPDX-License-Identifier: MIT */
/*
 * threads: a pool as one writes it by hand, to compare with: plain threads, a queue under a mutex,
 * a condition variable, and an eventfd that wakes the loop. It cannot cancel, and knows no
 * deadlines.
 */
#ifndef OFFLOAD_THREADS_H
#define OFFLOAD_THREADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct threads;

/* The caller's memory, until `done` is called. */
struct job {
    void (*run)(struct job *job);  /* on a thread of the pool */
    void (*done)(struct job *job); /* on the loop, in threads_dispatch */
    bool ran;                      /* false: the pool was closed before */
    struct job *next;              /* the pool's */
};

struct threads_stats {
    uint64_t submitted;
    uint64_t done;
    uint64_t abandoned;
    uint64_t queued;
    uint64_t running; /* or not yet dispatched */
    uint64_t refused;
    uint64_t workers;
    uint64_t queue_limit;
};

/* 0 or -errno. So many threads, 0: one for each CPU; at most `limit` jobs wait for one. */
int threads_create(struct threads **created, unsigned count, size_t limit);

/* 0; -EAGAIN: the queue is full; -EPIPE: closed. */
int threads_submit(struct threads *threads, struct job *job);

/* Readable when there is something to dispatch. */
int threads_fd(const struct threads *threads);
void threads_dispatch(struct threads *threads);

void threads_stats(struct threads *threads, struct threads_stats *stats);

/* What runs is finished, what waits is not begun; all of it is still to be dispatched. */
void threads_close(struct threads *threads);

/* After threads_close: waits for the threads. NULL is ignored. */
void threads_destroy(struct threads *threads);

#endif
