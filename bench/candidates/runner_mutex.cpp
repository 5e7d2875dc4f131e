// SPDX-License-Identifier: MIT
// The pool that one writes first: a thread, two queues, a mutex and two condition variables.
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "candidates/table.h"

namespace bench
{
namespace
{

class MutexRunner : public Runner
{
  public:
    MutexRunner(int cpu, const Job &job) : Runner(cpu, job), thread_([this] { work(); })
    {
    }

    ~MutexRunner() override
    {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stop_ = true;
        }
        submitted_.notify_one();
        thread_.join();
    }

    bool submit(uint64_t number) override
    {
        Slot *slot = take(number);
        if (!slot) {
            return false;
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            tasks_.push_back(slot);
        }
        submitted_.notify_one();
        return true;
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
    void report()
    {
        for (Slot *slot : batch_) {
            done(slot);
        }
        batch_.clear();
    }

    void work()
    {
        std::vector<Slot *> batch;
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            submitted_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
            if (stop_) {
                return;
            }
            batch.swap(tasks_);
            for (Slot *slot : batch) {
                lock.unlock();
                run(slot);
                lock.lock();
                finished_.push_back(slot);
                completed_.notify_one();
            }
            batch.clear();
        }
    }

    std::mutex mutex_;
    std::condition_variable submitted_;
    std::condition_variable completed_;
    std::vector<Slot *> tasks_;
    std::vector<Slot *> finished_;
    std::vector<Slot *> batch_; // the parent's
    bool stop_ = false;
    std::thread thread_; // last: it uses the others
};

} // namespace

void add_mutex_runners(std::vector<RunnerMaker> &runners)
{
    runners.push_back({"mutex.pool", make_runner<MutexRunner>, false});
    runners.push_back({"mutex.pool.poll", make_runner<MutexRunner>, true});
}

} // namespace bench
