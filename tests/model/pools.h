/* SPDX-License-Identifier: MIT */
/* What pools.c puts under a pool as it ships: threads, locks and memory that are the checker's, and
 * calls of the kernel. */
#ifndef MODEL_POOLS_H
#define MODEL_POOLS_H

#include "tests.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "strait/sync.h"

#define STRAIT_PRIVATE /* waiting.c has what they stand on */

#include "strait/pool.h"

#include "channel/wait.h"
#include "worker/thread.h"

/* Less to set to zero before each execution. */
#undef STRAIT_POOL_WORKERS_MAX
#define STRAIT_POOL_WORKERS_MAX 64u
#undef STRAIT_PARENTS_MAX
#define STRAIT_PARENTS_MAX 64u

/* Everybody sleeps at once. */
#undef STRAIT_P_SPIN_NS
#define STRAIT_P_SPIN_NS 0u

/* ---- memory ---- */

#define ARENA_BYTES (512 * 1024)
static STRAIT_LINE_ALIGNED char arena[ARENA_BYTES];
static size_t arena_used;

/* Zeros, from the start of the execution on. */
static void *arena_take(size_t bytes)
{
    void *memory = &arena[arena_used];
    arena_used += strait_round_up(bytes, STRAIT_LINE);
    model_assert(arena_used <= ARENA_BYTES);
    return memory;
}

/* Is refused, as a sandbox may do. */
static int fake_madvise(char *memory, size_t bytes)
{
    (void)memory;
    (void)bytes;
    return -1;
}

#define strait_line_alloc(bytes) arena_take(bytes)
#define calloc(n, size) arena_take((n) * (size))
#define malloc(bytes) arena_take(bytes)
#define free(memory) ((void)(memory))
#define mmap(where, bytes, protection, flags, fd, offset) arena_take(bytes)
#define munmap(memory, bytes) ((void)(memory))
#define madvise(memory, bytes, advice) fake_madvise(memory, bytes)

/* ---- threads ---- */

/* Whoever asks for the n-th thread of an execution gets it from crew n. */
#define CREW 3
static struct strait_p_thread *crew[CREW];
static uint32_t crew_count;
static uint32_t initial_crew; /* that is set up before the threads run */
static uint32_t gone[CREW];

static void crew_begin(void)
{
    crew_count = 0;
    memset(gone, 0, sizeof(gone));
}

int strait_p_thread_launch(struct strait_p_thread *thread,
                           const struct strait_p_thread_options *options)
{
    if (crew_count == CREW) {
        return -EAGAIN;
    }
    thread->options = *options;
    thread->joined = false;
    thread->number = (int32_t)crew_count;
    crew[crew_count] = thread;
    if (model_self() < 0) {
        options->set_up(options->argument);
    }
    strait_store_release(&crew_count, crew_count + 1);
    return 0;
}

int strait_p_thread_online(struct strait_p_thread *thread)
{
    (void)thread;
    return 0;
}

int strait_p_thread_join(struct strait_p_thread *thread, int64_t deadline)
{
    while (!thread->joined && !strait_load_acquire(&gone[thread->number])) {
        if (deadline != STRAIT_FOREVER) {
            return -ETIMEDOUT;
        }
        strait_pause();
    }
    thread->joined = true;
    return 0;
}

unsigned strait_cpu_count(void)
{
    return 1;
}

uint32_t strait_p_cpu_quota(void)
{
    return STRAIT_P_QUOTA_NONE;
}

#define IDLE_TIMEOUT 1000000000000000

/* An idle worker's may pass while it sleeps; others, that could hide a lost wake-up, do not. */
static int64_t far_deadline(int64_t ns)
{
    return ns == IDLE_TIMEOUT ? strait_deadline(ns) : STRAIT_FOREVER;
}

static uint32_t lock;

static void lock_take(void)
{
    uint32_t open = 0;
    while (model_self() >= 0 && !strait_cas_acq_rel(&lock, &open, 1)) {
        open = 0;
        strait_pause();
    }
}

static void lock_give(void)
{
    strait_store_release(&lock, 0);
}

#define pthread_mutex_lock(mutex) ((void)(mutex), lock_take())
#define pthread_mutex_unlock(mutex) ((void)(mutex), lock_give())
#define sched_yield() model_pause_unless_news()
#define sched_getcpu() 0
#define sched_getscheduler(thread) SCHED_OTHER
#define getpriority(which, who) 0
#define strait_deadline(ns) far_deadline(ns)
#define snprintf(to, size, ...) ((void)(*(to) = 0))

/* The timer runs off as soon as it is set, and is the same fd as the parent's other one: so is the
 * set. */
static int fake_settime(struct model_site at, bool set);
#define timerfd_create(clock, flags) 0
#define timerfd_settime(fd, flags, when, before)                                                   \
    ((void)(fd), fake_settime(MODEL_HERE, (when)->it_value.tv_sec || (when)->it_value.tv_nsec))
#define epoll_create1(flags) 0
#define epoll_ctl(set, operation, fd, event) ((void)(event), 0)

#endif /* MODEL_POOLS_H */
