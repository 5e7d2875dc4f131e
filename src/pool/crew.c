/* SPDX-License-Identifier: MIT */
/* crew: a pool's workers: how they find tasks, run them, sleep and are woken. See pool.h. */
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../worker/cpu.h"
#include "pool.h"
#include "probe.h"

/* How often a spinning worker looks before it lets others have the CPU for once. */
#define LOOKS_PER_YIELD 4096

/* After so many tasks without a wait, there is a backlog. */
#define STREAK 64

/* ---- waking ---- */

static void idle_set(struct strait_pool *pool, unsigned number, bool raised)
{
    uintptr_t bit = (uintptr_t)1 << (number % STRAIT_IDLE_BITS);
    uintptr_t *word = &pool->idle[number / STRAIT_IDLE_BITS];
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
    uintptr_t word = strait_word_load_relaxed(&pool->idle[number / STRAIT_IDLE_BITS]);
    return (word >> (number % STRAIT_IDLE_BITS) & 1) != 0;
}

/* The first idle worker from `number` on, or NULL. */
static struct pool_worker *idle_next(const struct strait_pool *pool, unsigned number)
{
    unsigned count = pool->options.workers_max;
    for (; number < count; number = (number / STRAIT_IDLE_BITS + 1) * STRAIT_IDLE_BITS) {
        /* workers and wakers write it */
        uintptr_t word = strait_word_load_relaxed(&pool->idle[number / STRAIT_IDLE_BITS]);
        word &= UINTPTR_MAX << (number % STRAIT_IDLE_BITS);
        if (word) {
            unsigned base = number / STRAIT_IDLE_BITS * STRAIT_IDLE_BITS;
            return &pool->workers[base + (unsigned)__builtin_ctzll(word)];
        }
    }
    return NULL;
}

bool strait_crew_any_idle(const struct strait_pool *pool)
{
    for (unsigned i = 0; i < pool->options.workers_max; i++) {
        const struct pool_worker *worker = &pool->workers[i];
        /* the keeper writes the state, and the worker when it ends; the worker writes the rest */
        if (strait_load_relaxed(&worker->state) == STRAIT_STARTING &&
            !strait_word_load_relaxed(&worker->run) && !strait_load_relaxed(&worker->completing)) {
            return true;
        }
    }
    return false;
}

/* Wakes the first idle worker that sleeps, unless one before it is awake and will find the task by
 * itself. One that is awake on this very CPU does not run, and may not for long. */
static void wake_sleeper(struct strait_pool *pool)
{
    int here = sched_getcpu();
    struct pool_worker *worker = idle_next(pool, 0);
    for (; worker; worker = idle_next(pool, worker->number + 1)) {
        /* the worker sets STRAIT_P_WAITING, its wakers clear it */
        if (strait_load_relaxed(&worker->signal.word) & STRAIT_P_WAITING) {
            idle_set(pool, worker->number, false); /* the next waker turns to the next sleeper */
            strait_p_wake_sleeper(&worker->signal);
            return;
        }
        if (worker->cpu != here) {
            return;
        }
    }
}

/* What the sleepers' barrier needs of whoever has just published something. */
static void publish_fence(bool fenced)
{
    if (STRAIT_UNLIKELY(fenced)) {
        /* pool.fence: pairs with event.prepare; what was published, or else the sleeper's mark */
        strait_full_fence();
    }
    /* pool.notify: pairs with event.prepare; what was published, or else the sleeper's mark */
    strait_light_barrier();
}

void strait_crew_wake(struct strait_pool *pool)
{
    publish_fence(pool->fenced);
    if (idle_next(pool, 0)) {
        /* pool.wake: pairs with pool.awake; what was pushed, or else that the worker is not idle */
        strait_full_fence();
        wake_sleeper(pool);
    }
}

static void rouse_sleeper(struct strait_p_event_count *signal)
{
    /* the sleeper sets STRAIT_P_WAITING, its wakers clear it */
    if (STRAIT_UNLIKELY(strait_load_relaxed(&signal->word) & STRAIT_P_WAITING)) {
        strait_p_wake_sleeper(signal);
    }
}

void strait_signal_poke(const struct strait_pool *pool, struct strait_p_event_count *signal)
{
    publish_fence(pool->fenced);
    rouse_sleeper(signal);
}

void strait_crew_wake_worker(struct pool_worker *worker)
{
    strait_signal_poke(worker->pool, &worker->signal);
}

/* ---- finding a task ---- */

struct claim {
    struct strait_parent *parent;
    struct strait_slot *slot;
};

static bool low_may_run(const struct strait_pool *pool)
{
    /* workers write it */
    return strait_load_relaxed(&pool->low_running) < pool->options.low_limit;
}

/* Takes one of the places for tasks of low priority. */
static bool low_enter(struct strait_pool *pool)
{
    /* workers write it, and only by read-modify-write; it counts and says nothing else */
    uint32_t running = strait_load_relaxed(&pool->low_running);
    while (running < pool->options.low_limit) {
        /* workers write it */
        if (strait_cas_relaxed(&pool->low_running, &running, running + 1)) {
            return true;
        }
    }
    return false;
}

static void low_leave(struct strait_pool *pool)
{
    /* workers write it */
    uint32_t running = strait_load_relaxed(&pool->low_running);
    /* workers write it */
    while (!strait_cas_relaxed(&pool->low_running, &running, running - 1)) {
    }
}

static bool lane_ready(const uintptr_t *word)
{
    const struct strait_taskring *ring = strait_lane(word);
    return ring && strait_taskring_ready(ring);
}

static struct strait_slot *lane_claim(const uintptr_t *word)
{
    struct strait_taskring *ring = strait_lane(word);
    return ring ? strait_taskring_claim(ring) : NULL;
}

/* The parent's next task of that priority for this worker; those that are for it alone go first. */
static struct strait_slot *parent_claim(struct pool_worker *self, struct strait_parent *parent,
                                        enum strait_priority priority)
{
    struct strait_slot *slot = NULL;
    if (priority == STRAIT_PRIORITY_NORMAL && strait_lane_used(self->pool, STRAIT_SHARED_LANES)) {
        slot = lane_claim(&parent->own_lanes[self->number]);
    }
    return slot ? slot : lane_claim(&parent->lanes[priority]);
}

/* Parents take turns, each worker's own. */
static bool claim_priority(struct pool_worker *self, enum strait_priority priority,
                           struct claim *claim)
{
    uint32_t count = strait_parent_count(self->pool);
    for (uint32_t i = 0, at = self->turn[priority]; i < count; i++, at++) {
        at = at < count ? at : 0;
        claim->parent = strait_parent_at(self->pool, at);
        claim->slot = parent_claim(self, claim->parent, priority);
        if (claim->slot) {
            self->turn[priority] = at + 1;
            return true;
        }
    }
    return false;
}

static bool claim_low(struct pool_worker *self, struct claim *claim)
{
    if (!low_enter(self->pool)) {
        return false;
    }
    if (claim_priority(self, STRAIT_PRIORITY_LOW, claim)) {
        return true;
    }
    low_leave(self->pool);
    return false;
}

static bool claim_next(struct pool_worker *self, struct claim *claim)
{
    const struct strait_pool *pool = self->pool;
    return (strait_lane_used(pool, STRAIT_PRIORITY_HIGH) &&
            claim_priority(self, STRAIT_PRIORITY_HIGH, claim)) ||
           claim_priority(self, STRAIT_PRIORITY_NORMAL, claim) ||
           (strait_lane_used(pool, STRAIT_PRIORITY_LOW) && claim_low(self, claim));
}

static bool priority_waits(const struct strait_pool *pool, enum strait_priority priority)
{
    uint32_t count = strait_parent_count(pool);
    for (uint32_t i = 0; i < count; i++) {
        if (lane_ready(&strait_parent_at(pool, i)->lanes[priority])) {
            return true;
        }
    }
    return false;
}

bool strait_crew_work_waits(const struct strait_pool *pool)
{
    return priority_waits(pool, STRAIT_PRIORITY_NORMAL) ||
           (strait_lane_used(pool, STRAIT_PRIORITY_HIGH) &&
            priority_waits(pool, STRAIT_PRIORITY_HIGH)) ||
           (strait_lane_used(pool, STRAIT_PRIORITY_LOW) && low_may_run(pool) &&
            priority_waits(pool, STRAIT_PRIORITY_LOW));
}

static bool own_work_waits(const struct pool_worker *self)
{
    if (!strait_lane_used(self->pool, STRAIT_SHARED_LANES)) {
        return false;
    }
    uint32_t count = strait_parent_count(self->pool);
    for (uint32_t i = 0; i < count; i++) {
        if (lane_ready(&strait_parent_at(self->pool, i)->own_lanes[self->number])) {
            return true;
        }
    }
    return false;
}

/* ---- running a task ---- */

static __thread struct pool_worker *current_worker;

struct pool_worker *strait_crew_current(void)
{
    return current_worker;
}

static struct strait_parent *own_parent(const struct pool_worker *self)
{
    /* the worker alone writes it, once */
    return (struct strait_parent *)strait_word_load_relaxed(&self->parent);
}

static struct strait_taskring *ring_of(struct strait_parent *parent, const struct strait_slot *slot)
{
    return strait_lane(slot->lane < STRAIT_SHARED_LANES
                           ? &parent->lanes[slot->lane]
                           : &parent->own_lanes[slot->lane - STRAIT_SHARED_LANES]);
}

/* A task that was claimed: may it run? */
static enum strait_verdict judge(struct strait_parent *parent, const struct strait_slot *slot)
{
    if (strait_taskring_unwanted(slot)) {
        return STRAIT_NOT_WANTED;
    }
    if (strait_pool_closing(parent->pool) == 1 + STRAIT_CLOSE_CANCEL) {
        return STRAIT_POOL_CANCELLED;
    }
    if (slot->planned) {
        const struct strait_plan *plan = strait_taskring_plan(ring_of(parent, slot), slot);
        int64_t by = plan->start_by < plan->finish_by ? plan->start_by : plan->finish_by;
        if (by != STRAIT_FOREVER && strait_now() >= by) {
            return STRAIT_TOO_LATE;
        }
    }
    return STRAIT_RAN;
}

/* Wakes whoever collects the parent's reports. */
static void rouse_collector(struct strait_parent *parent)
{
    struct strait_p_event_count *collector = strait_parent_collector(parent);
    rouse_sleeper(collector);
}

/* Hands the slot back; there is always room for that. */
static void send_report(struct strait_parent *parent, struct strait_report_link *link,
                        const struct strait_slot *slot, enum strait_verdict verdict)
{
    strait_reports_send(&link->reports, slot, verdict);
    publish_fence(parent->fenced);
    rouse_collector(parent);
}

static void count_link(uintptr_t *count)
{
    /* the worker alone writes it */
    strait_word_store_relaxed(count, *count + 1);
}

/* What others see of the task that runs; `run` NULL: none, and `since` is 0. Whoever reads the same
 * `since` before and after `run`, and not 0, has not got those of an earlier task with it. */
static void show(struct pool_worker *self, strait_run_fn *run, uint64_t since)
{
    /* the worker alone writes it */
    strait_wide_store_relaxed(&self->since, 0);
    /* crew.show: pairs with crew.shown; that the task before is over */
    strait_word_store_release(&self->run, (uintptr_t)run);
    /* the worker alone writes it */
    strait_wide_store_relaxed(&self->since, since);
}

strait_run_fn *strait_crew_running(const struct pool_worker *worker, uint64_t *since)
{
    uintptr_t run;
    uint64_t again;
    do {
        /* the worker alone writes it */
        *since = strait_wide_load_relaxed(&worker->since);
        /* crew.shown: pairs with crew.show; that the task before is over */
        run = strait_word_load_acquire(&worker->run);
        /* the worker alone writes it */
        again = strait_wide_load_relaxed(&worker->since);
    } while (*since != again);
    return *since ? (strait_run_fn *)run : NULL;
}

/* What the interrupted task that shows since then shows later: whether it was told to stall. */
static uint64_t marked(const struct pool_worker *self, uint64_t since)
{
    /* the keeper alone writes it */
    return strait_wide_load_relaxed(&self->told) == since ? since & ~(uint64_t)1 : since;
}

static int run_task(struct pool_worker *self, struct strait_slot *slot)
{
    strait_probe_start(self->number, slot);
    int code = slot->task.run(&slot->task);
    strait_probe_done(self->number, slot, code);
    return code;
}

/* Others see by now that this worker runs a task: does that concern the keeper? Who submits a task
 * before that may take the worker for idle, so it is the worker that has to look once more. */
static void tell_busy(struct strait_pool *pool)
{
    /* pool.busy: pairs with pool.seen, event.prepare; what waits, and that the keeper is about to
     * sleep, or else that the worker is not idle */
    strait_full_fence();
    if (pool->options.stall_ns) {
        strait_keeper_look(pool, STRAIT_WATCH_STALLS);
    }
    if (strait_crew_may_grow(pool) && strait_crew_work_waits(pool)) {
        strait_keeper_look(pool, STRAIT_WATCH_GROWTH);
    }
}

/* The worker is free for its next task as of now. Untimed, that is an odd number like any other,
 * which tells one task from the next. */
static void note_free(struct pool_worker *self)
{
    const struct strait_ticks *ticks = self->pool->ticks;
    self->free_since = ticks ? strait_ticks_now(ticks) : 2 * (uint64_t)self->tasks + 1;
}

/* Counts, shows, runs, reports; with what is for the eyes of others last, where nobody waits. A
 * task runs from the time at which its worker was free for it, so that each takes one look at the
 * clock, after its end. */
static void run_claimed(struct pool_worker *self, const struct claim *claim,
                        struct strait_report_link *link)
{
    struct strait_slot *slot = claim->slot;
    const struct strait_ticks *ticks = self->pool->ticks;
    uint64_t start = self->free_since;
    strait_run_fn *outer = (strait_run_fn *)self->run;
    uint64_t outer_since = outer ? marked(self, self->since) : 0;
    count_link(&link->started);
    count_link(&self->tasks);
    show(self, slot->task.run, start);
    if (STRAIT_UNLIKELY(self->pool->watched)) {
        tell_busy(self->pool);
    }
    int code = run_task(self, slot);
    if (code) {
        slot->code = code;
    }
    /* the parent alone writes it; it may not have yet, and then the task has hardly waited */
    uint64_t submitted = strait_wide_load_relaxed(&slot->submitted_at);
    send_report(claim->parent, link, slot, code ? STRAIT_RAN_TO_CODE : STRAIT_RAN);
    show(self, outer, outer ? marked(self, outer_since) : 0);
    note_free(self);
    if (!ticks) {
        return;
    }
    uint64_t ran = strait_ticks_between(ticks, start, self->free_since);
    strait_times_add(self->waited, submitted ? strait_ticks_between(ticks, submitted, start) : 0);
    strait_times_add(self->ran, ran);
    if (!outer) {
        /* the worker alone writes it */
        strait_wide_store_relaxed(&self->busy_ns, self->busy_ns + ran);
    }
}

static void handle(struct pool_worker *self, const struct claim *claim)
{
    struct strait_report_link *link = &claim->parent->links[self->number];
    /* the parent alone writes it; see parent.starved */
    if (STRAIT_UNLIKELY(strait_load_relaxed(&claim->parent->wants_room))) {
        rouse_collector(claim->parent); /* there may be room now */
    }
    enum strait_verdict verdict = judge(claim->parent, claim->slot);
    if (STRAIT_LIKELY(verdict == STRAIT_RAN)) {
        run_claimed(self, claim, link);
        return;
    }
    send_report(claim->parent, link, claim->slot, verdict);
}

/* This worker will be busy: whatever waits still is for the next one. Who has pushed it may have
 * taken this one for idle. */
static void pass_on(struct strait_pool *pool)
{
    if (idle_next(pool, 0) && strait_crew_work_waits(pool)) {
        strait_crew_wake(pool);
    }
}

static void run_one(struct pool_worker *self, const struct claim *claim)
{
    bool low = claim->slot->lane == STRAIT_PRIORITY_LOW;
    pass_on(self->pool);
    handle(self, claim);
    if (low) {
        low_leave(self->pool);
    }
}

/* ---- the loop ---- */

static bool own_reports_wait(const struct pool_worker *self)
{
    struct strait_parent *parent = own_parent(self);
    return parent && strait_parent_ready(parent);
}

/* It is owed no completion. A withdrawn task in the lane of a worker that has ended may never be
 * claimed, and so its slot not come back. */
static bool may_end(const struct pool_worker *self)
{
    const struct strait_parent *parent = own_parent(self);
    return !parent || parent->owed == 0;
}

static bool has_work(const struct pool_worker *self)
{
    return strait_crew_work_waits(self->pool) || own_work_waits(self) || own_reports_wait(self) ||
           (strait_pool_ending(self->pool) && may_end(self));
}

/* Something to do, or called: a waker has lowered the bit, which park_for_work raises again. */
static bool worker_ready(void *side)
{
    const struct pool_worker *self = side;
    return has_work(self) || !idle_raised(self->pool, self->number);
}

static bool park_for_work(struct pool_worker *self, int64_t until)
{
    struct strait_pool *pool = self->pool;
    struct strait_p_waiter waiter = {
        .own = &self->signal,
        .peer = &pool->origin,
        .ready = worker_ready,
        .side = self,
        .spin_ns = &self->spin_ns,
        .mode = STRAIT_WAIT_PARK,
        .sole = true,
        .fenced = pool->fenced,
    };
    idle_set(pool, self->number, true);
    int error = strait_pool_wait(&waiter, until);
    note_free(self);
    idle_set(pool, self->number, false);
    /* pool.awake: pairs with pool.wake; that the worker is not idle, or else what was pushed */
    strait_full_fence();
    return error == -ETIMEDOUT;
}

/* Nobody needs to know of it: it finds by itself whatever comes. */
static bool spin_for_work(struct pool_worker *self, int64_t until)
{
    for (unsigned looks = 1; !has_work(self); looks++) {
        strait_pause();
        note_free(self);
        if (looks % LOOKS_PER_YIELD == 0) {
            sched_yield();
            if (until != STRAIT_FOREVER && strait_now() >= until) {
                return true;
            }
        }
    }
    return false;
}

/* Those above the fixed number do not stay for ever. */
static bool is_extra(const struct pool_worker *self)
{
    return self->number >= self->pool->options.workers;
}

/* True: the worker was not needed for so long that it may go. */
static bool wait_for_work(struct pool_worker *self)
{
    const struct strait_pool_options *options = &self->pool->options;
    int64_t until = is_extra(self) ? strait_deadline(options->idle_timeout) : STRAIT_FOREVER;
    return options->wait == STRAIT_WAIT_SPIN ? spin_for_work(self, until)
                                             : park_for_work(self, until);
}

/* Its own completions, as a parent. */
static void complete_own(struct pool_worker *self)
{
    /* the worker alone writes it */
    strait_store_relaxed(&self->completing, 1);
    pass_on(self->pool);
    if (STRAIT_UNLIKELY(self->pool->watched)) {
        tell_busy(self->pool);
    }
    strait_parent_catch_up(own_parent(self));
    /* the worker alone writes it */
    strait_store_relaxed(&self->completing, 0);
    note_free(self);
}

static bool serve_one(struct pool_worker *self)
{
    struct claim claim;
    bool completed = own_reports_wait(self);
    if (completed) {
        complete_own(self);
    }
    if (!claim_next(self, &claim)) {
        return completed;
    }
    if (++self->streak > STREAK) {
        strait_taskring_expect(ring_of(claim.parent, claim.slot), claim.slot);
    }
    run_one(self, &claim);
    return true;
}

/* Between two looks it may have held a place for tasks of low priority, and so have sent others
 * that came for one to sleep. */
static bool may_retire(const struct pool_worker *self)
{
    /* crew.leave: pairs with event.prepare; the place it has left, or else what was pushed */
    strait_full_fence();
    return may_end(self) && !strait_crew_work_waits(self->pool);
}

static void serve_all(struct pool_worker *self)
{
    bool retiring = false;
    for (;;) {
        bool ending = strait_pool_ending(self->pool); /* then what is left is the last */
        if (serve_one(self)) {
            retiring = false;
        } else if ((ending && may_end(self)) || (retiring && may_retire(self))) {
            return;
        } else {
            self->streak = 0;
            retiring = wait_for_work(self);
        }
    }
}

void strait_crew_serve(void *worker)
{
    struct pool_worker *self = worker;
    current_worker = self;
    /* the worker alone writes it */
    strait_store_relaxed(&self->thread, (uint32_t)syscall(SYS_gettid));
    if (own_parent(self)) {
        own_parent(self)->handle.owner = 0; /* it was another thread's, of the same number */
    }
    note_free(self);
    serve_all(self);
    current_worker = NULL;
    /* crew.retired: pairs with crew.join; all that the worker has written */
    strait_store_release(&self->state, STRAIT_RETIRED);
    strait_keeper_call(self->pool);
}

bool strait_crew_help(struct pool_worker *self, struct strait_parent *parent)
{
    static const enum strait_priority order[] = {STRAIT_PRIORITY_HIGH, STRAIT_PRIORITY_NORMAL,
                                                 STRAIT_PRIORITY_LOW};
    struct claim claim = {.parent = parent};
    for (unsigned i = 0; i < STRAIT_SHARED_LANES && !claim.slot; i++) {
        claim.slot = parent_claim(self, parent, order[i]);
    }
    if (!claim.slot) {
        return false;
    }
    note_free(self);
    handle(self, &claim);
    return true;
}

/* ---- closing ---- */

static void flush_lane(struct strait_parent *parent, const uintptr_t *word)
{
    struct strait_report_link *link = &parent->links[parent->pool->options.workers_max];
    struct strait_slot *slot;
    while ((slot = lane_claim(word)) != NULL) {
        send_report(parent, link, slot, judge(parent, slot));
    }
}

void strait_crew_flush(struct strait_pool *pool)
{
    for (uint32_t i = strait_parent_count(pool); i-- > 0;) {
        struct strait_parent *parent = strait_parent_at(pool, i);
        for (unsigned lane = 0; lane < STRAIT_SHARED_LANES; lane++) {
            flush_lane(parent, &parent->lanes[lane]);
        }
        for (unsigned worker = 0; worker < pool->options.workers_max; worker++) {
            flush_lane(parent, &parent->own_lanes[worker]);
        }
    }
}
