/* SPDX-License-Identifier: MIT */
/*
 * pool: workers that share a queue of tasks.
 *
 * The thread that creates a pool is its parent: it alone submits, cancels, dispatches and closes.
 * A task runs on one of the workers; its completion runs on the parent, in strait_pool_dispatch,
 * when strait_pool_fd becomes readable in the parent's event loop, or inside strait_pool_close.
 *
 * Promises
 *   - Each task submitted completes exactly once, on the parent: done, failed or cancelled.
 *   - Tasks start in the order of their submission. A task never waits while a worker is idle.
 *   - Completions never run concurrently with each other, nor inside a submit or a cancel.
 *   - Submitting allocates nothing and never blocks: past the queue's limit it answers -EAGAIN.
 *   - An idle pool wakes nobody.
 */
#ifndef STRAIT_POOL_H
#define STRAIT_POOL_H

#include "strait/worker.h"

#ifdef __cplusplus
extern "C" {
#endif

struct strait_pool;
struct strait_task;

#define STRAIT_POOL_WORKERS_MAX STRAIT_SENDERS_MAX
#define STRAIT_QUEUE_LIMIT_MAX ((size_t)1 << 24)
#define STRAIT_TASK_DATA 80

enum strait_task_status {
    STRAIT_TASK_DONE,      /* run returned 0 */
    STRAIT_TASK_FAILED,    /* run returned something else: `code` */
    STRAIT_TASK_CANCELLED, /* cancelled before it started, or run returned -ECANCELED */
};

/* On a worker. 0, or a code of the task's own. */
typedef int strait_run_fn(struct strait_task *task);

/* On the parent. The task is gone after the call. */
typedef void strait_done_fn(struct strait_task *task);

/* Fill in the first four and submit: the pool works on a copy of its own, which `run` and `done`
 * get to see. Arguments and results that fit travel in `data`; larger ones behind `context`. */
struct strait_task {
    strait_run_fn *run;
    strait_done_fn *done; /* may be NULL */
    void *context;
    enum strait_task_status status; /* for `done` */
    int code;                       /* for `done`: what `run` returned, or -ECANCELED */
    unsigned char data[STRAIT_TASK_DATA] __attribute__((aligned(8)));
};

/* Names one submission, for ever; 0 names none. */
typedef uint64_t strait_task_id;

struct strait_pool_options {
    size_t size;        /* sizeof this struct, or 0 */
    unsigned workers;   /* 0: one for each CPU that the process may use */
    size_t queue_limit; /* tasks that may wait for a worker; 0: 1024 */
    const char *name;   /* of the workers, in front of "-0", "-1", ...; NULL: "strait" */
    /* STRAIT_SCHEDULE_DEFAULT: the parent's class while there are more CPUs than workers. If not,
     * the parent must share one: then SCHED_IDLE, so that the parent gets it the moment it wakes.
     * Such workers use all that is idle, but yield to every other process of the machine too. */
    enum strait_schedule schedule;
    int nice;              /* added to the parent's, 0 to 19 */
    size_t stack_size;     /* of each worker, bytes; 0: the system's default */
    size_t heap_limit;     /* of each worker, bytes; 0: none */
    enum strait_wait wait; /* how idle workers wait: STRAIT_WAIT_PARK (default) or _SPIN */
    void (*room)(struct strait_pool *pool, void *context); /* in dispatch: there is room again after
                                                              a submit got -EAGAIN; may be NULL */
    void *context;                                         /* for `room` */
};

struct strait_pool_stats {
    uint64_t submitted; /* == done + failed + cancelled + queued + running, always */
    uint64_t done;
    uint64_t failed;
    uint64_t cancelled;
    uint64_t refused;    /* submits that got -EAGAIN; not in `submitted` */
    uint64_t queued;     /* waiting for a worker */
    uint64_t running;    /* started and not yet completed on the parent */
    uint64_t queued_max; /* most that ever waited */
    uint64_t queue_limit;
    uint64_t workers;
};

enum strait_close {
    STRAIT_CLOSE_DRAIN,  /* finish every task */
    STRAIT_CLOSE_CANCEL, /* finish what runs, cancel what waits */
};

/* Creates a pool; the calling thread is its parent. On error nothing is left: -EINVAL, -ENOMEM, or
 * as strait_worker_spawn. Blocks while the workers start. */
STRAIT_API int strait_pool_create(struct strait_pool **pool,
                                  const struct strait_pool_options *options);

/* Submits a task; *id (if not NULL) names it. -EAGAIN: the queue is full, or a whole queue's worth
 * of completions waits to be dispatched; -EPIPE: the pool is closing; -EINVAL: nothing to run. On
 * error the task was not taken. Parent only; does not block. */
STRAIT_API int strait_pool_submit(struct strait_pool *pool, const struct strait_task *task,
                                  strait_task_id *id);

/* Cancels a task. 0: it had not started, and never will: its completion comes with the next
 * dispatch. -EINPROGRESS: it runs, and strait_task_cancelled now tells it so. -EALREADY: cancelled
 * before. -ENOENT: it has completed. Parent only; does not block. */
STRAIT_API int strait_pool_cancel(struct strait_pool *pool, strait_task_id id);

/* Has the parent cancelled the task that is running? For `run`; costs one load. */
STRAIT_API bool strait_task_cancelled(const struct strait_task *task);

/* Readable when strait_pool_dispatch has something to do: watch it level-triggered. */
STRAIT_API int strait_pool_fd(const struct strait_pool *pool);

/* Runs up to `budget` completions (0: STRAIT_BUDGET); returns how many. Leaves the fd readable if
 * the budget ended it. -EDEADLK from inside a completion. Parent only; does not block. */
STRAIT_API ptrdiff_t strait_pool_dispatch(struct strait_pool *pool, size_t budget);

/* Closes the pool: nothing can be submitted any more, and once every task has completed the workers
 * end. Runs completions while it waits. 0: all done, all joined. -ETIMEDOUT: not yet; the parent
 * goes on dispatching, or closes again: it may turn from drain to cancel. With a deadline in the
 * past (0, say) it only starts the closing. -EDEADLK from inside a completion or a task. Parent
 * only; blocks until the deadline at most. */
STRAIT_API int strait_pool_close(struct strait_pool *pool, enum strait_close mode,
                                 int64_t deadline);

/* Frees a pool that strait_pool_close has closed with 0; -EBUSY if not. NULL is ignored. */
STRAIT_API int strait_pool_destroy(struct strait_pool *pool);

/* The counters of this moment. Parent only; does not block. */
STRAIT_API void strait_pool_stats(const struct strait_pool *pool, struct strait_pool_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_POOL_H */
