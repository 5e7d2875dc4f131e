/* SPDX-License-Identifier: MIT */
/*
 * What Gearman's fault tests share: each system call that a side makes fails once. The linker turns
 * them to wrappers, as those of faults.h; what the job server calls that the test plays never
 * fails.
 */
#ifndef STRAIT_TESTS_GEARMAN_REFUSALS_H
#define STRAIT_TESTS_GEARMAN_REFUSALS_H

#include "gearman/fixture.h"

enum call { SOCKET, SETSOCKOPT, CONNECT, SEND, RECV, PPOLL, SIGNALFD, GETRANDOM, GETADDRINFO };

/* What this thread calls is a side's, and may fail. */
extern __thread bool on_side;

/* Has the n-th call fail, for n = 1, 2, ... until there is no n-th: each time what is played must
 * return 0, or `answer` where a call has failed. How many calls there were. */
unsigned refuse_each(enum call call, int error, int answer, int (*play)(void));

#endif /* STRAIT_TESTS_GEARMAN_REFUSALS_H */
