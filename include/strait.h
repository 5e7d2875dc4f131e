/* SPDX-License-Identifier: MIT */
/*
 * strait: lock-free message channels and pinned workers. The core, one header for each noun, in
 * nesting order; each layer calls only what stands above it here. Beside it, each by itself, stand
 * the headers of strait/extra/.
 */
#ifndef STRAIT_H
#define STRAIT_H

/* Stability: a patch changes neither a call nor a struct. Before 1.0 a minor version may change
 * both, and the shared library's name then; CHANGELOG says what takes the place of each name that
 * goes. From 1.0 on, option structs grow at their end alone, which their `size` tells, and the
 * fields of what is private may change with a minor version: compile what includes these headers
 * anew. */
#define STRAIT_VERSION_MAJOR 0
#define STRAIT_VERSION_MINOR 2
#define STRAIT_VERSION_PATCH 0

/* Of these headers: 2000 is 0.2.0, 1002003 is 1.2.3. */
#define STRAIT_VERSION                                                                             \
    (STRAIT_VERSION_MAJOR * 1000000 + STRAIT_VERSION_MINOR * 1000 + STRAIT_VERSION_PATCH)

#include "strait/error.h"   /* what negative answers mean */
#include "strait/channel.h" /* a bounded one-way queue of fixed-size messages */
#include "strait/worker.h"  /* a pinned thread with a port to its parent */
#include "strait/pool.h"    /* workers that share a queue of tasks */

STRAIT_C_BEGIN

/* STRAIT_VERSION of the library that the program runs with. Any thread, a signal handler too; does
 * not block. */
STRAIT_API uint32_t strait_version(void);

STRAIT_C_END

#endif /* STRAIT_H */
