// SPDX-License-Identifier: MIT
// steady: a parent that keeps some number of tasks outstanding, in its loop, for some time.
#ifndef BENCH_STEADY_H
#define BENCH_STEADY_H

#include "candidates/team.h"
#include "harness/harness.h"

namespace bench
{

class Steady
{
  public:
    // `run` as in Job; what it returns must be `result_of`.
    struct Tasks {
        uint64_t (*run)(const void *context, uint64_t number);
        uint64_t (*result_of)(const void *context, uint64_t number);
        const void *context;
    };

    // The calling thread is the parent.
    Steady(Team &team, const Tasks &tasks, uint64_t outstanding);

    bool usable() const
    {
        return parent_ != nullptr;
    }

    // What was done by the end of so many milliseconds; the rest is waited for after that.
    Outcome run(double ms);

  private:
    static uint64_t run_task(void *context, uint64_t number);
    static void done(void *context, uint64_t number, uint64_t result);

    bool fill();

    const Tasks tasks_; // workers read it at each task
    const uint64_t outstanding_;
    alignas(128) uint64_t submitted_ = 0; // from here on the parent writes
    uint64_t completed_ = 0;
    uint64_t numbers_ = 0; // the sum of those submitted less that of those completed
    bool wrong_ = false;
    std::unique_ptr<Runner> parent_; // last: it calls back
};

// Tasks that do nothing but show that they ran.
extern const Steady::Tasks no_ops;

} // namespace bench

#endif // BENCH_STEADY_H
