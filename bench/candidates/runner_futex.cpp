// SPDX-License-Identifier: MIT
// The floor of a task between two threads that sleep: a futex there and one back. One task at a
// time.
#include <atomic>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include "candidates/table.h"

namespace bench
{
namespace
{

class Line
{
  public:
    void wake(uint32_t value)
    {
        word_.store(value, std::memory_order_release);
        syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }

    // Until it is another value.
    uint32_t sleep(uint32_t value)
    {
        uint32_t now;
        while ((now = word_.load(std::memory_order_acquire)) == value) {
            syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
        }
        return now;
    }

  private:
    alignas(128) std::atomic<uint32_t> word_{0};
};

class FutexRunner : public Runner
{
  public:
    FutexRunner(int cpu, const Job &job) : Runner(cpu, job), thread_([this] { work(); })
    {
    }

    ~FutexRunner() override
    {
        there_.wake(kStop);
        thread_.join();
    }

    bool submit(uint64_t number) override
    {
        task_ = take(number);
        there_.wake(++turn_ % kStop);
        return true;
    }

    void poll() override
    {
    }

    bool wait() override
    {
        back_.sleep((turn_ - 1) % kStop);
        done(task_);
        return true;
    }

  private:
    static constexpr uint32_t kStop = UINT32_MAX;

    void work()
    {
        uint32_t turn = 0;
        while ((turn = there_.sleep(turn)) != kStop) {
            run(task_);
            back_.wake(turn);
        }
    }

    Line there_;
    Line back_;
    alignas(128) Slot *task_ =
        nullptr;         // A writes before it wakes B, which writes what it points to
    uint32_t turn_ = 0;  // A's
    std::thread thread_; // last: it uses the others
};

} // namespace

std::unique_ptr<Runner> make_futex_runner(int cpu, const Job &job)
{
    return make_runner<FutexRunner>(cpu, job);
}

} // namespace bench
