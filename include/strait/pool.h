/* SPDX-License-Identifier: MIT */
/*
 * pool: workers that share their parents' tasks.
 *
 * Any thread may attach to a pool as a parent; a parent submits tasks, which run on the workers.
 * The completion of each runs on the parent that submitted it: in strait_parent_dispatch, when
 * strait_parent_fd becomes readable in its event loop; in strait_parent_poll; or while it waits.
 * A worker is a parent, too: a task submits further ones through strait_parent_current, and their
 * completions run on that worker, between two tasks or while the task waits for them.
 *
 * Promises
 *   - Each task submitted completes exactly once: done, failed, cancelled, expired or abandoned.
 *   - Tasks of one parent, of one priority, start in the order of their submission. A task never
 *     waits while a worker that may run it is idle.
 *   - Parents take turns: what one has queued does not delay the next task of another.
 *   - A parent's completions never run concurrently with each other, nor inside one another, nor
 *     inside a submit or a cancel.
 *   - Submitting allocates nothing (but for the first task of a priority, or to a given worker) and
 *     never blocks: past the queue's limit it answers -EAGAIN.
 *   - An idle pool wakes nobody.
 */
#ifndef STRAIT_POOL_H
#define STRAIT_POOL_H

#include "strait/extra/histogram.h"
#include "strait/worker.h"

#ifdef __cplusplus
extern "C" {
#endif

struct strait_pool;
struct strait_parent;
struct strait_task;

#define STRAIT_POOL_WORKERS_MAX 256u
#define STRAIT_PARENTS_MAX 512u /* attached at one time, workers that have submitted among them */
#define STRAIT_QUEUE_LIMIT_MAX ((size_t)1 << 24)
#define STRAIT_TASK_DATA 64

enum strait_task_status {
    STRAIT_TASK_DONE,      /* run returned 0 */
    STRAIT_TASK_FAILED,    /* run returned something else: `code` */
    STRAIT_TASK_CANCELLED, /* cancelled before it started, or run returned -ECANCELED */
    STRAIT_TASK_EXPIRED,   /* did not start in time; or was told that its time was over, and run
                              returned something other than 0 */
    STRAIT_TASK_ABANDONED, /* the pool was closed, or its parent left, before it started; or its
                              parent had left before it ended */
};

/* On a worker. 0, or a code of the task's own. */
typedef int strait_run_fn(struct strait_task *task);

/* On the parent, or once that has left on a thread of the pool's. The task is gone after the call.
 */
typedef void strait_done_fn(struct strait_task *task);

/* Fill in run, done, context and data, and submit: the pool works on a copy of its own, which `run`
 * and `done` get to see. Arguments and results that fit travel in `data`; larger ones behind
 * `context`. */
struct strait_task {
    strait_run_fn *run;
    void *context;
    unsigned char data[STRAIT_TASK_DATA] __attribute__((aligned(8))); /* the first 16 bytes come for
                                                                         free */
    strait_done_fn *done;                                             /* may be NULL */
    enum strait_task_status status;                                   /* for `done` */
    int code; /* for `done`: what `run` returned; if it did not run -ECANCELED or -ETIMEDOUT */
};

/* Names one submission of a parent's, for ever; 0 names none. */
typedef uint64_t strait_task_id;

enum strait_priority {
    STRAIT_PRIORITY_NORMAL = 0,
    STRAIT_PRIORITY_HIGH, /* before all normal ones */
    STRAIT_PRIORITY_LOW,  /* after all normal ones, and never on more than `low_limit` workers */
};

/* Tasks to wait for together: the parent's memory, all zero at first, to stay where it is until
 * `pending` is 0. */
struct strait_group {
    size_t pending; /* submitted and not yet completed; only the parent's thread reads it */
};

/* How a task is to run. */
struct strait_submit_options {
    size_t size; /* sizeof this struct, or 0 */
    enum strait_priority priority;
    unsigned worker;  /* 0: any; n: the n-th alone, from 1 up to the pool's `workers`; it takes such
                         tasks before the parent's others of normal priority, whatever theirs */
    int64_t start_by; /* the task expires if it has not started by then; 0: never */
    int64_t finish_by; /* likewise; and if it runs at that time, strait_task_cancelled says so to
                          it, once the parent has dispatched, polled or waited since; 0: never */
    struct strait_group *group; /* NULL: none */
};

struct strait_pool_stall {
    unsigned worker; /* its number, from 0 */
    strait_run_fn *run;
    int64_t running_ns; /* so far */
};

/* On the pool's keeper, a thread of its own: must not call the pool, but for what any thread may.
 */
typedef void strait_stalled_fn(struct strait_pool *pool, const struct strait_pool_stall *stall,
                               void *context);

struct strait_pool_options {
    size_t size;        /* sizeof this struct, or 0 */
    unsigned workers;   /* 0: one for each CPU that the process may use, less the creator's where
                           there are 4 or more */
    size_t queue_limit; /* tasks of one parent that may wait for a worker; 0: 1024 */
    const char *name;   /* of the workers, in front of "-0", "-1", ...; NULL: "strait" */
    /* STRAIT_SCHEDULE_DEFAULT: the creator's class while there are more CPUs than workers. If not,
     * the creator must share one: then SCHED_IDLE, so that it gets it the moment it wakes. Such
     * workers use all that is idle, but yield to every other process of the machine too. */
    enum strait_schedule schedule;
    int nice;              /* added to the creator's, 0 to 19 */
    size_t stack_size;     /* of each worker, bytes; 0: the system's default */
    enum strait_wait wait; /* how idle workers wait: STRAIT_WAIT_PARK (default) or _SPIN */
    const int *cpus;       /* worker n is pinned to the n-th of these, in turn; read by create only.
                              NULL: those that the process may use, in this order: a thread of each
                              core, those that share the creator's cache first, then those of its
                              package; the cores' other threads likewise; the other threads of the
                              creator's own core; the creator's CPU */
    size_t cpu_count;
    unsigned workers_max; /* where tasks wait and no worker is idle, up to so many are started; 0:
                             `workers`, a fixed set */
    int64_t idle_timeout; /* a worker beyond `workers` ends after so many ns idle; 0: 1 s */
    unsigned low_limit;   /* workers that STRAIT_PRIORITY_LOW may occupy, besides those that wait
                             for such tasks of their own; 0: half, rounded up */
    int64_t stall_ns;     /* longer than this is a stall; 0: nobody watches */
    strait_stalled_fn *stalled; /* once for each task that stalls; needed if stall_ns is not 0 */
    void *context;              /* for `stalled` */
    bool untimed; /* do not read the clock for each task: no histograms, no utilisation */
};

struct strait_parent_options {
    size_t size; /* sizeof this struct, or 0 */
    /* How the parent waits in strait_task_wait and the like. Default: FD, and strait_parent_fd is
     * there for an event loop; without a loop PARK or SPIN is faster. */
    enum strait_wait wait;
    /* In dispatch, poll or a wait: after a submit got -EAGAIN, and no more than `low_water` tasks
     * wait. May be NULL. */
    void (*room)(struct strait_parent *parent, void *context);
    void *context;
    size_t low_water; /* 0: half the queue's limit */
};

/* submitted == done + failed + cancelled + expired + abandoned + queued + running, always. */
struct strait_pool_stats {
    uint64_t submitted;
    uint64_t done;
    uint64_t failed;
    uint64_t cancelled;
    uint64_t expired;
    uint64_t abandoned;
    uint64_t queued;     /* not started, and not yet completed on the parent */
    uint64_t running;    /* started and not yet completed on the parent */
    uint64_t refused;    /* submits that found no room, for all or for some; not in `submitted` */
    uint64_t queued_max; /* the most that ever waited of one parent's */
    uint64_t queue_limit;
    uint64_t workers; /* that there are now */
    uint64_t idle;    /* of them */
    uint64_t parents; /* attached now, workers that have submitted among them */
};

struct strait_pool_worker_stats {
    unsigned number; /* from 0 */
    bool online;     /* false: not started, or ended; the figures are those of all that had the
                        number */
    int32_t thread;  /* the kernel's number of it; 0: not online */
    int cpu;         /* where it is pinned */
    uint64_t tasks;  /* that it has started */
    int64_t busy_ns; /* in tasks, up to now; 0 if untimed */
    int64_t online_ns;
    strait_run_fn *run; /* what it runs now; NULL: nothing */
    int64_t running_ns; /* for how long; 0 if untimed */
};

enum strait_close {
    STRAIT_CLOSE_DRAIN,  /* finish every task */
    STRAIT_CLOSE_CANCEL, /* finish what runs, abandon what waits */
};

/* ---- the pool ---- */

/* Creates a pool. On error nothing is left: -EINVAL, -ENOMEM, or as strait_worker_spawn. Any
 * thread; blocks while the workers start. */
STRAIT_API int strait_pool_create(struct strait_pool **pool,
                                  const struct strait_pool_options *options);

/* Closes the pool: nothing can be submitted any more, and once no task waits the workers end. 0:
 * they have, and are joined; the parents still get the completions owed to them, until they detach.
 * -ETIMEDOUT: not yet, and if a task runs *stuck says which and where (otherwise its `run` is
 * NULL); close again to go on, be it to turn from drain to cancel. With a deadline in the past (0,
 * say) it only starts the closing. `stuck` may be NULL. -EDEADLK from inside a task, or on the
 * keeper. -EBUSY: another thread is closing it. -EOWNERDEAD in a fork's child. Any other thread;
 * blocks until the deadline at most. */
STRAIT_API int strait_pool_close(struct strait_pool *pool, enum strait_close mode, int64_t deadline,
                                 struct strait_pool_worker_stats *stuck);

/* Frees a pool that strait_pool_close has closed with 0 and all parents have left; -EBUSY if not.
 * NULL is ignored. -EOWNERDEAD in a fork's child, which must not use the pool. Any thread. */
STRAIT_API int strait_pool_destroy(struct strait_pool *pool);

/* ---- parents ---- */

/* Makes the calling thread a parent, which alone may use the handle. Options may be NULL.
 * -EINVAL; -ENOMEM, -EMFILE, -ENFILE; -EUSERS: there are STRAIT_PARENTS_MAX (the places of those
 * that have left are for others of their kind, with an fd or without); -EPIPE: the pool is closing.
 * Any thread; does not block for long. */
STRAIT_API int strait_pool_attach(struct strait_pool *pool, struct strait_parent **parent,
                                  const struct strait_parent_options *options);

/* Ends a parent. What waits is abandoned, what runs is told by strait_task_cancelled; then the
 * completions run, here, until all have or the deadline has passed. Returns how many are still
 * owed: those run later, with STRAIT_TASK_ABANDONED, on the pool's keeper, and no group hears of
 * them any more. In any case the handle is void, but for -EDEADLK from inside a completion or a
 * task. NULL is ignored. Parent only; blocks until the deadline at most. */
STRAIT_API ptrdiff_t strait_parent_detach(struct strait_parent *parent, int64_t deadline);

/* For a task, and for completions on a worker: the worker that runs it, as a parent in its own
 * right, with the pool's queue limit. It waits as the worker does and has no fd. NULL: not on a
 * worker of a pool's, no memory, or STRAIT_PARENTS_MAX of them. Does not block. */
STRAIT_API struct strait_parent *strait_parent_current(void);

/* Readable when strait_parent_dispatch has something to do: watch it level-triggered. -EINVAL: the
 * parent's wait is not STRAIT_WAIT_FD. Any thread. */
STRAIT_API int strait_parent_fd(const struct strait_parent *parent);

/* For an event loop: runs up to `budget` completions (0: STRAIT_BUDGET) and returns how many.
 * Leaves the fd readable if the budget ended it, and otherwise unreadable until there is something
 * to do. -EDEADLK from inside a completion. Parent only; does not block. */
STRAIT_API ptrdiff_t strait_parent_dispatch(struct strait_parent *parent, size_t budget);

/* The same for a thread that polls: leaves the fd alone, and makes no system call. */
STRAIT_API ptrdiff_t strait_parent_poll(struct strait_parent *parent, size_t budget);

/* How many completions the parent is owed: of tasks submitted and not yet completed. Parent only.
 */
STRAIT_API size_t strait_parent_owed(const struct strait_parent *parent);

/* ---- tasks ---- */

/* Submits a task; *id (if not NULL) names it. `how` may be NULL. -EAGAIN: the queue is full, or a
 * whole queue's worth of completions waits to be dispatched (cancelled tasks keep their place until
 * a worker comes by); -EPIPE: the pool is closing; -EINVAL: nothing to run, or a bad option;
 * -ENOMEM: the first of its kind. On error the task was not taken. Parent only; does not block. */
STRAIT_API int strait_task_submit(struct strait_parent *parent, const struct strait_task *task,
                                  const struct strait_submit_options *how, strait_task_id *id);

/* Submits n tasks at once: one look at the clock, one wake-up. Returns how many were taken, the
 * first ones; if not even one was, the error. `ids` is NULL or has room for n. */
STRAIT_API ptrdiff_t strait_task_submit_many(struct strait_parent *parent,
                                             const struct strait_task *tasks, size_t n,
                                             const struct strait_submit_options *how,
                                             strait_task_id *ids);

/* Submits a task, waiting for room; runs completions meanwhile. -ETIMEDOUT; -EDEADLK from inside a
 * completion, where it would have to wait; otherwise as strait_task_submit. Parent only; blocks
 * until the deadline at most. */
STRAIT_API int strait_task_submit_wait(struct strait_parent *parent, const struct strait_task *task,
                                       const struct strait_submit_options *how, strait_task_id *id,
                                       int64_t deadline);

/* Cancels a task. 0: it had not started, and never will: its completion comes with the next
 * dispatch. -EINPROGRESS: a worker has it, and strait_task_cancelled now tells it so; if the worker
 * has not called `run` yet, it may not. -EALREADY: cancelled or expired before. -ENOENT: it has
 * completed. Parent only; does not block. */
STRAIT_API int strait_task_cancel(struct strait_parent *parent, strait_task_id id);

/* Cancels all of a group. Returns how many of them will never start. */
STRAIT_API size_t strait_group_cancel(struct strait_parent *parent, struct strait_group *group);

/* Is the task that is running no longer wanted: cancelled, past its finish_by, its parent leaving?
 * For `run`; costs one load. */
STRAIT_API bool strait_task_cancelled(const struct strait_task *task);

/* Waits until a task, or all of a group, have completed; runs the parent's completions meanwhile,
 * and on a worker also tasks that the worker itself has submitted and no other has taken, so that
 * a task which waits for its own keeps no worker from them. 0; -ETIMEDOUT; -EDEADLK from inside a
 * completion; -ECANCELED on a strait worker that is asked to stop. A task that was given to a
 * worker by name is waited for until that one has time. Parent only; blocks until the deadline at
 * most. */
STRAIT_API int strait_task_wait(struct strait_parent *parent, strait_task_id id, int64_t deadline);
STRAIT_API int strait_group_wait(struct strait_parent *parent, const struct strait_group *group,
                                 int64_t deadline);

/* ---- seen from outside: any thread, until the pool is destroyed; nobody is stopped ---- */

/* The counters of this moment, of all parents that there ever were. */
STRAIT_API void strait_pool_stats(const struct strait_pool *pool, struct strait_pool_stats *stats);

/* One worker's, by number, from 0. -EINVAL: there is no such number. */
STRAIT_API int strait_pool_worker_stats(const struct strait_pool *pool, unsigned number,
                                        struct strait_pool_worker_stats *stats);

/* How long the tasks that were started had waited, and how long those that have ended ran; either
 * may be NULL. Overwrites what they point to. */
STRAIT_API void strait_pool_times(const struct strait_pool *pool, struct strait_histogram *waited,
                                  struct strait_histogram *ran);

/* All of this as a JSON object, with a final zero, in at most `size` bytes: the counters by the
 * names above; "wait_ns" and "run_ns" with count, p50, p90, p99, p99.9, p99.99 and max;
 * "per_worker", an array, with "utilisation" from 0 to 1, and "run" as an address in hexadecimal or
 * null. Returns how many bytes it takes, without the zero; if that is not less than `size`, the
 * buffer holds an empty string. Times are in nanoseconds. Does not block. */
STRAIT_API size_t strait_pool_json(const struct strait_pool *pool, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_POOL_H */
