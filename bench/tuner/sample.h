// SPDX-License-Identifier: MIT
// sample: some milliseconds of one candidate, on a channel of its own.
#ifndef BENCH_SAMPLE_H
#define BENCH_SAMPLE_H

#include <string>

#include "harness/histogram.h"
#include "harness/pair.h"
#include "tuner/candidate.h"

namespace tuner
{

struct Sample {
    uint64_t received = 0;
    double ns_per_message = 0;
    double typical_ns = 0;      // of a message, in a block that nothing disturbed
    double receiver_cpu = 0;    // share of a core
    bool behind = false;        // at a rate: it cannot be kept
    bool preempted = false;     // another program had one of two CPUs for a while
    bench::Histogram latencies; // at a rate, ns from when a message was due until it was received
    std::string error;          // order broken, messages lost
};

Sample run_sample(bench::Pair &pair, const Candidate &candidate, const Request &request);

} // namespace tuner

#endif // BENCH_SAMPLE_H
