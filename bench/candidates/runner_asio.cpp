// SPDX-License-Identifier: MIT
// Boost.Asio's thread_pool, completions posted to an io_context of the parent's.
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>

#include "candidates/table.h"

namespace bench
{
namespace
{

class AsioRunner : public Runner
{
  public:
    AsioRunner(int cpu, const Job &job) : Runner(cpu, job), guard_(parent_.get_executor()), pool_(1)
    {
    }

    ~AsioRunner() override
    {
        pool_.join();
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        if (!slot) {
            return false;
        }
        boost::asio::post(pool_, [this, slot] {
            run(slot);
            boost::asio::post(parent_, [this, slot] { done(slot); });
        });
        return true;
    }

    void poll() override
    {
        parent_.poll();
    }

    bool wait() override
    {
        bool came = parent_.run_one_for(std::chrono::milliseconds(kPatienceMs)) > 0;
        parent_.poll();
        return came;
    }

  private:
    boost::asio::io_context parent_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
    boost::asio::thread_pool pool_;
};

} // namespace

void add_asio_runners(std::vector<RunnerMaker> &runners)
{
    runners.push_back({"boost.asio", make_runner<AsioRunner>, false});
    runners.push_back({"boost.asio.poll", make_runner<AsioRunner>, true});
}

} // namespace bench
