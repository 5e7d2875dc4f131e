/* SPDX-License-Identifier: MIT */
/*
 * isolate: what Node gives a worker: a heap with a limit, microtasks, timers, a message loop.
 *
 * How to use it
 *   1. strait_isolate_create, with a message handler, or with an entry that calls
 *      strait_isolate_run or a loop of its own.
 *   2. Spawn a worker whose entry is strait_isolate_main and whose data is the isolate.
 *   3. Look at strait_isolate_usage, if you like, from any thread, while the worker runs and after.
 *   4. strait_worker_join, strait_worker_destroy, then strait_isolate_destroy.
 *
 *   struct strait_isolate_options inner = {.message = on_message, .heap_limit = 1 << 20};
 *   strait_isolate_create(&isolate, &inner);                                               // 1
 *   struct strait_worker_options options = {.entry = strait_isolate_main, .data = isolate};
 *   strait_worker_spawn(&worker, &options);                                                // 2
 *   strait_sender_close(&strait_worker_port(worker)->sender); // lets the message loop end
 *   strait_worker_join(worker, STRAIT_FOREVER);                                            // 4
 *   strait_worker_destroy(worker);
 *   strait_isolate_destroy(isolate);
 *
 * An entry of yours may call strait_isolate_main itself: it runs the isolate on the calling thread
 * and returns when that is done. A thread that is no worker may do so, with any port.
 *
 * Who may call what at the same time, of one isolate (x: the caller excludes the two; -: needs no
 * care)
 *
 *                                the isolate's thread | usage | destroy
 *   main, and all calls in it    one thread alone     | -     | x
 *   usage                        -                    | -     | x
 *
 * "In it" are all calls with an isolate but create, usage and destroy: they are for the thread that
 * runs strait_isolate_main, until that returns, and none blocks but strait_isolate_run. A
 * STRAIT_CHECKED build ends the program where another thread uses an isolate, and says which.
 */
#ifndef STRAIT_ISOLATE_H
#define STRAIT_ISOLATE_H

#include "strait/worker.h"

STRAIT_C_BEGIN

struct strait_isolate;

/* Handles one message, a copy that is valid during the call. It may receive the next ones by
 * itself, or close the port, but not give it away. Not 0: ends the loop. */
typedef int strait_message_fn(struct strait_isolate *isolate, const void *message,
                              void *context) STRAIT_NOEXCEPT;

/* What an isolate runs; its result is that of strait_isolate_main. */
typedef int strait_isolate_fn(struct strait_isolate *isolate) STRAIT_NOEXCEPT;

struct strait_isolate_options {
    size_t size;                /* sizeof this struct, or 0 */
    strait_isolate_fn *entry;   /* NULL: strait_isolate_run with `message` and `context` */
    strait_message_fn *message; /* NULL: there is an entry */
    void *context;              /* passed to `message` */
    void *data;                 /* start-up data: see strait_isolate_data */
    size_t heap_limit;          /* bytes; 0: none */
    size_t budget;              /* messages between two looks at the timers; 0: STRAIT_BUDGET */
    size_t microtask_limit;     /* microtasks in one round; 0: until none is left */
};

/* ---- its life ---- */

/* -EINVAL: options; -ENOMEM. Any thread; does not block. */
STRAIT_API int strait_isolate_create(struct strait_isolate **isolate,
                                     const struct strait_isolate_options *options);

/* A strait_entry_fn whose data is the isolate: makes it the calling thread's, with `port` for its
 * port, runs its entry or its message loop, then the microtasks that are left (unless the worker is
 * to stop), frees its heap, and returns what the entry or the loop returned. If the entry ends its
 * thread, the heap is freed all the same. Once for each isolate: -EINVAL if it has run or runs, or
 * if the thread runs another. -ENOMEM. Blocks as the entry or the loop does. */
STRAIT_API int strait_isolate_main(struct strait_port *port, void *isolate) STRAIT_NOEXCEPT;

/* Frees an isolate that does not run. NULL is ignored. Any thread; does not block. */
STRAIT_API void strait_isolate_destroy(struct strait_isolate *isolate);

/* The calling thread's isolate; NULL on a thread that runs none. Any thread. */
STRAIT_API struct strait_isolate *strait_isolate_current(void);

/* The port that strait_isolate_main was given: of a worker, the one to its parent. */
STRAIT_API struct strait_port *strait_isolate_port(struct strait_isolate *isolate);

/* The start-up data of its options. */
STRAIT_API void *strait_isolate_data(struct strait_isolate *isolate);

/* ---- messages ---- */

/* The isolate's loop: takes a message, handles it, runs the microtasks, and again; after `budget`
 * messages (an option), or when there are none, it runs the timers that are due; sleeps when there
 * is nothing to do. Returns 0 when the parent has closed its sender and all is handled, -ECANCELED
 * when the worker was asked to stop, what a handler returned if it was not 0, -EDEADLK if called
 * from a handler, a timer or a microtask. Timers that are armed then are not waited for; another
 * strait_isolate_run would go on with them. */
STRAIT_API int strait_isolate_run(struct strait_isolate *isolate, strait_message_fn *handle,
                                  void *context);

/* ---- heap: freed as a whole at the end, so that nothing in it can leak ----
 *
 * The first time that the limit refuses something, the parent is warned (strait_worker_warn, code
 * -ENOMEM). The worker goes on.
 */

/* `bytes` of memory aligned for anything, NULL past the heap's limit or for 0 bytes. */
STRAIT_API void *strait_heap_alloc(struct strait_isolate *isolate, size_t bytes);

/* Changes an allocation's size, moving it if need be. NULL and the old one untouched past the
 * limit, which making it smaller never is. A NULL `memory` allocates, 0 bytes free. */
STRAIT_API void *strait_heap_resize(struct strait_isolate *isolate, void *memory, size_t bytes);

/* Gives one allocation back. NULL is ignored. */
STRAIT_API void strait_heap_free(struct strait_isolate *isolate, void *memory);

/* What the limit counts: the bytes of live allocations, each with its header. */
STRAIT_API size_t strait_heap_used(struct strait_isolate *isolate);

/* ---- microtasks ---- */

typedef void strait_microtask_fn(struct strait_isolate *isolate, void *argument) STRAIT_NOEXCEPT;

/* Queues a call to be made when the running handler (or timer or microtask) has returned, before
 * the next message is taken. Microtasks run in order, until none is left; what they queue runs in
 * the same round. If the options give a microtask_limit, a round ends after as many: the rest runs,
 * first, in the round after the next message or timer, or at once if there is nothing else to do.
 * -ENOMEM: the heap's limit. */
STRAIT_API int strait_microtask(struct strait_isolate *isolate, strait_microtask_fn *run,
                                void *argument);

/* ---- timers: run by strait_isolate_run ---- */

struct strait_timer;

/* Called when the timer is due. It may start and stop any timer, and free its own, stopped. */
typedef void strait_timer_fn(struct strait_isolate *isolate,
                             struct strait_timer *timer) STRAIT_NOEXCEPT;

/* The caller's memory, which must stay where it is while the timer is armed. Zero it, and set the
 * first two fields. */
struct strait_timer {
    strait_timer_fn *run;
    void *argument; /* yours */
    /* private, but `armed` may be read: will the timer be called? */
    int64_t due;
    int64_t period;
    uint64_t order;
    struct strait_timer *child;
    struct strait_timer *next;
    struct strait_timer *previous;
    bool armed;
};

/* Arms a timer, anew if it is armed. `due` is a time on CLOCK_MONOTONIC in nanoseconds, in the past
 * if you like; strait_deadline(ns) makes one from now on. `period` is 0 for a single call, or the
 * nanoseconds from one call to the next: these stay on the grid that begins at `due`, however late
 * one is made, and those that a busy worker has missed by a whole period are left out.
 *
 * The loop looks at its timers after every `budget` messages and whenever it finds none: then all
 * that are due run, the first due first, and of the same time the first started first (a repeating
 * one starts anew with each call); after each its microtasks. One that is started meanwhile waits
 * for the next look, even if it is due. -EINVAL: no `run`, or a negative period. Allocates nothing.
 */
STRAIT_API int strait_timer_start(struct strait_isolate *isolate, struct strait_timer *timer,
                                  int64_t due, int64_t period);

/* Disarms a timer: it is not called any more. One that is not armed is ignored. */
STRAIT_API void strait_timer_stop(struct strait_isolate *isolate, struct strait_timer *timer);

/* ---- usage ---- */

/* What an isolate has done so far. The time since its main began is idle or active. */
struct strait_usage {
    int64_t online_ns;   /* until now, or its end */
    int64_t idle_ns;     /* of it: waiting, in its loop or in a blocking call of this library */
    uint64_t messages;   /* handled by its loop or strait_isolate_dispatch */
    uint64_t microtasks; /* run; brought up to date after each round */
    uint64_t timers;     /* run */
    size_t heap_used;    /* bytes, as strait_heap_used has it */
    size_t heap_highest; /* the most that it was */
};

/* Fills in what the isolate has done so far, without disturbing it, whatever it is at. A wait that
 * goes on counts as idle until now, one that has ended until the worker last read the clock in it:
 * some half a microsecond before the end where it spun, in spin mode a few. So much of each wait
 * counts as active, and idle_ns can be that much less than it was a moment ago; it is never more
 * than online_ns. All zero before its main. Any thread, until the isolate is destroyed; does not
 * block. */
STRAIT_API void strait_isolate_usage(const struct strait_isolate *isolate,
                                     struct strait_usage *usage);

/* ---- advanced: a loop of the worker's own ---- */

/* For a worker with a loop of its own, which watches strait_receiver_fd of the isolate's port (its
 * to_worker.receiver is STRAIT_WAIT_FD), level-triggered: runs the microtasks that were left, then
 * handles up to `budget` messages (0: as many as the loop above), each followed by its microtasks,
 * and arms the fd when there are no more. How many; or, and the fd is of no use any more:
 *   -EPIPE      the parent has closed its sender and all is handled
 *   -ECANCELED  the worker was asked to stop, which makes the fd readable
 * or:
 *   -EINTR      a handler returned something else than 0: see strait_isolate_result. Dispatch again
 *               to go on with the next message.
 *   -EDEADLK    from inside a handler, a timer or a microtask
 * Runs no timers: that loop has its own. */
STRAIT_API ptrdiff_t strait_isolate_dispatch(struct strait_isolate *isolate,
                                             strait_message_fn *handle, void *context,
                                             size_t budget);

/* What the last handler has returned that the loop or strait_isolate_dispatch called; 0: none. */
STRAIT_API int strait_isolate_result(const struct strait_isolate *isolate);

/* Runs a round of microtasks: for the other callbacks of that loop, after each that may have queued
 * some. 0; 1: microtask_limit left some; -EDEADLK: from inside a handler, timer or microtask. */
STRAIT_API int strait_isolate_settle(struct strait_isolate *isolate);

/* That loop is about to sleep (true), it has woken up (false). What lies between is idle time, see
 * strait_isolate_usage. Costs a reading of the clock. */
STRAIT_API void strait_isolate_idle(struct strait_isolate *isolate, bool idle);

/* As strait_isolate_idle(isolate, false), for a loop that is told only later when it woke up: at
 * `time`, on CLOCK_MONOTONIC in nanoseconds, not before it fell asleep. Without effect if it has
 * woken up already. */
STRAIT_API void strait_isolate_woke(struct strait_isolate *isolate, int64_t time);

STRAIT_C_END

#endif /* STRAIT_ISOLATE_H */
