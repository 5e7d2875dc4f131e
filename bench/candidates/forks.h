// SPDX-License-Identifier: MIT
// forks: the algorithms of the workload fork_join, written with `Both::both(f, g)`, which runs
// both, one of them as a task, and returns when both have returned.
#ifndef BENCH_FORKS_H
#define BENCH_FORKS_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace bench
{

constexpr std::ptrdiff_t kSortAlone = 4096; // ints
constexpr std::ptrdiff_t kSumAlone = 65536; // doubles

// Parts a range of at least three in two that are not empty: none in the first one is greater than
// any in the second.
inline int *part(int *first, int *last)
{
    int *middle = first + (last - first) / 2;
    int a = *first;
    int b = *middle;
    int c = last[-1];
    int pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
    for (int *low = first - 1, *high = last;;) {
        do {
            low++;
        } while (*low < pivot);
        do {
            high--;
        } while (pivot < *high);
        if (low >= high) {
            return std::min(std::max(low, first + 1), last - 1);
        }
        std::swap(*low, *high);
    }
}

// Several sums at once: an addition need not wait for the one before.
inline double sum_alone(const double *first, const double *last)
{
    double sums[8] = {};
    for (; last - first >= 8; first += 8) {
        for (int i = 0; i < 8; i++) {
            sums[i] += first[i];
        }
    }
    for (; first != last; first++) {
        sums[0] += *first;
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
           ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

template <class Both> uint64_t fork_fib(unsigned n)
{
    if (n < 2) {
        return n;
    }
    uint64_t a = 0;
    uint64_t b = 0;
    Both::both([&a, n] { a = fork_fib<Both>(n - 1); }, [&b, n] { b = fork_fib<Both>(n - 2); });
    return a + b;
}

template <class Both> void fork_sort(int *first, int *last)
{
    if (last - first <= kSortAlone) {
        std::sort(first, last);
        return;
    }
    int *middle = part(first, last);
    Both::both([=] { fork_sort<Both>(first, middle); }, [=] { fork_sort<Both>(middle, last); });
}

template <class Both> double fork_sum(const double *first, const double *last)
{
    if (last - first <= kSumAlone) {
        return sum_alone(first, last);
    }
    const double *middle = first + (last - first) / 2;
    double a = 0;
    double b = 0;
    Both::both([=, &a] { a = fork_sum<Both>(first, middle); },
               [=, &b] { b = fork_sum<Both>(middle, last); });
    return a + b;
}

} // namespace bench

#endif // BENCH_FORKS_H
