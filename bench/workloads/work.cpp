// SPDX-License-Identifier: MIT
// Work: two workers share tasks that compute for 1, 10 or 100 us; the parent, in its loop, keeps 64
// of them outstanding and, like the workers, has its share of both CPUs. What the tasks computed,
// in CPU time, is divided by what both CPUs had in the time it took. Whoever lets the parent wait
// saves what it costs to wake it: so it is also said how long a task that has ended is not
// completed.
#include <array>

#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/both.h"
#include "workloads/churn.h"
#include "workloads/steady.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr double kSampleMs = 50;
constexpr double kWarmUpMs = 10;
constexpr uint64_t kOutstanding = 64;
const uint64_t lengths_us[] = {1, 10, 100};

Workload make_workload()
{
    Workload workload =
        real_work("tasks that compute, two workers, 64 outstanding", 0,
                  "CPU time in tasks / CPU time there is", {"1 us", "10 us", "100 us"},
                  "from the end of a task to its completion on the parent, us, mean of a sample");
    workload.more = true;
    return workload;
}

const Workload workload = make_workload();

struct Job {
    static constexpr size_t kStamps = 64 * kOutstanding; // no two tasks are so far apart

    const Churn &churn;
    mutable std::array<uint64_t, kStamps> ended = {}; // whoever runs the task writes
    mutable uint64_t late = 0;                        // ticks, of all; the parent's
    mutable uint64_t completed = 0;                   // the parent's
};

uint64_t run(const void *context, uint64_t number)
{
    const auto *job = static_cast<const Job *>(context);
    uint64_t result = job->churn.run(number);
    job->ended[number % Job::kStamps] = bench_ticks();
    return result;
}

// On the parent, once for each completion.
uint64_t result_of(const void *context, uint64_t number)
{
    const auto *job = static_cast<const Job *>(context);
    job->late += bench_ticks() - job->ended[number % Job::kStamps];
    job->completed++;
    return job->churn.result_of(number);
}

void work(benchmark::State &state, Harness &harness, const TeamMaker &maker, size_t column)
{
    auto us = static_cast<double>(lengths_us[column]);
    const Churn churn(us);
    sample_team(state, harness, workload, maker, column, [&](Team &team, bool warm_up) {
        const Job job{churn};
        Steady parent(team, {run, result_of, &job}, kOutstanding);
        Outcome outcome = parent.run(warm_up ? kWarmUpMs : kSampleMs);
        double had_us = outcome.seconds * 1e6 * cpus_of(harness);
        outcome.figure = static_cast<double>(outcome.items) * us / had_us;
        outcome.aside = to_ns(job.late) / 1e3 / static_cast<double>(job.completed);
        outcome.counters["efficiency"] = outcome.figure;
        outcome.counters["completed_after_us"] = outcome.aside;
        return outcome;
    });
}

} // namespace

void add_works(Harness &harness)
{
    harness.results.declare(workload);
    for (const TeamMaker &maker : teams()) {
        if (maker.parents != TeamMaker::loop) {
            continue;
        }
        for (size_t column = 0; column < std::size(lengths_us); column++) {
            add_team_benchmark(harness, "work", maker, "us", lengths_us[column],
                               [&harness, maker, column](benchmark::State &state) {
                                   work(state, harness, maker, column);
                               });
        }
    }
}

} // namespace bench
