// SPDX-License-Identifier: MIT
// One-way latency, an open loop: A sends at a fixed rate, so much in a hundred of what the queue
// can carry, B polls. The latency of each message counts from when it was due, not from when A got
// round to sending it: what a full queue holds up is not left out.
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
    int64_t percent; // of what the queue carried just before, without any rate
    Workload workload;
};

const Rate rates[] = {
    {1, {"one-way latency, 8 B, at 1 % of what it can carry", 1, "ns", {}}},
    {10, {"one-way latency, 8 B, at 10 % of what it can carry", 1, "ns", {}}},
    {50, {"one-way latency, 8 B, at 50 % of what it can carry", 1, "ns", {}}},
    {80, {"one-way latency, 8 B, at 80 % of what it can carry", 1, "ns", {}}},
    {95, {"one-way latency, 8 B, at 95 % of what it can carry", 1, "ns", {}}},
    {99, {"one-way latency, 8 B, at 99 % of what it can carry", 1, "ns", {}}},
};

// Messages at a rate that no queue keeps up with, to see what it can carry.
constexpr uint64_t kBurst = 50000;

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
    outcome.counters["early"] = static_cast<double>(pace.early);
    outcome.error = check(pace);
    return outcome;
}

Outcome run_paced(Pair &pair, Queue &queue, const bench_loops &loops, double period_ns,
                  uint64_t count)
{
    static std::vector<uint32_t> ticks;
    bench_pace pace = {};
    pace.period = to_ticks(65536 * period_ns);
    pace.count = count;
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
    double period_ns = 0;
    sample(state, harness, rate.workload, ring.name, 0, [&](bool warm_up) {
        if (warm_up) {
            Outcome burst =
                run_paced(harness.pair, queue, *ring.loops[BENCH_8], 2 * tick_ns(), kBurst);
            double ns = burst.seconds * 1e9 / static_cast<double>(burst.items);
            period_ns = 100 * ns / static_cast<double>(rate.percent);
            return burst;
        }
        double count = harness.settings.sample_ms * 1e6 / period_ns;
        Outcome outcome = run_paced(harness.pair, queue, *ring.loops[BENCH_8], period_ns,
                                    static_cast<uint64_t>(count));
        outcome.counters["period_ns"] = period_ns;
        return outcome;
    });
}

} // namespace

void add_one_ways(Harness &harness)
{
    const std::vector<const bench_ring *> all = rings();
    for (const Rate &rate : rates) {
        harness.results.declare(rate.workload);
        for (const bench_ring *ring : all) {
            if (!ring->loops[BENCH_8] || !ring->loops[BENCH_8]->paced_send) {
                continue;
            }
            add_benchmark(harness, std::string("one_way/") + ring->name,
                          {"percent", "bytes", "capacity"}, {rate.percent, 8, kCapacity},
                          [&harness, &rate, ring](benchmark::State &state) {
                              one_way(state, harness, rate, *ring);
                          });
        }
    }
}

} // namespace bench
