// SPDX-License-Identifier: MIT
// oneTBB: task_arena::enqueue, completions through its bounded queue.
#include <tbb/concurrent_queue.h>
#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include "candidates/table.h"

namespace bench
{
namespace
{

class TbbRunner : public Runner
{
  public:
    TbbRunner(int cpu, const Job &job)
        : Runner(cpu, job), control_(tbb::global_control::max_allowed_parallelism, 2), arena_(1, 0)
    {
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        if (!slot) {
            return false;
        }
        arena_.enqueue([this, slot] {
            run(slot);
            finished_.push(slot);
        });
        return true;
    }

    void poll() override
    {
        Slot *slot = nullptr;
        while (finished_.try_pop(slot)) {
            done(slot);
        }
    }

    bool wait() override
    {
        Slot *slot = nullptr;
        finished_.pop(slot);
        done(slot);
        poll();
        return true;
    }

  private:
    tbb::global_control control_;
    tbb::concurrent_bounded_queue<Slot *> finished_;
    tbb::task_arena arena_;
};

} // namespace

void add_tbb_runners(std::vector<RunnerMaker> &runners)
{
    runners.push_back({"tbb.arena", make_runner<TbbRunner>, false, false});
    runners.push_back({"tbb.arena.poll", make_runner<TbbRunner>, true, false});
}

} // namespace bench
