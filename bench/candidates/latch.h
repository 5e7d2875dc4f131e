// SPDX-License-Identifier: MIT
// latch: what a thread sleeps on until a count of things has happened; the last one wakes it.
#ifndef BENCH_LATCH_H
#define BENCH_LATCH_H

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace bench
{

class Latch
{
  public:
    explicit Latch(uint64_t count = 0) : left_(count), open_(count == 0)
    {
    }

    // Nobody waits, nothing is left.
    void reset(uint64_t count)
    {
        left_ = count;
        open_ = count == 0;
    }

    // By whoever has not counted down yet: one more is to come.
    void add()
    {
        left_.fetch_add(1, std::memory_order_relaxed);
    }

    void count_down()
    {
        if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            std::lock_guard<std::mutex> lock(mutex_);
            open_ = true;
            opened_.notify_all(); // within the lock: the latch may be gone after it
        }
    }

    void wait()
    {
        std::unique_lock<std::mutex> lock(mutex_);
        opened_.wait(lock, [this] { return open_; });
    }

  private:
    std::atomic<uint64_t> left_;
    std::mutex mutex_;
    std::condition_variable opened_;
    bool open_;
};

} // namespace bench

#endif // BENCH_LATCH_H
