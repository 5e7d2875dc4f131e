// SPDX-License-Identifier: MIT
// tables: the results as text, for a terminal of some 120 columns.
#ifndef BENCH_TABLES_H
#define BENCH_TABLES_H

#include <cstdio>

#include "harness/results.h"

namespace bench
{

// By workload, placement and candidate, then the placements themselves. Where there are fewer than
// `enough` samples behind a figure, it says how many.
void print_tables(std::FILE *out, const Results &results, const Cuts &cuts, size_t enough);

} // namespace bench

#endif // BENCH_TABLES_H
