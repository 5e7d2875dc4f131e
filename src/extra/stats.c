/* SPDX-License-Identifier: MIT */
/* stats: histograms, and a pool's times and counters for people and their tools. */
#include "strait/extra/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- histograms ---- */

uint64_t strait_histogram_first(unsigned bucket)
{
    if (bucket < 2 * STRAIT_HISTOGRAM_STEPS) {
        return bucket;
    }
    unsigned shift = bucket / STRAIT_HISTOGRAM_STEPS - 1;
    return (uint64_t)(bucket - shift * STRAIT_HISTOGRAM_STEPS) << shift;
}

uint64_t strait_histogram_width(unsigned bucket)
{
    return bucket < 2 * STRAIT_HISTOGRAM_STEPS
               ? 1
               : (uint64_t)1 << (bucket / STRAIT_HISTOGRAM_STEPS - 1);
}

void strait_histogram_add(struct strait_histogram *histogram, uint64_t ns)
{
    histogram->counts[strait_histogram_bucket(ns)]++;
    histogram->max = ns > histogram->max ? ns : histogram->max;
}

void strait_histogram_merge(struct strait_histogram *histogram, const struct strait_histogram *from)
{
    for (unsigned i = 0; i < STRAIT_HISTOGRAM_BUCKETS; i++) {
        histogram->counts[i] += from->counts[i];
    }
    histogram->max = from->max > histogram->max ? from->max : histogram->max;
}

uint64_t strait_histogram_count(const struct strait_histogram *histogram)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < STRAIT_HISTOGRAM_BUCKETS; i++) {
        count += histogram->counts[i];
    }
    return count;
}

/* The nearest rank, from 1: what makes 99.99 % of 10,000 the 9,999th however it is rounded. */
static uint64_t rank_of(double percent, uint64_t count)
{
    double exact = percent / 100 * (double)count;
    uint64_t rank = (uint64_t)exact;
    double rounding = 1e-9 * exact < 0.5 ? 1e-9 * exact : 0.5;
    if (exact - (double)rank > rounding) {
        rank++;
    }
    return rank < 1 ? 1 : rank > count ? count : rank;
}

uint64_t strait_histogram_percentile(const struct strait_histogram *histogram, double percent)
{
    uint64_t count = strait_histogram_count(histogram);
    if (count == 0) {
        return 0;
    }
    uint64_t rank = percent > 0 ? rank_of(percent < 100 ? percent : 100, count) : 1;
    unsigned bucket = 0;
    for (uint64_t seen = histogram->counts[0]; seen < rank; seen += histogram->counts[bucket]) {
        bucket++;
    }
    uint64_t middle = strait_histogram_first(bucket) + (strait_histogram_width(bucket) - 1) / 2;
    return middle < histogram->max ? middle : histogram->max;
}

/* ---- a pool's times ---- */

void strait_pool_times_add(struct strait_pool_times *times, const struct strait_task *task)
{
    int64_t ran = strait_task_ran_ns(task);
    if (ran > 0) {
        strait_histogram_add(&times->waited, (uint64_t)strait_task_waited_ns(task));
        strait_histogram_add(&times->ran, (uint64_t)ran);
    }
}

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

/* Returns the length. What does not fit is not told at all. */
static size_t finish(struct writer *writer)
{
    if (writer->length >= writer->size && writer->size > 0) {
        writer->buffer[0] = '\0';
    }
    return writer->length;
}

static void put_counters(struct writer *writer, const struct strait_pool_stats *stats)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        {"submitted", stats->submitted},   {"done", stats->done},
        {"failed", stats->failed},         {"cancelled", stats->cancelled},
        {"expired", stats->expired},       {"abandoned", stats->abandoned},
        {"queued", stats->queued},         {"running", stats->running},
        {"refused", stats->refused},       {"in_place", stats->in_place},
        {"queued_max", stats->queued_max}, {"queue_limit", stats->queue_limit},
        {"workers", stats->workers},       {"idle", stats->idle},
        {"parents", stats->parents},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        put(writer, "\"%s\": %" PRIu64 ", ", fields[i].name, fields[i].value);
    }
}

static void put_histogram(struct writer *writer, const char *name,
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

/* A name may hold anything. */
static void put_string(struct writer *writer, const char *text)
{
    put(writer, "\"");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        put(writer, c < ' ' || c == '"' || c == '\\' ? "\\u%04x" : "%c", c);
    }
    put(writer, "\"");
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
    static const char *const classes[] = {"default", "normal", "batch", "idle"};
    unsigned share = utilisation(stats);
    put(writer,
        "{\"number\": %u, \"online\": %s, \"thread\": %" PRId32
        ", \"cpu\": %d, \"class\": \"%s\", \"nice\": %d, \"reason\": ",
        stats->number, stats->online ? "true" : "false", stats->thread, stats->cpu,
        classes[stats->schedule], stats->nice);
    put_string(writer, stats->reason);
    put(writer,
        ", \"tasks\": %" PRIu64 ", \"busy_ns\": %" PRId64 ", \"online_ns\": %" PRId64
        ", \"utilisation\": %u.%04u, \"task\": ",
        stats->tasks, stats->busy_ns, stats->online_ns, share / 10000, share % 10000);
    if (stats->run && stats->name) {
        put_string(writer, stats->name);
    } else if (stats->run) {
        put(writer, "\"0x%" PRIxPTR "\"", (uintptr_t)stats->run);
    } else {
        put(writer, "null");
    }
    put(writer, ", \"running_ns\": %" PRId64 "}", stats->running_ns);
}

size_t strait_pool_json(struct strait_pool *pool, const struct strait_pool_times *times,
                        char *buffer, size_t size)
{
    struct writer writer = {.buffer = buffer, .size = size};
    struct strait_pool_stats stats;
    strait_pool_stats(pool, &stats);
    put(&writer, "{");
    put_counters(&writer, &stats);
    if (times) {
        put_histogram(&writer, "wait_ns", &times->waited);
        put_histogram(&writer, "run_ns", &times->ran);
    }
    put(&writer, "\"per_worker\": [");
    const char *between = "";
    for (unsigned i = 0; i < STRAIT_POOL_WORKERS_MAX; i++) {
        struct strait_pool_worker_stats worker;
        if (strait_pool_worker_stats(pool, i, &worker) == 0) {
            put(&writer, "%s", between);
            put_worker(&writer, &worker);
            between = ", ";
        }
    }
    put(&writer, "]}");
    return finish(&writer);
}

/* ---- where workers run ---- */

#define MASK_BYTES_MOST ((size_t)1 << 17) /* a million CPUs */

struct place {
    struct strait_pool_worker_stats worker;
    cpu_set_t *cpus; /* `bytes` of them, allocated; NULL: unknown, or there is no such worker */
    size_t bytes;
};

static struct place place_of(const struct strait_pool *pool, unsigned number)
{
    struct place place = {.bytes = sizeof(cpu_set_t)};
    int saved = errno;
    bool online = strait_pool_worker_stats(pool, number, &place.worker) == 0 && place.worker.online;
    while (online && (place.cpus = calloc(1, place.bytes)) != NULL &&
           sched_getaffinity(place.worker.thread, place.bytes, place.cpus) != 0) {
        online = errno == EINVAL && place.bytes < MASK_BYTES_MOST;
        place.bytes *= 2;
        free(place.cpus);
        place.cpus = NULL;
    }
    errno = saved;
    return place;
}

static bool is_same_place(const struct place *a, const struct place *b)
{
    return a->cpus && b->cpus && a->bytes == b->bytes && memcmp(a->cpus, b->cpus, a->bytes) == 0 &&
           a->worker.nice == b->worker.nice && strcmp(a->worker.reason, b->worker.reason) == 0;
}

/* Numbers of which there may be one: "CPU 3", "CPUs 0-3,8". */
static void put_range(struct writer *writer, const char *before, size_t first, size_t last)
{
    put(writer, first < last ? "%s%zu-%zu" : "%s%zu", before, first, last);
}

static void put_place(struct writer *writer, const struct place *place, unsigned last)
{
    const struct strait_pool_worker_stats *worker = &place->worker;
    size_t cpus = 8 * place->bytes;
    const char *before = CPU_COUNT_S(place->bytes, place->cpus) > 1 ? ": CPUs " : ": CPU ";
    put_range(writer, worker->number < last ? "workers " : "worker ", worker->number, last);
    for (size_t first = 0, next; first < cpus; first = next + 1) {
        for (next = first; next < cpus && CPU_ISSET_S(next, place->bytes, place->cpus); next++) {
        }
        if (next > first) {
            put_range(writer, before, first, next - 1);
            before = ",";
        }
    }
    put(writer, ", nice %d: %s\n", worker->nice, worker->reason);
}

size_t strait_pool_places(const struct strait_pool *pool, char *buffer, size_t size)
{
    struct writer writer = {.buffer = buffer, .size = size};
    struct place place = place_of(pool, 0);
    for (unsigned number = 1; number <= STRAIT_POOL_WORKERS_MAX; number++) {
        struct place next = place_of(pool, number); /* there is none after the last */
        if (is_same_place(&place, &next)) {
            free(next.cpus);
            continue;
        }
        if (place.cpus) {
            put_place(&writer, &place, number - 1);
            free(place.cpus);
        }
        place = next;
    }
    return finish(&writer);
}
