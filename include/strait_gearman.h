/* SPDX-License-Identifier: MIT */
/*
 * strait_gearman: tasks for pools on other machines, through Gearman's job server (gearmand).
 *
 * Optional: this header, src/strait_gearman.c and the core; no other library. A server that one
 * machine cannot carry submits here instead of to a pool; each machine that helps runs a program
 * that hands its pool to strait_gearman_serve. Job servers stand between the two, and more than one
 * may: who loses one goes on with the next.
 *
 * How to use the submitting side
 *
 *   1. strait_gearman_create(&remote, &(struct strait_gearman_options){.servers = "10.0.0.1"});
 *      the thread that calls it is the remote's one parent.
 *   2. strait_gearman_submit: the task's `name` says which function. 64 bytes travel in `data`, up
 *      to payload_max more in `payload`, both ways.
 *   3. Watch strait_gearman_fd in an event loop, and call strait_gearman_dispatch when it is
 *      readable: it runs `done` of what has completed. Statuses are those of pool.h.
 *   4. strait_gearman_drain, if all is to be done; then strait_gearman_destroy.
 *
 * How to use a machine that works
 *
 *   1. Name its functions in a table, as process.h has it, and create a pool.
 *   2. strait_gearman_serve(pool, functions, &options): the thread is the host of that pool. It
 *      returns 0 after SIGTERM or SIGINT, once all that it had taken is answered.
 *
 * Promises
 *   - Each task completes exactly once at the parent that submitted it, whatever dies in between.
 *   - It may run more than once: a job server hands what a dead machine had to another one, and
 *     the parent submits again what a dead job server had. The first answer counts. A task with
 *     effects makes itself idempotent by strait_gearman_key, the same in each of its runs.
 *   - A task that is lost is not: it stays owed until it is answered, is cancelled, or expires.
 *     Give it a finish_by if it must not wait for ever for machines that do not come back.
 *   - The remaining time to finish_by travels with the task; the clocks of two machines are never
 *     compared.
 *   - No thread is started. No call of the submitting side blocks but create, where it resolves
 *     names, and drain.
 *
 * Trust. Gearman has neither passwords nor encryption: whoever reaches a job server can submit,
 * work and cancel. Keep it to a network of your own. A malformed or hostile job is answered as
 * failed; it cannot hurt a host, nor a server's packet a parent, but a function must check what it
 * gets.
 *
 * fork. In a fork's child strait_gearman_drain and strait_gearman_destroy of an inherited remote
 * say -EOWNERDEAD at once, and all else of it must be left alone.
 *
 * All times are nanoseconds, all deadlines absolute (strait_deadline); 0 is past.
 */
#ifndef STRAIT_GEARMAN_H
#define STRAIT_GEARMAN_H

#include "strait/extra/process.h"
#include "strait/pool.h"

STRAIT_C_BEGIN

struct strait_gearman;

#define STRAIT_GEARMAN_PORT "4730"
#define STRAIT_GEARMAN_SERVERS_MAX 16u
#define STRAIT_GEARMAN_PAYLOAD_MAX (1u << 26) /* 64 MiB */

/* ---- submitting ---- */

struct strait_gearman_options {
    size_t size;         /* sizeof this struct, or 0 */
    const char *servers; /* "host", "host:port", "[v6]:port", separated by commas, the best first;
                            NULL: "127.0.0.1" */
    size_t owed_max;     /* tasks submitted and not yet completed, up to 2^20; 0: 1024 */
    size_t payload_max;  /* bytes, both ways; 0: no payload */
};

enum strait_gearman_priority {
    STRAIT_GEARMAN_NORMAL = 0,
    STRAIT_GEARMAN_HIGH, /* before all normal ones */
    STRAIT_GEARMAN_LOW,  /* behind them */
};

struct strait_gearman_submit_options {
    size_t size; /* sizeof this struct, or 0 */
    enum strait_gearman_priority priority;
    int64_t finish_by; /* then the task expires; if it runs at that time, strait_process_cancelled
                          says so on its host; 0: never */
};

/* Resolves the servers' names and begins to connect; that none can be reached is no error, as one
 * may come. -EINVAL (options, a server's name or port); -ENOENT: no address for a server; -ENOMEM,
 * -EMFILE, -ENFILE. Any thread, which becomes the parent; blocks while names are resolved. The C
 * library's resolver may need more than the smallest stack of a worker: 32 KiB do. */
STRAIT_API int strait_gearman_create(struct strait_gearman **remote,
                                     const struct strait_gearman_options *options);

/* Submits a copy of the task and its payload; *id (if not NULL) names it. `how` may be NULL. While
 * no server can be reached tasks wait here. -EAGAIN: owed_max are owed, or the job server has
 * refused a task, as a queue is full, which is tried again, and has neither taken nor completed one
 * since; -EINVAL: no name, or one that is longer than STRAIT_PROCESS_NAME allows; a bad option;
 * -ENOSPC: the payload is larger than payload_max; -ENOMEM; -EPIPE: the remote is being destroyed.
 * Parent only, from `done` too; does not block. */
STRAIT_API int strait_gearman_submit(struct strait_gearman *remote,
                                     const struct strait_process_task *task,
                                     const struct strait_gearman_submit_options *how,
                                     strait_task_id *id);

/* Cancels a task: a later dispatch completes it as CANCELLED, and what its host answers is dropped.
 * 0: it was not begun, as far as is known here; -EINPROGRESS: it is at a job server, which is asked
 * to forget it, but a host may run it to its end; -EALREADY: cancelled or expired before; -ENOENT:
 * it has ended. Parent only; does not block. */
STRAIT_API int strait_gearman_cancel(struct strait_gearman *remote, strait_task_id id);

/* Readable when strait_gearman_dispatch has something to do: watch it level-triggered. Any thread;
 * does not block. */
STRAIT_API int strait_gearman_fd(const struct strait_gearman *remote);

/* Reads and writes what can be, runs up to `budget` completions (0: STRAIT_BUDGET) and returns how
 * many. A task that has FAILED without an answer has the code -EIO: the job server gave it up;
 * -EPROTO: its host is of another version, or its answer was none; -ENOMEM: there is no memory for
 * the answer; -ENOENT, -ENOSPC: as in a pool of processes. Leaves the fd readable if the budget
 * ended it. -EDEADLK from inside `done`. Parent only; does not block. */
STRAIT_API ptrdiff_t strait_gearman_dispatch(struct strait_gearman *remote, size_t budget);

/* How many completions are owed. Parent only; does not block. */
STRAIT_API size_t strait_gearman_owed(const struct strait_gearman *remote);

/* Dispatches until none is owed. 0; -ETIMEDOUT; -EDEADLK; -EOWNERDEAD. Parent only; blocks until
 * the deadline at most. */
STRAIT_API int strait_gearman_drain(struct strait_gearman *remote, int64_t deadline);

struct strait_gearman_stats {
    uint64_t submitted; /* since create, as the following four */
    uint64_t completed;
    uint64_t again;       /* times that a task was given to a job server after the first */
    uint64_t connections; /* made */
    uint64_t dropped;     /* answers to tasks that had ended, or that were none */
    uint64_t owed;        /* now */
    const char *server;   /* as in `servers`: the one in use; NULL: none; valid until destroy */
};

/* Parent only; does not block. */
STRAIT_API void strait_gearman_stats(const struct strait_gearman *remote,
                                     struct strait_gearman_stats *stats);

/* Completes what is owed as ABANDONED, and frees the remote. 0; -EDEADLK from inside `done`;
 * -EOWNERDEAD. NULL is ignored. Parent only; does not block. */
STRAIT_API int strait_gearman_destroy(struct strait_gearman *remote);

/* ---- working ---- */

struct strait_gearman_serve_options {
    size_t size;         /* sizeof this struct, or 0 */
    const char *servers; /* as of the submitting side; the host works for all of them at once */
    unsigned in_flight;  /* jobs taken and not yet answered, as many as the pool's queue holds at
                            most; 0: one for each worker that the pool has at first, and as many
                            more as they do in a millisecond, 2 to 64, so that a worker that is done
                            finds the next one here */
    size_t payload_max;  /* bytes, both ways; a job with more is answered as failed; 0: none */
    int stop_fd;         /* drains once it is readable; 0: SIGTERM and SIGINT, which the call
                            blocks in its thread meanwhile: other threads must block them, too */
};

/* Takes jobs from job servers, runs them on the pool, and answers. Functions are those of the table
 * that have a `run`; while the call runs, nobody else need be a parent of the pool. A server that
 * cannot be reached is tried again, each second at last. 0: asked to stop, and all that was taken
 * is answered; -EINVAL; -ENOENT: no address for a server; -ENOMEM, -EMFILE, -ENFILE; -EPIPE: the
 * pool was closed, and what was taken is given back to the servers. Any thread that is no worker of
 * the pool's; blocks until it is asked to stop. */
STRAIT_API int strait_gearman_serve(struct strait_pool *pool,
                                    const struct strait_process_function *functions,
                                    const struct strait_gearman_serve_options *options);

/* In a function that strait_gearman_serve runs: what names its task among all of all parents, the
 * same in each of its runs: 40 hexadecimal digits. NULL for other tasks. Does not block. */
STRAIT_API const char *strait_gearman_key(const struct strait_task *task);

STRAIT_C_END

#endif /* STRAIT_GEARMAN_H */
