/* SPDX-License-Identifier: MIT */
/* worker: what happens on a worker's thread: it finds a task, runs it, sleeps. See shared.h for how
 * it is woken. */
#include "shared.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../channel/private.h"

/* After so many tasks without a wait, there is a backlog: tasks so far ahead are asked for. */
#define STREAK 64
#define AHEAD 8

/* After so many empty rings, the bits of those that are empty are lowered. A look that comes by few
 * of them does not count: to lower a bit takes a barrier that costs more than such looks do. */
#define MISSES 256
#define FEW_MISSES 2

/* Children of a waiting task that are looked at for what their runners have. */
#define CHILDREN_LOOKED_AT 16

/* How long a worker that shares CPUs with others' threads runs before it gives way, unless it has
 * done more tasks meanwhile: those are too short for many to be held up inside of one. */
#define TURN_NS 750000
#define FEW_TASKS 8

static __thread struct strait_p_pool_worker *current_worker;

/* ---- finding a task ---- */

/* Claims a task of the highest priority that there is, and says whose; NULL: there is none. Parents
 * take turns, each worker's own. Where the bit of one alone is up, the worker need not look whose
 * turn it is: what it looks at between two tasks delays each of them. One that leaves takes what
 * its own tasks have submitted. */
static struct strait_p_slot *claim_next(struct strait_p_pool_worker *self, bool leaving,
                                        struct strait_parent **parent)
{
    struct strait_pool *pool = self->pool;
    struct strait_p_slot *slot = NULL;
    unsigned empty = 0;
    uint32_t last = leaving ? self->parent->place : self->turn[STRAIT_PRIORITY_NORMAL];
    uintptr_t word =
        strait_word_load_relaxed(&pool->bits[STRAIT_PRIORITY_NORMAL][last / STRAIT_P_BITS]);
    uintptr_t raised = strait_word_load_relaxed(&pool->raised);
    if (leaving || (raised == 1 && word >> last % STRAIT_P_BITS & 1)) {
        *parent = pool->parents[last];
        slot = strait_p_ring_oldest(&(*parent)->rings[STRAIT_PRIORITY_NORMAL], true, NULL, 0);
    }
    for (unsigned n = 1; !slot && !leaving && n <= STRAIT_P_PRIORITIES; n++) {
        unsigned priority = STRAIT_P_PRIORITIES - n;
        uint32_t turn = self->turn[priority] + 1;
        uint32_t place = turn;
        int half = raised < STRAIT_P_RAISED(priority) ? 2 : 0;
        for (; !slot && half < 2; half++, place = 0) {
            uint32_t end = half == 0 ? STRAIT_P_NONE : turn;
            while (!slot && (place = strait_p_next_place(pool, priority, place)) < end) {
                self->turn[priority] = place;
                *parent = pool->parents[place++];
                slot = strait_p_ring_oldest(&(*parent)->rings[priority], true, NULL, 0);
                empty += !slot;
            }
        }
    }
    self->misses += empty > FEW_MISSES ? empty : 0;
    return slot;
}

/* Asks for the slot of a task that is to be claimed soon. */
static void ask_ahead(const struct strait_parent *parent, const struct strait_p_slot *slot)
{
    const struct strait_p_submission_ring *ring = &parent->rings[slot->priority];
    uint32_t word = strait_load_relaxed(&ring->words[(slot->position + AHEAD) & ring->mask]);
    strait_prefetch_read(&ring->slots[word & STRAIT_P_WORD_INDEX]);
}

STRAIT_PRIVATE STRAIT_P_ONE_COPY bool strait_p_work_waits(const struct strait_pool *pool)
{
    for (unsigned p = 0; p < STRAIT_P_PRIORITIES; p++) {
        for (uint32_t place = strait_p_next_place(pool, p, 0); place != STRAIT_P_NONE;
             place = strait_p_next_place(pool, p, place + 1)) {
            if (strait_p_ring_ready(&pool->parents[place]->rings[p])) {
                return true;
            }
        }
    }
    return false;
}

/* Lowers the bits of parents that have nothing, and those of words that have no bits left. A push
 * that came before the barrier is seen behind it; the parent of a later one sees that a bit is
 * down. */
static STRAIT_P_COLD void lower_bits(struct strait_p_pool_worker *self)
{
    struct strait_pool *pool = self->pool;
    uintptr_t lowered[STRAIT_P_PRIORITIES][STRAIT_P_PLACE_WORDS] = {{0}};
    /* pool.places: pairs with parent.place; the parents; without it a worker reads what was there
     * before one was made */
    uint32_t places = strait_load_acquire(&pool->places);
    for (unsigned raise = 0; raise < 2; raise++) {
        for (uint32_t n = 0; n / STRAIT_P_PRIORITIES * STRAIT_P_BITS < places; n++) {
            unsigned p = n % STRAIT_P_PRIORITIES;
            uint32_t word = n / STRAIT_P_PRIORITIES;
            uintptr_t *bits = &pool->bits[p][word];
            uintptr_t left = raise ? lowered[p][word] : strait_word_load_relaxed(bits);
            for (; left; left &= left - 1) {
                uint32_t place = word * STRAIT_P_BITS + (uint32_t)__builtin_ctzll(left);
                if (place < places &&
                    strait_p_ring_ready(&pool->parents[place]->rings[p]) == raise) {
                    strait_p_bit_set(pool->bits[p], place, raise, &pool->raised,
                                     STRAIT_P_RAISED(p));
                    lowered[p][word] |= left & -left;
                }
            }
            if ((strait_word_load_relaxed(bits) != 0) == raise) {
                strait_p_bit_set(pool->filled[p], word, raise, NULL, 0);
            }
        }
        if (!raise) {
            strait_p_heavy_barrier(pool->fenced);
        }
    }
    self->misses = 0;
}

/* ---- running a task ---- */

/* What others see of a task that runs. Whoever reads an even `shown` before the three and the same
 * behind them has those of one task. */
static void show(struct strait_p_pool_worker *self, uintptr_t run, uintptr_t name, uintptr_t since)
{
    uintptr_t shown = self->shown;
    strait_word_store_relaxed(&self->shown, shown + 1);
    /* worker.show: pairs with stats.shown; that the three are being changed; without it a reader
     * gets the name of one task with the function of another */
    strait_word_store_release(&self->run, run);
    /* worker.show: the same */
    strait_word_store_release(&self->name, name);
    /* worker.show: the same */
    strait_word_store_release(&self->since, since);
    /* worker.show: the same */
    strait_word_store_release(&self->shown, shown + 2);
}

/* This worker will be busy: whatever waits still is for the next one. Who has pushed it may have
 * taken this one for idle. */
static void pass_on(struct strait_pool *pool)
{
    uint32_t numbers = strait_load_relaxed(&pool->numbers);
    bool idle = strait_p_next_bit(pool->idle, 0, numbers) < numbers;
    if ((idle || STRAIT_UNLIKELY(strait_load_relaxed(&pool->growable))) &&
        strait_p_work_waits(pool) && !strait_p_wake_idle(pool, NULL)) {
        pool->grow(pool);
    }
}

/* Calls the task's `run`, and counts, shows and times it. The verdict. */
static uint8_t run(struct strait_p_pool_worker *self, struct strait_p_slot *slot)
{
    bool timed = self->pool->options.timed;
    uint64_t began = STRAIT_UNLIKELY(timed) ? (uint64_t)strait_now() : 0;
    uintptr_t outer = self->run;
    uintptr_t outer_name = self->name;
    uintptr_t outer_since = self->since;
    strait_p_count(&self->tasks);
    if (STRAIT_UNLIKELY(timed) && !outer) {
        strait_stopwatch_set(&self->busy, (int64_t)began, true);
    }
    show(self, (uintptr_t)slot->task.run, (uintptr_t)slot->task.name, (uintptr_t)(began >> 10));
    if (STRAIT_UNLIKELY(strait_load_relaxed(&self->pool->growable))) {
        /* worker.busy: pairs with pool.busy; that the worker is inside a task, or else what was
         * pushed; without it neither side starts the worker that a task waits for */
        strait_full_fence();
        pass_on(self->pool);
    }
    DTRACE_PROBE3(strait, task__start, self->number, slot, slot->task.run);
    int code = slot->task.run(&slot->task);
    DTRACE_PROBE3(strait, task__done, self->number, slot, code);
    if (STRAIT_UNLIKELY(timed)) {
        struct strait_p_plan *plan = strait_p_plan_of(slot);
        plan->waited_ns = plan->submitted_at < began ? began - plan->submitted_at : 0;
        plan->ran_ns = (uint64_t)strait_now() - began;
        if (!outer) {
            strait_stopwatch_set(&self->busy, (int64_t)(began + plan->ran_ns), false);
        }
    }
    show(self, outer, outer_name, outer_since);
    return STRAIT_LIKELY(!code) ? STRAIT_P_DONE : strait_p_failed(slot, code);
}

/* Hands the slot back to its parent. One that is another thread is woken if this is what it sleeps
 * for. Behind the report the slot may be another task's. */
static void report(struct strait_p_pool_worker *self, struct strait_parent *parent,
                   struct strait_p_slot *slot)
{
    if (parent == self->parent) {
        strait_p_complete(parent, slot, true);
        return;
    }
    strait_word_store_relaxed(&self->reporting, (uintptr_t)parent);
    uintptr_t top = strait_p_report(&parent->stack, parent->links, slot);
    uintptr_t goal = strait_word_load_relaxed(&parent->goal);
    intptr_t left = strait_p_goal_left(goal, top);
    if (left <= 0 || parent->worker ||
        strait_load_relaxed(&parent->awaited_slot) == (top & STRAIT_P_INDEX_MASK)) {
        strait_p_notify(parent->event, STRAIT_P_BARRIER);
    } else if (left == (intptr_t)(goal & STRAIT_P_INDEX_MASK)) { /* this is the first */
        strait_p_parent_start_clock(parent);
    }
    /* worker.reported: pairs with parent.leave; all that the worker did with the parent; without it
     * a worker makes a descriptor readable that is somebody else's by now */
    strait_word_store_release(&self->reporting, 0);
}

/* Runs what was claimed, or not, and lets its parent have it back. */
static void handle(struct strait_p_pool_worker *self, struct strait_parent *parent,
                   struct strait_p_slot *slot)
{
    struct strait_parent *own = self->parent;
    bool is_own = parent == own;
    uintptr_t room_at = strait_word_load_relaxed(&parent->room_at[slot->priority]);
    if (STRAIT_UNLIKELY(room_at) && (int32_t)(slot->position + 1 - (uint32_t)room_at) >= 0) {
        strait_p_notify(parent->event, STRAIT_P_BARRIER);
    }
    uint32_t verdict = strait_load_relaxed(&slot->cancel);
    if (!verdict && strait_load_relaxed(&self->pool->closing) == 1 + STRAIT_CLOSE_CANCEL) {
        verdict = STRAIT_TASK_ABANDONED;
    } else if (!verdict && slot->planned && strait_p_late(slot, false)) {
        verdict = STRAIT_TASK_EXPIRED;
    }
    if (STRAIT_LIKELY(!verdict)) {
        struct strait_p_plan *plan = parent->worker ? strait_p_plan_of(slot) : NULL;
        struct strait_p_slot *outer = self->innermost;
        struct strait_p_event_count *lender = self->lender;
        uintptr_t floor = own->floor;
        own->floor = own->rings[STRAIT_PRIORITY_NORMAL].tail;
        own->inside += is_own;
        self->innermost = slot;
        if (plan) {
            plan->next = outer;
        }
        if (plan && !is_own) {
            self->lender = parent->event;
            strait_word_store_relaxed(&plan->floor, own->floor);
            /* worker.runner: pairs with worker.leap; where its children begin; without it a
             * waiting task runs what is none of its children */
            strait_store_release(&plan->runner, 1 + self->number);
        }
        verdict = run(self, slot);
        if (plan && !is_own) {
            strait_store_relaxed(&plan->runner, 0);
        }
        self->lender = lender;
        self->innermost = outer;
        own->inside -= is_own;
        own->floor = floor;
    }
    slot->verdict = (uint8_t)verdict;
    report(self, parent, slot);
}

/* ---- a task that ends its thread ---- */

/* The tasks that the worker is inside of have failed, the outermost last: their frames are gone. A
 * completion may end the thread once more: then the rest fails after that. */
static STRAIT_P_ONE_COPY STRAIT_P_COLD void fail_tasks(struct strait_p_pool_worker *self)
{
    struct strait_parent *const *parents = self->pool->parents;
    struct strait_parent *own = self->parent;
    own->callback = NULL;
    own->inside = 0;
    own->floor = 0;
    self->lender = NULL;
    if (self->run && self->pool->options.timed) {
        strait_stopwatch_set(&self->busy, strait_now(), false);
    }
    show(self, 0, 0, 0);
    while (self->innermost) {
        struct strait_p_slot *slot = self->innermost;
        struct strait_p_plan *plan = strait_p_plan_of(slot);
        uint32_t place = 0;
        while (parents[place]->slots != slot - slot->index) { /* whose it is */
            place++;
        }
        struct strait_parent *parent = parents[place];
        self->innermost = parent->worker ? plan->next : NULL;
        strait_store_relaxed(&plan->runner, 0);
        slot->verdict = strait_p_failed(slot, -EINTR);
        report(self, parent, slot);
    }
}

/* ---- a task that waits ---- */

/* The oldest task of a worker that runs a child of the waiting task, if it descends from that
 * child: claims it, and says whose it is, or only looks for one. NULL: there is none. */
static struct strait_p_slot *leap(const struct strait_p_pool_worker *self, bool claim,
                                  struct strait_parent **parent)
{
    const struct strait_parent *own = self->parent;
    const struct strait_p_submission_ring *ring = &own->rings[STRAIT_PRIORITY_NORMAL];
    struct strait_p_slot *slot = NULL;
    uintptr_t head = strait_word_load_relaxed(&ring->head);
    for (uintptr_t at = head;
         !slot && (intptr_t)(at - own->floor) > 0 && head - at < CHILDREN_LOOKED_AT;) {
        at--;
        const struct strait_p_slot *child = strait_p_ring_pushed(ring, at);
        if (child->position != (uint32_t)at || child->state != (STRAIT_P_OWED | STRAIT_P_OUT)) {
            continue;
        }
        const struct strait_p_plan *plan = strait_p_plan_of(child);
        /* worker.leap: pairs with worker.runner; where the child's children begin; without it a
         * waiting task runs what is none of its children */
        uint32_t runner = strait_load_acquire(&plan->runner);
        if (runner && runner != 1 + self->number) {
            *parent = self->pool->workers[runner - 1].parent;
            slot = strait_p_ring_oldest(&(*parent)->rings[STRAIT_PRIORITY_NORMAL], claim, plan,
                                        runner);
        }
    }
    return slot;
}

/* Runs a descendant of the task that waits, or says whether there may be one that another worker
 * has. False: there is none to be had. */
static bool help(struct strait_parent *own, bool run_it)
{
    struct strait_p_pool_worker *self = own->worker;
    struct strait_parent *parent = own;
    struct strait_p_slot *slot =
        run_it ? strait_p_ring_take(&own->rings[STRAIT_PRIORITY_NORMAL], own->floor) : NULL;
    slot = slot ? slot : leap(self, run_it, &parent);
    if (slot && run_it) {
        handle(self, parent, slot);
    }
    return slot != NULL;
}

struct strait_parent *strait_parent_current(void)
{
    return current_worker ? current_worker->parent : NULL;
}

void *strait_pool_data(void)
{
    return current_worker ? current_worker->data : NULL;
}

/* ---- the loop ---- */

/* There are more workers than there must be. */
static bool too_many(const struct strait_pool *pool)
{
    return strait_load_relaxed(&pool->staying) > strait_load_relaxed(&pool->workers_min);
}

/* Something to do; or called: a waker has lowered the bit, or idle workers may end now. */
static bool worker_ready(void *side)
{
    struct strait_p_pool_worker *self = side;
    struct strait_pool *pool = self->pool;
    bool leaving = strait_load_relaxed(&self->state) == STRAIT_P_LEAVING;
    return (!leaving && strait_p_work_waits(pool)) || strait_p_collectable(self->parent) ||
           (self->raised && !strait_p_bit_is_up(pool->idle, self->number)) ||
           (self->idle_until == STRAIT_FOREVER && too_many(pool)) ||
           ((leaving || strait_load_relaxed(&pool->closing)) && self->parent->owed == 0);
}

/* True: nothing came for so long that the worker may go, if there are too many. */
static bool wait_for_work(struct strait_p_pool_worker *self)
{
    struct strait_pool *pool = self->pool;
    if (self->idle_until == 0 || self->idle_until == STRAIT_FOREVER) {
        self->idle_until =
            too_many(pool) ? strait_deadline(pool->options.idle_timeout) : STRAIT_FOREVER;
    }
    int64_t until = self->idle_until;
    struct strait_p_waiter waiter = {
        .own = &self->event,
        .peer = &pool->origin,
        .ready = worker_ready,
        .side = self,
        .spin_ns = &self->spin_ns,
        .mode = pool->options.wait,
        .sole = true,
        .between = pool->fenced ? STRAIT_P_FENCES : STRAIT_P_BARRIER,
    };
    /* workers that spin for ever find by themselves what comes: nobody needs to know of them */
    bool spins = waiter.mode == STRAIT_WAIT_SPIN && until == STRAIT_FOREVER;
    self->raised = !spins && strait_load_relaxed(&self->state) != STRAIT_P_LEAVING;
    if (self->raised) {
        strait_p_bit_set(pool->idle, self->number, true, NULL, 0);
    }
    bool timed_out = strait_p_park(&waiter, until) == -ETIMEDOUT;
    if (self->raised) {
        int64_t called_at = (int64_t)strait_wide_load_relaxed(&self->called_at);
        if (called_at) {
            strait_wide_store_relaxed(&self->called_at, 0);
            strait_store_relaxed(&self->late, strait_now() - called_at >= STRAIT_P_AT_ONCE_NS);
        }
        strait_p_bit_set(pool->idle, self->number, false, NULL, 0);
        /* worker.awake: pairs with pool.wake; that the worker is not idle, or else what was pushed;
         * without it a task waits for a worker that was taken for awake */
        strait_full_fence();
    }
    return timed_out;
}

/* Ends the worker, if it was leaving when it looked for work, or still finds none. False: it is
 * needed. */
static bool end(struct strait_p_pool_worker *self, bool leaving)
{
    struct strait_pool *pool = self->pool;
    pthread_mutex_lock(&pool->lock);
    bool ends = leaving ? self->state == STRAIT_P_LEAVING
                        : self->state == STRAIT_P_AT_WORK && (pool->closing || too_many(pool));
    if (ends) {
        strait_p_becomes(self, STRAIT_P_GONE_HOME);
    }
    if (ends && !leaving) {
        /* who pushed before this is seen to have; who pushes later sees that the pool is closing,
         * or that there may be one more worker */
        strait_p_heavy_barrier(pool->fenced);
        ends = !strait_p_work_waits(pool);
        if (!ends) {
            strait_p_becomes(self, STRAIT_P_AT_WORK);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    self->idle_until = 0;
    return ends;
}

/* A worker with a low weight that runs on to the scheduler's next tick, some 4 ms, then has to wait
 * ten times as long, wherever it is: in a task that holds a lock, perhaps. So it gives way before,
 * between two tasks. The clock is read after so many tasks as take about that time. */
static STRAIT_P_COLD void give_way(struct strait_p_pool_worker *self)
{
    int64_t now = strait_now();
    int64_t ran = self->turn_at ? now - self->turn_at : 0;
    if (ran < TURN_NS) {
        self->tasks_a_turn = (unsigned)strait_min(2 * self->tasks_a_turn + 1, STREAK);
    } else {
        self->tasks_a_turn = (unsigned)(self->tasks_a_turn * TURN_NS / ran);
        if (self->tasks_a_turn < FEW_TASKS && strait_load_relaxed(&self->pool->yielding)) {
            sched_yield();
            now = strait_now();
        }
    }
    self->turn_ends = self->streak + 1 + self->tasks_a_turn;
    self->turn_at = now;
}

STRAIT_PRIVATE void strait_p_worker_run(void *argument)
{
    struct strait_p_pool_worker *self = argument;
    struct strait_pool *pool = self->pool;
    struct strait_parent *own = self->parent;
    bool idle = false; /* for so long that it may end */
    for (;;) {
        bool leaving = strait_load_relaxed(&self->state) == STRAIT_P_LEAVING;
        bool completed = strait_p_collectable(own);
        if (completed || leaving) {
            /* it may have been taken for idle, and takes nothing, or not yet */
            pass_on(pool);
        }
        if (completed) {
            strait_p_collect(own, own->owed + 1);
        }
        struct strait_parent *parent = own;
        struct strait_p_slot *slot = claim_next(self, leaving, &parent);
        if (STRAIT_UNLIKELY(self->misses >= MISSES)) {
            lower_bits(self);
        }
        if (slot) {
            if (++self->streak > STREAK) {
                ask_ahead(parent, slot);
            }
            pass_on(pool);
            handle(self, parent, slot);
            if (self->streak >= self->turn_ends) {
                give_way(self);
            }
        } else if (!completed) {
            if ((idle || leaving || strait_load_relaxed(&pool->closing)) && own->owed == 0 &&
                end(self, leaving)) {
                return;
            }
            self->streak = 0;
            self->turn_at = 0;
            self->turn_ends = 0;
            idle = wait_for_work(self);
            pthread_testcancel(); /* before it takes a task that would fail with it */
            continue;
        }
        idle = false;
        self->idle_until = 0;
    }
}

/* ---- coming and going ---- */

/* The kernel or a sandbox may have refused what was asked for. */
static void look_at_oneself(struct strait_p_pool_worker *self)
{
    int saved = errno;
    long policy = syscall(SYS_sched_getscheduler, 0) & ~SCHED_RESET_ON_FORK;
    self->schedule = policy == SCHED_BATCH  ? STRAIT_SCHEDULE_BATCH
                     : policy == SCHED_IDLE ? STRAIT_SCHEDULE_IDLE
                                            : STRAIT_SCHEDULE_NORMAL;
    self->nice = getpriority(PRIO_PROCESS, (id_t)self->thread.number);
    strait_errno_restore(saved);
    self->cpu = self->thread.cpu;
    if (self->thread.refused || self->schedule != self->thread.options.schedule ||
        self->nice != self->thread.options.nice) {
        self->reason = "not as it should be: the system, or the nice of who started it, forbids it";
    }
}

/* Its init has failed, or fini is done, or either has ended the thread. The last one of a pool that
 * closes tells the parents, whose loops may wait for it. */
static STRAIT_P_COLD void say_goodbye(void *argument)
{
    struct strait_p_pool_worker *self = argument;
    struct strait_pool *pool = self->pool;
    pthread_mutex_lock(&pool->lock);
    strait_p_becomes(self, STRAIT_P_GONE_HOME);
    if (!self->ended_at) { /* or it was never online: that is when the one before has ended */
        self->ended_at = strait_now();
    }
    if (pool->closing && pool->online == 0) {
        strait_p_parents_wake(pool);
    }
    pthread_mutex_unlock(&pool->lock);
}

STRAIT_PRIVATE STRAIT_P_COLD int strait_p_worker_begin(void *argument)
{
    struct strait_p_pool_worker *self = argument;
    struct strait_pool *pool = self->pool;
    volatile int error = 0; /* init may end the thread */
    self->parent->help = help;
    self->parent->user = 0; /* it was another thread's, of this number */
    self->data = NULL;
    strait_wide_store_relaxed(&self->busy, 0);
    pthread_cleanup_push(say_goodbye, self);
    if (pool->options.init) {
        error = pool->options.init(self->number, &self->data, pool->options.context);
    }
    pthread_cleanup_pop(error);
    if (error) {
        return error > 0 ? -ECANCELED : error;
    }
    pthread_mutex_lock(&pool->lock);
    current_worker = self;
    look_at_oneself(self);
    self->online_at = strait_now();
    self->ended_at = 0;
    pthread_mutex_unlock(&pool->lock);
    return 0;
}

/* A task has ended the thread. What those that it was inside of have submitted is still run here,
 * then the worker goes, as one that was asked to leave; but where there is no other, and none can
 * be had, it stays. */
static STRAIT_P_COLD void run_on(struct strait_p_pool_worker *self)
{
    struct strait_pool *pool = self->pool;
    fail_tasks(self);
    pthread_mutex_lock(&pool->lock);
    if (self->state == STRAIT_P_AT_WORK) {
        strait_p_becomes(self, STRAIT_P_LEAVING);
    }
    pthread_mutex_unlock(&pool->lock);
    pool->grow(pool);
    pthread_mutex_lock(&pool->lock);
    if (pool->staying == 0) {
        strait_p_becomes(self, STRAIT_P_AT_WORK);
    }
    pthread_mutex_unlock(&pool->lock);
    pthread_cleanup_push(strait_p_worker_end, self);
    strait_p_worker_run(self);
    pthread_cleanup_pop(0);
}

/* Where run_on or fini ends the thread once more, it comes here again. */
STRAIT_PRIVATE STRAIT_P_COLD void strait_p_worker_end(void *argument)
{
    struct strait_p_pool_worker *self = argument;
    struct strait_pool *pool = self->pool;
    if (!current_worker) {
        return;
    }
    if (strait_load_relaxed(&self->state) != STRAIT_P_GONE_HOME) {
        run_on(self);
    }
    current_worker = NULL;
    pthread_cleanup_push(say_goodbye, self);
    if (pool->options.fini) {
        pool->options.fini(self->number, self->data, pool->options.context);
    }
    pthread_cleanup_pop(1);
}
