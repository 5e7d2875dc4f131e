/* SPDX-License-Identifier: MIT */
/* event count: see event_count.h for the argument. */
#include "event_count.h"

#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000

/* Far longer than any CPU keeps a store to itself. */
#define STORES_SEEN_NS 1000000

/* ---- the clock ---- */

int64_t strait_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t strait_deadline(int64_t ns)
{
    int64_t now = strait_now();
    return ns > STRAIT_FOREVER - now ? STRAIT_FOREVER : now + ns;
}

/* What is before the start of the clock is past, like its start. */
static struct timespec to_timespec(int64_t ns)
{
    struct timespec t;
    ns = ns > 0 ? ns : 0;
    t.tv_sec = (time_t)(ns / NS_PER_S);
    t.tv_nsec = (long)(ns % NS_PER_S);
    return t;
}

/* ---- the heavy barrier ---- */

static bool membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) == 0;
}

static pthread_once_t membarrier_once = PTHREAD_ONCE_INIT;
static bool membarrier_registered;

static void membarrier_register(void)
{
    int saved = errno;
    membarrier_registered = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    errno = saved;
}

STRAIT_PRIVATE bool strait_p_heavy_barrier_available(void)
{
    pthread_once(&membarrier_once, membarrier_register);
    return membarrier_registered;
}

/* Until what the wakers published before they looked for sleepers can be seen. */
static void outlast_stores(void)
{
    struct timespec rest = to_timespec(STORES_SEEN_NS);
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
}

STRAIT_PRIVATE void strait_p_heavy_barrier(bool fenced)
{
    if (fenced) {
        /* event.prepare: pairs with event.fence, event.notify, pool.fence, pool.announce,
         * worker.fence, worker.visit, worker.count; WAITING, or else what was published; without it
         * both sides miss each other */
        strait_full_fence();
        return;
    }
    int saved = errno;
    /* event.prepare: the same through membarrier(2). Wakers rely on it, though the kernel may be
     * out of memory for the fast one, or both be forbidden by now. */
    if (!membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) && !membarrier(MEMBARRIER_CMD_GLOBAL)) {
        outlast_stores();
    }
    errno = saved;
}

/* ---- futexes and eventfds ---- */

STRAIT_PRIVATE int strait_p_futex_wait(uint32_t *word, uint32_t value, int64_t deadline,
                                       bool shared)
{
    int saved = errno;
    struct timespec until = to_timespec(deadline);
    int operation = shared ? FUTEX_WAIT_BITSET : FUTEX_WAIT_BITSET_PRIVATE;
    long result = syscall(SYS_futex, word, operation, value,
                          deadline == STRAIT_FOREVER ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    bool timed_out = result != 0 && errno == ETIMEDOUT;
    errno = saved;
    return timed_out ? -ETIMEDOUT : 0;
}

STRAIT_PRIVATE void strait_p_futex_wake(uint32_t *word, int sleepers, bool shared)
{
    int saved = errno;
    syscall(SYS_futex, word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, sleepers, NULL, NULL, 0);
    errno = saved;
}

STRAIT_PRIVATE int strait_p_fd_open(int *fd)
{
    int saved = errno;
    int opened = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int error = opened < 0 ? -errno : 0;
    errno = saved;
    if (!error) {
        *fd = opened;
    }
    return error;
}

STRAIT_PRIVATE void strait_p_fd_close(int fd)
{
    if (fd >= 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
}

STRAIT_PRIVATE void strait_p_fd_raise(int fd)
{
    int saved = errno;
    uint64_t one = 1;
    /* Fails only where the counter is about to overflow, and then the fd is readable already. */
    ssize_t ignored = write(fd, &one, sizeof(one));
    (void)ignored;
    errno = saved;
}

STRAIT_PRIVATE void strait_p_fd_clear(int fd)
{
    int saved = errno;
    uint64_t count;
    ssize_t ignored = read(fd, &count, sizeof(count)); /* -EAGAIN: was not readable */
    (void)ignored;
    errno = saved;
}

static void fd_wait(int fd, int64_t deadline)
{
    int saved = errno;
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    struct timespec timeout = to_timespec(deadline > 0 ? deadline - strait_now() : 0);
    ppoll(&poll_fd, 1, deadline == STRAIT_FOREVER ? NULL : &timeout, NULL);
    errno = saved;
}

/* ---- the event count ---- */

STRAIT_PRIVATE void strait_p_event_count_init(struct strait_p_event_count *event, int fd,
                                              bool shared)
{
    memset(event, 0, sizeof(*event));
    event->fd = fd;
    event->shared = shared;
}

/* Clears and sets bits in one step, and counts a wake-up with `add`. Returns the word before. */
static uint32_t update(struct strait_p_event_count *event, uint32_t clear, uint32_t set,
                       uint32_t add)
{
    uint32_t word = strait_load_relaxed(&event->word);
    /* event.update: pairs with event.update, event.closed; all that the updater did before; without
     * it a side that sees CLOSED may miss what was sent before the close */
    while (!strait_cas_acq_rel(&event->word, &word, ((word & ~clear) | set) + add)) {
    }
    return word;
}

STRAIT_PRIVATE uint32_t strait_p_prepare(struct strait_p_event_count *own, bool fenced)
{
    if (own->fd >= 0) {
        strait_p_fd_clear(own->fd); /* before the look: what comes later leaves it readable */
    }
    uint32_t announced = update(own, 0, STRAIT_P_WAITING, 0) | STRAIT_P_WAITING;
    strait_p_heavy_barrier(fenced);
    return announced;
}

STRAIT_PRIVATE void strait_p_commit(struct strait_p_event_count *own, uint32_t announced,
                                    int64_t deadline)
{
    if (own->fd >= 0) {
        fd_wait(own->fd, deadline);
    } else {
        strait_p_futex_wait(&own->word, announced, deadline, own->shared);
    }
}

STRAIT_PRIVATE void strait_p_cancel(struct strait_p_event_count *own, bool sole)
{
    if (sole) {
        update(own, STRAIT_P_WAITING, 0, 0);
    }
}

static void ring_bell(struct strait_p_event_count *to)
{
    if (to->fd >= 0) {
        strait_p_fd_raise(to->fd);
    } else {
        strait_p_futex_wake(&to->word, INT_MAX, to->shared);
    }
}

STRAIT_PRIVATE void strait_p_wake(struct strait_p_event_count *to)
{
    update(to, STRAIT_P_WAITING, 0, STRAIT_P_WAKEUP);
    ring_bell(to);
}

/* Of several wakers the one that takes WAITING away wakes the owner: that is enough. */
void strait_p_wake_sleeper(struct strait_p_event_count *to)
{
    if (update(to, STRAIT_P_WAITING, 0, STRAIT_P_WAKEUP) & STRAIT_P_WAITING) {
        ring_bell(to);
    }
}

STRAIT_PRIVATE void strait_p_event_close(struct strait_p_event_count *own,
                                         struct strait_p_event_count *other)
{
    update(own, 0, STRAIT_P_CLOSED, 0);
    strait_p_wake_sleeper(other);
}

STRAIT_PRIVATE bool strait_p_event_closed(const struct strait_p_event_count *event)
{
    /* event.closed: pairs with event.update; every message of the side that closed; without it the
     * last message is missed between "closed" and "empty" */
    return (strait_load_acquire(&event->word) & STRAIT_P_CLOSED) != 0;
}
