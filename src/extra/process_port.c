/* SPDX-License-Identifier: MIT */
/*
 * process_port: one end of what a parent and its worker share: how it sends, receives and sleeps.
 *
 * Why no wake-up is lost. Who goes to sleep sets `asleep`, passes a barrier, and looks once more;
 * who has published something looks at `asleep`. Either the first sees what was published, or the
 * second that it must wake: the argument is that of src/channel/wait.h, with the barrier that the
 * kernel gives for all registered processes. A process that could not register fences each send by
 * itself. Where no process can, as the parent says at the start, nobody calls membarrier(2).
 *
 * A wake-up is a store of 0 and a call to the kernel. It may come late, when its sleeper is awake
 * or has announced another sleep: that one ends early then, and its sleeper looks again.
 */
#include "process_port.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>

/* How long a wait spins if the one before it was over sooner than the second. */
#define SPIN_NS 50000
#define SHORT_NS 90000
/* Looks in a spin for each reading of the clock, and until others may have the CPU for once. */
#define LOOKS_PER_CLOCK 8
#define LOOKS_PER_YIELD 512

/* ---- the memory ---- */

/* The first lines of a ring, which lie in each process's own memory. */
#define OWN_LINES offsetof(struct strait_spsc, tail)

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

STRAIT_PRIVATE size_t strait_p_process_start_size(const struct strait_p_process_start *start)
{
    size_t filter = start->limits.filter_count * sizeof(uint64_t);
    return strait_round_up(sizeof(*start) + filter + start->data_size, page_size());
}

/* What both map of ring i. */
static size_t shared_size(const struct strait_p_process_start *start, int i)
{
    size_t sides = i == 0 ? 2 * sizeof(struct strait_p_process_side) : 0;
    size_t ring = strait_variant_at(0)->size(&start->shapes[i]);
    return strait_round_up(ring - OWN_LINES + sides, page_size());
}

STRAIT_PRIVATE size_t strait_p_process_memory_size(const struct strait_p_process_start *start)
{
    return strait_p_process_start_size(start) + shared_size(start, 0) + shared_size(start, 1);
}

/* One page of this process's own, whose end is the beginning of the ring; then what both map. */
static void *map_ring(char *at, int memory, size_t offset, size_t size)
{
    void *shared = mmap(at + page_size(), size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                        memory, (off_t)offset);
    return shared == MAP_FAILED ? NULL : (char *)shared - OWN_LINES;
}

static void init_ring(const struct strait_variant *ring, void *at, const struct strait_shape *shape,
                      bool parent)
{
    struct strait_spsc fresh;
    ring->init(&fresh, shape);
    memcpy(at, &fresh, parent ? sizeof(fresh) : OWN_LINES);
}

STRAIT_PRIVATE int strait_p_process_map(struct strait_process_port *port, int memory,
                                        const struct strait_p_process_start *start, bool parent)
{
    const struct strait_variant *ring = strait_variant_at(0); /* "spsc" */
    size_t first = page_size() + shared_size(start, 0);
    size_t offset = strait_p_process_start_size(start);
    port->map_size = first + page_size() + shared_size(start, 1);
    char *map =
        mmap(NULL, port->map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        return -errno;
    }
    port->map = map;
    char *down = map_ring(map, memory, offset, shared_size(start, 0));
    char *up = map_ring(map + first, memory, offset + shared_size(start, 0), shared_size(start, 1));
    if (!down || !up) {
        return -errno;
    }
    init_ring(ring, down, &start->shapes[0], parent);
    init_ring(ring, up, &start->shapes[1], parent);
    struct strait_p_process_side *sides =
        (struct strait_p_process_side *)(void *)(down + ring->size(&start->shapes[0]));
    port->ring = ring;
    port->out = parent ? down : up;
    port->in = parent ? up : down;
    port->out_size = start->shapes[parent ? 0 : 1].message_size;
    port->in_size = start->shapes[parent ? 1 : 0].message_size;
    port->own = &sides[parent ? 0 : 1];
    port->peer = &sides[parent ? 1 : 0];
    port->heavy = !start->fenced;
    port->fenced = start->fenced || !strait_p_process_registered();
    port->spins = true;
    port->online = true;
    return 0;
}

/* ---- waking ---- */

static bool membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) == 0;
}

STRAIT_PRIVATE bool strait_p_process_registered(void)
{
    static uint32_t answer; /* 0: not asked, 1: no, 2: yes; who asks writes */
    if (!strait_load_relaxed(&answer)) {
        strait_store_relaxed(&answer, membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) ? 2 : 1);
    }
    return strait_load_relaxed(&answer) == 2;
}

/* The call whose struct timespec is the C library's. */
#if defined(SYS_futex_time64)
#define FUTEX_CALL (sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex)
#else
#define FUTEX_CALL SYS_futex
#endif

static void futex(uint32_t *word, int operation, uint32_t value, const struct timespec *until)
{
    syscall(FUTEX_CALL, word, operation, value, until, NULL, FUTEX_BITSET_MATCH_ANY);
}

static void wake_peer(struct strait_process_port *port)
{
    int saved = errno;
    strait_store_relaxed(&port->peer->asleep, 0);
    if (port->epoll < 0) {
        uint64_t one = 1;
        ssize_t ignored = write(port->bell, &one, sizeof(one));
        (void)ignored;
    } else {
        futex(&port->peer->asleep, FUTEX_WAKE, 1, NULL);
    }
    errno = saved;
}

STRAIT_PRIVATE void strait_p_process_notify(struct strait_process_port *port)
{
    if (STRAIT_UNLIKELY(port->fenced)) {
        /* process.fence: pairs with process.prepare; what was published, or else `asleep`; without
         * it the load below overtakes the publishing store, and the other side sleeps on */
        strait_full_fence();
    }
    /* process.notify: pairs with process.prepare; what was published, or else `asleep`; without it
     * the compiler moves the load below up, and the other side sleeps on */
    strait_light_barrier();
    if (STRAIT_UNLIKELY(strait_load_relaxed(&port->peer->asleep))) {
        wake_peer(port);
    }
}

STRAIT_PRIVATE void strait_p_process_tell(struct strait_process_port *port, uint32_t *flag)
{
    /* process.tell: pairs with process.told; all that the teller did before; without it the last
     * message before "closed" is missed */
    strait_store_release(flag, 1);
    /* process.woken: pairs with process.prepare; the flag; without it the store of 0 to `asleep`
     * comes first, and is undone by a sleeper that does not see the flag */
    strait_full_fence();
    wake_peer(port);
}

STRAIT_PRIVATE bool strait_p_process_told(const uint32_t *flag)
{
    /* process.told: pairs with process.tell; all that the teller did before; without it the last
     * message before "closed" is missed */
    return strait_load_acquire(flag) != 0;
}

/* ---- sleeping ---- */

STRAIT_PRIVATE bool strait_p_process_poll(int fd, int64_t deadline)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    struct timespec timeout = strait_p_extra_timespec(deadline > 0 ? deadline - strait_now() : 0);
    return ppoll(&poll_fd, 1, deadline == STRAIT_FOREVER ? NULL : &timeout, NULL) > 0;
}

/* Announces a sleep. What the other side publishes from now on wakes this one. */
static void prepare(struct strait_process_port *port)
{
    strait_store_relaxed(&port->own->asleep, 1);
    /* process.prepare: pairs with process.fence, process.notify, process.woken; `asleep`, or else
     * what was published; without it both sides miss each other */
    strait_full_fence();
    /* The same for senders that pass no fence. Where the kernel, or a filter, suddenly refuses: far
     * longer than a CPU keeps a store to itself. */
    if (port->heavy && !membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) &&
        !membarrier(MEMBARRIER_CMD_GLOBAL)) {
        struct timespec left = {.tv_nsec = 1000000};
        while (nanosleep(&left, &left) != 0 && errno == EINTR) {
        }
    }
}

STRAIT_PRIVATE int strait_p_process_signal(const struct strait_process_port *port, int signal)
{
    int saved = errno;
    bool sent = syscall(SYS_pidfd_send_signal, port->pidfd, signal, NULL, 0) == 0;
    int error = sent ? 0 : -errno;
    errno = saved;
    return error;
}

/* Messages that have been seen and not yet taken. */
static uint32_t known(const struct strait_process_port *port)
{
    const struct strait_spsc *ring = port->in;
    return ring->receiver.end - ring->receiver.index;
}

STRAIT_PRIVATE void strait_p_process_mourn(struct strait_process_port *port)
{
    struct strait_span ignored;
    if (!port->gone) {
        port->ring->peek(port->in, SIZE_MAX, &ignored);
        port->gone = true;
    }
}

/* A head that cannot be is a hostile worker's: then it has taken all. */
STRAIT_PRIVATE uint32_t strait_p_process_untaken(const struct strait_process_port *port)
{
    const struct strait_spsc *ring = port->out;
    uint32_t left = ring->sender.index - strait_load_relaxed(&ring->head);
    return left <= ring->sender.capacity ? left : 0;
}

/* Takes what `epoll` has to tell. */
static void take_news(struct strait_process_port *port)
{
    struct epoll_event news[2];
    int count = epoll_wait(port->epoll, news, 2, 0);
    for (int i = 0; i < count; i++) {
        if (news[i].data.u32 == STRAIT_P_PROCESS_DIED) {
            strait_p_process_mourn(port);
        }
    }
}

static void sleep_until(struct strait_process_port *port, int64_t deadline)
{
    if (port->epoll < 0) {
        struct timespec until = strait_p_extra_timespec(deadline);
        futex(&port->own->asleep, FUTEX_WAIT_BITSET, 1, deadline == STRAIT_FOREVER ? NULL : &until);
    } else {
        strait_p_process_poll(port->epoll, deadline);
        take_news(port);
    }
}

/* The sender is never further ahead than the ring is long, unless it is no sender of ours. */
STRAIT_PRIVATE const void *strait_p_process_peek(struct strait_process_port *port,
                                                 struct strait_span *span)
{
    bool last = port->gone && known(port) == 0;
    if (port->broken || last || !port->ring->peek(port->in, 1, span)) {
        return NULL;
    }
    if (known(port) > ((const struct strait_spsc *)port->in)->receiver.capacity) {
        port->broken = true;
        strait_p_process_signal(port, SIGKILL);
        return NULL;
    }
    return span->messages;
}

/* 0: there is a message, or room; or none to come; -ECANCELED; -EAGAIN. */
static int look(struct strait_process_port *port, bool room)
{
    struct strait_span span;
    if (port->gone ||
        (room ? port->ring->has_room(port->out)
              : strait_p_process_peek(port, &span) || strait_p_process_told(&port->peer->closed))) {
        return 0;
    }
    return strait_process_stopping(port) ? -ECANCELED : -EAGAIN;
}

/* On one CPU, or there just now: a spin keeps the other from running. */
static bool one_cpu(struct strait_process_port *port)
{
    uint32_t here = 1 + (uint32_t)sched_getcpu();
    if (strait_load_relaxed(&port->own->cpu) != here) {
        strait_store_relaxed(&port->own->cpu, here);
    }
    return strait_load_relaxed(&port->peer->cpu) == here;
}

static int spin(struct strait_process_port *port, bool room, int64_t deadline)
{
    int64_t until = 0; /* the clock has not been read */
    int result = look(port, room);
    for (unsigned looks = 1; result == -EAGAIN; looks++) {
        strait_pause();
        result = look(port, room);
        if (looks % LOOKS_PER_CLOCK == 0) {
            int64_t now = strait_now();
            until = until ? until : now + SPIN_NS;
            if (now >= until || now >= deadline) {
                break;
            }
            if (looks % LOOKS_PER_YIELD == 0 || one_cpu(port)) {
                sched_yield();
            }
        }
    }
    return result;
}

STRAIT_PRIVATE int strait_p_process_wait(struct strait_process_port *port, bool room,
                                         int64_t deadline)
{
    int saved = errno;
    int result = port->spins ? spin(port, room, deadline) : look(port, room);
    int64_t begun = result == -EAGAIN ? strait_now() : 0;
    for (int64_t now = begun; result == -EAGAIN && now < deadline; now = strait_now()) {
        prepare(port);
        if (look(port, room) == -EAGAIN) {
            sleep_until(port, deadline);
        }
        strait_store_relaxed(&port->own->asleep, 0);
        result = look(port, room);
        port->spins = strait_now() - begun < SHORT_NS;
    }
    if (port->armed) {
        strait_p_process_raise(port); /* the loop's wake-up may have ended this wait */
    }
    errno = saved;
    return result == -EAGAIN ? -ETIMEDOUT : result;
}

/* ---- the parent's loop ---- */

STRAIT_PRIVATE void strait_p_process_raise(struct strait_process_port *port)
{
    /* The bell is never read, so that it is readable: to watch it anew tells it anew. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = STRAIT_P_PROCESS_RUNG};
    epoll_ctl(port->epoll, EPOLL_CTL_MOD, port->bell, &event);
    port->armed = false;
}

STRAIT_PRIVATE bool strait_p_process_arm(struct strait_process_port *port)
{
    take_news(port);
    prepare(port);
    struct strait_span span;
    port->armed = !port->gone && !strait_p_process_peek(port, &span) &&
                  (port->online || !strait_p_process_told(&port->peer->online));
    if (!port->armed) {
        strait_store_relaxed(&port->own->asleep, 0);
    }
    return port->armed;
}

/* ---- send, receive, close ---- */

ptrdiff_t strait_process_send(struct strait_process_port *port, const void *messages, size_t n,
                              int64_t deadline)
{
    const char *from = messages;
    size_t sent = 0;
    int error = port->closed ? -EPIPE : 0;
    while (!error && sent < n) {
        size_t more = port->gone ? 0 : port->ring->try_send(port->out, from, n - sent);
        if (more > 0) {
            strait_p_process_notify(port);
            from += more * port->out_size;
            sent += more;
        } else if (port->gone) {
            error = -EPIPE;
        } else {
            error = deadline ? strait_p_process_wait(port, true, deadline) : -EAGAIN;
        }
    }
    return sent > 0 ? (ptrdiff_t)sent : error;
}

ptrdiff_t strait_process_receive(struct strait_process_port *port, void *messages, size_t n,
                                 int64_t deadline)
{
    struct strait_span span;
    bool last = false; /* no more will come */
    int error = 0;
    while (!error && n > 0) {
        if (strait_p_process_peek(port, &span)) {
            size_t received =
                port->ring->try_receive(port->in, messages, strait_min(n, known(port)));
            strait_p_process_notify(port);
            return (ptrdiff_t)received;
        }
        if (last) {
            return -EPIPE;
        }
        last = port->gone || strait_p_process_told(&port->peer->closed);
        if (!last) {
            error = deadline ? strait_p_process_wait(port, false, deadline) : -EAGAIN;
        }
    }
    return error;
}

void strait_process_close(struct strait_process_port *port)
{
    port->closed = true;
    strait_p_process_tell(port, &port->own->closed);
}

bool strait_process_stopping(const struct strait_process_port *port)
{
    return port->epoll < 0 && strait_p_process_told(&port->peer->stop);
}
