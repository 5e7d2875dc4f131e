/* SPDX-License-Identifier: MIT */
/* See wait.h for the protocol. */
#include "wait.h"

#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000

/* Below this a spin is not worth the clock it reads. */
#define SPIN_MIN_NS 300u
/* A wait shorter than this, though slept through, would nearly have been over in a spin. */
#define WAIT_SHORT_NS 90000
/* A wait longer than this says nothing about the next one; to have spun in it cost next to nothing.
 */
#define WAIT_LONG_NS 1000000
/* Looks at the other side between two looks at the clock. */
#define LOOKS_PER_CLOCK 8
/* The same for a thread that spins without end and reads the clock for its account alone. */
#define LOOKS_PER_NOTE (8 * LOOKS_PER_CLOCK)
/* Clock readings after which a spinning thread lets others have the CPU for once. */
#define CLOCKS_PER_YIELD 64
/* Far longer than any CPU keeps a store to itself. */
#define STORES_SEEN_NS 1000000

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

/* ---- primitives; none of them touches errno ---- */

/* What is before the start of the clock is past, like its start. */
static struct timespec to_timespec(int64_t ns)
{
    struct timespec t;
    ns = ns > 0 ? ns : 0;
    t.tv_sec = (time_t)(ns / NS_PER_S);
    t.tv_nsec = (long)(ns % NS_PER_S);
    return t;
}

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

bool strait_heavy_barrier_available(void)
{
    pthread_once(&membarrier_once, membarrier_register);
    return membarrier_registered;
}

/* Until what the wakers have published, before they looked for sleepers, can be seen. */
static void outlast_stores(void)
{
    struct timespec rest = to_timespec(STORES_SEEN_NS);
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
}

void strait_heavy_barrier(bool fenced)
{
    if (fenced) {
        /* wait.sleep: pairs with wait.fence, wait.notify, pool.fence, pool.notify, pool.busy,
         * crew.leave; WAITING, or else what was published */
        strait_full_fence();
        return;
    }
    int saved = errno;
    /* wait.sleep: the same through membarrier(2): see the head of wait.h. The wakers rely on it,
     * though the kernel may be out of memory for the fast one, or both be forbidden by now. */
    if (!membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) && !membarrier(MEMBARRIER_CMD_GLOBAL)) {
        outlast_stores();
    }
    errno = saved;
}

int strait_futex_wait(uint32_t *word, uint32_t value, int64_t deadline, bool shared)
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

void strait_futex_wake(uint32_t *word, int sleepers, bool shared)
{
    int saved = errno;
    syscall(SYS_futex, word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, sleepers, NULL, NULL, 0);
    errno = saved;
}

int strait_fd_open(int *fd)
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

void strait_fd_close(int fd)
{
    if (fd >= 0) {
        int saved = errno;
        close(fd);
        errno = saved;
    }
}

static void fd_signal(int fd)
{
    int saved = errno;
    uint64_t one = 1;
    /* Fails only where the counter is about to overflow, and then the fd is readable already. */
    ssize_t ignored = write(fd, &one, sizeof(one));
    (void)ignored;
    errno = saved;
}

void strait_fd_clear(int fd)
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

uint32_t strait_only_cpu(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int saved = errno;
    int failed = sched_getaffinity(0, sizeof(set), &set);
    errno = saved;
    if (failed || CPU_COUNT(&set) != 1) {
        return STRAIT_SEVERAL_CPUS;
    }
    uint32_t cpu = 0;
    while (!CPU_ISSET(cpu, &set)) {
        cpu++;
    }
    return cpu + 1;
}

/* ---- signals ---- */

/* Where several threads share the side, they have one CPU only while all of them say the same. */
void strait_signal_place(struct strait_signal *own, bool sole)
{
    uint32_t cpu = strait_only_cpu();
    /* a hint, written by the threads of the side that owns the signal */
    uint32_t before = strait_load_relaxed(&own->cpu);
    if (!sole && before != 0 && before != cpu) {
        cpu = STRAIT_SEVERAL_CPUS;
    }
    if (cpu != before) {
        /* a hint, written by the threads of the side that owns the signal */
        strait_store_relaxed(&own->cpu, cpu);
    }
}

/* Clears and sets bits in one step, counts a wake-up with `add`; returns the word as it was. */
static uint32_t signal_update(struct strait_signal *signal, uint32_t clear, uint32_t set,
                              uint32_t add)
{
    /* both sides write it, and only by compare-and-swap */
    uint32_t word = strait_load_relaxed(&signal->word);
    /* signal.update: pairs with signal.update, signal.closed; all that the updater did before */
    while (!strait_cas_acq_rel(&signal->word, &word, ((word & ~clear) | set) + add)) {
    }
    return word;
}

void strait_signal_close(struct strait_signal *own)
{
    signal_update(own, 0, STRAIT_CLOSED, 0);
}

/* Announces a sleeper; returns the word to sleep on. */
static uint32_t signal_prepare(struct strait_signal *own)
{
    return signal_update(own, 0, STRAIT_WAITING, 0) | STRAIT_WAITING;
}

/* The sleeper changed its mind. Others who sleep on the same word still need the mark. */
static void signal_retract(const struct strait_waiter *waiter)
{
    if (waiter->sole) {
        signal_update(waiter->own, STRAIT_WAITING, 0, 0);
    }
}

static void signal_ring(struct strait_signal *signal, int fd, bool shared)
{
    if (fd >= 0) {
        fd_signal(fd);
    } else {
        strait_futex_wake(&signal->word, INT_MAX, shared);
    }
}

void strait_signal_rouse(struct strait_signal *signal, int fd, bool shared)
{
    uint32_t before = signal_update(signal, STRAIT_WAITING, 0, STRAIT_WAKEUP);
    if (before & STRAIT_WAITING) { /* else another waker was faster: one wake-up is enough */
        signal_ring(signal, fd, shared);
    }
}

void strait_signal_kick(struct strait_signal *signal, int fd, bool shared)
{
    signal_update(signal, STRAIT_WAITING, 0, STRAIT_WAKEUP);
    signal_ring(signal, fd, shared);
}

/* ---- berths ---- */

static __thread struct strait_berth *berth;

void strait_berth_init(struct strait_berth *new, const uint32_t *cancel)
{
    memset(new, 0, sizeof(*new));
    pthread_mutex_init(&new->lock, NULL);
    new->cancel = cancel;
}

struct strait_berth *strait_berth_enter(struct strait_berth *own)
{
    struct strait_berth *before = berth;
    berth = own;
    return before;
}

/* Before a sleep on the signal; NULL: after it. */
static void berth_note(struct strait_signal *signal, int fd, bool shared)
{
    if (berth) {
        pthread_mutex_lock(&berth->lock);
        berth->signal = signal;
        berth->fd = fd;
        berth->shared = shared;
        pthread_mutex_unlock(&berth->lock);
    }
}

void strait_berth_wake(struct strait_berth *of)
{
    pthread_mutex_lock(&of->lock);
    if (of->signal) {
        strait_signal_kick(of->signal, of->fd, of->shared);
    }
    pthread_mutex_unlock(&of->lock);
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
        /* the account's own thread writes it */
        strait_wide_store_relaxed(&idle->word, since << 1 | 1);
    }
}

void strait_idle_over(void)
{
    struct strait_idle *idle = own_idle;
    if (idle && idle->word & 1) {
        uint64_t total = (uint64_t)strait_idle_until(idle->word, idle->seen);
        /* the account's own thread writes it */
        strait_wide_store_relaxed(&idle->word, total << 1);
    }
}

/* ---- waiting ---- */

static bool is_set(const uint32_t *flag)
{
    /* wait.cancelled: pairs with worker.stop; all that the thread that cancels did before */
    return flag && strait_load_acquire(flag);
}

static bool cancelled(const struct strait_waiter *waiter)
{
    return is_set(waiter->cancel) || (berth && is_set(berth->cancel));
}

/* 0 ready, -ECANCELED, -ETIMEDOUT, -EAGAIN: wait on. Reads the clock only if it matters. */
static int outcome(const struct strait_waiter *waiter, int64_t deadline)
{
    if (waiter->ready(waiter->side)) {
        return 0;
    }
    if (cancelled(waiter)) {
        return -ECANCELED;
    }
    return deadline != STRAIT_FOREVER && strait_now() >= deadline ? -ETIMEDOUT : -EAGAIN;
}

/* Both ends on one CPU: whoever spins keeps the other from running. */
static bool one_cpu(const struct strait_waiter *waiter)
{
    /* hints, each written by the side that owns the signal */
    uint32_t own = strait_load_relaxed(&waiter->own->cpu);
    return own != 0 && own != STRAIT_SEVERAL_CPUS && waiter->peer &&
           own == strait_load_relaxed(&waiter->peer->cpu);
}

static bool look_often(const struct strait_waiter *waiter)
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
    if (until == STRAIT_FOREVER && (!own_idle || clocks % (LOOKS_PER_NOTE / LOOKS_PER_CLOCK))) {
        return false;
    }
    int64_t now = strait_now();
    strait_idle_note(now);
    return now >= until;
}

/* -EAGAIN: in vain, and the thread is still idle. */
static int spin(const struct strait_waiter *waiter, int64_t deadline, int64_t until)
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
            strait_signal_place(waiter->own, waiter->sole);
            sched_yield();
        }
    }
}

static int sleep_on_word(const struct strait_waiter *waiter, int64_t deadline)
{
    int result;
    do {
        uint32_t announced = signal_prepare(waiter->own);
        strait_heavy_barrier(waiter->fenced);
        result = outcome(waiter, deadline);
        if (result == -EAGAIN) {
            strait_futex_wait(&waiter->own->word, announced, deadline, waiter->shared);
            result = outcome(waiter, deadline); /* before another barrier is paid for */
        }
    } while (result == -EAGAIN);
    signal_retract(waiter);
    return result;
}

/* Leaves the side as a loop expects it: armed, or the fd readable. */
static int sleep_on_fd(const struct strait_waiter *waiter, int64_t deadline)
{
    int result = -EAGAIN;
    while (result == -EAGAIN && strait_arm(waiter)) {
        result = outcome(waiter, deadline);
        if (result == -EAGAIN) {
            fd_wait(waiter->fd, deadline);
            result = outcome(waiter, deadline); /* the fd stays readable until the next arm */
        }
    }
    return result == -EAGAIN ? 0 : result;
}

/* After a wait that ended in a sleep. Waits that spinning would have covered: spin. Longer ones:
 * spin for less and less, soon not at all. */
static uint32_t next_spin(uint32_t spin_ns, int64_t waited_ns)
{
    if (waited_ns > WAIT_LONG_NS) {
        return spin_ns;
    }
    if (spin_ns > 0) {
        return spin_ns / 4 < SPIN_MIN_NS ? 0 : spin_ns / 4;
    }
    return waited_ns < WAIT_SHORT_NS ? STRAIT_SPIN_NS : 0;
}

static int park(const struct strait_waiter *waiter, int64_t deadline)
{
    /* whoever waits there writes it; a hint where several threads do */
    uint32_t spin_ns = strait_load_relaxed(waiter->spin_ns);
    int64_t start = strait_now();
    if (spin_ns > 0 && !one_cpu(waiter)) {
        int result = spin(waiter, deadline, start + spin_ns);
        if (result != -EAGAIN) {
            return result;
        }
    }
    strait_idle_note(start);
    strait_signal_place(waiter->own, waiter->sole);
    berth_note(waiter->own, waiter->fd, waiter->shared);
    int result = waiter->mode == STRAIT_WAIT_FD ? sleep_on_fd(waiter, deadline)
                                                : sleep_on_word(waiter, deadline);
    berth_note(NULL, -1, false);
    int64_t end = strait_now();
    strait_idle_note(end);
    strait_idle_over();
    /* whoever waits there writes it; a hint where several threads do */
    strait_store_relaxed(waiter->spin_ns, next_spin(spin_ns, end - start));
    return result;
}

int strait_wait(const struct strait_waiter *waiter, int64_t deadline)
{
    int result = outcome(waiter, deadline);
    if (result != -EAGAIN) {
        return result;
    }
    return waiter->mode == STRAIT_WAIT_SPIN ? spin(waiter, deadline, STRAIT_FOREVER)
                                            : park(waiter, deadline);
}

/* The fd is cleared before the last look: a wake-up that comes later leaves it readable. */
int strait_arm(const struct strait_waiter *waiter)
{
    strait_fd_clear(waiter->fd);
    signal_prepare(waiter->own);
    strait_heavy_barrier(waiter->fenced);
    if (!waiter->ready(waiter->side)) {
        return 1;
    }
    signal_retract(waiter);
    fd_signal(waiter->fd);
    return 0;
}
