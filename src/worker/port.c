/* SPDX-License-Identifier: MIT */
/* port: two channels back to back, owned by both ends. */
#include "port.h"

#include "../channel/memory.h"
#include "../channel/options.h"

/* What `a` sends goes forth, what `b` sends goes back. */
enum way { FORTH, BACK };

struct strait_link {
    /* line 0: set once, by the pair's maker */
    STRAIT_LINE_ALIGNED struct strait_channel *channels[2];
    strait_drop_fn *drops[2];
    void *context;
    /* line 1: whoever has an end writes, when it closes it, gives it away or adopts it; each reads
     * it before it waits */
    STRAIT_LINE_ALIGNED uint32_t holders; /* ends still open, and a worker */
    struct strait_p_threads threads[2];
};

STRAIT_STATIC_ASSERT(offsetof(struct strait_link, holders) == 1 * STRAIT_LINE, "line 1");
STRAIT_STATIC_ASSERT(sizeof(struct strait_link) == 2 * STRAIT_LINE, "no more lines");

static void link_free(struct strait_link *link)
{
    for (int way = FORTH; way <= BACK; way++) {
        strait_channel_destroy(link->channels[way], link->drops[way], link->context);
    }
    free(link);
}

/* Cannot fail: both channels are new, and nobody else has them. The link knows who uses the ends,
 * so that nobody waits for himself: the calling thread, until it gives them away. */
static void port_open(struct strait_port *port, struct strait_link *link, enum way out)
{
    enum way in = out == FORTH ? BACK : FORTH;
    port->link = link;
    strait_sender_open(&port->sender, link->channels[out]);
    strait_receiver_open(&port->receiver, link->channels[in]);
    port->sender.handle.threads = &link->threads[out];
    port->receiver.handle.threads = &link->threads[in];
    strait_port_adopt(port);
}

int strait_port_pair(struct strait_port *a, struct strait_port *b,
                     const struct strait_port_options *given)
{
    struct strait_port_options options;
    int error = strait_options_copy(&options, sizeof(options), given);
    if (error) {
        return error;
    }
    struct strait_link *link = strait_line_alloc(sizeof(*link));
    if (!link) {
        return -ENOMEM;
    }
    *link = (struct strait_link){
        .drops = {options.drop_forth, options.drop_back},
        .context = options.context,
        .holders = 2,
    };
    error = strait_channel_create(&link->channels[FORTH], &options.forth);
    if (!error) {
        error = strait_channel_create(&link->channels[BACK], &options.back);
    }
    if (error) {
        link_free(link);
        return error;
    }
    port_open(a, link, FORTH);
    port_open(b, link, BACK);
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

STRAIT_PRIVATE void strait_p_port_hold(struct strait_port *holder, const struct strait_port *port)
{
    memset(holder, 0, sizeof(*holder)); /* closed halves */
    holder->link = port->link;
    /* link.hold: pairs with link.drop; nothing but the number; without it a holder is lost and the
     * link freed too early */
    strait_add_acq_rel(&holder->link->holders, 1);
}

void strait_port_close(struct strait_port *port)
{
    struct strait_link *link = port->link;
    if (!link) {
        return;
    }
    port->link = NULL;
    strait_sender_close(&port->sender);
    strait_receiver_close(&port->receiver);
    /* link.drop: pairs with link.drop, link.hold; all that the other holders did with the link;
     * without it the link is freed under their feet */
    if (strait_add_acq_rel(&link->holders, (uint32_t)-1) == 1) {
        link_free(link);
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
        strait_channel_wake(port->link->channels[FORTH]);
        strait_channel_wake(port->link->channels[BACK]);
    }
}
