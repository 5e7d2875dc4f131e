/* SPDX-License-Identifier: MIT */
/*
 * faults: every call of the system's that strait makes while it creates something fails once.
 *
 * The library is compiled into the program, and the linker turns its calls of some functions to the
 * wrappers of faults.c (--wrap). A fault fails the n-th call of one function, for n = 1, 2, ...
 * until there is no n-th: each creation must then answer with a negative errno, leave nothing
 * behind, and succeed when it is tried again.
 */
#ifndef STRAIT_TESTS_FAULTS_H
#define STRAIT_TESTS_FAULTS_H

#include "harness.h"

/* A sanitizer's runtime that is linked into the program is wrapped too, and has attributes of its
 * own. */
#define RUNTIME_INTERFERES (TEST_TSAN || TEST_ASAN)

/* Another stack than the default is asked for, so that it can be refused. */
#define STACK_BYTES ((size_t)64 << 20)

/* What can be made to fail, and how. */
#define FAILING_FUNCTIONS(F)                                                                       \
    F(POSIX_MEMALIGN, ENOMEM)                                                                      \
    F(CALLOC, ENOMEM)                                                                              \
    F(MALLOC, ENOMEM)                                                                              \
    F(EVENTFD, EMFILE)                                                                             \
    F(TIMERFD_CREATE, EMFILE)                                                                      \
    F(EPOLL_CREATE, EMFILE)                                                                        \
    F(EPOLL_CTL, ENOMEM)                                                                           \
    F(PTHREAD_CREATE, EAGAIN)                                                                      \
    F(PTHREAD_ATTR_INIT, ENOMEM)                                                                   \
    F(PTHREAD_ATTR_SETSTACKSIZE, EINVAL)                                                           \
    F(SCHED_SETAFFINITY, EPERM)                                                                    \
    F(PTHREAD_SETNAME, EIO)                                                                        \
    F(SCHED_SETSCHEDULER, EPERM)                                                                   \
    F(SETPRIORITY, EACCES)                                                                         \
    F(MEMFD_CREATE, EMFILE)                                                                        \
    F(FALLOCATE, ENOMEM)                                                                           \
    F(FCNTL, EMFILE)                                                                               \
    F(PWRITEV, EIO)                                                                                \
    F(MMAP, ENOMEM)                                                                                \
    F(POSIX_SPAWN_ADDDUP2, ENOMEM)                                                                 \
    F(POSIX_SPAWN, EAGAIN)                                                                         \
    F(PIDFD_OPEN, EMFILE)

#define FUNCTION_NAME(function, error) function,
enum function { FAILING_FUNCTIONS(FUNCTION_NAME) FUNCTIONS };

/* What the wrappers have counted. */
struct counts {
    _Atomic unsigned hits;        /* calls that were made to fail */
    _Atomic unsigned allocations; /* calls, ever */
    _Atomic int live;             /* allocations not yet freed */
    _Atomic int live_attributes;
    _Atomic int unjoined;                /* threads */
    _Atomic unsigned membarriers_global; /* asked for */
    _Atomic unsigned naps;               /* after a membarrier that failed */
    _Atomic unsigned futex_waits;
};
extern struct counts counts;

/* The n-th call from now on fails; 0: none; EVERY: each. */
#define EVERY UINT32_MAX
void arm_fault(enum function function, unsigned n);

/* These commands of membarrier's (ored) fail from now on. */
void refuse_membarrier(unsigned commands, int error);

/* Every second wait for a futex answers so at once; 0: none. */
void answer_futexes(int error);

/* Just before this fd is cleared, once, the first gate opens, and somebody comes to the second. */
extern struct gate before_clear[2];
void catch_clear(int fd);

/* What is made and unmade: 0, or what strait answered. */
typedef int create_fn(void);

/* Fails each call of each function. `at_least`: so many calls must be found, or the test tests
 * nothing. `optional`, FUNCTIONS if none: strait may do without this one. */
void fail_everything(create_fn *create, const unsigned at_least[FUNCTIONS], enum function optional);

/* For what is decided once per process: runs the test in a process of its own (with `variable` in
 * its environment, if not NULL), asserts that it passes there, and returns false; true there.
 *
 *   if (!alone(__func__, NULL)) { return; } */
bool alone(const char *test, const char *variable);

/* A variable that makes sched_getaffinity fail, even before main. */
#define NO_AFFINITY "STRAIT_FAULT_AFFINITY"

#endif /* STRAIT_TESTS_FAULTS_H */
