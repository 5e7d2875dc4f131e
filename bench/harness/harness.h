// SPDX-License-Identifier: MIT
// harness: one benchmark of google-benchmark's is one workload on one candidate; each run of it is
// one sample of some milliseconds with the placement measured on both sides of it.
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <atomic>
#include <benchmark/benchmark.h>
#include <list>
#include <string>

#include "harness/results.h"
#include "harness/settings.h"

namespace bench
{

// What one sample brought.
struct Outcome {
    double seconds = 0;
    uint64_t items = 0; // this and the next: of latencies, sample() fills them in
    uint64_t longest_gap_ns = 0;
    double typical_ns = 0; // throughput: per item, in a block that nothing disturbed
    double figure = 0;     // of a column, where the workload has its own; 0: the time of an item
    double aside = 0;      // what the workload's aside says
    long preemptions = 0;  // of A and B; filled in by sample()
    Histogram latencies;   // ns; empty: throughput
    std::map<std::string, double> counters; // more of the workload's own
    std::string error;                      // order or checksum broken, messages lost
};

// What is known of one benchmark so far.
struct Benchmark {
    struct Count {
        size_t samples = 0;
        size_t undisturbed = 0;
    };

    std::string name;
    bool matches = false;  // the filter
    bool wanted = false;   // by the filter, or by a run of this kind without one
    bool sampled = false;  // at least once
    bool failed = false;   // nothing could be measured
    size_t violations = 0; // of order, checksum or delivery
    double seconds = 0;    // that its samples took
    std::map<Place, Count> counts;
};

struct Harness {
    Harness(Settings given) : settings(std::move(given)), pair(settings.cpu_a, settings.cpu_b)
    {
    }

    Settings settings;
    Pair pair;
    Results results;
    std::list<Benchmark> benchmarks;
    Benchmark *current = nullptr; // the one that ran last
    Place place = Place::mixed;   // where it ended; mixed: before the first one
    size_t samples = 0;
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

// The message of a run in which no sample was taken, for there was no need.
extern const char kSkipped[];

// The message of a benchmark whose candidate does not come in this size.
extern const char kNotCreated[];

// Set by the first Ctrl-C: what is left is skipped.
extern std::atomic<bool> interrupted;

} // namespace bench

#endif // BENCH_HARNESS_H
