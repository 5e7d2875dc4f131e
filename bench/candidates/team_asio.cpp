// SPDX-License-Identifier: MIT
// Boost.Asio's thread_pool, completions posted to an io_context of each parent's.
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <thread>

#include "candidates/table.h"

namespace bench
{
namespace
{

class AsioParent : public Runner
{
  public:
    AsioParent(Team &team, const Job &job, uint64_t limit)
        : Runner(-1, job, limit), team_(team), guard_(loop_.get_executor())
    {
    }

    // A worker uses the loop a little longer than it takes to run what it posted.
    ~AsioParent() override
    {
        while (left_.load(std::memory_order_acquire) != submitted_) {
            std::this_thread::yield();
        }
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        submitted_ += slot ? 1 : 0;
        return slot && team_.post(work, slot);
    }

    void poll() override
    {
        loop_.poll();
    }

    bool wait() override
    {
        bool came = loop_.run_one_for(std::chrono::milliseconds(kPatienceMs)) > 0;
        loop_.poll();
        return came;
    }

  private:
    static void work(void *context)
    {
        auto *slot = static_cast<Slot *>(context);
        auto *parent = static_cast<AsioParent *>(slot->runner);
        parent->run(slot);
        boost::asio::post(parent->loop_, [parent, slot] { parent->done(slot); });
        parent->left_.fetch_add(1, std::memory_order_release);
    }

    Team &team_;
    boost::asio::io_context loop_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
    uint64_t submitted_ = 0;        // the parent's
    std::atomic<uint64_t> left_{0}; // tasks whose worker is done with the parent
};

class AsioTeam : public Team
{
  public:
    AsioTeam(const TeamShape &shape, bool pinned) : Team(shape, pinned), pool_(shape.workers)
    {
    }

    ~AsioTeam() override
    {
        pool_.join();
    }

    std::unique_ptr<Runner> attach(const Job &job) override
    {
        return std::make_unique<AsioParent>(*this, job, queue());
    }

    bool post(void (*run)(void *), void *context) override
    {
        boost::asio::post(pool_, [this, run, context] {
            place();
            run(context);
        });
        return true;
    }

  private:
    boost::asio::thread_pool pool_;
};

} // namespace

void add_asio_teams(std::vector<TeamMaker> &teams)
{
    add_team<AsioTeam>(teams, "boost.asio",
                       "less: no bound, no wait inside a task; allocates each task; none spins");
}

} // namespace bench
