// SPDX-License-Identifier: MIT
// The floor of a wake-up: a word and the two system calls. The word is the number.
#include <atomic>
#include <climits>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "candidates/table.h"

namespace bench
{
namespace
{

class Futex : public Sleeper
{
  public:
    void wake(uint64_t number) override
    {
        word_.store(static_cast<uint32_t>(number), std::memory_order_release);
        syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    }

    uint64_t sleep() override
    {
        uint32_t number;
        while ((number = word_.load(std::memory_order_acquire)) == seen_) {
            syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, seen_, nullptr, nullptr, 0);
        }
        return seen_ = number;
    }

  private:
    alignas(128) std::atomic<uint32_t> word_{0};
    alignas(128) uint32_t seen_ = 0;
};

} // namespace

std::unique_ptr<Sleeper> make_futex_sleeper()
{
    return std::make_unique<Futex>();
}

} // namespace bench
