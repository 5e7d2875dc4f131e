/* SPDX-License-Identifier: MIT */
/* A pool as it ships, parents, workers and closing included: parent.c, worker.c and pool.c, with
 * threads, locks, memory and the kernel replaced by the checker's. Thread 0 is the parent. */
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

#define pthread_mutex_lock(mutex) ((void)(mutex), lock_take())
#define pthread_mutex_unlock(mutex) ((void)(mutex), strait_store_release(&lock, 0))
#define sched_yield() model_pause()
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

/* ---- the pool ---- */

/* Sites: each call that wakes or passes the heavy barrier may be left out by itself. */
#define UNLESS_OMITTED(call) (model_omitted(MODEL_HERE) ? (void)0 : (void)(call))
#define strait_p_heavy_barrier(fenced) UNLESS_OMITTED((strait_p_heavy_barrier)(fenced))
#define strait_p_wake(event, between) UNLESS_OMITTED((strait_p_wake)(event, between))
#define strait_p_wake_sleeper(event, between)                                                      \
    UNLESS_OMITTED((strait_p_wake_sleeper)(event, between))
#define strait_p_notify(event, between) UNLESS_OMITTED((strait_p_notify)(event, between))

#include "pool/parent.c"
#define strait_p_parent_start_clock(parent) UNLESS_OMITTED((strait_p_parent_start_clock)(parent))
#include "pool/worker.c"
#include "pool/pool.c"

/* ---- the tests' own ---- */

/* What a pool is beyond its plan. */
enum how {
    FENCED = 1,   /* as if it had been created where there is no membarrier */
    LOOP = 2,     /* the parent has an fd */
    LOWER = 4,    /* idle workers lower bits */
    ELASTIC = 16, /* one more worker than there must be */
    RAISED = 8,   /* the parent has been seen to submit */
};

#define TASKS_MAX 4
static struct strait_pool *pool;
static struct strait_parent *parent;
static strait_task_id ids[TASKS_MAX];
static uint32_t started[TASKS_MAX];
static uint32_t told[TASKS_MAX];

/* Plain memory. */
static uint64_t cargo[TASKS_MAX];
static uint64_t results[TASKS_MAX];
static unsigned ran[TASKS_MAX];
static unsigned ended[TASKS_MAX];
static enum strait_task_status statuses[TASKS_MAX];
static bool submitted[TASKS_MAX];

/* The plan's pool: `senders` workers, or `messages` at most if that is not 0, and a queue of
 * `capacity`. */
static void init(void)
{
    const struct model_plan *plan = model_plan();
    struct strait_pool_options options = {
        .workers = plan->senders,
        .workers_max = plan->messages,
        .queue_limit = plan->capacity,
        .idle_timeout = IDLE_TIMEOUT,
    };
    struct strait_parent_options way = {.wait =
                                            plan->how & LOOP ? STRAIT_WAIT_FD : STRAIT_WAIT_PARK};
    memset(arena, 0, arena_used);
    arena_used = 0;
    memset(started, 0, sizeof(started));
    memset(told, 0, sizeof(told));
    memset(ran, 0, sizeof(ran));
    memset(ended, 0, sizeof(ended));
    memset(submitted, 0, sizeof(submitted));
    lock = 0;
    waiting_begin();
    crew_begin();
    model_assert(strait_pool_create(&pool, &options) == 0);
    pool->fenced = (plan->how & FENCED) != 0;
    model_assert(strait_pool_attach(pool, &parent, &way) == 0);
    for (unsigned i = 0; i < plan->senders && plan->how & LOWER; i++) {
        pool->workers[i].misses = MISSES;
    }
    if (plan->how & ELASTIC) {
        model_assert(launch(pool, true) == 0);
    }
    if (plan->how & RAISED) {
        pool->bits[0][0] = (uintptr_t)1 << parent->place;
    }
    initial_crew = crew_count;
    current_worker = NULL;
}

/* ---- tasks ---- */

static int work(struct strait_task *task)
{
    unsigned n = task->data[0];
    model_plain_read(&cargo[n], sizeof(cargo[n]));
    model_plain_write(&results[n], sizeof(results[n]));
    ran[n]++;
    return 0;
}

/* Ends once another has started. */
static int work_together(struct strait_task *task)
{
    unsigned n = task->data[0];
    strait_store_relaxed(&started[n], 1);
    while (!strait_load_relaxed(&started[1 - n])) {
        strait_pause();
    }
    return work(task);
}

/* Ends once the parent has been told of another. */
static int work_after(struct strait_task *task)
{
    unsigned n = task->data[0];
    while (!strait_load_relaxed(&told[1 - n])) {
        strait_pause();
    }
    return work(task);
}

static void note_end(struct strait_task *task)
{
    unsigned n = task->data[0];
    strait_store_relaxed(&told[n], 1);
    ended[n]++;
    statuses[n] = task->status;
    if (task->status == STRAIT_TASK_DONE) {
        model_plain_read(&results[n], sizeof(results[n]));
    }
}

static struct strait_task task_of(unsigned n, strait_run_fn *run_it)
{
    struct strait_task task = {.run = run_it, .done = note_end, .data = {(unsigned char)n}};
    model_plain_write(&cargo[n], sizeof(cargo[n]));
    return task;
}

static int submit(unsigned n, strait_run_fn *run_it)
{
    struct strait_task task = task_of(n, run_it);
    int error = strait_task_submit(parent, &task, NULL, &ids[n]);
    submitted[n] = !error;
    return error;
}

static void wait_all(void)
{
    model_assert(strait_parent_wait_all(parent, STRAIT_FOREVER) == 0);
}

static void check(void)
{
    for (unsigned n = 0; n < TASKS_MAX; n++) {
        model_assert(ended[n] == submitted[n]);
        model_assert(!ended[n] || ran[n] == (statuses[n] == STRAIT_TASK_DONE));
    }
}

/* ---- workers ---- */

static void serve(unsigned number)
{
    while (strait_load_acquire(&crew_count) <= number) {
        strait_pause();
    }
    const struct strait_p_thread_options *options = &crew[number]->options;
    if (number >= initial_crew) {
        options->set_up(options->argument);
    }
    options->run(options->argument);
    options->ended(options->argument);
    strait_store_release(&gone[number], 1);
}

static void crew_0(void)
{
    serve(0);
}

static void crew_1(void)
{
    serve(1);
}

/* ---- parents ---- */

static void submit_and_wait(void)
{
    model_assert(submit(0, work) == 0);
    wait_all();
}

static void submit_twice(void)
{
    submit_and_wait();
    model_assert(submit(1, work) == 0);
    wait_all();
}

static void submit_two_together(void)
{
    model_assert(submit(0, work_together) == 0);
    model_assert(submit(1, work_together) == 0);
    wait_all();
}

/* Another task may be reported first, which does not wake it. */
static void wait_for_one(void)
{
    model_assert(submit(0, work) == 0);
    model_assert(submit(1, work) == 0);
    model_assert(strait_task_wait(parent, ids[1], STRAIT_FOREVER) == 0);
    model_assert(ended[1]);
    wait_all();
}

static void wait_for_room(void)
{
    model_assert(submit(0, work) == 0);
    struct strait_task task = task_of(1, work);
    model_assert(strait_task_submit_wait(parent, &task, NULL, &ids[1], STRAIT_FOREVER) == 0);
    submitted[1] = true;
    wait_all();
}

static void submit_in_loop(void)
{
    model_assert(submit(0, work) == 0);
    for (;;) {
        strait_parent_dispatch(parent, 0);
        if (!strait_parent_owed(parent)) {
            return;
        }
        waiting_poll(parent->own.fd);
    }
}

static int fake_settime(struct model_site at, bool set)
{
    if (set && !model_omitted(at)) {
        strait_p_fd_raise(parent->own.fd);
    }
    return 0;
}

/* It asks for both completions at once: the first starts the clock, as the second does not come
 * without. */
static void gather_in_loop(void)
{
    model_assert(submit(0, work) == 0);
    model_assert(submit(1, work_after) == 0);
    for (;;) {
        strait_p_collect(parent, 2);
        if (!strait_parent_owed(parent)) {
            return;
        }
        if (fd_arm(parent, strait_parent_owed(parent), false)) {
            waiting_poll(parent->own.fd);
        }
    }
}

static void submit_and_cancel(void)
{
    model_assert(submit(0, work) == 0);
    int error = strait_task_cancel(parent, ids[0]);
    model_assert(error == 0 || error == -EINPROGRESS);
    wait_all();
    model_assert(error || statuses[0] == STRAIT_TASK_CANCELLED);
}

/* The fd is closed once no worker is about to write to it. */
static void submit_and_leave(void)
{
    model_assert(submit(0, work) == 0);
    model_assert(strait_parent_detach(parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) == 0);
    model_assert(!parent->leftover);
}

static void cancel_and_leave(void)
{
    model_assert(submit(0, work) == 0);
    model_assert(strait_parent_detach(parent, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER) == 0);
    model_assert(!parent->leftover);
}

/* Before the pool closes, or not. */
static void submit_at_last(void)
{
    int error = submit(0, work);
    model_assert(error == 0 || error == -EPIPE);
    wait_all();
}

/* ---- whoever has the pool ---- */

static void close_drain(void)
{
    model_assert(strait_pool_close(pool, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER, NULL) == 0);
}

static void close_cancel(void)
{
    model_assert(strait_pool_close(pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER, NULL) == 0);
}

static void resize_to_one(void)
{
    model_assert(strait_pool_resize(pool, 1, STRAIT_FOREVER) == 0);
}

const struct model_test pool_tests[] = {
    {"pools, a parent waits", init, {submit_and_wait, crew_0}, check, 2, 1, {0, 2, 1}, 2},
    {"pools, fenced", init, {submit_and_wait, crew_0}, check, 2, 1, {0, 2, 1, 0, FENCED}, 2},
    {"pools, twice", init, {submit_twice, crew_0}, check, 2, 1, {0, 2, 1}, 2},
    {"pools, one of two", init, {wait_for_one, crew_0}, check, 2, 1, {0, 2, 1}, 2},
    {"pools, room", init, {wait_for_room, crew_0}, check, 2, 1, {0, 1, 1}, 2},
    {"pools, loop", init, {submit_in_loop, crew_0}, check, 2, 1, {0, 2, 1, 0, LOOP}, 2},
    {"pools, gathered", init, {gather_in_loop, crew_0}, check, 2, 1, {0, 2, 1, 0, LOOP}, 2},
    {"pools, two workers",
     init,
     {submit_two_together, crew_0, crew_1},
     check,
     1,
     1,
     {0, 2, 2},
     6,
     true},
    {"pools, bits are lowered",
     init,
     {submit_and_wait, crew_0},
     check,
     2,
     1,
     {0, 2, 1, 0, LOWER | RAISED},
     2},
    {"pools, cancel", init, {submit_and_cancel, crew_0}, check, 2, 1, {0, 2, 1}, 2},
    {"pools, leave", init, {submit_and_leave, crew_0}, check, 2, 1, {0, 2, 1, 0, LOOP}, 2},
    {"pools, cancel and leave",
     init,
     {cancel_and_leave, crew_0},
     check,
     2,
     1,
     {0, 2, 1, 0, LOOP},
     2},
    {"pools, close", init, {submit_at_last, crew_0, close_drain}, check, 1, 2, {0, 2, 1}, 2},
    {"pools, close by cancelling",
     init,
     {submit_at_last, crew_0, close_cancel},
     check,
     1,
     1,
     {0, 2, 1},
     2},
    {"pools, resize",
     init,
     {submit_and_wait, crew_0, crew_1, resize_to_one},
     check,
     1,
     1,
     {0, 2, 2},
     6,
     true},
    {"pools, elastic",
     init,
     {submit_and_wait, crew_0, crew_1},
     check,
     1,
     1,
     {0, 2, 1, 2, ELASTIC},
     6,
     true},
    {"pools, growth",
     init,
     {submit_two_together, crew_0, crew_1},
     check,
     1,
     1,
     {0, 2, 1, 2},
     6,
     true},
    {0},
};
