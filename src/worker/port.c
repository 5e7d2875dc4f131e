/* SPDX-License-Identifier: MIT */
/* port: two channels back to back, owned by both ends. */
#include "port.h"

#include "../channel/memory.h"
#include "../channel/options.h"

struct strait_link {
    /* line 0: set once, by the pair's maker */
    STRAIT_LINE_ALIGNED struct strait_channel *forth;
    struct strait_channel *back;
    strait_drop_fn *drop_forth;
    strait_drop_fn *drop_back;
    void *context;
    /* line 1: whoever has an end writes, when it closes it, gives it away or adopts it; each reads
     * it before it waits */
    STRAIT_LINE_ALIGNED uint32_t holders; /* ends still open, and a worker */
    struct strait_p_threads forth_threads;
    struct strait_p_threads back_threads;
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_link, forth) == 0 * STRAIT_LINE, "line 0");
STRAIT_STATIC_ASSERT(offsetof(struct strait_link, holders) == 1 * STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(sizeof(struct strait_link) == 2 * STRAIT_LINE, "no more lines");

static void link_free(struct strait_link *link)
{
    strait_channel_destroy(link->forth, link->drop_forth, link->context);
    strait_channel_destroy(link->back, link->drop_back, link->context);
    free(link);
}

static int link_create(struct strait_link **out, const struct strait_port_options *options)
{
    struct strait_link *link = strait_line_alloc(sizeof(*link));
    if (!link) {
        return -ENOMEM;
    }
    memset(link, 0, sizeof(*link));
    link->drop_forth = options->drop_forth;
    link->drop_back = options->drop_back;
    link->context = options->context;
    link->holders = 2;
    int error = strait_channel_create(&link->forth, &options->forth);
    if (!error) {
        error = strait_channel_create(&link->back, &options->back);
    }
    if (error) {
        link_free(link);
        return error;
    }
    *out = link;
    return 0;
}

/* Cannot fail: both channels are new, and nobody else has them. The link knows who uses the ends,
 * so that nobody waits for himself: the calling thread, until it gives them away. */
static void port_open(struct strait_port *port, struct strait_link *link, bool forth)
{
    port->link = link;
    strait_sender_open(&port->sender, forth ? link->forth : link->back);
    strait_receiver_open(&port->receiver, forth ? link->back : link->forth);
    port->sender.handle.threads = forth ? &link->forth_threads : &link->back_threads;
    port->receiver.handle.threads = forth ? &link->back_threads : &link->forth_threads;
    strait_port_adopt(port);
}

int strait_port_pair(struct strait_port *a, struct strait_port *b,
                     const struct strait_port_options *given)
{
    struct strait_port_options options;
    struct strait_link *link;
    int error = strait_options_copy(&options, sizeof(options), given);
    if (!error) {
        error = link_create(&link, &options);
    }
    if (error) {
        return error;
    }
    port_open(a, link, true);
    port_open(b, link, false);
    return 0;
}

void strait_port_give(struct strait_port *port)
{
    strait_sender_give(&port->sender);
    strait_receiver_give(&port->receiver);
}

void strait_port_adopt(struct strait_port *port)
{
    strait_sender_adopt(&port->sender);
    strait_receiver_adopt(&port->receiver);
}

STRAIT_PRIVATE struct strait_link *strait_p_link_hold(const struct strait_port *port)
{
    /* link.hold: pairs with link.drop; nothing but the number; without it a holder is lost
     * and the link freed too early */
    strait_add_acq_rel(&port->link->holders, 1);
    return port->link;
}

STRAIT_PRIVATE void strait_p_link_drop(struct strait_link *link)
{
    /* link.drop: pairs with link.drop, link.hold; all that the other holders did with the link;
     * without it the link is freed under their feet */
    if (strait_add_acq_rel(&link->holders, (uint32_t)-1) == 1) {
        link_free(link);
    }
}

STRAIT_PRIVATE void strait_p_link_wake(struct strait_link *link)
{
    strait_channel_wake(link->forth);
    strait_channel_wake(link->back);
}

void strait_port_close(struct strait_port *port)
{
    struct strait_link *link = port->link;
    if (link) {
        port->link = NULL;
        strait_sender_close(&port->sender);
        strait_receiver_close(&port->receiver);
        strait_p_link_drop(link);
    }
}

void strait_port_drop(void *message, void *context)
{
    struct strait_port port;
    (void)context;
    memcpy(&port, message, sizeof(port));
    strait_port_close(&port);
}

void strait_port_wake(struct strait_port *port)
{
    if (port->link) {
        strait_p_link_wake(port->link);
    }
}
