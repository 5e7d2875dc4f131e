// SPDX-License-Identifier: MIT
// One-way latency: A sends at a fixed rate, B polls. The latency of each message counts from when
// it was due, not from when A got round to sending it: what a full queue holds up is not left out.
#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/queue.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr int64_t kCapacity = 1024;
// Before the first message is due, so that B is there.
constexpr double kLeadNs = 20000;

struct Rate {
    int64_t per_ms;
    Workload workload;
};

const Rate rates[] = {
    {100, {"one-way latency, 8 B, 100 thousand messages a second", 1, "ns", {}}},
    {1000, {"one-way latency, 8 B, 1 million messages a second", 1, "ns", {}}},
    {5000, {"one-way latency, 8 B, 5 million messages a second", 1, "ns", {}}},
};

std::string check(const bench_pace &pace)
{
    if (pace.disorder > 0) {
        return std::to_string(pace.disorder) + " messages out of order";
    }
    if (pace.received != pace.count) {
        return std::to_string(pace.sent) + " of " + std::to_string(pace.count) +
               " messages sent, " + std::to_string(pace.received) + " received";
    }
    return pace.sum == pace.sum_sent ? "" : "wrong checksum";
}

Outcome summarize(const bench_pace &pace, double seconds)
{
    Outcome outcome;
    outcome.seconds = seconds;
    outcome.items = pace.received;
    for (size_t i = 0; i < pace.received; i++) {
        outcome.latencies.add(static_cast<uint64_t>(to_ns(pace.ticks[i]) + 0.5));
    }
    outcome.longest_gap_ns = outcome.latencies.max();
    outcome.counters["early"] = static_cast<double>(pace.early);
    outcome.error = check(pace);
    return outcome;
}

Outcome run_paced(Pair &pair, Queue &queue, const bench_loops &loops, const Rate &rate, double ms)
{
    static std::vector<uint32_t> ticks;
    bench_pace pace = {};
    pace.period = to_ticks(65536 * 1e6 / static_cast<double>(rate.per_ms));
    pace.count = static_cast<uint64_t>(ms * static_cast<double>(rate.per_ms));
    pace.patience = to_ticks(2e9);
    ticks.assign(pace.count, 1);
    pace.ticks = ticks.data();
    double seconds = 0;
    auto send = [&] {
        pace.start = bench_ticks() + to_ticks(kLeadNs);
        loops.paced_send(queue.sender(), &pace);
        seconds = to_ns(bench_ticks() - pace.start) / 1e9;
    };
    pair.run(send, [&] { loops.paced_receive(queue.receiver(), &pace); });
    return summarize(pace, seconds);
}

void one_way(benchmark::State &state, Harness &harness, const Rate &rate, const bench_ring &ring)
{
    Queue queue(ring, 8, kCapacity);
    if (!queue.open(harness.pair)) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, rate.workload, ring.name, 0, [&](bool warm_up) {
        double ms = harness.settings.sample_ms * (warm_up ? 0.25 : 1);
        return run_paced(harness.pair, queue, *ring.loops_8, rate, ms);
    });
}

} // namespace

void add_one_ways(Harness &harness)
{
    const std::vector<const bench_ring *> all = rings();
    for (const Rate &rate : rates) {
        harness.results.declare(rate.workload);
        for (const bench_ring *ring : all) {
            if (!ring->loops_8 || !ring->loops_8->paced_send) {
                continue;
            }
            add_benchmark(
                harness, std::string("one_way/") + ring->name, {"per_ms", "bytes", "capacity"},
                {rate.per_ms, 8, kCapacity},
                [&harness, &rate, ring](benchmark::State &state) {
                    one_way(state, harness, rate, *ring);
                },
                rate.per_ms == 1000);
        }
    }
}

} // namespace bench
