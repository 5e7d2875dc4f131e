// SPDX-License-Identifier: MIT
// results: all samples of a run, filed under their placement. Tables are made of them.
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include <map>
#include <string>
#include <vector>

#include "harness/histogram.h"
#include "harness/placement.h"

namespace bench
{

// How a workload's figures are shown.
struct Workload {
    std::string title;
    double unit_ns;                   // of the figures in the table
    const char *unit;                 // its name
    std::vector<std::string> columns; // one figure each; empty: latencies
    const char *aside = nullptr;      // what else a sample of columns says, in a table of its own
    bool oversubscribed = false;      // preemptions are part of it: they disturb no sample
    bool anywhere = false; // samples last longer than a placement does: they are filed together
    bool more = false;     // the greater a figure, the better
};

// 0 for no values.
double quantile(std::vector<double> values, double fraction);

struct Throughput {
    double ns_per_message; // of the whole sample
    double typical_ns;     // of a block of messages that nothing disturbed
    double aside;
};

// The samples of one throughput. Where another program had a CPU for a while, it is that one that
// was measured: only samples in which nobody was preempted count. Where there are none, a typical
// block has to do, marked.
struct Cell {
    std::vector<double> undisturbed; // ns per message
    std::vector<double> typical;     // of the disturbed ones
    std::vector<double> asides;      // of all

    bool disturbed() const
    {
        return undisturbed.empty();
    }

    const std::vector<double> &values() const
    {
        return disturbed() ? typical : undisturbed;
    }
};

struct Latencies {
    std::vector<double> p50s;  // of each sample, ns
    std::vector<double> means; // likewise, of the fastest 99 in 100
    Histogram all;             // of all samples
};

// What one candidate did in one workload and placement.
struct Row {
    std::vector<Cell> columns; // throughput
    Latencies undisturbed;     // or latencies
    Latencies preempted;
    size_t violations = 0;

    bool disturbed() const
    {
        return undisturbed.p50s.empty();
    }

    const Latencies &latencies() const
    {
        return disturbed() ? preempted : undisturbed;
    }
};

enum class Kind { strait, floor, peer };
Kind kind_of(const std::string &candidate);

class Results
{
  public:
    using Rows = std::map<std::string, Row>; // by candidate
    struct Table {
        const Workload *workload;
        std::map<Place, Rows> places;
    };
    // Samples taken in one placement.
    struct Census {
        size_t samples = 0;
        size_t preempted = 0;
        std::vector<double> line_rt_ns;
    };

    // Tables are printed in the order of this.
    void declare(const Workload &workload);

    // Where a candidate promises less than the others do: shown below the tables it appears in.
    void note(const std::string &candidate, const std::string &text);

    // The line round trips beside a sample, whatever became of it.
    void add_placement(Place place, double before_ns, double after_ns, bool preempted);

    void add(const Workload &workload, const std::string &candidate, Place place, size_t column,
             const Throughput &throughput, bool disturbed);
    void add(const Workload &workload, const std::string &candidate, Place place,
             const Histogram &latencies, bool disturbed);
    void add_violation(const Workload &workload, const std::string &candidate, Place place);

    const std::vector<Table> &tables() const
    {
        return tables_;
    }

    const std::map<std::string, std::string> &notes() const
    {
        return notes_;
    }

    // `mixed` is among them: those were thrown away.
    const std::map<Place, Census> &census() const
    {
        return census_;
    }

  private:
    Row &row(const Workload &workload, const std::string &candidate, Place place);

    std::vector<Table> tables_;
    std::map<std::string, std::string> notes_;
    std::map<Place, Census> census_;
};

} // namespace bench

#endif // BENCH_RESULTS_H
