/* SPDX-License-Identifier: MIT */
/*
 * event count: how a thread sleeps until another has something for it, and no wake-up is lost.
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
 *   notify    passes the light barrier, then wakes the owner if WAITING is set (inline, wait.h)
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
#ifndef STRAIT_EVENT_COUNT_H
#define STRAIT_EVENT_COUNT_H

#include "private.h"
#include "strait/wait.h"

/* `fd`: -1 to sleep on the word; it belongs to the caller. */
STRAIT_PRIVATE void strait_p_event_count_init(struct strait_p_event_count *event, int fd,
                                              bool shared);

/* The owner announces that it is about to sleep. Returns what commit takes. */
STRAIT_PRIVATE uint32_t strait_p_prepare(struct strait_p_event_count *own, bool fenced);

/* The owner sleeps until it is woken, at most until the deadline. May return early. */
STRAIT_PRIVATE void strait_p_commit(struct strait_p_event_count *own, uint32_t announced,
                                    int64_t deadline);

/* The owner does not sleep, or no longer. `sole`: nobody else sleeps on `own`. */
STRAIT_PRIVATE void strait_p_cancel(struct strait_p_event_count *own, bool sole);

/* Wakes the owner, whether it sleeps or not, to look again. Any thread. */
STRAIT_PRIVATE void strait_p_wake(struct strait_p_event_count *to);

/* Sets CLOSED in the word, as the owner has closed its side, and wakes whoever sleeps on the other
 * side. */
STRAIT_PRIVATE void strait_p_event_close(struct strait_p_event_count *own,
                                         struct strait_p_event_count *other);

/* Everything that whoever closed the side did before is visible to the caller. */
STRAIT_PRIVATE bool strait_p_event_closed(const struct strait_p_event_count *event);

/* ---- what it stands on; none of it touches errno ---- */

/* Registers the process for membarrier, once. False: use fences. */
STRAIT_PRIVATE bool strait_p_heavy_barrier_available(void);

/* The owner's barrier between announcing itself and looking again. */
STRAIT_PRIVATE void strait_p_heavy_barrier(bool fenced);

/* Sleeps while *word is `value`. 0: woken, or the word was another, or early; -ETIMEDOUT. */
STRAIT_PRIVATE int strait_p_futex_wait(uint32_t *word, uint32_t value, int64_t deadline,
                                       bool shared);
STRAIT_PRIVATE void strait_p_futex_wake(uint32_t *word, int sleepers, bool shared);

/* Opens an eventfd. 0 or -errno, and then *fd is as it was. */
STRAIT_PRIVATE int strait_p_fd_open(int *fd);

/* -1 is ignored. */
STRAIT_PRIVATE void strait_p_fd_close(int fd);

/* Makes an eventfd readable; unreadable. */
STRAIT_PRIVATE void strait_p_fd_raise(int fd);
STRAIT_PRIVATE void strait_p_fd_clear(int fd);

#endif /* STRAIT_EVENT_COUNT_H */
