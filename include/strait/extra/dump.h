/* SPDX-License-Identifier: MIT */
/*
 * dump: what a pool, a worker or a channel is at, as text for people: in a log, at a signal that
 * says "tell me", or when a deadline has passed that never should. It needs nobody's help: what is
 * stuck is told as well. An example of each:
 *
 *   pool: 1 of 2 workers idle, 1 task running, 3 queued of at most 1024, 1 parent
 *   tasks: 60 submitted, 55 done, 1 failed, 0 cancelled, 0 expired, 0 abandoned, 0 refused, 0 in
 *     place, at most 12 queued
 *   worker 0: thread 4711, CPU 1, batch, nice 10, 34 tasks, runs "resize" for 12.345 ms
 *   worker 1: thread 4712, any CPU, batch, nice 10, 26 tasks, idle
 *
 *   worker "logger": thread 4713, CPU 3, online, asked to stop
 *
 *   channel: lanes, 1024 messages of 8 bytes, 2 senders open, receiver waits
 *
 * All three: 0; -EIO: something could not be written. Any thread, until the object is destroyed;
 * block as writing to the file does. They use stdio, which a signal handler must not.
 */
#ifndef STRAIT_DUMP_H
#define STRAIT_DUMP_H

#include <stdio.h>

#include "strait/pool.h"
#include "strait/worker.h"

STRAIT_C_BEGIN

/* For how long a task runs is known if the pool is timed. */
STRAIT_API int strait_dump_pool(struct strait_pool *pool, FILE *to);

STRAIT_API int strait_dump_worker(const struct strait_worker *worker, FILE *to);

STRAIT_API int strait_dump_channel(const struct strait_channel *channel, FILE *to);

STRAIT_C_END

#endif /* STRAIT_DUMP_H */
