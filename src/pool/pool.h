/* SPDX-License-Identifier: MIT */
/*
 * pool: what its parts share.
 *
 *   pool.c         create, attach, close: the table of parents, what is allocated
 *   parent.c       dispatch, wait, detach: on a parent's thread, as the next three
 *   submit.c       how tasks get to the workers
 *   cancel.c       tasks that are not wanted any more
 *   complete.c     reports and completions
 *   crew.c         the workers: how they find tasks, run them, sleep and are woken
 *   keeper.c       the keeper: starts and joins workers, watches deadlines and stalls, and takes
 *                  the place of parents that have left
 *   pool_stats.c   what is seen from outside
 *
 * A parent has a ring of tasks for each priority, and one for each worker that it has given tasks
 * to by name; and a ring of reports from each worker, and from the keeper. The worker that claims a
 * task sends one report, whether it has run it or not: with that the slot is the parent's again.
 *
 * Waking. A worker that finds nothing raises its bit in `idle`, spins, then sleeps on its signal.
 * Whoever adds a task wakes one sleeper, unless some raised bit's owner is awake, who will find the
 * task by itself; who claims a task and leaves others wakes the next. With this chain a task never
 * waits while a worker is idle, and a burst of tasks costs a wake-up per worker, not per task.
 */
#ifndef STRAIT_POOL_PRIVATE_H
#define STRAIT_POOL_PRIVATE_H

#include <pthread.h>

#include "reports.h"
#include "strait/pool.h"
#include "ticks.h"
#include "../channel/wait.h"
#include "../worker/thread.h"

#define STRAIT_SHARED_LANES 3 /* by priority */
#define STRAIT_IDLE_BITS ((unsigned)(8 * sizeof(uintptr_t)))
#define STRAIT_IDLE_WORDS (STRAIT_POOL_WORKERS_MAX / STRAIT_IDLE_BITS)

/* Why a task is not wanted any more. */
enum strait_cancel {
    STRAIT_WANTED,
    STRAIT_UNWANTED_LATE, /* it has not started in time; nothing to one that has */
    STRAIT_UNWANTED_CANCELLED,
    STRAIT_UNWANTED_EXPIRED,
    STRAIT_UNWANTED_ABANDONED,
};

/* From one worker to one parent. */
struct strait_report_link {
    /* the worker writes; others read the count */
    STRAIT_LINE_ALIGNED struct strait_reports reports;
    uintptr_t started;
};

struct strait_parent {
    /* line 0: written seldom, by attach and the parent; workers read it at each task */
    STRAIT_LINE_ALIGNED struct strait_pool *pool;
    struct strait_report_link *links;     /* one for each worker, the last the keeper's */
    uintptr_t lanes[STRAIT_SHARED_LANES]; /* struct strait_taskring *, 0: none yet */
    uintptr_t *own_lanes;                 /* likewise, by worker */
    uintptr_t collector; /* struct strait_p_event_count * of whoever collects reports */
    struct strait_p_event_count signal; /* for a parent with a thread of its own; wakers write */
    uint32_t wants_room;                /* 1 + how many tasks may wait when there is; 0: not */
    bool fenced;                        /* workers fence after a report, for one that arms an fd
                                           each time round its loop: no membarrier then */
    /* line 1: the parent writes its counters, others read */
    STRAIT_LINE_ALIGNED uintptr_t submitted;
    uintptr_t completed[STRAIT_TASK_ABANDONED + 1];
    uintptr_t finished; /* completed of those that had started */
    uintptr_t refused;
    uintptr_t queued_max;
    uint64_t alarm;  /* when it is to be woken; 0: not */
    uint32_t alarms; /* how often that has changed */
    /* line 2 and on: the parent's alone */
    STRAIT_LINE_ALIGNED struct strait_reports *reports; /* the other ends of the links */
    uintptr_t *words;                                   /* of all of them */
    void *words_block;                                  /* that they lie in */
    unsigned turn;                                      /* the link that comes next */
    struct strait_p_handle handle; /* whose the parent is, for checked builds */
    struct strait_parent_options options;
    struct pool_worker *worker; /* that this is the parent side of, or NULL */
    struct strait_slot *due;    /* the first whose completion needs no report */
    struct strait_slot **due_end;
    struct strait_p_timers deadlines;
    size_t slot_limit;
    size_t in_use;                /* slots */
    size_t owed;                  /* completions */
    size_t unclaimed;             /* tasks, as of the heads seen last */
    size_t dead;                  /* positions behind those heads with nothing to run */
    struct strait_taskring *full; /* that had no place for what was refused last, or NULL */
    uint32_t spin_ns;
    bool dispatching;
    bool refusing;  /* it has answered -EAGAIN, and `room` has not been called since */
    bool left;      /* the keeper stands in for it */
    uint32_t rung;  /* the keeper's: the number of the alarm that it has rung last */
    uint32_t state; /* enum strait_attached; the parent writes, and once it has left the keeper */
};

enum strait_attached {
    STRAIT_ATTACHED,
    STRAIT_LEFT, /* the keeper is owed reports */
    STRAIT_FREE, /* for the next that attaches */
};

enum strait_crew_state {
    STRAIT_ABSENT,
    STRAIT_STARTING, /* or at work */
    STRAIT_RETIRED,  /* its thread ends: to be joined */
};

struct pool_worker {
    /* line 0: the worker writes, others read */
    STRAIT_LINE_ALIGNED uintptr_t run; /* strait_run_fn * of what it runs; 0: nothing */
    uint64_t since; /* in ticks; untimed: a number of its own; odd, or even if the task was told to
                       stall before it was interrupted by one of its own; 0: nothing */
    uint64_t busy_ns;
    uintptr_t tasks;
    uint32_t state;      /* enum strait_crew_state; the keeper writes but for the end */
    uint32_t completing; /* its own completions, as a parent */
    /* line 1: the worker's alone; what follows `number` is set once */
    STRAIT_LINE_ALIGNED uint32_t spin_ns;
    uint32_t turn[STRAIT_SHARED_LANES]; /* the parent that comes next */
    uint32_t streak;                    /* tasks since it had to wait last */
    uint64_t free_since;                /* for its next task, in ticks */
    unsigned number;
    int cpu;
    struct strait_pool *pool;
    uintptr_t parent; /* struct strait_parent * of its own; the worker writes once */
    struct strait_histogram *waited;
    struct strait_histogram *ran;
    struct strait_p_thread start; /* the keeper's */
    uint64_t online_ns;           /* the keeper writes: of those before */
    uint64_t online_at;           /* the keeper writes; 0: not there */
    uint32_t thread;              /* the worker writes */
    uint64_t seen;                /* the keeper's, as all that follows: `since` when it looked */
    int64_t seen_at;              /* since when that has not changed */
    uint64_t told;                /* `since` of the task that it has told last to stall */
    /* line 2 or later: what the worker sleeps on, and wakers write */
    STRAIT_LINE_ALIGNED struct strait_p_event_count signal;
};

struct strait_pool {
    /* set by create; the table of parents by attach; `closing` and `ending` by close */
    STRAIT_LINE_ALIGNED struct strait_pool_options options;
    const struct strait_ticks *ticks; /* NULL: untimed */
    struct pool_worker *workers;
    uintptr_t *parents; /* struct strait_parent *; published one by one */
    uint32_t parent_count;
    uint32_t closing; /* 0: open; 1 + enum strait_close */
    uint32_t ending;  /* and nothing more can have been pushed */
    uint32_t lanes;   /* a bit for each kind that any parent has had; written under the lock */
    bool fenced;
    bool watched;                       /* the keeper watches for stalls, or for want of workers */
    pid_t process;                      /* whose pool it is */
    int home;                           /* the creator's CPU */
    struct strait_p_event_count origin; /* says where the creator can run */
    /* workers raise and lower their bits, wakers lower them */
    STRAIT_LINE_ALIGNED uintptr_t idle[STRAIT_IDLE_WORDS];
    /* workers write: how many run tasks of low priority */
    STRAIT_LINE_ALIGNED uint32_t low_running;
    /* whoever needs the keeper writes */
    STRAIT_LINE_ALIGNED uint32_t keeper_called;
    struct strait_p_event_count keeper_signal;
    /* cold */
    STRAIT_LINE_ALIGNED pthread_mutex_t lock; /* of the parents' states and of closers */
    pthread_t keeper;
    uint32_t keeper_state; /* a futex: the keeper writes */
    int keeper_error;
    uint32_t online;   /* the keeper writes: workers */
    uint32_t watching; /* the keeper writes: for what it wakes up by itself, STRAIT_WATCH_... */
    bool closer;
    bool closed;
    bool over;              /* the keeper takes nobody's place any more */
    int64_t starving_since; /* the keeper's; 0: nobody */
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_report_link) % STRAIT_LINE == 0, "links share no line");
STRAIT_STATIC_ASSERT(sizeof(struct strait_parent) % STRAIT_LINE == 0, "parents share no line");
STRAIT_STATIC_ASSERT(sizeof(struct pool_worker) % STRAIT_LINE == 0, "workers share no line");
STRAIT_STATIC_ASSERT(offsetof(struct strait_parent, submitted) == STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_parent, reports) == 2 * STRAIT_LINE, "line 2");
STRAIT_STATIC_ASSERT(offsetof(struct pool_worker, spin_ns) == STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_pool, idle) % STRAIT_LINE == 0, "a line of its own");

/* ---- pool.c ---- */

/* The ring that a word names, NULL: none yet. Any thread. */
static inline struct strait_taskring *strait_lane(const uintptr_t *word)
{
    /* pool.lane: pairs with pool.newlane; the ring */
    uintptr_t ring = strait_word_load_acquire(word);
    return (struct strait_taskring *)ring;
}

/* How many there are in the table of parents. Any thread. */
static inline uint32_t strait_parent_count(const struct strait_pool *pool)
{
    /* pool.parents: pairs with pool.attach; the parents up to here */
    return strait_load_acquire(&pool->parent_count);
}

static inline struct strait_parent *strait_parent_at(const struct strait_pool *pool, uint32_t i)
{
    return (struct strait_parent *)pool->parents[i];
}

/* What whoever collects the parent's reports sleeps on. Any thread. */
static inline struct strait_p_event_count *
strait_parent_collector(const struct strait_parent *parent)
{
    /* the parent writes it, or the worker whose own it is; see parent.left */
    return (struct strait_p_event_count *)strait_word_load_relaxed(&parent->collector);
}

/* Makes a lane that is missing, of one of the kinds: a priority, or STRAIT_SHARED_LANES for those
 * of one worker. 0 or -ENOMEM. Parent only. */
int strait_lane_create(struct strait_parent *parent, uintptr_t *word, unsigned kind);

/* Has any parent lanes of that kind? Any thread. */
static inline bool strait_lane_used(const struct strait_pool *pool, unsigned kind)
{
    /* parents write it, under the lock; it never goes back */
    return (strait_load_relaxed(&pool->lanes) >> kind & 1) != 0;
}

/* As strait_pool_attach. `worker`: whose own it is, or NULL. */
int strait_parent_create(struct strait_pool *pool, struct strait_parent **parent,
                         const struct strait_parent_options *options, struct pool_worker *worker);

/* The parent's thread is done with it: for the next one, or for the keeper while workers are not.
 * Returns how many completions are the keeper's now. */
ptrdiff_t strait_parent_leave(struct strait_parent *parent);

/* Makes whoever collects the parent's reports look. Any thread. */
void strait_parent_ring(struct strait_parent *parent);

/* 0: open, or 1 + how it closes: nothing may be submitted. Any thread. */
static inline uint32_t strait_pool_closing(const struct strait_pool *pool)
{
    /* pool.closing: pairs with pool.close; nothing */
    return strait_load_acquire(&pool->closing);
}

/* All that will ever be submitted has been. A worker that finds nothing after this may end. */
static inline bool strait_pool_ending(const struct strait_pool *pool)
{
    /* pool.ending: pairs with pool.end; the last task that was pushed */
    return strait_load_acquire(&pool->ending) != 0;
}

/* Nothing can be submitted from here on. Any thread. */
void strait_pool_shut(struct strait_pool *pool, enum strait_close mode);

/* ---- parent.c ---- */

/* Makes the fd of a parent that has just begun readable when there is something to do, before it is
 * ever dispatched: a loop may watch it first. The parent's thread. */
void strait_parent_watch(struct strait_parent *parent);

/* ---- complete.c ---- */

/* Runs up to `budget` completions that are there. The parent's thread, or the keeper in its place.
 */
size_t strait_parent_collect(struct strait_parent *parent, size_t budget);

/* The same for all that are there, but not for ever more that these submit. */
void strait_parent_catch_up(struct strait_parent *parent);

/* Are there any, or is there something else to do? The parent's thread. */
bool strait_parent_ready(struct strait_parent *parent);

/* ---- crew.c ---- */

/* The calling thread's, or NULL: not a worker of a pool's. */
struct pool_worker *strait_crew_current(void);

/* What a worker runs. */
void strait_crew_serve(void *worker);

/* Claims one of the parent's own tasks and runs it: for a worker that waits. False: none there. */
bool strait_crew_help(struct pool_worker *self, struct strait_parent *parent);

/* Flushes the tasks of a pool that was closed by cancelling: on the keeper. */
void strait_crew_flush(struct strait_pool *pool);

/* Sees to it that somebody comes for what was just pushed, or just left. Any thread. */
void strait_crew_wake(struct strait_pool *pool);

/* The same for a task that only this one may run. */
void strait_crew_wake_worker(struct pool_worker *worker);

/* As strait_p_park, until it is ready. */
static inline int strait_pool_wait(const struct strait_p_waiter *waiter, int64_t deadline)
{
    int error = 0;
    while (!error && !waiter->ready(waiter->side)) {
        error = strait_p_park(waiter, deadline);
    }
    return error;
}

/* Wakes whoever sleeps on a signal, after something was published for it. Any thread. */
void strait_signal_poke(const struct strait_pool *pool, struct strait_p_event_count *signal);

bool strait_crew_any_idle(const struct strait_pool *pool);

/* What the worker runs, and since when: both of one task, or NULL. Any thread. */
strait_run_fn *strait_crew_running(const struct pool_worker *worker, uint64_t *since);

/* Any thread. */
static inline bool strait_crew_may_grow(const struct strait_pool *pool)
{
    /* the keeper alone writes it */
    return strait_load_relaxed(&pool->online) < pool->options.workers_max;
}

/* Is there a task that any worker could claim? Any thread. */
bool strait_crew_work_waits(const struct strait_pool *pool);

/* ---- keeper.c ---- */

/* Starts the keeper, and through it the workers. 0 or -errno with nothing left. */
int strait_keeper_start(struct strait_pool *pool);

/* 0: it has joined every worker and is joined itself; -ETIMEDOUT. */
int strait_keeper_join(struct strait_pool *pool, int64_t deadline);

bool strait_keeper_is_current(const struct strait_pool *pool);

/* Asks it to look around. Any thread; does not block. */
void strait_keeper_call(struct strait_pool *pool);

/* What it may be watching anyway. */
#define STRAIT_WATCH_STALLS 1u
#define STRAIT_WATCH_GROWTH 2u

/* The same, unless it watches that and so looks around soon by itself. */
void strait_keeper_look(struct strait_pool *pool, unsigned watch);

/* ---- pool_stats.c ---- */

/* Counts one duration; readers may look meanwhile. The worker that owns the histogram. */
void strait_times_add(struct strait_histogram *histogram, uint64_t ns);

#endif /* STRAIT_POOL_PRIVATE_H */
