// SPDX-License-Identifier: MIT
// Wait: A submits 20,000 tasks that compute for 1 us each, and waits for all of them. What is timed
// is all of it, from the first submit on, and the CPU time of the waiting alone.
#include <ctime>

#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/both.h"
#include "workloads/churn.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr uint64_t kTasks = 20000;
constexpr uint64_t kWarmUpTasks = 2000;
constexpr uint64_t kQueue = 32768;
constexpr double kTaskUs = 1;

const Workload workload = real_work("wait for 20,000 tasks of 1 us, two workers", 1e6, "ms",
                                    {"until all are done"}, "CPU time of the waiting thread, ms");

struct Count {
    const Churn *churn;
    std::atomic<uint64_t> runs{0};
};

void run(void *context)
{
    auto *count = static_cast<Count *>(context);
    count->churn->run(1);
    count->runs.fetch_add(1, std::memory_order_relaxed);
}

double thread_ms()
{
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
}

Outcome wait_for(Team &team, const Churn &churn, uint64_t tasks)
{
    Outcome outcome;
    Count count{&churn};
    uint64_t start = bench_ticks();
    bool alive = team.start_all(run, &count, tasks);
    double before_ms = thread_ms();
    alive = alive && team.finish_all();
    outcome.aside = thread_ms() - before_ms;
    outcome.seconds = to_ns(bench_ticks() - start) / 1e9;
    outcome.items = 1;
    outcome.typical_ns = outcome.seconds * 1e9;
    outcome.counters["waiting_cpu_ms"] = outcome.aside;
    if (!alive || count.runs != tasks) {
        outcome.error = "a task was refused or lost";
    }
    return outcome;
}

void wait(benchmark::State &state, Harness &harness, const TeamMaker &maker)
{
    const Churn churn(kTaskUs);
    auto body = [&churn](Team &team, bool warm_up) {
        return wait_for(team, churn, warm_up ? kWarmUpTasks : kTasks);
    };
    sample_team(state, harness, workload, maker, 0, body, kQueue);
}

} // namespace

void add_waits(Harness &harness)
{
    harness.results.declare(workload);
    for (const TeamMaker &maker : teams()) {
        add_team_benchmark(
            harness, "wait", maker, "tasks", kTasks,
            [&harness, maker](benchmark::State &state) { wait(state, harness, maker); });
    }
}

} // namespace bench
