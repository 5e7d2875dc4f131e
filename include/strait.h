/* SPDX-License-Identifier: MIT */
/*
 * strait: lock-free message channels and pinned workers. The core, one header for each noun, in
 * nesting order; each layer calls only what stands above it here. Beside it, each by itself, stand
 * the headers of strait/extra/.
 */
#ifndef STRAIT_H
#define STRAIT_H

#define STRAIT_VERSION_MAJOR 0
#define STRAIT_VERSION_MINOR 1
#define STRAIT_VERSION_PATCH 0

#include "strait/error.h"   /* what negative answers mean */
#include "strait/channel.h" /* a bounded one-way queue of fixed-size messages */
#include "strait/worker.h"  /* a pinned thread with a port to its parent */
#include "strait/pool.h"    /* workers that share a queue of tasks */

#endif /* STRAIT_H */
