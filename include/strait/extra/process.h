/* SPDX-License-Identifier: MIT */
/*
 * process: workers that are processes of their own, and a pool of them.
 *
 * Such a worker may crash, run for ever, leak, or be killed: the parent gets an event, and lives.
 * In exchange it starts in a millisecond instead of 0.1, a task costs microseconds instead of
 * nanoseconds, and what the two exchange is copied: no pointer means anything on the other side.
 *
 * How to use a worker
 *
 *   1. Name what workers may run, in a table that ends with a zero, and hand it over at the start
 *      of main. In a worker that call does not return:
 *        static const struct strait_process_function functions[] = {
 *            {.name = "echo", .entry = echo}, {.name = NULL}};
 *        int main(int argc, char **argv) {
 *            strait_process_main(argc, argv, functions);
 *   2. Spawn it: this program again, or another one that does the same:
 *        struct strait_process_options options = {.function = "echo", .event = event};
 *        strait_process_spawn(&process, &options);
 *   3. Send: strait_process_send(strait_process_port(process), &message, 1, 0).
 *   4. Watch strait_process_fd in an event loop, and call strait_process_dispatch when it is
 *      readable. It calls `event`: online; messages; exit, always the last, with code and signal.
 *      Nothing that the worker sent before its end is lost, whatever way it ended.
 *   5. strait_process_destroy, which kills a worker that has not ended.
 *
 * How to use a pool of them
 *
 *   1. In the table, name functions that run tasks, as in pool.h: {.name = "sum", .run = sum}.
 *   2. strait_process_pool_create; the thread that calls it is the pool's one parent.
 *   3. strait_process_submit: the task's `name` says which function. 64 bytes travel in `data`, up
 *      to payload_max more in `payload`, both ways.
 *   4. Watch strait_process_pool_fd, and call strait_process_pool_dispatch when it is readable: it
 *      runs `done` of what has completed, replaces workers that have died, kills tasks that are
 *      past their deadline.
 *   5. strait_process_pool_drain, if all is to be done; then strait_process_pool_destroy.
 *
 * Who may call what at the same time (x: the caller excludes the two; -: needs no care)
 *
 *                                   parent's calls | kill stop pid fd | destroy
 *   of one process or pool
 *     parent's: port, dispatch,     x              | -                | x
 *     submit, cancel, ...
 *     kill, stop, pid, fd           -              | -                | x
 *   in the worker: its port's       one thread at a time
 *
 * The parent of a worker is the thread that spawned it. When that thread ends, or its process does,
 * by SIGKILL too, the kernel kills the worker.
 *
 * Promises
 *   - A worker's death is an event within a millisecond, by its pidfd. What it had sent is received
 *     before, what it had not received goes to drop_to_worker; each once.
 *   - Each task of a pool completes exactly once. One whose worker died in it has FAILED, with the
 *     signal, or runs again, if its submit allows that: never both. One that its worker had not
 *     begun goes to the next one. What says so lies in memory that the worker may write: who forges
 *     it can have the task run again, 15 times at most.
 *   - A task that runs can be killed, by strait_process_cancel or its finish_by, with its worker.
 *     No thread is there for that: a timer in the parent's fd.
 *   - Nothing has a name: memory, doorbells and workers are gone with the last descriptor of them.
 *   - A worker has descriptors 0, 1, 2 of the parent's, and of its own one doorbell: no other.
 *   - What a worker writes into the memory that it shares with the parent, and however it rings,
 *     reaches the parent as wrong messages, or none: it can neither crash nor block it. Children
 *     that a worker leaves behind add nothing to what it had sent. Who does not trust a worker
 *     checks what it sends, and does not follow pointers in what drop_to_worker gets.
 *   - Where no worker can be had, a pool's tasks wait. It tries again after 20 ms, later after up
 *     to 640 ms.
 *
 * Memory. Each direction has a ring of kind "spsc" in one sealed memfd. Each process has the ring's
 * first two lines, which say where slots lie, in memory of its own. The parent's doorbell is an
 * eventfd in edge-triggered mode, which it never reads, and the worker's a futex: no call of the
 * parent can block on something that the worker has, too.
 *
 * Order. Who sends looks whether the other sleeps, behind what it has published. Between threads
 * that takes no fence, as whoever goes to sleep has the kernel pass one on all CPUs by
 * membarrier(2). Between processes the kernel does so for those that are registered
 * (MEMBARRIER_CMD_GLOBAL_EXPEDITED): the parent is by its first spawn, a worker by its start. Where
 * the kernel refuses, each send passes a fence.
 *
 * Signals. A worker starts with all signals unblocked and at their defaults, in a process group of
 * its own: a terminal's Ctrl-C is for the parent to handle. The program must not ignore SIGCHLD,
 * and must not wait for any child (waitpid(-1)), or exit codes are lost. CPUs and nice are those of
 * the thread that spawned it, environment and directory the program's.
 *
 * fork. Workers and pools are those of the process that made them. In a fork's child the calls that
 * a destructor makes, strait_process_kill, _join and _destroy, strait_process_pool_drain and
 * _destroy, say -EOWNERDEAD at once, and strait_process_stop does nothing. All else of an inherited
 * worker or pool must be left alone. The child may spawn workers of its own.
 *
 * All times are nanoseconds, all deadlines absolute (strait_deadline); 0 is past.
 */
#ifndef STRAIT_PROCESS_H
#define STRAIT_PROCESS_H

#include "strait/pool.h"
#include "strait/worker.h"

STRAIT_C_BEGIN

struct strait_process;
struct strait_process_port;
struct strait_process_pool;
struct sock_filter; /* of linux/filter.h */

#define STRAIT_PROCESS_NAME 40                /* bytes of a function's name, with its zero */
#define STRAIT_PROCESS_DATA_MAX 65536u        /* of start-up data */
#define STRAIT_PROCESS_FILTER_MAX 4096u       /* instructions */
#define STRAIT_PROCESS_PAYLOAD_MAX (1u << 26) /* 64 MiB */
#define STRAIT_PROCESS_POOL_WORKERS_MAX 256u

/* ---- what a worker runs ---- */

/* In the worker: its end, and its copy of the start-up data. The result is the exit code: 0;
 * -ECANCELED, once it was asked to stop; or what failed. */
typedef int strait_process_entry_fn(struct strait_process_port *port, void *data,
                                    size_t size) STRAIT_NOEXCEPT;

/* One of the two. */
struct strait_process_function {
    const char *name; /* NULL ends the table */
    strait_process_entry_fn *entry;
    strait_run_fn *run; /* for a pool's tasks; it gets the `task` of a struct strait_process_task */
};

/* Call it first in main. In a process that is no worker it returns. In a worker it sets the limits,
 * runs the function, and exits: atexit handlers run. */
STRAIT_API void strait_process_main(int argc, char **argv,
                                    const struct strait_process_function *functions);

/* ---- a worker ---- */

/* What a worker may use; 0: as much as the parent. Set in it before the function runs. */
struct strait_process_limits {
    size_t address_space; /* bytes; an allocation beyond it fails (RLIMIT_AS) */
    uint32_t cpu_seconds; /* of CPU time; then SIGXCPU ends it (RLIMIT_CPU) */
    uint32_t descriptors; /* open at once; it starts with four (RLIMIT_NOFILE) */
    bool no_new_privs;    /* set-uid programs give it nothing; implied by a filter */
    /* A seccomp filter, read by spawn. What the worker does by itself must be allowed: futex, write
     * (its doorbell), membarrier, sched_yield, clock_gettime, nanosleep, exit_group, and what the
     * program's allocator and exit handlers do. */
    const struct sock_filter *filter;
    uint32_t filter_count;
};

struct strait_process_event {
    enum strait_event_type type;    /* STRAIT_ONLINE, STRAIT_MESSAGE, STRAIT_EXIT */
    const void *message;            /* STRAIT_MESSAGE: a copy, valid during the call */
    enum strait_exit_reason reason; /* STRAIT_EXIT, and so are the following */
    int code;   /* what the function returned; or the status of the worker's own exit(); -EINTR: it
                   was ended by a signal; -ENOENT: its table does not have the function */
    int signal; /* the one that ended it; 0: none, or with -EINTR: somebody else has reaped it, or
                   will, a debugger say */
};

/* Called by strait_process_dispatch. It may send, and receive the next message from the port. */
typedef void strait_process_event_fn(struct strait_process *process,
                                     const struct strait_process_event *event,
                                     void *context) STRAIT_NOEXCEPT;

struct strait_process_options {
    size_t size;          /* sizeof this struct, or 0 */
    const char *program;  /* its path; NULL: this program again */
    const char *function; /* a name in that program's table */
    const void *data;     /* start-up data, copied */
    size_t data_size;
    size_t to_worker_capacity; /* messages; 0: 1024 */
    size_t to_worker_size;     /* bytes of one; 0: sizeof(void *) */
    size_t to_parent_capacity;
    size_t to_parent_size;
    strait_drop_fn *drop_to_worker; /* for messages that nobody received: called by destroy */
    strait_drop_fn *drop_to_parent;
    strait_process_event_fn *event; /* NULL: the parent receives from the port by itself */
    void *context;                  /* passed to `event` and the drops */
    struct strait_process_limits limits;
};

/* Spawns a worker, and returns when its program has begun; it is online later, which is an event.
 * On error nothing is left behind: -EINVAL (options, a name or data too long); -ENOENT, and others
 * of execve(2): no such program; -ENOMEM, -ENOSPC, -EMFILE, -ENFILE, -EAGAIN; -ENOSYS: Linux
 * before 5.4. What fails in the worker itself is told by its exit event. Any thread, which becomes
 * the parent; blocks while the kernel makes the process, some 0.2 ms. */
STRAIT_API int strait_process_spawn(struct strait_process **process,
                                    const struct strait_process_options *options);

/* The parent's end, for the life of `process`. Does not block. */
STRAIT_API struct strait_process_port *strait_process_port(struct strait_process *process);

/* Readable when strait_process_dispatch has something to do: watch it level-triggered until the
 * exit event. Any thread; does not block. */
STRAIT_API int strait_process_fd(const struct strait_process *process);

/* The kernel's number of it, for as long as `process` lives. Any thread; does not block. */
STRAIT_API int32_t strait_process_pid(const struct strait_process *process);

/* Delivers up to `budget` events (0: STRAIT_BUDGET) and returns how many, 0 if there are none;
 * after the exit event, -EPIPE. -EDEADLK from inside an event callback; -EINVAL without one. Leaves
 * the fd readable if the budget ended it. Parent only; does not block. */
STRAIT_API ptrdiff_t strait_process_dispatch(struct strait_process *process, size_t budget);

/* Asks the worker to stop: its waits return -ECANCELED, and strait_process_stopping says true. Any
 * thread; does not block. */
STRAIT_API void strait_process_stop(struct strait_process *process);

/* Sends the worker a signal, SIGKILL say. 0; -EPIPE: it has ended; -EINVAL; -EOWNERDEAD. Never
 * reaches another process. Any thread; does not block. */
STRAIT_API int strait_process_kill(struct strait_process *process, int signal);

/* Waits until the worker has ended, and says how. 0; -ETIMEDOUT; -EOWNERDEAD. For a parent without
 * `event`; messages can still be received. Parent only; blocks until the deadline at most. */
STRAIT_API int strait_process_join(struct strait_process *process, int64_t deadline,
                                   struct strait_process_event *end);

/* Kills a worker that has not ended, and frees it; messages left go to the drop callbacks. 0;
 * -EDEADLK from an event callback; -EOWNERDEAD. NULL is ignored. Parent only; blocks while the
 * kernel takes a killed process down. */
STRAIT_API int strait_process_destroy(struct strait_process *process);

/* ---- either end of its port: the parent's, or in the worker ---- */

/* Sends all n messages by copy, waiting for room; otherwise as strait_send: how many, the first
 * ones; if not even one, -EPIPE: the other process has ended, or this end is closed; -ETIMEDOUT;
 * -EAGAIN: no room, and the deadline was 0; -ECANCELED: the worker was asked to stop. */
STRAIT_API ptrdiff_t strait_process_send(struct strait_process_port *port, const void *messages,
                                         size_t n, int64_t deadline);

/* Receives 1 to n messages by copy, waiting for the first. How many; -EPIPE: the other process has
 * ended or closed its end, and nothing is left; -ETIMEDOUT; -EAGAIN; -ECANCELED. */
STRAIT_API ptrdiff_t strait_process_receive(struct strait_process_port *port, void *messages,
                                            size_t n, int64_t deadline);

/* This end sends no more: the other one receives what is left, then -EPIPE. Does not block. */
STRAIT_API void strait_process_close(struct strait_process_port *port);

/* In a worker, for long computations: was it asked to stop? Costs one load. */
STRAIT_API bool strait_process_stopping(const struct strait_process_port *port);

/* ---- a pool ---- */

/* A task, as the worker's function and `done` get it: behind the pointer to its first member. */
struct strait_process_task {
    struct strait_task task; /* fill in `name`, which is the function's, `data`, `context`, `done`;
                                `context` stays with the parent */
    void *payload;           /* copied by submit. In the function: its copy, which it may change, or
                                replace by memory that stays until its next task; what it then is
                                travels back. In `done`: what came back, or the submitted one */
    size_t payload_size;     /* bytes, up to payload_max: -ENOSPC is the code of a longer answer */
    int signal;              /* for `done`: FAILED because this ended the worker; 0: no signal */
    unsigned runs;           /* for `done`: how often it was given to a worker */
    const struct strait_task *local; /* private: the pool's task that runs it; NULL: none */
};

/* For a long computation in such a function, as strait_task_cancelled in a task of pool.h, which
 * must not be called with this one: was it cancelled, or is its finish_by over? In a process false,
 * as it is killed then; on a machine that strait_gearman.h makes work, as there. Does not block. */
static inline bool strait_process_cancelled(const struct strait_task *task)
{
    const struct strait_process_task *whole =
        (const struct strait_process_task *)(const void *)task;
    return whole->local && strait_task_cancelled(whole->local);
}

struct strait_process_submit_options {
    size_t size;       /* sizeof this struct, or 0 */
    int64_t finish_by; /* then the task expires: one that waits is not begun, one that runs is
                          killed with its worker; 0: never */
    unsigned retries;  /* may run again up to so many times if its worker dies in it; one that is
                          cancelled or expires does not */
};

struct strait_process_pool_options {
    size_t size;                         /* sizeof this struct, or 0 */
    const char *program;                 /* NULL: this program again; kept by pointer */
    unsigned workers;                    /* 0: as many as the process may use CPUs */
    size_t queue_limit;                  /* tasks that may wait for a worker; 0: 1024 */
    size_t payload_max;                  /* bytes; 0: no payload */
    struct strait_process_limits limits; /* of each worker; the filter is kept by pointer */
};

/* Creates a pool and begins to spawn its workers. Options may be NULL. Errors as of
 * strait_process_spawn. Any thread, which becomes the parent; blocks as so many spawns. */
STRAIT_API int strait_process_pool_create(struct strait_process_pool **pool,
                                          const struct strait_process_pool_options *options);

/* Submits a copy of the task; *id (if not NULL) names it. `how` may be NULL. -EAGAIN: the queue is
 * full, or too many completions wait to be dispatched; -EINVAL: no name or too long a one;
 * -ENOSPC: the payload is larger than payload_max; -EPIPE: the pool is being destroyed. Parent
 * only, from `done` too; does not block. */
STRAIT_API int strait_process_submit(struct strait_process_pool *pool,
                                     const struct strait_process_task *task,
                                     const struct strait_process_submit_options *how,
                                     strait_task_id *id);

/* Cancels a task, whose completion comes with a later dispatch. 0: it had not started.
 * -EINPROGRESS: it ran, and its worker is being killed; if it was done just before that, it is
 * DONE. -EALREADY: cancelled or expired before; -ENOENT: it has ended. Parent only; does not
 * block. */
STRAIT_API int strait_process_cancel(struct strait_process_pool *pool, strait_task_id id);

/* Readable when strait_process_pool_dispatch has something to do: watch it level-triggered. Any
 * thread; does not block. */
STRAIT_API int strait_process_pool_fd(const struct strait_process_pool *pool);

/* Runs up to `budget` completions (0: STRAIT_BUDGET) and returns how many; replaces workers.
 * Statuses and codes are those of pool.h; a task that is killed has the code -ECANCELED or
 * -ETIMEDOUT, one whose worker died the code of the exit event. -EDEADLK from inside `done`. Parent
 * only; blocks only as strait_process_spawn does, for a worker that is replaced. */
STRAIT_API ptrdiff_t strait_process_pool_dispatch(struct strait_process_pool *pool, size_t budget);

/* How many completions are owed: of tasks submitted and not yet completed. Parent only. */
STRAIT_API size_t strait_process_pool_owed(const struct strait_process_pool *pool);

/* Dispatches until none is owed. 0; -ETIMEDOUT; -EDEADLK; -EOWNERDEAD. Parent only; blocks until
 * the deadline at most. */
STRAIT_API int strait_process_pool_drain(struct strait_process_pool *pool, int64_t deadline);

/* The process of worker n, from 0; 0, which kill(2) would take for the caller's group: there is
 * none now, or no such worker. Parent only. */
STRAIT_API int32_t strait_process_pool_pid(const struct strait_process_pool *pool, unsigned n);

/* Kills the workers, completes what is owed as ABANDONED, and frees the pool. 0; -EDEADLK from
 * inside `done`; -EOWNERDEAD. NULL is ignored. Parent only; blocks as strait_process_destroy. */
STRAIT_API int strait_process_pool_destroy(struct strait_process_pool *pool);

STRAIT_C_END

#endif /* STRAIT_PROCESS_H */
