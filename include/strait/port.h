/* SPDX-License-Identifier: MIT */
/*
 * port: one end of a two-way link, a sender and a receiver.
 *
 * The two halves are plain handles: send through &port->sender, receive through &port->receiver,
 * close one of them to half-close the port. Each end belongs to one thread at a time.
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

/* Makes two ends of a link. NULL options: spsc channels of 1024 pointers, both ends park. The
 * errors are those of strait_channel_create and strait_sender_open; on error nothing is left. */
STRAIT_API int strait_port_pair(struct strait_port *a, struct strait_port *b,
                                const struct strait_port_options *options);

/* Makes the calling thread the owner of both halves. See strait_sender_adopt for the hand-over. */
STRAIT_API void strait_port_adopt(struct strait_port *port);

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
