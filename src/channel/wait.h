/* SPDX-License-Identifier: MIT */
/*
 * wait: how a thread sleeps until another has something for it, and how it is woken.
 *
 * The problem is Dekker's. The sleeper announces itself and looks once more; the waker publishes
 * and looks for sleepers. One of the two must see the other, or a wake-up is lost, and on no
 * machine do plain stores and loads give that order. Here the sleeper pays for both sides: it
 * makes every running thread of the process pass a memory barrier (membarrier(2), private
 * expedited), so that the waker, who is on the hot path, only has to hold the compiler back. Where
 * the kernel has no membarrier, or the two sides are different processes, both use a full fence.
 *
 * A sleeper sleeps on its own side's signal word, which holds a count of wake-ups: the futex call
 * itself notices a wake-up that came in between.
 */
#ifndef STRAIT_WAIT_PRIVATE_H
#define STRAIT_WAIT_PRIVATE_H

#include <pthread.h>

#include "strait/wait.h"

/* Somebody who is about to wait: a side of a channel, an idle worker of a pool. */
struct strait_waiter {
    struct strait_signal *own;        /* what it sleeps on */
    const struct strait_signal *peer; /* of whoever it waits for; NULL: of several */
    bool (*ready)(void *side);        /* can it go on, or is there nothing left to wait for? */
    void *side;
    const uint32_t *cancel; /* a flag that ends the wait, or NULL */
    uint32_t *spin_ns;      /* how long to spin before sleeping; adapted here */
    enum strait_wait mode;
    int fd;
    bool sole;   /* nobody else sleeps on `own` */
    bool fenced; /* no membarrier between these two */
    bool shared; /* sleeps in memory of several processes */
};

/* The longest spin before a sleep, and a thread's first spin_ns: about what a sleep and its wake-up
 * cost where the CPU falls asleep, too. */
#define STRAIT_SPIN_NS 50000u

/* 0 once ready; -ECANCELED; -ETIMEDOUT. */
int strait_wait(const struct strait_waiter *waiter, int64_t deadline);

/* fd mode: 1 armed, 0 already ready and the fd readable. */
int strait_arm(const struct strait_waiter *waiter);

/* Opens an fd to wait with. 0 or -errno, and then *fd is as it was. */
int strait_fd_open(int *fd);

/* -1 is ignored. */
void strait_fd_close(int fd);

/* Makes an fd-mode side's fd unreadable without arming it. */
void strait_fd_clear(int fd);

/* Sets STRAIT_CLOSED in a side's own signal. */
void strait_signal_close(struct strait_signal *own);

/* Wakes who sleeps on the signal, by its fd where that is not -1. `kick` does so whether it says
 * that it sleeps or not. */
void strait_signal_rouse(struct strait_signal *signal, int fd, bool shared);
void strait_signal_kick(struct strait_signal *signal, int fd, bool shared);

/* 1 + the only CPU that the calling thread may run on, or this. */
#define STRAIT_SEVERAL_CPUS UINT32_MAX
uint32_t strait_only_cpu(void);

/* A thread whose waits another can end, whatever it waits for: a worker. The lock keeps the signal
 * alive while it is rung: its owner cannot go away, and destroy the channel, in the middle. */
struct strait_berth {
    const uint32_t *cancel; /* set once; while the flag is set, the thread does not wait */
    pthread_mutex_t lock;   /* of all that follows: the thread writes, whoever wakes it reads */
    struct strait_signal *signal; /* where it sleeps; NULL: awake */
    int fd;
    bool shared;
};

void strait_berth_init(struct strait_berth *berth, const uint32_t *cancel);

/* Makes it the calling thread's; NULL: it has none any more. Returns what was before. */
struct strait_berth *strait_berth_enter(struct strait_berth *berth);

/* Wakes the thread if it sleeps, to look at its flag. Any thread. */
void strait_berth_wake(struct strait_berth *berth);

/* ---- idle time: how long a thread has waited, for others to read ----
 *
 * The thread pays with no reading of the clock that it would not do anyway: a wait that is over
 * before the first one counts as busy, and a spin ends at the last one before it succeeded. */

/* While busy: twice the nanoseconds spent idle. While idle: twice the time at which the thread
 * would have become idle had it been so ever since, plus 1. So that one load tells all. */
struct strait_idle {
    uint64_t word; /* the thread writes */
    int64_t seen;  /* its last reading of the clock while idle */
};

/* Where the calling thread keeps account from now on; NULL: nowhere. */
void strait_idle_keep(struct strait_idle *idle);

/* The calling thread is idle, and it is `now`. */
void strait_idle_note(int64_t now);

/* It goes on, and has been idle until it last noted so. */
void strait_idle_over(void);

/* What the word says at `now`. */
static inline int64_t strait_idle_until(uint64_t word, int64_t now)
{
    return word & 1 ? now - (int64_t)(word >> 1) : (int64_t)(word >> 1);
}

/* Tells the other side where the calling thread can run. `sole`: it has the side for itself. */
void strait_signal_place(struct strait_signal *own, bool sole);

/* ---- the primitives, for whoever sleeps on a word of its own ---- */

/* Registers the process for membarrier, once. False: use fences. */
bool strait_heavy_barrier_available(void);

/* The sleeper's barrier between announcing itself and looking again. */
void strait_heavy_barrier(bool fenced);

/* Sleeps while *word is `value`. 0: woken, or the word was another; -ETIMEDOUT. May wake early. */
int strait_futex_wait(uint32_t *word, uint32_t value, int64_t deadline, bool shared);
void strait_futex_wake(uint32_t *word, int sleepers, bool shared);

#endif /* STRAIT_WAIT_PRIVATE_H */
