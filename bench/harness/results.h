// SPDX-License-Identifier: MIT
// results: all samples of a run, filed under their placement, and the table made of them.
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include <array>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "harness/histogram.h"
#include "harness/placement.h"

namespace bench
{

// How a workload's figures are shown.
struct Workload {
    std::string title;
    double unit_ns;                   // of latencies in the table
    const char *unit;                 // its name
    std::vector<std::string> columns; // of throughput; empty: latencies
    bool gaps = false;                // the longest gap of each column has a table of its own
    bool oversubscribed = false;      // preemptions are part of it: they disturb no sample
};

struct Throughput {
    double ns_per_message; // of the whole sample
    double typical_ns;     // of a block of messages that nothing disturbed
    bool preempted;
};

class Results
{
  public:
    // Tables are printed in the order of this.
    void declare(const Workload &workload);

    // The line round trips beside a sample, whatever became of it.
    void add_placement(Place place, double before_ns, double after_ns);

    void add(const Workload &workload, const std::string &candidate, Place place, size_t column,
             const Throughput &throughput);
    void add(const Workload &workload, const std::string &candidate, Place place,
             const Histogram &latencies);

    // By workload, placement and candidate. What was `mixed` is counted and left out.
    void print(std::FILE *out, const Cuts &cuts) const;

  private:
    struct Column {
        std::vector<double> undisturbed;
        std::vector<double> typical; // of the preempted ones
    };
    struct Row {
        std::vector<Column> columns;
        std::vector<double> means; // of each sample
        Histogram latencies;       // of all samples
    };
    using Rows = std::map<std::string, Row>; // by candidate
    struct Table {
        const Workload *workload;
        std::map<Place, Rows> places;
    };

    Row &row(const Workload &workload, const std::string &candidate, Place place);
    void print_placement(std::FILE *out, const Cuts &cuts) const;
    static void print_figure(std::FILE *out, const Column &column);
    static void print_throughput(std::FILE *out, const Workload &workload, Place place,
                                 const Rows &rows);
    static void print_latencies(std::FILE *out, const Workload &workload, Place place,
                                const Rows &rows);

    std::vector<Table> tables_;
    std::map<Place, size_t> samples_;
    std::map<Place, std::vector<double>> line_rt_ns_;
};

} // namespace bench

#endif // BENCH_RESULTS_H
