// SPDX-License-Identifier: MIT
// scores: the samples of each candidate, filed under their placement, and which of them is best.
#ifndef BENCH_SCORES_H
#define BENCH_SCORES_H

#include <map>

#include "harness/placement.h"
#include "tuner/sample.h"

namespace tuner
{

// Of what the samples of a candidate say one by one.
struct Spread {
    double median = 0;
    double low = 0; // the quartiles
    double high = 0;
};

// A candidate's samples of one placement: those in which neither thread was preempted. Where these
// are less than three, all of them, with the throughput of an undisturbed block, and it is shaky.
struct Score {
    const Candidate *candidate = nullptr;
    size_t samples = 0;
    Spread figure; // ns: of a message, or at a rate the p99 latency; less is better
    double receiver_cpu = 0;
    bool shaky = false;
    bool behind = false;        // in half the samples or more
    bench::Histogram latencies; // of all samples
};

class Scores
{
  public:
    Scores(const std::vector<Candidate> &candidates, const Request &request);

    void add(size_t candidate, bench::Place place, double line_rt_ns, const Sample &sample);

    // That has most samples; all comparison is within it. `mixed`: there is none.
    bench::Place place() const;
    size_t samples(bench::Place place) const;
    double line_rt_ns(bench::Place place) const;

    // The candidates with samples of that place, best first: those that keep the rate before those
    // that do not, those with next to no samples last. One that broke order is not there.
    std::vector<Score> ranked(bench::Place place) const;

    // Broken samples, the first of each candidate.
    const std::map<size_t, std::string> &errors() const
    {
        return errors_;
    }

  private:
    struct Cell {
        std::vector<double> figures;
        double receiver_cpu = 0;
        size_t behind = 0;
        bench::Histogram latencies;

        void add(double figure, const Sample &sample);
        void merge(const Cell &other);
    };
    struct Cells {
        Cell undisturbed;
        Cell preempted;
    };

    double figure(const Sample &sample) const;
    Score score(size_t candidate, const Cells &cells) const;

    const std::vector<Candidate> &candidates_;
    const Request &request_;
    std::vector<std::map<bench::Place, Cells>> cells_; // by candidate
    std::map<bench::Place, std::vector<double>> line_rt_ns_;
    std::map<size_t, std::string> errors_;
};

// Times the best: closer is the same.
constexpr double kMargin = 1.05;

// The one to recommend, of scores ranked: keeps the rate, does not spin unless it may, and takes
// the least memory of those within 5 % of the best, or within its quartiles. Null: none.
const Score *recommended(const std::vector<Score> &ranked, bool spin_ok);

// The best that spins, or that does not. Null: none.
const Score *best(const std::vector<Score> &ranked, bool spinning);

} // namespace tuner

#endif // BENCH_SCORES_H
