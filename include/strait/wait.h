/* SPDX-License-Identifier: MIT */
/*
 * wait: how a side that cannot go on waits, the clock of deadlines, and the stopwatch of idle time.
 *
 * A side is the sender or the receiver of a channel; how it waits is an option of the channel.
 * Deadlines are points in time, not spans: strait_deadline(ns) makes one from a span.
 */
#ifndef STRAIT_WAIT_H
#define STRAIT_WAIT_H

#include "strait/base.h"
#include "strait/sync.h"

STRAIT_C_BEGIN

/* What a side does when it cannot go on: the sender on full, the receiver on empty. */
enum strait_wait {
    STRAIT_WAIT_DEFAULT = 0, /* park, unless the noun that uses the channel says otherwise */
    STRAIT_WAIT_PARK,        /* spin for up to 50 us, less where that brings nothing; then sleep */
    STRAIT_WAIT_SPIN,        /* never sleep; yield the CPU now and then */
    STRAIT_WAIT_FD,          /* an eventfd of this side's becomes readable: for event loops */
};

/* ---- time: nanoseconds of CLOCK_MONOTONIC, absolute ---- */

/* What is 0 or less is past, for a call that is not to wait. STRAIT_CHECKED: a deadline of 1 us to
 * an hour that lies over a minute before the program's start is a span by mistake and ends it. */
#define STRAIT_FOREVER INT64_MAX

/* Now. Any thread; does not block. */
STRAIT_API int64_t strait_now(void);

/* Now plus `ns` nanoseconds; at most STRAIT_FOREVER. Any thread; does not block. */
STRAIT_API int64_t strait_deadline(int64_t ns);

static inline int64_t strait_p_in(int64_t count, int64_t unit)
{
    int64_t ns;
    bool over = __builtin_mul_overflow(count, unit, &ns);
    return strait_deadline(!over ? ns : count < 0 ? -STRAIT_FOREVER : STRAIT_FOREVER);
}

/* The same for a span in milliseconds, in microseconds. */
static inline int64_t strait_in_ms(int64_t ms)
{
    return strait_p_in(ms, 1000000);
}

static inline int64_t strait_in_us(int64_t us)
{
    return strait_p_in(us, 1000);
}

/* ---- stopwatch: how long a thread has been idle, or busy, in one word that begins as 0 ----
 *
 * While it is not so, the word is twice the nanoseconds that it was; while it is, twice the time at
 * which that would have begun had it been so ever since, plus 1. So one load tells all, and either
 * is the time of the change less the other. */

/* It is so from `now` on, or not any more; nothing happens where that is known. The one thread that
 * writes the word; does not block. */
static inline void strait_stopwatch_set(uint64_t *word, int64_t now, bool on)
{
    if ((*word & 1) != on) {
        strait_wide_store_relaxed(word, ((uint64_t)now - (*word >> 1)) << 1 | on);
    }
}

/* The nanoseconds that it was so, as of *now. The word must not change while the clock is read, or
 * what the reader lost in between would count as the thread's. Any thread; does not block. */
static inline int64_t strait_stopwatch_read(const uint64_t *word, int64_t *now)
{
    uint64_t value = strait_wide_load_relaxed(word);
    uint64_t before;
    do {
        before = value;
        *now = strait_now();
        value = strait_wide_load_relaxed(word);
    } while (value != before);
    return value & 1 ? *now - (int64_t)(value >> 1) : (int64_t)(value >> 1);
}

/* From now on the calling thread's waits in this library are counted in the stopwatch, which must
 * live as long; NULL: in none. It costs no reading of the clock that a wait would not do anyway: a
 * wait that ends before the first is not counted, a spin is up to its last. Does not block. */
STRAIT_API void strait_idle_watch(uint64_t *stopwatch);

/* ---- private: the event count's fast path; see src/channel/wait.h ---- */

#define STRAIT_P_CLOSED 1u
#define STRAIT_P_WAITING 2u
#define STRAIT_P_TOLD 4u /* with WAITING: the owner is armed, and `told` is called */
#define STRAIT_P_WAKEUP 8u

/* Who is called where an owner that does not sleep would be woken. */
typedef void strait_ready_fn(void *context) STRAIT_NOEXCEPT;

/* What a thread sleeps on. Its owner is the side that sleeps there. */
struct strait_p_event_count {
    uint32_t word; /* CLOSED, WAITING, TOLD, and above them a count of wake-ups; owner and wakers
                      write, by compare-and-swap alone */
    uint32_t cpu;  /* 1 + the one CPU that the owner can run on, 0: unknown, UINT32_MAX: several;
                      the owner writes, others take it as a hint */
    int32_t fd;    /* set once: the eventfd that the owner watches; -1: it sleeps on the word */
    strait_ready_fn *told; /* the owner writes while WAITING is not set; not NULL: who wakes it
                              calls this, and it never sleeps here */
    void *context;
};

/* What is between the owner and its wakers: membarrier, fences, or fences and a process border. In
 * the last case the event count lies in memory that others write, and its fd is not looked at. */
enum strait_p_between { STRAIT_P_BARRIER, STRAIT_P_FENCES, STRAIT_P_PROCESSES };

/* Out of line: the owner sleeps. */
STRAIT_API void strait_p_notify_sleeper(struct strait_p_event_count *to, uint32_t between);

/* Wakes the owner if it sleeps, after something was published for it. Any thread; does not block.
 */
static inline void strait_p_notify(struct strait_p_event_count *to, uint32_t between)
{
    if (STRAIT_UNLIKELY(between)) {
        /* event.fence: pairs with event.prepare; what was published, or else the owner's WAITING;
         * without it the load below overtakes the publishing store, and the owner sleeps on */
        strait_full_fence();
    }
    /* event.notify: pairs with event.prepare; what was published, or else the owner's WAITING;
     * without it the compiler moves the load below up, and the owner sleeps on */
    strait_light_barrier();
    if (STRAIT_UNLIKELY(strait_load_relaxed(&to->word) & STRAIT_P_WAITING)) {
        strait_p_notify_sleeper(to, between);
    }
}

STRAIT_C_END

#endif /* STRAIT_WAIT_H */
