/* SPDX-License-Identifier: MIT */
/* port: what a worker needs besides: its link lives as long as the worker, whoever closes what. */
#ifndef STRAIT_PORT_PRIVATE_H
#define STRAIT_PORT_PRIVATE_H

#include "strait/port.h"

#include "../channel/private.h"

/* One more holder of the port's link, besides its ends. */
STRAIT_PRIVATE struct strait_link *strait_p_link_hold(const struct strait_port *port);

/* A holder less; the last one hands what is left to the drop callbacks and frees the link. */
STRAIT_PRIVATE void strait_p_link_drop(struct strait_link *link);

/* Wakes whoever waits at either end. */
STRAIT_PRIVATE void strait_p_link_wake(struct strait_link *link);

#endif /* STRAIT_PORT_PRIVATE_H */
