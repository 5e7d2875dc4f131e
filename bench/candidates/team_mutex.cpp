// SPDX-License-Identifier: MIT
// The pool that one writes first: threads, one queue, a mutex and a condition variable; each parent
// has a queue of completions of the same kind.
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "candidates/inbox.h"
#include "candidates/table.h"

namespace bench
{
namespace
{

class MutexTeam : public Team
{
  public:
    MutexTeam(const TeamShape &shape, bool pinned) : Team(shape, pinned)
    {
        for (unsigned i = 0; i < shape.workers; i++) {
            threads_.emplace_back([this] { work(); });
        }
    }

    ~MutexTeam() override
    {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stop_ = true;
        }
        changed_.notify_all();
        for (std::thread &thread : threads_) {
            thread.join();
        }
    }

    std::unique_ptr<Runner> attach(const Job &job) override
    {
        return std::make_unique<InboxParent>(*this, job, queue());
    }

    bool post(void (*run)(void *), void *context) override
    {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            tasks_.push_back({run, context});
        }
        changed_.notify_one();
        return true;
    }

  private:
    struct Task {
        void (*run)(void *);
        void *context;
    };

    void work()
    {
        place();
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            changed_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
            if (stop_) {
                return;
            }
            Task task = tasks_.front();
            tasks_.pop_front();
            lock.unlock();
            task.run(task.context);
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Task> tasks_;
    bool stop_ = false;
    std::vector<std::thread> threads_; // last: they use the others
};

} // namespace

void add_mutex_teams(std::vector<TeamMaker> &teams)
{
    add_team<MutexTeam>(
        teams, "mutex.pool",
        "less: no bound, order lost among workers, no wait inside a task; none spins");
}

} // namespace bench
