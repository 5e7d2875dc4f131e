// SPDX-License-Identifier: MIT
// reporter: instead of google-benchmark's thousands of lines, the errors and one table.
#ifndef BENCH_REPORTER_H
#define BENCH_REPORTER_H

#include "harness/harness.h"

namespace bench
{

class Reporter : public benchmark::BenchmarkReporter
{
  public:
    explicit Reporter(const Harness &harness) : harness_(harness)
    {
    }

    bool ReportContext(const Context &context) override;
    void ReportRuns(const std::vector<Run> &runs) override;
    void Finalize() override;

    // Samples that broke order, lost messages or failed otherwise.
    size_t violations() const
    {
        return violations_;
    }

  private:
    const Harness &harness_;
    size_t violations_ = 0;
};

} // namespace bench

#endif // BENCH_REPORTER_H
