// SPDX-License-Identifier: MIT
// Gaps: A sleeps for 2 ms, submits a task that does nothing, and sleeps until it is done. By then
// everyone else sleeps too, and maybe the CPUs.
#include <ctime>

#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/both.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr int kTrips = 20;
constexpr int kLeadTrips = 20; // not counted: whoever learns from trip to trip has learnt
constexpr int kWarmUpTrips = 3;
constexpr long kGapNs = 2000000;

const Workload workload =
    real_work("task round trip after a gap of 2 ms, two workers", 1000, "us", {});

uint64_t identity(void *, uint64_t number)
{
    return number;
}

void count(void *context, uint64_t, uint64_t)
{
    ++*static_cast<uint64_t *>(context);
}

Outcome take_trips(Team &team, int lead, int trips)
{
    Outcome outcome;
    uint64_t completed = 0;
    std::unique_ptr<Runner> parent = team.attach({identity, count, &completed});
    for (uint64_t trip = 0; parent && trip < static_cast<uint64_t>(lead + trips); trip++) {
        const timespec gap = {0, kGapNs};
        nanosleep(&gap, nullptr);
        uint64_t start = bench_ticks();
        bool alive = parent->submit(trip);
        while (alive && completed == trip) {
            alive = parent->wait();
        }
        double ns = to_ns(bench_ticks() - start);
        if (!alive) {
            outcome.error = "a task was refused or lost";
            break;
        }
        if (trip >= static_cast<uint64_t>(lead)) {
            outcome.latencies.add(static_cast<uint64_t>(ns));
            outcome.seconds += ns / 1e9;
        }
    }
    return outcome;
}

} // namespace

void add_gaps(Harness &harness)
{
    harness.results.declare(workload);
    for (const TeamMaker &maker : teams()) {
        auto body = [](Team &team, bool warm_up) {
            return warm_up ? take_trips(team, 0, kWarmUpTrips)
                           : take_trips(team, kLeadTrips, kTrips);
        };
        add_team_benchmark(harness, "gaps", maker, "us", kGapNs / 1000,
                           [&harness, maker, body](benchmark::State &state) {
                               sample_team(state, harness, workload, maker, 0, body);
                           });
    }
}

} // namespace bench
