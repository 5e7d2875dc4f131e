/* SPDX-License-Identifier: MIT */
/* child: calls that are safe between fork and exec, and none that allocates. */
#include "strait/extra/child.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Room for 8192 CPUs, as the kernel knows at most. */
#define MASK_WORDS (8192 / (8 * sizeof(unsigned long)))

/* Of the process's first thread. 0 or -errno. */
static int take_cpus(pid_t of)
{
    unsigned long mask[MASK_WORDS];
    long bytes = syscall(SYS_sched_getaffinity, of, sizeof(mask), mask);
    return bytes < 0 || syscall(SYS_sched_setaffinity, 0, (size_t)bytes, mask) < 0 ? -errno : 0;
}

/* musl's functions of these names say -ENOSYS. */
static int take_class(pid_t of)
{
    struct sched_param parameters = {.sched_priority = 0};
    long policy = syscall(SYS_sched_getscheduler, of);
    if (policy < 0 || syscall(SYS_sched_getparam, of, &parameters) < 0) {
        return -errno;
    }
    /* though it is the same: that gives the time slice back, too */
    return syscall(SYS_sched_setscheduler, 0, (int)policy, &parameters) == 0 ? 0 : -errno;
}

static int take_nice(pid_t of)
{
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, (id_t)of);
    if (errno) {
        return -errno;
    }
    return getpriority(PRIO_PROCESS, 0) == nice || setpriority(PRIO_PROCESS, 0, nice) == 0 ? 0
                                                                                           : -errno;
}

int strait_child_reset(void)
{
    int saved = errno;
    sigset_t none;
    pid_t parent = getppid();
    int cpus = take_cpus(parent);
    int nice = take_nice(parent);
    int class = take_class(parent);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* the last: a handler may end the child */
    errno = saved;
    return cpus ? cpus : class ? class : nice;
}
