/* SPDX-License-Identifier: MIT */
/*
 * keeper: one thread for each pool that does what neither a worker nor a parent can do in time. It
 * starts and joins the workers; wakes parents when a deadline has passed; looks for tasks that
 * stall; and takes the place of parents that have left. While there is nothing of that to do, it
 * sleeps.
 */
#include <signal.h>
#include <stdio.h>

#include "../channel/memory.h"
#include "pool.h"

/* Tasks wait for so long, and no worker is idle: one more is started. */
#define GROW_NS 1000000
/* The watch's longest and shortest period. */
#define WATCH_MIN_NS 1000000

enum keeper_state {
    KEEPER_STARTING,
    KEEPER_UP,
    KEEPER_OVER, /* nothing of the pool's runs any more but the end of the keeper's thread */
};

/* ---- being called ---- */

void strait_keeper_call(struct strait_pool *pool)
{
    /* keeper.call: pairs with keeper.called; what the caller did before */
    strait_store_release(&pool->keeper_called, 1);
    strait_signal_poke(pool, &pool->keeper_signal);
}

void strait_keeper_look(struct strait_pool *pool, unsigned watch)
{
    /* the keeper alone writes it, and looks once more before it sleeps */
    if (!(strait_load_relaxed(&pool->watching) & watch)) {
        strait_keeper_call(pool);
    }
}

static void answer_call(struct strait_pool *pool)
{
    uint32_t called = 1;
    /* keeper.called: pairs with keeper.call; what the caller did before */
    strait_cas_acq_rel(&pool->keeper_called, &called, 0);
}

bool strait_keeper_is_current(const struct strait_pool *pool)
{
    return pthread_equal(pthread_self(), pool->keeper) != 0;
}

/* ---- workers ---- */

static void set_online_at(struct pool_worker *self, int64_t now)
{
    /* the keeper alone writes it */
    strait_wide_store_relaxed(&self->online_at, (uint64_t)now);
}

static int spawn_worker(struct strait_pool *pool, unsigned number)
{
    struct pool_worker *self = &pool->workers[number];
    char name[32];
    snprintf(name, sizeof(name), "%.20s-%u", pool->options.name, number);
    struct strait_p_thread_options options = {
        .name = name,
        .cpus = &self->cpu,
        .cpu_count = 1,
        .pinned = true,
        .schedule = pool->options.schedule,
        .nice = pool->options.nice,
        .scheduled = true,
        .stack_size = pool->options.stack_size,
        .run = strait_crew_serve,
        .argument = self,
    };
    /* the keeper writes it, and the worker when it ends */
    strait_store_relaxed(&self->state, STRAIT_STARTING);
    set_online_at(self, strait_now());
    int error = strait_p_thread_start(&self->start, &options);
    if (error) {
        set_online_at(self, 0);
        /* the keeper writes it, and the worker when it ends */
        strait_store_relaxed(&self->state, STRAIT_ABSENT);
        return error;
    }
    /* the keeper alone writes it */
    strait_store_relaxed(&pool->online, pool->online + 1);
    return 0;
}

static void join_worker(struct pool_worker *self)
{
    struct strait_pool *pool = self->pool;
    strait_p_thread_join(&self->start, STRAIT_FOREVER);
    int64_t before = (int64_t)self->online_at;
    /* the keeper alone writes it */
    strait_wide_store_relaxed(&self->online_ns,
                              self->online_ns + (uint64_t)(strait_now() - before));
    set_online_at(self, 0);
    /* the keeper writes it, and the worker when it ends */
    strait_store_relaxed(&self->state, STRAIT_ABSENT);
    /* the keeper alone writes it */
    strait_store_relaxed(&pool->online, pool->online - 1);
}

static void reap(struct strait_pool *pool)
{
    for (unsigned i = 0; i < pool->options.workers_max; i++) {
        /* crew.join: pairs with crew.retired; all that the worker has written */
        if (strait_load_acquire(&pool->workers[i].state) == STRAIT_RETIRED) {
            join_worker(&pool->workers[i]);
        }
    }
}

static int spawn_first(struct strait_pool *pool)
{
    int error = 0;
    for (unsigned i = 0; !error && i < pool->options.workers; i++) {
        error = spawn_worker(pool, i);
    }
    return error;
}

/* ---- growing ---- */

static bool starving(const struct strait_pool *pool)
{
    return strait_crew_may_grow(pool) && !strait_crew_any_idle(pool) &&
           strait_crew_work_waits(pool);
}

static void spawn_another(struct strait_pool *pool)
{
    for (unsigned i = 0; i < pool->options.workers_max; i++) {
        /* the keeper writes it, and the worker when it ends */
        if (strait_load_relaxed(&pool->workers[i].state) == STRAIT_ABSENT) {
            spawn_worker(pool, i); /* if there is none to be had: the next time */
            return;
        }
    }
}

/* When to look again; STRAIT_FOREVER: when called. */
static int64_t grow(struct strait_pool *pool, int64_t now)
{
    if (!starving(pool)) {
        pool->starving_since = 0;
        return STRAIT_FOREVER;
    }
    if (pool->starving_since == 0) {
        pool->starving_since = now;
    } else if (now - pool->starving_since >= GROW_NS) {
        spawn_another(pool);
        pool->starving_since = now;
    }
    return pool->starving_since + GROW_NS;
}

/* ---- stalls ---- */

/* For how long the task has run that shows since then; 0 at the first look. Untimed, only what the
 * keeper has seen of it. */
static int64_t running_for(struct pool_worker *self, uint64_t since)
{
    const struct strait_ticks *ticks = self->pool->ticks;
    int64_t now = strait_now(); /* the last that was told may have taken its time */
    if (since != self->seen) {
        self->seen = since;
        self->seen_at = now;
        return 0;
    }
    return ticks ? (int64_t)strait_ticks_between(ticks, since, strait_ticks_now(ticks))
                 : now - self->seen_at;
}

static void look_at(struct pool_worker *self)
{
    const struct strait_pool_options *options = &self->pool->options;
    uint64_t since;
    struct strait_pool_stall stall = {.worker = self->number};
    stall.run = strait_crew_running(self, &since);
    stall.running_ns = stall.run ? running_for(self, since) : 0;
    bool said = since % 2 == 0 || since == self->told;
    if (said || stall.running_ns < options->stall_ns) {
        return;
    }
    /* the keeper alone writes it */
    strait_wide_store_relaxed(&self->told, since);
    options->stalled(self->pool, &stall, options->context);
}

static bool any_runs(const struct strait_pool *pool)
{
    for (unsigned i = 0; i < pool->options.workers_max; i++) {
        /* the worker alone writes it */
        if (strait_word_load_relaxed(&pool->workers[i].run)) {
            return true;
        }
    }
    return strait_crew_work_waits(pool);
}

static int64_t watch(struct strait_pool *pool, int64_t now)
{
    int64_t period = pool->options.stall_ns / 4;
    if (!pool->options.stall_ns || !any_runs(pool)) {
        return STRAIT_FOREVER;
    }
    for (unsigned i = 0; i < pool->options.workers_max; i++) {
        look_at(&pool->workers[i]);
    }
    return now + (period > WATCH_MIN_NS ? period : WATCH_MIN_NS);
}

/* ---- parents ---- */

/* Rings those whose deadline has passed, each once; when the next is due. */
static int64_t ring_alarms(struct strait_pool *pool, int64_t now)
{
    int64_t next = STRAIT_FOREVER;
    for (uint32_t i = strait_parent_count(pool); i-- > 0;) {
        struct strait_parent *parent = strait_parent_at(pool, i);
        /* keeper.alarm: pairs with parent.alarm; when it is to be woken, or a later change */
        uint32_t number = strait_load_acquire(&parent->alarms);
        /* the parent alone writes it */
        uint64_t alarm = strait_wide_load_relaxed(&parent->alarm);
        if (alarm == 0 || number == parent->rung) {
            continue;
        }
        if ((int64_t)alarm > now) {
            next = (int64_t)alarm < next ? (int64_t)alarm : next;
        } else {
            parent->rung = number;
            strait_parent_ring(parent);
        }
    }
    return next;
}

static bool has_left(const struct strait_parent *parent)
{
    /* keeper.takes: pairs with parent.left, parent.freed, parent.begun; all that the parent did */
    return strait_load_acquire(&parent->state) == STRAIT_LEFT;
}

static void stand_in(struct strait_parent *parent)
{
    strait_parent_collect(parent, SIZE_MAX);
    if (parent->in_use == 0) {
        /* parent.freed: the same */
        strait_store_release(&parent->state, STRAIT_FREE);
    }
}

static void stand_in_for_all(struct strait_pool *pool)
{
    for (uint32_t i = strait_parent_count(pool); i-- > 0;) {
        if (has_left(strait_parent_at(pool, i))) {
            stand_in(strait_parent_at(pool, i));
        }
    }
}

static bool stand_in_waits(const struct strait_pool *pool)
{
    for (uint32_t i = strait_parent_count(pool); i-- > 0;) {
        struct strait_parent *parent = strait_parent_at(pool, i);
        if (has_left(parent) && strait_parent_ready(parent)) {
            return true;
        }
    }
    return false;
}

/* ---- the thread ---- */

/* What submitters do not call for while the keeper is looking anyway. */
static bool watch_needed(const struct strait_pool *pool)
{
    return (!(pool->watching & STRAIT_WATCH_STALLS) && pool->options.stall_ns && any_runs(pool)) ||
           (!(pool->watching & STRAIT_WATCH_GROWTH) && !strait_pool_closing(pool) &&
            starving(pool));
}

static bool keeper_ready(void *side)
{
    const struct strait_pool *pool = side;
    /* callers set it, the keeper clears it */
    return strait_load_relaxed(&pool->keeper_called) || stand_in_waits(pool) || watch_needed(pool);
}

static void keeper_wait(struct strait_pool *pool, int64_t until)
{
    uint32_t no_spin = 0;
    struct strait_p_waiter waiter = {
        .own = &pool->keeper_signal,
        .ready = keeper_ready,
        .side = pool,
        .spin_ns = &no_spin,
        .mode = STRAIT_WAIT_PARK,
        .sole = true,
        .fenced = pool->fenced,
    };
    strait_pool_wait(&waiter, until);
}

static int64_t sooner_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When to look again. */
static int64_t look_around(struct strait_pool *pool)
{
    int64_t now = strait_now();
    uint32_t closing = strait_pool_closing(pool);
    if (closing == 1 + STRAIT_CLOSE_CANCEL) {
        strait_crew_flush(pool);
    }
    reap(pool);
    stand_in_for_all(pool);
    int64_t stalls = watch(pool, now);
    int64_t growth = closing ? STRAIT_FOREVER : grow(pool, now);
    /* the keeper alone writes it */
    strait_store_relaxed(&pool->watching,
                         (stalls != STRAIT_FOREVER ? STRAIT_WATCH_STALLS : 0u) |
                             (growth != STRAIT_FOREVER ? STRAIT_WATCH_GROWTH : 0u));
    return sooner_of(sooner_of(stalls, growth), ring_alarms(pool, now));
}

/* All workers have ended: is nobody owed anything by the keeper, nor ever will be? */
static bool keeper_may_end(struct strait_pool *pool)
{
    bool owing = false;
    pthread_mutex_lock(&pool->lock);
    for (uint32_t i = strait_parent_count(pool); i-- > 0;) {
        const struct strait_parent *parent = strait_parent_at(pool, i);
        owing = owing || (has_left(parent) && parent->owed > 0);
    }
    pool->over = !owing;
    pthread_mutex_unlock(&pool->lock);
    return !owing;
}

static void keep(struct strait_pool *pool)
{
    for (;;) {
        answer_call(pool);
        int64_t until = look_around(pool);
        if (strait_pool_closing(pool) && pool->online == 0 && keeper_may_end(pool)) {
            return;
        }
        keeper_wait(pool, until);
    }
}

static void keeper_says(struct strait_pool *pool, enum keeper_state state)
{
    /* keeper.says: pairs with keeper.heard; all that the keeper did */
    strait_store_release(&pool->keeper_state, state);
    strait_p_futex_wake(&pool->keeper_state, INT32_MAX, false);
}

/* The state once it is not `state` any more, or `state` at the deadline. */
static uint32_t await_keeper(struct strait_pool *pool, enum keeper_state state, int64_t deadline)
{
    for (;;) {
        /* keeper.heard: pairs with keeper.says; all that the keeper did */
        uint32_t now = strait_load_acquire(&pool->keeper_state);
        if (now != (uint32_t)state || (deadline != STRAIT_FOREVER && strait_now() >= deadline)) {
            return now;
        }
        strait_p_futex_wait(&pool->keeper_state, now, deadline, false);
    }
}

static int name_keeper(const struct strait_pool *pool)
{
    char name[16];
    snprintf(name, sizeof(name), "%.8s-keeper", pool->options.name);
    return -pthread_setname_np(pthread_self(), name);
}

static void *keeper_main(void *argument)
{
    struct strait_pool *pool = argument;
    int error = name_keeper(pool);
    pool->keeper_error = error ? error : spawn_first(pool);
    if (pool->keeper_error) {
        strait_pool_shut(pool, STRAIT_CLOSE_CANCEL);
        for (unsigned i = 0; i < pool->options.workers; i++) {
            strait_p_wake(&pool->workers[i].signal);
        }
    } else {
        keeper_says(pool, KEEPER_UP);
    }
    keep(pool);
    keeper_says(pool, KEEPER_OVER);
    for (uint32_t i = strait_parent_count(pool); i-- > 0;) {
        strait_parent_ring(strait_parent_at(pool, i)); /* its loop may want to close the pool now */
    }
    return NULL;
}

/* No signal is the pool's to handle. */
static int start_keeper(struct strait_pool *pool)
{
    sigset_t all;
    sigset_t before;
    int saved = errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&pool->keeper, NULL, keeper_main, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    strait_errno_restore(saved);
    return -error;
}

int strait_keeper_start(struct strait_pool *pool)
{
    int error = start_keeper(pool);
    if (error) {
        return error;
    }
    if (await_keeper(pool, KEEPER_STARTING, STRAIT_FOREVER) == KEEPER_OVER) {
        error = pool->keeper_error;
        pthread_join(pool->keeper, NULL);
    }
    return error;
}

int strait_keeper_join(struct strait_pool *pool, int64_t deadline)
{
    if (await_keeper(pool, KEEPER_UP, deadline) != KEEPER_OVER) {
        return -ETIMEDOUT;
    }
    pthread_join(pool->keeper, NULL);
    return 0;
}
