// SPDX-License-Identifier: MIT
// stream: one sample of a stream from A to B, checked.
#ifndef BENCH_STREAM_H
#define BENCH_STREAM_H

#include "harness/harness.h"
#include "workloads/queue.h"

namespace bench
{

struct StreamLoops {
    bench_send_fn *send = nullptr;
    bench_receive_fn *receive = nullptr;
};

// A sends messages of so many words for the length of a sample, B receives them. A sender that
// computes does so for `work_ns` before each.
Outcome run_stream(Pair &pair, void *sender, void *receiver, const StreamLoops &loops, double ms,
                   uint64_t words, int64_t work_ns = 0);

// A stream through a queue of its own.
struct Stream {
    const bench_ring &ring;
    StreamLoops loops;
    size_t bytes;
    size_t capacity;
    double ms; // of a sample; its warm-up is a quarter as long
};

// A sample of it. Its aside: bytes per ns, of the time that its figure is.
void sample_stream(benchmark::State &state, Harness &harness, const Workload &workload,
                   size_t column, const Stream &stream);

// Of the numbers 0 to n - 1, modulo 2^64.
uint64_t sum_below(uint64_t n);

} // namespace bench

#endif // BENCH_STREAM_H
