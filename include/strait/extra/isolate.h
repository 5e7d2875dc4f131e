/* SPDX-License-Identifier: MIT */
/*
 * isolate: all that belongs to one worker alone: its heap with a limit, its microtask queue, its
 * timers, its message loop, its start-up data and its port to the parent.
 *
 * Every call here is for the isolate's own worker thread only, except strait_isolate_current and
 * strait_isolate_stopping, and none blocks but strait_isolate_run. A STRAIT_CHECKED build ends the
 * program where another thread uses an isolate, and says which.
 */
#ifndef STRAIT_ISOLATE_H
#define STRAIT_ISOLATE_H

#include "strait/port.h"

#ifdef __cplusplus
extern "C" {
#endif

struct strait_isolate;

/* The calling worker's isolate; NULL on a thread that strait did not spawn. */
STRAIT_API struct strait_isolate *strait_isolate_current(void);

/* The port to the parent. */
STRAIT_API struct strait_port *strait_isolate_port(struct strait_isolate *isolate);

/* The start-up data: the isolate's copy if the options gave a data_size, the pointer itself if not.
 */
STRAIT_API void *strait_isolate_data(struct strait_isolate *isolate);

/* Has the parent asked the worker to stop? For long computations; costs one load. Any thread that
 * works for the worker, until it has ended. */
STRAIT_API bool strait_isolate_stopping(const struct strait_isolate *isolate);

/* ---- heap: freed as a whole when the worker exits, so that nothing in it can leak ----
 *
 * The first time that the limit refuses something, the parent gets a STRAIT_HEAP_LIMIT event. The
 * worker goes on.
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

typedef void strait_microtask_fn(struct strait_isolate *isolate, void *argument);

/* Queues a call to be made when the running handler (or timer, task or microtask) has returned,
 * before the next message is taken. Microtasks run in order, until none is left; what they queue
 * runs in the same round. If the worker's options give a microtask_limit, a round ends after as
 * many: the rest runs, first, in the round after the next message or timer, or at once if there is
 * nothing else to do. -ENOMEM: the heap's limit. */
STRAIT_API int strait_microtask(struct strait_isolate *isolate, strait_microtask_fn *run,
                                void *argument);

/* Runs a round of microtasks: for the callbacks of a loop of the worker's own, after each that may
 * have queued some. 0; 1: microtask_limit left some; -EDEADLK: from inside a handler, timer or
 * microtask. */
STRAIT_API int strait_isolate_settle(struct strait_isolate *isolate);

/* ---- timers: run by strait_isolate_run ---- */

struct strait_timer;

/* Called when the timer is due. It may start and stop any timer, and free its own, stopped. */
typedef void strait_timer_fn(struct strait_isolate *isolate, struct strait_timer *timer);

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

/* ---- messages ---- */

/* Handles one message. It lies in the channel: copy what you keep. Not 0: ends the loop. While the
 * loop runs, the port's receiver is the loop's: to receive from it says -EDEADLK, to close it ends
 * the loop. */
typedef int strait_message_fn(struct strait_isolate *isolate, const void *message, void *context);

/* How many messages or events are handled in one go where no other number is given. */
#define STRAIT_BUDGET 256

/* The isolate's loop: takes a message, handles it, runs the microtasks, and again; after `budget`
 * messages (an option of the worker's; STRAIT_BUDGET), or when there are none, it runs the timers
 * that are due; sleeps when there is nothing to do. Returns 0 when the parent has closed its sender
 * and all is handled, -ECANCELED when the worker was asked to stop, what a handler returned if it
 * was not 0, -EDEADLK if called from a handler, a timer or a microtask. Timers that are armed then
 * are not waited for; another strait_isolate_run would go on with them. */
STRAIT_API int strait_isolate_run(struct strait_isolate *isolate, strait_message_fn *handle,
                                  void *context);

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

/* What the last handler returned that was not 0, called by strait_isolate_dispatch; 0: none. */
STRAIT_API int strait_isolate_result(const struct strait_isolate *isolate);

/* For a loop of the worker's own, too: it is about to sleep (true), it has woken up (false). What
 * lies between is idle time, see strait_worker_usage. Costs a reading of the clock. */
STRAIT_API void strait_isolate_idle(struct strait_isolate *isolate, bool idle);

/* As strait_isolate_idle(isolate, false), for a loop that is told only later when it woke up: at
 * `time`, on CLOCK_MONOTONIC in nanoseconds, not before it fell asleep. Without effect if it has
 * woken up already. */
STRAIT_API void strait_isolate_woke(struct strait_isolate *isolate, int64_t time);

/* Says what went wrong, for the error event that the parent sees before the worker's exit. The
 * first call counts. `text` must outlive the worker (a literal, say) or be NULL. */
STRAIT_API void strait_isolate_fail(struct strait_isolate *isolate, int code, const char *text);

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_ISOLATE_H */
