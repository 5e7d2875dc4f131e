/* SPDX-License-Identifier: MIT */
/*
 * in_threads: the pool as one writes it by hand, to compare with: plain threads, a queue under a
 * mutex, a condition variable, and an eventfd that wakes the loop. It cannot cancel, and knows no
 * deadlines.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "compute.h"

struct queue {
    struct job *first;
    struct job **end;
};

struct computer {
    pthread_mutex_t lock; /* of all that follows, but for what never changes */
    pthread_cond_t work;
    struct queue waiting;
    struct queue ended; /* and not yet dispatched */
    uint64_t queued;
    uint64_t running; /* or not yet dispatched */
    bool stopped;
    size_t limit; /* of those that wait */
    int fd;
    unsigned count;
    pthread_t threads[];
};

static void queue_clear(struct queue *queue)
{
    queue->first = NULL;
    queue->end = &queue->first;
}

static void queue_add(struct queue *queue, struct job *job)
{
    job->next = NULL;
    *queue->end = job;
    queue->end = &job->next;
}

static struct job *queue_take(struct queue *queue)
{
    struct job *job = queue->first;
    queue->first = job->next;
    if (!queue->first) {
        queue->end = &queue->first;
    }
    return job;
}

static void *work(void *argument)
{
    struct computer *self = argument;
    pthread_mutex_lock(&self->lock);
    for (;;) {
        while (!self->waiting.first && !self->stopped) {
            pthread_cond_wait(&self->work, &self->lock);
        }
        if (!self->waiting.first) {
            break;
        }
        struct job *job = queue_take(&self->waiting);
        self->queued--;
        self->running++;
        pthread_mutex_unlock(&self->lock);
        burn_run(&job->order.burn, NULL, NULL);
        pthread_mutex_lock(&self->lock);
        job->ran = true;
        queue_add(&self->ended, job);
        eventfd_write(self->fd, 1);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* What runs is finished, what waits is not begun; all of it is still to be dispatched. */
static void stop(struct computer *self)
{
    pthread_mutex_lock(&self->lock);
    self->stopped = true;
    while (self->waiting.first) {
        queue_add(&self->ended, queue_take(&self->waiting));
    }
    eventfd_write(self->fd, 1);
    pthread_cond_broadcast(&self->work);
    pthread_mutex_unlock(&self->lock);
}

static void destroy(struct computer *self)
{
    stop(self);
    for (unsigned i = 0; i < self->count; i++) {
        pthread_join(self->threads[i], NULL);
    }
    close(self->fd);
    pthread_cond_destroy(&self->work);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static int create(struct computer **created, const struct settings *settings)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned count = settings->pool.workers;
    count = count ? count : cpus > 0 ? (unsigned)cpus : 1;
    struct computer *self = calloc(1, sizeof(*self) + count * sizeof(self->threads[0]));
    if (!self) {
        return -ENOMEM;
    }
    self->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (self->fd < 0) {
        int error = -errno;
        free(self);
        return error;
    }
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->work, NULL);
    queue_clear(&self->waiting);
    queue_clear(&self->ended);
    self->limit = settings->pool.queue_limit;
    int error = 0;
    while (self->count < count && error == 0) {
        error = -pthread_create(&self->threads[self->count], NULL, work, self);
        self->count += error == 0;
    }
    if (error) {
        destroy(self);
        return error;
    }
    *created = self;
    return 0;
}

static int submit(struct computer *self, struct job *job)
{
    int error = -EAGAIN;
    pthread_mutex_lock(&self->lock);
    if (self->queued < self->limit) {
        self->queued++;
        queue_add(&self->waiting, job);
        pthread_cond_signal(&self->work);
        error = 0;
    }
    pthread_mutex_unlock(&self->lock);
    return error;
}

static int fd(struct computer *self)
{
    return self->fd;
}

static void dispatch(struct computer *self)
{
    eventfd_t count;
    pthread_mutex_lock(&self->lock);
    eventfd_read(self->fd, &count);
    struct job *job = self->ended.first;
    queue_clear(&self->ended);
    for (struct job *each = job; each; each = each->next) {
        self->running -= each->ran;
        self->queued -= !each->ran;
    }
    pthread_mutex_unlock(&self->lock);
    while (job) {
        struct job *next = job->next;
        job->done(job, job->ran ? STRAIT_TASK_DONE : STRAIT_TASK_ABANDONED);
        job = next;
    }
}

static void stats(struct computer *self, struct computer_stats *stats)
{
    pthread_mutex_lock(&self->lock);
    stats->queued = self->queued;
    stats->running = self->running;
    pthread_mutex_unlock(&self->lock);
    stats->workers = self->count;
    stats->queue_limit = self->limit;
}

const struct compute compute_in_threads = {
    .create = create,
    .submit = submit,
    .fd = fd,
    .dispatch = dispatch,
    .stats = stats,
    .stop = stop,
    .destroy = destroy,
};
