/* SPDX-License-Identifier: MIT */
/* Channels as they ship, waiting and closing included: wait.c and channel.c, with the kernel
 * replaced by the checker's. */
#include "tests.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "strait/sync.h"

/* ---- the kernel ---- */

#define FIRST_FD 1000
static uint32_t fds[2];
static int fd_count;

/* One look at the ring after the barrier finds nothing: as if it had been left out. */
static bool blind[MODEL_THREADS];

static long fake_futex(struct model_site at, va_list arguments)
{
    uint32_t *word = va_arg(arguments, uint32_t *);
    int operation = va_arg(arguments, int);
    if (operation == FUTEX_WAKE || operation == FUTEX_WAKE_PRIVATE) {
        model_futex_wake(at, word);
        return 0;
    }
    uint32_t value = va_arg(arguments, uint32_t);
    const struct timespec *until = va_arg(arguments, const struct timespec *);
    if (model_futex_wait(word, value, until != NULL) == 0) {
        return 0;
    }
    model_timed_out(until->tv_sec * 1000000000 + until->tv_nsec);
    errno = ETIMEDOUT;
    return -1;
}

/* A mutation: no look at the ring between the barrier and the sleep. */
static void recheck_before_sleep(void)
{
    if (model_self() >= 0 && model_omitted(MODEL_HERE)) {
        blind[model_self()] = true;
    }
}

static long fake_membarrier(struct model_site at, int command)
{
    if (command == MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
        model_heavy_barrier(at);
        recheck_before_sleep();
    }
    return 0;
}

static long fake_syscall(struct model_site at, long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    long result = 1;
    if (number == SYS_futex) {
        result = fake_futex(at, arguments);
    } else if (number == SYS_membarrier) {
        result = fake_membarrier(at, va_arg(arguments, int));
    }
    va_end(arguments);
    return result;
}

static ssize_t fake_write(struct model_site at, int fd)
{
    model_fd_write(at, &fds[fd - FIRST_FD]);
    return sizeof(uint64_t);
}

static ssize_t fake_read(int fd, uint64_t *count)
{
    *count = model_fd_read(&fds[fd - FIRST_FD]);
    if (*count == 0) {
        errno = EAGAIN;
        return -1;
    }
    return sizeof(*count);
}

static int fake_poll(const struct pollfd *fd, const struct timespec *timeout)
{
    model_fd_poll(&fds[fd->fd - FIRST_FD], timeout != NULL);
    return 0;
}

static int fake_clock(struct timespec *t)
{
    int64_t now = model_now();
    t->tv_sec = now / 1000000000;
    t->tv_nsec = now % 1000000000;
    return 0;
}

#define syscall(...) fake_syscall(MODEL_HERE, __VA_ARGS__)
#define write(fd, p, bytes) ((void)(p), fake_write(MODEL_HERE, fd))
#define read(fd, p, bytes) fake_read(fd, p)
#define ppoll(fd, n, timeout, mask) fake_poll(fd, timeout)
#define clock_gettime(clock, t) fake_clock(t)
#define eventfd(value, flags) (FIRST_FD + fd_count++)
#define close(fd) ((void)(fd))
#define sched_yield() model_pause()
#define sched_getaffinity(thread, bytes, set) ((void)(set), -1) /* any CPU */
#define memcpy model_copy

#include "strait/channel.h"

/* Sites: a wake-up that is not counted. */
#undef STRAIT_P_WAKEUP
#define STRAIT_P_WAKEUP (model_omitted(MODEL_HERE) ? 0u : 4u)

#include "channel/channel.c"
#include "channel/endpoint.c"
#include "channel/ring.c"
#include "channel/event_count.c"
#include "channel/wait.c"

/* ---- the tests' own ---- */

#define SENDERS 2
#define MESSAGES_MAX 8
#define IDLE_MAX 3

static STRAIT_LINE_ALIGNED char block[32 * STRAIT_LINE];
static struct strait_channel *channel;
static struct strait_sender sender[SENDERS];
static struct strait_receiver receiver;
static struct strait_variant spied; /* the channel's variant, with blind spots */
static uint32_t messages;           /* for each sender to send */
static uint32_t sent[SENDERS];      /* what was accepted */
static uint64_t received[MESSAGES_MAX];
static uint32_t received_count;
static int last_error;
static uint32_t cancel;
static uint64_t note; /* plain memory, written before the flag is set */

static bool looks_away(void)
{
    bool away = model_self() >= 0 && blind[model_self()];
    if (away) {
        blind[model_self()] = false;
    }
    return away;
}

static bool spied_has_message(void *ring)
{
    return !looks_away() && strait_variant_at(channel->variant)->has_message(ring);
}

static bool spied_has_room(void *end)
{
    return !looks_away() && strait_variant_at(channel->variant)->has_room(end);
}

static void spy(struct strait_p_handle *handle)
{
    spied = *handle->variant;
    spied.has_message = spied_has_message;
    spied.has_room = spied_has_room;
    handle->variant = &spied;
    handle->spin_ns = 0; /* sleeps at once */
}

static void open_sender(int i)
{
    model_assert(strait_sender_open(&sender[i], channel) == 0);
    spy(&sender[i].handle);
}

/* A channel with `senders` open and the receiver. */
static void open_channel(const char *variant, size_t capacity, int senders, uint32_t each,
                         enum strait_wait mode)
{
    struct strait_channel_options options = {
        .variant = variant,
        .capacity = capacity,
        .senders = strcmp(variant, "lanes") == 0 ? SENDERS : 1,
        .sender = mode,
        .receiver = mode,
    };
    memset(block, 0, sizeof(block));
    memset(fds, 0, sizeof(fds));
    memset(blind, 0, sizeof(blind));
    memset(sent, 0, sizeof(sent));
    memset(received, 0, sizeof(received));
    fd_count = 0;
    received_count = 0;
    last_error = 0;
    cancel = 0;
    note = 0;
    messages = each;
    model_assert(strait_channel_init(&channel, block, sizeof(block), &options) == 0);
    for (int i = 0; i < senders; i++) {
        open_sender(i);
    }
    model_assert(strait_receiver_open(&receiver, channel) == 0);
    spy(&receiver.handle);
}

/* As if the channel had been opened where there is no membarrier. */
static void use_fences(void)
{
    channel->fenced = 1;
    for (int i = 0; i < SENDERS; i++) {
        sender[i].handle.fenced = 1;
        sender[i].direct = NULL;
    }
    receiver.handle.fenced = 1;
    receiver.direct = NULL;
}

static uint64_t message(int from, uint32_t i)
{
    return (uint64_t)(from + 1) << 32 | i;
}

/* ---- threads ---- */

/* Thread i is sender i: sends all, until closed. */
static void send_all(void)
{
    int self = model_self();
    while (sent[self] < messages) {
        uint64_t m = message(self, sent[self]);
        ptrdiff_t n = strait_send(&sender[self], &m, 1, STRAIT_FOREVER);
        if (n < 0) {
            model_assert(n == -EPIPE || n == -ECANCELED);
            return;
        }
        sent[self]++;
    }
}

static void send_and_close(void)
{
    send_all();
    strait_sender_close(&sender[model_self()]);
}

static void keep(uint64_t m)
{
    model_assert(received_count < MESSAGES_MAX);
    received[received_count++] = m;
}

/* Receives at most `most`, until closed or an error. */
static void receive(uint32_t most, int64_t deadline)
{
    while (received_count < most) {
        uint64_t m;
        ptrdiff_t n = strait_receive(&receiver, &m, 1, deadline);
        if (n < 0) {
            last_error = (int)n;
            return;
        }
        keep(m);
    }
}

static void receive_all(void)
{
    receive(MESSAGES_MAX, STRAIT_FOREVER);
    model_assert(last_error == -EPIPE);
}

/* Never sleeps. */
static void poll_all(void)
{
    for (;;) {
        uint64_t m;
        ptrdiff_t n = strait_try_receive(&receiver, &m, 1);
        if (n == -EPIPE) {
            return;
        }
        if (n > 0) {
            keep(m);
        } else {
            model_pause_unless_news();
        }
    }
}

static void receive_one_and_close(void)
{
    receive(1, STRAIT_FOREVER);
    strait_receiver_close(&receiver);
}

static void close_at_once(void)
{
    strait_receiver_close(&receiver);
}

static void receive_until_deadline(void)
{
    receive(MESSAGES_MAX, 1000000000000);
    model_assert(last_error == -EPIPE || last_error == -ETIMEDOUT);
    strait_receiver_close(&receiver);
}

static void receive_until_cancelled(void)
{
    receive(MESSAGES_MAX, STRAIT_FOREVER);
    model_assert(last_error == -ECANCELED);
    model_plain_read(&note, sizeof(note));
}

static void set_cancel(void)
{
    model_plain_write(&note, sizeof(note));
    strait_store_release(&cancel, 1);
    strait_channel_wake(channel);
}

/* An event loop: drains, arms, polls. The poll may return for nothing once for each write to the
 * fd that came late, and no more: an fd that stays readable burns the CPU. */
static void loop(void)
{
    uint32_t before = 0;
    for (int idle = 0;; idle++) {
        uint64_t m;
        ptrdiff_t n;
        while ((n = strait_try_receive(&receiver, &m, 1)) > 0) {
            keep(m);
        }
        if (n == -EPIPE) {
            return;
        }
        idle = received_count > before ? 0 : idle;
        before = received_count;
        model_assert(idle <= IDLE_MAX);
        if (strait_receiver_arm(&receiver) == 1) {
            model_fd_poll(&fds[strait_receiver_fd(&receiver) - FIRST_FD], false);
        }
    }
}

/* The same for a sender. */
static void send_loop(void)
{
    while (sent[0] < messages) {
        uint64_t m = message(0, sent[0]);
        if (strait_try_send(&sender[0], &m, 1) > 0) {
            sent[0]++;
        } else if (strait_sender_arm(&sender[0]) == 1) {
            model_fd_poll(&fds[strait_sender_fd(&sender[0]) - FIRST_FD], false);
        }
    }
    strait_sender_close(&sender[0]);
}

/* Opens while the other sender may be closing the side. */
static void open_late(void)
{
    int self = model_self();
    int error = strait_sender_open(&sender[self], channel);
    if (error) {
        model_assert(error == -EPIPE);
        return;
    }
    spy(&sender[self].handle);
    send_and_close();
}

/* ---- what must hold at the end ---- */

static void drop(void *m, void *context)
{
    (void)context;
    uint64_t value;
    memmove(&value, m, sizeof(value));
    keep(value);
}

/* Each message accepted was received or dropped, once, in the order of its sender. */
static void check(void)
{
    strait_channel_destroy(channel, drop, NULL);
    uint32_t found = 0;
    for (int i = 0; i < SENDERS; i++) {
        uint32_t next = 0;
        for (uint32_t k = 0; k < received_count; k++) {
            if (received[k] >> 32 == (uint64_t)(i + 1)) {
                model_assert(received[k] == message(i, next));
                next++;
            }
        }
        model_assert(next == sent[i]);
        found += next;
    }
    model_assert(found == received_count);
}

/* The receiver was told that nothing is left: so nothing is. */
static void check_drained(void)
{
    uint32_t before = received_count;
    check();
    model_assert(received_count == before);
}

/* ---- channels ---- */

static void open_park(void)
{
    open_channel("spsc", 1, 1, 2, STRAIT_WAIT_PARK);
}

static void open_park_3(void)
{
    open_channel("spsc", 2, 1, 3, STRAIT_WAIT_PARK);
}

static void open_park_fenced(void)
{
    open_park();
    use_fences();
}

static void open_park_one(void)
{
    open_channel("spsc", 1, 1, 1, STRAIT_WAIT_PARK);
}

static void open_park_cancel(void)
{
    open_park_one();
    strait_receiver_cancel_on(&receiver, &cancel);
}

static void open_fd_mode(void)
{
    open_channel("spsc", 1, 1, 2, STRAIT_WAIT_FD);
}

static void open_fd_one(void)
{
    open_channel("spsc", 1, 1, 1, STRAIT_WAIT_FD);
}

static void open_fd_fenced(void)
{
    open_fd_mode();
    use_fences();
}

static void open_lanes(void)
{
    open_channel("lanes", 1, 2, 1, STRAIT_WAIT_PARK);
}

static void open_lanes_late(void)
{
    open_channel("lanes", 1, 1, 1, STRAIT_WAIT_PARK);
}

static void open_cells(void)
{
    open_channel("cells", 1, 2, 1, STRAIT_WAIT_PARK);
}

/* Full, so that both senders find no room. */
static void open_full(void)
{
    open_channel("cells", 1, 2, 2, STRAIT_WAIT_PARK);
    uint64_t m = message(0, sent[0]++);
    model_assert(strait_try_send(&sender[0], &m, 1) == 1);
}

static void open_full_cancel(void)
{
    open_full();
    strait_sender_cancel_on(&sender[0], &cancel);
    strait_sender_cancel_on(&sender[1], &cancel);
}

const struct model_test channel_tests[] = {
    {"park", open_park, {send_and_close, receive_all}, check_drained, 2, 2},
    {"park, fenced", open_park_fenced, {send_and_close, receive_all}, check_drained, 2, 2},
    {"park, capacity 2", open_park_3, {send_and_close, receive_all}, check_drained, 2, 1},
    {"park, receiver closes at once", open_park, {send_and_close, close_at_once}, check, 0, 0},
    {"park, receiver closes", open_park, {send_and_close, receive_one_and_close}, check, 2, 2},
    {"park, cancel",
     open_park_cancel,
     {send_all, receive_until_cancelled, set_cancel},
     check,
     2,
     1},
    {"cells, full, closed", open_full, {send_all, send_all, close_at_once}, check, 2, 1},
    {"cells, full, cancelled", open_full_cancel, {send_all, send_all, set_cancel}, check, 2, 1},
    {"lanes, two senders close",
     open_lanes,
     {send_and_close, send_and_close, poll_all},
     check_drained,
     2,
     1},
    {"fd", open_fd_mode, {send_and_close, receive_all}, check_drained, 2, 2},
    {"fd, event loop", open_fd_one, {send_and_close, loop}, check_drained, 3, 2},
    {"fd, event loops", open_fd_mode, {send_loop, loop}, check_drained, 2, 2},
    {"fd, event loops, fenced", open_fd_fenced, {send_loop, loop}, check_drained, 2, 2},
    {"park, polling receiver", open_park, {send_and_close, poll_all}, check_drained, 2, 1},
    {"park, deadline", open_park, {send_and_close, receive_until_deadline}, check, 2, 1},
    {"cells, receiver closes",
     open_cells,
     {send_and_close, send_and_close, receive_one_and_close},
     check,
     2,
     1},
    {"lanes, park", open_lanes, {send_and_close, send_and_close, receive_all}, check_drained, 2, 1},
    {"lanes, a late sender",
     open_lanes_late,
     {send_and_close, open_late, poll_all},
     check_drained,
     2,
     1},
    {"cells, park", open_cells, {send_and_close, send_and_close, receive_all}, check_drained, 2, 1},
    {0},
};
