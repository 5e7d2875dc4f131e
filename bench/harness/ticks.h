// SPDX-License-Identifier: MIT
// ticks: bench_ticks in nanoseconds and back.
#ifndef BENCH_TICKS_H
#define BENCH_TICKS_H

#include "harness/clock.h"

namespace bench
{

// Nanoseconds to a tick, measured against the monotonic clock at the first call.
inline double tick_ns()
{
    static const double ns = [] {
        uint64_t start = bench_nanoseconds();
        uint64_t ticks = bench_ticks();
        uint64_t now = start;
        while (now - start < 50000000) {
            now = bench_nanoseconds();
        }
        return static_cast<double>(now - start) / static_cast<double>(bench_ticks() - ticks);
    }();
    return ns;
}

inline double to_ns(uint64_t ticks)
{
    return static_cast<double>(ticks) * tick_ns();
}

inline uint64_t to_ticks(double ns)
{
    return static_cast<uint64_t>(ns / tick_ns());
}

} // namespace bench

#endif // BENCH_TICKS_H
