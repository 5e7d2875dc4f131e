/* SPDX-License-Identifier: MIT */
/* in_machines: heavy requests are tasks for pools on other machines, behind Gearman's job server:
 * cluster/host.c is what those machines run. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute.h"
#include "strait_gearman.h"

struct computer {
    struct strait_gearman *remote;
    size_t limit;
};

/* On the loop. */
static void on_done(struct strait_task *task)
{
    struct job *job = task->context;
    memcpy(&job->order, task->data, sizeof(job->order));
    job->done(job, task->status);
}

static int create(struct computer **created, const struct settings *settings)
{
    struct strait_gearman_options options = {.servers = settings->machines,
                                             .owed_max = settings->pool.queue_limit};
    struct computer *self = calloc(1, sizeof(*self));
    int error = self ? strait_gearman_create(&self->remote, &options) : -ENOMEM;
    if (error) {
        free(self);
        return error;
    }
    self->limit = options.owed_max;
    *created = self;
    return 0;
}

static int submit(struct computer *self, struct job *job)
{
    struct strait_process_task task = {.task = {.name = "heavy", .done = on_done, .context = job}};
    struct strait_gearman_submit_options how = {
        .finish_by = job->within ? strait_in_ms(job->within) : 0,
    };
    memcpy(task.task.data, &job->order, sizeof(job->order));
    return strait_gearman_submit(self->remote, &task, &how, &job->task);
}

static int fd(struct computer *self)
{
    return strait_gearman_fd(self->remote);
}

static void dispatch(struct computer *self)
{
    strait_gearman_dispatch(self->remote, 0);
}

static void cancel(struct computer *self, struct job *job)
{
    strait_gearman_cancel(self->remote, job->task);
}

/* How many wait and how many run, the job server alone knows: all are shown as running. */
static void stats(struct computer *self, struct computer_stats *stats)
{
    struct strait_gearman_stats seen;
    strait_gearman_stats(self->remote, &seen);
    stats->running = seen.owed;
    stats->queue_limit = self->limit;
    snprintf(stats->more, sizeof(stats->more),
             ", \"server\": \"%.64s\", \"again\": %" PRIu64 ", \"dropped\": %" PRIu64,
             seen.server ? seen.server : "", seen.again, seen.dropped);
}

static void destroy(struct computer *self)
{
    strait_gearman_destroy(self->remote);
    free(self);
}

const struct compute compute_in_machines = {
    .expires = true,
    .create = create,
    .submit = submit,
    .fd = fd,
    .dispatch = dispatch,
    .cancel = cancel,
    .stats = stats,
    .destroy = destroy,
};
