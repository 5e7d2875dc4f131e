/* SPDX-License-Identifier: MIT */
/*
 * stats: a pool's times as histograms, and all that is seen of it as JSON.
 *
 *   1. Create the pool with `timed`.
 *   2. In each task's `done`: strait_pool_times_add(&times, task).
 *   3. strait_pool_json(pool, &times, buffer, size).
 *
 * The histograms are the caller's memory, all zero at first, and one thread's at a time: a
 * parent's. Those of several parents are put together by strait_histogram_merge.
 */
#ifndef STRAIT_STATS_H
#define STRAIT_STATS_H

#include "strait/extra/histogram.h"
#include "strait/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct strait_pool_times {
    struct strait_histogram waited; /* for a worker */
    struct strait_histogram ran;
};

/* Counts a task that has run; others it leaves out. In `done`; does not block. */
STRAIT_API void strait_pool_times_add(struct strait_pool_times *times,
                                      const struct strait_task *task);

/* Writes a JSON object, with a final zero, in at most `size` bytes: the counters by the names of
 * strait_pool_stats; "wait_ns" and "run_ns" with count, p50, p90, p99, p99.9, p99.99 and max, if
 * `times` is not NULL; "per_worker", an array, with "utilisation" from 0 to 1, and "run" as an
 * address in hexadecimal or null. Returns how many bytes it takes, without the zero; if that is not
 * less than `size`, the buffer holds an empty string. Times are in nanoseconds. Any thread that may
 * read `times`; does not block. */
STRAIT_API size_t strait_pool_json(struct strait_pool *pool, const struct strait_pool_times *times,
                                   char *buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_STATS_H */
