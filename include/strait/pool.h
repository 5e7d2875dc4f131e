/* SPDX-License-Identifier: MIT */
/*
 * pool: workers that share their parents' tasks.
 *
 * A parent submits tasks, workers run them, and the completion of each runs on the parent that
 * submitted it:
 *
 *   struct strait_pool *pool;
 *   struct strait_parent *parent;
 *   strait_pool_create(&pool, NULL);
 *   strait_pool_attach(pool, &parent, NULL);
 *   for (int i = 0; i < 10; i++) {
 *       struct strait_task task = {.run = work, .done = finished};
 *       strait_task_submit(parent, &task, NULL, NULL);
 *   }
 *   strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER); // after ten completions
 *
 * Any thread creates a pool, and attaches to it as a parent; on a worker, a task that submits
 * further ones is a parent already: strait_parent_current. The pool works on a copy of the task;
 * arguments and results of up to 64 bytes travel in its `data`. Completions run when the parent
 * lets them: in strait_parent_dispatch, when strait_parent_fd becomes readable in its event loop;
 * in strait_parent_poll; or while it waits. Of several parents each detaches at the end, then one
 * thread closes and destroys the pool.
 *
 * Which calls exclude each other
 *
 *                              same parent   other parents,   close, resize,   destroy,
 *                                            attach           finish           finish
 *   strait_parent_*, _task_*,
 *   _group_*                   excluded (1)  free             free (2)         excluded
 *   strait_pool_attach         -             free             free (2)         excluded
 *   close, resize              free          free             -EBUSY           excluded
 *   stats, strait_parent_fd    free          free             free             excluded
 *
 *   (1) A parent is one thread: the one that attached. A STRAIT_CHECKED build ends the program
 *       where another uses it, and says which. Once that thread has ended, whoever has joined it
 *       may go on in its place: wait, and detach.
 *   (2) They say -EPIPE once the pool is closing.
 *
 * Promises
 *   - Each task that was submitted completes exactly once on its parent: done, failed, cancelled,
 *     expired or abandoned. A parent's completions never run concurrently, nor inside one another,
 *     nor inside a submit or a cancel (but see `in_place`).
 *   - Tasks of one parent and priority start in the order of their submission, but for those that a
 *     task has submitted. A task never waits while a worker is idle. Parents take turns, so that
 *     what one has queued does not delay the next task of another.
 *   - Submitting allocates nothing and never blocks.
 *   - A pool of n workers has n threads. An idle pool wakes nobody.
 *
 * Priorities are strict: while any parent has a task of high priority, no worker starts one of
 * normal priority. Who submits high ones without end starves the normal ones, for ever.
 *
 * Threads that end. A task may end its worker's thread by pthread_exit, or be cancelled in it: that
 * task, and those whose waits it ran in, have failed with -EINTR. The worker still runs what they
 * have submitted, calls fini and is gone; where a task then finds nobody idle, another is started
 * in its place. The last worker goes on by itself where no other can be had. A worker that is
 * cancelled while it is idle goes when it is woken next. A task in place (`in_place`) that ends the
 * thread was never submitted: its submit does not return, and it does not complete.
 *
 * A task must not change its thread's scheduling for good. A process may exit while a pool is at
 * work. Exceptions and jumps that leave a callback: see strait/worker.h.
 *
 * fork. A child process has no workers. Of an inherited pool it may call strait_parent_detach,
 * strait_pool_close, _finish, _resize, _destroy and _attach, in any order, which say -EOWNERDEAD at
 * once. All else of it must be left alone. It may create pools of its own. What a program started
 * by a task inherits is said in strait/worker.h.
 *
 * All times are nanoseconds, all deadlines absolute (strait_deadline); 0 is past, but in the
 * options of a submit, where it is none.
 */
#ifndef STRAIT_POOL_H
#define STRAIT_POOL_H

#include "strait/placement.h"
#include "strait/wait.h"

STRAIT_C_BEGIN

struct strait_pool;
struct strait_parent;
struct strait_task;

#define STRAIT_POOL_WORKERS_MAX 256u
#define STRAIT_PARENTS_MAX 4096u /* attached at one time */
#define STRAIT_QUEUE_LIMIT_MAX (1u << (UINTPTR_MAX > UINT32_MAX ? 22 : 13))
#define STRAIT_TASK_DATA 64

/* ---- tasks ---- */

enum strait_task_status {
    STRAIT_TASK_DONE,      /* `run` returned 0 */
    STRAIT_TASK_FAILED,    /* `run` returned something else: `code` */
    STRAIT_TASK_CANCELLED, /* cancelled before it started, or `run` returned -ECANCELED */
    STRAIT_TASK_EXPIRED,   /* no worker came in time, or `run` returned not 0 after finish_by */
    STRAIT_TASK_ABANDONED, /* its pool or its parent ended by cancelling, before it started */
};

/* On a worker. 0, or a code of the task's own. */
typedef int strait_run_fn(struct strait_task *task) STRAIT_NOEXCEPT;

/* On the parent. The task is gone after the call. */
typedef void strait_done_fn(struct strait_task *task) STRAIT_NOEXCEPT;

/* Fill in what is needed of all but status and code, and submit. */
struct strait_task {
    strait_run_fn *run;
    void *context;
    const char *name; /* for statistics and messages: lives as long as the pool; may be NULL */
    /* the first 16 bytes come for free */
    unsigned char data[STRAIT_TASK_DATA] __attribute__((aligned(8)));
    strait_done_fn *done;           /* may be NULL */
    enum strait_task_status status; /* for `done` */
    int code; /* for `done`: what `run` returned; if it did not run -ECANCELED or -ETIMEDOUT */
};

/* Names one submission of a parent's, for ever; 0 names none. */
typedef uint64_t strait_task_id;

enum strait_priority {
    STRAIT_PRIORITY_NORMAL = 0,
    STRAIT_PRIORITY_HIGH, /* before all normal ones */
};

/* Tasks to wait for together: the parent's memory, zero at first, to stay where it is until
 * `pending` is 0. No worker touches it. */
struct strait_group {
    size_t pending; /* submitted and not yet completed; the parent's thread alone reads it */
};

/* How a task is to run. */
struct strait_submit_options {
    size_t size;                   /* sizeof this struct, or 0 */
    enum strait_priority priority; /* without effect for a task that submits: its children are
                                      normal, and as those of a parent take turns with others' */
    int64_t start_by;              /* the task expires when a worker comes to it later; 0: never */
    int64_t finish_by; /* likewise; if it runs then, strait_task_cancelled says so; 0: never */
    struct strait_group *group; /* NULL: none */
    bool in_place; /* but in a completion: instead of -EAGAIN, call `run` and `done` within the
                      submit; the id is 0 then */
};

/* ---- the pool: create, close ---- */

struct strait_pool_options {
    size_t size;        /* sizeof this struct, or 0 */
    unsigned workers;   /* 0: one for each CPU that the process may use now; of four or more CPUs,
                           and of what the cgroup's quota holds where that is less, one is the
                           parent's; at least one */
    size_t queue_limit; /* tasks of one parent and priority that may wait for a worker; 0: 1024 */
    const char *name;   /* of the workers, before "-0", "-1", ...; up to 11 bytes; NULL: "strait" */
    enum strait_wait wait; /* how idle workers wait: STRAIT_WAIT_PARK (default) or _SPIN */
    size_t stack_size;     /* of each worker, bytes; 0: the system's default */

    /* Number of workers that follows demand: a submit that finds no worker idle starts one more, up
     * to workers_max, and does not wait for it (some 20 us to the parent); a worker idle for
     * idle_timeout ends while there are more than `workers`. 0: `workers`, a fixed number. */
    unsigned workers_max;
    int64_t idle_timeout; /* 0: 1 s; STRAIT_FOREVER: none ends by itself */

    /* Scheduling. STRAIT_SCHEDULE_DEFAULT is the normal class, at the creator's nice plus `nice`;
     * where there are as many workers as CPUs, so that one must share the parent's, and `nice` is
     * 0, the batch class, plus 10, and with the shortest time slice (Linux 6.12): the parent's loop
     * gets its CPU at once and keeps it when a worker wakes, the workers get nearly all of what it
     * leaves, and their share beside others.
     * STRAIT_SCHEDULE_IDLE yields to every other process of the machine too. */
    enum strait_schedule schedule;
    int nice; /* 0 to 19 */

    /* Placement. STRAIT_PIN_CHOOSE: to the CPUs in `cpus` if there are any, as STRAIT_PIN_CPU;
     * else, where there are always exactly as many workers as CPUs, each to one of its own, and
     * otherwise all to whole caches: as many as hold a CPU for each worker beside the creator's,
     * fast cores and those near the creator first. STRAIT_PIN_CPU: worker n to the n-th of `cpus`,
     * in turn; without `cpus`, each to one that the fewest threads of strait in the process are
     * pinned to, so that two pools take different ones. STRAIT_PIN_SET: all to any of `cpus`.
     * STRAIT_PIN_NONE: wherever the process may run. */
    enum strait_pin pin;
    const int *cpus; /* read by create only */
    size_t cpu_count;

    /* On each worker, before its first task and after its last, say to open a database. What
     * init leaves in *data is the worker's: strait_pool_data. Not 0: create and resize return it
     * (positive: -ECANCELED; -EINTR if it ends its thread), and the worker has not been. Either may
     * be NULL. */
    int (*init)(unsigned worker, void **data, void *context) STRAIT_NOEXCEPT;
    void (*fini)(unsigned worker, void *data, void *context) STRAIT_NOEXCEPT;
    void *context;

    bool timed; /* read the clock for each task: strait_task_waited_ns and strait_task_ran_ns, and
                   the times in strait_pool_worker_stats; some 50 ns a task */
};

enum strait_close {
    STRAIT_CLOSE_DRAIN,  /* finish every task */
    STRAIT_CLOSE_CANCEL, /* abandon what waits, finish what runs; a parent that leaves so tells it
                            by strait_task_cancelled, a pool that closes does not */
};

struct strait_pool_worker_stats;

/* Creates a pool. Options may be NULL. On error nothing is left: -EINVAL; -ENOMEM; -EAGAIN (no
 * thread to be had); -EPERM or -ENOSYS or what else a sandbox says (CPUs, class or nice asked for
 * are refused); or what `init` returned. Any thread; blocks while the workers start.
 */
STRAIT_API int strait_pool_create(struct strait_pool **pool,
                                  const struct strait_pool_options *options);

/* Ends it all in the right order: the parent's tasks complete here or are abandoned, as `mode`
 * says; the parent is detached, the pool closed and destroyed. 0: all of it is gone. -ETIMEDOUT:
 * nothing is gone, nothing lost; call again to go on, or to turn from drain to cancel. -EBUSY:
 * other parents are attached, or another thread closes the pool; nothing has happened. -EDEADLK
 * from inside a completion or a task; -EOWNERDEAD. `parent` may be NULL. Parent only; blocks until
 * the deadline at most. */
STRAIT_API int strait_pool_finish(struct strait_pool *pool, struct strait_parent *parent,
                                  enum strait_close mode, int64_t deadline);

/* Closes the pool: parents can submit no more (while it drains, tasks can), and once no task waits
 * the workers end. 0: they have, and are joined; what parents are still owed they get until they
 * detach. -ETIMEDOUT: not yet, and *stuck is the worker whose task holds it up longest (`run` NULL:
 * none runs); close again to go on, or to turn from drain to cancel. With a deadline in the past
 * (0, say) it only starts the closing. `stuck` may be NULL. -EINVAL; -EDEADLK from inside a task;
 * -EBUSY: another thread is closing or resizing it; -EOWNERDEAD. Any other thread; blocks until the
 * deadline at most. */
STRAIT_API int strait_pool_close(struct strait_pool *pool, enum strait_close mode, int64_t deadline,
                                 struct strait_pool_worker_stats *stuck);

/* Frees a pool that strait_pool_close has closed with 0 and that all parents have left; -EBUSY if
 * not; -EOWNERDEAD. NULL is ignored. Any thread; does not block. */
STRAIT_API int strait_pool_destroy(struct strait_pool *pool);

/* ---- parents: attach, submit, complete ---- */

struct strait_parent_options {
    size_t size; /* sizeof this struct, or 0 */
    /* How the parent waits in strait_task_wait and the like. Default: FD, and strait_parent_fd is
     * there for an event loop; without a loop PARK or SPIN is faster. */
    enum strait_wait wait;
    /* In dispatch, poll or a wait: after a submit got -EAGAIN, once half of the queue has drained.
     * May be NULL. */
    void (*room)(struct strait_parent *parent, void *context) STRAIT_NOEXCEPT;
    void *context;
};

/* Makes the calling thread a parent, which alone may use the handle. Options may be NULL. -EINVAL;
 * -ENOMEM, -EMFILE, -ENFILE, or what a sandbox says to an fd; -EUSERS: there are
 * STRAIT_PARENTS_MAX; -EOWNERDEAD; -EPIPE: the pool is closing. Any thread; does not block for
 * long. */
STRAIT_API int strait_pool_attach(struct strait_pool *pool, struct strait_parent **parent,
                                  const struct strait_parent_options *options);

/* Submits a task; *id (if not NULL) names it. `how` may be NULL. -EAGAIN: the queue is full, or so
 * many completions wait to be dispatched that no slot is left (there are three times as many as a
 * queue holds, and 320); -EPIPE: the pool is closing; -EINVAL: nothing to run, or a bad option. On
 * error the task was not taken. Parent only; does not block. */
STRAIT_API int strait_task_submit(struct strait_parent *parent, const struct strait_task *task,
                                  const struct strait_submit_options *how, strait_task_id *id);

/* Readable when strait_parent_dispatch has something to do: watch it level-triggered. After a quiet
 * time it becomes so with the first completion; while completions come fast and tasks wait, they
 * are gathered, none for longer than 100 us. -EINVAL: the parent's wait is not STRAIT_WAIT_FD. Any
 * thread; does not block. */
STRAIT_API int strait_parent_fd(const struct strait_parent *parent);

/* For an event loop: runs up to `budget` completions (0: STRAIT_BUDGET) and returns how many.
 * Leaves the fd readable if the budget ended it, and otherwise unreadable until there is something
 * to do. -EDEADLK from inside a completion. Parent only; does not block. */
STRAIT_API ptrdiff_t strait_parent_dispatch(struct strait_parent *parent, size_t budget);

/* The same for a thread that polls: leaves the fd alone, and makes no system call. */
STRAIT_API ptrdiff_t strait_parent_poll(struct strait_parent *parent, size_t budget);

/* How many completions the parent is owed: of tasks submitted and not yet completed. Parent only;
 * does not block. */
STRAIT_API size_t strait_parent_owed(const struct strait_parent *parent);

/* Ends a parent. Drains, by running completions until none is owed; or cancels: what waits is
 * abandoned, what runs is told so by strait_task_cancelled, and the completions run. 0: the handle
 * is gone; so are its memory and its fd, or with the next attach or detach if a worker that has
 * just run one of its tasks has not moved on yet. -ETIMEDOUT: the handle stays valid, the tasks go
 * on; detach again. -EDEADLK from inside a completion, or for strait_parent_current; -EINVAL;
 * -EOWNERDEAD: in a fork's child. NULL is ignored. Parent only; blocks until the deadline at most.
 */
STRAIT_API int strait_parent_detach(struct strait_parent *parent, enum strait_close mode,
                                    int64_t deadline);

/* ---- waiting: runs the parent's completions meanwhile ---- */

/* All four: 0 once what is waited for has completed; -ETIMEDOUT; -EDEADLK from inside a completion;
 * -ECANCELED on a strait worker that is asked to stop. The thread sleeps until what it waits for
 * has happened; completions of other tasks run with it or are gathered, none for longer than 1 ms.
 *
 * In a task (strait_parent_current), a wait runs descendants of that task meanwhile, and no other
 * tasks: first those that are still on this worker, the newest first, then those of the worker that
 * has taken one of them. So the stack is no deeper than the tree of tasks, and a task that waits
 * for its children keeps no worker from them; the deadline is looked at between two of them. A task
 * waits for its own children only: for those of another it may wait for ever. Tasks that this
 * worker is inside of do not count for strait_parent_wait_any and _wait_all.
 *
 * Parent only; block until the deadline at most. */
STRAIT_API int strait_task_wait(struct strait_parent *parent, strait_task_id id, int64_t deadline);
STRAIT_API int strait_group_wait(struct strait_parent *parent, const struct strait_group *group,
                                 int64_t deadline);
STRAIT_API int strait_parent_wait_all(struct strait_parent *parent, int64_t deadline);

/* Until at least one completion has run; returns how many have. Those that come fast are gathered,
 * none for longer than 100 us. 0: none is owed. */
STRAIT_API ptrdiff_t strait_parent_wait_any(struct strait_parent *parent, int64_t deadline);

/* ---- more about tasks ---- */

/* Submits n tasks at once: one wake-up. Returns how many were taken, the first ones; if not even
 * one was, the error, as of strait_task_submit. `ids` is NULL or has room for n. Parent only; does
 * not block. */
STRAIT_API ptrdiff_t strait_task_submit_many(struct strait_parent *parent,
                                             const struct strait_task *tasks, size_t n,
                                             const struct strait_submit_options *how,
                                             strait_task_id *ids);

/* Submits a task, waiting for room; runs completions meanwhile, and in a task whatever waits in its
 * worker's queue. -ETIMEDOUT; -EDEADLK from inside a completion, where it would have to wait;
 * otherwise as strait_task_submit. Parent only; blocks until the deadline at most. */
STRAIT_API int strait_task_submit_wait(struct strait_parent *parent, const struct strait_task *task,
                                       const struct strait_submit_options *how, strait_task_id *id,
                                       int64_t deadline);

/* Cancels a task. 0: it had not started, and never will: its completion comes with the next
 * dispatch. -EINPROGRESS: a worker has it, and strait_task_cancelled now tells it so; if the worker
 * has not called `run` yet, it may not. -EALREADY: cancelled before. -ENOENT: it has completed.
 * Parent only; does not block. */
STRAIT_API int strait_task_cancel(struct strait_parent *parent, strait_task_id id);

/* Cancels all of a group. Returns how many of them will never start. Parent only; does not block.
 */
STRAIT_API size_t strait_group_cancel(struct strait_parent *parent, struct strait_group *group);

/* Is the task that is running no longer wanted: cancelled, past its finish_by, its parent leaving
 * by cancelling? For `run`; costs one load, and one reading of the clock if it has a finish_by;
 * does not block. */
STRAIT_API bool strait_task_cancelled(const struct strait_task *task);

/* For `done`, in a pool that is timed: how long the task waited for a worker, and then ran; 0 if it
 * did not, or if the pool is not timed. */
STRAIT_API int64_t strait_task_waited_ns(const struct strait_task *task);
STRAIT_API int64_t strait_task_ran_ns(const struct strait_task *task);

/* For a task, and for completions on a worker: the worker that runs it, as a parent in its own
 * right, with the pool's queue limit. It waits as the worker does and has no fd. NULL: not on a
 * worker of a pool's. Does not block. */
STRAIT_API struct strait_parent *strait_parent_current(void);

/* On a worker: what `init` has left in *data. Anywhere else NULL. Any thread; does not block. */
STRAIT_API void *strait_pool_data(void);

/* ---- more about pools ---- */

/* Changes the number of workers to n, 1 to STRAIT_POOL_WORKERS_MAX; the most that a pool which
 * follows demand may have only where it was less. Workers that must go finish what they run and
 * what they are owed, and leave the rest to the others. 0: so many are there, and those that left
 * are joined. -ETIMEDOUT: some have not left yet, and will once they can: resize again to wait for
 * them, or to keep them. An error of strait_pool_create: as many as could be started are there.
 * -EPIPE: the pool is closing; -EDEADLK from inside a task; -EBUSY: another thread is resizing or
 * closing it. Any other thread; blocks for the start of workers, and until the deadline at most for
 * their end. */
STRAIT_API int strait_pool_resize(struct strait_pool *pool, unsigned n, int64_t deadline);

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
    uint64_t in_place;   /* tasks run within a submit for want of room; not in `submitted` */
    uint64_t queued_max; /* the most that ever waited in one parent's queue */
    uint64_t queue_limit;
    uint64_t workers; /* that there are now */
    uint64_t idle;    /* of them */
    uint64_t parents; /* attached now, and workers whose tasks have submitted */
};

struct strait_pool_worker_stats {
    unsigned number; /* from 0 */
    bool online;     /* false: not started, or ended; the figures are those of the last that had the
                        number */
    int32_t thread;  /* the kernel's number of it; 0: not online */
    int cpu;         /* where it is pinned; -1: it may run on several */
    enum strait_schedule schedule; /* its class, never STRAIT_SCHEDULE_DEFAULT */
    int nice;                      /* as the kernel has it */
    const char *reason;            /* why these three are so: a sentence, for people */
    uint64_t tasks;                /* that those of its number have started */
    int64_t online_ns;
    int64_t busy_ns;    /* in tasks, up to now; 0 if the pool is not timed */
    strait_run_fn *run; /* what it runs now; NULL: nothing */
    const char *name;   /* of that task */
    int64_t running_ns; /* for how long; 0 if the pool is not timed */
};

/* The counters of this moment, of all parents that there ever were. Any thread, until the pool is
 * destroyed; stops no task, and waits at most for a worker that is just being started. */
STRAIT_API void strait_pool_stats(struct strait_pool *pool, struct strait_pool_stats *stats);

/* One worker's, by number, from 0. -EINVAL: there has never been one of that number. Otherwise as
 * strait_pool_stats. */
STRAIT_API int strait_pool_worker_stats(const struct strait_pool *pool, unsigned number,
                                        struct strait_pool_worker_stats *stats);

STRAIT_C_END

#endif /* STRAIT_POOL_H */
