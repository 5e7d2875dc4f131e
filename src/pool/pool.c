/* SPDX-License-Identifier: MIT */
/* pool: how a pool and its workers come and go, and what is seen of it from outside. */
#include "shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../channel/private.h"
#include "../worker/cpu.h"

#define QUEUE_LIMIT 1024
#define IDLE_TIMEOUT_NS 1000000000

/* Where a worker must share the parent's CPU: see `schedule` in pool.h. Of another class than
 * batch, a worker with so short a slice would take the CPU from the loop when it wakes. */
#define SHARING_NICE 10
#define NICE_MOST 19

/* From one try to start a worker to the next, while none can be had. */
#define BACK_OFF_NS 100000000

/* Of those that have never had a thread no page is touched. */
#define WORKERS_BYTES (STRAIT_POOL_WORKERS_MAX * sizeof(struct strait_p_pool_worker))

/* What is left of 15 bytes without "-255". */
#define NAME_LENGTH (STRAIT_P_NAME_BYTES - 1 - 4)

/* ---- options ---- */

/* As many as may run at one time. Where that is for the quota to say, it has to do for the parent's
 * loop as well: threads that use it up are all stopped until its next period, the loop too. */
static size_t default_workers(void)
{
    size_t cpus = strait_cpu_count();
    size_t quota = strait_p_cpu_quota() / 1000;
    if (quota < cpus) {
        return quota < 2 ? 1 : quota - 1;
    }
    return cpus < 4 ? cpus : cpus - 1;
}

static STRAIT_P_COLD int pool_options(struct strait_pool_options *options,
                                      const struct strait_pool_options *given)
{
    int error = strait_options_copy(options, sizeof(*options), given, "pool");
    if (error) {
        return error;
    }
    if (!options->workers) {
        size_t most = options->workers_max ? options->workers_max : STRAIT_POOL_WORKERS_MAX;
        options->workers = (unsigned)strait_min(default_workers(), most);
    }
    options->workers_max = options->workers_max ? options->workers_max : options->workers;
    options->queue_limit = options->queue_limit ? options->queue_limit : QUEUE_LIMIT;
    options->idle_timeout = options->idle_timeout ? options->idle_timeout : IDLE_TIMEOUT_NS;
    if (options->idle_timeout > STRAIT_FOREVER / 2) { /* no worker's time ends at STRAIT_FOREVER */
        options->idle_timeout = STRAIT_FOREVER / 2;
    }
    options->name = options->name ? options->name : "strait";
    options->wait = options->wait == STRAIT_WAIT_DEFAULT ? STRAIT_WAIT_PARK : options->wait;
    bool valid =
        STRAIT_P_VALID(pool, workers_max, options->workers_max <= STRAIT_POOL_WORKERS_MAX) &&
        STRAIT_P_VALID(pool, workers, options->workers <= options->workers_max) &&
        STRAIT_P_VALID(pool, queue_limit, options->queue_limit <= STRAIT_QUEUE_LIMIT_MAX) &&
        STRAIT_P_VALID(pool, name, strlen(options->name) <= NAME_LENGTH) &&
        STRAIT_P_VALID(pool, nice, (unsigned)options->nice <= NICE_MOST) &&
        STRAIT_P_VALID(pool, schedule, (unsigned)options->schedule <= STRAIT_SCHEDULE_IDLE) &&
        STRAIT_P_VALID(pool, wait, (unsigned)options->wait < STRAIT_WAIT_FD) &&
        STRAIT_P_VALID(pool, idle_timeout, options->idle_timeout > 0);
    return valid ? 0 : -EINVAL;
}

/* ---- starting workers ---- */

/* In which class, and how nice. Returns why. */
static const char *schedule_worker(const struct strait_pool *pool,
                                   struct strait_p_thread_options *thread)
{
    const struct strait_pool_options *options = &pool->options;
    thread->nice = options->nice;
    thread->schedule = options->schedule;
    if (options->schedule != STRAIT_SCHEDULE_DEFAULT) {
        return "as the options say";
    }
    thread->schedule = STRAIT_SCHEDULE_NORMAL;
    if (options->nice) {
        return "the nice that the options say";
    }
    if (pool->workers_max < strait_cpu_count()) {
        return "there are more CPUs than workers";
    }
    thread->schedule = STRAIT_SCHEDULE_BATCH;
    thread->nice = SHARING_NICE;
    thread->yielding = true;
    return "there are as many workers as CPUs: one must share the parent's";
}

/* Has no thread that number? One that has gone is joined. Under the lock. */
static bool is_vacant(struct strait_p_pool_worker *worker)
{
    if (worker->state == STRAIT_P_GONE_HOME && !worker->joining &&
        strait_p_thread_join(&worker->thread, 0) == 0) {
        strait_p_becomes(worker, STRAIT_P_ABSENT);
    }
    return worker->state == STRAIT_P_ABSENT;
}

/* Starts one more worker, and does not wait until it is online. `best_effort`: on what CPUs and in
 * which class it can be had. 0 or -errno. Under the lock. */
static STRAIT_P_COLD int launch(struct strait_pool *pool, bool best_effort)
{
    unsigned number = 0;
    while (number < STRAIT_POOL_WORKERS_MAX && !is_vacant(&pool->workers[number])) {
        number++;
    }
    if (number == STRAIT_POOL_WORKERS_MAX) {
        return -EBUSY;
    }
    struct strait_p_pool_worker *worker = &pool->workers[number];
    int error = 0;
    if (!worker->parent) { /* of what its tasks submit; no thread has had this number yet */
        worker->number = number;
        worker->pool = pool;
        worker->event.fd = -1; /* its word is 0 from the first: wakers may look at it already */
        struct strait_parent_options options = {.wait = pool->options.wait};
        error = strait_p_parent_attach(pool, &worker->parent, &options, worker);
        if (error) {
            return error;
        }
        strait_store_relaxed(&pool->numbers, number + 1);
    }
    char name[32];
    snprintf(name, sizeof(name), "%s-%u", pool->name, number);
    bool asked = pool->options.pin == STRAIT_PIN_CPU || pool->options.pin == STRAIT_PIN_SET;
    struct strait_p_thread_options thread = {
        .name = name,
        .placement = pool->placement,
        .pinned = asked && !best_effort,
        .scheduled = !best_effort &&
                     (pool->options.schedule != STRAIT_SCHEDULE_DEFAULT || pool->options.nice),
        .stack_size = pool->options.stack_size,
        .set_up = strait_p_worker_begin,
        .run = strait_p_worker_run,
        .ended = strait_p_worker_end,
        .argument = worker,
    };
    thread.placement.number = number;
    worker->reason = schedule_worker(pool, &thread);
    strait_store_relaxed(&pool->yielding, thread.schedule != STRAIT_SCHEDULE_NORMAL);
    thread.nice += pool->nice;
    thread.nice = thread.nice < NICE_MOST ? thread.nice : NICE_MOST;
    worker->spin_ns = STRAIT_P_SPIN_NS;
    strait_p_becomes(worker, STRAIT_P_AT_WORK);
    error = strait_p_thread_launch(&worker->thread, &thread);
    if (error) {
        strait_p_becomes(worker, STRAIT_P_ABSENT);
    }
    return error;
}

/* Is every worker inside a task? Whichever starts one looks by itself whether another worker is
 * needed. */
static bool all_busy(const struct strait_pool *pool)
{
    /* pool.busy: pairs with worker.busy; what was pushed, or else that the worker is inside a task;
     * without it neither side starts the worker that a task waits for */
    strait_full_fence();
    uint32_t numbers = strait_load_relaxed(&pool->numbers);
    for (uint32_t number = 0; number < numbers; number++) {
        const struct strait_p_pool_worker *worker = &pool->workers[number];
        if (strait_load_relaxed(&worker->state) == STRAIT_P_AT_WORK &&
            !strait_word_load_relaxed(&worker->run)) {
            return false;
        }
    }
    return true;
}

/* A task was waiting, and nobody was idle. It may be what made the last worker busy: then none is
 * needed. */
static void grow(struct strait_pool *pool)
{
    uint64_t not_before = strait_wide_load_relaxed(&pool->grow_at);
    if ((not_before && (uint64_t)strait_now() < not_before) || !all_busy(pool) ||
        !strait_p_work_waits(pool)) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    int error = 0;
    if (!pool->closing && pool->growable) {
        error = launch(pool, true);
    }
    uint64_t again = error ? (uint64_t)strait_deadline(BACK_OFF_NS) : 0;
    strait_wide_store_relaxed(&pool->grow_at, again);
    if (error) {
        strait_p_parents_wake(pool); /* one of them comes again at that time */
    }
    pthread_mutex_unlock(&pool->lock);
}

enum until { ONLINE, ENDED };

/* Waits for the workers that are in this state or a later one. 0; -ETIMEDOUT; or the error of one
 * that could not set itself up. ONLINE takes its time, whatever the deadline. */
static STRAIT_P_COLD int await_workers(struct strait_pool *pool, enum strait_p_worker_state from,
                                       enum until until, int64_t deadline)
{
    int error = 0;
    for (unsigned number = 0; number < strait_load_relaxed(&pool->numbers); number++) {
        struct strait_p_pool_worker *worker = &pool->workers[number];
        pthread_mutex_lock(&pool->lock);
        bool awaited = worker->state >= from;
        worker->joining = awaited;
        pthread_mutex_unlock(&pool->lock);
        if (!awaited) {
            continue;
        }
        int failed = until == ONLINE ? strait_p_thread_online(&worker->thread)
                                     : strait_p_thread_join(&worker->thread, deadline);
        pthread_mutex_lock(&pool->lock);
        worker->joining = false;
        if (worker->thread.joined) {
            strait_p_becomes(worker, STRAIT_P_ABSENT);
        }
        pthread_mutex_unlock(&pool->lock);
        error = error ? error : failed;
    }
    return error;
}

/* ---- creating ---- */

static STRAIT_P_COLD void pool_free(struct strait_pool *pool)
{
    strait_p_parents_free(pool);
    pthread_mutex_destroy(&pool->lock);
    free(pool->cpus);
    free(pool->parents);
    if (pool->workers) {
        munmap(pool->workers, WORKERS_BYTES);
    }
    free(pool);
}

/* NULL: there is no memory. */
static STRAIT_P_COLD struct strait_pool *pool_alloc(const struct strait_pool_options *options)
{
    struct strait_pool *pool = strait_line_alloc(sizeof(*pool));
    if (!pool) {
        return NULL;
    }
    memset(pool, 0, sizeof(*pool));
    pthread_mutex_init(&pool->lock, NULL);
    pool->options = *options;
    strcpy(pool->name, options->name);
    pool->nice = getpriority(PRIO_PROCESS, 0);
    pool->process = getpid();
    pool->fenced = !strait_p_heavy_barrier_available();
    pool->workers_min = options->workers;
    pool->workers_max = options->workers_max;
    pool->grow = grow;
    pool->workers = strait_p_pages(WORKERS_BYTES);
    pool->parents = calloc(STRAIT_P_PLACES, sizeof(*pool->parents));
    pool->cpus = malloc((options->cpu_count + 1) * sizeof(*pool->cpus));
    if (!pool->workers || !pool->parents || !pool->cpus) {
        pool_free(pool);
        return NULL;
    }
    pool->options.name = NULL; /* these two are the caller's */
    pool->options.cpus = NULL;
    if (options->cpus) {
        memcpy(pool->cpus, options->cpus, options->cpu_count * sizeof(*pool->cpus));
    }
    bool by_number = options->pin == STRAIT_PIN_CHOOSE && options->cpus;
    pool->placement = (struct strait_p_placement){
        .pin = by_number ? STRAIT_PIN_CPU : options->pin,
        .cpus = options->cpus ? pool->cpus : NULL,
        .cpu_count = options->cpu_count,
        .home = sched_getcpu(),
        .threads = options->workers_max,
        .elastic = options->workers_max > options->workers,
    };
    strait_p_event_place(&pool->origin, true);
    return pool;
}

/* Launches workers until so many are there to stay. 0 or the error of one that could not be. */
static STRAIT_P_COLD int staff(struct strait_pool *pool, unsigned workers)
{
    int error;
    do {
        pthread_mutex_lock(&pool->lock);
        error = 0;
        /* one whose init fails meanwhile is not tried again */
        for (unsigned here = pool->staying; !error && here < workers; here++) {
            error = launch(pool, false);
        }
        pthread_mutex_unlock(&pool->lock);
        /* those whose numbers are needed have ended, but for a little */
    } while (error == -EBUSY &&
             await_workers(pool, STRAIT_P_GONE_HOME, ENDED, STRAIT_FOREVER) == 0);
    int failed = await_workers(pool, STRAIT_P_AT_WORK, ONLINE, STRAIT_FOREVER);
    return error ? error : failed;
}

/* Has all of them look. Under the lock. */
static void wake_workers(struct strait_pool *pool)
{
    for (unsigned number = 0; number < pool->numbers; number++) {
        strait_p_wake(&pool->workers[number].event, STRAIT_P_BARRIER);
    }
}

/* Nobody can submit any more, and the workers end once nothing waits. What runs is finished, by
 * cancelling, too: only its own parent tells a task to stop. Who has just submitted: see announce()
 * in parent.c, and end() in worker.c. 0: they have ended; or -ETIMEDOUT. */
static STRAIT_P_COLD int shut(struct strait_pool *pool, enum strait_close mode, int64_t deadline)
{
    pthread_mutex_lock(&pool->lock);
    for (unsigned number = 0; number < pool->numbers && !pool->closing; number++) {
        struct strait_p_pool_worker *worker = &pool->workers[number];
        worker->tasks_at_close = strait_word_load_relaxed(&worker->tasks);
    }
    if (pool->closing < 1 + (uint32_t)mode) {
        strait_store_relaxed(&pool->closing, 1 + (uint32_t)mode);
    }
    wake_workers(pool);
    strait_p_parents_wake(pool); /* one may wait for room */
    pthread_mutex_unlock(&pool->lock);
    return await_workers(pool, STRAIT_P_AT_WORK, ENDED, deadline);
}

STRAIT_P_COLD int strait_pool_create(struct strait_pool **out,
                                     const struct strait_pool_options *given)
{
    struct strait_pool_options options;
    int saved = errno;
    int error = pool_options(&options, given);
    struct strait_pool *pool = error ? NULL : pool_alloc(&options);
    error = pool ? staff(pool, options.workers) : error ? error : -ENOMEM;
    if (!error) {
        *out = pool;
    } else if (pool) {
        shut(pool, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
        pool_free(pool);
    }
    strait_errno_restore(saved);
    return error;
}

/* ---- closing ---- */

/* One thread at a time closes or resizes, and finishes where there are no more than so many
 * parents. 0, or what such a call says at once. */
static int enter(struct strait_pool *pool, uint32_t parents)
{
    if (pool->process != getpid()) {
        return -EOWNERDEAD;
    }
    const struct strait_parent *own = strait_parent_current();
    if (own && own->pool == pool) {
        return -EDEADLK;
    }
    pthread_mutex_lock(&pool->lock);
    int error = pool->busy || pool->attached > parents ? -EBUSY : 0;
    pool->busy |= !error;
    pthread_mutex_unlock(&pool->lock);
    return error;
}

/* The last that it does with the pool: another thread may destroy it from here on. */
static void depart(struct strait_pool *pool, bool closed)
{
    pthread_mutex_lock(&pool->lock);
    pool->closed = pool->closed || closed;
    pool->busy = false;
    pthread_mutex_unlock(&pool->lock);
}

/* The worker whose task holds the closing up: one that has started no other since. */
static void find_stuck(const struct strait_pool *pool, struct strait_pool_worker_stats *stuck)
{
    struct strait_pool_worker_stats stats;
    memset(stuck, 0, sizeof(*stuck));
    for (unsigned number = 0; number < pool->numbers; number++) {
        const struct strait_p_pool_worker *worker = &pool->workers[number];
        if (strait_pool_worker_stats(pool, number, &stats) == 0 && stats.run &&
            (!stuck->run || stats.tasks == worker->tasks_at_close)) {
            *stuck = stats;
        }
    }
}

STRAIT_P_COLD int strait_pool_close(struct strait_pool *pool, enum strait_close mode,
                                    int64_t deadline, struct strait_pool_worker_stats *stuck)
{
    if ((unsigned)mode > STRAIT_CLOSE_CANCEL) {
        return -EINVAL;
    }
    int error = enter(pool, STRAIT_PARENTS_MAX);
    if (error) {
        return error;
    }
    error = shut(pool, mode, deadline); /* again, too: parents whose loops wait for it look again */
    if (error && stuck) {
        find_stuck(pool, stuck);
    }
    depart(pool, !error);
    return error;
}

STRAIT_P_COLD int strait_pool_destroy(struct strait_pool *pool)
{
    if (!pool) {
        return 0;
    }
    if (pool->process != getpid()) {
        return -EOWNERDEAD;
    }
    pthread_mutex_lock(&pool->lock);
    bool needed = !pool->closed || pool->busy || pool->attached > 0;
    pthread_mutex_unlock(&pool->lock);
    if (needed) {
        return -EBUSY;
    }
    pool_free(pool);
    return 0;
}

STRAIT_P_COLD int strait_pool_finish(struct strait_pool *pool, struct strait_parent *parent,
                                     enum strait_close mode, int64_t deadline)
{
    int error = enter(pool, parent != NULL);
    if (error) {
        return error;
    }
    error = parent ? strait_p_parent_settle(parent, mode, deadline) : 0;
    depart(pool, false);
    if (!error) {
        error = strait_pool_close(pool, mode, deadline, NULL);
    }
    if (!error && parent) {
        error = strait_parent_detach(parent, mode, STRAIT_FOREVER);
    }
    return error ? error : strait_pool_destroy(pool);
}

/* ---- resizing ---- */

/* Asks workers to leave while more stay than may: those that are idle first, then those of the
 * highest numbers. Under the lock. */
static void ask_to_leave(struct strait_pool *pool)
{
    for (int idle = 1; idle >= 0; idle--) {
        for (unsigned number = pool->numbers; number-- > 0 && pool->staying > pool->workers_max;) {
            struct strait_p_pool_worker *worker = &pool->workers[number];
            if (worker->state == STRAIT_P_AT_WORK &&
                (!idle || strait_p_bit_is_up(pool->idle, number))) {
                strait_p_becomes(worker, STRAIT_P_LEAVING);
            }
        }
    }
}

/* Says how many there are to be from now on, and has those stay, or go, that are there. */
static STRAIT_P_COLD int set_number(struct strait_pool *pool, unsigned n)
{
    bool elastic = pool->placement.elastic;
    pthread_mutex_lock(&pool->lock);
    int error = pool->closing ? -EPIPE : 0;
    if (!error) {
        strait_store_relaxed(&pool->workers_min, n);
        pool->workers_max = elastic && pool->workers_max > n ? pool->workers_max : n;
        strait_store_relaxed(&pool->growable, pool->staying < pool->workers_max);
        for (unsigned number = 0; number < pool->numbers && pool->staying < n; number++) {
            struct strait_p_pool_worker *worker = &pool->workers[number];
            if (worker->state == STRAIT_P_LEAVING) {
                strait_p_becomes(worker, STRAIT_P_AT_WORK);
            }
        }
        ask_to_leave(pool);
        wake_workers(pool); /* one may end now, if it stays idle */
    }
    pthread_mutex_unlock(&pool->lock);
    return error;
}

STRAIT_P_COLD int strait_pool_resize(struct strait_pool *pool, unsigned n, int64_t deadline)
{
    if (n < 1 || n > STRAIT_POOL_WORKERS_MAX) {
        return -EINVAL;
    }
    int error = enter(pool, STRAIT_PARENTS_MAX);
    if (error) {
        return error;
    }
    error = set_number(pool, n);
    if (!error) {
        error = staff(pool, n);
        unsigned staying = strait_load_relaxed(&pool->staying);
        if (error && staying > 0) {
            set_number(pool, staying); /* as many as could be had: demand starts none of the rest */
        }
    }
    if (!error) {
        error = await_workers(pool, STRAIT_P_LEAVING, ENDED, deadline);
    }
    depart(pool, false);
    return error;
}

/* ---- counters ---- */

static uint64_t read_count(const uintptr_t *counter)
{
    /* stats.read: pairs with stats.count; what was counted before; without it the counters do not
     * add up */
    return strait_word_load_acquire(counter);
}

/* Nobody is stopped, so the counters are read while they move. They only grow, and each is read
 * after those that it bounds: what is completed, then what has started, then what was submitted. So
 * no difference between them is negative, and they add up because queued and running are such
 * differences. */
STRAIT_P_COLD void strait_pool_stats(struct strait_pool *pool, struct strait_pool_stats *stats)
{
    uint64_t ended = 0; /* that had started */
    memset(stats, 0, sizeof(*stats));
    pthread_mutex_lock(&pool->lock);
    for (uint32_t place = 0; place < pool->places; place++) {
        const struct strait_parent *parent = pool->parents[place];
        const uintptr_t *completed = parent->counters.completed;
        stats->done += read_count(&completed[STRAIT_TASK_DONE]);
        stats->failed += read_count(&completed[STRAIT_TASK_FAILED]);
        stats->cancelled += read_count(&completed[STRAIT_TASK_CANCELLED]);
        stats->expired += read_count(&completed[STRAIT_TASK_EXPIRED]);
        stats->abandoned += read_count(&completed[STRAIT_TASK_ABANDONED]);
        ended += read_count(&parent->counters.finished);
        stats->refused += read_count(&parent->counters.refused);
        stats->in_place += read_count(&parent->counters.in_place);
        uint64_t most = strait_word_load_relaxed(&parent->waiting_max);
        stats->queued_max = most > stats->queued_max ? most : stats->queued_max;
    }
    stats->queue_limit = pool->options.queue_limit;
    stats->workers = pool->online;
    stats->idle = pool->online;
    for (unsigned number = 0; number < pool->numbers; number++) {
        const struct strait_p_pool_worker *worker = &pool->workers[number];
        stats->running += read_count(&worker->tasks);
        stats->idle -= stats->idle > 0 && strait_word_load_relaxed(&worker->run) != 0;
    }
    stats->running -= ended;
    for (uint32_t place = 0; place < pool->places; place++) {
        const struct strait_parent *parent = pool->parents[place];
        uint64_t submitted = read_count(&parent->counters.submitted);
        stats->submitted += submitted;
        stats->parents += parent->worker ? submitted > 0 : parent->attached;
    }
    pthread_mutex_unlock(&pool->lock);
    stats->queued = stats->submitted - stats->running - stats->done - stats->failed -
                    stats->cancelled - stats->expired - stats->abandoned;
}

/* What one task shows; `run` NULL: none. */
static void read_running(const struct strait_p_pool_worker *worker,
                         struct strait_pool_worker_stats *stats)
{
    uintptr_t since;
    for (;;) {
        /* stats.shown: pairs with worker.show; that the three are being changed; without it a
         * reader gets the name of one task with the function of another */
        uintptr_t before = strait_word_load_acquire(&worker->shown);
        /* stats.shown: the same */
        stats->run = (strait_run_fn *)strait_word_load_acquire(&worker->run);
        /* stats.shown: the same */
        stats->name = (const char *)strait_word_load_acquire(&worker->name);
        /* stats.shown: the same */
        since = strait_word_load_acquire(&worker->since);
        if (strait_word_load_relaxed(&worker->shown) == before && !(before & 1)) {
            break;
        }
        sched_yield(); /* the worker may need this CPU to go on */
    }
    if (stats->run && since) {
        uintptr_t now = (uintptr_t)(strait_now() >> 10);
        stats->running_ns = (intptr_t)(now - since) > 0 ? (int64_t)(now - since) << 10 : 0;
    }
}

STRAIT_P_COLD int strait_pool_worker_stats(const struct strait_pool *pool, unsigned number,
                                           struct strait_pool_worker_stats *stats)
{
    if (number >= STRAIT_POOL_WORKERS_MAX) {
        return -EINVAL;
    }
    const struct strait_p_pool_worker *worker = &pool->workers[number];
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&pool->lock;
    int64_t now;
    memset(stats, 0, sizeof(*stats));
    pthread_mutex_lock(lock);
    bool any = worker->online_at != 0;
    stats->number = number;
    stats->online = any && worker->ended_at == 0;
    stats->thread = stats->online ? worker->thread.number : 0;
    stats->cpu = worker->cpu;
    stats->schedule = worker->schedule;
    stats->nice = worker->nice;
    stats->reason = worker->reason;
    stats->tasks = strait_word_load_relaxed(&worker->tasks);
    stats->busy_ns = strait_stopwatch_read(&worker->busy, &now);
    if (stats->online) {
        read_running(worker, stats);
    }
    stats->online_ns = (stats->online ? now : worker->ended_at) - worker->online_at;
    pthread_mutex_unlock(lock);
    return any ? 0 : -EINVAL;
}
