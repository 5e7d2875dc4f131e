// SPDX-License-Identifier: MIT
// The Apache Portable Runtime's apr_thread_pool, completions through its apr_queue.
#include <apr_general.h>
#include <apr_queue.h>
#include <apr_thread_pool.h>
#include <stdexcept>

#include "candidates/table.h"

namespace bench
{
namespace
{

class AprRunner : public Runner
{
  public:
    AprRunner(int cpu, const Job &job) : Runner(cpu, job)
    {
        apr_initialize();
        apr_pool_create(&memory_, nullptr);
        apr_pool_create(&memory_of_pool_, nullptr);
        if (apr_queue_create(&finished_, kLimit, memory_) != APR_SUCCESS ||
            apr_thread_pool_create(&pool_, 1, 1, memory_of_pool_) != APR_SUCCESS) {
            end();
            throw std::runtime_error("no pool");
        }
    }

    ~AprRunner() override
    {
        apr_thread_pool_destroy(pool_);
        end();
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        return slot && apr_thread_pool_push(pool_, work, slot, APR_THREAD_TASK_PRIORITY_NORMAL,
                                            nullptr) == APR_SUCCESS;
    }

    void poll() override
    {
        void *slot = nullptr;
        while (apr_queue_trypop(finished_, &slot) == APR_SUCCESS) {
            done(static_cast<Slot *>(slot));
        }
    }

    bool wait() override
    {
        void *slot = nullptr;
        if (apr_queue_pop(finished_, &slot) != APR_SUCCESS) {
            return false;
        }
        done(static_cast<Slot *>(slot));
        poll();
        return true;
    }

  private:
    void end()
    {
        apr_pool_destroy(memory_of_pool_);
        apr_pool_destroy(memory_);
        apr_terminate();
    }

    static void *APR_THREAD_FUNC work(apr_thread_t *, void *task)
    {
        auto *slot = static_cast<Slot *>(task);
        auto *runner = static_cast<AprRunner *>(slot->runner);
        runner->run(slot);
        apr_queue_push(runner->finished_, slot);
        return nullptr;
    }

    apr_pool_t *memory_ = nullptr;
    apr_pool_t *memory_of_pool_ = nullptr;
    apr_queue_t *finished_ = nullptr;
    apr_thread_pool_t *pool_ = nullptr;
};

} // namespace

void add_apr_runners(std::vector<RunnerMaker> &runners)
{
    runners.push_back({"apr.pool", make_runner<AprRunner>, false});
    runners.push_back({"apr.pool.poll", make_runner<AprRunner>, true});
}

} // namespace bench
