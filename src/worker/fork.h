/* SPDX-License-Identifier: MIT */
/* fork: lets a process tell what it has made from what it has inherited. */
#ifndef STRAIT_FORK_H
#define STRAIT_FORK_H

#include <stdint.h>

/* Has generations counted from now on. 0; -ENOMEM, and the next call tries again. Takes no lock, so
 * that a fork in another thread leaves none locked in the child. */
int strait_fork_watch(void);

/* How many forks lie between the process that first watched and this one. What another generation
 * made has threads that do not exist here, and descriptors that are somebody else's. */
uint32_t strait_fork_generation(void);

#endif /* STRAIT_FORK_H */
