/* SPDX-License-Identifier: MIT */
/*
 * channel: a bounded one-way queue of fixed-size messages with one receiver.
 *
 * How to use one: make it (1), open each end on the thread that will use it (2), move messages (3),
 * close both ends (4), and destroy it when both threads are done with it (5). A thread that must
 * not block has strait_try_send and strait_try_receive. After a close the receiver gets what is
 * left, then -EPIPE; a sender gets -EPIPE at once.
 *
 *   struct strait_channel_options options = {.message_size = sizeof(struct order)};
 *   strait_channel_create(&channel, &options);        // 1
 *   strait_sender_open(&sender, channel);             // 2
 *   strait_receiver_open(&receiver, channel);
 *   strait_send(&sender, &order, 1, deadline);        // 3
 *   strait_receive(&receiver, &order, 1, deadline);
 *   strait_sender_close(&sender);                     // 4
 *   strait_receiver_close(&receiver);
 *   strait_channel_destroy(channel, drop, context);   // 5
 *
 * Which ring it has is an option, a name from the table in ring.h:
 *
 *   variant   senders                     capacity         a sender stopped in the middle holds up
 *   "spsc"    one                         of the channel   its own messages
 *   "lanes"   `senders`, each registered  of each sender   its own messages
 *   "cells"   any thread, one handle      of the channel   messages claimed after its own
 *   "line"    one                         of the channel   its own messages
 *
 * "line" is for round trips: a message and its flag come in one cache line; a stream is faster
 * through "spsc". Memory (strait_channel_size tells): a ring has a power of two of slots, so 1025
 * messages take as much as 2048; "lanes" has a ring of `capacity` for each of `senders`; a slot of
 * "line" has 4 bytes more than a message, rounded up to 8, 16, 32 or whole lines of 64.
 *
 * Who may call what at the same time (x: the caller excludes the two; -: needs no care)
 *
 *                              send reserve commit | receive peek release | open close | destroy
 *   send reserve commit         x (1)              | -                    | x (2)      | x
 *   receive peek release        -                  | x                    | x (2)      | x
 *   wake, and the fd's watcher  -                  | -                    | -          | x
 *
 *   (1) through one handle; through different handles they need no care, and a handle of "cells"
 *       may be used by any number of threads at once
 *   (2) of the same handle
 *
 * Promises
 *   - Capacity is exact: opened for n, it holds n, for every n from 1 to STRAIT_CAPACITY_MAX.
 *   - FIFO per sender. What a sender wrote before a send is visible after that receive.
 *   - A message accepted is received exactly once, or given exactly once to the drop callback of
 *     strait_channel_destroy. A message refused stays the caller's.
 *   - Full or empty (-EAGAIN), closed (-EPIPE), timed out (-ETIMEDOUT) and cancelled (-ECANCELED)
 *     are different answers. errno is never touched.
 *   - Nobody who waits burns CPU unless its mode is STRAIT_WAIT_SPIN.
 *   - Progress: to send and to receive, by copy or in place, is wait-free where it does not block;
 *     but to send through "cells", and to wake whoever sleeps, is lock-free.
 *   - A call that does not block may take some 5 us: where the other side is in full flow, it lets
 *     messages gather, or room, which disturbs that side less often. Full flow is 8 bytes in 9
 *     ns, through "cells" in 50; each 64 bytes more may take 50 ns more.
 *
 * A channel is one block of memory: a ring, and for each side an event count on which it sleeps and
 * in which it says that it has closed. The block holds no pointer into itself, and a shared one
 * none at all, so it may lie in memory of the caller's, and in memory that processes share. What
 * belongs to one side alone lies in its handle.
 */
#ifndef STRAIT_CHANNEL_H
#define STRAIT_CHANNEL_H

#include "strait/ring.h"
#include "strait/wait.h"

STRAIT_C_BEGIN

/* The i-th ring of the table, NULL past the last. Any thread; does not block. */
STRAIT_API const struct strait_variant *strait_variant_at(size_t i);

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

/* ---- the block and the handles: their fields are private ---- */

struct strait_channel {
    /* line 0: set once, by init */
    STRAIT_LINE_ALIGNED uint32_t magic;
    uint32_t variant; /* index in the table */
    uint32_t capacity;
    uint32_t message_size;
    uint32_t senders;
    uint32_t between; /* enum strait_p_between: senders and receiver */
    uint32_t sender_wait;
    uint32_t receiver_wait;
    uint32_t allocated; /* by strait_channel_create */
    /* line 1: receiver writes when it goes to sleep and when it closes, senders when they wake it;
     * senders read it at each send */
    STRAIT_LINE_ALIGNED struct strait_p_event_count receiver;
    /* line 2: senders write when they go to sleep and when the last one closes, the receiver when
     * it wakes them; the receiver reads it at each receive */
    STRAIT_LINE_ALIGNED struct strait_p_event_count sender;
    uint32_t open_senders; /* senders write, when they open and close */
};

STRAIT_STATIC_ASSERT(sizeof(struct strait_channel) == 3 * STRAIT_LINE, "the ring follows line 2");

/* What both kinds of handle hold. */
struct strait_p_handle {
    struct strait_channel *channel;
    const struct strait_variant *variant;
    void *end;                  /* of the ring: a sender's, or the ring itself */
    struct strait_spsc *direct; /* the same where it is one and may be used inline, or NULL */
    const uint32_t *cancel;     /* a flag that ends every wait, or NULL */
    uint32_t between; /* this and the next two: as the block said when the handle was opened */
    uint32_t message_size;
    uint32_t wait;
    uint32_t spin_ns; /* the next spin before a sleep; a hint where several threads write it */
    int32_t owner;    /* STRAIT_CHECKED: who uses the handle; 0: who will; -t: given away by t */
    /* of a port's channel: who is at its receiver, at its sender; 0: nobody; whoever has the end
     * writes; NULL: not known */
    uint32_t *threads;
};

/* It holds no pointer into itself: it may be moved, as by sending it in a message, while no call
 * uses it. Of two copies, one is to be used. */
struct strait_sender {
    struct strait_p_handle handle;
};

struct strait_receiver {
    struct strait_p_handle handle;
};

/* ---- make one: cold calls, 0 or -errno ---- */

/* Makes a channel; NULL options mean the defaults. -EINVAL: a number out of range, an unknown
 * variant, fd mode in a shared block, or an unknown non-zero tail of the options; -ENOMEM; -EMFILE,
 * -ENFILE: no eventfd to be had. Any thread; does not block. */
STRAIT_API int strait_channel_create(struct strait_channel **channel,
                                     const struct strait_channel_options *options);

/* What to do with a message that nobody received. `message` is gone after the call. */
typedef void strait_drop_fn(void *message, void *context) STRAIT_NOEXCEPT;

/* Ends a channel that no thread uses any more: calls `drop` (NULL: nothing to do) once for each
 * message left, closes the eventfds, frees the block if strait_channel_create made it. Handles
 * still open are void. -EPIPE does not say that the other thread is done with the block: join it,
 * or synchronise with it, before. Does not block. NULL is ignored. */
STRAIT_API void strait_channel_destroy(struct strait_channel *channel, strait_drop_fn *drop,
                                       void *context);

/* Opens a sender, for the calling thread to use. -EBUSY: the variant has no end left (spsc: one;
 * lanes: `senders`), or another sender is open in fd mode, which serves one thread; -EPIPE: the
 * sending side is closed. Does not block. */
STRAIT_API int strait_sender_open(struct strait_sender *sender, struct strait_channel *channel);

/* Opens the receiver, for the calling thread to use. One at a time: that is the caller's care. 0.
 * Does not block. */
STRAIT_API int strait_receiver_open(struct strait_receiver *receiver,
                                    struct strait_channel *channel);

/* Closes a sender after its last send. As with a pipe, the sending side closes with the last open
 * sender: the receiver takes what is left, then gets -EPIPE. The handle answers -EPIPE from now on;
 * closing it again does nothing. Any thread that holds the right to the handle; does not block. */
STRAIT_API void strait_sender_close(struct strait_sender *sender);

/* Closes the receiving side: the next send gets -EPIPE, and blocked senders wake up. What is queued
 * waits for strait_channel_destroy. Otherwise as strait_sender_close. */
STRAIT_API void strait_receiver_close(struct strait_receiver *receiver);

/* The bytes of a message that the receiver receives; 0 once it is closed. The receiver's thread;
 * does not block. */
static inline size_t strait_receiver_message_size(const struct strait_receiver *receiver)
{
    return receiver->handle.message_size;
}

/* ---- seen from outside ---- */

struct strait_channel_status {
    const char *variant;
    size_t capacity;
    size_t message_size;
    uint32_t senders;   /* that are open */
    bool sender_closed; /* the last one has closed */
    bool receiver_closed;
    bool sender_waits;   /* one sleeps until there is room, or its fd is armed */
    bool receiver_waits; /* likewise, until there is a message */
};

/* How the channel is at this moment. Any thread, until it is destroyed; does not block. */
STRAIT_API void strait_channel_status(const struct strait_channel *channel,
                                      struct strait_channel_status *status);

/* ---- private: what the calls below are made of ---- */

/* Out of line: ends the program if another thread owns the handle. */
STRAIT_API void strait_p_check_owner(struct strait_p_handle *handle, bool sender);

/* Out of line: ends the program if `n` messages of the channel do not fit into `bytes`; `exact`: if
 * they are of another size. */
STRAIT_API void strait_p_check_size(const struct strait_p_handle *handle, size_t n, size_t bytes,
                                    bool exact);

#ifdef STRAIT_CHECKED
#define STRAIT_P_CHECK(CALL) CALL
#define STRAIT_P_COPYING STRAIT_INLINE /* the caller's object is seen, or is of SIZE_MAX bytes */
#else
#define STRAIT_P_CHECK(CALL) ((void)0)
#define STRAIT_P_COPYING static inline
#endif

/* May the object be one of 8 bytes? gcc warns of a copy of so many where it is not, though that is
 * never done. */
#define STRAIT_P_HOLDS_WORD(MESSAGES) (__builtin_object_size(MESSAGES, 0) >= sizeof(uint64_t))

/* Out of line: nothing was there. Has the sending side closed? If not, -EAGAIN; if it has, what it
 * sent just before, by copy or, with a span, in place; or -EPIPE. */
STRAIT_API ptrdiff_t strait_p_receive_last(struct strait_p_handle *handle, void *messages, size_t n,
                                           struct strait_span *span);

/* Out of line: waits. 0: look again; or as strait_send, strait_receive. */
STRAIT_API int strait_p_side_park(struct strait_p_handle *handle, bool sender, int64_t deadline);

/* ---- the hot path: no system call unless a sleeper must be woken; one message of 8 bytes through
 * an spsc is inline where its handle knows of a slot, and for the rest there is one call ---- */

/* Sends up to n messages by copy. How many; 0 only for n = 0; -EAGAIN: full; -EPIPE: closed. The
 * sender's thread; does not block. */
STRAIT_INLINE ptrdiff_t strait_try_send(struct strait_sender *sender, const void *messages,
                                        size_t n)
{
    struct strait_p_handle *handle = &sender->handle;
    struct strait_p_event_count *peer = &handle->channel->receiver;
    STRAIT_P_CHECK(strait_p_check_owner(handle, true));
    STRAIT_P_CHECK(strait_p_check_size(handle, n, __builtin_object_size(messages, 0), false));
    if (STRAIT_UNLIKELY(strait_load_relaxed(&peer->word) & STRAIT_P_CLOSED)) {
        /* a close that is seen late costs nothing: the message goes to the drop callback */
        return -EPIPE;
    }
    struct strait_spsc *direct = handle->direct;
    bool inlined = n == 1 && STRAIT_P_HOLDS_WORD(messages) &&
                   STRAIT_LIKELY(direct && handle->message_size == sizeof(uint64_t)) &&
                   STRAIT_LIKELY(direct->sender.end != direct->sender.index);
    size_t sent = inlined ? strait_spsc_send(direct, messages, 1, sizeof(uint64_t))
                          : handle->variant->try_send(handle->end, messages, n);
    STRAIT_ASSUME(sent <= n);
    if (STRAIT_LIKELY(sent)) {
        strait_p_notify(peer, direct ? 0 : handle->between);
    }
    return sent || !n ? (ptrdiff_t)sent : -EAGAIN;
}

/* Receives up to n messages by copy. How many; 0 only for n = 0; -EAGAIN: empty; -EPIPE: closed
 * and nothing left. The receiver's thread; does not block. */
STRAIT_INLINE ptrdiff_t strait_try_receive(struct strait_receiver *receiver, void *messages,
                                           size_t n)
{
    struct strait_p_handle *handle = &receiver->handle;
    STRAIT_P_CHECK(strait_p_check_owner(handle, false));
    STRAIT_P_CHECK(strait_p_check_size(handle, n, __builtin_object_size(messages, 0), false));
    struct strait_spsc *direct = handle->direct;
    bool inlined = n == 1 && STRAIT_P_HOLDS_WORD(messages) &&
                   STRAIT_LIKELY(direct && handle->message_size == sizeof(uint64_t)) &&
                   STRAIT_LIKELY(direct->receiver.end != direct->receiver.index);
    size_t received = inlined ? strait_spsc_receive(direct, messages, 1, sizeof(uint64_t))
                              : handle->variant->try_receive(handle->end, messages, n);
    STRAIT_ASSUME(received <= n);
    if (STRAIT_LIKELY(received)) {
        strait_p_notify(&handle->channel->sender, direct ? 0 : handle->between);
    }
    return received || !n ? (ptrdiff_t)received : strait_p_receive_last(handle, messages, n, NULL);
}

/* ---- waiting: these block until the deadline at most ---- */

/* Sends all n messages, waiting for room. Returns how many were sent, the first ones: fewer than n
 * if the channel closed, the deadline passed or the wait was cancelled in between. If not even one
 * was: -EPIPE, -ETIMEDOUT, -ECANCELED; -EDEADLK if it would wait for room that only the calling
 * thread could make, which has the other end of the port. What was not sent stays the caller's. A
 * worker's waits, for whatever handle, end when it is asked to stop. The sender's thread. */
STRAIT_P_COPYING ptrdiff_t strait_send(struct strait_sender *sender, const void *messages, size_t n,
                                       int64_t deadline)
{
    const char *from = (const char *)messages;
    size_t sent = 0;
    while (sent < n) {
        ptrdiff_t result = strait_try_send(sender, from, n - sent);
        if (STRAIT_UNLIKELY(result == -EAGAIN)) {
            result = strait_p_side_park(&sender->handle, true, deadline);
        }
        if (STRAIT_UNLIKELY(result < 0)) {
            return sent ? (ptrdiff_t)sent : result;
        }
        from += (size_t)result * sender->handle.message_size;
        sent += (size_t)result;
    }
    return (ptrdiff_t)sent;
}

/* Receives 1 to n messages, waiting for the first. How many; -EPIPE: closed and nothing left;
 * -ETIMEDOUT; -ECANCELED; -EDEADLK: it would wait for the calling thread itself to send, through
 * the other end of the port. The receiver's thread. */
STRAIT_P_COPYING ptrdiff_t strait_receive(struct strait_receiver *receiver, void *messages,
                                          size_t n, int64_t deadline)
{
    for (;;) {
        ptrdiff_t result = strait_try_receive(receiver, messages, n);
        if (STRAIT_UNLIKELY(result == -EAGAIN)) {
            result = strait_p_side_park(&receiver->handle, false, deadline);
        }
        if (result != 0 || !n) {
            return result;
        }
    }
}

/* Waits until there is room. 0, or as strait_send. Another sender may be faster. */
STRAIT_API int strait_send_wait(struct strait_sender *sender, int64_t deadline);

/* Waits until a message can be taken. 0, or as strait_receive. */
STRAIT_API int strait_receive_wait(struct strait_receiver *receiver, int64_t deadline);

/* ---- event loops: a side whose mode is STRAIT_WAIT_FD ----
 *
 * Watch the fd for reading, level-triggered. When it is readable, take messages until -EAGAIN, then
 * arm. If a budget stops you before that, just return: the fd stays readable. A receiver is armed
 * when it is opened; a sender arms when it has got -EAGAIN.
 */

/* The eventfd, which is the channel's; -EINVAL: another mode. Any thread; does not block. */
STRAIT_API int strait_receiver_fd(const struct strait_receiver *receiver);
STRAIT_API int strait_sender_fd(const struct strait_sender *sender);

/* Makes the fd unreadable until there is something to do: 1. If there already is: 0, and the fd
 * stays readable. -EINVAL: another mode. The side's thread; costs a system call or two; does not
 * block. */
STRAIT_API int strait_receiver_arm(struct strait_receiver *receiver);
STRAIT_API int strait_sender_arm(struct strait_sender *sender);

/* ---- receivers that are told by a call: for whoever waits for several; strait/extra/set.h does
 *
 * A receiver that is armed tells once, by a call, that there is something to do: a message, or that
 * the sending side has closed. The call is made by the thread that sends or closes. Until the
 * receiver is armed again, a send costs what it costs where nobody is told; the one that calls
 * costs a compare-and-swap and the call.
 */

/* From now on `ready` is called when the receiver is armed and there is something to do; NULL: it
 * is not told any more, and may wait again; it must not be armed then. `ready` runs on the thread
 * of whoever sends, closes or calls strait_channel_wake, inside of that call, maybe at once for
 * several receivers: it must not block and not use the receiver's channel. Meanwhile the receiver
 * takes and peeks, but a call that would have to wait for a message is -EINVAL. -EINVAL: the block
 * is shared, the receiver is in fd mode or closed; -EBUSY: it is armed, or told by another
 * call. The receiver's thread; does not block. */
STRAIT_API int strait_receiver_on_ready(struct strait_receiver *receiver, strait_ready_fn *ready,
                                        void *context);

/* Arms `count` receivers that are told, at the cost of one barrier for all of them (a membarrier, a
 * system call of up to 20 us), and looks at each. armed[i] true: `ready` will be called for it,
 * once, or has been called meanwhile; false: there is something to do already, and `ready` is not
 * called. The receivers' thread; does not block. */
STRAIT_API void strait_receivers_arm(struct strait_receiver *const *receivers, size_t count,
                                     bool *armed);

/* True: the receiver was armed, is not any more, and `ready` is not called. False: `ready` has been
 * called, or is being called by another thread just now. Of a receiver that was armed since. The
 * receiver's thread; does not block. */
STRAIT_API bool strait_receiver_disarm(struct strait_receiver *receiver);

/* ---- in place: without a copy ---- */

/* Room for up to n messages in place: span->count of them, next to each other, to be written and
 * then committed, all of them. How many; -EAGAIN; -EPIPE. One reservation at a time and handle
 * ("cells": and thread). What is reserved is not sent before the commit, and must be committed. The
 * sender's thread; does not block. */
static inline ptrdiff_t strait_reserve(struct strait_sender *sender, size_t n,
                                       struct strait_span *span)
{
    struct strait_p_handle *handle = &sender->handle;
    STRAIT_P_CHECK(strait_p_check_owner(handle, true));
    if (STRAIT_UNLIKELY(strait_load_relaxed(&handle->channel->receiver.word) & STRAIT_P_CLOSED)) {
        return -EPIPE;
    }
    size_t count = handle->variant->reserve(handle->end, n, span);
    return count || !n ? (ptrdiff_t)count : -EAGAIN;
}

/* Sends what was reserved. A receiver that has closed meanwhile leaves it to the drop callback. The
 * sender's thread; does not block. */
static inline void strait_commit(struct strait_sender *sender, const struct strait_span *span)
{
    struct strait_p_handle *handle = &sender->handle;
    handle->variant->commit(handle->end, span);
    strait_p_notify(&handle->channel->receiver, handle->between);
}

/* Up to n messages in place, not taken yet: span->count, next to each other. How many; -EAGAIN;
 * -EPIPE. They stay valid until they are released. The receiver's thread; does not block. */
static inline ptrdiff_t strait_peek(struct strait_receiver *receiver, size_t n,
                                    struct strait_span *span)
{
    struct strait_p_handle *handle = &receiver->handle;
    STRAIT_P_CHECK(strait_p_check_owner(handle, false));
    size_t count = handle->variant->peek(handle->end, n, span);
    return count || !n ? (ptrdiff_t)count : strait_p_receive_last(handle, NULL, n, span);
}

/* Takes what the last peek showed; lower span->count first to take fewer. The receiver's thread;
 * does not block. */
static inline void strait_release(struct strait_receiver *receiver, const struct strait_span *span)
{
    struct strait_p_handle *handle = &receiver->handle;
    handle->variant->release(handle->end, span);
    strait_p_notify(&handle->channel->sender, handle->between);
}

/* ---- messages of one type: another one is a compile error ----
 *
 *   STRAIT_CHANNEL_TYPED(orders, struct order);
 *
 *   orders_create(&channel, &options);
 *   orders_send(&sender, &order, 1, deadline);
 *   orders_receive(&receiver, &order, 1, deadline);
 *
 * and orders_try_send, orders_try_receive. They are as the calls of those names; message_size is
 * the type's, whatever the options say. Handles are opened and closed as any other.
 *
 * STRAIT_CHECKED: one of these calls on a channel whose messages have another size ends the
 * program; so does any call by copy that is given an object too small for n messages, where the
 * compiler sees the object.
 */
#define STRAIT_CHANNEL_TYPED(PREFIX, TYPE)                                                         \
    STRAIT_INLINE int PREFIX##_create(struct strait_channel **channel,                             \
                                      const struct strait_channel_options *given)                  \
    {                                                                                              \
        struct strait_channel_options options;                                                     \
        memset(&options, 0, sizeof(options));                                                      \
        options = given ? *given : options;                                                        \
        options.message_size = sizeof(TYPE);                                                       \
        return strait_channel_create(channel, &options);                                           \
    }                                                                                              \
    STRAIT_INLINE ptrdiff_t PREFIX##_send(struct strait_sender *sender, const TYPE *messages,      \
                                          size_t n, int64_t deadline)                              \
    {                                                                                              \
        STRAIT_P_CHECK(strait_p_check_size(&sender->handle, 1, sizeof(TYPE), true));               \
        return strait_send(sender, messages, n, deadline);                                         \
    }                                                                                              \
    STRAIT_INLINE ptrdiff_t PREFIX##_receive(struct strait_receiver *receiver, TYPE *messages,     \
                                             size_t n, int64_t deadline)                           \
    {                                                                                              \
        STRAIT_P_CHECK(strait_p_check_size(&receiver->handle, 1, sizeof(TYPE), true));             \
        return strait_receive(receiver, messages, n, deadline);                                    \
    }                                                                                              \
    STRAIT_INLINE ptrdiff_t PREFIX##_try_send(struct strait_sender *sender, const TYPE *messages,  \
                                              size_t n)                                            \
    {                                                                                              \
        STRAIT_P_CHECK(strait_p_check_size(&sender->handle, 1, sizeof(TYPE), true));               \
        return strait_try_send(sender, messages, n);                                               \
    }                                                                                              \
    STRAIT_INLINE ptrdiff_t PREFIX##_try_receive(struct strait_receiver *receiver, TYPE *messages, \
                                                 size_t n)                                         \
    {                                                                                              \
        STRAIT_P_CHECK(strait_p_check_size(&receiver->handle, 1, sizeof(TYPE), true));             \
        return strait_try_receive(receiver, messages, n);                                          \
    }                                                                                              \
    struct PREFIX##_typed /* for the semicolon behind the macro */

/* ---- handing a handle to another thread; ending its waits ---- */

/* Its owner gives a handle away; the two threads synchronise by whatever means (a message that
 * holds the handle itself will do); the new owner adopts it. In between it is nobody's: it may be
 * moved, closed or destroyed with the message it lies in, but not used. Whoever gave it may take it
 * back by adopting it, as when the message could not be sent. Giving forgets the cancel flag, which
 * was the old owner's. To keep the flag, adopt without giving: the handle of a plain channel allows
 * that, an end of a port does not, unless its owner's thread has ended: what that thread has left
 * open anybody may adopt, or close, who has joined it. None of these blocks. STRAIT_CHECKED: who
 * uses or gives what it does not own, or adopts another's end of a port, ends the program. */
STRAIT_API void strait_sender_give(struct strait_sender *sender);
STRAIT_API void strait_receiver_give(struct strait_receiver *receiver);
STRAIT_API void strait_sender_adopt(struct strait_sender *sender);
STRAIT_API void strait_receiver_adopt(struct strait_receiver *receiver);

/* Ends waits through this handle with -ECANCELED while *flag (written with release order by any
 * thread) is not 0. NULL: nothing does. The thread that sets the flag then calls
 * strait_channel_wake. The handle's thread. */
STRAIT_API void strait_sender_cancel_on(struct strait_sender *sender, const uint32_t *flag);
STRAIT_API void strait_receiver_cancel_on(struct strait_receiver *receiver, const uint32_t *flag);

/* Wakes whoever waits on either side, to look again. Any thread, a signal handler too: it changes
 * two words and makes a futex call or a write. Does not block. */
STRAIT_API void strait_channel_wake(struct strait_channel *channel);

/* ---- a block of the caller's, or of several processes ---- */

/* The bytes that a block for these options needs. -EINVAL as strait_channel_create. Any thread;
 * does not block. */
STRAIT_API int strait_channel_size(const struct strait_channel_options *options, size_t *size);

/* Makes a channel in `size` bytes of the caller's, aligned to STRAIT_LINE, which must live until
 * strait_channel_destroy. *channel is the memory itself. Errors as strait_channel_create; -EINVAL:
 * misaligned memory; -ENOSPC: `size` is too small. Any thread; does not block. */
STRAIT_API int strait_channel_init(struct strait_channel **channel, void *memory, size_t size,
                                   const struct strait_channel_options *options);

/* Opens a shared block that another process has made, and this one has mapped, in `size` bytes. It
 * believes nothing that the block says: -EINVAL, unless all that is set once in it is as
 * strait_channel_init sets it for a channel of that size. Any thread; does not block.
 *
 * Trust. Who maps a shared block writes all of it. What can a peer do?
 *   - Before the opening, nothing: what does not fit is refused.
 *   - A hostile one can make a sender or the receiver see full, empty or closed, or messages that
 *     nobody sent. It can change a message while it is read in place: copy it, then check it. It
 *     can wake, or let sleep: have a deadline on each wait.
 *   - It cannot have this process write to a descriptor, close one or free memory: a shared block
 *     has none, and what it says of them is not looked at.
 *   - But each side reads its ring's shape (capacity, mask, sizes) from its own lines of the block,
 *     with each message: who writes there has this process read and write beyond the block. So
 *     share with none that you would not let end this process.
 *   - One that is stopped holds up what the table above says of its ring. Waits end at their
 *     deadlines.
 *   - A dead one is as one that is stopped, for ever. Nothing tells of its death: no -EPIPE comes.
 *     What it had sent is received, whole and in order; what it had reserved is not. Its end stays
 *     taken: of "spsc" for good, of "lanes" a lane; a sender of "cells" that dies between reserve
 *     and commit holds up all behind it. Who learns of it by other means (waitpid, a pidfd, a pipe)
 *     takes what is left, and makes a new block.
 *
 * strait_channel_destroy and strait_channel_wake have no handle and believe the block. A process
 * that shares one with others than its own children closes its ends and unmaps it. */
STRAIT_API int strait_channel_open(struct strait_channel **channel, void *memory, size_t size);

STRAIT_C_END

#endif /* STRAIT_CHANNEL_H */
