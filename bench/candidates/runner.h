// SPDX-License-Identifier: MIT
// runner: what has to be offered to be a candidate for tasks: one worker, pinned to B's CPU.
#ifndef BENCH_RUNNER_H
#define BENCH_RUNNER_H

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace bench
{

class Runner
{
  public:
    // Gets each task's result, on the thread that submits.
    using Done = std::function<void(uint64_t number, uint64_t result)>;

    explicit Runner(Done done) : done_(std::move(done))
    {
    }

    virtual ~Runner() = default;

    // Has task_result(number) computed by the worker; false: no room, or an error.
    virtual bool submit(uint64_t number) = 0;

    // Sleeps until a task is done, then reports all that are; false: none came, or an error.
    virtual bool collect() = 0;

    // The whole of a task's work: something that shows that it ran.
    static uint64_t task_result(uint64_t number)
    {
        return number * 3 + 1;
    }

    static constexpr int kPatienceMs = 2000;

  protected:
    const Done done_;
};

struct RunnerMaker {
    std::string name;
    std::function<std::unique_ptr<Runner>(int cpu, Runner::Done done)> make; // null: cannot be had
};

} // namespace bench

#endif // BENCH_RUNNER_H
