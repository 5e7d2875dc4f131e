/* SPDX-License-Identifier: MIT */
/* See thread.h. */
#include "thread.h"

#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../channel/private.h"
#include "../channel/wait.h"

/* glibc has had it since 2.31. The thread sanitizers of gcc 12 and clang 14 do not know it. */
#if defined(__GLIBC__) && !defined(STRAIT_SYNC_C11)
#if __GLIBC_PREREQ(2, 31)
#define HAS_CLOCKJOIN 1
#endif
#endif

#define NAP_NS 1000000
#define SLICE_LEAST_NS 100000 /* the kernel takes no less */

/* ---- on the thread ---- */

/* A thread that wakes waits for the end of the slice of whoever runs, however nice that is: the
 * slice is what the kernel protects. Linux has them by thread since 6.12; before, this does
 * nothing, and where it is refused, neither. */
static void shorten_slice(void)
{
    struct {
        uint32_t size;
        uint32_t policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t slice_ns;
        uint64_t others[2];
    } attributes = {
        .size = sizeof(attributes),
        .policy = (uint32_t)syscall(SYS_sched_getscheduler, 0),
        .nice = getpriority(PRIO_PROCESS, 0),
        .slice_ns = SLICE_LEAST_NS,
    };
    syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static STRAIT_P_COLD int set_up_oneself(struct strait_p_thread *thread)
{
    static const int classes[] = {
        [STRAIT_SCHEDULE_NORMAL] = SCHED_OTHER,
        [STRAIT_SCHEDULE_BATCH] = SCHED_BATCH,
        [STRAIT_SCHEDULE_IDLE] = SCHED_IDLE,
    };
    const struct strait_p_thread_options *options = &thread->options;
    struct sched_param none = {.sched_priority = 0};
    thread->number = (int32_t)syscall(SYS_gettid);
    thread->refused = pthread_setname_np(pthread_self(), thread->name) != 0;
    bool done = sched_setaffinity(0, thread->cpus.bytes, thread->cpus.bits) == 0;
    if (!done && options->pinned) {
        return -errno;
    }
    thread->refused |= !done;
    thread->cpu =
        done && CPU_COUNT_S(thread->cpus.bytes, thread->cpus.bits) == 1 ? sched_getcpu() : -1;
    int error = 0;
    if (options->schedule != STRAIT_SCHEDULE_DEFAULT &&
        syscall(SYS_sched_getscheduler, 0) != classes[options->schedule] &&
        /* musl's function of that name says -ENOSYS */
        syscall(SYS_sched_setscheduler, 0, classes[options->schedule], &none) != 0) {
        error = -errno;
    }
    if (getpriority(PRIO_PROCESS, 0) < options->nice &&
        setpriority(PRIO_PROCESS, 0, options->nice) != 0) {
        error = error ? error : -errno;
    }
    if (error && options->scheduled) {
        return error;
    }
    thread->refused |= error != 0;
    if (options->yielding) {
        shorten_slice();
    }
    return options->set_up(options->argument);
}

static STRAIT_P_COLD void tell_starter(void *argument)
{
    struct strait_p_thread *thread = argument;
    /* thread.tell: pairs with thread.told; all that the thread did; without it its starter reads an
     * error that is not written yet */
    strait_store_release(&thread->told, 1);
    strait_p_futex_wake(&thread->told, INT_MAX, false);
}

static STRAIT_P_COLD void *thread_main(void *argument)
{
    struct strait_p_thread *thread = argument;
    const struct strait_p_thread_options *options = &thread->options;
    thread->error = -EINTR; /* for as long as set_up may end the thread */
    pthread_cleanup_push(tell_starter, thread);
    thread->error = set_up_oneself(thread);
    pthread_cleanup_pop(1);
    if (!thread->error) {
        pthread_cleanup_push(options->ended, options->argument);
        options->run(options->argument);
        pthread_cleanup_pop(1);
    }
    return NULL;
}

/* ---- for others ---- */

STRAIT_PRIVATE STRAIT_P_COLD int
strait_p_thread_launch(struct strait_p_thread *thread,
                       const struct strait_p_thread_options *options)
{
    /* The signals that are about what the thread itself does. */
    static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t others;
    sigset_t before;
    pthread_attr_t attributes;
    int saved = errno;
    memset(thread, 0, sizeof(*thread));
    if (!STRAIT_P_VALID(worker, name, strlen(options->name) < STRAIT_P_NAME_BYTES) ||
        !STRAIT_P_VALID(worker, schedule, (unsigned)options->schedule <= STRAIT_SCHEDULE_IDLE)) {
        return -EINVAL;
    }
    int error = strait_p_cpu_place(&options->placement, &thread->cpus);
    (void)STRAIT_P_VALID(worker, cpus, error != -EINVAL);
    thread->options = *options;
    strcpy(thread->name, options->name);
    thread->process = getpid();
    sigfillset(&others);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        sigdelset(&others, own[i]);
    }
    error = error ? error : -pthread_attr_init(&attributes);
    if (!error) {
        if (options->stack_size) {
            error = -pthread_attr_setstacksize(&attributes, options->stack_size);
            (void)STRAIT_P_VALID(worker, stack_size, !error);
        }
        pthread_sigmask(SIG_SETMASK, &others, &before);
        error = error ? error : -pthread_create(&thread->handle, &attributes, thread_main, thread);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    if (error) {
        strait_p_cpu_release(&thread->cpus);
    }
    strait_errno_restore(saved);
    return error;
}

STRAIT_PRIVATE STRAIT_P_COLD int strait_p_thread_online(struct strait_p_thread *thread)
{
    /* thread.told: pairs with thread.tell; all that the thread did before it was online; without it
     * its starter reads an error from before it was written */
    while (!strait_load_acquire(&thread->told)) {
        strait_p_futex_wait(&thread->told, 0, STRAIT_FOREVER, false);
    }
    if (thread->error) {
        strait_p_thread_join(thread, STRAIT_FOREVER);
    }
    return thread->error;
}

STRAIT_PRIVATE STRAIT_P_COLD int strait_p_thread_join(struct strait_p_thread *thread,
                                                      int64_t deadline)
{
    if (thread->process != getpid()) {
        return -EOWNERDEAD;
    }
    strait_p_check_deadline(deadline);
    if (thread->joined) {
        return 0;
    }
    if (pthread_equal(pthread_self(), thread->handle)) {
        return -EDEADLK;
    }
    int saved = errno;
    int error;
    if (deadline == STRAIT_FOREVER) {
        error = -pthread_join(thread->handle, NULL);
    } else {
#ifdef HAS_CLOCKJOIN
        struct timespec until = strait_p_timespec(deadline);
        error = -pthread_clockjoin_np(thread->handle, NULL, CLOCK_MONOTONIC, &until);
#else
        /* The other call with a deadline goes by the clock that people set. */
        uint32_t nobody = 0;
        while ((error = -pthread_tryjoin_np(thread->handle, NULL)) == -EBUSY &&
               strait_now() < deadline) {
            int64_t nap = strait_deadline(NAP_NS);
            strait_p_futex_wait(&nobody, 0, nap < deadline ? nap : deadline, false);
        }
        error = error == -EBUSY ? -ETIMEDOUT : error;
#endif
    }
    thread->joined = !error;
    if (!error) {
        strait_p_cpu_release(&thread->cpus);
    }
    strait_errno_restore(saved);
    return error;
}
