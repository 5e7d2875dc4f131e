// SPDX-License-Identifier: MIT
// churn: computing of a known length. Each step needs the one before it, so two threads on one core
// do not slow each other down, and none is longer for having been preempted: a clock would count
// what others took as work.
#ifndef BENCH_CHURN_H
#define BENCH_CHURN_H

#include <cstdint>

namespace bench
{

class Churn
{
  public:
    // As many steps as take so long on this CPU, now.
    explicit Churn(double us);

    uint64_t run(uint64_t number) const
    {
        for (uint64_t i = 0; i < steps_; i++) {
            number = number * kFactor + kSummand;
            __asm__ __volatile__("" : "+r"(number));
        }
        return number;
    }

    // What run() returns, at once.
    uint64_t result_of(uint64_t number) const
    {
        return number * factor_ + summand_;
    }

  private:
    static constexpr uint64_t kFactor = 6364136223846793005u;
    static constexpr uint64_t kSummand = 1442695040888963407u;

    uint64_t steps_;
    uint64_t factor_ = 1;
    uint64_t summand_ = 0;
};

} // namespace bench

#endif // BENCH_CHURN_H
