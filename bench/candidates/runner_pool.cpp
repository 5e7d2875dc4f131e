// SPDX-License-Identifier: MIT
// strait's pool with one worker, in the ways in which its parent can wait.
#include <cstring>
#include <poll.h>
#include <stdexcept>
#include <vector>

#include "candidates/table.h"
#include "strait.h"

namespace bench
{
namespace
{

struct Numbers {
    uint64_t number;
    uint64_t result;
};

class PoolRunner : public Runner
{
  public:
    PoolRunner(int cpu, const Job &job, strait_wait worker, strait_wait parent, bool timed)
        : Runner(cpu, job), tasks_(kLimit)
    {
        strait_pool_options options = {};
        options.workers = 1;
        options.wait = worker;
        options.cpus = &cpu;
        options.cpu_count = 1;
        options.queue_limit = kLimit;
        options.timed = timed;
        strait_parent_options attach = {};
        attach.wait = parent;
        if (strait_pool_create(&pool_, &options) != 0) {
            throw std::runtime_error("no pool");
        }
        if (strait_pool_attach(pool_, &parent_, &attach) != 0) {
            strait_pool_finish(pool_, nullptr, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
            throw std::runtime_error("no parent");
        }
        if (parent == STRAIT_WAIT_PARK) {
            ids_.resize(kLimit);
        }
        for (strait_task &task : tasks_) {
            task.run = start;
            task.done = finish;
            task.context = this;
        }
    }

    ~PoolRunner() override
    {
        strait_pool_finish(pool_, parent_, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
    }

    bool submit(uint64_t number) override
    {
        std::memcpy(tasks_[0].data, &number, sizeof(number));
        strait_task_id *id = ids_.empty() ? nullptr : &ids_[number % kLimit];
        return strait_task_submit(parent_, &tasks_[0], nullptr, id) == 0;
    }

    bool submit_many(uint64_t first, uint64_t n) override
    {
        for (uint64_t i = 0; i < n; i++) {
            uint64_t number = first + i;
            std::memcpy(tasks_[i].data, &number, sizeof(number));
        }
        ptrdiff_t taken = strait_task_submit_many(parent_, tasks_.data(), n, nullptr, nullptr);
        return taken == static_cast<ptrdiff_t>(n);
    }

    void poll() override
    {
        strait_parent_poll(parent_, 0);
    }

    // For the oldest task; the completions of others run meanwhile.
    bool wait() override
    {
        int64_t until = strait_now() + int64_t{kPatienceMs} * 1000000;
        return strait_task_wait(parent_, ids_[done_ % kLimit], until) == 0;
    }

  protected:
    strait_parent *parent_ = nullptr;

  private:
    static int start(strait_task *task) noexcept
    {
        const Job &job = static_cast<const PoolRunner *>(task->context)->job_;
        Numbers numbers;
        std::memcpy(&numbers, task->data, sizeof(numbers));
        numbers.result = job.run(job.context, numbers.number);
        std::memcpy(task->data, &numbers, sizeof(numbers));
        return 0;
    }

    static void finish(strait_task *task) noexcept
    {
        auto *runner = static_cast<PoolRunner *>(task->context);
        const Job &job = runner->job_;
        Numbers numbers;
        std::memcpy(&numbers, task->data, sizeof(numbers));
        runner->done_++;
        job.done(job.context, numbers.number,
                 task->status == STRAIT_TASK_DONE ? numbers.result : 0);
    }

    strait_pool *pool_ = nullptr;
    std::vector<strait_task> tasks_;  // filled in but for the number
    std::vector<strait_task_id> ids_; // to wait for; empty: the parent has other ways
    uint64_t done_ = 0;               // tasks so far
};

class ParkedRunner : public PoolRunner
{
  public:
    ParkedRunner(int cpu, const Job &job)
        : PoolRunner(cpu, job, STRAIT_WAIT_PARK, STRAIT_WAIT_PARK, false)
    {
    }
};

// In an event loop, or what comes nearest to it.
class FdRunner : public PoolRunner
{
  public:
    FdRunner(int cpu, const Job &job)
        : PoolRunner(cpu, job, STRAIT_WAIT_PARK, STRAIT_WAIT_FD, false)
    {
    }

    bool wait() override
    {
        pollfd watched = {strait_parent_fd(parent_), POLLIN, 0};
        return ::poll(&watched, 1, kPatienceMs) == 1 && strait_parent_dispatch(parent_, 0) >= 0;
    }
};

template <bool Timed> class SpinningRunner : public PoolRunner
{
  public:
    SpinningRunner(int cpu, const Job &job)
        : PoolRunner(cpu, job, STRAIT_WAIT_SPIN, STRAIT_WAIT_SPIN, Timed)
    {
    }
};

} // namespace

void add_strait_runners(std::vector<RunnerMaker> &runners)
{
    runners.push_back({"strait.pool.parked", make_runner<ParkedRunner>, false});
    runners.push_back({"strait.pool.fd", make_runner<FdRunner>, false});
    runners.push_back({"strait.pool.spin", make_runner<SpinningRunner<false>>, true});
    runners.push_back(
        {"strait.pool.spin.many", make_runner<SpinningRunner<false>>, true, true, true});
    runners.push_back({"strait.pool.spin.timed", make_runner<SpinningRunner<true>>, true});
}

} // namespace bench
