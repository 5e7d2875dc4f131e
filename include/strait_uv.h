/* SPDX-License-Identifier: MIT */
/*
 * strait_uv: workers, pools and receivers on libuv loops. Optional, and no part of the library:
 * include this header, and link with libuv (1.39 or later); strait_uv_isolate_start needs the
 * extras besides. With -std=c11, uv.h itself wants _GNU_SOURCE.
 *
 *   strait_uv_worker_start     the parent's loop delivers a worker's events
 *   strait_uv_pool_start       the parent's loop runs a pool's completions
 *   strait_uv_receiver_start   any loop takes the messages of a channel or a port
 *   strait_uv_isolate_start    a worker's own loop takes the messages of its parent
 *
 * All four start a strait_uv_handle, which is to libuv what a uv_poll_t is:
 *   - Its memory is yours, and must stay where it is until its close callback.
 *   - It is active from its start until it ends or is closed; while it is active and referenced,
 *     uv_run goes on.
 *   - It ends by itself when nothing more can come: `ended` is called, `status` says why. It is
 *     inactive then, but as any handle it must be closed before the loop.
 *   - After strait_uv_close no callback is made but the close callback, in a later step of the
 *     loop. Closing is allowed in every callback, and loses nothing: what was not delivered can be
 *     dispatched by other means, or by another handle.
 *   - What it watches must live until strait_uv_close has been called.
 *   - Everything here is called on the thread of the loop, which is the thread that the worker or
 *     pool has for its parent, that receives, or that is the isolate's. Nothing blocks, but for
 *     what strait_uv_pool_shutdown says.
 *
 * A loop is never starved: `budget` messages, events or completions are delivered in one go, then
 * the loop runs its timers and its other handles, then come the next.
 *
 * A worker, from its spawn to its end, in a program that has no other thread to wait for it:
 *
 *   static void on_closed(struct strait_uv_handle *handle)
 *   {
 *       struct strait_worker *worker = handle->data;
 *       strait_worker_join(worker, STRAIT_FOREVER); // has ended, so that this does not wait
 *       strait_worker_destroy(worker);
 *   }
 *   static void on_ended(struct strait_uv_handle *handle) // after the exit event
 *   {
 *       strait_uv_close(handle, on_closed);
 *   }
 *   ...
 *   strait_worker_spawn(&worker, &options);
 *   handle.data = worker;
 *   strait_uv_worker_start(loop, &handle, worker, on_ended);
 *   uv_run(loop, UV_RUN_DEFAULT);
 */
#ifndef STRAIT_UV_H
#define STRAIT_UV_H

#include <stdlib.h>
#include <uv.h>

#include "strait.h"
#include "strait/extra/isolate.h"

STRAIT_C_BEGIN

struct strait_uv_handle;

/* Called on the loop's thread. */
typedef void strait_uv_fn(struct strait_uv_handle *handle) STRAIT_NOEXCEPT;

/* Takes one message of a receiver: a copy that is valid during the call. */
typedef void strait_uv_message_fn(struct strait_uv_handle *handle,
                                  const void *message) STRAIT_NOEXCEPT;

struct strait_uv_handle {
    void *data;    /* yours; no call here touches it */
    size_t budget; /* at least 1; each start sets it to STRAIT_BUDGET, change it then */
    int status;    /* once ended: see each start */
    /* private */
    int watched; /* for what the fd is polled */
    uv_poll_t poll;
    ptrdiff_t (*step)(struct strait_uv_handle *handle);
    struct strait_worker *worker;
    struct strait_pool *pool;
    struct strait_parent *parent;
    enum strait_close mode;
    bool shut; /* strait_uv_pool_shutdown was called */
    struct strait_receiver *receiver;
    strait_uv_message_fn *message;
    void *copy;                     /* of the message that is handed over; NULL: no receiver */
    struct strait_isolate *isolate; /* NULL: another kind */
    strait_message_fn *handle;
    void *context;
    uv_prepare_t falls_asleep; /* these two only run for an isolate */
    uv_check_t is_awake;
    bool asleep;
    int64_t asleep_since;
    uint64_t slept; /* by the loop, until then */
    unsigned open;  /* handles of libuv's that are not closed */
    strait_uv_fn *ended;
    strait_uv_fn *closed;
};

/* ---- what is alike for all ---- */

/* As uv_ref, uv_unref, uv_has_ref, uv_is_active and uv_is_closing. */
static inline void strait_uv_ref(struct strait_uv_handle *handle)
{
    uv_ref((uv_handle_t *)&handle->poll);
}

static inline void strait_uv_unref(struct strait_uv_handle *handle)
{
    uv_unref((uv_handle_t *)&handle->poll);
}

static inline bool strait_uv_has_ref(const struct strait_uv_handle *handle)
{
    return uv_has_ref((const uv_handle_t *)&handle->poll) != 0;
}

static inline bool strait_uv_is_active(const struct strait_uv_handle *handle)
{
    return uv_is_active((const uv_handle_t *)&handle->poll) != 0;
}

static inline bool strait_uv_is_closing(const struct strait_uv_handle *handle)
{
    return uv_is_closing((const uv_handle_t *)&handle->poll) != 0;
}

/* Private: the close callback of all that is libuv's. */
static inline void strait_uv_closed(uv_handle_t *part)
{
    struct strait_uv_handle *handle = (struct strait_uv_handle *)part->data;
    handle->open--;
    if (handle->open == 0) {
        free(handle->copy);
        if (handle->closed) {
            handle->closed(handle);
        }
    }
}

/* Private: the isolate's loop has slept, if it has, for as long as libuv says: other callbacks may
 * have run since. */
static inline void strait_uv_wake(struct strait_uv_handle *handle)
{
    if (handle->asleep) {
        uint64_t slept = uv_metrics_idle_time(handle->poll.loop) - handle->slept;
        handle->asleep = false;
        strait_isolate_woke(handle->isolate, handle->asleep_since + (int64_t)slept);
    }
}

/* Closes a handle that was started: it watches nothing from now on, and `closed` (NULL: nothing to
 * do) is called in a later step of the loop; its memory is yours again then. 0; -EALREADY: it is
 * closed or about to be, and `closed` will not be called. */
static inline int strait_uv_close(struct strait_uv_handle *handle, strait_uv_fn *closed)
{
    if (strait_uv_is_closing(handle)) {
        return -EALREADY;
    }
    handle->closed = closed;
    uv_close((uv_handle_t *)&handle->poll, strait_uv_closed);
    if (handle->isolate) {
        strait_uv_wake(handle);
        uv_close((uv_handle_t *)&handle->falls_asleep, strait_uv_closed);
        uv_close((uv_handle_t *)&handle->is_awake, strait_uv_closed);
    }
    return 0;
}

static inline void strait_uv_ready(uv_poll_t *poll, int status, int events);

/* Private: polls for that from now on. An eventfd can be written at all times: UV_WRITABLE asks for
 * a call in the next turn of the loop. */
static inline int strait_uv_watch(struct strait_uv_handle *handle, int events)
{
    if (events == handle->watched) {
        return 0;
    }
    handle->watched = events;
    return uv_poll_start(&handle->poll, events, strait_uv_ready);
}

/* Private: the fd is ready. One step delivers one thing, or less: more than 0 if it is to be called
 * again, 0 if not before the fd is readable, negative if never. One by one, since any of them may
 * close the handle. */
static inline void strait_uv_ready(uv_poll_t *poll, int status, int events)
{
    struct strait_uv_handle *handle = (struct strait_uv_handle *)poll->data;
    ptrdiff_t some = 1;
    (void)status; /* no error that epoll reports can happen to an eventfd */
    (void)events;
    strait_uv_wake(handle);
    for (size_t left = handle->budget; left > 0 && some > 0; left--) {
        some = handle->step(handle);
        if (strait_uv_is_closing(handle)) {
            return;
        }
    }
    if (some >= 0) {
        /* the last thing of all may have been the last of this turn, and leave the fd unreadable */
        strait_uv_watch(handle, some > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
        return;
    }
    uv_poll_stop(poll);
    if (handle->ended) {
        handle->ended(handle);
    }
}

/* Private: what every start does. Fails before the handle is libuv's, or not at all. */
static inline int strait_uv_start(uv_loop_t *loop, struct strait_uv_handle *handle, int fd,
                                  ptrdiff_t (*step)(struct strait_uv_handle *), strait_uv_fn *ended)
{
    if (fd < 0) {
        return fd;
    }
    int error = uv_poll_init(loop, &handle->poll, fd);
    if (error) {
        return error;
    }
    handle->poll.data = handle;
    handle->isolate = NULL;
    handle->copy = NULL;
    handle->asleep = false;
    handle->open = 1;
    handle->budget = STRAIT_BUDGET;
    handle->status = 0;
    handle->watched = 0;
    handle->step = step;
    handle->ended = ended;
    handle->closed = NULL;
    /* a worker whose exit was told already has no more to say than that it has ended */
    return strait_uv_watch(handle, UV_READABLE | UV_WRITABLE);
}

/* ---- a worker, seen by its parent ---- */

static inline ptrdiff_t strait_uv_worker_step(struct strait_uv_handle *handle)
{
    ptrdiff_t told = strait_worker_dispatch(handle->worker, 1);
    if (told < 0) {
        handle->status = told == -EPIPE ? 0 : (int)told;
    }
    return told;
}

/* Delivers the worker's events to its `event` callback. Ends after the exit event, with status 0
 * (-EINVAL if the worker has no `event`): `ended`, which may be NULL, is the place to close the
 * handle. The worker may be destroyed as soon as the handle is being closed, though not in an event
 * callback. An error leaves the handle unused: -EINVAL (the parent's receiver is not in fd mode),
 * -EEXIST (the loop watches the worker already), -ENOMEM, or another of uv_poll_init's. */
static inline int strait_uv_worker_start(uv_loop_t *loop, struct strait_uv_handle *handle,
                                         struct strait_worker *worker, strait_uv_fn *ended)
{
    handle->worker = worker;
    return strait_uv_start(loop, handle, strait_worker_fd(worker), strait_uv_worker_step, ended);
}

/* ---- a pool, seen by its parent ---- */

/* Closed, all tasks completed, all workers gone, or about to: the parent, too, is no longer needed.
 */
static inline bool strait_uv_pool_over(struct strait_uv_handle *handle)
{
    struct strait_pool_stats stats;
    if (!handle->shut || strait_parent_owed(handle->parent) > 0) {
        return false;
    }
    strait_pool_stats(handle->pool, &stats);
    if (stats.workers > 0) {
        return false; /* the last one that ends makes the fd readable */
    }
    handle->status = strait_pool_close(handle->pool, handle->mode, STRAIT_FOREVER, NULL);
    strait_parent_detach(handle->parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
    return true;
}

static inline ptrdiff_t strait_uv_pool_step(struct strait_uv_handle *handle)
{
    ptrdiff_t completed = strait_parent_dispatch(handle->parent, 1);
    return completed == 0 && strait_uv_pool_over(handle) ? -EPIPE : completed;
}

/* Runs the completions of one of a pool's parents. The handle is active until it is closed or the
 * pool is shut down, whether a task is under way or not: unreferenced it serves a loop that others
 * keep going. Ends after strait_uv_pool_shutdown alone. Errors as strait_uv_worker_start. */
static inline int strait_uv_pool_start(uv_loop_t *loop, struct strait_uv_handle *handle,
                                       struct strait_pool *pool, struct strait_parent *parent,
                                       strait_uv_fn *ended)
{
    handle->pool = pool;
    handle->parent = parent;
    handle->shut = false;
    return strait_uv_start(loop, handle, strait_parent_fd(parent), strait_uv_pool_step, ended);
}

/* Closes the pool by and by: from now on submits get -EPIPE; the completions
 * that are left run as always; then the handle ends, with status 0, and the parent is detached and
 * the pool closed: once its other parents are detached, too, it can be destroyed. May be called in
 * a completion, and again, to turn from drain to cancel. 0; -EALREADY: the handle has ended or is
 * closed; -EBUSY: another thread is closing or resizing the pool, try again; -EINVAL. Does not
 * block, and neither does what follows, but for the last join: of a thread that is about to end. */
static inline int strait_uv_pool_shutdown(struct strait_uv_handle *handle, enum strait_close mode)
{
    if (!strait_uv_is_active(handle) || strait_uv_is_closing(handle)) {
        return -EALREADY;
    }
    int error = strait_pool_close(handle->pool, mode, 0, NULL); /* makes the fd readable */
    if (error && error != -ETIMEDOUT) {
        return error;
    }
    handle->mode = mode;
    handle->shut = true;
    return 0;
}

/* ---- the receiver of a channel or a port ---- */

static inline ptrdiff_t strait_uv_receiver_step(struct strait_uv_handle *handle)
{
    ptrdiff_t received = strait_try_receive(handle->receiver, handle->copy, 1);
    if (received > 0) {
        handle->message(handle, handle->copy);
    } else if (received == -EAGAIN) {
        received = strait_receiver_arm(handle->receiver) == 0; /* 0: something has come meanwhile */
    }
    return received;
}

/* Takes the messages of a receiver in fd mode, such as &port->receiver. Ends, with status 0, when
 * the sending side is closed and all is taken, or the receiver is closed. In `message`, to receive
 * from it takes the next message; to close it is allowed, though not its port or channel: the
 * handle's close callback may close those. Errors as strait_uv_worker_start. */
static inline int strait_uv_receiver_start(uv_loop_t *loop, struct strait_uv_handle *handle,
                                           struct strait_receiver *receiver,
                                           strait_uv_message_fn *message, strait_uv_fn *ended)
{
    void *copy = malloc(strait_receiver_message_size(receiver) + 1);
    int error = copy ? strait_uv_start(loop, handle, strait_receiver_fd(receiver),
                                       strait_uv_receiver_step, ended)
                     : -ENOMEM;
    if (error) {
        free(copy);
        return error;
    }
    handle->receiver = receiver;
    handle->message = message;
    handle->copy = copy;
    return 0;
}

/* ---- a worker's own loop ---- */

static inline void strait_uv_isolate_sleeps(uv_prepare_t *falls_asleep)
{
    struct strait_uv_handle *handle = (struct strait_uv_handle *)falls_asleep->data;
    handle->asleep = true;
    handle->slept = uv_metrics_idle_time(falls_asleep->loop);
    strait_isolate_idle(handle->isolate, true);
    handle->asleep_since = strait_now(); /* not before that of the isolate */
}

static inline void strait_uv_isolate_awake(uv_check_t *is_awake)
{
    strait_uv_wake((struct strait_uv_handle *)is_awake->data);
}

/* Keeps account of the loop's idle time, and keeps no loop going. None of these calls can fail. */
static inline void strait_uv_isolate_account(uv_loop_t *loop, struct strait_uv_handle *handle)
{
    uv_loop_configure(loop, UV_METRICS_IDLE_TIME);
    uv_prepare_init(loop, &handle->falls_asleep);
    uv_check_init(loop, &handle->is_awake);
    handle->falls_asleep.data = handle;
    handle->is_awake.data = handle;
    handle->open = 3;
    uv_prepare_start(&handle->falls_asleep, strait_uv_isolate_sleeps);
    uv_check_start(&handle->is_awake, strait_uv_isolate_awake);
    uv_unref((uv_handle_t *)&handle->falls_asleep);
    uv_unref((uv_handle_t *)&handle->is_awake);
}

static inline ptrdiff_t strait_uv_isolate_step(struct strait_uv_handle *handle)
{
    ptrdiff_t handled =
        strait_isolate_dispatch(handle->isolate, handle->handle, handle->context, 1);
    if (handled == -EINTR) {
        handle->status = strait_isolate_result(handle->isolate);
    } else if (handled < 0) {
        handle->status = handled == -EPIPE ? 0 : (int)handled;
    }
    return handled;
}

/* In an isolate's entry, on a loop that the entry has made: what strait_isolate_run is without one.
 * The worker's options say to_worker.receiver = STRAIT_WAIT_FD. Each message is handled, then its
 * microtasks run. Ends when the parent has closed its sender and all is handled (status 0), when
 * the worker is asked to stop (-ECANCELED), or when a handler returns something else than 0 (that).
 *
 * The loop goes on for as long as it has other handles that are active: `ended` is where to close
 * them, and this one. Return `status` from the entry, and the exit event has the right reason. Your
 * other callbacks call strait_isolate_settle at their end if they have queued microtasks.
 *
 * Until the handle is closed, the time that the loop sleeps is idle time of the isolate (see
 * strait_isolate_usage); for that, UV_METRICS_IDLE_TIME is set for the loop. While a callback of
 * another handle runs that polled with this one, it looks idle from outside, until it has returned.
 * Errors as strait_uv_worker_start. */
static inline int strait_uv_isolate_start(uv_loop_t *loop, struct strait_uv_handle *handle,
                                          struct strait_isolate *isolate,
                                          strait_message_fn *message, void *context,
                                          strait_uv_fn *ended)
{
    int fd = strait_receiver_fd(&strait_isolate_port(isolate)->receiver);
    int error = strait_uv_start(loop, handle, fd, strait_uv_isolate_step, ended);
    if (error) {
        return error;
    }
    handle->isolate = isolate;
    handle->handle = message;
    handle->context = context;
    strait_uv_isolate_account(loop, handle);
    return 0;
}

STRAIT_C_END

#endif /* STRAIT_UV_H */
