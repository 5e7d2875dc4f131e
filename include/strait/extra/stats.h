/* SPDX-License-Identifier: MIT */
/*
 * stats: histograms of durations, a pool's times in two of them, all that is seen of a pool as
 * JSON, and where its workers run as text.
 *
 * A histogram counts durations of any length, each known to within 1.6 %. It is log-linear, as Gil
 * Tene's HdrHistogram: each power of two is cut into 32 buckets of one width, so that a bucket is
 * never wider than 1/32 of what it counts; below 64 a bucket is one nanosecond. It is the caller's
 * memory, all zero when it is empty, and one thread's at a time.
 *
 * A pool's times, those of one parent:
 *
 *   1. Create the pool with `timed`.
 *   2. In each task's `done`: strait_pool_times_add(&times, task).
 *   3. strait_pool_json(pool, &times, buffer, size).
 *
 * Those of several parents are put together by strait_histogram_merge.
 */
#ifndef STRAIT_STATS_H
#define STRAIT_STATS_H

#include "strait/pool.h"

STRAIT_C_BEGIN

/* ---- histograms ---- */

#define STRAIT_HISTOGRAM_BITS 5
#define STRAIT_HISTOGRAM_STEPS (1u << STRAIT_HISTOGRAM_BITS) /* buckets in a power of two */
#define STRAIT_HISTOGRAM_BUCKETS ((64 - STRAIT_HISTOGRAM_BITS + 1) * STRAIT_HISTOGRAM_STEPS)

/* One thread writes it. */
struct strait_histogram {
    uint64_t max; /* the longest, exactly */
    uint64_t counts[STRAIT_HISTOGRAM_BUCKETS];
};

/* The bucket that counts `ns`. */
static inline unsigned strait_histogram_bucket(uint64_t ns)
{
    if (ns < 2 * STRAIT_HISTOGRAM_STEPS) {
        return (unsigned)ns;
    }
    unsigned shift = 63u - STRAIT_HISTOGRAM_BITS - (unsigned)__builtin_clzll(ns);
    return shift * STRAIT_HISTOGRAM_STEPS + (unsigned)(ns >> shift);
}

/* The shortest duration that the bucket counts, in nanoseconds, and how many it counts: as many
 * follow it. */
STRAIT_API uint64_t strait_histogram_first(unsigned bucket);
STRAIT_API uint64_t strait_histogram_width(unsigned bucket);

/* Counts one duration, in nanoseconds. */
STRAIT_API void strait_histogram_add(struct strait_histogram *histogram, uint64_t ns);

/* Adds all that `from` has counted. */
STRAIT_API void strait_histogram_merge(struct strait_histogram *histogram,
                                       const struct strait_histogram *from);

/* How many durations it has counted. */
STRAIT_API uint64_t strait_histogram_count(const struct strait_histogram *histogram);

/* The duration, in nanoseconds, that `percent` of all (0 to 100) do not exceed: the middle of its
 * bucket, but never more than max; 0 if there are none. */
STRAIT_API uint64_t strait_histogram_percentile(const struct strait_histogram *histogram,
                                                double percent);

/* ---- a pool's times ---- */

struct strait_pool_times {
    struct strait_histogram waited; /* for a worker */
    struct strait_histogram ran;
};

/* Counts a task that has run; others it leaves out. In `done`; does not block. */
STRAIT_API void strait_pool_times_add(struct strait_pool_times *times,
                                      const struct strait_task *task);

/* Writes a JSON object, with a final zero, in at most `size` bytes: the counters by the names of
 * strait_pool_stats; "wait_ns" and "run_ns" with count, p50, p90, p99, p99.9, p99.99 and max, if
 * `times` is not NULL; "per_worker", an array, with "utilisation" from 0 to 1, and "task", the
 * name of what runs, or the address of its function if it has none, or null. Returns how many bytes
 * it takes, without the zero; if that is not less than `size`, the buffer holds an empty string.
 * Times are in nanoseconds. Any thread that may read `times`; does not block. */
STRAIT_API size_t strait_pool_json(struct strait_pool *pool, const struct strait_pool_times *times,
                                   char *buffer, size_t size);

/* Writes where the pool's workers run, how nice they are and why, as text, such as
 *
 *     workers 0-6: CPUs 0-7,16, nice 0: there are more CPUs than workers
 *
 * One line is for all workers of successive numbers of which the same is to be said. Returns and
 * fits as strait_pool_json. Any thread; does not block. */
STRAIT_API size_t strait_pool_places(const struct strait_pool *pool, char *buffer, size_t size);

STRAIT_C_END

#endif /* STRAIT_STATS_H */
