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
#ifndef STRAIT_WAIT_H
#define STRAIT_WAIT_H

#include "strait/channel.h"

/* One side of a channel that is about to wait. */
struct strait_waiter {
    struct strait_handle *handle;
    struct strait_signal *own;  /* what it sleeps on */
    struct strait_signal *peer; /* the other side's */
    bool (*ready)(void *side);  /* can the side go on, or has the other one closed? */
    void *side;
    enum strait_wait mode;
    int fd;
    bool sole; /* nobody else sleeps on `own` */
};

/* 0 once ready; -ECANCELED; -ETIMEDOUT. */
int strait_wait(const struct strait_waiter *waiter, int64_t deadline);

/* fd mode: 1 armed, 0 already ready and the fd readable. */
int strait_arm(const struct strait_waiter *waiter);

/* Sets STRAIT_CLOSED in a side's own signal. */
void strait_signal_close(struct strait_signal *own);

/* Wakes the side that owns the signal whether it says that it sleeps or not. */
void strait_signal_kick(struct strait_channel *channel, struct strait_signal *signal);

/* 1 + the only CPU that the calling thread may run on; 0: it has a choice. */
uint32_t strait_only_cpu(void);

/* ---- the primitives, for whoever sleeps on a word of its own ---- */

/* Registers the process for membarrier, once. False: use fences. */
bool strait_heavy_barrier_available(void);

/* The sleeper's barrier between announcing itself and looking again. */
void strait_heavy_barrier(bool fenced);

/* Sleeps while *word is `value`. 0: woken, or the word was another; -ETIMEDOUT. May wake early. */
int strait_futex_wait(uint32_t *word, uint32_t value, int64_t deadline, bool shared);
void strait_futex_wake(uint32_t *word, int sleepers, bool shared);

#endif /* STRAIT_WAIT_H */
