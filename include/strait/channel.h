/* SPDX-License-Identifier: MIT */
/*
 * channel: a bounded one-way queue of fixed-size messages with one receiver.
 *
 * A channel is one block of memory: a ring of some variant (spsc, lanes, cells), and for each side
 * a signal, by which the other side learns that it sleeps or has closed. The block holds no
 * pointer, so it works in memory of the caller's and in memory shared between processes. What
 * belongs to one side alone lives in that side's handle: strait_sender, strait_receiver.
 *
 *   variant   senders                     capacity
 *   "spsc"    one                         of the channel    the fastest
 *   "lanes"   `senders`, each registered  of each sender    no sender can hold up another
 *   "cells"   any thread, one handle      of the channel    a stopped sender holds up later
 * messages
 *
 * Promises
 *   - Capacity is exact: opened for n, it holds n, for every n from 1 to STRAIT_CAPACITY_MAX.
 *   - FIFO per sender. What a sender wrote before a send is visible after that receive.
 *   - A message accepted is received exactly once, or given exactly once to the drop callback of
 *     strait_channel_destroy. A message refused stays the caller's.
 *   - Full or empty (-EAGAIN), closed (-EPIPE), timed out (-ETIMEDOUT) and cancelled (-ECANCELED)
 *     are different answers. errno is never touched.
 *   - Nobody who waits burns CPU unless its mode is STRAIT_WAIT_SPIN.
 *
 * Who may call what at the same time: through one handle, one thread; a sender handle of "cells"
 * may be used by any number of threads. Handles of different sides or senders never exclude each
 * other. To move a handle to another thread, see strait_sender_give.
 */
#ifndef STRAIT_CHANNEL_H
#define STRAIT_CHANNEL_H

#include "strait/ring.h"
#include "strait/wait.h"

#ifdef __cplusplus
extern "C" {
#endif

struct strait_channel_options {
    size_t size;               /* sizeof this struct, or 0 */
    const char *variant;       /* a name from the table; NULL: "spsc" */
    size_t capacity;           /* messages; 0: 1024 */
    size_t message_size;       /* bytes; 0: sizeof(void *) */
    uint32_t senders;          /* lanes: how many may be open at once; 0: 16; else 0 or 1 */
    enum strait_wait sender;   /* how senders wait for room; fd mode serves one thread at a time */
    enum strait_wait receiver; /* how the receiver waits for messages */
    uint32_t shared;           /* 1: the block will be mapped by several processes; no fd mode */
};

/* ---- the block; its fields are nobody's business but this file's and channel.c's ---- */

struct strait_channel {
    /* line 0: set once, by init */
    STRAIT_LINE_ALIGNED uint32_t magic;
    uint32_t variant; /* index in the table */
    uint32_t capacity;
    uint32_t message_size;
    uint32_t senders;
    uint32_t shared;
    uint32_t fenced; /* senders and receivers pay for the sleepers' order with a fence */
    uint32_t sender_wait;
    uint32_t receiver_wait;
    int32_t sender_fd; /* -1: none */
    int32_t receiver_fd;
    uint32_t allocated; /* by strait_channel_create */
    /* line 1: receiver writes when it goes to sleep and when it closes, senders when they wake it;
     * senders read it at each send */
    STRAIT_LINE_ALIGNED struct strait_signal receiver;
    /* line 2: senders write when they go to sleep and when the last one closes, the receiver when
     * it wakes them; the receiver reads it at each receive */
    STRAIT_LINE_ALIGNED struct strait_signal sender;
    uint32_t open_senders; /* senders write, when they open and close */
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_channel, magic) == 0 * STRAIT_LINE, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_channel, receiver) == 1 * STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(offsetof(struct strait_channel, sender) == 2 * STRAIT_LINE, "line 2");
STRAIT_STATIC_ASSERT(sizeof(struct strait_channel) == 3 * STRAIT_LINE, "the ring follows line 2");

static inline void *strait_channel_ring(struct strait_channel *channel)
{
    return channel + 1;
}

/* Which thread is at either end, 0: none; private. */
struct strait_threads {
    uint32_t sender;
    uint32_t receiver;
};

/* What both kinds of handle hold; private. */
struct strait_handle {
    struct strait_channel *channel;
    const struct strait_variant *variant;
    const uint32_t *cancel; /* a flag that ends every wait, or NULL */
    uint32_t fenced;
    uint32_t spin_ns; /* how long to spin before sleeping: adapts to what it brought */
    int32_t owner;    /* STRAIT_CHECKED: the thread that uses the handle; 0: the first that does;
                         -t: given away by t */
    struct strait_threads *threads; /* of a port's channel; NULL: not known */
};

/* A sending side's handle. It holds no pointer into itself: it may be moved, as by sending it in a
 * message, while no call uses it. Of two copies, one is to be used. */
struct strait_sender {
    struct strait_handle handle;
    void *end;
    struct strait_spsc *direct; /* the same where it is inlined, for it is one and not fenced */
};

/* The receiving side's handle. */
struct strait_receiver {
    struct strait_handle handle;
    void *ring;
    struct strait_spsc *direct; /* likewise */
};

/* ---- open and close: cold calls, 0 or -errno ---- */

/* The bytes that a block for these options needs; NULL means the defaults.
 * -EINVAL: a number out of range, an unknown variant, or an unknown non-zero tail of the options.
 */
STRAIT_API int strait_channel_size(const struct strait_channel_options *options, size_t *size);

/* Makes a channel in `size` bytes of the caller's, aligned to STRAIT_LINE, which must live until
 * strait_channel_destroy. *channel is the memory itself.
 * -EINVAL: options as above, misaligned memory, fd mode in a shared block; -ENOSPC: `size` is too
 * small; -EMFILE, -ENFILE, -ENOMEM: no eventfd to be had. */
STRAIT_API int strait_channel_init(struct strait_channel **channel, void *memory, size_t size,
                                   const struct strait_channel_options *options);

/* The same in memory of its own. -ENOMEM besides. */
STRAIT_API int strait_channel_create(struct strait_channel **channel,
                                     const struct strait_channel_options *options);

/* For another process that has mapped a shared block: checks it. -EINVAL: not a channel. */
STRAIT_API int strait_channel_open(struct strait_channel **channel, void *memory, size_t size);

/* What to do with a message that nobody received. `message` is gone after the call. */
typedef void strait_drop_fn(void *message, void *context);

/* Ends a channel that no thread uses any more: calls `drop` (NULL: nothing to do) once for each
 * message left, closes the eventfds, frees the block if strait_channel_create made it. Handles
 * still open are void. -EPIPE does not say that the other thread is done with the block: join it,
 * or synchronise with it, before. Does not block. NULL is ignored. */
STRAIT_API void strait_channel_destroy(struct strait_channel *channel, strait_drop_fn *drop,
                                       void *context);

/* Opens a sender, for the calling thread to use. -EBUSY: the variant has no end left (spsc: one;
 * lanes: `senders`), or another sender is open in fd mode, which serves one thread; -EPIPE: the
 * sending side is closed. */
STRAIT_API int strait_sender_open(struct strait_sender *sender, struct strait_channel *channel);

/* Opens the receiver, for the calling thread to use. One at a time: that is the caller's care. */
STRAIT_API int strait_receiver_open(struct strait_receiver *receiver,
                                    struct strait_channel *channel);

/* Closes a sender after its last send. As with a pipe, the sending side closes with the last open
 * sender: the receiver takes what is left, then gets -EPIPE. The handle answers -EPIPE from now on;
 * closing it again does nothing. Any thread that holds the right to the handle; does not block. */
STRAIT_API void strait_sender_close(struct strait_sender *sender);

/* Closes the receiving side: the next send gets -EPIPE, and blocked senders wake up. What is queued
 * waits for strait_channel_destroy. Otherwise as strait_sender_close. */
STRAIT_API void strait_receiver_close(struct strait_receiver *receiver);

/* Hands a handle over: its owner gives it away; the two threads synchronise by whatever means (a
 * message that holds the handle itself will do); the new owner adopts it. In between it is
 * nobody's: it may be moved, closed or destroyed with the message it lies in, but not used. Whoever
 * gave it may take it back by adopting it, as when the message could not be sent. Giving forgets
 * the cancel flag, which was the old owner's. To keep the flag, adopt without giving: the handle of
 * a plain channel allows that, an end of a port does not. Neither call blocks. STRAIT_CHECKED: who
 * uses or gives what another owns or what is nobody's, or adopts another's end of a port, ends the
 * program.
 */
STRAIT_API void strait_sender_give(struct strait_sender *sender);
STRAIT_API void strait_receiver_give(struct strait_receiver *receiver);
STRAIT_API void strait_sender_adopt(struct strait_sender *sender);
STRAIT_API void strait_receiver_adopt(struct strait_receiver *receiver);

/* Ends waits through this handle with -ECANCELED while *flag (written with release order by any
 * thread) is not 0. NULL: nothing does. The thread that sets the flag then calls strait_wake. */
STRAIT_API void strait_sender_cancel_on(struct strait_sender *sender, const uint32_t *flag);
STRAIT_API void strait_receiver_cancel_on(struct strait_receiver *receiver, const uint32_t *flag);

/* Wakes whoever waits on either side, to look again. Any thread; does not block. */
STRAIT_API void strait_channel_wake(struct strait_channel *channel);

/* ---- wait: cold calls that block until the deadline at most ---- */

/* Sends all n messages, waiting for room. Returns how many were sent, the first ones: fewer than n
 * if the channel closed, the deadline passed or the wait was cancelled in between. If not even one
 * was: -EPIPE, -ETIMEDOUT, -ECANCELED; -EDEADLK if it would wait for room that only the calling
 * thread could make, which has the other end of the port. What was not sent stays the caller's. A
 * worker's waits, whatever the handle, are cancelled when it is asked to stop. */
STRAIT_API ptrdiff_t strait_send(struct strait_sender *sender, const void *messages, size_t n,
                                 int64_t deadline);

/* Receives 1 to n messages, waiting for the first. -EPIPE: closed and nothing left; -ETIMEDOUT;
 * -ECANCELED; -EDEADLK: it would wait for itself to send, through the other end of the port; or a
 * loop holds the receiver (see strait_receiver_hold). */
STRAIT_API ptrdiff_t strait_receive(struct strait_receiver *receiver, void *messages, size_t n,
                                    int64_t deadline);

/* Waits until a message can be taken. 0, or as strait_receive. */
STRAIT_API int strait_receive_wait(struct strait_receiver *receiver, int64_t deadline);

/* Waits until there was room. 0, or as strait_send. Another sender may be faster. */
STRAIT_API int strait_send_wait(struct strait_sender *sender, int64_t deadline);

/* ---- event loops: a side whose mode is STRAIT_WAIT_FD ----
 *
 * Watch the fd for reading, level-triggered. When it is readable, take messages until -EAGAIN, then
 * arm. If a budget stops you before that, just return: the fd stays readable. A receiver is armed
 * when it is opened; a sender arms when it has got -EAGAIN.
 */

/* The eventfd; -EINVAL if the side has another mode. It belongs to the channel. */
STRAIT_API int strait_receiver_fd(const struct strait_receiver *receiver);
STRAIT_API int strait_sender_fd(const struct strait_sender *sender);

/* Makes the fd unreadable until there is something to do: 1. If there already is: 0, and the fd
 * stays readable. -EINVAL: another mode. Costs a system call or two; does not block. */
STRAIT_API int strait_receiver_arm(struct strait_receiver *receiver);
STRAIT_API int strait_sender_arm(struct strait_sender *sender);

/* For a loop that hands messages to handlers as they lie in the channel. Moves the right to receive
 * to *held, which is the loop's own; whoever receives, peeks, waits or arms through `receiver`, as
 * a handler might, gets -EDEADLK, and no handler can take away the message that another is looking
 * at. The receiver may be closed meanwhile: then *held still releases what it has peeked, but is
 * not to be peeked again. A closed receiver stays as it is. The owner's thread; does not block. */
STRAIT_API void strait_receiver_hold(struct strait_receiver *receiver,
                                     struct strait_receiver *held);

/* Gives it back; a receiver that was closed meanwhile stays so. The owner's thread; does not block.
 */
STRAIT_API void strait_receiver_resume(struct strait_receiver *receiver,
                                       const struct strait_receiver *held);

/* ---- the hot path: inline, no system call unless a sleeper must be woken ---- */

/* Out of line: wakes the side that sleeps on `signal`. */
STRAIT_API void strait_signal_wake(struct strait_channel *channel, struct strait_signal *signal);

/* Out of line: STRAIT_CHECKED found a second thread on a handle. Ends the program. */
STRAIT_API void strait_checked_owner(struct strait_handle *handle, const char *rule);

static inline void strait_check_owner(struct strait_handle *handle, const char *rule)
{
#ifdef STRAIT_CHECKED
    strait_checked_owner(handle, rule);
#else
    (void)handle;
    (void)rule;
#endif
}

static inline void strait_check_sender(struct strait_sender *sender)
{
#ifdef STRAIT_CHECKED
    if (sender->handle.variant->senders == STRAIT_SENDERS_ANY) {
        return;
    }
#endif
    strait_check_owner(&sender->handle, "a sender handle is used by one thread at a time");
}

/* Has the side that owns `signal` closed? */
static inline bool strait_signal_closed(const struct strait_signal *signal)
{
    /* the side that owns the signal writes STRAIT_CLOSED; a hint here, exact where it is acted on
     */
    return (strait_load_relaxed(&signal->word) & STRAIT_CLOSED) != 0;
}

/* After something was published: what the sleeper's barrier needs of this side where it cannot be a
 * membarrier. */
static inline void strait_signal_fence(const struct strait_handle *handle)
{
    if (STRAIT_UNLIKELY(handle->fenced)) {
        /* wait.fence: pairs with wait.sleep; what was published, or else the sleeper's WAITING */
        strait_full_fence();
    }
}

/* After that: wakes the side that owns `signal` if it sleeps. */
static inline void strait_signal_look(struct strait_handle *handle, struct strait_signal *signal)
{
    /* wait.notify: pairs with wait.sleep; what was published, or else the sleeper's WAITING */
    strait_light_barrier();
    /* the sleeper sets STRAIT_WAITING, its wakers clear it */
    if (STRAIT_UNLIKELY(strait_load_relaxed(&signal->word) & STRAIT_WAITING)) {
        strait_signal_wake(handle->channel, signal);
    }
}

static inline void strait_signal_notify(struct strait_handle *handle, struct strait_signal *signal)
{
    strait_signal_fence(handle);
    strait_signal_look(handle, signal);
}

/* Sends up to n messages by copy. How many; 0 only for n = 0; -EAGAIN: full; -EPIPE: closed. */
static inline ptrdiff_t strait_try_send(struct strait_sender *sender, const void *messages,
                                        size_t n)
{
    struct strait_handle *handle = &sender->handle;
    strait_check_sender(sender);
    struct strait_signal *peer = &handle->channel->receiver;
    if (STRAIT_UNLIKELY(strait_signal_closed(peer))) {
        return -EPIPE;
    }
    size_t sent;
    struct strait_spsc *direct = sender->direct;
    if (STRAIT_LIKELY(direct)) {
        sent = strait_spsc_try_send(direct, messages, n);
    } else {
        sent = handle->variant->try_send(sender->end, messages, n);
        STRAIT_ASSUME(sent <= n);
        strait_signal_fence(handle);
    }
    if (STRAIT_UNLIKELY(sent == 0)) {
        return n ? -EAGAIN : 0;
    }
    strait_signal_look(handle, peer);
    return (ptrdiff_t)sent;
}

/* Out of line: -EPIPE if the sending side is closed and nothing is left, -EDEADLK if a loop holds
 * the receiver, -EAGAIN if not. */
STRAIT_API ptrdiff_t strait_receive_nothing(struct strait_receiver *receiver);

/* Receives up to n messages by copy. How many; 0 only for n = 0; -EAGAIN: empty; -EPIPE: closed
 * and nothing left; -EDEADLK: called from a handler of the receiver's own loop. */
static inline ptrdiff_t strait_try_receive(struct strait_receiver *receiver, void *messages,
                                           size_t n)
{
    struct strait_handle *handle = &receiver->handle;
    strait_check_owner(handle, "a receiver handle is used by one thread at a time");
    size_t received;
    struct strait_spsc *direct = receiver->direct;
    if (STRAIT_LIKELY(direct)) {
        received = strait_spsc_try_receive(direct, messages, n);
    } else {
        received = handle->variant->try_receive(receiver->ring, messages, n);
        STRAIT_ASSUME(received <= n);
        strait_signal_fence(handle);
    }
    if (STRAIT_UNLIKELY(received == 0)) {
        return n ? strait_receive_nothing(receiver) : 0;
    }
    strait_signal_look(handle, &handle->channel->sender);
    return (ptrdiff_t)received;
}

/* Room for up to n messages in place: span->count of them, next to each other, to be written and
 * then committed, all of them. How many; -EAGAIN; -EPIPE. One reservation at a time and handle
 * ("cells": and thread). What is reserved is not sent before the commit, and must be committed. */
static inline ptrdiff_t strait_reserve(struct strait_sender *sender, size_t n,
                                       struct strait_span *span)
{
    struct strait_handle *handle = &sender->handle;
    strait_check_sender(sender);
    if (STRAIT_UNLIKELY(strait_signal_closed(&handle->channel->receiver))) {
        return -EPIPE;
    }
    size_t count = handle->variant->reserve(sender->end, n, span);
    return count || !n ? (ptrdiff_t)count : -EAGAIN;
}

/* Sends what was reserved. A receiver that has closed meanwhile leaves it to the drop callback. */
static inline void strait_commit(struct strait_sender *sender, const struct strait_span *span)
{
    sender->handle.variant->commit(sender->end, span);
    strait_signal_notify(&sender->handle, &sender->handle.channel->receiver);
}

/* Up to n messages in place, without taking them: span->count, next to each other. How many;
 * -EAGAIN; -EPIPE; -EDEADLK. They stay valid until they are released. */
static inline ptrdiff_t strait_peek(struct strait_receiver *receiver, size_t n,
                                    struct strait_span *span)
{
    struct strait_handle *handle = &receiver->handle;
    strait_check_owner(handle, "a receiver handle is used by one thread at a time");
    size_t count = handle->variant->peek(receiver->ring, n, span);
    return count || !n ? (ptrdiff_t)count : strait_receive_nothing(receiver);
}

/* Takes what the last peek showed; lower span->count first to take fewer. */
static inline void strait_release(struct strait_receiver *receiver, const struct strait_span *span)
{
    receiver->handle.variant->release(receiver->ring, span);
    strait_signal_notify(&receiver->handle, &receiver->handle.channel->sender);
}

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_CHANNEL_H */
