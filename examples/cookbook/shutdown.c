/* SPDX-License-Identifier: MIT */
/*
 * shutdown: a signal ends the program in time. The loop submits no more; what waits is computed
 * until a deadline; then it is given up, and what runs is told so. Nothing is lost in silence: each
 * task completes, as done or as abandoned.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "strait.h"

#define TASKS 1000
#define DRAIN_NS 100000000

static unsigned by_status[STRAIT_TASK_ABANDONED + 1];

static int compute(struct strait_task *task) /* on a worker: 10 ms, in steps */
{
    struct timespec step = {.tv_nsec = 1000000};
    for (int i = 0; i < 10; i++) {
        if (strait_task_cancelled(task)) {
            return -ECANCELED;
        }
        nanosleep(&step, NULL);
    }
    return 0;
}

static void computed(struct strait_task *task) /* in the loop, and while the pool is finished */
{
    by_status[task->status]++;
}

int main(void)
{
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    struct strait_task task = {.run = compute, .name = "compute", .done = computed};
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* here alone: workers block all signals */
    int signals = signalfd(-1, &ends, SFD_CLOEXEC);
    if (signals < 0 || strait_pool_create(&pool, NULL) || strait_pool_attach(pool, &parent, NULL)) {
        return EXIT_FAILURE;
    }
    for (int i = 0; i < TASKS; i++) {
        if (strait_task_submit(parent, &task, NULL, NULL)) {
            return EXIT_FAILURE;
        }
    }
    kill(getpid(), SIGTERM); /* somebody wants us to end */
    struct pollfd loop[] = {{.fd = strait_parent_fd(parent), .events = POLLIN},
                            {.fd = signals, .events = POLLIN}};
    while (poll(loop, 2, -1) > 0 && !loop[1].revents) {
        strait_parent_dispatch(parent, 0);
    }
    int error = strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, strait_deadline(DRAIN_NS));
    if (error == -ETIMEDOUT) { /* nothing is gone yet: go on, by cancelling */
        error = strait_pool_finish(pool, parent, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
    }
    close(signals);
    unsigned done = by_status[STRAIT_TASK_DONE], told = by_status[STRAIT_TASK_CANCELLED];
    unsigned abandoned = by_status[STRAIT_TASK_ABANDONED];
    printf("%u done, %u told to stop, %u abandoned\n", done, told, abandoned);
    return error || done + told + abandoned != TASKS;
}
