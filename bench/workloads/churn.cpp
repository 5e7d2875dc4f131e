// SPDX-License-Identifier: MIT
#include "workloads/churn.h"

#include <algorithm>

#include "harness/ticks.h"

namespace bench
{

Churn::Churn(double us)
{
    constexpr int kTries = 20; // of which the fastest counts: nobody came between
    steps_ = 5000;
    double best = 1e9;
    for (int i = 0; i < kTries; i++) {
        uint64_t start = bench_ticks();
        run(start);
        best = std::min(best, to_ns(bench_ticks() - start));
    }
    steps_ = static_cast<uint64_t>(static_cast<double>(steps_) * us * 1e3 / best);
    for (uint64_t i = 0; i < steps_; i++) {
        factor_ *= kFactor;
        summand_ = summand_ * kFactor + kSummand;
    }
}

} // namespace bench
