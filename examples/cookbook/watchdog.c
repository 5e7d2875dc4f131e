/* SPDX-License-Identifier: MIT */
/*
 * watchdog: a thread that looks at a pool's workers and names each task that runs for too long. It
 * asks nothing of the workers, so that one which is stuck for ever is seen as well.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "strait.h"

#define LOOK_NS 20000000   /* from one look to the next */
#define STALL_NS 100000000 /* longer than any task of this program should run */

static _Atomic unsigned stalls; /* the watchdog writes */

static int watch(struct strait_port *port, void *pool)
{
    uint64_t told[STRAIT_POOL_WORKERS_MAX] = {0}; /* of each worker, the task: not twice the same */
    while (strait_receive_wait(&port->receiver, strait_deadline(LOOK_NS)) == -ETIMEDOUT) {
        struct strait_pool_worker_stats worker;
        for (unsigned i = 0; strait_pool_worker_stats(pool, i, &worker) == 0; i++) {
            if (worker.run && worker.running_ns > STALL_NS && told[i] != worker.tasks) {
                told[i] = worker.tasks;
                stalls++;
                fprintf(stderr, "thread %d: \"%s\" runs for %" PRId64 " ms\n", (int)worker.thread,
                        worker.name ? worker.name : "?", worker.running_ns / 1000000);
            }
        }
    }
    return 0; /* the parent has closed the port, or asks the watchdog to stop */
}

static int nap(struct strait_task *task) /* what a task of this program does */
{
    struct timespec ms = {.tv_nsec = 1000000};
    (void)task;
    nanosleep(&ms, NULL);
    return 0;
}

static int hang(struct strait_task *task) /* and what it should not: here until it is found */
{
    while (stalls == 0) {
        nap(task);
    }
    return 0;
}

int main(void)
{
    struct strait_pool_options options = {.timed = true}; /* running_ns needs it */
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    struct strait_worker *watchdog;
    struct strait_task quick = {.run = nap, .name = "quick"};
    struct strait_task stuck = {.run = hang, .name = "stuck"};
    if (strait_pool_create(&pool, &options) || strait_pool_attach(pool, &parent, NULL)) {
        return EXIT_FAILURE;
    }
    struct strait_worker_options dog = {.entry = watch, .data = pool, .name = "watchdog"};
    if (strait_worker_spawn(&watchdog, &dog) || strait_task_submit(parent, &stuck, NULL, NULL)) {
        return EXIT_FAILURE;
    }
    for (int i = 0; i < 50; i++) {
        if (strait_task_submit(parent, &quick, NULL, NULL)) {
            return EXIT_FAILURE;
        }
    }
    strait_parent_wait_all(parent, STRAIT_FOREVER);
    strait_worker_stop(watchdog); /* before the pool that it looks at */
    strait_worker_join(watchdog, STRAIT_FOREVER);
    strait_worker_destroy(watchdog);
    return strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER) || stalls == 0;
}
