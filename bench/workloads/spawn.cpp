// SPDX-License-Identifier: MIT
// Starting threads: A starts one, waits until it runs, waits until it has ended, and again. What is
// timed is the start alone, or all of it. A may run on both CPUs meanwhile, as a program's threads
// may, for a thread without a pin gets those of its creator.
#include <future>

#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

// A sample's end, whichever comes first.
struct Limit {
    uint64_t spawns;
    double ms;
};
constexpr Limit kSample = {200, 40};
constexpr Limit kWarmUp = {10, 4};

// Where the new thread gets A's CPU, that is a preemption of A's.
struct Shape {
    bool to_end;
    Workload workload;
};

const Shape shapes[] = {
    {false, {"spawn until the thread runs", 1000, "us", {}, nullptr, true}},
    {true, {"spawn, end and join", 1000, "us", {}, nullptr, true}},
};

Outcome spawn_and_end(Spawner &spawner, bool to_end, const Limit &limit)
{
    Outcome outcome;
    uint64_t begin = bench_ticks();
    uint64_t until = begin + to_ticks(limit.ms * 1e6);
    while (outcome.latencies.count() < limit.spawns && bench_ticks() < until) {
        uint64_t start = bench_ticks();
        if (!spawner.spawn()) {
            outcome.error = "no thread to be had";
            break;
        }
        uint64_t online = bench_ticks();
        if (!spawner.end()) {
            outcome.error = "a thread that cannot be joined";
            break;
        }
        uint64_t end = to_end ? bench_ticks() : online;
        outcome.latencies.add(static_cast<uint64_t>(to_ns(end - start)));
    }
    outcome.seconds = to_ns(bench_ticks() - begin) / 1e9;
    return outcome;
}

// B sleeps meanwhile: its CPU is the new thread's.
Outcome run_spawns(Harness &harness, Spawner &spawner, bool to_end, const Limit &limit)
{
    Outcome outcome;
    std::promise<void> done;
    auto start_threads = [&] {
        outcome = spawn_and_end(spawner, to_end, limit);
        done.set_value();
    };
    pin({harness.settings.cpu_a, harness.settings.cpu_b});
    harness.pair.run(start_threads, [&] { done.get_future().wait(); });
    pin({harness.settings.cpu_a});
    return outcome;
}

void spawns(benchmark::State &state, Harness &harness, const SpawnerMaker &maker,
            const Shape &shape)
{
    std::unique_ptr<Spawner> spawner = maker.make(harness.settings.cpu_b);
    if (!spawner) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, shape.workload, maker.name, 0, [&](bool warm_up) {
        return run_spawns(harness, *spawner, shape.to_end, warm_up ? kWarmUp : kSample);
    });
}

} // namespace

void add_spawns(Harness &harness)
{
    for (const Shape &shape : shapes) {
        harness.results.declare(shape.workload);
    }
    for (const SpawnerMaker &maker : spawners()) {
        for (const Shape &shape : shapes) {
            add_benchmark(harness, "spawn/" + maker.name, {"to_end"}, {shape.to_end ? 1 : 0},
                          [&harness, maker, &shape](benchmark::State &state) {
                              spawns(state, harness, maker, shape);
                          });
        }
    }
}

} // namespace bench
