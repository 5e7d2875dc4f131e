/* SPDX-License-Identifier: MIT */
/* port: what a worker needs besides: its link lives as long as the worker, whoever closes what. */
#ifndef STRAIT_PORT_PRIVATE_H
#define STRAIT_PORT_PRIVATE_H

#include "strait/port.h"

#include "../channel/private.h"

/* Makes `holder` a port that only holds the link of another: to be woken and closed as any. */
STRAIT_PRIVATE void strait_p_port_hold(struct strait_port *holder, const struct strait_port *port);

#endif /* STRAIT_PORT_PRIVATE_H */
