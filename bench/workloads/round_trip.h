// SPDX-License-Identifier: MIT
// round_trip: one sample of messages there and back, one at a time, each of them checked.
#ifndef BENCH_ROUND_TRIP_H
#define BENCH_ROUND_TRIP_H

#include "harness/harness.h"
#include "workloads/queue.h"

namespace bench
{

struct BounceLoops {
    bench_ping_fn *ping = nullptr;
    bench_pong_fn *pong = nullptr;
};

// Of a ring that is polled; null: it does not carry such messages there and back.
BounceLoops bounce_loops(const bench_ring &ring, size_t bytes);

// Through two queues of its own.
struct RoundTrip {
    const bench_ring &ring;
    BounceLoops loops;
    size_t bytes;
    size_t capacity;
};

// A sample of it. Its aside: bytes per ns, both ways together.
void sample_round_trip(benchmark::State &state, Harness &harness, const Workload &workload,
                       const std::string &candidate, size_t column, const RoundTrip &trip);

} // namespace bench

#endif // BENCH_ROUND_TRIP_H
