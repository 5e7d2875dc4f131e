/* SPDX-License-Identifier: MIT */
/*
 * faults: every call of the system's that strait makes while it creates something fails once.
 *
 * The library is compiled into the program, and the linker turns its calls of some functions to the
 * wrappers of faults.c (--wrap). A fault fails the n-th call of one function, for n = 1, 2, ...
 * until there is no n-th: each creation must then answer with a negative errno, leave nothing
 * behind, and succeed when it is tried again. What the C library calls in turn fails in the kernel,
 * by a seccomp filter that asks a thread of the test each time.
 */
#ifndef STRAIT_TESTS_FAULTS_H
#define STRAIT_TESTS_FAULTS_H

#include "harness.h"

/* A sanitizer's runtime that is linked into the program is wrapped too, and has attributes of its
 * own. */
#define RUNTIME_INTERFERES (TEST_TSAN || TEST_ASAN)

/* More than the C library keeps of the stacks of threads that have ended: each is mapped anew. */
#define STACK_BYTES ((size_t)64 << 20)

enum function {
    POSIX_MEMALIGN,
    CALLOC,
    MALLOC,
    EVENTFD,
    TIMERFD_CREATE,
    EPOLL_CREATE,
    EPOLL_CTL,
    PTHREAD_CREATE,
    PTHREAD_ATTR_INIT,
    PTHREAD_ATTR_SETSTACKSIZE,
    SCHED_SETAFFINITY,
    PTHREAD_SETNAME,
    SCHED_SETSCHEDULER,
    SETPRIORITY,
    MEMFD_CREATE,
    FALLOCATE,
    FCNTL,
    PWRITEV,
    MMAP,
    POSIX_SPAWN_ADDDUP2,
    POSIX_SPAWN,
    PIDFD_OPEN,
    FUNCTIONS,
};

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

/* Refuses each system call of each kind that the creation makes; calls `meanwhile` in between, on a
 * thread that asks the kernel, too. Does not return: the process is not to be used any more. */
_Noreturn void refuse_everything(create_fn *create, void (*meanwhile)(void), unsigned clones);

/* For what is decided once per process: runs the test in a process of its own (with `variable` in
 * its environment, if not NULL), asserts that it passes there, and returns false; true there.
 *
 *   if (!alone(__func__, NULL)) { return; } */
bool alone(const char *test, const char *variable);

/* A variable that makes sched_getaffinity fail, even before main. */
#define NO_AFFINITY "STRAIT_FAULT_AFFINITY"

#endif /* STRAIT_TESTS_FAULTS_H */
