// SPDX-License-Identifier: MIT
// Payload: streams and round trips of messages of 8 bytes to 4 KiB, so that a cliff between two
// sizes shows: in time per message, and in bytes per ns.
#include "candidates/table.h"
#include "workloads/round_trip.h"
#include "workloads/stream.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr int64_t kBytes[] = {8, 64, 128, 192, 256, 1024, 4096};

// Of all messages that a ring holds, of each size but the smallest: more than a first-level cache
// has, so that a cliff is the message's and not a cache's.
constexpr size_t kRingBytes = 1 << 16;
constexpr size_t kCapacityMost = 1024;

// A power of two: some peers know no other.
size_t capacity_of(size_t bytes)
{
    size_t capacity = kCapacityMost;
    while (capacity * bytes > kRingBytes) {
        capacity /= 2;
    }
    return capacity;
}

Workload make_workload(const char *title, const char *unit, const char *aside)
{
    Workload workload{title, 1, unit, {}, aside};
    for (int64_t bytes : kBytes) {
        workload.columns.push_back(std::to_string(bytes) + " B");
    }
    return workload;
}

void add_stream(Harness &harness, const Workload &workload, const bench_ring &ring, size_t column)
{
    size_t bytes = static_cast<size_t>(kBytes[column]);
    const bench_loops &loops = *bench_loops_of(&ring, bytes);
    Stream stream{ring,
                  {loops.send_single, loops.receive_single},
                  bytes,
                  capacity_of(bytes),
                  harness.settings.sample_ms};
    add_benchmark(harness, std::string("payload/") + ring.name, {"bytes", "capacity"},
                  {kBytes[column], static_cast<int64_t>(stream.capacity)},
                  [&harness, &workload, column, stream](benchmark::State &state) {
                      sample_stream(state, harness, workload, column, stream);
                  });
}

void add_round_trip(Harness &harness, const Workload &workload, const bench_ring &ring,
                    size_t column)
{
    size_t bytes = static_cast<size_t>(kBytes[column]);
    RoundTrip trip{ring, bounce_loops(ring, bytes), bytes, capacity_of(bytes)};
    if (!trip.loops.ping) {
        return;
    }
    add_benchmark(harness, std::string("payload_round_trip/") + ring.name, {"bytes", "capacity"},
                  {kBytes[column], static_cast<int64_t>(trip.capacity)},
                  [&harness, &workload, column, trip](benchmark::State &state) {
                      sample_round_trip(state, harness, workload, trip.ring.name, column, trip);
                  });
}

} // namespace

void add_payloads(Harness &harness)
{
    static const Workload stream =
        make_workload("by payload, rings of 64 KiB", "ns per message", "bytes per ns");
    static const Workload round_trip = make_workload("round trip by payload, rings of 64 KiB, p50",
                                                     "ns", "bytes per ns, both ways together");
    harness.results.declare(stream);
    harness.results.declare(round_trip);
    for (const bench_ring *ring : rings()) {
        if (!ring->loops[BENCH_4096]) {
            continue; // it does not carry all of them
        }
        for (size_t column = 0; column < std::size(kBytes); column++) {
            add_stream(harness, stream, *ring, column);
            add_round_trip(harness, round_trip, *ring, column);
        }
    }
}

} // namespace bench
