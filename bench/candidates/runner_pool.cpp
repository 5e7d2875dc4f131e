// SPDX-License-Identifier: MIT
// strait's pool with one worker, its parent in an event loop on the pool's fd.
#include <cstring>
#include <poll.h>

#include "candidates/table.h"
#include "strait.h"

namespace bench
{
namespace
{

class PoolRunner : public Runner
{
  public:
    PoolRunner(strait_pool *pool, Done done) : Runner(std::move(done)), pool_(pool)
    {
    }

    ~PoolRunner() override
    {
        strait_pool_close(pool_, STRAIT_CLOSE_CANCEL, STRAIT_FOREVER);
        strait_pool_destroy(pool_);
    }

    bool submit(uint64_t number) override
    {
        strait_task task = {};
        task.run = run;
        task.done = finish;
        task.context = this;
        std::memcpy(task.data, &number, sizeof(number));
        return strait_pool_submit(pool_, &task, nullptr) == 0;
    }

    bool collect() override
    {
        pollfd watched = {strait_pool_fd(pool_), POLLIN, 0};
        return poll(&watched, 1, kPatienceMs) == 1 && strait_pool_dispatch(pool_, 0) >= 0;
    }

  private:
    static int run(strait_task *task)
    {
        uint64_t number;
        std::memcpy(&number, task->data, sizeof(number));
        uint64_t result = task_result(number);
        std::memcpy(task->data + sizeof(number), &result, sizeof(result));
        return 0;
    }

    static void finish(strait_task *task)
    {
        uint64_t number;
        uint64_t result;
        std::memcpy(&number, task->data, sizeof(number));
        std::memcpy(&result, task->data + sizeof(number), sizeof(result));
        const auto *runner = static_cast<const PoolRunner *>(task->context);
        runner->done_(number, task->status == STRAIT_TASK_DONE ? result : 0);
    }

    strait_pool *pool_;
};

// The process may use A's and B's CPU only, and a pool's first worker leaves its parent's alone.
std::unique_ptr<Runner> make(strait_wait wait, Runner::Done done)
{
    strait_pool_options options = {};
    options.workers = 1;
    options.wait = wait;
    strait_pool *pool = nullptr;
    if (strait_pool_create(&pool, &options) != 0) {
        return nullptr;
    }
    return std::make_unique<PoolRunner>(pool, std::move(done));
}

} // namespace

std::unique_ptr<Runner> make_parked_pool_runner(int, Runner::Done done)
{
    return make(STRAIT_WAIT_PARK, std::move(done));
}

std::unique_ptr<Runner> make_spinning_pool_runner(int, Runner::Done done)
{
    return make(STRAIT_WAIT_SPIN, std::move(done));
}

} // namespace bench
