// SPDX-License-Identifier: MIT
// Fork and join: a task forks others and needs what becomes of them, to the end of the tree.
// fib(27) without a cut-off, a task for one of the two halves of each call: 317,810 of them. A
// quicksort of 4 M ints, alone from 4096 on; the sum of 64 M doubles, alone from 65536 on. A quick
// run takes less of all three. A pool whose tasks cannot wait posts what it forks, and the last of
// two halves goes on.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "candidates/table.h"
#include "harness/ticks.h"
#include "workloads/both.h"
#include "workloads/workloads.h"

namespace bench
{
namespace
{

struct Sizes {
    unsigned fib;
    size_t ints;
    size_t doubles;
};
constexpr Sizes kFull = {27, size_t{4} << 20, size_t{64} << 20};
constexpr Sizes kQuick = {22, size_t{1} << 19, size_t{8} << 20};
constexpr Sizes kWarmUp = {16, size_t{1} << 15, size_t{1} << 20};

const char kTitle[] = "fork and join, two workers";
const Workload full = real_work(kTitle, 1e6, "ms", {"fib(27)", "sort 4 M", "sum 64 M"});
const Workload quick = real_work(kTitle, 1e6, "ms", {"fib(22)", "sort 512 K", "sum 8 M"});

uint64_t fib(unsigned n)
{
    uint64_t a = 0;
    uint64_t b = 1;
    for (; n > 0; n--) {
        a = std::exchange(b, a + b);
    }
    return a;
}

const std::vector<int> &ints(size_t n)
{
    static std::vector<int> all;
    if (all.size() < n) {
        std::mt19937 random;
        all.resize(n);
        std::generate(all.begin(), all.end(),
                      [&random] { return static_cast<int>(random() >> 1); });
    }
    return all;
}

// Ones: every order of additions has the same sum.
const std::vector<double> &doubles(size_t n)
{
    static std::vector<double> all;
    if (all.size() < n) {
        all.resize(n, 1.0);
    }
    return all;
}

struct Took {
    bool possible;
    bool right;
    double seconds;
};

template <class F> Took timed(const F &f)
{
    uint64_t start = bench_ticks();
    bool possible = f();
    return {possible, true, to_ns(bench_ticks() - start) / 1e9};
}

Took run_fib(Team &team, unsigned n)
{
    uint64_t result = 0;
    Took took = timed([&] { return team.fib(n, result); });
    took.right = result == fib(n);
    return took;
}

Took run_sort(Team &team, size_t n)
{
    const std::vector<int> &all = ints(n);
    std::vector<int> mine(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n));
    int64_t sum = std::accumulate(mine.begin(), mine.end(), int64_t{0});
    Took took = timed([&] { return team.sort(mine.data(), mine.data() + n); });
    took.right = std::is_sorted(mine.begin(), mine.end()) &&
                 std::accumulate(mine.begin(), mine.end(), int64_t{0}) == sum;
    return took;
}

Took run_sum(Team &team, size_t n)
{
    const double *all = doubles(n).data();
    double result = 0;
    Took took = timed([&] { return team.sum(all, all + n, result); });
    took.right = std::lround(result) == static_cast<long>(n);
    return took;
}

Outcome run(Team &team, size_t column, const Sizes &sizes)
{
    Took took = column == 0   ? run_fib(team, sizes.fib)
                : column == 1 ? run_sort(team, sizes.ints)
                              : run_sum(team, sizes.doubles);
    Outcome outcome;
    outcome.items = 1;
    outcome.seconds = took.seconds;
    outcome.typical_ns = took.seconds * 1e9;
    outcome.error = took.possible && !took.right ? "a wrong result" : "";
    return outcome;
}

void fork_join(benchmark::State &state, Harness &harness, const TeamMaker &maker, size_t column)
{
    const Sizes &sizes = harness.settings.quick ? kQuick : kFull;
    if (column == 2) {
        doubles(sizes.doubles);
    }
    const Workload &workload = harness.settings.quick ? quick : full;
    sample_team(state, harness, workload, maker, column, [&](Team &team, bool warm_up) {
        return run(team, column, warm_up ? kWarmUp : sizes);
    });
}

} // namespace

void add_fork_joins(Harness &harness)
{
    const Sizes &sizes = harness.settings.quick ? kQuick : kFull;
    const std::pair<const char *, size_t> columns[] = {
        {"fib", sizes.fib}, {"sort", sizes.ints}, {"sum", sizes.doubles}};
    harness.results.declare(harness.settings.quick ? quick : full);
    for (const TeamMaker &maker : teams()) {
        if (maker.lone || maker.parents != TeamMaker::loop) {
            continue;
        }
        for (size_t column = 0; column < std::size(columns); column++) {
            add_team_benchmark(harness, "fork_join", maker, columns[column].first,
                               columns[column].second,
                               [&harness, maker, column](benchmark::State &state) {
                                   fork_join(state, harness, maker, column);
                               });
        }
    }
}

} // namespace bench
