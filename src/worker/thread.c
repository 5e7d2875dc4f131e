/* SPDX-License-Identifier: MIT */
/* See thread.h. */
#include "thread.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../channel/memory.h"
#include "../channel/wait.h"

/* ---- on the thread ---- */

static void tell_life(struct strait_p_thread *thread, enum strait_p_life life)
{
    /* thread.tell: pairs with thread.seen; all that the thread did; without it its starter reads an
     * error that is not written yet */
    strait_store_release(&thread->life, life);
    strait_p_futex_wake(&thread->life, INT_MAX, false);
}

static int set_cpus(struct strait_p_thread *thread)
{
    const struct strait_p_thread_options *options = &thread->options;
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t i = 0; i < options->cpu_count; i++) {
        CPU_SET((size_t)options->cpus[i], &set);
    }
    int error = sched_setaffinity(0, sizeof(set), &set) == 0 ? 0 : -errno;
    thread->cpu = !error && CPU_COUNT(&set) == 1 ? options->cpus[0] : -1;
    return error;
}

/* By the system call: musl's function of that name says -ENOSYS. */
static int set_schedule(const struct strait_p_thread *thread)
{
    static const int classes[] = {
        [STRAIT_SCHEDULE_NORMAL] = SCHED_OTHER,
        [STRAIT_SCHEDULE_BATCH] = SCHED_BATCH,
        [STRAIT_SCHEDULE_IDLE] = SCHED_IDLE,
    };
    const struct strait_p_thread_options *options = &thread->options;
    struct sched_param none = {.sched_priority = 0};
    if (options->schedule != STRAIT_SCHEDULE_DEFAULT &&
        syscall(SYS_sched_setscheduler, 0, classes[options->schedule], &none) != 0) {
        return -errno;
    }
    if (options->nice) {
        id_t self = (id_t)thread->number;
        int nice = getpriority(PRIO_PROCESS, self) + options->nice;
        if (setpriority(PRIO_PROCESS, self, nice) != 0) {
            return -errno;
        }
    }
    return 0;
}

static int thread_set_up(struct strait_p_thread *thread)
{
    const struct strait_p_thread_options *options = &thread->options;
    thread->number = (int32_t)syscall(SYS_gettid);
    pthread_setname_np(pthread_self(), thread->name);
    int error = options->cpus ? set_cpus(thread) : 0;
    if (!error || !options->pinned) {
        error = set_schedule(thread);
        error = options->scheduled ? error : 0;
    }
    return !error && options->set_up ? options->set_up(options->argument) : error;
}

/* Whatever the thread ended in: its set-up, which said nothing then, or `run`. */
static void thread_end(void *argument)
{
    struct strait_p_thread *thread = argument;
    const struct strait_p_thread_options *options = &thread->options;
    if (thread->error) {
        tell_life(thread, STRAIT_P_REFUSED);
        return;
    }
    if (options->ended) {
        options->ended(options->argument);
    }
    tell_life(thread, STRAIT_P_ENDED);
}

static void *thread_main(void *argument)
{
    struct strait_p_thread *thread = argument;
    thread->error = -EINTR; /* for as long as set_up may end the thread */
    pthread_cleanup_push(thread_end, thread);
    thread->error = thread_set_up(thread);
    if (!thread->error) {
        tell_life(thread, STRAIT_P_ONLINE);
        thread->options.run(thread->options.argument);
    }
    pthread_cleanup_pop(1);
    return NULL;
}

/* ---- for others ---- */

STRAIT_PRIVATE enum strait_p_life strait_p_thread_life(const struct strait_p_thread *thread)
{
    /* thread.seen: pairs with thread.tell; all that the thread did before it came so far; without
     * it its starter reads an error from before it was written */
    return (enum strait_p_life)strait_load_acquire(&thread->life);
}

STRAIT_PRIVATE bool strait_p_thread_inherited(const struct strait_p_thread *thread)
{
    return thread->process != getpid();
}

/* All signals that are not about what the thread itself does. */
static void block_signals(sigset_t *before)
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t others;
    sigfillset(&others);
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        sigdelset(&others, own[i]);
    }
    pthread_sigmask(SIG_SETMASK, &others, before);
}

static int thread_create(struct strait_p_thread *thread)
{
    pthread_attr_t attributes;
    int error = -pthread_attr_init(&attributes);
    if (error) {
        return error;
    }
    if (thread->options.stack_size) {
        error = -pthread_attr_setstacksize(&attributes, thread->options.stack_size);
    }
    if (!error) {
        sigset_t before;
        block_signals(&before);
        error = -pthread_create(&thread->handle, &attributes, thread_main, thread);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return error;
}

STRAIT_PRIVATE int strait_p_thread_launch(struct strait_p_thread *thread,
                                          const struct strait_p_thread_options *options)
{
    int saved = errno;
    if (strlen(options->name) >= STRAIT_P_NAME_BYTES || options->nice < 0 || options->nice > 19 ||
        (unsigned)options->schedule > STRAIT_SCHEDULE_IDLE) {
        return -EINVAL;
    }
    memset(thread, 0, sizeof(*thread));
    thread->options = *options;
    strcpy(thread->name, options->name);
    thread->process = getpid();
    thread->cpu = -1;
    int error = thread_create(thread);
    strait_errno_restore(saved);
    return error;
}

STRAIT_PRIVATE int strait_p_thread_online(struct strait_p_thread *thread)
{
    while (strait_p_thread_life(thread) == STRAIT_P_STARTING) {
        strait_p_futex_wait(&thread->life, STRAIT_P_STARTING, STRAIT_FOREVER, false);
    }
    if (strait_p_thread_life(thread) != STRAIT_P_REFUSED) {
        return 0;
    }
    strait_p_thread_join(thread, STRAIT_FOREVER);
    return thread->error;
}

STRAIT_PRIVATE int strait_p_thread_start(struct strait_p_thread *thread,
                                         const struct strait_p_thread_options *options)
{
    int error = strait_p_thread_launch(thread, options);
    return error ? error : strait_p_thread_online(thread);
}

/* ---- joining ---- */

/* glibc has had it since 2.31. The thread sanitizers of gcc 12 and clang 14 do not know it. */
#if defined(__GLIBC__) && !defined(STRAIT_SYNC_C11)
#if __GLIBC_PREREQ(2, 31)
#define HAS_CLOCKJOIN 1
#endif
#endif

static struct timespec join_time(int64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    return t;
}

/* -ETIMEDOUT at the deadline, or before. */
static int join_until(pthread_t handle, int64_t deadline)
{
    deadline = deadline > 0 ? deadline : 0;
#ifdef HAS_CLOCKJOIN
    struct timespec until = join_time(deadline);
    return -pthread_clockjoin_np(handle, NULL, CLOCK_MONOTONIC, &until);
#else
    /* On the clock that people set: whoever sets it forward makes it end before, and join again;
     * backward, later. */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t real = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    int64_t left = deadline - strait_now();
    struct timespec until = join_time(left < STRAIT_FOREVER - real ? real + left : STRAIT_FOREVER);
    return -pthread_timedjoin_np(handle, NULL, &until);
#endif
}

STRAIT_PRIVATE int strait_p_thread_join(struct strait_p_thread *thread, int64_t deadline)
{
    if (strait_p_thread_inherited(thread)) {
        return -EOWNERDEAD;
    }
    if (thread->joined) {
        return 0;
    }
    if (pthread_equal(pthread_self(), thread->handle)) {
        return -EDEADLK;
    }
    int saved = errno;
    int error;
    do {
        error = deadline == STRAIT_FOREVER ? -pthread_join(thread->handle, NULL)
                                           : join_until(thread->handle, deadline);
    } while (error == -ETIMEDOUT && strait_now() < deadline);
    thread->joined = !error;
    strait_errno_restore(saved);
    return error;
}
