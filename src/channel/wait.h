/* SPDX-License-Identifier: MIT */
/*
 * wait: how a thread sleeps until another has something for it, and no wake-up is lost; how long it
 * spins before it sleeps; and what else ends its wait.
 *
 * The owner of an event count sleeps on it; any thread wakes the owner.
 *
 *   owner                                      waker
 *     announced = prepare(own)                   publishes something for the owner
 *     looks once more for what it waits for      notify(own)
 *     commit(own, announced), or cancel(own)
 *
 *   prepare   sets WAITING in the word, then passes the heavy barrier
 *   commit    sleeps until a wake-up is counted in the word, or the deadline has passed
 *   cancel    takes WAITING back: the owner goes on by itself
 *   notify    passes the light barrier, then wakes the owner if WAITING is set (strait/wait.h)
 *   wake      wakes the owner whether it says that it sleeps or not
 *
 * Why no wake-up is lost
 *
 *   1. Either notify sees WAITING, or the owner's look sees what was published. This is Dekker's
 *      pattern: each side stores and then loads what the other stored. Plain stores and loads do
 *      not give that order on any machine, as a store may still be in its CPU's buffer when the
 *      load behind it is done. Of the two barriers that it takes, the waker's is on the hot path.
 *      So the owner pays for both: its heavy barrier is membarrier(2), which makes every running
 *      thread of the process pass a full barrier, and the waker only holds the compiler back. A
 *      waker that has published before the heavy barrier is seen by the owner's look; one that
 *      publishes after it loads the word after it, too, and sees WAITING. Where the kernel has no
 *      membarrier, or owner and waker are of different processes, both pass a full fence.
 *   2. A wake-up between prepare and commit is noticed by commit. A waker counts its wake-up in the
 *      word in the same step that takes WAITING away, so the word is no longer what prepare
 *      announced, and the futex call returns at once. With an fd the waker makes it readable, and
 *      it stays so until the owner's next prepare.
 *   3. One wake-up is enough. Of several wakers that see WAITING, the one whose compare-and-swap
 *      takes it away makes the system call; what the others had published was published before
 *      they saw WAITING, and the owner looks again after it wakes.
 *   4. The owner looks again by itself. commit may return early, for a wake-up of an earlier time
 *      or for none, and promises nothing but that a notify or a wake after prepare ends it.
 *   5. A close passes no barrier. It changes the other side's word in one step, as prepare does:
 *      the second of the two sees what the first has done, WAITING or CLOSED.
 *   6. Several threads may sleep on one event count, as senders do for room. WAITING then stands
 *      for all of them: a wake-up wakes all, and cancel leaves the mark to the others.
 */
#ifndef STRAIT_WAIT_PRIVATE_H
#define STRAIT_WAIT_PRIVATE_H

#include <pthread.h>
#include <time.h>

#include "private.h"
#include "strait/wait.h"

/* ---- what it stands on; none of it touches errno ---- */

/* Registers the process for membarrier, once. False: use fences. */
STRAIT_PRIVATE bool strait_p_heavy_barrier_available(void);

/* STRAIT_CHECKED: ends the program if the deadline is a span by mistake. No deadline is that was
 * made by strait_deadline in this program, or handed to it a minute before it began. */
STRAIT_PRIVATE void strait_p_check_deadline(int64_t deadline);

/* A time as system calls take it. What is before the start of the clock is past, like its start;
 * where seconds have 32 bits, what is after the last of them, 68 years on, is that one. */
STRAIT_PRIVATE struct timespec strait_p_timespec(int64_t ns);

/* Has the process no thread of that number (any more)? What it owned is for whoever knows that. */
STRAIT_PRIVATE bool strait_p_thread_gone(int32_t number);

/* The owner's barrier between announcing itself and looking again. */
STRAIT_PRIVATE void strait_p_heavy_barrier(bool fenced);

/* Sleeps while *word is `value`. Returns when woken, early, or at the deadline. */
STRAIT_PRIVATE void strait_p_futex_wait(uint32_t *word, uint32_t value, int64_t deadline,
                                        bool shared);
STRAIT_PRIVATE void strait_p_futex_wake(uint32_t *word, int sleepers, bool shared);

/* Eventfds. To open one: 0, or -errno, and then *fd is as it was. To close -1 does nothing. */
STRAIT_PRIVATE int strait_p_fd_open(int *fd);
STRAIT_PRIVATE void strait_p_fd_close(int fd);
STRAIT_PRIVATE void strait_p_fd_raise(int fd); /* makes it readable */
STRAIT_PRIVATE void strait_p_fd_clear(int fd); /* makes it unreadable */

/* ---- the event count: struct strait_p_event_count in strait/wait.h ---- */

/* `fd`: -1 to sleep on the word; it belongs to the caller. */
STRAIT_PRIVATE void strait_p_event_count_init(struct strait_p_event_count *event, int fd);

/* The eventfd that the owner watches, or -1. */
STRAIT_PRIVATE int strait_p_event_fd(const struct strait_p_event_count *event, uint32_t between);

/* The owner says that it is about to sleep: prepare without its barrier, for an owner of several
 * event counts that passes one barrier behind the last. Returns what commit takes. */
STRAIT_PRIVATE uint32_t strait_p_announce(struct strait_p_event_count *own, uint32_t between);

/* The owner takes that back, unless others may sleep on `own`, too: then it is not `sole`. False: a
 * waker was faster. */
STRAIT_PRIVATE bool strait_p_cancel(struct strait_p_event_count *own, bool sole);

/* Wakes the owner, whether it sleeps or not, to look again. Any thread. */
STRAIT_PRIVATE void strait_p_wake(struct strait_p_event_count *to, uint32_t between);

/* The owner closes its side: sets CLOSED, and wakes whoever sleeps on the other side. */
STRAIT_PRIVATE void strait_p_event_close(struct strait_p_event_count *own,
                                         struct strait_p_event_count *other, uint32_t between);

/* Everything that whoever closed the side did before is visible to the caller. */
STRAIT_PRIVATE bool strait_p_event_closed(const struct strait_p_event_count *event);

/* Tells the others where the calling thread can run. `sole`: nobody else has the side. */
STRAIT_PRIVATE void strait_p_event_place(struct strait_p_event_count *own, bool sole);

/* ---- waiting ---- */

/* Somebody who is about to wait: a side of a channel, a parent, an idle worker of a pool. */
struct strait_p_waiter {
    struct strait_p_event_count *own;        /* what it sleeps on */
    const struct strait_p_event_count *peer; /* whose owner it waits for; NULL: several */
    bool (*ready)(void *side);               /* can it go on, or is there nothing to wait for? */
    void *side;
    const uint32_t *cancel; /* a flag that ends the wait, or NULL */
    uint32_t *spin_ns;      /* how long to spin before sleeping; adapted here */
    enum strait_wait mode;
    bool sole;        /* nobody else sleeps on `own` */
    uint32_t between; /* enum strait_p_between: owner and wakers */
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

/* A worker has a berth, which says where it sleeps, whatever it waits for: strait_worker_stop wakes
 * it there. The lock keeps the event count alive while it is woken: its owner cannot go away and
 * destroy it in the middle. */
struct strait_p_berth {
    const uint32_t *cancel; /* set once; while the flag is set, the thread does not wait */
    pthread_mutex_t lock;   /* of what follows, which the thread writes */
    struct strait_p_event_count *event; /* where it sleeps, NULL: awake */
    uint32_t between;                   /* enum strait_p_between, of who waits and wakes there */
};

/* Makes it the calling thread's, who sleeps nowhere now, though pthread_cancel may have ended it in
 * its sleep; NULL: it has none any more. Returns what was before. */
STRAIT_PRIVATE struct strait_p_berth *strait_p_berth_enter(struct strait_p_berth *berth);

/* Wakes the thread if it sleeps, to look at its flag. Any thread, in a signal handler too: whoever
 * holds the lock, the berth's thread or a waker, has its signals blocked and goes on soon. */
STRAIT_PRIVATE void strait_p_berth_wake(struct strait_p_berth *berth);

#endif /* STRAIT_WAIT_PRIVATE_H */
