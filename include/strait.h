/* SPDX-License-Identifier: MIT */
/*
 * strait: lock-free message channels and pinned workers. The whole API, one header for each noun,
 * in nesting order; each layer calls only what stands above it here.
 */
#ifndef STRAIT_H
#define STRAIT_H

#define STRAIT_VERSION_MAJOR 0
#define STRAIT_VERSION_MINOR 1
#define STRAIT_VERSION_PATCH 0

#include "strait/channel.h"         /* a bounded one-way queue of fixed-size messages */
#include "strait/extra/broadcast.h" /* one message to many channels */
#include "strait/extra/buffer.h"    /* memory handed over in a message */
#include "strait/port.h"            /* one end of a two-way link */
#include "strait/extra/isolate.h"   /* what belongs to one worker alone */
#include "strait/worker.h"          /* a pinned thread with an isolate and a port to its parent */
#include "strait/extra/histogram.h" /* durations, counted */
#include "strait/pool.h"            /* workers that share a queue of tasks */

#endif /* STRAIT_H */
