// SPDX-License-Identifier: MIT
// Tasks: A keeps some number of tasks that do next to nothing outstanding, a worker on B's CPU runs
// them, A sleeps or polls until completions come and submits as many anew. Either each task is
// timed from its submit to its completion, or all of them together.
#include <algorithm>
#include <future>

#include "candidates/table.h"
#include "harness/relax.h"
#include "harness/ticks.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

constexpr double kSampleMs = 10;
constexpr double kWarmUpMs = 2;
// Looks for completions between two at the clock.
constexpr uint64_t kLooks = 1024;

struct Shape {
    uint64_t outstanding;
    Workload workload;
};

const Shape trips[] = {
    {1, {"task round trip, 1 outstanding", 1, "ns", {}}},
    {64, {"task round trip, 64 outstanding", 1000, "us", {}}},
    {1024, {"task round trip, 1024 outstanding", 1000, "us", {}}},
};

const uint64_t outstandings[] = {1, 64, 1024};
const Workload rate{"tasks, so many outstanding", 1, "ns per task", {"1", "64", "1024"}};

class Client
{
  public:
    Client(const RunnerMaker &maker, int cpu, uint64_t outstanding, bool timed)
        : maker_(maker), outstanding_(outstanding), timed_(timed),
          tasks_(std::min(Runner::kLimit, 4 * outstanding)),
          runner_(maker.make(cpu, {result_of, done, this}))
    {
    }

    bool usable() const
    {
        return runner_ != nullptr;
    }

    Outcome run(double ms)
    {
        outcome_ = Outcome();
        uint64_t first = completed_;
        uint64_t start = bench_ticks();
        uint64_t until = start + to_ticks(ms * 1e6);
        bool alive = true;
        while (alive && bench_ticks() < until) {
            alive = fill() && collect();
        }
        while (alive && completed_ != submitted_) {
            alive = collect();
        }
        outcome_.seconds = to_ns(bench_ticks() - start) / 1e9;
        outcome_.items = completed_ - first;
        outcome_.typical_ns = outcome_.seconds * 1e9 / static_cast<double>(outcome_.items);
        outcome_.error = wrong_   ? "wrong result or order"
                         : !alive ? "a task was refused or lost"
                                  : "";
        return outcome_;
    }

  private:
    // Where the number's place is taken, a task of long ago is not done yet: it will have to be.
    struct Task {
        uint64_t number = 0;
        uint64_t start = 0;
        bool outstanding = false;
    };

    // The whole of a task's work: something that shows that it ran.
    static uint64_t result_of(void *, uint64_t number)
    {
        return number * 3 + 1;
    }

    bool fill()
    {
        uint64_t first = submitted_;
        while (submitted_ - completed_ < outstanding_ && !task(submitted_).outstanding) {
            task(submitted_) = {submitted_, timed_ ? bench_ticks() : 0, true};
            submitted_++;
            if (!maker_.batches && !runner_->submit(submitted_ - 1)) {
                return false;
            }
        }
        return !maker_.batches || submitted_ == first ||
               runner_->submit_many(first, submitted_ - first);
    }

    bool collect()
    {
        return maker_.polls ? poll() : runner_->wait();
    }

    // Until there was a task.
    bool poll()
    {
        uint64_t before = completed_;
        uint64_t until = 0;
        for (uint64_t looks = 1;; looks++) {
            runner_->poll();
            if (completed_ != before) {
                return true;
            }
            bench_relax();
            if (looks == kLooks) {
                until = bench_ticks() + to_ticks(Runner::kPatienceMs * 1e6);
            } else if (looks % kLooks == 0 && bench_ticks() > until) {
                return false;
            }
        }
    }

    static void done(void *context, uint64_t number, uint64_t result)
    {
        auto *client = static_cast<Client *>(context);
        Task &task = client->task(number);
        client->wrong_ = client->wrong_ || task.number != number || !task.outstanding ||
                         result != result_of(nullptr, number) ||
                         (client->maker_.ordered && number != client->completed_);
        if (client->timed_) {
            uint64_t ticks = bench_ticks() - task.start;
            client->outcome_.latencies.add(static_cast<uint64_t>(to_ns(ticks)));
        }
        task.outstanding = false;
        client->completed_++;
    }

    Task &task(uint64_t number)
    {
        return tasks_[number & (tasks_.size() - 1)];
    }

    const RunnerMaker maker_;
    const uint64_t outstanding_;
    const bool timed_;
    std::vector<Task> tasks_; // a power of two
    uint64_t submitted_ = 0;
    uint64_t completed_ = 0;
    bool wrong_ = false;
    Outcome outcome_;
    std::unique_ptr<Runner> runner_; // last: it calls back
};

void tasks(benchmark::State &state, Harness &harness, const Workload &workload, size_t column,
           const RunnerMaker &maker, uint64_t outstanding)
{
    bool timed = workload.columns.empty();
    Client client(maker, harness.settings.cpu_b, outstanding, timed);
    if (!client.usable()) {
        state.SkipWithError(kNotCreated);
        return;
    }
    sample(state, harness, workload, maker.name, column, [&](bool warm_up) {
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

void add_trip(Harness &harness, const Shape &shape, const RunnerMaker &maker)
{
    add_benchmark(harness, "task/" + maker.name, {"outstanding"},
                  {static_cast<int64_t>(shape.outstanding)},
                  [&harness, &shape, maker](benchmark::State &state) {
                      tasks(state, harness, shape.workload, 0, maker, shape.outstanding);
                  });
}

void add_rate(Harness &harness, size_t column, const RunnerMaker &maker)
{
    add_benchmark(harness, "task_rate/" + maker.name, {"outstanding"},
                  {static_cast<int64_t>(outstandings[column])},
                  [&harness, column, maker](benchmark::State &state) {
                      tasks(state, harness, rate, column, maker, outstandings[column]);
                  });
}

} // namespace

void add_tasks(Harness &harness)
{
    for (const Shape &shape : trips) {
        harness.results.declare(shape.workload);
    }
    harness.results.declare(rate);
    add_benchmark(
        harness, "task/floor.spsc", {"outstanding"}, {1},
        [&harness](benchmark::State &state) { floor_of_spsc(state, harness, trips[0].workload); });
    add_trip(harness, trips[0], floor_runner());
    for (const RunnerMaker &maker : runners()) {
        for (const Shape &shape : trips) {
            add_trip(harness, shape, maker);
        }
        for (size_t column = 0; column < rate.columns.size(); column++) {
            add_rate(harness, column, maker);
        }
    }
}

} // namespace bench
