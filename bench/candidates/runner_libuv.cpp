// SPDX-License-Identifier: MIT
// libuv's thread pool, which is one for the whole process: uv_queue_work, completions in a loop.
#include <stdexcept>
#include <cstdlib>
#include <uv.h>
#include <vector>

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
        setenv("UV_THREADPOOL_SIZE", "1", 1); // read at the first task of all
        if (uv_loop_init(&loop_) != 0) {
            throw std::runtime_error("no loop");
        }
    }

    ~LibuvRunner() override
    {
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
    std::vector<uv_work_t> works_;
};

} // namespace

void add_libuv_runners(std::vector<RunnerMaker> &runners)
{
    runners.push_back({"libuv", make_runner<LibuvRunner>, false});
    runners.push_back({"libuv.poll", make_runner<LibuvRunner>, true});
}

} // namespace bench
