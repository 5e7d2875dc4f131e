// SPDX-License-Identifier: MIT
// Latency: one message from A to B and back, both polling or both blocking, each round trip timed
// by A.
#include "workloads/round_trip.h"

#include <algorithm>

#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/workloads.h"

namespace bench
{

BounceLoops bounce_loops(const bench_ring &ring, size_t bytes)
{
    const bench_loops *loops = bench_loops_of(&ring, bytes);
    return loops ? BounceLoops{loops->ping, loops->pong} : BounceLoops{};
}

namespace
{

constexpr int64_t kCapacity = 1024;
// More than fit into a sample at the speed of the fastest line; its memory is touched once.
constexpr size_t kLimit = 1 << 18;

BounceLoops blocking_loops(const bench_ring &ring, size_t)
{
    return ring.blocking ? BounceLoops{ring.blocking->ping, ring.blocking->pong} : BounceLoops{};
}

struct Trip {
    const char *name;
    size_t bytes;
    BounceLoops (*loops_of)(const bench_ring &ring, size_t bytes);
    Workload workload;
};

const Trip trips[] = {
    {"round_trip/", 8, bounce_loops, {"round trip, 8 B", 1, "ns", {}}},
    {"round_trip/", 64, bounce_loops, {"round trip, 64 B", 1, "ns", {}}},
    {"round_trip_blocking/", 8, blocking_loops, {"round trip, 8 B, blocking", 1, "ns", {}}},
};

std::string check(const bench_bounce &bounce)
{
    if (bounce.lost > 0) {
        return "a message was lost";
    }
    return bounce.disorder > 0 ? std::to_string(bounce.disorder) + " wrong answers" : "";
}

Outcome summarize(const bench_bounce &bounce, double seconds)
{
    Outcome outcome;
    outcome.seconds = seconds;
    outcome.items = bounce.count;
    outcome.error = check(bounce);
    for (size_t i = 0; i < bounce.count; i++) {
        outcome.latencies.add(static_cast<uint64_t>(to_ns(bounce.ticks[i]) + 0.5));
    }
    return outcome;
}

Outcome bounce(Pair &pair, const BounceLoops &loops, Queue &there, Queue &back, double ms)
{
    static std::vector<uint32_t> ticks(kLimit, 1);
    bench_bounce bounce = {};
    bounce.patience = to_ticks(2e9);
    bounce.ticks = ticks.data();
    bounce.limit = kLimit;
    double seconds = 0;
    auto ping = [&] {
        uint64_t start = bench_ticks();
        bounce.until = start + to_ticks(ms * 1e6);
        loops.ping(there.sender(), back.receiver(), &bounce);
        seconds = to_ns(bench_ticks() - start) / 1e9;
    };
    pair.run(ping, [&] { loops.pong(there.receiver(), back.sender(), to_ticks(2e9)); });
    return summarize(bounce, seconds);
}

} // namespace

void sample_round_trip(benchmark::State &state, Harness &harness, const Workload &workload,
                       const std::string &candidate, size_t column, const RoundTrip &trip)
{
    Queue there(trip.ring, trip.bytes, trip.capacity);
    Queue back(trip.ring, trip.bytes, trip.capacity);
    auto open = [](Queue &sends, Queue &receives) {
        sends.open_sender();
        receives.open_receiver();
    };
    harness.pair.run([&] { open(there, back); }, [&] { open(back, there); });
    if (!there.sender() || !there.receiver() || !back.sender() || !back.receiver()) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, workload, candidate, column, [&](bool warm_up) {
        double ms = harness.settings.sample_ms * (warm_up ? 0.25 : 1);
        Outcome outcome = bounce(harness.pair, trip.loops, there, back, ms);
        outcome.aside = 2 * static_cast<double>(trip.bytes) / outcome.latencies.percentile(0.5);
        return outcome;
    });
}

void floor_of_spsc(benchmark::State &state, Harness &harness, const Workload &workload)
{
    const std::vector<const bench_ring *> all = rings();
    auto spsc = std::find_if(all.begin(), all.end(), [](const bench_ring *ring) {
        return std::string(ring->name) == "strait.spsc";
    });
    sample_round_trip(state, harness, workload, "floor.spsc", 0,
                      {**spsc, bounce_loops(**spsc, 8), 8, kCapacity});
}

void add_round_trips(Harness &harness)
{
    const std::vector<const bench_ring *> all = rings();
    for (const Trip &trip : trips) {
        harness.results.declare(trip.workload);
        for (const bench_ring *ring : all) {
            BounceLoops loops = trip.loops_of(*ring, trip.bytes);
            if (!loops.ping) {
                continue;
            }
            add_benchmark(harness, std::string(trip.name) + ring->name, {"bytes", "capacity"},
                          {static_cast<int64_t>(trip.bytes), kCapacity},
                          [&harness, &trip, ring, loops](benchmark::State &state) {
                              sample_round_trip(state, harness, trip.workload, ring->name, 0,
                                                {*ring, loops, trip.bytes, kCapacity});
                          });
        }
    }
}

} // namespace bench
