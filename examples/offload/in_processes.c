/* SPDX-License-Identifier: MIT */
/* in_processes: heavy requests are tasks of a pool of processes. Its workers are this program
 * again: what main hands to strait_process_main is at the end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compute.h"

/* What a request that says nothing else has, where it hangs. */
#define HANG_MS 1000

struct computer {
    struct strait_process_pool *pool;
    size_t queue_limit;
};

/* In a worker. */
static int run(struct strait_task *task)
{
    struct order order;
    memcpy(&order, task->data, sizeof(order));
    if (order.harm == HARM_CRASH) {
        abort();
    }
    while (order.harm == HARM_HANG) {
        burn_run(&order.burn, NULL, NULL);
    }
    int result = burn_run(&order.burn, NULL, NULL);
    memcpy(task->data, &order, sizeof(order));
    return result;
}

/* On the loop. */
static void on_done(struct strait_task *task)
{
    struct job *job = task->context;
    memcpy(&job->order, task->data, sizeof(job->order));
    job->done(job, task->status);
}

static int create(struct computer **created, const struct settings *settings)
{
    struct strait_process_pool_options options = {.workers = settings->pool.workers,
                                                  .queue_limit = settings->pool.queue_limit};
    struct computer *self = calloc(1, sizeof(*self));
    int error = self ? strait_process_pool_create(&self->pool, &options) : -ENOMEM;
    if (error) {
        free(self);
        return error;
    }
    self->queue_limit = options.queue_limit;
    *created = self;
    return 0;
}

/* Its worker is killed at the deadline. */
static int submit(struct computer *self, struct job *job)
{
    struct strait_process_task task = {.task = {.name = "heavy", .done = on_done, .context = job}};
    uint32_t ms = !job->within && job->order.harm == HARM_HANG ? HANG_MS : job->within;
    struct strait_process_submit_options how = {.finish_by = ms ? strait_in_ms(ms) : 0};
    memcpy(task.task.data, &job->order, sizeof(job->order));
    return strait_process_submit(self->pool, &task, &how, &job->task);
}

static int fd(struct computer *self)
{
    return strait_process_pool_fd(self->pool);
}

static void dispatch(struct computer *self)
{
    strait_process_pool_dispatch(self->pool, 0);
}

static void cancel(struct computer *self, struct job *job)
{
    strait_process_cancel(self->pool, job->task);
}

static void stats(struct computer *self, struct computer_stats *stats)
{
    uint64_t owed = strait_process_pool_owed(self->pool);
    for (unsigned n = 0; n < STRAIT_PROCESS_POOL_WORKERS_MAX; n++) {
        stats->workers += strait_process_pool_pid(self->pool, n) != 0;
    }
    stats->running = owed < stats->workers ? owed : stats->workers;
    stats->queued = owed - stats->running;
    stats->queue_limit = self->queue_limit;
}

static void destroy(struct computer *self)
{
    strait_process_pool_destroy(self->pool);
    free(self);
}

const struct compute compute_in_processes = {
    .bears_harm = true,
    .expires = true,
    .create = create,
    .submit = submit,
    .fd = fd,
    .dispatch = dispatch,
    .cancel = cancel,
    .stats = stats,
    .destroy = destroy,
};

const struct strait_process_function process_functions[] = {
    {.name = "heavy", .run = run},
    {.name = NULL},
};
