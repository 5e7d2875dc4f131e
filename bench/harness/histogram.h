// SPDX-License-Identifier: MIT
// histogram: log-linear, 128 buckets to an octave, so that a percentile is right within 0.4 %.
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <algorithm>
#include <cstdint>
#include <vector>

namespace bench
{

class Histogram
{
  public:
    void add(uint64_t value)
    {
        size_t i = bucket(value);
        if (i >= counts_.size()) {
            counts_.resize(i + 1);
        }
        counts_[i]++;
        count_++;
        max_ = std::max(max_, value);
    }

    void merge(const Histogram &other)
    {
        counts_.resize(std::max(counts_.size(), other.counts_.size()));
        for (size_t i = 0; i < other.counts_.size(); i++) {
            counts_[i] += other.counts_[i];
        }
        count_ += other.count_;
        max_ = std::max(max_, other.max_);
    }

    // The smallest value that a share of at least `fraction` of all values does not exceed.
    double percentile(double fraction) const
    {
        double wanted = fraction * static_cast<double>(count_);
        uint64_t seen = 0;
        for (size_t i = 0; i < counts_.size(); i++) {
            seen += counts_[i];
            if (seen > 0 && static_cast<double>(seen) >= wanted) {
                return std::min(middle(i), static_cast<double>(max_));
            }
        }
        return 0;
    }

    uint64_t count() const
    {
        return count_;
    }

    // Of the smallest values, a share of `fraction` of all: a mean that no preemption moves.
    double mean_of_smallest(double fraction) const
    {
        uint64_t wanted = static_cast<uint64_t>(fraction * static_cast<double>(count_));
        uint64_t left = wanted;
        double sum = 0;
        for (size_t i = 0; i < counts_.size() && left > 0; i++) {
            uint64_t n = std::min(left, counts_[i]);
            sum += static_cast<double>(n) * middle(i);
            left -= n;
        }
        return wanted ? sum / static_cast<double>(wanted) : 0;
    }

    uint64_t max() const
    {
        return max_;
    }

  private:
    static constexpr unsigned kBits = 7;
    static constexpr uint64_t kLinear = uint64_t{2} << kBits; // one bucket to a value below this

    static size_t bucket(uint64_t value)
    {
        if (value < kLinear) {
            return value;
        }
        unsigned octave = 63u - static_cast<unsigned>(__builtin_clzll(value)) - kBits;
        return (size_t{octave} << kBits) + (value >> octave);
    }

    static double middle(size_t i)
    {
        if (i < kLinear) {
            return static_cast<double>(i);
        }
        size_t octave = (i >> kBits) - 1;
        uint64_t low = (i - (octave << kBits)) << octave;
        return static_cast<double>(low) + static_cast<double>((uint64_t{1} << octave) - 1) / 2;
    }

    std::vector<uint64_t> counts_;
    uint64_t count_ = 0;
    uint64_t max_ = 0;
};

} // namespace bench

#endif // BENCH_HISTOGRAM_H
