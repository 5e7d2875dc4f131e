// SPDX-License-Identifier: MIT
// plots: the results as data for the gnuplot scripts in bench/plots.
#ifndef BENCH_PLOTS_H
#define BENCH_PLOTS_H

#include <string>

#include "harness/results.h"

namespace bench
{

// One file for each workload and placement, named after both and after the script that draws it:
// WORKLOAD.PLACEMENT.{bars,lines,latencies}.dat. The first line is the plot's title. False: a file
// could not be written.
bool write_plot_data(const Results &results, const std::string &folder);

} // namespace bench

#endif // BENCH_PLOTS_H
