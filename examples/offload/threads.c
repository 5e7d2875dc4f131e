/* SPDX-License-Identifier: MIT */
/* threads: the pool as one writes it by hand. */
#include "threads.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue {
    struct job *first;
    struct job **end;
};

struct threads {
    pthread_mutex_t lock; /* of all that follows, but for what never changes */
    pthread_cond_t work;
    struct queue waiting;
    struct queue ended; /* and not yet dispatched */
    struct threads_stats stats;
    bool closed;
    int fd;
    unsigned count;
    pthread_t ids[];
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
    struct threads *threads = argument;
    pthread_mutex_lock(&threads->lock);
    for (;;) {
        while (!threads->waiting.first && !threads->closed) {
            pthread_cond_wait(&threads->work, &threads->lock);
        }
        if (!threads->waiting.first) {
            break;
        }
        struct job *job = queue_take(&threads->waiting);
        threads->stats.queued--;
        threads->stats.running++;
        pthread_mutex_unlock(&threads->lock);
        job->run(job);
        pthread_mutex_lock(&threads->lock);
        job->ran = true;
        queue_add(&threads->ended, job);
        eventfd_write(threads->fd, 1);
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

int threads_create(struct threads **created, unsigned count, size_t limit)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    count = count ? count : cpus > 0 ? (unsigned)cpus : 1;
    struct threads *threads = calloc(1, sizeof(*threads) + count * sizeof(threads->ids[0]));
    if (!threads) {
        return -ENOMEM;
    }
    threads->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (threads->fd < 0) {
        int error = -errno;
        free(threads);
        return error;
    }
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->work, NULL);
    queue_clear(&threads->waiting);
    queue_clear(&threads->ended);
    threads->stats.workers = count;
    threads->stats.queue_limit = limit;
    int error = 0;
    while (threads->count < count && error == 0) {
        error = -pthread_create(&threads->ids[threads->count], NULL, work, threads);
        threads->count += error == 0;
    }
    if (error) {
        threads_close(threads);
        threads_destroy(threads);
        return error;
    }
    *created = threads;
    return 0;
}

int threads_submit(struct threads *threads, struct job *job)
{
    int error = 0;
    pthread_mutex_lock(&threads->lock);
    if (threads->closed) {
        error = -EPIPE;
    } else if (threads->stats.queued == threads->stats.queue_limit) {
        threads->stats.refused++;
        error = -EAGAIN;
    } else {
        threads->stats.submitted++;
        threads->stats.queued++;
        queue_add(&threads->waiting, job);
        pthread_cond_signal(&threads->work);
    }
    pthread_mutex_unlock(&threads->lock);
    return error;
}

int threads_fd(const struct threads *threads)
{
    return threads->fd;
}

void threads_dispatch(struct threads *threads)
{
    eventfd_t count;
    pthread_mutex_lock(&threads->lock);
    eventfd_read(threads->fd, &count);
    struct job *job = threads->ended.first;
    queue_clear(&threads->ended);
    for (struct job *each = job; each; each = each->next) {
        threads->stats.running -= each->ran;
        threads->stats.queued -= !each->ran;
        threads->stats.done += each->ran;
        threads->stats.abandoned += !each->ran;
    }
    pthread_mutex_unlock(&threads->lock);
    while (job) {
        struct job *next = job->next;
        job->done(job);
        job = next;
    }
}

void threads_stats(struct threads *threads, struct threads_stats *stats)
{
    pthread_mutex_lock(&threads->lock);
    *stats = threads->stats;
    pthread_mutex_unlock(&threads->lock);
}

void threads_close(struct threads *threads)
{
    pthread_mutex_lock(&threads->lock);
    threads->closed = true;
    while (threads->waiting.first) {
        queue_add(&threads->ended, queue_take(&threads->waiting));
    }
    eventfd_write(threads->fd, 1);
    pthread_cond_broadcast(&threads->work);
    pthread_mutex_unlock(&threads->lock);
}

void threads_destroy(struct threads *threads)
{
    if (!threads) {
        return;
    }
    for (unsigned i = 0; i < threads->count; i++) {
        pthread_join(threads->ids[i], NULL);
    }
    close(threads->fd);
    pthread_cond_destroy(&threads->work);
    pthread_mutex_destroy(&threads->lock);
    free(threads);
}
