/* SPDX-License-Identifier: MIT */
/* wait: see wait.h; how a wait sleeps is in event_count.h. */
#include "wait.h"

#include <sched.h>

/* Below this a spin is not worth the clock it reads. */
#define SPIN_MIN_NS 300u
/* A wait shorter than this, though slept through, would nearly have been over in a spin. */
#define WAIT_SHORT_NS 90000
/* A wait longer than this says nothing about the next one; to have spun in it cost next to nothing.
 */
#define WAIT_LONG_NS 1000000
/* Looks at the other side between two looks at the clock. */
#define LOOKS_PER_CLOCK 8
/* Readings of the clock, by a thread that spins without end, for each that its account gets. */
#define CLOCKS_PER_NOTE 8
/* Clock readings after which a spinning thread lets others have the CPU for once. */
#define CLOCKS_PER_YIELD 64

/* ---- where threads run ---- */

#define SEVERAL_CPUS UINT32_MAX

/* 1 + the only CPU that the calling thread may run on, or SEVERAL_CPUS. */
static uint32_t own_cpu(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int saved = errno;
    int failed = sched_getaffinity(0, sizeof(set), &set);
    errno = saved;
    if (failed || CPU_COUNT(&set) != 1) {
        return SEVERAL_CPUS;
    }
    uint32_t cpu = 0;
    while (!CPU_ISSET(cpu, &set)) {
        cpu++;
    }
    return cpu + 1;
}

/* Where several threads share the side, they have one CPU only while all of them say the same. */
STRAIT_PRIVATE void strait_p_event_place(struct strait_p_event_count *own, bool sole)
{
    uint32_t cpu = own_cpu();
    uint32_t before = strait_load_relaxed(&own->cpu);
    if (!sole && before != 0 && before != cpu) {
        cpu = SEVERAL_CPUS;
    }
    if (cpu != before) {
        strait_store_relaxed(&own->cpu, cpu);
    }
}

/* Both ends on one CPU: whoever spins keeps the other from running. */
static bool one_cpu(const struct strait_p_waiter *waiter)
{
    uint32_t own = strait_load_relaxed(&waiter->own->cpu);
    return own != 0 && own != SEVERAL_CPUS && waiter->peer &&
           own == strait_load_relaxed(&waiter->peer->cpu);
}

/* ---- berths ---- */

static __thread struct strait_p_berth *own_berth;

STRAIT_PRIVATE void strait_p_berth_init(struct strait_p_berth *berth, const uint32_t *cancel)
{
    memset(berth, 0, sizeof(*berth));
    pthread_mutex_init(&berth->lock, NULL);
    berth->cancel = cancel;
}

/* Before a sleep on the event count; NULL: after it. */
static void berth_note(struct strait_p_event_count *event)
{
    if (own_berth) {
        pthread_mutex_lock(&own_berth->lock);
        own_berth->event = event;
        pthread_mutex_unlock(&own_berth->lock);
    }
}

STRAIT_PRIVATE struct strait_p_berth *strait_p_berth_enter(struct strait_p_berth *berth)
{
    struct strait_p_berth *before = own_berth;
    berth_note(NULL);
    own_berth = berth;
    return before;
}

STRAIT_PRIVATE void strait_p_berth_wake(struct strait_p_berth *berth)
{
    pthread_mutex_lock(&berth->lock);
    if (berth->event) {
        strait_p_wake(berth->event);
    }
    pthread_mutex_unlock(&berth->lock);
}

/* ---- idle time ---- */

static __thread struct strait_idle *own_idle;

void strait_idle_keep(struct strait_idle *idle)
{
    own_idle = idle;
}

void strait_idle_note(int64_t now)
{
    struct strait_idle *idle = own_idle;
    if (!idle) {
        return;
    }
    idle->seen = now;
    if (!(idle->word & 1)) {
        uint64_t since = (uint64_t)now - (idle->word >> 1);
        strait_wide_store_relaxed(&idle->word, since << 1 | 1);
    }
}

/* The calling thread is idle no more, and has been until `now`. */
static void idle_end(int64_t now)
{
    struct strait_idle *idle = own_idle;
    if (idle && idle->word & 1) {
        uint64_t total = (uint64_t)now - (idle->word >> 1);
        strait_wide_store_relaxed(&idle->word, total << 1);
    }
}

void strait_idle_over(void)
{
    if (own_idle) {
        idle_end(own_idle->seen);
    }
}

/* The word must not change while the clock is read, or time that the reader lost in between would
 * be counted as the thread's. */
int64_t strait_idle_read(const struct strait_idle *idle, int64_t *now)
{
    uint64_t word = strait_wide_load_relaxed(&idle->word);
    uint64_t before;
    do {
        before = word;
        *now = strait_now();
        word = strait_wide_load_relaxed(&idle->word);
    } while (word != before);
    return word & 1 ? *now - (int64_t)(word >> 1) : (int64_t)(word >> 1);
}

/* ---- waiting ---- */

static bool is_set(const uint32_t *flag)
{
    /* wait.cancelled: pairs with worker.stop; all that the thread that cancels did before; without
     * it the waiter ends its wait and does not see why */
    return flag && strait_load_acquire(flag);
}

/* 0: ready; -ECANCELED; -ETIMEDOUT; -EAGAIN: wait on. Reads the clock only if it matters. */
static int outcome(const struct strait_p_waiter *waiter, int64_t deadline)
{
    if (waiter->ready(waiter->side)) {
        return 0;
    }
    if (is_set(waiter->cancel) || (own_berth && is_set(own_berth->cancel))) {
        return -ECANCELED;
    }
    return deadline != STRAIT_FOREVER && strait_now() >= deadline ? -ETIMEDOUT : -EAGAIN;
}

static bool look_often(const struct strait_p_waiter *waiter)
{
    for (int looks = 0; looks < LOOKS_PER_CLOCK; looks++) {
        if (waiter->ready(waiter->side)) {
            return true;
        }
        strait_pause();
    }
    return false;
}

/* Is it later than `until`? Without end, the clock is read for the account alone, and seldom. */
static bool spun_until(int64_t until, int clocks)
{
    if (until == STRAIT_FOREVER && (!own_idle || clocks % CLOCKS_PER_NOTE)) {
        return false;
    }
    int64_t now = strait_now();
    strait_idle_note(now);
    return now >= until;
}

/* -EAGAIN: in vain, and the thread is still idle. */
static int spin(const struct strait_p_waiter *waiter, int64_t deadline, int64_t until)
{
    if (look_often(waiter)) {
        return 0;
    }
    for (int clocks = 1;; clocks++) {
        int result = outcome(waiter, deadline);
        if (result == -EAGAIN && spun_until(until, clocks)) {
            return result;
        }
        if (result != -EAGAIN || look_often(waiter)) {
            strait_idle_over();
            return result == -EAGAIN ? 0 : result;
        }
        if (clocks % CLOCKS_PER_YIELD == 0 || one_cpu(waiter)) {
            strait_p_event_place(waiter->own, waiter->sole);
            sched_yield();
        }
    }
}

/* Once. In fd mode the fd stays readable after a wake-up, as a loop expects it. */
static int sleep_once(const struct strait_p_waiter *waiter, int64_t deadline)
{
    berth_note(waiter->own);
    uint32_t announced = strait_p_prepare(waiter->own, waiter->fenced);
    int result = outcome(waiter, deadline);
    if (result == -EAGAIN) {
        strait_p_commit(waiter->own, announced, deadline);
        result = 0;
    } else if (result == 0 && waiter->own->fd >= 0) {
        strait_p_fd_raise(waiter->own->fd);
    }
    if (waiter->own->fd < 0 && strait_load_relaxed(&waiter->own->word) & STRAIT_P_WAITING) {
        strait_p_cancel(waiter->own, waiter->sole);
    }
    berth_note(NULL);
    return result;
}

STRAIT_PRIVATE int strait_p_park(const struct strait_p_waiter *waiter, int64_t deadline)
{
    int result = outcome(waiter, deadline);
    if (result != -EAGAIN) {
        return result;
    }
    if (waiter->mode == STRAIT_WAIT_SPIN) {
        return spin(waiter, deadline, STRAIT_FOREVER);
    }
    uint32_t spin_ns = strait_load_relaxed(waiter->spin_ns);
    int64_t start = strait_now();
    if (spin_ns > 0 && !one_cpu(waiter)) {
        result = spin(waiter, deadline, start + spin_ns);
        if (result != -EAGAIN) {
            return result;
        }
    }
    strait_idle_note(start);
    strait_p_event_place(waiter->own, waiter->sole);
    result = sleep_once(waiter, deadline);
    int64_t end = strait_now();
    idle_end(end);
    /* A wait that a spin would have covered: spin the next time. A longer one: spin for less and
     * less, soon not at all. */
    if (end - start <= WAIT_LONG_NS) {
        uint32_t less = spin_ns / 4 < SPIN_MIN_NS ? 0 : spin_ns / 4;
        uint32_t first = end - start < WAIT_SHORT_NS ? STRAIT_P_SPIN_NS : 0;
        strait_store_relaxed(waiter->spin_ns, spin_ns > 0 ? less : first);
    }
    return result;
}

STRAIT_PRIVATE int strait_p_arm(const struct strait_p_waiter *waiter)
{
    strait_p_prepare(waiter->own, waiter->fenced);
    if (!waiter->ready(waiter->side)) {
        return 1;
    }
    strait_p_cancel(waiter->own, waiter->sole);
    strait_p_fd_raise(waiter->own->fd);
    return 0;
}
