// SPDX-License-Identifier: MIT
#include "harness/placement.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>

#include "harness/relax.h"
#include "harness/ticks.h"

namespace bench
{

const char *name(Place place)
{
    switch (place) {
    case Place::smt:
        return "smt";
    case Place::l3:
        return "l3";
    case Place::across:
        return "across";
    case Place::one_cpu:
        return "one_cpu";
    case Place::any:
        return "any";
    case Place::mixed:
        break;
    }
    return "mixed";
}

Place classify(double line_rt_ns, const Cuts &cuts)
{
    if (bench_one_cpu) {
        return Place::one_cpu;
    }
    return line_rt_ns < cuts.smt_ns  ? Place::smt
           : line_rt_ns < cuts.l3_ns ? Place::l3
                                     : Place::across;
}

double cut_between(std::vector<double> line_rt_ns)
{
    constexpr double kApart = 1.1; // the clusters' edges
    std::vector<double> &all = line_rt_ns;
    std::sort(all.begin(), all.end());
    size_t stray = all.size() / 100 + 1; // may lie in between
    size_t part = all.size() / 40 + 4;
    double widest = kApart;
    double cut = 0;
    for (size_t i = part; i + stray + part < all.size(); i++) {
        double ratio = all[i + stray] / all[i];
        if (ratio > widest) {
            widest = ratio;
            cut = std::sqrt(all[i + stray] * all[i]);
        }
    }
    return cut;
}

namespace
{

// Blocks, of which the fastest counts: a preemption in one of them is not the line's doing.
constexpr uint32_t kBlocks = 4;

struct alignas(128) Line {
    std::atomic<uint32_t> turn{0};
};

uint32_t rounds()
{
    return bench_one_cpu ? 16 : 64;
}

void await(const Line &line, uint32_t turn)
{
    while (line.turn.load(std::memory_order_acquire) != turn) {
        if (bench_one_cpu) {
            bench_relax();
        }
    }
}

uint64_t bounce(Line &line)
{
    uint64_t best = UINT64_MAX;
    uint32_t turn = 0;
    for (uint32_t block = 0; block <= kBlocks; block++) {
        uint64_t start = bench_ticks();
        for (uint32_t i = 0; i < rounds(); i++, turn += 2) {
            line.turn.store(turn + 1, std::memory_order_release);
            await(line, turn + 2);
        }
        if (block > 0) { // the first one warms up
            best = std::min(best, bench_ticks() - start);
        }
    }
    return best;
}

void bounce_back(Line &line)
{
    for (uint32_t turn = 0; turn < 2 * rounds() * (kBlocks + 1); turn += 2) {
        await(line, turn + 1);
        line.turn.store(turn + 2, std::memory_order_release);
    }
}

} // namespace

double line_round_trip_ns(Pair &pair)
{
    static Line line;
    line.turn.store(0);
    uint64_t ticks = 0;
    pair.run([&] { ticks = bounce(line); }, [&] { bounce_back(line); });
    return to_ns(ticks) / rounds();
}

} // namespace bench
