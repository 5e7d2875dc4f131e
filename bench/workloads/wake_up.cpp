// SPDX-License-Identifier: MIT
// Waking up: A sends one message after B has had time to fall asleep, and polls a line until B,
// awake, has answered there. What is timed is the call and the wait; the answer's line is noise
// beside a wake-up.
#include <atomic>
#include <sys/resource.h>

#include "candidates/table.h"
#include "harness/relax.h"
#include "harness/ticks.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

// Long enough for a receiver that spins before it sleeps to have given up.
constexpr int64_t kGapUs = 100;

// A sample's end, whichever comes first: on a busy machine a wake-up may take a scheduler's slice.
struct Limit {
    uint64_t wake_ups;
    double ms;
};
constexpr Limit kSample = {200, 60};
constexpr Limit kWarmUp = {5, 10};

const Workload workload{"wake-up", 1000, "us", {}};

struct Answers {
    alignas(128) std::atomic<uint64_t> number{0}; // written by B
    std::atomic<bool> failed{false};              // by B: the number was wrong, or none came
    alignas(128) std::atomic<bool> stop{false};   // by A: the next number is the last
    alignas(128) double sleeps = 0;               // by B: its voluntary context switches
};

double context_switches()
{
    rusage usage = {};
    getrusage(RUSAGE_THREAD, &usage);
    return static_cast<double>(usage.ru_nvcsw);
}

void serve(Sleeper &sleeper, Answers &answers, uint64_t number)
{
    double before = context_switches();
    for (;; number++) {
        if (sleeper.sleep() != number) {
            answers.failed.store(true, std::memory_order_release);
            break;
        }
        if (answers.stop.load(std::memory_order_acquire)) {
            break;
        }
        answers.number.store(number, std::memory_order_release);
    }
    answers.sleeps = context_switches() - before;
}

void wait_until(uint64_t ticks)
{
    while (bench_ticks() < ticks) {
        bench_relax();
    }
}

// False: no answer will come.
bool wake_once(Sleeper &sleeper, const Answers &answers, uint64_t number)
{
    sleeper.wake(number);
    while (answers.number.load(std::memory_order_acquire) != number) {
        if (answers.failed.load(std::memory_order_acquire)) {
            return false;
        }
        bench_relax();
    }
    return true;
}

// Returns the first number that was not used.
uint64_t wake(Sleeper &sleeper, Answers &answers, uint64_t number, const Limit &limit,
              Histogram &latencies)
{
    uint64_t until = bench_ticks() + to_ticks(limit.ms * 1e6);
    while (latencies.count() < limit.wake_ups && bench_ticks() < until) {
        wait_until(bench_ticks() + to_ticks(kGapUs * 1e3));
        uint64_t start = bench_ticks();
        if (!wake_once(sleeper, answers, number)) {
            return number;
        }
        latencies.add(static_cast<uint64_t>(to_ns(bench_ticks() - start)));
        number++;
    }
    answers.stop.store(true, std::memory_order_release);
    sleeper.wake(number);
    return number + 1;
}

Outcome run_wake_ups(Pair &pair, Sleeper &sleeper, uint64_t &number, const Limit &limit)
{
    static Answers answers;
    answers.number = 0;
    answers.failed = false;
    answers.stop = false;
    Outcome outcome;
    uint64_t first = number;
    uint64_t start = bench_ticks();
    pair.run([&] { number = wake(sleeper, answers, first, limit, outcome.latencies); },
             [&] { serve(sleeper, answers, first); });
    outcome.seconds = to_ns(bench_ticks() - start) / 1e9;
    outcome.counters["sleeps_per_wake_up"] = answers.sleeps / static_cast<double>(number - first);
    if (answers.failed) {
        outcome.error = "a wake-up was lost, or brought the wrong message";
    }
    return outcome;
}

void wake_up(benchmark::State &state, Harness &harness, const SleeperMaker &maker)
{
    std::unique_ptr<Sleeper> sleeper = maker.make();
    bool sends = false;
    bool receives = false;
    if (sleeper) {
        harness.pair.run([&] { sends = sleeper->open_sender(); },
                         [&] { receives = sleeper->open_receiver(); });
    }
    if (!sends || !receives) {
        state.SkipWithError(kNotCreated);
        return;
    }
    uint64_t number = 1;
    sample(state, harness, workload, maker.name, 0, [&](bool warm_up) {
        return run_wake_ups(harness.pair, *sleeper, number, warm_up ? kWarmUp : kSample);
    });
}

} // namespace

void add_wake_ups(Harness &harness)
{
    harness.results.declare(workload);
    for (const SleeperMaker &maker : sleepers()) {
        add_benchmark(
            harness, "wake_up/" + maker.name, {"gap_us"}, {kGapUs},
            [&harness, maker](benchmark::State &state) { wake_up(state, harness, maker); });
    }
}

} // namespace bench
