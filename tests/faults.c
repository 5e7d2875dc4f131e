/* SPDX-License-Identifier: MIT */
#include "faults.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define FUNCTION_ERROR(function, error) [function] = error,
static const int errors[FUNCTIONS] = {FAILING_FUNCTIONS(FUNCTION_ERROR)};

struct counts counts;
struct gate before_clear[2];

static _Atomic int failing = FUNCTIONS;     /* which one */
static _Atomic unsigned countdown;          /* at 1 it fails */
static _Atomic unsigned membarrier_refused; /* the commands of it that fail, ored */
static _Atomic int membarrier_errno;
static __thread bool refused;   /* this thread's last membarrier, of the slow kind */
static _Atomic int futex_errno; /* which every second wait answers at once */
static _Atomic int clearing = -1;

static bool due(void)
{
    unsigned n = atomic_load(&countdown);
    if (n == 0 || (n != EVERY && atomic_fetch_sub(&countdown, 1) != 1)) {
        return false;
    }
    atomic_fetch_add(&counts.hits, 1);
    return true;
}

static bool fails(enum function function)
{
    return atomic_load(&failing) == (int)function && due();
}

void arm_fault(enum function function, unsigned n)
{
    atomic_store(&counts.hits, 0);
    atomic_store(&failing, (int)function);
    atomic_store(&countdown, n);
}

void refuse_membarrier(unsigned commands, int error)
{
    atomic_store(&counts.hits, 0);
    atomic_store(&membarrier_errno, error);
    atomic_store(&membarrier_refused, commands);
}

void answer_futexes(int error)
{
    atomic_store(&counts.futex_waits, 0);
    atomic_store(&futex_errno, error);
}

void catch_clear(int fd)
{
    atomic_store(&clearing, fd);
}

/* ---- the wrappers ---- */

/* Declares the function and its wrapper, and begins the wrapper. */
#define WRAPPER(type, name, ...)                                                                   \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)

static int fail_with_errno(enum function function)
{
    errno = errors[function];
    return -1;
}

static void *counted(void *memory)
{
    atomic_fetch_add(&counts.allocations, 1);
    atomic_fetch_add(&counts.live, memory != NULL);
    return memory;
}

/* A wrapper that does nothing but fail, by answering `failure`. */
#define ANSWERING(type, failure, function, name, arguments, ...)                                   \
    WRAPPER(type, name, __VA_ARGS__)                                                               \
    {                                                                                              \
        return fails(function) ? failure : __real_##name arguments;                                \
    }

/* The same where errno says why, or the answer does. */
#define FAILING(function, name, arguments, ...)                                                    \
    ANSWERING(int, fail_with_errno(function), function, name, arguments, __VA_ARGS__)
#define TELLING(function, name, arguments, ...)                                                    \
    ANSWERING(int, errors[function], function, name, arguments, __VA_ARGS__)

FAILING(EVENTFD, eventfd, (count, flags), unsigned count, int flags)
FAILING(TIMERFD_CREATE, timerfd_create, (clock, flags), int clock, int flags)
FAILING(EPOLL_CREATE, epoll_create1, (flags), int flags)
FAILING(EPOLL_CTL, epoll_ctl, (epoll, operation, fd, event), int epoll, int operation, int fd,
        struct epoll_event *event)
FAILING(SCHED_SETAFFINITY, sched_setaffinity, (pid, size, cpus), pid_t pid, size_t size,
        const cpu_set_t *cpus)
FAILING(SETPRIORITY, setpriority, (which, who, nice), int which, id_t who, int nice)
FAILING(MEMFD_CREATE, memfd_create, (name, flags), const char *name, unsigned flags)
TELLING(PTHREAD_ATTR_SETSTACKSIZE, pthread_attr_setstacksize, (attributes, size),
        pthread_attr_t *attributes, size_t size)
TELLING(PTHREAD_SETNAME, pthread_setname_np, (thread, name), pthread_t thread, const char *name)
TELLING(POSIX_SPAWN_ADDDUP2, posix_spawn_file_actions_adddup2, (actions, from, to),
        posix_spawn_file_actions_t *actions, int from, int to)
ANSWERING(ssize_t, fail_with_errno(PWRITEV), PWRITEV, pwritev, (fd, parts, count, offset), int fd,
          const struct iovec *parts, int count, off_t offset)
ANSWERING(void *, (fail_with_errno(MMAP), MAP_FAILED), MMAP, mmap,
          (at, size, protection, flags, fd, offset), void *at, size_t size, int protection,
          int flags, int fd, off_t offset)

WRAPPER(int, posix_memalign, void **memory, size_t alignment, size_t bytes)
{
    if (fails(POSIX_MEMALIGN)) {
        errno = 999; /* posix_memalign leaves it undefined */
        return ENOMEM;
    }
    int error = __real_posix_memalign(memory, alignment, bytes);
    counted(error ? NULL : *memory);
    return error;
}

WRAPPER(void *, calloc, size_t n, size_t bytes)
{
    return fails(CALLOC) ? (fail_with_errno(CALLOC), NULL) : counted(__real_calloc(n, bytes));
}

WRAPPER(void *, malloc, size_t bytes)
{
    return fails(MALLOC) ? (fail_with_errno(MALLOC), NULL) : counted(__real_malloc(bytes));
}

WRAPPER(void, free, void *memory)
{
    atomic_fetch_sub(&counts.live, memory != NULL);
    __real_free(memory);
}

/* Some kernels break it off at a signal: here one would always come. */
WRAPPER(int, fallocate, int fd, int mode, off_t offset, off_t size)
{
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    if (!sigismember(&blocked, SIGALRM)) {
        errno = EINTR;
        return -1;
    }
    return fails(FALLOCATE) ? fail_with_errno(FALLOCATE) : __real_fallocate(fd, mode, offset, size);
}

WRAPPER(int, posix_spawn, pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
        const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[])
{
    if (fails(POSIX_SPAWN)) {
        *pid = 999; /* posix_spawn leaves it undefined */
        return EAGAIN;
    }
    return __real_posix_spawn(pid, path, actions, attributes, arguments, environment);
}

WRAPPER(int, fcntl, int fd, int command, ...)
{
    va_list list;
    va_start(list, command);
    int argument = va_arg(list, int);
    va_end(list);
    return fails(FCNTL) ? fail_with_errno(FCNTL) : __real_fcntl(fd, command, argument);
}

WRAPPER(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes,
        void *(*body)(void *), void *argument)
{
    if (fails(PTHREAD_CREATE)) {
        errno = EAGAIN; /* the system call inside has set it */
        return EAGAIN;
    }
    int error = __real_pthread_create(thread, attributes, body, argument);
    atomic_fetch_add(&counts.unjoined, error == 0);
    return error;
}

WRAPPER(int, pthread_join, pthread_t thread, void **result)
{
    atomic_fetch_sub(&counts.unjoined, 1);
    return __real_pthread_join(thread, result);
}

WRAPPER(int, pthread_clockjoin_np, pthread_t thread, void **result, clockid_t clock,
        const struct timespec *until)
{
    int error = __real_pthread_clockjoin_np(thread, result, clock, until);
    atomic_fetch_sub(&counts.unjoined, error == 0);
    return error;
}

WRAPPER(int, pthread_attr_init, pthread_attr_t *attributes)
{
    if (fails(PTHREAD_ATTR_INIT)) {
        return ENOMEM;
    }
    atomic_fetch_add(&counts.live_attributes, 1);
    return __real_pthread_attr_init(attributes);
}

WRAPPER(int, pthread_attr_destroy, pthread_attr_t *attributes)
{
    atomic_fetch_sub(&counts.live_attributes, 1);
    return __real_pthread_attr_destroy(attributes);
}

/* The library reads the affinity before main: the environment says whether it can. */
WRAPPER(int, sched_getaffinity, pid_t pid, size_t size, cpu_set_t *cpus)
{
    if (getenv(NO_AFFINITY)) {
        errno = EINVAL;
        return -1;
    }
    return __real_sched_getaffinity(pid, size, cpus);
}

WRAPPER(ssize_t, read, int fd, void *bytes, size_t count)
{
    int expected = fd;
    if (fd >= 0 && atomic_compare_exchange_strong(&clearing, &expected, -1)) {
        gate_open(&before_clear[0]);
        gate_await(&before_clear[1], 1);
    }
    return __real_read(fd, bytes, count);
}

/* The nap after a membarrier that was refused is interrupted once. */
WRAPPER(int, nanosleep, const struct timespec *request, struct timespec *left)
{
    if (refused) {
        refused = false;
        atomic_fetch_add(&counts.naps, 1);
        *left = *request;
        errno = EINTR;
        return -1;
    }
    return __real_nanosleep(request, left);
}

static bool membarrier_fails(long command)
{
    atomic_fetch_add(&counts.membarriers_global, command == MEMBARRIER_CMD_GLOBAL);
    bool fails = atomic_load(&membarrier_refused) & (unsigned)command;
    atomic_fetch_add(&counts.hits, fails);
    refused = fails && command == MEMBARRIER_CMD_GLOBAL;
    return fails;
}

static bool futex_fails(long operation)
{
    return (operation & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && atomic_load(&futex_errno) &&
           atomic_fetch_add(&counts.futex_waits, 1) % 2 == 0;
}

/* It takes up six arguments, of which its caller may not have passed all. */
long __wrap_syscall(long number, ...) __attribute__((no_sanitize_address));

WRAPPER(long, syscall, long number, ...)
{
    long argument[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        argument[i] = va_arg(list, long);
    }
    va_end(list);
    if (number == SYS_membarrier && membarrier_fails(argument[0])) {
        errno = atomic_load(&membarrier_errno);
        return -1;
    }
    if (number == SYS_sched_setscheduler && fails(SCHED_SETSCHEDULER)) {
        return fail_with_errno(SCHED_SETSCHEDULER);
    }
    if (number == SYS_pidfd_open && fails(PIDFD_OPEN)) {
        return fail_with_errno(PIDFD_OPEN);
    }
    if (number == SYS_write) {
        return write((int)argument[0], (const void *)argument[1], (size_t)argument[2]);
    }
    if (number == SYS_futex && futex_fails(argument[1])) {
        errno = atomic_load(&futex_errno);
        return -1;
    }
    return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                          argument[5]);
}

/* ---- each call fails once ---- */

/* What the process has: as it was before, whatever failed in between. */
struct belongings {
    struct census census;
    int live;
    int unjoined;
};

static struct belongings belongings_take(void)
{
    struct belongings now = {census_take(), atomic_load(&counts.live),
                             atomic_load(&counts.unjoined)};
    return now;
}

static void assert_belongings(struct belongings before)
{
    assert_census(before.census);
    assert_int_equal(atomic_load(&counts.live), before.live);
    assert_int_equal(atomic_load(&counts.unjoined), before.unjoined);
    assert_true(RUNTIME_INTERFERES || atomic_load(&counts.live_attributes) == 0);
}

/* One call after the other fails; `survivable`: strait may do without. How many calls there were.
 */
static unsigned fail_each_call(enum function function, create_fn *create, bool survivable)
{
    struct belongings before = belongings_take();
    unsigned failures = 0;
    for (unsigned n = 1;; n++) {
        arm_fault(function, n);
        errno = ERRNO_MARK;
        int result = create();
        EXPECT(errno_kept());
        atomic_store(&countdown, 0);
        assert_belongings(before);
        if (atomic_load(&counts.hits) == 0) {
            assert_int_equal(result, 0);
            assert_true(n == 1 || failures > 0 || survivable);
            return n - 1;
        }
        failures += result != 0;
        assert_true(result == 0 ? survivable : result == -errors[function]);
        assert_int_equal(create(), 0);
        progress_made();
    }
}

void fail_everything(create_fn *create, const unsigned at_least[FUNCTIONS], enum function optional)
{
    create(); /* whatever is done once per process */
    for (int function = 0; function < FUNCTIONS; function++) {
        if (RUNTIME_INTERFERES &&
            (function == PTHREAD_ATTR_INIT || function == PTHREAD_ATTR_SETSTACKSIZE)) {
            continue;
        }
        unsigned calls = fail_each_call((enum function)function, create, function == (int)optional);
        assert_true(calls >= at_least[function]);
    }
}

/* ---- a process of its own ---- */

#define ALONE "STRAIT_FAULT_ALONE"

bool alone(const char *test, const char *variable)
{
    int status = -1;
    if (getenv(ALONE)) {
        return true;
    }
    pid_t child = fork();
    if (child == 0) {
        setenv("STRAIT_TEST", test, 1);
        setenv(ALONE, "1", 1);
        if (variable) {
            setenv(variable, "1", 1);
        }
        execl("/proc/self/exe", test, (char *)NULL);
        _exit(99);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return false;
}
