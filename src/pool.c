/* SPDX-License-Identifier: MIT */
/*
 * pool: a run queue in, a channel of completions out, workers between.
 *
 * A task lives in a slot of the pool's, from submit to completion; what travels is its number. The
 * parent owns a slot but for the time between push and completion, when the worker that popped its
 * number does. Completions come back through a "lanes" channel, whose senders cannot hold each
 * other up: a worker of a low scheduling class may be preempted anywhere.
 *
 * Waking. A worker that finds the queue empty raises its bit in `idle`, spins, then sleeps on its
 * signal. Whoever adds a task wakes one sleeper, unless some raised bit's owner is awake, who will
 * find the task by itself; who takes a task and leaves others in the queue wakes the next. With
 * this chain a task never waits while a worker is idle, and a burst of tasks costs a wake-up per
 * worker, not per task.
 */
#include "strait/pool.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "cpu.h"
#include "isolate.h"
#include "memory.h"
#include "options.h"
#include "runqueue.h"
#include "wait.h"

#define COMPLETIONS_AT_ONCE 32
#define NONE UINT32_MAX
#define IDLE_BITS ((unsigned)(8 * sizeof(uintptr_t)))
#define IDLE_WORDS (STRAIT_POOL_WORKERS_MAX / IDLE_BITS)

enum slot_state {
    FREE,      /* the parent's */
    QUEUED,    /* whoever moves it on first has it: a worker, or the parent that cancels */
    RUNNING,   /* a worker's */
    CANCELLED, /* the parent's, but its number is still in the queue */
};

struct slot {
    STRAIT_LINE_ALIGNED struct strait_task task;
    uint32_t state;
    uint32_t cancel;     /* the parent writes, the task polls */
    uint32_t generation; /* how often the slot was used: the upper half of a task's id */
    uint32_t next;       /* in the parent's list of free, or of cancelled slots */
};

struct pool_worker {
    /* line 0: the worker writes its counters, the parent reads them */
    STRAIT_LINE_ALIGNED uintptr_t started;
    struct strait_sender completions;
    uint32_t spin_ns;
    unsigned number;
    int cpu;
    struct strait_pool *pool;
    struct strait_worker *worker;
    /* line 1 or later: what the worker sleeps on, and wakers write */
    STRAIT_LINE_ALIGNED struct strait_signal signal;
};

struct strait_pool {
    /* set by create; `closing` once by the parent */
    STRAIT_LINE_ALIGNED struct strait_pool_options options;
    struct slot *slots;
    uint32_t slot_count;
    struct pool_worker *workers;
    bool fenced;
    int home; /* where the parent was when it created the pool */
    uint32_t closing;
    struct strait_signal parent; /* says where the parent can run */
    /* the parent's */
    STRAIT_LINE_ALIGNED struct strait_receiver completions;
    struct strait_channel *channel;
    uint32_t free;      /* first of the list */
    uint32_t fresh;     /* slots from here on were never used */
    uint32_t cancelled; /* first of the list of those whose completion is due */
    uint32_t *cancelled_end;
    uint32_t tombstones; /* cancelled, and still in the queue */
    uint64_t submitted;
    uint64_t done;
    uint64_t failed;
    uint64_t cancels;
    uint64_t withdrawn; /* cancelled before they started */
    uint64_t finished;  /* started ones among the completed */
    uint64_t refused;
    uint64_t queued_max;
    bool wants_room;
    bool dispatching;
    bool closed;
    /* workers raise and lower their bits, wakers lower them */
    STRAIT_LINE_ALIGNED uintptr_t idle[IDLE_WORDS];
    /* two lines of its own */
    struct strait_runqueue queue;
};

STRAIT_STATIC_ASSERT(sizeof(struct slot) % STRAIT_LINE == 0, "slots share no line");
STRAIT_STATIC_ASSERT(sizeof(struct pool_worker) % STRAIT_LINE == 0, "workers share no line");
STRAIT_STATIC_ASSERT(offsetof(struct strait_pool, idle) % STRAIT_LINE == 0, "a line of its own");
STRAIT_STATIC_ASSERT(offsetof(struct strait_pool, queue) % STRAIT_LINE == 0, "lines of its own");

/* ---- waking ---- */

static void idle_set(struct strait_pool *pool, unsigned number, bool raised)
{
    uintptr_t bit = (uintptr_t)1 << (number % IDLE_BITS);
    uintptr_t *word = &pool->idle[number / IDLE_BITS];
    /* workers and wakers write it, and only by compare-and-swap */
    uintptr_t old = strait_word_load_relaxed(word);
    uintptr_t next;
    do {
        next = raised ? old | bit : old & ~bit;
        /* workers and wakers write it */
    } while (!strait_word_cas_relaxed(word, &old, next));
}

static bool idle_raised(const struct strait_pool *pool, unsigned number)
{
    /* workers and wakers write it */
    uintptr_t word = strait_word_load_relaxed(&pool->idle[number / IDLE_BITS]);
    return (word >> (number % IDLE_BITS) & 1) != 0;
}

/* The first idle worker from `number` on, or NULL. */
static struct pool_worker *idle_next(struct strait_pool *pool, unsigned number)
{
    for (; number < pool->options.workers; number = (number / IDLE_BITS + 1) * IDLE_BITS) {
        /* workers and wakers write it */
        uintptr_t word = strait_word_load_relaxed(&pool->idle[number / IDLE_BITS]);
        word &= UINTPTR_MAX << (number % IDLE_BITS);
        if (word) {
            return &pool->workers[number / IDLE_BITS * IDLE_BITS + (unsigned)__builtin_ctzll(word)];
        }
    }
    return NULL;
}

/* Wakes the first idle worker that sleeps, unless one before it is awake and will find the task by
 * itself. One that is awake on this very CPU does not run, and may not for long. */
static void wake_sleeper(struct strait_pool *pool)
{
    int here = sched_getcpu();
    struct pool_worker *worker = idle_next(pool, 0);
    for (; worker; worker = idle_next(pool, worker->number + 1)) {
        /* the worker sets STRAIT_WAITING, its wakers clear it */
        if (strait_load_relaxed(&worker->signal.word) & STRAIT_WAITING) {
            idle_set(pool, worker->number, false); /* the next waker turns to the next sleeper */
            strait_signal_rouse(&worker->signal, -1, false);
            return;
        }
        if (worker->cpu != here) {
            return;
        }
    }
}

/* Sees to it that somebody comes for what was just pushed, or just left in the queue. */
static void wake_one(struct strait_pool *pool)
{
    if (pool->fenced) {
        /* pool.fence: pairs with wait.sleep; what was pushed, or else the sleeper's bit */
        strait_full_fence();
    }
    /* pool.notify: pairs with wait.sleep; what was pushed, or else the sleeper's bit */
    strait_light_barrier();
    if (idle_next(pool, 0)) {
        /* pool.wake: pairs with pool.awake; what was pushed, or else that the worker is not idle */
        strait_full_fence();
        wake_sleeper(pool);
    }
}

/* ---- on the workers ---- */

static bool closing(const struct strait_pool *pool)
{
    /* pool.closing: pairs with pool.close; the last task that was pushed */
    return strait_load_acquire(&pool->closing) != 0;
}

/* Something to do, or called: a waker has lowered the bit, which wait_for_work raises again. */
static bool worker_ready(void *side)
{
    const struct pool_worker *self = side;
    return !strait_runqueue_empty(&self->pool->queue) || closing(self->pool) ||
           !idle_raised(self->pool, self->number);
}

static void run_task(struct pool_worker *self, struct strait_isolate *isolate, struct slot *slot)
{
    /* the worker alone writes it */
    strait_word_store_relaxed(&self->started, self->started + 1);
    isolate->busy = true;
    slot->task.code = slot->task.run(&slot->task);
    isolate->busy = false;
    strait_isolate_settle(isolate);
}

/* The channel has room for every slot's number in every lane: the send cannot be refused. */
static void work(struct pool_worker *self, struct strait_isolate *isolate, uint32_t number)
{
    struct slot *slot = &self->pool->slots[number];
    uint32_t state = QUEUED;
    /* the parent writes it when it cancels, else the worker; who was first is all that counts */
    if (strait_cas_relaxed(&slot->state, &state, RUNNING)) {
        run_task(self, isolate, slot);
    }
    strait_try_send(&self->completions, &number, 1);
}

static void wait_for_work(struct pool_worker *self)
{
    struct strait_pool *pool = self->pool;
    struct strait_waiter waiter = {
        .own = &self->signal,
        .peer = &pool->parent,
        .ready = worker_ready,
        .side = self,
        .spin_ns = &self->spin_ns,
        .mode = pool->options.wait,
        .fd = -1,
        .sole = true,
        .fenced = pool->fenced,
    };
    idle_set(pool, self->number, true);
    strait_wait(&waiter, STRAIT_FOREVER);
    idle_set(pool, self->number, false);
    /* pool.awake: pairs with pool.wake; that the worker is not idle, or else what was pushed */
    strait_full_fence();
}

static int serve(struct strait_isolate *isolate)
{
    struct pool_worker *self = strait_isolate_data(isolate);
    struct strait_pool *pool = self->pool;
    uint32_t number;
    strait_sender_adopt(&self->completions);
    for (;;) {
        while (strait_runqueue_pop(&pool->queue, &number)) {
            if (!strait_runqueue_empty(&pool->queue)) {
                wake_one(pool);
            }
            work(self, isolate, number);
        }
        if (closing(pool) && strait_runqueue_empty(&pool->queue)) {
            break;
        }
        wait_for_work(self);
    }
    strait_sender_close(&self->completions);
    return 0;
}

/* ---- create ---- */

static int resolve_schedule(const struct strait_pool_options *options)
{
    if (options->schedule != STRAIT_SCHEDULE_DEFAULT) {
        return (int)options->schedule;
    }
    return options->workers < strait_cpu_count() ? STRAIT_SCHEDULE_DEFAULT : STRAIT_SCHEDULE_IDLE;
}

static int resolve_options(struct strait_pool_options *options,
                           const struct strait_pool_options *given)
{
    int error = strait_options_copy(options, sizeof(*options), given);
    if (error) {
        return error;
    }
    if (!options->workers) {
        options->workers = strait_cpu_count();
    }
    if (!options->queue_limit) {
        options->queue_limit = 1024;
    }
    if (!options->name) {
        options->name = "strait";
    }
    if (options->wait == STRAIT_WAIT_DEFAULT) {
        options->wait = STRAIT_WAIT_PARK;
    }
    if (options->workers > STRAIT_POOL_WORKERS_MAX ||
        options->queue_limit > STRAIT_QUEUE_LIMIT_MAX ||
        (unsigned)options->wait >= STRAIT_WAIT_FD) {
        return -EINVAL;
    }
    options->schedule = (enum strait_schedule)resolve_schedule(options);
    return 0;
}

static void pool_free(struct strait_pool *pool)
{
    strait_receiver_close(&pool->completions);
    strait_channel_destroy(pool->channel, NULL, NULL);
    free(pool->slots);
    free(pool->workers);
    free(pool->queue.entries);
    free(pool);
}

/* Room for what waits, what runs, and as many again that have finished, or were cancelled and still
 * lie in the queue. */
static int pool_alloc(struct strait_pool **out, const struct strait_pool_options *options)
{
    struct strait_pool *pool = strait_line_alloc(sizeof(*pool));
    if (!pool) {
        return -ENOMEM;
    }
    memset(pool, 0, sizeof(*pool));
    size_t slots = 2 * options->queue_limit + options->workers;
    uint32_t entries = strait_slots(slots);
    pool->options = *options;
    pool->slot_count = (uint32_t)slots;
    pool->slots = strait_line_alloc(slots * sizeof(*pool->slots));
    pool->workers = strait_line_alloc(options->workers * sizeof(*pool->workers));
    strait_runqueue_init(&pool->queue, strait_line_alloc(entries * sizeof(uint32_t)), entries);
    struct strait_channel_options channel = {
        .variant = "lanes",
        .capacity = slots,
        .message_size = sizeof(uint32_t),
        .senders = options->workers,
        .receiver = STRAIT_WAIT_FD,
    };
    int error = strait_channel_create(&pool->channel, &channel);
    if (!error) {
        error = strait_receiver_open(&pool->completions, pool->channel);
    }
    if (!pool->slots || !pool->workers || !pool->queue.entries) {
        error = -ENOMEM;
    }
    if (error) {
        pool_free(pool);
        return error;
    }
    *out = pool;
    return 0;
}

static int spawn_worker(struct strait_pool *pool, unsigned number)
{
    struct pool_worker *self = &pool->workers[number];
    char name[32];
    int cpu = strait_cpu_choose(pool->home, number, true);
    snprintf(name, sizeof(name), "%.20s-%u", pool->options.name, number);
    struct strait_worker_options options = {
        .entry = serve,
        .data = self,
        .name = name,
        .pin = STRAIT_PIN_CPU,
        .cpu = cpu,
        .schedule = pool->options.schedule,
        .nice = pool->options.nice,
        .stack_size = pool->options.stack_size,
        .heap_limit = pool->options.heap_limit,
        .to_worker = {.capacity = 1},
        .to_parent = {.capacity = 1, .receiver = STRAIT_WAIT_PARK},
    };
    memset(self, 0, sizeof(*self));
    self->pool = pool;
    self->number = number;
    self->cpu = cpu;
    self->spin_ns = STRAIT_SPIN_NS;
    int error = strait_sender_open(&self->completions, pool->channel);
    if (!error) {
        error = strait_worker_spawn(&self->worker, &options);
    }
    if (error) {
        strait_sender_close(&self->completions);
    }
    return error;
}

static void end_workers(struct strait_pool *pool)
{
    /* pool.close: pairs with pool.closing; the last task that was pushed */
    strait_store_release(&pool->closing, 1);
    for (unsigned i = 0; i < pool->options.workers; i++) {
        strait_signal_kick(&pool->workers[i].signal, -1, false);
    }
}

/* 0: all of them are joined and gone; -ETIMEDOUT. */
static int join_workers(struct strait_pool *pool, int64_t deadline)
{
    for (unsigned i = 0; i < pool->options.workers; i++) {
        struct pool_worker *self = &pool->workers[i];
        if (!self->worker) {
            continue;
        }
        int error = strait_worker_join(self->worker, deadline);
        if (error) {
            return error;
        }
        strait_worker_destroy(self->worker);
        self->worker = NULL;
    }
    return 0;
}

static int spawn_workers(struct strait_pool *pool)
{
    unsigned wanted = pool->options.workers;
    for (unsigned i = 0; i < wanted; i++) {
        int error = spawn_worker(pool, i);
        if (error) {
            pool->options.workers = i;
            end_workers(pool);
            join_workers(pool, STRAIT_FOREVER);
            return error;
        }
    }
    return 0;
}

int strait_pool_create(struct strait_pool **out, const struct strait_pool_options *given)
{
    struct strait_pool_options options;
    struct strait_pool *pool;
    int error = resolve_options(&options, given);
    if (!error) {
        error = pool_alloc(&pool, &options);
    }
    if (error) {
        return error;
    }
    pool->free = NONE;
    pool->cancelled = NONE;
    pool->cancelled_end = &pool->cancelled;
    pool->fenced = !strait_heavy_barrier_available();
    pool->parent.cpu = strait_only_cpu();
    pool->home = sched_getcpu();
    error = spawn_workers(pool);
    if (error) {
        pool_free(pool);
        return error;
    }
    *out = pool;
    return 0;
}

/* ---- slots and ids ---- */

static strait_task_id slot_id(const struct strait_pool *pool, const struct slot *slot)
{
    return (uint64_t)slot->generation << 32 | (uint32_t)(slot - pool->slots);
}

static struct slot *slot_of(struct strait_pool *pool, strait_task_id id)
{
    uint32_t number = (uint32_t)id;
    if (number >= pool->fresh || pool->slots[number].generation != (uint32_t)(id >> 32)) {
        return NULL;
    }
    return &pool->slots[number];
}

static struct slot *slot_take(struct strait_pool *pool)
{
    if (pool->free != NONE) {
        struct slot *slot = &pool->slots[pool->free];
        pool->free = slot->next;
        return slot;
    }
    if (pool->fresh == pool->slot_count) {
        return NULL;
    }
    struct slot *slot = &pool->slots[pool->fresh++];
    slot->generation = 1;
    return slot;
}

static void slot_give(struct strait_pool *pool, struct slot *slot)
{
    /* written by the parent alone while the number is not in the queue */
    strait_store_relaxed(&slot->state, FREE);
    slot->next = pool->free;
    pool->free = (uint32_t)(slot - pool->slots);
}

/* ---- submit and cancel, on the parent ---- */

static uint64_t started(const struct strait_pool *pool)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < pool->options.workers; i++) {
        /* the worker alone writes it */
        sum += strait_word_load_relaxed(&pool->workers[i].started);
    }
    return sum;
}

/* Tasks that wait: an upper bound, and exact where that matters, at the limit and at a new maximum.
 * A cancelled one does not wait, wherever its number is. */
static size_t queue_length(struct strait_pool *pool)
{
    if (pool->tombstones == 0) {
        size_t matters = strait_min(pool->options.queue_limit, (size_t)pool->queued_max);
        return strait_runqueue_count(&pool->queue, matters);
    }
    return (size_t)(pool->submitted - pool->withdrawn - started(pool));
}

static bool has_room(struct strait_pool *pool)
{
    bool has_slot = pool->free != NONE || pool->fresh < pool->slot_count;
    return has_slot && queue_length(pool) < pool->options.queue_limit;
}

static struct slot *slot_for_submit(struct strait_pool *pool)
{
    size_t length = queue_length(pool);
    struct slot *slot = length < pool->options.queue_limit ? slot_take(pool) : NULL;
    if (!slot) {
        pool->refused++;
        pool->wants_room = true;
    } else if (length + 1 > pool->queued_max) {
        pool->queued_max = length + 1;
    }
    return slot;
}

int strait_pool_submit(struct strait_pool *pool, const struct strait_task *task, strait_task_id *id)
{
    if (!task->run) {
        return -EINVAL;
    }
    if (pool->closing) {
        return -EPIPE;
    }
    struct slot *slot = slot_for_submit(pool);
    if (!slot) {
        return -EAGAIN;
    }
    slot->task = *task;
    slot->cancel = 0;
    /* written by the parent alone while the number is not in the queue */
    strait_store_relaxed(&slot->state, QUEUED);
    if (id) {
        *id = slot_id(pool, slot);
    }
    pool->submitted++;
    strait_runqueue_push(&pool->queue, (uint32_t)(slot - pool->slots));
    wake_one(pool);
    return 0;
}

/* Takes a waiting task from under the workers; its completion is due at the next dispatch. */
static bool cancel_queued(struct strait_pool *pool, struct slot *slot)
{
    uint32_t state = QUEUED;
    /* a worker writes it when it starts the task, else the parent; who was first is all that counts
     */
    if (!strait_cas_relaxed(&slot->state, &state, CANCELLED)) {
        return false;
    }
    slot->next = NONE;
    *pool->cancelled_end = (uint32_t)(slot - pool->slots);
    pool->cancelled_end = &slot->next;
    pool->tombstones++;
    pool->withdrawn++;
    return true;
}

int strait_pool_cancel(struct strait_pool *pool, strait_task_id id)
{
    struct slot *slot = slot_of(pool, id);
    if (!slot) {
        return -ENOENT;
    }
    if (cancel_queued(pool, slot)) {
        strait_channel_wake(pool->channel);
        return 0;
    }
    /* the parent and the worker write it; RUNNING is final until the completion */
    if (strait_load_relaxed(&slot->state) == CANCELLED) {
        return -EALREADY;
    }
    /* the parent alone writes it; the flag itself is all that is read */
    strait_store_relaxed(&slot->cancel, 1);
    return -EINPROGRESS;
}

bool strait_task_cancelled(const struct strait_task *task)
{
    const struct slot *slot = (const struct slot *)(const void *)task;
    /* the parent alone writes it; the flag itself is all that is read */
    return strait_load_relaxed(&slot->cancel) != 0;
}

/* ---- completions, on the parent ---- */

/* The task's id names nothing from here on. */
static void complete(struct slot *slot, enum strait_task_status status)
{
    slot->generation += slot->generation == UINT32_MAX ? 2 : 1; /* an id is never 0 */
    slot->task.status = status;
    if (slot->task.done) {
        slot->task.done(&slot->task);
    }
}

/* A task that a worker has run. */
static void complete_run(struct strait_pool *pool, struct slot *slot)
{
    pool->finished++;
    if (slot->task.code == 0) {
        pool->done++;
        complete(slot, STRAIT_TASK_DONE);
    } else if (slot->task.code == -ECANCELED) {
        pool->cancels++;
        complete(slot, STRAIT_TASK_CANCELLED);
    } else {
        pool->failed++;
        complete(slot, STRAIT_TASK_FAILED);
    }
    slot_give(pool, slot);
}

/* The first of those that never started. The slot is free once its number has come back too. */
static void complete_cancelled(struct strait_pool *pool)
{
    struct slot *slot = &pool->slots[pool->cancelled];
    pool->cancelled = slot->next;
    if (pool->cancelled == NONE) {
        pool->cancelled_end = &pool->cancelled;
    }
    pool->cancels++;
    slot->task.code = -ECANCELED;
    complete(slot, STRAIT_TASK_CANCELLED);
}

/* A number came back from a worker: how many completions that was. It cannot be on the list of the
 * cancelled any more: that is emptied first. */
static size_t take_back(struct strait_pool *pool, struct slot *slot)
{
    /* the parent and the worker write it, and both are done with it */
    if (strait_load_relaxed(&slot->state) == RUNNING) {
        complete_run(pool, slot);
        return 1;
    }
    pool->tombstones--;
    slot_give(pool, slot);
    return 0;
}

/* One step, adding to *completed. 1; 0: nothing there; -EPIPE: and the workers have ended. */
static int collect_some(struct strait_pool *pool, size_t budget, size_t *completed)
{
    uint32_t numbers[COMPLETIONS_AT_ONCE];
    size_t before = *completed;
    while (pool->cancelled != NONE && *completed < budget) {
        complete_cancelled(pool);
        (*completed)++;
    }
    size_t wanted = strait_min(budget - *completed, COMPLETIONS_AT_ONCE);
    ptrdiff_t received = strait_try_receive(&pool->completions, numbers, wanted);
    for (ptrdiff_t i = 0; i < received; i++) {
        *completed += take_back(pool, &pool->slots[numbers[i]]);
    }
    if (received > 0 || *completed > before) {
        return 1;
    }
    return received == -EPIPE ? -EPIPE : 0;
}

static size_t collect_all(struct strait_pool *pool, size_t budget)
{
    size_t completed = 0;
    while (completed < budget) {
        int step = collect_some(pool, budget, &completed);
        if (step == -EPIPE) {
            strait_fd_clear(strait_pool_fd(pool));
            break;
        }
        if (step == 0 && strait_receiver_arm(&pool->completions) == 1) {
            break;
        }
    }
    return completed;
}

static void tell_room(struct strait_pool *pool)
{
    if (pool->wants_room && !pool->closing && has_room(pool)) {
        pool->wants_room = false;
        if (pool->options.room) {
            pool->options.room(pool, pool->options.context);
        }
    }
}

ptrdiff_t strait_pool_dispatch(struct strait_pool *pool, size_t budget)
{
    if (pool->dispatching) {
        return -EDEADLK;
    }
    pool->dispatching = true;
    size_t completed = collect_all(pool, budget ? budget : STRAIT_BUDGET);
    tell_room(pool);
    pool->dispatching = false;
    return (ptrdiff_t)completed;
}

int strait_pool_fd(const struct strait_pool *pool)
{
    return strait_receiver_fd(&pool->completions);
}

/* ---- close ---- */

static void cancel_all(struct strait_pool *pool)
{
    for (uint32_t i = 0; i < pool->fresh; i++) {
        cancel_queued(pool, &pool->slots[i]);
    }
}

/* A task that waits for its own pool would wait for itself. */
static bool called_by_task(const struct strait_pool *pool)
{
    struct strait_isolate *isolate = strait_isolate_current();
    for (unsigned i = 0; isolate && i < pool->options.workers; i++) {
        if (isolate->data == &pool->workers[i]) {
            return true;
        }
    }
    return false;
}

/* The deadline alone ends this wait: a worker that was asked to stop can close its pool. */
static int await_completions(struct strait_pool *pool, int64_t deadline)
{
    struct strait_berth *own = strait_berth_enter(NULL);
    int error = strait_receive_wait(&pool->completions, deadline);
    strait_berth_enter(own);
    return error;
}

int strait_pool_close(struct strait_pool *pool, enum strait_close mode, int64_t deadline)
{
    if (called_by_task(pool) || pool->dispatching) {
        return -EDEADLK;
    }
    if (mode == STRAIT_CLOSE_CANCEL) {
        cancel_all(pool);
    }
    if (!pool->closing) {
        end_workers(pool);
    }
    for (;;) {
        strait_pool_dispatch(pool, SIZE_MAX);
        int error = await_completions(pool, deadline);
        if (error == -EPIPE) {
            break;
        }
        if (error) {
            return error;
        }
    }
    int error = join_workers(pool, deadline);
    pool->closed = !error;
    return error;
}

int strait_pool_destroy(struct strait_pool *pool)
{
    if (!pool) {
        return 0;
    }
    if (!pool->closed || pool->dispatching) {
        return -EBUSY;
    }
    pool_free(pool);
    return 0;
}

/* ---- counters ---- */

void strait_pool_stats(const struct strait_pool *pool, struct strait_pool_stats *stats)
{
    uint64_t completed = pool->done + pool->failed + pool->cancels;
    memset(stats, 0, sizeof(*stats));
    stats->submitted = pool->submitted;
    stats->done = pool->done;
    stats->failed = pool->failed;
    stats->cancelled = pool->cancels;
    stats->refused = pool->refused;
    stats->running = started(pool) - pool->finished;
    stats->queued = pool->submitted - completed - stats->running;
    stats->queued_max = pool->queued_max;
    stats->queue_limit = pool->options.queue_limit;
    stats->workers = pool->options.workers;
}
