// SPDX-License-Identifier: MIT
// Sojourn: tasks of very different lengths come at times fixed before, whether the worker on B's
// CPU keeps up or not. How long each stays, from when it was due to when A sees that it is done, is
// held against an ideal worker: one first-in-first-out queue that costs nothing, the same arrivals,
// and the lengths that the tasks really had. A task is long by the clock, not by its thread's CPU
// time: what another program or the hypervisor takes makes it longer, and the ideal's, too.
#include <algorithm>
#include <cmath>
#include <future>
#include <numeric>
#include <random>

#include "candidates/table.h"
#include "harness/relax.h"
#include "harness/ticks.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

// Enough for half a dozen of the longest.
constexpr double kSampleMs = 100;
constexpr double kWarmUpMs = 5;
constexpr double kUtilisation = 0.7;
constexpr double kLongestUs = 10000;

using Random = std::mt19937_64;

// 10 us, and 10 ms once in 200 times.
double bimodal_us(Random &random)
{
    return std::bernoulli_distribution(0.005)(random) ? kLongestUs : 10;
}

// From 10 us on, of shape 1.5: a mean of 30 us and, if it were not cut, no variance.
double pareto_us(Random &random)
{
    double share = std::uniform_real_distribution<>(0, 1)(random);
    return std::min(10 / std::cbrt((1 - share) * (1 - share)), kLongestUs);
}

double (*const lengths_us[])(Random &random) = {bimodal_us, pareto_us};

const Workload workload{"sojourn at a utilisation of 0.7, one worker",
                        1,
                        "mean / that of an ideal queue",
                        {"10 us or 10 ms", "Pareto"},
                        "p99 / that of an ideal queue",
                        true};

// In ticks from the start.
struct Arrival {
    uint64_t due;
    uint64_t length;
};

std::vector<Arrival> draw(Random random, size_t column, double ms)
{
    std::vector<Arrival> trace;
    for (double us = 0; us < ms * 1e3 * kUtilisation;) {
        double length_us = lengths_us[column](random);
        trace.push_back({0, to_ticks(length_us * 1e3)});
        us += length_us;
    }
    std::exponential_distribution<> gap(static_cast<double>(trace.size()) / (ms * 1e6));
    double at = 0;
    for (Arrival &arrival : trace) {
        at += gap(random);
        arrival.due = to_ticks(at);
    }
    return trace;
}

// What became of a task, in ticks.
struct Task {
    uint64_t due = 0;
    uint64_t length = 0;
    uint64_t took = 0; // the worker writes
    uint64_t done = 0; // A, when it sees it
};

struct Sojourn {
    double mean;
    double p99;
};

Sojourn summarize(const std::vector<double> &times)
{
    double sum = std::accumulate(times.begin(), times.end(), 0.0);
    return {sum / static_cast<double>(times.size()), quantile(times, 0.99)};
}

Sojourn measured(const std::vector<Task> &tasks)
{
    std::vector<double> times;
    for (const Task &task : tasks) {
        times.push_back(static_cast<double>(task.done - task.due));
    }
    return summarize(times);
}

Sojourn ideal(const std::vector<Task> &tasks)
{
    std::vector<double> times;
    uint64_t free = 0; // when the worker will be
    for (const Task &task : tasks) {
        free = std::max(free, task.due) + task.took;
        times.push_back(static_cast<double>(free - task.due));
    }
    return summarize(times);
}

class Source
{
  public:
    Source(const RunnerMaker &maker, int cpu) : runner_(maker.make(cpu, {work, done, this}))
    {
    }

    bool usable() const
    {
        return runner_ != nullptr;
    }

    Outcome run(const std::vector<Arrival> &trace)
    {
        tasks_.assign(trace.size(), Task());
        completed_ = 0;
        uint64_t start = bench_ticks() + to_ticks(1e5);
        for (size_t i = 0; i < trace.size(); i++) {
            tasks_[i].due = start + trace[i].due;
            tasks_[i].length = trace[i].length;
        }
        Outcome outcome;
        if (!submit_all() || !collect_all()) {
            outcome.error = "a task was refused or lost";
            return outcome;
        }
        outcome.seconds = to_ns(bench_ticks() - start) / 1e9;
        outcome.items = tasks_.size();
        outcome.error = wrong_ ? "a task was done twice, or wrongly" : "";
        compare(outcome);
        return outcome;
    }

  private:
    static uint64_t result_of(uint64_t number)
    {
        return number * 3 + 1;
    }

    bool submit_all()
    {
        for (size_t i = 0; i < tasks_.size(); i++) {
            while (bench_ticks() < tasks_[i].due) {
                runner_->poll();
                bench_relax();
            }
            if (!runner_->submit(i)) {
                return false;
            }
        }
        return true;
    }

    bool collect_all()
    {
        uint64_t until = bench_ticks() + to_ticks((Runner::kPatienceMs + kSampleMs) * 1e6);
        while (completed_ < tasks_.size() && bench_ticks() < until) {
            runner_->poll();
            bench_relax();
        }
        return completed_ == tasks_.size();
    }

    void compare(Outcome &outcome) const
    {
        Sojourn real = measured(tasks_);
        Sojourn best = ideal(tasks_);
        outcome.figure = real.mean / best.mean;
        outcome.aside = real.p99 / best.p99;
        outcome.counters = {{"mean_ratio", outcome.figure},
                            {"p99_ratio", outcome.aside},
                            {"sojourn_mean_us", real.mean * tick_ns() / 1e3},
                            {"sojourn_p99_us", real.p99 * tick_ns() / 1e3}};
    }

    static uint64_t work(void *context, uint64_t number)
    {
        Task &task = static_cast<Source *>(context)->tasks_[number];
        uint64_t start = bench_ticks();
        do {
            task.took = bench_ticks() - start;
        } while (task.took < task.length);
        return result_of(number);
    }

    static void done(void *context, uint64_t number, uint64_t result)
    {
        auto *source = static_cast<Source *>(context);
        Task &task = source->tasks_[number];
        source->wrong_ = source->wrong_ || task.done != 0 || result != result_of(number);
        task.done = bench_ticks();
        source->completed_++;
    }

    std::vector<Task> tasks_;
    size_t completed_ = 0;
    bool wrong_ = false;
    std::unique_ptr<Runner> runner_; // last: it calls back
};

// Each candidate's n-th sample has the same tasks.
void sojourn(benchmark::State &state, Harness &harness, const RunnerMaker &maker, size_t column,
             uint64_t n)
{
    Source source(maker, harness.settings.cpu_b);
    if (!source.usable()) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, workload, maker.name, column, [&](bool warm_up) {
        std::vector<Arrival> trace = draw(Random(n), column, warm_up ? kWarmUpMs : kSampleMs);
        Outcome outcome;
        std::promise<void> done; // B makes room for the worker
        harness.pair.run(
            [&] {
                outcome = source.run(trace);
                done.set_value();
            },
            [&] { done.get_future().wait(); });
        return outcome;
    });
}

// Those whose worker serves one queue, once each; A polls, so that nothing but the pool adds to
// what is measured.
bool takes_part(const RunnerMaker &maker)
{
    return maker.name == "strait.pool.parked" ||
           (maker.polls && !maker.batches && maker.name != "strait.pool.spin.timed");
}

} // namespace

// With one CPU A, which watches the clock, would be in the worker's way.
void add_sojourns(Harness &harness)
{
    harness.results.declare(workload);
    for (const RunnerMaker &maker : runners()) {
        for (size_t column = 0; column < workload.columns.size() && !bench_one_cpu; column++) {
            if (!takes_part(maker)) {
                continue;
            }
            add_benchmark(
                harness, "sojourn/" + maker.name, {"pareto"}, {static_cast<int64_t>(column)},
                [&harness, maker, column, n = uint64_t{0}](benchmark::State &state) mutable {
                    sojourn(state, harness, maker, column, ++n);
                });
        }
    }
}

} // namespace bench
