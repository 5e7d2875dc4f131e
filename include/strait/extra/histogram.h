/* SPDX-License-Identifier: MIT */
/*
 * histogram: counts of durations, of any length, each known to within 1.6 %.
 *
 * Log-linear, as in Gil Tene's HdrHistogram: each power of two is cut into 32 buckets of one width,
 * so that a bucket is never wider than 1/32 of what it counts; below 64 a bucket is one nanosecond.
 *
 * A histogram is the caller's memory, all zero when it is empty, and one thread's at a time.
 */
#ifndef STRAIT_HISTOGRAM_H
#define STRAIT_HISTOGRAM_H

#include "strait/base.h"

#ifdef __cplusplus
extern "C" {
#endif

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

#ifdef __cplusplus
}
#endif

#endif /* STRAIT_HISTOGRAM_H */
