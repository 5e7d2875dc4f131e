// SPDX-License-Identifier: MIT
// reporter: instead of google-benchmark's thousands of lines, one report at the end of all rounds,
// and its JSON with the medians of each placement.
#ifndef BENCH_REPORTER_H
#define BENCH_REPORTER_H

#include <set>

#include "harness/harness.h"

namespace bench
{

class Reporter : public benchmark::BenchmarkReporter
{
  public:
    explicit Reporter(const Harness &harness) : harness_(harness)
    {
    }

    // Of a round.
    bool ReportContext(const Context &context) override;
    void ReportRuns(const std::vector<Run> &runs) override;

    // Of all of them.
    void print_report() const;
    bool write_json();

    // One of strait's own broke a promise or could not be measured.
    bool strait_failed() const;

  private:
    void print_errors() const;
    void print_left_out() const;
    void print_completeness() const;

    const Harness &harness_;
    bool begun_ = false;
    std::map<std::string, std::vector<Run>> runs_; // by benchmark
    // By the benchmarks' workload and candidate: the first message, and how many there were.
    std::map<std::string, std::pair<std::string, size_t>> errors_;
    std::map<std::string, std::set<std::string>> not_created_; // likewise: the benchmarks
};

} // namespace bench

#endif // BENCH_REPORTER_H
