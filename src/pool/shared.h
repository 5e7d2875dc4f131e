/* SPDX-License-Identifier: MIT */
/*
 * shared: what the files of the pool share, and how a worker is woken.
 *
 *   rings.h    submission and completion rings
 *   parent.c   on a parent's thread: attach, submit, cancel, complete, wait, leave
 *   worker.c   on a worker's thread: find a task, run it, sleep
 *   pool.c     create, resize, close, counters
 *
 * Each file calls those above it alone. What a parent needs of what is below (a worker that waits
 * runs tasks meanwhile; a submit starts a worker) it has as a function to call: `help`, `grow`.
 *
 * A parent has a submission ring for each priority, and a completion ring from each worker. Whoever
 * claims a task sends one report, whether it has run the task or not: with that the slot is the
 * parent's again. A worker's own parent, which submits what its tasks submit, is like the others,
 * but that it takes tasks back from the other end of its ring, and completes what it runs itself
 * without a report.
 *
 * Places. A parent has a place in the pool's table, and for each priority a bit there that says:
 * there may be something to claim. Parents raise it, workers look at no parent whose bit is down.
 * A worker that has come by many empty rings lowers their bits, passes a heavy barrier, and raises
 * again those of rings that are not empty any more: a parent that saw its bit up has pushed before
 * that barrier, or sees it down.
 *
 * Leaving. A worker says in `visiting` whose memory it is about to touch, before it takes the
 * parent from the table for good, and before it reports to it. A parent that leaves takes itself
 * from the table, passes a heavy barrier, and is freed once nobody visits it.
 *
 * Waking workers. A worker that finds nothing raises its bit in `idle`, spins, then sleeps on its
 * event count. Whoever adds a task wakes one sleeper, unless an idle worker before it is awake, who
 * will find the task by itself; who claims a task and leaves others wakes the next. With this chain
 * a task never waits while a worker is idle, and a burst of tasks costs a wake-up per worker, not
 * per task.
 *
 * Waking parents. A parent sleeps on one of two event counts: on `any`, to be woken by each report;
 * or, while it gathers completions, on `goal`, to be woken only by the report that it waits for, or
 * when its queue runs short.
 */
#ifndef STRAIT_POOL_SHARED_H
#define STRAIT_POOL_SHARED_H

#include <pthread.h>
#include <sched.h>

#include "../channel/wait.h"
#include "../worker/thread.h"
#include "rings.h"

#define STRAIT_P_PRIORITIES 2
#define STRAIT_P_BITS ((unsigned)(8 * sizeof(uintptr_t))) /* in a word of a bitmap */
#define STRAIT_P_PLACE_WORDS (STRAIT_PARENTS_MAX / STRAIT_P_BITS)
#define STRAIT_P_IDLE_WORDS (STRAIT_POOL_WORKERS_MAX / STRAIT_P_BITS)

/* From one worker to one parent. */
struct strait_p_link {
    /* line 0: the worker writes; others read the count */
    STRAIT_LINE_ALIGNED struct strait_p_completion_ring sends;
    uintptr_t started; /* tasks of the parent's */
    /* line 1: the parent's own */
    STRAIT_LINE_ALIGNED struct strait_p_completion_ring receives;
};

/* The parent writes, any thread reads. Each counter is raised after those that it is part of. */
struct strait_p_counters {
    uintptr_t submitted;
    uintptr_t completed[STRAIT_TASK_ABANDONED + 1];
    uintptr_t finished; /* completed of those that had started */
    uintptr_t refused;
    uintptr_t in_place;
};

struct strait_parent {
    /* line 0: set by attach, unless something else is said; workers read it at each task */
    STRAIT_LINE_ALIGNED struct strait_pool *pool;
    uintptr_t rings[STRAIT_P_PRIORITIES]; /* struct strait_p_submission_ring *; 0: none yet; the
                                             parent writes */
    struct strait_p_event_count *any;     /* its own below, or its worker's */
    struct strait_p_event_count own;
    struct strait_p_event_count goal;
    uintptr_t room_at[STRAIT_P_PRIORITIES]; /* the turn whose claim makes room; 0: the parent does
                                               not wait for room; it writes */
    uint32_t place;
    bool fenced;    /* workers fence after a report: for one that arms an fd each time round
                       its loop, so that it need not pay for membarrier */
    bool is_worker; /* the parent of what a worker's tasks submit */
    /* line 1: the parent writes */
    STRAIT_LINE_ALIGNED struct strait_p_counters counters;
    /* line 2 and on: the parent's own */
    STRAIT_LINE_ALIGNED struct strait_parent_options options;
    /* is_worker: runs a task in a wait, or says whether there is one that others have; else NULL */
    bool (*help)(struct strait_parent *parent);
    bool (*can_help)(struct strait_parent *parent);
    struct strait_p_event_count *lender; /* is_worker: of the one whose task it runs, who may wait
                                            for something to do; NULL: nobody */
    unsigned inside;           /* is_worker: tasks of its own that it is inside of, nested */
    uintptr_t floor;           /* is_worker: tasks below are not of the running task's making */
    struct strait_p_slot *due; /* the first whose completion needs no report */
    struct strait_p_slot **due_end;
    uint64_t serial; /* is_worker: of the last task with an id */
    size_t owed;     /* completions */
    size_t in_use;   /* slots */
    unsigned turn;   /* the link that comes next */
    uint32_t spin_ns;
    int32_t owner; /* STRAIT_CHECKED: the thread that uses it; 0: the first that does */
    bool dispatching;
    bool refusing[STRAIT_P_PRIORITIES]; /* -EAGAIN was said, and `room` not called since */
    bool leaving;                       /* by cancelling: it submits no more */
    bool abandoned;                     /* what waited when the pool was closed by cancelling */
    bool readable;                      /* the fd is, for sure */
    bool timed;                         /* the timer is set */
    int epoll; /* what its loop watches: readable if own.fd or the timer is; -1: none */
    int timer;
    int64_t busy_at;                    /* when it last ran completions */
    struct strait_parent *next_retired; /* under the pool's lock */
    void *link_blocks;                  /* the first; each begins with the next; likewise */
    /* set by attach and by resize, before there is such a worker */
    struct strait_p_link *links[STRAIT_POOL_WORKERS_MAX];
};

enum strait_p_worker_state {
    STRAIT_P_ABSENT,
    STRAIT_P_AT_WORK,   /* starting, too */
    STRAIT_P_LEAVING,   /* asked to: it takes no more tasks of others */
    STRAIT_P_GONE_HOME, /* its thread ends: to be joined */
};

struct strait_p_pool_worker {
    /* line 0: the worker writes, others read */
    STRAIT_LINE_ALIGNED uintptr_t shown; /* odd while the next three are being changed */
    uintptr_t run;                       /* strait_run_fn * of what it runs; 0: nothing */
    uintptr_t name;                      /* const char *, of that */
    uintptr_t since;                     /* 1024 ns each; 0: not timed */
    uintptr_t visiting;                  /* struct strait_parent *; 0: none */
    uintptr_t tasks;
    uint64_t busy_ns;
    uintptr_t parent; /* struct strait_parent *; 0: none yet; once set it stays */
    uint32_t state;   /* enum strait_p_worker_state; under the pool's lock */
    /* line 1: the worker's own */
    STRAIT_LINE_ALIGNED unsigned turn[STRAIT_P_PRIORITIES]; /* the place that comes next */
    unsigned misses; /* empty rings that it came by since it last lowered bits */
    unsigned streak; /* tasks since it had to wait last */
    uint32_t spin_ns;
    bool raised;        /* its bit in `idle` */
    int64_t idle_until; /* when it may end, idle as it is; 0: it has not begun to wait */
    struct strait_p_event_count *lender; /* as its parent has it */
    int64_t began;                       /* the task that it runs, in ns; 0: not timed */
    void *data;
    /* whoever starts it writes, under the pool's lock, but for the first two: set by create */
    unsigned number;
    struct strait_pool *pool;
    struct strait_p_thread thread;
    const char *reason;
    bool joining;             /* somebody waits for its end; he writes */
    uintptr_t tasks_at_close; /* the closer's */
    /* the worker writes when it comes and when it goes, under the pool's lock */
    int64_t online_at;             /* 0: no thread has had this number yet */
    int64_t ended_at;              /* 0: it is there */
    enum strait_schedule schedule; /* as the kernel has it */
    int nice;                      /* likewise */
    int cpu;                       /* that it was given alone, or -1 */
    /* what it sleeps on, and wakers write */
    STRAIT_LINE_ALIGNED struct strait_p_event_count event;
};

struct strait_pool {
    /* line 0: set by create, or seldom written by whom the comment says */
    STRAIT_LINE_ALIGNED struct strait_p_pool_worker *workers;
    uintptr_t *parents; /* struct strait_parent *, by place; 0: nobody; under the lock */
    bool fenced;        /* there is no membarrier */
    bool timed;
    uint32_t places;    /* that have ever been taken, from 0; under the lock */
    uint32_t links;     /* workers that each parent has a link to; under the lock */
    uint32_t high_used; /* some parent has had a task of high priority; such a parent writes */
    uint32_t closing;   /* 0: open; 1 + enum strait_close; the closer writes */
    uint32_t ending;    /* and nothing more can have been pushed from outside; the closer writes */
    uint32_t online;    /* workers that are there or starting; under the lock */
    uint32_t staying;   /* of them, those that are not asked to leave; under the lock */
    uint32_t starting;  /* of them, those that start; under the lock */
    uint32_t workers_min; /* under the lock; as workers_max */
    uint32_t workers_max;
    uint64_t grow_at; /* ns: a worker could not be started, and is to be at this time; 0: not so;
                         under the lock */
    void (*grow)(struct strait_pool *pool); /* starts a worker, if it may */
    size_t queue_limit;
    /* parents write, to raise, and workers, to lower: by compare-and-swap alone */
    STRAIT_LINE_ALIGNED uintptr_t bits[STRAIT_P_PRIORITIES][STRAIT_P_PLACE_WORDS];
    /* workers write, to raise and lower, and wakers, to lower: by compare-and-swap alone */
    STRAIT_LINE_ALIGNED uintptr_t idle[STRAIT_P_IDLE_WORDS];
    /* cold */
    STRAIT_LINE_ALIGNED pthread_mutex_t lock; /* of what says so, and of what follows */
    struct strait_pool_options options;       /* `workers` and all that a start needs */
    char name[STRAIT_P_NAME_BYTES];           /* of the workers, without their numbers */
    int *cpus;                                /* likewise */
    struct strait_p_placement placement;      /* of all workers, but for their numbers */
    int nice;                                 /* the creator's */
    struct strait_p_event_count origin;       /* says where the creator can run */
    int64_t back_off;                         /* until the next try to start a worker */
    struct strait_pool_stats left;            /* of parents that have left */
    struct strait_parent *retired;            /* left, but still visited, or owed reports */
    uint32_t attached;                        /* parents, workers' not among them */
    pid_t process;
    bool busy; /* somebody closes it, or changes its number of workers */
    bool closed;
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_p_link) == 2 * STRAIT_LINE, "links share no line");
STRAIT_STATIC_ASSERT(offsetof(struct strait_parent, counters) == STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_parent, options) == 2 * STRAIT_LINE, "line 2");
STRAIT_STATIC_ASSERT(offsetof(struct strait_p_pool_worker, turn) == STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_pool, bits) % STRAIT_LINE == 0, "lines of their own");
STRAIT_STATIC_ASSERT(offsetof(struct strait_pool, idle) % STRAIT_LINE == 0, "lines of their own");

/* ---- what is read everywhere ---- */

/* NULL: there is none yet. Any thread. */
static inline struct strait_p_submission_ring *strait_p_ring_of(const struct strait_parent *parent,
                                                                unsigned priority)
{
    /* pool.ring: pairs with parent.ring; the ring; without it a worker reads what was there before
     * it was made */
    return (struct strait_p_submission_ring *)strait_word_load_acquire(&parent->rings[priority]);
}

/* The parent of what the worker's tasks submit; NULL: they never have. Any thread. */
static inline struct strait_parent *
strait_p_worker_parent(const struct strait_p_pool_worker *worker)
{
    /* pool.inner: pairs with worker.inner; the parent; without it another worker reads what was
     * there before it was made */
    return (struct strait_parent *)strait_word_load_acquire(&worker->parent);
}

/* 0: open, or 1 + how it closes. Any thread. */
static inline uint32_t strait_p_closing(const struct strait_pool *pool)
{
    return strait_load_relaxed(&pool->closing);
}

/* Sets and clears bits in one step. */
static inline void strait_p_bits_change(uintptr_t *word, uintptr_t set, uintptr_t clear)
{
    uintptr_t old = strait_word_load_relaxed(word);
    while (!strait_word_cas_relaxed(word, &old, (old & ~clear) | set)) {
    }
}

/* May one more worker be started? */
static inline bool strait_p_may_grow(const struct strait_pool *pool)
{
    return strait_load_relaxed(&pool->staying) < strait_load_relaxed(&pool->workers_max);
}

/* Would it have something to do? Not while one that is there is outside a task: it looks by itself
 * whether another is needed, once it is inside one. */
static inline bool strait_p_all_busy(const struct strait_pool *pool)
{
    uint32_t links = strait_load_relaxed(&pool->links);
    for (uint32_t number = 0; number < links; number++) {
        const struct strait_p_pool_worker *worker = &pool->workers[number];
        if (strait_load_relaxed(&worker->state) == STRAIT_P_AT_WORK &&
            !strait_word_load_relaxed(&worker->run)) {
            return false;
        }
    }
    return true;
}

/* The worker is in the count. Under the lock. */
static inline void strait_p_at_work(struct strait_p_pool_worker *worker)
{
    struct strait_pool *pool = worker->pool;
    strait_store_relaxed(&worker->state, STRAIT_P_AT_WORK);
    strait_store_relaxed(&pool->staying, pool->staying + 1);
    strait_store_relaxed(&pool->online, pool->online + 1);
}

/* The worker is out of the count. Under the lock. */
static inline void strait_p_gone(struct strait_p_pool_worker *worker)
{
    struct strait_pool *pool = worker->pool;
    bool stayed = worker->state == STRAIT_P_AT_WORK;
    strait_store_relaxed(&worker->state, STRAIT_P_GONE_HOME);
    strait_store_relaxed(&pool->staying, pool->staying - stayed);
    strait_store_relaxed(&pool->online, pool->online - 1);
}

/* ---- waking workers ---- */

static inline void strait_p_idle_change(struct strait_pool *pool, unsigned number, bool idle)
{
    uintptr_t bit = (uintptr_t)1 << (number % STRAIT_P_BITS);
    strait_p_bits_change(&pool->idle[number / STRAIT_P_BITS], idle ? bit : 0, idle ? 0 : bit);
}

static inline bool strait_p_is_idle(const struct strait_pool *pool, unsigned number)
{
    uintptr_t word = strait_word_load_relaxed(&pool->idle[number / STRAIT_P_BITS]);
    return (word >> (number % STRAIT_P_BITS) & 1) != 0;
}

/* The first idle worker from `number` on; NULL: none. */
static inline struct strait_p_pool_worker *strait_p_next_idle(const struct strait_pool *pool,
                                                              unsigned number)
{
    uint32_t count = strait_load_relaxed(&pool->links);
    for (; number < count; number = (number / STRAIT_P_BITS + 1) * STRAIT_P_BITS) {
        uintptr_t word = strait_word_load_relaxed(&pool->idle[number / STRAIT_P_BITS]);
        word &= UINTPTR_MAX << (number % STRAIT_P_BITS);
        if (word) {
            unsigned base = number / STRAIT_P_BITS * STRAIT_P_BITS;
            return &pool->workers[base + (unsigned)__builtin_ctzll(word)];
        }
    }
    return NULL;
}

/* Wakes the first idle worker that sleeps, unless one before it is awake and will find by itself
 * what was pushed. One that is awake on this very CPU does not run, and may not for long. */
static inline void strait_p_wake_idle(struct strait_pool *pool)
{
    struct strait_p_pool_worker *worker = strait_p_next_idle(pool, 0);
    if (!worker) {
        return;
    }
    /* pool.wake: pairs with worker.awake; what was pushed, or else that the worker is not idle;
     * without it a worker that was idle a moment ago, and is busy now, is taken for awake */
    strait_full_fence();
    uint32_t here = 1 + (uint32_t)sched_getcpu();
    for (worker = strait_p_next_idle(pool, 0); worker;
         worker = strait_p_next_idle(pool, worker->number + 1)) {
        if (strait_load_relaxed(&worker->event.word) & STRAIT_P_WAITING) {
            strait_p_idle_change(pool, worker->number, false); /* the next waker takes the next */
            strait_p_wake_sleeper(&worker->event);
            return;
        }
        if (strait_load_relaxed(&worker->event.cpu) != here) {
            return;
        }
    }
}

/* ---- probes: USDT, provider "strait", for perf, bpftrace and SystemTap ----
 *
 *   task__submit(parent, slot, run)   the parent has queued a task
 *   task__start(worker, slot, run)    a worker is about to run it
 *   task__done(worker, slot, code)    it has returned
 *
 * `slot` names the task while it lives; pools of one process do not share any. A probe is one nop
 * while nobody watches, and nothing where <sys/sdt.h> is missing. */

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#endif
#endif
#if !defined(DTRACE_PROBE3)
#define DTRACE_PROBE3(PROVIDER, NAME, A, B, C) ((void)(A), (void)(B), (void)(C))
#endif
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments" /* within <sys/sdt.h> */
#endif

static inline void strait_p_probe_submit(const struct strait_parent *parent,
                                         const struct strait_p_slot *slot)
{
    DTRACE_PROBE3(strait, task__submit, parent, slot, slot->task.run);
}

static inline void strait_p_probe_start(unsigned worker, const struct strait_p_slot *slot)
{
    DTRACE_PROBE3(strait, task__start, worker, slot, slot->task.run);
}

static inline void strait_p_probe_done(unsigned worker, const struct strait_p_slot *slot, int code)
{
    DTRACE_PROBE3(strait, task__done, worker, slot, code);
}

#if defined(__clang__)
#pragma clang diagnostic pop
#endif

/* ---- parent.c ---- */

/* As strait_pool_attach; `worker`: whose own it is, or NULL. */
STRAIT_PRIVATE int strait_p_parent_create(struct strait_pool *pool, struct strait_parent **parent,
                                          const struct strait_parent_options *options,
                                          struct strait_p_pool_worker *worker);

/* Gives each parent links to workers up to that number. 0 or -ENOMEM. Under the pool's lock. */
STRAIT_PRIVATE int strait_p_parents_link(struct strait_pool *pool, unsigned workers);

/* Frees what has left and is no longer needed; `all`: whatever has left, or is a worker's. Under
 * the pool's lock. */
STRAIT_PRIVATE void strait_p_parents_reap(struct strait_pool *pool, bool all);

/* Adds what its counters say. Nobody is stopped, so they are read while they move. They only grow,
 * and each is read after those that it bounds: what is completed, then what has started, then what
 * was submitted. So no difference between them is negative, and they add up because queued and
 * running are such differences. Any thread, under the pool's lock. */
STRAIT_PRIVATE void strait_p_parent_count(const struct strait_parent *parent,
                                          struct strait_pool_stats *stats);

/* Makes all parents look. Under the pool's lock. */
STRAIT_PRIVATE void strait_p_parents_wake(struct strait_pool *pool);

/* Runs up to `budget` completions that are there. Parent only, not inside a completion. */
STRAIT_PRIVATE size_t strait_p_collect(struct strait_parent *parent, size_t budget);

/* Is there something for strait_p_collect to do? Parent only. */
STRAIT_PRIVATE bool strait_p_collectable(struct strait_parent *parent);

/* A worker is done with a task that it has submitted itself. Parent only. */
STRAIT_PRIVATE void strait_p_complete_own(struct strait_parent *parent, struct strait_p_slot *slot,
                                          enum strait_p_verdict verdict);

/* Has all that the parent is owed complete, or cancels it, as `mode` says; as strait_parent_detach,
 * but the parent stays. */
STRAIT_PRIVATE int strait_p_parent_settle(struct strait_parent *parent, enum strait_close mode,
                                          int64_t deadline);

/* ---- worker.c ---- */

/* What a worker's thread does: first, once, to its end. */
STRAIT_PRIVATE int strait_p_worker_begin(void *worker);
STRAIT_PRIVATE void strait_p_worker_run(void *worker);
STRAIT_PRIVATE void strait_p_worker_end(void *worker);

/* Is the calling thread a worker of the pool's? */
STRAIT_PRIVATE bool strait_p_worker_is_current(const struct strait_pool *pool);

#endif /* STRAIT_POOL_SHARED_H */
