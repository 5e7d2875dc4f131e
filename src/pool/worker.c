/* SPDX-License-Identifier: MIT */
/* worker: what happens on a worker's thread: it finds a task, runs it, sleeps. See shared.h for how
 * it is woken. */
#include "shared.h"

#include <sys/resource.h>

#include "../channel/private.h"

/* How often a spinning worker looks before it lets others have the CPU for once. */
#define LOOKS_PER_YIELD 4096

/* After so many tasks without a wait, there is a backlog: tasks so far ahead are asked for. */
#define STREAK 64
#define AHEAD 8

/* After so many empty rings, the bits of those that are empty are lowered. A look that comes by few
 * of them does not count: to lower a bit takes a barrier that costs more than such looks do. */
#define MISSES 256
#define FEW_MISSES 2

/* Children of a waiting task that are looked at for what their runners have. */
#define CHILDREN_LOOKED_AT 16

static __thread struct strait_p_pool_worker *current_worker;

/* ---- parents ---- */

/* Says whose memory the worker touches from here on, and that it is done with the one before. */
static void set_visiting(struct strait_p_pool_worker *self, const struct strait_parent *parent)
{
    /* worker.left: pairs with parent.leave; all that the worker did with the parent before; without
     * it that one's memory is given back before the worker's last access to it */
    strait_word_store_release(&self->visiting, (uintptr_t)parent);
}

/* The parent at a place, which is not freed until the worker visits another one; NULL: nobody. */
static struct strait_parent *visit(struct strait_p_pool_worker *self, uint32_t place)
{
    struct strait_pool *pool = self->pool;
    uintptr_t parent = strait_word_load_relaxed(&pool->parents[place]);
    while (parent != self->visiting) {
        set_visiting(self, (const struct strait_parent *)parent);
        if (STRAIT_UNLIKELY(pool->fenced)) {
            /* worker.fence: pairs with event.prepare; that the worker visits, or else that the
             * parent has left; without it the worker uses memory that was given back */
            strait_full_fence();
        }
        /* worker.visit: pairs with parent.attach, event.prepare; the parent, and that
         * it has not left; without it the worker uses memory that was given back */
        strait_light_barrier();
        /* worker.visit: the same */
        parent = strait_word_load_acquire(&pool->parents[place]);
    }
    return (struct strait_parent *)parent;
}

/* The first place from `from` on, below `end`, whose bit is up; `end`: none. */
static uint32_t next_place(const struct strait_pool *pool, unsigned priority, uint32_t from,
                           uint32_t end)
{
    while (from < end) {
        uintptr_t word = strait_word_load_relaxed(&pool->bits[priority][from / STRAIT_P_BITS]);
        word >>= from % STRAIT_P_BITS;
        if (word) {
            from += (uint32_t)__builtin_ctzll(word);
            return from < end ? from : end;
        }
        from = (from / STRAIT_P_BITS + 1) * STRAIT_P_BITS;
    }
    return end;
}

static struct strait_p_submission_ring *ring_at(struct strait_p_pool_worker *self,
                                                unsigned priority, uint32_t place)
{
    const struct strait_parent *parent = visit(self, place);
    return parent ? strait_p_ring_of(parent, priority) : NULL;
}

/* Lowers the bits of parents that have nothing. A push that came before the barrier is seen behind
 * it; the parent of a later one sees that its bit is down. */
static void lower_bits(struct strait_p_pool_worker *self)
{
    struct strait_pool *pool = self->pool;
    uint32_t places = strait_load_relaxed(&pool->places);
    uintptr_t lowered[STRAIT_P_PRIORITIES][STRAIT_P_PLACE_WORDS];
    memset(lowered, 0, sizeof(lowered));
    for (unsigned p = 0; p < STRAIT_P_PRIORITIES; p++) {
        for (uint32_t place = next_place(pool, p, 0, places); place < places;
             place = next_place(pool, p, place + 1, places)) {
            const struct strait_p_submission_ring *ring = ring_at(self, p, place);
            if (!ring || !strait_p_ring_ready(ring)) {
                uintptr_t bit = (uintptr_t)1 << (place % STRAIT_P_BITS);
                lowered[p][place / STRAIT_P_BITS] |= bit;
                strait_p_bits_change(&pool->bits[p][place / STRAIT_P_BITS], 0, bit);
            }
        }
    }
    strait_p_heavy_barrier(pool->fenced);
    for (unsigned p = 0; p < STRAIT_P_PRIORITIES; p++) {
        for (uint32_t place = 0; place < places; place++) {
            uintptr_t bit = (uintptr_t)1 << (place % STRAIT_P_BITS);
            uintptr_t *word = &lowered[p][place / STRAIT_P_BITS];
            const struct strait_p_submission_ring *ring =
                *word & bit ? ring_at(self, p, place) : NULL;
            if (ring && strait_p_ring_ready(ring)) {
                strait_p_bits_change(&pool->bits[p][place / STRAIT_P_BITS], bit, 0);
            }
        }
    }
    if (STRAIT_UNLIKELY(pool->fenced)) {
        /* pool.fence: the same, of the bits that are up again */
        strait_full_fence();
    }
    self->misses = 0;
}

/* ---- finding a task ---- */

struct claim {
    struct strait_parent *parent;
    struct strait_p_slot *slot;
};

/* Parents take turns, each worker's own. */
static bool claim_priority(struct strait_p_pool_worker *self, unsigned priority,
                           struct claim *claim)
{
    struct strait_pool *pool = self->pool;
    uint32_t places = strait_load_relaxed(&pool->places);
    uint32_t turn = self->turn[priority] < places ? self->turn[priority] : 0;
    unsigned empty = 0;
    claim->slot = NULL;
    for (int half = 0; half < 2 && !claim->slot; half++) {
        uint32_t end = half == 0 ? places : turn;
        for (uint32_t place = next_place(pool, priority, half == 0 ? turn : 0, end);
             place < end && !claim->slot; place = next_place(pool, priority, place + 1, end)) {
            struct strait_p_submission_ring *ring = ring_at(self, priority, place);
            claim->parent = (struct strait_parent *)self->visiting;
            claim->slot = ring ? strait_p_ring_claim(ring) : NULL;
            empty += claim->slot == NULL;
            self->turn[priority] = claim->slot ? place + 1 : self->turn[priority];
        }
    }
    self->misses += empty > FEW_MISSES ? empty : 0;
    return claim->slot != NULL;
}

/* `own`: of what the worker's own tasks have submitted alone. */
static bool claim_next(struct strait_p_pool_worker *self, bool own, struct claim *claim)
{
    if (own) {
        claim->parent = strait_p_worker_parent(self);
        claim->slot =
            claim->parent ? strait_p_ring_claim(strait_p_ring_of(claim->parent, 0)) : NULL;
        return claim->slot != NULL;
    }
    return (strait_load_relaxed(&self->pool->high_used) &&
            claim_priority(self, STRAIT_PRIORITY_HIGH, claim)) ||
           claim_priority(self, STRAIT_PRIORITY_NORMAL, claim);
}

/* Is there a task that any worker could claim? */
static bool work_waits(struct strait_p_pool_worker *self)
{
    const struct strait_pool *pool = self->pool;
    uint32_t places = strait_load_relaxed(&pool->places);
    unsigned priorities = strait_load_relaxed(&pool->high_used) ? STRAIT_P_PRIORITIES : 1;
    for (unsigned p = 0; p < priorities; p++) {
        for (uint32_t place = next_place(pool, p, 0, places); place < places;
             place = next_place(pool, p, place + 1, places)) {
            const struct strait_p_submission_ring *ring = ring_at(self, p, place);
            if (ring && strait_p_ring_ready(ring)) {
                return true;
            }
        }
    }
    return false;
}

/* ---- running a task ---- */

/* What others see of a task that runs. */
struct sight {
    strait_run_fn *run; /* NULL: none */
    const char *name;
    int64_t since; /* ns; 0: not timed */
};

/* Whoever reads an even `shown` before the three and the same behind them has those of one task. */
static void show(struct strait_p_pool_worker *self, const struct sight *sight)
{
    uintptr_t shown = self->shown;
    strait_word_store_relaxed(&self->shown, shown + 1);
    /* worker.show: pairs with stats.shown; that the three are being changed; without it a reader
     * gets the name of one task with the function of another */
    strait_word_store_release(&self->run, (uintptr_t)sight->run);
    /* worker.show: the same */
    strait_word_store_release(&self->name, (uintptr_t)sight->name);
    /* worker.show: the same */
    strait_word_store_release(&self->since, (uintptr_t)(sight->since >> 10));
    /* worker.show: the same */
    strait_word_store_release(&self->shown, shown + 2);
}

/* A task that was claimed: may it run? */
static enum strait_p_verdict judge(const struct strait_pool *pool, const struct strait_p_slot *slot)
{
    if (strait_load_relaxed(&slot->cancel) & ~STRAIT_P_AWAITED) {
        return STRAIT_P_NOT_WANTED;
    }
    if (strait_p_closing(pool) == 1 + STRAIT_CLOSE_CANCEL) {
        return STRAIT_P_POOL_CLOSED;
    }
    return strait_p_late(slot, false) ? STRAIT_P_TOO_LATE : STRAIT_P_RAN;
}

/* This worker will be busy: whatever waits still is for the next one. Who has pushed it may have
 * taken this one for idle. */
static void pass_on(struct strait_p_pool_worker *self)
{
    struct strait_pool *pool = self->pool;
    if (strait_p_next_idle(pool, 0)) {
        if (work_waits(self)) {
            strait_p_wake_idle(pool);
        }
    } else if (STRAIT_UNLIKELY(strait_p_may_grow(pool)) && !strait_load_relaxed(&pool->starting) &&
               work_waits(self)) {
        pool->grow(pool);
    }
}

/* Calls the task's `run`, and counts, shows and times it. */
static enum strait_p_verdict run(struct strait_p_pool_worker *self, struct strait_p_link *link,
                                 struct strait_p_slot *slot)
{
    struct sight outer = {(strait_run_fn *)self->run, (const char *)self->name, self->began};
    struct sight sight = {slot->task.run, slot->task.name, 0};
    bool timed = self->pool->timed;
    if (STRAIT_UNLIKELY(timed)) {
        sight.since = strait_now();
    }
    self->began = sight.since;
    /* stats.count: the same */
    strait_word_store_release(&link->started, link->started + 1);
    strait_word_store_relaxed(&self->tasks, self->tasks + 1);
    show(self, &sight);
    if (STRAIT_UNLIKELY(strait_p_may_grow(self->pool))) {
        /* worker.busy: pairs with pool.busy; that the worker is inside a task, or else what was
         * pushed; without it neither side starts the worker that a task waits for */
        strait_full_fence();
        pass_on(self);
    }
    strait_p_probe_start(self->number, slot);
    int code = slot->task.run(&slot->task);
    strait_p_probe_done(self->number, slot, code);
    if (STRAIT_UNLIKELY(timed)) {
        struct strait_p_plan *plan = strait_p_plan_of(slot);
        uint64_t submitted = strait_wide_load_relaxed(&plan->submitted_at);
        uint64_t began = (uint64_t)sight.since;
        /* a task whose parent has not read the clock yet has hardly waited */
        plan->waited_ns = submitted && submitted < began ? began - submitted : 0;
        plan->ran_ns = (uint64_t)strait_now() - began;
        if (!outer.run) {
            strait_wide_store_relaxed(&self->busy_ns, self->busy_ns + plan->ran_ns);
        }
    }
    self->began = outer.since;
    show(self, &outer);
    return strait_p_ran(slot, code);
}

/* Is this the task that its parent sleeps for, or the last one of a group that it sleeps for? The
 * group is counted before the report: behind it, it may be gone. */
static bool count_in_group(const struct strait_p_slot *slot, enum strait_p_verdict verdict)
{
    struct strait_group *group = slot->planned ? strait_p_plan_of(slot)->group : NULL;
    if (verdict == STRAIT_P_NOT_WANTED || !group) {
        return verdict == STRAIT_P_NOT_WANTED;
    }
    /* worker.count: pairs with event.prepare; that the task is counted, or else which count the
     * parent sleeps for; without it the parent sleeps on */
    uintptr_t finished = strait_word_add_acq_rel(&group->finished, 1) + 1;
    return finished == strait_word_load_relaxed(&group->goal);
}

/* Hands the slot back to a parent that is another thread, and wakes it if this is what it sleeps
 * for. */
static void report(struct strait_p_pool_worker *self, const struct claim *claim,
                   enum strait_p_verdict verdict)
{
    struct strait_parent *parent = claim->parent;
    const struct strait_p_slot *slot = claim->slot;
    struct strait_p_submission_ring *ring = strait_p_ring_of(parent, slot->priority);
    bool goal = !parent->is_worker && count_in_group(slot, verdict);
    set_visiting(self, parent);
    strait_p_report(&parent->links[self->number]->sends, slot, verdict);
    strait_p_notify(parent->any, parent->fenced);
    if (STRAIT_UNLIKELY(strait_load_relaxed(&parent->goal.word) & STRAIT_P_WAITING)) {
        uint32_t online = strait_load_relaxed(&self->pool->online);
        /* the slot may be another task's by now: then this wakes the parent for nothing */
        if (goal || strait_load_relaxed(&slot->cancel) & STRAIT_P_AWAITED ||
            strait_p_ring_short(ring, online)) {
            strait_p_wake_sleeper(&parent->goal);
        }
    }
}

/* What it claimed may have made room. */
static void note_room(const struct claim *claim)
{
    struct strait_parent *parent = claim->parent;
    const struct strait_p_slot *slot = claim->slot;
    uintptr_t at = strait_word_load_relaxed(&parent->room_at[slot->priority]);
    if (STRAIT_UNLIKELY(at) && (intptr_t)(strait_word_load_relaxed(&slot->turn) - at) >= 0) {
        strait_p_notify(parent->any, parent->fenced);
    }
}

/* Runs what was claimed, or not, and lets its parent have it back. */
static void handle(struct strait_p_pool_worker *self, const struct claim *claim)
{
    struct strait_p_slot *slot = claim->slot;
    struct strait_parent *parent = claim->parent;
    struct strait_parent *own = strait_p_worker_parent(self);
    struct strait_p_plan *stolen =
        parent->is_worker && parent != own ? strait_p_plan_of(slot) : NULL;
    struct strait_p_event_count *lender = self->lender;
    set_visiting(self, parent);
    note_room(claim);
    enum strait_p_verdict verdict = judge(self->pool, slot);
    if (STRAIT_LIKELY(verdict == STRAIT_P_RAN)) {
        uintptr_t tail = own ? strait_p_ring_of(own, 0)->tail : 0;
        uintptr_t floor = own ? own->floor : 0;
        self->lender = parent == own ? lender : stolen ? parent->any : NULL;
        if (own) {
            own->floor = tail;
            own->lender = self->lender;
        }
        if (stolen) {
            strait_word_store_relaxed(&stolen->floor, tail);
            /* worker.runner: pairs with worker.leap; where its children begin; without it a
             * waiting task runs what is none of its children */
            strait_store_release(&stolen->runner, 1 + self->number);
        }
        if (parent == own) {
            own->inside++;
        }
        verdict = run(self, parent->links[self->number], slot);
        if (parent == own) {
            own->inside--;
        }
        if (stolen) {
            strait_store_relaxed(&stolen->runner, 0);
        }
        self->lender = lender;
        own = strait_p_worker_parent(self); /* the task may have been the first to ask for it */
        if (own) {
            own->floor = floor;
            own->lender = lender;
        }
    }
    if (parent == own) {
        strait_p_complete_own(parent, slot, verdict);
    } else {
        report(self, claim, verdict);
    }
}

/* ---- a task that waits ---- */

/* Finds a child of the waiting task's that another worker runs, and whose own oldest child may be
 * claimed. Its ring, or NULL; *plan is the child's. */
static struct strait_p_submission_ring *find_runner(struct strait_p_pool_worker *self,
                                                    const struct strait_parent *own,
                                                    const struct strait_p_plan **plan,
                                                    uint32_t *runner)
{
    const struct strait_p_submission_ring *ring = strait_p_ring_of(own, 0);
    uintptr_t head = strait_p_ring_head(ring);
    for (uintptr_t at = head; (intptr_t)(at - own->floor) > 0 && head - at < CHILDREN_LOOKED_AT;) {
        const struct strait_p_slot *child = strait_p_slot_at(ring, --at);
        if (child->turn != at + 1 || child->state != STRAIT_P_QUEUED) {
            continue;
        }
        *plan = strait_p_plan_of(child);
        /* worker.leap: pairs with worker.runner; where the child's children begin; without it a
         * waiting task runs what is none of its children */
        *runner = strait_load_acquire(&(*plan)->runner);
        const struct strait_parent *other =
            *runner ? strait_p_worker_parent(&self->pool->workers[*runner - 1]) : NULL;
        if (other && other != own && strait_p_ring_leapable(strait_p_ring_of(other, 0), *plan)) {
            return strait_p_ring_of(other, 0);
        }
    }
    return NULL;
}

static bool can_help(struct strait_parent *own)
{
    const struct strait_p_plan *plan;
    uint32_t runner;
    return find_runner(current_worker, own, &plan, &runner) != NULL;
}

/* Runs a descendant of the task that waits. False: there is none to be had. */
static bool help(struct strait_parent *own)
{
    struct strait_p_pool_worker *self = current_worker;
    struct claim claim = {.parent = own};
    claim.slot = strait_p_ring_take(strait_p_ring_of(own, 0), own->floor);
    if (!claim.slot) {
        const struct strait_p_plan *plan;
        uint32_t runner;
        struct strait_p_submission_ring *ring = find_runner(self, own, &plan, &runner);
        claim.slot = ring ? strait_p_ring_leap(ring, plan, runner) : NULL;
        claim.parent = claim.slot ? strait_p_worker_parent(&self->pool->workers[runner - 1]) : own;
    }
    if (!claim.slot) {
        set_visiting(self, NULL);
        return false;
    }
    handle(self, &claim);
    return true;
}

struct strait_parent *strait_parent_current(void)
{
    struct strait_p_pool_worker *self = current_worker;
    if (!self) {
        return NULL;
    }
    struct strait_parent *parent = strait_p_worker_parent(self);
    if (STRAIT_LIKELY(parent)) {
        return parent;
    }
    const struct strait_pool *pool = self->pool;
    struct strait_parent_options options = {.wait = pool->options.wait,
                                            .low_water = pool->queue_limit / 2};
    if (strait_p_parent_create(self->pool, &parent, &options, self) != 0) {
        return NULL;
    }
    parent->help = help;
    parent->can_help = can_help;
    parent->lender = self->lender;
    /* worker.inner: pairs with pool.inner; the parent; without it another worker reads what was
     * there before it was made */
    strait_word_store_release(&self->parent, (uintptr_t)parent);
    return parent;
}

void *strait_pool_data(void)
{
    return current_worker ? current_worker->data : NULL;
}

/* ---- the loop ---- */

static bool collectable(struct strait_p_pool_worker *self)
{
    struct strait_parent *own = strait_p_worker_parent(self);
    return own && strait_p_collectable(own);
}

static bool owed_nothing(const struct strait_p_pool_worker *self)
{
    const struct strait_parent *own = strait_p_worker_parent(self);
    return !own || own->owed == 0;
}

/* Must it end as soon as it may? Read before the look for a task: what that does not find will not
 * come. */
static bool is_asked_to_end(const struct strait_p_pool_worker *self)
{
    /* worker.ending: pairs with pool.end; the last task that was pushed; without it a task is
     * left behind */
    return strait_load_acquire(&self->pool->ending) ||
           strait_load_relaxed(&self->state) == STRAIT_P_LEAVING;
}

static bool has_work(struct strait_p_pool_worker *self)
{
    if (strait_load_relaxed(&self->state) != STRAIT_P_LEAVING && work_waits(self)) {
        return true;
    }
    return collectable(self) || (is_asked_to_end(self) && owed_nothing(self));
}

/* There are more workers than there must be. */
static bool too_many(const struct strait_pool *pool)
{
    return strait_load_relaxed(&pool->staying) > strait_load_relaxed(&pool->workers_min);
}

/* Something to do; or called: a waker has lowered the bit, or idle workers may end now. */
static bool worker_ready(void *side)
{
    struct strait_p_pool_worker *self = side;
    bool called = (self->raised && !strait_p_is_idle(self->pool, self->number)) ||
                  (self->idle_until == STRAIT_FOREVER && too_many(self->pool));
    bool ready = called || has_work(self);
    set_visiting(self, NULL);
    return ready;
}

/* Nobody needs to know of it: it finds by itself whatever comes. */
static void spin_for_work(struct strait_p_pool_worker *self, int64_t until)
{
    for (unsigned looks = 1; !worker_ready(self); looks++) {
        strait_pause();
        if (looks % LOOKS_PER_YIELD == 0) {
            sched_yield();
            if (until != STRAIT_FOREVER && strait_now() >= until) {
                return;
            }
        }
    }
}

/* True: nothing came for so long that the worker may go, if there are too many. */
static bool wait_for_work(struct strait_p_pool_worker *self)
{
    struct strait_pool *pool = self->pool;
    if (self->idle_until == 0 || self->idle_until == STRAIT_FOREVER) {
        bool extra = too_many(pool);
        self->idle_until = extra ? strait_deadline(pool->options.idle_timeout) : STRAIT_FOREVER;
    }
    int64_t until = self->idle_until;
    bool leaving = strait_load_relaxed(&self->state) == STRAIT_P_LEAVING;
    if (self->misses >= MISSES) {
        lower_bits(self);
    }
    struct strait_p_waiter waiter = {
        .own = &self->event,
        .peer = &pool->origin,
        .ready = worker_ready,
        .side = self,
        .spin_ns = &self->spin_ns,
        .mode = STRAIT_WAIT_PARK,
        .sole = true,
        .fenced = pool->fenced,
    };
    self->raised = !leaving;
    strait_p_idle_change(pool, self->number, self->raised);
    if (pool->options.wait == STRAIT_WAIT_SPIN) {
        spin_for_work(self, until);
    } else {
        strait_p_park(&waiter, until);
    }
    strait_p_idle_change(pool, self->number, false);
    /* worker.awake: pairs with pool.wake; that the worker is not idle, or else what was pushed;
     * without it a task waits for a worker that was taken for awake */
    strait_full_fence();
    return until != STRAIT_FOREVER && strait_now() >= until;
}

/* Takes the worker out of the count. False: it is needed after all. */
static bool end(struct strait_p_pool_worker *self, bool idle)
{
    struct strait_pool *pool = self->pool;
    bool ends = true;
    pthread_mutex_lock(&pool->lock);
    if (idle) {
        ends =
            self->state == STRAIT_P_AT_WORK && pool->online > pool->workers_min && !pool->closing;
    } else if (!pool->ending) {
        ends = self->state == STRAIT_P_LEAVING; /* it may have been asked to stay */
    }
    if (ends) {
        strait_p_gone(self);
    }
    if (ends && idle) {
        /* who pushed before this is seen to have; who pushes later sees that there may be one more
         */
        strait_p_heavy_barrier(pool->fenced);
        ends = !work_waits(self);
        if (!ends) {
            strait_p_at_work(self);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    self->idle_until = 0;
    return ends;
}

STRAIT_PRIVATE void strait_p_worker_run(void *argument)
{
    struct strait_p_pool_worker *self = argument;
    bool idle = false; /* for so long that it may end */
    for (;;) {
        struct claim claim;
        bool asked = is_asked_to_end(self);
        bool own = strait_load_relaxed(&self->state) == STRAIT_P_LEAVING;
        bool completed = collectable(self);
        if (completed || own) {
            pass_on(self); /* it may have been taken for idle, and takes nothing, or not at once */
        }
        if (completed) {
            struct strait_parent *parent = strait_p_worker_parent(self);
            strait_p_collect(parent, parent->owed + 1);
        }
        if (claim_next(self, own, &claim)) {
            if (++self->streak > STREAK) {
                struct strait_p_submission_ring *ring =
                    strait_p_ring_of(claim.parent, claim.slot->priority);
                strait_prefetch_read(strait_p_slot_at(
                    ring, strait_word_load_relaxed(&claim.slot->turn) - 1 + AHEAD));
            }
            if (STRAIT_UNLIKELY(self->misses >= MISSES)) {
                lower_bits(self);
            }
            pass_on(self);
            handle(self, &claim);
            idle = false;
            self->idle_until = 0;
        } else if (completed) {
            idle = false;
            self->idle_until = 0;
        } else if ((asked || idle) && owed_nothing(self)) {
            if (end(self, !asked)) {
                break;
            }
            idle = false;
        } else {
            self->streak = 0;
            idle = wait_for_work(self);
        }
    }
    set_visiting(self, NULL);
}

STRAIT_PRIVATE bool strait_p_worker_is_current(const struct strait_pool *pool)
{
    return current_worker && current_worker->pool == pool;
}

/* ---- coming and going ---- */

static enum strait_schedule own_schedule(void)
{
    switch (sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) {
    case SCHED_BATCH:
        return STRAIT_SCHEDULE_BATCH;
    case SCHED_IDLE:
        return STRAIT_SCHEDULE_IDLE;
    default:
        return STRAIT_SCHEDULE_NORMAL;
    }
}

/* The kernel or a sandbox may have refused what was asked for. */
static void look_at_oneself(struct strait_p_pool_worker *self)
{
    int saved = errno;
    self->schedule = own_schedule();
    self->nice = getpriority(PRIO_PROCESS, (id_t)self->thread.number);
    strait_errno_restore(saved);
    self->cpu = self->thread.cpu;
    if (self->schedule != self->thread.options.schedule ||
        self->nice != self->thread.options.nice) {
        self->reason = "not as it should be: the system, or the nice of who started it, forbids it";
    }
}

STRAIT_PRIVATE int strait_p_worker_begin(void *argument)
{
    struct strait_p_pool_worker *self = argument;
    struct strait_pool *pool = self->pool;
    struct strait_parent *own = strait_p_worker_parent(self);
    if (own) {
        own->owner = 0; /* it was another thread's, of this number */
    }
    self->data = NULL;
    int error = pool->options.init
                    ? pool->options.init(self->number, &self->data, pool->options.context)
                    : 0;
    pthread_mutex_lock(&pool->lock);
    strait_store_relaxed(&pool->starting, pool->starting - 1);
    if (error) {
        strait_p_gone(self);
    } else {
        current_worker = self;
        look_at_oneself(self);
        self->online_at = strait_now();
        self->ended_at = 0;
    }
    pthread_mutex_unlock(&pool->lock);
    return error > 0 ? -ECANCELED : error;
}

/* The last one of a pool that closes tells the parents, whose loops may wait for it. */
STRAIT_PRIVATE void strait_p_worker_end(void *argument)
{
    struct strait_p_pool_worker *self = argument;
    struct strait_pool *pool = self->pool;
    current_worker = NULL;
    if (pool->options.fini) {
        pool->options.fini(self->number, self->data, pool->options.context);
    }
    pthread_mutex_lock(&pool->lock);
    self->ended_at = strait_now();
    if (self->state != STRAIT_P_GONE_HOME) { /* a task has ended its thread */
        strait_p_gone(self);
    }
    if (pool->closing && pool->online == 0) {
        strait_p_parents_wake(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}
