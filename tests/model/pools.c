/* SPDX-License-Identifier: MIT */
/* A pool as it ships, parents, workers and closing included: parent.c, worker.c and pool.c, with
 * threads, locks, memory and the kernel replaced by the checker's. Thread 0 is the parent. */
#include "pools.h"

/* ---- the pool ---- */

/* Sites: each call that wakes or passes the heavy barrier may be left out by itself. */
#define UNLESS_OMITTED(call) (model_omitted(MODEL_HERE) ? (void)0 : (void)(call))
#define strait_p_heavy_barrier(fenced) UNLESS_OMITTED((strait_p_heavy_barrier)(fenced))
#define strait_p_wake(event, between) UNLESS_OMITTED((strait_p_wake)(event, between))
#define strait_p_notify_sleeper(event, between)                                                    \
    UNLESS_OMITTED((strait_p_notify_sleeper)(event, between))
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
    TIMED = 32,   /* times are taken */
    FILLED = 64,  /* the bit of its bit's word is up */
    OTHERS = 128, /* another parent has tasks, too */
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
static bool roomy;

static void note_room(struct strait_parent *told_of, void *context)
{
    (void)told_of;
    (void)context;
    roomy = true;
}

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
        .timed = (plan->how & TIMED) != 0,
    };
    struct strait_parent_options way = {
        .wait = plan->how & LOOP ? STRAIT_WAIT_FD : STRAIT_WAIT_PARK,
        .room = note_room,
    };
    memset(arena, 0, arena_used);
    arena_used = 0;
    memset(started, 0, sizeof(started));
    memset(told, 0, sizeof(told));
    memset(ran, 0, sizeof(ran));
    memset(ended, 0, sizeof(ended));
    memset(submitted, 0, sizeof(submitted));
    roomy = false;
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
        pool->bits[0][parent->place / STRAIT_P_BITS] = (uintptr_t)1
                                                       << parent->place % STRAIT_P_BITS;
    }
    pool->raised = (plan->how & RAISED ? 1u : 0u) + (plan->how & OTHERS ? 1u : 0u);
    if (plan->how & (RAISED | FILLED)) {
        uint32_t word = parent->place / STRAIT_P_BITS;
        pool->filled[0][word / STRAIT_P_BITS] = (uintptr_t)1 << word % STRAIT_P_BITS;
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

/* Ends once the parent goes on: a report of this one is not what tells it to. */
static int work_long(struct strait_task *task)
{
    while (!strait_load_relaxed(&started[1])) {
        strait_pause();
    }
    return work(task);
}

static int start(struct strait_task *task)
{
    strait_store_relaxed(&started[task->data[0]], 1);
    return 0;
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
    struct strait_task task = {
        .run = run_it, .name = "work", .done = note_end, .data = {(unsigned char)n}};
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

static int submit_wait(unsigned n)
{
    struct strait_task task = task_of(n, work);
    int error = strait_task_submit_wait(parent, &task, NULL, &ids[n], STRAIT_FOREVER);
    submitted[n] = !error;
    return error;
}

static void wait_for_room(void)
{
    model_assert(submit(0, work) == 0);
    model_assert(submit_wait(1) == 0);
    wait_all();
}

/* The first has been claimed, or the pool closes; then it closes. No report wakes it. */
static void wait_for_room_at_last(void)
{
    int error = submit(0, work_long);
    error = error ? error : submit_wait(1);
    error = error ? error : submit_wait(2);
    model_assert(error == -EPIPE);
    strait_store_relaxed(&started[1], 1);
    wait_all();
}

static void run_loop(void)
{
    for (;;) {
        strait_parent_dispatch(parent, 0);
        if (!strait_parent_owed(parent)) {
            return;
        }
        waiting_poll(parent->own.fd);
    }
}

static void submit_in_loop(void)
{
    model_assert(submit(0, work) == 0);
    run_loop();
}

/* Its fd is armed from the start. */
static void refused_in_loop(void)
{
    model_assert(submit(0, work_long) == 0);
    int error = submit(1, work);
    while (error && !roomy) {
        waiting_poll(parent->own.fd);
        strait_parent_dispatch(parent, 0);
    }
    strait_store_relaxed(&started[1], 1);
    run_loop();
}

/* Its report is followed by another that the parent does not wait for. */
static void wait_for_second(void)
{
    for (unsigned n = 0; n < 3; n++) {
        model_assert(submit(n, work) == 0);
    }
    model_assert(strait_task_wait(parent, ids[1], STRAIT_FOREVER) == 0);
    wait_all();
}

static void submit_long(void)
{
    model_assert(submit(0, work_long) == 0);
}

static void submit_start(void)
{
    model_assert(submit(1, start) == 0);
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
        if (fd_arm(parent, strait_parent_owed(parent))) {
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

/* A worker that completes something, which takes until a task has started: it was idle a moment
 * ago, and may be taken for idle. */
static void complete_long(void)
{
    struct strait_p_pool_worker *self = &pool->workers[0];
    self->parent->due = self->parent->slots;
    wait_for_work(self);
    pass_on(pool);
    while (!strait_load_relaxed(&started[1])) {
        strait_pause();
    }
}

/* ---- whoever looks on ---- */

#define LATER 50 /* seconds, and readings of the clock */

/* At no moment the function of one task and the name of another, or its start. */
static void watch(void)
{
    struct strait_pool_worker_stats stats = {0};
    while (strait_now() < (int64_t)LATER * 1000000000) {
    }
    read_running(&pool->workers[0], &stats);
    model_assert((stats.run == NULL) == (stats.name == NULL));
    model_assert((stats.run == NULL) == (stats.running_ns == 0));
}

static void count(void)
{
    struct strait_pool_stats stats;
    strait_pool_stats(pool, &stats);
    model_assert(stats.queued <= stats.submitted && stats.running <= stats.submitted);
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

/* The plans: queue, workers, workers at most, how. The workers' threads need not end. */
#define POOL(NAME, PARENT, ...)                                                                    \
    {                                                                                              \
        "pools, " NAME, init, {PARENT, crew_0}, check, 2, 1, {0, __VA_ARGS__}, 2                   \
    }
#define POOL_AND(THIRD, NAME, PARENT, CHECK, STALE, ...)                                           \
    {                                                                                              \
        "pools, " NAME, init, {PARENT, crew_0, THIRD}, CHECK, 1, STALE, {0, __VA_ARGS__}, 2        \
    }
#define POOL_OF_TWO(NAME, PARENT, FOURTH, ...)                                                     \
    {                                                                                              \
        "pools, " NAME, init, {PARENT, crew_0, crew_1, FOURTH}, check, 1, 1, {0, __VA_ARGS__}, 6,  \
            true                                                                                   \
    }

const struct model_test pool_tests[] = {
    POOL("a parent waits", submit_and_wait, 2, 1),
    POOL("fenced", submit_and_wait, 2, 1, 0, FENCED | RAISED),
    POOL("twice", submit_twice, 2, 1),
    POOL("one of two", wait_for_one, 2, 1),
    POOL("room", wait_for_room, 1, 1),
    POOL_AND(close_cancel, "room and close", wait_for_room_at_last, check, 1, 1, 1),
    POOL("refused", refused_in_loop, 1, 1, 0, LOOP),
    POOL("second of three", wait_for_second, 3, 1),
    POOL_AND(watch, "watched", submit_long, NULL, 2, 2, 1, 0, TIMED),
    POOL_AND(count, "counted", submit_and_wait, check, 1, 2, 1),
    {"pools, taken for idle",
     init,
     {submit_start, complete_long, crew_1},
     NULL,
     2,
     1,
     {0, 2, 2, 0, RAISED},
     4,
     true},
    POOL("loop", submit_in_loop, 2, 1, 0, LOOP),
    POOL("gathered", gather_in_loop, 2, 1, 0, LOOP | OTHERS),
    POOL_OF_TWO("two workers", submit_two_together, NULL, 2, 2),
    POOL("bits are lowered", submit_and_wait, 2, 1, 0, LOWER | RAISED),
    POOL("a word's bit", submit_and_wait, 2, 1, 0, LOWER | FILLED),
    POOL("a word's bit, fenced", submit_and_wait, 2, 1, 0, FENCED | LOWER | FILLED),
    POOL("cancel", submit_and_cancel, 2, 1),
    POOL("leave", submit_and_leave, 2, 1, 0, LOOP),
    POOL("cancel and leave", cancel_and_leave, 2, 1, 0, LOOP),
    POOL_AND(close_drain, "close", submit_at_last, check, 2, 2, 1),
    POOL_AND(close_cancel, "close by cancelling", submit_at_last, check, 1, 2, 1),
    POOL_OF_TWO("resize", submit_and_wait, resize_to_one, 2, 2),
    POOL_OF_TWO("elastic", submit_and_wait, NULL, 2, 1, 2, ELASTIC),
    POOL_OF_TWO("growth", submit_two_together, NULL, 2, 1, 2),
    {0},
};
