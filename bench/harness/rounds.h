// SPDX-License-Identifier: MIT
// rounds: which samples are taken, and for how long. In one round each benchmark that still needs a
// sample where the CPUs are now takes one, all in random order.
#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

#include "harness/harness.h"

namespace bench
{

// Takes rounds until in one placement every benchmark has enough samples, the time is over, or a
// signal came. Returns how many benchmarks match the filter.
size_t run_rounds(Harness &harness, benchmark::BenchmarkReporter &reporter);

bool is_needed(const Harness &harness, const Benchmark &benchmark);

// Every benchmark that can be measured has enough samples there.
bool is_complete(const Harness &harness, Place place);

void show_progress(const Harness &harness);

} // namespace bench

#endif // BENCH_ROUNDS_H
