/* SPDX-License-Identifier: MIT */
/* settings: the server's command line. */
#ifndef OFFLOAD_SETTINGS_H
#define OFFLOAD_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "strait.h"

#define WITHIN_MAX 60000 /* ms */
#define DRAIN_MAX 60000  /* ms */

struct compute;

/* Who computes. */
struct mode {
    const char *name;              /* in /stats */
    const struct compute *compute; /* NULL: the loop itself, which it blocks */
};

struct settings {
    uint16_t port;
    const struct mode *mode;
    uint32_t within;      /* ms that a heavy request may take if it does not say; 0: any number */
    uint32_t drain;       /* ms that what runs has after a signal that ends the server */
    const char *machines; /* job servers; NULL: computes here */
    struct strait_pool_options pool;
};

/* Decimal digits only, 0 to `max`. */
bool parse_number(const char *text, unsigned long max, unsigned long *number);

/* True: serve. False: end with *status, all has been said. */
bool settings_parse(struct settings *settings, int argc, char **argv, int *status);

#endif
