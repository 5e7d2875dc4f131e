/* SPDX-License-Identifier: MIT */
/* Waiting as it ships, wait.c, with the kernel replaced by the checker's: for channels.c and
 * pools.c. */
#include "tests.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "strait/sync.h"

#define STRAIT_PRIVATE /* the functions are for the other files, too */

/* ---- the kernel ---- */

#define FIRST_FD 1000
#define FDS 4
static uint32_t fds[FDS];
static bool is_open[FDS]; /* plain memory: a write to an fd that is being closed is a data race */
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

void waiting_poll(int fd)
{
    model_fd_poll(&fds[fd - FIRST_FD], false);
}

void waiting_begin(void)
{
    memset(fds, 0, sizeof(fds));
    memset(is_open, 0, sizeof(is_open));
    memset(blind, 0, sizeof(blind));
    fd_count = 0;
}

bool waiting_looks_away(void)
{
    bool away = model_self() >= 0 && blind[model_self()];
    if (away) {
        blind[model_self()] = false;
    }
    return away;
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

static long fake_write(struct model_site at, int fd)
{
    model_plain_read(&is_open[fd - FIRST_FD], 1);
    model_assert(is_open[fd - FIRST_FD]);
    model_fd_write(at, &fds[fd - FIRST_FD]);
    return sizeof(uint64_t);
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
    } else if (number == SYS_write) {
        result = fake_write(at, va_arg(arguments, int));
    }
    va_end(arguments);
    return result;
}

static int fake_eventfd(void)
{
    model_assert(fd_count < FDS);
    is_open[fd_count] = true;
    return FIRST_FD + fd_count++;
}

static int fake_close(int fd)
{
    if (fd >= FIRST_FD) {
        model_plain_write(&is_open[fd - FIRST_FD], 1);
        is_open[fd - FIRST_FD] = false;
    }
    return 0;
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
#define read(fd, p, bytes) fake_read(fd, p)
#define ppoll(fd, n, timeout, mask) fake_poll(fd, timeout)
#define clock_gettime(clock, t) fake_clock(t)
#define eventfd(value, flags) fake_eventfd()
#define close(fd) fake_close(fd)
#define sched_yield() model_pause()
#define sched_getaffinity(thread, bytes, set) ((void)(set), errno = ENOSYS, -1) /* any CPU */

#include "channel/wait.h"

/* Sites: a wake-up that is not counted. */
#undef STRAIT_P_WAKEUP
#define STRAIT_P_WAKEUP (model_omitted(MODEL_HERE) ? 0u : 8u)

#include "channel/wait.c"
