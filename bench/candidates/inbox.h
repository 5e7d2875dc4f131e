// SPDX-License-Identifier: MIT
// inbox: a parent for pools that have none: its tasks are posted, and what is done comes back
// through a queue, a mutex and a condition variable.
#ifndef BENCH_INBOX_H
#define BENCH_INBOX_H

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "candidates/team.h"

namespace bench
{

class InboxParent : public Runner
{
  public:
    InboxParent(Team &team, const Job &job, uint64_t limit) : Runner(-1, job, limit), team_(team)
    {
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        return slot && team_.post(work, slot);
    }

    void poll() override
    {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            batch_.swap(finished_);
        }
        report();
    }

    bool wait() override
    {
        {
            std::unique_lock<std::mutex> lock(mutex_);
            if (!completed_.wait_for(lock, std::chrono::milliseconds(kPatienceMs),
                                     [this] { return !finished_.empty(); })) {
                return false;
            }
            batch_.swap(finished_);
        }
        report();
        return true;
    }

  private:
    static void work(void *context)
    {
        auto *slot = static_cast<Slot *>(context);
        auto *parent = static_cast<InboxParent *>(slot->runner);
        parent->run(slot);
        std::lock_guard<std::mutex> lock(parent->mutex_);
        parent->finished_.push_back(slot);
        if (parent->finished_.size() == 1) {
            parent->completed_.notify_one(); // within the lock: the parent may be gone after it
        }
    }

    void report()
    {
        for (Slot *slot : batch_) {
            done(slot);
        }
        batch_.clear();
    }

    Team &team_;
    std::mutex mutex_;
    std::condition_variable completed_;
    std::vector<Slot *> finished_;
    std::vector<Slot *> batch_; // the parent's
};

} // namespace bench

#endif // BENCH_INBOX_H
