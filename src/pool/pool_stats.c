/* SPDX-License-Identifier: MIT */
/*
 * pool_stats: what is seen of a pool from outside, while it goes on.
 *
 * Nobody is stopped, so the counters are read while they move. They only grow, and each is read
 * after those that it bounds: what is completed, then what has started, then what was submitted. So
 * no difference between them is negative, and they add up because queued and running are such
 * differences.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "pool.h"

/* ---- counters ---- */

static uint64_t read_count(const uintptr_t *counter)
{
    /* stats.read: pairs with stats.count; what was counted before */
    return strait_word_load_acquire(counter);
}

static uint64_t started_by(const struct strait_parent *parent)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i <= parent->pool->options.workers_max; i++) {
        sum += read_count(&parent->links[i].started);
    }
    return sum;
}

static void add_parent(struct strait_pool_stats *stats, const struct strait_parent *parent)
{
    uint64_t completed[STRAIT_TASK_ABANDONED + 1];
    uint64_t all = 0;
    for (unsigned i = 0; i <= STRAIT_TASK_ABANDONED; i++) {
        completed[i] = read_count(&parent->completed[i]);
        all += completed[i];
    }
    uint64_t finished = read_count(&parent->finished);
    uint64_t running = started_by(parent) - finished;
    uint64_t submitted = read_count(&parent->submitted);
    /* the parent alone writes it */
    uint64_t queued_max = strait_word_load_relaxed(&parent->queued_max);
    stats->submitted += submitted;
    stats->done += completed[STRAIT_TASK_DONE];
    stats->failed += completed[STRAIT_TASK_FAILED];
    stats->cancelled += completed[STRAIT_TASK_CANCELLED];
    stats->expired += completed[STRAIT_TASK_EXPIRED];
    stats->abandoned += completed[STRAIT_TASK_ABANDONED];
    stats->running += running;
    stats->queued += submitted - all - running;
    stats->refused += read_count(&parent->refused);
    stats->queued_max = queued_max > stats->queued_max ? queued_max : stats->queued_max;
    /* the parent writes it, and once it has left the keeper */
    stats->parents += strait_load_relaxed(&parent->state) == STRAIT_ATTACHED;
}

static uint64_t count_busy(const struct strait_pool *pool)
{
    uint64_t busy = 0;
    for (unsigned i = 0; i < pool->options.workers_max; i++) {
        /* the worker alone writes it */
        busy += strait_word_load_relaxed(&pool->workers[i].run) != 0;
    }
    return busy;
}

void strait_pool_stats(const struct strait_pool *pool, struct strait_pool_stats *stats)
{
    memset(stats, 0, sizeof(*stats));
    for (uint32_t i = 0; i < strait_parent_count(pool); i++) {
        add_parent(stats, strait_parent_at(pool, i));
    }
    stats->queue_limit = pool->options.queue_limit;
    /* the keeper alone writes it */
    stats->workers = strait_load_relaxed(&pool->online);
    stats->idle = stats->workers - strait_min(count_busy(pool), stats->workers);
}

/* ---- workers ---- */

static void read_running(const struct strait_pool *pool, const struct pool_worker *worker,
                         struct strait_pool_worker_stats *stats)
{
    uint64_t since;
    stats->run = strait_crew_running(worker, &since);
    if (stats->run && pool->ticks) {
        uint64_t ns = strait_ticks_between(pool->ticks, since, strait_ticks_now(pool->ticks));
        stats->running_ns = (int64_t)ns;
    }
}

int strait_pool_worker_stats(const struct strait_pool *pool, unsigned number,
                             struct strait_pool_worker_stats *stats)
{
    if (number >= pool->options.workers_max) {
        return -EINVAL;
    }
    const struct pool_worker *worker = &pool->workers[number];
    memset(stats, 0, sizeof(*stats));
    stats->number = number;
    stats->cpu = worker->cpu;
    /* the keeper alone writes both */
    uint64_t online_at = strait_wide_load_relaxed(&worker->online_at);
    stats->online_ns = (int64_t)strait_wide_load_relaxed(&worker->online_ns);
    stats->online = online_at != 0;
    /* the worker alone writes them */
    stats->tasks = strait_word_load_relaxed(&worker->tasks);
    stats->busy_ns = (int64_t)strait_wide_load_relaxed(&worker->busy_ns);
    uint32_t thread = strait_load_relaxed(&worker->thread);
    if (stats->online) {
        stats->thread = (int32_t)thread;
        read_running(pool, worker, stats);
        stats->busy_ns += stats->running_ns;
        stats->online_ns += strait_now() - (int64_t)online_at; /* last: it is the longest */
    }
    return 0;
}

/* ---- times ---- */

void strait_times_add(struct strait_histogram *histogram, uint64_t ns)
{
    uint64_t *count = &histogram->counts[strait_histogram_bucket(ns)];
    /* the worker alone writes it */
    strait_wide_store_relaxed(count, *count + 1);
    if (ns > histogram->max) {
        /* the worker alone writes it */
        strait_wide_store_relaxed(&histogram->max, ns);
    }
}

static void times_merge(struct strait_histogram *histogram, const struct strait_histogram *from)
{
    for (unsigned i = 0; i < STRAIT_HISTOGRAM_BUCKETS; i++) {
        /* the worker that owns it writes it */
        histogram->counts[i] += strait_wide_load_relaxed(&from->counts[i]);
    }
    /* the worker that owns it writes it */
    uint64_t max = strait_wide_load_relaxed(&from->max);
    histogram->max = max > histogram->max ? max : histogram->max;
}

void strait_pool_times(const struct strait_pool *pool, struct strait_histogram *waited,
                       struct strait_histogram *ran)
{
    if (waited) {
        memset(waited, 0, sizeof(*waited));
    }
    if (ran) {
        memset(ran, 0, sizeof(*ran));
    }
    for (unsigned i = 0; pool->ticks && i < pool->options.workers_max; i++) {
        if (waited) {
            times_merge(waited, pool->workers[i].waited);
        }
        if (ran) {
            times_merge(ran, pool->workers[i].ran);
        }
    }
}

/* ---- JSON ---- */

struct writer {
    char *buffer;
    size_t size;
    size_t length; /* that it would have, were there room */
};

__attribute__((format(printf, 2, 3))) static void put(struct writer *writer, const char *format,
                                                      ...)
{
    va_list arguments;
    size_t room = writer->length < writer->size ? writer->size - writer->length : 0;
    va_start(arguments, format);
    int length = vsnprintf(room ? writer->buffer + writer->length : NULL, room, format, arguments);
    va_end(arguments);
    writer->length += length > 0 ? (size_t)length : 0;
}

static void put_stats(struct writer *writer, const struct strait_pool_stats *stats)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        {"submitted", stats->submitted},
        {"done", stats->done},
        {"failed", stats->failed},
        {"cancelled", stats->cancelled},
        {"expired", stats->expired},
        {"abandoned", stats->abandoned},
        {"queued", stats->queued},
        {"running", stats->running},
        {"refused", stats->refused},
        {"queued_max", stats->queued_max},
        {"queue_limit", stats->queue_limit},
        {"workers", stats->workers},
        {"idle", stats->idle},
        {"parents", stats->parents},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        put(writer, "\"%s\": %" PRIu64 ", ", fields[i].name, fields[i].value);
    }
}

static void put_times(struct writer *writer, const char *name,
                      const struct strait_histogram *histogram)
{
    static const struct {
        const char *name;
        double percent;
    } points[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}};
    put(writer, "\"%s\": {\"count\": %" PRIu64 ", ", name, strait_histogram_count(histogram));
    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        put(writer, "\"%s\": %" PRIu64 ", ", points[i].name,
            strait_histogram_percentile(histogram, points[i].percent));
    }
    put(writer, "\"max\": %" PRIu64 "}, ", histogram->max);
}

/* In parts of ten thousand, since a point is not a point in every locale. */
static unsigned utilisation(const struct strait_pool_worker_stats *stats)
{
    if (stats->online_ns <= 0) {
        return 0;
    }
    double share = (double)stats->busy_ns / (double)stats->online_ns;
    return (unsigned)((share < 1 ? share : 1) * 10000);
}

static void put_worker(struct writer *writer, const struct strait_pool_worker_stats *stats)
{
    unsigned share = utilisation(stats);
    put(writer,
        "{\"number\": %u, \"online\": %s, \"thread\": %" PRId32 ", \"cpu\": %d, \"tasks\": %" PRIu64
        ", \"busy_ns\": %" PRId64 ", \"online_ns\": %" PRId64
        ", \"utilisation\": %u.%04u, \"run\": ",
        stats->number, stats->online ? "true" : "false", stats->thread, stats->cpu, stats->tasks,
        stats->busy_ns, stats->online_ns, share / 10000, share % 10000);
    if (stats->run) {
        put(writer, "\"0x%" PRIxPTR "\"", (uintptr_t)stats->run);
    } else {
        put(writer, "null");
    }
    put(writer, ", \"running_ns\": %" PRId64 "}", stats->running_ns);
}

size_t strait_pool_json(const struct strait_pool *pool, char *buffer, size_t size)
{
    struct writer writer = {.buffer = buffer, .size = size};
    struct strait_pool_stats stats;
    struct strait_histogram times;
    strait_pool_stats(pool, &stats);
    put(&writer, "{");
    put_stats(&writer, &stats);
    strait_pool_times(pool, &times, NULL);
    put_times(&writer, "wait_ns", &times);
    strait_pool_times(pool, NULL, &times);
    put_times(&writer, "run_ns", &times);
    put(&writer, "\"per_worker\": [");
    for (unsigned i = 0; i < pool->options.workers_max; i++) {
        struct strait_pool_worker_stats worker;
        strait_pool_worker_stats(pool, i, &worker);
        put(&writer, "%s", i ? ", " : "");
        put_worker(&writer, &worker);
    }
    put(&writer, "]}");
    if (writer.length >= size && size > 0) {
        buffer[0] = '\0';
    }
    return writer.length;
}
