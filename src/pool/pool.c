/* SPDX-License-Identifier: MIT */
/* pool: how a pool and its parents come and go. What they do meanwhile is in the files that pool.h
 * names. */
#include "parent.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "../worker/cpu.h"
#include "../channel/memory.h"
#include "../channel/options.h"

#define QUEUE_LIMIT 1024
#define IDLE_TIMEOUT_NS 1000000000
#define SPARE_SLOTS 64

/* ---- options ---- */

static enum strait_schedule resolve_schedule(const struct strait_pool_options *options)
{
    if (options->schedule != STRAIT_SCHEDULE_DEFAULT) {
        return options->schedule;
    }
    return options->workers_max < strait_cpu_count() ? STRAIT_SCHEDULE_DEFAULT
                                                     : STRAIT_SCHEDULE_IDLE;
}

static bool pool_options_valid(const struct strait_pool_options *options)
{
    for (size_t i = 0; i < options->cpu_count; i++) {
        if (!options->cpus || !strait_cpu_allowed(options->cpus[i])) {
            return false;
        }
    }
    return options->workers_max <= STRAIT_POOL_WORKERS_MAX &&
           options->workers <= options->workers_max &&
           options->queue_limit <= STRAIT_QUEUE_LIMIT_MAX &&
           (unsigned)options->wait < STRAIT_WAIT_FD && options->idle_timeout > 0 &&
           options->stall_ns >= 0 && (options->stall_ns == 0 || options->stalled) &&
           (!options->cpus || options->cpu_count > 0);
}

static int resolve_pool_options(struct strait_pool_options *options,
                                const struct strait_pool_options *given)
{
    int error = strait_options_copy(options, sizeof(*options), given);
    if (error) {
        return error;
    }
    options->workers = options->workers ? options->workers : strait_cpu_default_workers();
    options->workers_max = options->workers_max ? options->workers_max : options->workers;
    options->low_limit = options->low_limit ? options->low_limit : (options->workers_max + 1) / 2;
    options->queue_limit = options->queue_limit ? options->queue_limit : QUEUE_LIMIT;
    options->idle_timeout = options->idle_timeout ? options->idle_timeout : IDLE_TIMEOUT_NS;
    options->name = options->name ? options->name : "strait";
    options->wait = options->wait == STRAIT_WAIT_DEFAULT ? STRAIT_WAIT_PARK : options->wait;
    if (!pool_options_valid(options)) {
        return -EINVAL;
    }
    options->schedule = resolve_schedule(options);
    return 0;
}

static int resolve_parent_options(const struct strait_pool *pool,
                                  struct strait_parent_options *options,
                                  const struct strait_parent_options *given)
{
    int error = strait_options_copy(options, sizeof(*options), given);
    if (error || (unsigned)options->wait > STRAIT_WAIT_FD ||
        options->low_water >= pool->options.queue_limit + (options->low_water == 0)) {
        return -EINVAL;
    }
    options->wait = options->wait == STRAIT_WAIT_DEFAULT ? STRAIT_WAIT_FD : options->wait;
    options->low_water = options->low_water ? options->low_water : pool->options.queue_limit / 2;
    return 0;
}

/* ---- parents: memory ---- */

/* Slots for what waits, what runs, and half as many again that have ended or were cancelled. */
static size_t slot_limit(const struct strait_pool *pool)
{
    size_t limit = pool->options.queue_limit;
    return limit + limit / 2 + SPARE_SLOTS + pool->options.workers_max;
}

/* `bytes` of zeros that begin on a line of their own, or NULL. */
static void *zeroed_alloc(size_t bytes)
{
    void *memory = strait_line_alloc(bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

/* The same for a lot of them: what is never touched costs no memory. *block is what to free. */
static void *zeroed_lines(size_t bytes, void **block)
{
    int saved = errno;
    *block = calloc(1, bytes + STRAIT_LINE);
    strait_errno_restore(saved);
    return (void *)strait_round_up((size_t)*block, STRAIT_LINE);
}

static void note_kind(struct strait_pool *pool, unsigned kind)
{
    pthread_mutex_lock(&pool->lock);
    /* written under the lock */
    strait_store_relaxed(&pool->lanes, pool->lanes | 1u << kind);
    pthread_mutex_unlock(&pool->lock);
}

static int lane_alloc(struct strait_parent *parent, uintptr_t *word)
{
    size_t slots = strait_slots(parent->slot_limit);
    size_t bytes = sizeof(struct strait_taskring) +
                   slots * (sizeof(struct strait_slot) + sizeof(struct strait_plan));
    void *block;
    struct strait_taskring *ring = zeroed_lines(bytes, &block);
    if (!block) {
        return -ENOMEM;
    }
    ring->block = block;
    ring->mask = slots - 1;
    ring->slots = (struct strait_slot *)(ring + 1);
    ring->plans = (struct strait_plan *)(ring->slots + slots);
    /* pool.newlane: pairs with pool.lane; the ring */
    strait_word_store_release(word, (uintptr_t)ring);
    return 0;
}

int strait_lane_create(struct strait_parent *parent, uintptr_t *word, unsigned kind)
{
    int error = lane_alloc(parent, word);
    if (!error && kind != STRAIT_PRIORITY_NORMAL) {
        note_kind(parent->pool, kind);
    }
    return error;
}

static void lane_free(const uintptr_t *word)
{
    struct strait_taskring *ring = strait_lane(word);
    free(ring ? ring->block : NULL);
}

static void parent_free(struct strait_parent *parent)
{
    for (unsigned i = 0; i < STRAIT_SHARED_LANES; i++) {
        lane_free(&parent->lanes[i]);
    }
    for (unsigned i = 0; parent->own_lanes && i < parent->pool->options.workers_max; i++) {
        lane_free(&parent->own_lanes[i]);
    }
    strait_p_fd_close(parent->signal.fd);
    free(parent->words_block);
    free(parent->reports);
    free(parent->own_lanes);
    free(parent->links);
    free(parent);
}

/* A ring of words from each worker, and from the keeper. */
static void links_init(struct strait_parent *parent)
{
    size_t slots = strait_slots(parent->slot_limit);
    for (unsigned i = 0; i <= parent->pool->options.workers_max; i++) {
        struct strait_reports end = {.words = parent->words + i * slots, .mask = slots - 1};
        parent->links[i].reports = end;
        parent->reports[i] = end;
    }
}

static int links_alloc(struct strait_parent *parent)
{
    size_t links = parent->pool->options.workers_max + 1;
    size_t bytes = strait_slots(parent->slot_limit) * sizeof(*parent->words);
    parent->links = zeroed_alloc(links * sizeof(*parent->links));
    parent->reports = zeroed_alloc(links * sizeof(*parent->reports));
    parent->words = zeroed_lines(links * bytes, &parent->words_block);
    if (!parent->links || !parent->reports || !parent->words_block) {
        return -ENOMEM;
    }
    links_init(parent);
    return 0;
}

static int parent_alloc(struct strait_pool *pool, struct strait_parent **out, bool has_fd)
{
    unsigned workers = pool->options.workers_max;
    struct strait_parent *parent = zeroed_alloc(sizeof(*parent));
    if (!parent) {
        return -ENOMEM;
    }
    parent->pool = pool;
    parent->slot_limit = slot_limit(pool);
    parent->signal.fd = -1;
    parent->fenced = has_fd || pool->fenced;
    parent->own_lanes = zeroed_alloc(workers * sizeof(*parent->own_lanes));
    int error = parent->own_lanes ? links_alloc(parent) : -ENOMEM;
    if (!error) {
        error = lane_alloc(parent, &parent->lanes[STRAIT_PRIORITY_NORMAL]);
    }
    if (!error && has_fd) {
        error = strait_p_fd_open(&parent->signal.fd);
    }
    if (error) {
        parent_free(parent);
        return error;
    }
    *out = parent;
    return 0;
}

/* ---- parents: the table, under the pool's lock ---- */

static struct strait_parent *free_parent(const struct strait_pool *pool, bool has_fd)
{
    for (uint32_t i = strait_parent_count(pool); i-- > 0;) {
        struct strait_parent *parent = strait_parent_at(pool, i);
        /* parent.free: pairs with parent.freed; all that the keeper did in its place */
        if (strait_load_acquire(&parent->state) == STRAIT_FREE &&
            (parent->signal.fd >= 0) == has_fd) {
            return parent;
        }
    }
    return NULL;
}

static int new_parent(struct strait_pool *pool, struct strait_parent **parent, bool has_fd)
{
    uint32_t count = strait_parent_count(pool);
    if (count == STRAIT_PARENTS_MAX) {
        return -EUSERS;
    }
    int error = parent_alloc(pool, parent, has_fd);
    if (!error) {
        pool->parents[count] = (uintptr_t)*parent;
        /* pool.attach: pairs with pool.parents; the parents up to here */
        strait_store_release(&pool->parent_count, count + 1);
    }
    return error;
}

static void parent_begin(struct strait_parent *parent, const struct strait_parent_options *options,
                         struct pool_worker *worker)
{
    parent->handle.owner = 0;
    parent->options = *options;
    parent->worker = worker;
    parent->due_end = &parent->due;
    parent->spin_ns = STRAIT_P_SPIN_NS;
    parent->left = false;
    parent->full = NULL;
    parent->refusing = false;
    strait_alarm_set(parent, STRAIT_FOREVER); /* that of whoever was here before may have rung */
    /* the parent writes it, or the worker whose own it is */
    strait_word_store_relaxed(&parent->collector,
                              (uintptr_t)(worker ? &worker->signal : &parent->signal));
    /* the parent alone writes it */
    strait_store_relaxed(&parent->wants_room, 0);
    /* parent.begun: pairs with keeper.takes; nothing */
    strait_store_release(&parent->state, STRAIT_ATTACHED);
}

int strait_parent_create(struct strait_pool *pool, struct strait_parent **out,
                         const struct strait_parent_options *options, struct pool_worker *worker)
{
    bool has_fd = options->wait == STRAIT_WAIT_FD;
    int error = 0;
    pthread_mutex_lock(&pool->lock);
    struct strait_parent *parent = free_parent(pool, has_fd);
    if (!parent) {
        error = new_parent(pool, &parent, has_fd);
    }
    if (!error) {
        parent_begin(parent, options, worker);
        *out = parent;
    }
    pthread_mutex_unlock(&pool->lock);
    if (!error) {
        strait_parent_watch(parent);
    }
    return error;
}

int strait_pool_attach(struct strait_pool *pool, struct strait_parent **parent,
                       const struct strait_parent_options *given)
{
    struct strait_parent_options options;
    int error = resolve_parent_options(pool, &options, given);
    if (error) {
        return error;
    }
    return strait_pool_closing(pool) ? -EPIPE : strait_parent_create(pool, parent, &options, NULL);
}

/* Leaves to the keeper what is owed. False: that has ended, and all the reports are there. Under
 * the lock, so that the keeper does not end, and the pool is not destroyed, in the middle. */
static bool hand_over(struct strait_parent *parent)
{
    struct strait_pool *pool = parent->pool;
    pthread_mutex_lock(&pool->lock);
    bool over = pool->over;
    if (!over) {
        parent->left = true;
        strait_parent_disown(parent);
        /* the parent writes it, or the worker whose own it is */
        strait_word_store_relaxed(&parent->collector, (uintptr_t)&pool->keeper_signal);
        /* parent.left: pairs with keeper.takes; all that the parent did */
        strait_store_release(&parent->state, STRAIT_LEFT);
        /* who has not seen the new collector has sent before the keeper looks */
        strait_p_heavy_barrier(pool->fenced);
        strait_keeper_call(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return !over;
}

ptrdiff_t strait_parent_leave(struct strait_parent *parent)
{
    ptrdiff_t owed = (ptrdiff_t)parent->owed;
    if (parent->in_use > 0) {
        if (hand_over(parent)) {
            return owed;
        }
        strait_parent_collect(parent, SIZE_MAX);
    }
    /* parent.freed: pairs with parent.free, keeper.takes; all that the parent did */
    strait_store_release(&parent->state, STRAIT_FREE);
    return 0;
}

void strait_parent_ring(struct strait_parent *parent)
{
    struct strait_p_event_count *collector = strait_parent_collector(parent);
    strait_p_wake(collector);
}

struct strait_parent *strait_parent_current(void)
{
    struct pool_worker *self = strait_crew_current();
    if (!self) {
        return NULL;
    }
    struct strait_parent *parent = (struct strait_parent *)self->parent;
    struct strait_parent_options options = {.wait = self->pool->options.wait,
                                            .low_water = self->pool->options.queue_limit / 2};
    if (!parent && strait_parent_create(self->pool, &parent, &options, self) == 0) {
        /* the worker alone writes it, once */
        strait_word_store_relaxed(&self->parent, (uintptr_t)parent);
    }
    return parent;
}

/* ---- create ---- */

static void pool_free(struct strait_pool *pool)
{
    for (uint32_t i = pool->parent_count; i-- > 0;) {
        parent_free(strait_parent_at(pool, i));
    }
    for (unsigned i = 0; pool->workers && i < pool->options.workers_max; i++) {
        free(pool->workers[i].waited);
        free(pool->workers[i].ran);
    }
    pthread_mutex_destroy(&pool->lock);
    free(pool->parents);
    free(pool->workers);
    free(pool);
}

/* Two histograms for each worker, unless nobody looks at the clock. */
static int alloc_times(struct pool_worker *self)
{
    int saved = errno;
    self->waited = calloc(1, sizeof(*self->waited));
    self->ran = calloc(1, sizeof(*self->ran));
    strait_errno_restore(saved);
    return self->waited && self->ran ? 0 : -ENOMEM;
}

static int worker_init(struct strait_pool *pool, unsigned number)
{
    struct pool_worker *self = &pool->workers[number];
    const struct strait_pool_options *options = &pool->options;
    self->pool = pool;
    self->number = number;
    self->cpu = options->cpus ? options->cpus[number % options->cpu_count]
                              : strait_cpu_choose(pool->home, number, true);
    self->spin_ns = STRAIT_P_SPIN_NS;
    strait_p_event_count_init(&self->signal, -1, false);
    return options->untimed ? 0 : alloc_times(self);
}

static int pool_alloc(struct strait_pool **out, const struct strait_pool_options *options)
{
    struct strait_pool *pool = zeroed_alloc(sizeof(*pool));
    if (!pool) {
        return -ENOMEM;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pool->options = *options;
    pool->home = sched_getcpu();
    strait_p_event_count_init(&pool->keeper_signal, -1, false);
    strait_p_event_count_init(&pool->origin, -1, false);
    pool->workers = zeroed_alloc(options->workers_max * sizeof(*pool->workers));
    pool->parents = strait_line_alloc(STRAIT_PARENTS_MAX * sizeof(*pool->parents));
    int error = pool->workers && pool->parents ? 0 : -ENOMEM;
    for (unsigned i = 0; !error && i < options->workers_max; i++) {
        error = worker_init(pool, i);
    }
    if (error) {
        pool_free(pool);
        return error;
    }
    *out = pool;
    return 0;
}

int strait_pool_create(struct strait_pool **out, const struct strait_pool_options *given)
{
    struct strait_pool_options options;
    struct strait_pool *pool;
    int error = resolve_pool_options(&options, given);
    if (!error) {
        error = pool_alloc(&pool, &options);
    }
    if (error) {
        return error;
    }
    pool->options.cpus = NULL; /* the caller's */
    pool->process = getpid();
    pool->watched = options.stall_ns > 0 || options.workers_max > options.workers;
    pool->ticks = options.untimed ? NULL : strait_ticks_init();
    pool->lanes = 1u << STRAIT_PRIORITY_NORMAL;
    pool->fenced = !strait_p_heavy_barrier_available();
    strait_p_event_place(&pool->origin, true);
    error = strait_keeper_start(pool);
    if (error) {
        pool_free(pool);
        return error;
    }
    *out = pool;
    return 0;
}

/* ---- close ---- */

static bool pool_inherited(const struct strait_pool *pool)
{
    return pool->process != getpid();
}

/* Only one thread at a time. */
static bool closer_enter(struct strait_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool entered = !pool->closer;
    pool->closer = true;
    pthread_mutex_unlock(&pool->lock);
    return entered;
}

/* The last that a closer does with the pool: another thread may destroy it from here on. */
static void closer_leave(struct strait_pool *pool, bool closed)
{
    pthread_mutex_lock(&pool->lock);
    pool->closed = closed;
    pool->closer = false;
    pthread_mutex_unlock(&pool->lock);
}

/* Parents first, then the workers. Between the two all that was pushed by those who could not see
 * that the pool is closing becomes visible, so that no worker has looked for its last task before:
 * see submitted() in submit.c. */
void strait_pool_shut(struct strait_pool *pool, enum strait_close mode)
{
    /* pool.close: pairs with pool.closing, parent.late; nothing */
    strait_store_release(&pool->closing, 1 + (uint32_t)mode);
    strait_p_heavy_barrier(pool->fenced);
    /* pool.end: pairs with pool.ending; the last task that was pushed */
    strait_store_release(&pool->ending, 1);
}

static void start_closing(struct strait_pool *pool, enum strait_close mode)
{
    if (strait_pool_closing(pool) < 1 + (uint32_t)mode) {
        strait_pool_shut(pool, mode);
    }
    for (unsigned i = 0; i < pool->options.workers_max; i++) {
        strait_p_wake(&pool->workers[i].signal);
    }
    for (uint32_t i = strait_parent_count(pool); i-- > 0;) {
        strait_parent_ring(strait_parent_at(pool, i)); /* it may wait for room */
    }
    strait_keeper_call(pool);
}

/* The first worker that runs a task; if none does, `run` is NULL. */
static void find_stuck(const struct strait_pool *pool, struct strait_pool_worker_stats *stuck)
{
    for (unsigned i = 0; i < pool->options.workers_max; i++) {
        strait_pool_worker_stats(pool, i, stuck);
        if (stuck->run) {
            return;
        }
    }
}

int strait_pool_close(struct strait_pool *pool, enum strait_close mode, int64_t deadline,
                      struct strait_pool_worker_stats *stuck)
{
    const struct pool_worker *self = strait_crew_current();
    if (pool_inherited(pool)) {
        return -EOWNERDEAD;
    }
    if ((self && self->pool == pool) || strait_keeper_is_current(pool)) {
        return -EDEADLK;
    }
    if ((unsigned)mode > STRAIT_CLOSE_CANCEL) {
        return -EINVAL;
    }
    if (!closer_enter(pool)) {
        return -EBUSY;
    }
    int error = 0;
    if (!pool->closed) {
        start_closing(pool, mode);
        error = strait_keeper_join(pool, deadline);
    }
    if (error && stuck) {
        find_stuck(pool, stuck);
    }
    closer_leave(pool, !error);
    return error;
}

int strait_pool_destroy(struct strait_pool *pool)
{
    if (!pool) {
        return 0;
    }
    if (pool_inherited(pool)) {
        return -EOWNERDEAD;
    }
    pthread_mutex_lock(&pool->lock);
    bool busy = !pool->closed || pool->closer;
    for (uint32_t i = strait_parent_count(pool); i-- > 0;) {
        const struct strait_parent *parent = strait_parent_at(pool, i);
        /* parent.free: the same */
        bool attached = strait_load_acquire(&parent->state) == STRAIT_ATTACHED;
        busy = busy || (attached && !parent->worker);
    }
    pthread_mutex_unlock(&pool->lock);
    if (busy) {
        return -EBUSY;
    }
    pool_free(pool);
    return 0;
}
