/* SPDX-License-Identifier: MIT */
/*
 * child: what a program that a worker starts should not inherit from the worker.
 *
 * A worker, of a pool's too, has its asynchronous signals blocked, and may be pinned to one CPU, be
 * of another scheduling class, or nicer than the process. A program that it starts has all that,
 * too, and most programs never change it: such a one cannot be interrupted, and shares the worker's
 * CPU. To start one from an entry or a task:
 *
 *   pid_t child = fork();
 *   if (child == 0) {
 *       strait_child_reset();
 *       execv(path, arguments);
 *       _exit(127);
 *   }
 *
 * posix_spawn has no such place: give it POSIX_SPAWN_SETSIGMASK with an empty set, which is what
 * matters most, or start the program on the parent's thread, which has none of this: in `done`.
 */
#ifndef STRAIT_EXTRA_CHILD_H
#define STRAIT_EXTRA_CHILD_H

#include "strait/base.h"

STRAIT_C_BEGIN

/* In a fork's child, before it calls exec: blocks no signal, and takes over CPUs, class and nice of
 * the first thread of the process that it was forked from. Does all that it can: 0, or the first
 * error, -EPERM: without the privilege nobody becomes less nice, or leaves the class
 * STRAIT_SCHEDULE_IDLE. May be called where fork has left other threads' locks taken; does not
 * block. */
STRAIT_API int strait_child_reset(void);

STRAIT_C_END

#endif /* STRAIT_EXTRA_CHILD_H */
