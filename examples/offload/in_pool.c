/* SPDX-License-Identifier: MIT */
/* in_pool: heavy requests are tasks of a pool, whose one parent is the loop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compute.h"
#include "strait/extra/stats.h"

struct computer {
    struct strait_pool *pool;
    struct strait_parent *parent;
    struct strait_pool_times times; /* of its tasks */
};

/* On a worker. */
static int run(struct strait_task *task)
{
    struct order order;
    memcpy(&order, task->data, sizeof(order));
    int result = burn_run(&order.burn, strait_task_cancelled, task);
    memcpy(task->data, &order, sizeof(order));
    return result;
}

/* On the loop. */
static void on_done(struct strait_task *task)
{
    struct job *job = task->context;
    memcpy(&job->order, task->data, sizeof(job->order));
    strait_pool_times_add(&job->computer->times, task);
    job->done(job, task->status);
}

static void destroy(struct computer *self)
{
    if (self->pool) {
        strait_pool_finish(self->pool, self->parent, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
    }
    free(self);
}

static int create(struct computer **created, const struct settings *settings)
{
    struct computer *self = calloc(1, sizeof(*self));
    int error = self ? strait_pool_create(&self->pool, &settings->pool) : -ENOMEM;
    if (error == 0) {
        error = strait_pool_attach(self->pool, &self->parent, NULL);
    }
    if (error == 0) {
        *created = self;
    } else if (self) {
        destroy(self);
    }
    return error;
}

static int submit(struct computer *self, struct job *job)
{
    struct strait_task task = {.run = run, .done = on_done, .context = job, .name = "heavy"};
    struct strait_submit_options how = {
        .finish_by = job->within ? strait_in_ms(job->within) : 0,
    };
    memcpy(task.data, &job->order, sizeof(job->order));
    job->computer = self;
    return strait_task_submit(self->parent, &task, &how, &job->task);
}

static int fd(struct computer *self)
{
    return strait_parent_fd(self->parent);
}

static void dispatch(struct computer *self)
{
    strait_parent_dispatch(self->parent, 0);
}

static void cancel(struct computer *self, struct job *job)
{
    strait_task_cancel(self->parent, job->task);
}

static char *json(struct computer *self)
{
    size_t size = strait_pool_json(self->pool, &self->times, NULL, 0) + 256; /* numbers grow */
    char *text = malloc(size);
    if (text && strait_pool_json(self->pool, &self->times, text, size) < size) {
        return text;
    }
    free(text);
    return NULL;
}

/* The mean time that tasks have waited for a worker. */
static uint64_t retry_after(struct computer *self)
{
    const struct strait_histogram *waited = &self->times.waited;
    double sum = 0;
    double count = 0;
    for (unsigned i = 0; i < STRAIT_HISTOGRAM_BUCKETS; i++) {
        if (waited->counts[i] > 0) {
            count += (double)waited->counts[i];
            sum += (double)waited->counts[i] * (double)strait_histogram_first(i);
        }
    }
    return 1 + (count > 0 ? (uint64_t)(sum / count / 1e9) : 0);
}

static void stop(struct computer *self)
{
    strait_pool_close(self->pool, STRAIT_CLOSE_CANCEL, 0, NULL); /* only starts it */
}

const struct compute compute_in_pool = {
    .create = create,
    .submit = submit,
    .fd = fd,
    .dispatch = dispatch,
    .cancel = cancel,
    .json = json,
    .retry_after = retry_after,
    .stop = stop,
    .destroy = destroy,
};
