// SPDX-License-Identifier: MIT
// harness: one benchmark of google-benchmark's, repeated, is one workload on one candidate; one
// repetition is one sample of some milliseconds with the placement measured on both sides of it.
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <atomic>
#include <benchmark/benchmark.h>
#include <string>

#include "harness/results.h"
#include "harness/settings.h"

namespace bench
{

// What one sample brought.
struct Outcome {
    double seconds = 0;
    uint64_t items = 0;
    uint64_t longest_gap_ns = 0;
    double typical_ns = 0; // throughput: per item, in a block that nothing disturbed
    long preemptions = 0;  // of A and B; filled in by sample()
    Histogram latencies;   // ns; empty: throughput
    std::map<std::string, double> counters; // more of the workload's own
    std::string error;                      // order or checksum broken, messages lost
};

struct Harness {
    Harness(Settings given) : settings(std::move(given)), pair(settings.cpu_a, settings.cpu_b)
    {
    }

    Settings settings;
    Pair pair;
    Results results;
    size_t samples_planned = 0;
    size_t samples_done = 0;
};

// A sample: warm-up (body(true)), line round trip, body(false), line round trip. `column` is the
// workload's, for throughput.
void sample(benchmark::State &state, Harness &harness, const Workload &workload,
            const std::string &candidate, size_t column,
            const std::function<Outcome(bool warm_up)> &body);

// Registers a benchmark of samples, with arguments named `names`.
void add_benchmark(Harness &harness, const std::string &name, const std::vector<std::string> &names,
                   const std::vector<int64_t> &values,
                   const std::function<void(benchmark::State &)> &body);

// Set by the first Ctrl-C: what is left is skipped.
extern std::atomic<bool> interrupted;

} // namespace bench

#endif // BENCH_HARNESS_H
