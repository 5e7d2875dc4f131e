/* SPDX-License-Identifier: MIT */
/* wait: see wait.h for the argument why no wake-up is lost. */
#include "wait.h"

#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000

/* A call of the system's: its result, or -errno, and errno is as it was. */
#define KEEPING_ERRNO(CALL)                                                                        \
    __extension__({                                                                                \
        int saved = errno;                                                                         \
        long result = (CALL);                                                                      \
        result = result < 0 ? -errno : result;                                                     \
        errno = saved;                                                                             \
        result;                                                                                    \
    })

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

#ifdef STRAIT_CHECKED
#define SPAN_LEAST_NS 1000 /* 1, say, is past on purpose */
#define SPAN_MOST_NS ((int64_t)3600 * NS_PER_S)
#define HANDED_ON_NS ((int64_t)60 * NS_PER_S)

static int64_t program_began; /* when the program did */

static __attribute__((constructor)) void note_beginning(void)
{
    program_began = strait_now();
}
#endif

STRAIT_PRIVATE void strait_p_check_deadline(int64_t deadline)
{
#ifdef STRAIT_CHECKED
    if (deadline >= SPAN_LEAST_NS && deadline < SPAN_MOST_NS &&
        deadline < program_began - HANDED_ON_NS) {
        fprintf(stderr,
                "strait: a deadline is a point in time, as strait_deadline makes it of a span: "
                "thread %d gave %lld ns\n",
                (int)syscall(SYS_gettid), (long long)deadline);
        abort();
    }
#endif
    (void)deadline;
}

STRAIT_PRIVATE struct timespec strait_p_timespec(int64_t ns)
{
    const int64_t end =
        sizeof(time_t) > sizeof(int32_t) ? INT64_MAX : (int64_t)INT32_MAX * NS_PER_S;
    struct timespec t;
    ns = ns > 0 ? ns : 0;
    ns = ns < end ? ns : end;
    t.tv_sec = (time_t)(ns / NS_PER_S);
    t.tv_nsec = (long)(ns % NS_PER_S);
    return t;
}

static void rest_a_millisecond(void)
{
    struct timespec rest = {.tv_nsec = 1000000};
    while (KEEPING_ERRNO(nanosleep(&rest, &rest)) == -EINTR) {
    }
}

/* A thread that has just been joined may be there for a little while yet: the kernel lets the
 * joiner go before it has taken the thread away. So several looks, over a tenth of a second. */
STRAIT_PRIVATE STRAIT_P_COLD bool strait_p_thread_gone(int32_t number)
{
    for (int looks = 0; looks < 100; looks++) {
        if (-KEEPING_ERRNO(syscall(SYS_tgkill, getpid(), number, 0)) == ESRCH) {
            return true;
        }
        rest_a_millisecond();
    }
    return false;
}

/* ---- the heavy barrier ---- */

static bool membarrier(int command)
{
    return KEEPING_ERRNO(syscall(SYS_membarrier, command, 0, 0)) == 0;
}

STRAIT_PRIVATE bool strait_p_heavy_barrier_available(void)
{
    static uint32_t answer; /* 0: not asked, 1: no, 2: yes; who asks writes */
    if (!strait_load_relaxed(&answer)) {
        strait_store_relaxed(&answer,
                             membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) ? 2 : 1);
    }
    return strait_load_relaxed(&answer) == 2;
}

STRAIT_PRIVATE STRAIT_P_ONE_COPY void strait_p_heavy_barrier(bool fenced)
{
    if (fenced) {
        /* event.prepare: pairs with event.fence, event.notify, pool.fence, pool.announce,
         * completion.reported; WAITING, or else what was published; without it both sides miss each
         * other */
        strait_full_fence();
        return;
    }
    /* event.prepare: the same through membarrier(2). Wakers rely on it, though the kernel may be
     * out of memory for the fast one, or both be forbidden by now. Then a rest outlasts by far what
     * any CPU keeps to itself: what the wakers published before they looked for sleepers. */
    if (!membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) && !membarrier(MEMBARRIER_CMD_GLOBAL)) {
        rest_a_millisecond();
    }
}

/* ---- futexes and eventfds ---- */

/* The call whose struct timespec is the C library's. */
#if defined(SYS_futex_time64)
#define FUTEX (sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex)
#else
#define FUTEX SYS_futex
#endif

STRAIT_PRIVATE void strait_p_futex_wait(uint32_t *word, uint32_t value, int64_t deadline,
                                        bool shared)
{
    struct timespec until = strait_p_timespec(deadline);
    KEEPING_ERRNO(syscall(FUTEX, word, shared ? FUTEX_WAIT_BITSET : FUTEX_WAIT_BITSET_PRIVATE,
                          value, deadline == STRAIT_FOREVER ? NULL : &until, NULL,
                          FUTEX_BITSET_MATCH_ANY));
}

STRAIT_PRIVATE void strait_p_futex_wake(uint32_t *word, int sleepers, bool shared)
{
    KEEPING_ERRNO(syscall(SYS_futex, word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, sleepers, NULL,
                          NULL, 0));
}

STRAIT_PRIVATE int strait_p_fd_open(int *fd)
{
    int opened = (int)KEEPING_ERRNO(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    *fd = opened < 0 ? *fd : opened;
    return opened < 0 ? opened : 0;
}

STRAIT_PRIVATE void strait_p_fd_close(int fd)
{
    if (fd >= 0) {
        KEEPING_ERRNO(close(fd));
    }
}

STRAIT_PRIVATE void strait_p_fd_raise(int fd)
{
    uint64_t one = 1;
    /* Fails only where the counter is about to overflow, and then the fd is readable already. A
     * thread that is cancelled still wakes whom it has something for: write() might not. */
    KEEPING_ERRNO(syscall(SYS_write, fd, &one, sizeof(one)));
}

STRAIT_PRIVATE void strait_p_fd_clear(int fd)
{
    uint64_t count;
    KEEPING_ERRNO(read(fd, &count, sizeof(count))); /* -EAGAIN: was not readable */
}

static void fd_wait(int fd, int64_t deadline)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    struct timespec timeout = strait_p_timespec(deadline > 0 ? deadline - strait_now() : 0);
    KEEPING_ERRNO(ppoll(&poll_fd, 1, deadline == STRAIT_FOREVER ? NULL : &timeout, NULL));
}

/* ---- the event count ---- */

STRAIT_PRIVATE void strait_p_event_count_init(struct strait_p_event_count *event, int fd)
{
    *event = (struct strait_p_event_count){.fd = fd};
}

/* Clears and sets bits in one step, and counts a wake-up with `add`. Returns the word before. */
static uint32_t update(struct strait_p_event_count *event, uint32_t clear, uint32_t set,
                       uint32_t add)
{
    uint32_t word = strait_load_relaxed(&event->word);
    /* event.update: pairs with event.update, event.closed; all that the updater did before; without
     * it a side that sees CLOSED may miss what was sent before the close, and who tells an owner
     * what it did before it armed */
    while (!strait_cas_acq_rel(&event->word, &word, ((word & ~clear) | set) + add)) {
    }
    return word;
}

STRAIT_PRIVATE int strait_p_event_fd(const struct strait_p_event_count *event, uint32_t between)
{
    return between == STRAIT_P_PROCESSES ? -1 : event->fd;
}

STRAIT_PRIVATE uint32_t strait_p_announce(struct strait_p_event_count *own, uint32_t between)
{
    int fd = strait_p_event_fd(own, between);
    if (fd >= 0) {
        strait_p_fd_clear(fd); /* before the look: what comes later leaves it readable */
    }
    bool told = between != STRAIT_P_PROCESSES && own->told;
    uint32_t set = STRAIT_P_WAITING | (told ? STRAIT_P_TOLD : 0);
    return update(own, 0, set, 0) | set;
}

/* Returns what commit takes. */
static uint32_t event_prepare(struct strait_p_event_count *own, uint32_t between)
{
    uint32_t announced = strait_p_announce(own, between);
    strait_p_heavy_barrier(between != STRAIT_P_BARRIER);
    return announced;
}

static void event_commit(struct strait_p_event_count *own, uint32_t announced, int64_t deadline,
                         uint32_t between)
{
    int fd = strait_p_event_fd(own, between);
    if (fd >= 0) {
        fd_wait(fd, deadline);
    } else {
        strait_p_futex_wait(&own->word, announced, deadline, between == STRAIT_P_PROCESSES);
    }
}

STRAIT_PRIVATE bool strait_p_cancel(struct strait_p_event_count *own, bool sole)
{
    return sole && (update(own, STRAIT_P_WAITING | STRAIT_P_TOLD, 0, 0) & STRAIT_P_WAITING);
}

/* `before`: the word out of which the caller has taken WAITING and TOLD. Without the latter the
 * owner slept, and by now may be changing `told`. */
static STRAIT_P_ONE_COPY void ring_bell(struct strait_p_event_count *to, uint32_t before,
                                        uint32_t between)
{
    if ((before & STRAIT_P_TOLD) && between != STRAIT_P_PROCESSES) {
        to->told(to->context);
    } else if (between != STRAIT_P_PROCESSES && to->fd >= 0) {
        strait_p_fd_raise(to->fd);
    } else {
        strait_p_futex_wake(&to->word, INT_MAX, between == STRAIT_P_PROCESSES);
    }
}

STRAIT_PRIVATE void strait_p_wake(struct strait_p_event_count *to, uint32_t between)
{
    uint32_t before = update(to, STRAIT_P_WAITING | STRAIT_P_TOLD, 0, STRAIT_P_WAKEUP);
    ring_bell(to, before, between);
}

void strait_p_notify_sleeper(struct strait_p_event_count *to, uint32_t between)
{
    uint32_t before = update(to, STRAIT_P_WAITING | STRAIT_P_TOLD, 0, STRAIT_P_WAKEUP);
    if (before & STRAIT_P_WAITING) {
        ring_bell(to, before, between);
    }
}

STRAIT_PRIVATE void strait_p_event_close(struct strait_p_event_count *own,
                                         struct strait_p_event_count *other, uint32_t between)
{
    update(own, 0, STRAIT_P_CLOSED, 0);
    strait_p_notify_sleeper(other, between);
}

STRAIT_PRIVATE bool strait_p_event_closed(const struct strait_p_event_count *event)
{
    /* event.closed: pairs with event.update; every message of the side that closed; without it the
     * last message is missed between "closed" and "empty" */
    return (strait_load_acquire(&event->word) & STRAIT_P_CLOSED) != 0;
}

/* ---- where threads run ---- */

#define SEVERAL_CPUS UINT32_MAX

/* 1 + the only CPU that the calling thread may run on, or SEVERAL_CPUS. */
static uint32_t own_cpu(void)
{
    cpu_set_t set;
    bool one = KEEPING_ERRNO(sched_getaffinity(0, sizeof(set), &set)) == 0 && CPU_COUNT(&set) == 1;
    return one ? 1 + (uint32_t)sched_getcpu() : SEVERAL_CPUS;
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

/* Both ends on one CPU, or there just now: whoever spins keeps the other from running. */
static bool one_cpu(const struct strait_p_waiter *waiter)
{
    uint32_t own = strait_load_relaxed(&waiter->own->cpu);
    uint32_t here = own == 0 || own == SEVERAL_CPUS ? 1 + (uint32_t)sched_getcpu() : own;
    return waiter->peer && strait_load_relaxed(&waiter->peer->cpu) == here;
}

/* ---- berths ---- */

static __thread struct strait_p_berth *own_berth;

/* Before a sleep on the event count; NULL: after it. */
static void berth_note(struct strait_p_event_count *event, uint32_t between)
{
    if (own_berth) {
        pthread_mutex_lock(&own_berth->lock);
        own_berth->event = event;
        own_berth->between = between;
        pthread_mutex_unlock(&own_berth->lock);
    }
}

STRAIT_PRIVATE struct strait_p_berth *strait_p_berth_enter(struct strait_p_berth *berth)
{
    struct strait_p_berth *before = own_berth;
    berth_note(NULL, 0);
    own_berth = berth;
    return before;
}

/* No signal comes while it holds the lock: the handler might want to have it, too. */
STRAIT_PRIVATE void strait_p_berth_wake(struct strait_p_berth *berth)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&berth->lock);
    if (berth->event) {
        strait_p_wake(berth->event, berth->between);
    }
    pthread_mutex_unlock(&berth->lock);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- idle time ---- */

static __thread uint64_t *own_idle;

void strait_idle_watch(uint64_t *stopwatch)
{
    own_idle = stopwatch;
}

/* ---- waiting ---- */

#define SPIN_MIN_NS 300u     /* a shorter spin is not worth the clock it reads */
#define WAIT_SHORT_NS 90000  /* a shorter wait would nearly have been over in a spin */
#define WAIT_LONG_NS 1000000 /* a longer one says nothing of the next; to spin cost it nothing */
#define LOOKS_PER_ROUND 8    /* of a spin, at the other side */
#define ROUNDS_PER_NOTE 8    /* of a spin without end, for each reading of the clock */
#define ROUNDS_PER_YIELD 64  /* of a spin, until others get the CPU for once */

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
    for (int looks = 0; looks < LOOKS_PER_ROUND; looks++) {
        if (waiter->ready(waiter->side)) {
            return true;
        }
        strait_pause();
    }
    return false;
}

/* 0; -ECANCELED; -ETIMEDOUT; -EAGAIN: it is past `until`, and the thread is still idle. */
static int spin(const struct strait_p_waiter *waiter, int64_t deadline, int64_t until)
{
    int64_t read = 0; /* the clock, the last time */
    int result;
    for (unsigned round = 1;; round++) {
        result = look_often(waiter) ? 0 : outcome(waiter, deadline);
        if (result != -EAGAIN) {
            break;
        }
        if (until != STRAIT_FOREVER || round % ROUNDS_PER_NOTE == 0) {
            read = strait_now();
            if (own_idle) {
                strait_stopwatch_set(own_idle, read, true);
            }
            if (read >= until) {
                return -EAGAIN;
            }
        }
        if (round % ROUNDS_PER_YIELD == 0 || one_cpu(waiter)) {
            strait_p_event_place(waiter->own, waiter->sole);
            sched_yield();
        }
    }
    if (read && own_idle) {
        strait_stopwatch_set(own_idle, read, false);
    }
    return result;
}

/* Once. In fd mode the fd stays readable after a wake-up, as a loop expects it. */
static int sleep_once(const struct strait_p_waiter *waiter, int64_t deadline)
{
    int fd = strait_p_event_fd(waiter->own, waiter->between);
    berth_note(waiter->own, waiter->between);
    uint32_t announced = event_prepare(waiter->own, waiter->between);
    int result = outcome(waiter, deadline);
    if (result == -EAGAIN) {
        event_commit(waiter->own, announced, deadline, waiter->between);
        result = 0;
    } else if (result == 0 && fd >= 0) {
        strait_p_fd_raise(fd);
    }
    if (fd < 0 && strait_load_relaxed(&waiter->own->word) & STRAIT_P_WAITING) {
        strait_p_cancel(waiter->own, waiter->sole);
    }
    berth_note(NULL, 0);
    return result;
}

STRAIT_PRIVATE int strait_p_park(const struct strait_p_waiter *waiter, int64_t deadline)
{
    strait_p_check_deadline(deadline);
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
    if (own_idle) {
        strait_stopwatch_set(own_idle, start, true);
    }
    strait_p_event_place(waiter->own, waiter->sole);
    result = sleep_once(waiter, deadline);
    int64_t end = strait_now();
    if (own_idle) {
        strait_stopwatch_set(own_idle, end, false);
    }
    /* Who has spun in vain spins a quarter as long the next time, soon not at all. Who did not
     * spin, and slept for less than a spin takes, spins the next time. */
    if (end - start <= WAIT_LONG_NS) {
        uint32_t less = spin_ns / 4 < SPIN_MIN_NS ? 0 : spin_ns / 4;
        uint32_t first = end - start < WAIT_SHORT_NS ? STRAIT_P_SPIN_NS : 0;
        strait_store_relaxed(waiter->spin_ns, spin_ns > 0 ? less : first);
    }
    return result;
}

STRAIT_PRIVATE int strait_p_arm(const struct strait_p_waiter *waiter)
{
    event_prepare(waiter->own, waiter->between);
    if (!waiter->ready(waiter->side)) {
        return 1;
    }
    strait_p_cancel(waiter->own, waiter->sole);
    strait_p_fd_raise(waiter->own->fd);
    return 0;
}
