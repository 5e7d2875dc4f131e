/* SPDX-License-Identifier: MIT */
/*
 * shared: what the files of the pool share, and how a worker is woken.
 *
 *   rings.h    submission ring and completion stack
 *   parent.c   on a parent's thread: attach, submit, cancel, complete, wait, leave
 *   worker.c   on a worker's thread: find a task, run it, sleep
 *   pool.c     create, resize, close, counters
 *
 * Each file calls those above it alone. What a parent needs of what is below (a worker that waits
 * runs tasks meanwhile; a submit starts a worker) it has as a function to call: `help`, `grow`.
 *
 * A parent has a submission ring for each priority, and one completion stack. Whoever claims a task
 * reports it, whether it has run the task or not: with that the slot is the parent's again. Each
 * worker is a parent too, of what its tasks submit. Such a parent is like the others, but that it
 * takes tasks back from the other end of its ring, and completes what it runs itself without a
 * report.
 *
 * Places. A parent has a place in the pool's table, and for each priority a bit there that says:
 * there may be something to claim. Parents raise it, workers look at no parent whose bit is down.
 * Where one bit alone is up, which a count says, a worker goes to that parent without a search.
 * A worker that has come by many empty rings lowers their bits, passes a heavy barrier, and raises
 * again those of rings that are not empty any more: a parent that saw its bit up has pushed before
 * that barrier, or sees it down.
 *
 * Leaving. A parent that leaves keeps its place and its handle, for the next that attaches: a
 * worker that is late finds an empty ring there. Its pages and its descriptors go back to the
 * system once no worker is in a report to it: each says in `reporting` to whom it reports.
 *
 * Waking workers. A worker that finds nothing raises its bit in `idle`, spins, then sleeps on its
 * event count. Whoever adds a task wakes one sleeper, unless an idle worker before it is awake, who
 * will find the task by itself; who claims a task and leaves others wakes the next. With this chain
 * a task never waits while a worker is idle, and a burst of tasks costs a wake-up per worker, not
 * per task.
 *
 * Waking parents. A parent that waits says how many reports there are to be before it is woken:
 * one; or all that its group is owed; or, in an event loop or a wait for any while completions come
 * fast, so many that the workers would soon have nothing to do, and then a clock ends that. It is
 * woken by the report that reaches that goal, or by that of the one task that it waits for.
 */
#ifndef STRAIT_POOL_SHARED_H
#define STRAIT_POOL_SHARED_H

#include <pthread.h>
#include <sched.h>

#include "../channel/wait.h"
#include "../worker/thread.h"
#include "rings.h"

#define STRAIT_P_PRIORITIES 2
#if !defined(STRAIT_P_BITS)
#define STRAIT_P_BITS ((unsigned)(8 * sizeof(uintptr_t))) /* in a word of a bitmap */
#endif
#define STRAIT_P_PLACES (STRAIT_PARENTS_MAX + STRAIT_POOL_WORKERS_MAX)
#define STRAIT_P_PLACE_WORDS (STRAIT_P_PLACES / STRAIT_P_BITS)
#define STRAIT_P_FILLED_WORDS ((STRAIT_P_PLACE_WORDS + STRAIT_P_BITS - 1) / STRAIT_P_BITS)
#define STRAIT_P_IDLE_WORDS (STRAIT_POOL_WORKERS_MAX / STRAIT_P_BITS)
#define STRAIT_P_RAISED(PRIORITY) ((uintptr_t)1 << (PRIORITY)*16u)
/* After so many lone tasks in a row that a worker on the parent's CPU took at once, that one is
 * woken alone. */
#define STRAIT_P_LONE 16u
#define STRAIT_P_AT_ONCE_NS 30000 /* from its wake-up until it runs */

/* The parent writes, any thread reads. Each counter is raised after those that it is part of. */
struct strait_p_counters {
    uintptr_t submitted;
    uintptr_t completed[STRAIT_TASK_ABANDONED + 1];
    uintptr_t finished; /* completed of those that had started */
    uintptr_t refused;
    uintptr_t in_place;
};

struct strait_parent {
    /* line 0: workers read it at each task; the parent writes, seldom */
    STRAIT_LINE_ALIGNED struct strait_pool *pool;
    struct strait_p_slot *slots;
    uint32_t *links; /* of the completion stack, by slot; whoever reports the slot writes; then the
                        parent, to turn them round */
    struct strait_p_event_count *event; /* its own below, or its worker's */
    struct strait_p_event_count own;    /* workers write, too */
    uintptr_t goal; /* the count of reports that is to wake it, as in the stack's word; in place of
                       the index, not 0: the report that makes the count starts its clock, and so
                       many more wake it */
    uint32_t awaited_slot;                  /* whose report is to wake it; NONE */
    uintptr_t room_at[STRAIT_P_PRIORITIES]; /* the number of claims that makes the room that the
                                               parent wants; 0: it wants none */
    struct strait_p_pool_worker *worker; /* whose tasks submit here; NULL: a thread has attached */
    uint32_t place;
    /* line 1: workers write */
    STRAIT_LINE_ALIGNED uintptr_t stack; /* of completions */
    /* line 2: the parent writes */
    STRAIT_LINE_ALIGNED struct strait_p_counters counters;
    /* line 3 and on: the parent's own */
    STRAIT_LINE_ALIGNED struct strait_parent_options options;
    bool (*help)(struct strait_parent *parent, bool run); /* a worker's: runs a task in a wait, or
                                                             says whether there is one */
    unsigned inside;           /* a worker's: tasks of its own that it is inside of, nested */
    uintptr_t floor;           /* a worker's: tasks below are not of the running task's making */
    uintptr_t seen;            /* the stack's count, as far as it has read */
    uint32_t reported;         /* the first that it has read of, and not completed; NONE */
    struct strait_p_slot *due; /* the first whose completion needs no report */
    struct strait_p_slot **due_end;
    uint64_t serial; /* of the last task */
    size_t owed;     /* completions */
    size_t slot_count;
    size_t fresh;    /* slots from there on have never been used */
    uint32_t vacant; /* the first that is free; slot_count: none */
    void *block;     /* of pages, that slots, links and the rings' words lie in */
    size_t bytes;    /* of it */
    uintptr_t head_seen[STRAIT_P_PRIORITIES]; /* past heads of its rings */
    uintptr_t waiting_max;                    /* the parent writes, others read */
    struct strait_p_event_count
        *peer;            /* of the worker that was to come for its last task; or NULL */
    const void *callback; /* the frame that calls one */
    uint32_t spin_ns;
    int32_t user; /* STRAIT_CHECKED: the thread that uses it; 0: the first that does */
    bool leaving; /* by cancelling, it or its pool: it submits no more, what waited is abandoned */
    bool clocked; /* its timer may be set, or have run off */
    int epoll;    /* what its loop watches: readable if own.fd or the timer is; -1: none */
    int timer;
    int64_t busy_at; /* when it last ran completions */
    uintptr_t paced; /* what had completed then */
    int64_t pace;    /* ns from one completion to the next, of late */
    uint32_t lone;   /* tasks in a row when it was owed no other; at most STRAIT_P_LONE */
    bool attached;   /* under the pool's lock, as the next */
    bool leftover;   /* it has left, and its pages or descriptors are still there */
    struct strait_p_submission_ring rings[STRAIT_P_PRIORITIES];
};

/* In the order in which a worker comes through them. */
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
    uintptr_t reporting; /* the struct strait_parent * that it reports to just now; 0: none */
    uintptr_t tasks;     /* that it has started */
    uint64_t busy;       /* a stopwatch: its thread is in tasks; if the pool is timed */
    uint32_t state;      /* enum strait_p_worker_state; under the pool's lock */
    /* line 1: the worker's own */
    STRAIT_LINE_ALIGNED unsigned turn[STRAIT_P_PRIORITIES]; /* the place that was last */
    unsigned misses; /* empty rings that it came by since it last lowered bits */
    unsigned streak; /* tasks since it had to wait last */
    uint32_t spin_ns;
    unsigned turn_ends;    /* with which task of the streak it looks how long it has run */
    unsigned tasks_a_turn; /* between two such looks */
    int64_t turn_at;       /* when that began; 0: it has waited since */
    bool raised;           /* its bit in `idle` */
    int64_t idle_until;    /* when it may end, idle as it is; 0: it has not begun to wait */
    struct strait_p_event_count *lender; /* of the worker whose task it runs, who may wait for
                                            something to do; NULL: nobody */
    struct strait_p_slot *innermost;     /* of the tasks that it is inside of; the plan's `next` is
                                            the one before, and a thread's task the first */
    void *data;
    /* set by create, or by whoever starts it, under the pool's lock */
    unsigned number;
    struct strait_pool *pool;
    struct strait_parent *parent; /* of what its tasks submit; once made it stays */
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
    uint64_t called_at; /* ns: when the parent of a lone task woke it; 0: it has seen that */
    uint32_t late;      /* it did not run at once then; the worker writes, that parent lowers it */
};

struct strait_pool {
    /* line 0: set by create, or seldom written by whom the comment says */
    STRAIT_LINE_ALIGNED struct strait_p_pool_worker *workers;
    struct strait_parent **parents; /* by place; whoever attaches writes, before `places` */
    bool fenced;                    /* there is no membarrier */
    uint32_t places;                /* of `parents`, from 0; under the lock */
    uint32_t numbers;               /* that workers have ever had, from 0; under the lock */
    uint32_t closing;               /* 0: open; 1 + enum strait_close; the closer writes */
    uint32_t online;                /* workers that are there or starting; under the lock */
    uint32_t staying;               /* of them, those that are not asked to leave; under the lock */
    uint32_t workers_min;           /* under the lock; as the next two */
    uint32_t workers_max;
    uint32_t growable; /* one more worker may be started */
    uint32_t yielding; /* a worker that wakes takes its CPU from nobody; under the lock */
    uint64_t grow_at;  /* ns: a worker could not be started, and is to be at this time; 0: not so;
                          under the lock */
    void (*grow)(struct strait_pool *pool); /* starts a worker, if it may */
    struct strait_pool_options options;     /* `workers` and `workers_max` as it was created */
    /* parents write, to raise, and workers, to lower: by compare-and-swap alone */
    STRAIT_LINE_ALIGNED uintptr_t bits[STRAIT_P_PRIORITIES][STRAIT_P_PLACE_WORDS];
    uintptr_t filled[STRAIT_P_PRIORITIES][STRAIT_P_FILLED_WORDS]; /* of `bits`: a bit a word */
    uintptr_t raised; /* how many of `bits` are up or being raised, each a STRAIT_P_RAISED */
    /* workers write, to raise and lower, and wakers, to lower: by compare-and-swap alone */
    STRAIT_LINE_ALIGNED uintptr_t idle[STRAIT_P_IDLE_WORDS];
    /* cold */
    STRAIT_LINE_ALIGNED pthread_mutex_t lock; /* of what says so, and of what follows */
    char name[STRAIT_P_NAME_BYTES];           /* of the workers, without their numbers */
    int *cpus;                                /* likewise */
    struct strait_p_placement placement;      /* of all workers, but for their numbers */
    int nice;                                 /* the creator's */
    struct strait_p_event_count origin;       /* says where the creator can run */
    uint32_t attached;                        /* parents, workers' not among them */
    pid_t process;
    bool busy; /* somebody closes it, or changes its number of workers */
    bool closed;
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_parent, stack) == STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_parent, counters) == 2 * STRAIT_LINE, "line 2");
STRAIT_STATIC_ASSERT(offsetof(struct strait_parent, options) == 3 * STRAIT_LINE, "line 3");
STRAIT_STATIC_ASSERT(offsetof(struct strait_p_pool_worker, turn) == STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_pool, bits) % STRAIT_LINE == 0, "lines of their own");
STRAIT_STATIC_ASSERT(offsetof(struct strait_pool, idle) % STRAIT_LINE == 0, "lines of their own");

/* ---- what is read everywhere ---- */

/* A bit of a bitmap. */
static inline bool strait_p_bit_is_up(const uintptr_t *words, uint32_t number)
{
    uintptr_t word = strait_word_load_relaxed(&words[number / STRAIT_P_BITS]);
    return (word >> (number % STRAIT_P_BITS) & 1) != 0;
}

/* Raises or lowers a bit. False: it was so already. `count`, if not NULL, has a `one` for the bit
 * while it is up, and before: whoever is stopped in between hides no bit. */
static inline bool strait_p_bit_set(uintptr_t *words, uint32_t number, bool up, uintptr_t *count,
                                    uintptr_t one)
{
    uintptr_t *word = &words[number / STRAIT_P_BITS];
    uintptr_t bit = (uintptr_t)1 << (number % STRAIT_P_BITS);
    uintptr_t old = strait_word_load_relaxed(word);
    uintptr_t counted = 0;
    if (((old & bit) != 0) == up) {
        return false;
    }
    while (count && up && !strait_word_cas_relaxed(count, &counted, counted + one)) {
    }
    while (((old & bit) != 0) != up && !strait_word_cas_relaxed(word, &old, old ^ bit)) {
    }
    bool changed = ((old & bit) != 0) != up;
    while (count && changed != up && !strait_word_cas_relaxed(count, &counted, counted - one)) {
    }
    return changed;
}

/* The first bit that is up from `from` on, below `end`; `end`: none. */
static inline uint32_t strait_p_next_bit(const uintptr_t *bits, uint32_t from, uint32_t end)
{
    while (from < end) {
        uintptr_t word = strait_word_load_relaxed(&bits[from / STRAIT_P_BITS]);
        word >>= from % STRAIT_P_BITS;
        if (word) {
            from += (uint32_t)__builtin_ctzll(word);
            return from < end ? from : end;
        }
        from = (from / STRAIT_P_BITS + 1) * STRAIT_P_BITS;
    }
    return end;
}

/* The first place from `from` on whose parent may have a task of this priority; STRAIT_P_NONE:
 * there is none. However many places there are, it reads few words. Any thread. */
static inline uint32_t strait_p_next_place(const struct strait_pool *pool, unsigned priority,
                                           uint32_t from)
{
    /* pool.places: pairs with parent.place; the parents; without it a worker reads what was there
     * before one was made */
    uint32_t places = strait_load_acquire(&pool->places);
    uint32_t words = (places + STRAIT_P_BITS - 1) / STRAIT_P_BITS;
    while (from < places) {
        uint32_t word = from / STRAIT_P_BITS;
        uintptr_t bits = strait_word_load_relaxed(&pool->bits[priority][word]);
        bits >>= from % STRAIT_P_BITS;
        if (bits) {
            from += (uint32_t)__builtin_ctzll(bits);
            return from < places ? from : STRAIT_P_NONE;
        }
        from = strait_p_next_bit(pool->filled[priority], word + 1, words) * STRAIT_P_BITS;
    }
    return STRAIT_P_NONE;
}

/* Moves a worker to another state, and counts it where it belongs then. Under the lock. */
static inline void strait_p_becomes(struct strait_p_pool_worker *worker,
                                    enum strait_p_worker_state state)
{
    struct strait_pool *pool = worker->pool;
    bool stayed = worker->state == STRAIT_P_AT_WORK;
    bool was_online = stayed || worker->state == STRAIT_P_LEAVING;
    bool stays = state == STRAIT_P_AT_WORK;
    bool online = stays || state == STRAIT_P_LEAVING;
    strait_store_relaxed(&worker->state, state);
    strait_store_relaxed(&pool->staying, pool->staying + stays - stayed);
    strait_store_relaxed(&pool->online, pool->online + online - was_online);
    strait_store_relaxed(&pool->growable, pool->staying < pool->workers_max);
}

/* ---- waking workers ---- */

/* Of the idle workers this wakes the first that sleeps on another CPU than the caller's; if there
 * is none, the one that sleeps on the caller's CPU. It wakes nobody if it comes by one that is
 * awake on another CPU: that one will find by itself what was pushed. Where workers yield to the
 * caller, it wakes both, as the one on this CPU may run sooner, when the caller leaves it; and that
 * one alone if it did run soon for the last STRAIT_P_LONE lone tasks: to wake a CPU that idles
 * takes the caller 15 us on a virtual machine. `lone`: the caller's count, if its one task was
 * pushed; else NULL. Returns what the one that may come first sleeps on; NULL: nobody was idle. */
static STRAIT_P_ONE_COPY struct strait_p_event_count *strait_p_wake_idle(struct strait_pool *pool,
                                                                         uint32_t *lone)
{
    uint32_t numbers = strait_load_relaxed(&pool->numbers);
    if (strait_p_next_bit(pool->idle, 0, numbers) == numbers) {
        return NULL;
    }
    /* pool.wake: pairs with worker.awake; what was pushed, or else that the worker is not idle;
     * without it a worker that was idle a moment ago, and is busy now, is taken for awake */
    strait_full_fence();
    uint32_t here = 1 + (uint32_t)sched_getcpu();
    bool yielding = strait_load_relaxed(&pool->yielding);
    uint32_t sleepers[2] = {numbers, numbers}; /* on another CPU, on this one */
    struct strait_p_event_count *event = NULL;
    uint32_t number = strait_p_next_bit(pool->idle, 0, numbers);
    while (number < numbers && (sleepers[0] == numbers || (yielding && sleepers[1] == numbers))) {
        event = &pool->workers[number].event;
        bool sleeps = strait_load_relaxed(&event->word) & STRAIT_P_WAITING;
        bool beside = strait_load_relaxed(&event->cpu) == here;
        if (!sleeps && !beside) {
            return event;
        }
        if (sleeps && sleepers[beside] == numbers) {
            sleepers[beside] = number;
        }
        number = strait_p_next_bit(pool->idle, number + 1, numbers);
    }
    if (lone && yielding && sleepers[1] < numbers) {
        struct strait_p_pool_worker *beside = &pool->workers[sleepers[1]];
        if (strait_load_relaxed(&beside->late)) {
            strait_store_relaxed(&beside->late, 0);
            *lone = 0;
        }
        strait_wide_store_relaxed(&beside->called_at, (uint64_t)strait_now());
        sleepers[0] = *lone == STRAIT_P_LONE ? numbers : sleepers[0];
    }
    for (int beside = 0; beside < 2 && (!beside || sleepers[0] == numbers || yielding); beside++) {
        number = sleepers[beside];
        if (number < numbers) {
            event = &pool->workers[number].event;
            /* the next waker takes the next */
            strait_p_bit_set(pool->idle, number, false, NULL, 0);
            strait_p_notify_sleeper(event, STRAIT_P_BARRIER);
        }
    }
    return event;
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
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments" /* within <sys/sdt.h> */
#endif

/* ---- parent.c ---- */

/* As strait_pool_attach; `worker`: whose own it is, or NULL. Under the pool's lock. */
STRAIT_PRIVATE int strait_p_parent_attach(struct strait_pool *pool, struct strait_parent **parent,
                                          const struct strait_parent_options *options,
                                          struct strait_p_pool_worker *worker);

/* Pages of zeros, for munmap; those never touched cost no memory. NULL: there are none. */
STRAIT_PRIVATE void *strait_p_pages(size_t bytes);

/* Gives back all that parents have. Nobody uses the pool any more. */
STRAIT_PRIVATE void strait_p_parents_free(struct strait_pool *pool);

/* Counts one, after what was counted before: see strait_pool_stats. The owner of the counter. */
static inline void strait_p_count(uintptr_t *counter)
{
    /* stats.count: pairs with stats.read; what was counted before; without it the counters do not
     * add up */
    strait_word_store_release(counter, *counter + 1);
}

/* How many more reports there must be than the stack's word says before a parent with that goal is
 * woken; 0 or less: none. */
static inline intptr_t strait_p_goal_left(uintptr_t goal, uintptr_t top)
{
    intptr_t more = (intptr_t)(goal & STRAIT_P_INDEX_MASK);
    return more - ((intptr_t)(top - (goal & ~STRAIT_P_INDEX_MASK)) >> STRAIT_P_INDEX_BITS);
}

/* Makes all parents look. Under the pool's lock. */
STRAIT_PRIVATE void strait_p_parents_wake(struct strait_pool *pool);

/* Runs up to `budget` completions that are there. Parent only, not inside a completion. */
STRAIT_PRIVATE size_t strait_p_collect(struct strait_parent *parent, size_t budget);

/* Completions are being gathered from now on, for a short time. The parent, or a worker in a report
 * to it. */
STRAIT_PRIVATE void strait_p_parent_start_clock(struct strait_parent *parent);

/* Is there something for strait_p_collect to do? Parent only. */
STRAIT_PRIVATE bool strait_p_collectable(const struct strait_parent *parent);

/* Completes the task of a slot that was reported, unless it was withdrawn; or that is due without.
 * Returns how many completions that was. Parent only. */
STRAIT_PRIVATE size_t strait_p_complete(struct strait_parent *parent, struct strait_p_slot *slot,
                                        bool reported);

/* Has all that the parent is owed complete, or cancels it, as `mode` says; as strait_parent_detach,
 * but the parent stays. */
STRAIT_PRIVATE int strait_p_parent_settle(struct strait_parent *parent, enum strait_close mode,
                                          int64_t deadline);

/* ---- worker.c ---- */

/* What a worker's thread does: first, once, to its end. */
STRAIT_PRIVATE int strait_p_worker_begin(void *worker);
STRAIT_PRIVATE void strait_p_worker_run(void *worker);
STRAIT_PRIVATE void strait_p_worker_end(void *worker);

/* Is there a task that any worker could claim? */
STRAIT_PRIVATE bool strait_p_work_waits(const struct strait_pool *pool);

#endif /* STRAIT_POOL_SHARED_H */
