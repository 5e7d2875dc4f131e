// SPDX-License-Identifier: MIT
// Tasks: A keeps some number of tasks that do next to nothing outstanding, a worker on B's CPU runs
// them, A sleeps until completions come. Each task is timed from its submit to its completion.
#include <future>

#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr double kSampleMs = 20;
constexpr double kWarmUpMs = 2;

struct Shape {
    uint64_t outstanding;
    Workload workload;
};

const Shape shapes[] = {
    {1, {"task round trip, 1 outstanding", 1000, "us", {}}},
    {64, {"task round trip, 64 outstanding", 1000, "us", {}}},
};

// One worker: tasks come back in the order in which they went.
class Client
{
  public:
    Client(const RunnerMaker &maker, int cpu, uint64_t outstanding)
        : submitted_at_(outstanding),
          runner_(maker.make(cpu, [this](uint64_t number, uint64_t r) { done(number, r); }))
    {
    }

    bool usable() const
    {
        return runner_ != nullptr;
    }

    Outcome run(double ms)
    {
        outcome_ = Outcome();
        uint64_t start = bench_ticks();
        uint64_t until = start + to_ticks(ms * 1e6);
        bool alive = true;
        while (alive && bench_ticks() < until) {
            alive = fill() && runner_->collect();
        }
        while (alive && next_done_ != next_submit_) {
            alive = runner_->collect();
        }
        outcome_.seconds = to_ns(bench_ticks() - start) / 1e9;
        outcome_.items = outcome_.latencies.count();
        outcome_.longest_gap_ns = outcome_.latencies.max();
        outcome_.error = !alive   ? "a task was refused or lost"
                         : wrong_ ? "wrong result or order"
                                  : "";
        return outcome_;
    }

  private:
    bool fill()
    {
        while (next_submit_ - next_done_ < submitted_at_.size()) {
            submitted_at_[next_submit_ % submitted_at_.size()] = bench_ticks();
            if (!runner_->submit(next_submit_)) {
                return false;
            }
            next_submit_++;
        }
        return true;
    }

    void done(uint64_t number, uint64_t result)
    {
        wrong_ = wrong_ || number != next_done_ || result != Runner::task_result(number);
        uint64_t start = submitted_at_[number % submitted_at_.size()];
        outcome_.latencies.add(static_cast<uint64_t>(to_ns(bench_ticks() - start)));
        next_done_++;
    }

    std::vector<uint64_t> submitted_at_;
    uint64_t next_submit_ = 0;
    uint64_t next_done_ = 0;
    bool wrong_ = false;
    Outcome outcome_;
    std::unique_ptr<Runner> runner_; // last: it calls back
};

void tasks(benchmark::State &state, Harness &harness, const RunnerMaker &maker, const Shape &shape)
{
    Client client(maker, harness.settings.cpu_b, shape.outstanding);
    if (!client.usable()) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, shape.workload, maker.name, 0, [&](bool warm_up) {
        Outcome outcome;
        std::promise<void> done; // B makes room for the worker
        harness.pair.run(
            [&] {
                outcome = client.run(warm_up ? kWarmUpMs : kSampleMs);
                done.set_value();
            },
            [&] { done.get_future().wait(); });
        return outcome;
    });
}

} // namespace

void add_tasks(Harness &harness)
{
    for (const Shape &shape : shapes) {
        harness.results.declare(shape.workload);
    }
    for (const RunnerMaker &maker : runners()) {
        for (const Shape &shape : shapes) {
            add_benchmark(harness, "task/" + maker.name, {"outstanding"},
                          {static_cast<int64_t>(shape.outstanding)},
                          [&harness, maker, &shape](benchmark::State &state) {
                              tasks(state, harness, maker, shape);
                          });
        }
    }
}

} // namespace bench
