/* SPDX-License-Identifier: MIT */
/*
 * wait: how long a thread spins before it sleeps, and what ends its wait besides what it waits for.
 *
 * The sleep itself is the event count's (event_count.h).
 */
#ifndef STRAIT_WAIT_PRIVATE_H
#define STRAIT_WAIT_PRIVATE_H

#include <pthread.h>

#include "event_count.h"

/* Somebody who is about to wait: a side of a channel, a parent, an idle worker of a pool. */
struct strait_p_waiter {
    struct strait_p_event_count *own;        /* what it sleeps on */
    const struct strait_p_event_count *peer; /* whose owner it waits for; NULL: several */
    bool (*ready)(void *side);               /* can it go on, or is there nothing to wait for? */
    void *side;
    const uint32_t *cancel; /* a flag that ends the wait, or NULL */
    uint32_t *spin_ns;      /* how long to spin before sleeping; adapted here */
    enum strait_wait mode;
    bool sole;   /* nobody else sleeps on `own` */
    bool fenced; /* no membarrier between owner and wakers */
};

/* The longest spin before a sleep, and a thread's first spin_ns: about what a sleep and its wake-up
 * cost where the CPU falls asleep, too. */
#define STRAIT_P_SPIN_NS 50000u

/* Waits until there may be something to go on with. 0: look again, and wait again if there is
 * nothing; -ECANCELED; -ETIMEDOUT: there was nothing at the deadline. The waiter looks by itself
 * after a sleep, as that look is the one that takes what is there. */
STRAIT_PRIVATE int strait_p_park(const struct strait_p_waiter *waiter, int64_t deadline);

/* For an event loop: has the fd become readable when there is something to go on with. 1: it is
 * unreadable until then; 0: there already is, and the fd is readable. */
STRAIT_PRIVATE int strait_p_arm(const struct strait_p_waiter *waiter);

/* Tells the others where the calling thread can run. `sole`: nobody else has the side. */
STRAIT_PRIVATE void strait_p_event_place(struct strait_p_event_count *own, bool sole);

/* ---- berths: a thread whose waits another can end, whatever it waits for ---- */

/* The lock keeps the event count alive while it is woken: its owner cannot go away, and destroy
 * what the event count lies in, in the middle. */
struct strait_p_berth {
    const uint32_t *cancel;             /* set once; while the flag is set, the thread does not
                                           wait */
    pthread_mutex_t lock;               /* of what follows */
    struct strait_p_event_count *event; /* where the thread sleeps, NULL: awake; the thread writes,
                                           whoever wakes it reads */
};

STRAIT_PRIVATE void strait_p_berth_init(struct strait_p_berth *berth, const uint32_t *cancel);

/* Makes it the calling thread's; NULL: it has none any more. Returns what was before: there the
 * thread sleeps nowhere, though it was cancelled in its sleep. */
STRAIT_PRIVATE struct strait_p_berth *strait_p_berth_enter(struct strait_p_berth *berth);

/* Wakes the thread if it sleeps, to look at its flag. Any thread. */
STRAIT_PRIVATE void strait_p_berth_wake(struct strait_p_berth *berth);

#endif /* STRAIT_WAIT_PRIVATE_H */
