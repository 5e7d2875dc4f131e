/* SPDX-License-Identifier: MIT */
/*
 * wait: how a side that cannot go on waits, the clock of deadlines, and the account of idle time.
 *
 * A side is the sender or the receiver of a channel. How it waits is an option of the channel:
 *
 *   STRAIT_WAIT_PARK   it spins for a little, then sleeps until the other side wakes it
 *   STRAIT_WAIT_SPIN   it never sleeps
 *   STRAIT_WAIT_FD     it has a file descriptor that an event loop watches
 *
 * Deadlines are points in time, not spans: strait_deadline(ns) makes one from a span.
 */
#ifndef STRAIT_WAIT_H
#define STRAIT_WAIT_H

#include "strait/base.h"
#include "strait/sync.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a side does when it cannot go on: the sender on full, the receiver on empty. */
enum strait_wait {
    STRAIT_WAIT_DEFAULT = 0, /* park, unless the noun that uses the channel says otherwise */
    STRAIT_WAIT_PARK,        /* spin for up to 50 us, less where that brings nothing; then sleep */
    STRAIT_WAIT_SPIN,        /* never sleep; yield the CPU now and then */
    STRAIT_WAIT_FD,          /* an eventfd of this side's becomes readable: for event loops */
};

/* ---- time: nanoseconds of CLOCK_MONOTONIC, absolute ---- */

#define STRAIT_FOREVER INT64_MAX

/* Now. Any thread; does not block. */
STRAIT_API int64_t strait_now(void);

/* Now plus `ns` nanoseconds, STRAIT_FOREVER if that is past the end of time. Any thread; does not
 * block. */
STRAIT_API int64_t strait_deadline(int64_t ns);

/* ---- idle time: for threads that say how busy they are ----
 *
 * A thread that keeps an account has every wait of this library's counted in it, and other threads
 * may read it at any time. The account costs no reading of the clock that a wait would not do
 * anyway: a wait that ends before its first reading counts as busy, and a spin counts up to its
 * last reading before it succeeded. */

struct strait_idle {
    /* The thread writes, any thread reads. While busy: twice the nanoseconds spent idle. While
     * idle: twice the time at which the thread would have become idle had it been idle ever since,
     * plus 1. So one load tells all. */
    uint64_t word;
    int64_t seen; /* the thread's own: its last reading of the clock while idle */
};

/* The calling thread keeps its account there from now on; NULL: nowhere. `idle` starts as zeros and
 * must live until the thread keeps it elsewhere. Does not block. */
STRAIT_API void strait_idle_keep(struct strait_idle *idle);

/* For waits that are not this library's: the calling thread is idle, and it is `now`. Without
 * effect on a thread that keeps no account. Does not block. */
STRAIT_API void strait_idle_note(int64_t now);

/* The calling thread goes on; it was idle until it last noted so. Does not block. */
STRAIT_API void strait_idle_over(void);

/* The nanoseconds that the account's thread has been idle, as of *now, which it sets. Any thread;
 * does not block. */
STRAIT_API int64_t strait_idle_read(const struct strait_idle *idle, int64_t *now);

/* ---- private: the event count's fast path; see src/channel/event_count.h ---- */

#define STRAIT_P_CLOSED 1u
#define STRAIT_P_WAITING 2u
#define STRAIT_P_WAKEUP 4u

/* What a thread sleeps on. Its owner is the side that sleeps there. */
struct strait_p_event_count {
    uint32_t word;   /* CLOSED, WAITING, and above them a count of wake-ups; owner and wakers write,
                        by compare-and-swap alone */
    uint32_t cpu;    /* 1 + the one CPU that the owner can run on, 0: unknown, UINT32_MAX: several;
                        the owner writes, others take it as a hint */
    int32_t fd;      /* set once: the eventfd that the owner watches; -1: it sleeps on the word */
    uint32_t shared; /* set once: the owner and its wakers may be of several processes */
};

/* Out of line: the owner sleeps. */
STRAIT_API void strait_p_wake_sleeper(struct strait_p_event_count *to);

/* Wakes the owner if it sleeps, after something was published for it. `fenced`: there is no
 * membarrier between these two. Any thread; does not block. */
static inline void strait_p_notify(struct strait_p_event_count *to, bool fenced)
{
    if (STRAIT_UNLIKELY(fenced)) {
        /* event.fence: pairs with event.prepare; what was published, or else the owner's WAITING;
         * without it the load below overtakes the publishing store, and the owner sleeps on */
        strait_full_fence();
    }
    /* event.notify: pairs with event.prepare; what was published, or else the owner's WAITING;
     * without it the compiler moves the load below up, and the owner sleeps on */
    strait_light_barrier();
    if (STRAIT_UNLIKELY(strait_load_relaxed(&to->word) & STRAIT_P_WAITING)) {
        strait_p_wake_sleeper(to);
    }
}

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_WAIT_H */
