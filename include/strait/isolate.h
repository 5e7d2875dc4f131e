/* SPDX-License-Identifier: MIT */
/*
 * isolate: all that belongs to one worker alone: its heap with a limit, its microtask queue, its
 * message loop, its start-up data and its port to the parent.
 *
 * Every call here is for the isolate's own worker thread only, except strait_isolate_current.
 * A STRAIT_CHECKED build ends the program where another thread uses an isolate, and says which.
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

/* Has the parent asked the worker to stop? For long computations; costs one load. */
STRAIT_API bool strait_isolate_stopping(const struct strait_isolate *isolate);

/* ---- heap: freed as a whole when the worker exits, so that nothing in it can leak ---- */

/* `bytes` of memory aligned for anything, NULL past the heap's limit or for 0 bytes. */
STRAIT_API void *strait_heap_alloc(struct strait_isolate *isolate, size_t bytes);

/* Changes an allocation's size, moving it if need be. NULL and the old one untouched past the
 * limit. A NULL `memory` allocates, 0 bytes free. */
STRAIT_API void *strait_heap_resize(struct strait_isolate *isolate, void *memory, size_t bytes);

/* Gives one allocation back. NULL is ignored. */
STRAIT_API void strait_heap_free(struct strait_isolate *isolate, void *memory);

/* Bytes that live allocations hold, each with its header: what the limit counts. */
STRAIT_API size_t strait_heap_used(const struct strait_isolate *isolate);

/* ---- microtasks ---- */

typedef void strait_microtask_fn(struct strait_isolate *isolate, void *argument);

/* Queues a call to be made when the running handler (or task, or microtask) has returned, before
 * the next message is taken. Microtasks run in order, until none is left; they may queue more.
 * -ENOMEM: the heap's limit. */
STRAIT_API int strait_microtask(struct strait_isolate *isolate, strait_microtask_fn *run,
                                void *argument);

/* ---- messages ---- */

/* Handles one message. It lies in the channel: copy what you keep. Not 0: ends the loop. While the
 * loop runs, the port's receiver is the loop's: to receive from it says -EDEADLK, to close it ends
 * the loop. */
typedef int strait_message_fn(struct strait_isolate *isolate, const void *message, void *context);

/* The isolate's loop: takes a message, handles it, runs the microtasks, and again; sleeps when
 * there is nothing to do. Returns 0 when the parent has closed its sender and all is handled,
 * -ECANCELED when the worker was asked to stop, what a handler returned if it was not 0, -EDEADLK
 * if called from a handler or a microtask. */
STRAIT_API int strait_isolate_run(struct strait_isolate *isolate, strait_message_fn *handle,
                                  void *context);

/* Says what went wrong, for the error event that the parent sees before the worker's exit. The
 * first call counts. `text` must outlive the worker (a literal, say) or be NULL. */
STRAIT_API void strait_isolate_fail(struct strait_isolate *isolate, int code, const char *text);

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_ISOLATE_H */
