// SPDX-License-Identifier: MIT
// Blocking throughput: A sends one message after the other, B receives them, either may sleep when
// it cannot go on.
#include "candidates/table.h"
#include "workloads/stream.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr int64_t kCapacity = 1024;
// Some hundreds of sleeps and wake-ups for those who sleep.
constexpr double kSampleMs = 10;

const Workload workload{"throughput, blocking, capacity 1024", 1, "ns per message", {"8 B"}};

void blocking(benchmark::State &state, Harness &harness, const bench_ring &ring)
{
    StreamLoops loops = {ring.blocking->send, ring.blocking->receive};
    sample_stream(state, harness, workload, 0, {ring, loops, 8, kCapacity, kSampleMs});
}

} // namespace

void add_blocking(Harness &harness)
{
    harness.results.declare(workload);
    for (const bench_ring *ring : rings()) {
        if (ring->blocking && ring->blocking->send) {
            add_benchmark(harness, std::string("blocking/") + ring->name, {"bytes", "capacity"},
                          {8, kCapacity}, [&harness, ring](benchmark::State &state) {
                              blocking(state, harness, *ring);
                          });
        }
    }
}

} // namespace bench
