// SPDX-License-Identifier: MIT
// What a pool is held against: a thread, two queues, a mutex and two condition variables.
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "candidates/table.h"
#include "harness/pair.h"

namespace bench
{
namespace
{

class MutexRunner : public Runner
{
  public:
    MutexRunner(int cpu, Done done) : Runner(std::move(done)), thread_([this, cpu] { work(cpu); })
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
        {
            std::lock_guard<std::mutex> lock(mutex_);
            tasks_.push_back(number);
        }
        submitted_.notify_one();
        return true;
    }

    bool collect() override
    {
        std::deque<Finished> batch;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            if (!completed_.wait_for(lock, std::chrono::milliseconds(kPatienceMs),
                                     [this] { return !finished_.empty(); })) {
                return false;
            }
            batch.swap(finished_);
        }
        for (const Finished &task : batch) {
            done_(task.number, task.result);
        }
        return true;
    }

  private:
    struct Finished {
        uint64_t number;
        uint64_t result;
    };

    void work(int cpu)
    {
        pin({cpu});
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            submitted_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
            if (stop_) {
                return;
            }
            uint64_t number = tasks_.front();
            tasks_.pop_front();
            lock.unlock();
            uint64_t result = task_result(number);
            lock.lock();
            finished_.push_back({number, result});
            completed_.notify_one();
        }
    }

    std::mutex mutex_;
    std::condition_variable submitted_;
    std::condition_variable completed_;
    std::deque<uint64_t> tasks_;
    std::deque<Finished> finished_;
    bool stop_ = false;
    std::thread thread_; // last: it uses the others
};

} // namespace

std::unique_ptr<Runner> make_mutex_runner(int cpu, Runner::Done done)
{
    return std::make_unique<MutexRunner>(cpu, std::move(done));
}

} // namespace bench
