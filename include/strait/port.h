/* SPDX-License-Identifier: MIT */
/*
 * port: one end of a two-way link, a sender and a receiver.
 *
 * How to use it
 *   1. strait_port_pair makes both ends of a link, the calling thread's; a worker has one already,
 *      and its parent the other.
 *   2. Send through &port->sender, receive through &port->receiver: these are plain handles.
 *   3. Close one half to half-close the port, or both with strait_port_close:
 *        strait_sender_close(&port->sender)      the peer receives all that was sent, then -EPIPE;
 *                                                the other direction goes on
 *        strait_receiver_close(&port->receiver)  the peer's next send says -EPIPE, also one that
 *                                                waits; what is queued goes to the drop callback,
 *                                                once each, when both ends are closed
 *
 * A message that was not sent, of a batch that was cut short, too, stays the sender's.
 *
 * Who may call what at the same time (x: the caller excludes the two; -: needs no care)
 *
 *                                 this end's calls | wake of it | the other end's calls
 *   give, adopt, close, send ...  x: one thread    | -          | -
 *   wake                          -                | -          | -
 *   close                         x                | x          | -
 *
 * How an end moves to another thread. It belongs to one thread at a time: both of a new pair to the
 * thread that made them, until it gives one away and another thread adopts it. An end is a value.
 * It may be moved, in memory or in a message, while no call uses it:
 *
 *   strait_port_give(&b);                             the maker of the pair gives one end away,
 *   if (strait_try_send(&port->sender, &b, 1) != 1)   in a message of sizeof(struct strait_port)
 *       strait_port_adopt(&b);                        or keeps it;
 *   strait_receive(&port->receiver, &b, 1, deadline)  the receiver of the message takes it over,
 *   strait_port_adopt(&b);                            and talks to the other end directly
 *
 * With strait_port_drop as the drop callback, an end that nobody received is closed. Do not send an
 * end through its own link: a link lives until both ends are closed, and what is queued in it is
 * dropped only then.
 */
#ifndef STRAIT_PORT_H
#define STRAIT_PORT_H

#include "strait/channel.h"

#ifdef __cplusplus
extern "C" {
#endif

struct strait_link; /* what the two ends share; private */

struct strait_port {
    struct strait_sender sender;
    struct strait_receiver receiver;
    struct strait_link *link;
};

struct strait_port_options {
    size_t size;                         /* sizeof this struct, or 0 */
    struct strait_channel_options forth; /* what `a` sends and `b` receives */
    struct strait_channel_options back;  /* what `b` sends and `a` receives */
    strait_drop_fn *drop_forth;          /* for messages that nobody received; NULL: plain values */
    strait_drop_fn *drop_back;
    void *context; /* passed to both */
};

/* Makes two ends of a link, both the calling thread's. NULL options: spsc channels of 1024
 * pointers, both ends park. The errors are those of strait_channel_create and strait_sender_open;
 * on error nothing is left. */
STRAIT_API int strait_port_pair(struct strait_port *a, struct strait_port *b,
                                const struct strait_port_options *options);

/* The owner gives up both halves. Nobody owns them until a thread adopts them: they may be moved
 * and closed meanwhile, but not used. Their cancel flags are forgotten. Does not block.
 * STRAIT_CHECKED: only the owner may give. */
STRAIT_API void strait_port_give(struct strait_port *port);

/* Makes the calling thread the owner of both halves. The two threads synchronise in between, as by
 * the message that carries the port. A worker that adopts a port needs no cancel flag: all its
 * waits end with -ECANCELED when it is asked to stop. Does not block. STRAIT_CHECKED: the port must
 * have been given away, or be the thread's own. */
STRAIT_API void strait_port_adopt(struct strait_port *port);

/* A strait_drop_fn for channels whose messages are ports: closes the port. */
STRAIT_API void strait_port_drop(void *message, void *context);

/* Closes both halves. The peer still reads what was sent, then gets -EPIPE. When both ends are
 * closed, the second call hands what is left to the drop callbacks and frees the link: it does so
 * on its own thread. Closing a port again does nothing. Does not block. */
STRAIT_API void strait_port_close(struct strait_port *port);

/* Wakes whoever waits at either end, to look at its cancel flag. Any thread; does not block. The
 * port must not be closed at the same time. */
STRAIT_API void strait_port_wake(struct strait_port *port);

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_PORT_H */
