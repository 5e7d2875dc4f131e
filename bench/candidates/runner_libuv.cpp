// SPDX-License-Identifier: MIT
// libuv's thread pool, which is one for the whole process: uv_queue_work, completions in a loop. Of
// its threads all but one stay in a task that waits for the end.
#include <stdexcept>
#include <uv.h>
#include <vector>

#include "candidates/libuv_threads.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

class LibuvRunner : public Runner
{
  public:
    LibuvRunner(int cpu, const Job &job) : Runner(cpu, job), works_(kLimit)
    {
        set_libuv_threads();
        if (uv_loop_init(&loop_) != 0) {
            throw std::runtime_error("no loop");
        }
        for (uv_work_t &work : kept_) {
            work.data = &end_;
            uv_queue_work(
                &loop_, &work, [](uv_work_t *kept) { static_cast<Latch *>(kept->data)->wait(); },
                nullptr);
        }
    }

    ~LibuvRunner() override
    {
        end_.count_down();
        uv_run(&loop_, UV_RUN_DEFAULT);
        uv_loop_close(&loop_);
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        if (!slot) {
            return false;
        }
        uv_work_t *work = &works_[index(slot)];
        work->data = slot;
        return uv_queue_work(&loop_, work, start, end) == 0;
    }

    void poll() override
    {
        uv_run(&loop_, UV_RUN_NOWAIT);
    }

    bool wait() override
    {
        uv_run(&loop_, UV_RUN_ONCE);
        return true;
    }

  private:
    static LibuvRunner *runner_of(const Slot *slot)
    {
        return static_cast<LibuvRunner *>(slot->runner);
    }

    static void start(uv_work_t *work)
    {
        auto *slot = static_cast<Slot *>(work->data);
        runner_of(slot)->run(slot);
    }

    static void end(uv_work_t *work, int)
    {
        auto *slot = static_cast<Slot *>(work->data);
        runner_of(slot)->done(slot);
    }

    uv_loop_t loop_;
    Latch end_{1};
    uv_work_t kept_[kTeamWorkers - 1];
    std::vector<uv_work_t> works_;
};

} // namespace

void add_libuv_runners(std::vector<RunnerMaker> &runners)
{
    runners.push_back({"libuv", make_runner<LibuvRunner>, false});
    runners.push_back({"libuv.poll", make_runner<LibuvRunner>, true});
}

} // namespace bench
