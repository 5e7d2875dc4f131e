// SPDX-License-Identifier: MIT
// context: what a reader of the JSON has to know about the machine and the build.
#ifndef BENCH_CONTEXT_H
#define BENCH_CONTEXT_H

#include "harness/settings.h"

namespace bench
{

// Environment: the CPUs that were allowed before the process was confined to two.
constexpr char kAllowedBefore[] = "STRAIT_BENCH_CPUS_ALLOWED";

std::string list(const std::vector<int> &cpus);

// All that the process may use, be it confined to two or not.
std::vector<int> all_cpus();

void add_context(const Settings &settings);

// Measures the line round trip between any two of the CPUs, of the first kMatrixMost of them,
// prints the matrix to stderr and adds it to the context. Before the pair of the run is made.
constexpr size_t kMatrixMost = 32;
void add_matrix();

} // namespace bench

#endif // BENCH_CONTEXT_H
