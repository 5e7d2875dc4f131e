/* SPDX-License-Identifier: MIT */
#include "strait/extra/histogram.h"

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
